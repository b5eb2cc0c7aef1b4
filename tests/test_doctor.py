"""What stores can be relied on for: strong ones pass, weak ones are named, and nothing is lost in them."""

import threading

import numpy as np
import obstore.store
import pytest

from store_servers import RACY, SERVERS, Rclone, Versitygw, plain_repository
from vark.cli import run
from vark.errors import NotFoundError, RefusedError
from vark.repository import Repository
from vark.stores import LocalStore, MemoryStore, RemoteStore, open_store
from vark.stores.probe import RACERS, probe

STRONG = {
    "memory": lambda folder: MemoryStore(),
    "local": lambda folder: LocalStore(folder / "x"),
    "obstore": lambda folder: RemoteStore(obstore.store.MemoryStore(), place="test:"),
}


class WeakLibrary:
    """Obstore, but for one weakness."""

    def __init__(self, weakness):
        self.weakness = weakness
        self._missing = set()
        self._barrier = threading.Barrier(RACERS)

    def __getattr__(self, name):
        return getattr(obstore, name)

    def put(self, store, name, data, *, mode, use_multipart):
        if self.weakness == "ignores conditions":
            mode = "overwrite"
        if self.weakness == "looks first" and "race" in name:  # as gateways over file systems do
            there = [meta for page in obstore.list(store, name.rpartition("/")[0]) for meta in page]
            self._barrier.wait()
            mode = "create" if name in [meta["path"] for meta in there] else "overwrite"
        return obstore.put(store, name, data, mode=mode, use_multipart=use_multipart)

    def get(self, store, name):
        if self.weakness == "remembers what is missing":
            if name in self._missing:
                raise FileNotFoundError(name)
            try:
                return obstore.get(store, name)
            except FileNotFoundError:
                self._missing.add(name)
                raise
        return obstore.get(store, name)

    def list(self, store, prefix, **options):
        pages = list(obstore.list(store, prefix, **options))
        return [page[:-1] for page in pages] if self.weakness == "lists late" else pages


@pytest.fixture(params=[*STRONG, *SERVERS])
def strong(request, tmp_path, servers):
    if request.param in STRONG:
        return STRONG[request.param](tmp_path)
    server = servers.get(SERVERS[request.param])
    return open_store(server.bucket(), server.options())


def test_strong_stores_pass_and_are_left_clean(strong):
    found = probe(strong)
    assert found.is_collectable
    assert found.faults() == []
    assert (found.ranges, found.deletes) == (True, True)
    assert abs(found.clock_offset_ms) < 60_000
    assert strong.list("") == []


@pytest.mark.parametrize(
    ("weakness", "word"),
    [
        ("ignores conditions", "given twice"),
        ("looks first", "given twice"),
        ("remembers what is missing", "read at once"),
        ("lists late", "listed at once"),
    ],
)
def test_weak_stores_are_named_and_nothing_is_freed_in_them(weakness, word, monkeypatch):
    store = RemoteStore(obstore.store.MemoryStore(), place="test:", library=WeakLibrary(weakness))
    assert [line for line in probe(store).faults() if word in line]
    library, store._library = store._library, obstore
    repository = plain_repository(store)
    rows = np.random.default_rng(1).random((100, 8), dtype=np.float32)
    reports = [repository.backup(rows, name="v", full=True) for _ in range(2)]
    before = store.list("archives")
    store._library = library
    for call in (
        lambda: repository.gc(confirm=True, trash=0, grace=0),
        lambda: repository.forget(reports[0].snapshot, confirm=True),
    ):
        with pytest.raises(RefusedError, match=word):
            call()
    assert not repository.gc().confirmed
    store._library = obstore
    assert store.list("archives") == before
    assert repository.verify().ok


def test_checksums_and_versions_where_they_can_be_told(servers):
    for name, checksums in [("seaweedfs", True), ("moto", False), ("azurite", None)]:
        server = servers.get(SERVERS[name])
        address, options = server.bucket(), server.options()
        found = probe(open_store(address, options))
        assert (found.checksums, found.versioned) == (checksums, None if name == "azurite" else False)
        if name == "seaweedfs":
            bucket = address.split("/")[2]
            server.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            assert probe(open_store(address, options)).versioned is True


@pytest.mark.parametrize("strong", ["obstore", *SERVERS], indirect=True)
def test_what_was_found_is_kept_and_forget_relies_on_it(strong):
    repository = plain_repository(strong)
    rows = np.zeros((100, 8), dtype=np.float32)
    reports = [repository.backup(rows, name="v") for _ in range(3)]
    report = repository.doctor()
    assert report.ok
    assert report.leftovers == {}
    assert len(strong.list("doctor")) == 1
    before = strong.counts.total()
    repository.forget(reports[0].snapshot, confirm=True)
    assert (strong.counts.total() - before).puts == 1  # the mark; no probe
    repository.gc(confirm=True, trash=0, grace=0)
    assert len(strong.list("doctor")) == 2
    assert repository.verify().ok


def test_leftovers_of_interrupted_backups_are_found():
    store = RemoteStore(obstore.store.MemoryStore(), place="test:")
    repository = plain_repository(store)
    repository.backup(np.zeros((10, 4), dtype=np.float32), name="v")
    archive = "01a216dc-13f4-7000-8000-000000000000"
    store.create(f"archives/{archive}/000000.vark", b"x" * 100)
    assert repository.doctor().leftovers == {}  # too young to tell
    store._clock_offset_ms = 2 * 24 * 3600 * 1000
    report = repository.doctor()
    assert report.leftovers == {archive: 100}
    assert "1 archives, 100 bytes" in report.lines()[-1]


def test_a_weak_server(servers, tmp_path):
    """`rclone serve s3` ignores conditions and ranges: backups restore from it, nothing is freed in it."""
    server = servers.get(Rclone)
    address, options = server.bucket(), server.options()
    repository = plain_repository(address, store_options=options, volume_bytes="1MiB")
    rows = np.random.default_rng(1).random((20_000, 32), dtype=np.float32)
    report = repository.backup(rows, name="v")
    rows[::100] += 1
    repository.backup(rows, name="v")
    found = repository.doctor()
    assert not found.ok
    assert (found.probe.create_only, found.probe.ranges) == (False, False)
    assert not repository.store.exclusive
    repository = Repository.open(address, store_options=options)
    repository.restore("latest", tmp_path / "out.npy")
    assert np.array_equal(np.load(tmp_path / "out.npy"), rows)
    with pytest.raises(RefusedError, match="given twice"):
        repository.forget(report.snapshot, confirm=True)
    with pytest.raises(RefusedError, match="given twice"):
        repository.gc(confirm=True)
    assert repository.verify().ok


class RacyLibrary:
    """Obstore, but in races of these numbers everybody wins; deletes may be refused."""

    def __init__(self, *races, may_delete=True):
        self.lost = tuple(f"/race-{number}" for number in races)
        self.may_delete = may_delete
        self.races = set()

    def __getattr__(self, name):
        return getattr(obstore, name)

    def put(self, store, name, data, *, mode, use_multipart):
        if "/race-" in name:
            self.races.add(name.rpartition("/")[2])
        mode = "overwrite" if name.endswith(self.lost) else mode
        return obstore.put(store, name, data, mode=mode, use_multipart=use_multipart)

    def delete(self, store, name):
        if not self.may_delete:
            raise obstore.exceptions.PermissionDeniedError("403 Forbidden")
        return obstore.delete(store, name)


def racy_repository(library):
    repository = plain_repository(RemoteStore(obstore.store.MemoryStore(), place="test:", library=library))
    rows = np.random.default_rng(1).random((100, 8), dtype=np.float32)
    for _ in range(2):
        repository.backup(rows, name="v", full=True)
    return repository


def test_a_name_that_is_given_twice_now_and_then_is_found_at_the_first_try():
    library = RacyLibrary(11)
    repository = racy_repository(library)
    with pytest.raises(RefusedError, match="given twice"):
        repository.gc(confirm=True)
    assert not repository.doctor().ok
    library.lost = ("none",)
    library.races.clear()
    repository.gc(confirm=True)  # tried at length, for it was not safe before
    assert len(library.races) == 12
    library.races.clear()
    repository.gc(confirm=True)
    assert len(library.races) == 3


def test_where_no_race_can_be_tried_again_one_that_was_lost_is_never_forgotten():
    library = RacyLibrary(0, may_delete=False)
    repository = racy_repository(library)
    first = repository.doctor()
    assert (first.probe.create_only, first.probe.deletes) == (False, False)
    library.lost = ("none",)
    names = [entry.name for entry in repository.store.list("")]
    assert not repository.doctor().ok
    for call in (lambda: repository.gc(confirm=True), lambda: repository.forget("latest", confirm=True)):
        with pytest.raises(RefusedError, match="given twice"):
            call()
    assert [entry.name for entry in repository.store.list("")] == names


def test_a_server_that_lets_two_win_is_refused_in_plain_words(servers, monkeypatch, capsys):
    """Versitygw looks whether a name is free and then writes: of eight at once several win in most races."""
    server = servers.get(RACY[Versitygw.name])
    address, options = server.bucket(), server.options()
    repository = plain_repository(address, store_options=options)
    rows = np.random.default_rng(1).random((1000, 8), dtype=np.float32)
    snapshots = [repository.backup(rows + add, name="v", full=True).snapshot for add in range(2)]
    for name in ("access_key_id", "secret_access_key", "region"):
        monkeypatch.setenv(f"AWS_{name.upper()}", options[name])
    monkeypatch.setenv("AWS_ENDPOINT_URL", options["endpoint"])
    assert run(["doctor", address]) == 1
    said = capsys.readouterr().out
    assert "a name is given once (8 at once): NO" in said
    assert "gc, forget: REFUSED: a name can be given twice, so two collections could not tell who was first" in said
    assert "backup, tag, hold: safe" in said
    before = repository.store.list("archives")
    assert run(["gc", "-r", address, "--confirm"]) == 14
    assert run(["forget", snapshots[0], "-r", address, "--confirm"]) == 14
    assert "given twice" in capsys.readouterr().err
    assert repository.store.list("archives") == before
    assert repository.verify().ok


def test_the_command(tmp_path, capsys):
    assert run(["doctor", str(tmp_path / "new")]) == 0
    assert "no repository here yet" in capsys.readouterr().out
    assert run(["init", str(tmp_path / "r"), "--encryption", "none"]) == 0
    assert run(["doctor", "-r", str(tmp_path / "r"), "--json"]) == 0
    assert '"ok": true' in capsys.readouterr().out
    assert run(["doctor"]) == 2


def test_a_missing_object_is_missing_for_the_probe_as_well():
    store = RemoteStore(obstore.store.MemoryStore(), place="test:")
    with pytest.raises(NotFoundError):
        store.byte_count("x")


def test_a_damaged_record_of_what_a_store_can_do_keeps_nobody_from_forgetting():
    repository = plain_repository(RemoteStore(obstore.store.MemoryStore(), place="test:"))
    rows = np.random.default_rng(1).random((100, 8), dtype=np.float32)
    reports = [repository.backup(rows, name="v", full=True) for _ in range(3)]
    repository.forget(reports[0].snapshot, confirm=True)
    (name,) = [entry.name for entry in repository.store.list("doctor")]
    data = repository.store.read(name)
    for damage in (data[:-5], data.replace(b"true", b"null"), b"", b"\xff" * 50):
        for entry in repository.store.list("doctor"):
            repository.store.delete(entry.name)
        repository.store.create(name, damage)
        repository.undelete(reports[0].snapshot)
        repository.forget(reports[0].snapshot, confirm=True)
        assert len(repository.store.list("doctor")) == 2  # it was tried out anew
        assert [item.id for item in repository.snapshots()] == [report.snapshot for report in reports[1:]]
