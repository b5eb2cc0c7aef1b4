//! Index files of faiss: one recursive layout, told apart by four letters (fourcc).
//!
//! Little-endian, packed, no magic, version or checksum. An index is its fourcc, a header, and what the kind
//! adds; wrappers hold whole indexes. What is written today (1.15) and the legacy kinds whose layout is
//! certain are split; everything else is `Malformed`, so that the file stays one opaque stream.

mod binary;
mod fastscan;
mod flat;
mod header;
mod hnsw;
mod ivf;
mod lists;
mod nsg;
mod quantizer;
mod rabitq;
mod transform;
mod wrapper;

use super::reader::Reader;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// What an owner needs to know of the index inside it.
pub(super) struct Index {
    pub(super) fourcc: String,
    /// The kinds from the outside in, e.g. `IxMp(IHNf(IxF2))`.
    pub(super) tree: String,
    pub(super) kind: Kind,
    pub(super) dimension: u64,
    pub(super) row_count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The fourcc `null`: no index here.
    Absent,
    Flat,
    ProductQuantizer,
    ScalarQuantizer,
    InvertedFile,
    Graph,
    Wrapper,
}

impl Index {
    fn new(fourcc: &str, kind: Kind, header: &header::Header) -> Self {
        Self {
            fourcc: fourcc.to_owned(),
            tree: fourcc.to_owned(),
            kind,
            dimension: header.dimension,
            row_count: header.row_count,
        }
    }

    fn around(mut self, inside: &[&str]) -> Self {
        self.tree = format!("{}({})", self.fourcc, inside.join(","));
        self
    }
}

/// All kinds of faiss 1.15, so that a file of a kind that is not split yet can be named in the warning.
const KNOWN: &[&[u8; 4]] = &[
    b"IxFI", b"IxF2", b"IxFl", b"IxFP", b"IxFp", b"IxPq", b"IxPQ", b"IxPo", b"IxSQ", b"IxRq", b"IxRQ", b"IxLS",
    b"IxPR", b"IxPL", b"IxHe", b"IxHE", b"IxLa", b"Ix2L", b"IPfs", b"ILfs", b"IRfs", b"IPLf", b"IPRf", b"Ixrq",
    b"Ixrr", b"Irfn", b"Irfs", b"IxEe", b"IxEd", b"IwFl", b"IwPQ", b"IwQR", b"IwSq", b"IwSQ", b"IwPf", b"IwFd",
    b"IwSh", b"IwP2", b"IwPn", b"IwLS", b"IwRQ", b"IwPL", b"IwPR", b"IVLf", b"IVRf", b"NPLf", b"NPRf", b"Iwrq",
    b"Iwrr", b"Iwrn", b"Iwrf", b"IwEe", b"IwEd", b"IvFl", b"IvFL", b"IvSQ", b"IvPQ", b"IvQR", b"IHNf", b"IHNp",
    b"IHNs", b"IHN2", b"IHc2", b"IHNc", b"IHfP", b"IH00", b"INSf", b"INSp", b"INSs", b"INNf", b"IxPT", b"IxMp",
    b"IxM2", b"IxRF", b"IxRP", b"IRMf", b"IRMh", b"IwIQ", b"Imiq", b"ImRQ", b"ILVQ", b"ISVL", b"ISVD", b"ISV2",
    b"ISVF", b"ISIQ", b"ISIL", b"ISID", b"IBxF", b"IBwF", b"IBFf", b"IBHf", b"IBHc", b"IBMp", b"IBM2", b"IBHh",
    b"IBHm",
];

/// True when a file that starts so is meant to be a faiss index.
pub(super) fn looks_like(start: &[u8]) -> bool {
    start.get(..4).is_some_and(|fourcc| KNOWN.iter().any(|known| known.as_slice() == fourcc))
}

/// Parses one whole index; returns the layout name.
pub(super) fn parse(reader: &mut Reader<'_>) -> Result<String> {
    let index = read_index(reader)?;
    reader.require(index.kind != Kind::Absent, "index", || {
        "expected an index, found the mark of a missing one".to_owned()
    });
    reader.facts.insert("tree".to_owned(), index.tree.into());
    reader.facts.insert("fourcc".to_owned(), index.fourcc.clone().into());
    Ok(format!("faiss/{}", index.fourcc))
}

fn read_index(reader: &mut Reader<'_>) -> Result<Index> {
    // Recursion only happens here, so the stack is bounded by this check.
    if reader.depth >= limits::INDEX_NESTING_MAX {
        return Err(reader.malformed("index", format!("expected at most {} nested indexes", limits::INDEX_NESTING_MAX)));
    }
    reader.depth += 1;
    let fourcc = reader.array::<4>("fourcc of an index")?;
    let index = match &fourcc {
        b"null" => Ok(absent()),
        b"IxFI" | b"IxF2" | b"IxFl" => flat::read(reader, name(&fourcc)),
        b"IxPq" | b"IxPQ" | b"IxPo" => quantizer::read_product_index(reader, name(&fourcc)),
        b"IxSQ" => quantizer::read_scalar_index(reader, name(&fourcc)),
        b"IwFl" => ivf::read_flat(reader, name(&fourcc)),
        b"IwPQ" => ivf::read_product(reader, name(&fourcc)),
        b"IwSq" | b"IwSQ" => ivf::read_scalar(reader, name(&fourcc)),
        b"IHNf" | b"IHNp" | b"IHNs" | b"IH00" => hnsw::read(reader, name(&fourcc)),
        b"IxMp" | b"IxM2" => wrapper::read_id_map(reader, name(&fourcc)),
        b"IxPT" => wrapper::read_transformed(reader, name(&fourcc)),
        _ => read_restored_only(reader, &fourcc),
    };
    reader.depth -= 1;
    index
}

/// Kinds that are split but not checked for loading.
fn read_restored_only(reader: &mut Reader<'_>, fourcc: &[u8; 4]) -> Result<Index> {
    let kind = name(fourcc);
    let index = match fourcc {
        b"IBxF" => binary::read_flat(reader, kind),
        b"IBHf" => binary::read_graph(reader, kind),
        b"IBMp" | b"IBM2" => binary::read_id_map(reader, kind),
        b"IBFf" => binary::read_from_float(reader, kind),
        b"IBwF" => ivf::read_binary(reader, kind),
        b"Ixrq" | b"Ixrr" => rabitq::read_index(reader, kind),
        b"Iwrq" | b"Iwrr" => ivf::read_rabitq(reader, kind),
        b"IPfs" => fastscan::read_product(reader, kind),
        b"Irfn" => fastscan::read_rabitq(reader, kind),
        b"IwPf" | b"Iwrn" => ivf::read_blocked(reader, kind),
        b"IxRF" => wrapper::read_refined(reader, kind),
        b"INSf" | b"INSp" | b"INSs" => nsg::read(reader, kind),
        _ => {
            let found = fourcc.escape_ascii();
            let detail = if looks_like(fourcc) {
                format!("faiss indexes of kind {found} are not split yet")
            } else {
                format!("expected the fourcc of a faiss index, found \"{found}\"")
            };
            return Err(reader.malformed("fourcc of an index", detail));
        }
    }?;
    reader.unfit.get_or_insert_with(|| {
        let detail =
            "vark does not check such an index, so it cannot load it; restore the file and load it with its library";
        Error::new(ErrorKind::Unsupported, format!("faiss index of kind {kind}"), detail)
    });
    Ok(index)
}

/// The arms above match ASCII only.
fn name(fourcc: &[u8; 4]) -> &str {
    std::str::from_utf8(fourcc).unwrap_or_default()
}

fn absent() -> Index {
    Index { fourcc: "null".to_owned(), tree: "null".to_owned(), kind: Kind::Absent, dimension: 0, row_count: 0 }
}
