//! A member of an archive as it will be restored: its batches, and positioned reads of its bytes.

use super::feeder::LargeChunk;
use super::rows::{ArchiveCounts, ReadState, RowReader};
use crate::archive::metadata::check_strict;
use crate::error::{Error, ErrorKind, Layer, Result, to_usize};
use crate::limits;
use crate::plan::batch::{Batch, Content, Cursor, WHOLE_CHUNK_BYTES_MAX, join, next_batch};
use crate::plan::compile::{CompiledRun, blake3_of_hex, check_plan, compile, fault};
use crate::plan::{Member, Plan};
use crate::store::ReadAt;
use crate::stream::{ElementType, StreamRole};
use crate::sys;
use std::sync::{Arc, Mutex, PoisonError};

/// The split plan, checked as far as it can be without reading counts; `None` when there is none.
///
/// # Errors
/// `Damaged` at layer `Plan`, and those of reading rows.
pub fn read_plan(reader: &RowReader) -> Result<Option<Plan>> {
    Ok(read_plan_text(reader)?.map(|(plan, _)| plan))
}

/// The plan and its JSON as stored, which has the facts too.
///
/// # Errors
/// As `read_plan`.
pub fn read_plan_text(reader: &RowReader) -> Result<Option<(Plan, String)>> {
    let streams = reader.archive().streams();
    let found = streams.iter().position(|stream| stream.name == "plan" && stream.role == StreamRole::PLAN);
    let Some(number) = found else { return Ok(None) };
    let stream = &streams[number];
    if (stream.element_type, stream.row_elements) != (ElementType::U8, 1) {
        let found = format!("rows of {} {}", stream.row_elements, stream.element_type.name());
        return Err(fault("stream", &format!("{found}; expected single bytes (u8)")));
    }
    let bytes = stream.raw_bytes();
    if bytes > limits::PLAN_BYTES_MAX {
        return Err(fault("length", &format!("{bytes} bytes; expected at most {}", limits::PLAN_BYTES_MAX)));
    }
    let mut text = vec![0; to_usize(bytes, "plan")?];
    reader.read_rows(&mut ReadState::default(), number, 0, &mut text)?;
    let text = String::from_utf8(text).map_err(|error| fault("text", &error.to_string()))?;
    check_strict(&text, Layer::Plan)?;
    let plan: Plan = serde_json::from_str(&text).map_err(|error| fault("shape", &error.to_string()))?;
    check_plan(&plan)?;
    Ok(Some((plan, text)))
}

/// A member whose runs are compiled, whose counts are resolved and whose bytes are tiled exactly.
pub struct MemberView {
    pub name: String,
    pub bytes: u64,
    /// BLAKE3 of the whole member, if the plan has it.
    pub digest: Option<[u8; 32]>,
    reader: Arc<RowReader>,
    runs: Vec<CompiledRun>,
    /// Places to start from, in order, evenly spread: few, however many batches a hostile plan has.
    marks: Vec<Cursor>,
    held: Mutex<Held>,
}

const MARKS_MAX: usize = 4_096;

/// The batch that positioned reads came to last.
#[derive(Default)]
struct Held {
    state: AssemblyState,
    start: u64,
    bytes: Vec<u8>,
    next: Cursor,
}

/// Buffers of one thread that puts batches together.
#[derive(Default)]
pub struct AssemblyState {
    rows: ReadState,
    fields: Vec<Vec<u8>>,
}

/// The batches of a member, one after another.
pub struct Batches<'a> {
    runs: &'a [CompiledRun],
    cursor: Cursor,
    counts: ArchiveCounts<'a>,
}

impl Batches<'_> {
    /// `None` after the last one.
    ///
    /// # Errors
    /// Those of reading counts.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        next_batch(self.runs, &mut self.cursor, &mut self.counts)
    }
}

impl MemberView {
    /// # Errors
    /// `Damaged` at layer `Plan` when the runs do not tile the member; those of reading counts and of `beat`,
    /// which is asked now and then.
    pub fn new(reader: &Arc<RowReader>, member: &Member, beat: &mut dyn FnMut() -> Result<()>) -> Result<Self> {
        let runs = compile(member, &reader.table())?;
        let (end, marks) = walk(reader, &runs, member.bytes, beat)?;
        if end != member.bytes {
            let place = format!("member {:?}", member.name);
            return Err(fault(&place, &format!("its runs make {end} bytes or more; expected {}", member.bytes)));
        }
        Ok(Self {
            name: member.name.clone(),
            bytes: member.bytes,
            digest: member.blake3.as_deref().and_then(blake3_of_hex),
            reader: reader.clone(),
            runs,
            marks,
            held: Mutex::default(),
        })
    }

    /// For those who only go from front to back: with 65,536 members the marks of a hostile plan are gigabytes.
    /// Positioned reads still work, but start from the front.
    #[must_use]
    pub fn without_marks(self) -> Self {
        Self { marks: Vec::new(), ..self }
    }

    /// From the start.
    pub fn batches(&self) -> Batches<'_> {
        self.batches_from(Cursor::default())
    }

    fn batches_from(&self, cursor: Cursor) -> Batches<'_> {
        Batches { runs: &self.runs, cursor, counts: ArchiveCounts::new(&self.reader) }
    }

    /// The large chunk that the batch takes rows of, if there is one: it is decoded whole.
    pub fn large_chunk(&self, batch: &Batch) -> Option<LargeChunk> {
        let Content::Rows { slices, .. } = &batch.content else { return None };
        let streams = self.reader.archive().streams();
        slices.iter().filter(|slice| slice.rows > 0).find_map(|slice| {
            let chunk = slice.first_row / slice.chunk_rows;
            let chunk_bytes = streams.get(slice.stream)?.chunk_bytes(chunk);
            (chunk_bytes > WHOLE_CHUNK_BYTES_MAX).then_some((slice.stream, chunk, chunk_bytes))
        })
    }

    /// Bytes of a batch of this member into `out` (resized).
    ///
    /// # Errors
    /// Those of reading rows.
    pub fn assemble(&self, state: &mut AssemblyState, batch: Batch, out: &mut Vec<u8>) -> Result<()> {
        if out.capacity() < batch.bytes {
            *out = vec![0; batch.bytes];
            sys::prefer_huge_pages(out);
        }
        out.resize(batch.bytes, 0);
        self.assemble_into(state, batch, out)
    }

    /// As `assemble`; `out` has the length of the batch.
    ///
    /// # Errors
    /// Those of reading rows.
    pub fn assemble_into(&self, state: &mut AssemblyState, batch: Batch, out: &mut [u8]) -> Result<()> {
        self.assemble_some(state, &batch, |_| true, out)
    }

    /// As `assemble_into`, but of rows of the streams that `takes` accepts; other bytes stay as they are.
    ///
    /// # Errors
    /// Those of reading rows.
    pub fn assemble_some(
        &self,
        state: &mut AssemblyState,
        batch: &Batch,
        takes: impl Fn(usize) -> bool,
        out: &mut [u8],
    ) -> Result<()> {
        let (slices, pieces, repeat) = match &batch.content {
            Content::Derived(bytes) => {
                out.copy_from_slice(bytes);
                return Ok(());
            }
            Content::Rows { slices, pieces, repeat } => (slices, pieces, *repeat),
        };
        if let [slice] = slices.as_slice() {
            return self.reader.read_rows(&mut state.rows, slice.stream, slice.first_row, out);
        }
        state.fields.resize_with(slices.len().max(state.fields.len()), Vec::new);
        for (slice, field) in slices.iter().zip(&mut state.fields).filter(|(slice, _)| takes(slice.stream)) {
            field.resize(to_usize(slice.bytes(), "batch")?, 0);
            self.reader.read_rows(&mut state.rows, slice.stream, slice.first_row, field)?;
        }
        let fields =
            slices.iter().zip(&state.fields).map(|(slice, field)| takes(slice.stream).then_some(field.as_slice()));
        join(pieces, repeat, &fields.collect::<Vec<_>>(), out);
        Ok(())
    }

    /// Whether rows of the large chunk are to be had at once.
    pub fn has_decoded(&self, (stream, chunk, _): LargeChunk) -> bool {
        self.reader.has_kept(stream, chunk)
    }

    /// Puts the batch that holds byte `at` into `held`.
    fn seek(&self, held: &mut Held, at: u64) -> Result<()> {
        let mark = self.marks.partition_point(|mark| mark.offset <= at).checked_sub(1);
        let mark = mark.and_then(|number| self.marks.get(number)).cloned().unwrap_or_default();
        let reached = held.next.offset <= at && held.next.offset >= mark.offset;
        held.bytes.clear();
        let mut batches = self.batches_from(if reached { std::mem::take(&mut held.next) } else { mark });
        while let Some(batch) = batches.next_batch()? {
            if at < batches.cursor.offset {
                held.start = batch.offset;
                held.next = batches.cursor;
                return self.assemble(&mut held.state, batch, &mut held.bytes).inspect_err(|_| held.bytes.clear());
            }
        }
        Err(fault(&format!("member {:?}", self.name), &format!("has no bytes at {at}")))
    }
}

/// Where the runs end (or that they go past `byte_count`), and marks on the way.
fn walk(
    reader: &RowReader,
    runs: &[CompiledRun],
    byte_count: u64,
    beat: &mut dyn FnMut() -> Result<()>,
) -> Result<(u64, Vec<Cursor>)> {
    beat()?;
    let mut batches = Batches { runs, cursor: Cursor::default(), counts: ArchiveCounts::new(reader).with_beat(beat) };
    let mut marks = Vec::new();
    let (mut number, mut spacing) = (0u64, 1u64);
    loop {
        if number.is_multiple_of(spacing) {
            if marks.len() == MARKS_MAX {
                let mut keep = false;
                marks.retain(|_| {
                    keep = !keep;
                    keep
                });
                spacing *= 2;
            }
            if number.is_multiple_of(spacing) {
                marks.push(batches.cursor.clone());
            }
        }
        if batches.next_batch()?.is_none() || batches.cursor.offset > byte_count {
            return Ok((batches.cursor.offset, marks));
        }
        number += 1;
        if number.is_multiple_of(4_096) {
            batches.counts.beat()?;
        }
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
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let inside = at.checked_sub(held.start).filter(|inside| *inside < held.bytes.len() as u64);
            let Some(inside) = inside else {
                self.seek(&mut held, at)?;
                continue;
            };
            let skip = to_usize(inside, "member")?;
            let here = (held.bytes.len() - skip).min(rest.len());
            let (head, tail) = rest.split_at_mut(here);
            head.copy_from_slice(&held.bytes[skip..skip + here]);
            at += here as u64;
            rest = tail;
        }
        Ok(())
    }
}
