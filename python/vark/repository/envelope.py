"""How records become bytes and come back: plain, or sealed under the repository's keys (spec CRYPTO 7.1).

The only room that knows which part of a record is private. What is decoded is the record as it was encoded, private
part included: whoever reads it need not know whether it was sealed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NoReturn

from vark.errors import DamagedError, VarkError
from vark.keys import Keyring
from vark.repository.digest import digest_bytes
from vark.repository.fields import Fields, decode_record, encode_digested, encode_record, new_salt, split_digested

EPOCH_ROOT, SESSION_ROOT = 1, 2
_OF_MARK = ("tags", "keys", "reason")
# Kind -> keys that only those with a key may read; below, those of each entry of `archives`.
_PRIVATE: Mapping[str, tuple[str, ...]] = {
    "commit": ("name", "tags", "host", "source"),
    **dict.fromkeys(("forget", "undelete", "hold", "release", "tag", "untag"), _OF_MARK),
    "session": ("name", "host", "process", "signature"),
    **dict.fromkeys(("root", "condemned", "sweep", "report"), ()),
}
_PRIVATE_OF_ARCHIVES: Mapping[str, tuple[str, ...]] = {"commit": ("shard", "raw_bytes"), "session": ("shard",)}


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
        return Fields(self._opened(values, data, place), place=place)

    def encode_digested(self, values: Mapping[str, Any]) -> bytes:
        """Return the bytes of a record whose name promises nothing, with a digest of itself inside."""
        return encode_digested(self._closed(values))

    def decode_digested(self, data: bytes, *, place: str) -> Fields:
        """Return the fields of such a record after comparing its digest. Errors: as `decode`."""
        rest = split_digested(data, place=place)
        return Fields(self._opened(rest, encode_record(rest), place), place=place)

    def _closed(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return values

    def _opened(self, values: dict[str, Any], data: bytes, place: str) -> dict[str, Any]:
        """Return all fields of a record that was parsed; `data`: its bytes."""
        del data
        if "seal" in values:
            _refuse(place, "is encrypted, in a repository that is not; it was put here")
        return values


class SealedEnvelope(Envelope):
    """Records of a sealed repository: a plain one is refused, and so is one that was altered or moved."""

    def __init__(self, repository: str, keyring: Keyring) -> None:
        super().__init__(repository)
        self._keyring = keyring

    def _closed(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        public, private = _parted(values)
        public.setdefault("salt", new_salt())
        if public["kind"] == "commit":
            public["name_tag"] = self._keyring.name_tag(str(private["name"]))
            public["key_generation"] = self._keyring.generation
        record = self._keyring.new_record(bytes.fromhex(public["salt"]))
        seal: dict[str, Any] = {
            "suite": record.suite,
            "root_kind": EPOCH_ROOT,
            "epoch": record.epoch,
            "salt": bytes(record.salt).hex(),
            "commitment": bytes(record.commitment).hex(),
        }
        public["seal"] = seal
        data = record.seal(digest_bytes(encode_record(public)), encode_record(private))
        return {**public, "seal": {**seal, "data": base64.b64encode(data).decode()}}

    def _opened(self, values: dict[str, Any], data: bytes, place: str) -> dict[str, Any]:
        if "seal" not in values:
            _refuse(place, "is not encrypted, in a repository that is; it was put here")
        if encode_record(values) != data:
            _refuse(place, "is not in the canonical form; it was put here")
        kind = values.get("kind")
        if not isinstance(kind, str) or kind not in _PRIVATE:
            return values  # refused by whoever asked for a kind
        seal = Fields(values["seal"], place=f"{place}: seal")
        # Of another root_kind the tag proves nothing.
        seal.integer("root_kind", EPOCH_ROOT, EPOCH_ROOT)
        body = self._body(values, seal, place)
        found = _joined(kind, values, decode_record(body, place=place), place)
        if kind == "commit" and values.get("name_tag") != self._keyring.name_tag(str(found["name"])):
            _refuse(place, "its name_tag is not that of its name")
        return found

    def _body(self, values: dict[str, Any], seal: Fields, place: str) -> bytes:
        public = dict(values)
        public.pop("signature", None)
        public["seal"] = {key: value for key, value in seal.values.items() if key != "data"}
        text = seal.values.get("data")
        try:
            data = base64.b64decode(text if isinstance(text, str) else "", validate=True)
        except (binascii.Error, ValueError):
            seal.refuse("data: expected base64")
        try:
            return self._keyring.open_record(
                data,
                record=bytes.fromhex(Fields(values, place=place).hexadecimal("salt", 32)),
                suite=seal.integer("suite", 0, 0xFFFF),
                epoch=seal.integer("epoch", 1, 0xFFFF_FFFF),
                salt=bytes.fromhex(seal.hexadecimal("salt", 64)),
                commitment=bytes.fromhex(seal.hexadecimal("commitment", 64)),
                wrapped=None,
                public_digest=digest_bytes(encode_record(public)),
            )
        except DamagedError:
            _refuse(place, "was altered, or belongs to another place or key")
        except VarkError as error:
            raise type(error)(f"{place}: {error.message}", code=error.code, layer=error.layer) from None


def _parted(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the public and the private part of a record."""
    kind = values["kind"]
    private = {key: values[key] for key in _PRIVATE[kind]}
    public = {key: value for key, value in values.items() if key not in private}
    of_archives = _PRIVATE_OF_ARCHIVES.get(kind)
    if of_archives:
        private["archives"] = [{key: item[key] for key in of_archives} for item in values["archives"]]
        public["archives"] = [
            {key: value for key, value in item.items() if key not in of_archives} for item in values["archives"]
        ]
    return public, private


def _joined(kind: str, public: dict[str, Any], private: dict[str, Any], place: str) -> dict[str, Any]:
    """Return the record that two parts are of; each key is in one of them, where it belongs."""
    found = {key: value for key, value in public.items() if key not in ("seal", "name_tag", "key_generation")}
    for key in _PRIVATE[kind]:
        if key in found or key not in private:
            _refuse(place, f"{key}: expected in its private part alone")
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
