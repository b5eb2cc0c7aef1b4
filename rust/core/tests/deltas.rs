//! Deltas: what is restored from one is the source of its day, and it holds little more than what is new.
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

mod delta_support;

use delta_support::{ROW_BYTES, Shelf, matrix, npy, random_row};
use proptest::prelude::*;
use std::sync::Arc;
use vark_core::archive::{Archive, ArchiveId};
use vark_core::error::{ErrorKind, Layer};
use vark_core::pipeline::compact::{For, compact};
use vark_core::pipeline::output::Output;
use vark_core::pipeline::pack::PackOptions;
use vark_core::pipeline::rows::ReadState;
use vark_core::pipeline::verify::{Level, Scope, verify, verify_opened, verify_scope};
use vark_core::store::ReadAt;
use vark_core::stream::{ElementType, StreamRole, StreamSpec, chunk_rows_for};
use vark_core::testing::{Random, Shared, pack_options};

#[derive(Debug, Clone)]
enum Edit {
    Replace(Vec<prop::sample::Index>),
    Remove(Vec<prop::sample::Index>),
    Insert(prop::sample::Index, usize),
    Append(usize),
    Truncate(usize),
    Swap(prop::sample::Index, prop::sample::Index, usize),
    Nothing,
}

fn edits() -> impl Strategy<Value = Edit> {
    let places = || prop::collection::vec(any::<prop::sample::Index>(), 1..40);
    prop_oneof![
        places().prop_map(Edit::Replace),
        places().prop_map(Edit::Remove),
        (any::<prop::sample::Index>(), 1usize..900).prop_map(|(at, count)| Edit::Insert(at, count)),
        (1usize..900).prop_map(Edit::Append),
        (1usize..900).prop_map(Edit::Truncate),
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1usize..300)
            .prop_map(|(from, to, count)| Edit::Swap(from, to, count)),
        Just(Edit::Nothing),
    ]
}

fn apply(rows: &mut Vec<[u8; ROW_BYTES]>, edit: &Edit, random: &mut Random) {
    match edit {
        Edit::Replace(places) => {
            for place in places {
                let place = place.index(rows.len());
                rows[place] = random_row(random);
            }
        }
        Edit::Remove(places) => {
            for place in places {
                rows.remove(place.index(rows.len()));
            }
        }
        Edit::Insert(at, count) => {
            let at = at.index(rows.len());
            let new: Vec<_> = (0..*count).map(|_| random_row(random)).collect();
            rows.splice(at..at, new);
        }
        Edit::Append(count) => rows.extend((0..*count).map(|_| random_row(random)).collect::<Vec<_>>()),
        Edit::Truncate(count) => rows.truncate(rows.len().saturating_sub(*count).max(500)),
        Edit::Swap(from, to, count) => {
            let moved: Vec<_> = {
                let from = from.index(rows.len());
                rows.drain(from..(from + count).min(rows.len())).collect()
            };
            let to = to.index(rows.len().max(1));
            rows.splice(to..to, moved);
        }
        Edit::Nothing => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_of_any_edits_restores_every_day(
        seed in any::<u64>(),
        days in prop::collection::vec(prop::collection::vec(edits(), 1..3), 1..5),
    ) {
        let mut shelf = Shelf::default();
        let mut random = Random(seed | 1);
        let mut rows = matrix(5_000, seed | 1);
        let mut kept = vec![(npy(&rows), shelf.add(&npy(&rows), None))];
        for day in &days {
            day.iter().for_each(|edit| apply(&mut rows, edit, &mut random));
            let source = npy(&rows);
            let archive = shelf.add(&source, Some(&kept.last().unwrap().1));
            kept.push((source, archive));
        }
        for (source, archive) in &kept {
            shelf.check(archive, source);
        }
        // And an archive that stands alone is made of the last without its source.
        let (source, archive) = kept.last().unwrap();
        let shared = Shared::default();
        let output = Output::Pipe(Box::new(shared.clone()));
        compact(&shelf.open(archive), output, None, For::Same(None), 2, &mut |_, _| Ok(())).unwrap();
        let compacted = std::mem::take(&mut *shared.0.lock().unwrap());
        let alone = Shelf::default();
        prop_assert!(alone.open(&compacted).archive().ancestors().is_empty());
        alone.check(&compacted, source);
    }
}

#[test]
fn what_is_stored_is_what_is_new() {
    let mut shelf = Shelf::default();
    let mut rows = matrix(20_000, 3);
    let full = shelf.add(&npy(&rows), None);
    let same = shelf.add(&npy(&rows), Some(&full));
    assert!(same.len() < 5_000, "{} bytes for nothing new", same.len());

    let mut random = Random(9);
    for row in (0..20_000).step_by(100) {
        rows[row] = random_row(&mut random);
    }
    let changed = shelf.add(&npy(&rows), Some(&same));
    let limit = full.len() * 12 / 1000;
    assert!(changed.len() < limit, "{} bytes of {} for 1 % changed", changed.len(), full.len());
    shelf.check(&changed, &npy(&rows));

    let mut fewer = rows.clone();
    for number in (0..200).rev() {
        fewer.remove(number * 97 + 5);
    }
    let removed = shelf.add(&npy(&fewer), Some(&changed));
    assert!(removed.len() * 1000 < full.len() * 5, "{} bytes for 1 % removed", removed.len());
    shelf.check(&removed, &npy(&fewer));
    // Nothing that is not needed is an ancestor.
    let ancestors = shelf.open(&removed).archive().ancestors().len();
    assert_eq!(ancestors, 2);
}

#[test]
fn all_new_rows_cost_a_full_archive_and_little_more() {
    let mut shelf = Shelf::default();
    let full = shelf.add(&npy(&matrix(20_000, 3)), None);
    let other = shelf.add(&npy(&matrix(20_000, 4)), Some(&full));
    assert!(other.len() * 1000 < full.len() * 1005, "{} bytes of {}", other.len(), full.len());
    shelf.check(&other, &npy(&matrix(20_000, 4)));
}

#[test]
fn the_same_bytes_at_any_thread_count_and_memory() {
    let mut shelf = Shelf::default();
    let mut rows = matrix(9_000, 3);
    let full = shelf.add(&npy(&rows), None);
    let mut random = Random(5);
    (0..50).for_each(|number| rows[number * 170] = random_row(&mut random));
    rows.drain(4_000..4_100);
    let mut found = Vec::new();
    for (threads, memory_bytes) in [(1, 64 << 20), (2, 64 << 20), (5, 8 << 20)] {
        shelf.next = 10;
        found.push(shelf.add_with(&npy(&rows), Some(&full), PackOptions { threads, memory_bytes, ..pack_options() }));
    }
    assert!(found[0] == found[1] && found[1] == found[2]);
}

#[test]
fn an_ancestor_that_is_missing_or_another_is_said() {
    let mut shelf = Shelf::default();
    let mut rows = matrix(5_000, 3);
    let full = shelf.add(&npy(&rows), None);
    rows[17] = random_row(&mut Random(5));
    let delta = shelf.add(&npy(&rows), Some(&full));
    let alone = Shelf::default();
    let reader = alone.open(&delta);
    let stream = reader.archive().stream_index("vectors").unwrap();
    let error = reader.read_rows(&mut ReadState::default(), stream, 0, &mut [0; ROW_BYTES]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let mut archive = Archive::open(Arc::new(delta.clone())).unwrap();
    let other: Arc<dyn ReadAt> = Arc::new(full[1..].to_vec());
    assert_eq!(archive.attach(vec![Some(other)]).unwrap_err().layer(), Some(Layer::Directory));
    // By itself it is whole.
    let own = verify_scope(&reader, Level::Full, Scope::Own, 1, &mut |_, _| Ok(())).unwrap();
    assert!(own.ok, "{:?}", own.damage);
    assert!(!verify(&reader, Level::Stored, 1, &mut |_, _| Ok(())).unwrap().ok);
}

#[test]
fn damage_in_a_delta_or_its_ancestor_never_gives_a_wrong_row() {
    let mut shelf = Shelf::default();
    let mut rows = matrix(5_000, 3);
    let full = shelf.add(&npy(&rows), None);
    rows[17] = random_row(&mut Random(5));
    rows.remove(2_000);
    let source = npy(&rows);
    let delta = shelf.add(&source, Some(&full));
    let mut random = Random(11);
    for round in 0..400 {
        let in_delta = round % 2 == 0;
        let victim = if in_delta { &delta } else { &full };
        let mut damaged = victim.clone();
        let at = (random.number() % damaged.len() as u64) as usize;
        damaged[at] ^= 1 << (random.number() % 8);
        let mut other = Shelf { archives: shelf.archives.clone(), next: 0 };
        let bytes = if in_delta { damaged.clone() } else { delta.clone() };
        if !in_delta {
            other.archives.insert(ArchiveId([1; 16]), damaged);
        }
        let opened =
            Archive::open(Arc::new(bytes.clone())).and_then(|mut archive| other.attach(&mut archive).map(|()| archive));
        let length = bytes.len() as u64;
        let report = verify_opened(opened, length, Level::Full, Scope::WithAncestors, 1, &mut |_, _| Ok(()));
        let is_found = report.map_or(true, |report| !report.ok);
        if is_found {
            continue;
        }
        assert!(!in_delta, "a bit of the delta at {at} was not missed");
        assert!(other.restored(&bytes) == source, "byte {at}");
    }
}

#[test]
fn a_stream_that_was_replaced_is_not_stored_again_the_day_after() {
    let mut shelf = Shelf::default();
    let full = shelf.add(&npy(&matrix(9_000, 3)), None);
    let mut rows = matrix(9_000, 4);
    let other = shelf.add(&npy(&rows), Some(&full));
    rows[77] = random_row(&mut Random(5));
    let day_after = shelf.add(&npy(&rows), Some(&other));
    assert!(day_after.len() * 20 < full.len(), "{} bytes of {}", day_after.len(), full.len());
    shelf.check(&day_after, &npy(&rows));
    // Nothing of the rows of the first archive is taken along.
    let reader = shelf.open(&day_after);
    let names: Vec<_> = reader.archive().streams().iter().map(|stream| stream.name.as_str()).collect();
    assert!(names.contains(&"vectors//part.2") && !names.contains(&"vectors//part.1"), "{names:?}");
}

#[test]
fn a_small_drift_of_every_row_is_smaller_than_a_full_archive() {
    let mut shelf = Shelf::default();
    let rows = matrix(5_000, 3);
    let full = shelf.add(&npy(&rows), None);
    let mut random = Random(8);
    let drifted: Vec<_> = rows
        .iter()
        .map(|row| {
            let mut row = *row;
            for value in row.as_chunks_mut::<4>().0 {
                let noise = (random.number() >> 40) as f32 / 1.6e10 - 5e-4;
                *value = (f32::from_le_bytes(*value) + noise).to_le_bytes();
            }
            row
        })
        .collect();
    let delta = shelf.add(&npy(&drifted), Some(&full));
    assert!(delta.len() * 10 < full.len() * 9, "{} bytes of {}", delta.len(), full.len());
    shelf.check(&delta, &npy(&drifted));
    let again = shelf.add(&npy(&rows), Some(&delta));
    shelf.check(&again, &npy(&rows));
}

/// The last chunk is so short that it overtakes the one before, which is put off: what follows from both stays in order.
#[test]
fn a_large_chunk_and_a_short_last_one_stay_in_order() {
    // Lists of 64 links in partitions of 72 MiB, wide enough for fingerprints.
    let spec = StreamSpec::new("links", StreamRole::LINKS, ElementType::U32, 64);
    let rows = chunk_rows_for(StreamRole::LINKS, 256, 300_000) as usize + 2_000;
    let mut bytes = vec![0; rows * 256];
    for (number, row) in bytes.chunks_exact_mut(256).enumerate() {
        row[..8].copy_from_slice(&(number as u64).to_le_bytes());
    }
    let mut shelf = Shelf::default();
    let full = shelf.add_stream(&spec, &bytes, None);
    for row in (0..rows).step_by(5_000).chain([rows - 1]) {
        bytes[row * 256 + 9] = 1;
    }
    let delta = shelf.add_stream(&spec, &bytes, Some(&full));
    // Nothing is compressed, maps neither.
    assert!(delta.len() * 10 < full.len());
    bytes[(rows - 2) * 256 + 9] = 2;
    let second = shelf.add_stream(&spec, &bytes, Some(&delta));
    let reader = shelf.open(&second);
    let stream = reader.archive().stream_index("links").unwrap();
    let mut found = vec![1; bytes.len()];
    reader.read_rows(&mut ReadState::default(), stream, 0, &mut found).unwrap();
    assert!(found == bytes);
}
