//! Graphs of every kind through the codec, and blocks that lie.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first fault; small numbers"
)]

use super::*;
use crate::codec::{Codec, Scratch, testing};
use crate::error::{Layer, Result};
use crate::stream::StreamRole;

fn shape(element_type: ElementType, row_elements: usize, first_row: u64) -> ChunkShape {
    ChunkShape { role: StreamRole::LINKS, element_type, row_elements: row_elements as u32, first_row }
}

fn plain(element_type: ElementType, raw: &[u8], block: &mut Vec<u8>, scratch: &mut Scratch) -> Result<bool> {
    encode(&ChunkShape::plain(StreamRole::LINKS, element_type), raw, usize::MAX, block, scratch)
}

#[test]
fn rows_of_one_slot_pass_the_common_suite() {
    testing::chunks_come_back_exactly(Codec::Links, plain);
    testing::cut_and_lengthened_blocks_are_refused(Codec::Links, plain);
    testing::flipped_bits_never_panic(Codec::Links, plain);
    testing::any_bytes_never_panic(Codec::Links);
}

/// A made-up graph: `both` in 256 links come back.
struct Made {
    count: usize,
    slots: usize,
    first_row: u64,
    total: u64,
    both: u32,
    head: bool,
    sorted: bool,
    seed: u64,
}

impl Made {
    const PLAIN: Self =
        Self { count: 300, slots: 8, first_row: 0, total: 300, both: 200, head: false, sorted: false, seed: 1 };

    fn shape(&self) -> ChunkShape {
        let element_type = if self.head { ElementType::U32 } else { ElementType::I32 };
        shape(element_type, self.slots + usize::from(self.head), self.first_row)
    }

    fn lists(&self) -> Vec<Vec<u32>> {
        let dice = testing::noise(self.count * self.slots * 8, self.seed);
        let mut lists = vec![Vec::new(); self.count];
        for (at, roll) in dice.as_chunks::<8>().0.iter().enumerate() {
            let (row, node) = (at % self.count, self.first_row as u32 + (at % self.count) as u32);
            let id = (u64::from(u32::from_le_bytes([roll[0], roll[1], roll[2], roll[3]])) % self.total) as u32;
            let other = id.wrapping_sub(self.first_row as u32) as usize;
            let there = |lists: &[Vec<u32>], row: usize, id| lists[row].len() < self.slots && !lists[row].contains(&id);
            if id != node && roll[4] > 60 && there(&lists, row, id) {
                lists[row].push(id);
                if u32::from(roll[5]) < self.both && other < self.count && there(&lists, other, node) {
                    lists[other].push(node);
                }
            }
        }
        if self.sorted {
            lists.iter_mut().for_each(|list| list.sort_unstable());
        }
        lists
    }

    fn rows(&self) -> Vec<u8> {
        let mut words = Vec::new();
        for (row, list) in self.lists().into_iter().enumerate() {
            let rest = self.slots - list.len();
            if self.head {
                words.push(list.len() as u32 | if row % 50 == 3 { 0x0001_0000 } else { 0 });
                let stale = [list.first().copied().unwrap_or(0), 0, row as u32, 0, 0, 0, 0, 0];
                let stale = stale.into_iter().cycle().take(if row % 7 == 0 { rest } else { 0 });
                words.extend(list.iter().copied().chain(stale).chain(std::iter::repeat_n(0, rest)).take(self.slots));
            } else {
                words.extend(list.iter().copied().chain(std::iter::repeat_n(u32::MAX, rest)));
            }
        }
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }

    /// Lists that no graph has: a gap, an id twice, a link to itself, ids and degrees too large.
    fn with_odd_rows(&self) -> Vec<u8> {
        let mut raw = self.rows();
        let words = raw.as_chunks_mut::<4>().0;
        let row_words = self.slots + usize::from(self.head);
        for (row, odd) in [
            (5, [1, u32::MAX, 2, u32::MAX]),
            (41, [7, 7, u32::MAX, u32::MAX]),
            (100, [self.first_row as u32 + 100, 1, 2, 3]),
            (101, [0x8000_0000, 1, 2, 3]),
            (299, [0xFFFF_FFF0, 1, 2, 3]),
        ] {
            let start = row * row_words;
            words[start..start + 4].iter_mut().zip(odd).for_each(|(word, odd)| *word = odd.to_le_bytes());
        }
        raw
    }
}

fn coded(shape: &ChunkShape, raw: &[u8]) -> Vec<u8> {
    let mut block = vec![7; 5];
    assert!(encode(shape, raw, raw.len() + 2000, &mut block, &mut Scratch::new()).unwrap());
    let mut found = vec![0xA5; raw.len()];
    decode(shape, &block, &mut found, &mut Scratch::new()).unwrap();
    assert!(found == raw);
    block
}

fn every_kind() -> Vec<Made> {
    let mut kinds = Vec::new();
    for seed in 1..4 {
        for (count, slots) in [(1, 4), (2, 1), (33, 3), (300, 8), (300, 32), (301, 70), (300, 254)] {
            for head in [false, true] {
                for (first_row, total, both, sorted) in [
                    (0, count as u64, 250, false),
                    (0, count as u64, 0, false),
                    (1000, 4000, 200, true),
                    (10, count as u64 + 40, 128, false),
                    (IDS_MAX.into(), 1 << 31, 128, false),
                ] {
                    kinds.push(Made { count, slots, first_row, total, both, head, sorted, seed });
                }
            }
        }
    }
    kinds
}

#[test]
fn graphs_of_every_kind_come_back() {
    for made in every_kind() {
        coded(&made.shape(), &made.rows());
    }
}

/// Several buckets: what threads share out, and what waits for a later bucket.
#[test]
fn a_block_is_the_same_at_any_number_of_threads() {
    for head in [false, true] {
        let made = Made { head, count: 5_000, slots: 16, first_row: 10, total: 5_040, ..Made::PLAIN };
        let mut raw = made.with_odd_rows();
        let loops = made.slots + usize::from(head);
        for row in [1_023, 1_024, 4_999] {
            // A node that links to itself, though others say that their links to it come back.
            raw[(row * loops + usize::from(head)) * 4..][..4]
                .copy_from_slice(&(made.first_row as u32 + row as u32).to_le_bytes());
        }
        let expected = coded(&made.shape(), &raw);
        for threads in [0, 2, 3, 64] {
            let mut block = Vec::new();
            assert!(
                encode(&made.shape(), &raw, raw.len(), &mut block, &mut Scratch::with_threads(threads, 0)).unwrap()
            );
            assert!(block == expected, "{threads} threads");
        }
    }
}

#[test]
fn rows_that_are_no_lists_are_kept_as_they_are() {
    for head in [false, true] {
        let made = Made { head, ..Made::PLAIN };
        coded(&made.shape(), &made.with_odd_rows());
    }
    let mut noise = testing::noise(40_000, 7);
    assert!(!encode(&shape(ElementType::I32, 8, 0), &noise, 50_000, &mut Vec::new(), &mut Scratch::new()).unwrap());
    noise.truncate(30_001);
    assert!(!encode(&shape(ElementType::I32, 8, 0), &noise, 50_000, &mut Vec::new(), &mut Scratch::new()).unwrap());
}

#[test]
fn a_link_both_ways_is_stored_once_and_order_costs_its_entropy() {
    let made = Made { count: 20_000, total: 20_000, slots: 16, both: 256, ..Made::PLAIN };
    let links: usize = made.lists().iter().map(Vec::len).sum();
    let bits = |raw: &[u8]| coded(&made.shape(), raw).len() as f64 * 8.0 / links as f64;
    let mut raw = made.rows();
    let (ordered, one_way) = (bits(&raw), coded(&shape(ElementType::I32, 16, 1 << 20), &raw).len());
    assert!(sort_lists(&made.shape(), &mut raw));
    let canonical = bits(&raw);
    println!("{ordered:.2} bits a link, canonical {canonical:.2}");
    assert!(ordered < 10.6 && canonical < 8.0 && one_way > coded(&made.shape(), &raw).len() * 3 / 2);
}

#[test]
fn sorted_lists_are_ascending_and_have_no_stale_slots() {
    for head in [false, true] {
        let made = Made { head, ..Made::PLAIN };
        let mut raw = made.rows();
        assert!(sort_lists(&made.shape(), &mut raw));
        let row_words = made.slots + usize::from(head);
        for (mut list, row) in made.lists().into_iter().zip(raw.as_chunks::<4>().0.chunks(row_words)) {
            list.sort_unstable();
            let degree = list.len();
            list.resize(made.slots, if head { 0 } else { u32::MAX });
            let slots: Vec<u32> = row[usize::from(head)..].iter().map(|slot| u32::from_le_bytes(*slot)).collect();
            assert_eq!(slots, list);
            assert!(!head || usize::from(u16::from_le_bytes([row[0][0], row[0][1]])) == degree);
        }
        let again = raw.clone();
        assert!(sort_lists(&made.shape(), &mut raw) && raw == again);
        let mut odd = made.with_odd_rows();
        assert!(sort_lists(&made.shape(), &mut odd));
    }
    assert!(!sort_lists(&shape(ElementType::I64, 8, 0), &mut [0; 64]));
}

#[test]
fn no_flipped_or_missing_byte_panics() {
    for head in [false, true] {
        let made = Made { head, count: 300, first_row: 10, total: 330, ..Made::PLAIN };
        let raw = made.with_odd_rows();
        let mut block = coded(&made.shape(), &raw);
        let (mut found, mut scratch) = (vec![0; raw.len()], Scratch::new());
        let mut refused = 0;
        for bit in 0..block.len() * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            if let Err(fault) = decode(&made.shape(), &block, &mut found, &mut scratch) {
                assert_eq!(fault.layer(), Some(Layer::Codec), "{fault}");
                refused += 1;
            }
            block[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(refused * 4 > block.len() * 8);
        for cut in 0..block.len() {
            assert!(decode(&made.shape(), &block[..cut], &mut found, &mut scratch).is_err());
        }
        decode(&made.shape(), &block, &mut found, &mut scratch).unwrap();
        assert!(found == raw);
    }
}

#[test]
fn decode_refuses_headers_and_planes_that_cannot_be() {
    let made = Made::PLAIN;
    let raw = made.rows();
    let block = coded(&made.shape(), &raw);
    let refused = |at: usize, bytes: &[u8]| {
        let mut wrong = block.clone();
        wrong[at..at + bytes.len()].copy_from_slice(bytes);
        let outcome = decode(&made.shape(), &wrong, &mut vec![0; raw.len()], &mut Scratch::new());
        assert_eq!(outcome.unwrap_err().layer(), Some(Layer::Codec), "{at}");
    };
    refused(0, &[7]);
    refused(0, &[0]);
    refused(4, &[97]);
    refused(4, &[0]);
    refused(8, &u64::MAX.to_le_bytes());
    refused(8, &[1]);
    refused(16, &0x8000_0001u32.to_le_bytes());
    refused(16, &[0; 4]);
    refused(20, &u32::MAX.to_le_bytes());
    refused(20, &[1]);
    refused(24, &[1]);
    refused(31, &[1]);
    // The first record: kind, symbols, bytes of the frame.
    refused(32, &[7]);
    refused(32, &[1]);
    refused(32, &[200]);
    refused(36, &u32::MAX.to_le_bytes());
    refused(40, &u32::MAX.to_le_bytes());
    refused(44, &[0]);
}

/// Given with the elements of a row, the other codecs' pages have rows of one.
#[test]
fn the_example_of_the_page_is_what_the_codec_does() {
    let page = include_str!("../../../../../spec/codecs/links.md");
    let field = |name: &str| page.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    let bytes = |name: &str| -> Vec<u8> {
        field(name).split_whitespace().map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect()
    };
    let (raw, expected) = (bytes("chunk:"), bytes("block:"));
    let shape = shape(ElementType::from_name(field("type:")).unwrap(), field("row:").parse().unwrap(), 0);
    let block = coded(&shape, &raw);
    assert_eq!(block, expected, "{block:02X?}");
}

/// All rows link to rows of one bucket, but for a sample that makes it a graph whose links go both ways.
fn hubs(count: usize, slots: usize) -> Vec<u8> {
    let step = (count / 256).max(1);
    let is_sampled = |row: usize| row.is_multiple_of(step) && count > 1_024;
    let mut raw = vec![0xFF; count * slots * 4];
    for (row, list) in raw.as_chunks_mut::<4>().0.chunks_exact_mut(slots).enumerate() {
        if is_sampled(row) {
            let other = if (row / step).is_multiple_of(2) { row + step } else { row - step };
            list[0] = if other < count { (other as u32).to_le_bytes() } else { [0xFF; 4] };
            continue;
        }
        let hubs = (0..count.min(1_024)).filter(|hub| *hub != row && !is_sampled(*hub)).skip(row % 500);
        list.iter_mut().zip(hubs).for_each(|(slot, hub)| *slot = (hub as u32).to_le_bytes());
    }
    raw
}

#[test]
fn a_graph_of_hubs_comes_back_and_makes_the_same_block_with_any_number_of_threads() {
    for (count, slots) in [(1, 32), (1_025, 31), (5_000, 32), (3_100, 254)] {
        let raw = hubs(count, slots);
        let shape = shape(ElementType::I32, slots, 0);
        let block = coded(&shape, &raw);
        for threads in [2, 3, 4, 7] {
            let mut other = Vec::new();
            let mut scratch = Scratch::with_threads(threads, 0);
            assert!(encode(&shape, &raw, raw.len() + 2000, &mut other, &mut scratch).unwrap());
            assert!(other == block, "{threads} threads");
        }
    }
}
