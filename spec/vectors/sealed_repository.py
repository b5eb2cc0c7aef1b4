"""Small sealed repositories, whole or with one fault each, for make_seal_vectors.py: keys and commits, no archives.

Everything is drawn from names, so the bytes are always the same. A case has what differs from the objects of all.
"""

from __future__ import annotations

import base64
import copy
import json
import struct
from collections.abc import Callable
from typing import Any

import blake3
import reader_keyring as rings
import reader_seal as seal
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from make_seal_vectors import REPOSITORY, draw, make_slot, session

Values = dict[str, Any]
GENERATION, EPOCH, NOW = 2, 7, 1_790_000_000_000
ARCHIVE = "0190a7c5-d2e8-7abc-9def-0123456789f1"
FOLDER = f"keys/{GENERATION:020d}"
KEYS = [f"{FOLDER}/keyring-{copy}.json" for copy in range(3)]


def public_key(secret: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def sign(secret: bytes, domain: str, message: bytes) -> str:
    signed = b"vark-seal-v1 " + domain.encode() + b"\0" + message
    return Ed25519PrivateKey.from_private_bytes(secret).sign(signed).hex()


AUTHORITY, OLD_AUTHORITY, SIGNER = draw("authority seed"), draw("old authority seed"), draw("signer seed")
ROOTS = [draw("epoch root") if number == EPOCH else draw(f"root {number}") for number in range(1, EPOCH + 1)]
ACCESS_KEY = draw("repository access key")


def private_keys() -> Values:
    return {
        "authority_secret": AUTHORITY.hex(),
        "epochs": [
            {
                "epoch": number,
                "root": root.hex(),
                "state": "active" if number == EPOCH else "retired",
                "created_unix_ms": NOW + number,
            }
            for number, root in enumerate(ROOTS, 1)
        ],
        "fingerprint_key": draw("fingerprint key").hex(),
        "name_key": draw("name key").hex(),
        "labels": {},
        "signers": [
            {"name": "host", "key": public_key(SIGNER).hex(), "write_only": True, "revoked_unix_ms": None},
            {"name": "old", "key": public_key(draw("gone")).hex(), "write_only": True, "revoked_unix_ms": NOW},
        ],
    }


def closed(values: Values, private: Values, root: bytes, kind: int, object_id: bytes, **how: Any) -> Values:
    """The record with its private part sealed. how: root_kind, epoch, wrapped; suite."""
    suite, epoch = how.get("suite", 1), how["epoch"]
    salt = draw("salt " + json.dumps(values, sort_keys=True))
    key = seal.ObjectKey(root, salt, seal.Binding(suite, kind, epoch, REPOSITORY, object_id))
    fields = {"suite": suite, "root_kind": how["root_kind"], "epoch": epoch}
    fields |= {"salt": salt.hex(), "commitment": key.commitment.hex()}
    if how["root_kind"] == 2:
        fields["wrapped"] = how["wrapped"]
    digest = rings.public_digest({**values, "seal": fields})
    data = key.seal(rings.canonical(private), seal.BODY, public_digest=digest)
    return {**values, "seal": {**fields, "data": base64.b64encode(data).decode()}}


def key_objects(slots: list[Values], private: Values, *, change: Callable[[Values], Values] = dict) -> dict[str, bytes]:
    """Slots and keyring. change: of the keyring's public part, before it is sealed and signed."""
    names = [{name: slot[name] for name in ("recipient", "slot", "type")} for slot in slots]
    endorsed = REPOSITORY + public_key(AUTHORITY)
    endorsement = {
        "authority": public_key(OLD_AUTHORITY).hex(),
        "signature": sign(OLD_AUTHORITY, "authority", endorsed),
    }
    values = change(
        {
            "kind": "keyring",
            "version": 1,
            "repository": REPOSITORY.hex(),
            "generation": GENERATION,
            "salt": draw("keyring salt", 16).hex(),
            "created_unix_ms": NOW,
            "authority": public_key(AUTHORITY).hex(),
            "endorsements": [endorsement],
            "slots": names,
        }
    )
    object_id = struct.pack("<Q8x", GENERATION)
    sealed = closed(values, private, ACCESS_KEY, seal.KEYRING, object_id, root_kind=3, epoch=0)
    keyring = rings.canonical({**sealed, "signature": sign(AUTHORITY, "keyring", rings.digest(sealed))})
    found = dict.fromkeys(KEYS, keyring)
    for slot in slots:
        whole = {**slot, "kind": "key-slot", "version": 1, "repository": REPOSITORY.hex(), "generation": GENERATION}
        found |= dict.fromkeys((f"{FOLDER}/{slot['slot']}-{copy}.json" for copy in range(3)), rings.canonical(whole))
    return found


def commit_parts() -> tuple[Values, Values]:
    name_key = seal.kdf(bytes.fromhex(private_keys()["name_key"]), b"", "name")
    archive = {"id": ARCHIVE, "volumes": [192], "bytes": 192, "root": draw("root").hex(), "base": None}
    public = {
        "kind": "commit",
        "version": 1,
        "repository": REPOSITORY.hex(),
        "snapshot": draw("snapshot", 16).hex(),
        "created_unix_ms": NOW,
        "store_unix_ms": None,
        "partial": False,
        "root_generation": 0,
        "key_generation": GENERATION,
        "heads": [],
        "archives": [archive],
        "closure": [],
        "replaces": None,
        "salt": draw("commit salt", 16).hex(),
        "name_tag": seal.hmac.digest(name_key, b"products", "sha256")[:16].hex(),
    }
    private = {"name": "products", "tags": {"a": "b"}, "host": "h", "source": {}}
    return public, {**private, "archives": [{"shard": "", "raw_bytes": 5}]}


def commit(change: Callable[[Values, Values], Any] = lambda public, private: None, **how: Any) -> Values:
    """A commit under the active epoch, with its parts changed before they are sealed."""
    public, private = copy.deepcopy(commit_parts())
    change(public, private)
    how = {"root_kind": 1, "epoch": EPOCH, "root": ROOTS[-1], **how}
    record = bytes.fromhex(public["salt"])
    return closed(public, private, how.pop("root"), seal.RECORD, record, **how)


def by_session(signer: bytes | None, change: Callable[[Values, Values], Any] = lambda *_: None) -> Values:
    """A commit of a write-only client."""
    drawn = session()

    def without_tag(public: Values, private: Values) -> None:
        del public["name_tag"], public["key_generation"]
        change(public, private)

    root = bytes.fromhex(drawn["session_root"])
    values = commit(without_tag, root_kind=2, root=root, wrapped=drawn["wrapped"])
    return values if signer is None else signed(values, signer)


def signed(values: Values, signer: bytes) -> Values:
    signature = sign(signer, "commit", REPOSITORY + rings.digest(values))
    return {**values, "signature": {"key": public_key(signer).hex(), "signature": signature}}


def record_object(data: bytes) -> dict[str, bytes]:
    return {f"commits/2026-09/{blake3.blake3(data).hexdigest()}.json": data}


def of(values: Values) -> dict[str, bytes]:
    return record_object(rings.canonical(values))


def record_cases() -> dict[str, tuple[str | None, dict[str, bytes]]]:
    """Name → the layer that refuses, and the commit."""
    whole = commit()
    flipped = copy.deepcopy(whole)
    data = base64.b64decode(whole["seal"]["data"])
    flipped["seal"]["data"] = base64.b64encode(bytes([data[0] ^ 1]) + data[1:]).decode()

    def with_seal(**fields: Any) -> Values:
        return {**whole, "seal": {**whole["seal"], **fields}}

    return {
        "commit": (None, of(whole)),
        "commit-second-suite": (None, of(commit(suite=2))),
        "commit-earlier-epoch": (None, of(commit(epoch=1, root=ROOTS[0]))),
        "commit-signed": (None, of(signed(commit(lambda _, p: p.update(signed_by=public_key(SIGNER).hex())), SIGNER))),
        "commit-write-only": (None, of(by_session(SIGNER))),
        "commit-write-only-unsigned": ("record", of(by_session(None))),
        "commit-write-only-other-signer": ("record", of(by_session(draw("stranger")))),
        "commit-write-only-with-tag": ("record", of(by_session(SIGNER, lambda p, _: p.update(name_tag="0" * 32)))),
        "commit-signature-gone": ("record", of(commit(lambda _, p: p.update(signed_by=public_key(SIGNER).hex())))),
        "commit-tag": ("record", of(flipped)),
        "commit-commitment": ("record", of(with_seal(commitment=draw("other").hex()))),
        "commit-salt": ("record", of(with_seal(salt=draw("other").hex()))),
        "commit-suite": ("record", of(with_seal(suite=2))),
        "commit-public": ("record", of({**whole, "partial": True})),
        "commit-key-added": ("record", of({**whole, "later": 1})),
        "commit-spaced": ("record", record_object(json.dumps(whole, sort_keys=True).encode())),
        "commit-plain": ("record", of({**commit_parts()[0], **commit_parts()[1], "archives": plain_archives()})),
        "commit-name-tag": ("record", of(commit(lambda public, _: public.update(name_tag="0" * 32)))),
        "commit-name-in-public": ("record", of(commit(lambda public, _: public.update(name="products")))),
        "commit-name-missing": ("record", of(commit(lambda _, private: private.pop("host")))),
        "commit-archives-length": ("record", of(commit(lambda _, p: p.update(archives=p["archives"] * 2)))),
        "commit-epoch-unknown": ("epoch", of(commit(epoch=EPOCH + 1, root=draw("root 8")))),
    }


def plain_archives() -> list[Values]:
    public, private = commit_parts()
    return [{**one, **more} for one, more in zip(public["archives"], private["archives"], strict=True)]


def key_cases(slot: Values) -> dict[str, tuple[str | None, dict[str, bytes]]]:
    """Name → the layer that refuses, and the objects of keys."""
    good, private = key_objects([slot], private_keys()), private_keys()
    keyring = json.loads(good[KEYS[0]])
    resigned = {**keyring, "created_unix_ms": 5, "signature": keyring["signature"]}
    epochs = private["epochs"]
    other = {**private, "authority_secret": draw("another authority").hex()}
    foreign = seal.bech32_encode("age", seal.recipient_of(draw("foreign")))
    return {
        "keyring-two-copies-damaged": (None, {**good, KEYS[0]: good[KEYS[0]][:-1], KEYS[1]: b"{}"}),
        "keyring-all-copies-damaged": ("seal", {**good, **dict.fromkeys(KEYS, good[KEYS[0]][:-1])}),
        "keyring-signature": ("seal", {**good, **dict.fromkeys(KEYS, rings.canonical(resigned))}),
        "keyring-authority": ("seal", key_objects([slot], other)),
        "keyring-epochs-order": ("seal", key_objects([slot], {**private, "epochs": epochs[::-1]})),
        "keyring-no-epoch": ("seal", key_objects([slot], {**private, "epochs": []})),
        "keyring-spaced": ("seal", {**good, **dict.fromkeys(KEYS, json.dumps(keyring, sort_keys=True).encode())}),
        "keyring-other-generation": (
            "seal",
            key_objects([slot], private, change=lambda values: {**values, "generation": GENERATION + 1}),
        ),
        "keyring-version": ("unsupported", key_objects([slot], private, change=lambda v: {**v, "version": 2})),
        "slot-not-named": ("seal", {**key_objects([{**slot, "recipient": foreign}], private), **slot_objects(slot)}),
    }


def slot_objects(slot: Values) -> dict[str, bytes]:
    return {name: data for name, data in key_objects([slot], private_keys()).items() if "keyring" not in name}


def make() -> Values:
    """All cases. `fault`: null, or who refuses: `seal` (keys), `record`, `epoch` (not in the keyring) …"""
    slot, opens = make_slot("recipient", ACCESS_KEY, REPOSITORY, public_key(OLD_AUTHORITY))
    fields = {"format": "vark-repository", "version": 2, "id": REPOSITORY.hex(), "created_unix_ms": NOW}
    fields |= {"volume_bytes": None, "seal": {"suite": 1}}
    marker = rings.canonical({**fields, "digest": rings.digest(fields).hex()})
    always = {"vark.json": marker, **key_objects([slot], private_keys())}
    cases = {**key_cases(slot), **record_cases()}
    text = {name: data.decode() for name, data in always.items()}
    return {
        "opens": opens,
        "objects": text,
        "cases": {
            name: {"fault": fault, "objects": {key: data.decode() for key, data in objects.items()}}
            for name, (fault, objects) in cases.items()
        },
    }
