"""Repair: what is damaged or missing in a repository comes back from mirrors of it (spec, section 10), without any key.

The one place where an object is overwritten: by the bytes that it must have, as its name, its commit or the tables of
its archive say; never one that is whole.
"""

from __future__ import annotations

import mmap
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vark.archive import Volume
from vark.errors import (
    AccessDeniedError,
    CancelledError,
    DamagedError,
    InvalidArgumentError,
    NotFoundError,
    RefusedError,
    VarkError,
)
from vark.repository.catalog import Catalog, CatalogReader
from vark.repository.copy_reports import RepairedObject, RepairReport
from vark.repository.digest import VolumeDigest
from vark.repository.engine import READ_BYTES, Places
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
    content_of_name,
    is_bundle,
    key_of,
    list_name,
    root_generation,
    volume_name,
)
from vark.repository.mirroring import KEYRING, SMALL_BYTES_MAX, envelope_of
from vark.repository.mirrors import MirroredStore, fits
from vark.repository.moving import scrub
from vark.repository.reading import FINDINGS, Progress
from vark.repository.records import CommittedArchive, Marker
from vark.repository.root import AdministrationReader
from vark.stores import ObjectEntry, Store
from vark.stores.base import Buffer, ReplacingStore, read_limited
from vark.types import Damage, VerifyReport


@dataclass(frozen=True, slots=True)
class RepairRequest:
    """What is asked for. confirm: do it; else only tell what would be put right."""

    confirm: bool = False
    threads: int | None = None
    progress: Progress | None = None


class _Together(MirroredStore):
    """The repository and its mirrors, but for roots later than its own.

    They may be of a collection that ran in a mirror by itself, or of somebody who can write there: what a root says was
    swept would be looked at no more.
    """

    def list(self, prefix: str) -> list[ObjectEntry]:
        own = self.stores[0].list(ROOTS) if prefix in ("", ROOTS) else []
        newest = max((number for entry in own if (number := root_generation(entry.name)) is not None), default=0)
        return [entry for entry in super().list(prefix) if (root_generation(entry.name) or 0) <= newest]


@dataclass(slots=True)
class _Found:
    repaired: list[RepairedObject] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)  # object -> why nobody has it


def repair(store: Store, mirrors: Sequence[Store], places: Sequence[str], request: RepairRequest) -> RepairReport:
    """Put right what is damaged or missing, from whichever mirror has it. places: of the store and the mirrors.

    Errors: InvalidArgumentError (no mirrors of this repository), RefusedError (the store lets nothing be overwritten).
    """
    return _Repair(store, mirrors, places, request).run()


class _Repair:
    """One run."""

    def __init__(self, store: Store, mirrors: Sequence[Store], places: Sequence[str], request: RepairRequest) -> None:
        self._store, self._request = store, request
        self._mirrors = list(zip(mirrors, places[1:], strict=True))
        self._all = _Together([store, *mirrors], places)
        self._found = _Found()
        # What is replaced later is read from all of them now.
        marker = Marker.decode(self._all.read(MARKER), place=MARKER)
        self._envelope = envelope_of(marker)
        self._id = marker.id

    def run(self) -> RepairReport:
        start = time.monotonic()
        names = {entry.name for entry in self._all.list("")}
        small = sorted(name for name in names if _is_small(name))
        broken = {name: why for name in small if (why := self._fault(name)) is not None}
        catalog = CatalogReader(self._all, self._envelope).read()
        wanted = [name for name in broken if self._belongs(catalog, name)]
        archives = self._archives(catalog)
        # As in a mirror: archives before the commits that need them.
        for name in sorted(wanted, key=_order):
            if not name.startswith((COMMITS, MARKS, ROOTS, LISTS)):
                self._small(name, broken[name])
        for archive, sizes in archives:
            self._archive(archive, sizes)
        for name in sorted(wanted, key=_order):
            if name.startswith((COMMITS, MARKS, ROOTS, LISTS)):
                self._small(name, broken[name])
        return RepairReport(
            repository=self._id,
            confirmed=self._request.confirm,
            repaired=tuple(sorted(self._found.repaired, key=lambda item: item.object)),
            lost=tuple(sorted(self._found.lost.items())),
            object_count=len(small),
            archive_count=len(archives),
            unreachable=tuple(sorted(self._all.unreachable.items())),
            seconds=time.monotonic() - start,
        )

    def _fault(self, name: str) -> str | None:
        """Return what is wrong with a small object of the repository itself."""
        try:
            data = read_limited(self._store, name, SMALL_BYTES_MAX)
        except CancelledError:
            raise
        except NotFoundError:
            return "missing"
        except FINDINGS as error:
            return error.message
        return f"{data} bytes" if isinstance(data, int) else fits(name, data)

    def _belongs(self, catalog: Catalog, name: str) -> bool:
        """Return whether an object is to be there: what collections and rotations have freed does not come back."""
        if name.startswith(COMMITS):
            commit = catalog.commits.get(content_of_name(name) or "")
            return commit is None or not catalog.is_void(commit)
        if name.startswith(MARKS):
            mark = catalog.marks.get(name)
            return mark is None or any(commit.snapshot == mark.snapshot for commit in catalog.commits.values())
        own = [entry.name for entry in self._store.list(KEYS)]
        if name.startswith(LISTS):
            root = catalog.administration.root
            return root is not None and name in {list_name(one) for one in (*root.sweeps, root.list or "")}
        if name.startswith(KEYS):
            key = key_of(name)
            rings = [found[0] for one in own if (found := key_of(one)) is not None and found[1] == KEYRING]
            return key is not None and (not rings or key[0] == max(rings))
        return True

    def _archives(self, catalog: Catalog) -> list[tuple[CommittedArchive, tuple[int, ...]]]:
        """Return what the snapshots need, as far as no collection frees it."""
        dead = catalog.administration.dead
        known = {archive.id: archive for commit in catalog.commits.values() for archive in commit.archives}
        found: dict[str, tuple[CommittedArchive, tuple[int, ...]]] = {}
        for commit in catalog.commits.values():
            for one in () if catalog.is_void(commit) else commit.needed():
                if one.id in dead or one.id in found:
                    continue
                archive = known.get(one.id) or CommittedArchive(one.id, "", (), one.root, one.bytes, None)
                entries = sorted(self._all.list(f"{ARCHIVES}/{one.id}"), key=lambda entry: entry.name)
                sizes = archive.volumes or tuple(entry.byte_count for entry in entries)
                if sum(sizes) != one.bytes:
                    self._found.lost[f"{ARCHIVES}/{one.id}"] = "its volumes are not what its commit says, anywhere"
                    continue
                found[one.id] = (archive, sizes)
        return [found[key] for key in sorted(found)]

    def _small(self, name: str, why: str) -> None:
        for mirror, place in self._mirrors:
            try:
                data = read_limited(mirror, name, SMALL_BYTES_MAX)
            except CancelledError:
                raise
            except (VarkError, OSError):
                continue
            if isinstance(data, bytes) and fits(name, data) is None:
                self._put(name, data, why, place)
                return
        if name != MARKER or why != "missing":
            self._found.lost[name] = why

    def _archive(self, archive: CommittedArchive, sizes: tuple[int, ...]) -> None:
        """Look at one archive, and put right the volumes that are other than in a whole one."""
        names = [volume_name(archive.id, number) for number in range(len(sizes))]
        faults = self._lengths(self._store, names, sizes)
        report = None if faults else self._scrub(archive, Places(self._store).volumes(archive.id, sizes))
        if report is not None and report.ok:
            return
        seen = "" if report is None else str([*report.damage, *report.unread][0])
        try:
            with self._whole(archive, sizes) as (volumes, place):
                for name, volume, size in zip(names, volumes, sizes, strict=True):
                    if name in faults or not self._is_same(name, volume, size):
                        self._put_file(name, volume, size, faults.get(name, seen or "its bytes are others"), place)
            if self._request.confirm:
                after = self._scrub(archive, Places(self._store).volumes(archive.id, sizes))
                if not after.ok:
                    raise DamagedError(
                        f"{after.damage[0] if after.damage else after.unread[0]}, after it was put right"
                    )
                self._leave_if_swept(archive.id, names)
        except (DamagedError, NotFoundError) as error:
            self._found.lost[f"{ARCHIVES}/{archive.id}"] = error.message

    @contextmanager
    def _whole(self, archive: CommittedArchive, sizes: tuple[int, ...]) -> Iterator[tuple[list[Path], str]]:
        """Yield files with the volumes of an archive that is whole, and where it came from.

        Of a mirror that is whole; else put together out of what is whole in each, and verified as an archive.
        Errors: DamagedError (some bytes are whole nowhere).
        """
        names = [volume_name(archive.id, number) for number in range(len(sizes))]
        copies: list[tuple[Store, str, tuple[tuple[int, int], ...] | None]] = []
        with ExitStack() as stack:
            for store, place in [*self._mirrors, (self._store, self._all.places[0])]:
                if self._lengths(store, names, sizes):
                    continue
                report = self._scrub(archive, Places(store).volumes(archive.id, sizes))
                if report.ok:
                    yield (
                        [
                            stack.enter_context(_file(store, name, size))
                            for name, size in zip(names, sizes, strict=True)
                        ],
                        place,
                    )
                    return
                copies.append((store, place, _ranges([*report.damage, *report.unread])))
            for store, place, ranges in copies:
                others = [(other, bad) for other, _, bad in copies if other is not store and bad is not None]
                if ranges is None or not others:
                    continue
                files = [
                    stack.enter_context(_file(store, name, size, fresh=True))
                    for name, size in zip(names, sizes, strict=True)
                ]
                for first, count in ranges:
                    for other, bad in others:
                        if not any(start < first + count and first < start + length for start, length in bad):
                            _overlay(files, names, sizes, other, first, count)
                            break
                if self._scrub(archive, list(files)).ok:
                    yield files, f"{place} and others, put together"
                    return
        raise DamagedError(f"archive {archive.id}: no mirror has it whole, and not all of it is whole in some mirror")

    def _scrub(self, archive: CommittedArchive, volumes: Sequence[Volume]) -> VerifyReport:
        return scrub(volumes, archive.as_ancestor(), threads=self._request.threads)

    def _lengths(self, store: Store, names: Sequence[str], sizes: Sequence[int]) -> dict[str, str]:
        """Return which volumes are missing, or not as long as they have to be."""
        faults = {}
        for name, size in zip(names, sizes, strict=True):
            try:
                found = store.byte_count(name)
            except CancelledError:
                raise
            except (VarkError, OSError) as error:
                faults[name] = "missing" if isinstance(error, NotFoundError) else str(error)
                continue
            if found != size:
                faults[name] = f"{found} bytes; expected {size}"
        return faults

    def _is_same(self, name: str, file: Path, size: int) -> bool:
        own, other = VolumeDigest(), VolumeDigest()
        with open(file, "rb") as opened:
            for offset in range(0, size, READ_BYTES):
                own.update(self._store.read(name, offset=offset, byte_count=min(READ_BYTES, size - offset)))
                other.update(opened.read(READ_BYTES))
        return own.hex() == other.hex()

    def _put_file(self, name: str, file: Path, size: int, why: str, place: str) -> None:
        with open(file, "rb") as opened:
            data = mmap.mmap(opened.fileno(), size, prot=mmap.PROT_READ)
            self._put(name, memoryview(data), why, place)

    def _put(self, name: str, data: Buffer, why: str, place: str) -> None:
        """Create an object that is missing, or replace one that is damaged."""
        if self._request.confirm:
            store = self._store
            if not isinstance(store, ReplacingStore):
                raise InvalidArgumentError(f"{name}: a store of this kind cannot put right what is damaged")
            try:
                store.replace(name, data)
            except AccessDeniedError as error:
                raise RefusedError(
                    f"{name}: the store lets nothing be overwritten ({error.message}); restore with --from, which "
                    "reads damaged places from a mirror, or `vark sync` the mirror to another place and use that"
                ) from error
        self._found.repaired.append(RepairedObject(name, why, place, len(data)))

    def _leave_if_swept(self, archive_id: str, names: Sequence[str]) -> None:
        """Take away again what a collection has freed meanwhile: a name that was swept never comes back."""
        if archive_id in AdministrationReader(self._store, self._envelope).read_what_is_readable({}).swept:
            for name in names:
                self._store.delete(name)


def _is_small(name: str) -> bool:
    folder = name.partition("/")[0]
    return name == MARKER or (folder in (COMMITS, MARKS, ERASURES, LOCKS, ROOTS, LISTS, KEYS) and not is_bundle(name))


def _order(name: str) -> tuple[int, str]:
    folders = (KEYS, MARKER, ERASURES, LOCKS, COMMITS, MARKS, LISTS, ROOTS)
    return folders.index(name.partition("/")[0]), name


def _ranges(places: Sequence[Damage]) -> tuple[tuple[int, int], ...] | None:
    """Return the ranges of bytes that are damaged; None where that cannot be told of some damage."""
    found = []
    for damage in places:
        if damage.offset is None or not damage.byte_count:
            return None
        found.append((damage.offset, damage.byte_count))
    return tuple(sorted(set(found)))


@contextmanager
def _file(store: Store, name: str, size: int, *, fresh: bool = False) -> Iterator[Path]:
    """Yield a file with an object's bytes: its own, where it is one and nobody is to write to it."""
    path = store.local_path(name)
    if path is not None and not fresh:
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="vark-", suffix=".vark") as file:
        for offset in range(0, size, READ_BYTES):
            file.write(store.read(name, offset=offset, byte_count=min(READ_BYTES, size - offset)))
        file.flush()
        yield Path(file.name)


def _overlay(
    files: Sequence[Path], names: Sequence[str], sizes: Sequence[int], other: Store, first: int, count: int
) -> None:
    """Write a range of the archive as another store has it."""
    start = 0
    for file, name, size in zip(files, names, sizes, strict=True):
        low, high = max(first, start), min(first + count, start + size)
        if low < high:
            with open(file, "r+b") as opened:
                opened.seek(low - start)
                opened.write(other.read(name, offset=low - start, byte_count=high - low))
        start += size
