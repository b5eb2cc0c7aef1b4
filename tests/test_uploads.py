"""Volumes on their way to a bucket: memory that is used again, and what is created before what."""

import base64
import mmap
import os
import threading
import time

import numpy as np
import obstore
import obstore.store
import pytest

from store_servers import SERVERS, plain_repository
from vark.errors import AccessDeniedError
from vark.repository.uploads import IN_FLIGHT_BYTES, UploadCutter
from vark.stores import RemoteStore, open_store

ARCHIVE = "01a216dc-13f4-7000-8000-000000000000"
VOLUME = 8 << 20


class Library:
    """Obstore, but what is sent is copied, as by a network. keeps: it is looked at later than obstore says."""

    def __init__(self, *, keeps=False):
        self.keeps = keeps
        self.kept = []

    def __getattr__(self, name):
        return getattr(obstore, name)

    def put(self, store, name, data, *, mode, use_multipart):
        if self.keeps:
            self.kept.append((memoryview(data), bytes(data)))
        return obstore.put(store, name, bytes(data), mode=mode, use_multipart=use_multipart)


class Counted(mmap.mmap):
    made = 0

    def __new__(cls, *arguments, **options):
        cls.made += 1
        return super().__new__(cls, *arguments, **options)


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr("vark.repository.uploads.mmap.mmap", Counted)
    monkeypatch.setattr(Counted, "made", 0)
    return Counted


def upload(store, data):
    reading, writing = os.pipe()

    def write():
        with open(writing, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    cutter = UploadCutter(store, ARCHIVE, VOLUME)
    cutter.drain(reading)
    sizes, _ = cutter.finish()
    cutter.close()
    os.close(reading)
    thread.join()
    return sizes


def stored(store):
    return b"".join(store.read(entry.name) for entry in store.list("archives"))


@pytest.mark.parametrize("keeps", [False, True])
def test_memory_of_volumes_is_used_again_unless_the_library_still_looks_at_it(made, keeps):
    data = np.random.default_rng(1).bytes(60 * VOLUME + 5)
    library = Library(keeps=keeps)
    store = RemoteStore(obstore.store.MemoryStore(), place="test:", library=library)
    assert sum(upload(store, data)) == len(data)
    assert stored(store) == data
    assert all(view == then for view, then in library.kept)
    assert made.made == 61 if keeps else made.made <= IN_FLIGHT_BYTES // VOLUME


def test_a_store_that_keeps_what_it_was_given_has_memory_of_its_own(made):
    data = np.random.default_rng(1).bytes(6 * VOLUME - 5)
    store = RemoteStore(obstore.store.MemoryStore(), place="test:")  # it copies nothing
    upload(store, data)
    assert stored(store) == data
    assert made.made == 6


@pytest.mark.parametrize("name", ["seaweedfs", "minio"])
def test_s3_is_sent_a_checksum_which_it_keeps(servers, name):
    server = servers.get(SERVERS[name])
    address = server.bucket()
    open_store(address, server.options()).create("a", b"123456789")
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    found = server.client().head_object(Bucket=bucket, Key=f"{prefix}/a", ChecksumMode="ENABLED")
    assert base64.b64decode(found["ChecksumCRC64NVME"]).hex() == "ae8b14860a799888"  # the catalogue's check value


class SlowIntents(Library):
    """The intent of a backup takes its time, or is refused; when each object had been created."""

    def __init__(self, *, refuses=False):
        super().__init__()
        self.refuses = refuses
        self.created = []

    def put(self, store, name, data, *, mode, use_multipart):
        if name.startswith("sessions/"):
            time.sleep(0.2)
            if self.refuses:
                raise obstore.exceptions.PermissionDeniedError("403 Forbidden")
        done = super().put(store, name, data, mode=mode, use_multipart=use_multipart)
        self.created.append(name.partition("/")[0])
        return done


@pytest.mark.parametrize("requests_max", [1, 16])
def test_no_volume_is_created_before_the_intent_and_nothing_is_listed_for_a_fresh_one(requests_max):
    rows = np.random.default_rng(1).random((50_000, 32), dtype=np.float32)
    library = SlowIntents()
    store = RemoteStore(obstore.store.MemoryStore(), place="test:", library=library, requests_max=requests_max)
    repository = plain_repository(store, volume_bytes="1MiB")
    library.created.clear()
    repository.backup(rows, name="v")
    volume_count = len(store.list("archives"))
    assert volume_count > 4
    assert library.created[: volume_count + 1] == ["sessions", *["archives"] * volume_count]
    assert "commits" in library.created[volume_count + 1 :]
    assert repository.verify().ok


def test_a_backup_whose_intent_is_refused_leaves_nothing():
    rows = np.random.default_rng(1).random((50_000, 32), dtype=np.float32)
    store = RemoteStore(obstore.store.MemoryStore(), place="test:", library=SlowIntents(refuses=True))
    repository = plain_repository(store, volume_bytes="1MiB")
    with pytest.raises(AccessDeniedError, match="sessions/"):
        repository.backup(rows, name="v")
    assert store.list("archives") == store.list("commits") == []
