"""Verification: reads records and archives, lists exactly what is damaged, and the snapshots and rows it touches."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from vark.errors import DamagedError, InvalidArgumentError, NotFoundError, VarkError
from vark.repository.base import volume_sizes
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.context import Context
from vark.repository.doctor import decode_probe
from vark.repository.erasures import Erasure
from vark.repository.hidden import find_hidden
from vark.repository.layout import (
    ARCHIVES,
    COMMITS,
    ERASURES,
    LISTS,
    LOCKS,
    MARKER,
    PROBES,
    content_of_name,
    list_name,
    root_name,
    volume_name,
    volume_of,
)
from vark.repository.ledger import LEVELS, RESTORED, Ledger, LedgerEntry, read_ledger, write_ledger
from vark.repository.locking import decode_policy
from vark.repository.objects import now_unix_ms, read_object
from vark.repository.reading import FINDINGS, Needed, Progress, Reading, VerifyRequest, archives_of, expected_sizes
from vark.repository.records import CommittedArchive, Marker
from vark.repository.reports import DamagedObject, RepositoryVerifyReport
from vark.repository.root import ArchiveList
from vark.repository.touched import touched_snapshots
from vark.units import parse_bytes, parse_duration

GAP_MAX = 100  # missing roots named in a row; a hostile number must not cost more
_TIME = re.compile(r"\s*[\d.]+\s*[smhd]\s*")
Value = TypeVar("Value")


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


def verify(context: Context, request: VerifyRequest) -> RepositoryVerifyReport:
    """Verify records and archives. Damage is in the report, never an exception; what was read is kept in the ledger.

    An archive that cannot be read, for a reason other than damage, is in the report as that; the others are read.
    """
    start = time.monotonic()
    context = replace(context)  # a fresh reader: what was read earlier may be damaged since
    context.reader.uses_bundles = False  # the objects themselves are to be read
    catalog = context.reader.read()
    faults = _records(context, catalog, request.signed_by)
    ledger = read_ledger(context.store, context.envelope, faults)
    damaged = {name: _damaged(name, error) for name, error in faults.items() if isinstance(error, FINDINGS)}
    unread = {name: error.message for name, error in faults.items() if name not in damaged}
    needed = _needed(context, catalog, request)
    broken = _structure(context, needed, damaged)
    chosen, recent = _choose(context, ledger, needed, broken, request)
    reading = Reading(context, request, needed, broken, now_unix_ms(context.store))
    reading.run(chosen, start)
    damaged.update(reading.damaged)
    unread.update(reading.unread)
    gone = _collected_since(context, broken | archives_of(unread) | archives_of(reading.unproved))
    broken -= gone
    damaged = _without(damaged, gone)
    entries = [entry for entry in reading.entries if entry.archive not in gone]
    entries += [
        LedgerEntry(archive, "structure", 0, False, now_unix_ms(context.store))
        for archive in sorted(broken - {entry.archive for entry in entries})
    ]
    if context.id and entries:
        write_ledger(context.store, context.envelope, entries)
        ledger = read_ledger(context.store, context.envelope)
    return RepositoryVerifyReport(
        level=request.level,
        archive_count=sum(entry.byte_count > 0 for entry in entries),
        checked_bytes=reading.checked_bytes,
        object_count=len(catalog.commits) + len(catalog.marks) + len(catalog.faults) + len(needed),
        seconds=time.monotonic() - start,
        damaged=tuple(damaged[name] for name in sorted(damaged)),
        touched=touched_snapshots(context, _needing(needed, broken), damaged.values(), request.level, request.threads),
        remaining=tuple(sorted(reading.remaining)),
        recent=tuple(sorted(recent)),
        oldest_unverified_unix_ms=_oldest(ledger, needed, request),
        unread=tuple(sorted(_without(unread, gone).items())),
        unproved=tuple(sorted(_without(reading.unproved, gone).items())),
        hidden=find_hidden(context) if request.snapshots is None else (),
        not_believed=tuple(sorted(catalog.not_believed().items())),
    )


def _without(found: dict[str, Value], gone: set[str]) -> dict[str, Value]:
    """Leave out what lies in archives that have gone."""
    return {name: value for name, value in found.items() if not archives_of([name]) & gone}


def _collected_since(context: Context, named: set[str]) -> set[str]:
    """Return archives that a collection has taken while this ran: no snapshot needs them, so nothing is missing."""
    return named & context.reader.administrations.read_what_is_readable({}).swept if named else set()


def _damaged(name: str, error: VarkError) -> DamagedObject:
    is_missing = isinstance(error, NotFoundError)
    return DamagedObject(name, "missing" if is_missing else error.message, missing=is_missing)


def _records(context: Context, catalog: Catalog, signed_by: frozenset[str]) -> dict[str, VarkError]:
    """Read every small object, those of the catalog have been read; return what is wrong with which."""
    faults = dict(catalog.faults)

    def check(name: str, decode: Callable[[bytes], object]) -> None:
        try:
            decode(read_object(context.store, name))
        except VarkError as error:
            faults[name] = error

    check(MARKER, lambda data: Marker.decode(data, place=MARKER))
    for digest, commit in catalog.commits.items() if signed_by else ():
        signer = commit.provenance.signer
        if signer not in signed_by and not catalog.is_void(commit):
            who = signer[:16] + "…" if signer else "nobody"
            faults[catalog.commit_names[digest]] = DamagedError(
                f"signed by {who}, not by whom you named", layer="record"
            )
    administrations = context.reader.administrations
    lists = {
        list_name(content_of_name(entry.name) or "")
        for entry in context.store.list(LISTS)
        if content_of_name(entry.name) is not None
    }
    generations = sorted(administrations.generations())
    for generation in _missing(generations):
        faults[root_name(generation)] = NotFoundError("missing")
    for generation in generations:
        try:
            root = administrations.read_root(generation)
        except VarkError as error:
            faults[root_name(generation)] = error
            continue
        lists |= {list_name(digest) for digest in root.sweeps}
        if root.list is not None:
            lists.add(list_name(root.list))
    for name in sorted(lists):

        def decode(data: bytes, place: str = name) -> object:
            return ArchiveList.decode(data, place=place, envelope=context.envelope)

        check(name, decode)
    decoders: dict[str, Callable[..., object]] = {
        ERASURES: lambda data, place: Erasure.decode(data, place=place, envelope=context.envelope),
        LOCKS: lambda data, place: decode_policy(data, place=place, envelope=context.envelope),
        PROBES: lambda data, place: decode_probe(data, place=place, envelope=context.envelope),
    }
    for folder, decoder in decoders.items():
        for entry in context.store.list(folder):
            if content_of_name(entry.name) is not None:
                check(entry.name, partial(decoder, place=entry.name))
    return faults


def _missing(generations: list[int]) -> list[int]:
    """Return generations that must have been there: they are numbered from 1 and never deleted."""
    found: list[int] = []
    expected = 1
    for generation in generations:
        found += range(expected, min(generation, expected + GAP_MAX))
        expected = generation + 1
    return found


def _needed(context: Context, catalog: Catalog, request: VerifyRequest) -> list[Needed]:
    """Return every archive that the snapshots need, the oldest first."""
    found: dict[str, Needed] = {}
    snapshots = catalog.snapshots if request.snapshots is None else request.snapshots
    for snapshot in snapshots:
        if snapshot.void:
            continue
        for ancestor in snapshot.needed():
            item = found.setdefault(ancestor.id, Needed(ancestor))
            item.snapshots.append(snapshot)
        for archive in snapshot.archives if request.level == "full" else ():
            if archive.base is not None:
                found[archive.id].closure = snapshot.closure
    for commit in catalog.commits.values():
        for archive in commit.archives:
            if archive.id in found:
                found[archive.id].committed = archive
    if request.snapshots is None and any(name.startswith(COMMITS) for name in catalog.faults):
        for item in _unnamed(context, catalog, found):
            found[item.ancestor.id] = item
    return [found[key] for key in sorted(found)]


def _unnamed(context: Context, catalog: Catalog, known: Mapping[str, Needed]) -> list[Needed]:
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
            items.append(Needed(committed.as_ancestor(), committed))
    return items


def _structure(context: Context, needed: list[Needed], damaged: dict[str, DamagedObject]) -> set[str]:
    """Compare the volumes that are there with those of the commits; return the archives that lack something."""
    there: dict[str, int] = {entry.name: entry.byte_count for entry in context.store.list(ARCHIVES)}
    broken = set()
    for item in needed:
        sizes = expected_sizes(context, item)
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


def _choose(
    context: Context, ledger: Ledger, needed: list[Needed], broken: set[str], request: VerifyRequest
) -> tuple[list[Needed], list[str]]:
    """Return the archives to read, never or longest unread first, and those left out because they were read lately."""
    if request.level == "structure":
        return [], []
    last = {item.ancestor.id: _verified_unix_ms(ledger, item, request.level) for item in needed}
    since = -1 if request.max_age_ms is None else now_unix_ms(context.store) - request.max_age_ms
    chosen, recent = [], []

    def age(item: Needed) -> tuple[int, str]:
        # A delta that cannot be proved, for the sake of another archive, must not be the first one for ever.
        own = ledger.verified_unix_ms(item.ancestor.id, request.level) or 0
        return max(last[item.ancestor.id], own), item.ancestor.id

    for item in sorted(needed, key=age):
        if item.ancestor.id in broken:
            continue  # a volume is missing or of another length: that is known, and offsets would lie
        if request.max_age_ms is not None and last[item.ancestor.id] > since:
            recent.append(item.ancestor.id)
        else:
            chosen.append(item)
    return chosen, recent


def _needing(needed: list[Needed], broken: set[str]) -> list[tuple[Snapshot, set[str]]]:
    """Return the snapshots that need a damaged archive, with all such archives."""
    found: dict[str, tuple[Snapshot, set[str]]] = {}
    for item in needed:
        if item.ancestor.id in broken:
            for snapshot in item.snapshots:
                found.setdefault(snapshot.id, (snapshot, set()))[1].add(item.ancestor.id)
    return list(found.values())


def _verified_unix_ms(ledger: Ledger, item: Needed, level: str) -> int:
    """Return when an archive was last found whole, 0 for never; a delta with all that it takes from others."""
    return ledger.verified_unix_ms(item.ancestor.id, RESTORED if item.closure else level) or 0


def _oldest(ledger: Ledger, needed: list[Needed], request: VerifyRequest) -> int | None:
    """Return since when the archive that was not read for the longest time is unread; 0 for never, None for none."""
    if request.level == "structure":
        return None
    return min((_verified_unix_ms(ledger, item, request.level) for item in needed), default=None)
