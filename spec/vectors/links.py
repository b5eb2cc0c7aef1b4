"""Codecs 9 and 10 for the vectors: encoders from their pages alone, and what a decoder must read and refuse.

The encoder takes the planes apart and together again, so that a fault can be put into one of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from kit import F32, I32, I64, LINKS, LISTS, U8, U32, U64, Stream, encode_bitpack, noise, zstd_frame

EXCEPTION = 255


class Bits:
    def __init__(self) -> None:
        self.value, self.count = 0, 0

    def push(self, number: int, width: int) -> None:
        assert number < 1 << width
        self.value |= number << self.count
        self.count += width

    def choose(self, number: int, choices: int) -> None:
        width = choices.bit_length() - 1
        short = (2 << width) - choices
        if number < short:
            self.push(number, width)
        else:
            self.push((number + short) >> 1, width)
            self.push((number + short) & 1, 1)

    def packed(self) -> bytes:
        return self.value.to_bytes(-(-self.count // 8), "little")


@dataclass
class Graph:
    """A chunk of links taken apart; `block` puts it together."""

    head: bool
    slots: int
    rows: list[list[int]]  # whole rows, unsigned
    base: int = 0
    nodes: bool = True
    order: bool = True
    tails: bool = False
    limit: int = 0
    planes: dict[int, bytearray] = field(default_factory=dict)
    bits: Bits = field(default_factory=Bits)
    kept: bytes = b""
    exceptions: int = 0

    def __post_init__(self) -> None:
        lists = [self._list(row) for row in self.rows]
        self.limit = self.limit or 1 + max([self.base + len(self.rows) - 1, *(i for r in lists if r for i in r)])
        where = {self.base + row: ids for row, ids in enumerate(lists)} if self.nodes else {}
        for number, ids in enumerate(lists):
            for kind in (0, 1, 2, 3, *((4, 4, 5) if self.head else ())):
                self.plane(kind).append(0)
            if ids is None:
                self.plane(0)[-1] = EXCEPTION
                self.kept += struct.pack(f"<{len(self.rows[number])}I", *self.rows[number])
                self.exceptions += 1
                continue
            self._row(number, ids, where)
        for kind in (1, 2, 3, 4, 5):
            if not any(self.plane(kind)):
                del self.planes[kind]

    def plane(self, kind: int) -> bytearray:
        return self.planes.setdefault(kind, bytearray())

    def _list(self, row: list[int]) -> list[int] | None:
        """None for an exception."""
        if self.head:
            ids = row[1 : 1 + (row[0] & 0xFFFF)]
            fits = row[0] & 0xFFFF <= self.slots and max(row[1:]) < 1 << 31
        else:
            ids = [value for value in row if value != 0xFFFFFFFF]
            fits = row[: len(ids)] == ids and all(value < 1 << 31 for value in ids)
        return ids if fits and len(set(ids)) == len(ids) else None

    def _row(self, number: int, ids: list[int], where: dict[int, list[int] | None]) -> None:
        node, end = self.base + number, self.base + len(self.rows)
        ordered = sorted(ids)
        inside = [i for i in ordered if i in where]
        known = [i for i in inside if i < node and node in (where[i] or [])]
        backward = [i for i in inside if i < node and i not in known]
        forward = [i for i in inside if i > node]
        outside = [i for i in ordered if i not in where]
        self.plane(0)[-1], self.plane(1)[-1], self.plane(2)[-1] = len(ids), len(backward), len(outside)
        self._gaps(64, [(i - self.base, 0) for i in backward], number)
        self._gaps(32, [(i - node - 1, int(node in (where[i] or []))) for i in forward], end - node - 1)
        hole = len(self.rows) if self.nodes else 0
        self._gaps(64, [(i if i < self.base or not hole else i - hole, 0) for i in outside], self.limit - hole)
        if self.order:
            tail = next(t for t in range(len(ids), -1, -1) if ids[len(ids) - t :] == sorted(ids[len(ids) - t :]))
            self.plane(3)[-1] = tail if self.tails else 0
            for place in range(len(ids) - self.plane(3)[-1]):
                self.bits.choose(sorted(ids[place:]).index(ids[place]), len(ids) - place)
        if not self.head:
            return
        self.plane(4)[-2:] = struct.pack("<H", self.rows[number][0] >> 16)
        stale = self.rows[number][1 + len(ids) :]
        while stale and not stale[-1]:
            stale.pop()
        self.plane(5)[-1] = len(stale)
        for value in stale:
            self.plane(6).append(254 if value == 0 else ids.index(value) if value in ids else 255)
            if self.plane(6)[-1] == 255:
                self.bits.push(value, (self.limit - 1).bit_length())

    def _gaps(self, plane: int, numbers: list[tuple[int, int]], room: int) -> None:
        rest, after = room, 0
        for index, (number, flag) in enumerate(numbers):
            gap = number - after
            self.plane(plane + (rest // (len(numbers) - index)).bit_length() - 1).append(2 * self._code(gap) + flag)
            if gap >= 8:
                self.bits.push(gap & ((1 << gap.bit_length() - 3) - 1), gap.bit_length() - 3)
            after, rest = number + 1, rest - gap - 1

    @staticmethod
    def _code(gap: int) -> int:
        top = gap.bit_length() - 1
        return gap if gap < 8 else 8 + 4 * (top - 3) + (gap >> top - 2 & 3)

    def block(self, **other: Any) -> bytes:
        """`other` puts a field of the header or the table in place of the true one."""
        kinds = sorted(kind for kind in self.planes if self.planes[kind])
        frames = {kind: zstd_frame(bytes(self.planes[kind])) for kind in kinds}
        table: Iterable[tuple[int, int, int]] = [(kind, len(self.planes[kind]), len(frames[kind])) for kind in kinds]
        table = other.pop("table", list)(table)
        fields = {"flags": self.nodes + 2 * self.order, "planes": len(kinds), "base": self.base, "limit": self.limit}
        fields |= {"exceptions": self.exceptions, "reserved": 0, "guard": bytes(8), "bits": self.bits.packed(), **other}
        guard, bits = fields.pop("guard"), fields.pop("bits")
        head = struct.pack("<IIQIIQ", *(fields[name] for name in ("flags", "planes", "base", "limit", "exceptions")),
                           fields["reserved"])  # fmt: skip
        records = b"".join(struct.pack("<III", *record) for record in table)
        return head + records + b"".join(frames[kind] for kind in kinds) + self.kept + bytes(bits) + bytes(guard)

    def data(self) -> bytes:
        return b"".join(struct.pack(f"<{len(row)}I", *row) for row in self.rows)

    def stream(self, name: str) -> Stream:
        return Stream(name, 6, U32 if self.head else I32, self.slots + self.head, self.data(), 0, LINKS, [self.block()])


def made(
    label: str, count: int, slots: int, *, head: bool = False, base: int = 0, total: int = 0, **more: Any
) -> Graph:
    """A graph whose links mostly go both ways; with odd rows in front when `odd`."""
    odd, ascending = more.pop("odd", False), not more.get("order", True)
    dice = np.frombuffer(noise(label, 6 * count * slots), "<u2").reshape(-1, 3).tolist()
    lists: list[list[int]] = [[] for _ in range(count)]
    for at, (a, b, luck) in enumerate(dice):
        row, other = at % count, (a << 16 | b) % (total or base + count) - base
        pairs = [(row, other + base), *([(other, row + base)] if luck % 5 and 0 <= other < count else [])]
        if other != row and luck % 3:
            for here, there in pairs:
                if len(lists[here]) < slots and there not in lists[here]:
                    lists[here].append(there)
    rows = []
    for number, ids in enumerate(lists):
        ids, rest = sorted(ids) if ascending else ids, slots - len(ids)
        stale = [ids[0] if ids else 1, 0, number, *[0] * slots][:rest] if head and number % 3 == 0 else [0] * rest
        mark = number % 4 << 16
        rows.append([len(ids) | mark, *ids, *stale] if head else [*ids, *[0xFFFFFFFF] * rest])
    if odd:
        rows[2][-slots:] = [5, 5, *[0x80000001] * (slots - 2)]
        rows[5][0] = 0xFFFFFFFE
    return Graph(head, slots, rows, base, **more)


def dealt(count: int, lists: int, base: int, element_bytes: int) -> bytes:
    ids = np.frombuffer(noise(f"deal {count} {lists}", 2 * count), "<u2") % lists
    return bytes(
        (np.argsort(ids, kind="stable").astype("<u8") + np.uint64(base)).astype(f"<u{element_bytes}").tobytes()
    )


def encode_lists(raw: bytes, element_bytes: int) -> bytes:
    ids = np.frombuffer(raw, f"<u{element_bytes}").tolist()
    runs = np.cumsum([0, *(b < a for a, b in pairwise(ids))])
    numbers = [int(run) for _, run in sorted(zip(ids, runs, strict=True))]
    packed = encode_bitpack(struct.pack(f"<{len(ids)}I", *numbers), 4, 0, int(runs[-1]).bit_length())[16:]
    return struct.pack("<QII", min(ids), int(runs[-1]) + 1, element_bytes) + packed


def list_stream(name: str, raw: bytes, element: int = I64) -> Stream:
    return Stream(name, 5, element, 1, raw, 0, LISTS, [encode_lists(raw, 4 if element == U32 else 8)])


def streams() -> list[Stream]:
    return [
        made("faiss", 90, 8).stream("faiss"),
        made("hnswlib", 90, 8, head=True, tails=True).stream("hnswlib"),
        made("ascending", 90, 8, order=False).stream("ascending"),
        made("odd", 60, 8, head=True, odd=True).stream("exceptions with head"),
        made("odd", 60, 8, odd=True).stream("exceptions"),
        made("part", 60, 8, base=30, total=150, limit=200).stream("partition"),
        made("upper", 60, 8, total=5000, nodes=False).stream("not nodes"),
        made("wide", 60, 60, limit=1 << 31).stream("wide"),
        Graph(False, 3, [[0xFFFFFFFF] * 3] * 5).stream("no links"),
    ]


def lists() -> list[Stream]:
    return [
        list_stream("ids", dealt(100, 7, 0, 8)),
        list_stream("two", dealt(19, 2, (1 << 64) - 19, 8), U64),
        list_stream("narrow", dealt(33, 32, (1 << 32) - 33, 4), U32),
    ]


def faults(fault: Callable[..., Any]) -> Iterator[Any]:
    good = made("fault", 120, 10, head=True, limit=121)
    raw, block = good.data(), good.block()

    def links(name: str, comment: str, block: bytes, element: int = U32, elements: int = 11, data: bytes = raw) -> Any:
        return fault(f"links-{name}", comment, LINKS, block, element, data, elements)

    def bent(kind: int, row: int, symbol: int) -> bytes:
        other = made("fault", 120, 10, head=True, limit=121)
        other.plane(kind).extend(bytes(120 - len(other.plane(kind))) if kind < 6 else b"")
        other.plane(kind)[row] = symbol
        return other.block()

    first_gap = min(kind for kind in good.planes if kind >= 32)
    extra = made("fault", 120, 10, head=True, limit=121)
    extra.plane(first_gap).append(0)
    unsure = made("fault", 120, 10, head=True, limit=121)
    unsure.plane(6).append(254)
    for name, comment, wrong in (
        ("short", "a byte too few", block[:-1]),
        ("long", "a byte too many", block + b"\0"),
        ("31-bytes", "shorter than its head", block[:31]),
        ("flags", "an unknown flag", good.block(flags=7)),
        ("reserved", "reserved is not 0", good.block(reserved=1)),
        ("base", "nodes past the limit", good.block(base=2)),
        ("base-wraps", "a base near 2^64", good.block(base=(1 << 64) - 5)),
        ("limit", "a limit above 2^31", good.block(limit=(1 << 31) + 1)),
        ("planes", "97 planes", good.block(planes=97)),
        ("planes-past-end", "a table that runs past the block", good.block(planes=90)),
        ("exceptions", "an exception too many", good.block(exceptions=1)),
        ("exceptions-huge", "2^32 - 1 exceptions", good.block(exceptions=(1 << 32) - 1)),
        ("plane-unknown", "a plane of kind 7", good.block(table=lambda t: [(r[0] + (r[0] == 6), *r[1:]) for r in t])),
        ("plane-order", "planes in another order", good.block(table=lambda t: [t[1], t[0], *t[2:]])),
        ("plane-twice", "the plane of degrees twice", good.block(table=lambda t: [t[0], t[0], *t[2:]])),
        ("plane-symbols", "a symbol too few", good.block(table=lambda t: [(0, 119, t[0][2]), *t[1:]])),
        ("plane-symbols-huge", "2^32 - 1 gaps", good.block(table=lambda t: [*t[:-1], (t[-1][0], (1 << 32) - 1, 9)])),
        ("plane-frame", "a frame longer than the block", good.block(table=lambda t: [*t[:-1], (*t[-1][:2], 1 << 31)])),
        ("degree", "a degree above the slots", bent(0, 3, 11)),
        ("backward", "more links than the degree", bent(1, 3, 11)),
        ("tail", "a tail longer than its list", bent(3, 3, 11)),
        ("stale", "more stale slots than there are", bent(5, 3, 11)),
        ("source", "a source past the list", bent(6, 0, 200)),
        ("gap-code", "a gap of code 124", bent(first_gap, 0, 248)),
        ("gap-left", "a gap too many", extra.block()),
        ("source-left", "a source too many", unsure.block()),
        ("bits-left", "a byte of bits too many", good.block(bits=good.bits.packed() + b"\0")),
        ("bits-short", "a byte of bits too few", good.block(bits=good.bits.packed()[:-1])),
        ("guard", "the end is not 0", good.block(guard=b"\0" * 7 + b"\1")),
    ):  # fmt: skip
        yield links(name, comment, wrong)
    one = made("fault", 120, 10, head=True, limit=121)
    if one.bits.count % 8:
        one.bits.push(1, 8 - one.bits.count % 8)
    yield links("top-bit", "an unused top bit is not 0", one.block())
    del extra.planes[0]
    yield links("no-degrees", "no plane of degrees", extra.block())
    yield links("of-i32", "coded as u32, a stream of i32", block, I32)
    yield links("of-f32", "a stream of element type f32", block, F32)
    yield links("of-u8", "a stream of element type u8", block, U8)
    yield links("255-slots", "rows of 255 slots", block, I32, 255, bytes(4 * 255 * 120))
    yield from node_faults(links)
    yield from list_faults(fault)


def node_faults(links: Callable[..., Any]) -> Iterator[Any]:
    pair = Graph(False, 2, [[1, 0xFFFFFFFF], [0, 50], [0xFFFFFFFE, 1], *[[0xFFFFFFFF] * 2] * 37], limit=60)
    yield links("not-nodes", "forward links where rows are not nodes", pair.block(flags=2), I32, 2, pair.data())
    pair = Graph(False, 2, [[2, 0xFFFFFFFF], [0xFFFFFFFF] * 2, [0xFFFFFFFE, 1], *[[0xFFFFFFFF] * 2] * 37])
    next(plane for kind, plane in pair.planes.items() if kind >= 32)[0] |= 1
    yield links("known-of-exception", "a link both ways to an exception", pair.block(), I32, 2, pair.data())


def list_faults(fault: Callable[..., Any]) -> Iterator[Any]:
    ids = dealt(20, 6, 3, 4)
    whole = encode_lists(ids, 4)
    for name, comment, wrong in (
        ("short", "a byte too few", whole[:-1]),
        ("long", "a byte too many", whole + b"\0"),
        ("15-bytes", "shorter than its head", whole[:15]),
        ("e", "e of another type", whole[:12] + b"\x08" + whole[13:]),
        ("base", "ids past 2^32", b"\xf0\xff\xff\xff" + whole[4:]),
        ("base-wide", "a base of 33 bits", whole[:4] + b"\1" + whole[5:]),
        ("runs-0", "no run", whole[:8] + b"\0" + whole[9:]),
        ("runs-1", "one run", whole[:8] + b"\1" + whole[9:]),
        ("runs-21", "more runs than ids", whole[:8] + b"\x15" + whole[9:]),
        ("run", "a run past the last", whole[:16] + b"\xff" + whole[17:]),
        ("top-bit", "an unused top bit is not 0", whole[:-1] + bytes([whole[-1] | 0x80])),
    ):
        yield fault(f"lists-{name}", comment, LISTS, wrong, U32, ids)
    yield fault("lists-of-f32", "a stream of element type f32", LISTS, whole, F32, ids)
    yield fault("lists-of-u16", "ids of two bytes", LISTS, whole, 3, ids)
