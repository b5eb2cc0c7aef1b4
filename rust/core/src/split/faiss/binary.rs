//! Indexes of binary vectors (`d` bits, `code_size` bytes each). They are split and restored, not loaded.
//!
//! Header: `d` i32 · `code_size` i32 · `ntotal` i64 · `is_trained` u8 · `metric_type` i32. `IBxF`: header · vec<u8>.
//! `IBHf`: header · HNSW graph as in `hnsw` · storage index. `IBMp`, `IBM2`: header · index · id map vec<i64>.
//! `IBFf`: header · a float index. `IBwF` is in `ivf`.

use super::header::Header;
use super::{Index, Kind, Reader, hnsw, read_index};
use crate::error::Result;
use crate::stream::{ElementType, StreamRole};

/// Reads the header; returns the bytes of a vector beside it.
pub(super) fn read_header(reader: &mut Reader<'_>) -> Result<(Header, u64)> {
    let dimension = reader.i32("d")?;
    let code_bytes = reader.i32("code_size")?;
    let row_count = i64::from_le_bytes(reader.array("ntotal")?);
    let is_trained = reader.flag("is_trained")?;
    reader.i32("metric_type")?;
    let sizes = (u64::try_from(dimension), u64::try_from(code_bytes), u64::try_from(row_count));
    let (Ok(dimension), Ok(code_bytes), Ok(row_count)) = sizes else {
        let detail = format!("expected sizes of 0 or more, found {dimension}, {code_bytes} and {row_count}");
        return Err(reader.malformed("binary header", detail));
    };
    if dimension.div_ceil(8) != code_bytes {
        let detail = format!("expected a byte for each 8 of {dimension} bits, found {code_bytes}");
        return Err(reader.malformed("code_size", detail));
    }
    reader.fact("d", dimension);
    reader.fact("ntotal", row_count);
    reader.fact("metric", "hamming");
    reader.fact("is_trained", is_trained);
    Ok((Header { dimension, row_count, is_trained }, code_bytes))
}

pub(super) fn read_flat(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let (header, code_bytes) = read_header(reader)?;
    let vectors = reader.vector("vectors", StreamRole::VECTORS, ElementType::U8, code_bytes)?;
    reader.require_equal("vectors", header.row_count, vectors.row_count);
    Ok(Index::new(fourcc, Kind::Flat, &header))
}

pub(super) fn read_graph(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let (header, _) = read_header(reader)?;
    hnsw::read_graph(reader, header.row_count)?;
    let storage = read_index(reader)?;
    Ok(Index::new(fourcc, Kind::Graph, &header).around(&[&storage.tree]))
}

pub(super) fn read_id_map(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let (header, _) = read_header(reader)?;
    let inside = read_index(reader)?;
    reader.vector("id_map", StreamRole::IDS, ElementType::I64, 1)?;
    Ok(Index::new(fourcc, Kind::Wrapper, &header).around(&[&inside.tree]))
}

pub(super) fn read_from_float(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let (header, _) = read_header(reader)?;
    let inside = read_index(reader)?;
    Ok(Index::new(fourcc, Kind::Wrapper, &header).around(&[&inside.tree]))
}
