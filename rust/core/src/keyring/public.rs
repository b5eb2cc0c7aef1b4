//! The public half of a keyring object: strictly read, canonically written, signed by the authority (spec 7.1, 7.2).

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{damaged, digest_of};
use crate::archive::metadata::{parse_strict, to_canonical};
use crate::error::{Error, Layer, Result};
use crate::limits::{ENDORSEMENTS_MAX, KEY_OBJECT_BYTES_MAX, SALT_BYTES, SLOTS_MAX};
use crate::seal::{Domain, SigningKey, Suite, hex, is_signed_by, unhex};

/// A slot that a generation was wrapped to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotName {
    pub recipient: String,
    pub slot: String,
    #[serde(rename = "type")]
    pub slot_type: String,
}

/// An authority, and its word for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorsement {
    pub authority: String,
    pub signature: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Fields {
    pub authority: String,
    pub created_unix_ms: u64,
    pub endorsements: Vec<Endorsement>,
    pub generation: u64,
    pub kind: String,
    pub repository: String,
    pub salt: String,
    pub seal: SealFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    pub slots: Vec<SlotName>,
    pub version: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SealFields {
    pub commitment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    pub epoch: u32,
    pub root_kind: u8,
    pub salt: String,
    pub suite: u16,
}

/// A keyring object whose signature fits its authority; who that is is another question.
pub(super) struct Public {
    pub authority: [u8; 32],
    pub endorsements: Vec<Endorsement>,
    pub generation: u64,
    pub slots: Vec<SlotName>,
    pub seal: Seal,
    pub public_digest: [u8; 32],
}

pub(super) struct Seal {
    pub suite: Suite,
    pub salt: [u8; SALT_BYTES],
    pub commitment: [u8; 32],
    pub data: Vec<u8>,
}

pub(super) const ACCESS_KEY: u8 = 3;
pub(super) const KIND: &str = "keyring";

/// # Errors
/// `Damaged` or `Unsupported` at layer `Seal`.
pub(super) fn parse(object: &[u8], repository: &[u8; 16], generation: u64) -> Result<Public> {
    let mut value = parse_object(object, "keyring")?;
    check_kind(&value, KIND, "keyring")?;
    let fields: Fields = serde_json::from_value(value.clone())
        .map_err(|error| damaged(format!("a field is missing or odd: {error}")))?;
    if fields.repository != hex(repository) || fields.generation != generation {
        return Err(damaged("says another repository or generation than its name; it was put here"));
    }
    if !(1..=SLOTS_MAX).contains(&fields.slots.len()) || fields.endorsements.len() > ENDORSEMENTS_MAX {
        return Err(damaged(format!("{} key slots, expected 1 to {SLOTS_MAX}", fields.slots.len())));
    }
    let authority = unhex(&fields.authority).ok_or_else(|| damaged("authority is not 64 hexadecimal digits"))?;
    let signature: Option<[u8; 64]> = fields.signature.as_deref().and_then(unhex);
    remove(&mut value, "signature");
    let signed = digest_of(&to_canonical(&value)?);
    if !signature.is_some_and(|signature| is_signed_by(&authority, Domain::Keyring, &[&signed], &signature)) {
        return Err(damaged("its signature is not that of its authority; restore it from another copy"));
    }
    if let Some(seal) = value.get_mut("seal") {
        remove(seal, "data");
    }
    let public_digest = digest_of(&to_canonical(&value)?);
    let seal = fields.seal;
    if seal.root_kind != ACCESS_KEY || seal.epoch != 0 {
        return Err(damaged("is not sealed under an access key"));
    }
    let odd = || damaged("seal: salt, commitment or data are not as they are written");
    let data = Base64::decode_vec(seal.data.as_deref().unwrap_or_default()).map_err(|_| odd())?;
    Ok(Public {
        authority,
        endorsements: fields.endorsements,
        generation,
        slots: fields.slots,
        seal: Seal {
            suite: Suite::from_number(seal.suite)?,
            salt: unhex(&seal.salt).ok_or_else(odd)?,
            commitment: unhex(&seal.commitment).ok_or_else(odd)?,
            data,
        },
        public_digest,
    })
}

/// The bytes of an object of the repository as JSON in canonical form.
///
/// # Errors
/// `Damaged` at layer `Seal`.
pub(super) fn parse_object(object: &[u8], place: &str) -> Result<Value> {
    let refuse = |detail: String| Error::damaged(Layer::Seal, place, detail);
    if object.len() > KEY_OBJECT_BYTES_MAX {
        return Err(refuse(format!("{} bytes, expected at most {KEY_OBJECT_BYTES_MAX}", object.len())));
    }
    let text = std::str::from_utf8(object).map_err(|_| refuse("is not UTF-8".to_owned()))?;
    let value = parse_strict(text, Layer::Seal)?;
    if to_canonical(&value)? != text {
        return Err(refuse("is not in the canonical form; restore it from another copy".to_owned()));
    }
    Ok(value)
}

/// # Errors
/// `Unsupported` at layer `Seal` for what a newer vark may have written.
pub(super) fn check_kind(value: &Value, kind: &str, place: &str) -> Result<()> {
    let found = (value.get("kind").and_then(Value::as_str), value.get("version").and_then(Value::as_u64));
    if found == (Some(kind), Some(1)) {
        return Ok(());
    }
    let detail = format!("is not a {kind} of version 1; use a newer vark");
    Err(Error::unsupported(Layer::Seal, place, detail))
}

fn remove(value: &mut Value, key: &str) {
    if let Value::Object(map) = value {
        map.remove(key);
    }
}

impl Fields {
    /// What the tag of the body proves: all but the signature and the body.
    ///
    /// # Errors
    /// None for fields of a writer.
    pub fn public_digest(&self) -> Result<[u8; 32]> {
        Ok(digest_of(&self.canonical()?))
    }

    /// The object, with the body that was sealed, signed.
    ///
    /// # Errors
    /// None for fields of a writer.
    pub fn finish(mut self, data: &[u8], authority: &SigningKey) -> Result<Vec<u8>> {
        self.seal.data = Some(Base64::encode_string(data));
        let signed = digest_of(&self.canonical()?);
        self.signature = Some(hex(&authority.sign(Domain::Keyring, &[&signed])?));
        Ok(self.canonical()?.into_bytes())
    }

    fn canonical(&self) -> Result<String> {
        let value = serde_json::to_value(self).map_err(|error| damaged(error.to_string()))?;
        to_canonical(&value)
    }
}

/// Whether endorsements lead from one authority to another.
pub(super) fn leads(endorsements: &[Endorsement], known: &[u8; 32], present: &[u8; 32], repository: &[u8; 16]) -> bool {
    if known == present {
        return true;
    }
    let Some(first) = endorsements.iter().position(|one| unhex(&one.authority) == Some(*known)) else { return false };
    let rest = endorsements.get(first..).unwrap_or_default();
    let authorities: Option<Vec<[u8; 32]>> = rest.iter().map(|one| unhex(&one.authority)).collect();
    let Some(mut authorities) = authorities else { return false };
    authorities.push(*present);
    rest.iter().zip(authorities.windows(2)).all(|(one, pair)| {
        let signature: Option<[u8; 64]> = unhex(&one.signature);
        match (pair, signature) {
            ([by, next], Some(signature)) => is_signed_by(by, Domain::Authority, &[repository, next], &signature),
            _ => false,
        }
    })
}
