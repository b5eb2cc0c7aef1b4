//! Which ids are to be erased, told by keyed hashes: whoever has the list learns no id from it without the key.

use crate::error::{Error, ErrorKind, Result};
use std::collections::HashSet;

/// Bytes of the hash of an id.
pub const HASH_BYTES: usize = 16;

/// The hash of an id: the first bytes of its BLAKE3 under a key. An id counts as the unsigned number of its bits (spec 8.3).
pub fn hash_of(key: &[u8; 32], id: u64) -> [u8; HASH_BYTES] {
    let full = blake3::keyed_hash(key, &id.to_le_bytes());
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(&full.as_bytes()[..HASH_BYTES]);
    hash
}

/// Ids that are looked for, under one key each list.
#[derive(Clone, Default)]
pub struct Wanted {
    lists: Vec<([u8; 32], HashSet<[u8; HASH_BYTES]>)>,
}

impl Wanted {
    /// Adds a list: hashes one after another.
    ///
    /// # Errors
    /// `InvalidArgument` for bytes that are no whole hashes.
    pub fn add(&mut self, key: [u8; 32], hashes: &[u8]) -> Result<()> {
        let (whole, rest) = hashes.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() {
            let detail = format!("{} bytes; expected hashes of {HASH_BYTES}", hashes.len());
            return Err(Error::new(ErrorKind::InvalidArgument, "hashes of ids", detail));
        }
        self.lists.push((key, whole.iter().copied().collect()));
        Ok(())
    }

    /// The number of the list and the hash by which an id is wanted.
    pub fn find(&self, id: u64) -> Option<(usize, [u8; HASH_BYTES])> {
        self.lists.iter().enumerate().find_map(|(number, (key, hashes))| {
            let hash = hash_of(key, id);
            hashes.contains(&hash).then_some((number, hash))
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_id_is_found_under_its_key_only() {
        let keys = [[1; 32], [2; 32]];
        let mut wanted = Wanted::default();
        wanted.add(keys[0], &hash_of(&keys[0], 7)).unwrap();
        wanted.add(keys[1], &[hash_of(&keys[1], 8), hash_of(&keys[0], 9)].concat()).unwrap();
        assert_eq!(wanted.find(7).map(|(list, _)| list), Some(0));
        assert_eq!(wanted.find(8), Some((1, hash_of(&keys[1], 8))));
        assert_eq!(wanted.find(9), None);
        assert!(wanted.add(keys[0], &[0; 17]).is_err());
    }
}
