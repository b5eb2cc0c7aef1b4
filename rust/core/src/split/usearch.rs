//! Index files of usearch, version 2 (2.21 to 2.26): a matrix of vectors, a head, a graph.
//!
//! Matrix: rows u32 · bytes a vector u32 · the rows. Head, 64 bytes:
//! `usearch` · version 3 × u16 · metric, scalar, key and slot kind u8 each · keys present u64 · deleted u64 ·
//! dimensions u64 · multi u8 · zeros. Graph: node count u64 · connectivity u64 · connectivity of level 0 u64 ·
//! max_level u64 · entry_slot u64 · level i16 of each node · nodes. A node is key u64 · level i16 · level 0 (u32
//! count, slots u32) · one list (u32 count, slots) for each upper level. Slots past a count are kept as they are.
//! Removed nodes stay in the graph under a free key. The kind of the numbers stands behind them: the parser peeks.

use super::reader::Reader;
use super::{CountsSpec, FieldSpec};
use crate::error::Result;
use crate::plan::FieldRows;
use crate::store::ReadAt;
use crate::stream::{ElementType, StreamRole};

const MAGIC: &[u8; 7] = b"usearch";
const SHAPE_BYTES: u64 = 8;
const HEAD_BYTES: usize = 64;

/// The loader of usearch takes its own major version only.
const MAJOR_VERSION: u16 = 2;

/// Kinds of keys and slots that `Index` writes; 40-bit slots of the "big" index are another layout.
const KIND_U64: u8 = 14;
const KIND_U32: u8 = 15;

/// Far above any graph; keeps the rows of links small enough to add one.
const CONNECTIVITY_MAX: u64 = 65_536;

/// Scalar kind, name, element, values in a byte. Numbers of 8 bits that are no integers are bytes to a codec.
const SCALARS: [(u8, &str, ElementType, u64); 11] = [
    (1, "b1", ElementType::U8, 8),
    (4, "bf16", ElementType::Bf16, 1),
    (5, "e5m2", ElementType::U8, 1),
    (6, "e4m3", ElementType::U8, 1),
    (7, "e2m3", ElementType::U8, 1),
    (8, "e3m2", ElementType::U8, 1),
    (10, "f64", ElementType::F64, 1),
    (11, "f32", ElementType::F32, 1),
    (12, "f16", ElementType::F16, 1),
    (17, "u8", ElementType::U8, 1),
    (23, "i8", ElementType::I8, 1),
];

const METRICS: [(u8, &str); 10] = [
    (b'b', "hamming"),
    (b'c', "cosine"),
    (b'd', "divergence"),
    (b'e', "l2"),
    (b'h', "haversine"),
    (b'i', "ip"),
    (b'j', "jaccard"),
    (b'p', "pearson"),
    (b's', "sorensen"),
    (b't', "tanimoto"),
];

struct Head {
    element: ElementType,
    /// Elements of a vector as it is stored.
    width: u64,
}

/// True when a file that starts so is meant to be a usearch index.
///
/// # Errors
/// Only those of reading.
pub(super) fn looks_like(source: &dyn ReadAt, start: &[u8]) -> Result<bool> {
    let Some(shape) = start.first_chunk::<8>() else { return Ok(false) };
    let (row_count, vector_bytes) = matrix_shape(*shape);
    let mut magic = [0u8; MAGIC.len()];
    // Both have 32 bits: their product cannot overflow.
    let head = (row_count * vector_bytes).checked_add(SHAPE_BYTES);
    let fits = |head: &u64| head.checked_add(HEAD_BYTES as u64).is_some_and(|end| end <= source.byte_count());
    let Some(head) = head.filter(fits) else { return Ok(false) };
    source.read_at(head, &mut magic)?;
    Ok(magic == *MAGIC)
}

fn matrix_shape(bytes: [u8; 8]) -> (u64, u64) {
    let number = u64::from_le_bytes(bytes);
    (number & 0xFFFF_FFFF, number >> 32)
}

/// Parses a whole file; returns the layout name.
pub(super) fn parse(reader: &mut Reader<'_>) -> Result<String> {
    let shape = reader.array::<8>("shape of the matrix")?;
    let (row_count, vector_bytes) = matrix_shape(shape);
    let mut ahead = [0u8; HEAD_BYTES];
    if shape.starts_with(MAGIC) || !reader.tape.peek(row_count * vector_bytes, &mut ahead)? {
        return Err(reader.malformed("matrix", "expected a file of vectors, then a head; found no head behind them"));
    }
    let head = judge(reader, &ahead)?;
    let expected = head.width.saturating_mul(u64::from(head.element.bytes()));
    if expected != vector_bytes {
        return Err(reader.malformed("bytes a vector", format!("expected {expected}, found {vector_bytes}")));
    }
    // The rows lie in the file, as the head behind them shows: no overflow.
    reader.rows("vectors", StreamRole::VECTORS, head.element, head.width, row_count * head.width)?;
    reader.array::<HEAD_BYTES>("head")?;
    read_graph(reader, row_count)?;
    Ok("usearch".to_owned())
}

fn judge(reader: &mut Reader<'_>, head: &[u8; HEAD_BYTES]) -> Result<Head> {
    let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let number = |at: usize| {
        let mut bytes = [0u8; 8];
        bytes.copy_from_slice(&head[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let (metric, scalar, key, slot) = (head[13], head[14], head[15], head[16]);
    let (present, deleted, dimension) = (number(17), number(25), number(33));
    if head[..7] != *MAGIC || half(7) != MAJOR_VERSION || key != KIND_U64 || slot != KIND_U32 {
        let detail = format!(
            "expected usearch {MAJOR_VERSION}.x with keys of kind {KIND_U64} and slots of kind {KIND_U32}; found \"{}\" \
             {}.x, {key} and {slot}",
            head[..7].escape_ascii(),
            half(7)
        );
        return Err(reader.malformed("head", detail));
    }
    let known = SCALARS.iter().find(|row| row.0 == scalar).filter(|_| dimension >= 1);
    let Some(&(_, name, element, packed)) = known else {
        let detail = format!("expected numbers of a known kind, 1 dimension or more; found kind {scalar}, {dimension}");
        return Err(reader.malformed("head", detail));
    };
    reader.fact("d", dimension);
    reader.fact("dtype", name);
    if let Some((_, metric)) = METRICS.iter().find(|row| row.0 == metric) {
        reader.fact("metric", *metric);
    }
    reader.fact("ntotal", present);
    reader.fact("deleted", deleted);
    reader.fact("multi", head[41] != 0);
    reader.fact("version", format!("{}.{}.{}", half(7), half(9), half(11)));
    Ok(Head { element, width: dimension.div_ceil(packed) })
}

fn read_graph(reader: &mut Reader<'_>, row_count: u64) -> Result<()> {
    let node_count = reader.u64("node count")?;
    let upper_degree = reader.u64("connectivity")?;
    let base_degree = reader.u64("connectivity of level 0")?;
    let max_level = reader.u64("max_level")?;
    let entry_point = reader.u64("entry_slot")?;
    if row_count != node_count {
        return Err(reader.malformed("graph", format!("expected {row_count} nodes, found {node_count}")));
    }
    let degrees = 1..=CONNECTIVITY_MAX;
    if !degrees.contains(&upper_degree) || !degrees.contains(&base_degree) {
        let detail = format!("expected 1 to {CONNECTIVITY_MAX}, found {upper_degree} and {base_degree}");
        return Err(reader.malformed("connectivity", detail));
    }
    reader.fact("M", upper_degree);
    reader.fact("M0", base_degree);
    // −1 in an empty index.
    reader.fact("max_level", max_level.cast_signed());
    reader.fact("entry_point", entry_point);
    let levels = reader.rows("levels", StreamRole::LEVELS, ElementType::I16, 1, node_count)?;
    let fields = vec![
        (reader.stream("keys", StreamRole::IDS, ElementType::U64, 1)?, FieldRows::Fixed(1), node_count),
        (reader.stream("levels.nodes", StreamRole::LEVELS, ElementType::I16, 1)?, FieldRows::Fixed(1), node_count),
        (
            reader.stream("links.level0", StreamRole::LINKS, ElementType::U32, base_degree + 1)?,
            FieldRows::Fixed(1),
            node_count,
        ),
        (
            reader.stream("links.upper", StreamRole::LINKS, ElementType::U32, upper_degree + 1)?,
            FieldRows::COUNTED,
            node_count / upper_degree,
        ),
    ];
    let fields = fields.into_iter().map(|(stream, rows, row_count_hint)| FieldSpec { stream, rows, row_count_hint });
    let counts = CountsSpec { stream: levels.stream, offset: 0, bytes: 2, subtract: 0, divide: 1 };
    reader.tape.groups(node_count, fields.collect(), Some(counts)).map_err(|error| error.within("nodes"))
}
