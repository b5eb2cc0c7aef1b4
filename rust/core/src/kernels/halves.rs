//! Half precision and small whole numbers: planes of 2-byte floats, and f32 values from and to narrower ones.
//! Written so that LLVM can widen the loops; `avx2.rs` compiles them again.

/// What an f32 was before (spec, `codecs/narrow.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Narrow {
    U8,
    I8,
    I16,
    F16,
    Bf16,
}

/// How the values of a row follow from the narrow ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Plain,
    Multiply,
    Divide,
}

/// Upper byte of each 2-byte value, rotated left by one bit (spec, `codecs/float16.md`).
#[inline(always)]
pub fn split_uppers(raw: &[u8], uppers: &mut [u8]) {
    for (value, upper) in raw.as_chunks::<2>().0.iter().zip(uppers) {
        *upper = (u16::from_le_bytes(*value) >> 7).to_le_bytes()[0];
    }
}

/// Lower byte of each.
#[inline(always)]
pub fn split_lowers(raw: &[u8], lowers: &mut [u8]) {
    for (value, lower) in raw.as_chunks::<2>().0.iter().zip(lowers) {
        *lower = u16::from_le_bytes(*value).rotate_left(1).to_le_bytes()[0];
    }
}

/// The inverse of the two splits.
#[inline(always)]
pub fn merge_halves(uppers: &[u8], lowers: &[u8], raw: &mut [u8]) {
    for ((upper, lower), value) in uppers.iter().zip(lowers).zip(raw.as_chunks_mut::<2>().0) {
        *value = u16::from_le_bytes([*lower, *upper]).rotate_right(1).to_le_bytes();
    }
}

/// f32 values of a row from its narrow ones. What an f16 that is not finite becomes means nothing.
#[inline(always)]
pub fn widen(narrow: Narrow, rule: Rule, scale: f32, values: &[u8], row: &mut [u8]) {
    match narrow {
        Narrow::U8 => by_rule(rule, scale, values, row, widen_u8),
        Narrow::I8 => by_rule(rule, scale, values, row, widen_i8),
        Narrow::I16 => by_rule(rule, scale, values, row, widen_i16),
        Narrow::F16 => by_rule(rule, scale, values, row, widen_f16),
        Narrow::Bf16 => by_rule(rule, scale, values, row, widen_bf16),
    }
}

/// Narrow values of a row under `Rule::Plain`; false when they do not give it back bit for bit.
#[inline(always)]
pub fn narrow(narrow: Narrow, row: &[u8], values: &mut [u8]) -> bool {
    match narrow {
        Narrow::U8 => narrow_by(row, values, |bits| [whole(bits)[0]], widen_u8),
        Narrow::I8 => narrow_by(row, values, |bits| [whole(bits)[0]], widen_i8),
        Narrow::I16 => narrow_by(row, values, whole, widen_i16),
        Narrow::F16 => narrow_by(row, values, narrow_f16, widen_finite_f16),
        Narrow::Bf16 => narrow_by(row, values, |bits| [bits.to_le_bytes()[2], bits.to_le_bytes()[3]], widen_bf16),
    }
}

/// Smallest and largest of f32 values; NaNs do not count.
#[inline(always)]
pub fn float_range(raw: &[u8]) -> (f32, f32) {
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for value in raw.as_chunks::<4>().0 {
        let value = f32::from_le_bytes(*value);
        low = if value < low { value } else { low };
        high = if value > high { value } else { high };
    }
    (low, high)
}

#[inline(always)]
fn by_rule<const BYTES: usize>(
    rule: Rule,
    scale: f32,
    values: &[u8],
    row: &mut [u8],
    widen: impl Fn([u8; BYTES]) -> u32,
) {
    let pairs = values.as_chunks::<BYTES>().0.iter().zip(row.as_chunks_mut::<4>().0);
    match rule {
        Rule::Plain => pairs.for_each(|(value, out)| *out = widen(*value).to_le_bytes()),
        Rule::Multiply => pairs.for_each(|(value, out)| *out = (f32::from_bits(widen(*value)) * scale).to_le_bytes()),
        Rule::Divide => pairs.for_each(|(value, out)| *out = (f32::from_bits(widen(*value)) / scale).to_le_bytes()),
    }
}

#[inline(always)]
fn narrow_by<const BYTES: usize>(
    row: &[u8],
    values: &mut [u8],
    narrow: impl Fn(u32) -> [u8; BYTES],
    widen: impl Fn([u8; BYTES]) -> u32,
) -> bool {
    let mut difference = 0;
    for (value, out) in row.as_chunks::<4>().0.iter().zip(values.as_chunks_mut::<BYTES>().0) {
        let bits = u32::from_le_bytes(*value);
        *out = narrow(bits);
        difference |= widen(*out) ^ bits;
    }
    difference == 0
}

#[inline(always)]
fn widen_u8(value: [u8; 1]) -> u32 {
    f32::from(u8::from_le_bytes(value)).to_bits()
}

#[inline(always)]
fn widen_i8(value: [u8; 1]) -> u32 {
    f32::from(i8::from_le_bytes(value)).to_bits()
}

#[inline(always)]
fn widen_i16(value: [u8; 2]) -> u32 {
    f32::from(i16::from_le_bytes(value)).to_bits()
}

#[inline(always)]
fn widen_bf16(value: [u8; 2]) -> u32 {
    u32::from(u16::from_le_bytes(value)) << 16
}

/// Only sums of normal numbers, so that a thread which flushes subnormal ones to zero gets the same.
#[inline(always)]
fn widen_f16(value: [u8; 2]) -> u32 {
    const SMALLEST_NORMAL: u32 = 113 << 23;
    let bits = u32::from(u16::from_le_bytes(value));
    let magnitude = (bits & 0x7FFF) << 13;
    let subnormal = f32::from_bits(magnitude + SMALLEST_NORMAL) - f32::from_bits(SMALLEST_NORMAL);
    let widened = if magnitude < 1 << 23 { subnormal.to_bits() } else { magnitude + (112 << 23) };
    widened | ((bits & 0x8000) << 16)
}

/// As `widen_f16`, but no f32 for what is not finite.
#[inline(always)]
fn widen_finite_f16(value: [u8; 2]) -> u32 {
    let finite = u16::from_le_bytes(value) & 0x7C00 != 0x7C00;
    if finite { widen_f16(value) } else { 0x7FC0_0001 }
}

#[inline(always)]
fn narrow_f16(bits: u32) -> [u8; 2] {
    let magnitude = bits & 0x7FFF_FFFF;
    // Units of 0.5 are 2^-24, those of a subnormal f16.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits() & 0x3FF;
    let normal = magnitude.wrapping_sub(112 << 23) >> 13;
    let unsigned = if magnitude < 113 << 23 { subnormal } else { normal } & 0x7FFF;
    let [low, high, ..] = (unsigned | ((bits >> 16) & 0x8000)).to_le_bytes();
    [low, high]
}

/// The nearest whole number of a small f32, as far as 16 bits hold it.
#[inline(always)]
fn whole(bits: u32) -> [u8; 2] {
    // Units of 1.5 × 2^23 are ones.
    let [low, high, ..] = (f32::from_bits(bits) + 12_582_912.0).to_bits().to_le_bytes();
    [low, high]
}
