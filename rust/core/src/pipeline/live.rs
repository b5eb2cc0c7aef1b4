//! A live index while its library saves it: the parser's tape carries the bytes on to the packer.
//!
//! No copy of the index is made. What is kept: list sizes and levels (they are counts for later runs).

use super::coding::Feed;
use super::member::{LITERAL, Naming, OPAQUE, close_private, little_endian, shared_stream};
use super::packer::Packer;
use crate::error::{Error, Layer, Result, to_usize};
use crate::limits;
use crate::plan::batch::{Batch, Content, CountReader, Cursor, Piece, Slice, next_batch};
use crate::plan::compile::{CompiledCounts, compile_run};
use crate::plan::{Counts, DerivedRule, Field, Member, Run};
use crate::split::{CountsSpec, FieldSpec, Tape};
use crate::split::{Layout, parse};
use crate::store::pipe::PipeSource;
use crate::stream::{StreamRole, StreamSpec};
use std::collections::HashMap;

/// Packs what comes out of a pipe. `layout` says what the library writes; `Opaque` takes anything.
///
/// # Errors
/// `Malformed` when the parser does not understand what comes (start again with `Opaque`), and those of packing.
pub fn pack_pipe(
    packer: &mut Packer<'_>,
    pipe: PipeSource,
    name: &str,
    layout: Layout,
    naming: &Naming,
) -> Result<Member> {
    let first_private = packer.stream_count();
    let mut tape =
        LiveTape { packer, pipe, naming, runs: Vec::new(), kept: HashMap::new(), literal: Vec::new(), literal_at: 0 };
    let (layout_name, facts) = if matches!(layout, Layout::Opaque | Layout::Auto) {
        tape.opaque()?;
        ("opaque".to_owned(), serde_json::Map::new())
    } else {
        let parsed = parse(layout, &mut tape)?;
        if !tape.at_end()? {
            return Err(Error::malformed(
                format!("live source, byte {}", tape.position()),
                "goes on; expected its end",
            ));
        }
        parsed
    };
    tape.flush_literal()?;
    let member = Member {
        name: name.to_owned(),
        bytes: tape.pipe.position(),
        layout: layout_name,
        facts,
        warning: None,
        blake3: None,
        runs: tape.runs,
    };
    close_private(packer, first_private)?;
    Ok(member)
}

/// Streams whose values may be asked for as counts by a later run.
struct KeptRows {
    bytes: Vec<u8>,
    row_bytes: u64,
}

struct LiveTape<'a, 'b> {
    packer: &'a mut Packer<'b>,
    pipe: PipeSource,
    naming: &'a Naming,
    runs: Vec<Run>,
    kept: HashMap<usize, KeptRows>,
    /// Literal bytes not pushed yet; the first is row `literal_at` of the shared stream.
    literal: Vec<u8>,
    literal_at: u64,
}

impl LiveTape<'_, '_> {
    fn flush_literal(&mut self) -> Result<()> {
        if self.literal.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.literal);
        let number = shared_stream(self.packer, &StreamSpec::bytes(LITERAL, StreamRole::LITERAL), 0)?;
        let first = self.literal_at;
        self.note_rows(LITERAL, first, bytes.len() as u64);
        self.push_rows(number, first, bytes.len() as u64, bytes)
    }

    /// Adjacent literal runs are one.
    fn note_rows(&mut self, stream: &str, first: u64, rows: u64) {
        if let Some(Run::Rows { stream: last, rows: last_rows, .. }) = self.runs.last_mut()
            && last == stream
        {
            *last_rows += rows;
            return;
        }
        self.runs.push(Run::Rows { stream: stream.to_owned(), first, rows });
    }

    fn push_rows(&mut self, stream: usize, first_row: u64, rows: u64, bytes: Vec<u8>) -> Result<()> {
        let Some(shape) = self.packer.table.shape(stream) else { return Ok(()) };
        let slice = Slice { stream, first_row, rows, row_bytes: shape.row_bytes, chunk_rows: shape.chunk_rows };
        let pieces = vec![Piece { slice: 0, bytes: bytes.len() }];
        let content = Content::Rows { slices: vec![slice], pieces, repeat: 1 };
        self.packer.push(Batch { offset: 0, bytes: bytes.len(), content }, Feed::Owned(bytes))
    }

    fn opaque(&mut self) -> Result<()> {
        let number = shared_stream(self.packer, &StreamSpec::bytes(OPAQUE, StreamRole::OPAQUE), 0)?;
        let first = self.packer.table.shape(number).map_or(0, |shape| shape.row_count);
        let chunk = self.packer.table.shape(number).map_or(1, |shape| shape.chunk_rows);
        let mut at = first;
        loop {
            let mut bytes = Vec::new();
            let to_border = to_usize(chunk - at % chunk, "chunk")?;
            self.pipe.take_some(to_border, &mut bytes)?;
            if bytes.is_empty() {
                break;
            }
            let rows = bytes.len() as u64;
            self.push_rows(number, at, rows, bytes)?;
            at += rows;
        }
        self.packer.table.set_row_count(number, at);
        if at > first {
            self.runs.push(Run::Rows { stream: OPAQUE.to_owned(), first, rows: at - first });
        }
        Ok(())
    }

    /// Declares the stream; returns its number and its name in the archive.
    fn declare(&mut self, spec: &StreamSpec, row_count_hint: u64) -> Result<(usize, String)> {
        let named = StreamSpec { name: self.naming.stream(&spec.name), ..spec.clone() };
        let number = self.packer.declare(&named, row_count_hint)?;
        Ok((number, named.name))
    }

    /// Executes one run while its bytes come out of the pipe.
    fn carry(&mut self, run: Run) -> Result<()> {
        let compiled = [compile_run(&run, &mut { u64::MAX }, &self.packer.table).map_err(not_so)?];
        let mut cursor = Cursor::default();
        let mut last = None;
        loop {
            let taken = cursor.offset;
            let mut counts = LiveCounts { pipe: &mut self.pipe, kept: &self.kept, taken, last };
            let Some(batch) = next_batch(&compiled, &mut cursor, &mut counts).map_err(not_so)? else { break };
            last = counts.last;
            let bytes = self.pipe.take_exactly(batch.bytes)?;
            if let Content::Rows { slices, .. } = &batch.content
                && let [slice] = slices.as_slice()
                && let Some(kept) = self.kept.get_mut(&slice.stream)
            {
                kept.bytes.extend_from_slice(&bytes);
            }
            if let Content::Rows { slices, .. } = &batch.content {
                for slice in slices {
                    self.packer.table.set_row_count(slice.stream, slice.first_row + slice.rows);
                }
                self.packer.push(batch, Feed::Owned(bytes))?;
            }
        }
        self.runs.push(run);
        Ok(())
    }

    fn counts(&self, counts: CountsSpec) -> Counts {
        let CountsSpec { stream, offset, bytes, subtract, divide } = counts;
        Counts { stream: self.naming.stream(&stream), first: 0, offset, bytes, subtract, divide }
    }
}

impl Tape for LiveTape<'_, '_> {
    fn position(&self) -> u64 {
        self.pipe.position()
    }

    fn remaining(&self) -> Option<u64> {
        None
    }

    fn literal(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.pipe.take(buffer)?;
        if self.literal.is_empty() {
            let number = self.packer.table.number(LITERAL);
            self.literal_at =
                number.and_then(|number| self.packer.table.shape(number)).map_or(0, |shape| shape.row_count);
        }
        self.literal.extend_from_slice(buffer);
        let number = shared_stream(self.packer, &StreamSpec::bytes(LITERAL, StreamRole::LITERAL), 0)?;
        self.packer.table.set_row_count(number, self.literal_at + self.literal.len() as u64);
        if self.literal.len() as u64 >= limits::CHUNK_BYTES_DEFAULT {
            self.flush_literal()?;
        }
        Ok(())
    }

    fn rows(&mut self, stream: StreamSpec, row_count: u64) -> Result<()> {
        self.flush_literal()?;
        let (number, name) = self.declare(&stream, row_count)?;
        self.packer.table.set_row_count(number, row_count);
        self.packer.expect_rows(number, row_count);
        if matches!(stream.role, StreamRole::LEVELS | StreamRole::LIST_SIZES) {
            let row_bytes = u64::from(stream.row_bytes()?);
            self.kept.insert(number, KeptRows { bytes: Vec::new(), row_bytes });
        }
        self.carry(Run::Rows { stream: name, first: 0, rows: row_count })
    }

    fn groups(&mut self, group_count: u64, fields: Vec<FieldSpec>, counts: Option<CountsSpec>) -> Result<()> {
        self.flush_literal()?;
        let mut declared = Vec::with_capacity(fields.len());
        let mut numbers = Vec::with_capacity(fields.len());
        for field in fields {
            let (number, stream) = self.declare(&field.stream, field.row_count_hint)?;
            numbers.push(number);
            declared.push(Field { stream, first: 0, rows: field.rows });
        }
        let counts = counts.map(|counts| self.counts(counts));
        self.carry(Run::Groups { groups: group_count, fields: declared, counts })?;
        for number in numbers {
            // A field that took no row keeps the open end it was declared with.
            if self.packer.table.shape(number).is_some_and(|shape| shape.row_count == u64::MAX) {
                self.packer.table.set_row_count(number, 0);
            }
        }
        Ok(())
    }

    fn derived_offsets(&mut self, group_count: u64, counts: CountsSpec, table: &[u64]) -> Result<bool> {
        self.flush_literal()?;
        let start = self.pipe.position();
        let counts = self.counts(counts);
        let run =
            Run::Derived { rule: DerivedRule::RunningOffsets, groups: group_count, counts, table: table.to_vec() };
        let compiled = [compile_run(&run, &mut { u64::MAX }, &self.packer.table).map_err(not_so)?];
        let mut cursor = Cursor::default();
        let mut found = Vec::new();
        loop {
            let mut counts = LiveCounts { pipe: &mut self.pipe, kept: &self.kept, taken: cursor.offset, last: None };
            let Some(batch) = next_batch(&compiled, &mut cursor, &mut counts).map_err(not_so)? else { break };
            found.resize(batch.bytes, 0);
            self.pipe.take(&mut found)?;
            if batch.content != Content::Derived(std::mem::take(&mut found)) {
                let place = format!("live source, offsets at byte {start}");
                return Err(Error::malformed(place, "do not follow from the levels"));
            }
        }
        self.runs.push(run);
        Ok(true)
    }

    fn at_end(&mut self) -> Result<bool> {
        self.pipe.at_end()
    }
}

/// A run was just made of what the parser understood; where the bytes do not follow it, they are at fault.
fn not_so(error: Error) -> Error {
    match error.layer() {
        Some(Layer::Plan) => Error::malformed(error.place().replacen("plan", "live source", 1), error.detail()),
        _ => error,
    }
}

struct LiveCounts<'a> {
    pipe: &'a mut PipeSource,
    kept: &'a HashMap<usize, KeptRows>,
    /// Bytes of the run taken from the pipe so far.
    taken: u64,
    /// The inline count of the last group: when the group is cut, its start has left the pipe.
    last: Option<(u64, u64)>,
}

impl CountReader for LiveCounts<'_> {
    fn value(&mut self, counts: &CompiledCounts, group: u64, group_offset: u64) -> Result<u64> {
        let width = to_usize(counts.bytes, "count")?;
        if counts.inline {
            if let Some((_, value)) = self.last.filter(|(last, _)| *last == group) {
                return Ok(value);
            }
            let ahead = to_usize((group_offset + counts.offset).saturating_sub(self.taken), "count")?;
            let value = self.pipe.peek(ahead, width).map(little_endian)?;
            self.last = Some((group, value));
            return Ok(value);
        }
        let kept = self.kept.get(&counts.stream);
        let found = kept.and_then(|kept| {
            let row = counts.first.checked_add(group)?.checked_mul(kept.row_bytes)?;
            let at = usize::try_from(row.checked_add(counts.offset)?).ok()?;
            kept.bytes.get(at..at.checked_add(width)?)
        });
        let missing = || Error::malformed(format!("live source, count of group {group}"), "its stream was not kept");
        found.map(little_endian).ok_or_else(missing)
    }
}
