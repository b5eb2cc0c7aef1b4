"""Retention keeps what its words say, in every time zone; tables of cases. Properties: test_retention_properties."""

import sys
import zoneinfo
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from vark.calendars import parse_span
from vark.errors import InvalidArgumentError
from vark.retention import Candidate, Policy, decide

HOUR = 3_600_000
DAY = 24 * HOUR


def ms(text, zone="UTC"):
    """Milliseconds of a local time such as 2026-03-29 02:30; "fold" after it takes the second of two."""
    moment = datetime.fromisoformat(text.removesuffix(" fold")).replace(tzinfo=ZoneInfo(zone))
    return int(moment.replace(fold=int(text.endswith("fold"))).timestamp() * 1000)


def shots(times, **more):
    return [Candidate(f"s{number:05}", "index", time, **more) for number, time in enumerate(times)]


def kept(candidates, policy, now):
    return [
        decision.candidate.time_unix_ms for decision in decide(candidates, policy, now_unix_ms=now) if decision.keep
    ]


def five_years():
    """A snapshot an hour for the last 60 days, a day before that for five years, with a week missing."""
    now = ms("2026-11-25 12:30")
    hourly = [now - number * HOUR for number in range(60 * 24)]
    daily = [now - (60 + number) * DAY for number in range(5 * 365)]
    return now, [time for time in hourly + daily if not ms("2025-06-01 00:00") <= time < ms("2025-06-08 00:00")]


@pytest.mark.parametrize(
    ("rule", "count", "first", "last"),
    [
        ("keep_last", 3, "2026-11-25 12:30", "2026-11-25 10:30"),
        ("keep_hourly", 5, "2026-11-25 12:30", "2026-11-25 08:30"),
        ("keep_daily", 4, "2026-11-25 12:30", "2026-11-22 23:30"),
        ("keep_weekly", 3, "2026-11-25 12:30", "2026-11-15 23:30"),
        ("keep_monthly", 3, "2026-11-25 12:30", "2026-09-30 23:30"),
        ("keep_quarterly", 3, "2026-11-25 12:30", "2026-06-30 12:30"),
        ("keep_yearly", 4, "2026-11-25 12:30", "2023-12-31 12:30"),
    ],
)
def test_a_count_keeps_the_newest_of_so_many_buckets(rule, count, first, last):
    now, times = five_years()
    found = kept(shots(times), Policy(**{rule: count}), now)
    assert len(found) == count
    assert (found[0], found[-1]) == (ms(first), ms(last))


@pytest.mark.parametrize(
    ("rule", "span", "count"),
    [
        ("keep_within", "48h", 48),
        ("keep_within", "2d", 48),
        ("keep_within", "1w", 168),
        ("keep_within_daily", "10d", 11),
        ("keep_within_weekly", "4w", 5),
        ("keep_within_monthly", "6m", 7),
        ("keep_within_monthly", "1y6m", 19),
        ("keep_within_yearly", "4y", 5),
        ("keep_within_hourly", "5h", 5),
        ("keep_within_quarterly", "1y", 5),
    ],
)
def test_within_counts_back_from_now(rule, span, count):
    now, times = five_years()
    assert len(kept(shots(times), Policy(**{rule: span}), now)) == count


def test_rules_are_joined_and_each_says_why():
    now, times = five_years()
    decisions = decide(shots(times), Policy(keep_last=2, keep_daily=2, keep_yearly=1), now_unix_ms=now)
    reasons = [decision.reasons for decision in decisions if decision.keep]
    assert reasons == [("last 2", "daily 2026-11-25", "yearly 2026"), ("last 2",), ("daily 2026-11-24",)]


def test_the_oldest_fills_a_count_that_is_not_reached():
    now = ms("2026-11-25 12:00")
    times = [now - number * DAY for number in range(3)]
    decisions = decide(shots(times), Policy(keep_monthly=12), now_unix_ms=now)
    assert [decision.reasons for decision in decisions] == [
        ("monthly 2026-11",),
        (),
        ("oldest, fills monthly 2 of 12",),
    ]
    # Where the oldest has a bucket of its own, that is the only reason.
    decisions = decide(shots(times), Policy(keep_daily=7), now_unix_ms=now)
    assert [len(decision.reasons) for decision in decisions] == [1, 1, 1]


def labels(rule, zone, *times, now=None):
    """Names of the buckets of a rule, newest first."""
    moments = [ms(text, zone) for text in times]
    policy = Policy(**{f"keep_{rule}": 90}, time_zone=zone)
    decisions = decide(shots(moments), policy, now_unix_ms=now or max(moments))
    reasons = [reason for decision in decisions for reason in decision.reasons]
    return [reason.removeprefix(f"{rule} ") for reason in reasons if not reason.startswith("oldest")]


@pytest.mark.parametrize(
    ("zone", "times", "days"),
    [
        # A day of 23 hours, and its midnight.
        ("Europe/Berlin", ["2026-03-29 00:30", "2026-03-29 23:30", "2026-03-30 00:10"], ["2026-03-30", "2026-03-29"]),
        ("America/New_York", ["2026-03-08 00:10", "2026-03-08 23:50", "2026-03-09 00:10"], ["2026-03-09", "2026-03-08"]),
        # A day of 25 hours.
        ("Europe/Berlin", ["2026-10-25 00:05", "2026-10-25 02:30", "2026-10-25 02:30 fold", "2026-10-25 23:59"],
         ["2026-10-25"]),
        ("America/New_York", ["2026-11-01 00:30", "2026-11-01 01:30 fold", "2026-11-01 23:30", "2026-11-02 00:00"],
         ["2026-11-02", "2026-11-01"]),
        # Half an hour off, no changes; the 29th of February.
        ("Asia/Kolkata", ["2026-01-01 00:10", "2025-12-31 23:50"], ["2026-01-01", "2025-12-31"]),
        ("UTC", ["2024-02-28 12:00", "2024-02-29 12:00", "2024-03-01 12:00"],
         ["2024-03-01", "2024-02-29", "2024-02-28"]),
        # The 30th was left out.
        ("Pacific/Apia", ["2011-12-29 23:59", "2011-12-31 00:00", "2011-12-31 13:00"], ["2011-12-31", "2011-12-29"]),
        # Clocks go back by half an hour.
        ("Australia/Lord_Howe", ["2026-04-05 01:45", "2026-04-05 01:45 fold", "2026-04-04 23:59"],
         ["2026-04-05", "2026-04-04"]),
        # At 00:01 back to the day before: the 4th begins for a minute, the 3rd returns, the 4th begins again.
        ("America/St_Johns", ["2006-10-28 12:00", "2006-10-29 00:00", "2006-10-28 23:30 fold", "2006-10-29 12:00"],
         ["2006-10-29", "2006-10-28"]),
    ],
)  # fmt: skip
def test_days_are_those_of_the_zone(zone, times, days):
    assert labels("daily", zone, *times) == days


@pytest.mark.parametrize(
    ("zone", "times", "hours"),
    [
        # The hour that a clock shows twice is two hours.
        ("Europe/Berlin", ["2026-10-25 02:10", "2026-10-25 02:10 fold", "2026-10-25 02:50 fold", "2026-10-25 03:10"],
         ["2026-10-25 03h+0100", "2026-10-25 02h+0100", "2026-10-25 02h+0200"]),
        ("America/New_York", ["2026-11-01 01:10", "2026-11-01 01:10 fold"],
         ["2026-11-01 01h-0500", "2026-11-01 01h-0400"]),
        # After 01 comes 03.
        ("Europe/Berlin", ["2026-03-29 01:59", "2026-03-29 03:00"], ["2026-03-29 03h+0200", "2026-03-29 01h+0100"]),
        ("Asia/Kolkata", ["2026-01-01 00:59", "2026-01-01 01:00"], ["2026-01-01 01h+0530", "2026-01-01 00h+0530"]),
        # From 02:00 back to 01:30, and from 02:00 on to 02:30.
        ("Australia/Lord_Howe", ["2026-04-05 01:40", "2026-04-05 01:40 fold", "2026-04-05 02:00"],
         ["2026-04-05 02h+1030", "2026-04-05 01h+1030", "2026-04-05 01h+1100"]),
        ("Australia/Lord_Howe", ["2026-10-04 01:59", "2026-10-04 02:30"],
         ["2026-10-04 02h+1100", "2026-10-04 01h+1030"]),
    ],
)  # fmt: skip
def test_hours_are_those_of_the_zone(zone, times, hours):
    assert labels("hourly", zone, *times) == hours


@pytest.mark.parametrize(
    ("rule", "times", "names"),
    [
        ("yearly", ["2025-12-31 23:59", "2026-01-01 00:00"], ["2026", "2025"]),
        ("monthly", ["2024-01-31 23:59", "2024-02-29 23:59", "2024-03-01 00:00"], ["2024-03", "2024-02", "2024-01"]),
        ("quarterly", ["2026-03-31 23:59", "2026-04-01 00:00", "2026-06-30 23:59", "2026-07-01 00:00",
                       "2026-09-30 23:59", "2026-10-01 00:00", "2027-01-01 00:00"],
         ["2027-Q1", "2026-Q4", "2026-Q3", "2026-Q2", "2026-Q1"]),
        # Years with 53 weeks, and a December in week 1 of the next.
        ("weekly", ["2020-12-31 12:00", "2021-01-03 23:59", "2021-01-04 00:00"], ["2021-W01", "2020-W53"]),
        ("weekly", ["2024-12-29 23:59", "2024-12-30 00:00", "2025-01-05 23:59"], ["2025-W01", "2024-W52"]),
        ("weekly", ["2026-12-31 12:00", "2027-01-03 12:00"], ["2026-W53"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_borders_of_the_calendar(rule, times, names, zone):
    assert labels(rule, zone, *times) == names


def test_the_same_moment_is_another_day_elsewhere():
    times = [ms("2026-11-24 22:30"), ms("2026-11-24 23:30")]
    assert len(kept(shots(times), Policy(keep_daily=1), times[-1])) == 1
    decisions = decide(shots(times), Policy(keep_daily=2, time_zone="Asia/Tokyo"), now_unix_ms=times[-1])
    assert {reason for decision in decisions for reason in decision.reasons} == {
        "daily 2026-11-25",
        "oldest, fills daily 2 of 2",
    }


def test_months_back_end_where_the_calendar_ends():
    now = ms("2028-03-31 12:00")
    inside, outside = ms("2028-02-29 12:01"), ms("2028-02-29 11:59")
    assert kept(shots([inside, outside]), Policy(keep_within="1m"), now) == [inside]
    leap = ms("2028-02-29 12:00")
    assert kept(shots([ms("2027-02-28 12:01"), ms("2027-02-28 11:59")]), Policy(keep_within="1y"), leap) == [
        ms("2027-02-28 12:01")
    ]


def test_months_are_those_of_the_zone_and_days_are_hours():
    now = ms("2026-04-15 12:00", "Europe/Berlin")  # since the 15th of March clocks went on by an hour
    edge = ms("2026-03-15 12:00", "Europe/Berlin")
    times = [edge, edge + 1, edge - HOUR, edge - HOUR + 1]
    assert kept(shots(times), Policy(keep_within="1m", time_zone="Europe/Berlin"), now) == [edge + 1]
    assert kept(shots(times), Policy(keep_within="31d", time_zone="Europe/Berlin"), now) == [
        edge + 1, edge, edge - HOUR + 1,
    ]  # fmt: skip
    # A month ago it was 02:30 on a night that has no 02:30: 03:30 counts.
    now, edge = ms("2026-04-29 02:30", "Europe/Berlin"), ms("2026-03-29 03:30", "Europe/Berlin")
    assert kept(shots([edge, edge + 1]), Policy(keep_within="1m", time_zone="Europe/Berlin"), now) == [edge + 1]


def test_the_future_is_never_removed_and_takes_no_place():
    now = ms("2026-11-25 12:00")
    candidates = shots([now + DAY, now + 400 * DAY, now, now - DAY])
    decisions = decide(candidates, Policy(keep_last=1), now_unix_ms=now)
    assert [decision.reasons for decision in decisions] == [("in the future",), ("in the future",), ("last 1",), ()]
    # A forged date beyond all calendars neither goes nor stops the rest, and is no floor to stand on.
    forged = Candidate("forged", "index", 10**30)
    decisions = decide([*candidates, forged], Policy(keep_tags=["x"], min_redundancy=1), now_unix_ms=now)
    assert [decision.reasons for decision in decisions] == [*[("in the future",)] * 3, ("minimum redundancy",), ()]


def test_a_partial_one_gives_way_to_a_complete_one():
    now = ms("2026-11-25 12:00")
    candidates = [
        Candidate("whole", "index", now - HOUR),
        Candidate("partial", "index", now, partial=True),
        Candidate("alone", "index", now - 2 * DAY, partial=True),
    ]
    by_id = {
        decision.candidate.id: decision.reasons
        for decision in decide(candidates, Policy(keep_daily=2), now_unix_ms=now)
    }
    assert by_id == {"whole": ("daily 2026-11-25",), "partial": (), "alone": ("daily 2026-11-23",)}
    by_id = {
        decision.candidate.id: decision.keep for decision in decide(candidates, Policy(keep_last=1), now_unix_ms=now)
    }
    assert by_id == {"whole": True, "partial": False, "alone": False}


def test_held_tagged_named_and_a_floor():
    now = ms("2026-11-25 12:00")
    candidates = [
        Candidate("a1", "index", now),
        Candidate("b2", "index", now - DAY, tags={"release": "7"}),
        Candidate("c3", "index", now - 2 * DAY, held=True),
        Candidate("d4", "index", now - 3 * DAY, partial=True),
        Candidate("e5", "index", now - 4 * DAY),
        Candidate("f6", "index", now - 5 * DAY),
    ]
    policy = Policy(keep_tags=["release=7"], keep_ids=["f"], min_redundancy=3)
    found = {decision.candidate.id: decision.reasons for decision in decide(candidates, policy, now_unix_ms=now)}
    assert found == {
        "a1": ("minimum redundancy",), "b2": ("tag release=7",), "c3": ("held",), "d4": (), "e5": (), "f6": ("id f",),
    }  # fmt: skip
    # The newest stay although old ones stay too: a rule more must not let a newer one go.
    found = {each.candidate.id for each in decide(candidates, replace(policy, min_redundancy=4), now_unix_ms=now)
             if each.keep}  # fmt: skip
    assert found == {"a1", "b2", "c3", "e5", "f6"}
    assert not any(
        decision.keep for decision in decide(candidates[1:2], Policy(keep_tags=["release=8"]), now_unix_ms=now)
    )


def test_groups_count_by_themselves():
    now = ms("2026-11-25 12:00")
    candidates = [
        Candidate(f"{name}{host}{number}", name, now - number * DAY, host=host)
        for name in "ab" for host in "xy" for number in range(3)
    ]  # fmt: skip
    assert len(kept(candidates, Policy(keep_last=1), now)) == 2
    assert len(kept(candidates, Policy(keep_last=1, group_by=("name", "host")), now)) == 4
    assert len(kept(candidates, Policy(keep_last=1, group_by=()), now)) == 1


def test_what_is_not_considered_stays():
    now = ms("2026-11-25 12:00")
    times = [now - number * DAY for number in range(6)]
    policy = Policy(keep_last=1, before_unix_ms=times[1], after_unix_ms=times[4])
    assert kept(shots(times), policy, now) == [times[0], times[1], times[2], times[4], times[5]]


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(keep_last=0),
        Policy(min_redundancy=3),
        Policy(keep_last=-1),
        Policy(keep_within="5 days"),
        Policy(keep_within="d"),
        Policy(keep_within=""),
        Policy(keep_within="0d"),
        Policy(keep_within_daily="12x"),
        Policy(keep_last=1, group_by=("colour",)),
        Policy(keep_last=1, time_zone="Mars/Olympus"),
        Policy(keep_last=1, time_zone="../etc/passwd"),
        Policy(keep_last=1, min_redundancy=-1),
        Policy(keep_last=1, min_redundancy=None),
        Policy(keep_last="3"),
        Policy(keep_last=True),
        Policy(keep_daily=1.5),
        Policy(keep_within=30),
        Policy(keep_within="٣d"),
        Policy(keep_within="30D"),
        Policy(keep_within=" 30d"),
        Policy(keep_within="6m1y"),
        Policy(keep_within="-3d"),
        Policy(keep_within="1.5d"),
        Policy(keep_last=1, keep_within=""),
        # Words that look like rules and keep nothing, or one text where a list belongs.
        Policy(keep_ids=[""]),
        Policy(keep_tags=[""]),
        Policy(keep_tags=["=7"]),
        Policy(keep_ids="s00001"),
        Policy(keep_tags="release"),
        Policy(keep_tags=[7]),
        Policy(keep_last=1, group_by="name"),
        Policy(keep_last=1, before_unix_ms=5, after_unix_ms=5),
        Policy(keep_last=1, time_zone=None),
        Policy(keep_last=1, time_zone=""),
        Policy(keep_last=1, time_zone="Europe"),
    ],
)
def test_policies_that_make_no_sense_are_refused(policy):
    with pytest.raises(InvalidArgumentError):
        decide(shots([1, 2]), policy, now_unix_ms=5)


def test_candidates_that_make_no_sense_are_refused():
    for candidates in ([Candidate("a", "x", 1), Candidate("a", "x", 2)], [Candidate("a", "x", -1)]):
        with pytest.raises(InvalidArgumentError):
            decide(candidates, Policy(keep_last=1), now_unix_ms=5)
    for now in (-1, 10**18):
        with pytest.raises(InvalidArgumentError):
            decide([], Policy(keep_last=1), now_unix_ms=now)
    assert decide([], Policy(keep_last=1), now_unix_ms=5) == []
    assert parse_span("9999y", name="x").before(datetime.now(UTC)) == datetime.min.replace(tzinfo=UTC)


def test_without_zone_files_utc_works_and_others_say_what_to_install(monkeypatch):
    for name in ("tzdata", "tzdata.zoneinfo", "tzdata.zoneinfo.Europe"):
        monkeypatch.setitem(sys.modules, name, None)
    paths = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[])
    ZoneInfo.clear_cache()
    try:
        assert kept(shots([1, 2]), Policy(keep_daily=1), 5) == [2]
        with pytest.raises(InvalidArgumentError, match="install the package tzdata"):
            decide([], Policy(keep_daily=1, time_zone="Europe/Berlin"), now_unix_ms=5)
    finally:
        zoneinfo.reset_tzpath(to=paths)
        ZoneInfo.clear_cache()
