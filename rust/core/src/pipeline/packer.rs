//! The ordered end of a backup: batches go to the workers, blocks come back in batch order into the archive.
//!
//! The order of blocks depends on the batches alone, never on threads or memory: a chunk completed by fragments is placed
//! right behind the batch that completed it. A large one (a partition of links) is placed when its turn has come and then
//! another block of its stream, another large one, or the end of the streams follows: nothing waits while it is coded.

use super::coding::{CodedBlock, Feed, PackJob, Part, Recycler, ShapedSlice};
use super::delta::pack::Deltas;
use super::id_index::KeptChunk;
use super::shadow::Shadowing;
use super::workers::Pool;
use crate::archive::ArchiveWriter;
use crate::error::{Error, ErrorKind, Result, to_usize};
use crate::limits::{CHUNKS_PER_STREAM_SOFT_MAX, CHUNKS_SOFT_MAX};
use crate::plan::batch::{Batch, Content, WHOLE_CHUNK_BYTES_MAX};
use crate::plan::compile::{StreamShape, StreamTable};
use crate::stream::{ChunkShape, PartRecord, StreamRole, StreamSpec, chunk_rows_for};
use crate::sys;
use std::collections::{BTreeMap, VecDeque};

/// Where archive bytes go, in order.
pub trait Sink {
    /// # Errors
    /// `NoSpace` and those of the system.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Bytes done so far, bytes in all if known. An error cancels.
pub type Progress<'a> = &'a mut dyn FnMut(u64, Option<u64>) -> Result<()>;

/// What became of one stream's chunks.
#[derive(Debug, Clone, Default)]
pub struct StreamTally {
    pub codecs: BTreeMap<u16, u64>,
}

/// Rows of a stream that wait for a full chunk.
#[derive(Default)]
struct Tail {
    first_row: u64,
    bytes: Vec<u8>,
    /// Of a large chunk, whose digest would be late if it were begun when the last row is there.
    hasher: Option<blake3::Hasher>,
}

/// What was handed to the workers, in order.
pub(super) enum Pending {
    Batch(u64),
    /// A batch that is a large chunk of the stream.
    Large(u64, usize),
}

pub struct Packer<'a> {
    pub writer: ArchiveWriter,
    pub table: StreamTable,
    pub tallies: Vec<StreamTally>,
    pub deltas: Deltas,
    /// What is kept of the blocks for a writer that cannot read them again.
    pub(super) shadow: Option<Shadowing>,
    /// What the index of ids will be made of, by stream.
    pub kept: BTreeMap<usize, Vec<KeptChunk>>,
    names: Vec<String>,
    /// Jobs of the local cache: nobody waits for them before the end.
    caching: Vec<u64>,
    /// Of each stream; the first row is that of each chunk's own.
    shapes: Vec<ChunkShape>,
    /// Of each stream the role, of a part that of its owner, and bytes of a row.
    kinds: Vec<(StreamRole, u32)>,
    tails: Vec<Tail>,
    /// Rows that each stream will have, where that is known: its last chunk need not wait for the end.
    rows_expected: Vec<Option<u64>>,
    /// Rows placed of each stream.
    rows_placed: Vec<u64>,
    /// Ticket and stream of a large chunk whose turn has come and which is not placed.
    deferred: Option<(u64, usize)>,
    pool: &'a mut Pool<PackJob, Vec<Part>>,
    recycler: &'a Recycler,
    sink: &'a mut dyn Sink,
    progress: Progress<'a>,
    pending: VecDeque<Pending>,
    window: usize,
    pub(super) memory_bytes: u64,
    pub source_bytes_done: u64,
    pub total_bytes: Option<u64>,
}

pub struct PackerParts<'a> {
    pub writer: ArchiveWriter,
    pub deltas: Deltas,
    pub pool: &'a mut Pool<PackJob, Vec<Part>>,
    pub recycler: &'a Recycler,
    pub sink: &'a mut dyn Sink,
    pub progress: Progress<'a>,
    pub threads: usize,
    pub memory_bytes: u64,
    pub total_bytes: Option<u64>,
}

impl<'a> Packer<'a> {
    /// Writes the header.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn start(parts: PackerParts<'a>) -> Result<Self> {
        parts.sink.write(&parts.writer.header())?;
        Ok(Self {
            writer: parts.writer,
            table: StreamTable::default(),
            tallies: Vec::new(),
            deltas: parts.deltas,
            shadow: None,
            kept: BTreeMap::new(),
            names: Vec::new(),
            caching: Vec::new(),
            shapes: Vec::new(),
            kinds: Vec::new(),
            tails: Vec::new(),
            rows_expected: Vec::new(),
            rows_placed: Vec::new(),
            deferred: None,
            pool: parts.pool,
            recycler: parts.recycler,
            sink: parts.sink,
            progress: parts.progress,
            pending: VecDeque::new(),
            // The writer waits for the disk now and then; meanwhile the workers must have enough to do.
            window: parts.threads * 6 + 2,
            memory_bytes: parts.memory_bytes,
            source_bytes_done: 0,
            total_bytes: parts.total_bytes,
        })
    }

    /// A new stream; `row_count_hint` fixes its chunk size. Returns its number.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that exists, `LimitExceeded` for too many.
    pub fn declare(&mut self, spec: &StreamSpec, row_count_hint: u64) -> Result<usize> {
        let row_bytes = spec.row_bytes()?;
        let chunk_rows = self
            .deltas
            .chunk_rows(spec)
            .unwrap_or_else(|| chunk_rows_of(spec.role, row_bytes, row_count_hint, self.total_bytes.unwrap_or(0)));
        let number = self.enlist(spec, chunk_rows, PartRecord::default())?;
        self.open_delta(number, spec)?;
        Ok(number)
    }

    /// Declares a stream as it is told.
    pub(super) fn enlist(&mut self, spec: &StreamSpec, chunk_rows: u64, part: PartRecord) -> Result<usize> {
        let row_bytes = spec.row_bytes()?;
        let number = self.writer.declare_part(spec, chunk_rows, part)?;
        let shape = StreamShape { row_bytes: u64::from(row_bytes), chunk_rows, row_count: u64::MAX };
        self.table.push(&spec.name, shape);
        let StreamSpec { role, element_type, row_elements, .. } = *spec;
        let owner = part.owner.filter(|_| role == StreamRole::PART).and_then(|owner| self.kinds.get(owner));
        self.kinds.push((owner.map_or(role, |(role, _)| *role), row_bytes));
        self.shapes.push(ChunkShape { role, element_type, row_elements, first_row: 0 });
        self.tallies.push(StreamTally::default());
        self.tails.push(Tail::default());
        self.rows_expected.push(None);
        self.rows_placed.push(0);
        self.names.push(spec.name.clone());
        Ok(number)
    }

    /// Says how many rows a stream will have in all.
    pub fn expect_rows(&mut self, stream: usize, rows: u64) {
        self.rows_expected[stream] = Some(rows);
        if let Some(fingerprints) = self.fingerprints_of(stream) {
            self.rows_expected[fingerprints] = Some(rows);
        }
    }

    /// The stream that holds the fingerprints of another one.
    fn fingerprints_of(&self, stream: usize) -> Option<usize> {
        self.deltas.compares.get(&stream)?.fingerprints.map(|(_, stream)| stream)
    }

    pub(super) fn shape_of(&self, stream: usize) -> ChunkShape {
        self.shapes[stream]
    }

    /// The chunk that begins with, or holds, a row.
    pub(super) fn chunk_of(&self, stream: usize, first_row: u64) -> u64 {
        first_row / self.table.shape(stream).map_or(1, |shape| shape.chunk_rows)
    }

    pub(super) fn name_of(&self, stream: usize) -> &str {
        &self.names[stream]
    }

    pub fn stream_count(&self) -> usize {
        self.shapes.len()
    }

    /// Hands a batch to the workers; waits while too much is in flight.
    ///
    /// # Errors
    /// Of any earlier batch, of the sink, of `progress`.
    pub fn push(&mut self, batch: Batch, feed: Feed) -> Result<()> {
        let Content::Rows { slices, pieces, repeat } = batch.content else { return Ok(()) };
        // Raw, split and coded copies of a batch exist at once.
        let batch_cost = (batch.bytes as u64).saturating_mul(3).max(1);
        let fitting = usize::try_from(self.memory_bytes / batch_cost).unwrap_or(usize::MAX);
        let window = self.window.min(fitting).max(1);
        while self.pending.len() >= window {
            self.settle_one()?;
        }
        let slices = slices.into_iter().map(|slice| {
            let shape = ChunkShape { first_row: slice.first_row, ..self.shapes[slice.stream] };
            let is_chunk = slice.is_chunk(self.rows_expected[slice.stream]);
            let compare = self.deltas.compares.get(&slice.stream).cloned();
            let chunk = self.chunk_of(slice.stream, slice.first_row);
            ShapedSlice { slice, shape, chunk, is_chunk, compare }
        });
        let slices: Vec<ShapedSlice> = slices.collect();
        let large = match slices.as_slice() {
            [only] if only.is_chunk && batch.bytes as u64 > WHOLE_CHUNK_BYTES_MAX => Some(only.slice.stream),
            _ => None,
        };
        let ticket = self.pool.submit(PackJob::Split { feed, bytes: batch.bytes, slices, pieces, repeat });
        self.pending.push_back(large.map_or(Pending::Batch(ticket), |stream| Pending::Large(ticket, stream)));
        Ok(())
    }

    /// Waits for everything in flight.
    ///
    /// # Errors
    /// As `push`.
    pub fn settle(&mut self) -> Result<()> {
        while !self.pending.is_empty() || self.deferred.is_some() {
            while !self.pending.is_empty() {
                self.settle_one()?;
            }
            self.settle_deferred()?;
        }
        Ok(())
    }

    /// Closes streams `from..`: their last, shorter chunks are written.
    ///
    /// # Errors
    /// As `push`; `InvalidArgument` when bytes are left that are no whole row.
    pub fn close_streams(&mut self, streams: std::ops::Range<usize>) -> Result<()> {
        self.settle()?;
        for stream in streams.clone() {
            self.close_tail(stream)?;
        }
        self.settle()?;
        // Fingerprints come out of the chunks of their stream, new rows out of compared ones.
        for stream in streams {
            if let Some(fingerprints) = self.fingerprints_of(stream) {
                self.close_tail(fingerprints)?;
                self.settle()?;
                self.close_delta(fingerprints)?;
            }
            self.close_delta(stream)?;
        }
        Ok(())
    }

    fn close_tail(&mut self, stream: usize) -> Result<()> {
        let tail = std::mem::take(&mut self.tails[stream]);
        if !tail.bytes.is_empty() {
            let ticket = self.submit_chunk(stream, tail)?;
            self.pending.push_back(ticket);
        }
        Ok(())
    }

    /// Writes the archive's end. Then what the next delta is compared with is in the local cache, and what it is not is gone.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(&mut self, tail: &[u8]) -> Result<()> {
        self.sink.write(tail)?;
        for ticket in std::mem::take(&mut self.caching) {
            self.pool.take(ticket)?;
        }
        self.deltas.cache.iter().for_each(|cache| cache.tidy());
        Ok(())
    }

    pub fn report_progress(&mut self, bytes: u64) -> Result<()> {
        self.source_bytes_done += bytes;
        (self.progress)(self.source_bytes_done, self.total_bytes)
    }

    fn settle_one(&mut self) -> Result<()> {
        let ticket = match self.pending.pop_front() {
            None => return Ok(()),
            Some(Pending::Batch(ticket)) => ticket,
            Some(Pending::Large(ticket, stream)) => {
                self.settle_deferred()?;
                self.deferred = Some((ticket, stream));
                return Ok(());
            }
        };
        self.accept(ticket)
    }

    /// What came of a job; jobs that follow from it are next.
    fn accept(&mut self, ticket: u64) -> Result<()> {
        let mut completed = Vec::new();
        self.accept_into(ticket, &mut completed)?;
        self.push_completed(completed);
        Ok(())
    }

    /// As `accept`. Jobs that follow stand in `completed` in the order of what they follow from: where a chunk that was put
    /// off is taken in first, its own come first.
    fn accept_into(&mut self, ticket: u64, completed: &mut Vec<Pending>) -> Result<()> {
        for part in self.pool.take(ticket)? {
            match part {
                Part::Block(coded) => {
                    self.settle_deferred_of(coded.stream, completed)?;
                    self.write_block(coded)?;
                }
                Part::Pointer(pointed) => {
                    self.settle_deferred_of(pointed.stream, completed)?;
                    self.accept_pointer(&pointed)?;
                }
                Part::Compared(compared) => {
                    self.settle_deferred_of(compared.stream, completed)?;
                    self.accept_compared(compared, completed)?;
                }
                Part::Fragment { stream, first_row, bytes } => {
                    self.append(stream, first_row, &bytes, completed)?;
                    self.recycler.put(bytes);
                }
                Part::Kept { stream, chunk } => self.kept.entry(stream).or_default().push(chunk),
                Part::ForCache { digest, rows, patch } => {
                    self.deltas.cache.iter().for_each(|cache| cache.want(&digest));
                    self.caching.push(self.pool.submit(PackJob::Cache { digest, rows, patch }));
                }
            }
        }
        Ok(())
    }

    pub(super) fn push_completed(&mut self, completed: Vec<Pending>) {
        for ticket in completed.into_iter().rev() {
            self.pending.push_front(ticket);
        }
    }

    /// Hands over a chunk of a map or a part.
    pub(super) fn submit_internal(&mut self, stream: usize, job: PackJob) -> Pending {
        let is_large = match &job {
            PackJob::Chunk { bytes, .. } | PackJob::Part { bytes, .. } => bytes.len() as u64 > WHOLE_CHUNK_BYTES_MAX,
            PackJob::Split { bytes, .. } => *bytes as u64 > WHOLE_CHUNK_BYTES_MAX,
            PackJob::Warm { .. } | PackJob::Cache { .. } => false,
        };
        let ticket = self.pool.submit_urgent(job);
        if is_large { Pending::Large(ticket, stream) } else { Pending::Batch(ticket) }
    }

    fn append(&mut self, stream: usize, first_row: u64, fragment: &[u8], completed: &mut Vec<Pending>) -> Result<()> {
        let Some(shape) = self.table.shape(stream) else { return Ok(()) };
        let chunk_bytes = to_usize(shape.chunk_rows.saturating_mul(shape.row_bytes), "chunk")?;
        let mut rest = fragment;
        while !rest.is_empty() {
            if self.tails[stream].bytes.is_empty() {
                let first_row = first_row + (fragment.len() - rest.len()) as u64 / shape.row_bytes;
                self.tails[stream] = self.new_tail(stream, first_row, chunk_bytes as u64);
            }
            let tail = &mut self.tails[stream];
            let (head, after) = rest.split_at((chunk_bytes - tail.bytes.len()).min(rest.len()));
            tail.bytes.extend_from_slice(head);
            if let Some(hasher) = &mut tail.hasher {
                hasher.update(head);
            }
            rest = after;
            let end = tail.first_row + tail.bytes.len() as u64 / shape.row_bytes;
            if tail.bytes.len() == chunk_bytes || self.rows_expected[stream] == Some(end) {
                let tail = std::mem::take(tail);
                completed.push(self.submit_chunk(stream, tail)?);
            }
        }
        Ok(())
    }

    /// A buffer for a chunk of the stream. The row count of a file has been compared with its bytes; of a live stream it
    /// is a claim, and what is not written takes no memory.
    fn new_tail(&self, stream: usize, first_row: u64, chunk_bytes: u64) -> Tail {
        let row_bytes = self.table.shape(stream).map_or(1, |shape| shape.row_bytes);
        let rows = self.rows_expected[stream].unwrap_or(0).saturating_sub(first_row);
        let expected = rows.saturating_mul(row_bytes).min(chunk_bytes);
        if expected <= WHOLE_CHUNK_BYTES_MAX {
            return Tail { first_row, bytes: self.recycler.get_empty(), hasher: None };
        }
        let mut bytes = Vec::new();
        // Without the memory at once it grows, and fails where it must.
        if usize::try_from(expected).is_ok_and(|expected| bytes.try_reserve_exact(expected).is_ok()) {
            sys::prefer_huge_pages(bytes.spare_capacity_mut());
        }
        Tail { first_row, bytes, hasher: Some(blake3::Hasher::new()) }
    }

    fn submit_chunk(&mut self, stream: usize, Tail { first_row, bytes, hasher }: Tail) -> Result<Pending> {
        let row_bytes = self.table.shape(stream).map_or(1, |shape| shape.row_bytes);
        let rows = bytes.len() as u64 / row_bytes;
        if rows * row_bytes != bytes.len() as u64 {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("stream number {stream}"),
                format!("ends in the middle of a row of {row_bytes} bytes"),
            ));
        }
        let shape = ChunkShape { first_row, ..self.shapes[stream] };
        let compare = self.deltas.compares.get(&stream).cloned();
        let digest = hasher.map(|hasher| *hasher.finalize().as_bytes());
        let chunk = self.chunk_of(stream, first_row);
        Ok(self.submit_internal(stream, PackJob::Chunk { stream, chunk, rows, shape, bytes, digest, compare }))
    }

    fn settle_deferred(&mut self) -> Result<()> {
        match self.deferred.take() {
            None => Ok(()),
            Some((ticket, _)) => self.accept(ticket),
        }
    }

    /// Chunks of a stream come in order: one that was put off comes before the next.
    fn settle_deferred_of(&mut self, stream: usize, completed: &mut Vec<Pending>) -> Result<()> {
        match self.deferred.take_if(|(_, deferred)| *deferred == stream) {
            None => Ok(()),
            Some((ticket, _)) => self.accept_into(ticket, completed),
        }
    }

    /// The next chunk of a stream must be the next in row order.
    pub(super) fn check_order(&mut self, stream: usize, first_row: u64, rows: u64) -> Result<()> {
        if self.rows_placed[stream] != first_row {
            // The digests of swapped chunks would still be true: nothing but this could tell.
            let detail = format!("row {first_row} comes after {} rows; please report this", self.rows_placed[stream]);
            return Err(Error::new(ErrorKind::Io, format!("stream number {stream}"), detail));
        }
        self.rows_placed[stream] += rows;
        Ok(())
    }

    fn write_block(&mut self, coded: CodedBlock) -> Result<()> {
        let CodedBlock { stream, first_row, rows, raw_bytes, digest, block_crc, codec, block } = coded;
        self.check_order(stream, first_row, rows)?;
        self.note_part(stream, codec);
        let placement = self.writer.place(stream, rows, block.len() as u64, block_crc, digest, codec)?;
        self.sink.write(&[0; 64][..to_usize(placement.padding.min(64), "padding")?])?;
        self.sink.write(&block)?;
        let chunk = self.chunk_of(stream, first_row);
        if let Some(shadow) = &mut self.shadow {
            shadow.keep(self.kinds[stream], (stream, chunk), placement.offset, &block);
        }
        *self.tallies[stream].codecs.entry(codec).or_default() += 1;
        self.recycler.put(block);
        self.report_progress(raw_bytes)
    }
}

/// Rows a chunk, as if the stream had its share of the index only: many large streams must fit it together.
fn chunk_rows_of(role: StreamRole, row_bytes: u32, row_count_hint: u64, total_bytes: u64) -> u64 {
    let share = CHUNKS_SOFT_MAX / CHUNKS_PER_STREAM_SOFT_MAX;
    let rows_of_share = total_bytes / u64::from(row_bytes.max(1)) / share;
    chunk_rows_for(role, row_bytes, row_count_hint.max(rows_of_share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_large_streams_fit_one_index() {
        for total_bytes in [1u64 << 39, 1 << 42, 1 << 45] {
            for row_bytes in [1u32, 132, 1536] {
                let rows = total_bytes / 100 / u64::from(row_bytes);
                let chunks = rows.div_ceil(chunk_rows_of(StreamRole::OPAQUE, row_bytes, rows, total_bytes)) * 100;
                assert!(chunks <= CHUNKS_SOFT_MAX + 100, "{chunks} chunks of 100 streams of {rows} rows");
            }
        }
        let role = StreamRole::OPAQUE;
        assert_eq!(chunk_rows_of(role, 1536, 1000, 1 << 38), chunk_rows_for(role, 1536, 1000));
    }
}
