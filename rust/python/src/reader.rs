//! `Reader`: an open archive.

use crate::buffers::{BufferTarget, duplicate};
use crate::errors::{invalid, to_py};
use crate::keyring::{Keys, KeysArgument, OpenKeyring, Signer};
use crate::pack::{TargetArgument, json, output};
use crate::progress::Reporter;
use crate::volumes::{PlacesArgument, VolumeArgument, places_of, volumes_of};
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use vark_core::archive::{Archive, ArchiveId};
use vark_core::error::{Error, ErrorKind};
use vark_core::pipeline::compact;
use vark_core::pipeline::delta::{Base, FingerprintKey};
use vark_core::pipeline::equal::equal_rows;
use vark_core::pipeline::id_index;
use vark_core::pipeline::memory::{self, Later};
use vark_core::pipeline::open::{Places, Volume, open_sealed, open_volumes};
use vark_core::pipeline::packer::Progress;
use vark_core::pipeline::report::codec_name;
use vark_core::pipeline::restore::{self, RestoreOptions};
use vark_core::pipeline::rows::RowReader;
use vark_core::pipeline::scrub::scrub;
use vark_core::pipeline::shadow::open_shadow;
use vark_core::pipeline::touched::touched;
use vark_core::pipeline::transcribe;
use vark_core::pipeline::verify::{self, Level, Scope};
use vark_core::pipeline::view::read_plan_text;
use vark_core::store::ReadAt;
use vark_core::store::counted::Counts;
use vark_core::stream::StreamDescription;

/// Decoded chunks that stay for the next row.
const KEPT_BYTES: u64 = 64 << 20;

#[pyclass(frozen, module = "vark._core")]
pub struct Reader {
    open: Mutex<Option<Arc<RowReader>>>,
    counts: Arc<Counts>,
    #[pyo3(get)]
    archive_id: [u8; 16],
    #[pyo3(get)]
    archive_bytes: u64,
    #[pyo3(get)]
    root: [u8; 32],
    #[pyo3(get)]
    version: (u16, u16),
    #[pyo3(get)]
    metadata: String,
    #[pyo3(get)]
    is_sealed: bool,
    #[pyo3(get)]
    epoch: Option<u32>,
}

#[pyclass(frozen, get_all, module = "vark._core")]
pub struct Stream {
    name: String,
    role: &'static str,
    element_type: &'static str,
    row_elements: u32,
    row_bytes: u32,
    row_count: u64,
    chunk_rows: u64,
    chunk_count: u64,
    raw_bytes: u64,
    stored_bytes: u64,
}

impl From<&StreamDescription> for Stream {
    fn from(stream: &StreamDescription) -> Self {
        Self {
            name: stream.name.clone(),
            role: stream.role.name(),
            element_type: stream.element_type.name(),
            row_elements: stream.row_elements,
            row_bytes: stream.row_bytes,
            row_count: stream.row_count,
            chunk_rows: stream.chunk_rows,
            chunk_count: stream.chunk_count,
            raw_bytes: stream.raw_bytes(),
            stored_bytes: stream.stored_bytes,
        }
    }
}

impl Reader {
    /// The archive, to be compared with.
    pub fn base(&self, key: Option<[u8; 32]>) -> PyResult<Base> {
        Ok(Base { reader: self.get()?, key: key.map(FingerprintKey) })
    }

    fn of(archive: Archive, counts: Arc<Counts>) -> Self {
        Self {
            archive_id: archive.id().0,
            archive_bytes: archive.archive_bytes(),
            root: archive.root(),
            version: archive.version(),
            metadata: archive.metadata().to_owned(),
            is_sealed: archive.is_sealed(),
            epoch: archive.seal_sources().and_then(|sources| Some(sources.first()?.root.epoch())),
            open: Mutex::new(Some(Arc::new(RowReader::new(archive, KEPT_BYTES)))),
            counts,
        }
    }

    pub fn get(&self) -> PyResult<Arc<RowReader>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clone().ok_or_else(|| invalid("archive", "is closed; open it again"))
    }
}

#[pymethods]
impl Reader {
    #[staticmethod]
    fn open(
        py: Python<'_>,
        volumes: Vec<VolumeArgument>,
        ancestors: PlacesArgument,
        secrets: Option<KeysArgument<'_>>,
    ) -> PyResult<Self> {
        let keys = Keys::of(secrets.as_ref())?;
        let (volumes, ancestors) = (volumes_of(volumes), places_of(ancestors));
        let opened = py.detach(|| open_sealed(&volumes, &ancestors, &keys));
        let (archive, counts) = opened.map_err(|error| to_py(&error))?;
        Ok(Self::of(archive, counts))
    }

    /// What a write-only writer kept of an archive: a base, and nothing else.
    #[staticmethod]
    fn open_shadow(py: Python<'_>, folder: PathBuf, archive_id: [u8; 16], signer: Py<Signer>) -> PyResult<Self> {
        let key = signer.get().cache_key()?;
        let opened = py.detach(|| open_shadow(&folder, ArchiveId(archive_id), &key));
        Ok(Self::of(opened.map_err(|error| to_py(&error))?, Arc::default()))
    }

    /// (id, bytes, root) of each archive that rows may lie in.
    #[getter]
    fn ancestors(&self) -> PyResult<Vec<(String, u64, [u8; 32])>> {
        let reader = self.get()?;
        let ancestors = reader.archive().ancestors().iter();
        Ok(ancestors.map(|other| (other.id.to_string(), other.archive_bytes, other.root)).collect())
    }

    /// Of the archive and of the ancestors that are there.
    #[getter]
    fn bytes_at_hand(&self) -> PyResult<u64> {
        Ok(self.get()?.archive().bytes_at_hand())
    }

    #[pyo3(signature = (target, *, archive_id, seal, for_other, replace, sync, threads, progress))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a private method")]
    fn compact(
        &self,
        py: Python<'_>,
        target: TargetArgument,
        archive_id: Option<[u8; 16]>,
        seal: Option<Py<OpenKeyring>>,
        for_other: bool,
        replace: bool,
        sync: bool,
        threads: usize,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<String> {
        let reader = self.get()?;
        let output = output(target, replace, sync)?;
        let seal = seal.map(|keys| keys.get().sealing()).transpose()?;
        let whom = if for_other { compact::For::Other(seal.as_ref()) } else { compact::For::Same(seal.as_ref()) };
        let mut reporter = Reporter::new(progress);
        let result = py.detach(|| {
            let report = &mut |done, total| reporter.report(done, total);
            compact::compact(&reader, output, archive_id.map(ArchiveId), whom, threads, report)
        });
        json(&reporter.finish(result)?)
    }

    #[pyo3(signature = (target, pairs, *, archive_id, seal, sync, threads, progress))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a private method")]
    fn transcribe(
        &self,
        py: Python<'_>,
        target: TargetArgument,
        pairs: Vec<(Py<Self>, Py<Self>)>,
        archive_id: Option<[u8; 16]>,
        seal: Option<Py<OpenKeyring>>,
        sync: bool,
        threads: usize,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<String> {
        let reader = self.get()?;
        let pairs = pairs
            .iter()
            .map(|(source, target)| Ok(transcribe::Pair { source: source.get().get()?, target: target.get().get()? }));
        let pairs = pairs.collect::<PyResult<Vec<_>>>()?;
        let output = output(target, false, sync)?;
        let seal = seal.map(|keys| keys.get().sealing()).transpose()?;
        let mut reporter = Reporter::new(progress);
        let result = py.detach(|| {
            let report = &mut |done, total| reporter.report(done, total);
            transcribe::transcribe(&reader, &pairs, output, archive_id.map(ArchiveId), seal.as_ref(), threads, report)
        });
        json(&reporter.finish(result)?)
    }

    #[getter]
    fn streams(&self) -> PyResult<Vec<Stream>> {
        Ok(self.get()?.archive().streams().iter().map(Stream::from).collect())
    }

    fn io_counts(&self) -> (u64, u64) {
        self.counts.get()
    }

    fn codecs(&self, py: Python<'_>, stream: usize) -> PyResult<BTreeMap<String, u64>> {
        let reader = self.get()?;
        let counted = py.detach(|| {
            let archive = reader.archive();
            let chunks = archive.streams().get(stream).map_or(0, |stream| stream.chunk_count);
            let mut counts = BTreeMap::new();
            for chunk in 0..chunks {
                *counts.entry(codec_name(archive.entry(stream, chunk)?.codec)).or_insert(0) += 1;
            }
            Ok(counts)
        });
        counted.map_err(|error: Error| to_py(&error))
    }

    #[pyo3(signature = (stream, first_row, row_count, out, *, threads))]
    fn read_rows(
        &self,
        py: Python<'_>,
        stream: usize,
        first_row: u64,
        row_count: u64,
        out: &Bound<'_, PyAny>,
        threads: usize,
    ) -> PyResult<()> {
        let reader = self.get()?;
        let mut target = BufferTarget::new(out)?;
        let row_bytes = reader.archive().streams().get(stream).map_or(0, |stream| u64::from(stream.row_bytes));
        if row_count.checked_mul(row_bytes) != Some(target.bytes().len() as u64) {
            return Err(invalid("buffer", format!("expected {row_count} rows of {row_bytes} bytes")));
        }
        let bytes = target.bytes();
        let mut reporter = Reporter::new(None);
        let read = py.detach(|| {
            let report = &mut |done, total| reporter.report(done, total);
            memory::read_rows(&reader, stream, first_row, bytes, threads, report)
        });
        reporter.finish(read)
    }

    /// (number in `ids`, row) of every row that has one of the ids, by the index of a stream of ids; None without one.
    fn find_ids(&self, py: Python<'_>, stream: usize, ids: Vec<u64>) -> PyResult<Option<(Vec<u64>, Vec<u64>)>> {
        let reader = self.get()?;
        let found = py.detach(|| id_index::find(&reader, stream, &ids)).map_err(|error| to_py(&error))?;
        Ok(found.map(|found| found.into_iter().map(|(number, row)| (number as u64, row)).unzip()))
    }

    /// Flags of the rows that both streams have: 1 where they are equal by what the tables say.
    fn equal_rows(
        &self,
        py: Python<'_>,
        stream: usize,
        other: &Reader,
        other_stream: usize,
        out: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (before, after) = (self.get()?, other.get()?);
        let mut target = BufferTarget::new(out)?;
        let flags = target.bytes();
        let compared = py.detach(|| equal_rows((&before, stream), (&after, other_stream), flags));
        compared.map_err(|error| to_py(&error))
    }

    fn plan(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let reader = self.get()?;
        let plan = py.detach(|| read_plan_text(&reader)).map_err(|error| to_py(&error))?;
        Ok(plan.map(|(_, text)| text))
    }

    #[pyo3(signature = (target, *, members, replace, sync, threads, memory_bytes, max_bytes, resume, progress))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a private method")]
    fn restore(
        &self,
        py: Python<'_>,
        target: PathBuf,
        members: Option<Vec<usize>>,
        replace: bool,
        sync: bool,
        threads: usize,
        memory_bytes: u64,
        max_bytes: Option<u64>,
        resume: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<String> {
        let reader = self.get()?;
        let options = RestoreOptions { replace, sync, threads, memory_bytes, max_bytes, resume };
        let mut reporter = Reporter::new(progress);
        let result = py.detach(|| {
            let report = &mut |done, total| reporter.report(done, total);
            restore::restore(&reader, &target, members.as_deref(), &options, report)
        });
        json(&reporter.finish(result)?)
    }

    #[pyo3(signature = (member, fd, *, threads, memory_bytes, progress))]
    fn write_member(
        &self,
        py: Python<'_>,
        member: usize,
        fd: i32,
        threads: usize,
        memory_bytes: u64,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        let reader = self.get()?;
        let mut output = File::from(duplicate(fd)?);
        let options =
            RestoreOptions { replace: false, sync: false, threads, memory_bytes, max_bytes: None, resume: false };
        let mut reporter = Reporter::new(progress);
        let result = py.detach(|| {
            let report = &mut |done, total| reporter.report(done, total);
            restore::write_member(&reader, member, &mut output, &options, report)
        });
        reporter.finish(result)
    }

    fn check_member(&self, py: Python<'_>, member: usize, layout: &str) -> PyResult<String> {
        let reader = self.get()?;
        let check = checker(layout)?;
        let mut reporter = Reporter::new(None);
        let checked = py.detach(|| {
            let mut beat = || reporter.report(0, None);
            check(&restore::view(&reader, &restore::plan_of(&reader)?, member, &mut beat)?)
        });
        json(&reporter.finish(checked)?)
    }

    #[pyo3(signature = (member, out, layout, *, later, leaves_out, threads))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a private method")]
    fn read_member(
        &self,
        py: Python<'_>,
        member: usize,
        out: &Bound<'_, PyAny>,
        layout: &str,
        later: (u64, u64),
        leaves_out: bool,
        threads: usize,
    ) -> PyResult<(String, bool)> {
        let reader = self.get()?;
        let check = checker(layout)?;
        let mut target = BufferTarget::new(out)?;
        let bytes = target.bytes();
        let mut reporter = Reporter::new(None);
        let checked = py.detach(|| {
            let report = &mut |done, total| reporter.report(done, total);
            let later = Later { bytes: later.0..later.1, is_left_out: leaves_out };
            memory::read_checked(&reader, member, bytes, &later, threads, &check, report)
        });
        let (facts, is_whole) = reporter.finish(checked)?;
        Ok((json(&facts)?, is_whole))
    }

    #[pyo3(signature = (*, level, own, threads, progress))]
    fn verify(
        &self,
        py: Python<'_>,
        level: &str,
        own: bool,
        threads: usize,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<String> {
        let reader = self.get()?;
        let (level, scope) = (level_of(level)?, scope_of(own));
        let mut reporter = Reporter::new(progress);
        let result = py.detach(|| {
            verify::verify_scope(&reader, level, scope, threads, &mut |done, total| reporter.report(done, total))
        });
        json(&reporter.finish(result)?)
    }

    /// Rows that are lost with the blocks (archive id, offset) of this archive and its ancestors.
    fn touched(&self, py: Python<'_>, blocks: Vec<([u8; 16], u64)>) -> PyResult<String> {
        let reader = self.get()?;
        let blocks = blocks.into_iter().map(|(id, offset)| (ArchiveId(id), offset)).collect();
        let found = py.detach(|| touched(&reader, &blocks)).map_err(|error| to_py(&error))?;
        json(&found)
    }

    fn close(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

type Check = fn(&dyn ReadAt) -> vark_core::error::Result<serde_json::Map<String, serde_json::Value>>;

fn checker(layout: &str) -> PyResult<Check> {
    match layout {
        "faiss" => Ok(vark_core::split::check_faiss),
        "hnswlib" => Ok(vark_core::split::check_hnswlib),
        other => Err(invalid("layout", format!("{other:?}; expected faiss or hnswlib"))),
    }
}

#[pyfunction]
#[pyo3(signature = (volumes, ancestors, secrets, *, level, own, threads, progress))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of a private function")]
pub fn verify_path(
    py: Python<'_>,
    volumes: Vec<VolumeArgument>,
    ancestors: PlacesArgument,
    secrets: Option<KeysArgument<'_>>,
    level: &str,
    own: bool,
    threads: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let keys = Keys::of(secrets.as_ref())?;
    let (level, scope) = (level_of(level)?, scope_of(own));
    let (volumes, ancestors) = (volumes_of(volumes), places_of(ancestors));
    let mut reporter = Reporter::new(progress);
    let result = py.detach(|| {
        let report = &mut |done, total| reporter.report(done, total);
        verify_files(&volumes, &ancestors, &keys, level, scope, threads, report)
    });
    json(&reporter.finish(result)?)
}

#[pyfunction]
#[pyo3(signature = (archives, ancestors, secrets, *, threads, progress))]
pub fn verify_rows(
    py: Python<'_>,
    archives: Vec<Vec<VolumeArgument>>,
    ancestors: PlacesArgument,
    secrets: Option<KeysArgument<'_>>,
    threads: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let keys = Keys::of(secrets.as_ref())?;
    let archives: Vec<Vec<Volume>> = archives.into_iter().map(volumes_of).collect();
    let ancestors = places_of(ancestors);
    let mut reporter = Reporter::new(progress);
    let result = py.detach(|| {
        let report = &mut |done, total| reporter.report(done, total);
        vark_core::pipeline::verify_rows::verify_rows(&archives, &ancestors, &keys, threads, report)
    });
    json(&reporter.finish(result)?)
}

fn verify_files(
    volumes: &[Volume],
    ancestors: &Places,
    keys: &Keys,
    level: Level,
    scope: Scope,
    threads: usize,
    progress: Progress<'_>,
) -> vark_core::error::Result<verify::VerifyReport> {
    let source = open_volumes(volumes)?;
    let archive_bytes = source.byte_count();
    let opened = open_sealed(volumes, ancestors, keys).map(|(archive, _)| archive);
    if level == Level::Stored && opened.as_ref().is_err_and(needs_other_key) {
        return scrub(Arc::new(source), progress);
    }
    verify::verify_opened(opened, archive_bytes, level, scope, threads, progress)
}

fn needs_other_key(error: &vark_core::error::Error) -> bool {
    matches!(error.kind(), ErrorKind::KeyNeeded | ErrorKind::WrongKey)
}

fn scope_of(own: bool) -> Scope {
    if own { Scope::Own } else { Scope::WithAncestors }
}

fn level_of(name: &str) -> PyResult<Level> {
    match name {
        "stored" => Ok(Level::Stored),
        "full" => Ok(Level::Full),
        other => Err(invalid("level", format!("{other:?}; expected \"stored\" or \"full\""))),
    }
}
