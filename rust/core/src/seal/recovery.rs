//! The recovery code (spec 6.3): 256 random bits that a person can type.

use bech32::{Bech32, Hrp};
use zeroize::Zeroizing;

use super::identity::decode_bech32;
use super::{Secret, invalid};
use crate::error::Result;

const PREFIX: &str = "varkrecovery";
const GROUP_CHARS: usize = 5;
/// A code has 71 characters; blanks and hyphens may double that.
const TEXT_BYTES_MAX: usize = 1_024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryCode(Secret);

impl RecoveryCode {
    /// # Errors
    /// `Io` without random bytes.
    pub fn random() -> Result<Self> {
        Secret::random().map(Self)
    }

    pub fn from_secret(secret: Secret) -> Self {
        Self(secret)
    }

    /// Blanks and hyphens are dropped, either case is taken.
    ///
    /// # Errors
    /// `InvalidArgument`, which does not repeat the text: a typing error, or no code at all.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(invalid("recovery code", "is too long"));
        }
        let mut typed = Zeroizing::new(String::with_capacity(text.len()));
        typed.extend(text.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()));
        match decode_bech32(PREFIX, &typed) {
            Some(mut bytes) => Ok(Self(Secret::take(&mut bytes))),
            None => Err(invalid("recovery code", "has a typing error: its checksum does not fit")),
        }
    }

    /// As it is printed, once.
    pub fn reveal(&self) -> Zeroizing<String> {
        let code = Hrp::parse(PREFIX).ok().and_then(|hrp| bech32::encode_upper::<Bech32>(hrp, self.0.expose()).ok());
        let code = Zeroizing::new(code.unwrap_or_default());
        let mut grouped = Zeroizing::new(String::with_capacity(2 * code.len()));
        for (at, character) in code.chars().enumerate() {
            if at > 0 && at % GROUP_CHARS == 0 {
                grouped.push('-');
            }
            grouped.push(character);
        }
        grouped
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.0
    }
}
