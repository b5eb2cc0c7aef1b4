"""A few rows out of an archive, with their ids and payload: as numpy, Arrow or Parquet, some MiB at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vark import tables
from vark.arrays import npy_header
from vark.by_id import find, ids_stream
from vark.errors import InvalidArgumentError, UnknownNameError
from vark.target import write_published
from vark.types import StreamInfo
from vark.views import READ_BYTES, StreamView

FORMATS = ("npy", "arrow", "arrow-stream", "parquet")


class Selection:
    """Rows of one stream that were asked for; nothing is read before it is used.

    rows: their numbers, in the order asked for. missing: ids that were asked for and that no row has.
    notes: sentences on what was left out although the archive has it, such as a payload that is of other rows.
    Use `values`, `ids`, `to_arrow()` for what fits memory; `write` takes some MiB whatever the number of rows (the
    payload of the rows is held whole).
    """

    def __init__(
        self,
        view: StreamView,
        ids: StreamView | None,
        rows: range | NDArray[np.int64],
        *,
        missing: NDArray[Any],
        payload: tables.PayloadOf | None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._view, self._ids, self._payload = view, ids, payload
        self.rows = rows
        self.missing = missing
        self.notes = notes

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Selection({self._view.name!r}, {len(self)} rows, {len(self.missing)} ids missing)"

    @property
    def values(self) -> NDArray[Any]:
        """The rows, shape (len(self), row_elements); bf16 as its bits. Errors: DamagedError."""
        return _rows_of(self._view, self.rows)

    @property
    def ids(self) -> NDArray[Any] | None:
        """The ids of the rows; None where the source has none. Errors: DamagedError."""
        return None if self._ids is None else _rows_of(self._ids, self.rows)

    def to_arrow(self) -> Any:
        """Return a pyarrow Table: id (row where there are no ids), vector, and the columns of the payload.

        Errors: InvalidArgumentError (no pyarrow), DamagedError.
        """
        return tables.table_of(self, tables.payload_of(self))

    def parts(self) -> Iterator[Selection]:
        """Yield the selection in pieces of some MiB."""
        row_bytes = max(1, self._view.nbytes // max(1, len(self._view)))
        step = max(1, READ_BYTES // row_bytes)
        for first in range(0, len(self), step):
            yield self.only(self.rows[first : first + step])

    def only(self, rows: range | NDArray[np.int64]) -> Selection:
        """Return the same of other rows, which exist."""
        return Selection(self._view, self._ids, rows, missing=self.missing, payload=self._payload, notes=self.notes)

    @property
    def view(self) -> StreamView:
        """The stream that the rows are of."""
        return self._view

    @property
    def payload(self) -> tables.PayloadOf | None:
        """What finds the payload of rows; None without one."""
        return self._payload

    def write(
        self, target: str | PathLike[str] | BinaryIO, form: str = "npy", *, replace: bool = False, sync: bool = True
    ) -> None:
        """Write the rows to a file, which appears when it is complete, or to an open one.

        form: "npy" (the rows alone), "arrow" (an IPC file), "arrow-stream", "parquet" (as `to_arrow`).
        Errors: InvalidArgumentError, TargetExistsError, NoSpaceError, DamagedError.
        """
        if form not in FORMATS:
            raise InvalidArgumentError(f"format {form!r}; expected one of {', '.join(FORMATS)}")
        if not isinstance(target, (str, PathLike)):
            self._write(target, form)
            return

        def write(descriptor: int) -> None:
            with open(descriptor, "wb", closefd=False) as file:
                self._write(file, form)

        write_published(Path(os.fspath(target)), write, replace=replace, sync=sync)

    def _write(self, out: BinaryIO, form: str) -> None:
        if form != "npy":
            tables.write(self, out, form)
            return
        shape = (len(self), *self._view.shape[1:])
        out.write(npy_header(np.broadcast_to(np.zeros((), self._view.dtype), shape)))
        out.writelines(part.values.tobytes() for part in self.parts())


def _rows_of(view: StreamView, rows: range | NDArray[np.int64]) -> NDArray[Any]:
    if isinstance(rows, range) and rows.step == 1:
        found: NDArray[Any] = view[rows.start : rows.stop]
        return found
    return view.rows_of(rows)


def select(
    view: StreamView,
    ids: StreamView | None,
    *,
    rows: Any = None,
    wanted: Any = None,
    payload: tables.PayloadOf | None = None,
    notes: tuple[str, ...] = (),
) -> Selection:
    """Return the rows with these numbers (a slice or integers), or all rows with these ids, in the order given.

    Errors: InvalidArgumentError (both, or of another kind), UnknownNameError (no ids).
    """
    none = np.empty(0, np.int64)
    if wanted is not None:
        if rows is not None:
            raise InvalidArgumentError("rows and ids: give one of them")
        if ids is None:
            raise UnknownNameError(
                f"stream {view.name!r}: the archive has no ids of its rows; ask for rows by position"
            )
        found = find(ids, wanted)
        return Selection(view, ids, found.rows, missing=found.missing, payload=payload, notes=notes)
    if rows is None:
        rows = slice(None)
    if isinstance(rows, slice):
        return Selection(view, ids, range(len(view))[rows], missing=none, payload=payload, notes=notes)
    numbers = np.asarray(rows, dtype=np.int64 if len(rows) == 0 else None)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise InvalidArgumentError(f"rows: shape {numbers.shape}, {numbers.dtype}; expected integers, shape (n,)")
    numbers = np.where(numbers < 0, numbers + len(view), numbers).astype(np.int64)
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(view)):
        raise InvalidArgumentError(
            f"rows {numbers.min()} to {numbers.max()}: stream {view.name!r} has {len(view)} rows"
        )
    return Selection(view, ids, numbers, missing=none, payload=payload, notes=notes)


def ids_of(name: str, streams: Sequence[StreamInfo]) -> str | None:
    """Return the stream of ids beside stream `name`, None where there is none."""
    try:
        return ids_stream(name, streams)
    except UnknownNameError:
        return None
