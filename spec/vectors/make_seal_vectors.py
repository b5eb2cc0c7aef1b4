"""Writes spec/vectors/seal: derivations.json (keys, parts, slots), archives, sealed.json. Always the same bytes.

    python spec/vectors/make_seal_vectors.py [FOLDER]

All that is random elsewhere is drawn here from SHAKE-256 of a name. The wrapping code is its own:
reader_seal.py only opens.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
from pathlib import Path
from typing import Any

SPEC = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SPEC))

import reader_seal as seal  # noqa: E402
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: E402
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id  # noqa: E402

REPOSITORY, ZEROS = hashlib.shake_256(b"repository").digest(16), bytes(16)
PASSPHRASE = b"correct horse battery staple"


def draw(name: str, count: int = 32) -> bytes:
    return hashlib.shake_256(b"vark vectors " + name.encode()).digest(count)


def wrap_age(access_key: bytes, recipient: bytes, name: str) -> bytes:
    """An age file with one X25519 stanza."""
    ephemeral, file_key, nonce = draw(name + " share"), draw(name + " file key", 16), draw(name + " nonce", 16)
    share = seal.recipient_of(ephemeral)
    key = seal.hkdf(seal.agree(ephemeral, recipient), share + recipient, b"age-encryption.org/v1/X25519")
    body = ChaCha20Poly1305(key).encrypt(bytes(12), file_key, None)
    text = [base64.b64encode(data).rstrip(b"=") for data in (share, body)]
    header = b"age-encryption.org/v1\n-> X25519 " + text[0] + b"\n" + text[1] + b"\n---"
    mac = hmac.digest(seal.hkdf(file_key, b"", b"header"), header, "sha256")
    key = seal.hkdf(file_key, nonce, b"payload")
    sealed = ChaCha20Poly1305(key).encrypt(bytes(11) + b"\1", access_key, None)
    return header + b" " + base64.b64encode(mac).rstrip(b"=") + b"\n" + nonce + sealed


def make_slot(kind: str, access_key: bytes, repository: bytes, anchor: bytes) -> tuple[dict[str, Any], str]:
    """A slot and, as text, the secret that opens it."""
    slot_id, slot = draw(kind + " slot", 16), dict[str, Any]()
    if kind == "passphrase":
        salt = draw("argon2id")
        made = Argon2id(salt=salt, length=32, iterations=2, lanes=2, memory_cost=8_192).derive(PASSPHRASE)
        slot["argon2id"] = {"lanes": 2, "memory_kib": 8_192, "passes": 2, "salt": salt.hex()}
        opens = PASSPHRASE.decode()
    else:
        made = draw(kind + " secret")
        opens = seal.bech32_encode({"recovery": "varkrecovery", "recipient": "age-secret-key-"}[kind], made).upper()
    identity = made if kind == "recipient" else seal.kdf(made, b"", "identity", slot_id)
    recipient = seal.recipient_of(identity)
    slot |= {"slot": slot_id.hex(), "type": kind, "recipient": seal.bech32_encode("age", recipient)}
    slot["wrapped"] = base64.b64encode(wrap_age(access_key, recipient, kind)).decode()
    if kind != "recipient":
        key = seal.kdf(made, b"", "proof", slot_id)
        slot |= {"anchor": anchor.hex(), "proof": hmac.digest(key, repository + anchor, "sha256").hex()}
    return dict(sorted(slot.items())), opens


def sealed_objects() -> list[dict[str, Any]]:
    found = []
    for suite in (1, 2):
        for object_type, epoch, repository in (
            (1, 0, ZEROS),
            (1, 7, REPOSITORY),
            (2, 0, REPOSITORY),
            (3, 7, REPOSITORY),
        ):
            name = f"object {suite} {object_type} {epoch}"
            root, salt, object_id = draw(name), draw(name + " salt"), draw(name + " id", 16)
            key = seal.ObjectKey(root, salt, seal.Binding(suite, object_type, epoch, repository, object_id))
            parts = []
            places = ((5, 0, 0),) if object_type != 1 else ((1, 0, 0), (1, 255, 2**40), (2, 0, 3), (3, 0, 0), (4, 0, 0))
            for kind, stream, chunk in places:
                plain = draw(f"{name} {kind} {stream}", 61 + 40 * kind)
                digest = draw("public", 32) if kind in (3, 5) else b""
                parts.append(
                    {
                        "kind": kind,
                        "stream": stream,
                        "chunk": chunk,
                        "public_digest": digest.hex(),
                        "nonce": seal.nonce(kind, stream, chunk).hex(),
                        "associated": (key.associated(kind, stream, chunk) + digest).hex(),
                        "plain": plain.hex(),
                        "sealed": key.seal(plain, kind, stream, chunk, digest).hex(),
                    }
                )
            found.append(
                {
                    "suite": suite,
                    "object_type": object_type,
                    "epoch": epoch,
                    "repository": repository.hex(),
                    "object": object_id.hex(),
                    "root": root.hex(),
                    "salt": salt.hex(),
                    "key": key.key.hex(),
                    "commitment": key.commitment.hex(),
                    "parts": parts,
                }
            )
    return found


def slots() -> list[dict[str, Any]]:
    found = []
    for repository in (ZEROS, REPOSITORY):
        access_key = draw("access key " + repository.hex())
        anchor = draw("authority") if any(repository) else seal.kdf(access_key, b"", "anchor")
        for kind in ("passphrase", "recipient", "recovery"):
            slot, opens = make_slot(kind, access_key, repository, anchor)
            case = {"repository": repository.hex(), "access_key": access_key.hex(), "opens": opens, "slot": slot}
            found.append(case)
    return found


def session() -> dict[str, Any]:
    epoch, root, session_root, ephemeral = 7, draw("epoch root"), draw("session root"), draw("session share")
    context = REPOSITORY + epoch.to_bytes(4, "little")
    recipient = seal.recipient_of(seal.kdf(root, b"", "recipient", context))
    share = seal.recipient_of(ephemeral)
    key = seal.kdf(seal.agree(ephemeral, recipient), share + recipient, "session", context)
    wrapped = share + ChaCha20Poly1305(key).encrypt(bytes(12), session_root, None)
    return {
        "repository": REPOSITORY.hex(),
        "epoch": epoch,
        "epoch_root": root.hex(),
        "recipient": seal.bech32_encode("age", recipient),
        "ephemeral": ephemeral.hex(),
        "session_root": session_root.hex(),
        "wrapped": wrapped.hex(),
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SPEC / "vectors"
    (folder / "seal").mkdir(parents=True, exist_ok=True)
    vectors = {"objects": sealed_objects(), "slots": slots(), "session": session()}
    (folder / "seal" / "derivations.json").write_text(json.dumps(vectors, indent=1) + "\n")
    import sealed  # which draws from here
    import sealed_repository

    repository = json.dumps(sealed_repository.make(), indent=1, ensure_ascii=False)
    (folder / "seal" / "repository.json").write_text(repository + "\n")

    cases = []
    for name, stage, comment, data in sealed.archives():
        (folder / "seal" / f"{name}.vark").write_bytes(data)
        expect = "ok" if stage == "ok" else "seal"
        cases.append({"name": name, "expect": expect, "stage": "" if expect == "ok" else stage, "comment": comment})
    index = {"passphrase": sealed.PASSPHRASE, "rows": sealed.ROWS.hex(), "archives": cases}
    (folder / "seal" / "sealed.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
