//! Verification: every fault, each with stream, rows and byte range; one fault never hides another.

use super::packer::Progress;
use super::restore::stream_member;
use super::rows::RowReader;
use super::verify_blocks::{CheckState, Groups, Located, check_blocks, check_elsewhere};
use super::view::{MemberView, read_plan};
use super::workers::{thread_count, with_pool};
use crate::archive::{Archive, Entry, IndexBlock, layout};
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

/// How far verification of a delta goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The bytes of this archive: its own blocks and tables. (Without the ancestors at hand, blocks that are coded against
    /// rows of theirs are checked by their checksum.) `verify_rows` has the rest.
    Own,
    /// Also every block that lies in an ancestor, and every chunk that is put together from parts.
    WithAncestors,
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
    /// Places that could not be read, which says nothing of what they hold.
    pub unread: Vec<Damage>,
    /// Id and root that the archive itself says; of one whose tables are damaged none.
    pub archive_id: Option<String>,
    pub root: Option<String>,
}

/// One damaged place, or one that could not be read. Stream and rows are `None` where it lies in no stream, `ancestor` unless it lies in one.
#[derive(Debug, Clone, Serialize)]
pub struct Damage {
    pub layer: &'static str,
    pub detail: String,
    pub stream: Option<String>,
    pub first_row: Option<u64>,
    pub row_count: Option<u64>,
    pub ancestor: Option<String>,
    pub offset: u64,
    pub byte_count: u64,
}

/// Large chunks that are decoded at once.
const LARGE_IN_FLIGHT: usize = 2;
/// Budget for batches in flight while the digest of a whole member is compared.
const MEMBER_BYTES: u64 = 64 << 20;

/// An archive that stands alone; one that does not open is a report too, as long as it is one.
///
/// # Errors
/// As `verify_opened`.
pub fn verify_source(
    source: Arc<dyn crate::store::ReadAt>,
    level: Level,
    threads: usize,
    progress: Progress<'_>,
) -> Result<VerifyReport> {
    let archive_bytes = source.byte_count();
    verify_opened(Archive::open(source), archive_bytes, level, Scope::WithAncestors, threads, progress)
}

/// What came of opening an archive of `archive_bytes` (and attaching its ancestors).
///
/// # Errors
/// `NotAnArchive`, `Unsupported`, `NotFound` and those of the system; damage is in the report.
pub fn verify_opened(
    opened: Result<Archive>,
    archive_bytes: u64,
    level: Level,
    scope: Scope,
    threads: usize,
    progress: Progress<'_>,
) -> Result<VerifyReport> {
    let started = Instant::now();
    match opened {
        Ok(archive) => verify_scope(&Arc::new(RowReader::new(archive, 64 << 20)), level, scope, threads, progress),
        Err(error) if error.kind() == ErrorKind::Damaged => {
            let byte_count = archive_bytes.min(limits::TAIL_BYTES);
            let damage = Damage {
                layer: error.layer().unwrap_or(Layer::Trailer).name(),
                detail: error.to_string(),
                stream: None,
                first_row: None,
                row_count: None,
                ancestor: None,
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
                unread: Vec::new(),
                archive_id: None,
                root: None,
            })
        }
        Err(error) => Err(error),
    }
}

/// The archive and all that it needs of its ancestors.
///
/// # Errors
/// As `verify_scope`.
pub fn verify(reader: &Arc<RowReader>, level: Level, threads: usize, progress: Progress<'_>) -> Result<VerifyReport> {
    verify_scope(reader, level, Scope::WithAncestors, threads, progress)
}

/// # Errors
/// Those of `progress` only; what is wrong with the archive is in the report.
pub fn verify_scope(
    reader: &Arc<RowReader>,
    level: Level,
    scope: Scope,
    threads: usize,
    progress: Progress<'_>,
) -> Result<VerifyReport> {
    let started = Instant::now();
    let mut check = Check::new(reader, progress);
    if let Err(error) = reader.archive().check_header() {
        check.note(&error, None, 0, limits::HEADER_BYTES as u64);
    }
    let (found, complete) = check.index();
    let chunks = found.len() as u64;
    let (mut blocks, elsewhere): (Vec<_>, Vec<_>) = found.into_iter().partition(Located::is_here);
    if level == Level::Full {
        // Large chunks first: a partition of links that came last would leave all workers but one without work.
        blocks.sort_unstable_by_key(|block| (!check.is_large(block), block.place()));
    } else {
        blocks.sort_unstable_by_key(Located::place);
    }
    let (before, unread_before) = (check.damage.len(), check.unread.len());
    check.blocks(&blocks, level, threads)?;
    check.damage[before..].sort_by_key(|damage| damage.offset);
    check.unread[unread_before..].sort_by_key(|damage| damage.offset);
    blocks.sort_unstable_by_key(Located::place);
    check.placement(&blocks, complete);
    if check.is_clean() {
        check.whole(&blocks);
    }
    if scope == Scope::WithAncestors {
        check.elsewhere(&elsewhere, level, threads)?;
    }
    if level == Level::Full && scope == Scope::WithAncestors {
        check.plan(threads)?;
        check.id_indexes()?;
    }
    Ok(check.report(level, chunks, started))
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Full => "full",
        }
    }
}

pub(super) struct Check<'a, 'b> {
    pub(super) reader: &'a Arc<RowReader>,
    damage: Vec<Damage>,
    unread: Vec<Damage>,
    pub(super) checked_bytes: u64,
    block_bytes: u64,
    /// Ends of blocks whose padding was read with them, and is zeros.
    padded: Vec<u64>,
    progress: Progress<'b>,
}

impl<'a, 'b> Check<'a, 'b> {
    pub(super) fn new(reader: &'a Arc<RowReader>, progress: Progress<'b>) -> Self {
        Self {
            reader,
            damage: Vec::new(),
            unread: Vec::new(),
            checked_bytes: 0,
            block_bytes: 0,
            padded: Vec::new(),
            progress,
        }
    }

    pub(super) fn report(self, level: Level, chunks: u64, started: Instant) -> VerifyReport {
        VerifyReport {
            level: level.name(),
            archive_bytes: self.reader.archive().archive_bytes(),
            checked_bytes: self.checked_bytes,
            chunks,
            seconds: started.elapsed().as_secs_f64(),
            ok: self.is_clean(),
            damage: self.damage,
            unread: self.unread,
            archive_id: Some(self.reader.archive().id().to_string()),
            root: Some(crate::seal::hex(&self.reader.archive().root())),
        }
    }

    pub(super) fn found(&self) -> impl Iterator<Item = &Damage> {
        self.damage.iter().chain(&self.unread)
    }

    fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.unread.is_empty()
    }

    pub(super) fn note(&mut self, error: &Error, rows: Option<(usize, u64, u64)>, offset: u64, byte_count: u64) {
        self.note_in(error, rows, None, (offset, byte_count));
    }

    fn note_in(
        &mut self,
        error: &Error,
        rows: Option<(usize, u64, u64)>,
        ancestor: Option<String>,
        (offset, byte_count): (u64, u64),
    ) {
        let streams = self.reader.archive().streams();
        let is_unread = matches!(error.kind(), ErrorKind::Io | ErrorKind::Unavailable | ErrorKind::PermissionDenied);
        let places = if is_unread { &mut self.unread } else { &mut self.damage };
        places.push(Damage {
            layer: error.layer().map_or("block", Layer::name),
            detail: error.to_string(),
            stream: rows.and_then(|(stream, ..)| streams.get(stream)).map(|stream| stream.name.clone()),
            first_row: rows.map(|(_, first, _)| first),
            row_count: rows.map(|(_, _, count)| count),
            ancestor,
            offset,
            byte_count,
        });
    }

    fn is_large(&self, block: &Located) -> bool {
        let stream = self.reader.archive().streams().get(block.stream);
        stream.is_some_and(|stream| stream.chunk_bytes(block.chunk) > WHOLE_CHUNK_BYTES_MAX)
    }

    /// All entries of all readable index blocks, and whether that is all of them.
    pub(super) fn index(&mut self) -> (Vec<Located>, bool) {
        let archive = self.reader.archive();
        let mut blocks = Vec::new();
        let mut complete = true;
        for number in 0..archive.index_block_count() {
            let range = archive.index_block_range(number);
            let IndexBlock { offset, byte_count, .. } = range;
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
                self.lost_index_block(fault, number, range);
            }
        }
        (blocks, complete)
    }

    /// Every row whose entry stood in the block cannot be found any more.
    fn lost_index_block(&mut self, fault: &Error, number: u64, range: IndexBlock) {
        let archive = self.reader.archive();
        let IndexBlock { offset, byte_count, first_entry, entries } = range;
        let end_entry = first_entry + entries;
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
                for (block, checked) in job.iter().zip(pool.take(ticket)?) {
                    self.checked_bytes += u64::from(block.entry.stored_bytes);
                    if checked.padded {
                        self.padded.push(block.end());
                    }
                    if let Some(fault) = checked.fault {
                        self.note_block(&fault, block);
                    }
                }
                (self.progress)(self.checked_bytes.min(total), Some(total))?;
            }
        })
    }

    /// Blocks of ancestors, and chunks that have a map: read as whoever restores does.
    fn elsewhere(&mut self, blocks: &[Located], level: Level, threads: usize) -> Result<()> {
        let reader = self.reader;
        let window = thread_count(threads) * 2;
        let blocks: Vec<&Located> =
            blocks.iter().filter(|block| level == Level::Full || !block.entry.is_mapped()).collect();
        let work = |state: &mut CheckState, block: &Located| Ok(check_elsewhere(reader, state, block, level).err());
        with_pool(threads, CheckState::default, work, |pool| {
            let mut next = blocks.iter();
            let mut pending: VecDeque<(u64, &Located)> = VecDeque::new();
            loop {
                while pending.len() < window {
                    let Some(block) = next.next() else { break };
                    pending.push_back((pool.submit(*block), *block));
                }
                let Some((ticket, block)) = pending.pop_front() else { return Ok(()) };
                if let Some(fault) = pool.take(ticket)? {
                    self.note_block(&fault, block);
                }
                self.checked_bytes += u64::from(block.entry.stored_bytes);
                (self.progress)(self.block_bytes, Some(self.block_bytes))?;
            }
        })
    }

    pub(super) fn note_block(&mut self, fault: &Error, block: &Located) {
        let archive = self.reader.archive();
        let Some(description) = archive.streams().get(block.stream) else { return };
        let first_row = block.chunk * description.chunk_rows;
        let row_count = description.rows_in_chunk(block.chunk);
        // Stream, rows and bytes are fields of their own; the sentence need not say them again.
        let rows = Some((block.stream, first_row, row_count));
        let lies_in = usize::from(block.entry.archive).checked_sub(1);
        let ancestor = lies_in.and_then(|number| archive.ancestors().get(number)).map(|other| other.id.to_string());
        self.note_in(fault, rows, ancestor, (block.entry.offset, block.entry.stored_bytes.into()));
    }

    /// Overlaps, gaps, padding, and the sums of the stream table.
    fn placement(&mut self, blocks: &[Located], complete: bool) {
        let archive = self.reader.archive();
        let mut places: Vec<(u64, u32)> = blocks.iter().map(|block| layout::place_of(&block.entry)).collect();
        let layout = layout::check(&mut places, archive.index_offset(), complete);
        for fault in &layout.faults {
            self.note(fault, None, limits::HEADER_BYTES as u64, archive.index_offset());
        }
        self.padded.sort_unstable();
        for gap in layout.gaps {
            self.checked_bytes += gap.bytes;
            // A gap ends where the next block begins, at the first aligned place: zeros up to there are all of it.
            if gap.offset.next_multiple_of(limits::BLOCK_ALIGNMENT) >= gap.offset + gap.bytes
                && self.padded.binary_search(&gap.offset).is_ok()
            {
                continue;
            }
            let checked = read(archive, gap.offset, gap.bytes);
            if let Err(error) = checked.and_then(|bytes| layout::check_padding(gap, &bytes)) {
                self.note(&error, None, gap.offset, gap.bytes);
            }
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

    pub(super) fn plan(&mut self, threads: usize) -> Result<()> {
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
                && self.is_clean()
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

    pub(super) fn beat(&mut self) -> Result<()> {
        (self.progress)(self.block_bytes, Some(self.block_bytes))
    }

    fn note_plan(&mut self, error: Error) -> Result<()> {
        if error.kind() == ErrorKind::Cancelled {
            return Err(error);
        }
        // Damaged rows of the plan or of counts have been noted as such.
        if error.layer() == Some(Layer::Plan) || self.is_clean() {
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
