//! The file tape at its edges: windows that slide, counts that do not fit, runs that merge.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use vark_core::error::{ErrorKind, Result};
use vark_core::plan::{FieldRows, Run};
use vark_core::split::{CountsSpec, FieldSpec, FileTape, Tape};
use vark_core::stream::{ElementType, StreamRole, StreamSpec};

fn spec(name: &str, element: ElementType) -> StreamSpec {
    StreamSpec::new(name, StreamRole::LINKS, element, 1)
}

fn field(name: &str, element: ElementType, rows: FieldRows) -> FieldSpec {
    FieldSpec { stream: spec(name, element), rows, row_count_hint: 0 }
}

fn counts(stream: &str, bytes: u32, subtract: u64, divide: u64) -> CountsSpec {
    CountsSpec { stream: stream.to_owned(), offset: 0, bytes, subtract, divide }
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn literal_runs_merge_and_count_up_over_the_member() {
    let bytes = vec![0u8; 30];
    let mut tape = FileTape::new(&bytes);
    tape.literal(&mut [0; 3]).unwrap();
    tape.literal(&mut []).unwrap();
    tape.literal(&mut [0; 4]).unwrap();
    tape.rows(spec("a", ElementType::U64), 2).unwrap();
    tape.rows(spec("b", ElementType::U64), 0).unwrap();
    tape.literal(&mut [0; 7]).unwrap();
    assert!(tape.at_end().unwrap());
    let (runs, streams) = tape.into_parts();
    let rows = |stream: &str, first, rows| Run::Rows { stream: stream.into(), first, rows };
    assert_eq!(runs, [rows("literal", 0, 7), rows("a", 0, 2), rows("literal", 7, 7)]);
    let counted: Vec<_> = streams.iter().map(|stream| (stream.spec.name.as_str(), stream.row_count)).collect();
    assert_eq!(counted, [("literal", 14), ("a", 2), ("b", 0)]);
}

#[test]
fn nothing_passes_the_end() {
    let bytes = vec![0u8; 16];
    let mut tape = FileTape::new(&bytes);
    assert_eq!(kind(tape.literal(&mut [0; 17])), Some(ErrorKind::Malformed));
    assert_eq!(kind(tape.rows(spec("a", ElementType::U64), 3)), Some(ErrorKind::Malformed));
    assert_eq!(kind(tape.rows(spec("b", ElementType::U64), u64::MAX)), Some(ErrorKind::Malformed));
    let fields = || vec![field("c", ElementType::U64, FieldRows::Fixed(u32::MAX))];
    assert_eq!(kind(tape.groups(u64::MAX, fields(), None)), Some(ErrorKind::Malformed));
    assert_eq!(tape.position(), 0);
}

#[test]
fn a_stream_is_declared_once() {
    let bytes = vec![0u8; 16];
    let mut tape = FileTape::new(&bytes);
    tape.rows(spec("a", ElementType::U8), 4).unwrap();
    assert_eq!(kind(tape.rows(spec("a", ElementType::U8), 4)), Some(ErrorKind::InvalidArgument));
}

/// `group_count` counts of 0, 1, 2, 0, … (stored plus one), then the groups: one u16, and count times one u8.
fn counted_file(group_count: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..group_count).flat_map(|group| (group % 3 + 1).to_le_bytes()).collect();
    for group in 0..group_count {
        bytes.resize(bytes.len() + 2 + (group % 3) as usize, 9);
    }
    bytes
}

#[test]
fn counts_of_an_earlier_stream_are_read_again_across_windows() {
    let group_count = 300_000u32;
    let mut bytes = counted_file(group_count);
    let pass = |bytes: &Vec<u8>| {
        let mut tape = FileTape::new(bytes);
        tape.rows(spec("counts", ElementType::U32), u64::from(group_count))?;
        let fields = vec![
            field("fixed", ElementType::U16, FieldRows::Fixed(1)),
            field("counted", ElementType::U8, FieldRows::COUNTED),
        ];
        tape.groups(u64::from(group_count), fields, Some(counts("counts", 4, 1, 1)))?;
        Ok((tape.remaining(), tape.stream("counted").map(|stream| stream.row_count)))
    };
    assert_eq!(pass(&bytes).unwrap(), (Some(0), Some(300_000)));
    bytes.pop();
    assert_eq!(kind(pass(&bytes)), Some(ErrorKind::Malformed));
    bytes.push(0);
    // A count below what is subtracted, far behind the first window.
    bytes[4 * 299_999..4 * 299_999 + 4].fill(0);
    assert_eq!(kind(pass(&bytes)), Some(ErrorKind::Malformed));
    bytes[4 * 299_999..4 * 299_999 + 4].fill(0xFF);
    assert_eq!(kind(pass(&bytes)), Some(ErrorKind::Malformed));
}

#[test]
fn groups_that_count_themselves_are_walked_across_windows() {
    let mut bytes = Vec::new();
    for group in 0..100_000u32 {
        let rows = if group == 7 { 400_000 } else { group % 2 };
        bytes.extend((rows * 3).to_le_bytes());
        bytes.resize(bytes.len() + rows as usize, 1);
    }
    let pass = |bytes: &Vec<u8>, divide| {
        let mut tape = FileTape::new(bytes);
        let fields = vec![
            field("lengths", ElementType::U32, FieldRows::Fixed(1)),
            field("rows", ElementType::U8, FieldRows::COUNTED),
        ];
        tape.groups(100_000, fields, Some(counts("lengths", 4, 0, divide)))?;
        Ok((tape.remaining(), tape.stream("rows").map(|stream| stream.row_count)))
    };
    assert_eq!(pass(&bytes, 3).unwrap(), (Some(0), Some(449_999)));
    assert_eq!(kind(pass(&bytes, 2)), Some(ErrorKind::Malformed));
    bytes.pop();
    assert_eq!(kind(pass(&bytes, 3)), Some(ErrorKind::Malformed));
}

#[test]
fn running_offsets_are_recognised_to_the_last_one() {
    let group_count = 100_000u32;
    let table = [0u64, 32, 48];
    let mut bytes: Vec<u8> = (0..group_count).flat_map(|group| (group % 2 + 1).to_le_bytes()).collect();
    let mut running = 0u64;
    bytes.extend(running.to_le_bytes());
    for group in 0..group_count {
        running += if group % 2 == 0 { 32 } else { 48 };
        bytes.extend(running.to_le_bytes());
    }
    let pass = |bytes: &Vec<u8>, table: &[u64]| {
        let mut tape = FileTape::new(bytes);
        tape.rows(spec("levels", ElementType::U32), u64::from(group_count))?;
        let found = tape.derived_offsets(u64::from(group_count), counts("levels", 4, 0, 1), table)?;
        Ok((found, tape.remaining() == Some(0)))
    };
    assert_eq!(pass(&bytes, &table).unwrap(), (true, true));
    assert_eq!(pass(&bytes, &table[..2]).unwrap(), (false, false));
    assert_eq!(pass(&bytes, &[0, u64::MAX, u64::MAX]).unwrap(), (false, false));
    let last = bytes.len() - 8;
    bytes[last] ^= 1;
    assert_eq!(pass(&bytes, &table).unwrap(), (false, false));
    bytes.pop();
    assert_eq!(kind(pass(&bytes, &table)), Some(ErrorKind::Malformed));
}

#[test]
fn a_parser_that_misuses_counts_is_told_so() {
    let bytes = vec![1u8; 64];
    let mut tape = FileTape::new(&bytes);
    tape.rows(spec("few", ElementType::U8), 2).unwrap();
    let counted = || vec![field("x", ElementType::U8, FieldRows::COUNTED)];
    let misuse = Some(ErrorKind::InvalidArgument);
    assert_eq!(kind(tape.groups(3, counted(), Some(counts("few", 1, 0, 1)))), misuse);
    assert_eq!(kind(tape.groups(2, counted(), Some(counts("none", 1, 0, 1)))), misuse);
    assert_eq!(kind(tape.groups(2, counted(), Some(counts("few", 2, 0, 1)))), misuse);
    assert_eq!(kind(tape.groups(2, counted(), Some(counts("few", 1, 0, 0)))), misuse);
    assert_eq!(kind(tape.groups(2, counted(), None)), misuse);
    assert_eq!(kind(tape.groups(2, Vec::new(), None)), misuse);
}
