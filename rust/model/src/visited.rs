//! The set of states that were seen, in order, with the state each was reached from: about 40 bytes a state.

use crate::packing::Packed;

const CHUNK_STATES: usize = 1 << 16;
const SLOTS_MIN: usize = 1 << 10;

/// The order of insertion is the queue of a breadth-first search.
pub struct Visited {
    // Chunks, so that growing never copies what is there.
    chunks: Vec<Chunk>,
    len: usize,
    /// Open addressing: 0 is empty, otherwise the upper half of the hash beside the number of the state plus one.
    slots: Vec<u64>,
}

#[derive(Default)]
struct Chunk {
    states: Vec<Packed>,
    parents: Vec<u32>,
}

impl Default for Visited {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0, slots: vec![0; SLOTS_MIN] }
    }
}

impl Visited {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, index: usize) -> Packed {
        self.chunks[index / CHUNK_STATES].states[index % CHUNK_STATES]
    }

    pub fn parent(&self, index: usize) -> u32 {
        self.chunks[index / CHUNK_STATES].parents[index % CHUNK_STATES]
    }

    /// Adds a state unless it is there; returns whether it is new.
    pub fn insert(&mut self, state: Packed, parent: u32) -> bool {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let hash = hash(&state);
        let mut slot = self.first_slot(hash);
        while self.slots[slot] != 0 {
            let index = usize::try_from(self.slots[slot] & u64::from(u32::MAX)).unwrap_or(0) - 1;
            if self.slots[slot] >> 32 == hash >> 32 && self.get(index) == state {
                return false;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = (hash >> 32 << 32) | (self.len as u64 + 1);
        if self.len.is_multiple_of(CHUNK_STATES) {
            self.chunks.push(Chunk::default());
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.states.push(state);
            chunk.parents.push(parent);
        }
        self.len += 1;
        true
    }

    fn first_slot(&self, hash: u64) -> usize {
        usize::try_from(hash & (self.slots.len() as u64 - 1)).unwrap_or(0)
    }

    fn grow(&mut self) {
        self.slots = vec![0; self.slots.len() * 2];
        for index in 0..self.len {
            let hash = hash(&self.get(index));
            let mut slot = self.first_slot(hash);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (self.slots.len() - 1);
            }
            self.slots[slot] = (hash >> 32 << 32) | (index as u64 + 1);
        }
    }
}

/// Folded multiplication, word by word.
pub fn hash(state: &Packed) -> u64 {
    state.iter().fold(0x243f_6a88_85a3_08d3, |hash, &word| {
        let product = u128::from(hash ^ word) * 0x9e37_79b9_7f4a_7c15;
        let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or(0);
        let high = u64::try_from(product >> 64).unwrap_or(0);
        low ^ high.rotate_left(23)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_kept_once_with_its_first_parent() {
        let mut visited = Visited::default();
        let states: Vec<Packed> = (0..200_000).map(|number| [number % 150_000, 7, number % 150_000 % 3]).collect();
        for (number, state) in states.iter().enumerate() {
            assert_eq!(visited.insert(*state, u32::try_from(number).unwrap_or(0)), number < 150_000);
        }
        assert_eq!(visited.len(), 150_000);
        for number in (0..150_000).step_by(997) {
            assert_eq!((visited.get(number), visited.parent(number) as usize), (states[number], number));
        }
    }
}
