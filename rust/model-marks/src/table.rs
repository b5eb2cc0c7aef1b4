//! Every state that was met, in the order it was met, and a table to find it again: 28 bytes a state or so.

/// States with the one that each was reached from.
pub struct Table {
    states: Vec<u128>,
    parents: Vec<u32>,
    places: Vec<u32>,
}

/// States that are looked up at once.
pub const BATCH: usize = 32;

const EMPTY: u32 = u32::MAX;

impl Table {
    #[must_use]
    pub fn new() -> Self {
        Self { states: Vec::new(), parents: Vec::new(), places: vec![EMPTY; 1 << 16] }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.states.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    #[must_use]
    pub fn state(&self, index: usize) -> u128 {
        self.states[index]
    }

    #[must_use]
    pub fn parent(&self, index: usize) -> u32 {
        self.parents[index]
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        16 * self.states.capacity() + 4 * (self.parents.capacity() + self.places.capacity())
    }

    /// Whether each of a batch is known where it is looked for first. All are looked up side by side, so that the
    /// processor waits for memory once and not for each.
    #[must_use]
    pub fn known(&self, batch: &[u128]) -> [bool; BATCH] {
        let mask = self.places.len() - 1;
        let mut found = [EMPTY; BATCH];
        for (found, &state) in found.iter_mut().zip(batch) {
            *found = self.places[hash(state) & mask];
        }
        let mut known = [false; BATCH];
        for ((known, &state), &index) in known.iter_mut().zip(batch).zip(&found) {
            *known = self.states.get(index as usize) == Some(&state);
        }
        known
    }

    /// Add a state; return whether it is new.
    pub fn insert(&mut self, state: u128, parent: u32) -> bool {
        if self.states.len() * 4 > self.places.len() * 3 {
            self.grow();
        }
        let mask = self.places.len() - 1;
        let mut place = hash(state) & mask;
        loop {
            match self.places[place] {
                EMPTY => break,
                index if self.states[index as usize] == state => return false,
                _ => place = (place + 1) & mask,
            }
        }
        self.places[place] = u32::try_from(self.states.len()).unwrap_or(EMPTY);
        self.states.push(state);
        self.parents.push(parent);
        true
    }

    fn grow(&mut self) {
        let mask = self.places.len() * 2 - 1;
        self.places = vec![EMPTY; mask + 1];
        for (index, &state) in self.states.iter().enumerate() {
            let mut place = hash(state) & mask;
            while self.places[place] != EMPTY {
                place = (place + 1) & mask;
            }
            self.places[place] = u32::try_from(index).unwrap_or(EMPTY);
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// Mix all bits of a state.
#[must_use]
pub fn hash(state: u128) -> usize {
    let bytes = state.to_le_bytes();
    let [mut low, mut high] = [0u64; 2];
    for index in 0..8 {
        low |= u64::from(bytes[index]) << (8 * index);
        high |= u64::from(bytes[index + 8]) << (8 * index);
    }
    let product = u128::from(low ^ 0x9e37_79b9_7f4a_7c15) * u128::from(high ^ 0xd1b5_4a32_d192_ed03);
    let product = product.to_le_bytes();
    let mut mixed = 0u64;
    for index in 0..8 {
        mixed |= u64::from(product[index] ^ product[index + 8]) << (8 * index);
    }
    usize::try_from(mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).unwrap_or(0)
}
