//! Rows that are not where the base had them: after a removal all later rows stand elsewhere, and lists grow in the middle.
//!
//! 64 bits decide about a row at the place where it is expected. Elsewhere they must be those of three rows in a row.

use super::keys::BaseKeys;
use crate::error::Result;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Fingerprints are as good as hashed.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type Table = HashMap<u64, u64, BuildHasherDefault<AsIs>>;

/// Bytes that one row takes in the table, about.
const TABLE_ROW_BYTES: u64 = 36;
/// Rows that stand in no order (a table against the lists of an index) are not looked up for ever.
const MISSES_MAX: u64 = 20_000;
const HIT_WORTH: u64 = 64;
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
    memory_bytes: u64,
}

impl Aligner {
    /// `memory_bytes`: budget for the table; a large base is entered in part, and a moved run found some rows late.
    pub fn new(keys: BaseKeys, memory_bytes: u64) -> Self {
        Self { keys, shift: 0, table: None, all: Vec::new(), misses: 0, memory_bytes }
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
        let Some(there) = self.table()?.get(key).copied() else { return Ok(None) };
        for (at, key) in (there..).zip(run) {
            if self.key(at)? != Some(*key) {
                self.misses += 1;
                return Ok(None);
            }
        }
        self.misses = self.misses.saturating_sub(HIT_WORTH);
        self.shift = i64::try_from(i128::from(there) - i128::from(row)).unwrap_or(0);
        Ok(Some(there))
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
            let step =
                (self.keys.row_count.saturating_mul(TABLE_ROW_BYTES) / self.memory_bytes.max(1)).saturating_add(1);
            let capacity = usize::try_from(self.keys.row_count / step).unwrap_or(0);
            let mut table = Table::with_capacity_and_hasher(capacity, BuildHasherDefault::default());
            let keeps_all = self.keys.row_count.saturating_mul(8) <= self.memory_bytes;
            for row in 0..self.keys.row_count {
                let Some(key) = self.keys.get(row)? else { break };
                if keeps_all {
                    self.all.push(key);
                }
                // Chosen by content, so that a moved row is chosen wherever it stands.
                if (key >> 32).is_multiple_of(step) {
                    table.entry(key).or_insert(row);
                }
            }
            self.table = Some(table);
        }
        Ok(self.table.get_or_insert_default())
    }
}
