//! Local files as sources: positioned reads, and whether the file is still the one that was opened.

use super::ReadAt;
use crate::error::{Error, ErrorKind, Result};
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// An open regular file. Reads by position, so threads share it and a file that shrinks gives an error, not a signal.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    path: PathBuf,
    state: FileState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl FileSource {
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `Io`; `InvalidArgument` when the path is not a regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        // Before opening: a FIFO would block, a device would do worse.
        let metadata = std::fs::metadata(path).map_err(|error| Error::io(&place, &error))?;
        if !metadata.is_file() {
            let found = if metadata.is_dir() { "a folder" } else { "a device, socket or pipe" };
            let detail = format!("is {found}; expected a regular file");
            return Err(Error::new(ErrorKind::InvalidArgument, place, detail));
        }
        let file = File::open(path).map_err(|error| Error::io(&place, &error))?;
        let metadata = file.metadata().map_err(|error| Error::io(&place, &error))?;
        Ok(Self { file, path: path.to_owned(), state: FileState::of(&metadata) })
    }

    /// What changed since `open`, at the path and in the open file; `None` when nothing did.
    pub fn change(&self) -> Option<String> {
        let here = self.file.metadata().map(|metadata| FileState::of(&metadata));
        let there = std::fs::metadata(&self.path).map(|metadata| FileState::of(&metadata));
        let (Ok(here), Ok(there)) = (here, there) else { return Some("it was removed while it was read".to_owned()) };
        if (there.device, there.inode) != (self.state.device, self.state.inode) {
            return Some("another file took its name while it was read".to_owned());
        }
        let state = if here == self.state { there } else { here };
        if state.bytes != self.state.bytes {
            return Some(format!("it had {} bytes, now {}, while it was read", self.state.bytes, state.bytes));
        }
        (state.modified != self.state.modified).then(|| "it was written while it was read".to_owned())
    }
}

impl FileState {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl ReadAt for FileSource {
    fn byte_count(&self) -> u64 {
        self.state.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|error| {
            let place = format!("{}, bytes {offset} and {} on", self.path.display(), buffer.len());
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                return Error::new(ErrorKind::SourceChanged, place, "the file has become shorter while it was read");
            }
            Error::io(place, &error)
        })
    }
}

/// Several sources seen as one, end to end.
pub struct Parts {
    parts: Vec<(u64, Box<dyn ReadAt>)>,
    bytes: u64,
}

impl Parts {
    pub fn new(sources: Vec<Box<dyn ReadAt>>) -> Self {
        let mut bytes = 0u64;
        let mut parts = Vec::with_capacity(sources.len());
        for source in sources {
            let start = bytes;
            bytes = bytes.saturating_add(source.byte_count());
            parts.push((start, source));
        }
        Self { parts, bytes }
    }
}

impl ReadAt for Parts {
    fn byte_count(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let mut at = offset;
        let mut rest = buffer;
        let mut part = self.parts.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        while !rest.is_empty() {
            let Some((start, source)) = self.parts.get(part) else {
                return [].as_slice().read_at(at, rest);
            };
            let inside = at - start;
            let room = source.byte_count().saturating_sub(inside).min(rest.len() as u64);
            let room = crate::error::to_usize(room, "part")?;
            let (head, tail) = rest.split_at_mut(room);
            if !head.is_empty() {
                source.read_at(inside, head)?;
            }
            at += head.len() as u64;
            rest = tail;
            part += 1;
        }
        Ok(())
    }

    /// What has several copies is one part.
    fn read_elsewhere(&self, copy: usize, offset: u64, buffer: &mut [u8]) -> Option<Result<()>> {
        let [(_, source)] = self.parts.as_slice() else { return None };
        source.read_elsewhere(copy, offset, buffer)
    }
}
