//! Indexes around an index: id maps, vector transforms, and a second index that refines the answers of the first.
//!
//! `IxMp`, `IxM2`: header · index · id map vec<i64>. `IxPT`: header · count i32 · transforms · index.
//! `IxRF`: header · index · refining index · k_factor f32.

use super::{Index, Kind, Reader, header, read_index, transform};
use crate::error::Result;
use crate::split::walk::Walk;
use crate::stream::{ElementType, StreamRole};

/// Longer chains than anyone trains; keeps the names and facts of a hostile file small.
const TRANSFORMS_MAX: i32 = 16;

pub(super) fn read_id_map(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let header = header::read(reader)?;
    // The map is looked up with the labels of the index inside.
    let label_bound = reader.label_bound.replace(header.row_count);
    let inside = read_index(reader)?;
    reader.label_bound = label_bound;
    let map = reader.vector("id_map", StreamRole::IDS, ElementType::I64, 1)?;
    require_inside(reader, &inside, header.dimension, header.row_count);
    reader.require_equal("id_map", header.row_count, map.row_count);
    if let Some(bound) = label_bound {
        reader.walks.push(Walk::Ids { stream: map.stream, bound });
    }
    Ok(Index::new(fourcc, Kind::Wrapper, &header).around(&[&inside.tree]))
}

pub(super) fn read_transformed(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let header = header::read(reader)?;
    let count = reader.i32("number of transforms")?;
    if !(0..=TRANSFORMS_MAX).contains(&count) {
        return Err(reader.malformed("number of transforms", format!("expected 0 to {TRANSFORMS_MAX}, found {count}")));
    }
    let outer = reader.prefix.clone();
    let mut dimension = header.dimension;
    let mut names = Vec::new();
    for number in 0..count {
        reader.prefix = format!("{outer}transform.{number}.");
        let transform = transform::read(reader, dimension)?;
        reader.require_equal("d_in", dimension, transform.input);
        dimension = transform.output;
        names.push(transform.fourcc);
    }
    reader.prefix = outer;
    reader.fact("transforms", names.join(","));
    let inside = read_index(reader)?;
    require_inside(reader, &inside, dimension, header.row_count);
    let mut parts: Vec<&str> = names.iter().map(String::as_str).collect();
    parts.push(&inside.tree);
    Ok(Index::new(fourcc, Kind::Wrapper, &header).around(&parts))
}

pub(super) fn read_refined(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let header = header::read(reader)?;
    let base = read_index(reader)?;
    let outer = reader.prefix.clone();
    reader.prefix.push_str("refine.");
    let refine = read_index(reader)?;
    reader.prefix = outer;
    let factor = reader.f32("k_factor")?;
    require_inside(reader, &base, header.dimension, header.row_count);
    require_inside(reader, &refine, header.dimension, header.row_count);
    reader.fact("k_factor", factor.to_string());
    Ok(Index::new(fourcc, Kind::Wrapper, &header).around(&[&base.tree, &refine.tree]))
}

fn require_inside(reader: &mut Reader<'_>, inside: &Index, dimension: u64, row_count: u64) {
    reader.require(inside.kind != Kind::Absent, "index inside", || "expected an index, found none".to_owned());
    reader.require_equal("d of the index inside", dimension, inside.dimension);
    reader.require_equal("vectors of the index inside", row_count, inside.row_count);
}
