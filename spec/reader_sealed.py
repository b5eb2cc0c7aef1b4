"""Sealed archives for reader.py (CRYPTO.md, section 5): the seal record, and the keys that it leads to."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import reader_seal as keys
from reader_codecs import need, parse_json
from reader_deltas import Ancestor

RECORD_BYTES, ANCESTOR_BYTES, WRAPPED_BYTES, SLOTS_BYTES_MAX = 96, 40, 80, 16_384
EPOCH_ROOT, SESSION_ROOT, ACCESS_KEY = 1, 2, 3
in_seal = partial(need, "seal")


@dataclass(frozen=True)
class Source:
    """What leads to the key of an archive: its own or an ancestor's."""

    suite: int
    root_kind: int
    epoch: int
    salt: bytes
    wrapped: bytes


class Seal:
    """The seal record, its shape checked without a key; `unlock` finds the keys."""

    def __init__(self, record: bytes, archive_id: bytes, ancestors: Sequence[Ancestor]) -> None:
        in_seal(len(record) >= RECORD_BYTES, "seal record", f"{RECORD_BYTES} bytes or more", len(record))
        suite, kind, flags, epoch, slots_bytes, reserved = struct.unpack_from("<HBBIII", record)
        self.repository, salt, self.commitment = record[16:32], record[32:64], record[64:96]
        self._archive_id, self._ancestors = archive_id, ancestors
        in_seal(flags == reserved == 0, "seal record", "flags and reserved 0")
        self._check_source("seal record", suite, kind, epoch)
        in_seal((kind == ACCESS_KEY) == (not any(self.repository)), "seal record", "a repository exactly for its keys")
        fits = 1 <= slots_bytes <= SLOTS_BYTES_MAX if kind == ACCESS_KEY else slots_bytes == 0
        in_seal(fits, "seal record", "slots exactly in a single archive", slots_bytes)
        at = RECORD_BYTES + WRAPPED_BYTES * (kind == SESSION_ROOT)
        self.own = Source(suite, kind, epoch, salt, record[RECORD_BYTES:at])
        self._sources = [self.own]
        for number, _ in enumerate(ancestors, 1):
            source, at = self._ancestor(record, at, f"ancestor seal {number}")
            self._sources.append(source)
        in_seal(at + slots_bytes == len(record), "seal record", f"{at + slots_bytes} bytes", len(record))
        self._slots = record[at:]
        self._opened: dict[int, keys.ObjectKey] = {}

    def _check_source(self, place: str, suite: int, kind: int, epoch: int) -> None:
        in_seal(suite in keys.SUITES, place, "a suite that this reader knows", suite)
        in_seal(kind in (EPOCH_ROOT, SESSION_ROOT, ACCESS_KEY), place, "root_kind 1 to 3", kind)
        in_seal((epoch == 0) == (kind == ACCESS_KEY), place, "an epoch exactly in a repository", epoch)

    def _ancestor(self, record: bytes, at: int, place: str) -> tuple[Source, int]:
        in_seal(at + ANCESTOR_BYTES <= len(record), place, "to be there")
        suite, kind, flags, epoch = struct.unpack_from("<HBBI", record, at)
        in_seal(flags == 0, place, "flags 0", flags)
        self._check_source(place, suite, kind, epoch)
        same = (kind == ACCESS_KEY) == (self.own.root_kind == ACCESS_KEY)
        in_seal(same, place, "root_kind 3 exactly in a single archive", kind)
        end = at + ANCESTOR_BYTES + WRAPPED_BYTES * (kind == SESSION_ROOT)
        in_seal(end <= len(record), place, "to be there whole")
        return Source(suite, kind, epoch, record[at + 8 : at + 40], record[at + 40 : end]), end

    def unlock(self, secrets: Sequence[keys.Secret], epoch_roots: Mapping[int, bytes]) -> None:
        """Finds the root key and compares the commitment. Errors: ArchiveFault, WrongKeyError."""
        self._access_key, self._epoch_roots = b"", epoch_roots
        if self.own.root_kind == ACCESS_KEY:
            self._access_key, anchor = keys.open_slots(parse_slots(self._slots), secrets, self.repository)
            expected = keys.kdf(self._access_key, b"", "anchor")
            in_seal(anchor in (None, expected), "key slot", "to vouch for this archive's access key")
        self.key(0)

    def key(self, archive: int) -> keys.ObjectKey:
        """The object key of this archive (0) or an ancestor, as in an entry."""
        if archive not in self._opened:
            source = self._sources[archive]
            object_id = self._ancestors[archive - 1].archive_id if archive else self._archive_id
            binding = keys.Binding(source.suite, keys.ARCHIVE, source.epoch, self.repository, object_id)
            key = keys.ObjectKey(self._root(source), source.salt, binding)
            proved = archive or hmac.compare_digest(key.commitment, self.commitment)
            in_seal(proved, "commitment", "that of the key: it was altered, or belongs to another archive or key")
            self._opened[archive] = key
        return self._opened[archive]

    def _root(self, source: Source) -> bytes:
        if source.root_kind == ACCESS_KEY:
            return self._access_key
        root = self._epoch_roots.get(source.epoch)
        if root is None:
            raise keys.WrongKeyError(f"it is sealed under epoch {source.epoch}, whose root was not given")
        if source.root_kind == EPOCH_ROOT:
            return root
        identity = keys.kdf(root, b"", "recipient", self.repository + struct.pack("<I", source.epoch))
        return keys.unwrap_session_root(source.wrapped, identity, self.repository, source.epoch)


def parse_slots(data: bytes) -> Any:
    """The JSON array, under the rules of metadata (which is an object, so it is read inside one)."""
    found = parse_json(b'{"slots":' + data + b"}", "seal")
    in_seal(list(found) == ["slots"] and isinstance(found["slots"], list), "key slots", "a JSON array")
    return found["slots"]
