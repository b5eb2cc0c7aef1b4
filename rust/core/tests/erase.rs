//! Erasure in the engine: small indexes by hand, every stream looked at.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use vark_core::archive::Archive;
use vark_core::pipeline::restore::plan_of;
use vark_core::pipeline::rows::{ReadState, RowReader};
use vark_core::pipeline::verify::{Level, verify_source};
use vark_core::testing::erase::{SLOTS, archive_with, erased};

const HNSWLIB: &str = include_str!("../../fuzz/corpus/erase/hnswlib");
const LISTS: &str = include_str!("../../fuzz/corpus/erase/lists");
const GRAPH: &str = include_str!("../../fuzz/corpus/erase/graph");

struct Erased(RowReader);

impl Erased {
    fn of(plan: &str) -> Self {
        let before = archive_with(plan.as_bytes()).unwrap();
        assert!(verify_source(Arc::new(before.clone()), Level::Full, 1, &mut |_, _| Ok(())).unwrap().ok);
        let bytes = erased(before).unwrap();
        let report = verify_source(Arc::new(bytes.clone()), Level::Full, 1, &mut |_, _| Ok(())).unwrap();
        assert!(report.ok, "{report:?}");
        Self(RowReader::new(Archive::open(Arc::new(bytes)).unwrap(), 1 << 20))
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let number = self.0.archive().stream_index(name).unwrap();
        let mut bytes = vec![0; usize::try_from(self.0.archive().streams()[number].raw_bytes()).unwrap()];
        self.0.read_rows(&mut ReadState::default(), number, 0, &mut bytes).unwrap();
        bytes
    }

    fn words(&self, name: &str) -> Vec<u32> {
        self.bytes(name).as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }

    fn longs(&self, name: &str) -> Vec<u64> {
        self.bytes(name).as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
    }
}

#[test]
fn an_hnswlib_file_keeps_tombstones_without_a_level() {
    let erased = Erased::of(HNSWLIB);
    let most = u64::MAX;
    assert_eq!(erased.longs("ids"), [most, 1, 2, most - 3, 4, most - 5, 6, 7]);
    let vectors = erased.words("vectors");
    let is_zero: Vec<bool> = vectors.chunks(2).map(|row| row == [0, 0]).collect();
    assert_eq!(is_zero, [true, false, false, true, false, true, false, false]);
    assert_eq!(erased.words("lengths"), [0; 8]);
    assert!(erased.words("counted.upper").is_empty());
    // Entry point and highest level: node 0 had them, and 3 is erased, too.
    assert_eq!(erased.bytes("literal")[48..56], [0, 0, 0, 0, 1, 0, 0, 0]);
    let lists = erased.words("counted");
    for (node, list) in (0..).zip(lists.chunks(3)) {
        if [0, 3, 5].contains(&node) {
            assert_eq!(list, [1 << 16, 0, 0]);
            continue;
        }
        let degree = usize::try_from(list[0]).unwrap();
        assert!(list[1..=degree].iter().all(|link| ![0, 3, 5, node].contains(link)), "node {node}: {list:?}");
        assert!(list[degree + 1..].iter().all(|link| *link == 0));
    }
    // 2 led to 3 and 5: of 3's neighbours 4 and 6 one takes its place, of 5's 6 and 0 the other.
    assert_eq!(lists[6..9], [2, lists[7], 10 - lists[7]]);
    let plan = plan_of(&erased.0).unwrap();
    assert_eq!(plan.members[0].bytes, 96 + 8 * (12 + 8 + 8) + 8 * 4);
}

#[test]
fn inverted_lists_lose_the_rows() {
    let erased = Erased::of(LISTS);
    assert_eq!(erased.longs("ids"), [1, 2, 4, 6, 7]);
    assert_eq!(erased.longs("sizes"), [2, 3]);
    assert_eq!(erased.bytes("literal")[104..112], 5u64.to_le_bytes());
    assert_eq!(erased.words("vectors").len(), 10);
}

#[test]
fn a_graph_under_an_id_map_loses_all_links_to_the_nodes() {
    let erased = Erased::of(GRAPH);
    assert_eq!(erased.longs("ids"), [u64::MAX, 1, 2, u64::MAX, 4, u64::MAX, 6, 7]);
    assert_eq!(erased.words("levels"), [1; 8]);
    assert!(erased.words("upper").is_empty());
    let slots = usize::try_from(SLOTS).unwrap();
    assert_eq!(erased.bytes("literal")[slots..slots + 8], 24u64.to_le_bytes());
    assert_eq!(erased.bytes("literal")[slots + 8..slots + 16], [1, 0, 0, 0, 0, 0, 0, 0]);
    for (node, list) in (0..).zip(erased.words("links").chunks(3)) {
        let end = list.iter().position(|link| *link == u32::MAX).unwrap_or(3);
        assert!(list[..end].iter().all(|link| ![0, 3, 5, node].contains(link)));
        assert!(list[end..].iter().all(|link| *link == u32::MAX));
        assert_eq!(end == 0, [0, 3, 5].contains(&node));
    }
}

#[test]
fn rows_that_stand_in_several_places_are_refused() {
    let twice = LISTS.replacen(r#""members":["#, &format!(r#""members":[{},"#, member_of(LISTS, "other")), 1);
    let archive = archive_with(twice.as_bytes()).unwrap();
    assert!(erased(archive).is_none());
}

fn member_of(plan: &str, name: &str) -> String {
    let plan: serde_json::Value = serde_json::from_str(plan).unwrap();
    let mut member = plan["members"][0].clone();
    member["name"] = name.into();
    member.to_string()
}
