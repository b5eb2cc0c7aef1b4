//! The archive format (spec, sections 1 to 7 and 9): tables in, tables out.
//!
//! Decodes no block and does no I/O of its own: the writer hands out bytes, the reader asks through `ReadAt`.
//! Every parser here works on a plain slice, so each can be fuzzed alone.

mod directory;
mod frozen;
mod header;
mod index;
pub mod layout;
pub mod metadata;
mod parts;
mod reader;
mod seal_record;
mod sealing;
pub mod shadow;
mod tables;
#[cfg(test)]
mod tests;
mod trailer;
mod writer;

use std::fmt;

use crate::limits::SEALED_OVERHEAD_BYTES;

pub use directory::IndexBlock;
pub use parts::Mapping;
pub use reader::{Archive, check_block};
pub use seal_record::{Root, SealRecord, SealSource};
pub use sealing::{KeySource, NoKeys, Sealing};
pub use tables::Tables;
pub use writer::{ArchiveWriter, Finished, Placement};

/// A UUID version 7: creation time and randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArchiveId(pub [u8; 16]);

impl ArchiveId {
    /// An id of this moment.
    #[expect(clippy::new_without_default, reason = "each call gives another id; a default would hide that")]
    pub fn new() -> Self {
        Self(uuid::Uuid::now_v7().into_bytes())
    }

    /// Milliseconds since 1970, UTC, from the first 48 bits.
    pub fn created_unix_ms(&self) -> u64 {
        self.0.iter().take(6).fold(0, |time, &byte| (time << 8) | u64::from(byte))
    }
}

/// The usual form of a UUID: `0190163d-8694-739b-aea5-966c26f8ad91`.
impl fmt::Display for ArchiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

/// What the index says of one chunk (spec 6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry {
    /// 0: this archive; else 1 + the number of an ancestor.
    pub archive: u16,
    pub offset: u64,
    pub stored_bytes: u32,
    /// CRC-64 of the block as stored.
    pub block_crc: u64,
    /// BLAKE3 of the chunk's logical bytes.
    pub digest: [u8; 32],
    /// The number on disk; one that is unknown is the caller's matter.
    pub codec: u16,
    /// Of a block in a sealed ancestor: the stream and chunk that it was sealed as. Else 0.
    pub sealed_stream: u16,
    pub sealed_chunk: u64,
}

/// The codec of chunks that have no block but a map (spec 5.3).
pub const MAPPED: u16 = 32;
/// Codecs whose blocks refer to a base part.
pub const BASED: [u16; 2] = [34, 35];

impl Archive {
    /// Bytes of the archive and of the ancestors that it was given: of others it only says how large they are.
    pub fn bytes_at_hand(&self) -> u64 {
        let ancestors = self.ancestors.iter().flatten().map(|source| source.byte_count());
        ancestors.fold(self.archive_bytes(), u64::saturating_add)
    }
}

impl Entry {
    /// Of a chunk that is put together from parts.
    pub fn mapped(digest: [u8; 32]) -> Self {
        Self { digest, codec: MAPPED, ..Self::default() }
    }

    /// A chunk that is put together from parts: nothing but its digest is known. (A block is never empty.)
    pub fn is_mapped(&self) -> bool {
        self.codec == MAPPED && self.stored_bytes == 0
    }
}

/// An archive into which entries point (spec 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ancestor {
    pub id: ArchiveId,
    pub archive_bytes: u64,
    pub root: [u8; 32],
}

/// What header and trailer share: version, feature words, id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub version_major: u16,
    pub version_minor: u16,
    pub incompat: u64,
    pub ro_compat: u64,
    pub compat: u64,
    pub id: ArchiveId,
}

impl Identity {
    pub fn is_delta(&self) -> bool {
        self.incompat & frozen::INCOMPAT_DELTA != 0
    }

    pub fn is_sealed(&self) -> bool {
        self.incompat & frozen::INCOMPAT_SEALED != 0
    }

    /// What sealing adds to each sealed part.
    pub fn overhead(&self) -> u64 {
        if self.is_sealed() { SEALED_OVERHEAD_BYTES as u64 } else { 0 }
    }

    /// The same of an archive that is sealed.
    pub fn sealed(self) -> Self {
        let incompat = self.incompat | frozen::INCOMPAT_SEALED;
        Self { version_minor: frozen::VERSION_MINOR_SEALED, incompat, ..self }
    }

    /// What a writer puts down for an archive with ancestors.
    pub fn delta(id: ArchiveId) -> Self {
        Self { version_minor: frozen::VERSION_MINOR_DELTA, incompat: frozen::INCOMPAT_DELTA, ..Self::current(id) }
    }

    /// What a writer puts down for an archive that stands alone.
    pub fn current(id: ArchiveId) -> Self {
        Self {
            version_major: frozen::VERSION_MAJOR,
            version_minor: frozen::VERSION_MINOR,
            incompat: 0,
            ro_compat: 0,
            compat: 0,
            id,
        }
    }
}
