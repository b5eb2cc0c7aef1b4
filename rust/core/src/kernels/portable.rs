//! The loops as any machine runs them. Written so that LLVM can widen them; the instruction-set files compile some
//! of them again with more features, which is why they are `#[inline(always)]`.

use super::Extremes;
pub use super::halves::{float_range, merge_halves, narrow, split_lowers, split_uppers, widen};
pub use super::links::{mark, rank};
pub use super::residual::{join_residual, split_residual};
pub use super::scales::{find_scale, looks_scaled};

/// Byte `w >> 24` of each value, `w` being its bits rotated left by one (spec, `codecs/float32.md`).
#[inline(always)]
pub fn split_exponents(raw: &[u8], exponents: &mut [u8]) {
    for (value, exponent) in raw.as_chunks::<4>().0.iter().zip(exponents) {
        *exponent = (u32::from_le_bytes(*value) >> 23).to_le_bytes()[0];
    }
}

/// The low three bytes of each `w`.
#[inline(always)]
pub fn split_lows(raw: &[u8], lows: &mut [u8]) {
    let (fours, rest) = raw.as_chunks::<16>();
    let (low_fours, low_rest) = lows.split_at_mut((fours.len() * 12).min(lows.len()));
    // Four values make three whole words, so that no store is narrower than a word.
    for (four, low) in fours.iter().zip(low_fours.as_chunks_mut::<12>().0) {
        let [a, b, c, d] = words(four).map(|bits| bits.rotate_left(1) & 0x00FF_FFFF);
        let packed = [a | b << 24, b >> 8 | c << 16, c >> 16 | d << 8];
        for (word, out) in packed.iter().zip(low.as_chunks_mut::<4>().0) {
            *out = word.to_le_bytes();
        }
    }
    for (value, low) in rest.as_chunks::<4>().0.iter().zip(low_rest.as_chunks_mut::<3>().0) {
        let [a, b, c, _] = u32::from_le_bytes(*value).rotate_left(1).to_le_bytes();
        *low = [a, b, c];
    }
}

/// The inverse of the two splits.
#[inline(always)]
pub fn merge(exponents: &[u8], lows: &[u8], raw: &mut [u8]) {
    let (fours, rest) = raw.as_chunks_mut::<16>();
    let count = fours.len();
    let (exponent_fours, exponent_rest) = exponents.split_at((count * 4).min(exponents.len()));
    let (low_fours, low_rest) = lows.split_at((count * 12).min(lows.len()));
    let parts = exponent_fours.as_chunks::<4>().0.iter().zip(low_fours.as_chunks::<12>().0);
    for (four, (exponent, low)) in fours.iter_mut().zip(parts) {
        let [a, b, c] = words(low);
        let low_values = [a & 0x00FF_FFFF, (a >> 24 | b << 8) & 0x00FF_FFFF, (b >> 16 | c << 16) & 0x00FF_FFFF, c >> 8];
        for (index, out) in four.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *out = (u32::from(exponent[index]) << 24 | low_values[index]).rotate_right(1).to_le_bytes();
        }
    }
    let parts = exponent_rest.iter().zip(low_rest.as_chunks::<3>().0);
    for (out, (exponent, [a, b, c])) in rest.as_chunks_mut::<4>().0.iter_mut().zip(parts) {
        *out = u32::from_le_bytes([*a, *b, *c, *exponent]).rotate_right(1).to_le_bytes();
    }
}

#[inline(always)]
fn words<const BYTES: usize, const WORDS: usize>(bytes: &[u8; BYTES]) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*chunk);
    }
    words
}

macro_rules! integer_loops {
    ($extremes:ident, $steps_are:ident, $integer:ty) => {
        /// Smallest and largest value, read as unsigned and as signed. All four are 0 when there are no values.
        #[inline(always)]
        pub fn $extremes(raw: &[u8]) -> Extremes {
            const TOP: $integer = 1 << (<$integer>::BITS - 1);
            const BYTES: usize = (<$integer>::BITS / 8) as usize;
            let values = raw.as_chunks::<BYTES>().0;
            if values.is_empty() {
                return Extremes::default();
            }
            let (mut low, mut high) = (<$integer>::MAX, 0);
            let (mut signed_low, mut signed_high) = (<$integer>::MAX, 0);
            for value in values {
                let value = <$integer>::from_le_bytes(*value);
                low = low.min(value);
                high = high.max(value);
                // With the top bit turned, signed order is unsigned order.
                signed_low = signed_low.min(value ^ TOP);
                signed_high = signed_high.max(value ^ TOP);
            }
            Extremes {
                low: u64::from(low),
                high: u64::from(high),
                signed_low: u64::from(signed_low ^ TOP),
                signed_high: u64::from(signed_high ^ TOP),
            }
        }

        /// True when each value is the one before plus `step` (low bits of it), wrapping.
        #[inline(always)]
        pub fn $steps_are(raw: &[u8], step: u64) -> bool {
            const BYTES: usize = (<$integer>::BITS / 8) as usize;
            let step = <$integer>::from_le_bytes(truncated(step));
            let values = raw.as_chunks::<BYTES>().0;
            let followers = values.get(1..).unwrap_or_default();
            // Stretches keep the inner loop free of branches and the whole quick to say no.
            for (before, after) in values.chunks(512).zip(followers.chunks(512)) {
                let mut difference = 0;
                for (before, after) in before.iter().zip(after) {
                    let found = <$integer>::from_le_bytes(*after).wrapping_sub(<$integer>::from_le_bytes(*before));
                    difference |= found ^ step;
                }
                if difference != 0 {
                    return false;
                }
            }
            true
        }
    };
}

#[inline(always)]
fn truncated<const BYTES: usize>(value: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes.iter_mut().zip(value.to_le_bytes()).for_each(|(out, byte)| *out = byte);
    bytes
}

integer_loops!(extremes_u8, steps_are_u8, u8);
integer_loops!(extremes_u16, steps_are_u16, u16);
integer_loops!(extremes_u32, steps_are_u32, u32);
integer_loops!(extremes_u64, steps_are_u64, u64);

/// `extremes_*` by width of the values in bytes (1, 2, 4 or 8).
#[inline(always)]
pub fn extremes(value_bytes: usize, raw: &[u8]) -> Extremes {
    match value_bytes {
        1 => extremes_u8(raw),
        2 => extremes_u16(raw),
        4 => extremes_u32(raw),
        _ => extremes_u64(raw),
    }
}

/// `steps_are_*` by width of the values in bytes (1, 2, 4 or 8).
#[inline(always)]
pub fn steps_are(value_bytes: usize, raw: &[u8], step: u64) -> bool {
    match value_bytes {
        1 => steps_are_u8(raw, step),
        2 => steps_are_u16(raw, step),
        4 => steps_are_u32(raw, step),
        _ => steps_are_u64(raw, step),
    }
}

pub fn reorder(sorted: &[u32], ranks: &[u8], out: &mut [u32]) {
    let count = sorted.len().min(out.len());
    out[..count].copy_from_slice(&sorted[..count]);
    for (place, rank) in ranks.iter().enumerate() {
        let Some(left) = out[..count].get_mut(place..).filter(|left| usize::from(*rank) < left.len()) else { return };
        left[..=usize::from(*rank)].rotate_right(1);
    }
}
