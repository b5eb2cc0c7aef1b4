//! What a backup says of itself. Serialised as JSON at the binding; fields are only ever added.

use super::cache::CacheTally;
use super::delta::Base;
use super::delta::pack::DeltaTally;
use super::packer::StreamTally;
use super::shadow::ShadowReport;
use crate::archive::{Ancestor, MAPPED};
use crate::codec::Codec;
use crate::plan::{Member, Skipped};
use crate::stream::{StreamDescription, StreamRole};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Serialize)]
pub struct PackReport {
    pub archive_id: String,
    pub archive_bytes: u64,
    /// Bytes of all members, as restored.
    pub source_bytes: u64,
    /// Logical bytes of all streams.
    pub raw_bytes: u64,
    pub root: String,
    /// Something was not captured, or may not be of one moment.
    pub partial: bool,
    pub seconds: f64,
    pub members: Vec<MemberReport>,
    pub skipped: Vec<Skipped>,
    pub streams: Vec<StreamReport>,
    /// What was compared with the base, if there was one.
    pub delta: Option<DeltaReport>,
    /// What came out of the local cache and went into it, if there was one.
    pub cache: Option<CacheTally>,
    /// What a writer that can read nothing keeps of the archive, if it is one.
    pub shadow: Option<ShadowReport>,
    /// Archives without which this one cannot be restored.
    pub ancestors: Vec<AncestorReport>,
}

#[derive(Debug, Clone, Serialize)]
pub struct DeltaReport {
    pub base: String,
    /// Rows that were compared one by one, and those of them that the base does not have.
    pub rows: u64,
    pub rows_new: u64,
    /// Chunks whose block the base has.
    pub chunks_same: u64,
    /// Streams of ids whose sorted index the base has and this archive has not, as it would be most of it.
    pub id_index_left_out: Vec<String>,
}

impl DeltaReport {
    pub fn new(base: &Base, tally: &DeltaTally, id_index_left_out: Vec<String>) -> Self {
        let DeltaTally { rows, rows_new, chunks_same } = *tally;
        Self { base: base.reader.archive().id().to_string(), rows, rows_new, chunks_same, id_index_left_out }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct AncestorReport {
    pub id: String,
    pub bytes: u64,
    pub root: String,
}

impl From<&Ancestor> for AncestorReport {
    fn from(ancestor: &Ancestor) -> Self {
        Self { id: ancestor.id.to_string(), bytes: ancestor.archive_bytes, root: crate::seal::hex(&ancestor.root) }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct MemberReport {
    pub name: String,
    pub bytes: u64,
    pub layout: String,
    pub warning: Option<String>,
    pub blake3: Option<String>,
    pub facts: serde_json::Map<String, serde_json::Value>,
}

impl From<Member> for MemberReport {
    fn from(member: Member) -> Self {
        let Member { name, bytes, layout, facts, warning, blake3, .. } = member;
        Self { name, bytes, layout, warning, blake3, facts }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    pub name: String,
    pub role: &'static str,
    pub element_type: &'static str,
    pub row_elements: u32,
    pub row_count: u64,
    pub raw_bytes: u64,
    pub stored_bytes: u64,
    pub chunk_count: u64,
    /// Codec name → chunks.
    pub codecs: BTreeMap<String, u64>,
}

/// Streams that a user knows; maps, parts, fingerprints and indexes of ids belong to them.
pub fn logical_streams(streams: &[StreamDescription]) -> impl Iterator<Item = (usize, &StreamDescription)> {
    streams.iter().enumerate().filter(|(_, stream)| !is_own(stream.role))
}

/// Roles of streams that belong to other streams.
fn is_own(role: StreamRole) -> bool {
    use StreamRole as Role;
    matches!(role, Role::PART | Role::MAP | Role::FINGERPRINTS | Role::ID_INDEX)
}

impl StreamReport {
    /// One of each logical stream, with the bytes and codecs of what belongs to it.
    pub fn all(streams: &[StreamDescription], tallies: &[StreamTally]) -> Vec<Self> {
        let logical = logical_streams(streams);
        logical.map(|(number, stream)| Self::new(number, stream, streams, tallies)).collect()
    }

    fn new(number: usize, stream: &StreamDescription, all: &[StreamDescription], tallies: &[StreamTally]) -> Self {
        let mut codecs = BTreeMap::new();
        let mut stored_bytes = 0;
        for (other, tally) in all.iter().zip(tallies) {
            if std::ptr::eq(other, stream) || other.part.owner == Some(number) {
                stored_bytes += other.stored_bytes;
                for (codec, chunks) in &tally.codecs {
                    *codecs.entry(codec_name(*codec)).or_insert(0) += chunks;
                }
            }
        }
        Self {
            name: stream.name.clone(),
            role: stream.role.name(),
            element_type: stream.element_type.name(),
            row_elements: stream.row_elements,
            row_count: stream.row_count,
            raw_bytes: stream.raw_bytes(),
            stored_bytes,
            chunk_count: stream.chunk_count,
            codecs,
        }
    }
}

pub fn codec_name(number: u16) -> String {
    if number == MAPPED {
        return "mapped".to_owned();
    }
    Codec::from_number(number).map_or_else(|| format!("unknown {number}"), |codec| codec.name().to_owned())
}
