//! The local cache of deltas: the same bytes with it, without it and against it, and nothing of a sealed archive in the clear.
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

mod delta_support;

use delta_support::Shelf;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vark_core::archive::{Archive, ArchiveId, Sealing};
use vark_core::codec::LinkOrder;
use vark_core::error::ErrorKind;
use vark_core::pipeline::cache::{CacheKey, CacheTally, ChunkCache};
use vark_core::pipeline::delta::Base;
use vark_core::pipeline::pack::{Input, MemberInput, PackOptions};
use vark_core::pipeline::restore::write_member;
use vark_core::pipeline::rows::RowReader;
use vark_core::seal::{Identity, Secret, Secrets, SlotKind, Suite};
use vark_core::split::Layout;
use vark_core::testing::files::{Folder, hnswlib, pack_to};
use vark_core::testing::{Random, pack_options, restore_options};

const DEGREE: u64 = 16;
const WIDTH: u64 = 4;
const HEADER_BYTES: usize = 96;
const LINK_BYTES: usize = 4 + 8 * DEGREE as usize;
const RECORD_BYTES: usize = LINK_BYTES + 4 * WIDTH as usize + 8;

fn graph(count: u64) -> Vec<u8> {
    hnswlib(&mut Random(11), count, DEGREE, WIDTH, 2)
}

/// Some vectors and some links of the graph are other ones.
fn next_day(graph: &mut [u8], count: u64, random: &mut Random) {
    for _ in 0..count / 50 {
        let start = HEADER_BYTES + random.below(count) as usize * RECORD_BYTES;
        let degree = u32::from_le_bytes(graph[start..start + 4].try_into().unwrap());
        if degree > 0 {
            let slot = start + 4 + 4 * random.below(u64::from(degree)) as usize;
            graph[slot..slot + 4].copy_from_slice(&(random.below(count) as u32).to_le_bytes());
        }
        graph[start + LINK_BYTES..start + LINK_BYTES + 4].copy_from_slice(&1.5f32.to_le_bytes());
    }
}

fn cache(folder: &Path) -> Arc<ChunkCache> {
    Arc::new(ChunkCache::open(folder, None, 1 << 30).unwrap())
}

fn with(cache: Option<Arc<ChunkCache>>, threads: usize) -> PackOptions {
    PackOptions { cache, threads, ..pack_options() }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn tally(chunks_read: u64, chunks_written: u64) -> CacheTally {
    CacheTally { chunks_read, chunks_written }
}

/// Days of a graph, with a cache for which `spoil` does what it wants before each day, and without one.
fn chain(count: u64, days: usize, threads: usize, mut spoil: impl FnMut(usize, &Path)) -> Vec<CacheTally> {
    let folder = Folder::new();
    let place = folder.path("cache");
    let (mut plain, mut cached) = (Shelf::default(), Shelf::default());
    let (mut source, mut random) = (graph(count), Random(5));
    let mut last: Option<Vec<u8>> = None;
    let mut tallies = Vec::new();
    for day in 0..days {
        let cache = cache(&place);
        spoil(day, &place);
        let expected = plain.add_with(&source, last.as_deref(), with(None, 1));
        let found = cached.add_with(&source, last.as_deref(), with(Some(cache.clone()), threads));
        assert!(expected == found, "day {day}: another archive than without a cache");
        assert!(cached.restored(&found) == source);
        tallies.push(cache.tally());
        last = Some(found);
        next_day(&mut source, count, &mut random);
    }
    tallies
}

#[test]
fn a_delta_has_the_same_bytes_with_a_cache_and_decodes_no_links_of_its_base() {
    let tallies = chain(3_000, 6, 2, |_, _| {});
    assert_eq!(tallies[0], tally(0, 1));
    // The base's chunk, and from the second day on what links are coded against.
    assert!(tallies[1..].iter().all(|tally| tally.chunks_read >= 1 && tally.chunks_written == 1), "{tallies:?}");
    assert!(tallies[2..].iter().all(|tally| tally.chunks_read >= 2), "{tallies:?}");
}

#[test]
fn large_partitions_are_cached_too() {
    let tallies = chain(70_000, 3, 3, |_, _| {});
    assert!(tallies[1..].iter().all(|tally| tally.chunks_read >= 1 && tally.chunks_written >= 1), "{tallies:?}");
}

#[test]
fn a_cache_that_is_lost_damaged_or_stale_changes_nothing() {
    let mut random = Random(3);
    let mut stale: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    let tallies = chain(3_000, 12, 2, |day, place| {
        for path in files(place) {
            let bytes = std::fs::read(&path).unwrap();
            match day % 4 {
                0 => std::fs::remove_file(&path).unwrap(),
                1 => {
                    let mut bad = bytes.clone();
                    let at = random.below(bad.len() as u64) as usize;
                    bad[at] ^= 0x40;
                    std::fs::write(&path, bad).unwrap();
                }
                // The rows of another day under the name of today's.
                2 => std::fs::write(&path, &stale.first().map_or(&bytes, |(_, old)| old)[..]).unwrap(),
                _ => {}
            }
            stale.push((path, bytes));
        }
    });
    assert!(tallies.iter().all(|tally| tally.chunks_written >= 1), "{tallies:?}: what was lost is written anew");
    assert!(tallies[3].chunks_read >= 1, "{tallies:?}");
}

#[test]
fn chunks_in_canonical_order_are_cached_as_they_are_stored() {
    let folder = Folder::new();
    let (source, mut shelf) = (graph(3_000), Shelf::default());
    let canonical = |cache| {
        let source = [("source".to_owned(), serde_json::json!({}))];
        PackOptions { order: LinkOrder::Canonical, metadata: source.into_iter().collect(), ..with(cache, 2) }
    };
    let first = cache(&folder.path("cache"));
    let full = shelf.add_with(&source, None, canonical(Some(first.clone())));
    let mut changed = source;
    next_day(&mut changed, 3_000, &mut Random(8));
    let second = cache(&folder.path("cache"));
    let delta = shelf.add_with(&changed, Some(&full), canonical(Some(second.clone())));
    assert_eq!((first.tally(), second.tally().chunks_written), (tally(0, 1), 1));
    assert!(second.tally().chunks_read >= 1);
    let mut other = Shelf { next: 1, ..Shelf::default() };
    other.archives.insert(ArchiveId([1; 16]), full.clone());
    assert!(other.add_with(&changed, Some(&full), canonical(None)) == delta);
}

#[test]
fn links_of_a_sealed_archive_go_into_a_sealed_cache_only() {
    let folder = Folder::new();
    let source = graph(3_000);
    let identity = Identity::random().unwrap();
    let sealing = Sealing::single(Suite::Aes256Gcm, vec![SlotKind::Recipient(identity.recipient())]).unwrap();
    let member = |bytes: &[u8]| MemberInput {
        name: "source".to_owned(),
        input: Input::Shared(Arc::new(bytes.to_vec())),
        layout: Layout::Auto,
        facts: serde_json::Map::new(),
    };
    let sealed_options = |cache| PackOptions { seal: Some(sealing.clone()), ..with(Some(cache), 2) };
    let plain = cache(&folder.path("plain"));
    pack_to(&mut [member(&source)], &sealed_options(plain.clone())).unwrap();
    assert!(files(&folder.path("plain")).is_empty());
    let own = || {
        let key = CacheKey { key: Secret::take(&mut [9; 32]), suite: Suite::Aes256Gcm, repository: [0; 16] };
        Arc::new(ChunkCache::open(&folder.path("sealed"), Some(key), 1 << 30).unwrap())
    };
    let first = own();
    let full = pack_to(&mut [member(&source)], &sealed_options(first.clone())).unwrap();
    assert_eq!(first.tally(), tally(0, 1));
    let mut changed = source;
    next_day(&mut changed, 3_000, &mut Random(8));
    let keys = Secrets { identities: vec![identity], ..Secrets::default() };
    for (cache, expected) in [(own(), true), (cache(&folder.path("plain")), false)] {
        let archive = Archive::open_with(Arc::new(full.clone()), &keys).unwrap();
        let base = Some(Base { reader: Arc::new(RowReader::new(archive, 16 << 20)), key: None });
        let archive_id = Some(ArchiveId([8; 16]));
        let options = PackOptions { base, archive_id, ..with(Some(cache.clone()), 2) };
        pack_to(&mut [member(&changed)], &options).unwrap();
        assert_eq!(cache.tally().chunks_read >= 1, expected);
    }
    assert!(files(&folder.path("plain")).is_empty());
}

/// Stored bytes of the links' blocks that lie in an archive: its own, or those of its ancestor.
fn link_blocks(reader: &RowReader, ancestor: u16) -> Vec<(usize, usize)> {
    let archive = reader.archive();
    let streams = archive.streams().iter().enumerate();
    let links = streams.filter(|(_, stream)| stream.name.starts_with("links.level0//part"));
    let entries = links.flat_map(|(number, stream)| (0..stream.chunk_count).map(move |chunk| (number, chunk)));
    let entries = entries.map(|(number, chunk)| archive.entry(number, chunk).unwrap());
    let there = entries.filter(|entry| entry.archive == ancestor);
    there.map(|entry| (entry.offset as usize, entry.stored_bytes as usize)).collect()
}

#[test]
fn a_large_partition_is_put_together_in_place_and_damage_of_any_part_is_found() {
    let (mut shelf, mut source, mut random) = (Shelf::default(), graph(70_000), Random(5));
    let full = shelf.add_with(&source, None, with(None, 2));
    next_day(&mut source, 70_000, &mut random);
    let first = shelf.add_with(&source, Some(&full), with(None, 2));
    next_day(&mut source, 70_000, &mut random);
    let second = shelf.add_with(&source, Some(&first), with(None, 2));
    assert!(shelf.restored(&second) == source);
    let reader = shelf.open(&second);
    // Of the second day, of the first, and of the full archive before them.
    for (ancestor, bytes) in [(0, &second), (1, &first), (2, &full)] {
        let blocks = link_blocks(&reader, ancestor);
        assert!(!blocks.is_empty(), "ancestor {ancestor}");
        for (offset, stored_bytes) in blocks {
            let mut bad = bytes.clone();
            bad[offset + stored_bytes / 2] ^= 1;
            let mut harmed = Shelf { archives: shelf.archives.clone(), next: 9 };
            let newest = if ancestor == 0 { bad.clone() } else { second.clone() };
            harmed.archives.insert(ArchiveId([3 - ancestor as u8; 16]), bad);
            let mut restored = Vec::new();
            let done = write_member(&harmed.open(&newest), 0, &mut restored, &restore_options(), &mut |_, _| Ok(()));
            assert_eq!(done.unwrap_err().kind(), ErrorKind::Damaged, "ancestor {ancestor}");
            assert!(source.starts_with(&restored), "a wrong row was given away");
        }
    }
}
