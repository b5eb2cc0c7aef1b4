//! JSON inside archives (spec 8): metadata and plans. Integers only, bounded depth, no key twice.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Layer, Result};
use crate::limits::{JSON_DEPTH_MAX, JSON_VALUES_MAX, METADATA_BYTES_MAX};

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
    check_strict(text, Layer::Metadata)?;
    Ok(text.to_owned())
}

fn refuse(fault: &serde_json::Error) -> Error {
    Error::new(ErrorKind::InvalidArgument, "metadata", fault.to_string())
}

fn parse(text: &str) -> serde_json::Result<Value> {
    validate(text)?;
    serde_json::from_str(text)
}

/// All rules for JSON in archives, without building anything: a small text can make a large tree.
///
/// # Errors
/// `Damaged` at `layer`.
pub fn check_strict(text: &str, layer: Layer) -> Result<()> {
    validate(text).map_err(|fault| Error::damaged(layer, layer.name(), fault.to_string()))
}

fn validate(text: &str) -> serde_json::Result<()> {
    let values = Cell::new(JSON_VALUES_MAX);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let is_object = Strict { depth: 0, values: &values }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    if is_object { Ok(()) } else { Err(serde_json::Error::custom("expected a JSON object")) }
}

/// Walks a value and refuses what the format does not allow; says whether it is an object. `depth` counts the
/// levels around it, `values` what may still come.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    values: &'a Cell<usize>,
}

type Checked<E> = std::result::Result<bool, E>;

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> std::result::Result<Self, E> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(E::custom(format!("nested deeper than {JSON_DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Checked<D::Error> {
        let Some(left) = self.values.get().checked_sub(1) else {
            return Err(D::Error::custom(format!("more than {JSON_VALUES_MAX} values")));
        };
        self.values.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without floats")
    }

    fn visit_unit<E>(self) -> Checked<E> {
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Checked<E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Checked<E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Checked<E> {
        Ok(false)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Checked<E> {
        Err(E::custom(format!("the number {value} is not an integer of 64 bits; write it as a string")))
    }

    fn visit_str<E>(self, _: &str) -> Checked<E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Checked<A::Error> {
        let inner = self.deeper()?;
        while sequence.next_element_seed(inner)?.is_some() {}
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Checked<A::Error> {
        let inner = self.deeper()?;
        let mut keys = HashSet::new();
        while let Some(key) = object.next_key::<String>()? {
            object.next_value_seed(inner)?;
            if let Some(key) = keys.replace(key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice")));
            }
        }
        Ok(true)
    }
}
