//! Rows → a block of codec 9.

use super::super::Scratch;
use super::super::literals;
use super::bits::{BitWriter, gap_class, gap_code};
use super::buckets::bucket_rows;
use super::lists::Lists;
use super::parallel::{by_threads, in_parallel};
use super::*;
use crate::error::Result;
use crate::sys;

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
    let Some(lists) = Lists::read(rows, shape.first_row, words, scratch)? else { return Ok(false) };
    let part_rows = lists.part_rows(scratch.threads_for(raw.len()));
    let parts = (0..rows.count).step_by(part_rows).map(|first| first..(first + part_rows).min(rows.count));
    let coded = in_parallel(parts.collect(), |part| {
        let mut coder = Coder::new(&lists, part.len());
        coder.rows(part, words);
        (coder.planes, coder.bits)
    });
    write_block(&lists, words, coded, limit, block, scratch.threads_for(raw.len()))
}

/// Planes and bits of a part of the rows; those of the parts one after another are those of the chunk.
struct Coder<'a> {
    lists: &'a Lists,
    id_bits: u32,
    planes: Vec<Vec<u8>>,
    bits: BitWriter,
}

impl<'a> Coder<'a> {
    fn new(lists: &'a Lists, row_count: usize) -> Self {
        let id_bits = u32::BITS - lists.limit.saturating_sub(1).leading_zeros();
        // Half of what the rows take: the ranks and rests of full lists need less.
        let bits = BitWriter::with_room(row_count * lists.rows.words * 2);
        Self { lists, id_bits, planes: vec![Vec::new(); PLANES], bits }
    }

    fn rows(&mut self, part: std::ops::Range<usize>, words: &[[u8; 4]]) {
        let bucket_rows = bucket_rows(&self.lists.rows);
        let row_words = self.lists.rows.words;
        let mark_words = self.lists.rows.slots.div_ceil(64);
        let mut marks = Vec::new();
        for first in part.clone().step_by(bucket_rows) {
            self.lists.mark(first / bucket_rows, &mut marks);
            for (row, marks) in (first..part.end).zip(marks.chunks_exact(mark_words)) {
                self.row(row, marks, &words[row * row_words..(row + 1) * row_words]);
            }
        }
    }

    #[inline(always)]
    fn row(&mut self, row: usize, marks: &[u64], raw: &[[u8; 4]]) {
        let lists = self.lists;
        let (head, slots) = raw.split_at(lists.rows.words - lists.rows.slots);
        let degree = lists.degrees[row];
        if let Some(head) = head.first() {
            self.planes[HEADS].extend_from_slice(if degree == EXCEPTION { &[0, 0] } else { &head[2..] });
        }
        self.planes[DEGREES].push(degree);
        let (mut backward, mut outside, mut stale) = (0, 0, 0);
        if degree != EXCEPTION {
            (backward, outside) = self.links(row, marks);
            if lists.order {
                self.bits.push_ranks(usize::from(degree), lists.ranks(row));
            }
            if lists.rows.has_head {
                let (list, rest) = slots.split_at(usize::from(degree));
                stale = self.stale(list, rest);
            }
        }
        for (plane, count) in [(BACKWARD, backward), (OUTSIDE, outside), (STALE_SLOTS, stale)] {
            // Counts are at most SLOTS_MAX.
            self.planes[plane].push(count.to_le_bytes()[0]);
        }
    }

    /// Codes the gaps of a list; says how many links are named here and go back, and how many leave the partition.
    #[inline(always)]
    fn links(&mut self, row: usize, marks: &[u64]) -> (usize, usize) {
        let lists = self.lists;
        let (list, base, nodes) = (lists.list(row), lists.base, lists.nodes);
        // Rows of a chunk with nodes are below 2^31, and so are their sums.
        let node = base.wrapping_add(u32::try_from(row).unwrap_or(0));
        let below = |limit: u32| list.iter().fold(0, |count, id| count + usize::from(*id < limit));
        let (low, middle, high) = if nodes == 0 { (0, 0, 0) } else { (below(base), below(node), below(base + nodes)) };

        let named: usize = words_of(marks, low..middle).map(|(_, marks)| marks.count_ones() as usize).sum();
        let backward = middle - low - named;
        if backward > 0 {
            let mut gaps = Gaps::new(OTHER_GAPS, backward, node - base);
            for (first, marks) in words_of_others(marks, low..middle) {
                let mut left = marks;
                while left != 0 {
                    gaps.push(self, list[first + left.trailing_zeros() as usize] - base, false);
                    left &= left - 1;
                }
            }
        }
        let mut gaps =
            Gaps::new(FORWARD_GAPS, high - middle, base.wrapping_add(nodes).wrapping_sub(node).wrapping_sub(1));
        for (place, id) in (middle..high).zip(&list[middle..high]) {
            gaps.push(self, id - node - 1, marks[place / 64] >> (place % 64) & 1 != 0);
        }
        let outside = low + list.len() - high;
        if outside > 0 {
            let mut gaps = Gaps::new(OTHER_GAPS, outside, lists.limit - nodes);
            list[..low].iter().for_each(|id| gaps.push(self, *id, false));
            list[high..].iter().for_each(|id| gaps.push(self, id - nodes, false));
        }
        (backward, outside)
    }

    /// Codes the slots past the degree up to the last that is not 0; says how many.
    fn stale(&mut self, list: &[[u8; 4]], slots: &[[u8; 4]]) -> usize {
        let used = slots.iter().rposition(|slot| *slot != [0; 4]).map_or(0, |last| last + 1);
        for slot in &slots[..used] {
            let source = match list.iter().position(|other| other == slot) {
                _ if *slot == [0; 4] => SOURCE_ZERO,
                // Below SLOTS_MAX.
                Some(place) => place.to_le_bytes()[0],
                None => {
                    self.bits.push(u32::from_le_bytes(*slot), self.id_bits);
                    SOURCE_ID
                }
            };
            self.planes[STALE_SOURCES].push(source);
        }
        used
    }
}

/// Marks of the slots in `range`, 64 at a time, and the first slot of each.
fn words_of(marks: &[u64], range: std::ops::Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    marks.iter().enumerate().map(move |(word, marks)| (64 * word, marks & slots_of(word, &range)))
}

/// The same of the slots that have no mark.
fn words_of_others(marks: &[u64], range: std::ops::Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    marks.iter().enumerate().map(move |(word, marks)| (64 * word, !marks & slots_of(word, &range)))
}

/// The bits of `range` in word `word`.
fn slots_of(word: usize, range: &std::ops::Range<usize>) -> u64 {
    let below = |end: usize| match end.saturating_sub(64 * word) {
        bits @ 0..64 => (1 << bits) - 1,
        _ => u64::MAX,
    };
    below(range.end) & !below(range.start)
}

/// A run of ascending numbers on its way into planes and bits.
struct Gaps {
    kind: usize,
    left: u32,
    rest: u32,
    next: u32,
}

impl Gaps {
    /// `count` numbers below `room`.
    fn new(kind: usize, count: usize, room: u32) -> Self {
        // At most SLOTS_MAX.
        Self { kind, left: u32::try_from(count).unwrap_or(1), rest: room, next: 0 }
    }

    #[inline(always)]
    fn push(&mut self, coder: &mut Coder<'_>, number: u32, both: bool) {
        let gap = number - self.next;
        let (code, extra, value) = gap_code(gap);
        coder.planes[self.kind + gap_class(self.rest, self.left)].push(code << 1 | u8::from(both));
        coder.bits.push(value, extra);
        *self = Self { kind: self.kind, left: self.left - 1, rest: self.rest - gap - 1, next: number + 1 };
    }
}

/// A part's planes and bits.
type Coded = (Vec<Vec<u8>>, BitWriter);

fn write_block(
    lists: &Lists,
    words: &[[u8; 4]],
    coded: Vec<Coded>,
    limit: usize,
    block: &mut Vec<u8>,
    threads: usize,
) -> Result<bool> {
    let frames = by_threads((0..PLANES).collect(), threads, |kind| plane_frame(lists, &coded, kind));
    let (mut table, mut frame_bytes) = (Vec::new(), 0);
    for (kind, (plane_bytes, frame)) in (0..).zip(&frames) {
        let Some(frame) = frame else { return Ok(false) };
        if *plane_bytes == 0 {
            continue;
        }
        for number in [kind, *plane_bytes, frame.len()] {
            let Ok(number) = u32::try_from(number) else { return Ok(false) };
            table.extend_from_slice(&number.to_le_bytes());
        }
        frame_bytes += frame.len();
    }
    let mut parts = coded.into_iter().map(|(_, bits)| bits);
    let mut bits = parts.next().unwrap_or_default();
    parts.for_each(|part| bits.append(&part));
    let bits = bits.finish();
    let exceptions = lists.degrees.iter().enumerate().filter(|(_, degree)| **degree == EXCEPTION);
    let exceptions: Vec<usize> = exceptions.map(|(row, _)| row).collect();
    let exception_bytes = exceptions.len() * 4 * lists.rows.words;
    let block_bytes = HEADER_BYTES + table.len() + frame_bytes + exception_bytes + bits.len();
    if block_bytes > limit {
        return Ok(false);
    }
    let nodes = if lists.nodes > 0 { FLAG_NODES } else { 0 };
    let flags = nodes | if lists.order { FLAG_ORDER } else { 0 };
    block.clear();
    block.reserve_exact(block_bytes);
    sys::prefer_huge_pages(block.spare_capacity_mut());
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
    frames.iter().filter_map(|(_, frame)| frame.as_ref()).for_each(|frame| block.extend_from_slice(frame));
    for row in exceptions {
        let row = &words[row * lists.rows.words..(row + 1) * lists.rows.words];
        block.extend_from_slice(row.as_flattened());
    }
    block.extend_from_slice(&bits);
    Ok(true)
}

/// Bytes of a plane and the frame that they make: none where the plane says nothing, `None` where it cannot be.
fn plane_frame(lists: &Lists, coded: &[Coded], kind: usize) -> (usize, Option<Vec<u8>>) {
    let parts: Vec<&[u8]> = match kind {
        TAILS => vec![&lists.tails],
        _ => coded.iter().map(|(planes, _)| planes[kind].as_slice()).collect(),
    };
    let joined;
    let plane = match parts.as_slice() {
        [only] => only,
        parts => {
            joined = parts.concat();
            joined.as_slice()
        }
    };
    let is_spoken = match kind {
        DEGREES => true,
        BACKWARD | OUTSIDE | HEADS | STALE_SLOTS => plane.iter().any(|symbol| *symbol != 0),
        _ => !plane.is_empty(),
    };
    if !is_spoken {
        return (0, Some(Vec::new()));
    }
    let mut frame = vec![0; plane.len() + plane.len() / 64 + 64];
    let frame_bytes = literals::encode(plane, &mut frame);
    frame.truncate(frame_bytes.unwrap_or(0));
    (plane.len(), frame_bytes.map(|_| frame))
}
