//! What a user gives to open things: tried with whatever slots it may fit.

use std::fmt;

use zeroize::Zeroizing;

use super::{Identity, RecoveryCode, Secret, Slot, Unlock, check_single_anchor, open_slots};
use crate::error::Result;

/// Wiped when dropped; shows nothing of itself.
#[derive(Default)]
pub struct Secrets {
    pub passphrase: Option<Zeroizing<Vec<u8>>>,
    pub identities: Vec<Identity>,
    pub recovery: Option<RecoveryCode>,
}

impl Secrets {
    pub fn is_empty(&self) -> bool {
        self.passphrase.is_none() && self.identities.is_empty() && self.recovery.is_none()
    }

    /// The access key of a single archive.
    ///
    /// # Errors
    /// Those of `open_slots`; `Damaged` at layer `Seal` for a slot that was put there.
    pub fn open_single(&self, slots: &[Slot]) -> Result<Secret> {
        let mut unlocks: Vec<Unlock<'_>> = self.identities.iter().map(Unlock::Identity).collect();
        unlocks.extend(self.recovery.as_ref().map(Unlock::Recovery));
        // Last: it alone takes time.
        unlocks.extend(self.passphrase.as_ref().map(|passphrase| Unlock::Passphrase(passphrase)));
        let opened = open_slots(slots, &unlocks, &[0; 16])?;
        check_single_anchor(&opened)?;
        Ok(opened.access_key)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}
