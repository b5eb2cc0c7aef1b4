//! Compaction: a delta becomes an archive that stands alone, out of stored blocks. The source is not needed; what is not
//! mapped is copied as it lies.

use super::coding::seal_block;
use super::output::Output;
use super::packer::Progress;
use super::report::logical_streams;
use super::rows::{ReadState, RowReader};
use super::run::sealing_like;
use super::workers::{thread_count, with_pool};
use crate::archive::{Archive, ArchiveId, ArchiveWriter, Entry, Sealing};
use crate::codec::{self, Compression};
use crate::digest;
use crate::error::{Result, to_usize};
use crate::seal::ObjectKey;
use crate::stream::StreamSpec;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug, Clone, Serialize)]
pub struct CompactReport {
    pub archive_id: String,
    pub archive_bytes: u64,
    pub root: String,
    pub seconds: f64,
    /// Blocks taken as they were, and chunks that had to be put together and coded again.
    pub blocks_copied: u64,
    pub chunks_coded: u64,
}

/// A block for the new archive.
struct Made {
    rows: u64,
    raw_bytes: u64,
    digest: [u8; 32],
    block_crc: u64,
    codec: u16,
    block: Vec<u8>,
    is_copy: bool,
}

#[derive(Default)]
struct State {
    read: ReadState,
    scratch: codec::Scratch,
    chunk: Vec<u8>,
}

/// For whom an archive is made to stand alone.
#[derive(Debug, Clone, Copy)]
pub enum For<'a> {
    /// Its own repository, whose keys these are, or nobody in particular: it is sealed as it was.
    Same(Option<&'a Sealing>),
    /// Another repository, under whose keys it is sealed, or not at all. Fingerprints are under a key of the first: they stay
    /// behind.
    Other(Option<&'a Sealing>),
}

/// Writes an archive with the same rows, metadata and chunks that needs no ancestor.
///
/// # Errors
/// Those of reading the archive and of the output; nothing stands under the output's name then.
pub fn compact(
    reader: &Arc<RowReader>,
    output: Output,
    archive_id: Option<ArchiveId>,
    whom: For<'_>,
    threads: usize,
    progress: Progress<'_>,
) -> Result<CompactReport> {
    let started = Instant::now();
    let archive = reader.archive();
    let mut writer = ArchiveWriter::new(archive_id.unwrap_or_else(ArchiveId::new));
    if archive.has_id_index() {
        writer = writer.with_id_index();
    }
    let (sealing, has_fingerprints) = match whom {
        For::Same(keys) => (sealing_like(archive, keys, "archive")?, true),
        For::Other(keys) => (keys.cloned(), false),
    };
    if let Some(sealing) = sealing {
        writer = writer.sealed(&sealing, Vec::new())?;
    }
    let key = writer.object_key();
    let mut chunks = Vec::new();
    let mut total = 0;
    for (number, stream) in streams_to_keep(reader, has_fingerprints) {
        let spec = StreamSpec::new(&stream.name, stream.role, stream.element_type, stream.row_elements);
        let own = writer.declare(&spec, stream.chunk_rows)?;
        total += stream.raw_bytes();
        chunks.extend((0..stream.chunk_count).map(|chunk| (own, number, chunk)));
    }
    let report_id = writer.id().to_string();
    output.with(|sink| {
        sink.write(&writer.header())?;
        let (mut copied, mut coded, mut done) = (0, 0, 0);
        let work = |state: &mut State, (own, stream, chunk)| make(reader, state, key.as_deref(), own, (stream, chunk));
        with_pool(threads, State::default, work, |pool| {
            let mut next = chunks.iter();
            let mut pending: VecDeque<(usize, u64)> = VecDeque::new();
            loop {
                while pending.len() < thread_count(threads) * 2 {
                    let Some((own, stream, chunk)) = next.next() else { break };
                    pending.push_back((*own, pool.submit((*own, *stream, *chunk))));
                }
                let Some((own, ticket)) = pending.pop_front() else { return Ok(()) };
                let made: Made = pool.take(ticket)?;
                let block_bytes = made.block.len() as u64;
                let placed = writer.place(own, made.rows, block_bytes, made.block_crc, made.digest, made.codec)?;
                sink.write(&[0; 64][..to_usize(placed.padding.min(64), "padding")?])?;
                sink.write(&made.block)?;
                (copied, coded) = (copied + u64::from(made.is_copy), coded + u64::from(!made.is_copy));
                done += made.raw_bytes;
                progress(done, Some(total))?;
            }
        })?;
        let finished = writer.finish(archive.metadata())?;
        sink.write(&finished.tail)?;
        Ok(CompactReport {
            archive_id: report_id,
            archive_bytes: finished.archive_bytes,
            root: crate::seal::hex(&finished.root),
            seconds: started.elapsed().as_secs_f64(),
            blocks_copied: copied,
            chunks_coded: coded,
        })
    })
}

fn streams_to_keep(
    reader: &RowReader,
    has_fingerprints: bool,
) -> impl Iterator<Item = (usize, &crate::stream::StreamDescription)> {
    use crate::stream::StreamRole;
    let streams = reader.archive().streams();
    let is_kept = move |role| role == StreamRole::ID_INDEX || has_fingerprints && role == StreamRole::FINGERPRINTS;
    let beside = streams.iter().enumerate().filter(move |(_, stream)| is_kept(stream.role));
    logical_streams(streams).chain(beside)
}

fn make(
    reader: &RowReader,
    state: &mut State,
    key: Option<&ObjectKey>,
    own: usize,
    (stream, chunk): (usize, u64),
) -> Result<Made> {
    let archive = reader.archive();
    let entry = archive.entry(stream, chunk)?;
    let description = archive.streams().get(stream).ok_or_else(|| super::rows::no_stream(stream))?;
    let (rows, raw_bytes) = (description.rows_in_chunk(chunk), description.chunk_bytes(chunk));
    let mut block = Vec::new();
    if !entry.is_mapped() {
        // Copied under its own checksum; what it decodes to is for verification.
        archive.read_block(&entry, &mut block)?;
        let (digest, codec) = (entry.digest, entry.codec);
        let block_crc = rekeyed(archive, key, (stream, chunk), (own, chunk), &entry, &mut block)?;
        return Ok(Made { rows, raw_bytes, digest, block_crc, codec, block, is_copy: true });
    }
    state.chunk.resize(to_usize(raw_bytes, "chunk")?, 0);
    reader.read_chunk(&mut state.read, stream, chunk, &mut state.chunk)?;
    let shape = description.chunk_shape(chunk);
    let codec = codec::encode(Compression::Auto, &shape, &state.chunk, &mut block, &mut state.scratch)?;
    if let Some(key) = key {
        seal_block(key, own, chunk, &mut block)?;
    }
    let block_crc = digest::crc64(&block);
    Ok(Made { rows, raw_bytes, digest: entry.digest, block_crc, codec: codec.number(), block, is_copy: false })
}

/// Opens a block that has passed its CRC with its archive's key, and seals it for its new place; the CRC that it has then.
///
/// # Errors
/// Those of opening and sealing.
pub(super) fn rekeyed(
    archive: &Archive,
    key: Option<&ObjectKey>,
    place: (usize, u64),
    own: (usize, u64),
    entry: &Entry,
    block: &mut Vec<u8>,
) -> Result<u64> {
    if key.is_none() && !archive.is_sealed() {
        return Ok(entry.block_crc);
    }
    let opened = archive.open_block(place, entry, block)?.len();
    block.truncate(opened);
    if let Some(key) = key {
        seal_block(key, own.0, own.1, block)?;
    }
    Ok(digest::crc64(block))
}
