//! Rows of two archives that are equal by what their tables say: nothing but index and maps is read.

use super::kept::BaseNames;
use super::rows::{ReadState, RowReader, no_stream};
use crate::error::{Error, ErrorKind, Result, to_usize};

/// Sets a byte of `out` to 1 for each row number that both streams have and whose rows are known to be equal: their chunks
/// have one digest, or both rows stand at one place of one block. Others may be equal all the same. `out` has as many bytes
/// as the shorter stream has rows.
///
/// # Errors
/// `InvalidArgument` for another length, those of reading index and maps.
pub fn equal_rows(
    (before, before_stream): (&RowReader, usize),
    (after, after_stream): (&RowReader, usize),
    out: &mut [u8],
) -> Result<()> {
    let old = before.archive().streams().get(before_stream).ok_or_else(|| no_stream(before_stream))?;
    let new = after.archive().streams().get(after_stream).ok_or_else(|| no_stream(after_stream))?;
    if out.len() as u64 != old.row_count.min(new.row_count) {
        let detail = format!("{} bytes for {} rows", out.len(), old.row_count.min(new.row_count));
        return Err(Error::new(ErrorKind::InvalidArgument, "buffer", detail));
    }
    out.fill(0);
    if (old.row_bytes, old.element_type) != (new.row_bytes, new.element_type) {
        return Ok(());
    }
    let (mut old_side, mut new_side) = (Side::new(before, before_stream), Side::new(after, after_stream));
    let mut first = 0;
    for flags in out.chunks_mut(to_usize(old.chunk_rows, "chunk")?) {
        let (rows, chunk) = (flags.len() as u64, first / old.chunk_rows);
        let is_whole =
            old.chunk_rows == new.chunk_rows && (old.rows_in_chunk(chunk), new.rows_in_chunk(chunk)) == (rows, rows);
        if is_whole
            && before.archive().entry(before_stream, chunk)?.digest
                == after.archive().entry(after_stream, chunk)?.digest
        {
            flags.fill(1);
        } else {
            mark(flags, &old_side.runs(first, rows)?, &new_side.runs(first, rows)?)?;
        }
        first += rows;
    }
    Ok(())
}

/// Neighbouring rows in one block.
struct Run {
    block: [u8; 32],
    inside: u64,
    rows: u64,
}

struct Side<'a> {
    reader: &'a RowReader,
    stream: usize,
    state: ReadState,
    bases: BaseNames,
}

impl<'a> Side<'a> {
    fn new(reader: &'a RowReader, stream: usize) -> Self {
        Self { reader, stream, state: ReadState::default(), bases: BaseNames::default() }
    }

    fn runs(&mut self, first: u64, rows: u64) -> Result<Vec<Run>> {
        let streams = self.reader.archive().streams();
        let mut found: Vec<Run> = Vec::new();
        let mut held = None;
        for (stream, row, rows) in self.reader.places(&mut self.state, self.stream, first, rows)? {
            let chunk_rows = streams.get(stream).map_or(1, |stream| stream.chunk_rows);
            let key = (stream, row / chunk_rows);
            let block = match held.filter(|(known, _)| *known == key) {
                Some((_, block)) => block,
                None => self.reader.block_name(key.0, key.1, &self.bases)?,
            };
            held = Some((key, block));
            found.push(Run { block, inside: row % chunk_rows, rows });
        }
        Ok(found)
    }
}

fn mark(flags: &mut [u8], old: &[Run], new: &[Run]) -> Result<()> {
    let (mut old, mut new) = (old.iter(), new.iter());
    let (mut left, mut right) = (old.next().map(|run| (run, 0)), new.next().map(|run| (run, 0)));
    let mut rest = flags;
    while let (Some((before, before_at)), Some((after, after_at))) = (left, right) {
        let rows = (before.rows - before_at).min(after.rows - after_at);
        let Some((here, others)) = rest.split_at_mut_checked(to_usize(rows, "rows")?) else { return Ok(()) };
        if before.block == after.block && before.inside + before_at == after.inside + after_at {
            here.fill(1);
        }
        rest = others;
        left = if before_at + rows == before.rows {
            old.next().map(|run| (run, 0))
        } else {
            Some((before, before_at + rows))
        };
        right =
            if after_at + rows == after.rows { new.next().map(|run| (run, 0)) } else { Some((after, after_at + rows)) };
    }
    Ok(())
}
