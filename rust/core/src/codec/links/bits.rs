//! Numbers of a few bits in a row, the first in the lowest bits, and the three number codes of `codecs/links.md`.

use crate::sys;

/// Zero bytes behind the bits, so that a reader may always look at eight bytes.
pub(in crate::codec) const GUARD_BYTES: usize = 8;

/// Gaps below this are their own code; above, four codes an octave.
const DIRECT: u32 = 8;

/// Code of a gap, bits that follow it, and their value.
#[inline(always)]
pub(in crate::codec) fn gap_code(gap: u32) -> (u8, u32, u32) {
    // One rule for both kinds: below 8 nothing is shifted, and the smallest gaps are lent the octave of 4.
    let extra = (gap | 4).ilog2() - 2;
    let code = 4 * extra + (gap >> extra);
    // At most 8 + 4 × 28 + 3 = 123.
    (code.to_le_bytes()[0], extra, gap & ((1 << extra) - 1))
}

/// Smallest gap of each code and the bits that follow: the inverse of `gap_code`.
pub(in crate::codec) const GAP_CODES: [(u32, u32); 128] = gap_codes();

const fn gap_codes() -> [(u32, u32); 128] {
    let mut table = [(u32::MAX, 0); 128];
    let mut code = 0u32;
    while code < 124 {
        table[code as usize] = if code < DIRECT {
            (code, 0)
        } else {
            let (octave, quarter) = (3 + (code - DIRECT) / 4, (code - DIRECT) % 4);
            ((4 + quarter) << (octave - 2), octave - 2)
        };
        code += 1;
    }
    table
}

/// Class of a gap by the mean that is to be expected: floor(log2(room / left)). `left` is 1 or more, `room` at least that.
#[inline(always)]
pub(super) fn gap_class(room: u32, left: u32) -> usize {
    // Without dividing: the quotient has as many bits as the two differ by, or one less.
    let octaves = left.leading_zeros().saturating_sub((room | 1).leading_zeros());
    let too_many = u64::from(left) << octaves > u64::from(room);
    octaves.saturating_sub(u32::from(too_many)) as usize
}

/// floor(log2(choices)) and the number of values that take so few bits, for each count of choices.
const CHOICES: [(u32, u32); 256] = choices();

const fn choices() -> [(u32, u32); 256] {
    let mut table = [(0, 1); 256];
    let mut count = 1u32;
    while count < 256 {
        table[count as usize] = (count.ilog2(), (2 << count.ilog2()) - count);
        count += 1;
    }
    table
}

#[derive(Default)]
pub(in crate::codec) struct BitWriter {
    /// Longer than what is written.
    bytes: Vec<u8>,
    /// Whole bytes written; up to 7 more bits wait.
    whole: usize,
    pending: u64,
    filled: u32,
}

/// Bytes by which a writer grows at first.
const GROWTH_BYTES: usize = 4096;

impl BitWriter {
    /// With room for so many bytes; what is not written takes no memory.
    pub(in crate::codec) fn with_room(byte_count: usize) -> Self {
        let bytes = vec![0; byte_count];
        sys::prefer_huge_pages(&bytes);
        Self { bytes, ..Self::default() }
    }

    /// Bytes that what was written takes, the last of them perhaps in part.
    pub(in crate::codec) fn byte_count(&self) -> usize {
        self.whole + usize::from(self.filled > 0)
    }

    /// `width` up to 56; `value` has no bits above.
    #[inline(always)]
    fn push_wide(&mut self, value: u64, width: u32) {
        self.pending |= value << self.filled;
        self.filled += width;
        if self.bytes.len() < self.whole + 8 {
            self.grow();
        }
        // Always a whole word, of which the whole bytes count: no branch that depends on the data.
        if let Some(word) = self.bytes.get_mut(self.whole..).and_then(<[u8]>::first_chunk_mut::<8>) {
            *word = self.pending.to_le_bytes();
        }
        let whole = self.filled / 8;
        self.whole += whole as usize;
        self.pending = self.pending.unbounded_shr(8 * whole);
        self.filled %= 8;
    }

    #[cold]
    fn grow(&mut self) {
        self.bytes.resize(2 * self.bytes.len() + GROWTH_BYTES, 0);
    }

    /// `width` up to 32; `value` has no bits above.
    #[inline(always)]
    pub(in crate::codec) fn push(&mut self, value: u32, width: u32) {
        self.push_wide(value.into(), width);
    }

    /// Each rank is one of `choices` values (at most 255), one less for each: floor or ceil of log2 bits, the first
    /// values take the fewer.
    #[inline(always)]
    pub(super) fn push_ranks(&mut self, choices: usize, ranks: &[u8]) {
        let mut choices = (1..=choices).rev();
        // Seven ranks are at most 56 bits.
        for ranks in ranks.chunks(7) {
            let (mut bits, mut width) = (0, 0);
            for (rank, choices) in ranks.iter().zip(choices.by_ref()) {
                let (few, short) = CHOICES[choices % 256];
                let rank = u32::from(*rank);
                let long = (rank + short) >> 1 | ((rank + short) & 1) << few;
                // Chosen by a mask: half of the ranks are long, and which, nobody can foresee.
                let is_long = u32::from(rank >= short);
                let code = rank ^ (rank ^ long) & is_long.wrapping_neg();
                bits |= u64::from(code) << width;
                width += few + is_long;
            }
            self.push_wide(bits, width);
        }
    }

    /// Goes on with what another wrote.
    pub(in crate::codec) fn append(&mut self, other: &Self) {
        let needed = self.whole + other.byte_count() + 2 * size_of::<u64>();
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
        let (words, rest) = other.bytes[..other.whole].as_chunks::<8>();
        for (word, target) in words.iter().zip(self.bytes[self.whole..].as_chunks_mut::<8>().0) {
            let word = u64::from_le_bytes(*word);
            *target = (self.pending | word << self.filled).to_le_bytes();
            self.pending = word.unbounded_shr(u64::BITS - self.filled);
        }
        self.whole += size_of_val(words);
        rest.iter().for_each(|byte| self.push(u32::from(*byte), 8));
        self.push_wide(other.pending, other.filled);
    }

    pub(in crate::codec) fn finish(mut self) -> Vec<u8> {
        let padding = self.filled.wrapping_neg() % 8;
        self.push(0, padding);
        self.bytes.truncate(self.whole);
        self.bytes.extend_from_slice(&[0; GUARD_BYTES]);
        self.bytes
    }
}

pub(in crate::codec) struct BitReader<'a> {
    bytes: &'a [u8],
    bit: usize,
}

impl<'a> BitReader<'a> {
    pub(in crate::codec) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, bit: 0 }
    }

    #[inline(always)]
    fn window(&self) -> Option<u64> {
        let word = self.bytes.get(self.bit / 8..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*word) >> (self.bit % 8))
    }

    /// `width` up to 32.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "masked to 32 bits or fewer")]
    pub(in crate::codec) fn take(&mut self, width: u32) -> Option<u32> {
        let value = self.window()? & ((1 << width) - 1);
        self.bit += width as usize;
        Some(value as u32)
    }

    /// The inverse of `push_ranks`, once for each of `ranks`, with one choice less each time. `choices` is 1 to 255
    /// and at least their number; each rank is below its choices.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "masked to 8 bits or fewer")]
    pub(super) fn take_ranks(&mut self, choices: u32, ranks: &mut [u8]) -> Option<()> {
        // A window holds 57 bits whatever the place in its first byte; looking at memory once for several ranks
        // halves the chain from one to the next.
        let (mut window, mut held) = (self.window()?, 56);
        for (choices, rank) in (1..=choices).rev().zip(ranks) {
            if held < u8::BITS {
                (window, held) = (self.window()?, 56);
            }
            let width = choices.ilog2();
            let short = (2 << width) - choices;
            let low = (window & ((1 << width) - 1)) as u32;
            let long = low >= short;
            let more = (low << 1 | (window >> width & 1) as u32).wrapping_sub(short);
            let used = width + u32::from(long);
            window >>= used;
            held -= used;
            self.bit += used as usize;
            *rank = if long { more } else { low } as u8;
        }
        Some(())
    }

    /// True when all bits were taken: what is left is less than a byte of zeros, and the guard.
    pub(in crate::codec) fn is_at_end(&self) -> bool {
        let rest = self.bytes.get(self.bit / 8..).unwrap_or_default();
        let whole = self.bit.is_multiple_of(8);
        let expected = GUARD_BYTES + usize::from(!whole);
        rest.len() == expected
            && rest[rest.len() - GUARD_BYTES..].iter().all(|byte| *byte == 0)
            && (whole || rest[0] >> (self.bit % 8) == 0)
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first fault; small numbers"
)]
mod tests {
    use super::*;

    #[test]
    fn gaps_come_back_from_their_codes() {
        let edges =
            (0..32).flat_map(|octave: u32| [(1u32 << octave) - 1, 1 << octave, (1 << octave) + 1, 5 << octave >> 2]);
        for gap in (0..5000).chain(edges) {
            let (code, extra, rest) = gap_code(gap);
            let (smallest, bits) = GAP_CODES[usize::from(code)];
            assert_eq!((bits, smallest + rest), (extra, gap));
        }
    }

    #[test]
    fn classes_are_those_of_the_quotient() {
        let edges = (0..31).flat_map(|octave: u32| [(1u32 << octave) - 1, 1 << octave, (1 << octave) + 1]);
        for room in (0..700).chain(edges).chain([u32::MAX >> 1, 1 << 31]) {
            for left in (1..=255).take_while(|left| *left <= room.max(1)) {
                let expected = (room / left).checked_ilog2().unwrap_or(0);
                assert_eq!(gap_class(room, left), expected as usize, "{room} / {left}");
            }
        }
    }

    #[test]
    fn numbers_and_choices_come_back() {
        let mut writer = BitWriter::default();
        let ranks = |choices: u32, turn: u32| (1..=choices).rev().map(move |left| turn.wrapping_mul(left * 37) % left);
        for (choices, turn) in (1..=255).flat_map(|choices| (0..9).map(move |turn| (choices, turn))) {
            let ranks: Vec<u8> = ranks(choices, turn).map(|rank| rank as u8).collect();
            writer.push_ranks(choices as usize, &ranks);
            writer.push(choices, 1 + choices.ilog2());
        }
        writer.push(u32::MAX, 32);
        let bytes = writer.finish();
        let mut reader = BitReader::new(&bytes);
        for (choices, turn) in (1..=255).flat_map(|choices| (0..9).map(move |turn| (choices, turn))) {
            let mut found = vec![0; choices as usize];
            reader.take_ranks(choices, &mut found).unwrap();
            assert!(found.iter().map(|rank| u32::from(*rank)).eq(ranks(choices, turn)));
            assert_eq!(reader.take(1 + choices.ilog2()), Some(choices));
        }
        assert!(!reader.is_at_end());
        assert_eq!(reader.take(32), Some(u32::MAX));
        assert!(reader.is_at_end());
        assert!((0..20).any(|_| reader.take(8).is_none()));
        assert_eq!(BitReader::new(&[1; 7]).take(1), None);
        let ends = |bytes: &[u8], bits| {
            let mut reader = BitReader::new(bytes);
            reader.take(bits).unwrap();
            reader.is_at_end()
        };
        assert!(ends(&[3, 0, 0, 0, 0, 0, 0, 0, 0], 2));
        assert!(!ends(&[7, 0, 0, 0, 0, 0, 0, 0, 0], 2));
        assert!(!ends(&[3, 0, 0, 0, 0, 0, 0, 0, 1], 2));
        assert!(!ends(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0], 2));
    }
}
