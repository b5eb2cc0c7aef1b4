//! Volumes as Python names them: a path, or an object with `name`, `byte_count` and `read(offset, byte_count)`.

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
        let source = Ranges { object: object.to_owned().unbind(), name: name.clone(), byte_count };
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
}

impl ReadAt for Ranges {
    fn byte_count(&self) -> u64 {
        self.byte_count
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let read = Python::attach(|py| {
            let called = self.object.bind(py).call_method1("read", (offset, buffer.len()));
            called.and_then(|bytes| BufferSource::new(&bytes)).map_err(|raised| from_py(py, &raised))
        });
        let bytes = read?;
        if bytes.byte_count() != buffer.len() as u64 {
            let place = format!("{}, bytes {offset} and {} on", self.name, buffer.len());
            let detail = format!("the store gave {} bytes; try again", bytes.byte_count());
            return Err(Error::new(ErrorKind::Io, place, detail));
        }
        bytes.read_at(0, buffer)
    }
}
