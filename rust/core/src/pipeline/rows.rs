//! Rows out of an archive: read block → CRC → decode → BLAKE3, and only then into the caller's hands.

use super::cache::ChunkCache;
use super::kept::{BaseNames, Decoded, KeptChunks, Key, Shared};
use crate::archive::{Archive, Entry};
use crate::codec::{self, Codec};
use crate::digest;
use crate::error::{Error, ErrorKind, Layer, Result, to_usize};
use crate::plan::batch::{CountReader, WHOLE_CHUNK_BYTES_MAX};
use crate::plan::compile::{CompiledCounts, StreamShape, StreamTable};
use std::sync::{Arc, PoisonError};

/// Buffers of one thread that reads.
#[derive(Default)]
pub struct ReadState {
    block: Vec<u8>,
    pub(super) scratch: codec::Scratch,
    /// A few rows are wanted: those of a mapped stream come straight from its parts, whose digests prove them.
    is_for_few: bool,
    /// Large chunks are kept, because their rows are asked for again.
    keeps_large: bool,
    /// Where some of the chunks may be had without decoding them.
    cache: Option<Arc<ChunkCache>>,
}

impl ReadState {
    /// For comparing a source with the archive: a partition of links is looked at twice.
    pub(super) fn for_parts(scratch: codec::Scratch, cache: Option<Arc<ChunkCache>>) -> Self {
        Self { scratch, keeps_large: true, cache, ..Self::default() }
    }

    pub(super) fn keeps_large(&self) -> bool {
        self.keeps_large
    }

    /// For a few rows here and there. Other reads of mapped streams put whole chunks together and compare their digests, too.
    pub fn for_few() -> Self {
        Self { is_for_few: true, ..Self::default() }
    }
}

/// How a chunk is read.
#[derive(Clone, Copy, Default)]
pub(crate) struct How<'a> {
    /// The caller compares a digest of all that it makes of the rows.
    pub is_proved_above: bool,
    /// A stream whose rows are at hand, if the chunk is coded against some of them.
    pub known: Option<(usize, &'a [u8])>,
}

/// An archive and the chunks that several readers need a part of.
pub struct RowReader {
    archive: Archive,
    kept: Arc<KeptChunks>,
    /// Of several archives that are verified together.
    shared: Option<(Arc<Shared>, BaseNames)>,
}

impl RowReader {
    /// `kept_bytes_max`: budget for decoded chunks that are kept.
    pub fn new(archive: Archive, kept_bytes_max: u64) -> Self {
        Self { archive, kept: Arc::new(KeptChunks::new(kept_bytes_max)), shared: None }
    }

    /// Keeps its chunks together with other archives: a block that several of them point to is decoded once.
    pub(super) fn sharing(archive: Archive, shared: Arc<Shared>) -> Self {
        Self { archive, kept: shared.kept.clone(), shared: Some((shared, BaseNames::default())) }
    }

    pub(super) fn shares(&self) -> bool {
        self.shared.is_some()
    }

    /// `block_name`, for an archive that shares.
    pub(super) fn shared_name(&self, stream: usize, chunk: u64) -> Result<Option<(&Shared, [u8; 32])>> {
        let named = self.shared.as_ref().map(|(shared, bases)| Ok((&**shared, self.block_name(stream, chunk, bases)?)));
        named.transpose()
    }

    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The streams as a plan sees them.
    pub fn table(&self) -> StreamTable {
        let mut table = StreamTable::default();
        for stream in self.archive.streams() {
            let shape = StreamShape {
                row_bytes: u64::from(stream.row_bytes),
                chunk_rows: stream.chunk_rows,
                row_count: stream.row_count,
            };
            table.push(&stream.name, shape);
        }
        table
    }

    /// One whole chunk into `out`, which has its length.
    ///
    /// # Errors
    /// `Damaged` at `Index`, `Block`, `Seal`, `Codec` or `Digest`; `Unsupported` for an unknown codec; those of reading.
    pub fn read_chunk(&self, state: &mut ReadState, stream: usize, chunk: u64, out: &mut [u8]) -> Result<()> {
        self.read_chunk_as(state, (stream, chunk), How::default(), out)
    }

    pub(crate) fn read_chunk_as(
        &self,
        state: &mut ReadState,
        (stream, chunk): (usize, u64),
        how: How<'_>,
        out: &mut [u8],
    ) -> Result<()> {
        let read = || {
            let entry = self.archive.entry(stream, chunk)?;
            let role = self.archive.chunk_shape(stream, chunk).map(|shape| shape.role);
            let cache = state.cache.clone().filter(|_| role.is_some_and(|role| ChunkCache::keeps(role, out.len())));
            if !entry.is_mapped() {
                // A part goes on: the next deltas, too, are coded against these rows.
                cache.iter().for_each(|cache| cache.want(&entry.digest));
            }
            if cache.as_ref().is_some_and(|cache| cache.read(&entry.digest, out)) {
                return Ok(());
            }
            if entry.is_mapped() {
                return self.read_mapped_chunk(state, (stream, chunk), &entry.digest, out);
            }
            // The block is taken along: decoding may read rows of another stream with the same state.
            let mut block = std::mem::take(&mut state.block);
            let read = self.archive.read_block(&entry, &mut block);
            let decoded = read.and_then(|()| self.decode_block(state, (stream, chunk), &entry, &mut block, how, out));
            state.block = block;
            decoded?;
            if !how.is_proved_above {
                check_rows(&entry.digest, out)?;
                cache.inspect(|cache| cache.write(&entry.digest, out, None));
            }
            Ok(())
        };
        let result: Result<()> = { read }();
        result.map_err(|error| self.placed(error, stream, chunk))
    }

    /// Decodes a block that has passed its CRC (opened in place where it is sealed) and compares the BLAKE3.
    ///
    /// # Errors
    /// `Damaged` at `Seal`, `Codec` or `Digest`, `Unsupported`.
    pub fn decode(
        &self,
        state: &mut ReadState,
        place: (usize, u64),
        entry: &Entry,
        block: &mut [u8],
        out: &mut [u8],
    ) -> Result<()> {
        self.decode_block(state, place, entry, block, How::default(), out)?;
        check_rows(&entry.digest, out)
    }

    fn decode_block(
        &self,
        state: &mut ReadState,
        (stream, chunk): (usize, u64),
        entry: &Entry,
        block: &mut [u8],
        how: How<'_>,
        out: &mut [u8],
    ) -> Result<()> {
        let block = self.archive.open_block((stream, chunk), entry, block)?;
        let found = Codec::from_number(entry.codec).filter(|codec| !codec.is_of_deltas() || self.archive.is_delta());
        let Some(codec) = found else {
            let detail = "is unknown to this version; the archive needs a newer reader";
            return Err(Error::unsupported(Layer::Codec, format!("codec {}", entry.codec), detail));
        };
        let Some(shape) = self.archive.chunk_shape(stream, chunk) else { return Err(no_stream(stream)) };
        if codec.needs_base() {
            self.decode_against_base(state, (codec, stream), &shape, block, how.known, out)
        } else {
            codec::decode(codec, &shape, block, out, &mut state.scratch)
        }
    }

    /// Rows `first .. first + out.len() / row_bytes` into `out`. Reads only the chunks that hold them.
    ///
    /// # Errors
    /// `InvalidArgument` for rows that do not exist, and those of `read_chunk`.
    pub fn read_rows(&self, state: &mut ReadState, stream: usize, first: u64, out: &mut [u8]) -> Result<()> {
        let Some(description) = self.archive.streams().get(stream) else { return Err(no_stream(stream)) };
        let row_bytes = u64::from(description.row_bytes);
        let count = out.len() as u64 / row_bytes;
        let end = first.checked_add(count).filter(|end| *end <= description.row_count);
        if end.is_none() || count * row_bytes != out.len() as u64 {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("stream {:?}", description.name),
                format!("rows {first} and {count} on; it has {} rows of {row_bytes} bytes", description.row_count),
            ));
        }
        let mut row = first;
        let mut rest = out;
        while !rest.is_empty() {
            let chunk = row / description.chunk_rows;
            let skip = row % description.chunk_rows;
            let here = (description.rows_in_chunk(chunk) - skip).min(rest.len() as u64 / row_bytes);
            let (head, tail) = rest.split_at_mut(to_usize(here * row_bytes, "rows")?);
            let is_kept = state.keeps_large && description.chunk_bytes(chunk) > WHOLE_CHUNK_BYTES_MAX;
            if skip == 0 && here == description.rows_in_chunk(chunk) && !is_kept {
                self.read_chunk(state, stream, chunk, head)?;
            } else if state.is_for_few && self.archive.mapping(stream).is_some() {
                self.read_mapped(state, stream, row, head)?;
            } else {
                let kept = self.kept_chunk(state, stream, chunk)?;
                let start = to_usize(skip * row_bytes, "rows")?;
                head.copy_from_slice(&kept[start..start + head.len()]);
            }
            rest = tail;
            row += here;
        }
        Ok(())
    }

    /// Whether rows of the chunk are to be had without decoding it.
    pub(super) fn has_kept(&self, stream: usize, chunk: u64) -> bool {
        self.kept.has(Key::Place(stream, chunk))
    }

    pub(super) fn kept_chunk(&self, state: &mut ReadState, stream: usize, chunk: u64) -> Result<Arc<Vec<u8>>> {
        self.kept_chunk_as(state, (stream, chunk), How::default())
    }

    /// As `kept_chunk`, read as `how` says.
    pub(super) fn kept_chunk_as(
        &self,
        state: &mut ReadState,
        (stream, chunk): (usize, u64),
        how: How<'_>,
    ) -> Result<Arc<Vec<u8>>> {
        let bytes = self.archive.streams().get(stream).map_or(0, |stream| stream.chunk_bytes(chunk));
        let shared = self.shared_name(stream, chunk)?;
        // What is shared was proved, so that it need not be again.
        let how = How { is_proved_above: how.is_proved_above && shared.is_none(), ..how };
        let key = shared.as_ref().map_or(Key::Place(stream, chunk), |(_, name)| Key::Block(*name));
        let slot = self.kept.touch(key, bytes, None);
        let mut content = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(decoded) = content.as_mut() {
            if !decoded.is_proved && !how.is_proved_above {
                let proof =
                    self.archive.entry(stream, chunk).and_then(|entry| check_rows(&entry.digest, &decoded.rows));
                proof.map_err(|error| self.placed(error, stream, chunk))?;
                decoded.is_proved = true;
            }
            return Ok(decoded.rows.clone());
        }
        let mut decoded = vec![0; to_usize(bytes, "chunk")?];
        crate::sys::prefer_huge_pages(&decoded);
        self.read_chunk_as(state, (stream, chunk), how, &mut decoded)?;
        if let Some((shared, name)) = shared {
            shared.count_decoded();
            shared.prove(name);
        }
        let rows = Arc::new(decoded);
        *content = Some(Decoded { rows: rows.clone(), is_proved: !how.is_proved_above });
        drop(content);
        // Decoding may have needed other chunks and pushed this one out: it is the newest again.
        self.kept.touch(key, bytes, Some(&slot));
        Ok(rows)
    }

    fn placed(&self, error: Error, stream: usize, chunk: u64) -> Error {
        let Some(description) = self.archive.streams().get(stream) else { return error };
        let first = chunk.saturating_mul(description.chunk_rows);
        let last = first.saturating_add(description.rows_in_chunk(chunk)).saturating_sub(1);
        error.within(&format!("chunk {chunk} of stream {:?} (rows {first} to {last})", description.name))
    }
}

pub(super) fn check_rows(expected: &[u8; 32], rows: &[u8]) -> Result<()> {
    if digest::blake3(rows) == *expected {
        return Ok(());
    }
    let detail = "the decoded rows are not those that were written; restore them from another copy";
    Err(Error::damaged(Layer::Digest, "BLAKE3", detail))
}

pub(super) fn no_stream(stream: usize) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("stream number {stream}"), "is not in the archive")
}

/// Counts out of the archive's own streams.
pub struct ArchiveCounts<'a> {
    reader: &'a RowReader,
    state: ReadState,
    window: Vec<u8>,
    /// Stream, first row and rows of the window.
    at: Option<(usize, u64, u64)>,
    /// Asked before each window: a plan may have more groups than anyone wants to wait for.
    beat: Option<&'a mut dyn FnMut() -> Result<()>>,
}

const WINDOW_BYTES: u64 = 65_536;

impl<'a> ArchiveCounts<'a> {
    pub fn new(reader: &'a RowReader) -> Self {
        Self { reader, state: ReadState::default(), window: Vec::new(), at: None, beat: None }
    }

    /// An error of `beat` ends the walk.
    #[must_use]
    pub fn with_beat(self, beat: &'a mut dyn FnMut() -> Result<()>) -> Self {
        Self { beat: Some(beat), ..self }
    }

    /// # Errors
    /// Those of `with_beat`'s function.
    pub fn beat(&mut self) -> Result<()> {
        self.beat.as_mut().map_or(Ok(()), |beat| beat())
    }
}

impl CountReader for ArchiveCounts<'_> {
    fn value(&mut self, counts: &CompiledCounts, group: u64, _group_offset: u64) -> Result<u64> {
        let row = counts.first + group;
        let inside = |(stream, first, rows): &(usize, u64, u64)| {
            *stream == counts.stream && row.checked_sub(*first).is_some_and(|place| place < *rows)
        };
        let first = if let Some((_, first, _)) = self.at.filter(inside) {
            first
        } else {
            self.beat()?;
            let row_count = self.reader.archive.streams().get(counts.stream).map_or(0, |stream| stream.row_count);
            let rows = (WINDOW_BYTES / counts.row_bytes).max(1).min(row_count.saturating_sub(row)).max(1);
            self.at = None;
            self.window.resize(to_usize(rows * counts.row_bytes, "window")?, 0);
            self.reader.read_rows(&mut self.state, counts.stream, row, &mut self.window)?;
            self.at = Some((counts.stream, row, rows));
            row
        };
        let at = to_usize((row - first) * counts.row_bytes + counts.offset, "window")?;
        let width = to_usize(counts.bytes, "count")?;
        Ok(super::member::little_endian(&self.window[at..at + width]))
    }
}
