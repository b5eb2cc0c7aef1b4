//! Deltas of a chain verified together: all that reading each archive's own bytes does not prove. Chunk number by chunk
//! number, whatever archive they are of, so that a block that many archives take rows from is decoded once.

use super::kept::Shared;
use super::open::{Places, Volume, open_sealed};
use super::packer::Progress;
use super::rows::{ReadState, RowReader};
use super::verify::{Check, Level, VerifyReport, verify_opened};
use super::verify_blocks::Located;
use super::workers::{thread_count, with_pool};
use crate::archive::{Archive, KeySource};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Result, to_usize};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Budget for decoded chunks that the archives share.
const SHARED_BYTES: u64 = 256 << 20;
/// Rows of one archive that are looked at before those of the next one: their map is read once.
const SPAN_BYTES: u64 = 8 << 20;

#[derive(Debug, Serialize)]
pub struct RowsReport {
    pub archives: Vec<VerifyReport>,
    /// Blocks that were decoded: those that several archives need count once, as long as they are kept.
    pub blocks_decoded: u64,
}

/// One report for each of `archives` (volumes): chunks that have a map, blocks in ancestors, blocks that are coded against
/// rows of a base part, and the plan. `places` has all that they need.
///
/// # Errors
/// Those of opening that are no damage, and of `progress`.
pub fn verify_rows(
    archives: &[Vec<Volume>],
    places: &Places,
    keys: &dyn KeySource,
    threads: usize,
    progress: Progress<'_>,
) -> Result<RowsReport> {
    let opened = archives.iter().map(|volumes| open_sealed(volumes, places, keys).map(|(archive, _)| archive));
    verify_rows_of(opened.collect(), threads, progress)
}

/// As `verify_rows`, of what came of opening each archive and attaching its ancestors.
///
/// # Errors
/// As `verify_rows`.
pub fn verify_rows_of(opened: Vec<Result<Archive>>, threads: usize, progress: Progress<'_>) -> Result<RowsReport> {
    let started = Instant::now();
    let shared = Arc::new(Shared::new(SHARED_BYTES));
    let mut reports: Vec<Option<VerifyReport>> = Vec::new();
    let mut readers = Vec::new();
    for opened in opened {
        match opened {
            Ok(archive) => {
                readers.push((reports.len(), Arc::new(RowReader::sharing(archive, shared.clone()))));
                reports.push(None);
            }
            Err(error) if error.kind() == ErrorKind::Damaged => {
                let report =
                    verify_opened(Err(error), 0, Level::Full, super::verify::Scope::Own, 1, &mut |_, _| Ok(()))?;
                reports.push(Some(report));
            }
            Err(error) => return Err(error),
        }
    }
    let mut tables = Vec::new();
    for (_, reader) in &readers {
        let mut silent = |_, _| Ok(());
        tables.push(Check::new(reader, &mut silent).index().0);
    }
    let spans = spans(&readers, &tables);
    let faults = read(&readers, &shared, &spans, threads, progress)?;
    for (number, ((place, reader), blocks)) in readers.iter().zip(&tables).enumerate() {
        let mut check = Check::new(reader, progress);
        check.index();
        for (_, block, error) in faults.iter().filter(|(archive, ..)| *archive == number) {
            check.note_block(error, block);
        }
        check.plan(threads)?;
        check.id_indexes()?;
        let report = check.report(Level::Full, blocks.len() as u64, started);
        if let Some(slot) = reports.get_mut(*place) {
            *slot = Some(report);
        }
    }
    Ok(RowsReport { archives: reports.into_iter().flatten().collect(), blocks_decoded: shared.decoded() })
}

/// Neighbouring chunks of one stream of one archive.
#[derive(Debug, Clone)]
struct Span {
    archive: usize,
    chunks: Vec<Located>,
    raw_bytes: u64,
}

/// What is to be read, in the order in which archives share most: mapped chunks, the same ones of all archives beside each
/// other, then blocks that no row was taken from.
fn spans(readers: &[(usize, Arc<RowReader>)], tables: &[Vec<Located>]) -> Vec<Span> {
    let mut found = Vec::new();
    for (archive, ((_, reader), blocks)) in readers.iter().zip(tables).enumerate() {
        let streams = reader.archive().streams();
        let mut span: Option<(Span, usize)> = None;
        for block in blocks.iter().filter(|block| is_left(block)) {
            let Some(stream) = streams.get(block.stream) else { continue };
            let raw_bytes = stream.chunk_bytes(block.chunk);
            match &mut span {
                Some((span, held)) if *held == block.stream && span.raw_bytes + raw_bytes <= SPAN_BYTES => {
                    span.chunks.push(*block);
                    span.raw_bytes += raw_bytes;
                }
                _ => {
                    let next = Span { archive, chunks: vec![*block], raw_bytes };
                    if let Some((done, _)) = span.replace((next, block.stream)) {
                        found.push(done);
                    }
                }
            }
        }
        found.extend(span.map(|(span, _)| span));
    }
    let order = |span: &Span| {
        let first = span.chunks.first();
        let stream = first.and_then(|block| readers.get(span.archive)?.1.archive().streams().get(block.stream));
        let is_block = first.is_none_or(|block| !block.entry.is_mapped());
        (is_block, stream.map(|stream| stream.name.clone()), first.map(|block| block.chunk), span.archive)
    };
    found.sort_by_cached_key(order);
    found
}

/// Whether reading the archive's own bytes does not prove the chunk.
fn is_left(block: &Located) -> bool {
    !block.is_here() || Codec::from_number(block.entry.codec).is_some_and(Codec::needs_base)
}

type Fault = (usize, Located, Error);

fn read(
    readers: &[(usize, Arc<RowReader>)],
    shared: &Shared,
    spans: &[Span],
    threads: usize,
    progress: Progress<'_>,
) -> Result<Vec<Fault>> {
    let total: u64 = spans.iter().map(|span| span.raw_bytes).sum();
    let window = thread_count(threads) * 2;
    let work = |state: &mut (ReadState, Vec<u8>), span: &Span| {
        let Some((_, reader)) = readers.get(span.archive) else { return Ok(Vec::new()) };
        let faults = span.chunks.iter().filter_map(|block| {
            let error = check(reader, shared, state, block).err()?;
            Some((span.archive, *block, error))
        });
        Ok(faults.collect::<Vec<Fault>>())
    };
    with_pool(threads, Default::default, work, |pool| {
        let (mut found, mut done) = (Vec::new(), 0);
        let mut next = spans.iter();
        let mut pending: VecDeque<(u64, u64)> = VecDeque::new();
        loop {
            while pending.len() < window {
                let Some(span) = next.next() else { break };
                pending.push_back((pool.submit(span), span.raw_bytes));
            }
            let Some((ticket, raw_bytes)) = pending.pop_front() else { return Ok(found) };
            found.extend(pool.take(ticket)?);
            done += raw_bytes;
            progress(done, Some(total))?;
        }
    })
}

/// Reads one chunk, unless another of the same name was found whole.
fn check(reader: &RowReader, shared: &Shared, (state, out): &mut (ReadState, Vec<u8>), block: &Located) -> Result<()> {
    let place = (block.stream, block.chunk);
    let name = if block.entry.is_mapped() {
        match reader.mapped_name(state, place, &block.entry.digest) {
            // What is wrong with a map is said by reading through it, in its own words.
            Err(error) if error.kind() == ErrorKind::Damaged => None,
            named => named?,
        }
    } else {
        reader.shared_name(place.0, place.1)?.map(|(_, name)| name)
    };
    if name.is_some_and(|name| shared.is_proved(&name)) {
        return Ok(());
    }
    if !block.entry.is_mapped() {
        return reader.kept_chunk(state, place.0, place.1).map(drop);
    }
    let raw_bytes = reader.archive().streams().get(place.0).map_or(0, |stream| stream.chunk_bytes(place.1));
    out.resize(to_usize(raw_bytes, "chunk")?, 0);
    reader.read_chunk(state, place.0, place.1, out)?;
    if let Some(name) = name {
        shared.prove(name);
    }
    Ok(())
}
