//! Key slots as objects of a repository (spec 7).

use serde_json::Value;

use super::public::{Public, check_kind, parse_object};
use crate::error::{Error, Layer, Result};
use crate::seal::{Slot, hex};

/// A slot of one generation.
#[derive(Debug, Clone)]
pub struct SlotObject {
    pub slot: Slot,
}

const KIND: &str = "key-slot";
const PLACE: &str = "key slot";

/// # Errors
/// `Damaged` or `Unsupported` at layer `Seal`.
pub fn parse_slot(object: &[u8], repository: &[u8; 16], generation: u64) -> Result<SlotObject> {
    let value = parse_object(object, PLACE)?;
    check_kind(&value, KIND, PLACE)?;
    let is_ours = value.get("repository").and_then(Value::as_str) == Some(&hex(repository))
        && value.get("generation").and_then(Value::as_u64) == Some(generation);
    let refuse = |detail: String| Error::damaged(Layer::Seal, PLACE, detail);
    if !is_ours {
        return Err(refuse("says another repository or generation than its name; it was put here".to_owned()));
    }
    let slot = serde_json::from_value(value).map_err(|error| refuse(format!("is none: {error}")))?;
    Ok(SlotObject { slot })
}

impl SlotObject {
    /// Whether a keyring names this slot, with this recipient.
    pub(super) fn is_of(&self, keyring: &Public) -> bool {
        let Slot { slot, slot_type, recipient, .. } = &self.slot;
        let is_it =
            |name: &super::SlotName| (&name.slot, &name.slot_type, &name.recipient) == (slot, slot_type, recipient);
        keyring.slots.iter().any(is_it)
    }

    /// # Errors
    /// None for a slot of a writer.
    pub(super) fn encode(&self, repository: &[u8; 16], generation: u64) -> Result<Vec<u8>> {
        let refuse = |error: serde_json::Error| Error::damaged(Layer::Seal, PLACE, error.to_string());
        let mut value = serde_json::to_value(&self.slot).map_err(refuse)?;
        if let Value::Object(map) = &mut value {
            map.insert("kind".to_owned(), KIND.into());
            map.insert("version".to_owned(), 1.into());
            map.insert("repository".to_owned(), hex(repository).into());
            map.insert("generation".to_owned(), generation.into());
        }
        Ok(crate::archive::metadata::to_canonical(&value)?.into_bytes())
    }
}
