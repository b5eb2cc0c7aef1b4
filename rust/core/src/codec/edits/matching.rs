//! Which entries of each new list were in the old one, and what the others have to do with the rest of the block.

use super::super::links::parallel::by_shares;
use super::base::{Base, degree};
use super::{EXCEPTION, NONE};

/// Place of an old entry that the new list does not have.
pub(super) const GONE: u8 = 255;
/// Degree of a row that is kept as it is.
const NO_LIST: u8 = EXCEPTION;
/// New links both ways that make a hub of a node that kept some of its list; links one way count far less.
const HUB_LINKS: u16 = 4;
const BOTH_WAYS: u16 = 64;
/// Ids near a hub that are looked at.
const NEAR_IDS: usize = 1 << 14;

/// Groups of 32 entries that the longest list takes.
const GROUPS: usize = 8;
const SLOTS_MAX: usize = 254;
const TABLE_BITS: u32 = 10;

/// Place of an id in the table of a list: mostly its own.
#[inline(always)]
fn hash(id: u32) -> usize {
    (id.wrapping_mul(0x9E37_79B1) >> (u32::BITS - TABLE_BITS)) as usize
}

/// Bits of places in a list.
#[derive(Default, Clone, Copy)]
pub(super) struct Places([u64; 4]);

impl Places {
    /// How many are above `place`.
    #[inline(always)]
    pub fn above(&self, place: usize) -> u32 {
        let words = self.0.iter().skip(place / 64 + 1);
        let own = self.0[place / 64 % 4].unbounded_shr(u32::try_from(place % 64 + 1).unwrap_or(0));
        own.count_ones() + words.map(|word| word.count_ones()).sum::<u32>()
    }

    #[inline(always)]
    pub fn add(&mut self, place: usize) {
        self.0[place / 64 % 4] |= 1 << (place % 64);
    }
}

/// What changed in each row.
pub(super) struct Changes<'a> {
    pub base: &'a Base<'a>,
    words: &'a [[u8; 4]],
    /// Or `NO_LIST`.
    degrees: Vec<u8>,
    /// `slots` a row: where each entry of the old list stands in the new one.
    places: Vec<u8>,
    /// Of each row: where its added ids start in the vectors below.
    starts: Vec<usize>,
    /// Places of added ids in the new list.
    pub added: Vec<u8>,
    /// Rows of added ids, `NONE` for ids that no row is about.
    pub targets: Vec<u32>,
    pub near: Vec<Option<Near>>,
    /// Rows of the table of hubs, ascending; of each row its place there.
    pub hubs: Vec<u32>,
    pub hub_places: Vec<u32>,
    pub hosts: Vec<u32>,
}

impl<'a> Changes<'a> {
    pub fn find(base: &'a Base<'a>, raw: &'a [u8], threads: usize) -> Self {
        let (rows, words) = (base.rows, raw.as_chunks().0);
        let compared = by_shares(rows.count, threads, |share| {
            let mut comparing = Comparing::new(base, words, &share);
            share.for_each(|row| comparing.row(row));
            comparing
        });
        let mut changes = Self {
            base,
            words,
            degrees: Vec::with_capacity(rows.count),
            places: Vec::with_capacity(rows.count * rows.slots),
            starts: Vec::with_capacity(rows.count + 1),
            added: Vec::new(),
            targets: Vec::new(),
            near: Vec::new(),
            hubs: Vec::new(),
            hub_places: vec![NONE; rows.count],
            hosts: Vec::new(),
        };
        for share in compared {
            let before = changes.added.len();
            changes.starts.extend(share.starts.iter().map(|start| before + start));
            changes.degrees.extend(share.degrees);
            changes.places.extend(share.places);
            changes.added.extend(share.added);
            changes.targets.extend(share.targets);
        }
        changes.starts.push(changes.added.len());
        changes.choose_hubs();
        changes.hosts = base.hosts(&changes.hubs, |row| changes.hub_places[row] != NONE);
        changes.search_near(threads);
        changes
    }

    pub fn row(&self, row: usize) -> &'a [[u8; 4]] {
        let words = self.base.rows.words;
        &self.words[row * words..(row + 1) * words]
    }

    pub fn is_exception(&self, row: usize) -> bool {
        self.degrees[row] == NO_LIST
    }

    /// The new list; empty for an exception.
    #[inline(always)]
    pub fn list(&self, row: usize) -> &'a [[u8; 4]] {
        let rows = &self.base.rows;
        let degree = if self.is_exception(row) { 0 } else { usize::from(self.degrees[row]) };
        &self.row(row)[rows.words - rows.slots..][..degree]
    }

    /// Of each entry of the old list its place in the new one.
    #[inline(always)]
    pub fn places(&self, row: usize) -> &[u8] {
        &self.places[row * self.base.rows.slots..][..self.base.list(row).len()]
    }

    /// Numbers of the added ids of a row.
    #[inline(always)]
    pub fn added_of(&self, row: usize) -> std::ops::Range<usize> {
        self.starts[row]..self.starts[row + 1]
    }

    /// Hubs: nodes that other lists gained and that kept nothing of their own list, or gained so many of those others.
    fn choose_hubs(&mut self) {
        let mut gains = vec![0u16; self.base.rows.count];
        for row in 0..self.base.rows.count {
            for target in &self.targets[self.added_of(row)] {
                if let Some(gain) = gains.get_mut(*target as usize) {
                    let comes_back =
                        self.targets[self.added_of(*target as usize)].iter().any(|back| *back as usize == row);
                    *gain = gain.saturating_add(if comes_back { BOTH_WAYS } else { 1 });
                }
            }
        }
        for (row, gain) in gains.iter().enumerate() {
            let kept_nothing = || self.places(row).iter().all(|place| *place == GONE);
            if !self.is_exception(row) && *gain > 0 && (*gain >= HUB_LINKS * BOTH_WAYS || kept_nothing()) {
                self.hub_places[row] = u32::try_from(self.hubs.len()).unwrap_or(NONE);
                self.hubs.push(u32::try_from(row).unwrap_or(NONE));
            }
        }
    }

    /// Whoever repairs a list around a node that moved takes from the lists of that node's old neighbours.
    fn search_near(&mut self, threads: usize) {
        let found = by_shares(self.hubs.len(), threads, |share| self.near_of(&self.hubs[share]));
        self.near = vec![None; self.added.len()];
        found.into_iter().flatten().for_each(|(number, near)| self.near[number] = near);
    }

    /// Numbers of added ids of rows that these hubs are the hosts of, and where the ids stand near their hub.
    fn near_of(&self, hubs: &[u32]) -> Vec<(usize, Option<Near>)> {
        let (mut near, mut neighbourhood, mut sought) = (Vec::new(), Neighbourhood::default(), Vec::new());
        for hub in hubs {
            sought.clear();
            for row in self.base.list(*hub as usize).iter().filter_map(|id| self.base.row_of(*id)) {
                if self.hosts[row] == *hub {
                    let added = self.added_of(row).filter(|number| !self.is_hub(self.targets[*number]));
                    sought.extend(added.map(|number| (number, self.list(row)[usize::from(self.added[number])])));
                }
            }
            if !sought.is_empty() {
                neighbourhood.fill(self.base, *hub as usize);
                near.extend(sought.iter().map(|(number, id)| (*number, neighbourhood.find(*id))));
            }
        }
        near
    }

    /// Whether a target is one.
    #[inline(always)]
    pub fn is_hub(&self, row: u32) -> bool {
        self.hub_places.get(row as usize).is_some_and(|hub| *hub != NONE)
    }
}

/// Rows one after another against what they were.
struct Comparing<'a> {
    base: &'a Base<'a>,
    words: &'a [[u8; 4]],
    first: usize,
    /// The list at hand.
    ids: [u32; 32 * GROUPS],
    /// Where its ids stand, by `hash`; `GONE` between rows.
    table: [u8; 1 << TABLE_BITS],
    degrees: Vec<u8>,
    places: Vec<u8>,
    starts: Vec<usize>,
    added: Vec<u8>,
    targets: Vec<u32>,
}

impl<'a> Comparing<'a> {
    fn new(base: &'a Base<'a>, words: &'a [[u8; 4]], rows: &std::ops::Range<usize>) -> Self {
        Self {
            base,
            words,
            first: rows.start,
            ids: [0; 32 * GROUPS],
            table: [GONE; 1 << TABLE_BITS],
            degrees: Vec::with_capacity(rows.len()),
            places: vec![GONE; rows.len() * base.rows.slots],
            starts: Vec::with_capacity(rows.len()),
            added: Vec::new(),
            targets: Vec::new(),
        }
    }

    fn row(&mut self, row: usize) {
        let rows = &self.base.rows;
        let words = &self.words[row * rows.words..(row + 1) * rows.words];
        let count =
            degree(rows, words).and_then(|degree| u8::try_from(degree).ok()).filter(|degree| *degree != NO_LIST);
        self.starts.push(self.added.len());
        self.degrees.push(count.unwrap_or(NO_LIST));
        let (old, new) = (self.base.list(row), &words[rows.words - rows.slots..][..usize::from(count.unwrap_or(0))]);
        let places = &mut self.places[(row - self.first) * rows.slots..][..old.len()];
        let mut taken = [0u32; GROUPS];
        if new.starts_with(old) {
            for (place, kept) in (0u8..).zip(&mut *places) {
                *kept = place;
                taken[usize::from(place) / 32] |= 1 << (place % 32);
            }
        } else {
            let ids = &mut self.ids;
            ids.iter_mut().zip(new).for_each(|(entry, id)| *entry = u32::from_le_bytes(*id));
            let mut is_plain = true;
            for (place, id) in (0u8..).zip(&ids[..new.len()]) {
                let at = &mut self.table[hash(*id)];
                is_plain &= *at == GONE;
                *at = place;
            }
            for (place, id) in places.iter_mut().zip(old) {
                let id = u32::from_le_bytes(*id);
                if is_plain {
                    // No branch that depends on the data: half of the entries may be gone.
                    let at = self.table[hash(id)];
                    let is_free = taken[usize::from(at) / 32] >> (at % 32) & 1 == 0;
                    let is_there = (at != GONE) & (ids[usize::from(at)] == id) & is_free;
                    *place = if is_there { at } else { GONE };
                } else {
                    let free = |at: u8| taken[usize::from(at) / 32] >> (at % 32) & 1 == 0;
                    let found = (0u8..).zip(&ids[..new.len()]).find(|(at, other)| **other == id && free(*at));
                    *place = found.map_or(GONE, |(at, _)| at);
                }
                // What is gone takes a place that no list has.
                taken[usize::from(*place) / 32] |= 1 << (*place % 32);
            }
            ids[..new.len()].iter().for_each(|id| self.table[hash(*id)] = GONE);
        }
        for (place, id) in (0u8..).zip(new) {
            if taken[usize::from(place) / 32] >> (place % 32) & 1 == 0 {
                self.added.push(place);
                let target = self.base.row_of(*id).and_then(|row| u32::try_from(row).ok());
                self.targets.push(target.unwrap_or(NONE));
            }
        }
    }
}

/// Where an added id stands near its row's host: list (0 the host's own, then those of its neighbours), place in that
/// list, and how long that list is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Near {
    pub place: u8,
    pub slot: u8,
    pub length: u8,
}

/// Where ids stand in the lists of a hub and its neighbours: a hash table of the first place of each.
#[derive(Default)]
struct Neighbourhood {
    table: Vec<([u8; 4], Option<Near>)>,
    shift: u32,
}

impl Neighbourhood {
    fn fill(&mut self, base: &Base, hub: usize) {
        let neighbours = base.list(hub);
        let mut lists = [&[][..]; SLOTS_MAX + 1];
        lists[0] = neighbours;
        let (mut ids, mut touched) = (neighbours.len(), 0);
        for (list, id) in lists[1..].iter_mut().zip(neighbours) {
            *list = base.row_of(*id).map_or(&[][..], |row| base.list(row));
            ids += list.len();
            touched ^= list.first().map_or(0, |id| id[0]) ^ list.last().map_or(0, |id| id[0]);
        }
        // Lists stand far apart: asked for together, they come together.
        std::hint::black_box(touched);
        let slots = (2 * ids.min(NEAR_IDS)).next_power_of_two();
        self.shift = (u32::BITS - slots.ilog2()).min(u32::BITS - 1);
        self.table.clear();
        self.table.resize(slots.max(2), Default::default());
        let mut room = NEAR_IDS;
        for (place, list) in (0u8..).zip(&lists[..=neighbours.len()]) {
            let [length, ..] = list.len().to_le_bytes();
            for (slot, id) in (0u8..).zip(list.iter().take(room)) {
                let at = self.slot(*id);
                if self.table[at].1.is_none() {
                    self.table[at] = (*id, Some(Near { place, slot, length }));
                }
            }
            room -= list.len().min(room);
        }
    }

    /// Where an id is or would be. Half of the table is empty.
    #[inline(always)]
    fn slot(&self, id: [u8; 4]) -> usize {
        let mut at = (u32::from_le_bytes(id).wrapping_mul(0x9E37_79B1) >> self.shift) as usize;
        while self.table[at].1.is_some() && self.table[at].0 != id {
            at = (at + 1) & (self.table.len() - 1);
        }
        at
    }

    #[inline(always)]
    fn find(&self, id: [u8; 4]) -> Option<Near> {
        self.table[self.slot(id)].1
    }
}
