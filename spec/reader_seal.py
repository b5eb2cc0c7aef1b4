"""Keys and sealed parts for reader.py (CRYPTO.md, sections 3 to 6), with the Python package `cryptography`.

`secrets` of an archive are tried one after another: bytes are a passphrase, texts an identity
(`AGE-SECRET-KEY-1…`) or a recovery code (`VARKRECOVERY1…`).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from reader_codecs import ArchiveFault, need

ARCHIVE, KEYRING, RECORD = 1, 2, 3
BLOCK, INDEX_BLOCK, DIRECTORY, METADATA, BODY = 1, 2, 3, 4, 5
OVERHEAD, SLOTS_MAX, WRAPPED_CHARS_MAX = 16, 64, 4_096
SUITES: dict[int, Any] = {1: AESGCM, 2: ChaCha20Poly1305}
CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
Secret = bytes | str


class WrongKeyError(ValueError):
    """It is sealed, and no secret that was given opens it."""


def hkdf(key: bytes, salt: bytes, info: bytes, length: int = 32) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(key)


def kdf(key: bytes, salt: bytes, purpose: str, context: bytes = b"", length: int = 32) -> bytes:
    return hkdf(key, salt, b"vark-seal-v1 " + purpose.encode() + b"\0" + context, length)


@dataclass(frozen=True)
class Binding:
    """What an object's key is bound to."""

    suite: int
    object_type: int
    epoch: int
    repository: bytes
    object_id: bytes

    def context(self) -> bytes:
        return struct.pack("<HHI16s16s4x", self.suite, self.object_type, self.epoch, self.repository, self.object_id)


class ObjectKey:
    """The key of one object; `commitment` is for the caller to compare."""

    def __init__(self, root: bytes, salt: bytes, binding: Binding) -> None:
        both = kdf(root, salt, "object", binding.context(), 64)
        self.binding, self.key, self.commitment = binding, both[:32], both[32:]
        self._cipher = SUITES[binding.suite](self.key)

    def associated(self, kind: int, stream: int = 0, chunk: int = 0) -> bytes:
        b = self.binding
        head = struct.pack("<8sHHHBB", b"VARKSEAL", 1, b.suite, b.object_type, kind, 0)
        return head + b.repository + b.object_id + struct.pack("<IIQ", b.epoch, stream, chunk)

    def seal(self, data: bytes, kind: int, stream: int = 0, chunk: int = 0, public_digest: bytes = b"") -> bytes:
        associated = self.associated(kind, stream, chunk) + public_digest
        return bytes(self._cipher.encrypt(nonce(kind, stream, chunk), data, associated))

    def open(
        self, data: bytes, place: str, kind: int, stream: int = 0, chunk: int = 0, public_digest: bytes = b""
    ) -> bytes:
        associated = self.associated(kind, stream, chunk) + public_digest
        try:
            return bytes(self._cipher.decrypt(nonce(kind, stream, chunk), data, associated))
        except InvalidTag:
            raise ArchiveFault("seal", place, "was altered, or belongs to another archive or key") from None


def nonce(kind: int, stream: int = 0, chunk: int = 0) -> bytes:
    return struct.pack(">BxHQ", kind, stream, chunk)


# Bech32 (BIP 173, any length), for 32 bytes.


def bech32_encode(prefix: str, data: bytes) -> str:
    bits = int.from_bytes(data, "big") << (-8 * len(data) % 5)
    count = -(-8 * len(data) // 5)
    values = [bits >> (5 * (count - 1 - at)) & 31 for at in range(count)]
    check = _polymod([*_expand(prefix), *values, 0, 0, 0, 0, 0, 0]) ^ 1
    return prefix + "1" + "".join(CHARSET[v] for v in [*values, *(check >> 5 * (5 - at) & 31 for at in range(6))])


def bech32_decode(prefix: str, text: str) -> bytes | None:
    """32 bytes, or None."""
    if text not in (text.lower(), text.upper()):
        return None
    head, _, tail = text.lower().rpartition("1")
    if head != prefix or len(tail) != 58 or set(tail) - set(CHARSET):
        return None
    values = [CHARSET.index(character) for character in tail]
    bits = sum(value << 5 * (51 - at) for at, value in enumerate(values[:52]))
    if _polymod([*_expand(prefix), *values]) != 1 or bits & 15:
        return None
    return (bits >> 4).to_bytes(32, "big")


def _expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def _polymod(values: Sequence[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check


def recipient_of(identity: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(identity).public_key().public_bytes_raw()


def agree(identity: bytes, share: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(identity).exchange(X25519PublicKey.from_public_bytes(share))


def unwrap_age(file: bytes, identity: bytes, place: str) -> bytes:
    """The 32 bytes in an age file for this identity."""
    header = re.match(rb"(age-encryption\.org/v1\n((?:-> [!-~ ]+\n(?:[\w+/]{64}\n)*[\w+/]{0,63}\n){1,16})---) ", file)
    need("seal", header is not None, place, "a wrapped key of age v1")
    assert header
    mac, payload = file[header.end() :][:43], file[header.end() + 44 :]
    need("seal", file[header.end() + 43 : header.end() + 44] == b"\n" and len(payload) == 64, place, "one small chunk")
    for arguments, body in re.findall(rb"-> ([^\n]+)\n((?:[\w+/]{64}\n)*[\w+/]{0,63}\n)", header[2]):
        kind, *more = arguments.split(b" ")
        if kind != b"X25519":
            continue
        need("seal", len(more) == 1, place, "an X25519 stanza of two arguments")
        share, wrapped = _unpadded(more[0], 32, place), _unpadded(body.replace(b"\n", b""), 32, place)
        try:
            salt = share + recipient_of(identity)
            key = hkdf(agree(identity, share), salt, b"age-encryption.org/v1/X25519")
            file_key = ChaCha20Poly1305(key).decrypt(bytes(12), wrapped, None)
            expected = hmac.digest(hkdf(file_key, b"", b"header"), header[1], "sha256")
            need("seal", hmac.compare_digest(expected, _unpadded(mac, 32, place)), place, "the MAC of its header")
            key = hkdf(file_key, payload[:16], b"payload")
            return ChaCha20Poly1305(key).decrypt(bytes(11) + b"\1", payload[16:], None)
        except (InvalidTag, ValueError):
            continue
    raise ArchiveFault("seal", place, "its wrapped key is not for this identity, or was altered")


def _unpadded(text: bytes, count: int, place: str) -> bytes:
    data = base64.b64decode(text + b"=" * (-len(text) % 4))
    canonical = base64.b64encode(data).rstrip(b"=") == text and len(data) == count
    need("seal", canonical, place, f"canonical base64 of {count} bytes")
    return data


def slot_secret(slot: dict[str, Any], secret: Secret, place: str) -> bytes | None:
    """The slot secret that a passphrase or recovery code gives; None where it is for another type."""
    if isinstance(secret, str):
        code = bech32_decode("varkrecovery", re.sub(r"[\s-]", "", secret))
        return code if slot["type"] == "recovery" else None
    if slot["type"] != "passphrase":
        return None
    asked = slot["argon2id"]
    memory, passes, lanes = asked["memory_kib"], asked["passes"], asked["lanes"]
    fits = 8_192 <= memory <= 4_194_304 and 1 <= passes <= 64 and 1 <= lanes <= 16 and memory * passes <= 1 << 24
    need("seal", fits, place, "bounded parameters of Argon2id", asked)
    salt = bytes.fromhex(asked["salt"])
    return Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(secret)


def open_slot(slot: dict[str, Any], secret: Secret, repository: bytes) -> tuple[bytes, bytes | None] | None:
    """Access key and proved anchor; None where the secret is not this slot's."""
    place = f"key slot {slot['slot']}"
    slot_id = bytes.fromhex(slot["slot"])
    identity = bech32_decode("age-secret-key-", secret) if isinstance(secret, str) else None
    made = None
    if slot["type"] != "recipient":
        made = slot_secret(slot, secret, place)
        identity = kdf(made, b"", "identity", slot_id) if made else None
    if not identity or bech32_encode("age", recipient_of(identity)) != slot["recipient"]:
        return None
    anchor = None
    if made:
        anchor = bytes.fromhex(slot["anchor"])
        expected = hmac.digest(kdf(made, b"", "proof", slot_id), repository + anchor, "sha256")
        need("seal", hmac.compare_digest(expected.hex(), slot["proof"]), place, "a proof by who knew its secret")
    need("seal", len(slot["wrapped"]) <= WRAPPED_CHARS_MAX, place, "a short wrapped key")
    return unwrap_age(base64.b64decode(slot["wrapped"], validate=True), identity, place), anchor


def open_slots(slots: Any, secrets: Sequence[Secret], repository: bytes) -> tuple[bytes, bytes | None]:
    """The access key, and the anchor where a proof told it. Errors: ArchiveFault (layer seal), WrongKeyError."""
    need("seal", isinstance(slots, list) and 1 <= len(slots) <= SLOTS_MAX, "key slots", f"1 to {SLOTS_MAX}")
    fault: ArchiveFault | None = None
    for slot in slots:
        for secret in secrets:
            try:
                opened = open_slot(slot, secret, repository)
            except ArchiveFault as found:
                fault = fault or found
            except (KeyError, TypeError, ValueError, binascii.Error) as found:
                fault = fault or ArchiveFault("seal", "key slot", f"breaks section 6: {type(found).__name__}")
            else:
                if opened:
                    return opened
    raise fault or WrongKeyError("no key slot opens with the secrets given")


def unwrap_session_root(wrapped: bytes, identity: bytes, repository: bytes, epoch: int) -> bytes:
    """The session root of a write-only writer, by the identity of its epoch."""
    share, context = wrapped[:32], repository + struct.pack("<I", epoch)
    key = kdf(agree(identity, share), share + recipient_of(identity), "session", context)
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), wrapped[32:], None)
    except InvalidTag:
        raise ArchiveFault("seal", "session root", "was altered, or is of another epoch") from None
