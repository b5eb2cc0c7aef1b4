//! Verification of stored bytes without a key: what anyone can say of a sealed archive (`spec/CRYPTO.md`, 5).

use super::packer::Progress;
use super::verify::{Damage, Level, Scope, VerifyReport, verify_opened};
use crate::archive::layout::Gap;
use crate::archive::{Entry, IndexBlock, Tables, check_block, layout};
use crate::error::{Error, ErrorKind, Layer, Result, to_usize};
use crate::limits::HEADER_BYTES;
use crate::store::ReadAt;
use std::sync::Arc;
use std::time::Instant;

/// Header, index, every block of this archive, padding, and the checksum of the whole. It names no stream: their names are
/// sealed. Blocks that lie in ancestors are for whoever scrubs those.
///
/// # Errors
/// `NotAnArchive`, `Unsupported`, those of `progress`; damage is in the report.
pub fn scrub(source: Arc<dyn ReadAt>, progress: Progress<'_>) -> Result<VerifyReport> {
    let started = Instant::now();
    let archive_bytes = source.byte_count();
    let tables = match Tables::read(source) {
        Ok(tables) => tables,
        Err(error) => return verify_opened(Err(error), archive_bytes, Level::Stored, Scope::Own, 1, progress),
    };
    let mut scrub = Scrub { tables: &tables, damage: Vec::new(), unread: Vec::new(), checked_bytes: 0 };
    if let Err(error) = tables.check_header() {
        scrub.note(&error, 0, HEADER_BYTES as u64);
    }
    let (mut entries, complete) = scrub.index();
    entries.sort_unstable_by_key(layout::place_of);
    // Of a file whose blocks overlap a byte could be asked for as often as there are entries.
    let mut places: Vec<(u64, u32)> = entries.iter().map(layout::place_of).collect();
    let layout = layout::check(&mut places, tables.index_offset(), complete);
    for fault in &layout.faults {
        scrub.note(fault, HEADER_BYTES as u64, tables.index_offset());
    }
    let blocks = if layout.faults.is_empty() { entries.as_slice() } else { &[] };
    scrub.blocks(blocks, layout.gaps, progress)?;
    if scrub.is_clean()
        && let Err(error) = tables.check_archive_crc(&mut entries)
    {
        scrub.note(&error, 0, archive_bytes);
    }
    Ok(VerifyReport {
        level: Level::Stored.name(),
        archive_bytes,
        checked_bytes: scrub.checked_bytes,
        chunks: entries.len() as u64,
        seconds: started.elapsed().as_secs_f64(),
        ok: scrub.is_clean(),
        damage: scrub.damage,
        unread: scrub.unread,
        archive_id: Some(tables.id().to_string()),
        root: Some(crate::seal::hex(&tables.root())),
    })
}

struct Scrub<'a> {
    tables: &'a Tables,
    damage: Vec<Damage>,
    unread: Vec<Damage>,
    checked_bytes: u64,
}

impl Scrub<'_> {
    fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.unread.is_empty()
    }

    fn note(&mut self, error: &Error, offset: u64, byte_count: u64) {
        let is_unread = matches!(error.kind(), ErrorKind::Io | ErrorKind::Unavailable | ErrorKind::PermissionDenied);
        let places = if is_unread { &mut self.unread } else { &mut self.damage };
        places.push(Damage {
            layer: error.layer().map_or("block", Layer::name),
            detail: error.to_string(),
            stream: None,
            first_row: None,
            row_count: None,
            ancestor: None,
            offset,
            byte_count,
        });
    }

    /// Entries with a block in this archive, and whether all index blocks are whole.
    fn index(&mut self) -> (Vec<Entry>, bool) {
        let (mut entries, mut complete) = (Vec::new(), true);
        for number in 0..self.tables.index_block_count() {
            let IndexBlock { offset, byte_count, .. } = self.tables.index_block_range(number);
            match self.tables.public_entries(number) {
                Ok(found) => entries.extend(found),
                Err(error) => {
                    complete = false;
                    self.note(&error, offset, byte_count);
                }
            }
            self.checked_bytes += byte_count;
        }
        (entries, complete)
    }

    /// Blocks that lie side by side, each read with the gap after it; then the other gaps.
    fn blocks(&mut self, entries: &[Entry], gaps: Vec<Gap>, progress: Progress<'_>) -> Result<()> {
        let total: u64 = entries.iter().map(|entry| u64::from(entry.stored_bytes)).sum();
        let (mut bytes, mut done, mut alone) = (Vec::new(), 0, Vec::new());
        let mut gaps = gaps.into_iter().peekable();
        for entry in entries {
            // Its place was checked: it lies in the archive.
            let block_bytes = to_usize(entry.stored_bytes.into(), "block")?;
            let end = entry.offset + u64::from(entry.stored_bytes);
            while let Some(gap) = gaps.next_if(|gap| gap.offset < end) {
                alone.push(gap);
            }
            let gap = gaps.next_if(|gap| gap.offset == end);
            bytes.resize(block_bytes + gap.map_or(0, |gap| to_usize(gap.bytes, "gap").unwrap_or(0)), 0);
            let mut read = self.tables.read_range(entry.offset, &mut bytes);
            match (gap, &read) {
                (Some(gap), Ok(())) => self.gap(gap, layout::check_padding(gap, &bytes[block_bytes..])),
                (Some(gap), Err(_)) => {
                    // It may be the gap that cannot be read: that says nothing of the block.
                    alone.push(gap);
                    bytes.truncate(block_bytes);
                    read = self.tables.read_range(entry.offset, &mut bytes);
                }
                (None, _) => {}
            }
            if let Err(error) = read.and_then(|()| check_block(entry, &bytes[..block_bytes])) {
                self.note(&error, entry.offset, entry.stored_bytes.into());
            }
            done += u64::from(entry.stored_bytes);
            progress(done, Some(total))?;
        }
        self.checked_bytes += total;
        for gap in alone.into_iter().chain(gaps) {
            // Below 64 bytes.
            let mut bytes = vec![0; usize::try_from(gap.bytes).unwrap_or(0)];
            let read = self.tables.read_range(gap.offset, &mut bytes);
            self.gap(gap, read.and_then(|()| layout::check_padding(gap, &bytes)));
        }
        Ok(())
    }

    fn gap(&mut self, gap: Gap, checked: Result<()>) {
        if let Err(error) = checked {
            self.note(&error, gap.offset, gap.bytes);
        }
        self.checked_bytes += gap.bytes;
    }
}
