//! One sorted run of keys and places in an archive, and where groups of rows begin.

use super::{name_of, numbers};
use crate::error::{Error, Layer, Result, to_usize};
use crate::pipeline::rows::{ReadState, RowReader};
use crate::stream::{ElementType, StreamDescription, StreamRole};

/// What an index may make a reader hold: 2^28 groups or chunks of keys are more than any archive has.
const LOADED_BYTES_MAX: u64 = 1 << 31;
/// And no more than what is stored has earned: groups of growing lists are told in some bits each.
const LOADED_BYTES_FREE: u64 = 64 << 20;
const LOADED_A_STORED_BYTE: u64 = 64;

/// A key and its place.
pub(super) type Pair = (u64, u64);

pub(super) struct Run {
    pub keys: usize,
    pub places: usize,
    pub rows: u64,
    pub chunk_rows: u64,
    /// The first key of each chunk.
    pub fence: Vec<u64>,
    /// Keys and places of the chunk that was looked into last; ids are looked up in order.
    held: Option<(u64, Vec<u64>, Vec<u64>)>,
}

impl Run {
    /// `None` when the archive has no such run.
    ///
    /// # Errors
    /// `Damaged` at `Codec` when its streams do not fit each other; those of reading the fence.
    pub fn open(reader: &RowReader, state: &mut ReadState, ids: &str, run: &str) -> Result<Option<Self>> {
        let stream = |word| stream_of(reader, &name_of(ids, run, word));
        let (Some((keys, of_keys)), Some((places, of_places))) = (stream("keys"), stream("places")) else {
            return Ok(None);
        };
        let Some((fence, of_fence)) = stream("fence") else {
            return Err(refused(ids, "has no fence"));
        };
        let fits = of_keys.row_count == of_places.row_count && of_keys.chunk_rows == of_places.chunk_rows;
        if !fits || of_fence.row_count != of_keys.chunk_count {
            return Err(refused(ids, "has keys, places and a fence that do not fit each other"));
        }
        let fence = load(reader, state, fence)?;
        Ok(Some(Self { keys, places, rows: of_keys.row_count, chunk_rows: of_keys.chunk_rows, fence, held: None }))
    }

    /// The places of a key are put behind `found`.
    ///
    /// # Errors
    /// Those of reading.
    pub fn places_of(
        &mut self,
        reader: &RowReader,
        state: &mut ReadState,
        key: u64,
        found: &mut Vec<u64>,
    ) -> Result<()> {
        let first = self.fence.partition_point(|first| *first < key).saturating_sub(1);
        let chunks = self.fence.iter().skip(first).take_while(|first| **first <= key).count();
        for chunk in (first as u64..).take(chunks) {
            if self.held.as_ref().is_none_or(|held| held.0 != chunk) {
                self.held = None;
                let (keys, places) = self.chunk(reader, state, chunk)?;
                self.held = Some((chunk, keys, places));
            }
            let Some((_, keys, places)) = &self.held else { continue };
            let (start, end) = (keys.partition_point(|at| *at < key), keys.partition_point(|at| *at <= key));
            found.extend(places.get(start..end).unwrap_or_default());
        }
        Ok(())
    }

    /// Keys and places of a chunk: one read where their blocks lie side by side.
    fn chunk(&self, reader: &RowReader, state: &mut ReadState, chunk: u64) -> Result<(Vec<u64>, Vec<u64>)> {
        let archive = reader.archive();
        let raw_bytes = archive.streams().get(self.keys).map_or(0, |stream| stream.chunk_bytes(chunk));
        let mut raw = vec![0; to_usize(raw_bytes, "index of ids")?];
        let entries = (archive.entry(self.keys, chunk)?, archive.entry(self.places, chunk)?);
        let mut values = Vec::with_capacity(2);
        if let Some((keys, places)) = archive.read_neighbours(&entries.0, &entries.1)? {
            for (stream, entry, mut block) in [(self.keys, entries.0, keys), (self.places, entries.1, places)] {
                reader.decode(state, (stream, chunk), &entry, &mut block, &mut raw)?;
                values.push(numbers(&raw));
            }
        } else {
            for stream in [self.keys, self.places] {
                reader.read_chunk(state, stream, chunk, &mut raw)?;
                values.push(numbers(&raw));
            }
        }
        let places = values.pop().unwrap_or_default();
        Ok((values.pop().unwrap_or_default(), places))
    }
}

/// A run from front to back, pair by pair.
pub(super) struct Pairs<'a> {
    reader: &'a RowReader,
    state: &'a mut ReadState,
    run: &'a Run,
    held: std::vec::IntoIter<Pair>,
    next: Option<Pair>,
    row: u64,
}

impl<'a> Pairs<'a> {
    pub fn new(reader: &'a RowReader, state: &'a mut ReadState, run: &'a Run) -> Self {
        Self { reader, state, run, held: Vec::new().into_iter(), next: None, row: 0 }
    }

    pub fn peek(&mut self) -> Result<Option<Pair>> {
        if self.next.is_none() {
            self.next = self.read()?;
        }
        Ok(self.next)
    }

    pub fn next(&mut self) -> Result<Option<Pair>> {
        let next = self.peek()?;
        self.next = None;
        Ok(next)
    }

    fn read(&mut self) -> Result<Option<Pair>> {
        if let Some(pair) = self.held.next() {
            return Ok(Some(pair));
        }
        let chunk = self.row / self.run.chunk_rows.max(1);
        let rows = self.run.chunk_rows.min(self.run.rows - self.row);
        if rows == 0 {
            return Ok(None);
        }
        let (keys, places) = self.run.chunk(self.reader, self.state, chunk)?;
        self.row += rows;
        self.held = keys.into_iter().zip(places).collect::<Vec<_>>().into_iter();
        Ok(self.held.next())
    }
}

/// Where groups of rows begin.
pub(super) struct Groups {
    pub stride: u64,
    pub starts: Vec<u64>,
}

impl Groups {
    /// `None` when the archive has none for these ids.
    ///
    /// # Errors
    /// `Damaged` at `Codec`; those of reading.
    pub fn open(reader: &RowReader, state: &mut ReadState, ids: &str) -> Result<Option<Self>> {
        let Some((stream, _)) = stream_of(reader, &name_of(ids, "", "groups")) else { return Ok(None) };
        let mut starts = load(reader, state, stream)?;
        let stride = if starts.is_empty() { 0 } else { starts.remove(0) };
        let is_right = (1..=1 << 63).contains(&stride) && starts.first() == Some(&0) && starts.is_sorted();
        if is_right { Ok(Some(Self { stride, starts })) } else { Err(refused(ids, "has groups that are none")) }
    }

    /// The row at a place, if there is one.
    pub fn row(&self, place: u64, row_count: u64) -> Option<u64> {
        let group = usize::try_from(place / self.stride).ok()?;
        let start = self.starts.get(group)?;
        let end = self.starts.get(group + 1).copied().unwrap_or(row_count);
        start.checked_add(place % self.stride).filter(|row| *row < end.min(row_count))
    }

    /// The place of a row that exists; places of groups fit 64 bits, as whoever made this has checked.
    pub fn place(&self, row: u64) -> u64 {
        let group = self.starts.partition_point(|start| *start <= row).saturating_sub(1);
        group as u64 * self.stride + (row - self.starts.get(group).copied().unwrap_or(0))
    }
}

fn stream_of<'a>(reader: &'a RowReader, name: &str) -> Option<(usize, &'a StreamDescription)> {
    let number = reader.archive().stream_index(name)?;
    let stream = reader.archive().streams().get(number)?;
    let fits = (stream.role, stream.element_type, stream.row_elements) == (StreamRole::ID_INDEX, ElementType::U64, 1);
    fits.then_some((number, stream))
}

/// All rows of a small stream. A block that came with the end of the archive is not read again.
fn load(reader: &RowReader, state: &mut ReadState, stream: usize) -> Result<Vec<u64>> {
    let archive = reader.archive();
    let Some(description) = archive.streams().get(stream) else { return Ok(Vec::new()) };
    let mut stored = 0u64;
    for chunk in 0..description.chunk_count {
        stored = stored.saturating_add(archive.entry(stream, chunk)?.stored_bytes.into());
    }
    let earned = stored.saturating_mul(LOADED_A_STORED_BYTE).saturating_add(LOADED_BYTES_FREE);
    if description.raw_bytes() > LOADED_BYTES_MAX.min(earned) {
        return Err(refused(&description.name, &format!("has {} bytes", description.raw_bytes())));
    }
    let mut values = Vec::new();
    let mut chunk_bytes = Vec::new();
    for chunk in 0..description.chunk_count {
        // Chunk by chunk, so that memory is taken only for what blocks have given.
        chunk_bytes.resize(to_usize(description.chunk_bytes(chunk), "index of ids")?, 0);
        let entry = archive.entry(stream, chunk)?;
        match archive.block_in_tail(&entry)? {
            Some(block) => reader.decode(state, (stream, chunk), &entry, &mut block.to_vec(), &mut chunk_bytes)?,
            None => reader.read_chunk(state, stream, chunk, &mut chunk_bytes)?,
        }
        values.extend(numbers(&chunk_bytes));
    }
    Ok(values)
}

pub(super) fn refused(ids: &str, what: &str) -> Error {
    Error::damaged(
        Layer::Codec,
        format!("index of the ids {ids:?}"),
        format!("{what}; please report this, and ask for rows by position"),
    )
}
