//! The seal record (`spec/CRYPTO.md`, 5.1): public fields that say under which keys an archive is sealed.

use serde_json::Value;

use super::metadata;
use crate::bytes::{Appender, Cursor};
use crate::error::{Error, ErrorKind, Layer, Result};
use crate::limits::{ANCESTOR_SEAL_BYTES, SALT_BYTES, SEAL_RECORD_BYTES, SLOTS_BYTES_MAX, SLOTS_MAX};
use crate::limits::{ANCESTORS_MAX, WRAPPED_ROOT_BYTES};
use crate::seal::{Slot, Suite};

/// From where the root key of an archive comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// The root of an epoch, out of a keyring.
    Epoch(u32),
    /// A session root, wrapped to the epoch's recipient.
    Session(u32, [u8; WRAPPED_ROOT_BYTES]),
    /// The access key of a single archive, out of its slots.
    Access,
}

impl Root {
    pub fn epoch(&self) -> u32 {
        match self {
            Self::Epoch(epoch) | Self::Session(epoch, _) => *epoch,
            Self::Access => 0,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Epoch(_) => 1,
            Self::Session(..) => 2,
            Self::Access => 3,
        }
    }
}

/// What leads to the object key of an archive: of this one or of an ancestor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealSource {
    pub suite: Suite,
    pub root: Root,
    pub salt: [u8; SALT_BYTES],
}

impl SealSource {
    fn byte_count(&self) -> usize {
        ANCESTOR_SEAL_BYTES + if matches!(self.root, Root::Session(..)) { WRAPPED_ROOT_BYTES } else { 0 }
    }

    fn encode_ancestor(&self, fields: &mut Appender) {
        fields.u16(self.suite.number()).bytes(&[self.root.kind(), 0]).u32(self.root.epoch()).bytes(&self.salt);
        if let Root::Session(_, wrapped) = &self.root {
            fields.bytes(wrapped);
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealRecord {
    pub own: SealSource,
    /// Zeros of a single archive.
    pub repository: [u8; 16],
    pub commitment: [u8; 32],
    /// As the ancestors of the directory.
    pub ancestors: Vec<SealSource>,
    /// The key slots of a single archive, as they are stored.
    pub slots: Vec<u8>,
}

const PLACE: &str = "seal record";

/// Bytes of a record.
pub(crate) fn byte_count(own: &Root, ancestors: &[SealSource], slots_bytes: usize) -> u64 {
    let own = if matches!(own, Root::Session(..)) { WRAPPED_ROOT_BYTES } else { 0 };
    let ancestors: usize = ancestors.iter().map(SealSource::byte_count).sum();
    (SEAL_RECORD_BYTES + own + ancestors + slots_bytes) as u64
}

pub(crate) fn encode(record: &SealRecord) -> Result<Vec<u8>> {
    let SealRecord { own, repository, commitment, ancestors, slots } = record;
    let slots_bytes = u32::try_from(slots.len()).ok().filter(|bytes| *bytes as usize <= SLOTS_BYTES_MAX);
    let Some(slots_bytes) = slots_bytes else {
        let detail = format!("{} bytes of key slots, at most {SLOTS_BYTES_MAX}; use fewer", slots.len());
        return Err(Error::new(ErrorKind::LimitExceeded, PLACE, detail));
    };
    let mut fields = Appender::default();
    fields
        .u16(own.suite.number())
        .bytes(&[own.root.kind(), 0])
        .u32(own.root.epoch())
        .u32(slots_bytes)
        .zeros(4)
        .bytes(repository)
        .bytes(&own.salt)
        .bytes(commitment);
    if let Root::Session(_, wrapped) = &own.root {
        fields.bytes(wrapped);
    }
    ancestors.iter().for_each(|ancestor| ancestor.encode_ancestor(&mut fields));
    fields.bytes(slots);
    Ok(fields.into_vec())
}

/// The shape of the record, checked without a key.
///
/// # Errors
/// `Damaged` or `Unsupported` at layer `Seal`.
pub(crate) fn decode(bytes: &[u8], ancestor_count: usize) -> Result<SealRecord> {
    let mut fields = Cursor::new(bytes, Layer::Seal, PLACE);
    let head = Head::decode(&mut fields, PLACE)?;
    let slots_bytes = fields.u32()?;
    fields.reserved(4)?;
    let repository: [u8; 16] = fields.array()?;
    let (salt, commitment) = (fields.array()?, fields.array()?);
    let own = SealSource { suite: head.suite, root: head.root(&mut fields)?, salt };
    let is_single = own.root == Root::Access;
    if is_single != (repository == [0; 16]) {
        return Err(damaged("names a repository, expected one exactly for the keys of one"));
    }
    let slots_bytes = usize::try_from(slots_bytes).unwrap_or(usize::MAX);
    let expected = if is_single { 1..=SLOTS_BYTES_MAX } else { 0..=0 };
    if !expected.contains(&slots_bytes) {
        let expected = format!("{} to {}", expected.start(), expected.end());
        return Err(damaged(format!("{slots_bytes} bytes of key slots, expected {expected}")));
    }
    let mut ancestors = Vec::with_capacity(ancestor_count.min(ANCESTORS_MAX));
    for number in 1..=ancestor_count {
        let place = format!("ancestor seal {number}");
        let head = Head::decode(&mut fields, &place)?;
        let salt = fields.array()?;
        let source = SealSource { suite: head.suite, root: head.root(&mut fields)?, salt };
        if is_single != (source.root == Root::Access) {
            return Err(Error::damaged(Layer::Seal, place, "has another kind of key than this archive"));
        }
        ancestors.push(source);
    }
    if fields.remaining() != slots_bytes {
        return Err(damaged(format!("{} bytes are left for {slots_bytes} bytes of key slots", fields.remaining())));
    }
    let slots = fields.take(slots_bytes)?.to_vec();
    Ok(SealRecord { own, repository, commitment, ancestors, slots })
}

/// What record and ancestor seals begin with.
struct Head {
    suite: Suite,
    kind: u8,
    epoch: u32,
}

impl Head {
    fn decode(fields: &mut Cursor<'_>, place: &str) -> Result<Self> {
        let (suite, kind) = (fields.u16()?, fields.u8()?);
        fields.reserved(1)?;
        let epoch = fields.u32()?;
        let suite = Suite::from_number(suite).map_err(|error| error.within(place))?;
        if !(1..=3).contains(&kind) {
            let detail = format!("root_kind {kind} is unknown; use a newer vark");
            return Err(Error::unsupported(Layer::Seal, place, detail));
        }
        if (kind == 3) != (epoch == 0) {
            let detail = format!("epoch {epoch} with root_kind {kind}, expected 0 exactly in a single archive");
            return Err(Error::damaged(Layer::Seal, place, detail));
        }
        Ok(Self { suite, kind, epoch })
    }

    fn root(&self, fields: &mut Cursor<'_>) -> Result<Root> {
        Ok(match self.kind {
            1 => Root::Epoch(self.epoch),
            2 => Root::Session(self.epoch, fields.array()?),
            _ => Root::Access,
        })
    }
}

/// The slots of a single archive; those of an unknown type are left out.
///
/// # Errors
/// `Damaged` at layer `Seal`.
pub fn parse_slots(bytes: &[u8]) -> Result<Vec<Slot>> {
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("its key slots are not UTF-8"))?;
    // Under the rules of metadata, which is an object.
    let wrapped = metadata::parse_strict(&format!("{{\"slots\":{text}}}"), Layer::Seal)?;
    let slots = match wrapped {
        Value::Object(mut map) if map.len() == 1 => map.remove("slots"),
        _ => None,
    };
    let Some(Value::Array(slots)) = slots else { return Err(damaged("its key slots are no JSON array")) };
    if slots.len() > SLOTS_MAX {
        return Err(damaged(format!("{} key slots, at most {SLOTS_MAX}", slots.len())));
    }
    let is_known = |slot: &Value| {
        let kind = slot.get("type").and_then(Value::as_str);
        kind.is_none_or(|kind| ["passphrase", "recipient", "recovery", "kms"].contains(&kind))
    };
    let slots = slots.into_iter().filter(is_known);
    slots
        .map(|slot| serde_json::from_value(slot).map_err(|error| damaged(format!("a key slot is none: {error}"))))
        .collect()
}

/// What a new archive stores of its slots.
///
/// # Errors
/// `InvalidArgument` in no case that is known.
pub(crate) fn encode_slots(slots: &[Slot]) -> Result<Vec<u8>> {
    // By way of a value, whose keys are in order.
    let value = serde_json::to_value(slots);
    let value = value.map_err(|error| Error::new(ErrorKind::InvalidArgument, "key slots", error.to_string()))?;
    Ok(value.to_string().into_bytes())
}

fn damaged(detail: impl Into<String>) -> Error {
    Error::damaged(Layer::Seal, PLACE, detail)
}
