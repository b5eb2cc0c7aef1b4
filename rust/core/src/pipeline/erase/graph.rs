//! Lists of links without erased nodes. What led to one leads to a neighbour of it instead, so that nothing behind it is
//! lost: the graph is as if the search had gone through it.

use std::collections::HashMap;
use std::sync::Arc;

/// How a list says where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// hnswlib: a head whose low 16 bits are the number of links, then slots. What stands behind them is stale.
    Counted,
    /// faiss: slots, and −1 from the end on.
    Filled,
}

/// Numbers of nodes.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    bits: Vec<u64>,
    pub count: u64,
}

impl Nodes {
    pub fn new(node_count: u64, members: impl IntoIterator<Item = u64>) -> Self {
        let mut nodes = Self { bits: vec![0; usize::try_from(node_count.div_ceil(64)).unwrap_or(0)], count: 0 };
        for node in members {
            if let Some(word) = usize::try_from(node / 64).ok().and_then(|word| nodes.bits.get_mut(word)) {
                nodes.count += u64::from(*word >> (node % 64) & 1 == 0);
                *word |= 1 << (node % 64);
            }
        }
        nodes
    }

    pub fn has(&self, node: u64) -> bool {
        let word = usize::try_from(node / 64).ok().and_then(|word| self.bits.get(word));
        word.is_some_and(|word| word >> (node % 64) & 1 == 1)
    }
}

/// Neighbours of each erased node on each level, as they were.
pub type Neighbours = HashMap<(u32, u8), Vec<u32>>;

/// Which list a row is.
pub enum Places {
    /// Of the lowest level: that of node row − first.
    Base { first: u64 },
    /// Of the levels above: node and level of row − first.
    Upper { first: u64, nodes: Vec<(u32, u8)> },
}

impl Places {
    fn of(&self, row: u64) -> Option<(u32, u8)> {
        match self {
            Self::Base { first } => Some((u32::try_from(row.checked_sub(*first)?).ok()?, 0)),
            Self::Upper { first, nodes } => nodes.get(usize::try_from(row.checked_sub(*first)?).ok()?).copied(),
        }
    }
}

pub struct Lists {
    pub form: Form,
    pub erased: Arc<Nodes>,
    pub neighbours: Arc<Neighbours>,
    pub places: Places,
}

impl Form {
    /// The links of a list.
    pub fn links(self, list: &[u8]) -> Vec<u32> {
        let slots = self.slots(list).as_chunks::<4>().0.iter().map(|slot| u32::from_le_bytes(*slot));
        slots.take(self.degree(list)).collect()
    }

    fn slots(self, list: &[u8]) -> &[u8] {
        if self == Self::Counted { list.get(4..).unwrap_or_default() } else { list }
    }

    fn degree(self, list: &[u8]) -> usize {
        let slots = self.slots(list).as_chunks::<4>().0;
        match (self, list.first_chunk::<2>()) {
            (Self::Counted, Some(head)) => usize::from(u16::from_le_bytes(*head)).min(slots.len()),
            _ => slots.iter().take_while(|slot| **slot != [0xFF; 4]).count(),
        }
    }

    /// Writes a list of at most as many links as there are slots; the head keeps its other bits.
    fn write(self, list: &mut [u8], links: &[u32]) {
        let (start, empty) = if self == Self::Counted { (4, 0) } else { (0, u32::MAX) };
        let slots = list.get_mut(start..).unwrap_or_default().as_chunks_mut::<4>().0;
        let values = links.iter().copied().chain(std::iter::repeat(empty));
        slots.iter_mut().zip(values).for_each(|(slot, value)| *slot = value.to_le_bytes());
        if let (Self::Counted, Some(head)) = (self, list.first_chunk_mut::<2>()) {
            *head = u16::try_from(links.len()).unwrap_or(u16::MAX).to_le_bytes();
        }
    }

    /// A list without links. `is_deleted`: with the mark of hnswlib, the lowest bit of the third byte.
    pub fn empty(self, bytes: usize, is_deleted: bool) -> Vec<u8> {
        let mut list = vec![0; bytes];
        self.write(&mut list, &[]);
        if let (Self::Counted, true, Some(mark)) = (self, is_deleted, list.get_mut(2)) {
            *mark |= 1;
        }
        list
    }
}

impl Lists {
    /// Whether any slot, a stale one too, names an erased node.
    pub fn names_erased(&self, list: &[u8]) -> bool {
        let slots = self.form.slots(list).as_chunks::<4>().0;
        slots.iter().any(|slot| self.erased.has(u64::from(u32::from_le_bytes(*slot))))
    }

    pub fn rewrite(&self, row: u64, list: &mut [u8]) {
        let place = self.places.of(row);
        let old = self.form.links(list);
        let mut new: Vec<u32> = Vec::with_capacity(old.len());
        for link in &old {
            let kept = if self.erased.has(u64::from(*link)) {
                place.and_then(|place| self.instead(place, *link, &old, &new))
            } else {
                Some(*link)
            };
            new.extend(kept);
        }
        // Stale slots are cleared with the rest: they tell of links that were.
        self.form.write(list, &new);
    }

    /// A neighbour of an erased node that the list does not have: the one that a hash of both ends puts first, so that each
    /// list takes another one, and keeps it when others change.
    fn instead(&self, (node, level): (u32, u8), link: u32, old: &[u32], new: &[u32]) -> Option<u32> {
        let neighbours = self.neighbours.get(&(link, level))?;
        let fits = |other: &&u32| {
            **other != node && !self.erased.has(u64::from(**other)) && !old.contains(other) && !new.contains(other)
        };
        neighbours.iter().filter(fits).copied().min_by_key(|other| (mixed(node, *other), *other))
    }
}

/// The finalizer of splitmix64.
fn mixed(node: u32, other: u32) -> u64 {
    let mut value = (u64::from(node) << 32 | u64::from(other)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(form: Form) -> Lists {
        let neighbours = HashMap::from([((7, 0), vec![1, 2, 8, 3]), ((8, 0), vec![7])]);
        Lists {
            form,
            erased: Arc::new(Nodes::new(100, [7, 8])),
            neighbours: Arc::new(neighbours),
            places: Places::Base { first: 0 },
        }
    }

    fn bytes(values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn a_counted_list_takes_a_neighbour_instead_and_loses_its_stale_slots() {
        // Node 2 leads to 5, 7, 8; a stale slot names 7. Of 7's neighbours 2 is itself and 8 is erased, of 8's there is none.
        let mut list = bytes(&[3 | 1 << 16, 5, 7, 8, 7, 6]);
        let lists = lists(Form::Counted);
        assert!(lists.names_erased(&list));
        lists.rewrite(2, &mut list);
        let links = Form::Counted.links(&list);
        assert!(links == [5, 1] || links == [5, 3], "{links:?}");
        assert_eq!(list[..4], [2, 0, 1, 0]);
        assert_eq!(list[12..], [0; 12]);
        assert!(!lists.names_erased(&list));
    }

    #[test]
    fn a_filled_list_ends_with_ones() {
        let mut list = bytes(&[8, 1, 2, 3, u32::MAX]);
        lists(Form::Filled).rewrite(9, &mut list);
        assert_eq!(list, bytes(&[1, 2, 3, u32::MAX, u32::MAX]));
        let mut full = bytes(&[7, 1, 2]);
        lists(Form::Filled).rewrite(9, &mut full);
        assert_eq!(full, bytes(&[3, 1, 2]));
    }

    #[test]
    fn what_is_chosen_does_not_hang_on_the_other_neighbours() {
        let lists = lists(Form::Filled);
        for node in 20..60 {
            let chosen = lists.instead((node, 0), 7, &[], &[]);
            let mut fewer = lists.neighbours[&(7, 0)].clone();
            fewer.retain(|other| Some(*other) == chosen || *other == 3);
            let neighbours = Arc::new(HashMap::from([((7, 0), fewer)]));
            let erased = lists.erased.clone();
            let less = Lists { form: Form::Filled, erased, neighbours, places: Places::Base { first: 0 } };
            assert_eq!(less.instead((node, 0), 7, &[], &[]), chosen);
        }
    }

    #[test]
    fn an_empty_list_of_a_deleted_node_has_the_mark() {
        assert_eq!(Form::Counted.empty(12, true), [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Form::Filled.empty(8, true), [0xFF; 8]);
    }
}
