//! Sources, targets and archives that misbehave: the right kind of error, and nothing half-written.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vark_core::archive::{Archive, ArchiveId, ArchiveWriter};
use vark_core::digest;
use vark_core::error::{Error, ErrorKind, Layer, Result};
use vark_core::pipeline::pack::{Input, MemberInput, Output, PackOptions, pack};
use vark_core::pipeline::report::PackReport;
use vark_core::pipeline::restore::{RestoreOptions, restore, write_member};
use vark_core::pipeline::rows::{ReadState, RowReader};
use vark_core::pipeline::verify::{Level, verify};
use vark_core::pipeline::view::read_plan;
use vark_core::split::Layout;
use vark_core::store::ReadAt;
use vark_core::stream::{ElementType, StreamRole, StreamSpec};
use vark_core::testing::files::{Folder, hnswlib, open, pack_to, restored_files};
use vark_core::testing::{Random, RawStream, archive_of, archive_with_plan, pack_options, restore_options};

fn member(name: &str, input: Input) -> MemberInput {
    MemberInput { name: name.to_owned(), input, layout: Layout::Auto, facts: serde_json::Map::new() }
}

fn shared(bytes: Vec<u8>) -> Input {
    Input::Shared(Arc::new(bytes))
}

fn to_path(path: &Path) -> Output {
    Output::Path { path: path.to_owned(), replace: false, sync: false }
}

fn pack_file(path: &Path, members: &mut [MemberInput], options: &PackOptions) -> Result<PackReport> {
    pack(to_path(path), members, &mut [], options, &mut |_, _| Ok(()))
}

/// A source that does something on its n-th read.
struct Moody {
    bytes: Vec<u8>,
    reads: AtomicU64,
    mood: fn(u64) -> Result<()>,
}

impl Moody {
    fn input(bytes: Vec<u8>, mood: fn(u64) -> Result<()>) -> Input {
        Input::Shared(Arc::new(Self { bytes, reads: AtomicU64::new(0), mood }))
    }
}

impl ReadAt for Moody {
    fn byte_count(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        (self.mood)(self.reads.fetch_add(1, Ordering::Relaxed))?;
        self.bytes.read_at(offset, buffer)
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::SourceChanged, "source", "shrank")
}

#[test]
fn a_source_that_fails_once_is_read_again() {
    let folder = Folder::new();
    let mut random = Random(1);
    let bytes = random.bytes(3_000_000);
    let mood = |read| if read == 4 { Err(gone()) } else { Ok(()) };
    let mut members = [member("a", Moody::input(bytes.clone(), mood))];
    let report = pack_file(&folder.path("x.vark"), &mut members, &pack_options()).unwrap();
    assert!(!report.partial);
    let archive = std::fs::read(folder.path("x.vark")).unwrap();
    let mut written = Vec::new();
    write_member(&open(&archive), 0, &mut written, &restore_options(), &mut |_, _| Ok(())).unwrap();
    assert!(written == bytes);
}

#[test]
fn a_source_that_keeps_failing_is_left_out_and_listed() {
    let folder = Folder::new();
    let mood = |read| if read > 1 { Err(gone()) } else { Ok(()) };
    let bad = || member("bad", Moody::input(vec![1; 2_000_000], mood));
    let mut members = [member("good", shared(vec![5; 100])), bad(), member("fine", shared(vec![6; 10]))];
    let report = pack_file(&folder.path("x.vark"), &mut members, &pack_options()).unwrap();
    assert!(report.partial);
    assert_eq!(report.skipped.iter().map(|skipped| skipped.name.as_str()).collect::<Vec<_>>(), ["bad"]);
    let reader = open(&std::fs::read(folder.path("x.vark")).unwrap());
    assert!(reader.archive().metadata().contains("\"partial\":true"));
    restore(&reader, &folder.path("out"), None, &restore_options(), &mut |_, _| Ok(())).unwrap();
    let expected = [("fine".to_owned(), vec![6; 10]), ("good".to_owned(), vec![5; 100])];
    assert_eq!(restored_files(&folder.path("out")), expected);

    // Alone there is nothing to keep.
    let error = pack_file(&folder.path("y.vark"), &mut [bad()], &pack_options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SourceChanged);
    assert_eq!(folder.names(), ["out", "x.vark"]);
}

#[test]
fn any_other_failure_and_a_panic_in_a_worker_end_the_pack() {
    let folder = Folder::new();
    let failing: fn(u64) -> Result<()> = |read| match read {
        2 => Err(Error::new(ErrorKind::Io, "disk", "unreadable")),
        _ => Ok(()),
    };
    let panicking: fn(u64) -> Result<()> = |read| {
        assert!(read != 2, "on purpose: a worker must survive this");
        Ok(())
    };
    for mood in [failing, panicking] {
        let mut members = [member("a", Moody::input(vec![3; 5_000_000], mood))];
        let error = pack_file(&folder.path("x.vark"), &mut members, &pack_options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(folder.names(), Vec::<String>::new());
    }
}

/// Packs the file at `name` and calls `meddle` at every progress until it returns false.
fn pack_while(folder: &Folder, name: &str, meddle: &mut dyn FnMut() -> bool) -> Result<PackReport> {
    let mut members = [member(name, Input::File(folder.path(name))), member("other", shared(vec![9; 50]))];
    let mut goes_on = true;
    let options = PackOptions { digest_members: true, memory_bytes: 1, ..pack_options() };
    pack(to_path(&folder.path("x.vark")), &mut members, &mut [], &options, &mut |_, _| {
        goes_on = goes_on && meddle();
        Ok(())
    })
}

#[test]
fn a_file_truncated_while_it_is_packed_is_taken_as_it_then_is() {
    let folder = Folder::new();
    let mut random = Random(2);
    let bytes = random.bytes(6_000_000);
    std::fs::write(folder.path("f"), &bytes).unwrap();
    let report = pack_while(&folder, "f", &mut || {
        std::fs::File::options().write(true).open(folder.path("f")).unwrap().set_len(1_000_000).unwrap();
        false
    });
    assert!(!report.unwrap().partial);
    let reader = open(&std::fs::read(folder.path("x.vark")).unwrap());
    let mut written = Vec::new();
    write_member(&reader, 0, &mut written, &restore_options(), &mut |_, _| Ok(())).unwrap();
    assert!(written == bytes[..1_000_000]);
}

#[test]
fn a_file_that_never_holds_still_is_partial_and_can_still_be_restored() {
    let folder = Folder::new();
    let mut random = Random(7);
    let one = hnswlib(&mut random, 4_000, 12, 30, 5);
    let mut two = hnswlib(&mut random, 4_000, 12, 30, 9);
    two.resize(one.len(), 0);
    for (name, first) in [("index", one), ("plain", random.bytes(two.len() as u64))] {
        std::fs::write(folder.path(name), &first).unwrap();
        let mut turn = 0u64;
        let report = pack_while(&folder, name, &mut || {
            use std::os::unix::fs::FileExt;
            turn += 1;
            let file = std::fs::File::options().write(true).open(folder.path(name)).unwrap();
            file.write_all_at(if turn.is_multiple_of(2) { &first } else { &two }, 0).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(turn)).unwrap();
            true
        });
        let report = report.unwrap();
        assert!(report.partial);
        assert_eq!(report.skipped.iter().map(|skipped| skipped.name.as_str()).collect::<Vec<_>>(), [name]);
        assert_eq!(report.members[0].layout, "opaque");
        let reader = open(&std::fs::read(folder.path("x.vark")).unwrap());
        assert!(verify(&reader, Level::Full, 1, &mut |_, _| Ok(())).unwrap().ok);
        let written = write_member(&reader, 0, &mut std::io::sink(), &restore_options(), &mut |_, _| Ok(()));
        assert_eq!(written.unwrap(), first.len() as u64);
        std::fs::remove_file(folder.path("x.vark")).unwrap();
    }
}

#[test]
fn cancelling_leaves_nothing_behind() {
    let folder = Folder::new();
    let archive = pack_to(&mut [member("a", shared(vec![3; 9_000_000]))], &pack_options()).unwrap();
    let reader = open(&archive);
    for call in [1, 2, 7] {
        let mut calls = 0;
        let mut cancel = |_: u64, _: Option<u64>| {
            calls += 1;
            if calls < call { Ok(()) } else { Err(Error::new(ErrorKind::Cancelled, "", "as asked")) }
        };
        let mut members = [member("a", shared(vec![3; 9_000_000]))];
        let packed = pack(to_path(&folder.path("x")), &mut members, &mut [], &pack_options(), &mut cancel);
        assert_eq!(packed.unwrap_err().kind(), ErrorKind::Cancelled);
        calls = 0;
        let mut cancel = |_: u64, _: Option<u64>| {
            calls += 1;
            if calls < call { Ok(()) } else { Err(Error::new(ErrorKind::Cancelled, "", "as asked")) }
        };
        let restored = restore(&reader, &folder.path("y"), None, &restore_options(), &mut cancel);
        assert_eq!(restored.unwrap_err().kind(), ErrorKind::Cancelled);
        let mut cancel = |_: u64, _: Option<u64>| Err(Error::new(ErrorKind::Cancelled, "", "as asked"));
        let checked = verify(&reader, Level::Full, 2, &mut cancel);
        assert_eq!(checked.unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(folder.names(), Vec::<String>::new());
    }
}

#[test]
fn targets_in_the_way_are_left_alone() {
    let folder = Folder::new();
    std::fs::write(folder.path("file"), b"mine").unwrap();
    std::fs::create_dir(folder.path("folder")).unwrap();
    let archive = pack_to(&mut [member("a", shared(vec![3; 100]))], &pack_options()).unwrap();
    let reader = open(&archive);
    for (name, kind) in
        [("file", ErrorKind::AlreadyExists), ("folder", ErrorKind::InvalidArgument), ("missing/x", ErrorKind::NotFound)]
    {
        let packed = pack_file(&folder.path(name), &mut [member("a", shared(vec![3; 100]))], &pack_options());
        assert_eq!(packed.unwrap_err().kind(), kind, "pack to {name}");
        let restored = restore(&reader, &folder.path(name), None, &restore_options(), &mut |_, _| Ok(()));
        assert_eq!(restored.unwrap_err().kind(), kind, "restore to {name}");
    }
    assert_eq!(folder.names(), ["file", "folder"]);
    assert_eq!(std::fs::read(folder.path("file")).unwrap(), b"mine");

    // A failure after `replace` was asked for must leave the old file.
    let mut members =
        [member("a", Moody::input(vec![3; 5_000_000], |read| if read > 1 { Err(gone()) } else { Ok(()) }))];
    let output = Output::Path { path: folder.path("file"), replace: true, sync: true };
    pack(output, &mut members, &mut [], &pack_options(), &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(std::fs::read(folder.path("file")).unwrap(), b"mine");
    let options = RestoreOptions { replace: true, sync: true, ..restore_options() };
    restore(&reader, &folder.path("file"), None, &options, &mut |_, _| Ok(())).unwrap();
    assert_eq!(std::fs::read(folder.path("file")).unwrap(), [3; 100]);
    assert_eq!(folder.names(), ["file", "folder"]);
}

#[test]
fn a_folder_that_may_not_be_written_is_said_so() {
    let folder = Folder::new();
    let locked = folder.path("locked");
    std::fs::create_dir(&locked).unwrap();
    let mut permissions = std::fs::metadata(&locked).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o500);
    std::fs::set_permissions(&locked, permissions).unwrap();
    if std::fs::write(locked.join("probe"), b"").is_ok() {
        return; // The superuser may write anywhere.
    }
    let packed = pack_file(&locked.join("x"), &mut [member("a", shared(vec![3; 100]))], &pack_options());
    assert_eq!(packed.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

/// Run by the test below in a process of its own that may not write large files.
#[test]
fn child_of_the_full_disk_test() {
    let Some(path) = std::env::var_os("VARK_TEST_FULL_DISK") else { return };
    let folder = Path::new(&path);
    let mut random = Random(4);
    let bytes = random.bytes(1_000_000);
    let packed = pack_file(&folder.join("x.vark"), &mut [member("a", shared(bytes))], &pack_options());
    assert_eq!(packed.unwrap_err().kind(), ErrorKind::NoSpace);
    let archive = pack_to(&mut [member("a", shared(vec![3; 500_000]))], &pack_options()).unwrap();
    let restored = restore(&open(&archive), &folder.join("y"), None, &restore_options(), &mut |_, _| Ok(()));
    assert_eq!(restored.unwrap_err().kind(), ErrorKind::NoSpace);
}

#[test]
fn a_full_disk_is_no_space_and_leaves_nothing() {
    let folder = Folder::new();
    // `ulimit -f` counts 512 or 1,024 bytes; both are far below what the child writes.
    let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" --exact child_of_the_full_disk_test";
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("VARK_TEST_FULL_DISK", folder.path(""))
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert_eq!(folder.names(), Vec::<String>::new());

    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
    let output = Output::Pipe(Box::new(full));
    let mut members = [member("a", shared(vec![3; 100]))];
    let packed = pack(output, &mut members, &mut [], &pack_options(), &mut |_, _| Ok(()));
    assert_eq!(packed.unwrap_err().kind(), ErrorKind::NoSpace);
    let archive = pack_to(&mut [member("a", shared(vec![3; 500_000]))], &pack_options()).unwrap();
    let mut full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let written = write_member(&open(&archive), 0, &mut full, &restore_options(), &mut |_, _| Ok(()));
    assert_eq!(written.unwrap_err().kind(), ErrorKind::NoSpace);
}

#[test]
fn names_are_checked_before_anything_is_read() {
    let folder = Folder::new();
    for names in [["a", "a"], ["a", "a/b"], ["../x", "b"], ["a", "/b"], ["con", "b"], ["", "b"]] {
        let unread = |name: &str| member(name, Moody::input(vec![1; 10], |_| panic!("read before names were checked")));
        let packed = pack_file(&folder.path("x"), &mut names.map(unread), &pack_options());
        assert_eq!(packed.unwrap_err().kind(), ErrorKind::InvalidArgument, "{names:?}");
    }
    assert_eq!(folder.names(), Vec::<String>::new());
}

/// Restores an archive with this plan; the error must come before a target was made.
fn refused(plan: &str, options: &RestoreOptions) -> Error {
    let folder = Folder::new();
    let reader = open(&archive_with_plan(plan.as_bytes()).unwrap());
    let outcome = restore(&reader, &folder.path("x"), None, options, &mut |_, _| {
        assert_eq!(folder.names(), Vec::<String>::new());
        Ok(())
    });
    assert_eq!(folder.names(), Vec::<String>::new());
    outcome.unwrap_err()
}

fn plan_of(members: &str) -> String {
    format!("{{\"version\":1,\"members\":[{members}]}}")
}

fn one_member(bytes: u64, runs: &str) -> String {
    plan_of(&format!("{{\"name\":\"m\",\"bytes\":{bytes},\"layout\":\"x\",\"runs\":[{runs}]}}"))
}

#[test]
fn plans_that_lie_are_refused_before_there_is_a_target() {
    let b = "{\"kind\":\"rows\",\"stream\":\"b\",\"first\":0,\"rows\":100}";
    for plan in [
        one_member(99, b),
        one_member(101, b),
        one_member(100, &format!("{b},{b}")),
        one_member(100, "{\"kind\":\"rows\",\"stream\":\"b\",\"first\":93,\"rows\":100}"),
        one_member(100, "{\"kind\":\"rows\",\"stream\":\"b\",\"first\":18446744073709551615,\"rows\":100}"),
        one_member(100, "{\"kind\":\"rows\",\"stream\":\"no\",\"first\":0,\"rows\":100}"),
        one_member(0, "{\"kind\":\"groups\",\"groups\":1,\"fields\":[{\"stream\":\"b\",\"first\":0,\"rows\":0}]}"),
        plan_of("{\"name\":\"../m\",\"bytes\":0,\"layout\":\"x\",\"runs\":[]}"),
        plan_of("{\"name\":\"m\",\"bytes\":0,\"layout\":\"x\",\"runs\":[],\"blake3\":\"00\"}"),
        "{\"version\":2,\"members\":[]}".to_owned(),
    ] {
        let error = refused(&plan, &restore_options());
        assert_eq!((error.kind(), error.layer()), (ErrorKind::Damaged, Some(Layer::Plan)), "{plan}: {error}");
    }
    let huge = one_member(1 << 60, b);
    assert_eq!(refused(&huge, &restore_options()).kind(), ErrorKind::NoSpace);
    let limited = RestoreOptions { max_bytes: Some(99), ..restore_options() };
    assert_eq!(refused(&one_member(100, b), &limited).kind(), ErrorKind::LimitExceeded);
    let wraps = plan_of(
        &[1, 2].map(|n| format!("{{\"name\":\"{n}\",\"bytes\":{},\"layout\":\"x\",\"runs\":[]}}", u64::MAX)).join(","),
    );
    assert_eq!(refused(&wraps, &limited).kind(), ErrorKind::LimitExceeded);
}

#[test]
fn a_member_that_is_not_what_its_digest_says_never_gets_its_name() {
    let folder = Folder::new();
    let run = "{\"kind\":\"rows\",\"stream\":\"b\",\"first\":0,\"rows\":100}";
    let plan = |digest: &str| {
        plan_of(&format!("{{\"name\":\"m\",\"bytes\":100,\"layout\":\"x\",\"blake3\":\"{digest}\",\"runs\":[{run}]}}"))
    };
    let wrong = open(&archive_with_plan(plan(&"0".repeat(64)).as_bytes()).unwrap());
    let error = restore(&wrong, &folder.path("x"), None, &restore_options(), &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(error.layer(), Some(Layer::Digest));
    assert_eq!(folder.names(), Vec::<String>::new());
    let mut written = Vec::new();
    let error = write_member(&wrong, 0, &mut written, &restore_options(), &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(error.layer(), Some(Layer::Digest));
    let report = verify(&wrong, Level::Full, 1, &mut |_, _| Ok(())).unwrap();
    assert_eq!(report.damage.iter().map(|damage| damage.layer).collect::<Vec<_>>(), ["digest"]);

    let right: String = digest::blake3(&written).iter().map(|byte| format!("{byte:02x}")).collect();
    let reader = open(&archive_with_plan(plan(&right).as_bytes()).unwrap());
    restore(&reader, &folder.path("x"), None, &restore_options(), &mut |_, _| Ok(())).unwrap();
    assert_eq!(std::fs::read(folder.path("x")).unwrap(), written);
}

/// Streams of blocks as they are given: rows, codec, block.
fn archive_of_blocks(streams: &[(&str, u64, u64, u16, Vec<u8>)], plan: &str) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(ArchiveId([2; 16]));
    let mut bytes = writer.header().to_vec();
    let plan = ("plan", plan.len() as u64, plan.len() as u64, 0, plan.as_bytes().to_vec());
    for (name, chunk_rows, rows, codec, block) in streams.iter().chain([&plan]) {
        let role = if *name == "plan" { StreamRole::PLAN } else { StreamRole::OPAQUE };
        let number = writer.declare(&StreamSpec::new(*name, role, ElementType::U8, 1), *chunk_rows).unwrap();
        let mut left = *rows;
        while left > 0 {
            let here = left.min(*chunk_rows);
            let digest = digest::blake3(block);
            let placed = writer.place(number, here, block.len() as u64, digest::crc64(block), digest, *codec).unwrap();
            bytes.resize(usize::try_from(placed.offset).unwrap(), 0);
            bytes.extend_from_slice(block);
            left -= here;
        }
    }
    bytes.extend(writer.finish("{}").unwrap().tail);
    bytes
}

#[test]
fn an_unknown_codec_leaves_the_other_streams_readable() {
    let run = |stream: &str| format!("{{\"kind\":\"rows\",\"stream\":\"{stream}\",\"first\":0,\"rows\":8}}");
    let member = |name: &str| format!("{{\"name\":\"{name}\",\"bytes\":8,\"layout\":\"x\",\"runs\":[{}]}}", run(name));
    let plan = plan_of(&[member("good"), member("later")].join(","));
    let streams = [("good", 8, 8, 0, vec![7; 8]), ("later", 8, 8, 29, vec![1; 5])];
    let reader = open(&archive_of_blocks(&streams, &plan));
    let mut rows = [0; 8];
    reader.read_rows(&mut ReadState::default(), 0, 0, &mut rows).unwrap();
    assert_eq!(rows, [7; 8]);
    let error = reader.read_rows(&mut ReadState::default(), 1, 0, &mut rows).unwrap_err();
    assert_eq!((error.kind(), error.layer()), (ErrorKind::Unsupported, Some(Layer::Codec)));

    let folder = Folder::new();
    let error = restore(&reader, &folder.path("x"), None, &restore_options(), &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(folder.names(), Vec::<String>::new());
    restore(&reader, &folder.path("x"), Some(&[0]), &restore_options(), &mut |_, _| Ok(())).unwrap();
    assert_eq!(std::fs::read(folder.path("x")).unwrap(), [7; 8]);
    let report = verify(&reader, Level::Full, 1, &mut |_, _| Ok(())).unwrap();
    let damage: Vec<_> = report.damage.iter().map(|damage| (damage.layer, damage.stream.as_deref())).collect();
    assert_eq!(damage, [("codec", Some("later"))]);
}

#[test]
fn a_few_bytes_that_claim_a_huge_member_are_refused_at_once() {
    // 24 bytes of codec affine stand for 256 MiB of zeros; 600 such chunks for 150 GiB.
    let mut affine = vec![0; 24];
    affine[16] = 1;
    let (chunk, rows) = (1u64 << 28, 600u64 << 28);
    let plan = one_member(rows, &format!("{{\"kind\":\"rows\",\"stream\":\"z\",\"first\":0,\"rows\":{rows}}}"));
    let archive = archive_of_blocks(&[("z", chunk, rows, 4, affine.clone())], &plan);
    assert!(archive.len() < 100_000);
    let folder = Folder::new();
    let started = std::time::Instant::now();
    let limited = RestoreOptions { max_bytes: Some(1 << 30), ..restore_options() };
    let error = restore(&open(&archive), &folder.path("x"), None, &limited, &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);

    // As many groups of nothing as there are rows: 2^37 steps that no limit of bytes sees coming. Every one would
    // have to be paid for by a byte of the member, and the walk can be stopped.
    let counts = "{\"stream\":\"z\",\"first\":0,\"offset\":0,\"bytes\":1,\"subtract\":0,\"divide\":1}";
    let field = "{\"stream\":\"z\",\"first\":0,\"rows\":\"counted\"}";
    let groups = format!("{{\"kind\":\"groups\",\"groups\":{rows},\"fields\":[{field}],\"counts\":{counts}}}");
    let archive = archive_of_blocks(&[("z", chunk, rows, 4, affine)], &one_member(1_000, &groups));
    let error = restore(&open(&archive), &folder.path("x"), None, &limited, &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(error.layer(), Some(Layer::Plan));
    assert!(started.elapsed().as_secs() < 5);
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[test]
fn many_runs_over_many_tiny_chunks_stay_small_and_can_be_stopped() {
    let data = vec![0; 1_500];
    let spec = StreamSpec::bytes("t", StreamRole::OPAQUE);
    let run = "{\"kind\":\"rows\",\"stream\":\"t\",\"first\":0,\"rows\":1500}";
    let plan = one_member(1_500 * 2_000, &vec![run; 2_000].join(","));
    let plan_spec = StreamSpec::bytes("plan", StreamRole::PLAN);
    let streams = [
        RawStream { spec, chunk_rows: 1, data },
        RawStream { spec: plan_spec, chunk_rows: 1 << 20, data: plan.into_bytes() },
    ];
    let bytes = archive_of(&streams, 3_584).unwrap();
    let reader = Arc::new(RowReader::new(Archive::open(Arc::new(bytes)).unwrap(), 1 << 20));
    // 3,000,000 batches of a byte each.
    let plan = read_plan(&reader).unwrap().unwrap();
    let view = vark_core::pipeline::restore::view(&reader, &plan, 0, &mut || Ok(())).unwrap();
    let mut byte = [9];
    view.read_at(2_999_999, &mut byte).unwrap();
    assert_eq!(byte, [0]);
    let mut calls = 0;
    let folder = Folder::new();
    let error = restore(&reader, &folder.path("x"), None, &restore_options(), &mut |_, _| {
        calls += 1;
        if calls < 100 { Ok(()) } else { Err(Error::new(ErrorKind::Cancelled, "", "enough")) }
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(folder.names(), Vec::<String>::new());
}
