//! A batch at backup: read, taken apart into the rows of its streams, and what of it is a chunk coded.

use super::coding::{Coder, Coding, Feed, KEPT_BUFFER_BYTES, Part, Recycler, ShapedSlice, Target, code};
use crate::error::Result;
use crate::plan::batch::{Piece, Splitter};
use crate::store::ReadAt;
use crate::sys;
use std::borrow::Cow;

/// So much of a batch is read and taken apart at once: the next cache holds it beside the rows that come of it.
const WINDOW_BYTES: usize = 128 << 10;

/// A batch that needs no taking apart. A large one has memory of its own, which goes back to the system.
pub fn take_whole(buffer: &mut Vec<u8>, feed: Feed, bytes: usize) -> Result<Cow<'_, [u8]>> {
    match feed {
        Feed::At(source, offset) if bytes > KEPT_BUFFER_BYTES => {
            let mut large = vec![0; bytes];
            sys::prefer_huge_pages(&large);
            source.read_at(offset, &mut large)?;
            Ok(Cow::Owned(large))
        }
        Feed::At(source, offset) => read(buffer, &*source, offset, bytes).map(Cow::Borrowed),
        Feed::Owned(bytes) => Ok(Cow::Owned(bytes)),
    }
}

/// Appends to `rows[i]` what is slice *i*'s. `pieces`, so many times, tile the batch.
pub fn take_apart(
    buffer: &mut Vec<u8>,
    feed: Feed,
    bytes: usize,
    (pieces, repeat): (&[Piece], u64),
    rows: &mut [Vec<u8>],
) -> Result<()> {
    let mut splitter = Splitter::new(pieces, repeat);
    if pieces.len() == 1 && repeat == 1 {
        // Rows of one stream: nothing to take apart, and some sources (rows that are erased) give whole rows only.
        splitter.take(&take_whole(buffer, feed, bytes)?, rows);
        return Ok(());
    }
    match feed {
        Feed::At(source, offset) => {
            for first in (0..bytes).step_by(WINDOW_BYTES) {
                let window_bytes = (bytes - first).min(WINDOW_BYTES);
                splitter.take(read(buffer, &*source, offset + first as u64, window_bytes)?, rows);
            }
        }
        Feed::Owned(bytes) => splitter.take(&bytes, rows),
    }
    Ok(())
}

fn read<'a>(buffer: &'a mut Vec<u8>, source: &dyn ReadAt, offset: u64, bytes: usize) -> Result<&'a [u8]> {
    if buffer.len() < bytes {
        buffer.resize(bytes, 0);
    }
    source.read_at(offset, &mut buffer[..bytes])?;
    Ok(&buffer[..bytes])
}

/// Codes a batch that is one chunk.
pub fn code_whole(
    coder: &mut Coder,
    coding: &Coding,
    slice: &ShapedSlice,
    raw: &[u8],
    recycler: &Recycler,
) -> Result<Vec<Part>> {
    let mut parts = Vec::with_capacity(1);
    let coded = code(coder, coding, &target_of(slice), (raw, None), recycler, &mut parts)?;
    if coding.caches(&slice.shape, raw.len()) {
        let mut rows = recycler.get_empty();
        if coded.sorted.is_none() {
            rows.reserve_exact(raw.len());
            sys::prefer_huge_pages(rows.spare_capacity_mut());
            rows.extend_from_slice(raw);
        }
        coded.put(coding, &slice.shape, rows, &mut parts).into_iter().for_each(|rows| recycler.put(rows));
    }
    Ok(parts)
}

/// Codes those slices of a batch that are chunks; other rows wait for theirs.
pub fn code_apart(
    coder: &mut Coder,
    coding: &Coding,
    slices: &[ShapedSlice],
    rows: Vec<Vec<u8>>,
    recycler: &Recycler,
) -> Result<Vec<Part>> {
    let mut parts = Vec::with_capacity(slices.len());
    for (shaped, bytes) in slices.iter().zip(rows) {
        let ShapedSlice { slice, shape, is_chunk, .. } = shaped;
        if slice.rows == 0 {
            recycler.put(bytes);
        } else if *is_chunk {
            let coded = code(coder, coding, &target_of(shaped), (&bytes, None), recycler, &mut parts)?;
            coded.put(coding, shape, bytes, &mut parts).into_iter().for_each(|rows| coder.keep(rows));
        } else {
            parts.push(Part::Fragment { stream: slice.stream, first_row: slice.first_row, bytes });
        }
    }
    Ok(parts)
}

fn target_of(ShapedSlice { slice, shape, chunk, compare, .. }: &ShapedSlice) -> Target<'_> {
    Target { stream: slice.stream, chunk: *chunk, rows: slice.rows, shape, compare: compare.as_deref() }
}
