//! Packs a file, verifies and restores it, several times over, and prints wall and processor time: something to profile.
//!
//!     cargo build --release --example pack && perf record target/release/examples/pack FILE FOLDER [sync] [pack|restore]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a tool for developers")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use vark_core::archive::Archive;
use vark_core::codec::{Compression, LinkOrder};
use vark_core::pipeline::id_index::IdIndex;
use vark_core::pipeline::pack::{Input, MemberInput, Output, PackOptions, pack};
use vark_core::pipeline::restore::{RestoreOptions, restore};
use vark_core::pipeline::rows::RowReader;
use vark_core::split::Layout;
use vark_core::store::file::FileSource;

const TURNS: usize = 7;
const MEMORY_BYTES: u64 = 256 << 20;

/// User and system time of all threads, in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn timed(what: &str, work: impl FnOnce()) {
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    work();
    println!(
        "{what}: {:.0} ms, {:.0} ms of processors",
        wall.elapsed().as_secs_f64() * 1e3,
        (cpu_seconds() - cpu) * 1e3
    );
}

fn pack_once(source: &Path, target: &Path, sync: bool) {
    let input = Input::File(source.to_owned());
    let facts = serde_json::Map::new();
    let member = MemberInput { name: "source".to_owned(), input, layout: Layout::Auto, facts };
    let options = PackOptions {
        base: None,
        fingerprint_key: None,
        cache: None,
        shadow: None,
        id_index: IdIndex::AsBase,
        seal: None,
        compression: Compression::Auto,
        order: LinkOrder::Exact,
        archive_id: None,
        threads: 0,
        memory_bytes: MEMORY_BYTES,
        digest_members: false,
        attempts: 1,
        metadata: serde_json::Map::new(),
        folders: Vec::new(),
        skipped: Vec::new(),
    };
    let output = Output::Path { path: target.to_owned(), replace: true, sync };
    pack(output, &mut [member], &mut [], &options, &mut |_, _| Ok(())).unwrap();
}

fn restore_once(archive: &Path, target: &Path, sync: bool) {
    let reader = RowReader::new(Archive::open(Arc::new(FileSource::open(archive).unwrap())).unwrap(), MEMORY_BYTES / 4);
    let options =
        RestoreOptions { replace: true, sync, threads: 0, memory_bytes: MEMORY_BYTES, max_bytes: None, resume: false };
    restore(&Arc::new(reader), target, None, &options, &mut |_, _| Ok(())).unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, folder, rest @ ..] = arguments.as_slice() else { panic!("see the source") };
    let (source, folder) = (Path::new(file), Path::new(folder));
    let (archive, target) = (folder.join("example.vark"), folder.join("example.restored"));
    let asked = |word: &str| rest.iter().any(|argument| argument == word);
    let sync = asked("sync");
    pack_once(source, &archive, sync);
    for _ in 0..TURNS {
        if !asked("restore") {
            timed("pack", || pack_once(source, &archive, sync));
        }
        if !asked("pack") {
            let _ = std::fs::remove_file(&target);
            timed("restore", || restore_once(&archive, &target, sync));
        }
    }
    assert!(std::fs::read(source).unwrap() == std::fs::read(&target).unwrap_or_default() || asked("pack"));
    for path in [archive, target] {
        let _ = std::fs::remove_file(path);
    }
}
