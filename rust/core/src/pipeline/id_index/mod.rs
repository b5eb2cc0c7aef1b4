//! The sorted index of ids (spec 8.3): in which rows an id is, without the ids being read.

mod build;
mod check;
mod find;
mod runs;

pub use build::write;
pub use check::check;
pub use find::{find, has_index};

use super::delta::Base;
use crate::limits::ID_CHUNK_ROWS_MAX;
use crate::stream::{ElementType, StreamRole, StreamSpec};

/// Rows of a chunk: some 50 KiB stored, so that a look-up reads little.
const CHUNK_ROWS: u64 = 16_384;
const FENCE_CHUNK_ROWS: u64 = 65_536;
/// In `changes`: no row has the id any more.
const GONE: u64 = u64::MAX;

/// Which streams of ids get an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdIndex {
    /// Those that have one in the base (default).
    AsBase,
    Off,
    /// Those with more rows than this, and those that have one in the base.
    Above(u64),
}

/// Fewer ids are one block, which is read as quickly as an index.
pub const ROWS_MIN_DEFAULT: u64 = ID_CHUNK_ROWS_MAX;

impl IdIndex {
    /// Whether rows of ids must be kept for it.
    pub fn is_wanted(self, base: Option<&Base>) -> bool {
        let has_one = |base: &Base| base.reader.archive().streams().iter().any(|one| one.role == StreamRole::ID_INDEX);
        match self {
            Self::Off => false,
            Self::Above(_) => true,
            Self::AsBase => base.is_some_and(has_one),
        }
    }
}

/// Rows of a chunk of ids, or of the list sizes that say where its lists begin, as they were packed.
pub struct KeptChunk {
    pub first_row: u64,
    pub digest: [u8; 32],
    pub bytes: Vec<u8>,
}

/// Words of the streams of an index.
const RUN: &str = "";
const CHANGES: &str = "changes.";

fn name_of(ids: &str, run: &str, word: &str) -> String {
    format!("{ids}//id_index.{run}{word}")
}

fn spec_of(ids: &str, run: &str, word: &str) -> StreamSpec {
    StreamSpec::new(name_of(ids, run, word), StreamRole::ID_INDEX, ElementType::U64, 1)
}

/// An id as the index compares it: its bits, those of a signed type extended by its sign.
pub(crate) fn key_of(element_type: ElementType, bytes: &[u8]) -> u64 {
    let value = super::member::little_endian(bytes);
    let unused = 64 - 8 * element_type.bytes().min(8);
    if element_type.is_signed() { ((value << unused).cast_signed() >> unused).cast_unsigned() } else { value }
}

/// The stream by whose name an index is reported.
pub fn keys_name(ids: &str) -> String {
    name_of(ids, RUN, "keys")
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|number| u64::from_le_bytes(*number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_narrow_types_are_extended_as_they_are_signed() {
        assert_eq!(key_of(ElementType::I64, &(-3i64).to_le_bytes()), u64::MAX - 2);
        assert_eq!(key_of(ElementType::I32, &(-3i32).to_le_bytes()), u64::MAX - 2);
        assert_eq!(key_of(ElementType::U32, &u32::MAX.to_le_bytes()), u64::from(u32::MAX));
        assert_eq!(key_of(ElementType::I8, &[0x80]), u64::MAX - 127);
        assert_eq!(key_of(ElementType::U64, &u64::MAX.to_le_bytes()), u64::MAX);
    }
}
