//! A tape over a file: records the split plan, moves no payload.
//!
//! Only small fields and the streams that hold counts are read; everything else is checked against the
//! length and stepped over. Memory: a few windows, whatever the file says.

use std::collections::HashMap;

use super::window::{WINDOW_BYTES, Window, unsigned, visit_rows};
use super::{CountsSpec, FieldSpec, Tape};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::plan::{Counts, DerivedRule, Field, FieldRows, Run};
use crate::store::ReadAt;
use crate::stream::{StreamRole, StreamSpec};

/// Name of the stream that takes the framing of all members.
pub(super) const LITERAL: &str = "literal";

/// A stream that a tape has passed, in the order of first declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapeStream {
    pub spec: StreamSpec,
    pub row_count: u64,
    /// Where its rows begin: exact for `rows`, the start of the run for a field of groups.
    pub offset: u64,
    /// Rows of this stream lie one after another from `offset` on.
    pub contiguous: bool,
}

pub struct FileTape<'a> {
    window: Window<'a>,
    position: u64,
    runs: Vec<Run>,
    streams: Vec<TapeStream>,
    by_name: HashMap<String, usize>,
}

/// Where counts stand in the file, checked.
struct CountColumn {
    offset: u64,
    row_bytes: usize,
    at: usize,
    width: usize,
    subtract: u64,
    divide: u64,
}

impl CountColumn {
    #[inline]
    fn count(&self, row: &[u8]) -> Option<u64> {
        let value = unsigned(row, self.at, self.width).checked_sub(self.subtract)?;
        // Most columns divide by one, and a division costs more than the rest of the loop.
        if self.divide == 1 {
            return Some(value);
        }
        value.is_multiple_of(self.divide).then(|| value / self.divide)
    }
}

/// A mistake of a parser, not of the file.
fn misuse(detail: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, "split plan", detail)
}

fn inexact(group: u64) -> Error {
    Error::malformed(
        format!("count of group {group}"),
        "expected a number that fits its unit; found a remainder or too small a value",
    )
}

impl<'a> FileTape<'a> {
    pub fn new(source: &'a dyn ReadAt) -> Self {
        let window = Window::new(source);
        Self { window, position: 0, runs: Vec::new(), streams: Vec::new(), by_name: HashMap::new() }
    }

    /// The runs and the streams, in order of first declaration.
    pub fn into_parts(self) -> (Vec<Run>, Vec<TapeStream>) {
        (self.runs, self.streams)
    }

    pub fn stream(&self, name: &str) -> Option<&TapeStream> {
        self.by_name.get(name).and_then(|&index| self.streams.get(index))
    }

    fn left(&self) -> u64 {
        self.window.length().saturating_sub(self.position)
    }

    fn past_end(&self, needed: Option<u64>) -> Error {
        let needed = needed.map_or_else(|| "more than 2^64".to_owned(), |bytes| bytes.to_string());
        Error::malformed(
            format!("byte {}", self.position),
            format!("expected {needed} more bytes; found {}", self.left()),
        )
    }

    fn declare(&mut self, spec: StreamSpec, row_count: u64, offset: u64, contiguous: bool) -> Result<()> {
        let index = self.streams.len();
        if self.by_name.insert(spec.name.clone(), index).is_some() {
            return Err(misuse(format!("stream \"{}\" was declared twice", spec.name)));
        }
        self.streams.push(TapeStream { spec, row_count, offset, contiguous });
        Ok(())
    }

    fn record_literal(&mut self, byte_count: u64) -> Result<()> {
        let first = match self.by_name.get(LITERAL) {
            Some(&index) => {
                let stream = &mut self.streams[index];
                let first = stream.row_count;
                stream.row_count += byte_count;
                first
            }
            None => {
                self.declare(StreamSpec::bytes(LITERAL, StreamRole::LITERAL), byte_count, self.position, false)?;
                0
            }
        };
        if let Some(Run::Rows { stream, rows, .. }) = self.runs.last_mut()
            && stream == LITERAL
        {
            *rows += byte_count;
            return Ok(());
        }
        self.runs.push(Run::Rows { stream: LITERAL.to_owned(), first, rows: byte_count });
        Ok(())
    }

    fn column(&self, counts: &CountsSpec, row_count: u64) -> Result<CountColumn> {
        let stream = self.stream(&counts.stream).filter(|stream| stream.contiguous && stream.row_count >= row_count);
        let stream = stream.ok_or_else(|| misuse(format!("no {row_count} counts in stream \"{}\"", counts.stream)))?;
        column_of(counts, stream.offset, stream.spec.row_bytes()?)
    }

    /// Sum of the counts of `group_count` groups; stops as soon as it exceeds `limit`.
    fn sum_counts(&self, column: &CountColumn, group_count: u64, limit: u64) -> Result<u64> {
        let (mut sum, mut group) = (0u64, 0u64);
        let mut window = Window::new(self.window.source());
        visit_rows(&mut window, column.offset, column.row_bytes, group_count, |slab| {
            for row in slab.chunks_exact(column.row_bytes) {
                let count = column.count(row).ok_or_else(|| inexact(group))?;
                sum = sum.checked_add(count).filter(|sum| *sum <= limit).ok_or_else(|| self.past_end(None))?;
                group += 1;
            }
            Ok(())
        })?;
        Ok(sum)
    }

    /// Walks groups whose count stands in their own first field; returns the sum of counts and the end.
    fn walk_inline(&mut self, column: &CountColumn, group_count: u64, shape: &GroupShape) -> Result<(u64, u64)> {
        let length = self.window.length();
        let (mut sum, mut position, mut group) = (0u64, self.position, 0u64);
        while group < group_count {
            let start = position;
            let bytes = self.window.at_least(start, column.row_bytes)?;
            // All groups that begin in what is buffered, before the window slides.
            while group < group_count {
                let at = usize::try_from(position - start).unwrap_or(usize::MAX);
                let Some(row) = bytes.get(at..at.saturating_add(column.row_bytes)) else { break };
                let count = column.count(row).ok_or_else(|| inexact(group))?;
                let group_bytes =
                    count.checked_mul(shape.counted_bytes).and_then(|counted| counted.checked_add(shape.fixed_bytes));
                let end = group_bytes.and_then(|group_bytes| position.checked_add(group_bytes));
                position = end.filter(|end| *end <= length).ok_or_else(|| {
                    Error::malformed(
                        format!("byte {position}"),
                        format!("expected a group of {count} rows within {length} bytes"),
                    )
                })?;
                sum += count; // counted_bytes is at least 1, so the sum stays below the length
                group += 1;
            }
        }
        Ok((sum, position))
    }

    fn group_end(&mut self, group_count: u64, shape: &GroupShape, counts: Option<&CountsSpec>) -> Result<(u64, u64)> {
        let fixed = group_count.checked_mul(shape.fixed_bytes);
        let fixed = fixed.filter(|bytes| *bytes <= self.left()).ok_or_else(|| self.past_end(fixed))?;
        let Some(counts) = counts else { return Ok((0, self.position + fixed)) };
        if shape.first_stream == counts.stream {
            let column = column_of(counts, self.position, shape.first_row_bytes)?;
            return self.walk_inline(&column, group_count, shape);
        }
        let column = self.column(counts, group_count)?;
        let sum = self.sum_counts(&column, group_count, (self.left() - fixed) / shape.counted_bytes)?;
        Ok((sum, self.position + fixed + sum * shape.counted_bytes))
    }

    fn differs(&mut self, group_count: u64, column: &CountColumn, table: &[u64]) -> Result<bool> {
        let mut counts = Window::new(self.window.source());
        let (mut running, mut group, mut count_offset) = (0u64, 0u64, column.offset);
        // Equal rows of both columns, so that neither window outruns the other.
        let slab_groups = (WINDOW_BYTES / column.row_bytes.max(8)) as u64;
        let mut offset = self.position;
        if unsigned(self.window.get(offset, 8)?, 0, 8) != 0 {
            return Ok(true);
        }
        while group < group_count {
            let rows = usize::try_from(slab_groups.min(group_count - group)).unwrap_or(1);
            let stored = self.window.get(offset + 8, rows * 8)?;
            let values = counts.get(count_offset, rows * column.row_bytes)?;
            for (stored, value) in stored.chunks_exact(8).zip(values.chunks_exact(column.row_bytes)) {
                let step = column
                    .count(value)
                    .and_then(|count| usize::try_from(count).ok())
                    .and_then(|count| table.get(count));
                let Some(next) = step.and_then(|step| running.checked_add(*step)) else { return Ok(true) };
                if unsigned(stored, 0, 8) != next {
                    return Ok(true);
                }
                running = next;
            }
            group += rows as u64;
            offset += rows as u64 * 8;
            count_offset += (rows * column.row_bytes) as u64;
        }
        Ok(false)
    }
}

fn column_of(counts: &CountsSpec, offset: u64, row_bytes: u32) -> Result<CountColumn> {
    let end = u64::from(counts.offset) + u64::from(counts.bytes);
    let fits = end <= u64::from(row_bytes) && matches!(counts.bytes, 1 | 2 | 4 | 8) && counts.divide >= 1;
    let to_usize = |number: u32| usize::try_from(number).ok();
    match (to_usize(row_bytes), to_usize(counts.offset), to_usize(counts.bytes)) {
        (Some(row_bytes), Some(at), Some(width)) if fits && row_bytes <= WINDOW_BYTES => {
            Ok(CountColumn { offset, row_bytes, at, width, subtract: counts.subtract, divide: counts.divide })
        }
        _ => Err(misuse(format!("counts do not fit the rows of stream \"{}\"", counts.stream))),
    }
}

/// Sizes of a group: what every one has, and what each count adds.
struct GroupShape {
    first_stream: String,
    first_row_bytes: u32,
    fixed_bytes: u64,
    counted_bytes: u64,
}

impl GroupShape {
    fn of(fields: &[FieldSpec], counts: Option<&CountsSpec>) -> Result<Self> {
        let first = fields.first().filter(|_| fields.len() <= limits::GROUP_FIELDS_MAX);
        let first = first.ok_or_else(|| misuse(format!("a group has {} fields; expected 1 to 8", fields.len())))?;
        let mut shape = Self {
            first_stream: first.stream.name.clone(),
            first_row_bytes: first.stream.row_bytes()?,
            fixed_bytes: 0,
            counted_bytes: 0,
        };
        for field in fields {
            let row_bytes = u64::from(field.stream.row_bytes()?);
            match field.rows {
                FieldRows::Fixed(0) => return Err(misuse(format!("stream \"{}\" takes no rows", field.stream.name))),
                FieldRows::Fixed(rows) => shape.fixed_bytes += row_bytes * u64::from(rows),
                FieldRows::Counted(_) => shape.counted_bytes += row_bytes,
            }
        }
        let inline = counts.is_some_and(|counts| counts.stream == shape.first_stream);
        if counts.is_some() != (shape.counted_bytes > 0) || (inline && first.rows != FieldRows::Fixed(1)) {
            return Err(misuse("counts and counted fields do not match".to_owned()));
        }
        Ok(shape)
    }
}

fn recorded(counts: CountsSpec) -> Counts {
    Counts {
        stream: counts.stream,
        first: 0,
        offset: counts.offset,
        bytes: counts.bytes,
        subtract: counts.subtract,
        divide: counts.divide,
    }
}

impl Tape for FileTape<'_> {
    fn position(&self) -> u64 {
        self.position
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.left())
    }

    fn literal(&mut self, buffer: &mut [u8]) -> Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        if buffer.len() as u64 > self.left() {
            return Err(self.past_end(Some(buffer.len() as u64)));
        }
        let mut offset = self.position;
        for part in buffer.chunks_mut(WINDOW_BYTES) {
            part.copy_from_slice(self.window.get(offset, part.len())?);
            offset += part.len() as u64;
        }
        self.record_literal(buffer.len() as u64)?;
        self.position = offset;
        Ok(())
    }

    fn rows(&mut self, stream: StreamSpec, row_count: u64) -> Result<()> {
        let byte_count = row_count.checked_mul(u64::from(stream.row_bytes()?));
        let byte_count = byte_count.filter(|bytes| *bytes <= self.left()).ok_or_else(|| self.past_end(byte_count))?;
        let name = stream.name.clone();
        self.declare(stream, row_count, self.position, true)?;
        if row_count > 0 {
            self.runs.push(Run::Rows { stream: name, first: 0, rows: row_count });
        }
        self.position += byte_count;
        Ok(())
    }

    fn groups(&mut self, group_count: u64, fields: Vec<FieldSpec>, counts: Option<CountsSpec>) -> Result<()> {
        let shape = GroupShape::of(&fields, counts.as_ref())?;
        let (sum, end) = self.group_end(group_count, &shape, counts.as_ref())?;
        let mut run_fields = Vec::with_capacity(fields.len());
        for field in fields {
            // Both products are below the bytes just walked, so they cannot overflow.
            let row_count = match field.rows {
                FieldRows::Fixed(rows) => group_count * u64::from(rows),
                FieldRows::Counted(_) => sum,
            };
            run_fields.push(Field { stream: field.stream.name.clone(), first: 0, rows: field.rows });
            self.declare(field.stream, row_count, self.position, false)?;
        }
        if group_count > 0 {
            self.runs.push(Run::Groups { groups: group_count, fields: run_fields, counts: counts.map(recorded) });
        }
        self.position = end;
        Ok(())
    }

    fn derived_offsets(&mut self, group_count: u64, counts: CountsSpec, table: &[u64]) -> Result<bool> {
        let byte_count = group_count.checked_add(1).and_then(|rows| rows.checked_mul(8));
        let byte_count = byte_count.filter(|bytes| *bytes <= self.left()).ok_or_else(|| self.past_end(byte_count))?;
        if table.len() > limits::DERIVED_TABLE_MAX {
            return Err(misuse(format!("a derived table has {} entries", table.len())));
        }
        let column = self.column(&counts, group_count)?;
        if self.differs(group_count, &column, table)? {
            return Ok(false);
        }
        let rule = DerivedRule::RunningOffsets;
        self.runs.push(Run::Derived { rule, groups: group_count, counts: recorded(counts), table: table.to_vec() });
        self.position += byte_count;
        Ok(true)
    }

    fn peek(&mut self, ahead: u64, buffer: &mut [u8]) -> Result<bool> {
        let end = ahead.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.left()) {
            return Ok(false);
        }
        self.window.source().read_at(self.position + ahead, buffer)?;
        Ok(true)
    }

    fn at_end(&mut self) -> Result<bool> {
        Ok(self.left() == 0)
    }
}
