//! Key slots (spec 6): each a way to one access key.

use std::collections::HashSet;

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use super::age::{self, Draw};
use super::identity::{Identity, Recipient};
use super::passphrase::{self, Argon2Cost};
use super::secret::{equal, hmac_sha256};
use super::{Purpose, RecoveryCode, Secret, damaged, derive, random};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{PASSPHRASE_SLOTS_TRIED_MAX, SLOTS_MAX, WRAPPED_KEY_CHARS_MAX};

/// A slot as it is written. Nothing in it is secret; nothing in it is proved until it has opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argon2id: Option<Argon2Fields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms: Option<KmsFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    pub recipient: String,
    pub slot: String,
    #[serde(rename = "type")]
    pub slot_type: String,
    pub wrapped: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argon2Fields {
    pub lanes: u32,
    pub memory_kib: u32,
    pub passes: u32,
    pub salt: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsFields {
    pub key: String,
    pub provider: String,
    pub wrapped: String,
}

/// How a new slot opens.
pub enum SlotKind<'a> {
    Passphrase(&'a [u8], Argon2Cost),
    Recipient(Recipient),
    Recovery(&'a RecoveryCode),
    /// The slot secret, and the fields that say how the KMS gives it back, made for `slot`.
    Kms {
        slot: [u8; 16],
        secret: &'a Secret,
        fields: KmsFields,
    },
}

/// What may open a slot.
pub enum Unlock<'a> {
    Passphrase(&'a [u8]),
    Identity(&'a Identity),
    Recovery(&'a RecoveryCode),
    /// What a KMS gave back for this slot.
    Kms {
        slot: [u8; 16],
        secret: &'a Secret,
    },
}

pub struct Opened {
    pub access_key: Secret,
    /// The number of the slot.
    pub slot: usize,
    /// What the slot's maker vouched for, proved; `None` of a recipient, whose slot anyone can make.
    pub anchor: Option<[u8; 32]>,
}

/// A new slot. `anchor`: spec 6.5.
///
/// # Errors
/// `InvalidArgument` for a passphrase or recipient that is none, `LimitExceeded` without the memory, `Io` without
/// random bytes.
pub fn new_slot(kind: SlotKind<'_>, access_key: &Secret, repository: &[u8; 16], anchor: &[u8; 32]) -> Result<Slot> {
    let id = if let SlotKind::Kms { slot, .. } = &kind { *slot } else { random()? };
    let (slot_type, secret, argon2id, kms) = match &kind {
        SlotKind::Recipient(_) => ("recipient", None, None, None),
        SlotKind::Recovery(code) => ("recovery", Some(code.secret().clone()), None, None),
        SlotKind::Kms { secret, fields, .. } => ("kms", Some((*secret).clone()), None, Some(fields.clone())),
        SlotKind::Passphrase(passphrase, cost) => {
            let salt = random()?;
            let secret = passphrase::slot_secret(passphrase, &salt, *cost, "new key slot")?;
            let Argon2Cost { memory_kib, passes, lanes } = *cost;
            ("passphrase", Some(secret), Some(Argon2Fields { lanes, memory_kib, passes, salt: hex(&salt) }), None)
        }
    };
    let recipient = match &kind {
        SlotKind::Recipient(recipient) => *recipient,
        _ => secret.as_ref().map(|secret| identity_of(secret, &id).recipient()).unwrap_or(Recipient([0; 32])),
    };
    let wrapped = age::wrap(access_key, &recipient, &Draw::random()?)?;
    Ok(Slot {
        anchor: secret.as_ref().map(|_| hex(anchor)),
        argon2id,
        kms,
        proof: secret.map(|secret| hex(&proof(&secret, &id, repository, anchor))),
        recipient: recipient.to_string(),
        slot: hex(&id),
        slot_type: slot_type.to_owned(),
        wrapped: Base64::encode_string(&wrapped),
    })
}

impl Slot {
    /// The same slot for another access key: needs nobody's secret. The caller knows that `recipient` is proved.
    ///
    /// # Errors
    /// `Damaged` at layer `Seal` for a recipient that is none; `Io` without random bytes.
    pub fn rewrapped(&self, access_key: &Secret) -> Result<Self> {
        let recipient = self.recipient(&self.place())?;
        let wrapped = age::wrap(access_key, &recipient, &Draw::random()?)?;
        Ok(Self { wrapped: Base64::encode_string(&wrapped), ..self.clone() })
    }

    fn recipient(&self, place: &str) -> Result<Recipient> {
        Recipient::parse(&self.recipient).map_err(|error| damaged(place, error.to_string()))
    }

    /// What a hostile slot calls itself is not repeated.
    fn place(&self) -> String {
        if unhex::<16>(&self.slot).is_some() { format!("key slot {}", self.slot) } else { "key slot".to_owned() }
    }

    /// The rules that need no secret.
    fn check(&self) -> Result<[u8; 16]> {
        let place = self.place();
        let id = unhex(&self.slot).ok_or_else(|| damaged(&*place, "its id is not 32 hexadecimal digits"))?;
        self.recipient(&place)?;
        if self.wrapped.len() > WRAPPED_KEY_CHARS_MAX {
            let detail = format!("a wrapped key of {} characters, at most {WRAPPED_KEY_CHARS_MAX}", self.wrapped.len());
            return Err(damaged(place, detail));
        }
        let proved = self.anchor.is_some() && self.proof.is_some();
        let fits = match self.slot_type.as_str() {
            "passphrase" => proved && self.argon2id.is_some(),
            "recovery" => proved,
            "kms" => proved && self.kms.is_some(),
            "recipient" => self.anchor.is_none() && self.proof.is_none(),
            _ => true,
        };
        if !fits {
            return Err(damaged(place, "has not the fields of a slot of its type"));
        }
        Ok(id)
    }
}

/// Opens the first slot that any of `unlocks` fits. A slot that breaks a rule is passed over while another opens.
///
/// # Errors
/// `KeyNeeded` when nothing was given that could fit, `WrongKey` when nothing fits, `Damaged` at layer `Seal` for slots
/// that cannot be, `InvalidArgument` for a passphrase that is none.
pub fn open_slots(slots: &[Slot], unlocks: &[Unlock<'_>], repository: &[u8; 16]) -> Result<Opened> {
    check_count(slots)?;
    let mut fault = None;
    let (mut tried, mut passphrases_tried) = (false, 0);
    for (number, slot) in slots.iter().enumerate() {
        let id = match slot.check() {
            Ok(id) => id,
            Err(error) => {
                fault.get_or_insert(error);
                continue;
            }
        };
        for unlock in unlocks {
            if !fits_type(unlock, slot, &id) {
                continue;
            }
            if let Unlock::Passphrase(passphrase) = unlock {
                passphrase::check_passphrase(passphrase)?;
                passphrases_tried += 1;
                if passphrases_tried > PASSPHRASE_SLOTS_TRIED_MAX {
                    continue;
                }
            }
            tried = true;
            match open_one(slot, &id, unlock, repository) {
                Ok(Some((access_key, anchor))) => return Ok(Opened { access_key, slot: number, anchor }),
                Ok(None) => {}
                Err(error) => {
                    fault.get_or_insert(error);
                }
            }
        }
    }
    Err(fault.unwrap_or_else(|| refused(slots, tried)))
}

fn check_count(slots: &[Slot]) -> Result<()> {
    if !(1..=SLOTS_MAX).contains(&slots.len()) {
        return Err(damaged("key slots", format!("{} of them, expected 1 to {SLOTS_MAX}", slots.len())));
    }
    let mut seen = HashSet::new();
    match slots.iter().find(|slot| !seen.insert(&slot.slot)) {
        Some(twice) => Err(damaged(twice.place(), "is there twice")),
        None => Ok(()),
    }
}

fn fits_type(unlock: &Unlock<'_>, slot: &Slot, id: &[u8; 16]) -> bool {
    match unlock {
        Unlock::Passphrase(_) => slot.slot_type == "passphrase",
        Unlock::Identity(_) => slot.slot_type == "recipient",
        Unlock::Recovery(_) => slot.slot_type == "recovery",
        Unlock::Kms { slot: own, .. } => slot.slot_type == "kms" && own == id,
    }
}

type AccessKey = (Secret, Option<[u8; 32]>);

/// `None` when the secret is not that of the slot: told by the recipient, before anything is decrypted.
fn open_one(slot: &Slot, id: &[u8; 16], unlock: &Unlock<'_>, repository: &[u8; 16]) -> Result<Option<AccessKey>> {
    let place = slot.place();
    let secret = match unlock {
        Unlock::Identity(_) => None,
        Unlock::Recovery(code) => Some(code.secret().clone()),
        Unlock::Kms { secret, .. } => Some((*secret).clone()),
        Unlock::Passphrase(passphrase) => Some(slot_secret(slot, passphrase, &place)?),
    };
    let derived = secret.as_ref().map(|secret| identity_of(secret, id));
    let identity = match (unlock, &derived) {
        (Unlock::Identity(identity), _) => *identity,
        (_, Some(identity)) => identity,
        _ => return Ok(None),
    };
    if identity.recipient() != slot.recipient(&place)? {
        return Ok(None);
    }
    let anchor = match &secret {
        None => None,
        Some(secret) => Some(check_proof(slot, secret, id, repository, &place)?),
    };
    let file = Base64::decode_vec(&slot.wrapped).map_err(|_| damaged(&*place, "its wrapped key is not base64"))?;
    Ok(Some((age::unwrap(&file, identity, &place)?, anchor)))
}

fn slot_secret(slot: &Slot, passphrase: &[u8], place: &str) -> Result<Secret> {
    let missing = || damaged(place, "has no parameters of Argon2id, or a salt that is not 64 hexadecimal digits");
    let fields = slot.argon2id.as_ref().ok_or_else(missing)?;
    let salt = unhex(&fields.salt).ok_or_else(missing)?;
    let Argon2Fields { lanes, memory_kib, passes, .. } = *fields;
    passphrase::slot_secret(passphrase, &salt, Argon2Cost { memory_kib, passes, lanes }, place)
}

fn check_proof(slot: &Slot, secret: &Secret, id: &[u8; 16], repository: &[u8; 16], place: &str) -> Result<[u8; 32]> {
    let anchor = slot.anchor.as_deref().and_then(unhex::<32>);
    let found = slot.proof.as_deref().and_then(unhex::<32>);
    match (anchor, found) {
        (Some(anchor), Some(found)) if equal(&found, &proof(secret, id, repository, &anchor)) => Ok(anchor),
        _ => Err(damaged(place, "was not made by someone who knew its secret: its proof does not fit")),
    }
}

fn identity_of(secret: &Secret, id: &[u8; 16]) -> Identity {
    Identity::from_secret(derive(secret, &[], Purpose::Identity, id))
}

pub(super) fn proof(secret: &Secret, id: &[u8; 16], repository: &[u8; 16], anchor: &[u8; 32]) -> [u8; 32] {
    hmac_sha256(derive(secret, &[], Purpose::Proof, id).expose(), &[repository, anchor])
}

fn refused(slots: &[Slot], tried: bool) -> Error {
    let counted = |slot_type: &str| (slot_type.to_owned(), slots.iter().filter(|s| s.slot_type == slot_type).count());
    let counts = ["passphrase", "recipient", "recovery", "kms"].map(counted);
    let there: Vec<String> =
        counts.iter().filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{count} {kind}")).collect();
    let there = there.join(", ");
    if tried {
        Error::new(ErrorKind::WrongKey, "", format!("no key slot opens with what was given; slots: {there}"))
    } else {
        let detail = "is encrypted; give a passphrase, an identity file or a recovery code";
        Error::new(ErrorKind::KeyNeeded, "", format!("{detail}; slots: {there}"))
    }
}

/// The anchor of a single archive's slots.
pub fn single_anchor(access_key: &Secret) -> [u8; 32] {
    *derive(access_key, &[], Purpose::Anchor, &[]).expose()
}

/// # Errors
/// `Damaged` at layer `Seal` when a slot with a proof vouched for another access key.
pub fn check_single_anchor(opened: &Opened) -> Result<()> {
    match &opened.anchor {
        Some(anchor) if !equal(anchor, &single_anchor(&opened.access_key)) => {
            Err(damaged(format!("key slot number {}", opened.slot), "vouches for another archive; it was put here"))
        }
        _ => Ok(()),
    }
}

/// Lower case, as all records have it.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lower case only, as all records have it.
pub fn unhex<const COUNT: usize>(text: &str) -> Option<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    if text.len() != 2 * COUNT {
        return None;
    }
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
