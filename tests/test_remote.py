"""Repositories in remote stores: the way of a year in small, budgets of requests, ranges, resuming, faults, addresses."""

import json
import os
import threading
import time

import numpy as np
import obstore.store
import pytest

import vark
from faulty_library import ALL, FaultyLibrary
from store_servers import RACY, SERVERS, WebDav, plain_repository
from vark.cli import run
from vark.errors import (
    AccessDeniedError,
    DamagedError,
    InvalidArgumentError,
    NotFoundError,
    RefusedError,
    RepositoryNotFoundError,
    StoreUnavailableError,
)
from vark.repository import Repository
from vark.repository.digest import VolumeDigest, volume_digest
from vark.repository.layout import ARCHIVES
from vark.repository.uploads import UploadCutter
from vark.repository.volumes import VolumeDiffersError
from vark.stores import RemoteStore, Traffic, open_store
from vark.stores.urls import adopt_store

ROWS, DIMENSION = 20_000, 64


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("vark.stores.remote._DELAY_SECONDS", 0.001)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(5).standard_normal((ROWS, DIMENSION), dtype=np.float32)


def changed(rows, seed=6, share=0.01):
    after = rows.copy()
    after[np.random.default_rng(seed).choice(len(rows), int(len(rows) * share), replace=False)] += 1
    return after


def in_memory(**options):
    return RemoteStore(obstore.store.MemoryStore(), place="test:", **options)


@pytest.fixture(params=[*SERVERS, *RACY])
def place(request, servers):
    server = servers.get({**SERVERS, **RACY}[request.param])
    return server.bucket(), server.options(), request.param not in RACY


def test_a_repository_in_a_bucket(place, rows, tmp_path):
    address, options, is_collectable = place
    after = changed(rows)
    with pytest.raises(RepositoryNotFoundError):
        Repository.open(address, store_options=options)
    repository = plain_repository(address, store_options=options, volume_bytes="1MiB")
    first = repository.backup(rows, name="products")
    second = repository.backup(after, name="products", tags={"day": "2"})
    assert second.archives[0].base == first.archives[0].archive_id
    assert second.traffic.bytes_up < second.archive_bytes + 10_000
    repository = Repository.open(address, store_options=options)
    assert [item.tags for item in repository.snapshots()] == [{}, {"day": "2"}]
    for reference, expected in [(first.snapshot, rows), ("day=2", after)]:
        target = tmp_path / f"{reference}.npy"
        repository.restore(reference, target)
        assert np.array_equal(np.load(target), expected)
    assert repository.verify().ok
    repository.compact("latest")
    if is_collectable:
        repository.forget(first.snapshot, confirm=True)
        assert repository.gc(confirm=True, trash=0, grace=0).archives
    else:
        with pytest.raises(RefusedError, match="given twice"):
            repository.forget(first.snapshot, confirm=True)
        with pytest.raises(RefusedError, match="given twice"):
            repository.gc(confirm=True, trash=0, grace=0)
    assert Repository.open(address, store_options=options).verify().ok
    with repository.open_archive() as archive:
        assert np.array_equal(archive["vectors"][:], after)


def test_an_object_of_obstore_is_a_place(rows):
    store = obstore.store.MemoryStore()
    repository = plain_repository(store)
    assert repository.marker.volume_bytes == 32 << 20
    repository.backup(rows, name="v")
    assert len(Repository.open(store).snapshots()) == 1
    with pytest.raises(InvalidArgumentError):
        Repository.open(store, store_options={"endpoint": "http://127.0.0.1"})


def test_reading_asks_for_ranges_and_for_few(rows, tmp_path):
    store = in_memory(cache_bytes=24 << 20)
    repository = plain_repository(store, volume_bytes="2MiB")
    big = np.random.default_rng(1).standard_normal((200_000, DIMENSION), dtype=np.float32)
    repository.backup(big, name="v")
    before = store.counts.total()
    archive = repository.open_archive()
    opened = store.counts.total() - before
    assert opened.gets <= 3
    before = store.counts.total()
    assert np.array_equal(archive["vectors"][123_456], big[123_456])
    row = store.counts.total() - before
    assert row.gets <= 2
    assert row.bytes_down < 2 << 20
    before = store.counts.total()
    repository.restore("latest", tmp_path / "out.npy")
    whole = store.counts.total() - before
    assert np.array_equal(np.load(tmp_path / "out.npy"), big)
    assert whole.bytes_down < 1.2 * archive.archive_bytes
    assert whole.gets < archive.archive_bytes / (1 << 20) + 20


def test_a_row_by_id_costs_four_requests(hnswlib_index, vectors):
    store = in_memory()
    repository = plain_repository(store)
    repository.backup(hnswlib_index, name="v")
    archive = repository.open_archive()
    store.spans = None
    before = store.counts.total()
    assert np.allclose(archive.rows_by_id("vectors", [30])[0], vectors[10] / np.linalg.norm(vectors[10]), atol=1e-6)
    assert (store.counts.total() - before).get_class <= 4


def test_threads_share_what_is_on_its_way():
    store = in_memory()
    data = np.random.default_rng(1).bytes(40 << 20)
    for number in range(5):
        store.create(f"v/{number}", data[number << 23 : (number + 1) << 23])
    reader = store.open_ranges("all", [(f"v/{number}", 1 << 23) for number in range(5)])
    wrong = []

    def read(first):
        for offset in range(first, len(data) - (1 << 19), 1 << 20):
            if bytes(reader.read(offset, 1 << 19)) != data[offset : offset + (1 << 19)]:
                wrong.append(offset)

    threads = [threading.Thread(target=read, args=(first,)) for first in (0, 1 << 19, 0, 12345)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    total = store.counts.total()
    assert total.gets < 40
    assert total.bytes_down < 60 << 20
    assert store.spans.used_bytes <= store.spans.limit_bytes
    with pytest.raises(DamagedError):
        reader.read(len(data) - 1, 2)


def test_what_failed_once_is_read_again():
    library = FaultyLibrary(share=1.0, kinds=["500"], only=["get_range"])
    store = in_memory(library=library, retry_seconds=0)
    store.create("v", b"x" * 100_000)
    reader = store.open_ranges("v", [("v", 100_000)])
    with pytest.raises(StoreUnavailableError):
        reader.read(0, 10)
    library.share = 0
    assert bytes(reader.read(0, 10)) == b"x" * 10


def test_volume_digests_are_the_same_either_way():
    for byte_count in (0, 1, 1 << 20, (1 << 20) + 1, 3_000_000):
        data = np.random.default_rng(1).bytes(byte_count)
        digest = VolumeDigest()
        digest.update(data)
        assert volume_digest(memoryview(data)) == digest.hex()


def upload(store, data, archive_id="01a216dc-13f4-7000-8000-000000000000"):
    reading, writing = os.pipe()
    thread = threading.Thread(target=lambda: (os.write(writing, data), os.close(writing)))
    thread.start()
    cutter = UploadCutter(store, archive_id, 1 << 20)
    try:
        cutter.drain(reading)
        return cutter.finish(), cutter.kept_count
    finally:
        cutter.close()
        os.close(reading)
        thread.join()


@pytest.mark.parametrize("has_md5", [True, False])
def test_volumes_that_are_there_are_kept(has_md5, servers):
    """By their ETag where that is an MD5, without reading them; else by reading them."""
    server = servers.get(SERVERS["moto"])
    store = open_store(server.bucket(), server.options()) if has_md5 else in_memory()
    data = np.random.default_rng(1).bytes((3 << 20) + 5)
    volumes, kept = upload(store, data)
    assert volumes[0] == (1 << 20, 1 << 20, 1 << 20, 5)
    assert kept == 0
    store.delete(f"{ARCHIVES}/01a216dc-13f4-7000-8000-000000000000/000001.vark")
    before = store.counts.total()
    assert upload(store, data) == (volumes, 3)
    cost = store.counts.total() - before
    assert (cost.puts, cost.bytes_up) == (1, 1 << 20)
    assert cost.bytes_down == (0 if has_md5 else (2 << 20) + 5)
    with pytest.raises(VolumeDiffersError):
        upload(store, data[:-1])
    with pytest.raises(VolumeDiffersError):
        upload(store, data[: 1 << 20])


def test_volumes_grow_so_that_a_commit_can_name_them(monkeypatch):
    monkeypatch.setattr("vark.repository.uploads.GROWS_EVERY", 3)
    monkeypatch.setattr("vark.repository.uploads.DIGESTS_MAX", 9)
    data = np.random.default_rng(1).bytes(24 << 20)
    store = in_memory()
    (sizes, digests), _ = upload(store, data)
    assert [size >> 20 for size in sizes] == [1, 1, 1, 2, 2, 2, 4, 4, 4, 3]
    assert digests == ()
    names = [entry.name for entry in store.list(ARCHIVES)]
    assert b"".join(store.read(name) for name in names) == data
    assert upload(store, data)[1] == 10
    assert len(upload(in_memory(), data[: 20 << 20])[0][1]) == 9


@pytest.mark.parametrize("kind", ALL)
def test_every_fault_of_a_network(kind, rows):
    """A third of all requests fail, before they arrive or after they were done: nothing is lost, nothing wrong."""
    library = FaultyLibrary(share=0.33, kinds=[kind], seed=ALL.index(kind))
    store = in_memory(library=library)
    repository = plain_repository(store, volume_bytes="1MiB")
    after = changed(rows)
    reports = [repository.backup(source, name="v") for source in (rows, after)]
    assert {name for name, _ in library.failed} >= {"put", "get_range", "list"}
    library.share = 0
    assert repository.verify().ok
    assert {item.id for item in repository.snapshots()} == {report.snapshot for report in reports}
    with repository.open_archive() as archive:
        assert np.array_equal(archive["vectors"][:], after)


def test_a_store_that_stays_away_is_an_error_that_says_so(rows):
    library = FaultyLibrary(share=0)
    store = in_memory(library=library, retry_seconds=0.01)
    repository = plain_repository(store, volume_bytes="1MiB")
    repository.backup(rows, name="v")
    archive = repository.open_archive()
    library.share, library.kinds = 1.0, ["refused"]
    with pytest.raises(StoreUnavailableError) as caught:
        repository.backup(changed(rows), name="v")
    assert caught.value.code == "unavailable"
    with pytest.raises(StoreUnavailableError):  # through the engine
        archive["vectors"][:]
    library.share = 0
    assert np.array_equal(archive["vectors"][:], rows)
    assert repository.verify().ok


def test_a_conflict_is_no_proof_that_a_name_is_taken():
    library = FaultyLibrary(share=1.0, kinds=["412"], only=["put"])
    store = in_memory(library=library, retry_seconds=0.05)
    with pytest.raises(StoreUnavailableError, match="exists, and that it does not"):
        store.create("a", b"1")
    library.share = 0
    store.create("a", b"1")


def test_fewer_requests_run_when_the_store_asks_for_it():
    library = FaultyLibrary(share=1.0, kinds=["429"], only=["put"])
    store = in_memory(library=library, retry_seconds=0.02)
    with pytest.raises(StoreUnavailableError):
        store.create("a", b"1")
    assert store.lanes.width == 1
    library.share = 0
    for number in range(40):
        store.create(f"b{number}", b"")
    assert store.lanes.width == 3


def test_errors_tell_what_to_do_and_no_secret(servers):
    server = servers.get(SERVERS["moto"])
    with pytest.raises(NotFoundError, match="bucket"):
        open_store("s3://not-there/x", server.options()).create("a", b"")
    with pytest.raises(InvalidArgumentError, match="no user, password") as caught:
        open_store("s3://AKIA:secret@bucket/x")
    assert "secret" not in str(caught.value)
    for wrong in ("s3:///x", "file://host/x", "memory://x?y"):
        with pytest.raises(InvalidArgumentError):
            open_store(wrong)
    with pytest.raises(InvalidArgumentError):
        open_store("s3://bucket/x", {"no_such_option": 1})


def test_a_wrong_secret_is_refused(servers):
    server = servers.get(SERVERS["seaweedfs"])
    store = open_store(server.bucket(), {**server.options(), "secret_access_key": "wrong"})
    with pytest.raises(AccessDeniedError):
        store.create("a", b"1")


def test_repositories_and_archives_by_address(servers, rows, tmp_path, monkeypatch, capsys):
    """The command line: credentials by the environment, ranges of a single archive."""
    server = servers.get(SERVERS["moto"])
    address, options = server.bucket(), server.options()
    for key, option in [
        ("AWS_ENDPOINT_URL", "endpoint"),
        ("AWS_ACCESS_KEY_ID", "access_key_id"),
        ("AWS_SECRET_ACCESS_KEY", "secret_access_key"),
        ("AWS_REGION", "region"),
    ]:
        monkeypatch.setenv(key, options[option])
    np.save(tmp_path / "rows.npy", rows)
    assert run(["init", address, "--encryption", "none"]) == 0
    monkeypatch.setenv("VARK_REPOSITORY", address)
    assert run(["backup", str(tmp_path / "rows.npy"), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    traffic = next(line for line in lines if line["message_type"] == "traffic")
    assert traffic["bytes_up"] > rows.nbytes / 2
    assert run(["snapshots"]) == 0
    assert "requests: " in capsys.readouterr().err
    assert run(["restore", "latest", str(tmp_path / "out.npy")]) == 0
    assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "rows.npy").read_bytes()
    vark.write_archive(rows, tmp_path / "x.vark")
    open_store(address, options).create("single.vark", (tmp_path / "x.vark").read_bytes())
    assert run(["inspect", f"{address}/single.vark"]) == 0
    assert run(["verify", f"{address}/single.vark"]) == 0
    with vark.open_archive(f"{address}/single.vark") as archive:
        assert np.array_equal(archive["vectors"][17], rows[17])
    assert run(["inspect", f"{address}/no.vark"]) == 2


def test_a_web_server_is_read_only(servers, rows, tmp_path):
    server = servers.get(WebDav)
    folder = server.folder / "data" / "shelf"
    plain_repository(folder).backup(rows, name="v")
    repository = Repository.open(f"http://127.0.0.1:{server.port}/shelf")
    with repository.open_archive() as archive:
        assert np.array_equal(archive["vectors"][4711], rows[4711])
    with pytest.raises(InvalidArgumentError, match="only read from"):
        repository.tag("latest", {"a": "b"})


def test_the_clock_is_the_stores():
    store = in_memory()
    assert store.clock_unix_ms() is None
    store.create("a", b"")
    assert store.clock_unix_ms() is not None
    assert store._clock_offset_ms == 0
    store._learn_clock("a", store._last_created[1] - 3_600_000)  # as if this machine were an hour behind
    ahead = store.clock_unix_ms() - time.time_ns() // 1_000_000
    assert abs(store._clock_offset_ms - 3_600_000) < 2000
    assert abs(ahead - 3_600_000) < 10_000


def test_traffic_is_a_difference():
    assert Traffic(puts=3, lists=1) - Traffic(puts=1) == Traffic(puts=2, lists=1)
    assert Traffic(puts=3, lists=1, gets=2, heads=5).put_class == 4


def test_a_store_of_obstore_keeps_its_place_in_messages():
    store = adopt_store(obstore.store.S3Store("bucket", prefix="a/b", region="x", skip_signature=True))
    assert "bucket/a/b" in store.root
