//! The header (spec 2): a function of the identity, so only verification compares it.

use super::{Identity, frozen};
use crate::bytes::Appender;
use crate::digest;
use crate::error::{Error, Layer, Result};
use crate::limits::HEADER_BYTES;

pub(crate) fn encode(identity: &Identity) -> [u8; HEADER_BYTES] {
    let mut fields = Appender::with_capacity(HEADER_BYTES);
    fields
        .bytes(&frozen::HEADER_MAGIC)
        .u16(identity.version_major)
        .u16(identity.version_minor)
        .zeros(4)
        .u64(identity.incompat)
        .u64(identity.ro_compat)
        .u64(identity.compat)
        .bytes(&identity.id.0);
    let header_crc = digest::crc64(fields.as_slice());
    fields.u64(header_crc);
    let mut header = [0; HEADER_BYTES];
    header.copy_from_slice(fields.as_slice());
    header
}

/// Compares what stands at the front of the file with what the trailer implies.
///
/// # Errors
/// `Damaged` at layer `Header`.
pub(crate) fn check(identity: &Identity, found: &[u8]) -> Result<()> {
    let expected = encode(identity);
    if found == expected {
        return Ok(());
    }
    let offset = expected.iter().zip(found).position(|(left, right)| left != right).unwrap_or(found.len());
    Err(Error::damaged(
        Layer::Header,
        format!("header, byte {offset}"),
        "differs from what the trailer implies; the rows are unharmed, but keep another copy",
    ))
}

/// True when `bytes` are the beginning of some archive.
pub(crate) fn has_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(&frozen::HEADER_MAGIC)
}
