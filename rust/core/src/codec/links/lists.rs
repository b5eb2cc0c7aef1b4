//! Link lists of a chunk in ascending order, with what it takes to restore the order that they had, and the claims by
//! which each row learns which of its links go both ways. Rows are shared out among threads.

use super::super::Scratch;
use super::super::zstd::{self, Search};
use super::buckets::{Claims, bucket_rows, id_bits};
use super::parallel::in_parallel;
use super::*;
use crate::error::Result;
use crate::kernels::{Machine, PAD};
use crate::sys;

/// Fills a sorted list; no id.
const NONE: u32 = u32::MAX;
/// Rows that are looked at to see whether links go both ways at all.
const PROBED_ROWS: usize = 256;
/// One in so many rows may be an exception.
const EXCEPTION_SHARE: usize = 32;

pub(super) struct Lists {
    pub rows: Rows,
    /// Or `EXCEPTION`.
    pub degrees: Vec<u8>,
    /// `slots` entries a row.
    sorted: Vec<u32>,
    /// `slots` entries a row: of each link as it stood, how many of those after it are smaller.
    ranks: Vec<u8>,
    /// How many entries at the end of each list are ascending; empty when not ranking them saves nothing.
    pub tails: Vec<u8>,
    /// True when lists have an order of their own.
    pub order: bool,
    pub base: u32,
    /// 0 when rows are not nodes.
    pub nodes: u32,
    /// Above every id.
    pub limit: u32,
    /// Of each part of the rows, which node links to which.
    claims: Vec<Claims>,
}

impl Lists {
    /// `None` when too many rows are no plain lists.
    pub fn read(rows: Rows, first_row: u64, words: &[[u8; 4]], scratch: &mut Scratch) -> Result<Option<Self>> {
        let nodes = u32::try_from(rows.count).unwrap_or(IDS_MAX);
        let base = u32::try_from(first_row).ok();
        let base = base.filter(|base| base.checked_add(nodes).is_some_and(|end| end <= IDS_MAX));
        let (mut sorted, mut ranks) = (vec![0; rows.count * rows.slots], vec![0; rows.count * rows.slots]);
        sys::prefer_huge_pages(&sorted);
        sys::prefer_huge_pages(&ranks);
        let (mut degrees, mut tails) = (vec![0; rows.count], vec![0; rows.count]);
        let part_rows = part_rows(&rows, scratch.threads_for(words.len() * 4));
        let parts = sorted.chunks_mut(part_rows * rows.slots).zip(ranks.chunks_mut(part_rows * rows.slots));
        let parts = parts.zip(degrees.chunks_mut(part_rows).zip(tails.chunks_mut(part_rows))).enumerate();
        let parts = parts.map(|(part, ((sorted, ranks), (degrees, tails)))| {
            let first = part * part_rows;
            let words = &words[first * rows.words..(first + degrees.len()) * rows.words];
            Part { rows, first, base, words, sorted, ranks, degrees, tails }
        });
        let found = in_parallel(parts.collect(), Part::read);
        if found.iter().map(|found| found.exceptions).sum::<usize>() > rows.count / EXCEPTION_SHARE {
            return Ok(None);
        }
        let order = !found.iter().all(|found| found.ascending);
        let tail_bits = found.iter().map(|found| found.tail_bits).sum::<usize>();
        let limit = found.iter().map(|found| found.limit).max().unwrap_or(0);
        let loops: Vec<usize> = found.iter().flat_map(|found| found.loops.iter().copied()).collect();
        let claims = found.into_iter().map(|found| found.claims).collect();
        let mut lists = Self { rows, degrees, sorted, ranks, tails, order, base: 0, nodes: 0, limit, claims };
        if let Some(base) = base
            && lists.go_both_ways(base)
        {
            lists.drop_loops(&loops);
            (lists.base, lists.nodes) = (base, nodes);
            lists.limit = lists.limit.max(base + nodes);
        }
        // The plane of tails must cost less than the ranks that it spares: so in hnswlib, where new links are appended.
        if !order || !zstd::encode(Search::None, &lists.tails, tail_bits / 8, &mut Vec::new(), scratch)? {
            lists.tails = Vec::new();
        }
        Ok(Some(lists))
    }

    /// The links of a row, ascending; none of an exception.
    pub fn list(&self, row: usize) -> &[u32] {
        let start = row * self.rows.slots;
        let degree = usize::from(self.degrees[row]);
        &self.sorted[start..start + if degree == usize::from(EXCEPTION) { 0 } else { degree }]
    }

    /// The ranks of all links of a row but those of its tail.
    pub fn ranks(&self, row: usize) -> &[u8] {
        let start = row * self.rows.slots;
        &self.ranks[start..start + usize::from(self.degrees[row] - self.tails.get(row).copied().unwrap_or(0))]
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

    /// A node that links itself is kept as an exception, and nobody's link back.
    fn drop_loops(&mut self, loops: &[usize]) {
        for row in loops {
            let start = row * self.rows.slots;
            self.sorted[start..start + self.rows.slots].fill(NONE);
            self.degrees[*row] = EXCEPTION;
            if let Some(tail) = self.tails.get_mut(*row) {
                *tail = 0;
            }
        }
        if !loops.is_empty() {
            let id_mask = (1 << id_bits(&self.rows)) - 1;
            let stays = |claim: u32| loops.binary_search(&((claim & id_mask) as usize)).is_err();
            self.claims.iter_mut().for_each(|claims| claims.retain(stays));
        }
    }

    /// Rows of each part that `Lists` is shared out in; whole buckets.
    pub fn part_rows(&self, threads: usize) -> usize {
        part_rows(&self.rows, threads)
    }

    /// Makes `marks` those of a bucket: `slots.div_ceil(64)` words a row, a bit for each link that goes both ways.
    pub fn mark(&self, bucket: usize, marks: &mut Vec<u64>) {
        let slots = self.rows.slots;
        let first = bucket * bucket_rows(&self.rows);
        let rows = bucket_rows(&self.rows).min(self.rows.count - first);
        marks.clear();
        marks.resize(rows * slots.div_ceil(64), 0);
        if self.nodes == 0 {
            return;
        }
        let lists = &self.sorted[first * slots..(first + rows) * slots];
        for claims in &self.claims {
            for claims in claims.of(bucket) {
                Machine::detect().mark(claims, id_bits(&self.rows), self.base, lists, slots, marks);
            }
        }
    }
}

/// Rows of a thread's share.
struct Part<'a> {
    rows: Rows,
    first: usize,
    base: Option<u32>,
    words: &'a [[u8; 4]],
    sorted: &'a mut [u32],
    ranks: &'a mut [u8],
    degrees: &'a mut [u8],
    tails: &'a mut [u8],
}

/// What there is to say of a part.
struct Found {
    exceptions: usize,
    ascending: bool,
    tail_bits: usize,
    limit: u32,
    loops: Vec<usize>,
    claims: Claims,
}

impl Part<'_> {
    fn read(self) -> Found {
        let (rows, machine) = (self.rows, Machine::detect());
        let bucket_count = if self.base.is_some() { rows.count.div_ceil(bucket_rows(&rows)) } else { 0 };
        let mut found = Found {
            exceptions: 0,
            ascending: true,
            tail_bits: 0,
            limit: 0,
            loops: Vec::new(),
            // As if all slots were full.
            claims: Claims::with_room(bucket_count, self.sorted.len()),
        };
        let slots = rows.slots;
        let targets = self.sorted.chunks_exact_mut(slots).zip(self.ranks.chunks_exact_mut(slots));
        let targets = targets.zip(self.degrees.iter_mut().zip(self.tails.iter_mut()));
        let mut list = ListBuffer::default();
        for (place, (raw, ((sorted, ranks), (degree, tail)))) in
            self.words.chunks_exact(rows.words).zip(targets).enumerate()
        {
            *degree = EXCEPTION;
            sorted.fill(NONE);
            let Some(count) = list.read(&rows, raw) else {
                found.exceptions += 1;
                continue;
            };
            if !list.sort(machine, count, sorted, &mut ranks[..count]) {
                sorted.fill(NONE);
                found.exceptions += 1;
                continue;
            }
            // At most SLOTS_MAX.
            *degree = count.to_le_bytes()[0];
            let ascending_from = ranks[..count].iter().rposition(|rank| *rank != 0).map_or(0, |last| last + 1);
            found.ascending = found.ascending && ascending_from == 0;
            *tail = (count - ascending_from).to_le_bytes()[0];
            found.tail_bits += TAIL_BITS[usize::from(*tail)];
            let kept = if rows.has_head { list.top_of_slots } else { sorted[..count].last().map_or(0, |id| id + 1) };
            found.limit = found.limit.max(kept);
            if let Some(base) = self.base {
                found.claim(&rows, base, self.first + place, &sorted[..count]);
            }
        }
        found.claims.sort();
        found
    }
}

impl Found {
    /// Tells each row of the chunk that `row` links to.
    #[inline(always)]
    fn claim(&mut self, rows: &Rows, base: u32, row: usize, list: &[u32]) {
        let (row_bits, id_bits) = (bucket_rows(rows).ilog2(), id_bits(rows));
        // Rows are below 2^id_bits.
        let Ok(place) = u32::try_from(row) else { return };
        let inside = list.iter().map(|id| id.wrapping_sub(base)).filter(|other| (*other as usize) < rows.count);
        for other in inside {
            if other == place {
                self.loops.push(row);
            } else {
                self.claims.push(other >> row_bits, (other & !(u32::MAX << row_bits)) << id_bits | place);
            }
        }
    }
}

/// The bits that not ranking a tail of so many links saves.
const TAIL_BITS: [usize; 256] = tail_bits();

const fn tail_bits() -> [usize; 256] {
    let mut table = [0; 256];
    let mut count = 2;
    while count < 256 {
        table[count] = table[count - 1] + count.ilog2() as usize;
        count += 1;
    }
    table
}

/// One list, padded to whole groups.
struct ListBuffer {
    groups: [[u32; 8]; 32],
    below: [u8; 256],
    top_of_slots: u32,
}

impl Default for ListBuffer {
    fn default() -> Self {
        Self { groups: [[0; 8]; 32], below: [0; 256], top_of_slots: 0 }
    }
}

impl ListBuffer {
    /// Takes the list of a row, as it stands; `None` when the row is no plain list of ids.
    #[inline(always)]
    fn read(&mut self, rows: &Rows, row: &[[u8; 4]]) -> Option<usize> {
        let (head, slots) = row.split_at(rows.words - rows.slots);
        let list = self.groups.as_flattened_mut();
        list.iter_mut().zip(slots).for_each(|(id, slot)| *id = u32::from_le_bytes(*slot));
        let slots = list.get_mut(..rows.slots)?;
        let count = match head.first() {
            Some([low, high, ..]) => {
                self.top_of_slots = slots.iter().fold(0, |top, id| top.max(*id)).saturating_add(1);
                usize::from(u16::from_le_bytes([*low, *high]))
            }
            // Were one of the −1 not at the end, it would be among the first `count`, and no id.
            None => slots.iter().fold(0, |count, id| count + usize::from(*id != NONE)),
        };
        let kept = if rows.has_head { rows.slots } else { count };
        let plain = count <= rows.slots && slots[..kept].iter().fold(0, |all, id| all | id) < IDS_MAX;
        list[count.min(rows.slots)..rows.slots.next_multiple_of(8)].fill(PAD);
        plain.then_some(count)
    }

    /// Writes the list in ascending order and the ranks that restore the other; false when an id comes twice.
    #[inline(always)]
    fn sort(&mut self, machine: Machine, count: usize, sorted: &mut [u32], ranks: &mut [u8]) -> bool {
        let below = &mut self.below[..count];
        machine.rank(&self.groups[..count.div_ceil(8)], below, ranks);
        for (id, place) in self.groups.as_flattened().iter().zip(below) {
            if let Some(slot) = sorted.get_mut(usize::from(*place)) {
                *slot = *id;
            }
        }
        // Of equal ids all stand in the place of the first.
        !sorted[..count].contains(&NONE)
    }
}

fn part_rows(rows: &Rows, threads: usize) -> usize {
    rows.count.div_ceil(threads).next_multiple_of(bucket_rows(rows))
}
