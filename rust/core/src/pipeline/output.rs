//! Where an archive is written to, and whether it can be begun anew there.

use super::packer::Sink;
use crate::error::{Error, ErrorKind, Result};
use crate::store::growing::GrowingFile;
use crate::store::target::FileTarget;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

pub enum Output {
    Path {
        path: PathBuf,
        replace: bool,
        sync: bool,
    },
    Pipe(Box<dyn Write + Send>),
    /// An empty file that somebody else makes durable and gives its name.
    File(File),
}

/// A sink that may be emptied when a source changed while it was read.
pub trait Restart: Sink {
    /// # Errors
    /// `SourceChanged` where what was written cannot be taken back; those of the system.
    fn restart(&mut self) -> Result<()>;

    fn can_restart(&self) -> bool {
        true
    }
}

impl Output {
    /// An open descriptor: an empty regular file may be begun anew, everything else is written once.
    pub fn descriptor(file: File) -> Self {
        use std::io::Seek;
        let is_empty_file = file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0);
        let is_at_start = (&file).stream_position().is_ok_and(|position| position == 0);
        if is_empty_file && is_at_start { Self::File(file) } else { Self::Pipe(Box::new(file)) }
    }

    /// Calls `write` with the sink; what was written gets its name when that succeeds.
    ///
    /// # Errors
    /// Those of `write`, of the sink and of publishing.
    pub fn with<T>(self, write: impl FnOnce(&mut dyn Restart) -> Result<T>) -> Result<T> {
        match self {
            Self::Path { path, replace, sync } => {
                let mut target = FileTarget::create(&path, replace, sync)?;
                let done = write(&mut target)?;
                target.commit()?;
                Ok(done)
            }
            Self::Pipe(writer) => {
                let mut sink = PipeSink(writer);
                let done = write(&mut sink)?;
                sink.0.flush().map_err(|error| Error::io("output", &error))?;
                Ok(done)
            }
            Self::File(file) => {
                let mut target = GrowingFile::new(file, "target", true);
                let done = write(&mut target)?;
                target.finish()?;
                Ok(done)
            }
        }
    }
}

impl Sink for FileTarget {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes)
    }
}

impl Restart for FileTarget {
    fn restart(&mut self) -> Result<()> {
        self.rewind()
    }
}

impl Sink for GrowingFile {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes)
    }
}

impl Restart for GrowingFile {
    fn restart(&mut self) -> Result<()> {
        self.rewind()
    }
}

struct PipeSink(Box<dyn Write + Send>);

impl Sink for PipeSink {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).map_err(|error| Error::io("output", &error))
    }
}

impl Restart for PipeSink {
    fn restart(&mut self) -> Result<()> {
        Err(Error::new(ErrorKind::SourceChanged, "output", "a pipe cannot be written again after the source changed"))
    }

    fn can_restart(&self) -> bool {
        false
    }
}
