//! What a backup says of itself. Serialised as JSON at the binding; fields are only ever added.

use crate::codec::Codec;
use crate::plan::{Member, Skipped};
use crate::stream::StreamDescription;
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

impl StreamReport {
    pub fn new(stream: &StreamDescription, codecs: &BTreeMap<u16, u64>) -> Self {
        Self {
            name: stream.name.clone(),
            role: stream.role.name(),
            element_type: stream.element_type.name(),
            row_elements: stream.row_elements,
            row_count: stream.row_count,
            raw_bytes: stream.raw_bytes(),
            stored_bytes: stream.stored_bytes,
            chunk_count: stream.chunk_count,
            codecs: codecs.iter().map(|(number, chunks)| (codec_name(*number), *chunks)).collect(),
        }
    }
}

pub fn codec_name(number: u16) -> String {
    Codec::from_number(number).map_or_else(|| format!("unknown {number}"), |codec| codec.name().to_owned())
}
