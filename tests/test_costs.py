"""What storage and requests will cost: the arithmetic, the future that is simulated, price tables, the command."""

import json
from dataclasses import replace
from decimal import Decimal as D
from itertools import pairwise
from pathlib import Path

import numpy as np
import obstore.store
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_servers import plain_repository
from vark.cli import run
from vark.errors import InvalidArgumentError, NotFoundError
from vark.prices import Prices, Requests, read_prices
from vark.projection import DAY_MS, Future, Habit, Life, Point, bills, simulate
from vark.repository import Repository
from vark.repository.costs import BACKUP, COLLECTION, RESTORE
from vark.retention import Candidate, Policy
from vark.stores import RemoteStore

EXAMPLE = Path(__file__).parents[1] / "demo" / "prices.toml"
GB = 10**9
NOW = 1_800_000_000_000
NOTHING = Requests()
moments = st.integers(0, 400 * DAY_MS)


def table(**more):
    values = {"storage": D("0.02"), "put": D("0.005"), "list": D("0.005"), "get": D("0.0005"), "download": D("0.05")}
    return Prices(name="t", currency="EUR", **{**values, **more})


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda p: p.of_storage(100 * GB * 30), D(2)),
        (lambda p: p.of_storage(GB), D("0.02") / 30),
        (lambda p: p.of_storage(0), D(0)),
        (lambda p: p.of_requests(Requests(puts=1000)), D("0.005")),
        (lambda p: p.of_requests(Requests(lists=200)), D("0.001")),
        (lambda p: p.of_requests(Requests(gets=2_000_000)), D(1)),
        (lambda p: p.of_requests(Requests(deletes=10**9)), D(0)),
        (lambda p: p.of_download(40 * GB), D(2)),
        (lambda p: p.of_upload(40 * GB), D(0)),
    ],
)
def test_prices_by_hand(call, expected):
    assert call(table()) == expected


def test_units_and_retrieval():
    assert table(unit="GiB").of_storage((1 << 30) * 30) == D("0.02")
    assert table(retrieval=D("0.01")).of_download(10 * GB) == D("0.6")
    assert table(minimum_days=90).unused_days(D("29.5")) == D("60.5")
    assert table(minimum_days=90).unused_days(D(91)) == 0


@given(first=st.integers(0, 10**18), second=st.integers(0, 10**18))
def test_storage_adds_up(first, second):
    prices = table(storage=D("0.023"))
    assert abs(prices.of_storage(first + second) - prices.of_storage(first) - prices.of_storage(second)) < D("1e-9")


@given(
    born=moments,
    gone=st.none() | moments,
    cuts=st.lists(moments, min_size=2, max_size=8, unique=True).map(sorted),
    size=st.integers(0, 10**15),
)
def test_the_days_of_an_archive_add_up(born, gone, cuts, size):
    """What is charged for spans side by side is what is charged for all of them; never less than nothing."""
    life = Life(size, 1, born, None if gone is None else born + gone)
    parts = [life.byte_days(start, stop) for start, stop in pairwise(cuts)]
    assert all(part >= 0 for part in parts)
    assert abs(sum(parts) - life.byte_days(cuts[0], cuts[-1])) < D("1e-6")
    early = [life.unused_byte_days(table(minimum_days=30), start, stop) for start, stop in pairwise(cuts)]
    whole = life.unused_byte_days(table(minimum_days=30), cuts[0], cuts[-1])
    assert abs(sum(early) - whole) < D("1e-6")


@given(kept=st.integers(0, 200 * DAY_MS), minimum=st.integers(0, 180))
def test_the_minimum_duration_is_always_paid(kept, minimum):
    """Storage and the charge for early deletion together are never less than the minimum, never more than needed."""
    life = Life(GB, 1, 1, 1 + kept)
    stop = 1 + 400 * DAY_MS
    paid = life.byte_days(0, stop) + life.unused_byte_days(table(minimum_days=minimum), 0, stop)
    assert abs(paid - GB * max(D(kept) / DAY_MS, D(minimum))) < D("1e-6")


def one_archive(*, size=100 * GB, age_days=0):
    life = Life(size, 10, NOW - age_days * DAY_MS)
    return Future(NOW, {"a": life}, [Point(Candidate("s", "n", NOW - age_days * DAY_MS), ("a",))])


def priced(future, prices, months, *, backup=NOTHING):
    return bills(future, prices, count=months, backup={True: backup, False: backup}, daily=NOTHING)


def test_a_year_of_what_lies_still():
    future = one_archive()
    simulate(future, [Habit("n", 0, 100 * GB, None)], Policy(keep_last=1), days=360)
    found = priced(future, table(), 12)
    assert [month.total for month in found] == [D(2)] * 12
    assert [month.stored_bytes for month in found] == [100 * GB] * 12


def test_what_grows_under_no_policy():
    """A delta of 1 GB a day for 30 days: on average half of them are there."""
    future = one_archive(age_days=1)
    simulate(future, [Habit("n", DAY_MS, 100 * GB, GB, chain_max=1000)], None, days=30)
    (month,) = priced(future, table(), 1, backup=Requests(puts=3))
    assert len(future.points) == 31
    assert month.stored_bytes == 100 * GB + GB * (30 + 1) // 2
    volumes = -(-GB // (32 << 20))
    assert month.requests == D("0.005") * 30 * (3 + volumes) / 1000
    assert month.early == month.upload == 0


def test_a_policy_frees_after_the_trash_and_pays_the_minimum():
    """Full archives each day, the last one kept: each is gone a day and a week later, and paid for 30 days."""
    future = one_archive(size=GB, age_days=1)
    simulate(future, [Habit("n", DAY_MS, GB, None)], Policy(keep_last=1), days=60, trash_days=7)
    gone = [life for life in future.lives.values() if life.gone_unix_ms is not None]
    assert {(life.gone_unix_ms - life.born_unix_ms) // DAY_MS for life in gone} == {9}
    assert sum(life.gone_unix_ms is None for life in future.lives.values()) == 8
    _, month = priced(future, table(minimum_days=30), 2)
    assert month.early == table().of_storage(GB * 21 * 30)
    assert priced(future, table(), 2)[1].early == 0
    assert month.stored_bytes == 9 * GB


def test_deltas_hold_what_they_build_on():
    future = one_archive(age_days=1)
    simulate(future, [Habit("n", DAY_MS, 100 * GB, GB, chain_max=3)], Policy(keep_last=1), days=8, trash_days=0)
    made = [(size // GB, is_delta) for _, size, _, is_delta in future.backups]
    assert made == [(1, True), (1, True), (1, True), (100, False)] * 2
    assert future.lives["a"].gone_unix_ms == NOW + 4 * DAY_MS


def test_a_policy_groups_what_comes_with_what_is_there():
    """Backups to come have the host and the tags that those until now had, so that rules count them together."""
    tags = {"tier": "gold"}
    there = Point(Candidate("s", "n", NOW - DAY_MS, host="h", tags=tags), ("a",))
    future = Future(NOW, {"a": Life(GB, 1, NOW - DAY_MS)}, [there])
    policy = Policy(keep_last=2, group_by=("name", "host", "tags"))
    simulate(future, [Habit("n", DAY_MS, GB, None, host="h", tags=tags)], policy, days=10)
    assert len(future.points) == 2
    future = Future(NOW, {"a": Life(GB, 1, NOW - DAY_MS)}, [there])
    simulate(future, [Habit("n", DAY_MS, GB, None, host="h", tags=tags)], Policy(keep_tags=["tier=gold"]), days=10)
    assert len(future.points) == 11


def test_what_comes_back_into_use_leaves_the_trash():
    """A delta on an archive that a policy has let go keeps it; when that one goes, too, its window begins anew."""
    future = one_archive(age_days=1)
    habit = Habit("n", 3 * DAY_MS, 100 * GB, GB, chain_max=1)
    simulate(future, [habit], Policy(keep_within="1d"), days=20, trash_days=5)
    assert [is_delta for *_, is_delta in future.backups[:2]] == [True, False]
    delta = NOW + 2 * DAY_MS  # the day after "a" was let go
    assert future.backups[0][0] == delta
    assert future.lives["a"].gone_unix_ms == delta + (1 + 5) * DAY_MS


@given(share=st.integers(1, 90))
def test_waste_ends_a_chain(share):
    future = one_archive(age_days=1)
    simulate(future, [Habit("n", DAY_MS, 100 * GB, share * GB, chain_max=100)], None, days=60)
    runs = "".join("d" if is_delta else "f" for *_, is_delta in future.backups).split("f")
    # A chain ends as soon as more than half of a full archive lies in deltas.
    assert all(len(run) == 50 // share + 1 for run in runs[:-1])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no prices"),
        ("storage = 1", "not a table"),
        ("[a]\nstorage = 1", "currency is missing"),
        ("[a]\ncurrency = 'EUR'", "storage is missing"),
        ("[a]\ncurrency = 'EUR'\nstorage = -1", "storage"),
        ("[a]\ncurrency = 'EUR'\nstorage = nan", "storage"),
        ("[a]\ncurrency = 'EUR'\nstorage = true", "storage"),
        ("[a]\ncurrency = 'EUR'\nstorage = [1]", "storage"),
        ("[a]\ncurrency = 'EUR'\nstorage = 1\nputs = 1", "'puts' is no price"),
        ("[a]\ncurrency = 'EUR'\nstorage = 1\nunit = 'MB'", "unit"),
        ("[a]\ncurrency = 'EUR'\nstorage = 1\nunit = ['GB']", "unit"),
        ("[a]\ncurrency = 'EUR'\nstorage = [0, [1], 0]", "storage"),
        ("[a]\ncurrency = 'EUR'\nstorage = 1e99999999999999999999", "storage"),
        ("[a]\ncurrency = 'EUR'\nstorage = " + "1" * 5000, "no TOML"),
        ("[a]\ncurrency = 'EUR'\nstorage = 1\nminimum_days = 1.5", "minimum_days"),
        ("[a]\ncurrency = 7\nstorage = 1", "currency"),
        ("[a\n", "no TOML"),
        ("a = " + "[" * 100_000, "no TOML"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, fault):
    place = tmp_path / "prices.toml"
    place.write_text(text)
    with pytest.raises(InvalidArgumentError, match=fault):
        read_prices(place)


def test_the_example_is_read(tmp_path):
    standard, cold = read_prices(EXAMPLE)
    assert (standard.storage, standard.currency, cold.minimum_days) == (D("0.02"), "EUR", 90)
    with pytest.raises(NotFoundError):
        read_prices(tmp_path / "none.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(InvalidArgumentError, match="more than 1048576 bytes"):
        read_prices(tmp_path / "large.toml")
    with pytest.raises(InvalidArgumentError, match="more than"):
        read_prices("/dev/zero")


def test_a_repository_is_estimated(tmp_path, capsys):
    repository = plain_repository(tmp_path / "repository")
    rows = np.random.default_rng(1).random((4000, 64), dtype=np.float32)
    for number in range(3):
        rows[number] += 1
        repository.backup(rows, name="products")
    repository.backup(rows, name="once")
    before = [entry.name for entry in repository.store.list("")]
    report = repository.cost(read_prices(EXAMPLE), policy=Policy(keep_last=3), months=2, every="1d")
    assert [item.name for item in report.names] == ["once", "products"]
    assert report.names[1].delta_bytes < report.names[1].full_bytes
    assert report.stored_bytes == repository.stats().stored_bytes
    standard, cold = report.tables
    assert standard.total == sum(month.total for month in standard.months) > 0
    assert standard.now == standard.prices.of_storage(report.stored_bytes * 30)
    assert cold.restore.price > standard.restore.price > 0
    idle = repository.cost(read_prices(EXAMPLE)[:1], months=2)
    assert "one snapshot only" in idle.names[0].note
    assert [entry.name for entry in repository.store.list("")] == before
    place = ["-r", str(tmp_path / "repository")]
    assert run(["cost", *place, "--prices", str(EXAMPLE), "--months", "2", "--keep-last", "3", "--every", "1d"]) == 0
    said = capsys.readouterr().out
    assert "[cold], in EUR:" in said
    assert "2 months: " in said
    assert run(["cost", *place, "--prices", str(EXAMPLE), "--table", "cold", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["message_type"] for line in lines] == ["item", "summary"]
    parts = [D(month[part]) for month in lines[0]["months"] for part in ("storage", "early", "requests", "upload")]
    assert abs(D(lines[0]["total"]) - sum(parts)) < D("1e-20")
    assert run(["cost", *place]) == 2
    assert run(["cost", *place, "--prices", str(EXAMPLE), "--table", "hot"]) == 2
    assert run(["cost", *place, "--prices", str(EXAMPLE), "--time-zone", "UTC"]) == 2
    assert run(["cost", *place, "--prices", str(EXAMPLE), "--every", "1s"]) == 2


def test_the_newest_of_an_idle_name_stays_whatever_the_rules_say(tmp_path, capsys):
    """As `forget` keeps it: an estimate that lets it go would tell of storage that nobody is going to save."""
    repository = plain_repository(tmp_path / "repository")
    repository.backup(np.ones((4000, 64), np.float32), name="once")
    (table,) = repository.cost(read_prices(EXAMPLE)[:1], policy=Policy(keep_within="1d"), months=3).tables
    assert [month.stored_bytes for month in table.months] == [repository.stats().stored_bytes] * 3
    place = ["-r", str(tmp_path / "repository")]
    # A rule, but one that keeps nothing: not the same as none.
    assert run(["cost", *place, "--prices", str(EXAMPLE), "--keep-last", "0"]) == 2
    assert "keeps nothing" in capsys.readouterr().err


def test_requests_are_as_many_as_was_assumed(tmp_path):
    """What the estimate takes a backup, a collection and a restore to ask for is not less than what they do."""
    bucket = obstore.store.MemoryStore()

    def opened():
        return Repository.open(RemoteStore(bucket, place="test:"))

    rows = np.random.default_rng(1).random((12_000, 64), dtype=np.float32)
    plain_repository(RemoteStore(bucket, place="test:")).backup(rows, name="products")
    for number in range(20):
        rows[number] += 1
        repository = opened()
        repository.backup(rows, name="products")
        within(repository.traffic, BACKUP[True] + Requests(puts=1))
    repository = opened()
    (restore,) = (table.restore for table in repository.cost([table()], months=1).tables)
    repository = opened()
    repository.restore("latest", tmp_path / "rows.npy", sync=False)
    within(repository.traffic, replace(RESTORE, gets=restore.get_count))
    assert repository.traffic.gets > RESTORE.gets  # a chain of 21
    repository = opened()
    repository.backup(rows, name="products", full=True)
    within(repository.traffic, BACKUP[False] + Requests(puts=1, gets=20))  # the sessions that no collection has taken
    opened().doctor()  # else the first collection tries the store out at length
    repository = opened()
    repository.gc(confirm=True)
    within(repository.traffic, COLLECTION + Requests(deletes=60))


def within(traffic, assumed):
    assert traffic.puts <= assumed.puts
    assert traffic.lists <= assumed.lists
    assert traffic.gets + traffic.heads <= assumed.gets
    assert traffic.deletes <= assumed.deletes
