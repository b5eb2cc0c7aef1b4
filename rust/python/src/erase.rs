//! `id_hashes`, and what a `Reader` does to erase rows.

use crate::errors::{invalid, to_py};
use crate::inputs::{BytesArgument, object, stream};
use crate::keyring::OpenKeyring;
use crate::pack::{TargetArgument, json, output};
use crate::progress::Reporter;
use crate::reader::Reader;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use vark_core::archive::ArchiveId;
use vark_core::codec::{Compression, LinkOrder};
use vark_core::pipeline::delta::FingerprintKey;
use vark_core::pipeline::erase::{HASH_BYTES, Replacements, Wanted, erase, hash_of, survey_archive};
use vark_core::pipeline::id_index::IdIndex;
use vark_core::pipeline::pack::PackOptions;

/// Key and hashes of each list of ids that are wanted.
pub type Lists = Vec<([u8; 32], Vec<u8>)>;

fn wanted_of(lists: Lists) -> PyResult<Wanted> {
    let mut wanted = Wanted::default();
    for (key, hashes) in lists {
        wanted.add(key, &hashes).map_err(|error| to_py(&error))?;
    }
    Ok(wanted)
}

/// The hashes of ids, one after another.
#[pyfunction]
pub fn id_hashes(py: Python<'_>, key: [u8; 32], ids: Vec<u64>) -> PyResult<Bound<'_, PyBytes>> {
    let hashes = py.detach(|| ids.iter().flat_map(|id| hash_of(&key, *id)).collect::<Vec<u8>>());
    debug_assert_eq!(hashes.len(), ids.len() * HASH_BYTES);
    Ok(PyBytes::new(py, &hashes))
}

#[pyfunction]
pub fn survey(py: Python<'_>, reader: &Reader, lists: Lists) -> PyResult<String> {
    let reader = reader.get()?;
    let wanted = wanted_of(lists)?;
    let found = py.detach(|| survey_archive(&reader, &wanted)).map_err(|error| to_py(&error))?;
    json(&found)
}

#[pyfunction]
#[pyo3(signature = (reader, target, lists, *, streams, dropped, metadata, base, fingerprint_key, archive_id, seal, sync, threads, memory_bytes, progress))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of a private function")]
pub fn erase_rows(
    py: Python<'_>,
    reader: &Reader,
    target: TargetArgument,
    lists: Lists,
    streams: Vec<(String, String, String, u32, BytesArgument<'_>)>,
    dropped: Vec<String>,
    metadata: &str,
    base: Option<Py<Reader>>,
    fingerprint_key: Option<[u8; 32]>,
    archive_id: Option<[u8; 16]>,
    seal: Option<Py<OpenKeyring>>,
    sync: bool,
    threads: usize,
    memory_bytes: u64,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let reader = reader.get()?;
    let wanted = wanted_of(lists)?;
    let streams = streams.iter().map(stream).collect::<PyResult<Vec<_>>>()?;
    let replaced = Replacements { streams, dropped: dropped.into_iter().collect(), metadata: object(metadata)? };
    if memory_bytes == 0 {
        return Err(invalid("memory", "0 bytes; expected more"));
    }
    // A repository's archives have fingerprints, under a key that Python does not see.
    let fingerprint_key = seal.as_ref().map(|keys| *keys.get().keyring.fingerprint_key()).or(fingerprint_key);
    let options = PackOptions {
        base: base.map(|base| base.get().base(fingerprint_key)).transpose()?,
        cache: None,
        shadow: None,
        seal: seal.map(|keys| keys.get().sealing()).transpose()?,
        fingerprint_key: fingerprint_key.map(FingerprintKey),
        id_index: IdIndex::AsBase,
        compression: Compression::Auto,
        order: LinkOrder::Exact,
        archive_id: archive_id.map(ArchiveId),
        threads,
        memory_bytes,
        digest_members: false,
        attempts: 1,
        metadata: serde_json::Map::new(),
        folders: Vec::new(),
        skipped: Vec::new(),
    };
    let output = output(target, false, sync)?;
    let mut reporter = Reporter::new(progress);
    let result = py.detach(|| {
        let report = &mut |done, total| reporter.report(done, total);
        erase(&reader, &wanted, replaced, output, options, report)
    });
    json(&reporter.finish(result)?)
}
