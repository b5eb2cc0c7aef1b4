//! A copy of an archive for another repository: its stored blocks, opened with the keys of one and sealed with those of the
//! other, in the order in which they lie. Nothing is decoded. What lies in an ancestor is pointed to in that one's copy.

use super::compact::rekeyed;
use super::output::Output;
use super::packer::Progress;
use super::report::AncestorReport;
use super::rows::RowReader;
use super::workers::{thread_count, with_pool};
use crate::archive::{Ancestor, Archive, ArchiveId, ArchiveWriter, Entry, SealSource, Sealing};
use crate::error::{Error, ErrorKind, Result, to_usize};
use crate::seal::ObjectKey;
use crate::stream::{PartRecord, StreamRole, StreamSpec};
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// An ancestor of the archive, and what was made of it in the other repository.
pub struct Pair {
    pub source: Arc<RowReader>,
    pub target: Arc<RowReader>,
}

#[derive(Debug, Clone, Serialize)]
pub struct TranscribeReport {
    pub archive_id: String,
    pub archive_bytes: u64,
    pub root: String,
    pub seconds: f64,
    pub blocks_copied: u64,
    /// Chunks whose block lies in the copy of an ancestor.
    pub blocks_shared: u64,
    /// Archives without which this one cannot be restored.
    pub ancestors: Vec<AncestorReport>,
}

/// One stream of the new archive while its chunks are told to the writer, in their order.
struct Line {
    source: usize,
    own: usize,
    next: u64,
}

/// A block that goes along, with its place in the source and in the copy.
struct Job {
    source: (usize, u64),
    own: (usize, u64),
    entry: Entry,
}

struct Moved {
    entry: Entry,
    block: Vec<u8>,
    block_crc: u64,
}

/// Writes the copy. `pairs`: of every ancestor that an entry needs; `seal`: of the other repository, `None` where that is not
/// encrypted. Fingerprints stay behind: they are under the key of the repository that they were made in.
///
/// # Errors
/// `InvalidArgument` for pairs that do not fit; those of reading the archive and of the output, under whose name nothing
/// stands then.
pub fn transcribe(
    reader: &Arc<RowReader>,
    pairs: &[Pair],
    output: Output,
    archive_id: Option<ArchiveId>,
    seal: Option<&Sealing>,
    threads: usize,
    progress: Progress<'_>,
) -> Result<TranscribeReport> {
    let started = Instant::now();
    let archive = reader.archive();
    let mut writer = new_writer(archive, pairs, archive_id.unwrap_or_else(ArchiveId::new), seal)?;
    let ancestors = Ancestors::new(archive, pairs)?;
    let mut lines = declare(archive, &mut writer)?;
    let order = blocks_by_place(archive, &lines)?;
    let total: u64 = order.iter().map(|(_, _, stored)| u64::from(*stored)).sum();
    let (key, report_id) = (writer.object_key(), writer.id().to_string());
    output.with(|sink| {
        sink.write(&writer.header())?;
        let (mut copied, mut shared, mut done) = (0, 0, 0);
        let work = |(): &mut (), job: Job| move_block(archive, key.as_deref(), job);
        with_pool(
            threads,
            || (),
            work,
            |pool| {
                let mut next = order.iter();
                let mut pending: VecDeque<(usize, u64, u64)> = VecDeque::new();
                // Blocks are read by several workers, and placed in the order in which they were asked for.
                let mut asked: Vec<u64> = lines.iter().map(|line| line.next).collect();
                loop {
                    while pending.len() < thread_count(threads) * 2 {
                        let Some((_, number, _)) = next.next() else { break };
                        let line = &lines[*number];
                        let (chunk, entry) = next_own(archive, line.source, &mut asked[*number])?;
                        let job = Job { source: (line.source, chunk), own: (line.own, chunk), entry };
                        pending.push_back((*number, chunk, pool.submit(job)));
                    }
                    let Some((number, chunk, ticket)) = pending.pop_front() else { return Ok(()) };
                    let moved = pool.take(ticket)?;
                    let line = &mut lines[number];
                    shared += refer_until(archive, &ancestors, &mut writer, line, chunk)?;
                    let rows = archive.streams()[line.source].rows_in_chunk(chunk);
                    let (digest, codec, bytes) = (moved.entry.digest, moved.entry.codec, moved.block.len() as u64);
                    let placed = writer.place(line.own, rows, bytes, moved.block_crc, digest, codec)?;
                    line.next += 1;
                    sink.write(&[0; 64][..to_usize(placed.padding.min(64), "padding")?])?;
                    sink.write(&moved.block)?;
                    (copied, done) = (copied + 1, done + u64::from(moved.entry.stored_bytes));
                    progress(done, Some(total))?;
                }
            },
        )?;
        for line in &mut lines {
            let chunks = archive.streams()[line.source].chunk_count;
            shared += refer_until(archive, &ancestors, &mut writer, line, chunks)?;
        }
        let finished = writer.finish(archive.metadata())?;
        sink.write(&finished.tail)?;
        Ok(TranscribeReport {
            archive_id: report_id,
            archive_bytes: finished.archive_bytes,
            root: crate::seal::hex(&finished.root),
            seconds: started.elapsed().as_secs_f64(),
            blocks_copied: copied,
            blocks_shared: shared,
            ancestors: finished.ancestors.iter().map(AncestorReport::from).collect(),
        })
    })
}

fn new_writer(archive: &Archive, pairs: &[Pair], id: ArchiveId, seal: Option<&Sealing>) -> Result<ArchiveWriter> {
    let mut seals: Vec<SealSource> = Vec::new();
    for target in pairs.iter().map(|pair| pair.target.archive()) {
        if target.repository() != seal.map(|seal| seal.repository) {
            return Err(unfit(target, "is not sealed as the copy is to be; write a full archive"));
        }
        seals.extend(target.seal_sources().and_then(|sources| sources.first().copied()));
    }
    let ancestors = pairs.iter().map(|pair| pair.target.archive());
    let ancestors = ancestors.map(|it| Ancestor { id: it.id(), archive_bytes: it.archive_bytes(), root: it.root() });
    let mut writer =
        if archive.is_delta() { ArchiveWriter::delta(id, ancestors.collect())? } else { ArchiveWriter::new(id) };
    if archive.has_id_index() {
        writer = writer.with_id_index();
    }
    let seals = if archive.is_delta() { seals } else { Vec::new() };
    match seal {
        Some(seal) => writer.sealed(seal, seals),
        None => Ok(writer),
    }
}

/// Declares the streams that go along, under their names; parts and maps with the new numbers of their owners.
fn declare(archive: &Archive, writer: &mut ArchiveWriter) -> Result<Vec<Line>> {
    let streams = archive.streams();
    let stays = |number: usize| {
        let owner = streams[number].part.owner.unwrap_or(number);
        streams.get(owner).is_none_or(|stream| stream.role == StreamRole::FINGERPRINTS)
    };
    let kept: Vec<usize> = (0..streams.len()).filter(|number| !stays(*number)).collect();
    let renumbered: HashMap<usize, usize> = kept.iter().enumerate().map(|(own, number)| (*number, own)).collect();
    let mut lines = Vec::new();
    for number in kept {
        let stream = &streams[number];
        let spec = StreamSpec::new(&stream.name, stream.role, stream.element_type, stream.row_elements);
        let owner = stream.part.owner.and_then(|owner| renumbered.get(&owner).copied());
        let own = writer.declare_part(&spec, stream.chunk_rows, PartRecord { owner, ..stream.part })?;
        lines.push(Line { source: number, own, next: 0 });
    }
    Ok(lines)
}

/// The blocks of this archive as they lie: offset, which of `lines`, stored bytes.
fn blocks_by_place(archive: &Archive, lines: &[Line]) -> Result<Vec<(u64, usize, u32)>> {
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        for chunk in 0..archive.streams()[line.source].chunk_count {
            let entry = archive.entry(line.source, chunk)?;
            if is_own(&entry) {
                found.push((entry.offset, number, entry.stored_bytes));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn is_own(entry: &Entry) -> bool {
    entry.archive == 0 && !entry.is_mapped()
}

/// The next chunk of a stream that has a block here, from `chunk` on, which is moved past it.
fn next_own(archive: &Archive, stream: usize, chunk: &mut u64) -> Result<(u64, Entry)> {
    loop {
        // Whoever wrote the archive may have let blocks lie in another order than their chunks: as many are found.
        let entry = archive.entry(stream, *chunk)?;
        *chunk += 1;
        if is_own(&entry) {
            return Ok((*chunk - 1, entry));
        }
    }
}

fn move_block(archive: &Archive, key: Option<&ObjectKey>, job: Job) -> Result<Moved> {
    let mut block = Vec::new();
    archive.read_block(&job.entry, &mut block)?;
    let block_crc = rekeyed(archive, key, job.source, job.own, &job.entry, &mut block)?;
    Ok(Moved { entry: job.entry, block, block_crc })
}

/// Tells the writer the chunks of a stream before `end`, none of which has a block here; how many lie in ancestors.
fn refer_until(
    archive: &Archive,
    ancestors: &Ancestors<'_>,
    writer: &mut ArchiveWriter,
    line: &mut Line,
    end: u64,
) -> Result<u64> {
    let stream = &archive.streams()[line.source];
    let mut shared = 0;
    while line.next < end {
        let entry = archive.entry(line.source, line.next)?;
        let other = if entry.is_mapped() { Entry::mapped(entry.digest) } else { ancestors.find(&entry)? };
        writer.refer(line.own, stream.rows_in_chunk(line.next), other)?;
        shared += u64::from(!entry.is_mapped());
        line.next += 1;
    }
    Ok(shared)
}

/// Stream and chunk of blocks by their offsets.
type Blocks = HashMap<u64, (usize, u64)>;

/// Where blocks of ancestors lie in their copies.
struct Ancestors<'a> {
    pairs: &'a [Pair],
    /// Of each ancestor, as entries count them: which pair, and where its blocks belong.
    places: Vec<Option<(usize, Blocks)>>,
}

impl<'a> Ancestors<'a> {
    fn new(archive: &Archive, pairs: &'a [Pair]) -> Result<Self> {
        let mut places = Vec::new();
        for ancestor in archive.ancestors() {
            let fits = |pair: &Pair| {
                let source = pair.source.archive();
                (source.id(), source.root()) == (ancestor.id, ancestor.root)
            };
            let Some(number) = pairs.iter().position(fits) else {
                places.push(None);
                continue;
            };
            let source = pairs[number].source.archive();
            let mut found = Blocks::new();
            for (stream, description) in source.streams().iter().enumerate() {
                for chunk in 0..description.chunk_count {
                    let entry = source.entry(stream, chunk)?;
                    if is_own(&entry) {
                        found.insert(entry.offset, (stream, chunk));
                    }
                }
            }
            places.push(Some((number, found)));
        }
        Ok(Self { pairs, places })
    }

    /// The entry for the same block in the copy of the ancestor that holds it.
    fn find(&self, entry: &Entry) -> Result<Entry> {
        let number = usize::from(entry.archive).checked_sub(1).and_then(|number| self.places.get(number)?.as_ref());
        let Some((number, places)) = number else {
            let detail = "there is no copy of it; write a full archive";
            return Err(Error::new(ErrorKind::InvalidArgument, format!("ancestor {}", entry.archive), detail));
        };
        let Pair { source, target } = &self.pairs[*number];
        let (source, target) = (source.archive(), target.archive());
        let Some((stream, chunk)) = places.get(&entry.offset) else {
            return Err(unfit(source, &format!("has no block at {}, which another archive points to", entry.offset)));
        };
        let name = &source.streams()[*stream].name;
        let Some(own) = target.stream_index(name).filter(|own| *chunk < target.streams()[*own].chunk_count) else {
            return Err(unfit(target, &format!("is no copy of {}: it has no such chunk of {name}", source.id())));
        };
        let found = target.entry(own, *chunk)?;
        if !is_own(&found) || (found.digest, found.codec) != (entry.digest, entry.codec) {
            return Err(unfit(target, &format!("is no copy of {}: chunk {chunk} of {name} is another", source.id())));
        }
        let sealed = target.is_sealed();
        Ok(Entry {
            archive: u16::try_from(*number + 1).unwrap_or(u16::MAX), // at most ANCESTORS_MAX
            sealed_stream: if sealed { u16::try_from(own).unwrap_or(u16::MAX) } else { 0 }, // at most STREAMS_MAX
            sealed_chunk: if sealed { *chunk } else { 0 },
            ..found
        })
    }
}

fn unfit(archive: &Archive, detail: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("archive {}", archive.id()), detail)
}
