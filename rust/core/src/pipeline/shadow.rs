//! Files of shadows (spec/CACHE.md, 4): written beside an archive, read as the base of the next one. All of them are hostile.

use super::cache::{CacheKey, open_regular};
use crate::archive::shadow::{ShadowTail, is_kept, seal_anew};
use crate::archive::{Archive, ArchiveId};
use crate::bytes::{Appender, Cursor};
use crate::error::{Error, ErrorKind, Layer, Result, to_usize};
use crate::limits::{SALT_BYTES, SEALED_OVERHEAD_BYTES};
use crate::seal::{Binding, ObjectKey, ObjectType, Part, Suite, random};
use crate::store::ReadAt;
use crate::stream::StreamRole;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"VARKSHDW";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 128;
/// Of each block: its offset in the archive, and its bytes.
const BLOCK_RECORD_BYTES: usize = 12;
const BUFFER_BYTES: usize = 1 << 20;

/// Where a shadow of the archive that is written goes.
pub struct ShadowPlace {
    pub folder: PathBuf,
    pub key: CacheKey,
    /// What would be longer is given up: the archive is written in any case.
    pub bytes_max: u64,
}

/// What became of a shadow.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ShadowReport {
    /// 0 where there is none.
    pub file_bytes: u64,
    /// Why there is none.
    pub fault: Option<String>,
}

/// Keeps the shadow of an archive while that is written. What goes wrong costs the next backup its base, nothing else.
pub(super) struct Shadowing {
    file: Result<ShadowFile>,
}

impl Shadowing {
    pub fn start(place: &ShadowPlace, id: ArchiveId, from: Arc<ObjectKey>) -> Self {
        Self { file: ShadowFile::create(place, id, from) }
    }

    /// A block as it was stored, if it is of a stream that shadows have.
    pub fn keep(&mut self, shape: (StreamRole, u32), place: (usize, u64), offset: u64, block: &[u8]) {
        if !is_kept(shape.0, shape.1) {
            return;
        }
        let kept = self.file.as_mut().map_or(Ok(()), |file| file.keep(place, offset, block));
        if let Err(error) = kept {
            self.file = Err(error);
        }
    }

    /// `end`: the last bytes of the archive, from its last block on.
    pub fn finish(self, end: &[u8], archive_bytes: u64) -> ShadowReport {
        match self.file.and_then(|file| file.finish(end, archive_bytes)) {
            Ok(file_bytes) => ShadowReport { file_bytes, fault: None },
            Err(error) => ShadowReport { file_bytes: 0, fault: Some(error.to_string()) },
        }
    }
}

/// A file that is being written; it goes when it is dropped before its end.
struct ShadowFile {
    file: BufWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
    id: ArchiveId,
    suite: Suite,
    salt: [u8; SALT_BYTES],
    key: ObjectKey,
    from: Arc<ObjectKey>,
    /// Offset in the archive and bytes, ascending: blocks come as they are placed.
    blocks: Vec<(u64, u32)>,
    blocks_bytes: u64,
    bytes_max: u64,
}

impl ShadowFile {
    fn create(place: &ShadowPlace, id: ArchiveId, from: Arc<ObjectKey>) -> Result<Self> {
        let salt = random()?;
        let key = ObjectKey::new(&place.key.key, &salt, &binding(&place.key, id))?;
        let temporary = place.folder.join(format!(".{}.shadow-tmp", uuid::Uuid::now_v7().simple()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        let file = file.map_err(|error| Error::io(temporary.display().to_string(), &error))?;
        let mut shadow = Self {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            temporary,
            path: path_of(&place.folder, id),
            id,
            suite: place.key.suite,
            salt,
            key,
            from,
            blocks: Vec::new(),
            blocks_bytes: 0,
            bytes_max: place.bytes_max,
        };
        shadow.write(&[0; HEADER_BYTES])?;
        Ok(shadow)
    }

    fn keep(&mut self, (stream, chunk): (usize, u64), offset: u64, block: &[u8]) -> Result<()> {
        self.check_room(block.len() as u64)?;
        let part = Part::Block { stream: u16::try_from(stream).unwrap_or(u16::MAX), chunk }; // at most STREAMS_MAX
        let anew = seal_anew(part, &mut block.to_vec(), &self.from, &self.key)?;
        self.write(&anew)?;
        // As long as in the archive, whose blocks have their bytes in 32 bits.
        self.blocks.push((offset, u32::try_from(anew.len()).unwrap_or(u32::MAX)));
        self.blocks_bytes += anew.len() as u64;
        Ok(())
    }

    fn finish(mut self, end: &[u8], archive_bytes: u64) -> Result<u64> {
        let tail = ShadowTail::of(end, archive_bytes, &self.from, &self.key)?;
        self.check_room(tail.bytes.len() as u64)?;
        let header = Header {
            suite: self.suite,
            block_count: u32::try_from(self.blocks.len()).map_err(|_| refused("too many blocks"))?,
            blocks_bytes: self.blocks_bytes,
            tail_offset: tail.offset,
            tail_bytes: tail.bytes.len() as u64,
            archive_bytes,
            id: self.id,
            salt: self.salt,
            commitment: *self.key.commitment(),
        };
        let fields = header.encode();
        let mut list = Appender::with_capacity(self.blocks.len() * BLOCK_RECORD_BYTES + SEALED_OVERHEAD_BYTES);
        for (offset, bytes) in &self.blocks {
            list.u64(*offset).u32(*bytes);
        }
        let mut list = list.into_vec();
        self.key.seal_with(Part::Body, &crate::digest::blake3(&fields), &mut list)?;
        self.write(&tail.bytes)?;
        self.write(&list)?;
        let place = self.temporary.display().to_string();
        let fault = |error: std::io::Error| Error::io(&place, &error);
        self.file.flush().map_err(fault)?;
        self.file.get_ref().write_all_at(&fields, 0).map_err(fault)?;
        std::fs::rename(&self.temporary, &self.path).map_err(fault)?;
        Ok(header.file_bytes())
    }

    fn check_room(&self, bytes: u64) -> Result<()> {
        if self.blocks_bytes.saturating_add(bytes) <= self.bytes_max {
            return Ok(());
        }
        let detail = format!("what the next backup is compared with exceeds {} bytes, its limit", self.bytes_max);
        Err(Error::new(ErrorKind::LimitExceeded, "local cache", detail))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| Error::io(self.temporary.display().to_string(), &error))
    }
}

impl Drop for ShadowFile {
    fn drop(&mut self) {
        // Gone already when it has its name.
        drop(std::fs::remove_file(&self.temporary));
    }
}

/// Opens the shadow of an archive, with those of the archives that it points into as far as there are any.
///
/// # Errors
/// `NotFound`; `Damaged` for a file that is not what this key wrote; those of reading.
pub fn open_shadow(folder: &Path, id: ArchiveId, key: &CacheKey) -> Result<Archive> {
    let (source, object_key) = open_file(folder, id, key)?;
    let place = path_of(folder, id).display().to_string();
    let mut archive = Archive::open_shadow(source, object_key).map_err(|error| match error.kind() {
        ErrorKind::NotAnArchive => refused("without the end of an archive"),
        _ => error.within(&place),
    })?;
    if archive.id() != id {
        return Err(refused("the shadow of another archive"));
    }
    let below = archive.ancestors().iter().map(|ancestor| match open_file(folder, ancestor.id, key) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    });
    let below = below.collect::<Result<Vec<_>>>()?;
    archive.attach_shadows(below).map_err(|error| error.within(&place))?;
    Ok(archive)
}

fn open_file(folder: &Path, id: ArchiveId, key: &CacheKey) -> Result<(Arc<dyn ReadAt>, ObjectKey)> {
    let path = path_of(folder, id);
    let place = path.display().to_string();
    let fault = |error: std::io::Error| Error::io(&place, &error);
    let file = open_regular(&path).map_err(fault)?;
    let mut fields = [0; HEADER_BYTES];
    file.read_exact_at(&mut fields, 0).map_err(fault)?;
    let header = Header::decode(&fields)?;
    // Before a byte is allocated for what it says of itself.
    if file.metadata().map_err(fault)?.len() != header.file_bytes() || header.id != id || header.suite != key.suite {
        return Err(refused("not as long as it says, or of another archive"));
    }
    let object_key =
        ObjectKey::committed(&key.key, &header.salt, &binding(key, id), &header.commitment, "local cache")?;
    let mut list = vec![0; to_usize(header.list_bytes(), "local cache")?];
    file.read_exact_at(&mut list, HEADER_BYTES as u64 + header.blocks_bytes + header.tail_bytes).map_err(fault)?;
    let list = object_key.open_with(Part::Body, &crate::digest::blake3(&fields), &mut list, "local cache")?;
    let mut blocks = Vec::with_capacity(header.block_count as usize);
    let mut place = HEADER_BYTES as u64;
    let mut records = Cursor::new(list, Layer::Seal, "local cache");
    for _ in 0..header.block_count {
        let (offset, bytes) = (records.u64()?, records.u32()?);
        blocks.push((offset, bytes, place));
        place += u64::from(bytes);
    }
    let source = ShadowSource { file, path, blocks, tail_at: HEADER_BYTES as u64 + header.blocks_bytes, header };
    Ok((Arc::new(source), object_key))
}

/// Bytes of a shadow at the places that they have in the archive; all others are zeros, which no tag fits.
struct ShadowSource {
    file: File,
    path: PathBuf,
    /// Offset in the archive, bytes, and where they lie in the file; ascending.
    blocks: Vec<(u64, u32, u64)>,
    tail_at: u64,
    header: Header,
}

impl ShadowSource {
    /// Copies what is both in a piece of the archive and in `buffer`, which begins at `offset`.
    fn copy(&self, piece: (u64, u64, u64), offset: u64, buffer: &mut [u8]) -> Result<()> {
        let (piece_offset, piece_bytes, at) = piece;
        let start = piece_offset.max(offset);
        let end = piece_offset.saturating_add(piece_bytes).min(offset.saturating_add(buffer.len() as u64));
        if start >= end {
            return Ok(());
        }
        let target = to_usize(start - offset, "local cache")?..to_usize(end - offset, "local cache")?;
        let read = self.file.read_exact_at(&mut buffer[target], at + (start - piece_offset));
        read.map_err(|error| Error::io(self.path.display().to_string(), &error))
    }
}

impl ReadAt for ShadowSource {
    fn byte_count(&self) -> u64 {
        self.header.archive_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.header.archive_bytes);
        let Some(end) = end else { return Err(refused("too short for what it says")) };
        buffer.fill(0);
        let first = self.blocks.partition_point(|(at, bytes, _)| at.saturating_add(u64::from(*bytes)) <= offset);
        for (at, bytes, place) in self.blocks.iter().skip(first).take_while(|(at, ..)| *at < end) {
            self.copy((*at, u64::from(*bytes), *place), offset, buffer)?;
        }
        self.copy((self.header.tail_offset, self.header.tail_bytes, self.tail_at), offset, buffer)
    }
}

/// The plain head of a file; it is proved by the tag of the list of blocks.
struct Header {
    suite: Suite,
    block_count: u32,
    blocks_bytes: u64,
    tail_offset: u64,
    tail_bytes: u64,
    archive_bytes: u64,
    id: ArchiveId,
    salt: [u8; SALT_BYTES],
    commitment: [u8; 32],
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut fields = Appender::with_capacity(HEADER_BYTES);
        fields
            .bytes(MAGIC)
            .u16(VERSION)
            .u16(self.suite.number())
            .u32(self.block_count)
            .u64(self.blocks_bytes)
            .u64(self.tail_offset)
            .u64(self.tail_bytes)
            .u64(self.archive_bytes)
            .bytes(&self.id.0)
            .bytes(&self.salt)
            .bytes(&self.commitment);
        fields.into_vec()
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self> {
        let mut fields = Cursor::new(bytes, Layer::Seal, "local cache");
        if (fields.array::<8>()?, fields.u16()?) != (*MAGIC, VERSION) {
            return Err(refused("another kind of file"));
        }
        let header = Self {
            suite: Suite::from_number(fields.u16()?)?,
            block_count: fields.u32()?,
            blocks_bytes: fields.u64()?,
            tail_offset: fields.u64()?,
            tail_bytes: fields.u64()?,
            archive_bytes: fields.u64()?,
            id: ArchiveId(fields.array()?),
            salt: fields.array()?,
            commitment: fields.array()?,
        };
        let ends = header.tail_offset.checked_add(header.tail_bytes) == Some(header.archive_bytes);
        let is_possible = ends && header.blocks_bytes <= header.archive_bytes;
        if is_possible { Ok(header) } else { Err(refused("a head that cannot be")) }
    }

    fn list_bytes(&self) -> u64 {
        u64::from(self.block_count) * BLOCK_RECORD_BYTES as u64 + SEALED_OVERHEAD_BYTES as u64
    }

    fn file_bytes(&self) -> u64 {
        // Neither is longer than an archive; of a hostile head the sum is not the length of any file.
        let bytes = (HEADER_BYTES as u64).saturating_add(self.blocks_bytes).saturating_add(self.tail_bytes);
        bytes.saturating_add(self.list_bytes())
    }
}

fn binding(key: &CacheKey, id: ArchiveId) -> Binding {
    Binding { suite: key.suite, object_type: ObjectType::Record, epoch: 0, repository: key.repository, object: id.0 }
}

fn path_of(folder: &Path, id: ArchiveId) -> PathBuf {
    folder.join(format!("{id}.shadow"))
}

fn refused(detail: &str) -> Error {
    Error::damaged(Layer::Seal, "local cache", format!("{detail}; it is of no use, a full archive needs none"))
}
