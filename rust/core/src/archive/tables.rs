//! The end of an archive, as far as it can be checked without a key: trailer, root, public part of the directory. With it
//! anyone scrubs an archive: every block and index block has a public checksum.

use std::sync::Arc;

use super::directory::{self, IndexBlock, PublicDirectory};
use super::reader::{hex, in_memory};
use super::seal_record::{self, SealRecord};
use super::trailer::{self, Trailer};
use super::{ArchiveId, Entry, header, index, writer};
use crate::bytes::Cursor;
use crate::digest;
use crate::error::{Error, ErrorKind, Layer, Result};
use crate::limits::{HEADER_BYTES, PUBLIC_ENTRY_BYTES, SMALLEST_ARCHIVE_BYTES, TAIL_BYTES, TRAILER_BYTES};
use crate::store::ReadAt;

/// The index is read in pieces of this size when the archive checksum is verified.
const PIECE_BYTES: u64 = 1 << 20;
/// Read at opening: the tail, and before it the index of all but large archives, so that a row costs no read for it.
const OPENING_BYTES: u64 = 4 * TAIL_BYTES;

/// An archive whose content may be sealed.
pub struct Tables {
    pub(super) source: Arc<dyn ReadAt>,
    pub(super) trailer: Trailer,
    pub(super) public: PublicDirectory,
    /// The end of the file, as read.
    pub(super) tail: Vec<u8>,
    pub(super) tail_offset: u64,
}

impl Tables {
    /// Reads the end once.
    ///
    /// # Errors
    /// `NotAnArchive`; `Damaged` at `Trailer`, `Directory` or `Seal`; `Unsupported`; those of reading.
    pub fn read(source: Arc<dyn ReadAt>) -> Result<Self> {
        let tables = Self::read_unproved(source)?;
        let (directory, metadata) = tables.parts();
        let root = writer::root_of(&header::encode(&tables.trailer.identity), directory, metadata);
        if root != tables.trailer.root {
            return Err(Error::damaged(
                Layer::Trailer,
                "directory and metadata",
                format!("root {}, expected {}; use another copy", hex(&root), hex(&tables.trailer.root)),
            ));
        }
        Ok(tables)
    }

    /// As `read`, without the root: of a shadow, whose tables are proved by its key and have the root of the archive.
    pub(super) fn read_unproved(source: Arc<dyn ReadAt>) -> Result<Self> {
        let archive_bytes = source.byte_count();
        let mut tail_offset = archive_bytes.saturating_sub(OPENING_BYTES);
        let mut tail = vec![0; in_memory(archive_bytes - tail_offset)?];
        if source.read_at(tail_offset, &mut tail).is_err() {
            // A bad place before the tables is for whoever needs the bytes there.
            tail_offset = archive_bytes.saturating_sub(TAIL_BYTES);
            tail = vec![0; in_memory(archive_bytes - tail_offset)?];
            source.read_at(tail_offset, &mut tail)?;
        }
        let trailer_bytes = match tail.last_chunk::<TRAILER_BYTES>() {
            Some(bytes) if archive_bytes >= SMALLEST_ARCHIVE_BYTES && trailer::has_magic(bytes) => bytes,
            _ => return Err(no_trailer(source.as_ref(), &tail, tail_offset)),
        };
        let trailer = trailer::decode(trailer_bytes, archive_bytes)?;
        let Some((directory, _)) = parts(&trailer, &tail, tail_offset) else {
            return Err(Error::damaged(Layer::Trailer, "trailer", "the tables run past the end of the archive"));
        };
        let public = directory::decode_public(directory, trailer.directory_offset, &trailer.identity)?;
        let tables = Self { source, trailer, public, tail, tail_offset };
        tables.seal_record()?;
        Ok(tables)
    }

    /// Directory and metadata as they are stored.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        parts(&self.trailer, &self.tail, self.tail_offset).unwrap_or_default()
    }

    /// `None` of an archive that is not sealed.
    ///
    /// # Errors
    /// `Damaged` or `Unsupported` at layer `Seal`.
    pub fn seal_record(&self) -> Result<Option<SealRecord>> {
        if !self.trailer.identity.is_sealed() {
            return Ok(None);
        }
        seal_record::decode(self.public.seal(self.parts().0), self.public.ancestors.len()).map(Some)
    }

    pub fn id(&self) -> ArchiveId {
        self.trailer.identity.id
    }

    pub fn archive_bytes(&self) -> u64 {
        self.trailer.archive_bytes
    }

    pub fn root(&self) -> [u8; 32] {
        self.trailer.root
    }

    pub fn index_offset(&self) -> u64 {
        self.public.index_offset
    }

    pub fn index_block_count(&self) -> u64 {
        self.public.block_crcs.len() as u64
    }

    /// Where index block `block` lies, which must be below `index_block_count`.
    pub fn index_block_range(&self, block: u64) -> IndexBlock {
        self.public.index_block(block, self.trailer.identity.overhead())
    }

    /// Bytes of the archive, unchecked.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read_range(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.source.read_at(offset, buffer)
    }

    /// The public entries of an index block of this archive whose blocks lie in it: its CRC is compared, then the place of
    /// each.
    ///
    /// # Errors
    /// `Damaged` at `Index`; those of reading.
    pub fn public_entries(&self, block: u64) -> Result<Vec<Entry>> {
        let range = self.index_block_range(block);
        let place = format!("index block {block}");
        let mut bytes = vec![0; in_memory(range.byte_count)?];
        self.source.read_at(range.offset, &mut bytes)?;
        let found = digest::crc64(&bytes);
        let expected = usize::try_from(block).ok().and_then(|block| self.public.block_crcs.get(block)).copied();
        if expected != Some(found) {
            let detail = format!("checksum {found:016x}, expected {:016x}", expected.unwrap_or_default());
            return Err(Error::damaged(Layer::Index, place, detail));
        }
        let entries = in_memory(range.entries)?;
        let public = bytes.get(..entries * PUBLIC_ENTRY_BYTES).unwrap_or_default();
        let mut fields = Cursor::new(public, Layer::Index, "index block, public entries");
        let mut found = Vec::with_capacity(entries);
        for _ in 0..entries {
            let entry = index::decode_public_entry(&mut fields).map_err(|error| error.within(&place))?;
            // What has no block stands for a map; whether it may is for those with the key.
            let is_mapped = entry == Entry::default();
            if entry.archive == 0 && !is_mapped {
                index::check_place(&entry, self.public.index_offset).map_err(|error| error.within(&place))?;
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// Compares the header, which opening does not read.
    ///
    /// # Errors
    /// `Damaged` at `Header`; those of reading.
    pub fn check_header(&self) -> Result<()> {
        let mut found = [0; HEADER_BYTES];
        self.source.read_at(0, &mut found)?;
        header::check(&self.trailer.identity, &found)
    }

    /// The checksum of the whole archive; see `check_archive_crc`.
    ///
    /// # Errors
    /// `Damaged` at `Trailer`; those of reading.
    pub fn check_archive_crc(&self, entries: &mut Vec<Entry>) -> Result<()> {
        check_archive_crc(&self.source, &self.trailer, self.public.index_offset, entries)
    }
}

/// The trailer says, checked: directory, metadata and trailer end the file and fit the tail.
fn parts<'a>(trailer: &Trailer, tail: &'a [u8], tail_offset: u64) -> Option<(&'a [u8], &'a [u8])> {
    let start = in_memory(trailer.directory_offset.saturating_sub(tail_offset)).ok()?;
    let (directory, rest) = tail.get(start..)?.split_at_checked(in_memory(trailer.directory_bytes.into()).ok()?)?;
    Some((directory, rest.split_last_chunk::<TRAILER_BYTES>()?.0))
}

/// Verification of `archive_crc` without reading a block twice: combines the checksums of the entries (all of
/// them; sorted here), the header and what follows the blocks, which is read. It holds for the bytes on disk
/// once every block, the header and the padding were compared and `layout::check` found no fault.
///
/// # Errors
/// `Damaged` at `Trailer`; those of reading.
pub(super) fn check_archive_crc(
    source: &Arc<dyn ReadAt>,
    trailer: &Trailer,
    index_offset: u64,
    entries: &mut Vec<Entry>,
) -> Result<()> {
    entries.retain(|entry| entry.archive == 0 && !entry.is_mapped());
    entries.sort_unstable_by_key(|entry| entry.offset);
    let mut crc = digest::crc64(&header::encode(&trailer.identity));
    let mut position = HEADER_BYTES as u64;
    for entry in entries.iter() {
        crc = digest::crc64_append_zeros(crc, entry.offset.saturating_sub(position));
        crc = digest::crc64_combine(crc, entry.block_crc, entry.stored_bytes.into());
        position = entry.offset.saturating_add(entry.stored_bytes.into());
    }
    crc = digest::crc64_append_zeros(crc, index_offset.saturating_sub(position));
    let (mut position, end) = (index_offset, trailer.archive_bytes - TRAILER_BYTES as u64);
    let mut piece = vec![0; in_memory(PIECE_BYTES.min(end.saturating_sub(position)))?];
    while position < end {
        piece.truncate(in_memory(end - position)?);
        source.read_at(position, &mut piece)?;
        crc = digest::crc64_combine(crc, digest::crc64(&piece), piece.len() as u64);
        position += piece.len() as u64;
    }
    if crc == trailer.archive_crc {
        return Ok(());
    }
    let detail = format!("archive checksum {crc:016x}, expected {:016x}", trailer.archive_crc);
    Err(Error::damaged(Layer::Trailer, "trailer", detail))
}

/// Without the closing magic: a damaged or truncated archive if it begins like one, else no archive at all.
/// One small read more, on this path only.
fn no_trailer(source: &dyn ReadAt, tail: &[u8], tail_offset: u64) -> Error {
    let mut start = [0; 8];
    let begins_like_one = if tail_offset == 0 {
        header::has_magic(tail)
    } else {
        source.read_at(0, &mut start).is_ok() && header::has_magic(&start)
    };
    let archive_bytes = tail_offset.saturating_add(tail.len() as u64);
    if begins_like_one || trailer::has_magic(tail) {
        return Error::damaged(
            Layer::Trailer,
            "trailer",
            format!(
                "not found at the end of {archive_bytes} bytes: the archive is truncated (copy interrupted?) or has \
                 bytes behind it; copy it again"
            ),
        );
    }
    Error::new(
        ErrorKind::NotAnArchive,
        "",
        format!("{archive_bytes} bytes that neither begin nor end like a vark archive"),
    )
}
