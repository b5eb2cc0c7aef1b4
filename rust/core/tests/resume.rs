//! Restores that are interrupted and gone on with: what was written is not read again, and nothing is believed unread.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vark_core::archive::Archive;
use vark_core::error::{Error, ErrorKind, Result};
use vark_core::pipeline::pack::{Input, MemberInput, Output, pack};
use vark_core::pipeline::restore::{RestoreOptions, restore};
use vark_core::pipeline::rows::RowReader;
use vark_core::split::Layout;
use vark_core::store::ReadAt;
use vark_core::testing::files::Folder;
use vark_core::testing::{Random, pack_options, restore_options};

const BYTES: u64 = 12_000_000;

/// An archive that lies elsewhere: counts what is read, and fails after so many bytes.
struct Remote {
    bytes: Arc<Vec<u8>>,
    read: Arc<AtomicU64>,
    limit: u64,
    kind: ErrorKind,
}

impl ReadAt for Remote {
    fn byte_count(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        if self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed) > self.limit {
            return Err(Error::new(self.kind, "store", "gone"));
        }
        self.bytes.read_at(offset, buffer)
    }
}

struct Case {
    folder: Folder,
    archive: Arc<Vec<u8>>,
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Case {
    fn new(names: &[&'static str], seed: u64) -> Self {
        let folder = Folder::new();
        let mut random = Random(seed);
        let files: Vec<_> = names.iter().map(|name| (*name, random.bytes(BYTES / names.len() as u64))).collect();
        let mut members: Vec<_> = files
            .iter()
            .map(|(name, bytes)| MemberInput {
                name: (*name).to_owned(),
                input: Input::Shared(Arc::new(bytes.clone())),
                layout: Layout::Auto,
                facts: serde_json::Map::new(),
            })
            .collect();
        let path = folder.path("x.vark");
        let output = Output::Path { path: path.clone(), replace: false, sync: false };
        pack(output, &mut members, &mut [], &pack_options(), &mut |_, _| Ok(())).unwrap();
        let archive = Arc::new(std::fs::read(&path).unwrap());
        std::fs::remove_file(path).unwrap();
        Self { folder, archive, files }
    }

    fn target(&self) -> PathBuf {
        self.folder.path("target")
    }

    /// Restores with a store that gives so many bytes; returns what was read of it.
    fn run(&self, limit: u64, kind: ErrorKind, options: &RestoreOptions) -> (u64, Result<()>) {
        let read = Arc::new(AtomicU64::new(0));
        let remote = Remote { bytes: self.archive.clone(), read: read.clone(), limit: u64::MAX, kind };
        let opened = Archive::open(Arc::new(remote)).unwrap();
        drop(opened);
        read.store(0, Ordering::Relaxed);
        let remote = Remote { bytes: self.archive.clone(), read: read.clone(), limit, kind };
        let reader = Arc::new(RowReader::new(Archive::open(Arc::new(remote)).unwrap(), 8 << 20));
        let done = restore(&reader, &self.target(), None, options, &mut |_, _| Ok(()));
        (read.load(Ordering::Relaxed), done.map(|_| ()))
    }

    fn interrupt(&self, limit: u64) {
        let (_, done) = self.run(limit, ErrorKind::Unavailable, &resuming());
        assert_eq!(done.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(!self.target().exists());
    }

    /// Goes on to the end; returns what was read.
    fn finish(&self) -> u64 {
        let (read, done) = self.run(u64::MAX, ErrorKind::Io, &resuming());
        done.unwrap();
        self.check();
        read
    }

    fn check(&self) {
        for (name, bytes) in &self.files {
            let place = if self.files.len() == 1 { self.target() } else { self.target().join(name) };
            assert!(std::fs::read(&place).unwrap() == *bytes, "{name}");
        }
        assert_eq!(self.folder.names(), ["target"]);
    }

    fn part(&self) -> PathBuf {
        let names = self.folder.names();
        let name = names.iter().find(|name| name.ends_with(".vark-part")).unwrap();
        self.folder.path(name)
    }

    fn restart(&self) {
        let target = self.target();
        let _ = if target.is_dir() { std::fs::remove_dir_all(target) } else { std::fs::remove_file(target) };
    }
}

fn resuming() -> RestoreOptions {
    RestoreOptions { resume: true, threads: 2, ..restore_options() }
}

fn overwrite(place: &Path, offset: u64, bytes: &[u8]) {
    let file = std::fs::OpenOptions::new().write(true).open(place).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

#[test]
fn what_was_written_is_not_read_again() {
    for names in [&["only"][..], &["one", "folder/two", "three"][..]] {
        let case = Case::new(names, 1);
        let whole = case.finish();
        case.restart();
        for limit in [0, BYTES / 4, BYTES / 4, BYTES / 4] {
            case.interrupt(limit);
        }
        assert_eq!(case.part().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let rest = case.finish();
        assert!(rest < whole / 2, "{names:?}: {rest} bytes read of {whole}");
        // In four runs that begin anew each time the last one would have read all of it.
    }
}

#[test]
fn what_differs_from_the_journal_is_written_again() {
    let case = Case::new(&["only"], 2);
    for damage in 0..6 {
        case.interrupt(BYTES / 2);
        let (content, journal) = (case.part().join("content"), case.part().join("journal"));
        match damage {
            0 => overwrite(&content, 3_000_000, b"others"),
            1 => overwrite(&content, 0, &vec![0; 9_000_000]),
            2 => std::fs::OpenOptions::new().write(true).open(&content).unwrap().set_len(1_000_000).unwrap(),
            3 => std::fs::remove_file(&content).unwrap(),
            4 => std::fs::write(&content, vec![7; 20_000_000]).unwrap(),
            _ => overwrite(&journal, 40 + 24, b"badcrc"),
        }
        case.finish();
        case.restart();
    }
}

#[test]
fn any_journal_is_read_without_harm() {
    let case = Case::new(&["only"], 3);
    case.interrupt(BYTES / 2);
    let journal = std::fs::read(case.part().join("journal")).unwrap();
    let mut random = Random(9);
    for round in 0..24 {
        let mut wrong = journal.clone();
        match round % 4 {
            0 => wrong.truncate(usize::try_from(random.below(wrong.len() as u64)).unwrap()),
            1 => wrong.extend(random.bytes(100)),
            2 => {
                let at = usize::try_from(random.below(wrong.len() as u64)).unwrap();
                wrong[at] ^= 1 << random.below(8);
            }
            _ => {
                // A record that passes its own check, and lies.
                let mut record = vec![0; 32];
                record[8..16].copy_from_slice(&random.number().to_le_bytes());
                record[16..24].copy_from_slice(&random.number().to_le_bytes());
                let check = vark_core::digest::crc64(&record);
                record.extend_from_slice(&check.to_le_bytes());
                wrong.extend(record);
            }
        }
        std::fs::write(case.part().join("journal"), wrong).unwrap();
        let (_, done) = case.run(BYTES / 8, ErrorKind::Unavailable, &resuming());
        if done.is_ok() {
            case.check();
            case.restart();
        }
        if !case.folder.names().iter().any(|name| name.ends_with(".vark-part")) {
            case.interrupt(BYTES / 2);
        }
    }
    case.finish();
}

#[test]
fn another_archive_begins_anew_and_takes_the_old_away() {
    let (case, other) = (Case::new(&["only"], 4), Case::new(&["only"], 5));
    case.interrupt(BYTES / 2);
    let mut mixed = Case { folder: case.folder, archive: other.archive, files: other.files };
    let before = mixed.folder.names();
    mixed.interrupt(BYTES / 2);
    assert_eq!((before.len(), mixed.folder.names().len()), (1, 2));
    mixed.finish();
    mixed.restart();
    // Not asked to go on, a restore keeps nothing, and takes away what is left.
    mixed.interrupt(BYTES / 2);
    let (read, done) = mixed.run(u64::MAX, ErrorKind::Io, &restore_options());
    done.unwrap();
    assert!(read > BYTES * 9 / 10);
    mixed.check();
    mixed.restart();
    mixed.files.clear();
    let (_, done) = mixed.run(BYTES / 2, ErrorKind::Unavailable, &restore_options());
    done.unwrap_err();
    assert!(mixed.folder.names().is_empty());
}

#[test]
fn what_cannot_succeed_another_time_is_not_kept() {
    let case = Case::new(&["only"], 6);
    for kind in [ErrorKind::Damaged, ErrorKind::NotFound, ErrorKind::LimitExceeded] {
        let (_, done) = case.run(BYTES / 2, kind, &resuming());
        assert_eq!(done.unwrap_err().kind(), kind);
        assert!(case.folder.names().is_empty());
    }
    std::fs::write(case.target(), b"mine").unwrap();
    let (_, done) = case.run(u64::MAX, ErrorKind::Io, &resuming());
    assert_eq!(done.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(case.folder.names(), ["target"]);
    let (_, done) = case.run(u64::MAX, ErrorKind::Io, &RestoreOptions { replace: true, ..resuming() });
    done.unwrap();
    case.check();
}

#[test]
fn a_folder_that_others_can_write_to_is_not_used() {
    let case = Case::new(&["only"], 7);
    case.interrupt(BYTES / 2);
    let part = case.part();
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o777)).unwrap();
    let (read, done) = case.run(u64::MAX, ErrorKind::Io, &resuming());
    done.unwrap();
    assert!(read > BYTES * 9 / 10);
    assert!(part.exists());
    case.restart();
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o700)).unwrap();
    // One that another run works on is let be, too.
    let lock = std::fs::File::open(part.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (read, done) = case.run(u64::MAX, ErrorKind::Io, &resuming());
    done.unwrap();
    assert!(read > BYTES * 9 / 10);
    case.restart();
    drop(lock);
    assert!(case.finish() < BYTES * 3 / 4);
    // A link in its place is no folder.
    case.restart();
    std::os::unix::fs::symlink(case.folder.path("elsewhere"), &part).unwrap();
    std::fs::create_dir(case.folder.path("elsewhere")).unwrap();
    let (_, done) = case.run(u64::MAX, ErrorKind::Io, &resuming());
    done.unwrap();
    assert!(std::fs::read_dir(case.folder.path("elsewhere")).unwrap().next().is_none());
}
