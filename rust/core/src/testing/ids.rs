//! Look-ups in an index of ids that may say anything (spec 8.3).

use super::{RawStream, archive_of};
use crate::archive::Archive;
use crate::pipeline::id_index::{check, find};
use crate::pipeline::rows::RowReader;
use crate::stream::{ElementType, StreamRole, StreamSpec};
use std::sync::Arc;

/// The ids of the rows; 1 stands in three of them.
pub const IDS: [i64; 12] = [4, 1, 7, 1, 0, 9, 2, 8, 3, 6, 1, -1];
/// Streams of an index, in the order in which a target's bytes tell them.
pub const WORDS: [&str; 7] = ["keys", "places", "fence", "changes.keys", "changes.places", "changes.fence", "groups"];
const CHUNK_ROWS_MAX: u8 = 5;

/// Bytes: which streams are absent (a bit each), rows of a chunk, a count for each stream, then the numbers of one stream after another.
/// No look-up gives a row of another id; and where the check finds nothing wrong, it gives all of them.
pub fn id_index(data: &[u8]) {
    let Some((&[absent, chunk_rows, ref counts @ ..], numbers)) = data.split_first_chunk::<9>() else { return };
    let mut numbers = numbers.iter().map(|byte| number(*byte));
    let streams: Vec<(&str, Vec<u64>)> = WORDS
        .into_iter()
        .zip(counts)
        .enumerate()
        .filter(|(at, _)| absent >> at & 1 == 0)
        .map(|(_, (word, count))| (word, numbers.by_ref().take(usize::from(*count)).collect()))
        .collect();
    let reader = with_index(&streams, u64::from(chunk_rows % CHUNK_ROWS_MAX) + 1);
    look_up_all(&reader);
}

/// Small numbers, and some at the end of what there is.
fn number(byte: u8) -> u64 {
    match byte {
        0..0xC0 => u64::from(byte),
        0xC0..0xFF => 1 << (byte - 0xC0),
        0xFF => u64::MAX,
    }
}

/// An archive in memory of `IDS` and the streams of an index, by their words.
pub fn with_index(streams: &[(&str, Vec<u64>)], chunk_rows: u64) -> RowReader {
    let bytes = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let ids: Vec<u64> = IDS.iter().map(|id| id.cast_unsigned()).collect();
    let spec = StreamSpec::new("ids", StreamRole::IDS, ElementType::I64, 1);
    let mut all = vec![RawStream { spec, chunk_rows: 5, data: bytes(&ids) }];
    for (word, numbers) in streams {
        let spec = StreamSpec::new(format!("ids//id_index.{word}"), StreamRole::ID_INDEX, ElementType::U64, 1);
        let is_read_whole = word.ends_with("fence") || *word == "groups";
        all.push(RawStream { spec, chunk_rows: if is_read_whole { 4 } else { chunk_rows }, data: bytes(numbers) });
    }
    let archive = archive_of(&all, 3_584).unwrap();
    RowReader::new(Archive::open(Arc::new(archive)).unwrap(), 1 << 20)
}

/// Looks all ids up, and some that no row has; returns whether the check found the index right.
pub fn look_up_all(reader: &RowReader) -> bool {
    let is_right = matches!(check(reader, 0, &mut || Ok(())), Ok(None));
    for id in -2i64..200 {
        let rows: Vec<u64> = (0..).zip(IDS).filter(|(_, each)| *each == id).map(|(row, _)| row).collect();
        match find(reader, 0, &[id.cast_unsigned()]) {
            Ok(None) => {}
            Ok(Some(found)) => {
                let found: Vec<u64> = found.into_iter().map(|(_, row)| row).collect();
                assert!(found.iter().all(|row| rows.contains(row)), "rows {found:?} of id {id}");
                assert!(
                    found == rows || !is_right,
                    "the index was found right, but id {id} has {rows:?}, not {found:?}"
                );
            }
            Err(error) => assert!(!is_right, "the index was found right, but id {id}: {error}"),
        }
    }
    is_right
}
