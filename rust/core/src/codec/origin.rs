//! What the f32 values of a chunk were before: found on a few of them, proved row by row when the chunk is coded.

use super::narrow::bytes_of;
use crate::kernels::{Machine, Narrow, Rule};
use crate::stream::ChunkShape;

/// Values looked at for a plain origin. Nearly always the first says no.
const VALUES_PROBED: usize = 64;
/// Rows searched for a scale. In true f32 this is all the time that the search costs.
const ROWS_PROBED: usize = 3;
/// Rows that decide how, once one of those had a scale.
const ROWS_VOTING: usize = 12;
/// A shorter row does not pay for its scale, and might fit one by chance.
const SCALED_ELEMENTS_MIN: u32 = 16;
const FRACTION_BITS_F16: u32 = 10;
const FRACTION_BITS_BF16: u32 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub rule: Rule,
    pub narrow: Narrow,
}

impl Origin {
    /// `None` when a sample shows nothing narrower.
    pub fn find(shape: &ChunkShape, raw: &[u8]) -> Option<Self> {
        let plain = plain_narrow(raw).map(|narrow| Self { rule: Rule::Plain, narrow });
        plain.or_else(|| scaled(shape, raw))
    }

    /// The narrow values of `row` and its scale (1 without one); `None` when they do not give it back bit for bit.
    /// `widened` is as long as `row`, to work in.
    pub fn take_row(self, machine: Machine, row: &[u8], widened: &mut [u8], values: &mut [u8]) -> Option<f32> {
        if self.rule == Rule::Plain {
            return machine.narrow(self.narrow, row, values).then_some(1.0);
        }
        let fraction_bits = if self.narrow == Narrow::Bf16 { FRACTION_BITS_BF16 } else { FRACTION_BITS_F16 };
        let scale = machine.find_scale(row, fraction_bits, self.rule, widened)?;
        machine.narrow(self.narrow, widened, values).then_some(scale)
    }
}

/// The narrowest type that holds a sample of the values as they are.
fn plain_narrow(raw: &[u8]) -> Option<Narrow> {
    let machine = Machine::detect();
    let values = raw.as_chunks::<4>().0;
    let step = (values.len() / VALUES_PROBED).max(1);
    let fits = |narrow: Narrow| {
        let mut value = [0; 2];
        let value = &mut value[..bytes_of(narrow)];
        !values.is_empty() && values.iter().step_by(step).all(|bits| machine.narrow(narrow, bits, value))
    };
    if fits(Narrow::I16) {
        // The whole chunk is looked at: one larger number in a hundred would make every row an exception.
        let (low, high) = machine.float_range(raw);
        let types = [(Narrow::U8, 0.0, 255.0), (Narrow::I8, -128.0, 127.0), (Narrow::I16, -32_768.0, 32_767.0)];
        let narrowest = types.into_iter().find(|(_, least, most)| low >= *least && high <= *most);
        if let Some((narrow, ..)) = narrowest {
            return Some(narrow);
        }
    }
    [Narrow::Bf16, Narrow::F16].into_iter().find(|narrow| fits(*narrow))
}

/// Every bf16 is an f16 here but for its range, so one quick search finds both.
fn scaled(shape: &ChunkShape, raw: &[u8]) -> Option<Origin> {
    let row_bytes = usize::try_from(shape.row_elements).ok()?.checked_mul(4)?;
    if shape.row_elements < SCALED_ELEMENTS_MIN || raw.len() < row_bytes {
        return None;
    }
    let machine = Machine::detect();
    let rows = |count: usize| {
        let step = (raw.len() / row_bytes).div_ceil(count);
        raw.chunks_exact(row_bytes).step_by(step)
    };
    if !rows(ROWS_PROBED).any(|row| machine.looks_scaled(row, FRACTION_BITS_F16)) {
        return None;
    }
    // A short row may fit the wrong rule by chance, and a bf16 times 3 is an f16: the rows vote.
    let mut widened = vec![0; row_bytes];
    // Less than half is not worth an attempt.
    let mut best = (rows(ROWS_VOTING).count() / 2, None);
    for narrow in [Narrow::Bf16, Narrow::F16] {
        for rule in [Rule::Divide, Rule::Multiply] {
            let origin = Origin { rule, narrow };
            let mut values = vec![0; row_bytes / 2];
            let fits = |row: &&[u8]| origin.take_row(machine, row, &mut widened, &mut values).is_some();
            let votes = rows(ROWS_VOTING).filter(fits).count();
            if votes > best.0 {
                best = (votes, Some(origin));
            }
        }
    }
    best.1
}
