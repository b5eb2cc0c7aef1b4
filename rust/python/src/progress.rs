//! Progress and interruption: back into Python at most ten times a second.

use pyo3::prelude::*;
use std::time::{Duration, Instant};
use vark_core::error::{Error, ErrorKind, Result};

const INTERVAL: Duration = Duration::from_millis(100);

/// Reports to a Python callable, and lets Ctrl-C through. It waits for the GIL: whatever feeds or drains a pipe of
/// ours must not hold the GIL while it does (hnswlib's own saving would, so it runs in another process).
pub struct Reporter {
    callable: Option<Py<PyAny>>,
    last: Instant,
    raised: Option<PyErr>,
}

impl Reporter {
    pub fn new(callable: Option<Py<PyAny>>) -> Self {
        Self { callable, last: Instant::now(), raised: None }
    }

    pub fn report(&mut self, done: u64, total: Option<u64>) -> Result<()> {
        if self.last.elapsed() < INTERVAL && total != Some(done) {
            return Ok(());
        }
        self.last = Instant::now();
        let called = Python::attach(|py| {
            py.check_signals()?;
            self.callable.as_ref().map_or(Ok(()), |callable| callable.call1(py, (done, total)).map(|_| ()))
        });
        called.map_err(|raised| {
            self.raised = Some(raised);
            Error::new(ErrorKind::Cancelled, "", "cancelled; nothing was left behind")
        })
    }

    /// The exception that stopped the work, if one did; else the core's own error.
    pub fn finish<T>(self, result: Result<T>) -> PyResult<T> {
        result.map_err(|error| self.raised.unwrap_or_else(|| crate::errors::to_py(&error)))
    }
}
