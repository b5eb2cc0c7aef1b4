//! One stream on its way into a delta: compared chunks come in order, chunks of a map and of a part go out.

use super::Base;
use super::align::Aligner;
use super::compare::{Changes, Compare, Compared};
use super::keys::BaseKeys;
use crate::archive::Mapping;
use crate::codec::map;
use crate::error::{Error, ErrorKind, Result, to_usize};
use crate::pipeline::rows::ReadState;
use crate::stream::{StreamDescription, StreamRole};
use crate::sys;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rows of a map's chunk: 512 KiB.
pub const MAP_CHUNK_ROWS: u64 = 65_536;

/// Something to be coded.
pub enum Ready {
    Map { first_row: u64, bytes: Vec<u8> },
    Part { first_row: u64, bytes: Vec<u8>, references: Vec<u64> },
}

pub struct DeltaStream {
    base: Base,
    /// The base's stream.
    with: usize,
    /// Parts of the base that go on.
    kept: BTreeSet<u16>,
    aligner: Option<Aligner>,
    state: ReadState,
    /// BLAKE3 of each chunk so far, and rows.
    pub digests: Vec<[u8; 32]>,
    pub row_count: u64,
    pub rows_new: u64,
    /// Whether something differs from the base: from then on there are a map and a part.
    is_changed: bool,
    map_first: u64,
    map_rows: Vec<u8>,
    /// Some rows of the base's map.
    map_page_first: u64,
    map_page: Vec<u8>,
    part_first: u64,
    part_rows: Vec<u8>,
    references: Vec<u64>,
    part_chunk_bytes: usize,
    row_bytes: usize,
    /// Whether changed rows are worth coding against the base's; asked of the first part that is coded.
    pub is_near: Option<bool>,
}

/// How the stream comes into the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As the base has it.
    Same,
    Mapped,
}

impl DeltaStream {
    /// `part_chunk_rows`: rows of a chunk of new rows. `memory_bytes`: for finding moved rows.
    ///
    /// # Errors
    /// Those of reading the base's map.
    pub fn new(base: &Base, with: usize, compare: &Compare, part_chunk_rows: u64, memory_bytes: u64) -> Result<Self> {
        let aligner = compare.can_move.then(|| Aligner::new(BaseKeys::new(base, with, compare.key), memory_bytes));
        let part_chunk_bytes = part_chunk_rows.saturating_mul(compare.row_bytes as u64);
        Ok(Self {
            base: base.clone(),
            with,
            kept: base.kept_parts(with)?,
            aligner,
            state: ReadState::default(),
            digests: Vec::new(),
            row_count: 0,
            rows_new: 0,
            is_changed: false,
            map_first: 0,
            map_rows: Vec::new(),
            map_page_first: 0,
            map_page: Vec::new(),
            part_first: 0,
            part_rows: Vec::new(),
            references: Vec::new(),
            part_chunk_bytes: usize::try_from(part_chunk_bytes).unwrap_or(usize::MAX),
            row_bytes: compare.row_bytes,
            is_near: None,
        })
    }

    pub fn base_stream(&self) -> Option<&StreamDescription> {
        self.base.reader.archive().streams().get(self.with)
    }

    pub fn mapping(&self) -> Option<&Mapping> {
        self.base.reader.archive().mapping(self.with)
    }

    pub fn base(&self) -> (&Base, usize) {
        (&self.base, self.with)
    }

    /// The number of the part that new rows go to.
    pub fn part_number(&self) -> u16 {
        self.mapping().and_then(|mapping| mapping.parts.keys().last()).map_or(2, |last| last.saturating_add(1))
    }

    /// Number and base's stream of each part that goes on.
    pub fn parts(&self) -> Vec<(u16, usize)> {
        self.mapping().map_or_else(|| vec![(1, self.with)], |mapping| self.parts_of(mapping).collect())
    }

    fn parts_of<'a>(&'a self, mapping: &'a Mapping) -> impl Iterator<Item = (u16, usize)> + 'a {
        let parts = mapping.parts.iter().filter(|(number, _)| self.kept.contains(number));
        parts.map(|(number, stream)| (*number, *stream))
    }

    /// The part whose rows new ones may be coded against: (its number, its stream in the base).
    pub fn base_part(&self) -> Option<(u16, usize)> {
        let streams = self.base.reader.archive().streams();
        match self.mapping() {
            None => Some((1, self.with)),
            Some(mapping) => {
                let mut parts = self.parts_of(mapping);
                parts.find(|(_, stream)| streams.get(*stream).is_some_and(|part| part.part.base == 0))
            }
        }
    }

    /// The next chunk.
    ///
    /// # Errors
    /// Those of reading the base; `Io` for a chunk out of order.
    pub fn accept(&mut self, compared: Compared) -> Result<Vec<Ready>> {
        let Compared { first_row, rows, digest, changes, .. } = compared;
        if first_row != self.row_count {
            let detail = format!("row {first_row} comes after {} rows; please report this", self.row_count);
            return Err(Error::new(ErrorKind::Io, "compared rows", detail));
        }
        let mut ready = Vec::new();
        self.digests.push(digest);
        if changes.is_some() && !self.is_changed {
            self.is_changed = true;
            // What came before stands where the base has it.
            self.copy(0, first_row, &mut ready)?;
        }
        if self.is_changed {
            self.map_chunk(first_row, rows, &changes.unwrap_or_default(), &mut ready)?;
        }
        self.row_count = first_row + rows;
        Ok(ready)
    }

    fn map_chunk(&mut self, first_row: u64, rows: u64, changes: &Changes, ready: &mut Vec<Ready>) -> Result<()> {
        let mut next = first_row;
        let room = changes.rows.len().min(self.part_chunk_bytes.saturating_sub(self.part_rows.len()));
        self.part_rows.reserve(room);
        sys::prefer_huge_pages(self.part_rows.spare_capacity_mut());
        for (at, place) in changes.places.iter().enumerate() {
            let row = first_row + u64::from(*place);
            self.copy(next, row, ready)?;
            next = row + 1;
            // Fingerprints of this row and of those right behind it that are not at their places either.
            let behind = changes.places[at..].iter().zip(*place..).take(3);
            let following = behind.take_while(|(place, expected)| *place == expected).count();
            let keys = changes.keys.get(at..at + following).unwrap_or_default();
            let found = self.aligner.as_mut().map_or(Ok(None), |aligner| aligner.find(row, keys))?;
            match found {
                Some(there) => self.copy(there, there + 1, ready)?,
                None => {
                    let start = at * self.row_bytes;
                    self.new_row(row, &changes.rows[start..start + self.row_bytes], ready)?;
                }
            }
        }
        self.copy(next, first_row + rows, ready)
    }

    /// The base's rows `first .. end` are the next rows of the map.
    fn copy(&mut self, first: u64, end: u64, ready: &mut Vec<Ready>) -> Result<()> {
        let map = self.mapping().map(|mapping| mapping.map);
        let mut row = first;
        while row < end {
            let here = (end - row).min(MAP_CHUNK_ROWS - self.map_rows.len() as u64 / 8);
            match map {
                None => {
                    let start = self.map_rows.len();
                    self.map_rows.resize(start + to_usize(here * 8, "map")?, 0);
                    let values = self.map_rows[start..].as_chunks_mut::<8>().0;
                    values.iter_mut().zip(row..).for_each(|(value, row)| *value = map::join(1, row).to_le_bytes());
                }
                Some(map) => self.copy_map(map, row, here)?,
            }
            self.flush_map(MAP_CHUNK_ROWS, ready);
            row += here;
        }
        Ok(())
    }

    /// Rows of the base's map, out of a page of it: changes cut it into many short runs.
    fn copy_map(&mut self, map: usize, first: u64, rows: u64) -> Result<()> {
        let row_count = self.base_stream().map_or(0, |stream| stream.row_count);
        let (mut row, end) = (first, first + rows);
        while row < end {
            let page_end = self.map_page_first + self.map_page.len() as u64 / 8;
            if row < self.map_page_first || row >= page_end {
                self.map_page_first = row - row % MAP_CHUNK_ROWS;
                let rows = MAP_CHUNK_ROWS.min(row_count.saturating_sub(self.map_page_first));
                self.map_page.resize(to_usize(rows * 8, "map")?, 0);
                self.base.reader.read_rows(&mut self.state, map, self.map_page_first, &mut self.map_page)?;
            }
            let (inside, page) = (to_usize((row - self.map_page_first) * 8, "map")?, self.map_page.len());
            let bytes = to_usize((end - row) * 8, "map")?.min(page.saturating_sub(inside));
            if bytes == 0 {
                let detail = format!("row {row} is past the base's {row_count} rows; please report this");
                return Err(Error::new(ErrorKind::Io, "compared rows", detail));
            }
            self.map_rows.extend_from_slice(&self.map_page[inside..inside + bytes]);
            row += bytes as u64 / 8;
        }
        Ok(())
    }

    fn new_row(&mut self, row: u64, bytes: &[u8], ready: &mut Vec<Ready>) -> Result<()> {
        let new = self.part_first + (self.part_rows.len() / self.row_bytes) as u64;
        self.map_rows.extend_from_slice(&map::join(self.part_number(), new).to_le_bytes());
        self.flush_map(MAP_CHUNK_ROWS, ready);
        self.rows_new += 1;
        self.part_rows.extend_from_slice(bytes);
        // The row at the same place, whose successor this one most likely is.
        self.references.push(row);
        if self.part_rows.len() >= self.part_chunk_bytes {
            self.flush_part(ready);
        }
        Ok(())
    }

    fn flush_map(&mut self, rows_min: u64, ready: &mut Vec<Ready>) {
        let rows = self.map_rows.len() as u64 / 8;
        if rows >= rows_min {
            ready.push(Ready::Map { first_row: self.map_first, bytes: std::mem::take(&mut self.map_rows) });
            self.map_first += rows;
        }
    }

    fn flush_part(&mut self, ready: &mut Vec<Ready>) {
        if !self.part_rows.is_empty() {
            let rows = (self.part_rows.len() / self.row_bytes) as u64;
            let (bytes, references) = (std::mem::take(&mut self.part_rows), std::mem::take(&mut self.references));
            ready.push(Ready::Part { first_row: self.part_first, bytes, references });
            self.part_first += rows;
        }
    }

    /// After the last chunk.
    ///
    /// # Errors
    /// Those of reading the base.
    pub fn finish(&mut self) -> Result<(Vec<Ready>, Ending)> {
        let mut ready = Vec::new();
        let is_shorter =
            self.mapping().is_some() && self.base_stream().is_some_and(|base| base.row_count != self.row_count);
        if !self.is_changed && !is_shorter {
            return Ok((ready, Ending::Same));
        }
        if !self.is_changed {
            // Only rows at the end are gone: the base's map does not fit.
            self.copy(0, self.row_count, &mut ready)?;
        }
        self.flush_map(1, &mut ready);
        self.flush_part(&mut ready);
        Ok((ready, Ending::Mapped))
    }
}

/// Rows of a base part, gathered for a worker that codes changed rows against them.
pub struct PartBase {
    pub reader: Arc<crate::pipeline::rows::RowReader>,
    pub stream: usize,
}

impl PartBase {
    /// How many references from the first on lie in the first `chunks` chunks that they name.
    pub fn span(&self, references: &[u64], chunks: usize) -> usize {
        let streams = self.reader.archive().streams();
        let chunk_rows = streams.get(self.stream).map_or(1, |stream| stream.chunk_rows);
        let mut named = Vec::with_capacity(chunks + 1);
        let is_near = |reference: &&u64| {
            let chunk = **reference / chunk_rows;
            if !named.contains(&chunk) {
                named.push(chunk);
            }
            named.len() <= chunks
        };
        references.iter().take_while(is_near).count()
    }

    /// The row of each reference; one that does not exist is `FF` bytes.
    ///
    /// # Errors
    /// Those of reading.
    pub fn rows(&self, state: &mut ReadState, references: &[u64], row_bytes: usize) -> Result<Vec<u8>> {
        self.reader.gather_rows(state, self.stream, references, row_bytes)
    }
}

/// Whether rows of this role may be found elsewhere: lists of links name their own place.
pub fn can_move(role: StreamRole) -> bool {
    role != StreamRole::LINKS
}
