"""Selected rows as Arrow tables, and written as Arrow or Parquet. pyarrow is imported when used."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vark.errors import DamagedError, InvalidArgumentError
from vark.payload import StreamFile, import_arrow, read_payload

if TYPE_CHECKING:
    from vark.selection import Selection
    from vark.views import StreamView

ID, ROW, VECTOR = "id", "row", "vector"


def _arrow() -> Any:
    return import_arrow("Arrow and Parquet need")


class PayloadOf:
    """Finds the payload of rows: by position, or by the column of ids that it was stored with."""

    def __init__(self, view: StreamView, facts: Mapping[str, Any]) -> None:
        self._view = view
        self.key: str | None = facts.get("key")

    def of(self, rows: Any, ids: NDArray[Any] | None) -> Any:
        """Return a table as long as `rows`; what the payload lacks is null.

        Errors: InvalidArgumentError, DamagedError.
        """
        arrow = _arrow()
        if self.key is None:
            return read_payload(self._view, rows=np.asarray(rows))
        if ids is None:
            raise InvalidArgumentError(f"payload: it has a key, {self.key!r}, but the rows have no ids; leave it out")
        try:
            return self._by_key(arrow, ids)
        except arrow.ArrowException as error:
            raise DamagedError(f"payload: {error}", layer="metadata") from error

    def _by_key(self, arrow: Any, ids: NDArray[Any]) -> Any:
        wanted = np.unique(ids)
        kept, keys = [], [np.empty(0, wanted.dtype)]
        with arrow.ipc.open_stream(io.BufferedReader(StreamFile(self._view), 1 << 20)) as reader:
            schema = reader.schema
            for batch in reader:
                column = batch.column(self.key)
                if not arrow.types.is_integer(column.type):
                    raise InvalidArgumentError(f"payload: its key {self.key!r} is {column.type}; ids are integers")
                inside = np.flatnonzero(np.asarray(column.is_valid()))
                found = np.asarray(column.drop_null())
                hits = np.isin(found, wanted)
                kept.append(batch.take(arrow.array(inside[hits])))
                keys.append(found[hits].astype(wanted.dtype))
        table, found = arrow.Table.from_batches(kept, schema=schema), np.concatenate(keys)
        order = np.argsort(found, kind="stable")
        twice = _equal(found[order])
        if len(twice):
            first = found[order][twice[0]]
            raise InvalidArgumentError(f"payload: several rows have {self.key} {first}; leave the payload out")
        at = np.searchsorted(found[order], ids)
        here = at < len(order)
        here[here] &= found[order][at[here]] == ids[here]
        rows = np.zeros(len(ids), np.int64)
        rows[here] = order[at[here]]
        return table.take(arrow.array(rows, mask=~here))


def misfit(facts: Mapping[str, Any], view: StreamView, *, has_ids: bool) -> str | None:
    """Return why the payload cannot belong to the rows of `view`, None when it can."""
    if facts.get("key") is not None:
        return None if has_ids else f"its rows are known by {facts['key']!r}, but stream {view.name!r} has no ids"
    if facts.get("rows") in (None, len(view)):
        return None
    return f"it has {facts['rows']} rows, stream {view.name!r} has {len(view)}"


def _equal(ascending: NDArray[Any]) -> NDArray[np.int64]:
    """Return positions whose value comes again right behind."""
    return np.flatnonzero(ascending[1:] == ascending[:-1])


def payload_of(selection: Selection) -> Any:
    """Return the payload of the rows as a pyarrow Table; None without one.

    Errors: InvalidArgumentError, DamagedError.
    """
    _arrow()
    return None if selection.payload is None else selection.payload.of(selection.rows, selection.ids)


def table_of(selection: Selection, payload: Any = None) -> Any:
    """Return the rows as a pyarrow Table, with the columns of `payload`, which has as many rows.

    Errors: InvalidArgumentError, DamagedError.
    """
    arrow = _arrow()
    ids, values = selection.ids, selection.values
    columns: dict[str, Any] = {}
    if ids is None:
        columns[ROW] = arrow.array(np.asarray(selection.rows, np.int64))
    else:
        columns[ID] = arrow.array(ids)
    view = selection.view
    if view.element_type == "bf16":
        values = (values.astype("<u4") << 16).view("<f4")  # the same numbers: bf16 is the upper half of f32
    name = VECTOR if view.role == "vectors" else view.name.rpartition("/")[2]
    flat = arrow.array(values.reshape(-1))
    columns[name if name not in columns else f"{name}.values"] = (
        flat if view.ndim == 1 else arrow.FixedSizeListArray.from_arrays(flat, view.shape[1])
    )
    if selection.payload is not None and payload is not None:
        for column in payload.schema.names:
            if column == selection.payload.key == ID:
                continue  # it is the id itself
            columns[column if column not in columns else f"payload.{column}"] = payload.column(column)
    return arrow.table(columns)


def write(selection: Selection, out: BinaryIO, form: str) -> None:
    """Write the rows as an Arrow IPC file or stream, or as Parquet, some MiB at a time."""
    arrow = _arrow()
    sink = arrow.PythonFile(_Counted(out), mode="w")
    payload = payload_of(selection)  # once: it is read forward from its start
    schema = table_of(selection.only(range(0)), None if payload is None else payload.slice(0, 0)).schema
    make = {"arrow": arrow.ipc.new_file, "arrow-stream": arrow.ipc.new_stream, "parquet": arrow.parquet.ParquetWriter}
    with make[form](sink, schema) as writer:
        first = 0
        for part in selection.parts():
            writer.write_table(
                table_of(part, None if payload is None else payload.slice(first, len(part))).cast(schema)
            )
            first += len(part)


class _Counted(io.RawIOBase):
    """A file that knows its position although it may be a pipe."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._position = out, 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        self._out.write(data)
        self._position += len(data)
        return len(data)

    def flush(self) -> None:
        self._out.flush()
