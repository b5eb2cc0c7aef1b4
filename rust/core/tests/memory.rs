//! Memory is a budget: it does not grow with the source. A file of its own, since it looks at the whole process.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use vark_core::archive::Archive;
use vark_core::pipeline::pack::{Input, MemberInput, Output, PackOptions, pack};
use vark_core::pipeline::restore::{RestoreOptions, restore};
use vark_core::pipeline::rows::RowReader;
use vark_core::pipeline::verify::{Level, verify};
use vark_core::pipeline::view::read_plan;
use vark_core::split::Layout;
use vark_core::store::file::FileSource;
use vark_core::stream::{StreamRole, StreamSpec};
use vark_core::testing::files::{Folder, hnswlib};
use vark_core::testing::{Random, RawStream, archive_of, pack_options, restore_options};

const MEBIBYTE: u64 = 1 << 20;
const GROWTH_MAX: u64 = 300 * MEBIBYTE;

/// A line of `/proc/self/status`, in bytes.
fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_matches(|letter: char| !letter.is_ascii_digit()).parse::<u64>().unwrap() * 1_024
}

/// Runs and looks how far resident memory rose above `start`.
fn growth<T>(what: &str, start: u64, run: impl FnOnce() -> T) -> T {
    // 5: forget the peak so far.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let result = run();
    let grown = status("VmHWM:").saturating_sub(start);
    println!("{what}: {} MiB above start", grown / MEBIBYTE);
    assert!(grown <= GROWTH_MAX, "{what}: {} MiB above start", grown / MEBIBYTE);
    result
}

/// 512 MiB of an hnswlib index: a true header, elements and lengths of nothing but zeros.
fn sparse_index(path: &Path) {
    let (degree, width, count) = (16u64, 128u64, 800_000u64);
    let mut header = hnswlib(&mut Random(1), 0, degree, width, 0);
    header[16..24].copy_from_slice(&count.to_le_bytes());
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&header).unwrap();
    file.set_len(header.len() as u64 + count * (4 + 8 * degree + 4 * width + 8 + 4)).unwrap();
}

fn large_sources() {
    let folder = Folder::new();
    sparse_index(&folder.path("index"));
    std::fs::File::create(folder.path("plain")).unwrap().set_len(512 * MEBIBYTE).unwrap();
    let mut members = ["index", "plain"].map(|name| MemberInput {
        name: name.to_owned(),
        input: Input::File(folder.path(name)),
        layout: Layout::Auto,
        facts: serde_json::Map::new(),
    });
    let start = status("VmRSS:");
    let options = PackOptions { threads: 2, memory_bytes: 128 * MEBIBYTE, digest_members: true, ..pack_options() };
    let output = Output::Path { path: folder.path("x.vark"), replace: false, sync: false };
    let report =
        growth("packing", start, || pack(output, &mut members, &mut [], &options, &mut |_, _| Ok(())).unwrap());
    assert!(report.source_bytes > 1_000 * MEBIBYTE && report.members[0].layout == "hnswlib");

    let source = FileSource::open(&folder.path("x.vark")).unwrap();
    let reader = Arc::new(RowReader::new(Archive::open(Arc::new(source)).unwrap(), 64 * MEBIBYTE));
    let checked = growth("verifying", start, || verify(&reader, Level::Full, 2, &mut |_, _| Ok(())).unwrap());
    assert!(checked.ok);
    let options = RestoreOptions { threads: 2, memory_bytes: 128 * MEBIBYTE, ..restore_options() };
    growth("restoring", start, || restore(&reader, &folder.path("out"), None, &options, &mut |_, _| Ok(())).unwrap());
}

/// One test after the other in this file: they measure the same process.
#[test]
fn packing_verifying_and_restoring_a_gibibyte_and_reading_a_plan_full_of_values_take_bounded_memory() {
    large_sources();
    crowded_plans();
}

/// 16 MiB of JSON in as many values as it can hold.
fn crowded_plans() {
    for (open, value) in [("", "{\"a\":0},"), ("", "[],"), ("\"k\":\"rows\",", "0,")] {
        let run = format!("{{{open}\"x\":[{}0]}}", value.repeat(16_700_000 / value.len()));
        for text in [
            format!("{{\"version\":1,\"members\":[],\"x\":{run}}}"),
            format!("{{\"version\":1,\"members\":[{{\"runs\":[{run}]}}]}}"),
            format!("{{\"version\":1,\"members\":[{{\"facts\":{run}}}]}}"),
        ] {
            let spec = StreamSpec::bytes("plan", StreamRole::PLAN);
            let bytes = archive_of(&[RawStream { spec, chunk_rows: 65_536, data: text.into_bytes() }], 3_584).unwrap();
            let reader = RowReader::new(Archive::open(Arc::new(bytes)).unwrap(), MEBIBYTE);
            growth("a crowded plan", status("VmRSS:"), || drop(read_plan(&reader)));
        }
    }
}
