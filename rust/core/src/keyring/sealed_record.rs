//! Records sealed under a keyring (spec 7.1). What is public in them is the caller's; its digest is proved by the tag.

use super::Keyring;
use crate::archive::Root;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::SALT_BYTES;
use crate::seal::{Binding, ObjectKey, ObjectType, Part, Secret, Suite, epoch_identity, random, unwrap_session_root};

/// What a record says of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSeal {
    pub suite: Suite,
    pub root: Root,
    pub salt: [u8; SALT_BYTES],
    pub commitment: [u8; 32],
}

/// A record that is being made: its body is sealed once.
#[derive(Debug)]
pub struct NewRecord {
    pub seal: RecordSeal,
    key: ObjectKey,
}

impl NewRecord {
    /// `record`: its salt, 16 bytes, fresh.
    ///
    /// # Errors
    /// `Io` without random bytes.
    pub fn new(suite: Suite, root: Root, root_key: &Secret, repository: [u8; 16], record: [u8; 16]) -> Result<Self> {
        let salt = random()?;
        let key = ObjectKey::new(root_key, &salt, &binding(suite, &root, repository, record))?;
        Ok(Self { seal: RecordSeal { suite, root, salt, commitment: *key.commitment() }, key })
    }

    /// Ciphertext and tag of the private part.
    ///
    /// # Errors
    /// `LimitExceeded` for what no record has.
    pub fn seal(self, public_digest: &[u8; 32], body: &[u8]) -> Result<Vec<u8>> {
        let mut data = body.to_vec();
        self.key.seal_with(Part::Body, public_digest, &mut data)?;
        Ok(data)
    }
}

impl Keyring {
    /// A record of this repository, under the active epoch.
    ///
    /// # Errors
    /// `Io` without random bytes.
    pub fn new_record(&self, record: [u8; 16]) -> Result<NewRecord> {
        let epoch = self.active()?;
        NewRecord::new(self.suite, Root::Epoch(epoch.number), &epoch.root, self.repository, record)
    }

    /// The private part of a record; `data` is opened in place. Of one under a session root the tag proves nothing: the
    /// caller demands a signature.
    ///
    /// # Errors
    /// `Damaged` at layer `Seal`; `WrongKey` for an epoch that the keyring does not hold.
    pub fn open_record<'a>(
        &self,
        seal: &RecordSeal,
        record: [u8; 16],
        public_digest: &[u8; 32],
        data: &'a mut [u8],
    ) -> Result<&'a mut [u8]> {
        let root = match &seal.root {
            Root::Epoch(epoch) => self.root_of(*epoch)?.clone(),
            Root::Session(epoch, wrapped) => {
                let identity = epoch_identity(self.root_of(*epoch)?, &self.repository, *epoch);
                unwrap_session_root(wrapped, &identity, &self.repository, *epoch)?
            }
            Root::Access => return Err(Error::new(ErrorKind::InvalidArgument, "record", "has no slots")),
        };
        let binding = binding(seal.suite, &seal.root, self.repository, record);
        let key = ObjectKey::committed(&root, &seal.salt, &binding, &seal.commitment, "record")?;
        key.open_with(Part::Body, public_digest, data, "record")
    }
}

fn binding(suite: Suite, root: &Root, repository: [u8; 16], object: [u8; 16]) -> Binding {
    Binding { suite, object_type: ObjectType::Record, epoch: root.epoch(), repository, object }
}
