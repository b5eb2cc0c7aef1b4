//! A file that is written from front to back: space is reserved ahead, and the disk begins while it is written.

use crate::error::{Error, ErrorKind, Result};
use crate::sys;
use std::fs::File;
use std::io::{Seek, Write};

#[derive(Debug)]
pub struct GrowingFile {
    file: File,
    place: String,
    /// The caller will sync it.
    sync: bool,
    written: u64,
    reserved: u64,
    written_back: u64,
}

/// Space is reserved ahead in such steps: growing a file block by block costs a third more.
const RESERVED_BYTES: u64 = 64 << 20;
/// Write-back is started for so much at once.
const WRITTEN_BACK_BYTES: u64 = 4 << 20;

impl GrowingFile {
    /// An empty file. `place`: its name in messages.
    pub fn new(file: File, place: impl Into<String>, sync: bool) -> Self {
        Self { file, place: place.into(), sync, written: 0, reserved: 0, written_back: 0 }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn fault(&self, error: &std::io::Error) -> Error {
        Error::io(&self.place, error)
    }

    /// Starts over: the file is empty again.
    ///
    /// # Errors
    /// Those of the system.
    pub fn rewind(&mut self) -> Result<()> {
        (self.written, self.reserved, self.written_back) = (0, 0, 0);
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|error| self.fault(&error))
    }

    /// Reserves space, so that a full disk is found before the work is done. File systems that cannot are let be.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn reserve(&self, bytes: u64) -> Result<()> {
        self.reserve_range(0, bytes, rustix::fs::FallocateFlags::empty())
    }

    fn reserve_range(&self, offset: u64, bytes: u64, flags: rustix::fs::FallocateFlags) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, flags, offset, bytes) {
            Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT | rustix::io::Errno::FBIG) => Err(Error::new(
                ErrorKind::NoSpace,
                &self.place,
                format!("there is no room for {bytes} more bytes; free some space or choose another folder"),
            )),
            _ => Ok(()),
        }
    }

    /// One after another.
    ///
    /// # Errors
    /// `NoSpace` and those of the system.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.written + bytes.len() as u64;
        if end > self.reserved && end > WRITTEN_BACK_BYTES {
            // A nearly full disk has no room for a whole step, though it may have for the rest of the file.
            let step = (end - self.reserved).max(RESERVED_BYTES);
            let _ = self.reserve_range(self.reserved, step, rustix::fs::FallocateFlags::KEEP_SIZE);
            self.reserved += step;
        }
        self.file.write_all(bytes).map_err(|error| self.fault(&error))?;
        self.written = end;
        if self.sync && end - self.written_back >= WRITTEN_BACK_BYTES {
            sys::start_writing_back(&self.file, self.written_back, end - self.written_back);
            self.written_back = end;
        }
        Ok(())
    }

    /// Gives back what was reserved past the end.
    ///
    /// # Errors
    /// Those of the system.
    pub fn finish(&mut self) -> Result<()> {
        if self.reserved > self.written {
            self.file.set_len(self.written).map_err(|error| self.fault(&error))?;
            self.reserved = self.written;
        }
        Ok(())
    }
}
