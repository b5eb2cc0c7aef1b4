"""Rows by id: in which rows of a stream an id is, by the index of the ids beside it or by reading those."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vark.errors import InvalidArgumentError, UnknownNameError
from vark.types import StreamInfo
from vark.views import READ_BYTES, StreamView

SHOWN_IDS = 5
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Found:
    """Where ids are. numbers: which of the ids asked for; rows: a row that has it; missing: ids that no row has.

    numbers and rows are as long as each other and ascend together: an id of several rows comes once for each.
    """

    numbers: Numbers
    rows: Numbers
    missing: NDArray[Any]


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


def find(view: StreamView, ids: Any, *, first_only: bool = False) -> Found:
    """Return the rows of each id.

    view: the stream of ids. With an index, a few reads; else it is read from front to back (one block for up to
    4,194,304 rows), with `first_only` until all are found. Errors: InvalidArgumentError, DamagedError.
    """
    wanted = np.asarray(ids, dtype=np.int64 if len(ids) == 0 else None)
    if wanted.ndim != 1 or wanted.dtype.kind not in "iu":
        raise InvalidArgumentError(f"ids: shape {wanted.shape}, {wanted.dtype}; expected integers, shape (n,)")
    unique, places = np.unique(wanted.astype(view.dtype), return_inverse=True)
    if len(wanted) and (unique[places] != wanted).any():
        raise InvalidArgumentError(f"ids: some do not fit {view.dtype}, the type of stream {view.name!r}")
    keys, rows = _indexed(view, unique) or _scanned(view, unique, first_only=first_only)
    # Of every id asked for, in that order, its rows: those of the id lie together in `rows`.
    start, stop = (np.searchsorted(keys, places, side=side) for side in ("left", "right"))
    counts = np.minimum(stop - start, 1) if first_only else stop - start
    numbers = np.repeat(np.arange(len(wanted)), counts)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return Found(numbers, rows[np.repeat(start, counts) + inside], wanted[counts == 0])


def _indexed(view: StreamView, unique: NDArray[Any]) -> tuple[Numbers, Numbers] | None:
    """Return (numbers in `unique`, rows), ascending; None without an index."""
    found = view.find_ids(unique)
    return None if found is None else (found[0], found[1])


def _scanned(view: StreamView, unique: NDArray[Any], *, first_only: bool) -> tuple[Numbers, Numbers]:
    keys, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    step = max(1, READ_BYTES // view.dtype.itemsize)
    seen = np.zeros(len(unique), bool)
    for first in range(0, len(view), step) if len(unique) else ():
        if first_only and seen.all():
            break
        part = view[first : first + step]
        at = np.searchsorted(unique, part).clip(max=len(unique) - 1)
        hits = np.flatnonzero(unique[at] == part)
        keys.append(at[hits])
        rows.append(hits + first)
        seen[at[hits]] = True
    all_keys, all_rows = np.concatenate(keys), np.concatenate(rows)
    order = np.argsort(all_keys, kind="stable")
    return all_keys[order], all_rows[order]


def row_numbers(view: StreamView, ids: Any) -> Numbers:
    """Return the row of each id, in the order asked for; of an id that comes twice, the first row.

    Errors: UnknownNameError for ids that are not there, InvalidArgumentError.
    """
    found = find(view, ids, first_only=True)
    if len(found.missing):
        raise UnknownNameError(missing_text(found.missing, view.name))
    return found.rows


def missing_text(missing: NDArray[Any], name: str) -> str:
    """Say which ids are not there."""
    unique = np.unique(missing)
    shown = ", ".join(map(str, unique[:SHOWN_IDS].tolist())) + (" …" if len(unique) > SHOWN_IDS else "")
    return f"{len(unique)} ids are not in stream {name!r}: {shown}"


def rows_by_id(get: Callable[[str], StreamView], streams: Sequence[StreamInfo], name: str, ids: Any) -> NDArray[Any]:
    """Return the rows of stream `name` with these ids, in this order. Errors: UnknownNameError, DamagedError."""
    return get(name).rows_of(row_numbers(get(ids_stream(name, streams)), ids))
