//! Verification of placement (spec 6): blocks do not overlap, and between them lie fewer than 64 zero bytes.

use super::Entry;
use crate::error::{Error, Layer};
use crate::limits::{BLOCK_ALIGNMENT, HEADER_BYTES};
use crate::stream::StreamDescription;

/// A run of padding: bytes of no block, which must be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub offset: u64,
    pub bytes: u64,
}

/// What `check` found between byte 64 and the index.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// In order; to be read and given to `check_padding`. Gaps with a fault of their own are not among them.
    pub gaps: Vec<Gap>,
    pub faults: Vec<Error>,
}

/// Checks the places of all readable entries, in any order; `blocks` is sorted. `complete` says that every index
/// block was readable: otherwise a wide gap is no fault, as unknown blocks may lie there.
pub fn check(blocks: &mut [(u64, u32)], index_offset: u64, complete: bool) -> Layout {
    blocks.sort_unstable();
    let mut layout = Layout::default();
    let mut end = HEADER_BYTES as u64;
    for &(offset, stored_bytes) in blocks.iter() {
        layout.step(end, offset, complete);
        // Of two blocks that overlap the longer one may reach further.
        end = end.max(offset.saturating_add(u64::from(stored_bytes)));
    }
    layout.step(end, index_offset, complete);
    layout
}

impl Layout {
    /// What lies between the end of one block and the start of the next.
    fn step(&mut self, end: u64, start: u64, complete: bool) {
        let bytes = start.saturating_sub(end);
        if start < end {
            self.faults.push(Error::damaged(
                Layer::Index,
                format!("block at {start}"),
                format!("overlaps the block before it, which ends at {end}; the index is wrong, use another copy"),
            ));
        } else if bytes >= BLOCK_ALIGNMENT && complete {
            self.faults.push(Error::damaged(
                Layer::Padding,
                format!("bytes {end} to {start}"),
                format!("{bytes} bytes belong to no block, expected fewer than {BLOCK_ALIGNMENT}"),
            ));
        } else if bytes > 0 && bytes < BLOCK_ALIGNMENT {
            self.gaps.push(Gap { offset: end, bytes });
        }
    }
}

/// The place of an entry as `check` takes it.
pub fn place_of(entry: &Entry) -> (u64, u32) {
    (entry.offset, entry.stored_bytes)
}

/// Compares the sums of stored bytes, one a stream, with the stream table; only meaningful when every index block
/// was readable. Opening does not need them: nothing is allocated or found by these fields.
pub fn check_stored_bytes(streams: &[StreamDescription], sums: &[u64]) -> Vec<Error> {
    let differs = |stream: &StreamDescription, sum: u64| {
        let detail = format!("stored_bytes {}, but its blocks have {sum}", stream.stored_bytes);
        (sum != stream.stored_bytes)
            .then(|| Error::damaged(Layer::Index, format!("stream \"{}\"", stream.name), detail))
    };
    let sums = sums.iter().copied().chain(std::iter::repeat(0));
    streams.iter().zip(sums).filter_map(|(stream, sum)| differs(stream, sum)).collect()
}

/// Checks that the bytes of a gap, as read, are zero.
///
/// # Errors
/// `Damaged` at `Padding`.
pub fn check_padding(gap: Gap, bytes: &[u8]) -> crate::error::Result<()> {
    match bytes.iter().position(|&byte| byte != 0) {
        None => Ok(()),
        Some(position) => Err(Error::damaged(
            Layer::Padding,
            format!("byte {}", gap.offset.saturating_add(position as u64)),
            "padding that is not zero; the rows are unharmed",
        )),
    }
}
