//! The writer: a state machine that says where each block goes and hands out all bytes that are not blocks.
//!
//! One pass, also to a pipe: nothing handed out is ever changed. The checksum of the whole archive is combined
//! from those of the blocks, so no byte is read twice. Memory: at most 72 bytes a chunk.

use super::directory::{self, NewDirectory};
use super::frozen::COMPAT_ID_INDEX;
use super::seal_record::{self, SealSource};
use super::sealing::{NewSeal, Sealing};
use super::trailer::{self, Trailer};
use super::{Ancestor, ArchiveId, BASED, Entry, Identity, header, index, metadata};
use crate::bytes::Appender;
use crate::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{
    ANCESTORS_MAX, BLOCK_ALIGNMENT, BLOCK_OVERHEAD_MAX, CHUNK_BYTES_MAX, ENTRIES_PER_BLOCK_DEFAULT,
    ENTRIES_PER_BLOCK_MAX, ENTRY_BYTES, HEADER_BYTES, METADATA_BYTES_MAX, SEALED_BYTES_MAX, STREAMS_MAX, TAIL_BYTES,
    TRAILER_BYTES,
};
use crate::names;
use crate::seal::{ObjectKey, Part};
use crate::stream::{PartRecord, StreamDescription, StreamSpec};
use std::sync::Arc;

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
    seal: Option<NewSeal>,
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
            seal: None,
        }
    }

    /// Says that streams of the sorted index of ids may come (spec 8.3). Before the header is handed out.
    #[must_use]
    pub fn with_id_index(self) -> Self {
        let identity = Identity { compat: self.identity.compat | COMPAT_ID_INDEX, ..self.identity };
        Self { identity, crc: digest::crc64(&header::encode(&identity)), ..self }
    }

    /// Seals the archive, under a fresh salt. `ancestors`: what opens each of them. Before anything is handed out.
    ///
    /// # Errors
    /// `Io` without random bytes; `InvalidArgument` unless each ancestor has its seal.
    pub fn sealed(self, sealing: &Sealing, ancestors: Vec<SealSource>) -> Result<Self> {
        if ancestors.len() != self.ancestors.len() {
            let detail = format!("{} seals for {} ancestors", ancestors.len(), self.ancestors.len());
            return Err(invalid("ancestors".into(), &detail));
        }
        let seal = NewSeal::draw(sealing, self.identity.id, ancestors)?;
        let writer = Self::with_identity(self.identity.sealed());
        Ok(Self { ancestors: self.ancestors, entries_per_block: self.entries_per_block, seal: Some(seal), ..writer })
    }

    /// What blocks are sealed with before they are placed: as `Part::Block` of their stream and chunk.
    pub fn object_key(&self) -> Option<Arc<ObjectKey>> {
        self.seal.as_ref().map(|seal| seal.key.clone())
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
        let stored_bytes = check_block(open, rows, block_bytes, self.identity.overhead())?;
        let padding = padding_after(self.position);
        let end = self.position.checked_add(padding).and_then(|offset| offset.checked_add(block_bytes));
        let Some(end) = end else {
            return Err(exceeded(stream_place(&open.description.name), "bytes exceed 2^64".into()));
        };
        if self.seal.is_some() && end > SEALED_BYTES_MAX {
            let detail =
                format!("the archive exceeds {SEALED_BYTES_MAX} bytes, which one key may seal; cut the source");
            return Err(exceeded(stream_place(&open.description.name), detail));
        }

        let offset = self.position + padding;
        self.crc = digest::crc64_append_zeros(self.crc, padding);
        self.crc = digest::crc64_combine(self.crc, block_crc, block_bytes);
        self.position = end;
        self.streams[stream].description.stored_bytes += block_bytes;
        self.enter(stream, rows, Entry { offset, stored_bytes, block_crc, digest, codec, ..Entry::default() });
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
            self.enter(stream, rows, Entry::mapped(entry.digest));
            return Ok(());
        }
        check_block(open, rows, entry.stored_bytes.into(), self.identity.overhead())?;
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
        if let Some(seal) = &mut self.seal {
            let mut is_used = is_used.iter();
            seal.record.ancestors.retain(|_| is_used.next().is_some_and(|is_used| *is_used));
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
        let overhead = self.identity.overhead();
        // Directory and metadata have a tag each.
        let sealed = self.seal.as_ref().map_or(0, |seal| seal.byte_count() + 2 * overhead);
        directory::byte_count(block_count, self.ancestors.len() as u64, stream_count as u64, name_bytes)
            .and_then(|bytes| bytes.checked_add(sealed))
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

        let per_block = usize::try_from(self.entries_per_block).unwrap_or(1);
        let overhead = usize::try_from(self.identity.overhead()).unwrap_or_default();
        let index_bytes = entries.len() * ENTRY_BYTES + entries.len().div_ceil(per_block) * overhead;
        let padding_bytes = usize::try_from(padding).unwrap_or_default(); // below 64
        let mut tail = Appender::with_capacity(padding_bytes + index_bytes + usize::try_from(TAIL_BYTES).unwrap_or(0));
        tail.zeros(padding_bytes);
        let (mut block_crcs, mut block_digests) = (Vec::new(), Vec::new());
        for (number, block) in (0..).zip(entries.chunks(per_block)) {
            let start = tail.byte_count();
            let (public, mut sealable) = (index::encode_public(block), index::encode_sealable(block));
            block_digests.push(digest::blake3_of(&[&public, &sealable]));
            if let Some(seal) = &self.seal {
                seal.key.seal(Part::IndexBlock(number), &mut sealable)?;
            }
            tail.bytes(&public).bytes(&sealable);
            block_crcs.push(digest::crc64(&tail.as_slice()[start..]));
        }
        drop(entries);
        let header = header::encode(&self.identity);
        let directory = NewDirectory {
            index_offset,
            entry_count: self.entry_count,
            entries_per_block: self.entries_per_block,
            block_crcs,
            block_digests,
            ancestors: &self.ancestors,
            streams: &streams,
        };
        let (directory, metadata) = seal_tables(self.seal.as_ref(), &header, &directory, metadata.into_bytes())?;
        let directory_offset = index_offset + index_bytes as u64;
        let root = root_of(&header, &directory, &metadata);
        tail.bytes(&directory).bytes(&metadata);

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

/// Directory and metadata as they are stored.
fn seal_tables(
    seal: Option<&NewSeal>,
    header: &[u8],
    directory: &NewDirectory<'_>,
    mut metadata: Vec<u8>,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let record = seal.map_or(Ok(Vec::new()), |seal| seal_record::encode(&seal.record))?;
    let directory::Encoded { mut public, mut sealable } = directory::encode(directory, &record)?;
    if let Some(NewSeal { key, .. }) = seal {
        let public_digest = digest::blake3_of(&[header, &public]);
        key.seal_with(Part::Directory, &public_digest, &mut sealable)?;
        key.seal(Part::Metadata, &mut metadata)?;
    }
    public.append(&mut sealable);
    Ok((public, metadata))
}

/// Spec 4.
pub(crate) fn root_of(header: &[u8], directory: &[u8], metadata: &[u8]) -> [u8; 32] {
    digest::blake3_of(&[header, directory, metadata])
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

fn check_block(open: &OpenStream, rows: u64, block_bytes: u64, overhead: u64) -> Result<u32> {
    let stream = &open.description;
    let place = || index::chunk_place(stream, stream.chunk_count);
    // Both factors were checked: at most CHUNK_BYTES_MAX.
    let bytes_max = rows * u64::from(stream.row_bytes) + BLOCK_OVERHEAD_MAX + overhead;
    match u32::try_from(block_bytes) {
        Ok(stored_bytes) if (1 + overhead..=bytes_max).contains(&block_bytes) => Ok(stored_bytes),
        _ => {
            Err(invalid(place(), &format!("a block of {block_bytes} bytes, expected {} to {bytes_max}", 1 + overhead)))
        }
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
