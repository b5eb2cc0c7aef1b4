//! Makes the checks of a faulty archive hold, so that what stands behind them is reached.

use crate::digest::{blake3, crc64};
use crate::limits;

/// Sets, as far as the tables can be found: lengths in the trailer, checksums and digests of the index blocks,
/// checksums of the blocks, root and checksums of the trailer. Digests of chunks stay, and tags.
pub fn seal(archive: &mut [u8]) -> Option<()> {
    let end = archive.len();
    let trailer = end.checked_sub(limits::TRAILER_BYTES)?;
    archive[end - 8..].copy_from_slice(b"\x1a\n\rKRAV\x89");
    put(archive, trailer + 16, (end as u64).to_le_bytes())?;
    let _ = seal_index(archive, trailer);
    let directory = offset_at(archive, trailer)?;
    // The header follows from the trailer.
    let mut header = b"\x89VARK\r\n\x1a".to_vec();
    header.extend_from_slice(&archive[trailer + 104..trailer + 108]);
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&archive[trailer + 80..trailer + 104]);
    header.extend_from_slice(&archive[trailer + 64..trailer + 80]);
    header.extend_from_slice(&crc64(&header).to_le_bytes());
    let root = [header.as_slice(), archive.get(directory..trailer)?].concat();
    put(archive, trailer + 32, blake3(&root))?;
    archive.get_mut(..64)?.copy_from_slice(&header);
    put(archive, trailer + 24, crc64(&archive[..trailer]).to_le_bytes())?;
    let crc = crc64(&archive[trailer..trailer + 112]);
    put(archive, trailer + 112, crc.to_le_bytes())
}

fn seal_index(archive: &mut [u8], trailer: usize) -> Option<()> {
    let directory = offset_at(archive, trailer)?;
    let index = offset_at(archive, directory + 8)?;
    let per_block = usize::try_from(u32::from_le_bytes(field(archive, directory + 24)?)).ok()?.max(1);
    let ancestors = usize::try_from(u32::from_le_bytes(field(archive, directory + 32)?)).ok()?;
    let seal_bytes = usize::try_from(u32::from_le_bytes(field(archive, directory + 40)?)).ok()?;
    let is_sealed = seal_bytes > 0;
    let overhead = if is_sealed { limits::SEALED_OVERHEAD_BYTES } else { 0 };
    let entries = directory.checked_sub(index)? / limits::ENTRY_BYTES;
    let entries = if is_sealed { offset_at(archive, directory + 16)?.min(entries) } else { entries };
    let blocks = entries.div_ceil(per_block);
    let crcs = directory + limits::DIRECTORY_HEADER_BYTES;
    let digests = (crcs + 8 * blocks).checked_add(ancestors.checked_mul(64)?)?.checked_add(seal_bytes)?;
    for block in 0..blocks {
        let first = block * per_block;
        let count = per_block.min(entries - first);
        let start = index + first * limits::ENTRY_BYTES + block * overhead;
        for entry in 0..count {
            let at = start + entry * limits::PUBLIC_ENTRY_BYTES;
            let offset = offset_at(archive, at)?;
            let stored = usize::try_from(u32::from_le_bytes(field(archive, at + 8)?)).ok()?;
            if let Some(bytes) = offset.checked_add(stored).and_then(|end| archive.get(offset..end)) {
                let crc = crc64(bytes);
                put(archive, at + 16, crc.to_le_bytes())?;
            }
        }
        let bytes = archive.get(start..start + count * limits::ENTRY_BYTES + overhead)?;
        let (crc, digest) = (crc64(bytes), blake3(bytes));
        put(archive, crcs + 8 * block, crc.to_le_bytes())?;
        if !is_sealed {
            put(archive, digests + 32 * block, digest)?;
        }
    }
    Some(())
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// A place inside the archive, so that sums of it cannot wrap.
fn offset_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(field(bytes, at)?)).ok().filter(|offset| *offset <= bytes.len())
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) -> Option<()> {
    bytes.get_mut(at..)?.first_chunk_mut::<N>().map(|place| *place = field)
}
