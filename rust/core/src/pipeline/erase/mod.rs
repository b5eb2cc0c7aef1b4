//! Erasure (spec/REPOSITORY.md, section 6): an archive as it would be had some rows never been in it. Its streams are read,
//! changed where they hold something of these rows, and packed as any source is: as a delta where a base is given.

mod faiss;
mod graph;
mod hnswlib;
mod rewrite;
mod survey;
mod tower;
mod wanted;

pub use survey::Survey;
pub use wanted::{HASH_BYTES, Wanted, hash_of};

use self::rewrite::{ErasedRows, Tally};
use self::survey::{Changes, plan_of};
use super::id_index::IdIndex;
use super::output::Output;
use super::pack::{Input, PackOptions, StreamInput, pack_planned};
use super::packer::Progress;
use super::report::{PackReport, logical_streams};
use super::rows::RowReader;
use super::run::{Planned, sealing_like};
use crate::archive::metadata::parse_strict;
use crate::codec::LinkOrder;
use crate::error::{Error, Layer, Result};
use crate::plan::Plan;
use crate::stream::{StreamRole, StreamSpec};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the caller gives in the place of streams that the engine does not understand.
pub struct Replacements {
    /// By name: payload and probes without the rows.
    pub streams: Vec<StreamInput>,
    /// Documents and attachments that go.
    pub dropped: HashSet<String>,
    /// Entries of the metadata that say how many rows these streams have; null for one that goes.
    pub metadata: Map<String, Value>,
}

#[derive(Debug, Serialize)]
pub struct EraseReport {
    pub archive: PackReport,
    pub survey: Survey,
    /// Streams of which something is not what it was.
    pub streams: Vec<ErasedStream>,
}

#[derive(Debug, Serialize)]
pub struct ErasedStream {
    pub name: String,
    pub rows: u64,
    /// Bytes that differ; of rows that were left out, all.
    pub bytes: u64,
}

/// What an archive holds of the wanted ids, and whether it can be erased.
///
/// # Errors
/// Those of reading.
pub fn survey_archive(reader: &Arc<RowReader>, wanted: &Wanted) -> Result<Survey> {
    survey::survey(reader, wanted, None)
}

/// Writes an archive without the wanted rows. `options`: base, keys, id, threads and memory; the rest follows from the archive.
///
/// # Errors
/// `Unsupported` for rows that cannot be erased, before anything is written; those of reading and packing.
pub fn erase(
    reader: &Arc<RowReader>,
    wanted: &Wanted,
    replaced: Replacements,
    output: Output,
    options: PackOptions,
    progress: Progress<'_>,
) -> Result<EraseReport> {
    let archive = reader.archive();
    let found = plan_of(reader)?;
    let mut plan = found.unwrap_or_else(empty_plan);
    let mut changes = Changes::default();
    let survey = survey::survey(reader, wanted, Some((&mut plan, &mut changes)))?;
    let mut metadata = metadata_of(reader)?;
    let is_partial = metadata.get("partial") == Some(&Value::Bool(true));
    metadata.extend(replaced.metadata);
    metadata.retain(|_, value| !value.is_null());
    let is_canonical = metadata.get("source").and_then(|source| source.get("order")) == Some(&"canonical".into());
    let has_index = archive.streams().iter().any(|stream| stream.role == StreamRole::ID_INDEX);
    let seal = match &options.base {
        Some(_) => options.seal.clone(),
        None => sealing_like(archive, options.seal.as_ref(), "archive")?,
    };
    let options = PackOptions {
        metadata,
        seal,
        order: if is_canonical { LinkOrder::Canonical } else { LinkOrder::Exact },
        id_index: if has_index { IdIndex::Above(0) } else { IdIndex::Off },
        ..options
    };
    let (mut streams, tallies) = streams_of(reader, changes, replaced.streams, &replaced.dropped);
    let planned = Planned { plan, is_partial };
    let archive = pack_planned(output, &mut streams, planned, &options, progress)?;
    Ok(EraseReport { archive, survey, streams: erased(tallies) })
}

/// The streams of the new archive, in their order, and what will have been changed of each.
fn streams_of(
    reader: &Arc<RowReader>,
    mut changes: Changes,
    replaced: Vec<StreamInput>,
    dropped: &HashSet<String>,
) -> (Vec<StreamInput>, Vec<(String, Arc<Tally>)>) {
    let mut replaced: HashMap<String, StreamInput> =
        replaced.into_iter().map(|stream| (stream.spec.name.clone(), stream)).collect();
    let (mut streams, mut tallies) = (Vec::new(), Vec::new());
    for (number, stream) in logical_streams(reader.archive().streams()) {
        let is_plan = stream.role == StreamRole::PLAN && stream.name == "plan";
        if is_plan || dropped.contains(&stream.name) {
            continue;
        }
        if let Some(given) = replaced.remove(&stream.name) {
            streams.push(given);
            continue;
        }
        let spec = StreamSpec::new(&stream.name, stream.role, stream.element_type, stream.row_elements);
        let rewrite = changes.streams.remove(&number);
        let tally = Arc::new(Tally::default());
        if let Some(rewrite) = &rewrite {
            let removed = rewrite.removed.len() as u64;
            tally.rows.store(removed, Ordering::Relaxed);
            tally.bytes.store(removed * u64::from(stream.row_bytes), Ordering::Relaxed);
            tallies.push((stream.name.clone(), tally.clone()));
        }
        let input = Input::Shared(Arc::new(ErasedRows::new(reader, number, rewrite, &tally)));
        streams.push(StreamInput { spec, input });
    }
    (streams, tallies)
}

fn erased(tallies: Vec<(String, Arc<Tally>)>) -> Vec<ErasedStream> {
    let streams = tallies.into_iter().map(|(name, tally)| ErasedStream {
        name,
        rows: tally.rows.load(Ordering::Relaxed),
        bytes: tally.bytes.load(Ordering::Relaxed),
    });
    streams.filter(|stream| stream.rows > 0).collect()
}

fn metadata_of(reader: &RowReader) -> Result<Map<String, Value>> {
    match parse_strict(reader.archive().metadata(), Layer::Metadata)? {
        Value::Object(metadata) => Ok(metadata),
        _ => Err(Error::damaged(Layer::Metadata, "metadata", "expected an object")),
    }
}

fn empty_plan() -> Plan {
    Plan { version: 1, members: Vec::new(), folders: Vec::new(), skipped: Vec::new() }
}
