//! Codes that faiss keeps in blocks for SIMD: split as blocks, not unpermuted. Restored, not loaded.
//!
//! `IPfs`: header · product quantizer · implem i32 · bbs i32 · qbs i32 · ntotal2 u64 · M2 u64 · codes vec<u8>.
//! `Irfn`: header · RaBitQ quantizer · centre vec<f32> · qb u8 · bbs i32 · ntotal2 u64 · M2 u64 · code_size u64 ·
//! codes vec<u8>. ntotal2 is ntotal rounded up to whole blocks of bbs vectors; a row is a block.
//! Blocked lists, `ilbl`: `nlist` u64 · `code_size` u64 · vectors a block u64 · bytes a block u64 · for each list, empty
//! ones too, ids vec<i64> · codes vec<u8>. Such a list has two counts and a group of a plan only one, so all lists
//! are one stream of bytes.

use super::{Index, Kind, Reader, header, quantizer, rabitq};
use crate::error::Result;
use crate::stream::{ElementType, StreamRole};

pub(super) fn read_product(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let header = header::read(reader)?;
    quantizer::read_product(reader, header.dimension)?;
    reader.i32("implem")?;
    let block_rows = reader.i32("bbs")?;
    reader.i32("qbs")?;
    let padded = reader.u64("ntotal2")?;
    reader.u64("M2")?;
    read_blocks(reader, block_rows, padded)?;
    Ok(Index::new(fourcc, Kind::ProductQuantizer, &header))
}

pub(super) fn read_rabitq(reader: &mut Reader<'_>, fourcc: &str) -> Result<Index> {
    let header = header::read(reader)?;
    rabitq::read_quantizer(reader, header.dimension, true)?;
    reader.parameter("center", StreamRole::PARAMETERS, ElementType::F32, header.dimension)?;
    reader.u8("qb")?;
    let block_rows = reader.i32("bbs")?;
    let padded = reader.u64("ntotal2")?;
    reader.u64("M2")?;
    reader.u64("code_size")?;
    read_blocks(reader, block_rows, padded)?;
    Ok(Index::new(fourcc, Kind::ProductQuantizer, &header))
}

fn read_blocks(reader: &mut Reader<'_>, block_rows: i32, padded: u64) -> Result<()> {
    let byte_count = reader.count("codes", 1)?;
    let block_rows = u64::try_from(block_rows).unwrap_or(0);
    let blocks = padded.checked_div(block_rows).unwrap_or(0);
    let whole = block_rows > 0 && padded.is_multiple_of(block_rows);
    // The stored vector ends on a whole block, or is empty with the index.
    if !whole || (blocks == 0) != (byte_count == 0) || byte_count.checked_rem(blocks).unwrap_or(0) != 0 {
        let detail = format!("expected whole blocks of {block_rows} vectors; found {byte_count} bytes for {padded}");
        return Err(reader.malformed("codes", detail));
    }
    let width = byte_count.checked_div(blocks).unwrap_or(1);
    reader.rows("codes", StreamRole::CODES, ElementType::U8, width, byte_count)?;
    reader.fact("block_rows", block_rows);
    Ok(())
}

pub(super) fn read_lists(reader: &mut Reader<'_>, list_count: u64, row_count: u64) -> Result<()> {
    let fourcc = reader.array::<4>("fourcc of inverted lists")?;
    let stored_lists = reader.u64("nlist of the lists")?;
    reader.u64("code_size of the lists")?;
    let block_rows = reader.u64("vectors a block")?;
    let block_bytes = reader.u64("bytes a block")?;
    if &fourcc != b"ilbl" || stored_lists != list_count || block_rows == 0 || block_bytes == 0 {
        let detail = format!(
            "expected ilbl with {list_count} lists; found \"{}\" with {stored_lists} in blocks of {block_rows} vectors \
             and {block_bytes} bytes",
            fourcc.escape_ascii()
        );
        return Err(reader.malformed("inverted lists", detail));
    }
    let (mut at, mut rows) = (0u64, 0u64);
    for list in 0..list_count {
        let ids = peek_count(reader, at, list)?;
        let codes_at =
            ids.checked_mul(8).and_then(|bytes| bytes.checked_add(8)).and_then(|bytes| at.checked_add(bytes));
        let Some(codes_at) = codes_at else { return Err(uneven(reader, list)) };
        let codes = peek_count(reader, codes_at, list)?;
        // Counts that agree with each other: this is what shows that the layout is understood.
        if ids.div_ceil(block_rows).checked_mul(block_bytes) != Some(codes) {
            return Err(uneven(reader, list));
        }
        let end = codes.checked_add(8).and_then(|bytes| codes_at.checked_add(bytes));
        let Some(end) = end else { return Err(uneven(reader, list)) };
        at = end;
        rows = rows.saturating_add(ids);
    }
    if rows != row_count {
        return Err(reader.malformed("inverted lists", format!("expected {row_count} rows in all, found {rows}")));
    }
    reader.rows("lists", StreamRole::OPAQUE, ElementType::U8, 1, at)?;
    reader.fact("block_rows", block_rows);
    Ok(())
}

fn peek_count(reader: &mut Reader<'_>, at: u64, list: u64) -> Result<u64> {
    let mut bytes = [0u8; 8];
    if reader.tape.peek(at, &mut bytes)? {
        return Ok(u64::from_le_bytes(bytes));
    }
    Err(reader.malformed("inverted lists", format!("expected list {list} in a file; found its end, or a live index")))
}

fn uneven(reader: &Reader<'_>, list: u64) -> crate::error::Error {
    reader.malformed("inverted lists", format!("expected as many blocks as the ids of list {list} need; found others"))
}
