//! Codec 33 (spec, `codecs/map.md`): which row of which part stands for each row of a mapped stream. A row is coded as its
//! part and a small step from where the rows of that part were expected to go on.

use super::zstd::{self, Fault, Search};
use super::{Codec, Scratch, word_at};
use crate::error::Result;
use crate::limits::PART_ROW_BITS;

const HEADER_BYTES: usize = 16;
const TARGET_BYTES: usize = 4;
const TARGETS_MAX: usize = 255;
const ROW_MASK: u64 = (1 << PART_ROW_BITS) - 1;
const ESCAPE: u8 = 255;

/// Part and row as one number.
pub fn join(part: u16, row: u64) -> u64 {
    u64::from(part) << PART_ROW_BITS | row & ROW_MASK
}

/// Part and row of a value of a map.
pub fn split(value: u64) -> (u16, u64) {
    (u16::try_from(value >> PART_ROW_BITS).unwrap_or(u16::MAX), value & ROW_MASK)
}

/// The rows of one target as they come.
struct Target {
    number: u16,
    is_positional: bool,
    /// Position and row of the last one; none so far.
    last: Option<(u64, u64)>,
}

impl Target {
    fn new(number: u16, is_positional: bool) -> Self {
        Self { number, is_positional, last: None }
    }

    /// Where the target's next row is looked for; below 2^49, as rows and chunks are.
    fn expected(&self, first_row: u64, position: u64) -> u64 {
        match (self.last, self.is_positional) {
            (None, false) => 0,
            (None, true) => first_row.saturating_add(position),
            (Some((_, row)), false) => row + 1,
            (Some((before, row)), true) => row + (position - before),
        }
    }
}

/// How a row differs from what was expected: a small step ahead, or anything else.
fn step_of(expected: u64, row: u64) -> Option<u8> {
    row.checked_sub(expected).and_then(|step| u8::try_from(step).ok()).filter(|step| *step != ESCAPE)
}

/// Makes `block` at most `limit` bytes long; false when that cannot be.
///
/// # Errors
/// `Io` when the zstd library fails.
pub(super) fn encode(
    first_row: u64,
    raw: &[u8],
    limit: usize,
    block: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<bool> {
    let values = raw.as_chunks::<8>().0;
    let Some(mut targets) = targets_of(first_row, values) else { return Ok(false) };
    let mut places = Vec::with_capacity(values.len());
    let mut steps = Vec::with_capacity(values.len());
    let mut escapes: Vec<u8> = Vec::new();
    walk(values, &mut targets, |place, target, position, row| {
        places.push(place);
        let step = step_of(target.expected(first_row, position), row);
        if step.is_none() {
            escapes.extend_from_slice(&row.to_le_bytes());
        }
        steps.push(step.unwrap_or(ESCAPE));
    });
    let frame_limit = values.len() + 64;
    let mut frames = [Vec::new(), Vec::new()];
    for (frame, plane) in frames.iter_mut().zip([&places, &steps]) {
        if !zstd::encode(Search::Matches, plane, frame_limit, frame, scratch)? {
            return Ok(false);
        }
    }
    block.clear();
    let field = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes(); // a chunk is below 2^28 bytes
    block.extend_from_slice(&field(targets.len()));
    block.extend_from_slice(&field(frames[0].len()));
    block.extend_from_slice(&field(frames[1].len()));
    block.extend_from_slice(&field(escapes.len() / 8));
    for target in &targets {
        block.extend_from_slice(&target.number.to_le_bytes());
        block.extend_from_slice(&[u8::from(target.is_positional), 0]);
    }
    frames.iter().for_each(|frame| block.extend_from_slice(frame));
    block.extend_from_slice(&escapes);
    Ok(block.len() <= limit)
}

/// The targets in order of appearance, each in the mode that fits it better; `None` for none or too many.
fn targets_of(first_row: u64, values: &[[u8; 8]]) -> Option<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::new();
    for value in values {
        let (number, _) = split(u64::from_le_bytes(*value));
        if !targets.iter().rev().any(|target| target.number == number) {
            targets.push(Target::new(number, true));
        }
        if targets.len() > TARGETS_MAX {
            return None;
        }
    }
    let mut misses = [vec![0u64; targets.len()], vec![0u64; targets.len()]];
    for (mode, misses) in misses.iter_mut().enumerate() {
        targets.iter_mut().for_each(|target| *target = Target::new(target.number, mode == 1));
        walk(values, &mut targets, |place, target, position, row| {
            misses[usize::from(place)] += u64::from(step_of(target.expected(first_row, position), row) != Some(0));
        });
    }
    for (place, target) in targets.iter_mut().enumerate() {
        *target = Target::new(target.number, misses[1][place] < misses[0][place]);
    }
    (!targets.is_empty()).then_some(targets)
}

/// Calls `visit` with the place of each row's target, the target as it was before, the row's position and the row.
fn walk(values: &[[u8; 8]], targets: &mut [Target], mut visit: impl FnMut(u8, &Target, u64, u64)) {
    let mut place = 0;
    for (position, value) in values.iter().enumerate() {
        let (number, row) = split(u64::from_le_bytes(*value));
        if targets[place].number != number {
            place = targets.iter().position(|target| target.number == number).unwrap_or(0);
        }
        visit(u8::try_from(place).unwrap_or(u8::MAX), &targets[place], position as u64, row);
        targets[place].last = Some((position as u64, row));
    }
}

/// Fills `raw` with the values. `block` is hostile.
///
/// # Errors
/// `Damaged` at layer `Codec`; `Io` when zstd finds no memory.
pub(super) fn decode(first_row: u64, block: &[u8], raw: &mut [u8], scratch: &mut Scratch) -> Result<()> {
    let refuses = |detail: String| Codec::Map.refuses(detail);
    let row_count = raw.len() / 8;
    if !raw.len().is_multiple_of(8) || block.len() < HEADER_BYTES {
        return Err(refuses(format!("{} bytes for {} bytes of rows", block.len(), raw.len())));
    }
    let (counts, sizes) = (word_at(block, 0), word_at(block, 8));
    let low = |word: u64| usize::try_from(word & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    let (target_count, frame_bytes) = (low(counts), [low(counts >> 32), low(sizes)]);
    let escape_count = low(sizes >> 32);
    if !(1..=TARGETS_MAX).contains(&target_count) {
        return Err(refuses(format!("has {target_count} targets, expected 1 to {TARGETS_MAX}")));
    }
    let parts = block[HEADER_BYTES..].split_at_checked(target_count * TARGET_BYTES);
    let parts = parts.and_then(|(targets, rest)| Some((targets, rest.split_at_checked(frame_bytes[0])?)));
    let parts =
        parts.and_then(|(targets, (places, rest))| Some((targets, places, rest.split_at_checked(frame_bytes[1])?)));
    let Some((table, places, (steps, escapes))) = parts else {
        return Err(refuses(format!("its parts run past its {} bytes", block.len())));
    };
    if escape_count.checked_mul(8) != Some(escapes.len()) {
        return Err(refuses(format!("{escape_count} escapes in {} bytes", escapes.len())));
    }
    let mut targets = decode_targets(table).map_err(refuses)?;
    let mut planes = [vec![0; row_count], vec![0; row_count]];
    for (frame, plane) in [places, steps].into_iter().zip(&mut planes) {
        zstd::decode_frame(frame, plane, scratch).map_err(|fault| match fault {
            Fault::Frame(detail) => refuses(detail),
            Fault::Other(error) => error,
        })?;
    }
    let mut escapes = escapes.as_chunks::<8>().0.iter();
    let steps = planes[0].iter().zip(&planes[1]);
    for (position, ((place, step), value)) in steps.zip(raw.as_chunks_mut::<8>().0).enumerate() {
        let Some(target) = targets.get_mut(usize::from(*place)) else {
            return Err(refuses(format!("row {position} has target {place} of {target_count}")));
        };
        let row = match step {
            &ESCAPE => escapes.next().map(|escape| u64::from_le_bytes(*escape)),
            step => Some(target.expected(first_row, position as u64) + u64::from(*step)),
        };
        let Some(row) = row.filter(|row| *row <= ROW_MASK) else {
            return Err(refuses(format!("row {position} stands for no row below 2^{PART_ROW_BITS}")));
        };
        target.last = Some((position as u64, row));
        *value = join(target.number, row).to_le_bytes();
    }
    match escapes.next() {
        None => Ok(()),
        Some(_) => Err(refuses("has escapes that no row takes".to_owned())),
    }
}

fn decode_targets(table: &[u8]) -> std::result::Result<Vec<Target>, String> {
    let mut targets: Vec<Target> = Vec::new();
    for &[low, high, mode, reserved] in table.as_chunks::<TARGET_BYTES>().0 {
        let number = u16::from_le_bytes([low, high]);
        if mode > 1 || reserved != 0 || targets.iter().any(|target| target.number == number) {
            return Err(format!("target {number} has mode {mode} and {reserved}, or comes twice"));
        }
        targets.push(Target::new(number, mode == 1));
    }
    Ok(targets)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::error::Layer;
    use proptest::prelude::*;

    fn bytes_of(values: &[u64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn round_trip(first_row: u64, values: &[u64]) -> usize {
        let (raw, mut block, mut scratch) = (bytes_of(values), Vec::new(), Scratch::new());
        assert!(encode(first_row, &raw, usize::MAX, &mut block, &mut scratch).unwrap());
        let mut found = vec![1; raw.len()];
        decode(first_row, &block, &mut found, &mut scratch).unwrap();
        assert!(found == raw);
        block.len()
    }

    #[test]
    fn one_in_a_hundred_changed_costs_little() {
        let mut patched = 0;
        let values: Vec<u64> = (0..65_536u64)
            .map(|row| {
                let is_new = row.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 57 == 0;
                patched += u64::from(is_new);
                if is_new { join(2, patched - 1) } else { join(1, row + 7) }
            })
            .collect();
        assert!(round_trip(0, &values) < 2_000);
        assert!(round_trip(7, &(0..65_536).map(|row| join(1, row + 7)).collect::<Vec<_>>()) < 100);
    }

    #[test]
    fn the_example_of_the_page_is_what_is_written() {
        let values = [join(1, 10), join(2, 0), join(1, 12), join(1, 14)];
        let (mut block, mut scratch) = (Vec::new(), Scratch::new());
        assert!(encode(10, &bytes_of(&values), 1000, &mut block, &mut scratch).unwrap());
        assert_eq!(block[..4], [2, 0, 0, 0]);
        assert_eq!(block[16..24], [1, 0, 1, 0, 2, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn any_values_come_back(
            first_row in 0u64..1 << 40,
            values in prop::collection::vec((0u16..40, 0u64..1 << 48), 1..300),
        ) {
            let values: Vec<u64> = values.into_iter().map(|(part, row)| join(part, row)).collect();
            round_trip(first_row, &values);
        }

        #[test]
        fn hostile_blocks_are_refused_or_give_rows(
            mut block in prop::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(), value in any::<u8>(), own in any::<bool>(),
        ) {
            let mut scratch = Scratch::new();
            if own {
                let raw = bytes_of(&(0..50).map(|row| join(1 + (row % 3) as u16, row * 300)).collect::<Vec<_>>());
                encode(0, &raw, 10_000, &mut block, &mut scratch).unwrap();
                let at = at.index(block.len());
                block[at] = value;
            }
            let mut raw = vec![0; 400];
            if let Err(error) = decode(0, &block, &mut raw, &mut scratch) {
                prop_assert_eq!(error.layer(), Some(Layer::Codec));
            }
        }
    }
}
