//! What a user gives to open things: tried with whatever slots it may fit.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    Argon2Cost, Identity, KmsFields, Recipient, RecoveryCode, Secret, Slot, SlotKind, Unlock, check_single_anchor,
    open_slots,
};
use crate::error::Result;

/// Wiped when dropped; shows nothing of itself.
#[derive(Default)]
pub struct Secrets {
    pub passphrase: Option<Zeroizing<Vec<u8>>>,
    pub identities: Vec<Identity>,
    pub recovery: Option<RecoveryCode>,
    /// Slot secrets that a KMS gave back.
    pub kms: Vec<([u8; 16], Secret)>,
}

impl Secrets {
    pub fn is_empty(&self) -> bool {
        let Self { passphrase, identities, recovery, kms } = self;
        passphrase.is_none() && identities.is_empty() && recovery.is_none() && kms.is_empty()
    }

    /// In the order in which they are tried.
    pub fn unlocks(&self) -> Vec<Unlock<'_>> {
        let mut unlocks: Vec<Unlock<'_>> = self.identities.iter().map(Unlock::Identity).collect();
        unlocks.extend(self.recovery.as_ref().map(Unlock::Recovery));
        unlocks.extend(self.kms.iter().map(|(slot, secret)| Unlock::Kms { slot: *slot, secret }));
        // Last: it alone takes time.
        unlocks.extend(self.passphrase.as_ref().map(|passphrase| Unlock::Passphrase(passphrase)));
        unlocks
    }

    /// The access key of a single archive.
    ///
    /// # Errors
    /// Those of `open_slots`; `Damaged` at layer `Seal` for a slot that was put there.
    pub fn open_single(&self, slots: &[Slot]) -> Result<Secret> {
        let opened = open_slots(slots, &self.unlocks(), &[0; 16])?;
        check_single_anchor(&opened)?;
        Ok(opened.access_key)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// Ways to open something new: a slot for each.
#[derive(Default)]
pub struct Ways {
    pub passphrase: Option<Zeroizing<Vec<u8>>>,
    pub recipients: Vec<Recipient>,
    pub recovery: Option<RecoveryCode>,
    /// Slots that a KMS opens: id, secret, and how it was wrapped.
    pub kms: Vec<([u8; 16], Secret, KmsFields)>,
}

impl Ways {
    pub fn kinds(&self) -> Vec<SlotKind<'_>> {
        let mut kinds: Vec<SlotKind<'_>> = self.recipients.iter().copied().map(SlotKind::Recipient).collect();
        let passphrase = self.passphrase.as_ref();
        kinds.extend(passphrase.map(|passphrase| SlotKind::Passphrase(passphrase, Argon2Cost::default())));
        kinds.extend(self.recovery.as_ref().map(SlotKind::Recovery));
        let kms = self.kms.iter();
        kinds.extend(kms.map(|(slot, secret, fields)| SlotKind::Kms { slot: *slot, secret, fields: fields.clone() }));
        kinds
    }
}

impl fmt::Debug for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ways(…)")
    }
}
