//! Blocks of codec 9 → rows. Nodes come in order, so the links that earlier nodes say go both ways are all known when
//! a node's turn comes; those of the bucket at hand wait in the slots of its row.

use super::super::zstd::{self, Fault};
use super::super::{Codec, Scratch, word_at};
use super::bits::{BitReader, GAP_CODES, GUARD_BYTES, gap_class};
use super::buckets::{bucket_rows, id_bits};
use super::*;
use crate::error::Result;
use crate::kernels::Machine;

type Step<T> = std::result::Result<T, &'static str>;

const TOO_MANY: &str = "names more links than a row has slots or a gap leaves room for";
const PLANE_ENDS: &str = "has a plane or bits that end early";
const LEFT_OVER: &str = "has symbols, bits or exceptions left over";

struct Header {
    flags: u32,
    base: u32,
    limit: u32,
    exceptions: usize,
    planes: Planes,
}

/// All planes one after another, and where each stands.
struct Planes {
    symbols: Vec<u8>,
    ranges: [(usize, usize); PLANES],
}

impl Planes {
    fn plane(&self, kind: usize) -> &[u8] {
        let (start, end) = self.ranges[kind];
        &self.symbols[start..end]
    }
}

pub(in crate::codec) fn decode(shape: &ChunkShape, block: &[u8], raw: &mut [u8], scratch: &mut Scratch) -> Result<()> {
    let Some(rows) = Rows::of(shape, raw.len()) else {
        let found = format!("{} bytes of {} × {}", raw.len(), shape.row_elements, shape.element_type.name());
        return Err(Codec::Links.refuses(format_args!("stands in a chunk of {found}; expected rows of u32 or i32")));
    };
    let (header, rest) = read_header(&rows, block, scratch)?;
    let exception_bytes = header.exceptions * 4 * rows.words;
    let Some((exceptions, bits)) = rest.split_at_checked(exception_bytes).filter(|(_, bits)| bits.len() >= GUARD_BYTES)
    else {
        return Err(Codec::Links.refuses("ends before its exceptions and bits do"));
    };
    let outcome = Graph::new(rows, &header, exceptions.as_chunks().0, bits, raw.as_chunks_mut().0).run();
    outcome.map_err(|detail| Codec::Links.refuses(detail))
}

/// Header, plane table and planes; what follows them.
fn read_header<'a>(rows: &Rows, block: &'a [u8], scratch: &mut Scratch) -> Result<(Header, &'a [u8])> {
    let refuse = |detail: String| Codec::Links.refuses(detail);
    let Some((head, rest)) = block.split_at_checked(HEADER_BYTES) else {
        return Err(refuse(format!("has {} bytes, expected at least {HEADER_BYTES}", block.len())));
    };
    let field = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (flags, plane_count, base, limit) = (field(0), field(4) as usize, word_at(head, 8), field(16));
    let exceptions = field(20) as usize;
    let nodes = if flags & FLAG_NODES == 0 { 0 } else { rows.count as u64 };
    let fits = flags & !FLAGS == 0 && plane_count <= PLANES && word_at(head, 24) == 0;
    if !fits || limit > IDS_MAX || base.checked_add(nodes).is_none_or(|end| end > u64::from(limit)) {
        let found = format!("flags {flags:#x}, {plane_count} planes, base {base}, limit {limit}");
        return Err(refuse(format!("has {found}; expected nodes below a limit of up to 2^31 and reserved zeros")));
    }
    if exceptions > rows.count {
        return Err(refuse(format!("has {exceptions} exceptions in {} rows", rows.count)));
    }
    let (planes, rest) = read_planes(rows, plane_count, rest, scratch)?;
    // Checked above: below 2^31.
    let base = u32::try_from(base).unwrap_or(0);
    Ok((Header { flags, base, limit, exceptions, planes }, rest))
}

fn read_planes<'a>(
    rows: &Rows,
    plane_count: usize,
    rest: &'a [u8],
    scratch: &mut Scratch,
) -> Result<(Planes, &'a [u8])> {
    let refuse = |detail: String| Codec::Links.refuses(detail);
    let Some((table, mut rest)) = rest.split_at_checked(plane_count * PLANE_RECORD_BYTES) else {
        return Err(refuse(format!("ends in the table of {plane_count} planes")));
    };
    let mut ranges = [(0, 0); PLANES];
    let (mut total, mut gaps, mut next_kind) = (0usize, 0usize, 0);
    let mut frames = Vec::with_capacity(plane_count);
    for record in table.as_chunks::<PLANE_RECORD_BYTES>().0 {
        let field =
            |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]) as usize;
        let (kind, symbols, bytes) = (field(0), field(4), field(8));
        let expected = match kind {
            DEGREES | BACKWARD | OUTSIDE | TAILS => symbols == rows.count,
            HEADS => rows.has_head && symbols == 2 * rows.count,
            STALE_SLOTS => rows.has_head && symbols == rows.count,
            STALE_SOURCES => rows.has_head && (1..=rows.count * rows.slots).contains(&symbols),
            FORWARD_GAPS..PLANES => {
                gaps = gaps.saturating_add(symbols);
                symbols > 0 && gaps <= rows.count * rows.slots
            }
            _ => false,
        };
        if !expected || kind < next_kind || bytes > rest.len() {
            let found = format!("plane {kind} of {symbols} symbols in {bytes} bytes");
            return Err(refuse(format!("has {found}; expected known planes in order, no longer than the rows allow")));
        }
        let (frame, after) = rest.split_at(bytes);
        frames.push((frame, total, total + symbols));
        ranges[kind] = (total, total + symbols);
        (total, next_kind, rest) = (total + symbols, kind + 1, after);
    }
    if ranges[DEGREES].1 == 0 {
        return Err(refuse("has no plane of degrees".to_owned()));
    }
    let mut symbols = vec![0; total];
    for (frame, start, end) in frames {
        zstd::decode_frame(frame, &mut symbols[start..end], scratch).map_err(|fault| match fault {
            Fault::Frame(detail) => refuse(format!("plane frame {detail}")),
            Fault::Other(error) => error,
        })?;
    }
    Ok((Planes { symbols, ranges }, rest))
}

struct Graph<'a> {
    rows: Rows,
    order: bool,
    /// First node, and how many.
    base: u32,
    nodes: u32,
    limit: u32,
    id_bits: u32,
    header: &'a Header,
    coded: Coded<'a>,
    sources: &'a [u8],
    exceptions: &'a [[u8; 4]],
    claims: Claims<'a>,
    machine: Machine,
}

/// What is left of the planes of gaps and of the bits.
struct Coded<'a> {
    gaps: [&'a [u8]; PLANES - FORWARD_GAPS],
    bits: BitReader<'a>,
}

impl<'a> Graph<'a> {
    fn new(rows: Rows, header: &'a Header, exceptions: &'a [[u8; 4]], bits: &'a [u8], out: &'a mut [[u8; 4]]) -> Self {
        let has_nodes = header.flags & FLAG_NODES != 0;
        let mut gaps: [&[u8]; PLANES - FORWARD_GAPS] = [&[]; PLANES - FORWARD_GAPS];
        for (kind, gaps) in gaps.iter_mut().enumerate() {
            *gaps = header.planes.plane(FORWARD_GAPS + kind);
        }
        Self {
            order: header.flags & FLAG_ORDER != 0,
            base: header.base,
            nodes: if has_nodes { u32::try_from(rows.count).unwrap_or(0) } else { 0 },
            limit: header.limit,
            id_bits: u32::BITS - header.limit.saturating_sub(1).leading_zeros(),
            header,
            coded: Coded { gaps, bits: BitReader::new(bits) },
            sources: header.planes.plane(STALE_SOURCES),
            exceptions,
            claims: Claims::new(rows, has_nodes, header.base, out),
            rows,
            machine: Machine::detect(),
        }
    }

    fn run(mut self) -> Step<()> {
        let planes = &self.header.planes;
        let [backward, outside, tails] = [BACKWARD, OUTSIDE, TAILS].map(|kind| planes.plane(kind));
        let per_row = |plane: &[u8], row: usize| plane.get(row).copied().unwrap_or(0);
        let (mut list, mut spare) = (Vec::with_capacity(4 * SLOTS_MAX), Vec::with_capacity(4 * SLOTS_MAX));
        for (row, degree) in planes.plane(DEGREES).iter().enumerate() {
            if row.is_multiple_of(self.claims.bucket_rows) {
                self.claims.enter(row)?;
            }
            if *degree == EXCEPTION {
                self.exception(row)?;
                continue;
            }
            let degree = usize::from(*degree);
            let counts = (usize::from(per_row(backward, row)), usize::from(per_row(outside, row)));
            self.list(row, degree, counts, &mut list, &mut spare)?;
            if self.order {
                self.reorder(&list, usize::from(per_row(tails, row)), &mut spare)?;
                self.write(row, &spare)?;
            } else {
                self.write(row, &list)?;
            }
        }
        if self.claims.overflow {
            return Err(TOO_MANY);
        }
        let empty = self.coded.gaps.iter().all(|gaps| gaps.is_empty()) && self.sources.is_empty();
        if empty && self.exceptions.is_empty() && self.coded.bits.is_at_end() { Ok(()) } else { Err(LEFT_OVER) }
    }

    fn exception(&mut self, row: usize) -> Step<()> {
        if self.claims.known(row) != 0 {
            return Err("says that a link of an exception goes both ways");
        }
        let (words, rest) = self.exceptions.split_at_checked(self.rows.words).ok_or("has too few exceptions")?;
        let start = row * self.rows.words;
        self.claims.out[start..start + self.rows.words].copy_from_slice(words);
        self.exceptions = rest;
        Ok(())
    }

    /// The ascending list of a node into `list`.
    #[inline(always)]
    fn list(
        &mut self,
        row: usize,
        degree: usize,
        (backward, outside): (usize, usize),
        list: &mut Vec<u32>,
        spare: &mut Vec<u32>,
    ) -> Step<()> {
        let known = self.claims.known(row);
        let forward = degree.checked_sub(known + backward + outside).ok_or(TOO_MANY)?;
        if degree > self.rows.slots {
            return Err(TOO_MANY);
        }
        let start = (row + 1) * self.rows.words - self.rows.slots;
        let node = self.base + u32::try_from(row).map_err(|_| TOO_MANY)?;
        list.clear();
        list.extend(self.claims.out[start..start + known].iter().map(|id| u32::from_le_bytes(*id)));
        if backward > 0 {
            if self.nodes == 0 {
                return Err(TOO_MANY);
            }
            spare.clear();
            self.coded.gaps::<false>(backward, node - self.base, |gap, _| spare.push(gap))?;
            spare.iter().for_each(|gap| insert(list, self.base + gap));
        }
        if forward > 0 {
            if self.nodes == 0 {
                return Err(TOO_MANY);
            }
            let room = self.base + self.nodes - node - 1;
            let (base, claims) = (self.base, &mut self.claims);
            self.coded.gaps::<true>(forward, room, |gap, both| {
                let id = node + 1 + gap;
                list.push(id);
                if both {
                    claims.add(node - base, id - base);
                }
            })?;
        }
        if outside > 0 {
            spare.clear();
            self.coded.gaps::<false>(outside, self.limit - self.nodes, |gap, _| spare.push(gap))?;
            let (base, nodes) = (self.base, self.nodes);
            spare.iter_mut().for_each(|id| *id += if *id < base { 0 } else { nodes });
            let inside = list.len();
            // Ids below the partition, the partition, ids above it.
            list.extend_from_slice(spare);
            let low = spare.partition_point(|id| *id < base);
            list[..inside + low].rotate_right(low);
        }
        Ok(())
    }

    /// Undoes the sorting: all but the last `tail` entries are chosen one by one among those left.
    #[inline(always)]
    fn reorder(&mut self, sorted: &[u32], tail: usize, list: &mut Vec<u32>) -> Step<()> {
        let chosen = sorted.len().checked_sub(tail).ok_or("has a tail longer than its list")?;
        let mut ranks = [0; SLOTS_MAX];
        // At most SLOTS_MAX entries: the sum of three counts was compared with the slots.
        let choices = u32::try_from(sorted.len()).map_err(|_| TOO_MANY)?;
        let ranks = ranks.get_mut(..chosen).ok_or(TOO_MANY)?;
        self.coded.bits.take_ranks(choices, ranks).ok_or(PLANE_ENDS)?;
        list.resize(sorted.len(), 0);
        self.machine.reorder(sorted, ranks, list);
        Ok(())
    }

    #[inline(always)]
    fn write(&mut self, row: usize, list: &[u32]) -> Step<()> {
        let start = row * self.rows.words;
        let out = &mut self.claims.out[start..start + self.rows.words];
        let (head, slots) = out.split_at_mut(self.rows.words - self.rows.slots);
        let (filled, rest) = slots.split_at_mut(list.len());
        filled.iter_mut().zip(list).for_each(|(slot, id)| *slot = id.to_le_bytes());
        rest.fill(self.rows.filler().to_le_bytes());
        let Some(head) = head.first_mut() else { return Ok(()) };
        let heads = self.header.planes.plane(HEADS);
        let [low, high] = heads.get(2 * row..).and_then(|heads| heads.first_chunk()).copied().unwrap_or_default();
        // A degree is at most 254.
        *head = [list.len().to_le_bytes()[0], 0, low, high];
        let stale = usize::from(self.header.planes.plane(STALE_SLOTS).get(row).copied().unwrap_or(0));
        for slot in rest.get_mut(..stale).ok_or(TOO_MANY)? {
            let (source, after) = self.sources.split_first().ok_or(PLANE_ENDS)?;
            self.sources = after;
            let id = match *source {
                SOURCE_ZERO => 0,
                SOURCE_ID => self.coded.bits.take(self.id_bits).ok_or(PLANE_ENDS)?,
                source => *list.get(usize::from(source)).ok_or("repeats a link past the end of its list")?,
            };
            *slot = id.to_le_bytes();
        }
        Ok(())
    }
}

impl Coded<'_> {
    /// `count` numbers below `room`, ascending and distinct, in gaps.
    #[inline(always)]
    fn gaps<const FORWARD: bool>(&mut self, count: usize, room: u32, mut emit: impl FnMut(u32, bool)) -> Step<()> {
        let mut left = u32::try_from(count).map_err(|_| TOO_MANY)?;
        let (mut rest, mut next) = (room, 0);
        if left > rest {
            return Err(TOO_MANY);
        }
        let kind = if FORWARD { 0 } else { OTHER_GAPS - FORWARD_GAPS };
        while left > 0 {
            let gaps = &mut self.gaps[kind + gap_class(rest, left)];
            let (symbol, after) = gaps.split_first().ok_or(PLANE_ENDS)?;
            *gaps = after;
            let (smallest, extra) = GAP_CODES[usize::from(symbol >> 1)];
            let gap = smallest.saturating_add(self.bits.take(extra).ok_or(PLANE_ENDS)?);
            let both = symbol & 1 != 0;
            if gap > rest - left || (!FORWARD && both) {
                return Err(TOO_MANY);
            }
            emit(next + gap, both);
            (next, rest, left) = (next + gap + 1, rest - gap - 1, left - 1);
        }
        Ok(())
    }
}

/// What earlier nodes said of later ones. Links to a node of the same bucket wait in its row; those to a later bucket
/// wait together until its turn comes, so that no write goes far.
struct Claims<'a> {
    out: &'a mut [[u8; 4]],
    words: usize,
    slots: usize,
    base: u32,
    bucket_rows: usize,
    row_bits: u32,
    id_bits: u32,
    /// First row of the bucket at hand, and the links that wait in each of its rows.
    first: usize,
    waiting: Vec<u8>,
    later: Vec<Vec<u32>>,
    overflow: bool,
}

impl<'a> Claims<'a> {
    fn new(rows: Rows, has_nodes: bool, base: u32, out: &'a mut [[u8; 4]]) -> Self {
        let bucket_rows = bucket_rows(&rows);
        let buckets = if has_nodes { rows.count.div_ceil(bucket_rows) } else { 0 };
        Self {
            out,
            words: rows.words,
            slots: rows.slots,
            base,
            bucket_rows,
            row_bits: bucket_rows.ilog2(),
            id_bits: id_bits(&rows),
            first: 0,
            waiting: vec![0; if has_nodes { bucket_rows } else { 0 }],
            later: vec![Vec::new(); buckets],
            overflow: false,
        }
    }

    /// Goes on to the bucket that starts with `row`.
    fn enter(&mut self, row: usize) -> Step<()> {
        self.first = row;
        self.waiting.fill(0);
        let claims = self.later.get_mut(row / self.bucket_rows).map(std::mem::take).unwrap_or_default();
        for claim in claims {
            self.wait((claim >> self.id_bits) as usize, self.base + (claim & !(u32::MAX << self.id_bits)));
        }
        if self.overflow { Err(TOO_MANY) } else { Ok(()) }
    }

    #[inline(always)]
    fn known(&self, row: usize) -> usize {
        usize::from(self.waiting.get(row - self.first).copied().unwrap_or(0))
    }

    /// Node number `place` links to number `other`, a later one, which links back.
    #[inline(always)]
    fn add(&mut self, place: u32, other: u32) {
        let inside = (other as usize).wrapping_sub(self.first);
        if inside < self.bucket_rows {
            self.wait(inside, self.base + place);
        } else if let Some(later) = self.later.get_mut((other >> self.row_bits) as usize) {
            later.push((other & !(u32::MAX << self.row_bits)) << self.id_bits | place);
        }
    }

    #[inline(always)]
    fn wait(&mut self, inside: usize, node: u32) {
        let Some(waiting) = self.waiting.get_mut(inside) else { return };
        let slot = (self.first + inside + 1) * self.words - self.slots + usize::from(*waiting);
        if usize::from(*waiting) < self.slots
            && let Some(slot) = self.out.get_mut(slot)
        {
            *waiting += 1;
            *slot = node.to_le_bytes();
        } else {
            self.overflow = true;
        }
    }
}

/// Into an ascending list that is short.
#[inline(always)]
fn insert(list: &mut Vec<u32>, id: u32) {
    list.push(id);
    let mut place = list.len() - 1;
    while place > 0 && list[place - 1] > id {
        list[place] = list[place - 1];
        place -= 1;
    }
    list[place] = id;
}
