//! Ceilings of the writer: at, below and above; and calls that break its rules.

use super::*;
use crate::error::ErrorKind;
use crate::limits::{BLOCK_OVERHEAD_MAX, CHUNK_BYTES_MAX, METADATA_BYTES_MAX, STREAMS_MAX};

fn bytes_spec(name: &str) -> StreamSpec {
    StreamSpec::bytes(name, StreamRole::OPAQUE)
}

fn writer_with(chunk_rows: u64) -> ArchiveWriter {
    let mut writer = ArchiveWriter::new(ID);
    writer.declare(&bytes_spec("rows"), chunk_rows).unwrap();
    writer
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn streams_are_limited_in_number() {
    let mut writer = ArchiveWriter::new(ID);
    for number in 0..STREAMS_MAX {
        assert_eq!(writer.declare(&bytes_spec(&format!("s{number}")), 1).unwrap(), number);
    }
    assert_eq!(kind(writer.declare(&bytes_spec("more"), 1)), Some(ErrorKind::LimitExceeded));
    let finished = writer.finish("{}").unwrap();
    assert_eq!(finished.streams.len(), STREAMS_MAX);
}

#[test]
fn the_largest_directory_with_the_longest_metadata_fits_the_tail_exactly() {
    // 65,536 − 8,192 − 128 − 64 bytes for streams of 80 + 255: 170 whole ones leave 202, and 80 + 122 is one more.
    let mut writer = ArchiveWriter::new(ID);
    for number in 0..170 {
        writer.declare(&bytes_spec(&format!("{number:0255}")), 1).unwrap();
    }
    assert_eq!(kind(writer.declare(&bytes_spec(&"x".repeat(123)), 1)), Some(ErrorKind::LimitExceeded));
    writer.declare(&bytes_spec(&"x".repeat(122)), 1).unwrap();
    assert_eq!(kind(writer.place(0, 1, 1, 0, [0; 32], 0)), Some(ErrorKind::LimitExceeded));
    let mut bytes = writer.header().to_vec();
    let metadata = format!("{{\"a\":\"{}\"}}", "m".repeat(METADATA_BYTES_MAX - 8));
    let finished = writer.finish(&metadata).unwrap();
    assert_eq!(finished.tail.len(), 65_536);
    bytes.extend_from_slice(&finished.tail);
    assert_eq!(open(&bytes).unwrap().streams().len(), 171);
}

#[test]
fn metadata_is_limited_in_bytes_and_shape() {
    for (length, expected) in [(METADATA_BYTES_MAX, None), (METADATA_BYTES_MAX + 1, Some(ErrorKind::LimitExceeded))] {
        let metadata = format!("{{\"a\":\"{}\"}}", "m".repeat(length - 8));
        assert_eq!(kind(writer_with(1).finish(&metadata)), expected);
    }
    for refused in
        ["", "[]", "1", "{", "{}x", "{\"a\":1.5}", "{\"a\":1e3}", "{\"a\":-0}", "{\"a\":1,\"a\":1}", "{\"a\":NaN}"]
    {
        assert_eq!(kind(writer_with(1).finish(refused)), Some(ErrorKind::InvalidArgument), "{refused}");
    }
    assert_eq!(kind(writer_with(1).finish("{\"a\":18446744073709551615,\"b\":-9223372036854775808}")), None);
    assert_eq!(kind(writer_with(1).finish("{\"a\":18446744073709551616}")), Some(ErrorKind::InvalidArgument));
}

#[test]
fn nesting_is_limited() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert_eq!(kind(writer_with(1).finish(&nested(32))), None);
    assert_eq!(kind(writer_with(1).finish(&nested(33))), Some(ErrorKind::InvalidArgument));
    assert_eq!(kind(writer_with(1).finish(&nested(100_000))), Some(ErrorKind::InvalidArgument));
}

#[test]
fn chunks_are_limited_in_bytes() {
    let mut writer = ArchiveWriter::new(ID);
    writer.declare(&bytes_spec("at"), CHUNK_BYTES_MAX).unwrap();
    for above in [CHUNK_BYTES_MAX + 1, u64::MAX] {
        assert_eq!(kind(writer.declare(&bytes_spec("above"), above)), Some(ErrorKind::LimitExceeded));
    }
    let wide = StreamSpec::new("wide", StreamRole::OPAQUE, ElementType::F64, 1 << 20);
    assert_eq!(kind(writer.declare(&wide, u64::MAX)), Some(ErrorKind::LimitExceeded));
    writer.declare(&wide, 32).unwrap();
}

#[test]
fn blocks_are_limited_by_their_chunk() {
    for (block_bytes, fits) in
        [(0, false), (1, true), (10 + BLOCK_OVERHEAD_MAX, true), (11 + BLOCK_OVERHEAD_MAX, false)]
    {
        assert_eq!(writer_with(10).place(0, 10, block_bytes, 0, [0; 32], 0).is_ok(), fits, "{block_bytes}");
    }
    assert!(writer_with(10).place(0, 10, u64::MAX, 0, [0; 32], 0).is_err());
}

#[test]
fn only_the_last_chunk_may_be_short() {
    let mut writer = writer_with(10);
    for rows in [0, 11] {
        assert_eq!(kind(writer.place(0, rows, 1, 0, [0; 32], 0)), Some(ErrorKind::InvalidArgument));
    }
    writer.place(0, 10, 1, 0, [0; 32], 0).unwrap();
    writer.place(0, 3, 1, 0, [0; 32], 0).unwrap();
    assert_eq!(kind(writer.place(0, 10, 1, 0, [0; 32], 0)), Some(ErrorKind::InvalidArgument));
    assert_eq!(kind(writer.place(1, 10, 1, 0, [0; 32], 0)), Some(ErrorKind::InvalidArgument));
    assert_eq!(writer.finish("{}").unwrap().streams[0].row_count, 13);
}

#[test]
fn names_are_unique_and_checked() {
    let mut writer = writer_with(1);
    for name in ["rows", "", "a\nb", &"x".repeat(256)] {
        assert_eq!(kind(writer.declare(&bytes_spec(name), 1)), Some(ErrorKind::InvalidArgument));
    }
    let leaving = StreamSpec::bytes("document/..", StreamRole::DOCUMENT);
    assert_eq!(kind(writer.declare(&leaving, 1)), Some(ErrorKind::InvalidArgument));
    assert_eq!(kind(writer.declare(&bytes_spec("none"), 0)), Some(ErrorKind::InvalidArgument));
    writer.declare(&bytes_spec(&"ü".repeat(127)), 1).unwrap();
}

#[test]
fn a_full_index_is_said_before_the_block_is_written() {
    let mut writer = writer_with(1).with_entries_per_block(1);
    // (65,536 − 8,192 − 128 − 64 − 80 − 4) / 40 index blocks.
    for _ in 0..1_426 {
        writer.place(0, 1, 1, 0, [0; 32], 0).unwrap();
    }
    let before = writer.position();
    assert_eq!(kind(writer.place(0, 1, 1, 0, [0; 32], 0)), Some(ErrorKind::LimitExceeded));
    assert_eq!(writer.position(), before);
    assert_eq!(writer.finish("{}").unwrap().streams[0].chunk_count, 1_426);
}
