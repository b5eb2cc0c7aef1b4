//! RaBitQ: codes of 1 bit a dimension (`Ixrq`) or several (`Ixrr`), with correction factors. Split and restored, not loaded.
//!
//! Quantizer: `d` u64 · `code_size` u64 · metric i32 · (several bits: `nb_bits` u64).
//! Index: header · quantizer · codes vec<u8> · centre vec<f32> · qb u8. Inverted files are in `ivf`.

use super::{Index, Kind, Reader, header};
use crate::error::Result;
use crate::stream::{ElementType, StreamRole};

/// faiss codes a dimension with at most 9 bits.
const BITS_MAX: u64 = 9;

/// Returns the bytes a code, as the file states them.
pub(super) fn read_quantizer(reader: &mut Reader<'_>, dimension: u64, several_bits: bool) -> Result<u64> {
    let inner = reader.u64("d of the RaBitQ quantizer")?;
    let code_bytes = reader.u64("code_size of the RaBitQ quantizer")?;
    reader.i32("metric of the RaBitQ quantizer")?;
    let bits = if several_bits { reader.u64("nb_bits")? } else { 1 };
    if inner != dimension || !(1..=BITS_MAX).contains(&bits) {
        let detail = format!("expected d {dimension} and 1 to {BITS_MAX} bits, found {inner} and {bits}");
        return Err(reader.malformed("RaBitQ quantizer", detail));
    }
    reader.fact("nb_bits", bits);
    Ok(code_bytes)
}

pub(super) fn read_index(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let header = header::read(reader)?;
    let code_bytes = read_quantizer(reader, header.dimension, fourcc == "Ixrr")?;
    let codes = reader.vector("codes", StreamRole::CODES, ElementType::U8, code_bytes)?;
    reader.require_equal("codes", header.row_count, codes.row_count);
    reader.parameter("center", StreamRole::PARAMETERS, ElementType::F32, header.dimension)?;
    reader.u8("qb")?;
    reader.fact("code_size", code_bytes);
    Ok(Index::new(fourcc, Kind::ProductQuantizer, &header))
}
