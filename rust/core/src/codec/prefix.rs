//! Prefix codes for zstd's literals (RFC 8878, 4.2.1): lengths out of counts, codes out of lengths, and their description.

use super::weights;
use crate::kernels::{CODE_BITS_MAX, PrefixCode};

const LONGEST: usize = CODE_BITS_MAX as usize;
/// The first byte of a description that takes half a byte for each weight is this and the number of its weights.
const PLAIN_BASE: usize = 127;

/// The shortest code for bytes that occur as often as `counts` says; `None` unless two do.
pub(super) fn code_for(counts: &[u32; 256]) -> Option<PrefixCode> {
    let mut leaves = [(0u32, 0u8); 256];
    let mut leaf_count = 0;
    for ((byte, count), leaf) in (0..=u8::MAX).zip(counts).filter(|(_, count)| **count > 0).zip(&mut leaves) {
        *leaf = (*count, byte);
        leaf_count += 1;
    }
    let leaves = leaves.get_mut(..leaf_count).filter(|leaves| leaves.len() > 1)?;
    leaves.sort_unstable();
    let mut lengths = [0; 256];
    for taken in taken_leaves(leaves) {
        for (_, byte) in &leaves[..taken] {
            lengths[usize::from(*byte)] += 1;
        }
    }
    Some(PrefixCode { codes: codes_of(&lengths), lengths })
}

/// Package-merge (Larmore and Hirschberg 1990): for each bit of the longest code, how many of the `leaves`, the rarest
/// first, have that bit. They ascend, and are two or more.
fn taken_leaves(leaves: &[(u32, u8)]) -> [usize; LONGEST] {
    // In each row the leaves and the pairs of the row before, in order of weight: which are leaves.
    let mut rows = [[false; 512]; LONGEST];
    let (mut weights, mut before) = ([0u64; 512], [0u64; 512]);
    let mut pair_count = 0;
    for is_leaf in &mut rows {
        let row_length = leaves.len() + pair_count;
        let (mut next_leaf, mut next_pair) = (0, 0);
        for (weight, is_leaf) in weights.iter_mut().zip(is_leaf).take(row_length) {
            let pair = before[2 * next_pair % 512] + before[(2 * next_pair + 1) % 512];
            let leaf = leaves.get(next_leaf).map(|(count, _)| u64::from(*count));
            *is_leaf = leaf.is_some_and(|leaf| next_pair == pair_count || leaf <= pair);
            *weight = if *is_leaf { leaf.unwrap_or(0) } else { pair };
            next_leaf += usize::from(*is_leaf);
            next_pair += usize::from(!*is_leaf);
        }
        std::mem::swap(&mut weights, &mut before);
        pair_count = row_length / 2;
    }
    let mut taken = [0; LONGEST];
    let mut wanted = 2 * leaves.len() - 2;
    for (taken, is_leaf) in taken.iter_mut().zip(&rows).rev() {
        *taken = is_leaf.iter().take(wanted).filter(|is_leaf| **is_leaf).count();
        wanted = 2 * (wanted - *taken);
    }
    taken
}

/// Codes in order of length, the longest first, then of bytes.
fn codes_of(lengths: &[u8; 256]) -> [u16; 256] {
    let mut codes = [0; 256];
    let mut next = 0u16;
    for length in (1..=CODE_BITS_MAX).rev() {
        for (code, _) in codes.iter_mut().zip(lengths).filter(|(_, found)| u32::from(**found) == length) {
            *code = next;
            next += 1;
        }
        next >>= 1;
    }
    codes
}

/// Writes the description of `code` to the start of `out`, in its shorter form; `None` where `out` is too short, or bytes above
/// 128 have a code and all but the last are of one length: they hardly compress. The number of its bytes.
pub(super) fn describe(code: &PrefixCode, out: &mut [u8]) -> Option<usize> {
    let last = code.lengths.iter().rposition(|length| *length > 0)?;
    let longest = code.lengths.iter().copied().max()?;
    let weights = code.lengths.map(|length| if length == 0 { 0 } else { longest + 1 - length });
    // The last one's weight follows from the others.
    let listed = weights.get(..last).filter(|listed| !listed.is_empty())?;
    let plain = plain(listed);
    let coded = weights::describe(listed);
    let description = match (&plain, &coded) {
        (Some(plain), Some(coded)) if coded.len() < plain.len() => coded,
        (Some(plain), _) => plain,
        (None, coded) => coded.as_ref()?,
    };
    out.get_mut(..description.len())?.copy_from_slice(description);
    Some(description.len())
}

/// Half a byte for each weight; up to 128 of them.
fn plain(weights: &[u8]) -> Option<Vec<u8>> {
    let head = u8::try_from(PLAIN_BASE + weights.len()).ok()?;
    let pairs = weights.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0));
    Some(std::iter::once(head).chain(pairs).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at the first fault")]
mod tests {
    use super::*;

    fn counts_of(count: impl Fn(u32) -> u32) -> [u32; 256] {
        let mut counts = [0; 256];
        (0..).zip(&mut counts).for_each(|(number, found)| *found = count(number));
        counts
    }

    #[test]
    fn every_code_is_complete_and_no_longer_than_it_may_be() {
        let fibonacci = |number: u32| (0..number.min(40)).fold((1u32, 1u32), |(a, b), _| (b, a + b)).0;
        let shapes = [
            counts_of(|number| u32::from(number < 2)),
            counts_of(|_| 1),
            counts_of(|number| 1 << (number % 31)),
            counts_of(|number| if number < 41 { fibonacci(number) } else { 0 }),
            counts_of(|number| if number % 7 == 3 { number * number + 1 } else { 0 }),
        ];
        for counts in shapes {
            let code = code_for(&counts).unwrap();
            let coded = |number: &usize| code.lengths[*number] > 0;
            assert!((0..256).all(|number| coded(&number) == (counts[number] > 0)));
            let filled: u32 =
                (0..256).filter(coded).map(|number| 1 << (CODE_BITS_MAX - u32::from(code.lengths[number]))).sum();
            assert_eq!(filled, 1 << CODE_BITS_MAX);
            // Codes as spans of the longest: none within another, as they fill all of it.
            let start =
                |number: usize| u32::from(code.codes[number]) << (CODE_BITS_MAX - u32::from(code.lengths[number]));
            let mut starts: Vec<u32> = (0..256).filter(coded).map(start).collect();
            starts.sort_unstable();
            starts.dedup();
            assert_eq!(starts.len(), (0..256).filter(coded).count());
        }
    }

    #[test]
    fn a_code_is_as_short_as_any_within_the_limit() {
        // Without a limit the deepest of these four would have 3 bits; and so it may here.
        let code = code_for(&counts_of(|number| [1, 2, 4, 8].get(number as usize).copied().unwrap_or(0))).unwrap();
        assert_eq!(code.lengths[..4], [3, 3, 2, 1]);
        let one = |counts: &[u32; 256]| code_for(counts).is_none();
        assert!(one(&counts_of(|_| 0)) && one(&counts_of(|number| u32::from(number == 9))));
    }
}
