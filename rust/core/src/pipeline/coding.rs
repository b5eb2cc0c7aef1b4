//! What a worker does at backup: copy a batch once, split it, then digest → encode → CRC while it is in cache.

use crate::codec::{self, Compression, LinkOrder};
use crate::digest;
use crate::error::Result;
use crate::plan::batch::{self, Piece, Slice, WHOLE_CHUNK_BYTES_MAX};
use crate::store::ReadAt;
use crate::stream::{ChunkShape, StreamRole};
use crate::sys;
use std::sync::{Arc, Mutex};

/// How chunks are coded.
#[derive(Clone, Copy)]
pub struct Coding {
    pub compression: Compression,
    pub order: LinkOrder,
}

impl Coding {
    /// The rows with sorted lists, where that is asked for and they are lists.
    fn sorted(self, shape: &ChunkShape, raw: &[u8]) -> Option<Vec<u8>> {
        if self.order == LinkOrder::Exact || shape.role != StreamRole::LINKS {
            return None;
        }
        let mut sorted = raw.to_vec();
        codec::sort_lists(shape, &mut sorted).then_some(sorted)
    }
}

pub enum Feed {
    At(Arc<dyn ReadAt>, u64),
    Owned(Vec<u8>),
}

pub enum PackJob {
    /// A batch of a member.
    Split { feed: Feed, bytes: usize, slices: Vec<ShapedSlice>, pieces: Vec<Piece>, repeat: u64 },
    /// A chunk put together from fragments.
    Chunk { stream: usize, rows: u64, shape: ChunkShape, bytes: Vec<u8> },
}

pub struct ShapedSlice {
    pub slice: Slice,
    pub shape: ChunkShape,
    pub is_chunk: bool,
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

pub enum Part {
    Block(CodedBlock),
    /// Rows that do not fill a chunk by themselves.
    Fragment {
        stream: usize,
        first_row: u64,
        bytes: Vec<u8>,
    },
}

/// Buffers that wander between workers and the writer, so that memory is touched for the first time once.
#[derive(Default)]
pub struct Recycler {
    free: Mutex<Vec<Vec<u8>>>,
}

const KEPT_BUFFERS: usize = 64;
/// A partition of links is rare and large: its buffer goes back to the system.
const KEPT_BUFFER_BYTES: usize = 8 << 20;

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
    scratch: codec::Scratch,
}

impl PackState {
    /// `threads`: of the whole pool; a large chunk is shared out among as many.
    pub fn new(threads: usize) -> Self {
        Self { raw: Vec::new(), scratch: codec::Scratch::with_threads(threads, WHOLE_CHUNK_BYTES_MAX) }
    }
}

/// # Errors
/// Those of reading the source and of the codec.
pub fn run(state: &mut PackState, job: PackJob, coding: Coding, recycler: &Recycler) -> Result<Vec<Part>> {
    match job {
        PackJob::Chunk { stream, rows, shape, bytes } => {
            let coded = encode(&mut state.scratch, coding, stream, rows, &shape, &bytes, recycler)?;
            recycler.put(bytes);
            Ok(vec![Part::Block(coded)])
        }
        PackJob::Split { feed, bytes, slices, pieces, repeat } => {
            let owned;
            let raw: &[u8] = match feed {
                Feed::At(source, offset) if bytes > KEPT_BUFFER_BYTES => {
                    let mut large = vec![0; bytes];
                    sys::prefer_huge_pages(&large);
                    source.read_at(offset, &mut large)?;
                    owned = large;
                    &owned
                }
                Feed::At(source, offset) => {
                    if state.raw.len() < bytes {
                        state.raw.resize(bytes, 0);
                    }
                    source.read_at(offset, &mut state.raw[..bytes])?;
                    &state.raw[..bytes]
                }
                Feed::Owned(bytes) => {
                    owned = bytes;
                    &owned
                }
            };
            split(&mut state.scratch, coding, raw, &slices, &pieces, repeat, recycler)
        }
    }
}

fn split(
    scratch: &mut codec::Scratch,
    coding: Coding,
    raw: &[u8],
    slices: &[ShapedSlice],
    pieces: &[Piece],
    repeat: u64,
    recycler: &Recycler,
) -> Result<Vec<Part>> {
    if let [ShapedSlice { slice, shape, is_chunk: true }] = slices {
        return Ok(vec![Part::Block(encode(scratch, coding, slice.stream, slice.rows, shape, raw, recycler)?)]);
    }
    let mut rows: Vec<Vec<u8>> = slices.iter().map(|_| recycler.get_empty()).collect();
    batch::split(pieces, repeat, raw, &mut rows);
    let mut parts = Vec::with_capacity(slices.len());
    for (ShapedSlice { slice, shape, is_chunk }, bytes) in slices.iter().zip(rows) {
        if slice.rows == 0 {
            recycler.put(bytes);
        } else if *is_chunk {
            let coded = encode(scratch, coding, slice.stream, slice.rows, shape, &bytes, recycler)?;
            recycler.put(bytes);
            parts.push(Part::Block(coded));
        } else {
            parts.push(Part::Fragment { stream: slice.stream, first_row: slice.first_row, bytes });
        }
    }
    Ok(parts)
}

fn encode(
    scratch: &mut codec::Scratch,
    coding: Coding,
    stream: usize,
    rows: u64,
    shape: &ChunkShape,
    raw: &[u8],
    recycler: &Recycler,
) -> Result<CodedBlock> {
    let sorted = coding.sorted(shape, raw);
    let raw = sorted.as_deref().unwrap_or(raw);
    let digest = digest::blake3(raw);
    let mut block = recycler.get();
    let codec = codec::encode(coding.compression, shape, raw, &mut block, scratch)?;
    let block_crc = digest::crc64(&block);
    let raw_bytes = raw.len() as u64;
    let first_row = shape.first_row;
    Ok(CodedBlock { stream, first_row, rows, raw_bytes, digest, block_crc, codec: codec.number(), block })
}
