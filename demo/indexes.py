"""The demo's data, and the indexes that it builds from them with faiss and hnswlib."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import hnswlib
import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).resolve().parent / "data"
QUERY_COUNT_MAX = 1000
K = 10
SEED = 1
EF = 64  # search width; hnswlib does not keep it in its file
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Data:
    """vectors: rows that are indexed, queries: other rows that are asked for; both (n, dimension) float32."""

    vectors: Vectors
    queries: Vectors


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of index: how it is built, saved, read again (by its own library) and asked."""

    title: str
    file_name: str
    build: Callable[[Vectors], Any]
    save: Callable[[Any, Path], None]
    read: Callable[[Path, int], Any]
    # -> ids (count, K) int64, distances (count, K) float32
    search: Callable[[Any, Vectors], tuple[NDArray[np.int64], NDArray[np.float32]]]


def read_data(matrix: Path | None, row_count: int | None) -> Data:
    """Return the demo's embeddings, or the first `row_count` rows of a .npy matrix; up to 1,000 rows become queries.

    The queries are taken at even distances and are not indexed. Errors: ValueError for a matrix that will not do.
    """
    if matrix is None:
        parts = sorted(DATA.glob("sentences-*.npy"))
        rows = np.concatenate([np.load(part) for part in parts])[:row_count]
    else:
        mapped = np.load(matrix, mmap_mode="r")
        if mapped.ndim != 2:
            raise ValueError(f"{matrix}: shape {mapped.shape}; expected (rows, dimension)")
        rows = np.asarray(mapped[:row_count], dtype=np.float32)
    if len(rows) < 1000 or rows.shape[1] % 8:
        raise ValueError(f"{len(rows)} rows of dimension {rows.shape[1]}; expected 1,000 rows or more, dimension 8 × n")
    chosen = np.zeros(len(rows), bool)
    chosen[np.linspace(0, len(rows) - 1, min(QUERY_COUNT_MAX, len(rows) // 4)).astype(int)] = True
    return Data(np.ascontiguousarray(rows[~chosen]), np.ascontiguousarray(rows[chosen]))


def true_neighbours(data: Data) -> NDArray[np.int64]:
    """Return the K nearest rows for each query, by comparing all; ids (count, K)."""
    _, ids = faiss.knn(data.queries, data.vectors, K)
    return np.asarray(ids)


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Return the share of the true neighbours that were found."""
    return float((found[:, :, None] == truth[:, None, :]).any(axis=2).mean())


def kinds() -> Iterator[Kind]:
    """Yield the kinds of index that the demo backs up."""
    faiss_io = (lambda index, path: faiss.write_index(index, str(path)), lambda path, _: faiss.read_index(str(path)))
    yield Kind("faiss HNSW", "hnsw.faiss", _build_hnsw, *faiss_io, _search_faiss)
    yield Kind("faiss IVF-PQ", "ivfpq.faiss", _build_ivfpq, *faiss_io, _search_faiss)
    yield Kind("hnswlib", "graph.hnswlib", _build_hnswlib, _save_hnswlib, _read_hnswlib, _search_hnswlib)


def _build_hnsw(vectors: Vectors) -> Any:
    index = faiss.IndexHNSWFlat(vectors.shape[1], 16)
    index.hnsw.efConstruction = 100
    index.hnsw.efSearch = EF
    index.add(vectors)
    return index


def _build_ivfpq(vectors: Vectors) -> Any:
    dimension = vectors.shape[1]
    list_count = max(8, int(len(vectors) ** 0.5))
    quantizer = faiss.IndexFlatL2(dimension)
    index = faiss.IndexIVFPQ(quantizer, dimension, list_count, dimension // 8, 8)
    for clustering in (index.cp, index.pq.cp):
        clustering.min_points_per_centroid = 1  # few rows are enough here: spares a warning
        clustering.niter = 4
    index.train(vectors)
    index.add(vectors)
    index.nprobe = 8
    return index


def _search_faiss(index: Any, queries: Vectors) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    distances, ids = index.search(queries, K)
    return ids, distances


def _build_hnswlib(vectors: Vectors) -> Any:
    index = hnswlib.Index("cosine", vectors.shape[1])
    index.init_index(len(vectors), M=16, ef_construction=100, random_seed=SEED)
    index.add_items(vectors, np.arange(len(vectors)))
    index.set_ef(EF)
    return index


def _save_hnswlib(index: Any, path: Path) -> None:
    index.save_index(str(path))


def _read_hnswlib(path: Path, dimension: int) -> Any:
    index = hnswlib.Index("cosine", dimension)
    index.load_index(str(path))
    index.set_ef(EF)
    return index


def _search_hnswlib(index: Any, queries: Vectors) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    labels, distances = index.knn_query(queries, k=K)
    return labels.astype(np.int64), distances
