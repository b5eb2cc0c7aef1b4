"""Archives read under a budget: each its own bytes, then deltas as a restore reads them, with all that they need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from vark.errors import CancelledError, DamagedError, NotAnArchiveError, NotFoundError, UnsupportedError, VarkError
from vark.repository.base import volume_sizes
from vark.repository.catalog import Snapshot
from vark.repository.context import Context
from vark.repository.layout import volume_name, volume_of
from vark.repository.ledger import RESTORED, LedgerEntry
from vark.repository.records import Ancestor, CommittedArchive
from vark.repository.reports import DamagedObject
from vark.repository.volumes import stored_digest
from vark.types import Damage, VerifyReport

FINDINGS = (DamagedError, NotFoundError, NotAnArchiveError, UnsupportedError)  # other errors say nothing of the bytes
TOGETHER_MAX = 16  # deltas of a chain that are open at once: each keeps its tables in memory and its files open
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What is asked for. budget_bytes, budget_seconds: no further archive is begun when they are used up.

    max_age_ms: archives found whole at this level since then are left out. snapshots: only what these need.
    signed_by: commits that none of these keys (hex) has signed count as damaged.
    """

    level: str = "full"
    budget_bytes: int | None = None
    budget_seconds: float | None = None
    max_age_ms: int | None = None
    snapshots: tuple[Snapshot, ...] | None = None
    threads: int | None = None
    progress: Progress | None = None
    signed_by: frozenset[str] = frozenset()


@dataclass(slots=True)
class Needed:
    """An archive that some snapshot needs, with what is known of it.

    closure: of a delta that a snapshot consists of, all that it may take rows from.
    """

    ancestor: Ancestor
    committed: CommittedArchive | None = None
    snapshots: list[Snapshot] = field(default_factory=list)
    closure: tuple[Ancestor, ...] = ()

    @property
    def name(self) -> str:
        """The object that stands for it where no volume is known better."""
        return volume_name(self.ancestor.id, 0)


class Reading:
    """What is read in one verification, and what comes of it.

    broken: archives that are damaged. unproved: deltas of which only their own bytes were read, and why.
    """

    def __init__(
        self, context: Context, request: VerifyRequest, needed: Iterable[Needed], broken: set[str], now_ms: int
    ) -> None:
        self._context, self._request, self._now_ms = context, request, now_ms
        self._needed = {item.ancestor.id: item for item in needed}
        self._read: set[str] = set()
        self.broken = broken
        self.damaged: dict[str, DamagedObject] = {}
        self.unread: dict[str, str] = {}
        self.unproved: dict[str, str] = {}
        self.remaining: list[str] = []
        self.entries: list[LedgerEntry] = []
        self.checked_bytes = 0

    def run(self, chosen: list[Needed], start: float) -> None:
        """Read these archives, in this order, until the budget is used up; at least one. start: seconds, monotonic."""
        request, waiting = self._request, list[Needed]()
        total, cost = sum(item.ancestor.bytes for item in chosen), 0
        paid: set[str] = set()  # ancestors that are read for deltas: once, however many need them
        for number, item in enumerate(chosen):
            rows = {ancestor.id: ancestor.bytes for ancestor in item.closure if ancestor.id not in paid}
            own_bytes = item.ancestor.bytes + sum(rows.values())
            spent = request.budget_seconds is not None and time.monotonic() - start > request.budget_seconds
            over = request.budget_bytes is not None and cost + own_bytes > request.budget_bytes
            if number and (spent or over):
                self.remaining = [left.ancestor.id for left in chosen[number:]]
                break
            if item.ancestor.id not in self._read and not self.read_own(item):
                total -= item.ancestor.bytes
                continue
            cost += own_bytes
            paid |= rows.keys()
            if item.closure:
                waiting.append(item)
            if request.budget_seconds is not None:  # then nobody may wait for others
                self._read_rows(waiting)
                waiting = []
            if request.progress is not None:
                request.progress(self.checked_bytes, total)
        for group in _chains(waiting):
            self._read_rows(group)

    def read_own(self, item: Needed) -> bool:
        """Read one archive, its own bytes only. Return whether it could be read, be it whole or not."""
        self._read.add(item.ancestor.id)
        found = _read_archive(self._context, item, self._request, self.unread)
        if found is None:
            return False
        self.checked_bytes += item.ancestor.bytes
        self.damaged.update({each.object: each for each in found})
        if found:
            self.broken.add(item.ancestor.id)
        entry = LedgerEntry(item.ancestor.id, self._request.level, item.ancestor.bytes, not found, self._now_ms)
        self.entries.append(entry)
        return True

    def _read_rows(self, items: list[Needed]) -> None:
        """Read deltas as a restore does, with all that they take from others."""
        items = [item for item in items if self._is_readable(item)]
        if not items:
            return
        archives = [as_committed(self._context, item) for item in items]
        try:
            others = {other.id: other for item in items for other in item.closure}
            sizes = self._context.sizes_of(tuple(others.values()))
            threads = self._request.threads
            reports = self._context.engine.verify_rows(self._context.store, archives, sizes, threads=threads)
        except CancelledError:
            raise
        except (VarkError, OSError) as error:
            if len(items) > 1:
                for item in items:  # one of them may be to blame
                    self._read_rows([item])
            elif isinstance(error, FINDINGS):
                self._judge(items[0], DamagedObject(items[0].name, str(error)))
            else:
                self.unread[items[0].name] = str(error)
            return
        for item, report in zip(items, reports, strict=True):
            if report.unread:
                self.unread[item.name] = str(report.unread[0])
            if report.damage:
                self._judge(item, DamagedObject(item.name, str(report.damage[0]), damage=report.damage))
            elif not report.unread:
                self.entries.append(LedgerEntry(item.ancestor.id, RESTORED, 0, True, self._now_ms))

    def _is_readable(self, item: Needed) -> bool:
        """Return whether all that a delta needs may be whole; what is known not to be is named already."""
        known = self.broken | archives_of(self.unread)
        if item.ancestor.id in known:
            return False
        lacking = sorted(known & {ancestor.id for ancestor in item.closure})
        if lacking:
            self.unproved[item.name] = f"needs archive {lacking[0]}, which is damaged or could not be read"
        return not lacking

    def _judge(self, item: Needed, wrong: DamagedObject) -> None:
        """Find out whose fault it is: a delta's own, when all that it needs is whole. That is read now, at any cost."""
        for ancestor in item.closure:
            other = self._needed.get(ancestor.id, Needed(ancestor))
            if ancestor.id not in self._read and ancestor.id not in self.broken:
                self.read_own(other)
        if self._is_readable(item):
            self.damaged[wrong.object] = wrong
            self.broken.add(item.ancestor.id)
            self.entries.append(LedgerEntry(item.ancestor.id, RESTORED, 0, False, self._now_ms))


def _chains(items: list[Needed]) -> list[list[Needed]]:
    """Return deltas that share ancestors beside each other, some at a time."""
    found: dict[str, list[list[Needed]]] = {}
    for item in sorted(items, key=lambda item: item.ancestor.id):
        groups = found.setdefault(min(ancestor.id for ancestor in item.closure), [[]])
        if len(groups[-1]) == TOGETHER_MAX:
            groups.append([])
        groups[-1].append(item)
    return [group for groups in found.values() for group in groups]


def _read_archive(
    context: Context, item: Needed, request: VerifyRequest, unread: dict[str, str]
) -> list[DamagedObject] | None:
    """Read one archive, its own bytes only; return its damaged volumes, None where it could not be read."""
    try:
        archive = as_committed(context, item)
        # Of a delta its own bytes: those of others are read as theirs. What is known to be full is read as a whole.
        own = item.committed is None or not archive.root or archive.base is not None
        report = context.engine.verify(
            context.store, archive, {}, level=request.level, own=own, threads=request.threads
        )
        if report.ok and not _is_committed(context, archive):
            return [DamagedObject(item.name, "whole, but another archive than the one committed")]
    except CancelledError:
        raise
    except NotFoundError:
        return [DamagedObject(item.name, "vanished while it was read", missing=True)]
    except FINDINGS as error:
        return [DamagedObject(item.name, error.message)]
    except (VarkError, OSError) as error:
        unread[item.name] = str(error)
        return None
    unread.update({volume_name(archive.id, _volume_at(archive, place.offset)): str(place) for place in report.unread})
    if not report.damage:
        return None if report.unread else []
    return _damaged_volumes(context, archive, report)


def _damaged_volumes(context: Context, archive: CommittedArchive, report: VerifyReport) -> list[DamagedObject]:
    """Return the volumes whose bytes are others; where that cannot be told, those in which the damage was seen."""
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


def _is_committed(context: Context, archive: CommittedArchive) -> bool:
    archive_id, root = context.engine.identity(context.store, archive)
    return archive_id == archive.id and root == (archive.root or root)  # no root: where no commit names it


def _changed_volumes(context: Context, archive: CommittedArchive) -> list[int]:
    """Return the volumes whose digest is not that of the commit: a block that is damaged may lie in several.

    None of them where one cannot be read: then the places of the damage have to do.
    """
    changed = []
    for number, expected in enumerate(archive.digests):
        try:
            found = stored_digest(context.store, volume_name(archive.id, number), archive.volumes[number])
        except CancelledError:
            raise
        except (VarkError, OSError):
            return []
        if found != expected:
            changed.append(number)
    return changed


def _volume_at(archive: CommittedArchive, offset: int | None) -> int:
    """Return the volume that holds a byte; the last one, with the directory, where no offset is known."""
    if offset is not None:
        end = 0
        for number, size in enumerate(archive.volumes):
            end += size
            if offset < end:
                return number
    return len(archive.volumes) - 1


def as_committed(context: Context, item: Needed) -> CommittedArchive:
    """Return what the commit says of an archive, or what can be known without it."""
    if item.committed is not None:
        return item.committed
    sizes = expected_sizes(context, item)
    return CommittedArchive(item.ancestor.id, "", sizes, item.ancestor.root, item.ancestor.bytes, None)


def expected_sizes(context: Context, item: Needed) -> tuple[int, ...]:
    """Return the volumes' bytes by the commit; where that has gone, by what is there as far as the sum is right."""
    if item.committed is not None:
        return item.committed.volumes
    found = volume_sizes(context.store, item.ancestor.id)
    if sum(found) == item.ancestor.bytes:
        return found
    rest = item.ancestor.bytes - sum(found[:-1])
    return (*found[:-1], rest) if rest > 0 else (item.ancestor.bytes,)


def archives_of(names: Iterable[str]) -> set[str]:
    """Return the archives that these objects are volumes of."""
    return {found[0] for name in names if (found := volume_of(name)) is not None}
