//! Fuzz targets of the codecs of deltas: maps, and rows coded against rows of a base part.

use super::Random;
use crate::codec::{self, Codec, Compression, Scratch};
use crate::stream::{ChunkShape, ElementType, StreamRole};

const BLOCK_ROOM: usize = 64;

/// Where a map's first row is looked for: one byte chooses.
const FIRST_ROWS: [u64; 4] = [0, 65_536, (1 << 48) - 3, 1 << 48];

/// First byte: the map's first row; second: how many rows a block stands for; then a block, which serves as values, too.
pub fn map_block(data: &[u8]) {
    let Some((&[first, rows], block)) = data.split_first_chunk::<2>() else { return };
    let first_row = FIRST_ROWS[usize::from(first) % FIRST_ROWS.len()];
    let shape = ChunkShape { first_row, ..ChunkShape::plain(StreamRole::MAP, ElementType::U64) };
    let mut scratch = Scratch::default();
    let mut values = vec![0; 8 * usize::from(rows)];
    if codec::decode(Codec::Map, &shape, block, &mut values, &mut scratch).is_ok() {
        let mut again = vec![0xA5; values.len()];
        codec::decode(Codec::Map, &shape, block, &mut again, &mut scratch).unwrap();
        assert_eq!(values, again);
        map_comes_back(&shape, &values, &mut scratch);
    }
    map_comes_back(&shape, &block[..block.len() / 8 * 8], &mut scratch);
}

fn map_comes_back(shape: &ChunkShape, values: &[u8], scratch: &mut Scratch) {
    let mut coded = Vec::new();
    let chosen = codec::encode(Compression::Auto, shape, values, &mut coded, scratch).unwrap();
    assert!(coded.len() <= values.len() + BLOCK_ROOM);
    let mut back = vec![0xA5; values.len()];
    codec::decode(chosen, shape, &coded, &mut back, scratch).unwrap();
    assert_eq!(back, values);
}

/// First byte: element type; second: elements of a row; then how many rows; the base rows; a block.
pub fn residual_block(data: &[u8]) {
    let Some((&[element], rest)) = data.split_first_chunk::<1>() else { return };
    let element_type = ElementType::from_number(u16::from(element % 12) + 1).unwrap();
    against(Codec::Residual, ChunkShape::plain(StreamRole::VECTORS, element_type), rest);
}

/// As `residual_block`; first byte: whether slots are i32, or u32 behind a degree, or (from 250) of any type.
pub fn edits_block(data: &[u8]) {
    let Some((&[element], rest)) = data.split_first_chunk::<1>() else { return };
    let number = match element {
        250.. => u16::from(element) - 249,
        _ if element % 2 == 0 => ElementType::I32.number(),
        _ => ElementType::U32.number(),
    };
    let element_type = ElementType::from_number(number).unwrap();
    against(Codec::Edits, ChunkShape::plain(StreamRole::LINKS, element_type), rest);
}

fn against(codec: Codec, shape: ChunkShape, data: &[u8]) {
    let Some((&[elements, rows], rest)) = data.split_first_chunk::<2>() else { return };
    let rows = usize::from(rows);
    let shape = ChunkShape { row_elements: u32::from(elements % 80) + 1, ..shape };
    let row_bytes = (shape.row_elements * shape.element_type.bytes()) as usize;
    let Some((base, block)) = rest.split_at_checked(rows * row_bytes) else { return };
    let mut scratch = Scratch::default();
    if let Ok((references, payload)) = codec::split_references(codec, block, rows, &mut scratch) {
        let mut raw = vec![0; base.len()];
        if codec::decode_against(codec, &shape, &references, base, payload, &mut raw, &mut scratch).is_ok() {
            let mut again = vec![0xA5; raw.len()];
            codec::decode_against(codec, &shape, &references, base, payload, &mut again, &mut scratch).unwrap();
            assert_eq!(raw, again);
            comes_back(&shape, &references, base, &raw, &mut scratch);
        }
    }
    // What follows the base rows as rows that changed, at places that skip some.
    let count = rows.min(block.len() / row_bytes);
    let (base, raw) = (&base[..count * row_bytes], &block[..count * row_bytes]);
    let mut random = Random(block.len() as u64);
    let skipped = if rows.is_multiple_of(2) { 1 } else { 3 };
    let mut next = 0;
    let references: Vec<u64> = (0..count)
        .map(|_| {
            next += random.below(skipped) + 1;
            next - 1
        })
        .collect();
    comes_back(&shape, &references, base, raw, &mut scratch);
}

fn comes_back(shape: &ChunkShape, references: &[u64], base: &[u8], raw: &[u8], scratch: &mut Scratch) {
    let row_bytes = (shape.row_elements * shape.element_type.bytes()) as usize;
    let limit = raw.len() + BLOCK_ROOM;
    let mut block = Vec::new();
    let coded = codec::encode_against(shape, references, base, raw, limit, &mut block, scratch).unwrap();
    let Some(chosen) = coded else { return };
    assert!(block.len() <= limit);
    let (found, payload) = codec::split_references(chosen, &block, raw.len() / row_bytes, scratch).unwrap();
    assert_eq!(found, references);
    let mut back = vec![0xA5; raw.len()];
    codec::decode_against(chosen, shape, &found, base, payload, &mut back, scratch).unwrap();
    assert_eq!(back, raw);
}
