//! A new identity in the format of age.

use crate::errors::to_py;
use pyo3::prelude::*;
use vark_core::seal::Identity;

/// A random identity, as a line of an identity file, and its recipient.
#[pyfunction]
pub fn new_identity() -> PyResult<(String, String)> {
    let identity = Identity::random().map_err(|error| to_py(&error))?;
    // Python keeps the text as long as it likes; this copy is wiped.
    Ok((identity.reveal().as_str().to_owned(), identity.recipient().to_string()))
}
