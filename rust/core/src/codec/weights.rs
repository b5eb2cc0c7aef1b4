//! The weights of a prefix code as a finite state entropy code (RFC 8878, 4.1 and 4.2.1.2).

use super::links::bits::{BitWriter, GUARD_BYTES};

/// Weights are 0 to 11.
const WEIGHT_COUNT: usize = 12;
const TABLE_BITS: u32 = 6;
const TABLE_SIZE: usize = 1 << TABLE_BITS;
/// The description begins with how many bytes follow; from here on this byte means the plain form.
const BYTES_MAX: usize = 127;

/// The description of `weights`, all but the last one's; `None` where it is too long or they are all the same.
pub(super) fn describe(weights: &[u8]) -> Option<Vec<u8>> {
    let shares = shares_of(weights)?;
    let mut bits = BitWriter::default();
    write_shares(&shares, &mut bits);
    let mut description = vec![0];
    description.append(&mut whole_bytes(bits));
    description.append(&mut states(weights, &shares)?);
    let bytes = description.len() - 1;
    *description.first_mut()? = u8::try_from(bytes).ok().filter(|bytes| usize::from(*bytes) <= BYTES_MAX)?;
    Some(description)
}

fn whole_bytes(bits: BitWriter) -> Vec<u8> {
    let mut bytes = bits.finish();
    bytes.truncate(bytes.len() - GUARD_BYTES);
    bytes
}

/// Cells of the table for each weight, one at least for each that occurs.
fn shares_of(weights: &[u8]) -> Option<[usize; WEIGHT_COUNT]> {
    let mut counts = [0; WEIGHT_COUNT];
    for weight in weights {
        *counts.get_mut(usize::from(*weight))? += 1;
    }
    let mut shares = counts.map(|count| if count == 0 { 0 } else { (count * TABLE_SIZE / weights.len()).max(1) });
    loop {
        let sum: usize = shares.iter().sum();
        let largest = shares.iter_mut().max()?;
        match sum.cmp(&TABLE_SIZE) {
            std::cmp::Ordering::Equal => break,
            std::cmp::Ordering::Less => *largest += TABLE_SIZE - sum,
            std::cmp::Ordering::Greater => *largest -= 1,
        }
    }
    // A weight that has the whole table takes no bits, and nothing would tell how often it comes.
    shares.iter().all(|share| *share < TABLE_SIZE).then_some(shares)
}

/// RFC 8878, 4.1.1: each share takes as many bits as what is left of the table asks for.
fn write_shares(shares: &[usize; WEIGHT_COUNT], bits: &mut BitWriter) {
    bits.push(TABLE_BITS - 5, 4);
    let mut left = 1 + (1u32 << TABLE_BITS);
    let mut shares = shares.iter().map(|share| u32::try_from(*share).unwrap_or(0)).peekable();
    while let Some(share) = shares.next().filter(|_| left > 1) {
        let width = left.ilog2() + 1;
        let threshold = 1 << (width - 1);
        // The lower values take a bit less.
        let short = 2 * threshold - 1 - left;
        let value = share + 1;
        let value = if value >= threshold { value + short } else { value };
        bits.push(value, width - u32::from(value < short));
        left -= share;
        if share > 0 {
            continue;
        }
        // How many more are zero, in threes.
        let mut zeros = 0;
        while shares.next_if_eq(&0).is_some() {
            zeros += 1;
        }
        (0..zeros / 3).for_each(|_| bits.push(3, 2));
        bits.push(zeros % 3, 2);
    }
}

/// RFC 8878, 4.1.1: the cells of each weight, in order.
fn cells_of(shares: &[usize; WEIGHT_COUNT]) -> [Vec<usize>; WEIGHT_COUNT] {
    let mut table = [0; TABLE_SIZE];
    let mut at = 0;
    for (weight, share) in shares.iter().enumerate() {
        for _ in 0..*share {
            table[at] = weight;
            at = (at + (TABLE_SIZE >> 1) + (TABLE_SIZE >> 3) + 3) % TABLE_SIZE;
        }
    }
    let mut cells: [Vec<usize>; WEIGHT_COUNT] = Default::default();
    for (cell, weight) in table.iter().enumerate() {
        cells[*weight].push(cell);
    }
    cells
}

/// Two states in turns, written from the last weight to the first, as they are read from the end.
fn states(weights: &[u8], shares: &[usize; WEIGHT_COUNT]) -> Option<Vec<u8>> {
    let cells = cells_of(shares);
    let mut bits = BitWriter::default();
    let mut states: [Option<usize>; 2] = [None; 2];
    for (number, weight) in weights.iter().enumerate().rev() {
        let weight = usize::from(*weight);
        let share = *shares.get(weight)?;
        let state = &mut states[number % 2];
        // The last two are told by the states themselves: in the first cells, which ask for bits when there are none.
        let mut rank = 0;
        if let Some(next) = *state {
            let mut width = 0;
            while next >> width >= 2 * share {
                width += 1;
            }
            bits.push(u32::try_from(next & ((1 << width) - 1)).ok()?, width);
            rank = (next >> width).checked_sub(share)?;
        }
        *state = Some(TABLE_SIZE + cells.get(weight)?.get(rank)?);
    }
    for state in states.into_iter().rev() {
        bits.push(u32::try_from(state? - TABLE_SIZE).ok()?, TABLE_BITS);
    }
    bits.push(1, 1);
    Some(whole_bytes(bits))
}
