//! Whether an index says what the ids say. All of both is read once; what does not fit in memory is not kept.

use super::find::has_index;
use super::runs::{Groups, Pair, Pairs, Run, refused};
use super::{CHANGES, GONE, RUN, key_of};
use crate::error::{Error, Result, to_usize};
use crate::pipeline::rows::{ReadState, RowReader, no_stream};
use crate::stream::StreamDescription;
use highway::{HighwayHash, HighwayHasher, Key};

/// Rows that one sum stands for: a difference is told by them.
const WINDOW_ROWS_MIN: u64 = 65_536;
const WINDOWS_MAX: u64 = 4_096;
/// Pairs of an index between two calls of `beat`.
const BEAT_PAIRS: u64 = 1 << 20;

/// What is wrong with the index of a stream of ids, if it has one (spec 8.3): keys out of order, a fence that is not theirs, a
/// place that means no row, or a row whose id is missing, twice or another.
///
/// # Errors
/// Those of reading, and of `beat`.
pub fn check(reader: &RowReader, ids: usize, beat: &mut dyn FnMut() -> Result<()>) -> Result<Option<Error>> {
    let Some(stream) = reader.archive().streams().get(ids) else { return Err(no_stream(ids)) };
    if !has_index(reader, ids) {
        return Ok(None);
    }
    let mut states = (ReadState::default(), ReadState::default());
    let Some(run) = Run::open(reader, &mut states.0, &stream.name, RUN)? else { return Ok(None) };
    let changes = Run::open(reader, &mut states.0, &stream.name, CHANGES)?;
    let groups = Groups::open(reader, &mut states.0, &stream.name)?;
    let mut sums = Sums::new(reader.archive().root(), stream.row_count);
    sums.take_ids(reader, &mut states.0, (ids, stream), beat)?;
    let mut merged = Merged {
        run: Ordered::new(Pairs::new(reader, &mut states.0, &run), &run),
        changes: changes.as_ref().map(|run| Ordered::new(Pairs::new(reader, &mut states.1, run), run)),
    };
    let mut count = 0u64;
    let said = loop {
        let pair = match merged.next() {
            Ok(Some(pair)) => pair,
            Ok(None) => break None,
            Err(Stop::Lies(what)) => break Some(what),
            Err(Stop::Unread(error)) => return Err(error),
        };
        let row = match &groups {
            Some(groups) => groups.row(pair.1, stream.row_count),
            None => Some(pair.1).filter(|row| *row < stream.row_count),
        };
        let Some(row) = row else {
            break Some(format!("says that an id is at place {}, where no row is", pair.1));
        };
        sums.take(pair.0, row);
        count += 1;
        if count.is_multiple_of(BEAT_PAIRS) {
            beat()?;
        }
    };
    Ok(said.or_else(|| sums.difference(stream.row_count)).map(|what| refused(&stream.name, &what)))
}

enum Stop {
    Lies(String),
    Unread(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Unread(error)
    }
}

/// A run whose order and fence are compared as it goes by: a look-up would pass over what stands elsewhere.
struct Ordered<'a> {
    pairs: Pairs<'a>,
    run: &'a Run,
    before: Option<Pair>,
    count: u64,
}

impl<'a> Ordered<'a> {
    fn new(pairs: Pairs<'a>, run: &'a Run) -> Self {
        Self { pairs, run, before: None, count: 0 }
    }

    fn key(&mut self) -> Result<Option<u64>> {
        Ok(self.pairs.peek()?.map(|pair| pair.0))
    }

    fn next(&mut self) -> std::result::Result<Option<Pair>, Stop> {
        let Some(pair) = self.pairs.next()? else { return Ok(None) };
        if self.before.is_some_and(|before| before >= pair) {
            return Err(Stop::Lies(format!("has a key, number {}, that is twice or out of order", self.count)));
        }
        let chunk = usize::try_from(self.count / self.run.chunk_rows).unwrap_or(usize::MAX);
        if self.count.is_multiple_of(self.run.chunk_rows) && self.run.fence.get(chunk) != Some(&pair.0) {
            return Err(Stop::Lies(format!("has a fence that is not the first key of chunk {chunk}")));
        }
        self.before = Some(pair);
        self.count += 1;
        Ok(Some(pair))
    }
}

/// Keys and places as a look-up finds them: what `changes` says of a key is all that is said of it.
struct Merged<'a> {
    run: Ordered<'a>,
    changes: Option<Ordered<'a>>,
}

impl Merged<'_> {
    fn next(&mut self) -> std::result::Result<Option<Pair>, Stop> {
        let Some(changes) = &mut self.changes else { return self.run.next() };
        loop {
            let Some(changed) = changes.key()? else { return self.run.next() };
            match self.run.key()? {
                Some(key) if key < changed => return self.run.next(),
                // Passed over as long as `changes` has pairs of the key, which come out below.
                Some(key) if key == changed => drop(self.run.next()?),
                _ => {
                    let before = changes.before;
                    let Some(pair) = changes.next()? else { continue };
                    if pair.1 != GONE {
                        return Ok(Some(pair));
                    }
                    if before.is_some_and(|before| before.0 == pair.0) {
                        return Err(Stop::Lies("says of an id that rows have it and that none has it".to_owned()));
                    }
                }
            }
        }
    }
}

/// For each window of rows the sum of the hashes of (id, row) that the ids say less that of those that the index says. The key of the
/// hash follows from all bytes of the archive, so that no index can be made to fit it.
struct Sums {
    key: Key,
    window_rows: u64,
    sums: Vec<u128>,
}

impl Sums {
    fn new(root: [u8; 32], row_count: u64) -> Self {
        let mut words = [0u64; 4];
        words.iter_mut().zip(root.as_chunks::<8>().0).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
        Self { key: Key(words), window_rows: row_count.div_ceil(WINDOWS_MAX).max(WINDOW_ROWS_MIN), sums: Vec::new() }
    }

    fn hash(&self, key: u64, row: u64) -> u128 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&key.to_le_bytes());
        bytes[8..].copy_from_slice(&row.to_le_bytes());
        let [low, high] = HighwayHasher::new(self.key).hash128(&bytes);
        u128::from(low) | u128::from(high) << 64
    }

    /// The sum of a row's window. There are at most `WINDOWS_MAX`, as rows are below row_count.
    fn sum(&mut self, row: u64) -> Option<&mut u128> {
        let window = usize::try_from(row / self.window_rows).ok()?;
        if window >= self.sums.len() {
            self.sums.resize(window + 1, 0);
        }
        self.sums.get_mut(window)
    }

    fn take(&mut self, key: u64, row: u64) {
        let hash = self.hash(key, row);
        if let Some(sum) = self.sum(row) {
            *sum = sum.wrapping_sub(hash);
        }
    }

    fn take_ids(
        &mut self,
        reader: &RowReader,
        state: &mut ReadState,
        (ids, stream): (usize, &StreamDescription),
        beat: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let width = to_usize(u64::from(stream.row_bytes), "id")?.max(1);
        let mut bytes = Vec::new();
        for chunk in 0..stream.chunk_count {
            bytes.resize(to_usize(stream.chunk_bytes(chunk), "chunk of ids")?, 0);
            reader.read_chunk(state, ids, chunk, &mut bytes)?;
            for (row, id) in (chunk * stream.chunk_rows..).zip(bytes.chunks_exact(width)) {
                let hash = self.hash(key_of(stream.element_type, id), row);
                if let Some(sum) = self.sum(row) {
                    *sum = sum.wrapping_add(hash);
                }
            }
            beat()?;
        }
        Ok(())
    }

    /// The first and the last window in which the two differ.
    fn difference(&self, row_count: u64) -> Option<String> {
        let first = self.sums.iter().position(|sum| *sum != 0)? as u64;
        let last = self.sums.iter().rposition(|sum| *sum != 0)? as u64;
        let end = row_count.min((last + 1).saturating_mul(self.window_rows));
        Some(format!("says of rows {} to {} otherwise than the ids", first * self.window_rows, end.saturating_sub(1)))
    }
}
