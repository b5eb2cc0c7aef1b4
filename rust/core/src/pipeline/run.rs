//! What all attempts of a backup have in common: base, keys, and how each begins an archive.

use super::cache::ChunkCache;
use super::coding::Coding;
use super::delta::{Base, FingerprintKey};
use super::pack::PackOptions;
use super::shadow::Shadowing;
use crate::archive::{Archive, ArchiveId, ArchiveWriter, Sealing};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Plan;
use std::sync::Arc;

/// A plan for streams that are there already, and whether something is missing from them.
pub(super) struct Planned {
    pub plan: Plan,
    pub is_partial: bool,
}

/// What all attempts have in common.
pub(super) struct Run<'a> {
    pub options: &'a PackOptions,
    pub sealing: Option<Sealing>,
    pub base: Option<Base>,
    pub fingerprint_key: Option<FingerprintKey>,
    /// The plan of a backup that has no members to split.
    pub planned: Option<Planned>,
}

impl<'a> Run<'a> {
    /// # Errors
    /// `InvalidArgument` for a protection that cannot be had, `KeyNeeded`.
    pub fn new(options: &'a PackOptions) -> Result<Self> {
        let sealing = match &options.base {
            Some(base) => sealing_like(base.reader.archive(), options.seal.as_ref(), "base")?,
            None => options.seal.clone(),
        };
        // A single sealed archive has a key of fingerprints of its own.
        let own = sealing.as_ref().and_then(Sealing::fingerprint_key).map(FingerprintKey);
        let key_of = |given: Option<FingerprintKey>| given.map(|given| own.unwrap_or(given));
        let base = options.base.clone().map(|base| {
            let key = key_of(base.key);
            base.with_key(key)
        });
        Ok(Self { options, sealing, base, fingerprint_key: key_of(options.fingerprint_key), planned: None })
    }

    /// The local cache, if it may have what is in the archive: rows of an encrypted one lie nowhere in the clear.
    pub fn cache(&self) -> Option<Arc<ChunkCache>> {
        self.options.cache.clone().filter(|cache| self.sealing.is_none() || cache.is_sealed())
    }

    pub fn coding(&self, writer: &ArchiveWriter, keeps_ids: bool) -> Coding {
        let PackOptions { compression, order, .. } = *self.options;
        Coding { compression, order, keeps_ids, key: writer.object_key(), cache: self.cache() }
    }

    /// The shadow of an archive that is begun, where one is wanted.
    pub fn shadow(&self, writer: &ArchiveWriter) -> Option<Shadowing> {
        let (place, key) = self.options.shadow.as_ref().zip(writer.object_key())?;
        Some(Shadowing::start(place, writer.id(), key))
    }

    /// A writer of a new archive: each attempt has a salt of its own.
    ///
    /// # Errors
    /// Those of `ArchiveWriter`.
    pub fn writer(&self) -> Result<ArchiveWriter> {
        let archive_id = self.options.archive_id.unwrap_or_else(ArchiveId::new);
        let writer = match &self.base {
            Some(base) => ArchiveWriter::delta(archive_id, base.ancestors())?,
            None => ArchiveWriter::new(archive_id),
        };
        let Some(sealing) = &self.sealing else { return Ok(writer) };
        let ancestors = self.base.as_ref().and_then(|base| base.reader.archive().seal_sources());
        writer.sealed(sealing, ancestors.unwrap_or_default())
    }
}

/// How what is made of an archive is sealed: exactly if that is, under its keys. `given`: those of its repository, which an
/// archive does not hold.
///
/// # Errors
/// `InvalidArgument` for a protection that cannot be had; `KeyNeeded` without the keys of a repository.
pub(super) fn sealing_like(archive: &Archive, given: Option<&Sealing>, place: &str) -> Result<Option<Sealing>> {
    let refused = |detail| Err(Error::new(ErrorKind::InvalidArgument, place, detail));
    match (archive.repository(), archive.sealing(), given) {
        (None, _, None) => Ok(None),
        (None, _, Some(_)) => refused("is not encrypted, and neither is a delta on it; write a full archive"),
        (Some(_), Some(own), None) => Ok(Some(own)),
        (Some(_), Some(_), Some(_)) => {
            refused("is encrypted, and what is made of it has the same keys; give no others")
        }
        (Some(_), None, None) => {
            let detail = "is of an encrypted repository; what is made of it needs the repository's keys";
            Err(Error::new(ErrorKind::KeyNeeded, place, detail))
        }
        (Some(own), None, Some(given)) if given.repository == own => Ok(Some(given.clone())),
        (Some(_), None, Some(_)) => refused("is of an encrypted repository, and the keys are of another"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::seal::{Identity, SlotKind, Suite};
    use std::collections::HashSet;

    #[test]
    fn each_attempt_has_a_salt_of_its_own_though_id_and_keys_are_the_same() {
        let recipient = Identity::random().unwrap().recipient();
        let seal = Sealing::single(Suite::Aes256Gcm, vec![SlotKind::Recipient(recipient)]).unwrap();
        let options = PackOptions { seal: Some(seal), ..crate::testing::pack_options() };
        let run = Run::new(&options).unwrap();
        let writers: Vec<_> = (0..20).map(|_| run.writer().unwrap()).collect();
        assert!(writers.iter().all(|writer| Some(writer.id()) == options.archive_id));
        let commitments = writers.iter().map(|writer| *writer.object_key().unwrap().commitment());
        assert_eq!(commitments.collect::<HashSet<_>>().len(), 20);
    }
}
