"""A repository from end to end, in a folder and in memory: back up, restore, resume, and refuse."""

import json
import os
import threading

import numpy as np
import pytest

import vark
from repositories import FakeEngine, KilledError, fake_repository, readable
from vark.errors import (
    ConflictError,
    DamagedError,
    InvalidArgumentError,
    LimitError,
    NoSpaceError,
    NotFoundError,
    RepositoryNotFoundError,
    SourceError,
    StorageError,
    TargetExistsError,
    UnknownNameError,
)
from vark.repository import Repository, sessions
from vark.repository.engine import Engine
from vark.repository.envelope import Envelope
from vark.stores import LocalStore, MemoryStore

STORES = {"local": lambda folder: LocalStore(folder / "repository"), "memory": lambda folder: MemoryStore()}


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    return STORES[request.param](tmp_path)


@pytest.fixture
def repository(store):
    return Repository.create(store, encryption="none")


def test_a_backup_is_restored_byte_for_byte_and_loaded(repository, vectors, tmp_path):
    np.save(tmp_path / "v.npy", vectors)
    report = repository.backup(tmp_path / "v.npy", name="products", tags={"model": "e5"}, documents={"R.md": "text"})
    assert report.archives[0].base is None
    assert report.archives[0].reason == "the first snapshot of this name"
    repository.backup(vectors + 1, name="others")
    again = Repository.open(repository.store)
    assert again.id == repository.id
    snapshot = again.snapshot("model=e5")
    assert (snapshot.id, snapshot.name, snapshot.partial) == (report.snapshot, "products", False)
    assert snapshot.source["paths"] == [str(tmp_path / "v.npy")]
    again.restore(snapshot, tmp_path / "out.npy")
    assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "v.npy").read_bytes()
    assert (again.load(report.snapshot[:14]) == vectors).all()
    assert (again.load("latest", name="others") == vectors + 1).all()
    with again.open_archive(snapshot) as archive:
        assert archive.documents["R.md"] == b"text"
        assert str(archive.archive_id) == report.archives[0].archive_id


def test_volumes_hold_the_archive_in_pieces(store, tmp_path):
    data = np.random.default_rng(1).integers(0, 256, 3_500_000, np.uint8)
    repository = Repository.create(store, volume_bytes="1MiB", encryption="none")
    report = repository.backup(data, name="n")
    sizes = [entry.byte_count for entry in store.list("archives")]
    assert sizes[:-1] == [1 << 20] * 3
    assert sum(sizes) == report.archive_bytes
    assert (repository.load() == data).all()
    assert repository.verify().ok


def test_shards_are_one_snapshot(repository, vectors, tmp_path):
    sources = {"east": vectors, "west": vectors * 2}
    report = repository.backup_shards(sources, name="n")
    assert [archive.shard for archive in report.archives] == ["east", "west"]
    assert len(repository.snapshots()) == 1
    repository.restore("latest", tmp_path / "both")
    assert (np.load(tmp_path / "both" / "west" / "array.npy") == vectors * 2).all()
    assert (repository.load(shard="east") == vectors).all()
    repository.restore("latest", tmp_path / "one.npy", shard="east")
    assert (np.load(tmp_path / "one.npy") == vectors).all()
    for shard, kind in ((None, InvalidArgumentError), ("south", UnknownNameError)):
        with pytest.raises(kind):
            repository.open_archive(shard=shard)
    for names in ({}, {"..": vectors}, {"a/b": vectors}, {"": vectors}):
        with pytest.raises(InvalidArgumentError):
            repository.backup_shards(names, name="n")
    assert [entry for entry in os.listdir(tmp_path) if entry.endswith(".part")] == []


def test_a_failed_restore_of_shards_leaves_nothing(repository, vectors, tmp_path):
    report = repository.backup_shards({"east": vectors, "west": vectors}, name="n")
    name = f"archives/{report.archives[1].archive_id}/000000.vark"
    data = repository.store.read(name)
    repository.store.delete(name)
    repository.store.create(name, data[:80] + bytes([data[80] ^ 1]) + data[81:])
    with pytest.raises(DamagedError):
        repository.restore("latest", tmp_path / "both")
    assert [entry for entry in os.listdir(tmp_path) if "both" in entry] == []


def test_a_place_is_made_a_repository_once(tmp_path):
    Repository.create(tmp_path / "r", encryption="none")
    with pytest.raises(TargetExistsError):
        Repository.create(tmp_path / "r", encryption="none")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(TargetExistsError, match="not empty"):
        Repository.create(tmp_path / "full", encryption="none")
    for place in (tmp_path / "nothing", tmp_path / "full"):
        with pytest.raises(RepositoryNotFoundError) as caught:
            Repository.open(place)
        assert (caught.value.exit_code, caught.value.code) == (10, "no-repository")
    assert not (tmp_path / "nothing").exists()


def test_a_lost_or_damaged_marker_does_not_keep_anyone_from_restoring(tmp_path, vectors):
    repository = Repository.create(tmp_path / "r", encryption="none")
    repository.backup(vectors, name="n")
    marker = tmp_path / "r" / "vark.json"
    marker.write_bytes(marker.read_bytes().replace(b'"created', b'"Created'))
    with pytest.raises(DamagedError):
        Repository.open(tmp_path / "r")
    for step in (lambda: None, marker.unlink):
        step()
        rescued = Repository.open(tmp_path / "r", rescue=True)
        assert (rescued.load() == vectors).all()
        with pytest.raises(RepositoryNotFoundError):
            rescued.backup(vectors, name="n")
        assert [item.object for item in rescued.verify().damaged] == ["vark.json"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x" * 300},
        {"name": "n", "tags": {"a=b": "c"}},
        {"name": "n", "sync": False},
    ],
)
def test_what_could_not_be_recorded_is_refused_before_anything_is_written(repository, vectors, arguments):
    with pytest.raises(InvalidArgumentError):
        repository.backup(vectors, **arguments)
    assert [entry.name for entry in repository.store.list("")] == ["vark.json"]


def test_a_source_that_fails_leaves_no_snapshot(repository, tmp_path):
    with pytest.raises(NotFoundError):
        repository.backup(tmp_path / "nothing", name="n")
    assert repository.snapshots() == ()
    assert repository.store.list("archives") == []


def test_a_partial_source_makes_a_partial_snapshot(repository, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").write_bytes(b"a")
    (tmp_path / "root" / "l").symlink_to("a")
    report = repository.backup(tmp_path / "root", name="n")
    assert report.partial
    assert repository.snapshot().partial


def test_an_archive_that_is_missing_or_another_is_a_clean_error(tmp_path):
    repository = Repository.create(tmp_path / "r", encryption="none")
    noise = np.random.default_rng(1).integers(0, 256, (2, 100_000), np.uint8)
    reports = [repository.backup(noise[number], name=str(number)) for number in range(2)]
    paths = [tmp_path / "r" / "archives" / item.archives[0].archive_id / "000000.vark" for item in reports]
    first = paths[0].read_bytes()
    paths[0].write_bytes(paths[1].read_bytes())  # whole, and of the same length
    assert paths[0].stat().st_size == len(first)
    with pytest.raises(DamagedError, match="the commit says"):
        repository.load("latest", name="0")
    paths[0].unlink()
    with pytest.raises(DamagedError, match="volumes"):
        repository.restore("latest", tmp_path / "x", name="0")
    assert not (tmp_path / "x").exists()


# Deltas and the chain policy, with the small engine.


def test_a_backup_builds_on_the_newest_of_its_name_and_lists_all_it_needs():
    repository = fake_repository()
    reports = [repository.backup(str(number), name="n") for number in range(3)]
    other = repository.backup("x", name="other")
    ids = [report.archives[0].archive_id for report in reports]
    assert [report.archives[0].base for report in reports] == [None, ids[0], ids[1]]
    assert other.archives[0].base is None
    newest = repository.snapshot("latest", name="n")
    assert {ancestor.id for ancestor in newest.closure} == set(ids[:2])
    assert repository.backup("again", name="n", full=True).archives[0].reason == "asked for"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda repository, archive: repository.store.delete(f"archives/{archive}/000000.vark"), "damaged"),
        (lambda repository, archive: repository.verify(level="structure"), None),
    ],
)
def test_a_backup_builds_on_nothing_that_is_not_as_it_was_written(spoil, words):
    repository = fake_repository()
    first = repository.backup("0", name="n")
    spoil(repository, first.archives[0].archive_id)
    report = repository.backup("1", name="n")
    assert (report.archives[0].base is None) == (words is not None)
    assert words is None or words in report.archives[0].reason


def test_a_base_that_vanishes_meanwhile_means_a_full_archive(monkeypatch):
    repository = fake_repository()
    first = repository.backup("0", name="n")
    original = FakeEngine.open

    def vanish(self, store, archive, sizes):
        store.delete(f"archives/{archive.id}/000000.vark")
        return original(self, store, archive, sizes)

    monkeypatch.setattr(FakeEngine, "open", vanish)
    report = repository.backup("1", name="n")
    assert report.archives[0].base is None
    assert first.archives[0].archive_id in report.archives[0].reason
    assert readable(repository, repository.snapshot(report.snapshot))


def test_a_chain_ends_at_its_limits_and_the_report_says_so():
    repository = fake_repository()
    options = {"name": "n", "chain_max": 2, "waste_max": 100.0}
    reasons = [repository.backup(str(number), **options).archives[0].reason for number in range(5)]
    assert [reason is None for reason in reasons] == [False, True, True, False, True]
    assert "limit is 2" in reasons[3]
    report = repository.backup("x", name="n", waste_max=0.01)
    assert "lies unused" in report.archives[0].reason
    assert [ancestor.id for ancestor in repository.snapshot().closure] == []


def test_shards_build_on_their_own_shard():
    repository = fake_repository()
    first = repository.backup_shards({"a": "1", "b": "2"}, name="n")
    second = repository.backup_shards({"a": "3", "b": "4", "c": "5"}, name="n")
    ids = {archive.shard: archive.archive_id for archive in first.archives}
    assert [archive.base for archive in second.archives] == [ids["a"], ids["b"], None]
    assert len(repository.snapshot().closure) == 2
    repository.backup_shards({"a": "6"}, name="n")
    assert {ancestor.id for ancestor in repository.snapshot().closure} == {
        ids["a"],
        second.archives[0].archive_id,
    }


def test_compacting_makes_a_snapshot_stand_alone_under_the_same_id():
    repository = fake_repository()
    reports = [repository.backup(str(number), name="n") for number in range(3)]
    before = repository.snapshot()
    repository.tag(before, {"kept": "yes"})
    done = repository.compact("latest")
    after = repository.snapshot()
    assert (after.id, after.unix_ms, dict(after.tags)) == (before.id, before.unix_ms, {"kept": "yes"})
    assert (after.commit, after.closure, after.superseded) == (done.commit, (), (before.commit,))
    repository.forget([report.snapshot for report in reports[:2]], confirm=True)
    repository.gc(confirm=True, trash=0, grace=0)
    assert len(repository.store.list("archives")) == 1
    assert readable(repository, repository.snapshot())
    assert repository.snapshot().unix_ms == before.unix_ms
    with pytest.raises(InvalidArgumentError):
        repository.compact("latest")


def test_each_day_of_a_chain_is_restored_and_the_last_stands_alone_when_compacted(repository, tmp_path):
    generator = np.random.default_rng(2)
    rows = generator.standard_normal((4000, 64), np.float32)
    days = []
    for day in range(8):
        rows = rows.copy()
        rows[generator.integers(0, len(rows), 40)] += 1
        rows = np.concatenate([rows[: 1000 * (day % 4)], rows[1000 * (day % 4) + 5 :], rows[:3] * day])
        days.append((rows, repository.backup(rows, name="n")))
    assert [report.archives[0].base is None for _, report in days] == [True, *[False] * 7]
    assert all(report.archive_bytes < days[0][1].archive_bytes * 0.25 for _, report in days[1:])
    for number, (expected, report) in enumerate(days):
        repository.restore(report.snapshot, tmp_path / f"{number}.npy")
        assert (np.load(tmp_path / f"{number}.npy") == expected).all()
    before, after = days[-2][1].snapshot, days[-1][1].snapshot
    found = {item.stream: item for item in repository.diff(before, after).streams}["vectors"]
    assert (found.rows_before, found.rows_after) == (len(days[-2][0]), len(days[-1][0]))
    assert found.added + found.changed >= 3
    repository.compact(after)
    repository.forget([report.snapshot for _, report in days[:-1]], confirm=True)
    assert len(repository.gc(confirm=True, trash=0, grace=0).archives) == 8
    assert (repository.load(after) == days[-1][0]).all()
    assert repository.verify().ok
    assert repository.stats().archive_count == 1


# Interrupted backups.


class StoppingStore(MemoryStore):
    """Ends the process before the n-th creation, and tells what was written."""

    def __init__(self):
        super().__init__()
        self.left = None
        self.created = []

    def create(self, name, data):
        if self.left is not None:
            if self.left == 0:
                raise KilledError(name)
            self.left -= 1
        super().create(name, data)
        self.created.append(name)


@pytest.mark.parametrize("stop", range(1, 8))
def test_an_interrupted_backup_goes_on_without_writing_finished_volumes_again(stop):
    data = np.random.default_rng(1).integers(0, 256, 3_500_000, np.uint8)
    store = StoppingStore()
    repository = Repository.create(store, volume_bytes="1MiB", encryption="none")
    store.left = stop
    if stop < 6:
        with pytest.raises(KilledError):
            repository.backup(data, name="n")
    else:
        repository.backup(data, name="n")
    finished = [name for name in store.created if name.startswith("archives/")]
    store.left, store.created = None, []
    report = Repository.open(store).backup(data, name="n")
    written = [name for name in store.created if name.startswith("archives/")]
    if stop < 6:
        assert report.resumed
        assert set(written).isdisjoint(finished)
        assert len({name.split("/")[1] for name in [*finished, *written]}) == 1
        assert len(finished) + len(written) == 4
        assert [name for name in store.created if name.startswith("sessions/")] == []
    else:
        assert not report.resumed
    assert (Repository.open(store).load() == data).all()
    assert Repository.open(store).verify().ok


def test_a_source_that_changed_since_is_written_under_another_id():
    store = StoppingStore()
    repository = Repository.create(store, volume_bytes="1MiB", encryption="none")
    data = np.random.default_rng(1).integers(0, 256, 2_500_000, np.uint8)
    store.left = 3
    with pytest.raises(KilledError):
        repository.backup(data, name="n")
    store.left = None
    data[0] ^= 1  # same shape, so the session looks right
    report = Repository.open(store).backup(data, name="n")
    assert (Repository.open(store).load() == data).all()
    ids = {entry.name.split("/")[1] for entry in store.list("archives")}
    assert ids > {report.archives[0].archive_id}
    repository.gc(confirm=True, grace=0)
    assert {entry.name.split("/")[1] for entry in store.list("archives")} == {report.archives[0].archive_id}
    assert store.list("sessions") == []


@pytest.mark.parametrize("change", [{"name": "m"}, {"resume": False}, {"documents": {"a": "b"}}])
def test_another_backup_does_not_take_up_the_session(change, vectors):
    store = StoppingStore()
    repository = Repository.create(store, encryption="none")
    store.left = 2
    with pytest.raises(KilledError):
        repository.backup(vectors, name="n")
    store.left = None
    assert not Repository.open(store).backup(vectors, **{"name": "n", **change}).resumed


def test_a_backup_that_still_runs_is_not_taken_up(vectors):
    store = StoppingStore()
    repository = Repository.create(store, encryption="none")
    envelope = Envelope(repository.id)
    session = sessions.begin(store, envelope, name="n", signature="a" * 64, bases={"": None})
    facts = {"name": "n", "signature": "a" * 64, "bases": {"": None}}
    catalog = repository.catalog()
    assert sessions.find_interrupted(store, envelope, catalog, **facts) is None
    sessions.end(session)
    assert sessions.find_interrupted(store, envelope, catalog, **facts) == session
    for key, value in (("process", "1:1"), ("process", "999999999:"), ("host", "elsewhere"), ("process", "x")):
        values = json.loads(session.encode(envelope))
        other = sessions.Session.decode(json.dumps({**values, key: value}).encode(), place="x", envelope=envelope)
        assert sessions.is_running(other) == (key == "host" or value == "x") or key == "host"
    sessions.end(session)


def test_a_commit_that_cannot_be_read_is_not_replaced_by_what_the_source_is_today(vectors):
    store = MemoryStore()
    repository = Repository.create(store, encryption="none")
    first = repository.backup(vectors, name="n")
    (place,) = (entry.name for entry in store.list("commits"))
    kept = store._objects[place]
    store._objects[place] = (b"damaged", 0)
    second = Repository.open(store).backup(vectors + 1, name="n")  # the same from outside; the session is still there
    store._objects[place] = kept
    again = Repository.open(store)
    assert {item.id for item in again.snapshots()} == {first.snapshot, second.snapshot}
    again.gc(confirm=True, trash=0, grace=0)
    assert (again.load(first.snapshot) == vectors).all()
    assert (again.load(second.snapshot) == vectors + 1).all()


def test_an_archive_id_that_was_collected_is_not_used_again(vectors):
    store = StoppingStore()
    repository = Repository.create(store, encryption="none")
    store.left = 2  # the volume is there, its commit is not
    with pytest.raises(KilledError):
        repository.backup(vectors, name="n")
    store.left = None
    (swept,) = {entry.name.split("/")[1] for entry in store.list("archives")}
    kept = store._objects.copy()
    repository.gc(confirm=True, grace=0)
    store._objects.update({name: value for name, value in kept.items() if name.startswith("sessions/")})
    report = Repository.open(store).backup(vectors, name="n")
    assert not report.resumed
    assert report.archives[0].archive_id != swept


def test_many_writers_at_once_all_keep_what_they_were_promised(tmp_path, vectors):
    Repository.create(tmp_path / "r", encryption="none")
    reports, errors = [], []

    def write(number):
        try:
            mine = Repository.open(tmp_path / "r")
            reports.append(mine.backup(vectors + number, name=str(number % 2)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {item.id for item in Repository.open(tmp_path / "r").snapshots()} == {item.snapshot for item in reports}
    assert Repository.open(tmp_path / "r").verify().ok


def test_collections_that_never_end_are_a_conflict(monkeypatch):
    repository = fake_repository()
    original = FakeEngine.write

    def write(self, source, descriptor, **options):
        written = original(self, source, descriptor, **options)
        administrations = repository._context.reader.administrations
        administrations.advance(administrations.read(), "condemned", {options["archive_id"]: 1})
        return written

    monkeypatch.setattr(FakeEngine, "write", write)
    with pytest.raises(ConflictError) as caught:
        repository.backup("x", name="n")
    assert caught.value.exit_code == 11


def test_the_engine_of_this_package_is_the_default(repository):
    assert type(repository._context.engine) is Engine
    assert vark.Repository is Repository


@pytest.mark.parametrize("step", ["open", "write"])
@pytest.mark.parametrize("error", [LimitError("many"), StorageError("EIO"), InvalidArgumentError("order")])
def test_what_keeps_a_delta_from_being_made_keeps_no_backup(repository, vectors, monkeypatch, step, error):
    repository.backup(vectors, name="n")
    original = getattr(Engine, step)

    def fail(self, *arguments, **options):
        if options.get("base", self) is None:
            return original(self, *arguments, **options)
        if step == "write":
            os.write(arguments[1], b"the beginning of a delta")
        raise error

    monkeypatch.setattr(Engine, step, fail)
    (written,) = repository.backup(vectors + 1, name="n").archives
    assert (written.base, error.message in written.reason) == (None, True)
    monkeypatch.undo()
    assert (repository.load("latest") == vectors + 1).all()
    assert repository.verify().ok


@pytest.mark.parametrize("error", [NoSpaceError("full"), SourceError("changed")])
def test_what_a_full_archive_would_not_survive_either_ends_a_backup(repository, vectors, monkeypatch, error):
    repository.backup(vectors, name="n")
    asked = []

    def fail(*_, **options):
        asked.append(options["base"])
        raise error

    monkeypatch.setattr(Engine, "write", fail)
    with pytest.raises(type(error)):
        repository.backup(vectors + 1, name="n")
    assert len(asked) == 1
