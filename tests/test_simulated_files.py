"""The simulated file system loses exactly what a power cut may take, fails as told, and stands in for the real one."""

import errno
import os
import random
import time

import pytest

from simulated_files import (
    CrashState,
    Fault,
    SimulatedCrash,
    SimulatedFileSystem,
)
from simulated_nodes import PAGE_BYTES, torn_contents
from vark.stores.files import RealFileSystem


def put(files, path, data, *, sync=True):
    file = files.create(path)
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
    if sync:
        file.sync()
    file.close()


def seen(files, limit=1000):
    """Return the contents of each state, as a list of dicts."""
    return [state.files for state in files.crash_states(limit)]


def settled(*paths):
    """Return files that hold these paths durably, each with its own name as content."""
    return SimulatedFileSystem.from_state(CrashState({path: path.encode() for path in paths}, frozenset({"/d", "/e"})))


def test_what_is_synced_is_in_every_state_and_what_is_not_may_be_lost():
    files = SimulatedFileSystem()
    put(files, "/a", b"1")
    assert seen(files) == [{"/a": b"1"}, {}]
    files.sync_folder("/")
    assert seen(files) == [{"/a": b"1"}]
    files.unlink("/a")
    assert seen(files) == [{}, {"/a": b"1"}]
    files.sync_folder("/")
    assert seen(files) == [{}]


def test_names_are_lost_each_for_itself_and_in_any_order():
    files = settled("/d/a")
    files.link("/d/a", "/d/b")
    files.unlink("/d/a")
    found = [set(state) for state in seen(files)]
    assert sorted(map(sorted, found)) == [[], ["/d/a"], ["/d/a", "/d/b"], ["/d/b"]]
    files.sync_folder("/d")
    assert [set(state) for state in seen(files)] == [{"/d/b"}]


def test_a_rename_may_leave_both_names_or_none():
    files = settled("/d/a")
    files.rename_exclusive("/d/a", "/e/a")
    found = [set(state) for state in seen(files)]
    assert sorted(map(sorted, found)) == [[], ["/d/a"], ["/d/a", "/e/a"], ["/e/a"]]
    files.sync_folder("/e")
    assert all("/e/a" in state for state in seen(files))


def test_a_name_that_changed_hands_may_mean_any_of_its_files():
    files = settled("/d/a")
    files.unlink("/d/a")
    put(files, "/d/a", b"second")
    files.unlink("/d/a")
    put(files, "/d/a", b"third")
    assert {state.get("/d/a") for state in seen(files)} == {None, b"/d/a", b"second", b"third"}


def test_a_folder_that_is_lost_takes_everything_in_it_along():
    files = SimulatedFileSystem()
    files.make_folder("/f")
    put(files, "/f/a", b"1")
    files.sync_folder("/f")
    assert seen(files) == [{"/f/a": b"1"}, {}]
    assert {state.folders for state in files.crash_states()} == {frozenset({"/f"}), frozenset()}
    files.sync_folder("/")
    assert seen(files) == [{"/f/a": b"1"}]


def test_content_that_is_not_synced_is_torn_in_every_way():
    files = SimulatedFileSystem()
    data = b"".join(bytes([number]) * PAGE_BYTES for number in (1, 2, 3))
    put(files, "/a", data, sync=False)
    files.sync_folder("/")
    contents = [state["/a"] for state in seen(files)]
    zero = bytes(PAGE_BYTES)
    pages = [data[start : start + PAGE_BYTES] for start in range(0, len(data), PAGE_BYTES)]
    assert contents[:2] == [data, b""]
    assert bytes(len(data)) in contents
    assert zero + pages[1] + zero in contents
    assert pages[0] + zero + pages[2] in contents
    assert pages[0] in contents
    assert data[:-1] in contents
    assert len(set(contents)) == len(contents)


def test_overwritten_pages_mix_old_and_new():
    old, new = b"o" * PAGE_BYTES * 10, b"n" * PAGE_BYTES * 10
    contents = torn_contents(old, new, [len(new)], random.Random(1))
    assert contents[:2] == [new, old]
    assert all(len(content) == len(new) and set(content) <= set(b"on") for content in contents)
    assert len(contents) > 8


def test_few_states_are_all_given_and_many_are_sampled_with_the_extremes():
    files = SimulatedFileSystem(seed=3)
    for number in range(9):
        put(files, f"/{number}", b"")
    assert len(seen(files, limit=512)) == 512
    sample = seen(files, limit=40)
    assert len(sample[0]) == 9
    assert sample[1] == {}
    assert 20 < len(sample) <= 40
    assert {8, 1} <= {len(state) for state in sample[2:]}
    assert sample == seen(files, limit=40)


def test_a_sync_that_failed_has_dropped_the_content_for_good():
    files = SimulatedFileSystem(fault=lambda call: Fault() if call.kind == "sync" and call.number == 2 else None)
    file = files.create("/a")
    file.write(memoryview(b"data"))
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file.sync()
    files.sync_folder("/")
    assert {b"data", b""} <= {state["/a"] for state in seen(files)}


def test_calls_fail_before_or_after_their_effect_or_take_less():
    def fault(call):
        return {"/before": Fault(errno.ENOSPC), "/after": Fault(errno.EIO, after=True)}.get(call.path)

    files = SimulatedFileSystem(fault=fault)
    for path, number in [("/before", errno.ENOSPC), ("/after", errno.EIO)]:
        with pytest.raises(OSError) as caught:
            files.create(path)
        assert caught.value.errno == number
    assert set(files.now().files) == {"/after"}
    files.fault = lambda call: Fault(short=True)
    file = files.create("/short")
    assert file.write(memoryview(b"12345")) == 3
    assert files.now().files["/short"] == b"123"


def test_a_stopped_run_does_nothing_more_until_another_goes_on():
    files = SimulatedFileSystem(stop_after=0)
    with pytest.raises(SimulatedCrash):
        files.make_folder("/a")
    with pytest.raises(SimulatedCrash):
        files.make_folder("/b")
    files.resume()
    files.make_folder("/c")
    assert files.now().folders == {"/a", "/c"}
    assert [(call.kind, call.path) for call in files.operations] == [("make folder", "/a"), ("make folder", "/c")]


def test_points_are_told_after_each_change_only():
    told = []
    files = SimulatedFileSystem(on_point=lambda files: told.append(files.operations[-1].kind))
    put(files, "/a", b"1")
    files.list_folder("/")
    files.read("/a", 0, None)
    with pytest.raises(FileExistsError):
        files.create("/a")
    files.sync_folder("/")
    assert told == ["create", "write", "sync", "sync folder"]


def test_what_is_written_to_the_descriptor_is_taken_over_in_pieces():
    files = SimulatedFileSystem(piece_bytes=1000)
    file = files.create("/a")
    file.write(memoryview(b"head"))
    os.write(file.fileno(), b"x" * 2500)
    assert files.now().files["/a"] == b"head"
    assert file.byte_count() == 2504
    assert files.now().files["/a"] == b"head" + b"x" * 2500
    os.ftruncate(file.fileno(), 0)
    os.pwrite(file.fileno(), b"again", 0)
    file.sync()
    file.close()
    files.sync_folder("/")
    assert seen(files) == [{"/a": b"again"}]
    assert sum(call.kind == "write" for call in files.operations) == 5
    assert sum(call.kind == "truncate" for call in files.operations) == 2


def test_a_state_is_started_from_and_written_to_real_files(tmp_path):
    files = SimulatedFileSystem()
    for folder in ("/f", "/f/g", "/empty"):
        files.make_folder(folder)
    put(files, "/f/g/a", b"1")
    state = files.now()
    again = SimulatedFileSystem.from_state(state)
    assert [found.key for found in again.crash_states()] == [state.key]
    assert again.local_path("/f/g/a") is None
    real = SimulatedFileSystem.from_state(state, materialise_in=tmp_path / "new")
    assert real.local_path("/f/g/a").read_bytes() == b"1"
    assert real.local_path("/f/g/b") is None
    assert (tmp_path / "new" / "empty").is_dir()


def outcomes(files, base):
    """Do one of everything, right and wrong; return what came of it."""

    def attempt(action):
        try:
            return action()
        except OSError as error:
            return error.errno

    def entries(path):
        return sorted((entry.name, entry.is_folder, entry.byte_count) for entry in files.list_folder(base + path))

    def status(path):
        found = files.status(base + path)
        return found.name, found.is_folder, found.byte_count

    yield attempt(lambda: put(files, base + "/nowhere/a", b""))
    files.make_folder(base + "/f")
    put(files, base + "/f/a", b"0123")
    yield attempt(lambda: files.make_folder(base + "/f"))
    yield attempt(lambda: files.create(base + "/f/a"))
    yield attempt(lambda: files.create(base + "/f/a/b"))
    yield attempt(lambda: files.link(base + "/f/a", base + "/f/b"))
    yield attempt(lambda: files.link(base + "/f/a", base + "/f/b"))
    yield attempt(lambda: files.link(base + "/f/none", base + "/f/c"))
    yield attempt(lambda: files.same_file(base + "/f/a", base + "/f/b"))
    yield attempt(lambda: files.rename_exclusive(base + "/f/a", base + "/f/b"))
    yield attempt(lambda: files.rename_exclusive(base + "/f/a", base + "/f/c"))
    yield attempt(lambda: files.rename_exclusive(base + "/f/a", base + "/f/d"))
    yield attempt(lambda: files.unlink(base + "/f/a"))
    yield attempt(lambda: files.unlink(base + "/f"))
    yield attempt(lambda: files.sync_folder(base + "/f"))
    yield attempt(lambda: files.sync_folder(base + "/none"))
    yield attempt(lambda: files.sync_folder(base + "/f/b"))
    yield attempt(lambda: entries("/f"))
    yield attempt(lambda: entries("/none"))
    yield attempt(lambda: entries("/f/b"))
    yield attempt(lambda: status("/f"))
    yield attempt(lambda: status("/f/b"))
    yield attempt(lambda: status("/f/b/c"))
    yield attempt(lambda: files.read(base + "/f/b", 1, 2))
    yield attempt(lambda: files.read(base + "/f/b", 1, None))
    yield attempt(lambda: files.read(base + "/f/b", 9, 9))
    yield attempt(lambda: files.read(base + "/f", 0, 1))
    yield attempt(lambda: files.read(base + "/none", 0, 1))


def test_without_a_crash_it_behaves_as_the_real_one(tmp_path):
    simulated = SimulatedFileSystem()
    simulated.make_folder("/base")
    assert list(outcomes(simulated, "/base")) == list(outcomes(RealFileSystem(), str(tmp_path)))


def test_states_come_fast_enough(capsys):
    """Says how fast; fails only where something has become absurdly slow."""
    files = SimulatedFileSystem()
    files.make_folder("/d")
    files.sync_folder("/")
    for number in range(20):
        put(files, f"/d/{number}", bytes(100), sync=number % 2 == 0)
    begin = time.perf_counter()
    count = len(seen(files, limit=5000))
    speed = count / (time.perf_counter() - begin)
    with capsys.disabled():
        print(f"\n{count} distinct states of 20 files, {speed:.0f} a second")
    assert count > 4000
    assert speed > 500


def test_a_fork_goes_its_own_way_with_what_was_not_synced():
    files = settled("/d/b")
    file = files.create("/d/a")
    file.write(b"one")
    other = files.fork()
    file.sync()
    files.sync_folder("/d")
    assert {state.files.get("/d/a") for state in files.crash_states()} == {b"one"}
    assert {None, b"one", b""} <= {state.files.get("/d/a") for state in other.crash_states()}
    other.unlink("/d/a")
    assert files.read("/d/a", 0, None) == b"one"
