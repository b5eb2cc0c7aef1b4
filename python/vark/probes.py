"""Probes: queries stored with their true answers, so that a restored index can be shown to answer as before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vark.adapters import Adapter, adapter_for_index
from vark.errors import InvalidArgumentError
from vark.sources import Gathered
from vark.types import ProbeReport

K_DEFAULT = 10
METRICS = ("l2", "ip", "cosine")
# Vectors compared at a time: with 1,000 probes a block of distances has 32 MB.
BLOCK_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Probes:
    """queries (count, d) float32; ids (count, k) int64, -1 for none; distances (count, k) float32, nearest first."""

    queries: NDArray[np.float32]
    ids: NDArray[np.int64]
    distances: NDArray[np.float32]
    metric: str
    truth: str

    def metadata(self) -> dict[str, Any]:
        """Return the entry `probes` of the metadata."""
        count, k = self.ids.shape
        return {"count": count, "k": k, "truth": self.truth, "metric": self.metric}

    def streams(self) -> list[tuple[str, str, str, int, tuple[str, Any]]]:
        """Return the three streams as the engine takes them."""
        parts = (("queries", "f32", self.queries), ("ids", "i64", self.ids), ("distances", "f32", self.distances))
        return [
            (f"probe.{name}", "probe", element_type, array.shape[1], ("buffers", [np.ascontiguousarray(array)]))
            for name, element_type, array in parts
        ]


def make_probes(request: Any, gathered: Gathered) -> Probes:
    """Answer the queries of `request`: an array (count, d), or a dict with queries and maybe k, metric, truth, index.

    truth "source": the live index answers (default where there is one); index: the live index that a source of files
    was saved from. truth "exact": all vectors of an array are compared. Errors: InvalidArgumentError.
    """
    options = dict(request) if isinstance(request, Mapping) else {"queries": request}
    unknown = set(options) - {"queries", "k", "metric", "truth", "index"}
    if unknown:
        raise InvalidArgumentError(f"probes: unknown keys {sorted(unknown)}; expected queries, k, metric, truth, index")
    queries = _queries(options.get("queries"))
    k = options.get("k", K_DEFAULT)
    if not isinstance(k, int) or not 1 <= k <= 10_000:
        raise InvalidArgumentError(f"probes: k is {k!r}; expected 1 to 10,000")
    index, adapter = gathered.index, gathered.adapter
    if options.get("index") is not None:
        index = options["index"]
        adapter = _adapter_of(index)
    truth = options.get("truth", "exact" if adapter is None else "source")
    if truth == "source" and adapter is not None:
        ids, distances, _ = _ask(adapter, index, queries, k)
        return Probes(queries, ids, distances, adapter.metric(index), truth)
    if truth == "exact" and gathered.array is not None:
        metric = options.get("metric", "l2")
        ids, distances = exact_answers(gathered.array, queries, k=k, metric=metric)
        return Probes(queries, ids, distances, metric, truth)
    raise InvalidArgumentError(
        f"probes: truth {truth!r} is not known for this source; one array gives 'exact', a live index gives 'source': "
        "for files, give the index that they were saved from as index="
    )


def exact_answers(
    vectors: Any, queries: NDArray[np.float32], *, k: int, metric: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the k nearest rows of `vectors` (row_count, d; an array or a stream of an archive) for each query.

    Reads `vectors` in blocks. Ids are row numbers, equal distances in row order. Errors: InvalidArgumentError.
    """
    if metric not in METRICS:
        raise InvalidArgumentError(f"probes: metric {metric!r}; expected one of {METRICS}")
    if len(vectors.shape) != 2 or vectors.shape[1] != queries.shape[1]:
        raise InvalidArgumentError(f"probes: queries {queries.shape} against vectors {tuple(vectors.shape)}")
    k_found = min(k, vectors.shape[0])
    best_ids = np.full((len(queries), k_found), -1, np.int64)
    best = np.full((len(queries), k_found), np.inf, np.float32)
    for first in range(0, vectors.shape[0], BLOCK_ROWS):
        block = np.asarray(vectors[first : first + BLOCK_ROWS], dtype=np.float32)
        distances = np.concatenate([best, _distances(queries, block, metric)], axis=1)
        numbers = np.arange(first, first + len(block), dtype=np.int64)
        ids = np.concatenate([best_ids, np.broadcast_to(numbers, (len(queries), len(block)))], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k_found]
        best, best_ids = np.take_along_axis(distances, order, 1), np.take_along_axis(ids, order, 1)
    return best_ids, best


def _distances(queries: NDArray[np.float32], block: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    if metric == "cosine":
        queries, block = _normalised(queries), _normalised(block)
    product = queries @ block.T
    if metric != "l2":
        return np.asarray(1 - product, np.float32)
    squares = (queries**2).sum(1, keepdims=True) + (block**2).sum(1)
    return np.asarray(np.maximum(squares - 2 * product, 0), np.float32)


def _normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-30), np.float32)


def check(probes: Probes, index: object) -> ProbeReport:
    """Ask a live index the stored queries, one at a time, and compare. Errors: InvalidArgumentError."""
    count, k = probes.ids.shape
    found, distances, seconds = _ask(_adapter_of(index), index, probes.queries, k)
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99]) * 1e3 if count else (0.0, 0.0, 0.0)
    return ProbeReport(
        count=count,
        k=k,
        metric=probes.metric,
        truth=probes.truth,
        recall=_recall(probes, found, distances),
        changed=int((found != probes.ids).any(axis=1).sum()),
        latency_p50_ms=float(p50),
        latency_p95_ms=float(p95),
        latency_p99_ms=float(p99),
        latency_max_ms=float(seconds.max(initial=0.0) * 1e3),
    )


def _adapter_of(index: object) -> Adapter:
    adapter = adapter_for_index(index)
    if adapter is None:
        raise InvalidArgumentError(f"index: {type(index).__name__}; expected a live index of faiss or hnswlib")
    return adapter


def _ask(
    adapter: Adapter, index: Any, queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
    """Return ids and distances, each (count, k), and the seconds of each search.

    One query at a time, at backup and at the check alike: faiss computes a batch by other kernels, so that the last
    bits of a distance, and with them the ids, may differ from those of a single search.
    """
    count = len(queries)
    found = np.full((count, k), -1, np.int64)
    distances = np.full((count, k), np.inf, np.float32)
    seconds = np.zeros(count)
    for number in range(count):
        start = time.perf_counter()
        ids, near = adapter.search(index, queries[number : number + 1], k)
        seconds[number] = time.perf_counter() - start
        found[number, : ids.shape[1]], distances[number, : ids.shape[1]] = ids[0], near[0]
    return found, distances, seconds


def _recall(probes: Probes, found: NDArray[np.int64], distances: NDArray[np.float32]) -> float:
    """A neighbour counts when its id was stored, or when it ties with the last one stored.

    Not when it is merely as near as some other one: an index whose ids were shuffled must not pass.
    """
    stored = probes.ids >= 0
    farthest = np.where(stored, probes.distances, -np.inf).max(axis=1, initial=-np.inf)[:, None]
    known = (found[:, :, None] == probes.ids[:, None, :]).any(axis=2)
    hits = (found >= 0) & (known | np.isclose(distances, farthest, rtol=1e-6, atol=0))
    wanted = int(stored.sum())
    return float(np.minimum(hits.sum(axis=1), stored.sum(axis=1)).sum() / wanted) if wanted else 1.0


def _queries(queries: Any) -> NDArray[np.float32]:
    array = np.asarray(queries)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or 0 in array.shape:
        raise InvalidArgumentError(
            f"probes: queries of shape {array.shape}, {array.dtype}; expected (count, d) float32"
        )
    return np.ascontiguousarray(array, dtype=np.float32)
