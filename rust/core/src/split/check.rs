//! Validation of an index file before a library loads it.
//!
//! faiss and hnswlib trust most numbers in their files. A file passes here when it parses to its last byte, its
//! sizes agree with each other, and every number that the library uses as an address is in range.

use serde_json::{Map, Value};

use super::detect::{Layout, parse_with};
use super::file_tape::FileTape;
use super::reader::Reader;
use super::walk;
use super::window::Window;
use crate::error::Result;
use crate::store::ReadAt;

/// Facts of a faiss index fit to load. An index whose lists lie in another file never is: see `Unsupported`.
///
/// # Errors
/// `Malformed` for an index unfit to load (place, expected, found); `Unsupported` when a part of it lies elsewhere;
/// those of reading.
pub fn check_faiss(source: &dyn ReadAt) -> Result<Map<String, Value>> {
    check(source, Layout::Faiss)
}

/// Facts of an hnswlib index fit to load with as many dimensions as `vector_bytes` says: the file does not know
/// its element type, so the caller compares.
///
/// # Errors
/// As `check_faiss`.
pub fn check_hnswlib(source: &dyn ReadAt) -> Result<Map<String, Value>> {
    check(source, Layout::Hnswlib)
}

fn check(source: &dyn ReadAt, layout: Layout) -> Result<Map<String, Value>> {
    let mut tape = FileTape::new(source);
    let mut reader = Reader::new(&mut tape);
    parse_with(layout, &mut reader)?;
    let Reader { facts, unfit, walks, .. } = reader;
    if let Some(error) = unfit {
        return Err(error);
    }
    let mut window = Window::new(source);
    walks.iter().try_for_each(|asked| walk::run(&tape, &mut window, asked))?;
    Ok(facts)
}
