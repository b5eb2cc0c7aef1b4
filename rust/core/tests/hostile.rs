//! Damage of every kind: what is stored is either returned as it was, or reported; and reported exactly.
//!
//! `VARK_TEST_LONG=1` flips every bit; by default one bit of every byte, chosen by a fixed seed.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use vark_core::archive::{Archive, IndexBlock};
use vark_core::codec::Codec;
use vark_core::error::{Error, ErrorKind, Result};
use vark_core::pipeline::pack::{Input, MemberInput, Output, PackOptions, StreamInput, pack};
use vark_core::pipeline::restore::write_member;
use vark_core::pipeline::rows::{ReadState, RowReader};
use vark_core::pipeline::verify::{Level, VerifyReport, verify_source};
use vark_core::pipeline::view::read_plan;
use vark_core::split::Layout;
use vark_core::store::ReadAt;
use vark_core::stream::{ElementType, StreamRole, StreamSpec};
use vark_core::testing::{Random, RawStream, Shared, archive_of, pack_options, restore_options};

/// Every codec, and runs of every kind: rows, fixed groups, groups with inline and with other counts, derived.
fn small_archive() -> Vec<u8> {
    let indexes = vark_core::testing::files::indexes();
    let mut members: Vec<MemberInput> = ["hnswlib_2_of_5.hnsw", "hnsw_flat_2.faiss", "ivf_flat_2.faiss"]
        .map(|name| MemberInput {
            name: name.to_owned(),
            input: Input::Shared(Arc::new(std::fs::read(indexes.join(name)).unwrap())),
            layout: Layout::Auto,
            facts: serde_json::Map::new(),
        })
        .into();
    let mut random = Random(5);
    let floats = (0..130)
        .flat_map(|_| f32::from_bits(0x3F00_0000 | u32::try_from(random.below(1 << 24)).unwrap()).to_le_bytes());
    let floats: Vec<u8> = floats.collect();
    let ids: Vec<u8> = (0..40u64).flat_map(|id| (id * 3 + 7).to_le_bytes()).collect();
    let levels: Vec<u8> = (0..60).flat_map(|_| u32::try_from(random.below(200)).unwrap().to_le_bytes()).collect();
    let halves: Vec<u8> = random.bytes(130).into_iter().flat_map(|byte| [byte & 127, 0x3C]).collect();
    let widened: Vec<u8> = random.bytes(130).into_iter().flat_map(|byte| [0, 0, byte & 127, 0x3F]).collect();
    let stream = |name: &str, role, element, bytes: Vec<u8>| StreamInput {
        spec: StreamSpec::new(name, role, element, 1),
        input: Input::Shared(Arc::new(bytes)),
    };
    let dealt: Vec<u8> =
        (0..24u64).map(|id| id * 2).chain((0..24).map(|id| id * 2 + 1)).flat_map(u64::to_le_bytes).collect();
    let ring =
        (0..100i32).flat_map(|node| [1, 2, 3, 97, 98, 99].map(|step| (node + step) % 100)).flat_map(i32::to_le_bytes);
    let mut ring = stream("ring", StreamRole::LINKS, ElementType::I32, ring.collect());
    ring.spec.row_elements = 6;
    let mut streams = vec![
        ring,
        stream("dealt", StreamRole::IDS, ElementType::U64, dealt),
        stream("floats", StreamRole::VECTORS, ElementType::F32, floats),
        stream("float16", StreamRole::VECTORS, ElementType::F16, halves.clone()),
        stream("bfloat16", StreamRole::VECTORS, ElementType::Bf16, halves),
        stream("widened", StreamRole::VECTORS, ElementType::F32, widened),
        stream("ids", StreamRole::IDS, ElementType::U64, ids),
        stream("small", StreamRole::LINKS, ElementType::U32, levels),
        stream("noise", StreamRole::CODES, ElementType::U8, random.bytes(100)),
    ];
    let shared = Shared::default();
    let options = PackOptions { digest_members: true, ..pack_options() };
    let output = Output::Pipe(Box::new(shared.clone()));
    pack(output, &mut members, &mut streams, &options, &mut |_, _| Ok(())).unwrap();
    let bytes = shared.0.lock().unwrap();
    bytes.clone()
}

/// All that a reader hands out.
#[derive(Debug, PartialEq)]
struct Content {
    metadata: String,
    streams: Vec<(String, Vec<u8>)>,
    members: Vec<(String, Vec<u8>)>,
}

fn read_streams(reader: &RowReader) -> Vec<(String, Result<Vec<u8>>)> {
    let mut state = ReadState::default();
    let streams = reader.archive().streams().iter().enumerate();
    let read = streams.map(|(number, stream)| {
        let mut rows = vec![0; usize::try_from(stream.raw_bytes()).unwrap()];
        (stream.name.clone(), reader.read_rows(&mut state, number, 0, &mut rows).map(|()| rows))
    });
    read.collect()
}

fn content(bytes: &[u8]) -> Result<Content> {
    let reader = Arc::new(RowReader::new(Archive::open(Arc::new(bytes.to_vec()))?, 1 << 20));
    let streams = read_streams(&reader).into_iter().map(|(name, rows)| Ok((name, rows?)));
    let streams = streams.collect::<Result<_>>()?;
    let mut members = Vec::new();
    for (number, member) in read_plan(&reader)?.unwrap().members.into_iter().enumerate() {
        let mut restored = Vec::new();
        write_member(&reader, number, &mut restored, &restore_options(), &mut |_, _| Ok(()))?;
        members.push((member.name, restored));
    }
    Ok(Content { metadata: reader.archive().metadata().to_owned(), streams, members })
}

fn verified(bytes: &[u8]) -> Result<VerifyReport> {
    verify_source(Arc::new(bytes.to_vec()), Level::Full, 1, &mut |_, _| Ok(()))
}

/// True when the damage was found. Rows that are handed out all the same must be the true ones.
fn is_reported(damaged: &[u8], truth: &Content) -> bool {
    if let Ok(archive) = Archive::open(Arc::new(damaged.to_vec())) {
        for (name, rows) in read_streams(&RowReader::new(archive, 1 << 20)) {
            let stored = &truth.streams.iter().find(|stream| stream.0 == name).unwrap().1;
            assert!(rows.is_err() || rows.is_ok_and(|rows| rows == *stored), "wrong rows of {name}");
        }
    }
    match verified(damaged) {
        Ok(report) if report.ok => {
            assert_eq!(content(damaged).unwrap(), *truth);
            false
        }
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::NotAnArchive | ErrorKind::Unsupported | ErrorKind::Damaged),
    }
}

#[test]
fn every_truncation_and_every_flipped_bit_is_reported() {
    let bytes = small_archive();
    let truth = content(&bytes).unwrap();
    let reader = RowReader::new(Archive::open(Arc::new(bytes.clone())).unwrap(), 0);
    let mut codecs = BTreeSet::new();
    for (number, stream) in reader.archive().streams().iter().enumerate() {
        codecs.extend((0..stream.chunk_count).map(|chunk| reader.archive().entry(number, chunk).unwrap().codec));
    }
    // From 32 on they belong to deltas, which have tests of their own.
    assert_eq!(codecs, Codec::ALL.iter().map(|codec| codec.number()).filter(|number| *number < 32).collect());
    assert!(verified(&bytes).unwrap().ok);

    for length in 0..bytes.len() {
        assert!(is_reported(&bytes[..length], &truth), "cut to {length} bytes");
    }
    let all = std::env::var_os("VARK_TEST_LONG").is_some();
    let mut random = Random(1);
    let (mut flips, mut silent) = (0, Vec::new());
    for byte in 0..bytes.len() {
        let one = random.below(8);
        for bit in (0..8).filter(|bit| all || *bit == one) {
            let mut damaged = bytes.clone();
            damaged[byte] ^= 1 << bit;
            flips += 1;
            if !is_reported(&damaged, &truth) {
                silent.push((byte, bit));
            }
        }
    }
    println!("{} bytes: {} truncations, {flips} flipped bits", bytes.len(), bytes.len());
    assert_eq!(silent, [], "flips that verification does not see");
}

/// Three streams of 30 to 70 chunks of odd sizes, few entries an index block.
fn chunked_archive(random: &mut Random) -> Vec<u8> {
    let streams: Vec<RawStream> = (0..3)
        .map(|number| {
            let (row_bytes, chunk_rows) = (1 + random.below(20), 1 + random.below(30));
            let rows = chunk_rows * (29 + random.below(40)) + 1 + random.below(chunk_rows);
            let spec = StreamSpec::new(
                format!("s{number}"),
                StreamRole::VECTORS,
                ElementType::U8,
                u32::try_from(row_bytes).unwrap(),
            );
            RawStream { spec, chunk_rows, data: random.bytes(rows * row_bytes) }
        })
        .collect();
    archive_of(&streams, u32::try_from(1 + random.below(40)).unwrap()).unwrap()
}

type Place = (String, u64, u64, u64, u64);

fn places(report: &VerifyReport) -> Vec<Place> {
    places_of(&report.damage)
}

fn places_of(damage: &[vark_core::pipeline::verify::Damage]) -> Vec<Place> {
    let place = |damage: &vark_core::pipeline::verify::Damage| {
        let stream = damage.stream.clone().unwrap();
        (stream, damage.first_row.unwrap(), damage.row_count.unwrap(), damage.offset, damage.byte_count)
    };
    let mut places: Vec<Place> = damage.iter().map(place).collect();
    places.sort();
    places
}

/// A disk with bad places: reading any byte of them fails.
struct BadDisk {
    bytes: Vec<u8>,
    bad: Vec<u64>,
}

impl ReadAt for BadDisk {
    fn byte_count(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let end = offset + buffer.len() as u64;
        match self.bad.iter().find(|bad| (offset..end).contains(bad)) {
            Some(bad) => Err(Error::new(ErrorKind::Io, format!("byte {bad}"), "input/output error")),
            None => self.bytes.read_at(offset, buffer),
        }
    }
}

#[test]
fn a_place_that_cannot_be_read_does_not_speak_against_its_neighbours() {
    // Longer than what opening reads.
    let mut random = Random(9);
    let spec = |name| StreamSpec::new(name, StreamRole::VECTORS, ElementType::U8, 100);
    let streams =
        ["s0", "s1", "s2"].map(|name| RawStream { spec: spec(name), chunk_rows: 10, data: random.bytes(60_000) });
    let bytes = archive_of(&streams, 3_584).unwrap();
    let archive = Archive::open(Arc::new(bytes.clone())).unwrap();
    let mut expected = Vec::new();
    let mut bad = Vec::new();
    for (stream, chunk) in [(0usize, 3), (0, 4), (1, 0)] {
        let (description, entry) = (&archive.streams()[stream], archive.entry(stream, chunk).unwrap());
        bad.push(entry.offset + u64::from(entry.stored_bytes) / 2);
        let first_row = chunk * description.chunk_rows;
        let rows = description.rows_in_chunk(chunk);
        expected.push((description.name.clone(), first_row, rows, entry.offset, u64::from(entry.stored_bytes)));
    }
    let report = verify_source(Arc::new(BadDisk { bytes, bad }), Level::Full, 2, &mut |_, _| Ok(())).unwrap();
    assert!(report.damage.is_empty() && !report.ok);
    assert_eq!(places_of(&report.unread), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_blocks_are_listed_exactly(seed in any::<u64>()) {
        let mut random = Random(seed);
        let mut bytes = chunked_archive(&mut random);
        let archive = Archive::open(Arc::new(bytes.clone())).unwrap();
        let mut expected = BTreeSet::new();
        for _ in 0..1 + random.below(20) {
            let stream = usize::try_from(random.below(3)).unwrap();
            let description = &archive.streams()[stream];
            let chunk = random.below(description.chunk_count);
            let entry = archive.entry(stream, chunk).unwrap();
            let place: Place = (
                description.name.clone(),
                chunk * description.chunk_rows,
                description.rows_in_chunk(chunk),
                entry.offset,
                u64::from(entry.stored_bytes),
            );
            if expected.insert(place) {
                let byte = entry.offset + random.below(u64::from(entry.stored_bytes));
                bytes[usize::try_from(byte).unwrap()] ^= 1 << random.below(8);
            }
        }
        for level in [Level::Stored, Level::Full] {
            let report = verify_source(Arc::new(bytes.clone()), level, 2, &mut |_, _| Ok(())).unwrap();
            prop_assert_eq!(&places(&report), &expected.iter().cloned().collect::<Vec<_>>());
            prop_assert!(report.damage.iter().all(|damage| damage.layer == "block"));
        }
    }

    #[test]
    fn damaged_index_blocks_cost_exactly_their_rows(seed in any::<u64>()) {
        let mut random = Random(seed);
        let mut bytes = chunked_archive(&mut random);
        let archive = Archive::open(Arc::new(bytes.clone())).unwrap();
        let mut lost = BTreeSet::new();
        for _ in 0..1 + random.below(3) {
            lost.insert(random.below(archive.index_block_count()));
        }
        let start = archive.index_block_range(0).offset;
        let mut lost_chunks = BTreeSet::new();
        for block in &lost {
            let IndexBlock { offset, byte_count, .. } = archive.index_block_range(*block);
            bytes[usize::try_from(offset + random.below(byte_count)).unwrap()] ^= 0x10;
            lost_chunks.extend((offset - start) / 72..(offset - start + byte_count) / 72);
        }
        let report = verified(&bytes).unwrap();
        prop_assert!(report.damage.iter().all(|damage| damage.layer == "index"));
        for stream in archive.streams() {
            let mut reported = BTreeSet::new();
            for damage in report.damage.iter().filter(|damage| damage.stream.as_ref() == Some(&stream.name)) {
                let first = damage.first_row.unwrap();
                reported.extend(first..first + damage.row_count.unwrap());
            }
            let chunks = (0..stream.chunk_count).filter(|chunk| lost_chunks.contains(&(stream.first_entry + chunk)));
            let rows = chunks.flat_map(|chunk| {
                let first = chunk * stream.chunk_rows;
                first..first + stream.rows_in_chunk(chunk)
            });
            prop_assert_eq!(reported, rows.collect::<BTreeSet<u64>>());
        }
    }
}
