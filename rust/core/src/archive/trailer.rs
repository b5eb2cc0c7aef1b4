//! The trailer (spec 3): the last 128 bytes, from which everything is found.

use super::{ArchiveId, Identity, frozen};
use crate::bytes::{Appender, Cursor};
use crate::digest;
use crate::error::{Error, Layer, Result};
use crate::limits::{HEADER_BYTES, TAIL_BYTES, TRAILER_BYTES};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub directory_offset: u64,
    pub directory_bytes: u32,
    pub metadata_bytes: u32,
    pub archive_bytes: u64,
    pub archive_crc: u64,
    pub root: [u8; 32],
    pub identity: Identity,
}

/// Bytes that `trailer_crc` covers.
const COVERED_BYTES: usize = 112;
const PLACE: &str = "trailer";

pub(crate) fn encode(trailer: &Trailer) -> Vec<u8> {
    let mut fields = Appender::with_capacity(TRAILER_BYTES);
    fields
        .u64(trailer.directory_offset)
        .u32(trailer.directory_bytes)
        .u32(trailer.metadata_bytes)
        .u64(trailer.archive_bytes)
        .u64(trailer.archive_crc)
        .bytes(&trailer.root)
        .bytes(&trailer.identity.id.0)
        .u64(trailer.identity.incompat)
        .u64(trailer.identity.ro_compat)
        .u64(trailer.identity.compat)
        .u16(trailer.identity.version_major)
        .u16(trailer.identity.version_minor)
        .zeros(4);
    let trailer_crc = digest::crc64(fields.as_slice());
    fields.u64(trailer_crc).bytes(&frozen::TRAILER_MAGIC);
    fields.into_vec()
}

/// True when `bytes` end like an archive.
pub(crate) fn has_magic(bytes: &[u8]) -> bool {
    bytes.ends_with(&frozen::TRAILER_MAGIC)
}

/// Parses and checks all that the trailer alone can tell; the magic was seen before (`has_magic`).
///
/// # Errors
/// `Damaged` at layer `Trailer`; `Unsupported` for a newer version or an unknown incompat bit.
pub(crate) fn decode(bytes: &[u8; TRAILER_BYTES], archive_bytes_found: u64) -> Result<Trailer> {
    let mut fields = Cursor::new(bytes, Layer::Trailer, PLACE);
    let directory_offset = fields.u64()?;
    let directory_bytes = fields.u32()?;
    let metadata_bytes = fields.u32()?;
    let archive_bytes = fields.u64()?;
    let archive_crc = fields.u64()?;
    let root = fields.array()?;
    let id = ArchiveId(fields.array()?);
    let (incompat, ro_compat, compat) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let (version_major, version_minor) = (fields.u16()?, fields.u16()?);
    let reserved = fields.u32()?;
    let trailer_crc = fields.u64()?;

    // The order is that of spec 3.
    let crc_found = digest::crc64(&bytes[..COVERED_BYTES]);
    if trailer_crc != crc_found {
        return Err(damaged(format!("checksum {crc_found:016x}, expected {trailer_crc:016x}; use another copy")));
    }
    let identity = Identity { version_major, version_minor, incompat, ro_compat, compat, id };
    check_readable(&identity)?;
    if reserved != 0 {
        return Err(damaged(format!("the reserved field is {reserved}, expected 0")));
    }
    if archive_bytes != archive_bytes_found {
        return Err(damaged(format!("the archive has {archive_bytes_found} bytes, expected {archive_bytes}")));
    }
    let tables_bytes = u64::from(directory_bytes) + u64::from(metadata_bytes) + TRAILER_BYTES as u64;
    if directory_offset.checked_add(tables_bytes) != Some(archive_bytes) {
        return Err(damaged(format!(
            "directory at {directory_offset} with {tables_bytes} bytes of tables must end at {archive_bytes}"
        )));
    }
    if tables_bytes > TAIL_BYTES {
        return Err(damaged(format!("the tables have {tables_bytes} bytes, expected at most {TAIL_BYTES}")));
    }
    if directory_offset < HEADER_BYTES as u64 {
        return Err(damaged(format!("directory_offset is {directory_offset}, expected at least {HEADER_BYTES}")));
    }
    Ok(Trailer { directory_offset, directory_bytes, metadata_bytes, archive_bytes, archive_crc, root, identity })
}

/// Version and feature words (spec 9).
fn check_readable(identity: &Identity) -> Result<()> {
    let Identity { version_major, version_minor, incompat, .. } = *identity;
    if version_major > frozen::VERSION_MAJOR {
        return Err(Error::unsupported(
            Layer::Trailer,
            PLACE,
            format!("format version {version_major}.{version_minor}; this reader knows 1.x, use a newer vark"),
        ));
    }
    if version_major < frozen::VERSION_MAJOR {
        return Err(damaged(format!("format version {version_major}.{version_minor} never existed")));
    }
    if identity.is_delta() && version_minor < frozen::VERSION_MINOR_DELTA {
        return Err(damaged(format!("a delta of version {version_major}.{version_minor}, expected 1.1 or later")));
    }
    if identity.is_sealed() && version_minor < frozen::VERSION_MINOR_SEALED {
        let detail = format!("a sealed archive of version {version_major}.{version_minor}, expected 1.2 or later");
        return Err(damaged(detail));
    }
    let unknown = incompat & !frozen::INCOMPAT_KNOWN;
    if unknown != 0 {
        return Err(Error::unsupported(
            Layer::Trailer,
            PLACE,
            format!("needs features unknown to this reader (incompat bits {unknown:#x}); use a newer vark"),
        ));
    }
    Ok(())
}

fn damaged(detail: String) -> Error {
    Error::damaged(Layer::Trailer, PLACE, detail)
}
