//! Rows that are not where the base had them: after a removal all later rows stand elsewhere, and lists grow in the middle.
//!
//! 64 bits decide about a row at the place where it is expected. Elsewhere they must be those of three rows in a row.

use super::keys::BaseKeys;
use crate::error::Result;

/// Base rows by fingerprint, in buckets by its upper bits: filled in two passes, without a step per row that waits for memory.
#[derive(Default)]
struct Table {
    shift: u32,
    /// Where each bucket starts and how many entries it has. Of equal fingerprints the first row counts.
    buckets: Vec<(u32, u32)>,
    entries: Vec<(u64, u64)>,
}

impl Table {
    /// Room for so many rows of each bucket. `None` for more than it can number.
    fn with_counts(shift: u32, counts: &[u32]) -> Option<Self> {
        let mut end = 0u32;
        let mut buckets = Vec::with_capacity(counts.len());
        for count in counts {
            buckets.push((end, 0));
            end = end.checked_add(*count)?;
        }
        Some(Self { shift, buckets, entries: vec![(0, 0); end as usize] })
    }

    fn enter(&mut self, key: u64, row: u64) {
        let Some((start, filled)) = self.buckets.get_mut(bucket(key, self.shift)) else { return };
        let (start, end) = (*start as usize, (*start + *filled) as usize);
        if self.entries[start..end].iter().all(|(other, _)| *other != key) {
            self.entries[end] = (key, row);
            *filled += 1;
        }
    }

    fn find(&self, key: u64) -> Option<u64> {
        let (start, filled) = *self.buckets.get(bucket(key, self.shift))?;
        let entries = &self.entries[start as usize..(start + filled) as usize];
        entries.iter().find(|(other, _)| *other == key).map(|(_, row)| *row)
    }
}

/// Upper bits: lower ones choose which rows are entered.
fn bucket(key: u64, shift: u32) -> usize {
    usize::try_from(key >> shift).unwrap_or(usize::MAX)
}

/// Bytes that one row takes in the table, at most.
const TABLE_ROW_BYTES: u64 = 36;
/// Rows that stand in no order (a table against the lists of an index) are not looked up for ever.
const MISSES_MAX: u64 = 20_000;
const HIT_WORTH: u64 = 64;
/// How far from where it is expected a row is looked for before the table is made.
const NEAR_ROWS: u64 = 64;
/// One row in so many is stored again rather than looked up, before a table of all rows is made.
const STRAYS_SHARE: u64 = 4_096;
/// Rows in a row whose fingerprints must match where nobody expected them.
const RUN_ROWS: usize = 3;

pub struct Aligner {
    keys: BaseKeys,
    /// Base row minus own row, of the last row that was found elsewhere.
    shift: i64,
    table: Option<Table>,
    /// All fingerprints of the base, when there is room for them beside the table.
    all: Vec<u64>,
    /// Look-ups that found nothing, less those that did.
    misses: u64,
    /// Runs that were not looked up in the table because they were few.
    strays: u64,
    memory_bytes: u64,
}

impl Aligner {
    /// `memory_bytes`: budget for the table; a large base is entered in part, and a moved run found some rows late.
    pub fn new(keys: BaseKeys, memory_bytes: u64) -> Self {
        Self { keys, shift: 0, table: None, all: Vec::new(), misses: 0, strays: 0, memory_bytes }
    }

    /// The base's row that row `row` is, when it is not at its own place. `following`: fingerprints of this and the next
    /// rows, as far as these are not at their places either.
    ///
    /// # Errors
    /// Those of reading the base.
    pub fn find(&mut self, row: u64, following: &[u64]) -> Result<Option<u64>> {
        let Some(key) = following.first() else { return Ok(None) };
        if self.shift != 0
            && let Some(there) = row.checked_add_signed(self.shift)
            && self.key(there)? == Some(*key)
        {
            return Ok(Some(there));
        }
        let Some(run) = following.get(..RUN_ROWS).filter(|_| self.misses < MISSES_MAX) else { return Ok(None) };
        let near = self.near(row, run)?;
        let found = match near {
            Some(there) => Some(there),
            None if self.strays * STRAYS_SHARE < self.keys.row_count => {
                // Rows that were changed in place stand together by chance now and then.
                self.strays += 1;
                return Ok(None);
            }
            None => self.far(run)?,
        };
        let Some(there) = found else {
            self.misses += 1;
            return Ok(None);
        };
        self.misses = self.misses.saturating_sub(HIT_WORTH);
        self.shift = i64::try_from(i128::from(there) - i128::from(row)).unwrap_or(0);
        Ok(Some(there))
    }

    /// A few rows before or behind where the row is expected: some were taken out or put in.
    fn near(&mut self, row: u64, run: &[u64]) -> Result<Option<u64>> {
        let Some(expected) = row.checked_add_signed(self.shift) else { return Ok(None) };
        // First all behind it, then all before it: fingerprints are read a page at a time.
        let behind = (1..=NEAR_ROWS).filter_map(|step| expected.checked_add(step));
        let before = (1..=NEAR_ROWS).filter_map(|step| expected.checked_sub(step));
        for there in behind.chain(before) {
            if self.is_run(there, run)? {
                return Ok(Some(there));
            }
        }
        Ok(None)
    }

    fn far(&mut self, run: &[u64]) -> Result<Option<u64>> {
        let Some(there) = run.first().map_or(Ok(None), |key| self.table().map(|table| table.find(*key)))? else {
            return Ok(None);
        };
        Ok(self.is_run(there, run)?.then_some(there))
    }

    fn is_run(&mut self, there: u64, run: &[u64]) -> Result<bool> {
        for (at, key) in (there..).zip(run) {
            if self.key(at)? != Some(*key) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn key(&mut self, row: u64) -> Result<Option<u64>> {
        match usize::try_from(row).ok().and_then(|row| self.all.get(row)) {
            Some(key) => Ok(Some(*key)),
            None => self.keys.get(row),
        }
    }

    /// Made when it is first needed: most sources change in place.
    fn table(&mut self) -> Result<&Table> {
        if self.table.is_none() {
            let rows = self.keys.row_count;
            let step = (rows.saturating_mul(TABLE_ROW_BYTES) / self.memory_bytes.max(1)).saturating_add(1);
            let keeps_all = rows.saturating_mul(8) <= self.memory_bytes;
            let bucket_bits = (rows / step).max(2).ilog2().min(30);
            let shift = u64::BITS - bucket_bits;
            let mut counts = vec![0u32; 1 << bucket_bits];
            self.each_key(step, |aligner, key, _, is_chosen| {
                if keeps_all {
                    aligner.all.push(key);
                }
                if is_chosen {
                    let count = &mut counts[bucket(key, shift)];
                    *count = count.saturating_add(1);
                }
            })?;
            let mut table = Table::with_counts(shift, &counts).unwrap_or_default();
            self.each_key(step, |_, key, row, is_chosen| {
                if is_chosen {
                    table.enter(key, row);
                }
            })?;
            self.table = Some(table);
        }
        Ok(self.table.get_or_insert_default())
    }

    /// Every fingerprint of the base with its row, and whether it is one of those that the table has.
    fn each_key(&mut self, step: u64, mut work: impl FnMut(&mut Self, u64, u64, bool)) -> Result<()> {
        for row in 0..self.keys.row_count {
            let Some(key) = self.key(row)? else { break };
            // Chosen by content, so that a moved row is chosen wherever it stands.
            work(self, key, row, (key & u64::from(u32::MAX)).is_multiple_of(step));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_of_each_fingerprint_is_found_and_no_other() {
        let keys: Vec<u64> = (0..5_000u64).map(|row| (row % 3_000).wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
        for bucket_bits in [1, 7, 13] {
            let shift = u64::BITS - bucket_bits;
            let mut counts = vec![0; 1 << bucket_bits];
            keys.iter().for_each(|key| counts[bucket(*key, shift)] += 1);
            let mut table = Table::with_counts(shift, &counts).unwrap_or_default();
            (0..).zip(&keys).for_each(|(row, key)| table.enter(*key, row));
            for (row, key) in (0u64..).zip(&keys) {
                assert_eq!(table.find(*key), Some(row % 3_000));
                assert_eq!(table.find(key ^ 1), None);
            }
        }
        assert_eq!(Table::default().find(7), None);
    }
}
