"""Payload: the table that belongs to the vectors, stored as an Arrow IPC stream. pyarrow is imported when used."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from vark.errors import DamagedError, InvalidArgumentError
from vark.feeds import FeedGroup, ThreadFeed

if TYPE_CHECKING:
    from vark.views import StreamView

STREAM_NAME = "payload"
FORMAT = "arrow-ipc-stream"
_BATCH_ROWS = 65_536


def import_arrow(what: str = "a payload needs") -> Any:
    """Return pyarrow, with its Parquet part. Errors: InvalidArgumentError when it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InvalidArgumentError(f"{what} the package pyarrow; install vark[arrow]") from error
    return pyarrow


def payload_stream(
    payload: Any, feeds: FeedGroup, *, key: str | None, row_count: int | None
) -> tuple[tuple[str, str, str, int, tuple[str, Any]], dict[str, Any]]:
    """Return (stream for the engine, entry `payload` of the metadata); batches flow through a pipe.

    payload: pyarrow Table, RecordBatch or RecordBatchReader, or the path of a Parquet file.
    key: column with the ids that the rows belong to; None: row i belongs to vector i (checked against row_count).
    Errors: InvalidArgumentError.
    """
    arrow = import_arrow()
    schema, rows, batches = _batches(arrow, payload)
    if key is not None and key not in schema.names:
        raise InvalidArgumentError(f"payload_key: no column {key!r}; the payload has {schema.names}")
    if key is None and rows is not None and row_count is not None and rows != row_count:
        raise InvalidArgumentError(
            f"payload: {rows} rows for {row_count} vectors; give payload_key= a column of ids, or one row a vector"
        )

    def write(descriptor: int) -> None:
        with open(descriptor, "wb", closefd=False) as pipe, arrow.ipc.new_stream(pipe, schema) as stream:
            for batch in batches:
                stream.write_batch(batch)

    feed = feeds.add(ThreadFeed(write, what="payload"))
    metadata: dict[str, Any] = {"stream": STREAM_NAME, "format": FORMAT, "key": key}
    if rows is not None:
        metadata["rows"] = rows
    return (STREAM_NAME, "payload", "u8", 1, ("pipe", feed)), metadata


def _batches(arrow: Any, payload: Any) -> tuple[Any, int | None, Iterable[Any]]:
    """Return (schema, row count or None when only the end tells, batches)."""
    if isinstance(payload, (str, PathLike)):
        try:
            file = arrow.parquet.ParquetFile(os.fspath(payload))
        except (OSError, arrow.ArrowException) as error:
            raise InvalidArgumentError(f"payload: {payload}: not a readable Parquet file: {error}") from error
        return file.schema_arrow, file.metadata.num_rows, file.iter_batches(_BATCH_ROWS)
    if isinstance(payload, arrow.RecordBatch):
        payload = arrow.Table.from_batches([payload])
    if isinstance(payload, arrow.Table):
        return payload.schema, payload.num_rows, payload.to_batches(_BATCH_ROWS)
    if isinstance(payload, arrow.RecordBatchReader):
        return payload.schema, None, payload
    kind = type(payload).__name__
    raise InvalidArgumentError(f"payload: {kind}; expected a pyarrow Table or RecordBatchReader, or a Parquet path")


class StreamFile(io.RawIOBase):
    """A stream of bytes of an archive as a file that is read forward."""

    def __init__(self, view: StreamView) -> None:
        self._view = view
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        window = memoryview(buffer).cast("B")
        count = min(len(window), len(self._view) - self._position)
        if count > 0:
            self._view.read_into(self._position, count, window[:count])
            self._position += count
        return count


def read_payload(view: StreamView, *, rows: Any = None) -> Any:
    """Return the payload as a pyarrow Table: all of it, or `rows` (a slice with step 1, or row numbers in any order).

    Reads forward and keeps only what was asked for. Errors: InvalidArgumentError, DamagedError.
    """
    arrow = import_arrow()
    try:
        with arrow.ipc.open_stream(io.BufferedReader(StreamFile(view), 1 << 20)) as reader:
            if rows is None:
                return reader.read_all()
            return _rows_of(arrow, reader, rows)
    except arrow.ArrowInvalid as error:
        raise DamagedError(f"payload: not an Arrow stream: {error}", layer="metadata") from error


def compare_payloads(before: StreamView, after: StreamView) -> dict[str, str]:
    """Return column -> "added" | "removed" | "type changed" | "changed in N rows", by position, some rows at a time.

    A different number of rows is said under the name "". Errors: InvalidArgumentError (no pyarrow), DamagedError.
    """
    arrow = import_arrow()
    try:
        with (
            arrow.ipc.open_stream(io.BufferedReader(StreamFile(before), 1 << 20)) as old,
            arrow.ipc.open_stream(io.BufferedReader(StreamFile(after), 1 << 20)) as new,
        ):
            return _compare(arrow, old, new)
    except arrow.ArrowException as error:
        raise DamagedError(f"payload: not an Arrow stream: {error}") from error


def _compare(arrow: Any, old: Any, new: Any) -> dict[str, str]:
    import pyarrow.compute  # noqa: F401 - fills arrow.compute

    found = {name: "removed" for name in old.schema.names if name not in new.schema.names}
    found |= {name: "added" for name in new.schema.names if name not in old.schema.names}
    both = [name for name in old.schema.names if name not in found]
    for name in both:
        if old.schema.field(name).type != new.schema.field(name).type:
            found[name] = "type changed"
    counts = dict.fromkeys((name for name in both if name not in found), 0)
    rows = [0, 0]
    left: list[Any] = [None, None]
    readers = (iter(old), iter(new))
    while True:
        for side in (0, 1):
            while left[side] is None or left[side].num_rows == 0:
                left[side] = next(readers[side], None)
                if left[side] is None:
                    break
        if left[0] is None or left[1] is None:
            break
        count = min(batch.num_rows for batch in left)
        for name in counts:
            first, second = (batch.column(name).slice(0, count) for batch in left)
            counts[name] += _unequal(arrow, first, second)
        for side in (0, 1):
            rows[side] += count
            left[side] = left[side].slice(count)
    for side in (0, 1):
        rest = [] if left[side] is None else [left[side]]
        rows[side] += sum(batch.num_rows for batch in [*rest, *readers[side]])
    found |= {name: f"changed in {count} rows" for name, count in counts.items() if count}
    if rows[0] != rows[1]:
        found[""] = f"{rows[0]} rows before, {rows[1]} after"
    return found


def _unequal(arrow: Any, first: Any, second: Any) -> int:
    """Return how many values differ; null equals null, NaN equals NaN, and what cannot be compared goes by its text."""
    if first.equals(second):
        return 0
    try:
        same = arrow.compute.equal(first, second).fill_null(False)
        same = arrow.compute.or_(same, arrow.compute.and_(first.is_null(), second.is_null()))
        return len(first) - int(arrow.compute.sum(same).as_py() or 0)
    except arrow.ArrowException:
        return sum(repr(old) != repr(new) for old, new in zip(first.to_pylist(), second.to_pylist(), strict=True))


def _rows_of(arrow: Any, reader: Any, rows: Any) -> Any:
    if isinstance(rows, slice):
        if rows.step not in (None, 1) or min(rows.start or 0, rows.stop or 0) < 0:
            raise InvalidArgumentError(f"payload: rows {rows}; expected a forward slice from the start")
        first, stop = rows.start or 0, rows.stop
        kept, passed = [], 0
        for batch in reader:
            low, high = max(first - passed, 0), batch.num_rows if stop is None else stop - passed
            if low < min(high, batch.num_rows):
                kept.append(batch.slice(low, min(high, batch.num_rows) - low))
            passed += batch.num_rows
            if stop is not None and passed >= stop:
                break
        return arrow.Table.from_batches(kept, schema=reader.schema)
    numbers = np.asarray(rows, dtype=np.int64)
    order = np.sort(np.unique(numbers))
    kept, passed = [], 0
    for batch in reader:
        inside = order[(order >= passed) & (order < passed + batch.num_rows)] - passed
        if len(inside):
            kept.append(batch.take(arrow.array(inside)))
        passed += batch.num_rows
    if len(order) and (order[0] < 0 or order[-1] >= passed):
        raise InvalidArgumentError(f"payload: rows {order[0]} to {order[-1]}; the payload has {passed}")
    table = arrow.Table.from_batches(kept, schema=reader.schema)
    return table.take(arrow.array(np.searchsorted(order, numbers)))
