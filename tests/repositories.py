"""A small engine, a store with a scripted order of steps, and records made by hand: what tests of repositories share."""

import contextlib
import json
import os
import random
import threading
import time

from vark.repository import Repository
from vark.repository.digest import digest_hex
from vark.repository.engine import Written
from vark.repository.envelope import Envelope
from vark.repository.fields import new_salt
from vark.repository.layout import COMMITS, MARKS, volume_name
from vark.repository.objects import create_record, new_uuid7
from vark.repository.records import Ancestor, Commit, CommittedArchive, Mark
from vark.stores import MemoryStore

FAKE_BYTES_MIN = 256
FAKE_FULL_BYTES = 16384  # so that a chain of many deltas wastes little


class FakeArchive:
    """An archive that is a JSON object: its content, and the archives that it points into."""

    def __init__(self, data, sizes):
        self.values = json.loads(data.rstrip(b"\n"))
        self.archive_id = self.values["id"]
        self.root = digest_hex(data)
        self.ancestors = tuple(Ancestor(**item) for item in self.values["ancestors"])
        assert {item.id for item in self.ancestors} <= set(sizes)
        self.bytes = len(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        pass


class FakeEngine:
    """Writes deltas that need their base and all that it needs, as the true engine may."""

    deltas = True

    def write(self, source, descriptor, *, archive_id, base, fingerprint_key, options):
        ancestors = () if base is None else (Ancestor(base.archive_id, base.bytes, base.root), *base.ancestors)
        return self._put(descriptor, archive_id, source, ancestors, None if base is None else base.archive_id)

    def compact(self, archive, descriptor, *, archive_id, options):
        return self._put(descriptor, archive_id, archive.values["source"], (), None)

    def _put(self, descriptor, archive_id, source, ancestors, base):
        values = {"id": archive_id, "source": source, "ancestors": [item.record() for item in ancestors]}
        byte_count = FAKE_FULL_BYTES if base is None else FAKE_BYTES_MIN
        data = json.dumps(values).encode().ljust(byte_count, b"\n")
        os.write(descriptor, data)
        delta = None if base is None else {"base": base, "rows_new": 1, "rows_copied": 1}
        return Written(digest_hex(data), len(data), FAKE_FULL_BYTES, False, None, delta, ancestors)

    def open(self, store, archive, sizes):
        for key, volumes in sizes.items():
            for number, size in enumerate(volumes):
                assert store.byte_count(volume_name(key, number)) == size
        return FakeArchive(self._data(store, archive), sizes)

    def identity(self, store, archive):
        data = self._data(store, archive)
        return json.loads(data)["id"], digest_hex(data)

    def _data(self, store, archive):
        return b"".join(store.read(volume_name(archive.id, number)) for number in range(len(archive.volumes)))


def fake_repository(store=None, **options):
    return Repository.create(
        MemoryStore() if store is None else store, engine=FakeEngine(), **{"encryption": "none", **options}
    )


def readable(repository, snapshot):
    """Return whether every archive that a snapshot needs is there as its record says."""
    for ancestor in snapshot.needed():
        if sum(entry.byte_count for entry in repository.store.list(f"archives/{ancestor.id}")) != ancestor.bytes:
            return False
    return not snapshot.void


def now_ms():
    return time.time_ns() // 1_000_000


def put_archive(store, content=b""):
    """Create an archive of one volume whose bytes mean nothing; return what a commit says of it."""
    archive_id = str(new_uuid7())
    data = (archive_id.encode() + content).ljust(FAKE_BYTES_MIN, b".")
    store.create(volume_name(archive_id, 0), data)
    return CommittedArchive(archive_id, "", (len(data),), digest_hex(data), len(data), None)


def put_commit(repository, archives, closure=(), *, name="n", snapshot=None, unix_ms=None, **fields):
    """Create a commit record; return its digest and the record."""
    values = {
        "repository": repository.id,
        "snapshot": snapshot or new_uuid7().hex,
        "name": name,
        "created_unix_ms": now_ms() if unix_ms is None else unix_ms,
        "store_unix_ms": None,
        "tags": {},
        "host": "h",
        "source": {"kind": "made by hand"},
        "partial": False,
        "root_generation": 0,
        "heads": (),
        "archives": tuple(archives),
        "closure": tuple(closure),
        "replaces": None,
        "salt": new_salt(),
    }
    commit = Commit(**{**values, **fields})
    return create_record(
        repository.store, COMMITS, commit.encode(Envelope(repository.id)), commit.created_unix_ms
    ), commit


def put_mark(repository, action, snapshot, unix_ms, *, commit=None, **fields):
    """Create a mark of a chosen time."""
    values = {"tags": {}, "keys": (), "reason": "", "store_unix_ms": None, "salt": new_salt()}
    mark = Mark(action, repository.id, snapshot, commit, unix_ms, **{**values, **fields})
    return create_record(repository.store, MARKS, mark.encode(Envelope(repository.id)), unix_ms)


class KilledError(BaseException):
    """A process that ends between two steps."""


class Stage:
    """Lets actors run one store operation at a time, in an order that a seed gives, and kills some on the way."""

    def __init__(self, seed, *, kill_chance=0.0):
        self._random = random.Random(seed)
        self._kill_chance = kill_chance
        self._turns = {}
        self._ready = threading.Semaphore(0)
        self._waiting = []
        self._killed = set()
        self._lock = threading.Lock()
        self._local = threading.local()
        self.killable = set()
        self.results = {}
        self.order = []

    def step(self, operation, name):
        """Wait for this actor's turn; outside of actors go on at once."""
        actor = getattr(self._local, "name", None)
        if actor is None:
            return
        with self._lock:
            self._waiting.append((actor, f"{operation} {name}"))
        self._ready.release()
        self._turns[actor].acquire()
        if actor in self._killed:
            raise KilledError(actor)

    def play(self, actors):
        """Run the actors (name -> function) to their ends; results and errors are in `results`."""
        threads = []
        for name, function in actors.items():
            self._turns[name] = threading.Semaphore(0)
            threads.append(threading.Thread(target=self._act, args=(name, function), daemon=True))
            threads[-1].start()
        running = len(actors)
        idle = 0
        while running:
            while idle < running:
                assert self._ready.acquire(timeout=60), self.order[-20:]
                idle += 1
            with self._lock:
                running -= sum(step == "end" for _, step in self._waiting)
                self._waiting = [item for item in self._waiting if item[1] != "end"]
                idle = len(self._waiting)
                if not self._waiting:
                    continue
                chosen = self._waiting.pop(self._random.randrange(len(self._waiting)))
                idle -= 1
            actor, step = chosen
            self.order.append(f"{actor}: {step}")
            if actor in self.killable and self._random.random() < self._kill_chance:
                self._killed.add(actor)
            self._turns[actor].release()
        for thread in threads:
            thread.join(60)

    def _act(self, name, function):
        self._local.name = name
        try:
            self.step("begin", "")
            self.results[name] = function()
        except BaseException as error:
            self.results[name] = error
        with self._lock:
            self._waiting.append((name, "end"))
        self._ready.release()


class StagedStore:
    """A store each of whose operations waits for its turn."""

    def __init__(self, stage, inner=None):
        self.stage = stage
        self.inner = MemoryStore() if inner is None else inner

    def create(self, name, data):
        self.stage.step("create", name)
        self.inner.create(name, data)

    def writer(self, name):
        return StagedWriter(self.stage, self.inner.writer(name), name)

    def read(self, name, *, offset=0, byte_count=None):
        self.stage.step("read", name)
        return self.inner.read(name, offset=offset, byte_count=byte_count)

    def byte_count(self, name):
        return self.inner.byte_count(name)  # always beside a read

    def list(self, prefix):
        self.stage.step("list", prefix)
        return self.inner.list(prefix)

    def delete(self, name):
        self.stage.step("delete", name)
        self.inner.delete(name)

    def local_path(self, name):
        return self.inner.local_path(name)

    def clock_unix_ms(self):
        return self.inner.clock_unix_ms()


class StagedWriter:
    def __init__(self, stage, inner, name):
        self._stage, self._inner, self._name = stage, inner, name

    def fileno(self):
        return self._inner.fileno()

    def commit(self):
        self._stage.step("commit", self._name)
        return self._inner.commit()

    def __enter__(self):
        self._inner.__enter__()
        return self

    def __exit__(self, *error):
        self._inner.__exit__(*error)


@contextlib.contextmanager
def changed(store, name, data):
    """Change an object behind a memory store's back, for a while."""
    kept = store._objects.get(name)
    if data is None:
        store._objects.pop(name, None)
    else:
        store._objects[name] = (data, kept[1] if kept else 0)
    try:
        yield
    finally:
        if kept is None:
            store._objects.pop(name, None)
        else:
            store._objects[name] = kept
