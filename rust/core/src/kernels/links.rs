//! Loops over lists of links: places in ascending order, and which link has one back (spec, `codecs/links.md`).

/// Fills up the last group of a list: no id is above it.
pub const PAD: u32 = i32::MAX as u32;

/// Of each of `below.len()` numbers (all up to `PAD`, distinct): how many are smaller in all, and among those after it.
/// `list` holds them in order; what is left of its last group is `PAD`.
#[inline(always)]
pub fn rank(list: &[[u32; 8]], below: &mut [u8], left: &mut [u8]) {
    let numbers = list.as_flattened();
    let counts = below.iter_mut().zip(left).zip(numbers);
    for (place, ((below, left), number)) in counts.enumerate() {
        let smaller = |others: &[u32]| others.iter().fold(0u8, |count, other| count + u8::from(other < number));
        let (before, after) = numbers.split_at(place);
        let after = smaller(after);
        (*below, *left) = (smaller(before) + after, after);
    }
}

/// A claim is `row << id_bits | place`: the node `base + place` links to that row of `lists` (`slots` ids each). Where the
/// row links back, the bit of that slot is set in its `slots.div_ceil(64)` words of `marks`.
#[inline(always)]
pub fn mark(claims: &[u32], id_bits: u32, base: u32, lists: &[u32], slots: usize, marks: &mut [u64]) {
    let words = slots.div_ceil(64);
    for claim in claims {
        let (row, id) = claimed(*claim, id_bits, base);
        let Some(list) = lists.get(row * slots..(row + 1) * slots) else { continue };
        for (word, slots) in marks.iter_mut().skip(row * words).zip(list.chunks(64)) {
            *word |= slots.iter().rev().fold(0, |bits, slot| bits << 1 | u64::from(*slot == id));
        }
    }
}

#[inline(always)]
pub fn claimed(claim: u32, id_bits: u32, base: u32) -> (usize, u32) {
    ((claim >> id_bits) as usize, base.wrapping_add(claim & !(u32::MAX << id_bits)))
}
