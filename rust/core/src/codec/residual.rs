//! Codec 34 (spec, `codecs/residual.md`): rows against base rows of the same shape, value by value.

use super::zstd::{self, Fault, Search};
use super::{Codec, Scratch};
use crate::error::Result;
use crate::kernels::{Machine, Numbers};
use crate::stream::ElementType;

const HEADER_BYTES: usize = 8;
/// What is sampled to judge a chunk: so many pieces of so many values.
const PIECES: usize = 8;
const PIECE_VALUES: usize = 256;

fn numbers_of(element_type: ElementType) -> Numbers {
    match element_type {
        ElementType::F16 => Numbers::Floats { exponent_shift: 10 },
        ElementType::Bf16 => Numbers::Floats { exponent_shift: 7 },
        ElementType::F32 => Numbers::Floats { exponent_shift: 23 },
        ElementType::F64 => Numbers::Floats { exponent_shift: 52 },
        _ => Numbers::Integers,
    }
}

/// Makes `block` (what it held is lost) at most `limit` bytes long; false when that cannot be (or a sample says by far
/// that it cannot), or `base` and `raw` are not as many whole values. Depends on these arguments alone.
///
/// # Errors
/// `Io` when the zstd library fails.
pub fn encode(
    element_type: ElementType,
    base: &[u8],
    raw: &[u8],
    limit: usize,
    block: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<bool> {
    let value_bytes = element_type.bytes() as usize;
    let count = raw.len() / value_bytes;
    let is_whole = base.len() == raw.len() && raw.len().is_multiple_of(value_bytes);
    if !is_whole || count == 0 || limit <= HEADER_BYTES {
        return Ok(false);
    }
    let view = View::of(element_type, base, raw);
    if view.least_bytes > limit {
        return Ok(false);
    }
    // No block is longer, whatever the caller allows.
    block.resize(limit.min(raw.len().saturating_mul(2).saturating_add(64)), 0);
    let (header, rest) = block.split_at_mut(HEADER_BYTES);
    let mut plane = std::mem::take(&mut scratch.plane);
    plane.resize(count, 0);
    let numbers = numbers_of(element_type);
    let low_bytes = Machine::detect().split_residual(numbers, value_bytes, view.turned, (base, raw), &mut plane, rest);
    let frame_bytes = match low_bytes {
        Some(low_bytes) => zstd::encode_frame(view.search, &plane, &mut rest[low_bytes..], scratch),
        None => Ok(None),
    };
    scratch.plane = plane;
    let (Some(low_bytes), Some(frame_bytes)) = (low_bytes, frame_bytes?) else { return Ok(false) };
    let Ok(frame_field) = u32::try_from(frame_bytes) else { return Ok(false) };
    header.copy_from_slice(&(u64::from(view.turned) << 32 | u64::from(frame_field)).to_le_bytes());
    block.truncate(HEADER_BYTES + low_bytes + frame_bytes);
    Ok(true)
}

/// Decodes the hostile `block` into exactly `raw`, given the rows it was made against. After an error the content of
/// `raw` means nothing.
///
/// # Errors
/// `Damaged` at layer `Codec` for any block that breaks the codec's page, or base rows of another length; `Io` when zstd
/// finds no memory.
pub fn decode(
    element_type: ElementType,
    base: &[u8],
    block: &[u8],
    raw: &mut [u8],
    scratch: &mut Scratch,
) -> Result<()> {
    let refuses = |detail: std::fmt::Arguments<'_>| Err(Codec::Residual.refuses(detail));
    let value_bytes = element_type.bytes() as usize;
    if base.len() != raw.len() || !raw.len().is_multiple_of(value_bytes) {
        let found = format!("stands for {} bytes against {} base bytes", raw.len(), base.len());
        return refuses(format_args!("{found}; expected as many, and whole values of {}", element_type.name()));
    }
    let Some((header, rest)) = block.split_first_chunk::<HEADER_BYTES>() else {
        return refuses(format_args!("has {} bytes, expected at least 8", block.len()));
    };
    let [a, b, c, d, turned, reserved @ ..] = *header;
    let numbers = numbers_of(element_type);
    if turned > u8::from(numbers != Numbers::Integers) || reserved != [0; 3] {
        let expected = "expected turned 0, or 1 with floats, and zeros";
        return refuses(format_args!("has turned {turned} and {reserved:?} in the reserved field; {expected}"));
    }
    let frame_bytes = u32::from_le_bytes([a, b, c, d]) as usize;
    let Some(parts) = rest.len().checked_sub(frame_bytes).and_then(|low_bytes| rest.split_at_checked(low_bytes)) else {
        return refuses(format_args!("has {} bytes, too few for a frame of {frame_bytes}", block.len()));
    };
    let (lows, frame) = parts;
    let mut plane = std::mem::take(&mut scratch.plane);
    plane.resize(raw.len() / value_bytes, 0);
    let outcome = zstd::decode_frame(frame, &mut plane, scratch);
    let taken = outcome
        .is_ok()
        .then(|| Machine::detect().join_residual(numbers, value_bytes, turned == 1, base, (&plane, lows), raw));
    scratch.plane = plane;
    outcome.map_err(|fault| match fault {
        Fault::Frame(detail) => Codec::Residual.refuses(format_args!("symbol frame {detail}")),
        Fault::Other(error) => error,
    })?;
    let Some(low_bits) = taken.flatten() else {
        return refuses(format_args!("has a symbol that stands for no number of {value_bytes} bytes"));
    };
    let spare_bits = lows.len().saturating_mul(8).checked_sub(low_bits).filter(|bits| *bits < 8);
    let Some(spare_bits) = spare_bits else {
        let found = format!("has {} bytes of low bits", lows.len());
        return refuses(format_args!("{found}; its symbols ask for {low_bits} bits"));
    };
    if lows.last().is_some_and(|last| u32::from(*last) << spare_bits > 0xFF) {
        return refuses(format_args!("has bits set after the {low_bits} low bits; expected zeros"));
    }
    Ok(())
}

/// How a chunk is coded, judged by a sample of it.
struct View {
    turned: bool,
    search: Search,
    /// Far below this no block will be.
    least_bytes: usize,
}

impl View {
    fn of(element_type: ElementType, base: &[u8], raw: &[u8]) -> Self {
        let plain = Sample::of(element_type, false, base, raw);
        let turned = match numbers_of(element_type) {
            Numbers::Integers => None,
            Numbers::Floats { .. } => Some(Sample::of(element_type, true, base, raw)),
        };
        let turned = turned.filter(|turned| turned.symbol_cost() < plain.symbol_cost());
        let is_turned = turned.is_some();
        let sample = turned.unwrap_or(plain);
        // Huffman codes have a bit at least; where nearly nothing changed matches do better.
        let search = if sample.counts[0] * 4 > sample.values * 3 { Search::Matches } else { Search::None };
        let values = (raw.len() / element_type.bytes() as usize) as u64;
        let low_bytes = sample.low_bytes.saturating_mul(values) / sample.values.max(1);
        let symbol_bytes = (sample.symbol_cost() >> (COST_BITS + 3)).saturating_mul(values) / sample.values.max(1);
        let least_bytes = usize::try_from((low_bytes + symbol_bytes) / 16 * 15).unwrap_or(usize::MAX);
        Self { turned: is_turned, search, least_bytes }
    }
}

struct Sample {
    values: u64,
    low_bytes: u64,
    counts: [u64; 256],
}

impl Sample {
    fn of(element_type: ElementType, turned: bool, base: &[u8], raw: &[u8]) -> Self {
        let value_bytes = element_type.bytes() as usize;
        let piece_bytes = PIECE_VALUES * value_bytes;
        let stride = (raw.len() / PIECES / value_bytes * value_bytes).max(piece_bytes);
        let mut sample = Self { values: 0, low_bytes: 0, counts: [0; 256] };
        let (mut symbols, mut lows) = ([0; PIECE_VALUES], [0; PIECE_VALUES * 8]);
        for (base, raw) in base.chunks(stride).zip(raw.chunks(stride)) {
            let end = raw.len().min(piece_bytes);
            let (rows, numbers) = ((&base[..end], &raw[..end]), numbers_of(element_type));
            let symbols = &mut symbols[..end / value_bytes];
            let low_bytes = Machine::detect().split_residual(numbers, value_bytes, turned, rows, symbols, &mut lows);
            sample.low_bytes += low_bytes.unwrap_or(0) as u64;
            sample.values += symbols.len() as u64;
            symbols.iter().for_each(|symbol| sample.counts[usize::from(*symbol)] += 1);
        }
        sample
    }

    /// Entropy of the symbols in 1 / 2^COST_BITS bits. In integers, so that every machine chooses alike.
    fn symbol_cost(&self) -> u64 {
        let own: u64 = self.counts.iter().map(|count| count * logarithm(*count)).sum();
        (self.values * logarithm(self.values)).saturating_sub(own)
    }
}

const COST_BITS: u32 = 8;

/// log2 in 1 / 2^COST_BITS, straight between powers of two.
fn logarithm(number: u64) -> u64 {
    let Some(whole) = number.checked_ilog2() else { return 0 };
    (u64::from(whole) << COST_BITS) + ((number - (1 << whole)) << COST_BITS >> whole)
}

#[cfg(test)]
#[path = "residual_tests.rs"]
mod tests;
