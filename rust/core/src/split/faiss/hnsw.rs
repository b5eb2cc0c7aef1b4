//! HNSW graphs over a storage index: `IHNf` (flat), `IHNp` (product), `IHNs` (scalar), `IH00` (any).
//!
//! Header · assign_probas vec<f64> · cum_nneighbor_per_level vec<i32> · levels vec<i32> (1 = only the base) ·
//! offsets vec<u64> (ntotal + 1, running sums of the table at each level) · neighbors vec<i32> (for each node
//! 2M slots of level 0, then M of each upper level; −1 fills a list) · entry_point, max_level, efConstruction,
//! efSearch, upper_beam i32 · storage index, or `null`.

use super::{Index, Kind, Reader, header, read_index};
use crate::error::Result;
use crate::limits;
use crate::plan::FieldRows;
use crate::split::walk::{GraphExtent, Walk};
use crate::split::{CountsSpec, FieldSpec};
use crate::stream::{ElementType, StreamRole};

/// A search allocates this many candidates; beyond any use, and one flipped bit is enough to hang a search.
const EF_MAX: i32 = 1 << 20;

pub(super) fn read(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let header = header::read(reader)?;
    let graph = read_graph(reader, header.row_count)?;
    reader.walks.push(Walk::Graph(graph));
    // A storage answers with distances only: its labels are never used.
    let label_bound = reader.label_bound.take();
    let storage = read_index(reader)?;
    reader.label_bound = label_bound;
    let expected = match fourcc {
        "IHNf" => Some(Kind::Flat),
        "IHNp" => Some(Kind::ProductQuantizer),
        "IHNs" => Some(Kind::ScalarQuantizer),
        _ => None,
    };
    let holds_codes = matches!(storage.kind, Kind::Flat | Kind::ProductQuantizer | Kind::ScalarQuantizer);
    reader.require(holds_codes && expected.is_none_or(|kind| kind == storage.kind), "storage", || {
        format!("expected the storage of {fourcc}, found {}; such an index cannot be searched", storage.fourcc)
    });
    if storage.kind != Kind::Absent {
        reader.require_equal("vectors in the storage", header.row_count, storage.row_count);
        reader.require_equal("d of the storage", header.dimension, storage.dimension);
    }
    Ok(Index::new(fourcc, Kind::Graph, &header).around(&[&storage.tree]))
}

/// Slots of a node on level 0 and on each level above.
struct Slots {
    base: u64,
    upper: u64,
    table: Vec<u64>,
}

/// The table must be 0, b, b + u, b + 2u, …: anything else is no graph that this parser knows.
fn read_slots(reader: &mut Reader<'_>) -> Result<Slots> {
    let entries_max = limits::DERIVED_TABLE_MAX as u64;
    let probabilities = reader.short_vector::<8>("assign_probas", entries_max)?.len();
    let raw = reader.short_vector::<4>("cum_nneighbor_per_level", entries_max)?;
    let table: Vec<u64> = raw.iter().filter_map(|bytes| u64::try_from(i32::from_le_bytes(*bytes)).ok()).collect();
    let (base, upper) = match table.as_slice() {
        [0, base, second, ..] if *base >= 1 && second > base => (*base, second - base),
        _ => (0, 0),
    };
    let even =
        table.get(1..).is_some_and(|steps| steps.windows(2).all(|pair| pair[0].checked_add(upper) == Some(pair[1])));
    if base == 0 || !even || table.len() != raw.len() {
        return Err(reader.malformed("cum_nneighbor_per_level", format!("expected 0, 2M, 3M, 4M, …; found {table:?}")));
    }
    // faiss draws a level for each vector added from the first list and looks it up in the second.
    reader.require(probabilities < table.len(), "assign_probas", || {
        format!("expected fewer than {} levels, found {probabilities}", table.len())
    });
    Ok(Slots { base, upper, table })
}

pub(super) fn read_graph(reader: &mut Reader<'_>, row_count: u64) -> Result<GraphExtent> {
    let slots = read_slots(reader)?;
    let levels = reader.vector("levels", StreamRole::LEVELS, ElementType::I32, 1)?;
    let node_count = levels.row_count;
    reader.require_equal("levels", row_count, node_count);
    read_offsets(reader, &levels.stream, node_count, &slots.table)?;
    let base_links = read_links(reader, &levels.stream, node_count, &slots)?;
    let entry_point = reader.i32("entry_point")?;
    let max_level = reader.i32("max_level")?;
    let ef_construction = reader.i32("efConstruction")?;
    let ef_search = reader.i32("efSearch")?;
    reader.i32("upper_beam")?;
    for (name, ef) in [("efConstruction", ef_construction), ("efSearch", ef_search)] {
        reader.require((0..=EF_MAX).contains(&ef), name, || format!("expected 0 to {EF_MAX}, found {ef}"));
    }
    reader.fact("M", slots.upper);
    reader.fact("M0", slots.base);
    reader.fact("ef_construction", ef_construction);
    reader.fact("ef_search", ef_search);
    reader.fact("entry_point", entry_point);
    reader.fact("max_level", max_level);
    Ok(GraphExtent {
        levels: levels.stream,
        links: base_links,
        base: slots.base,
        upper: slots.upper,
        level_limit: slots.table.len() as u64,
        entry_point: i64::from(entry_point),
        max_level: i64::from(max_level),
    })
}

fn read_offsets(reader: &mut Reader<'_>, levels: &str, node_count: u64, table: &[u64]) -> Result<()> {
    let count = reader.count("offsets", 8)?;
    let counts = CountsSpec { stream: levels.to_owned(), offset: 0, bytes: 4, subtract: 0, divide: 1 };
    // Compared before the addition: a count of 2^64 - 1 nodes has no successor.
    if count.checked_sub(1) == Some(node_count) && reader.tape.derived_offsets(node_count, counts, table)? {
        return Ok(());
    }
    reader.rows("offsets", StreamRole::PARAMETERS, ElementType::U64, 1, count)?;
    reader.require(false, "offsets", || "expected the running sums that levels give; found others".to_owned());
    Ok(())
}

fn read_links(reader: &mut Reader<'_>, levels: &str, node_count: u64, slots: &Slots) -> Result<String> {
    let slot_count = reader.count("neighbors", 4)?;
    let start = reader.tape.position();
    let base = reader.stream("links.level0", StreamRole::LINKS, ElementType::I32, slots.base)?;
    let upper = reader.stream("links.upper", StreamRole::LINKS, ElementType::I32, slots.upper)?;
    let name = base.name.clone();
    let upper_slots = slot_count.saturating_sub(node_count.saturating_mul(slots.base));
    let fields = vec![
        FieldSpec { stream: base, rows: FieldRows::Fixed(1), row_count_hint: node_count },
        FieldSpec { stream: upper, rows: FieldRows::COUNTED, row_count_hint: upper_slots / slots.upper },
    ];
    let counts = CountsSpec { stream: levels.to_owned(), offset: 0, bytes: 4, subtract: 1, divide: 1 };
    reader.tape.groups(node_count, fields, Some(counts)).map_err(|error| error.within("neighbors"))?;
    let walked = reader.tape.position().saturating_sub(start) / 4;
    if walked != slot_count {
        return Err(reader.malformed("neighbors", format!("expected {slot_count} slots; the levels give {walked}")));
    }
    Ok(name)
}
