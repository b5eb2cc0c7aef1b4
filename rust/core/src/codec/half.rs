//! Codecs 5 and 6 (spec, `codecs/float16.md`, `codecs/bfloat16.md`): the upper bytes of half floats apart as a frame
//! of literals, the lower ones as they are.

use super::zstd::{self, Fault, Search};
use super::{Codec, Scratch};
use crate::error::Result;
use crate::kernels::Machine;
use crate::stream::ElementType;

const HEADER_BYTES: usize = 8;

/// The codec of half floats of this type.
pub(super) fn codec_of(element_type: ElementType) -> Option<Codec> {
    match element_type {
        ElementType::F16 => Some(Codec::Float16),
        ElementType::Bf16 => Some(Codec::Bfloat16),
        _ => None,
    }
}

/// Writes a block into `block` from byte `start` on (what stands before is kept) that ends by byte `limit`; false when
/// it cannot, or there is half a value. The bytes after `start` then mean nothing.
pub(super) fn encode_at(
    start: usize,
    raw: &[u8],
    limit: usize,
    block: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<bool> {
    let count = raw.len() / 2;
    let frame_start = start + HEADER_BYTES;
    let frame_limit = limit.saturating_sub(frame_start + count);
    if !raw.len().is_multiple_of(2) || frame_limit == 0 {
        return Ok(false);
    }
    let machine = Machine::detect();
    let mut plane = std::mem::take(&mut scratch.plane);
    plane.resize(count, 0);
    machine.split_uppers(raw, &mut plane);
    // Lengths change only at the end of the block, so that a used buffer is not cleared again.
    block.resize((frame_start + frame_limit).max(block.len().min(limit)), 0);
    let frame = block.get_mut(frame_start..frame_start + frame_limit).unwrap_or_default();
    let outcome = zstd::encode_frame(Search::None, &plane, frame, scratch);
    scratch.plane = plane;
    let Some(frame_bytes) = outcome? else { return Ok(false) };
    let Ok(frame_field) = u32::try_from(frame_bytes) else { return Ok(false) };
    block.resize(frame_start + frame_bytes + count, 0);
    let (header, rest) = block[start..].split_at_mut(HEADER_BYTES);
    header.copy_from_slice(&u64::from(frame_field).to_le_bytes());
    machine.split_lowers(raw, &mut rest[frame_bytes..]);
    Ok(true)
}

/// `codec` names the page in errors; whether the stream's element type is one of its own, the caller has checked.
pub(super) fn decode(codec: Codec, block: &[u8], raw: &mut [u8], scratch: &mut Scratch) -> Result<()> {
    if !raw.len().is_multiple_of(2) {
        return Err(codec.refuses(format_args!("stands in a chunk of {} bytes; expected whole values", raw.len())));
    }
    let count = raw.len() / 2;
    let Some((header, rest)) = block.split_first_chunk::<HEADER_BYTES>() else {
        return Err(codec.refuses(format_args!("has {} bytes, expected at least 8", block.len())));
    };
    let frame_bytes = rest.len().checked_sub(count);
    // The reserved field is the upper half, so one comparison checks both.
    let Some(frame_bytes) = frame_bytes.filter(|bytes| u64::from_le_bytes(*header) == *bytes as u64) else {
        let field = u64::from_le_bytes(*header);
        let found = format!("{} bytes and {field:#x} for the frame and the reserved field", block.len());
        return Err(codec.refuses(format_args!("has {found}; expected 8, the frame and {count} bytes, and zeros")));
    };
    let (frame, lowers) = rest.split_at(frame_bytes);
    let mut plane = std::mem::take(&mut scratch.plane);
    plane.resize(count, 0);
    let outcome = zstd::decode_frame(frame, &mut plane, scratch);
    if outcome.is_ok() {
        Machine::detect().merge_halves(&plane, lowers, raw);
    }
    scratch.plane = plane;
    outcome.map_err(|fault| match fault {
        Fault::Frame(detail) => codec.refuses(format_args!("frame of upper bytes {detail}")),
        Fault::Other(error) => error,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at the first fault")]
mod tests {
    use super::*;
    use crate::codec::testing;

    fn encode(element_type: ElementType, codec: Codec, raw: &[u8], block: &mut Vec<u8>) -> Result<bool> {
        if codec_of(element_type) != Some(codec) {
            return Ok(false);
        }
        encode_at(0, raw, raw.len() + 64, block, &mut Scratch::new())
    }

    mod float16 {
        use super::{Codec, testing};
        testing::conformance!(Codec::Float16, |kind, raw, block, _| super::encode(kind, Codec::Float16, raw, block));
    }

    mod bfloat16 {
        use super::{Codec, testing};
        testing::conformance!(Codec::Bfloat16, |kind, raw, block, _| super::encode(kind, Codec::Bfloat16, raw, block));
    }

    #[test]
    fn every_half_float_comes_back_bit_for_bit() {
        let raw: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let (mut block, mut scratch) = (Vec::new(), Scratch::new());
        assert!(encode_at(0, &raw, raw.len() + 64, &mut block, &mut scratch).unwrap());
        let mut found = vec![1; raw.len()];
        decode(Codec::Float16, &block, &mut found, &mut scratch).unwrap();
        assert!(found == raw);
    }

    #[test]
    fn what_stands_before_the_block_is_kept() {
        let raw = testing::noise(600, 8);
        let (mut alone, mut after, mut scratch) = (vec![7; 900], b"before".to_vec(), Scratch::new());
        assert!(encode_at(0, &raw, 700, &mut alone, &mut scratch).unwrap());
        assert!(encode_at(6, &raw, 706, &mut after, &mut scratch).unwrap());
        assert_eq!(after, [b"before".as_slice(), &alone].concat());
        assert!(!encode_at(6, &raw, 310, &mut after, &mut scratch).unwrap());
        assert_eq!(&after[..6], b"before");
    }
}
