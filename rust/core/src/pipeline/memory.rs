//! Into memory: rows of a stream and whole members, each chunk decoded where it belongs by several workers.

use super::feeder::{Feeder, LargeChunk};
use super::packer::Progress;
use super::parts::{PARTS_MAX, Parts};
use super::restore::{check_digest, plan_of, view};
use super::rows::{ReadState, RowReader};
use super::view::{AssemblyState, MemberView};
use super::workers::with_pool;
use crate::error::{Error, ErrorKind, Result, to_usize};
use crate::plan::batch::{Batch, Content, WHOLE_CHUNK_BYTES_MAX};
use crate::store::ReadAt;
use crate::sys;
use std::ops::Range;
use std::sync::Arc;

/// For what decoding takes besides the caller's memory.
const MEMORY_BYTES: u64 = 256 << 20;

/// Rows `first .. first + out.len() / row_bytes` of a stream into `out`. As `RowReader::read_rows`, but chunks are
/// shared out among `threads` (0: all cores).
///
/// # Errors
/// Those of `RowReader::read_rows` and of `progress`.
pub fn read_rows(
    reader: &RowReader,
    stream: usize,
    first: u64,
    out: &mut [u8],
    threads: usize,
    progress: Progress<'_>,
) -> Result<()> {
    let description = reader.archive().streams().get(stream);
    let (row_bytes, chunk_rows) = description.map_or((1, 1), |stream| (u64::from(stream.row_bytes), stream.chunk_rows));
    let chunk_bytes = chunk_rows.saturating_mul(row_bytes);
    // One chunk, or parts of two, are not worth a thread; a wrong range is refused there.
    let row_count = out.len() as u64 / row_bytes;
    let in_range = description.is_some_and(|stream| {
        first.checked_add(row_count).is_some_and(|end| end <= stream.row_count)
            && (out.len() as u64).is_multiple_of(row_bytes)
    });
    if out.len() as u64 <= 2 * chunk_bytes || !in_range {
        // Rows of a mapped stream come from its parts; more of them are worth putting chunks together.
        let is_few = row_count.saturating_mul(8) < chunk_rows;
        let mut state = if is_few { ReadState::for_few() } else { ReadState::default() };
        return reader.read_rows(&mut state, stream, first, out);
    }
    sys::prefer_huge_pages(out);
    let total = out.len() as u64;
    let work = |state: &mut ReadState, (row, out): (u64, &mut [u8])| reader.read_rows(state, stream, row, out);
    with_pool(threads, ReadState::default, work, |pool| {
        let mut feeder = Feeder::new(MEMORY_BYTES, |()| None);
        let (mut row, mut rest) = (first, out);
        while !rest.is_empty() {
            let rows = chunk_rows - row % chunk_rows;
            let bytes = to_usize(rows.saturating_mul(row_bytes).min(rest.len() as u64), "rows")?;
            let (head, tail) = rest.split_at_mut(bytes);
            let large = chunk_bytes > WHOLE_CHUNK_BYTES_MAX;
            feeder.push(pool, large.then_some((stream, row / chunk_rows, chunk_bytes)), (bytes, (row, head)))?;
            (row, rest) = (row + rows, tail);
            progress(feeder.done, Some(total))?;
        }
        feeder.finish(pool, |done| progress(done, Some(total)))
    })
}

/// A whole member into `out`, which has its length. When the plan has its digest, that is compared.
///
/// # Errors
/// `InvalidArgument` for another length; those of reading and of `progress`. After an error `out` means nothing.
pub fn read_member(
    reader: &Arc<RowReader>,
    member: usize,
    out: &mut [u8],
    threads: usize,
    progress: Progress<'_>,
) -> Result<()> {
    read_checked(reader, member, out, &Later::default(), threads, &|_| Ok(()), progress).map(|_| ())
}

/// Bytes of a member that a check will not look at: rows of vectors or codes. Which they are is a guess of the caller's;
/// a check that does look at them has them.
#[derive(Debug, Clone, Default)]
pub struct Later {
    pub bytes: Range<u64>,
    /// They are left out, where nothing else needs them.
    pub is_left_out: bool,
}

impl Later {
    fn holds(&self, batch: &Batch) -> bool {
        batch.offset >= self.bytes.start && batch.offset + batch.bytes as u64 <= self.bytes.end
    }
}

/// Looks at a member that lies in memory.
pub type Check<'a, T> = &'a dyn Fn(&dyn ReadAt) -> Result<T>;

/// As `read_member`, and what `check` finds in it. It begins as soon as all but the `later` bytes are there. Returns
/// whether these are there, too, at the end: they are not when they were to be left out, `check` did not ask for them and
/// the plan has no digest of the member.
///
/// # Errors
/// As `read_member`; then those of `check`.
pub fn read_checked<T>(
    reader: &Arc<RowReader>,
    member: usize,
    out: &mut [u8],
    later: &Later,
    threads: usize,
    check: Check<'_, T>,
    progress: Progress<'_>,
) -> Result<(T, bool)> {
    let plan = plan_of(reader)?;
    let total = out.len() as u64;
    let view = view(reader, &plan, member, &mut || progress(0, Some(total)))?;
    if view.bytes != total {
        let detail = format!("has {} bytes; the buffer has {total}", view.bytes);
        return Err(Error::new(ErrorKind::InvalidArgument, format!("member {:?}", view.name), detail));
    }
    sys::prefer_huge_pages(out);
    let mut is_whole = !later.is_left_out || view.digest.is_some();
    let mut found = fill(&view, out, &Later { is_left_out: !is_whole, ..later.clone() }, threads, check, progress)?;
    if found.is_none() && !is_whole {
        is_whole = true;
        found = fill(&view, out, &Later::default(), threads, check, progress)?;
    }
    check_digest(&view, view.digest.map(|_| blake3::Hasher::new()).map(|mut hasher| hasher.update(out).clone()))?;
    Ok((found.unwrap_or_else(|| check(&&*out))?, is_whole))
}

/// Rows of a member to be put where they belong.
struct Job<'a> {
    batch: Batch,
    out: &'a mut [u8],
    extent: Extent,
}

enum Extent {
    Whole,
    /// All of it, unless rows of this chunk would have to be waited for: then all but them.
    Without(LargeChunk),
    /// Rows of this stream: others are there.
    Rest(usize),
}

/// What a job gives back: its bytes, and what they still lack.
struct Filled<'a> {
    offset: u64,
    out: &'a mut [u8],
    lacks: Option<(LargeChunk, Batch)>,
}

impl<'a> Job<'a> {
    fn run(self, view: &MemberView, state: &mut AssemblyState) -> Result<Filled<'a>> {
        let Self { batch, out, extent } = self;
        let offset = batch.offset;
        let lacking = match extent {
            Extent::Without(chunk) if !view.has_decoded(chunk) => Some(chunk),
            _ => None,
        };
        let takes = |stream: usize| match (lacking, &extent) {
            (Some((without, ..)), _) => stream != without,
            (None, Extent::Rest(only)) => stream == *only,
            (None, _) => true,
        };
        view.assemble_some(state, &batch, takes, out)?;
        Ok(Filled { offset, out, lacks: lacking.map(|chunk| (chunk, batch)) })
    }
}

/// Decodes what is not left out; gives what `check` found meanwhile, if it could be asked.
fn fill<'a, T>(
    view: &MemberView,
    out: &'a mut [u8],
    later: &Later,
    threads: usize,
    check: Check<'_, T>,
    progress: Progress<'_>,
) -> Result<Option<Result<T>>> {
    let total = out.len() as u64;
    let work = |state: &mut AssemblyState, job: Job<'a>| job.run(view, state);
    with_pool(threads, AssemblyState::default, work, |pool| {
        let mut parts = Vec::new();
        let mut early = Feeder::new(MEMORY_BYTES, |filled: Filled<'a>| match filled.lacks {
            Some((chunk, batch)) => Some((chunk, Job { batch, out: filled.out, extent: Extent::Rest(chunk.0) })),
            None => {
                if parts.len() <= PARTS_MAX {
                    let bytes: &'a [u8] = filled.out;
                    parts.push((filled.offset, bytes));
                }
                None
            }
        });
        let mut late = Feeder::new(MEMORY_BYTES, |_: Filled<'a>| None);
        let (mut batches, mut rest, mut led) = (view.batches(), out, None);
        while let Some(batch) = batches.next_batch()? {
            // The view was walked: its batches tile the member.
            let Some((head, tail)) = rest.split_at_mut_checked(batch.bytes) else { break };
            rest = tail;
            let large = view.large_chunk(&batch);
            let (bytes, is_late) = (batch.bytes, later.holds(&batch));
            if is_late {
                if !later.is_left_out {
                    late.push(pool, large, (bytes, Job { batch, out: head, extent: Extent::Whole }))?;
                }
            } else if let Some(chunk) = large.filter(|chunk| led == Some(*chunk) && is_mixed(&batch)) {
                early.push(pool, None, (bytes, Job { batch, out: head, extent: Extent::Without(chunk) }))?;
            } else {
                led = large;
                early.push(pool, large, (bytes, Job { batch, out: head, extent: Extent::Whole }))?;
            }
            progress(early.done + late.done, Some(total))?;
        }
        early.finish(pool, |done| progress(done + late.done, Some(total)))?;
        let before = early.done;
        drop(early);
        let is_collected = parts.len() <= PARTS_MAX;
        let found = if is_collected { Parts::new(total, parts).look(check) } else { None };
        late.finish(pool, |done| progress(before + done, Some(total)))?;
        Ok(found)
    })
}

/// Whether rows of other streams, too, are in the batch.
fn is_mixed(batch: &Batch) -> bool {
    matches!(&batch.content, Content::Rows { slices, .. } if slices.len() > 1)
}
