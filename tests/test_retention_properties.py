"""Retention against an oracle that judges each snapshot alone, and what holds for all policies."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from vark.calendars import BUCKETS
from vark.retention import Candidate, Policy, decide

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = int(datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp() * 1000)
COUNTED = ("keep_last", *(f"keep_{rule}" for rule in BUCKETS))
WITHIN = ("keep_within", *(f"keep_within_{rule}" for rule in BUCKETS))
SPANS = (None, "5h", "3d", "2w", "1m", "5m", "1y", "1y6m")  # shorter ones first
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Asia/Kolkata", "Australia/Lord_Howe",
         "Pacific/Apia", "Pacific/Kiritimati")  # fmt: skip
# Around changes of clocks, a day left out, a year with 53 weeks, a leap day.
TURNS = tuple(
    int(datetime.fromisoformat(text + "+00:00").timestamp() * 1000)
    for text in (
        "2026-10-25 01:00", "2026-03-29 01:00", "2026-11-01 06:00", "2026-03-08 07:00", "2026-04-04 15:00",
        "2006-10-29 02:31", "2011-12-30 10:00", "2021-01-03 23:00", "2024-02-29 12:00", "2025-12-31 23:00",
    )
)  # fmt: skip


@st.composite
def candidate_lists(draw):
    """Up to 30 snapshots, many of them close together or at the same moment, with ids in no order."""
    times = st.one_of(
        st.integers(-50, 200).map(lambda hours: NOW - hours * HOUR),
        st.integers(0, 45_000 * 2).map(lambda halves: NOW - halves * HOUR // 2),
        st.builds(lambda turn, quarters: turn + quarters * HOUR // 4, st.sampled_from(TURNS), st.integers(-100, 100)),
    )
    ids = draw(st.lists(st.integers(0, 999), unique=True, max_size=30))
    return [
        Candidate(
            f"{number:03}", draw(st.sampled_from("aab")), draw(times), host=draw(st.sampled_from("xxy")),
            tags=draw(st.sampled_from([{}, {}, {"release": "7"}, {"env": "test"}])),
            partial=draw(st.booleans()), held=draw(st.sampled_from([False] * 7 + [True])),
        )
        for number in ids
    ]  # fmt: skip


RULES = {name: st.one_of(st.none(), st.integers(0, 6)) for name in COUNTED}
RULES |= {name: st.sampled_from((None, *SPANS)) for name in WITHIN}
RULES |= {
    "keep_tags": st.sampled_from(((), (), ("release",), ("release=7", "env=none"))),
    "keep_ids": st.sampled_from(((), (), ("00",), ("5", "123"))),
    "min_redundancy": st.integers(0, 4),
}
FRAME = st.fixed_dictionaries({
    "group_by": st.sampled_from((("name",), (), ("name", "host"), ("tags",))),
    "time_zone": st.sampled_from(ZONES),
    "before_unix_ms": st.sampled_from((None, None, NOW - 20 * HOUR)),
    "after_unix_ms": st.sampled_from((None, None, NOW - 900 * DAY)),
})  # fmt: skip


@st.composite
def rule_sets(draw):
    """A few rules, not all: with many of them nearly everything stays."""
    names = draw(st.lists(st.sampled_from(sorted(RULES)), min_size=1, max_size=4, unique=True))
    return {name: draw(RULES[name]) for name in names}


@st.composite
def policies(draw):
    """A policy of which at least one rule keeps something."""
    policy = Policy(**draw(rule_sets()), **draw(FRAME))
    return replace(policy, keep_last=1) if policy.is_empty() else policy


def stays(candidates, policy):
    return {each.candidate.id for each in decide(candidates, policy, now_unix_ms=NOW) if each.keep}


def wall(time_ms, zone):
    """Milliseconds that a clock on the wall shows, and its offset."""
    offset = ZoneInfo(zone).utcoffset(datetime.fromtimestamp(time_ms / 1000, ZoneInfo(zone)))
    offset_ms = round(offset.total_seconds() * 1000)
    return time_ms + offset_ms, offset_ms


def civil(day):
    """Year, month, day of a day number since 1970, by arithmetic alone: years of 365.2425 days begin in March."""
    era, of_era = divmod(day + 719_468, 146_097)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    return (
        year + era * 400 + (month >= 10),
        month + 3 if month < 10 else month - 9,
        of_year - (153 * month + 2) // 5 + 1,
    )


def bucket(rule, time_ms, zone):
    wall_ms, offset_ms = wall(time_ms, zone)
    year, month, _ = civil(wall_ms // DAY)
    return {
        "hourly": (wall_ms // HOUR, offset_ms), "daily": wall_ms // DAY, "weekly": (wall_ms // DAY + 3) // 7,
        "monthly": (year, month), "quarterly": (year, (month - 1) // 3), "yearly": year,
    }[rule]  # fmt: skip


def is_younger(time_ms, span, zone):
    """Months are told on the wall; no change of clocks is near NOW or any month before it."""
    exact = {"5h": 5 * HOUR, "3d": 3 * DAY, "2w": 14 * DAY}.get(span)
    if exact:
        return NOW - time_ms < exact
    wall_now, wall_then = wall(NOW, zone)[0], wall(time_ms, zone)[0]
    year, month, day = civil(wall_now // DAY)
    then = civil(wall_then // DAY)
    months = {"1m": 1, "5m": 5, "1y": 12, "1y6m": 18}[span]
    limit = (year * 12 + month - months, day, wall_now % DAY)  # day 25 or 26: every month has it
    return (then[0] * 12 + then[1], then[2], wall_then % DAY) > limit


def newer(candidate, among):
    """Those that come before the candidate: later ones, and of one moment those of a smaller id."""
    time = candidate.time_unix_ms
    return [each for each in among
            if each.time_unix_ms > time or (each.time_unix_ms == time and each.id < candidate.id)]  # fmt: skip


def is_considered(candidate, policy):
    before, after = policy.before_unix_ms, policy.after_unix_ms
    return candidate.time_unix_ms in range((after or -1) + 1, before or NOW + 1)


def expected(candidate, everything, policy):
    """Whether the words of the policy keep this snapshot; looks at all others anew for each question."""
    if candidate.held or candidate.time_unix_ms > NOW or not is_considered(candidate, policy):
        return True
    past = [each for each in everything
            if each.time_unix_ms <= NOW
            and all(getattr(each, name) == getattr(candidate, name) for name in policy.group_by)]  # fmt: skip
    if not candidate.partial:
        if len(newer(candidate, [each for each in past if not each.partial])) < policy.min_redundancy:
            return True
    past = [each for each in past if is_considered(each, policy)]
    whole = [each for each in past if not each.partial]
    if candidate.partial:
        place = len(whole) + len([each for each in newer(candidate, past) if each.partial])
    else:
        place = len(newer(candidate, whole))
    if place < (policy.keep_last or 0) or named(candidate, policy):
        return True
    if policy.keep_within and is_younger(candidate.time_unix_ms, policy.keep_within, policy.time_zone):
        return True
    return any(by_calendar(rule, candidate, past, whole, policy) for rule in BUCKETS)


def named(candidate, policy):
    pairs = {*candidate.tags, *(f"{key}={value}" for key, value in candidate.tags.items())}
    return bool(pairs & set(policy.keep_tags)) or any(candidate.id[: len(text)] == text for text in policy.keep_ids)


def by_calendar(rule, candidate, past, whole, policy):
    zone, count = policy.time_zone, getattr(policy, f"keep_{rule}") or 0
    span = getattr(policy, f"keep_within_{rule}")
    places = {each.id: bucket(rule, each.time_unix_ms, zone) for each in past}
    here = places[candidate.id]

    def is_best(among):
        mates = [each for each in among if places[each.id] == here]
        mates = [each for each in mates if not each.partial] or mates
        return candidate in mates and not newer(candidate, mates)

    # A bucket is as new as its newest, complete or not.
    head = max(each.time_unix_ms for each in past if places[each.id] == here)
    ahead = {places[each.id] for each in past if each.time_unix_ms > head}
    if len(ahead) < count and is_best(past):
        return True
    if span and is_younger(candidate.time_unix_ms, span, zone):
        if is_best([each for each in past if is_younger(each.time_unix_ms, span, zone)]):
            return True
    old = whole or past
    return len(set(places.values())) < count and candidate in old and len(newer(candidate, old)) == len(old) - 1


@settings(max_examples=250, deadline=None)
@given(candidate_lists(), policies())
def test_decide_agrees_with_an_oracle_that_judges_each_alone(candidates, policy):
    assert stays(candidates, policy) == {each.id for each in candidates if expected(each, candidates, policy)}


@settings(max_examples=100, deadline=None)
@given(candidate_lists(), policies(), st.randoms(use_true_random=False))
def test_order_of_input_is_irrelevant(candidates, policy, dice):
    shuffled = candidates.copy()
    dice.shuffle(shuffled)
    decisions = decide(candidates, policy, now_unix_ms=NOW)
    assert decide(shuffled, policy, now_unix_ms=NOW) == decisions
    assert sorted(each.candidate.id for each in decisions) == sorted(each.id for each in candidates)


@settings(max_examples=150, deadline=None)
@given(candidate_lists(), policies())
def test_what_was_kept_stays_when_asked_again(candidates, policy):
    once = stays(candidates, policy)
    assert stays([each for each in candidates if each.id in once], policy) == once


def joined(first, second):
    """Rules of both, the stronger of each."""
    result = dict(first)
    for name, value in second.items():
        if name in WITHIN:
            result[name] = max(result.get(name), value, key=SPANS.index)
        elif name in ("keep_tags", "keep_ids"):
            result[name] = (*result.get(name, ()), *value)
        else:
            result[name] = max(result.get(name) or 0, value or 0)
    return result


OLD_AND_NEW = [Candidate(f"{number:03}", "a", NOW - number * 400 * DAY) for number in range(4)]


@settings(max_examples=250, deadline=None)
@given(candidate_lists(), rule_sets(), rule_sets(), FRAME)
@example(OLD_AND_NEW, {"keep_ids": ("9",), "min_redundancy": 1}, {"keep_ids": ("003",)}, {})
def test_more_rules_never_remove_more(candidates, first, second, frame):
    both = stays(candidates, Policy(**joined(joined(first, second), {"keep_last": 1}), **frame))
    for rules in (first, second):
        policy = Policy(**rules, **frame)
        if not policy.is_empty():
            assert stays(candidates, policy) <= both


@settings(max_examples=100, deadline=None)
@given(candidate_lists(), policies())
def test_promises_that_no_rule_can_break(candidates, policy):
    kept = stays(candidates, policy)
    assert kept >= {each.id for each in candidates if each.held or each.time_unix_ms > NOW}
    # The future changes nothing for the past.
    past = [each for each in candidates if each.time_unix_ms <= NOW]
    assert stays(past, policy) == kept & {each.id for each in past}
    # Groups know nothing of each other.
    names = {tuple(str(getattr(each, name)) for name in policy.group_by): [] for each in past}
    for each in past:
        names[tuple(str(getattr(each, name)) for name in policy.group_by)].append(each)
    assert stays(past, policy) == set().union(*(stays(group, policy) for group in names.values()))
    for group in names.values():
        whole = sorted((each for each in group if not each.partial), key=lambda each: (-each.time_unix_ms, each.id))
        assert kept >= {each.id for each in whole[: policy.min_redundancy]}
