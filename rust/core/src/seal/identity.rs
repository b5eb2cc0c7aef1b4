//! X25519 keys in the forms of age: `age1…` and `AGE-SECRET-KEY-1…` (spec 6.2).

use std::fmt;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use super::{Secret, invalid};
use crate::error::Result;
use crate::limits::IDENTITY_FILE_BYTES_MAX;

const RECIPIENT_PREFIX: &str = "age";
const IDENTITY_PREFIX: &str = "AGE-SECRET-KEY-";

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Recipient(pub [u8; 32]);

/// A secret key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(Secret);

impl Recipient {
    /// # Errors
    /// `InvalidArgument`.
    pub fn parse(text: &str) -> Result<Self> {
        let decoded = decode_bech32(RECIPIENT_PREFIX, text);
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match decoded.filter(|_| lower) {
            Some(bytes) => Ok(Self(*bytes)),
            // The text is not repeated: it may be the identity by mistake.
            None => Err(invalid("recipient", "what was given is no age recipient (age1…)".to_owned())),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hrp = Hrp::parse(RECIPIENT_PREFIX).map_err(|_| fmt::Error)?;
        bech32::encode_lower_to_fmt::<Bech32, _>(f, hrp, &self.0).map_err(|_| fmt::Error)
    }
}

impl Identity {
    pub fn from_secret(secret: Secret) -> Self {
        Self(secret)
    }

    /// # Errors
    /// `Io` without random bytes.
    pub fn random() -> Result<Self> {
        Secret::random().map(Self)
    }

    /// One `AGE-SECRET-KEY-1…`.
    ///
    /// # Errors
    /// `InvalidArgument`, which does not repeat the text.
    pub fn parse(text: &str) -> Result<Self> {
        let decoded = decode_bech32(IDENTITY_PREFIX, text);
        let upper = !text.bytes().any(|byte| byte.is_ascii_lowercase());
        match decoded.filter(|_| upper) {
            Some(mut bytes) => Ok(Self(Secret::take(&mut bytes))),
            None => Err(invalid("identity", "is no age identity (AGE-SECRET-KEY-1…)")),
        }
    }

    /// All identities of an identity file.
    ///
    /// # Errors
    /// `InvalidArgument` for a file without one, one that is too long, or a line that is none.
    pub fn parse_file(bytes: &[u8]) -> Result<Vec<Self>> {
        if bytes.len() > IDENTITY_FILE_BYTES_MAX {
            let detail = format!("{} bytes, expected at most {IDENTITY_FILE_BYTES_MAX}", bytes.len());
            return Err(invalid("identity file", detail));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("identity file", "is not UTF-8"))?;
        let mut found = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                let parsed = Self::parse(line);
                found.push(parsed.map_err(|error| error.within(&format!("identity file, line {}", number + 1)))?);
            }
        }
        if found.is_empty() {
            return Err(invalid("identity file", "holds no identity"));
        }
        Ok(found)
    }

    /// The text of an identity file's line; wiped when dropped.
    pub fn reveal(&self) -> Zeroizing<String> {
        let hrp = Hrp::parse(IDENTITY_PREFIX);
        let encoded = hrp.ok().and_then(|hrp| bech32::encode_upper::<Bech32>(hrp, self.0.expose()).ok());
        Zeroizing::new(encoded.unwrap_or_default())
    }

    pub fn recipient(&self) -> Recipient {
        Recipient(PublicKey::from(&StaticSecret::from(*self.0.expose())).to_bytes())
    }

    /// `None` for a share of small order, which gives the same secret with every identity.
    pub(super) fn agree(&self, share: &[u8; 32]) -> Option<Secret> {
        let shared = StaticSecret::from(*self.0.expose()).diffie_hellman(&PublicKey::from(*share));
        shared.was_contributory().then(|| Secret::take(&mut shared.to_bytes()))
    }
}

/// 32 bytes behind a prefix; BIP 173 gives no length limit here. Whatever else was decoded is wiped.
pub(super) fn decode_bech32(prefix: &str, text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let checked = CheckedHrpstring::new::<Bech32>(text).ok()?;
    if !checked.hrp().to_string().eq_ignore_ascii_case(prefix) {
        return None;
    }
    // 52 characters carry 260 bits; those behind the 256th are zeros.
    checked.validate_segwit_padding().ok()?;
    let mut bytes = Zeroizing::new([0; 32]);
    let mut decoded = checked.byte_iter();
    for byte in bytes.iter_mut() {
        *byte = decoded.next()?;
    }
    match decoded.next() {
        None => Some(bytes),
        Some(_) => {
            bytes.zeroize();
            None
        }
    }
}
