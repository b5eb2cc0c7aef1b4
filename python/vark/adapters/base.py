"""What an adapter of an index library can do. One library, one file; the library is imported inside its functions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vark._core import Reader
from vark.errors import LimitError
from vark.feeds import FeedGroup


@dataclass(frozen=True, slots=True)
class LiveMember:
    """A live index as a member: file name, layout, facts, and where its bytes come from (see `_core.Bytes`)."""

    name: str
    layout: str
    source: tuple[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)


# Vectors that are searched where they lie start at such a multiple.
ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What loading needs besides the archive. record: of the member, in the plan."""

    reader: Reader
    member: int
    record: dict[str, Any]
    space: str | None
    writable: bool
    threads: int
    memory_bytes: int

    @property
    def layout(self) -> str:
        """E.g. "faiss/IHNf"."""
        return str(self.record["layout"])

    def check(self, adapter: str) -> dict[str, Any]:
        """Have the engine check the index; return its facts. Errors: DamagedError, SourceError."""
        return self._facts(self.reader.check_member(self.member, adapter))

    def read(self, adapter: str) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Return all bytes of the member and its facts, checked. The last rows start at an aligned address.

        Errors: DamagedError, SourceError; LimitError when there is not so much memory.
        """
        member_bytes = self.record["bytes"]
        try:
            memory = np.empty(member_bytes + ALIGNMENT_BYTES, np.uint8)
        except (MemoryError, ValueError, OverflowError) as error:
            detail = f"{member_bytes} bytes; this machine does not give so much memory"
            raise LimitError(f"member {self.record['name']!r}: {detail}", code="limit-exceeded") from error
        skipped = -(memory.ctypes.data + self._last_rows()) % ALIGNMENT_BYTES
        taken = memory[skipped : skipped + member_bytes]
        return taken, self._facts(self.reader.read_member(self.member, taken.data, adapter, threads=self.threads))

    def rows(self, stream: str, first_row: int, row_count: int) -> NDArray[np.uint8]:
        """Return the bytes of rows of a stream of the archive, shape (n,). Errors: DamagedError."""
        out = np.empty(row_count * self.row_bytes(stream), np.uint8)
        numbers = [found.name for found in self.reader.streams]
        self.reader.read_rows(numbers.index(stream), first_row, row_count, out.data, threads=self.threads)
        return out

    def row_bytes(self, stream: str) -> int:
        """Return the bytes of a row of a stream."""
        return next(found.row_bytes for found in self.reader.streams if found.name == stream)

    def _facts(self, checked: str) -> dict[str, Any]:
        # The facts of the plan bind nothing: where the engine looked itself, its word counts.
        return {**self.record.get("facts", {}), **json.loads(checked)}

    def _last_rows(self) -> int:
        """Return the place of the last large run of rows: vectors or codes stand at the end of an index."""
        place = self.record["bytes"]
        for run in reversed(self.record["runs"]):
            if run["kind"] != "rows":
                return 0
            # A stream that is not there is for the engine to refuse.
            run_bytes = run["rows"] * next((s.row_bytes for s in self.reader.streams if s.name == run["stream"]), 0)
            place -= run_bytes
            if run_bytes >= ALIGNMENT_BYTES and run["stream"] != "literal":
                return int(place)
        return 0


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
