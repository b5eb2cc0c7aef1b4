"""Costs: what a repository will take in storage, requests and egress, by a price table and as it was used until now."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from vark.errors import InvalidArgumentError
from vark.prices import MONTH_DAYS, Prices, Requests
from vark.projection import BACKUPS_A_DAY_MAX, DAY_MS, Future, Habit, Life, MonthCost, Point, bills, simulate
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.context import Context
from vark.repository.layout import ARCHIVES, volume_of
from vark.repository.marking import candidate_of
from vark.repository.uploads import VOLUME_BYTES
from vark.retention import Policy
from vark.stores.ranges import SEGMENT_BYTES
from vark.units import parse_duration

MONTHS_MAX = 120
LEAST_KEPT = 1  # complete snapshots of a name, whatever the policy says; as `forget` does unless told otherwise
HABIT_DAYS = 60  # how snapshots were made in the last so many days before the newest one
# What is asked for beside volumes, at most; counted in tests. By whether it is a delta.
BACKUP = {False: Requests(puts=3, lists=12, gets=20), True: Requests(puts=3, lists=12, gets=50)}
COLLECTION = Requests(puts=32, lists=30, gets=60, deletes=40)
RESTORE = Requests(lists=8, gets=16)


@dataclass(frozen=True, slots=True)
class NameHabit:
    """What was assumed of a name. snapshots_a_day: 0 where no more are expected; notes say why."""

    name: str
    snapshots_a_day: float
    full_bytes: int
    delta_bytes: int | None
    growth_bytes: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class RestoreCost:
    """One full restore of the newest snapshot of each name: so many bytes at most, for deltas leave some unread."""

    byte_count: int
    get_count: int
    price: Decimal


@dataclass(frozen=True, slots=True)
class TableCost:
    """By one table. now: storage for a month of what is there today. months: what comes. restore: at any time."""

    prices: Prices
    now: Decimal
    months: tuple[MonthCost, ...]
    restore: RestoreCost

    @property
    def total(self) -> Decimal:
        """All months together."""
        return sum((month.total for month in self.months), Decimal(0))


@dataclass(frozen=True, slots=True)
class CostReport:
    """An estimate. stored_bytes: of volumes today; names: what was assumed; tables: one for each price table."""

    stored_bytes: int
    names: tuple[NameHabit, ...]
    tables: tuple[TableCost, ...]


def cost(
    context: Context,
    prices: Sequence[Prices],
    *,
    policy: Policy | None,
    months: int = 12,
    trash: str | float = "7d",
    every: str | float | None = None,
) -> CostReport:
    """Estimate for so many months of 30 days, with backups as they were made lately, and a collection a day.

    policy: as `Repository.forget` obeys it: the newest complete snapshot of each name stays. trash: as in
    `Repository.gc`. every: how often each name is backed up, instead of how it was. Errors:
    InvalidArgumentError.
    """
    if not 1 <= months <= MONTHS_MAX:
        raise InvalidArgumentError(f"months: {months}; expected 1 to {MONTHS_MAX}")
    trash_days = math.ceil(parse_duration(trash, name="trash") * 1000 / DAY_MS)
    every_seconds = None if every is None else parse_duration(every, name="every")
    if every_seconds is not None and every_seconds * 1000 < DAY_MS / BACKUPS_A_DAY_MAX:
        raise InvalidArgumentError(f"every: {every}; expected an hour or more")
    if policy is not None:
        policy.check()
        policy = replace(policy, min_redundancy=max(policy.min_redundancy, LEAST_KEPT))
    now = time.time_ns() // 1_000_000
    catalog = context.reader.read()
    lives = _lives(context)
    usable = [snapshot for snapshot in catalog.snapshots if snapshot.usable]
    points = [
        Point(candidate_of(item), tuple(key.id for key in reversed(tuple(item.needed())) if key.id in lives))
        for item in usable
    ]
    future = Future(now, lives, points)
    stored_bytes = sum(life.byte_count for life in lives.values())
    names, habits = [], []
    for name in sorted({snapshot.name for snapshot in usable}):
        own = [snapshot for snapshot in usable if snapshot.name == name]
        habit, note = _habit(catalog, own, now_ms=now, every_seconds=every_seconds)
        habit = replace(habit, volume_bytes=context.volume_bytes or VOLUME_BYTES)
        a_day = DAY_MS / habit.interval_ms if habit.interval_ms else 0.0
        names.append(NameHabit(name, a_day, habit.full_bytes, habit.delta_bytes, habit.growth_bytes, note))
        habits.append(habit)
    restores = [_restore(snapshot, lives) for snapshot in {snapshot.name: snapshot for snapshot in usable}.values()]
    simulate(future, habits, policy, days=months * MONTH_DAYS, trash_days=trash_days)
    tables = tuple(_table(future, table, months, stored_bytes, restores) for table in prices)
    return CostReport(stored_bytes, tuple(names), tables)


def _lives(context: Context) -> dict[str, Life]:
    """Return all archives that are there."""
    lives: dict[str, Life] = {}
    for entry in context.store.list(ARCHIVES):
        found = volume_of(entry.name)
        if found is not None:
            life = lives.setdefault(found[0], Life(0, 0, entry.modified_unix_ms))
            life.byte_count += entry.byte_count
            life.object_count += 1
            life.born_unix_ms = min(life.born_unix_ms, entry.modified_unix_ms)
    return lives


def _habit(catalog: Catalog, own: Sequence[Snapshot], *, now_ms: int, every_seconds: float | None) -> tuple[Habit, str]:
    """Return how snapshots of one name, oldest first, were made lately, and what is odd about it."""
    newest = own[-1]
    recent = [item for item in own if item.unix_ms > newest.unix_ms - HABIT_DAYS * DAY_MS]
    full_bytes, note = _full_bytes(catalog, newest), ""
    if every_seconds is not None:
        interval = int(every_seconds * 1000)
    elif len(recent) < 2:
        interval, note = 0, "one snapshot only: no more are assumed; say how often they will be made (every)"
    else:
        interval = max((recent[-1].unix_ms - recent[0].unix_ms) // (len(recent) - 1), 1)
        if now_ms - newest.unix_ms > max(5 * interval, 7 * DAY_MS):
            interval, note = 0, "no snapshot for long: no more are assumed; say how often they will be made (every)"
    deltas = [item.archive_bytes for item in recent if item.delta]
    delta_bytes = sum(deltas) // len(deltas) if deltas else None
    if delta_bytes is None:
        note = note or "no delta was made yet: each snapshot is taken to be a full one"
    shortest = DAY_MS // BACKUPS_A_DAY_MAX
    if 0 < interval < shortest:
        delta_bytes = None if delta_bytes is None else min(delta_bytes * shortest // interval, full_bytes)
        interval, note = shortest, note or f"more than {BACKUPS_A_DAY_MAX} a day: those of an hour are taken together"
    tags = catalog.commits[newest.commit].tags  # without those that somebody has set since: the next has none of them
    habit = Habit(newest.name, interval, full_bytes, delta_bytes, _growth(own, full_bytes), host=newest.host, tags=tags)
    return habit, note


def _full_bytes(catalog: Catalog, snapshot: Snapshot) -> int:
    """Return what a full archive of the newest snapshot would take: as its chain's start, in proportion to the rows."""
    if not snapshot.delta:
        return snapshot.archive_bytes
    there = {item.id: item for commit in catalog.commits.values() for item in commit.archives}
    starts = [there[item.id] for item in snapshot.closure if item.id in there and there[item.id].base is None]
    raw, start_raw = _raw_bytes(snapshot), sum(item.raw_bytes for item in starts)
    stored = sum(item.bytes for item in starts)
    if not starts:
        return snapshot.archive_bytes + snapshot.closure_bytes
    return stored * raw // start_raw if raw and start_raw else stored


def _growth(own: Sequence[Snapshot], full_bytes: int) -> int:
    """Return by how many bytes a full archive grows a day."""
    first, last = own[0], own[-1]
    span = last.unix_ms - first.unix_ms
    before, after = _raw_bytes(first), _raw_bytes(last)
    if span < DAY_MS or not before or after <= before:
        return 0
    return (after - before) * DAY_MS // span * full_bytes // after


def _raw_bytes(snapshot: Snapshot) -> int:
    return sum(archive.raw_bytes for archive in snapshot.archives)


def _restore(snapshot: Snapshot, lives: Mapping[str, Life]) -> tuple[int, Requests]:
    """Return the bytes of a full restore, and its requests: each volume is begun anew."""
    needed = [lives[archive.id] for archive in snapshot.needed() if archive.id in lives]
    byte_count = sum(life.byte_count for life in needed)
    volume_count = sum(life.object_count for life in needed)
    return byte_count, RESTORE + Requests(gets=-(-byte_count // SEGMENT_BYTES) + volume_count)


def _table(
    future: Future, prices: Prices, month_count: int, stored_bytes: int, restores: Sequence[tuple[int, Requests]]
) -> TableCost:
    byte_count = sum(item for item, _ in restores)
    asked = sum((item for _, item in restores), Requests())
    restore = RestoreCost(byte_count, asked.gets, prices.of_download(byte_count) + prices.of_requests(asked))
    coming = bills(future, prices, count=month_count, backup=BACKUP, daily=COLLECTION)
    return TableCost(prices, prices.of_storage(stored_bytes * MONTH_DAYS), coming, restore)
