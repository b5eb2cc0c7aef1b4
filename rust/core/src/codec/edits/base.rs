//! The lists as they were, and which row is whose.

use super::super::links::Rows;
use super::NONE;
use crate::stream::ChunkShape;

/// Degree of a base row that is no plain list.
const NO_LIST: u8 = 255;

/// Old lists, row by row those of the nodes that the block is about.
pub(super) struct Base<'a> {
    pub rows: Rows,
    words: &'a [[u8; 4]],
    degrees: Vec<u8>,
    pub nodes: &'a [u64],
    index: Index,
}

impl<'a> Base<'a> {
    /// `None` when these are no rows of lists, or nodes that do not ascend.
    pub fn of(shape: &ChunkShape, nodes: &'a [u64], base: &'a [u8], raw_bytes: usize) -> Option<Self> {
        let rows = Rows::of(shape, raw_bytes)?;
        let index = Index::of(nodes)?;
        if nodes.len() != rows.count || base.len() != raw_bytes {
            return None;
        }
        let words = base.as_chunks().0;
        let degree = |row| degree(&rows, row).and_then(|degree| u8::try_from(degree).ok()).unwrap_or(NO_LIST);
        let degrees = words.chunks_exact(rows.words).map(degree).collect();
        Some(Self { rows, words, degrees, nodes, index })
    }

    fn row(&self, row: usize) -> &'a [[u8; 4]] {
        &self.words[row * self.rows.words..(row + 1) * self.rows.words]
    }

    /// The old list of a row; empty when the row was none.
    #[inline(always)]
    pub fn list(&self, row: usize) -> &'a [[u8; 4]] {
        let degree = if self.degrees[row] == NO_LIST { 0 } else { usize::from(self.degrees[row]) };
        &self.row(row)[self.rows.words - self.rows.slots..][..degree]
    }

    /// The row without its list: what is expected in the head's upper half and past the degree.
    #[inline(always)]
    pub fn rest(&self, row: usize) -> Option<&'a [[u8; 4]]> {
        (self.rows.has_head && self.degrees[row] != NO_LIST).then(|| self.row(row))
    }

    /// Number that stands for a row in lists.
    #[inline(always)]
    pub fn node(&self, row: usize) -> u32 {
        let [a, b, c, d, ..] = self.nodes[row].to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    #[inline(always)]
    pub fn row_of(&self, id: [u8; 4]) -> Option<usize> {
        self.index.find(self.nodes, u64::from(u32::from_le_bytes(id)))
    }

    /// For each row the first hub whose old list had it, `NONE` where there is none and for hubs themselves.
    pub fn hosts(&self, hubs: &[u32], is_hub: impl Fn(usize) -> bool) -> Vec<u32> {
        let mut hosts = vec![NONE; self.rows.count];
        for hub in hubs {
            for row in self.list(*hub as usize).iter().filter_map(|id| self.row_of(*id)) {
                if hosts[row] == NONE && !is_hub(row) {
                    hosts[row] = *hub;
                }
            }
        }
        hosts
    }
}

/// Entries of a row's list; `None` when the row is no plain list.
#[inline]
pub(super) fn degree(rows: &Rows, row: &[[u8; 4]]) -> Option<usize> {
    const EMPTY: [u8; 4] = [0xFF; 4];
    let (head, slots) = row.split_at(rows.words - rows.slots);
    if let Some([low, high, ..]) = head.first() {
        Some(usize::from(u16::from_le_bytes([*low, *high]))).filter(|degree| *degree <= rows.slots)
    } else {
        // Were one of the −1 not at the end, it would be among the first so many.
        let degree = slots.iter().fold(0, |count, id| count + usize::from(*id != EMPTY));
        slots[..degree].iter().all(|id| *id != EMPTY).then_some(degree)
    }
}

/// Rows of nodes by number: where the nodes of each stretch of numbers start.
struct Index {
    first: u64,
    shift: u32,
    starts: Vec<u32>,
}

impl Index {
    /// `None` when nodes do not ascend. As long as the nodes are, whatever their numbers.
    fn of(nodes: &[u64]) -> Option<Self> {
        let (first, last) = (*nodes.first()?, *nodes.last()?);
        if !nodes.is_sorted_by(|one, next| one < next) || u32::try_from(nodes.len()).is_err() {
            return None;
        }
        let range = last - first;
        let shift = (0..u64::BITS).find(|shift| range >> shift < 2 * nodes.len() as u64)?;
        let stretches = usize::try_from(range >> shift).ok()? + 1;
        let mut starts = Vec::with_capacity(stretches + 1);
        for (row, node) in (0u32..).zip(nodes) {
            let stretch = usize::try_from((node - first) >> shift).ok()?;
            starts.resize(starts.len().max(stretch + 1), row);
        }
        starts.push(u32::try_from(nodes.len()).ok()?);
        Some(Self { first, shift, starts })
    }

    #[inline(always)]
    fn find(&self, nodes: &[u64], node: u64) -> Option<usize> {
        let stretch = usize::try_from(node.checked_sub(self.first)? >> self.shift).ok()?;
        let start = *self.starts.get(stretch)? as usize;
        let end = *self.starts.get(stretch + 1)? as usize;
        let place = match nodes.get(start..end)? {
            few if few.len() <= 4 => few.iter().position(|other| *other == node)?,
            many => many.binary_search(&node).ok()?,
        };
        Some(start + place)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at the first fault")]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_found_and_no_other() {
        let far = [0, 1, 2, 1 << 20, (1 << 20) + 1, u64::from(u32::MAX), 1 << 40, u64::MAX];
        let mut runs = vec![far.to_vec(), vec![7], (0..1000).collect(), (5..900).step_by(7).collect()];
        runs.push((0..300).chain((1 << 30)..(1 << 30) + 300).collect());
        for nodes in runs {
            let index = Index::of(&nodes).unwrap();
            assert!(index.starts.len() <= 2 * nodes.len() + 2);
            for (row, node) in nodes.iter().enumerate() {
                assert_eq!(index.find(&nodes, *node), Some(row));
                for other in [node.wrapping_sub(1), node.wrapping_add(1), node ^ 1 << 33] {
                    assert_eq!(index.find(&nodes, other), nodes.binary_search(&other).ok());
                }
            }
        }
        assert!(Index::of(&[]).is_none() && Index::of(&[1, 1]).is_none() && Index::of(&[2, 1]).is_none());
    }
}
