//! Copies of archives for another repository: row for row, in its keys, deltas on copies of what they build on.
#![expect(clippy::unwrap_used, reason = "tests")]

mod delta_support;

use delta_support::{Shelf, matrix, npy, random_row};
use std::sync::Arc;
use vark_core::archive::{Archive, ArchiveId, KeySource, NoKeys, Root, Sealing};
use vark_core::error::{ErrorKind, Result};
use vark_core::pipeline::compact::{For, compact};
use vark_core::pipeline::output::Output;
use vark_core::pipeline::restore::write_member;
use vark_core::pipeline::rows::RowReader;
use vark_core::pipeline::transcribe::{Pair, TranscribeReport, transcribe};
use vark_core::pipeline::verify::{Level, verify};
use vark_core::seal::{Secret, Suite};
use vark_core::stream::StreamRole;
use vark_core::testing::{OneKey, Random, Shared, restore_options};

/// A repository in memory: its archives, and what they are sealed with.
struct Place {
    shelf: Shelf,
    seal: Option<Sealing>,
    keys: Box<dyn KeySource>,
}

impl Place {
    fn new(sealed: Option<u8>) -> Self {
        let Some(number) = sealed else {
            return Self { shelf: Shelf::default(), seal: None, keys: Box::new(NoKeys) };
        };
        let root = Secret::random().unwrap();
        let seal = Sealing::of_repository(Suite::Aes256Gcm, Root::Epoch(1), root.clone(), [number; 16]);
        Self { shelf: Shelf::default(), seal: Some(seal), keys: Box::new(OneKey(root)) }
    }

    fn open(&self, id: u8) -> Arc<RowReader> {
        let bytes = self.shelf.archives[&ArchiveId([id; 16])].clone();
        let mut archive = Archive::open_with(Arc::new(bytes), self.keys.as_ref()).unwrap();
        self.shelf.attach(&mut archive).unwrap();
        Arc::new(RowReader::new(archive, 16 << 20))
    }

    fn copy(&mut self, reader: &Arc<RowReader>, pairs: &[Pair], id: u8) -> Result<TranscribeReport> {
        let shared = Shared::default();
        let output = Output::Pipe(Box::new(shared.clone()));
        let id = ArchiveId([id; 16]);
        let report = transcribe(reader, pairs, output, Some(id), self.seal.as_ref(), 2, &mut |_, _| Ok(()))?;
        self.shelf.archives.insert(id, std::mem::take(&mut *shared.0.lock().unwrap()));
        Ok(report)
    }

    fn check(&self, id: u8, source: &[u8]) {
        let (reader, mut restored) = (self.open(id), Vec::new());
        write_member(&reader, 0, &mut restored, &restore_options(), &mut |_, _| Ok(())).unwrap();
        assert!(restored == source);
        let report = verify(&reader, Level::Full, 2, &mut |_, _| Ok(())).unwrap();
        assert!(report.ok, "{:?}", report.damage);
        assert_eq!(reader.archive().is_sealed(), self.seal.is_some());
        let is_fingerprint = |name: &str| name.contains("fingerprints");
        assert!(!reader.archive().streams().iter().any(|stream| is_fingerprint(&stream.name)));
    }
}

/// Five days of a matrix: rows are changed, removed and put in between.
fn days() -> (Place, Vec<Vec<u8>>) {
    let mut place = Place::new(None);
    let (mut rows, mut random) = (matrix(9_000, 5), Random(77));
    let (mut sources, mut base): (Vec<Vec<u8>>, Option<Vec<u8>>) = (Vec::new(), None);
    for day in 0..5usize {
        if day > 0 {
            for row in (day * 31..rows.len()).step_by(100) {
                rows[row] = random_row(&mut random);
            }
            rows.drain(day * 500..day * 500 + 40);
            rows.insert(day * 700, random_row(&mut random));
        }
        let source = npy(&rows);
        base = Some(place.shelf.add(&source, base.as_deref()));
        sources.push(source);
    }
    (place, sources)
}

fn pairs(source: &Place, target: &Place, ids: std::ops::Range<u8>, shift: u8) -> Vec<Pair> {
    ids.map(|id| Pair { source: source.open(id), target: target.open(id + shift) }).collect()
}

#[test]
fn a_chain_goes_from_plain_to_sealed_to_other_keys_and_back() {
    let (mut from, sources) = days();
    for (sealed, first) in [(Some(1), 1), (Some(2), 51), (None, 101)] {
        let mut to = Place::new(sealed);
        // The first place has ids 1 to 5, each copy 50 more.
        let shift = 50;
        for (number, source) in (0u8..).zip(&sources) {
            let id = first + number;
            let chain = pairs(&from, &to, first..id, shift);
            let (before, report) = {
                let reader = from.open(id);
                let before = reader.archive().archive_bytes();
                (before, to.copy(&reader, &chain, id + shift).unwrap())
            };
            to.check(id + shift, source);
            assert_eq!(report.ancestors.len(), usize::from(number));
            assert_eq!(report.blocks_shared > 0, number > 0);
            assert!(report.archive_bytes < before + 2_000, "{} of {before}", report.archive_bytes);
        }
        from = to;
    }
}

#[test]
fn pairs_that_do_not_fit_are_refused() {
    let (from, sources) = days();
    let mut to = Place::new(Some(1));
    to.copy(&from.open(1), &[], 51).unwrap();
    let second = from.open(2);
    let refused = |to: &mut Place, chain: &[Pair]| {
        let error = to.copy(&second, chain, 52).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        error.to_string()
    };
    assert!(refused(&mut to, &[]).contains("a delta needs one"));
    // Another archive in the place of the copy: one with other rows, and one that is not sealed alike.
    let shared = Shared::default();
    let output = Output::Pipe(Box::new(shared.clone()));
    let whom = For::Other(to.seal.as_ref());
    compact(&from.open(5), output, Some(ArchiveId([60; 16])), whom, 2, &mut |_, _| Ok(())).unwrap();
    to.shelf.archives.insert(ArchiveId([60; 16]), std::mem::take(&mut *shared.0.lock().unwrap()));
    to.check(60, &sources[4]);
    let wrong = [Pair { source: from.open(1), target: to.open(60) }];
    assert!(refused(&mut to, &wrong).contains("is no copy of"));
    let plain = [Pair { source: from.open(1), target: from.open(1) }];
    assert!(refused(&mut to, &plain).contains("not sealed as the copy is to be"));
    // What it builds on, but not this: the root says so.
    let other = [Pair { source: from.open(3), target: to.open(51) }];
    assert!(refused(&mut to, &other).contains("there is no copy of it"));
    let right = [Pair { source: from.open(1), target: to.open(51) }];
    to.copy(&second, &right, 52).unwrap();
    to.check(52, &sources[1]);
}

#[test]
fn what_is_made_to_stand_alone_for_another_is_under_its_keys() {
    let (from, sources) = days();
    let mut sealed = Place::new(Some(1));
    sealed.copy(&from.open(1), &[], 51).unwrap();
    let right = pairs(&from, &sealed, 1..2, 50);
    sealed.copy(&from.open(2), &right, 52).unwrap();
    for mut to in [Place::new(Some(2)), Place::new(None)] {
        for (reader, source) in [(from.open(5), &sources[4]), (sealed.open(52), &sources[1])] {
            let shared = Shared::default();
            let output = Output::Pipe(Box::new(shared.clone()));
            let id = Some(ArchiveId([9; 16]));
            compact(&reader, output, id, For::Other(to.seal.as_ref()), 2, &mut |_, _| Ok(())).unwrap();
            to.shelf.archives.insert(ArchiveId([9; 16]), std::mem::take(&mut *shared.0.lock().unwrap()));
            to.check(9, source);
            assert!(to.open(9).archive().ancestors().is_empty());
            assert!(to.open(9).archive().streams().iter().all(|stream| stream.role != StreamRole::PART));
        }
    }
}
