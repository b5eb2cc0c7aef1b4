//! Codec 10 (spec, `codecs/lists.md`): ids `base ..` without a gap, dealt out to ascending runs (the lists of an IVF);
//! the number of its run is kept of each id.

use super::{Codec, fits, integer_bytes, word_at};
use crate::error::Result;
use crate::kernels::Machine;
use crate::stream::ElementType;

const HEADER_BYTES: usize = 16;
/// Run numbers that are unpacked at a time; a multiple of 8, so that each slab starts at a byte.
const SLAB: usize = 4_096;

/// Makes `block` at most `limit` bytes long; false when that cannot be, or the ids are not of this kind.
pub(super) fn encode(element_type: ElementType, raw: &[u8], limit: usize, block: &mut Vec<u8>) -> bool {
    match integer_bytes(element_type, raw) {
        Some(4) => encode_as::<4>(raw, limit, block),
        Some(8) => encode_as::<8>(raw, limit, block),
        _ => false,
    }
}

fn encode_as<const BYTES: usize>(raw: &[u8], limit: usize, block: &mut Vec<u8>) -> bool {
    let ids = raw.as_chunks::<BYTES>().0;
    let found = Machine::detect().extremes(BYTES, raw);
    if ids.is_empty() || found.high - found.low != (ids.len() - 1) as u64 {
        return false;
    }
    let runs = 1 + ids.windows(2).filter(|pair| widen(&pair[1]) < widen(&pair[0])).count();
    let (Some(width), Ok(run_field)) = (width_of(runs), u32::try_from(runs)) else { return false };
    let block_bytes = HEADER_BYTES + (ids.len() * width as usize).div_ceil(8);
    if block_bytes > limit {
        return false;
    }
    // No run has this number, for there are fewer runs than ids, and those are fewer than 2^32.
    let mut numbers = vec![u32::MAX; ids.len()];
    let (mut run, mut last) = (0, widen(&ids[0]));
    for id in ids.iter().map(widen) {
        run += u32::from(id < last);
        last = id;
        let Some(number) = usize::try_from(id - found.low).ok().and_then(|place| numbers.get_mut(place)) else {
            return false;
        };
        *number = run;
    }
    // An id that comes twice leaves another out.
    if numbers.contains(&u32::MAX) {
        return false;
    }
    let numbers: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
    block.resize(block_bytes, 0);
    let (header, packed) = block.split_at_mut(HEADER_BYTES);
    header[..8].copy_from_slice(&found.low.to_le_bytes());
    header[8..].copy_from_slice(&(u64::from(run_field) | (BYTES as u64) << 32).to_le_bytes());
    Machine::detect().pack(4, &numbers, 0, width, packed);
    true
}

pub(super) fn decode(element_type: ElementType, block: &[u8], raw: &mut [u8]) -> Result<()> {
    let outcome = match integer_bytes(element_type, raw) {
        Some(4) => decode_as::<4>(block, raw),
        Some(8) => decode_as::<8>(block, raw),
        _ => Err(format!("stands in a chunk of {} bytes of {}; expected ids", raw.len(), element_type.name())),
    };
    outcome.map_err(|detail| Codec::Lists.refuses(detail))
}

fn decode_as<const BYTES: usize>(block: &[u8], raw: &mut [u8]) -> std::result::Result<(), String> {
    let ids = raw.as_chunks_mut::<BYTES>().0;
    let Some((header, packed)) = block.split_at_checked(HEADER_BYTES) else {
        return Err(format!("has {} bytes, expected at least {HEADER_BYTES}", block.len()));
    };
    let (base, fields) = (word_at(header, 0), word_at(header, 8));
    let runs = usize::try_from(fields & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    let last = base.checked_add((ids.len() as u64).saturating_sub(1));
    if fields >> 32 != BYTES as u64 || last.is_none_or(|last| !fits(last, BYTES)) {
        let found = format!("has base {base} and width field {:#x}", fields >> 32);
        return Err(format!("{found}; expected {} ids of {BYTES} bytes", ids.len()));
    }
    let Some(width) = width_of(runs).filter(|_| runs <= ids.len()) else {
        return Err(format!("has {runs} runs of {} ids; expected 2 or more, none empty", ids.len()));
    };
    let (bits, expected) = (ids.len() * width as usize, (ids.len() * width as usize).div_ceil(8));
    let spare_is_zero = bits.is_multiple_of(8) || packed.last().is_some_and(|last| last >> (bits % 8) == 0);
    if packed.len() != expected || !spare_is_zero {
        return Err(format!("has {} bytes, expected {HEADER_BYTES}, {expected} and zeros at the end", block.len()));
    }
    // Where the next id of each run goes.
    let mut places = vec![0u32; runs];
    each_number(packed, width, ids.len(), |_, run| places.get_mut(run as usize).map(|count| *count += 1))
        .ok_or_else(|| format!("names a run past the last, {}", runs - 1))?;
    let mut start = 0;
    for place in &mut places {
        // The counts add up to the ids, which are fewer than 2^32.
        start += std::mem::replace(place, start);
    }
    each_number(packed, width, ids.len(), |index, run| {
        let place = places.get_mut(run as usize)?;
        let id = (base + index).to_le_bytes();
        ids.get_mut(*place as usize)?.iter_mut().zip(id).for_each(|(to, from)| *to = from);
        *place += 1;
        Some(())
    })
    .ok_or_else(|| "has runs that do not add up".to_owned())
}

/// Each id's offset from the base with the number of its run; stops at `None`.
fn each_number(packed: &[u8], width: u32, count: usize, mut visit: impl FnMut(u64, u32) -> Option<()>) -> Option<()> {
    let mut slab = [0; 4 * SLAB];
    let mut index = 0;
    for (number, start) in (0..count).step_by(SLAB).enumerate() {
        let part = &mut slab[..4 * SLAB.min(count - start)];
        Machine::detect().unpack(4, packed.get(number * SLAB / 8 * width as usize..)?, 0, width, part);
        for run in part.as_chunks().0 {
            visit(index, u32::from_le_bytes(*run))?;
            index += 1;
        }
    }
    Some(())
}

/// Bits of a run number; `None` for runs that another codec is for, or too many.
fn width_of(runs: usize) -> Option<u32> {
    let last = u32::try_from(runs.checked_sub(1)?).ok()?;
    (last >= 1).then(|| u32::BITS - last.leading_zeros())
}

fn widen<const BYTES: usize>(value: &[u8; BYTES]) -> u64 {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at the first fault")]
mod tests {
    use super::*;
    use crate::codec::testing;

    testing::conformance!(Codec::Lists, |element_type, raw, block, _| {
        Ok(encode(element_type, raw, usize::MAX, block))
    });

    fn dealt(base: i64, count: i64, lists: i64) -> Vec<u8> {
        let deal = |list| (0..count).filter(move |id| (id * id + id / 7) % lists == list);
        (0..lists).flat_map(deal).flat_map(|id| (base + id).to_le_bytes()).collect()
    }

    #[test]
    fn lists_come_back_at_every_length_and_base() {
        for base in [0, 5, i64::MAX - 9_000, i64::MIN] {
            for count in (2..70).chain([4_095, 4_096, 4_097, 8_999]) {
                for lists in [2, 3, 16, 37] {
                    let raw = dealt(base, count, lists);
                    let mut block = Vec::new();
                    if encode(ElementType::I64, &raw, usize::MAX, &mut block) {
                        let mut found = vec![0xA5; raw.len()];
                        decode(ElementType::I64, &block, &mut found).unwrap();
                        assert!(found == raw);
                    }
                }
            }
        }
    }

    #[test]
    fn an_id_costs_the_bits_of_a_list_number() {
        let mut block = Vec::new();
        assert!(encode(ElementType::U64, &dealt(0, 9_000, 64), usize::MAX, &mut block));
        assert!(block.len() <= HEADER_BYTES + 9_000 * 6 / 8);
    }

    #[test]
    fn ids_that_are_missing_or_come_twice_are_not_taken() {
        for ids in [[0u32, 1, 3, 2, 5], [0, 1, 1, 3, 4], [4, 4, 0, 1, 2], [0, 1, 2, 3, 4]] {
            let raw: Vec<u8> = ids.into_iter().flat_map(u32::to_le_bytes).collect();
            assert!(!encode(ElementType::U32, &raw, usize::MAX, &mut Vec::new()), "{ids:?}");
        }
    }

    #[test]
    fn decode_refuses_runs_and_bases_that_cannot_be() {
        let raw: Vec<u8> = [1u32, 2, 0, 4, 3].into_iter().flat_map(u32::to_le_bytes).collect();
        let mut block = Vec::new();
        assert!(encode(ElementType::U32, &raw, usize::MAX, &mut block));
        for (at, byte) in [(4, 1), (3, 0xFF), (8, 0), (8, 1), (8, 2), (8, 6), (11, 1), (12, 8), (13, 1), (17, 7)] {
            let mut wrong = block.clone();
            wrong[at] = byte;
            let outcome = decode(ElementType::U32, &wrong, &mut [0; 20]);
            assert_eq!(outcome.is_err(), (at, byte) != (3, 0xFF), "byte {at} = {byte}");
        }
    }
}
