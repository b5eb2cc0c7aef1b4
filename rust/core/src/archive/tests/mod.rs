//! Tests of the whole room: archives built in memory, sources that count reads, hostile tables sealed again.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod hostile;
mod limits;
mod round_trip;
mod scale;

use std::sync::{Arc, Mutex};

use super::*;
use crate::digest;
use crate::error::Result;
use crate::store::ReadAt;
use crate::stream::{ElementType, StreamRole, StreamSpec};

/// A fixed id, so that every run sees the same bytes.
pub const ID: ArchiveId = ArchiveId([1, 0x8F, 0, 0, 0, 2, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 9]);

/// One stream to build: name, row bytes (of u8), rows a chunk, rows in all.
pub type Shape<'a> = (&'a str, u32, u64, u64);

/// The rows of a test stream: bytes that differ from row to row and stream to stream.
pub fn rows_of(shape: Shape<'_>, chunk: u64) -> Vec<u8> {
    let (name, row_bytes, chunk_rows, row_count) = shape;
    let rows = chunk_rows.min(row_count - chunk * chunk_rows);
    let seed = u64::from(name.as_bytes()[0]) + chunk * 31;
    (0..rows * u64::from(row_bytes)).map(|byte| u8::try_from((byte * 7 + seed) % 251).unwrap()).collect()
}

/// Every chunk raw, the streams taking turns chunk by chunk.
pub fn build(shapes: &[Shape<'_>], entries_per_block: u32, metadata: &str) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(ID).with_entries_per_block(entries_per_block);
    let mut bytes = writer.header().to_vec();
    for &(name, row_bytes, chunk_rows, _) in shapes {
        let spec = StreamSpec::new(name, StreamRole::VECTORS, ElementType::U8, row_bytes);
        writer.declare(&spec, chunk_rows).unwrap();
    }
    let chunks = shapes.iter().map(|shape| shape.3.div_ceil(shape.2)).max().unwrap_or(0);
    for chunk in 0..chunks {
        for (stream, &shape) in shapes.iter().enumerate() {
            if chunk * shape.2 < shape.3 {
                let raw = rows_of(shape, chunk);
                let rows = raw.len() as u64 / u64::from(shape.1);
                let (crc, hash) = (digest::crc64(&raw), digest::blake3(&raw));
                let placed = writer.place(stream, rows, raw.len() as u64, crc, hash, 0).unwrap();
                bytes.resize(bytes.len() + usize::try_from(placed.padding).unwrap(), 0);
                assert_eq!(bytes.len() as u64, placed.offset);
                bytes.extend_from_slice(&raw);
                assert_eq!(bytes.len() as u64, writer.position());
            }
        }
    }
    let finished = writer.finish(metadata).unwrap();
    bytes.extend_from_slice(&finished.tail);
    assert_eq!(bytes.len() as u64, finished.archive_bytes);
    bytes
}

pub fn open(bytes: &[u8]) -> Result<Archive> {
    Archive::open(Arc::new(bytes.to_vec()))
}

/// Remembers every read.
pub struct Counting<Inner> {
    pub inner: Inner,
    pub reads: Mutex<Vec<(u64, usize)>>,
}

impl<Inner: ReadAt> Counting<Inner> {
    pub fn new(inner: Inner) -> Arc<Self> {
        Arc::new(Self { inner, reads: Mutex::default() })
    }

    /// The reads since the last call.
    pub fn take(&self) -> Vec<(u64, usize)> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }
}

impl<Inner: ReadAt> ReadAt for Counting<Inner> {
    fn byte_count(&self) -> u64 {
        self.inner.byte_count()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.reads.lock().unwrap().push((offset, buffer.len()));
        self.inner.read_at(offset, buffer)
    }
}

/// A source of any length of which only some regions exist; reading elsewhere fails the test.
pub struct Sparse {
    pub byte_count: u64,
    pub regions: Vec<(u64, Vec<u8>)>,
}

impl ReadAt for Sparse {
    fn byte_count(&self) -> u64 {
        self.byte_count
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        for (start, bytes) in &self.regions {
            if offset >= *start && offset + buffer.len() as u64 <= start + bytes.len() as u64 {
                return bytes.read_at(offset - start, buffer);
            }
        }
        panic!("read of {} bytes at {offset}, where nothing is stored", buffer.len());
    }
}

#[test]
fn an_id_carries_its_time() {
    let id = ArchiveId::new();
    assert_eq!(id.0[6] >> 4, 7, "version 7");
    assert_eq!(id.0[8] >> 6, 0b10, "variant of RFC 9562");
    assert!(id.created_unix_ms() > 1_700_000_000_000);
    assert_eq!(ID.created_unix_ms(), 0x018F_0000_0002);
    assert_eq!(ID.to_string(), "018f0000-0002-7000-8000-000000000009");
}
