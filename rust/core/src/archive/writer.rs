//! The writer: a state machine that says where each block goes and hands out all bytes that are not blocks.
//!
//! One pass, also to a pipe: nothing handed out is ever changed. The checksum of the whole archive is combined
//! from those of the blocks, so no byte is read twice. Memory: at most 72 bytes a chunk.

use super::directory::{self, Directory};
use super::frozen::COMPAT_ID_INDEX;
use super::trailer::{self, Trailer};
use super::{Ancestor, ArchiveId, BASED, Entry, Identity, header, index, metadata};
use crate::bytes::Appender;
use crate::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{
    ANCESTORS_MAX, BLOCK_ALIGNMENT, BLOCK_OVERHEAD_MAX, CHUNK_BYTES_MAX, ENTRIES_PER_BLOCK_DEFAULT,
    ENTRIES_PER_BLOCK_MAX, ENTRY_BYTES, HEADER_BYTES, METADATA_BYTES_MAX, STREAMS_MAX, TAIL_BYTES, TRAILER_BYTES,
};
use crate::names;
use crate::stream::{PartRecord, StreamDescription, StreamSpec};

/// Where the next block goes: write `padding` zero bytes, then the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    pub offset: u64,
    /// Below 64.
    pub padding: u64,
}

/// What `finish` gives: the bytes that complete the archive, and what is then in it.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Padding, index blocks, directory, metadata, trailer.
    pub tail: Vec<u8>,
    pub root: [u8; 32],
    pub archive_bytes: u64,
    pub streams: Vec<StreamDescription>,
    /// Those that entries point into.
    pub ancestors: Vec<Ancestor>,
}

pub struct ArchiveWriter {
    identity: Identity,
    entries_per_block: u32,
    streams: Vec<OpenStream>,
    name_bytes: u64,
    entry_count: u64,
    ancestors: Vec<Ancestor>,
    position: u64,
    /// CRC-64 of the `position` bytes handed out.
    crc: u64,
}

struct OpenStream {
    description: StreamDescription,
    entries: Vec<Entry>,
    /// A chunk with fewer rows came: it was the last.
    complete: bool,
}

impl ArchiveWriter {
    pub fn new(id: ArchiveId) -> Self {
        Self::with_identity(Identity::current(id))
    }

    /// A delta: its entries may point into these archives.
    ///
    /// # Errors
    /// `InvalidArgument` for none, `LimitExceeded` for too many.
    pub fn delta(id: ArchiveId, ancestors: Vec<Ancestor>) -> Result<Self> {
        if ancestors.is_empty() {
            return Err(invalid("ancestors".into(), "a delta needs one"));
        }
        if ancestors.len() > ANCESTORS_MAX {
            let detail = format!("{} of them, at most {ANCESTORS_MAX}; write a full archive", ancestors.len());
            return Err(exceeded("ancestors".into(), detail));
        }
        Ok(Self { ancestors, ..Self::with_identity(Identity::delta(id)) })
    }

    fn with_identity(identity: Identity) -> Self {
        Self {
            identity,
            ancestors: Vec::new(),
            entries_per_block: ENTRIES_PER_BLOCK_DEFAULT,
            streams: Vec::new(),
            name_bytes: 0,
            entry_count: 0,
            position: HEADER_BYTES as u64,
            crc: digest::crc64(&header::encode(&identity)),
        }
    }

    /// Says that streams of the sorted index of ids may come (spec 8.3). Before the header is handed out.
    #[must_use]
    pub fn with_id_index(self) -> Self {
        let identity = Identity { compat: self.identity.compat | COMPAT_ID_INDEX, ..self.identity };
        Self { identity, crc: digest::crc64(&header::encode(&identity)), ..self }
    }

    /// Smaller index blocks than usual, for tests; kept between 1 and `ENTRIES_PER_BLOCK_MAX`.
    #[must_use]
    pub fn with_entries_per_block(mut self, entries_per_block: u32) -> Self {
        self.entries_per_block = entries_per_block.clamp(1, ENTRIES_PER_BLOCK_MAX);
        self
    }

    pub fn id(&self) -> ArchiveId {
        self.identity.id
    }

    /// The first bytes of the file.
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        header::encode(&self.identity)
    }

    /// Bytes handed out so far: header, padding and blocks.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Adds a stream and returns its number.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is taken or not allowed, or empty rows; `LimitExceeded` for too many
    /// streams, names or too large chunks.
    pub fn declare(&mut self, spec: &StreamSpec, chunk_rows: u64) -> Result<usize> {
        self.declare_part(spec, chunk_rows, PartRecord::default())
    }

    /// As `declare`, of a part or a map (spec 5.3).
    ///
    /// # Errors
    /// Those of `declare`.
    pub fn declare_part(&mut self, spec: &StreamSpec, chunk_rows: u64, part: PartRecord) -> Result<usize> {
        let row_bytes = spec.row_bytes()?;
        if self.streams.iter().any(|stream| stream.description.name == spec.name) {
            return Err(invalid(stream_place(&spec.name), "there is a stream of that name; choose another"));
        }
        if !names::stream_is_safe(spec.role, &spec.name) {
            let detail = "becomes a file: expected one path component without special characters; rename it";
            return Err(invalid(stream_place(&spec.name), detail));
        }
        if chunk_rows == 0 {
            return Err(invalid(stream_place(&spec.name), "chunk_rows is 0, expected at least 1"));
        }
        let chunk_bytes = chunk_rows.saturating_mul(u64::from(row_bytes));
        if chunk_bytes > CHUNK_BYTES_MAX {
            return Err(exceeded(
                stream_place(&spec.name),
                format!("chunks of {chunk_bytes} bytes, at most {CHUNK_BYTES_MAX}; use fewer rows a chunk"),
            ));
        }
        let name_bytes = self.name_bytes + spec.name.len() as u64;
        if self.streams.len() >= STREAMS_MAX || !self.fits_tail(self.entry_count, self.streams.len() + 1, name_bytes) {
            return Err(exceeded(
                stream_place(&spec.name),
                format!(
                    "{} streams with {} bytes of names are in the archive and one more does not fit \
                     (at most {STREAMS_MAX}); back up fewer members at once or use shorter names",
                    self.streams.len(),
                    self.name_bytes
                ),
            ));
        }
        self.name_bytes = name_bytes;
        self.streams.push(OpenStream {
            description: StreamDescription {
                name: spec.name.clone(),
                role: spec.role,
                element_type: spec.element_type,
                row_elements: spec.row_elements,
                row_bytes,
                row_count: 0,
                chunk_rows,
                first_entry: 0,
                chunk_count: 0,
                stored_bytes: 0,
                part,
            },
            entries: Vec::new(),
            complete: false,
        });
        Ok(self.streams.len() - 1)
    }

    /// Gives the next chunk of a stream its place. Every chunk but the last has `chunk_rows` rows.
    ///
    /// # Errors
    /// `InvalidArgument` when rows, bytes or order break the rules; `LimitExceeded` when the index is full.
    pub fn place(
        &mut self,
        stream: usize,
        rows: u64,
        block_bytes: u64,
        block_crc: u64,
        digest: [u8; 32],
        codec: u16,
    ) -> Result<Placement> {
        let open = self.check_chunk(stream, rows)?;
        let stored_bytes = check_block(open, rows, block_bytes)?;
        let padding = padding_after(self.position);
        let end = self.position.checked_add(padding).and_then(|offset| offset.checked_add(block_bytes));
        let Some(end) = end else {
            return Err(exceeded(stream_place(&open.description.name), "bytes exceed 2^64".into()));
        };

        let offset = self.position + padding;
        self.crc = digest::crc64_append_zeros(self.crc, padding);
        self.crc = digest::crc64_combine(self.crc, block_crc, block_bytes);
        self.position = end;
        self.streams[stream].description.stored_bytes += block_bytes;
        self.enter(stream, rows, Entry { archive: 0, offset, stored_bytes, block_crc, digest, codec });
        Ok(Placement { offset, padding })
    }

    /// Gives the next chunk of a stream without writing it: its block lies in an ancestor (`entry.archive`, counted from
    /// 1), or it has a map and no block at all (codec `MAPPED`).
    ///
    /// # Errors
    /// As `place`; `InvalidArgument` for an ancestor that does not exist.
    pub fn refer(&mut self, stream: usize, rows: u64, entry: Entry) -> Result<()> {
        let open = self.check_chunk(stream, rows)?;
        if entry.is_mapped() {
            let Entry { digest, codec, .. } = entry;
            self.enter(stream, rows, Entry { archive: 0, offset: 0, stored_bytes: 0, block_crc: 0, digest, codec });
            return Ok(());
        }
        check_block(open, rows, entry.stored_bytes.into())?;
        if entry.archive == 0 || usize::from(entry.archive) > self.ancestors.len() {
            return Err(invalid(format!("ancestor {}", entry.archive), "does not exist"));
        }
        self.enter(stream, rows, entry);
        Ok(())
    }

    pub fn ancestors(&self) -> &[Ancestor] {
        &self.ancestors
    }

    /// The rules for the next chunk that do not need its block.
    fn check_chunk(&self, stream: usize, rows: u64) -> Result<&OpenStream> {
        let Some(open) = self.streams.get(stream) else {
            return Err(invalid(format!("stream {stream}"), "was not declared"));
        };
        check_rows(open, rows)?;
        if open.description.row_count.checked_add(rows).is_none() {
            return Err(exceeded(stream_place(&open.description.name), "rows exceed 2^64".into()));
        }
        if !self.fits_tail(self.entry_count + 1, self.streams.len(), self.name_bytes) {
            return Err(exceeded(
                index::chunk_place(&open.description, open.description.chunk_count),
                format!(
                    "{} chunks fill the index; use more rows a chunk or split the source in two archives",
                    self.entry_count
                ),
            ));
        }
        Ok(open)
    }

    fn enter(&mut self, stream: usize, rows: u64, entry: Entry) {
        self.entry_count += 1;
        let open = &mut self.streams[stream];
        open.complete = rows < open.description.chunk_rows;
        open.description.row_count += rows;
        open.description.chunk_count += 1;
        open.entries.push(entry);
    }

    /// The closure names only what is needed, so that nothing is kept for nothing. One ancestor stays in any case.
    fn forget_unused_ancestors(&mut self) {
        let mut is_used = vec![false; self.ancestors.len()];
        let entries = || self.streams.iter().flat_map(|stream| &stream.entries);
        for number in entries().filter_map(|entry| usize::from(entry.archive).checked_sub(1)) {
            is_used[number] = true;
        }
        if let Some(first) = is_used.first_mut() {
            *first |= !entries().any(|entry| entry.archive > 0);
        }
        let mut renumbered = vec![0u16; self.ancestors.len() + 1];
        let mut kept = Vec::new();
        for (number, ancestor) in self.ancestors.iter().enumerate().filter(|(number, _)| is_used[*number]) {
            kept.push(*ancestor);
            renumbered[number + 1] = u16::try_from(kept.len()).unwrap_or(u16::MAX); // at most ANCESTORS_MAX
        }
        self.ancestors = kept;
        for entry in self.streams.iter_mut().flat_map(|stream| &mut stream.entries) {
            entry.archive = renumbered[usize::from(entry.archive)];
        }
    }

    /// A part whose blocks stand for themselves needs no base part: a later delta may then leave that out.
    fn forget_unused_base_parts(&mut self) {
        for stream in self.streams.iter_mut().filter(|stream| stream.description.part.base != 0) {
            if !stream.entries.iter().any(|entry| BASED.contains(&entry.codec)) {
                stream.description.part.base = 0;
            }
        }
    }

    /// True when so many streams more, with so many bytes of names, leave the index room for `chunk_count` more chunks.
    pub fn has_room(&self, stream_count: usize, name_bytes: u64, chunk_count: u64) -> bool {
        let streams = self.streams.len().saturating_add(stream_count);
        let entries = self.entry_count.saturating_add(chunk_count);
        streams <= STREAMS_MAX && self.fits_tail(entries, streams, self.name_bytes.saturating_add(name_bytes))
    }

    /// True while directory, trailer and the longest metadata stay within one read. Asked before every step, so
    /// that a backup of hours does not fail at its end.
    fn fits_tail(&self, entry_count: u64, stream_count: usize, name_bytes: u64) -> bool {
        let block_count = entry_count.div_ceil(u64::from(self.entries_per_block));
        directory::byte_count(block_count, self.ancestors.len() as u64, stream_count as u64, name_bytes)
            .is_some_and(|bytes| bytes <= TAIL_BYTES - (METADATA_BYTES_MAX + TRAILER_BYTES) as u64)
    }

    /// Ends the archive. `metadata` is a JSON object; it is stored in canonical form.
    ///
    /// # Errors
    /// `InvalidArgument` for metadata that is not such an object, `LimitExceeded` for too much of it.
    pub fn finish(mut self, metadata: &str) -> Result<Finished> {
        self.forget_unused_ancestors();
        self.forget_unused_base_parts();
        let metadata = metadata::encode(metadata)?;
        let padding = padding_after(self.position);
        let index_offset = self.position + padding;
        let (entries, streams) = gather(self.streams);

        let index_bytes = entries.len() * ENTRY_BYTES;
        let padding_bytes = usize::try_from(padding).unwrap_or_default(); // below 64
        let mut tail = Appender::with_capacity(padding_bytes + index_bytes + usize::try_from(TAIL_BYTES).unwrap_or(0));
        tail.zeros(padding_bytes);
        let (mut block_crcs, mut block_digests) = (Vec::new(), Vec::new());
        let per_block = usize::try_from(self.entries_per_block).unwrap_or(1);
        for block in entries.chunks(per_block) {
            let start = tail.byte_count();
            index::encode_block(&mut tail, block);
            let bytes = &tail.as_slice()[start..];
            block_crcs.push(digest::crc64(bytes));
            block_digests.push(digest::blake3(bytes));
        }
        drop(entries);
        let directory = directory::encode(&Directory {
            index_offset,
            entry_count: self.entry_count,
            entries_per_block: self.entries_per_block,
            block_crcs,
            block_digests,
            ancestors: self.ancestors.clone(),
            streams: streams.clone(),
            mappings: Vec::new(),
        })?;
        let directory_offset = index_offset + index_bytes as u64;
        let root = root_of(&header::encode(&self.identity), &directory, metadata.as_bytes());
        tail.bytes(&directory).bytes(metadata.as_bytes());

        let archive_bytes = self.position + (tail.byte_count() + TRAILER_BYTES) as u64;
        let covered = digest::crc64(tail.as_slice());
        let archive_crc = digest::crc64_combine(self.crc, covered, tail.byte_count() as u64);
        tail.bytes(&trailer::encode(&Trailer {
            directory_offset,
            directory_bytes: field(directory.len())?,
            metadata_bytes: field(metadata.len())?,
            archive_bytes,
            archive_crc,
            root,
            identity: self.identity,
        }));
        Ok(Finished { tail: tail.into_vec(), root, archive_bytes, streams, ancestors: self.ancestors })
    }
}

/// Spec 4.
pub(crate) fn root_of(header: &[u8], directory: &[u8], metadata: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header).update(directory).update(metadata);
    *hasher.finalize().as_bytes()
}

/// All entries in stream order, and the descriptions with their first entries set.
fn gather(open: Vec<OpenStream>) -> (Vec<Entry>, Vec<StreamDescription>) {
    let mut streams = Vec::with_capacity(open.len());
    let mut entries: Vec<Entry> = Vec::new();
    for OpenStream { mut description, entries: mut more, .. } in open {
        description.first_entry = entries.len() as u64;
        streams.push(description);
        // The usual archive has one large stream: it moves and is not copied.
        if entries.is_empty() { entries = more } else { entries.append(&mut more) }
    }
    (entries, streams)
}

fn check_rows(open: &OpenStream, rows: u64) -> Result<()> {
    let stream = &open.description;
    let place = || index::chunk_place(stream, stream.chunk_count);
    if open.complete {
        return Err(invalid(place(), "comes after a chunk with fewer rows, which must be the last"));
    }
    if !(1..=stream.chunk_rows).contains(&rows) {
        return Err(invalid(place(), &format!("{rows} rows, expected 1 to {}", stream.chunk_rows)));
    }
    Ok(())
}

fn check_block(open: &OpenStream, rows: u64, block_bytes: u64) -> Result<u32> {
    let stream = &open.description;
    let place = || index::chunk_place(stream, stream.chunk_count);
    // Both factors were checked: at most CHUNK_BYTES_MAX.
    let bytes_max = rows * u64::from(stream.row_bytes) + BLOCK_OVERHEAD_MAX;
    match u32::try_from(block_bytes) {
        Ok(stored_bytes) if (1..=bytes_max).contains(&block_bytes) => Ok(stored_bytes),
        _ => Err(invalid(place(), &format!("a block of {block_bytes} bytes, expected 1 to {bytes_max}"))),
    }
}

fn padding_after(position: u64) -> u64 {
    position.wrapping_neg() % BLOCK_ALIGNMENT
}

fn field(byte_count: usize) -> Result<u32> {
    u32::try_from(byte_count).map_err(|_| exceeded("trailer".into(), format!("{byte_count} does not fit its field")))
}

fn stream_place(name: &str) -> String {
    format!("stream \"{name}\"")
}

fn invalid(place: String, detail: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, place, detail)
}

fn exceeded(place: String, detail: String) -> Error {
    Error::new(ErrorKind::LimitExceeded, place, detail)
}
