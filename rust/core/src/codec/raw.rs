//! Codec 0 (spec, `codecs/raw.md`): the bytes themselves.

use super::Codec;
use crate::error::Result;

pub(super) fn encode(raw: &[u8], block: &mut Vec<u8>) {
    block.clear();
    block.extend_from_slice(raw);
}

pub(super) fn decode(block: &[u8], raw: &mut [u8]) -> Result<()> {
    if block.len() != raw.len() {
        return Err(Codec::Raw.refuses(format_args!("has {} bytes, expected {}", block.len(), raw.len())));
    }
    raw.copy_from_slice(block);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing;

    testing::conformance!(Codec::Raw, |_, raw, block, _| {
        encode(raw, block);
        Ok(true)
    });
}
