//! Volumes as Python names them: a path, or an object with `name`, `byte_count` and `read(offset, byte_count)`; one that has
//! other copies also has `read_elsewhere(copy, offset, byte_count)`.

use crate::buffers::BufferSource;
use crate::errors::from_py;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use vark_core::error::{Error, ErrorKind, Result};
use vark_core::pipeline::open::{Places, Volume};
use vark_core::store::ReadAt;

pub type PlacesArgument = HashMap<String, Vec<VolumeArgument>>;

pub struct VolumeArgument(Volume);

impl<'py> FromPyObject<'_, 'py> for VolumeArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(path) = object.extract::<PathBuf>() {
            return Ok(Self(Volume::File(path)));
        }
        let name: String = object.getattr("name")?.extract()?;
        let byte_count = object.getattr("byte_count")?.extract()?;
        let has_copies = object.hasattr("read_elsewhere")?;
        let source = Ranges { object: object.to_owned().unbind(), name: name.clone(), byte_count, has_copies };
        Ok(Self(Volume::Shared { name, source: Arc::new(source) }))
    }
}

pub fn volumes_of(volumes: Vec<VolumeArgument>) -> Vec<Volume> {
    volumes.into_iter().map(|volume| volume.0).collect()
}

pub fn places_of(places: PlacesArgument) -> Places {
    places.into_iter().map(|(id, volumes)| (id, volumes_of(volumes))).collect()
}

/// Ranges that Python reads. The GIL is held for the call; what it returned is copied without it.
struct Ranges {
    object: Py<PyAny>,
    name: String,
    byte_count: u64,
    has_copies: bool,
}

impl Ranges {
    /// What a method gives for a range; `None` where it gives nothing.
    fn call(&self, method: &str, copy: Option<usize>, offset: u64, buffer: &mut [u8]) -> Result<Option<()>> {
        let read = Python::attach(|py| {
            let object = self.object.bind(py);
            let called = match copy {
                Some(copy) => object.call_method1(method, (copy, offset, buffer.len())),
                None => object.call_method1(method, (offset, buffer.len())),
            };
            let found =
                called.and_then(|bytes| if bytes.is_none() { Ok(None) } else { BufferSource::new(&bytes).map(Some) });
            found.map_err(|raised| from_py(py, &raised))
        });
        let Some(bytes) = read? else { return Ok(None) };
        if bytes.byte_count() != buffer.len() as u64 {
            let place = format!("{}, bytes {offset} and {} on", self.name, buffer.len());
            let detail = format!("the store gave {} bytes; try again", bytes.byte_count());
            return Err(Error::new(ErrorKind::Io, place, detail));
        }
        bytes.read_at(0, buffer).map(Some)
    }
}

impl ReadAt for Ranges {
    fn byte_count(&self) -> u64 {
        self.byte_count
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let nothing = || Error::new(ErrorKind::Io, &self.name, "the store gave nothing; try again");
        self.call("read", None, offset, buffer)?.ok_or_else(nothing)
    }

    fn read_elsewhere(&self, copy: usize, offset: u64, buffer: &mut [u8]) -> Option<Result<()>> {
        let read = if self.has_copies { self.call("read_elsewhere", Some(copy), offset, buffer) } else { Ok(None) };
        read.transpose()
    }
}
