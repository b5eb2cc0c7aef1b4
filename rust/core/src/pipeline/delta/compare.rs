//! What a worker does with a chunk that may be in the base: its digest first, then row against row at the same places.

use super::keys::{FingerprintKey, fingerprint, fingerprint_rows};
use super::{Base, Way};
use crate::archive::Entry;
use crate::codec::{self, by_shares};
use crate::error::{Result, to_usize};
use crate::pipeline::cache::{ChunkCache, Patch};
use crate::pipeline::rows::ReadState;
use crate::plan::batch::WHOLE_CHUNK_BYTES_MAX;
use crate::sys;
use std::sync::Arc;

/// Everything a worker must know of one stream. Shared by all jobs of the stream.
pub struct Compare {
    pub base: Option<Base>,
    /// The base's stream and how it is compared; `None` for a stream that the base does not have.
    pub with: Option<(usize, Way)>,
    /// Make a fingerprint of every row, with this key, for the stream of this number.
    pub fingerprints: Option<(FingerprintKey, usize)>,
    /// For telling rows that moved.
    pub key: FingerprintKey,
    /// Whether rows may be found elsewhere in the base.
    pub can_move: bool,
    pub row_bytes: usize,
    pub chunk_rows: u64,
}

/// Rows of fewer bytes are compared by one thread.
const SHARED_BYTES: u64 = 1 << 20;

/// A chunk compared with the base.
pub struct Compared {
    pub stream: usize,
    pub first_row: u64,
    pub rows: u64,
    pub raw_bytes: u64,
    pub digest: [u8; 32],
    /// `None`: the base's chunk has the same digest.
    pub changes: Option<Arc<Changes>>,
}

/// Rows that differ from the base's rows at the same places.
#[derive(Debug, Default)]
pub struct Changes {
    /// Places in the chunk, ascending.
    pub places: Vec<u32>,
    /// Their bytes.
    pub rows: Vec<u8>,
    /// Their fingerprints, when they may be found elsewhere.
    pub keys: Vec<u64>,
}

impl Changes {
    /// Notes which rows of `own` (`width` bytes each, the first at `place`) are not those of `theirs`, which may be shorter.
    fn compare(&mut self, place: usize, width: usize, own: &[u8], theirs: &[u8], threads: usize) {
        let found = by_shares(own.len() / width, threads, |share| {
            let theirs = theirs.get(share.start * width..).unwrap_or_default();
            let theirs = theirs.chunks_exact(width).map(Some).chain(std::iter::repeat(None));
            let own = own[share.start * width..share.end * width].chunks_exact(width);
            let differ =
                (place + share.start..).zip(own.zip(theirs)).filter(|(_, (own, theirs))| *theirs != Some(*own));
            // A chunk has fewer rows than that.
            differ.map(|(place, _)| u32::try_from(place).unwrap_or(u32::MAX)).collect::<Vec<u32>>()
        });
        found.into_iter().for_each(|places| self.places.extend(places));
    }
}

/// Buffers of one worker.
pub struct CompareState {
    read: ReadState,
    base_rows: Vec<u8>,
}

impl CompareState {
    pub fn new(scratch: codec::Scratch, cache: Option<Arc<ChunkCache>>) -> Self {
        Self { read: ReadState::for_parts(scratch, cache), base_rows: Vec::new() }
    }

    pub fn read_state(&mut self) -> &mut ReadState {
        &mut self.read
    }
}

impl Compare {
    pub fn is_by_rows(&self) -> bool {
        self.with.is_some_and(|(_, way)| way == Way::Rows)
    }

    /// Fingerprints of all rows, if they are wanted.
    pub fn fingerprint_all(&self, raw: &[u8], fingerprints: &mut Vec<u8>) {
        if let Some((key, _)) = self.fingerprints {
            fingerprint_rows(&key, self.row_bytes, raw, fingerprints);
        }
    }

    /// The base's entry of this chunk when it has the same digest and a block.
    ///
    /// # Errors
    /// Those of reading the base's index.
    pub fn same_block(&self, first_row: u64, rows: u64, digest: &[u8; 32]) -> Result<Option<Entry>> {
        let (Some(base), Some((stream, _))) = (&self.base, self.with) else { return Ok(None) };
        match self.base_chunk(stream, first_row, rows) {
            Some(chunk) => Ok(base.entry(stream, chunk)?.filter(|entry| entry.digest == *digest)),
            None => Ok(None),
        }
    }

    /// The base's chunk of the same rows.
    fn base_chunk(&self, stream: usize, first_row: u64, rows: u64) -> Option<u64> {
        let stream = self.base.as_ref()?.reader.archive().streams().get(stream)?;
        let chunk = first_row / self.chunk_rows;
        let fits = stream.chunk_rows == self.chunk_rows && chunk < stream.chunk_count;
        (fits && stream.rows_in_chunk(chunk) == rows).then_some(chunk)
    }

    /// The chunk as a patch on the base's chunk of the same number, if that is no longer.
    ///
    /// # Errors
    /// Those of reading the base's index.
    pub fn patch(&self, first_row: u64, raw_bytes: u64, changes: &Arc<Changes>) -> Result<Option<Patch>> {
        let (Some(base), Some((number, _))) = (&self.base, self.with) else { return Ok(None) };
        let Some(stream) = base.reader.archive().streams().get(number) else { return Ok(None) };
        let chunk = first_row / self.chunk_rows;
        if stream.chunk_rows != self.chunk_rows || chunk >= stream.chunk_count || changes.places.is_empty() {
            return Ok(None);
        }
        let base_bytes = stream.chunk_bytes(chunk);
        let digest = base.reader.archive().entry(number, chunk)?.digest;
        let changes = changes.clone();
        Ok((base_bytes <= raw_bytes).then_some(Patch { base: digest, base_bytes, changes }))
    }

    /// Compares a chunk row by row; `fingerprints` gets those of all rows, if they are wanted.
    ///
    /// # Errors
    /// Those of reading the base.
    pub fn rows(
        &self,
        state: &mut CompareState,
        first_row: u64,
        raw: &[u8],
        digest: &[u8; 32],
        fingerprints: &mut Vec<u8>,
    ) -> Result<Option<Changes>> {
        let (Some(base), Some((stream, _))) = (&self.base, self.with) else { return Ok(None) };
        let rows = (raw.len() / self.row_bytes.max(1)) as u64;
        let archive = base.reader.archive();
        let stored = base.fingerprints(stream).filter(|_| self.fingerprints.is_some());
        if let Some(chunk) = self.base_chunk(stream, first_row, rows)
            && archive.entry(stream, chunk)?.digest == *digest
        {
            match (self.fingerprints, stored) {
                (Some(_), Some(stored)) => self.base_rows(base, state, stored, first_row, rows, 8, fingerprints)?,
                (Some(_), None) => self.fingerprint_all(raw, fingerprints),
                (None, _) => {}
            }
            return Ok(None);
        }
        self.fingerprint_all(raw, fingerprints);
        let mut changes = Changes::default();
        match stored {
            Some(stored) => {
                let mut base_rows = std::mem::take(&mut state.base_rows);
                self.base_rows(base, state, stored, first_row, rows, 8, &mut base_rows)?;
                changes.compare(0, 8, fingerprints, &base_rows, 1);
                state.base_rows = base_rows;
            }
            None => self.compare_data(base, state, first_row, raw, &mut changes)?,
        }
        changes.rows.reserve_exact(changes.places.len() * self.row_bytes);
        sys::prefer_huge_pages(changes.rows.spare_capacity_mut());
        for place in &changes.places {
            let start = *place as usize * self.row_bytes;
            let row = &raw[start..start + self.row_bytes];
            changes.rows.extend_from_slice(row);
            if self.can_move {
                changes.keys.push(fingerprint(&self.key, row));
            }
        }
        Ok(Some(changes))
    }

    /// Against the base's rows themselves, chunk by chunk of the base. A large chunk is looked at where it is kept.
    fn compare_data(
        &self,
        base: &Base,
        state: &mut CompareState,
        first_row: u64,
        raw: &[u8],
        changes: &mut Changes,
    ) -> Result<()> {
        let (Some((stream, _)), width) = (self.with, self.row_bytes.max(1)) else { return Ok(()) };
        let Some(description) = base.reader.archive().streams().get(stream) else { return Ok(()) };
        let mut row = first_row;
        let mut rest = raw;
        while !rest.is_empty() {
            let (chunk, inside) = (row / description.chunk_rows, row % description.chunk_rows);
            let left = description.row_count.saturating_sub(row).min(description.chunk_rows - inside);
            let here = left.min((rest.len() / width) as u64);
            let place = to_usize(row - first_row, "row")?;
            if here == 0 {
                // The base has no such rows.
                changes.compare(place, width, rest, &[], 1);
                break;
            }
            let (own, after) = rest.split_at(to_usize(here, "rows")? * width);
            if description.chunk_bytes(chunk) > WHOLE_CHUNK_BYTES_MAX {
                let kept = base.reader.kept_chunk(&mut state.read, stream, chunk)?;
                let threads = state.read.scratch.threads_above(SHARED_BYTES, own.len());
                changes.compare(place, width, own, &kept[to_usize(inside, "row")? * width..], threads);
            } else {
                let mut base_rows = std::mem::take(&mut state.base_rows);
                self.base_rows(base, state, stream, row, here, width, &mut base_rows)?;
                changes.compare(place, width, own, &base_rows, 1);
                state.base_rows = base_rows;
            }
            rest = after;
            row += here;
        }
        Ok(())
    }

    /// Rows `first_row ..` of a stream of the base, as many as there are, into `out` (replaced).
    #[expect(clippy::too_many_arguments, reason = "one place, three callers")]
    fn base_rows(
        &self,
        base: &Base,
        state: &mut CompareState,
        stream: usize,
        first_row: u64,
        rows: u64,
        width: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let row_count = base.reader.archive().streams().get(stream).map_or(0, |stream| stream.row_count);
        let there = rows.min(row_count.saturating_sub(first_row));
        out.resize(to_usize(there, "rows")?.saturating_mul(width), 0);
        if there == 0 {
            return Ok(());
        }
        base.reader.read_rows(&mut state.read, stream, first_row, out)
    }
}
