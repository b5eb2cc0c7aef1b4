//! Deltas verified: together, alone, and when something cannot be read.
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

mod delta_support;

use delta_support::{ROW_BYTES, Shelf, matrix, npy};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use vark_core::archive::{Archive, ArchiveId};
use vark_core::error::{Error, ErrorKind};
use vark_core::pipeline::rows::{ReadState, RowReader};
use vark_core::pipeline::verify::{Level, Scope, verify, verify_scope};
use vark_core::pipeline::verify_rows::{RowsReport, verify_rows_of};
use vark_core::store::ReadAt;
use vark_core::testing::Random;

/// A chain, each archive with the source of its day.
fn chain(shelf: &mut Shelf, days: usize) -> Vec<Vec<u8>> {
    let mut random = Random(21);
    let mut rows = matrix(9_000, 20);
    let mut found = vec![shelf.add(&npy(&rows), None)];
    for day in 0..days {
        for _ in 0..90 {
            let at = (random.number() % rows.len() as u64) as usize;
            rows[at][day % ROW_BYTES] ^= 1;
        }
        if day == 3 {
            rows.drain(100..140);
        }
        found.push(shelf.add(&npy(&rows), found.last().map(Vec::as_slice)));
    }
    found
}

fn rows_verified(shelf: &Shelf, archives: &[Vec<u8>]) -> RowsReport {
    let opened = archives.iter().map(|bytes| {
        let mut archive = Archive::open(Arc::new(bytes.clone()))?;
        shelf.attach(&mut archive).map(|()| archive)
    });
    verify_rows_of(opened.collect(), 2, &mut |_, _| Ok(())).unwrap()
}

#[test]
fn a_chain_is_verified_with_each_block_decoded_about_once() {
    let mut shelf = Shelf::default();
    let archives = chain(&mut shelf, 8);
    let report = rows_verified(&shelf, &archives[1..]);
    assert!(report.archives.iter().all(|report| report.ok && report.chunks > 0), "{report:?}");
    let blocks: u64 = archives.iter().map(|bytes| shelf.open(bytes)).map(|reader| blocks_of(&reader)).sum();
    assert!(report.blocks_decoded <= blocks, "{} of {blocks}", report.blocks_decoded);
    let alone: u64 =
        archives[1..].iter().map(|bytes| rows_verified(&shelf, std::slice::from_ref(bytes)).blocks_decoded).sum();
    assert!(report.blocks_decoded * 3 < alone, "{} together, {alone} one by one", report.blocks_decoded);
}

fn blocks_of(reader: &RowReader) -> u64 {
    let archive = reader.archive();
    let entries = (0..archive.index_block_count()).flat_map(|block| archive.entries_of_index_block(block).unwrap());
    entries.filter(|(.., entry)| entry.archive == 0 && !entry.is_mapped()).count() as u64
}

#[test]
fn own_bytes_and_rows_together_find_what_a_restore_would() {
    let mut shelf = Shelf::default();
    let archives = chain(&mut shelf, 3);
    let mut random = Random(5);
    for round in 0..60 {
        let victim = round % archives.len();
        let mut damaged = archives.clone();
        // In the blocks: what is wrong with tables is found by opening.
        let at = (random.number() % (shelf.open(&archives[victim]).archive().index_offset() - 64) + 64) as usize;
        damaged[victim][at] ^= 1 << (random.number() % 8);
        let mut other = Shelf { archives: shelf.archives.clone(), next: 0 };
        other.archives.insert(ArchiveId([victim as u8 + 1; 16]), damaged[victim].clone());
        let report = rows_verified(&other, &damaged[1..]);
        for (bytes, rows) in damaged[1..].iter().zip(&report.archives) {
            let whole = verify(&other.open(bytes), Level::Full, 1, &mut |_, _| Ok(())).unwrap();
            let own = verify_scope(&other.open(bytes), Level::Full, Scope::Own, 1, &mut |_, _| Ok(())).unwrap();
            assert_eq!(whole.ok, own.ok && rows.ok, "byte {at} of archive {victim}");
        }
    }
}

/// Fails to read one block of an archive, as often as is said.
struct Failing {
    bytes: Vec<u8>,
    at: u64,
    left: AtomicUsize,
}

impl ReadAt for Failing {
    fn byte_count(&self) -> u64 {
        self.bytes.byte_count()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> vark_core::error::Result<()> {
        let is_hit = (offset..offset + buffer.len() as u64).contains(&self.at);
        if is_hit && self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err(Error::io("archive", &std::io::Error::other("input/output error")));
        }
        self.bytes.read_at(offset, buffer)
    }
}

#[test]
fn what_could_not_be_read_is_no_damage_and_is_not_read_twice() {
    let mut shelf = Shelf::default();
    let archives = chain(&mut shelf, 1);
    let source = |left| Arc::new(Failing { bytes: archives[0].clone(), at: 70, left: AtomicUsize::new(left) });
    let full = |left| Archive::open(source(left)).unwrap();
    let delta = |left| {
        let mut archive = Archive::open(Arc::new(archives[1].clone())).unwrap();
        archive.attach(vec![Some(source(left))]).unwrap();
        archive
    };
    for open in [&full as &dyn Fn(usize) -> Archive, &delta] {
        let reader = Arc::new(RowReader::new(open(usize::MAX), 1 << 20));
        let report = verify(&reader, Level::Full, 1, &mut |_, _| Ok(())).unwrap();
        assert!(!report.ok && report.damage.is_empty() && !report.unread.is_empty(), "{report:?}");
        // The next time it can be read: nothing has tried a second time in between.
        let reader = RowReader::new(open(1), 1 << 20);
        let stream = reader.archive().stream_index("vectors").unwrap();
        let mut out = vec![0; reader.archive().streams()[stream].chunk_bytes(0) as usize];
        let error = reader.read_rows(&mut ReadState::default(), stream, 0, &mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        reader.read_rows(&mut ReadState::default(), stream, 0, &mut out).unwrap();
    }
}
