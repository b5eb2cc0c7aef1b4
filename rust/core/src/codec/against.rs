//! Blocks of changed rows (spec, `codecs/README.md`, codecs 34 and 35): references to rows of a base part, then the changes.

use super::{Codec, Scratch, edits, map, residual, word_at};
use crate::error::Result;
use crate::stream::{ChunkShape, StreamRole};

const HEADER_BYTES: usize = 8;

/// The references at the front of a block and what follows them. `block` is hostile.
///
/// # Errors
/// `Damaged` at layer `Codec`.
pub fn split_references<'a>(
    codec: Codec,
    block: &'a [u8],
    row_count: usize,
    scratch: &mut Scratch,
) -> Result<(Vec<u64>, &'a [u8])> {
    let header = word_at(block, 0);
    let reference_bytes = usize::try_from(header & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    let parts = block.get(HEADER_BYTES..).and_then(|rest| rest.split_at_checked(reference_bytes));
    let Some((references, payload)) = parts.filter(|_| header >> 32 == 0) else {
        return Err(codec.refuses(format_args!("{reference_bytes} bytes of references in {} bytes", block.len())));
    };
    let mut values = vec![0; row_count.saturating_mul(8)];
    map::decode(0, references, &mut values, scratch)?;
    let values: Vec<u64> = values.as_chunks::<8>().0.iter().map(|value| u64::from_le_bytes(*value)).collect();
    let target_count = word_at(references, 0) & 0xFF;
    if target_count != 1 || values.iter().any(|value| map::split(*value).0 != 0) {
        return Err(codec.refuses("has references to another target than 0"));
    }
    Ok((values, payload))
}

/// Decodes what follows the references. `base` has the row of each reference, as long as `raw`.
///
/// # Errors
/// `Damaged` at layer `Codec`; `Io` when zstd finds no memory.
pub fn decode_against(
    codec: Codec,
    shape: &ChunkShape,
    references: &[u64],
    base: &[u8],
    payload: &[u8],
    raw: &mut [u8],
    scratch: &mut Scratch,
) -> Result<()> {
    match codec {
        Codec::Residual => residual::decode(shape.element_type, base, payload, raw, scratch),
        Codec::Edits => edits::decode(shape, references, base, payload, raw, scratch),
        _ => Err(codec.refuses("does not code rows against others")),
    }
}

/// Codes `raw` against `base` (as long) into `block`, at most `limit` bytes; `None` when that does not fit or pay.
///
/// # Errors
/// `Io` when the zstd library fails.
pub fn encode_against(
    shape: &ChunkShape,
    references: &[u64],
    base: &[u8],
    raw: &[u8],
    limit: usize,
    block: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<Option<Codec>> {
    let values: Vec<u8> = references.iter().flat_map(|row| row.to_le_bytes()).collect();
    let mut head = std::mem::take(&mut scratch.head);
    let mut payload = std::mem::take(&mut scratch.payload);
    let outcome = (|| {
        if !map::encode(0, &values, limit, &mut head, scratch)? {
            return Ok(None);
        }
        // A block may not exceed its rows by more than any other.
        let Some(room) = limit.checked_sub(HEADER_BYTES + head.len()) else { return Ok(None) };
        let is_lists = shape.role == StreamRole::LINKS && shape.element_type.bytes() == 4;
        let (codec, fits) = if is_lists {
            (Codec::Edits, edits::encode(shape, references, base, raw, room, &mut payload, scratch)?)
        } else {
            (Codec::Residual, residual::encode(shape.element_type, base, raw, room, &mut payload, scratch)?)
        };
        Ok(fits.then_some(codec))
    })();
    if matches!(outcome, Ok(Some(_))) {
        block.clear();
        // Below the chunk's own length, which fits.
        block.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(&head);
        block.extend_from_slice(&payload);
    }
    (scratch.head, scratch.payload) = (head, payload);
    outcome
}
