//! Every ceiling, with its reason. `spec/LIMITS.md` says the same and a test compares the two.

/// One read of this many bytes from the end opens any archive.
pub const TAIL_BYTES: u64 = 65_536;
pub const HEADER_BYTES: usize = 64;
pub const TRAILER_BYTES: usize = 128;
pub const SMALLEST_ARCHIVE_BYTES: u64 = 192;

/// Blocks start at cache lines, so a raw block can be used in place.
pub const BLOCK_ALIGNMENT: u64 = 64;
/// An index block stays below 256 KiB: the second read of a row look-up.
pub const ENTRIES_PER_BLOCK_MAX: u32 = 3_640;
pub const ENTRIES_PER_BLOCK_DEFAULT: u32 = 3_584;
pub const PUBLIC_ENTRY_BYTES: usize = 24;
pub const SEALED_ENTRY_BYTES: usize = 48;
pub const ENTRY_BYTES: usize = PUBLIC_ENTRY_BYTES + SEALED_ENTRY_BYTES;

pub const DIRECTORY_HEADER_BYTES: usize = 64;
pub const STREAM_RECORD_BYTES: usize = 80;
pub const ANCESTOR_RECORD_BYTES: usize = 64;
/// Their numbers fit beside the streams in the tail; a chain ends long before.
pub const ANCESTORS_MAX: usize = 255;
/// Rows of a map are 48 bits: what is above them is the number of a part.
pub const PART_ROW_BITS: u32 = 48;
/// With 512 index blocks and these names the directory still fits the tail.
pub const STREAMS_MAX: usize = 256;
pub const STREAM_NAME_BYTES_MAX: usize = 255;
/// What is left of the tail for the JSON metadata in the largest archive.
pub const METADATA_BYTES_MAX: usize = 8_192;
pub const JSON_DEPTH_MAX: usize = 32;
/// A plan of 65,536 files stays well below; more would let a small text ask for much memory.
pub const JSON_VALUES_MAX: usize = 2_097_152;

/// A reader holds one chunk at a time; a link partition of 2^19 nodes at M = 64 needs this much.
pub const CHUNK_BYTES_MAX: u64 = 268_435_456;
/// Raw, coded and hashed bytes of one chunk stay in a 1 MiB L2 cache.
pub const CHUNK_BYTES_DEFAULT: u64 = 524_288;
/// Above this many chunks in a stream the writer doubles the chunk, so that the index stays small.
pub const CHUNKS_PER_STREAM_SOFT_MAX: u64 = 131_072;
/// Links that go both ways are stored once inside a chunk: the fewer partitions the better, the more memory.
pub const PARTITION_ROWS_MAX: u64 = 524_288;
/// 2^19 nodes at M = 16; coding needs some four times as much.
pub const PARTITION_BYTES_MAX: u64 = 75_497_472;
/// Shorter rows are no lists of links.
pub const PARTITION_ROW_BYTES_MIN: u64 = 16;
/// The ids of inverted lists cost the bits of a list number while they are all in one chunk.
pub const ID_CHUNK_ROWS_MAX: u64 = 4_194_304;
/// Above this many chunks in all streams the writer doubles theirs, too: the index fits the tail beside many streams.
pub const CHUNKS_SOFT_MAX: u64 = 1_048_576;
/// A block may exceed its chunk by a codec header, never by more.
pub const BLOCK_OVERHEAD_MAX: u64 = 64;

/// The tag of either suite.
pub const SEALED_OVERHEAD_BYTES: usize = 16;
/// What every seal record has; key slots and ancestor seals follow.
pub const SEAL_RECORD_BYTES: usize = 96;
/// Share, key and tag.
pub const WRAPPED_ROOT_BYTES: usize = 80;
pub const ANCESTOR_SEAL_BYTES: usize = 40;
pub const SALT_BYTES: usize = 32;
/// Bytes sealed under one salt (`spec/CRYPTO.md`, 4.2).
pub const SEALED_BYTES_MAX: u64 = 1 << 44;
pub const SLOTS_MAX: usize = 64;
/// Key slots of a single archive are in the tail.
pub const SLOTS_BYTES_MAX: usize = 16_384;
/// An age file of one stanza has some 330.
pub const WRAPPED_KEY_CHARS_MAX: usize = 4_096;
/// A keyring or key slot of a repository; as every record of one.
pub const KEY_OBJECT_BYTES_MAX: usize = 1_048_576;
/// Each epoch is one rotation.
pub const EPOCHS_MAX: usize = 4_096;
pub const ENDORSEMENTS_MAX: usize = 1_024;
pub const SIGNERS_MAX: usize = 1_024;
pub const SIGNER_FILE_BYTES_MAX: usize = 65_536;
/// Longer input is a mistaken file.
pub const PASSPHRASE_BYTES_MAX: usize = 1_024;
pub const IDENTITY_FILE_BYTES_MAX: usize = 65_536;
/// A hostile slot must exhaust neither memory nor time nor threads.
pub const ARGON2_MEMORY_KIB_MIN: u32 = 8_192;
pub const ARGON2_MEMORY_KIB_MAX: u32 = 4_194_304;
pub const ARGON2_MEMORY_KIB_DEFAULT: u32 = 262_144;
pub const ARGON2_PASSES_MAX: u32 = 64;
pub const ARGON2_LANES_MAX: u32 = 16;
/// Memory in KiB times passes: some ten seconds.
pub const ARGON2_WORK_MAX: u64 = 16_777_216;
/// Argon2id runs of one opening.
pub const PASSPHRASE_SLOTS_TRIED_MAX: usize = 8;

pub const PLAN_BYTES_MAX: u64 = 16_777_216;
pub const MEMBERS_MAX: usize = 65_536;
pub const RUNS_MAX: usize = 1_048_576;
pub const GROUP_FIELDS_MAX: usize = 8;
pub const DERIVED_TABLE_MAX: usize = 1_024;
pub const NAME_COMPONENT_BYTES_MAX: usize = 255;
pub const NAME_BYTES_MAX: usize = 4_096;
/// faiss itself refuses deeper nesting.
pub const INDEX_NESTING_MAX: usize = 50;

const _: () = assert!(ENTRIES_PER_BLOCK_MAX as usize * ENTRY_BYTES < 256 * 1024);
const _: () = assert!(ENTRIES_PER_BLOCK_DEFAULT <= ENTRIES_PER_BLOCK_MAX);
const _: () = assert!((HEADER_BYTES + TRAILER_BYTES) as u64 == SMALLEST_ARCHIVE_BYTES);
