//! Sealed archives: the vectors, damage of every kind, deltas, and what can be done without a key.
#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vark_core::archive::{Archive, ArchiveId, Entry, KeySource, Root, Sealing};
use vark_core::codec::Compression;
use vark_core::error::{ErrorKind, Layer, Result};
use vark_core::pipeline::compact::{For, compact};
use vark_core::pipeline::delta::{Base, FingerprintKey};
use vark_core::pipeline::pack::{Input, MemberInput, Output, PackOptions, StreamInput, pack};
use vark_core::pipeline::rows::{ReadState, RowReader};
use vark_core::pipeline::scrub::scrub;
use vark_core::pipeline::verify::{Level, Scope, VerifyReport, verify, verify_opened};
use vark_core::seal::{Identity, Secret, Secrets, Slot, SlotKind, Suite};
use vark_core::split::Layout;
use vark_core::store::ReadAt;
use vark_core::stream::{ElementType, StreamRole, StreamSpec};
use vark_core::testing::{Random, Shared, pack_options, seal as repair};

fn vectors() -> (PathBuf, Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/seal");
    let text = std::fs::read_to_string(folder.join("sealed.json")).unwrap();
    (folder, serde_json::from_str(&text).unwrap())
}

fn open(bytes: &[u8], keys: &dyn KeySource) -> Result<Arc<RowReader>> {
    let archive = Archive::open_with(Arc::new(bytes.to_vec()), keys)?;
    Ok(Arc::new(RowReader::new(archive, 1 << 20)))
}

fn rows(reader: &RowReader) -> Result<Vec<Vec<u8>>> {
    let mut state = ReadState::default();
    let streams = reader.archive().streams().iter().enumerate();
    let read = streams.map(|(number, stream)| {
        let mut rows = vec![0; usize::try_from(stream.raw_bytes()).unwrap()];
        reader.read_rows(&mut state, number, 0, &mut rows).map(|()| rows)
    });
    read.collect()
}

/// The layers that verification names; empty for an archive that is whole. What is of another version, or no archive, is
/// refused with an error.
fn faults(bytes: &[u8], keys: &dyn KeySource) -> Vec<&'static str> {
    let opened = Archive::open_with(Arc::new(bytes.to_vec()), keys);
    let count = bytes.len() as u64;
    match verify_opened(opened, count, Level::Full, Scope::WithAncestors, 1, &mut |_, _| Ok(())) {
        Ok(report) => report.damage.iter().map(|damage| damage.layer).collect(),
        Err(error) => vec![error.layer().map_or("none", Layer::name)],
    }
}

fn scrubbed(bytes: &[u8]) -> Result<VerifyReport> {
    scrub(Arc::new(bytes.to_vec()), &mut |_, _| Ok(()))
}

#[test]
fn vectors_open_or_are_refused_by_the_seal_at_their_stage() {
    let (folder, vectors) = vectors();
    let passphrase = vectors["passphrase"].as_str().unwrap().as_bytes().to_vec();
    let keys = Secrets { passphrase: Some(passphrase.into()), ..Secrets::default() };
    let wrong = Secrets { passphrase: Some(b"wrong".to_vec().into()), ..Secrets::default() };
    let expected = vectors["rows"].as_str().unwrap();
    let mut whole = 0;
    for case in vectors["archives"].as_array().unwrap() {
        let (name, expect, stage) = (&case["name"], &case["expect"], &case["stage"]);
        let bytes = std::fs::read(folder.join(format!("{}.vark", name.as_str().unwrap()))).unwrap();
        let opened = open(&bytes, &keys);
        if expect == "ok" {
            let found = rows(opened.as_ref().unwrap()).unwrap();
            assert!(found.iter().all(|rows| hex(rows) == expected), "{name}");
            assert!(faults(&bytes, &keys).is_empty() && scrubbed(&bytes).unwrap().ok, "{name}");
            let without = Archive::open(Arc::new(bytes.clone())).unwrap_err();
            assert_eq!(without.kind(), ErrorKind::KeyNeeded);
            assert_eq!(open(&bytes, &wrong).err().unwrap().kind(), ErrorKind::WrongKey);
            whole += 1;
            continue;
        }
        let refused = match opened {
            Err(error) => error,
            Ok(reader) => {
                assert_eq!(stage, "read", "{name}");
                rows(&reader).unwrap_err()
            }
        };
        assert_eq!(refused.layer(), Some(Layer::Seal), "{name}: {refused}");
        let layers = faults(&bytes, &keys);
        assert!(!layers.is_empty() && layers.iter().all(|layer| *layer == "seal"), "{name}: {layers:?}");
    }
    assert_eq!(whole, 2);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens with a fixed access key, so that 10,000s of openings need no curve arithmetic.
struct Known(Secret);

impl KeySource for Known {
    fn access_key(&self, _slots: &[Slot]) -> Result<Secret> {
        Ok(self.0.clone())
    }

    fn epoch_root(&self, repository: &[u8; 16], epoch: u32) -> Result<Secret> {
        assert_eq!((repository, epoch), (&[9; 16], 3));
        Ok(self.0.clone())
    }

    fn is_given(&self) -> bool {
        true
    }
}

fn single(suite: Suite, identity: &Identity) -> (Sealing, Known) {
    let sealing = Sealing::single(suite, vec![SlotKind::Recipient(identity.recipient())]).unwrap();
    let known = Known(sealing.root_key.clone());
    (sealing, known)
}

fn packed(sources: &[(&str, Vec<u8>)], options: &PackOptions) -> Vec<u8> {
    let mut streams: Vec<StreamInput> = sources
        .iter()
        .map(|(name, rows)| StreamInput {
            spec: StreamSpec::new(*name, StreamRole::CODES, ElementType::U8, 16),
            input: Input::Shared(Arc::new(rows.clone())),
        })
        .collect();
    let shared = Shared::default();
    pack(Output::Pipe(Box::new(shared.clone())), &mut [], &mut streams, options, &mut |_, _| Ok(())).unwrap();
    let bytes = shared.0.lock().unwrap();
    bytes.clone()
}

fn small(sealing: Sealing) -> Vec<u8> {
    let mut random = Random(3);
    let sources = [("canary", random.bytes(64)), ("other", random.bytes(32))];
    packed(&sources, &PackOptions { seal: Some(sealing), ..pack_options() })
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused_before_a_row_is_returned() {
    for suite in Suite::ALL {
        let (sealing, keys) = single(suite, &Identity::random().unwrap());
        let bytes = small(sealing);
        let truth = rows(&open(&bytes, &keys).unwrap()).unwrap();
        assert!(faults(&bytes, &keys).is_empty() && scrubbed(&bytes).unwrap().ok);
        let mut same = 0;
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            let without_key = scrubbed(&damaged);
            assert!(without_key.is_err() || without_key.is_ok_and(|report| !report.ok), "bit {at}: a scrub passes it");
            assert!(!faults(&damaged, &keys).is_empty(), "bit {at}");
            assert_rows(&damaged, &keys, &truth, at);
            // Whoever alters the archive makes its public sums fit: tags and commitment are left.
            repair(&mut damaged);
            if damaged == bytes {
                same += 1;
            } else {
                assert!(!faults(&damaged, &keys).is_empty(), "bit {at}, repaired");
                assert_rows(&damaged, &keys, &truth, at);
            }
        }
        assert!(same < bytes.len(), "{same} flips were of sums");
        for length in 0..bytes.len() {
            assert!(open(&bytes[..length], &keys).is_err() && !faults(&bytes[..length], &keys).is_empty());
            assert!(scrubbed(&bytes[..length]).is_ok_and(|report| !report.ok) || length < 256);
        }
        println!("{} bits, {same} of them sums", bytes.len() * 8);
    }
}

/// What is handed out all the same is true.
fn assert_rows(damaged: &[u8], keys: &dyn KeySource, truth: &[Vec<u8>], at: usize) {
    let Ok(reader) = open(damaged, keys) else { return };
    let mut state = ReadState::default();
    for (number, truth) in truth.iter().enumerate() {
        let mut found = vec![0; truth.len()];
        let read = reader.read_rows(&mut state, number, 0, &mut found);
        assert!(read.is_err() || found == *truth, "bit {at}: wrong rows");
    }
}

#[test]
fn a_plain_archive_is_refused_where_a_key_was_given() {
    let plain = packed(&[("one", vec![7; 64])], &pack_options());
    let (_, keys) = single(Suite::Aes256Gcm, &Identity::random().unwrap());
    let error = open(&plain, &keys).err().unwrap();
    assert_eq!((error.kind(), error.layer()), (ErrorKind::Damaged, Some(Layer::Seal)));
    assert!(error.to_string().contains("not encrypted"));
    assert!(open(&plain, &Secrets::default()).is_ok());
}

#[test]
fn the_same_source_is_never_sealed_alike_and_shows_nothing() {
    let (sealing, keys) = single(Suite::Aes256Gcm, &Identity::random().unwrap());
    let (first, second) = (small(sealing.clone()), small(sealing));
    let truth = rows(&open(&first, &keys).unwrap()).unwrap();
    assert_eq!(truth, rows(&open(&second, &keys).unwrap()).unwrap());
    let shared = first.windows(16).filter(|window| second.windows(16).any(|other| other == *window)).count();
    // Slots and framing are equal; 16 bytes of ciphertext are not, by chance, ever.
    let plain = first.len() - truth.iter().map(Vec::len).sum::<usize>();
    assert!(shared < plain, "{shared} of {} windows", first.len());
    let blocks = |bytes: &Vec<u8>| {
        let reader = open(bytes, &keys).unwrap();
        let places = (0..truth.len()).map(|stream| reader.archive().entry(stream, 0).unwrap());
        let block = |entry: Entry| bytes[usize::try_from(entry.offset).unwrap()..][..16].to_vec();
        places.map(block).collect::<Vec<_>>()
    };
    assert!(blocks(&first).iter().zip(&blocks(&second)).all(|(one, other)| one != other));
    for canary in [&truth[0][..8], &truth[1][..8], b"canary", b"other", b"writer"] {
        assert!(!first.windows(canary.len()).any(|window| window == canary));
    }
}

/// Blocks of equal length, all public sums made to fit: only nonce and associated data say which is which.
#[test]
fn blocks_put_in_each_others_places_are_refused() {
    let (sealing, keys) = single(Suite::Aes256Gcm, &Identity::random().unwrap());
    let mut random = Random(4);
    let sources = [("first", random.bytes(160)), ("second", random.bytes(160))];
    let options = PackOptions { seal: Some(sealing), compression: Compression::None, ..pack_options() };
    let (bytes, of_another) = (packed(&sources, &options), packed(&sources, &options));
    let place = |bytes: &[u8], stream: usize| {
        let entry = open(bytes, &keys).unwrap().archive().entry(stream, 0).unwrap();
        let start = usize::try_from(entry.offset).unwrap();
        start..start + usize::try_from(entry.stored_bytes).unwrap()
    };
    let (first, second) = (place(&bytes, 0), place(&bytes, 1));
    assert_eq!((first.len(), second.len()), (176, 176));
    let (mut swapped, mut replayed) = (bytes.clone(), bytes.clone());
    swapped[first.clone()].copy_from_slice(&bytes[second.clone()]);
    swapped[second].copy_from_slice(&bytes[first.clone()]);
    // The same rows of the same stream, sealed for the archive of another run.
    replayed[first].copy_from_slice(&of_another[place(&of_another, 0)]);
    for mut altered in [swapped, replayed] {
        repair(&mut altered);
        assert!(scrubbed(&altered).unwrap().ok, "whoever has no key cannot tell");
        // The CRCs of the index are proved by the directory's tag already.
        assert_eq!(open(&altered, &keys).err().unwrap().layer(), Some(Layer::Seal));
    }
}

#[test]
fn a_key_of_a_repository_opens_by_epoch() {
    let root = Secret::random().unwrap();
    let sealing_of = |id| Sealing::of_repository(Suite::ChaCha20Poly1305, Root::Epoch(3), root.clone(), [id; 16]);
    let bytes = small(sealing_of(9));
    let reader = open(&bytes, &Known(root.clone())).unwrap();
    let compacted = |seal: Option<&Sealing>| {
        let shared = Shared::default();
        let output = Output::Pipe(Box::new(shared.clone()));
        compact(&reader, output, None, For::Same(seal), 1, &mut |_, _| Ok(())).map(|_| shared.0.lock().unwrap().clone())
    };
    assert_eq!(compacted(None).unwrap_err().kind(), ErrorKind::KeyNeeded);
    assert_eq!(compacted(Some(&sealing_of(8))).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let again = open(&compacted(Some(&sealing_of(9))).unwrap(), &Known(root.clone())).unwrap();
    assert_eq!(rows(&again).unwrap(), rows(&reader).unwrap());
    assert_eq!(rows(&open(&bytes, &Known(root)).unwrap()).unwrap().len(), 2);
    let refused = open(&bytes, &Known(Secret::random().unwrap())).err().unwrap();
    assert_eq!((refused.kind(), refused.layer()), (ErrorKind::Damaged, Some(Layer::Seal)));
    assert_eq!(open(&bytes, &Secrets::default()).err().unwrap().kind(), ErrorKind::KeyNeeded);
}

#[test]
fn deltas_of_a_sealed_archive_and_what_is_compacted_of_them_give_their_rows() {
    let identity = Identity::random().unwrap();
    let (sealing, _) = single(Suite::Aes256Gcm, &identity);
    let keys = Secrets { identities: vec![identity], ..Secrets::default() };
    let mut random = Random(11);
    let mut wide = random.bytes(16 * 20_000);
    let same = random.bytes(16 * 100);
    let mut shelf: Vec<(ArchiveId, Vec<u8>)> = Vec::new();
    for step in 0..4u8 {
        if step > 0 {
            let at = 16 * 1_000 * usize::from(step);
            wide[at..at + 320].copy_from_slice(&random.bytes(320));
            let more = random.bytes(160);
            wide.splice(16 * 7_000..16 * 7_000, more);
        }
        let id = ArchiveId([step + 1; 16]);
        let base = shelf.last().map(|(_, bytes)| Base {
            reader: attached(bytes, &shelf, &keys).unwrap(),
            key: Some(FingerprintKey([1; 32])),
        });
        let seal = base.is_none().then(|| sealing.clone());
        let is_delta = base.is_some();
        let key = Some(FingerprintKey([1; 32]));
        let options =
            PackOptions { base, seal, archive_id: Some(id), threads: 2, fingerprint_key: key, ..pack_options() };
        let bytes = packed(&[("wide", wide.clone()), ("same", same.clone())], &options);
        assert!(!is_delta || bytes.len() < wide.len() / 2, "{} bytes", bytes.len());
        shelf.push((id, bytes));
        let reader = attached(&shelf.last().unwrap().1, &shelf, &keys).unwrap();
        let read = |reader: &RowReader, name: &str| {
            let number = reader.archive().stream_index(name).unwrap();
            let count = usize::try_from(reader.archive().streams()[number].raw_bytes()).unwrap();
            let mut rows = vec![0; count];
            reader.read_rows(&mut ReadState::default(), number, 0, &mut rows).map(|()| rows)
        };
        assert!(read(&reader, "wide").unwrap() == wide && read(&reader, "same").unwrap() == same, "step {step}");
        assert!(verify(&reader, Level::Full, 2, &mut |_, _| Ok(())).unwrap().ok);
        assert!(scrubbed(&shelf.last().unwrap().1).unwrap().ok);
        let shared = Shared::default();
        compact(&reader, Output::Pipe(Box::new(shared.clone())), None, For::Same(None), 2, &mut |_, _| Ok(())).unwrap();
        let alone = shared.0.lock().unwrap().clone();
        let compacted = open(&alone, &keys).unwrap();
        assert!(compacted.archive().is_sealed() && !compacted.archive().is_delta());
        assert!(read(&compacted, "wide").unwrap() == wide && read(&compacted, "same").unwrap() == same);
        assert!(verify(&compacted, Level::Full, 2, &mut |_, _| Ok(())).unwrap().ok && scrubbed(&alone).unwrap().ok);
    }
}

fn attached(bytes: &[u8], shelf: &[(ArchiveId, Vec<u8>)], keys: &dyn KeySource) -> Result<Arc<RowReader>> {
    let mut archive = Archive::open_with(Arc::new(bytes.to_vec()), keys)?;
    let find = |id| shelf.iter().find(|(other, _)| *other == id);
    let sources = archive.ancestors().iter().map(|other| find(other.id));
    let sources = sources.map(|found| found.map(|(_, bytes)| Arc::new(bytes.clone()) as Arc<dyn ReadAt>)).collect();
    archive.attach(sources)?;
    Ok(Arc::new(RowReader::new(archive, 1 << 20)))
}

#[test]
fn what_cannot_be_had_is_refused() {
    let identity = Identity::random().unwrap();
    let (sealing, keys) = single(Suite::Aes256Gcm, &identity);
    assert!(Sealing::single(Suite::Aes256Gcm, Vec::new()).is_err());
    let plain = packed(&[("wide", vec![7; 160])], &pack_options());
    let sealed = small(sealing.clone());
    let attempt = |base: &[u8], seal: Option<Sealing>| {
        let reader = open(base, &keys).or_else(|_| open(base, &Secrets::default())).unwrap();
        let base = Some(Base { reader, key: None });
        let options = PackOptions { base, seal, archive_id: Some(ArchiveId([8; 16])), ..pack_options() };
        let member = MemberInput {
            name: "source".to_owned(),
            input: Input::Shared(Arc::new(vec![1; 100])),
            layout: Layout::Opaque,
            facts: serde_json::Map::new(),
        };
        let output = Output::Pipe(Box::new(std::io::sink()));
        pack(output, &mut [member], &mut [], &options, &mut |_, _| Ok(())).map(|_| ())
    };
    for (base, seal) in [(&plain, Some(sealing.clone())), (&sealed, Some(sealing))] {
        assert_eq!(attempt(base, seal).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    attempt(&sealed, None).unwrap();
    attempt(&plain, None).unwrap();
}
