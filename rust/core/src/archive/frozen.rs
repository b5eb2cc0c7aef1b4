//! The numbers of format 1.0. NEVER change one: archives that people hold depend on them.
//!
//! A new version adds constants beside these. Sizes of tables are in `limits`; the test below pins them too.

pub const HEADER_MAGIC: [u8; 8] = *b"\x89VARK\r\n\x1a";
/// The header's, reversed.
pub const TRAILER_MAGIC: [u8; 8] = *b"\x1a\n\rKRAV\x89";
pub const DIRECTORY_MAGIC: [u8; 8] = *b"VARK-DIR";

pub const VERSION_MAJOR: u16 = 1;
pub const VERSION_MINOR: u16 = 0;

/// Version 1.1: what a delta has; everything else is still written as 1.0.
pub const VERSION_MINOR_DELTA: u16 = 1;
/// Version 1.2: what a sealed archive has.
pub const VERSION_MINOR_SEALED: u16 = 2;

/// Sealed (spec `CRYPTO.md`, 5).
pub const INCOMPAT_SEALED: u64 = 1 << 0;

/// Entries may point into ancestors (spec 5.3).
pub const INCOMPAT_DELTA: u64 = 1 << 1;
/// Streams of the sorted index of ids may be there (spec 8.3).
pub const COMPAT_ID_INDEX: u64 = 1;
/// Incompat bits that this reader understands.
pub const INCOMPAT_KNOWN: u64 = INCOMPAT_SEALED | INCOMPAT_DELTA;

/// An entry of the public index table (CRC-64) and of the sealable one (BLAKE3).
pub const BLOCK_CRC_BYTES: usize = 8;
pub const DIGEST_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    /// If this test fails, the change is wrong, not the test: never change these numbers.
    #[test]
    fn numbers_on_disk_never_change() {
        assert_eq!(HEADER_MAGIC, [0x89, 0x56, 0x41, 0x52, 0x4B, 0x0D, 0x0A, 0x1A]);
        assert_eq!(TRAILER_MAGIC, [0x1A, 0x0A, 0x0D, 0x4B, 0x52, 0x41, 0x56, 0x89]);
        assert_eq!(DIRECTORY_MAGIC, [0x56, 0x41, 0x52, 0x4B, 0x2D, 0x44, 0x49, 0x52]);
        assert_eq!((VERSION_MAJOR, VERSION_MINOR, VERSION_MINOR_DELTA, INCOMPAT_DELTA), (1, 0, 1, 2));
        assert_eq!((VERSION_MINOR_SEALED, INCOMPAT_SEALED), (2, 1));
        assert_eq!((limits::SEALED_OVERHEAD_BYTES, limits::SEAL_RECORD_BYTES), (16, 96));
        assert_eq!((limits::ANCESTOR_SEAL_BYTES, limits::WRAPPED_ROOT_BYTES, limits::SALT_BYTES), (40, 80, 32));
        assert_eq!((limits::ANCESTORS_MAX, limits::PART_ROW_BITS), (255, 48));
        assert_eq!((limits::HEADER_BYTES, limits::TRAILER_BYTES, limits::SMALLEST_ARCHIVE_BYTES), (64, 128, 192));
        assert_eq!((limits::TAIL_BYTES, limits::BLOCK_ALIGNMENT, limits::BLOCK_OVERHEAD_MAX), (65_536, 64, 64));
        assert_eq!((limits::PUBLIC_ENTRY_BYTES, limits::SEALED_ENTRY_BYTES, limits::ENTRY_BYTES), (24, 48, 72));
        assert_eq!((limits::DIRECTORY_HEADER_BYTES, limits::STREAM_RECORD_BYTES), (64, 80));
        assert_eq!((limits::ANCESTOR_RECORD_BYTES, BLOCK_CRC_BYTES, DIGEST_BYTES), (64, 8, 32));
        assert_eq!((limits::ENTRIES_PER_BLOCK_MAX, limits::STREAMS_MAX), (3_640, 256));
        assert_eq!((limits::STREAM_NAME_BYTES_MAX, limits::JSON_DEPTH_MAX), (255, 32));
        assert_eq!((limits::CHUNK_BYTES_MAX, limits::PLAN_BYTES_MAX), (268_435_456, 16_777_216));
    }
}
