//! Inverted files: `IwFl` (vectors), `IwPQ` (product codes), `IwSq` (scalar codes; `IwSQ` is older).
//!
//! IVF header: header · `nlist` u64 · `nprobe` u64 · quantizer index · direct map. Then
//! `IwFl`: lists. `IwPQ`: by_residual u8 · code_size u64 · product quantizer · lists.
//! `IwSq`: scalar quantizer · code_size u64 · by_residual u8 · lists (`IwSQ`: no by_residual).
//! Direct map: type u8 (0 none, 1 array, 2 hash table) · vec<i64> · for type 2 a vec of (id, place) i64 pairs.
//! A place is list number × 2^32 + position.
//! `IBwF` (binary vectors): the same with a binary header and a binary quantizer, then lists.

use super::header::Header;
use super::lists::{self, Codes};
use super::{Index, Kind, Reader, binary, fastscan, header, quantizer, rabitq, read_index};
use crate::error::Result;
use crate::split::walk::Walk;
use crate::stream::{ElementType, StreamRole};

struct InvertedFile {
    header: Header,
    list_count: u64,
    quantizer: Index,
    /// (stream, column) of places to compare with the lists.
    places: Vec<(String, usize)>,
    /// Bound that the owner puts on the ids.
    label_bound: Option<u64>,
}

fn read_header(reader: &mut Reader<'_>) -> Result<InvertedFile> {
    let header = header::read(reader)?;
    read_coarse(reader, header)
}

fn read_coarse(reader: &mut Reader<'_>, header: Header) -> Result<InvertedFile> {
    let list_count = reader.u64("nlist")?;
    let probe_count = reader.u64("nprobe")?;
    reader.fact("nlist", list_count);
    reader.fact("nprobe", probe_count);
    let outer = reader.prefix.clone();
    // The numbers of the nearest centroids are list numbers.
    let label_bound = reader.label_bound.replace(list_count);
    reader.prefix.push_str("quantizer.");
    let quantizer = read_index(reader)?;
    reader.prefix = outer;
    reader.label_bound = label_bound;
    reader.require(quantizer.kind != Kind::Absent, "quantizer", || "expected an index, found none".to_owned());
    if quantizer.kind != Kind::Absent {
        reader.require_equal("d of the quantizer", header.dimension, quantizer.dimension);
        // faiss reconstructs centroids 0 to nlist - 1. An untrained index has none yet.
        let untrained = !header.is_trained && quantizer.row_count == 0;
        reader.require(untrained || quantizer.row_count == list_count, "centroids in the quantizer", || {
            format!("expected {list_count}, found {}", quantizer.row_count)
        });
    }
    let places = read_direct_map(reader)?;
    Ok(InvertedFile { header, list_count, quantizer, places, label_bound })
}

fn read_direct_map(reader: &mut Reader<'_>) -> Result<Vec<(String, usize)>> {
    let kind = reader.u8("type of the direct map")?;
    let mut places = Vec::new();
    if kind > 2 {
        return Err(reader.malformed("type of the direct map", format!("expected 0, 1 or 2, found {kind}")));
    }
    let array = reader.parameter("direct_map", StreamRole::PARAMETERS, ElementType::I64, 1)?;
    if array.row_count > 0 {
        places.push((array.stream, 0));
    }
    if kind == 2 {
        let pairs = reader.count("hash table of the direct map", 16)?;
        let Some(elements) = pairs.checked_mul(2) else {
            return Err(reader.malformed("hash table of the direct map", format!("found {pairs} pairs")));
        };
        if pairs > 0 {
            let table = reader.rows("direct_map.table", StreamRole::PARAMETERS, ElementType::I64, 2, elements)?;
            places.push((table.stream, 1));
        }
    }
    reader.fact("direct_map", kind);
    Ok(places)
}

fn finish(reader: &mut Reader<'_>, fourcc: &str, file: InvertedFile, codes: &Codes) -> Result<Index> {
    if let Some(extent) = lists::read(reader, file.list_count, file.header.row_count, codes)? {
        reader.walks.push(Walk::Lists {
            extent,
            list_count: file.list_count,
            row_count: file.header.row_count,
            label_bound: file.label_bound,
            places: file.places,
        });
    }
    Ok(Index::new(fourcc, Kind::InvertedFile, &file.header).around(&[&file.quantizer.tree]))
}

pub(super) fn read_flat(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let file = read_header(reader)?;
    let codes = Codes::vectors(file.header.dimension);
    finish(reader, fourcc, file, &codes)
}

pub(super) fn read_product(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let file = read_header(reader)?;
    reader.flag("by_residual")?;
    let code_bytes = reader.u64("code_size")?;
    let expected = quantizer::read_product(reader, file.header.dimension)?;
    reader.require_equal("code_size", expected, code_bytes);
    reader.fact("code_size", code_bytes);
    finish(reader, fourcc, file, &Codes::coded(code_bytes))
}

pub(super) fn read_scalar(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let file = read_header(reader)?;
    let expected = quantizer::read_scalar(reader, &file.header)?;
    let code_bytes = reader.u64("code_size")?;
    if fourcc == "IwSq" {
        reader.flag("by_residual")?;
    }
    reader.require_equal("code_size", expected, code_bytes);
    reader.fact("code_size", code_bytes);
    finish(reader, fourcc, file, &Codes::coded(code_bytes))
}

pub(super) fn read_binary(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let (header, code_bytes) = binary::read_header(reader)?;
    let file = read_coarse(reader, header)?;
    finish(reader, fourcc, file, &Codes::binary(code_bytes))
}

/// `Iwrq`, `Iwrr`: RaBitQ quantizer · code_size u64 · by_residual u8 · qb u8 · lists.
pub(super) fn read_rabitq(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let file = read_header(reader)?;
    rabitq::read_quantizer(reader, file.header.dimension, fourcc == "Iwrr")?;
    let code_bytes = reader.u64("code_size")?;
    reader.flag("by_residual")?;
    reader.u8("qb")?;
    reader.fact("code_size", code_bytes);
    finish(reader, fourcc, file, &Codes::coded(code_bytes))
}

/// `IwPf` (product quantizer): by_residual u8 · code_size u64 · bbs i32 · M2 u64 · implem i32 · qbs2 u64 · product
/// quantizer · lists. `Iwrn` (RaBitQ): quantizer · by_residual u8 · code_size u64 · bbs i32 · qbs2 u64 · M2 u64 ·
/// implem i32 · qb u8 · centered u8 · lists. The lists are of the blocked kind.
pub(super) fn read_blocked(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let file = read_header(reader)?;
    let product = fourcc == "IwPf";
    if !product {
        rabitq::read_quantizer(reader, file.header.dimension, true)?;
    }
    reader.flag("by_residual")?;
    let code_bytes = reader.u64("code_size")?;
    reader.i32("bbs")?;
    reader.u64("M2 or qbs2")?;
    if product {
        reader.i32("implem")?;
        reader.u64("qbs2")?;
        quantizer::read_product(reader, file.header.dimension)?;
    } else {
        reader.u64("M2")?;
        reader.i32("implem")?;
        reader.u8("qb")?;
        reader.flag("centered")?;
    }
    reader.fact("code_size", code_bytes);
    fastscan::read_lists(reader, file.list_count, file.header.row_count)?;
    Ok(Index::new(fourcc, Kind::InvertedFile, &file.header).around(&[&file.quantizer.tree]))
}
