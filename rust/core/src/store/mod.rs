//! Where bytes lie. Everything above asks for ranges through `ReadAt`; only this room touches files.

pub mod counted;
pub mod file;
pub mod growing;
pub mod pipe;
pub mod resumed;
pub mod target;

use crate::error::Result;

/// Positioned reads of something whose length is known. Shared by threads.
pub trait ReadAt: Send + Sync {
    /// Length in bytes.
    fn byte_count(&self) -> u64;

    /// Fills `buffer` from `offset`; a range that runs past the end is an error, never a short read.
    ///
    /// # Errors
    /// `Io` and friends; `SourceChanged` when the thing has become shorter.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
}

impl ReadAt for [u8] {
    fn byte_count(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let range = usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(buffer.len())?));
        match range.and_then(|range| self.get(range)) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(crate::error::Error::new(
                crate::error::ErrorKind::SourceChanged,
                format!("bytes {offset} to {}", offset.saturating_add(buffer.len() as u64)),
                format!("expected them inside {} bytes", self.len()),
            )),
        }
    }
}

impl ReadAt for &[u8] {
    fn byte_count(&self) -> u64 {
        (**self).byte_count()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        (**self).read_at(offset, buffer)
    }
}

impl ReadAt for std::sync::Arc<dyn ReadAt> {
    fn byte_count(&self) -> u64 {
        (**self).byte_count()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        (**self).read_at(offset, buffer)
    }
}

impl ReadAt for Vec<u8> {
    fn byte_count(&self) -> u64 {
        self.as_slice().byte_count()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.as_slice().read_at(offset, buffer)
    }
}
