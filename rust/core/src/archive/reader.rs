//! The reader: one read opens an archive, one or two more find a row's block.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::directory::{self, Directory, IndexBlock};
use super::index::{self, ChunkWalk};
use super::seal_record::SealSource;
use super::sealing::{KeySource, NoKeys, OpenSeal, Sealing};
use super::tables::Tables;
use super::trailer::Trailer;
use super::{Ancestor, ArchiveId, Entry, Mapping, frozen, header, metadata, tables};
use crate::digest;
use crate::error::{Error, ErrorKind, Layer, Result};
use crate::limits::{BLOCK_ALIGNMENT, HEADER_BYTES, PUBLIC_ENTRY_BYTES, TRAILER_BYTES};
use crate::seal::Part;
use crate::store::{ReadAt, read_checked};
use crate::stream::{ChunkShape, StreamDescription, StreamRole};

/// Parsed index blocks that are kept: about 200 KB each.
const BLOCKS_KEPT: usize = 8;

/// An open archive: its tables are checked, its rows are not read. Shared by threads.
pub struct Archive {
    pub(super) source: Arc<dyn ReadAt>,
    /// Of each ancestor, where it is at hand.
    pub(super) ancestors: Vec<Option<Arc<dyn ReadAt>>>,
    pub(super) trailer: Trailer,
    pub(super) directory: Directory,
    pub(super) metadata: String,
    pub(super) seal: Option<OpenSeal>,
    /// Its bytes are those of a shadow, which only their tags prove.
    pub(super) is_shadow: bool,
    /// The end of the file, as read at opening; index blocks that lie in it cost no read.
    pub(super) tail: Vec<u8>,
    pub(super) tail_offset: u64,
    /// Most recently used last.
    pub(super) kept: Mutex<Vec<(u64, Arc<Vec<Entry>>)>>,
}

impl Archive {
    /// Opens an archive that is not sealed.
    ///
    /// # Errors
    /// As `open_with`; `KeyNeeded` for a sealed one.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self> {
        Self::open_with(source, &NoKeys)
    }

    /// Reads the end once and checks all tables in its last 64 KiB. `keys` are asked by a sealed archive.
    ///
    /// # Errors
    /// `NotAnArchive`; `Damaged` at `Trailer` (the root, too), `Directory`, `Seal` or `Metadata`; `Unsupported`; those of
    /// reading and of `keys`.
    pub fn open_with(source: Arc<dyn ReadAt>, keys: &dyn KeySource) -> Result<Self> {
        let tables = Tables::read(source)?;
        let (stored, metadata) = tables.parts();
        let (identity, public) = (tables.trailer.identity, tables.public.clone());
        let mut sealable = stored.get(public.public_bytes..).unwrap_or_default().to_vec();
        let mut metadata = metadata.to_vec();
        let (mut sealable, mut metadata) = (sealable.as_mut_slice(), metadata.as_mut_slice());
        let mut seal = None;
        if let Some(record) = tables.seal_record()? {
            let open = OpenSeal::unlock(record, identity.id, &public.ancestors, keys)?;
            let header = header::encode(&identity);
            let digest = digest::blake3_of(&[&header, stored.get(..public.public_bytes).unwrap_or_default()]);
            sealable = open.key.open_with(Part::Directory, &digest, sealable, "directory")?;
            metadata = open.key.open(Part::Metadata, metadata, "metadata")?;
            seal = Some(open);
        } else if keys.is_given() {
            // Whoever holds the storage could put one of their own there.
            let detail = "is not encrypted, though a key was given: another archive was put in its place, or none is needed \
                          (leave out passphrase, identity and code, also those of the environment)";
            return Err(Error::damaged(Layer::Seal, "archive", detail));
        }
        let directory = directory::decode_sealable(public, sealable, &identity)?;
        let metadata = metadata::decode(metadata)?;
        let ancestors = vec![None; directory.public.ancestors.len()];
        let Tables { source, trailer, tail, tail_offset, .. } = tables;
        let (is_shadow, kept) = (false, Mutex::default());
        Ok(Self { source, ancestors, trailer, directory, metadata, seal, is_shadow, tail, tail_offset, kept })
    }

    /// Whether its content is sealed.
    pub fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    /// Of a sealed archive: its repository, zeros of a single one.
    pub fn repository(&self) -> Option<[u8; 16]> {
        self.seal.as_ref().map(|seal| seal.record.repository)
    }

    /// What opens this archive and its ancestors, in their order, for the deltas on it; `None` of one that is not sealed.
    pub fn seal_sources(&self) -> Option<Vec<SealSource>> {
        let record = &self.seal.as_ref()?.record;
        Some(std::iter::once(record.own).chain(record.ancestors.iter().copied()).collect())
    }

    /// How a single archive is sealed, for what is made of it: the same keys, its own salt. `None` of any other.
    pub fn sealing(&self) -> Option<Sealing> {
        self.seal.as_ref().and_then(Sealing::like)
    }

    /// Opens a block that has passed its CRC, in place: what is returned is for the codec. `place`: where the entry stands.
    ///
    /// # Errors
    /// `Damaged` at layer `Seal`; why there is no key.
    pub fn open_block<'a>(
        &self,
        (stream, chunk): (usize, u64),
        entry: &Entry,
        block: &'a mut [u8],
    ) -> Result<&'a mut [u8]> {
        let Some(seal) = &self.seal else { return Ok(block) };
        let own = (u16::try_from(stream).unwrap_or(u16::MAX), chunk); // at most STREAMS_MAX
        let (stream, chunk) = if entry.archive == 0 { own } else { (entry.sealed_stream, entry.sealed_chunk) };
        let place = format!("block of {} bytes at {}", entry.stored_bytes, entry.offset);
        seal.key_of(entry.archive)?.open(Part::Block { stream, chunk }, block, &place)
    }

    /// Gives the archive what it needs of its ancestors: their sources, in the order of `ancestors`. Without one, the
    /// chunks that lie in it cannot be read.
    ///
    /// # Errors
    /// `Damaged` at `Directory` for one of another length; `InvalidArgument` for too many.
    pub fn attach(&mut self, sources: Vec<Option<Arc<dyn ReadAt>>>) -> Result<()> {
        if sources.len() != self.directory.public.ancestors.len() {
            let detail = format!("{} sources for {} ancestors", sources.len(), self.directory.public.ancestors.len());
            return Err(Error::new(ErrorKind::InvalidArgument, "ancestors", detail));
        }
        for (ancestor, source) in self.directory.public.ancestors.iter().zip(&sources) {
            let found = source.as_ref().map_or(ancestor.archive_bytes, |source| source.byte_count());
            if found != ancestor.archive_bytes {
                let detail = format!("has {found} bytes, expected {}; use another copy of it", ancestor.archive_bytes);
                return Err(Error::damaged(Layer::Directory, format!("ancestor {}", ancestor.id), detail));
            }
        }
        self.ancestors = sources;
        Ok(())
    }

    /// Whether codecs and roles of deltas mean anything here.
    pub fn is_delta(&self) -> bool {
        self.trailer.identity.is_delta()
    }

    /// Whether streams of the sorted index of ids may be there (spec 8.3).
    pub fn has_id_index(&self) -> bool {
        self.trailer.identity.compat & frozen::COMPAT_ID_INDEX != 0
    }

    /// Whether every ancestor is at hand.
    pub fn has_ancestors(&self) -> bool {
        self.ancestors.iter().all(Option::is_some)
    }

    /// Every archive into which entries may point.
    pub fn ancestors(&self) -> &[Ancestor] {
        &self.directory.public.ancestors
    }

    /// How a stream finds its rows when it has a map.
    pub fn mapping(&self, stream: usize) -> Option<&Mapping> {
        self.directory.mappings.get(stream)?.as_ref()
    }

    /// What the codec of a block is told: a part's blocks are decoded as those of its owner.
    pub fn chunk_shape(&self, stream: usize, chunk: u64) -> Option<ChunkShape> {
        let description = self.directory.streams.get(stream)?;
        let is_part = description.role == StreamRole::PART;
        let owner = description.part.owner.filter(|_| is_part).and_then(|owner| self.directory.streams.get(owner));
        let shape = description.chunk_shape(chunk);
        Some(ChunkShape { role: owner.unwrap_or(description).role, ..shape })
    }

    pub fn id(&self) -> ArchiveId {
        self.trailer.identity.id
    }

    /// BLAKE3 that names every row of the archive.
    pub fn root(&self) -> [u8; 32] {
        self.trailer.root
    }

    pub fn archive_bytes(&self) -> u64 {
        self.trailer.archive_bytes
    }

    /// CRC-64 of everything before the trailer.
    pub fn archive_crc(&self) -> u64 {
        self.trailer.archive_crc
    }

    /// Major and minor.
    pub fn version(&self) -> (u16, u16) {
        (self.trailer.identity.version_major, self.trailer.identity.version_minor)
    }

    /// The JSON object, checked.
    pub fn metadata(&self) -> &str {
        &self.metadata
    }

    pub fn streams(&self) -> &[StreamDescription] {
        &self.directory.streams
    }

    pub fn stream_index(&self, name: &str) -> Option<usize> {
        self.directory.streams.iter().position(|stream| stream.name == name)
    }

    /// Where the blocks end and the index begins.
    pub fn index_offset(&self) -> u64 {
        self.directory.public.index_offset
    }

    /// Chunks of all streams.
    pub fn entry_count(&self) -> u64 {
        self.directory.public.entry_count
    }

    /// The index entry of a chunk: no read when its index block is in the tail or kept, else one.
    ///
    /// # Errors
    /// `InvalidArgument` for a chunk that does not exist; `Damaged` at `Index`; those of reading.
    pub fn entry(&self, stream: usize, chunk: u64) -> Result<Entry> {
        let description = self.directory.streams.get(stream).filter(|stream| chunk < stream.chunk_count);
        let Some(description) = description else {
            let place = format!("chunk {chunk} of stream {stream}");
            return Err(Error::new(ErrorKind::InvalidArgument, place, "does not exist in this archive"));
        };
        // Below entry_count, as the directory was checked.
        let number = description.first_entry + chunk;
        let per_block = u64::from(self.directory.public.entries_per_block);
        let block = self.index_block(number / per_block)?;
        match block.get(in_memory(number % per_block)?) {
            Some(entry) => Ok(*entry),
            None => Err(Error::damaged(Layer::Index, index::chunk_place(description, chunk), "has no entry")),
        }
    }

    /// Reads a block into `buffer` (resized) and compares its CRC.
    ///
    /// # Errors
    /// `Damaged` at `Block`, or at `Index` for an entry that is not of this archive; those of reading.
    pub fn read_block(&self, entry: &Entry, buffer: &mut Vec<u8>) -> Result<()> {
        let (source, end) = match usize::from(entry.archive).checked_sub(1) {
            None => (&self.source, self.directory.public.index_offset),
            Some(number) => self.ancestor(number)?,
        };
        index::check_place(entry, end)?;
        buffer.resize(in_memory(entry.stored_bytes.into())?, 0);
        read_checked(source, entry.offset, buffer, |block| self.check_crc(entry, block))
    }

    /// A block of a shadow is proved by its tag; its entry has the CRC of the archive's.
    fn check_crc(&self, entry: &Entry, block: &[u8]) -> Result<()> {
        if self.is_shadow { Ok(()) } else { check_block(entry, block) }
    }

    /// Two blocks that lie side by side, by one read; `None` when they do not. Their CRCs are compared.
    ///
    /// # Errors
    /// As `read_block`.
    pub fn read_neighbours(&self, first: &Entry, second: &Entry) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let between = second.offset.checked_sub(first.offset.saturating_add(first.stored_bytes.into()));
        let Some(padding) = between.filter(|padding| *padding < BLOCK_ALIGNMENT && first.archive == second.archive)
        else {
            return Ok(None);
        };
        let (source, end) = match usize::from(first.archive).checked_sub(1) {
            None => (&self.source, self.directory.public.index_offset),
            Some(number) => self.ancestor(number)?,
        };
        index::check_place(first, end)?;
        index::check_place(second, end)?;
        let first_bytes = in_memory(first.stored_bytes.into())?;
        let second_at = first_bytes.saturating_add(in_memory(padding)?);
        let mut both = vec![0; second_at.saturating_add(in_memory(second.stored_bytes.into())?)];
        read_checked(source, first.offset, &mut both, |both| {
            self.check_crc(first, both.get(..first_bytes).unwrap_or_default())?;
            self.check_crc(second, both.get(second_at..).unwrap_or_default())
        })?;
        let behind = both.split_off(second_at);
        both.truncate(first_bytes);
        Ok(Some((both, behind)))
    }

    /// A block that was read at opening, if it was, and is what its CRC says; another copy may have one that is.
    ///
    /// # Errors
    /// None but those of sizes.
    pub fn block_in_tail(&self, entry: &Entry) -> Result<Option<&[u8]>> {
        let is_here = !self.is_shadow
            && entry.archive == 0
            && index::check_place(entry, self.directory.public.index_offset).is_ok();
        let found = if is_here { self.in_tail(entry.offset, in_memory(entry.stored_bytes.into())?) } else { None };
        Ok(found.filter(|block| check_block(entry, block).is_ok()))
    }

    /// The source of an ancestor, and where its blocks must end.
    fn ancestor(&self, number: usize) -> Result<(&Arc<dyn ReadAt>, u64)> {
        let Some(ancestor) = self.directory.public.ancestors.get(number) else {
            let detail = format!("ancestor {number} of {}", self.directory.public.ancestors.len());
            return Err(Error::damaged(Layer::Index, "index entry", detail));
        };
        let Some(source) = self.ancestors.get(number).and_then(Option::as_ref) else {
            let detail = "is not at hand; put it beside this archive under its id, or open both in their repository";
            return Err(
                Error::new(ErrorKind::NotFound, format!("ancestor {}", ancestor.id), detail).at(Layer::Directory)
            );
        };
        Ok((source, ancestor.archive_bytes - TRAILER_BYTES as u64))
    }

    /// Reads any range of the archive unchecked: neighbouring blocks in one read (then `check_block` for each),
    /// padding, or everything for `archive_crc`.
    ///
    /// # Errors
    /// `InvalidArgument` for a range that runs past the archive; those of reading.
    pub fn read_range(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.trailer.archive_bytes) {
            let place = format!("{} bytes at {offset}", buffer.len());
            let detail = format!("run past the end of the archive at {}", self.trailer.archive_bytes);
            return Err(Error::new(ErrorKind::InvalidArgument, place, detail));
        }
        self.source.read_at(offset, buffer)
    }

    pub fn index_block_count(&self) -> u64 {
        self.directory.block_digests.len() as u64
    }

    /// Where index block `block` lies, which must be below `index_block_count`.
    pub fn index_block_range(&self, block: u64) -> IndexBlock {
        self.directory.public.index_block(block, self.trailer.identity.overhead())
    }

    /// All faults of an index block as read: CRC, BLAKE3, and (only if that holds) its entries.
    pub fn check_index_block(&self, block: u64, bytes: &[u8]) -> Vec<Error> {
        let mut faults = Vec::new();
        let found = digest::crc64(bytes);
        let expected = usize::try_from(block).ok().and_then(|block| self.directory.public.block_crcs.get(block));
        if expected != Some(&found) {
            let detail = format!("checksum {found:016x}, expected {:016x}", expected.copied().unwrap_or_default());
            faults.push(Error::damaged(Layer::Index, block_place(block), detail));
        }
        faults.extend(self.decode_index_block(block, bytes).err());
        faults
    }

    /// Every entry of an index block with its stream and chunk. Damage of one block does not hide the others.
    ///
    /// # Errors
    /// `Damaged` at `Index`; those of reading.
    pub fn entries_of_index_block(&self, block: u64) -> Result<Vec<(usize, u64, Entry)>> {
        let entries = self.load_index_block(block)?;
        let first_entry = block.saturating_mul(u64::from(self.directory.public.entries_per_block));
        let chunks = ChunkWalk::new(&self.directory.streams, first_entry);
        Ok(chunks.zip(entries).map(|((stream, chunk), entry)| (stream, chunk, entry)).collect())
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

    /// Verification of `archive_crc` without reading a block twice; as `tables::check_archive_crc`.
    ///
    /// # Errors
    /// `Damaged` at `Trailer`; those of reading.
    pub fn check_archive_crc(&self, entries: &mut Vec<Entry>) -> Result<()> {
        tables::check_archive_crc(&self.source, &self.trailer, self.directory.public.index_offset, entries)
    }

    fn bounds(&self) -> index::Bounds<'_> {
        let ancestors = self.directory.public.ancestors.iter().map(|other| other.archive_bytes - TRAILER_BYTES as u64);
        index::Bounds {
            ends: std::iter::once(self.directory.public.index_offset).chain(ancestors).collect(),
            streams: &self.directory.streams,
            mappings: &self.directory.mappings,
            overhead: self.trailer.identity.overhead(),
        }
    }

    fn index_block(&self, block: u64) -> Result<Arc<Vec<Entry>>> {
        if let Some(entries) = self.kept_block(block) {
            return Ok(entries);
        }
        // Not under the lock: two threads may load the same block, which does no harm.
        let entries = Arc::new(self.load_index_block(block)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(number, _)| *number != block);
        if kept.len() >= BLOCKS_KEPT {
            kept.remove(0);
        }
        kept.push((block, Arc::clone(&entries)));
        Ok(entries)
    }

    fn kept_block(&self, block: u64) -> Option<Arc<Vec<Entry>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let position = kept.iter().rposition(|(number, _)| *number == block)?;
        kept.get_mut(position..)?.rotate_left(1);
        kept.last().map(|(_, entries)| Arc::clone(entries))
    }

    fn load_index_block(&self, block: u64) -> Result<Vec<Entry>> {
        let IndexBlock { offset, byte_count, .. } = self.index_block_range(block);
        let byte_count = in_memory(byte_count)?;
        let in_tail = self.in_tail(offset, byte_count);
        if let Some(entries) = in_tail.and_then(|bytes| self.decode_index_block(block, bytes).ok()) {
            return Ok(entries);
        }
        let mut bytes = vec![0; byte_count];
        let found = Cell::new(Vec::new());
        read_checked(&self.source, offset, &mut bytes, |bytes| {
            found.set(self.decode_index_block(block, bytes)?);
            Ok(())
        })?;
        Ok(found.into_inner())
    }

    /// Bytes that were read at opening.
    fn in_tail(&self, offset: u64, byte_count: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.tail_offset)?).ok()?;
        self.tail.get(start..start.checked_add(byte_count)?)
    }

    /// Spec 6: the BLAKE3 of the whole block before any entry; of a sealed one, opened.
    fn decode_index_block(&self, block: u64, bytes: &[u8]) -> Result<Vec<Entry>> {
        let mut opened;
        let mut bytes = bytes;
        if let Some(seal) = &self.seal {
            opened = bytes.to_vec();
            let entries = in_memory(self.index_block_range(block).entries)?;
            let sealed = opened.get_mut(entries * PUBLIC_ENTRY_BYTES..).unwrap_or_default();
            let count = seal.key.open(Part::IndexBlock(block), sealed, &block_place(block))?.len();
            opened.truncate(entries * PUBLIC_ENTRY_BYTES + count);
            bytes = &opened;
        }
        let expected = usize::try_from(block).ok().and_then(|block| self.directory.block_digests.get(block));
        let Some(expected) = expected else {
            return Err(Error::new(ErrorKind::InvalidArgument, block_place(block), "does not exist in this archive"));
        };
        let found = digest::blake3(bytes);
        if found != *expected {
            let detail = format!("BLAKE3 {}, expected {}; use another copy", hex(&found), hex(expected));
            return Err(Error::damaged(Layer::Index, block_place(block), detail));
        }
        let first_entry = block.saturating_mul(u64::from(self.directory.public.entries_per_block));
        index::decode_block(bytes, first_entry, &self.bounds()).map_err(|error| error.within(&block_place(block)))
    }
}

/// Short: the tables may have thousands of lines.
impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Archive({})", self.id())
    }
}

/// Compares a block as read with the CRC of its entry; for those who read several blocks at once.
///
/// # Errors
/// `Damaged` at `Block`.
pub fn check_block(entry: &Entry, block: &[u8]) -> Result<()> {
    let found = digest::crc64(block);
    if found == entry.block_crc && block.len() as u64 == u64::from(entry.stored_bytes) {
        return Ok(());
    }
    Err(Error::damaged(
        Layer::Block,
        format!("block of {} bytes at {}", entry.stored_bytes, entry.offset),
        format!("checksum {found:016x}, expected {:016x}; restore it from another copy", entry.block_crc),
    ))
}

pub(super) fn in_memory(byte_count: u64) -> Result<usize> {
    usize::try_from(byte_count).map_err(|_| {
        Error::new(ErrorKind::LimitExceeded, "memory", format!("{byte_count} bytes do not fit this machine"))
    })
}

fn block_place(block: u64) -> String {
    format!("index block {block}")
}

/// The first bytes of a digest: enough for a person to tell two apart.
pub(super) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>() + "…"
}
