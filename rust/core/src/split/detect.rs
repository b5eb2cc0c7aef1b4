//! Which parser a file gets, and what becomes of a file that none takes: one opaque stream.

use serde_json::{Map, Value};

use super::file_tape::{FileTape, TapeStream};
use super::reader::Reader;
use super::{Tape, diskann, faiss, hnswlib, npy, usearch};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Member, Run};
use crate::store::ReadAt;
use crate::stream::{StreamRole, StreamSpec};

/// How a source is laid out, as far as the caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Told by the first bytes.
    Auto,
    Opaque,
    Faiss,
    Hnswlib,
    Npy,
    Usearch,
    /// A disk index of DiskANN.
    DiskAnn,
}

impl Layout {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "opaque" => Some(Self::Opaque),
            "faiss" => Some(Self::Faiss),
            "hnswlib" => Some(Self::Hnswlib),
            "npy" => Some(Self::Npy),
            "usearch" => Some(Self::Usearch),
            "diskann" => Some(Self::DiskAnn),
            _ => None,
        }
    }
}

/// Plans one file. It is never refused: what does not parse cleanly to its last byte is one opaque stream, with
/// a warning when it started like something known or the caller named a layout.
///
/// # Errors
/// Only those of reading the source.
pub fn plan_file(source: &dyn ReadAt, name: &str, layout: Layout) -> Result<(Member, Vec<TapeStream>)> {
    let member = |layout: String, facts, warning, runs| Member {
        name: name.to_owned(),
        bytes: source.byte_count(),
        layout,
        facts,
        warning,
        blake3: None,
        runs,
    };
    let chosen = if layout == Layout::Auto { detect(source)? } else { layout };
    let mut warning = None;
    if chosen != Layout::Opaque {
        let mut tape = FileTape::new(source);
        match parse(chosen, &mut tape) {
            Ok((found, facts)) => {
                let (runs, streams) = tape.into_parts();
                return Ok((member(found, facts, None, runs), streams));
            }
            Err(error) if matches!(error.kind(), ErrorKind::Malformed | ErrorKind::LimitExceeded) => {
                warning = Some(format!("kept as one opaque stream: {error}"));
            }
            Err(error) => return Err(error),
        }
    }
    let (runs, streams) = opaque(source.byte_count());
    Ok((member("opaque".to_owned(), Map::new(), warning, runs), streams))
}

/// Parses a tape whose layout is known (a live index, for one) to its end; returns layout name and facts.
///
/// # Errors
/// `Malformed` when it is not of that layout or goes on after its end; `InvalidArgument` for `Auto` and `Opaque`,
/// which need no parser.
pub fn parse(layout: Layout, tape: &mut dyn Tape) -> Result<(String, Map<String, Value>)> {
    let mut reader = Reader::new(tape);
    let found = parse_with(layout, &mut reader)?;
    Ok((found, reader.facts))
}

pub(super) fn parse_with(layout: Layout, reader: &mut Reader<'_>) -> Result<String> {
    let found = match layout {
        Layout::Faiss => faiss::parse(reader)?,
        Layout::Hnswlib => hnswlib::parse(reader)?,
        Layout::Npy => npy::parse(reader)?,
        Layout::Usearch => usearch::parse(reader)?,
        Layout::DiskAnn => diskann::parse(reader)?,
        Layout::Auto | Layout::Opaque => {
            let detail = "expected faiss, hnswlib, npy, usearch or diskann";
            return Err(Error::new(ErrorKind::InvalidArgument, "layout", detail));
        }
    };
    if reader.tape.at_end()? {
        return Ok(found);
    }
    Err(reader.malformed("end of the index", "expected the end of the source, found further bytes"))
}

fn detect(source: &dyn ReadAt) -> Result<Layout> {
    let held = source.byte_count().min(hnswlib::HEADER_BYTES as u64);
    let mut start = vec![0u8; usize::try_from(held).unwrap_or(0)];
    source.read_at(0, &mut start)?;
    Ok(if start.starts_with(npy::MAGIC) {
        Layout::Npy
    } else if faiss::looks_like(&start) {
        Layout::Faiss
    } else if hnswlib::looks_like(&start) {
        Layout::Hnswlib
    } else if diskann::looks_like(&start) {
        Layout::DiskAnn
    } else if usearch::looks_like(source, &start)? {
        Layout::Usearch
    } else {
        Layout::Opaque
    })
}

fn opaque(byte_count: u64) -> (Vec<Run>, Vec<TapeStream>) {
    if byte_count == 0 {
        return (Vec::new(), Vec::new());
    }
    let spec = StreamSpec::bytes("opaque", StreamRole::OPAQUE);
    let run = Run::Rows { stream: spec.name.clone(), first: 0, rows: byte_count };
    (vec![run], vec![TapeStream { spec, row_count: byte_count, offset: 0, contiguous: true }])
}
