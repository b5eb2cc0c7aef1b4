"""The records of a repository: marker, commit and mark (spec/REPOSITORY.md, section 2), read and written here alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vark.repository.envelope import Envelope, Provenance
from vark.repository.fields import Fields, encode_digested, split_digested
from vark.repository.layout import VOLUMES_MAX

FORMAT = "vark-repository"
VERSION = 1
VERSION_SEALED = 2  # of the marker: spec/CRYPTO.md, section 7
ARCHIVE_BYTES_MIN = 192
ACTIONS = ("forget", "undelete", "hold", "release", "tag", "untag")


@dataclass(frozen=True, slots=True)
class Marker:
    """What makes a folder a repository.

    fingerprint_key: 32 bytes (hex) under which rows are fingerprinted; None where the keyring has it. suite: what new
    objects are sealed with; None in a repository that is not encrypted.
    """

    id: str
    fingerprint_key: str | None
    created_unix_ms: int
    volume_bytes: int | None
    suite: int | None = None

    def encode(self) -> bytes:
        """Return the bytes of the object; `digest` is over all other fields, for its name promises nothing."""
        values: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION if self.suite is None else VERSION_SEALED,
            "id": self.id,
            "created_unix_ms": self.created_unix_ms,
            "volume_bytes": self.volume_bytes,
        }
        if self.suite is None:
            values["fingerprint_key"] = self.fingerprint_key
        else:
            values["seal"] = {"suite": self.suite}
        return encode_digested(values)

    @classmethod
    def decode(cls, data: bytes, *, place: str) -> Marker:
        """Read a marker. Errors: DamagedError, UnsupportedError."""
        fields = Fields(split_digested(data, place=place), place=place)
        if fields.text("format") != FORMAT:
            fields.refuse(f"format: expected {FORMAT!r}")
        is_sealed = fields.values.get("version") == VERSION_SEALED
        fields.values.setdefault("kind", FORMAT)
        fields.check_kind(FORMAT, version=VERSION_SEALED if is_sealed else VERSION)
        volume = fields.values.get("volume_bytes")
        suite = None
        if is_sealed:
            suite = Fields(fields.object("seal"), place=f"{place}: seal").integer("suite", 0, 0xFFFF)
        return cls(
            id=fields.hexadecimal("id", 32),
            fingerprint_key=None if is_sealed else fields.hexadecimal("fingerprint_key", 64),
            created_unix_ms=fields.unix_ms("created_unix_ms"),
            volume_bytes=None if volume is None else fields.integer("volume_bytes", 1),
            suite=suite,
        )


@dataclass(frozen=True, slots=True)
class Ancestor:
    """An archive that others point into."""

    id: str
    bytes: int
    root: str

    def record(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"id": self.id, "bytes": self.bytes, "root": self.root}

    @classmethod
    def read(cls, fields: Fields) -> Ancestor:
        """Read a JSON object."""
        return cls(fields.uuid("id"), fields.integer("bytes", ARCHIVE_BYTES_MIN), fields.hexadecimal("root", 64))


@dataclass(frozen=True, slots=True)
class CopyOf:
    """The commit of another repository that a commit is a copy of."""

    repository: str
    commit: str

    def record(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"repository": self.repository, "commit": self.commit}

    @classmethod
    def read(cls, fields: Fields) -> CopyOf | None:
        """Read what a commit says of it; None where it is no copy."""
        if fields.values.get("copy_of") is None:
            return None
        part = Fields(fields.object("copy_of"), place=f"{fields.place}: copy_of")
        return cls(part.hexadecimal("repository", 32), part.hexadecimal("commit", 64))


@dataclass(frozen=True, slots=True)
class CommittedArchive:
    """One archive of a commit. volumes: bytes of each; base: the archive that it was compared with, or None.

    raw_bytes: what it restores to, 0 where unknown; only the chain policy looks at it. digests: of the volumes, where
    they are known; they prove the bytes of each. copy_of: the archive of another repository that it is a copy
    of, block by block: copies of deltas on that may point into this.
    """

    id: str
    shard: str
    volumes: tuple[int, ...]
    root: str
    bytes: int
    base: str | None
    raw_bytes: int = 0
    digests: tuple[str, ...] = ()
    copy_of: Ancestor | None = None

    def record(self) -> dict[str, Any]:
        """Return the JSON object."""
        more: dict[str, Any] = {"digests": list(self.digests)} if self.digests else {}
        if self.copy_of is not None:
            more["copy_of"] = self.copy_of.record()
        return {
            **more,
            "id": self.id,
            "shard": self.shard,
            "volumes": list(self.volumes),
            "root": self.root,
            "bytes": self.bytes,
            "base": self.base,
            "raw_bytes": self.raw_bytes,
        }

    @classmethod
    def read(cls, fields: Fields) -> CommittedArchive:
        """Read a JSON object."""
        volumes = tuple(fields.items("volumes"))
        whole = all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in volumes)
        byte_count = fields.integer("bytes", ARCHIVE_BYTES_MIN)
        if not whole or not 1 <= len(volumes) <= VOLUMES_MAX or sum(volumes) != byte_count:
            fields.refuse("volumes: expected sizes whose sum is bytes")
        digests = fields.hexadecimals("digests", 64, unique=False) if "digests" in fields.values else ()
        if digests and len(digests) != len(volumes):
            fields.refuse("digests: expected one for each volume")
        copy_of = None
        if fields.values.get("copy_of") is not None:
            copy_of = Ancestor.read(Fields(fields.object("copy_of"), place=f"{fields.place}: copy_of"))
        return cls(
            id=fields.uuid("id"),
            shard=fields.shard("shard"),
            volumes=volumes,
            root=fields.hexadecimal("root", 64),
            bytes=byte_count,
            base=fields.optional_uuid("base"),
            raw_bytes=fields.integer("raw_bytes") if "raw_bytes" in fields.values else 0,
            digests=digests,
            copy_of=copy_of,
        )

    def as_ancestor(self) -> Ancestor:
        """Return what others say of it when they point into it."""
        return Ancestor(self.id, self.bytes, self.root)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit record. Times: created_unix_ms by the client, store_unix_ms by the store where it has a clock.

    copy_of: of a copy, the commit it was made of. provenance: what is proved of where it comes from; not part of the
    record.
    """

    repository: str
    snapshot: str
    name: str
    created_unix_ms: int
    store_unix_ms: int | None
    tags: Mapping[str, str]
    host: str
    source: Mapping[str, Any]
    partial: bool
    root_generation: int
    heads: tuple[str, ...]
    archives: tuple[CommittedArchive, ...]
    closure: tuple[Ancestor, ...]
    replaces: str | None
    salt: str
    copy_of: CopyOf | None = None
    provenance: Provenance = field(default_factory=Provenance, compare=False)

    @property
    def unix_ms(self) -> int:
        """The time that counts: the store's, or the client's where the store has none."""
        return self.created_unix_ms if self.store_unix_ms is None else self.store_unix_ms

    def needed(self) -> Iterator[Ancestor]:
        """Yield every archive that the commit needs: its own, then the closure."""
        for archive in self.archives:
            yield archive.as_ancestor()
        yield from self.closure

    def encode(self, envelope: Envelope) -> bytes:
        """Return the bytes of the object."""
        more = {} if self.copy_of is None else {"copy_of": self.copy_of.record()}
        return envelope.encode(
            {
                **more,
                "kind": "commit",
                "version": VERSION,
                "repository": self.repository,
                "snapshot": self.snapshot,
                "name": self.name,
                "created_unix_ms": self.created_unix_ms,
                "store_unix_ms": self.store_unix_ms,
                "tags": dict(self.tags),
                "host": self.host,
                "source": dict(self.source),
                "partial": self.partial,
                "root_generation": self.root_generation,
                "heads": list(self.heads),
                "archives": [archive.record() for archive in self.archives],
                "closure": [ancestor.record() for ancestor in self.closure],
                "replaces": self.replaces,
                "salt": self.salt,
            }
        )

    @classmethod
    def decode(cls, data: bytes, *, place: str, envelope: Envelope) -> Commit:
        """Read a commit. Errors: DamagedError, UnsupportedError, WrongKeyError."""
        fields = envelope.decode(data, place=place)
        fields.check_kind("commit", version=VERSION)
        commit = cls(
            repository=read_repository(fields, envelope.repository),
            snapshot=fields.hexadecimal("snapshot", 32),
            name=fields.label("name"),
            created_unix_ms=fields.unix_ms("created_unix_ms"),
            store_unix_ms=fields.optional_unix_ms("store_unix_ms"),
            tags=fields.tags("tags"),
            host=fields.text("host", 255),
            source=fields.object("source"),
            partial=fields.flag("partial"),
            root_generation=fields.integer("root_generation"),
            heads=fields.hexadecimals("heads", 64),
            archives=tuple(CommittedArchive.read(part) for part in fields.parts("archives")),
            closure=tuple(Ancestor.read(part) for part in fields.parts("closure")),
            replaces=fields.optional_hexadecimal("replaces", 64),
            salt=fields.hexadecimal("salt", 32),
            copy_of=CopyOf.read(fields),
            provenance=envelope.provenance(fields),
        )
        ids = [archive.id for archive in commit.needed()]
        if not commit.archives or len(set(ids)) != len(ids):
            fields.refuse("archives, closure: expected at least one archive, and none twice")
        if len({archive.shard for archive in commit.archives}) != len(commit.archives):
            fields.refuse("archives: two of the same shard")
        if len(commit.archives) > 1 and any(not archive.shard for archive in commit.archives):
            fields.refuse("archives: several, and one without the name of its shard")
        return commit


@dataclass(frozen=True, slots=True)
class Mark:
    """A later word on a snapshot; `commit` limits forget and undelete to one commit of it."""

    action: str
    repository: str
    snapshot: str
    commit: str | None
    created_unix_ms: int
    store_unix_ms: int | None
    tags: Mapping[str, str]
    keys: tuple[str, ...]
    reason: str
    salt: str

    @property
    def unix_ms(self) -> int:
        """The time that counts: the store's, or the client's where the store has none."""
        return self.created_unix_ms if self.store_unix_ms is None else self.store_unix_ms

    def encode(self, envelope: Envelope) -> bytes:
        """Return the bytes of the object."""
        return envelope.encode(
            {
                "kind": self.action,
                "version": VERSION,
                "repository": self.repository,
                "snapshot": self.snapshot,
                "commit": self.commit,
                "created_unix_ms": self.created_unix_ms,
                "store_unix_ms": self.store_unix_ms,
                "tags": dict(self.tags),
                "keys": list(self.keys),
                "reason": self.reason,
                "salt": self.salt,
            }
        )

    @classmethod
    def decode(cls, data: bytes, *, place: str, envelope: Envelope) -> Mark:
        """Read a mark. Errors: DamagedError, UnsupportedError."""
        fields = envelope.decode(data, place=place)
        action = fields.check_kind(*ACTIONS, version=VERSION)
        keys = tuple(fields.items("keys"))
        if not all(isinstance(key, str) and len(key) <= 255 for key in keys):
            fields.refuse("keys: expected texts")
        return cls(
            action=action,
            repository=read_repository(fields, envelope.repository),
            snapshot=fields.hexadecimal("snapshot", 32),
            commit=fields.optional_hexadecimal("commit", 64),
            created_unix_ms=fields.unix_ms("created_unix_ms"),
            store_unix_ms=fields.optional_unix_ms("store_unix_ms"),
            tags=fields.tags("tags"),
            keys=keys,
            reason=fields.text("reason"),
            salt=fields.hexadecimal("salt", 32),
        )


def read_repository(fields: Fields, expected: str | None) -> str:
    """Return whose record it is; a record that was copied from another repository is refused."""
    found = fields.hexadecimal("repository", 32)
    if expected is not None and found != expected:
        fields.refuse(f"repository: {found}, expected {expected}: it belongs to another")
    return found
