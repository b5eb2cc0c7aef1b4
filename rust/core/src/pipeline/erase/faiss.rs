//! Erased rows of faiss files. Inverted lists lose them, as `remove_ids` would have it. Under an id map the id is −1, which faiss
//! returns for "none"; a graph loses all links to the node, and a flat vector is no number, so that no search returns it.

use super::graph::{Form, Lists, Nodes, Places};
use super::rewrite::Row;
use super::survey::{Changes, Ids, Rows, little_endian, move_entry, size, unsupported};
use super::tower::{Tower, new_entry};
use crate::error::Result;
use crate::plan::{FieldRows, Member, Run};
use crate::stream::{ElementType, StreamRole};
use std::sync::Arc;

const FOURCC_BYTES: u64 = 4;
/// `d` i32 · `ntotal` i64 · two unused i64 · `is_trained` u8 · `metric_type` i32.
const HEADER_BYTES: u64 = 33;
const NTOTAL: u64 = 8;
const METRIC: u64 = 33;

pub enum Way {
    Lists { sizes: (usize, u64, u64), size_offset: u64, codes: (usize, u64), ids: (usize, u64), ntotal: (usize, u64) },
    Mapped { ids: (usize, u64), rows: u64, codes: (usize, u64), graph: Option<Graph> },
}

pub struct Graph {
    levels: (usize, u64),
    base: (usize, u64),
    upper: (usize, u64),
    /// In the literal bytes: the number of slots, and entry point and highest level.
    slots: (usize, u64),
    entry: (usize, u64),
}

impl Way {
    pub fn removes(&self) -> bool {
        matches!(self, Self::Lists { .. })
    }

    /// The ids of a member and how its rows are erased; `None` for another kind, or a plan of another shape.
    pub fn of(rows: &mut Rows<'_>, member: &Member) -> Result<Option<(Ids, Self)>> {
        let Some(Run::Rows { stream, first, rows: count }) = member.runs.first() else { return Ok(None) };
        let Some(literal) = rows.number(stream).filter(|number| rows.row_bytes(*number) == 1) else { return Ok(None) };
        if *count < 2 * FOURCC_BYTES + HEADER_BYTES + 4 {
            return Ok(None);
        }
        let head = 2 * FOURCC_BYTES + HEADER_BYTES + 4;
        let numbers: Vec<u64> = (*first..first + head).collect();
        let head = rows.gather(literal, &numbers)?;
        let fourcc = &head[..4];
        if [b"IwFl", b"IwPQ", b"IwSq", b"IwSQ"].iter().any(|kind| fourcc == *kind) {
            return Ok(lists_of(rows, member, (literal, first + NTOTAL)));
        }
        if fourcc == b"IxMp" || fourcc == b"IxM2" {
            let metric = little_endian(&head[size(METRIC)?..][..4]);
            let start = size(FOURCC_BYTES + HEADER_BYTES + if metric > 1 { 4 } else { 0 })?;
            return Ok(mapped_of(rows, member, &head[start..start + 4]));
        }
        Ok(None)
    }

    pub fn erase(&self, rows: &mut Rows<'_>, hits: &[u64], member: &mut Member, changes: &mut Changes) -> Result<()> {
        match self {
            Self::Lists { .. } => self.erase_from_lists(rows, hits, member, changes),
            Self::Mapped { ids, rows: count, codes, graph } => {
                let fill = if graph.is_some() { 0 } else { 0xFF };
                for row in hits {
                    changes.of(ids.0).rows.insert(ids.1 + row, Row::Fill(0xFF));
                    changes.of(codes.0).rows.insert(codes.1 + row, Row::Fill(fill));
                }
                graph.as_ref().map_or(Ok(()), |graph| graph.erase(rows, *count, hits, member, changes))
            }
        }
    }

    fn erase_from_lists(
        &self,
        rows: &mut Rows<'_>,
        hits: &[u64],
        member: &mut Member,
        changes: &mut Changes,
    ) -> Result<()> {
        let Self::Lists { sizes, size_offset, codes, ids, ntotal } = self else { return Ok(()) };
        let has_map = member.facts.get("direct_map").and_then(serde_json::Value::as_u64).is_some_and(|kind| kind != 0);
        if has_map {
            let detail = "its direct map names places in the lists; back it up without one (make_direct_map(False))";
            return Err(unsupported(&member.name, detail.to_owned()));
        }
        let (width, offset) = (size(rows.row_bytes(sizes.0))?, size(*size_offset)?);
        let mut next = hits.iter().peekable();
        let (mut start, mut smaller) = (0u64, Vec::new());
        rows.visit(sizes.0, sizes.1, sizes.2, &mut |first, window| {
            for (row, bytes) in (first..).zip(window.chunks_exact(width)) {
                let list_rows = little_endian(&bytes[offset..offset + 8]);
                let end = start.saturating_add(list_rows);
                let mut gone = 0;
                while next.next_if(|hit| **hit < end).is_some() {
                    gone += 1;
                }
                if gone > 0 {
                    let mut bytes = bytes.to_vec();
                    bytes[offset..offset + 8].copy_from_slice(&(list_rows - gone).to_le_bytes());
                    smaller.push((row, bytes));
                }
                start = end;
            }
            Ok(())
        })?;
        let total = rows.gather(ntotal.0, &(ntotal.1..ntotal.1 + 8).collect::<Vec<_>>())?;
        let total = little_endian(&total);
        if total != start {
            let detail = format!("its lists have {start} rows, its header says {total}");
            return Err(unsupported(&member.name, detail));
        }
        let gone = hits.len() as u64;
        changes.of(sizes.0).rows.extend(smaller.into_iter().map(|(row, bytes)| (row, Row::Bytes(bytes))));
        changes.of(ntotal.0).patch(ntotal.1, &(total - gone).to_le_bytes());
        for (stream, first) in [codes, ids] {
            member.bytes = member.bytes.saturating_sub(gone * rows.row_bytes(*stream));
            changes.of(*stream).removed = hits.iter().map(|row| first + row).collect();
        }
        member.facts.entry("ntotal").and_modify(|old| *old = (total - gone).into());
        Ok(())
    }
}

fn lists_of(rows: &Rows<'_>, member: &Member, ntotal: (usize, u64)) -> Option<(Ids, Way)> {
    let Some(Run::Groups { groups, fields, counts: Some(counts) }) = member.runs.last() else { return None };
    let [codes, ids] = fields.as_slice() else { return None };
    let place = |stream: &str, first: u64| Some((rows.number(stream)?, first));
    let sizes = rows.number(&counts.stream)?;
    let (codes, ids_place) = (place(&codes.stream, codes.first)?, place(&ids.stream, ids.first)?);
    let known = rows.role(ids_place.0) == Some(StreamRole::IDS)
        && rows.role(sizes) == Some(StreamRole::LIST_SIZES)
        && fields.iter().all(|field| field.rows == FieldRows::COUNTED)
        && (counts.bytes, counts.subtract, counts.divide) == (8, 0, 1)
        && rows.row_bytes(ids_place.0) == 8
        && u64::from(counts.offset) + 8 <= rows.row_bytes(sizes);
    // The streams are this member's alone.
    let count = rows.row_count(ids_place.0).checked_sub(ids.first)?;
    let ids = Ids { stream: ids_place.0, first: ids.first, rows: count };
    let sizes = (sizes, counts.first, *groups);
    let way = Way::Lists { sizes, size_offset: u64::from(counts.offset), codes, ids: ids_place, ntotal };
    known.then_some((ids, way))
}

fn mapped_of(rows: &Rows<'_>, member: &Member, inside: &[u8]) -> Option<(Ids, Way)> {
    let Some(Run::Rows { stream, first, rows: count }) = member.runs.last() else { return None };
    let ids = Ids { stream: rows.number(stream)?, first: *first, rows: *count };
    let is_graph = [b"IHNf", b"IHNs", b"IHNp", b"IH00"].iter().any(|kind| inside == *kind);
    let is_flat = [b"IxF2", b"IxFI", b"IxFl"].iter().any(|kind| inside == *kind);
    let is_rows = |run: &&Run| {
        let Run::Rows { stream, rows: found, .. } = run else { return false };
        let role = rows.number(stream).and_then(|number| rows.role(number));
        found == count && matches!(role, Some(StreamRole::VECTORS | StreamRole::CODES))
    };
    let codes = member.runs.iter().filter(is_rows).collect::<Vec<_>>();
    let [Run::Rows { stream, first, .. }] = codes.as_slice() else { return None };
    let codes = (rows.number(stream)?, *first);
    let fits = rows.role(ids.stream) == Some(StreamRole::IDS) && rows.row_bytes(ids.stream) == 8;
    let graph = if is_graph { Some(Graph::of(rows, member, *count)?) } else { None };
    let is_float = rows.element_type(codes.0) == Some(ElementType::F32);
    let way = Way::Mapped { ids: (ids.stream, ids.first), rows: *count, codes, graph };
    (fits && (is_graph || (is_flat && is_float))).then_some((ids, way))
}

impl Graph {
    fn of(rows: &Rows<'_>, member: &Member, node_count: u64) -> Option<Self> {
        let at = member.runs.iter().position(|run| matches!(run, Run::Groups { .. }))?;
        let Run::Groups { groups, fields, counts: Some(counts) } = &member.runs[at] else { return None };
        let [base, upper] = fields.as_slice() else { return None };
        let (before, after) = (member.runs.get(at.checked_sub(1)?)?, member.runs.get(at + 1)?);
        let Run::Rows { stream: literal, first, rows: bytes } = before else { return None };
        let Run::Rows { stream: behind, first: entry, rows: more } = after else { return None };
        let place = |stream: &str, first: u64| Some((rows.number(stream)?, first));
        let graph = Self {
            levels: place(&counts.stream, counts.first)?,
            base: place(&base.stream, base.first)?,
            upper: place(&upper.stream, upper.first)?,
            slots: place(literal, (first + bytes).checked_sub(8)?)?,
            entry: place(behind, *entry)?,
        };
        let widths = [rows.row_bytes(graph.levels.0), rows.row_bytes(graph.slots.0), rows.row_bytes(graph.entry.0)];
        let fits = *groups == node_count
            && base.rows == FieldRows::Fixed(1)
            && upper.rows == FieldRows::COUNTED
            && (counts.bytes, counts.subtract, counts.divide, counts.offset) == (4, 1, 1, 0)
            && widths == [4, 1, 1]
            && *bytes >= 8
            && *more >= 8;
        fits.then_some(graph)
    }

    fn erase(
        &self,
        rows: &mut Rows<'_>,
        count: u64,
        nodes: &[u64],
        member: &mut Member,
        changes: &mut Changes,
    ) -> Result<()> {
        let place = member.name.clone();
        let erased = Arc::new(Nodes::new(count, nodes.iter().copied()));
        let level = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes)).saturating_sub(1);
        let tower = Tower::read(rows, (self.levels, self.upper), count, level, &place)?;
        let neighbours = Arc::new(tower.neighbours(rows, Form::Filled, (self.base, self.upper), nodes)?);
        let (base_bytes, upper_bytes) = (rows.row_bytes(self.base.0), rows.row_bytes(self.upper.0));
        let slots = rows.gather(self.slots.0, &(self.slots.1..self.slots.1 + 8).collect::<Vec<_>>())?;
        let slots = little_endian(&slots);
        let expected = count.checked_mul(base_bytes / 4).zip(tower.list_count().checked_mul(upper_bytes / 4));
        if expected.and_then(|(base, upper)| base.checked_add(upper)) != Some(slots) {
            return Err(unsupported(&place, format!("{slots} slots of links are not those of its levels")));
        }
        for node in nodes {
            changes.of(self.levels.0).rows.insert(self.levels.1 + node, Row::Bytes(1u32.to_le_bytes().into()));
            changes.of(self.base.0).rows.insert(self.base.1 + node, Row::Fill(0xFF));
        }
        let lists =
            |places| Lists { form: Form::Filled, erased: erased.clone(), neighbours: neighbours.clone(), places };
        changes.of(self.base.0).lists = Some(lists(Places::Base { first: self.base.1 }));
        let removed: Vec<u64> = tower.rows_of(nodes).into_iter().map(|row| self.upper.1 + row).collect();
        let gone = removed.len() as u64;
        member.bytes = member.bytes.saturating_sub(gone * upper_bytes);
        changes.of(self.slots.0).patch(self.slots.1, &(slots - gone * (upper_bytes / 4)).to_le_bytes());
        changes.of(self.upper.0).removed = removed;
        let entry = rows.gather(self.entry.0, &(self.entry.1..self.entry.1 + 4).collect::<Vec<_>>())?;
        let entry = little_endian(&entry);
        if erased.has(entry) {
            let (entry, level) = new_entry(&tower, &erased, &neighbours, entry);
            let numbers = [entry.to_le_bytes(), u32::from(level).to_le_bytes()].concat();
            changes.of(self.entry.0).patch(self.entry.1, &numbers);
            move_entry(member, u64::from(entry), level);
        }
        let (first, nodes) = (self.upper.1, tower.into_places());
        changes.of(self.upper.0).lists = Some(lists(Places::Upper { first, nodes }));
        Ok(())
    }
}
