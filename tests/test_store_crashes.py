"""Power cuts, kills and failing calls at every operation of a store, and proof that the suite finds planted bugs.

VARK_SEED replays a run; VARK_STATES sets how many states are tried at each point, VARK_RUNS the random runs.
"""

import contextlib
import copy
import errno
import itertools
import os
import random
import time

import pytest

import vark
from simulated_files import CrashState, Fault, SimulatedCrash, SimulatedFileSystem
from vark.errors import NoSpaceError, ObjectExistsError, StorageError, VarkError
from vark.stores import LocalStore
from vark.stores.local import LocalWriter

SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
STATES = int(os.environ.get("VARK_STATES", "64"))
RUNS = int(os.environ.get("VARK_RUNS", "24"))
ROOT = "/disk/repository"
LONG = bytes(range(256)) * 40  # three pages
# What is written to a descriptor is marked so that a mix of two objects shows.
SCRIPT = [
    ("create", "vark.json", b'{"format":"vark-repository"}'),
    ("writer", "archives/one/000000.vark", LONG),
    ("create", "commits/2024-01/c1.json", b'{"kind":"commit"}' * 8),
    ("create", "root/1.json", b"first"),
    ("create", "root/1.json", b"second"),
    ("create", "archives/two/000000.vark", LONG[::-1]),
    ("delete", "commits/2024-01/c1.json", None),
    ("delete", "archives/one/000000.vark", None),
    ("delete", "archives/gone/000000.vark", None),
    ("create", "commits/2024-02/c2.json", b""),
]


class Violation(AssertionError):
    """A promise of the store was broken."""


class Ledger:
    """What the script was told, hence what may be found: name -> allowed contents, None for absent."""

    def __init__(self):
        self.allowed = {}

    def run(self, store, step):
        """Do one step. An error of the store passes through; what is allowed then is both outcomes."""
        how, name, data = step
        if how == "delete":
            self.allowed[name] = self.allowed.get(name, {None}) | {None}
            store.delete(name)
            self.allowed[name] = {None}
        elif how == "writer":
            with store.writer(name) as writer:
                os.write(writer.fileno(), data)
                self.give(name, data, writer.commit)
        else:
            self.give(name, data, lambda: store.create(name, data))

    def give(self, name, data, action):
        """Do what gives a name to data."""
        before = self.allowed.get(name, {None})
        self.allowed[name] = before | {data}
        try:
            action()
            self.allowed[name] = {data}
        except ObjectExistsError:
            # Told that the name is taken, and durably: what is there can only be what was there before.
            self.allowed[name] = before - {None}
            if not self.allowed[name]:
                raise Violation(f"{name} is said to exist and was never created") from None

    def check(self, store, place):
        found = {entry.name for entry in store.list("")}
        for name in found - self.allowed.keys():
            raise Violation(f"{place}: {name} is listed and was never written")
        for name, allowed in self.allowed.items():
            content = store.read(name) if name in found else None
            if content not in allowed:
                shown = "absent" if content is None else f"{len(content)} bytes that were not written"
                raise Violation(f"{place}: {name} is {shown}")
            if content is not None and store.byte_count(name) != len(content):
                raise Violation(f"{place}: {name} has two sizes")


class Count:
    def __init__(self):
        self.points = self.states = 0
        self.distinct = set()


def check_states(files, ledger, place, count, limit=STATES, store=LocalStore):
    count.points += 1
    for state in files.crash_states(limit):
        count.states += 1
        count.distinct.add(hash(state.key))
        ledger.check(store(ROOT, files=SimulatedFileSystem.from_state(state)), f"seed {SEED}, {place}")


def disk(**settings):
    """Files with a durable folder above the repository's."""
    start = CrashState({}, frozenset({"/disk"}))
    return SimulatedFileSystem.from_state(start, seed=SEED, **settings)


def last(files):
    operation = files.operations[-1]
    return f"after call {operation.number}, {operation.kind} {operation.path}"


# The suite. Each part takes the class of the store, so that broken ones can be given to it.


def cut_power_everywhere(store_class, count, **settings):
    """After each call, all states (or a sample): what was acknowledged is there, everything else whole or absent."""
    ledger = Ledger()
    files = disk(on_point=lambda files: check_states(files, ledger, last(files), count), **settings)
    store = store_class(ROOT, files=files)
    for step in SCRIPT:
        ledger.run(store, step)
        check_states(files, ledger, f"{step[0]} {step[1]} acknowledged", count)
    return files


def call_count(store_class, **settings):
    files = disk(**settings)
    store, ledger = store_class(ROOT, files=files), Ledger()
    for step in SCRIPT:
        ledger.run(store, step)
    return len(files.operations)


def kill_everywhere(store_class, count):
    """A process dies after each call; the next one does everything again, and the power is cut after it."""
    for stop_after in range(call_count(store_class)):
        files, ledger = disk(stop_after=stop_after), Ledger()
        with contextlib.suppress(SimulatedCrash):
            store = store_class(ROOT, files=files)
            for step in SCRIPT:
                ledger.run(store, step)
        files.resume()
        ledger.check(LocalStore(ROOT, files=files), f"killed {last(files)}")
        again = store_class(ROOT, files=files)
        for step in SCRIPT:
            ledger.run(again, step)
            check_states(files, ledger, f"killed after call {stop_after}, again {step[0]} {step[1]}", count, limit=6)


def fail_everywhere(store_class, count, faults):
    """Each call fails once in each way: nothing false is acknowledged, then or after a power cut."""
    for number, fault in itertools.product(range(call_count(store_class)), faults):
        files, ledger = disk(fault=lambda call, n=number, f=fault: f if call.number == n else None), Ledger()
        store = store_class(ROOT, files=files)
        for step in SCRIPT:
            try:
                ledger.run(store, step)
            except OSError as error:  # told; the ledger allows both outcomes
                assert isinstance(error, VarkError) or store_class is not LocalStore
            if len(files.operations) > number:
                place = f"{fault} at {files.operations[number]}, {step[0]} {step[1]}"
                check_states(files, ledger, place, count, limit=8)
        ledger.check(LocalStore(ROOT, files=files), place)


def cut_power_twice(store_class, count):
    """The power is cut after each call; a second run starts from what is left, and the power is cut again after it."""
    ledger = Ledger()

    def second_run(files):
        for state in files.crash_states(limit=8):
            again, after = SimulatedFileSystem.from_state(state, seed=SEED), copy.deepcopy(ledger)
            store = store_class(ROOT, files=again)
            for step in SCRIPT:
                after.run(store, step)
                check_states(again, after, f"{last(files)}, then {step[0]} {step[1]}", count, limit=6)

    files = disk(on_point=second_run)
    store = store_class(ROOT, files=files)
    for step in SCRIPT:
        ledger.run(store, step)


def cut_power_of_many(store_class, seed, count):
    """Random runs of three processes whose writers are open at the same time, and now and then fight for a name."""
    rng, ledger = random.Random(seed), Ledger()
    files = disk(on_point=lambda files: check_states(files, ledger, f"{seed}: {last(files)}", count, limit=24))
    stores = [store_class(ROOT, files=files) for _ in range(3)]
    names = [f"{folder}/{number}" for folder in ("root", "archives/a", "archives/b", "commits/1") for number in (1, 2)]
    open_writers = []
    for turn in range(14):
        name, data = rng.choice(names), rng.randbytes(rng.choice((0, 20, 700, 5000)))
        choice = rng.random()
        if choice < 0.5:
            writer = rng.choice(stores).writer(name)
            os.write(writer.fileno(), data)
            with contextlib.suppress(AttributeError):
                writer._file.byte_count()  # as if the system had looked at the file now
            open_writers.append((writer, name, data))
        elif choice < 0.6:
            ledger.run(rng.choice(stores), ("create", name, data))
        elif choice < 0.7:
            ledger.run(rng.choice(stores), ("delete", name, None))
        if len(open_writers) > 3 or (open_writers and turn > 9):
            writer, name, data = open_writers.pop(rng.randrange(len(open_writers)))
            with writer:
                if rng.random() < 0.9:
                    ledger.give(name, data, writer.commit)
    for writer, _, _ in open_writers:
        writer.__exit__(None, None, None)


FAULTS = [
    Fault(errno.EIO),
    Fault(errno.EIO, after=True),
    Fault(errno.ENOSPC),
    Fault(errno.EINTR),
    Fault(errno.EINTR, after=True),
    Fault(short=True),
]


def test_power_cuts_at_every_call(capsys):
    count, begin = Count(), time.perf_counter()
    files = cut_power_everywhere(LocalStore, count)
    seconds = time.perf_counter() - begin
    assert count.points > 60
    assert len(count.distinct) > 80
    with capsys.disabled():
        print(
            f"\nseed {SEED}: {len(files.operations)} calls, {count.points} points, {count.states} states, "
            f"{len(count.distinct)} distinct, {count.states / seconds:.0f} states a second checked"
        )


def test_power_cuts_where_files_can_only_be_renamed():
    cut_power_everywhere(LocalStore, Count(), hard_links=False)


def test_kills_at_every_call_and_a_second_run():
    count = Count()
    kill_everywhere(LocalStore, count)
    assert count.states > 800


def test_power_cuts_twice():
    count = Count()
    cut_power_twice(LocalStore, count)
    assert count.states > 1000


def test_power_cuts_of_many_processes(capsys):
    count, begin = Count(), time.perf_counter()
    for run in range(RUNS):
        cut_power_of_many(LocalStore, f"{SEED}.{run}", count)
    seconds = time.perf_counter() - begin
    assert len(count.distinct) > 150 * RUNS
    with capsys.disabled():
        print(
            f"\nseed {SEED}: {RUNS} runs, {count.points} points, {count.states} states checked, "
            f"{len(count.distinct)} distinct, {len(count.distinct) / seconds:.0f} distinct a second"
        )


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_errors_at_every_call(fault):
    count = Count()
    fail_everywhere(LocalStore, count, [fault])
    assert count.states > 200


def test_a_disk_that_stays_full_still_allows_deleting():
    for full_from in range(call_count(LocalStore)):

        def fault(call, full_from=full_from):
            if call.number >= full_from and call.kind in ("create", "write", "make folder", "link"):
                return Fault(errno.ENOSPC)
            return None

        files, ledger = disk(fault=fault), Ledger()
        store = LocalStore(ROOT, files=files)
        for step in SCRIPT:
            if step[0] == "delete":
                ledger.run(store, step)
            else:
                with contextlib.suppress(NoSpaceError):
                    ledger.run(store, step)
        check_states(files, ledger, f"full from call {full_from}", Count(), limit=8)


def test_a_failed_sync_is_never_tried_again():
    calls = call_count(LocalStore)
    for number in range(calls):
        files = disk(fault=lambda call, n=number: Fault(errno.EIO) if call.number == n else None)
        store, ledger, told = LocalStore(ROOT, files=files), Ledger(), 0
        for step in SCRIPT:
            try:
                ledger.run(store, step)
            except StorageError:
                told += 1
        if files.operations[number].kind in ("sync", "sync folder"):
            syncs = [call for call in files.operations[number + 1 :] if call.kind.startswith("sync")]
            assert told > 0
            assert syncs == []


def test_an_archive_of_the_engine_survives_in_every_state(tmp_path, vectors):
    """The engine writes to the descriptor; what a power cut leaves is opened by the engine, from real files."""
    name, acknowledged, whole, number = "archives/one/000000.vark", [], [], itertools.count()

    def check(files):
        for state in files.crash_states(limit=12):
            after = SimulatedFileSystem.from_state(state, materialise_in=tmp_path / str(next(number)))
            path = LocalStore(ROOT, files=after).local_path(name)
            assert path is not None or not acknowledged
            if path is not None:
                report = vark.verify_archive(path)
                assert report.ok
                whole.append(state.key)

    files = disk(on_point=check)
    with LocalStore(ROOT, files=files).writer(name) as writer:
        vark.write_archive(vectors, writer.fileno())
        writer.commit()
    acknowledged.append(name)
    check(files)
    writes = [call for call in files.operations if call.kind == "write"]
    assert len(writes) > 5
    assert whole


# Planted bugs: each must be found by the suite.


class WithoutFileSync(LocalStore):
    def _sync_file(self, file, path):
        file.byte_count()


class WithoutFolderSync(LocalStore):
    def _sync_folder(self, folder):
        pass


class WithoutParentSync(LocalStore):
    def _make_durable_folder(self, folder):
        if not self._is_folder(folder):
            self._make_durable_folder(os.path.dirname(folder))
            self.files.make_folder(folder)


class TrustsFoldersThatExist(LocalStore):
    def _make_durable_folder(self, folder):
        if not self._is_folder(folder):
            super()._make_durable_folder(folder)


class TrustsNamesThatAreTaken(LocalStore):
    def _publish(self, temporary, path):
        if self._exists(path):
            raise ObjectExistsError(path)
        super()._publish(temporary, path)

    def _exists(self, path):
        try:
            return bool(self.files.status(path))
        except FileNotFoundError:
            return False


class DeletesWithoutSync(LocalStore):
    def delete(self, name):
        with contextlib.suppress(FileNotFoundError):
            self.files.unlink(self._path(name))


class RetriesSync(LocalStore):
    def _sync_file(self, file, path):
        for attempt in range(3):
            try:
                return file.sync()
            except OSError:
                if attempt == 2:
                    raise


class IgnoresFailedFolderSync(LocalStore):
    def _sync_folder(self, folder):
        with contextlib.suppress(OSError):
            super()._sync_folder(folder)


class WithOtherWriter(LocalStore):
    def writer(self, name):
        self._make_durable_folder(os.path.dirname(self._path(name)))
        return self.writer_class(self, self._path(name))


class PublishesBeforeSync(WithOtherWriter):
    class writer_class(LocalWriter):
        def commit(self):
            file = self._open_file()
            byte_count = file.byte_count()
            self._store._publish(self._temporary, self._path)
            self._store._sync_file(file, self._path)
            self._discard()
            return byte_count


class WritesInPlace(WithOtherWriter):
    class writer_class(LocalWriter):
        def __init__(self, store, path):
            self._store, self._path, self._temporary = store, path, path
            try:
                self._file = store.files.create(path)
            except FileExistsError:
                store._sync_folder(os.path.dirname(path))
                raise ObjectExistsError(path) from None

        def commit(self):
            byte_count = self._file.byte_count()
            self._store._sync_file(self._file, self._path)
            self._store._sync_folder(os.path.dirname(self._path))
            self._file.close()
            self._file = None
            return byte_count


class IgnoresShortWrites(WithOtherWriter):
    class writer_class(LocalWriter):
        def write(self, data):
            for start in range(0, len(data), 4096):
                self._open_file().write(memoryview(data)[start : start + 4096])


BUGS = [
    WithoutFileSync,
    WithoutFolderSync,
    WithoutParentSync,
    TrustsFoldersThatExist,
    TrustsNamesThatAreTaken,
    DeletesWithoutSync,
    RetriesSync,
    IgnoresFailedFolderSync,
    PublishesBeforeSync,
    WritesInPlace,
    IgnoresShortWrites,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_suite_finds_a_planted_bug(bug):
    with pytest.raises(Violation):
        cut_power_everywhere(bug, Count())
        kill_everywhere(bug, Count())
        fail_everywhere(bug, Count(), FAULTS)
