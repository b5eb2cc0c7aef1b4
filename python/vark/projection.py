"""What a repository will hold when it is used as until now: backups to come, a retention policy day by day. Pure.

All it knows of an archive is how many bytes it has and which others it needs; of a snapshot, which archives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from vark.prices import MONTH_DAYS, Prices, Requests
from vark.retention import Candidate, Policy, decide

DAY_MS = 86_400_000
BACKUPS_A_DAY_MAX = 24  # of more, several are taken together


@dataclass(slots=True)
class Life:
    """An archive's time. born, gone: milliseconds; gone is None while it is there."""

    byte_count: int
    object_count: int
    born_unix_ms: int
    gone_unix_ms: int | None = None

    def byte_days(self, start_ms: int, stop_ms: int) -> Decimal:
        """Return its bytes times the days that it is there between two moments."""
        end = stop_ms if self.gone_unix_ms is None else min(self.gone_unix_ms, stop_ms)
        span = end - max(self.born_unix_ms, start_ms)
        return Decimal(self.byte_count) * max(span, 0) / DAY_MS

    def unused_byte_days(self, prices: Prices, start_ms: int, stop_ms: int) -> Decimal:
        """Return what is charged beyond its time, in the span in which it was deleted."""
        gone = self.gone_unix_ms
        if gone is None or not start_ms < gone <= stop_ms:
            return Decimal(0)
        return self.byte_count * prices.unused_days(Decimal(gone - self.born_unix_ms) / DAY_MS)


@dataclass(frozen=True, slots=True)
class Habit:
    """How snapshots of a name are made. interval_ms: 0 when no more are to be expected.

    full_bytes: of a full archive now; growth_bytes: of one, a day. delta_bytes: of a delta; None where all are full.
    host, tags: as a policy looks at them.
    """

    name: str
    interval_ms: int
    full_bytes: int
    delta_bytes: int | None
    growth_bytes: int = 0
    chain_max: int = 30
    waste_max: float = 0.5
    volume_bytes: int = 32 << 20
    host: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Point:
    """A snapshot and the archives that it needs, by key; the last one is its own."""

    candidate: Candidate
    needs: tuple[str, ...]


@dataclass(slots=True)
class Future:
    """A repository as it is, and then as it will be. lives: all archives by key. points: snapshots that are kept.

    uses: how many points need an archive. unneeded_since: those in the trash.
    """

    now_unix_ms: int
    lives: dict[str, Life]
    points: list[Point]
    backups: list[tuple[int, int, int, bool]] = field(default_factory=list)  # time, bytes, volumes, delta
    freed: list[tuple[int, int]] = field(default_factory=list)  # time, objects
    uses: Counter[str] = field(default_factory=Counter)
    unneeded_since: dict[str, int] = field(default_factory=dict)


def simulate(future: Future, habits: Sequence[Habit], policy: Policy | None, *, days: int, trash_days: int = 7) -> None:
    """Let so many days pass: backups as the habits say, then the policy (None: all is kept), then a collection."""
    chains = {habit.name: _last_chain(future, habit.name) for habit in habits}
    due = {habit.name: _next(future, habit) for habit in habits}
    future.uses = Counter(key for point in future.points for key in point.needs)
    # Archives that nothing needs now have been in the trash for a time that nobody knows: it begins again.
    future.unneeded_since.update(dict.fromkeys(future.lives.keys() - future.uses.keys(), future.now_unix_ms + DAY_MS))
    for day in range(days):
        end = future.now_unix_ms + (day + 1) * DAY_MS
        for habit in habits:
            while habit.interval_ms and due[habit.name] < end:
                _back_up(future, habit, chains, due[habit.name])
                due[habit.name] += habit.interval_ms
        if policy is not None:
            _forget(future, policy, end)
        _collect(future, end, trash_days * DAY_MS)


def _forget(future: Future, policy: Policy, moment: int) -> None:
    kept = {item.candidate.id for item in decide(_candidates(future), policy, now_unix_ms=moment) if item.keep}
    for point in future.points:
        if point.candidate.id not in kept:
            future.uses.subtract(point.needs)
            future.unneeded_since.update(dict.fromkeys((key for key in point.needs if not future.uses[key]), moment))
    future.points = [point for point in future.points if point.candidate.id in kept]


def _candidates(future: Future) -> list[Candidate]:
    return [point.candidate for point in future.points]


def _next(future: Future, habit: Habit) -> int:
    last = max((item.time_unix_ms for item in _candidates(future) if item.name == habit.name), default=0)
    return max(last + habit.interval_ms, future.now_unix_ms)


def _last_chain(future: Future, name: str) -> tuple[str, ...]:
    own = [point for point in future.points if point.candidate.name == name]
    return max(own, key=lambda point: point.candidate.time_unix_ms).needs if own else ()


def _back_up(future: Future, habit: Habit, chains: dict[str, tuple[str, ...]], moment: int) -> None:
    chain = chains[habit.name]
    full = habit.full_bytes + habit.growth_bytes * max(moment - future.now_unix_ms, 0) // DAY_MS
    stored = sum(future.lives[key].byte_count for key in chain)
    is_full = habit.delta_bytes is None or not chain or len(chain) > habit.chain_max
    is_full = is_full or any(future.lives[key].gone_unix_ms is not None for key in chain)
    is_full = is_full or stored - full > habit.waste_max * full
    byte_count = full if is_full else habit.delta_bytes or 0
    key = f"{habit.name}@{moment}"
    volumes = max(-(-byte_count // habit.volume_bytes), 1)
    future.lives[key] = Life(byte_count, volumes, moment)
    chains[habit.name] = (key,) if is_full else (*chain, key)
    candidate = Candidate(key, habit.name, moment, host=habit.host, tags=habit.tags)
    future.points.append(Point(candidate, chains[habit.name]))
    future.uses.update(chains[habit.name])
    for ancestor in chains[habit.name]:
        future.unneeded_since.pop(ancestor, None)
    future.backups.append((moment, byte_count, volumes, not is_full))


def _collect(future: Future, moment: int, trash_ms: int) -> None:
    for key in [key for key, since in future.unneeded_since.items() if moment - since >= trash_ms]:
        life = future.lives[key]
        life.gone_unix_ms = moment
        future.freed.append((moment, life.object_count))
        del future.unneeded_since[key]


@dataclass(frozen=True, slots=True)
class MonthCost:
    """30 days. stored_bytes: on average. early: for what was deleted before the minimum duration."""

    number: int
    stored_bytes: int
    storage: Decimal
    early: Decimal
    requests: Decimal
    upload: Decimal

    @property
    def total(self) -> Decimal:
        """All of it."""
        return self.storage + self.early + self.requests + self.upload


def bills(
    future: Future, prices: Prices, *, count: int, backup: Mapping[bool, Requests], daily: Requests
) -> tuple[MonthCost, ...]:
    """Return the bills of the months that were simulated. backup: of one by whether it is a delta, beside its volumes.

    daily: of a collection a day.
    """
    found = []
    for number in range(count):
        start = future.now_unix_ms + number * MONTH_DAYS * DAY_MS
        stop = start + MONTH_DAYS * DAY_MS
        byte_days = sum((life.byte_days(start, stop) for life in future.lives.values()), Decimal(0))
        early = sum((life.unused_byte_days(prices, start, stop) for life in future.lives.values()), Decimal(0))
        made = [item for item in future.backups if start <= item[0] < stop]
        asked = daily * MONTH_DAYS + Requests(deletes=sum(_within(future.freed, start, stop)))
        for _, _, volumes, is_delta in made:
            asked += backup[is_delta] + Requests(puts=volumes)
        found.append(
            MonthCost(
                number=number + 1,
                stored_bytes=int(byte_days / MONTH_DAYS),
                storage=prices.of_storage(byte_days),
                early=prices.of_storage(early),
                requests=prices.of_requests(asked),
                upload=prices.of_upload(sum(byte_count for _, byte_count, _, _ in made)),
            )
        )
    return tuple(found)


def _within(events: Iterable[tuple[int, int]], start: int, stop: int) -> Iterable[int]:
    """Yield the counts of events between two moments; a collection at the end of a day belongs to that day."""
    return (count for moment, count in events if start < moment <= stop)
