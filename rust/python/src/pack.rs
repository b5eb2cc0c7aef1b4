//! `pack` and `plan_file`.

use crate::buffers::BufferSource;
use crate::errors::{invalid, to_py};
use crate::inputs::{BytesArgument, layout, member, object, stream};
use crate::keyring::KeysArgument;
use crate::progress::Reporter;
use crate::reader::Reader;
use crate::secrets::sealing_of;
use pyo3::prelude::*;
use serde::Deserialize;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use vark_core::archive::ArchiveId;
use vark_core::codec::{Compression, LinkOrder};
use vark_core::error::Error;
use vark_core::pipeline::cache::{CacheKey, ChunkCache};
use vark_core::pipeline::delta::FingerprintKey;
use vark_core::pipeline::id_index::IdIndex;
use vark_core::pipeline::pack::{Output, PackOptions, pack as pack_archive};
use vark_core::pipeline::shadow::ShadowPlace;
use vark_core::plan::Skipped;
use vark_core::seal::{Secret, Suite};
use vark_core::store::ReadAt;
use vark_core::store::file::FileSource;

#[derive(FromPyObject)]
pub enum TargetArgument {
    Descriptor(i32),
    Path(PathBuf),
}

/// Folder, most bytes, of a sealed one key and repository, and most bytes of a shadow for a writer that is write-only.
type CacheArgument = (PathBuf, u64, Option<([u8; 32], [u8; 16])>, u64);

fn open_cache(given: CacheArgument, of_repository: Option<CacheKey>) -> PyResult<Arc<ChunkCache>> {
    let (folder, bytes_max, key, _) = given;
    let key =
        key.map(|(mut key, repository)| CacheKey { key: Secret::take(&mut key), suite: Suite::Aes256Gcm, repository });
    let cache = ChunkCache::open(&folder, key.or(of_repository), bytes_max);
    cache.map(Arc::new).map_err(|error| to_py(&error))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PlanArgument {
    folders: Vec<String>,
    skipped: Vec<Skipped>,
}

#[pyfunction]
#[pyo3(signature = (target, members, streams, *, metadata, plan, compression, order, base, cache, id_index, fingerprint_key, archive_id, seal, replace, sync, threads, memory_bytes, digest_members, attempts, progress))]
#[expect(
    clippy::too_many_arguments,
    reason = "keyword arguments of a private function; vark.write_archive is the face"
)]
pub fn pack(
    py: Python<'_>,
    target: TargetArgument,
    members: Vec<(String, BytesArgument<'_>, String, String)>,
    streams: Vec<(String, String, String, u32, BytesArgument<'_>)>,
    metadata: &str,
    plan: &str,
    compression: &str,
    order: &str,
    base: Option<Py<Reader>>,
    cache: Option<CacheArgument>,
    id_index: Option<i64>,
    fingerprint_key: Option<[u8; 32]>,
    archive_id: Option<[u8; 16]>,
    seal: Option<KeysArgument<'_>>,
    replace: bool,
    sync: bool,
    threads: usize,
    memory_bytes: u64,
    digest_members: bool,
    attempts: u32,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let mut members = members.iter().map(member).collect::<PyResult<Vec<_>>>()?;
    let mut streams = streams.iter().map(stream).collect::<PyResult<Vec<_>>>()?;
    let plan: PlanArgument = serde_json::from_str(plan).map_err(|error| invalid("plan argument", error.to_string()))?;
    let is_write_only = matches!(seal, Some(KeysArgument::Signer(_)));
    let (seal, fingerprint_key) = match &seal {
        None => (None, fingerprint_key),
        Some(KeysArgument::Secrets(secrets)) => (Some(sealing_of(py, secrets)?), fingerprint_key),
        // A repository's archives have fingerprints, under a key that Python does not see.
        Some(KeysArgument::Keyring(keys)) => (Some(keys.get().sealing()?), Some(*keys.get().keyring.fingerprint_key())),
        Some(KeysArgument::Signer(signer)) => {
            let (sealing, key) = signer.get().sealing()?;
            (Some(sealing), Some(key))
        }
    };
    let base = base.map(|reader| reader.get().base(fingerprint_key)).transpose()?;
    let cache_key = || seal.as_ref().zip(fingerprint_key).and_then(|(seal, key)| CacheKey::of_repository(seal, key));
    let shadow = cache
        .as_ref()
        .filter(|_| is_write_only)
        .zip(cache_key())
        .map(|((folder, _, _, bytes_max), key)| ShadowPlace { folder: folder.clone(), key, bytes_max: *bytes_max });
    let options = PackOptions {
        base,
        cache: cache.map(|cache| open_cache(cache, cache_key())).transpose()?,
        shadow,
        seal,
        fingerprint_key: fingerprint_key.map(FingerprintKey),
        id_index: match id_index.map(u64::try_from) {
            None => IdIndex::AsBase,
            Some(Err(_)) => IdIndex::Off,
            Some(Ok(rows)) => IdIndex::Above(rows),
        },
        compression: match compression {
            "auto" => Compression::Auto,
            "none" => Compression::None,
            other => return Err(invalid("compression", format!("{other:?}; expected auto or none"))),
        },
        order: match order {
            "exact" => LinkOrder::Exact,
            "canonical" => LinkOrder::Canonical,
            other => return Err(invalid("order", format!("{other:?}; expected exact or canonical"))),
        },
        archive_id: archive_id.map(ArchiveId),
        threads,
        memory_bytes,
        digest_members,
        attempts,
        metadata: object(metadata)?,
        folders: plan.folders,
        skipped: plan.skipped,
    };
    let output = output(target, replace, sync)?;
    let mut reporter = Reporter::new(progress);
    let result = py.detach(|| {
        pack_archive(output, &mut members, &mut streams, &options, &mut |done, total| reporter.report(done, total))
    });
    let report = reporter.finish(result)?;
    json(&report)
}

pub fn output(target: TargetArgument, replace: bool, sync: bool) -> PyResult<Output> {
    match target {
        TargetArgument::Path(path) => Ok(Output::Path { path, replace, sync }),
        TargetArgument::Descriptor(fd) => Ok(Output::descriptor(File::from(crate::buffers::duplicate(fd)?))),
    }
}

/// BLAKE3 of some bytes.
#[pyfunction]
pub fn blake3(data: &[u8]) -> [u8; 32] {
    vark_core::digest::blake3(data)
}

/// BLAKE3 of each piece of some bytes, one after another.
#[pyfunction]
pub fn blake3_pieces(py: Python<'_>, data: &Bound<'_, PyAny>, piece_bytes: usize) -> PyResult<Vec<u8>> {
    let source = BufferSource::new(data)?;
    let digests = py.detach(|| {
        let mut piece = vec![0; piece_bytes.min(usize::try_from(source.byte_count()).unwrap_or(piece_bytes))];
        let mut digests = Vec::new();
        let mut offset = 0;
        while offset < source.byte_count() && !piece.is_empty() {
            let left = usize::try_from(source.byte_count() - offset).unwrap_or(usize::MAX);
            let part = &mut piece[..left.min(piece_bytes)];
            source.read_at(offset, part)?;
            digests.extend(vark_core::digest::blake3(part));
            offset += part.len() as u64;
        }
        Ok(digests)
    });
    digests.map_err(|error: Error| to_py(&error))
}

#[pyfunction]
pub fn plan_file(py: Python<'_>, path: PathBuf, layout_name: &str) -> PyResult<String> {
    let layout = layout(layout_name)?;
    let member = py.detach(|| {
        let source = FileSource::open(&path)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        vark_core::split::plan_file(&source, &name, layout).map(|(member, _)| member)
    });
    json(&member.map_err(|error| to_py(&error))?)
}

pub fn json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| to_py(&Error::malformed("report", error.to_string())))
}
