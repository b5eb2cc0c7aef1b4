"""What is measured: index files over rows made from the demo's real embeddings, built once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import hnswlib
import numpy as np

DEMO_DATA = Path(__file__).resolve().parent.parent / "demo" / "data"
SEED = 5
QUERY_COUNT = 50


@dataclass(frozen=True)
class Source:
    """An index as a file and live. `write` and `read` are the library's own; `answers` asks an index for neighbours."""

    name: str
    path: Path
    index: Any
    write: Callable[[Any, Path], None]
    read: Callable[[Path], Any]
    answers: Callable[[Any], Any]


def rows_of(row_count: int, dim: int, data: Path | None) -> tuple[np.ndarray, str]:
    """Return (row_count, dim) float32 rows of unit length, and what they are.

    Given a matrix: its first rows as they are. Otherwise each row lies between two real embeddings at random, so that
    bits, neighbourhoods and norms are those of a model; a dimension other than the model's comes by random projection.
    """
    if data is not None:
        rows = np.ascontiguousarray(np.load(data, mmap_mode="r")[:row_count], dtype=np.float32)
        return rows, data.name
    real = np.concatenate([np.load(part) for part in sorted(DEMO_DATA.glob("sentences-*.npy"))])
    rng = np.random.default_rng(SEED)
    rows = np.empty((row_count, dim), np.float32)
    turn = None if dim == real.shape[1] else rng.standard_normal((real.shape[1], dim), dtype=np.float32)
    for first in range(0, row_count, 8192):
        count = min(8192, row_count - first)
        left, right = real[rng.integers(0, len(real), count)], real[rng.integers(0, len(real), count)]
        weight = rng.random((count, 1), dtype=np.float32)
        mixed = weight * left + (1 - weight) * right
        mixed = mixed if turn is None else mixed @ turn
        rows[first : first + count] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    return rows, "mixes of real sentence embeddings (demo/data)"


def sources(rows: np.ndarray, folder: Path, wanted: list[str]) -> Iterator[Source]:
    """Yield the sources that were asked for; a graph built by an earlier run over the same rows is read again."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = hashlib.sha256(rows.tobytes()).hexdigest()[:12]
    queries = rows[:: max(1, len(rows) // QUERY_COUNT)][:QUERY_COUNT]
    if "faiss" in wanted:
        yield _faiss(rows, queries, folder / f"hnswflat-{mark}.faiss")
    if "hnswlib" in wanted:
        yield _hnswlib(rows, queries, folder / f"graph-{mark}.hnswlib")
    if "npy" in wanted:
        yield _npy(rows, folder / f"vectors-{mark}.npy")


def _faiss(rows: np.ndarray, queries: np.ndarray, path: Path) -> Source:
    def write(index: Any, target: Path) -> None:
        faiss.write_index(index, str(target))

    def read(target: Path) -> Any:
        return faiss.read_index(str(target))

    if not path.exists():
        index = faiss.IndexHNSWFlat(rows.shape[1], 16)
        index.add(rows)
        write(index, path)
    return Source("faiss HNSWFlat, M=16", path, read(path), write, read, lambda index: index.search(queries, 10))


def _hnswlib(rows: np.ndarray, queries: np.ndarray, path: Path) -> Source:
    def write(index: Any, target: Path) -> None:
        index.save_index(str(target))

    def read(target: Path) -> Any:
        index = hnswlib.Index("l2", rows.shape[1])
        index.load_index(str(target))
        return index

    if not path.exists():
        index = hnswlib.Index("l2", rows.shape[1])
        index.init_index(len(rows), M=16, ef_construction=40, random_seed=SEED)
        index.add_items(rows)
        write(index, path)
    return Source("hnswlib, M=16", path, read(path), write, read, lambda index: index.knn_query(queries, k=10))


def _npy(rows: np.ndarray, path: Path) -> Source:
    def write(array: Any, target: Path) -> None:
        with open(target, "wb") as file:
            np.save(file, array)

    if not path.exists():
        write(rows, path)
    return Source("vectors .npy", path, rows, write, np.load, lambda array: (array,))
