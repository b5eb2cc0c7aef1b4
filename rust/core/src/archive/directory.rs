//! The directory (spec 5): where the index is, how to check it, and what streams there are.

use std::collections::HashSet;

use super::frozen::{BLOCK_CRC_BYTES, DIGEST_BYTES, DIRECTORY_MAGIC};
use super::parts::{self, Mapping};
use super::{Ancestor, ArchiveId, Identity};
use crate::bytes::{Appender, Cursor};
use crate::error::{Error, Layer, Result};
use crate::limits::{
    ANCESTOR_RECORD_BYTES, ANCESTORS_MAX, BLOCK_ALIGNMENT, CHUNK_BYTES_MAX, DIRECTORY_HEADER_BYTES,
    ENTRIES_PER_BLOCK_MAX, ENTRY_BYTES, HEADER_BYTES, SEALED_OVERHEAD_BYTES, SMALLEST_ARCHIVE_BYTES,
    STREAM_RECORD_BYTES, STREAMS_MAX,
};
use crate::names;
use crate::stream::{ElementType, PartRecord, StreamDescription, StreamRole, check_name};

/// What is readable without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicDirectory {
    pub index_offset: u64,
    pub entry_count: u64,
    pub entries_per_block: u32,
    /// CRC-64 of each index block as stored.
    pub block_crcs: Vec<u64>,
    pub ancestors: Vec<Ancestor>,
    stream_count: usize,
    name_bytes: usize,
    /// Bytes of the public part up to the seal record, and with it.
    seal_start: usize,
    pub public_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    pub public: PublicDirectory,
    /// BLAKE3 of each index block, opened.
    pub block_digests: Vec<[u8; 32]>,
    pub streams: Vec<StreamDescription>,
    /// Of each stream that has a map.
    pub mappings: Vec<Option<Mapping>>,
}

const PLACE: &str = "directory";

/// Bytes of a directory, or `None` when the sum overflows.
pub(crate) fn byte_count(block_count: u64, ancestor_count: u64, stream_count: u64, name_bytes: u64) -> Option<u64> {
    let blocks = block_count.checked_mul((BLOCK_CRC_BYTES + DIGEST_BYTES) as u64)?;
    let records = stream_count.checked_mul(STREAM_RECORD_BYTES as u64)?;
    let ancestors = ancestor_count.checked_mul(ANCESTOR_RECORD_BYTES as u64)?;
    (DIRECTORY_HEADER_BYTES as u64)
        .checked_add(blocks)?
        .checked_add(ancestors)?
        .checked_add(records)?
        .checked_add(name_bytes)
}

impl PublicDirectory {
    /// The seal record, of a sealed archive.
    pub fn seal<'a>(&self, directory: &'a [u8]) -> &'a [u8] {
        directory.get(self.seal_start..self.public_bytes).unwrap_or_default()
    }

    /// Offset and bytes of an index block as stored, and its entries; an empty one for a block that does not exist.
    pub fn index_block(&self, block: u64, overhead: u64) -> IndexBlock {
        // No overflow for a block that exists: the directory was checked.
        let per_block = u64::from(self.entries_per_block);
        let first_entry = block.saturating_mul(per_block);
        let entries = self.entry_count.saturating_sub(first_entry).min(per_block);
        let entry_bytes = ENTRY_BYTES as u64;
        let offset = first_entry.saturating_mul(entry_bytes).saturating_add(block.saturating_mul(overhead));
        let byte_count = if entries == 0 { 0 } else { entries * entry_bytes + overhead };
        IndexBlock { offset: self.index_offset.saturating_add(offset), byte_count, first_entry, entries }
    }
}

/// Where an index block lies, and the entries that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexBlock {
    pub offset: u64,
    pub byte_count: u64,
    pub first_entry: u64,
    pub entries: u64,
}

/// What a writer puts down.
pub(crate) struct NewDirectory<'a> {
    pub index_offset: u64,
    pub entry_count: u64,
    pub entries_per_block: u32,
    pub block_crcs: Vec<u64>,
    pub block_digests: Vec<[u8; 32]>,
    pub ancestors: &'a [Ancestor],
    pub streams: &'a [StreamDescription],
}

/// The two parts of a directory as a writer makes them, before the second is sealed.
pub(crate) struct Encoded {
    pub public: Vec<u8>,
    pub sealable: Vec<u8>,
}

/// # Errors
/// `LimitExceeded` when a count does not fit its field; the writer's own limits are far below.
pub(crate) fn encode(directory: &NewDirectory<'_>, seal: &[u8]) -> Result<Encoded> {
    let overhead = if seal.is_empty() { 0 } else { SEALED_OVERHEAD_BYTES };
    let name_bytes: usize = directory.streams.iter().map(|stream| stream.name.len()).sum();
    let mut fields = Appender::default();
    fields
        .bytes(&DIRECTORY_MAGIC)
        .u64(directory.index_offset)
        .u64(directory.entry_count)
        .u32(directory.entries_per_block)
        .u32(narrow(directory.streams.len())?)
        .u32(narrow(directory.ancestors.len())?)
        .u32(narrow(name_bytes)?)
        .u32(narrow(seal.len())?)
        .u32(narrow(overhead)?)
        .u64(0) // parity_offset
        .zeros(8);
    for crc in &directory.block_crcs {
        fields.u64(*crc);
    }
    for ancestor in directory.ancestors {
        fields.bytes(&ancestor.id.0).u64(ancestor.archive_bytes).bytes(&ancestor.root).zeros(8);
    }
    fields.bytes(seal);
    let public = fields.into_vec();
    let mut fields = Appender::default();
    for digest in &directory.block_digests {
        fields.bytes(digest);
    }
    let mut name_offset = 0;
    for stream in directory.streams {
        encode_record(&mut fields, stream, narrow(name_offset)?)?;
        name_offset += stream.name.len();
    }
    for stream in directory.streams {
        fields.bytes(stream.name.as_bytes());
    }
    Ok(Encoded { public, sealable: fields.into_vec() })
}

fn encode_record(fields: &mut Appender, stream: &StreamDescription, name_offset: u32) -> Result<()> {
    fields
        .u32(name_offset)
        .u16(narrow(stream.name.len())?)
        .u16(stream.role.0)
        .u16(stream.element_type.number())
        .u16(0) // flags
        .u32(stream.row_bytes)
        .u32(stream.row_elements)
        .zeros(4)
        .u64(stream.row_count)
        .u64(stream.chunk_rows)
        .u64(stream.first_entry)
        .u64(stream.chunk_count)
        .u64(stream.stored_bytes)
        .u32(stream.part.owner.map_or(Ok(0), |owner| narrow(owner + 1))?)
        .u32(stream.part.number.into())
        .u32(stream.part.base.into())
        .zeros(4);
    Ok(())
}

fn narrow<Narrow: TryFrom<usize>>(value: usize) -> Result<Narrow> {
    Narrow::try_from(value).map_err(|_| {
        Error::new(crate::error::ErrorKind::LimitExceeded, PLACE, format!("{value} does not fit its field"))
    })
}

/// The public part; nothing of the rest is looked at.
///
/// # Errors
/// `Damaged` at layer `Directory`.
pub(crate) fn decode_public(bytes: &[u8], directory_offset: u64, identity: &Identity) -> Result<PublicDirectory> {
    let mut fields = Cursor::new(bytes, Layer::Directory, PLACE);
    let counts = decode_counts(&mut fields, bytes.len(), directory_offset, identity)?;
    // From here on `bytes` has earned every count: the parts add up to its length.
    let block_crcs = (0..counts.block_count).map(|_| fields.u64()).collect::<Result<Vec<_>>>()?;
    let ancestors = decode_ancestors(&mut fields, counts.ancestor_count, identity.id)?;
    let seal_start = fields.position();
    fields.take(counts.seal_bytes)?;
    let Counts { index_offset, entry_count, entries_per_block, stream_count, name_bytes, .. } = counts;
    Ok(PublicDirectory {
        index_offset,
        entry_count,
        entries_per_block,
        block_crcs,
        ancestors,
        stream_count,
        name_bytes,
        seal_start,
        public_bytes: fields.position(),
    })
}

/// The rest, opened where it was sealed.
///
/// # Errors
/// `Damaged` at layer `Directory`.
pub(crate) fn decode_sealable(public: PublicDirectory, bytes: &[u8], identity: &Identity) -> Result<Directory> {
    let mut fields = Cursor::new(bytes, Layer::Directory, PLACE);
    let block_digests = public.block_crcs.iter().map(|_| fields.array()).collect::<Result<Vec<_>>>()?;
    let records = fields.take(public.stream_count.saturating_mul(STREAM_RECORD_BYTES))?;
    let names = fields.take(public.name_bytes)?;
    let streams = decode_streams(records, names, &public, identity.is_delta())?;
    let mappings = parts::check(&streams, identity.is_delta())?;
    Ok(Directory { public, block_digests, streams, mappings })
}

/// The counts of the public header: all that decides where the other parts lie.
struct Counts {
    index_offset: u64,
    entry_count: u64,
    entries_per_block: u32,
    block_count: usize,
    ancestor_count: usize,
    stream_count: usize,
    name_bytes: usize,
    seal_bytes: usize,
}

/// Bytes of an index, or `None` when the sum overflows.
fn index_byte_count(entry_count: u64, block_count: u64, overhead: u64) -> Option<u64> {
    entry_count.checked_mul(ENTRY_BYTES as u64)?.checked_add(block_count.checked_mul(overhead)?)
}

fn decode_counts(
    fields: &mut Cursor<'_>,
    directory_bytes: usize,
    directory_offset: u64,
    identity: &Identity,
) -> Result<Counts> {
    let is_delta = identity.is_delta();
    let magic: [u8; 8] = fields.array()?;
    let index_offset = fields.u64()?;
    let entry_count = fields.u64()?;
    let entries_per_block = fields.u32()?;
    let stream_count = fields.u32()?;
    let (ancestor_count, name_bytes) = (fields.u32()?, fields.u32()?);
    let (seal_bytes, sealed_overhead) = (fields.u32()?, fields.u32()?);
    let (parity_offset, reserved) = (fields.u64()?, fields.u64()?);

    if magic != DIRECTORY_MAGIC {
        return Err(damaged(format!("magic {magic:02x?}, expected {DIRECTORY_MAGIC:02x?}")));
    }
    let ancestors_max = if is_delta { ANCESTORS_MAX as u64 } else { 0 };
    if u64::from(ancestor_count) > ancestors_max || is_delta && ancestor_count == 0 {
        let expected = if is_delta { "1 to 255" } else { "0 without the delta bit" };
        return Err(damaged(format!("{ancestor_count} ancestors, expected {expected}")));
    }
    if (seal_bytes > 0) != identity.is_sealed() || u64::from(sealed_overhead) != identity.overhead() {
        let detail = "for each sealed part, which do not fit the feature words";
        return Err(damaged(format!("a seal record of {seal_bytes} bytes and {sealed_overhead} {detail}")));
    }
    if parity_offset != 0 || reserved != 0 {
        return Err(damaged("a field reserved for a later version is not zero".into()));
    }
    if !(1..=ENTRIES_PER_BLOCK_MAX).contains(&entries_per_block) {
        return Err(damaged(format!("entries_per_block {entries_per_block}, expected 1 to {ENTRIES_PER_BLOCK_MAX}")));
    }
    if u64::from(stream_count) > STREAMS_MAX as u64 {
        return Err(damaged(format!("{stream_count} streams, expected at most {STREAMS_MAX}")));
    }
    if !index_offset.is_multiple_of(BLOCK_ALIGNMENT) || index_offset < HEADER_BYTES as u64 {
        return Err(damaged(format!("index_offset {index_offset}, expected a multiple of {BLOCK_ALIGNMENT}, not 0")));
    }
    let block_count = entry_count.div_ceil(u64::from(entries_per_block));
    let index_bytes = index_byte_count(entry_count, block_count, u64::from(sealed_overhead));
    let index_end = index_bytes.and_then(|bytes| bytes.checked_add(index_offset));
    if index_end != Some(directory_offset) {
        return Err(damaged(format!(
            "an index of {entry_count} entries at {index_offset} must end at {directory_offset}"
        )));
    }
    let [ancestors, streams, names] = [ancestor_count, stream_count, name_bytes].map(u64::from);
    let expected_bytes = byte_count(block_count, ancestors, streams, names)
        .and_then(|bytes| bytes.checked_add(u64::from(seal_bytes) + u64::from(sealed_overhead)));
    if expected_bytes != Some(directory_bytes as u64) {
        return Err(damaged(format!(
            "{block_count} index blocks, {ancestors} ancestors, {streams} streams, {names} bytes of names and {seal_bytes} of \
             the seal do not fill {directory_bytes} bytes"
        )));
    }
    // Below directory_bytes, which is below 64 KiB: these conversions cannot fail.
    let fits = |count: u64| usize::try_from(count).map_err(|_| damaged(format!("{count} does not fit memory")));
    Ok(Counts {
        index_offset,
        entry_count,
        entries_per_block,
        block_count: fits(block_count)?,
        ancestor_count: fits(ancestors)?,
        stream_count: fits(streams)?,
        name_bytes: fits(names)?,
        seal_bytes: fits(u64::from(seal_bytes))?,
    })
}

fn decode_ancestors(fields: &mut Cursor<'_>, count: usize, own: ArchiveId) -> Result<Vec<Ancestor>> {
    let mut seen = HashSet::from([own]);
    let mut ancestors = Vec::with_capacity(count);
    for number in 1..=count {
        let (id, archive_bytes, root) = (ArchiveId(fields.array()?), fields.u64()?, fields.array()?);
        fields.reserved(8)?;
        if !seen.insert(id) {
            return Err(damaged(format!("ancestor {number} is {id}, which is this archive or came before")));
        }
        if archive_bytes < SMALLEST_ARCHIVE_BYTES {
            return Err(damaged(format!(
                "ancestor {number} has {archive_bytes} bytes, expected {SMALLEST_ARCHIVE_BYTES} or more"
            )));
        }
        ancestors.push(Ancestor { id, archive_bytes, root });
    }
    Ok(ancestors)
}

fn decode_streams(
    records: &[u8],
    names: &[u8],
    counts: &PublicDirectory,
    is_delta: bool,
) -> Result<Vec<StreamDescription>> {
    let mut fields = Cursor::new(records, Layer::Directory, "stream table");
    let mut name_fields = Cursor::new(names, Layer::Directory, "stream names");
    let mut streams: Vec<StreamDescription> = Vec::with_capacity(counts.stream_count);
    let mut seen = HashSet::with_capacity(counts.stream_count);
    let mut entries = 0u64;
    for number in 0..counts.stream_count {
        let stream = decode_record(&mut fields, &mut name_fields, entries, is_delta)
            .map_err(|error| error.within(&format!("stream {number}")))?;
        if !seen.insert(stream.name.clone()) {
            return Err(damaged(format!("two streams are named \"{}\"", stream.name)));
        }
        entries = entries
            .checked_add(stream.chunk_count)
            .ok_or_else(|| damaged("the chunk counts of the streams overflow".into()))?;
        streams.push(stream);
    }
    if name_fields.remaining() != 0 {
        return Err(damaged(format!("{} bytes of names belong to no stream", name_fields.remaining())));
    }
    if entries != counts.entry_count {
        return Err(damaged(format!("the streams have {entries} chunks, expected {}", counts.entry_count)));
    }
    Ok(streams)
}

/// One record; `first_entry` and the name's place follow from the records before.
fn decode_record(
    fields: &mut Cursor<'_>,
    names: &mut Cursor<'_>,
    entries: u64,
    is_delta: bool,
) -> Result<StreamDescription> {
    let name_offset = fields.u32()?;
    let name_bytes = fields.u16()?;
    let role = StreamRole(fields.u16()?);
    let element_number = fields.u16()?;
    fields.reserved(2)?;
    let row_bytes = fields.u32()?;
    let row_elements = fields.u32()?;
    fields.reserved(4)?;
    let row_count = fields.u64()?;
    let chunk_rows = fields.u64()?;
    let first_entry = fields.u64()?;
    let chunk_count = fields.u64()?;
    let stored_bytes = fields.u64()?;
    let part = if is_delta { parts::decode(fields)? } else { PartRecord::default() };
    fields.reserved(if is_delta { 4 } else { 16 })?;

    if u64::from(name_offset) != names.position() as u64 {
        return Err(damaged(format!("name_offset {name_offset}, expected {}", names.position())));
    }
    let name = std::str::from_utf8(names.take(usize::from(name_bytes))?)
        .map_err(|_| damaged("the name is not UTF-8".into()))?;
    check_name(name).map_err(|error| damaged(error.to_string()))?;
    if !names::stream_is_safe(role, name) {
        return Err(damaged(format!("{name:?} does not end in a safe path component")));
    }
    let Some(element_type) = ElementType::from_number(element_number) else {
        return Err(damaged(format!("element type {element_number} does not exist")));
    };
    let row_bytes_expected = u64::from(row_elements) * u64::from(element_type.bytes());
    if row_bytes == 0 || u64::from(row_bytes) != row_bytes_expected {
        return Err(damaged(format!("row_bytes {row_bytes}, expected {row_bytes_expected} and not 0")));
    }
    let chunk_bytes = chunk_rows.checked_mul(u64::from(row_bytes));
    if chunk_rows == 0 || chunk_bytes.is_none_or(|bytes| bytes > CHUNK_BYTES_MAX) {
        return Err(damaged(format!(
            "chunk_rows {chunk_rows} of {row_bytes} bytes, expected 1 to {CHUNK_BYTES_MAX} bytes"
        )));
    }
    if chunk_count != row_count.div_ceil(chunk_rows) {
        return Err(damaged(format!("{chunk_count} chunks, expected {}", row_count.div_ceil(chunk_rows))));
    }
    if first_entry != entries {
        return Err(damaged(format!("first_entry {first_entry}, expected {entries}")));
    }
    Ok(StreamDescription {
        name: name.to_owned(),
        role,
        element_type,
        row_elements,
        row_bytes,
        row_count,
        chunk_rows,
        first_entry,
        chunk_count,
        stored_bytes,
        part,
    })
}

fn damaged(detail: String) -> Error {
    Error::damaged(Layer::Directory, PLACE, detail)
}
