//! Bodies of the fuzz targets, shared by `rust/fuzz` (nightly) and the replay of its corpus (stable).
//!
//! Each takes any bytes. It may refuse them; it must not panic, hang, take memory without measure, or hand out
//! anything that is not what went in. Only built for tests.
#![expect(clippy::unwrap_used, reason = "a fault here is what fuzzing looks for")]

mod against;
mod deltas;
pub mod erase;
pub mod files;
pub mod ids;
mod seal;

pub use against::{edits_block, map_block, residual_block};
pub use deltas::delta_open;
pub use seal::seal;

use crate::archive::{Archive, ArchiveId, ArchiveWriter, KeySource};
use crate::codec::{self, Codec, Compression, LinkOrder, Scratch};
use crate::digest;
use crate::error::{ErrorKind, Result};
use crate::pipeline::id_index::IdIndex;
use crate::pipeline::pack::{Input, MemberInput, Output, PackOptions, pack};
use crate::pipeline::restore::{RestoreOptions, plan_of, stream_member, write_member};
use crate::pipeline::rows::{ReadState, RowReader};
use crate::pipeline::verify::{Level, verify_source};
use crate::pipeline::view::{MemberView, read_plan};
use crate::seal::{Secret, Slot};
use crate::split::{Layout, check_faiss, check_hnswlib};
use crate::store::pipe::PipeSource;
use crate::stream::{ChunkShape, ElementType, StreamRole, StreamSpec};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

/// Somebody with one secret, which opens whatever is asked for.
pub struct OneKey(pub Secret);

impl KeySource for OneKey {
    fn access_key(&self, _slots: &[Slot]) -> Result<Secret> {
        Ok(self.0.clone())
    }

    fn epoch_root(&self, _repository: &[u8; 16], _epoch: u32) -> Result<Secret> {
        Ok(self.0.clone())
    }

    fn is_given(&self) -> bool {
        true
    }
}

/// Rows of a stream, and members, are only read up to this many bytes: a tiny archive may rightly hold 1 TiB.
const BYTES_MAX: u64 = 1 << 20;

/// A name and what is done with the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Name and body of every target; the corpus lies in a folder of that name.
pub const TARGETS: [Target; 12] = [
    ("archive_open", archive_open),
    ("block_decode", block_decode),
    ("faiss_split", faiss_split),
    ("hnswlib_split", hnswlib_split),
    ("id_index", ids::id_index),
    ("plan", plan),
    ("pipe", pipe),
    ("map_block", map_block),
    ("residual_block", residual_block),
    ("edits_block", edits_block),
    ("delta_open", delta_open),
    ("erase", erase::erase),
];

/// Opens, verifies and reads `data` as it is, then with all checks of its tables made to hold.
pub fn archive_open(data: &[u8]) {
    read_everything(data.to_vec());
    let mut sealed = data.to_vec();
    seal(&mut sealed);
    read_everything(sealed);
}

fn read_everything(bytes: Vec<u8>) {
    let Ok(archive) = Archive::open(Arc::new(bytes.clone())) else { return };
    let raw_bytes = archive.streams().iter().map(|stream| stream.raw_bytes()).fold(0, u64::saturating_add);
    let reader = Arc::new(RowReader::new(archive, BYTES_MAX));
    let mut state = ReadState::default();
    for (number, stream) in reader.archive().streams().iter().enumerate() {
        let row_bytes = u64::from(stream.row_bytes);
        for first in [0, stream.row_count.saturating_sub(1)] {
            let rows = (BYTES_MAX / row_bytes).min(stream.row_count - first);
            if stream.chunk_bytes(first / stream.chunk_rows) <= BYTES_MAX {
                let _ = reader.read_rows(&mut state, number, first, &mut vec![0; to_usize(rows * row_bytes)]);
            }
        }
    }
    if raw_bytes > BYTES_MAX {
        return;
    }
    let report = verify_source(Arc::new(bytes), Level::Full, 1, &mut |_, _| Ok(())).unwrap();
    let Ok(Some(plan)) = read_plan(&reader) else { return };
    for number in 0..plan.members.len().min(8) {
        let bytes = plan.members[number].bytes;
        if bytes > BYTES_MAX {
            continue;
        }
        let restored = write_member(&reader, number, &mut std::io::sink(), &restore_options(), &mut |_, _| Ok(()));
        assert!(restored.is_ok() || !report.ok, "verified archive does not restore: {restored:?}");
        assert!(restored.is_err() || restored.is_ok_and(|restored| restored == bytes));
    }
}

/// First byte: codec; second: element type and elements of a row; then the raw length (u16, little-endian); then a block.
pub fn block_decode(data: &[u8]) {
    let Some((&[codec, element, low, high], block)) = data.split_first_chunk::<4>() else { return };
    let codec = Codec::ALL[usize::from(codec) % Codec::ALL.len()];
    let row_elements = 1 + u32::from(element / 12);
    let element = ElementType::from_number(u16::from(element % 12) + 1).unwrap();
    let mut raw = vec![0; usize::from(u16::from_le_bytes([low, high]))];
    let shape = ChunkShape { row_elements, ..ChunkShape::plain(StreamRole(u16::from(low % 17)), element) };
    let mut scratch = Scratch::default();
    let decoded = codec::decode(codec, &shape, block, &mut raw, &mut scratch);
    if decoded.is_ok() {
        // A second time with used buffers: the result is a function of the block.
        let mut again = vec![0xA5; raw.len()];
        codec::decode(codec, &shape, block, &mut again, &mut scratch).unwrap();
        assert_eq!(raw, again);
    }
    let mut coded = Vec::new();
    let chosen = codec::encode(Compression::Auto, &shape, block, &mut coded, &mut scratch).unwrap();
    assert!(coded.len() <= block.len() + 64);
    let mut back = vec![0; block.len()];
    codec::decode(chosen, &shape, &coded, &mut back, &mut scratch).unwrap();
    assert_eq!(back, block);
}

pub fn faiss_split(data: &[u8]) {
    let _ = check_faiss(&data.to_vec());
    splits_and_joins(data, Layout::Faiss);
}

pub fn hnswlib_split(data: &[u8]) {
    let _ = check_hnswlib(&data.to_vec());
    splits_and_joins(data, Layout::Hnswlib);
}

/// What is packed, as a file or out of a pipe in pieces of odd sizes, is what is restored.
fn splits_and_joins(data: &[u8], layout: Layout) {
    assert_eq!(restored(&packed(Input::Shared(Arc::new(data.to_vec())), layout).unwrap()), data);
    let trickle = Trickle { data: data.to_vec(), at: 0, sizes: data.iter().rev().take(16).copied().collect(), turn: 0 };
    match packed(Input::Pipe(Some(Box::new(trickle))), layout) {
        Ok(archive) => assert_eq!(restored(&archive), data),
        Err(error) => assert!(
            matches!(error.kind(), ErrorKind::Malformed | ErrorKind::LimitExceeded | ErrorKind::InvalidArgument),
            "{error}"
        ),
    }
}

/// One member in an archive in memory.
///
/// # Errors
/// Those of `pack`.
pub fn packed(input: Input, layout: Layout) -> Result<Vec<u8>> {
    let shared = Shared::default();
    let mut members = [MemberInput { name: "member".to_owned(), input, layout, facts: serde_json::Map::new() }];
    let output = Output::Pipe(Box::new(shared.clone()));
    pack(output, &mut members, &mut [], &pack_options(), &mut |_, _| Ok(()))?;
    Ok(std::mem::take(&mut *shared.0.lock().unwrap()))
}

fn restored(archive: &[u8]) -> Vec<u8> {
    let reader = Arc::new(RowReader::new(Archive::open(Arc::new(archive.to_vec())).unwrap(), BYTES_MAX));
    let mut bytes = Vec::new();
    write_member(&reader, 0, &mut bytes, &restore_options(), &mut |_, _| Ok(())).unwrap();
    bytes
}

/// `data` as the plan of an archive with a few streams of rows that serve as counts, too.
pub fn plan(data: &[u8]) {
    let Ok(archive) = archive_with_plan(data) else { return };
    let reader = Arc::new(RowReader::new(Archive::open(Arc::new(archive)).unwrap(), BYTES_MAX));
    let Ok(plan) = plan_of(&reader) else { return };
    for member in plan.members.iter().filter(|member| member.bytes <= BYTES_MAX).take(8) {
        let Ok(view) = MemberView::new(&reader, member, &mut || Ok(())) else { continue };
        let mut bytes = Vec::new();
        let written = stream_member(&view, &mut bytes, 1, BYTES_MAX, &mut |_| Ok(()));
        assert_eq!(bytes.len() as u64, member.bytes);
        assert!(written.is_ok() || member.blake3.is_some(), "{written:?}");
    }
}

/// Streams `b` (u8 × 1), `w` (u16 × 3), `c` (u32 × 1, small numbers) and the plan, stored raw.
///
/// # Errors
/// `InvalidArgument` for a plan without a byte.
pub fn archive_with_plan(plan: &[u8]) -> Result<Vec<u8>> {
    let small: Vec<u8> = (0..64u32).flat_map(|number| (number % 5 * 3).to_le_bytes()).collect();
    let noise: Vec<u8> = (0..192u32).map(|number| number.wrapping_mul(151).to_le_bytes()[0]).collect();
    let stream = |name, role, element, width, chunk_rows, data| RawStream {
        spec: StreamSpec::new(name, role, element, width),
        chunk_rows,
        data,
    };
    let streams = [
        stream("b", StreamRole::LITERAL, ElementType::U8, 1, 50, noise.clone()),
        stream("w", StreamRole::VECTORS, ElementType::U16, 3, 7, noise),
        stream("c", StreamRole::LEVELS, ElementType::U32, 1, 16, small),
        stream("plan", StreamRole::PLAN, ElementType::U8, 1, 4_096, plan.to_vec()),
    ];
    archive_of(&streams, 3_584)
}

pub struct RawStream {
    pub spec: StreamSpec,
    pub chunk_rows: u64,
    pub data: Vec<u8>,
}

/// An archive of raw blocks, the streams one after another.
///
/// # Errors
/// Those of the archive writer.
pub fn archive_of(streams: &[RawStream], entries_per_block: u32) -> Result<Vec<u8>> {
    place_streams(ArchiveWriter::new(ArchiveId([1; 16])).with_entries_per_block(entries_per_block), streams)
}

fn place_streams(mut writer: ArchiveWriter, streams: &[RawStream]) -> Result<Vec<u8>> {
    let mut bytes = writer.header().to_vec();
    for RawStream { spec, chunk_rows, data } in streams {
        let row_bytes = to_usize(u64::from(spec.row_bytes()?));
        let number = writer.declare(spec, *chunk_rows)?;
        for chunk in data.chunks(to_usize(*chunk_rows) * row_bytes) {
            let rows = (chunk.len() / row_bytes) as u64;
            let length = chunk.len() as u64;
            let placed = writer.place(number, rows, length, digest::crc64(chunk), digest::blake3(chunk), 0)?;
            bytes.resize(to_usize(placed.offset), 0);
            bytes.extend_from_slice(chunk);
        }
    }
    bytes.extend(writer.finish("{}")?.tail);
    Ok(bytes)
}

/// Numbers that are the same for the same seed, on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    pub fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count).map(|_| self.number().to_le_bytes()[0]).collect()
    }
}

/// Operations on a pipe against the same on a slice. Byte by byte: even looks ahead, odd takes.
pub fn pipe(data: &[u8]) {
    let content: Vec<u8> = (0..data.len() * 700).map(|at| at.to_le_bytes()[at % 2]).collect();
    let mut pipe = PipeSource::new(Box::new(Trickle { data: content.clone(), at: 0, sizes: data.to_vec(), turn: 0 }));
    let mut at = 0usize;
    for pair in data.chunks(2) {
        let (operation, bytes) = (pair[0], usize::from(pair.last().copied().unwrap_or(0)) * 9);
        let left = content.len() - at;
        match operation % 4 {
            0 | 2 => {
                let ahead = usize::from(operation) * 11;
                match pipe.peek(ahead, bytes) {
                    Ok(found) => assert_eq!(found, &content[at + ahead..at + ahead + bytes]),
                    Err(error) => assert!(ahead + bytes > left && error.kind() == ErrorKind::Malformed),
                }
            }
            1 if bytes <= left => {
                assert_eq!(pipe.take_exactly(bytes).unwrap(), &content[at..at + bytes]);
                at += bytes;
            }
            _ => {
                let mut some = Vec::new();
                pipe.take_some(bytes, &mut some).unwrap();
                assert_eq!(some, &content[at..at + bytes.min(left)]);
                at += some.len();
            }
        }
        assert_eq!(pipe.position(), at as u64);
        assert_eq!(pipe.at_end().unwrap(), at == content.len());
    }
}

/// A reader that gives as many bytes at a time as `sizes` say, in turn.
pub struct Trickle {
    pub data: Vec<u8>,
    pub at: usize,
    pub sizes: Vec<u8>,
    pub turn: usize,
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let size = self.sizes.get(self.turn % self.sizes.len().max(1)).map_or(1, |size| usize::from(*size) + 1);
        self.turn += 1;
        let here = size.min(buffer.len()).min(self.data.len() - self.at);
        buffer[..here].copy_from_slice(&self.data[self.at..self.at + here]);
        self.at += here;
        Ok(here)
    }
}

/// An output in memory that outlives the pack that writes it.
#[derive(Clone, Default)]
pub struct Shared(pub Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Options of a small, repeatable pack: one thread, a fixed id.
pub fn pack_options() -> PackOptions {
    PackOptions {
        base: None,
        fingerprint_key: None,
        cache: None,
        shadow: None,
        id_index: IdIndex::AsBase,
        seal: None,
        compression: Compression::Auto,
        order: LinkOrder::Exact,
        archive_id: Some(ArchiveId([7; 16])),
        threads: 1,
        memory_bytes: 64 << 20,
        digest_members: false,
        attempts: 3,
        metadata: serde_json::Map::new(),
        folders: Vec::new(),
        skipped: Vec::new(),
    }
}

pub fn restore_options() -> RestoreOptions {
    RestoreOptions { replace: false, sync: false, threads: 1, memory_bytes: 64 << 20, max_bytes: None, resume: false }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap()
}
