//! Split plans (spec 8.1): how the members of a source are tiled by rows of streams.
//!
//! Knows stream *names* and row ranges, no index library, no archive. A plan is made by the parsers in
//! `split`, stored as JSON, checked whole, and executed in both directions as `Batch`es.

pub mod batch;
pub mod compile;

use serde::{Deserialize, Serialize};

/// The JSON document of the stream `plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub version: u32,
    pub members: Vec<Member>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

/// Something of the source that was not captured, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub name: String,
    pub reason: String,
}

/// One file of the source: its runs tile `bytes` exactly, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub name: String,
    pub bytes: u64,
    /// For people and loaders, e.g. `faiss/IHNf`, `hnswlib`, `npy`, `opaque`.
    pub layout: String,
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub facts: serde_json::Map<String, serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    pub runs: Vec<Run>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Run {
    Rows {
        stream: String,
        first: u64,
        rows: u64,
    },
    Groups {
        groups: u64,
        fields: Vec<Field>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counts: Option<Counts>,
    },
    Derived {
        rule: DerivedRule,
        groups: u64,
        counts: Counts,
        table: Vec<u64>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    pub stream: String,
    pub first: u64,
    pub rows: FieldRows,
}

/// Rows that a field takes in each group: a number, or the word `counted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FieldRows {
    Fixed(u32),
    Counted(Counted),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Counted {
    #[serde(rename = "counted")]
    Counted,
}

impl FieldRows {
    pub const COUNTED: Self = Self::Counted(Counted::Counted);
}

/// Where the counts of a run's groups stand: `count = (value - subtract) / divide`, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub stream: String,
    pub first: u64,
    pub offset: u32,
    /// 1, 2, 4 or 8.
    pub bytes: u32,
    pub subtract: u64,
    pub divide: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DerivedRule {
    #[serde(rename = "running-offsets")]
    RunningOffsets,
}
