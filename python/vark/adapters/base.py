"""What an adapter of an index library can do. One library, one file; the library is imported inside its functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vark._core import Reader
from vark.feeds import FeedGroup


@dataclass(frozen=True, slots=True)
class LiveMember:
    """A live index as a member: file name, layout, facts, and where its bytes come from (see `_core.Bytes`)."""

    name: str
    layout: str
    source: tuple[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What loading needs besides the archive."""

    reader: Reader
    member: int
    layout: str
    facts: dict[str, Any]
    space: str | None
    threads: int
    memory_bytes: int


class Adapter(Protocol):
    """One index library."""

    name: str

    def owns(self, index: object) -> bool:
        """Return whether `index` is an object of this library, without importing it."""

    def live_member(self, index: Any, feeds: FeedGroup) -> LiveMember:
        """Start to save `index`; return the member whose bytes flow from it."""

    def load(self, request: LoadRequest) -> Any:
        """Return the live index of a member that the engine has checked."""

    def row_count(self, index: Any) -> int:
        """Return how many vectors the index holds."""

    def metric(self, index: Any) -> str:
        """Return "l2" | "ip" | "cosine"."""

    def search(self, index: Any, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids and distances, each (query_count, k), nearest first; id -1 where fewer than k were found.

        Distances: squared Euclidean for l2, 1 - inner product for ip and cosine, whatever the library itself returns.
        """


def comes_from(index: object, package: str) -> bool:
    """Return whether the type of `index`, or a base of it, is defined in `package`."""
    return any(kind.__module__.partition(".")[0] == package for kind in type(index).__mro__)
