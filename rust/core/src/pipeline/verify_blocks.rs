//! Blocks under verification: read in runs, checksum, and rows where that is asked for.

use super::rows::{ReadState, RowReader};
use super::verify::Level;
use crate::archive::Entry;
use crate::codec::Codec;
use crate::digest;
use crate::error::{Error, Layer, Result, to_usize};
use crate::limits::BLOCK_ALIGNMENT;

/// Blocks of one read.
const READ_BYTES: u64 = 4 << 20;

#[derive(Debug, Clone, Copy)]
pub(super) struct Located {
    pub stream: usize,
    pub chunk: u64,
    pub entry: Entry,
}

impl Located {
    /// In this archive, as a block.
    pub fn is_here(&self) -> bool {
        self.entry.archive == 0 && !self.entry.is_mapped()
    }

    pub fn place(&self) -> (u64, u32) {
        (self.entry.offset, self.entry.stored_bytes)
    }

    pub fn end(&self) -> u64 {
        self.entry.offset.saturating_add(self.entry.stored_bytes.into())
    }
}

/// Neighbouring blocks that are read together.
pub(super) struct Groups<'a> {
    pub rest: &'a [Located],
}

impl<'a> Iterator for Groups<'a> {
    type Item = &'a [Located];

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rest.first()?;
        let start = first.entry.offset;
        let close = |block: &Located| block.entry.offset >= start && block.end() - start <= READ_BYTES;
        let count = self.rest.iter().take_while(|block| close(block)).count().max(1);
        let (group, rest) = self.rest.split_at(count);
        self.rest = rest;
        Some(group)
    }
}

#[derive(Default)]
pub(super) struct CheckState {
    bytes: Vec<u8>,
    chunk: Vec<u8>,
    rows: ReadState,
}

pub(super) fn check_elsewhere(reader: &RowReader, state: &mut CheckState, block: &Located, level: Level) -> Result<()> {
    if level == Level::Stored {
        return reader.archive().read_block(&block.entry, &mut state.bytes);
    }
    let raw_bytes = reader.archive().streams().get(block.stream).map_or(0, |stream| stream.chunk_bytes(block.chunk));
    state.chunk.resize(to_usize(raw_bytes, "chunk")?, 0);
    reader.read_chunk(&mut state.rows, block.stream, block.chunk, &mut state.chunk)
}

/// What was found of one block. `padded`: the bytes from its end to the next aligned place were read with it, and are
/// zeros: reading them by themselves would cost a store the whole archive once more.
pub(super) struct Checked {
    pub fault: Option<Error>,
    pub padded: bool,
}

pub(super) fn check_blocks(
    reader: &RowReader,
    state: &mut CheckState,
    blocks: &[Located],
    level: Level,
) -> Vec<Checked> {
    let start = blocks.first().map_or(0, |block| block.entry.offset);
    let end = blocks.iter().map(Located::end).max().unwrap_or(start);
    let mut read_to = |end: u64| {
        to_usize(end - start, "blocks").and_then(|bytes| {
            state.bytes.resize(bytes, 0);
            reader.archive().read_range(start, &mut state.bytes)
        })
    };
    // The padding may be what cannot be read: that says nothing of the blocks.
    let together = read_to(padded_end(reader, end)).or_else(|_| read_to(end));
    let Err(error) = together else {
        let check = |block: &Located| {
            let padded = is_padded(reader, &state.bytes, start, block);
            Checked { fault: check_block(reader, state, block, start, level, None), padded }
        };
        return blocks.iter().map(check).collect();
    };
    if let [block] = blocks {
        let fault = check_block(reader, state, block, start, level, Some(&error));
        return vec![Checked { fault, padded: false }];
    }
    // One place that cannot be read must not speak against its neighbours.
    blocks.iter().flat_map(|block| check_blocks(reader, state, std::slice::from_ref(block), level)).collect()
}

/// Where the padding after a block ends.
fn padded_end(reader: &RowReader, end: u64) -> u64 {
    let aligned = end.checked_next_multiple_of(BLOCK_ALIGNMENT).unwrap_or(end);
    aligned.min(reader.archive().index_offset()).max(end)
}

fn is_padded(reader: &RowReader, bytes: &[u8], start: u64, block: &Located) -> bool {
    let place = |offset: u64| usize::try_from(offset - start).ok();
    let range = place(block.end()).zip(place(padded_end(reader, block.end())));
    let padding = range.and_then(|(from, to)| bytes.get(from..to));
    padding.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
}

fn check_block(
    reader: &RowReader,
    state: &mut CheckState,
    block: &Located,
    start: u64,
    level: Level,
    unread: Option<&Error>,
) -> Option<Error> {
    let at = usize::try_from(block.entry.offset - start).unwrap_or(usize::MAX);
    let length = usize::try_from(block.entry.stored_bytes).unwrap_or(usize::MAX);
    let bytes = at.checked_add(length).and_then(|end| state.bytes.get_mut(at..end));
    let (None, Some(bytes)) = (unread, bytes) else {
        // Not a word about the bytes, unless they lie where there are none.
        let why = unread.cloned().unwrap_or_else(|| Error::damaged(Layer::Block, "", "ends outside the archive"));
        return Some(why.at(Layer::Block).within("cannot be read"));
    };
    let crc = digest::crc64(bytes);
    if crc != block.entry.block_crc {
        let detail = format!("checksum {crc:016x}, expected {:016x}; use another copy", block.entry.block_crc);
        return Some(Error::damaged(Layer::Block, "", detail));
    }
    // Rows that are coded against those of an ancestor are for whoever has it.
    let is_based = Codec::from_number(block.entry.codec).is_some_and(Codec::needs_base);
    if level == Level::Stored || (is_based && !reader.archive().has_ancestors()) {
        return None;
    }
    let raw_bytes = reader.archive().streams().get(block.stream).map_or(0, |stream| stream.chunk_bytes(block.chunk));
    state.chunk.resize(usize::try_from(raw_bytes).unwrap_or(0), 0);
    let Located { stream, chunk, entry } = block;
    reader.decode(&mut state.rows, (*stream, *chunk), entry, bytes, &mut state.chunk).err()
}
