//! The sorted index of ids: what the writer makes is found right, what is wrong in any number of it is found, and nothing is passed over.
#![expect(clippy::unwrap_used, reason = "tests")]

mod delta_support;

use delta_support::Shelf;
use vark_core::pipeline::id_index::{IdIndex, check, find};
use vark_core::pipeline::output::Output;
use vark_core::pipeline::pack::{Input, PackOptions, StreamInput, pack};
use vark_core::pipeline::verify::{Level, verify};
use vark_core::stream::{ElementType, StreamRole, StreamSpec};
use vark_core::testing::ids::{IDS, look_up_all, with_index};
use vark_core::testing::{Random, Shared, pack_options};

type Streams = Vec<(&'static str, Vec<u64>)>;

const CHUNK_ROWS: u64 = 4;

fn fence(keys: &[u64]) -> Vec<u64> {
    keys.iter().step_by(usize::try_from(CHUNK_ROWS).unwrap()).copied().collect()
}

/// A right index of `IDS`; with `changes`, the first two streams are of other ids.
fn right(has_changes: bool) -> Streams {
    let mut pairs: Vec<(u64, u64)> = IDS.iter().map(|id| id.cast_unsigned()).zip(0..).collect();
    let mut changes = Vec::new();
    if has_changes {
        // Id 7 stood in row 0 and 4 in row 2; id 50 is gone; rows of id 1 are said again.
        (pairs[0].0, pairs[2].0) = (7, 4);
        pairs.push((50, 3));
        changes = vec![(1, 1), (1, 3), (1, 10), (4, 0), (7, 2), (50, u64::MAX)];
    }
    pairs.sort_unstable();
    let mut streams = Streams::new();
    for (words, pairs) in
        [(["keys", "places", "fence"], pairs), (["changes.keys", "changes.places", "changes.fence"], changes)]
    {
        let (keys, places): (Vec<u64>, Vec<u64>) = pairs.into_iter().unzip();
        if !keys.is_empty() {
            streams.extend([(words[0], keys.clone()), (words[1], places), (words[2], fence(&keys))]);
        }
    }
    streams
}

#[test]
fn every_wrong_number_of_an_index_is_found() {
    for has_changes in [false, true] {
        let streams = right(has_changes);
        assert!(look_up_all(&with_index(&streams, CHUNK_ROWS)), "the right index");
        let mut wrong = 0;
        for (stream, (word, numbers)) in streams.iter().enumerate() {
            for (at, right) in numbers.iter().enumerate() {
                for value in [0, 1, 3, 5, 11, 12, right.wrapping_add(1), u64::MAX] {
                    let mut streams = streams.clone();
                    streams[stream].1[at] = value;
                    // Of an id that `changes` tells, what the others say of it is never looked at.
                    let is_right = look_up_all(&with_index(&streams, CHUNK_ROWS));
                    assert!(!is_right || value == *right || has_changes, "{word} {at}: {value}");
                    wrong += u32::from(!is_right);
                }
            }
        }
        println!("{wrong} wrong numbers");
        assert!(wrong > 200, "{wrong}");
    }
}

#[test]
fn rows_that_are_missing_or_twice_are_found() {
    let mut keys_and_places: Vec<(u64, u64)> = IDS.iter().map(|id| id.cast_unsigned()).zip(0..).collect();
    keys_and_places.sort_unstable();
    for at in 0..keys_and_places.len() {
        let mut missing = keys_and_places.clone();
        missing.remove(at);
        let mut twice = keys_and_places.clone();
        twice.insert(at, twice[at]);
        for pairs in [missing, twice] {
            let (keys, places): (Vec<u64>, Vec<u64>) = pairs.into_iter().unzip();
            let streams = [("keys", keys.clone()), ("places", places), ("fence", fence(&keys))];
            assert!(!look_up_all(&with_index(&streams, CHUNK_ROWS)), "{at}");
        }
    }
}

#[test]
fn an_index_at_random_is_never_believed_wrongly() {
    let mut random = Random(0x1D5);
    for _ in 0..2_000 {
        let bytes = random.bytes(9).into_iter().map(|byte| byte % 16);
        let numbers = random.bytes(80).into_iter().map(|byte| if byte > 250 { byte } else { byte % 13 });
        vark_core::testing::ids::id_index(&bytes.chain(numbers).collect::<Vec<u8>>());
    }
}

/// Ids in an archive of their own, with an index when asked for.
fn pack_ids(shelf: &mut Shelf, ids: &[i64], base: Option<&[u8]>, id_index: IdIndex) -> (Vec<u8>, Vec<String>) {
    use vark_core::archive::ArchiveId;
    use vark_core::pipeline::delta::Base;
    shelf.next += 1;
    let archive_id = ArchiveId([shelf.next; 16]);
    let base = base.map(|bytes| Base { reader: shelf.open(bytes), key: None });
    let options = PackOptions { base, archive_id: Some(archive_id), id_index, ..pack_options() };
    let spec = StreamSpec::new("ids", StreamRole::IDS, ElementType::I64, 1);
    let rows: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let mut streams = [StreamInput { spec, input: Input::Shared(std::sync::Arc::new(rows)) }];
    let shared = Shared::default();
    let report =
        pack(Output::Pipe(Box::new(shared.clone())), &mut [], &mut streams, &options, &mut |_, _| Ok(())).unwrap();
    let bytes = std::mem::take(&mut *shared.0.lock().unwrap());
    shelf.archives.insert(archive_id, bytes.clone());
    (bytes, report.delta.map(|delta| delta.id_index_left_out).unwrap_or_default())
}

fn is_found_right(shelf: &Shelf, bytes: &[u8], ids: &[i64]) -> bool {
    let reader = shelf.open(bytes);
    let stream = reader.archive().stream_index("ids").unwrap();
    assert!(check(&reader, stream, &mut || Ok(())).unwrap().is_none());
    assert!(verify(&reader, Level::Full, 1, &mut |_, _| Ok(())).unwrap().ok);
    let wanted: Vec<u64> = ids.iter().step_by(97).map(|id| id.cast_unsigned()).collect();
    let Some(found) = find(&reader, stream, &wanted).unwrap() else { return false };
    let rows: Vec<(usize, u64)> = (0..wanted.len()).zip((0..).step_by(97)).collect();
    assert_eq!(found, rows);
    true
}

#[test]
fn what_the_writer_makes_is_found_right_day_by_day() {
    let mut shelf = Shelf::default();
    let mut random = Random(7);
    let mut ids: Vec<i64> =
        (0..40_000).map(|at| at * 31 + i64::try_from(random.below(31)).unwrap() - 600_000).collect();
    for at in (1..ids.len()).rev() {
        ids.swap(at, usize::try_from(random.below(at as u64 + 1)).unwrap());
    }
    let (mut newest, _) = pack_ids(&mut shelf, &ids, None, IdIndex::Above(1_000));
    assert!(is_found_right(&shelf, &newest, &ids));
    for day in 0..4 {
        ids[day * 50] = 5_000_000 + i64::try_from(day).unwrap();
        ids.extend((0..400).map(|at| 2_000_000 + i64::try_from(day).unwrap() * 1_000 + at));
        let (delta, left_out) = pack_ids(&mut shelf, &ids, Some(&newest), IdIndex::AsBase);
        assert!(left_out.is_empty());
        assert!(is_found_right(&shelf, &delta, &ids), "day {day}");
        newest = delta;
    }
    // All rows but the first shift: the index would be most of such a delta, unless it is asked for.
    ids.remove(1);
    let (delta, left_out) = pack_ids(&mut shelf, &ids, Some(&newest), IdIndex::AsBase);
    assert_eq!(left_out, ["ids"]);
    assert!(!is_found_right(&shelf, &delta, &ids));
    let (delta, left_out) = pack_ids(&mut shelf, &ids, Some(&newest), IdIndex::Above(1_000));
    assert!(left_out.is_empty() && is_found_right(&shelf, &delta, &ids));
}
