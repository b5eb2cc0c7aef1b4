//! From the JSON of a plan to runs that can be executed: every number checked, every name resolved.

use super::{Counts, Field, FieldRows, Member, Plan, Run};
use crate::error::{Error, Layer, Result};
use crate::limits;
use crate::names::path_is_safe;
use std::collections::HashMap;

/// What a plan needs to know of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamShape {
    pub row_bytes: u64,
    pub chunk_rows: u64,
    pub row_count: u64,
}

/// Streams by name, numbered as in the archive.
#[derive(Debug, Default, Clone)]
pub struct StreamTable {
    numbers: HashMap<String, usize>,
    shapes: Vec<StreamShape>,
}

impl StreamTable {
    pub fn push(&mut self, name: &str, shape: StreamShape) -> usize {
        self.numbers.insert(name.to_owned(), self.shapes.len());
        self.shapes.push(shape);
        self.shapes.len() - 1
    }

    pub fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    pub fn shape(&self, number: usize) -> Option<StreamShape> {
        self.shapes.get(number).copied()
    }

    /// Rows become known while a source is read.
    pub fn set_row_count(&mut self, number: usize, row_count: u64) {
        if let Some(shape) = self.shapes.get_mut(number) {
            shape.row_count = row_count;
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledField {
    pub stream: usize,
    pub row_bytes: u64,
    pub chunk_rows: u64,
    pub first: u64,
    /// Rows of the stream that this run may use.
    pub row_limit: u64,
    /// Rows in every group; `None`: the group's count.
    pub fixed: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledCounts {
    pub stream: usize,
    pub row_bytes: u64,
    pub first: u64,
    pub offset: u64,
    pub bytes: u64,
    pub subtract: u64,
    pub divide: u64,
    /// The stream is the first field of the same run: its value stands at the start of each group.
    pub inline: bool,
}

impl CompiledCounts {
    /// `(value - subtract) / divide`, exactly.
    ///
    /// # Errors
    /// `Damaged` at layer `Plan`.
    pub fn count(&self, value: u64, group: u64) -> Result<u64> {
        match value.checked_sub(self.subtract) {
            Some(rest) if self.divide == 1 => Ok(rest),
            Some(rest) if rest % self.divide == 0 => Ok(rest / self.divide),
            _ => Err(fault(
                &format!("group {group}"),
                &format!("value {value}; expected {} plus a multiple of {}", self.subtract, self.divide),
            )),
        }
    }
}

/// A run that can be executed. Plain rows are one group with one fixed field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompiledRun {
    Groups { groups: u64, fields: Vec<CompiledField>, counts: Option<CompiledCounts>, primary: usize },
    Derived { groups: u64, counts: CompiledCounts, table: Vec<u64> },
}

/// Checks what a plan says of itself: version, names, limits. Runs are checked by `compile`.
///
/// # Errors
/// `Damaged` at layer `Plan`.
pub fn check_plan(plan: &Plan) -> Result<()> {
    if plan.version != 1 {
        return Err(fault("version", &format!("{}; expected 1", plan.version)));
    }
    let run_count = plan.members.iter().map(|member| member.runs.len()).sum::<usize>();
    if plan.members.len() > limits::MEMBERS_MAX || run_count > limits::RUNS_MAX {
        return Err(fault("members", &format!("{} with {run_count} runs; over the limit", plan.members.len())));
    }
    for digest in plan.members.iter().filter_map(|member| member.blake3.as_deref()) {
        if blake3_of_hex(digest).is_none() {
            let shown: String = digest.chars().take(80).collect();
            return Err(fault("blake3", &format!("{shown:?}; expected 64 digits of 0-9 and a-f")));
        }
    }
    check_names(plan)
}

/// Names are safe, unique, and none lies below a member.
fn check_names(plan: &Plan) -> Result<()> {
    let members = plan.members.iter().map(|member| (&member.name, true));
    let mut sorted = Vec::with_capacity(plan.members.len() + plan.folders.len());
    for (name, is_member) in members.chain(plan.folders.iter().map(|folder| (folder, false))) {
        if !path_is_safe(name) {
            let shown: String = name.chars().take(80).collect();
            return Err(fault(&format!("name {shown:?}"), "is no safe relative path; nothing is written under it"));
        }
        // With NUL for the slash, what lies below a name sorts directly behind it.
        sorted.push((name.replace('/', "\0"), is_member));
    }
    sorted.sort_unstable();
    for pair in sorted.windows(2) {
        let [(one, is_member), (two, _)] = pair else { continue };
        let place = || format!("name {:?}", two.replace('\0', "/"));
        match two.strip_prefix(one.as_str()) {
            Some("") => return Err(fault(&place(), "stands twice")),
            Some(rest) if *is_member && rest.starts_with('\0') => {
                return Err(fault(&place(), "lies below another member"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The digest that 64 lower-case hex digits stand for.
pub fn blake3_of_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !digits {
        return None;
    }
    blake3::Hash::from_hex(text).ok().map(|hash| *hash.as_bytes())
}

/// Checks and resolves the runs of one member.
///
/// # Errors
/// `Damaged` at layer `Plan`.
pub fn compile(member: &Member, streams: &StreamTable) -> Result<Vec<CompiledRun>> {
    // Counts stand in the member itself, a byte each at least. Without this rule a tiny archive could ask for
    // 2^64 groups of no bytes.
    let mut group_limit = member.bytes;
    let compiled = member.runs.iter().enumerate().map(|(number, run)| {
        compile_run(run, &mut group_limit, streams)
            .map_err(|error| error.within(&format!("member {:?}, run {number}", member.name)))
    });
    compiled.collect()
}

/// Checks and resolves one run of a member whose runs may have `group_limit` more groups; lowers it.
///
/// # Errors
/// `Damaged` at layer `Plan`.
pub fn compile_run(run: &Run, group_limit: &mut u64, streams: &StreamTable) -> Result<CompiledRun> {
    match run {
        Run::Rows { stream, first, rows } => {
            let (number, shape) = find(stream, streams)?;
            in_range(stream, *first, Some(*rows), shape.row_count)?;
            let field = CompiledField {
                stream: number,
                row_bytes: shape.row_bytes,
                chunk_rows: shape.chunk_rows,
                first: *first,
                row_limit: shape.row_count,
                fixed: Some(*rows),
            };
            Ok(CompiledRun::Groups { groups: u64::from(*rows > 0), fields: vec![field], counts: None, primary: 0 })
        }
        Run::Groups { groups, fields, counts, .. } => {
            compile_groups(*groups, fields, counts.as_ref(), group_limit, streams)
        }
        Run::Derived { groups, counts, table, .. } => {
            take_groups(*groups, group_limit)?;
            if table.len() > limits::DERIVED_TABLE_MAX {
                return Err(fault("table", &format!("{} entries; expected at most 1,024", table.len())));
            }
            let counts = compile_counts(counts, *groups, None, streams)?;
            Ok(CompiledRun::Derived { groups: *groups, counts, table: table.clone() })
        }
    }
}

fn compile_groups(
    groups: u64,
    fields: &[Field],
    counts: Option<&Counts>,
    group_limit: &mut u64,
    streams: &StreamTable,
) -> Result<CompiledRun> {
    take_groups(groups, group_limit)?;
    if fields.is_empty() || fields.len() > limits::GROUP_FIELDS_MAX {
        return Err(fault("fields", &format!("{}; expected 1 to 8", fields.len())));
    }
    let mut compiled = Vec::with_capacity(fields.len());
    for field in fields {
        let (number, shape) = find(&field.stream, streams)?;
        let fixed = match field.rows {
            FieldRows::Fixed(0) => return Err(fault("fields", "a field of 0 rows")),
            FieldRows::Fixed(rows) => Some(u64::from(rows)),
            FieldRows::Counted(_) => None,
        };
        let rows = fixed.map_or(Some(0), |rows| rows.checked_mul(groups));
        in_range(&field.stream, field.first, rows, shape.row_count)?;
        compiled.push(CompiledField {
            stream: number,
            row_bytes: shape.row_bytes,
            chunk_rows: shape.chunk_rows,
            first: field.first,
            row_limit: shape.row_count,
            fixed,
        });
    }
    if compiled.iter().any(|field| field.fixed.is_none()) != counts.is_some() {
        return Err(fault("counts", "expected exactly when a field is counted"));
    }
    let counts = counts.map(|counts| compile_counts(counts, groups, compiled.first(), streams)).transpose()?;
    // Batches end where a chunk of the widest stream ends, so that a worker can code that chunk by itself.
    let primary = (0..compiled.len()).max_by_key(|&number| compiled[number].row_bytes).unwrap_or(0);
    Ok(CompiledRun::Groups { groups, fields: compiled, counts, primary })
}

fn compile_counts(
    counts: &Counts,
    groups: u64,
    first_field: Option<&CompiledField>,
    streams: &StreamTable,
) -> Result<CompiledCounts> {
    let (number, shape) = find(&counts.stream, streams)?;
    in_range(&counts.stream, counts.first, Some(groups), shape.row_count)?;
    let (offset, bytes) = (u64::from(counts.offset), u64::from(counts.bytes));
    if !matches!(bytes, 1 | 2 | 4 | 8) || offset + bytes > shape.row_bytes || counts.divide == 0 {
        let detail = format!("{bytes} bytes at {offset} of {}, divided by {}", shape.row_bytes, counts.divide);
        return Err(fault("counts", &format!("{detail}; expected 1, 2, 4 or 8 bytes inside the row, divisor above 0")));
    }
    let inline = first_field
        .is_some_and(|field| field.stream == number && field.first == counts.first && field.fixed == Some(1));
    Ok(CompiledCounts {
        stream: number,
        row_bytes: shape.row_bytes,
        first: counts.first,
        offset,
        bytes,
        subtract: counts.subtract,
        divide: counts.divide,
        inline,
    })
}

fn take_groups(groups: u64, group_limit: &mut u64) -> Result<()> {
    match group_limit.checked_sub(groups) {
        Some(rest) => {
            *group_limit = rest;
            Ok(())
        }
        None => {
            Err(fault("groups", &format!("{groups}; expected no more of them in all runs than the member has bytes")))
        }
    }
}

fn find(name: &str, streams: &StreamTable) -> Result<(usize, StreamShape)> {
    let number = streams.number(name);
    let found = number.and_then(|number| Some((number, streams.shape(number)?)));
    found.ok_or_else(|| fault(&format!("stream {name:?}"), "is not in the archive"))
}

fn in_range(stream: &str, first: u64, rows: Option<u64>, row_count: u64) -> Result<()> {
    match rows.and_then(|rows| first.checked_add(rows)) {
        Some(end) if end <= row_count => Ok(()),
        _ => Err(fault(
            &format!("stream {stream:?}"),
            &format!("rows {first} and on; expected them inside its {row_count} rows"),
        )),
    }
}

pub(crate) fn fault(place: &str, detail: &str) -> Error {
    Error::damaged(Layer::Plan, format!("plan, {place}"), detail.to_owned())
}
