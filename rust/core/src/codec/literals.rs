//! Zstandard frames of literals only (RFC 8878): Huffman coding without a search for matches. zstd can make such frames,
//! too, but takes twice as long: it copies the literals, counts and codes them one by one.

use super::prefix;
use crate::kernels::{Machine, PrefixCode};

/// Most bytes of a zstd block.
const BLOCK_BYTES: usize = 128 << 10;
/// Fewer bytes of a block are not worth a code.
const CODED_BYTES_MIN: usize = 24;
/// So many make one stream; more make four, which a decoder reads at once.
const ONE_STREAM_BYTES_MAX: usize = 1023;
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
const BLOCK_HEADER_BYTES: usize = 3;
/// Where three of four streams end.
const JUMP_BYTES: usize = 6;

/// Types of blocks.
const RAW: u32 = 0;
const REPEATED: u32 = 1;
const COMPRESSED: u32 = 2;

/// Writes one frame of `raw` (less than 4 GiB) to the start of `target`, and returns its bytes; `None` when it is too short,
/// which it may be by some bytes that are only needed on the way, or there is nothing to code.
pub(super) fn encode(raw: &[u8], target: &mut [u8]) -> Option<usize> {
    if raw.is_empty() {
        return None;
    }
    let mut frame = Frame { target, at: 0 };
    frame.start(raw)?;
    let blocks = raw.chunks(BLOCK_BYTES);
    let block_count = blocks.len();
    for (number, block) in (1..).zip(blocks) {
        let mut counts = [0; 256];
        Machine::detect().count_bytes(block, &mut counts);
        let is_last = number == block_count;
        let as_it_is = |frame: &mut Frame<'_>| frame.block(RAW, is_last, block.len(), block);
        match prefix::code_for(&counts) {
            None if block.len() > 1 => frame.block(REPEATED, is_last, block.len(), &block[..1])?,
            None => as_it_is(&mut frame)?,
            Some(code) => frame.coded(&code, is_last, block).or_else(|| as_it_is(&mut frame))?,
        }
    }
    Some(frame.at)
}

struct Frame<'a> {
    target: &'a mut [u8],
    at: usize,
}

impl Frame<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.target.get_mut(self.at..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.at += bytes.len();
        Some(())
    }

    /// RFC 8878, 3.1.1.1: without a window, where the content is no longer than one, or with one of a block.
    fn start(&mut self, raw: &[u8]) -> Option<()> {
        self.put(&MAGIC)?;
        if let Ok(bytes) = u8::try_from(raw.len()) {
            return self.put(&[0x20, bytes]);
        }
        if let Ok(beyond) = u16::try_from(raw.len() - 256) {
            self.put(&[0x60])?;
            return self.put(&beyond.to_le_bytes());
        }
        self.put(&[0x80, 0x38])?;
        self.put(&u32::try_from(raw.len()).ok()?.to_le_bytes())
    }

    fn block(&mut self, block_type: u32, is_last: bool, size: usize, content: &[u8]) -> Option<()> {
        self.put(&block_header(block_type, is_last, size)?)?;
        self.put(content)
    }

    /// `None`, and nothing done, where the codes are no shorter than the bytes or do not fit.
    fn coded(&mut self, code: &PrefixCode, is_last: bool, raw: &[u8]) -> Option<()> {
        if raw.len() < CODED_BYTES_MIN {
            return None;
        }
        let stream_count = if raw.len() <= ONE_STREAM_BYTES_MAX { 1 } else { 4 };
        let header_bytes = literals_header(raw.len(), 0).1;
        let content_start = self.at + BLOCK_HEADER_BYTES;
        let tree_start = content_start + header_bytes;
        let tree_bytes = prefix::describe(code, self.target.get_mut(tree_start..)?)?;
        let jumps_start = tree_start + tree_bytes;
        let jump_bytes = if stream_count == 1 { 0 } else { JUMP_BYTES };
        let mut at = jumps_start + jump_bytes;
        let mut jumps = [0; JUMP_BYTES];
        let machine = Machine::detect();
        for (number, part) in raw.chunks(raw.len().div_ceil(stream_count)).enumerate() {
            let bytes = machine.encode_bytes(code, part, self.target.get_mut(at..)?)?;
            if let Some(jump) = jumps.as_chunks_mut::<2>().0.get_mut(number) {
                *jump = u16::try_from(bytes).ok()?.to_le_bytes();
            }
            at += bytes;
        }
        let literals_bytes = at - tree_start;
        // A section of literals, then one byte: no sequences.
        let content_bytes = header_bytes + literals_bytes + 1;
        if content_bytes >= raw.len() {
            return None;
        }
        self.target.get_mut(jumps_start..)?.get_mut(..jump_bytes)?.copy_from_slice(&jumps[..jump_bytes]);
        *self.target.get_mut(at)? = 0;
        self.put(&block_header(COMPRESSED, is_last, content_bytes)?)?;
        self.put(&literals_header(raw.len(), literals_bytes).0[..header_bytes])?;
        self.at = content_start + content_bytes;
        Some(())
    }
}

/// RFC 8878, 3.1.1.2.
fn block_header(block_type: u32, is_last: bool, size: usize) -> Option<[u8; BLOCK_HEADER_BYTES]> {
    let field = u32::try_from(size).ok()? << 3 | block_type << 1 | u32::from(is_last);
    let [a, b, c, _] = field.to_le_bytes();
    Some([a, b, c])
}

/// RFC 8878, 3.1.1.3.1.1, and how many bytes of it count: compressed, one stream and both sizes in 10 bits, or four and
/// 18 bits.
fn literals_header(raw_bytes: usize, literals_bytes: usize) -> ([u8; 8], usize) {
    let (raw_bytes, literals_bytes) = (raw_bytes as u64, literals_bytes as u64);
    if raw_bytes <= ONE_STREAM_BYTES_MAX as u64 {
        ((2 | raw_bytes << 4 | literals_bytes << 14).to_le_bytes(), 3)
    } else {
        ((2 | 3 << 2 | raw_bytes << 4 | literals_bytes << 22).to_le_bytes(), 5)
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
    use crate::codec::testing::noise;

    fn frame(raw: &[u8]) -> Vec<u8> {
        let mut target = vec![0xA5; raw.len() + 1024];
        let bytes = encode(raw, &mut target).unwrap();
        target.truncate(bytes);
        target
    }

    fn decoded(frame: &[u8], raw_bytes: usize) -> Vec<u8> {
        let mut raw = vec![0; raw_bytes];
        let found = zstd_safe::decompress(raw.as_mut_slice(), frame).map_err(zstd_safe::get_error_name);
        assert_eq!(found, Ok(raw_bytes));
        raw
    }

    /// Symbols as exponents are: each half as frequent as the one above it.
    fn exponents(count: usize, seed: u64) -> Vec<u8> {
        let words = noise(4 * count, seed);
        words.as_chunks::<4>().0.iter().map(|word| 127 - u32::from_le_bytes(*word).leading_zeros() as u8).collect()
    }

    #[test]
    fn zstd_reads_them_at_every_block_border_and_group_border() {
        let lengths = (1..700).chain([1023, 1024, 4095, 4096, 65_537]);
        for raw_bytes in lengths.chain([131_071, 131_072, 131_073, 131_329, 262_144, 300_001]) {
            let raw = exponents(raw_bytes, raw_bytes as u64);
            let frame = frame(&raw);
            assert!(decoded(&frame, raw_bytes) == raw, "{raw_bytes} bytes");
            assert!(raw_bytes < 4095 || frame.len() * 3 < raw_bytes, "{raw_bytes} bytes, {}", frame.len());
        }
    }

    #[test]
    fn zstd_reads_short_frames_of_any_shape() {
        let lengths = [1, 23, 24, 25, 63, 64, 255, 256, 257, 511, 1000, 1023, 1024, 1025, 65_791, 65_792];
        for raw_bytes in lengths {
            for value_count in [1, 2, 3, 17, 128, 129, 130, 256] {
                let least = |pair: &[u8; 2]| (u64::from(pair[0].min(pair[1])) * value_count / 256) as u8;
                let raw: Vec<u8> = noise(2 * raw_bytes, value_count).as_chunks().0.iter().map(least).collect();
                assert!(decoded(&frame(&raw), raw_bytes) == raw, "{raw_bytes} bytes of {value_count} values");
            }
        }
        assert_eq!(encode(&[], &mut [0; 64]), None);
    }

    #[test]
    fn zstd_reads_codes_of_any_shape() {
        let count = 70_000u64;
        for value_count in [1, 2, 3, 16, 17, 64, 65, 127, 128, 129, 130, 200, 256] {
            for skew in [0, 1, 2, 5, 12] {
                // The product of several small numbers is skewed, up to counts that need codes of more than 11 bits.
                let words = noise(16 * count as usize, value_count + 1000 * skew);
                let value = |word: &[u8; 16]| {
                    let least = word.iter().take(1 + skew as usize).min().copied().unwrap();
                    (u64::from(least) * value_count / 256) as u8
                };
                let raw: Vec<u8> = words.as_chunks::<16>().0.iter().map(value).collect();
                assert!(decoded(&frame(&raw), raw.len()) == raw, "{value_count} values, skew {skew}");
            }
        }
    }

    /// Bits a byte by the counts alone.
    fn entropy(raw: &[u8]) -> f64 {
        let mut counts = [0; 256];
        Machine::detect().count_bytes(raw, &mut counts);
        let share = |count: &u32| f64::from(*count) / raw.len() as f64;
        counts.iter().filter(|count| **count > 0).map(|count| -share(count) * share(count).log2()).sum()
    }

    #[test]
    fn a_frame_is_near_the_entropy_of_its_bytes() {
        let skewed = |mask: u8| noise(262_144, 5).iter().map(|byte| byte & mask).collect::<Vec<u8>>();
        let long = [(exponents(131_072, 3), 0.03), (skewed(0x77), 0.01), (skewed(0xF6), 0.01)];
        let short = [64, 90, 256, 512, 1000, 2000].map(|bytes| (exponents(bytes, 3), 0.03));
        for (raw, over) in long.into_iter().chain(short) {
            let found = frame(&raw).len() as f64;
            let least = entropy(&raw) * raw.len() as f64 / 8.0;
            // The frame's and the block's headers, the code, and what fills last bytes up.
            assert!(found < least * (1.0 + over) + 30.0, "{found} bytes of {}, entropy {least}", raw.len());
        }
    }

    #[test]
    fn what_does_not_fit_is_said_and_nothing_is_written_beyond() {
        let raw = exponents(2000, 9);
        let full = frame(&raw).len();
        for target_bytes in 0..full + 20 {
            let mut guarded = vec![0xA5; target_bytes + 64];
            match encode(&raw, &mut guarded[..target_bytes]) {
                Some(bytes) => assert!(bytes == full && target_bytes >= full),
                None => assert!(target_bytes < full + 8),
            }
            assert!(guarded[target_bytes..].iter().all(|byte| *byte == 0xA5));
        }
    }
}
