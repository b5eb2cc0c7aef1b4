//! What a worker does at backup: copy a batch once, split it, then digest → encode → CRC while it is in cache.

use super::apart;
use super::cache::{ChunkCache, Patch};
use super::delta::compare::CompareState;
use super::delta::stream::PartBase;
use super::delta::{Compare, Compared};
use super::id_index::KeptChunk;
use super::rows::RowReader;
use crate::archive::Entry;
use crate::codec::{self, Codec, Compression, LinkOrder};
use crate::digest;
use crate::error::Result;
use crate::plan::batch::{Piece, Slice, WHOLE_CHUNK_BYTES_MAX};
use crate::seal::ObjectKey;
use crate::store::ReadAt;
use crate::stream::{ChunkShape, StreamRole};
use std::sync::{Arc, Mutex};

/// How chunks are coded.
#[derive(Clone)]
pub struct Coding {
    pub compression: Compression,
    pub order: LinkOrder,
    /// Rows of ids and of list sizes are wanted for an index of ids.
    pub keeps_ids: bool,
    /// Of a sealed archive.
    pub key: Option<Arc<ObjectKey>>,
    pub cache: Option<Arc<ChunkCache>>,
}

impl Coding {
    /// The rows with sorted lists, where that is asked for and they are lists.
    fn sorted(&self, shape: &ChunkShape, raw: &[u8]) -> Option<Vec<u8>> {
        if self.order == LinkOrder::Exact || shape.role != StreamRole::LINKS {
            return None;
        }
        let mut sorted = raw.to_vec();
        codec::sort_lists(shape, &mut sorted).then_some(sorted)
    }

    /// Whether the next delta will look for such a chunk in the local cache.
    pub fn caches(&self, shape: &ChunkShape, chunk_bytes: usize) -> bool {
        self.cache.is_some() && ChunkCache::keeps(shape.role, chunk_bytes)
    }
}

pub enum Feed {
    At(Arc<dyn ReadAt>, u64),
    Owned(Vec<u8>),
}

pub enum PackJob {
    /// A batch of a member.
    Split { feed: Feed, bytes: usize, slices: Vec<ShapedSlice>, pieces: Vec<Piece>, repeat: u64 },
    /// A chunk put together from fragments, and its digest if it is known.
    Chunk {
        stream: usize,
        chunk: u64,
        rows: u64,
        shape: ChunkShape,
        bytes: Vec<u8>,
        digest: Option<[u8; 32]>,
        compare: Option<Arc<Compare>>,
    },
    /// Decodes a large chunk of the base that will be compared, so that nothing waits for it when its turn comes.
    Warm { reader: Arc<RowReader>, stream: usize, chunk: u64 },
    /// Keeps rows in the local cache.
    Cache { digest: [u8; 32], rows: Vec<u8>, patch: Option<Patch> },
    /// New rows of a delta, which may be near the rows of the base that they take the place of.
    Part {
        stream: usize,
        chunk: u64,
        rows: u64,
        shape: ChunkShape,
        bytes: Vec<u8>,
        references: Vec<u64>,
        base: PartBase,
        is_near: bool,
    },
}

pub struct ShapedSlice {
    pub slice: Slice,
    pub shape: ChunkShape,
    /// The number of the chunk, if it is one.
    pub chunk: u64,
    pub is_chunk: bool,
    pub compare: Option<Arc<Compare>>,
}

pub struct CodedBlock {
    pub stream: usize,
    pub first_row: u64,
    pub rows: u64,
    pub raw_bytes: u64,
    pub digest: [u8; 32],
    pub block_crc: u64,
    pub codec: u16,
    pub block: Vec<u8>,
}

/// A chunk whose block lies in the base or in what the base points into.
pub struct PointedBlock {
    pub stream: usize,
    pub first_row: u64,
    pub rows: u64,
    pub raw_bytes: u64,
    pub entry: Entry,
}

pub enum Part {
    Block(CodedBlock),
    /// The base has the very chunk.
    Pointer(PointedBlock),
    /// A chunk that was compared row by row.
    Compared(Compared),
    /// Rows that do not fill a chunk by themselves.
    Fragment {
        stream: usize,
        first_row: u64,
        bytes: Vec<u8>,
    },
    /// Rows that the index of ids is made of.
    Kept {
        stream: usize,
        chunk: KeptChunk,
    },
    /// Rows for the local cache, which need not be there before all else is.
    ForCache {
        digest: [u8; 32],
        rows: Vec<u8>,
        patch: Option<Patch>,
    },
}

/// Buffers that wander between workers and the writer, so that memory is touched for the first time once.
#[derive(Default)]
pub struct Recycler {
    free: Mutex<Vec<Vec<u8>>>,
}

const KEPT_BUFFERS: usize = 64;
/// A partition of links is rare and large: its buffer goes back to the system.
pub(super) const KEPT_BUFFER_BYTES: usize = 8 << 20;

impl Recycler {
    /// A buffer with whatever it held before: coders overwrite it without zeroing it first.
    pub fn get(&self) -> Vec<u8> {
        self.free.lock().map(|mut free| free.pop()).unwrap_or_default().unwrap_or_default()
    }

    pub fn get_empty(&self) -> Vec<u8> {
        let mut buffer = self.get();
        buffer.clear();
        buffer
    }

    pub fn put(&self, buffer: Vec<u8>) {
        if buffer.capacity() > KEPT_BUFFER_BYTES {
            return;
        }
        if let Ok(mut free) = self.free.lock()
            && free.len() < KEPT_BUFFERS
        {
            free.push(buffer);
        }
    }
}

/// What one worker keeps between jobs.
pub struct PackState {
    raw: Vec<u8>,
    coder: Coder,
}

/// What turning a chunk into a block takes.
pub(super) struct Coder {
    /// Buffers for rows that do not leave this worker: those of another one would lie in its cache.
    free: Vec<Vec<u8>>,
    scratch: codec::Scratch,
    compare: CompareState,
}

impl Coder {
    /// A buffer for the rows of each slice.
    fn row_buffers(&mut self, slices: &[ShapedSlice], recycler: &Recycler) -> Vec<Vec<u8>> {
        let own = |slice: &ShapedSlice| if slice.is_chunk { self.free.pop() } else { None };
        let buffers: Vec<Option<Vec<u8>>> = slices.iter().map(own).collect();
        buffers.into_iter().map(|own| own.unwrap_or_else(|| recycler.get_empty())).collect()
    }

    /// Takes a buffer back that did not leave this worker.
    pub fn keep(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BUFFER_BYTES {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}

impl PackState {
    /// `threads`: of the whole pool; a large chunk is shared out among as many.
    pub fn new(threads: usize, cache: Option<Arc<ChunkCache>>) -> Self {
        let scratch = codec::Scratch::with_threads(threads, WHOLE_CHUNK_BYTES_MAX);
        let compare = CompareState::new(codec::Scratch::with_threads(threads, WHOLE_CHUNK_BYTES_MAX), cache);
        Self { raw: Vec::new(), coder: Coder { free: Vec::new(), scratch, compare } }
    }
}

/// # Errors
/// Those of reading the source and of the codec.
pub fn run(state: &mut PackState, job: PackJob, coding: &Coding, recycler: &Recycler) -> Result<Vec<Part>> {
    match job {
        PackJob::Chunk { stream, chunk, rows, shape, bytes, digest, compare } => {
            let mut parts = Vec::new();
            let target = Target { stream, chunk, rows, shape: &shape, compare: compare.as_deref() };
            let coded = code(&mut state.coder, coding, &target, (&bytes, digest), recycler, &mut parts)?;
            coded.put(coding, &shape, bytes, &mut parts).into_iter().for_each(|bytes| recycler.put(bytes));
            Ok(parts)
        }
        PackJob::Warm { reader, stream, chunk } => {
            // Whether it can be read is for whoever needs it.
            let _ = reader.kept_chunk(state.coder.compare.read_state(), stream, chunk);
            Ok(Vec::new())
        }
        PackJob::Cache { digest, rows, patch } => {
            coding.cache.iter().for_each(|cache| cache.write(&digest, &rows, patch.as_ref()));
            Ok(Vec::new())
        }
        PackJob::Part { stream, chunk, rows, shape, bytes, references, base, is_near } => {
            let target = Target { stream, chunk, rows, shape: &shape, compare: None };
            let new = NewRows { raw: &bytes, references: &references, base: &base, is_near };
            let coded = code_part(&mut state.coder, coding, &target, &new, recycler)?;
            recycler.put(bytes);
            Ok(vec![Part::Block(coded)])
        }
        PackJob::Split { feed, bytes, slices, pieces, repeat } => match slices.as_slice() {
            [whole] if whole.is_chunk => {
                let taken = apart::take_whole(&mut state.raw, feed, bytes)?;
                apart::code_whole(&mut state.coder, coding, whole, &taken, recycler)
            }
            slices => {
                let mut rows = state.coder.row_buffers(slices, recycler);
                apart::take_apart(&mut state.raw, feed, bytes, (&pieces, repeat), &mut rows)?;
                apart::code_apart(&mut state.coder, coding, slices, rows, recycler)
            }
        },
    }
}

/// A chunk's place.
pub(super) struct Target<'a> {
    pub stream: usize,
    pub chunk: u64,
    pub rows: u64,
    pub shape: &'a ChunkShape,
    pub compare: Option<&'a Compare>,
}

/// What is known of a chunk's rows now.
pub(super) struct Coded {
    digest: [u8; 32],
    /// The rows with sorted lists, where these are stored.
    pub sorted: Option<Vec<u8>>,
    /// How the rows differ from those of the base's chunk.
    patch: Option<Patch>,
}

impl Coded {
    /// Hands the chunk's `bytes` to the local cache, or gives them back.
    pub fn put(self, coding: &Coding, shape: &ChunkShape, bytes: Vec<u8>, parts: &mut Vec<Part>) -> Option<Vec<u8>> {
        let chunk_bytes = self.sorted.as_ref().unwrap_or(&bytes).len();
        if !coding.caches(shape, chunk_bytes) {
            return Some(bytes);
        }
        let rows = self.sorted.unwrap_or(bytes);
        parts.push(Part::ForCache { digest: self.digest, rows, patch: self.patch });
        None
    }
}

/// Digest, comparison with the base, and a block unless the base has the rows.
pub(super) fn code(
    coder: &mut Coder,
    coding: &Coding,
    target: &Target<'_>,
    (raw, digest): (&[u8], Option<[u8; 32]>),
    recycler: &Recycler,
    parts: &mut Vec<Part>,
) -> Result<Coded> {
    let sorted = coding.sorted(target.shape, raw);
    let digest = digest.filter(|_| sorted.is_none());
    let raw = sorted.as_deref().unwrap_or(raw);
    let digest = digest.unwrap_or_else(|| digest::blake3(raw));
    if coding.keeps_ids && matches!(target.shape.role, StreamRole::IDS | StreamRole::LIST_SIZES) {
        let chunk = KeptChunk { first_row: target.shape.first_row, digest, bytes: raw.to_vec() };
        parts.push(Part::Kept { stream: target.stream, chunk });
    }
    let Some(compare) = target.compare else {
        parts.push(Part::Block(encode(&mut coder.scratch, coding, target, raw, digest, recycler)?));
        return Ok(Coded { digest, sorted, patch: None });
    };
    let (stream, first_row, rows, raw_bytes) = (target.stream, target.shape.first_row, target.rows, raw.len() as u64);
    let mut fingerprints = Vec::new();
    let mut patch = None;
    if compare.is_by_rows() {
        let changes = compare.rows(&mut coder.compare, first_row, raw, &digest, &mut fingerprints)?.map(Arc::new);
        if coding.caches(target.shape, raw.len()) {
            patch = changes.as_ref().map_or(Ok(None), |changes| compare.patch(first_row, raw_bytes, changes))?;
        }
        parts.push(Part::Compared(Compared { stream, first_row, rows, raw_bytes, digest, changes }));
    } else {
        compare.fingerprint_all(raw, &mut fingerprints);
        parts.push(match compare.same_block(first_row, rows, &digest)? {
            Some(entry) => Part::Pointer(PointedBlock { stream, first_row, rows, raw_bytes, entry }),
            None => Part::Block(encode(&mut coder.scratch, coding, target, raw, digest, recycler)?),
        });
    }
    if let Some((_, stream)) = compare.fingerprints {
        parts.push(Part::Fragment { stream, first_row, bytes: fingerprints });
    }
    Ok(Coded { digest, sorted, patch })
}

fn encode(
    scratch: &mut codec::Scratch,
    coding: &Coding,
    target: &Target<'_>,
    raw: &[u8],
    digest: [u8; 32],
    recycler: &Recycler,
) -> Result<CodedBlock> {
    let mut block = recycler.get();
    let codec = codec::encode(coding.compression, target.shape, raw, &mut block, scratch)?;
    coded(coding, target, raw, digest, codec, block)
}

/// Seals a block in place, as it will lie in the archive. Once only: a place has one nonce.
pub(super) fn seal_block(key: &ObjectKey, stream: usize, chunk: u64, block: &mut Vec<u8>) -> Result<()> {
    let stream = u16::try_from(stream).unwrap_or(u16::MAX); // at most STREAMS_MAX
    key.seal(crate::seal::Part::Block { stream, chunk }, block)
}

/// What came of a chunk, sealed while it is in cache; the checksum is over what is stored.
fn coded(
    coding: &Coding,
    target: &Target<'_>,
    raw: &[u8],
    digest: [u8; 32],
    codec: Codec,
    mut block: Vec<u8>,
) -> Result<CodedBlock> {
    if let Some(key) = &coding.key {
        seal_block(key, target.stream, target.chunk, &mut block)?;
    }
    Ok(CodedBlock {
        stream: target.stream,
        first_row: target.shape.first_row,
        rows: target.rows,
        raw_bytes: raw.len() as u64,
        digest,
        block_crc: digest::crc64(&block),
        codec: codec.number(),
        block,
    })
}

/// Rows of a part, and what they may be coded against.
struct NewRows<'a> {
    raw: &'a [u8],
    references: &'a [u64],
    base: &'a PartBase,
    /// It is known that rows like these are near those of the base.
    is_near: bool,
}

impl NewRows<'_> {
    fn row_bytes(&self) -> usize {
        self.raw.len() / self.references.len().max(1)
    }

    /// Whether a few rows, all out of the same two chunks of the base, are shorter against it: rows all over the base would
    /// have much of it decoded for nothing.
    fn is_sample_near(
        &self,
        coder: &mut Coder,
        coding: &Coding,
        shape: &ChunkShape,
        recycler: &Recycler,
    ) -> Result<bool> {
        let end = self.base.span(self.references, SAMPLE_CHUNKS).min(SAMPLE_ROWS);
        if end == self.references.len() {
            return Ok(true);
        }
        let (row_bytes, references) = (self.row_bytes(), &self.references[..end]);
        let raw = &self.raw[..end * row_bytes];
        let (mut alone, mut near) = (recycler.get(), recycler.get());
        codec::encode(coding.compression, shape, raw, &mut alone, &mut coder.scratch)?;
        let base_rows = self.base.rows(coder.compare.read_state(), references, row_bytes)?;
        let limit = near_limit(alone.len());
        let found = codec::encode_against(shape, references, &base_rows, raw, limit, &mut near, &mut coder.scratch)?;
        recycler.put(alone);
        recycler.put(near);
        Ok(found.is_some())
    }
}

const SAMPLE_CHUNKS: usize = 2;
const SAMPLE_ROWS: usize = 64;

/// What rows coded against others may take at most, when by themselves they take `alone` bytes.
fn near_limit(alone: usize) -> usize {
    alone - alone / 32
}

/// New rows: against the rows of the base that they take the place of where that is shorter, else by themselves.
fn code_part(
    coder: &mut Coder,
    coding: &Coding,
    target: &Target<'_>,
    new: &NewRows<'_>,
    recycler: &Recycler,
) -> Result<CodedBlock> {
    let (raw, references) = (new.raw, new.references);
    let digest = digest::blake3(raw);
    let is_links = target.shape.role == StreamRole::LINKS;
    let mut block = recycler.get();
    // Lists by themselves are long, and coding them takes time: they are only tried when the edits do not fit.
    let alone = if is_links {
        Codec::Raw
    } else {
        codec::encode(coding.compression, target.shape, raw, &mut block, &mut coder.scratch)?
    };
    if !is_links && !new.is_near && !new.is_sample_near(coder, coding, target.shape, recycler)? {
        return coded(coding, target, raw, digest, alone, block);
    }
    let limit = if is_links { raw.len() / 2 } else { near_limit(block.len()) };
    let base_rows = new.base.rows(coder.compare.read_state(), references, new.row_bytes())?;
    let mut trial = recycler.get();
    let near = codec::encode_against(target.shape, references, &base_rows, raw, limit, &mut trial, &mut coder.scratch)?;
    let (codec, block) = match near {
        Some(codec) => (codec, trial),
        None if is_links => {
            let codec = codec::encode(coding.compression, target.shape, raw, &mut block, &mut coder.scratch)?;
            (codec, block)
        }
        None => (alone, block),
    };
    coded(coding, target, raw, digest, codec, block)
}
