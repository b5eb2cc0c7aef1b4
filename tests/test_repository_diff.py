"""Diff leaves out what is equal by the tables, and says the same as a diff that reads all. VARK_SEED repeats a run."""

import os
import random

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
    repository = Repository.create(MemoryStore())
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


def views(repository, pair):
    return [repository.open_archive(snapshot)["vectors"] for snapshot in pair]


def test_rows_that_are_known_to_be_equal_are_not_read():
    repository = Repository.create(MemoryStore())
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
