//! A source that counts its reads: how many round trips an operation costs on a remote store.

use super::ReadAt;
use crate::error::Result;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Counted<S> {
    source: S,
    reads: AtomicU64,
    bytes: AtomicU64,
}

impl<S: ReadAt> Counted<S> {
    pub fn new(source: S) -> Self {
        Self { source, reads: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Reads made so far, and their bytes.
    pub fn counts(&self) -> (u64, u64) {
        (self.reads.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl<S: ReadAt> ReadAt for Counted<S> {
    fn byte_count(&self) -> u64 {
        self.source.byte_count()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.source.read_at(offset, buffer)
    }
}
