//! The two checks of an archive: CRC-64/NVME of stored bytes and BLAKE3 of logical bytes.
//!
//! Combination is done here and not by `crc_fast::checksum_combine`: that one squares matrices anew in every
//! call (measured: 190 µs against 80 ns here), and the writer combines once a block. Appending `n` zero bytes
//! multiplies the CRC register by x^(8n) modulo the polynomial; those powers come from small tables.

use std::sync::LazyLock;

use crc_fast::CrcAlgorithm;

/// CRC-64/NVME.
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

pub fn blake3(bytes: &[u8]) -> [u8; 32] {
    *::blake3::hash(bytes).as_bytes()
}

/// Of parts, one after another.
pub fn blake3_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = ::blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// CRC of the concatenation of two runs of bytes, from the CRC of each and the length of the second.
pub fn crc64_combine(first: u64, second: u64, second_bytes: u64) -> u64 {
    // Initial value and final xor are both all ones and cancel out.
    multiply(first, power_of_bytes(second_bytes)) ^ second
}

/// CRC of what `crc` covers followed by `zero_bytes` zero bytes: the padding before a block.
pub fn crc64_append_zeros(crc: u64, zero_bytes: u64) -> u64 {
    !multiply(!crc, power_of_bytes(zero_bytes))
}

/// CRC of `bytes` zero bytes.
pub fn crc64_of_zeros(bytes: u64) -> u64 {
    crc64_append_zeros(0, bytes)
}

/// The polynomial of CRC-64/NVME with its bits reflected: bit 63 is the coefficient of x^0.
const REFLECTED_POLYNOMIAL: u64 = 0xAD93_D235_94C9_3659_u64.reverse_bits();
/// 1, reflected.
const ONE: u64 = 1 << 63;
const WINDOWS: usize = 8;
const WINDOW_VALUES: usize = 256;

/// `POWERS[w][v]` is x^(8 · v · 256^w): one multiplication for each byte of a length that is not zero.
static POWERS: LazyLock<[[u64; WINDOW_VALUES]; WINDOWS]> = LazyLock::new(|| {
    let mut powers = [[ONE; WINDOW_VALUES]; WINDOWS];
    let mut step = ONE >> 8; // x^8, one zero byte
    for window in &mut powers {
        for value in 1..WINDOW_VALUES {
            window[value] = multiply(window[value - 1], step);
        }
        step = multiply(window[WINDOW_VALUES - 1], step);
    }
    powers
});

/// x^(8 · `byte_count`) modulo the polynomial.
fn power_of_bytes(byte_count: u64) -> u64 {
    let mut power = ONE;
    for (window, value) in POWERS.iter().zip(byte_count.to_le_bytes()) {
        if value != 0 {
            power = multiply(power, window[usize::from(value)]);
        }
    }
    power
}

/// One step up in a reflected register: times x.
const fn times_x(value: u64) -> u64 {
    (value >> 1) ^ (REFLECTED_POLYNOMIAL & (value & 1).wrapping_neg())
}

/// What the four bits that fall out of `value >> 4` come back as.
const NIBBLE_REDUCTION: [u64; 16] = {
    let mut table = [0; 16];
    let mut nibble = 0;
    while nibble < 16 {
        table[nibble] = times_x(times_x(times_x(times_x(nibble as u64))));
        nibble += 1;
    }
    table
};

/// Product of two reflected polynomials, four bits of `right` at a time.
fn multiply(left: u64, right: u64) -> u64 {
    if left == ONE {
        return right;
    }
    if right == ONE {
        return left;
    }
    // multiples[b]: bit 3 of b stands for x^0, bit 0 for x^3.
    let mut multiples = [0u64; 16];
    let mut power = left;
    for bit in [8, 4, 2, 1] {
        multiples[bit] = power;
        power = times_x(power);
    }
    for b in 1..16usize {
        let low = b & b.wrapping_neg();
        multiples[b] = multiples[b ^ low] ^ multiples[low];
    }
    // Horner from the highest powers (the lowest bits) down to x^0.
    let mut product = 0u64;
    for nibble in 0..16 {
        let reduced = NIBBLE_REDUCTION[(product & 15) as usize];
        product = (product >> 4) ^ reduced ^ multiples[((right >> (4 * nibble)) & 15) as usize];
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn check_values_are_those_of_the_specification() {
        assert_eq!(crc64(b"123456789"), 0xAE8B_1486_0A79_9888);
        assert_eq!(crc64(b""), 0);
        assert_eq!(blake3(b"")[..4], [0xAF, 0x13, 0x49, 0xB9]);
    }

    #[test]
    fn zeros_have_the_crc_of_zeros() {
        for byte_count in 0..300usize {
            assert_eq!(crc64_of_zeros(byte_count as u64), crc64(&vec![0; byte_count]));
        }
    }

    #[test]
    fn combination_agrees_with_crc_fast_at_any_length() {
        let (first, second) = (crc64(b"first"), crc64(b"second"));
        for shift in 0..64 {
            for byte_count in [(1u64 << shift) - 1, 1 << shift, (1 << shift) + 1, u64::MAX >> shift] {
                let expected = crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, first, second, byte_count);
                assert_eq!(crc64_combine(first, second, byte_count), expected, "{byte_count}");
            }
        }
    }

    proptest! {
        #[test]
        fn combination_is_the_crc_of_the_whole(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(bytes.len() + 1);
            let (first, second) = bytes.split_at(cut);
            prop_assert_eq!(crc64_combine(crc64(first), crc64(second), second.len() as u64), crc64(&bytes));
        }
    }
}
