//! Parsers under attack: whatever the bytes, they answer quickly, take little memory, and tile what they accept.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod split_support;

use proptest::prelude::*;
use split_support::{attack, execute, fixtures, plan};
use vark_core::split::{Layout, check_faiss, check_hnswlib, plan_file};

#[test]
fn a_file_cut_anywhere_falls_back_to_opaque() {
    for (name, bytes) in fixtures() {
        for end in 0..bytes.len() {
            let cut = bytes[..end].to_vec();
            let (member, streams) = plan(&cut);
            assert_eq!(member.layout, "opaque", "{name} cut at {end}");
            execute(&cut, &member, &streams);
            assert!(check_faiss(&cut).is_err() && check_hnswlib(&cut).is_err());
        }
    }
}

fn header(fourcc: &[u8; 4]) -> Vec<u8> {
    let mut bytes = fourcc.to_vec();
    bytes.extend(1i32.to_le_bytes());
    bytes.extend([0; 24]);
    bytes.push(1);
    bytes.extend(1i32.to_le_bytes());
    bytes
}

fn nested_id_maps(depth: usize) -> Vec<u8> {
    let mut bytes = header(b"IxMp").repeat(depth);
    bytes.extend(header(b"IxF2"));
    // One empty vector of the flat index, one empty map for each wrapper.
    bytes.resize(bytes.len() + 8 * (depth + 1), 0);
    bytes
}

#[test]
fn nesting_is_followed_to_the_limit_of_faiss_and_no_further() {
    assert_eq!(plan(&nested_id_maps(49)).0.layout, "faiss/IxMp");
    for depth in [50, 10_000] {
        let (member, _) = plan(&nested_id_maps(depth));
        assert_eq!(member.layout, "opaque");
        assert!(member.warning.is_some_and(|text| text.contains("nested")));
    }
}

#[test]
fn a_long_chain_of_transforms_is_refused() {
    let mut bytes = header(b"IxPT");
    bytes.extend(i32::MAX.to_le_bytes());
    for _ in 0..10_000 {
        bytes.extend(b"VNrm");
        bytes.extend([0; 13]);
    }
    assert_eq!(plan(&bytes).0.layout, "opaque");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_after_a_valid_beginning_are_survived(
        pick in any::<prop::sample::Index>(),
        keep in any::<prop::sample::Index>(),
        tail in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 0..600),
    ) {
        let files = fixtures_once();
        let (_, bytes) = &files[pick.index(files.len())];
        let mut changed = bytes[..keep.index(bytes.len() + 1)].to_vec();
        changed.extend(&tail);
        attack(&changed);
        for layout in [Layout::Faiss, Layout::Hnswlib, Layout::Npy, Layout::Usearch, Layout::DiskAnn] {
            let (member, streams) = plan_file(&changed, "m", layout).unwrap();
            execute(&changed, &member, &streams);
        }
    }

    #[test]
    fn spliced_files_are_survived(
        first in any::<prop::sample::Index>(),
        second in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        join in any::<prop::sample::Index>(),
    ) {
        let files = fixtures_once();
        let (head, tail) = (&files[first.index(files.len())].1, &files[second.index(files.len())].1);
        let spliced = [&head[..cut.index(head.len() + 1)], &tail[join.index(tail.len())..]].concat();
        attack(&spliced);
    }
}

fn fixtures_once() -> &'static [(String, Vec<u8>)] {
    static FILES: std::sync::OnceLock<Vec<(String, Vec<u8>)>> = std::sync::OnceLock::new();
    FILES.get_or_init(fixtures)
}
