"""Blocks of remote archives kept on this machine: read once, proved when used, limited, shared, never needed."""

import os
import random
import threading
import time

import numpy as np
import obstore.store
import pytest

from store_servers import SERVERS, plain_repository
from vark.api import open_archive, verify_archive
from vark.archive import Archive
from vark.cli import run
from vark.errors import DamagedError, StoreUnavailableError
from vark.repository import Repository
from vark.stores import RemoteStore
from vark.stores.blocks import BLOCK_BYTES, BlockCache, KeptBlocks, limit_of
from vark.stores.ranges import RangeReader, SpanCache

ROWS = np.random.default_rng(3).standard_normal((60_000, 64), dtype=np.float32)
WANTED = [7, 1234, 30_000, 59_999]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("VARK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def bucket():
    made = obstore.store.MemoryStore()
    repository = plain_repository(RemoteStore(made, place="test:"), volume_bytes="1MiB")
    repository.backup(ROWS, name="v", cache=False)
    changed = ROWS.copy()
    changed[WANTED] += 1
    repository.backup(changed, name="v", cache=False)
    return made


def remote(bucket, **options):
    return RemoteStore(bucket, place="test:", **{"disk_bytes": 1 << 30, **options})


def files(home):
    return sorted(path for path in home.rglob("*.block"))


def read_rows(bucket, **options):
    """Rows of the newest snapshot, and the data GETs that they took: those of archives."""
    store = remote(bucket, **options)
    repository = Repository.open(store)
    archive_gets = []
    honest = store._get

    def counted(name, *arguments):
        if name.startswith("archives/"):
            archive_gets.append(name)
        return honest(name, *arguments)

    store._get = counted
    with repository.open_archive() as archive:
        rows = np.concatenate([archive["vectors"][row : row + 1] for row in WANTED])
    return rows, len(archive_gets)


def test_the_second_time_nothing_is_fetched(bucket, home):
    first, asked = read_rows(bucket)
    assert asked > 0
    assert np.array_equal(first, ROWS[WANTED] + 1)
    again, asked = read_rows(bucket)
    assert asked == 0
    assert np.array_equal(again, first)
    assert {path.parent.name for path in files(home)} == {"blocks"}
    modes = {path.stat().st_mode & 0o777 for path in files(home)} | {files(home)[0].parent.stat().st_mode & 0o777}
    assert modes == {0o600, 0o700}


def test_none_is_used_or_made_where_none_is_wanted(bucket, home, monkeypatch):
    assert read_rows(bucket, disk_bytes=0)[1] > 0
    monkeypatch.setenv("VARK_CACHE", "")
    assert read_rows(bucket)[1] > 0
    assert files(home) == []
    monkeypatch.setenv("VARK_CACHE", str(home))
    home.parent.chmod(0o755)
    home.mkdir()
    (home / "marker").touch()
    assert read_rows(bucket)[1] > 0
    assert files(home)


def test_any_damage_is_read_again(bucket, home):
    first, whole = read_rows(bucket)
    kept = {path: path.read_bytes() for path in files(home)}
    rng = random.Random(5)
    for round_ in range(30):
        for path, data in kept.items():
            wrong = bytearray(data)
            match round_ % 6:
                case 0:
                    wrong[rng.randrange(len(wrong))] ^= 1 << rng.randrange(8)
                case 1:
                    del wrong[rng.randrange(len(wrong)) :]
                case 2:
                    wrong += b"x"
                case 3:
                    wrong[32:] = bytes(len(wrong) - 32)
                case 4:
                    wrong = bytearray(kept[rng.choice(list(kept))])  # a whole block of another place
                case 5:
                    wrong = bytearray(rng.randbytes(rng.randrange(100)))
            path.write_bytes(wrong)
        found, asked = read_rows(bucket)
        assert np.array_equal(found, first)
        assert asked <= whole
        assert {path: path.read_bytes() for path in files(home)} == kept
    path = files(home)[0]
    path.unlink()
    path.mkdir()  # nor does anything else in its place do harm
    assert np.array_equal(read_rows(bucket)[0], first)
    path.rmdir()


def test_verification_looks_at_the_store(home):
    bucket = obstore.store.MemoryStore()
    repository = plain_repository(RemoteStore(bucket, place="test:"), volume_bytes="1MiB")
    report = repository.backup(ROWS, name="v", cache=False)
    store = remote(bucket)
    with Repository.open(store).open_archive() as archive:
        assert np.array_equal(archive["vectors"][:], ROWS)
        assert files(home)
        name = f"archives/{report.archives[0].archive_id}/000003.vark"
        data = bytearray(store.read(name))
        data[1000] ^= 1
        store.delete(name)
        store.create(name, bytes(data))
        assert np.array_equal(archive["vectors"][:], ROWS)
        assert not archive.verify().ok
        with pytest.raises(DamagedError):
            archive["vectors"][:]
    assert not Repository.open(remote(bucket)).verify().ok


def test_a_sealed_repository_keeps_what_the_store_has(home, monkeypatch, tmp_path):
    monkeypatch.setenv("VARK_STATE", str(tmp_path / "state"))
    bucket = obstore.store.MemoryStore()
    store = remote(bucket)
    repository = Repository.create(store, passphrase="secret")
    rows = np.full((20_000, 64), 1.2345678, np.float32)
    rows[:, 0] = np.arange(len(rows))
    repository.backup(rows, name="v", cache=False)
    with repository.open_archive() as archive:
        assert np.array_equal(archive["vectors"][5000:5001], rows[5000:5001])
    stored = b"".join(store.read(entry.name) for entry in store.list("archives"))
    assert files(home)
    for path in files(home):
        assert path.read_bytes()[32:] in stored
        assert rows[5000].tobytes()[:64] not in path.read_bytes()


def test_a_restore_of_all_fills_nothing_and_of_some_does(home, tmp_path):
    bucket = obstore.store.MemoryStore()
    for name in ("a", "b"):
        (tmp_path / "source").mkdir(exist_ok=True)
        np.save(tmp_path / "source" / f"{name}.npy", ROWS)
    repository = plain_repository(RemoteStore(bucket, place="test:"))
    repository.backup(tmp_path / "source", name="v", cache=False)
    store = remote(bucket)
    Repository.open(store).restore("latest", tmp_path / "all", sync=False)
    assert files(home) == []
    for round_ in range(2):
        store = remote(bucket)
        repository = Repository.open(store)
        before = store.counts.total()
        repository.restore("latest", tmp_path / f"some-{round_}", member=["b.npy"], sync=False)
        assert (tmp_path / f"some-{round_}").read_bytes() == (tmp_path / "source" / "b.npy").read_bytes()
        spent = store.counts.total() - before
        assert round_ == 0 or spent.bytes_down < 100_000, spent
    assert files(home)


def test_an_archive_by_address(servers, home, monkeypatch, capsys):
    server = servers.get(SERVERS["moto"])
    address, options = server.bucket(), server.options()
    for name in ("access_key_id", "secret_access_key", "region"):
        monkeypatch.setenv(f"AWS_{name.upper()}", options[name])
    monkeypatch.setenv("AWS_ENDPOINT_URL", options["endpoint"])
    import vark

    def packed(value):
        vark.write_archive(np.full((30_000, 32), value, np.float32), home.parent / "x.vark", replace=True)
        return (home.parent / "x.vark").read_bytes()

    from vark.stores import open_store, urls

    def cat(*more):
        urls._SHARED.clear()  # as in another process
        assert run(["cat", f"{address}/x.vark", "vectors", "--rows", "9", *more]) == 0
        said = capsys.readouterr()
        return said.out.split()[0], "0 PUT, 0 LIST, 1 GET" in said.err  # the question which version it is

    store = open_store(address, options)
    store.create("x.vark", packed(1.5))
    assert cat("--no-cache") == ("1.5", False)
    assert files(home) == []
    assert cat() == ("1.5", False)
    assert cat() == ("1.5", True)
    assert cat("--no-cache") == ("1.5", False)
    store.delete("x.vark")
    store.create("x.vark", packed(2.5))  # another one under the same name
    assert cat() == ("2.5", False)
    assert verify_archive(f"{address}/x.vark").ok
    with open_archive(f"{address}/x.vark") as archive:
        assert archive.is_remote
    urls._SHARED.clear()


def test_a_folder_stays_within_its_limit(tmp_path):
    limit = 40 * BLOCK_BYTES
    cache = BlockCache(tmp_path, limit)
    kept = KeptBlocks(cache, "archive", 1 << 40)
    data = memoryview(os.urandom(BLOCK_BYTES))
    for number in range(150):
        kept.put(number * BLOCK_BYTES, data)
        used = sum(path.stat().st_size for path in tmp_path.iterdir())
        assert used <= limit, number
    assert used > limit // 2
    assert kept.get(149) == data
    assert kept.get(0) is None
    # What was used lately stays.
    old = time.time() - 1000
    for path in tmp_path.iterdir():
        os.utime(path, (old, old))
    assert kept.get(149) == data
    for number in range(200, 220):
        kept.put(number * BLOCK_BYTES, data)
    assert kept.get(149) == data
    (tmp_path / ".dead.block-tmp").touch()
    os.utime(tmp_path / ".dead.block-tmp", (old - 10_000, old - 10_000))
    (tmp_path / "others.txt").write_text("stays")
    for number in range(300, 340):
        kept.put(number * BLOCK_BYTES, data)
    assert not (tmp_path / ".dead.block-tmp").exists()
    assert (tmp_path / "others.txt").exists()
    BlockCache(tmp_path, 1000).put("archive", 1, data)  # no room for one: nothing is done


def test_many_at_once(tmp_path):
    """Two caches on one folder, as two processes have them, and many threads: whatever is given is right."""
    volume = memoryview(os.urandom(20 * BLOCK_BYTES + 1234))
    caches = [BlockCache(tmp_path, 12 * BLOCK_BYTES) for _ in range(2)]
    store = RemoteStore(obstore.store.MemoryStore(), place="test:")
    failures = []

    def work(seed):
        rng = random.Random(seed)
        for _ in range(40):
            kept = KeptBlocks(caches[seed % 2], "archive", len(volume))
            reader = RangeReader(
                lambda name, *, offset, byte_count: volume[offset : offset + byte_count],
                name="v",
                volumes=[("v", len(volume))],
                spans=SpanCache(1 << 20),
                pool=store.pool,
                kept=kept,
            )
            for _ in range(5):
                start = rng.randrange(len(volume))
                count = rng.randrange(1, len(volume) - start + 1)
                if reader.read(start, count) != volume[start : start + count]:
                    failures.append((seed, start, count))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    kept = KeptBlocks(BlockCache(tmp_path / "none"), "archive", 1 << 20)
    kept.put(0, memoryview(bytes(BLOCK_BYTES)))
    assert kept.get(0) is None


def test_limits_are_read(monkeypatch):
    assert limit_of(None) == 1 << 30
    assert limit_of(False) == 0
    assert limit_of("2MiB") == 2 << 20
    monkeypatch.setenv("VARK_CACHE_BYTES", "5MB")
    assert limit_of(None) == limit_of(True) == 5_000_000
    monkeypatch.setenv("VARK_CACHE_BYTES", "much")
    with pytest.raises(ValueError, match="VARK_CACHE_BYTES"):
        limit_of(None)


@pytest.mark.parametrize("sync", [True, False])
def test_a_shard_that_was_not_synced_is_not_believed_by_its_name(tmp_path, monkeypatch, sync):
    """Its file is there under its name, but after a crash its pages may not be."""
    bucket = obstore.store.MemoryStore()
    shards = {name: np.random.default_rng(ord(name)).random((5000, 16), dtype=np.float32) for name in "ab"}
    repository = plain_repository(RemoteStore(bucket, place="test:"))
    repository.backup_shards(shards, name="v")
    honest, done = Archive.restore, []

    def cut_off(archive, target, **options):
        if done:
            raise StoreUnavailableError("no reply")
        done.append(target)
        return honest(archive, target, **options)

    monkeypatch.setattr(Archive, "restore", cut_off)
    with pytest.raises(StoreUnavailableError):
        repository.restore("latest", tmp_path / "out", sync=sync)
    (written,) = [path for path in tmp_path.rglob("*.npy") if path.is_file()]
    monkeypatch.setattr(
        Archive, "restore", lambda archive, target, **more: done.append(target) or honest(archive, target, **more)
    )
    if not sync:
        written.write_bytes(bytes(written.stat().st_size))
    repository.restore("latest", tmp_path / "out", sync=sync)
    assert len(done) == (2 if sync else 3)
    for path, (_, rows) in zip(sorted((tmp_path / "out").rglob("*.npy")), sorted(shards.items()), strict=True):
        assert (np.load(path) == rows).all()


@pytest.mark.parametrize("cache_bytes", [0, 1, 1 << 20])
def test_without_room_in_memory_rows_are_read_all_the_same(bucket, cache_bytes):
    with Repository.open(remote(bucket, disk_bytes=0, cache_bytes=cache_bytes)).open_archive() as archive:
        stream = archive["vectors"]
        forward = np.concatenate([stream[start : start + 5_000] for start in range(0, len(ROWS), 5_000)])
    unchanged = [row for row in range(len(ROWS)) if row not in WANTED]
    assert np.array_equal(forward[unchanged], ROWS[unchanged])
