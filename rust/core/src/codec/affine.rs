//! Codec 4 (spec, `codecs/affine.md`): integers on a line.

use super::{Codec, fits, integer_bytes, word_at};
use crate::error::Result;
use crate::kernels::Machine;
use crate::stream::ElementType;

const BLOCK_BYTES: usize = 24;

/// False when the values are not on a line (or there are none).
pub(super) fn encode(element_type: ElementType, raw: &[u8], block: &mut Vec<u8>) -> bool {
    let Some(value_bytes) = integer_bytes(element_type, raw).filter(|_| !raw.is_empty()) else { return false };
    let base = value_at(raw, 0, value_bytes);
    let second = if raw.len() > value_bytes { value_at(raw, 1, value_bytes) } else { base };
    let step = second.wrapping_sub(base) & (u64::MAX >> (64 - 8 * value_bytes));
    if !Machine::detect().steps_are(value_bytes, raw, step) {
        return false;
    }
    block.clear();
    block.extend_from_slice(&base.to_le_bytes());
    block.extend_from_slice(&step.to_le_bytes());
    block.extend_from_slice(&(value_bytes as u64).to_le_bytes());
    true
}

pub(super) fn decode(element_type: ElementType, block: &[u8], raw: &mut [u8]) -> Result<()> {
    let Some(value_bytes) = integer_bytes(element_type, raw) else {
        let found = format!("stands in a chunk of {} bytes of {}", raw.len(), element_type.name());
        return Err(Codec::Affine.refuses(format_args!("{found}; expected whole integers")));
    };
    if block.len() != BLOCK_BYTES {
        return Err(Codec::Affine.refuses(format_args!("has {} bytes, expected {BLOCK_BYTES}", block.len())));
    }
    let (base, step, width) = (word_at(block, 0), word_at(block, 8), word_at(block, 16));
    // The width is one byte and seven reserved zeros.
    if width != value_bytes as u64 {
        return Err(Codec::Affine.refuses(format_args!("has width field {width:#x}, expected {value_bytes}")));
    }
    if !fits(base, value_bytes) || !fits(step, value_bytes) {
        let found = format!("has base {base} and step {step}");
        return Err(Codec::Affine.refuses(format_args!("{found}; expected both in {value_bytes} bytes")));
    }
    match value_bytes {
        1 => fill::<1>(base, step, raw),
        2 => fill::<2>(base, step, raw),
        4 => fill::<4>(base, step, raw),
        _ => fill::<8>(base, step, raw),
    }
    Ok(())
}

fn fill<const BYTES: usize>(base: u64, step: u64, raw: &mut [u8]) {
    for (index, out) in (0u64..).zip(raw.as_chunks_mut::<BYTES>().0) {
        let value = base.wrapping_add(index.wrapping_mul(step)).to_le_bytes();
        out.iter_mut().zip(value).for_each(|(to, from)| *to = from);
    }
}

fn value_at(raw: &[u8], index: usize, value_bytes: usize) -> u64 {
    let mut bytes = [0; 8];
    let value = raw.iter().skip(index * value_bytes).take(value_bytes);
    bytes.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at the first fault")]
mod tests {
    use super::*;
    use crate::codec::testing;

    testing::conformance!(Codec::Affine, |element_type, raw, block, _| Ok(encode(element_type, raw, block)));

    #[test]
    fn lines_wrap_and_fall() {
        for line in [[250u8, 253, 0, 3], [5, 3, 1, 255], [9, 9, 9, 9]] {
            let mut block = Vec::new();
            assert!(encode(ElementType::U8, &line, &mut block));
            let mut found = [0; 4];
            decode(ElementType::U8, &block, &mut found).unwrap();
            assert_eq!(found, line);
        }
        assert!(!encode(ElementType::U8, &[1, 2, 4], &mut Vec::new()));
    }

    #[test]
    fn decode_refuses_numbers_too_wide_for_the_stream() {
        let mut block = Vec::new();
        assert!(encode(ElementType::I16, &[1, 0, 2, 0], &mut block));
        for at in [2, 7, 10, 15, 16, 17, 23] {
            let mut wrong = block.clone();
            wrong[at] ^= 0x80;
            assert!(decode(ElementType::I16, &wrong, &mut [0; 4]).is_err(), "byte {at}");
        }
        assert!(decode(ElementType::U32, &block, &mut [0; 4]).is_err());
    }
}
