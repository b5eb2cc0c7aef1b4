//! Into memory: rows of a stream and whole members, each chunk decoded where it belongs by several workers.

use super::packer::Progress;
use super::restore::{check_digest, plan_of, view};
use super::rows::{ReadState, RowReader};
use super::view::AssemblyState;
use super::workers::{Pool, thread_count, with_pool};
use crate::error::{Error, ErrorKind, Result, to_usize};
use crate::sys;
use std::collections::VecDeque;
use std::sync::Arc;

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
        return reader.read_rows(&mut ReadState::default(), stream, first, out);
    }
    sys::prefer_huge_pages(out);
    let total = out.len() as u64;
    let work = |state: &mut ReadState, (row, out): (u64, &mut [u8])| {
        let bytes = out.len() as u64;
        reader.read_rows(state, stream, row, out).map(|()| bytes)
    };
    with_pool(threads, ReadState::default, work, |pool| {
        let mut flight = Flight::new(threads);
        let (mut row, mut rest, mut done) = (first, out, 0);
        while !rest.is_empty() {
            let rows = chunk_rows - row % chunk_rows;
            let bytes = to_usize(rows.saturating_mul(row_bytes).min(rest.len() as u64), "rows")?;
            let (head, tail) = rest.split_at_mut(bytes);
            flight.push(pool, (row, head), &mut done)?;
            (row, rest) = (row + rows, tail);
            progress(done, Some(total))?;
        }
        flight.finish(pool, &mut done)
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
    let plan = plan_of(reader)?;
    let total = out.len() as u64;
    let view = view(reader, &plan, member, &mut || progress(0, Some(total)))?;
    if view.bytes != total {
        let detail = format!("has {} bytes; the buffer has {total}", view.bytes);
        return Err(Error::new(ErrorKind::InvalidArgument, format!("member {:?}", view.name), detail));
    }
    sys::prefer_huge_pages(out);
    let work = |state: &mut AssemblyState, (batch, out): (_, &mut [u8])| {
        let bytes = out.len() as u64;
        view.assemble_into(state, batch, out).map(|()| bytes)
    };
    let whole = &mut *out;
    with_pool(threads, AssemblyState::default, work, |pool| {
        let mut flight = Flight::new(threads);
        let (mut batches, mut rest, mut done) = (view.batches(), whole, 0);
        while let Some(batch) = batches.next_batch()? {
            // The view was walked: its batches tile the member.
            let Some((head, tail)) = rest.split_at_mut_checked(batch.bytes) else { break };
            flight.push(pool, (batch, head), &mut done)?;
            rest = tail;
            progress(done, Some(total))?;
        }
        flight.finish(pool, &mut done)
    })?;
    check_digest(&view, view.digest.map(|_| blake3::Hasher::new()).map(|mut hasher| hasher.update(out).clone()))
}

/// Jobs in flight: they decode into the caller's memory, so only their number is bounded.
struct Flight {
    tickets: VecDeque<u64>,
    count_max: usize,
}

impl Flight {
    fn new(threads: usize) -> Self {
        // While one worker decodes a partition of links, the others go on.
        Self { tickets: VecDeque::new(), count_max: thread_count(threads) * 64 }
    }

    fn push<J>(&mut self, pool: &mut Pool<J, u64>, job: J, done: &mut u64) -> Result<()> {
        if self.tickets.len() >= self.count_max
            && let Some(ticket) = self.tickets.pop_front()
        {
            *done += pool.take(ticket)?;
        }
        self.tickets.push_back(pool.submit(job));
        Ok(())
    }

    fn finish<J>(self, pool: &mut Pool<J, u64>, done: &mut u64) -> Result<()> {
        self.tickets.into_iter().try_for_each(|ticket| pool.take(ticket).map(|bytes| *done += bytes))
    }
}
