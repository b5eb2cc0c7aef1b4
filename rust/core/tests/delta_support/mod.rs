//! Archives in memory that build on one another.
#![allow(dead_code, clippy::allow_attributes, clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

use std::collections::HashMap;
use std::sync::Arc;
use vark_core::archive::{Archive, ArchiveId};
use vark_core::codec::Compression;
use vark_core::pipeline::delta::{Base, FingerprintKey};
use vark_core::pipeline::output::Output;
use vark_core::pipeline::pack::{Input, MemberInput, PackOptions, StreamInput, pack};
use vark_core::pipeline::restore::write_member;
use vark_core::pipeline::rows::{ReadState, RowReader};
use vark_core::pipeline::verify::{Level, verify};
use vark_core::split::Layout;
use vark_core::store::ReadAt;
use vark_core::stream::StreamSpec;
use vark_core::testing::files::pack_to;
use vark_core::testing::{Random, Shared, pack_options, restore_options};

pub const KEY: FingerprintKey = FingerprintKey([7; 32]);
pub const COLUMNS: usize = 64;
pub const ROW_BYTES: usize = COLUMNS * 4;

/// Archives in memory, by id.
#[derive(Default)]
pub struct Shelf {
    pub archives: HashMap<ArchiveId, Vec<u8>>,
    pub next: u8,
}

impl Shelf {
    pub fn open(&self, bytes: &[u8]) -> Arc<RowReader> {
        let mut archive = Archive::open(Arc::new(bytes.to_vec())).unwrap();
        self.attach(&mut archive).unwrap();
        Arc::new(RowReader::new(archive, 16 << 20))
    }

    pub fn attach(&self, archive: &mut Archive) -> vark_core::error::Result<()> {
        let source = |id| self.archives.get(&id).map(|bytes| Arc::new(bytes.clone()) as Arc<dyn ReadAt>);
        let found = archive.ancestors().iter().map(|other| source(other.id)).collect();
        archive.attach(found)
    }

    pub fn add(&mut self, source: &[u8], base: Option<&[u8]>) -> Vec<u8> {
        self.add_with(source, base, pack_options())
    }

    pub fn add_with(&mut self, source: &[u8], base: Option<&[u8]>, options: PackOptions) -> Vec<u8> {
        self.next += 1;
        let base = base.map(|bytes| Base { reader: self.open(bytes), key: Some(KEY) });
        let archive_id = Some(ArchiveId([self.next; 16]));
        let options = PackOptions { base, fingerprint_key: Some(KEY), archive_id, ..options };
        let input = Input::Shared(Arc::new(source.to_vec()));
        let facts = serde_json::Map::new();
        let member = MemberInput { name: "source".to_owned(), input, layout: Layout::Auto, facts };
        let bytes = pack_to(&mut [member], &options).unwrap();
        self.archives.insert(ArchiveId([self.next; 16]), bytes.clone());
        bytes
    }

    /// A stream of its own and no member.
    pub fn add_stream(&mut self, spec: &StreamSpec, rows: &[u8], base: Option<&[u8]>) -> Vec<u8> {
        self.next += 1;
        let base = base.map(|bytes| Base { reader: self.open(bytes), key: Some(KEY) });
        let archive_id = Some(ArchiveId([self.next; 16]));
        let compression = Compression::None;
        let options =
            PackOptions { base, fingerprint_key: Some(KEY), archive_id, compression, threads: 2, ..pack_options() };
        let mut streams = [StreamInput { spec: spec.clone(), input: Input::Shared(Arc::new(rows.to_vec())) }];
        let shared = Shared::default();
        let output = Output::Pipe(Box::new(shared.clone()));
        pack(output, &mut [], &mut streams, &options, &mut |_, _| Ok(())).unwrap();
        let bytes = std::mem::take(&mut *shared.0.lock().unwrap());
        self.archives.insert(ArchiveId([self.next; 16]), bytes.clone());
        bytes
    }

    pub fn restored(&self, bytes: &[u8]) -> Vec<u8> {
        let mut restored = Vec::new();
        write_member(&self.open(bytes), 0, &mut restored, &restore_options(), &mut |_, _| Ok(())).unwrap();
        restored
    }

    /// Restores, verifies and reads single rows.
    pub fn check(&self, bytes: &[u8], source: &[u8]) {
        assert!(self.restored(bytes) == source);
        let reader = self.open(bytes);
        let report = verify(&reader, Level::Full, 2, &mut |_, _| Ok(())).unwrap();
        assert!(report.ok, "{:?}", report.damage);
        let Some(stream) = reader.archive().stream_index("vectors") else { return };
        let rows = reader.archive().streams()[stream].row_count;
        let header = source.len() - rows as usize * ROW_BYTES;
        for row in (0..rows).step_by(997) {
            let mut out = [0; ROW_BYTES];
            reader.read_rows(&mut ReadState::for_few(), stream, row, &mut out).unwrap();
            assert!(out[..] == source[header + row as usize * ROW_BYTES..][..ROW_BYTES]);
        }
    }
}

/// A matrix of f32 as numpy writes it.
pub fn npy(rows: &[[u8; ROW_BYTES]]) -> Vec<u8> {
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {COLUMNS}), }}", rows.len());
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((118u16).to_le_bytes());
    bytes.extend(format!("{text:<117}\n").into_bytes());
    rows.iter().for_each(|row| bytes.extend(row));
    bytes
}

pub fn random_row(random: &mut Random) -> [u8; ROW_BYTES] {
    let mut row = [0; ROW_BYTES];
    for value in row.as_chunks_mut::<4>().0 {
        let number = (random.number() >> 40) as f32 / 1e7 - 0.8;
        *value = number.to_le_bytes();
    }
    row
}

pub fn matrix(rows: usize, seed: u64) -> Vec<[u8; ROW_BYTES]> {
    let mut random = Random(seed);
    (0..rows).map(|_| random_row(&mut random)).collect()
}
