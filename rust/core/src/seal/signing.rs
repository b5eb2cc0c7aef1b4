//! Ed25519 (spec 7.2 and 9): the authority over keys, and who wrote a commit.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::{Secret, damaged};
use crate::error::Result;

pub const PUBLIC_KEY_BYTES: usize = 32;
pub const SIGNATURE_BYTES: usize = 64;

/// A secret key. Each use signs under a domain of its own.
#[derive(Clone)]
pub struct SigningKey {
    seed: Secret,
    public: [u8; PUBLIC_KEY_BYTES],
}

impl SigningKey {
    /// # Errors
    /// `Io` without random bytes.
    pub fn random() -> Result<Self> {
        Self::from_seed(Secret::random()?)
    }

    /// # Errors
    /// None in practice; `Damaged` at layer `Seal` when the library refuses the seed.
    pub fn from_seed(seed: Secret) -> Result<Self> {
        let mut public = [0; PUBLIC_KEY_BYTES];
        public.copy_from_slice(pair(&seed)?.public_key().as_ref());
        Ok(Self { seed, public })
    }

    pub fn seed(&self) -> &Secret {
        &self.seed
    }

    pub fn public(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.public
    }

    /// # Errors
    /// As `from_seed`.
    pub fn sign(&self, domain: Domain, parts: &[&[u8]]) -> Result<[u8; SIGNATURE_BYTES]> {
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(pair(&self.seed)?.sign(&message(domain, parts)).as_ref());
        Ok(signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// What is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    Keyring,
    Authority,
    Commit,
}

impl Domain {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Keyring => b"keyring",
            Self::Authority => b"authority",
            Self::Commit => b"commit",
        }
    }
}

/// Whether the signature is by this key over these bytes.
pub fn is_signed_by(key: &[u8; PUBLIC_KEY_BYTES], domain: Domain, parts: &[&[u8]], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(&message(domain, parts), signature).is_ok()
}

fn pair(seed: &Secret) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| damaged("signing key", "is none"))
}

fn message(domain: Domain, parts: &[&[u8]]) -> Vec<u8> {
    [super::secret::PREFIX, domain.name(), &[0]].into_iter().chain(parts.iter().copied()).flatten().copied().collect()
}
