"""Mirrors: byte for byte, a valid repository at every moment; what is damaged in one is read from another, or put right."""

import json
import os
import random
import sys
import threading

import numpy as np
import pytest

from sealed_repositories import OWN
from store_servers import Seaweed
from test_cli import lines, run
from test_copies import OTHER_KEYS, day, with_days
from vark import repair_repository, sync_repository
from vark.errors import (
    ConflictError,
    DamagedError,
    HistoryAlteredError,
    InvalidArgumentError,
    KeyNeededError,
    NotFoundError,
    RepositoryNotFoundError,
    StoreUnavailableError,
)
from vark.repository import Repository, moving
from vark.repository.digest import digest_hex
from vark.repository.fields import encode_record
from vark.repository.layout import ARCHIVES, COMMITS, KEYS, LISTS, ROOTS, list_name, root_name
from vark.stores import LocalStore, MemoryStore

SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
OF_A_PLACE = ("sessions", "reports", "doctor")


def opened(store, kind, **options):
    keys = {"identities": [OWN], "trust": True} if kind == "sealed" else {}
    return Repository.open(store, **keys, **options)


def objects(store):
    return {entry.name: store.read(entry.name) for entry in store.list("") if not entry.name.startswith(OF_A_PLACE)}


def archive_names(store):
    return [entry.name for entry in store.list(ARCHIVES)]


def damage(store, name, offset, length=1):
    """Change bytes of an object behind the store's back."""
    data = bytearray(store.read(name))
    for place in range(offset, offset + length):
        data[place] ^= 0x20
    store.replace(name, bytes(data))


@pytest.mark.parametrize("kind", ["plain", "sealed"])
@pytest.mark.parametrize("where", ["memory", "folder", "volumes"])
def test_a_mirror_is_the_same_byte_for_byte(kind, where, tmp_path):
    places = (MemoryStore(), MemoryStore()) if where == "memory" else (tmp_path / "a", tmp_path / "b")
    options = {"volume_bytes": 1 << 20} if where == "volumes" else {}
    source = with_days(kind, 3, places[0], **options)
    source.hold(source.snapshots()[0])
    target = places[1] if where == "memory" else LocalStore(places[1])
    first = sync_repository(source.store, target)
    assert first.ok
    assert first.archives_verified == 3
    assert objects(target) == objects(source.store)
    assert opened(target, kind).verify().ok
    again = sync_repository(source.store, target)
    assert (again.copied, again.object_bytes, again.archives_verified) == ({}, 0, 0)
    source.backup(day(3), name="days", cache=False)
    third = sync_repository(source.store, target)
    assert third.object_bytes < 0.1 * first.object_bytes
    assert third.copied == {"archives": 1, "commits": 1}
    assert objects(target) == objects(source.store)


class _Watched(MemoryStore):
    """Says after each object whether what is there is a repository in which every snapshot can be restored."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.looks, self.is_looking = kind, 0, False

    def create(self, name, data):
        super().create(name, data)
        self._look()

    def delete(self, name):
        super().delete(name)
        self._look()

    def _look(self):
        if self.is_looking or "vark.json" not in self._objects:
            return
        self.is_looking = True
        copy = MemoryStore()
        copy._objects.update(self._objects)
        keys = {"identities": [OWN], "trust": True, "accept_history": True} if self.kind == "sealed" else {}
        repository = Repository.open(copy, **keys)
        self.looks += 1
        assert repository.verify(level="structure").ok
        for snapshot in repository.snapshots():
            repository.open_archive(snapshot).close()
        self.is_looking = False


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_a_mirror_is_a_valid_repository_at_every_moment(kind):
    source, target = with_days(kind, 4), _Watched(kind)
    sync_repository(source.store, target)
    snapshots = source.snapshots()
    source.compact(snapshots[-1])
    source.forget([snapshots[0].id, snapshots[1].id], confirm=True)
    source.gc(confirm=True, trash=0, grace=0)
    if kind == "sealed":
        source.keys.add(recipients=OTHER_KEYS["recipients"])
    before = len(target.list(ARCHIVES))
    report = sync_repository(source.store, target)
    assert report.ok
    assert report.deleted == ()
    assert report.only_in_mirror
    assert len(target.list(ARCHIVES)) == before + 1
    there = {item.id for item in opened(target, kind, accept_history=True).snapshots()}
    assert there == {item.id for item in source.snapshots()}
    report = sync_repository(source, target, delete=True)
    assert report.deleted
    assert objects(target) == objects(source.store)
    assert target.looks > 15
    # Also a new one, whose commits name some that were collected before it was made.
    fresh = _Watched(kind)
    assert sync_repository(source.store, fresh).ok
    assert objects(fresh) == objects(source.store)


def forged(store, newest_root, freed):
    """What somebody without a key writes to a storage: a collection that has freed everything."""
    lists = [json.loads(store.read(entry.name)) for entry in store.list(LISTS)]
    record = next(item for item in lists if item["kind"] == "sweep")
    record["archives"] = [{"bytes": 1000, "id": archive} for archive in sorted(freed)]
    data = encode_record(record)
    store.create(list_name(digest_hex(data)), data)
    root = json.loads(store.read(newest_root))
    root["previous"] = digest_hex(store.read(newest_root))
    root["generation"] += 1
    root["sweeps"] = sorted([*root["sweeps"], digest_hex(data)])
    del root["digest"]
    root["digest"] = digest_hex(encode_record(root))
    store.create(root_name(root["generation"]), encode_record(root))


def test_a_collection_that_was_forged_without_a_key_empties_no_mirror():
    source, target = with_days("sealed", 3), MemoryStore()
    source.forget(source.backup(day(5), name="other", full=True, cache=False).snapshot, confirm=True, min_redundancy=0)
    source.gc(confirm=True, trash=0, grace=0, min_redundancy=0)
    sync_repository(source.store, target)
    with pytest.raises(KeyNeededError, match="its collections have freed"):
        sync_repository(source.store, target, delete=True)
    assert sync_repository(source, target, delete=True).ok
    before = objects(target)
    forged(source.store, source.store.list(ROOTS)[-1].name, {name.split("/")[1] for name in archive_names(target)})
    for folder in (ARCHIVES, COMMITS, KEYS):
        for entry in source.store.list(folder):
            source.store.delete(entry.name)
    with pytest.raises((DamagedError, HistoryAlteredError)):
        sync_repository(source, target, delete=True)
    assert before.items() <= objects(target).items()


def test_nothing_is_deleted_that_the_source_has_not_freed():
    source, target = with_days("plain", 2), MemoryStore()
    sync_repository(source.store, target)
    lost = archive_names(source.store)[0]
    kept = source.store.read(lost)
    source.store.delete(lost)
    commit = source.store.list(COMMITS)[0].name
    data = source.store.read(commit)
    source.store.delete(commit)
    report = sync_repository(source.store, target, delete=True)
    assert report.deleted == ()
    assert set(report.only_in_mirror) == {lost, commit}
    assert target.read(lost) == kept
    # And the way back: what the source has lost comes from the mirror.
    assert repair_repository(source.store, [target], confirm=True).ok
    assert source.store.read(commit) == data
    assert source.verify().ok


def test_another_repository_and_other_things_are_no_target():
    source, other = with_days("plain", 1), with_days("plain", 1)
    with pytest.raises(InvalidArgumentError, match="vark copy"):
        sync_repository(source.store, other.store)
    full = MemoryStore()
    full.create("notes.txt", b"mine")
    with pytest.raises(InvalidArgumentError, match="neither empty nor a mirror"):
        sync_repository(source.store, full)
    with pytest.raises(RepositoryNotFoundError):
        sync_repository(MemoryStore(), full)
    mirror = MemoryStore()
    sync_repository(source.store, mirror)
    for repository in (source, Repository.open(mirror)):
        collect_one(repository)
    with pytest.raises(ConflictError, match="has another: a collection ran in the mirror"):
        sync_repository(source.store, mirror)


def collect_one(repository):
    """Add a snapshot and free it: roots come of it."""
    made = repository.backup(day(4), name="x", cache=False)
    repository.forget(made.snapshot, confirm=True, min_redundancy=0)
    repository.gc(confirm=True, trash=0, grace=0, min_redundancy=0)
    assert repository.store.list(ROOTS)


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_a_mirror_that_was_collected_by_itself_is_refused(kind):
    source, mirror = with_days(kind, 1), MemoryStore()
    sync_repository(source.store, mirror)
    source.backup(day(1), name="days", cache=False)
    collect_one(opened(mirror, kind, accept_history=True))
    before = objects(mirror)
    with pytest.raises(ConflictError, match="the source not: it has lost it, or a collection ran in the mirror"):
        sync_repository(source.store, mirror)
    assert objects(mirror) == before
    # So is one of a source that has lost what it did: its next collection would take the same number.
    collected, other = with_days(kind, 1), MemoryStore()
    collect_one(collected)
    sync_repository(collected.store, other)
    kept = collected.store.read(name := collected.store.list(ROOTS)[-1].name)
    collected.store.delete(name)
    with pytest.raises(ConflictError, match="lost it"):
        sync_repository(collected.store, other)
    # What is damaged is no sign of a collection.
    collected.store.create(name, kept)
    damage(other, name, 30)
    with pytest.raises(DamagedError, match="of the mirror"):
        sync_repository(collected.store, other)
    damage(other, name, 30)
    damage(collected.store, name, 30)
    with pytest.raises(DamagedError, match="of the source"):
        sync_repository(collected.store, other)


def test_another_sync_that_brings_a_root_over_meanwhile_is_no_conflict():
    source, mirror = with_days("plain", 2), MemoryStore()
    sync_repository(source.store, mirror)
    listed = mirror.list

    def listing(prefix):
        mirror.list = listed
        collect_one(source)
        sync_repository(source.store, mirror)
        return listed(prefix)

    mirror.list = listing
    assert sync_repository(source.store, mirror).ok
    assert sync_repository(source.store, mirror).ok
    assert objects(mirror) == objects(source.store)


def test_what_is_damaged_in_the_source_stays_out_with_what_needs_it():
    source, target = with_days("plain", 2), MemoryStore()
    source.backup(day(9), name="other", cache=False)
    first = source.snapshots()[0].archives[0].id
    damage(source.store, f"archives/{first}/000000.vark", 5000)
    report = sync_repository(source.store, target)
    assert not report.ok
    assert [name for name, _ in report.problems] == [f"archives/{first}"]
    assert len(report.withheld) == 2
    mirror = Repository.open(target)
    assert [item.name for item in mirror.snapshots()] == ["other"]
    assert mirror.verify().ok
    damage(source.store, f"archives/{first}/000000.vark", 5000)
    assert sync_repository(source.store, target).ok
    assert objects(target) == objects(source.store)


def test_an_interrupted_sync_goes_on():
    source = with_days("sealed", 3, volume_bytes=1 << 20)
    target, moved = MemoryStore(), 0
    count = len(objects(source.store))

    class _StoppedError(BaseException):
        pass

    for left in range(0, count + 8, 3):
        create, done = target.create, []

        def stopping(name, data, left=left, done=done, create=create):
            if len(done) == left:
                raise _StoppedError
            done.append(name)
            create(name, data)

        target.create = stopping
        try:
            moved += sync_repository(source.store, target).object_bytes
        except _StoppedError:
            pass
        target.create = create
        if "vark.json" in target._objects:
            assert opened(target, "sealed", accept_history=True).verify(level="structure").ok
    assert objects(target) == objects(source.store)


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_restoring_from_mirrors_that_are_damaged_at_disjoint_places(kind, tmp_path):
    """Random damage in each, no two at one place: the same rows, and a list of what came from where."""
    moments = random.Random(f"{SEED}.{kind}")
    source = with_days(kind, 3, tmp_path / "a", volume_bytes=1 << 20)
    stores = [source.store, LocalStore(tmp_path / "b"), LocalStore(tmp_path / "c")]
    for store in stores[1:]:
        sync_repository(source.store, store)
    used = set()
    for name in archive_names(source.store):
        size = source.store.byte_count(name)
        for _ in range(6):
            # Places in pages: a block, an index block, the tail of each are in one mirror alone, at most.
            page = moments.randrange(max(size // 65_536, 1))
            if (name, page) not in used and all((name, other) not in used for other in range(page - 12, page + 12)):
                used.add((name, page))
                damage(moments.choice(stores), name, min(page * 65_536 + moments.randrange(60_000), size - 1))
    gone = moments.choice(archive_names(source.store))
    for store in stores[:1]:
        store.delete(gone)
    places = [store.root for store in stores]
    mirrored = opened(places[0], kind, mirrors=places[1:])
    for number, snapshot in enumerate(mirrored.snapshots()):
        mirrored.restore(snapshot, tmp_path / f"{number}.npy")
        assert (np.load(tmp_path / f"{number}.npy") == day(number)).all(), SEED
    assert mirrored.elsewhere
    assert all(item.why and item.mirror in places for item in mirrored.elsewhere)


def test_damage_at_the_same_place_everywhere_is_an_error(tmp_path):
    source = with_days("plain", 1, tmp_path / "a")
    mirror = LocalStore(tmp_path / "b")
    sync_repository(source.store, mirror)
    [name] = archive_names(source.store)
    for store in (source.store, mirror):
        damage(store, name, 70_000)
    mirrored = Repository.open(tmp_path / "a", mirrors=[tmp_path / "b"])
    with pytest.raises(DamagedError) as caught:
        mirrored.load("latest")
    assert caught.value.layer == "block"
    said = run("restore", "latest", tmp_path / "x.npy", "--from", f"{tmp_path / 'a'},{tmp_path / 'b'}")
    assert said.returncode == 4
    assert not (tmp_path / "x.npy").exists()
    report = repair_repository(source.store, [mirror], confirm=True)
    assert not report.ok
    assert [place for place, _ in report.lost] == [name.rpartition("/")[0]]


def test_tables_and_records_come_from_the_other_mirror(tmp_path):
    source = with_days("sealed", 2, tmp_path / "a")
    mirror = LocalStore(tmp_path / "b")
    sync_repository(source.store, mirror)
    name = archive_names(source.store)[0]
    damage(source.store, name, source.store.byte_count(name) - 200, 40)  # the directory
    damage(mirror, archive_names(mirror)[1], mirror.byte_count(archive_names(mirror)[1]) - 64)  # the trailer
    commits = [entry.name for entry in source.store.list(COMMITS)]
    damage(source.store, commits[0], 20)
    mirror.delete(commits[1])
    source.store.delete("vark.json")
    mirrored = opened(tmp_path / "a", "sealed", mirrors=[tmp_path / "b"])
    assert [(mirrored.load(item) == day(number)).all() for number, item in enumerate(mirrored.snapshots())] == [
        True
    ] * 2
    with pytest.raises(InvalidArgumentError, match="only read from"):
        mirrored.backup(day(1), name="x")
    with pytest.raises(InvalidArgumentError, match="no mirrors of one repository"):
        Repository.open(mirror, mirrors=[with_days("plain", 1).store])


class _Silent(MemoryStore):
    """Answers once, and then never again."""

    asked = 0

    def read(self, name, *, offset=0, byte_count=None):
        self.asked += 1
        if self.asked > 1:
            raise StoreUnavailableError(f"{name}: no answer in two minutes")
        return super().read(name, offset=offset, byte_count=byte_count)


def test_a_mirror_that_does_not_answer_is_asked_once():
    source, silent, mirror = with_days("plain", 2), _Silent(), MemoryStore()
    sync_repository(source.store, mirror)
    silent._objects.update(mirror._objects)
    mirrored = Repository.open(silent, mirrors=[source.store])
    assert (mirrored.load("latest") == day(1)).all()
    assert silent.asked == 2
    assert {item.mirror for item in mirrored.elsewhere} == {"MemoryStore"}


def test_the_commands(tmp_path):
    source = with_days("plain", 2, tmp_path / "a")
    made = run("sync", tmp_path / "a", tmp_path / "b", "--json")
    assert made.returncode == 0, made.stderr
    assert lines(made)[-1]["copied"] == {"archives": 2, "commits": 2, "vark.json": 1}
    assert b"nothing new" in run("sync", tmp_path / "a", tmp_path / "b").stderr
    name = archive_names(source.store)[0]
    before = source.store.read(name)
    damage(source.store, name, 70_000)
    read = run("restore", "latest", tmp_path / "x.npy", "--from", tmp_path / "a", "--from", tmp_path / "b", "--json")
    assert read.returncode == 0, read.stderr
    warned = [item for item in lines(read) if item["message_type"] == "warning"]
    assert [item["mirror"] for item in warned] == [str(tmp_path / "b")]
    assert (np.load(tmp_path / "x.npy") == day(1)).all()
    asked = run("repair", tmp_path / "a", "--from", tmp_path / "b")
    assert asked.returncode == 4
    assert name.encode() in asked.stdout
    assert source.store.read(name) != before
    assert run("repair", tmp_path / "a", "--from", tmp_path / "b", "--confirm").returncode == 0
    assert source.store.read(name) == before
    assert run("repair", tmp_path / "a", "--from", tmp_path / "b", "--json").returncode == 0


def test_a_sync_that_is_stopped_leaves_nothing_on_its_way():
    source = with_days("plain", 12)
    kept = []

    class _StoppedError(BaseException):
        pass

    def stop(*_):
        raise _StoppedError

    try:
        sync_repository(source.store, MemoryStore(), progress=stop)
    except _StoppedError as error:
        kept.append(error)  # with all that its frames hold, as whoever shows it does
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("vark-sync")] == []
    assert kept


def test_a_file_is_copied_whole_or_refused(tmp_path, monkeypatch):
    """Inside the system where it can do that, and piece by piece; one that has become shorter is no whole one."""
    data = os.urandom(300_000)
    (tmp_path / "a").write_bytes(data)
    for platform, limit in (("linux", "SEND_BYTES"), ("other", "READ_BYTES")):
        if platform == "linux" and sys.platform != "linux":
            continue
        monkeypatch.setattr(moving.sys, "platform", platform)
        monkeypatch.setattr(moving, limit, 70_000)
        with open(tmp_path / platform, "wb") as target:
            moving._copy_file(tmp_path / "a", target.fileno(), len(data))
        assert (tmp_path / platform).read_bytes() == data
        with (
            open(tmp_path / platform, "wb") as target,
            pytest.raises(DamagedError, match="300000 bytes, expected 300001"),
        ):
            moving._copy_file(tmp_path / "a", target.fileno(), len(data) + 1)
        with open(tmp_path / platform, "wb") as target, pytest.raises(NotFoundError):
            moving._copy_file(tmp_path / "none", target.fileno(), 1)


def test_mirrors_and_copies_in_a_bucket(servers, tmp_path):
    """A folder, a bucket and a folder: synced, damaged, restored, put right, and a copy with keys of its own beside."""
    from vark.stores import open_store

    server = servers.get(Seaweed)
    bucket = open_store(server.bucket(), server.options())
    source = with_days("sealed", 3, tmp_path / "a", volume_bytes=1 << 20)
    assert sync_repository(source.store, bucket).ok
    quiet = bucket.counts.total()
    assert sync_repository(source.store, bucket).object_bytes == 0
    spent = bucket.counts.total() - quiet
    assert spent.put_class + spent.get_class <= 3, spent
    back = LocalStore(tmp_path / "c")
    assert sync_repository(bucket, back).ok
    assert objects(back) == objects(source.store)
    names = archive_names(bucket)
    damage(bucket, names[0], 70_000)
    damage(source.store, names[0], 600_000)
    mirrored = opened(bucket, "sealed", mirrors=[tmp_path / "a"])
    assert (mirrored.load(mirrored.snapshots()[0]) == day(0)).all()
    assert repair_repository(bucket, [tmp_path / "c"], confirm=True).ok
    assert repair_repository(tmp_path / "a", [bucket], confirm=True).ok
    assert objects(bucket) == objects(source.store) == objects(back)
