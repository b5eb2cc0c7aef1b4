//! Codec 7 (spec, `codecs/narrow.md`): f32 rows that follow from narrower values, with or without a scale a row.

use super::origin::Origin;
use super::zstd::Search;
use super::{Codec, Scratch, bitpack, half, zstd};
use crate::error::Result;
use crate::kernels::{Machine, Narrow, Rule};
use crate::stream::{ChunkShape, ElementType};

const HEADER_BYTES: usize = 16;
/// Scales are normal numbers above zero.
const SCALE_BITS: std::ops::Range<u32> = 0x0080_0000..0x7F80_0000;
/// One row in so many may be an exception before the writer gives up.
const ROWS_PER_EXCEPTION: usize = 8;

fn rule_from(number: u8) -> Option<Rule> {
    [Rule::Plain, Rule::Multiply, Rule::Divide].get(usize::from(number)).copied()
}

fn rule_number(rule: Rule) -> u8 {
    match rule {
        Rule::Plain => 0,
        Rule::Multiply => 1,
        Rule::Divide => 2,
    }
}

fn type_of(narrow: Narrow) -> ElementType {
    match narrow {
        Narrow::U8 => ElementType::U8,
        Narrow::I8 => ElementType::I8,
        Narrow::I16 => ElementType::I16,
        Narrow::F16 => ElementType::F16,
        Narrow::Bf16 => ElementType::Bf16,
    }
}

fn narrow_from(number: u8) -> Option<Narrow> {
    let kinds = [Narrow::U8, Narrow::I8, Narrow::I16, Narrow::F16, Narrow::Bf16];
    kinds.into_iter().find(|narrow| type_of(*narrow).number() == u16::from(number))
}

pub(super) fn bytes_of(narrow: Narrow) -> usize {
    if matches!(narrow, Narrow::U8 | Narrow::I8) { 1 } else { 2 }
}

/// Bytes of an f32 row when `raw` is whole rows of that type.
fn row_bytes(shape: &ChunkShape, raw: &[u8]) -> Option<usize> {
    let row_bytes = usize::try_from(shape.row_elements).ok()?.checked_mul(4)?;
    (shape.element_type == ElementType::F32 && row_bytes > 0 && raw.len().is_multiple_of(row_bytes))
        .then_some(row_bytes)
}

/// Makes `block` at most `limit` bytes long; false when that cannot be, or too many rows are not of this origin.
pub(super) fn encode(
    shape: &ChunkShape,
    origin: Origin,
    raw: &[u8],
    limit: usize,
    block: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<bool> {
    let Some(row_bytes) = row_bytes(shape, raw) else { return Ok(false) };
    let mut parts = std::mem::take(&mut scratch.parts);
    let outcome = match parts.take_apart(origin, raw, row_bytes) {
        true => parts.write(origin, raw, row_bytes, limit, block, scratch),
        false => Ok(false),
    };
    scratch.parts = parts;
    outcome
}

/// A chunk taken apart; kept between chunks for its buffers.
#[derive(Default)]
pub(super) struct Parts {
    exceptions: Vec<u32>,
    scales: Vec<u8>,
    values: Vec<u8>,
    /// One row of narrow values as f32.
    row: Vec<u8>,
}

impl Parts {
    /// False as soon as there are too many exceptions.
    fn take_apart(&mut self, origin: Origin, raw: &[u8], row_bytes: usize) -> bool {
        let machine = Machine::detect();
        let narrow_bytes = row_bytes / 4 * bytes_of(origin.narrow);
        let row_count = raw.len() / row_bytes;
        self.exceptions.clear();
        self.scales.clear();
        self.values.resize(narrow_bytes * row_count, 0);
        self.row.resize(row_bytes, 0);
        let mut kept = 0;
        for (number, row) in (0u32..).zip(raw.chunks_exact(row_bytes)) {
            let values = &mut self.values[kept * narrow_bytes..(kept + 1) * narrow_bytes];
            let scale = origin.take_row(machine, row, &mut self.row, values);
            if let Some(scale) = scale {
                kept += 1;
                self.scales.extend_from_slice(&scale.to_le_bytes());
            } else {
                self.exceptions.push(number);
                if self.exceptions.len() > row_count.div_ceil(ROWS_PER_EXCEPTION) {
                    return false;
                }
            }
        }
        self.values.truncate(kept * narrow_bytes);
        true
    }

    fn write(
        &self,
        origin: Origin,
        raw: &[u8],
        row_bytes: usize,
        limit: usize,
        block: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<bool> {
        let Ok(exception_count) = u32::try_from(self.exceptions.len()) else { return Ok(false) };
        let scales = if origin.rule == Rule::Plain { &[] } else { self.scales.as_slice() };
        let start = HEADER_BYTES + self.exceptions.len() * (4 + row_bytes) + scales.len();
        if self.values.is_empty() || start >= limit {
            return Ok(false);
        }
        block.resize(start.max(block.len().min(limit)), 0);
        let mut header = [0; HEADER_BYTES];
        let [kind, _] = type_of(origin.narrow).number().to_le_bytes();
        (header[0], header[1]) = (rule_number(origin.rule), kind);
        header[4..8].copy_from_slice(&exception_count.to_le_bytes());
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            block[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&header);
        self.exceptions.iter().for_each(|number| put(&number.to_le_bytes()));
        for number in &self.exceptions {
            put(raw.chunks_exact(row_bytes).nth(*number as usize).unwrap_or_default());
        }
        put(scales);
        self.write_values(origin.narrow, start, limit, block, scratch)
    }

    fn write_values(
        &self,
        narrow: Narrow,
        start: usize,
        limit: usize,
        block: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<bool> {
        match narrow {
            Narrow::F16 | Narrow::Bf16 => half::encode_at(start, &self.values, limit, block, scratch),
            Narrow::U8 | Narrow::I8 => {
                block.resize(limit, 0);
                let frame_bytes = zstd::encode_frame(Search::None, &self.values, &mut block[start..], scratch)?;
                block.truncate(start + frame_bytes.unwrap_or(0));
                Ok(frame_bytes.is_some())
            }
            Narrow::I16 => {
                let fit = bitpack::measure(ElementType::I16, &self.values);
                let Some(fit) = fit.filter(|fit| start + fit.block_bytes <= limit) else { return Ok(false) };
                let mut packed = std::mem::take(&mut scratch.inner);
                bitpack::encode(fit, &self.values, &mut packed);
                block.truncate(start);
                block.extend_from_slice(&packed);
                scratch.inner = packed;
                Ok(true)
            }
        }
    }
}

pub(super) fn decode(shape: &ChunkShape, block: &[u8], raw: &mut [u8], scratch: &mut Scratch) -> Result<()> {
    let Some(row_bytes) = row_bytes(shape, raw) else {
        let found = format!("stands in a chunk of {} bytes of {}", raw.len(), shape.element_type.name());
        return Err(Codec::Narrow.refuses(format_args!("{found}; expected f32 rows of {}", shape.row_elements)));
    };
    let head = Head::read(block, raw.len() / row_bytes, row_bytes)?;
    let narrow_bytes = row_bytes / 4 * bytes_of(head.narrow);
    let mut values = std::mem::take(&mut scratch.inner);
    values.resize(head.kept_rows * narrow_bytes, 0);
    let outcome = match head.narrow {
        Narrow::U8 | Narrow::I8 => zstd::decode(head.inner, &mut values, scratch),
        Narrow::I16 => bitpack::decode(ElementType::I16, head.inner, &mut values),
        Narrow::F16 => half::decode(Codec::Float16, head.inner, &mut values, scratch),
        Narrow::Bf16 => half::decode(Codec::Bfloat16, head.inner, &mut values, scratch),
    };
    if outcome.is_ok() {
        head.join(&values, narrow_bytes, raw, row_bytes);
    }
    scratch.inner = values;
    outcome
}

/// A block cut into its parts.
struct Head<'a> {
    rule: Rule,
    narrow: Narrow,
    kept_rows: usize,
    exceptions: &'a [u8],
    exception_rows: &'a [u8],
    scales: &'a [u8],
    inner: &'a [u8],
}

impl<'a> Head<'a> {
    fn read(block: &'a [u8], row_count: usize, row_bytes: usize) -> Result<Self> {
        let short = || Codec::Narrow.refuses(format_args!("has {} bytes, too few for its parts", block.len()));
        let (header, rest) = block.split_first_chunk::<HEADER_BYTES>().ok_or_else(short)?;
        let [rule, kind, reserved_0, reserved_1, a, b, c, d, reserved @ ..] = *header;
        let (Some(rule), Some(narrow)) = (rule_from(rule), narrow_from(kind)) else {
            let found = format!("has rule {rule} and element type {kind}");
            return Err(Codec::Narrow.refuses(format_args!("{found}; expected 0 to 2 and 1, 2, 4, 9 or 10")));
        };
        if (reserved_0, reserved_1, reserved) != (0, 0, [0; 8]) {
            return Err(Codec::Narrow.refuses(format_args!("has {header:02X?}; expected zeros in reserved bytes")));
        }
        let exception_count = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some(kept_rows) = row_count.checked_sub(exception_count) else {
            let found = format!("has {exception_count} exceptions");
            return Err(Codec::Narrow.refuses(format_args!("{found}; expected at most {row_count}")));
        };
        // No product below exceeds the chunk's raw length plus 4 a row.
        let (exceptions, rest) = rest.split_at_checked(4 * exception_count).ok_or_else(short)?;
        let (exception_rows, rest) = rest.split_at_checked(row_bytes * exception_count).ok_or_else(short)?;
        let scale_bytes = if rule == Rule::Plain { 0 } else { 4 * kept_rows };
        let (scales, inner) = rest.split_at_checked(scale_bytes).ok_or_else(short)?;
        let mut numbers = exceptions.as_chunks::<4>().0.iter().map(|number| u32::from_le_bytes(*number) as usize);
        if !numbers.clone().is_sorted_by(|one, next| one < next) || numbers.next_back().is_some_and(|n| n >= row_count)
        {
            return Err(Codec::Narrow.refuses(format_args!("names exceptions not in order or not below {row_count}")));
        }
        if scales.as_chunks::<4>().0.iter().any(|scale| !SCALE_BITS.contains(&u32::from_le_bytes(*scale))) {
            return Err(Codec::Narrow.refuses("has a scale that is not positive, finite and normal"));
        }
        Ok(Self { rule, narrow, kept_rows, exceptions, exception_rows, scales, inner })
    }

    fn join(&self, values: &[u8], narrow_bytes: usize, raw: &mut [u8], row_bytes: usize) {
        let machine = Machine::detect();
        let mut numbers = self.exceptions.as_chunks::<4>().0.iter().map(|number| u32::from_le_bytes(*number) as usize);
        let mut exception_rows = self.exception_rows.chunks_exact(row_bytes);
        let mut value_rows = values.chunks_exact(narrow_bytes);
        let mut scales = self.scales.as_chunks::<4>().0.iter().map(|scale| f32::from_le_bytes(*scale));
        let mut exception = numbers.next();
        for (number, row) in raw.chunks_exact_mut(row_bytes).enumerate() {
            if exception == Some(number) {
                row.copy_from_slice(exception_rows.next().unwrap_or_default());
                exception = numbers.next();
            } else {
                let scale = scales.next().unwrap_or(1.0);
                machine.widen(self.narrow, self.rule, scale, value_rows.next().unwrap_or_default(), row);
            }
        }
    }
}

#[cfg(test)]
#[path = "narrow_tests.rs"]
mod tests;
