"""Repair: what is damaged or missing comes back from mirrors, proved before and after; nothing else is touched."""

import json
import random
import tempfile

import numpy as np
import pytest

import vark.api
from test_copies import day, new, with_days
from test_mirrors import SEED, archive_names, damage, objects, opened
from vark import repair_repository, sync_repository
from vark.errors import AccessDeniedError, RefusedError
from vark.repository import Repository
from vark.repository.engine import Places
from vark.repository.fields import encode_record
from vark.repository.layout import ARCHIVES, COMMITS, LISTS, MARKS, ROOTS, record_name
from vark.repository.proving import scrub
from vark.stores import LocalStore, MemoryStore


@pytest.mark.parametrize("kind", ["plain", "sealed"])
@pytest.mark.parametrize("where", ["memory", "folder"])
def test_repair_puts_back_what_is_damaged_and_missing(kind, where, tmp_path):
    moments = random.Random(f"{SEED}.{kind}.{where}")
    source = with_days(kind, 4, None if where == "memory" else tmp_path / "a", volume_bytes=1 << 20)
    source.hold(source.snapshots()[0])
    source.forget(source.snapshots()[1], confirm=True)
    source.gc(confirm=True, trash=0, grace=0)
    store = source.store
    mirror = MemoryStore()
    sync_repository(store, mirror)
    before = objects(store)
    names = sorted(before)
    # One copy of each key object stays: where each has another form of damage, nobody could open what is whole again.
    breakable = [name for name in names if not (name.startswith("keys/") and name.endswith("-0.json"))]
    chosen = moments.sample(breakable, len(breakable) // 2)
    for name in chosen:
        if moments.random() < 0.4:
            store.delete(name)
        else:
            damage(store, name, moments.randrange(len(before[name])))
    keys_of_one = [name for name in names if name.startswith("keys/")]
    planned = repair_repository(store, [mirror])
    assert not planned.confirmed
    assert not planned.ok
    assert objects(store) != before
    done = repair_repository(store, [mirror], confirm=True)
    assert done.ok, (SEED, done.lost)
    assert {item.object for item in done.repaired} == {item.object for item in planned.repaired}
    after = objects(store)
    # A key object is compared with nothing but its own form; each is there three times.
    differ = {name for name in names if after.get(name) != before[name]}
    assert differ <= set(keys_of_one), SEED
    assert opened(store, kind).verify().ok
    assert repair_repository(store, [mirror], confirm=True).repaired == ()


def another(source, archive_id, rows):
    """The bytes of an archive of the same id and length that agrees with itself."""
    context = source._context
    with tempfile.TemporaryFile() as file:
        how = {"base": None, "fingerprint_key": context.fingerprint_key, "options": {"compression": "none"}}
        context.engine.write(rows, file.fileno(), archive_id=archive_id, **how)
        file.seek(0)
        return file.read()


def test_repair_takes_no_archive_that_agrees_with_itself_and_is_another():
    source, mirror, whole = Repository.create(MemoryStore(), encryption="none"), MemoryStore(), MemoryStore()
    (archive,) = source.backup(day(0), name="n", compression="none", cache=False).archives
    for target in (mirror, whole):
        sync_repository(source.store, target)
    name = archive_names(source.store)[0]
    other = another(source, archive.archive_id, day(9))
    assert len(other) == len(source.store.read(name))
    mirror.replace(name, other)
    damage(source.store, name, 300)
    before = source.store.read(name)
    report = repair_repository(source.store, [mirror], confirm=True)
    assert (report.repaired, [place for place, _ in report.lost]) == ((), [f"{ARCHIVES}/{archive.archive_id}"])
    assert source.store.read(name) == before
    assert repair_repository(source.store, [mirror, whole], confirm=True).ok
    # And where it stands in the repository itself, it is damage.
    report = repair_repository(mirror, [whole], confirm=True)
    assert "another archive than its commit names" in report.repaired[0].why
    assert (opened(mirror, "plain").load() == day(0)).all()


POLYNOMIAL = 0xAD93D23594C93659  # of CRC-64/NVME, without its highest term


def forge(store, name, offset):
    """Change bytes so that no CRC-64 sees it: by the polynomial itself, whose bits come from the lowest of each byte."""
    bits = [1, *((POLYNOMIAL >> (63 - number)) & 1 for number in range(64))]
    data = bytearray(store.read(name))
    for number, bit in enumerate(bits):
        data[offset + number // 8] ^= bit << (number % 8)
    store.replace(name, bytes(data))


@pytest.mark.parametrize("kind", ["plain", "sealed"])
@pytest.mark.parametrize("volumes", ["one", "several"])
def test_a_forged_checksum_proves_nothing(kind, volumes):
    options = {"volume_bytes": 1 << 18} if volumes == "several" else {}
    source = new("plain" if kind == "plain" else "sealed", **options)
    archive = source.backup(np.tile(day(0), (2, 1)), name="n", compression="none", cache=False).archives[0]
    has_digests = bool(source.snapshots()[0].archives[0].digests)
    assert has_digests == (volumes == "several")  # of one volume only where it is cut into volumes
    mirror = MemoryStore()
    sync_repository(source.store, mirror)
    name, true = archive_names(source.store)[0], objects(source.store)
    forge(source.store, name, 70_000)
    sizes = source.snapshots()[0].archives[0].volumes
    ancestor = source.snapshots()[0].archives[0].as_ancestor()
    assert scrub(Places(source.store).volumes(archive.archive_id, sizes), ancestor, threads=1).ok
    report = repair_repository(source.store, [mirror], confirm=True)
    assert report.ok
    if kind == "sealed" and not has_digests:  # the cipher refuses it when it is read, and nobody else can tell
        assert report.repaired == ()
        return
    assert [item.object for item in report.repaired] == [name]
    assert objects(source.store) == true
    # Nor is it taken for what is damaged.
    forge(mirror, name, 70_000)
    damage(source.store, name, 100_000)
    before = source.store.read(name)
    report = repair_repository(source.store, [mirror], confirm=True)
    assert [place for place, _ in report.lost] == [f"{ARCHIVES}/{archive.archive_id}"]
    assert source.store.read(name) == before


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_a_commit_that_was_put_into_a_mirror_makes_nothing_of_the_repository_another(kind):
    source, mirror = new(kind), MemoryStore()
    (archive,) = source.backup(day(0), name="n", compression="none", cache=False).archives
    sync_repository(source.store, mirror)
    name, [entry] = archive_names(source.store)[0], source.store.list(COMMITS)
    other = another(source, archive.archive_id, day(9))
    mirror.replace(name, other)
    record = json.loads(mirror.read(entry.name))
    record["archives"][0]["root"] = vark.api.verify_archive(
        Places(mirror).volumes(archive.archive_id, [len(other)]), level="stored"
    ).root
    data = encode_record(record)
    mirror.create(record_name(COMMITS, data, record["created_unix_ms"]), data)
    before = objects(source.store)
    report = repair_repository(source.store, [mirror], confirm=True)
    assert not report.ok
    assert "own commits" in report.lost[0][1]
    assert objects(source.store) == before
    # Also where the repository has lost its own commit: what is whole stays.
    for store in (mirror, source.store):
        store.delete(entry.name)
    report = repair_repository(source.store, [mirror], confirm=True)
    assert not report.ok
    assert "is left as it is" in report.lost[0][1]
    assert source.store.read(name) == before[name]


def test_each_volume_comes_from_any_mirror_that_has_it(tmp_path):
    source = new("sealed", tmp_path / "a", volume_bytes=1 << 20)
    source.backup(np.tile(day(0), (4, 1)), name="n", compression="none", cache=False)
    stores = [LocalStore(tmp_path / name) for name in ("b", "c")]
    for store in stores:
        sync_repository(source.store, store)
    true, names = objects(source.store), archive_names(source.store)
    assert len(names) > 2
    for store, missing in zip([*stores, source.store], (names[:1], names[1:2], names[:2]), strict=True):
        for name in missing:
            store.delete(name)
    report = repair_repository(source.store, stores, confirm=True)
    assert report.ok
    assert {item.object: item.mirror for item in report.repaired} == {
        names[0]: str(tmp_path / "c"),
        names[1]: str(tmp_path / "b"),
    }
    assert objects(source.store) == true


def test_repair_puts_together_what_is_whole_nowhere(tmp_path):
    source = with_days("plain", 1, tmp_path / "a", volume_bytes=1 << 20)
    mirror = LocalStore(tmp_path / "b")
    sync_repository(source.store, mirror)
    before = objects(source.store)
    [name] = archive_names(source.store)[:1]
    damage(source.store, name, 5_000)
    damage(mirror, name, 600_000)
    report = repair_repository(source.store, [mirror], confirm=True)
    assert report.ok
    assert "put together" in report.repaired[0].mirror
    assert objects(source.store) == before


def test_a_store_that_lets_nothing_be_overwritten_says_so():
    class _Locked(MemoryStore):
        is_locked = False

        def replace(self, name, data):
            if self.is_locked:
                raise AccessDeniedError(f"{name}: locked")
            super().replace(name, data)

    source = with_days("plain", 1, _Locked())
    mirror = MemoryStore()
    sync_repository(source.store, mirror)
    damage(source.store, archive_names(source.store)[0], 3000)
    source.store.is_locked = True
    with pytest.raises(RefusedError, match="--from"):
        repair_repository(source.store, [mirror], confirm=True)


def test_another_archive_under_the_name_is_no_whole_one():
    """Whole by its own tables, but not the one that the commit names."""
    source, other, mirror = with_days("sealed", 1), with_days("sealed", 1), MemoryStore()
    sync_repository(source.store, mirror)
    [name], [foreign] = archive_names(mirror), archive_names(other.store)
    kept = source.store.read(name)
    swapped = other.store.read(foreign)
    assert len(swapped) == len(kept)
    mirror.replace(name, swapped)
    source.store.replace(name, swapped)
    report = repair_repository(source.store, [mirror], confirm=True)
    assert not report.ok
    assert not report.repaired
    assert "another archive" in sync_repository(source.store, MemoryStore()).problems[0][1]
    mirror.replace(name, kept)
    assert repair_repository(source.store, [mirror], confirm=True).ok
    assert source.store.read(name) == kept


def test_roots_that_only_a_mirror_has_free_nothing():
    source, mirror = with_days("plain", 2), MemoryStore()
    sync_repository(source.store, mirror)
    gone = Repository.open(mirror)
    gone.forget([item.id for item in gone.snapshots()], confirm=True, min_redundancy=0)
    gone.gc(confirm=True, trash=0, grace=0, min_redundancy=0)
    for entry in source.store.list(""):  # all that was swept there is there again, but for the roots
        if entry.name not in mirror._objects and not entry.name.startswith(MARKS):
            mirror.create(entry.name, source.store.read(entry.name))
    for entry in mirror.list(MARKS):
        mirror.delete(entry.name)
    before = objects(source.store)
    name = archive_names(source.store)[0]
    damage(source.store, name, 5_000)
    assert repair_repository(source.store, [mirror], confirm=True).ok
    assert objects(source.store) == before
    assert source.verify().ok


def test_what_was_collected_does_not_come_back():
    source, mirror = with_days("plain", 3), MemoryStore()
    sync_repository(source.store, mirror)
    source.forget(source.snapshots()[0], confirm=True)
    source.compact(source.snapshots()[-1])
    source.gc(confirm=True, trash=0, grace=0)
    before = objects(source.store)
    assert repair_repository(source.store, [mirror], confirm=True).repaired == ()
    assert objects(source.store) == before
    assert any(before_name.startswith((ROOTS, LISTS, MARKS)) for before_name in before)
