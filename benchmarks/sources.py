"""Files over rows: graphs and lists of faiss and hnswlib, `.npy`; built once and kept, as they take minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import hnswlib
import numpy as np
from blake3 import blake3

from rows import SEED, Rows

KINDS = ("faiss", "hnswlib", "npy")
M = 16
EF_CONSTRUCTION = 40
LIST_COUNT = 1024
# Enough for 1024 lists (faiss asks for 39 rows each); more only takes longer.
TRAINING_ROWS = 65_536
PQ_ROWS_MIN = 10_000
QUERY_COUNT = 50


@dataclass(frozen=True)
class Source:
    """An index, or rows, as a file and live. write and read are the library's own; answers(live) are compared."""

    name: str
    kind: str
    path: Path
    live: Any
    write: Callable[[Any, Path], None]
    read: Callable[[Path], Any]
    answers: Callable[[Any], tuple[Any, ...]]

    @property
    def byte_count(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size


def source_of(kind: str, rows: Rows, folder: Path) -> Source:
    """Return the source of one of KINDS, or "ivf", over `rows`; its file is kept in `folder`."""
    makers = {"faiss": _hnsw_flat, "hnswlib": _hnswlib, "npy": _npy, "ivf": _ivf}
    folder.mkdir(parents=True, exist_ok=True)
    return makers[kind](rows, folder)


def kept(folder: Path, name: str, rows: Rows, suffix: str, make: Callable[[Path], None]) -> Path:
    """Return the path of the file for these very rows and parameters; `make` writes it where it is missing."""
    path = folder / f"{name}-{blake3(rows.values.data.cast('B')).hexdigest(length=6)}{suffix}"
    if not path.exists():
        part = path.with_name(path.name + ".part")
        make(part)
        part.rename(path)
    return path


def _queries(rows: Rows) -> Any:
    return rows.values[:: max(1, len(rows.values) // QUERY_COUNT)][:QUERY_COUNT]


def _faiss_source(name: str, path: Path, rows: Rows) -> Source:
    def write(index: Any, target: Path) -> None:
        faiss.write_index(index, str(target))

    def read(target: Path) -> Any:
        return faiss.read_index(str(target))

    queries = _queries(rows)
    return Source(name, "faiss", path, read(path), write, read, lambda index: index.search(queries, 10))


def _hnsw_flat(rows: Rows, folder: Path) -> Source:
    def make(path: Path) -> None:
        index = faiss.IndexHNSWFlat(rows.values.shape[1], M)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.add(rows.values)
        faiss.write_index(index, str(path))

    path = kept(folder, f"hnswflat-m{M}-ef{EF_CONSTRUCTION}", rows, ".faiss", make)
    return _faiss_source(f"faiss HNSWFlat, M={M}", path, rows)


def _ivf(rows: Rows, folder: Path) -> Source:
    row_count, dim = rows.values.shape
    lists = min(LIST_COUNT, max(1, row_count // 39))
    parts = next(parts for parts in (32, 8, 4, 2, 1) if dim % parts == 0)
    # 256 centroids of few rows are mostly empty, and faiss takes long to fill them.
    coding = f"IVF{lists},PQ{parts}" + ("" if row_count >= PQ_ROWS_MIN else "x4")

    def make(path: Path) -> None:
        index = faiss.index_factory(dim, coding)
        index.train(rows.values[:TRAINING_ROWS])
        index.add(rows.values)
        faiss.write_index(index, str(path))

    path = kept(folder, coding.lower().replace(",", "-"), rows, ".faiss", make)
    return _faiss_source(f"faiss {coding}", path, rows)


def _hnswlib(rows: Rows, folder: Path) -> Source:
    def write(index: Any, target: Path) -> None:
        index.save_index(str(target))

    def read(target: Path) -> Any:
        index = hnswlib.Index("l2", rows.values.shape[1])
        index.load_index(str(target))
        return index

    def make(path: Path) -> None:
        index = hnswlib.Index("l2", rows.values.shape[1])
        index.init_index(len(rows.values), M=M, ef_construction=EF_CONSTRUCTION, random_seed=SEED)
        index.add_items(rows.values)
        write(index, path)

    path = kept(folder, f"graph-m{M}-ef{EF_CONSTRUCTION}", rows, ".hnswlib", make)
    queries = _queries(rows)
    answers = lambda index: index.knn_query(queries, k=10)  # noqa: E731
    return Source(f"hnswlib, M={M}", "hnswlib", path, read(path), write, read, answers)


def _npy(rows: Rows, folder: Path) -> Source:
    def write(array: Any, target: Path) -> None:
        with open(target, "wb") as file:
            np.save(file, array)

    path = kept(folder, "vectors", rows, ".npy", lambda path: write(rows.values, path))
    return Source("vectors .npy", "npy", path, rows.values, write, np.load, lambda array: (array,))
