//! Codec 2 (spec, `codecs/float32.md`): exponents apart as a frame of literals, the rest as it is.

use super::zstd::{self, Fault, Search};
use super::{Codec, Scratch};
use crate::error::Result;
use crate::kernels::Machine;
use crate::stream::ElementType;

const HEADER_BYTES: usize = 8;
const LOW_BYTES: usize = 3;

/// Makes `block` at most `limit` bytes long; false when that cannot be, or the values are not f32.
pub(super) fn encode(
    element_type: ElementType,
    raw: &[u8],
    limit: usize,
    block: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<bool> {
    let count = raw.len() / 4;
    let frame_limit = limit.saturating_sub(HEADER_BYTES + LOW_BYTES * count);
    if element_type != ElementType::F32 || !raw.len().is_multiple_of(4) || frame_limit == 0 {
        return Ok(false);
    }
    let machine = Machine::detect();
    let mut plane = std::mem::take(&mut scratch.plane);
    plane.resize(count, 0);
    machine.split_exponents(raw, &mut plane);
    // Lengths change only at the end of the block, so that a used buffer is not cleared again.
    block.resize((HEADER_BYTES + frame_limit).max(block.len().min(limit)), 0);
    let frame = block.get_mut(HEADER_BYTES..HEADER_BYTES + frame_limit).unwrap_or_default();
    let outcome = zstd::encode_frame(Search::None, &plane, frame, scratch);
    scratch.plane = plane;
    let Some(frame_bytes) = outcome? else { return Ok(false) };
    let Ok(frame_field) = u32::try_from(frame_bytes) else { return Ok(false) };
    block.resize(HEADER_BYTES + frame_bytes + LOW_BYTES * count, 0);
    let (header, rest) = block.split_at_mut(HEADER_BYTES);
    header.copy_from_slice(&u64::from(frame_field).to_le_bytes());
    machine.split_lows(raw, &mut rest[frame_bytes..]);
    Ok(true)
}

pub(super) fn decode(element_type: ElementType, block: &[u8], raw: &mut [u8], scratch: &mut Scratch) -> Result<()> {
    if element_type != ElementType::F32 || !raw.len().is_multiple_of(4) {
        let found = format!("stands in a chunk of {} bytes of {}", raw.len(), element_type.name());
        return Err(Codec::Float32.refuses(format_args!("{found}; expected whole f32 values")));
    }
    let count = raw.len() / 4;
    let Some((header, rest)) = block.split_first_chunk::<HEADER_BYTES>() else {
        return Err(Codec::Float32.refuses(format_args!("has {} bytes, expected at least 8", block.len())));
    };
    let lows_bytes = LOW_BYTES * count;
    let frame_bytes = rest.len().checked_sub(lows_bytes);
    // The reserved field is the upper half, so one comparison checks both.
    let Some(frame_bytes) = frame_bytes.filter(|bytes| u64::from_le_bytes(*header) == *bytes as u64) else {
        let [a, b, c, d, reserved @ ..] = *header;
        let frame_field = u32::from_le_bytes([a, b, c, d]);
        let found = format!("{} bytes, a frame of {frame_field} and {reserved:?} in the reserved field", block.len());
        return Err(Codec::Float32.refuses(format_args!("has {found}; expected 8, the frame, {lows_bytes} and zeros")));
    };
    let (frame, lows) = rest.split_at(frame_bytes);
    let mut plane = std::mem::take(&mut scratch.plane);
    plane.resize(count, 0);
    let outcome = zstd::decode_frame(frame, &mut plane, scratch);
    if outcome.is_ok() {
        Machine::detect().merge(&plane, lows, raw);
    }
    scratch.plane = plane;
    outcome.map_err(|fault| match fault {
        Fault::Frame(detail) => Codec::Float32.refuses(format_args!("exponent frame {detail}")),
        Fault::Other(error) => error,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at the first fault")]
mod tests {
    use super::*;
    use crate::codec::testing;
    use crate::error::Layer;

    testing::conformance!(Codec::Float32, |element_type, raw, block, scratch| {
        encode(element_type, raw, raw.len() + 64, block, scratch)
    });

    #[test]
    fn every_kind_of_float_comes_back_bit_for_bit() {
        let kinds = [
            0u32,
            0x8000_0000,
            1,
            0x8000_0001,
            0x007F_FFFF,
            0x0080_0000,
            0x7F80_0000,
            0xFF80_0000,
            0x7FC0_0000,
            0x7F80_0001,
            0xFFFF_FFFF,
            0x7FFF_FFFF,
            0x3F80_0000,
            0xBF80_0000,
        ];
        let raw: Vec<u8> = kinds.iter().cycle().take(1000).flat_map(|bits| bits.to_le_bytes()).collect();
        let (mut block, mut scratch) = (Vec::new(), Scratch::new());
        assert!(encode(ElementType::F32, &raw, raw.len(), &mut block, &mut scratch).unwrap());
        let mut found = vec![1; raw.len()];
        decode(ElementType::F32, &block, &mut found, &mut scratch).unwrap();
        assert!(found == raw);
    }

    #[test]
    fn decode_refuses_absurd_headers() {
        let (mut block, mut scratch) = (Vec::new(), Scratch::new());
        let raw = testing::noise(400, 3);
        assert!(encode(ElementType::F32, &raw, raw.len() + 64, &mut block, &mut scratch).unwrap());
        let frame_field = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        for absurd in [0, 1, frame_field - 1, frame_field + 1, u32::MAX - 7, u32::MAX] {
            block[..4].copy_from_slice(&absurd.to_le_bytes());
            let fault = decode(ElementType::F32, &block, &mut vec![0; raw.len()], &mut scratch).unwrap_err();
            assert_eq!(fault.layer(), Some(Layer::Codec));
        }
        block[..4].copy_from_slice(&frame_field.to_le_bytes());
        block[7] = 1;
        assert!(decode(ElementType::F32, &block, &mut vec![0; raw.len()], &mut scratch).is_err());
    }
}
