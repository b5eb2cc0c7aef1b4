//! Changed lists → blocks of codec 35.

use super::super::Scratch;
use super::super::links::bits::{BitWriter, GUARD_BYTES, gap_code};
use super::super::links::parallel::by_shares;
use super::super::zstd::{self, Search};
use super::matching::{Changes, GONE, Near, Places};
use super::*;
use crate::error::Result;
use crate::stream::ChunkShape;

/// Codes the rows `raw` of `nodes` against the rows `base` that they were, as long; `nodes` are the numbers that stand
/// for the rows in lists, ascending. A row that was not there before is all `FF` in `base`. False when that does not fit
/// `limit` bytes or the rows are no lists. The block depends on the arguments alone.
///
/// # Errors
/// `Io` when the zstd library fails.
pub fn encode(
    shape: &ChunkShape,
    nodes: &[u64],
    base: &[u8],
    raw: &[u8],
    limit: usize,
    block: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<bool> {
    let Some(base) = Base::of(shape, nodes, base, raw.len()) else { return Ok(false) };
    let threads = scratch.threads_above(SHARED_BYTES, raw.len());
    let changes = Changes::find(&base, raw, threads);
    let Some(marks) = marks_of(&changes) else { return Ok(false) };
    let lists = by_shares(base.rows.count, threads, |rows| {
        let mut writer = Writer::new(&changes, &[]);
        rows.filter(|row| changes.hub_places[*row] == NONE).for_each(|row| writer.row(row));
        writer
    });
    // No two lists tell a hub of the same link.
    let mut told = vec![false; changes.added.len()];
    lists.iter().for_each(|writer| told.iter_mut().zip(&writer.told).for_each(|(told, own)| *told |= *own));
    let hubs = by_shares(changes.hubs.len(), threads, |places| {
        let mut writer = Writer::new(&changes, &told);
        changes.hubs[places].iter().for_each(|row| writer.row(*row as usize));
        writer
    });
    let mut whole = Writer::new(&changes, &[]);
    lists.into_iter().chain(hubs).for_each(|writer| whole.append(writer));
    whole.finish(marks, limit, block, scratch)
}

/// Rows of fewer bytes are coded by one thread.
const SHARED_BYTES: u64 = 1 << 20;

/// Upper halves of the heads against what they were; empty when nothing changed.
fn marks_of(changes: &Changes) -> Option<Vec<u8>> {
    if !changes.base.rows.has_head {
        return Some(Vec::new());
    }
    let mark = |row| {
        let [_, _, low, high] = changes.row(row)[0];
        let [_, _, old_low, old_high] = changes.base.rest(row).map_or([0; 4], |old| old[0]);
        if changes.is_exception(row) { [0; 2] } else { [low ^ old_low, high ^ old_high] }
    };
    let marks: Vec<u8> = (0..changes.base.rows.count).flat_map(mark).collect();
    Some(if marks.iter().all(|mark| *mark == 0) { Vec::new() } else { marks })
}

struct Writer<'a> {
    changes: &'a Changes<'a>,
    /// Rows in the order in which they were told, and their shapes.
    shapes: Vec<(usize, u8)>,
    planes: [Vec<u8>; PLANES],
    kept: BitWriter,
    bits: BitWriter,
    exceptions: Vec<u8>,
    exception_count: u32,
    /// Added ids of hubs that a list at the other end told of here.
    told: Vec<bool>,
    /// Those that all lists told of; empty while lists are told.
    known: &'a [bool],
    /// Places in the new list of entries as they are decoded.
    sequence: Vec<u8>,
    /// Rows that told a hub of a link, with the link's number.
    callers: Vec<(u32, usize)>,
}

impl<'a> Writer<'a> {
    /// `known`: what the lists told of, for hubs.
    fn new(changes: &'a Changes<'a>, known: &'a [bool]) -> Self {
        Self {
            changes,
            shapes: Vec::new(),
            planes: Default::default(),
            kept: BitWriter::default(),
            bits: BitWriter::default(),
            exceptions: Vec::new(),
            exception_count: 0,
            told: Vec::new(),
            known,
            sequence: Vec::new(),
            callers: Vec::new(),
        }
    }

    /// Goes on with what another one wrote.
    fn append(&mut self, other: Self) {
        self.shapes.extend(other.shapes);
        self.planes.iter_mut().zip(other.planes).for_each(|(plane, rest)| plane.extend(rest));
        self.kept.append(&other.kept);
        self.bits.append(&other.bits);
        self.exceptions.extend(other.exceptions);
        self.exception_count += other.exception_count;
    }

    fn row(&mut self, row: usize) {
        let changes = self.changes;
        if changes.is_exception(row) {
            self.shapes.push((row, EXCEPTION));
            self.exception_count += 1;
            self.exceptions.extend_from_slice(changes.row(row).as_flattened());
            return;
        }
        self.sequence.clear();
        let mut shape = if changes.hub_places[row] == NONE { 0 } else { SHAPE_HUB };
        if changes.places(row).contains(&GONE) {
            shape |= SHAPE_REMOVED;
            for places in changes.places(row).chunks(32) {
                let bits = places.iter().rev().fold(0, |bits, place| bits << 1 | u32::from(*place != GONE));
                self.kept.push(bits, u32::try_from(places.len()).unwrap_or(0));
            }
        }
        let (mut kept, mut count) = ([0; 256], 0);
        for place in changes.places(row) {
            kept[count] = *place;
            count += usize::from(*place != GONE);
        }
        self.sequence.extend_from_slice(&kept[..count]);
        let own = self.added(row, shape & SHAPE_HUB != 0);
        if self.order(self.sequence.len() - own) {
            shape |= SHAPE_ORDER;
        }
        if self.stale(row) {
            shape |= SHAPE_STALE;
        }
        // At most 254.
        let [own, ..] = own.to_le_bytes();
        if own >= COUNT_FOLLOWS {
            self.planes[COUNTS].push(own);
        }
        self.shapes.push((row, shape | own.min(COUNT_FOLLOWS) << COUNT_SHIFT));
    }

    /// Tells the added ids of a row, and how many were not known.
    fn added(&mut self, row: usize, is_hub: bool) -> usize {
        let changes = self.changes;
        if is_hub {
            self.callers.clear();
            let told = changes.added_of(row).filter(|number| self.known[*number]);
            self.callers.extend(told.map(|number| (changes.targets[number], number)));
            self.callers.sort_unstable();
            self.sequence.extend(self.callers.iter().map(|(_, number)| changes.added[*number]));
        }
        let mut own = 0;
        for number in changes.added_of(row) {
            if !(is_hub && self.known[number]) {
                own += 1;
                self.sequence.push(changes.added[number]);
                self.id(row, is_hub, number);
            }
        }
        own
    }

    #[inline(always)]
    fn id(&mut self, row: usize, is_hub: bool, number: usize) {
        let changes = self.changes;
        let target = changes.targets[number];
        let hub = changes.hub_places.get(target as usize).copied().unwrap_or(NONE);
        if hub != NONE {
            let hubs = u32::try_from(changes.hubs.len()).unwrap_or(NONE);
            let both = !is_hub && self.tell(row, target as usize);
            self.planes[ADDED].push(if both { HUB_BOTH } else { HUB });
            self.choice(hub, hubs);
        } else if let Some(Near { place, slot, length }) = changes.near[number] {
            self.planes[ADDED].push(NEAR);
            let neighbours = changes.base.list(changes.hosts[row] as usize).len();
            self.choice(u32::from(place), u32::try_from(neighbours + 1).unwrap_or(1));
            self.choice(u32::from(slot), u32::from(length));
        } else {
            let id = u32::from_le_bytes(changes.list(row)[usize::from(changes.added[number])]);
            let (code, extra, rest) = gap_code(fold(id, changes.base.node(row)));
            self.planes[ADDED].push(code);
            self.bits.push(rest, extra);
        }
    }

    /// Marks the other end of a link to a hub; false when the hub did not add it, or was told before.
    #[inline(always)]
    fn tell(&mut self, row: usize, hub: usize) -> bool {
        let changes = self.changes;
        let other = changes.added_of(hub).find(|number| changes.targets[*number] as usize == row);
        if self.told.is_empty() {
            self.told = vec![false; changes.added.len()];
        }
        other.is_some_and(|number| !std::mem::replace(&mut self.told[number], true))
    }

    #[inline(always)]
    fn choice(&mut self, value: u32, choices: u32) {
        let (width, short) = choice(choices);
        let value = u64::from(value);
        let is_long = value >= short;
        let long = value + short;
        let code = if is_long { long >> 1 | (long & 1) << width } else { value };
        // Below 2^32: a long one is below 2^(width + 1), and width is below 32.
        self.bits.push(u32::try_from(code).unwrap_or(0), width + u32::from(is_long));
    }

    /// For each entry, in the order in which they are decoded, how many before it stand after it in the list.
    #[inline(always)]
    fn order(&mut self, known: usize) -> bool {
        let sequence = std::mem::take(&mut self.sequence);
        let lead = sequence.iter().zip(sequence.iter().skip(1)).position(|(one, next)| one > next);
        if let Some(lead) = lead.map(|lead| lead + 1) {
            self.planes[LEADS].push((sequence.len() - lead).to_le_bytes()[0]);
            let mut seen = Places::default();
            sequence[..lead].iter().for_each(|place| seen.add(usize::from(*place)));
            let mut last = 0;
            for (place, at) in sequence.iter().enumerate().skip(lead) {
                let rank = seen.above(usize::from(*at));
                seen.add(usize::from(*at));
                let (least, choices) = ranks(place, lead, known, last);
                self.choice(rank - least, choices);
                last = rank;
            }
        }
        self.sequence = sequence;
        lead.is_some()
    }

    /// Tells slots past the degree that are not as expected.
    #[inline(always)]
    fn stale(&mut self, row: usize) -> bool {
        let changes = self.changes;
        if !changes.base.rows.has_head {
            return false;
        }
        let (old, new) = (changes.base.list(row), changes.list(row));
        let start = 1 + new.len();
        let slots = &changes.row(row)[start..];
        let expected = |slot: usize| changes.base.rest(row).map_or([0; 4], |rest| rest[start + slot]);
        let Some(last) = (0..slots.len()).rev().find(|slot| slots[*slot] != expected(*slot)) else { return false };
        self.planes[STALE_COUNTS].push((last + 1).to_le_bytes()[0]);
        for (slot, id) in slots[..=last].iter().enumerate() {
            let source = || old.iter().chain(new).take(SOURCES).position(|other| other == id);
            let source = if *id == expected(slot) { Some(SOURCE_BASE) } else { source().map(|at| at.to_le_bytes()[0]) };
            self.planes[STALE_SOURCES].push(source.unwrap_or(SOURCE_ID));
            if source.is_none() {
                self.bits.push(u32::from_le_bytes(*id), u32::BITS);
            }
        }
        true
    }

    fn finish(self, marks: Vec<u8>, limit: usize, block: &mut Vec<u8>, scratch: &mut Scratch) -> Result<bool> {
        let Self { shapes, mut planes, kept, bits, exceptions, exception_count, .. } = self;
        planes[SHAPES] = vec![0; shapes.len()];
        shapes.into_iter().for_each(|(row, shape)| planes[SHAPES][row] = shape);
        planes[KEPT] = kept.finish();
        let kept_bytes = planes[KEPT].len() - GUARD_BYTES;
        planes[KEPT].truncate(kept_bytes);
        planes[MARKS] = marks;
        block.clear();
        block.resize(HEADER_BYTES, 0);
        let (mut header, mut frame) = ([0; HEADER_BYTES], Vec::new());
        let fields = header.as_chunks_mut::<4>().0;
        fields[0] = exception_count.to_le_bytes();
        for (number, plane) in planes.iter().enumerate().filter(|(_, plane)| !plane.is_empty()) {
            // Marks change together or not at all.
            let search = if number == MARKS { Search::Matches } else { Search::None };
            let room = limit.saturating_sub(block.len());
            let (Ok(symbols), true) = (u32::try_from(plane.len()), room > 0) else { return Ok(false) };
            if !zstd::encode(search, plane, room.min(plane.len() + 64 + plane.len() / 64), &mut frame, scratch)? {
                return Ok(false);
            }
            let Ok(frame_bytes) = u32::try_from(frame.len()) else { return Ok(false) };
            (fields[2 + 2 * number], fields[3 + 2 * number]) = (symbols.to_le_bytes(), frame_bytes.to_le_bytes());
            block.extend_from_slice(&frame);
        }
        block.extend_from_slice(&exceptions);
        block.extend_from_slice(&bits.finish());
        block[..HEADER_BYTES].copy_from_slice(&header);
        Ok(block.len() <= limit)
    }
}
