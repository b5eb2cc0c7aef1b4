//! Walks over the streams of a parsed index: every number that a library will use as an address is in range.
//!
//! Runs on the file itself, in windows. Only levels (one byte a node) and list sizes are kept.

use std::collections::HashMap;

use super::FileTape;
use super::window::{Window, unsigned, visit_rows};
use crate::error::{Error, Result};

/// What a parser asks to be looked at before a library loads the file.
#[derive(Debug)]
pub(super) enum Walk {
    Graph(GraphExtent),
    Lists {
        extent: ListExtent,
        list_count: u64,
        row_count: u64,
        /// The owner uses the ids as numbers below this.
        label_bound: Option<u64>,
        /// Streams and columns of places: list number × 2^32 + position, or −1.
        places: Vec<(String, usize)>,
    },
    /// i64 labels that an owner uses as numbers below `bound`; negative ones mean "none".
    Ids {
        stream: String,
        bound: u64,
    },
    /// i32 input columns of a remapping; negative ones mean "zero".
    Columns {
        stream: String,
        bound: u64,
    },
    Layered(LayeredExtent),
}

/// The HNSW block of faiss.
#[derive(Debug)]
pub(super) struct GraphExtent {
    pub(super) levels: String,
    pub(super) links: String,
    pub(super) base: u64,
    pub(super) upper: u64,
    /// Entries of the table of slots: every level is below.
    pub(super) level_limit: u64,
    pub(super) entry_point: i64,
    pub(super) max_level: i64,
}

/// The lists of an inverted file.
#[derive(Debug)]
pub(super) struct ListExtent {
    pub(super) sizes: String,
    pub(super) sparse: bool,
    pub(super) codes: String,
    pub(super) code_bytes: u64,
}

/// The graph of hnswlib.
#[derive(Debug)]
pub(super) struct LayeredExtent {
    pub(super) base: String,
    pub(super) lengths: String,
    pub(super) node_count: u64,
    pub(super) element_bytes: u64,
    /// Links that fit a list of level 0 and of the levels above.
    pub(super) base_degree: u64,
    pub(super) upper_degree: u64,
    pub(super) entry_point: u64,
    pub(super) max_level: u64,
}

pub(super) fn run(tape: &FileTape<'_>, window: &mut Window<'_>, walk: &Walk) -> Result<()> {
    match walk {
        Walk::Graph(graph) => walk_graph(tape, window, graph),
        Walk::Lists { extent, list_count, row_count, label_bound, places } => {
            let sizes = read_sizes(tape, window, extent, *list_count, *row_count)?;
            if let Some(bound) = label_bound {
                walk_list_ids(tape, window, extent, *bound)?;
            }
            places.iter().try_for_each(|(stream, column)| walk_places(tape, window, stream, *column, &sizes))
        }
        Walk::Ids { stream, bound } => walk_labels(tape, window, stream, 8, *bound),
        Walk::Columns { stream, bound } => walk_labels(tape, window, stream, 4, *bound),
        Walk::Layered(graph) => walk_layered(tape, window, graph),
    }
}

fn unfit(place: String, detail: String) -> Error {
    Error::malformed(place, detail)
}

/// Offset and rows of a stream that the parser declared.
fn placed(tape: &FileTape<'_>, stream: &str) -> Result<(u64, u64)> {
    let found = tape.stream(stream).map(|stream| (stream.offset, stream.row_count));
    found.ok_or_else(|| unfit(format!("stream \"{stream}\""), "expected it in the file; found none".to_owned()))
}

fn to_usize(number: u64) -> Result<usize> {
    usize::try_from(number)
        .map_err(|_| unfit("index".to_owned(), format!("{number} is more than this machine can address")))
}

#[inline]
fn signed(bytes: &[u8], width: usize) -> i64 {
    let raw = unsigned(bytes, 0, width);
    if width == 4 { i64::from(u32::try_from(raw).unwrap_or(0).cast_signed()) } else { raw.cast_signed() }
}

fn walk_labels(tape: &FileTape<'_>, window: &mut Window<'_>, stream: &str, width: usize, bound: u64) -> Result<()> {
    let (offset, row_count) = placed(tape, stream)?;
    let mut row = 0u64;
    visit_rows(window, offset, width, row_count, |slab| {
        for label in slab.chunks_exact(width).map(|bytes| signed(bytes, width)) {
            if label >= 0 && label.unsigned_abs() >= bound {
                return Err(unfit(
                    format!("row {row} of \"{stream}\""),
                    format!("expected a number below {bound}, found {label}"),
                ));
            }
            row += 1;
        }
        Ok(())
    })
}

/// Levels of all nodes, one byte each: the file holds four bytes for each of them.
fn read_levels(tape: &FileTape<'_>, window: &mut Window<'_>, graph: &GraphExtent) -> Result<Vec<u8>> {
    let (offset, row_count) = placed(tape, &graph.levels)?;
    let mut levels = Vec::with_capacity(to_usize(row_count)?);
    visit_rows(window, offset, 4, row_count, |slab| {
        for level in slab.chunks_exact(4).map(|bytes| unsigned(bytes, 0, 4)) {
            match u8::try_from(level) {
                Ok(small) if small >= 1 && level < graph.level_limit => levels.push(small),
                _ => {
                    let place = format!("row {} of \"{}\"", levels.len(), graph.levels);
                    return Err(unfit(
                        place,
                        format!("expected a level of 1 to {}, found {level}", graph.level_limit - 1),
                    ));
                }
            }
        }
        Ok(())
    })?;
    Ok(levels)
}

/// faiss reads the slots of a neighbour on the level where it met it, without asking whether it has them; and
/// it takes all slots of a full list for links, so nothing may follow the first −1.
fn walk_graph(tape: &FileTape<'_>, window: &mut Window<'_>, graph: &GraphExtent) -> Result<()> {
    let levels = read_levels(tape, window, graph)?;
    check_entry(graph, &levels)?;
    let (mut offset, _) = placed(tape, &graph.links)?;
    for (node, &level) in levels.iter().enumerate() {
        for layer in 0..level {
            let slots = if layer == 0 { graph.base } else { graph.upper };
            walk_list(window, offset, slots, &levels, layer)
                .map_err(|error| error.within(&format!("node {node}, level {layer}")))?;
            offset += slots * 4;
        }
    }
    Ok(())
}

fn check_entry(graph: &GraphExtent, levels: &[u8]) -> Result<()> {
    let reached = usize::try_from(graph.entry_point).ok().and_then(|entry| levels.get(entry));
    let empty = levels.is_empty() && graph.entry_point == -1 && graph.max_level == -1;
    if empty || reached.is_some_and(|&level| i64::from(level) == graph.max_level.saturating_add(1)) {
        return Ok(());
    }
    Err(unfit(
        "entry_point".to_owned(),
        format!("expected a node of level {}, found node {}", graph.max_level, graph.entry_point),
    ))
}

fn walk_list(window: &mut Window<'_>, offset: u64, slots: u64, levels: &[u8], layer: u8) -> Result<()> {
    let mut ended = false;
    visit_rows(window, offset, 4, slots, |slab| {
        // Level 0 has every node, so that a bound is all there is to compare: nearly all of the links, many at once.
        if layer == 0 && !ended && is_plain_list(slab, levels.len()) {
            ended = slab.last_chunk::<4>() == Some(&[0xFF; 4]);
            return Ok(());
        }
        for link in slab.chunks_exact(4).map(|bytes| signed(bytes, 4)) {
            if link == -1 {
                ended = true;
                continue;
            }
            let reached = usize::try_from(link).ok().and_then(|link| levels.get(link));
            if ended || reached.is_none_or(|&level| level <= layer) {
                return Err(unfit(
                    String::new(),
                    format!("expected links to nodes of that level, then only -1; found {link}"),
                ));
            }
        }
        Ok(())
    })
}

/// Numbers below `node_count`, then only −1.
fn is_plain_list(slab: &[u8], node_count: usize) -> bool {
    let node_count = u32::try_from(node_count).unwrap_or(u32::MAX).min(i32::MAX.cast_unsigned());
    let slots = slab.as_chunks::<4>().0;
    let is_link = |slot: &[u8; 4]| *slot != [0xFF; 4];
    let beyond =
        slots.iter().fold(false, |any, slot| any | (is_link(slot) & (u32::from_le_bytes(*slot) >= node_count)));
    let pairs = slots.iter().zip(slots.get(1..).unwrap_or_default());
    !beyond && !pairs.fold(false, |any, (slot, next)| any | (!is_link(slot) & is_link(next)))
}

/// Sizes by list number. A full array is nlist entries of the file; a sparse one becomes a map of its pairs.
enum Sizes {
    Full(Vec<u64>),
    Sparse(HashMap<u64, u64>),
}

impl Sizes {
    fn get(&self, list: u64) -> u64 {
        match self {
            Self::Full(sizes) => usize::try_from(list).ok().and_then(|list| sizes.get(list)).copied().unwrap_or(0),
            Self::Sparse(sizes) => sizes.get(&list).copied().unwrap_or(0),
        }
    }
}

fn read_sizes(
    tape: &FileTape<'_>,
    window: &mut Window<'_>,
    extent: &ListExtent,
    list_count: u64,
    row_count: u64,
) -> Result<Sizes> {
    let (offset, size_rows) = placed(tape, &extent.sizes)?;
    let mut sum = 0u64;
    let mut sizes = if extent.sparse { Sizes::Sparse(HashMap::new()) } else { Sizes::Full(Vec::new()) };
    let mut next_list = 0u64;
    visit_rows(window, offset, if extent.sparse { 16 } else { 8 }, size_rows, |slab| {
        for row in slab.chunks_exact(if extent.sparse { 16 } else { 8 }) {
            let (list, size) = match &mut sizes {
                Sizes::Full(all) => {
                    all.push(unsigned(row, 0, 8));
                    (next_list, unsigned(row, 0, 8))
                }
                Sizes::Sparse(some) => {
                    some.insert(unsigned(row, 0, 8), unsigned(row, 8, 8));
                    (unsigned(row, 0, 8), unsigned(row, 8, 8))
                }
            };
            // faiss stores lists by number; pairs in another order would put codes into the wrong lists.
            if list < next_list || list >= list_count {
                return Err(unfit(
                    format!("\"{}\"", extent.sizes),
                    format!("expected rising lists below {list_count}, found {list}"),
                ));
            }
            next_list = list + 1;
            sum = sum.saturating_add(size);
        }
        Ok(())
    })?;
    if sum != row_count {
        return Err(unfit(
            format!("\"{}\"", extent.sizes),
            format!("expected {row_count} rows in all lists, found {sum}"),
        ));
    }
    Ok(sizes)
}

fn walk_list_ids(tape: &FileTape<'_>, window: &mut Window<'_>, extent: &ListExtent, bound: u64) -> Result<()> {
    let (size_offset, size_rows) = placed(tape, &extent.sizes)?;
    let (mut offset, _) = placed(tape, &extent.codes)?;
    let (row_bytes, at) = if extent.sparse { (16, 8) } else { (8, 0) };
    // A window of its own for the ids, which lie elsewhere.
    let mut ids = Window::new(window.source());
    visit_rows(window, size_offset, row_bytes, size_rows, |slab| {
        for size in slab.chunks_exact(row_bytes).map(|row| unsigned(row, at, 8)) {
            offset += size * extent.code_bytes;
            visit_rows(&mut ids, offset, 8, size, |rows| {
                match rows.chunks_exact(8).map(|row| signed(row, 8)).find(|id| *id >= 0 && id.unsigned_abs() >= bound) {
                    Some(id) => {
                        Err(unfit("ids of the lists".to_owned(), format!("expected numbers below {bound}, found {id}")))
                    }
                    None => Ok(()),
                }
            })?;
            offset += size * 8;
        }
        Ok(())
    })
}

fn walk_places(tape: &FileTape<'_>, window: &mut Window<'_>, stream: &str, column: usize, sizes: &Sizes) -> Result<()> {
    let (offset, row_count) = placed(tape, stream)?;
    let row_bytes = 8 * (column + 1);
    visit_rows(window, offset, row_bytes, row_count, |slab| {
        for row in slab.chunks_exact(row_bytes) {
            let place = unsigned(row, 8 * column, 8);
            if place != u64::MAX && place & 0xFFFF_FFFF >= sizes.get(place >> 32) {
                return Err(unfit(
                    format!("\"{stream}\""),
                    format!("expected places inside the lists, found {place:#x}"),
                ));
            }
        }
        Ok(())
    })
}

/// A list of hnswlib: u32 head whose low 16 bits are the degree, then links. Slots past the degree are stale.
fn walk_links(list: &[u8], degree_max: u64, mut accepts: impl FnMut(u64) -> bool) -> Result<()> {
    let degree = unsigned(list, 0, 2);
    if degree > degree_max {
        return Err(unfit(String::new(), format!("expected at most {degree_max} links, found {degree}")));
    }
    let degree = usize::try_from(degree).unwrap_or(0);
    let links = list.get(4..4 + 4 * degree).unwrap_or_default();
    match links.chunks_exact(4).map(|link| unsigned(link, 0, 4)).find(|link| !accepts(*link)) {
        Some(link) => Err(unfit(String::new(), format!("expected links to nodes of that level, found {link}"))),
        None => Ok(()),
    }
}

/// A list has at most 65,534 links, so it always fits the window.
fn walk_layered(tape: &FileTape<'_>, window: &mut Window<'_>, graph: &LayeredExtent) -> Result<()> {
    let (offset, _) = placed(tape, &graph.base)?;
    let base_list = to_usize(4 + 4 * graph.base_degree)?;
    for node in 0..graph.node_count {
        let list = window.get(offset + node * graph.element_bytes, base_list)?;
        walk_links(list, graph.base_degree, |link| link < graph.node_count)
            .map_err(|error| error.within(&format!("node {node}, level 0")))?;
    }
    let levels = read_layers(tape, window, graph)?;
    let reached = usize::try_from(graph.entry_point).ok().and_then(|entry| levels.get(entry));
    if !levels.is_empty() && reached.is_none_or(|&level| u64::from(level) != graph.max_level) {
        return Err(unfit(
            "enterpoint".to_owned(),
            format!("expected a node of level {}, found node {}", graph.max_level, graph.entry_point),
        ));
    }
    let (mut offset, _) = placed(tape, &graph.lengths)?;
    let list_bytes = 4 + 4 * graph.upper_degree;
    let upper_list = to_usize(list_bytes)?;
    for (node, &level) in levels.iter().enumerate() {
        offset += 4;
        for layer in 1..=level {
            let reaches = |link: u64| {
                usize::try_from(link).ok().and_then(|link| levels.get(link)).is_some_and(|&top| top >= layer)
            };
            walk_links(window.get(offset, upper_list)?, graph.upper_degree, reaches)
                .map_err(|error| error.within(&format!("node {node}, level {layer}")))?;
            offset += list_bytes;
        }
    }
    Ok(())
}

/// Upper levels of each node, from the lengths that stand before its lists.
fn read_layers(tape: &FileTape<'_>, window: &mut Window<'_>, graph: &LayeredExtent) -> Result<Vec<u8>> {
    let (mut offset, _) = placed(tape, &graph.lengths)?;
    let list_bytes = 4 + 4 * graph.upper_degree;
    let mut levels = Vec::with_capacity(to_usize(graph.node_count)?);
    for node in 0..graph.node_count {
        let length = unsigned(window.get(offset, 4)?, 0, 4);
        let level = length / list_bytes;
        match u8::try_from(level) {
            Ok(small) if level <= graph.max_level => levels.push(small),
            _ => {
                return Err(unfit(
                    format!("node {node}"),
                    format!("expected a level of at most {}, found {level}", graph.max_level),
                ));
            }
        }
        offset += 4 + length;
    }
    Ok(levels)
}
