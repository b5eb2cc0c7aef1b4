//! Index blocks (spec 6): where each chunk lies and what it must hash to.

use super::{Entry, MAPPED, Mapping};
use crate::bytes::{Appender, Cursor};
use crate::error::{Error, Layer, Result};
use crate::limits::{
    BLOCK_ALIGNMENT, BLOCK_OVERHEAD_MAX, ENTRY_BYTES, HEADER_BYTES, PUBLIC_ENTRY_BYTES, SEALED_ENTRY_BYTES,
    SEALED_OVERHEAD_BYTES, STREAMS_MAX,
};
use crate::stream::StreamDescription;

/// The public entries of an index block.
pub(crate) fn encode_public(entries: &[Entry]) -> Vec<u8> {
    let mut fields = Appender::with_capacity(entries.len() * PUBLIC_ENTRY_BYTES);
    for entry in entries {
        fields
            .u64(entry.offset)
            .u32(entry.stored_bytes)
            .u16(entry.archive)
            .u16(0) // flags
            .u64(entry.block_crc);
    }
    fields.into_vec()
}

/// Its sealable entries, with room for the tag.
pub(crate) fn encode_sealable(entries: &[Entry]) -> Vec<u8> {
    let mut fields = Appender::with_capacity(entries.len() * SEALED_ENTRY_BYTES + SEALED_OVERHEAD_BYTES);
    for entry in entries {
        fields
            .bytes(&entry.digest)
            .u16(entry.codec)
            .u16(0) // flags
            .u32(entry.sealed_stream.into())
            .u64(entry.sealed_chunk);
    }
    fields.into_vec()
}

/// Where blocks may lie.
pub(crate) struct Bounds<'a> {
    /// Where blocks of this archive (first) and of each ancestor must end.
    pub ends: Vec<u64>,
    pub streams: &'a [StreamDescription],
    pub mappings: &'a [Option<Mapping>],
    /// What sealing adds to a block; 0 in an archive that is not sealed.
    pub overhead: u64,
}

/// Parses and checks a whole index block whose BLAKE3 was compared before. `first_entry` is the number of its
/// first entry.
///
/// # Errors
/// `Damaged` at layer `Index`.
pub(crate) fn decode_block(bytes: &[u8], first_entry: u64, bounds: &Bounds<'_>) -> Result<Vec<Entry>> {
    let streams = bounds.streams;
    if !bytes.len().is_multiple_of(ENTRY_BYTES) {
        let detail = format!("{} bytes, expected a multiple of {ENTRY_BYTES}", bytes.len());
        return Err(Error::damaged(Layer::Index, "index block", detail));
    }
    let entry_count = bytes.len() / ENTRY_BYTES;
    let (public, sealed) = bytes.split_at(entry_count * PUBLIC_ENTRY_BYTES);
    let mut public = Cursor::new(public, Layer::Index, "index block, public entries");
    let mut sealed = Cursor::new(sealed, Layer::Index, "index block, sealable entries");
    let mut chunks = ChunkWalk::new(streams, first_entry);
    let mut entries = Vec::with_capacity(entry_count);
    for _ in 0..entry_count {
        let Some((stream, chunk)) = chunks.next() else {
            return Err(Error::damaged(Layer::Index, "index block", "has more entries than the streams have chunks"));
        };
        let is_mapped = bounds.mappings.get(stream).is_some_and(Option::is_some);
        let chunk_bytes = streams[stream].chunk_bytes(chunk);
        let checked = decode_entry(&mut public, &mut sealed, chunk_bytes, is_mapped, bounds);
        entries.push(checked.map_err(|error| error.within(&chunk_place(&streams[stream], chunk)))?);
    }
    Ok(entries)
}

fn decode_entry(
    public: &mut Cursor<'_>,
    sealed: &mut Cursor<'_>,
    chunk_bytes: u64,
    is_mapped: bool,
    bounds: &Bounds<'_>,
) -> Result<Entry> {
    let (public, digest) = (decode_public_entry(public)?, sealed.array()?);
    let codec = sealed.u16()?;
    sealed.reserved(2)?;
    let (sealed_stream, sealed_chunk) = (sealed.u32()?, sealed.u64()?);
    let is_elsewhere = public.archive != 0 && bounds.overhead != 0;
    let streams_max = if is_elsewhere { STREAMS_MAX } else { 1 };
    let sealed_stream = u16::try_from(sealed_stream).ok().filter(|stream| usize::from(*stream) < streams_max);
    let Some(sealed_stream) = sealed_stream.filter(|_| is_elsewhere || sealed_chunk == 0) else {
        return Err(damaged("a stream or chunk under which a block was sealed, where none may be named".into()));
    };
    let entry = Entry { digest, codec, sealed_stream, sealed_chunk, ..public };
    let Entry { archive, stored_bytes, .. } = entry;
    if is_mapped {
        return check_mapped(entry);
    }
    let Some(end) = bounds.ends.get(usize::from(archive)) else {
        return Err(damaged(format!("archive {archive}, but there are {} ancestors", bounds.ends.len() - 1)));
    };
    check_place(&entry, *end)?;
    if u64::from(stored_bytes) <= bounds.overhead {
        return Err(damaged(format!("a sealed block of {stored_bytes} bytes, which holds nothing")));
    }
    if u64::from(stored_bytes) - bounds.overhead > chunk_bytes.saturating_add(BLOCK_OVERHEAD_MAX) {
        return Err(damaged(format!("a block of {stored_bytes} bytes for a chunk of {chunk_bytes}")));
    }
    Ok(entry)
}

/// What an entry says without a key.
pub(crate) fn decode_public_entry(fields: &mut Cursor<'_>) -> Result<Entry> {
    let offset = fields.u64()?;
    let stored_bytes = fields.u32()?;
    let archive = fields.u16()?;
    fields.reserved(2)?;
    let block_crc = fields.u64()?;
    Ok(Entry { archive, offset, stored_bytes, block_crc, ..Entry::default() })
}

/// An owner's entries have no block.
fn check_mapped(entry: Entry) -> Result<Entry> {
    if entry.codec != MAPPED {
        return Err(damaged(format!("codec {} in a stream with a map, expected {MAPPED}", entry.codec)));
    }
    if (entry.archive, entry.offset, entry.stored_bytes, entry.block_crc) != (0, 0, 0, 0) {
        return Err(damaged("a mapped entry that is not all zeros".into()));
    }
    Ok(entry)
}

/// The rules for an entry that do not need its stream: alignment, and a place inside the block area.
///
/// # Errors
/// `Damaged` at layer `Index`.
pub(crate) fn check_place(entry: &Entry, index_offset: u64) -> Result<()> {
    let Entry { offset, stored_bytes, .. } = *entry;
    if offset < HEADER_BYTES as u64 || !offset.is_multiple_of(BLOCK_ALIGNMENT) {
        return Err(damaged(format!("block at {offset}, expected a multiple of {BLOCK_ALIGNMENT}, not 0")));
    }
    if stored_bytes == 0 {
        return Err(damaged("a block of 0 bytes".into()));
    }
    if offset.checked_add(u64::from(stored_bytes)).is_none_or(|end| end > index_offset) {
        return Err(damaged(format!(
            "a block of {stored_bytes} bytes at {offset} runs past the index at {index_offset}"
        )));
    }
    Ok(())
}

/// "chunk 3 of stream "vectors"": the place of nearly every message about rows.
pub(crate) fn chunk_place(stream: &StreamDescription, chunk: u64) -> String {
    format!("chunk {chunk} of stream \"{}\"", stream.name)
}

fn damaged(detail: String) -> Error {
    Error::damaged(Layer::Index, "index entry", detail)
}

/// (stream, chunk) of each entry from a given one on: spec 5, chunk *c* is entry `first_entry + c`.
pub(crate) struct ChunkWalk<'a> {
    streams: &'a [StreamDescription],
    stream: usize,
    chunk: u64,
}

impl<'a> ChunkWalk<'a> {
    pub fn new(streams: &'a [StreamDescription], entry: u64) -> Self {
        // The last stream that begins at or before the entry; empty streams before it begin there too.
        let stream = streams.partition_point(|stream| stream.first_entry <= entry).saturating_sub(1);
        let chunk = streams.get(stream).map_or(0, |stream| entry.saturating_sub(stream.first_entry));
        Self { streams, stream, chunk }
    }
}

impl Iterator for ChunkWalk<'_> {
    type Item = (usize, u64);

    fn next(&mut self) -> Option<(usize, u64)> {
        while self.chunk >= self.streams.get(self.stream)?.chunk_count {
            self.stream += 1;
            self.chunk = 0;
        }
        self.chunk += 1;
        Some((self.stream, self.chunk - 1))
    }
}
