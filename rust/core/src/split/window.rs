//! A buffered view that slides over a `ReadAt`: small reads at rising offsets cost one large read each 256 KiB, and nothing
//! where the source is memory.

use crate::error::{Error, Result};
use crate::store::ReadAt;

/// Largest slice that `get` hands out; the only memory a parser takes for data.
pub(super) const WINDOW_BYTES: usize = 262_144;

pub(super) struct Window<'a> {
    source: &'a dyn ReadAt,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
    /// From `start` on, instead of `bytes`.
    lent: Option<&'a [u8]>,
}

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a dyn ReadAt) -> Self {
        Self { source, length: source.byte_count(), start: 0, bytes: Vec::new(), lent: None }
    }

    pub(super) fn source(&self) -> &'a dyn ReadAt {
        self.source
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// `byte_count` bytes from `offset`; at most `WINDOW_BYTES`.
    pub(super) fn get(&mut self, offset: u64, byte_count: usize) -> Result<&[u8]> {
        Ok(&self.at_least(offset, byte_count)?[..byte_count])
    }

    /// The buffered bytes from `offset` on, at least `byte_count` of them.
    pub(super) fn at_least(&mut self, offset: u64, byte_count: usize) -> Result<&[u8]> {
        let skip = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let held = self.lent.map_or(self.bytes.len(), <[u8]>::len);
        if let Some(skip) = skip.filter(|skip| skip.saturating_add(byte_count) <= held) {
            return Ok(&self.lent.unwrap_or(&self.bytes)[skip..]);
        }
        let left = self.length.saturating_sub(offset);
        if byte_count > WINDOW_BYTES || byte_count as u64 > left {
            return Err(Error::malformed(
                format!("byte {offset}"),
                format!("expected {byte_count} more bytes; found {left}"),
            ));
        }
        self.lent = self.source.lend(offset);
        if let Some(lent) = self.lent.filter(|lent| lent.len() >= byte_count) {
            self.start = offset;
            return Ok(lent);
        }
        // Across a seam between two pieces of memory only what was asked for is copied.
        let fill = usize::try_from(left).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
        self.bytes.resize(if self.lent.take().is_some() { byte_count } else { fill }, 0);
        if let Err(error) = self.source.read_at(offset, &mut self.bytes) {
            self.bytes.clear();
            return Err(error);
        }
        self.start = offset;
        Ok(&self.bytes)
    }
}

/// The unsigned little-endian number of `width` (1, 2, 4 or 8) bytes at `bytes[at..]`.
#[inline]
pub(super) fn unsigned(bytes: &[u8], at: usize, width: usize) -> u64 {
    let mut raw = [0u8; 8];
    match width {
        1 => raw[0] = bytes[at],
        2 => raw[..2].copy_from_slice(&bytes[at..at + 2]),
        4 => raw[..4].copy_from_slice(&bytes[at..at + 4]),
        _ => raw.copy_from_slice(&bytes[at..at + 8]),
    }
    u64::from_le_bytes(raw)
}

/// Calls `visit` with slices of whole rows that cover `row_count` rows of `row_bytes` from `offset` on.
/// `row_bytes` is 1 to `WINDOW_BYTES`; the range must have been checked against the length.
pub(super) fn visit_rows(
    window: &mut Window<'_>,
    offset: u64,
    row_bytes: usize,
    row_count: u64,
    mut visit: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let slab_rows = (WINDOW_BYTES / row_bytes).max(1);
    let (mut offset, mut left) = (offset, row_count);
    while left > 0 {
        let rows = usize::try_from(left).map_or(slab_rows, |left| left.min(slab_rows));
        let byte_count = rows * row_bytes;
        visit(window.get(offset, byte_count)?)?;
        offset += byte_count as u64;
        left -= rows as u64;
    }
    Ok(())
}
