//! Sealing (`spec/CRYPTO.md`): suites, keys of objects, commitments, key slots.
//!
//! Nothing here is a cipher or a mode of its own. Pure: bytes in, bytes out, but for the operating system's random
//! generator. Every secret is wiped when it is dropped and shows nothing of itself.

mod age;
mod identity;
mod object;
mod passphrase;
mod recovery;
mod secret;
mod session;
mod signing;
mod slot;
mod suite;
#[cfg(test)]
mod tests;
mod unlock;

pub use identity::{Identity, Recipient};
pub use object::{Binding, ObjectKey, ObjectType, Part};
pub use passphrase::Argon2Cost;
pub use recovery::RecoveryCode;
pub use secret::{Purpose, Secret, derive, hmac_sha256, random};
pub use session::{EpochRecipient, epoch_identity, unwrap_session_root};
pub use signing::{Domain, SigningKey, is_signed_by};
pub use slot::{
    Argon2Fields, KmsFields, Opened, Slot, SlotKind, Unlock, check_single_anchor, hex, new_slot, open_slots,
    single_anchor, unhex,
};
pub use suite::Suite;
pub use unlock::{Secrets, Ways};

use crate::error::{Error, ErrorKind, Layer};

/// A rule of `spec/CRYPTO.md` is broken.
fn damaged(place: impl Into<String>, detail: impl Into<String>) -> Error {
    Error::damaged(Layer::Seal, place, detail)
}

fn invalid(place: &str, detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, place, detail)
}
