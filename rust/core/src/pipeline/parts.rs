//! Bytes that lie in memory in parts: a member of which some is there and some is not yet.

use crate::error::{Error, ErrorKind, Result};
use crate::store::ReadAt;
use std::sync::atomic::{AtomicBool, Ordering};

/// More of them are not collected: a hostile plan may have one a byte.
pub(super) const PARTS_MAX: usize = 65_536;

pub(super) struct Parts<'a> {
    byte_count: u64,
    /// Offsets and bytes, in order, none empty.
    parts: Vec<(u64, &'a [u8])>,
    is_missed: AtomicBool,
}

impl<'a> Parts<'a> {
    pub fn new(byte_count: u64, mut parts: Vec<(u64, &'a [u8])>) -> Self {
        parts.retain(|(_, bytes)| !bytes.is_empty());
        parts.sort_unstable_by_key(|(offset, _)| *offset);
        Self { byte_count, parts, is_missed: AtomicBool::new(false) }
    }

    /// What `look` finds; `None` when it asked for bytes that are not there, so that its finding means nothing.
    pub fn look<T>(&self, look: impl Fn(&dyn ReadAt) -> Result<T>) -> Option<Result<T>> {
        let found = look(self);
        (!self.is_missed.load(Ordering::Relaxed)).then_some(found)
    }

    fn at(&self, offset: u64) -> Option<&'a [u8]> {
        let number = self.parts.partition_point(|(start, _)| *start <= offset).checked_sub(1)?;
        let (start, bytes) = self.parts.get(number)?;
        bytes.get(usize::try_from(offset - start).ok()?..).filter(|rest| !rest.is_empty())
    }
}

impl ReadAt for Parts<'_> {
    fn byte_count(&self) -> u64 {
        self.byte_count
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let (mut offset, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let Some(part) = self.at(offset) else {
                self.is_missed.store(true, Ordering::Relaxed);
                let detail = "is not decoded yet; please report this";
                return Err(Error::new(ErrorKind::InvalidArgument, format!("byte {offset}"), detail));
            };
            let (head, tail) = rest.split_at_mut(part.len().min(rest.len()));
            head.copy_from_slice(&part[..head.len()]);
            offset += head.len() as u64;
            rest = tail;
        }
        Ok(())
    }

    fn lend(&self, offset: u64) -> Option<&[u8]> {
        self.at(offset)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::split::{check_faiss, check_hnswlib};
    use crate::testing::Random;
    use crate::testing::files::indexes;

    #[test]
    fn a_check_goes_across_seams_and_tells_what_is_missing() {
        let mut random = Random(6);
        let file = |name: &str| std::fs::read(indexes().join(name)).unwrap();
        let files = ["hnsw_flat_12.faiss", "idmap2_hnsw.faiss", "ivf_flat_12.faiss", "hnswlib_12_of_20.hnsw"].map(file);
        for (number, file) in files.into_iter().enumerate() {
            let check = if number == 3 { check_hnswlib } else { check_faiss };
            let expected = check(&file).unwrap();
            for widest in [1, 3, 40, 700] {
                let mut parts = Vec::new();
                let (mut offset, mut rest) = (0, file.as_slice());
                while !rest.is_empty() {
                    let length = usize::try_from(1 + random.below(widest)).unwrap().min(rest.len());
                    let (head, tail) = rest.split_at(length);
                    parts.push((offset, head));
                    (offset, rest) = (offset + length as u64, tail);
                }
                parts.reverse();
                let whole = Parts::new(file.len() as u64, parts.clone());
                assert_eq!(whole.look(check).unwrap().unwrap(), expected);
                parts.pop();
                assert!(Parts::new(file.len() as u64, parts).look(check).is_none());
            }
        }
    }
}
