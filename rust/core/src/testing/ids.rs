//! Fuzz target of the sorted index of ids: one that may lie is looked up, and one that was made gives every row.

use super::{BYTES_MAX, RawStream, Shared, pack_options, place_streams};
use crate::archive::{Archive, ArchiveId, ArchiveWriter};
use crate::pipeline::delta::{Base, FingerprintKey};
use crate::pipeline::id_index::{IdIndex, find, key_of};
use crate::pipeline::pack::{Input, Output, PackOptions, StreamInput, pack};
use crate::pipeline::rows::RowReader;
use crate::stream::{ElementType, StreamRole, StreamSpec};
use std::sync::Arc;

const KEY: FingerprintKey = FingerprintKey([3; 32]);

/// First byte: even for an index that may lie; then its element type. The rest is numbers.
pub fn id_index(data: &[u8]) {
    let Some((&[mode, element], rest)) = data.split_first_chunk::<2>() else { return };
    let types = [ElementType::I64, ElementType::U32, ElementType::I32, ElementType::U64, ElementType::I8];
    let element_type = types[usize::from(element) % types.len()];
    if mode % 2 == 0 {
        finds_no_other_row(mode, element_type, rest);
    } else {
        finds_every_row(element_type, rest);
    }
}

/// Small numbers and those at the ends.
fn number(byte: u8) -> u64 {
    match byte {
        0..=199 => u64::from(byte),
        200..=219 => u64::from(byte - 200) << 32,
        220..=239 => u64::MAX - u64::from(239 - byte),
        240..=249 => (1 << 63) - 5 + u64::from(byte - 240),
        250.. => 16_384 * u64::from(byte - 249),
    }
}

fn ids_of(element_type: ElementType, numbers: &[u8]) -> Vec<u8> {
    let width = element_type.bytes() as usize;
    numbers.iter().flat_map(|byte| number(*byte).to_le_bytes().into_iter().take(width)).collect()
}

/// Four bytes say how many ids, keys, places and groups there are, one how many of a chunk; then they come, then `changes`.
fn finds_no_other_row(mode: u8, element_type: ElementType, data: &[u8]) {
    let Some((&[ids, keys, places, groups, chunk], mut rest)) = data.split_first_chunk::<5>() else { return };
    let mut take = |count: u8| {
        let (taken, left) = rest.split_at(usize::from(count).min(rest.len()));
        rest = left;
        taken
    };
    let ids = ids_of(element_type, take(ids));
    let mut streams = vec![stream("ids", StreamRole::IDS, element_type, 64, ids.clone())];
    let mut add = |word: &str, chunk: u64, numbers: &[u8]| {
        let data = ids_of(ElementType::U64, numbers);
        streams.push(stream(&format!("ids//id_index.{word}"), StreamRole::ID_INDEX, ElementType::U64, chunk, data));
    };
    let chunk_rows = u64::from(chunk % 8) + 1;
    for (bit, run) in [(2, ""), (4, "changes.")] {
        if mode & bit != 0 {
            continue;
        }
        let numbers = take(keys);
        add(&format!("{run}keys"), chunk_rows, numbers);
        let first_keys: Vec<u8> = numbers.iter().step_by(usize::from(chunk % 8) + 1).copied().collect();
        add(&format!("{run}places"), chunk_rows + u64::from(mode & 64), take(places));
        add(&format!("{run}fence"), 4, if mode & 8 == 0 { &first_keys } else { take(chunk / 8) });
    }
    if mode & 16 == 0 {
        add("groups", 5, take(groups));
    }
    let writer = ArchiveWriter::new(ArchiveId([1; 16])).with_id_index();
    let Ok(archive) = place_streams(writer, &streams) else { return };
    let reader = RowReader::new(Archive::open(Arc::new(archive)).unwrap(), BYTES_MAX);
    let wanted: Vec<u64> = (0..=255).map(number).collect();
    // All at once, and alone, as one that is refused hides the others.
    for wanted in std::iter::once(&wanted[..]).chain(wanted.chunks(1)) {
        let Ok(Some(found)) = find(&reader, 0, wanted) else { continue };
        assert!(found.is_sorted_by(|one, next| one < next));
        let width = element_type.bytes() as usize;
        for (number, row) in found {
            let id = ids.chunks(width).nth(usize::try_from(row).unwrap()).unwrap();
            assert_eq!(key_of(element_type, id), wanted[number]);
        }
    }
}

/// Two halves: ids, and those of a delta.
fn finds_every_row(element_type: ElementType, data: &[u8]) {
    let (first, second) = data.split_at(data.len() / 2);
    if first.is_empty() {
        return;
    }
    let packed = pack_ids(element_type, first, None);
    let reader = Arc::new(RowReader::new(Archive::open(Arc::new(packed.clone())).unwrap(), BYTES_MAX));
    finds_as_told(&reader, element_type, first);
    let base = Base { reader, key: Some(KEY) };
    let delta = pack_ids(element_type, second, Some(base));
    let mut archive = Archive::open(Arc::new(delta)).unwrap();
    let ancestors = archive.ancestors().iter().map(|_| Some(Arc::new(packed.clone()) as Arc<_>)).collect();
    archive.attach(ancestors).unwrap();
    finds_as_told(&RowReader::new(archive, BYTES_MAX), element_type, second);
}

fn finds_as_told(reader: &RowReader, element_type: ElementType, numbers: &[u8]) {
    let ids = ids_of(element_type, numbers);
    let keys: Vec<u64> = ids.chunks(element_type.bytes() as usize).map(|id| key_of(element_type, id)).collect();
    let mut wanted: Vec<u64> = (0..=255).map(number).chain(keys.iter().copied()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut expected = Vec::new();
    for (number, id) in wanted.iter().enumerate() {
        expected.extend((0..).zip(&keys).filter(|(_, key)| *key == id).map(|(row, _)| (number, row)));
    }
    let stream = reader.archive().stream_index("ids").unwrap();
    assert_eq!(find(reader, stream, &wanted).unwrap().unwrap(), expected);
}

fn pack_ids(element_type: ElementType, numbers: &[u8], base: Option<Base>) -> Vec<u8> {
    let archive_id = Some(ArchiveId([if base.is_some() { 2 } else { 1 }; 16]));
    let options =
        PackOptions { base, fingerprint_key: Some(KEY), id_index: IdIndex::Above(0), archive_id, ..pack_options() };
    let spec = StreamSpec::new("ids", StreamRole::IDS, element_type, 1);
    let mut streams = [StreamInput { spec, input: Input::Shared(Arc::new(ids_of(element_type, numbers))) }];
    let shared = Shared::default();
    pack(Output::Pipe(Box::new(shared.clone())), &mut [], &mut streams, &options, &mut |_, _| Ok(())).unwrap();
    std::mem::take(&mut *shared.0.lock().unwrap())
}

fn stream(name: &str, role: StreamRole, element: ElementType, chunk_rows: u64, data: Vec<u8>) -> RawStream {
    RawStream { spec: StreamSpec::new(name, role, element, 1), chunk_rows, data }
}
