"""Add a golden repository that is missing; never touch one that is there.

    python tests/golden/make_golden_repository.py

Five days of a small graph and a matrix: full, rows updated, rows added, every row moved a little, rows removed; one snapshot
is tagged, one held, one forgotten and one compacted.
"""

import json
import shutil
import tempfile
from pathlib import Path

import hnswlib
import numpy as np
from blake3 import blake3
from make_golden import vectors

import vark

HERE = Path(__file__).resolve().parent
NAME = "v1.1_repository"
DAYS = ("full", "updated", "added", "drifted", "removed")


def days(folder):
    """Yield name and source of each day: a folder with a graph and a matrix."""
    rows, fresh, noise = vectors(1200, 64, 11), vectors(60, 64, 12), vectors(1260, 64, 13)
    graph = hnswlib.Index("l2", 64)
    graph.init_index(1300, M=8, ef_construction=40, random_seed=1)
    graph.set_num_threads(1)
    graph.add_items(rows, np.arange(1200) * 3)
    for day in DAYS:
        if day == "updated":
            rows[::90] = fresh[:14]
            graph.add_items(rows[::90], np.arange(1200)[::90] * 3)
        elif day == "added":
            rows = np.concatenate([rows, fresh])
            graph.add_items(fresh, np.arange(1200, 1260) * 3)
        elif day == "drifted":
            rows = rows + noise * np.float32(1e-3)
        elif day == "removed":
            rows = np.delete(rows, np.arange(100, 130), axis=0)
        graph.save_index(str(folder / "graph.hnswlib"))
        np.save(folder / "matrix.npy", rows)
        yield day


def main():
    """Write the repository and what it must restore to."""
    target = HERE / NAME
    if target.exists():
        raise SystemExit(f"{target} exists; golden repositories are never made anew")
    expected = {}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "index"
        source.mkdir()
        repository = vark.Repository.create(target, encryption="none")
        for day in days(source):
            report = repository.backup(source, name="index", tags={"day": day})
            files = {path.name: blake3(path.read_bytes()).hexdigest() for path in sorted(source.iterdir())}
            expected[report.snapshot] = {"day": day, "members": files, "base": report.archives[0].base is not None}
        ids = list(expected)
        repository.hold(ids[0], reason="golden")
        repository.forget([ids[1]], confirm=True)
        repository.compact(ids[2])
    (HERE / f"{NAME}.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(target / "sessions", ignore_errors=True)


if __name__ == "__main__":
    main()
