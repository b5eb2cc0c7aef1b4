//! Shared by the tests of parsers: the small real files, and a plain executor of plans to compare with.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::ptr_arg,
    clippy::allow_attributes,
    reason = "a test fails by panicking, uses a part of this module, and a plain slice is no `dyn ReadAt`"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use vark_core::plan::{Counts, FieldRows, Member, Run};
use vark_core::split::{Layout, TapeStream, check_faiss, check_hnswlib, plan_file};

/// (name, bytes) of every file under `tests/fixtures/indexes`, in order of name.
pub fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/indexes");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() > 50, "fixtures are missing: run tests/fixtures/make_indexes.py");
    files
}

pub fn fixture(name: &str) -> Vec<u8> {
    fixtures().into_iter().find(|file| file.0 == name).unwrap().1
}

pub fn plan(bytes: &Vec<u8>) -> (Member, Vec<TapeStream>) {
    plan_file(bytes, "member", Layout::Auto).unwrap()
}

/// Offset of a stream's first byte in the file.
pub fn offset_of(bytes: &Vec<u8>, stream: &str) -> usize {
    let (_, streams) = plan(bytes);
    let found = streams.iter().find(|found| found.spec.name == stream).unwrap();
    usize::try_from(found.offset).unwrap()
}

type Rows = BTreeMap<String, (usize, Vec<u8>)>;

/// Splits `bytes` by the plan as slowly and plainly as possible; panics unless the runs tile it exactly and give
/// each stream the rows that were declared.
pub fn execute(bytes: &[u8], member: &Member, streams: &[TapeStream]) -> BTreeMap<String, Vec<u8>> {
    assert_eq!(member.bytes, bytes.len() as u64);
    let mut rows: Rows = streams
        .iter()
        .map(|stream| {
            (stream.spec.name.clone(), (usize::try_from(stream.spec.row_bytes().unwrap()).unwrap(), Vec::new()))
        })
        .collect();
    assert_eq!(rows.len(), streams.len(), "two streams of one name");
    let mut position = 0usize;
    let take = |rows: &mut Rows, position: &mut usize, stream: &str, count: u64| {
        let (row_bytes, taken) = rows.get_mut(stream).unwrap();
        let end = *position + usize::try_from(count).unwrap() * *row_bytes;
        taken.extend_from_slice(&bytes[*position..end]);
        *position = end;
    };
    for run in &member.runs {
        match run {
            Run::Rows { stream, first, rows: count } => {
                let (row_bytes, taken) = &rows[stream];
                assert_eq!(*first, (taken.len() / row_bytes) as u64);
                assert!(*count > 0);
                take(&mut rows, &mut position, stream, *count);
            }
            Run::Groups { groups, fields, counts } => {
                for group in 0..*groups {
                    for field in fields {
                        let count = match field.rows {
                            FieldRows::Fixed(fixed) => u64::from(fixed),
                            FieldRows::Counted(_) => count_of(&rows, counts.as_ref().unwrap(), group),
                        };
                        take(&mut rows, &mut position, &field.stream, count);
                    }
                }
            }
            Run::Derived { groups, counts, table, .. } => {
                let mut running = 0u64;
                for group in 0..=*groups {
                    assert_eq!(bytes[position..position + 8], running.to_le_bytes());
                    position += 8;
                    if group < *groups {
                        running += table[usize::try_from(count_of(&rows, counts, group)).unwrap()];
                    }
                }
            }
        }
    }
    assert_eq!(position, bytes.len(), "the runs end before the file");
    for stream in streams {
        let (row_bytes, taken) = &rows[&stream.spec.name];
        assert_eq!(taken.len() as u64, stream.row_count * *row_bytes as u64, "rows of {}", stream.spec.name);
    }
    rows.into_iter().map(|(name, (_, taken))| (name, taken)).collect()
}

fn count_of(rows: &Rows, counts: &Counts, group: u64) -> u64 {
    let (row_bytes, taken) = &rows[&counts.stream];
    let start = usize::try_from(counts.first + group).unwrap() * row_bytes + usize::try_from(counts.offset).unwrap();
    let mut value = [0u8; 8];
    let width = usize::try_from(counts.bytes).unwrap();
    value[..width].copy_from_slice(&taken[start..start + width]);
    let value = u64::from_le_bytes(value) - counts.subtract;
    assert_eq!(value % counts.divide, 0);
    value / counts.divide
}

/// Most address space this process ever had, so that an allocation shows even if it was never touched.
pub fn peak_address_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmPeak:"));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Plans and checks `bytes`; an accepted plan must tile them.
pub fn attack(bytes: &Vec<u8>) {
    let (member, streams) = plan(bytes);
    execute(bytes, &member, &streams);
    let _ = check_faiss(bytes);
    let _ = check_hnswlib(bytes);
}
