//! Deltas in the packer: which streams are compared, and how their maps and parts get into the archive.

use super::stream::{Ending, MAP_CHUNK_ROWS, PartBase, Ready, can_move};
use super::{Base, Compare, Compared, DeltaStream, FINGERPRINT_ROW_BYTES_MIN, FingerprintKey, Way, fingerprints_of};
use crate::archive::Entry;
use crate::archive::shadow::is_kept;
use crate::error::Result;
use crate::pipeline::cache::ChunkCache;
use crate::pipeline::coding::{PackJob, PointedBlock};
use crate::pipeline::packer::{Packer, Pending};
use crate::plan::batch::WHOLE_CHUNK_BYTES_MAX;
use crate::stream::{ChunkShape, ElementType, PartRecord, StreamRole, StreamSpec, chunk_rows_for};
use std::collections::HashMap;
use std::sync::Arc;

/// Of the name of a map or a part, besides that of its owner.
const NUMBER_BYTES: usize = 16;
/// Left for payload, documents, attachments, probes and the plan, and for each member that is still to come.
const STREAMS_RESERVED: usize = 24;
const STREAMS_A_MEMBER: usize = 2;
const NAME_BYTES_RESERVED: usize = 64;

/// Rows that a shadow leaves out have fingerprints from so many bytes on: shorter ones would be half as long.
const SHADOWED_ROW_BYTES_MIN: u32 = 16;

/// What a packer knows of the base.
#[derive(Default)]
pub struct Deltas {
    pub base: Option<Base>,
    /// Fingerprints are kept of wide rows, made with this key.
    pub fingerprint_key: Option<FingerprintKey>,
    pub cache: Option<Arc<ChunkCache>>,
    /// The next delta will be made from a shadow, which has no vectors: these are told by fingerprints, however short.
    pub is_shadowed: bool,
    /// Streams and bytes of names that a stream, by its number, may still need for its map, its parts and their like.
    promised: HashMap<usize, (usize, usize)>,
    /// Members that are still to come: room is kept for the streams of each.
    pub members_left: usize,
    pub compares: HashMap<usize, Arc<Compare>>,
    streams: HashMap<usize, Open>,
    pub tally: DeltaTally,
    /// Streams of ids whose index is not carried on.
    pub id_index_left_out: Vec<String>,
}

/// Rows of all streams that were compared row by row, and bytes that were pointed to.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeltaTally {
    pub rows: u64,
    pub rows_new: u64,
    pub chunks_same: u64,
}

struct Open {
    stream: DeltaStream,
    /// Numbers of the map and of the part with the new rows, once there are any.
    map: Option<usize>,
    part: Option<usize>,
}

impl Deltas {
    pub fn new(base: Option<Base>, fingerprint_key: Option<FingerprintKey>, cache: Option<Arc<ChunkCache>>) -> Self {
        Self { base, fingerprint_key, cache, ..Self::default() }
    }

    /// Without a key of the repository one that follows from the base: the same input gives the same bytes. The root is no
    /// secret; a sealed base has a key that is.
    fn key(&self) -> FingerprintKey {
        let of_base = |base: &Base| {
            let archive = base.reader.archive();
            let secret = archive.sealing().and_then(|sealing| sealing.fingerprint_key());
            FingerprintKey(secret.unwrap_or_else(|| *blake3::hash(&archive.root()).as_bytes()))
        };
        let of_base = || self.base.as_ref().map_or(FingerprintKey([0; 32]), of_base);
        self.fingerprint_key.unwrap_or_else(of_base)
    }

    /// What a map and parts of a stream need at most.
    fn family_room(&self, name: &str) -> (usize, usize) {
        let parts = self.base.as_ref().map(|base| {
            let archive = base.reader.archive();
            let mapping = archive.stream_index(name).and_then(|number| archive.mapping(number));
            mapping.map_or(1, |mapping| mapping.parts.len()) + 2
        });
        let streams = parts.unwrap_or(0);
        (streams, streams * (name.len() + NUMBER_BYTES))
    }

    /// Streams and bytes of names that a stream needs besides itself, at most.
    pub fn room_for(&self, spec: &StreamSpec) -> (usize, usize) {
        let (mut streams, mut names) = self.family_room(&spec.name);
        if self.keeps_fingerprints(spec) {
            let name = fingerprints_of(&spec.name);
            let family = self.family_room(&name);
            streams += 1 + family.0;
            names += name.len() + family.1;
        }
        (streams, names)
    }

    /// What is spoken for: by streams that are open, by members to come, and by the archive's own streams.
    pub fn promised(&self) -> (usize, usize) {
        let own = STREAMS_RESERVED + self.members_left * STREAMS_A_MEMBER;
        let start = (own, own * NAME_BYTES_RESERVED);
        let open = self.spoken_for();
        (start.0 + open.0, start.1 + open.1)
    }

    /// By streams that are open alone.
    pub fn spoken_for(&self) -> (usize, usize) {
        self.promised.values().fold((0, 0), |sum, room| (sum.0 + room.0, sum.1 + room.1))
    }

    /// So many streams of what was promised to a stream are declared now.
    fn keep_promise(&mut self, number: usize, streams: usize, name_bytes: usize) {
        if let Some(room) = self.promised.get_mut(&number) {
            *room = (room.0.saturating_sub(streams), room.1.saturating_sub(name_bytes));
        }
    }

    fn keeps_fingerprints(&self, spec: &StreamSpec) -> bool {
        let is_told = |bytes| {
            let is_left_out = self.is_shadowed && !is_kept(spec.role, bytes);
            bytes >= if is_left_out { SHADOWED_ROW_BYTES_MIN } else { FINGERPRINT_ROW_BYTES_MIN }
        };
        let is_wide = spec.row_bytes().is_ok_and(is_told);
        let name_fits = fingerprints_of(&spec.name).len() + 16 <= crate::limits::STREAM_NAME_BYTES_MAX;
        is_wide && name_fits && self.fingerprint_key.is_some() && spec.role != StreamRole::PROBE
    }

    /// Rows of a chunk as the base has them: equal chunks can be pointed to.
    pub fn chunk_rows(&self, spec: &StreamSpec) -> Option<u64> {
        let base = self.base.as_ref()?;
        base.same_stream(spec).map(|(_, stream)| stream.chunk_rows)
    }
}

impl Packer<'_> {
    /// Called when a stream was declared: how it will be compared, and its stream of fingerprints.
    ///
    /// # Errors
    /// Those of declaring.
    pub(in crate::pipeline) fn open_delta(&mut self, number: usize, spec: &StreamSpec) -> Result<()> {
        if spec.role == StreamRole::FINGERPRINTS && self.deltas.base.is_none() {
            return Ok(());
        }
        let (streams, names) = self.deltas.room_for(spec);
        let (promised, promised_names) = self.deltas.promised();
        let has_room = self.writer.has_room(streams + promised, (names + promised_names) as u64, 0);
        let fingerprints = if has_room && self.deltas.keeps_fingerprints(spec) {
            let own = StreamSpec::new(fingerprints_of(&spec.name), StreamRole::FINGERPRINTS, ElementType::U64, 1);
            Some((self.deltas.key(), self.declare(&own, 0)?))
        } else {
            None
        };
        let found = self.deltas.base.as_ref().map_or(Ok(None), |base| base.find(spec))?;
        let can_compare = |stream| {
            fingerprints.is_some()
                || self.deltas.base.as_ref().is_some_and(|base| base.reader.archive().has_rows(stream))
        };
        let with = found.map(|(stream, way)| (stream, if has_room && can_compare(stream) { way } else { Way::Chunks }));
        if with.is_none() && fingerprints.is_none() {
            return Ok(());
        }
        if with.is_some_and(|(_, way)| way == Way::Rows) {
            let family = self.deltas.family_room(&spec.name);
            self.deltas.promised.insert(number, family);
        }
        let compare = Arc::new(Compare {
            base: self.deltas.base.clone(),
            with,
            fingerprints,
            key: self.deltas.key(),
            can_move: can_move(spec.role),
            row_bytes: spec.row_bytes().map_or(1, |bytes| bytes as usize),
            chunk_rows: self.table.shape(number).map_or(1, |shape| shape.chunk_rows),
        });
        if let (Some(base), Some((stream, Way::Rows))) = (&self.deltas.base, with) {
            let part_rows = part_chunk_rows(spec, compare.row_bytes);
            let delta = DeltaStream::new(base, stream, &compare, part_rows, self.memory_bytes / 4)?;
            self.deltas.streams.insert(number, Open { stream: delta, map: None, part: None });
            let first = base.reader.archive().streams().get(stream).map_or(0, |stream| stream.chunk_bytes(0));
            if first > WHOLE_CHUNK_BYTES_MAX {
                let job = PackJob::Warm { reader: base.reader.clone(), stream, chunk: 0 };
                // Nobody waits for it: whoever needs the chunk finds it, or decodes it.
                let _ = self.submit_internal(number, job);
            }
        }
        self.deltas.compares.insert(number, compare);
        Ok(())
    }

    /// A chunk that was compared row by row.
    ///
    /// # Errors
    /// Those of reading the base and of declaring.
    pub(in crate::pipeline) fn accept_compared(
        &mut self,
        compared: Compared,
        completed: &mut Vec<Pending>,
    ) -> Result<()> {
        let (number, bytes) = (compared.stream, compared.raw_bytes);
        let Some(mut open) = self.deltas.streams.remove(&number) else { return Ok(()) };
        let ready = open.stream.accept(compared)?;
        self.submit_ready(number, &mut open, ready, completed)?;
        self.deltas.streams.insert(number, open);
        self.report_progress(bytes)
    }

    /// A chunk that the base has.
    ///
    /// # Errors
    /// As `write_block`.
    pub(in crate::pipeline) fn accept_pointer(&mut self, pointed: &PointedBlock) -> Result<()> {
        let PointedBlock { stream, first_row, rows, raw_bytes, entry } = *pointed;
        self.check_order(stream, first_row, rows)?;
        self.writer.refer(stream, rows, entry)?;
        self.deltas.tally.chunks_same += 1;
        self.report_progress(raw_bytes)
    }

    fn submit_ready(
        &mut self,
        number: usize,
        open: &mut Open,
        ready: Vec<Ready>,
        completed: &mut Vec<Pending>,
    ) -> Result<()> {
        for item in ready {
            let map = self.family(number, open)?;
            let (stream, job) = match item {
                Ready::Map { first_row, bytes } => {
                    let shape = ChunkShape { first_row, ..ChunkShape::plain(StreamRole::MAP, ElementType::U64) };
                    let rows = bytes.len() as u64 / 8;
                    let chunk = self.chunk_of(map, first_row);
                    (map, PackJob::Chunk { stream: map, chunk, rows, shape, bytes, digest: None, compare: None })
                }
                Ready::Part { first_row, bytes, references } => {
                    let part = self.own_part(number, open)?;
                    let shape = ChunkShape { first_row, ..self.shape_of(number) };
                    let (rows, chunk) = (references.len() as u64, self.chunk_of(part, first_row));
                    let is_links = shape.role == StreamRole::LINKS;
                    let archive = open.stream.base().0.reader.archive();
                    let is_near = open.stream.is_near != Some(false);
                    let base = open.stream.base_part().filter(|_| is_links || is_near);
                    let base = base.filter(|(_, stream)| archive.has_rows(*stream));
                    let job = match base {
                        Some((_, stream)) => {
                            let base = PartBase { reader: open.stream.base().0.reader.clone(), stream };
                            let is_near = open.stream.is_near == Some(true);
                            PackJob::Part { stream: part, chunk, rows, shape, bytes, references, base, is_near }
                        }
                        None => PackJob::Chunk { stream: part, chunk, rows, shape, bytes, digest: None, compare: None },
                    };
                    (part, job)
                }
            };
            completed.push(self.submit_internal(stream, job));
        }
        Ok(())
    }

    /// Declares the map and the parts that the base has; the number of the map.
    fn family(&mut self, number: usize, open: &mut Open) -> Result<usize> {
        if let Some(map) = open.map {
            return Ok(map);
        }
        let name = self.name_of(number);
        let spec = StreamSpec::new(format!("{name}//map"), StreamRole::MAP, ElementType::U64, 1);
        let record = PartRecord { owner: Some(number), ..PartRecord::default() };
        self.deltas.keep_promise(number, 1, spec.name.len());
        let map = self.enlist(&spec, MAP_CHUNK_ROWS, record)?;
        open.map = Some(map);
        let (base, parts) = (open.stream.base().0.clone(), open.stream.parts());
        for (part_number, stream) in parts {
            let Some(part) = base.reader.archive().streams().get(stream) else { continue };
            let chunk_rows = part.chunk_rows;
            let record = PartRecord { owner: Some(number), number: part_number, base: part.part.base };
            let spec = self.part_spec(number, part_number);
            self.deltas.keep_promise(number, 1, spec.name.len());
            let alias = self.enlist(&spec, chunk_rows, record)?;
            for chunk in 0..part.chunk_count {
                if let Some(entry) = base.entry(stream, chunk)? {
                    self.writer.refer(alias, part.rows_in_chunk(chunk), entry)?;
                }
            }
        }
        Ok(map)
    }

    fn own_part(&mut self, number: usize, open: &mut Open) -> Result<usize> {
        if let Some(part) = open.part {
            return Ok(part);
        }
        let part_number = open.stream.part_number();
        let base = open.stream.base_part().map_or(0, |(base, _)| base);
        let spec = self.part_spec(number, part_number);
        let row_bytes = spec.row_bytes().map_or(1, |bytes| bytes as usize);
        let owner_role = StreamSpec { role: self.shape_of(number).role, ..spec.clone() };
        let record = PartRecord { owner: Some(number), number: part_number, base };
        self.deltas.keep_promise(number, 1, spec.name.len());
        let part = self.enlist(&spec, part_chunk_rows(&owner_role, row_bytes), record)?;
        open.part = Some(part);
        Ok(part)
    }

    fn part_spec(&self, number: usize, part_number: u16) -> StreamSpec {
        let ChunkShape { element_type, row_elements, .. } = self.shape_of(number);
        let name = format!("{}//part.{part_number}", self.name_of(number));
        StreamSpec::new(name, StreamRole::PART, element_type, row_elements)
    }

    /// After the last row of a stream: its map is completed, or it is left as the base has it.
    ///
    /// # Errors
    /// As `accept_compared`.
    pub(in crate::pipeline) fn close_delta(&mut self, number: usize) -> Result<()> {
        let Some(mut open) = self.deltas.streams.remove(&number) else { return Ok(()) };
        let (ready, ending) = open.stream.finish()?;
        let mut completed = Vec::new();
        self.submit_ready(number, &mut open, ready, &mut completed)?;
        self.push_completed(completed);
        self.settle()?;
        self.outdate(&open)?;
        let is_mapped = ending == Ending::Mapped || open.stream.mapping().is_some();
        if is_mapped {
            self.family(number, &mut open)?;
        }
        if ending == Ending::Same {
            self.copy_map(&open)?;
        }
        let chunk_rows = self.table.shape(number).map_or(1, |shape| shape.chunk_rows);
        let (base, with) = open.stream.base();
        let base = base.clone();
        for (chunk, digest) in (0u64..).zip(&open.stream.digests) {
            let rows = chunk_rows.min(open.stream.row_count - chunk * chunk_rows);
            let pointer = if is_mapped { None } else { base.entry(with, chunk)? };
            let mapped = Entry::mapped(*digest);
            self.deltas.tally.chunks_same += u64::from(pointer.is_some());
            self.writer.refer(number, rows, pointer.unwrap_or(mapped))?;
        }
        self.deltas.promised.remove(&number);
        if self.shape_of(number).role != StreamRole::FINGERPRINTS {
            self.deltas.tally.rows += open.stream.row_count;
            self.deltas.tally.rows_new += open.stream.rows_new;
        }
        Ok(())
    }

    /// Mapped chunks of the base have served: nothing but this delta was compared with them, and no part has their rows.
    fn outdate(&self, open: &Open) -> Result<()> {
        let Some(cache) = &self.deltas.cache else { return Ok(()) };
        let (archive, stream) = (open.stream.base().0.reader.archive(), open.stream.base().1);
        for chunk in 0..archive.streams().get(stream).map_or(0, |stream| stream.chunk_count) {
            let entry = archive.entry(stream, chunk)?;
            if entry.is_mapped() {
                cache.outdate(&entry.digest);
            }
        }
        Ok(())
    }

    /// The base's map as it is: nothing changed, and parts keep their numbers.
    fn copy_map(&mut self, open: &Open) -> Result<()> {
        let (Some(map), Some(mapping)) = (open.map, open.stream.mapping()) else { return Ok(()) };
        let (base, from) = (open.stream.base().0.clone(), mapping.map);
        let Some(description) = base.reader.archive().streams().get(from) else { return Ok(()) };
        for chunk in 0..description.chunk_count {
            if let Some(entry) = base.entry(from, chunk)? {
                self.writer.refer(map, description.rows_in_chunk(chunk), entry)?;
            }
        }
        Ok(())
    }

    /// A block of a part was written: whether its rows were near those of the base.
    pub(in crate::pipeline) fn note_part(&mut self, stream: usize, codec: u16) {
        if let Some(open) = self.deltas.streams.values_mut().find(|open| open.part == Some(stream)) {
            let needs_base = crate::codec::Codec::from_number(codec).is_some_and(crate::codec::Codec::needs_base);
            open.stream.is_near.get_or_insert(needs_base);
        }
    }
}

/// As a stream of the owner's role that is just as long as it gets.
fn part_chunk_rows(spec: &StreamSpec, row_bytes: usize) -> u64 {
    chunk_rows_for(spec.role, u32::try_from(row_bytes).unwrap_or(u32::MAX), 0)
}
