//! Chunks that the next delta is compared with, kept on this machine (spec/CACHE.md): reading one takes a fraction of decoding
//! the base's.
//!
//! Nothing in the cache is believed. Its rows are used only where their BLAKE3 is the one that the base's index has, so a
//! delta has the same bytes with and without it, whatever the files say. What fails is forgotten and costs time alone.

mod file;
#[cfg(test)]
mod tests;

use super::delta::compare::Changes;
use crate::archive::Sealing;
use crate::digest;
use crate::error::{Error, Result};
use crate::seal::{Purpose, Secret, Suite, derive};
use crate::stream::StreamRole;
pub(super) use file::open_regular;
use file::{Content, Files, Name};
use serde::Serialize;
use std::collections::HashSet;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Patches on one another; then the chunk is written whole, as it is when they have more bytes than it has.
const PATCHES_MAX: usize = 16;
/// Shorter chunks are decoded before a file is opened.
const CHUNK_BYTES_MIN: usize = 65_536;
/// Who was interrupted leaves a temporary file; younger ones may be another's who is at work.
const TEMPORARY_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The key of a repository's cache: KDF `cache` (spec/CRYPTO.md, section 3).
pub struct CacheKey {
    pub key: Secret,
    pub suite: Suite,
    pub repository: [u8; 16],
}

impl CacheKey {
    /// Of what is written with these keys of a repository: whoever can read all of it can open the cache. `None` for a single
    /// archive, which has none.
    pub fn of_repository(sealing: &Sealing, fingerprint_key: [u8; 32]) -> Option<Self> {
        let Sealing { suite, repository, .. } = *sealing;
        let mut bytes = fingerprint_key;
        let key = derive(&Secret::take(&mut bytes), &[], Purpose::Cache, &repository);
        (repository != [0; 16]).then_some(Self { key, suite, repository })
    }
}

impl CacheKey {
    /// BLAKE3, keyed with KDF `name` of the key: names that tell nothing, and proofs of what stands under them.
    pub fn tag(&self, data: &[u8]) -> [u8; 32] {
        let key = derive(&self.key, &[], Purpose::Name, &[]);
        *blake3::keyed_hash(key.expose(), data).as_bytes()
    }
}

/// A folder of chunks. Any number of processes may use it at once.
pub struct ChunkCache {
    files: Files,
    /// For all files together.
    bytes_max: u64,
    run: Mutex<Run>,
}

/// What this backup has seen of the cache.
#[derive(Default)]
struct Run {
    tally: CacheTally,
    /// Chunks of the archive that is written: the next delta looks for them.
    wanted: HashSet<[u8; 32]>,
    /// Chunks that only the base had.
    outdated: HashSet<[u8; 32]>,
    /// Bytes of chunks that were to be kept.
    bytes: u64,
}

/// Chunks that came out of the cache, and those that went into it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CacheTally {
    pub chunks_read: u64,
    pub chunks_written: u64,
}

/// A chunk as another one with some rows changed.
pub struct Patch {
    /// Digest of the other chunk, and its bytes: it may be shorter.
    pub base: [u8; 32],
    pub base_bytes: u64,
    /// All rows past the end of the other chunk are among them.
    pub changes: Arc<Changes>,
}

impl Patch {
    fn bytes(&self) -> u64 {
        (self.changes.rows.len() + file::PLACE_BYTES * self.changes.places.len()) as u64
    }
}

impl ChunkCache {
    /// Makes the folder where there is none, for its owner alone. With a key all rows are sealed, and names tell nothing.
    ///
    /// # Errors
    /// Those of making the folder.
    pub fn open(folder: &Path, key: Option<CacheKey>, bytes_max: u64) -> Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| Error::io(folder.display().to_string(), &error))?;
        Ok(Self { files: Files::new(folder, key), bytes_max, run: Mutex::default() })
    }

    pub fn is_sealed(&self) -> bool {
        self.files.is_sealed()
    }

    pub fn tally(&self) -> CacheTally {
        self.run().tally
    }

    /// Whether such chunks are kept: those of other roles are read from the archive as fast as from here.
    pub(super) fn keeps(role: StreamRole, chunk_bytes: usize) -> bool {
        role == StreamRole::LINKS && chunk_bytes >= CHUNK_BYTES_MIN
    }

    /// The rows with this digest into `out`, which has their length; false when they cannot be had, and `out` means nothing.
    pub(super) fn read(&self, digest: &[u8; 32], out: &mut [u8]) -> bool {
        let name = self.files.name(digest);
        let Some(chain) = self.chain(name, out.len() as u64) else { return false };
        let mut is_read = true;
        for (file, header) in chain.iter().rev() {
            is_read = is_read && self.files.read_content(file, header, out).is_ok();
        }
        if !is_read || digest::blake3(out) != *digest {
            // Whichever of them lies: all will be written anew.
            chain.iter().for_each(|(_, header)| self.files.remove(&header.name));
            return false;
        }
        // The oldest go first when there is no room; who may not say the time loses that only.
        chain.iter().for_each(|(file, _)| drop(file.set_modified(SystemTime::now())));
        self.run().tally.chunks_read += 1;
        true
    }

    /// Keeps rows for whoever is compared with them, as far as that can be done: as a patch where that is short.
    pub(super) fn write(&self, digest: &[u8; 32], rows: &[u8], patch: Option<&Patch>) {
        let name = self.files.name(digest);
        let is_there = self.chain(name, rows.len() as u64).is_some();
        if !self.has_room(rows.len() as u64) || is_there {
            return;
        }
        let patch = patch.filter(|patch| self.is_worth_it(patch, rows.len() as u64));
        let content = match patch {
            None => Content::Whole(rows),
            Some(patch) => Content::Patch(patch, self.files.name(&patch.base)),
        };
        // Full or read-only: the next backup decodes the base's chunk.
        if self.files.write(name, rows.len() as u64, &content).is_ok() {
            self.run().tally.chunks_written += 1;
        }
    }

    /// The archive that is written has this chunk.
    pub(super) fn want(&self, digest: &[u8; 32]) {
        self.run().wanted.insert(*digest);
    }

    /// The base has this chunk; the archive that is written may not.
    pub(super) fn outdate(&self, digest: &[u8; 32]) {
        self.run().outdated.insert(*digest);
    }

    /// Removes what nobody will look for, then the oldest until the rest fits.
    pub(super) fn tidy(&self) {
        let names = |digests: &HashSet<[u8; 32]>| -> HashSet<Name> {
            digests.iter().flat_map(|digest| self.files.names_below(self.files.name(digest), PATCHES_MAX)).collect()
        };
        let (wanted, outdated) = {
            let run = self.run();
            (names(&run.wanted), names(&run.outdated))
        };
        outdated.difference(&wanted).for_each(|name| self.files.remove(name));
        let mut files = self.files.list();
        files.sort_unstable_by_key(|file| file.modified);
        let mut total = files.iter().map(|file| file.bytes).fold(0, u64::saturating_add);
        let now = SystemTime::now();
        for file in files {
            let age = now.duration_since(file.modified).unwrap_or_default();
            if file.is_temporary && age > TEMPORARY_AGE || !file.is_temporary && total > self.bytes_max {
                total -= file.bytes;
                drop(std::fs::remove_file(file.path));
            }
        }
    }

    /// The file of a chunk of so many bytes and those that it is a patch on, down to a whole one.
    fn chain(&self, name: Name, row_bytes: u64) -> Option<Vec<(std::fs::File, file::Header)>> {
        let (mut chain, mut next, mut expected) = (Vec::new(), name, row_bytes);
        for _ in 0..=PATCHES_MAX {
            let (file, header) = self.files.open(next, expected)?;
            let base = header.base();
            chain.push((file, header));
            match base {
                None => return Some(chain),
                Some((base, base_bytes)) => (next, expected) = (base, base_bytes),
            }
        }
        None
    }

    fn is_worth_it(&self, patch: &Patch, row_bytes: u64) -> bool {
        let Some(chain) = self.chain(self.files.name(&patch.base), patch.base_bytes) else { return false };
        let patches = chain.iter().map(|(_, header)| header.patch_bytes()).fold(0, u64::saturating_add);
        chain.len() < PATCHES_MAX && patches.saturating_add(patch.bytes()) <= row_bytes
    }

    /// Whether rows may be kept. Of what is too much the first chunks are: were the last ones, the next backup would look for
    /// the first, and find none of them in the end. The other half is for what links are coded against.
    fn has_room(&self, row_bytes: u64) -> bool {
        let mut run = self.run();
        let has_room = run.bytes.saturating_add(row_bytes) <= self.bytes_max / 2;
        run.bytes += if has_room { row_bytes } else { 0 };
        has_room
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file of the folder.
struct Listed {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
    is_temporary: bool,
}
