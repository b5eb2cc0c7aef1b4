"""Diff leaves out what is equal by the tables, and says the same as a diff that reads all. VARK_SEED repeats a run."""

import os
import random

import faiss
import hnswlib
import numpy as np
import pytest

from vark.repository import Repository, rows
from vark.stores import MemoryStore
from vark.views import StreamView

SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))


def edited(generator, data):
    """Change, move, remove or add some rows."""
    data = data.copy()
    kind, at = generator.integers(6), int(generator.integers(len(data)))
    if kind == 0:
        data[generator.choice(len(data), 30, replace=False)] += 1
    elif kind == 1:
        data[at : at + 50] += 1
    elif kind == 2:
        data = np.concatenate([data[at:], data[:at]])
    elif kind == 3:
        data = np.concatenate([data[:at], data[at + 40 :]])
    elif kind == 4:
        data = np.concatenate([data[:at], generator.standard_normal((60, data.shape[1]), np.float32), data[at:]])
    return data


@pytest.mark.parametrize("columns", [2, 64])  # compared chunk by chunk, and row by row
def test_a_diff_says_the_same_as_one_that_reads_everything(monkeypatch, columns):
    generator = np.random.default_rng(SEED)
    repository = Repository.create(MemoryStore(), encryption="none")
    data = generator.standard_normal((9000, columns), np.float32)
    taken = []
    for number in range(7):
        documents = {"same": "text" * 100, "other": str(number // 2)}
        taken.append(repository.backup(data, name="n", documents=documents).snapshot)
        data = edited(generator, data)
    pairs = [(before, after) for before in taken for after in taken]
    quick = [repository.diff(before, after) for before, after in pairs]
    known = np.mean([StreamView.equal_rows(*views(repository, pair)).mean() for pair in pairs])
    assert known > 0.2, f"seed {SEED}"
    monkeypatch.setattr(StreamView, "equal_rows", lambda self, other: np.zeros(min(len(self), len(other)), bool))
    assert [repository.diff(before, after) for before, after in pairs] == quick, f"seed {SEED}"


def edited_rows(generator, rows):
    """Change, add, remove or move rows of (id, vector); never two rows of one id."""
    ids, data = rows
    kind = generator.integers(5)
    if kind == 0:
        data = data.copy()
        data[generator.choice(len(data), 9, replace=False)] += 1
    elif kind == 1:
        ids = np.concatenate([ids, ids.max() + 1 + np.arange(40)])
        data = np.concatenate([data, generator.standard_normal((40, data.shape[1]), np.float32)])
    elif kind == 2:
        kept = np.sort(generator.choice(len(ids), len(ids) - 20, replace=False))
        ids, data = ids[kept], data[kept]
    elif kind == 3:
        ids = ids.copy()
        some = generator.choice(len(ids), 30, replace=False)
        ids[some] = ids[np.roll(some, 1)]
    return ids, data


def hnswlib_index(ids, data):
    index = hnswlib.Index("l2", data.shape[1])
    index.init_index(len(ids), M=4, ef_construction=8)
    index.set_num_threads(1)
    index.add_items(data, ids)
    return index


def faiss_index(ids, data):
    index = faiss.IndexIDMap(faiss.IndexFlatL2(data.shape[1]))
    index.add_with_ids(data, ids)
    return index


def stored(archive):
    (ids,) = [stream.name for stream in archive.streams if stream.role == "ids"]
    return archive[ids][:], archive["vectors"][:]


def by_hand(before, after):
    """Added, removed, changed and moved rows: the first row of an id with the first, the second with the second."""
    sides = []
    for ids, data in (before, after):
        seen, found = {}, {}
        for row, (number, vector) in enumerate(zip(ids.tolist(), data, strict=True)):
            seen[number] = seen.get(number, 0) + 1
            found[number, seen[number]] = row, vector.tobytes()
        sides.append(found)
    old, new = sides
    both = old.keys() & new.keys()
    changed = sum(old[key][1] != new[key][1] for key in both)
    moved = sum(old[key][1] == new[key][1] and old[key][0] != new[key][0] for key in both)
    return len(new) - len(both), len(old) - len(both), changed, moved


@pytest.mark.parametrize(("library", "shared_ids"), [("hnswlib", 1), ("faiss", 1), ("faiss", 21)])
def test_a_diff_by_id_says_what_comparing_all_rows_says(library, shared_ids):
    generator = np.random.default_rng(SEED)
    rows_of_day = (np.arange(3000, dtype=np.int64) * 7, generator.standard_normal((3000, 24), np.float32))
    repository = Repository.create(MemoryStore(), encryption="none")
    taken = []
    for _ in range(5):
        ids, data = rows_of_day
        ids = ids // shared_ids * 7  # rows of one id are possible in faiss only: hnswlib replaces the one that it has
        index = hnswlib_index(ids, data) if library == "hnswlib" else faiss_index(ids, data)
        snapshot = repository.backup(index, name="n").snapshot
        taken.append((snapshot, stored(repository.open_archive(snapshot))))
        rows_of_day = edited_rows(generator, rows_of_day)
    for before, old in taken:
        for after, new in taken:
            (found,) = [one for one in repository.diff(before, after).streams if one.role in ("vectors", "codes")]
            assert found.by == "id"
            counts = (found.added, found.removed, found.changed, found.moved)
            assert counts == by_hand(old, new), f"seed {SEED}"


def views(repository, pair):
    return [repository.open_archive(snapshot)["vectors"] for snapshot in pair]


def test_rows_that_are_known_to_be_equal_are_not_read():
    repository = Repository.create(MemoryStore(), encryption="none")
    data = np.random.default_rng(1).standard_normal((40_000, 64), np.float32)
    before = repository.backup(data, name="n").snapshot
    data[20_000:20_050] += 1
    after = repository.backup(data, name="n").snapshot
    archives = [repository.open_archive(snapshot) for snapshot in (before, after)]
    views = [archive["vectors"] for archive in archives]
    start = [archive.io_counts for archive in archives]
    assert list(np.flatnonzero(rows.differing(*views))) == list(range(20_000, 20_050))
    read = [archive.io_counts[1] - first[1] for archive, first in zip(archives, start, strict=True)]
    assert sum(read) < data.nbytes / 4  # of 2 × 10 MB
    assert list(rows.unequal_runs(*views)) == [(20_000, 20_050)]
    start = archives[0].io_counts
    again = repository.open_archive(before)["vectors"]
    assert not rows.differing(views[0], again).any()
    assert archives[0].io_counts == start


def test_rows_of_ids_that_stayed_are_not_read():
    repository = Repository.create(MemoryStore(), encryption="none")
    data = np.random.default_rng(2).standard_normal((40_000, 64), np.float32)
    ids = np.arange(40_000, dtype=np.int64)
    taken = [repository.backup(faiss_index(ids, data), name="n").snapshot]
    data[20_000:20_050] += 1
    taken.append(repository.backup(faiss_index(ids, data), name="n").snapshot)
    more = np.concatenate([data, data[:100] + 2])
    taken.append(repository.backup(faiss_index(np.arange(40_100), more), name="n").snapshot)
    for pair, counts in [((0, 1), (0, 0, 50, 0)), ((1, 2), (100, 0, 0, 0)), ((0, 2), (100, 0, 50, 0))]:
        archives = [repository.open_archive(taken[number]) for number in pair]
        start = [archive.io_counts for archive in archives]
        found = rows.compare_by_id(*(archive[name] for name in ("vectors", "id_map") for archive in archives))
        assert (found.added, found.removed, found.changed, found.moved) == counts
        read = [archive.io_counts[1] - first[1] for archive, first in zip(archives, start, strict=True)]
        assert sum(read) < data.nbytes / 4  # of 2 × 10 MB
