//! Codec 1 (spec, `codecs/zstd.md`): exactly one Zstandard frame. The exponents of codec 2 use the same rules.

use super::{Codec, Scratch, literals};
use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// How a frame is made. Any zstd decoder reads both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    Matches,
    /// Huffman coding alone: several times faster, and no worse where nothing repeats.
    None,
}

const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// What a decoder that streams would have to hold.
const WINDOW_BYTES_MAX: u64 = 1 << 27;

/// Makes `block` one frame of at most `limit` bytes; false (and no block) when it does not fit.
pub(super) fn encode(
    search: Search,
    raw: &[u8],
    limit: usize,
    block: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<bool> {
    block.resize(limit, 0);
    let frame_bytes = encode_frame(search, raw, block, scratch)?;
    block.truncate(frame_bytes.unwrap_or(0));
    Ok(frame_bytes.is_some())
}

/// Writes one frame to the start of `target`; `None` when it is too short.
pub(super) fn encode_frame(
    search: Search,
    raw: &[u8],
    target: &mut [u8],
    scratch: &mut Scratch,
) -> Result<Option<usize>> {
    if search == Search::None {
        return Ok(literals::encode(raw, target));
    }
    let outcome = sys::frame_bytes(scratch.compressor()?.compress2(target, raw).unwrap_or_else(|code| code));
    outcome.map_err(|name| Error::new(ErrorKind::Io, "zstd", name))
}

pub(super) fn decode(block: &[u8], raw: &mut [u8], scratch: &mut Scratch) -> Result<()> {
    decode_frame(block, raw, scratch).map_err(|fault| match fault {
        Fault::Frame(detail) => Codec::Zstd.refuses(detail),
        Fault::Other(error) => error,
    })
}

/// Why a frame was not decoded; which codec's block it stood in, the caller knows.
pub(super) enum Fault {
    Frame(String),
    Other(Error),
}

/// Decodes a hostile frame that must give exactly `raw` and be all of `frame`.
pub(super) fn decode_frame(frame: &[u8], raw: &mut [u8], scratch: &mut Scratch) -> std::result::Result<(), Fault> {
    check_header(frame, raw.len() as u64).map_err(Fault::Frame)?;
    let named = |code| Fault::Frame(format!("zstd says: {}", zstd_safe::get_error_name(code)));
    let frame_bytes = zstd_safe::find_frame_compressed_size(frame).map_err(named)?;
    if frame_bytes != frame.len() {
        return Err(Fault::Frame(format!("the frame ends at byte {frame_bytes}, expected {}", frame.len())));
    }
    let decoded = scratch.decompressor().map_err(Fault::Other)?.decompress(raw, frame).map_err(named)?;
    if decoded == raw.len() {
        Ok(())
    } else {
        Err(Fault::Frame(format!("gives {decoded} bytes, expected {}", raw.len())))
    }
}

/// RFC 8878, 3.1.1.1. Read here and not by the library, which would also take skippable and legacy frames.
fn check_header(frame: &[u8], raw_bytes: u64) -> std::result::Result<(), String> {
    let short = || format!("has {} bytes, too few for a frame header", frame.len());
    let (magic, rest) = frame.split_first_chunk().ok_or_else(short)?;
    if *magic != MAGIC {
        return Err(format!("starts with {magic:02X?}, expected the magic of a zstd frame"));
    }
    let (descriptor, rest) = rest.split_first().ok_or_else(short)?;
    let single_segment = descriptor & 0x20 != 0;
    if descriptor & 0x08 != 0 {
        return Err("has a reserved bit set in the frame header".to_owned());
    }
    let (window, rest) = rest.split_at_checked(usize::from(!single_segment)).ok_or_else(short)?;
    let (dictionary, rest) = rest.split_at_checked([0, 1, 2, 4][usize::from(descriptor & 0x03)]).ok_or_else(short)?;
    if dictionary.iter().any(|byte| *byte != 0) {
        return Err("names a dictionary; expected none".to_owned());
    }
    let size_bytes = match descriptor >> 6 {
        0 if single_segment => 1,
        0 => return Err("does not say its content size".to_owned()),
        flag => 1usize << flag,
    };
    let field = rest.get(..size_bytes).ok_or_else(short)?;
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(field).for_each(|(to, from)| *to = *from);
    // The two-byte form counts from 256.
    let content_bytes = u64::from_le_bytes(bytes).saturating_add(if size_bytes == 2 { 256 } else { 0 });
    if content_bytes != raw_bytes {
        return Err(format!("says {content_bytes} bytes of content, expected {raw_bytes}"));
    }
    // A single-segment frame has no window field: its content is its window.
    let window_bytes = window.first().map_or(content_bytes, |byte| {
        let base = 1u64 << (10 + (byte >> 3));
        base + base / 8 * u64::from(byte & 7)
    });
    if window_bytes > WINDOW_BYTES_MAX {
        return Err(format!("needs a window of {window_bytes} bytes, allowed are {WINDOW_BYTES_MAX}"));
    }
    Ok(())
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first fault; small numbers"
)]
mod tests {
    use super::*;
    use crate::codec::testing;
    use crate::error::Layer;

    testing::conformance!(Codec::Zstd, |_, raw, block, scratch| {
        encode(Search::Matches, raw, zstd_safe::compress_bound(raw.len()), block, scratch)
    });

    fn layer(block: &[u8], raw_bytes: usize) -> Option<Layer> {
        decode(block, &mut vec![0; raw_bytes], &mut Scratch::new()).unwrap_err().layer()
    }

    #[test]
    fn frames_of_literals_decode_at_every_block_border() {
        let mut scratch = Scratch::new();
        for raw_bytes in [1, 2, 100, 1024, 131_071, 131_072, 131_073, 262_144, 500_001] {
            let raw: Vec<u8> = testing::noise(raw_bytes, 5).iter().map(|byte| byte.leading_zeros() as u8).collect();
            let mut block = Vec::new();
            assert!(encode(Search::None, &raw, raw_bytes + 64, &mut block, &mut scratch).unwrap());
            assert!(raw_bytes < 1024 || block.len() * 3 < raw_bytes);
            let mut found = vec![0; raw_bytes];
            decode(&block, &mut found, &mut scratch).unwrap();
            assert!(found == raw);
        }
    }

    #[test]
    fn a_frame_that_does_not_fit_is_no_error_and_leaves_no_block() {
        let raw = testing::noise(5000, 1);
        for search in [Search::Matches, Search::None] {
            let (mut block, mut scratch) = (vec![7; 9000], Scratch::new());
            assert!(!encode(search, &raw, 4000, &mut block, &mut scratch).unwrap());
            assert!(block.is_empty());
            assert!(encode(search, &raw, 5064, &mut block, &mut scratch).unwrap());
        }
    }

    #[test]
    fn the_window_of_a_single_segment_is_its_content() {
        let header = |content_bytes: u32| [&MAGIC[..], &[0xA0], &content_bytes.to_le_bytes()].concat();
        assert_eq!(check_header(&header(1 << 27), 1 << 27), Ok(()));
        assert!(check_header(&header((1 << 27) + 1), (1 << 27) + 1).is_err());
    }

    #[test]
    fn decode_refuses_frames_that_the_page_forbids() {
        let mut good = Vec::new();
        encode(Search::Matches, b"abc", 64, &mut good, &mut Scratch::new()).unwrap();
        assert_eq!(good[..5], [0x28, 0xB5, 0x2F, 0xFD, 0x20]);
        decode(&good, &mut [0; 3], &mut Scratch::new()).unwrap();

        let skippable = [0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0];
        let two = [good.as_slice(), &good].concat();
        let no_size = [&good[..4], &[0x00, 0x38], &good[6..]].concat();
        let window = |byte| [&good[..4], &[0x80, byte, 3, 0, 0, 0], &good[6..]].concat();
        let no_dictionary = [&good[..4], &[0x21, 0x00], &good[5..]].concat();
        decode(&no_dictionary, &mut [0; 3], &mut Scratch::new()).unwrap();
        let dictionary = [&good[..4], &[0x21, 0x07], &good[5..]].concat();
        decode(&window(0x88), &mut [0; 3], &mut Scratch::new()).unwrap();
        let legacy = [&[0x27], &good[1..]].concat();
        let blocks = [
            skippable.to_vec(),
            [good.as_slice(), &skippable].concat(),
            [&skippable, good.as_slice()].concat(),
            [good.as_slice(), &[0]].concat(),
            two,
            no_size,
            window(0x89),
            dictionary,
            legacy,
        ];
        for block in blocks {
            assert_eq!(layer(&block, 3), Some(Layer::Codec), "{block:02X?}");
        }
        assert_eq!(layer(&good, 4), Some(Layer::Codec));
        assert_eq!(layer(&good, 2), Some(Layer::Codec));
    }
}
