//! Rows of every origin come back bit for bit, and are found to be of that origin.

#![expect(clippy::unwrap_used, reason = "a test stops at the first fault")]

use super::*;
use crate::codec::testing;
use crate::error::Layer;
use crate::stream::StreamRole;

const PLAIN_BF16: Origin = Origin { rule: Rule::Plain, narrow: Narrow::Bf16 };
const NARROWS: [Narrow; 5] = [Narrow::U8, Narrow::I8, Narrow::I16, Narrow::F16, Narrow::Bf16];
const RULES: [Rule; 3] = [Rule::Plain, Rule::Multiply, Rule::Divide];

testing::conformance!(Codec::Narrow, |element_type, raw, block, scratch| {
    let shape = ChunkShape::plain(StreamRole::VECTORS, element_type);
    encode(&shape, PLAIN_BF16, raw, raw.len() + 64, block, scratch)
});

fn shape(row_elements: u32) -> ChunkShape {
    ChunkShape { row_elements, ..ChunkShape::plain(StreamRole::VECTORS, ElementType::F32) }
}

/// Sums of four noisy bytes, some signs, narrowed by the kernel's own inverse: bits of each type.
fn narrow_values(narrow: Narrow, count: usize, seed: u64) -> Vec<u8> {
    let noise = testing::noise(count * 4, seed);
    let value = |draw: &[u8]| -> f32 {
        let sum = draw.iter().map(|byte| f32::from(*byte) - 127.5).sum::<f32>();
        match narrow {
            Narrow::U8 => f32::from(draw[0]),
            Narrow::I8 => f32::from(draw[0]) - 128.0,
            Narrow::I16 => sum * 37.0 + f32::from(draw[1] & 31),
            Narrow::F16 => f32::from_bits((sum * 0.0371).to_bits() & 0xFFFF_E000),
            Narrow::Bf16 => f32::from_bits((sum * 0.0371).to_bits() & 0xFFFF_0000),
        }
    };
    noise.chunks_exact(4).flat_map(|draw| value(draw).to_le_bytes()).collect()
}

/// f32 rows by the rule, the scale of each being its length.
fn rows(narrow: Narrow, rule: Rule, row_count: usize, row_elements: usize, seed: u64) -> Vec<u8> {
    let values = narrow_values(narrow, row_count * row_elements, seed);
    let row = |row: &[u8]| -> Vec<u8> {
        let row: Vec<f32> = row.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        let inverse = 1.0 / length;
        let scaled = row.into_iter().map(|value| match rule {
            Rule::Plain => value,
            Rule::Multiply => value * inverse,
            Rule::Divide => value / length,
        });
        scaled.flat_map(f32::to_le_bytes).collect()
    };
    values.chunks_exact(4 * row_elements).flat_map(row).collect()
}

fn round_trip(shape: &ChunkShape, origin: Origin, raw: &[u8]) -> Vec<u8> {
    let (mut block, mut scratch) = (vec![3; 7], Scratch::new());
    assert!(encode(shape, origin, raw, raw.len() * 3 / 2 + 256, &mut block, &mut scratch).unwrap(), "{origin:?}");
    for _ in 0..2 {
        let mut found = vec![0xA5; raw.len()];
        decode(shape, &block, &mut found, &mut scratch).unwrap();
        assert!(found == raw, "{origin:?} in rows of {}", shape.row_elements);
    }
    block
}

fn exception_count(block: &[u8]) -> u32 {
    u32::from_le_bytes([block[4], block[5], block[6], block[7]])
}

#[test]
fn rows_of_every_origin_are_recognised_and_come_back() {
    for (row_elements, row_count) in [(16, 300), (50, 100), (129, 40), (384, 64), (768, 33)] {
        for narrow in NARROWS {
            // Sixteen bits and a scale are no half float.
            let rules = if narrow == Narrow::I16 { &RULES[..1] } else { &RULES };
            for rule in rules.iter().copied() {
                let raw = rows(narrow, rule, row_count, row_elements, 5 + row_elements as u64);
                let shape = shape(u32::try_from(row_elements).unwrap());
                let found = Origin::find(&shape, &raw).unwrap();
                assert_eq!(found.rule == Rule::Plain, rule == Rule::Plain, "{narrow:?} {rule:?} {found:?}");
                if rule == Rule::Plain || matches!(narrow, Narrow::F16 | Narrow::Bf16) {
                    assert_eq!(found.narrow, narrow);
                }
                let block = round_trip(&shape, found, &raw);
                assert_eq!(exception_count(&block), 0, "{narrow:?} {rule:?} in rows of {row_elements}");
                assert!(block.len() * 2 < raw.len() + raw.len() / 4, "{} of {}", block.len(), raw.len());
            }
        }
    }
}

#[test]
fn rows_that_are_not_of_the_origin_are_kept_as_they_are() {
    let odd = [f32::NAN, f32::INFINITY, f32::from_bits(1), f32::from_bits(0x3F80_0001), f32::MAX, f32::MIN_POSITIVE];
    for rule in RULES {
        for narrow in [Narrow::F16, Narrow::Bf16] {
            let mut raw = rows(narrow, rule, 64, 32, 9);
            for (number, value) in odd.iter().enumerate() {
                // Rows 0, 11, 22 …: the first and, by the loop below, the last among them.
                raw[number * 11 * 128 + 4..][..4].copy_from_slice(&value.to_le_bytes());
            }
            raw[63 * 128..][..4].copy_from_slice(&[1, 0, 0xC0, 0x7F]);
            // A row of zeros of both signs needs no exception.
            raw[5 * 128..6 * 128].fill(0);
            raw[5 * 128 + 3] = 0x80;
            let block = round_trip(&shape(32), Origin { rule, narrow }, &raw);
            assert!((4..=7).contains(&exception_count(&block)), "{rule:?} {narrow:?} {}", exception_count(&block));
        }
    }
}

#[test]
fn every_finite_half_float_is_widened_and_narrowed() {
    let machine = Machine::detect();
    for bits in 0..=u16::MAX {
        let (mut wide, mut back) = ([0; 4], [0; 2]);
        machine.widen(Narrow::F16, Rule::Plain, 1.0, &bits.to_le_bytes(), &mut wide);
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3FF));
        if exponent == 31 {
            continue;
        }
        let magnitude = match exponent {
            0 => fraction * 2f64.powi(-24),
            _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
        };
        let signed = if bits >> 15 == 1 { -magnitude } else { magnitude };
        let found = f32::from_le_bytes(wide);
        assert!(f64::from(found) == signed && found.is_sign_negative() == (bits >> 15 == 1), "{bits:04X} {found}");
        assert!(machine.narrow(Narrow::F16, &wide, &mut back) && back == bits.to_le_bytes());
    }
    let not_f16 = [65_520f32, 65_536.0, 1e30, f32::INFINITY, f32::NAN, 2f32.powi(-25), 1.5 * 2f32.powi(-24), 1.0002];
    for value in not_f16.into_iter().flat_map(|value| [value, -value]) {
        assert!(!machine.narrow(Narrow::F16, &value.to_le_bytes(), &mut [0; 2]), "{value}");
    }
}

#[test]
fn one_tiny_value_in_each_row_hides_no_scale() {
    let mut raw = rows(Narrow::Bf16, Rule::Divide, 40, 64, 21);
    let small = f32::from_bits(0x0900_0000);
    for (row, whole) in raw.chunks_exact_mut(256).zip(rows(Narrow::Bf16, Rule::Plain, 40, 64, 21).chunks_exact(256)) {
        let values = whole.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value));
        let length = values.map(|value| value * value).sum::<f32>().sqrt();
        row[8..12].copy_from_slice(&(small / length).to_le_bytes());
    }
    let origin = Origin::find(&shape(64), &raw).unwrap();
    assert_eq!(origin, Origin { rule: Rule::Divide, narrow: Narrow::Bf16 });
    assert_eq!(exception_count(&round_trip(&shape(64), origin, &raw)), 0);
}

#[test]
fn true_floats_have_no_origin() {
    let bytes = testing::noise(768 * 4 * 40, 77);
    let raw: Vec<u8> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|word| {
            ((f64::from(u32::from_le_bytes(*word)) / f64::from(u32::MAX) - 0.5) * 0.1)
                .to_string()
                .parse::<f32>()
                .unwrap()
                .to_le_bytes()
        })
        .collect();
    for row_elements in [1, 15, 16, 32, 384, 768] {
        assert_eq!(Origin::find(&shape(row_elements), &raw), None, "rows of {row_elements}");
    }
}

#[test]
fn too_many_exceptions_are_no_narrow_rows() {
    let mut raw = rows(Narrow::Bf16, Rule::Divide, 64, 32, 4);
    raw[..12 * 128].copy_from_slice(&testing::noise(12 * 128, 3));
    let origin = Origin { rule: Rule::Divide, narrow: Narrow::Bf16 };
    let mut block = Vec::new();
    assert!(!encode(&shape(32), origin, &raw, raw.len(), &mut block, &mut Scratch::new()).unwrap());
}

#[test]
fn the_second_example_of_the_page_is_a_quotient() {
    let page = include_str!("../../../../spec/codecs/narrow.md");
    let second = &page[page.find("quotients:").unwrap()..];
    let bytes = |name: &str| -> Vec<u8> {
        let line = second.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect()
    };
    let mut found = [0; 8];
    decode(&shape(2), &bytes("stored:"), &mut found, &mut Scratch::new()).unwrap();
    assert_eq!(found.as_slice(), bytes("quotients:"));
}

#[test]
fn decode_refuses_absurd_headers() {
    let mut raw = rows(Narrow::Bf16, Rule::Divide, 20, 16, 4);
    raw[..64].fill(0x11);
    raw[5 * 64..6 * 64].fill(0x11);
    let block = round_trip(&shape(16), Origin { rule: Rule::Divide, narrow: Narrow::Bf16 }, &raw);
    assert_eq!(exception_count(&block), 2);
    let scales = 16 + 2 * 4 + 2 * 64;
    let refused = |at: usize, bytes: &[u8]| {
        let mut wrong = block.clone();
        wrong[at..at + bytes.len()].copy_from_slice(bytes);
        let outcome = decode(&shape(16), &wrong, &mut vec![0; raw.len()], &mut Scratch::new());
        assert_eq!(outcome.unwrap_err().layer(), Some(Layer::Codec), "byte {at} = {bytes:02X?}");
    };
    for (at, bytes) in [(0, 3), (0, 0), (1, 1), (1, 2), (1, 4), (1, 0), (1, 11), (2, 1), (3, 1), (8, 1), (15, 1)] {
        refused(at, &[bytes]);
    }
    for count in [0, 1, 3, 20, 21, 1 << 24, u32::MAX] {
        refused(4, &count.to_le_bytes());
    }
    for numbers in [[5u32, 0], [0, 0], [0, 20], [0, u32::MAX], [20, 21]] {
        refused(16, &numbers.map(u32::to_le_bytes).concat());
    }
    for scale in [0u32, 1, 0x007F_FFFF, 0x7F80_0000, 0x7FC0_0000, 0xBF80_0000, 0x8000_0000] {
        refused(scales, &scale.to_le_bytes());
        refused(scales + 17 * 4, &scale.to_le_bytes());
    }
    for row_elements in [0, 3, 15, 17, 32, 640, u32::MAX] {
        assert!(decode(&shape(row_elements), &block, &mut vec![0; raw.len()], &mut Scratch::new()).is_err());
    }
}
