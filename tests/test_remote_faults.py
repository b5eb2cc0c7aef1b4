"""Repositories behind a network that loses, repeats and cuts, and a server that is killed."""

import os
import signal

import numpy as np
import pytest

from faulty_proxy import KINDS, FaultyProxy
from store_servers import Moto, Seaweed, plain_repository
from vark.errors import StorageError, StoreUnavailableError, VarkError
from vark.repository import Repository
from vark.stores import open_store


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("vark.stores.remote._DELAY_SECONDS", 0.002)
    monkeypatch.setattr("vark.stores.probe._PAUSE_SECONDS", 0.002)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(5).standard_normal((8_000, 64), dtype=np.float32)


def behind(server, proxy, **options):
    return {**server.options(), "endpoint": f"http://127.0.0.1:{proxy.port}", **options}


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_through_every_fault(kind, rows, servers, quick, tmp_path):
    """Whatever is reported as done is there, byte for byte, when the network is well again."""
    server = servers.get(Moto)
    address = server.bucket()
    proxy = FaultyProxy(server.port, kinds=[kind], share=0.15, seed=KINDS.index(kind))
    try:
        options = behind(server, proxy, retry="60s")
        repository = plain_repository(address, store_options=options, volume_bytes="1MiB")
        done, content = [], {}
        current = rows
        for number in range(3):
            current = current.copy()
            current[number::50] += 1
            report = repository.backup(current, name="v", full=number == 1)
            done.append(report.snapshot)
            content[report.snapshot] = current
        repository.tag(done[2], {"kept": "yes"})
        repository.compact(done[2])
        repository.forget(done[0], confirm=True)
        repository.gc(confirm=True, trash=0, grace=0)
        repository.restore(done[2], tmp_path / "out.npy")
        assert np.array_equal(np.load(tmp_path / "out.npy"), content[done[2]])
        assert repository.verify().ok
        assert proxy.came[kind] > 5
    finally:
        proxy.close()
    repository = Repository.open(address, store_options=server.options())
    assert [item.id for item in repository.snapshots()] == done[1:]
    for snapshot in done[1:]:
        with repository.open_archive(snapshot) as archive:
            assert np.array_equal(archive["vectors"][:], content[snapshot])
    assert repository.verify().ok


def test_a_server_that_is_killed(tmp_path, rows):
    """The client says what is wrong and that it may work later; once the server is back, so it does."""
    (tmp_path / "server").mkdir()
    server = Seaweed(tmp_path / "server").start()
    try:
        address, options = server.bucket(), {**server.options(), "retry": "1s"}
        repository = plain_repository(address, store_options=options, volume_bytes="1MiB")
        first = repository.backup(rows, name="v")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(10)
        with pytest.raises(StoreUnavailableError) as caught:
            repository.backup(rows * 2, name="v")
        assert isinstance(caught.value, StorageError)
        assert "run it again" in caught.value.message
        server.start()
        report = repository.backup(rows * 2, name="v")
        assert [item.id for item in repository.snapshots()] == [first.snapshot, report.snapshot]
        repository.restore(report.snapshot, tmp_path / "out.npy")
        assert np.array_equal(np.load(tmp_path / "out.npy"), rows * 2)
        assert repository.verify().ok
    finally:
        server.stop()


def test_a_list_that_is_stale_condemns_nothing(servers, rows):
    """What a commit that is not listed yet needs is younger than the grace period; and `gc` asks first."""
    server = servers.get(Moto)
    store = open_store(server.bucket(), server.options())
    repository = plain_repository(store)
    repository.backup(rows, name="v")
    honest = store.list
    store.list = lambda prefix: [] if prefix.startswith("commits") else honest(prefix)
    report = repository.gc(confirm=True, trash=0)
    assert report.archives == {}
    store.list = honest
    assert repository.verify().ok


def test_a_restore_that_is_stopped_leaves_no_target(servers, rows, tmp_path, quick):
    server = servers.get(Moto)
    address = server.bucket()
    plain_repository(address, store_options=server.options(), volume_bytes="1MiB").backup(rows, name="v")
    proxy = FaultyProxy(server.port, kinds=["drop"], share=0)
    try:
        repository = Repository.open(address, store_options=behind(server, proxy, retry=0))
        archive = repository.open_archive()
        proxy.share = 1
        with pytest.raises(VarkError):
            archive.restore(tmp_path / "out.npy", resume=False)
        assert os.listdir(tmp_path) == []
        with pytest.raises(VarkError):
            archive.restore(tmp_path / "out.npy")
        assert not (tmp_path / "out.npy").exists()
        proxy.share = 0
        archive.restore(tmp_path / "out.npy")
        assert np.array_equal(np.load(tmp_path / "out.npy"), rows)
    finally:
        proxy.close()
