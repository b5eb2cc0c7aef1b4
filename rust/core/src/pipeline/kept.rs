//! Decoded chunks that are kept because their rows are asked for again; archives that share blocks may share them.

use super::rows::RowReader;
use crate::codec::Codec;
use crate::error::Result;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Links, labels and one more are read side by side; a partition of links must not be decoded for each batch.
const KEPT_CHUNKS_MIN: usize = 3;
/// Of tiny chunks the budget would keep millions, and each look-up walks the list.
const KEPT_CHUNKS_MAX: usize = 512;

/// What names a chunk: its place in the one archive that is read, or all that its rows follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Place(usize, u64),
    Block([u8; 32]),
}

/// Locked while the chunk is decoded, so that it is decoded once.
pub(super) type Slot = Arc<Mutex<Option<Decoded>>>;

/// Rows of a chunk.
#[derive(Clone)]
pub(super) struct Decoded {
    pub rows: Arc<Vec<u8>>,
    /// They have passed their digest; else whoever takes them compares a digest of all that he makes of them.
    pub is_proved: bool,
}

/// The chunks, the newest last.
pub struct KeptChunks {
    kept: Mutex<VecDeque<(Key, u64, Slot)>>,
    bytes_max: u64,
}

impl KeptChunks {
    /// `bytes_max`: budget for decoded chunks.
    pub fn new(bytes_max: u64) -> Self {
        Self { kept: Mutex::default(), bytes_max }
    }

    /// The slot of a chunk, made the newest; the oldest go when the budget is full (a few always stay). `own`: the slot to
    /// put back where it was pushed out.
    pub(super) fn touch(&self, key: Key, chunk_bytes: u64, own: Option<&Slot>) -> Slot {
        let mut kept = lock(&self.kept);
        let found = kept.iter().position(|(other, ..)| *other == key).and_then(|at| kept.remove(at));
        let entry = found.unwrap_or_else(|| (key, chunk_bytes, own.cloned().unwrap_or_default()));
        let slot = entry.2.clone();
        kept.push_back(entry);
        let mut total: u64 = kept.iter().map(|(_, bytes, _)| *bytes).sum();
        while (total > self.bytes_max || kept.len() > KEPT_CHUNKS_MAX) && kept.len() > KEPT_CHUNKS_MIN {
            total -= kept.pop_front().map_or(0, |(_, bytes, _)| bytes);
        }
        slot
    }

    /// Whether the chunk is there, decoded; nobody is waited for.
    pub(super) fn has(&self, key: Key) -> bool {
        let kept = lock(&self.kept);
        let found = kept.iter().find(|(other, ..)| *other == key);
        found.is_some_and(|(.., slot)| slot.try_lock().is_ok_and(|content| content.is_some()))
    }
}

/// What several readers of one chain know together: decoded chunks, and which of them have passed their digest.
pub(super) struct Shared {
    pub kept: Arc<KeptChunks>,
    proved: Mutex<HashSet<[u8; 32]>>,
    decoded: AtomicU64,
}

impl Shared {
    pub fn new(bytes_max: u64) -> Self {
        Self { kept: Arc::new(KeptChunks::new(bytes_max)), proved: Mutex::default(), decoded: AtomicU64::new(0) }
    }

    pub fn is_proved(&self, name: &[u8; 32]) -> bool {
        lock(&self.proved).contains(name)
    }

    pub fn prove(&self, name: [u8; 32]) {
        lock(&self.proved).insert(name);
    }

    pub fn count_decoded(&self) {
        self.decoded.fetch_add(1, Ordering::Relaxed);
    }

    /// Blocks that were decoded so far.
    pub fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }
}

/// Digests over the tables of base parts, by the number of their stream.
pub(super) type BaseNames = Mutex<HashMap<usize, [u8; 32]>>;

impl RowReader {
    /// A name of all that the rows of a chunk with a block follow from: two chunks of the same name, in whatever archives,
    /// have the same rows and are as whole as one another.
    ///
    /// # Errors
    /// Those of reading the index.
    pub(super) fn block_name(&self, stream: usize, chunk: u64, names: &BaseNames) -> Result<[u8; 32]> {
        let archive = self.archive();
        let entry = archive.entry(stream, chunk)?;
        let is_based = Codec::from_number(entry.codec).is_some_and(Codec::needs_base);
        let base = if is_based { self.base_name(stream, names)? } else { [0; 32] };
        let lies_in = usize::from(entry.archive).checked_sub(1).and_then(|number| archive.ancestors().get(number));
        let mut text = Vec::with_capacity(160);
        text.extend(lies_in.map_or(archive.id(), |ancestor| ancestor.id).0);
        text.extend(entry.offset.to_le_bytes());
        text.extend(entry.stored_bytes.to_le_bytes());
        text.extend(entry.block_crc.to_le_bytes());
        text.extend(entry.codec.to_le_bytes());
        text.extend(entry.digest);
        text.extend(base);
        if let Some(shape) = archive.chunk_shape(stream, chunk) {
            text.extend(shape.role.0.to_le_bytes());
            text.extend(shape.element_type.number().to_le_bytes());
            text.extend(shape.row_elements.to_le_bytes());
            text.extend(shape.first_row.to_le_bytes());
        }
        if entry.is_mapped() {
            // It has no block: only its place names it.
            text.extend((stream as u64).to_le_bytes());
            text.extend(chunk.to_le_bytes());
        }
        let chunk_bytes = archive.streams().get(stream).map_or(0, |stream| stream.chunk_bytes(chunk));
        text.extend(chunk_bytes.to_le_bytes());
        Ok(crate::digest::blake3(&text))
    }

    /// A name of all rows of the part that a part's blocks are coded against. That part has no base of its own.
    fn base_name(&self, stream: usize, names: &BaseNames) -> Result<[u8; 32]> {
        let archive = self.archive();
        let base = archive
            .streams()
            .get(stream)
            .and_then(|part| archive.mapping(part.part.owner?)?.parts.get(&part.part.base).copied());
        let Some(number) = base else { return Ok([0; 32]) };
        if let Some(name) = lock(names).get(&number) {
            return Ok(*name);
        }
        let mut text = Vec::new();
        if let Some(part) = archive.streams().get(number) {
            text.extend(part.row_count.to_le_bytes());
            text.extend(part.chunk_rows.to_le_bytes());
            for chunk in 0..part.chunk_count {
                let entry = archive.entry(number, chunk)?;
                // Hostile tables may code the base against a base: then nothing is known to be the same.
                let is_based = Codec::from_number(entry.codec).is_some_and(Codec::needs_base);
                text.extend(if is_based { archive.root() } else { self.block_name(number, chunk, names)? });
            }
        }
        let name = crate::digest::blake3(&text);
        lock(names).insert(number, name);
        Ok(name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
