//! Keys of a sealed repository (`spec/CRYPTO.md`, 7): the keyring, its generations, and the records sealed under it.
//!
//! Pure: objects come in as bytes and go out as bytes; where they lie is for others. Every secret is wiped when it is
//! dropped and shows nothing of itself.

mod change;
mod private;
mod public;
mod sealed_record;
mod signer;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

pub use change::{Change, Generation};
pub use public::{Endorsement, SlotName};
pub use sealed_record::{NewRecord, RecordSeal};
pub use signer::SignerFile;
pub use slots::{SlotObject, parse_slot};

use crate::archive::{KeySource, Root, Sealing};
use crate::digest::blake3;
use crate::error::{Error, ErrorKind, Layer, Result};
use crate::limits::SALT_BYTES;
use crate::seal::{
    Binding, ObjectKey, ObjectType, Part, Purpose, Secret, Secrets, SigningKey, Slot, Suite, derive, hmac_sha256,
};

/// A root that everything of its time is sealed under.
#[derive(Debug, Clone)]
pub struct Epoch {
    pub number: u32,
    pub root: Secret,
    pub created_unix_ms: u64,
}

/// Who may write without being able to read, or sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    pub name: String,
    pub key: [u8; 32],
    pub is_write_only: bool,
    pub revoked_unix_ms: Option<u64>,
}

/// All keys of a repository, as of one generation.
#[derive(Clone)]
pub struct Keyring {
    pub repository: [u8; 16],
    /// What new objects are sealed with.
    pub suite: Suite,
    /// 0 before the first is written.
    pub generation: u64,
    pub slots: Vec<SlotName>,
    pub endorsements: Vec<Endorsement>,
    /// 1 … n; the last is active.
    pub epochs: Vec<Epoch>,
    /// Slot → what its owner calls it.
    pub labels: BTreeMap<String, String>,
    pub signers: Vec<Signer>,
    authority: SigningKey,
    fingerprint_key: Secret,
    name_key: Secret,
}

/// A keyring that was opened, and by which slot.
#[derive(Debug)]
pub struct OpenKeyring {
    pub keyring: Keyring,
    pub slot: String,
    /// The authority for which the slot's maker vouched, proved; `None` of a recipient, whose slot anyone can make.
    pub anchor: Option<[u8; 32]>,
}

const PLACE: &str = "keyring";

impl Keyring {
    /// Keys of a new repository, not written yet.
    ///
    /// # Errors
    /// `Io` without random bytes.
    pub fn create(repository: [u8; 16], suite: Suite, unix_ms: u64) -> Result<Self> {
        Ok(Self {
            repository,
            suite,
            generation: 0,
            slots: Vec::new(),
            endorsements: Vec::new(),
            epochs: vec![Epoch { number: 1, root: Secret::random()?, created_unix_ms: unix_ms }],
            labels: BTreeMap::new(),
            signers: Vec::new(),
            authority: SigningKey::random()?,
            fingerprint_key: Secret::random()?,
            name_key: Secret::random()?,
        })
    }

    /// Opens one copy of a generation's keyring. `slots`: of the same generation; those it does not name are passed over.
    ///
    /// # Errors
    /// `Damaged` at layer `Seal` for an object that breaks a rule or was altered; those of `open_slots`.
    pub fn open(
        repository: [u8; 16],
        suite: Suite,
        generation: u64,
        object: &[u8],
        slots: &[SlotObject],
        secrets: &Secrets,
    ) -> Result<OpenKeyring> {
        let public = public::parse(object, &repository, generation)?;
        let slots: Vec<Slot> = slots.iter().filter(|slot| slot.is_of(&public)).map(|slot| slot.slot.clone()).collect();
        if slots.is_empty() {
            return Err(damaged("none of its key slots is there whole; restore them from another copy"));
        }
        let opened = crate::seal::open_slots(&slots, &secrets.unlocks(), &repository)?;
        let binding = binding(public.seal.suite, repository, generation);
        let key =
            ObjectKey::committed(&opened.access_key, &public.seal.salt, &binding, &public.seal.commitment, PLACE)?;
        let mut data = public.seal.data.clone();
        let body = key.open_with(Part::Body, &public.public_digest, &mut data, PLACE)?;
        let keyring = private::parse(body, &public, repository, suite)?;
        let slot = slots.get(opened.slot).map(|slot| slot.slot.clone()).unwrap_or_default();
        Ok(OpenKeyring { keyring, slot, anchor: opened.anchor })
    }

    pub fn authority(&self) -> &[u8; 32] {
        self.authority.public()
    }

    /// Whether trust in `known` is trust in the present authority: it is the same, or endorsements lead from it to this.
    pub fn is_endorsed_by(&self, known: &[u8; 32]) -> bool {
        public::leads(&self.endorsements, known, self.authority(), &self.repository)
    }

    pub fn fingerprint_key(&self) -> &[u8; 32] {
        self.fingerprint_key.expose()
    }

    /// What tells snapshots of one name without the name (spec 7.1).
    pub fn name_tag(&self, name: &str) -> [u8; 16] {
        let key = derive(&self.name_key, &[], Purpose::Name, &[]);
        let mut tag = [0; 16];
        tag.copy_from_slice(&hmac_sha256(key.expose(), &[name.as_bytes()])[..16]);
        tag
    }

    /// How new archives are sealed.
    ///
    /// # Errors
    /// `Damaged` in no keyring that was checked.
    pub fn sealing(&self) -> Result<Sealing> {
        let epoch = self.active()?;
        Ok(Sealing::of_repository(self.suite, Root::Epoch(epoch.number), epoch.root.clone(), self.repository))
    }

    fn active(&self) -> Result<&Epoch> {
        self.epochs.last().ok_or_else(|| damaged("has no epoch"))
    }

    fn root_of(&self, epoch: u32) -> Result<&Secret> {
        let found = self.epochs.iter().find(|one| one.number == epoch);
        found.map(|epoch| &epoch.root).ok_or_else(|| {
            let detail = format!("is sealed under epoch {epoch}, which the keyring does not hold");
            Error::new(ErrorKind::WrongKey, "", detail)
        })
    }

    fn seal_body(&self, access_key: &Secret, salt: &[u8; SALT_BYTES]) -> Result<ObjectKey> {
        ObjectKey::new(access_key, salt, &binding(self.suite, self.repository, self.generation))
    }
}

/// Keys of archives. A plain one and one with slots of its own do not belong into a sealed repository.
impl KeySource for Keyring {
    fn access_key(&self, _slots: &[Slot]) -> Result<Secret> {
        let detail = "has key slots of its own; it does not belong into this repository";
        Err(Error::damaged(Layer::Seal, "archive", detail))
    }

    fn epoch_root(&self, repository: &[u8; 16], epoch: u32) -> Result<Secret> {
        if *repository != self.repository {
            return Err(Error::damaged(Layer::Seal, "archive", "is of another repository; it was put here"));
        }
        self.root_of(epoch).cloned()
    }

    fn is_given(&self) -> bool {
        true
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring(generation {}, …)", self.generation)
    }
}

fn binding(suite: Suite, repository: [u8; 16], generation: u64) -> Binding {
    let mut object = [0; 16];
    object[..8].copy_from_slice(&generation.to_le_bytes());
    Binding { suite, object_type: ObjectType::Keyring, epoch: 0, repository, object }
}

fn digest_of(text: &str) -> [u8; 32] {
    blake3(text.as_bytes())
}

fn damaged(detail: impl Into<String>) -> Error {
    Error::damaged(Layer::Seal, PLACE, detail)
}
