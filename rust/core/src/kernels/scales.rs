//! The number that a row of half precision was multiplied or divided by (spec, `codecs/narrow.md`).

use super::halves::Rule;

/// Values looked at before the whole row is.
const PROBES: usize = 24;
/// How far a true candidate may be off its grid after five roundings, in units of the last place.
const TOLERANCE: u32 = 6;
/// How far from the estimate a scale is searched, in units of the last place.
const STEPS: u32 = 6;
/// Candidates tried on the whole row: a bf16 times 3, 5 or 7 is an f16, and fits as nearly.
const SURVIVORS_MAX: usize = 24;
/// Candidates that one value is tried on at once.
const STRETCH: u16 = 32;

/// Finds a scale that gives back `row` bit for bit from values with a fraction of `fraction_bits`, and those values (as
/// f32, in `values`). None of the numbers involved is subnormal. A row of zeros has the scale 1.
#[inline(always)]
pub fn find_scale(row: &[u8], fraction_bits: u32, rule: Rule, values: &mut [u8]) -> Option<f32> {
    let row = row.as_chunks::<4>().0;
    if row.iter().all(|value| u32::from_le_bytes(*value) << 1 == 0) {
        values.as_chunks_mut::<4>().0.iter_mut().zip(row).for_each(|(value, zero)| *value = *zero);
        return Some(1.0);
    }
    let (mut scale, mut survivors) = (None, 0);
    search(row, fraction_bits, |narrow, largest| {
        scale = confirm(row, narrow, largest, fraction_bits, rule, values);
        survivors += 1;
        scale.is_some() || survivors == SURVIVORS_MAX
    });
    scale
}

/// Whether `row` looks like values with a fraction of `fraction_bits` times some number. False for zeros.
#[inline(always)]
pub fn looks_scaled(row: &[u8], fraction_bits: u32) -> bool {
    search(row.as_chunks::<4>().0, fraction_bits, |_, _| true)
}

/// Offers what the largest value of `row` may have been, and that value, until it is taken; false when it never is.
#[inline(always)]
fn search(row: &[[u8; 4]], fraction_bits: u32, mut take: impl FnMut(f32, f32) -> bool) -> bool {
    let (low, high) = magnitudes(row);
    // Far from both ends of the range, and not so far from each other that a value would be subnormal. (One value of each
    // row of some models is 1e-33.)
    if !(67 << 23..187 << 23).contains(&high) || low < 1 << 23 || low < high.saturating_sub(124 << 23) {
        return false;
    }
    let largest = f32::from_bits(high);
    // The largest value becomes one of [1, 2), or as large as f16 has, so that the smallest stay normal there.
    let unit = f32::from_bits(if fraction_bits == 7 { 120 << 23 } else { 132 << 23 });
    let inverse = unit / largest;
    let mut probes = [0.0; PROBES];
    let others = row.iter().map(|value| f32::from_le_bytes(*value));
    // Smaller ones, and so 0, say nothing.
    let others = others.filter(|value| value.abs() > largest * 1e-6 && value.abs() != largest);
    let probe_count = probes.iter_mut().zip(others).map(|(probe, value)| *probe = value * inverse).count();
    let probes = &probes[..probe_count];
    let first_probe = probes.first().copied().unwrap_or(0.0);
    let first: u16 = 1 << fraction_bits;
    for start in (first..2 * first).step_by(STRETCH.into()) {
        let nearest = (0..STRETCH).map(|step| off_grid(f32::from(start + step) * first_probe, fraction_bits));
        if nearest.fold(u32::MAX, u32::min) > 2 * TOLERANCE {
            continue;
        }
        for candidate in (start..start + STRETCH).map(f32::from) {
            let fits = probes.iter().all(|probe| off_grid(candidate * probe, fraction_bits) <= 2 * TOLERANCE);
            if fits && take(candidate * unit, largest) {
                return true;
            }
        }
    }
    false
}

/// Smallest (other than 0) and largest magnitude, as bits.
#[inline(always)]
fn magnitudes(row: &[[u8; 4]]) -> (u32, u32) {
    let (mut low, mut high) = (u32::MAX, 0);
    for value in row {
        let magnitude = u32::from_le_bytes(*value) & 0x7FFF_FFFF;
        high = high.max(magnitude);
        // Zero wraps to the largest number.
        low = low.min(magnitude.wrapping_sub(1));
    }
    (low.wrapping_add(1), high)
}

/// At most twice the tolerance for a value that has no more than `fraction_bits` behind its first bit, nearly.
#[inline(always)]
fn off_grid(value: f32, fraction_bits: u32) -> u32 {
    value.to_bits().wrapping_add(TOLERANCE) & ((1 << (23 - fraction_bits)) - 1)
}

/// Tries the scales near the one that makes `largest` of `narrow`.
#[inline(always)]
fn confirm(
    row: &[[u8; 4]],
    narrow: f32,
    largest: f32,
    fraction_bits: u32,
    rule: Rule,
    values: &mut [u8],
) -> Option<f32> {
    let values = values.as_chunks_mut::<4>().0;
    let factor = narrow / largest;
    let (half, mask) = (1u32 << (22 - fraction_bits), u32::MAX << (23 - fraction_bits));
    for (value, narrowed) in row.iter().zip(values.iter_mut()) {
        let rounded = (f32::from_le_bytes(*value) * factor).to_bits().wrapping_add(half) & mask;
        *narrowed = rounded.to_le_bytes();
    }
    let estimate = if rule == Rule::Divide { factor } else { largest / narrow };
    let near = |step: u32| [estimate.to_bits() + step, estimate.to_bits() - step];
    (0..=STEPS).flat_map(near).map(f32::from_bits).find(|scale| holds(row, values, *scale, rule))
}

#[inline(always)]
fn holds(row: &[[u8; 4]], values: &[[u8; 4]], scale: f32, rule: Rule) -> bool {
    // Stretches keep the inner loop free of branches and the whole quick to say no.
    row.chunks(64).zip(values.chunks(64)).all(|(row, values)| {
        let mut difference = 0;
        for (expected, value) in row.iter().zip(values) {
            let value = f32::from_le_bytes(*value);
            let found = if rule == Rule::Divide { value / scale } else { value * scale };
            difference |= found.to_bits() ^ u32::from_le_bytes(*expected);
        }
        difference == 0
    })
}
