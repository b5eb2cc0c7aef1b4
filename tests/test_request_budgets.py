"""How many requests things cost in a remote store: what a bill and a slow line are made of."""

import threading

import numpy as np
import obstore.store
import pytest

from store_servers import SERVERS, plain_repository
from vark._core import new_identity
from vark.repository import Repository
from vark.repository.base import volume_sizes, volume_sizes_of
from vark.repository.bundles import write_bundle
from vark.repository.layout import MARKS, is_bundle
from vark.stores import RemoteStore, open_store
from vark.stores.ranges import RangeReader, SpanCache
from vark.stores.remote import CACHE_BYTES


def in_memory(library_store, **options):
    return RemoteStore(library_store, place="test:", **options)


def cost(store, call):
    before = store.counts.total()
    call()
    return store.counts.total() - before


@pytest.fixture(scope="module")
def hundred():
    """A hundred snapshots, each a delta of the one before but for full ones, as days make them."""
    bucket = obstore.store.MemoryStore()
    repository = plain_repository(in_memory(bucket))
    rows = np.random.default_rng(1).random((4000, 64), dtype=np.float32)
    for day in range(100):
        rows[day::100] += 1
        repository.backup(rows, name="products", tags={"day": str(day)})
    return bucket, rows


def test_listing_a_hundred_snapshots(hundred):
    bucket, _ = hundred
    store = in_memory(bucket)
    found = []
    spent = cost(store, lambda: found.extend(Repository.open(store).snapshots()))
    assert [item.tags["day"] for item in found] == [str(day) for day in range(100)]
    assert spent.put_class + spent.get_class <= 5, spent


def test_listing_a_hundred_encrypted_snapshots(tmp_path, monkeypatch):
    monkeypatch.setenv("VARK_STATE", str(tmp_path))
    bucket = obstore.store.MemoryStore()
    secret, recipient = new_identity()
    repository = Repository.create(in_memory(bucket), recipients=[recipient])
    rows = np.random.default_rng(1).random((100, 8), dtype=np.float32)
    for _ in range(100):
        repository.backup(rows, name="products", full=True)
    store = in_memory(bucket)
    found = []
    spent = cost(store, lambda: found.extend(Repository.open(store, identities=[secret.encode()]).snapshots()))
    assert len(found) == 100
    assert spent.put_class + spent.get_class <= 8, spent


def test_an_incremental_backup_at_the_end_of_a_chain(hundred):
    bucket, rows = hundred
    store = in_memory(bucket)
    repository = Repository.open(store)
    changed = rows.copy()
    changed[7::100] += 1
    reports = []
    spent = cost(store, lambda: reports.append(repository.backup(changed, name="products")))
    assert reports[0].archives[0].base is not None
    assert len(repository.snapshot().closure) > 4
    assert spent.put_class <= 20, spent


def test_a_row_at_the_end_of_a_chain(hundred):
    bucket, rows = hundred
    store = in_memory(bucket)
    archive = Repository.open(store).open_archive("day=99")
    found = []
    spent = cost(store, lambda: found.append(archive["vectors"][1234]))
    assert np.array_equal(found[0], rows[1234])
    assert spent.put_class == 0
    assert spent.get_class <= 4, spent


@pytest.mark.parametrize("threads", [1, 4])
def test_a_gigabyte_in_order(threads):
    """By threads that take 512 KiB each, as a restore does, out of volumes of 32 MiB."""
    calls, lock = [], threading.Lock()
    byte_count, step = 10**9, 512 << 10
    zeros = memoryview(bytes(32 << 20))

    def read_view(name, *, offset, byte_count):
        with lock:
            calls.append(byte_count)
        return zeros[:byte_count]

    sizes = [32 << 20] * (byte_count >> 25) + [byte_count % (32 << 20)]
    volumes = [(f"v/{number}", size) for number, size in enumerate(sizes)]
    store = in_memory(obstore.store.MemoryStore())
    reader = RangeReader(read_view, name="v", volumes=volumes, spans=SpanCache(CACHE_BYTES), pool=store.pool)
    offsets = iter(range(0, byte_count, step))

    def work():
        while True:
            with lock:
                offset = next(offsets, None)
            if offset is None:
                return
            reader.read(offset, min(step, byte_count - offset))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(calls) == byte_count
    assert len(calls) <= 150


def test_bundles_are_believed_only_where_they_are_proved(hundred):
    bucket, _ = hundred
    store = in_memory(bucket)
    repository = Repository.open(store)
    repository.tag("latest", {"a": "b"})
    expected = repository.snapshots()
    newest = max(
        (entry for entry in store.list(MARKS) if is_bundle(entry.name)), key=lambda item: item.modified_unix_ms
    )
    data = store.read(newest.name)
    for wrong in (data.replace(b"products", b"PRODUCTS"), b"", b"\n\n", data[:1000], b"\xff" * 100):
        store.delete(newest.name)
        store.create(newest.name, wrong)
        assert Repository.open(in_memory(bucket)).snapshots() == expected
    store.delete(newest.name)
    store.create(newest.name, data)
    # A commit that has gone is gone, whatever a bundle says; and verification reads the objects themselves.
    commit = store.list("commits")[5].name
    kept = store.read(commit)
    store.delete(commit)
    assert len(Repository.open(in_memory(bucket)).snapshots()) == len(expected) - 1
    store.create(commit, kept[:-1] + b"!")
    assert commit in [item.object for item in Repository.open(in_memory(bucket)).verify(level="structure").damaged]
    store.delete(commit)
    store.create(commit, kept)


def test_a_collection_leaves_two_bundles(hundred):
    bucket, _ = hundred
    store = in_memory(bucket)
    repository = Repository.open(store)
    expected = {item.id for item in repository.snapshots()}
    repository.gc(confirm=True)
    assert len([entry for entry in store.list(MARKS) if is_bundle(entry.name)]) == 2
    assert {item.id for item in Repository.open(in_memory(bucket)).snapshots()} == expected


def test_bundles_hold_the_newest_where_they_are_full(monkeypatch):
    monkeypatch.setattr("vark.repository.bundles.BUNDLE_BYTES_MAX", 250)
    store = in_memory(obstore.store.MemoryStore())
    records = {f"commits/2026-{month:02}/{month:064x}.json": b"%02d" % month * 40 for month in range(1, 9)}
    write_bundle(store, records)
    (entry,) = store.list(MARKS)
    assert store.read(entry.name).split(b"\n") == [b"08" * 40, b"07" * 40, b"06" * 40]


@pytest.mark.parametrize("name", SERVERS)
def test_archives_are_listed_together(name, servers):
    server = servers.get(SERVERS[name])
    store = open_store(server.bucket(), server.options())
    ids = [f"01a216dc-13f4-7000-8000-00000000000{number}" for number in range(9)]
    for number, archive in enumerate(ids):
        for volume in range(2):
            store.create(f"archives/{archive}/{volume:06d}.vark", b"x" * (number + volume))
    chosen = [ids[2], ids[5], ids[6], ids[7]]
    found = {}
    spent = cost(store, lambda: found.update(volume_sizes_of(store, chosen)))
    assert found == {archive: volume_sizes(store, archive) for archive in chosen}
    assert found[ids[2]] == (2, 3)
    assert spent.lists == 1


@pytest.mark.parametrize("level", ["stored", "full"])
@pytest.mark.parametrize("sealed", [False, True])
def test_verification_reads_an_archive_once(level, sealed, tmp_path, monkeypatch):
    """Far larger than what is kept in memory: blocks come with the padding after them, not once more for that."""
    monkeypatch.setenv("VARK_STATE", str(tmp_path))
    bucket = obstore.store.MemoryStore()
    keys = {"passphrase": "secret"} if sealed else {"encryption": "none"}
    repository = Repository.create(in_memory(bucket), **keys)
    rows = np.random.default_rng(1).standard_normal((100_000, 128), dtype=np.float32)
    report = repository.backup(rows, name="products", cache=False)
    store = in_memory(bucket, cache_bytes=12 << 20)
    repository = Repository.open(store, **({"passphrase": "secret"} if sealed else {}))
    before = store.counts.total()
    assert repository.verify(level=level).ok
    spent = store.counts.total() - before
    assert spent.bytes_down < 1.2 * report.archive_bytes, spent
