//! One equality harness: every kernel of every instruction set against a scalar rule written anew here.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "the rules below cut numbers down on purpose"
)]

use super::{Extremes, Machine};

/// Lengths (in values) around every group border a kernel has.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=300).chain([511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097])
}

fn noise(byte_count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..byte_count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

fn value(raw: &[u8], value_bytes: usize, index: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes[..value_bytes].copy_from_slice(&raw[index * value_bytes..][..value_bytes]);
    u64::from_le_bytes(bytes)
}

fn ones(width: u32) -> u64 {
    if width == 64 { u64::MAX } else { (1 << width) - 1 }
}

#[test]
fn planes_split_and_merge_alike_on_every_machine() {
    for machine in Machine::available() {
        for count in lengths() {
            for shift in [0, 1, 3] {
                let bytes = noise(4 * count + shift, count as u64 + 1);
                let raw = &bytes[shift..];
                let rotated: Vec<u32> = (0..count).map(|i| (value(raw, 4, i) as u32).rotate_left(1)).collect();
                let exponents: Vec<u8> = rotated.iter().map(|w| (w >> 24) as u8).collect();
                let lows: Vec<u8> = rotated.iter().flat_map(|w| w.to_le_bytes()[..3].to_vec()).collect();

                let mut found = vec![0xA5; count + shift];
                machine.split_exponents(raw, &mut found[shift..]);
                assert_eq!(found[shift..], exponents, "{machine:?}, {count} values");
                let mut found = vec![0xA5; 3 * count + shift];
                machine.split_lows(raw, &mut found[shift..]);
                assert_eq!(found[shift..], lows, "{machine:?}, {count} values");
                let mut found = vec![0xA5; 4 * count + shift];
                machine.merge(&exponents, &lows, &mut found[shift..]);
                assert_eq!(&found[shift..], raw, "{machine:?}, {count} values");
            }
        }
    }
}

#[test]
fn numbers_pack_and_unpack_alike_on_every_machine() {
    for machine in Machine::available() {
        for value_bytes in [1, 2, 4, 8] {
            for width in 0..=8 * value_bytes as u32 {
                for count in (0..=70).chain([127, 128, 129, 300, 1025]) {
                    check_packing(machine, value_bytes, width, count);
                }
            }
        }
    }
}

fn check_packing(machine: Machine, value_bytes: usize, width: u32, count: usize) {
    let base = 0xFEDC_BA98_7654_3210 & ones(8 * value_bytes as u32);
    let bytes = noise(8 * count, u64::from(width) + 7);
    let numbers: Vec<u64> = (0..count).map(|i| value(&bytes, 8, i) & ones(width)).collect();
    let raw: Vec<u8> =
        numbers.iter().flat_map(|number| number.wrapping_add(base).to_le_bytes()[..value_bytes].to_vec()).collect();
    let mut expected = vec![0u8; (count * width as usize).div_ceil(8)];
    for (index, number) in numbers.iter().enumerate() {
        for bit in 0..width as usize {
            let at = index * width as usize + bit;
            expected[at / 8] |= ((number >> bit & 1) as u8) << (at % 8);
        }
    }
    let case = format!("{machine:?}, {count} values of {value_bytes} bytes in {width} bits");
    let mut packed = vec![0xA5; expected.len() + 1];
    machine.pack(value_bytes, &raw, base, width, &mut packed[1..]);
    assert_eq!(packed[1..], expected, "{case}");
    let mut found = vec![0xA5; raw.len() + 1];
    machine.unpack(value_bytes, &packed[1..], base, width, &mut found[1..]);
    assert_eq!(found[1..], raw, "{case}");
}

#[test]
fn a_short_run_of_bits_reads_as_zeros_and_never_past_its_end() {
    for machine in Machine::available() {
        for value_bytes in [1, 2, 4, 8] {
            for width in [1, 5, 8, 25, 26, 57, 58, 64].into_iter().filter(|width| *width <= 8 * value_bytes as u32) {
                for packed_bytes in 0..100 {
                    let mut raw = vec![0; 64 * value_bytes];
                    machine.unpack(value_bytes, &vec![0xFF; packed_bytes], 0, width, &mut raw);
                    let whole = packed_bytes * 8 / width as usize;
                    let found = (0..64).take_while(|i| value(&raw, value_bytes, *i) == ones(width)).count();
                    assert_eq!(found, whole.min(64), "{machine:?}, {width} bits, {packed_bytes} bytes");
                }
            }
        }
    }
}

#[test]
fn lists_are_reordered_alike_on_every_machine() {
    for machine in Machine::available() {
        for count in 0..=254usize {
            for ranked in [0, count / 2, count] {
                let sorted: Vec<u32> = (0..count as u32).map(|place| 7 * place).collect();
                let dice = noise(count, count as u64 + 1);
                let ranks: Vec<u8> =
                    (0..ranked).map(|place| (usize::from(dice[place]) % (count - place)) as u8).collect();
                let mut left = sorted.clone();
                let mut expected: Vec<u32> = ranks.iter().map(|rank| left.remove(usize::from(*rank))).collect();
                expected.append(&mut left);
                let mut found = vec![1; count];
                machine.reorder(&sorted, &ranks, &mut found);
                assert_eq!(found, expected, "{machine:?}, {count} entries");
            }
        }
    }
}

#[test]
fn extremes_and_steps_are_alike_on_every_machine() {
    for machine in Machine::available() {
        for value_bytes in [1, 2, 4, 8] {
            let top = 64 - 8 * value_bytes as u32;
            let signed = |v: u64| ((v << top) as i64) >> top;
            for count in lengths().skip(1) {
                let raw = noise(value_bytes * count, count as u64);
                let values: Vec<u64> = (0..count).map(|i| value(&raw, value_bytes, i)).collect();
                let by_sign = |v: &&u64| signed(**v);
                let expected = Extremes {
                    low: *values.iter().min().unwrap(),
                    high: *values.iter().max().unwrap(),
                    signed_low: *values.iter().min_by_key(by_sign).unwrap(),
                    signed_high: *values.iter().max_by_key(by_sign).unwrap(),
                };
                assert_eq!(machine.extremes(value_bytes, &raw), expected, "{machine:?}, {count} × {value_bytes}");
                check_steps(machine, value_bytes, count);
            }
            assert_eq!(machine.extremes(value_bytes, &[]), Extremes::default());
        }
    }
}

fn check_steps(machine: Machine, value_bytes: usize, count: usize) {
    let step = 0xFFFF_FFFF_FFFF_FFF9;
    let line: Vec<u8> =
        (0..count as u64).flat_map(|i| i.wrapping_mul(step).to_le_bytes()[..value_bytes].to_vec()).collect();
    assert!(machine.steps_are(value_bytes, &line, step), "{machine:?}, {count} × {value_bytes}");
    let bends = if count > 300 { vec![0, 1, 510, count - 1] } else { (0..count).collect() };
    for bend in bends {
        let mut bent = line.clone();
        bent[bend * value_bytes] ^= 1;
        assert_eq!(machine.steps_are(value_bytes, &bent, step), count == 1, "{machine:?}, bend at {bend} of {count}");
    }
}
