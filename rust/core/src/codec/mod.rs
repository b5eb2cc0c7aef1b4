//! Codecs (spec 7): reversible transforms of one chunk. Numbers on disk are explicit.

use crate::error::Result;
use crate::stream::{ElementType, StreamRole};

/// Number on disk (spec, `codecs/README.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    Raw,
    Zstd,
    Float32,
    Bitpack,
    Affine,
}

impl Codec {
    pub const ALL: [Codec; 5] = [Self::Raw, Self::Zstd, Self::Float32, Self::Bitpack, Self::Affine];

    pub fn number(self) -> u16 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
            Self::Float32 => 2,
            Self::Bitpack => 3,
            Self::Affine => 4,
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
        }
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

/// Buffers that one worker keeps between chunks (zstd contexts, planes).
#[derive(Default)]
pub struct Scratch {}

/// Codes `raw` (whole rows of one chunk) into `block` (cleared first) and says which codec it chose.
/// The choice depends on role, element type and the bytes alone. `block.len() <= raw.len() + 64` always.
///
/// # Errors
/// `Io` when the zstd library fails.
pub fn encode(
    compression: Compression,
    role: StreamRole,
    element_type: ElementType,
    raw: &[u8],
    block: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<Codec> {
    let _ = (compression, role, element_type, scratch);
    block.clear();
    block.extend_from_slice(raw);
    Ok(Codec::Raw)
}

/// Decodes `block` into exactly `raw` (already sized to the chunk's raw length). `block` is hostile.
///
/// # Errors
/// `Damaged` at layer `Codec` for any block that breaks the codec's page.
pub fn decode(
    codec: Codec,
    element_type: ElementType,
    block: &[u8],
    raw: &mut [u8],
    scratch: &mut Scratch,
) -> Result<()> {
    let _ = (codec, element_type, scratch);
    raw.copy_from_slice(block);
    Ok(())
}
