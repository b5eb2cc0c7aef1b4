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

import vark.api
from vark.errors import (
    AccessDeniedError,
    CancelledError,
    DamagedError,
    InvalidArgumentError,
    NotFoundError,
    RefusedError,
    VarkError,
)
from vark.repository.base import volume_sizes
from vark.repository.catalog import Catalog, CatalogReader
from vark.repository.copy_reports import RepairedObject, RepairReport
from vark.repository.engine import READ_BYTES, Places
from vark.repository.layout import (
    ARCHIVES,
    COMMITS,
    KEYS,
    LISTS,
    MARKER,
    MARKS,
    ROOTS,
    content_of_name,
    key_of,
    list_name,
    root_generation,
    small_order,
)
from vark.repository.mirroring import KEYRING, SMALL_BYTES_MAX, envelope_of
from vark.repository.mirrors import MirroredStore, fits
from vark.repository.proving import Claims, Meant, Prover, lengths
from vark.repository.reading import FINDINGS, Progress
from vark.repository.records import Marker
from vark.repository.root import AdministrationReader
from vark.stores import ObjectEntry, Store
from vark.stores.base import Buffer, ReplacingStore, read_limited
from vark.types import Damage

Right = tuple[int, Path, str]  # number of a volume, a file with its bytes, where they came from


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
        self._prover = Prover(is_plain=marker.suite is None, threads=request.threads)

    def run(self) -> RepairReport:
        start = time.monotonic()
        small = sorted(entry.name for entry in self._all.list("") if small_order(entry.name) is not None)
        broken = {name: why for name in small if (why := self._fault(name)) is not None}
        catalog = CatalogReader(self._all, self._envelope).read()
        # A content-named object that is damaged is the repository's own all the same: its name says which it was.
        own = {entry.name for entry in self._store.list("")}
        claims = Claims(catalog.commits, {content_of_name(name) or "" for name in own})
        wanted = sorted((name for name in broken if self._belongs(catalog, claims, own, name)), key=_order)
        archives = self._archives(catalog, claims)
        # As in a mirror: archives before the commits that need them.
        for name in wanted:
            if not name.startswith((COMMITS, MARKS, ROOTS, LISTS)):
                self._small(name, broken[name])
        for group in archives:
            self._archive(group)
        for name in wanted:
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

    def _belongs(self, catalog: Catalog, claims: Claims, own: set[str], name: str) -> bool:
        """Return whether an object is to be there: what collections and rotations have freed does not come back."""
        if name.startswith(COMMITS):
            commit = catalog.commits.get(content_of_name(name) or "")
            if commit is not None and name not in own and (other := claims.contradicted(commit)) is not None:
                self._found.lost[name] = f"it names archive {other} as another than the repository's own commits do"
                return False
            return commit is None or not catalog.is_void(commit)
        if name.startswith(MARKS):
            mark = catalog.marks.get(name)
            return mark is None or any(commit.snapshot == mark.snapshot for commit in catalog.commits.values())
        if name.startswith(LISTS):
            root = catalog.administration.root
            return root is not None and name in {list_name(one) for one in (*root.sweeps, root.list or "")}
        if name.startswith(KEYS):
            key = key_of(name)
            rings = [found[0] for one in own if (found := key_of(one)) is not None and found[1] == KEYRING]
            return key is not None and (not rings or key[0] == max(rings))
        return True

    def _archives(self, catalog: Catalog, claims: Claims) -> list[list[Meant]]:
        """Return what the snapshots need, as far as no collection frees it: each with all that it may have to be."""
        alive = [commit for commit in catalog.commits.values() if not catalog.is_void(commit)]
        wanted = {one.id for commit in alive for one in commit.needed()} - catalog.administration.dead
        found = []
        for archive_id in sorted(wanted):
            said, is_own = claims.of(archive_id)
            listed = volume_sizes(self._all, archive_id)
            meant = [Meant(one, one.volumes or listed, is_own) for one in said]
            fitting = [one for one in meant if sum(one.sizes) == one.archive.bytes]
            if fitting:
                found.append(fitting)
            else:
                self._found.lost[f"{ARCHIVES}/{archive_id}"] = "its volumes are not what its commit says, anywhere"
        return found

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

    def _archive(self, group: Sequence[Meant]) -> None:
        """Look at one archive, and put right the volumes that are not what they have to be.

        group: several where commits name different archives of one id. Whole as one of them it is left alone.
        """
        wrong = [self._prover.wrong(self._store, meant) for meant in group]
        if not all(wrong):
            return
        place = f"{ARCHIVES}/{group[0].archive.id}"
        if not group[0].is_own and self._stands(group[0].archive.id):
            self._found.lost[place] = "whole, but other than a commit says that only a mirror has; it is left as it is"
            return
        failures = list[str]()
        for meant, faults in zip(group, wrong, strict=True):
            failure = self._restore(meant, faults)
            if failure is None:
                return
            failures.append(failure)
        self._found.lost[place] = failures[0]

    def _restore(self, meant: Meant, wrong: dict[int, str]) -> str | None:
        """Put volumes right; return why that is not possible."""
        try:
            with self._right(meant, sorted(wrong)) as right:
                for number, file, source in right:
                    if self._differs(meant, number, file):
                        why = wrong[number] or "its bytes are others"
                        self._put_file(meant.names[number], file, meant.sizes[number], why, source)
            if self._request.confirm:
                after = self._prover.wrong(self._store, meant)
                if after:
                    raise DamagedError(f"{next(iter(after.values()))}, after it was put right")
                self._leave_if_swept(meant)
        except (DamagedError, NotFoundError) as error:
            return error.message
        return None

    def _stands(self, archive_id: str) -> bool:
        """Return whether the repository has a whole archive of this id, whatever somebody else's commit says of it."""
        sizes = volume_sizes(self._store, archive_id)
        if not sizes:
            return False
        volumes = Places(self._store).volumes(archive_id, sizes)
        report = vark.api.verify_archive(volumes, level="stored", own=True, threads=self._request.threads)
        return report.ok and report.archive_id == archive_id

    @contextmanager
    def _right(self, meant: Meant, wrong: Sequence[int]) -> Iterator[list[Right]]:
        """Yield files with the bytes that volumes have to have.

        Where there are digests each is of any mirror that has it; else all are of a mirror that has the archive whole.
        What is left is put together out of what is whole in each, and proved like the others.
        Errors: DamagedError (some bytes are whole nowhere).
        """
        with ExitStack() as stack:
            found: list[Right] = []
            for number in wrong if meant.digests else ():
                right = self._volume(stack, meant, number)
                found += [] if right is None else [right]
            left = [number for number in wrong if number not in {one[0] for one in found}]
            yield [*found, *self._from_all(stack, meant, left)] if left else found

    def _volume(self, stack: ExitStack, meant: Meant, number: int) -> Right | None:
        for store, place in self._mirrors:
            try:
                file = stack.enter_context(_file(store, meant.names[number], meant.sizes[number]))
                if self._prover.is_whole({number: file}, meant):
                    return number, file, place
            except CancelledError:
                raise
            except (VarkError, OSError):
                continue
        return None

    def _from_all(self, stack: ExitStack, meant: Meant, numbers: Sequence[int]) -> list[Right]:
        """Return volumes of a mirror that has the archive whole, else put together. Errors: DamagedError."""
        pairs = list(zip(meant.names, meant.sizes, strict=True))
        copies: list[tuple[Store, str, tuple[tuple[int, int], ...] | None]] = []
        for store, place in [*self._mirrors, (self._store, self._all.places[0])]:
            if lengths(store, meant):
                continue
            report = self._prover.scrub(Places(store).volumes(meant.archive.id, meant.sizes), meant)
            if report.ok and not meant.digests:
                files = [stack.enter_context(_file(store, name, size)) for name, size in pairs]
                return [(number, files[number], place) for number in numbers]
            copies.append((store, place, _ranges([*report.damage, *report.unread])))
        for store, place, ranges in copies:
            others = [(other, bad) for other, _, bad in copies if other is not store and bad is not None]
            if ranges is None or not others:
                continue
            files = [stack.enter_context(_file(store, name, size, fresh=True)) for name, size in pairs]
            for first, count in ranges:
                for other, bad in others:
                    if not any(start < first + count and first < start + length for start, length in bad):
                        _overlay(files, meant, other, first, count)
                        break
            chosen = {number: files[number] for number in (numbers if meant.digests else range(len(files)))}
            if self._prover.is_whole(chosen, meant):
                return [(number, files[number], f"{place} and others, put together") for number in numbers]
        raise DamagedError(
            f"archive {meant.archive.id}: no mirror has it whole, and not all of it is whole in some mirror"
        )

    def _differs(self, meant: Meant, number: int, file: Path) -> bool:
        """Return whether a volume of the repository has other bytes than a file, or is not there."""
        name, size = meant.names[number], meant.sizes[number]
        try:
            if self._store.byte_count(name) != size:
                return True
            with open(file, "rb") as opened:
                for offset in range(0, size, READ_BYTES):
                    count = min(READ_BYTES, size - offset)
                    if self._store.read(name, offset=offset, byte_count=count) != opened.read(count):
                        return True
        except CancelledError:
            raise
        except (VarkError, OSError):
            return True
        return False

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

    def _leave_if_swept(self, meant: Meant) -> None:
        """Take away again what a collection has freed meanwhile: a name that was swept never comes back."""
        if meant.archive.id in AdministrationReader(self._store, self._envelope).read_what_is_readable({}).swept:
            for name in meant.names:
                self._store.delete(name)


def _order(name: str) -> tuple[int, str]:
    return small_order(name) or 0, name


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


def _overlay(files: Sequence[Path], meant: Meant, other: Store, first: int, count: int) -> None:
    """Write a range of the archive as another store has it."""
    start = 0
    for file, name, size in zip(files, meant.names, meant.sizes, strict=True):
        low, high = max(first, start), min(first + count, start + size)
        if low < high:
            with open(file, "r+b") as opened:
                opened.seek(low - start)
                opened.write(other.read(name, offset=low - start, byte_count=high - low))
        start += size
