//! Writing the index: ids are sorted when all are packed; of a base's index what still holds is pointed to.

use super::runs::{Groups, Pair, Pairs, Run};
use super::{CHANGES, CHUNK_ROWS, FENCE_CHUNK_ROWS, GONE, IdIndex, KeptChunk, RUN, key_of, spec_of};
use crate::error::{Result, to_usize};
use crate::pipeline::coding::Feed;
use crate::pipeline::delta::Base;
use crate::pipeline::member::little_endian;
use crate::pipeline::packer::Packer;
use crate::pipeline::rows::ReadState;
use crate::pipeline::streams::plain_batch;
use crate::plan::{Counts, FieldRows, Plan, Run as PlanRun};
use crate::stream::{PartRecord, StreamRole};

/// When `changes` would have so many of the rows of `keys`, those are written anew.
const CHANGES_SHARE: u64 = 8;
/// An index that would have to be written anew because this delta moved most rows is left out when it would be more than this
/// share of the delta.
const DELTA_SHARE: u64 = 2;
/// Streams of one index, those of the archive itself that are still to come, and bytes that a name gets longer.
const STREAMS: usize = 7;
const STREAMS_RESERVED: usize = 8;
const NAME_BYTES: usize = 32;

/// Writes the indexes of all streams of ids that are to have one.
///
/// # Errors
/// Those of packing and of reading the base.
pub fn write(packer: &mut Packer<'_>, plan: &Plan, wanted: IdIndex) -> Result<()> {
    let mut kept = std::mem::take(&mut packer.kept);
    // One that was put off may have come after the next.
    kept.values_mut().for_each(|chunks| chunks.sort_by_key(|chunk| chunk.first_row));
    let numbers: Vec<usize> = kept.keys().copied().collect();
    for number in numbers {
        let shape = packer.shape_of(number);
        if shape.role != StreamRole::IDS || shape.row_elements != 1 {
            continue;
        }
        let ids = packer.name_of(number).to_owned();
        let counts = grouping(plan, &ids).and_then(|counts| Some((packer.table.number(&counts.stream)?, counts)));
        let counts = counts.and_then(|(stream, counts)| Some((kept.remove(&stream)?, stream, counts)));
        let groups = counts.as_ref().and_then(|(chunks, stream, counts)| {
            let shape = packer.shape_of(*stream);
            group_starts(
                chunks,
                to_usize(u64::from(shape.row_elements * shape.element_type.bytes()), "row").ok()?,
                counts,
            )
        });
        let Some(chunks) = kept.remove(&number) else { continue };
        let is_same = counts.as_ref().is_none_or(|(chunks, stream, _)| same_rows(packer, *stream, chunks));
        let is_same = is_same && same_rows(packer, number, &chunks);
        // Other streams of ids may be counted by the same list sizes.
        if let Some((chunks, stream, _)) = counts {
            kept.insert(stream, chunks);
        }
        let mut index = Index { packer: &mut *packer, ids };
        index.write(number, chunks, groups, is_same, wanted)?;
    }
    Ok(())
}

/// The counts of the groups that a stream of ids is told in, when one run has all of its rows.
fn grouping(plan: &Plan, ids: &str) -> Option<Counts> {
    let mut runs = plan.members.iter().flat_map(|member| &member.runs);
    runs.find_map(|run| match run {
        PlanRun::Groups { fields, counts: Some(counts), .. } => {
            let field = fields.iter().find(|field| field.stream == ids)?;
            (field.rows == FieldRows::COUNTED && field.first == 0).then(|| counts.clone())
        }
        _ => None,
    })
}

/// Where each group begins, and where the last ends. `None` for counts of another kind than list sizes.
fn group_starts(chunks: &[KeptChunk], row_bytes: usize, counts: &Counts) -> Option<Vec<u64>> {
    let (first, offset) = (usize::try_from(counts.first).ok()?, counts.offset as usize);
    let mut starts = vec![0u64];
    let rows = chunks.iter().flat_map(|chunk| chunk.bytes.chunks_exact(row_bytes)).skip(first);
    for row in rows {
        let value = little_endian(row.get(offset..offset.checked_add(counts.bytes as usize)?)?);
        let count = value.checked_sub(counts.subtract)?.checked_div(counts.divide)?;
        starts.push(starts.last()?.checked_add(count)?);
    }
    Some(starts)
}

/// Whether the base's stream of this name has the very rows.
fn same_rows(packer: &Packer<'_>, number: usize, chunks: &[KeptChunk]) -> bool {
    let Some(base) = &packer.deltas.base else { return false };
    let archive = base.reader.archive();
    let Some(stream) = archive.stream_index(packer.name_of(number)) else { return false };
    let Some(description) = archive.streams().get(stream) else { return false };
    let row_bytes = u64::from(description.row_bytes);
    let rows = chunks.iter().map(|chunk| chunk.bytes.len() as u64 / row_bytes).sum::<u64>();
    let same_digest = |chunk: &KeptChunk| {
        let entry = archive.entry(stream, chunk.first_row / description.chunk_rows);
        chunk.first_row.is_multiple_of(description.chunk_rows) && entry.is_ok_and(|entry| entry.digest == chunk.digest)
    };
    packer.shape_of(number).element_type == description.element_type
        && rows == description.row_count
        && chunks.iter().all(same_digest)
}

/// The index of one stream of ids on its way into the archive.
struct Index<'a, 'b> {
    packer: &'a mut Packer<'b>,
    ids: String,
}

impl Index<'_, '_> {
    fn write(
        &mut self,
        number: usize,
        chunks: Vec<KeptChunk>,
        starts: Option<Vec<u64>>,
        is_same: bool,
        wanted: IdIndex,
    ) -> Result<()> {
        let mut state = ReadState::default();
        let base = self.packer.deltas.base.clone();
        let opened = base.as_ref().map(|base| -> Result<_> {
            let run = Run::open(&base.reader, &mut state, &self.ids, RUN)?;
            Ok((run, Groups::open(&base.reader, &mut state, &self.ids)?))
        });
        let (run, old_groups) = opened.transpose()?.unwrap_or_default();
        let element_type = self.packer.shape_of(number).element_type;
        let width = element_type.bytes() as usize;
        let rows: usize = chunks.iter().map(|chunk| chunk.bytes.len() / width).sum();
        let rows_min = if let IdIndex::Above(rows) = wanted { rows } else { u64::MAX };
        if (run.is_none() && rows as u64 <= rows_min) || !self.has_room(rows as u64) {
            return Ok(());
        }
        let kept = base.as_ref().zip(run);
        if let Some((base, run)) = kept.as_ref().filter(|_| is_same) {
            return self.point_to_all(base, run, old_groups, &mut state);
        }
        let groups = starts.and_then(|starts| groups_of(starts, rows as u64, old_groups.as_ref()));
        let pairs = sorted(chunks, |bytes| key_of(element_type, bytes), width, groups.as_ref());
        let same_places = groups.as_ref().map(|groups| groups.stride) == old_groups.map(|groups| groups.stride);
        let mut fences = Vec::new();
        let changes = match kept.as_ref().filter(|(_, run)| same_places && run.chunk_rows == CHUNK_ROWS) {
            Some((base, run)) => changed(base, &mut state, run, &pairs)?,
            None => None,
        };
        let is_asked_for = rows as u64 > rows_min;
        if changes.is_none() && !is_asked_for && same_places {
            let costs = kept.as_ref().map(|(base, run)| self.is_too_much(base, &mut state, run, rows as u64));
            if costs.transpose()?.unwrap_or(false) {
                self.packer.deltas.id_index_left_out.push(self.ids.clone());
                return Ok(());
            }
        }
        match (changes, kept) {
            (Some(changes), Some((base, run))) => {
                self.point_to(base, &run, RUN)?;
                fences.push((RUN, run.fence));
                if !changes.is_empty() {
                    fences.push((CHANGES, self.run(&changes, CHANGES)?));
                }
            }
            _ => fences.push((RUN, self.run(&pairs, RUN)?)),
        }
        self.ending(&fences, groups.as_ref())
    }

    /// Whether writing the index anew would cost more than it is worth to a delta that moved most rows. Where `changes` had grown for
    /// days it was due, and those days saved it.
    fn is_too_much(&self, base: &Base, state: &mut ReadState, run: &Run, rows: u64) -> Result<bool> {
        let before = Run::open(&base.reader, state, &self.ids, CHANGES)?.map_or(0, |changes| changes.rows);
        if before.saturating_mul(2) >= run.rows / CHANGES_SHARE {
            return Ok(false);
        }
        let mut stored_bytes = 0u64;
        for stream in [run.keys, run.places] {
            for chunk in 0..base.reader.archive().streams().get(stream).map_or(0, |stream| stream.chunk_count) {
                let entry = base.reader.archive().entry(stream, chunk)?;
                stored_bytes = stored_bytes.saturating_add(entry.stored_bytes.into());
            }
        }
        // As many bytes a row as the base's.
        let index_bytes = u128::from(stored_bytes) * u128::from(rows) / u128::from(run.rows.max(1));
        let delta_bytes = index_bytes + u128::from(self.packer.writer.position());
        Ok(index_bytes * u128::from(DELTA_SHARE) > delta_bytes)
    }

    fn has_room(&self, rows: u64) -> bool {
        let names = (STREAMS + STREAMS_RESERVED) * (self.ids.len() + NAME_BYTES);
        self.ids.len() + NAME_BYTES <= crate::limits::STREAM_NAME_BYTES_MAX
            && self.packer.writer.has_room(STREAMS + STREAMS_RESERVED, names as u64, rows / CHUNK_ROWS * 3)
    }

    /// The base's index, which says all that there is to say; fences stand here again, to be read with the tail.
    fn point_to_all(&mut self, base: &Base, run: &Run, groups: Option<Groups>, state: &mut ReadState) -> Result<()> {
        let changes = Run::open(&base.reader, state, &self.ids, CHANGES)?;
        self.point_to(base, run, RUN)?;
        let mut fences = vec![(RUN, run.fence.clone())];
        if let Some(changes) = changes {
            self.point_to(base, &changes, CHANGES)?;
            fences.push((CHANGES, changes.fence));
        }
        self.ending(&fences, groups.as_ref())
    }

    /// The base's keys and places as they are.
    fn point_to(&mut self, base: &Base, run: &Run, word_of: &str) -> Result<()> {
        for (word, stream) in [("keys", run.keys), ("places", run.places)] {
            let Some(description) = base.reader.archive().streams().get(stream) else { continue };
            let spec = spec_of(&self.ids, word_of, word);
            let alias = self.packer.enlist(&spec, description.chunk_rows, PartRecord::default())?;
            for chunk in 0..description.chunk_count {
                if let Some(entry) = base.entry(stream, chunk)? {
                    self.packer.writer.refer(alias, description.rows_in_chunk(chunk), entry)?;
                }
            }
        }
        Ok(())
    }

    /// Keys and places; the fence.
    fn run(&mut self, pairs: &[Pair], run: &str) -> Result<Vec<u64>> {
        let [keys, places] = ["keys", "places"].map(|word| spec_of(&self.ids, run, word));
        let keys = self.packer.enlist(&keys, CHUNK_ROWS, PartRecord::default())?;
        let places = self.packer.enlist(&places, CHUNK_ROWS, PartRecord::default())?;
        let mut fence = Vec::new();
        self.packer.expect_rows(keys, pairs.len() as u64);
        self.packer.expect_rows(places, pairs.len() as u64);
        let chunk_rows = to_usize(CHUNK_ROWS, "index of ids")?;
        for (first_row, pairs) in (0..).step_by(chunk_rows).zip(pairs.chunks(chunk_rows)) {
            fence.extend(pairs.first().map(|pair| pair.0));
            self.chunk(keys, first_row, CHUNK_ROWS, pairs.iter().map(|pair| pair.0))?;
            self.chunk(places, first_row, CHUNK_ROWS, pairs.iter().map(|pair| pair.1))?;
        }
        self.packer.close_streams(keys..places + 1)?;
        Ok(fence)
    }

    fn chunk(&mut self, stream: usize, first: u64, chunk_rows: u64, rows: impl Iterator<Item = u64>) -> Result<()> {
        let bytes: Vec<u8> = rows.flat_map(u64::to_le_bytes).collect();
        let batch = plain_batch(stream, first, bytes.len() as u64 / 8, 8, chunk_rows)?;
        self.packer.push(batch, Feed::Owned(bytes))
    }

    /// Fences and groups come last: they are read first, with the end of the archive where they fit.
    fn ending(&mut self, fences: &[(&str, Vec<u64>)], groups: Option<&Groups>) -> Result<()> {
        for (run, fence) in fences {
            self.whole(run, "fence", fence)?;
        }
        let Some(groups) = groups else { return Ok(()) };
        let values: Vec<u64> = std::iter::once(groups.stride).chain(groups.starts.iter().copied()).collect();
        self.whole(RUN, "groups", &values)
    }

    fn whole(&mut self, run: &str, word: &str, values: &[u64]) -> Result<()> {
        let spec = spec_of(&self.ids, run, word);
        let stream = self.packer.enlist(&spec, FENCE_CHUNK_ROWS, PartRecord::default())?;
        self.packer.expect_rows(stream, values.len() as u64);
        let chunk_rows = to_usize(FENCE_CHUNK_ROWS, "index of ids")?;
        for (first_row, values) in (0..).step_by(chunk_rows).zip(values.chunks(chunk_rows)) {
            self.chunk(stream, first_row, FENCE_CHUNK_ROWS, values.iter().copied())?;
        }
        self.packer.close_streams(stream..stream + 1)
    }
}

/// Groups with the base's stride where rows still fit it, else with room for the longest to grow. `None` when the starts are not
/// those of these rows, or places would not fit 64 bits.
fn groups_of(mut starts: Vec<u64>, rows: u64, base: Option<&Groups>) -> Option<Groups> {
    let longest = starts.windows(2).map(|pair| pair[1] - pair[0]).max()?;
    if starts.pop() != Some(rows) {
        return None;
    }
    let stride = match base.map(|base| base.stride).filter(|stride| longest <= *stride) {
        Some(stride) => stride,
        None => longest.checked_mul(2)?.checked_next_power_of_two()?,
    };
    let end = (starts.len() as u64).checked_mul(stride)?;
    (stride <= 1 << 63 && end < GONE).then_some(Groups { stride, starts })
}

fn sorted(chunks: Vec<KeptChunk>, key: impl Fn(&[u8]) -> u64, width: usize, groups: Option<&Groups>) -> Vec<Pair> {
    let mut pairs = Vec::with_capacity(chunks.iter().map(|chunk| chunk.bytes.len() / width).sum());
    // Chunk by chunk, so that each is freed when it is taken over.
    for chunk in chunks {
        let rows = (chunk.first_row..).zip(chunk.bytes.chunks_exact(width));
        pairs.extend(rows.map(|(row, id)| (key(id), groups.map_or(row, |groups| groups.place(row)))));
    }
    if !pairs.is_sorted() {
        pairs.sort_unstable();
    }
    pairs
}

/// All that is otherwise than a run of the base says; `None` when that is too much.
fn changed(base: &Base, state: &mut ReadState, run: &Run, pairs: &[Pair]) -> Result<Option<Vec<Pair>>> {
    let limit = to_usize(run.rows / CHANGES_SHARE, "index of ids")?;
    let mut old = Pairs::new(&base.reader, state, run);
    let mut changes = Vec::new();
    let mut before = Vec::new();
    let mut rest = pairs;
    loop {
        let key = match (rest.first().map(|pair| pair.0), old.peek()?.map(|pair| pair.0)) {
            (None, None) => return Ok(Some(changes)),
            (Some(new), Some(old)) => new.min(old),
            (new, old) => new.or(old).unwrap_or_default(),
        };
        let (here, after) = rest.split_at(rest.iter().take_while(|pair| pair.0 == key).count());
        rest = after;
        before.clear();
        while old.peek()?.is_some_and(|pair| pair.0 == key) {
            before.extend(old.next()?);
        }
        if here != before {
            changes.extend_from_slice(here);
            if here.is_empty() {
                changes.push((key, GONE));
            }
            if changes.len() > limit {
                return Ok(None);
            }
        }
    }
}
