"""Keys and records of a sealed repository for reader.py (CRYPTO.md, section 7), with the package `cryptography`."""

from __future__ import annotations

import base64
import hmac
import json
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import blake3
import reader_seal as keys
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from reader_codecs import ArchiveFault, need, parse_json

KEY_OBJECT_BYTES_MAX, COPIES = 1 << 20, 3
EPOCH_ROOT, SESSION_ROOT, ACCESS_KEY = 1, 2, 3
OF_MARK = ("tags", "keys", "reason")
PRIVATE: dict[str, tuple[str, ...]] = {
    "commit": ("name", "tags", "host", "source"),
    **dict.fromkeys(["forget", "undelete", "hold", "release", "tag", "untag"], OF_MARK),
    "session": ("name", "host", "process", "signature"),
    **dict.fromkeys(["root", "condemned", "sweep", "report"], ()),
}
OF_ARCHIVES = {"commit": ["shard", "raw_bytes"], "session": ["shard"]}
OF_COPIES = "copy_of"  # private as well, of commits and their archives, where it is there


def canonical(values: Any) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(values: Any) -> bytes:
    return blake3.blake3(canonical(values)).digest()


def without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in names}


def public_digest(values: dict[str, Any]) -> bytes:
    """What the tag of the private part proves of a keyring or record."""
    public = without(values, "signature", "digest")
    return digest({**public, "seal": without(public["seal"], "data")})


class Keyring:
    """The keys of the generation in force."""

    def __init__(self, folder: Path, repository: str, secrets: Sequence[keys.Secret]) -> None:
        self.repository = bytes.fromhex(repository)
        generations = sorted({path.parent for path in (folder / "keys").glob("*/keyring-[0-2].json")})
        need("seal", generations, "keys", "the keyring of a generation")
        place = generations[-1]
        self.generation = int(place.name)
        fault: Exception | None = None
        for copy in range(COPIES):
            path = place / f"keyring-{copy}.json"
            try:
                self._open(parse_object(path), self._slots(place, copy), secrets)
                return
            except (ArchiveFault, OSError, KeyError, TypeError) as found:
                fault = fault or found
        raise fault or ArchiveFault("seal", str(place), "no copy of the keyring")

    def _slots(self, place: Path, copy: int) -> list[dict[str, Any]]:
        """One copy of each slot: this one, or another where it is not whole."""
        found: dict[str, dict[str, Any]] = {}
        for number in [copy, *range(COPIES)]:
            for path in sorted(place.glob(f"*-{number}.json")):
                name = path.name.rpartition("-")[0]
                if not re.fullmatch("[0-9a-f]{32}", name) or name in found:
                    continue
                try:
                    slot = parse_object(path)
                    self._own(slot, "key-slot")
                    need("seal", slot["slot"] == name, path.name, "the slot of its name")
                    found[name] = slot
                except (ArchiveFault, KeyError):
                    continue
        return list(found.values())

    def _own(self, values: dict[str, Any], kind: str) -> None:
        known = (values["kind"], values["version"]) == (kind, 1)
        need("seal", known, kind, f"kind {kind} of version 1")
        own = (values["repository"], values["generation"]) == (self.repository.hex(), self.generation)
        need("seal", own, kind, "this repository and generation")

    def _open(self, values: dict[str, Any], slots: list[dict[str, Any]], secrets: Sequence[keys.Secret]) -> None:
        self._own(values, "keyring")
        signed = b"vark-seal-v1 keyring\0" + digest(without(values, "signature"))
        check_signature(values["authority"], values["signature"], signed)
        names = [{key: slot[key] for key in ("recipient", "slot", "type")} for slot in slots]
        wrapped = [slot for slot, name in zip(slots, names, strict=True) if name in values["slots"]]
        access_key, anchor = keys.open_slots(wrapped, secrets, self.repository)
        seal = values["seal"]
        need("seal", (seal["root_kind"], seal["epoch"]) == (ACCESS_KEY, 0), "keyring", "root_kind 3, epoch 0")
        object_id = struct.pack("<Q8x", self.generation)
        body = open_body(values, access_key, keys.KEYRING, 0, self.repository, object_id, "keyring")
        private = parse_json(body, "seal")
        secret = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private["authority_secret"]))
        own = secret.public_key().public_bytes_raw().hex() == values["authority"]
        need("seal", own, "keyring", "the secret of its authority")
        self.authority = values["authority"]
        need("seal", anchor is None or self._leads(anchor.hex(), values), "key slot", "to vouch for this authority")
        epochs = private["epochs"]
        in_order = [epoch["epoch"] for epoch in epochs] == list(range(1, len(epochs) + 1))
        need("seal", epochs and in_order, "keyring", "epochs 1, 2 …")
        self._signers = {signer["key"]: signer["revoked_unix_ms"] for signer in private["signers"]}
        self.epoch_roots = {epoch["epoch"]: bytes.fromhex(epoch["root"]) for epoch in epochs}
        self._name_key = keys.kdf(bytes.fromhex(private["name_key"]), b"", "name")

    def _leads(self, known: str, values: dict[str, Any]) -> bool:
        """Whether endorsements lead from an authority to the present one."""
        chain = [item["authority"] for item in values["endorsements"]] + [values["authority"]]
        if known not in chain:
            return False
        for at in range(chain.index(known), len(chain) - 1):
            signed = b"vark-seal-v1 authority\0" + self.repository + bytes.fromhex(chain[at + 1])
            try:
                check_signature(chain[at], values["endorsements"][at]["signature"], signed)
            except ArchiveFault:
                return False
        return True

    def open_record(self, values: dict[str, Any], place: str) -> dict[str, Any]:
        """A record with its private part."""
        seal, kind = values.get("seal"), values.get("kind")
        need("record", isinstance(seal, dict), place, "a sealed record in a sealed repository")
        is_session = isinstance(seal, dict) and seal.get("root_kind") == SESSION_ROOT
        signer = self._signer_of(values) if values.get("signature") else None
        need("record", not is_session or signer, place, "a signature by one of the signers, who was not revoked")
        need("record", not is_session or kind == "commit", place, "a commit: a write-only client makes nothing else")
        if kind not in PRIVATE:
            return values
        try:
            body = self._body(values, place)
        except (ArchiveFault, KeyError, TypeError, ValueError):
            raise ArchiveFault("record", place, "was altered, or belongs to another place or key") from None
        private, found = parse_json(body, "record"), without(values, "seal", "name_tag", "key_generation")
        hidden = {*PRIVATE[kind], OF_COPIES} if kind == "commit" else set(PRIVATE[kind])
        need("record", not found.keys() & hidden, place, "names in the private part alone")
        need("record", private.keys() >= set(PRIVATE[kind]), place, "all names in the private part")
        if not is_session:
            self._check_signer(values, private.get("signed_by"), place)
        found.update({key: private[key] for key in hidden if key in private})
        if kind in OF_ARCHIVES:
            same = len(found["archives"]) == len(private["archives"])
            need("record", same, place, "as many archives in its private part")
            pairs = zip(found["archives"], private["archives"], strict=True)
            need(
                "record", not any(OF_COPIES in item for item in found["archives"]), place, "copy_of in the private part"
            )
            found["archives"] = [
                {**item, **{key: more[key] for key in (*OF_ARCHIVES[kind], OF_COPIES) if key in more}}
                for item, more in pairs
            ]
        if kind == "commit":
            tag = hmac.digest(self._name_key, found["name"].encode(), "sha256")[:16].hex()
            expected = None if is_session else tag
            need("record", values.get("name_tag") == expected, place, "the name_tag of its name")
        return found

    def _signer_of(self, values: dict[str, Any]) -> str | None:
        """The key of a signer that is entered, and not revoked, and has signed; None of any other."""
        signature = values["signature"]
        signed = b"vark-seal-v1 commit\0" + self.repository + digest(without(values, "signature"))
        try:
            need("record", signature.keys() == {"key", "signature"}, "signature", "key and signature alone")
            check_signature(signature["key"], signature["signature"], signed)
        except (ArchiveFault, AttributeError, KeyError, TypeError):
            return None
        is_known = self._signers.get(signature["key"], 0) is None
        return str(signature["key"]) if is_known else None

    def _check_signer(self, values: dict[str, Any], signed_by: str | None, place: str) -> None:
        """A commit is signed by whom its private part says, and no other record by anyone."""
        need("record", ("signature" in values) == (signed_by is not None), place, "a signature where there is a signer")
        if signed_by is None:
            return
        signature = values["signature"]
        need("record", isinstance(signature, dict), place, "a signature that is an object")
        own = values["kind"] == "commit" and signature.keys() == {"key", "signature"} and signature["key"] == signed_by
        need("record", own, place, "the signature of its writer, on a commit")
        signed = b"vark-seal-v1 commit\0" + self.repository + digest(without(values, "signature"))
        try:
            check_signature(signed_by, signature["signature"], signed)
        except ArchiveFault:
            raise ArchiveFault("record", place, "the signature of its writer") from None

    def _body(self, values: dict[str, Any], place: str) -> bytes:
        seal = values["seal"]
        need("record", seal["root_kind"] in (EPOCH_ROOT, SESSION_ROOT), place, "root_kind 1 or 2", seal["root_kind"])
        root = self.epoch_roots[seal["epoch"]]
        if seal["root_kind"] == SESSION_ROOT:
            context = self.repository + struct.pack("<I", seal["epoch"])
            identity = keys.kdf(root, b"", "recipient", context)
            wrapped = bytes.fromhex(seal["wrapped"])
            root = keys.unwrap_session_root(wrapped, identity, self.repository, seal["epoch"])
        record = bytes.fromhex(values["salt"])
        return open_body(values, root, keys.RECORD, seal["epoch"], self.repository, record, place)


def open_body(
    values: dict[str, Any], root: bytes, kind: int, epoch: int, repository: bytes, object_id: bytes, place: str
) -> bytes:
    """The private part of a keyring or record, after its commitment was compared."""
    seal = values["seal"]
    need("seal", seal["suite"] in keys.SUITES, place, "a suite that this reader knows", seal["suite"])
    binding = keys.Binding(seal["suite"], kind, epoch, repository, object_id)
    key = keys.ObjectKey(root, bytes.fromhex(seal["salt"]), binding)
    proved = hmac.compare_digest(key.commitment.hex(), seal["commitment"])
    need("seal", proved, place, "the commitment of its key: it was altered, or belongs to another place or key")
    data = base64.b64decode(seal["data"], validate=True)
    need("seal", base64.b64encode(data).decode() == seal["data"], place, "the one way to write it in base64")
    return key.open(data, place, keys.BODY, public_digest=public_digest(values))


def parse_object(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(KEY_OBJECT_BYTES_MAX + 1)
    need("seal", len(data) <= KEY_OBJECT_BYTES_MAX, path.name, "a small object")
    values = parse_json(data, "seal")
    need("seal", canonical(values) == data, path.name, "the canonical form")
    return dict(values)


def check_signature(key: str, signature: str, signed: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), signed)
    except (InvalidSignature, ValueError):
        raise ArchiveFault("seal", "signature", f"is not by {key[:16]}…") from None
