//! AVX-512 with byte permutes (VBMI: Ice Lake, Zen 4 and later). One permute does what four shuffles do elsewhere.

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_loadu_si128, _mm_storeu_si128, _mm256_storeu_si256, _mm512_add_epi32,
    _mm512_add_epi64, _mm512_and_si512, _mm512_castsi128_si512, _mm512_castsi512_si256, _mm512_cvtepi32_epi8,
    _mm512_cvtepi32_epi16, _mm512_cvtepi64_epi32, _mm512_extracti32x4_epi32, _mm512_loadu_si512,
    _mm512_maskz_loadu_epi8, _mm512_permutex2var_epi8, _mm512_permutexvar_epi8, _mm512_rol_epi32, _mm512_ror_epi32,
    _mm512_set1_epi32, _mm512_set1_epi64, _mm512_srli_epi32, _mm512_srlv_epi32, _mm512_srlv_epi64, _mm512_storeu_si512,
};

use super::{Extremes, bits, portable};

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
pub fn split_exponents(raw: &[u8], exponents: &mut [u8]) {
    let (groups, out_groups) = (raw.as_chunks::<64>().0, exponents.as_chunks_mut::<16>().0);
    let done = groups.len().min(out_groups.len());
    for (group, out) in groups.iter().zip(out_groups) {
        store_16(out, _mm512_cvtepi32_epi8(_mm512_srli_epi32::<23>(load_64(group))));
    }
    portable::split_exponents(&raw[done * 64..], &mut exponents[done * 16..]);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
pub fn split_lows(raw: &[u8], lows: &mut [u8]) {
    // Output byte i is byte i mod 3 of value i div 3; the last sixteen are not stored.
    const KEEP: [u8; 64] = {
        let (mut table, mut index) = ([0; 64], 0u8);
        while index < 48 {
            table[index as usize] = index / 3 * 4 + index % 3;
            index += 1;
        }
        table
    };
    let keep = load_64(&KEEP);
    let (groups, out_groups) = (raw.as_chunks::<64>().0, lows.as_chunks_mut::<48>().0);
    let done = groups.len().min(out_groups.len());
    for (group, out) in groups.iter().zip(out_groups) {
        store_48(out, _mm512_permutexvar_epi8(keep, _mm512_rol_epi32::<1>(load_64(group))));
    }
    portable::split_lows(&raw[done * 64..], &mut lows[done * 48..]);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
pub fn merge(exponents: &[u8], lows: &[u8], raw: &mut [u8]) {
    // Three bytes of the lows (first table), then one of the exponents (second table, from 64 on).
    const WEAVE: [u8; 64] = {
        let (mut table, mut index) = ([0; 64], 0u8);
        while index < 64 {
            table[index as usize] = if index % 4 == 3 { 64 + index / 4 } else { index / 4 * 3 + index % 4 };
            index += 1;
        }
        table
    };
    let weave = load_64(&WEAVE);
    let (groups, low_groups) = (raw.as_chunks_mut::<64>().0, lows.as_chunks::<48>().0);
    let exponent_groups = exponents.as_chunks::<16>().0;
    let done = groups.len().min(low_groups.len()).min(exponent_groups.len());
    for (out, (exponent, low)) in groups.iter_mut().zip(exponent_groups.iter().zip(low_groups)) {
        let rotated = _mm512_permutex2var_epi8(load_48(low), weave, _mm512_castsi128_si512(load_16(exponent)));
        store_64(out, _mm512_ror_epi32::<1>(rotated));
    }
    portable::merge(&exponents[done * 16..], &lows[done * 48..], &mut raw[done * 64..]);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
pub fn extremes(value_bytes: usize, raw: &[u8]) -> Extremes {
    portable::extremes(value_bytes, raw)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
pub fn steps_are(value_bytes: usize, raw: &[u8], step: u64) -> bool {
    portable::steps_are(value_bytes, raw, step)
}

/// As `bits::unpack`. Numbers of up to 25 bits lie within four bytes, sixteen at once; up to 57 within eight.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
pub fn unpack<const BYTES: usize>(packed: &[u8], base: u64, width: u32, raw: &mut [u8]) {
    let done = match (BYTES, width) {
        (1 | 2 | 4, 1..=25) => unpack_sixteens::<BYTES>(packed, base, width, raw),
        (4 | 8, 1..=57) => unpack_eights::<BYTES>(packed, base, width, raw),
        _ => 0,
    };
    // `done` is a multiple of eight values, so the rest starts on a byte border.
    let start = (done / 8 * width as usize).min(packed.len());
    bits::unpack::<BYTES>(&packed[start..], base, width, &mut raw[done * BYTES..]);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
fn unpack_sixteens<const BYTES: usize>(packed: &[u8], base: u64, width: u32, raw: &mut [u8]) -> usize {
    let (gather, shift) = lanes::<4>(width);
    let (gather, shift) = (load_64(&gather), load_64(&shift));
    let mask = _mm512_set1_epi32(low_word(bits::mask(width)));
    let base = _mm512_set1_epi32(low_word(base));
    let mut done = 0;
    for (out, start) in raw.chunks_exact_mut(16 * BYTES).zip((0..).step_by(2 * width as usize)) {
        let Some(window) = packed.get(start..).and_then(|rest| rest.first_chunk::<64>()) else { break };
        let spread = _mm512_permutexvar_epi8(gather, load_64(window));
        let numbers = _mm512_and_si512(_mm512_srlv_epi32(spread, shift), mask);
        let values = _mm512_add_epi32(numbers, base);
        match BYTES {
            1 => {
                if let Some(out) = out.first_chunk_mut() {
                    store_16(out, _mm512_cvtepi32_epi8(values));
                }
            }
            2 => {
                if let Some(out) = out.first_chunk_mut() {
                    store_32(out, _mm512_cvtepi32_epi16(values));
                }
            }
            _ => {
                if let Some(out) = out.first_chunk_mut() {
                    store_64(out, values);
                }
            }
        }
        done += 16;
    }
    done
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
fn unpack_eights<const BYTES: usize>(packed: &[u8], base: u64, width: u32, raw: &mut [u8]) -> usize {
    let (gather, shift) = lanes::<8>(width);
    let (gather, shift) = (load_64(&gather), load_64(&shift));
    let mask = _mm512_set1_epi64(bits::mask(width).cast_signed());
    let base = _mm512_set1_epi64(base.cast_signed());
    let mut done = 0;
    for (out, start) in raw.chunks_exact_mut(8 * BYTES).zip((0..).step_by(width as usize)) {
        let Some(window) = packed.get(start..).and_then(|rest| rest.first_chunk::<64>()) else { break };
        let spread = _mm512_permutexvar_epi8(gather, load_64(window));
        let numbers = _mm512_and_si512(_mm512_srlv_epi64(spread, shift), mask);
        let values = _mm512_add_epi64(numbers, base);
        match BYTES {
            4 => {
                if let Some(out) = out.first_chunk_mut() {
                    store_32(out, _mm512_cvtepi64_epi32(values));
                }
            }
            _ => {
                if let Some(out) = out.first_chunk_mut() {
                    store_64(out, values);
                }
            }
        }
        done += 8;
    }
    done
}

/// Which bytes of the window each lane of `LANE` bytes takes, and by how much it then shifts.
fn lanes<const LANE: usize>(width: u32) -> ([u8; 64], [u8; 64]) {
    let (mut gather, mut shift) = ([0; 64], [0; 64]);
    let pairs = gather.as_chunks_mut::<LANE>().0.iter_mut().zip(shift.as_chunks_mut::<LANE>().0);
    for (lane, (gather, shift)) in (0u32..).zip(pairs) {
        let [first, ..] = (lane * width / 8).to_le_bytes();
        // The permute looks at six bits only; a byte past the window is one that the mask drops.
        gather.iter_mut().zip(first..).for_each(|(index, byte)| *index = byte);
        shift.iter_mut().zip((lane * width % 8).to_le_bytes()).for_each(|(to, from)| *to = from);
    }
    (gather, shift)
}

fn low_word(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_64(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the array is 64 readable bytes; the load asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512bw")]
fn load_48(bytes: &[u8; 48]) -> __m512i {
    // SAFETY: the mask has 48 bits set, so only the array's 48 bytes are read.
    unsafe { _mm512_maskz_loadu_epi8(0xFFFF_FFFF_FFFF, bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn load_16(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the array is 16 readable bytes; the load asks for no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_64(bytes: &mut [u8; 64], value: __m512i) {
    // SAFETY: the array is 64 writable bytes; the store asks for no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), value) }
}

/// Two plain stores: masked byte stores are slow on some cores that have VBMI.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_48(bytes: &mut [u8; 48], value: __m512i) {
    if let Some((low, rest)) = bytes.split_first_chunk_mut::<32>() {
        store_32(low, _mm512_castsi512_si256(value));
        if let Some(high) = rest.first_chunk_mut() {
            store_16(high, _mm512_extracti32x4_epi32::<2>(value));
        }
    }
}

#[inline]
#[target_feature(enable = "avx")]
fn store_32(bytes: &mut [u8; 32], value: __m256i) {
    // SAFETY: the array is 32 writable bytes; the store asks for no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn store_16(bytes: &mut [u8; 16], value: __m128i) {
    // SAFETY: the array is 16 writable bytes; the store asks for no alignment.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), value) }
}
