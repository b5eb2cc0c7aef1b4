//! 32 secret bytes, and what is derived from them (spec 3).

use std::fmt;

use ring::rand::SecureRandom;
use ring::{hkdf, hmac, rand};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::error::{Error, ErrorKind, Result};

/// On the heap, so that moving it leaves no copy behind; wiped when dropped.
#[derive(Clone)]
pub struct Secret(Box<[u8; 32]>);

impl Secret {
    /// Takes the bytes and wipes where they were.
    pub fn take(bytes: &mut [u8; 32]) -> Self {
        let secret = Self(Box::new(*bytes));
        bytes.zeroize();
        secret
    }

    /// # Errors
    /// `Io` when the operating system has no random bytes.
    pub fn random() -> Result<Self> {
        let mut secret = Self(Box::new([0; 32]));
        fill_secret(secret.0.as_mut_slice())?;
        Ok(secret)
    }

    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// In constant time.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Public random bytes: salts, ids.
///
/// # Errors
/// `Io` when the operating system has none.
pub fn random<const COUNT: usize>() -> Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    fill_secret(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn fill_secret(bytes: &mut [u8]) -> Result<()> {
    let filled = rand::SystemRandom::new().fill(bytes);
    filled.map_err(|_| Error::new(ErrorKind::Io, "random generator", "the operating system gives no random bytes"))
}

/// What a derived key is for; no two uses share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Object,
    Identity,
    Proof,
    Anchor,
    Fingerprint,
    Recipient,
    Session,
    Name,
    Cache,
}

impl Purpose {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Object => b"object",
            Self::Identity => b"identity",
            Self::Proof => b"proof",
            Self::Anchor => b"anchor",
            Self::Fingerprint => b"fingerprint",
            Self::Recipient => b"recipient",
            Self::Session => b"session",
            Self::Name => b"name",
            Self::Cache => b"cache",
        }
    }
}

pub(super) const PREFIX: &[u8] = b"vark-seal-v1 ";

/// `KDF(key, salt, purpose, context, 32)`; an empty salt is that of RFC 5869.
pub fn derive(key: &Secret, salt: &[u8], purpose: Purpose, context: &[u8]) -> Secret {
    let mut derived = Secret(Box::new([0; 32]));
    hkdf_sha256(key.expose(), salt, &[PREFIX, purpose.name(), &[0], context], derived.0.as_mut_slice());
    derived
}

/// `KDF(key, salt, purpose, context, 64)`: a key and what commits to it.
pub(super) fn derive_pair(key: &Secret, salt: &[u8], purpose: Purpose, context: &[u8]) -> (Secret, [u8; 32]) {
    let mut both = [0; 64];
    hkdf_sha256(key.expose(), salt, &[PREFIX, purpose.name(), &[0], context], &mut both);
    let (mut derived, mut commitment) = (Secret(Box::new([0; 32])), [0; 32]);
    derived.0.copy_from_slice(&both[..32]);
    commitment.copy_from_slice(&both[32..]);
    both.zeroize();
    (derived, commitment)
}

/// HKDF-SHA-256 for up to 255 × 32 bytes; ours are 32 and 64.
pub(super) fn hkdf_sha256(key: &[u8], salt: &[u8], info: &[&[u8]], out: &mut [u8]) {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    let filled = extracted.expand(info, Length(out.len())).and_then(|expanded| expanded.fill(out));
    debug_assert!(filled.is_ok(), "the length is one of ours");
}

pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    let mut tag = [0; 32];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}

pub(super) fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}
