"""The catalog: what commits and marks add up to. Reads every record, trusts none, and names those it cannot use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from vark.errors import DamagedError, UnsupportedError, VarkError
from vark.repository.bundles import read_bundle
from vark.repository.claims import overreaching
from vark.repository.envelope import Envelope
from vark.repository.fields import RECORD_BYTES_MAX
from vark.repository.layout import COMMITS, MARKS, ROOTS, content_of_name
from vark.repository.marks import MarkState, fold
from vark.repository.objects import read_object
from vark.repository.records import Ancestor, Commit, CommittedArchive, CopyOf, Mark
from vark.repository.root import Administration, AdministrationReader
from vark.stores import ObjectEntry, Store
from vark.stores.base import listing_ahead, read_ahead


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One committed point in time. Times are milliseconds since 1970, UTC.

    unix_ms: the store's clock where it has one, else the client's, which is always in created_unix_ms. commit: the
    commit record that stands for it now. void: needs an archive that a collection has swept; never restored.
    superseded: commits of the same snapshot that another has replaced (`compact`). copy_of: of a copy, the commit of
    another repository that it was made of.
    """

    id: str
    name: str
    unix_ms: int
    created_unix_ms: int
    store_unix_ms: int | None
    tags: Mapping[str, str]
    host: str
    source: Mapping[str, Any]
    partial: bool
    held: bool
    hold_reason: str
    forgotten_unix_ms: int | None
    forget_reason: str
    void: bool
    commit: str
    archives: tuple[CommittedArchive, ...]
    closure: tuple[Ancestor, ...]
    superseded: tuple[str, ...] = ()
    copy_of: CopyOf | None = None

    @property
    def time(self) -> datetime:
        """The time of the snapshot, UTC."""
        return datetime.fromtimestamp(self.unix_ms / 1000, UTC)

    @property
    def archive_bytes(self) -> int:
        """Bytes of its own archives."""
        return sum(archive.bytes for archive in self.archives)

    @property
    def closure_bytes(self) -> int:
        """Bytes of the archives of earlier snapshots that it points into."""
        return sum(ancestor.bytes for ancestor in self.closure)

    @property
    def delta(self) -> bool:
        """Whether it points into earlier archives."""
        return bool(self.closure)

    @property
    def usable(self) -> bool:
        """Whether it can be restored: neither void nor forgotten."""
        return not self.void and self.forgotten_unix_ms is None

    def needed(self) -> Iterable[Ancestor]:
        """Yield every archive that it needs."""
        for archive in self.archives:
            yield archive.as_ancestor()
        yield from self.closure


@dataclass(slots=True)
class Catalog:
    """One look at the repository. faults: object -> why it could not be used; a collector refuses to work then."""

    administration: Administration
    commits: dict[str, Commit]
    marks: dict[str, Mark]
    mark_states: dict[str, MarkState]
    snapshots: tuple[Snapshot, ...]
    faults: dict[str, VarkError] = field(default_factory=dict)
    commit_names: dict[str, str] = field(default_factory=dict)  # digest -> object
    refused: Mapping[str, Commit] = field(default_factory=dict)  # of a writer who is believed no more: as if not there
    lasting: frozenset[str] = frozenset()  # snapshots with a commit that is neither void nor forgotten by itself

    def not_believed(self) -> dict[str, str]:
        """Return the commits that count as if they were not there: object -> what it is, and why."""
        return {
            self.commit_names[digest]: f"snapshot {commit.snapshot[:12]} of {commit.name!r} is not believed: "
            f"{commit.provenance.refused}"
            for digest, commit in self.refused.items()
        }

    def records_of(self, snapshot: Snapshot) -> list[str]:
        """Return the objects that say what a snapshot is: the commit that stands for it, and all marks."""
        marks = [name for name, mark in self.marks.items() if mark.snapshot == snapshot.id]
        return [self.commit_names[snapshot.commit], *marks]

    def is_void(self, commit: Commit) -> bool:
        """Return whether a commit needs an archive that was ever swept."""
        return any(archive.id in self.administration.swept for archive in commit.needed())

    def forgotten(self, digest: str) -> int | None:
        """Return when a commit was forgotten, or None."""
        word = self.forget_word(digest)
        return None if word is None else word[0]

    def forget_word(self, digest: str) -> tuple[int, str] | None:
        """Return when a commit was forgotten and why, or None."""
        snapshot = self.commits[digest].snapshot
        state = self.mark_states.get(snapshot)
        return None if state is None else state.forgotten(digest, another=snapshot in self.lasting)

    def in_doubt(self, snapshot: Snapshot) -> bool:
        """Return whether a collection may be freeing what a snapshot needs: nothing may go for the sake of this one.

        The root of a catalog is read after its commits: what is not in doubt has passed W4.
        """
        return any(ancestor.id in self.administration.dead for ancestor in snapshot.needed())

    def last_word_unix_ms(self, snapshot: str) -> int:
        """Return the time of the newest record about a snapshot; a new mark must be later to win."""
        times = [mark.unix_ms for mark in self.marks.values() if mark.snapshot == snapshot]
        times += [commit.unix_ms for commit in self.commits.values() if commit.snapshot == snapshot]
        return max(times, default=0)


class Memory(Protocol):
    """What was seen before, with which a catalog is compared (`history`)."""

    def look(self) -> Any:
        """Return what is remembered before a catalog is read."""
        ...

    def check(self, catalog: Catalog, before: Any) -> None:
        """Compare the catalog with that. Errors: HistoryAlteredError."""
        ...


class CatalogReader:
    """Reads catalogs of one repository; records never change, so each is read once."""

    def __init__(self, store: Store, envelope: Envelope, memory: Memory | None = None) -> None:
        self.store = store
        self.envelope = envelope
        self._memory = memory
        self.administrations = AdministrationReader(store, envelope)
        self._commits: dict[str, Commit] = {}
        self._marks: dict[str, Mark] = {}
        self._vanished = False
        self.uses_bundles = True
        self.raw: dict[str, bytes] = {}  # name -> bytes of the records that were read
        self._bundled: dict[str, bytes] = {}  # digest -> bytes

    def read(self, *, strict: bool = False) -> Catalog:
        """Return the catalog.

        strict: a root or list that is damaged is an error, and so is a store that fails, as writers and collectors
        want it.
        """
        self._vanished = False
        before = None if self._memory is None else self._memory.look()
        catalog = self._read(strict=strict)
        if self._vanished or any(snapshot.void for snapshot in catalog.snapshots):
            # Another commit may have come to stand for a snapshot after commits were listed.
            catalog = self._read(strict=strict)
        if self._memory is not None:
            self._memory.check(catalog, before)
        return catalog

    def _read(self, *, strict: bool) -> Catalog:
        """Read marks, commits and the root, in this order.

        So the commit is seen that stands in the place of one that a mark calls superseded, and a commit that was safe
        when it was listed stays safe.
        """
        faults: dict[str, VarkError] = {}
        marks = self._records(self.store.list(MARKS), self._marks, Mark, faults, strict=strict)
        listed = self.store.list(COMMITS)
        with listing_ahead(self.store, (ROOTS,)):  # while commits are read
            commits = self._records(listed, self._commits, Commit, faults, strict=strict)
            read = self.administrations
            administration = read.read() if strict else read.read_what_is_readable(faults)
        found = {content_of_name(name) or name: commit for name, commit in commits.items()}
        refused = {digest: commit for digest, commit in found.items() if commit.provenance.refused}
        by_digest = {digest: commit for digest, commit in found.items() if not commit.provenance.refused}
        refused |= overreaching(by_digest)
        by_digest = {digest: commit for digest, commit in by_digest.items() if digest not in refused}
        names = {content_of_name(name) or name: name for name in commits}
        states = fold(marks.items())
        catalog = Catalog(administration, by_digest, marks, states, (), faults, names, refused=refused)
        catalog.snapshots = _snapshots(catalog)
        return catalog

    def _records(
        self,
        entries: Sequence[ObjectEntry],
        known: dict[str, Any],
        kind: Any,
        faults: dict[str, VarkError],
        *,
        strict: bool,
    ) -> dict[str, Any]:
        found = {}
        if kind is Mark and self.uses_bundles and not self.raw:
            self._bundled = read_bundle(self.store, entries)
        names = [entry.name for entry in entries if content_of_name(entry.name) is not None]  # the others are not ours
        for name in self._ahead(names, known):
            try:
                if name not in known:
                    data = self._bundled.get(content_of_name(name) or "") or read_object(self.store, name)
                    self.raw[name] = data
                    known[name] = kind.decode(data, place=name, envelope=self.envelope)
                found[name] = known[name]
            except FileNotFoundError:
                self._vanished = True  # collected since it was listed
            except VarkError as error:
                # A store that fails says nothing of the record: it may be there the next time.
                if strict and not isinstance(error, (DamagedError, UnsupportedError)):
                    raise
                faults[name] = error
        return found

    def _ahead(self, names: list[str], known: Mapping[str, Any]) -> Iterator[str]:
        """Yield the names, those first that need no reading."""
        missing = [name for name in names if name not in known and content_of_name(name) not in self._bundled]
        yield from set(names).difference(missing)
        yield from read_ahead(self.store, missing, RECORD_BYTES_MAX)


def _snapshots(catalog: Catalog) -> tuple[Snapshot, ...]:
    members = {commit.snapshot for commit in catalog.commits.values() if not commit.provenance.is_write_only}
    groups: dict[tuple[str, str], list[str]] = {}
    for digest, commit in catalog.commits.items():
        # Of two write-only clients that claim one snapshot nobody can tell whose it is: each has one of its own.
        writer = "" if commit.snapshot in members else commit.provenance.signer
        groups.setdefault((commit.snapshot, writer), []).append(digest)
    catalog.lasting = frozenset(
        snapshot for (snapshot, _), digests in groups.items() if any(_lasts(catalog, digest) for digest in digests)
    )
    found = [_snapshot(catalog, digests) for digests in groups.values()]
    return tuple(sorted(found, key=lambda snapshot: (snapshot.unix_ms, snapshot.id)))


def _lasts(catalog: Catalog, digest: str) -> bool:
    commit = catalog.commits[digest]
    state = catalog.mark_states.get(commit.snapshot)
    return not catalog.is_void(commit) and (state is None or not state.forgotten_alone(digest))


def _snapshot(catalog: Catalog, digests: list[str]) -> Snapshot:
    """Return a snapshot: of its commits that are not void and not replaced, the newest stands for it."""
    valid = [digest for digest in digests if not catalog.is_void(catalog.commits[digest])]
    replaced = {catalog.commits[digest].replaces for digest in valid}
    standing = [digest for digest in valid if digest not in replaced] or digests
    current = max(standing, key=lambda digest: (catalog.commits[digest].unix_ms, digest))
    commit = catalog.commits[current]
    state = catalog.mark_states.get(commit.snapshot, MarkState())
    forgotten = catalog.forget_word(current)
    return Snapshot(
        id=commit.snapshot,
        name=commit.name,
        unix_ms=commit.unix_ms,
        created_unix_ms=commit.created_unix_ms,
        store_unix_ms=commit.store_unix_ms,
        tags=state.tagged(commit.tags),
        host=commit.host,
        source=commit.source,
        partial=commit.partial,
        held=state.held,
        hold_reason=state.hold_reason if state.held else "",
        forgotten_unix_ms=None if forgotten is None else forgotten[0],
        forget_reason="" if forgotten is None else forgotten[1],
        void=not valid,
        commit=current,
        archives=commit.archives,
        closure=commit.closure,
        superseded=tuple(sorted(_superseded(catalog, valid, replaced) - {current})),
        copy_of=commit.copy_of,
    )


def _superseded(catalog: Catalog, valid: list[str], replaced: set[str | None]) -> set[str]:
    """Return commits that another stands in for: replaced ones, and those that replace the same one as another did.

    Nothing else: a commit that merely has the same snapshot id may hold what no other holds.
    """
    return {digest for digest in valid if digest in replaced or catalog.commits[digest].replaces is not None}
