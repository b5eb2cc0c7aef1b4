//! Lists in ascending order: what the search sees is the same, the order of insertion is gone.

use super::Rows;
use crate::stream::ChunkShape;

/// Sorts the lists of whole rows of links in place and clears the slots past each degree; rows that are no plain lists
/// stay as they are. False when the rows are not of a layout whose lists are known.
pub fn sort_lists(shape: &ChunkShape, raw: &mut [u8]) -> bool {
    let Some(rows) = Rows::of(shape, raw.len()) else { return false };
    let mut list = Vec::with_capacity(rows.slots);
    for row in raw.as_chunks_mut::<4>().0.chunks_exact_mut(rows.words) {
        list.clear();
        if !read_list(&rows, row, &mut list) {
            continue;
        }
        list.sort_unstable();
        let filled = list.iter().copied().chain(std::iter::repeat(rows.filler()));
        row[rows.words - rows.slots..].iter_mut().zip(filled).for_each(|(slot, id)| *slot = id.to_le_bytes());
    }
    true
}

/// Appends the list of a row; false when the row is no plain list of ids.
#[inline]
pub(super) fn read_list(rows: &Rows, row: &[[u8; 4]], list: &mut Vec<u32>) -> bool {
    let (head, slots) = row.split_at(rows.words - rows.slots);
    let ids = slots.iter().map(|slot| u32::from_le_bytes(*slot));
    if let Some([low, high, ..]) = head.first() {
        let degree = usize::from(u16::from_le_bytes([*low, *high]));
        list.extend(ids.clone().take(degree));
        degree <= rows.slots && ids.fold(0, |all, id| all | id) < super::IDS_MAX
    } else {
        list.extend(ids.clone().take_while(|id| *id != u32::MAX));
        let degree = list.len();
        list.iter().fold(0, |all, id| all | id) < super::IDS_MAX && ids.skip(degree).all(|id| id == u32::MAX)
    }
}
