"""Administrative state: root generations, condemned and sweep lists, and the archives that count as dead.

Spec section 4. Creating the next generation is the compare-and-swap; no root and no list is ever deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from vark.errors import DamagedError, NotFoundError, ObjectExistsError, VarkError
from vark.repository.digest import digest_hex
from vark.repository.envelope import Envelope
from vark.repository.fields import new_salt
from vark.repository.layout import ROOTS, list_name, root_generation, root_name
from vark.repository.objects import create_list, read_object
from vark.repository.records import VERSION, read_repository
from vark.stores import Store

Read = TypeVar("Read")
PHASES = ("idle", "condemned", "sweep")
LIST_ARCHIVES_MAX = 8000  # what a record of 1 MiB holds with room to spare; the rest waits for the next collection
SWEEPS_MAX = 64  # more are merged, so that nobody has to read a list for each collection there ever was


@dataclass(frozen=True, slots=True)
class Root:
    """One generation. list: the condemned list in phase condemned, the sweep list in phase sweep.

    sweeps: the sweep lists in force, which together name every archive that was ever swept.
    """

    repository: str
    generation: int
    epoch: int
    phase: str
    list: str | None
    sweeps: tuple[str, ...]
    previous: str | None
    write_id: str
    created_unix_ms: int

    def encode(self, envelope: Envelope) -> bytes:
        """Return the bytes of the object."""
        return envelope.encode_digested(
            {
                "kind": "root",
                "version": VERSION,
                "repository": self.repository,
                "generation": self.generation,
                "epoch": self.epoch,
                "phase": self.phase,
                "list": self.list,
                "sweeps": list(self.sweeps),
                "previous": self.previous,
                "write_id": self.write_id,
                "created_unix_ms": self.created_unix_ms,
            }
        )

    @classmethod
    def decode(cls, data: bytes, *, place: str, envelope: Envelope) -> Root:
        """Read a generation. Errors: DamagedError, UnsupportedError."""
        fields = envelope.decode_digested(data, place=place)
        fields.check_kind("root", version=VERSION)
        phase = fields.text("phase")
        if phase not in PHASES:
            fields.refuse(f"phase: expected one of {PHASES}")
        root = cls(
            repository=read_repository(fields, envelope.repository),
            generation=fields.integer("generation"),
            epoch=fields.integer("epoch"),
            phase=phase,
            list=fields.optional_hexadecimal("list", 64),
            sweeps=fields.hexadecimals("sweeps", 64),
            previous=fields.optional_hexadecimal("previous", 64),
            write_id=fields.hexadecimal("write_id", 32),
            created_unix_ms=fields.unix_ms("created_unix_ms"),
        )
        if (root.list is None) != (phase == "idle") or (phase == "sweep" and root.list not in root.sweeps):
            fields.refuse("list: expected one in the phases condemned and sweep, in the latter among sweeps")
        return root


@dataclass(frozen=True, slots=True)
class ArchiveList:
    """Archives that a collection condemns or sweeps: id -> bytes."""

    kind: str
    repository: str
    epoch: int
    archives: dict[str, int]

    def encode(self, envelope: Envelope) -> bytes:
        """Return the bytes of the object."""
        archives = [{"id": archive, "bytes": size} for archive, size in sorted(self.archives.items())]
        values: dict[str, Any] = {"kind": self.kind, "version": VERSION, "repository": self.repository}
        return envelope.encode({**values, "epoch": self.epoch, "archives": archives, "salt": new_salt()})

    @classmethod
    def decode(cls, data: bytes, *, place: str, envelope: Envelope) -> ArchiveList:
        """Read a list. Errors: DamagedError, UnsupportedError."""
        fields = envelope.decode(data, place=place)
        kind = fields.check_kind("condemned", "sweep", version=VERSION)
        fields.hexadecimal("salt", 32)
        parts = fields.parts("archives")
        archives = {part.uuid("id"): part.integer("bytes") for part in parts}
        if len(archives) != len(parts):
            fields.refuse("archives: one is there twice")
        return cls(kind, read_repository(fields, envelope.repository), fields.integer("epoch"), archives)


@dataclass(frozen=True, slots=True)
class Administration:
    """The newest root with its lists. root: None before the first collection, which counts as
    generation 0.
    """

    root: Root | None
    root_digest: str | None  # BLAKE3 of the object that the root is
    condemned: dict[str, int]  # of an epoch that is still in phase condemned
    sweep: dict[str, int]  # of an epoch that is in phase sweep: what may be deleted now
    swept: frozenset[str]  # on any sweep list there ever was

    @property
    def generation(self) -> int:
        """The generation; 0 before the first collection."""
        return 0 if self.root is None else self.root.generation

    @property
    def phase(self) -> str:
        """idle, condemned or sweep."""
        return "idle" if self.root is None else self.root.phase

    @property
    def dead(self) -> frozenset[str]:
        """The effective dead list: what a writer must treat as absent."""
        return self.swept | self.condemned.keys()


class AdministrationReader:
    """Reads the administrative state of one repository; lists never change, so each is read once."""

    def __init__(self, store: Store, envelope: Envelope) -> None:
        self.store = store
        self.envelope = envelope
        self._lists: dict[str, ArchiveList] = {}
        self._digests: dict[int, str] = {}

    def read(self) -> Administration:
        """Return the newest state. Errors: DamagedError, UnsupportedError: then nobody may write or collect."""
        newest = max(self.generations(), default=None)
        if newest is None:
            return Administration(None, None, {}, {}, frozenset())
        return self._administration(self.read_root(newest))

    def read_what_is_readable(self, faults: dict[str, VarkError]) -> Administration:
        """Return the newest state whose root and lists are whole; name what is not. For readers only."""
        for generation in sorted(self.generations(), reverse=True):
            root = _tried(faults, root_name(generation), partial(self.read_root, generation))
            if root is None:
                continue
            wanted = [(digest, "sweep") for digest in root.sweeps]
            if root.phase == "condemned" and root.list is not None:
                wanted.append((root.list, "condemned"))
            whole = True
            for digest, kind in wanted:
                whole = _tried(faults, list_name(digest), partial(self.read_list, digest, kind)) is not None and whole
            if whole:
                return self._administration(root)
        return Administration(None, None, {}, {}, frozenset())

    def generations(self) -> list[int]:
        """Return the numbers of all roots."""
        found = (root_generation(entry.name) for entry in self.store.list(ROOTS))
        return [generation for generation in found if generation is not None]

    def read_root(self, generation: int) -> Root:
        """Return one generation. Errors: NotFoundError, DamagedError, UnsupportedError."""
        name = root_name(generation)
        data = read_object(self.store, name)
        root = Root.decode(data, place=name, envelope=self.envelope)
        self._digests[generation] = digest_hex(data)
        if root.generation != generation:
            raise DamagedError(f"{name}: says generation {root.generation}; restore it from a copy", layer="record")
        return root

    def read_list(self, digest: str, kind: str) -> ArchiveList:
        """Return a list. Errors: DamagedError, UnsupportedError."""
        if digest not in self._lists:
            name = list_name(digest)
            try:
                data = read_object(self.store, name)
            except NotFoundError as error:  # lists are never deleted
                raise DamagedError(f"{name}: missing; restore it from another copy", layer="record") from error
            self._lists[digest] = ArchiveList.decode(data, place=name, envelope=self.envelope)
        if self._lists[digest].kind != kind:
            raise DamagedError(f"{list_name(digest)}: not a list of kind {kind}", layer="record")
        return self._lists[digest]

    def _administration(self, root: Root) -> Administration:
        swept = frozenset[str]().union(*(self.read_list(digest, "sweep").archives for digest in root.sweeps))
        condemned, sweep = {}, {}
        if root.phase == "condemned" and root.list is not None:
            condemned = self.read_list(root.list, "condemned").archives
        elif root.phase == "sweep" and root.list is not None:
            sweep = self.read_list(root.list, "sweep").archives
        return Administration(root, self._digests[root.generation], condemned, sweep, swept)

    def advance(
        self, found: Administration, phase: str, archives: dict[str, int] | None = None
    ) -> Administration | None:
        """Create the next generation in `phase`, with the list `archives`; None when somebody else was first."""
        assert self.envelope.repository is not None
        before, digest = found.root, None
        epoch = (0 if before is None else before.epoch) + (phase == "condemned")
        sweeps = () if before is None else before.sweeps
        if phase != "idle":
            digest = create_list(
                self.store, ArchiveList(phase, self.envelope.repository, epoch, archives or {}).encode(self.envelope)
            )
        if phase == "sweep" and digest is not None:
            sweeps = (*self._merged(sweeps, epoch), digest)
        root = Root(
            repository=self.envelope.repository,
            generation=found.generation + 1,
            epoch=epoch,
            phase=phase,
            list=digest,
            sweeps=sweeps,
            previous=found.root_digest,
            write_id=new_salt(),
            created_unix_ms=time.time_ns() // 1_000_000,
        )
        name = root_name(root.generation)
        data = root.encode(self.envelope)
        self._digests[root.generation] = digest_hex(data)
        try:
            self.store.create(name, data)
        except ObjectExistsError:
            # Our own, when an earlier attempt landed and its reply was lost.
            if self.read_root(root.generation).write_id != root.write_id:
                return None
        return self._administration(root)

    def _merged(self, sweeps: tuple[str, ...], epoch: int) -> tuple[str, ...]:
        """Return lists in force that name the same archives in fewer objects."""
        if len(sweeps) < SWEEPS_MAX:
            return sweeps
        assert self.envelope.repository is not None
        kept: list[str] = []
        merged = ArchiveList("sweep", self.envelope.repository, epoch, {})
        for digest in sweeps:
            archives = self.read_list(digest, "sweep").archives
            if len(merged.archives) + len(archives) <= LIST_ARCHIVES_MAX:
                merged = replace(merged, archives={**merged.archives, **archives})
            else:
                kept.append(digest)
        return (*kept, create_list(self.store, merged.encode(self.envelope)))


def _tried(faults: dict[str, VarkError], name: str, read: Callable[[], Read]) -> Read | None:
    try:
        return read()
    except VarkError as error:
        faults[name] = error
        return None
