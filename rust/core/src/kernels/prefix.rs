//! Counting bytes and writing them as prefix codes, as any machine does it.
//!
//! A stream of codes is read from its end (RFC 8878, 4.2.2): the last byte is written first, and a 1 closes the stream.

/// Longest code, in bits (RFC 8878, 4.2.1).
pub const CODE_BITS_MAX: u32 = 11;

/// Code and length in bits of each byte; length 0: the byte does not occur.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixCode {
    pub codes: [u16; 256],
    pub lengths: [u8; 256],
}

/// Adds to `counts` how often each value is in `bytes`. Four tables: equal bytes that follow one another would wait.
#[inline(always)]
pub fn count_bytes(bytes: &[u8], counts: &mut [u32; 256]) {
    let mut tables = [[0u32; 256]; 4];
    let (fours, rest) = bytes.as_chunks::<4>();
    for four in fours {
        for (table, byte) in tables.iter_mut().zip(four) {
            table[usize::from(*byte)] += 1;
        }
    }
    for byte in rest {
        tables[0][usize::from(*byte)] += 1;
    }
    for (number, count) in counts.iter_mut().enumerate() {
        *count += tables.iter().map(|table| table[number]).sum::<u32>();
    }
}

/// Writes the codes of `bytes` to the start of `out` and returns how many bytes of it they fill; `None` when fewer than
/// eight bytes of it would be left.
#[inline(always)]
pub fn encode_bytes(code: &PrefixCode, bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut sink = BitSink::default();
    encode_into(code, bytes, &mut sink, out)?;
    sink.finish(out)
}

/// Four codes at once have at most 44 bits.
#[inline(always)]
pub(super) fn encode_into(code: &PrefixCode, bytes: &[u8], sink: &mut BitSink, out: &mut [u8]) -> Option<()> {
    let of = |byte: u8| (u64::from(code.codes[usize::from(byte)]), u64::from(code.lengths[usize::from(byte)]));
    let (head, fours) = bytes.as_rchunks::<4>();
    for four in fours.iter().rev() {
        let [(a, a_bits), (b, b_bits), (c, c_bits), (d, d_bits)] = four.map(of);
        let low = d | c << d_bits;
        let high = b | a << b_bits;
        let low_bits = d_bits + c_bits;
        sink.append(out, low | high << low_bits, low_bits + b_bits + a_bits)?;
    }
    for byte in head.iter().rev() {
        let (bits, count) = of(*byte);
        sink.append(out, bits, count)?;
    }
    Some(())
}

/// Bits on their way into bytes, the first in the lowest.
#[derive(Default)]
pub(super) struct BitSink {
    held: u64,
    /// Fewer than eight between two calls.
    held_bits: u64,
    at: usize,
}

impl BitSink {
    /// At most 56 bits, none set above them; `None` when `out` has no eight bytes more.
    #[inline(always)]
    pub fn append(&mut self, out: &mut [u8], bits: u64, count: u64) -> Option<()> {
        self.held |= bits << self.held_bits;
        self.held_bits += count;
        *out.get_mut(self.at..)?.first_chunk_mut()? = self.held.to_le_bytes();
        let whole = self.held_bits & !7;
        self.at += usize::try_from(whole / 8).unwrap_or(0);
        self.held >>= whole;
        self.held_bits &= 7;
        Some(())
    }

    /// Closes the stream; the number of its bytes.
    #[inline(always)]
    pub fn finish(mut self, out: &mut [u8]) -> Option<usize> {
        self.append(out, 1, 1)?;
        Some(self.at + usize::from(self.held_bits > 0))
    }
}
