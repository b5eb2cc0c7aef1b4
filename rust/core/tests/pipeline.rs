//! Packing and restoring from end to end: what goes in comes out, whatever the settings.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use std::sync::Arc;
use vark_core::codec::Compression;
use vark_core::error::ErrorKind;
use vark_core::pipeline::pack::{Input, MemberInput, Output, PackOptions, StreamInput, pack};
use vark_core::pipeline::restore::{restore, write_member};
use vark_core::pipeline::rows::ReadState;
use vark_core::pipeline::verify::{Level, verify};
use vark_core::pipeline::view::read_plan;
use vark_core::split::Layout;
use vark_core::store::ReadAt;
use vark_core::stream::{ElementType, StreamRole, StreamSpec};
use vark_core::testing::files::{Folder, hnswlib, npy, open, pack_to, restored_files};
use vark_core::testing::{Random, Shared, Trickle, pack_options, restore_options};

fn member(name: &str, bytes: Vec<u8>) -> MemberInput {
    let input = Input::Shared(Arc::new(bytes));
    MemberInput { name: name.to_owned(), input, layout: Layout::Auto, facts: serde_json::Map::new() }
}

fn live(bytes: Vec<u8>, layout: Layout) -> MemberInput {
    let sizes = bytes.iter().rev().take(9).map(|byte| byte | 0x80).collect();
    let input = Input::Pipe(Some(Box::new(Trickle { data: bytes, at: 0, sizes, turn: 0 })));
    MemberInput { name: "m".to_owned(), input, layout, facts: serde_json::Map::new() }
}

/// A file of some kind, small as a rule, of several chunks now and then.
fn some_file(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => Vec::new(),
        1 => {
            let bytes = random.below(5_000);
            random.bytes(bytes)
        }
        2 => {
            let bytes = 524_288 * random.below(3) + random.below(3);
            random.bytes(bytes)
        }
        3 => {
            let (rows, width) = (random.below(3_000), 1 + random.below(90));
            npy(random, rows, width)
        }
        _ => {
            let (count, degree, width) = (random.below(2_500), 1 + random.below(20), 1 + random.below(50));
            hnswlib(random, count, degree, width, 4)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn members_folders_and_streams_come_back(seed in any::<u64>()) {
        let mut random = Random(seed);
        let names = ["a.bin", "sub/b.bin", "sub/deeper/c", "d", "Ä/e f"];
        let count = 1 + usize::try_from(random.below(5)).unwrap();
        let files: Vec<(String, Vec<u8>)> =
            names[..count].iter().map(|name| ((*name).to_owned(), some_file(&mut random))).collect();
        let mut members: Vec<MemberInput> = files.iter().map(|(name, bytes)| member(name, bytes.clone())).collect();
        let row_bytes = 1 + u32::try_from(random.below(40)).unwrap();
        let rows = random.below(30_000);
        let extra = random.bytes(rows * u64::from(row_bytes));
        let spec = StreamSpec::new("extra", StreamRole::CODES, ElementType::U8, row_bytes);
        let mut streams = [StreamInput { spec, input: Input::Shared(Arc::new(extra.clone())) }];
        let options = PackOptions {
            threads: 1 + usize::try_from(random.below(3)).unwrap(),
            digest_members: random.below(2) == 0,
            compression: if random.below(4) == 0 { Compression::None } else { Compression::Auto },
            folders: vec!["empty/one".to_owned(), "sub/two".to_owned()],
            ..pack_options()
        };
        let shared = Shared::default();
        let output = Output::Pipe(Box::new(shared.clone()));
        let report = pack(output, &mut members, &mut streams, &options, &mut |_, _| Ok(())).unwrap();
        prop_assert!(!report.partial);

        let bytes = shared.0.lock().unwrap().clone();
        prop_assert_eq!(report.archive_bytes, bytes.len() as u64);
        let reader = open(&bytes);
        let checked = verify(&reader, Level::Full, 2, &mut |_, _| Ok(())).unwrap();
        prop_assert!(checked.ok, "{:?}", checked.damage);
        let number = reader.archive().stream_index("extra").unwrap();
        let mut found = vec![0; extra.len()];
        reader.read_rows(&mut ReadState::default(), number, 0, &mut found).unwrap();
        prop_assert!(found == extra);
        // Single rows, too, from anywhere.
        for _ in 0..5.min(rows) {
            let row = random.below(rows);
            let mut one = vec![0; usize::try_from(row_bytes).unwrap()];
            reader.read_rows(&mut ReadState::default(), number, row, &mut one).unwrap();
            let at = usize::try_from(row).unwrap() * one.len();
            prop_assert!(one == extra[at..at + one.len()]);
        }

        let folder = Folder::new();
        restore(&reader, &folder.path("out"), None, &restore_options(), &mut |_, _| Ok(())).unwrap();
        let mut expected = files.clone();
        expected.sort();
        prop_assert!(restored_files(&folder.path("out")) == expected);
        prop_assert!(folder.path("out/empty/one").is_dir() && folder.path("out/sub/two").is_dir());
        for (number, (name, bytes)) in files.iter().enumerate() {
            let mut written = Vec::new();
            write_member(&reader, number, &mut written, &restore_options(), &mut |_, _| Ok(())).unwrap();
            prop_assert!(written == *bytes, "{}", name);
        }
        prop_assert_eq!(folder.names(), ["out"]);
    }
}

#[test]
fn archives_do_not_depend_on_threads_and_memory() {
    let mut random = Random(3);
    // Among them chunks that are large, a partition of links between other rows and rows that stand together.
    let files = [
        hnswlib(&mut random, 9_000, 12, 40, 4),
        hnswlib(&mut random, 140_000, 16, 4, 4),
        random.bytes(3_000_000),
        npy(&mut random, 3, 2_500_000),
        npy(&mut random, 5_000, 100),
    ];
    let mut first: Option<Vec<u8>> = None;
    for (threads, memory_bytes) in [(1, 64 << 20), (2, 64 << 20), (8, 256 << 20), (8, 1), (2, 3 << 20)] {
        let mut members: Vec<MemberInput> =
            files.iter().enumerate().map(|(number, bytes)| member(&number.to_string(), bytes.clone())).collect();
        let shared = Shared::default();
        let options = PackOptions { threads, memory_bytes, ..pack_options() };
        let output = Output::Pipe(Box::new(shared.clone()));
        pack(output, &mut members, &mut [], &options, &mut |_, _| Ok(())).unwrap();
        let bytes = shared.0.lock().unwrap().clone();
        assert!(*first.get_or_insert_with(|| bytes.clone()) == bytes, "{threads} threads, {memory_bytes} bytes");
    }
    let reader = open(&first.unwrap());
    for (number, file) in files.iter().enumerate() {
        for memory_bytes in [1, 64 << 20] {
            let mut written = Vec::new();
            let options =
                vark_core::pipeline::restore::RestoreOptions { memory_bytes, threads: 8, ..restore_options() };
            write_member(&reader, number, &mut written, &options, &mut |_, _| Ok(())).unwrap();
            assert!(written == *file);
        }
    }
}

/// An id map of faiss over a flat index of one dimension: small chunks of vectors, then large ones of ids.
fn id_map(random: &mut Random, count: u64) -> Vec<u8> {
    let header = |tag: &[u8; 4]| {
        let mut header = tag.to_vec();
        header.extend(1u32.to_le_bytes());
        for number in [count, 1 << 20, 1 << 20] {
            header.extend(number.to_le_bytes());
        }
        header.push(1);
        header.extend(1u32.to_le_bytes());
        header
    };
    let mut file = header(b"IxMp");
    file.extend(header(b"IxF2"));
    file.extend(count.to_le_bytes());
    file.extend(random.bytes(4 * count));
    file.extend(count.to_le_bytes());
    (0..count).for_each(|id| file.extend((id ^ 5).to_le_bytes()));
    file
}

/// Large chunks are placed later than they come; a short one after them, or another large one, must not change where.
#[test]
fn large_chunks_are_placed_by_order_alone() {
    let mut random = Random(5);
    for count in [(1 << 22) + 1_000, (1 << 22) + (1 << 21)] {
        let file = id_map(&mut random, count);
        let mut first: Option<Vec<u8>> = None;
        for (threads, memory_bytes) in [(1, 64 << 20), (2, 1 << 30), (4, 1 << 32)] {
            let shared = Shared::default();
            let options = PackOptions { threads, memory_bytes, ..pack_options() };
            let output = Output::Pipe(Box::new(shared.clone()));
            let report = pack(output, &mut [member("m", file.clone())], &mut [], &options, &mut |_, _| Ok(())).unwrap();
            assert_eq!(report.members[0].layout, "faiss/IxMp");
            let bytes = std::mem::take(&mut *shared.0.lock().unwrap());
            assert!(*first.get_or_insert_with(|| bytes.clone()) == bytes, "{count}: {threads} threads");
        }
        let mut written = Vec::new();
        let reader = open(&first.unwrap());
        write_member(&reader, 0, &mut written, &restore_options(), &mut |_, _| Ok(())).unwrap();
        assert!(written == file);
        let mut filled = vec![0; file.len()];
        vark_core::pipeline::memory::read_member(&reader, 0, &mut filled, 3, &mut |_, _| Ok(())).unwrap();
        assert!(filled == file);
    }
}

#[test]
fn a_view_gives_any_range_of_a_member() {
    let mut random = Random(11);
    let file = hnswlib(&mut random, 7_000, 16, 33, 3);
    let bytes = pack_to(&mut [member("m", file.clone())], &pack_options()).unwrap();
    let reader = open(&bytes);
    let plan = read_plan(&reader).unwrap().unwrap();
    assert_eq!(plan.members[0].layout, "hnswlib");
    let view = vark_core::pipeline::restore::view(&reader, &plan, 0, &mut || Ok(())).unwrap();
    for _ in 0..300 {
        let offset = random.below(file.len() as u64);
        let length = random.below((file.len() as u64 - offset).min(400_000) + 1);
        let mut found = vec![0; usize::try_from(length).unwrap()];
        view.read_at(offset, &mut found).unwrap();
        let at = usize::try_from(offset).unwrap();
        assert!(found == file[at..at + found.len()]);
    }
    assert_eq!(view.read_at(file.len() as u64, &mut [0]).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_live_index_is_packed_like_its_file() {
    let mut random = Random(17);
    let files = [
        (hnswlib(&mut random, 5_000, 16, 40, 5), Layout::Hnswlib),
        // Groups longer than a batch: their counts have left the pipe when the rest of the group comes.
        (hnswlib(&mut random, 5, 30_000, 2, 30), Layout::Hnswlib),
        // Windows of the pipe end inside counts and groups.
        (hnswlib(&mut random, 60_000, 1, 1, 3), Layout::Hnswlib),
        (npy(&mut random, 20_000, 30), Layout::Npy),
        (random.bytes(2_500_001), Layout::Opaque),
        (Vec::new(), Layout::Opaque),
    ];
    for (number, (file, layout)) in files.into_iter().enumerate() {
        let from_file = pack_to(&mut [member("m", file.clone())], &pack_options()).unwrap();
        let options = PackOptions { digest_members: true, threads: 2, ..pack_options() };
        let from_pipe = pack_to(&mut [live(file.clone(), layout)], &options).unwrap();
        let (by_file, by_pipe) = (open(&from_file), open(&from_pipe));
        let report = verify(&by_pipe, Level::Full, 2, &mut |_, _| Ok(())).unwrap();
        assert!(report.ok, "{number}: {:?}", report.damage);
        let mut written = Vec::new();
        write_member(&by_pipe, 0, &mut written, &restore_options(), &mut |_, _| Ok(())).unwrap();
        assert!(written == file, "{number}");
        let (one, two) = (read_plan(&by_file).unwrap().unwrap(), read_plan(&by_pipe).unwrap().unwrap());
        assert_eq!(one.members[0].layout, two.members[0].layout);
        assert_eq!(two.members[0].blake3, Some(blake3_hex(&file)));
        for stream in by_file.archive().streams().iter().filter(|stream| stream.name != "plan") {
            let other = by_pipe.archive().stream_index(&stream.name).unwrap();
            assert_eq!(by_pipe.archive().streams()[other].row_count, stream.row_count, "{number}: {}", stream.name);
        }
    }
}

#[test]
fn fixtures_come_back_from_files_and_pipes() {
    let folder = vark_core::testing::files::indexes();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = std::fs::read(&path).unwrap();
        let layout = match path.extension().unwrap().to_str().unwrap() {
            "faiss" => Layout::Faiss,
            "hnsw" => Layout::Hnswlib,
            "npy" => Layout::Npy,
            "usearch" => Layout::Usearch,
            "index" => Layout::DiskAnn,
            _ => continue,
        };
        let name = path.file_stem().unwrap().to_str().unwrap();
        let looks_ahead = matches!(layout, Layout::Usearch | Layout::DiskAnn)
            || ["nsg", "ivf_pq_fast", "ivf_rabitq_fast", "refine_fast"].contains(&name);
        let mut inputs = vec![member("m", file.clone())];
        let planned = vark_core::split::plan_file(&file, "m", layout).unwrap().0.layout;
        if planned != "opaque" && !looks_ahead {
            inputs.push(live(file.clone(), layout));
        }
        for input in inputs {
            let bytes = pack_to(&mut [input], &pack_options()).unwrap();
            let mut written = Vec::new();
            write_member(&open(&bytes), 0, &mut written, &restore_options(), &mut |_, _| Ok(())).unwrap();
            assert!(written == file, "{}", path.display());
        }
    }
}

#[test]
fn a_pipe_that_ends_early_or_goes_on_is_malformed() {
    let mut random = Random(23);
    let file = hnswlib(&mut random, 900, 8, 10, 3);
    for cut in (0..file.len()).step_by(file.len() / 60) {
        let error = pack_to(&mut [live(file[..cut].to_vec(), Layout::Hnswlib)], &pack_options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "cut to {cut}: {error}");
    }
    let longer = [file, vec![0]].concat();
    let error = pack_to(&mut [live(longer, Layout::Hnswlib)], &pack_options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[test]
fn a_member_whose_streams_have_no_room_is_kept_whole() {
    let mut random = Random(3);
    let index = hnswlib(&mut random, 5, 2, 3, 1);
    let name = |number: usize| format!("{number:03}{}", "x".repeat(150));
    let mut members: Vec<MemberInput> = (0..60).map(|number| member(&name(number), index.clone())).collect();
    let archive = pack_to(&mut members, &pack_options()).unwrap();
    let reader = open(&archive);
    let plan = read_plan(&reader).unwrap().unwrap();
    let split = plan.members.iter().take_while(|member| member.layout == "hnswlib").count();
    assert!((20..46).contains(&split), "{split}");
    for (number, member) in plan.members.iter().enumerate() {
        assert_eq!(member.warning.is_some(), number >= split);
        let mut bytes = Vec::new();
        write_member(&reader, number, &mut bytes, &restore_options(), &mut |_, _| Ok(())).unwrap();
        assert!(bytes == index);
    }
}

#[test]
fn a_source_of_empty_folders_comes_back() {
    let folder = Folder::new();
    let source = [("source".to_owned(), serde_json::json!({"kind": "files"}))].into_iter().collect();
    let options = PackOptions { folders: vec!["a/b".to_owned(), "c".to_owned()], metadata: source, ..pack_options() };
    let reader = open(&pack_to(&mut [], &options).unwrap());
    assert!(!reader.archive().metadata().contains("source"));
    restore(&reader, &folder.path("out"), None, &restore_options(), &mut |_, _| Ok(())).unwrap();
    assert!(folder.path("out/a/b").is_dir() && folder.path("out/c").is_dir());
}

fn blake3_hex(bytes: &[u8]) -> String {
    vark_core::digest::blake3(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
