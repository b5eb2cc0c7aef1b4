//! Makes the checks of a faulty archive hold, so that what stands behind them is reached.

use crate::archive::ArchiveId;
use crate::digest::{blake3, crc64};
use crate::limits;

const ANCESTOR_BYTES: usize = 64;

/// Sets, as far as the tables can be found: lengths in the trailer, checksums and digests of the index blocks,
/// checksums of the blocks, root and checksums of the trailer. Digests of chunks stay, and tags.
pub fn seal(archive: &mut [u8]) -> Option<()> {
    seal_delta(archive, &[], &[])
}

/// As `seal`, of a delta: lengths and roots of the ancestors that it names are theirs, and checksums of blocks in them.
pub fn seal_delta(archive: &mut [u8], ids: &[ArchiveId], ancestors: &[Vec<u8>]) -> Option<()> {
    let end = archive.len();
    let trailer = end.checked_sub(limits::TRAILER_BYTES)?;
    archive[end - 8..].copy_from_slice(b"\x1a\n\rKRAV\x89");
    put(archive, trailer + 16, (end as u64).to_le_bytes())?;
    let _ = seal_index(archive, trailer, ids, ancestors);
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

/// Where the tables are.
struct Tables {
    index: usize,
    per_block: usize,
    entries: usize,
    crcs: usize,
    ancestor_table: usize,
    ancestor_count: usize,
    digests: usize,
    /// Bytes that sealing adds to each part; 0 for a plain archive.
    overhead: usize,
}

impl Tables {
    fn of(archive: &[u8], trailer: usize) -> Option<Self> {
        let directory = offset_at(archive, trailer)?;
        let index = offset_at(archive, directory + 8)?;
        let number = |at| usize::try_from(u32::from_le_bytes(field(archive, at)?)).ok();
        let per_block = number(directory + 24)?.max(1);
        let (ancestor_count, seal_bytes) = (number(directory + 32)?, number(directory + 40)?);
        let entries = directory.checked_sub(index)? / limits::ENTRY_BYTES;
        let (entries, overhead) = match seal_bytes {
            0 => (entries, 0),
            _ => (offset_at(archive, directory + 16)?.min(entries), limits::SEALED_OVERHEAD_BYTES),
        };
        let crcs = directory + limits::DIRECTORY_HEADER_BYTES;
        let ancestor_table = crcs + 8 * entries.div_ceil(per_block);
        let digests =
            ancestor_table.checked_add(ancestor_count.checked_mul(ANCESTOR_BYTES)?)?.checked_add(seal_bytes)?;
        Some(Self { index, per_block, entries, crcs, ancestor_table, ancestor_count, digests, overhead })
    }

    /// First byte and entries of an index block.
    fn block(&self, block: usize) -> (usize, usize) {
        let first = block * self.per_block;
        (self.index + first * limits::ENTRY_BYTES + block * self.overhead, self.per_block.min(self.entries - first))
    }
}

/// Writes the digest of a chunk into its entry.
pub fn put_digest(archive: &mut [u8], entry: u64, digest: [u8; 32]) -> Option<()> {
    let tables = Tables::of(archive, archive.len().checked_sub(limits::TRAILER_BYTES)?)?;
    let entry = usize::try_from(entry).ok().filter(|entry| *entry < tables.entries)?;
    let (start, count) = tables.block(entry / tables.per_block);
    let sealed = start + count * limits::PUBLIC_ENTRY_BYTES;
    put(archive, sealed + entry % tables.per_block * limits::SEALED_ENTRY_BYTES, digest)
}

fn seal_index(archive: &mut [u8], trailer: usize, ids: &[ArchiveId], ancestors: &[Vec<u8>]) -> Option<()> {
    let tables = Tables::of(archive, trailer)?;
    let mut sources: Vec<Option<&[u8]>> = Vec::new();
    for number in 0..tables.ancestor_count.min(limits::ANCESTORS_MAX) {
        let at = tables.ancestor_table + number * ANCESTOR_BYTES;
        let id = ArchiveId(field(archive, at)?);
        let source = ids.iter().position(|known| *known == id).and_then(|place| ancestors.get(place));
        if let Some(source) = source {
            put(archive, at + 16, (source.len() as u64).to_le_bytes())?;
            let root = source.len().checked_sub(limits::TRAILER_BYTES).and_then(|trailer| field(source, trailer + 32));
            put(archive, at + 24, root.unwrap_or([0; 32]))?;
        }
        sources.push(source.map(Vec::as_slice));
    }
    for block in 0..tables.entries.div_ceil(tables.per_block) {
        let (start, count) = tables.block(block);
        for entry in 0..count {
            let at = start + entry * limits::PUBLIC_ENTRY_BYTES;
            let offset = usize::try_from(u64::from_le_bytes(field(archive, at)?)).ok();
            let stored = usize::try_from(u32::from_le_bytes(field(archive, at + 8)?)).ok()?;
            let source = match usize::from(u16::from_le_bytes(field(archive, at + 12)?)) {
                0 => Some(&*archive),
                number => sources.get(number - 1).copied().flatten(),
            };
            let end = offset.and_then(|offset| offset.checked_add(stored));
            let bytes = source.zip(offset).zip(end).and_then(|((source, offset), end)| source.get(offset..end));
            if let Some(crc) = bytes.map(crc64) {
                put(archive, at + 16, crc.to_le_bytes())?;
            }
        }
        let bytes = archive.get(start..start + count * limits::ENTRY_BYTES + tables.overhead)?;
        let (crc, digest) = (crc64(bytes), blake3(bytes));
        put(archive, tables.crcs + 8 * block, crc.to_le_bytes())?;
        if tables.overhead == 0 {
            put(archive, tables.digests + 32 * block, digest)?;
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
