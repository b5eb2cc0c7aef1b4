//! Keys of a sealed repository.

use crate::errors::{invalid, to_py};
use crate::secrets::{SecretsArgument, secrets_of, ways_of};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::Mutex;
use std::sync::PoisonError;
use vark_core::archive::{KeySource, Root, Sealing};
use vark_core::error::Result;
use vark_core::keyring::{self, Change, Keyring, RecordSeal, SignerFile, SlotObject, parse_slot};
use vark_core::limits::{SALT_BYTES, WRAPPED_ROOT_BYTES};
use vark_core::pipeline::cache::CacheKey;
use vark_core::seal::{Secret, Secrets, Slot, Suite, hex};

/// What is sealed with: a keyring, or secrets for a single archive.
#[derive(FromPyObject)]
pub enum KeysArgument<'py> {
    Keyring(Py<OpenKeyring>),
    Signer(Py<Signer>),
    Secrets(SecretsArgument<'py>),
}

/// Where the keys of what is opened come from.
pub enum Keys {
    Keyring(Keyring),
    Signer(Py<Signer>),
    Secrets(Secrets),
}

impl Keys {
    pub fn of(argument: Option<&KeysArgument<'_>>) -> PyResult<Self> {
        match argument {
            None => Ok(Self::Secrets(Secrets::default())),
            Some(KeysArgument::Secrets(secrets)) => secrets_of(secrets).map(Self::Secrets),
            Some(KeysArgument::Keyring(keyring)) => Ok(Self::Keyring(keyring.get().keyring.clone())),
            Some(KeysArgument::Signer(signer)) => Python::attach(|py| Ok(Self::Signer(signer.clone_ref(py)))),
        }
    }

    fn source(&self) -> &dyn KeySource {
        match self {
            Self::Keyring(keyring) => keyring,
            Self::Signer(signer) => &signer.get().file,
            Self::Secrets(secrets) => secrets,
        }
    }
}

impl KeySource for Keys {
    fn access_key(&self, slots: &[Slot]) -> Result<Secret> {
        self.source().access_key(slots)
    }

    fn epoch_root(&self, repository: &[u8; 16], epoch: u32) -> Result<Secret> {
        self.source().epoch_root(repository, epoch)
    }

    fn is_given(&self) -> bool {
        self.source().is_given()
    }
}

/// An open keyring: all keys of a repository. Shows none of them.
#[pyclass(frozen, name = "Keyring", module = "vark._core")]
pub struct OpenKeyring {
    pub keyring: Keyring,
}

/// Name, public key, write only, when it was revoked.
type SignerArgument = (String, [u8; 32], bool, Option<u64>);

/// What is to be written for a new generation: (slot id, object) of each slot, then the keyring's object.
type Written<'py> = (OpenKeyring, Vec<(String, Bound<'py, PyBytes>)>, Bound<'py, PyBytes>);

#[pymethods]
impl OpenKeyring {
    /// Keys of a new repository, with generation 1 to be written.
    #[staticmethod]
    #[pyo3(signature = (repository, secrets, *, suite, unix_ms))]
    fn create<'py>(
        py: Python<'py>,
        repository: [u8; 16],
        secrets: SecretsArgument<'py>,
        suite: u16,
        unix_ms: u64,
    ) -> PyResult<Written<'py>> {
        let suite = Suite::from_number(suite).map_err(|error| to_py(&error))?;
        let empty = Keyring::create(repository, suite, unix_ms).map_err(|error| to_py(&error))?;
        let change = Change { add: ways_of(&secrets)?, ..Change::default() };
        next(py, &empty, 1, unix_ms, change, &[])
    }

    /// One copy of a generation: (keyring, slot that opened, authority that its maker vouched for).
    #[staticmethod]
    #[pyo3(signature = (repository, generation, keyring, slots, secrets, *, suite))]
    fn open(
        py: Python<'_>,
        repository: [u8; 16],
        generation: u64,
        keyring: &[u8],
        slots: Vec<Bound<'_, PyBytes>>,
        secrets: SecretsArgument<'_>,
        suite: u16,
    ) -> PyResult<(Self, String, Option<[u8; 32]>)> {
        let suite = Suite::from_number(suite).map_err(|error| to_py(&error))?;
        let secrets = secrets_of(&secrets)?;
        let slots = slot_objects(&slots, &repository, generation)?;
        let opened = py.detach(|| Keyring::open(repository, suite, generation, keyring, &slots, &secrets));
        let opened = opened.map_err(|error| to_py(&error))?;
        Ok((Self { keyring: opened.keyring }, opened.slot, opened.anchor))
    }

    /// The next generation. add: ways to open it, all called `label`. slots: the objects of this generation's slots.
    #[pyo3(signature = (number, slots, *, unix_ms, add, label, remove, new_epoch, signers))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a private method")]
    fn next<'py>(
        &self,
        py: Python<'py>,
        number: u64,
        slots: Vec<Bound<'py, PyBytes>>,
        unix_ms: u64,
        add: Option<SecretsArgument<'py>>,
        label: &str,
        remove: Vec<String>,
        new_epoch: bool,
        signers: Option<Vec<SignerArgument>>,
    ) -> PyResult<Written<'py>> {
        let slots = slot_objects(&slots, &self.keyring.repository, self.keyring.generation)?;
        let signers = signers.map(|all| all.into_iter().map(signer_of).collect());
        let add = add.as_ref().map(ways_of).transpose()?.unwrap_or_default();
        let change = Change { add, label: label.to_owned(), remove, new_epoch, signers };
        next(py, &self.keyring, number, unix_ms, change, &slots)
    }

    #[getter]
    fn generation(&self) -> u64 {
        self.keyring.generation
    }

    /// The number of the suite of what is written now.
    #[getter]
    fn suite(&self) -> u16 {
        self.keyring.suite.number()
    }

    /// The epoch of what is written now.
    #[getter]
    fn epoch(&self) -> u32 {
        self.keyring.epochs.last().map_or(0, |epoch| epoch.number)
    }

    /// (number, time of its beginning) of each.
    #[getter]
    fn epochs(&self) -> Vec<(u32, u64)> {
        self.keyring.epochs.iter().map(|epoch| (epoch.number, epoch.created_unix_ms)).collect()
    }

    /// (id, type, recipient, label) of each key slot.
    #[getter]
    fn slots(&self) -> Vec<(String, String, String, String)> {
        let label = |slot: &str| self.keyring.labels.get(slot).cloned().unwrap_or_default();
        let slots = self.keyring.slots.iter();
        slots
            .map(|name| (name.slot.clone(), name.slot_type.clone(), name.recipient.clone(), label(&name.slot)))
            .collect()
    }

    /// (name, public key, write only, when it was revoked) of each signer.
    #[getter]
    fn signers(&self) -> Vec<SignerArgument> {
        self.keyring.signers.iter().map(signer_argument).collect()
    }

    #[getter]
    fn authority(&self) -> [u8; 32] {
        *self.keyring.authority()
    }

    /// Whether trust in this authority is trust in the present one.
    fn is_endorsed_by(&self, authority: [u8; 32]) -> bool {
        self.keyring.is_endorsed_by(&authority)
    }

    /// A new signer, and the content of its file, which is secret.
    #[pyo3(signature = (name, *, write_only))]
    fn new_signer<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        write_only: bool,
    ) -> PyResult<(SignerArgument, Bound<'py, PyBytes>)> {
        let made = self.keyring.new_signer(name, write_only);
        let (signer, content) = made.map_err(|error| to_py(&error))?;
        Ok((signer_argument(&signer), PyBytes::new(py, content.as_bytes())))
    }

    /// The signer of a commit with this digest: one that is entered, whether or not it was revoked since.
    fn signer_of(&self, digest: [u8; 32], key: [u8; 32], signature: &[u8]) -> Option<SignerArgument> {
        self.keyring.signer_of(&digest, &key, signature).map(signer_argument)
    }

    fn name_tag(&self, name: &str) -> String {
        hex(&self.keyring.name_tag(name))
    }

    /// Begin to seal the record with this salt.
    fn new_record(&self, record: [u8; 16]) -> PyResult<NewRecord> {
        self.keyring.new_record(record).map(NewRecord::new).map_err(|error| to_py(&error))
    }

    /// The private part of a record.
    #[pyo3(signature = (data, *, record, suite, epoch, salt, commitment, wrapped, public_digest))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a private method")]
    fn open_record<'py>(
        &self,
        py: Python<'py>,
        data: &[u8],
        record: [u8; 16],
        suite: u16,
        epoch: u32,
        salt: [u8; SALT_BYTES],
        commitment: [u8; 32],
        wrapped: Option<[u8; WRAPPED_ROOT_BYTES]>,
        public_digest: [u8; 32],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let suite = Suite::from_number(suite).map_err(|error| to_py(&error))?;
        let root = wrapped.map_or(Root::Epoch(epoch), |wrapped| Root::Session(epoch, wrapped));
        let seal = RecordSeal { suite, root, salt, commitment };
        let mut data = data.to_vec();
        let body = self.keyring.open_record(&seal, record, &public_digest, &mut data);
        body.map(|body| PyBytes::new(py, body)).map_err(|error| to_py(&error))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.keyring)
    }
}

impl OpenKeyring {
    pub fn sealing(&self) -> PyResult<Sealing> {
        self.keyring.sealing().map_err(|error| to_py(&error))
    }
}

/// A signer's file: signs commits; of a write-only writer it seals, too, under a session root of its own.
#[pyclass(frozen, module = "vark._core")]
pub struct Signer {
    file: SignerFile,
}

#[pymethods]
impl Signer {
    #[staticmethod]
    fn parse(content: &[u8]) -> PyResult<Self> {
        SignerFile::parse(content).map(|file| Self { file }).map_err(|error| to_py(&error))
    }

    #[getter]
    fn name(&self) -> &str {
        &self.file.name
    }

    #[getter]
    fn repository(&self) -> [u8; 16] {
        self.file.repository
    }

    #[getter]
    fn key(&self) -> [u8; 32] {
        *self.file.key()
    }

    #[getter]
    fn is_write_only(&self) -> bool {
        self.file.is_write_only()
    }

    fn sign(&self, digest: [u8; 32]) -> PyResult<[u8; 64]> {
        self.file.sign(&digest).map_err(|error| to_py(&error))
    }

    fn new_record(&self, record: [u8; 16]) -> PyResult<NewRecord> {
        self.file.new_record(record).map(NewRecord::new).map_err(|error| to_py(&error))
    }

    /// A tag of what is kept on this machine, which nobody can make without the writer's cache key.
    fn cache_tag(&self, data: &[u8]) -> PyResult<[u8; 32]> {
        Ok(self.cache_key()?.tag(data))
    }

    fn __repr__(&self) -> String {
        format!("Signer({:?})", self.file.name)
    }
}

impl Signer {
    /// Of what a write-only writer keeps on its own machine.
    pub fn cache_key(&self) -> PyResult<CacheKey> {
        let (sealing, key) = self.sealing()?;
        CacheKey::of_repository(&sealing, key).ok_or_else(|| invalid("signer", "is of no repository"))
    }

    pub fn sealing(&self) -> PyResult<(Sealing, [u8; 32])> {
        let key = self.file.fingerprint_key().map_err(|error| to_py(&error))?;
        Ok((self.file.sealing().map_err(|error| to_py(&error))?, *key))
    }
}

/// A record that is being sealed.
#[pyclass(frozen, module = "vark._core")]
pub struct NewRecord {
    #[pyo3(get)]
    suite: u16,
    #[pyo3(get)]
    epoch: u32,
    #[pyo3(get)]
    salt: [u8; SALT_BYTES],
    #[pyo3(get)]
    commitment: [u8; 32],
    #[pyo3(get)]
    wrapped: Option<[u8; WRAPPED_ROOT_BYTES]>,
    record: Mutex<Option<keyring::NewRecord>>,
}

impl NewRecord {
    fn new(record: keyring::NewRecord) -> Self {
        let RecordSeal { suite, root, salt, commitment } = record.seal;
        let wrapped = match root {
            Root::Session(_, wrapped) => Some(wrapped),
            _ => None,
        };
        let (suite, epoch) = (suite.number(), root.epoch());
        Self { suite, epoch, salt, commitment, wrapped, record: Mutex::new(Some(record)) }
    }
}

#[pymethods]
impl NewRecord {
    /// Ciphertext and tag of the private part; once only.
    fn seal<'py>(&self, py: Python<'py>, public_digest: [u8; 32], body: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner).take();
        let record = record.ok_or_else(|| invalid("record", "is sealed already"))?;
        let data = record.seal(&public_digest, body).map_err(|error| to_py(&error))?;
        Ok(PyBytes::new(py, &data))
    }
}

fn next<'py>(
    py: Python<'py>,
    keyring: &Keyring,
    number: u64,
    unix_ms: u64,
    change: Change,
    slots: &[SlotObject],
) -> PyResult<Written<'py>> {
    // Argon2id takes a second.
    let made = py.detach(|| keyring.next(number, unix_ms, change, slots));
    let made = made.map_err(|error| to_py(&error))?;
    let slots = made.slots.iter().map(|(id, object)| (id.clone(), PyBytes::new(py, object))).collect();
    Ok((OpenKeyring { keyring: made.keyring }, slots, PyBytes::new(py, &made.object)))
}

/// Those that can be read; a slot that is damaged does not keep the others from opening.
fn slot_objects(objects: &[Bound<'_, PyBytes>], repository: &[u8; 16], generation: u64) -> PyResult<Vec<SlotObject>> {
    let parsed: Vec<_> = objects.iter().map(|object| parse_slot(object.as_bytes(), repository, generation)).collect();
    let error = parsed.iter().find_map(|slot| slot.as_ref().err().cloned());
    let found: Vec<SlotObject> = parsed.into_iter().filter_map(Result::ok).collect();
    match error {
        Some(error) if found.is_empty() => Err(to_py(&error)),
        _ => Ok(found),
    }
}

fn signer_argument(signer: &keyring::Signer) -> SignerArgument {
    (signer.name.clone(), signer.key, signer.is_write_only, signer.revoked_unix_ms)
}

fn signer_of((name, key, is_write_only, revoked_unix_ms): SignerArgument) -> keyring::Signer {
    keyring::Signer { name, key, is_write_only, revoked_unix_ms }
}
