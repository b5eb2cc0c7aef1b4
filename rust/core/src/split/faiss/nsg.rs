//! NSG graphs over a storage index: `INSf` (flat), `INSp` (product), `INSs` (scalar). Split and restored, not loaded.
//!
//! Header · GK i32 · build_type u8 · nndescent S, R, L, iterations i32 · graph · storage index. Graph: ntotal, R, L, C,
//! search_L, enterpoint i32 · is_built u8 · when built, for each node up to R ids i32 and −1. The ends of the lists
//! are marks, not counts, so the links are one stream of single numbers.

use super::{Index, Kind, Reader, header, read_index};
use crate::error::Result;
use crate::stream::{ElementType, StreamRole};

/// Looked at in one go while the ends of the lists are counted.
const SLAB_BYTES: u64 = 65_536;

pub(super) fn read(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let header = header::read(reader)?;
    reader.i32("GK")?;
    reader.u8("build_type")?;
    reader.array::<16>("settings of nndescent")?;
    let node_count = reader.i32("ntotal of the graph")?;
    let degree = reader.i32("R")?;
    reader.array::<12>("L, C and search_L")?;
    let entry_point = reader.i32("enterpoint")?;
    let is_built = reader.u8("is_built")?;
    let nodes = u64::try_from(node_count).ok().filter(|nodes| *nodes == header.row_count || is_built == 0);
    let Some(nodes) = nodes.filter(|_| is_built <= 1) else {
        let detail = format!("expected {} nodes; found {node_count}, is_built {is_built}", header.row_count);
        return Err(reader.malformed("graph", detail));
    };
    if is_built == 1 {
        let slots = count_slots(reader, nodes)?;
        reader.rows("links", StreamRole::LINKS, ElementType::I32, 1, slots)?;
    }
    reader.fact("R", degree);
    reader.fact("entry_point", entry_point);
    let storage = read_index(reader)?;
    Ok(Index::new(fourcc, Kind::Graph, &header).around(&[&storage.tree]))
}

/// Numbers up to the `nodes`-th mark of an end.
fn count_slots(reader: &mut Reader<'_>, nodes: u64) -> Result<u64> {
    let mut slab = Vec::new();
    let (mut slots, mut ended) = (0u64, 0u64);
    while ended < nodes {
        let left = reader.tape.remaining().unwrap_or(0).saturating_sub(slots * 4);
        // At most `SLAB_BYTES`, so it always fits.
        slab.resize(usize::try_from(left.min(SLAB_BYTES) / 4 * 4).unwrap_or(0), 0);
        if slab.is_empty() || !reader.tape.peek(slots * 4, &mut slab)? {
            return Err(reader.malformed("links", format!("expected {nodes} lists in a file; found {ended}")));
        }
        for link in slab.chunks_exact(4) {
            slots += 1;
            if link == [0xFF; 4] {
                ended += 1;
                if ended == nodes {
                    break;
                }
            }
        }
    }
    Ok(slots)
}
