//! Restore: the plan executed. Everything is checked before the first byte is written.

use super::packer::Progress;
use super::rows::RowReader;
use super::view::{AssemblyState, MemberView, read_plan};
use super::workers::{Pool, thread_count, with_pool};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Plan;
use crate::store::target::{FileTarget, FolderTarget, free_bytes};
use serde::Serialize;
use std::collections::VecDeque;
use std::io::Write;
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
    let views: Vec<MemberView> = chosen.iter().map(|number| view(reader, &plan, *number)).collect::<Result<_>>()?;
    let total = check_room(&views, target, options)?;
    let as_file = chosen.len() == 1 && (members.is_some() || plan.folders.is_empty());
    with_pool(
        options.threads,
        WriteState::default,
        |state, job: WriteJob| job.run(state),
        |pool| {
            let mut run = Writing { pool, options, done: 0, total, progress };
            let mut views = views;
            if as_file && let Some(view) = views.pop() {
                return run.file(view, target, options.replace);
            }
            let folder = FolderTarget::create(target, options.replace)?;
            for name in &plan.folders {
                make_folders(&folder.root().join(name))?;
            }
            for view in views {
                let path = folder.root().join(&view.name);
                make_folders(path.parent().unwrap_or(folder.root()))?;
                run.file(view, &path, false)?;
            }
            folder.commit(options.sync)
        },
    )?;
    Ok(RestoreReport { members: chosen.len(), bytes: total, seconds: started.elapsed().as_secs_f64() })
}

/// Writes a member from front to back, to a pipe for instance; returns its bytes.
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
    let view = Arc::new(view(reader, &plan_of(reader)?, member)?);
    let window = window(options, view.bytes, view.batch_count());
    let work = |state: &mut AssemblyState, (number, mut buffer): (usize, Vec<u8>)| {
        view.assemble(state, number, &mut buffer).map(|_| buffer)
    };
    with_pool(options.threads, AssemblyState::default, work, |pool| {
        let mut pending = VecDeque::new();
        let mut free = Vec::new();
        let mut next = 0;
        let mut done = 0;
        while next < view.batch_count() || !pending.is_empty() {
            if next < view.batch_count() && pending.len() < window {
                pending.push_back(pool.submit((next, free.pop().unwrap_or_default())));
                next += 1;
            } else if let Some(ticket) = pending.pop_front() {
                let buffer = pool.take(ticket)?;
                output.write_all(&buffer).map_err(|error| Error::io("output", &error))?;
                done += buffer.len() as u64;
                free.push(buffer);
                progress(done, Some(view.bytes))?;
            }
        }
        output.flush().map_err(|error| Error::io("output", &error))?;
        Ok(done)
    })
}

/// A member, ready to be read by position.
///
/// # Errors
/// `InvalidArgument` for a member that does not exist; `Damaged` at layer `Plan`.
pub fn view(reader: &Arc<RowReader>, plan: &Plan, number: usize) -> Result<MemberView> {
    let member = plan.members.get(number).ok_or_else(|| {
        let detail = format!("does not exist; the archive has {} members", plan.members.len());
        Error::new(ErrorKind::InvalidArgument, format!("member {number}"), detail)
    })?;
    MemberView::new(reader, member)
}

/// # Errors
/// `InvalidArgument` when the archive has no members to restore.
pub fn plan_of(reader: &RowReader) -> Result<Plan> {
    read_plan(reader)?.ok_or_else(|| {
        let detail = "holds streams only, nothing to restore as a file; read its streams instead";
        Error::new(ErrorKind::InvalidArgument, "archive", detail)
    })
}

fn check_room(views: &[MemberView], target: &Path, options: &RestoreOptions) -> Result<u64> {
    let total = views.iter().try_fold(0u64, |total, view| total.checked_add(view.bytes));
    let over = |limit: u64, kind: ErrorKind, what: &str| {
        let needed = total.map_or_else(|| "more than 2^64".to_owned(), |total| total.to_string());
        Err(Error::new(kind, target.display().to_string(), format!("needs {needed} bytes; {what} {limit}")))
    };
    if let Some(limit) = options.max_bytes
        && total.is_none_or(|total| total > limit)
    {
        return over(limit, ErrorKind::LimitExceeded, "the limit given (max_bytes, --max-bytes) is");
    }
    if let Some(free) = free_bytes(target)
        && total.is_none_or(|total| total > free)
    {
        return over(free, ErrorKind::NoSpace, "free there are");
    }
    total.ok_or_else(|| Error::new(ErrorKind::LimitExceeded, target.display().to_string(), "over 2^64 bytes"))
}

fn make_folders(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|error| Error::io(path.display().to_string(), &error))
}

/// Batches in flight: bounded by the memory budget, two copies each.
fn window(options: &RestoreOptions, bytes: u64, batches: usize) -> usize {
    let batch_bytes = (bytes / (batches.max(1) as u64)).max(1);
    let fitting = usize::try_from(options.memory_bytes / batch_bytes.saturating_mul(2)).unwrap_or(usize::MAX);
    (thread_count(options.threads) * 2 + 2).min(fitting).max(1)
}

struct WriteJob {
    view: Arc<MemberView>,
    target: Arc<FileTarget>,
    batch: usize,
}

#[derive(Default)]
struct WriteState {
    assembly: AssemblyState,
    bytes: Vec<u8>,
}

impl WriteJob {
    /// Decodes and writes in place: no order between batches is needed.
    fn run(self, state: &mut WriteState) -> Result<u64> {
        let offset = self.view.assemble(&mut state.assembly, self.batch, &mut state.bytes)?;
        self.target.write_at(offset, &state.bytes)?;
        Ok(state.bytes.len() as u64)
    }
}

struct Writing<'a, 'b> {
    pool: &'a mut Pool<WriteJob, u64>,
    options: &'a RestoreOptions,
    done: u64,
    total: u64,
    progress: Progress<'b>,
}

impl Writing<'_, '_> {
    fn file(&mut self, view: MemberView, path: &Path, replace: bool) -> Result<()> {
        let target = FileTarget::create(path, replace)?;
        target.reserve(view.bytes)?;
        let window = window(self.options, view.bytes, view.batch_count());
        let (view, target) = (Arc::new(view), Arc::new(target));
        let mut pending = VecDeque::new();
        for batch in 0..view.batch_count() {
            if pending.len() >= window {
                self.settle(&mut pending)?;
            }
            let job = WriteJob { view: view.clone(), target: target.clone(), batch };
            pending.push_back(self.pool.submit(job));
        }
        while !pending.is_empty() {
            self.settle(&mut pending)?;
        }
        // A worker lets go of its target before it reports, so this is the last handle.
        let mut target = target;
        let target = loop {
            match Arc::try_unwrap(target) {
                Ok(target) => break target,
                Err(shared) => target = shared,
            }
            std::thread::yield_now();
        };
        target.commit(self.options.sync)
    }

    fn settle(&mut self, pending: &mut VecDeque<u64>) -> Result<()> {
        if let Some(ticket) = pending.pop_front() {
            self.done += self.pool.take(ticket)?;
            (self.progress)(self.done, Some(self.total))?;
        }
        Ok(())
    }
}
