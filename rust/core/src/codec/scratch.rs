//! What one worker keeps between chunks.

use zstd_safe::{CCtx, CParameter, DCtx};

use crate::error::{Error, ErrorKind, Result};

/// Level of frames with matches: the knee of zstd's curve.
const LEVEL: i32 = 3;

/// Buffers that one worker keeps between chunks (zstd contexts, planes). Nothing is made before it is needed; no buffer
/// grows beyond the longest chunk.
#[derive(Default)]
pub struct Scratch {
    /// Among how many a chunk of more than `shared_bytes` may be shared out (0 as 1).
    threads: usize,
    shared_bytes: u64,
    compressor: Option<CCtx<'static>>,
    decompressor: Option<DCtx<'static>>,
    /// The exponent bytes of a chunk.
    pub(super) plane: Vec<u8>,
    /// Pieces of a chunk that speak for the whole.
    pub(super) sample: Vec<u8>,
    /// A second block to compare with the first.
    pub(super) trial: Vec<u8>,
    /// The block or the values inside another block.
    pub(super) inner: Vec<u8>,
    /// References at the front of a block of changed rows, and what follows them.
    pub(super) head: Vec<u8>,
    pub(super) payload: Vec<u8>,
    /// f32 rows taken apart.
    pub(super) parts: super::narrow::Parts,
}

impl Scratch {
    pub fn new() -> Self {
        Self::default()
    }

    /// For a coder that may use so many threads for one chunk of more than `shared_bytes`. The block is the same.
    #[must_use]
    pub fn with_threads(threads: usize, shared_bytes: u64) -> Self {
        Self { threads, shared_bytes, ..Self::default() }
    }

    pub(super) fn threads_for(&self, raw_bytes: usize) -> usize {
        self.threads_above(self.shared_bytes, raw_bytes)
    }

    /// As `threads_for`, for work that is worth sharing above `shared_bytes`.
    pub(crate) fn threads_above(&self, shared_bytes: u64, raw_bytes: usize) -> usize {
        if raw_bytes as u64 > shared_bytes { self.threads.max(1) } else { 1 }
    }

    /// Encoder of frames with matches.
    pub(super) fn compressor(&mut self) -> Result<&mut CCtx<'static>> {
        if self.compressor.is_none() {
            let mut context = CCtx::try_create().ok_or_else(no_memory)?;
            context.set_parameter(CParameter::CompressionLevel(LEVEL)).map_err(fault)?;
            self.compressor = Some(context);
        }
        self.compressor.as_mut().ok_or_else(no_memory)
    }

    pub(super) fn decompressor(&mut self) -> Result<&mut DCtx<'static>> {
        if self.decompressor.is_none() {
            self.decompressor = DCtx::try_create();
        }
        self.decompressor.as_mut().ok_or_else(no_memory)
    }
}

fn no_memory() -> Error {
    Error::new(ErrorKind::Io, "zstd", "no memory for a context; use fewer threads")
}

fn fault(code: usize) -> Error {
    Error::new(ErrorKind::Io, "zstd", zstd_safe::get_error_name(code))
}
