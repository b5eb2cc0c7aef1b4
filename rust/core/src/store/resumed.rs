//! A target that an interrupted run has begun and the next one goes on with. What is written so far lies in a folder
//! beside the target, for its owner alone, with a journal of checksums; nothing of it is believed before it was read back.
//!
//! ```text
//! .NAME.KEY.vark-part/     0700; KEY tells what is written: another archive, or other members, have another folder
//!     lock                 held by the run that works on it
//!     journal              magic, key, then a record for each range that is written
//!     content              the file, or the folder, that gets the target's name at the end
//! ```

use super::target::{folder_of, shown_name};
use crate::digest::{crc64, crc64_combine};
use crate::error::{Error, Result};
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const MAGIC: &[u8; 8] = b"VARKPART";
const SUFFIX: &str = "vark-part";
const HEAD_BYTES: usize = 40;
const RECORD_BYTES: usize = 40;
/// Records side by side become one of at most so many bytes: memory does not grow with the target.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
const READ_BACK_BYTES: usize = 1 << 20;

/// Bytes of a member that were written. crc: of them.
#[derive(Debug, Clone, Copy)]
struct Segment {
    bytes: u64,
    crc: u64,
}

type Segments = BTreeMap<(u32, u64), Segment>;

#[derive(Debug)]
pub struct ResumedTarget {
    folder: PathBuf,
    journal: Mutex<File>,
    lock: File,
    segments: Segments,
}

/// The ranges of a member that were read back, ascending, not touching.
#[derive(Debug, Default)]
pub struct Verified(Vec<(u64, u64)>);

impl Verified {
    /// Whether these bytes were read back: they need not be written again.
    pub fn has(&self, offset: u64, bytes: u64) -> bool {
        let after = self.0.partition_point(|(start, _)| *start <= offset);
        after > 0 && offset.checked_add(bytes).is_some_and(|end| end <= self.0[after - 1].1)
    }
}

impl ResumedTarget {
    /// Opens what an interrupted run has left for `path`, or begins anew. `None` when another run works on it, or when the
    /// folder is not this user's alone: then the caller does without.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(path: &Path, key: [u8; 32]) -> Result<Option<Self>> {
        let folder = part_folder(path, &key)?;
        let made = DirBuilder::new().mode(0o700).create(&folder);
        if let Err(error) = made
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(Error::io(folder_of(path).display().to_string(), &error));
        }
        let Some(lock) = locked(&folder)? else { return Ok(None) };
        let fault = |error: &std::io::Error| Error::io(folder.display().to_string(), error);
        let segments = read_journal(&folder.join("journal"), &key).map_err(|error| fault(&error))?;
        let journal = new_journal(&folder, &key, &segments).map_err(|error| fault(&error))?;
        Ok(Some(Self { folder, journal: Mutex::new(journal), lock, segments }))
    }

    /// Where the file or folder is built.
    pub fn content(&self) -> PathBuf {
        self.folder.join("content")
    }

    /// Whether neither an earlier run nor this one has written anything.
    pub fn is_empty(&self) -> bool {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.metadata().is_ok_and(|metadata| metadata.len() <= HEAD_BYTES as u64)
    }

    /// Bytes that the disk has given already.
    pub fn reserved_bytes(&self) -> u64 {
        let mut found = 0u64;
        let mut places = vec![self.content()];
        while let Some(place) = places.pop() {
            let Ok(metadata) = place.symlink_metadata() else { continue };
            if metadata.is_dir() {
                places.extend(std::fs::read_dir(&place).into_iter().flatten().flatten().map(|entry| entry.path()));
            } else {
                found = found.saturating_add(metadata.blocks().saturating_mul(512));
            }
        }
        found
    }

    /// Reads back what the journal says of a member; `file` has its bytes. What differs is not among what is returned.
    ///
    /// # Errors
    /// Those of `beat`, which is told how many bytes were read.
    pub fn verify(&self, member: u32, file: &File, beat: &mut dyn FnMut(u64) -> Result<()>) -> Result<Verified> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut done = 0;
        let mut window = vec![0; READ_BACK_BYTES];
        for (&(_, start), segment) in self.segments.range((member, 0)..=(member, u64::MAX)) {
            let Some(end) = start.checked_add(segment.bytes) else { continue };
            let mut crc = 0;
            let mut offset = start;
            while offset < end {
                let take = usize::try_from(end - offset).unwrap_or(usize::MAX).min(window.len());
                if file.read_exact_at(&mut window[..take], offset).is_err() {
                    break; // shorter than it was: a crash, and a file system that had not got so far
                }
                crc = crc64_combine(crc, crc64(&window[..take]), take as u64);
                offset += take as u64;
            }
            if offset == end && crc == segment.crc {
                match ranges.last_mut() {
                    Some(last) if last.1 >= start => last.1 = last.1.max(end),
                    _ => ranges.push((start, end)),
                }
            }
            done += segment.bytes;
            beat(done)?;
        }
        Ok(Verified(ranges))
    }

    /// Notes that these bytes are written.
    ///
    /// # Errors
    /// Those of the system.
    pub fn record(&self, member: u32, offset: u64, bytes: &[u8]) -> Result<()> {
        let record = record_of(member, offset, Segment { bytes: bytes.len() as u64, crc: crc64(bytes) });
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        // One call: whatever happens in between, the file ends with whole records or a torn one.
        journal.write_all(&record).map_err(|error| Error::io(self.folder.display().to_string(), &error))
    }

    /// Removes all of it: the content has its name, or is not worth going on with.
    pub fn remove(&self) {
        // What cannot be removed tells by its name whose leftover it is.
        let _ = std::fs::remove_dir_all(&self.folder);
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Removes what interrupted runs have left for `path` and nobody works on: of other archives, now that it is there.
pub fn remove_others(path: &Path) {
    let Ok(shown) = shown_name(path) else { return };
    let begin = format!(".{shown}.");
    let Ok(entries) = std::fs::read_dir(folder_of(path)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let key = name.strip_prefix(&begin).and_then(|rest| rest.strip_suffix(&format!(".{SUFFIX}")));
        let is_key = |key: &str| key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        if key.is_some_and(is_key)
            && entry.path().join("journal").is_file()
            && let Ok(Some(_lock)) = locked(&entry.path())
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn part_folder(path: &Path, key: &[u8; 32]) -> Result<PathBuf> {
    let key: String = key.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(folder_of(path).join(format!(".{}.{key}.{SUFFIX}", shown_name(path)?)))
}

/// The lock of a folder of this user alone; `None` when another run has it, or when others could have written there.
fn locked(folder: &Path) -> Result<Option<File>> {
    let fault = |error: &std::io::Error| Error::io(folder.display().to_string(), error);
    let metadata = folder.symlink_metadata().map_err(|error| fault(&error))?;
    let mine = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    if !mine || metadata.mode() & 0o077 != 0 {
        return Ok(None);
    }
    let place = folder.join("lock");
    let lock = match OpenOptions::new().write(true).create(true).truncate(false).open(&place) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None), // removed just now
        Err(error) => return Err(fault(&error)),
    };
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(None);
    }
    // Who had it may have removed the folder meanwhile: then this is the lock of nothing.
    let still = place.symlink_metadata().ok().zip(lock.metadata().ok());
    Ok(still.is_some_and(|(there, held)| there.ino() == held.ino()).then_some(lock))
}

fn record_of(member: u32, offset: u64, segment: Segment) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..4].copy_from_slice(&member.to_le_bytes());
    record[8..16].copy_from_slice(&offset.to_le_bytes());
    record[16..24].copy_from_slice(&segment.bytes.to_le_bytes());
    record[24..32].copy_from_slice(&segment.crc.to_le_bytes());
    let check = crc64(&record[..32]);
    record[32..].copy_from_slice(&check.to_le_bytes());
    record
}

/// What a journal says, up to the first record that is torn. One of another key says nothing.
fn read_journal(place: &Path, key: &[u8; 32]) -> std::io::Result<Segments> {
    let mut segments = Segments::new();
    let file = match File::open(place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(segments),
        other => other?,
    };
    let mut reader = BufReader::new(file);
    let mut head = [0; HEAD_BYTES];
    if reader.read_exact(&mut head).is_err() || &head[..8] != MAGIC || &head[8..] != key {
        return Ok(segments);
    }
    let mut record = [0; RECORD_BYTES];
    while reader.read_exact(&mut record).is_ok() {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&record[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let Ok(member) = u32::try_from(word(0)) else { break };
        let segment = Segment { bytes: word(16), crc: word(24) };
        if word(32) != crc64(&record[..32]) || word(8).checked_add(segment.bytes).is_none() {
            break;
        }
        insert(&mut segments, member, word(8), segment);
    }
    Ok(segments)
}

/// Puts a segment in, and joins it with those that it touches.
fn insert(segments: &mut Segments, member: u32, mut start: u64, mut segment: Segment) {
    let joined = |first: Segment, second: Segment| Segment {
        bytes: first.bytes + second.bytes,
        crc: crc64_combine(first.crc, second.crc, second.bytes),
    };
    let fits = |first: Segment, second: Segment| first.bytes.saturating_add(second.bytes) <= SEGMENT_BYTES_MAX;
    let before = segments.range(..(member, start)).next_back().map(|(key, value)| (*key, *value));
    if let Some((key, value)) = before
        && key.0 == member
        && key.1 + value.bytes == start
        && fits(value, segment)
    {
        segments.remove(&key);
        (start, segment) = (key.1, joined(value, segment));
    }
    let after = (member, start + segment.bytes);
    if let Some(value) = segments.get(&after).copied()
        && fits(segment, value)
    {
        segments.remove(&after);
        segment = joined(segment, value);
    }
    segments.insert((member, start), segment);
}

/// Writes the journal anew, for what follows a torn record would not be read; returns it, ready to be added to.
fn new_journal(folder: &Path, key: &[u8; 32], segments: &Segments) -> std::io::Result<File> {
    let (temporary, place) = (folder.join("journal.new"), folder.join("journal"));
    let mut bytes = Vec::with_capacity(HEAD_BYTES + segments.len() * RECORD_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(key);
    for (&(member, offset), segment) in segments {
        bytes.extend_from_slice(&record_of(member, offset, *segment));
    }
    std::fs::write(&temporary, &bytes)?;
    std::fs::rename(&temporary, &place)?;
    OpenOptions::new().append(true).open(&place)
}
