"""Rows of two streams compared, by position and by id, with memory that is bounded: a few bytes a row and a budget."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vark.views import READ_BYTES, StreamView

# Candidates that are kept at a time when rows are looked for elsewhere: 16 bytes each, on either side.
CANDIDATES_MAX = 4 << 20
MOVABLE_BYTES_MIN = 8  # shorter rows are found anywhere by chance

GAP_ROWS = 256  # equal rows between others that are worth a read of its own

Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RowCounts:
    """How many rows are added, removed, changed, moved."""

    added: int
    removed: int
    changed: int
    moved: int


class RowHasher:
    """Hashes rows to 64 bits under a key of this process: equal rows equal, others with a chance of 2^-64 a pair."""

    def __init__(self, row_bytes: int) -> None:
        self._lanes = -(-row_bytes // 4)
        self._row_bytes = row_bytes
        count = (self._lanes + 1) * 2
        # Multilinear hashing (Lemire and Kaser 2014): the upper half of a sum of products with random 64-bit keys.
        self._keys = np.frombuffer(secrets.token_bytes(count * 8), np.uint64).reshape(2, self._lanes + 1)

    def __call__(self, rows: NDArray[np.uint8]) -> Hashes:
        """Return the hash of each row of bytes, shape (row_count, row_bytes)."""
        padded = np.zeros((len(rows), self._lanes * 4), np.uint8)
        padded[:, : self._row_bytes] = rows
        lanes = padded.view("<u4")
        halves = []
        with np.errstate(over="ignore"):
            for key in self._keys:
                total = np.full(len(rows), key[-1], np.uint64)
                for lane in range(self._lanes):
                    total += lanes[:, lane].astype(np.uint64) * key[lane]
                halves.append(total >> np.uint64(32))
        return halves[0] << np.uint64(32) | halves[1]


def row_bytes_of(view: StreamView) -> int:
    """Return the bytes of one row."""
    return int(view.dtype.itemsize * (view.shape[1] if view.ndim == 2 else 1))


def blocks(view: StreamView, first: int = 0, stop: int | None = None) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (first row, rows as bytes) of a part of a stream, some MiB at a time."""
    width = row_bytes_of(view)
    step = max(1, READ_BYTES // width)
    end = len(view) if stop is None else stop
    for row in range(first, end, step):
        count = min(step, end - row)
        yield row, np.ascontiguousarray(view[row : row + count]).view(np.uint8).reshape(count, width)


def differing(before: StreamView, after: StreamView) -> Flags:
    """Return for each row number that both have whether the rows differ; both have rows of the same length."""
    count = min(len(before), len(after))
    flags = np.zeros(count, bool)
    for first, stop in unequal_runs(before, after):
        for (row, old), (_, new) in zip(blocks(before, first, stop), blocks(after, first, stop), strict=True):
            flags[row : row + len(old)] = (old != new).any(axis=1)
    return flags


def unequal_runs(before: StreamView, after: StreamView) -> Iterator[tuple[int, int]]:
    """Yield (first row, end) of what has to be read to compare the rows that both have: chunks that may differ."""
    yield from _runs(np.flatnonzero(~before.equal_rows(after)))


def _runs(numbers: Positions) -> Iterator[tuple[int, int]]:
    """Yield (first, end) of ascending numbers that lie close together."""
    if len(numbers):
        ends = np.append(np.flatnonzero(np.diff(numbers) > GAP_ROWS), len(numbers) - 1)
        starts = np.append(0, ends[:-1] + 1)
        for start, end in zip(starts, ends, strict=True):
            yield int(numbers[start]), int(numbers[end]) + 1


def compare_by_position(before: StreamView, after: StreamView, *, movable: bool) -> RowCounts:
    """Compare rows at the same positions; those that differ are looked for elsewhere where rows are `movable`."""
    if row_bytes_of(before) != row_bytes_of(after) or before.dtype != after.dtype:
        return RowCounts(len(after), len(before), 0, 0)
    changed = differing(before, after)
    gone, new = _tail(changed, len(before)), _tail(changed, len(after))
    moved = 0
    if movable and row_bytes_of(before) >= MOVABLE_BYTES_MIN and gone.any() and new.any():
        moved = _take_moved(before, after, gone, new)
    both = len(changed)
    changed_count = int((gone[:both] & new[:both]).sum())
    return RowCounts(int(new.sum()) - changed_count, int(gone.sum()) - changed_count, changed_count, moved)


def _tail(changed: Flags, count: int) -> Flags:
    """Return the flags of one side: what differs, and what lies past the end of the other."""
    return np.concatenate([changed, np.ones(count - len(changed), bool)])


def _take_moved(before: StreamView, after: StreamView, gone: Flags, new: Flags) -> int:
    """Clear the flags of rows that are on both sides, at different positions; return how many there are."""
    hasher = RowHasher(row_bytes_of(before))
    parts = int(max(gone.sum(), new.sum())) // CANDIDATES_MAX + 1
    moved = 0
    for part in range(parts):
        old_hashes, old_rows = _hashes(before, gone, hasher, part, parts)
        new_hashes, new_rows = _hashes(after, new, hasher, part, parts)
        old_index, new_index = match(old_hashes, new_hashes)
        gone[old_rows[old_index]] = False
        new[new_rows[new_index]] = False
        moved += len(old_index)
    return moved


def _hashes(view: StreamView, flags: Flags, hasher: RowHasher, part: int, parts: int) -> tuple[Hashes, Positions]:
    """Return hashes and numbers of the flagged rows whose hash falls into this part."""
    hashes, numbers = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    step = max(1, READ_BYTES // row_bytes_of(view))
    for first in range(0, len(view), step):
        chosen = np.flatnonzero(flags[first : first + step])
        if not len(chosen):
            continue
        start, stop = first + int(chosen[0]), first + int(chosen[-1]) + 1
        for row, rows in blocks(view, start, stop):
            wanted = np.flatnonzero(flags[row : row + len(rows)])
            found = hasher(rows[wanted])
            mine = found % np.uint64(parts) == part
            hashes.append(found[mine])
            numbers.append(wanted[mine] + row)
    return np.concatenate(hashes), np.concatenate(numbers)


def match(before: NDArray[np.generic], after: NDArray[np.generic]) -> tuple[Positions, Positions]:
    """Return positions of equal keys, paired in order; a key that is there several times pairs as often as on both."""
    old_order, new_order = np.argsort(before, kind="stable"), np.argsort(after, kind="stable")
    old, new = before[old_order], after[new_order]
    # The number of a key among its equals makes each occurrence a key of its own.
    old_rank = np.arange(len(old)) - np.searchsorted(old, old, side="left")
    start = np.searchsorted(new, old, side="left")
    count = np.searchsorted(new, old, side="right") - start
    paired = old_rank < count
    partner = start[paired] + old_rank[paired]
    return old_order[paired].astype(np.int64), new_order[partner].astype(np.int64)


def compare_by_id(before: StreamView, after: StreamView, before_ids: StreamView, after_ids: StreamView) -> RowCounts:
    """Compare the rows of the same ids, wherever they are: the first of an id with the first, and so on.

    Ids are read, unless the tables say that both sides have the same; of the rows, those that may differ or have moved.
    """
    same_kind = row_bytes_of(before) == row_bytes_of(after) and before.dtype == after.dtype
    if not same_kind or before_ids.dtype != after_ids.dtype:
        return RowCounts(len(after), len(before), 0, 0)
    if len(before) == len(after) and before_ids.equal_rows(after_ids).all():
        # Where each id stands at one position on both sides, so do the first, second … row of an id that several have.
        return RowCounts(0, 0, int(differing(before, after).sum()), 0)
    known = before.equal_rows(after)
    hasher = RowHasher(row_bytes_of(before))
    parts = max(len(before), len(after)) // CANDIDATES_MAX + 1
    added = removed = changed = moved = 0
    for part in range(parts):
        old_keys, old_rows = _keyed(before_ids, part, parts)
        new_keys, new_rows = _keyed(after_ids, part, parts)
        old_index, new_index = match(old_keys, new_keys)
        removed += len(old_keys) - len(old_index)
        added += len(new_keys) - len(new_index)
        old, new = old_rows[old_index], new_rows[new_index]
        same_place = old == new
        unsure = ~same_place
        unsure[same_place] = ~known[old[same_place]]
        old, new = old[unsure], new[unsure]
        same = _hashes_at(before, old, hasher) == _hashes_at(after, new, hasher)
        changed += int((~same).sum())
        moved += int((same & (old != new)).sum())
    return RowCounts(added, removed, changed, moved)


def _hashes_at(view: StreamView, numbers: Positions, hasher: RowHasher) -> Hashes:
    """Return the hashes of rows, in the order of their numbers here; none comes twice."""
    order = np.argsort(numbers)
    ascending = numbers[order]
    found = np.empty(len(numbers), np.uint64)
    for first, stop in _runs(ascending):
        for row, rows in blocks(view, first, stop):
            start, end = np.searchsorted(ascending, [row, row + len(rows)])
            found[order[start:end]] = hasher(rows[ascending[start:end] - row])
    return found


def _keyed(ids: StreamView, part: int, parts: int) -> tuple[NDArray[np.generic], Positions]:
    """Return ids and row numbers of the rows whose id falls into this part."""
    keys, numbers = [np.empty(0, ids.dtype)], [np.empty(0, np.int64)]
    step = max(1, READ_BYTES // row_bytes_of(ids))
    for first in range(0, len(ids), step):
        found = ids[first : first + step].reshape(-1)
        mine = np.flatnonzero(found.astype(np.uint64) % np.uint64(parts) == part)
        keys.append(found[mine])
        numbers.append(mine + first)
    return np.concatenate(keys), np.concatenate(numbers)
