//! An archive out of files: its volumes, and the ancestors that it needs.

use crate::archive::{Ancestor, Archive, KeySource, NoKeys};
use crate::error::Result;
use crate::store::ReadAt;
use crate::store::counted::{Counted, Counts};
use crate::store::file::{FileSource, Parts};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the volumes of archives lie, by the text of their id.
pub type Places = HashMap<String, Vec<PathBuf>>;

/// The archive that the volumes are, end to end, and the counts of its reads. An ancestor that is not among `places` is
/// looked for beside the first volume as `ID.vark`; without it the archive opens, but not all rows can be read.
///
/// # Errors
/// Those of `Archive::open` and of opening files.
pub fn open_archive(volumes: &[PathBuf], places: &Places) -> Result<(Archive, Arc<Counts>)> {
    open_sealed(volumes, places, &NoKeys)
}

/// As `open_archive`; a sealed archive asks `keys`.
///
/// # Errors
/// Those of `Archive::open_with` and of opening files.
pub fn open_sealed(volumes: &[PathBuf], places: &Places, keys: &dyn KeySource) -> Result<(Archive, Arc<Counts>)> {
    let source = Counted::new(open_volumes(volumes)?);
    let counts = source.counts();
    let place = volumes.first().map(|path| path.display().to_string()).unwrap_or_default();
    let mut archive = Archive::open_with(Arc::new(source), keys).map_err(|error| error.within(&place))?;
    let folder = volumes.first().and_then(|path| path.parent()).unwrap_or(Path::new(""));
    let found = archive.ancestors().iter().map(|ancestor| find(ancestor, folder, places, &counts));
    let found = found.collect::<Result<Vec<_>>>()?;
    archive.attach(found).map_err(|error| error.within(&place))?;
    Ok((archive, counts))
}

fn find(ancestor: &Ancestor, folder: &Path, places: &Places, counts: &Arc<Counts>) -> Result<Option<Arc<dyn ReadAt>>> {
    let id = ancestor.id.to_string();
    let beside = folder.join(format!("{id}.vark"));
    let volumes = match places.get(&id) {
        Some(volumes) => volumes.clone(),
        None if beside.is_file() => vec![beside],
        None => return Ok(None),
    };
    let source = open_volumes(&volumes)?;
    Ok(Some(Arc::new(Counted::sharing(source, counts.clone()))))
}

/// The volumes of one archive as one source.
///
/// # Errors
/// Those of opening files.
pub fn open_volumes(volumes: &[PathBuf]) -> Result<Parts> {
    crate::sys::allow_many_files();
    let sources = volumes.iter().map(|path| Ok(Box::new(FileSource::open(path)?) as Box<dyn ReadAt>));
    Ok(Parts::new(sources.collect::<Result<Vec<_>>>()?))
}
