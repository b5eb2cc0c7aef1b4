"""Erasures: which ids are to be in no snapshot, kept as keyed hashes, and for which names that has come to an end.

spec/REPOSITORY.md, section 6. A list that cannot be read is an error: what it says must not be let in again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vark.erasing import HASH_BYTES, id_hashes
from vark.repository.envelope import Envelope
from vark.repository.fields import Fields, new_salt
from vark.repository.layout import ERASURES, content_of_name
from vark.repository.objects import create_record, read_object
from vark.repository.records import VERSION, read_repository
from vark.stores import Store

ERASE, END = "erase", "end-erasure"
HASHES_MAX = 16_000  # of one record, which has at most a MiB, sealed and in base64, too


@dataclass(frozen=True, slots=True)
class Erasure:
    """Ids that are erased from the snapshots of some names, or an end of that.

    names: none for all of them. key: of the hashes, 64 hexadecimal digits. Of an end both are those of the record
    `erasure` (a digest), as far as it ends them; the key is "". leave_unknown: members whose ids nobody can see stay.
    """

    action: str
    repository: str
    names: tuple[str, ...]
    key: str
    hashes: tuple[str, ...]
    leave_unknown: bool
    erasure: str | None
    reason: str
    created_unix_ms: int
    store_unix_ms: int | None
    salt: str

    def encode(self, envelope: Envelope) -> bytes:
        """Return the bytes of the object."""
        return envelope.encode(
            {
                "kind": self.action,
                "version": VERSION,
                "repository": self.repository,
                "names": list(self.names),
                "key": self.key or None,
                "hashes": list(self.hashes),
                "leave_unknown": self.leave_unknown,
                "erasure": self.erasure,
                "reason": self.reason,
                "created_unix_ms": self.created_unix_ms,
                "store_unix_ms": self.store_unix_ms,
                "salt": self.salt,
            }
        )

    @classmethod
    def decode(cls, data: bytes, *, place: str, envelope: Envelope) -> Erasure:
        """Read a record. Errors: DamagedError, UnsupportedError, WrongKeyError."""
        fields = envelope.decode(data, place=place)
        action = fields.check_kind(ERASE, END, version=VERSION)
        names = tuple(part.label("name") for part in _named(fields))
        if len(set(names)) != len(names):
            fields.refuse("names: one is there twice")
        erasure = fields.optional_hexadecimal("erasure", 64)
        key = fields.optional_hexadecimal("key", 64)
        if (erasure is None) != (action == ERASE) or (key is None) != (action == END):
            fields.refuse("erasure, key: expected the digest of a list in the record of an end, a key in a list")
        hashes = fields.hexadecimals("hashes", 2 * HASH_BYTES)
        if not 1 <= len(hashes) <= HASHES_MAX:
            fields.refuse(f"hashes: {len(hashes)}; expected 1 to {HASHES_MAX}")
        return cls(
            action=action,
            repository=read_repository(fields, envelope.repository),
            names=names,
            key=key or "",
            hashes=hashes,
            leave_unknown=fields.flag("leave_unknown"),
            erasure=erasure,
            reason=fields.text("reason"),
            created_unix_ms=fields.unix_ms("created_unix_ms"),
            store_unix_ms=fields.optional_unix_ms("store_unix_ms"),
            salt=fields.hexadecimal("salt", 32),
        )

    def covers(self, name: str) -> bool:
        """Return whether it speaks of the snapshots of a name."""
        return not self.names or name in self.names


def _named(fields: Fields) -> list[Fields]:
    return [Fields({"name": item}, place=f"{fields.place}: names") for item in fields.items("names")]


@dataclass(frozen=True, slots=True)
class List:
    """The hashes of one record that are in force for a name, and their key."""

    digest: str
    key: bytes
    hashes: frozenset[bytes]
    leave_unknown: bool = False

    def pair(self) -> tuple[bytes, bytes]:
        """Return what the engine takes."""
        return self.key, b"".join(sorted(self.hashes))


def hashes_of(key: str, ids: Sequence[int]) -> frozenset[str]:
    """Return the hashes of ids as a record has them."""
    return frozenset(one.hex() for one in id_hashes(bytes.fromhex(key), ids))


def read_erasures(store: Store, envelope: Envelope) -> dict[str, Erasure]:
    """Return all records by digest. Errors: DamagedError, UnsupportedError, those of the store."""
    found = {}
    for entry in store.list(ERASURES):
        digest = content_of_name(entry.name)
        if digest is not None:
            found[digest] = Erasure.decode(read_object(store, entry.name), place=entry.name, envelope=envelope)
    return found


def lists_for(records: dict[str, Erasure], name: str) -> tuple[List, ...]:
    """Return what is in force for a name."""
    ended: dict[str, set[str]] = {}
    for record in records.values():
        if record.action == END and record.covers(name):
            ended.setdefault(record.erasure or "", set()).update(record.hashes)
    lists = []
    for digest, record in sorted(records.items()):
        left = frozenset(record.hashes) - ended.get(digest, set())
        if record.action == ERASE and record.covers(name) and left:
            hashes = frozenset(bytes.fromhex(one) for one in left)
            lists.append(List(digest, bytes.fromhex(record.key), hashes, record.leave_unknown))
    return tuple(lists)


def new_erasure(
    store: Store,
    envelope: Envelope,
    action: str,
    names: Iterable[str],
    hashes: Iterable[str],
    *,
    key: str = "",
    leave_unknown: bool = False,
    erasure: str | None = None,
    reason: str = "",
) -> str:
    """Create a record; return its digest."""
    assert envelope.repository is not None
    record = Erasure(
        action=action,
        repository=envelope.repository,
        names=tuple(sorted(names)),
        key=key,
        hashes=tuple(sorted(hashes)),
        leave_unknown=leave_unknown,
        erasure=erasure,
        reason=reason,
        created_unix_ms=time.time_ns() // 1_000_000,
        store_unix_ms=store.clock_unix_ms(),
        salt=new_salt(),
    )
    return create_record(store, ERASURES, record.encode(envelope), record.created_unix_ms)


def end_for(
    store: Store,
    envelope: Envelope,
    name: str,
    lists: Iterable[List],
    gone: Iterable[tuple[str, bytes]],
    *,
    reason: str,
) -> None:
    """End lists for a name, as far as `gone` (digest of the list, hash) says."""
    by_list: dict[str, list[str]] = {}
    for digest, one in gone:
        by_list.setdefault(digest, []).append(one.hex())
    known = {item.digest for item in lists}
    for digest, hashes in sorted(by_list.items()):
        if digest in known:
            new_erasure(store, envelope, END, [name], hashes, erasure=digest, reason=reason)
