//! Damage and malice: no table, however wrong, makes the reader panic or return something else than was written.

use proptest::prelude::*;

use super::*;
use crate::archive::{IndexBlock, metadata, trailer, writer};
use crate::error::{ErrorKind, Layer};

const SHAPES: [Shape<'_>; 3] = [("vectors", 12, 5, 33), ("empty", 3, 7, 0), ("ids", 8, 4, 16)];

fn sample() -> Vec<u8> {
    build(&SHAPES, 3, "{\"a\":{\"b\":[1,\"x\"]},\"c\":null}")
}

/// All that a caller can learn from an archive without its blocks.
fn everything(archive: &Archive) -> (Vec<crate::stream::StreamDescription>, String, [u8; 32], Vec<Result<Entry>>) {
    let mut entries = Vec::new();
    for (number, stream) in archive.streams().iter().enumerate() {
        // A hostile directory may claim many chunks only when the file is long enough to index them.
        assert!(stream.chunk_count <= archive.archive_bytes() / 72);
        entries.extend((0..stream.chunk_count).map(|chunk| archive.entry(number, chunk)));
    }
    for block in 0..=archive.index_block_count() {
        let IndexBlock { offset, byte_count, .. } = archive.index_block_range(block);
        assert!(offset + byte_count <= archive.archive_bytes() || byte_count == 0);
        let _ = archive.entries_of_index_block(block);
        let _ = archive.check_index_block(block, &[1; 72]);
    }
    let _ = archive.check_header();
    let mut buffer = Vec::new();
    for entry in entries.iter().flatten() {
        let _ = archive.read_block(entry, &mut buffer);
    }
    (archive.streams().to_vec(), archive.metadata().to_owned(), archive.root(), entries)
}

/// Where the parts of a sample lie.
struct Parts {
    index: usize,
    directory: usize,
    metadata: usize,
    trailer: usize,
}

fn parts(bytes: &[u8]) -> Parts {
    let number = |at: usize, width: usize| {
        let mut field = [0; 8];
        field[..width].copy_from_slice(&bytes[at..at + width]);
        usize::try_from(u64::from_le_bytes(field)).unwrap()
    };
    let trailer = bytes.len() - 128;
    let directory = number(trailer, 8);
    Parts { index: number(directory + 8, 8), directory, metadata: directory + number(trailer + 8, 4), trailer }
}

/// Makes all checksums right again after a change, so that only the rules themselves can refuse.
fn seal(bytes: &mut [u8], parts: &Parts) {
    for (number, block) in (parts.index..parts.directory).step_by(3 * 72).enumerate() {
        let block = block..(block + 3 * 72).min(parts.directory);
        let (crc, hash) = (digest::crc64(&bytes[block.clone()]), digest::blake3(&bytes[block]));
        let block_count = (parts.directory - parts.index).div_ceil(3 * 72);
        let crcs = parts.directory + 64;
        bytes[crcs + 8 * number..][..8].copy_from_slice(&crc.to_le_bytes());
        bytes[crcs + 8 * block_count + 32 * number..][..32].copy_from_slice(&hash);
    }
    seal_root(bytes, parts);
}

fn seal_root(bytes: &mut [u8], parts: &Parts) {
    let root =
        writer::root_of(&bytes[..64], &bytes[parts.directory..parts.metadata], &bytes[parts.metadata..parts.trailer]);
    bytes[parts.trailer + 32..][..32].copy_from_slice(&root);
    seal_trailer(bytes, parts);
}

fn seal_trailer(bytes: &mut [u8], parts: &Parts) {
    let crc = digest::crc64(&bytes[parts.trailer..][..112]);
    bytes[parts.trailer + 112..][..8].copy_from_slice(&crc.to_le_bytes());
}

fn blocks_of(bytes: &[u8]) -> Vec<Entry> {
    everything(&open(bytes).unwrap()).3.into_iter().map(Result::unwrap).collect()
}

fn refusal(bytes: &[u8]) -> (ErrorKind, Option<Layer>) {
    let error = open(bytes).err().unwrap();
    (error.kind(), error.layer())
}

#[test]
fn every_truncation_is_refused() {
    let bytes = sample();
    for length in 0..bytes.len() {
        let expected = if length < 8 { ErrorKind::NotAnArchive } else { ErrorKind::Damaged };
        assert_eq!(refusal(&bytes[..length]).0, expected, "{length}");
    }
}

#[test]
fn every_flipped_bit_of_the_tables_is_refused_or_changes_nothing() {
    let bytes = sample();
    let (_, metadata, root, entries) = everything(&open(&bytes).unwrap());
    let entries: Vec<Entry> = entries.into_iter().map(Result::unwrap).collect();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(archive) = open(&flipped) else {
            assert!(bit / 8 >= parts(&bytes).directory, "only the tables are read at opening");
            continue;
        };
        let seen = everything(&archive);
        assert_eq!((&seen.1, seen.2), (&metadata, root));
        for (seen, expected) in seen.3.iter().zip(&entries) {
            match seen {
                Ok(seen) => assert_eq!(seen, expected),
                Err(error) => assert_eq!(error.layer(), Some(Layer::Index)),
            }
        }
        assert_eq!(archive.check_header().is_err(), bit < 64 * 8);
    }
}

#[test]
fn one_damaged_index_block_does_not_hide_the_others() {
    let mut bytes = sample();
    let parts = parts(&bytes);
    bytes[parts.index + 72 * 3 + 5] ^= 1;
    let archive = open(&bytes).unwrap();
    assert_eq!(archive.check_archive_crc(&mut blocks_of(&sample())).unwrap_err().layer(), Some(Layer::Trailer));
    for block in 0..archive.index_block_count() {
        let IndexBlock { offset, byte_count, .. } = archive.index_block_range(block);
        let mut read = vec![0; usize::try_from(byte_count).unwrap()];
        archive.read_range(offset, &mut read).unwrap();
        assert_eq!(archive.check_index_block(block, &read).len(), if block == 1 { 2 } else { 0 });
        assert_eq!(archive.entries_of_index_block(block).is_err(), block == 1);
    }
    assert!(archive.entry(0, 2).is_ok());
    assert_eq!(archive.entry(0, 3).unwrap_err().layer(), Some(Layer::Index));
}

#[test]
fn trailer_fields_are_checked_behind_right_checksums() {
    let bytes = sample();
    let parts = parts(&bytes);
    // Offset in the trailer, bytes put there, what the reader says.
    let cases: [(usize, &[u8], ErrorKind); 16] = [
        (0, &[0xFF; 8], ErrorKind::Damaged),
        (0, &[0; 8], ErrorKind::Damaged),
        (8, &[0xFF; 4], ErrorKind::Damaged),
        (8, &[0; 4], ErrorKind::Damaged),
        (12, &[0xFF; 4], ErrorKind::Damaged),
        (16, &[0xFF; 8], ErrorKind::Damaged),
        (16, &[0; 8], ErrorKind::Damaged),
        (32, &[0; 32], ErrorKind::Damaged),
        (64, &[0; 16], ErrorKind::Damaged),
        (80, &[1], ErrorKind::Damaged), // sealed, or a delta, of a version that has neither
        (80, &[2], ErrorKind::Damaged),
        (80, &[4], ErrorKind::Unsupported),
        (87, &[0x80], ErrorKind::Unsupported),
        (104, &[2, 0], ErrorKind::Unsupported),
        (104, &[0, 0], ErrorKind::Damaged),
        (108, &[1], ErrorKind::Damaged),
    ];
    for (offset, patch, expected) in cases {
        let mut hostile = bytes.clone();
        hostile[parts.trailer + offset..][..patch.len()].copy_from_slice(patch);
        seal_trailer(&mut hostile, &parts);
        assert_eq!(refusal(&hostile).0, expected, "{offset}");
    }
}

#[test]
fn unknown_compatible_features_and_minor_versions_are_read() {
    let bytes = sample();
    let parts = parts(&bytes);
    for (header, trailer) in [(24, 88), (32, 96), (10, 106)] {
        let mut later = bytes.clone();
        later[header] = 7;
        later[parts.trailer + trailer] = 7;
        let crc = digest::crc64(&later[..56]);
        later[56..64].copy_from_slice(&crc.to_le_bytes());
        seal(&mut later, &parts);
        open(&later).unwrap().check_header().unwrap();
    }
}

/// Every field of the directory but role and names binds: another value is refused.
#[test]
fn directory_fields_are_checked_behind_right_checksums() {
    let bytes = sample();
    let parts = parts(&bytes);
    let records = parts.directory + 64 + 40 * (parts.directory - parts.index).div_ceil(3 * 72);
    let header_fields =
        [(0, 8), (8, 8), (16, 8), (24, 4), (28, 4), (32, 4), (36, 4), (40, 4), (44, 4), (48, 8), (56, 8)];
    let record_fields = [
        (0, 4),
        (4, 2),
        (8, 2),
        (10, 2),
        (12, 4),
        (16, 4),
        (20, 4),
        (24, 8),
        (32, 8),
        (40, 8),
        (48, 8),
        (64, 8),
        (72, 8),
    ];
    let fields = header_fields.map(|(at, width)| (parts.directory + at, width)).into_iter();
    let fields =
        fields.chain((0..3).flat_map(|stream| record_fields.map(|(at, width)| (records + 80 * stream + at, width))));
    for (at, width) in fields {
        for value in [0u64, 1, 63, 65, 1 << 15, 1 << 31, 1 << 63, u64::MAX, u64::MAX - 63, u64::MAX / 72 + 1] {
            let mut hostile = bytes.clone();
            hostile[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            seal_root(&mut hostile, &parts);
            match open(&hostile) {
                Err(error) => assert_eq!(error.layer(), Some(Layer::Directory), "{at} {value}"),
                // An empty stream may have chunks of any size, an element type of the same width is another type.
                Ok(archive) => drop(everything(&archive)),
            }
        }
    }
}

#[test]
fn faults_of_the_directory_are_named() {
    let bytes = sample();
    let parts = parts(&bytes);
    let names = parts.metadata - "vectorsemptyids".len();
    let records = names - 3 * 80;
    let cases: [(usize, &[u8], &str); 8] = [
        (names, b"\xFF", "UTF-8"),
        (names, b"\n", "control"),
        (records + 80 + 4, &[3, 0], "name_offset"),
        (records + 8, &[13, 0], "element type 13"),
        (records + 12, &[13, 0], "row_bytes"),
        (records + 32, &[0; 8], "chunk_rows"),
        (records + 48, &[8, 0], "chunks"),
        (records + 40, &[1], "first_entry"),
    ];
    for (at, patch, expected) in cases {
        let mut hostile = bytes.clone();
        hostile[at..at + patch.len()].copy_from_slice(patch);
        seal_root(&mut hostile, &parts);
        let error = open(&hostile).err().unwrap();
        assert_eq!(error.layer(), Some(Layer::Directory));
        assert!(error.to_string().contains(expected), "{error}");
    }
    let mut twice = build(&[("ab", 1, 1, 0), ("aa", 1, 1, 0)], 3, "{}");
    let end = twice.len() - 128 - 2;
    twice[end - 1] = b'b';
    let parts = self::parts(&twice);
    seal_root(&mut twice, &parts);
    assert!(open(&twice).err().unwrap().to_string().contains("two streams"));
}

#[test]
fn index_fields_are_checked_behind_right_checksums() {
    let bytes = sample();
    let parts = parts(&bytes);
    let sealed = 3 * 24;
    let cases: [(usize, &[u8]); 11] = [
        (0, &[0; 8]),
        (0, &[65]),
        (0, &[0xC0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        (8, &[0; 4]),
        (8, &[125]),
        (8, &[0xFF; 4]),
        (12, &[1]),
        (14, &[1]),
        (sealed + 34, &[1]),
        (sealed + 36, &[1]),
        (sealed + 47, &[1]),
    ];
    for (at, patch) in cases {
        let mut hostile = bytes.clone();
        hostile[parts.index + at..][..patch.len()].copy_from_slice(patch);
        seal(&mut hostile, &parts);
        let archive = open(&hostile).unwrap();
        assert_eq!(archive.entry(0, 0).unwrap_err().layer(), Some(Layer::Index), "{at}");
        assert_eq!(archive.entry(0, 2).unwrap_err().layer(), Some(Layer::Index), "the whole block is refused");
        assert!(archive.entry(0, 3).is_ok());
    }
    let mut unknown_codec = bytes.clone();
    unknown_codec[parts.index + sealed + 32] = 200;
    seal(&mut unknown_codec, &parts);
    assert_eq!(open(&unknown_codec).unwrap().entry(0, 0).unwrap().codec, 200);
}

#[test]
fn a_wrong_archive_checksum_is_found_by_verification() {
    let mut bytes = sample();
    let parts = parts(&bytes);
    bytes[parts.trailer + 24] ^= 1;
    seal_trailer(&mut bytes, &parts);
    let error = open(&bytes).unwrap().check_archive_crc(&mut blocks_of(&bytes)).unwrap_err();
    assert_eq!((error.kind(), error.layer()), (ErrorKind::Damaged, Some(Layer::Trailer)));
}

#[test]
fn metadata_of_another_shape_is_refused() {
    let stored = "{\"a\":{\"b\":[1,\"x\"]},\"c\":null}";
    for wrong in [
        "{\"a\":{\"b\":[1,\"x\"]},\"a\":null}",
        "{\"a\":{\"b\":[1,\"x\"]},\"c\":12.5}",
        "[\"a\",{\"b\":[1,\"x\"]},\"c\",nulls",
        "[\"a\",{\"b\":[1,\"x\"]},\"c\", 12 ]",
        "\u{FEFF}{\"b\":[1,\"x\",\"yyy\",12345]}",
    ] {
        let mut bytes = sample();
        let parts = parts(&bytes);
        let mut wrong = wrong.to_owned();
        wrong.extend(std::iter::repeat_n(' ', stored.len().saturating_sub(wrong.len())));
        bytes[parts.metadata..parts.trailer].copy_from_slice(&wrong.as_bytes()[..stored.len()]);
        seal(&mut bytes, &parts);
        assert_eq!(refusal(&bytes), (ErrorKind::Damaged, Some(Layer::Metadata)), "{wrong}");
    }
    let mut bytes = sample();
    let parts = parts(&bytes);
    bytes[parts.metadata + 2] = 0xFF;
    seal(&mut bytes, &parts);
    assert_eq!(refusal(&bytes), (ErrorKind::Damaged, Some(Layer::Metadata)));
}

#[test]
fn canonical_json_is_sorted_and_without_blanks() {
    let value = metadata::parse_strict(" {\"b\": \" \\\" \", \"a\" : [ {} ] } ", Layer::Plan).unwrap();
    let text = metadata::to_canonical(&value).unwrap();
    assert_eq!(text, "{\"a\":[{}],\"b\":\" \\\" \"}");
    assert!(metadata::to_canonical(&serde_json::json!({"a": 0.5})).is_err());
}

/// Any number, with a liking for small ones, powers of two and the ends of ranges.
fn numbers() -> impl Strategy<Value = u64> {
    let bits = 0u32..64;
    prop_oneof![any::<u64>(), 0u64..300, bits.clone().prop_map(|bit| u64::MAX >> bit), bits.prop_map(|bit| 1 << bit)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(open(&bytes).is_err());
        // With the right magic and trailer checksum the fields themselves are reached.
        if let Some(start) = bytes.len().checked_sub(128) {
            let crc = digest::crc64(&bytes[start..start + 112]);
            bytes[start + 112..start + 120].copy_from_slice(&crc.to_le_bytes());
            bytes[start + 120..].copy_from_slice(b"\x1a\n\rKRAV\x89");
            prop_assert!(open(&bytes).is_err());
            let _ = trailer::decode(bytes[start..].try_into().unwrap(), bytes.len() as u64);
        }
        let id = ArchiveId([0; 16]);
        for identity in [Identity::current(id), Identity::delta(id), Identity::delta(id).sealed()] {
            if let Ok(public) = crate::archive::directory::decode_public(&bytes, 64, &identity) {
                let rest = bytes[public.public_bytes..].to_vec();
                let _ = crate::archive::directory::decode_sealable(public, &rest, &identity);
            }
            let _ = crate::archive::seal_record::decode(&bytes, 1);
            let _ = crate::archive::seal_record::parse_slots(&bytes);
        }
        let bounds = crate::archive::index::Bounds { ends: vec![u64::MAX], streams: &[], mappings: &[], overhead: 0 };
        let _ = crate::archive::index::decode_block(&bytes, 0, &bounds);
        let _ = metadata::decode(&bytes);
    }

    #[test]
    fn sealed_mutations_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        reseal_index in any::<bool>(),
    ) {
        let mut bytes = sample();
        let parts = parts(&bytes);
        for (at, value) in changes {
            let at = parts.index + at.index(parts.trailer - parts.index);
            bytes[at] = value;
        }
        if reseal_index { seal(&mut bytes, &parts) } else { seal_root(&mut bytes, &parts) }
        if let Ok(archive) = open(&bytes) {
            everything(&archive);
        }
    }

    #[test]
    fn sealed_directory_numbers_never_panic(field in 0usize..38, value in numbers()) {
        let mut bytes = sample();
        let parts = parts(&bytes);
        let records = parts.metadata - "vectorsemptyids".len() - 240;
        let start = if field < 8 { parts.directory + 8 * field } else { records + 8 * (field - 8) };
        bytes[start..start + 8].copy_from_slice(&value.to_le_bytes());
        seal_root(&mut bytes, &parts);
        if let Ok(archive) = open(&bytes) {
            everything(&archive);
        }
    }
}
