//! Codec 35 (spec, `codecs/edits.md`): changed lists of links, each against what it was. An id that one list gained and a
//! list that gained the other end of the same link are told once.

mod base;
mod decode;
mod encode;
mod matching;
#[cfg(test)]
mod tests;

use base::Base;
pub use decode::decode;
pub use encode::encode;

/// Exceptions, a reserved word, and of each plane its symbols and the bytes of its frame.
const HEADER_BYTES: usize = 8 + 8 * PLANES;

/// Planes: runs of symbols of a byte.
const SHAPES: usize = 0;
const COUNTS: usize = 1;
const ADDED: usize = 2;
const LEADS: usize = 3;
/// A run of bits, not of symbols.
const KEPT: usize = 4;
const STALE_COUNTS: usize = 5;
const STALE_SOURCES: usize = 6;
/// Two symbols a row.
const MARKS: usize = 7;
const PLANES: usize = 8;

/// A shape: what there is to say of a row.
const SHAPE_REMOVED: u8 = 1;
const SHAPE_ORDER: u8 = 2;
/// The row's node is in the table of hubs: added to many lists, or new.
const SHAPE_HUB: u8 = 4;
const SHAPE_STALE: u8 = 8;
/// Upper four bits: ids added; `COUNT_FOLLOWS` is in its own plane.
const COUNT_SHIFT: u32 = 4;
const COUNT_FOLLOWS: u8 = 14;
/// The row is kept as it is.
const EXCEPTION: u8 = 0xF0;

/// Added ids; below `HUB_BOTH` the code of a gap from the row's own node.
const HUB_BOTH: u8 = 124;
const HUB: u8 = 125;
const NEAR: u8 = 126;

/// Sources of a slot past the degree that are no entry of the old list or the new.
const SOURCE_ID: u8 = 254;
const SOURCE_BASE: u8 = 255;
const SOURCES: usize = 254;

/// No row.
const NONE: u32 = u32::MAX;

/// Distance of an id from a node, of whatever sign, as one number. All ids have one: both wrap.
fn fold(id: u32, node: u32) -> u32 {
    let step = id.wrapping_sub(node).cast_signed();
    (step.wrapping_shl(1) ^ (step >> 31)).cast_unsigned()
}

fn unfold(folded: u32, node: u32) -> u32 {
    node.wrapping_add((folded >> 1) ^ (folded & 1).wrapping_neg())
}

/// Bits and split of a choice among `choices` (1 or more), the code of `codecs/links.md`: the first `short` values take
/// one bit less.
fn choice(choices: u32) -> (u32, u64) {
    let width = choices.max(1).ilog2();
    (width, (2u64 << width) - u64::from(choices.max(1)))
}

/// Smallest rank that the entry of a place can have, and how many there are from it: the first entry that is out of order
/// has one, and an added id stands after the one before it, whose rank was `last`.
fn ranks(place: usize, lead: usize, known: usize, last: u32) -> (u32, u32) {
    // At most 254 entries.
    let all = u32::try_from(place).unwrap_or(0);
    if place == lead {
        (1, all)
    } else if place > known {
        (0, last + 1)
    } else {
        (0, all + 1)
    }
}

/// The list of a hub (place 0) or of one of its old neighbours, and how many of these there are.
fn near_list<'a>(base: &Base<'a>, hub: u32, place: usize) -> (usize, &'a [[u8; 4]]) {
    let neighbours = base.list(hub as usize);
    let Some(neighbour) = place.checked_sub(1) else { return (neighbours.len(), neighbours) };
    let row = neighbours.get(neighbour).and_then(|id| base.row_of(*id));
    (neighbours.len(), row.map_or(&[], |row| base.list(row)))
}
