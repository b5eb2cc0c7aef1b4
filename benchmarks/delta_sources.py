"""Pairs of files, before and after a day's changes, made through the libraries and kept, as that takes minutes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import hnswlib
import numpy as np

from rows import SEED, Rows, clustered
from sources import kept, source_of

LISTS = 1024
TRAINING_ROWS = 65_536


@dataclass(frozen=True)
class Change:
    """A source before and after. limit: what new bytes may be, in percent of a full archive; None for "not larger"."""

    name: str
    before: Path
    after: Path
    limit: float | None


def changes(row_count: int, dim: int, folder: Path) -> Iterator[Change]:
    """Yield the pairs over clustered rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = clustered(row_count, dim)
    fresh = clustered(row_count + row_count // 100, dim).values[-(row_count // 100) :]
    graph = source_of("hnswlib", rows, folder).path
    for percent, limit in ((0, 0.1), (1, 1.5), (10, 15.0)):
        after = graph if percent == 0 else updated_graph(graph, rows, percent, folder)
        yield Change(f"hnswlib, {percent} % of rows updated", graph, after, limit)
    yield _grown("faiss IVF-Flat, 1 % of rows added", _ivf_flat(rows, folder), "ivfflat", rows, fresh, folder)
    yield _removed(rows, folder)
    flat_graph = source_of("faiss", rows, folder).path
    yield _grown("faiss HNSWFlat, 1 % of rows added", flat_graph, "hnswflat", rows, fresh, folder)
    noise = np.random.default_rng(SEED).standard_normal(rows.values.shape, dtype=np.float32) * np.float32(1e-3)
    drifted = Rows("drifted", "moved by noise of 1e-3", rows.values + noise)
    before, after = (source_of("npy", each, folder).path for each in (rows, drifted))
    yield Change("matrix, every row moved by noise of 1e-3", before, after, None)


def updated_graph(path: Path, rows: Rows, percent: int, folder: Path, *, seed: int = SEED) -> Path:
    """Return an hnswlib file in which so many rows were replaced under their labels."""

    def make(target: Path) -> None:
        index = hnswlib.Index("l2", rows.values.shape[1])
        index.load_index(str(path))
        rng = np.random.default_rng(seed)
        labels = rng.choice(len(rows.values), len(rows.values) * percent // 100, replace=False)
        # Another row of the same data, as a product gets another text.
        index.add_items(rows.values[rng.permutation(len(rows.values))[: len(labels)]], labels)
        index.save_index(str(target))

    return kept(folder, f"updated-{percent}-{seed}", rows, ".hnswlib", make)


def _grown(name: str, first: Path, short: str, rows: Rows, fresh: Any, folder: Path) -> Change:
    def after(path: Path) -> None:
        index = faiss.read_index(str(first))
        index.add(fresh)
        faiss.write_index(index, str(path))

    return Change(name, first, kept(folder, f"{short}-grown", rows, ".faiss", after), 1.3)


def _ivf_flat(rows: Rows, folder: Path) -> Path:
    def make(path: Path) -> None:
        index = faiss.index_factory(rows.values.shape[1], f"IVF{min(LISTS, max(1, len(rows.values) // 39))},Flat")
        index.train(rows.values[:TRAINING_ROWS])
        index.add(rows.values)
        faiss.write_index(index, str(path))

    return kept(folder, "ivfflat", rows, ".faiss", make)


def _removed(rows: Rows, folder: Path) -> Change:
    def before(path: Path) -> None:
        index = faiss.IndexFlatL2(rows.values.shape[1])
        index.add(rows.values)
        faiss.write_index(index, str(path))

    first = kept(folder, "flat-before", rows, ".faiss", before)

    def after(path: Path) -> None:
        index = faiss.read_index(str(first))
        gone = np.random.default_rng(SEED).choice(len(rows.values), len(rows.values) // 100, replace=False)
        index.remove_ids(gone)
        faiss.write_index(index, str(path))

    return Change("faiss Flat, 1 % of rows removed", first, kept(folder, "flat-fewer", rows, ".faiss", after), 0.3)
