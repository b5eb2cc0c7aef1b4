//! Codec 9 (spec, `codecs/links.md`): link lists of a graph. A link that goes both ways is stored once.

pub(super) mod bits;
mod buckets;
mod decode;
mod encode;
mod lists;
mod order;
pub(in crate::codec) mod parallel;
#[cfg(test)]
mod tests;

pub(super) use decode::decode;
pub(super) use encode::encode;
pub use order::sort_lists;

use crate::stream::{ChunkShape, ElementType};

const HEADER_BYTES: usize = 32;
const PLANE_RECORD_BYTES: usize = 12;
/// A degree is a byte; `EXCEPTION` stands for a row that is kept as it is.
const SLOTS_MAX: usize = 254;
const EXCEPTION: u8 = 255;
/// Ids and node numbers stay below this.
const IDS_MAX: u32 = 1 << 31;

/// The rows are the nodes `base ..`, so links between them may go both ways.
const FLAG_NODES: u32 = 1;
/// Lists have an order of their own; without it they are ascending.
const FLAG_ORDER: u32 = 2;
const FLAGS: u32 = FLAG_NODES | FLAG_ORDER;

/// Planes: runs of symbols of a byte.
const DEGREES: usize = 0;
const BACKWARD: usize = 1;
const OUTSIDE: usize = 2;
const TAILS: usize = 3;
const HEADS: usize = 4;
const STALE_SLOTS: usize = 5;
const STALE_SOURCES: usize = 6;
/// Gaps of forward links, with the flag, and of all others; 32 classes each.
const FORWARD_GAPS: usize = 32;
const OTHER_GAPS: usize = 64;
const PLANES: usize = 96;

/// Sources of a slot past the degree that are no slot of the list.
const SOURCE_ZERO: u8 = 254;
const SOURCE_ID: u8 = 255;

/// How a row of a chunk is made up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    /// A row starts with a word that holds the degree (hnswlib); without it −1 fills a list (faiss).
    pub(super) has_head: bool,
    pub(super) slots: usize,
    /// Words of a row.
    pub(super) words: usize,
    pub(super) count: usize,
}

impl Rows {
    /// `None` when the codec cannot take such a chunk.
    pub(super) fn of(shape: &ChunkShape, raw_bytes: usize) -> Option<Self> {
        let has_head = match shape.element_type {
            ElementType::I32 => false,
            ElementType::U32 => true,
            _ => return None,
        };
        let words = usize::try_from(shape.row_elements).ok()?;
        let slots = words.checked_sub(usize::from(has_head)).filter(|slots| (1..=SLOTS_MAX).contains(slots))?;
        let count = raw_bytes / (4 * words);
        (raw_bytes == count * words * 4 && count > 0 && count < IDS_MAX as usize).then_some(Self {
            has_head,
            slots,
            words,
            count,
        })
    }

    /// What a slot past the degree holds where nothing else is said.
    pub(super) fn filler(&self) -> u32 {
        if self.has_head { 0 } else { u32::MAX }
    }
}
