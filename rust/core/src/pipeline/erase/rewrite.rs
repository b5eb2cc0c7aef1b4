//! One stream as it is after an erasure: rows are changed, or left out, while they are read.

use super::graph::Lists;
use crate::error::{Error, ErrorKind, Result, to_usize};
use crate::pipeline::rows::{ReadState, RowReader};
use crate::store::ReadAt;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What becomes of the rows of a stream.
#[derive(Default)]
pub struct Rewrite {
    /// Rows that are left out, ascending.
    pub removed: Vec<u64>,
    /// Rows that are other ones.
    pub rows: BTreeMap<u64, Row>,
    /// Lists of links, each of which is looked at.
    pub lists: Option<Lists>,
}

pub enum Row {
    /// This byte all over.
    Fill(u8),
    Bytes(Vec<u8>),
}

impl Rewrite {
    /// The bytes from row `first` on, one row a byte, are these.
    pub fn patch(&mut self, first: u64, bytes: &[u8]) {
        self.rows.extend((first..).zip(bytes).map(|(row, byte)| (row, Row::Fill(*byte))));
    }

    fn is_removed(&self, row: u64) -> bool {
        self.removed.binary_search(&row).is_ok()
    }

    /// Changes rows `first ..` in place; returns how many rows and bytes are not what they were.
    fn apply(&self, first: u64, row_bytes: usize, rows: &mut [u8]) -> (u64, u64) {
        let count = (rows.len() / row_bytes) as u64;
        let (mut changed_rows, mut changed_bytes) = (0, 0);
        let mut before = vec![0; row_bytes];
        let mut note = |before: &[u8], after: &[u8]| {
            let differing = before.iter().zip(after).filter(|(before, after)| before != after).count() as u64;
            changed_rows += u64::from(differing > 0);
            changed_bytes += differing;
        };
        if let Some(lists) = &self.lists {
            for (number, row) in (first..).zip(rows.chunks_exact_mut(row_bytes)) {
                if !lists.names_erased(row) || self.rows.contains_key(&number) || self.is_removed(number) {
                    continue;
                }
                before.copy_from_slice(row);
                lists.rewrite(number, row);
                note(&before, row);
            }
        }
        for (number, new) in self.rows.range(first..first + count) {
            let Ok(start) = usize::try_from(number - first) else { continue };
            let row = &mut rows[start * row_bytes..(start + 1) * row_bytes];
            before.copy_from_slice(row);
            match new {
                Row::Fill(byte) => row.fill(*byte),
                Row::Bytes(bytes) => row.iter_mut().zip(bytes).for_each(|(row, byte)| *row = *byte),
            }
            note(&before, row);
        }
        (changed_rows, changed_bytes)
    }

    /// The row of the source that row `row` is after rows were left out.
    fn source_row(&self, row: u64) -> u64 {
        // Of the rows left out, those up to the one asked for: their place less their number never falls.
        let (mut low, mut high) = (0, self.removed.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.removed[middle] - middle as u64 <= row { low = middle + 1 } else { high = middle }
        }
        row + low as u64
    }
}

/// Rows and bytes that are not what they were.
#[derive(Default)]
pub struct Tally {
    pub rows: AtomicU64,
    pub bytes: AtomicU64,
}

/// The bytes of a stream after an erasure.
pub struct ErasedRows {
    pub reader: Arc<RowReader>,
    pub stream: usize,
    pub rewrite: Option<Rewrite>,
    pub tally: Arc<Tally>,
    states: Mutex<Vec<ReadState>>,
}

impl ErasedRows {
    pub fn new(reader: &Arc<RowReader>, stream: usize, rewrite: Option<Rewrite>, tally: &Arc<Tally>) -> Self {
        let states = Mutex::new(Vec::new());
        Self { reader: reader.clone(), stream, rewrite, tally: tally.clone(), states }
    }

    /// Bytes of a row, and rows before and after.
    fn shape(&self) -> (u64, u64, u64) {
        let stream = self.reader.archive().streams().get(self.stream);
        let (row_bytes, rows) = stream.map_or((1, 0), |stream| (u64::from(stream.row_bytes), stream.row_count));
        let removed = self.rewrite.as_ref().map_or(0, |rewrite| rewrite.removed.len() as u64);
        (row_bytes, rows, rows.saturating_sub(removed))
    }

    fn read(&self, state: &mut ReadState, first: u64, buffer: &mut [u8]) -> Result<()> {
        let Some(rewrite) = &self.rewrite else {
            return self.reader.read_rows(state, self.stream, first, buffer);
        };
        let row_bytes = to_usize(self.shape().0, "row")?;
        let rows = (buffer.len() / row_bytes) as u64;
        let changed = if rewrite.removed.is_empty() {
            self.reader.read_rows(state, self.stream, first, buffer)?;
            rewrite.apply(first, row_bytes, buffer)
        } else {
            // What is left out lies between: all is read, and moved together.
            let (start, end) = (rewrite.source_row(first), rewrite.source_row(first + rows - 1) + 1);
            let mut all = vec![0; to_usize((end - start) * row_bytes as u64, "rows")?];
            self.reader.read_rows(state, self.stream, start, &mut all)?;
            let changed = rewrite.apply(start, row_bytes, &mut all);
            let kept = (start..end).filter(|row| !rewrite.is_removed(*row));
            for (target, row) in buffer.chunks_exact_mut(row_bytes).zip(kept) {
                let at = to_usize(row - start, "row")? * row_bytes;
                target.copy_from_slice(&all[at..at + row_bytes]);
            }
            changed
        };
        self.tally.rows.fetch_add(changed.0, Ordering::Relaxed);
        self.tally.bytes.fetch_add(changed.1, Ordering::Relaxed);
        Ok(())
    }
}

impl ReadAt for ErasedRows {
    fn byte_count(&self) -> u64 {
        let (row_bytes, _, rows) = self.shape();
        row_bytes * rows
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let (row_bytes, _, rows) = self.shape();
        let count = buffer.len() as u64;
        let end = offset.checked_add(count).filter(|end| *end <= row_bytes * rows);
        if end.is_none() || !offset.is_multiple_of(row_bytes) || !count.is_multiple_of(row_bytes) {
            let detail = format!("{count} bytes from {offset} on are no rows of it; please report this");
            return Err(Error::new(ErrorKind::Io, format!("stream number {}", self.stream), detail));
        }
        if count == 0 {
            return Ok(());
        }
        let kept = self.states.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut state = kept.unwrap_or_default();
        let read = self.read(&mut state, offset / row_bytes, buffer);
        self.states.lock().unwrap_or_else(PoisonError::into_inner).push(state);
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_left_out_shift_those_behind_them() {
        let removed = vec![0, 3, 4, 9];
        let rewrite = Rewrite { removed: removed.clone(), ..Rewrite::default() };
        let expected: Vec<u64> = (0..15).filter(|row| !removed.contains(row)).collect();
        assert_eq!((0..11).map(|row| rewrite.source_row(row)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_changed_is_counted() {
        let mut rewrite = Rewrite::default();
        rewrite.rows.insert(1, Row::Fill(0));
        rewrite.rows.insert(2, Row::Bytes(vec![9, 9]));
        rewrite.patch(7, &[1]);
        let mut rows = vec![1, 2, 3, 0, 9, 9, 4, 4];
        assert_eq!(rewrite.apply(0, 2, &mut rows), (1, 1));
        assert_eq!(rows, [1, 2, 0, 0, 9, 9, 4, 4]);
    }
}
