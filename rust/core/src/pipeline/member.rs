//! Members into the packer: a file by its plan, a live stream while it is parsed.

use super::coding::Feed;
use super::packer::Packer;
use crate::error::{Error, ErrorKind, Layer, Result};
use crate::limits;
use crate::plan::batch::{CountReader, Cursor, Slice, next_batch};
use crate::plan::compile::{CompiledCounts, compile};
use crate::plan::{Member, Run};
use crate::split::{Layout, TapeStream, plan_file};
use crate::store::ReadAt;
use crate::stream::{StreamRole, StreamSpec};
use std::collections::HashMap;
use std::sync::Arc;

/// Streams that all members share: framing, and bytes of no known layout.
pub const LITERAL: &str = "literal";
pub const OPAQUE: &str = "opaque";
/// Left for payload, documents, attachments, probes and the plan: streams, and bytes of a name.
const STREAMS_RESERVED: usize = 24;
const NAME_BYTES_RESERVED: u64 = 64;

/// Names of streams in the archive: those of a sole member as they are, else below the member's name.
pub struct Naming {
    pub prefix: Option<String>,
}

impl Naming {
    pub fn of(member: usize, name: &str, alone: bool) -> Self {
        // Long paths would push stream names over their limit, and two names belong to the archive's own streams.
        // No path has an empty component, so the numbered form cannot meet the name of another member.
        let own = name.len() <= 160 && !matches!(name, "attachment" | "document");
        let prefix = if own { format!("{name}/") } else { format!("member {member}//") };
        Self { prefix: (!alone).then_some(prefix) }
    }

    pub fn stream(&self, name: &str) -> String {
        match &self.prefix {
            Some(prefix) if name != LITERAL && name != OPAQUE => format!("{prefix}{name}"),
            _ => name.to_owned(),
        }
    }
}

/// Packs one file-like member and returns its plan. The source is read by the workers.
///
/// # Errors
/// Those of reading and packing. A file that does not parse is no error: it becomes opaque.
pub fn pack_file(
    packer: &mut Packer<'_>,
    source: &Arc<dyn ReadAt>,
    name: &str,
    layout: Layout,
    naming: &Naming,
    shared_bytes_hint: u64,
) -> Result<Member> {
    let (mut member, mut streams) = plan_file(&**source, name, layout)?;
    if !has_room(packer, &streams, naming, shared_bytes_hint) {
        let facts = std::mem::take(&mut member.facts);
        (member, streams) = plan_file(&**source, name, Layout::Opaque)?;
        member.facts = facts;
        let detail =
            "is kept whole, not split: the archive has no room for its streams; pack fewer indexes in one archive";
        member.warning = Some(detail.to_owned());
    }
    let first_private = packer.stream_count();
    let mut bases = HashMap::new();
    for stream in &streams {
        bases.insert(stream.spec.name.clone(), declare(packer, stream, naming, shared_bytes_hint)?);
    }
    rename_runs(&mut member.runs, naming, &bases);
    let runs = compile(&member, &packer.table).map_err(|error| changed(&error))?;
    let mut counts =
        FileCounts { source: source.clone(), known: HashMap::new(), last: None, window: Vec::new(), start: 0 };
    let mut cursor = Cursor::default();
    while let Some(batch) = next_batch(&runs, &mut cursor, &mut counts).map_err(|error| changed(&error))? {
        counts.note(&batch);
        let offset = batch.offset;
        packer.push(batch, Feed::At(source.clone(), offset))?;
    }
    if cursor.offset != member.bytes {
        let detail = format!("its counts made {} bytes when it was parsed, now {}", member.bytes, cursor.offset);
        return Err(Error::new(ErrorKind::SourceChanged, name, detail));
    }
    close_private(packer, first_private)?;
    Ok(member)
}

/// Whether the streams of a member fit the directory beside what is still to come: the last streams, and the index of
/// all `total_bytes`.
fn has_room(packer: &Packer<'_>, streams: &[TapeStream], naming: &Naming, total_bytes: u64) -> bool {
    let names = streams.iter().filter(|stream| !is_shared(&stream.spec));
    let names: Vec<usize> = names.map(|stream| naming.stream(&stream.spec.name).len()).collect();
    let name_bytes = names.iter().sum::<usize>() as u64 + STREAMS_RESERVED as u64 * NAME_BYTES_RESERVED;
    // Members that are still to come take what is left to them.
    let (promised, promised_names) = packer.deltas.spoken_for();
    let chunk_count = (total_bytes / limits::CHUNK_BYTES_DEFAULT).min(limits::CHUNKS_SOFT_MAX);
    names.iter().all(|bytes| *bytes <= limits::STREAM_NAME_BYTES_MAX)
        && packer.writer.has_room(
            names.len() + STREAMS_RESERVED + promised,
            name_bytes + promised_names as u64,
            chunk_count,
        )
}

/// A plan that was just made from the source and does not fit it now: the source is to blame, not the plan.
fn changed(error: &Error) -> Error {
    match error.layer() {
        Some(Layer::Plan) => Error::new(ErrorKind::SourceChanged, error.place(), error.detail()),
        _ => error.clone(),
    }
}

/// True when restoring the member depends on values in its rows.
pub fn has_counts(member: &Member) -> bool {
    member.runs.iter().any(|run| matches!(run, Run::Groups { counts: Some(_), .. } | Run::Derived { .. }))
}

/// Writes out the last chunks of the streams that only this member has, so that tails do not pile up.
pub fn close_private(packer: &mut Packer<'_>, first: usize) -> Result<()> {
    let count = packer.stream_count();
    let shared = [packer.table.number(LITERAL), packer.table.number(OPAQUE)];
    packer.settle()?;
    for number in first..count {
        if !shared.contains(&Some(number)) {
            packer.close_streams(number..number + 1)?;
        }
    }
    Ok(())
}

/// The archive's stream for a member's stream, and the row at which the member's rows begin.
fn declare(packer: &mut Packer<'_>, stream: &TapeStream, naming: &Naming, shared_bytes_hint: u64) -> Result<u64> {
    let spec = StreamSpec { name: naming.stream(&stream.spec.name), ..stream.spec.clone() };
    if !is_shared(&spec) {
        let number = packer.declare(&spec, stream.row_count)?;
        packer.table.set_row_count(number, stream.row_count);
        packer.expect_rows(number, stream.row_count);
        return Ok(0);
    }
    let number = shared_stream(packer, &spec, shared_bytes_hint)?;
    let base = packer.table.shape(number).map_or(0, |shape| shape.row_count);
    packer.table.set_row_count(number, base.saturating_add(stream.row_count));
    Ok(base)
}

/// Finds or makes a stream that members share.
///
/// # Errors
/// Those of `declare`.
pub fn shared_stream(packer: &mut Packer<'_>, spec: &StreamSpec, bytes_hint: u64) -> Result<usize> {
    if let Some(number) = packer.table.number(&spec.name) {
        return Ok(number);
    }
    let number = packer.declare(spec, bytes_hint)?;
    packer.table.set_row_count(number, 0);
    Ok(number)
}

fn is_shared(spec: &StreamSpec) -> bool {
    (spec.name == LITERAL && spec.role == StreamRole::LITERAL)
        || (spec.name == OPAQUE && spec.role == StreamRole::OPAQUE)
}

fn rename_runs(runs: &mut [Run], naming: &Naming, bases: &HashMap<String, u64>) {
    let moved = |stream: &mut String, first: &mut u64| {
        *first = first.saturating_add(bases.get(stream.as_str()).copied().unwrap_or(0));
        *stream = naming.stream(stream);
    };
    for run in runs {
        match run {
            Run::Rows { stream, first, .. } => moved(stream, first),
            Run::Groups { fields, counts, .. } => {
                fields.iter_mut().for_each(|field| moved(&mut field.stream, &mut field.first));
                if let Some(counts) = counts {
                    moved(&mut counts.stream, &mut counts.first);
                }
            }
            Run::Derived { counts, .. } => moved(&mut counts.stream, &mut counts.first),
        }
    }
}

/// Counts of a file: inline ones stand at their group, others in rows that a batch has passed before.
struct FileCounts {
    source: Arc<dyn ReadAt>,
    /// Stream → (offset in the file, its first row).
    known: HashMap<usize, (u64, u64)>,
    /// The one asked for last, as a run asks for one only.
    last: Option<(usize, (u64, u64))>,
    window: Vec<u8>,
    start: u64,
}

const WINDOW_BYTES: u64 = 65_536;

impl FileCounts {
    fn note(&mut self, batch: &crate::plan::batch::Batch) {
        if let crate::plan::batch::Content::Rows { slices, .. } = &batch.content
            && let [Slice { stream, first_row, .. }] = slices.as_slice()
        {
            self.known.entry(*stream).or_insert_with(|| {
                self.last = None;
                (batch.offset, *first_row)
            });
        }
    }
}

impl CountReader for FileCounts {
    fn value(&mut self, counts: &CompiledCounts, group: u64, group_offset: u64) -> Result<u64> {
        let offset = if counts.inline {
            group_offset + counts.offset
        } else {
            let (base, first_row) = match self.last {
                Some((stream, known)) if stream == counts.stream => known,
                _ => self.known.get(&counts.stream).copied().unwrap_or((0, counts.first)),
            };
            self.last = Some((counts.stream, (base, first_row)));
            base + (counts.first + group).saturating_sub(first_row) * counts.row_bytes + counts.offset
        };
        let end = offset + counts.bytes;
        if offset < self.start || end > self.start + self.window.len() as u64 {
            let left = self.source.byte_count().saturating_sub(offset);
            let bytes = left.min(WINDOW_BYTES).max(counts.bytes);
            self.window.resize(crate::error::to_usize(bytes, "window")?, 0);
            self.source.read_at(offset, &mut self.window)?;
            self.start = offset;
        }
        let at = crate::error::to_usize(offset - self.start, "window")?;
        let width = crate::error::to_usize(counts.bytes, "count")?;
        Ok(little_endian(&self.window[at..at + width]))
    }
}

/// Up to 8 bytes as an unsigned number.
#[inline]
pub fn little_endian(bytes: &[u8]) -> u64 {
    if let Ok(word) = bytes.try_into() {
        return u64::from(u32::from_le_bytes(word));
    }
    bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}
