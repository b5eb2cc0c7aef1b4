//! Shadows (spec/CACHE.md, 4): what a write-only writer keeps of an archive that it wrote. Tables, and blocks of streams that deltas
//! are compared with, sealed anew under a key of the writer's own, so that it needs none that opens what is stored.

use std::sync::{Arc, Mutex};

use super::sealing::OpenSeal;
use super::tables::Tables;
use super::trailer::{self, Trailer};
use super::{Archive, directory, header, metadata};
use crate::digest;
use crate::error::{Error, ErrorKind, Layer, Result, to_usize};
use crate::limits::{PUBLIC_ENTRY_BYTES, SEALED_OVERHEAD_BYTES, TRAILER_BYTES};
use crate::seal::{ObjectKey, Part};
use crate::store::ReadAt;
use crate::stream::StreamRole;

/// Codes of so many bytes are compared by fingerprints: they come close to being vectors.
const CODE_BYTES_MAX: u32 = 64;

/// Whether blocks of such a stream are in a shadow (of a part: by the role of its owner). Never vectors, payload or documents.
pub fn is_kept(role: StreamRole, row_bytes: u32) -> bool {
    use StreamRole as Role;
    match role {
        Role::LINKS | Role::LEVELS | Role::IDS | Role::LIST_SIZES | Role::MAP | Role::FINGERPRINTS | Role::ID_INDEX => {
            true
        }
        Role::CODES => row_bytes < CODE_BYTES_MAX,
        _ => false,
    }
}

/// What follows the blocks, in a shadow.
pub struct ShadowTail {
    /// Where it begins in the archive: index_offset.
    pub offset: u64,
    /// Index blocks, directory, metadata, trailer: as long as in the archive, and sealed under another key.
    pub bytes: Vec<u8>,
}

impl ShadowTail {
    /// `end`: the last bytes of an archive, from where its blocks end. `from`: its key.
    ///
    /// # Errors
    /// Those of parsing what was just written, which is not to be expected.
    pub fn of(end: &[u8], archive_bytes: u64, from: &ObjectKey, to: &ObjectKey) -> Result<Self> {
        let Some(trailer_bytes) = end.last_chunk::<TRAILER_BYTES>() else { return Err(odd()) };
        let trailer = trailer::decode(trailer_bytes, archive_bytes)?;
        let skip = |offset: u64| to_usize((offset + end.len() as u64).saturating_sub(archive_bytes), "shadow");
        let directory_at = skip(trailer.directory_offset)?;
        let directory_end = directory_at + to_usize(trailer.directory_bytes.into(), "shadow")?;
        let directory = end.get(directory_at..directory_end).ok_or_else(odd)?;
        let public = directory::decode_public(directory, trailer.directory_offset, &trailer.identity)?;
        let (stored_public, sealed) = directory.split_at_checked(public.public_bytes).ok_or_else(odd)?;
        let header = header::encode(&trailer.identity);

        let mut bytes = end.get(skip(public.index_offset)?..directory_at).ok_or_else(odd)?.to_vec();
        for block in 0..public.block_crcs.len() as u64 {
            let range = public.index_block(block, trailer.identity.overhead());
            let start = to_usize(range.offset - public.index_offset, "shadow")?;
            let entries = to_usize(range.entries, "shadow")? * PUBLIC_ENTRY_BYTES;
            let found = bytes.get_mut(start..start + to_usize(range.byte_count, "shadow")?).ok_or_else(odd)?;
            let sealed = found.get_mut(entries..).unwrap_or_default();
            let anew = seal_anew(Part::IndexBlock(block), sealed, from, to)?;
            sealed.copy_from_slice(&anew);
        }
        let mut sealed = sealed.to_vec();
        let opened =
            from.open_with(Part::Directory, &digest::blake3_of(&[&header, stored_public]), &mut sealed, "directory")?;
        let mut anew = with_room(opened);
        to.seal_with(Part::Directory, &public_digest(&header, stored_public, trailer_bytes), &mut anew)?;
        bytes.extend_from_slice(stored_public);
        bytes.append(&mut anew);
        let metadata = end.get(directory_end..end.len() - TRAILER_BYTES).ok_or_else(odd)?;
        bytes.append(&mut seal_anew(Part::Metadata, &mut metadata.to_vec(), from, to)?);
        bytes.extend_from_slice(trailer_bytes);
        Ok(Self { offset: public.index_offset, bytes })
    }
}

/// The same part under another key. `sealed` is of no use afterwards.
///
/// # Errors
/// `Damaged` at layer `Seal`.
pub fn seal_anew(part: Part, sealed: &mut [u8], from: &ObjectKey, to: &ObjectKey) -> Result<Vec<u8>> {
    let mut anew = with_room(from.open(part, sealed, "shadow")?);
    to.seal(part, &mut anew)?;
    Ok(anew)
}

fn with_room(opened: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(opened.len() + SEALED_OVERHEAD_BYTES);
    bytes.extend_from_slice(opened);
    bytes
}

/// The trailer is proved, too: the root in it is named by what builds on the archive.
fn public_digest(header: &[u8], public: &[u8], trailer: &[u8]) -> [u8; 32] {
    digest::blake3_of(&[header, public, trailer])
}

impl Archive {
    /// Opens a shadow: all that the archive says of itself, and rows of the streams that are in it. `source`: bytes at the places
    /// that they have in the archive.
    ///
    /// # Errors
    /// As `open_with`.
    pub fn open_shadow(source: Arc<dyn ReadAt>, key: ObjectKey) -> Result<Self> {
        let tables = Tables::read_unproved(source)?;
        let Some(record) = tables.seal_record()? else { return Err(odd()) };
        let (stored, metadata) = tables.parts();
        let (identity, public) = (tables.trailer.identity, tables.public.clone());
        let (stored_public, sealed) = stored.split_at_checked(public.public_bytes).ok_or_else(odd)?;
        let digest = public_digest(&header::encode(&identity), stored_public, &trailer_bytes(&tables.trailer));
        let (mut sealed, mut metadata) = (sealed.to_vec(), metadata.to_vec());
        let sealable = key.open_with(Part::Directory, &digest, &mut sealed, "directory")?;
        let directory = directory::decode_sealable(public, sealable, &identity)?;
        let metadata = metadata::decode(key.open(Part::Metadata, &mut metadata, "metadata")?)?;
        let missing = directory.public.ancestors.iter().map(|ancestor| Err(not_kept(&ancestor.id.to_string())));
        let seal = Some(OpenSeal::of_shadow(record, key, missing.collect()));
        let ancestors = vec![None; directory.public.ancestors.len()];
        let Tables { source, trailer, tail, tail_offset, .. } = tables;
        let (is_shadow, kept) = (true, Mutex::default());
        Ok(Self { source, ancestors, trailer, directory, metadata, seal, is_shadow, tail, tail_offset, kept })
    }

    /// Gives a shadow those of the archives that it points into, in the order of `ancestors`.
    ///
    /// # Errors
    /// As `attach`.
    pub fn attach_shadows(&mut self, shadows: Vec<Option<(Arc<dyn ReadAt>, ObjectKey)>>) -> Result<()> {
        let mut sources = Vec::with_capacity(shadows.len());
        let mut keys = Vec::with_capacity(shadows.len());
        for (shadow, ancestor) in shadows.into_iter().zip(self.ancestors()) {
            let (source, key) = shadow.unzip();
            sources.push(source);
            keys.push(key.ok_or_else(|| not_kept(&ancestor.id.to_string())));
        }
        self.attach(sources)?;
        self.seal = self.seal.take().map(|OpenSeal { record, key, .. }| OpenSeal::of_shadow(record, key, keys));
        Ok(())
    }

    /// Whether this is a shadow, and not what is stored.
    pub fn is_shadow(&self) -> bool {
        self.is_shadow
    }

    /// Whether rows of a stream can be read: all of an archive, those that are compared of a shadow.
    pub fn has_rows(&self, stream: usize) -> bool {
        let shape = self.chunk_shape(stream, 0);
        let row_bytes = self.streams().get(stream).map_or(0, |stream| stream.row_bytes);
        !self.is_shadow || shape.is_some_and(|shape| is_kept(shape.role, row_bytes))
    }
}

fn trailer_bytes(trailer: &Trailer) -> Vec<u8> {
    trailer::encode(trailer)
}

fn not_kept(id: &str) -> Error {
    let detail = "has no shadow in the local cache; a full archive needs none";
    Error::new(ErrorKind::NotFound, format!("archive {id}"), detail)
}

fn odd() -> Error {
    Error::damaged(Layer::Seal, "shadow", "is not one of a sealed archive; remove it: a full archive needs none")
}
