//! The digest of a whole member, when it was asked for.

use super::packer::Packer;
use crate::error::{Result, to_usize};
use crate::store::ReadAt;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

/// A pipe whose bytes are hashed as they come.
pub(super) struct Hashed {
    pub reader: Box<dyn Read + Send>,
    pub hasher: Arc<Mutex<blake3::Hasher>>,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.hasher.lock().unwrap_or_else(PoisonError::into_inner).update(&buffer[..read]);
        Ok(read)
    }
}

/// Reads all of it again, so progress is asked on the way: it may take as long as the backup itself.
pub(super) fn whole_digest(packer: &mut Packer<'_>, source: &dyn ReadAt) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut window = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < source.byte_count() {
        let bytes = to_usize((source.byte_count() - offset).min(window.len() as u64), "window")?;
        source.read_at(offset, &mut window[..bytes])?;
        hasher.update(&window[..bytes]);
        offset += bytes as u64;
        packer.report_progress(0)?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}
