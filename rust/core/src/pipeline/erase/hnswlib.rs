//! Erased elements of an hnswlib file: vector, links and level are zero, the element is marked as deleted, and its label is
//! one that nobody has: hnswlib looks labels up, and zero is a label like any other.

use super::graph::{Form, Lists, Nodes, Places};
use super::rewrite::Row;
use super::survey::{Changes, Rows, little_endian, move_entry, size, unsupported};
use super::tower::{Tower, new_entry};
use crate::error::Result;
use crate::plan::{FieldRows, Member, Run};
use std::sync::Arc;

/// Where the numbers of the header lie.
const MAX_LEVEL: u64 = 48;
const ENTRY_POINT: u64 = 52;
const HEADER_BYTES: u64 = 96;

/// The streams of the member, and the rows at which it begins in them.
pub struct Layered {
    literal: (usize, u64),
    nodes: u64,
    links: (usize, u64),
    vectors: (usize, u64),
    pub labels: (usize, u64),
    lengths: (usize, u64),
    upper: (usize, u64),
}

impl Layered {
    /// `None` for a plan of another shape than the parser makes.
    pub fn of(rows: &Rows<'_>, member: &Member) -> Option<Self> {
        let [Run::Rows { stream, first, rows: HEADER_BYTES }, elements, above] = member.runs.as_slice() else {
            return None;
        };
        let Run::Groups { groups: nodes, fields, counts: None } = elements else { return None };
        let Run::Groups { groups, fields: upper, counts: Some(_) } = above else { return None };
        let ([links, vectors, labels], [lengths, lists]) = (fields.as_slice(), upper.as_slice()) else { return None };
        let fixed = [links, vectors, labels, lengths].iter().all(|field| field.rows == FieldRows::Fixed(1));
        let place = |stream: &str, first: u64| Some((rows.number(stream)?, first));
        let found = Self {
            literal: place(stream, *first)?,
            nodes: *nodes,
            links: place(&links.stream, links.first)?,
            vectors: place(&vectors.stream, vectors.first)?,
            labels: place(&labels.stream, labels.first)?,
            lengths: place(&lengths.stream, lengths.first)?,
            upper: place(&lists.stream, lists.first)?,
        };
        let widths = [rows.row_bytes(found.labels.0), rows.row_bytes(found.lengths.0), rows.row_bytes(found.literal.0)];
        (fixed && groups == nodes && widths == [8, 4, 1]).then_some(found)
    }

    pub fn node_count(&self) -> u64 {
        self.nodes
    }

    /// Labels that erased elements will have must not be those of others.
    fn check_labels(&self, rows: &mut Rows<'_>, erased: &Nodes, place: &str) -> Result<()> {
        let mut taken = None;
        rows.visit(self.labels.0, self.labels.1, self.nodes, &mut |first, labels| {
            for (row, label) in (first..).zip(labels.as_chunks::<8>().0) {
                let (node, label) = (row - self.labels.1, u64::from_le_bytes(*label));
                // Elements that an earlier erasure marked are what they would become.
                if label > u64::MAX - self.nodes && label != label_of(node) && !erased.has(node) {
                    taken = Some(label);
                }
            }
            Ok(())
        })?;
        taken.map_or(Ok(()), |label| {
            let detail =
                format!("label {label} is of the numbers that erased elements get; it cannot be told from them");
            Err(unsupported(place, detail))
        })
    }

    pub fn erase(&self, rows: &mut Rows<'_>, nodes: &[u64], member: &mut Member, changes: &mut Changes) -> Result<()> {
        let place = member.name.clone();
        let erased = Arc::new(Nodes::new(self.nodes, nodes.iter().copied()));
        self.check_labels(rows, &erased, &place)?;
        let (list_bytes, base_bytes) = (rows.row_bytes(self.upper.0), rows.row_bytes(self.links.0));
        let level = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes)) / list_bytes;
        let tower = Tower::read(rows, (self.lengths, self.upper), self.nodes, level, &place)?;
        let neighbours = tower.neighbours(rows, Form::Counted, (self.links, self.upper), nodes)?;
        let neighbours = Arc::new(neighbours);
        for node in nodes {
            changes
                .of(self.labels.0)
                .rows
                .insert(self.labels.1 + node, Row::Bytes(label_of(*node).to_le_bytes().into()));
            changes.of(self.vectors.0).rows.insert(self.vectors.1 + node, Row::Fill(0));
            let empty = Form::Counted.empty(size(base_bytes)?, true);
            changes.of(self.links.0).rows.insert(self.links.1 + node, Row::Bytes(empty));
            changes.of(self.lengths.0).rows.insert(self.lengths.1 + node, Row::Fill(0));
        }
        let lists =
            |places| Lists { form: Form::Counted, erased: erased.clone(), neighbours: neighbours.clone(), places };
        changes.of(self.links.0).lists = Some(lists(Places::Base { first: self.links.1 }));
        let removed = tower.rows_of(nodes).into_iter().map(|row| self.upper.1 + row).collect::<Vec<_>>();
        member.bytes = member.bytes.saturating_sub(removed.len() as u64 * list_bytes);
        changes.of(self.upper.0).removed = removed;
        let entry = rows.gather(self.literal.0, &[0, 1, 2, 3].map(|byte| self.literal.1 + ENTRY_POINT + byte))?;
        let entry = little_endian(&entry);
        if erased.has(entry) {
            let (entry, level) = new_entry(&tower, &erased, &neighbours, entry);
            let literal = changes.of(self.literal.0);
            let level32 = u32::from(level).to_le_bytes();
            literal.patch(self.literal.1 + MAX_LEVEL, &level32);
            literal.patch(self.literal.1 + ENTRY_POINT, &entry.to_le_bytes());
            move_entry(member, u64::from(entry), level);
        }
        let (first, nodes) = (self.upper.1, tower.into_places());
        changes.of(self.upper.0).lists = Some(lists(Places::Upper { first, nodes }));
        Ok(())
    }
}

/// The label of an erased element: −1 less its number.
fn label_of(node: u64) -> u64 {
    u64::MAX - node
}
