//! Lists that changed in every way, and blocks that lie.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first fault; small numbers"
)]

use proptest::prelude::*;

use super::*;
use crate::codec::{Codec, Scratch, testing};
use crate::error::Layer;
use crate::stream::{ChunkShape, ElementType, StreamRole};

fn shape(head: bool, slots: usize) -> ChunkShape {
    let (element_type, row) = if head { (ElementType::U32, slots + 1) } else { (ElementType::I32, slots) };
    ChunkShape { row_elements: row as u32, ..ChunkShape::plain(StreamRole::LINKS, element_type) }
}

/// Old and new rows of a made-up graph in which nodes moved and others were added.
#[derive(Debug, Clone)]
struct Made {
    head: bool,
    slots: usize,
    nodes: Vec<u64>,
    base: Vec<u8>,
    raw: Vec<u8>,
}

impl Made {
    fn new(count: usize, slots: usize, head: bool, seed: u64) -> Self {
        let dice = testing::noise(count * (3 * slots + 20) + 64, seed);
        let mut dice = dice.into_iter().cycle();
        let mut roll = move |sides: usize| {
            let roll = u64::from_le_bytes(std::array::from_fn(|_| dice.next().unwrap()));
            (roll % sides.max(1) as u64) as usize
        };
        let nodes: Vec<u64> = (0..count as u64).map(|row| 3 * row + roll(3) as u64).collect();
        let moved: Vec<usize> = (0..count / 20 + 1).map(|_| roll(count)).collect();
        let old: Vec<Vec<u32>> =
            (0..count).map(|_| (0..roll(slots + 1)).map(|_| roll(3 * count) as u32).collect()).collect();
        let mut new = old.clone();
        for row in moved {
            new[row].clear();
            for _ in 0..roll(slots + 1) {
                let other = roll(count);
                new[row].push(nodes[other] as u32);
                let list = &mut new[other];
                if other != row && roll(8) > 0 {
                    for _ in 0..list.len() * roll(2) / 2 {
                        list.remove(roll(list.len()));
                    }
                    for _ in 0..roll(3) {
                        let near = &old[row];
                        let near = near.iter().find_map(|id| nodes.binary_search(&u64::from(*id)).ok());
                        let near = near.and_then(|row| old[row].first().copied());
                        list.insert(roll(list.len() + 1), near.unwrap_or(u32::MAX / 2));
                    }
                    list.push(nodes[row] as u32);
                    list.truncate(slots);
                }
            }
        }
        let mut rows = |lists: &[Vec<u32>], stale: usize| -> Vec<u8> {
            let mut words = Vec::new();
            for list in lists {
                let rest = slots - list.len();
                if head {
                    let marks = if roll(40) == 0 { 0x0100_0000 } else { 0 };
                    words.push(list.len() as u32 | marks);
                    words.extend(list);
                    words.extend((0..rest).map(|_| if roll(60) < stale { roll(500) as u32 } else { 0 }));
                } else {
                    words.extend(list.iter().copied().chain(std::iter::repeat_n(u32::MAX, rest)));
                }
            }
            words.into_iter().flat_map(u32::to_le_bytes).collect()
        };
        let (mut base, raw) = (rows(&old, 9), rows(&new, 10));
        let new_rows = base.len() / count * roll(count / 4 + 1);
        let start = base.len() - new_rows;
        base[start..].fill(0xFF);
        Self { head, slots, nodes, base, raw }
    }

    fn shape(&self) -> ChunkShape {
        shape(self.head, self.slots)
    }

    fn coded(&self) -> Vec<u8> {
        let mut block = vec![7; 5];
        let limit = 2 * self.raw.len() + 4000;
        assert!(
            encode(&self.shape(), &self.nodes, &self.base, &self.raw, limit, &mut block, &mut Scratch::new()).unwrap()
        );
        let mut found = vec![0xA5; self.raw.len()];
        self.decode(&block, &mut found).unwrap();
        assert!(found == self.raw);
        block
    }

    fn decode(&self, block: &[u8], raw: &mut [u8]) -> crate::error::Result<()> {
        decode(&self.shape(), &self.nodes, &self.base, block, raw, &mut Scratch::new())
    }

    fn is_refused(&self, block: &[u8]) -> bool {
        match self.decode(block, &mut vec![0; self.raw.len()]) {
            Ok(()) => false,
            Err(fault) => {
                assert_eq!(fault.layer(), Some(Layer::Codec), "{fault}");
                true
            }
        }
    }
}

#[test]
fn lists_that_changed_in_every_way_come_back() {
    for seed in 1..6 {
        for (count, slots) in [(1, 1), (1, 254), (2, 3), (31, 33), (300, 1), (300, 8), (900, 32), (200, 70), (120, 254)]
        {
            for head in [false, true] {
                Made::new(count, slots, head, seed).coded();
            }
        }
    }
}

#[test]
fn rows_that_are_no_lists_come_back() {
    for head in [false, true] {
        let made = Made::new(300, 8, head, 3);
        for (base, raw) in [(true, false), (false, true), (true, true)] {
            let mut odd = made.clone();
            let noise = |bytes: &mut Vec<u8>, seed| *bytes = testing::noise(bytes.len(), seed);
            if base {
                noise(&mut odd.base, 1);
            }
            if raw {
                noise(&mut odd.raw, 2);
            }
            odd.coded();
        }
    }
}

#[test]
fn far_nodes_and_ids_that_repeat_come_back() {
    for head in [false, true] {
        let mut made = Made::new(300, 8, head, 4);
        made.nodes.iter_mut().enumerate().for_each(|(row, node)| *node += (row as u64) << 33);
        made.coded();
        for rows in [&mut made.base, &mut made.raw] {
            let words = rows.as_chunks_mut::<4>().0;
            words.iter_mut().for_each(|word| *word = [word[0] & 3, 0, 0, 0]);
        }
        made.coded();
    }
}

#[test]
fn what_is_no_row_of_lists_is_not_taken() {
    let made = Made::new(30, 8, false, 1);
    let take = |shape: &ChunkShape, nodes: &[u64], base: &[u8], raw: &[u8], limit| {
        let taken = encode(shape, nodes, base, raw, limit, &mut Vec::new(), &mut Scratch::new()).unwrap();
        let refused = decode(shape, nodes, base, &made.coded(), &mut raw.to_vec(), &mut Scratch::new()).is_err();
        assert!(taken != refused || limit == 0);
        taken
    };
    let shape = made.shape();
    let limit = made.raw.len() + 500;
    assert!(take(&shape, &made.nodes, &made.base, &made.raw, limit));
    assert!(!take(&shape, &made.nodes, &made.base, &made.raw, 0));
    assert!(!take(&shape, &made.nodes[1..], &made.base, &made.raw, limit));
    assert!(!take(&shape, &[1; 30], &made.base, &made.raw, limit));
    assert!(!take(&shape, &made.nodes, &made.base[1..], &made.raw, limit));
    assert!(!take(&shape, &made.nodes, &made.base, &made.raw[1..], limit));
    assert!(!take(&ChunkShape { row_elements: 255, ..shape }, &made.nodes, &made.base, &made.raw, limit));
    assert!(!take(&ChunkShape::plain(StreamRole::LINKS, ElementType::F32), &made.nodes, &made.base, &made.raw, limit));
    assert!(!take(&shape, &[], &[], &[], limit));
}

#[test]
fn a_link_to_a_new_node_is_told_once() {
    let (count, slots) = (4000, 16);
    let nodes: Vec<u64> = (0..count as u64).collect();
    let list = |row: u32, added: &[u32]| -> Vec<u32> {
        let old = (0..8).map(|link| row.wrapping_mul(2654435761).rotate_left(link) % 4000);
        let list: Vec<u32> = old.chain(added.iter().copied()).collect();
        let rest = slots - list.len();
        list.into_iter().chain(std::iter::repeat_n(u32::MAX, rest)).collect()
    };
    // Each of the last 400 nodes links to nine others, and they back.
    let base: Vec<u32> =
        (0..3600).flat_map(|row| list(row, &[])).chain(std::iter::repeat_n(u32::MAX, 400 * slots)).collect();
    let mut raw: Vec<u32> = (0..3600).flat_map(|row| list(row, &[3600 + row % 400])).collect();
    for node in 0..400 {
        let links = (0..9).map(|link| node + 400 * link);
        raw.extend(links.chain(std::iter::repeat_n(u32::MAX, slots - 9)));
    }
    let bytes = |words: Vec<u32>| words.into_iter().flat_map(u32::to_le_bytes).collect();
    let made = Made { head: false, slots, nodes, base: bytes(base), raw: bytes(raw) };
    let bits = made.coded().len() * 8;
    // log2(400) for each pair, and little else.
    assert!(bits < 3600 * 12, "{bits}");
}

#[test]
fn no_flipped_or_missing_byte_panics() {
    for head in [false, true] {
        let made = Made::new(120, 8, head, 2);
        let mut block = made.coded();
        let mut refused = 0;
        for bit in 0..block.len() * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            refused += usize::from(made.is_refused(&block));
            block[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(refused * 4 > block.len() * 8);
        for cut in 0..block.len() {
            assert!(made.is_refused(&block[..cut]));
        }
        assert!(made.is_refused(&[&block[..], &[0]].concat()));
        assert!(!made.is_refused(&block));
    }
}

/// Planes of any symbols: what a frame decodes to is hostile too.
#[test]
fn no_symbols_panic() {
    let mut accepted = 0;
    for seed in 1..3000u64 {
        let head = seed % 2 == 0;
        let made = Made::new(5, 4, head, seed % 7 + 1);
        let dice = testing::noise(400, seed);
        let mut header = [[0u8; 4]; HEADER_BYTES / 4];
        let mut frames = Vec::new();
        let lengths =
            [5, dice[0] % 6, dice[1] % 20, dice[2] % 6, dice[3] % 4, dice[4] % 6, dice[5] % 20, 10 * (dice[6] % 2)];
        for (kind, length) in lengths.into_iter().enumerate() {
            let length = if head || kind < STALE_COUNTS { usize::from(length) } else { 0 };
            let symbols = &dice[8 + 30 * kind..][..length];
            let small = |symbol: &u8| match kind {
                ADDED => 122 + symbol % 6,
                SHAPES => symbol % if seed % 3 == 0 { 64 } else { 255 },
                _ => symbol % 6,
            };
            let plane: Vec<u8> = symbols.iter().map(small).collect();
            let mut frame = Vec::new();
            if length > 0 {
                let search = crate::codec::zstd::Search::Matches;
                assert!(crate::codec::zstd::encode(search, &plane, 200, &mut frame, &mut Scratch::new()).unwrap());
            }
            header[2 + 2 * kind] = (length as u32).to_le_bytes();
            header[3 + 2 * kind] = (frame.len() as u32).to_le_bytes();
            frames.extend(frame);
        }
        let bits = testing::noise((seed % 40) as usize, seed ^ 99);
        let block = [header.as_flattened(), &frames, &bits, &[0; 8]].concat();
        accepted += usize::from(!made.is_refused(&block));
    }
    assert!(accepted < 100);
}

#[test]
fn headers_that_cannot_be_are_refused() {
    let made = Made::new(120, 8, true, 2);
    let block = made.coded();
    let refused = |at: usize, bytes: &[u8]| {
        let mut wrong = block.clone();
        wrong[at..at + bytes.len()].copy_from_slice(bytes);
        assert!(made.is_refused(&wrong), "{at}");
    };
    refused(0, &[1]);
    refused(0, &[0xFF; 4]);
    refused(4, &[1]);
    for field in (8..HEADER_BYTES).step_by(4) {
        refused(field, &[0xFF; 4]);
        refused(field, &[0xFE]);
    }
    refused(8, &[0; 4]);
    refused(8, &121u32.to_le_bytes());
}

#[test]
fn the_codec_alone_decodes_nothing() {
    let made = Made::new(30, 8, true, 2);
    let fault =
        crate::codec::decode(Codec::Edits, &made.shape(), &made.coded(), &mut made.raw.clone(), &mut Scratch::new());
    assert_eq!(fault.unwrap_err().layer(), Some(Layer::Codec));
}

#[test]
fn the_example_of_the_page_is_what_the_codec_does() {
    let page = include_str!("../../../../../spec/codecs/edits.md");
    let field = |name: &str| page.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    let bytes = |name: &str| -> Vec<u8> {
        field(name).split_whitespace().map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect()
    };
    let nodes = field("nodes:").split_whitespace().map(|node| node.parse().unwrap()).collect();
    let made =
        Made { head: false, slots: field("row:").parse().unwrap(), nodes, base: bytes("base:"), raw: bytes("chunk:") };
    let block = made.coded();
    assert_eq!(block, bytes("block:"), "{block:02X?}");
}

/// Blocks that the reference reader is tested with. `VARK_WRITE_FIXTURES` makes them anew.
#[test]
fn fixtures_are_what_the_codec_does() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/edits");
    for (name, head, count, slots) in [
        ("i32", false, 90, 8),
        ("u32", true, 90, 8),
        ("i32-wide", false, 9, 70),
        ("u32-wide", true, 9, 70),
        ("one", true, 1, 1),
    ] {
        let made = Made::new(count, slots, head, 7);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let fixture = serde_json::json!({
            "type": made.shape().element_type.name(),
            "row_elements": made.shape().row_elements,
            "nodes": made.nodes,
            "base": hex(&made.base),
            "raw": hex(&made.raw),
            "block": hex(&made.coded()),
        });
        let path = format!("{folder}/{name}.json");
        if std::env::var_os("VARK_WRITE_FIXTURES").is_some() {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(&path, format!("{fixture:#}\n")).unwrap();
        }
        let found: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert!(found == fixture, "{name}");
    }
}

proptest! {
    #[test]
    fn any_rows_come_back(
        head in any::<bool>(), slots in 1usize..40,
        lists in prop::collection::vec((prop::collection::vec(0u32..60, 0..40), prop::collection::vec(0u32..60, 0..40)), 1..40),
        noise in any::<u64>(),
    ) {
        let rows = |of: &dyn Fn(usize) -> Vec<u32>| -> Vec<u8> {
            let mut words: Vec<u32> = Vec::new();
            for row in 0..lists.len() {
                let mut list = of(row);
                list.truncate(slots);
                let degree = list.len() as u32;
                list.resize(slots, if head { (noise >> (row % 60)) as u32 & 3 } else { u32::MAX });
                words.extend(head.then_some(degree).into_iter().chain(list));
            }
            words.into_iter().flat_map(u32::to_le_bytes).collect()
        };
        let nodes = (0..lists.len() as u64).map(|row| row + 5 * ((noise >> row) & 1)).collect::<std::collections::BTreeSet<_>>();
        let mut nodes: Vec<u64> = nodes.into_iter().collect();
        (nodes.len()..lists.len()).for_each(|row| nodes.push(1000 + row as u64));
        let (base, raw) = (rows(&|row| lists[row].0.clone()), rows(&|row| lists[row].1.clone()));
        Made { head, slots, nodes, base, raw }.coded();
    }

    #[test]
    fn hostile_blocks_are_refused_or_give_rows(
        head in any::<bool>(), at in any::<prop::sample::Index>(), value in any::<u8>(), seed in 1u64..200,
    ) {
        let made = Made::new(40, 6, head, seed);
        let mut block = made.coded();
        let at = at.index(block.len());
        block[at] = value;
        made.is_refused(&block);
        let any = testing::noise(at, seed);
        prop_assert!(made.is_refused(&any));
    }
}

#[test]
fn the_block_does_not_depend_on_threads() {
    for head in [false, true] {
        let made = Made::new(9_000, 32, head, 21);
        let shape = shape(head, 32);
        let blocks = [1, 2, 5].map(|threads| {
            let (mut block, mut scratch) = (Vec::new(), Scratch::with_threads(threads, u64::MAX));
            let limit = made.raw.len();
            assert!(encode(&shape, &made.nodes, &made.base, &made.raw, limit, &mut block, &mut scratch).unwrap());
            block
        });
        assert!(made.raw.len() > 1 << 20 && blocks[0] == blocks[1] && blocks[0] == blocks[2]);
        let mut raw = vec![0; made.raw.len()];
        decode(&shape, &made.nodes, &made.base, &blocks[2], &mut raw, &mut Scratch::new()).unwrap();
        assert!(raw == made.raw);
    }
}
