"""Codecs 9 (links) and 10 (lists) for reader.py: `codecs/links.md` step by step.

The walk over the rows is plain Python loops; where numba is installed, long chunks run it compiled.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from reader_codecs import Bytes, _decode_zstd, in_codec, unpack_bits

Function = TypeVar("Function", bound=Callable[..., Any])

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
    walk = _walker(count >= COMPILED_ROWS_MIN)
    fault = walk(rows, head, flags, base, nodes, limit, *of_row, marks, planes.get(SOURCES, zeros[:0]),
                 np.concatenate(gaps), ends - [len(plane) for plane in gaps], ends, kept,
                 np.frombuffer(block, np.uint8, offset=end))  # fmt: skip
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


def _compiler(wanted: bool) -> Callable[[Function], Function]:
    if wanted:
        try:
            from numba import njit
        except ImportError:
            pass
        else:
            return njit  # type: ignore[no-any-return]
    return lambda function: function


@lru_cache
def _walker(is_long: bool) -> Callable[..., int]:
    """The rows of a graph: fills `rows` and returns 0 or a key of FAULTS. `at` holds the bit that comes next."""
    compiled = _compiler(is_long)

    @compiled
    def take(bits: Bytes, at: NDArray[np.int64], width: int) -> int:
        first = at[0]
        at[0] += width
        if at[0] > 8 * (len(bits) - 8):
            return -1
        value = 0
        for byte in range(first // 8, (first + width + 7) // 8):
            value |= int(bits[byte]) << (8 * (byte - first // 8))
        return (value >> (first % 8)) & ((1 << width) - 1)

    @compiled
    def choose(bits: Bytes, at: NDArray[np.int64], choices: int) -> int:
        width = 0
        while choices >> (width + 1):
            width += 1
        short, number = (2 << width) - choices, take(bits, at, width)
        if number < short:
            return number
        more = take(bits, at, 1)
        return -1 if more < 0 else 2 * number + more - short

    @compiled
    def numbers(
        symbols: Bytes,
        cursors: NDArray[np.int64],
        ends: NDArray[np.int64],
        plane: int,
        bits: Bytes,
        at: NDArray[np.int64],
        room: int,
        count: int,
        out: NDArray[np.int64],
        flags: NDArray[np.int64],
    ) -> int:
        rest, next_number = room, 0
        if count > max(rest, 0):
            return 2
        for index in range(count):
            left, gap_class = count - index, 0
            while (rest // left) >> (gap_class + 1):
                gap_class += 1
            gap_class += plane
            if cursors[gap_class] == ends[gap_class]:
                return 1
            code, flags[index] = symbols[cursors[gap_class]] >> 1, symbols[cursors[gap_class]] & 1
            cursors[gap_class] += 1
            if code >= 124:
                return 2
            gap = int(code)
            if code >= 8:
                width = (gap - 8) // 4 + 1
                more = take(bits, at, width)
                if more < 0:
                    return 1
                gap = ((4 + (gap - 8) % 4) << width) + more
            if gap > rest - left or (plane == 32 and flags[index]):
                return 2
            out[index] = next_number + gap
            next_number, rest = next_number + gap + 1, rest - gap - 1
        return 0

    @compiled
    def walk(
        rows: NDArray[np.uint32],
        head: int,
        flags: int,
        base: int,
        nodes: int,
        limit: int,
        degrees: Bytes,
        backward: Bytes,
        outside: Bytes,
        tails: Bytes,
        stale: Bytes,
        marks: Bytes,
        sources: Bytes,
        symbols: Bytes,
        cursors: NDArray[np.int64],
        ends: NDArray[np.int64],
        kept: NDArray[np.uint32],
        bits: Bytes,
    ) -> int:
        slots, at = rows.shape[1] - head, np.zeros(1, np.int64)
        known, ids, both = np.zeros(len(rows), np.int64), np.zeros(800, np.int64), np.zeros(800, np.int64)
        next_kept, next_source, id_bits = 0, 0, 0
        while limit > 1 << id_bits:
            id_bits += 1
        for row in range(len(rows)):
            degree, here, node = int(degrees[row]), known[row], base + row
            if degree == 255:
                if here:
                    return 6
                if next_kept == len(kept):
                    return 5
                rows[row] = kept[next_kept]
                next_kept += 1
                continue
            low, far = int(backward[row]), int(outside[row])
            ahead = degree - here - low - far
            if degree > slots or ahead < 0 or (nodes == 0 and low + ahead > 0):
                return 2
            ids[:here] = rows[row, head : head + here]
            fault = numbers(symbols, cursors, ends, 32, bits, at, row, low, ids[here:], both)
            if fault:
                return fault
            ids[here : here + low] += base
            fault = numbers(symbols, cursors, ends, 0, bits, at, nodes - 1 - row, ahead, ids[here + low :], both)
            if fault:
                return fault
            for index in range(ahead):
                ids[here + low + index] += node + 1
                if both[index]:
                    other = ids[here + low + index] - base
                    if known[other] == slots:
                        return 2
                    rows[other, head + known[other]] = node
                    known[other] += 1
            fault = numbers(symbols, cursors, ends, 32, bits, at, limit - nodes, far, ids[degree - far :], both)
            if fault:
                return fault
            for index in range(degree - far, degree):
                ids[index] += nodes if ids[index] >= base else 0
            ids[:degree] = np.sort(ids[:degree])
            if flags & 2:
                if tails[row] > degree:
                    return 3
                for place in range(degree - int(tails[row])):
                    rank = choose(bits, at, degree - place)
                    if rank < 0:
                        return 1
                    chosen = ids[place + rank]
                    for index in range(place + rank, place, -1):
                        ids[index] = ids[index - 1]
                    ids[place] = chosen
            rows[row, head : head + degree] = ids[:degree]
            rows[row, head + degree :] = 0 if head else 0xFFFFFFFF
            if not head:
                continue
            rows[row, 0] = degree + (int(marks[2 * row]) << 16) + (int(marks[2 * row + 1]) << 24)
            if stale[row] > slots - degree:
                return 2
            for index in range(int(stale[row])):
                if next_source == len(sources):
                    return 1
                source = int(sources[next_source])
                next_source += 1
                if source == 255:
                    number = take(bits, at, id_bits)
                    if number < 0:
                        return 1
                    rows[row, 1 + degree + index] = number
                elif source != 254:
                    if source >= degree:
                        return 4
                    rows[row, 1 + degree + index] = ids[source]
        used, spare = (at[0] + 7) // 8, at[0] % 8
        if next_kept != len(kept) or next_source != len(sources) or used != len(bits) - 8:
            return 5
        if (spare and bits[used - 1] >> spare) or np.any(cursors != ends):
            return 5
        return 0

    return walk


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
