//! The private half of a keyring: written into memory that is wiped, read without a copy of its secrets (spec 7.1).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::public::Public;
use super::{Epoch, Keyring, Signer, damaged};
use crate::archive::metadata::check_strict;
use crate::error::{Layer, Result};
use crate::limits::{EPOCHS_MAX, SIGNERS_MAX};
use crate::seal::{Secret, SigningKey, Suite, hex, unhex};

#[derive(Deserialize)]
struct Fields<'a> {
    authority_secret: &'a str,
    #[serde(borrow)]
    epochs: Vec<EpochFields<'a>>,
    fingerprint_key: &'a str,
    labels: BTreeMap<String, String>,
    name_key: &'a str,
    signers: Vec<SignerFields>,
}

#[derive(Deserialize)]
struct EpochFields<'a> {
    created_unix_ms: u64,
    epoch: u32,
    root: &'a str,
    state: &'a str,
}

#[derive(Deserialize)]
struct SignerFields {
    key: String,
    name: String,
    revoked_unix_ms: Option<u64>,
    write_only: bool,
}

/// # Errors
/// `Damaged` at layer `Seal`.
pub(super) fn parse(body: &[u8], public: &Public, repository: [u8; 16], suite: Suite) -> Result<Keyring> {
    // No message of a parser: it could repeat what it read.
    let odd = || damaged("its private part is not as it is written");
    let text = std::str::from_utf8(body).map_err(|_| odd())?;
    check_strict(text, Layer::Seal).map_err(|_| odd())?;
    let fields: Fields<'_> = serde_json::from_str(text).map_err(|_| odd())?;
    if !(1..=EPOCHS_MAX).contains(&fields.epochs.len()) || fields.signers.len() > SIGNERS_MAX {
        return Err(damaged(format!("{} epochs, expected 1 to {EPOCHS_MAX}", fields.epochs.len())));
    }
    let last = fields.epochs.len();
    let mut epochs = Vec::with_capacity(last);
    for (number, epoch) in (1..).zip(&fields.epochs) {
        let state = if number == last { "active" } else { "retired" };
        if usize::try_from(epoch.epoch).ok() != Some(number) || epoch.state != state {
            return Err(damaged("epochs are not 1, 2 … with the last one active"));
        }
        let root = secret(epoch.root)?;
        epochs.push(Epoch { number: epoch.epoch, root, created_unix_ms: epoch.created_unix_ms });
    }
    let authority = SigningKey::from_seed(secret(fields.authority_secret)?)?;
    if authority.public() != &public.authority {
        return Err(damaged("its authority is not that of the secret in it"));
    }
    let signer = |signer: SignerFields| {
        let key = unhex(&signer.key).ok_or_else(odd)?;
        let SignerFields { name, revoked_unix_ms, write_only, .. } = signer;
        Ok(Signer { name, key, is_write_only: write_only, revoked_unix_ms })
    };
    Ok(Keyring {
        repository,
        suite,
        generation: public.generation,
        slots: public.slots.clone(),
        endorsements: public.endorsements.clone(),
        epochs,
        labels: fields.labels,
        signers: fields.signers.into_iter().map(signer).collect::<Result<_>>()?,
        authority,
        fingerprint_key: secret(fields.fingerprint_key)?,
        name_key: secret(fields.name_key)?,
    })
}

fn secret(digits: &str) -> Result<Secret> {
    let mut bytes = unhex(digits).ok_or_else(|| damaged("a key in it is not 64 hexadecimal digits"))?;
    Ok(Secret::take(&mut bytes))
}

/// In canonical form. The bytes have room for the tag, so that sealing leaves no copy behind.
///
/// # Errors
/// None for a keyring of a writer.
pub(super) fn encode(keyring: &Keyring) -> Result<Zeroizing<Vec<u8>>> {
    let odd = |error: serde_json::Error| damaged(error.to_string());
    let labels = serde_json::to_string(&keyring.labels).map_err(odd)?;
    let signers = signers(&keyring.signers).map_err(odd)?;
    let room = 1024 + 256 * keyring.epochs.len() + labels.len() + signers.len();
    let mut text = Zeroizing::new(String::with_capacity(room));
    let digits = |secret: &Secret| Zeroizing::new(hex(secret.expose()));
    let mut write = |part: std::fmt::Arguments<'_>| text.write_fmt(part).map_err(|_| damaged("cannot be written"));
    write(format_args!("{{\"authority_secret\":\"{}\",\"epochs\":[", digits(keyring.authority.seed()).as_str()))?;
    for (number, epoch) in keyring.epochs.iter().enumerate() {
        let state = if number + 1 == keyring.epochs.len() { "active" } else { "retired" };
        let comma = if number == 0 { "" } else { "," };
        let (created, root) = (epoch.created_unix_ms, digits(&epoch.root));
        write(format_args!("{comma}{{\"created_unix_ms\":{created},\"epoch\":{},\"root\":\"", epoch.number))?;
        write(format_args!("{}\",\"state\":\"{state}\"}}", root.as_str()))?;
    }
    write(format_args!("],\"fingerprint_key\":\"{}\"", digits(&keyring.fingerprint_key).as_str()))?;
    write(format_args!(",\"labels\":{labels},\"name_key\":\"{}\"", digits(&keyring.name_key).as_str()))?;
    write(format_args!(",\"signers\":{signers}}}"))?;
    Ok(Zeroizing::new(std::mem::take(&mut *text).into_bytes()))
}

fn signers(signers: &[Signer]) -> serde_json::Result<String> {
    let all = signers.iter().map(|signer| {
        serde_json::json!({
            "key": hex(&signer.key),
            "name": signer.name,
            "revoked_unix_ms": signer.revoked_unix_ms,
            "write_only": signer.is_write_only,
        })
    });
    serde_json::to_string(&all.collect::<Vec<_>>())
}
