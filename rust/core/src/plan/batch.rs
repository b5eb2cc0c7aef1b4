//! Batches: the unit of work in both directions.
//!
//! A batch is a range of a member's bytes and the stream rows that it is made of. `split` takes such bytes
//! apart at backup, `join` puts them together at restore; both walk the same pieces in the same order.

use super::compile::{CompiledCounts, CompiledField, CompiledRun, fault};
use crate::error::{Result, to_usize};
use crate::limits;

/// Reads the raw value that stands for a group's count.
pub trait CountReader {
    /// `group_offset`: where the group starts in the member (inline counts stand there). A group that is cut
    /// between two batches is asked for again, when its start has been passed.
    ///
    /// # Errors
    /// Those of reading.
    fn value(&mut self, counts: &CompiledCounts, group: u64, group_offset: u64) -> Result<u64>;
}

/// Neighbouring rows of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    pub stream: usize,
    pub first_row: u64,
    pub rows: u64,
    pub row_bytes: u64,
    pub chunk_rows: u64,
}

impl Slice {
    /// Bounded by the batch's bytes, which were checked to fit.
    pub fn bytes(&self) -> u64 {
        self.rows * self.row_bytes
    }

    /// True when the slice is exactly one chunk of a stream of `row_count` rows (if that is known).
    pub fn is_chunk(&self, row_count: Option<u64>) -> bool {
        let is_last = row_count == self.first_row.checked_add(self.rows);
        self.first_row.is_multiple_of(self.chunk_rows) && (self.rows == self.chunk_rows || (is_last && self.rows > 0))
    }
}

/// The next `bytes` bytes of slice `slice`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub slice: usize,
    pub bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub offset: u64,
    pub bytes: usize,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The pieces, in file order, `repeat` times over.
    Rows { slices: Vec<Slice>, pieces: Vec<Piece>, repeat: u64 },
    /// Bytes that follow from other rows.
    Derived(Vec<u8>),
}

/// A place between two batches of a member. Cheap to keep: restoring starts anywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    pub offset: u64,
    run: usize,
    group: u64,
    group_offset: u64,
    field: usize,
    /// Rows of the current field already passed in this group.
    done: u64,
    /// Rows passed of each field of the current run.
    passed: Vec<u64>,
    running: u64,
    /// A derived run starts with a zero that belongs to no group.
    started: bool,
}

/// Batches hold about one chunk of the widest stream, and never more than this many times it.
const BATCH_CHUNKS_MAX: u64 = 2;
/// Chunks above this are large: few at a time, and filled by several batches where their rows do not stand together.
pub const WHOLE_CHUNK_BYTES_MAX: u64 = 8 << 20;
const DERIVED_GROUPS: u64 = 65_536;
/// Pieces of a byte each would take many times the memory of the batch.
const PIECES_MAX: usize = 65_536;

/// The batch at `cursor`, which moves behind it; `None` after the last run.
///
/// # Errors
/// `Damaged` at layer `Plan` when counts do not fit; those of `counts`.
pub fn next_batch(runs: &[CompiledRun], cursor: &mut Cursor, counts: &mut dyn CountReader) -> Result<Option<Batch>> {
    while let Some(run) = runs.get(cursor.run) {
        let batch = match run {
            CompiledRun::Groups { groups, fields, counts: run_counts, primary } => {
                if cursor.passed.is_empty() {
                    cursor.passed = vec![0; fields.len()];
                }
                let run = GroupRun { groups: *groups, fields, counts: run_counts.as_ref(), primary: *primary };
                run.next(cursor, counts)?
            }
            CompiledRun::Derived { groups, counts: run_counts, table } => {
                derived_batch(*groups, run_counts, table, cursor, counts)?
            }
        };
        if batch.is_some() {
            return Ok(batch);
        }
        let offset = cursor.offset;
        *cursor = Cursor { offset, run: cursor.run + 1, group_offset: offset, ..Cursor::default() };
    }
    Ok(None)
}

struct GroupRun<'a> {
    groups: u64,
    fields: &'a [CompiledField],
    counts: Option<&'a CompiledCounts>,
    primary: usize,
}

impl GroupRun<'_> {
    fn next(&self, cursor: &mut Cursor, counts: &mut dyn CountReader) -> Result<Option<Batch>> {
        if cursor.group >= self.groups {
            return Ok(None);
        }
        let widest = &self.fields[self.primary];
        let to_border = widest.chunk_rows - (widest.first + cursor.passed[self.primary]) % widest.chunk_rows;
        let chunk_bytes = widest.chunk_rows.saturating_mul(widest.row_bytes);
        let byte_limit = match chunk_bytes {
            0..=WHOLE_CHUNK_BYTES_MAX => chunk_bytes * BATCH_CHUNKS_MAX,
            // Rows that stand together are one chunk, without a copy. Where a partition of links lies between other
            // rows it is put together from fragments, so that a batch stays small.
            _ if self.fields.len() == 1 => chunk_bytes,
            _ => limits::CHUNK_BYTES_DEFAULT * BATCH_CHUNKS_MAX,
        };
        let every_field_once = self.fields.len() > 1 && self.fields.iter().all(|field| field.fixed == Some(1));
        if every_field_once && cursor.field == 0 && cursor.done == 0 {
            let group_bytes = self.fields.iter().map(|field| field.row_bytes).fold(0, u64::saturating_add);
            let fitting = (byte_limit / group_bytes.max(1)).max(1);
            return self.whole_groups(cursor, to_border.min(self.groups - cursor.group).min(fitting)).map(Some);
        }
        self.pieces(cursor, counts, to_border, byte_limit)
    }

    /// One row of each field in each group: a pattern, repeated.
    fn whole_groups(&self, cursor: &mut Cursor, groups: u64) -> Result<Batch> {
        let mut slices = Vec::with_capacity(self.fields.len());
        let mut pieces = Vec::with_capacity(self.fields.len());
        let mut group_bytes = 0;
        for (number, field) in self.fields.iter().enumerate() {
            slices.push(slice_of(field, cursor.passed[number], groups));
            pieces.push(Piece { slice: number, bytes: to_usize(field.row_bytes, "row")? });
            group_bytes += field.row_bytes;
            cursor.passed[number] += groups;
        }
        cursor.group += groups;
        let bytes = groups.checked_mul(group_bytes).ok_or_else(|| fault("groups", "their bytes overflow"))?;
        let content = Content::Rows { slices, pieces, repeat: groups };
        advance(cursor, bytes, content)
    }

    /// The general walk: any fields, cut at the chunk border of the widest stream or at the byte limit.
    fn pieces(
        &self,
        cursor: &mut Cursor,
        counts: &mut dyn CountReader,
        mut to_border: u64,
        byte_limit: u64,
    ) -> Result<Option<Batch>> {
        let start = cursor.passed.clone();
        let mut pieces: Vec<Piece> = Vec::new();
        let mut bytes = 0u64;
        let mut group_rows = None;
        while cursor.group < self.groups && to_border > 0 && bytes < byte_limit && pieces.len() < PIECES_MAX {
            let field = &self.fields[cursor.field];
            let total = match (field.fixed, self.counts, group_rows) {
                (Some(rows), _, _) | (None, _, Some(rows)) => rows,
                (None, Some(run_counts), None) => {
                    let value = counts.value(run_counts, cursor.group, cursor.group_offset)?;
                    let rows = run_counts.count(value, cursor.group)?;
                    group_rows = Some(rows);
                    rows
                }
                (None, None, None) => return Err(fault("counts", "missing")),
            };
            let left = total.saturating_sub(cursor.done);
            let mut take = match left.checked_mul(field.row_bytes) {
                // The usual case: a division for each group would cost as much as all else here.
                Some(left_bytes) if left_bytes <= byte_limit - bytes => left,
                _ => left.min(((byte_limit - bytes) / field.row_bytes).max(1)),
            };
            if cursor.field == self.primary {
                take = take.min(to_border);
                to_border -= take;
            }
            let passed = cursor.passed[cursor.field];
            if field.row_limit - field.first - passed < take {
                return Err(fault(&format!("group {}", cursor.group), "takes more rows than its stream has"));
            }
            cursor.passed[cursor.field] += take;
            cursor.done += take;
            bytes += take * field.row_bytes;
            push_piece(&mut pieces, cursor.field, to_usize(take * field.row_bytes, "batch")?);
            if cursor.done == total {
                cursor.done = 0;
                cursor.field += 1;
                if cursor.field == self.fields.len() {
                    (cursor.field, cursor.group, group_rows) = (0, cursor.group + 1, None);
                    cursor.group_offset = cursor.offset + bytes;
                }
            }
        }
        if bytes == 0 {
            return Ok(None);
        }
        let slices = self.fields.iter().enumerate();
        let slices =
            slices.map(|(number, field)| slice_of(field, start[number], cursor.passed[number] - start[number]));
        let content = Content::Rows { slices: slices.collect(), pieces, repeat: 1 };
        advance(cursor, bytes, content).map(Some)
    }
}

fn slice_of(field: &CompiledField, passed: u64, rows: u64) -> Slice {
    Slice {
        stream: field.stream,
        first_row: field.first + passed,
        rows,
        row_bytes: field.row_bytes,
        chunk_rows: field.chunk_rows,
    }
}

fn push_piece(pieces: &mut Vec<Piece>, slice: usize, bytes: usize) {
    if bytes == 0 {
        return;
    }
    match pieces.last_mut() {
        Some(last) if last.slice == slice => last.bytes += bytes,
        _ => pieces.push(Piece { slice, bytes }),
    }
}

fn advance(cursor: &mut Cursor, bytes: u64, content: Content) -> Result<Batch> {
    let offset = cursor.offset;
    cursor.offset = offset.checked_add(bytes).ok_or_else(|| fault("runs", "their bytes overflow"))?;
    Ok(Batch { offset, bytes: to_usize(bytes, "batch")?, content })
}

fn derived_batch(
    groups: u64,
    run_counts: &CompiledCounts,
    table: &[u64],
    cursor: &mut Cursor,
    counts: &mut dyn CountReader,
) -> Result<Option<Batch>> {
    let mut data = Vec::new();
    if !cursor.started {
        cursor.started = true;
        data.extend_from_slice(&0u64.to_le_bytes());
    }
    let end = groups.min(cursor.group.saturating_add(DERIVED_GROUPS));
    while cursor.group < end {
        let value = counts.value(run_counts, cursor.group, cursor.offset)?;
        let number = run_counts.count(value, cursor.group)?;
        let step = usize::try_from(number).ok().and_then(|number| table.get(number));
        let sum = step.and_then(|step| cursor.running.checked_add(*step));
        cursor.running = sum.ok_or_else(|| fault("derived", &format!("group {} has count {number}", cursor.group)))?;
        data.extend_from_slice(&cursor.running.to_le_bytes());
        cursor.group += 1;
    }
    if data.is_empty() {
        return Ok(None);
    }
    let bytes = data.len() as u64;
    advance(cursor, bytes, Content::Derived(data)).map(Some)
}

/// Takes a batch apart as its bytes come in, in order and in parts of any length.
pub struct Splitter<'a> {
    pieces: &'a [Piece],
    repeats_left: u64,
    piece: usize,
    /// Bytes of `piece` that were taken.
    done: usize,
}

impl<'a> Splitter<'a> {
    pub fn new(pieces: &'a [Piece], repeat: u64) -> Self {
        Self { pieces, repeats_left: repeat, piece: 0, done: 0 }
    }

    /// Appends to `targets[i]` what of `part` is slice *i*'s.
    pub fn take(&mut self, part: &[u8], targets: &mut [Vec<u8>]) {
        let mut rest = part;
        while self.repeats_left > 0 && !rest.is_empty() {
            let Some(piece) = self.pieces.get(self.piece) else {
                (self.piece, self.repeats_left) = (0, self.repeats_left - 1);
                continue;
            };
            let (head, tail) = rest.split_at((piece.bytes - self.done).min(rest.len()));
            targets[piece.slice].extend_from_slice(head);
            rest = tail;
            self.done += head.len();
            if self.done == piece.bytes {
                (self.piece, self.done) = (self.piece + 1, 0);
            }
        }
    }
}

/// Puts `target` together out of the slices' bytes. The bytes of a slice that is `None` stay as they are.
pub fn join(pieces: &[Piece], repeat: u64, sources: &[Option<&[u8]>], target: &mut [u8]) {
    let mut at = vec![0usize; sources.len()];
    let mut rest = target;
    for _ in 0..repeat {
        for piece in pieces {
            let (head, tail) = rest.split_at_mut(piece.bytes.min(rest.len()));
            let start = at[piece.slice];
            at[piece.slice] = start + head.len();
            if let Some(source) = sources[piece.slice] {
                head.copy_from_slice(&source[start..start + head.len()]);
            }
            rest = tail;
        }
    }
}
