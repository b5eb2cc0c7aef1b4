"""Power cuts, kills and a full disk at every call of the file system, under backup, compact, forget, undelete and gc.

VARK_SEED replays a run; VARK_CRASH_STATES sets how many states are tried at each point,
VARK_CRASH_RUNS how many random lives there are.
"""

import errno
import os
import random

import pytest

from repositories import FakeArchive, FakeEngine
from simulated_files import CrashState, Fault, SimulatedCrash, SimulatedFileSystem
from vark.errors import ExitCode, NoSpaceError, RepositoryNotFoundError, StorageError, VarkError
from vark.repository import Repository
from vark.repository.digest import digest_hex
from vark.repository.layout import volume_name
from vark.stores import LocalStore

SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
STATES = int(os.environ.get("VARK_CRASH_STATES", "16"))
RUNS = int(os.environ.get("VARK_CRASH_RUNS", "4"))
ROOT = "/disk/repository"


class Promises:
    """What a run was told: snapshot -> sources that it must restore to. None once it was asked to go."""

    def __init__(self):
        self.made = False
        self.kept = {}

    def check(self, files, place):
        """Open what a power cut left, as somebody who knows nothing would, and compare."""
        try:
            repository = Repository.open(LocalStore(ROOT, files=files), engine=FakeEngine())
        except RepositoryNotFoundError:
            assert not self.made, place
            return None
        catalog = repository.catalog()
        assert catalog.faults == {}, place
        found = {item.id: item for item in catalog.snapshots}
        for snapshot, sources in self.kept.items():
            if sources is None:
                continue
            assert snapshot in found, (place, "lost", snapshot)
            assert not found[snapshot].void, place
            assert restored(repository, found[snapshot]) == sources, place
        for item in catalog.snapshots:  # also what was not acknowledged is whole, or void
            if item.usable:
                restored(repository, item)
        return repository


def restored(repository, snapshot):
    """Return shard -> source of a snapshot, all of whose archives are as their records say."""
    for ancestor in snapshot.needed():
        data = repository.store.read(volume_name(ancestor.id, 0))
        assert (len(data), digest_hex(data)) == (ancestor.bytes, ancestor.root)
    return {
        archive.shard: FakeArchive(
            repository.store.read(volume_name(archive.id, 0)), [item.id for item in snapshot.needed()]
        ).values["source"]
        for archive in snapshot.archives
    }


def backup(promises, repository, source, **options):
    if isinstance(source, dict):
        report, sources = repository.backup_shards(source, **options), source
    else:
        report, sources = repository.backup(source, **options), {"": source}
    promises.kept[report.snapshot] = sources
    return report.snapshot


def forget(promises, repository, snapshot):
    promises.kept[snapshot] = None
    repository.forget(snapshot, confirm=True, min_redundancy=0)


def script(promises, store):
    """Everything that writes, in an order in which each step has something to do."""
    repository = Repository.create(store, engine=FakeEngine(), encryption="none")
    promises.made = True
    life(promises, repository)


def life(promises, repository):
    first = backup(promises, repository, "one", name="n")
    second = backup(promises, repository, "two", name="n", tags={"a": "b"})
    third = backup(promises, repository, "three", name="n")
    backup(promises, repository, {"east": "four", "west": "five"}, name="shards")
    repository.tag(second, {"c": "d"}, remove=["a"])
    forget(promises, repository, first)
    repository.gc(confirm=True, trash=0, grace=0, min_redundancy=0)
    kept = promises.kept.pop(second)
    repository.forget(second, confirm=True, min_redundancy=0)
    repository.undelete(second)
    promises.kept[second] = kept
    repository.hold(second)
    if repository.snapshot(third).closure:  # in full where a call failed under its delta
        repository.compact(third)
    repository.release(second)
    forget(promises, repository, second)
    repository.gc(confirm=True, trash=0, grace=0, min_redundancy=0)
    backup(promises, repository, "six", name="n")
    repository.gc(confirm=True, trash=0, grace=0, min_redundancy=0)


def random_life(promises, repository, seed):
    """A dozen random steps."""
    rng = random.Random(seed)
    for step in range(12):
        usable = [item for item in promises.kept if promises.kept[item] is not None]
        choice = rng.random()
        if choice < 0.4 or not usable:
            backup(promises, repository, f"{seed} {step}", name=rng.choice("ab"), full=rng.random() < 0.2)
        elif choice < 0.55:
            forget(promises, repository, rng.choice(usable))
        elif choice < 0.75:
            repository.gc(confirm=True, trash=0, grace=0, min_redundancy=rng.randrange(2))
        elif choice < 0.9:
            chosen = rng.choice(usable)
            if repository.snapshot(chosen).closure:
                repository.compact(chosen)
        else:
            repository.verify(level="structure")


def disk(**settings):
    return SimulatedFileSystem.from_state(CrashState({}, frozenset({"/disk"})), seed=SEED, **settings)


def call_count():
    files = disk()
    script(Promises(), LocalStore(ROOT, files=files))
    return len(files.operations)


class Cuts:
    """Cuts the power after every call."""

    def __init__(self, promises, states):
        self.promises, self.limit = promises, states
        self.points = self.states = 0
        self.distinct = set()

    def __call__(self, files):
        self.points += 1
        operation = files.operations[-1]
        for state in files.crash_states(self.limit):
            self.states += 1
            self.distinct.add(hash(state.key))
            place = f"seed {SEED}, after call {operation.number}, {operation.kind} {operation.path}"
            self.promises.check(SimulatedFileSystem.from_state(state), place)


def test_no_acknowledged_snapshot_is_lost_by_a_power_cut(capsys):
    promises = Promises()
    cuts = Cuts(promises, STATES)
    files = disk(on_point=cuts)
    script(promises, LocalStore(ROOT, files=files))
    cuts(files)
    assert sum(sources is not None for sources in promises.kept.values()) == 3
    with capsys.disabled():
        print(f"\n{cuts.points} points, {cuts.states} states, {len(cuts.distinct)} distinct, seed {SEED}")


def test_no_acknowledged_snapshot_is_lost_by_a_power_cut_in_random_lives(capsys):
    states = 0
    for number in range(RUNS):
        promises = Promises()
        cuts = Cuts(promises, STATES)
        store = LocalStore(ROOT, files=disk(on_point=cuts))
        repository = Repository.create(store, engine=FakeEngine(), encryption="none")
        promises.made = True
        random_life(promises, repository, SEED + number)
        states += cuts.states
    with capsys.disabled():
        print(f"\n{RUNS} lives, {states} states")


def test_what_a_power_cut_leaves_goes_on():
    """From a sample of states after each call: a collection, a backup and another power cut."""
    promises = Promises()
    rng = random.Random(SEED)
    tried = []

    def go_on(files):
        if rng.random() > 0.25:
            return
        for state in files.crash_states(limit=1):
            place = f"seed {SEED}, after call {files.operations[-1]}"
            again = SimulatedFileSystem.from_state(state)
            repository = promises.check(again, place)
            if repository is None:
                continue
            repository.gc(confirm=True, trash=0, grace=0)
            promises.check(again, place)
            report = repository.backup("more", name="n")
            assert restored(repository, repository.snapshot(report.snapshot)) == {"": "more"}
            repository.gc(confirm=True, trash=0, grace=0)
            for later in again.crash_states(limit=2):
                after = promises.check(SimulatedFileSystem.from_state(later), place)
                assert report.snapshot in {item.id for item in after.snapshots()}
            tried.append(place)

    files = disk(on_point=go_on)
    script(promises, LocalStore(ROOT, files=files))
    assert len(tried) > 50


def test_a_killed_process_loses_nothing_and_the_next_one_goes_on():
    for stop_after in range(0, call_count(), 7):
        files, promises = disk(stop_after=stop_after), Promises()
        try:
            script(promises, LocalStore(ROOT, files=files))
        except SimulatedCrash:
            pass
        files.resume()
        place = f"seed {SEED}, killed after call {stop_after}"
        repository = promises.check(files, place)
        if repository is not None:
            life(promises, repository)
            promises.check(files, place)


@pytest.mark.parametrize("fault", [Fault(errno.ENOSPC), Fault(errno.EIO), Fault(errno.EIO, after=True)], ids=str)
def test_a_call_that_fails_is_a_clean_error(fault):
    count = call_count()
    for number in range(0, count, 5):
        files = disk(fault=lambda call, n=number: fault if call.number == n else None)
        promises = Promises()
        try:
            script(promises, LocalStore(ROOT, files=files))
        except VarkError as error:
            assert isinstance(error, StorageError) or error.exit_code == ExitCode.FAILED
            assert fault.number != errno.ENOSPC or isinstance(error, NoSpaceError)
        place = f"seed {SEED}, call {number} of {count} failed"
        promises.check(files, place)
        for state in files.crash_states(limit=2):
            promises.check(SimulatedFileSystem.from_state(state), place)


def test_a_full_disk_can_be_freed():
    """From some call on nothing can be created: errors are clean, and what is there stays readable."""
    raised = 0
    for full_from in range(20, call_count(), 15):

        def fault(call, full_from=full_from):
            return Fault(errno.ENOSPC) if call.number >= full_from and call.kind in ("create", "write") else None

        files, promises = disk(fault=fault), Promises()
        try:
            script(promises, LocalStore(ROOT, files=files))
        except NoSpaceError as error:
            raised += 1
            assert error.exit_code == ExitCode.NO_SPACE
        files.fault = None
        repository = promises.check(files, f"full from call {full_from}")
        if repository is not None:
            repository.gc(confirm=True, trash=0, grace=0)
            promises.check(files, f"full from call {full_from}, freed")
    assert raised > 10


# The suite finds what is wrong.


def test_it_finds_a_backup_that_is_reported_before_its_commit(monkeypatch):
    from vark.repository import context as module

    monkeypatch.setattr(module, "create_record", lambda store, folder, data, unix_ms: digest_hex(data))
    with pytest.raises(AssertionError):
        promises = Promises()
        script(promises, LocalStore(ROOT, files=disk(on_point=Cuts(promises, 2))))


def test_it_finds_an_archive_that_is_not_synced(monkeypatch):
    monkeypatch.setattr(LocalStore, "_sync_file", lambda self, file, path: None)
    with pytest.raises((AssertionError, VarkError)):
        promises = Promises()
        script(promises, LocalStore(ROOT, files=disk(on_point=Cuts(promises, 8))))


def test_it_finds_a_collector_that_takes_too_much(monkeypatch):
    from vark.repository import collect as module

    monkeypatch.setattr(module, "live_archives", lambda catalog, request, now_ms: set())
    with pytest.raises((AssertionError, VarkError)):
        promises = Promises()
        script(promises, LocalStore(ROOT, files=disk(on_point=Cuts(promises, 2))))
