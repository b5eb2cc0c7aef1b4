//! Index files of hnswlib 0.8: no magic, so a file is told by its header, which must agree with itself.
//!
//! Header, 96 bytes: offsetLevel0 u64 · max_elements u64 · count u64 · element_bytes u64 · label_offset u64 ·
//! data_offset u64 · maxlevel i32 · enterpoint u32 · maxM u64 · maxM0 u64 · M u64 · mult f64 · ef_construction u64.
//! Then count elements: head u32 (low 16 bits: degree; byte 2, bit 0: deleted) · maxM0 links u32 · vector ·
//! label u64. Then for each element a length u32 and that many bytes: one list (u32 count, maxM links) for
//! each upper level. Slots past a degree hold stale ids and are kept.

use super::reader::Reader;
use super::walk::{LayeredExtent, Walk};
use super::{CountsSpec, FieldSpec};
use crate::error::{Error, Result};
use crate::plan::FieldRows;
use crate::stream::{ElementType, StreamRole};

pub(super) const HEADER_BYTES: usize = 96;

/// A degree is stored in 16 bits.
const DEGREE_MAX: u64 = 65_535;

/// An insertion allocates this many candidates; beyond any use.
const EF_MAX: u64 = 1 << 20;

struct Header {
    max_elements: u64,
    count: u64,
    element_bytes: u64,
    data_bytes: u64,
    max_level: i32,
    entry_point: u32,
    upper_degree: u64,
    base_degree: u64,
    mult: f64,
    ef_construction: u64,
}

fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], offset: usize) -> [u8; N] {
    let mut field = [0u8; N];
    field.copy_from_slice(&bytes[offset..offset + N]);
    field
}

/// `None` unless every offset follows from the degrees and the sizes: text or other data never gets through.
fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
    let at = |offset: usize| u64::from_le_bytes(field(bytes, offset));
    let (element_bytes, label_offset, data_offset) = (at(24), at(32), at(40));
    let (upper_degree, base_degree, degree) = (at(56), at(64), at(72));
    let consistent = at(0) == 0
        && (1..=DEGREE_MAX / 2).contains(&degree)
        && upper_degree == degree
        && base_degree == 2 * degree
        && data_offset == 4 + 4 * base_degree
        && label_offset > data_offset
        && label_offset.checked_add(8) == Some(element_bytes)
        && at(16) <= u64::from(u32::MAX);
    consistent.then(|| Header {
        max_elements: at(8),
        count: at(16),
        element_bytes,
        data_bytes: label_offset - data_offset,
        max_level: i32::from_le_bytes(field(bytes, 48)),
        entry_point: u32::from_le_bytes(field(bytes, 52)),
        upper_degree,
        base_degree,
        mult: f64::from_le_bytes(field(bytes, 80)),
        ef_construction: at(88),
    })
}

/// True when a file that starts so is meant to be an hnswlib index.
pub(super) fn looks_like(start: &[u8]) -> bool {
    start.first_chunk::<HEADER_BYTES>().is_some_and(|bytes| decode(bytes).is_some())
}

/// Parses a whole file; returns the layout name.
pub(super) fn parse(reader: &mut Reader<'_>) -> Result<String> {
    let bytes = reader.array::<HEADER_BYTES>("header")?;
    let header = decode(&bytes).ok_or_else(|| {
        Error::malformed("bytes 0 to 96", "expected the header of an hnswlib index; found offsets that disagree")
    })?;
    judge(reader, &header);
    let base = read_elements(reader, &header)?;
    let lengths = read_upper(reader, &header)?;
    let max_level = u64::try_from(header.max_level).unwrap_or(0);
    reader.walks.push(Walk::Layered(LayeredExtent {
        base,
        lengths,
        node_count: header.count,
        element_bytes: header.element_bytes,
        base_degree: header.base_degree,
        upper_degree: header.upper_degree,
        entry_point: u64::from(header.entry_point),
        max_level,
    }));
    Ok("hnswlib".to_owned())
}

/// What hnswlib itself does not check when it loads.
fn judge(reader: &mut Reader<'_>, header: &Header) {
    reader.require(header.max_elements >= header.count, "max_elements", || {
        format!("expected at least {}, found {}", header.count, header.max_elements)
    });
    // hnswlib multiplies without a check and allocates the product; ids have 32 bits.
    let room = header.max_elements.checked_mul(header.element_bytes);
    let fits = header.max_elements <= u64::from(u32::MAX) && room.is_some_and(|bytes| i64::try_from(bytes).is_ok());
    reader.require(fits, "max_elements", || format!("expected at most 2^32, found {}", header.max_elements));
    let empty = header.count == 0;
    reader.require(empty == (header.max_level == -1) && header.max_level >= -1, "maxlevel", || {
        format!("expected -1 when empty, else 0 or more; found {}", header.max_level)
    });
    reader.require(!empty || header.entry_point == u32::MAX, "enterpoint", || {
        format!("expected none in an empty index, found {}", header.entry_point)
    });
    // New levels are drawn with it: another value could ask for any amount of memory.
    let degree = u32::try_from(header.upper_degree).map_or(f64::INFINITY, f64::from);
    let expected = 1.0 / degree.ln();
    reader.require(header.upper_degree == 1 || (header.mult - expected).abs() < 1e-6, "mult", || {
        format!("expected {expected}, found {}", header.mult)
    });
    reader.require(header.ef_construction <= EF_MAX, "ef_construction", || {
        format!("expected at most {EF_MAX}, found {}", header.ef_construction)
    });
    if header.data_bytes.is_multiple_of(4) {
        reader.fact("d", header.data_bytes / 4);
    }
    reader.fact("vector_bytes", header.data_bytes);
    reader.fact("ntotal", header.count);
    reader.fact("max_elements", header.max_elements);
    reader.fact("M", header.upper_degree);
    reader.fact("ef_construction", header.ef_construction);
    reader.fact("entry_point", i64::from(header.entry_point.cast_signed()));
    reader.fact("max_level", header.max_level);
}

fn read_elements(reader: &mut Reader<'_>, header: &Header) -> Result<String> {
    let (element, width) = if header.data_bytes.is_multiple_of(4) {
        (ElementType::F32, header.data_bytes / 4)
    } else {
        (ElementType::U8, header.data_bytes)
    };
    let links = reader.stream("links.level0", StreamRole::LINKS, ElementType::U32, header.base_degree + 1)?;
    let vectors = reader.stream("vectors", StreamRole::VECTORS, element, width)?;
    let labels = reader.stream("labels", StreamRole::IDS, ElementType::U64, 1)?;
    let name = links.name.clone();
    let fields = [links, vectors, labels].map(|stream| FieldSpec {
        stream,
        rows: FieldRows::Fixed(1),
        row_count_hint: header.count,
    });
    reader.tape.groups(header.count, fields.into(), None).map_err(|error| error.within("elements"))?;
    Ok(name)
}

fn read_upper(reader: &mut Reader<'_>, header: &Header) -> Result<String> {
    let width = header.upper_degree + 1;
    let lengths = reader.stream("links.lengths", StreamRole::LEVELS, ElementType::U32, 1)?;
    let upper = reader.stream("links.upper", StreamRole::LINKS, ElementType::U32, width)?;
    let name = lengths.name.clone();
    let counts = CountsSpec { stream: name.clone(), offset: 0, bytes: 4, subtract: 0, divide: 4 * width };
    // On average 1 node in M has an upper list.
    let fields = vec![
        FieldSpec { stream: lengths, rows: FieldRows::Fixed(1), row_count_hint: header.count },
        FieldSpec { stream: upper, rows: FieldRows::COUNTED, row_count_hint: header.count / header.upper_degree },
    ];
    reader.tape.groups(header.count, fields, Some(counts)).map_err(|error| error.within("upper levels"))?;
    Ok(name)
}
