//! Write-only mode (spec 8): a session root that its writer cannot open again.

use zeroize::Zeroizing;

use super::identity::{Identity, Recipient};
use super::suite::{Cipher, NONCE_BYTES};
use super::{Purpose, Secret, Suite, damaged, derive, invalid};
use crate::error::Result;
use crate::limits::WRAPPED_ROOT_BYTES;

/// The public key of an epoch: all that a write-only writer knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochRecipient {
    pub repository: [u8; 16],
    pub epoch: u32,
    pub recipient: Recipient,
}

const SHARE_BYTES: usize = 32;

impl EpochRecipient {
    /// A new session root, and what an archive says of it so that members can open it.
    ///
    /// # Errors
    /// `InvalidArgument` for a recipient of small order; `Io` without random bytes.
    pub fn new_session_root(&self) -> Result<(Secret, [u8; WRAPPED_ROOT_BYTES])> {
        let root = Secret::random()?;
        let wrapped = self.wrap(&root, &Identity::random()?)?;
        Ok((root, wrapped))
    }

    pub(super) fn wrap(&self, root: &Secret, ephemeral: &Identity) -> Result<[u8; WRAPPED_ROOT_BYTES]> {
        let share = ephemeral.recipient();
        let Some(shared) = ephemeral.agree(&self.recipient.0) else {
            return Err(invalid("epoch recipient", format!("{} is of small order", self.recipient)));
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(WRAPPED_ROOT_BYTES - SHARE_BYTES));
        bytes.extend_from_slice(root.expose());
        self.cipher(&shared, &share)?.seal([0; NONCE_BYTES], &[], &mut bytes)?;
        let mut wrapped = [0; WRAPPED_ROOT_BYTES];
        wrapped[..SHARE_BYTES].copy_from_slice(&share.0);
        wrapped[SHARE_BYTES..].copy_from_slice(&bytes);
        Ok(wrapped)
    }

    fn cipher(&self, shared: &Secret, share: &Recipient) -> Result<Cipher> {
        let mut salt = [0; 64];
        salt[..32].copy_from_slice(&share.0);
        salt[32..].copy_from_slice(&self.recipient.0);
        let key = derive(shared, &salt, Purpose::Session, &context(&self.repository, self.epoch));
        Cipher::new(Suite::ChaCha20Poly1305, &key)
    }
}

/// The identity of an epoch, out of its root.
pub fn epoch_identity(root: &Secret, repository: &[u8; 16], epoch: u32) -> Identity {
    Identity::from_secret(derive(root, &[], Purpose::Recipient, &context(repository, epoch)))
}

/// # Errors
/// `Damaged` at layer `Seal`.
pub fn unwrap_session_root(
    wrapped: &[u8; WRAPPED_ROOT_BYTES],
    identity: &Identity,
    repository: &[u8; 16],
    epoch: u32,
) -> Result<Secret> {
    let altered = || damaged("session root", "was altered, or is of another epoch or repository");
    let (share, body) = wrapped.split_at(SHARE_BYTES);
    let mut share_bytes = [0; SHARE_BYTES];
    share_bytes.copy_from_slice(share);
    let shared = identity.agree(&share_bytes).ok_or_else(altered)?;
    let own = EpochRecipient { repository: *repository, epoch, recipient: identity.recipient() };
    let mut body = Zeroizing::new(body.to_vec());
    let cipher = own.cipher(&shared, &Recipient(share_bytes))?;
    let opened = cipher.open([0; NONCE_BYTES], &[], body.as_mut_slice()).ok_or_else(altered)?;
    let mut root = [0; 32];
    root.copy_from_slice(opened);
    Ok(Secret::take(&mut root))
}

fn context(repository: &[u8; 16], epoch: u32) -> [u8; 20] {
    let mut context = [0; 20];
    context[..16].copy_from_slice(repository);
    context[16..].copy_from_slice(&epoch.to_le_bytes());
    context
}
