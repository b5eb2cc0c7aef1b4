//! Codecs (spec 7): reversible transforms of one chunk. Numbers on disk are explicit.

mod affine;
mod against;
mod bitpack;
mod choose;
pub mod edits;
mod float32;
mod half;
mod links;
mod lists;
mod literals;
pub mod map;
mod narrow;
mod origin;
mod prefix;
mod raw;
pub mod residual;
mod scratch;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod weights;
mod zstd;

use crate::error::{Error, Layer, Result};
use crate::stream::{ChunkShape, ElementType, StreamRole};

pub use against::{decode_against, encode_against, split_references};
pub(crate) use links::parallel::by_shares;
pub use links::sort_lists;
pub use scratch::Scratch;

/// Number on disk (spec, `codecs/README.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    Raw,
    Zstd,
    Float32,
    Bitpack,
    Affine,
    Float16,
    Bfloat16,
    Narrow,
    Links,
    Lists,
    Map,
    Residual,
    Edits,
}

impl Codec {
    pub const ALL: [Codec; 13] = [
        Self::Raw,
        Self::Zstd,
        Self::Float32,
        Self::Bitpack,
        Self::Affine,
        Self::Float16,
        Self::Bfloat16,
        Self::Narrow,
        Self::Links,
        Self::Lists,
        Self::Map,
        Self::Residual,
        Self::Edits,
    ];

    pub fn number(self) -> u16 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
            Self::Float32 => 2,
            Self::Bitpack => 3,
            Self::Affine => 4,
            Self::Float16 => 5,
            Self::Bfloat16 => 6,
            Self::Narrow => 7,
            Self::Links => 9,
            Self::Lists => 10,
            Self::Map => 33,
            Self::Residual => 34,
            Self::Edits => 35,
        }
    }

    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.number() == number)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Zstd => "zstd",
            Self::Float32 => "float32",
            Self::Bitpack => "bitpack",
            Self::Affine => "affine",
            Self::Float16 => "float16",
            Self::Bfloat16 => "bfloat16",
            Self::Narrow => "narrow",
            Self::Links => "links",
            Self::Lists => "lists",
            Self::Map => "map",
            Self::Residual => "residual",
            Self::Edits => "edits",
        }
    }

    /// Codecs from 32 on stand in deltas only.
    pub fn is_of_deltas(self) -> bool {
        self.number() >= 32
    }

    /// True for codecs of changed rows, which code them against rows of a base part (spec, `codecs/README.md`).
    pub fn needs_base(self) -> bool {
        matches!(self, Self::Residual | Self::Edits)
    }

    /// A block that breaks this codec's page: what was expected and what was found.
    fn refuses(self, detail: impl std::fmt::Display) -> Error {
        let place = format!("{} block", self.name());
        Error::damaged(Layer::Codec, place, format!("{detail}; restore this chunk from another copy"))
    }
}

/// How a writer codes: part of "same input and settings give the same bytes".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// No codec at all: every block raw.
    None,
    /// The codec that suits the stream (default).
    Auto,
}

/// Whether lists of links keep the order of their entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkOrder {
    /// What is restored is the source, byte for byte (default).
    Exact,
    /// Ascending, without stale slots: a restored graph has the same links, but not the same bytes.
    Canonical,
}

/// Codes `raw` (whole rows of one chunk) into `block` (what it held before is lost) and says which codec it chose.
/// The choice depends on `shape` and the bytes alone. `block.len() <= raw.len() + 64` always.
/// Handing the same `block` again, uncleared, spares clearing fresh memory.
///
/// # Errors
/// `Io` when the zstd library fails.
pub fn encode(
    compression: Compression,
    shape: &ChunkShape,
    raw: &[u8],
    block: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<Codec> {
    match compression {
        Compression::None => {
            raw::encode(raw, block);
            Ok(Codec::Raw)
        }
        Compression::Auto => choose::encode(shape, raw, block, scratch),
    }
}

/// Decodes `block` into exactly `raw` (already sized to the chunk's raw length). `block` is hostile.
/// After an error the content of `raw` means nothing.
///
/// # Errors
/// `Damaged` at layer `Codec` for any block that breaks the codec's page; `Io` when zstd finds no memory.
pub fn decode(codec: Codec, shape: &ChunkShape, block: &[u8], raw: &mut [u8], scratch: &mut Scratch) -> Result<()> {
    let element_type = shape.element_type;
    match codec {
        Codec::Raw => raw::decode(block, raw),
        Codec::Zstd => zstd::decode(block, raw, scratch),
        Codec::Float32 => float32::decode(element_type, block, raw, scratch),
        Codec::Bitpack => bitpack::decode(element_type, block, raw),
        Codec::Affine => affine::decode(element_type, block, raw),
        Codec::Float16 | Codec::Bfloat16 if half::codec_of(element_type) != Some(codec) => {
            Err(codec.refuses(format_args!("stands in a chunk of {}", element_type.name())))
        }
        Codec::Float16 | Codec::Bfloat16 => half::decode(codec, block, raw, scratch),
        Codec::Narrow => narrow::decode(shape, block, raw, scratch),
        Codec::Links => links::decode(shape, block, raw, scratch),
        Codec::Lists => lists::decode(element_type, block, raw),
        Codec::Map if (shape.role, element_type) != (StreamRole::MAP, ElementType::U64) => {
            Err(codec.refuses(format_args!("stands in a stream of {} {}", shape.role.name(), element_type.name())))
        }
        Codec::Map => map::decode(shape.first_row, block, raw, scratch),
        Codec::Residual | Codec::Edits => {
            Err(codec.refuses("needs base rows; it stands only in a part with a base part"))
        }
    }
}

/// Bytes of a value when `element_type` is an integer and `raw` holds whole values.
fn integer_bytes(element_type: ElementType, raw: &[u8]) -> Option<usize> {
    let value_bytes = usize::try_from(element_type.bytes()).ok()?;
    (element_type.is_integer() && raw.len().is_multiple_of(value_bytes)).then_some(value_bytes)
}

/// Little-endian number of the first eight bytes from `offset`; the caller has checked the length.
fn word_at(block: &[u8], offset: usize) -> u64 {
    block.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// True when `number` is below 2^(8 × `value_bytes`).
fn fits(number: u64, value_bytes: usize) -> bool {
    value_bytes >= 8 || number >> (8 * value_bytes) == 0
}
