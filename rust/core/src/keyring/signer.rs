//! Signers: who signs commits, and writers that can read nothing back (spec 8 and 9). Each has a file of its own.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Keyring, NewRecord, Signer};
use crate::archive::metadata::check_strict;
use crate::archive::{KeySource, Root, Sealing};
use crate::error::{Error, ErrorKind, Layer, Result};
use crate::limits::{SIGNER_FILE_BYTES_MAX, WRAPPED_ROOT_BYTES};
use crate::seal::{
    Domain, EpochRecipient, Recipient, Secret, SigningKey, Slot, Suite, epoch_identity, hex, is_signed_by, unhex,
};

/// A signer's file, read. Of one that is write-only: with a session root of its own, drawn now and never written.
#[derive(Debug)]
pub struct SignerFile {
    pub name: String,
    pub repository: [u8; 16],
    signing_key: SigningKey,
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    suite: Suite,
    epoch: u32,
    root: Secret,
    wrapped: [u8; WRAPPED_ROOT_BYTES],
    fingerprint_key: Secret,
}

#[derive(Deserialize)]
struct Fields<'a> {
    kind: &'a str,
    name: String,
    repository: &'a str,
    signing_key: &'a str,
    version: u64,
    #[serde(borrow)]
    write_only: Option<WriteOnlyFields<'a>>,
}

#[derive(Deserialize)]
struct WriteOnlyFields<'a> {
    cache_key: &'a str,
    epoch: u32,
    recipient: &'a str,
    suite: u16,
}

const PLACE: &str = "signer file";
const KIND: &str = "signer";

impl Keyring {
    /// A new signer, and the content of its file: secret, and written nowhere else.
    ///
    /// # Errors
    /// `Io` without random bytes.
    pub fn new_signer(&self, name: &str, is_write_only: bool) -> Result<(Signer, Zeroizing<String>)> {
        let key = SigningKey::random()?;
        let secret = |secret: &Secret| Zeroizing::new(hex(secret.expose()));
        let quoted = serde_json::to_string(name).map_err(|error| invalid(error.to_string()))?;
        let write_only = if is_write_only {
            let epoch = self.active()?;
            let recipient = epoch_identity(&epoch.root, &self.repository, epoch.number).recipient();
            let cache_key = secret(&Secret::random()?);
            let (number, suite) = (epoch.number, self.suite.number());
            Zeroizing::new(format!(
                "{{\"cache_key\":\"{}\",\"epoch\":{number},\"recipient\":\"{recipient}\",\"suite\":{suite}}}",
                cache_key.as_str()
            ))
        } else {
            Zeroizing::new("null".to_owned())
        };
        let text = Zeroizing::new(format!(
            "{{\"kind\":\"{KIND}\",\"name\":{quoted},\"repository\":\"{}\",\"signing_key\":\"{}\",\"version\":1,\
             \"write_only\":{}}}\n",
            hex(&self.repository),
            secret(key.seed()).as_str(),
            write_only.as_str()
        ));
        let signer = Signer { name: name.to_owned(), key: *key.public(), is_write_only, revoked_unix_ms: None };
        Ok((signer, text))
    }

    /// The signer of a commit with this digest: one that is entered, whether or not it was revoked since.
    pub fn signer_of(&self, digest: &[u8; 32], key: &[u8; 32], signature: &[u8]) -> Option<&Signer> {
        let signer = self.signers.iter().find(|one| one.key == *key)?;
        is_signed_by(key, Domain::Commit, &[&self.repository, digest], signature).then_some(signer)
    }
}

impl SignerFile {
    /// # Errors
    /// `InvalidArgument`, which repeats nothing of the file; `Unsupported` for another version.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let odd = || invalid("is not what `vark key signer add` wrote");
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= SIGNER_FILE_BYTES_MAX);
        let text = text.ok_or_else(odd)?;
        check_strict(text, Layer::Seal).map_err(|_| odd())?;
        let fields: Fields<'_> = serde_json::from_str(text).map_err(|_| odd())?;
        if (fields.kind, fields.version) != (KIND, 1) {
            return Err(Error::unsupported(Layer::Seal, PLACE, "is of another version; use a newer vark"));
        }
        let repository = unhex(fields.repository).ok_or_else(odd)?;
        let secret = |digits: &str| unhex(digits).map(|mut bytes| Secret::take(&mut bytes)).ok_or_else(odd);
        let session = match fields.write_only {
            None => None,
            Some(own) => {
                let recipient = Recipient::parse(own.recipient).map_err(|_| odd())?;
                let epoch = EpochRecipient { repository, epoch: own.epoch, recipient };
                let (root, wrapped) = epoch.new_session_root()?;
                let suite = Suite::from_number(own.suite)?;
                let fingerprint_key = secret(own.cache_key)?;
                Some(Session { suite, epoch: own.epoch, root, wrapped, fingerprint_key })
            }
        };
        let signing_key = SigningKey::from_seed(secret(fields.signing_key)?)?;
        Ok(Self { name: fields.name, repository, signing_key, session })
    }

    pub fn key(&self) -> &[u8; 32] {
        self.signing_key.public()
    }

    pub fn is_write_only(&self) -> bool {
        self.session.is_some()
    }

    /// A signature of the commit with this digest.
    ///
    /// # Errors
    /// None in practice.
    pub fn sign(&self, digest: &[u8; 32]) -> Result<[u8; 64]> {
        self.signing_key.sign(Domain::Commit, &[&self.repository, digest])
    }

    /// How archives of this session are sealed.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not write-only.
    pub fn sealing(&self) -> Result<Sealing> {
        let Session { suite, root, .. } = self.session()?;
        Ok(Sealing::of_repository(*suite, self.root()?, root.clone(), self.repository))
    }

    /// # Errors
    /// As `sealing`; `Io` without random bytes.
    pub fn new_record(&self, record: [u8; 16]) -> Result<NewRecord> {
        let Session { suite, root, .. } = self.session()?;
        NewRecord::new(*suite, self.root()?, root, self.repository, record)
    }

    /// The writer's own: rows of its archives are compared under it, by nobody else.
    ///
    /// # Errors
    /// As `sealing`.
    pub fn fingerprint_key(&self) -> Result<&[u8; 32]> {
        Ok(self.session()?.fingerprint_key.expose())
    }

    fn root(&self) -> Result<Root> {
        let Session { epoch, wrapped, .. } = self.session()?;
        Ok(Root::Session(*epoch, *wrapped))
    }

    fn session(&self) -> Result<&Session> {
        self.session.as_ref().ok_or_else(|| invalid("is of a signer who is not write-only; give keys, too"))
    }
}

/// A write-only writer opens nothing.
impl KeySource for SignerFile {
    fn access_key(&self, _slots: &[Slot]) -> Result<Secret> {
        Err(write_only())
    }

    fn epoch_root(&self, _repository: &[u8; 16], _epoch: u32) -> Result<Secret> {
        Err(write_only())
    }

    fn is_given(&self) -> bool {
        true
    }
}

fn write_only() -> Error {
    let detail = "is encrypted, and a write-only client can read nothing back; open the repository with a key";
    Error::new(ErrorKind::KeyNeeded, "", detail)
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, PLACE, detail)
}
