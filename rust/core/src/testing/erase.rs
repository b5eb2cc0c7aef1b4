//! Erasure out of archives whose plan may say anything: streams as hnswlib and faiss have them, small.

use super::{RawStream, Shared, archive_of, pack_options};
use crate::archive::Archive;
use crate::pipeline::erase::{Replacements, Wanted, erase as erase_rows, hash_of, survey_archive};
use crate::pipeline::output::Output;
use crate::pipeline::rows::RowReader;
use crate::stream::{ElementType, StreamRole, StreamSpec};
use std::collections::HashSet;
use std::sync::Arc;

const KEY: [u8; 32] = [3; 32];
/// Nodes that are erased; the search begins at the first.
pub const ERASED: [u64; 3] = [0, 3, 5];
pub const NODES: u64 = 8;
/// Where what stands before the rows begins in the stream `literal`: hnswlib, inverted lists, a graph under an id map.
pub const HEADS: [(u64, &[u8; 4]); 3] = [(0, &[0; 4]), (96, b"IwFl"), (160, b"IxMp")];
/// Of the graph: number of slots, then entry point and highest level.
pub const SLOTS: u64 = 220;
pub const LITERAL_BYTES: usize = 300;

/// `data` is the plan. Nothing breaks, and what is written has none of the ids.
pub fn erase(data: &[u8]) {
    let Ok(archive) = archive_with(data) else { return };
    let _ = erased(archive);
}

/// The archive without the erased ids; `None` where it is refused.
pub fn erased(archive: Vec<u8>) -> Option<Vec<u8>> {
    let reader = Arc::new(RowReader::new(Archive::open(Arc::new(archive)).unwrap(), 1 << 20));
    let mut wanted = Wanted::default();
    wanted.add(KEY, &ERASED.map(|id| hash_of(&KEY, id)).concat()).unwrap();
    let surveyed = survey_archive(&reader, &wanted);
    let target = Shared::default();
    let output = Output::Pipe(Box::new(target.clone()));
    let replaced = Replacements { streams: Vec::new(), dropped: HashSet::new(), metadata: serde_json::Map::new() };
    let done = erase_rows(&reader, &wanted, replaced, output, pack_options(), &mut |_, _| Ok(()));
    done.ok()?;
    assert!(surveyed.unwrap().members.iter().all(|member| member.fault.is_none()));
    let bytes = std::mem::take(&mut *target.0.lock().unwrap());
    let reader = Arc::new(RowReader::new(Archive::open(Arc::new(bytes.clone())).unwrap(), 1 << 20));
    assert!(survey_archive(&reader, &wanted).unwrap().found.is_empty());
    Some(bytes)
}

/// Streams of eight nodes, two of which have a level above the lowest, and the plan.
///
/// # Errors
/// `InvalidArgument` for a plan without a byte.
pub fn archive_with(plan: &[u8]) -> crate::error::Result<Vec<u8>> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let longs = |longs: &[u64]| longs.iter().flat_map(|long| long.to_le_bytes()).collect::<Vec<u8>>();
    let stream = |name, role, element, width, data| RawStream {
        spec: StreamSpec::new(name, role, element, width),
        chunk_rows: 3,
        data,
    };
    let nodes = u32::try_from(NODES).unwrap();
    let links: Vec<u32> = (0..nodes).flat_map(|node| [(node + 1) % nodes, (node + 3) % nodes, u32::MAX]).collect();
    let counted: Vec<u32> = (0..nodes).flat_map(|node| [2, (node + 1) % nodes, (node + 3) % nodes]).collect();
    let vectors: Vec<u8> = (0..2 * nodes).flat_map(|number| (number as f32 + 0.5).to_le_bytes()).collect();
    let streams = [
        RawStream {
            spec: StreamSpec::new("literal", StreamRole::LITERAL, ElementType::U8, 1),
            chunk_rows: 4_096,
            data: literal(),
        },
        stream("counted", StreamRole::LINKS, ElementType::U32, 3, words(&counted)),
        stream("counted.upper", StreamRole::LINKS, ElementType::U32, 2, words(&[1, 3, 1, 0])),
        stream("links", StreamRole::LINKS, ElementType::I32, 3, words(&links)),
        stream("upper", StreamRole::LINKS, ElementType::I32, 2, words(&[3, u32::MAX, 0, u32::MAX])),
        stream("lengths", StreamRole::LEVELS, ElementType::U32, 1, words(&[8, 0, 0, 8, 0, 0, 0, 0])),
        stream("levels", StreamRole::LEVELS, ElementType::I32, 1, words(&[2, 1, 1, 2, 1, 1, 1, 1])),
        stream("vectors", StreamRole::VECTORS, ElementType::F32, 2, vectors),
        stream("ids", StreamRole::IDS, ElementType::I64, 1, longs(&[0, 1, 2, 3, 4, 5, 6, 7])),
        stream("sizes", StreamRole::LIST_SIZES, ElementType::U64, 1, longs(&[3, 5])),
        RawStream {
            spec: StreamSpec::new("plan", StreamRole::PLAN, ElementType::U8, 1),
            chunk_rows: 4_096,
            data: plan.to_vec(),
        },
    ];
    archive_of(&streams, 3_584)
}

fn literal() -> Vec<u8> {
    let mut bytes = vec![0; LITERAL_BYTES];
    let mut put = |at: u64, value: &[u8]| {
        let at = usize::try_from(at).unwrap();
        bytes[at..at + value.len()].copy_from_slice(value);
    };
    put(48, &1u32.to_le_bytes());
    for (at, fourcc) in &HEADS[1..] {
        put(*at, *fourcc);
        put(at + 8, &NODES.to_le_bytes());
        put(at + 32, &[1, 1]);
        put(at + 37, b"IHNf");
    }
    put(SLOTS, &28u64.to_le_bytes());
    put(SLOTS + 12, &1u32.to_le_bytes());
    bytes
}
