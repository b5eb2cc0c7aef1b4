//! Split plans (spec 8.1): how the members of a source are tiled by rows of streams.
//!
//! Knows stream *names* and row ranges, no index library, no archive. A plan is made by the parsers in
//! `split`, stored as JSON, checked whole, and executed in both directions as `Batch`es.

pub mod batch;
pub mod compile;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::marker::PhantomData;

/// The JSON document of the stream `plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub version: u32,
    #[serde(deserialize_with = "objects")]
    pub members: Vec<Member>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "objects")]
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
    /// Empty in a plan that was read.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty", deserialize_with = "unread_object")]
    pub facts: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub warning: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub blake3: Option<String>,
    #[serde(deserialize_with = "objects")]
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
        #[serde(deserialize_with = "objects")]
        fields: Vec<Field>,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_object")]
        counts: Option<Counts>,
    },
    Derived {
        rule: DerivedRule,
        groups: u64,
        #[serde(deserialize_with = "object")]
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
#[serde(try_from = "String")]
pub enum Counted {
    #[serde(rename = "counted")]
    Counted,
}

impl TryFrom<String> for Counted {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        if word == "counted" { Ok(Self::Counted) } else { Err("expected a number of rows or \"counted\"") }
    }
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
#[serde(try_from = "String")]
pub enum DerivedRule {
    #[serde(rename = "running-offsets")]
    RunningOffsets,
}

impl TryFrom<String> for DerivedRule {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        if word == "running-offsets" { Ok(Self::RunningOffsets) } else { Err("expected the rule running-offsets") }
    }
}

// By itself serde also takes a list of the values for an object, null for what may be absent, and `{"word": null}`
// for a word. Spec 8.1 has one form of each.

/// A `T` that stands as an object.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
    }
}

fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Object::deserialize(from).map(|object| object.0)
}

fn some_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    object(from).map(Some)
}

fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::<Object<T>>::deserialize(from)?;
    Ok(list.into_iter().map(|object| object.0).collect())
}

/// Facts of a stored plan bind nothing here and may be many: they stay text.
fn unread_object<'de, D: Deserializer<'de>>(from: D) -> Result<Map<String, Value>, D::Error> {
    object::<D, Unread>(from).map(|Unread {}| Map::new())
}

/// Takes any fields and keeps none.
#[derive(Deserialize)]
struct Unread {}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    String::deserialize(from).map(Some)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn each_thing_has_one_form() {
        let counts = r#"{"stream":"s","first":0,"offset":0,"bytes":8,"subtract":0,"divide":1}"#;
        let field = r#"{"stream":"s","first":0,"rows":"counted"}"#;
        let groups = format!(r#"{{"kind":"groups","groups":1,"fields":[{field}],"counts":{counts}}}"#);
        let derived =
            format!(r#"{{"kind":"derived","rule":"running-offsets","groups":1,"counts":{counts},"table":[0]}}"#);
        let member = format!(r#"{{"name":"a","bytes":1,"layout":"x","runs":[{groups},{derived}]}}"#);
        let skipped = r#"{"name":"n","reason":"r"}"#;
        let good = format!(r#"{{"version":1,"members":[{member}],"skipped":[{skipped}]}}"#);
        let read = |text: &str| serde_json::from_str::<Plan>(text);
        let plan = read(&good).unwrap();
        assert_eq!(read(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
        let others = [
            (skipped, r#"["n","r"]"#),
            (field, r#"["s",0,"counted"]"#),
            (counts, r#"["s",0,0,8,0,1]"#),
            (counts, "null"),
            (groups.as_str(), r#"["rows","s",0,1]"#),
            (member.as_str(), r#"["a",1,"x",{},"w",null,[]]"#),
            (r#""counted""#, r#"{"counted":null}"#),
            (r#""counted""#, r#""Counted""#),
            (r#""running-offsets""#, r#"{"running-offsets":null}"#),
            (r#""layout""#, r#""warning":null,"layout""#),
            (r#""layout""#, r#""blake3":null,"layout""#),
        ];
        for (one, other) in others {
            assert!(read(&good.replacen(one, other, 1)).is_err(), "{other}");
        }
    }
}
