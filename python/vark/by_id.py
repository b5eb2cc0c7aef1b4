"""Rows by id: which row of a stream has an id, looked up in the stream of ids of the same member."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vark.errors import InvalidArgumentError, UnknownNameError
from vark.types import StreamInfo
from vark.views import READ_BYTES, StreamView

SHOWN_IDS = 5


def ids_stream(name: str, streams: Iterable[StreamInfo]) -> str:
    """Return the stream of ids that belongs to stream `name`: of the same member, and as long.

    Errors: UnknownNameError when there is none, or no such stream.
    """
    known = {info.name: info for info in streams}
    if name not in known:
        raise UnknownNameError(f"stream {name!r}: not in the archive, which has {', '.join(known)}")
    prefix, rows = name.rpartition("/")[0], known[name].shape[0]
    for info in known.values():
        if info.role == "ids" and info.name.rpartition("/")[0] == prefix and info.shape == (rows,):
            return info.name
    raise UnknownNameError(f"stream {name!r}: the archive has no ids of its {rows} rows; ask for rows by position")


def row_numbers(view: StreamView, ids: Any) -> NDArray[np.int64]:
    """Return the row of each id, in the order asked for; of an id that comes twice, the first row.

    view: the stream of ids, read once from front to back until all are found: one block for up to 4,194,304 rows.
    Errors: UnknownNameError for ids that are not there, InvalidArgumentError.
    """
    wanted = np.asarray(ids, dtype=np.int64 if len(ids) == 0 else None)
    if wanted.ndim != 1 or wanted.dtype.kind not in "iu":
        raise InvalidArgumentError(f"ids: shape {wanted.shape}, {wanted.dtype}; expected integers, shape (n,)")
    unique, places = np.unique(wanted.astype(view.dtype), return_inverse=True)
    if len(wanted) and (unique[places] != wanted).any():
        raise InvalidArgumentError(f"ids: some do not fit {view.dtype}, the type of stream {view.name!r}")
    found = np.full(len(unique), -1, np.int64)
    step = max(1, READ_BYTES // view.dtype.itemsize)
    for first in range(0, len(view), step):
        if (found >= 0).all():
            break
        part = view[first : first + step]
        at = np.searchsorted(unique, part).clip(max=max(len(unique) - 1, 0))
        hits = np.flatnonzero(unique[at] == part) if len(unique) else np.empty(0, np.int64)
        # From the back, so that the first row of an id wins; rows of earlier parts stay.
        for hit in hits[::-1]:
            if not 0 <= found[at[hit]] < first:
                found[at[hit]] = first + hit
    missing = unique[found < 0]
    if len(missing):
        shown = ", ".join(map(str, missing[:SHOWN_IDS].tolist())) + (" …" if len(missing) > SHOWN_IDS else "")
        raise UnknownNameError(f"{len(missing)} ids are not in stream {view.name!r}: {shown}")
    return found[places]


def rows_by_id(get: Callable[[str], StreamView], streams: Sequence[StreamInfo], name: str, ids: Any) -> NDArray[Any]:
    """Return the rows of stream `name` with these ids, in this order. Errors: UnknownNameError, DamagedError."""
    return get(name).rows_of(row_numbers(get(ids_stream(name, streams)), ids))
