"""Collection: what a kept snapshot needs is never removed, whoever does what at the same time."""

import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repositories import (
    FakeEngine,
    KilledError,
    Stage,
    StagedStore,
    fake_repository,
    now_ms,
    put_archive,
    put_commit,
    put_mark,
    readable,
)
from vark.errors import ConflictError, DamagedError, InvalidArgumentError, RefusedError
from vark.repository import Repository
from vark.repository.context import Context
from vark.repository.envelope import Envelope
from vark.repository.root import AdministrationReader
from vark.stores import MemoryStore

DAY_MS = 86_400_000
SEEDS = int(os.environ.get("VARK_ORDERS", "120"))  # orders of steps that are tried


def archives_of(repository):
    return {entry.name.split("/")[1] for entry in repository.store.list("archives")}


def collect_all(repository, **options):
    return repository.gc(confirm=True, **{"trash": 0, "grace": 0, "min_redundancy": 0, **options})


@pytest.fixture
def repository():
    return fake_repository()


def test_a_dry_run_removes_nothing_and_tells_what_a_true_one_removes(repository):
    first = repository.backup("one", name="n", full=True)
    repository.backup("two", name="n", full=True)
    repository.forget(first.snapshot, confirm=True)
    before = [entry.name for entry in repository.store.list("")]
    told = repository.gc(trash=0, grace=0)
    assert [entry.name for entry in repository.store.list("")] == before
    assert (told.confirmed, told.snapshots) == (False, (first.snapshot,))
    done = repository.gc(trash=0, grace=0, confirm=True)
    assert done.archives == told.archives == {first.archives[0].archive_id: first.archive_bytes}
    assert archives_of(repository).isdisjoint(done.archives)


def test_what_was_forgotten_stays_for_the_trash_window_and_can_be_taken_back(repository):
    first = repository.backup("one", name="n", full=True)
    repository.backup("two", name="n", full=True)
    repository.forget(first.snapshot, confirm=True)
    assert repository.gc(confirm=True, trash="1h", grace=0).archives == {}
    repository.undelete(first.snapshot)
    assert collect_all(repository).archives == {}
    assert first.snapshot in {item.id for item in repository.snapshots()}
    with pytest.raises(InvalidArgumentError):
        repository.undelete(first.snapshot)


def test_without_a_trash_window_nothing_is_said_to_stay_in_the_trash(repository, monkeypatch):
    """Marks may be dated ahead of the clock; what is freed must not be told as kept."""
    first = repository.backup("one", name="n", full=True)
    repository.backup("two", name="n", full=True)
    repository.forget(first.snapshot, confirm=True)
    monkeypatch.setattr("vark.repository.collect.now_unix_ms", lambda store: now_ms() - 60_000)
    told = repository.gc(trash=0, grace=0)
    assert (told.snapshots, told.in_trash) == ((first.snapshot,), {})


def test_an_ancestor_stays_as_long_as_a_delta_needs_it(repository):
    first = repository.backup("one", name="n")
    second = repository.backup("two", name="n")
    assert second.archives[0].base == first.archives[0].archive_id
    repository.forget(first.snapshot, confirm=True)
    assert collect_all(repository).archives == {}
    repository.forget(second.snapshot, confirm=True, min_redundancy=0)
    assert len(collect_all(repository).archives) == 2
    assert [entry.name for folder in ("archives", "commits", "marks") for entry in repository.store.list(folder)] == []


def test_holds_and_the_floor_are_obeyed_by_the_collector_itself(repository):
    reports = []
    for number in range(3):
        time.sleep(0.005)  # within one millisecond there is no newest
        reports.append(repository.backup(str(number), name="n", full=True))
    repository.hold(reports[0].snapshot, reason="audit")
    with pytest.raises(RefusedError, match="audit"):
        repository.forget(reports[0].snapshot, confirm=True)
    with pytest.raises(RefusedError):
        repository.forget([reports[1].snapshot, reports[2].snapshot], confirm=True, min_redundancy=2)
    for report in reports:  # behind the back of the checks
        put_mark(repository, "forget", report.snapshot, now_ms() + 10)
    time.sleep(0.02)  # the marks are of the future until then
    far = {"trash": 0, "grace": 0, "confirm": True}
    catalog = repository.catalog()
    assert all(item.forgotten_unix_ms for item in catalog.snapshots)
    freed = repository.gc(min_redundancy=1, **far).archives
    assert set(freed) == {reports[1].archives[0].archive_id}
    assert set(repository.gc(min_redundancy=0, **far).archives) == {reports[2].archives[0].archive_id}
    repository.release(reports[0].snapshot)
    assert set(repository.gc(min_redundancy=0, **far).archives) == {reports[0].archives[0].archive_id}


def test_an_archive_without_a_commit_is_left_to_its_writer_for_a_while(repository):
    lost = put_archive(repository.store)
    assert set(repository.gc(confirm=True).kept_young) == {lost.id}
    assert set(collect_all(repository).archives) == {lost.id}


def test_a_commit_that_needs_a_swept_archive_is_void(repository):
    base = put_archive(repository.store)
    collect_all(repository)
    _, commit = put_commit(repository, [put_archive(repository.store)], [base.as_ancestor()])
    (snapshot,) = repository.snapshots(void=True)
    assert snapshot.void
    assert repository.snapshots() == ()
    for refused in (repository.restore, repository.load):
        with pytest.raises(RefusedError):
            refused(snapshot, "x") if refused == repository.restore else refused(snapshot)
    put_mark(repository, "forget", commit.snapshot, now_ms() - 5)
    with pytest.raises(RefusedError):
        repository.undelete(commit.snapshot)
    collect_all(repository)  # takes the archive that only the void commit had
    assert repository.store.list("archives") == []
    assert repository.store.list("commits") == []


@pytest.mark.parametrize("folder", ["commits", "marks"])
def test_nothing_is_freed_while_a_record_cannot_be_read(repository, folder):
    report = repository.backup("one", name="n")
    repository.forget(report.snapshot, confirm=True, min_redundancy=0)
    name = repository.store.list(folder)[0].name
    kept = repository.store._objects[name]
    repository.store._objects[name] = (kept[0][:-1] + b" ", kept[1])
    other = Repository.open(repository.store, engine=FakeEngine())
    for confirm in (False, True):
        with pytest.raises(DamagedError, match="records cannot be used"):
            other.gc(confirm=confirm, trash=0, grace=0, min_redundancy=0)
    with pytest.raises(DamagedError):
        other.forget([], confirm=True)
    assert len(archives_of(other)) == 1


@pytest.mark.parametrize("phase", ["condemned", "sweep", "half swept"])
def test_a_collection_left_behind_is_continued(repository, phase):
    lost = [put_archive(repository.store) for _ in range(3)]
    reader = AdministrationReader(repository.store, Envelope(repository.id))
    found = reader.advance(reader.read(), "condemned", {item.id: item.bytes for item in lost})
    assert reader.read().dead == {item.id for item in lost}
    if phase != "condemned":
        reader.advance(found, "sweep", {item.id: item.bytes for item in lost})
    if phase == "half swept":
        repository.store.delete(f"archives/{lost[0].id}/000000.vark")
    report = collect_all(repository)
    assert report.continued
    assert set(report.archives) == {item.id for item in lost}
    assert archives_of(repository) == set()
    assert reader.read().phase == "idle"
    assert reader.read().dead == {item.id for item in lost}


def test_what_is_committed_after_it_was_condemned_is_rescued(repository):
    lost = put_archive(repository.store)
    reader = AdministrationReader(repository.store, Envelope(repository.id))
    reader.advance(reader.read(), "condemned", {lost.id: lost.bytes})
    put_commit(repository, [lost])
    report = collect_all(repository)
    assert (report.rescued, report.archives) == ((lost.id,), {})
    assert readable(repository, repository.snapshots()[0])


def test_only_one_of_two_collectors_takes_the_next_generation(repository):
    readers = [AdministrationReader(repository.store, Envelope(repository.id)) for _ in range(2)]
    found = [reader.read() for reader in readers]
    assert readers[0].advance(found[0], "condemned", {}) is not None
    assert readers[1].advance(found[1], "condemned", {}) is None


def test_sweep_lists_are_merged_and_stay_complete(repository):
    reader = AdministrationReader(repository.store, Envelope(repository.id))
    swept = set()
    for _ in range(70):
        archive = put_archive(repository.store)
        found = reader.advance(reader.read(), "condemned", {archive.id: archive.bytes})
        found = reader.advance(found, "sweep", {archive.id: archive.bytes})
        swept.add(archive.id)
        reader.advance(found, "idle")
    newest = AdministrationReader(repository.store, Envelope(repository.id)).read()
    assert newest.swept == swept
    assert len(newest.root.sweeps) < 64


# What is kept keeps all that it needs.


@st.composite
def histories(draw):
    """Commits whose closures are random, and marks of random times."""
    count = draw(st.integers(1, 8))
    commits = [
        (draw(st.sets(st.integers(0, number - 1))) if number else set(), draw(st.sampled_from("ab")))
        for number in range(count)
    ]
    action = st.sampled_from(["forget", "forget", "undelete", "hold", "release"])
    marks = draw(st.lists(st.tuples(st.integers(0, count - 1), action, st.integers(0, 20)), max_size=16))
    return commits, marks, draw(st.integers(0, 20)), draw(st.integers(0, 2)), draw(st.booleans())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories())
def test_forget_and_gc_never_remove_what_a_kept_snapshot_needs(history):
    commits, marks, trash_days, floor, twice = history
    repository = fake_repository()
    now = now_ms()
    archives = [put_archive(repository.store) for _ in commits]
    snapshots = []
    for number, (needs, name) in enumerate(commits):
        # The closure lists everything that is needed, so it is closed under itself only where the test makes it so.
        closure = [archives[index].as_ancestor() for index in sorted(needs)]
        _, commit = put_commit(repository, [archives[number]], closure, name=name, unix_ms=now - 40 * DAY_MS + number)
        snapshots.append(commit.snapshot)
    for place, (number, action, age) in enumerate(marks):
        put_mark(repository, action, snapshots[number], now - age * DAY_MS - DAY_MS // 2 + place)
    kept = {
        item.id: item
        for item in repository.catalog().snapshots
        if item.held or item.forgotten_unix_ms is None or item.forgotten_unix_ms > now - trash_days * DAY_MS
    }
    complete = {name: [item for item in repository.catalog().snapshots if item.name == name] for name in "ab"}
    for _ in range(1 + twice):
        repository.gc(confirm=True, trash=f"{trash_days}d", grace=0, min_redundancy=floor)
    found = {item.id: item for item in repository.snapshots(forgotten=True)}
    for snapshot in kept:
        assert snapshot in found
        assert readable(repository, found[snapshot])
    for name, items in complete.items():
        left = [item for item in found.values() if item.name == name and readable(repository, item)]
        assert len(left) >= min(floor, len(items))
    needed = {ancestor.id for item in found.values() for ancestor in item.needed()}
    assert archives_of(repository) <= needed  # and nothing else is left


# Writers and collectors at the same time, in any order of steps.


def play(seed, *, kill_chance=0.02):
    """Two writers, two collectors, a compaction, somebody who forgets and thinks better of it; return what is wrong."""
    stage = Stage(seed, kill_chance=kill_chance)
    store = StagedStore(stage)
    lead = fake_repository(store)
    first = lead.backup("one", name="n")
    second = lead.backup("two", name="n")
    third = lead.backup("three", name="m", full=True)
    fourth = lead.backup("four", name="m")
    assert fourth.archives[0].base is not None

    def opened():
        return Repository.open(store, engine=FakeEngine())

    def write():
        return opened().backup("more", name="n").snapshot

    def forget_and_collect():
        repository = opened()
        repository.forget(second.snapshot, confirm=True, min_redundancy=0)
        return collect_all(repository)

    def think_better():
        repository = opened()
        repository.forget(third.snapshot, confirm=True, min_redundancy=0)
        repository.undelete(third.snapshot)
        return third.snapshot

    def make_alone():
        opened().compact(fourth.snapshot)

    stage.killable = {"w1", "w2", "c1", "c2", "k"}
    stage.play(
        {
            "w1": write,
            "w2": write,
            "c1": forget_and_collect,
            "c2": lambda: collect_all(opened()),
            "u": think_better,
            "k": make_alone,
        }
    )
    stage.killable = set()
    for name in ("c1", "c2"):
        if not isinstance(stage.results[name], BaseException):
            assert stage.results[name].confirmed
    for result in stage.results.values():
        if isinstance(result, BaseException) and not isinstance(result, (KilledError, ConflictError, RefusedError)):
            raise result
    check = Repository.open(store, engine=FakeEngine())
    collect_all(check)  # whatever was left behind is continued
    there = {item.id: item for item in check.snapshots(forgotten=True)}
    promised = [first.snapshot, fourth.snapshot, *(stage.results[name] for name in ("w1", "w2", "u"))]
    wrong = [
        snapshot
        for snapshot in promised
        if isinstance(snapshot, str) and (snapshot not in there or not readable(check, there[snapshot]))
    ]
    return wrong, stage


def test_no_acknowledged_snapshot_is_lost_in_any_order_of_steps():
    for seed in range(SEEDS):
        wrong, stage = play(seed)
        assert wrong == [], (seed, stage.order)


def test_the_staged_check_finds_a_writer_that_does_not_look_again(monkeypatch):
    class Blind:
        dead = frozenset()
        generation = 0

    original = AdministrationReader.read

    def read(self):
        import inspect

        caller = inspect.stack()[1].function
        return Blind() if caller in ("backup", "safe") else original(self)

    monkeypatch.setattr(AdministrationReader, "read", read)
    assert any(play(seed, kill_chance=0)[0] for seed in range(150))


def test_the_staged_check_finds_a_collector_that_does_not_look_again(monkeypatch):
    from vark.repository import collect

    def to_sweep(context, request, found, run):
        context.reader.administrations.advance(found, "sweep", found.condemned)

    monkeypatch.setattr(collect, "_to_sweep", to_sweep)
    assert any(play(seed, kill_chance=0)[0] for seed in range(150))


def test_a_writer_that_builds_on_what_is_being_collected_writes_a_full_archive_instead(repository, monkeypatch):
    first = repository.backup("one", name="n")
    collector = Repository.open(repository.store, engine=FakeEngine())
    original = FakeEngine.write

    def write(self, *given, **options):
        if options["base"] is not None:  # W2: a whole collection fits in before the commit
            monkeypatch.setattr(FakeEngine, "write", original)
            collector.forget(first.snapshot, confirm=True, min_redundancy=0)
            collect_all(collector)
        return original(self, *given, **options)

    monkeypatch.setattr(FakeEngine, "write", write)
    report = repository.backup("two", name="n")
    assert report.archives[0].base is None
    assert "collection" in report.archives[0].reason
    assert len(report.superseded) == 1
    (snapshot,) = repository.snapshots()
    assert (snapshot.id, snapshot.commit) == (report.snapshot, report.commit)
    assert readable(repository, snapshot)
    collect_all(repository)
    assert readable(repository, repository.snapshots()[0])
    assert len(repository.store.list("commits")) == 1


def test_the_memory_of_what_was_swept_outlives_any_number_of_collections():
    repository = fake_repository(MemoryStore())
    lost = put_archive(repository.store)
    for _ in range(3):
        put_archive(repository.store)
        collect_all(repository)
    context = Context(repository.store, repository.id, b"", None, FakeEngine(), Envelope(repository.id))
    assert not context.safe((lost.as_ancestor(),))
