//! AVX-512 with byte permutes (VBMI: Ice Lake, Zen 4 and later). For the planes of f32 it was tried and is no faster
//! than AVX2.

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_storeu_si128, _mm256_storeu_si256, _mm512_add_epi32, _mm512_add_epi64,
    _mm512_and_si512, _mm512_cvtepi32_epi8, _mm512_cvtepi32_epi16, _mm512_cvtepi64_epi32, _mm512_loadu_si512,
    _mm512_permutexvar_epi8, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_srlv_epi32, _mm512_srlv_epi64,
    _mm512_storeu_si512,
};

use super::bits;

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
#[target_feature(enable = "avx512f")]
fn store_64(bytes: &mut [u8; 64], value: __m512i) {
    // SAFETY: the array is 64 writable bytes; the store asks for no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), value) }
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
