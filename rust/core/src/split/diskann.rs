//! Disk indexes of DiskANN, the layout that its C++ library and `diskannpy` 0.7 write (no reordering data).
//!
//! Block 0, 4,096 bytes: 9 u32 · 1 u32 · node_count, dims, medoid, node_bytes, nodes a block, frozen nodes, frozen
//! location, append_reorder (0), bytes of the file, all u64 · zeros. Then blocks of 4,096 bytes: whole nodes one after
//! another, zeros up to the end of the block; a node of more than a block has blocks of its own. A node is its vector,
//! u32 degree, slots u32. The last block is full length too: slots of nodes past node_count hold zeros.
//!
//! The element is not named. It is what makes sense of the first and last nodes: degrees that fit, links to nodes
//! there are. With 1 to 3 nodes a block the fields become streams of their own (`vectors`, `links`, `vectors.2` …: a
//! group of a plan has 8 fields); with more, a stream of whole nodes.

use super::reader::Reader;
use super::{FieldSpec, Tape};
use crate::error::Result;
use crate::plan::FieldRows;
use crate::stream::{ElementType, StreamRole};

const BLOCK_BYTES: u64 = 4_096;
/// Fields at the start of block 0, with the length prefix of a matrix of u64.
const HEAD_BYTES: usize = 80;
const MARK: [u8; 8] = [9, 0, 0, 0, 1, 0, 0, 0];
/// Nodes whose fields are streams of their own.
const SPLIT_NODES_MAX: u64 = 3;
/// Nodes looked at, from each end, to tell the element.
const PROBED_NODES: u64 = 32;
/// Far above any graph; a list of it is read in one go.
const DEGREE_MAX: u64 = 4_096;

struct Head {
    node_count: u64,
    dimension: u64,
    medoid: u64,
    node_bytes: u64,
    block_nodes: u64,
}

/// `None` unless every number follows from the others.
fn decode(bytes: &[u8; HEAD_BYTES]) -> Option<Head> {
    let at = |index: usize| {
        let mut field = [0u8; 8];
        field.copy_from_slice(&bytes[8 + 8 * index..16 + 8 * index]);
        u64::from_le_bytes(field)
    };
    let head = Head { node_count: at(0), dimension: at(1), medoid: at(2), node_bytes: at(3), block_nodes: at(4) };
    let fits = (8..=u64::from(u32::MAX)).contains(&head.node_bytes)
        && (1..=u64::from(u32::MAX)).contains(&head.node_count)
        && head.medoid < head.node_count
        && head.block_nodes == BLOCK_BYTES / head.node_bytes
        && at(7) == 0
        && (head.blocks() + 1).checked_mul(BLOCK_BYTES) == Some(at(8));
    (bytes[..8] == MARK && fits).then_some(head)
}

impl Head {
    /// Blocks of nodes; counts below 2^32 and blocks a node below 2^21 cannot overflow.
    fn blocks(&self) -> u64 {
        match self.block_nodes {
            0 => self.node_count * self.node_bytes.div_ceil(BLOCK_BYTES),
            nodes => self.node_count.div_ceil(nodes),
        }
    }

    /// Bytes of a group of the plan: a block, or all blocks of one node.
    fn group_bytes(&self) -> u64 {
        if self.block_nodes == 0 { self.node_bytes.div_ceil(BLOCK_BYTES) * BLOCK_BYTES } else { BLOCK_BYTES }
    }

    /// Where a node begins, from the end of block 0.
    fn offset(&self, node: u64) -> u64 {
        let nodes = self.block_nodes.max(1);
        node / nodes * self.group_bytes() + node % nodes * self.node_bytes
    }

    /// Link slots of a node whose vector has `vector_bytes`.
    fn degree(&self, vector_bytes: u64) -> Option<u64> {
        let rest = self.node_bytes.checked_sub(vector_bytes)?.checked_sub(4)?;
        (rest.is_multiple_of(4) && rest <= 4 * DEGREE_MAX).then_some(rest / 4)
    }
}

/// True when a file that starts so is meant to be a disk index.
pub(super) fn looks_like(start: &[u8]) -> bool {
    start.first_chunk::<HEAD_BYTES>().is_some_and(|bytes| decode(bytes).is_some())
}

/// Parses a whole file; returns the layout name.
pub(super) fn parse(reader: &mut Reader<'_>) -> Result<String> {
    let block = reader.array::<4_096>("block 0")?;
    let head = block.first_chunk::<HEAD_BYTES>().and_then(decode);
    let Some(head) = head else {
        return Err(reader.malformed("block 0", "expected sizes of a DiskANN disk index; found some that disagree"));
    };
    let mut elements = Vec::new();
    for element in [ElementType::F32, ElementType::F16, ElementType::U8] {
        let vector_bytes = head.dimension.checked_mul(u64::from(element.bytes()));
        let shape = vector_bytes.and_then(|bytes| head.degree(bytes).map(|degree| (element, bytes, degree)));
        if let Some((element, vector_bytes, degree)) = shape
            && makes_sense(reader.tape, &head, vector_bytes, degree)?
        {
            elements.push((element, degree));
        }
    }
    let [(element, degree)] = elements.as_slice() else {
        let detail = format!("expected one element type whose links make sense, found {}", elements.len());
        return Err(reader.malformed("nodes", detail));
    };
    reader.fact("ntotal", head.node_count);
    reader.fact("d", head.dimension);
    reader.fact("dtype", element.name());
    reader.fact("R", *degree);
    reader.fact("medoid", head.medoid);
    reader.fact("block_nodes", head.block_nodes);
    read_nodes(reader, &head, *element, *degree)?;
    Ok("diskann".to_owned())
}

/// Whether degrees and links of the first and last nodes are in range behind vectors of `vector_bytes`.
fn makes_sense(tape: &mut dyn Tape, head: &Head, vector_bytes: u64, degree: u64) -> Result<bool> {
    let last = head.node_count.saturating_sub(PROBED_NODES).max(PROBED_NODES.min(head.node_count));
    for node in (0..PROBED_NODES.min(head.node_count)).chain(last..head.node_count) {
        let mut list = vec![0u8; usize::try_from(4 + 4 * degree).unwrap_or(0)];
        if !tape.peek(head.offset(node) + vector_bytes, &mut list)? {
            return Ok(false);
        }
        let mut numbers =
            list.chunks_exact(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        let links = numbers.next().map_or(0, u64::from);
        // A node without a link is possible, but its zero could as well be part of a vector.
        let linked = links >= 1 || head.node_count == 1;
        let inside = numbers.take(usize::try_from(links).unwrap_or(0)).all(|link| u64::from(link) < head.node_count);
        if !linked || links > degree || !inside {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_nodes(reader: &mut Reader<'_>, head: &Head, element: ElementType, degree: u64) -> Result<()> {
    let groups = head.blocks() * BLOCK_BYTES / head.group_bytes();
    let nodes = head.block_nodes.max(1);
    let mut fields = Vec::new();
    if nodes <= SPLIT_NODES_MAX {
        for _ in 0..nodes {
            fields.push((reader.stream("vectors", StreamRole::VECTORS, element, head.dimension)?, 1));
            fields.push((reader.stream("links", StreamRole::LINKS, ElementType::U32, degree + 1)?, 1));
        }
    } else {
        // Vectors and links of a node in one row: a codec of f32 still finds the exponents.
        let width = head.node_bytes / u64::from(element.bytes());
        fields.push((reader.stream("nodes", StreamRole::OPAQUE, element, width)?, u32::try_from(nodes).unwrap_or(0)));
    }
    let padding = head.group_bytes() - nodes * head.node_bytes;
    if padding > 0 {
        fields.push((reader.stream("padding", StreamRole::OPAQUE, ElementType::U8, padding)?, 1));
    }
    let fields = fields.into_iter().map(|(stream, rows)| FieldSpec {
        stream,
        rows: FieldRows::Fixed(rows),
        row_count_hint: groups * u64::from(rows),
    });
    reader.tape.groups(groups, fields.collect(), None).map_err(|error| error.within("nodes"))
}
