"""What an adapter of an index library can do. One library, one file; the library is imported inside its functions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vark._core import Reader, Stream
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
class LargeRows:
    """Rows of one stream that stand together. start: of their bytes in the member."""

    stream: str
    first_row: int
    row_count: int
    start: int
    bytes: int


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
        """Return all bytes of the member and its facts, checked. The large rows start at an aligned address.

        Errors: DamagedError, SourceError; LimitError when there is not so much memory.
        """
        memory, facts, _ = self._read(adapter, leaves_out=False)
        return memory, facts

    def read_without_rows(self, adapter: str) -> tuple[NDArray[np.uint8], dict[str, Any], bool]:
        """As `read`, but the bytes of the large rows are undefined where the last value is False."""
        return self._read(adapter, leaves_out=True)

    def _read(self, adapter: str, *, leaves_out: bool) -> tuple[NDArray[np.uint8], dict[str, Any], bool]:
        member_bytes = self.record["bytes"]
        large = self.large_rows()
        start, end = (large.start, large.start + large.bytes) if large else (0, 0)
        try:
            memory = np.empty(member_bytes + ALIGNMENT_BYTES, np.uint8)
        except (MemoryError, ValueError, OverflowError) as error:
            detail = f"{member_bytes} bytes; this machine does not give so much memory"
            raise LimitError(f"member {self.record['name']!r}: {detail}", code="limit-exceeded") from error
        skipped = -(memory.ctypes.data + start) % ALIGNMENT_BYTES
        taken = memory[skipped : skipped + member_bytes]
        checked, is_whole = self.reader.read_member(
            self.member, taken.data, adapter, later=(start, end), leaves_out=leaves_out, threads=self.threads
        )
        return taken, self._facts(checked), is_whole

    def rows(self, stream: str, first_row: int, row_count: int) -> NDArray[np.uint8]:
        """Return the bytes of rows of a stream of the archive, shape (n,). Errors: DamagedError."""
        out = np.empty(row_count * self.row_bytes(stream), np.uint8)
        self.read_rows(stream, first_row, row_count, out)
        return out

    def read_rows(self, stream: str, first_row: int, row_count: int, out: NDArray[np.uint8]) -> None:
        """Fill `out`, writable and as long as the rows, as `rows` does."""
        numbers = [found.name for found in self.reader.streams]
        self.reader.read_rows(numbers.index(stream), first_row, row_count, out.data, threads=self.threads)

    def row_bytes(self, stream: str) -> int:
        """Return the bytes of a row of a stream."""
        return self.stream(stream).row_bytes

    def stream(self, name: str) -> Stream:
        """Return what the archive says of a stream that it has."""
        return next(found for found in self.reader.streams if found.name == name)

    def _facts(self, checked: str) -> dict[str, Any]:
        # The facts of the plan bind nothing: where the engine looked itself, its word counts.
        return {**self.record.get("facts", {}), **json.loads(checked)}

    def large_rows(self) -> LargeRows | None:
        """Return the largest of the runs of rows that end an index (vectors, codes, ids): None where there is none."""
        found: LargeRows | None = None
        start = self.record["bytes"]
        row_bytes = {stream.name: stream.row_bytes for stream in self.reader.streams}
        for run in reversed(self.record["runs"]):
            if run["kind"] != "rows":
                break
            # A stream that is not there is for the engine to refuse.
            run_bytes = run["rows"] * row_bytes.get(run["stream"], 0)
            start -= run_bytes
            is_larger = run_bytes >= ALIGNMENT_BYTES and (found is None or run_bytes > found.bytes)
            if is_larger and run["stream"] != "literal" and start >= 0:
                found = LargeRows(run["stream"], run["first"], run["rows"], start, run_bytes)
        return found


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
