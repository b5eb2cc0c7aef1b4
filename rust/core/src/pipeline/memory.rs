//! Into memory: rows of a stream and whole members, each chunk decoded where it belongs by several workers.

use super::feeder::Feeder;
use super::packer::Progress;
use super::restore::{check_digest, plan_of, view};
use super::rows::{ReadState, RowReader};
use super::view::AssemblyState;
use super::workers::with_pool;
use crate::error::{Error, ErrorKind, Result, to_usize};
use crate::plan::batch::WHOLE_CHUNK_BYTES_MAX;
use crate::sys;
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
    let work = |state: &mut ReadState, (row, out): (u64, &mut [u8])| {
        let bytes = out.len() as u64;
        reader.read_rows(state, stream, row, out).map(|()| bytes)
    };
    with_pool(threads, ReadState::default, work, |pool| {
        let mut feeder = Feeder::new(MEMORY_BYTES);
        let (mut row, mut rest) = (first, out);
        while !rest.is_empty() {
            let rows = chunk_rows - row % chunk_rows;
            let bytes = to_usize(rows.saturating_mul(row_bytes).min(rest.len() as u64), "rows")?;
            let (head, tail) = rest.split_at_mut(bytes);
            let large = chunk_bytes > WHOLE_CHUNK_BYTES_MAX;
            feeder.push(pool, large.then_some((stream, row / chunk_rows, chunk_bytes)), (row, head))?;
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
        let mut feeder = Feeder::new(MEMORY_BYTES);
        let (mut batches, mut rest) = (view.batches(), whole);
        while let Some(batch) = batches.next_batch()? {
            // The view was walked: its batches tile the member.
            let Some((head, tail)) = rest.split_at_mut_checked(batch.bytes) else { break };
            feeder.push(pool, view.large_chunk(&batch), (batch, head))?;
            rest = tail;
            progress(feeder.done, Some(total))?;
        }
        feeder.finish(pool, |done| progress(done, Some(total)))
    })?;
    check_digest(&view, view.digest.map(|_| blake3::Hasher::new()).map(|mut hasher| hasher.update(out).clone()))
}
