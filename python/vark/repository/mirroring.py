"""Sync: a byte-identical mirror of a repository in another store (spec, section 10), without any key.

Objects go over in an order in which the mirror is a valid repository at every moment: archives before the commits that
need them, commits before roots that say what was swept, but in a new mirror. What is there is not moved again; nothing
is overwritten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from vark.errors import (
    CancelledError,
    ConflictError,
    DamagedError,
    InvalidArgumentError,
    KeyNeededError,
    NotFoundError,
    ObjectExistsError,
    RepositoryNotFoundError,
    VarkError,
)
from vark.repository.base import sizes_in
from vark.repository.bundles import old_bundles
from vark.repository.catalog import Catalog, CatalogReader
from vark.repository.context import Context
from vark.repository.copy_reports import SyncReport
from vark.repository.envelope import Envelope, PublicEnvelope
from vark.repository.layout import (
    ARCHIVES,
    COMMITS,
    ERASURES,
    KEYS,
    LISTS,
    LOCKS,
    MARKER,
    MARKS,
    ROOTS,
    SMALL_ORDER,
    content_of_name,
    is_bundle,
    key_of,
    root_generation,
    root_name,
    volume_of,
)
from vark.repository.mirrors import fits
from vark.repository.moving import Mover
from vark.repository.objects import read_object
from vark.repository.reading import FINDINGS, Progress
from vark.repository.records import Ancestor, Commit, CommittedArchive, Marker
from vark.repository.root import AdministrationReader
from vark.stores import RemoteStore, Store
from vark.stores.base import read_limited

KEYRING = "keyring"
SMALL_BYTES_MAX = 4 << 20
SMALL_ARCHIVE_BYTES = 8 << 20
AT_ONCE = 8  # small archives on their way


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """What is asked for. delete: take from the mirror what collections and rotations of the source have freed.

    opened: the source, with its keys: where it is encrypted, nothing else proves what they were.
    """

    delete: bool = False
    opened: Context | None = None
    threads: int | None = None
    progress: Progress | None = None


@dataclass(slots=True)
class _Found:
    """What came of it so far. problems: object -> why it could not be mirrored; withheld: commits that need it."""

    copied: dict[str, int] = field(default_factory=dict)  # folder -> objects
    problems: dict[str, str] = field(default_factory=dict)
    withheld: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    verified: int = 0
    object_bytes: int = 0


def sync(source: Store, target: Store, request: SyncRequest) -> SyncReport:
    """Make or update a mirror. What is damaged in the source, and what needs it, stays out and is in the report.

    Errors: RepositoryNotFoundError, InvalidArgumentError (the target is another repository, or something else),
    ConflictError (roots were made there that the source does not have), those of writing.
    """
    return _Sync(source, target, request).run()


def envelope_of(marker: Marker) -> Envelope:
    """Return what reads the public part of the records of a repository."""
    return Envelope(marker.id) if marker.suite is None else PublicEnvelope(marker.id)


class _Sync:
    """One run."""

    def __init__(self, source: Store, target: Store, request: SyncRequest) -> None:
        self._source, self._target, self._request = source, target, request
        self._found = _Found()
        try:
            self._marker = read_object(source, MARKER)
        except NotFoundError as error:
            raise RepositoryNotFoundError("the source is no repository: it has no vark.json") from error
        self._envelope = envelope_of(Marker.decode(self._marker, place=MARKER))
        if request.delete and isinstance(self._envelope, PublicEnvelope) and request.opened is None:
            raise KeyNeededError(
                "delete: the source is encrypted, and without a key nobody can tell what its collections have freed "
                "from what somebody wrote there to empty its mirrors; give its keys, or leave delete out"
            )
        # Archives after commits: what is not listed here is looked for again when a commit needs it.
        self._theirs = {entry.name: entry for entry in source.list("")}
        self._there = {entry.name: entry for entry in target.list("")}
        self._mover = Mover(source, target, self._there, request.threads)

    def run(self) -> SyncReport:
        start = time.monotonic()
        self._check()
        missing = self._missing(COMMITS, content_of_name)
        self._claim()
        commits = self._commits(missing)
        self._archives(commits)
        for folder in (ERASURES, LOCKS):
            self._small(self._missing(folder, content_of_name))
        # Nothing is there yet that they could say was swept; and without them a reader with keys would miss what was.
        is_new = not any(name.startswith(f"{COMMITS}/") for name in self._there)
        if is_new:
            self._roots()
        self._small(list(commits))
        self._small(self._missing(MARKS, content_of_name))
        if not is_new and not self._found.withheld:  # a root may say that what these replace was swept
            self._roots()
        self._bundles()
        if self._request.delete and not self._found.problems:
            self._delete()
        return self._report(time.monotonic() - start)

    def _check(self) -> None:
        """Refuse a target that is something else, or that has gone its own way."""
        own = Marker.decode(self._marker, place=MARKER)
        if MARKER in self._there:
            data = read_limited(self._target, MARKER, SMALL_BYTES_MAX)
            if data != self._marker:
                if isinstance(data, bytes):
                    found = Marker.decode(data, place=f"{MARKER} of the mirror")
                    if found.id != own.id:
                        raise InvalidArgumentError(
                            f"the target is the repository {found.id}, not {own.id}; a mirror has the same id. "
                            "`vark copy` puts snapshots into another repository"
                        )
                raise DamagedError(f"{MARKER} of the mirror: its bytes are others; see `vark repair`", layer="record")
        elif any(key_of(name) is None or name not in self._theirs for name in self._there):
            raise InvalidArgumentError("the target is neither empty nor a mirror; choose an empty folder or prefix")
        self._compare_roots()

    def _compare_roots(self) -> None:
        """Refuse a mirror whose newest root is not the source's of that number: each names the one before it."""
        newest = max((number for name in self._there if (number := root_generation(name)) is not None), default=None)
        if newest is None:
            return
        name = root_name(newest)
        theirs = read_object(self._target, name)
        try:
            own = read_object(self._source, name)  # not as listed: another run may have brought it over since
        except NotFoundError:
            own = None
        if own == theirs:
            return
        for data, where in ((own, "the source"), (theirs, "the mirror")):
            fault = None if data is None else fits(name, data)
            if fault is not None:
                raise DamagedError(f"{name} of {where}: {fault}; see `vark repair`", layer="record")
        said = "has it, and the source not: it has lost it, or" if own is None else "has another:"
        raise ConflictError(
            f"{name}: the mirror {said} a collection ran in the mirror by itself. It is a repository of its own now: "
            "`vark copy` what it has and the source has not, and make the mirror anew in another place"
        )

    def _claim(self) -> None:
        """Create the keys, then the marker: a repository without its keys must not exist."""
        self._small(sorted(self._missing(KEYS, key_of), key=_key_order))
        if MARKER not in self._there:
            self._small([MARKER])

    def _missing(self, folder: str, mine: object) -> list[str]:
        """Return objects of a folder, those that are the repository's, which the mirror has not."""
        assert callable(mine)
        return [
            name
            for name in self._theirs
            if name.startswith(f"{folder}/") and name not in self._there and mine(name) is not None
        ]

    def _commits(self, names: Iterable[str]) -> dict[str, Commit]:
        """Return new commits that are whole and not void, the oldest first."""
        found: dict[str, Commit] = {}
        for name in names:
            try:
                found[name] = Commit.decode(read_object(self._source, name), place=name, envelope=self._envelope)
            except FINDINGS as error:
                if not isinstance(error, NotFoundError):  # collected since it was listed
                    self._found.problems[name] = error.message
                    self._found.withheld.append(name)
        if not found:
            return {}
        # Read after the archives were listed: what a commit lacks there, and is not void by this, is lost.
        swept = AdministrationReader(self._source, self._envelope).read().swept
        alive = {name: commit for name, commit in found.items() if not any(one.id in swept for one in commit.needed())}
        return dict(sorted(alive.items(), key=lambda item: (item[1].unix_ms, item[0])))

    def _archives(self, commits: dict[str, Commit]) -> None:
        """Bring over what the new commits need, and what the mirror has lost; leave out commits that lack something."""
        own = {archive.id: archive for commit in commits.values() for archive in commit.archives}
        wanted: dict[str, Ancestor] = {one.id: one for commit in commits.values() for one in commit.needed()}
        wanted.update(self._lost(wanted, own))
        sizes = {key: self._sizes(key, one) for key, one in sorted(wanted.items())}
        total = sum(sum(found) for key, found in sizes.items() if found and not self._is_there(key, found))
        done, broken = 0, set[str]()
        keys = [key for key, found in sizes.items() if key in own or not self._is_there(key, found)]

        def move(key: str) -> int | VarkError:
            try:
                if not sizes[key]:
                    raise DamagedError(f"archive {key}: not as its commit says in the source; see `vark repair`")
                return self._mover.archive(wanted[key], sizes[key], own.get(key))
            except FINDINGS as error:
                return error

        # Closed at once: a run that ends here leaves nothing of its own on the way.
        with closing(self._each(move, keys, sizes)) as outcomes:
            for key, moved in outcomes:
                if isinstance(moved, VarkError):
                    self._found.problems[f"{ARCHIVES}/{key}"] = moved.message
                    broken.add(key)
                    continue
                self._found.verified += 1
                self._found.object_bytes += moved
                self._count(ARCHIVES, 1 if moved else 0)
                done += sum(sizes[key])
                if self._request.progress is not None:
                    self._request.progress(min(done, total), total)
        for name in [name for name, commit in commits.items() if broken & {one.id for one in commit.needed()}]:
            del commits[name]
            self._found.withheld.append(name)

    def _each(
        self, move: Callable[[str], int | VarkError], keys: Sequence[str], sizes: Mapping[str, Sequence[int]]
    ) -> Generator[tuple[str, int | VarkError]]:
        """Move archives: small ones several at once, as each waits for disk or network, and large ones one by one."""
        small = [key for key in keys if sum(sizes[key]) <= SMALL_ARCHIVE_BYTES]
        with ThreadPoolExecutor(1 if self._request.threads == 1 else AT_ONCE, "vark-sync") as pool:
            try:
                yield from zip(small, pool.map(move, small), strict=True)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        yield from ((key, move(key)) for key in keys if sum(sizes[key]) > SMALL_ARCHIVE_BYTES)

    def _lost(self, wanted: Mapping[str, Ancestor], own: dict[str, CommittedArchive]) -> dict[str, Ancestor]:
        """Return archives that commits need which are there already, and the mirror has not, or not whole."""
        ids = {volume[0] for name in self._theirs if (volume := volume_of(name)) is not None}
        lacking = {key for key in ids - wanted.keys() if not self._is_there(key, self._listed(key))}
        if not lacking:
            return {}
        found: dict[str, Ancestor] = {}
        for commit in CatalogReader(self._source, self._envelope).read().commits.values():
            for archive in commit.archives:
                own.setdefault(archive.id, archive)
            found.update((one.id, one) for one in commit.needed() if one.id in lacking)
        return found  # the others are of running backups, or nobody's

    def _listed(self, archive_id: str) -> tuple[int, ...]:
        return sizes_in(entry for name, entry in self._theirs.items() if name.startswith(f"{ARCHIVES}/{archive_id}/"))

    def _sizes(self, archive_id: str, ancestor: Ancestor) -> tuple[int, ...]:
        """Return the volumes' bytes in the source; nothing where they are not what the commit says."""
        found = self._listed(archive_id)
        if sum(found) != ancestor.bytes:
            found = sizes_in(self._source.list(f"{ARCHIVES}/{archive_id}"))
        return found if sum(found) == ancestor.bytes else ()

    def _is_there(self, archive_id: str, sizes: Sequence[int]) -> bool:
        return self._mover.missing(archive_id, sizes) == []

    def _small(self, names: Sequence[str]) -> None:
        """Create small objects, one after another in this order; in a remote store several at once."""
        if isinstance(self._target, RemoteStore) and len(names) > 1 and not names[0].startswith((KEYS, ROOTS)):
            results = list(self._target.pool.map(self._one, names))
        else:
            results = [self._one(name) for name in names]
        for name, (byte_count, problem) in zip(names, results, strict=True):
            if problem is not None:
                self._found.problems[name] = problem
            elif byte_count:
                self._found.object_bytes += byte_count
                self._count(name.partition("/")[0], 1)

    def _one(self, name: str) -> tuple[int, str | None]:
        """Create one small object; return its bytes, or why not."""
        try:
            data = self._marker if name == MARKER else read_limited(self._source, name, SMALL_BYTES_MAX)
            if isinstance(data, int):
                return 0, f"{data} bytes, at most {SMALL_BYTES_MAX}"
            fault = fits(name, data)
            if fault is not None:
                return 0, fault
        except CancelledError:
            raise
        except NotFoundError:  # collected since it was listed
            return 0, None
        except FINDINGS as error:
            return 0, error.message
        try:
            self._target.create(name, data)
        except ObjectExistsError:
            if self._target.read(name) != data:
                return 0, "the mirror has another object of this name; see `vark repair`"
        return len(data), None

    def _count(self, folder: str, count: int) -> None:
        if count:
            self._found.copied[folder] = self._found.copied.get(folder, 0) + count

    def _roots(self) -> None:
        self._small(self._missing(LISTS, content_of_name))
        self._small(sorted(self._missing(ROOTS, root_generation)))

    def _bundles(self) -> None:
        bundles = [entry for name, entry in self._theirs.items() if is_bundle(name)]
        newest = {entry.name for entry in bundles} - set(old_bundles(bundles))
        self._small(sorted(newest - self._there.keys()))

    def _delete(self) -> None:
        """Do in the mirror what collections and rotations have done in the source: nothing else is freed.

        With keys each record proves itself; one that does not is an error, and nothing goes.
        """
        opened = self._request.opened
        envelope = self._envelope if opened is None else opened.envelope
        if opened is not None:
            opened.refuse_write_only()
            opened.reader.read(strict=True)  # compared with what this client saw there before
        catalog = _unforged(CatalogReader(self._target, envelope).read(strict=True))
        swept = catalog.administration.swept
        there = [entry.name for entry in self._target.list("")]
        gone = [name for name in there if name not in self._theirs]
        self._remove(name for name in gone if (found := volume_of(name)) is not None and found[0] in swept)
        left = {found[0] for name in there if (found := volume_of(name)) is not None} - swept
        self._remove(name for name in gone if self._is_spent(catalog, name, left))
        catalog = CatalogReader(self._target, envelope).read(strict=True)
        known = {commit.snapshot for commit in catalog.commits.values()}
        self._remove(name for name in gone if name in catalog.marks and catalog.marks[name].snapshot not in known)
        self._remove(name for name in gone if is_bundle(name))
        newest = 0 if opened is None or opened.keys is None else opened.keys.keyring.generation
        self._remove(name for name in gone if (key := key_of(name)) is not None and key[0] < newest)

    def _is_spent(self, catalog: Catalog, name: str, left: set[str]) -> bool:
        """Return whether a commit is void, and its own archives are swept and gone."""
        commit = catalog.commits.get(content_of_name(name) or "")
        if commit is None or not name.startswith(COMMITS) or not catalog.is_void(commit):
            return False
        swept = catalog.administration.swept
        return all(one.id in swept and one.id not in left for one in commit.archives)

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._target.delete(name)
            self._found.deleted.append(name)

    def _report(self, seconds: float) -> SyncReport:
        found = self._found
        only = [name for name in self._there if name not in self._theirs and _is_mirrored(name)]
        return SyncReport(
            repository=Marker.decode(self._marker, place=MARKER).id,
            copied=dict(sorted(found.copied.items())),
            object_bytes=found.object_bytes,
            archives_verified=found.verified,
            problems=tuple(sorted(found.problems.items())),
            withheld=tuple(sorted(found.withheld)),
            only_in_mirror=tuple(sorted(set(only) - set(found.deleted))),
            deleted=tuple(sorted(found.deleted)),
            seconds=seconds,
        )


def _unforged(catalog: Catalog) -> Catalog:
    """Return a catalog without a fault. Errors: DamagedError (a record that proves nothing may have been put there)."""
    for place, error in catalog.faults.items():
        raise DamagedError(f"{place} of the mirror: {error.message}; nothing is deleted there", layer="record")
    return catalog


def _is_mirrored(name: str) -> bool:
    """Return whether an object is one that a mirror has: sessions, the ledger and probes speak of one place."""
    return name.partition("/")[0] in (ARCHIVES, *SMALL_ORDER)


def _key_order(name: str) -> tuple[int, bool, int]:
    """Return the order in which a rotation creates keys: slots, then the keyring, whose copy 2 decides."""
    generation, what, copy = key_of(name) or (0, "", 0)
    return generation, what == KEYRING, -copy
