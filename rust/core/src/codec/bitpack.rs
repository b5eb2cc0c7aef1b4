//! Codec 3 (spec, `codecs/bitpack.md`): integers above a base, in as few bits as the largest needs.

use super::{Codec, fits, integer_bytes, word_at};
use crate::error::Result;
use crate::kernels::Machine;
use crate::stream::ElementType;

const HEADER_BYTES: usize = 16;

/// How a chunk would be packed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fit {
    value_bytes: usize,
    base: u64,
    width: u32,
    pub block_bytes: usize,
}

/// The narrowest packing; `None` when the values are not integers.
///
/// Both readings of the bits are tried whatever the type says: -1 marks empty links in unsigned streams too.
pub(super) fn measure(element_type: ElementType, raw: &[u8]) -> Option<Fit> {
    let value_bytes = integer_bytes(element_type, raw)?;
    let found = Machine::detect().extremes(value_bytes, raw);
    let mask = u64::MAX >> (64 - 8 * value_bytes);
    let signed_range = found.signed_high.wrapping_sub(found.signed_low) & mask;
    let range = found.high - found.low;
    let (base, range) = if signed_range < range { (found.signed_low, signed_range) } else { (found.low, range) };
    let width = u64::BITS - range.leading_zeros();
    let block_bytes = block_bytes(raw.len() / value_bytes, width)?;
    Some(Fit { value_bytes, base, width, block_bytes })
}

pub(super) fn encode(fit: Fit, raw: &[u8], block: &mut Vec<u8>) {
    block.resize(fit.block_bytes, 0);
    let (header, packed) = block.split_at_mut(HEADER_BYTES);
    // Width below 65 and value bytes below 9: one byte each, then six reserved zeros.
    let widths = u64::from(fit.width) | (fit.value_bytes as u64) << 8;
    header[..8].copy_from_slice(&fit.base.to_le_bytes());
    header[8..].copy_from_slice(&widths.to_le_bytes());
    Machine::detect().pack(fit.value_bytes, raw, fit.base, fit.width, packed);
}

pub(super) fn decode(element_type: ElementType, block: &[u8], raw: &mut [u8]) -> Result<()> {
    let Some(value_bytes) = integer_bytes(element_type, raw) else {
        let found = format!("stands in a chunk of {} bytes of {}", raw.len(), element_type.name());
        return Err(Codec::Bitpack.refuses(format_args!("{found}; expected whole integers")));
    };
    let Some((header, packed)) = block.split_at_checked(HEADER_BYTES) else {
        return Err(Codec::Bitpack.refuses(format_args!("has {} bytes, expected at least 16", block.len())));
    };
    let base = word_at(header, 0);
    let [width, width_of_values, reserved @ ..] = word_at(header, 8).to_le_bytes();
    if usize::from(width_of_values) != value_bytes || usize::from(width) > 8 * value_bytes || reserved != [0; 6] {
        let found = format!("says {width} bits for values of {width_of_values} bytes, reserved {reserved:?}");
        return Err(Codec::Bitpack.refuses(format_args!("{found}; expected values of {value_bytes} bytes and zeros")));
    }
    if !fits(base, value_bytes) {
        return Err(Codec::Bitpack.refuses(format_args!("has base {base}; expected it in {value_bytes} bytes")));
    }
    let (count, width) = (raw.len() / value_bytes, u32::from(width));
    if block_bytes(count, width) != Some(block.len()) {
        let found = format!("has {} bytes", block.len());
        return Err(Codec::Bitpack.refuses(format_args!("{found}; expected 16 and {count} numbers of {width} bits")));
    }
    let used_bits = (count % 8 * width as usize) % 8;
    if used_bits != 0 && packed.last().is_some_and(|last| last >> used_bits != 0) {
        return Err(Codec::Bitpack.refuses("has ones after the last number; expected zeros"));
    }
    Machine::detect().unpack(value_bytes, packed, base, width, raw);
    Ok(())
}

fn block_bytes(count: usize, width: u32) -> Option<usize> {
    Some(count.checked_mul(width as usize)?.div_ceil(8) + HEADER_BYTES)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at the first fault")]
mod tests {
    use super::*;
    use crate::codec::testing;

    testing::conformance!(Codec::Bitpack, |element_type, raw, block, _| {
        let fit = measure(element_type, raw);
        if let Some(fit) = fit {
            encode(fit, raw, block);
        }
        Ok(fit.is_some())
    });

    #[test]
    fn empty_links_cost_no_width_in_either_sign() {
        let raw: Vec<u8> = [5i32, -1, 1000, -1].iter().flat_map(|value| value.to_le_bytes()).collect();
        for element_type in [ElementType::I32, ElementType::U32] {
            let fit = measure(element_type, &raw).unwrap();
            assert_eq!((fit.base, fit.width), (0xFFFF_FFFF, 10));
        }
        let high: Vec<u8> = [200u8, 250, 100].to_vec();
        assert_eq!(measure(ElementType::I8, &high).map(|fit| (fit.base, fit.width)), Some((100, 8)));
    }

    #[test]
    fn decode_refuses_absurd_headers() {
        let raw: Vec<u8> = (0..10u16).flat_map(|value| (value * value).to_le_bytes()).collect();
        let mut block = Vec::new();
        encode(measure(ElementType::U16, &raw).unwrap(), &raw, &mut block);
        let decode_with = |at: usize, byte: u8| {
            let mut wrong = block.clone();
            wrong[at] = byte;
            decode(ElementType::U16, &wrong, &mut [0; 20])
        };
        for (at, byte) in
            [(2, 1), (7, 0x80), (8, 6), (8, 8), (8, 17), (8, 255), (9, 0), (9, 1), (9, 4), (10, 1), (15, 1)]
        {
            assert!(decode_with(at, byte).is_err(), "byte {at} = {byte}");
        }
        // 70 bits: the last byte has two unused bits.
        assert!(decode_with(24, 0x40).is_err());
        assert!(decode_with(24, 0x3F).is_ok());
    }
}
