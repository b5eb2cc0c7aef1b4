//! Product and scalar quantizers, alone and as an index of codes.
//!
//! Product quantizer: `d` u64 · `M` u64 · `nbits` u64 · codebook vec<f32>, M × 2^nbits rows of d/M.
//! Scalar quantizer: qtype i32 · rangestat i32 · rangestat_arg f32 · `d` u64 · `code_size` u64 · trained vec<f32>.
//! `IxPq`: header · product quantizer · codes vec<u8> · search_type i32 · encode_signs u8 · polysemous_ht i32.
//! `IxPo` is the same with the metric always L2; `IxPQ` ends after the codes. `IxSQ`: header · quantizer · codes.

use super::header::Header;
use super::{Index, Kind, Reader, header};
use crate::error::Result;
use crate::stream::{ElementType, StreamRole};

/// faiss refuses more bits; its codes hold at most 16.
const NBITS_MAX: u64 = 16;
/// ST_polysemous_generalize is the last search type.
const SEARCH_TYPE_MAX: i32 = 5;

/// Reads a product quantizer of `dimension` and returns its bytes a code.
pub(super) fn read_product(reader: &mut Reader<'_>, dimension: u64) -> Result<u64> {
    let inner = reader.u64("d of the product quantizer")?;
    let parts = reader.u64("M of the product quantizer")?;
    let bits = reader.u64("nbits of the product quantizer")?;
    let part_width = inner.checked_div(parts).unwrap_or(0);
    let codebook = reader.parameter("codebook", StreamRole::CODEBOOK, ElementType::F32, part_width)?;
    let code_bits = parts.checked_mul(bits).filter(|_| (1..=NBITS_MAX).contains(&bits) && parts >= 1 && inner >= 1);
    let Some(code_bits) = code_bits else {
        return Err(reader.malformed(
            "product quantizer",
            format!("expected d, M ≥ 1 and nbits of 1 to 16; found {inner}, {parts}, {bits}"),
        ));
    };
    reader.require_equal("d of the product quantizer", dimension, inner);
    reader.require(inner % parts == 0, "product quantizer", || {
        format!("expected M to divide d; found {parts} and {inner}")
    });
    let expected = inner.checked_mul(1 << bits);
    let found = codebook.element_count;
    reader.require(expected == Some(found), "codebook", || format!("expected d × 2^nbits numbers; found {found}"));
    reader.fact("pq_m", parts);
    reader.fact("pq_nbits", bits);
    Ok(code_bits.div_ceil(8))
}

pub(super) fn read_product_index(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let header = header::read(reader)?;
    let code_bytes = read_product(reader, header.dimension)?;
    read_codes(reader, &header, code_bytes)?;
    if fourcc != "IxPQ" {
        let search_type = reader.i32("search_type")?;
        reader.flag("encode_signs")?;
        reader.i32("polysemous_ht")?;
        reader.require((0..=SEARCH_TYPE_MAX).contains(&search_type), "search_type", || {
            format!("expected 0 to {SEARCH_TYPE_MAX}, found {search_type}")
        });
    }
    Ok(Index::new(fourcc, Kind::ProductQuantizer, &header))
}

/// Reads a scalar quantizer and returns its bytes a code, as the file states them.
pub(super) fn read_scalar(reader: &mut Reader<'_>, header: &Header) -> Result<u64> {
    let kind = reader.i32("qtype")?;
    reader.i32("rangestat")?;
    reader.f32("rangestat_arg")?;
    let dimension = reader.u64("d of the scalar quantizer")?;
    let code_bytes = reader.u64("code_size")?;
    let trained = reader.parameter("trained", StreamRole::PARAMETERS, ElementType::F32, dimension)?;
    reader.require_equal("d of the scalar quantizer", header.dimension, dimension);
    let shape = scalar_shape(kind, header.dimension);
    reader.require(shape.is_some(), "qtype", || format!("expected a scalar quantizer of faiss, found {kind}"));
    if let Some((expected_bytes, expected_trained)) = shape {
        reader.require_equal("code_size", expected_bytes, code_bytes);
        if header.is_trained {
            reader.require_equal("trained", expected_trained, trained.element_count);
        }
    }
    reader.fact("qtype", kind);
    Ok(code_bytes)
}

/// (bytes a code, trained numbers) of a scalar quantizer; the dimension is below 2^31.
fn scalar_shape(kind: i32, dimension: u64) -> Option<(u64, u64)> {
    match kind {
        0 => Some((dimension, 2 * dimension)),
        1 => Some((dimension.div_ceil(2), 2 * dimension)),
        2 => Some((dimension, 2)),
        3 => Some((dimension.div_ceil(2), 2)),
        4 | 7 => Some((2 * dimension, 0)),
        5 | 8 => Some((dimension, 0)),
        6 => Some(((6 * dimension).div_ceil(8), 2 * dimension)),
        _ => None,
    }
}

pub(super) fn read_scalar_index(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let header = header::read(reader)?;
    let code_bytes = read_scalar(reader, &header)?;
    read_codes(reader, &header, code_bytes)?;
    Ok(Index::new(fourcc, Kind::ScalarQuantizer, &header))
}

fn read_codes(reader: &mut Reader<'_>, header: &Header, code_bytes: u64) -> Result<()> {
    let codes = reader.vector("codes", StreamRole::CODES, ElementType::U8, code_bytes)?;
    reader.require_equal("codes", header.row_count, codes.row_count);
    reader.fact("code_size", code_bytes);
    Ok(())
}
