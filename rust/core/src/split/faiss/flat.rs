//! IndexFlat (`IxFI` inner product, `IxF2` L2, `IxFl` other metrics).
//!
//! Header · u64 count in units of 4 bytes · that many f32, `d` a row.

use super::{Index, Kind, Reader, header};
use crate::error::Result;
use crate::stream::{ElementType, StreamRole};

pub(super) fn read(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let header = header::read(reader)?;
    let vectors = reader.vector("vectors", StreamRole::VECTORS, ElementType::F32, header.dimension)?;
    reader.require_equal("vectors", header.row_count, vectors.row_count);
    Ok(Index::new(fourcc, Kind::Flat, &header))
}
