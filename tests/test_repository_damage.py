"""Damage anywhere in a repository of full archives, deltas and compacted ones: named exactly, object by object and row
by row. What is true is found without verification: by comparing bytes, and by reading every row of every snapshot.

VARK_DAMAGES sets how many cases (150 by default; the release figure is 1000), VARK_SEED repeats a run but for its new ids.
"""

import os
import random

import numpy as np
import pytest

from repositories import put_archive
from vark.errors import VarkError
from vark.repository import Repository
from vark.stores import MemoryStore

CASES = int(os.environ.get("VARK_DAMAGES", "150"))
SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
BLOCKS = 5  # parts of the run, so that a failure names its case soon


def filled(seed):
    """A chain of deltas that changes, adds, removes and moves rows, one of them compacted; shards; marks; collections."""
    generator = np.random.default_rng(seed)
    store = MemoryStore()
    repository = Repository.create(store, encryption="none")
    rows = generator.standard_normal((4500, 64), np.float32)
    reports = [repository.backup(rows, name="chain", documents={"README.md": "# rows"}, threads=1)]
    for number in range(4):
        rows = rows.copy()
        rows[generator.choice(len(rows), 60, replace=False)] += 1
        if number == 1:
            rows = np.concatenate([rows[:1000], rows[1010:], generator.standard_normal((50, 64), np.float32)])
        elif number == 2:
            rows = np.concatenate([rows[3000:], rows[:3000]])
        reports.append(repository.backup(rows, name="chain", threads=1, documents={"README.md": f"# {number}"}))
    assert [report.archives[0].base is None for report in reports] == [True] + [False] * 4
    repository.compact(reports[2].snapshot)
    repository.backup_shards({"a": generator.integers(0, 9, 3000), "b": np.arange(2000)}, name="shards", threads=1)
    repository.tag(reports[1].snapshot, {"k": "v"})
    repository.hold(reports[0].snapshot)
    for _ in range(2):
        put_archive(store)
        repository.gc(confirm=True, grace=0)
    repository.verify(threads=1)
    return repository


@pytest.fixture(scope="module")
def whole():
    repository = filled(SEED)
    assert repository.verify(threads=1).ok
    return repository


def place(rng, data):
    """Return an offset: anywhere, or near an end, where small things lie that much depends on."""
    count = len(data)
    return rng.choice(
        [rng.randrange(count), rng.randrange(min(count, 1500)), count - 1 - rng.randrange(min(count, 3000))]
    )


def flip(rng, data):
    data[place(rng, data)] ^= 1 << rng.randrange(8)


def zero(rng, data):
    start = place(rng, data)
    count = min(rng.choice([1, 16, 512, 4096]), len(data) - start)
    data[start : start + count] = bytes(count)


def truncate(rng, data):
    del data[rng.choice([0, rng.randrange(len(data)), len(data) - 1]) :]


def append(rng, data):
    data += rng.randbytes(rng.choice([1, 100, 5000]))


def damage(rng, objects):
    """Damage 1 to 50 places; return the objects whose bytes are others than before, or that are gone."""
    found = {name: bytearray(data) for name, data in objects.items()}
    # In the order of their creation, so that a seed finds the same ones again; sessions only save work.
    names = [name for name in objects if not name.startswith("sessions/")]
    archives = [name for name in names if name.startswith("archives/")]
    for _ in range(rng.choice([1, 1, 1, 2, 5, 50])):
        # Most bytes are in archives, and most kinds of objects are records: half and half.
        name = rng.choice(archives if rng.random() < 0.5 else names)
        kind = rng.choice([flip, flip, flip, zero, zero, truncate, append, "delete", "swap"])
        if kind == "delete":
            # Nobody can tell that a commit, a mark or a report was there: other objects do not name it.
            newest = max(item for item in names if item.startswith("root/"))
            if name.startswith(("archives/", "root/", "vark.json")) and name != newest:
                found.pop(name, None)
        elif kind == "swap":
            other = rng.choice([item for item in names if item.split("/")[0] == name.split("/")[0]])
            if name in found and other in found:
                found[name], found[other] = found[other], found[name]
        elif found.get(name):
            kind(rng, found[name])
    changed = {name for name, data in objects.items() if found.get(name) != data}
    return {name: bytes(data) for name, data in found.items()}, changed


def unreadable(repository, snapshot):
    """Return whether an archive of a snapshot cannot be opened, and (shard, stream) -> which rows cannot be read."""
    lost, closed = {}, False
    for archive in snapshot.archives:
        try:
            opened = repository.open_archive(snapshot, shard=archive.shard or None)
        except VarkError:
            closed = True
            continue
        with opened:
            for info in opened.streams:
                view = opened[info.name]
                count = len(view)
                mask = np.zeros(count, bool)
                step = max(-(-count // max(info.chunk_count, 1)), 1)
                for first in range(0, count, step):
                    try:
                        view[first : first + step]
                    except VarkError:
                        for row in range(first, min(first + step, count)):
                            mask[row] = not readable(view, row)
                if mask.any():
                    lost[archive.shard, info.name] = mask
    return closed, lost


def readable(view, row):
    try:
        view[row : row + 1]
    except VarkError:
        return False
    return True


def said(touched, shapes):
    """Return the rows of a report as masks."""
    masks = {}
    for shard, stream, first, count in touched.rows:
        mask = masks.setdefault((shard, stream), np.zeros(shapes[shard, stream], bool))
        mask[first : first + count] = True
    return masks


def shapes_of(repository):
    """Return snapshot -> (shard, stream) -> rows."""
    shapes = {}
    for snapshot in repository.snapshots():
        for archive in snapshot.archives:
            with repository.open_archive(snapshot, shard=archive.shard or None) as opened:
                for info in opened.streams:
                    shapes.setdefault(snapshot.id, {})[archive.shard, info.name] = info.shape[0]
    return shapes


def check(whole, shapes, seed, level):
    """One case: return a text that says what was missed or falsely accused, and how much there was."""
    rng = random.Random(seed)
    objects = {name: data for name, (data, _) in whole.store._objects.items()}
    found, changed = damage(rng, objects)
    store = MemoryStore()
    store._objects = {name: (data, 0) for name, data in found.items()}
    repository = Repository.open(store, rescue=True)
    report = repository.verify(level=level, threads=1)
    named = {item.object for item in report.damaged}
    # What a damaged commit alone names can be gone without anyone's knowledge.
    known = [item for item in whole.snapshots() if not any(item.commit in name for name in changed)]
    needed = {f"archives/{ancestor.id}/000000.vark" for item in known for ancestor in item.needed()}
    expected = {name for name in changed if name in found or name in needed or not name.startswith("archives/")}
    if not expected <= named <= changed:
        return f"missed {expected - named}, falsely named {named - changed}", changed
    return wrong_rows(repository, known, report, shapes), changed


def wrong_rows(repository, known, report, shapes):
    """Return what is wrong with the snapshots and rows that a report names, None where nothing is."""
    reported = {item.snapshot: item for item in report.touched}
    for snapshot in known:
        closed, lost = unreadable(repository, snapshot)
        touched = reported.get(snapshot.id)
        if touched is None:
            if closed or lost:
                return f"snapshot {snapshot.id} is touched and was not named"
            continue
        if touched.whole != closed:
            return f"snapshot {snapshot.id}: whole {touched.whole}, but archives closed: {closed}"
        masks = said(touched, shapes[snapshot.id])
        for key in masks.keys() | lost.keys():
            nothing = np.zeros(shapes[snapshot.id][key], bool)
            wrong = masks.get(key, nothing) != lost.get(key, nothing)
            if wrong.any():
                return f"snapshot {snapshot.id}: {key}: wrong rows {np.flatnonzero(wrong)[:5]} of {wrong.sum()}"
    return None


@pytest.mark.parametrize("block", range(BLOCKS))
def test_damage_is_named_exactly(whole, block, capsys):
    shapes, objects = shapes_of(whole), 0
    cases = range(block, CASES, BLOCKS)
    for case in cases:
        level = "stored" if case % 3 == 0 else "full"
        wrong, changed = check(whole, shapes, f"{SEED}.{case}", level)
        objects += len(changed)
        assert wrong is None, f"seed {SEED}, case {case}, level {level}: {wrong}; damaged: {sorted(changed)}"
    with capsys.disabled():
        print(f"\nseed {SEED}: {len(cases)} cases, {objects} damaged objects, none missed, none falsely named")


def test_rows_in_an_ancestor_that_does_not_open_by_itself_are_named(whole):
    """What is damaged beside its trailer only shows when deltas that point into it are read."""
    store, newest = MemoryStore(), whole.snapshots(name="chain")[-1]
    store._objects = dict(whole.store._objects)
    name = f"archives/{max(newest.closure, key=lambda ancestor: ancestor.bytes).id}/000000.vark"
    data = bytearray(store._objects[name][0])
    data[len(data) // 3] ^= 1
    data[-60] ^= 1
    store._objects[name] = (bytes(data), 0)
    repository = Repository.open(store)
    report = repository.verify(threads=1)
    assert [item.object for item in report.damaged] == [name]
    touched = {item.snapshot: item for item in report.touched}
    assert touched[newest.id].rows
    assert not touched[newest.id].whole
    assert wrong_rows(repository, whole.snapshots(), report, shapes_of(whole)) is None
