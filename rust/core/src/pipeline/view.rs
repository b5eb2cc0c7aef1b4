//! A member of an archive as it will be restored: its batches, and positioned reads of its bytes.

use super::rows::{ArchiveCounts, ReadState, RowReader};
use crate::archive::metadata::parse_strict;
use crate::error::{Error, ErrorKind, Layer, Result, to_usize};
use crate::limits;
use crate::plan::batch::{Content, Cursor, join, next_batch};
use crate::plan::compile::{CompiledRun, check_plan, compile, fault};
use crate::plan::{Member, Plan};
use crate::store::ReadAt;
use crate::stream::StreamRole;
use std::sync::{Arc, Mutex, PoisonError};

/// The split plan, checked as far as it can be without reading counts; `None` when there is none.
///
/// # Errors
/// `Damaged` at layer `Plan`, and those of reading rows.
pub fn read_plan(reader: &RowReader) -> Result<Option<Plan>> {
    let streams = reader.archive().streams();
    let found = streams.iter().position(|stream| stream.name == "plan" && stream.role == StreamRole::PLAN);
    let Some(number) = found else { return Ok(None) };
    let bytes = streams[number].raw_bytes();
    if bytes > limits::PLAN_BYTES_MAX {
        return Err(fault("length", &format!("{bytes} bytes; expected at most {}", limits::PLAN_BYTES_MAX)));
    }
    let mut text = vec![0; to_usize(bytes, "plan")?];
    reader.read_rows(&mut ReadState::default(), number, 0, &mut text)?;
    let text = String::from_utf8(text).map_err(|error| fault("text", &error.to_string()))?;
    let value = parse_strict(&text, Layer::Plan)?;
    let plan: Plan = serde_json::from_value(value).map_err(|error| fault("shape", &error.to_string()))?;
    check_plan(&plan)?;
    Ok(Some(plan))
}

/// A member whose runs are compiled, whose counts are resolved and whose bytes are tiled exactly.
pub struct MemberView {
    pub name: String,
    pub bytes: u64,
    reader: Arc<RowReader>,
    runs: Vec<CompiledRun>,
    /// One for each batch, in order.
    starts: Vec<Cursor>,
    last: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    state: AssemblyState,
    batch: Option<usize>,
    bytes: Vec<u8>,
}

/// Buffers of one thread that puts batches together.
#[derive(Default)]
pub struct AssemblyState {
    rows: ReadState,
    fields: Vec<Vec<u8>>,
}

impl MemberView {
    /// # Errors
    /// `Damaged` at layer `Plan` when the runs do not tile the member; those of reading counts.
    pub fn new(reader: &Arc<RowReader>, member: &Member) -> Result<Self> {
        let runs = compile(member, &reader.table())?;
        let mut counts = ArchiveCounts::new(reader);
        let mut cursor = Cursor::default();
        let mut starts = Vec::new();
        loop {
            let start = cursor.clone();
            if next_batch(&runs, &mut cursor, &mut counts)?.is_none() {
                break;
            }
            starts.push(start);
            if cursor.offset > member.bytes {
                break;
            }
        }
        if cursor.offset != member.bytes {
            let place = format!("member {:?}", member.name);
            let detail = format!("its runs make {} bytes or more; expected {}", cursor.offset, member.bytes);
            return Err(fault(&place, &detail));
        }
        let name = member.name.clone();
        Ok(Self { name, bytes: member.bytes, reader: reader.clone(), runs, starts, last: Mutex::default() })
    }

    pub fn batch_count(&self) -> usize {
        self.starts.len()
    }

    /// Bytes of batch `number` into `out` (resized); returns where they go.
    ///
    /// # Errors
    /// Those of reading rows.
    pub fn assemble(&self, state: &mut AssemblyState, number: usize, out: &mut Vec<u8>) -> Result<u64> {
        let missing = || Error::new(ErrorKind::InvalidArgument, format!("batch {number}"), "does not exist");
        let mut cursor = self.starts.get(number).ok_or_else(missing)?.clone();
        let mut counts = ArchiveCounts::new(&self.reader);
        let batch = next_batch(&self.runs, &mut cursor, &mut counts)?.ok_or_else(missing)?;
        let (slices, pieces, repeat) = match batch.content {
            Content::Derived(bytes) => {
                *out = bytes;
                return Ok(batch.offset);
            }
            Content::Rows { slices, pieces, repeat } => (slices, pieces, repeat),
        };
        out.resize(batch.bytes, 0);
        if let [slice] = slices.as_slice() {
            self.reader.read_rows(&mut state.rows, slice.stream, slice.first_row, out)?;
            return Ok(batch.offset);
        }
        state.fields.resize_with(slices.len().max(state.fields.len()), Vec::new);
        for (slice, field) in slices.iter().zip(&mut state.fields) {
            field.resize(to_usize(slice.bytes(), "batch")?, 0);
            self.reader.read_rows(&mut state.rows, slice.stream, slice.first_row, field)?;
        }
        let fields: Vec<&[u8]> = state.fields.iter().take(slices.len()).map(Vec::as_slice).collect();
        join(&pieces, repeat, &fields, out);
        Ok(batch.offset)
    }
}

impl ReadAt for MemberView {
    fn byte_count(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.bytes) {
            let place = format!("member {:?}, bytes {offset} and {} on", self.name, buffer.len());
            return Err(Error::new(ErrorKind::InvalidArgument, place, format!("it has {} bytes", self.bytes)));
        }
        let mut held = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let number = self.starts.partition_point(|start| start.offset <= at).saturating_sub(1);
            let Held { state, batch, bytes } = &mut *held;
            if *batch != Some(number) {
                *batch = None;
                self.assemble(state, number, bytes)?;
                *batch = Some(number);
            }
            let skip = to_usize(at - self.starts[number].offset, "member")?;
            let here = bytes.len().saturating_sub(skip).min(rest.len());
            if here == 0 {
                return Err(fault(&format!("member {:?}", self.name), &format!("has no bytes at {at}")));
            }
            let (head, tail) = rest.split_at_mut(here);
            head.copy_from_slice(&bytes[skip..skip + here]);
            at += here as u64;
            rest = tail;
        }
        Ok(())
    }
}
