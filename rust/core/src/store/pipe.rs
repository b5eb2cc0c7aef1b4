//! A source that comes once, from front to back: a pipe that a live index is saved into.

use crate::error::{Error, ErrorKind, Result};
use std::io::Read;

/// A reader with a window that can be looked into before it is taken.
pub struct PipeSource {
    reader: Box<dyn Read + Send>,
    /// `window[start..end]` was read from the pipe and not taken yet; its first byte is at `position`.
    window: Vec<u8>,
    start: usize,
    end: usize,
    position: u64,
}

/// A pipe of Linux holds 64 KiB to 1 MiB.
const READ_BYTES: usize = 1 << 20;

impl PipeSource {
    pub fn new(reader: Box<dyn Read + Send>) -> Self {
        Self { reader, window: Vec::new(), start: 0, end: 0, position: 0 }
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
        let wanted = ahead.checked_add(bytes).ok_or_else(|| self.ended(bytes))?;
        while self.end - self.start < wanted {
            if self.fill()? == 0 {
                return Err(self.ended(wanted - (self.end - self.start)));
            }
        }
        let from = self.start + ahead;
        Ok(&self.window[from..from + bytes])
    }

    /// Fills `buffer` and moves on.
    ///
    /// # Errors
    /// `Malformed` when the pipe ends before.
    pub fn take(&mut self, buffer: &mut [u8]) -> Result<()> {
        let kept = (self.end - self.start).min(buffer.len());
        let (head, rest) = buffer.split_at_mut(kept);
        head.copy_from_slice(&self.window[self.start..self.start + kept]);
        self.start += kept;
        let wanted = rest.len();
        // Large rows go straight to the caller's buffer.
        self.reader.read_exact(rest).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.ended(wanted),
            _ => Error::io("live source", &error),
        })?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    /// Takes exactly `bytes` bytes; memory grows with what has come, not with what was asked for.
    ///
    /// # Errors
    /// `Malformed` when the pipe ends before.
    pub fn take_exactly(&mut self, bytes: usize) -> Result<Vec<u8>> {
        let mut taken = Vec::new();
        while taken.len() < bytes {
            let at = taken.len();
            taken.resize(bytes.min(at + at.max(READ_BYTES)), 0);
            self.take(&mut taken[at..])?;
        }
        Ok(taken)
    }

    /// Takes what comes next, up to `bytes`; empty at the end.
    ///
    /// # Errors
    /// Those of reading.
    pub fn take_some(&mut self, bytes: usize, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.clear();
        while buffer.len() < bytes && (self.start < self.end || self.fill()? > 0) {
            let here = (self.end - self.start).min(bytes - buffer.len());
            buffer.extend_from_slice(&self.window[self.start..self.start + here]);
            self.start += here;
        }
        self.position += buffer.len() as u64;
        Ok(())
    }

    /// # Errors
    /// Those of reading.
    pub fn at_end(&mut self) -> Result<bool> {
        Ok(self.start == self.end && self.fill()? == 0)
    }

    /// One read of the pipe behind what is held.
    fn fill(&mut self) -> Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.window.len() {
            if self.start > 0 {
                self.window.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            // Twice what is held: looking far ahead then moves each byte a few times only.
            let room = self.window.len().max(self.end.saturating_mul(2)).max(READ_BYTES);
            self.window.resize(room, 0);
        }
        let read = loop {
            match self.reader.read(&mut self.window[self.end..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let read = read.map_err(|error| Error::io("live source", &error))?;
        self.end += read;
        Ok(read)
    }

    fn ended(&self, wanted: usize) -> Error {
        let place = format!("live source, after byte {}", self.position);
        Error::new(ErrorKind::Malformed, place, format!("ended; expected {wanted} more bytes"))
    }
}
