//! Members into memory: put together by several threads, and looked at before all of them is there.
#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::json;
use std::cell::Cell;
use std::sync::Arc;
use vark_core::error::{Error, ErrorKind, Result};
use vark_core::pipeline::memory::{Later, read_checked, read_member};
use vark_core::pipeline::pack::{Input, MemberInput};
use vark_core::pipeline::rows::RowReader;
use vark_core::split::{Layout, check_faiss, check_hnswlib, plan_file};
use vark_core::store::ReadAt;
use vark_core::stream::{ElementType, StreamRole, StreamSpec};
use vark_core::testing::files::{indexes, open, pack_to};
use vark_core::testing::{Random, RawStream, archive_of, pack_options};

const RECORDS: usize = 200_000;

fn spec(name: &str, role: StreamRole, row_elements: u32) -> StreamSpec {
    StreamSpec { name: name.to_owned(), role, element_type: ElementType::U32, row_elements }
}

/// Records of links (four partitions above 8 MiB, the last one short), vectors and labels; the archive and the file.
fn records() -> (Vec<u8>, Vec<u8>) {
    let mut random = Random(21);
    let shapes = [("links", StreamRole::LINKS, 33, 65_536), ("vectors", StreamRole::CODES, 4, 4_096)];
    let shapes = shapes.into_iter().chain([("labels", StreamRole::IDS, 2, 100_000)]);
    let mut streams: Vec<RawStream> = shapes
        .map(|(name, role, width, chunk_rows)| RawStream {
            spec: spec(name, role, width),
            chunk_rows,
            data: random.bytes(4 * u64::from(width) * RECORDS as u64),
        })
        .collect();
    let mut file = Vec::new();
    for record in 0..RECORDS {
        for stream in &streams {
            let bytes = stream.data.len() / RECORDS;
            file.extend(&stream.data[record * bytes..(record + 1) * bytes]);
        }
    }
    let fields: Vec<_> =
        streams.iter().map(|stream| json!({"stream": stream.spec.name, "first": 0, "rows": 1})).collect();
    let run = json!({"kind": "groups", "groups": RECORDS, "fields": fields});
    let member = json!({"name": "m", "layout": "hnswlib", "bytes": file.len(), "runs": [run]});
    let plan = json!({"version": 1, "folders": [], "members": [member]}).to_string().into_bytes();
    streams.push(RawStream { spec: StreamSpec::bytes("plan", StreamRole::PLAN), chunk_rows: 1 << 20, data: plan });
    (archive_of(&streams, 3_584).unwrap(), file)
}

#[test]
fn records_of_several_partitions_come_into_memory_with_any_number_of_threads() {
    let (archive, file) = records();
    for threads in [1, 2, 3, 8] {
        let mut out = vec![0xAA; file.len()];
        let mut told = 0;
        let mut tell = |done, total| {
            assert!(done >= told && total == Some(file.len() as u64));
            told = done;
            Ok(())
        };
        read_member(&open(&archive), 0, &mut out, threads, &mut tell).unwrap();
        assert!(out == file, "{threads} threads");
        assert_eq!(told, file.len() as u64);
    }
}

#[test]
fn damage_of_a_partition_or_of_rows_between_is_an_error() {
    let (archive, file) = records();
    let place = |bytes: &[u8]| archive.windows(64).position(|window| window == bytes).unwrap();
    let second_partition = place(&file[65_536 * 156..][..64]);
    for (at, chunk) in
        [(second_partition, "chunk 1 of stream \"links\""), (second_partition + 19_000_000, "stream \"vectors\"")]
    {
        let mut damaged = archive.clone();
        damaged[at] ^= 1;
        let mut out = vec![0; file.len()];
        let error = read_member(&open(&damaged), 0, &mut out, 2, &mut |_, _| Ok(())).unwrap_err();
        assert!(error.kind() == ErrorKind::Damaged && error.to_string().contains(chunk), "{error}");
    }
}

#[test]
fn a_caller_that_has_enough_ends_it() {
    let (archive, file) = records();
    let mut calls = 0;
    let mut tell = |_, _| {
        calls += 1;
        if calls < 40 { Ok(()) } else { Err(Error::new(ErrorKind::Cancelled, "test", "enough")) }
    };
    let error = read_member(&open(&archive), 0, &mut vec![0; file.len()], 2, &mut tell).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

fn index_file(name: &str) -> Vec<u8> {
    std::fs::read(indexes().join(name)).unwrap()
}

fn packed(file: &[u8], digest_members: bool) -> Arc<RowReader> {
    let input = Input::Shared(Arc::new(file.to_vec()));
    let mut member = MemberInput { name: "m".to_owned(), input, layout: Layout::Auto, facts: serde_json::Map::new() };
    let options = vark_core::pipeline::pack::PackOptions { digest_members, ..pack_options() };
    open(&pack_to(std::slice::from_mut(&mut member), &options).unwrap())
}

type Facts = serde_json::Map<String, serde_json::Value>;

/// Facts, whether all was there, and what `check` was given of the file.
fn loaded(
    reader: &Arc<RowReader>,
    file: &[u8],
    later: &Later,
    check: fn(&dyn ReadAt) -> Result<Facts>,
) -> (Result<(Facts, bool)>, Vec<u8>) {
    let mut out = vec![0xAA; file.len()];
    let read = read_checked(reader, 0, &mut out, later, 2, &check, &mut |_, _| Ok(()));
    (read, out)
}

/// The last thing to wait for is a partition that leads, alone or with its last records.
#[test]
fn a_member_of_one_large_chunk_or_two_comes_into_memory() {
    let mut random = Random(4);
    for rows in [65_536usize, 65_537, 131_072] {
        let file = random.bytes(132 * rows as u64);
        let run = json!({"kind": "rows", "stream": "links", "first": 0, "rows": rows});
        let member = json!({"name": "m", "layout": "opaque", "bytes": file.len(), "runs": [run]});
        let plan = json!({"version": 1, "folders": [], "members": [member]}).to_string().into_bytes();
        let streams = [
            RawStream { spec: spec("links", StreamRole::LINKS, 33), chunk_rows: 65_536, data: file.clone() },
            RawStream { spec: StreamSpec::bytes("plan", StreamRole::PLAN), chunk_rows: 1 << 20, data: plan },
        ];
        let reader = open(&archive_of(&streams, 3_584).unwrap());
        for threads in [1, 2, 4] {
            let mut out = vec![0; file.len()];
            read_member(&reader, 0, &mut out, threads, &mut |_, _| Ok(())).unwrap();
            assert!(out == file);
        }
    }
}

/// Whatever the caller thinks that the check does not need: the check comes to the same, and only such bytes are left out.
#[test]
fn a_check_finds_the_same_whatever_comes_later() {
    let mut random = Random(8);
    let mut left_out = 0;
    let names =
        ["hnsw_flat_12", "hnsw_flat_0", "hnsw_pq", "hnsw_sq", "idmap", "idmap2_hnsw", "flat_12", "pq", "ivf_flat_12"];
    let files = names.map(|name| index_file(&format!("{name}.faiss")));
    let files = files.into_iter().map(|file| (file, check_faiss as fn(&dyn ReadAt) -> Result<Facts>));
    for (file, check) in files.chain([(index_file("hnswlib_12_of_20.hnsw"), check_hnswlib as _)]) {
        let (plain, digested) = (packed(&file, false), packed(&file, true));
        let expected = check(&file).unwrap();
        let bytes = file.len() as u64;
        let (_, streams) = plan_file(&file, "m", Layout::Auto).unwrap();
        for round in 0..60 {
            let anywhere = random.below(bytes + 1);
            let (start, end) = match (round, streams.get(round % streams.len())) {
                (0, _) => (0, bytes),
                (_, Some(rows)) if round < 3 * streams.len() => {
                    (rows.offset, rows.offset + rows.row_count * u64::from(rows.spec.row_bytes().unwrap()))
                }
                _ => (anywhere, anywhere + random.below(bytes + 9 - anywhere)),
            };
            let later = Later { bytes: start..end, is_left_out: round % 3 != 2 };
            let (read, out) = loaded(&plain, &file, &later, check);
            let (facts, is_whole) = read.unwrap();
            assert_eq!(facts, expected);
            assert!(is_whole || later.is_left_out);
            for (place, (one, other)) in out.iter().zip(&file).enumerate() {
                let is_there = one == other;
                assert!(is_there || (!is_whole && later.bytes.contains(&(place as u64))), "byte {place}");
            }
            left_out += usize::from(out != file);
            let (read, out) = loaded(&digested, &file, &later, check);
            assert!(out == file && read.unwrap() == (expected.clone(), true));
        }
    }
    assert!(left_out > 20, "{left_out}");
}

#[test]
fn a_faulty_index_is_refused_and_damage_comes_before_what_is_wrong_in_it() {
    let mut file = index_file("hnsw_flat_12.faiss");
    let vectors = file.len() as u64 - 12 * 16;
    let link = file.windows(4).rposition(|window| window == [0xFF; 4]).unwrap();
    file[link..link + 4].copy_from_slice(&99u32.to_le_bytes());
    assert_eq!(check_faiss(&file).unwrap_err().kind(), ErrorKind::Malformed);
    let reader = packed(&file, false);
    for is_left_out in [false, true] {
        let later = Later { bytes: vectors..file.len() as u64, is_left_out };
        assert_eq!(loaded(&reader, &file, &later, check_faiss).0.unwrap_err().kind(), ErrorKind::Malformed);
    }
}

#[test]
fn a_check_that_asks_for_the_later_bytes_is_asked_again() {
    let file = index_file("flat_12.faiss");
    let reader = packed(&file, false);
    let later = Later { bytes: 0..file.len() as u64, is_left_out: true };
    let calls = Cell::new(0);
    let look = |source: &dyn ReadAt| {
        calls.set(calls.get() + 1);
        let mut last = [0; 4];
        source.read_at(source.byte_count() - 4, &mut last).map(|()| last)
    };
    let mut out = vec![0; file.len()];
    let (last, is_whole) = read_checked(&reader, 0, &mut out, &later, 1, &look, &mut |_, _| Ok(())).unwrap();
    assert_eq!((&last[..], is_whole), (&file[file.len() - 4..], true));
    assert!(out == file);
    // In vain before, and again when all was there.
    assert_eq!(calls.get(), 2);
}
