//! An archive out of its volumes, files or whatever can be read by position, and the ancestors that it needs.

use crate::archive::{Ancestor, Archive, KeySource, NoKeys};
use crate::error::Result;
use crate::store::ReadAt;
use crate::store::counted::{Counted, Counts};
use crate::store::file::{FileSource, Parts};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the bytes of a volume lie.
#[derive(Clone)]
pub enum Volume {
    File(PathBuf),
    /// Something that is open already. `name`: for messages.
    Shared {
        name: String,
        source: Arc<dyn ReadAt>,
    },
}

impl From<PathBuf> for Volume {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl Volume {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Shared { name, .. } => name.clone(),
        }
    }

    /// Where ancestors are looked for that have no place: beside a file.
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::File(path) => path.parent(),
            Self::Shared { .. } => None,
        }
    }

    fn open(&self) -> Result<Box<dyn ReadAt>> {
        match self {
            Self::File(path) => Ok(Box::new(FileSource::open(path)?)),
            Self::Shared { source, .. } => Ok(Box::new(source.clone())),
        }
    }
}

/// Where the volumes of archives lie, by the text of their id.
pub type Places = HashMap<String, Vec<Volume>>;

/// The archive that the volumes are, end to end, and the counts of its reads. An ancestor that is not among `places` is
/// looked for beside the first volume as `ID.vark`, where that is a file; without it the archive opens, but not all rows can be read.
///
/// # Errors
/// Those of `Archive::open` and of opening files.
pub fn open_archive(volumes: &[Volume], places: &Places) -> Result<(Archive, Arc<Counts>)> {
    open_sealed(volumes, places, &NoKeys)
}

/// As `open_archive`; a sealed archive asks `keys`.
///
/// # Errors
/// Those of `Archive::open_with` and of opening files.
pub fn open_sealed(volumes: &[Volume], places: &Places, keys: &dyn KeySource) -> Result<(Archive, Arc<Counts>)> {
    let source = Counted::new(open_volumes(volumes)?);
    let counts = source.counts();
    let place = volumes.first().map(Volume::name).unwrap_or_default();
    let mut archive = Archive::open_with(Arc::new(source), keys).map_err(|error| error.within(&place))?;
    let folder = volumes.first().and_then(Volume::folder);
    let found = archive.ancestors().iter().map(|ancestor| find(ancestor, folder, places, &counts));
    let found = found.collect::<Result<Vec<_>>>()?;
    archive.attach(found).map_err(|error| error.within(&place))?;
    Ok((archive, counts))
}

fn find(
    ancestor: &Ancestor,
    folder: Option<&Path>,
    places: &Places,
    counts: &Arc<Counts>,
) -> Result<Option<Arc<dyn ReadAt>>> {
    let id = ancestor.id.to_string();
    let beside = folder.map(|folder| folder.join(format!("{id}.vark"))).filter(|path| path.is_file());
    let volumes = match (places.get(&id), beside) {
        (Some(volumes), _) => volumes.clone(),
        (None, Some(path)) => vec![path.into()],
        (None, None) => return Ok(None),
    };
    let source = open_volumes(&volumes)?;
    Ok(Some(Arc::new(Counted::sharing(source, counts.clone()))))
}

/// The volumes of one archive as one source.
///
/// # Errors
/// Those of opening files.
pub fn open_volumes(volumes: &[Volume]) -> Result<Parts> {
    crate::sys::allow_many_files();
    let sources = volumes.iter().map(Volume::open);
    Ok(Parts::new(sources.collect::<Result<Vec<_>>>()?))
}
