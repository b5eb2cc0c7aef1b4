//! AVX2 (Haswell, Zen and later): byte shuffles within 128-bit halves; and the bit deposit that comes with it.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadl_epi64, _mm_loadu_si128, _mm_storel_epi64, _mm_storeu_si128, _mm256_castsi256_ps,
    _mm256_castsi256_si128, _mm256_cmpeq_epi32, _mm256_cmpgt_epi32, _mm256_cvtepu8_epi32, _mm256_extracti128_si256,
    _mm256_loadu_si256, _mm256_movemask_ps, _mm256_or_si256, _mm256_permutevar8x32_epi32, _mm256_set_m128i,
    _mm256_set1_epi32, _mm256_setr_epi8, _mm256_setr_epi32, _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_storeu_si256, _pdep_u64,
};

use super::{Extremes, Narrow, Numbers, PrefixCode, Rule, links, portable, prefix};

#[target_feature(enable = "avx2")]
pub fn split_exponents(raw: &[u8], exponents: &mut [u8]) {
    portable::split_exponents(raw, exponents);
}

#[target_feature(enable = "avx2")]
pub fn split_lows(raw: &[u8], lows: &mut [u8]) {
    #[rustfmt::skip]
    let keep = _mm256_setr_epi8(
        0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1,
        0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1,
    );
    let close = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7);
    let (groups, out_groups) = (raw.as_chunks::<32>().0, lows.as_chunks_mut::<24>().0);
    let done = groups.len().min(out_groups.len());
    for (group, out) in groups.iter().zip(out_groups) {
        let bits = load_32(group);
        let rotated = _mm256_or_si256(_mm256_slli_epi32::<1>(bits), _mm256_srli_epi32::<31>(bits));
        store_24(out, _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(rotated, keep), close));
    }
    portable::split_lows(&raw[done * 32..], &mut lows[done * 24..]);
}

#[target_feature(enable = "avx2")]
pub fn merge(exponents: &[u8], lows: &[u8], raw: &mut [u8]) {
    #[rustfmt::skip]
    let spread = _mm256_setr_epi8(
        0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1,
        0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1,
    );
    let part = _mm256_setr_epi32(0, 1, 2, 6, 3, 4, 5, 7);
    let (groups, low_groups) = (raw.as_chunks_mut::<32>().0, lows.as_chunks::<24>().0);
    let exponent_groups = exponents.as_chunks::<8>().0;
    let done = groups.len().min(low_groups.len()).min(exponent_groups.len());
    for (out, (exponent, low)) in groups.iter_mut().zip(exponent_groups.iter().zip(low_groups)) {
        let low = _mm256_shuffle_epi8(_mm256_permutevar8x32_epi32(load_24(low), part), spread);
        let top = _mm256_slli_epi32::<24>(_mm256_cvtepu8_epi32(load_8(exponent)));
        let rotated = _mm256_or_si256(low, top);
        store_32(out, _mm256_or_si256(_mm256_srli_epi32::<1>(rotated), _mm256_slli_epi32::<31>(rotated)));
    }
    portable::merge(&exponents[done * 8..], &lows[done * 24..], &mut raw[done * 32..]);
}

/// Shifts that leave the flags alone.
#[target_feature(enable = "bmi2")]
pub fn encode_bytes(code: &PrefixCode, bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    prefix::encode_bytes(code, bytes, out)
}

/// What is left is a word of bits; the rank-th of them is found by one deposit, where the portable loop moves memory.
#[target_feature(enable = "avx2,bmi1,bmi2")]
pub fn reorder(sorted: &[u32], ranks: &[u8], out: &mut [u32]) {
    let count = sorted.len().min(out.len());
    if count > 64 {
        return portable::reorder(sorted, ranks, out);
    }
    let mut left = if count == 0 { 0 } else { u64::MAX >> (64 - count) };
    let mut places = out[..count].iter_mut();
    for (rank, out) in ranks.iter().zip(places.by_ref()) {
        let bit = _pdep_u64(1 << (rank & 63), left);
        *out = sorted.get(bit.trailing_zeros() as usize).copied().unwrap_or(0);
        left ^= bit;
    }
    for out in places {
        *out = sorted.get(left.trailing_zeros() as usize).copied().unwrap_or(0);
        left &= left.wrapping_sub(1);
    }
}

/// One compare of a number with eight others gives a byte of bits; both counts are counts of such bits.
#[target_feature(enable = "avx2,popcnt")]
pub fn rank(list: &[[u32; 8]], below: &mut [u8], left: &mut [u8]) {
    for (block, groups) in list.chunks(4).enumerate() {
        let mut others = [_mm256_set1_epi32(i32::MAX); 4];
        others.iter_mut().zip(groups).for_each(|(other, group)| *other = load_words(group));
        for (place, number) in list.as_flattened().iter().enumerate().take(below.len().min(left.len())) {
            let number = _mm256_set1_epi32(number.cast_signed());
            let smaller = others.iter().rev().fold(0u32, |bits, other| {
                let lanes = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(number, *other)));
                bits << 8 | lanes.cast_unsigned()
            });
            // Of this block, those behind `place`.
            let behind = match (place / 32).cmp(&block) {
                std::cmp::Ordering::Less => u32::MAX,
                std::cmp::Ordering::Equal => u32::MAX << (place % 32),
                std::cmp::Ordering::Greater => 0,
            };
            let [count, ..] = smaller.count_ones().to_le_bytes();
            let [count_left, ..] = (smaller & behind).count_ones().to_le_bytes();
            if block == 0 {
                (below[place], left[place]) = (count, count_left);
            } else {
                (below[place], left[place]) = (below[place] + count, left[place] + count_left);
            }
        }
    }
}

#[target_feature(enable = "avx2")]
pub fn mark(claims: &[u32], id_bits: u32, base: u32, lists: &[u32], slots: usize, marks: &mut [u64]) {
    // The usual sizes: whole groups, a word of marks. Half of the time goes without the inner loop.
    match slots {
        16 => mark_groups::<2>(claims, id_bits, base, lists.as_chunks().0, marks),
        32 => mark_groups::<4>(claims, id_bits, base, lists.as_chunks().0, marks),
        64 => mark_groups::<8>(claims, id_bits, base, lists.as_chunks().0, marks),
        _ => portable::mark(claims, id_bits, base, lists, slots, marks),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn mark_groups<const GROUPS: usize>(claims: &[u32], id_bits: u32, base: u32, groups: &[[u32; 8]], marks: &mut [u64]) {
    let (lists, _) = groups.as_chunks::<GROUPS>();
    for claim in claims {
        let (row, id) = links::claimed(*claim, id_bits, base);
        let (Some(list), Some(mark)) = (lists.get(row), marks.get_mut(row)) else { continue };
        let wanted = _mm256_set1_epi32(id.cast_signed());
        *mark |= list.iter().rev().fold(0, |bits, group| {
            let lanes = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(load_words(group), wanted)));
            bits << 8 | u64::from(lanes.cast_unsigned())
        });
    }
}

#[target_feature(enable = "avx2")]
pub fn split_uppers(raw: &[u8], uppers: &mut [u8]) {
    portable::split_uppers(raw, uppers);
}

#[target_feature(enable = "avx2")]
pub fn split_lowers(raw: &[u8], lowers: &mut [u8]) {
    portable::split_lowers(raw, lowers);
}

#[target_feature(enable = "avx2")]
pub fn merge_halves(uppers: &[u8], lowers: &[u8], raw: &mut [u8]) {
    portable::merge_halves(uppers, lowers, raw);
}

#[target_feature(enable = "avx2")]
pub fn widen(narrow: Narrow, rule: Rule, scale: f32, values: &[u8], row: &mut [u8]) {
    portable::widen(narrow, rule, scale, values, row);
}

#[target_feature(enable = "avx2")]
pub fn narrow(narrow: Narrow, row: &[u8], values: &mut [u8]) -> bool {
    portable::narrow(narrow, row, values)
}

#[target_feature(enable = "avx2")]
pub fn float_range(raw: &[u8]) -> (f32, f32) {
    portable::float_range(raw)
}

#[target_feature(enable = "avx2")]
pub fn find_scale(row: &[u8], fraction_bits: u32, rule: Rule, values: &mut [u8]) -> Option<f32> {
    portable::find_scale(row, fraction_bits, rule, values)
}

#[target_feature(enable = "avx2")]
pub fn looks_scaled(row: &[u8], fraction_bits: u32) -> bool {
    portable::looks_scaled(row, fraction_bits)
}

/// Shifts by a vector of widths are what the loops gain.
#[target_feature(enable = "avx2,bmi1,bmi2")]
pub fn split_residual(
    numbers: Numbers,
    value_bytes: usize,
    turned: bool,
    rows: (&[u8], &[u8]),
    symbols: &mut [u8],
    lows: &mut [u8],
) -> Option<usize> {
    portable::split_residual(numbers, value_bytes, turned, rows, symbols, lows)
}

#[target_feature(enable = "avx2,bmi1,bmi2")]
pub fn join_residual(
    numbers: Numbers,
    value_bytes: usize,
    turned: bool,
    base: &[u8],
    parts: (&[u8], &[u8]),
    raw: &mut [u8],
) -> Option<usize> {
    portable::join_residual(numbers, value_bytes, turned, base, parts, raw)
}

#[target_feature(enable = "avx2")]
pub fn extremes(value_bytes: usize, raw: &[u8]) -> Extremes {
    portable::extremes(value_bytes, raw)
}

#[target_feature(enable = "avx2")]
pub fn steps_are(value_bytes: usize, raw: &[u8], step: u64) -> bool {
    portable::steps_are(value_bytes, raw, step)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_32(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the array is 32 readable bytes; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_words(words: &[u32; 8]) -> __m256i {
    // SAFETY: the array is 32 readable bytes; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_24(bytes: &[u8; 24]) -> __m256i {
    // SAFETY: the array is 24 readable bytes: the first load takes bytes 0 to 15, the second 16 to 23.
    // Neither asks for alignment.
    unsafe { _mm256_set_m128i(_mm_loadl_epi64(bytes.as_ptr().add(16).cast()), _mm_loadu_si128(bytes.as_ptr().cast())) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_8(bytes: &[u8; 8]) -> __m128i {
    // SAFETY: the array is 8 readable bytes, which is all that this load takes; no alignment is asked for.
    unsafe { _mm_loadl_epi64(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_32(bytes: &mut [u8; 32], value: __m256i) {
    // SAFETY: the array is 32 writable bytes; the store asks for no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_24(bytes: &mut [u8; 24], value: __m256i) {
    if let Some((front, back)) = bytes.split_first_chunk_mut::<16>() {
        // SAFETY: `front` is 16 writable bytes, `back` the 8 after them; no alignment is asked for.
        unsafe {
            _mm_storeu_si128(front.as_mut_ptr().cast(), _mm256_castsi256_si128(value));
            _mm_storel_epi64(back.as_mut_ptr().cast(), _mm256_extracti128_si256::<1>(value));
        }
    }
}
