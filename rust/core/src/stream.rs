//! Streams: named, typed runs of equal-sized rows (spec, section 5).

use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// Numbers are part of the format (spec 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    Bf16,
    F32,
    F64,
}

const ELEMENT_TYPES: [(u16, ElementType, &str, u32); 12] = [
    (1, ElementType::U8, "u8", 1),
    (2, ElementType::I8, "i8", 1),
    (3, ElementType::U16, "u16", 2),
    (4, ElementType::I16, "i16", 2),
    (5, ElementType::U32, "u32", 4),
    (6, ElementType::I32, "i32", 4),
    (7, ElementType::U64, "u64", 8),
    (8, ElementType::I64, "i64", 8),
    (9, ElementType::F16, "f16", 2),
    (10, ElementType::Bf16, "bf16", 2),
    (11, ElementType::F32, "f32", 4),
    (12, ElementType::F64, "f64", 8),
];

impl ElementType {
    pub fn from_number(number: u16) -> Option<Self> {
        ELEMENT_TYPES.iter().find(|row| row.0 == number).map(|row| row.1)
    }

    pub fn from_name(name: &str) -> Option<Self> {
        ELEMENT_TYPES.iter().find(|row| row.2 == name).map(|row| row.1)
    }

    fn row(self) -> (u16, &'static str, u32) {
        // Every variant is in the table; the test below walks both.
        ELEMENT_TYPES.iter().find(|row| row.1 == self).map_or((1, "u8", 1), |row| (row.0, row.2, row.3))
    }

    pub fn number(self) -> u16 {
        self.row().0
    }

    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Bytes of one element.
    pub fn bytes(self) -> u32 {
        self.row().2
    }

    pub fn is_integer(self) -> bool {
        !matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }

    pub fn is_signed(self) -> bool {
        matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64)
    }
}

/// What the rows mean (spec 5.1). An unknown role of a later version is kept by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamRole(pub u16);

const ROLES: [(u16, &str); 22] = [
    (1, "literal"),
    (2, "opaque"),
    (3, "vectors"),
    (4, "codes"),
    (5, "ids"),
    (6, "links"),
    (7, "levels"),
    (8, "list_sizes"),
    (9, "plan"),
    (10, "payload"),
    (11, "document"),
    (12, "attachment"),
    (13, "probe"),
    (14, "codebook"),
    (15, "transform"),
    (16, "parameters"),
    (32, "fingerprints"),
    (33, "id_index"),
    (34, "tombstones"),
    (35, "parity"),
    (36, "part"),
    (37, "map"),
];

impl StreamRole {
    pub const LITERAL: Self = Self(1);
    pub const OPAQUE: Self = Self(2);
    pub const VECTORS: Self = Self(3);
    pub const CODES: Self = Self(4);
    pub const IDS: Self = Self(5);
    pub const LINKS: Self = Self(6);
    pub const LEVELS: Self = Self(7);
    pub const LIST_SIZES: Self = Self(8);
    pub const PLAN: Self = Self(9);
    pub const PAYLOAD: Self = Self(10);
    pub const DOCUMENT: Self = Self(11);
    pub const ATTACHMENT: Self = Self(12);
    pub const PROBE: Self = Self(13);
    pub const CODEBOOK: Self = Self(14);
    pub const TRANSFORM: Self = Self(15);
    pub const PARAMETERS: Self = Self(16);
    pub const FINGERPRINTS: Self = Self(32);
    pub const ID_INDEX: Self = Self(33);
    pub const PART: Self = Self(36);
    pub const MAP: Self = Self(37);

    pub fn from_name(name: &str) -> Option<Self> {
        ROLES.iter().find(|row| row.1 == name).map(|row| Self(row.0))
    }

    pub fn name(self) -> &'static str {
        ROLES.iter().find(|row| row.0 == self.0).map_or("unknown", |row| row.1)
    }
}

/// A stream before its rows are counted: what a parser or caller knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    pub name: String,
    pub role: StreamRole,
    pub element_type: ElementType,
    /// Elements in a row (the dimension); at least 1.
    pub row_elements: u32,
}

impl StreamSpec {
    pub fn new(name: impl Into<String>, role: StreamRole, element_type: ElementType, row_elements: u32) -> Self {
        Self { name: name.into(), role, element_type, row_elements }
    }

    /// A stream of plain bytes.
    pub fn bytes(name: impl Into<String>, role: StreamRole) -> Self {
        Self::new(name, role, ElementType::U8, 1)
    }

    /// Bytes of one row.
    ///
    /// # Errors
    /// `InvalidArgument` when a row is empty or exceeds `CHUNK_BYTES_MAX`; the name is checked too.
    pub fn row_bytes(&self) -> Result<u32> {
        check_name(&self.name)?;
        let bytes = u64::from(self.row_elements) * u64::from(self.element_type.bytes());
        match u32::try_from(bytes) {
            Ok(row_bytes) if (1..=limits::CHUNK_BYTES_MAX).contains(&bytes) => Ok(row_bytes),
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("stream \"{}\"", self.name),
                format!("a row has {bytes} bytes; expected 1 to {}", limits::CHUNK_BYTES_MAX),
            )),
        }
    }
}

/// What a codec knows of a chunk besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkShape {
    pub role: StreamRole,
    pub element_type: ElementType,
    pub row_elements: u32,
    /// Number of the chunk's first row in its stream: link lists name rows.
    pub first_row: u64,
}

impl ChunkShape {
    /// The first chunk of a stream of single values.
    pub fn plain(role: StreamRole, element_type: ElementType) -> Self {
        Self { role, element_type, row_elements: 1, first_row: 0 }
    }
}

/// A stream as the archive describes it (spec 5, stream record).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDescription {
    pub name: String,
    pub role: StreamRole,
    pub element_type: ElementType,
    pub row_elements: u32,
    pub row_bytes: u32,
    pub row_count: u64,
    pub chunk_rows: u64,
    pub first_entry: u64,
    pub chunk_count: u64,
    pub stored_bytes: u64,
    pub part: PartRecord,
}

/// Where a stream belongs in a delta (spec 5.3); all zero for every other stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartRecord {
    /// Number of the owner among the streams.
    pub owner: Option<usize>,
    /// The part's name in the map; 0 for the map itself.
    pub number: u16,
    /// The part that references of its blocks point to; 0 for none.
    pub base: u16,
}

impl StreamDescription {
    /// What a codec is told of chunk `chunk`.
    pub fn chunk_shape(&self, chunk: u64) -> ChunkShape {
        let first_row = chunk.saturating_mul(self.chunk_rows);
        ChunkShape { role: self.role, element_type: self.element_type, row_elements: self.row_elements, first_row }
    }

    /// Rows of chunk `chunk`; the last one may be shorter. `chunk` must be below `chunk_count`.
    pub fn rows_in_chunk(&self, chunk: u64) -> u64 {
        self.chunk_rows.min(self.row_count.saturating_sub(chunk.saturating_mul(self.chunk_rows)))
    }

    /// Logical bytes of chunk `chunk`: at most `CHUNK_BYTES_MAX` by the checks of the directory.
    pub fn chunk_bytes(&self, chunk: u64) -> u64 {
        self.rows_in_chunk(chunk) * u64::from(self.row_bytes)
    }

    /// Logical bytes of the whole stream; saturates (such a stream cannot exist on disk).
    pub fn raw_bytes(&self) -> u64 {
        self.row_count.saturating_mul(u64::from(self.row_bytes))
    }
}

/// The chunk rule for writers: about 512 KiB, whole rows, doubled while a stream would have too many chunks. Links are
/// cut into partitions and ids into runs as long as their codecs want them: there is no gain across a chunk's border.
pub fn chunk_rows_for(role: StreamRole, row_bytes: u32, row_count: u64) -> u64 {
    let row_bytes = u64::from(row_bytes.max(1));
    let (rows, bytes) = match role {
        StreamRole::LINKS if row_bytes >= limits::PARTITION_ROW_BYTES_MIN => {
            (limits::PARTITION_ROWS_MAX, limits::PARTITION_BYTES_MAX)
        }
        StreamRole::IDS if row_bytes <= 8 => (limits::ID_CHUNK_ROWS_MAX, limits::PARTITION_BYTES_MAX),
        _ => (u64::MAX, limits::CHUNK_BYTES_DEFAULT),
    };
    let mut target = rows.saturating_mul(row_bytes).min(bytes);
    loop {
        let rows = (target / row_bytes).max(1);
        // Multiples of 64 keep packed bits of a chunk on byte borders.
        let rows = if rows >= 64 { rows - rows % 64 } else { rows };
        if row_count.div_ceil(rows) <= limits::CHUNKS_PER_STREAM_SOFT_MAX || target * 2 > limits::CHUNK_BYTES_MAX {
            return rows;
        }
        target *= 2;
    }
}

/// Spec 5: 1 to 255 bytes, no control characters.
///
/// # Errors
/// `InvalidArgument`.
pub fn check_name(name: &str) -> Result<()> {
    let fits = !name.is_empty() && name.len() <= limits::STREAM_NAME_BYTES_MAX;
    if fits && !name.bytes().any(|byte| byte < 0x20 || byte == 0x7F) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        "stream name",
        format!("{name:?}; expected 1 to {} bytes without control characters", limits::STREAM_NAME_BYTES_MAX),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_types_map_both_ways() {
        for (number, element_type, name, bytes) in ELEMENT_TYPES {
            assert_eq!(ElementType::from_number(number), Some(element_type));
            assert_eq!(ElementType::from_name(name), Some(element_type));
            assert_eq!((element_type.number(), element_type.name(), element_type.bytes()), (number, name, bytes));
        }
        assert_eq!(ElementType::from_number(0), None);
    }

    #[test]
    fn chunks_stay_within_the_soft_limit_for_a_terabyte() {
        for row_bytes in [1u32, 8, 132, 1536, 3072, 262_144] {
            let row_count = (1u64 << 40) / u64::from(row_bytes);
            for role in [StreamRole::VECTORS, StreamRole::LINKS, StreamRole::IDS] {
                let rows = chunk_rows_for(role, row_bytes, row_count);
                assert!(row_count.div_ceil(rows) <= limits::CHUNKS_PER_STREAM_SOFT_MAX);
                assert!(rows * u64::from(row_bytes) <= limits::CHUNK_BYTES_MAX);
            }
        }
        assert_eq!(chunk_rows_for(StreamRole::VECTORS, 1536, 1000), 320);
    }

    #[test]
    fn links_and_ids_get_the_chunks_that_their_codecs_want() {
        for (row_bytes, rows) in [(128, 1 << 19), (132, 1 << 19), (260, 290_368), (4, 131_072), (1 << 20, 64)] {
            assert_eq!(chunk_rows_for(StreamRole::LINKS, row_bytes, 300_000), rows);
        }
        assert_eq!(chunk_rows_for(StreamRole::IDS, 8, 300_000), 1 << 22);
        assert_eq!(chunk_rows_for(StreamRole::IDS, 16, 300_000), 32_768);
    }
}
