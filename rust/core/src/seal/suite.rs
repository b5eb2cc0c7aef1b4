//! The two ciphers (spec 2), in place.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::Secret;
use crate::error::{Error, ErrorKind, Layer, Result};
use crate::limits::SEALED_OVERHEAD_BYTES;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Suite {
    pub const ALL: [Self; 2] = [Self::Aes256Gcm, Self::ChaCha20Poly1305];

    pub fn number(self) -> u16 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    /// # Errors
    /// `Unsupported` at layer `Seal`.
    pub fn from_number(number: u16) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|suite| suite.number() == number);
        found.ok_or_else(|| Error::unsupported(Layer::Seal, format!("suite {number}"), "is unknown; use a newer vark"))
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

pub(super) const NONCE_BYTES: usize = 12;

/// A key ready for use. ring wipes none, so it is overwritten by another one in the same place.
pub(super) struct Cipher {
    suite: Suite,
    key: Box<LessSafeKey>,
}

impl Cipher {
    pub fn new(suite: Suite, key: &Secret) -> Result<Self> {
        Ok(Self { suite, key: Box::new(schedule(suite, key.expose())?) })
    }

    /// Encrypts `bytes` and appends the tag.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], associated: &[u8], bytes: &mut Vec<u8>) -> Result<()> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(associated), bytes).map_err(|_| {
            Error::new(ErrorKind::LimitExceeded, "sealing", format!("{} bytes are too many for one part", bytes.len()))
        })?;
        bytes.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Decrypts ciphertext ‖ tag; `None` when the tag differs, and then `bytes` hold no plaintext.
    pub fn open<'a>(&self, nonce: [u8; NONCE_BYTES], associated: &[u8], bytes: &'a mut [u8]) -> Option<&'a mut [u8]> {
        if bytes.len() < SEALED_OVERHEAD_BYTES {
            return None;
        }
        self.key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(associated), bytes).ok()
    }
}

fn schedule(suite: Suite, key: &[u8; 32]) -> Result<LessSafeKey> {
    let key = UnboundKey::new(suite.algorithm(), key);
    key.map(LessSafeKey::new)
        .map_err(|_| Error::new(ErrorKind::Unsupported, "cipher", "does not take a key of 32 bytes"))
}

impl Drop for Cipher {
    fn drop(&mut self) {
        if let Ok(blank) = schedule(self.suite, &[0; 32]) {
            *self.key = blank;
            // Without a reader the compiler may leave the write out.
            std::hint::black_box(&*self.key);
        }
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cipher({:?}, …)", self.suite)
    }
}
