//! Argon2id with bounded parameters (spec 6.1).

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use super::{Secret, damaged, invalid};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_DEFAULT, ARGON2_MEMORY_KIB_MAX, ARGON2_MEMORY_KIB_MIN, ARGON2_PASSES_MAX,
    ARGON2_WORK_MAX, PASSPHRASE_BYTES_MAX,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
}

impl Default for Argon2Cost {
    fn default() -> Self {
        Self { memory_kib: ARGON2_MEMORY_KIB_DEFAULT, passes: 3, lanes: 4 }
    }
}

impl Argon2Cost {
    /// # Errors
    /// `Damaged` at layer `Seal` for more than a reader spends, or less than anyone wrote.
    pub fn check(&self, place: &str) -> Result<()> {
        let Self { memory_kib, passes, lanes } = *self;
        if !(ARGON2_MEMORY_KIB_MIN..=ARGON2_MEMORY_KIB_MAX).contains(&memory_kib) {
            let expected = format!("{ARGON2_MEMORY_KIB_MIN} to {ARGON2_MEMORY_KIB_MAX}");
            return Err(damaged(place, format!("asks for {memory_kib} KiB of memory, expected {expected}")));
        }
        if !(1..=ARGON2_PASSES_MAX).contains(&passes) || !(1..=ARGON2_LANES_MAX).contains(&lanes) {
            let expected = format!("1 to {ARGON2_PASSES_MAX} and 1 to {ARGON2_LANES_MAX}");
            return Err(damaged(place, format!("asks for {passes} passes and {lanes} lanes, expected {expected}")));
        }
        let work = u64::from(memory_kib) * u64::from(passes);
        if work > ARGON2_WORK_MAX {
            return Err(damaged(place, format!("asks for {work} KiB in all passes, at most {ARGON2_WORK_MAX}")));
        }
        Ok(())
    }
}

/// # Errors
/// `InvalidArgument` for an empty or too long passphrase.
pub(super) fn check_passphrase(passphrase: &[u8]) -> Result<()> {
    if (1..=PASSPHRASE_BYTES_MAX).contains(&passphrase.len()) {
        return Ok(());
    }
    let detail = format!("has {} bytes, expected 1 to {PASSPHRASE_BYTES_MAX}", passphrase.len());
    Err(invalid("passphrase", detail))
}

/// The slot secret. The cost was checked; memory that cannot be had is an error, not an abort.
pub(super) fn slot_secret(passphrase: &[u8], salt: &[u8; 32], cost: Argon2Cost, place: &str) -> Result<Secret> {
    cost.check(place)?;
    check_passphrase(passphrase)?;
    let refused = |what: &dyn std::fmt::Display| damaged(place, format!("Argon2id refuses its parameters: {what}"));
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(|what| refused(&what))?;
    let mut blocks: Vec<Block> = Vec::new();
    blocks.try_reserve_exact(params.block_count()).map_err(|_| {
        let detail = format!("needs {} KiB of memory, which this machine does not give", cost.memory_kib);
        Error::new(ErrorKind::LimitExceeded, place, detail)
    })?;
    blocks.resize(params.block_count(), Block::new());
    let mut out = [0; 32];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hashed = argon2.hash_password_into_with_memory(passphrase, salt, &mut out, &mut blocks[..]);
    for block in &mut blocks {
        block.zeroize();
    }
    let secret = Secret::take(&mut out);
    hashed.map_err(|what| refused(&what))?;
    Ok(secret)
}
