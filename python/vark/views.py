"""Views of streams: rows of an archive as numpy arrays, read when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vark._core import Reader, Stream
from vark.errors import InvalidArgumentError, UnknownNameError
from vark.types import DTYPES, StreamInfo
from vark.units import format_bytes

# Rows that lie within this many bytes of each other are fetched in one read.
READ_BYTES = 8 << 20


class StreamView:
    """One stream as a read-only, array-like object; nothing is read before it is asked for.

    `view[i]`, `view[a:b]`, `view[a:b:step]`, negative numbers as in numpy, `np.asarray(view)`, `view.rows_of([3, 1])`.
    Every result is a fresh array whose bytes have passed the digest of their chunk. bf16 rows come as uint16 (their
    bits): `(view[:].astype("u4") << 16).view("f4")` gives numbers.
    """

    def __init__(self, reader: Reader, number: int, record: Stream) -> None:
        self._reader = reader
        self._number = number
        self._record = record
        self.name = record.name
        self.role = record.role
        self.element_type = record.element_type
        self.dtype: np.dtype[Any] = DTYPES[record.element_type]
        elements, rows = record.row_elements, record.row_count
        self.shape: tuple[int, ...] = (rows,) if elements == 1 else (rows, elements)

    @property
    def ndim(self) -> int:
        """1 for rows of one element, else 2."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Raw bytes of all rows."""
        return self._record.raw_bytes

    @cached_property
    def codecs(self) -> dict[str, int]:
        """Codec name -> number of chunks. Reads the index blocks of the stream."""
        return self._reader.codecs(self._number)

    @property
    def info(self) -> StreamInfo:
        """The record of this stream with its codecs."""
        return stream_info(self._record, codecs=self.codecs)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return (
            f"StreamView({self.name!r}, shape={self.shape}, {self._record.element_type}, {format_bytes(self.nbytes)})"
        )

    def __iter__(self) -> Iterator[Any]:
        step = max(1, READ_BYTES // self._record.row_bytes)
        for first in range(0, len(self), step):
            yield from self._read(first, min(step, len(self) - first))

    def __getitem__(self, rows: Any) -> Any:
        """Return one row (int) or several (slice, or row numbers) as a new array. Errors: IndexError, DamagedError."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._read(start, max(stop - start, 0))
            return self.rows_of(range(start, stop, step))
        if isinstance(rows, tuple):
            if not rows:
                return self[:]
            row_part = self[rows[0]]
            if len(rows) == 1:
                return row_part
            return row_part[rows[1:]] if isinstance(rows[0], (int, np.integer)) else row_part[:, *rows[1:]]
        if isinstance(rows, (int, np.integer)):
            number = int(rows) + (len(self) if rows < 0 else 0)
            if not 0 <= number < len(self):
                raise IndexError(f"row {int(rows)} of stream {self.name!r}, which has {len(self)} rows")
            return self._read(number, 1)[0]
        return self.rows_of(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("the rows of an archive cannot be given without a copy")
        array = self._read(0, len(self))
        return array if dtype is None else array.astype(dtype, copy=False)

    def rows_of(self, rows: Any) -> NDArray[Any]:
        """Return the rows with these numbers, in this order, repeats allowed. Errors: IndexError, DamagedError.

        rows: integers, shape (n,); negative ones count from the end. Near rows are fetched in one read.
        """
        numbers = np.asarray(rows, dtype=np.int64 if len(rows) == 0 else None)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise InvalidArgumentError(f"rows: shape {numbers.shape}, {numbers.dtype}; expected integers, shape (n,)")
        numbers = np.where(numbers < 0, numbers + len(self), numbers).astype(np.int64)
        if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"rows {numbers.min()} to {numbers.max()} of stream {self.name!r} with {len(self)} rows")
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        order = np.argsort(numbers, kind="stable")
        position = 0
        while position < len(order):
            end = self._end_of_read(numbers[order], position)
            wanted = order[position:end]
            first = int(numbers[wanted[0]])
            near = self._read(first, int(numbers[wanted[-1]]) - first + 1)
            out[wanted] = near[numbers[wanted] - first]
            position = end
        return out

    def find_ids(self, ids: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Return (numbers in `ids`, rows), ascending, by the index of this stream of ids; None when it has none.

        ids: of this stream's dtype. Reads a few chunks. Errors: DamagedError (the index says what the ids do not).
        """
        if self.role != "ids" or self.ndim != 1:
            return None
        wide = ids.astype(np.int64 if self.dtype.kind == "i" else np.uint64).view(np.uint64)
        found = self._reader.find_ids(self._number, wide.tolist())
        return None if found is None else (np.array(found[0], np.int64), np.array(found[1], np.int64))

    def _end_of_read(self, ascending: NDArray[np.int64], position: int) -> int:
        """Return where the run of rows ends that one read should fetch: neighbours in a chunk, READ_BYTES at most."""
        window = max(1, READ_BYTES // self._record.row_bytes)
        first = ascending[position]
        end = int(np.searchsorted(ascending, first + window))
        gaps = np.flatnonzero(np.diff(ascending[position:end]) > self._record.chunk_rows)
        return position + int(gaps[0]) + 1 if len(gaps) else end

    def _read(self, first_row: int, row_count: int) -> NDArray[Any]:
        out = np.empty((row_count, *self.shape[1:]), self.dtype)
        if row_count:
            self.read_into(first_row, row_count, out)
        return out

    def read_into(self, first_row: int, row_count: int, out: Any, *, threads: int | None = None) -> None:
        """Fill a writable contiguous buffer of row_count rows; the quickest way when the buffer is used again.

        threads: None for all cores. After an error the buffer's content means nothing.
        Errors: InvalidArgumentError, DamagedError.
        """
        self._reader.read_rows(self._number, first_row, row_count, out, threads=threads or 0)

    def equal_rows(self, other: StreamView) -> NDArray[np.bool_]:
        """Return for each row number that both have whether the rows are known to be equal. Reads no rows.

        Known: chunks of one digest, and rows that stand at one place of one stored block. Others may be equal, too.
        """
        flags = np.zeros(min(len(self), len(other)), np.uint8)
        if len(flags):
            self._reader.equal_rows(self._number, other._reader, other._number, flags.data)
        return flags.view(np.bool_)


class NamedBytes(Mapping[str, bytes]):
    """Documents or attachments of an archive: name -> bytes, read when asked for."""

    def __init__(self, views: dict[str, StreamView], *, what: str) -> None:
        self._views = views
        self._what = what

    def view(self, name: str) -> StreamView:
        """Return the stream behind a name. Errors: UnknownNameError."""
        if name not in self._views:
            raise UnknownNameError(
                f"{self._what} {name!r}: not in the archive, which has {sorted(self._views) or 'none'}"
            )
        return self._views[name]

    def __getitem__(self, name: str) -> bytes:
        rows: NDArray[np.uint8] = self.view(name)[:]
        return rows.tobytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __contains__(self, name: object) -> bool:
        return name in self._views  # the default would read the bytes

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name!r}: {format_bytes(view.nbytes)}" for name, view in self._views.items())
        return f"{{{sizes}}}"


def stream_info(record: Stream, *, codecs: Mapping[str, int]) -> StreamInfo:
    """Return the public record of a stream."""
    names = ("name", "role", "element_type", "row_count", "row_elements", "raw_bytes", "stored_bytes", "chunk_count")
    return StreamInfo.from_record({**{name: getattr(record, name) for name in names}, "codecs": codecs})
