"""Archives with a sorted index of ids (FORMAT.md 8.3): right ones, and ones that say what the ids do not.

An index is put together here from pairs, and what a reader must find from the ids themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from kit import BITPACK, I64, U32, U64, Stream, build, encode_bitpack, places_in
from whole import Whole

IDS, ID_INDEX = 5, 33
GONE = (1 << 64) - 1
BASE_ID = bytes.fromhex("0190a7c6c4d87abc9def0123456789f3")
FEATURES = (0, 0, 1)
Pair = tuple[int, int]


def words(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}Q", *(value % (1 << 64) for value in values))


def index(pairs: Sequence[Pair], chunk_rows: int, run: str = "", name: str = "ids") -> list[Stream]:
    """Keys, places and fence of pairs that are sorted already."""
    head, keys, places = f"{name}//id_index.{run}", [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    fence = [keys[at] for at in range(0, len(keys), chunk_rows)]
    tables = [("keys", keys, chunk_rows), ("places", places, chunk_rows), ("fence", fence, max(1, len(fence)))]
    return [Stream(head + word, ID_INDEX, U64, 1, words(values), rows) for word, values, rows in tables]


def sorted_pairs(ids: Sequence[int], places: Sequence[int] | None = None) -> list[Pair]:
    return sorted((key % (1 << 64), place) for key, place in zip(ids, places or range(len(ids)), strict=True))


def look_ups(ids: Sequence[int], absent: Sequence[int], refused: Sequence[int] = ()) -> dict[str, Any]:
    wanted = [*dict.fromkeys(each for each in ids if each not in refused), *absent]
    found = [[each, [row for row, other in enumerate(ids) if other == each]] for each in wanted]
    return {"stream": "ids", "found": found, "refused": list(refused)}


PLAIN_IDS = [40, -3, 7, 7, 1 << 62, 0, 7, -(1 << 63), 12, 40]
LIST_IDS = [3, 9, 1, 4, 8, 2, 6]  # lists of 2, 0, 4 and 1 rows
LIST_STARTS, STRIDE = [0, 2, 2, 6], 8
LIST_PLACES = [0, 1, 16, 17, 18, 19, 24]


def id_stream(ids: Sequence[int], chunk_rows: int = 4) -> Stream:
    return Stream("ids", IDS, I64, 1, words(ids), chunk_rows)


def grouped() -> list[Stream]:
    groups = Stream("ids//id_index.groups", ID_INDEX, U64, 1, words([STRIDE, *LIST_STARTS]))
    return [id_stream(LIST_IDS), *index(sorted_pairs(LIST_IDS, LIST_PLACES), 3), groups]


# A base, and a delta: row 2 is another id now, row 4 is gone, rows 5 and 6 are new.
OLD_IDS, NEW_IDS = [5, 11, 2, 8, 6], [5, 11, 3, 8, 20, 5]
CHANGES = [(2, GONE), (3, 2), (5, 0), (5, 5), (6, GONE), (20, 4)]
BASE_STREAMS = [id_stream(OLD_IDS, 8), *index(sorted_pairs(OLD_IDS), 2)]
BASE = build(BASE_STREAMS, archive_id=BASE_ID, features=FEATURES)


def delta(changes: Sequence[Pair]) -> list[Stream]:
    places, streams = places_in(1, BASE), []
    for stream in BASE_STREAMS:
        count = len(stream.chunks())
        streams.append(replace(stream, places=places[:count]))
        places = places[count:]
    streams[3] = replace(streams[3], places=())  # the fence stands in the delta, to be read with its tail
    return [id_stream(NEW_IDS, 8), *streams[1:], *index(changes, 4, "changes.")]


def right() -> Iterator[Whole]:
    yield Whole("0190a7c6-c4d8-7abc-9def-0123456789f3", "the ancestor of the deltas with an index of ids", BASE_STREAMS,
                build={"archive_id": BASE_ID, "features": FEATURES}, ids=look_ups(OLD_IDS, [3, 20]))  # fmt: skip
    streams = [id_stream(PLAIN_IDS), *index(sorted_pairs(PLAIN_IDS), 2)]
    keys = streams[1].data
    packed = [encode_bitpack(keys[at : at + 16], 8, *fit) for at, fit in zip(range(0, 80, 16), FITS, strict=True)]
    streams[1] = replace(streams[1], codec=BITPACK, blocks=packed)
    absent = [1, -1, -2, 41, (1 << 63) - 1, -(1 << 62)]
    comment = "ids below zero, an id in three rows over the end of a chunk, keys packed"
    yield Whole("id-index", comment, streams, build={"features": FEATURES}, ids=look_ups(PLAIN_IDS, absent))
    short = [5, 4_000_000_000, 0, 5]
    rows = Stream("ids", IDS, U32, 1, struct.pack("<4I", *short))
    streams = [rows, *index(sorted_pairs(short), 4)]
    yield Whole("id-index-u32", "ids of four bytes", streams, build={"features": FEATURES}, ids=look_ups(short, [6]))
    signed = [-2, 5, -(1 << 31)]
    rows = Stream("ids", IDS, 6, 1, struct.pack("<3i", *signed))
    streams = [rows, *index(sorted_pairs(signed), 4)]
    found = look_ups(signed, [-1, (1 << 31) - 1])
    yield Whole("id-index-i32", "keys are extended by the sign", streams, build={"features": FEATURES}, ids=found)
    comment = "places in groups, one of them without rows"
    yield Whole("id-index-groups", comment, grouped(), build={"features": FEATURES}, ids=look_ups(LIST_IDS, [5, 7]))
    comment = "an id that changed, one in a row more, one that is gone; keys and places lie in the ancestor"
    yield Whole("id-index-changes", comment, delta(CHANGES), ids=look_ups(NEW_IDS, [2, 6]),
                build={"ancestors": [BASE], "features": (2, 0, 1)})  # fmt: skip
    empty = [id_stream([]), *index([], 2)]
    yield Whole("id-index-empty", "no rows at all", empty, build={"features": FEATURES}, ids=look_ups([], [0, 1]))
    alone = "no index, and no bit for one"
    yield Whole("id-index-none", alone, [id_stream(PLAIN_IDS)], ids=look_ups(PLAIN_IDS, [1]))


# Base and width of each chunk of the keys of `id-index`: 0 7 | 7 7 | 12 40 | 40 2^62 | 2^63 2^64 − 3.
FITS = [(0, 3), (7, 0), (12, 5), (40, 63), (1 << 63, 63)]


def wrong() -> Iterator[Whole]:
    """Whole archives whose index lies: what it finds must be refused, and verification says so."""
    ids, pairs = [10, 20, 30, 40], sorted_pairs([10, 20, 30, 40])

    def of(name: str, comment: str, streams: list[Stream], refused: list[int], rows: list[int] = ids) -> Whole:
        found = {**look_ups(rows, [], rows), "refused": refused, "lies": True}
        return Whole(f"id-index-{name}", comment, [id_stream(rows), *streams], build={"features": FEATURES}, ids=found)

    swapped = [(10, 1), (20, 0), (30, 2), (40, 3)]
    yield of("swapped", "two rows swapped", index(swapped, 2), [10, 20])
    yield of("past-end", "a place past the last row", index([*pairs[:3], (40, 4)], 2), [40])
    yield of("foreign-key", "a key that no row has", index([*pairs[:3], (50, 3)], 2), [50])
    short = index(pairs, 2)
    yield of(
        "places-short", "fewer places than keys", [short[0], replace(short[1], data=short[1].data[:24]), short[2]], ids
    )
    odd = [short[0], replace(short[1], chunk_rows=4), short[2]]
    yield of("places-chunks", "places in other chunks than keys", odd, ids)
    yield of(
        "fence-short", "a fence of one chunk for two", [*short[:2], replace(short[2], data=short[2].data[:8])], ids
    )
    yield of("fence-none", "no fence", short[:2], ids)
    yield of("key-missing", "no key for the last row", index(pairs[:3], 2), [])
    yield of("key-twice", "a row that is said twice", index([*pairs[:2], *pairs[1:]], 2), [])
    yield of("keys-order", "keys that do not ascend", index([pairs[1], pairs[0], *pairs[2:]], 2), [])
    other = [*short[:2], replace(short[2], data=words([10, 35]))]
    yield of("fence-other", "a fence that is not the first key of its chunk", other, [])
    groups = grouped()[1:]
    for name, comment, values in [
        ("groups-stride", "a stride of 0", [0, *LIST_STARTS]),
        ("groups-order", "first rows that do not ascend", [STRIDE, 0, 6, 2, 6]),
        ("groups-start", "a first group that does not begin at 0", [STRIDE, 1, 2, 2, 6]),
        ("groups-none", "a stride and no group", [STRIDE]),
        ("groups-empty", "not even a stride", []),
    ]:
        yield of(name, comment, [*groups[:3], replace(groups[3], data=words(values))], LIST_IDS, LIST_IDS)
    far = index(sorted_pairs(LIST_IDS, [0, 2, 16, 17, 18, 19, 24]), 3)
    yield of("group-end", "a place past the end of its group", [*far, groups[3]], [9], LIST_IDS)
    far = index(sorted_pairs(LIST_IDS, [0, 1, 16, 17, 18, 19, 32]), 3)
    yield of("group-past", "a place in a group that there is not", [*far, groups[3]], [6], LIST_IDS)
    gone = {"stream": "ids", "found": [], "refused": [], "lies": True}
    comment = "changes say that an id is gone that a row has"
    yield Whole("id-index-changes-gone", comment, delta(sorted([*CHANGES, (11, GONE)])), ids=gone,
                build={"ancestors": [BASE], "features": (2, 0, 1)})  # fmt: skip


def cases() -> Iterator[Whole]:
    yield from right()
    yield from wrong()
