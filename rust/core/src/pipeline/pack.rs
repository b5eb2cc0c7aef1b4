//! Backup from end to end: sources in, one archive out, and a report of what was and was not captured.

use super::cache::ChunkCache;
use super::coding::{self, PackState, Recycler};
use super::delta::pack::Deltas;
use super::delta::{Base, FINGERPRINTS, FingerprintKey, OWN};
use super::id_index::{self, IdIndex};
use super::live::pack_pipe;
use super::member::{Naming, has_counts, pack_file};
pub use super::output::Output;
use super::output::Restart;
use super::packer::{Packer, PackerParts, Progress};
use super::report::{self, AncestorReport, DeltaReport, MemberReport, PackReport, StreamReport};
use super::run::{Planned, Run};
use super::shadow::ShadowPlace;
use super::streams::pack_stream;
use super::whole_digest::{Hashed, whole_digest};
use super::workers::{thread_count, with_pool};
use crate::archive::metadata::to_canonical;
use crate::archive::{ArchiveId, ArchiveWriter, Sealing};
use crate::codec::{Compression, LinkOrder};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::compile::check_plan;
use crate::plan::{Member, Plan, Skipped};
use crate::split::Layout;
use crate::store::ReadAt;
use crate::store::file::FileSource;
use crate::store::pipe::PipeSource;
use crate::stream::{StreamRole, StreamSpec};
use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Where bytes of a source come from. A pipe can be read once only: no retry.
pub enum Input {
    File(PathBuf),
    Shared(Arc<dyn ReadAt>),
    Pipe(Option<Box<dyn Read + Send>>),
}

pub struct MemberInput {
    pub name: String,
    pub input: Input,
    pub layout: Layout,
    pub facts: serde_json::Map<String, serde_json::Value>,
}

pub struct StreamInput {
    pub spec: StreamSpec,
    pub input: Input,
}

pub struct PackOptions {
    /// What the new archive is compared with; without one it stands alone.
    pub base: Option<Base>,
    /// Keep fingerprints of wide rows, so that a later delta need not read them.
    pub fingerprint_key: Option<FingerprintKey>,
    /// What the next delta will be compared with is kept there, and what this one is compared with looked for.
    pub cache: Option<Arc<ChunkCache>>,
    /// Of a sealed archive: what the next one is compared with is kept there, by a writer that cannot read this one.
    pub shadow: Option<ShadowPlace>,
    pub id_index: IdIndex,
    /// Seal the archive. A delta of a sealed single archive is sealed as its base is, and takes none.
    pub seal: Option<Sealing>,
    pub compression: Compression,
    pub order: LinkOrder,
    pub archive_id: Option<ArchiveId>,
    pub threads: usize,
    pub memory_bytes: u64,
    /// Keep the BLAKE3 of each whole member too (reads files a second time, memory a second and third time).
    pub digest_members: bool,
    /// How often a changing source is read again before it is reported as partial.
    pub attempts: u32,
    pub metadata: serde_json::Map<String, serde_json::Value>,
    pub folders: Vec<String>,
    pub skipped: Vec<Skipped>,
}

/// Writes one archive.
///
/// # Errors
/// Everything that keeps it from being complete under its name; nothing stands there then.
pub fn pack(
    output: Output,
    members: &mut [MemberInput],
    streams: &mut [StreamInput],
    options: &PackOptions,
    progress: Progress<'_>,
) -> Result<PackReport> {
    if options.digest_members && options.order == LinkOrder::Canonical {
        let detail =
            "the digest of a source is not that of what an archive in canonical order restores; leave one of them";
        return Err(Error::new(ErrorKind::InvalidArgument, "digest", detail));
    }
    check_names(members, options)?;
    run(output, members, streams, None, options, progress)
}

/// Writes one archive of streams as they are, under a plan that fits them.
///
/// # Errors
/// As `pack`.
pub(super) fn pack_planned(
    output: Output,
    streams: &mut [StreamInput],
    planned: Planned,
    options: &PackOptions,
    progress: Progress<'_>,
) -> Result<PackReport> {
    run(output, &mut [], streams, Some(planned), options, progress)
}

fn run(
    output: Output,
    members: &mut [MemberInput],
    streams: &mut [StreamInput],
    planned: Option<Planned>,
    options: &PackOptions,
    progress: Progress<'_>,
) -> Result<PackReport> {
    let started = Instant::now();
    if let Some(base) = &options.base {
        base.check(options.order)?;
    }
    let run = Run { planned, ..Run::new(options)? };
    check_streams(streams, options, run.sealing.as_ref())?;
    let report = output.with(|sink| attempts(sink, members, streams, &run, progress))?;
    Ok(PackReport { seconds: started.elapsed().as_secs_f64(), ..report })
}

/// Names are checked before anything is read: a backup must not fail for them at its end.
fn check_names(members: &[MemberInput], options: &PackOptions) -> Result<()> {
    let named = |member: &MemberInput| Member {
        name: member.name.clone(),
        bytes: 0,
        layout: String::new(),
        facts: serde_json::Map::new(),
        warning: None,
        blake3: None,
        runs: Vec::new(),
    };
    let members = members.iter().map(named).collect();
    let plan = Plan { version: 1, members, folders: options.folders.clone(), skipped: Vec::new() };
    check_plan(&plan).map_err(|error| {
        let place = error.place().trim_start_matches("plan, ");
        Error::new(ErrorKind::InvalidArgument, place, error.detail())
    })
}

/// So are streams and metadata, by an archive of them alone.
fn check_streams(streams: &[StreamInput], options: &PackOptions, sealing: Option<&Sealing>) -> Result<()> {
    let mut draft = ArchiveWriter::new(ArchiveId([0; 16]));
    if let Some(sealing) = sealing {
        draft = draft.sealed(sealing, Vec::new())?;
    }
    for stream in streams {
        draft.declare(&stream.spec, 1)?;
    }
    let metadata = metadata_of(options, true, Some((u64::MAX, u64::MAX)));
    draft.finish(&serde_json::Value::Object(metadata).to_string()).map(|_| ())
}

/// What the archive says of itself. `members`: their number and bytes, if there are any.
fn metadata_of(
    options: &PackOptions,
    partial: bool,
    members: Option<(u64, u64)>,
) -> serde_json::Map<String, serde_json::Value> {
    let mut metadata = options.metadata.clone();
    metadata.insert("writer".to_owned(), concat!("vark ", env!("CARGO_PKG_VERSION")).into());
    if partial {
        metadata.insert("partial".to_owned(), true.into());
    }
    metadata.remove(FINGERPRINTS);
    if options.fingerprint_key.is_some() && options.seal.as_ref().is_some_and(Sealing::is_session) {
        metadata.insert(FINGERPRINTS.to_owned(), OWN.into());
    }
    let Some((count, bytes)) = members else {
        // Spec 8: absent when the archive holds no member.
        metadata.remove("source");
        return metadata;
    };
    if let Some(source) = metadata.get_mut("source").and_then(serde_json::Value::as_object_mut) {
        source.insert("members".to_owned(), count.into());
        source.insert("bytes".to_owned(), bytes.into());
        if options.order == LinkOrder::Canonical {
            source.insert("order".to_owned(), "canonical".into());
        }
    }
    metadata
}

/// A source that changes is read again from the start; when that does not help, what could be had is kept and
/// said to be partial, and a file that could not be read at all is left out and listed.
fn attempts(
    sink: &mut dyn Restart,
    members: &mut [MemberInput],
    streams: &mut [StreamInput],
    run: &Run<'_>,
    progress: Progress<'_>,
) -> Result<PackReport> {
    let options = run.options;
    let restartable = sink.can_restart() && !members.iter().any(|member| matches!(member.input, Input::Pipe(_)));
    let restartable = restartable && !streams.iter().any(|stream| matches!(stream.input, Input::Pipe(_)));
    let mut left_out = Vec::new();
    let mut whole = HashSet::new();
    let mut attempt = 1;
    loop {
        let last = attempt >= options.attempts || !restartable;
        let pass = Pass { run, options, left_out: &left_out, whole: &whole, accept_changes: last };
        match pass.run(sink, members, streams, progress)? {
            Outcome::Done(report) => return Ok(*report),
            Outcome::Changed(_) | Outcome::Lost(_) if !last => {}
            // Its counts may be of another moment than its rows; as plain bytes it can be restored in any case.
            Outcome::Changed(skipped) | Outcome::Lost(skipped) if restartable && !whole.contains(&skipped.name) => {
                whole.insert(skipped.name);
            }
            Outcome::Lost(skipped) if restartable && left_out.len() + 1 < members.len() => left_out.push(skipped),
            Outcome::Changed(skipped) | Outcome::Lost(skipped) => {
                return Err(Error::new(ErrorKind::SourceChanged, skipped.name, skipped.reason));
            }
        }
        sink.restart()?;
        attempt += 1;
    }
}

enum Outcome {
    Done(Box<PackReport>),
    /// A member changed, so that reading it again is better than keeping what was read.
    Changed(Skipped),
    /// A member could not be read to its end.
    Lost(Skipped),
}

struct Pass<'a> {
    run: &'a Run<'a>,
    options: &'a PackOptions,
    left_out: &'a [Skipped],
    /// Members that are not split any more because they do not hold still.
    whole: &'a HashSet<String>,
    accept_changes: bool,
}

impl Pass<'_> {
    fn run(
        &self,
        sink: &mut dyn Restart,
        members: &mut [MemberInput],
        streams: &mut [StreamInput],
        progress: Progress<'_>,
    ) -> Result<Outcome> {
        let recycler = Recycler::default();
        let threads = thread_count(self.options.threads);
        let keeps_ids = self.options.id_index.is_wanted(self.options.base.as_ref());
        let total_bytes = known_bytes(members, streams);
        let writer = self.run.writer()?;
        let writer = if keeps_ids { writer.with_id_index() } else { writer };
        let coding = self.run.coding(&writer, keeps_ids);
        let shadow = self.run.shadow(&writer);
        with_pool(
            threads,
            || PackState::new(threads, coding.cache.clone()),
            |state, job| coding::run(state, job, &coding, &recycler),
            |pool| {
                let memory_bytes = self.options.memory_bytes;
                let recycler = &recycler;
                let mut deltas = Deltas::new(self.run.base.clone(), self.run.fingerprint_key, coding.cache.clone());
                deltas.is_shadowed = shadow.is_some();
                let parts =
                    PackerParts { writer, deltas, pool, recycler, sink, progress, threads, memory_bytes, total_bytes };
                let mut packer = Packer::start(parts)?;
                packer.shadow = shadow;
                self.fill(&mut packer, members, streams)
            },
        )
    }

    fn fill(
        &self,
        packer: &mut Packer<'_>,
        members: &mut [MemberInput],
        streams: &mut [StreamInput],
    ) -> Result<Outcome> {
        let mut plan = match &self.run.planned {
            Some(planned) => planned.plan.clone(),
            None => Plan {
                version: 1,
                members: Vec::new(),
                folders: self.options.folders.clone(),
                skipped: self.options.skipped.iter().chain(self.left_out).cloned().collect(),
            },
        };
        let mut changed = self.run.planned.as_ref().is_some_and(|planned| planned.is_partial);
        let alone = members.len() == 1;
        let member_count = members.len();
        let shared_hint = packer.total_bytes.unwrap_or(0);
        for (number, member) in members.iter_mut().enumerate() {
            if self.left_out.iter().any(|skipped| skipped.name == member.name) {
                continue;
            }
            packer.deltas.members_left = member_count - number - 1;
            let naming = Naming::of(number, &member.name, alone);
            let (packed, change) = match self.member(packer, member, &naming, shared_hint) {
                Err(error) if is_lost(&error, member, alone) => {
                    return Ok(Outcome::Lost(Skipped { name: member.name.clone(), reason: error.to_string() }));
                }
                other => other?,
            };
            if let Some(reason) = change {
                changed = true;
                let skipped = Skipped { name: member.name.clone(), reason };
                if !self.accept_changes || has_counts(&packed) {
                    return Ok(Outcome::Changed(skipped));
                }
                plan.skipped.push(skipped);
            }
            plan.members.push(packed);
        }
        packer.close_streams(0..packer.stream_count())?;
        for stream in streams {
            let change = match pack_stream(packer, stream) {
                Err(error) if error.kind() == ErrorKind::SourceChanged && !self.accept_changes => {
                    Some(error.to_string())
                }
                other => other?,
            };
            let Some(reason) = change else { continue };
            let skipped = Skipped { name: stream.spec.name.clone(), reason };
            if !self.accept_changes {
                return Ok(Outcome::Changed(skipped));
            }
            changed = true;
            plan.skipped.push(skipped);
        }
        self.finish(packer, plan, changed).map(|report| Outcome::Done(Box::new(report)))
    }

    /// The plan of the member, and what changed while it was read.
    fn member(
        &self,
        packer: &mut Packer<'_>,
        member: &mut MemberInput,
        naming: &Naming,
        shared_hint: u64,
    ) -> Result<(Member, Option<String>)> {
        let mut change = None;
        let mut packed = match &mut member.input {
            Input::File(path) => {
                let source = Arc::new(FileSource::open(path)?);
                let shared: Arc<dyn ReadAt> = source.clone();
                let packed = self.digested(packer, &shared, member, naming, shared_hint)?;
                change = source.change();
                packed
            }
            Input::Shared(source) => {
                let source = source.clone();
                // Memory does not say when it changes: its digest is taken before and after.
                let before = self.options.digest_members.then(|| whole_digest(packer, &*source)).transpose()?;
                let packed = self.digested(packer, &source, member, naming, shared_hint)?;
                if before != packed.blake3 {
                    let detail = "its bytes changed while they were read";
                    return Err(Error::new(ErrorKind::SourceChanged, member.name.clone(), detail));
                }
                packed
            }
            Input::Pipe(reader) => {
                let Some(reader) = reader.take() else {
                    return Err(Error::new(
                        ErrorKind::InvalidArgument,
                        member.name.clone(),
                        "its pipe was used before",
                    ));
                };
                if self.options.digest_members {
                    let hasher = Arc::new(Mutex::new(blake3::Hasher::new()));
                    let pipe = PipeSource::new(Box::new(Hashed { reader, hasher: hasher.clone() }));
                    let packed = pack_pipe(packer, pipe, &member.name, member.layout, naming)?;
                    // Every byte of the pipe was taken: the digest is that of the member.
                    let digest = hasher.lock().unwrap_or_else(PoisonError::into_inner).finalize();
                    Member { blake3: Some(digest.to_hex().to_string()), ..packed }
                } else {
                    pack_pipe(packer, PipeSource::new(reader), &member.name, member.layout, naming)?
                }
            }
        };
        packed.facts.extend(member.facts.clone());
        if change.is_some() {
            // It was read a second time for the digest, which may not be that of the rows.
            packed.blake3 = None;
        }
        Ok((packed, change))
    }

    fn digested(
        &self,
        packer: &mut Packer<'_>,
        source: &Arc<dyn ReadAt>,
        member: &MemberInput,
        naming: &Naming,
        shared_hint: u64,
    ) -> Result<Member> {
        let whole = self.whole.contains(&member.name);
        let layout = if whole { Layout::Opaque } else { member.layout };
        let mut packed = pack_file(packer, source, &member.name, layout, naming, shared_hint)?;
        if whole {
            packed.warning = Some("is kept whole, not split: it changed while it was read".to_owned());
        }
        if self.options.digest_members {
            packed.blake3 = Some(whole_digest(packer, &**source)?);
        }
        Ok(packed)
    }

    fn finish(&self, packer: &mut Packer<'_>, plan: Plan, changed: bool) -> Result<PackReport> {
        check_plan(&plan)?;
        id_index::write(packer, &plan, self.options.id_index)?;
        let partial = changed || !plan.skipped.is_empty();
        let source_bytes: u64 = plan.members.iter().map(|member| member.bytes).sum();
        let members = (!plan.members.is_empty()).then_some((plan.members.len() as u64, source_bytes));
        let metadata = metadata_of(self.options, partial, members);
        // Empty folders and what was left out stand in the plan, too.
        if !(plan.members.is_empty() && plan.folders.is_empty() && plan.skipped.is_empty()) {
            let value = serde_json::to_value(&plan)
                .map_err(|error| Error::new(ErrorKind::InvalidArgument, "plan", error.to_string()))?;
            let text = to_canonical(&value)?.into_bytes();
            if text.len() as u64 > crate::limits::PLAN_BYTES_MAX {
                let detail = format!("{} bytes; pack fewer files in one archive", text.len());
                return Err(Error::new(ErrorKind::LimitExceeded, "split plan", detail));
            }
            let input = Input::Shared(Arc::new(text));
            pack_stream(packer, &mut StreamInput { spec: StreamSpec::bytes("plan", StreamRole::PLAN), input })?;
        }
        let writer = std::mem::replace(&mut packer.writer, ArchiveWriter::new(ArchiveId([0; 16])));
        let archive_id = writer.id().to_string();
        let finished = writer.finish(&serde_json::Value::Object(metadata).to_string())?;
        packer.finish(&finished.tail)?;
        let shadow = packer.shadow.take().map(|shadow| shadow.finish(&finished.tail, finished.archive_bytes));
        Ok(PackReport {
            archive_id,
            archive_bytes: finished.archive_bytes,
            source_bytes,
            raw_bytes: report::logical_streams(&finished.streams).map(|(_, stream)| stream.raw_bytes()).sum(),
            root: crate::seal::hex(&finished.root),
            partial,
            seconds: 0.0,
            members: plan.members.into_iter().map(MemberReport::from).collect(),
            skipped: plan.skipped,
            streams: StreamReport::all(&finished.streams, &packer.tallies),
            delta: self.options.base.as_ref().map(|base| {
                DeltaReport::new(base, &packer.deltas.tally, std::mem::take(&mut packer.deltas.id_index_left_out))
            }),
            cache: self.run.cache().map(|cache| cache.tally()),
            shadow,
            ancestors: finished.ancestors.iter().map(AncestorReport::from).collect(),
        })
    }
}

/// Files of a folder come and go: one that is gone when its turn comes is no reason to lose the others.
fn is_lost(error: &Error, member: &MemberInput, alone: bool) -> bool {
    let gone = !alone && error.kind() == ErrorKind::NotFound && matches!(member.input, Input::File(_));
    gone || error.kind() == ErrorKind::SourceChanged
}

fn known_bytes(members: &[MemberInput], streams: &[StreamInput]) -> Option<u64> {
    let mut total = Some(0u64);
    for input in members.iter().map(|member| &member.input).chain(streams.iter().map(|stream| &stream.input)) {
        let bytes = match input {
            Input::File(path) => file_bytes(path),
            Input::Shared(source) => Some(source.byte_count()),
            Input::Pipe(_) => None,
        };
        total = total.zip(bytes).and_then(|(total, bytes)| total.checked_add(bytes));
    }
    total
}

fn file_bytes(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.len())
}
