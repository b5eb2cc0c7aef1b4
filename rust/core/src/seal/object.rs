//! The key of one object, its commitment, and the parts sealed under it (spec 4).

use std::fmt;

use super::secret::{derive_pair, equal};
use super::suite::{Cipher, NONCE_BYTES};
use super::{Purpose, Secret, Suite, damaged};
use crate::error::Result;
use crate::limits::SALT_BYTES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectType {
    Archive,
    Keyring,
    Record,
}

impl ObjectType {
    fn number(self) -> u16 {
        match self {
            Self::Archive => 1,
            Self::Keyring => 2,
            Self::Record => 3,
        }
    }
}

/// What an object's key is bound to: under another suite, place or epoch it is another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    pub suite: Suite,
    pub object_type: ObjectType,
    /// 0 in a single archive and in a keyring.
    pub epoch: u32,
    /// Zeros in a single archive.
    pub repository: [u8; 16],
    pub object: [u8; 16],
}

impl Binding {
    fn context(&self) -> [u8; 44] {
        let mut context = [0; 44];
        context[0..2].copy_from_slice(&self.suite.number().to_le_bytes());
        context[2..4].copy_from_slice(&self.object_type.number().to_le_bytes());
        context[4..8].copy_from_slice(&self.epoch.to_le_bytes());
        context[8..24].copy_from_slice(&self.repository);
        context[24..40].copy_from_slice(&self.object);
        context
    }
}

/// A part of an object, sealed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    Block {
        stream: u16,
        chunk: u64,
    },
    IndexBlock(u64),
    Directory,
    Metadata,
    /// Of a keyring or record.
    Body,
}

impl Part {
    /// Part kind, stream, chunk.
    fn numbers(self) -> (u8, u16, u64) {
        match self {
            Self::Block { stream, chunk } => (1, stream, chunk),
            Self::IndexBlock(block) => (2, 0, block),
            Self::Directory => (3, 0, 0),
            Self::Metadata => (4, 0, 0),
            Self::Body => (5, 0, 0),
        }
    }

    pub(super) fn nonce(self) -> [u8; NONCE_BYTES] {
        let (kind, stream, chunk) = self.numbers();
        let mut nonce = [0; NONCE_BYTES];
        nonce[0] = kind;
        nonce[2..4].copy_from_slice(&stream.to_be_bytes());
        nonce[4..].copy_from_slice(&chunk.to_be_bytes());
        nonce
    }
}

/// Seals and opens in place; allocates nothing but room for the tag, which callers reserve. Shared by threads.
pub struct ObjectKey {
    cipher: Cipher,
    commitment: [u8; 32],
    /// The associated data of an imagined part 0; a part fills in its own numbers.
    associated: [u8; ASSOCIATED_BYTES],
    /// Parts sealed so far: in every test that seals, none may come twice.
    #[cfg(feature = "testing")]
    sealed: std::sync::Mutex<std::collections::HashSet<Part>>,
}

const ASSOCIATED_BYTES: usize = 64;
const DIGEST_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"VARKSEAL";
const VERSION: u16 = 1;

impl ObjectKey {
    /// For a new object: the salt is fresh from `random`, and never used again.
    ///
    /// # Errors
    /// None in practice; `Unsupported` when the cipher refuses a key.
    pub fn new(root: &Secret, salt: &[u8; SALT_BYTES], binding: &Binding) -> Result<Self> {
        let (key, commitment) = derive_pair(root, salt, Purpose::Object, &binding.context());
        let mut associated = [0; ASSOCIATED_BYTES];
        associated[0..8].copy_from_slice(MAGIC);
        associated[8..10].copy_from_slice(&VERSION.to_le_bytes());
        associated[10..12].copy_from_slice(&binding.suite.number().to_le_bytes());
        associated[12..14].copy_from_slice(&binding.object_type.number().to_le_bytes());
        associated[16..32].copy_from_slice(&binding.repository);
        associated[32..48].copy_from_slice(&binding.object);
        associated[48..52].copy_from_slice(&binding.epoch.to_le_bytes());
        Ok(Self {
            cipher: Cipher::new(binding.suite, &key)?,
            commitment,
            associated,
            #[cfg(feature = "testing")]
            sealed: std::sync::Mutex::default(),
        })
    }

    /// For an object that is there: its commitment is compared before anything can be decrypted.
    ///
    /// # Errors
    /// `Damaged` at layer `Seal`.
    pub fn committed(
        root: &Secret,
        salt: &[u8; SALT_BYTES],
        binding: &Binding,
        commitment: &[u8; 32],
        place: &str,
    ) -> Result<Self> {
        let key = Self::new(root, salt, binding)?;
        if equal(&key.commitment, commitment) { Ok(key) } else { Err(altered(place)) }
    }

    pub fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Seals `bytes` in place and appends the tag. Each part once: another plaintext under one nonce gives both away.
    ///
    /// # Errors
    /// `LimitExceeded` for more bytes than a part may have (64 GiB).
    pub fn seal(&self, part: Part, bytes: &mut Vec<u8>) -> Result<()> {
        #[cfg(feature = "testing")]
        self.note_sealed(part);
        self.cipher.seal(part.nonce(), &self.associated_data(part), bytes)
    }

    /// Opens ciphertext ‖ tag in place and returns the plaintext's part of `bytes`.
    ///
    /// # Errors
    /// `Damaged` at layer `Seal`; then `bytes` hold no plaintext.
    pub fn open<'a>(&self, part: Part, bytes: &'a mut [u8], place: &str) -> Result<&'a mut [u8]> {
        let opened = self.cipher.open(part.nonce(), &self.associated_data(part), bytes);
        opened.ok_or_else(|| altered(place))
    }

    /// As `seal`, of a directory or body, which proves public bytes with this digest.
    ///
    /// # Errors
    /// Those of `seal`.
    pub fn seal_with(&self, part: Part, public_digest: &[u8; 32], bytes: &mut Vec<u8>) -> Result<()> {
        #[cfg(feature = "testing")]
        self.note_sealed(part);
        self.cipher.seal(part.nonce(), &self.associated_with(part, public_digest), bytes)
    }

    /// As `open`, of what `seal_with` sealed.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn open_with<'a>(
        &self,
        part: Part,
        public_digest: &[u8; 32],
        bytes: &'a mut [u8],
        place: &str,
    ) -> Result<&'a mut [u8]> {
        let opened = self.cipher.open(part.nonce(), &self.associated_with(part, public_digest), bytes);
        opened.ok_or_else(|| altered(place))
    }

    #[cfg(feature = "testing")]
    fn note_sealed(&self, part: Part) {
        let mut sealed = self.sealed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(sealed.insert(part), "{part:?} is sealed twice under one key");
    }

    pub(super) fn associated_data(&self, part: Part) -> [u8; ASSOCIATED_BYTES] {
        let (kind, stream, chunk) = part.numbers();
        let mut associated = self.associated;
        associated[14] = kind;
        associated[52..56].copy_from_slice(&u32::from(stream).to_le_bytes());
        associated[56..64].copy_from_slice(&chunk.to_le_bytes());
        associated
    }

    fn associated_with(&self, part: Part, public_digest: &[u8; 32]) -> [u8; ASSOCIATED_BYTES + DIGEST_BYTES] {
        let mut associated = [0; ASSOCIATED_BYTES + DIGEST_BYTES];
        associated[..ASSOCIATED_BYTES].copy_from_slice(&self.associated_data(part));
        associated[ASSOCIATED_BYTES..].copy_from_slice(public_digest);
        associated
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectKey(…)")
    }
}

fn altered(place: &str) -> crate::error::Error {
    damaged(place, "was altered, or belongs to another archive or key; restore it from another copy")
}
