//! Which codec a chunk gets. Depends on role, element type and bytes alone, so that the same input gives the same
//! archive at any thread count.

use super::origin::Origin;
use super::zstd::{self, Search};
use super::{Codec, Scratch, affine, bitpack, float32, half, links, lists, map, narrow, raw};
use crate::error::Result;
use crate::stream::{ChunkShape, ElementType, StreamRole};

/// A chunk up to this long is its own sample.
const WHOLE_SAMPLE_BYTES: usize = 65_536;
/// A longer one is judged by this many pieces, 1/16 of it together.
const PIECES: usize = 8;
const PIECE_BYTES_MAX: usize = 32_768;
/// f32 values looked at before zstd is tried against float32.
const PROBED_VALUES: usize = 2_048;

pub(super) fn encode(shape: &ChunkShape, raw: &[u8], block: &mut Vec<u8>, scratch: &mut Scratch) -> Result<Codec> {
    let ChunkShape { role, element_type, .. } = *shape;
    let chosen = match role {
        StreamRole::MAP => map::encode(shape.first_row, raw, worth(raw.len()), block, scratch)?.then_some(Codec::Map),
        StreamRole::PLAN | StreamRole::DOCUMENT | StreamRole::PAYLOAD => text(raw, block, scratch)?,
        _ if element_type == ElementType::F32 => floats(shape, raw, block, scratch)?,
        _ if half::codec_of(element_type).is_some() => halves(element_type, raw, block, scratch)?,
        _ if element_type.is_integer() && (element_type.bytes() > 1 || holds_numbers(role)) => {
            match graph(shape, raw, block, scratch)? {
                None => integers(element_type, raw, block, scratch)?,
                chosen => chosen,
            }
        }
        _ => bytes(raw, block, scratch)?,
    };
    Ok(chosen.unwrap_or_else(|| {
        raw::encode(raw, block);
        Codec::Raw
    }))
}

/// The longest block that is worth decoding: 1 % saved.
fn worth(raw_bytes: usize) -> usize {
    raw_bytes - raw_bytes.div_ceil(100)
}

/// Roles whose bytes are numbers and not codes of a quantizer or text.
fn holds_numbers(role: StreamRole) -> bool {
    matches!(role, StreamRole::IDS | StreamRole::LINKS | StreamRole::LEVELS | StreamRole::LIST_SIZES)
}

/// Bytes known to compress: no sample is taken.
fn text(raw: &[u8], block: &mut Vec<u8>, scratch: &mut Scratch) -> Result<Option<Codec>> {
    Ok(zstd::encode(Search::Matches, raw, worth(raw.len()), block, scratch)?.then_some(Codec::Zstd))
}

/// Bytes of which nothing is known (opaque, literal, codes).
fn bytes(raw: &[u8], block: &mut Vec<u8>, scratch: &mut Scratch) -> Result<Option<Codec>> {
    if raw.len() <= WHOLE_SAMPLE_BYTES {
        return text(raw, block, scratch);
    }
    let alone = sampled(Search::None, raw, scratch)?;
    let matched = sampled(Search::Matches, raw, scratch)?;
    if alone.min(matched) > worth(raw.len()) {
        return Ok(None);
    }
    // Within 2 % the search is not worth its time: quantizer codes have skewed bytes but no repeats.
    let search = if alone <= matched + matched / 50 { Search::None } else { Search::Matches };
    Ok(zstd::encode(search, raw, worth(raw.len()), block, scratch)?.then_some(Codec::Zstd))
}

fn floats(shape: &ChunkShape, raw: &[u8], block: &mut Vec<u8>, scratch: &mut Scratch) -> Result<Option<Codec>> {
    let codec = match Origin::find(shape, raw) {
        Some(origin) if narrow::encode(shape, origin, raw, narrow_worth(raw.len()), block, scratch)? => Codec::Narrow,
        _ if float32::encode(ElementType::F32, raw, worth(raw.len()), block, scratch)? => Codec::Float32,
        _ => return bytes(raw, block, scratch),
    };
    if !repeats::<4>(raw) {
        return Ok(Some(codec));
    }
    // Zeros, whole numbers, widened half floats, rows that come again: matches may beat split planes. They must by
    // 1/32, since they decode more slowly.
    let limit = block.len() - block.len() / 32;
    Ok(Some(if challenge(raw, limit, block, scratch)? { Codec::Zstd } else { codec }))
}

/// The longest block of narrow values that is worth it: less than true f32 give.
fn narrow_worth(raw_bytes: usize) -> usize {
    raw_bytes / 5 * 4
}

fn halves(element_type: ElementType, raw: &[u8], block: &mut Vec<u8>, scratch: &mut Scratch) -> Result<Option<Codec>> {
    let Some(codec) = half::codec_of(element_type) else { return Ok(None) };
    if !half::encode_at(0, raw, worth(raw.len()), block, scratch)? {
        return bytes(raw, block, scratch);
    }
    // One half float comes again often, four in a row only where rows do.
    let limit = block.len() - block.len() / 32;
    let matched = repeats::<8>(raw) && challenge(raw, limit, block, scratch)?;
    Ok(Some(if matched { Codec::Zstd } else { codec }))
}

/// Whether words of so many bytes come again, or their lowest bytes are few: never so among true measurements.
fn repeats<const BYTES: usize>(raw: &[u8]) -> bool {
    let words = raw.as_chunks::<BYTES>().0;
    let step = (words.len() / PROBED_VALUES).max(1);
    let (mut seen, mut low_counts) = ([0u64; 2 * PROBED_VALUES], [0usize; 256]);
    let (mut probed, mut again) = (0, 0);
    for word in words.iter().step_by(step).take(PROBED_VALUES) {
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
        let bits = u64::from_le_bytes(bytes);
        let slot = (bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52) as usize % seen.len();
        // Slots start as zeros, so that zero counts as seen from the start; a stream of zeros is meant to.
        again += usize::from(seen[slot] == bits);
        seen[slot] = bits;
        low_counts[usize::from(bytes[0])] += 1;
        probed += 1;
    }
    let commonest = low_counts.into_iter().max().unwrap_or(0);
    again * 16 > probed || commonest * 32 > probed.max(256)
}

/// Rows with fewer slots are no lists of links worth the name.
const LINK_SLOTS_MIN: u32 = 4;

/// Links and the ids of lists, when they hold together; a fixed width decodes faster, so 1/32 must be saved over it.
fn graph(shape: &ChunkShape, raw: &[u8], block: &mut Vec<u8>, scratch: &mut Scratch) -> Result<Option<Codec>> {
    let is_links = shape.role == StreamRole::LINKS && shape.row_elements >= LINK_SLOTS_MIN;
    if !is_links && shape.role != StreamRole::IDS {
        return Ok(None);
    }
    let Some(packed) = bitpack::measure(shape.element_type, raw) else { return Ok(None) };
    let limit = worth(raw.len()).min(packed.block_bytes - packed.block_bytes / 32);
    if is_links {
        return Ok(links::encode(shape, raw, limit, block, scratch)?.then_some(Codec::Links));
    }
    Ok(lists::encode(shape.element_type, raw, limit, block).then_some(Codec::Lists))
}

fn integers(
    element_type: ElementType,
    raw: &[u8],
    block: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<Option<Codec>> {
    if affine::encode(element_type, raw, block) && block.len() <= worth(raw.len()) {
        return Ok(Some(Codec::Affine));
    }
    let Some(fit) = bitpack::measure(element_type, raw).filter(|fit| fit.block_bytes <= worth(raw.len())) else {
        return bytes(raw, block, scratch);
    };
    bitpack::encode(fit, raw, block);
    // Levels are nearly all alike, link slots often empty: matches may beat a fixed width, by 1/16 to be worth it.
    let limit = block.len() - block.len() / 16;
    let codec = if challenge(raw, limit, block, scratch)? { Codec::Zstd } else { Codec::Bitpack };
    Ok(Some(codec))
}

/// Puts a zstd frame in place of `block` if one of at most `limit` bytes can be made and a sample promises it.
fn challenge(raw: &[u8], limit: usize, block: &mut Vec<u8>, scratch: &mut Scratch) -> Result<bool> {
    if raw.len() > WHOLE_SAMPLE_BYTES && sampled(Search::Matches, raw, scratch)? > limit {
        return Ok(false);
    }
    let mut trial = std::mem::take(&mut scratch.trial);
    let outcome = zstd::encode(Search::Matches, raw, limit, &mut trial, scratch);
    if matches!(outcome, Ok(true)) {
        std::mem::swap(block, &mut trial);
    }
    scratch.trial = trial;
    outcome
}

/// What a frame of all of `raw` should take, judged by pieces of it; `raw.len()` when a frame saves nothing.
fn sampled(search: Search, raw: &[u8], scratch: &mut Scratch) -> Result<usize> {
    let mut sample = std::mem::take(&mut scratch.sample);
    let mut trial = std::mem::take(&mut scratch.trial);
    sample.clear();
    let stride = raw.len() / PIECES;
    for piece in raw.chunks_exact(stride.max(1)) {
        sample.extend(piece.iter().take((stride / 16).min(PIECE_BYTES_MAX)));
    }
    let outcome = zstd::encode(search, &sample, sample.len(), &mut trial, scratch);
    let (sample_bytes, frame_bytes) = (sample.len(), trial.len());
    (scratch.sample, scratch.trial) = (sample, trial);
    // Chunks are far below 2^32 bytes, samples below 2^19: the product fits.
    Ok(if outcome? { frame_bytes.saturating_mul(raw.len()) / sample_bytes.max(1) } else { raw.len() })
}
