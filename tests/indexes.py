"""Real indexes of every type that is split natively, built the same way each time."""

import functools

import faiss
import hnswlib
import numpy as np

DIMENSIONS = (1, 3, 50, 384)
ROW_COUNTS = (0, 1, 2, 30_000)
TRAINING_ROWS = 300


def rows(count, dim, seed=5):
    """Unit rows, as embeddings are; float32, shape (count, dim)."""
    vectors = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _parts(dim):
    """Sub-quantizers that divide the dimension."""
    return next(parts for parts in (48, 10, 3, 1) if dim % parts == 0)


def _flat(dim):
    return faiss.IndexFlatL2(dim)


def _hnsw(dim):
    index = faiss.IndexHNSWFlat(dim, 8)
    index.hnsw.efConstruction = 12
    return index


def _ivf(dim):
    return faiss.index_factory(dim, "IVF16,Flat")


def _ivfpq(dim):
    return faiss.index_factory(dim, f"IVF16,PQ{_parts(dim)}x4")


def _chain(dim):
    return faiss.index_factory(dim, f"L2norm,PCA{max(1, dim // 2)},IVF8,Flat")


def _rotated(dim):
    return faiss.index_factory(dim, f"RR{dim},IVF8,PQ{_parts(dim)}x4")


# Name → maker and the streams that must be there.
FAISS = {
    "flat-l2": (_flat, {"vectors"}),
    "flat-ip": (faiss.IndexFlatIP, {"vectors"}),
    "hnsw-flat": (_hnsw, {"vectors", "levels", "links.level0", "links.upper"}),
    "ivf-flat": (_ivf, {"vectors", "ids", "list_sizes", "quantizer.vectors"}),
    "ivf-pq": (_ivfpq, {"codes", "ids", "list_sizes", "codebook", "quantizer.vectors"}),
    "pq": (lambda dim: faiss.IndexPQ(dim, _parts(dim), 4), {"codes", "codebook"}),
    "sq8": (lambda dim: faiss.index_factory(dim, "SQ8"), {"codes"}),
    "idmap-flat": (lambda dim: faiss.IndexIDMap(_flat(dim)), {"vectors", "id_map"}),
    "idmap2-hnsw": (lambda dim: faiss.IndexIDMap2(_hnsw(dim)), {"vectors", "id_map", "links.level0"}),
    "idmap-ivf": (lambda dim: faiss.IndexIDMap(_ivf(dim)), {"vectors", "id_map", "ids", "list_sizes"}),
    "pretransform-chain": (_chain, {"vectors", "ids", "list_sizes"}),
    "rotation-ivf-pq": (_rotated, {"codes", "ids", "codebook"}),
}


@functools.cache
def _trained(kind, dim):
    index = FAISS[kind][0](dim)
    if not index.is_trained:
        index.train(rows(TRAINING_ROWS, dim, seed=1))
    return faiss.serialize_index(index)


def build_faiss(kind, count, dim):
    """An index of `count` rows."""
    index = faiss.deserialize_index(_trained(kind, dim))
    vectors = rows(count, dim)
    if kind.startswith("idmap"):
        index.add_with_ids(vectors, np.arange(count, dtype=np.int64) * 7 + 3)
    else:
        index.add(vectors)
    return index


HNSWLIB_STREAMS = {"links.level0", "vectors", "labels", "links.lengths", "links.upper"}


def build_hnswlib(kind, count, dim):
    """plain | deleted: a third marked deleted | updated: rows written again, so stale slots | threads: built by two."""
    index = hnswlib.Index("l2", dim)
    index.init_index(count + 10, M=8, ef_construction=12, random_seed=3)
    vectors = rows(count, dim)
    if count:
        index.add_items(vectors, np.arange(count) * 5, num_threads=2 if kind == "threads" else 1)
    if kind == "deleted":
        for label in range(0, count, 3):
            index.mark_deleted(label * 5)
    if kind == "updated" and count:
        changed = np.arange(0, count, 4)
        index.add_items(rows(len(changed), dim, seed=9), changed * 5, num_threads=1)
    return index


HNSWLIB = ("plain", "deleted", "updated", "threads")
