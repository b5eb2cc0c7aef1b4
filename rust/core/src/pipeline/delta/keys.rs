//! Keyed fingerprints of rows (spec 8.2), and those of a base: stored for wide rows, made from its data for others.

use super::Base;
use crate::error::{Result, to_usize};
use crate::pipeline::rows::ReadState;
use highway::{HighwayHash, HighwayHasher, Key};

/// Whoever does not know it cannot make two rows that look alike.
#[derive(Clone, Copy)]
pub struct FingerprintKey(pub [u8; 32]);

/// HighwayHash-64 of one row.
pub fn fingerprint(key: &FingerprintKey, row: &[u8]) -> u64 {
    let mut words = [0u64; 4];
    words.iter_mut().zip(key.0.as_chunks::<8>().0).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
    HighwayHasher::new(Key(words)).hash64(row)
}

/// The fingerprint of every row, as little-endian bytes appended to `out`.
pub fn fingerprint_rows(key: &FingerprintKey, row_bytes: usize, rows: &[u8], out: &mut Vec<u8>) {
    let rows = rows.chunks_exact(row_bytes.max(1));
    let start = out.len();
    out.resize(start + 8 * rows.len(), 0);
    out[start..]
        .as_chunks_mut()
        .0
        .iter_mut()
        .zip(rows)
        .for_each(|(out, row)| *out = fingerprint(key, row).to_le_bytes());
}

const PAGE_ROWS: u64 = 8_192;

/// Fingerprints of a base's rows by number, a page at a time.
pub struct BaseKeys {
    base: Base,
    stream: usize,
    /// Stored ones; else they are made of the rows.
    stored: Option<usize>,
    key: FingerprintKey,
    pub row_count: u64,
    row_bytes: u64,
    state: ReadState,
    first: u64,
    page: Vec<u64>,
}

impl BaseKeys {
    pub fn new(base: &Base, stream: usize, key: FingerprintKey) -> Self {
        let description = base.reader.archive().streams().get(stream);
        Self {
            base: base.clone(),
            stream,
            stored: base.fingerprints(stream),
            key,
            row_count: description.map_or(0, |stream| stream.row_count),
            row_bytes: description.map_or(1, |stream| u64::from(stream.row_bytes)),
            state: ReadState::default(),
            first: 0,
            page: Vec::new(),
        }
    }

    /// `None` past the end.
    ///
    /// # Errors
    /// Those of reading the base.
    pub fn get(&mut self, row: u64) -> Result<Option<u64>> {
        if row >= self.row_count {
            return Ok(None);
        }
        let inside = row.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(key) = inside.and_then(|at| self.page.get(at)) {
            return Ok(Some(*key));
        }
        self.first = row - row % PAGE_ROWS;
        let rows = PAGE_ROWS.min(self.row_count - self.first);
        let stream = self.stored.unwrap_or(self.stream);
        let width = if self.stored.is_some() { 8 } else { self.row_bytes };
        let mut bytes = vec![0; to_usize(rows.saturating_mul(width), "page")?];
        self.page.clear();
        self.base.reader.read_rows(&mut self.state, stream, self.first, &mut bytes)?;
        if self.stored.is_some() {
            self.page.extend(bytes.as_chunks::<8>().0.iter().map(|key| u64::from_le_bytes(*key)));
        } else {
            let width = to_usize(width, "row")?;
            self.page.extend(bytes.chunks_exact(width).map(|row| fingerprint(&self.key, row)));
        }
        Ok(usize::try_from(row - self.first).ok().and_then(|at| self.page.get(at)).copied())
    }
}
