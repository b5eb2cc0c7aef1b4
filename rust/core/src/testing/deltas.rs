//! Fuzz target of deltas: opened with their ancestors, read through maps, looked up by id, compared by their tables.

use super::{BYTES_MAX, restore_options, seal, to_usize};
use crate::archive::{Archive, ArchiveId};
use crate::digest::blake3;
use crate::error::Result;
use crate::pipeline::equal::equal_rows;
use crate::pipeline::id_index;
use crate::pipeline::restore::write_member;
use crate::pipeline::rows::{How, ReadState, RowReader};
use crate::pipeline::verify::{Level, Scope, verify_opened};
use crate::pipeline::view::read_plan;
use crate::store::ReadAt;
use std::sync::Arc;

const ANCESTORS_MAX: u8 = 3;
/// Streams that are looked at, rows of each that are read alone and looked up.
const STREAMS: usize = 24;
const SINGLE_ROWS: u64 = 48;

/// First byte: how many ancestors; their lengths (u32, little-endian); ancestors and delta one after another. Read as they
/// are, then with checks and digests made to hold.
pub fn delta_open(data: &[u8]) {
    let Some(mut set) = Set::of(data) else { return };
    set.read_everything();
    set.make_whole();
    set.read_everything();
}

struct Set {
    ancestors: Vec<Vec<u8>>,
    /// The names by which the delta knows them.
    ids: Vec<ArchiveId>,
    delta: Vec<u8>,
}

impl Set {
    fn of(data: &[u8]) -> Option<Self> {
        let (count, mut lengths) = data.split_first()?;
        let count = usize::from(count % (ANCESTORS_MAX + 1));
        let mut rest = lengths.get(4 * count..)?;
        let mut set = Self { ancestors: Vec::new(), ids: Vec::new(), delta: Vec::new() };
        for _ in 0..count {
            let (length, more) = lengths.split_first_chunk::<4>()?;
            let (ancestor, after) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            set.ancestors.push(ancestor.to_vec());
            // Taken from where ids stand in trailers, whatever else there is.
            let id = ancestor.len().checked_sub(64).and_then(|at| ancestor.get(at..)?.first_chunk().copied());
            set.ids.push(ArchiveId(id.unwrap_or_default()));
            (lengths, rest) = (more, after);
        }
        set.delta = rest.to_vec();
        Some(set)
    }

    fn open(&self) -> Result<Archive> {
        let mut archive = Archive::open(Arc::new(self.delta.clone()))?;
        let source = |id: &ArchiveId| {
            let at = self.ids.iter().position(|known| known == id)?;
            Some(Arc::new(self.ancestors[at].clone()) as Arc<dyn ReadAt>)
        };
        let found = archive.ancestors().iter().map(|ancestor| source(&ancestor.id)).collect();
        archive.attach(found)?;
        Ok(archive)
    }

    /// Ancestors are sealed, the delta agrees with them, and what can be decoded has the digests that stand for it.
    fn make_whole(&mut self) {
        for ancestor in &mut self.ancestors {
            seal(ancestor);
            for _ in 0..PASSES {
                let opened = Archive::open(Arc::new(ancestor.clone()));
                prove(opened, ancestor, &[], &[]);
            }
        }
        seal::seal_delta(&mut self.delta, &self.ids, &self.ancestors);
        for _ in 0..PASSES {
            let opened = self.open();
            prove(opened, &mut self.delta, &self.ids, &self.ancestors);
        }
    }

    fn read_everything(&self) {
        let Ok(archive) = self.open() else { return };
        let raw_bytes = archive.streams().iter().map(|stream| stream.raw_bytes()).fold(0, u64::saturating_add);
        let reader = Arc::new(RowReader::new(archive, BYTES_MAX));
        if raw_bytes > BYTES_MAX {
            return;
        }
        let rows: Vec<Option<Vec<u8>>> =
            (0..reader.archive().streams().len().min(STREAMS)).map(|stream| rows_of(&reader, stream)).collect();
        for (stream, rows) in rows.iter().enumerate() {
            reads_single_rows(&reader, stream, rows.as_deref());
            looks_up(&reader, stream, rows.as_deref());
        }
        self.compares(&reader, &rows);
        self.verifies_and_restores(&reader, &rows);
    }

    /// Rows that are said to be equal are, where both can be read.
    fn compares(&self, reader: &RowReader, rows: &[Option<Vec<u8>>]) {
        let others = self.ancestors.iter().filter_map(|bytes| Archive::open(Arc::new(bytes.clone())).ok());
        // An ancestor that needs others is not opened here.
        for other in others.filter(|other| !other.is_delta()) {
            let other = RowReader::new(other, BYTES_MAX);
            for (stream, rows) in rows.iter().enumerate() {
                let description = &reader.archive().streams()[stream];
                let Some(before) = other.archive().stream_index(&description.name) else { continue };
                let row_count = description.row_count.min(other.archive().streams()[before].row_count);
                if row_count > BYTES_MAX {
                    continue;
                }
                let mut flags = vec![9; to_usize(row_count)];
                if equal_rows((&other, before), (reader, stream), &mut flags).is_err() {
                    continue;
                }
                assert!(flags.iter().all(|flag| *flag <= 1));
                let (Some(after), Some(before)) = (rows, rows_of(&other, before)) else { continue };
                let row_bytes = description.row_bytes as usize;
                for (row, _) in flags.iter().enumerate().filter(|(_, flag)| **flag == 1) {
                    let bytes = row * row_bytes..(row + 1) * row_bytes;
                    assert_eq!(after[bytes.clone()], before[bytes], "row {row} of {}", description.name);
                }
            }
        }
    }

    fn verifies_and_restores(&self, reader: &Arc<RowReader>, rows: &[Option<Vec<u8>>]) {
        let bytes = self.delta.len() as u64;
        let verified = verify_opened(self.open(), bytes, Level::Full, Scope::WithAncestors, 1, &mut |_, _| Ok(()));
        let is_whole = verified.is_ok_and(|report| report.ok);
        assert!(!is_whole || rows.iter().all(Option::is_some), "a verified delta has rows that cannot be read");
        let Ok(Some(plan)) = read_plan(reader) else { return };
        for (number, member) in plan.members.iter().enumerate().take(8).filter(|(_, one)| one.bytes <= BYTES_MAX) {
            let restored = write_member(reader, number, &mut std::io::sink(), &restore_options(), &mut |_, _| Ok(()));
            assert!(restored.is_ok() || !is_whole, "a verified delta does not restore: {restored:?}");
            assert!(restored.is_err() || restored.is_ok_and(|bytes| bytes == member.bytes));
        }
    }
}

fn rows_of(reader: &RowReader, stream: usize) -> Option<Vec<u8>> {
    let mut rows = vec![0; to_usize(reader.archive().streams()[stream].raw_bytes())];
    reader.read_rows(&mut ReadState::default(), stream, 0, &mut rows).ok().map(|()| rows)
}

/// One row gives what all rows give.
fn reads_single_rows(reader: &RowReader, stream: usize, rows: Option<&[u8]>) {
    let description = &reader.archive().streams()[stream];
    let step = to_usize(description.row_count / SINGLE_ROWS + 1);
    let row_bytes = description.row_bytes as usize;
    for row in (0..description.row_count).step_by(step) {
        let mut one = vec![0; row_bytes];
        let read = reader.read_rows(&mut ReadState::for_few(), stream, row, &mut one);
        let Some(rows) = rows else { continue };
        read.unwrap();
        assert_eq!(one, rows[to_usize(row) * row_bytes..][..row_bytes], "row {row} of {}", description.name);
    }
}

/// Every row that an index gives has the id that was asked for.
fn looks_up(reader: &RowReader, stream: usize, rows: Option<&[u8]>) {
    let description = &reader.archive().streams()[stream];
    if !id_index::has_index(reader, stream) {
        return;
    }
    let row_bytes = description.row_bytes as usize;
    let ids = rows.unwrap_or_default().chunks(row_bytes).take(to_usize(SINGLE_ROWS));
    let mut wanted: Vec<u64> = ids.map(|id| id_index::key_of(description.element_type, id)).collect();
    wanted.extend([0, 1, u64::MAX]);
    let Ok(Some(found)) = id_index::find(reader, stream, &wanted) else { return };
    assert!(found.is_sorted());
    for (number, row) in found {
        let Some(id) = rows.and_then(|rows| rows.chunks(row_bytes).nth(to_usize(row))) else { continue };
        assert_eq!(id_index::key_of(description.element_type, id), wanted[number]);
    }
}

/// Rows follow from blocks, from base parts, through maps, and the rows of a part's base from another archive.
const PASSES: usize = 3;

/// Writes the digests of what can be decoded into the index.
fn prove(opened: Result<Archive>, bytes: &mut [u8], ids: &[ArchiveId], ancestors: &[Vec<u8>]) {
    let Ok(archive) = opened else { return };
    let reader = RowReader::new(archive, BYTES_MAX);
    let mut digests = Vec::new();
    for (number, stream) in reader.archive().streams().iter().enumerate().take(STREAMS) {
        for chunk in 0..stream.chunk_count.min(64) {
            if stream.chunk_bytes(chunk) > BYTES_MAX {
                continue;
            }
            let mut rows = vec![0; to_usize(stream.chunk_bytes(chunk))];
            let how = How { is_proved_above: true, known: None };
            if reader.read_chunk_as(&mut ReadState::default(), (number, chunk), how, &mut rows).is_ok() {
                digests.push((stream.first_entry + chunk, blake3(&rows)));
            }
        }
    }
    for (entry, digest) in digests {
        let _ = seal::put_digest(bytes, entry, digest);
    }
    seal::seal_delta(bytes, ids, ancestors);
}
