"""Codecs 9 (links) and 10 (lists) for reader.py: `codecs/links.md` step by step.

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
from reader_codecs import Bytes, _decode_zstd, in_codec, unpack_bits

Ints: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = NDArray[np.uint32]

NODES, ORDER, EXCEPTION = 1, 2, 255
DEGREES, BACKWARD, OUTSIDE, TAILS, HEADS, STALE, SOURCES, FORWARD_GAPS, PLANES = 0, 1, 2, 3, 4, 5, 6, 32, 96
COMPILED_ROWS_MIN = 5000  # compiling takes some seconds
FAULTS = {
    1: "bits and symbols to the end",
    2: "links that fit their slots and rooms",
    3: "a tail within its list",
    4: "a source that is a place in its list",
    5: "nothing left over",
    6: "no link both ways to an exception",
}


class _Graph(NamedTuple):
    """A chunk while it is decoded; `at`: the bit, the exception and the source that come next."""

    rows: Rows
    head: int
    flags: int
    base: int
    nodes: int
    limit: int
    degrees: Bytes
    backward: Bytes
    outside: Bytes
    tails: Bytes
    stale: Bytes
    marks: Bytes
    sources: Bytes
    symbols: Bytes
    cursors: Ints
    ends: Ints
    kept: Rows
    bits: Bytes
    at: Ints
    known: Ints
    ids: Ints
    both: Ints


def decode_links(block: bytes, element_type: str, row_elements: int, raw_bytes: int, place: str) -> Bytes:
    head, words = int(element_type == "u32"), row_elements
    slots, count = words - head, raw_bytes // (4 * words)
    in_codec(1 <= slots <= 254 and 1 <= count < 1 << 31, place, "1 to 254 slots and a row", f"{slots}, {count}")
    in_codec(len(block) >= 32, place, "32 bytes or more", len(block))
    flags, plane_count, base, limit, exceptions, reserved = struct.unpack_from("<IIQIIQ", block)
    nodes = count if flags & NODES else 0
    in_codec(flags < 4 and reserved == 0, place, "known flags, reserved 0", f"{flags}, {reserved}")
    in_codec(limit <= 1 << 31 and base + nodes <= limit, place, "nodes below a limit up to 2^31", f"{base}, {limit}")
    in_codec(exceptions <= count, place, f"up to {count} exceptions", exceptions)
    planes, at = _planes(block, plane_count, count, slots, head, place)
    in_codec(DEGREES in planes, place, "a plane of degrees")
    end = at + 4 * words * exceptions
    in_codec(len(block) >= end + 8, place, f"{end + 8} bytes or more", len(block))
    in_codec(not any(block[-8:]), place, "8 zero bytes at the end")
    zeros = np.zeros(count, np.uint8)
    of_row = [planes.get(kind, zeros) for kind in (DEGREES, BACKWARD, OUTSIDE, TAILS, STALE)]
    marks = planes.get(HEADS, np.zeros(2 * count, np.uint8))
    gaps = [planes.get(kind, zeros[:0]) for kind in range(FORWARD_GAPS, PLANES)]
    ends = np.cumsum([len(plane) for plane in gaps])
    rows = np.zeros((count, words), np.uint32)
    kept = np.frombuffer(block, "<u4", words * exceptions, at).reshape(-1, words)
    graph = _Graph(rows, head, flags, base, nodes, limit, *of_row, marks, planes.get(SOURCES, zeros[:0]),
                   np.concatenate(gaps), ends - [len(plane) for plane in gaps], ends, kept,
                   np.frombuffer(block, np.uint8, offset=end), np.zeros(3, np.int64), np.zeros(count, np.int64),
                   np.zeros(800, np.int64), np.zeros(800, np.int64))  # fmt: skip
    fault = (_compiled() if count >= COMPILED_ROWS_MIN else _walk)(graph)
    in_codec(fault == 0, place, FAULTS.get(fault, "a graph"))
    return rows.astype("<u4", copy=False).reshape(-1).view(np.uint8)


def _planes(
    block: bytes, plane_count: int, count: int, slots: int, head: int, place: str
) -> tuple[dict[int, Bytes], int]:
    """Kind -> symbols, and where the frames end."""
    in_codec(plane_count <= PLANES and len(block) >= 32 + 12 * plane_count, place, "a table of planes", plane_count)
    at, last, gaps, planes = 32 + 12 * plane_count, -1, 0, {}
    table = [struct.unpack_from("<III", block, 32 + 12 * number) for number in range(plane_count)]
    for kind, symbols, frame_bytes in table:
        gaps += symbols if kind >= FORWARD_GAPS else 0
        known = kind in (DEGREES, BACKWARD, OUTSIDE, TAILS) or (head and kind in (HEADS, STALE, SOURCES))
        in_codec((known or FORWARD_GAPS <= kind < PLANES) and kind > last, place, "known planes in order", kind)
        wanted = {HEADS: 2 * count}.get(kind, count)
        fits = 1 <= symbols <= count * slots if kind >= SOURCES else symbols == wanted
        in_codec(fits and gaps <= count * slots, place, "as many symbols as the rows have", symbols)
        in_codec(frame_bytes <= len(block) - at, place, "a frame within the block", frame_bytes)
        planes[kind] = (block[at : at + frame_bytes], symbols)
        last, at = kind, at + frame_bytes
    return {kind: _decode_zstd(frame, symbols, place) for kind, (frame, symbols) in planes.items()}, at


@lru_cache
def _compiled() -> Callable[[_Graph], int]:
    """`_walk` by numba, if there is one: the functions below once more, with compiled ones as their globals."""
    try:
        from numba import njit
    except ImportError:
        return _walk
    space = dict(globals())
    for function in (_take, _choose, _gap, _numbers, _list, _reorder, _stale, _walk):
        space[function.__name__] = njit(FunctionType(function.__code__, space, function.__name__))
    return space["_walk"]  # type: ignore[no-any-return]


def _take(graph: _Graph, width: int) -> int:
    first = graph.at[0]
    graph.at[0] += width
    if graph.at[0] > 8 * (len(graph.bits) - 8):
        return -1
    value = np.int64(0)
    for byte in range(first // 8, (first + width + 7) // 8):
        value |= np.int64(graph.bits[byte]) << (8 * (byte - first // 8))
    return (value >> (first % 8)) & ((1 << width) - 1)


def _choose(graph: _Graph, choices: int) -> int:
    width = 0
    while choices >> (width + 1):
        width += 1
    short, number = (2 << width) - choices, _take(graph, width)
    if number < short:
        return number
    more = _take(graph, 1)
    return -1 if more < 0 else 2 * number + more - short


def _gap(graph: _Graph, code: int) -> int:
    if code < 8:
        return code
    width = (code - 8) // 4 + 1
    more = _take(graph, width)
    return -1 if more < 0 else ((4 + (code - 8) % 4) << width) + more


def _numbers(graph: _Graph, plane: int, room: int, count: int, out: Ints) -> int:
    """`count` ascending numbers below `room` into `out`, and their flags into `graph.both`."""
    rest, next_number = room, 0
    if count > max(rest, 0):
        return 2
    for index in range(count):
        left, kind = count - index, plane
        while (rest // left) >> (kind - plane + 1):
            kind += 1
        if graph.cursors[kind] == graph.ends[kind]:
            return 1
        symbol = np.int64(graph.symbols[graph.cursors[kind]])
        graph.cursors[kind] += 1
        graph.both[index] = symbol & 1
        if symbol >> 1 >= 124 or (plane == 32 and symbol & 1):
            return 2
        gap = _gap(graph, symbol >> 1)
        if gap < 0 or gap > rest - left:
            return 1 if gap < 0 else 2
        out[index] = next_number + gap
        next_number, rest = next_number + gap + 1, rest - gap - 1
    return 0


def _list(graph: _Graph, row: int, degree: int) -> int:
    """The links of a row into `graph.ids`, ascending; those that go both ways into the rows at their other ends."""
    ids, base, nodes = graph.ids, graph.base, graph.nodes
    here, low, far = graph.known[row], np.int64(graph.backward[row]), np.int64(graph.outside[row])
    ahead = degree - here - low - far
    slots = graph.rows.shape[1] - graph.head
    if degree > slots or ahead < 0 or (nodes == 0 and low + ahead > 0):
        return 2
    ids[:here] = graph.rows[row, graph.head : graph.head + here]
    fault = _numbers(graph, 32, row, low, ids[here:])
    if fault:
        return fault
    ids[here : here + low] += base
    fault = _numbers(graph, 0, nodes - 1 - row, ahead, ids[here + low :])
    if fault:
        return fault
    for index in range(ahead):
        ids[here + low + index] += base + row + 1
        if graph.both[index]:
            other = ids[here + low + index] - base
            if graph.known[other] == slots:
                return 2
            graph.rows[other, graph.head + graph.known[other]] = base + row
            graph.known[other] += 1
    fault = _numbers(graph, 32, graph.limit - nodes, far, ids[degree - far :])
    if fault:
        return fault
    for index in range(degree - far, degree):
        ids[index] += nodes if ids[index] >= base else 0
    ids[:degree] = np.sort(ids[:degree])
    return 0


def _reorder(graph: _Graph, row: int, degree: int) -> int:
    tail = np.int64(graph.tails[row])
    if tail > degree:
        return 3
    for place in range(degree - tail):
        rank = _choose(graph, degree - place)
        if rank < 0:
            return 1
        chosen = graph.ids[place + rank]
        for index in range(place + rank, place, -1):
            graph.ids[index] = graph.ids[index - 1]
        graph.ids[place] = chosen
    return 0


def _stale(graph: _Graph, row: int, degree: int) -> int:
    count, id_bits = np.int64(graph.stale[row]), 0
    while graph.limit > 1 << id_bits:
        id_bits += 1
    if count > graph.rows.shape[1] - 1 - degree:
        return 2
    for slot in range(1 + degree, 1 + degree + count):
        if graph.at[2] == len(graph.sources):
            return 1
        source = np.int64(graph.sources[graph.at[2]])
        graph.at[2] += 1
        if source == 255:
            number = _take(graph, id_bits)
            if number < 0:
                return 1
            graph.rows[row, slot] = number
        elif source != 254:
            if source >= degree:
                return 4
            graph.rows[row, slot] = graph.ids[source]
    return 0


def _walk(graph: _Graph) -> int:
    """Fills the rows; returns 0 or a key of FAULTS."""
    rows, head, at = graph.rows, graph.head, graph.at
    for row in range(len(rows)):
        degree = np.int64(graph.degrees[row])
        if degree == 255:
            if graph.known[row] or at[1] == len(graph.kept):
                return 6 if graph.known[row] else 5
            rows[row] = graph.kept[at[1]]
            at[1] += 1
            continue
        fault = _list(graph, row, degree)
        if fault == 0 and graph.flags & 2:
            fault = _reorder(graph, row, degree)
        if fault:
            return fault
        rows[row, head : head + degree] = graph.ids[:degree]
        rows[row, head + degree :] = 0 if head else 0xFFFFFFFF
        if head:
            marks = np.int64(graph.marks[2 * row]) + 256 * np.int64(graph.marks[2 * row + 1])
            rows[row, 0] = degree + 65536 * marks
            fault = _stale(graph, row, degree)
            if fault:
                return fault
    used, spare = (at[0] + 7) // 8, at[0] % 8
    if at[1] != len(graph.kept) or at[2] != len(graph.sources) or used != len(graph.bits) - 8:
        return 5
    if (spare and graph.bits[used - 1] >> spare) or np.any(graph.cursors != graph.ends):
        return 5
    return 0


def decode_lists(block: bytes, element_bytes: int, raw_bytes: int, place: str) -> Bytes:
    count = raw_bytes // element_bytes
    in_codec(element_bytes in (4, 8), place, "ids of 4 or 8 bytes", element_bytes)
    in_codec(len(block) >= 16, place, "16 bytes or more", len(block))
    base, runs, own = struct.unpack_from("<QII", block)
    in_codec(own == element_bytes, place, f"e = {element_bytes}", own)
    in_codec(2 <= runs <= count, place, f"2 to {count} runs", runs)
    in_codec(base + count <= 1 << 8 * element_bytes, place, f"ids of {element_bytes} bytes", base)
    numbers = unpack_bits(np.frombuffer(block, np.uint8, offset=16), count, (runs - 1).bit_length(), place)
    in_codec(numbers.max() < runs, place, f"runs below {runs}", numbers.max())
    ids = np.argsort(numbers, kind="stable").astype("<u8") + np.uint64(base)
    return ids.astype(f"<u{element_bytes}").view(np.uint8)
