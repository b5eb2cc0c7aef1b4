"""Erasure beside other writers, runs that were killed, and the records that say what is erased."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import vark
from erasures import GONE, IDS, ROWS, hnswlib_index, nothing_left, rows_of
from repositories import KilledError
from vark.keys import new_recovery_code
from vark.repository import Repository
from vark.repository.engine import Engine
from vark.repository.erasures import END, ERASE, Erasure, lists_for, new_erasure, read_erasures
from vark.repository.layout import ERASURES
from vark.stores import MemoryStore


class Between(Engine):
    """An engine that calls something when an archive has been written."""

    def __init__(self, method, call):
        super().__init__()
        self.method, self.call, self.calls = method, call, 0

    def _then(self, method, result):
        if method == self.method:
            self.calls += 1
            call, self.call = self.call, None
            if call is not None:
                call()
        return result

    def write(self, *arguments, **options):
        return self._then("write", super().write(*arguments, **options))

    def erase(self, *arguments, **options):
        return self._then("erase", super().erase(*arguments, **options))

    def compact(self, *arguments, **options):
        return self._then("compact", super().compact(*arguments, **options))


def test_a_backup_that_runs_meanwhile_is_erased_by_its_own_writer(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    repository.backup(hnswlib_index(rows_of(0)), name="h")
    engine = Between("write", lambda: repository.erase(IDS[GONE], name="h", confirm=True))
    other = Repository.open(tmp_path / "repository", engine=engine)
    report = other.backup(hnswlib_index(rows_of(1)), name="h")
    assert engine.call is None
    assert repository.snapshot().commit == report.commit
    nothing_left(repository, range(2))
    assert repository.verify().ok


def test_a_backup_that_ends_while_rows_are_erased_is_erased_too(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    repository.backup(hnswlib_index(rows_of(0)), name="h")
    started, written = threading.Event(), threading.Event()

    def wait():
        started.set()
        assert written.wait(60)

    def back_up():
        slow = Repository.open(tmp_path / "repository", engine=Between("write", wait))
        slow.backup(hnswlib_index(rows_of(1)), name="h")

    thread = threading.Thread(target=back_up)
    thread.start()
    assert started.wait(60)  # it has read that there is no erasure
    engine = Between("erase", lambda: (written.set(), thread.join(60)))
    report = Repository.open(tmp_path / "repository", engine=engine).erase(IDS[GONE], confirm=True)
    assert report.snapshots
    nothing_left(repository, range(2))
    assert repository.verify().ok


def test_compaction_does_not_bring_rows_back(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    for day in range(2):
        repository.backup(hnswlib_index(rows_of(day)), name="h")
    engine = Between("compact", lambda: repository.erase(IDS[GONE], name="h", confirm=True))
    with pytest.raises(vark.ConflictError, match="erased while"):
        Repository.open(tmp_path / "repository", engine=engine).compact("latest")
    repository.erase(IDS[GONE], name="h", confirm=True)
    nothing_left(repository, range(2))
    assert repository.verify().ok


def test_a_collection_in_the_way_is_a_conflict_and_another_run_completes(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    for day in range(3):
        repository.backup(hnswlib_index(rows_of(day)), name="h", full=day == 2)

    def collect():
        for item in repository.snapshots()[:2]:
            repository.forget(item.id, confirm=True)
        repository.gc(confirm=True, trash=0, grace=0)

    engine = Between("erase", collect)
    other = Repository.open(tmp_path / "repository", engine=engine)
    with pytest.raises(vark.ConflictError, match="forgotten and collected"):
        other.erase(IDS[GONE], confirm=True)
    repository.erase(IDS[GONE], confirm=True)
    nothing_left(repository, range(3))
    assert repository.verify().ok
    assert len(repository.snapshots()) == 1


KILLED = """
import os, signal, sys
import numpy as np
from vark.repository import Repository
from vark.repository.engine import Engine

class Dies(Engine):
    left = int(sys.argv[2])

    def erase(self, *arguments, **options):
        if Dies.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        Dies.left -= 1
        return super().erase(*arguments, **options)

Repository.open(sys.argv[1], engine=Dies()).erase(np.load(sys.argv[3]), confirm=True)
"""


def test_a_run_that_was_killed_is_completed_by_the_next(tmp_path):
    place = tmp_path / "repository"
    repository = Repository.create(place, encryption="none")
    for day in range(5):
        repository.backup(hnswlib_index(rows_of(day)), name="h")
    before = {item.id: item.unix_ms for item in repository.snapshots()}
    np.save(tmp_path / "gone.npy", IDS[GONE])
    for count in (0, 1, 2):
        command = [sys.executable, "-c", KILLED, str(place), str(count), str(tmp_path / "gone.npy")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        assert subprocess.run(command, env=environment, check=False, timeout=120).returncode == -signal.SIGKILL
        opened = Repository.open(place)
        assert opened.verify().ok
        assert {item.id: item.unix_ms for item in opened.snapshots()} == before
        assert len(read_erasures(opened.store, opened._context.envelope)) == 1  # the list of the first run is taken up
    report = Repository.open(place).erase(IDS[GONE], confirm=True)
    assert len(report.snapshots) == 2  # 0 + 1 + 2 were done before
    nothing_left(repository, range(5))
    assert repository.verify().ok


def test_a_later_backup_of_something_opaque_is_refused_until_the_erasure_is_lifted(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    repository.backup(hnswlib_index(rows_of(0)), name="h")
    repository.erase(IDS[GONE], name="h", confirm=True)
    (tmp_path / "x").write_bytes(b"who knows")
    with pytest.raises(vark.RefusedError, match="lift the erasure"):
        repository.backup(tmp_path / "x", name="h")
    assert len(repository.snapshots()) == 1
    assert repository.lift_erasure("h") == len(GONE)
    assert repository.lift_erasure("h") == 0
    repository.backup(tmp_path / "x", name="h")
    repository.backup(hnswlib_index(rows_of(0)), name="h")
    with repository.open_archive() as archive:
        assert archive["vectors"].rows_of(GONE).any()


def test_ids_that_come_back_after_the_end_can_be_erased_again(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    kept = np.setdiff1d(np.arange(ROWS), GONE)
    repository.backup(hnswlib_index(rows_of(0)), name="h")
    repository.erase(IDS[GONE], name="h", confirm=True)
    some = np.union1d(kept, GONE[:5])  # the source still holds five of them
    repository.backup(hnswlib_index(rows_of(0)[some], IDS[some]), name="h")
    records = read_erasures(repository.store, repository._context.envelope)
    (left,) = lists_for(records, "h")
    assert len(left.hashes) == 5
    repository.backup(hnswlib_index(rows_of(0)), name="h")  # the others are ids like any other again
    with repository.open_archive() as archive:
        labels = archive["labels"][:]
        assert np.isin(IDS[GONE].astype(np.uint64), labels).sum() == len(GONE) - 5
    repository.erase(IDS[GONE], name="h", confirm=True)
    nothing_left(repository, [0])


def test_records_of_erasures_are_read_strictly(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    store, envelope = repository.store, repository._context.envelope
    one = "0" * 32
    digest = new_erasure(store, envelope, ERASE, ["a", "b"], [one], key="1" * 64)
    new_erasure(store, envelope, END, ["a"], [one], erasure=digest)
    records = read_erasures(store, envelope)
    assert lists_for(records, "a") == ()
    assert lists_for(records, "c") == ()
    (found,) = lists_for(records, "b")
    assert (found.key.hex(), found.digest) == ("1" * 64, digest)
    good = records[digest]
    fields = {name: getattr(good, name) for name in Erasure.__slots__}
    wrong = [
        {"action": "erased"},
        {"names": ("a", "a")},
        {"names": ("a\n",)},
        {"hashes": ()},
        {"hashes": (one, one)},
        {"hashes": ("0" * 31,)},
        {"key": ""},
        {"leave_unknown": 0},
        {"key": "1" * 63},
        {"erasure": "0" * 64},
        {"action": END},
        {"action": END, "erasure": "0" * 64},
        {"repository": "0" * 32},
        {"created_unix_ms": -1},
        {"salt": "x"},
        {"reason": "x" * 2000},
    ]
    assert Erasure.decode(good.encode(envelope), place="p", envelope=envelope) == good
    for change in wrong:
        data = Erasure(**{**fields, **change}).encode(envelope)
        with pytest.raises((vark.DamagedError, vark.UnsupportedError)):
            Erasure.decode(data, place="p", envelope=envelope)


def test_an_encrypted_repository_tells_nobody_whose_rows_went(tmp_path):
    repository = Repository.create(tmp_path / "repository", recovery_code=new_recovery_code())
    repository.backup(hnswlib_index(rows_of(0)), name="people")
    repository.erase(IDS[GONE], name="people", confirm=True, reason="asked on the phone")
    (entry,) = repository.store.list(ERASURES)
    data = repository.store.read(entry.name)
    record = Erasure.decode(data, place="p", envelope=repository._context.envelope)
    assert record.reason == "asked on the phone"
    for text in ("people", "phone", record.key, *record.hashes):
        assert text.encode() not in data


def test_a_list_that_cannot_be_read_lets_nothing_in(tmp_path, vectors):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    new_erasure(repository.store, repository._context.envelope, ERASE, ["v"], ["0" * 32], key="1" * 64)
    (entry,) = repository.store.list(ERASURES)
    path = repository.store.local_path(entry.name)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-3] + b"}}}")
    with pytest.raises(vark.DamagedError):
        repository.backup(vectors, name="v")
    with pytest.raises(vark.DamagedError):
        repository.erase([1], confirm=True)


def test_ids_that_make_no_sense_are_refused(tmp_path, vectors):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    for ids, name in (([], None), ([-1], None), ([3], "nobody")):
        with pytest.raises(vark.InvalidArgumentError):
            repository.erase(ids, name=name, confirm=True)


def test_what_a_write_only_client_adds_is_erased_by_a_member(tmp_path):
    place, code = tmp_path / "repository", new_recovery_code()
    repository = Repository.create(place, recovery_code=code)
    writer = repository.keys.add_signer("backup-host", write_only=True).content
    Repository.open(place, signer=writer).backup(hnswlib_index(rows_of(0)), name="h")
    repository.erase(IDS[GONE], name="h", confirm=True)
    Repository.open(place, signer=writer).backup(hnswlib_index(rows_of(1)), name="h")
    member = Repository.open(place, recovery_code=code)
    with member.open_archive() as archive:
        assert archive["vectors"].rows_of(GONE).any()  # it cannot know
    report = member.erase(None, name="h", confirm=True)
    assert (len(report.snapshots), report.id_count, report.found_count) == (1, len(GONE), len(GONE))
    member.gc(confirm=True, trash=0, grace=0)
    assert len(member.snapshots()) == 2
    for snapshot in member.snapshots():
        with member.open_archive(snapshot) as archive:
            assert not archive["vectors"].rows_of(GONE).any()
    assert member.verify().ok
    assert member.erase(None, name="h", confirm=True).snapshots == ()
    assert len(Repository.open(place, recovery_code=code).snapshots()) == 2  # nothing that was seen is missed


class Fuse(MemoryStore):
    """A store whose process dies at a chosen step that changes something, before it or after."""

    def __init__(self):
        super().__init__()
        self.left = self.steps = -1
        self.is_after = False

    def arm(self, left, *, is_after):
        self.left, self.is_after, self.steps = left, is_after, 0

    def _step(self, change):
        self.steps += 1
        self.left -= 1
        if self.left == 0 and not self.is_after:
            raise KilledError
        result = change()
        if self.left == 0:
            raise KilledError
        return result

    def create(self, *arguments, **options):
        return self._step(lambda: super(Fuse, self).create(*arguments, **options))

    def delete(self, *arguments, **options):
        return self._step(lambda: super(Fuse, self).delete(*arguments, **options))


@pytest.mark.parametrize("is_after", [False, True])
def test_a_process_may_die_at_any_step(is_after):
    """Whatever it was about to do, or had just done: snapshots stay, and another run leaves nothing of the rows."""
    left = 0
    while True:
        left += 1
        store = Fuse()
        repository = Repository.create(store, encryption="none")
        for day in range(3):
            repository.backup(hnswlib_index(rows_of(day)[:300], IDS[:300]), name="h")
        repository.forget(repository.snapshots()[0].id, confirm=True)
        gone = GONE[GONE < 300]
        before = [item.id for item in repository.snapshots(forgotten=True)]
        store.arm(left, is_after=is_after)
        try:
            repository.erase(IDS[gone], name="h", confirm=True)
        except KilledError:
            pass
        else:
            break
        store.arm(-1, is_after=False)
        opened = Repository.open(store)
        assert [item.id for item in opened.snapshots(forgotten=True)] == before
        opened.erase(IDS[gone], name="h", confirm=True)
        opened.gc(confirm=True, trash=0, grace=0)
        assert opened.verify().ok
        for snapshot in opened.snapshots():
            with opened.open_archive(snapshot) as archive:
                assert not archive["vectors"].rows_of(gone).any()
        held = {entry.name.split("/")[1] for entry in store.list("archives")}
        assert held == {item.id for snapshot in opened.snapshots() for item in snapshot.needed()}
    assert left > 8
