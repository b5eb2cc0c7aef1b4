//! What was written is found again, in as few reads as the specification promises.

use proptest::prelude::*;

use super::*;
use crate::archive::{IndexBlock, layout};
use crate::error::{ErrorKind, Layer};

const SHAPES: [Shape<'_>; 4] = [("vectors", 12, 5, 43), ("empty", 3, 7, 0), ("ids", 8, 4, 16), ("last", 1, 100, 1)];

fn check_all(bytes: &[u8], shapes: &[Shape<'_>]) {
    let archive = open(bytes).unwrap();
    assert_eq!(archive.streams().len(), shapes.len());
    let mut block = Vec::new();
    for (stream, &shape) in shapes.iter().enumerate() {
        let description = &archive.streams()[stream];
        assert_eq!((description.name.as_str(), description.row_count), (shape.0, shape.3));
        assert_eq!(archive.stream_index(shape.0), Some(stream));
        assert_eq!(description.chunk_count, shape.3.div_ceil(shape.2));
        let mut stored = 0;
        for chunk in 0..description.chunk_count {
            let entry = archive.entry(stream, chunk).unwrap();
            archive.read_block(&entry, &mut block).unwrap();
            assert_eq!(block, rows_of(shape, chunk));
            assert_eq!(digest::blake3(&block), entry.digest);
            stored += u64::from(entry.stored_bytes);
        }
        assert_eq!(description.stored_bytes, stored);
        let missing = archive.entry(stream, description.chunk_count).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::InvalidArgument);
    }
    check_placement(&archive);
    archive.check_header().unwrap();
    assert_eq!(archive.archive_crc(), digest::crc64(&bytes[..bytes.len() - 128]));
}

/// What verification does: every index block once, every entry in its stream, all bytes accounted for.
fn check_placement(archive: &Archive) {
    let (mut places, mut entries) = (Vec::new(), Vec::new());
    let mut sums = vec![0; archive.streams().len()];
    for number in 0..archive.index_block_count() {
        let IndexBlock { offset, byte_count, .. } = archive.index_block_range(number);
        let mut bytes = vec![0; usize::try_from(byte_count).unwrap()];
        archive.read_range(offset, &mut bytes).unwrap();
        assert!(archive.check_index_block(number, &bytes).is_empty());
        for (stream, chunk, entry) in archive.entries_of_index_block(number).unwrap() {
            assert_eq!(archive.entry(stream, chunk).unwrap(), entry);
            places.push(layout::place_of(&entry));
            sums[stream] += u64::from(entry.stored_bytes);
            entries.push(entry);
        }
    }
    assert_eq!(entries.len() as u64, archive.entry_count());
    archive.check_archive_crc(&mut entries).unwrap();
    assert!(layout::check_stored_bytes(archive.streams(), &sums).is_empty());
    if let Some(sum) = sums.first_mut() {
        *sum += 1;
        let faults = layout::check_stored_bytes(archive.streams(), &sums);
        assert_eq!(faults.iter().map(|fault| fault.layer()).collect::<Vec<_>>(), [Some(Layer::Index)]);
    }
    let layout = layout::check(&mut places, archive.index_offset(), true);
    assert!(layout.faults.is_empty());
    for gap in layout.gaps {
        let mut bytes = vec![1; usize::try_from(gap.bytes).unwrap()];
        archive.read_range(gap.offset, &mut bytes).unwrap();
        layout::check_padding(gap, &bytes).unwrap();
    }
}

#[test]
fn every_chunk_comes_back_at_any_index_block_size() {
    for entries_per_block in [1, 2, 3, 5, 13, 14, 15, 3_640] {
        check_all(&build(&SHAPES, entries_per_block, "{}"), &SHAPES);
    }
}

#[test]
fn an_archive_without_streams_or_rows_is_an_archive() {
    check_all(&build(&[], 1, "{}"), &[]);
    let empty = [("a", 4, 1, 0), ("b", 1, 9, 0)];
    check_all(&build(&empty, 1, "{}"), &empty);
}

#[test]
fn metadata_is_stored_in_canonical_form() {
    let bytes = build(&SHAPES, 2, "{ \"z\": [1, -2, null],\n \"a\": {\"writer\": \"vark ü \\u0001\"} }");
    assert_eq!(open(&bytes).unwrap().metadata(), "{\"a\":{\"writer\":\"vark ü \\u0001\"},\"z\":[1,-2,null]}");
}

#[test]
fn the_same_calls_give_the_same_bytes() {
    assert_eq!(build(&SHAPES, 4, "{}"), build(&SHAPES, 4, "{}"));
    let archive = open(&build(&SHAPES, 4, "{}")).unwrap();
    assert_eq!((archive.id(), archive.version()), (ID, (1, 0)));
}

#[test]
fn a_small_archive_opens_with_one_read_and_a_row_costs_one_more() {
    let source = Counting::new(build(&[("vectors", 64, 10, 5_000)], 100, "{}"));
    let archive = Archive::open(Arc::clone(&source) as Arc<dyn ReadAt>).unwrap();
    assert_eq!(source.take(), [(source.byte_count() - 262_144, 262_144)]);
    let entry = archive.entry(0, 250).unwrap();
    assert!(source.take().is_empty(), "the index lies in the tail");
    archive.read_block(&entry, &mut Vec::new()).unwrap();
    assert_eq!(source.take(), [(entry.offset, 640)]);
}

#[test]
fn a_tiny_archive_is_read_whole_at_once() {
    let source = Counting::new(build(&SHAPES, 2, "{}"));
    Archive::open(Arc::clone(&source) as Arc<dyn ReadAt>).unwrap();
    assert_eq!(source.take(), [(0, source.inner.len())]);
}

#[test]
fn an_index_block_outside_the_tail_is_read_once_while_it_is_kept() {
    let source = Counting::new(build(&[("vectors", 1, 1, 8_000)], 100, "{}"));
    let archive = Archive::open(Arc::clone(&source) as Arc<dyn ReadAt>).unwrap();
    source.take();
    for block in 0..8 {
        archive.entry(0, block * 100).unwrap();
    }
    assert_eq!(source.take().len(), 8);
    archive.entry(0, 99).unwrap();
    archive.entry(0, 799).unwrap();
    assert!(source.take().is_empty());
    archive.entry(0, 800).unwrap(); // pushes out block 1, the one not used for longest
    archive.entry(0, 0).unwrap();
    assert_eq!(source.take(), [(archive.index_block_range(8).offset, 7_200)]);
    archive.entry(0, 100).unwrap();
    assert_eq!(source.take(), [(archive.index_block_range(1).offset, 7_200)]);
}

#[test]
fn files_that_are_no_archives_are_told_from_damaged_ones() {
    let bytes = build(&SHAPES, 2, "{}");
    for other in [&b""[..], b"short", &[0; 191], &[7; 100_000], b"\x89PNG\r\n\x1a\n"] {
        assert_eq!(open(other).err().unwrap().kind(), ErrorKind::NotAnArchive);
    }
    let mut long = bytes.clone();
    long.splice(64..64, vec![0; 100_000]);
    for broken in [&bytes[..bytes.len() - 1], &bytes[..100], &[&bytes[..], b"\n"].concat(), &long[..90_000]] {
        let error = open(broken).err().unwrap();
        assert_eq!((error.kind(), error.layer()), (ErrorKind::Damaged, Some(Layer::Trailer)));
        assert!(error.detail().contains("truncated"));
    }
}

#[test]
fn a_flipped_block_bit_is_found_by_its_checksum() {
    let mut bytes = build(&SHAPES, 2, "{}");
    let entry = open(&bytes).unwrap().entry(2, 1).unwrap();
    bytes[usize::try_from(entry.offset).unwrap() + 3] ^= 4;
    let archive = open(&bytes).unwrap();
    let error = archive.read_block(&archive.entry(2, 1).unwrap(), &mut Vec::new()).unwrap_err();
    assert_eq!((error.kind(), error.layer()), (ErrorKind::Damaged, Some(Layer::Block)));
    archive.read_block(&archive.entry(2, 0).unwrap(), &mut Vec::new()).unwrap();
}

#[test]
fn an_entry_of_another_archive_is_refused_before_any_read() {
    let source = Counting::new(build(&SHAPES, 2, "{}"));
    let archive = Archive::open(Arc::clone(&source) as Arc<dyn ReadAt>).unwrap();
    source.take();
    let entry = archive.entry(0, 0).unwrap();
    for (offset, stored_bytes) in [(0, 1), (64, u32::MAX), (65, 1), (u64::MAX - 63, 100), (64, 0)] {
        let foreign = Entry { offset, stored_bytes, ..entry };
        assert_eq!(archive.read_block(&foreign, &mut Vec::new()).unwrap_err().layer(), Some(Layer::Index));
    }
    assert!(archive.read_range(archive.archive_bytes(), &mut [0]).is_err());
    assert!(archive.read_range(u64::MAX, &mut [0]).is_err());
    assert!(source.take().is_empty());
}

#[test]
fn overlaps_and_gaps_are_told_apart() {
    let whole = layout::check(&mut [(192, 64), (64, 70)], 256, true);
    assert_eq!((whole.faults.len(), whole.gaps), (0, vec![layout::Gap { offset: 134, bytes: 58 }]));
    let overlap = layout::check(&mut [(64, 200), (128, 10), (192, 10)], 320, true);
    assert_eq!(overlap.faults.iter().map(|fault| fault.layer()).collect::<Vec<_>>(), [Some(Layer::Index); 2]);
    assert_eq!(overlap.gaps, [layout::Gap { offset: 264, bytes: 56 }]);
    let wide = layout::check(&mut [(128, 64)], 192, true);
    assert_eq!(wide.faults.iter().map(|fault| fault.layer()).collect::<Vec<_>>(), [Some(Layer::Padding)]);
    assert!(layout::check(&mut [(128, 64)], 192, false).faults.is_empty(), "unread index blocks may fill it");
    assert_eq!(layout::check(&mut [], 64, true).faults.len(), 0);
    let gap = layout::Gap { offset: 100, bytes: 3 };
    assert!(layout::check_padding(gap, &[0, 0, 1]).unwrap_err().place().contains("102"));
}

#[test]
fn an_open_archive_is_shared_by_threads() {
    fn shared<Kind: Send + Sync>(_: &Kind) {}
    shared(&open(&build(&SHAPES, 2, "{}")).unwrap());
}

proptest! {
    #[test]
    fn any_shapes_come_back(
        sizes in prop::collection::vec((1u32..70, 1u64..9, 0u64..60), 0..6),
        entries_per_block in 1u32..40,
    ) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let shapes = names.iter().zip(sizes).map(|(name, (row, chunk, rows))| (*name, row, chunk, rows));
        let shapes: Vec<Shape<'_>> = shapes.collect();
        check_all(&build(&shapes, entries_per_block, "{}"), &shapes);
    }
}
