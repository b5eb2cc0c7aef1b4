//! A source that comes once, from front to back: a pipe that a live index is saved into.

use crate::error::{Error, ErrorKind, Result};
use std::io::Read;

/// A reader with a window that can be looked into before it is taken.
pub struct PipeSource {
    reader: Box<dyn Read + Send>,
    /// Bytes read from the pipe and not taken yet; the first is at `position`.
    window: Vec<u8>,
    taken: usize,
    position: u64,
}

const READ_BYTES: usize = 1 << 20;

impl PipeSource {
    pub fn new(reader: Box<dyn Read + Send>) -> Self {
        Self { reader, window: Vec::new(), taken: 0, position: 0 }
    }

    /// Bytes taken so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next `bytes` bytes from `ahead` bytes in front, without taking them. Keeps all before them in memory.
    ///
    /// # Errors
    /// `Malformed` when the pipe ends before.
    pub fn peek(&mut self, ahead: usize, bytes: usize) -> Result<&[u8]> {
        let end = self.taken + ahead + bytes;
        while self.window.len() < end {
            if self.taken >= READ_BYTES {
                self.window.drain(..self.taken);
                self.taken = 0;
                return self.peek(ahead, bytes);
            }
            let missing = end - self.window.len();
            if self.fill(missing.max(READ_BYTES))? == 0 {
                return Err(self.ended(bytes));
            }
        }
        Ok(&self.window[end - bytes..end])
    }

    /// Fills `buffer` and moves on.
    ///
    /// # Errors
    /// `Malformed` when the pipe ends before.
    pub fn take(&mut self, buffer: &mut [u8]) -> Result<()> {
        let kept = (self.window.len() - self.taken).min(buffer.len());
        let (head, rest) = buffer.split_at_mut(kept);
        head.copy_from_slice(&self.window[self.taken..self.taken + kept]);
        self.taken += kept;
        if self.taken == self.window.len() {
            self.window.clear();
            self.taken = 0;
        }
        let wanted = rest.len();
        // Large rows go straight to the caller's buffer.
        self.reader.read_exact(rest).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.ended(wanted),
            _ => Error::io("live source", &error),
        })?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    /// Takes what comes next, up to `bytes`; empty at the end.
    ///
    /// # Errors
    /// Those of reading.
    pub fn take_some(&mut self, bytes: usize, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.clear();
        while buffer.len() < bytes {
            if self.taken == self.window.len() {
                self.window.clear();
                self.taken = 0;
                if self.fill(READ_BYTES)? == 0 {
                    break;
                }
            }
            let end = self.window.len().min(self.taken + bytes - buffer.len());
            buffer.extend_from_slice(&self.window[self.taken..end]);
            self.taken = end;
        }
        self.position += buffer.len() as u64;
        Ok(())
    }

    /// # Errors
    /// Those of reading.
    pub fn at_end(&mut self) -> Result<bool> {
        Ok(self.taken == self.window.len() && self.fill(READ_BYTES)? == 0)
    }

    fn fill(&mut self, bytes: usize) -> Result<usize> {
        let start = self.window.len();
        self.window.resize(start + bytes, 0);
        let read = loop {
            match self.reader.read(&mut self.window[start..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.window.truncate(start + read.as_ref().copied().unwrap_or(0));
        read.map_err(|error| Error::io("live source", &error))
    }

    fn ended(&self, wanted: usize) -> Error {
        let place = format!("live source, after byte {}", self.position);
        Error::new(ErrorKind::Malformed, place, format!("ended; expected {wanted} more bytes"))
    }
}
