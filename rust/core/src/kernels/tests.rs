//! One equality harness: every kernel of every instruction set against a scalar rule written anew here.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "the rules below cut numbers down on purpose"
)]

use super::{Extremes, Machine, Narrow, Numbers, PAD, PrefixCode, Rule};

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

#[test]
fn planes_of_half_floats_split_and_merge_alike_on_every_machine() {
    for machine in Machine::available() {
        for count in lengths() {
            let bytes = noise(2 * count + 1, count as u64 + 3);
            let raw = &bytes[1..];
            let rotated: Vec<u16> = (0..count).map(|i| (value(raw, 2, i) as u16).rotate_left(1)).collect();
            let uppers: Vec<u8> = rotated.iter().map(|w| (w >> 8) as u8).collect();
            let lowers: Vec<u8> = rotated.iter().map(|w| *w as u8).collect();

            let mut found = vec![0xA5; count + 1];
            machine.split_uppers(raw, &mut found[1..]);
            assert_eq!(found[1..], uppers, "{machine:?}, {count} values");
            machine.split_lowers(raw, &mut found[1..]);
            assert_eq!(found[1..], lowers, "{machine:?}, {count} values");
            let mut found = vec![0xA5; 2 * count + 1];
            machine.merge_halves(&uppers, &lowers, &mut found[1..]);
            assert_eq!(&found[1..], raw, "{machine:?}, {count} values");
        }
    }
}

#[test]
fn rows_widen_and_narrow_alike_on_every_machine() {
    let widened = |narrow: Narrow, bits: u64| -> f32 {
        match narrow {
            Narrow::U8 => f32::from(bits as u8),
            Narrow::I8 => f32::from(bits as i8),
            Narrow::I16 => f32::from(bits as i16),
            // Powers of two alone: the fraction of any f16 is checked beside the codec.
            Narrow::F16 => 2f32.powi((bits >> 10 & 31) as i32 - 15),
            Narrow::Bf16 => f32::from_bits((bits as u32) << 16),
        }
    };
    for machine in Machine::available() {
        for narrow in [Narrow::U8, Narrow::I8, Narrow::I16, Narrow::F16, Narrow::Bf16] {
            let value_bytes = if matches!(narrow, Narrow::U8 | Narrow::I8) { 1 } else { 2 };
            for count in lengths() {
                let mut values = noise(value_bytes * count, count as u64 + 4);
                if narrow == Narrow::F16 {
                    values.as_chunks_mut::<2>().0.iter_mut().for_each(|v| *v = [0, (v[1] & 0x38) + 4]);
                }
                let scale = 0.37f32;
                for rule in [Rule::Plain, Rule::Multiply, Rule::Divide] {
                    let expected: Vec<u32> = (0..count)
                        .map(|i| widened(narrow, value(&values, value_bytes, i)))
                        .map(|v| match rule {
                            Rule::Plain => v.to_bits(),
                            Rule::Multiply => (v * scale).to_bits(),
                            Rule::Divide => (v / scale).to_bits(),
                        })
                        .collect();
                    let mut row = vec![0xA5; 4 * count];
                    machine.widen(narrow, rule, scale, &values, &mut row);
                    let found: Vec<u32> = (0..count).map(|i| value(&row, 4, i) as u32).collect();
                    assert_eq!(found, expected, "{machine:?} {narrow:?} {rule:?}, {count} values");
                    if rule == Rule::Plain {
                        let mut back = vec![0xA5; values.len()];
                        assert!(machine.narrow(narrow, &row, &mut back) && back == values, "{machine:?} {narrow:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn scales_are_found_alike_on_every_machine() {
    for count in lengths().skip(1) {
        for fraction_bits in [7u32, 10] {
            let bytes = noise(4 * count, count as u64);
            let values: Vec<f32> = (0..count)
                .map(|i| f32::from_bits((0x3F00_0000 | value(&bytes, 4, i) as u32 & 0x80FF_FFFF) >> 13 << 13))
                .map(|v| if fraction_bits == 7 { f32::from_bits(v.to_bits() >> 16 << 16) } else { v })
                .collect();
            for rule in [Rule::Multiply, Rule::Divide] {
                let by = |v: &f32| if rule == Rule::Divide { v / 7.31 } else { v * 0.1371 };
                let row: Vec<u8> = values.iter().flat_map(|v| by(v).to_le_bytes()).collect();
                let found: Vec<(Option<f32>, Vec<u8>)> = Machine::available()
                    .map(|machine| {
                        let mut narrow = vec![0; row.len()];
                        (machine.find_scale(&row, fraction_bits, rule, &mut narrow), narrow)
                    })
                    .collect();
                let looks = |machine: Machine| machine.looks_scaled(&row, fraction_bits);
                assert!(Machine::available().all(looks));
                assert!(found[0].0.is_some(), "{count} values of {fraction_bits} bits, {rule:?}");
                assert!(found.iter().all(|other| *other == found[0]), "{count} values, {rule:?}");
                let (low, high) =
                    (values.iter().copied().fold(f32::MAX, f32::min), values.iter().copied().fold(f32::MIN, f32::max));
                let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                assert!(Machine::available().all(|machine| machine.float_range(&raw) == (low, high)));
            }
        }
    }
}

#[test]
fn lists_are_ranked_alike_on_every_machine() {
    for machine in Machine::available() {
        for count in 0..=254usize {
            let bytes = noise(4 * count, count as u64 + 9);
            // Distinct, up to the largest id there is.
            let mut list: Vec<u32> = (0..count).map(|i| (value(&bytes, 4, i) as u32 >> 1) & !255 | i as u32).collect();
            if count > 2 {
                (list[0], list[count / 2]) = (PAD, 0);
            }
            let mut groups = vec![[PAD; 8]; count.div_ceil(8)];
            groups.as_flattened_mut()[..count].copy_from_slice(&list);
            let (mut below, mut left) = (vec![0xA5; count], vec![0xA5; count]);
            machine.rank(&groups, &mut below, &mut left);
            for (place, number) in list.iter().enumerate() {
                let smaller = |others: &[u32]| others.iter().filter(|other| *other < number).count();
                let found = (usize::from(below[place]), usize::from(left[place]));
                assert_eq!(found, (smaller(&list), smaller(&list[place..])), "{machine:?}, {place} of {count}");
            }
        }
    }
}

#[test]
fn claims_are_compared_alike_on_every_machine() {
    let (rows, id_bits, base) = (9usize, 12, 70_000);
    for machine in Machine::available() {
        for slots in (1..=72usize).chain([127, 128, 129, 254]) {
            let words = slots.div_ceil(64);
            let lists: Vec<u32> =
                noise(4 * rows * slots, 3).as_chunks::<4>().0.iter().map(|id| base + u32::from(id[0])).collect();
            // The last one names a row that is not there.
            let claims: Vec<u32> =
                (0..rows as u32 + 1).flat_map(|row| (0..300).map(move |id| row << id_bits | id)).collect();
            let mut expected = vec![0u64; rows * words];
            for claim in claims.iter().filter(|claim| (*claim >> id_bits) < rows as u32) {
                let (row, id) = ((claim >> id_bits) as usize, base + (claim & 0xFFF));
                for place in (0..slots).filter(|place| lists[row * slots + place] == id) {
                    expected[row * words + place / 64] |= 1 << (place % 64);
                }
            }
            let mut found = vec![0u64; rows * words];
            machine.mark(&claims, id_bits, base, &lists, slots, &mut found);
            assert_eq!(found, expected, "{machine:?}, {slots} slots");
        }
    }
}

/// Symbol and low bits of a value, by the page; the bits as a string of 0 and 1.
fn residual(base: u64, value: u64, value_bytes: usize, numbers: Numbers, turned: bool) -> (u8, String) {
    let bits = 8 * value_bytes as u32;
    let top = 1u64 << (bits - 1);
    let ordered = |number: u64| match numbers {
        Numbers::Integers => number,
        Numbers::Floats { .. } if number & top != 0 => !number & ones(bits),
        Numbers::Floats { .. } => number | top,
    };
    let step = ordered(value).wrapping_sub(ordered(base)) & ones(bits);
    let number = if step & top == 0 { u128::from(step) * 2 } else { (u128::from(ones(bits) - step)) * 2 + 1 };
    let fraction_bits = [7, 4, 3, 2][value_bytes.ilog2() as usize];
    let width = (128 - number.leading_zeros()).saturating_sub(fraction_bits + 1);
    let symbol = (number >> width) as u32 + (width << fraction_bits);
    let lows = (0..width).map(|bit| if number >> bit & 1 == 0 { '0' } else { '1' }).collect();
    let turn = match numbers {
        Numbers::Floats { exponent_shift } if turned => ((base & !top) >> exponent_shift) << fraction_bits,
        _ => 0,
    };
    let symbol = if symbol == 0 { 0 } else { 1 + (u64::from(symbol) - 1 + turn) % 255 };
    (symbol as u8, lows)
}

#[test]
fn residuals_split_and_join_alike_on_every_machine() {
    let floats = |exponent_shift| Numbers::Floats { exponent_shift };
    for (value_bytes, numbers) in [1, 2, 4, 8].map(|bytes| (bytes, Numbers::Integers)).into_iter().chain([
        (2, floats(10)),
        (2, floats(7)),
        (4, floats(23)),
        (8, floats(52)),
    ]) {
        for (count, turned) in
            [0, 1, 2, 3, 9, 255, 256, 257, 511, 512, 1000].into_iter().flat_map(|count| [(count, false), (count, true)])
        {
            let base = noise(value_bytes * count, count as u64 + 1);
            // Steps of every length.
            let raw: Vec<u8> = (0..count)
                .flat_map(|index| {
                    let step = value(&noise(8, index as u64 + 7), 8, 0) >> (index % 65).min(63);
                    value(&base, value_bytes, index).wrapping_add(step).to_le_bytes().into_iter().take(value_bytes)
                })
                .collect();
            let parts: Vec<(u8, String)> = (0..count)
                .map(|i| {
                    residual(value(&base, value_bytes, i), value(&raw, value_bytes, i), value_bytes, numbers, turned)
                })
                .collect();
            let symbols: Vec<u8> = parts.iter().map(|part| part.0).collect();
            let bits: String = parts.into_iter().map(|part| part.1).collect();
            let byte = |bits: &[u8]| bits.iter().rev().fold(0u8, |byte, bit| byte << 1 | (bit - b'0'));
            let lows: Vec<u8> = bits.as_bytes().chunks(8).map(byte).collect();
            for machine in Machine::available() {
                let mut found = vec![0xA5; count];
                for room in [lows.len(), lows.len() + 1, lows.len() + 5000] {
                    let mut found_lows = vec![0xA5; room];
                    let rows = (base.as_slice(), raw.as_slice());
                    let taken = machine.split_residual(numbers, value_bytes, turned, rows, &mut found, &mut found_lows);
                    assert_eq!(taken, Some(lows.len()), "{machine:?}, {count} values of {value_bytes}");
                    assert_eq!((&found, &found_lows[..lows.len()]), (&symbols, lows.as_slice()));
                }
                let mut short = vec![0; lows.len().saturating_sub(1)];
                let rows = (base.as_slice(), raw.as_slice());
                let taken = machine.split_residual(numbers, value_bytes, turned, rows, &mut found, &mut short);
                assert_eq!(taken, if lows.is_empty() { Some(0) } else { None });
                let mut joined = vec![0xA5; raw.len()];
                let taken = machine.join_residual(numbers, value_bytes, turned, &base, (&symbols, &lows), &mut joined);
                assert_eq!((taken, &joined), (Some(bits.len()), &raw), "{machine:?}, {count} values of {value_bytes}");
            }
        }
    }
}

#[test]
fn bytes_are_counted_alike_on_every_machine() {
    for machine in Machine::available() {
        for count in lengths().chain([64 * 255, 64 * 256, 100_000]) {
            for range in [1u64, 2, 16, 17, 200, 256] {
                let bytes: Vec<u8> =
                    noise(count, range).iter().map(|byte| (u64::from(*byte) * range / 256) as u8).collect();
                let mut expected = [7u32; 256];
                bytes.iter().for_each(|byte| expected[usize::from(*byte)] += 1);
                let mut found = [7u32; 256];
                machine.count_bytes(&bytes, &mut found);
                assert_eq!(found, expected, "{machine:?}, {count} bytes, {range} values");
            }
        }
    }
}

/// Bits one by one: the codes of the bytes from the last to the first, then a 1.
fn expected_codes(code: &PrefixCode, bytes: &[u8]) -> Vec<u8> {
    let mut bits = Vec::new();
    for byte in bytes.iter().rev() {
        let of = usize::from(*byte);
        bits.extend((0..code.lengths[of]).map(|bit| code.codes[of] >> bit & 1));
    }
    bits.push(1);
    bits.chunks(8).map(|eight| (0..).zip(eight).map(|(bit, set)| (*set as u8) << bit).sum()).collect()
}

#[test]
fn prefix_codes_are_written_alike_on_every_machine() {
    // Lengths and codes of any kind: nothing here must be a code that could be read again.
    for (first, last, longest) in [(0, 255, 11), (0, 127, 11), (3, 66, 11), (100, 131, 5), (60, 60, 1), (0, 128, 8)] {
        let random = noise(1024, first + longest);
        let mut code = PrefixCode { codes: [0; 256], lengths: [0; 256] };
        for number in first as usize..=last as usize {
            let length = 1 + u32::from(random[number]) % longest as u32;
            code.lengths[number] = length as u8;
            code.codes[number] = u16::from_le_bytes([random[256 + number], random[512 + number]]) & ones(length) as u16;
        }
        for count in lengths() {
            let spread = last - first + 1;
            let bytes: Vec<u8> = noise(count, 3).iter().map(|byte| (first + u64::from(*byte) % spread) as u8).collect();
            let expected = expected_codes(&code, &bytes);
            for machine in Machine::available() {
                let case = format!("{machine:?}, {count} bytes, {first} to {last}");
                let mut found = vec![0xA5; expected.len() + 40];
                assert_eq!(
                    machine.encode_bytes(&code, &bytes, &mut found[..expected.len() + 8]),
                    Some(expected.len()),
                    "{case}"
                );
                assert_eq!(found[..expected.len()], expected, "{case}");
                assert!(found[expected.len() + 8..].iter().all(|byte| *byte == 0xA5), "{case}");
                for short in [0, 1, expected.len() / 2, expected.len() - 1] {
                    assert_eq!(machine.encode_bytes(&code, &bytes, &mut found[..short]), None, "{case}, {short}");
                }
            }
        }
    }
}
