"""Erase: rows of some ids go from every retained snapshot (spec/REPOSITORY.md, section 6).

A writer like compaction: each snapshot gets a commit that replaces the one it has, made of archives without the rows.
What builds on an archive with such rows is written again, too, on what stands in its place: nothing keeps the old ones.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from vark.archive import ProgressCallback
from vark.errors import ConflictError, InvalidArgumentError, RefusedError
from vark.repository import erasures
from vark.repository.catalog import Snapshot
from vark.repository.context import Context
from vark.repository.erasures import ERASE, HASHES_MAX, List
from vark.repository.layout import ARCHIVES, volume_of
from vark.repository.locking import lock_snapshots, retained_replaced
from vark.repository.reports import ErasedArchive, ErasedSnapshot, EraseReport
from vark.repository.rewriting import PASSES, Done, Look, rewrite

SHOWN = 5


@dataclass(frozen=True, slots=True)
class EraseRequest:
    """What is asked for.

    ids: None for those that are erased already, by whatever record is in force: for what writers added that could not
    read these. names: none for the snapshots of all names. leave_unknown: members whose ids nobody can see stay.
    """

    ids: tuple[int, ...] | None
    names: tuple[str, ...] = ()
    confirm: bool = False
    reason: str = ""
    leave_unknown: bool = False
    threads: int | None = None
    progress: ProgressCallback | None = None


@dataclass(slots=True)
class _Draft:
    """A record that is there already, or one that will be created."""

    key: str
    hashes: frozenset[str]
    digest: str | None


def erase(context: Context, request: EraseRequest) -> EraseReport:
    """Erase ids from all snapshots of some names; without `confirm` only tell what would be.

    Everything is looked at before anything is written. Errors: InvalidArgumentError, RefusedError (rows that cannot be
    erased), DamagedError (something cannot be read), ConflictError.
    """
    start = time.monotonic()
    catalog = context.whole_catalog("erase")
    for name in request.names:
        if name not in {snapshot.name for snapshot in catalog.snapshots}:
            raise InvalidArgumentError(f"name {name!r}: no snapshot is called so")
    drafts = [] if request.ids is None else _drafts(context, request.ids, request)
    names = {item.name for item in catalog.snapshots if not request.names or item.name in request.names}
    by_name = _in_force(context, names) if request.ids is None else dict.fromkeys(names, _lists(drafts))
    look = Look(context, catalog, by_name)
    chosen = look.chosen()
    _refuse(look, request)
    done = Done()
    if request.confirm:
        for draft in drafts:
            if draft.digest is None:
                draft.digest = erasures.new_erasure(
                    context.store,
                    context.envelope,
                    ERASE,
                    request.names,
                    draft.hashes,
                    key=draft.key,
                    leave_unknown=request.leave_unknown,
                    reason=request.reason,
                )
        context.read_erasures()  # what was made is remembered, too
        done = rewrite_all(context, by_name, threads=request.threads, progress=request.progress, look=look)
    if request.ids is None:
        drafts = [_Draft("", frozenset(one.hex() for one in item.hashes), item.digest) for item in _all(by_name)]
    return _report(context, request, look, chosen, done, drafts, time.monotonic() - start)


def _in_force(context: Context, names: Iterable[str]) -> dict[str, tuple[List, ...]]:
    records = context.read_erasures()
    return {name: erasures.lists_for(records, name) for name in names}


def _all(by_name: Mapping[str, tuple[List, ...]]) -> list[List]:
    """Return each list once, with all that is in force of it for any name."""
    found: dict[str, List] = {}
    for item in (item for lists in by_name.values() for item in lists):
        known = found.get(item.digest, item)
        found[item.digest] = replace(item, hashes=item.hashes | known.hashes)
    return list(found.values())


def rewrite_name(context: Context, name: str) -> dict[str, str]:
    """Apply the erasures in force to the snapshots of one name, for writers whom one came in the way of.

    Return the new commit of each snapshot that got one.
    """
    done = rewrite_all(context, _in_force(context, [name]), threads=None, progress=None, look=None)
    return {item.snapshot: item.commit for item in done.snapshots.values()}


def rewrite_all(
    context: Context,
    by_name: Mapping[str, tuple[List, ...]],
    *,
    threads: int | None,
    progress: ProgressCallback | None,
    look: Look | None,
) -> Done:
    """Rewrite what needs it, and look again until nothing does: writers that came meanwhile may have added to it."""
    done = Done()
    for _ in range(PASSES):
        look = look or Look(context, context.whole_catalog("erase"), by_name)
        chosen = look.chosen()
        if not chosen:
            return done
        rewrite(look, chosen, done, threads=threads, progress=progress)
        look = None
    raise ConflictError(f"erase: writers or collections were in the way {PASSES} times; nothing is lost, run it again")


def _lists(drafts: Iterable[_Draft]) -> tuple[List, ...]:
    return tuple(
        List(
            draft.digest or f"draft {number}",
            bytes.fromhex(draft.key),
            frozenset(bytes.fromhex(one) for one in draft.hashes),
        )
        for number, draft in enumerate(drafts)
    )


def _drafts(context: Context, wanted: Iterable[int], request: EraseRequest) -> list[_Draft]:
    """Return the records of these ids; those of a run that did not come to its end are taken up."""
    ids = sorted({number & ((1 << 64) - 1) for number in wanted})
    if not ids:
        raise InvalidArgumentError("ids: none; give at least one")
    if ids[-1] == (1 << 64) - 1:
        raise InvalidArgumentError("ids: -1 is what erased rows have; it cannot be erased itself")
    known = context.read_erasures()
    drafts = []
    for first in range(0, len(ids), HASHES_MAX):
        part = ids[first : first + HASHES_MAX]
        draft = None
        for digest, record in known.items():
            same = record.action == ERASE and set(record.names) == set(request.names)
            same = same and record.leave_unknown == request.leave_unknown
            if same and len(record.hashes) == len(part):
                hashes = erasures.hashes_of(record.key, part)
                if hashes == frozenset(record.hashes) and _is_in_force(known, digest):
                    draft = _Draft(record.key, hashes, digest)
        key = secrets.token_hex(32)
        drafts.append(draft or _Draft(key, erasures.hashes_of(key, part), None))
    return drafts


def _is_in_force(known: Mapping[str, erasures.Erasure], digest: str) -> bool:
    """Return whether nothing of a record has been ended: else it does not filter what comes, and a new one must."""
    return not any(other.erasure == digest for other in known.values())


def _refuse(look: Look, request: EraseRequest) -> None:
    """Refuse what cannot be done, before anything is written."""
    faults, unknown = set(), set()
    for archive_id, seen in look.surveys.items():
        commit = look.owners[archive_id][1]
        faults |= {f"{commit.name}: {member.fault}" for member in seen.members if member.fault}
        unknown |= {f"{commit.name}: {member} {reason}" for member, reason in seen.unknown.items()}
    if faults:
        raise RefusedError(f"erase: nothing was written, for {_some(faults)}")
    if unknown and not request.leave_unknown:
        raise RefusedError(
            f"erase: nothing was written, for {_some(unknown)}; forget the snapshots that hold it, or leave such "
            "members as they are (leave_unknown)"
        )


def _some(texts: Iterable[str]) -> str:
    found = sorted(texts)
    return "; ".join(found[:SHOWN]) + (f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def _report(
    context: Context,
    request: EraseRequest,
    look: Look,
    chosen: list[Snapshot],
    done: Done,
    drafts: list[_Draft],
    seconds: float,
) -> EraseReport:
    found = {(number, one) for seen in look.surveys.values() for number, one in seen.found}
    snapshots = tuple(done.snapshots.values())
    if not request.confirm:
        snapshots = tuple(_expected(look, snapshot) for snapshot in chosen)
    archives = [archive for snapshot in snapshots for archive in snapshot.archives]
    committed = {archive.id for commit in context.reader.read().commits.values() for archive in commit.archives}
    there = {found_[0] for entry in context.store.list(ARCHIVES) if (found_ := volume_of(entry.name)) is not None}
    return EraseReport(
        confirmed=request.confirm,
        erasures=tuple(draft.digest for draft in drafts if draft.digest is not None),
        id_count=sum(len(draft.hashes) for draft in drafts),
        found_count=len(found),
        snapshots=snapshots,
        row_count=sum(archive.rows for archive in archives),
        bytes_changed=sum(size for archive in archives for _, size in archive.changed.values()),
        bytes_rewritten=sum(archive.archive_bytes for archive in archives),
        bytes_before=sum(archive.archive_bytes_before for archive in archives),
        uncommitted=tuple(sorted(there - committed)),
        seconds=seconds,
        retained=retained_replaced(context.store, snapshots),
        lock=lock_snapshots(context, done.snapshots) if done.snapshots else None,
    )


def _expected(look: Look, snapshot: Snapshot) -> ErasedSnapshot:
    archives = []
    for archive in snapshot.archives:
        seen = look.survey(archive.id)
        unknown = (f"{member} {reason}" for member, reason in seen.unknown.items())
        archives.append(
            ErasedArchive(
                archive_id=archive.id,
                replaces=archive.id,
                shard=archive.shard,
                base=archive.base,
                rows=seen.row_count,
                changed={},
                archive_bytes=0,
                archive_bytes_before=archive.bytes,
                documents=seen.documents,
                not_erased=(*seen.notes, *unknown),
            )
        )
    return ErasedSnapshot(
        snapshot=snapshot.id,
        name=snapshot.name,
        unix_ms=snapshot.unix_ms,
        commit=snapshot.commit,
        replaces=snapshot.commit,
        held=snapshot.held,
        forgotten=snapshot.forgotten_unix_ms is not None,
        archives=tuple(archives),
    )
