"""How records become bytes and come back: plain, or sealed under the repository's keys (spec CRYPTO 7.1).

The only room that knows which part of a record is private. What is decoded is the record as it was encoded, private
part included: whoever reads it need not know whether it was sealed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from vark.errors import DamagedError, KeyNeededError, VarkError
from vark.keys import Keyring, NewRecord, Signer, SignerEntry
from vark.repository.digest import digest_bytes, digest_hex
from vark.repository.fields import Fields, decode_record, encode_digested, encode_record, new_salt, split_digested

EPOCH_ROOT, SESSION_ROOT = 1, 2
PROVENANCE = ""  # the key under which a record that was opened has it: of none that is stored
_MARKS = ("forget", "undelete", "hold", "release", "tag", "untag")
_OF_MARK = ("tags", "keys", "reason")
_MAY_LACK = frozenset({"copy_of"})  # private keys that are there only where they say something
# Kind -> keys that only those with a key may read; below, those of each entry of `archives`.
_PRIVATE: Mapping[str, tuple[str, ...]] = {
    "commit": ("name", "tags", "host", "source", "copy_of"),
    **dict.fromkeys(_MARKS, _OF_MARK),
    **dict.fromkeys(("erase", "end-erasure"), ("names", "key", "hashes", "leave_unknown", "reason")),
    "session": ("name", "host", "process", "signature"),
    **dict.fromkeys(("root", "condemned", "sweep", "report", "probe", "lock"), ()),
}
# What a client remembers, and so can tell when it came.
_OF_HISTORY = frozenset({"commit", *_MARKS, "root", "erase", "end-erasure"})
# What stands in the place of what a write-only client cannot read.
_NOTHING: Mapping[str, Any] = {
    "name": "?",
    "tags": {},
    "host": "",
    "source": {},
    "keys": [],
    "reason": "",
    "process": "",
    "signature": "0" * 64,
}
# Public keys that are the envelope's own.
_OF_ENVELOPE = frozenset({"seal", "name_tag", "key_generation", "signature"})
_PRIVATE_OF_ARCHIVES: Mapping[str, tuple[str, ...]] = {
    "commit": ("shard", "raw_bytes", "copy_of"),
    "session": ("shard",),
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a commit comes from, as far as it is proved.

    signer: the public key (hex) that signed it, "" for nobody. refused: why it is not to be believed, "" where it is.
    epoch: under which it is sealed, 0 where it is not. is_write_only: only its signature vouches for it.
    """

    signer: str = ""
    refused: str = ""
    epoch: int = 0
    is_write_only: bool = False


class Envelope:
    """Records in the open. repository: whose they must be; None takes any, for rescue."""

    def __init__(self, repository: str | None) -> None:
        self.repository = repository

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """Return the bytes of a record whose name is its content."""
        return encode_record(self._closed(values))

    def decode(self, data: bytes, *, place: str) -> Fields:
        """Return the fields of such a record. Errors: DamagedError, UnsupportedError, WrongKeyError."""
        values = decode_record(data, place=place)
        return self._checked(Fields(self._opened(values, data, place), place=place), values, data)

    def encode_digested(self, values: Mapping[str, Any]) -> bytes:
        """Return the bytes of a record whose name promises nothing, with a digest of itself inside."""
        return encode_digested(self._closed(values))

    def decode_digested(self, data: bytes, *, place: str) -> Fields:
        """Return the fields of such a record after comparing its digest. Errors: as `decode`."""
        rest = split_digested(data, place=place)
        return self._checked(Fields(self._opened(rest, encode_record(rest), place), place=place), rest, data)

    def provenance(self, fields: Fields) -> Provenance:
        """Return what is proved of where a commit comes from."""
        del fields
        return Provenance()

    def is_past(self, fields: Fields) -> bool:
        """Return whether a report or session is under an epoch that has ended: who was removed may have made it."""
        del fields
        return False

    def _closed(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return values

    def _checked(self, fields: Fields, stored: Mapping[str, Any], data: bytes) -> Fields:
        """Return the fields of a record that was opened, if it is in time; `stored`: as they are in its bytes."""
        del stored, data
        return fields

    def _opened(self, values: dict[str, Any], data: bytes, place: str) -> dict[str, Any]:
        """Return all fields of a record that was parsed; `data`: its bytes."""
        del data
        if "seal" in values:
            _refuse(place, "is encrypted, in a repository that is not; it was put here")
        return values


class SealedEnvelope(Envelope):
    """Records of a sealed repository: a plain one is refused, and so is one that was altered or moved.

    signer: signs commits, too. is_late: whether a record, by its kind, epoch and digest, came after that had ended.
    """

    def __init__(
        self,
        repository: str,
        keyring: Keyring,
        signer: Signer | None = None,
        is_late: Callable[[str, int, str], bool] | None = None,
    ) -> None:
        super().__init__(repository)
        self._keyring = keyring
        self._signer = signer
        self._is_late = is_late

    def with_keyring(self, keyring: Keyring) -> SealedEnvelope:
        """Return the same under other keys: who signs goes on to."""
        return SealedEnvelope(self.repository or "", keyring, self._signer, self._is_late)

    def _closed(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        public, private = _parted(values)
        public.setdefault("salt", new_salt())
        if public["kind"] == "commit":
            public["name_tag"] = self._keyring.name_tag(str(private["name"]))
            public["key_generation"] = self._keyring.generation
            if self._signer is not None:
                private["signed_by"] = bytes(self._signer.key).hex()
        sealed = _sealed(self._keyring.new_record(bytes.fromhex(public["salt"])), public, private)
        if public["kind"] == "commit" and self._signer is not None:
            return _signed(sealed, self._signer)
        return sealed

    def _opened(self, values: dict[str, Any], data: bytes, place: str) -> dict[str, Any]:
        if "seal" not in values:
            _refuse(place, "is not encrypted, in a repository that is; it was put here")
        if encode_record(values) != data:
            _refuse(place, "is not in the canonical form; it was put here")
        kind = values.get("kind")
        if not isinstance(kind, str) or kind not in _PRIVATE:
            return values  # refused by whoever asked for a kind
        seal = Fields(values["seal"], place=f"{place}: seal")
        is_session = seal.integer("root_kind", EPOCH_ROOT, SESSION_ROOT) == SESSION_ROOT
        if "signature" in values and kind != "commit":
            _refuse(place, "is signed, as only commits are; it was put here")
        signer = self._signer_of(values, place)
        if is_session and (kind != "commit" or signer is None or not signer[2]):
            # Anyone can seal under a session root: only the signature says who did.
            _refuse(place, "is sealed by a write-only client, without a signature of one that is entered")
        body = self._body(values, seal, place)
        private = decode_record(body, place=place)
        found = _joined(kind, values, private, place)
        epoch = seal.integer("epoch", 1, 0xFFFF_FFFF)
        if kind != "commit":
            return {**found, PROVENANCE: Provenance(epoch=epoch)}
        key = "" if signer is None else bytes(signer[1]).hex()
        # Nothing but this proves the signature of a member: without it one could be added, for another name of it.
        if not is_session and (private.get("signed_by", "") != key or ("signature" in values) != bool(key)):
            _refuse(place, "its signature is gone, or is of another than its writer")
        name_tag = None if is_session else self._keyring.name_tag(str(found["name"]))
        if values.get("name_tag") != name_tag:
            _refuse(place, "its name_tag is not that of its name")
        revoked = signer is not None and signer[3] is not None
        refused = f"by the write-only signer {signer[0]}, who was revoked" if signer and revoked and is_session else ""
        return {**found, PROVENANCE: Provenance("" if revoked else key, refused, epoch, is_session)}

    def _checked(self, fields: Fields, stored: Mapping[str, Any], data: bytes) -> Fields:
        if self._is_late is None or stored.get("kind") not in _OF_HISTORY:
            return fields
        seal = stored["seal"]
        # Who writes in write-only mode has the keys of one epoch for long; its signature says who it is.
        if seal["root_kind"] == EPOCH_ROOT and self._is_late(stored["kind"], seal["epoch"], digest_hex(data)):
            raise DamagedError(
                f"{fields.place}: is sealed under epoch {seal['epoch']}, but came after this client saw that end: by "
                "one who was removed, or by a writer that went on while keys were changed. Accept the history as it is "
                "only if you know that it was the latter",
                layer="record",
            )
        return fields

    def provenance(self, fields: Fields) -> Provenance:
        found = fields.values[PROVENANCE]
        assert isinstance(found, Provenance)
        return found

    def is_past(self, fields: Fields) -> bool:
        return self.provenance(fields).epoch < self._keyring.epoch

    def _signer_of(self, values: dict[str, Any], place: str) -> SignerEntry | None:
        """Return who signed a record; None where nobody did, or one who is not entered."""
        if "signature" not in values:
            return None
        signature = Fields(values["signature"], place=f"{place}: signature")
        if signature.values.keys() != {"key", "signature"}:
            signature.refuse("expected key and signature alone")
        key = bytes.fromhex(signature.hexadecimal("key", 64))
        digest = digest_bytes(encode_record({name: value for name, value in values.items() if name != "signature"}))
        return self._keyring.signer_of(digest, key, bytes.fromhex(signature.hexadecimal("signature", 128)))

    def _body(self, values: dict[str, Any], seal: Fields, place: str) -> bytes:
        public = dict(values)
        public.pop("signature", None)
        wrapped = None
        if seal.values.get("root_kind") == SESSION_ROOT:
            wrapped = bytes.fromhex(seal.hexadecimal("wrapped", 160))
        public["seal"] = {key: value for key, value in seal.values.items() if key != "data"}
        text = seal.values.get("data")
        try:
            data = base64.b64decode(text if isinstance(text, str) else "", validate=True)
        except (binascii.Error, ValueError):
            seal.refuse("data: expected base64")
        if base64.b64encode(data).decode() != text:
            seal.refuse("data: not in the one way to write it in base64; it was put here")
        try:
            return self._keyring.open_record(
                data,
                record=bytes.fromhex(Fields(values, place=place).hexadecimal("salt", 32)),
                suite=seal.integer("suite", 0, 0xFFFF),
                epoch=seal.integer("epoch", 1, 0xFFFF_FFFF),
                salt=bytes.fromhex(seal.hexadecimal("salt", 64)),
                commitment=bytes.fromhex(seal.hexadecimal("commitment", 64)),
                wrapped=wrapped,
                public_digest=digest_bytes(encode_record(public)),
            )
        except DamagedError:
            _refuse(place, "was altered, or belongs to another place or key")
        except VarkError as error:
            raise type(error)(f"{place}: {error.message}", code=error.code, layer=error.layer) from None


class PublicEnvelope(Envelope):
    """Records of a sealed repository for whoever has no key: of each the public part, of which nothing is proved.

    In the place of private fields stands what fits their rules and says nothing.
    """

    def _opened(self, values: dict[str, Any], data: bytes, place: str) -> dict[str, Any]:
        del data
        kind = values.get("kind")
        if "seal" not in values:
            _refuse(place, "is not encrypted, in a repository that is; it was put here")
        if not isinstance(kind, str) or kind not in _PRIVATE:
            return values
        found = {key: value for key, value in values.items() if key not in _PRIVATE[kind]}
        found.update({key: _NOTHING[key] for key in _PRIVATE[kind] if key not in _MAY_LACK})
        if kind in _PRIVATE_OF_ARCHIVES:
            items = Fields(found, place=place).items("archives")
            several = len(items) > 1
            found["archives"] = [
                {**item, "shard": str(number) if several else "", "raw_bytes": 0} if isinstance(item, dict) else item
                for number, item in enumerate(items)
            ]
        return found


class WriteOnlyEnvelope(PublicEnvelope):
    """The same for a client that can add some records and read none."""

    def __init__(self, repository: str, signer: Signer) -> None:
        super().__init__(repository)
        self._signer = signer

    def _closed(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        public, private = _parted(values)
        if public["kind"] not in ("commit", "session"):
            raise KeyNeededError("a write-only client can only add snapshots; open the repository with a key")
        public.setdefault("salt", new_salt())
        sealed = _sealed(self._signer.new_record(bytes.fromhex(public["salt"])), public, private)
        return _signed(sealed, self._signer) if public["kind"] == "commit" else sealed


def _sealed(record: NewRecord, public: dict[str, Any], private: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is stored of a record: its public part, and the private one sealed."""
    seal: dict[str, Any] = {
        "suite": record.suite,
        "root_kind": EPOCH_ROOT if record.wrapped is None else SESSION_ROOT,
        "epoch": record.epoch,
        "salt": bytes(record.salt).hex(),
        "commitment": bytes(record.commitment).hex(),
    }
    if record.wrapped is not None:
        seal["wrapped"] = bytes(record.wrapped).hex()
    data = record.seal(digest_bytes(encode_record({**public, "seal": seal})), encode_record(private))
    return {**public, "seal": {**seal, "data": base64.b64encode(data).decode()}}


def _signed(values: dict[str, Any], signer: Signer) -> dict[str, Any]:
    signature = bytes(signer.sign(digest_bytes(encode_record(values)))).hex()
    return {**values, "signature": {"key": bytes(signer.key).hex(), "signature": signature}}


def _parted(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the public and the private part of a record."""
    kind = values["kind"]
    private = {key: values[key] for key in _PRIVATE[kind] if key in values or key not in _MAY_LACK}
    public = {key: value for key, value in values.items() if key not in private}
    of_archives = _PRIVATE_OF_ARCHIVES.get(kind)
    if of_archives:
        private["archives"] = [
            {key: item[key] for key in of_archives if key in item or key not in _MAY_LACK}
            for item in values["archives"]
        ]
        public["archives"] = [
            {key: value for key, value in item.items() if key not in of_archives} for item in values["archives"]
        ]
    return public, private


def _joined(kind: str, public: dict[str, Any], private: dict[str, Any], place: str) -> dict[str, Any]:
    """Return the record that two parts are of; each key is in one of them, where it belongs."""
    found = {key: value for key, value in public.items() if key not in _OF_ENVELOPE and key != PROVENANCE}
    for key in _PRIVATE[kind]:
        if key in found or (key not in private and key not in _MAY_LACK):
            _refuse(place, f"{key}: expected in its private part alone")
        if key in private:
            found[key] = private[key]
    of_archives = _PRIVATE_OF_ARCHIVES.get(kind)
    if of_archives:
        pairs = Fields(found, place=place).items("archives"), Fields(private, place=place).items("archives")
        whole = all(isinstance(item, dict) for items in pairs for item in items)
        if not whole or len(pairs[0]) != len(pairs[1]):
            _refuse(place, "archives: expected as many objects in its private part")
        if any(item.keys() & set(of_archives) for item in pairs[0]):
            _refuse(place, f"archives: expected {', '.join(of_archives)} in its private part alone")
        found["archives"] = [
            {**item, **{key: other[key] for key in of_archives if key in other}}
            for item, other in zip(*pairs, strict=True)
        ]
    return found


def _refuse(place: str, detail: str) -> NoReturn:
    raise DamagedError(f"{place}: {detail}; restore this object from another copy", layer="record")
