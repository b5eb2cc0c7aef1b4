//! Blocks of codec 35 → changed lists. Lists of hubs come last, when all others have told what links they have to hubs.

use super::super::links::bits::{BitReader, GAP_CODES, GUARD_BYTES};
use super::super::zstd::{self, Fault};
use super::super::{Codec, Scratch};
use super::*;
use crate::error::Result;
use crate::stream::ChunkShape;

type Step<T> = std::result::Result<T, &'static str>;

const TOO_MANY: &str = "names more links than a row has slots";
const ENDS: &str = "has a plane or bits that end early";
const LEFT_OVER: &str = "has symbols, bits or exceptions left over";
/// A list may get a slot too many before that is seen.
const LIST_LENGTH: usize = 256;

/// Fills `raw` with the rows of `nodes`, which were `base`, as long; see `encode`. `block` is hostile.
///
/// # Errors
/// `Damaged` at layer `Codec`; `Io` when zstd finds no memory.
pub fn decode(
    shape: &ChunkShape,
    nodes: &[u64],
    base: &[u8],
    block: &[u8],
    raw: &mut [u8],
    scratch: &mut Scratch,
) -> Result<()> {
    let Some(base) = Base::of(shape, nodes, base, raw.len()) else {
        let found = format!("{} bytes of {} × {}", raw.len(), shape.row_elements, shape.element_type.name());
        return Err(Codec::Edits.refuses(format_args!(
            "stands in a chunk of {found} for {} nodes; expected rows of u32 or i32 of nodes that ascend",
            nodes.len()
        )));
    };
    let planes = Planes::read(&base, block, scratch)?;
    let outcome = Lists::new(&base, &planes, raw.as_chunks_mut().0).run();
    outcome.map_err(|detail| Codec::Edits.refuses(detail))
}

/// A block cut into its parts, its planes decoded one after another.
struct Planes<'a> {
    symbols: Vec<u8>,
    ranges: [(usize, usize); PLANES],
    exceptions: &'a [[u8; 4]],
    bits: &'a [u8],
}

impl<'a> Planes<'a> {
    fn plane(&self, kind: usize) -> &[u8] {
        let (start, end) = self.ranges[kind];
        &self.symbols[start..end]
    }

    fn read(base: &Base, block: &'a [u8], scratch: &mut Scratch) -> Result<Self> {
        let refuse = |detail: String| Codec::Edits.refuses(detail);
        let Some((header, mut rest)) = block.split_first_chunk::<HEADER_BYTES>() else {
            return Err(refuse(format!("has {} bytes, expected at least {HEADER_BYTES}", block.len())));
        };
        let [[exceptions, reserved], records @ ..] = header.as_chunks::<4>().0.as_chunks::<2>().0 else {
            return Err(refuse("has no header".to_owned()));
        };
        let exceptions = u32::from_le_bytes(*exceptions) as usize;
        if *reserved != [0; 4] || exceptions > base.rows.count {
            let found =
                format!("{exceptions} exceptions in {} rows, {reserved:?} in the reserved field", base.rows.count);
            return Err(refuse(format!("has {found}; expected at most one a row, and zeros")));
        }
        let (mut ranges, mut total, mut frames) = ([(0, 0); PLANES], 0, [(&[][..], 0, 0); PLANES]);
        for (kind, record) in records.iter().enumerate() {
            let [symbols, bytes] = record.map(|field| u32::from_le_bytes(field) as usize);
            if !is_possible(base, kind, symbols) || bytes > rest.len() || (symbols == 0 && bytes > 0) {
                let found = format!("plane {kind} of {symbols} symbols in {bytes} bytes");
                return Err(refuse(format!("has {found}; expected no more than the rows and the block allow")));
            }
            let frame;
            (frame, rest) = rest.split_at(bytes);
            ranges[kind] = (total, total + symbols);
            frames[kind] = (frame, total, total + symbols);
            // Bits are read in words.
            total += symbols + if kind == KEPT { GUARD_BYTES } else { 0 };
        }
        let Some((exceptions, bits)) =
            rest.split_at_checked(exceptions * 4 * base.rows.words).filter(|(_, bits)| bits.len() >= GUARD_BYTES)
        else {
            return Err(refuse("ends before its exceptions and bits do".to_owned()));
        };
        let mut symbols = vec![0; total];
        for (frame, start, end) in frames.into_iter().filter(|(_, start, end)| start < end) {
            zstd::decode_frame(frame, &mut symbols[start..end], scratch).map_err(|fault| match fault {
                Fault::Frame(detail) => refuse(format!("plane frame {detail}")),
                Fault::Other(error) => error,
            })?;
        }
        ranges[KEPT].1 += GUARD_BYTES;
        Ok(Self { symbols, ranges, exceptions: exceptions.as_chunks().0, bits })
    }
}

/// Whether a plane of so many symbols can be in a block for these rows.
fn is_possible(base: &Base, kind: usize, symbols: usize) -> bool {
    let rows = &base.rows;
    match kind {
        SHAPES => symbols == rows.count,
        COUNTS | LEADS => symbols <= rows.count,
        ADDED => symbols <= rows.count * rows.slots,
        KEPT => symbols <= (rows.count * rows.slots).div_ceil(8),
        STALE_COUNTS => symbols <= if rows.has_head { rows.count } else { 0 },
        STALE_SOURCES => symbols <= if rows.has_head { rows.count * rows.slots } else { 0 },
        _ => symbols == 0 || (rows.has_head && symbols == 2 * rows.count),
    }
}

/// Symbols that are taken one by one.
struct Symbols<'a>(&'a [u8]);

impl Symbols<'_> {
    #[inline(always)]
    fn take(&mut self) -> Step<u8> {
        let (symbol, rest) = self.0.split_first().ok_or(ENDS)?;
        self.0 = rest;
        Ok(*symbol)
    }
}

struct Lists<'a> {
    base: &'a Base<'a>,
    out: &'a mut [[u8; 4]],
    shapes: &'a [u8],
    marks: &'a [u8],
    counts: Symbols<'a>,
    added: Symbols<'a>,
    leads: Symbols<'a>,
    stale_counts: Symbols<'a>,
    stale_sources: Symbols<'a>,
    exceptions: &'a [[u8; 4]],
    kept: BitReader<'a>,
    bits: BitReader<'a>,
    /// Rows of hubs, ascending.
    hubs: Vec<u32>,
    /// Of each row the hub whose old list had it; empty when nobody asks.
    hosts: Vec<u32>,
    /// Hub and row of each link that was told.
    told: Vec<(u32, u32)>,
    list: [u32; LIST_LENGTH],
}

impl<'a> Lists<'a> {
    fn new(base: &'a Base<'a>, planes: &'a Planes<'a>, out: &'a mut [[u8; 4]]) -> Self {
        let symbols = |kind| Symbols(planes.plane(kind));
        let shapes = planes.plane(SHAPES);
        let is_hub = |shape: u8| shape < EXCEPTION && shape & SHAPE_HUB != 0;
        let hubs: Vec<u32> = (0u32..).zip(shapes).filter(|(_, shape)| is_hub(**shape)).map(|(row, _)| row).collect();
        let has_near = planes.plane(ADDED).contains(&NEAR);
        let hosts = if has_near { base.hosts(&hubs, |row| is_hub(shapes[row])) } else { Vec::new() };
        Self {
            base,
            out,
            shapes,
            marks: planes.plane(MARKS),
            counts: symbols(COUNTS),
            added: symbols(ADDED),
            leads: symbols(LEADS),
            stale_counts: symbols(STALE_COUNTS),
            stale_sources: symbols(STALE_SOURCES),
            exceptions: planes.exceptions,
            kept: BitReader::new(planes.plane(KEPT)),
            bits: BitReader::new(planes.bits),
            hubs,
            hosts,
            told: Vec::new(),
            list: [0; LIST_LENGTH],
        }
    }

    fn run(mut self) -> Step<()> {
        let shapes = self.shapes;
        for (row, shape) in shapes.iter().enumerate() {
            if *shape >= EXCEPTION {
                self.exception(row, *shape)?;
            } else if *shape & SHAPE_HUB == 0 {
                self.row(row, *shape, &[])?;
            }
        }
        let hubs = self.hubs.clone();
        let (starts, callers) = self.callers();
        for (place, row) in hubs.iter().map(|row| *row as usize).enumerate() {
            self.row(row, shapes[row], callers.get(starts[place]..starts[place + 1]).unwrap_or_default())?;
        }
        let planes = [&self.counts, &self.added, &self.leads, &self.stale_counts, &self.stale_sources];
        let is_empty = planes.iter().all(|plane| plane.0.is_empty()) && self.exceptions.is_empty();
        if is_empty && self.kept.is_at_end() && self.bits.is_at_end() { Ok(()) } else { Err(LEFT_OVER) }
    }

    fn exception(&mut self, row: usize, shape: u8) -> Step<()> {
        if shape != EXCEPTION {
            return Err("has an exception with more to say");
        }
        let words = self.base.rows.words;
        let (exception, rest) = self.exceptions.split_at_checked(words).ok_or("has too few exceptions")?;
        self.exceptions = rest;
        self.out[row * words..(row + 1) * words].copy_from_slice(exception);
        Ok(())
    }

    /// Nodes that told of a link to each hub, ascending, and where each hub's start.
    fn callers(&mut self) -> (Vec<usize>, Vec<u32>) {
        let mut starts = vec![0; self.hubs.len() + 1];
        self.told.iter().for_each(|(hub, _)| starts[*hub as usize + 1] += 1);
        for place in 0..self.hubs.len() {
            starts[place + 1] += starts[place];
        }
        let (mut ends, mut callers) = (starts.clone(), vec![0; self.told.len()]);
        for (hub, row) in &self.told {
            let end = &mut ends[*hub as usize];
            callers[*end] = self.base.node(*row as usize);
            *end += 1;
        }
        (starts, callers)
    }

    #[inline(always)]
    fn row(&mut self, row: usize, shape: u8, callers: &[u32]) -> Step<()> {
        let own = match shape >> COUNT_SHIFT {
            COUNT_FOLLOWS => self.counts.take()?,
            count => count,
        };
        let kept = self.keep(self.base.list(row), shape & SHAPE_REMOVED != 0)?;
        let known = kept + callers.len();
        let length = known + usize::from(own);
        if length > self.base.rows.slots {
            return Err(TOO_MANY);
        }
        self.list[kept..known].copy_from_slice(callers);
        for place in known..length {
            self.list[place] = self.id(row, shape & SHAPE_HUB != 0)?;
        }
        if shape & SHAPE_ORDER != 0 {
            self.reorder(known, length)?;
        }
        self.write(row, length);
        if shape & SHAPE_STALE != 0 { self.stale(row, length) } else { Ok(()) }
    }

    /// The entries of the old list that stay; how many.
    #[inline(always)]
    fn keep(&mut self, old: &[[u8; 4]], some: bool) -> Step<usize> {
        if !some {
            self.list.iter_mut().zip(old).for_each(|(entry, id)| *entry = u32::from_le_bytes(*id));
            return Ok(old.len());
        }
        let mut kept = 0;
        for old in old.chunks(32) {
            let mut bits = self.kept.take(u32::try_from(old.len()).unwrap_or(0)).ok_or(ENDS)?;
            for id in old {
                // At most as many as slots.
                self.list[kept] = u32::from_le_bytes(*id);
                kept += (bits & 1) as usize;
                bits >>= 1;
            }
        }
        Ok(kept)
    }

    #[inline(always)]
    fn id(&mut self, row: usize, is_hub: bool) -> Step<u32> {
        match self.added.take()? {
            symbol @ (HUB | HUB_BOTH) => {
                let hub = self.choice(self.hubs.len())?;
                let node = self.hubs.get(hub as usize).map(|row| self.base.node(*row as usize));
                if symbol == HUB_BOTH && node.is_some() {
                    if is_hub {
                        return Err("has a hub that tells another of a link");
                    }
                    self.told.push((hub, u32::try_from(row).map_err(|_| TOO_MANY)?));
                }
                node.ok_or("names a hub, but has none")
            }
            NEAR => {
                let host = self.hosts.get(row).copied().filter(|host| *host != NONE).ok_or("has an id near no hub")?;
                let (neighbours, _) = near_list(self.base, host, 0);
                let place = self.choice(neighbours + 1)?;
                let (_, list) = near_list(self.base, host, place as usize);
                let place = self.choice(list.len())?;
                list.get(place as usize).map(|id| u32::from_le_bytes(*id)).ok_or("has an id near no node of the block")
            }
            code => {
                let (smallest, extra) = GAP_CODES.get(usize::from(code)).copied().unwrap_or((0, 0));
                if code >= HUB_BOTH {
                    return Err("has an added id of unknown kind");
                }
                let folded = smallest + self.bits.take(extra).ok_or(ENDS)?;
                Ok(unfold(folded, self.base.node(row)))
            }
        }
    }

    /// A value below `choices`; 0 when there are none.
    #[inline(always)]
    fn choice(&mut self, choices: usize) -> Step<u32> {
        let (width, short) = choice(u32::try_from(choices).map_err(|_| TOO_MANY)?);
        let value = u64::from(self.bits.take(width).ok_or(ENDS)?);
        if value < short {
            return u32::try_from(value).map_err(|_| TOO_MANY);
        }
        let more = u64::from(self.bits.take(1).ok_or(ENDS)?);
        u32::try_from(2 * value + more - short).map_err(|_| TOO_MANY)
    }

    /// Puts each entry from the first that is out of order before as many as its rank says.
    #[inline(always)]
    fn reorder(&mut self, known: usize, length: usize) -> Step<()> {
        let lead = length.checked_sub(usize::from(self.leads.take()?)).filter(|lead| (1..length).contains(lead));
        let lead = lead.ok_or("has a list whose order starts outside it")?;
        let mut last = 0;
        for place in lead..length {
            let (least, choices) = ranks(place, lead, known, last);
            last = least + self.choice(choices as usize)?;
            let start = place - last as usize;
            let id = self.list[place];
            self.list.copy_within(start..place, start + 1);
            self.list[start] = id;
        }
        Ok(())
    }

    #[inline(always)]
    fn write(&mut self, row: usize, length: usize) {
        let rows = &self.base.rows;
        let out = &mut self.out[row * rows.words..(row + 1) * rows.words];
        match self.base.rest(row) {
            Some(rest) => out.copy_from_slice(rest),
            None => out.fill(rows.filler().to_le_bytes()),
        }
        let (head, slots) = out.split_at_mut(rows.words - rows.slots);
        slots.iter_mut().zip(&self.list[..length]).for_each(|(slot, id)| *slot = id.to_le_bytes());
        if let Some(head) = head.first_mut() {
            let [_, _, low, high] = if self.base.rest(row).is_some() { *head } else { [0; 4] };
            let marks = self.marks.get(2 * row..).and_then(|marks| marks.first_chunk()).copied().unwrap_or([0; 2]);
            // A degree is at most 254.
            *head = [length.to_le_bytes()[0], 0, low ^ marks[0], high ^ marks[1]];
        }
    }

    /// Slots past the degree that are not as expected.
    #[inline(never)]
    fn stale(&mut self, row: usize, length: usize) -> Step<()> {
        let (rows, old) = (&self.base.rows, self.base.list(row));
        let count = usize::from(self.stale_counts.take()?);
        let out = &mut self.out[row * rows.words + 1 + length..(row + 1) * rows.words];
        for slot in out.get_mut(..count).ok_or(TOO_MANY)? {
            let source = self.stale_sources.take()?;
            let id = match source {
                SOURCE_BASE => continue,
                SOURCE_ID => self.bits.take(u32::BITS).ok_or(ENDS)?.to_le_bytes(),
                source => match old.get(usize::from(source)) {
                    Some(id) => *id,
                    None => {
                        let place = usize::from(source) - old.len();
                        self.list[..length].get(place).ok_or("repeats a link past the end of its lists")?.to_le_bytes()
                    }
                },
            };
            *slot = id;
        }
        Ok(())
    }
}
