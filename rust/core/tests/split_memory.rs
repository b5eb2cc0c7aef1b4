//! No number in a file earns memory. Alone in its file: address space is counted for the whole process.

mod split_support;

use split_support::{attack, fixtures, peak_address_bytes};

/// The allocator's own steps; windows are as small as these files.
const ROOM_BYTES: u64 = 2 << 20;

fn flip_every_bit(bytes: &mut Vec<u8>) {
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        attack(bytes);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

fn plant(bytes: &mut Vec<u8>, offset: usize, number: &[u8]) {
    let place = offset..offset + number.len();
    let kept = bytes[place.clone()].to_vec();
    bytes[place.clone()].copy_from_slice(number);
    attack(bytes);
    bytes[place].copy_from_slice(&kept);
}

#[test]
fn flipped_bits_and_huge_counts_anywhere_take_no_memory() {
    let files = fixtures();
    files.iter().for_each(|(_, bytes)| attack(bytes));
    let before = peak_address_bytes();
    for (_, mut bytes) in files {
        flip_every_bit(&mut bytes);
        for offset in 0..bytes.len().saturating_sub(8) {
            for number in [1 << 63, u64::MAX, 1 << 40, (1 << 61) + 1, u64::MAX / 8, i64::MAX.unsigned_abs()] {
                plant(&mut bytes, offset, &number.to_le_bytes());
            }
            for number in [u32::MAX, i32::MAX.unsigned_abs(), 1 << 31] {
                plant(&mut bytes, offset, &number.to_le_bytes());
            }
        }
    }
    let grown = peak_address_bytes() - before;
    assert!(grown <= ROOM_BYTES, "address space grew by {grown} bytes");
}
