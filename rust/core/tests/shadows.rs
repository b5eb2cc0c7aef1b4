//! Shadows: what a write-only writer builds on. The same deltas as with the archive itself, no vectors, and no flipped bit gets in.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use vark_core::archive::{Archive, ArchiveId, Root, Sealing};
use vark_core::error::{ErrorKind, Result};
use vark_core::pipeline::cache::CacheKey;
use vark_core::pipeline::delta::{Base, FingerprintKey};
use vark_core::pipeline::pack::{Input, Output, PackOptions, StreamInput, pack};
use vark_core::pipeline::rows::{ReadState, RowReader};
use vark_core::pipeline::shadow::{ShadowPlace, open_shadow};
use vark_core::pipeline::verify::{Level, verify};
use vark_core::seal::{EpochRecipient, Secret, Suite, epoch_identity};
use vark_core::store::ReadAt;
use vark_core::stream::{ElementType, StreamRole, StreamSpec};
use vark_core::testing::files::Folder;
use vark_core::testing::{OneKey, Random, Shared, pack_options};

const REPOSITORY: [u8; 16] = [9; 16];
const OWN_KEY: [u8; 32] = [4; 32];

/// The keys of a member.
fn member() -> OneKey {
    OneKey(Secret::take(&mut [5; 32]))
}

/// As a write-only writer seals: a root that it forgets, wrapped to the members.
fn session() -> Sealing {
    let recipient = epoch_identity(&member().0, &REPOSITORY, 3).recipient();
    let epoch = EpochRecipient { repository: REPOSITORY, epoch: 3, recipient };
    let (root, wrapped) = epoch.new_session_root().unwrap();
    Sealing::of_repository(Suite::Aes256Gcm, Root::Session(3, wrapped), root, REPOSITORY)
}

fn cache_key() -> CacheKey {
    CacheKey::of_repository(&session(), OWN_KEY).unwrap()
}

const STREAMS: [(&str, StreamRole, ElementType, u32); 4] = [
    ("vectors", StreamRole::VECTORS, ElementType::F32, 16),
    ("ids", StreamRole::IDS, ElementType::I64, 1),
    ("codes", StreamRole::CODES, ElementType::U8, 16),
    ("wide codes", StreamRole::CODES, ElementType::U8, 80),
];

struct Source([Vec<u8>; 4]);

impl Source {
    fn new(rows: u64) -> Self {
        let mut random = Random(3);
        Self(STREAMS.map(|(_, _, element, count)| random.bytes(rows * u64::from(element.bytes() * count))))
    }

    /// A few rows of each stream are others.
    fn change(&mut self, day: u64) {
        let mut random = Random(100 + day);
        for (rows, (.., element, count)) in self.0.iter_mut().zip(STREAMS) {
            let width = usize::try_from(element.bytes() * count).unwrap();
            for at in [3, 40, 77].map(|at| (at + usize::try_from(day).unwrap()) * width) {
                rows[at..at + width].copy_from_slice(&random.bytes(width as u64));
            }
        }
    }
}

struct Shelf {
    folder: Folder,
    archives: Vec<(ArchiveId, Vec<u8>)>,
}

impl Shelf {
    fn write(&mut self, source: &Source, base: Option<Base>, is_shadowed: bool) -> Vec<u8> {
        let mut streams: Vec<StreamInput> = STREAMS
            .iter()
            .zip(&source.0)
            .map(|((name, role, element, count), rows)| StreamInput {
                spec: StreamSpec::new(*name, *role, *element, *count),
                input: Input::Shared(Arc::new(rows.clone())),
            })
            .collect();
        let id = ArchiveId([u8::try_from(self.archives.len() + 1).unwrap(); 16]);
        let place = ShadowPlace { folder: self.folder.path(""), key: cache_key(), bytes_max: 1 << 30 };
        let options = PackOptions {
            base,
            seal: Some(session()),
            archive_id: Some(id),
            fingerprint_key: Some(FingerprintKey(OWN_KEY)),
            shadow: is_shadowed.then_some(place),
            ..pack_options()
        };
        let shared = Shared::default();
        let report =
            pack(Output::Pipe(Box::new(shared.clone())), &mut [], &mut streams, &options, &mut |_, _| Ok(())).unwrap();
        if is_shadowed {
            let shadow = report.shadow.unwrap();
            assert_eq!((shadow.fault, shadow.file_bytes), (None, std::fs::metadata(self.shadow(id)).unwrap().len()));
        }
        let bytes = shared.0.lock().unwrap().clone();
        if is_shadowed {
            self.archives.push((id, bytes.clone()));
        }
        bytes
    }

    fn shadow(&self, id: ArchiveId) -> std::path::PathBuf {
        self.folder.path(&format!("{id}.shadow"))
    }

    /// As a member reads it.
    fn opened(&self, bytes: &[u8]) -> Arc<RowReader> {
        let mut archive = Archive::open_with(Arc::new(bytes.to_vec()), &member()).unwrap();
        let find = |id| self.archives.iter().find(|(other, _)| *other == id).unwrap().1.clone();
        let sources = archive.ancestors().iter().map(|one| Some(Arc::new(find(one.id)) as Arc<dyn ReadAt>)).collect();
        archive.attach(sources).unwrap();
        Arc::new(RowReader::new(archive, 1 << 24))
    }

    fn shadow_of(&self, id: ArchiveId) -> Result<Arc<RowReader>> {
        open_shadow(&self.folder.path(""), id, &cache_key()).map(|archive| Arc::new(RowReader::new(archive, 1 << 24)))
    }
}

fn read(reader: &RowReader, name: &str) -> Result<Vec<u8>> {
    let number = reader.archive().stream_index(name).unwrap();
    let count = usize::try_from(reader.archive().streams()[number].raw_bytes()).unwrap();
    let mut rows = vec![0; count];
    reader.read_rows(&mut ReadState::default(), number, 0, &mut rows).map(|()| rows)
}

/// All that can be read of a shadow; an error for the first thing that should be and cannot.
fn kept(reader: &RowReader) -> Result<Vec<Vec<u8>>> {
    let archive = reader.archive();
    let mut found = Vec::new();
    for (number, stream) in archive.streams().iter().enumerate() {
        for chunk in 0..stream.chunk_count {
            let entry = archive.entry(number, chunk)?;
            found.push(format!("{entry:?}").into_bytes());
        }
        if archive.has_rows(number) {
            found.push(read(reader, &stream.name)?);
        }
    }
    Ok(found)
}

#[test]
fn deltas_on_shadows_restore_every_row_and_are_as_short_as_on_the_archives() {
    let mut shelf = Shelf { folder: Folder::new(), archives: Vec::new() };
    let mut source = Source::new(9_000);
    let full = shelf.write(&source, None, true);
    for day in 1..5 {
        source.change(day);
        let last = shelf.archives.last().unwrap().clone();
        let reader = shelf.shadow_of(last.0).unwrap();
        let stored = shelf.opened(&last.1);
        assert_eq!(reader.archive().root(), stored.archive().root());
        assert_eq!(reader.archive().ancestors(), stored.archive().ancestors());
        for (number, stream) in stored.archive().streams().iter().enumerate() {
            assert_eq!(&reader.archive().streams()[number], stream);
            for chunk in 0..stream.chunk_count {
                assert_eq!(
                    reader.archive().entry(number, chunk).unwrap(),
                    stored.archive().entry(number, chunk).unwrap()
                );
            }
            match reader.archive().has_rows(number) {
                true => assert!(read(&reader, &stream.name).unwrap() == read(&stored, &stream.name).unwrap()),
                false => assert!(read(&reader, &stream.name).is_err(), "{}", stream.name),
            }
        }
        let key = Some(FingerprintKey(OWN_KEY));
        let by_archive = shelf.write(&source, Some(Base { reader: stored, key }), false).len();
        let delta = shelf.write(&source, Some(Base { reader, key }), true);
        // The archive's vectors could be read: rows that are near the old ones would be shorter.
        assert!(delta.len() < full.len() / 20 && delta.len() < by_archive + 3_000, "{} {by_archive}", delta.len());
        let restored = shelf.opened(&delta);
        for ((name, ..), rows) in STREAMS.iter().zip(&source.0) {
            assert!(read(&restored, name).unwrap() == *rows, "day {day}, {name}");
        }
        assert!(verify(&restored, Level::Full, 1, &mut |_, _| Ok(())).unwrap().ok);
    }
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_shadow_is_refused_or_changes_nothing() {
    let mut shelf = Shelf { folder: Folder::new(), archives: Vec::new() };
    let mut source = Source::new(1_300);
    shelf.write(&source, None, true);
    source.change(1);
    let id = shelf.archives[0].0;
    let base = Base { reader: shelf.shadow_of(id).unwrap(), key: Some(FingerprintKey(OWN_KEY)) };
    shelf.write(&source, Some(base), true);
    let ids: Vec<ArchiveId> = shelf.archives.iter().map(|(id, _)| *id).collect();
    let whole = kept(&shelf.shadow_of(ids[1]).unwrap()).unwrap();
    let mut refused = 0;
    let mut random = Random(1);
    for id in &ids {
        let path = shelf.shadow(*id);
        let bytes = std::fs::read(&path).unwrap();
        let mut attempt = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).unwrap();
            match shelf.shadow_of(ids[1]).and_then(|reader| kept(&reader)) {
                Ok(found) => assert!(found == whole, "{what}"),
                Err(error) => {
                    let kinds = [ErrorKind::Damaged, ErrorKind::NotFound, ErrorKind::Unsupported, ErrorKind::Io];
                    assert!(kinds.contains(&error.kind()), "{error}");
                    refused += 1;
                }
            }
        };
        let step = (bytes.len() / 700).max(1);
        for at in (0..bytes.len()).filter(|at| *at < 300 || *at + 300 > bytes.len() || at % step == 0) {
            let mut other = bytes.clone();
            other[at] ^= 1 << (random.bytes(1)[0] % 8);
            attempt(&other, &format!("byte {at} of {}", bytes.len()));
        }
        for at in (0..bytes.len()).step_by(step * 7) {
            attempt(&bytes[..at], &format!("cut to {at}"));
        }
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(refused > 1_500, "{refused}");
    // One in the place of the other, and with another key.
    std::fs::copy(shelf.shadow(ids[0]), shelf.shadow(ids[1])).unwrap();
    assert_eq!(shelf.shadow_of(ids[1]).err().unwrap().kind(), ErrorKind::Damaged);
    let other = CacheKey::of_repository(&session(), [8; 32]).unwrap();
    assert_eq!(open_shadow(&shelf.folder.path(""), ids[0], &other).err().unwrap().kind(), ErrorKind::Damaged);
}

#[test]
fn a_shadow_that_cannot_be_written_keeps_no_archive_from_being_written() {
    let mut shelf = Shelf { folder: Folder::new(), archives: Vec::new() };
    let source = Source::new(1_300);
    let write = |place: ShadowPlace| {
        let mut streams = [StreamInput {
            spec: StreamSpec::new("ids", StreamRole::IDS, ElementType::I64, 1),
            input: Input::Shared(Arc::new(source.0[1].clone())),
        }];
        let options = PackOptions { seal: Some(session()), shadow: Some(place), ..pack_options() };
        let output = Output::Pipe(Box::new(std::io::sink()));
        pack(output, &mut [], &mut streams, &options, &mut |_, _| Ok(())).unwrap().shadow.unwrap()
    };
    let folder = shelf.folder.path("");
    let short = write(ShadowPlace { folder: folder.clone(), key: cache_key(), bytes_max: 100 });
    assert!(short.fault.unwrap().contains("exceeds 100 bytes"));
    let nowhere = write(ShadowPlace { folder: folder.join("nowhere"), key: cache_key(), bytes_max: 1 << 30 });
    assert!(nowhere.fault.is_some() && nowhere.file_bytes == 0);
    let left = |folder: &Path| std::fs::read_dir(folder).unwrap().count();
    assert_eq!(left(&folder), 0, "what was begun is gone");
    shelf.write(&source, None, true);
    assert_eq!(left(&folder), 1);
}
