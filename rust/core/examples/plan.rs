//! Prints how a file is split: its member record and streams as JSON, one line.
//!
//! `cargo run --example plan -- FILE [auto|opaque|faiss|hnswlib|npy]`

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use vark_core::error::{Error, Result};
use vark_core::split::{Layout, check_faiss, check_hnswlib, plan_file};
use vark_core::store::ReadAt;

struct Disk {
    file: File,
    bytes: u64,
}

impl ReadAt for Disk {
    fn byte_count(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|error| Error::io("source", &error))
    }
}

fn print_plan(path: &str, layout: &str) -> Result<()> {
    let invalid = |detail: &str| Error::new(vark_core::error::ErrorKind::InvalidArgument, path, detail);
    let layout = Layout::from_name(layout).ok_or_else(|| invalid("expected auto, opaque, faiss, hnswlib or npy"))?;
    let file = File::open(path).map_err(|error| Error::io(path, &error))?;
    let bytes = file.metadata().map_err(|error| Error::io(path, &error))?.len();
    let disk = Disk { file, bytes };
    let start = Instant::now();
    let (member, streams) = plan_file(&disk, path, layout)?;
    let parsed = start.elapsed();
    let checked = match member.layout.split('/').next() {
        Some("faiss") => check_faiss(&disk).map(|_| ()),
        Some("hnswlib") => check_hnswlib(&disk).map(|_| ()),
        _ => Ok(()),
    };
    let streams: Vec<_> = streams
        .iter()
        .map(|stream| {
            let spec = &stream.spec;
            serde_json::json!({"name": spec.name, "role": spec.role.name(), "element_type": spec.element_type.name(),
                "row_elements": spec.row_elements, "row_count": stream.row_count})
        })
        .collect();
    let check = checked.err().map(|error| error.to_string());
    let micros = parsed.as_micros().to_string();
    let all = (start.elapsed() - parsed).as_micros().to_string();
    let line =
        serde_json::json!({"member": member, "streams": streams, "check": check, "parse_us": micros, "check_us": all});
    println!("{line}");
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (path, layout) = match arguments.as_slice() {
        [path] => (path.as_str(), "auto"),
        [path, layout] => (path.as_str(), layout.as_str()),
        _ => ("", "auto"),
    };
    if let Err(error) = print_plan(path, layout) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
