//! A new identity in the format of age.

use crate::errors::to_py;
use pyo3::prelude::*;
use pyo3::types::PyString;
use vark_core::seal::Identity;

/// A random identity, as a line of an identity file, and its recipient.
#[pyfunction]
pub fn new_identity(py: Python<'_>) -> PyResult<(Py<PyString>, String)> {
    let identity = Identity::random().map_err(|error| to_py(&error))?;
    // Python keeps the text as long as it likes; this copy is wiped.
    Ok((PyString::new(py, identity.reveal().as_str()).unbind(), identity.recipient().to_string()))
}
