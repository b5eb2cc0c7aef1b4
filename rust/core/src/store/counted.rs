//! A source that counts its reads: how many round trips an operation costs on a remote store.

use super::ReadAt;
use crate::error::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Counted<S> {
    source: S,
    counts: Arc<Counts>,
}

/// What was read; outlives the source, so that knowing it keeps no file open.
#[derive(Debug, Default)]
pub struct Counts {
    reads: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    /// Reads made so far, and their bytes.
    pub fn get(&self) -> (u64, u64) {
        (self.reads.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl<S: ReadAt> Counted<S> {
    pub fn new(source: S) -> Self {
        Self { source, counts: Arc::default() }
    }

    /// Adds to the counts of another source.
    pub fn sharing(source: S, counts: Arc<Counts>) -> Self {
        Self { source, counts }
    }

    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }
}

impl<S: ReadAt> ReadAt for Counted<S> {
    fn byte_count(&self) -> u64 {
        self.source.byte_count()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.source.read_at(offset, buffer)
    }

    fn read_elsewhere(&self, copy: usize, offset: u64, buffer: &mut [u8]) -> Option<Result<()>> {
        self.source.read_elsewhere(copy, offset, buffer)
    }
}
