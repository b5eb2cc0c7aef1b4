//! The levels of a graph: which lists a node has above the lowest, and where a search may begin.

use super::graph::{Form, Neighbours, Nodes};
use super::survey::{Rows, size, unsupported};
use crate::error::Result;

/// Levels of all nodes above the lowest, and the node and level of every list there, in the order of the stream.
pub struct Tower {
    levels: Vec<u8>,
    places: Vec<(u32, u8)>,
}

/// A stream, and the row at which a member begins in it.
type Place = (usize, u64);

impl Tower {
    /// `level`: of a row of the first stream, how many levels above the lowest its node has; `upper`: the lists there.
    pub fn read(
        rows: &mut Rows<'_>,
        ((stream, first), upper): (Place, Place),
        node_count: u64,
        level: impl Fn(&[u8; 4]) -> u64,
        place: &str,
    ) -> Result<Self> {
        let mut tower = Self { levels: Vec::new(), places: Vec::new() };
        let lists_max = rows.row_count(upper.0).saturating_sub(upper.1);
        rows.visit(stream, first, node_count, &mut |_, values| {
            for value in values.as_chunks::<4>().0 {
                let (Ok(level), Ok(node)) = (u8::try_from(level(value)), u32::try_from(tower.levels.len())) else {
                    return Err(unsupported(place, "a level above 255, or more than 2^32 nodes".to_owned()));
                };
                // Levels are a claim; what they take of memory is bounded by lists that are there.
                if tower.list_count() + u64::from(level) > lists_max {
                    return Err(unsupported(
                        place,
                        format!("its levels have more than the {lists_max} lists there are"),
                    ));
                }
                tower.levels.push(level);
                tower.places.extend((1..=level).map(|level| (node, level)));
            }
            Ok(())
        })?;
        Ok(tower)
    }

    pub fn into_places(self) -> Vec<(u32, u8)> {
        self.places
    }

    /// Lists above the lowest level.
    pub fn list_count(&self) -> u64 {
        self.places.len() as u64
    }

    fn level(&self, node: u64) -> u8 {
        usize::try_from(node).ok().and_then(|node| self.levels.get(node)).copied().unwrap_or(0)
    }

    /// Numbers of the lists of these nodes (ascending) above the lowest level.
    pub fn rows_of(&self, nodes: &[u64]) -> Vec<u64> {
        let starts = nodes.iter().filter_map(|node| {
            let node32 = u32::try_from(*node).ok()?;
            let start = self.places.partition_point(|(other, _)| *other < node32) as u64;
            Some((start, u64::from(self.level(*node))))
        });
        starts.flat_map(|(start, level)| start..start + level).collect()
    }

    /// The links of these nodes on every level that they have.
    pub fn neighbours(
        &self,
        rows: &mut Rows<'_>,
        form: Form,
        (base, upper): (Place, Place),
        nodes: &[u64],
    ) -> Result<Neighbours> {
        let own = nodes.iter().filter_map(|node| Some((u32::try_from(*node).ok()?, 0)));
        let mut places: Vec<(u32, u8)> = own.collect();
        let above = self.rows_of(nodes);
        let base_rows: Vec<u64> = nodes.iter().map(|node| base.1 + node).collect();
        let upper_rows: Vec<u64> = above.iter().map(|row| upper.1 + row).collect();
        let mut lists = rows.lists(base.0, &base_rows, form)?;
        lists.extend(rows.lists(upper.0, &upper_rows, form)?);
        for row in above {
            places.extend(self.places.get(size(row)?).copied());
        }
        Ok(places.into_iter().zip(lists).collect())
    }
}

/// Where a search begins when the node at which it began is erased: a neighbour on its highest level where that is the highest
/// that is left, else the first node of the highest level.
pub fn new_entry(tower: &Tower, erased: &Nodes, neighbours: &Neighbours, entry: u64) -> (u32, u8) {
    let left = (0u32..).zip(&tower.levels).filter(|(node, _)| !erased.has(u64::from(*node)));
    let Some(highest) = left.clone().map(|(_, level)| *level).max() else {
        // Nothing is left: the search begins, and ends, where it did.
        return (u32::try_from(entry).unwrap_or(0), 0);
    };
    let top = u32::try_from(entry).ok().and_then(|entry| neighbours.get(&(entry, tower.level(u64::from(entry)))));
    let near = top.into_iter().flatten().copied();
    let near = near.filter(|node| !erased.has(u64::from(*node)) && tower.level(u64::from(*node)) == highest);
    let first = left.filter(|(_, level)| **level == highest).map(|(node, _)| node);
    (near.chain(first).next().unwrap_or(0), highest)
}
