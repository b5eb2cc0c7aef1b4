//! The header of every float index.
//!
//! `d` i32 · `ntotal` i64 · two unused i64 · `is_trained` u8 · `metric_type` i32 · when metric_type > 1: `metric_arg` f32.

use super::Reader;
use crate::error::Result;

pub(super) struct Header {
    pub(super) dimension: u64,
    pub(super) row_count: u64,
    pub(super) is_trained: bool,
}

/// faiss refuses more dimensions when it reads.
const DIMENSION_MAX: u64 = 1 << 20;

const METRICS: [(i32, &str); 11] = [
    (0, "ip"),
    (1, "l2"),
    (2, "l1"),
    (3, "linf"),
    (4, "lp"),
    (20, "canberra"),
    (21, "braycurtis"),
    (22, "jensenshannon"),
    (23, "jaccard"),
    (24, "nan_euclidean"),
    (25, "gower"),
];

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Header> {
    let dimension = reader.i32("d")?;
    let row_count = i64::from_le_bytes(reader.array("ntotal")?);
    reader.array::<16>("unused header fields")?;
    let is_trained = reader.flag("is_trained")?;
    let metric = reader.i32("metric_type")?;
    let known = METRICS.iter().find(|row| row.0 == metric);
    let Some(&(_, metric_name)) = known else {
        // Whether metric_arg follows is a guess from here on.
        return Err(reader.malformed("metric_type", format!("expected a metric of faiss, found {metric}")));
    };
    if metric > 1 {
        reader.f32("metric_arg")?;
    }
    let (Ok(dimension), Ok(row_count)) = (u64::try_from(dimension), u64::try_from(row_count)) else {
        return Err(reader
            .malformed("header", format!("expected d and ntotal of 0 or more, found {dimension} and {row_count}")));
    };
    reader.require((1..=DIMENSION_MAX).contains(&dimension), "d", || {
        format!("expected 1 to {DIMENSION_MAX}, found {dimension}")
    });
    reader
        .require(is_trained || row_count == 0, "is_trained", || format!("an untrained index with {row_count} vectors"));
    reader.fact("d", dimension);
    reader.fact("ntotal", row_count);
    reader.fact("metric", metric_name);
    reader.fact("is_trained", is_trained);
    Ok(Header { dimension, row_count, is_trained })
}
