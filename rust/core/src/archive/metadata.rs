//! JSON inside archives (spec 8): metadata and plans. Integers only, bounded depth, no key twice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Layer, Result};
use crate::limits::{JSON_DEPTH_MAX, METADATA_BYTES_MAX};

/// A JSON object from an archive: no float, no key twice, at most `JSON_DEPTH_MAX` levels (the outermost object
/// is the first). Readers do not check order and blanks (spec 8).
///
/// # Errors
/// `Damaged` at `layer`.
pub fn parse_strict(text: &str, layer: Layer) -> Result<Value> {
    parse(text).map_err(|fault| Error::damaged(layer, layer.name(), fault.to_string()))
}

/// The canonical form: keys sorted by code point, no blanks outside strings.
///
/// # Errors
/// None for a value of `parse_strict`; `InvalidArgument` for one that holds a float or is not an object.
pub fn to_canonical(value: &Value) -> Result<String> {
    // serde_json's map is ordered (the feature `preserve_order` is off; a test watches that).
    let text = value.to_string();
    parse(&text).map_err(|fault| refuse(&fault))?;
    Ok(text)
}

/// What a writer stores for `text`: the same object in canonical form.
///
/// # Errors
/// `InvalidArgument`; `LimitExceeded` above `METADATA_BYTES_MAX`.
pub(crate) fn encode(text: &str) -> Result<String> {
    let stored = parse(text).map_err(|fault| refuse(&fault))?.to_string();
    if stored.len() > METADATA_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            "metadata",
            format!("{} bytes, at most {METADATA_BYTES_MAX}; put what is long into a document", stored.len()),
        ));
    }
    Ok(stored)
}

/// Checks the metadata of an archive whole.
///
/// # Errors
/// `Damaged` at layer `Metadata`.
pub(crate) fn decode(bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Error::damaged(Layer::Metadata, format!("metadata, byte {}", error.valid_up_to()), "not UTF-8")
    })?;
    parse_strict(text, Layer::Metadata)?;
    Ok(text.to_owned())
}

fn refuse(fault: &serde_json::Error) -> Error {
    Error::new(ErrorKind::InvalidArgument, "metadata", fault.to_string())
}

fn parse(text: &str) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    if value.is_object() { Ok(value) } else { Err(serde_json::Error::custom("expected a JSON object")) }
}

/// Builds a value and refuses what the format does not allow. `depth` counts the levels around it.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> std::result::Result<Self, E> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(E::custom(format!("nested deeper than {JSON_DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without floats")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<Value, E> {
        Err(E::custom(format!("the number {value} is not an integer of 64 bits; write it as a string")))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> std::result::Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> std::result::Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice")));
            }
            let value = object.next_value_seed(inner)?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}
