//! Rows come back bit for bit against any base rows; hostile blocks are refused; the page and the Python reader agree.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first fault; small numbers"
)]

use std::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::codec::{float32, testing};
use crate::error::Layer;
use crate::stream::{ChunkShape, StreamRole};

const FLOATS: [ElementType; 4] = [ElementType::F16, ElementType::Bf16, ElementType::F32, ElementType::F64];

/// A block within `limit`, checked both ways; `None` when there is none.
fn coded(element_type: ElementType, base: &[u8], raw: &[u8], limit: usize) -> Option<Vec<u8>> {
    let (mut block, mut scratch) = (vec![0xEE; raw.len() % 100], Scratch::new());
    if !encode(element_type, base, raw, limit, &mut block, &mut scratch).unwrap() {
        return None;
    }
    assert!(block.len() <= limit);
    let mut found = vec![0xA5; raw.len()];
    decode(element_type, base, &block, &mut found, &mut scratch).unwrap();
    assert!(found == raw, "{element_type:?}, {} bytes", raw.len());
    Some(block)
}

fn layer(element_type: ElementType, base: &[u8], block: &[u8], raw_bytes: usize) -> Option<Layer> {
    decode(element_type, base, block, &mut vec![0; raw_bytes], &mut Scratch::new()).unwrap_err().layer()
}

/// Values of every size, and the same with noise of one size (`relative`: of their own size); as bits of the type.
fn noisy(element_type: ElementType, count: usize, noise: f64, relative: bool) -> (Vec<u8>, Vec<u8>) {
    let draws = testing::noise(count * 24, 11);
    let normal = |draw: &[u8]| draw.iter().map(|byte| f64::from(*byte) - 127.5).sum::<f64>() / 256.0;
    let bits = |value: f64| -> Vec<u8> {
        match element_type {
            ElementType::F64 => value.to_le_bytes().to_vec(),
            ElementType::Bf16 => ((value as f32).to_bits() >> 16).to_le_bytes()[..2].to_vec(),
            // The f16 of the same bits cut short; every value here is normal or 0.
            ElementType::F16 => {
                let wide = (value as f32).to_bits();
                let small = (wide & 0x7FFF_FFFF).saturating_sub(112 << 23) >> 13;
                ((small | wide >> 16 & 0x8000) as u16).to_le_bytes().to_vec()
            }
            ElementType::F32 => (value as f32).to_le_bytes().to_vec(),
            _ => ((value * 1e4) as i64).to_le_bytes()[..element_type.bytes() as usize].to_vec(),
        }
    };
    let value = |draw: &[u8]| normal(&draw[..12]) * 0.05;
    let changed = |draw: &[u8]| value(draw) + normal(&draw[12..]) * noise * if relative { value(draw) } else { 1.0 };
    let all = |of: &dyn Fn(&[u8]) -> f64| draws.chunks_exact(24).flat_map(|draw| bits(of(draw))).collect();
    (all(&value), all(&changed))
}

#[test]
fn rows_come_back_against_any_base() {
    for element_type in testing::ELEMENT_TYPES {
        for count in [1, 2, 3, 7, 63, 64, 255, 256, 257, 511, 513, 5000] {
            let chunks = testing::chunks(element_type, count);
            for base in &chunks {
                for raw in &chunks {
                    coded(element_type, base, raw, raw.len() * 2 + 100).expect("room for any block");
                    coded(element_type, base, raw, raw.len());
                }
            }
        }
    }
}

#[test]
fn every_pair_of_half_floats_in_steps_comes_back() {
    let base: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for step in [0u16, 1, 0x7FFF, 0x8000, 0x8001, 12_345] {
        let raw: Vec<u8> = (0..=u16::MAX).flat_map(|bits| bits.wrapping_add(step).to_le_bytes()).collect();
        for element_type in [ElementType::F16, ElementType::Bf16, ElementType::I16] {
            coded(element_type, &base, &raw, raw.len() * 2).unwrap();
        }
    }
}

#[test]
fn a_block_is_never_longer_than_its_limit() {
    let (base, raw) = noisy(ElementType::F32, 700, 1e-3, false);
    let enough = coded(ElementType::F32, &base, &raw, 4 * raw.len()).unwrap().len();
    assert!(enough < raw.len());
    let fitting = (0..enough + 600).filter(|limit| coded(ElementType::F32, &base, &raw, *limit).is_some());
    let least = fitting.min().unwrap();
    assert!((enough..enough + 64).contains(&least), "{least} and {enough}");
}

#[test]
fn small_changes_cost_about_their_entropy_and_less_than_the_values_alone() {
    // Bits by the entropy given the base's exponent, measured on such rows, and 0.4.
    for (noise, relative, bits_max, turns) in
        [(1e-3, false, 21.4, 1), (1e-4, false, 18.1, 1), (1e-5, false, 14.8, 1), (1e-3, true, 15.9, 0)]
    {
        let (base, raw) = noisy(ElementType::F32, 100_000, noise, relative);
        let block = coded(ElementType::F32, &base, &raw, raw.len()).unwrap();
        let bits = block.len() as f64 / 12_500.0;
        assert!(bits < bits_max, "{bits} bits a value at {noise}");
        assert_eq!(block[4], turns);
        let mut alone = Vec::new();
        assert!(float32::encode(ElementType::F32, &raw, raw.len(), &mut alone, &mut Scratch::new()).unwrap());
        assert!(block.len() * 5 < alone.len() * 4 + raw.len() / 8);
    }
}

#[test]
fn equal_rows_cost_next_to_nothing_and_unrelated_ones_are_refused_by_the_sample() {
    let (base, raw) = noisy(ElementType::F32, 60_000, 1e-3, false);
    assert!(coded(ElementType::F32, &raw, &raw, raw.len()).unwrap().len() < 100);
    let mut few = base.clone();
    few.iter_mut().step_by(4000).for_each(|byte| *byte ^= 1);
    assert!(coded(ElementType::F32, &base, &few, raw.len()).unwrap().len() < 1000);
    let noise = testing::noise(raw.len(), 3);
    assert!(View::of(ElementType::F32, &raw, &noise).least_bytes > raw.len() * 9 / 10);
    assert_eq!(coded(ElementType::F32, &raw, &noise, raw.len() / 4 * 3), None);
}

#[test]
fn the_block_does_not_depend_on_what_was_coded_before() {
    let mut used = Scratch::new();
    for element_type in testing::ELEMENT_TYPES {
        let (base, raw) = noisy(element_type, 3000, 1e-2, false);
        let mut block = vec![1; 50_000];
        assert!(encode(element_type, &base, &raw, 30_000, &mut block, &mut used).unwrap());
        assert_eq!(Some(block), coded(element_type, &base, &raw, 30_000));
    }
}

#[test]
fn what_is_no_pair_of_whole_rows_gives_no_block() {
    for (base, raw) in [(&[][..], &[][..]), (&[0; 8], &[0; 4]), (&[0; 6], &[0; 6])] {
        assert_eq!(coded(ElementType::F32, base, raw, 100), None);
    }
}

#[test]
fn cut_lengthened_and_flipped_blocks_are_refused_or_give_other_values() {
    for element_type in testing::ELEMENT_TYPES {
        for count in [1, 9, 50] {
            let (base, raw) = noisy(element_type, count, 1e-2, false);
            let mut block = coded(element_type, &base, &raw, 1000).unwrap();
            for cut in 0..block.len() {
                assert_eq!(layer(element_type, &base, &block[..cut], raw.len()), Some(Layer::Codec));
            }
            block.push(0);
            assert_eq!(layer(element_type, &base, &block, raw.len()), Some(Layer::Codec));
            block.pop();
            let longer = [base.as_slice(), &base].concat();
            assert_eq!(layer(element_type, &longer, &block, longer.len()), Some(Layer::Codec));
            let (mut found, mut scratch) = (vec![0; raw.len()], Scratch::new());
            for bit in 0..block.len() * 8 {
                block[bit / 8] ^= 1 << (bit % 8);
                if let Err(fault) = decode(element_type, &base, &block, &mut found, &mut scratch) {
                    assert_eq!(fault.layer(), Some(Layer::Codec), "{fault}");
                }
                block[bit / 8] ^= 1 << (bit % 8);
            }
            // Nothing of the faults stays in the scratch.
            decode(element_type, &base, &block, &mut found, &mut scratch).unwrap();
            assert!(found == raw);
        }
    }
}

/// A block of these symbols and low bits, whatever they mean.
fn block_of(turned: u8, symbols: &[u8], lows: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    assert!(zstd::encode(Search::None, symbols, symbols.len() + 64, &mut frame, &mut Scratch::new()).unwrap());
    [&(frame.len() as u32).to_le_bytes(), &[turned, 0, 0, 0], lows, &frame].concat()
}

#[test]
fn decode_refuses_what_the_page_forbids() {
    let greatest = |value_bytes| match value_bytes {
        1 => 255,
        2 => 207,
        4 => 239,
        _ => 251,
    };
    for element_type in testing::ELEMENT_TYPES {
        let value_bytes = element_type.bytes() as usize;
        let base = vec![0; value_bytes];
        let refused = |block: &[u8], raw_bytes| {
            assert_eq!(layer(element_type, &base, block, raw_bytes), Some(Layer::Codec), "{block:02X?}");
        };
        for symbol in 0..=255u8 {
            let fraction_bits = [7, 4, 3, 2][value_bytes.ilog2() as usize];
            let width = u32::from(symbol >> fraction_bits).max(1) - 1;
            let mut lows = vec![0xFF; width.div_ceil(8) as usize];
            if let Some(last) = lows.last_mut() {
                *last >>= width.next_multiple_of(8) - width;
            }
            let block = block_of(0, &[symbol], &lows);
            if symbol > greatest(value_bytes) {
                refused(&block, value_bytes);
                continue;
            }
            decode(element_type, &base, &block, &mut vec![0; value_bytes], &mut Scratch::new()).unwrap();
            refused(&block_of(0, &[symbol], &[lows.as_slice(), &[0]].concat()), value_bytes);
            refused(&block_of(2, &[symbol], &lows), value_bytes);
            refused(&block, 0);
            if element_type.is_integer() {
                refused(&block_of(1, &[symbol], &lows), value_bytes);
            }
            if let Some((last, rest)) = lows.split_last() {
                refused(&block_of(0, &[symbol], rest), value_bytes);
                if !width.is_multiple_of(8) {
                    refused(&block_of(0, &[symbol], &[rest, &[last | 0x80]].concat()), value_bytes);
                }
            }
        }
        let mut block = block_of(0, &[0], &[]);
        for absurd in [0, 1, u32::MAX - 7, u32::MAX] {
            block[..4].copy_from_slice(&absurd.to_le_bytes());
            refused(&block, value_bytes);
        }
        for reserved in 5..8 {
            let mut block = block_of(0, &[0], &[]);
            block[reserved] = 1;
            refused(&block, value_bytes);
        }
    }
}

#[test]
fn decoding_without_base_rows_is_refused() {
    let (base, raw) = noisy(ElementType::F32, 50, 1e-3, false);
    let block = coded(ElementType::F32, &base, &raw, 400).unwrap();
    let shape = ChunkShape::plain(StreamRole::VECTORS, ElementType::F32);
    let fault = super::super::decode(Codec::Residual, &shape, &block, &mut [0; 200], &mut Scratch::new());
    let fault = fault.unwrap_err();
    assert_eq!(fault.layer(), Some(Layer::Codec));
    assert!(fault.to_string().contains("needs base rows"), "{fault}");
}

#[test]
fn the_example_of_the_page_is_what_the_codec_does() {
    let page = include_str!("../../../../spec/codecs/residual.md");
    let field = |name: &str| page.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim();
    let bytes = |name: &str| -> Vec<u8> {
        field(name).split_whitespace().map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect()
    };
    let element_type = ElementType::from_name(field("type:")).unwrap();
    let block = coded(element_type, &bytes("base:"), &bytes("chunk:"), 100).unwrap();
    assert_eq!(block, bytes("block:"), "{block:02X?}");
}

/// The Python reader decodes these in its own tests. `VARK_WRITE_FIXTURES=1` writes them anew (say, for a new zstd).
#[test]
fn the_blocks_for_the_python_reader_are_those_of_the_codec() {
    let mut lines = String::new();
    let mut add = |element_type: ElementType, (base, raw): (Vec<u8>, Vec<u8>)| {
        let block = coded(element_type, &base, &raw, raw.len() + 100).unwrap();
        lines.push_str(element_type.name());
        for bytes in [&base, &raw, &block] {
            lines.push(' ');
            bytes.iter().for_each(|byte| write!(lines, "{byte:02x}").unwrap());
        }
        lines.push('\n');
        block[4]
    };
    for element_type in testing::ELEMENT_TYPES {
        add(element_type, noisy(element_type, 1, 1e-2, false));
        add(element_type, noisy(element_type, 90, 1e-3, true));
        let bytes = 40 * element_type.bytes() as usize;
        add(element_type, (testing::noise(bytes, 5), testing::noise(bytes, 6)));
    }
    let turned = FLOATS.map(|element_type| add(element_type, noisy(element_type, 300, 1e-2, false)));
    assert_eq!(turned, [1; 4]);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/residual_blocks.txt");
    if std::env::var_os("VARK_WRITE_FIXTURES").is_some() {
        std::fs::write(path, &lines).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == lines, "{path} is of another codec");
}

proptest! {
    #[test]
    fn any_values_come_back(kind in 0..12usize, seed in any::<u64>(), count in 1..700usize, alike in 0..8u32) {
        let element_type = testing::ELEMENT_TYPES[kind];
        let byte_count = count * element_type.bytes() as usize;
        let base = testing::noise(byte_count, seed);
        // Bytes that differ in few bits, none or all.
        let raw: Vec<u8> = base.iter().zip(testing::noise(byte_count, seed ^ 1)).map(|(one, other)| one ^ other >> alike).collect();
        prop_assert!(coded(element_type, &base, &raw, 2 * byte_count + 100).is_some());
    }

    #[test]
    fn any_block_is_decoded_or_refused(kind in 0..12usize, turned in 0..3u8, seed in any::<u64>(),
                                       symbols in proptest::collection::vec(any::<u8>(), 1..600),
                                       lows in proptest::collection::vec(any::<u8>(), 0..900)) {
        let element_type = testing::ELEMENT_TYPES[kind];
        let byte_count = symbols.len() * element_type.bytes() as usize;
        let (base, mut raw) = (testing::noise(byte_count, seed), vec![0; byte_count]);
        for block in [&block_of(turned, &symbols, &lows), &lows] {
            if let Err(fault) = decode(element_type, &base, block, &mut raw, &mut Scratch::new()) {
                prop_assert_eq!(fault.layer(), Some(Layer::Codec));
            }
        }
    }
}
