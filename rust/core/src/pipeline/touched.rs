//! Which rows of an archive are lost when blocks of it or of its ancestors are damaged.

use super::rows::{ReadState, RowReader};
use crate::archive::ArchiveId;
use crate::codec::{self, Codec, map};
use crate::error::{Result, to_usize};
use crate::stream::StreamDescription;
use serde::Serialize;
use std::collections::HashSet;

/// A run of rows of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Touched {
    pub stream: String,
    pub first_row: u64,
    pub row_count: u64,
}

/// Blocks by the archive that they lie in and their offset there.
pub type Blocks = HashSet<(ArchiveId, u64)>;

/// The rows that cannot be read without the blocks, stream by stream in order; neighbouring runs are one.
///
/// # Errors
/// Those of reading the index, and maps and references that are not among the blocks.
pub fn touched(reader: &RowReader, blocks: &Blocks) -> Result<Vec<Touched>> {
    let lost = Lost::find(reader, blocks)?;
    let streams = reader.archive().streams();
    let mut found = Vec::new();
    for (number, stream) in super::report::logical_streams(streams) {
        match reader.archive().mapping(number) {
            None => {
                for chunk in 0..stream.chunk_count {
                    if lost.chunks.contains(&(number, chunk)) {
                        note(&mut found, stream, chunk * stream.chunk_rows, stream.rows_in_chunk(chunk));
                    }
                }
            }
            Some(mapping) => lost.of_mapped(reader, stream, mapping, &mut found)?,
        }
    }
    Ok(found)
}

fn note(found: &mut Vec<Touched>, stream: &StreamDescription, first_row: u64, row_count: u64) {
    match found.last_mut() {
        Some(last) if last.stream == stream.name && last.first_row + last.row_count == first_row => {
            last.row_count += row_count;
        }
        _ => found.push(Touched { stream: stream.name.clone(), first_row, row_count }),
    }
}

/// Chunks (stream, number) that cannot be decoded.
struct Lost {
    chunks: HashSet<(usize, u64)>,
}

impl Lost {
    fn find(reader: &RowReader, blocks: &Blocks) -> Result<Self> {
        let archive = reader.archive();
        let id_of = |number: u16| match usize::from(number).checked_sub(1) {
            None => Some(archive.id()),
            Some(number) => archive.ancestors().get(number).map(|other| other.id),
        };
        let mut lost = Self { chunks: HashSet::new() };
        for (number, stream) in archive.streams().iter().enumerate() {
            for chunk in 0..stream.chunk_count {
                let entry = archive.entry(number, chunk)?;
                let is_hit = id_of(entry.archive).is_some_and(|id| blocks.contains(&(id, entry.offset)));
                if is_hit && !entry.is_mapped() {
                    lost.chunks.insert((number, chunk));
                }
            }
        }
        // Rows that are coded against a base part go down with it.
        for (number, stream) in archive.streams().iter().enumerate().filter(|(_, stream)| stream.part.base != 0) {
            let mapping = stream.part.owner.and_then(|owner| archive.mapping(owner));
            let base = mapping.and_then(|mapping| mapping.parts.get(&stream.part.base)).copied();
            let Some(base) = base.filter(|base| lost.chunks.iter().any(|(stream, _)| stream == base)) else { continue };
            for chunk in 0..stream.chunk_count {
                if !lost.chunks.contains(&(number, chunk)) && lost.refers(reader, number, chunk, base)? {
                    lost.chunks.insert((number, chunk));
                }
            }
        }
        Ok(lost)
    }

    /// Whether a block of changed rows needs a row of a lost chunk of its base part.
    fn refers(&self, reader: &RowReader, stream: usize, chunk: u64, base: usize) -> Result<bool> {
        let archive = reader.archive();
        let (Some(description), Some(base_part)) = (archive.streams().get(stream), archive.streams().get(base)) else {
            return Ok(false);
        };
        let entry = archive.entry(stream, chunk)?;
        let Some(codec) = Codec::from_number(entry.codec).filter(|codec| codec.needs_base()) else { return Ok(false) };
        let mut block = Vec::new();
        archive.read_block(&entry, &mut block)?;
        let block = archive.open_block((stream, chunk), &entry, &mut block)?;
        let rows = to_usize(description.rows_in_chunk(chunk), "rows")?;
        let (references, _) = codec::split_references(codec, block, rows, &mut codec::Scratch::new())?;
        let is_lost =
            |row: &u64| *row < base_part.row_count && self.chunks.contains(&(base, row / base_part.chunk_rows));
        Ok(references.iter().any(is_lost))
    }

    fn of_mapped(
        &self,
        reader: &RowReader,
        owner: &StreamDescription,
        mapping: &crate::archive::Mapping,
        found: &mut Vec<Touched>,
    ) -> Result<()> {
        let streams = reader.archive().streams();
        let Some(map) = streams.get(mapping.map) else { return Ok(()) };
        let is_ours = |stream: &usize| *stream == mapping.map || mapping.parts.values().any(|part| part == stream);
        if !self.chunks.iter().any(|(stream, _)| is_ours(stream)) {
            return Ok(());
        }
        let mut state = ReadState::default();
        for chunk in 0..map.chunk_count {
            let (first, rows) = (chunk * map.chunk_rows, map.rows_in_chunk(chunk));
            if self.chunks.contains(&(mapping.map, chunk)) {
                note(found, owner, first, rows);
                continue;
            }
            let mut values = vec![0; to_usize(map.chunk_bytes(chunk), "map")?];
            reader.read_chunk(&mut state, mapping.map, chunk, &mut values)?;
            for (row, value) in (first..).zip(values.as_chunks::<8>().0) {
                let (part, inside) = map::split(u64::from_le_bytes(*value));
                let part = mapping.parts.get(&part).copied();
                let is_lost = part.and_then(|part| Some((part, inside / streams.get(part)?.chunk_rows)));
                if is_lost.is_none_or(|chunk| self.chunks.contains(&chunk)) {
                    note(found, owner, row, 1);
                }
            }
        }
        Ok(())
    }
}
