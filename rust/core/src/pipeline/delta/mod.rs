//! Deltas by row: a source is compared with an archive of an earlier state, and only rows that are new are stored
//! (spec 5.3). Nothing here decides what is restored: the digests of the source's own chunks do.

mod align;
pub mod compare;
mod keys;
pub mod pack;
pub mod stream;

pub use compare::{Compare, Compared};
pub use keys::FingerprintKey;
pub use stream::DeltaStream;

use super::rows::{ReadState, RowReader};
use crate::archive::{Ancestor, Entry};
use crate::codec::{LinkOrder, map};
use crate::error::{Error, ErrorKind, Result, to_usize};
use crate::stream::{ElementType, StreamDescription, StreamRole, StreamSpec};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a new archive is compared with.
#[derive(Clone)]
pub struct Base {
    pub reader: Arc<RowReader>,
    /// Of the repository: fingerprints made with another one would all differ.
    pub key: Option<FingerprintKey>,
}

/// The metadata's word on whose key fingerprints were made with (spec 8).
pub const FINGERPRINTS: &str = "fingerprints";
pub const OWN: &str = "own";

/// How a stream of the new archive is told from that of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Chunk by chunk: an equal one is pointed to, another one stored.
    Chunks,
    /// Row by row: what is new goes into a part of its own.
    Rows,
}

/// Rows this wide have a fingerprint each; others are compared with the base's data.
pub const FINGERPRINT_ROW_BYTES_MIN: u32 = 256;
/// Below this a stream is not worth a map.
const ROWS_BYTES_MIN: u64 = 65_536;
/// Rows of fewer bytes are compared by chunk.
const ROW_BYTES_MIN: u32 = 4;
/// Rows that cost the base less than this many bits each are coded anew rather than mapped.
const STORED_BITS_MIN: u64 = 4;
/// When the parts hold so many rows more than the stream has (in percent), it is stored whole again.
const SPARE_ROWS_PERCENT_MAX: u64 = 50;
/// Rows of a map that are looked at together.
const MAP_WINDOW_ROWS: usize = 65_536;
/// Parts of one stream.
const PARTS_MAX: usize = 60;

impl Base {
    /// Every archive that a delta on this base may point into: the base and what it points into itself.
    pub fn ancestors(&self) -> Vec<Ancestor> {
        let archive = self.reader.archive();
        let own = Ancestor { id: archive.id(), archive_bytes: archive.archive_bytes(), root: archive.root() };
        std::iter::once(own).chain(archive.ancestors().iter().copied()).collect()
    }

    /// The entry of a chunk of the base as a delta on it says it; `None` for a mapped one.
    ///
    /// # Errors
    /// Those of reading the base's index.
    pub fn entry(&self, stream: usize, chunk: u64) -> Result<Option<Entry>> {
        let archive = self.reader.archive();
        let entry = archive.entry(stream, chunk)?;
        let (sealed_stream, sealed_chunk) = match entry.archive {
            // At most STREAMS_MAX.
            0 if archive.is_sealed() => (u16::try_from(stream).unwrap_or(u16::MAX), chunk),
            _ => (entry.sealed_stream, entry.sealed_chunk),
        };
        let pointer = Entry { archive: entry.archive + 1, sealed_stream, sealed_chunk, ..entry };
        Ok((!entry.is_mapped()).then_some(pointer))
    }

    /// The base's stream that is to be compared with one of this shape, and how.
    ///
    /// # Errors
    /// Those of reading the base's map.
    pub fn find(&self, spec: &StreamSpec) -> Result<Option<(usize, Way)>> {
        let Some((number, stream)) = self.same_stream(spec) else { return Ok(None) };
        Ok(Some((number, self.way(number, stream)?)))
    }

    /// The stream of the same name and shape.
    pub fn same_stream(&self, spec: &StreamSpec) -> Option<(usize, &StreamDescription)> {
        let archive = self.reader.archive();
        let number = archive.stream_index(&spec.name)?;
        let stream = archive.streams().get(number)?;
        let same = (stream.role, stream.element_type, stream.row_elements)
            == (spec.role, spec.element_type, spec.row_elements);
        if !same || matches!(stream.role, StreamRole::PART | StreamRole::MAP) {
            return None;
        }
        Some((number, stream))
    }

    fn way(&self, number: usize, stream: &StreamDescription) -> Result<Way> {
        let is_text = stream.element_type == ElementType::U8 && stream.row_elements == 1
            || matches!(stream.role, StreamRole::PLAN | StreamRole::DOCUMENT | StreamRole::PROBE);
        if !self.reader.archive().has_rows(number) && self.fingerprints(number).is_none() {
            return Ok(Way::Chunks);
        }
        if is_text || stream.row_bytes < ROW_BYTES_MIN || stream.raw_bytes() < ROWS_BYTES_MIN {
            return Ok(Way::Chunks);
        }
        let streams = self.reader.archive().streams();
        match self.reader.archive().mapping(number) {
            Some(mapping) => {
                let kept = self.kept_parts(number)?;
                let rows = kept.iter().filter_map(|part| streams.get(*mapping.parts.get(part)?));
                let rows = rows.map(|part| part.row_count).fold(0, u64::saturating_add);
                let is_worn = kept.len() >= PARTS_MAX || is_worn(rows, stream.row_count);
                Ok(if is_worn { Way::Chunks } else { Way::Rows })
            }
            None => {
                let sample = self.reader.archive().entry(number, 0).map_or(0, |entry| u64::from(entry.stored_bytes));
                let rows = stream.rows_in_chunk(0).max(1);
                let is_cheap = sample.saturating_mul(8) < rows.saturating_mul(STORED_BITS_MIN);
                Ok(if is_cheap { Way::Chunks } else { Way::Rows })
            }
        }
    }

    /// The parts of a mapped stream that a delta takes over: all of them, or those that the map still names (and what these
    /// are coded against) when together they have many rows more than the stream.
    ///
    /// # Errors
    /// Those of reading the map.
    pub fn kept_parts(&self, number: usize) -> Result<BTreeSet<u16>> {
        let archive = self.reader.archive();
        let (Some(mapping), Some(stream)) = (archive.mapping(number), archive.streams().get(number)) else {
            return Ok(BTreeSet::new());
        };
        let part_of = |part: &u16| mapping.parts.get(part).and_then(|part| archive.streams().get(*part));
        let rows = mapping.parts.keys().filter_map(part_of).map(|part| part.row_count).fold(0, u64::saturating_add);
        if mapping.parts.len() < PARTS_MAX && !is_worn(rows, stream.row_count) {
            return Ok(mapping.parts.keys().copied().collect());
        }
        let mut named = BTreeSet::new();
        let mut state = ReadState::default();
        let mut values = vec![0; MAP_WINDOW_ROWS * 8];
        let mut row = 0;
        while row < stream.row_count {
            let rows = (stream.row_count - row).min(MAP_WINDOW_ROWS as u64);
            values.truncate(to_usize(rows * 8, "map")?);
            self.reader.read_rows(&mut state, mapping.map, row, &mut values)?;
            named.extend(values.as_chunks::<8>().0.iter().map(|value| map::split(u64::from_le_bytes(*value)).0));
            row += rows;
        }
        let bases: Vec<u16> = named.iter().filter_map(part_of).map(|part| part.part.base).collect();
        named.extend(bases);
        named.remove(&0);
        Ok(named)
    }

    /// The base's fingerprints of a stream, if it has them and they were made with this key.
    pub fn fingerprints(&self, stream: usize) -> Option<usize> {
        let archive = self.reader.archive();
        let owner = archive.streams().get(stream)?;
        let number = archive.stream_index(&fingerprints_of(&owner.name))?;
        let found = archive.streams().get(number)?;
        let fits = (found.role, found.element_type, found.row_elements, found.row_count)
            == (StreamRole::FINGERPRINTS, ElementType::U64, 1, owner.row_count);
        (fits && self.key.is_some()).then_some(number)
    }

    /// The same with the key that its fingerprints were made with: none where only a write-only writer has that (spec 8).
    #[must_use]
    pub fn with_key(self, key: Option<FingerprintKey>) -> Self {
        let is_own = self.metadata().is_some_and(|metadata| metadata.get(FINGERPRINTS) == Some(&OWN.into()));
        let is_readers = !is_own || self.reader.archive().is_shadow();
        Self { key: key.filter(|_| is_readers), ..self }
    }

    fn metadata(&self) -> Option<serde_json::Value> {
        serde_json::from_str(self.reader.archive().metadata()).ok()
    }

    /// # Errors
    /// `InvalidArgument` when the archive cannot be the base of such a delta.
    pub fn check(&self, order: LinkOrder) -> Result<()> {
        let metadata = self.metadata();
        let found = metadata.as_ref().and_then(|metadata| metadata.get("source")?.get("order")?.as_str());
        let is_canonical = found == Some("canonical");
        if is_canonical == (order == LinkOrder::Canonical) {
            return Ok(());
        }
        let detail = "one of base and delta is in canonical order; ask for the order that the base has";
        Err(Error::new(ErrorKind::InvalidArgument, "base", detail))
    }
}

fn is_worn(part_rows: u64, row_count: u64) -> bool {
    let spare = part_rows.saturating_sub(row_count);
    spare.saturating_mul(100) > row_count.saturating_mul(SPARE_ROWS_PERCENT_MAX)
}

/// Name of the stream of fingerprints of a stream (spec 8.2).
pub fn fingerprints_of(name: &str) -> String {
    format!("{name}//fingerprints")
}
