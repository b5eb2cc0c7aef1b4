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

    /// The bytes from `offset` on, as far as they lie in memory in one piece: for who looks at them without a copy. `None` for
    /// what is not in memory, and past the end.
    fn lend(&self, _offset: u64) -> Option<&[u8]> {
        None
    }

    /// Fills `buffer` with the same range of another copy of the thing, by its number from 0; `None` when there are no more.
    /// For whoever found that what `read_at` gave is not what it has to be.
    fn read_elsewhere(&self, _copy: usize, _offset: u64, _buffer: &mut [u8]) -> Option<Result<()>> {
        None
    }
}

/// Reads a range that `check` knows, from another copy where the first does not have it.
///
/// # Errors
/// Those of reading the first copy, or of `check` on what it gave.
pub fn read_checked(
    source: &dyn ReadAt,
    offset: u64,
    buffer: &mut [u8],
    check: impl Fn(&[u8]) -> Result<()>,
) -> Result<()> {
    let Err(error) = source.read_at(offset, buffer).and_then(|()| check(buffer)) else { return Ok(()) };
    let mut copy = 0;
    while let Some(read) = source.read_elsewhere(copy, offset, buffer) {
        if read.and_then(|()| check(buffer)).is_ok() {
            return Ok(());
        }
        copy += 1;
    }
    Err(error)
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

    fn lend(&self, offset: u64) -> Option<&[u8]> {
        self.get(usize::try_from(offset).ok()?..)
    }
}

impl ReadAt for &[u8] {
    fn byte_count(&self) -> u64 {
        (**self).byte_count()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        (**self).read_at(offset, buffer)
    }

    fn lend(&self, offset: u64) -> Option<&[u8]> {
        (**self).lend(offset)
    }
}

impl ReadAt for std::sync::Arc<dyn ReadAt> {
    fn byte_count(&self) -> u64 {
        (**self).byte_count()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        (**self).read_at(offset, buffer)
    }

    fn read_elsewhere(&self, copy: usize, offset: u64, buffer: &mut [u8]) -> Option<Result<()>> {
        (**self).read_elsewhere(copy, offset, buffer)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::error::{Error, ErrorKind};

    /// Copies of four bytes, some of them with others.
    struct Copies(Vec<[u8; 4]>);

    impl ReadAt for Copies {
        fn byte_count(&self) -> u64 {
            4
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
            self.0[0][..].read_at(offset, buffer)
        }

        fn read_elsewhere(&self, copy: usize, offset: u64, buffer: &mut [u8]) -> Option<Result<()>> {
            self.0.get(copy + 1).map(|bytes| bytes[..].read_at(offset, buffer))
        }
    }

    #[test]
    fn the_first_copy_that_is_right_is_taken_and_else_the_fault_of_the_first_is_told() {
        let check = |bytes: &[u8]| match bytes {
            [1, 2] => Ok(()),
            other => Err(Error::new(ErrorKind::Io, "here", format!("{other:?}"))),
        };
        let read = |copies: &[[u8; 4]]| {
            let mut buffer = [0; 2];
            let source: std::sync::Arc<dyn ReadAt> = std::sync::Arc::new(Copies(copies.to_vec()));
            read_checked(&source, 1, &mut buffer, check).map(|()| buffer)
        };
        assert_eq!(read(&[[0, 1, 2, 3]]).unwrap(), [1, 2]);
        assert_eq!(read(&[[0, 9, 2, 3], [0, 1, 8, 3], [7, 1, 2, 7]]).unwrap(), [1, 2]);
        assert!(read(&[[0, 9, 2, 3], [0, 1, 8, 3]]).unwrap_err().to_string().contains("[9, 2]"));
        assert!(read(&[[0, 9, 2, 3]]).is_err());
    }
}
