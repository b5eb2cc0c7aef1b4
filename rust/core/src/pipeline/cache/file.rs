//! Files of the local cache (spec/CACHE.md, section 2): a chunk whole, or as a patch on another one. All of them are hostile.

use super::{CacheKey, Listed, Patch};
use crate::bytes::{Appender, Cursor};
use crate::error::{Error, Layer, Result, to_usize};
use crate::limits::{CHUNK_BYTES_MAX, SALT_BYTES, SEALED_OVERHEAD_BYTES};
use crate::seal::{Binding, ObjectKey, ObjectType, Part, random};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"VARKROWS";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 144;
/// A content is sealed so many bytes at a time.
const PIECE_BYTES: usize = 1 << 20;
/// Of the number of a changed row.
pub(super) const PLACE_BYTES: usize = 4;
const SUFFIX: &str = ".rows";
const TEMPORARY_SUFFIX: &str = ".rows-tmp";

/// What a chunk is called: its digest, or without the key nothing that tells it.
pub(super) type Name = [u8; 32];

/// What is written of a chunk.
pub(super) enum Content<'a> {
    Whole(&'a [u8]),
    /// And the name of the chunk that it is a patch on.
    Patch(&'a Patch, Name),
}

/// The head of a file, checked as far as it can be by itself.
pub(super) struct Header {
    pub name: Name,
    row_bytes: u64,
    /// 0 of a whole chunk.
    changed_rows: u64,
    width: u32,
    base: Name,
    base_bytes: u64,
    salt: [u8; SALT_BYTES],
    commitment: [u8; 32],
}

impl Header {
    /// Name and bytes of the chunk that it is a patch on.
    pub fn base(&self) -> Option<(Name, u64)> {
        (self.changed_rows > 0).then_some((self.base, self.base_bytes))
    }

    pub fn patch_bytes(&self) -> u64 {
        self.changed_rows.saturating_mul(u64::from(self.width) + PLACE_BYTES as u64)
    }

    /// Of places and of rows.
    fn contents(&self) -> [u64; 2] {
        let rows = self.changed_rows.saturating_mul(u64::from(self.width));
        let places = self.changed_rows.saturating_mul(PLACE_BYTES as u64);
        if self.changed_rows == 0 { [0, self.row_bytes] } else { [places, rows] }
    }

    /// Neither more rows than the chunk has, nor a base that is longer, nor rows that are not whole.
    fn is_possible(&self) -> bool {
        let width = u64::from(self.width);
        let is_patch = || {
            let fits = self.row_bytes.checked_rem(width) == Some(0) && self.base_bytes.checked_rem(width) == Some(0);
            fits && self.changed_rows <= self.row_bytes / width && self.base_bytes <= self.row_bytes
        };
        self.row_bytes <= CHUNK_BYTES_MAX && (self.changed_rows == 0 || is_patch())
    }
}

pub(super) struct Files {
    folder: PathBuf,
    key: Option<CacheKey>,
}

impl Files {
    pub fn new(folder: &Path, key: Option<CacheKey>) -> Self {
        Self { folder: folder.to_owned(), key }
    }

    pub fn is_sealed(&self) -> bool {
        self.key.is_some()
    }

    /// A digest would tell whoever has the rows that they are here, so that a key is mixed in.
    pub fn name(&self, digest: &[u8; 32]) -> Name {
        match &self.key {
            None => *digest,
            Some(key) => key.tag(digest),
        }
    }

    pub fn remove(&self, name: &Name) {
        // Another process may have removed it.
        drop(std::fs::remove_file(self.path(name)));
    }

    /// A file that can be one of a chunk of so many bytes.
    pub fn open(&self, name: Name, row_bytes: u64) -> Option<(File, Header)> {
        let (file, header) = self.open_any(name)?;
        (header.row_bytes == row_bytes).then_some((file, header))
    }

    /// The name of a chunk and of those that it is a patch on, as far as there are files, and at most so many.
    pub fn names_below(&self, name: Name, names_max: usize) -> Vec<Name> {
        let mut names = vec![name];
        while let Some((_, header)) =
            names.last().filter(|_| names.len() <= names_max).and_then(|last| self.open_any(*last))
            && let Some((base, _)) = header.base()
        {
            names.push(base);
        }
        names
    }

    /// Files of the cache; a folder may hold others, which are nobody's business.
    pub fn list(&self) -> Vec<Listed> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let file = |entry: std::fs::DirEntry| {
            let (path, metadata) = (entry.path(), entry.metadata().ok()?);
            let name = path.file_name()?.to_str()?;
            let is_temporary = name.ends_with(TEMPORARY_SUFFIX);
            let is_ours = metadata.is_file() && (is_temporary || name.ends_with(SUFFIX));
            let (bytes, modified) = (metadata.len(), metadata.modified().ok()?);
            is_ours.then_some(Listed { path, bytes, modified, is_temporary })
        };
        entries.filter_map(|entry| file(entry.ok()?)).collect()
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(format!("{}{SUFFIX}", crate::seal::hex(name)))
    }

    fn suite(&self) -> u16 {
        self.key.as_ref().map_or(0, |key| key.suite.number())
    }

    fn file_bytes(&self, header: &Header) -> u64 {
        let overhead = if self.is_sealed() { SEALED_OVERHEAD_BYTES as u64 } else { 0 };
        let sealed = header.contents().map(|bytes| bytes + bytes.div_ceil(PIECE_BYTES as u64) * overhead);
        HEADER_BYTES as u64 + sealed[0] + sealed[1]
    }

    fn binding(key: &CacheKey, name: &Name) -> Binding {
        let mut object = [0; 16];
        object.copy_from_slice(&name[..16]);
        Binding { suite: key.suite, object_type: ObjectType::Record, epoch: 0, repository: key.repository, object }
    }

    // Writer and reader of one layout, in the same order.

    /// Under its name when it is complete.
    ///
    /// # Errors
    /// Those of the system; then nothing is left.
    pub fn write(&self, name: Name, row_bytes: u64, content: &Content<'_>) -> Result<()> {
        let temporary = self.folder.join(format!(".{}{TEMPORARY_SUFFIX}", uuid::Uuid::now_v7().simple()));
        let written = self.write_file(&temporary, name, row_bytes, content).and_then(|()| {
            let path = self.path(&name);
            std::fs::rename(&temporary, &path).map_err(|error| Error::io(path.display().to_string(), &error))
        });
        if written.is_err() {
            drop(std::fs::remove_file(&temporary));
        }
        written
    }

    fn write_file(&self, path: &Path, name: Name, row_bytes: u64, content: &Content<'_>) -> Result<()> {
        let fault = |error: std::io::Error| Error::io(path.display().to_string(), &error);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fault)?;
        let key = self.key.as_ref().map(|key| {
            let salt = random()?;
            ObjectKey::new(&key.key, &salt, &Self::binding(key, &name)).map(|object| (salt, object))
        });
        let key = key.transpose()?;
        let (salt, commitment) = key.as_ref().map_or(([0; 32], [0; 32]), |(salt, key)| (*salt, *key.commitment()));
        let mut fields = Appender::with_capacity(HEADER_BYTES);
        fields.bytes(MAGIC).u16(VERSION).u16(self.suite());
        let mut places = Vec::new();
        let rows = match content {
            Content::Whole(rows) => {
                fields.u32(0).u64(row_bytes).u64(0).u64(0).u64(0).bytes(&[0; 32]);
                *rows
            }
            Content::Patch(patch, base) => {
                let changes = &patch.changes;
                let (width, count) = (changes.rows.len() / changes.places.len().max(1), changes.places.len() as u64);
                let width = u32::try_from(width).map_err(|_| refused("wide rows"))?;
                fields.u32(width).u64(row_bytes).u64(count).u64(patch.base_bytes).u64(0).bytes(base);
                places.extend(changes.places.iter().flat_map(|place| place.to_le_bytes()));
                &changes.rows
            }
        };
        fields.bytes(&salt).bytes(&commitment);
        file.write_all(fields.as_slice()).map_err(fault)?;
        let mut chunk = 0;
        for bytes in [&places[..], rows] {
            let Some((_, key)) = &key else {
                file.write_all(bytes).map_err(fault)?;
                continue;
            };
            for bytes in bytes.chunks(PIECE_BYTES) {
                let mut piece = Vec::with_capacity(bytes.len() + SEALED_OVERHEAD_BYTES);
                piece.extend_from_slice(bytes);
                key.seal(Part::Block { stream: 0, chunk }, &mut piece)?;
                file.write_all(&piece).map_err(fault)?;
                chunk += 1;
            }
        }
        Ok(())
    }

    fn open_any(&self, name: Name) -> Option<(File, Header)> {
        let mut file = open_regular(&self.path(&name)).ok()?;
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact(&mut bytes).ok()?;
        let header = self.header(name, &bytes).ok()?;
        let is_whole = header.is_possible() && file.metadata().ok()?.len() == self.file_bytes(&header);
        is_whole.then_some((file, header))
    }

    fn header(&self, name: Name, bytes: &[u8]) -> Result<Header> {
        let mut fields = Cursor::new(bytes, Layer::Seal, "cache");
        let known = (fields.array::<8>()?, fields.u16()?, fields.u16()?);
        if known != (*MAGIC, VERSION, self.suite()) {
            return Err(refused("another kind of file"));
        }
        let (width, row_bytes, changed_rows, base_bytes) = (fields.u32()?, fields.u64()?, fields.u64()?, fields.u64()?);
        fields.reserved(8)?;
        let (base, salt, commitment) = (fields.array()?, fields.array()?, fields.array()?);
        Ok(Header { name, row_bytes, changed_rows, width, base, base_bytes, salt, commitment })
    }

    /// A whole chunk into `out`, or the changed rows into what is there of the other one.
    ///
    /// # Errors
    /// `Damaged` for what cannot be such a content; those of reading.
    pub fn read_content(&self, mut file: &File, header: &Header, out: &mut [u8]) -> Result<()> {
        let out_bytes = to_usize(header.row_bytes, "cache")?;
        let out = out.get_mut(..out_bytes).ok_or_else(|| refused("a chunk that is too long"))?;
        file.seek(SeekFrom::Start(HEADER_BYTES as u64)).map_err(|error| Error::io("cache", &error))?;
        let binding = |key| Self::binding(key, &header.name);
        let key = self
            .key
            .as_ref()
            .map(|key| ObjectKey::committed(&key.key, &header.salt, &binding(key), &header.commitment, "cache"));
        let mut pieces = Pieces { file, key: key.transpose()?, next: 0, piece: Vec::new() };
        if header.changed_rows == 0 {
            return pieces.read(out);
        }
        let [place_bytes, row_bytes] = header.contents();
        let (mut places, mut rows) = (vec![0; to_usize(place_bytes, "cache")?], vec![0; to_usize(row_bytes, "cache")?]);
        pieces.read(&mut places)?;
        pieces.read(&mut rows)?;
        let width = header.width as usize;
        for (place, row) in places.as_chunks().0.iter().zip(rows.chunks_exact(width)) {
            let start = (u32::from_le_bytes(*place) as usize).checked_mul(width);
            let target = start.and_then(|start| out.get_mut(start..)?.get_mut(..width));
            target.ok_or_else(|| refused("a row past the end"))?.copy_from_slice(row);
        }
        Ok(())
    }
}

/// What follows the header, opened piece by piece.
struct Pieces<'a> {
    file: &'a File,
    key: Option<ObjectKey>,
    next: u64,
    piece: Vec<u8>,
}

impl Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> Result<()> {
        let fault = |error: std::io::Error| Error::io("cache", &error);
        let Some(key) = &self.key else { return self.file.read_exact(out).map_err(fault) };
        for out in out.chunks_mut(PIECE_BYTES) {
            self.piece.resize(out.len() + SEALED_OVERHEAD_BYTES, 0);
            self.file.read_exact(&mut self.piece).map_err(fault)?;
            let part = Part::Block { stream: 0, chunk: self.next };
            out.copy_from_slice(key.open(part, &mut self.piece, "cache")?);
            self.next += 1;
        }
        Ok(())
    }
}

/// A file that is one: nothing that waits for a writer, and no link to elsewhere.
pub(in crate::pipeline) fn open_regular(path: &Path) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::ErrorKind::InvalidInput.into()) }
}

fn refused(detail: &str) -> Error {
    Error::damaged(Layer::Seal, "cache", detail)
}
