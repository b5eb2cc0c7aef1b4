"""`copy_to`: snapshots of one repository in another, sealed anew, row for row, and nothing moved twice."""

import json
import os

import numpy as np
import pytest
import reader

from erasures import GONE, IDS, hnswlib_index, nothing_left, rows_of
from repositories import changed as altered
from sealed_repositories import OTHER, OTHER_RECIPIENT, OWN, RECIPIENT
from test_cli import lines, run
from vark.errors import InvalidArgumentError, KeyNeededError, StorageError
from vark.repository import Repository
from vark.repository.layout import ARCHIVES, COMMITS
from vark.stores import MemoryStore

ROWS, DIM = 2000, 96  # wide rows: they have fingerprints, which are under a key of their repository


def day(number):
    rows = np.random.default_rng(1).standard_normal((ROWS, DIM), dtype=np.float32)
    for past in range(1, number + 1):
        changed = np.random.default_rng(past).choice(ROWS, ROWS // 100, replace=False)
        rows[changed] = np.random.default_rng(past + 100).standard_normal((len(changed), DIM), dtype=np.float32)
    return rows


def new(kind, place=None, **options):
    store = MemoryStore() if place is None else place
    keys = {"plain": {"encryption": "none"}, "sealed": {"recipients": [RECIPIENT]}, "other": OTHER_KEYS}[kind]
    return Repository.create(store, **keys, **options)


OTHER_KEYS = {"recipients": [OTHER_RECIPIENT], "encryption": "chacha20-poly1305"}


def with_days(kind, count, place=None, **options):
    repository = new(kind, place, **options)
    for number in range(count):
        repository.backup(day(number), name="days", tags={"day": str(number)}, cache=False)
    return repository


def states(report):
    return [item.state for item in report.snapshots]


def check(target, source):
    """Every snapshot of the source is in the target, with its rows."""
    there = {item.id: item for item in target.snapshots()}
    for snapshot in source.snapshots():
        copied = there[snapshot.id]
        assert (copied.name, copied.unix_ms, copied.tags) == (snapshot.name, snapshot.unix_ms, snapshot.tags)
        assert copied.copy_of.repository == source.id
        assert copied.copy_of.commit == snapshot.commit
        assert (target.load(copied) == source.load(snapshot)).all()
    assert target.verify().ok


@pytest.mark.parametrize("to", ["plain", "other"])
@pytest.mark.parametrize("of", ["plain", "sealed"])
@pytest.mark.parametrize("where", ["memory", "folder", "volumes"])
def test_copies_have_the_rows_and_deltas_stay_deltas(of, to, where, tmp_path):
    places = (None, None) if where == "memory" else (tmp_path / "a", tmp_path / "b")
    options = {"volume_bytes": 1 << 20} if where == "volumes" else {}
    source = with_days(of, 4, places[0], **options)
    target = new(to, places[1], **options)
    report = source.copy_to(target)
    assert report.ok
    assert states(report) == ["copied"] * 4
    assert [bool(item.archives[0].base) for item in report.snapshots] == [False, True, True, True]
    # Fingerprints stay behind, so a copy is no larger than what it is of, but for tags.
    assert all(archive.archive_bytes < archive.source_bytes for item in report.snapshots for archive in item.archives)
    assert target.marker.suite == (2 if to == "other" else None)
    check(target, source)
    before = len(target.store.list(""))
    assert states(source.copy_to(target)) == ["present"] * 4
    assert len(target.store.list("")) == before
    # Backups go on there: the first finds no fingerprints and reads rows, the next has its own.
    for number in (3, 4, 5):
        again = target.backup(day(number), name="days", cache=False)
        assert again.archives[0].rows_new == (0 if number == 3 else ROWS // 100)
    assert target.verify().ok


def test_only_what_is_missing_moves():
    source, target = with_days("sealed", 3), new("other")
    source.copy_to(target)
    source.backup(day(3), name="days", cache=False)
    report = source.copy_to(target)
    assert states(report) == ["present"] * 3 + ["copied"]
    assert report.archive_bytes < 0.03 * day(0).nbytes
    check(target, source)


def test_what_an_archive_builds_on_stays_open_until_it_is_copied(monkeypatch):
    """However little is kept open: a delta that finds its ancestors closed would be written in full."""
    monkeypatch.setattr("vark.repository.copying.OPEN_MAX", 2)
    source, target = with_days("plain", 5), new("plain")
    report = source.copy_to(target)
    assert [item.archives[0].reason for item in report.snapshots] == [None] * 5
    assert [bool(item.archives[0].base) for item in report.snapshots] == [False, *[True] * 4]
    check(target, source)


def test_a_filtered_copy_stands_alone_and_the_rest_follows():
    source, target = with_days("plain", 3), new("other")
    source.backup(day(7), name="more", cache=False)
    report = source.copy_to(target, "latest", name="days")
    assert states(report) == ["copied"]
    assert report.snapshots[0].archives[0].base is None
    assert "no copy here" in report.snapshots[0].archives[0].reason
    assert (target.load() == day(2)).all()
    assert states(source.copy_to(target, tags={"day": "1"})) == ["copied"]
    since = source.snapshots(name="more")[0].time
    assert states(source.copy_to(target, since=since)) == ["copied"]
    assert sorted(states(source.copy_to(target))) == ["copied", "present", "present", "present"]
    check(target, source)


def test_shards_and_what_else_an_archive_holds():
    source, target = new("sealed"), new("plain")
    for number in range(2):
        shards = {"a": hnswlib_index(rows_of(number)), "b": day(number)}
        more = {"documents": {"README.md": "hello"}, "probes": {"queries": rows_of(0)[:9], "k": 3}}
        source.backup(shards["a"], name="one", id_index=True, cache=False, **more)
        source.backup_shards(shards, name="two", cache=False)
    assert source.copy_to(target).ok
    for mine, theirs in zip(source.snapshots(), target.snapshots(), strict=True):
        for archive in mine.archives:
            with (
                source.open_archive(mine, shard=archive.shard) as one,
                target.open_archive(theirs, shard=archive.shard) as other,
            ):
                assert one.metadata == other.metadata
                assert [item.name for item in one.streams] == [item.name for item in other.streams]
                for stream in one.streams:
                    assert one[stream.name][:].tobytes() == other[stream.name][:].tobytes(), stream.name
    found = target.open_archive("latest", name="one").rows_by_id("vectors", IDS[[5, 77]])
    assert (found == rows_of(1)[[5, 77]]).all()
    assert target.verify().ok


def test_tags_follow_and_holds_and_trash_do_not():
    source, target = with_days("plain", 3), new("plain")
    first, second, _ = source.snapshots()
    source.hold(first, reason="audit")
    source.tag(first, {"kept": "yes"})
    source.forget(second, confirm=True)
    assert states(source.copy_to(target)) == ["copied"] * 2
    copied = target.snapshot(first.id)
    assert copied.tags == {"day": "0", "kept": "yes"}
    assert not copied.held
    assert second.id not in {item.id for item in target.snapshots()}
    # What was forgotten there is not brought back.
    target.forget(first.id, confirm=True)
    assert states(source.copy_to(target)) == ["forgotten", "present"]
    assert len(target.snapshots()) == 1


def test_what_was_written_again_in_the_source_replaces_its_copy():
    source, target = with_days("sealed", 3), new("other")
    source.copy_to(target)
    latest = source.snapshots()[-1]
    source.compact(latest)
    report = source.copy_to(target)
    assert states(report) == ["present", "present", "replaced"]
    assert target.snapshot(latest.id).closure == ()
    check(target, source)
    assert states(source.copy_to(target)) == ["present"] * 3
    assert target.gc(confirm=True, trash=0, grace=0).archives
    check(target, source)


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_rows_that_are_erased_in_the_source_go_from_its_copies(kind, tmp_path):
    source, target = new(kind, tmp_path / "a"), new("plain", tmp_path / "b")
    for number in range(3):
        source.backup(hnswlib_index(rows_of(number)), name="people", cache=False)
    source.copy_to(target)
    source.forget(source.snapshots()[0], confirm=True)  # it stays in the target, and is erased there all the same
    source.gc(confirm=True, trash=0, grace=0)
    source.erase(IDS[GONE], name="people", confirm=True)
    report = source.copy_to(target)
    assert report.erasures == ("people",)
    assert states(report) == ["replaced", "replaced"]
    assert len(target.snapshots()) == 3
    nothing_left(target, range(3))
    assert target.verify().ok
    # It is in force there, too: a backup of a source that still has the rows leaves them out.
    assert target.backup(hnswlib_index(rows_of(2)), name="people", cache=False).rows_erased == len(GONE)
    nothing_left(target, range(3))
    # Where the source has ended it (for it does not hold them any more), it ends in the target.
    kept = np.setdiff1d(np.arange(len(IDS)), GONE)
    source.backup(hnswlib_index(rows_of(2)[kept], IDS[kept]), name="people", cache=False)
    assert source.copy_to(target).ok
    assert target.lift_erasure("people") == 0


def test_rows_that_are_erased_in_the_target_do_not_come_back(tmp_path):
    source, target = new("plain", tmp_path / "a"), new("plain", tmp_path / "b")
    for number in range(2):
        source.backup(hnswlib_index(rows_of(number)), name="people", cache=False)
    source.copy_to(target, [source.snapshots()[0].id])
    target.erase(IDS[GONE], name="people", confirm=True)
    report = source.copy_to(target)
    assert states(report) == ["present", "copied"]
    assert "erased" in report.snapshots[1].archives[0].reason
    nothing_left(target, range(2))
    assert target.verify().ok
    assert len(source.load("latest").get_ids_list()) == len(IDS)


def test_what_is_damaged_in_the_source_is_listed_and_the_rest_copied():
    source, target = with_days("plain", 1), new("plain")
    source.backup(day(5), name="other", full=True, cache=False)
    [first, second] = source.snapshots()
    name = f"archives/{first.archives[0].id}/000000.vark"
    data = bytearray(source.store.read(name))
    data[len(data) // 2] ^= 1
    with altered(source.store, name, bytes(data)):
        report = source.copy_to(target)
    assert not report.ok
    assert states(report) == ["failed", "copied"]
    assert "block" in report.snapshots[0].detail
    assert [item.id for item in target.snapshots()] == [second.id]
    assert states(source.copy_to(target)) == ["copied", "present"]
    check(target, source)


class _Careless(MemoryStore):
    """Keeps other bytes than it was given."""

    is_careless = False

    def create(self, name, data):
        data = bytearray(data)
        if self.is_careless and name.startswith(ARCHIVES):
            data[len(data) // 2] ^= 4
        super().create(name, bytes(data))


@pytest.mark.parametrize("level", ["stored", "full"])
def test_what_did_not_arrive_is_not_committed(level):
    source, target = with_days("sealed", 2), new("plain", _Careless())
    target.store.is_careless = True
    with pytest.raises(StorageError, match="not what was sent"):
        source.copy_to(target, level=level)
    assert target.store.list(COMMITS) == []
    target.store.is_careless = False
    assert source.copy_to(target, level=level).ok
    check(target, source)


def test_a_copy_is_signed_by_the_signer_of_the_target():
    source, target = with_days("plain", 1), new("sealed")
    made = target.keys.add_signer("copier")
    signing = Repository.open(target.store, identities=[OWN], signer=made.content)
    assert source.copy_to(signing).ok
    assert target.verify(signed_by=["copier"]).ok
    writer = target.keys.add_signer("host", write_only=True)
    with pytest.raises(KeyNeededError):
        source.copy_to(Repository.open(target.store, signer=writer.content))


def test_what_a_write_only_client_wrote_is_read_before_a_member_vouches_for_it():
    source, target = new("sealed"), new("plain")
    writer = Repository.open(source.store, signer=source.keys.add_signer("host", write_only=True).content)
    writer.backup(day(0), name="host")
    seen = []
    verify = target._context.engine.verify
    target._context.engine.verify = lambda *a, **k: seen.append(k["level"]) or verify(*a, **k)
    assert source.copy_to(target, level="stored").ok
    assert seen == ["full"]


def test_a_mirror_is_no_target():
    source = with_days("plain", 1)
    with pytest.raises(InvalidArgumentError, match="vark sync"):
        source.copy_to(Repository.open(source.store))


def test_a_copy_of_a_copy_and_the_way_back():
    first, second, third = with_days("plain", 2), new("sealed"), new("plain")
    first.copy_to(second)
    second.copy_to(third)
    assert states(first.copy_to(third)) == ["present"] * 2
    assert states(third.copy_to(first)) == ["present"] * 2
    check(third, second)
    assert first.verify().ok


def test_two_copies_beside_each_other_leave_one():
    source, target = with_days("plain", 1), new("plain")
    beside = Repository.open(target.store)
    engine = beside._context.engine
    whole = engine.copy

    def interrupted(*arguments, **options):
        engine.copy = whole
        source.copy_to(target)
        return whole(*arguments, **options)

    engine.copy = interrupted
    assert states(source.copy_to(beside)) == ["copied"]
    [snapshot] = target.snapshots()
    assert len(target.catalog().commits) == 2
    target.gc(confirm=True, trash=0, grace=0)
    assert len(target.store.list(ARCHIVES)) == 1
    check(target, source)
    assert target.snapshot().id == snapshot.id


def test_a_collection_in_the_way_makes_copies_stand_alone():
    source, target = with_days("plain", 2), new("plain")
    first, second = source.snapshots()
    source.copy_to(target, first)
    target.forget(first.id, confirm=True, min_redundancy=0)
    other = Repository.open(target.store)
    create = target.store.create

    def collected(name, data):
        if name.startswith(COMMITS) and second.id.encode() in data:
            target.store.create = create
            other.gc(confirm=True, trash=0, grace=3600, min_redundancy=0)
        create(name, data)

    # The trash is no base: so the copy of the second is made while the first is not forgotten yet.
    other.undelete(first.id)
    target = Repository.open(target.store)
    forget = lambda: other.forget(first.id, confirm=True, min_redundancy=0)  # noqa: E731
    engine, whole = target._context.engine, target._context.engine.copy

    def forgets(*arguments, **options):
        engine.copy = whole
        forget()
        return whole(*arguments, **options)

    engine.copy, target.store.create = forgets, collected
    report = source.copy_to(target)
    assert states(report) == ["present", "copied"]
    assert report.snapshots[1].archives[0].base is None
    assert "collection" in report.snapshots[1].archives[0].reason
    assert (target.load(second.id) == day(1)).all()
    assert target.verify().ok


def test_the_reader_of_the_specification_restores_a_copy(tmp_path):
    source, target = with_days("plain", 2), new("sealed", tmp_path / "b")
    source.copy_to(target)
    snapshot = target.snapshots()[-1]
    read = reader.Repository(tmp_path / "b", [OWN])
    assert [commit.copy_of for commit in read.commits] == [f"{source.id}/{item.commit}" for item in source.snapshots()]
    read.restore(snapshot.id, tmp_path / "out.npy", reader.Archive)
    assert (np.load(tmp_path / "out.npy") == day(1)).all()


def test_the_command_line(tmp_path):
    with_days("sealed", 2, tmp_path / "a")
    new("other", tmp_path / "b")
    (tmp_path / "own").write_text(OWN)
    (tmp_path / "other").write_text(OTHER)
    places = [tmp_path / "a", tmp_path / "b", "--identity", tmp_path / "other", "--trust"]
    refused = run("copy", *places)
    assert refused.returncode == 12
    keys = [*places, "--from-identity", tmp_path / "own"]
    made = run("copy", *keys, "--json")
    assert made.returncode == 0, made.stderr
    said = lines(made)
    assert [item["state"] for item in said if item["message_type"] == "item"] == ["copied"] * 2
    assert said[-1]["message_type"] == "summary"
    assert said[-1]["ok"] is True
    again = run("copy", *keys)
    assert again.returncode == 0
    assert b"0 of 2 snapshots copied, 2 were there" in again.stderr
    shown = run("show", "-r", tmp_path / "b", "--identity", tmp_path / "other", "--json")
    assert (
        json.loads(shown.stdout.splitlines()[-1])["copy_of"]["repository"]
        == Repository.open(tmp_path / "a", identities=[OWN]).id
    )


def test_keys_of_the_one_are_not_tried_on_the_other(tmp_path):
    """An option and the one with `from-` are two: here one repository is encrypted, and the other is not."""
    sealed, plain = with_days("sealed", 1, tmp_path / "a"), new("plain", tmp_path / "b")
    with_days("plain", 1, tmp_path / "c")
    (tmp_path / "own").write_text(OWN)
    out = run("copy", tmp_path / "a", tmp_path / "b", "--from-identity", tmp_path / "own", "--encryption", "none")
    assert out.returncode == 0, out.stderr
    assert (plain.load() == day(0)).all()
    identity = {**os.environ, "VARK_IDENTITY": str(tmp_path / "own")}
    back = run("copy", tmp_path / "c", tmp_path / "a", "--from-encryption", "none", "--trust", env=identity)
    assert back.returncode == 0, back.stderr
    assert len(sealed.snapshots()) == 2
    other = run("copy", tmp_path / "c", tmp_path / "a", "--from-encryption", "none", "--encryption", "none")
    assert other.returncode == 12
