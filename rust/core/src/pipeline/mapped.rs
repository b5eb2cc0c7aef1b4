//! Rows of mapped streams (spec 5.3): the map says which part has each of them, and a part's blocks may be coded against
//! rows of its base part.

use super::rows::{How, ReadState, RowReader, check_rows, no_stream};
use crate::codec::{self, Codec, map};
use crate::error::{Error, ErrorKind, Layer, Result, to_usize};
use crate::plan::batch::WHOLE_CHUNK_BYTES_MAX;
use crate::stream::ChunkShape;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Neighbouring rows of a mapped stream that are neighbours in one part, too, and in one chunk of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    /// Number of the part's stream.
    part: usize,
    first: u64,
    rows: u64,
}

/// Rows of a chunk that are wanted, and where among the rows that are asked for.
struct Place {
    inside: u64,
    at: u64,
    rows: u64,
}

/// The chunk that was asked for last, and its rows.
type Kept<Key, Value = Arc<Vec<u8>>> = (Key, Value);

/// Map rows that are read at a time.
const WINDOW_ROWS: u64 = 1 << 20;

impl RowReader {
    /// A whole chunk of a mapped stream. Its own digest proves all of it, so that those of the parts are only compared to
    /// find out who is to blame.
    pub(super) fn read_mapped_chunk(
        &self,
        state: &mut ReadState,
        (stream, chunk): (usize, u64),
        digest: &[u8; 32],
        out: &mut [u8],
    ) -> Result<()> {
        let Some(description) = self.archive().streams().get(stream) else { return Err(no_stream(stream)) };
        let first = chunk.saturating_mul(description.chunk_rows);
        let read = self.read_mapped_as(state, stream, first, true, out).and_then(|()| check_rows(digest, out));
        match read {
            // Nobody is to blame for what could not be read, and a second time would not tell.
            Err(error) if error.kind() == ErrorKind::Damaged => {}
            other => return other,
        }
        self.read_mapped(state, stream, first, out)?;
        check_rows(digest, out)
    }

    /// Rows of a mapped stream from `first` on, proved by the digests of the map and of the parts.
    pub(super) fn read_mapped(&self, state: &mut ReadState, stream: usize, first: u64, out: &mut [u8]) -> Result<()> {
        self.read_mapped_as(state, stream, first, false, out)
    }

    fn read_mapped_as(
        &self,
        state: &mut ReadState,
        stream: usize,
        first: u64,
        is_proved_above: bool,
        out: &mut [u8],
    ) -> Result<()> {
        let Some(description) = self.archive().streams().get(stream) else { return Err(no_stream(stream)) };
        let row_bytes = u64::from(description.row_bytes);
        let window_bytes = to_usize(WINDOW_ROWS.saturating_mul(row_bytes), "rows")?;
        let mut row = first;
        for out in out.chunks_mut(window_bytes) {
            let rows = out.len() as u64 / row_bytes;
            let pieces = self.pieces(state, stream, row, rows)?;
            self.gather(state, row_bytes, &pieces, is_proved_above, out)?;
            row += rows;
        }
        Ok(())
    }

    /// A name of all that the rows of a mapped chunk follow from, and its digest: chunks of one name are equally whole. `None`
    /// for an archive that shares nothing.
    pub(super) fn mapped_name(
        &self,
        state: &mut ReadState,
        (stream, chunk): (usize, u64),
        digest: &[u8; 32],
    ) -> Result<Option<[u8; 32]>> {
        let Some(description) = self.archive().streams().get(stream) else { return Err(no_stream(stream)) };
        let (first, rows) = (chunk.saturating_mul(description.chunk_rows), description.rows_in_chunk(chunk));
        let mut text = digest.to_vec();
        let mut known: Option<Kept<(usize, u64), [u8; 32]>> = None;
        for piece in self.pieces(state, stream, first, rows)? {
            let chunk_rows = self.archive().streams().get(piece.part).map_or(1, |part| part.chunk_rows);
            let key = (piece.part, piece.first / chunk_rows);
            let name = match known.filter(|(held, _)| *held == key) {
                Some((_, name)) => name,
                None => match self.shared_name(key.0, key.1)? {
                    Some((_, name)) => name,
                    None => return Ok(None),
                },
            };
            known = Some((key, name));
            text.extend(name);
            text.extend((piece.first % chunk_rows).to_le_bytes());
            text.extend(piece.rows.to_le_bytes());
        }
        Ok(Some(crate::digest::blake3(&text)))
    }

    /// Where rows of any stream stand: (stream with blocks, first row there, rows), none across chunks.
    pub(super) fn places(
        &self,
        state: &mut ReadState,
        stream: usize,
        first: u64,
        rows: u64,
    ) -> Result<Vec<(usize, u64, u64)>> {
        if self.archive().mapping(stream).is_some() {
            let pieces = self.pieces(state, stream, first, rows)?;
            return Ok(pieces.iter().map(|piece| (piece.part, piece.first, piece.rows)).collect());
        }
        let Some(description) = self.archive().streams().get(stream) else { return Err(no_stream(stream)) };
        let (mut found, mut row, end) = (Vec::new(), first, first.saturating_add(rows));
        while row < end {
            let here = (description.chunk_rows - row % description.chunk_rows).min(end - row);
            found.push((stream, row, here));
            row += here;
        }
        Ok(found)
    }

    /// What the map says of rows `first ..`, every value checked.
    fn pieces(&self, state: &mut ReadState, stream: usize, first: u64, rows: u64) -> Result<Vec<Piece>> {
        let Some(mapping) = self.archive().mapping(stream) else { return Err(no_stream(stream)) };
        let mut values = vec![0; to_usize(rows.saturating_mul(8), "map")?];
        self.read_rows(state, mapping.map, first, &mut values)?;
        let streams = self.archive().streams();
        let mut pieces: Vec<Piece> = Vec::new();
        let mut known = None;
        for (at, value) in (first..).zip(values.as_chunks::<8>().0) {
            let (number, row) = map::split(u64::from_le_bytes(*value));
            let (part, description) = match known.filter(|(last, _)| *last == number) {
                Some((_, found)) => found,
                None => {
                    let part = mapping.parts.get(&number).copied();
                    let found = part.and_then(|part| Some((part, streams.get(part)?)));
                    let Some(found) = found else { return Err(no_row(at, number, row, "has no such part")) };
                    known = Some((number, found));
                    found
                }
            };
            if row >= description.row_count {
                return Err(no_row(at, number, row, &format!("the part has {} rows", description.row_count)));
            }
            match pieces.last_mut() {
                Some(last)
                    if last.part == part && last.first + last.rows == row && row % description.chunk_rows != 0 =>
                {
                    last.rows += 1;
                }
                _ => pieces.push(Piece { part, first: row, rows: 1 }),
            }
        }
        Ok(pieces)
    }

    /// The rows of the pieces, one after another. Where most of them stand in one chunk as they do in `out`, that chunk is
    /// decoded in place.
    fn gather(
        &self,
        state: &mut ReadState,
        row_bytes: u64,
        pieces: &[Piece],
        is_proved_above: bool,
        out: &mut [u8],
    ) -> Result<()> {
        // Where chunks are shared, the next archive wants this one, too.
        let main = if self.shares() { None } else { self.main_chunk(state, row_bytes, pieces, out.len() as u64) };
        let chunks = self.by_chunk(pieces, main);
        let how = How { is_proved_above, known: None };
        let mut decoded = Vec::new();
        if let Some((part, chunk)) = main {
            self.read_chunk_as(state, (part, chunk), how, out)?;
            if out.len() as u64 > WHOLE_CHUNK_BYTES_MAX {
                // What changed is coded against these rows: it is decoded before any of it takes their places.
                let how = How { known: Some((part, out)), ..how };
                for place in chunks.keys() {
                    decoded.push(self.kept_chunk_as(state, *place, how)?);
                }
            }
        }
        let mut decoded = decoded.into_iter();
        for (place, places) in chunks {
            let held = decoded.next().map_or_else(|| self.kept_chunk_as(state, place, how), Ok)?;
            for Place { inside, at, rows } in places {
                let (from, to) = (to_usize(inside * row_bytes, "rows")?, to_usize(at * row_bytes, "rows")?);
                let bytes = to_usize(rows * row_bytes, "rows")?;
                out[to..to + bytes].copy_from_slice(&held[from..from + bytes]);
            }
        }
        Ok(())
    }

    /// What is wanted of each chunk, so that each is decoded once however the rows are shuffled; of the main chunk what does
    /// not stand in its place already.
    fn by_chunk(&self, pieces: &[Piece], main: Option<(usize, u64)>) -> BTreeMap<(usize, u64), Vec<Place>> {
        let streams = self.archive().streams();
        let mut chunks: BTreeMap<(usize, u64), Vec<Place>> = BTreeMap::new();
        let mut at = 0;
        for piece in pieces {
            let chunk_rows = streams.get(piece.part).map_or(1, |part| part.chunk_rows);
            let (key, inside) = ((piece.part, piece.first / chunk_rows), piece.first % chunk_rows);
            if main != Some(key) || inside != at {
                chunks.entry(key).or_default().push(Place { inside, at, rows: piece.rows });
            }
            at += piece.rows;
        }
        chunks
    }

    /// The chunk of a part that is as long as `out` and whose rows stand at their places there, if it gives at least half.
    fn main_chunk(&self, state: &ReadState, row_bytes: u64, pieces: &[Piece], out_bytes: u64) -> Option<(usize, u64)> {
        let streams = self.archive().streams();
        let mut at = 0;
        let mut found: Option<((usize, u64), u64)> = None;
        for piece in pieces {
            let part = streams.get(piece.part)?;
            let key = (piece.part, piece.first / part.chunk_rows);
            if piece.first % part.chunk_rows == at && part.chunk_bytes(key.1) == out_bytes {
                match &mut found {
                    Some((held, rows)) if *held == key => *rows += piece.rows,
                    Some(_) => {}
                    None => found = Some((key, piece.rows)),
                }
            }
            at += piece.rows;
        }
        let (key, _) = found.filter(|(_, rows)| rows.saturating_mul(2).saturating_mul(row_bytes) >= out_bytes)?;
        if out_bytes <= WHOLE_CHUNK_BYTES_MAX {
            return Some(key);
        }
        // A partition of links, and what rows that changed are coded against: where it is looked at again, or is one of
        // several, it is kept. All others are held at once, which must not be more than it is.
        let is_alone = streams.get(key.0).is_some_and(|part| part.chunk_count == 1);
        let others = self.by_chunk(pieces, Some(key)).into_keys();
        let bytes = others.map(|(part, chunk)| streams.get(part).map_or(0, |part| part.chunk_bytes(chunk)));
        let is_short = bytes.fold(0, u64::saturating_add) <= out_bytes;
        (is_alone && is_short && !state.keeps_large()).then_some(key)
    }

    /// A block of codec 34 or 35 (spec, `codecs/README.md`): references, then changes against the rows they name. `known`: a
    /// stream whose rows need not be read.
    pub(super) fn decode_against_base(
        &self,
        state: &mut ReadState,
        (codec, stream): (Codec, usize),
        shape: &ChunkShape,
        block: &[u8],
        known: Option<(usize, &[u8])>,
        out: &mut [u8],
    ) -> Result<()> {
        let streams = self.archive().streams();
        let base = streams.get(stream).and_then(|part| {
            let mapping = self.archive().mapping(part.part.owner?)?;
            mapping.parts.get(&part.part.base).copied()
        });
        let Some((number, base)) = base.and_then(|number| Some((number, streams.get(number)?))) else {
            let detail = "stands in a stream that is no part with a base part";
            return Err(Error::damaged(Layer::Codec, format!("{} block", codec.name()), detail));
        };
        let row_bytes = to_usize(u64::from(base.row_bytes), "row")?;
        let (references, payload) = codec::split_references(codec, block, out.len() / row_bytes, &mut state.scratch)?;
        let rows = match known.filter(|(stream, _)| *stream == number) {
            Some((_, rows)) => rows_at(rows, &references, row_bytes),
            None => self.gather_rows(state, number, &references, row_bytes)?,
        };
        codec::decode_against(codec, shape, &references, &rows, payload, out, &mut state.scratch)
    }

    /// The named rows of a stream, one after another; a row that it does not have is `FF` bytes.
    ///
    /// # Errors
    /// Those of `read_rows`.
    pub fn gather_rows(
        &self,
        state: &mut ReadState,
        stream: usize,
        references: &[u64],
        row_bytes: usize,
    ) -> Result<Vec<u8>> {
        let Some(base) = self.archive().streams().get(stream) else { return Err(no_stream(stream)) };
        // As many as the caller has rows of the same width.
        let mut rows = vec![0xFF; references.len().saturating_mul(row_bytes)];
        let mut order: Vec<(u64, usize)> = references.iter().copied().zip(0..).collect();
        order.retain(|(reference, _)| *reference < base.row_count);
        order.sort_unstable();
        let mut kept: Option<Kept<u64>> = None;
        for (reference, at) in order {
            let (chunk, inside) = (reference / base.chunk_rows, reference % base.chunk_rows);
            if kept.as_ref().is_none_or(|(held, _)| *held != chunk) {
                kept = Some((chunk, self.kept_chunk(state, stream, chunk)?));
            }
            if let Some((_, held)) = &kept {
                let start = to_usize(inside, "row")? * row_bytes;
                rows[at * row_bytes..(at + 1) * row_bytes].copy_from_slice(&held[start..start + row_bytes]);
            }
        }
        Ok(rows)
    }
}

/// The named rows, one after another; one that does not exist is `FF` bytes.
fn rows_at(rows: &[u8], references: &[u64], row_bytes: usize) -> Vec<u8> {
    let mut found = vec![0xFF; references.len().saturating_mul(row_bytes)];
    for (out, reference) in found.chunks_exact_mut(row_bytes).zip(references) {
        let start = usize::try_from(*reference).ok().and_then(|row| row.checked_mul(row_bytes));
        if let Some(row) = start.and_then(|start| rows.get(start..)?.get(..row_bytes)) {
            out.copy_from_slice(row);
        }
    }
    found
}

fn no_row(at: u64, part: u16, row: u64, why: &str) -> Error {
    Error::damaged(Layer::Codec, format!("map, row {at}"), format!("stands for row {row} of part {part}: {why}"))
}
