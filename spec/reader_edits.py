"""Codec 35 (edits) for reader.py: `codecs/edits.md` step by step.

The walk over the rows is plain Python loops; where numba is installed, long chunks run it compiled.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from reader_codecs import Bytes, Words, _decode_zstd, in_codec

Ints: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = NDArray[np.uint32]

PLANES, HEADER_BYTES = 8, 72
SHAPES, COUNTS, ADDED, LEADS, KEPT, STALE_COUNTS, STALE_SOURCES, MARKS = range(PLANES)
REMOVED, ORDER, HUB, STALE = 1, 2, 4, 8
COUNT_FOLLOWS, EXCEPTION = 14, 15
HUB_BOTH, HUB_ONE, NEAR = 124, 125, 126
SOURCE_ID, SOURCE_BASE = 254, 255
NONE_ID, ID_MASK = 0xFFFFFFFF, 0xFFFFFFFF
COMPILED_ROWS_MIN = 50_000  # compiling takes as long as so many rows in plain Python
FAULTS = {
    1: "bits and symbols to the end",
    2: "no more links than slots",
    3: "a kind of added id that the page knows, and has what it needs",
    4: "an order that starts within its list",
    5: "nothing left over",
    6: "a source that is a place in the lists",
    7: "an exception with nothing more to say",
}


class _Lists(NamedTuple):
    """A chunk while it is decoded; `cursors`: the next symbol of each plane, then bit of KEPT, bit, exception, told."""

    rows: Rows
    head: int
    old: Rows
    degrees: Ints
    nodes: Words
    shapes: Bytes
    counts: Bytes
    added: Bytes
    leads: Bytes
    kept: Bytes
    stale_counts: Bytes
    stale_sources: Bytes
    marks: Bytes
    exceptions: Rows
    bits: Bytes
    cursors: Ints
    hubs: Ints
    hosts: Ints
    told: Ints
    list: Ints


KEPT_BIT, BIT, EXCEPTIONS, TOLD = PLANES, PLANES + 1, PLANES + 2, PLANES + 3


def decode_edits(
    block: bytes, base: Bytes, raw_bytes: int, row_elements: int, element_type: str, nodes: Words, place: str = "block"
) -> Bytes:
    """Return the rows of `nodes` that `block` codes against the rows `base`; both have `raw_bytes`."""
    head, words = int(element_type == "u32"), row_elements
    slots, count = words - head, raw_bytes // (4 * words) if words else 0
    in_codec(element_type in ("u32", "i32"), place, "rows of u32 or i32", element_type)
    in_codec(1 <= slots <= 254 and 1 <= count < 1 << 31, place, "1 to 254 slots and a row", f"{slots}, {count}")
    in_codec(raw_bytes == len(base) == 4 * words * count, place, "whole rows, old and new", f"{len(base)}, {raw_bytes}")
    nodes = np.ascontiguousarray(nodes, np.uint64)
    in_codec(len(nodes) == count and np.all(nodes[1:] > nodes[:-1]), place, "a node for each row, ascending")
    in_codec(len(block) >= HEADER_BYTES, place, f"{HEADER_BYTES} bytes or more", len(block))
    exceptions, reserved = struct.unpack_from("<II", block)
    in_codec(reserved == 0 and exceptions <= count, place, f"up to {count} exceptions, reserved 0", exceptions)
    planes, at = _planes(block, count, slots, head, place)
    end = at + 4 * words * exceptions
    in_codec(len(block) >= end + 8, place, f"{end + 8} bytes or more", len(block))
    in_codec(not any(block[-8:]), place, "8 zero bytes at the end")
    old = np.ascontiguousarray(base).view("<u4").astype(np.uint32, copy=False).reshape(count, words)
    degrees = _degrees(old, head)
    is_hub = (planes[SHAPES] & HUB != 0) & (planes[SHAPES] >> 4 < EXCEPTION)
    hubs = np.flatnonzero(is_hub)
    marks = planes[MARKS] if len(planes[MARKS]) else np.zeros(2 * count, np.uint8)
    kept_rows = np.frombuffer(block, "<u4", words * exceptions, at).astype(np.uint32, copy=False).reshape(-1, words)
    rows = np.zeros((count, words), np.uint32)
    lists = _Lists(rows, head, old, degrees, nodes, *planes[:MARKS], marks, kept_rows,
                   np.frombuffer(block, np.uint8, offset=end)[:-8], np.zeros(PLANES + 4, np.int64), hubs,
                   _hosts(old, degrees, head, nodes, hubs, is_hub), np.zeros((len(planes[ADDED]), 2), np.int64),
                   np.zeros(600, np.int64))  # fmt: skip
    fault = (_compiled() if count >= COMPILED_ROWS_MIN else _walk)(lists)
    in_codec(fault == 0, place, FAULTS.get(fault, "changed lists"))
    in_codec(_is_at_end(lists), place, FAULTS[5])
    return rows.astype("<u4", copy=False).reshape(-1).view(np.uint8)


def _planes(block: bytes, count: int, slots: int, head: int, place: str) -> tuple[list[Bytes], int]:
    """Symbols of each plane, and where the frames end."""
    frames, at = [], HEADER_BYTES
    most = {COUNTS: count, ADDED: count * slots, LEADS: count, KEPT: -(-count * slots // 8), STALE_COUNTS: count * head,
            STALE_SOURCES: count * slots * head}  # fmt: skip
    for kind in range(PLANES):
        symbols, frame_bytes = struct.unpack_from("<II", block, 8 + 8 * kind)
        exact = {SHAPES: (count,), MARKS: (0, 2 * count * head)}.get(kind)
        fits = symbols in exact if exact else symbols <= most[kind]
        in_codec(fits, place, f"as many symbols of plane {kind} as the rows allow", symbols)
        in_codec(frame_bytes <= len(block) - at, place, "a frame within the block", frame_bytes)
        in_codec(symbols or frame_bytes == 0, place, "no frame of no symbols", frame_bytes)
        frames.append((block[at : at + frame_bytes], symbols))
        at += frame_bytes
    none = np.zeros(0, np.uint8)
    return [_decode_zstd(frame, symbols, place) if symbols else none for frame, symbols in frames], at


def _degrees(old: Rows, head: int) -> Ints:
    """Entries of each old list, −1 for a row that is none."""
    slots = old.shape[1] - head
    if head:
        degrees = (old[:, 0] & 0xFFFF).astype(np.int64)
        return np.where(degrees <= slots, degrees, -1)
    filled = old != NONE_ID
    degrees = filled.sum(1, dtype=np.int64)
    return np.where((filled == (np.arange(slots) < degrees[:, None])).all(1), degrees, -1)


def _hosts(old: Rows, degrees: Ints, head: int, nodes: Words, hubs: Ints, is_hub: NDArray[np.bool_]) -> Ints:
    """For each row that is no hub the first hub whose old list names it, or −1."""
    hosts = np.full(len(nodes), -1, np.int64)
    for hub in hubs[::-1]:
        ids = old[hub, head : head + max(0, degrees[hub])].astype(np.uint64)
        rows = np.searchsorted(nodes, ids)
        rows = rows[rows < len(nodes)] if len(rows) else rows
        hosts[rows[np.isin(nodes[rows], ids)]] = hub
    hosts[is_hub] = -1
    return hosts


def _is_at_end(lists: _Lists) -> bool:
    """Whether every symbol, bit and exception was taken."""
    planes = (lists.counts, lists.added, lists.leads, lists.stale_counts, lists.stale_sources)
    kinds = (COUNTS, ADDED, LEADS, STALE_COUNTS, STALE_SOURCES)
    whole = all(lists.cursors[kind] == len(plane) for kind, plane in zip(kinds, planes, strict=True))
    for bits, cursor in ((lists.kept, lists.cursors[KEPT_BIT]), (lists.bits, lists.cursors[BIT])):
        used, spare = -(-cursor // 8), cursor % 8
        whole = whole and used == len(bits) and (spare == 0 or bits[used - 1] >> spare == 0)
    return bool(whole and lists.cursors[EXCEPTIONS] == len(lists.exceptions))


@lru_cache
def _compiled() -> Callable[[_Lists], int]:
    """`_walk` by numba, if there is one: the functions below once more, with compiled ones as their globals."""
    try:
        from numba import njit
    except ImportError:
        return _walk
    space = dict(globals())
    for function in (_take, _choose, _symbol, _old_list, _near, _id, _keep, _reorder, _stale, _row, _walk):
        space[function.__name__] = njit(FunctionType(function.__code__, space, function.__name__))
    return space["_walk"]  # type: ignore[no-any-return]


def _take(bits: Bytes, cursors: Ints, cursor: int, width: int) -> int:
    """A number of so many bits, −1 past the end."""
    first = cursors[cursor]
    cursors[cursor] += width
    if cursors[cursor] > 8 * len(bits):
        return -1
    value = np.int64(0)
    for byte in range(first // 8, (first + width + 7) // 8):
        value |= np.int64(bits[byte]) << (8 * (byte - first // 8))
    return (value >> (first % 8)) & ((1 << width) - 1)


def _choose(lists: _Lists, choices: int) -> int:
    """A choice among at least 1, −1 past the end."""
    width = 0
    while choices >> (width + 1):
        width += 1
    short, number = (2 << width) - choices, _take(lists.bits, lists.cursors, BIT, width)
    if number < short:
        return number
    more = _take(lists.bits, lists.cursors, BIT, 1)
    return -1 if more < 0 else 2 * number + more - short


def _symbol(plane: Bytes, cursors: Ints, kind: int) -> int:
    """The next symbol of a plane, −1 past the end."""
    if cursors[kind] == len(plane):
        return -1
    cursors[kind] += 1
    return np.int64(plane[cursors[kind] - 1])  # type: ignore[return-value]


def _old_list(lists: _Lists, row: int) -> Rows:
    return lists.old[row, lists.head : lists.head + max(0, lists.degrees[row])]


def _near(lists: _Lists, row: int) -> int:
    """An id from the lists of a host and its neighbours, or −1 less the fault."""
    host = lists.hosts[row]
    if host < 0:
        return -4
    source = _old_list(lists, host)
    place = _choose(lists, len(source) + 1)
    if place < 0:
        return -2
    if place > 0:
        node = np.uint64(source[place - 1])
        other = np.searchsorted(lists.nodes, node)
        if other == len(lists.nodes) or lists.nodes[other] != node:
            return -4
        source = _old_list(lists, other)
    if len(source) == 0:
        return -4
    slot = _choose(lists, len(source))
    return -2 if slot < 0 else np.int64(source[slot])  # type: ignore[return-value]


def _id(lists: _Lists, row: int, is_hub: int) -> int:
    """The next added id, or −1 less the fault."""
    kind = _symbol(lists.added, lists.cursors, ADDED)
    if kind < 0:
        return -2
    if kind in (HUB_BOTH, HUB_ONE):
        if len(lists.hubs) == 0 or (is_hub and kind == HUB_BOTH):
            return -4
        hub = _choose(lists, len(lists.hubs))
        if hub < 0:
            return -2
        if kind == HUB_BOTH:
            lists.told[lists.cursors[TOLD], 0] = lists.hubs[hub]
            lists.told[lists.cursors[TOLD], 1] = row
            lists.cursors[TOLD] += 1
        return np.int64(lists.nodes[lists.hubs[hub]] & np.uint64(ID_MASK))  # type: ignore[return-value]
    if kind == NEAR:
        return _near(lists, row)
    if kind > NEAR:
        return -4
    gap = kind
    if kind >= 8:
        width = (kind - 8) // 4 + 1
        more = _take(lists.bits, lists.cursors, BIT, width)
        if more < 0:
            return -2
        gap = ((4 + (kind - 8) % 4) << width) + more
    node = np.int64(lists.nodes[row] & np.uint64(ID_MASK))
    return (node - (gap + 1) // 2 if gap % 2 else node + gap // 2) & ID_MASK  # type: ignore[return-value]


def _keep(lists: _Lists, row: int, some: int) -> int:
    """The old entries that stay into the list; how many, or −1."""
    old, kept = _old_list(lists, row), 0
    for entry in range(len(old)):
        stays = _take(lists.kept, lists.cursors, KEPT_BIT, 1) if some else 1
        if stays < 0:
            return -1
        if stays:
            lists.list[kept] = old[entry]
            kept += 1
    return kept


def _reorder(lists: _Lists, known: int, length: int) -> int:
    own = _symbol(lists.leads, lists.cursors, LEADS)
    if own < 1 or own >= length:
        return 1 if own < 0 else 4
    last = 0
    for place in range(length - own, length):
        if place == length - own:
            last = _choose(lists, place)
            last += last >= 0
        else:
            last = _choose(lists, last + 1 if place > known else place + 1)
        if last < 0:
            return 1
        entry = lists.list[place]
        for index in range(place, place - last, -1):
            lists.list[index] = lists.list[index - 1]
        lists.list[place - last] = entry
    return 0


def _stale(lists: _Lists, row: int, length: int) -> int:
    count, old = _symbol(lists.stale_counts, lists.cursors, STALE_COUNTS), _old_list(lists, row)
    if count < 0 or count > lists.rows.shape[1] - 1 - length:
        return 1 if count < 0 else 2
    for slot in range(1 + length, 1 + length + count):
        source = _symbol(lists.stale_sources, lists.cursors, STALE_SOURCES)
        if source < 0:
            return 1
        if source == SOURCE_BASE:
            continue
        if source == SOURCE_ID:
            number = _take(lists.bits, lists.cursors, BIT, 32)
            if number < 0:
                return 1
            lists.rows[row, slot] = number
        elif source < len(old):
            lists.rows[row, slot] = old[source]
        elif source - len(old) < length:
            lists.rows[row, slot] = lists.list[source - len(old)]
        else:
            return 6
    return 0


def _row(lists: _Lists, row: int, callers: Ints) -> int:
    """One row whose shape is no exception; `callers` are the rows that told it."""
    rows, head, shape = lists.rows, lists.head, np.int64(lists.shapes[row])
    own, is_hub = shape >> 4, (shape & HUB) // HUB
    if own == COUNT_FOLLOWS:
        own = _symbol(lists.counts, lists.cursors, COUNTS)
    kept = _keep(lists, row, shape & REMOVED)
    known = kept + len(callers)
    if own < 0 or kept < 0 or known + own > rows.shape[1] - head:
        return 1 if own < 0 or kept < 0 else 2
    for index in range(len(callers)):
        lists.list[kept + index] = np.int64(lists.nodes[callers[index]] & np.uint64(ID_MASK))
    length = known + own
    for index in range(known, length):
        number = _id(lists, row, is_hub)
        if number < 0:
            return -1 - number
        lists.list[index] = number
    if shape & ORDER:
        fault = _reorder(lists, known, length)
        if fault:
            return fault
    if not head:
        rows[row] = NONE_ID
    elif lists.degrees[row] >= 0:
        rows[row] = lists.old[row]
    rows[row, head : head + length] = lists.list[:length].astype(np.uint32)
    if head:
        marks = np.int64(rows[row, 0]) >> 16
        marks ^= np.int64(lists.marks[2 * row]) + 256 * np.int64(lists.marks[2 * row + 1])
        rows[row, 0] = length + 65536 * marks
    return _stale(lists, row, length) if shape & STALE else 0


def _walk(lists: _Lists) -> int:
    """Fills the rows; returns 0 or a key of FAULTS."""
    none = lists.hubs[:0]
    for row in range(len(lists.rows)):
        shape = np.int64(lists.shapes[row])
        if shape >> 4 == EXCEPTION:
            if shape & 15 or lists.cursors[EXCEPTIONS] == len(lists.exceptions):
                return 7 if shape & 15 else 5
            lists.rows[row] = lists.exceptions[lists.cursors[EXCEPTIONS]]
            lists.cursors[EXCEPTIONS] += 1
        elif not shape & HUB:
            fault = _row(lists, row, none)
            if fault:
                return fault
    told = lists.told[: lists.cursors[TOLD]]
    order = np.argsort(told[:, 0], kind="mergesort")
    at = 0
    for hub in lists.hubs:
        first = at
        while at < len(order) and told[order[at], 0] == hub:
            at += 1
        fault = _row(lists, hub, told[order[first:at], 1])
        if fault:
            return fault
    return 0
