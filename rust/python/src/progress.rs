//! Progress and interruption: back into Python at most ten times a second.

use pyo3::prelude::*;
use std::time::{Duration, Instant};
use vark_core::error::{Error, ErrorKind, Result};

const INTERVAL: Duration = Duration::from_millis(100);

/// Reports to a Python callable, and lets Ctrl-C through.
pub struct Reporter {
    callable: Option<Py<PyAny>>,
    /// False when a Python thread may hold the GIL until we have read what it writes: waiting for the GIL would
    /// then wait for ever.
    may_attach: bool,
    last: Instant,
    raised: Option<PyErr>,
}

impl Reporter {
    pub fn new(callable: Option<Py<PyAny>>, may_attach: bool) -> Self {
        Self { callable, may_attach, last: Instant::now(), raised: None }
    }

    pub fn report(&mut self, done: u64, total: Option<u64>) -> Result<()> {
        if !self.may_attach || (self.last.elapsed() < INTERVAL && total != Some(done)) {
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
