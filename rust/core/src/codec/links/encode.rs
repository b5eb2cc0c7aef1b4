//! Rows → a block of codec 9.

use super::super::Scratch;
use super::super::zstd::{self, Search};
use super::bits::{BitWriter, gap_class, gap_code};
use super::order::read_list;
use super::*;
use crate::error::Result;

/// In the sorted lists: the link was named by the node at its other end.
const NAMED: u32 = 1 << 31;
/// Fills a sorted list; no id.
const NONE: u32 = u32::MAX;
/// Rows that are looked at to see whether links go both ways at all.
const PROBED_ROWS: usize = 256;
/// One in so many rows may be an exception.
const EXCEPTION_SHARE: usize = 32;

/// Makes `block` at most `limit` bytes long; false when that cannot be, or the rows are not lists of links.
pub(in crate::codec) fn encode(
    shape: &ChunkShape,
    raw: &[u8],
    limit: usize,
    block: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<bool> {
    let Some(rows) = Rows::of(shape, raw.len()) else { return Ok(false) };
    let words = raw.as_chunks::<4>().0;
    let Some(mut lists) = Lists::read(rows, words) else { return Ok(false) };
    let nodes = u32::try_from(rows.count).unwrap_or(IDS_MAX);
    let base =
        u32::try_from(shape.first_row).ok().filter(|base| base.checked_add(nodes).is_some_and(|end| end <= IDS_MAX));
    if let Some(base) = base
        && lists.go_both_ways(base)
    {
        lists.drop_loops(base);
        (lists.base, lists.nodes) = (base, nodes);
        lists.limit = lists.limit.max(base + nodes);
    }
    let mut coder = Coder::new(&lists, scratch)?;
    for row in 0..rows.count {
        coder.row(&mut lists, row, words);
    }
    coder.finish(&lists, words, limit, block, scratch)
}

/// The links of each row, ascending.
struct Lists {
    rows: Rows,
    /// Or `EXCEPTION`.
    degrees: Vec<u8>,
    /// `slots` entries a row.
    sorted: Vec<u32>,
    /// How many entries at the end of each list are ascending, and the bits that not ranking them saves.
    tails: Vec<u8>,
    tail_bits: usize,
    /// True when every list is ascending as it stands.
    ascending: bool,
    base: u32,
    /// 0 when rows are not nodes.
    nodes: u32,
    /// Above every id.
    limit: u32,
}

impl Lists {
    /// `None` when too many rows are no plain lists.
    fn read(rows: Rows, words: &[[u8; 4]]) -> Option<Self> {
        let mut lists = Self {
            rows,
            degrees: Vec::with_capacity(rows.count),
            sorted: vec![NONE; rows.count * rows.slots],
            tails: Vec::with_capacity(rows.count),
            tail_bits: 0,
            ascending: true,
            base: 0,
            nodes: 0,
            limit: 0,
        };
        let mut exceptions_left = rows.count / EXCEPTION_SHARE;
        let mut list = Vec::with_capacity(rows.slots);
        for (row, target) in words.chunks_exact(rows.words).zip(lists.sorted.chunks_exact_mut(rows.slots)) {
            list.clear();
            let mut plain = read_list(&rows, row, &mut list) && list.len() <= rows.slots;
            let tail = if plain { ascending_tail(&list) } else { 0 };
            if plain && !list.is_sorted_by(|a, b| a < b) {
                list.sort_unstable();
                plain = list.is_sorted_by(|a, b| a < b);
                lists.ascending = lists.ascending && !plain;
            }
            if !plain {
                exceptions_left = exceptions_left.checked_sub(1)?;
                lists.degrees.push(EXCEPTION);
                lists.tails.push(0);
                continue;
            }
            lists.tails.push(tail.to_le_bytes()[0]);
            lists.tail_bits += (2..=tail).map(|choices| choices.ilog2() as usize).sum::<usize>();
            target[..list.len()].copy_from_slice(&list);
            // At most SLOTS_MAX.
            lists.degrees.push(list.len().to_le_bytes()[0]);
            let slots = &row[rows.words - rows.slots..];
            let kept = if rows.has_head { slots } else { &slots[..list.len()] };
            let top = kept.iter().map(|slot| u32::from_le_bytes(*slot)).max().map_or(0, |id| id + 1);
            lists.limit = lists.limit.max(top);
        }
        Some(lists)
    }

    fn list(&self, row: usize) -> &[u32] {
        let start = row * self.rows.slots;
        let degree = usize::from(self.degrees[row]);
        &self.sorted[start..start + if degree == usize::from(EXCEPTION) { 0 } else { degree }]
    }

    /// Of the links inside the chunk that a sample of rows has, whether one in four comes back.
    fn go_both_ways(&self, base: u32) -> bool {
        let step = (self.rows.count / PROBED_ROWS).max(1);
        let (mut inside, mut both) = (0usize, 0usize);
        for row in (0..self.rows.count).step_by(step) {
            let Ok(node) = u32::try_from(row) else { break };
            for id in self.list(row) {
                let other = id.wrapping_sub(base) as usize;
                if other < self.rows.count && other != row {
                    inside += 1;
                    both += usize::from(self.list(other).binary_search(&(base + node)).is_ok());
                }
            }
        }
        inside > 0 && both * 4 >= inside
    }

    /// A node that links itself is kept as an exception.
    fn drop_loops(&mut self, base: u32) {
        for (row, node) in (0..self.rows.count).zip(base..) {
            if self.list(row).binary_search(&node).is_ok() {
                let start = row * self.rows.slots;
                self.sorted[start..start + self.rows.slots].fill(NONE);
                self.degrees[row] = EXCEPTION;
                self.tails[row] = 0;
            }
        }
    }

    /// Marks the link back in the list of `id`; false when there is none.
    #[inline(always)]
    fn mark(&mut self, id: u32, node: u32) -> bool {
        let start = (id - self.base) as usize * self.rows.slots;
        let list = &mut self.sorted[start..start + self.rows.slots];
        // No early end: this loop is done by wide compares.
        let place = (1u32..).zip(list.iter()).fold(0, |place, (at, id)| if *id == node { at } else { place });
        let found = list.get_mut((place as usize).wrapping_sub(1));
        let is_found = found.is_some();
        if let Some(found) = found {
            *found |= NAMED;
        }
        is_found
    }
}

fn ascending_tail(list: &[u32]) -> usize {
    let pairs = list.iter().rev().zip(list.iter().rev().skip(1));
    usize::from(!list.is_empty()) + pairs.take_while(|(later, earlier)| earlier < later).count()
}

struct Coder {
    planes: Vec<Vec<u8>>,
    bits: BitWriter,
    order: bool,
    use_tails: bool,
    id_bits: u32,
    list: Vec<u32>,
    left: Vec<u32>,
}

impl Coder {
    fn new(lists: &Lists, scratch: &mut Scratch) -> Result<Self> {
        // The plane of tails must cost less than the ranks that it spares: so in hnswlib, where new links are appended.
        let room = lists.tail_bits / 8;
        let use_tails = !lists.ascending && zstd::encode(Search::None, &lists.tails, room, &mut Vec::new(), scratch)?;
        Ok(Self {
            planes: vec![Vec::new(); PLANES],
            bits: BitWriter::default(),
            order: !lists.ascending,
            use_tails,
            id_bits: u32::BITS - lists.limit.saturating_sub(1).leading_zeros(),
            list: Vec::with_capacity(SLOTS_MAX),
            left: Vec::with_capacity(SLOTS_MAX),
        })
    }

    fn row(&mut self, lists: &mut Lists, row: usize, words: &[[u8; 4]]) {
        let rows = lists.rows;
        let raw = &words[row * rows.words..(row + 1) * rows.words];
        if rows.has_head && lists.degrees[row] != EXCEPTION {
            self.planes[HEADS].extend_from_slice(&raw[0][2..]);
        } else if rows.has_head {
            self.planes[HEADS].extend_from_slice(&[0, 0]);
        }
        self.planes[DEGREES].push(lists.degrees[row]);
        let (mut backward, mut outside, mut stale) = (0, 0, 0);
        let tail = if self.use_tails { lists.tails[row] } else { 0 };
        if lists.degrees[row] != EXCEPTION {
            (backward, outside) = self.links(lists, row);
            let slots = &raw[rows.words - rows.slots..];
            self.list.clear();
            self.list.extend(slots.iter().take(usize::from(lists.degrees[row])).map(|slot| u32::from_le_bytes(*slot)));
            if self.order {
                self.ranks(usize::from(tail));
            }
            if rows.has_head {
                stale = self.stale(&slots[self.list.len()..]);
            }
        }
        self.planes[TAILS].push(tail);
        for (plane, count) in [(BACKWARD, backward), (OUTSIDE, outside), (STALE_SLOTS, stale)] {
            // Counts are at most SLOTS_MAX.
            self.planes[plane].push(count.to_le_bytes()[0]);
        }
    }

    /// Codes the gaps of a list; says how many links are named here and go back, and how many leave the partition.
    fn links(&mut self, lists: &mut Lists, row: usize) -> (usize, usize) {
        let (base, nodes) = (lists.base, lists.nodes);
        let (mut inside, mut outside) = (std::mem::take(&mut self.list), std::mem::take(&mut self.left));
        inside.clear();
        outside.clear();
        for id in lists.list(row).iter().filter(|id| **id & NAMED == 0) {
            match id.wrapping_sub(base) {
                place if place < nodes => inside.push(*id),
                place if place < IDS_MAX => outside.push(id - nodes),
                _ => outside.push(*id),
            }
        }
        let node = base.wrapping_add(u32::try_from(row).unwrap_or(0));
        let backward = inside.partition_point(|id| *id < node);
        self.gaps(OTHER_GAPS, inside[..backward].iter().map(|id| id - base), backward, node.wrapping_sub(base), |_| {
            false
        });
        let forward = &mut inside[backward..];
        forward.iter_mut().for_each(|id| *id |= if lists.mark(*id, node) { NAMED } else { 0 });
        let room = base.wrapping_add(nodes).wrapping_sub(node).wrapping_sub(1);
        let ids = forward.iter().map(|id| (id & !NAMED) - node - 1);
        self.gaps(FORWARD_GAPS, ids, forward.len(), room, |at| forward[at] & NAMED != 0);
        self.gaps(OTHER_GAPS, outside.iter().copied(), outside.len(), lists.limit - nodes, |_| false);
        let counts = (backward, outside.len());
        // The marks of this row have served; its list is compared with the order next.
        let start = row * lists.rows.slots;
        let degree = usize::from(lists.degrees[row]);
        lists.sorted[start..start + degree].iter_mut().for_each(|id| *id &= !NAMED);
        (self.list, self.left) = (inside, outside);
        counts
    }

    /// `count` ascending numbers below `room`.
    #[inline(always)]
    fn gaps(
        &mut self,
        kind: usize,
        numbers: impl Iterator<Item = u32>,
        count: usize,
        room: u32,
        both: impl Fn(usize) -> bool,
    ) {
        let (mut rest, mut next) = (room, 0);
        for (at, number) in numbers.enumerate() {
            let left = u32::try_from(count - at).unwrap_or(1);
            let gap = number - next;
            let (code, extra, value) = gap_code(gap);
            self.planes[kind + gap_class(rest, left)].push(code << 1 | u8::from(both(at)));
            self.bits.push(value, extra);
            (next, rest) = (number + 1, rest - gap - 1);
        }
    }

    /// Codes how `self.list` differs from an ascending one: the rank of each entry among those left.
    fn ranks(&mut self, tail: usize) {
        let list = &self.list;
        for (place, id) in list[..list.len() - tail].iter().enumerate() {
            let smaller = list[place..].iter().fold(0u32, |count, other| count + u32::from(other < id));
            self.bits.push_choice(smaller, u32::try_from(list.len() - place).unwrap_or(1));
        }
    }

    /// Codes the slots past the degree up to the last that is not 0; says how many.
    fn stale(&mut self, slots: &[[u8; 4]]) -> usize {
        let used = slots.iter().rposition(|slot| *slot != [0; 4]).map_or(0, |last| last + 1);
        for slot in &slots[..used] {
            let id = u32::from_le_bytes(*slot);
            let source = match self.list.iter().position(|other| *other == id) {
                _ if id == 0 => SOURCE_ZERO,
                // Below SLOTS_MAX.
                Some(place) => place.to_le_bytes()[0],
                None => {
                    self.bits.push(id, self.id_bits);
                    SOURCE_ID
                }
            };
            self.planes[STALE_SOURCES].push(source);
        }
        used
    }

    fn finish(
        self,
        lists: &Lists,
        words: &[[u8; 4]],
        limit: usize,
        block: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<bool> {
        let mut table = Vec::new();
        let mut frames = Vec::new();
        let mut frame = Vec::new();
        for (kind, plane) in self.planes.iter().enumerate() {
            let spoken = match kind {
                DEGREES => true,
                TAILS => self.order && self.use_tails,
                BACKWARD..FORWARD_GAPS if kind != STALE_SOURCES => plane.iter().any(|symbol| *symbol != 0),
                _ => !plane.is_empty(),
            };
            if !spoken {
                continue;
            }
            if !zstd::encode(Search::None, plane, plane.len() + plane.len() / 64 + 64, &mut frame, scratch)? {
                return Ok(false);
            }
            for number in [kind, plane.len(), frame.len()] {
                let Ok(number) = u32::try_from(number) else { return Ok(false) };
                table.extend_from_slice(&number.to_le_bytes());
            }
            frames.extend_from_slice(&frame);
        }
        let exceptions = lists.degrees.iter().enumerate().filter(|(_, degree)| **degree == EXCEPTION);
        let exceptions: Vec<usize> = exceptions.map(|(row, _)| row).collect();
        let bits = self.bits.finish();
        let exception_bytes = exceptions.len() * 4 * lists.rows.words;
        if HEADER_BYTES + table.len() + frames.len() + exception_bytes + bits.len() > limit {
            return Ok(false);
        }
        let nodes = if lists.nodes > 0 { FLAG_NODES } else { 0 };
        let flags = nodes | if self.order { FLAG_ORDER } else { 0 };
        block.clear();
        // Both fit: there are at most PLANES records, and fewer rows than 2^31.
        let [plane_count, exception_count] =
            [table.len() / PLANE_RECORD_BYTES, exceptions.len()].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        block.extend_from_slice(&flags.to_le_bytes());
        block.extend_from_slice(&plane_count.to_le_bytes());
        block.extend_from_slice(&u64::from(lists.base).to_le_bytes());
        block.extend_from_slice(&lists.limit.to_le_bytes());
        block.extend_from_slice(&exception_count.to_le_bytes());
        block.extend_from_slice(&[0; 8]);
        block.extend_from_slice(&table);
        block.extend_from_slice(&frames);
        for row in exceptions {
            let row = &words[row * lists.rows.words..(row + 1) * lists.rows.words];
            block.extend_from_slice(row.as_flattened());
        }
        block.extend_from_slice(&bits);
        Ok(true)
    }
}
