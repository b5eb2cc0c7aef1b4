//! Parsers of index files. They copy nothing: they walk a `Tape` forward and name what lies on it.
//!
//! Input is hostile. A parser checks a count against what remains before it multiplies, reads small fields
//! through `Tape::literal`, and declares everything large as rows or groups. The same parser runs over a
//! file (`FileTape`: records the plan, moves nothing) and over a live stream (the tape then carries the bytes
//! onward), so it never seeks back. Layouts that say what they hold only after it look ahead, which a file allows.

mod check;
mod detect;
mod diskann;
mod faiss;
mod file_tape;
mod hnswlib;
mod npy;
mod reader;
mod usearch;
mod walk;
mod window;

pub use check::{check_faiss, check_hnswlib};
pub use detect::{Layout, parse, plan_file};
pub use file_tape::{FileTape, TapeStream};

use crate::error::Result;
use crate::plan::FieldRows;
use crate::stream::StreamSpec;

/// One stream of a groups run, in file order.
#[derive(Debug, Clone)]
pub struct FieldSpec {
    pub stream: StreamSpec,
    pub rows: FieldRows,
    /// Expected rows in all: fixes the chunk size, binds nothing else.
    pub row_count_hint: u64,
}

/// Where group counts come from: a stream given to `rows` before, or (inline) the group's own first field,
/// which must then be fixed at one row.
#[derive(Debug, Clone)]
pub struct CountsSpec {
    pub stream: String,
    /// Byte offset of the value in a row, and its width (1, 2, 4, 8).
    pub offset: u32,
    pub bytes: u32,
    pub subtract: u64,
    pub divide: u64,
}

/// A source seen from front to back. Every byte is passed exactly once.
pub trait Tape {
    fn position(&self) -> u64;

    /// Bytes left; `None` when the source is a live stream whose end is not known.
    fn remaining(&self) -> Option<u64>;

    /// Reads the next `buffer.len()` bytes and records them as literal.
    ///
    /// # Errors
    /// `Malformed` when the source ends before.
    fn literal(&mut self, buffer: &mut [u8]) -> Result<()>;

    /// Passes `row_count` rows of a new stream. `row_count` may be 0: the stream then exists without rows.
    ///
    /// # Errors
    /// `Malformed` when the rows run past the end (checked before anything is moved).
    fn rows(&mut self, stream: StreamSpec, row_count: u64) -> Result<()>;

    /// Passes `group_count` groups of 1 to 8 fields (each a new stream).
    ///
    /// # Errors
    /// `Malformed` when a count is not exact or the groups run past the end.
    fn groups(&mut self, group_count: u64, fields: Vec<FieldSpec>, counts: Option<CountsSpec>) -> Result<()>;

    /// Passes `group_count + 1` u64 running offsets if they are what `counts` and `table` give (spec 8.1,
    /// derived) and returns true. Returns false, not having moved, when they are not.
    ///
    /// # Errors
    /// `Malformed` when the source ends before, or (live stream only) when they differ.
    fn derived_offsets(&mut self, group_count: u64, counts: CountsSpec, table: &[u64]) -> Result<bool>;

    /// Copies the bytes that begin `ahead` bytes after the position into `buffer`, without passing them, and returns
    /// true. Returns false where that cannot be: past the end, or on a live stream.
    ///
    /// # Errors
    /// Only those of reading.
    fn peek(&mut self, _ahead: u64, _buffer: &mut [u8]) -> Result<bool> {
        Ok(false)
    }

    /// True at the end of the source.
    ///
    /// # Errors
    /// Only those of reading.
    fn at_end(&mut self) -> Result<bool>;
}
