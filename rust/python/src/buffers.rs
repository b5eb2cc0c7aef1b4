//! Memory and descriptors that Python lends: checked once, held while used.

use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use vark_core::error::{Error, ErrorKind, Result};
use vark_core::store::ReadAt;

/// A contiguous buffer, read by copying out of it. The exporter keeps its memory in place while this lives.
pub struct BufferSource {
    buffer: PyUntypedBuffer,
}

impl BufferSource {
    /// # Errors
    /// `TypeError` for what has no buffer; `InvalidArgumentError` for one that is not C-contiguous.
    pub fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = PyUntypedBuffer::get(object)?;
        if !buffer.is_c_contiguous() {
            return Err(crate::errors::invalid("buffer", "is not C-contiguous; pass a contiguous copy"));
        }
        Ok(Self { buffer })
    }
}

impl ReadAt for BufferSource {
    fn byte_count(&self) -> u64 {
        self.buffer.len_bytes() as u64
    }

    fn read_at(&self, offset: u64, target: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|start| start.checked_add(target.len()));
        let (Some(start), Some(_)) = (start, end.filter(|end| *end <= self.buffer.len_bytes())) else {
            let detail = format!("runs past its {} bytes", self.buffer.len_bytes());
            return Err(Error::new(ErrorKind::SourceChanged, format!("buffer, byte {offset}"), detail));
        };
        if target.is_empty() {
            return Ok(());
        }
        // SAFETY: the buffer is contiguous (checked in `new`), exported and not resizable while `self.buffer`
        // lives, and `start + target.len()` is inside it (checked above); `target` is memory of ours, so the two
        // do not overlap. Another Python thread may write meanwhile: bytes are copied once and every later step
        // uses the copy, so such a race can change values but nothing else.
        unsafe {
            let source = self.buffer.buf_ptr().cast::<u8>().cast_const().add(start);
            std::ptr::copy_nonoverlapping(source, target.as_mut_ptr(), target.len());
        }
        Ok(())
    }
}

/// A writable buffer to be filled while the GIL is released.
pub struct BufferTarget {
    buffer: PyUntypedBuffer,
}

impl BufferTarget {
    /// # Errors
    /// `TypeError` for what has no buffer; `InvalidArgumentError` for one that is read-only or not C-contiguous.
    pub fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = PyUntypedBuffer::get(object)?;
        if buffer.readonly() || !buffer.is_c_contiguous() {
            return Err(crate::errors::invalid("buffer", "is read-only or not C-contiguous; pass a writable array"));
        }
        Ok(Self { buffer })
    }

    /// The bytes. The caller of the Python function must not touch the buffer until it returns.
    pub fn bytes(&mut self) -> &mut [u8] {
        let length = self.buffer.len_bytes();
        if length == 0 {
            return &mut [];
        }
        // SAFETY: the buffer is writable and contiguous (checked in `new`), exported while `self.buffer` lives,
        // never null at a length above 0, and `&mut self` gives one slice at a time on our side; the stub tells
        // callers that they must not use the buffer before the call returns.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.buf_ptr().cast::<u8>(), length) }
    }
}

/// A descriptor of our own for one that Python keeps.
///
/// # Errors
/// `InvalidArgumentError` for a number that is no open descriptor.
pub fn duplicate(fd: RawFd) -> PyResult<OwnedFd> {
    if fd < 0 {
        return Err(crate::errors::invalid("file descriptor", format!("{fd} is not one")));
    }
    // SAFETY: `fd` is not -1 (checked above). It is borrowed for this one call, which asks the system to duplicate
    // it; for a number that is not open the system answers with an error.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    borrowed.try_clone_to_owned().map_err(|error| crate::errors::to_py(&Error::io(format!("descriptor {fd}"), &error)))
}
