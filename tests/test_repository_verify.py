"""Verification of repositories: every damage is named, and nothing else; the ledger remembers what was read when."""

import dataclasses
import os
import random
import threading
import time

import numpy as np
import pytest

from repositories import fake_repository, now_ms, put_archive
from vark.cli import run
from vark.errors import DamagedError, InvalidArgumentError, StorageError, VarkError
from vark.repository import Repository
from vark.repository.engine import Engine
from vark.repository.envelope import Envelope
from vark.repository.layout import MARKER
from vark.repository.ledger import LedgerEntry, read_ledger, write_ledger
from vark.repository.records import Marker
from vark.stores import MemoryStore
from vark.types import Damage

CASES = int(os.environ.get("VARK_DAMAGE_CASES", "200"))  # 1000: a minute
VOLUME_BYTES = 20_000


def filled():
    """A repository with something of everything: shards, marks, collections, reports."""
    store = MemoryStore()
    repository = Repository.create(store, encryption="none")
    generator = np.random.default_rng(3)
    reports = [
        repository.backup(generator.standard_normal((300 * (number + 1), 16), np.float32), name="n", full=True)
        for number in range(3)
    ]
    repository.backup_shards({"a": np.arange(2000), "b": np.arange(3000)}, name="shards", documents={"d": "text"})
    rows = generator.standard_normal((2000, 32), np.float32)
    for number in range(3):
        assert (repository.backup(rows, name="chain").archives[0].base is None) == (number == 0)
        rows[number::50] += 1
    repository.tag(reports[1].snapshot, {"k": "v"})
    repository.hold(reports[2].snapshot)
    for _ in range(2):
        put_archive(store)
        repository.gc(confirm=True, grace=0)
    repository.verify()
    return repository


@pytest.fixture(scope="module")
def whole():
    return filled()


@pytest.fixture
def damageable(whole):
    """The same repository, to be damaged: a copy of its store."""
    store = MemoryStore()
    store._objects = dict(whole.store._objects)
    return store


def spoil(random_, store, snapshots):
    """Damage some places; return the objects whose damage can be known."""
    before = dict(store._objects)
    names = [name for name in before if not name.startswith("sessions/")]
    for _ in range(random_.choice([1, 1, 2, 5, 50])):
        name = random_.choice(names)
        if name not in store._objects:
            continue
        data = bytearray(store._objects[name][0])
        kind = random_.randrange(10)
        # That a commit, a mark, a list or a report was there, nobody can tell for sure when it is gone.
        if kind == 0 and name.startswith(("archives/", MARKER)):
            del store._objects[name]
            continue
        if kind == 1 and len(data) > 1:
            del data[random_.randrange(1, len(data)) :]
        elif kind == 2:
            data += random_.randbytes(random_.randrange(1, 9))
        elif data:
            data[random_.randrange(len(data))] ^= random_.randrange(1, 256)
        store._objects[name] = (bytes(data), before[name][1])
    changed = {name for name, (data, _) in before.items() if store._objects.get(name, (None,))[0] != data}
    # Nor that an archive is gone which no commit names that can be read.
    readable = [item for item in snapshots if not any(item.commit in name for name in changed)]
    named = {f"archives/{ancestor.id}/000000.vark" for item in readable for ancestor in item.needed()}
    return {name for name in changed if not name.startswith("archives/") or name in store._objects or name in named}


def test_what_is_whole_is_found_whole(whole):
    report = whole.verify()
    assert report
    assert report.ok
    assert (report.damaged, report.touched, report.remaining) == ((), (), ())
    assert report.archive_count == 8
    assert report.checked_bytes == sum(entry.byte_count for entry in whole.store.list("archives"))


@pytest.mark.parametrize("block", range(5))
def test_exactly_the_damaged_objects_and_the_snapshots_that_need_them_are_named(whole, block):
    snapshots = whole.snapshots()
    for case in range(block, CASES, 5):
        store = MemoryStore()
        store._objects = dict(whole.store._objects)
        expected = spoil(random.Random(case), store, snapshots)
        report = Repository.open(store, rescue=True).verify(threads=1)
        assert {item.object for item in report.damaged} == expected, case
        known = [item for item in snapshots if not any(item.commit in name for name in expected)]
        damaged = {name.split("/")[1] for name in expected if "archives/" in name}
        own = {item.id for item in known if damaged & {archive.id for archive in item.archives}}
        needing = {item.id for item in known if damaged & {ancestor.id for ancestor in item.needed()}}
        assert own <= {item.snapshot for item in report.touched} <= needing, case
        for item in known:  # the others are as they were, whatever archives they point into
            touched = [found for found in report.touched if found.snapshot == item.id]
            if item.name == "chain" and not any(found.whole or found.rows for found in touched):
                assert (Repository.open(store, rescue=True).load(item) == whole.load(item)).all()
        missing = {item.object for item in report.damaged if item.missing}
        assert missing == {name for name in expected if name not in store._objects}


def test_the_damaged_ones_of_several_volumes_are_named():
    store = MemoryStore()
    store.create(MARKER, Marker("a" * 32, "b" * 64, 1, VOLUME_BYTES).encode())
    repository = Repository.open(store)
    repository.backup(np.random.default_rng(3).standard_normal((3000, 16), np.float32), name="n")
    names = [entry.name for entry in store.list("archives")]
    assert len(names) > 5
    whole = dict(store._objects)
    for seed in range(30):
        random_ = random.Random(seed)
        store._objects = dict(whole)
        chosen = set(random_.sample(names, random_.randrange(1, 4)))
        for name in chosen:
            data = bytearray(store._objects[name][0])
            data[random_.randrange(len(data))] ^= random_.randrange(1, 256)
            store._objects[name] = (bytes(data), 0)
        assert {item.object for item in repository.verify(level="stored").damaged} == chosen
    store._objects = {name: value for name, value in whole.items() if name != names[2]}
    (missing,) = repository.verify().damaged
    assert (missing.object, missing.missing) == (names[2], True)


def test_a_list_and_a_generation_that_are_gone_are_named(damageable):
    lists, roots = ([entry.name for entry in damageable.list(folder)] for folder in ("condemned", "root"))
    for name in (lists[0], lists[-1], roots[0], roots[2]):
        kept = damageable._objects.pop(name)
        found = Repository.open(damageable).verify().damaged
        assert [(item.object, item.missing) for item in found] == [(name, True)]
        damageable._objects[name] = kept


def test_the_rows_that_are_named_are_those_that_cannot_be_read():
    store = MemoryStore()
    repository = Repository.create(store, encryption="none")
    data = np.random.default_rng(5).standard_normal((60_000, 16), np.float32)
    report = repository.backup(data, name="n")
    name = store.list("archives")[0].name
    for seed in range(12):
        kept = store._objects[name]
        spoiled = bytearray(kept[0])
        random_ = random.Random(seed)
        for _ in range(random_.randrange(1, 4)):
            spoiled[random_.randrange(64, len(spoiled) - 20_000)] ^= 1 << random_.randrange(8)
        store._objects[name] = (bytes(spoiled), kept[1])
        (touched,) = repository.verify().touched
        assert touched.snapshot == report.snapshot
        said = np.zeros(len(data), bool)
        for _, stream, first, count in touched.rows:
            assert stream == "vectors"
            said[first : first + count] = True
        with repository.open_archive() as archive:
            for first in range(0, len(data), 2000):
                try:
                    rows = archive["vectors"][first : first + 2000]
                except VarkError:
                    assert said[first : first + 2000].any()
                else:
                    assert (rows == data[first : first + 2000]).all()
                    assert not said[first : first + 2000].any()
        assert not touched.whole
        store._objects[name] = kept


def test_levels_find_what_they_cover(damageable):
    name = damageable.list("archives")[0].name
    data = damageable.read(name)
    damageable._objects[name] = (data[:100] + bytes([data[100] ^ 1]) + data[101:], 0)
    repository = Repository.open(damageable)
    assert repository.verify(level="structure").ok
    assert not repository.verify(level="stored").ok
    damageable._objects[name] = (data + b"x", 0)
    (found,) = repository.verify(level="structure").damaged
    assert found.object == name
    with pytest.raises(InvalidArgumentError):
        repository.verify(level="quick")


def test_an_archive_in_the_place_of_another_is_damage():
    store = MemoryStore()
    repository = Repository.create(store, encryption="none")
    noise = np.random.default_rng(1).integers(0, 256, (2, 50_000), np.uint8)
    for number in range(2):
        repository.backup(noise[number], name=str(number))
    first, second = (entry.name for entry in store.list("archives"))
    store._objects[first] = store._objects[second]
    (found,) = repository.verify().damaged
    assert (found.object, "another archive" in found.detail) == (first, True)


def test_only_what_a_snapshot_needs_is_read_when_asked(whole):
    snapshot = whole.snapshots()[0]
    report = whole.verify(snapshot=snapshot)
    assert (report.archive_count, report.checked_bytes) == (1, snapshot.archive_bytes)


def deltas(repository):
    """Return the archives of all deltas, the oldest first."""
    return [item.archives[0].id for item in repository.snapshots(name="chain") if item.delta]


def volume(archive):
    return f"archives/{archive}/000000.vark"


def spoil_rows(monkeypatch, archive):
    """Let the rows of a delta be wrong, whose bytes and whose ancestors are whole; return the groups that are read."""
    original, groups = Engine.verify_rows, []

    def verify_rows(self, store, archives, sizes, **options):
        groups.append([item.id for item in archives])
        wrong = Damage("digest", "wrong", "vectors", 5, 2, None, None)
        reports = original(self, store, archives, sizes, **options)
        return tuple(
            dataclasses.replace(report, ok=False, damage=(wrong,)) if item.id == archive else report
            for item, report in zip(archives, reports, strict=True)
        )

    monkeypatch.setattr(Engine, "verify_rows", verify_rows)
    return groups


def test_deltas_are_read_as_a_restore_does(damageable, monkeypatch):
    repository = Repository.open(damageable)
    first, last = deltas(repository)
    report = repository.verify(snapshot=repository.snapshots(name="chain")[-1])
    assert (report.ok, report.archive_count) == (True, 3)
    groups = spoil_rows(monkeypatch, last)
    report = repository.verify()
    assert groups == [[first, last]]  # together: what they share is decoded once
    assert [item.object for item in report.damaged] == [volume(last)]
    assert not report.unproved
    assert read_ledger(damageable, Envelope(repository.id)).damaged() == {last}
    assert repository.verify(level="stored").ok
    assert read_ledger(damageable, Envelope(repository.id)).damaged() == {
        last
    }  # a shallower reading takes nothing back
    groups.clear()
    assert repository.verify(max_age="1h").archive_count == 3  # it, and those that may be to blame
    assert groups == [[last]]
    monkeypatch.undo()
    assert repository.verify().ok
    assert not read_ledger(damageable, Envelope(repository.id)).damaged()


def test_wrong_rows_are_put_down_to_an_ancestor_that_the_budget_left_out(damageable, monkeypatch):
    damageable._objects = {name: kept for name, kept in damageable._objects.items() if not name.startswith("reports/")}
    repository = Repository.open(damageable)
    _, last = deltas(repository)
    full = repository.snapshots(name="chain")[0].archives[0].id
    now = now_ms()
    others = {entry.name.split("/")[1] for entry in damageable.list("archives")} - {last}
    entries = [LedgerEntry(archive, level, 1, True, now) for archive in others for level in ("full", "restored")]
    write_ledger(damageable, Envelope(repository.id), entries)
    data, kept = damageable._objects[volume(full)]
    damageable._objects[volume(full)] = (data[:500] + bytes([data[500] ^ 1]) + data[501:], kept)
    report = repository.verify(budget=1)
    assert [item.object for item in report.damaged] == [volume(full)]
    assert [name for name, _ in report.unproved] == [volume(last)]
    assert read_ledger(damageable, Envelope(repository.id)).damaged() == {full}
    damageable._objects[volume(full)] = (data, kept)
    assert repository.verify().ok


def test_a_budget_that_ends_claims_nothing_of_rows_that_were_not_read(damageable):
    damageable._objects = {name: kept for name, kept in damageable._objects.items() if not name.startswith("reports/")}
    repository = Repository.open(damageable)
    for archive in deltas(repository):
        write_ledger(damageable, Envelope(repository.id), [LedgerEntry(archive, "full", 1, True, now_ms())])
    # As a run of an older version left it, or one that was killed: own bytes are read, rows are not.
    report = repository.verify(max_age="1h")
    assert set(report.recent) & set(deltas(repository)) == set()
    assert report.archive_count == 8
    assert repository.verify(max_age="1h").archive_count == 0


def test_a_backup_builds_on_nothing_that_the_ledger_calls_damaged():
    repository = fake_repository()
    first = repository.backup("one", name="n")
    archive = first.archives[0].archive_id
    write_ledger(repository.store, Envelope(repository.id), [LedgerEntry(archive, "full", 1, False, now_ms())])
    report = repository.backup("two", name="n")
    assert report.archives[0].base is None
    assert "damaged" in report.archives[0].reason


def test_an_archive_that_cannot_be_read_is_neither_damaged_nor_the_end(whole, monkeypatch, tmp_path):
    first = whole.store.list("archives")[0].name
    before = whole.store.list("reports")
    original = Engine.verify
    error = StorageError("too many open files")

    def verify(self, store, archive, sizes, **options):
        if archive.id in first:
            raise error
        return original(self, store, archive, sizes, **options)

    monkeypatch.setattr(Engine, "verify", verify)
    report = whole.verify()
    assert (report.ok, report.damaged, report.touched) == (False, (), ())
    assert report.unread == ((first, "too many open files"),)
    assert report.archive_count == 7
    assert len(whole.store.list("reports")) == len(before) + 1
    assert not read_ledger(whole.store, Envelope(whole.id)).damaged()
    error = DamagedError("not what was written")
    report = whole.verify()
    assert ([item.object for item in report.damaged], report.unread) == ([first], ())
    monkeypatch.undo()
    assert whole.verify().ok


@pytest.mark.parametrize("folder", ["commits", "marks", "root", "condemned", "reports", MARKER])
def test_a_record_that_cannot_be_read_is_not_damaged(damageable, monkeypatch, folder):
    name = max(entry.name for entry in damageable.list("") if entry.name.startswith(folder))
    original = MemoryStore.read

    def read(self, asked, **options):
        if asked == name and failing:
            raise StorageError("input/output error")
        return original(self, asked, **options)

    monkeypatch.setattr(MemoryStore, "read", read)
    failing = False
    repository = Repository.open(damageable)
    failing = True
    report = repository.verify(level="structure")
    assert (report.ok, report.damaged, report.unread) == (False, (), ((name, "input/output error"),))
    failing = False
    assert repository.verify(level="structure").ok
    data, kept = damageable._objects[name]
    damageable._objects[name] = (data[:-2] + b"?" + data[-1:], kept)
    assert [item.object for item in repository.verify(level="structure").damaged] == [name]


def test_deltas_that_cannot_be_read_are_neither_damaged_nor_proved(damageable, monkeypatch):
    damageable._objects = {name: kept for name, kept in damageable._objects.items() if not name.startswith("reports/")}
    repository = Repository.open(damageable)
    _, last = deltas(repository)
    original = Engine.verify_rows

    def verify_rows(self, store, archives, sizes, **options):
        if last in {item.id for item in archives}:
            raise StorageError("input/output error")
        return original(self, store, archives, sizes, **options)

    monkeypatch.setattr(Engine, "verify_rows", verify_rows)
    report = repository.verify()
    assert (report.ok, report.damaged, report.unread) == (False, (), ((volume(last), "input/output error"),))
    assert repository.verify(max_age="1h").unread == report.unread
    monkeypatch.undo()
    report = repository.verify(max_age="1h")
    assert (report.ok, report.archive_count) == (True, 1)


def test_a_delta_whose_base_is_damaged_is_not_proved(damageable):
    repository = Repository.open(damageable)
    first = repository.snapshots(name="chain")[0].archives[0].id
    data, kept = damageable._objects[volume(first)]
    damageable._objects[volume(first)] = (data[:500] + bytes([data[500] ^ 1]) + data[501:], kept)
    report = repository.verify()
    assert [item.object for item in report.damaged] == [volume(first)]
    assert [name for name, _ in report.unproved] == [volume(archive) for archive in deltas(repository)]


def test_damage_is_named_by_its_place_where_volumes_cannot_be_read_again(monkeypatch):
    store = MemoryStore()
    store.create(MARKER, Marker("a" * 32, "b" * 64, 1, VOLUME_BYTES).encode())
    repository = Repository.open(store)
    repository.backup(np.random.default_rng(3).standard_normal((3000, 16), np.float32), name="n")
    name = store.list("archives")[1].name
    data = bytearray(store._objects[name][0])
    data[VOLUME_BYTES // 2] ^= 1
    store._objects[name] = (bytes(data), 0)
    original = MemoryStore.read

    def read(self, name, *, offset=0, byte_count=None, **options):
        if verified.is_set() and name.startswith("archives"):
            raise StorageError("input/output error")
        return original(self, name, offset=offset, byte_count=byte_count, **options)

    verified = threading.Event()
    verify = Engine.verify

    def verify_then_fail(self, *arguments, **options):
        report = verify(self, *arguments, **options)
        verified.set()
        return report

    monkeypatch.setattr(MemoryStore, "read", read)
    monkeypatch.setattr(Engine, "verify", verify_then_fail)
    report = repository.verify()
    assert len(report.damaged) == 1
    assert report.damaged[0].damage


@pytest.mark.parametrize(("fault", "code"), [(StorageError, 1), (DamagedError, 4)])
def test_what_could_not_be_read_has_its_own_exit_code(tmp_path, monkeypatch, capsys, fault, code):
    Repository.create(tmp_path / "r", encryption="none").backup(np.arange(1000), name="n")

    def verify(*_, **__):
        raise fault("too many open files")

    monkeypatch.setattr(Engine, "verify", verify)
    assert run(["verify", "-r", str(tmp_path / "r")]) == code
    assert "too many open files" in capsys.readouterr().out


# The ledger.


def test_a_budget_reads_what_was_not_read_for_the_longest_time(damageable):
    store = damageable
    store._objects = {name: value for name, value in store._objects.items() if not name.startswith("reports/")}
    repository = Repository.open(store)
    read = []
    for _ in range(8):
        report = repository.verify(budget=1)
        assert (report.archive_count, len(report.remaining)) == (1, 7)
        read += {entry.name.split("/")[1] for entry in store.list("archives")} - set(report.remaining)
        time.sleep(0.002)  # the ledger counts milliseconds
    assert len(set(read)) == 8
    assert report.oldest_unverified_unix_ms > 0
    assert repository.verify(budget="1GiB").archive_count == 8
    assert repository.verify(budget="10m").archive_count == 8
    for budget in ("much", -1):
        with pytest.raises(InvalidArgumentError):
            repository.verify(budget=budget)


def test_what_was_found_whole_lately_is_left_out(whole):
    report = whole.verify(max_age="1h")
    assert (report.archive_count, len(report.recent)) == (0, 8)
    assert whole.verify(max_age=0).archive_count == 8
    assert whole.verify(level="stored", max_age="1h").archive_count == 0  # full is deeper than stored


def test_a_shallow_reading_is_no_deep_one(damageable):
    store = damageable
    store._objects = {name: value for name, value in store._objects.items() if not name.startswith("reports/")}
    repository = Repository.open(store)
    repository.verify(level="stored")
    assert repository.verify(level="stored", max_age="1h").archive_count == 0
    assert repository.verify(level="full", max_age="1h").archive_count == 8


def test_damage_in_the_ledger_is_taken_back_only_by_reading():
    store = MemoryStore()
    archive = put_archive(store).id
    for entries, damaged in (
        ([("full", True)], False),
        ([("stored", False)], True),
        ([("stored", False), ("full", True)], False),
        ([("structure", False), ("structure", True)], True),
        ([("structure", False), ("stored", True)], False),
        ([("full", False), ("stored", True)], True),
        ([("full", False), ("stored", False), ("stored", True)], True),
        ([("full", False), ("full", True)], False),
        ([("restored", False), ("full", True)], True),
        ([("restored", False), ("restored", True)], False),
    ):
        store._objects = {}
        for number, (level, ok) in enumerate(entries):
            write_ledger(store, Envelope("a" * 32), [LedgerEntry(archive, level, 1, ok, number)])
            time.sleep(0.002)
        assert (archive in read_ledger(store, Envelope("a" * 32)).damaged()) == damaged
