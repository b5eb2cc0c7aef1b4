//! Restore: the plan executed. Everything is checked before the first byte is written.

use super::feeder::Feeder;
use super::packer::Progress;
use super::rows::RowReader;
use super::view::{AssemblyState, MemberView, read_plan};
use super::workers::{Pool, thread_count, with_pool};
use crate::digest::blake3_of;
use crate::error::{Error, ErrorKind, Layer, Result, to_usize};
use crate::plan::batch::{Batch, WHOLE_CHUNK_BYTES_MAX};
use crate::plan::{Member, Plan};
use crate::store::resumed::{ResumedTarget, Verified, remove_others};
use crate::store::target::{FileTarget, FolderTarget, check_target, free_bytes};
use serde::Serialize;
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

pub struct RestoreOptions {
    pub replace: bool,
    pub sync: bool,
    pub threads: usize,
    pub memory_bytes: u64,
    /// Refuse to write more than this.
    pub max_bytes: Option<u64>,
    /// Keep what was written when the run is interrupted, and go on with what an earlier one has left.
    pub resume: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct RestoreReport {
    pub members: usize,
    pub bytes: u64,
    pub seconds: f64,
}

/// Restores all members (`None`) or those numbered. One member: `target` is the file; else a folder.
///
/// # Errors
/// Anything that keeps the target from being complete and true; nothing stands under its name then.
pub fn restore(
    reader: &Arc<RowReader>,
    target: &Path,
    members: Option<&[usize]>,
    options: &RestoreOptions,
    progress: Progress<'_>,
) -> Result<RestoreReport> {
    let started = Instant::now();
    let plan = plan_of(reader)?;
    let chosen: Vec<usize> = members.map_or_else(|| (0..plan.members.len()).collect(), <[usize]>::to_vec);
    let records = chosen.iter().map(|number| record(&plan, *number)).collect::<Result<Vec<_>>>()?;
    check_once(&chosen)?;
    let as_file = chosen.len() == 1 && (members.is_some() || plan.folders.is_empty());
    let resumed = resumed(reader, target, &chosen, as_file, options)?;
    let work = Work { reader, plan: &plan, records: &records, target, as_file, resumed: resumed.as_ref() };
    let outcome = write_all(&work, options, progress);
    match (&outcome, &resumed) {
        (Ok(_), _) => {
            resumed.iter().for_each(|resumed| resumed.remove());
            remove_others(target);
        }
        (Err(error), Some(resumed)) if resumed.is_empty() || !may_go_on(error.kind()) => resumed.remove(),
        _ => {}
    }
    let bytes = outcome?;
    Ok(RestoreReport { members: chosen.len(), bytes, seconds: started.elapsed().as_secs_f64() })
}

/// What an interrupted run has left, where the caller wants to go on with it.
fn resumed(
    reader: &RowReader,
    target: &Path,
    chosen: &[usize],
    as_file: bool,
    options: &RestoreOptions,
) -> Result<Option<Arc<ResumedTarget>>> {
    if !options.resume {
        return Ok(None);
    }
    check_target(target, as_file, options.replace)?;
    let numbers: Vec<u8> = chosen.iter().flat_map(|number| (*number as u64).to_le_bytes()).collect();
    let archive = reader.archive();
    let key = blake3_of(&[&archive.id().0, &archive.root(), &[u8::from(as_file)], &numbers]);
    Ok(ResumedTarget::open(target, key)?.map(Arc::new))
}

/// Whether the same restore may come further another time: then what it has written is worth its room.
fn may_go_on(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::Io | ErrorKind::Cancelled | ErrorKind::PermissionDenied)
}

/// What is restored, and where to.
struct Work<'a> {
    reader: &'a Arc<RowReader>,
    plan: &'a Plan,
    records: &'a [&'a Member],
    target: &'a Path,
    as_file: bool,
    resumed: Option<&'a Arc<ResumedTarget>>,
}

/// Returns the bytes of the members.
fn write_all(work: &Work<'_>, options: &RestoreOptions, progress: Progress<'_>) -> Result<u64> {
    let &Work { reader, plan, records, target, as_file, resumed } = work;
    // What the plan declares is compared with the room there is before any count is looked at.
    let reserved = resumed.map_or(0, |resumed| resumed.reserved_bytes());
    let total = check_room(records, target, reserved, options)?;
    let mut beat = || progress(0, Some(total));
    let views = records.iter().map(|member| {
        let view = MemberView::new(reader, member, &mut beat);
        view.map(MemberView::without_marks)
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    with_pool(
        options.threads,
        WriteState::default,
        |state, job: WriteJob| job.run(state),
        |pool| {
            let mut run = Writing { pool, options, resumed, done: 0, total, progress };
            let mut views = views;
            if as_file && let Some(view) = views.pop() {
                let content = resumed.map(|resumed| resumed.content());
                return run.file(0, view, content.as_deref(), target, options.replace);
            }
            let folder = match resumed {
                Some(resumed) => FolderTarget::resume(&resumed.content(), target, options.replace)?,
                None => FolderTarget::create(target, options.replace)?,
            };
            for name in &plan.folders {
                make_folders(&folder.root().join(name))?;
            }
            for (number, view) in (0..).zip(views) {
                let path = folder.root().join(&view.name);
                make_folders(path.parent().unwrap_or(folder.root()))?;
                // The folder has no name yet, so its files may have theirs from the beginning.
                run.file(number, view, resumed.map(|_| path.as_path()), &path, false)?;
            }
            folder.commit(options.sync)
        },
    )?;
    Ok(total)
}

/// Writes a member from front to back, to a pipe for instance; returns its bytes. When the plan has its digest and
/// it differs, that is an error after the last byte: what was written cannot be taken back.
///
/// # Errors
/// Those of reading and writing.
pub fn write_member(
    reader: &Arc<RowReader>,
    member: usize,
    output: &mut dyn Write,
    options: &RestoreOptions,
    progress: Progress<'_>,
) -> Result<u64> {
    let plan = plan_of(reader)?;
    let record = record(&plan, member)?;
    let view = MemberView::new(reader, record, &mut || progress(0, Some(record.bytes)))?;
    stream_member(&view, output, options.threads, options.memory_bytes, &mut |done| progress(done, Some(view.bytes)))
}

/// As `write_member`, of a view.
///
/// # Errors
/// Those of reading and writing.
pub fn stream_member(
    view: &MemberView,
    output: &mut dyn Write,
    threads: usize,
    memory_bytes: u64,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<u64> {
    let work = |state: &mut AssemblyState, (batch, mut buffer): (Batch, Vec<u8>)| {
        view.assemble(state, batch, &mut buffer).map(|()| buffer)
    };
    let mut hasher = view.digest.map(|_| blake3::Hasher::new());
    let done = with_pool(threads, AssemblyState::default, work, |pool| {
        let mut flight = Flight::new(threads, memory_bytes);
        let mut free = Vec::new();
        let mut done = 0;
        let mut batches = view.batches();
        let mut next = batches.next_batch()?;
        loop {
            if let Some(batch) = next.take_if(|batch| flight.has_room(batch.bytes)) {
                let bytes = batch.bytes;
                flight.push(pool.submit((batch, free.pop().unwrap_or_default())), bytes);
                next = batches.next_batch()?;
            } else if let Some(ticket) = flight.pop() {
                let buffer: Vec<u8> = pool.take(ticket)?;
                if let Some(hasher) = &mut hasher {
                    hasher.update(&buffer);
                }
                output.write_all(&buffer).map_err(|error| Error::io("output", &error))?;
                done += buffer.len() as u64;
                free.push(buffer);
                progress(done)?;
            } else {
                output.flush().map_err(|error| Error::io("output", &error))?;
                return Ok(done);
            }
        }
    })?;
    check_digest(view, hasher)?;
    Ok(done)
}

pub(super) fn check_digest(view: &MemberView, hasher: Option<blake3::Hasher>) -> Result<()> {
    let (Some(expected), Some(hasher)) = (view.digest, hasher) else { return Ok(()) };
    let found = hasher.finalize();
    if *found.as_bytes() == expected {
        return Ok(());
    }
    let expected = blake3::Hash::from_bytes(expected).to_hex();
    let detail =
        format!("BLAKE3 {}, expected {expected}; the rows are whole, but the plan is not theirs", found.to_hex());
    Err(Error::damaged(Layer::Digest, format!("member {:?}", view.name), detail))
}

/// Batches in flight: bounded by number and by the memory budget, two copies each.
struct Flight {
    pending: VecDeque<(u64, u64)>,
    bytes: u64,
    count_max: usize,
    bytes_max: u64,
}

impl Flight {
    fn new(threads: usize, memory_bytes: u64) -> Self {
        // While one worker decodes a partition of links, the others go on.
        let count_max = thread_count(threads) * 32;
        Self { pending: VecDeque::new(), bytes: 0, count_max, bytes_max: memory_bytes / 2 }
    }

    fn has_room(&self, batch_bytes: usize) -> bool {
        let fits = self.bytes.saturating_add(batch_bytes as u64) <= self.bytes_max;
        self.pending.is_empty() || (fits && self.pending.len() < self.count_max)
    }

    fn push(&mut self, ticket: u64, batch_bytes: usize) {
        self.pending.push_back((ticket, batch_bytes as u64));
        self.bytes += batch_bytes as u64;
    }

    fn pop(&mut self) -> Option<u64> {
        let (ticket, bytes) = self.pending.pop_front()?;
        self.bytes -= bytes;
        Some(ticket)
    }
}

/// A member, ready to be read by position.
///
/// # Errors
/// `InvalidArgument` for a member that does not exist; `Damaged` at layer `Plan`; those of `beat`.
pub fn view(
    reader: &Arc<RowReader>,
    plan: &Plan,
    number: usize,
    beat: &mut dyn FnMut() -> Result<()>,
) -> Result<MemberView> {
    MemberView::new(reader, record(plan, number)?, beat)
}

fn record(plan: &Plan, number: usize) -> Result<&Member> {
    plan.members.get(number).ok_or_else(|| {
        let detail = format!("does not exist; the archive has {} members", plan.members.len());
        Error::new(ErrorKind::InvalidArgument, format!("member {number}"), detail)
    })
}

fn check_once(chosen: &[usize]) -> Result<()> {
    let mut seen = HashSet::new();
    match chosen.iter().find(|number| !seen.insert(**number)) {
        None => Ok(()),
        Some(twice) => {
            Err(Error::new(ErrorKind::InvalidArgument, format!("member {twice}"), "is asked for twice; name it once"))
        }
    }
}

/// # Errors
/// `InvalidArgument` when the archive has no members to restore.
pub fn plan_of(reader: &RowReader) -> Result<Plan> {
    read_plan(reader)?.ok_or_else(|| {
        let detail = "holds streams only, nothing to restore as a file; read its streams instead";
        Error::new(ErrorKind::InvalidArgument, "archive", detail)
    })
}

/// `reserved`: bytes that an earlier run has taken already.
fn check_room(members: &[&Member], target: &Path, reserved: u64, options: &RestoreOptions) -> Result<u64> {
    let total = members.iter().try_fold(0u64, |total, member| total.checked_add(member.bytes));
    let over = |limit: u64, kind: ErrorKind, what: &str| {
        let needed = total.map_or_else(|| "more than 2^64".to_owned(), |total| total.to_string());
        Err(Error::new(kind, target.display().to_string(), format!("needs {needed} bytes; {what} {limit}")))
    };
    if let Some(limit) = options.max_bytes
        && total.is_none_or(|total| total > limit)
    {
        return over(limit, ErrorKind::LimitExceeded, "the limit given (max_bytes, --max-bytes) is");
    }
    if let Some(free) = free_bytes(target).map(|free| free.saturating_add(reserved))
        && total.is_none_or(|total| total > free)
    {
        return over(free, ErrorKind::NoSpace, "free there are");
    }
    total.ok_or_else(|| Error::new(ErrorKind::LimitExceeded, target.display().to_string(), "over 2^64 bytes"))
}

fn make_folders(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|error| Error::io(path.display().to_string(), &error))
}

const READ_BACK_BYTES: u64 = 1 << 20;

struct WriteJob {
    view: Arc<MemberView>,
    target: Arc<FileTarget>,
    journal: Option<(Arc<ResumedTarget>, u32)>,
    batch: Batch,
}

#[derive(Default)]
struct WriteState {
    assembly: AssemblyState,
    bytes: Vec<u8>,
}

impl WriteJob {
    /// Decodes and writes in place: no order between batches is needed.
    fn run(self, state: &mut WriteState) -> Result<u64> {
        let offset = self.batch.offset;
        self.view.assemble(&mut state.assembly, self.batch, &mut state.bytes)?;
        self.target.write_at(offset, &state.bytes)?;
        if let Some((journal, member)) = &self.journal {
            journal.record(*member, offset, &state.bytes)?;
        }
        let bytes = state.bytes.len() as u64;
        if bytes > WHOLE_CHUNK_BYTES_MAX {
            state.bytes = Vec::new();
        }
        Ok(bytes)
    }
}

struct Writing<'a, 'b> {
    pool: &'a mut Pool<WriteJob, u64>,
    options: &'a RestoreOptions,
    resumed: Option<&'a Arc<ResumedTarget>>,
    done: u64,
    total: u64,
    progress: Progress<'b>,
}

impl Writing<'_, '_> {
    /// `content`: where it is built when the run may be gone on with.
    fn file(
        &mut self,
        number: u32,
        view: MemberView,
        content: Option<&Path>,
        path: &Path,
        replace: bool,
    ) -> Result<()> {
        let target = match content {
            Some(content) => FileTarget::resume(content, path, replace, self.options.sync, view.bytes)?,
            None => FileTarget::create(path, replace, self.options.sync)?,
        };
        let (before, total) = (self.done, self.total);
        let verified = match self.resumed {
            Some(resumed) => {
                resumed.verify(number, target.file(), &mut |done| (self.progress)(before + done, Some(total)))?
            }
            None => Verified::default(),
        };
        target.reserve(view.bytes)?;
        let (view, target) = (Arc::new(view), Arc::new(target));
        let mut feeder = Feeder::new(self.options.memory_bytes, |_| None);
        let mut batches = view.batches();
        while let Some(batch) = batches.next_batch()? {
            if verified.has(batch.offset, batch.bytes as u64) {
                feeder.done += batch.bytes as u64;
                continue;
            }
            let large = view.large_chunk(&batch);
            let journal = self.resumed.map(|resumed| (resumed.clone(), number));
            let bytes = batch.bytes;
            let job = WriteJob { view: view.clone(), target: target.clone(), journal, batch };
            feeder.push(self.pool, large, (bytes, job))?;
            (self.progress)(before + feeder.done, Some(self.total))?;
        }
        feeder.finish(self.pool, |done| (self.progress)(before + done, Some(self.total)))?;
        self.done = before + feeder.done;
        self.check_written(&view, target.file())?;
        // A worker lets go of its target before it reports, so this is the last handle.
        let mut target = target;
        let target = loop {
            match Arc::try_unwrap(target) {
                Ok(target) => break target,
                Err(shared) => target = shared,
            }
            std::thread::yield_now();
        };
        target.commit()
    }

    /// The file as it stands is compared with the plan's digest before it gets its name.
    fn check_written(&mut self, view: &MemberView, file: &File) -> Result<()> {
        let Some(mut hasher) = view.digest.map(|_| blake3::Hasher::new()) else { return Ok(()) };
        let mut window = vec![0; to_usize(view.bytes.min(READ_BACK_BYTES), "window")?];
        let mut offset = 0;
        while offset < view.bytes {
            window.truncate(to_usize((view.bytes - offset).min(READ_BACK_BYTES), "window")?);
            file.read_exact_at(&mut window, offset).map_err(|error| Error::io(view.name.clone(), &error))?;
            hasher.update(&window);
            offset += window.len() as u64;
            (self.progress)(self.done, Some(self.total))?;
        }
        check_digest(view, Some(hasher))
    }
}
