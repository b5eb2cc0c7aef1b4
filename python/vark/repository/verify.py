"""Verification: reads records and archives, lists exactly what is damaged, and the snapshots and rows it touches."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from vark.errors import (
    CancelledError,
    DamagedError,
    InvalidArgumentError,
    NotAnArchiveError,
    NotFoundError,
    UnsupportedError,
    VarkError,
)
from vark.repository.base import volume_sizes
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.context import Context
from vark.repository.digest import VolumeDigest
from vark.repository.engine import READ_BYTES
from vark.repository.layout import (
    ARCHIVES,
    COMMITS,
    LISTS,
    MARKER,
    content_of_name,
    list_name,
    root_name,
    volume_name,
    volume_of,
)
from vark.repository.ledger import LEVELS, RESTORED, Ledger, LedgerEntry, read_ledger, write_ledger
from vark.repository.objects import now_unix_ms, read_object
from vark.repository.records import Ancestor, CommittedArchive, Marker
from vark.repository.reports import DamagedObject, RepositoryVerifyReport
from vark.repository.root import ArchiveList
from vark.repository.touched import touched_snapshots
from vark.types import Damage
from vark.units import parse_bytes, parse_duration

GAP_MAX = 100  # missing roots named in a row; a hostile number must not cost more
FINDINGS = (DamagedError, NotFoundError, NotAnArchiveError, UnsupportedError)  # other errors say nothing of the bytes
_TIME = re.compile(r"\s*[\d.]+\s*[smhd]\s*")
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What is asked for. budget_bytes, budget_seconds: no further archive is begun when they are used up.

    max_age_ms: archives found whole at this level since then are left out. snapshots: only what these need.
    """

    level: str = "full"
    budget_bytes: int | None = None
    budget_seconds: float | None = None
    max_age_ms: int | None = None
    snapshots: tuple[Snapshot, ...] | None = None
    threads: int | None = None
    progress: Progress | None = None


def make_request(
    *,
    level: str,
    budget: str | int | None,
    max_age: str | float | None,
    snapshots: tuple[Snapshot, ...] | None,
    threads: int | None,
    progress: Progress | None,
) -> VerifyRequest:
    """Return the request that these arguments say. Errors: InvalidArgumentError."""
    if level not in LEVELS:
        raise InvalidArgumentError(f"level: {level!r}; expected one of {', '.join(LEVELS)}")
    seconds = budget_bytes = None
    if isinstance(budget, str) and _TIME.fullmatch(budget.lower()):
        seconds = parse_duration(budget, name="budget")
    elif budget is not None:
        budget_bytes = parse_bytes(budget, name="budget")
    age = None if max_age is None else int(parse_duration(max_age, name="max_age") * 1000)
    return VerifyRequest(level, budget_bytes, seconds, age, snapshots, threads, progress)


@dataclass(slots=True)
class _Needed:
    """An archive that some snapshot needs, with what is known of it."""

    ancestor: Ancestor
    committed: CommittedArchive | None = None
    snapshots: list[Snapshot] = field(default_factory=list)


def verify(context: Context, request: VerifyRequest) -> RepositoryVerifyReport:
    """Verify records and archives. Damage is in the report, never an exception; what was read is kept in the ledger.

    An archive that cannot be read, for a reason other than damage, is in the report as that; the others are read.
    """
    start = time.monotonic()
    context = replace(context)  # a fresh reader: what was read earlier may be damaged since
    catalog = context.reader.read()
    damaged = _records(context, catalog)
    faults: dict[str, VarkError] = {}
    ledger = read_ledger(context.store, context.id or None, faults)
    damaged.update({name: DamagedObject(name, error.message) for name, error in faults.items()})
    needed = _needed(context, catalog, request)
    broken = _structure(context, needed, damaged)
    chosen, recent = _choose(context, ledger, needed, broken, request)
    remaining: list[str] = []
    unread: dict[str, str] = {}
    entries, checked = [], 0
    now_ms = now_unix_ms(context.store)
    total = sum(item.ancestor.bytes for item in chosen)
    for number, item in enumerate(chosen):
        spent = request.budget_seconds is not None and time.monotonic() - start > request.budget_seconds
        over = request.budget_bytes is not None and checked + item.ancestor.bytes > request.budget_bytes
        if number and (spent or over):
            remaining += [left.ancestor.id for left in chosen[number:]]
            break
        found = _read_archive(context, item, request, unread)
        if found is None:
            total -= item.ancestor.bytes
            continue
        checked += item.ancestor.bytes
        ok = not found
        damaged.update({each.object: each for each in found})
        if not ok:
            broken.add(item.ancestor.id)
        entries.append(LedgerEntry(item.ancestor.id, request.level, item.ancestor.bytes, ok, now_ms))
        if request.progress is not None:
            request.progress(checked, total)
    for archive, wrong in _as_restored(context, broken, request, unread):
        if wrong is not None:
            damaged[wrong.object] = wrong
            broken.add(archive)
        entries.append(LedgerEntry(archive, RESTORED, 0, wrong is None, now_ms))
    gone = _collected_since(context, broken | _archives(unread))
    broken -= gone
    entries = [entry for entry in entries if entry.archive not in gone]
    damaged = {name: item for name, item in damaged.items() if not _archives([name]) & gone}
    unread = {name: detail for name, detail in unread.items() if not _archives([name]) & gone}
    entries += [
        LedgerEntry(archive, "structure", 0, False, now_ms)
        for archive in sorted(broken - {entry.archive for entry in entries})
    ]
    if context.id and entries:
        write_ledger(context.store, context.id, entries)
        ledger = read_ledger(context.store, context.id)
    return RepositoryVerifyReport(
        level=request.level,
        archive_count=sum(entry.byte_count > 0 for entry in entries),
        checked_bytes=checked,
        object_count=len(catalog.commits) + len(catalog.marks) + len(catalog.faults) + len(needed),
        seconds=time.monotonic() - start,
        damaged=tuple(damaged[name] for name in sorted(damaged)),
        touched=touched_snapshots(context, _needing(needed, broken), damaged.values(), request.level, request.threads),
        remaining=tuple(sorted(remaining)),
        recent=tuple(sorted(recent)),
        oldest_unverified_unix_ms=_oldest(ledger, needed, request),
        unread=tuple(sorted(unread.items())),
    )


def _archives(names: Iterable[str]) -> set[str]:
    """Return the archives that these objects are volumes of."""
    return {found[0] for name in names if (found := volume_of(name)) is not None}


def _collected_since(context: Context, broken: set[str]) -> set[str]:
    """Return archives that a collection has taken while this ran: no snapshot needs them, so nothing is missing."""
    return broken & context.reader.administrations.read_what_is_readable({}).swept if broken else set()


def _records(context: Context, catalog: Catalog) -> dict[str, DamagedObject]:
    """Read every small object; those of the catalog have been read."""
    damaged = {name: DamagedObject(name, str(error)) for name, error in catalog.faults.items()}

    def check(name: str, decode: Callable[[bytes], object]) -> None:
        try:
            decode(read_object(context.store, name))
        except NotFoundError:
            damaged[name] = DamagedObject(name, "missing", missing=True)
        except VarkError as error:
            damaged[name] = DamagedObject(name, error.message)

    check(MARKER, lambda data: Marker.decode(data, place=MARKER))
    administrations = context.reader.administrations
    lists = {
        list_name(content_of_name(entry.name) or "")
        for entry in context.store.list(LISTS)
        if content_of_name(entry.name) is not None
    }
    generations = sorted(administrations.generations())
    for generation in _missing(generations):
        damaged[root_name(generation)] = DamagedObject(root_name(generation), "missing", missing=True)
    for generation in generations:
        try:
            root = administrations.read_root(generation)
        except VarkError as error:
            damaged[root_name(generation)] = DamagedObject(root_name(generation), error.message)
            continue
        lists |= {list_name(digest) for digest in root.sweeps}
        if root.list is not None:
            lists.add(list_name(root.list))
    for name in sorted(lists):

        def decode(data: bytes, place: str = name) -> object:
            return ArchiveList.decode(data, place=place, repository=context.id or None)

        check(name, decode)
    return damaged


def _missing(generations: list[int]) -> list[int]:
    """Return generations that must have been there: they are numbered from 1 and never deleted."""
    found: list[int] = []
    expected = 1
    for generation in generations:
        found += range(expected, min(generation, expected + GAP_MAX))
        expected = generation + 1
    return found


def _needed(context: Context, catalog: Catalog, request: VerifyRequest) -> list[_Needed]:
    """Return every archive that the snapshots need, the oldest first."""
    found: dict[str, _Needed] = {}
    snapshots = catalog.snapshots if request.snapshots is None else request.snapshots
    for snapshot in snapshots:
        if snapshot.void:
            continue
        for ancestor in snapshot.needed():
            item = found.setdefault(ancestor.id, _Needed(ancestor))
            item.snapshots.append(snapshot)
    for commit in catalog.commits.values():
        for archive in commit.archives:
            if archive.id in found:
                found[archive.id].committed = archive
    if request.snapshots is None and any(name.startswith(COMMITS) for name in catalog.faults):
        for item in _unnamed(context, catalog, found):
            found[item.ancestor.id] = item
    return [found[key] for key in sorted(found)]


def _unnamed(context: Context, catalog: Catalog, known: Mapping[str, _Needed]) -> list[_Needed]:
    """Return archives that no readable snapshot needs: those of a damaged commit are worth knowing, too.

    A commit that another stands in for may still say what they have to be.
    """
    there = {found[0] for entry in context.store.list(ARCHIVES) if (found := volume_of(entry.name)) is not None}
    named = {archive.id: archive for commit in catalog.commits.values() for archive in commit.archives}
    items = []
    for archive in sorted(there - known.keys() - catalog.administration.swept):
        sizes = volume_sizes(context.store, archive)
        if sizes:
            committed = named.get(archive) or CommittedArchive(archive, "", sizes, "", sum(sizes), None)
            items.append(_Needed(committed.as_ancestor(), committed))
    return items


def _structure(context: Context, needed: list[_Needed], damaged: dict[str, DamagedObject]) -> set[str]:
    """Compare the volumes that are there with those of the commits; return the archives that lack something."""
    there: dict[str, int] = {entry.name: entry.byte_count for entry in context.store.list(ARCHIVES)}
    broken = set()
    for item in needed:
        sizes = _expected_sizes(context, item)
        for number, expected in enumerate(sizes):
            name = volume_name(item.ancestor.id, number)
            found = there.get(name)
            if found is None:
                damaged[name] = DamagedObject(name, f"missing; expected {expected} bytes", missing=True)
            elif found != expected:
                damaged[name] = DamagedObject(name, f"{found} bytes; expected {expected}")
            if found != expected:
                broken.add(item.ancestor.id)
    return broken


def _expected_sizes(context: Context, item: _Needed) -> tuple[int, ...]:
    """Return the volumes' bytes by the commit; where that has gone, by what is there as far as the sum is right."""
    if item.committed is not None:
        return item.committed.volumes
    found = volume_sizes(context.store, item.ancestor.id)
    if sum(found) == item.ancestor.bytes:
        return found
    rest = item.ancestor.bytes - sum(found[:-1])
    return (*found[:-1], rest) if rest > 0 else (item.ancestor.bytes,)


def _choose(
    context: Context, ledger: Ledger, needed: list[_Needed], broken: set[str], request: VerifyRequest
) -> tuple[list[_Needed], list[str]]:
    """Return the archives to read, never or longest unread first, and those left out because they were read lately."""
    if request.level == "structure":
        return [], []
    last = {item.ancestor.id: ledger.verified_unix_ms(item.ancestor.id, request.level) or 0 for item in needed}
    since = -1 if request.max_age_ms is None else now_unix_ms(context.store) - request.max_age_ms
    chosen, recent = [], []
    for item in sorted(needed, key=lambda item: (last[item.ancestor.id], item.ancestor.id)):
        if item.ancestor.id in broken:
            continue  # a volume is missing or of another length: that is known, and offsets would lie
        if request.max_age_ms is not None and last[item.ancestor.id] > since:
            recent.append(item.ancestor.id)
        else:
            chosen.append(item)
    return chosen, recent


def _read_archive(
    context: Context, item: _Needed, request: VerifyRequest, unread: dict[str, str]
) -> list[DamagedObject] | None:
    """Read one archive, its own bytes only; return its damaged volumes, None where it could not be read."""
    try:
        archive = _as_committed(context, item)
        # Of a delta its own bytes: those of others are read as theirs. What is known to be full is read as a whole.
        own = item.committed is None or not archive.root or archive.base is not None
        report = context.engine.verify(
            context.store, archive, {}, level=request.level, own=own, threads=request.threads
        )
        if report.ok and not _is_committed(context, archive):
            return [DamagedObject(volume_name(archive.id, 0), "whole, but another archive than the one committed")]
    except CancelledError:
        raise
    except NotFoundError:
        return [DamagedObject(volume_name(item.ancestor.id, 0), "vanished while it was read", missing=True)]
    except FINDINGS as error:
        return [DamagedObject(volume_name(item.ancestor.id, 0), error.message)]
    except (VarkError, OSError) as error:
        unread[volume_name(item.ancestor.id, 0)] = str(error)
        return None
    if not report.damage:
        return []
    changed = _changed_volumes(context, archive)
    if changed:
        return [
            DamagedObject(volume_name(archive.id, number), "its digest is another", damage=report.damage)
            for number in changed
        ]
    by_volume: dict[int, list[Damage]] = {}
    for damage in report.damage:
        by_volume.setdefault(_volume_at(archive, damage.offset), []).append(damage)
    return [
        DamagedObject(volume_name(archive.id, number), str(found[0]), damage=tuple(found))
        for number, found in by_volume.items()
    ]


def _as_restored(
    context: Context, broken: set[str], request: VerifyRequest, unread: dict[str, str]
) -> Iterator[tuple[str, DamagedObject | None]]:
    """Read the deltas of the snapshots asked for as a restore does, with all that they take from others.

    Yields (archive, what is wrong or None). Those others are whole here, so what is wrong is the delta's own fault.
    """
    if request.snapshots is None or request.level != "full":
        return
    for snapshot in request.snapshots:
        known = broken | _archives(unread)
        if snapshot.void or not snapshot.closure or known & {ancestor.id for ancestor in snapshot.needed()}:
            continue
        sizes = None
        for archive in snapshot.archives:
            name = volume_name(archive.id, 0)
            try:
                sizes = context.sizes_of(snapshot.closure) if sizes is None else sizes
                report = context.engine.verify(
                    context.store, archive, sizes, level="full", own=False, threads=request.threads
                )
            except CancelledError:
                raise
            except FINDINGS as error:
                yield archive.id, DamagedObject(name, error.message)
            except (VarkError, OSError) as error:
                unread[name] = str(error)
            else:
                wrong = DamagedObject(name, str(report.damage[0]), damage=report.damage) if report.damage else None
                yield archive.id, wrong


def _is_committed(context: Context, archive: CommittedArchive) -> bool:
    archive_id, root = context.engine.identity(context.store, archive)
    return archive_id == archive.id and root == (archive.root or root)  # no root: where no commit names it


def _changed_volumes(context: Context, archive: CommittedArchive) -> list[int]:
    """Return the volumes whose digest is not that of the commit: a block that is damaged may lie in several.

    None of them where one cannot be read: then the places of the damage have to do.
    """
    changed = []
    for number, expected in enumerate(archive.digests):
        digest, name = VolumeDigest(), volume_name(archive.id, number)
        try:
            for offset in range(0, archive.volumes[number], READ_BYTES):
                wanted = min(READ_BYTES, archive.volumes[number] - offset)
                digest.update(context.store.read(name, offset=offset, byte_count=wanted))
        except CancelledError:
            raise
        except (VarkError, OSError):
            return []
        if digest.hex() != expected:
            changed.append(number)
    return changed


def _as_committed(context: Context, item: _Needed) -> CommittedArchive:
    if item.committed is not None:
        return item.committed
    sizes = _expected_sizes(context, item)
    return CommittedArchive(item.ancestor.id, "", sizes, item.ancestor.root, item.ancestor.bytes, None)


def _volume_at(archive: CommittedArchive, offset: int | None) -> int:
    """Return the volume that holds a byte; the last one, with the directory, where no offset is known."""
    if offset is not None:
        end = 0
        for number, size in enumerate(archive.volumes):
            end += size
            if offset < end:
                return number
    return len(archive.volumes) - 1


def _needing(needed: list[_Needed], broken: set[str]) -> list[tuple[Snapshot, set[str]]]:
    """Return the snapshots that need a damaged archive, with all such archives."""
    found: dict[str, tuple[Snapshot, set[str]]] = {}
    for item in needed:
        if item.ancestor.id in broken:
            for snapshot in item.snapshots:
                found.setdefault(snapshot.id, (snapshot, set()))[1].add(item.ancestor.id)
    return list(found.values())


def _oldest(ledger: Ledger, needed: list[_Needed], request: VerifyRequest) -> int | None:
    """Return since when the archive that was not read for the longest time is unread; 0 for never, None for none."""
    if request.level == "structure":
        return None
    return min((ledger.verified_unix_ms(item.ancestor.id, request.level) or 0 for item in needed), default=None)
