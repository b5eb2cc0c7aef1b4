"""Retention: which snapshots a policy keeps, and why. Pure: no clock, no store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime

from vark.calendars import BUCKETS, Span, parse_span, time_zone
from vark.errors import InvalidArgumentError

GROUPINGS = ("name", "host", "tags")
UNIX_MS_END = 253_370_764_800_000  # the year 9999, where datetime ends


@dataclass(frozen=True, slots=True)
class Candidate:
    """A snapshot as retention sees it. time_unix_ms: of the store where it has a clock, else of the client."""

    id: str
    name: str
    time_unix_ms: int
    host: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    partial: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a snapshot. reasons: every rule that keeps it; empty exactly when it goes."""

    candidate: Candidate
    reasons: tuple[str, ...]

    @property
    def keep(self) -> bool:
        """Whether the snapshot stays."""
        return bool(self.reasons)


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules, each of which keeps snapshots; what none of them keeps goes.

    keep_last: the newest so many.
    keep_hourly … keep_yearly: the newest of each of the last so many hours … years that have one, by the calendar of
        time_zone; the oldest snapshot fills a count that is not reached.
    keep_within: all younger than this ("30d", "1y6m"); keep_within_hourly …: the newest of each hour … within it.
    keep_tags: "key" or "key=value". keep_ids: ids or beginnings of them.
    group_by: each rule counts in each group by itself.
    min_redundancy: the newest so many complete ones of each group stay, whatever the rules say.
    before_unix_ms, after_unix_ms: others are not considered, and stay.
    """

    keep_last: int | None = None
    keep_hourly: int | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_quarterly: int | None = None
    keep_yearly: int | None = None
    keep_within: str | None = None
    keep_within_hourly: str | None = None
    keep_within_daily: str | None = None
    keep_within_weekly: str | None = None
    keep_within_monthly: str | None = None
    keep_within_quarterly: str | None = None
    keep_within_yearly: str | None = None
    keep_tags: Sequence[str] = ()
    keep_ids: Sequence[str] = ()
    group_by: Sequence[str] = ("name",)
    min_redundancy: int = 0
    time_zone: str = "UTC"
    before_unix_ms: int | None = None
    after_unix_ms: int | None = None

    def is_empty(self) -> bool:
        """Return whether no rule keeps anything: such a policy would forget all."""
        return not any(getattr(self, item.name) for item in fields(self) if item.name.startswith("keep_"))

    def check(self) -> None:
        """Check all values. Errors: InvalidArgumentError, also for a policy without a rule."""
        if self.is_empty():
            raise InvalidArgumentError("policy: keeps nothing; give at least one rule such as --keep-last 7")
        _check_count("min_redundancy", self.min_redundancy)
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None:
                continue
            if item.name.startswith("keep_within"):
                parse_span(value, name=item.name)
            elif item.name in _COUNTS:
                _check_count(item.name, value)
        for name in ("keep_tags", "keep_ids", "group_by"):
            _check_words(name, getattr(self, name))
        unknown = [name for name in self.group_by if name not in GROUPINGS]
        if unknown:
            raise InvalidArgumentError(f"group_by: {unknown[0]!r}; expected some of {', '.join(GROUPINGS)}")
        before, after = self.before_unix_ms, self.after_unix_ms
        if before is not None and after is not None and before <= after:
            raise InvalidArgumentError(f"before {before} ms, after {after} ms: no snapshot is both; swap them")
        time_zone(self.time_zone)


_COUNTS = ("keep_last", *(f"keep_{rule}" for rule in BUCKETS))


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidArgumentError(f"{name}: {value!r}; expected a whole number, 0 or more")


def _check_words(name: str, words: object) -> None:
    # One text is a sequence too, of its letters; and an empty word would look like a rule but keep nothing.
    if isinstance(words, str) or not isinstance(words, Sequence):
        raise InvalidArgumentError(f"{name}: {words!r}; expected a list of texts")
    for word in words:
        if not isinstance(word, str) or not word.partition("=")[0].strip():
            raise InvalidArgumentError(f"{name}: {word!r}; expected a text that is not empty")


def decide(candidates: Iterable[Candidate], policy: Policy, *, now_unix_ms: int) -> list[Decision]:
    """Return a decision for each candidate, newest first. Nothing is done.

    Held snapshots and those dated after now always stay; the latter count for no rule and not for min_redundancy.
    A partial snapshot satisfies no count where a complete one stands in the same bucket (for keep_last: anywhere), and
    does not count for min_redundancy; keep_within, keep_tags and keep_ids keep it like any other.
    Errors: InvalidArgumentError for a policy that keeps nothing, bad values, or two candidates of one id.
    """
    policy.check()
    if not 0 <= now_unix_ms < UNIX_MS_END:
        raise InvalidArgumentError(f"now: {now_unix_ms} ms; expected a time from 1970 to 9998")
    known: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.id in known:
            raise InvalidArgumentError(f"snapshot {candidate.id}: given twice")
        # No upper limit: a forged date in the far future is kept as any future, and must not stop retention for all.
        if candidate.time_unix_ms < 0:
            raise InvalidArgumentError(f"snapshot {candidate.id}: {candidate.time_unix_ms} ms; expected 1970 or later")
        known[candidate.id] = candidate
    groups: dict[tuple[object, ...], list[Candidate]] = {}
    for candidate in known.values():
        groups.setdefault(_group(candidate, policy.group_by), []).append(candidate)
    reasons: dict[str, list[str]] = {name: [] for name in known}
    for group in groups.values():
        _Group(group, policy, now_unix_ms, reasons).decide()
    order = sorted(known.values(), key=_newest_first)
    return [Decision(candidate, tuple(reasons[candidate.id])) for candidate in order]


def _newest_first(candidate: Candidate) -> tuple[int, str]:
    return (-candidate.time_unix_ms, candidate.id)


def _group(candidate: Candidate, group_by: Sequence[str]) -> tuple[object, ...]:
    parts = {"name": candidate.name, "host": candidate.host, "tags": tuple(sorted(candidate.tags.items()))}
    return tuple(parts[name] for name in GROUPINGS if name in group_by)


class _Group:
    """The snapshots that count together."""

    def __init__(self, group: list[Candidate], policy: Policy, now_unix_ms: int, reasons: dict[str, list[str]]) -> None:
        self.group, self.policy, self.reasons = sorted(group, key=_newest_first), policy, reasons
        self.now_unix_ms = now_unix_ms
        self.zone = time_zone(policy.time_zone)
        self.now = datetime.fromtimestamp(now_unix_ms / 1000, UTC).astimezone(self.zone)
        self.counted: list[Candidate] = []
        self.moments: dict[str, datetime] = {}  # of what counts, in the zone

    def decide(self) -> None:
        """Note every reason to keep a snapshot of the group."""
        for candidate in self.group:
            if candidate.time_unix_ms > self.now_unix_ms:
                self.keep(candidate, "in the future")
            elif not self.is_considered(candidate):
                self.keep(candidate, "not considered")
            else:
                self.counted.append(candidate)
                moment = datetime.fromtimestamp(candidate.time_unix_ms / 1000, UTC)
                self.moments[candidate.id] = moment.astimezone(self.zone)
            if candidate.held:
                self.keep(candidate, "held")
        self.last()
        for rule, bucket in BUCKETS.items():
            self.calendar(rule, bucket, getattr(self.policy, f"keep_{rule}"))
            self.within_calendar(rule, bucket, getattr(self.policy, f"keep_within_{rule}"))
        self.within()
        self.named()
        self.redundancy()

    def is_considered(self, candidate: Candidate) -> bool:
        before, after = self.policy.before_unix_ms, self.policy.after_unix_ms
        time = candidate.time_unix_ms
        return (before is None or time < before) and (after is None or time > after)

    def keep(self, candidate: Candidate, reason: str) -> None:
        self.reasons[candidate.id].append(reason)

    def last(self) -> None:
        """Keep the newest; partial ones only in the places that complete ones leave."""
        count = self.policy.keep_last or 0
        complete = [candidate for candidate in self.counted if not candidate.partial]
        chosen = complete[:count]
        if len(chosen) < count:
            chosen += [candidate for candidate in self.counted if candidate.partial][: count - len(chosen)]
        for candidate in chosen:
            self.keep(candidate, f"last {count}")

    def buckets(self, bucket: Callable[[datetime], str], candidates: Sequence[Candidate]) -> dict[str, Candidate]:
        """Return the snapshot of each bucket, newest bucket first: its newest complete one, else its newest."""
        chosen: dict[str, Candidate] = {}
        for candidate in candidates:
            name = bucket(self.moments[candidate.id])
            held = chosen.setdefault(name, candidate)
            if held.partial and not candidate.partial:
                chosen[name] = candidate
        return chosen

    def calendar(self, rule: str, bucket: Callable[[datetime], str], count: int | None) -> None:
        if not count:
            return
        chosen = self.buckets(bucket, self.counted)
        for name, candidate in list(chosen.items())[:count]:
            self.keep(candidate, f"{rule} {name}")
        if not self.counted or len(chosen) >= count:
            return
        complete = [candidate for candidate in self.counted if not candidate.partial]
        oldest = (complete or self.counted)[-1]
        if all(candidate.id != oldest.id for candidate in chosen.values()):
            self.keep(oldest, f"oldest, fills {rule} {len(chosen) + 1} of {count}")

    def younger(self, span: Span) -> list[Candidate]:
        limit = span.before(self.now)
        return [candidate for candidate in self.counted if self.moments[candidate.id].astimezone(UTC) > limit]

    def within_calendar(self, rule: str, bucket: Callable[[datetime], str], text: str | None) -> None:
        if text is not None:
            span = parse_span(text, name=f"keep_within_{rule}")
            for name, candidate in self.buckets(bucket, self.younger(span)).items():
                self.keep(candidate, f"{rule} {name} within {text}")

    def within(self) -> None:
        text = self.policy.keep_within
        if text is not None:
            for candidate in self.younger(parse_span(text, name="keep_within")):
                self.keep(candidate, f"within {text}")

    def named(self) -> None:
        for candidate in self.counted:
            for tag in self.policy.keep_tags:
                key, has_value, value = tag.partition("=")
                if key in candidate.tags and (not has_value or candidate.tags[key] == value):
                    self.keep(candidate, f"tag {tag}")
            for name in self.policy.keep_ids:
                if candidate.id.startswith(name):
                    self.keep(candidate, f"id {name}")

    def redundancy(self) -> None:
        """Keep the newest complete ones. Old ones that other rules keep do not stand in for them.

        If they did, one more rule that keeps an old snapshot would let a newer one go. Nor does the future, which a
        writer with a wrong clock can fill.
        """
        complete = [each for each in self.group if not each.partial and each.time_unix_ms <= self.now_unix_ms]
        for candidate in complete[: self.policy.min_redundancy]:
            if not self.reasons[candidate.id]:
                self.keep(candidate, "minimum redundancy")
