//! Verification: every fault, each with stream, rows and byte range; one fault never hides another.

use super::packer::Progress;
use super::restore::stream_member;
use super::rows::RowReader;
use super::view::{MemberView, read_plan};
use super::workers::{thread_count, with_pool};
use crate::archive::{Archive, Entry, layout};
use crate::codec::Scratch;
use crate::digest;
use crate::error::{Error, ErrorKind, Layer, Result, to_usize};
use crate::limits;
use crate::plan::batch::WHOLE_CHUNK_BYTES_MAX;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Stored bytes: CRC of every block and of the whole, the index, the padding. Decodes nothing.
    Stored,
    /// Also decodes every chunk and compares its BLAKE3, and checks that the plan tiles every member.
    Full,
}

#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    pub level: &'static str,
    pub archive_bytes: u64,
    pub checked_bytes: u64,
    pub chunks: u64,
    pub seconds: f64,
    pub ok: bool,
    pub damage: Vec<Damage>,
}

/// One damaged place. Stream and rows are `None` where it lies in no stream.
#[derive(Debug, Clone, Serialize)]
pub struct Damage {
    pub layer: &'static str,
    pub detail: String,
    pub stream: Option<String>,
    pub first_row: Option<u64>,
    pub row_count: Option<u64>,
    pub offset: u64,
    pub byte_count: u64,
}

/// Blocks of one read.
const READ_BYTES: u64 = 4 << 20;
/// Budget for batches in flight while the digest of a whole member is compared.
const MEMBER_BYTES: u64 = 64 << 20;

/// An archive that does not open is a report too, as long as it is one.
///
/// # Errors
/// `NotAnArchive`, `Unsupported`, `NotFound` and those of the system; damage is in the report.
pub fn verify_source(
    source: Arc<dyn crate::store::ReadAt>,
    level: Level,
    threads: usize,
    progress: Progress<'_>,
) -> Result<VerifyReport> {
    let started = Instant::now();
    let archive_bytes = source.byte_count();
    match Archive::open(source) {
        Ok(archive) => verify(&Arc::new(RowReader::new(archive, 64 << 20)), level, threads, progress),
        Err(error) if error.kind() == ErrorKind::Damaged => {
            let byte_count = archive_bytes.min(limits::TAIL_BYTES);
            let damage = Damage {
                layer: error.layer().unwrap_or(Layer::Trailer).name(),
                detail: error.to_string(),
                stream: None,
                first_row: None,
                row_count: None,
                offset: archive_bytes - byte_count,
                byte_count,
            };
            Ok(VerifyReport {
                level: level.name(),
                archive_bytes,
                checked_bytes: byte_count,
                chunks: 0,
                seconds: started.elapsed().as_secs_f64(),
                ok: false,
                damage: vec![damage],
            })
        }
        Err(error) => Err(error),
    }
}

/// # Errors
/// Those of `progress` only; what is wrong with the archive is in the report.
pub fn verify(reader: &Arc<RowReader>, level: Level, threads: usize, progress: Progress<'_>) -> Result<VerifyReport> {
    let started = Instant::now();
    let mut check = Check { reader, damage: Vec::new(), checked_bytes: 0, block_bytes: 0, progress };
    if let Err(error) = reader.archive().check_header() {
        check.note(&error, None, 0, limits::HEADER_BYTES as u64);
    }
    let (mut blocks, complete) = check.index();
    let chunks = blocks.len() as u64;
    if level == Level::Full {
        // Large chunks first: a partition of links that came last would leave all workers but one without work.
        blocks.sort_unstable_by_key(|block| (!check.is_large(block), block.place()));
    } else {
        blocks.sort_unstable_by_key(Located::place);
    }
    let before = check.damage.len();
    check.blocks(&blocks, level, threads)?;
    check.damage[before..].sort_by_key(|damage| damage.offset);
    blocks.sort_unstable_by_key(Located::place);
    check.placement(&blocks, complete);
    if check.damage.is_empty() {
        check.whole(&blocks);
    }
    if level == Level::Full {
        check.plan(threads)?;
    }
    Ok(VerifyReport {
        level: level.name(),
        archive_bytes: reader.archive().archive_bytes(),
        checked_bytes: check.checked_bytes,
        chunks,
        seconds: started.elapsed().as_secs_f64(),
        ok: check.damage.is_empty(),
        damage: check.damage,
    })
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Full => "full",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Located {
    stream: usize,
    chunk: u64,
    entry: Entry,
}

impl Located {
    fn place(&self) -> (u64, u32) {
        (self.entry.offset, self.entry.stored_bytes)
    }

    fn end(&self) -> u64 {
        self.entry.offset.saturating_add(self.entry.stored_bytes.into())
    }
}

struct Check<'a, 'b> {
    reader: &'a Arc<RowReader>,
    damage: Vec<Damage>,
    checked_bytes: u64,
    block_bytes: u64,
    progress: Progress<'b>,
}

impl Check<'_, '_> {
    fn note(&mut self, error: &Error, rows: Option<(usize, u64, u64)>, offset: u64, byte_count: u64) {
        let streams = self.reader.archive().streams();
        self.damage.push(Damage {
            layer: error.layer().map_or("block", Layer::name),
            detail: error.to_string(),
            stream: rows.and_then(|(stream, ..)| streams.get(stream)).map(|stream| stream.name.clone()),
            first_row: rows.map(|(_, first, _)| first),
            row_count: rows.map(|(_, _, count)| count),
            offset,
            byte_count,
        });
    }

    fn is_large(&self, block: &Located) -> bool {
        let stream = self.reader.archive().streams().get(block.stream);
        stream.is_some_and(|stream| stream.chunk_bytes(block.chunk) > WHOLE_CHUNK_BYTES_MAX)
    }

    /// All entries of all readable index blocks, and whether that is all of them.
    fn index(&mut self) -> (Vec<Located>, bool) {
        let archive = self.reader.archive();
        let mut blocks = Vec::new();
        let mut complete = true;
        for number in 0..archive.index_block_count() {
            let (offset, byte_count) = archive.index_block_range(number);
            let mut faults = Vec::new();
            match read(archive, offset, byte_count) {
                Ok(bytes) => faults.extend(archive.check_index_block(number, &bytes)),
                Err(error) => faults.push(error),
            }
            if faults.is_empty() {
                match archive.entries_of_index_block(number) {
                    Ok(entries) => {
                        let located =
                            entries.into_iter().map(|(stream, chunk, entry)| Located { stream, chunk, entry });
                        blocks.extend(located);
                    }
                    Err(error) => faults.push(error),
                }
            }
            self.checked_bytes += byte_count;
            if let Some(fault) = faults.first() {
                complete = false;
                self.lost_index_block(fault, number, offset, byte_count);
            }
        }
        (blocks, complete)
    }

    /// Every row whose entry stood in the block cannot be found any more.
    fn lost_index_block(&mut self, fault: &Error, number: u64, offset: u64, byte_count: u64) {
        let archive = self.reader.archive();
        let (start, _) = archive.index_block_range(0);
        let first_entry = (offset - start) / limits::ENTRY_BYTES as u64;
        let end_entry = first_entry + byte_count / limits::ENTRY_BYTES as u64;
        let hit = archive.streams().iter().enumerate().filter_map(|(stream, description)| {
            let first = first_entry.max(description.first_entry);
            let end = end_entry.min(description.first_entry + description.chunk_count);
            (first < end).then(|| {
                let first_row = (first - description.first_entry) * description.chunk_rows;
                let end_row = ((end - description.first_entry) * description.chunk_rows).min(description.row_count);
                (stream, first_row, end_row - first_row)
            })
        });
        let hit: Vec<_> = hit.collect();
        let error = fault.clone().within(&format!("index block {number}"));
        for rows in hit {
            self.note(&error, Some(rows), offset, byte_count);
        }
    }

    fn blocks(&mut self, blocks: &[Located], level: Level, threads: usize) -> Result<()> {
        let total: u64 = blocks.iter().map(|block| u64::from(block.entry.stored_bytes)).sum();
        self.block_bytes = total;
        let reader = self.reader;
        let window = thread_count(threads) * 2;
        let large_count = blocks.iter().take_while(|block| self.is_large(block)).count();
        let (large, small) = blocks.split_at(if level == Level::Full { large_count } else { 0 });
        let work = |state: &mut CheckState, job: &[Located]| Ok(check_blocks(reader, state, job, level));
        with_pool(threads, CheckState::default, work, |pool| {
            // Decoding a large chunk takes several times its size: few at a time, and the others beside them.
            let (mut large, mut small) = (large.chunks(1), Groups { rest: small });
            let mut large_pending = 0;
            let mut pending: VecDeque<(u64, &[Located])> = VecDeque::new();
            loop {
                while pending.len() < window {
                    let next = if large_pending < LARGE_IN_FLIGHT { large.next() } else { None };
                    large_pending += usize::from(next.is_some());
                    let Some(job) = next.or_else(|| small.next()) else { break };
                    pending.push_back((pool.submit(job), job));
                }
                let Some((ticket, job)) = pending.pop_front() else { return Ok(()) };
                large_pending -= usize::from(level == Level::Full && job.iter().any(|block| self.is_large(block)));
                for (block, fault) in job.iter().zip(pool.take(ticket)?) {
                    self.checked_bytes += u64::from(block.entry.stored_bytes);
                    if let Some(fault) = fault {
                        self.note_block(&fault, block);
                    }
                }
                (self.progress)(self.checked_bytes.min(total), Some(total))?;
            }
        })
    }

    fn note_block(&mut self, fault: &Error, block: &Located) {
        let Some(description) = self.reader.archive().streams().get(block.stream) else { return };
        let first_row = block.chunk * description.chunk_rows;
        let row_count = description.rows_in_chunk(block.chunk);
        // Stream, rows and bytes are fields of their own; the sentence need not say them again.
        let rows = Some((block.stream, first_row, row_count));
        self.note(fault, rows, block.entry.offset, block.entry.stored_bytes.into());
    }

    /// Overlaps, gaps, padding, and the sums of the stream table.
    fn placement(&mut self, blocks: &[Located], complete: bool) {
        let archive = self.reader.archive();
        let mut places: Vec<(u64, u32)> = blocks.iter().map(|block| layout::place_of(&block.entry)).collect();
        let layout = layout::check(&mut places, archive.index_offset(), complete);
        for fault in &layout.faults {
            self.note(fault, None, limits::HEADER_BYTES as u64, archive.index_offset());
        }
        for gap in layout.gaps {
            let checked = read(archive, gap.offset, gap.bytes);
            if let Err(error) = checked.and_then(|bytes| layout::check_padding(gap, &bytes)) {
                self.note(&error, None, gap.offset, gap.bytes);
            }
            self.checked_bytes += gap.bytes;
        }
        if complete {
            let mut sums = vec![0u64; archive.streams().len()];
            for block in blocks {
                sums[block.stream] = sums[block.stream].saturating_add(block.entry.stored_bytes.into());
            }
            for fault in layout::check_stored_bytes(archive.streams(), &sums) {
                self.note(&fault, None, archive.index_offset(), 0);
            }
        }
    }

    /// The CRC of the whole, put together from its parts: what an object store computes itself.
    fn whole(&mut self, blocks: &[Located]) {
        let archive = self.reader.archive();
        let mut entries: Vec<Entry> = blocks.iter().map(|block| block.entry).collect();
        if let Err(error) = archive.check_archive_crc(&mut entries) {
            self.note(&error, None, 0, archive.archive_bytes());
        }
    }

    fn plan(&mut self, threads: usize) -> Result<()> {
        let reader = self.reader;
        let checked = read_plan(reader).map(|plan| plan.map(|plan| plan.members).unwrap_or_default());
        let members = match checked {
            Ok(members) => members,
            Err(error) => return self.note_plan(error),
        };
        for member in &members {
            let mut checked = MemberView::new(reader, member, &mut || self.beat());
            // A digest of the whole is there to be compared; where rows are damaged it cannot hold.
            if let Ok(view) = &checked
                && view.digest.is_some()
                && self.damage.is_empty()
            {
                let compared = stream_member(view, &mut std::io::sink(), threads, MEMBER_BYTES, &mut |_| self.beat());
                checked = compared.and(checked);
            }
            if let Err(error) = checked {
                self.note_plan(error)?;
            }
        }
        Ok(())
    }

    fn beat(&mut self) -> Result<()> {
        (self.progress)(self.block_bytes, Some(self.block_bytes))
    }

    fn note_plan(&mut self, error: Error) -> Result<()> {
        if error.kind() == ErrorKind::Cancelled {
            return Err(error);
        }
        // Damaged rows of the plan or of counts have been noted as such.
        if error.layer() == Some(Layer::Plan) || self.damage.is_empty() {
            self.note(&error, None, 0, 0);
        }
        Ok(())
    }
}

fn read(archive: &Archive, offset: u64, byte_count: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; to_usize(byte_count, "read")?];
    archive.read_range(offset, &mut bytes)?;
    Ok(bytes)
}

/// Neighbouring blocks that are read together.
/// Large chunks that are decoded at once.
const LARGE_IN_FLIGHT: usize = 2;

struct Groups<'a> {
    rest: &'a [Located],
}

impl<'a> Iterator for Groups<'a> {
    type Item = &'a [Located];

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rest.first()?;
        let start = first.entry.offset;
        let close = |block: &Located| block.entry.offset >= start && block.end() - start <= READ_BYTES;
        let count = self.rest.iter().take_while(|block| close(block)).count().max(1);
        let (group, rest) = self.rest.split_at(count);
        self.rest = rest;
        Some(group)
    }
}

#[derive(Default)]
struct CheckState {
    bytes: Vec<u8>,
    chunk: Vec<u8>,
    scratch: Scratch,
}

fn check_blocks(reader: &RowReader, state: &mut CheckState, blocks: &[Located], level: Level) -> Vec<Option<Error>> {
    let start = blocks.first().map_or(0, |block| block.entry.offset);
    let end = blocks.iter().map(Located::end).max().unwrap_or(start);
    let together = to_usize(end - start, "blocks").and_then(|bytes| {
        state.bytes.resize(bytes, 0);
        reader.archive().read_range(start, &mut state.bytes)
    });
    let Err(error) = together else {
        return blocks.iter().map(|block| check_block(reader, state, block, start, level, None)).collect();
    };
    if let [block] = blocks {
        return vec![check_block(reader, state, block, start, level, Some(&error))];
    }
    // One place that cannot be read must not speak against its neighbours.
    blocks.iter().flat_map(|block| check_blocks(reader, state, std::slice::from_ref(block), level)).collect()
}

fn check_block(
    reader: &RowReader,
    state: &mut CheckState,
    block: &Located,
    start: u64,
    level: Level,
    unread: Option<&Error>,
) -> Option<Error> {
    let at = usize::try_from(block.entry.offset - start).unwrap_or(usize::MAX);
    let length = usize::try_from(block.entry.stored_bytes).unwrap_or(usize::MAX);
    let bytes = at.checked_add(length).and_then(|end| state.bytes.get(at..end));
    let (None, Some(bytes)) = (unread, bytes) else {
        let why = unread.map_or_else(|| "it ends outside the archive".to_owned(), ToString::to_string);
        return Some(Error::damaged(Layer::Block, "", format!("cannot be read: {why}")));
    };
    let crc = digest::crc64(bytes);
    if crc != block.entry.block_crc {
        let detail = format!("checksum {crc:016x}, expected {:016x}; use another copy", block.entry.block_crc);
        return Some(Error::damaged(Layer::Block, "", detail));
    }
    if level == Level::Stored {
        return None;
    }
    let raw_bytes = reader.archive().streams().get(block.stream).map_or(0, |stream| stream.chunk_bytes(block.chunk));
    state.chunk.resize(usize::try_from(raw_bytes).unwrap_or(0), 0);
    let Located { stream, chunk, entry } = block;
    reader.decode(&mut state.scratch, (*stream, *chunk), entry.codec, &entry.digest, bytes, &mut state.chunk).err()
}
