"""Rows by id for reader.py (FORMAT.md 8.3): the sorted index of a stream of ids, or the ids themselves without one.

Rows come from `source.chunk` and `source.rows`, which check CRC-64 and BLAKE3.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from reader_codecs import Bytes, need
from reader_plan import Stream

ID_INDEX, IDS, GONE = 33, 5, (1 << 64) - 1


class Source(Protocol):
    """What this module needs of an archive."""

    streams_by_name: Mapping[str, Stream]

    def chunk(self, stream: Stream, chunk: int) -> Bytes: ...

    def rows(self, name: str, first: int, count: int) -> np.ndarray[Any, Any]: ...


def _index_stream(source: Source, name: str, word: str) -> Stream | None:
    stream = source.streams_by_name.get(f"{name}//id_index.{word}")
    fits = stream is not None and (stream.role, stream.element_type, stream.row_elements) == (ID_INDEX, "u64", 1)
    return stream if fits else None


def _numbers(source: Source, stream: Stream) -> list[int]:
    values: list[int] = source.rows(stream.name, 0, stream.row_count).reshape(-1).tolist()
    return values


def _places(source: Source, name: str, run: str, key: int) -> Iterator[int]:
    """The places that one of the two runs says of a key; none when there is no such run."""
    keys, places, fence = (_index_stream(source, name, run + word) for word in ("keys", "places", "fence"))
    if keys is None or places is None:
        return
    what = f"index of the ids {name!r}"
    need("codec", fence is not None, what, "a fence")
    shapes = [(stream.row_count, stream.chunk_rows) for stream in (keys, places)]
    need("codec", shapes[0] == shapes[1], what, f"places as keys, {shapes[0]}", shapes[1])
    assert fence is not None
    need("codec", fence.row_count == keys.chunk_count, what, f"a fence of {keys.chunk_count}", fence.row_count)
    first_keys = _numbers(source, fence)
    for chunk in range(max(bisect_left(first_keys, key) - 1, 0), len(first_keys)):
        if first_keys[chunk] > key:
            break
        held = source.chunk(keys, chunk).view("<u8")
        start, stop = (int(np.searchsorted(held, np.uint64(key), side)) for side in ("left", "right"))  # type: ignore[call-overload]
        if start < stop:
            yield from source.chunk(places, chunk).view("<u8")[start:stop].tolist()


def _row(source: Source, ids: Stream, place: int) -> int:
    """The number of the row at a place."""
    what, stream = f"index of the ids {ids.name!r}", _index_stream(source, ids.name, "groups")
    row, end = place, ids.row_count
    if stream is not None:
        stride, *starts = _numbers(source, stream) or [0]
        is_right = 1 <= stride <= 1 << 63 and starts[:1] == [0] and starts == sorted(starts)
        need("codec", is_right, what, "a stride and ascending first rows of groups")
        group, offset = divmod(place, stride)
        need("codec", group < len(starts), what, f"one of {len(starts)} groups", group)
        row, end = starts[group] + offset, [*starts[1:], end][group]
    need("codec", row < min(end, ids.row_count), what, "the place of a row", place)
    return row


def _said(source: Source, ids: Stream, run: str) -> dict[int, list[int]]:
    """Key -> places of one of the two runs, whose order and fence are compared; nothing when there is no such run."""
    keys, places, fence = (_index_stream(source, ids.name, run + word) for word in ("keys", "places", "fence"))
    if keys is None or places is None:
        return {}
    list(_places(source, ids.name, run, 0))  # the streams fit each other
    assert fence is not None
    pairs = list(zip(_numbers(source, keys), _numbers(source, places), strict=True))
    what = f"index of the ids {ids.name!r}"
    need("codec", all(a < b for a, b in pairwise(pairs)), what, f"{run}keys and places that ascend")
    first_keys = [key for key, _ in pairs[:: keys.chunk_rows]]
    need("codec", _numbers(source, fence) == first_keys, what, f"{run}fence of the first keys")
    said: dict[int, list[int]] = {}
    for key, place in pairs:
        said.setdefault(key, []).append(place)
    return said


def check_all(source: Source) -> None:
    """Each index says what its ids say: every row under its id, once, and nothing else."""
    for ids in source.streams_by_name.values():
        if (ids.role, ids.row_elements) != (IDS, 1) or _index_stream(source, ids.name, "keys") is None:
            continue
        said = _said(source, ids, "") | _said(source, ids, "changes.")
        rows = {key: [_row(source, ids, at) for at in places] for key, places in said.items() if places != [GONE]}
        found: dict[int, list[int]] = {}
        for row, value in enumerate(source.rows(ids.name, 0, ids.row_count).reshape(-1).tolist()):
            found.setdefault(value % (1 << 64), []).append(row)
        need("codec", rows == found, f"index of the ids {ids.name!r}", "the rows of every id")


def rows_of_id(source: Source, name: str, wanted: int) -> list[int]:
    """The rows of stream `name` (role ids) that have the id, ascending."""
    ids = source.streams_by_name.get(name)
    if ids is None or (ids.role, ids.row_elements) != (IDS, 1):
        raise ValueError(f"{name!r}: no stream of ids in this archive")
    if _index_stream(source, name, "keys") is None:
        return [int(row) for row in np.flatnonzero(source.rows(name, 0, ids.row_count).reshape(-1) == wanted)]
    key = wanted % (1 << 64)
    places = list(_places(source, name, "changes.", key)) or list(_places(source, name, "", key))
    rows = sorted({_row(source, ids, place) for place in places}) if GONE not in places else []
    for row in rows:
        found = int(source.rows(name, row, 1)[0, 0])
        need("codec", found == wanted, f"index of the ids {name!r}", f"id {wanted} in row {row}", found)
    return rows
