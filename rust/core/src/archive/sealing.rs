//! Keys of sealed archives (`spec/CRYPTO.md`, 5): how a reader finds them, and what a writer seals with.

use std::fmt;
use std::sync::Arc;

use super::seal_record::{self, Root, SealRecord, SealSource};
use super::{Ancestor, ArchiveId};
use crate::error::{Error, ErrorKind, Layer, Result};
use crate::limits::SALT_BYTES;
use crate::seal::{
    Binding, ObjectKey, ObjectType, Purpose, Secret, Secrets, Slot, SlotKind, Suite, derive, epoch_identity, new_slot,
    random, single_anchor, unwrap_session_root,
};

/// Where the keys of sealed archives come from. Nothing of an archive is decrypted before its commitment was compared.
pub trait KeySource: Send + Sync {
    /// The access key of a single archive.
    ///
    /// # Errors
    /// `KeyNeeded`, `WrongKey`; `Damaged` at layer `Seal` for slots that cannot be.
    fn access_key(&self, slots: &[Slot]) -> Result<Secret>;

    /// The root of an epoch of a repository.
    ///
    /// # Errors
    /// `KeyNeeded`, `WrongKey`.
    fn epoch_root(&self, repository: &[u8; 16], epoch: u32) -> Result<Secret>;

    /// Whether a key was given: then an archive that is not sealed is not the one that it is for.
    fn is_given(&self) -> bool;
}

/// For archives that are not sealed.
pub struct NoKeys;

impl KeySource for NoKeys {
    fn access_key(&self, _slots: &[Slot]) -> Result<Secret> {
        Err(key_needed())
    }

    fn epoch_root(&self, _repository: &[u8; 16], _epoch: u32) -> Result<Secret> {
        Err(key_needed())
    }

    fn is_given(&self) -> bool {
        false
    }
}

/// Secrets know no repository.
impl KeySource for Secrets {
    fn access_key(&self, slots: &[Slot]) -> Result<Secret> {
        self.open_single(slots)
    }

    fn epoch_root(&self, _repository: &[u8; 16], epoch: u32) -> Result<Secret> {
        let detail = format!("is sealed under epoch {epoch} of a repository; open it there");
        Err(Error::new(ErrorKind::KeyNeeded, "", detail))
    }

    fn is_given(&self) -> bool {
        !self.is_empty()
    }
}

pub(crate) fn key_needed() -> Error {
    let detail = "is encrypted; give a passphrase, an identity file or a recovery code";
    Error::new(ErrorKind::KeyNeeded, "", detail)
}

/// The keys of an open archive.
pub(crate) struct OpenSeal {
    pub record: SealRecord,
    /// Of a single archive: its deltas are sealed under the same.
    pub access_key: Option<Secret>,
    pub key: ObjectKey,
    /// Of each ancestor; one that cannot be had is for whoever needs its blocks.
    ancestors: Vec<Result<ObjectKey>>,
}

impl OpenSeal {
    /// Finds the root key and compares the commitment.
    ///
    /// # Errors
    /// Those of `keys`; `Damaged` at layer `Seal`.
    pub fn unlock(record: SealRecord, id: ArchiveId, ancestors: &[Ancestor], keys: &dyn KeySource) -> Result<Self> {
        let access_key = match record.own.root {
            Root::Access => Some(keys.access_key(&seal_record::parse_slots(&record.slots)?)?),
            _ => None,
        };
        let root_of = |source: &SealSource| root_key(source, &record.repository, access_key.as_ref(), keys);
        let root = root_of(&record.own)?;
        let binding = binding(&record.own, &record.repository, id);
        let key = ObjectKey::committed(&root, &record.own.salt, &binding, &record.commitment, "archive")?;
        let sources = record.ancestors.iter().zip(ancestors);
        let ancestors = sources.map(|(source, ancestor)| {
            ObjectKey::new(&root_of(source)?, &source.salt, &self::binding(source, &record.repository, ancestor.id))
        });
        let ancestors = ancestors.collect();
        Ok(Self { record, access_key, key, ancestors })
    }

    /// The keys of a shadow: that of the archive, and of the shadow of each ancestor that there is.
    pub fn of_shadow(record: SealRecord, key: ObjectKey, ancestors: Vec<Result<ObjectKey>>) -> Self {
        Self { record, access_key: None, key, ancestors }
    }

    /// The key of this archive (0) or of an ancestor, as entries count them.
    ///
    /// # Errors
    /// Why there is none.
    pub fn key_of(&self, archive: u16) -> Result<&ObjectKey> {
        let Some(number) = usize::from(archive).checked_sub(1) else { return Ok(&self.key) };
        match self.ancestors.get(number) {
            Some(Ok(key)) => Ok(key),
            Some(Err(error)) => Err(error.clone()),
            None => Err(Error::damaged(Layer::Index, "index entry", format!("archive {archive} has no seal"))),
        }
    }
}

impl fmt::Debug for OpenSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenSeal(…)")
    }
}

fn binding(source: &SealSource, repository: &[u8; 16], id: ArchiveId) -> Binding {
    Binding {
        suite: source.suite,
        object_type: ObjectType::Archive,
        epoch: source.root.epoch(),
        repository: *repository,
        object: id.0,
    }
}

fn root_key(
    source: &SealSource,
    repository: &[u8; 16],
    access_key: Option<&Secret>,
    keys: &dyn KeySource,
) -> Result<Secret> {
    match &source.root {
        Root::Access => access_key.cloned().ok_or_else(key_needed),
        Root::Epoch(epoch) => keys.epoch_root(repository, *epoch),
        Root::Session(epoch, wrapped) => {
            let identity = epoch_identity(&keys.epoch_root(repository, *epoch)?, repository, *epoch);
            unwrap_session_root(wrapped, &identity, repository, *epoch)
        }
    }
}

/// How new archives are sealed: everything but the salt, which each draws anew.
#[derive(Debug, Clone)]
pub struct Sealing {
    pub suite: Suite,
    pub root: Root,
    pub root_key: Secret,
    /// Zeros of a single archive.
    pub repository: [u8; 16],
    /// Of a single archive.
    slots: Vec<u8>,
}

impl Sealing {
    /// A single archive with a new access key, and a slot for each way to open it.
    ///
    /// # Errors
    /// `InvalidArgument` for none, or one that is none; those of `new_slot`.
    pub fn single(suite: Suite, ways: Vec<SlotKind<'_>>) -> Result<Self> {
        if ways.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "encryption", "nothing was given that could open it"));
        }
        let root_key = Secret::random()?;
        let anchor = single_anchor(&root_key);
        let slots = ways.into_iter().map(|way| new_slot(way, &root_key, &[0; 16], &anchor));
        let slots = seal_record::encode_slots(&slots.collect::<Result<Vec<_>>>()?)?;
        Ok(Self { suite, root: Root::Access, root_key, repository: [0; 16], slots })
    }

    /// An archive of a repository, under an epoch's root or a session root.
    pub fn of_repository(suite: Suite, root: Root, root_key: Secret, repository: [u8; 16]) -> Self {
        Self { suite, root, root_key, repository, slots: Vec::new() }
    }

    /// As a single archive is sealed: its access key and its slots.
    pub(crate) fn like(open: &OpenSeal) -> Option<Self> {
        let root_key = open.access_key.clone()?;
        let SealRecord { own, repository, slots, .. } = &open.record;
        Some(Self { suite: own.suite, root: own.root, root_key, repository: *repository, slots: slots.clone() })
    }

    pub fn is_single(&self) -> bool {
        self.root == Root::Access
    }

    /// Whether it is of a write-only writer.
    pub fn is_session(&self) -> bool {
        matches!(self.root, Root::Session(..))
    }

    /// The key of row fingerprints of a single archive; those of a repository have one of its own.
    pub fn fingerprint_key(&self) -> Option<[u8; 32]> {
        self.is_single().then(|| *derive(&self.root_key, &[], Purpose::Fingerprint, &[]).expose())
    }
}

/// The seal of one archive that is written.
#[derive(Debug, Clone)]
pub(crate) struct NewSeal {
    pub key: Arc<ObjectKey>,
    pub record: SealRecord,
}

impl NewSeal {
    /// Under a fresh salt: no part is ever sealed twice under one key.
    ///
    /// # Errors
    /// `Io` without random bytes.
    pub fn draw(sealing: &Sealing, id: ArchiveId, ancestors: Vec<SealSource>) -> Result<Self> {
        Self::with_salt(sealing, id, ancestors, random()?)
    }

    /// Of the record.
    pub fn byte_count(&self) -> u64 {
        let SealRecord { own, ancestors, slots, .. } = &self.record;
        seal_record::byte_count(&own.root, ancestors, slots.len())
    }

    fn with_salt(sealing: &Sealing, id: ArchiveId, ancestors: Vec<SealSource>, salt: [u8; SALT_BYTES]) -> Result<Self> {
        let own = SealSource { suite: sealing.suite, root: sealing.root, salt };
        let key = ObjectKey::new(&sealing.root_key, &salt, &binding(&own, &sealing.repository, id))?;
        let commitment = *key.commitment();
        let (repository, slots) = (sealing.repository, sealing.slots.clone());
        let record = SealRecord { own, repository, commitment, ancestors, slots };
        Ok(Self { key: Arc::new(key), record })
    }
}
