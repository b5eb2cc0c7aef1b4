"""Parts whose blocks hold changed lists of links against what they were: codec 35 (edits.md)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace

from delta_blocks import encode_edits, references
from delta_faults import built
from faults import Fault, poke
from kit import EDITS, F32, I32, U8, U32, Stream, noise, zstd_frame
from residuals import reference_faults
from whole import Whole

from deltas import FIRST, family, part

LINKS_ROLE, ROWS, NEW_NODE = 6, 40, 40


def i32_row(*ids: int) -> bytes:
    return struct.pack("<3i", *ids, *[-1] * (3 - len(ids)))


def u32_row(ids: Sequence[int], marks: int = 0, stale: Sequence[int] = ()) -> bytes:
    slots = [*ids, *stale]
    return struct.pack("<4I", len(ids) | marks << 16, *slots, *[0] * (3 - len(slots)))


# The lists of edits.md's example among lists that stay: nodes 0 and 2 change, node 40 is new and the only hub.
OLD_LISTS = [[2, 1], [3], [0, 3], *([number - 1, number - 2] for number in range(3, ROWS))]
NEW_LISTS = [[1, NEW_NODE, 20], [3], [0, 3, NEW_NODE], *OLD_LISTS[3:], [2, 0]]
OLD_I32, NEW_I32 = (b"".join(i32_row(*ids) for ids in lists) for lists in (OLD_LISTS, NEW_LISTS))
PLANES = {
    # Rows 0 and 2 last come first here: shapes some gone and two added, none, one added; the hub has an order.
    0: bytes([0x21, 0, 0x10, *bytes(ROWS - 3), 0x06]),
    2: bytes([124, 17, 124]),  # the hub, the gap 40 of 20 from 0, the hub
    3: b"\x01",
    4: b"\x02",  # 2 is gone, 1 stays
}
BITS = b"\0"  # three bits of the gap


def owner(element: int = I32) -> Stream:
    return Stream("links", LINKS_ROLE, element, 3 if element == I32 else 4, b"", 16)


def lists(old: bytes, new: bytes, block: bytes, element: int = I32) -> list[Stream]:
    """An owner whose rows are those of part 2, all of them, in its order."""
    parts = [part(owner(element), 1, old, 16), replace(part(owner(element), 2, new), base_part=1)]
    parts[1] = replace(parts[1], codec=EDITS, blocks=[block])
    return family(owner(element), [(2, row) for row in range(parts[1].row_count)], parts, 0)


def cases() -> Iterator[Whole]:
    block = references(range(ROWS + 1)) + encode_edits(PLANES, BITS)
    more = {"ancestors": [FIRST]}
    yield Whole(
        "delta-edits",
        "lists that lost and gained ids, a new node that is a hub",
        lists(OLD_I32, NEW_I32, block),
        build=more,
    )
    # u32: marks that change, a stale slot from the old list and one spelt out, an exception.
    old = [u32_row(ids, 7, [9] * (len(ids) < 3)) for ids in OLD_LISTS]
    new = [*old]
    new[1] = u32_row([3], 0x107, [3, 0xDEADBEEF])
    new[5] = b"\xff\xff\1\0" + noise("exception", 12)
    new[7] = u32_row([6, 5, 9], 7)
    shapes = bytearray(ROWS)
    shapes[1], shapes[5], shapes[7] = 8, 0xF0, 0x10
    marks = bytearray(2 * ROWS)
    marks[3] = 1
    # Of row 1: two slots; place 0 of the old list, then an id in 32 bits. Of row 7: node 7, 9 is 2 up: gap 4.
    planes = {0: bytes(shapes), 2: b"\4", 5: b"\2", 6: b"\0\xfe", 7: bytes(marks)}
    block = references(range(ROWS)) + encode_edits(planes, struct.pack("<I", 0xDEADBEEF), [new[5]])
    streams = lists(b"".join(old), b"".join(new), block, U32)
    yield Whole("delta-edits-u32", "marks, stale slots, an exception", streams, build=more)


def fault(name: str, comment: str, rest: bytes, rows: Sequence[int] = range(ROWS + 1)) -> Fault:
    block = references(rows) + rest
    return built(f"edits-{name}", "codec", "read", f"codec 35: {comment}", lists(OLD_I32, NEW_I32, block))


def changed(number: int, at: int, new: int) -> bytes:
    plane = bytearray(PLANES[number])
    plane[at] = new
    return encode_edits({**PLANES, number: bytes(plane)}, BITS)


def faults() -> Iterator[Fault]:
    good = encode_edits(PLANES, BITS)
    rows = list(range(ROWS + 1))
    parts = lists(OLD_I32, NEW_I32, references(rows) + good)[2:]
    yield from reference_faults(owner(), *parts, rows, good)
    yield fault("nodes-twice", "two rows of one node", good, [0, 1, 2, 3, 3, *rows[5:]])
    yield fault("nodes-down", "nodes that go down", good, [0, 1, 2, 4, 3, *rows[5:]])
    for name, comment, rest in (
        ("71-bytes", "shorter than its head", good[:71]),
        ("exceptions", "more exceptions than rows", poke(0, bytes([ROWS + 2]))(good)),
        ("exceptions-huge", "2^32 - 1 exceptions", poke(0, b"\xff\xff\xff\xff")(good)),
        ("reserved", "reserved is not 0", poke(7, b"\1")(good)),
        ("no-shapes", "no plane of shapes", encode_edits({n: p for n, p in PLANES.items() if n}, BITS)),
        ("shapes-less", "a shape too few", encode_edits({**PLANES, 0: PLANES[0][:-1]}, BITS)),
        ("shapes-more", "a shape too many", encode_edits({**PLANES, 0: PLANES[0] + b"\0"}, BITS)),
        ("frame-huge", "a frame of 2^32 - 1 bytes", poke(12, b"\xff\xff\xff\xff")(good)),
        ("frame-length", "a frame of a byte too few", encode_edits(PLANES, BITS, p2=zstd_frame(PLANES[2][:-1]))),
        ("stale-of-i32", "stale slots in rows of i32", encode_edits({**PLANES, 5: b"\1", 6: b"\xff"}, BITS)),
        ("marks-of-i32", "marks in rows of i32", encode_edits({**PLANES, 7: bytes(2 * ROWS + 2)}, BITS)),
        ("shape-stale-of-i32", "stale slots in the shape of a row of i32", changed(0, 3, 8)),
        ("kind-127", "kind 127", changed(2, 0, 127)),
        ("kind-left", "a kind that no row takes", encode_edits({**PLANES, 2: PLANES[2] + b"\0"}, BITS)),
        ("kind-missing", "a kind too few", encode_edits({**PLANES, 2: PLANES[2][:-1]}, BITS)),
        ("count-left", "a count that no row takes", encode_edits({**PLANES, 1: b"\x0e"}, BITS)),
        ("count-missing", "14 added ids, but no count", changed(0, 0, 0xE1)),
        ("order-0", "an order of no entry", changed(3, 0, 0)),
        ("order-of-all", "an order of every entry", changed(3, 0, 2)),
        ("order-left", "a length that no row takes", encode_edits({**PLANES, 3: b"\1\1"}, BITS)),
        ("kept-less", "no bits of what is kept", encode_edits({n: p for n, p in PLANES.items() if n != 4}, BITS)),
        ("kept-left", "a byte of kept bits too many", encode_edits({**PLANES, 4: b"\2\0"}, BITS)),
        ("kept-top", "an unused kept bit is not 0", changed(4, 0, 0x82)),
        ("too-long", "four entries in three slots", changed(0, 0, 0x20)),
        ("no-host", "an id near a host, but none has it as a neighbour", changed(2, 1, 126)),
        ("no-hub", "an id that is a hub, but there is none", _without_hub()),
        ("hub-told-by-hub", "a hub that tells a hub", _telling_hub()),
        ("exception-missing", "an exception that is not there", changed(0, 3, 0xF0)),
        ("exception-left", "an exception that no row takes", encode_edits(PLANES, BITS, [i32_row(1)])),
        ("exception-bits", "an exception with other bits", encode_edits(_with_shape(3, 0xF1), BITS, [i32_row(2, 1)])),
        ("bits-short", "bits too few", encode_edits(PLANES)),
        ("bits-left", "a byte of bits too many", encode_edits(PLANES, b"\0\0")),
        ("bits-top", "an unused bit is not 0", encode_edits(PLANES, b"\x80")),
        ("guard", "the last 8 bytes are not 0", good[:-1] + b"\1"),
        ("guard-short", "seven bytes at the end", good[:-1]),
    ):
        yield fault(name, comment, rest)
    for element, elements in ((F32, 3), (U8, 12)):
        streams = [replace(stream) for stream in lists(OLD_I32, NEW_I32, references(range(ROWS + 1)) + good)]
        for stream in (streams[0], *streams[2:]):
            stream.element, stream.elements = element, elements
        comment = f"codec 35: rows of element type {element}"
        yield built(f"edits-of-type-{element}", "codec", "read", comment, streams)
    for elements, name in ((1, "1-word"), (256, "256-words")):
        raw = bytes(4 * elements * 40)
        old, new = Stream("o", 36, U32, elements, raw, part_of=1, part_number=1), bytes([*bytes(40)])
        block = references(range(40)) + encode_edits({0: new})
        changed_part = Stream("c", 36, U32, elements, raw, 0, EDITS, [block], part_of=1, part_number=2, base_part=1)
        values = [(2, row) for row in range(40)]
        links, table = family(replace(owner(U32), elements=elements), values, [old, changed_part], 0)[:2]
        yield built(
            f"edits-{name}", "codec", "read", "codec 35: no or too many slots", [links, table, old, changed_part]
        )


def _with_shape(at: int, new: int) -> dict[int, bytes]:
    shapes = bytearray(PLANES[0])
    shapes[at] = new
    return {**PLANES, 0: bytes(shapes)}


def _without_hub() -> bytes:
    """Kind 125 with no hub in the block; the order of the last row goes, too."""
    planes = {**_with_shape(ROWS, 0), 2: bytes([125, 17, 125])}
    del planes[3]
    return encode_edits(planes, BITS)


def _telling_hub() -> bytes:
    """The hub itself tells a hub."""
    return encode_edits({**_with_shape(ROWS, 0x16), 2: PLANES[2] + b"\x7c"}, BITS)
