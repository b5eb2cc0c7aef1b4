//! Age v1 files of one small chunk (C2SP `age`): how an access key is wrapped (spec 6.2). `age -d` opens them, too.
//!
//! Only what a key slot needs: stanzas of type X25519, a payload of exactly one chunk. The bodies are long since
//! checked for their length when anything is decrypted, so that no stanza tells two identities apart.

use base64ct::{Base64Unpadded, Encoding};
use zeroize::Zeroizing;

use super::identity::{Identity, Recipient};
use super::secret::{equal, fill_secret, hkdf_sha256, hmac_sha256};
use super::suite::{Cipher, NONCE_BYTES};
use super::{Secret, Suite, damaged};
use crate::error::Result;
use crate::limits::SEALED_OVERHEAD_BYTES;

const VERSION_LINE: &str = "age-encryption.org/v1";
const X25519_INFO: &[u8] = b"age-encryption.org/v1/X25519";
const FILE_KEY_BYTES: usize = 16;
const WRAPPED_FILE_KEY_BYTES: usize = FILE_KEY_BYTES + SEALED_OVERHEAD_BYTES;
const PAYLOAD_NONCE_BYTES: usize = 16;
const PAYLOAD_BYTES: usize = PAYLOAD_NONCE_BYTES + 32 + SEALED_OVERHEAD_BYTES;
const STANZAS_MAX: usize = 16;
const COLUMNS: usize = 64;
const ZERO_NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];
/// Counter 0, and the mark of the last chunk.
const ONLY_CHUNK: [u8; NONCE_BYTES] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// What a file draws from the random generator.
pub(super) struct Draw {
    pub ephemeral: Identity,
    pub file_key: FileKey,
    pub nonce: [u8; PAYLOAD_NONCE_BYTES],
}

impl Draw {
    pub fn random() -> Result<Self> {
        let mut file_key = Zeroizing::new([0; FILE_KEY_BYTES]);
        fill_secret(file_key.as_mut_slice())?;
        Ok(Self { ephemeral: Identity::random()?, file_key, nonce: super::random()? })
    }
}

/// An age file that holds `access_key`, for one recipient.
pub(super) fn wrap(access_key: &Secret, recipient: &Recipient, draw: &Draw) -> Result<Vec<u8>> {
    let share = draw.ephemeral.recipient();
    let Some(shared) = draw.ephemeral.agree(&recipient.0) else {
        return Err(super::invalid("recipient", format!("{recipient} is of small order: no key can be wrapped to it")));
    };
    let mut body = Zeroizing::new(draw.file_key.to_vec());
    chacha(&wrap_key(&shared, &share, recipient))?.seal(ZERO_NONCE, &[], &mut body)?;
    let mut file = format!(
        "{VERSION_LINE}\n-> X25519 {}\n{}\n---",
        Base64Unpadded::encode_string(&share.0),
        Base64Unpadded::encode_string(&body)
    );
    let mac = header_mac(&draw.file_key, file.as_bytes());
    file.push(' ');
    file.push_str(&Base64Unpadded::encode_string(&mac));
    file.push('\n');
    // Sealed where it is: a buffer that grows leaves what it held behind.
    let mut payload = Vec::with_capacity(access_key.expose().len() + SEALED_OVERHEAD_BYTES);
    payload.extend_from_slice(access_key.expose());
    chacha(&payload_key(&draw.file_key, &draw.nonce))?.seal(ONLY_CHUNK, &[], &mut payload)?;
    let mut file = file.into_bytes();
    file.extend_from_slice(&draw.nonce);
    file.extend_from_slice(&payload);
    Ok(file)
}

/// # Errors
/// `Damaged` at layer `Seal`: not such a file, or not for this identity (which the caller has compared before).
pub(super) fn unwrap(file: &[u8], identity: &Identity, place: &str) -> Result<Secret> {
    let refused = |what: &str| damaged(place, format!("its wrapped key {what}"));
    let header = Header::parse(file).map_err(refused)?;
    let file_key = header.file_key(identity)?.map_err(refused)?;
    if header.payload.len() != PAYLOAD_BYTES {
        return Err(refused("is not 32 bytes long"));
    }
    let (nonce, chunk) = header.payload.split_at(PAYLOAD_NONCE_BYTES);
    let mut chunk = Zeroizing::new(chunk.to_vec());
    let opened = chacha(&payload_key(&file_key, nonce))?.open(ONLY_CHUNK, &[], chunk.as_mut_slice());
    let opened = opened.ok_or_else(|| refused("was altered"))?;
    let mut access_key = [0; 32];
    access_key.copy_from_slice(opened);
    Ok(Secret::take(&mut access_key))
}

/// Or what is wrong with it.
type Parsed<T> = std::result::Result<T, &'static str>;
type FileKey = Zeroizing<[u8; FILE_KEY_BYTES]>;

struct Stanza {
    share: [u8; 32],
    body: [u8; WRAPPED_FILE_KEY_BYTES],
}

struct Header<'a> {
    /// Of type X25519.
    stanzas: Vec<Stanza>,
    /// What the MAC is over.
    covered: &'a [u8],
    mac: [u8; 32],
    payload: &'a [u8],
}

impl<'a> Header<'a> {
    /// The key of the file, by the first stanza that opens; the MAC proves all of the header.
    fn file_key(&self, identity: &Identity) -> Result<Parsed<FileKey>> {
        let recipient = identity.recipient();
        for stanza in &self.stanzas {
            let Some(shared) = identity.agree(&stanza.share) else { return Ok(Err("has a share of small order")) };
            let mut body = Zeroizing::new(stanza.body);
            let key = wrap_key(&shared, &Recipient(stanza.share), &recipient);
            if let Some(opened) = chacha(&key)?.open(ZERO_NONCE, &[], body.as_mut_slice()) {
                let mut found = Zeroizing::new([0; FILE_KEY_BYTES]);
                found.copy_from_slice(opened);
                let is_proved = equal(&header_mac(&found, self.covered), &self.mac);
                return Ok(if is_proved { Ok(found) } else { Err("has another header than was written") });
            }
        }
        Ok(Err("is not for this identity, or was altered"))
    }

    fn parse(file: &'a [u8]) -> Parsed<Self> {
        let mut lines = Lines { file, position: 0 };
        if lines.next()? != VERSION_LINE {
            return Err("is no age file of version 1");
        }
        let (mut stanzas, mut stanza_count) = (Vec::new(), 0);
        loop {
            let start = lines.position;
            let line = lines.next()?;
            if let Some(mac) = line.strip_prefix("--- ") {
                if stanza_count == 0 {
                    return Err("has no stanza");
                }
                let mac = decode::<32>(mac).ok_or("has a MAC that is not 32 bytes")?;
                let covered = &file[..start + "---".len()];
                return Ok(Self { stanzas, covered, mac, payload: &file[lines.position..] });
            }
            stanza_count += 1;
            if stanza_count > STANZAS_MAX {
                return Err("has too many stanzas");
            }
            stanzas.extend(lines.stanza(line)?);
        }
    }
}

struct Lines<'a> {
    file: &'a [u8],
    position: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Parsed<&'a str> {
        let rest = &self.file[self.position..];
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or("ends within its header")?;
        self.position += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| "has a header that is not text")
    }

    /// The rest of a stanza; `None` for one of another type, which is checked for its form only.
    fn stanza(&mut self, line: &str) -> Parsed<Option<Stanza>> {
        let mut arguments =
            line.strip_prefix("-> ").ok_or("has a stanza that does not begin with an arrow")?.split(' ');
        let is_argument = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !arguments.clone().all(is_argument) {
            return Err("has a stanza with an empty argument");
        }
        let mut body = String::new();
        loop {
            let line = self.next()?;
            body.push_str(line);
            match line.len() {
                COLUMNS => {}
                0..COLUMNS => break,
                _ => return Err("has a stanza with a line that is too long"),
            }
        }
        let bytes = Base64Unpadded::decode_vec(&body).map_err(|_| "has a stanza that is not base64")?;
        if arguments.next() != Some("X25519") {
            return Ok(None);
        }
        let share =
            arguments.next().and_then(decode::<32>).ok_or("has an X25519 stanza whose share is not 32 bytes")?;
        if arguments.next().is_some() {
            return Err("has an X25519 stanza with too many arguments");
        }
        let body = bytes.try_into().map_err(|_| "has an X25519 stanza whose body is not 32 bytes")?;
        Ok(Some(Stanza { share, body }))
    }
}

/// Canonical base64 of so many bytes.
fn decode<const COUNT: usize>(text: &str) -> Option<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    let decoded = Base64Unpadded::decode(text, &mut bytes).ok()?;
    (decoded.len() == COUNT).then_some(bytes)
}

fn wrap_key(shared: &Secret, share: &Recipient, recipient: &Recipient) -> Secret {
    let mut salt = [0; 64];
    salt[..32].copy_from_slice(&share.0);
    salt[32..].copy_from_slice(&recipient.0);
    age_key(shared.expose(), &salt, X25519_INFO)
}

fn payload_key(file_key: &[u8; FILE_KEY_BYTES], nonce: &[u8]) -> Secret {
    age_key(file_key, nonce, b"payload")
}

fn header_mac(file_key: &[u8; FILE_KEY_BYTES], covered: &[u8]) -> [u8; 32] {
    hmac_sha256(age_key(file_key, &[], b"header").expose(), &[covered])
}

fn age_key(key: &[u8], salt: &[u8], info: &[u8]) -> Secret {
    let mut out = [0; 32];
    hkdf_sha256(key, salt, &[info], &mut out);
    Secret::take(&mut out)
}

fn chacha(key: &Secret) -> Result<Cipher> {
    Cipher::new(Suite::ChaCha20Poly1305, key)
}

/// For the test vectors of age, whose payloads are no access keys.
#[cfg(test)]
pub(super) fn file_key_of(file: &[u8], identity: &Identity) -> std::result::Result<[u8; FILE_KEY_BYTES], String> {
    let header = Header::parse(file)?;
    let key = header.file_key(identity).map_err(|error| error.to_string())?;
    Ok(*key?)
}
