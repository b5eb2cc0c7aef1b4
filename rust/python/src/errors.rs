//! The one place where an error of the core becomes a Python exception.

use pyo3::prelude::*;
use vark_core::error::{Error, ErrorKind};

/// `vark.errors.error_for(code, message, layer)` chooses the class; this side only hands over.
pub fn to_py(error: &Error) -> PyErr {
    Python::attach(|py| {
        let made = py.import("vark.errors").and_then(|module| {
            let layer = error.layer().map(vark_core::error::Layer::name);
            module.call_method1("error_for", (error.kind().code(), error.to_string(), layer))
        });
        made.map_or_else(|failed| failed, PyErr::from_value)
    })
}

/// An error that Python code raised which the core had called: its `code` says the kind.
pub fn from_py(py: Python<'_>, raised: &PyErr) -> Error {
    if !raised.is_instance_of::<pyo3::exceptions::PyException>(py) {
        return Error::new(ErrorKind::Cancelled, "", "interrupted");
    }
    let value = raised.value(py);
    let text = |name: &str| value.getattr(name).ok().and_then(|found| found.extract::<String>().ok());
    let kind = text("code").and_then(|code| ErrorKind::from_code(&code)).unwrap_or(ErrorKind::Io);
    Error::new(kind, "", text("message").unwrap_or_else(|| raised.to_string()))
}

pub fn invalid(place: &str, detail: impl Into<String>) -> PyErr {
    to_py(&Error::new(ErrorKind::InvalidArgument, place, detail))
}
