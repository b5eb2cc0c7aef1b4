//! Prefix codes for zstd's literals (RFC 8878, 4.2.1): lengths out of counts, codes out of lengths, and their description.

use super::weights;
use crate::kernels::{CODE_BITS_MAX, PrefixCode};

const LONGEST: usize = CODE_BITS_MAX as usize;
/// The first byte of a description that takes half a byte for each weight is this and the number of its weights.
const PLAIN_BASE: usize = 127;

/// The code for bytes that occur as often as `counts` says; `None` unless two do.
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
    let mut lengths_left = limited(depths(leaves));
    let mut length = LONGEST;
    // The rarest come first and get the longest.
    for (_, byte) in leaves {
        while lengths_left[length] == 0 {
            length -= 1;
        }
        lengths_left[length] -= 1;
        lengths[usize::from(*byte)] = u8::try_from(length).unwrap_or(0);
    }
    Some(PrefixCode { codes: codes_of(&lengths), lengths })
}

/// How many leaves lie how deep in Huffman's tree, all below the longest code as one. `leaves` ascend.
fn depths(leaves: &[(u32, u8)]) -> [u32; LONGEST + 1] {
    // Inner nodes come into being in ascending order, so the two smallest are always at the front of one of two queues.
    let (mut weights, mut parents, mut leaf_parents) = ([0u32; 256], [0usize; 256], [0usize; 256]);
    let inner_count = leaves.len() - 1;
    let (mut next_leaf, mut next_inner) = (0, 0);
    for inner in 0..inner_count {
        for _ in 0..2 {
            let leaf =
                leaves.get(next_leaf).filter(|(weight, _)| next_inner == inner || *weight <= weights[next_inner]);
            if let Some((weight, _)) = leaf {
                weights[inner] += weight;
                leaf_parents[next_leaf] = inner;
                next_leaf += 1;
            } else {
                weights[inner] += weights[next_inner];
                parents[next_inner] = inner;
                next_inner += 1;
            }
        }
    }
    let mut inner_depths = [0usize; 256];
    for inner in (0..inner_count - 1).rev() {
        inner_depths[inner] = inner_depths[parents[inner]] + 1;
    }
    let mut counts = [0; LONGEST + 1];
    for parent in &leaf_parents[..leaves.len()] {
        counts[(inner_depths[*parent] + 1).min(LONGEST)] += 1;
    }
    counts
}

/// Where leaves were lifted to the deepest level there are more codes than there is room for: of the deepest leaf above
/// it and one there two are made below the former's place, until they fit.
fn limited(mut counts: [u32; LONGEST + 1]) -> [u32; LONGEST + 1] {
    let taken =
        |counts: &[u32; LONGEST + 1]| -> u32 { (1..=LONGEST).map(|length| counts[length] << (LONGEST - length)).sum() };
    let mut excess = taken(&counts).saturating_sub(1 << LONGEST);
    while excess > 0 {
        let Some(split) = (1..LONGEST).rev().find(|length| counts[*length] > 0) else { break };
        counts[split] -= 1;
        counts[split + 1] += 2;
        counts[LONGEST] -= 1;
        excess -= 1;
    }
    counts
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

/// Writes the description of `code` to the start of `out`, in its shorter form; `None` where `out` is too short, or codes
/// above 128 are all of one length: such bytes do not compress. The number of its bytes.
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
