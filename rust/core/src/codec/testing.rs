//! The suite that every codec joins by one line, `conformance!`, and the data it runs on.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first fault")]

use super::{Codec, Scratch, decode};
use crate::error::{Layer, Result};
use crate::stream::{ChunkShape, ElementType, StreamRole};

pub(super) const ELEMENT_TYPES: [ElementType; 12] = [
    ElementType::U8,
    ElementType::I8,
    ElementType::U16,
    ElementType::I16,
    ElementType::U32,
    ElementType::I32,
    ElementType::U64,
    ElementType::I64,
    ElementType::F16,
    ElementType::Bf16,
    ElementType::F32,
    ElementType::F64,
];

fn shape(element_type: ElementType) -> ChunkShape {
    ChunkShape::plain(StreamRole::OPAQUE, element_type)
}

/// Encodes by one codec, choice aside; false when it cannot take the bytes.
pub(super) type Encode = fn(ElementType, &[u8], &mut Vec<u8>, &mut Scratch) -> Result<bool>;

macro_rules! conformance {
    ($codec:expr, $encode:expr) => {
        #[test]
        fn chunks_come_back_exactly() {
            testing::chunks_come_back_exactly($codec, $encode);
        }

        #[test]
        fn cut_and_lengthened_blocks_are_refused() {
            testing::cut_and_lengthened_blocks_are_refused($codec, $encode);
        }

        #[test]
        fn flipped_bits_never_panic() {
            testing::flipped_bits_never_panic($codec, $encode);
        }

        #[test]
        fn any_bytes_never_panic() {
            testing::any_bytes_never_panic($codec);
        }

        #[test]
        fn the_example_of_the_page_is_what_the_codec_does() {
            testing::the_example_of_the_page_is_what_the_codec_does($codec, $encode);
        }
    };
}
pub(super) use conformance;

/// The same bytes for the same seed, on every machine.
pub(super) fn noise(byte_count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    (0..byte_count).map(|_| next()).collect()
}

/// Chunks of `count` values: noise, small numbers, lines, one value, two ascending runs.
pub(super) fn chunks(element_type: ElementType, count: usize) -> Vec<Vec<u8>> {
    let value_bytes = element_type.bytes() as usize;
    let of = |value: &dyn Fn(u64) -> u64| -> Vec<u8> {
        (0..count as u64).flat_map(|index| value(index).to_le_bytes().into_iter().take(value_bytes)).collect()
    };
    let half = (count as u64).div_ceil(2).max(1);
    vec![
        noise(count * value_bytes, count as u64 + 1),
        of(&|index| index * index % 37),
        of(&|index| (index % 5).wrapping_sub(1)),
        of(&|index| index.wrapping_mul(3).wrapping_add(1000)),
        of(&|index| 1000u64.wrapping_sub(index * 7)),
        of(&|_| 0x7FC0_0000),
        // As f32, bf16 values that were widened.
        of(&|index| (0x3F00 + index * 7919 % 517) << 16),
        of(&|index| 2 * (index % half) + index / half),
    ]
}

/// Chunks that the codec takes, with their blocks.
fn coded(encode: Encode, counts: &[usize]) -> Vec<(ElementType, Vec<u8>, Vec<u8>)> {
    let mut scratch = Scratch::new();
    let mut coded = Vec::new();
    for element_type in ELEMENT_TYPES {
        for raw in counts.iter().flat_map(|count| chunks(element_type, *count)) {
            let mut block = vec![0xEE; 3];
            if encode(element_type, &raw, &mut block, &mut scratch).unwrap() {
                coded.push((element_type, raw, block));
            }
        }
    }
    assert!(!coded.is_empty());
    coded
}

pub(super) fn chunks_come_back_exactly(codec: Codec, encode: Encode) {
    let mut scratch = Scratch::new();
    for (element_type, raw, block) in coded(encode, &[1, 2, 3, 7, 8, 9, 63, 64, 65, 300, 5000, 140_000]) {
        let mut found = vec![0xA5; raw.len()];
        decode(codec, &shape(element_type), &block, &mut found, &mut scratch).unwrap();
        assert!(found == raw, "{codec:?}, {element_type:?}, {} bytes", raw.len());
    }
}

pub(super) fn cut_and_lengthened_blocks_are_refused(codec: Codec, encode: Encode) {
    let mut scratch = Scratch::new();
    let mut refused = |element_type, block: &[u8], raw_bytes: usize| {
        let fault = decode(codec, &shape(element_type), block, &mut vec![0; raw_bytes], &mut scratch).unwrap_err();
        assert_eq!(fault.layer(), Some(Layer::Codec), "{fault}");
    };
    for (element_type, raw, block) in coded(encode, &[1, 9, 50]) {
        for cut in 0..block.len() {
            refused(element_type, &block[..cut], raw.len());
        }
        let mut longer = block.clone();
        longer.push(0);
        refused(element_type, &longer, raw.len());
        // A line says nothing about its length, nor do numbers of no width.
        if codec != Codec::Affine && block.len() > 16 {
            let value_bytes = element_type.bytes() as usize;
            refused(element_type, &block, raw.len() + 8 * value_bytes);
        }
    }
}

pub(super) fn flipped_bits_never_panic(codec: Codec, encode: Encode) {
    let mut scratch = Scratch::new();
    for (element_type, raw, mut block) in coded(encode, &[1, 9, 50]) {
        let mut found = vec![0; raw.len()];
        for bit in 0..block.len() * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            if let Err(fault) = decode(codec, &shape(element_type), &block, &mut found, &mut scratch) {
                assert_eq!(fault.layer(), Some(Layer::Codec), "{fault}");
            }
            block[bit / 8] ^= 1 << (bit % 8);
        }
        // Nothing of the faults stays in the scratch.
        decode(codec, &shape(element_type), &block, &mut found, &mut scratch).unwrap();
        assert!(found == raw);
    }
}

pub(super) fn any_bytes_never_panic(codec: Codec) {
    let mut scratch = Scratch::new();
    for seed in 1..2000u64 {
        let block = noise((seed % 90) as usize, seed);
        for element_type in [ElementType::U8, ElementType::I16, ElementType::F32, ElementType::U64] {
            for raw_bytes in [0, 1, 4, 7, 64, 1000] {
                let _ = decode(codec, &shape(element_type), &block, &mut vec![0; raw_bytes], &mut scratch);
            }
        }
    }
}

/// A page gives its example as three lines: `element type`, `chunk` and `block` in hex. Encoding is checked too; should
/// a new zstd make another frame, the page gets the new one (level and form are the writer's choice).
pub(super) fn the_example_of_the_page_is_what_the_codec_does(codec: Codec, encode: Encode) {
    let page = match codec {
        Codec::Raw => include_str!("../../../../spec/codecs/raw.md"),
        Codec::Zstd => include_str!("../../../../spec/codecs/zstd.md"),
        Codec::Float32 => include_str!("../../../../spec/codecs/float32.md"),
        Codec::Bitpack => include_str!("../../../../spec/codecs/bitpack.md"),
        Codec::Affine => include_str!("../../../../spec/codecs/affine.md"),
        Codec::Float16 => include_str!("../../../../spec/codecs/float16.md"),
        Codec::Bfloat16 => include_str!("../../../../spec/codecs/bfloat16.md"),
        Codec::Narrow => include_str!("../../../../spec/codecs/narrow.md"),
        Codec::Links => include_str!("../../../../spec/codecs/links.md"),
        Codec::Lists => include_str!("../../../../spec/codecs/lists.md"),
        Codec::Map => include_str!("../../../../spec/codecs/map.md"),
        Codec::Edits => include_str!("../../../../spec/codecs/edits.md"),
        Codec::Residual => include_str!("../../../../spec/codecs/residual.md"),
    };
    let field = |name: &str| page.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim();
    let bytes = |name: &str| -> Vec<u8> {
        field(name).split_whitespace().map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect()
    };
    let element_type = ElementType::from_name(field("type:")).unwrap();
    let (raw, expected) = (bytes("chunk:"), bytes("block:"));
    let (mut block, mut scratch) = (Vec::new(), Scratch::new());
    assert!(encode(element_type, &raw, &mut block, &mut scratch).unwrap());
    assert_eq!(block, expected, "{block:02X?}");
    let mut found = vec![0; raw.len()];
    decode(codec, &shape(element_type), &expected, &mut found, &mut scratch).unwrap();
    assert_eq!(found, raw);
}
