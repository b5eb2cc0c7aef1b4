//! The next generation of keys (spec 7.3): slots that come and go, a new epoch, a new authority.

use super::public::{ACCESS_KEY, Endorsement, Fields, KIND, SealFields, SlotName};
use super::{Epoch, Keyring, SlotObject, damaged, private};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{ENDORSEMENTS_MAX, EPOCHS_MAX, SALT_BYTES, SLOTS_MAX};
use crate::seal::{Domain, Part, Secret, SigningKey, Slot, Ways, hex, new_slot, random};

/// What a generation changes.
#[derive(Debug, Default)]
pub struct Change {
    /// Ways to open it, a slot for each.
    pub add: Ways,
    /// What the owner of these slots calls them.
    pub label: String,
    /// Ids of slots. Whoever had one may have kept the keyring: a new epoch and a new authority come with it.
    pub remove: Vec<String>,
    pub new_epoch: bool,
    /// The signers that there are from now on.
    pub signers: Option<Vec<super::Signer>>,
}

/// A generation that is to be written: all slots, then the keyring.
#[derive(Debug)]
pub struct Generation {
    pub keyring: Keyring,
    /// Id and object.
    pub slots: Vec<(String, Vec<u8>)>,
    pub object: Vec<u8>,
}

impl Keyring {
    /// Makes generation `number` out of this one. `slots`: the objects of this generation's slots, which keep their
    /// secrets; nobody else's is needed. Recipients are those of the keyring.
    ///
    /// # Errors
    /// `InvalidArgument` for a slot that is not there or a keyring without any; `Damaged` at layer `Seal` for a slot that
    /// stays but is lost; `LimitExceeded`; those of `new_slot`.
    pub fn next(&self, number: u64, unix_ms: u64, change: Change, slots: &[SlotObject]) -> Result<Generation> {
        let mut next = self.clone();
        next.generation = number;
        self.check_removals(&change)?;
        if change.new_epoch || !change.remove.is_empty() {
            let number = u32::try_from(self.epochs.len() + 1).ok().filter(|number| *number as usize <= EPOCHS_MAX);
            let number =
                number.ok_or_else(|| limit(format!("more than {EPOCHS_MAX} epochs; re-encrypt everything")))?;
            next.epochs.push(Epoch { number, root: Secret::random()?, created_unix_ms: unix_ms });
        }
        if !change.remove.is_empty() {
            next.replace_authority()?;
        }
        if let Some(signers) = change.signers {
            next.signers = signers;
        }
        let access_key = Secret::random()?;
        let mut written: Vec<Slot> = Vec::new();
        for name in self.slots.iter().filter(|name| !change.remove.contains(&name.slot)) {
            written.push(carried(name, slots)?.rewrapped(&access_key)?);
        }
        next.labels.retain(|slot, _| !change.remove.contains(slot));
        for kind in change.add.kinds() {
            let slot = new_slot(kind, &access_key, &self.repository, next.authority())?;
            if !change.label.is_empty() {
                next.labels.insert(slot.slot.clone(), change.label.clone());
            }
            written.push(slot);
        }
        if !(1..=SLOTS_MAX).contains(&written.len()) {
            return Err(limit(format!("{} key slots, expected 1 to {SLOTS_MAX}", written.len())));
        }
        next.slots = written.iter().map(name_of).collect();
        let object = next.object(&access_key, unix_ms)?;
        let encode = |slot: Slot| Ok((slot.slot.clone(), SlotObject { slot }.encode(&self.repository, number)?));
        let slots = written.into_iter().map(encode).collect::<Result<_>>()?;
        Ok(Generation { keyring: next, slots, object })
    }

    fn check_removals(&self, change: &Change) -> Result<()> {
        match change.remove.iter().find(|id| !self.slots.iter().any(|name| name.slot == **id)) {
            Some(id) => Err(Error::new(ErrorKind::InvalidArgument, format!("key slot {id}"), "is not in the keyring")),
            None => Ok(()),
        }
    }

    fn replace_authority(&mut self) -> Result<()> {
        let next = SigningKey::random()?;
        let signature = self.authority.sign(Domain::Authority, &[&self.repository, next.public()])?;
        if self.endorsements.len() >= ENDORSEMENTS_MAX {
            return Err(limit(format!("more than {ENDORSEMENTS_MAX} authorities; make a new repository and copy")));
        }
        self.endorsements.push(Endorsement { authority: hex(self.authority.public()), signature: hex(&signature) });
        self.authority = next;
        Ok(())
    }

    fn object(&self, access_key: &Secret, unix_ms: u64) -> Result<Vec<u8>> {
        let salt: [u8; SALT_BYTES] = random()?;
        let key = self.seal_body(access_key, &salt)?;
        let fields = Fields {
            authority: hex(self.authority()),
            created_unix_ms: unix_ms,
            endorsements: self.endorsements.clone(),
            generation: self.generation,
            kind: KIND.to_owned(),
            repository: hex(&self.repository),
            salt: hex(&random::<16>()?),
            seal: SealFields {
                commitment: hex(key.commitment()),
                data: None,
                epoch: 0,
                root_kind: ACCESS_KEY,
                salt: hex(&salt),
                suite: self.suite.number(),
            },
            signature: None,
            slots: self.slots.clone(),
            version: 1,
        };
        let mut body = private::encode(self)?;
        key.seal_with(Part::Body, &fields.public_digest()?, &mut body)?;
        fields.finish(&body, &self.authority)
    }
}

fn carried<'a>(name: &SlotName, slots: &'a [SlotObject]) -> Result<&'a Slot> {
    let found = slots.iter().map(|object| &object.slot).find(|slot| name_of(slot) == *name);
    found.ok_or_else(|| damaged(format!("key slot {} is lost or altered; remove it, and add it anew", name.slot)))
}

fn name_of(slot: &Slot) -> SlotName {
    SlotName { recipient: slot.recipient.clone(), slot: slot.slot.clone(), slot_type: slot.slot_type.clone() }
}

fn limit(detail: String) -> Error {
    Error::new(ErrorKind::LimitExceeded, "keyring", detail)
}
