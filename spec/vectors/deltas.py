"""Deltas that a reader must read, and the two archives on which all deltas of the vectors build.

The rows of an owner are put together here from what the parts were given, not from a decoded map. An ancestor lies
beside the vectors under its id, and is a vector itself.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace

from delta_blocks import Target, encode_map, encode_residual, map_values, references
from kit import (
    BITPACK,
    F32,
    FLOAT32,
    MAP,
    MAPPED,
    RAW,
    RESIDUAL,
    U8,
    U16,
    U64,
    ZSTD,
    Place,
    Stream,
    build,
    encode_bitpack,
    noise,
    places_in,
    zstd_frame,
)
from whole import Whole, literal, take
from whole import rows as rows_of

VECTORS, IDS, PART_ROLE, MAP_ROLE, FINGERPRINTS = 3, 5, 36, 37, 32
FIRST_ID = bytes.fromhex("0190a7c5d2e87abc9def0123456789f1")
SECOND_ID = bytes.fromhex("0190a7c6b3a07abc9def0123456789f2")


def family(
    owner: Stream, values: Sequence[Target], parts: Sequence[Stream], at: int, map_rows: int = 0
) -> list[Stream]:
    """An owner as stream number `at`, its map and its parts; the owner's rows come from the parts."""
    width, by_number = owner.row_bytes, {part.part_number: part.data for part in parts}
    data = b"".join(by_number[target][row * width : (row + 1) * width] for target, row in values)
    step = map_rows or max(1, len(values))
    blocks = [encode_map(values[first : first + step], first, [1]) for first in range(0, len(values), step)]
    rows = (f"{owner.name}//map", MAP_ROLE, U64, 1, map_values(values), step)
    table = Stream(*rows, MAP, blocks, part_of=at + 1)
    return [replace(owner, data=data, codec=MAPPED), table, *(replace(part, part_of=at + 1) for part in parts)]


def part(owner: Stream, number: int, data: bytes, chunk_rows: int = 0, places: Sequence[Place | None] = ()) -> Stream:
    name = f"{owner.name}//part.{number}"
    rows = (name, PART_ROLE, owner.element, owner.elements, data, chunk_rows)
    return Stream(*rows, places=places, part_number=number)


def located(number: int, archive: bytes, streams: Sequence[Stream]) -> dict[str, list[Place | None]]:
    """The blocks of an ancestor by the names of its streams."""
    places, found = places_in(number, archive), {}
    for stream in streams:
        count = len(stream.chunks())
        found[stream.name], places = places[:count], places[count:]
    return found


# Owners, without rows yet.
OWNER = Stream("vectors", VECTORS, F32, 2, b"", 4)
OWN_IDS = Stream("ids", IDS, U64, 1, b"", 3)


def first_streams() -> list[Stream]:
    return [
        Stream("vectors", VECTORS, F32, 2, noise("first vectors", 80), 4, FLOAT32),
        Stream("ids", IDS, U64, 1, struct.pack("<10Q", *range(100, 110)), 5),
        Stream("notes", 2, U8, 1, noise("first notes", 200), 80),
        literal(b"HEADTAIL"),
    ]


FIRST_STREAMS = first_streams()
FIRST = build(FIRST_STREAMS, archive_id=FIRST_ID)
IN_FIRST = located(1, FIRST, FIRST_STREAMS)
FIRST_VECTORS, FIRST_IDS, FIRST_NOTES = (stream.data for stream in FIRST_STREAMS[:3])


def base_part(owner: Stream = OWNER) -> Stream:
    """All rows of the first archive as part 1."""
    source = next(stream for stream in FIRST_STREAMS if stream.name == owner.name)
    return part(owner, 1, source.data, source.chunk_rows, IN_FIRST[owner.name])


SECOND_ROWS = noise("second rows", 24)
# Rows 2 to 9 of the first archive, each value one unit up, as residuals.
OLD_ROWS = FIRST_VECTORS[16:]
NEAR_ROWS = bytes(byte + (at % 4 == 0) & 255 for at, byte in enumerate(OLD_ROWS))
NEAR_REFERENCES = range(2, 10)


def near_part(number: int, places: Sequence[Place | None] = ()) -> Stream:
    block = references(NEAR_REFERENCES) + encode_residual(NEAR_ROWS, OLD_ROWS, F32)
    stream = part(OWNER, number, NEAR_ROWS, 0, places)
    return replace(stream, codec=RESIDUAL, blocks=[block], base_part=1)


def second_streams() -> list[Stream]:
    values = [(1, 0), (1, 1), (2, 0), (1, 3), (1, 4), (1, 5), (2, 1), (1, 7), (1, 8), (3, 1), (2, 2)]
    return [
        *family(OWNER, values, [base_part(), part(OWNER, 2, SECOND_ROWS), near_part(3)], 0),
        Stream("notes", 2, U8, 1, FIRST_NOTES[:160] + b"second", 80, places=IN_FIRST["notes"][:2]),
    ]


SECOND_STREAMS = second_streams()
SECOND = build(SECOND_STREAMS, archive_id=SECOND_ID, ancestors=[FIRST])
IN_SECOND = located(2, SECOND, SECOND_STREAMS)
BOTH = {"ancestors": [FIRST, SECOND]}


def name_of(archive_id: bytes) -> str:
    return str(uuid.UUID(bytes=archive_id))


def ancestors() -> Iterator[Whole]:
    yield Whole(
        name_of(FIRST_ID),
        "the first ancestor of the deltas: no delta itself",
        FIRST_STREAMS,
        build={"archive_id": FIRST_ID},
    )
    yield Whole(
        name_of(SECOND_ID),
        "the second ancestor: a delta with one ancestor, a mapped stream and a whole one",
        SECOND_STREAMS,
        build={"archive_id": SECOND_ID, "ancestors": [FIRST]},
    )


def whole_streams() -> Iterator[Whole]:
    new = noise("new notes", 80)
    moved = [IN_FIRST["notes"][1], None, IN_FIRST["notes"][0], IN_FIRST["notes"][0]]
    notes = FIRST_NOTES[80:160] + new + FIRST_NOTES[:80] + FIRST_NOTES[:80]
    streams = [
        Stream("vectors", VECTORS, F32, 2, FIRST_VECTORS, 4, places=IN_FIRST["vectors"]),
        Stream("none", 2, U8, 1, b"", 4),
        Stream("notes", 2, U8, 1, notes, 80, places=moved),
    ]
    yield Whole(
        "delta-whole-streams",
        "entries into one ancestor, in its order and in another, twice into one block, between blocks of its own",
        streams,
        build={"ancestors": [FIRST], "entries_per_block": 3},
    )
    two = [IN_FIRST["notes"][1], IN_SECOND["notes"][2]]
    # The last chunk is the shorter one, so the block of the second archive ends the stream.
    streams = [
        Stream("notes", 2, U8, 1, FIRST_NOTES[80:160] + b"second", 80, places=two),
        Stream("own", 2, U16, 1, b"abcdef", 1),
    ]
    yield Whole("delta-two-ancestors", "entries of one stream into two ancestors", streams, build=BOTH)
    streams = [Stream("notes", 2, U8, 1, FIRST_NOTES[:80], 80, places=IN_FIRST["notes"][:1])]
    yield Whole(
        "delta-ancestor-not-used",
        "an ancestor that no entry needs; version 1.9; unknown ro_compat and compat bits",
        streams,
        build={**BOTH, "version": (1, 9), "features": (2, 4, 8)},
    )
    streams = [Stream("a", PART_ROLE, F32, 2, noise("a", 16)), Stream("b", MAP_ROLE, U16, 3, noise("b", 12))]
    yield Whole("roles-of-deltas", "no delta: streams of role part and map are opaque rows", streams)


def mapped() -> Iterator[Whole]:
    second = part(OWNER, 2, SECOND_ROWS, 0, IN_SECOND["vectors//part.2"])
    own = part(OWNER, 65_535, noise("third rows", 40), 2)
    values = [(1, 9), (65_535, 4), (65_535, 0), (1, 0), (1, 1), (2, 2), (2, 0), (1, 1), (65_535, 1), (1, 8), (1, 7)]
    streams = family(OWNER, values, [base_part(), second, own], 0, map_rows=3)
    changed_ids = [(1, 0), (1, 1), (7, 0), (1, 3), (1, 4), (1, 5), (1, 6), (7, 1)]
    streams += family(OWN_IDS, changed_ids, [base_part(OWN_IDS), part(OWN_IDS, 7, noise("ids", 16))], len(streams))
    streams.append(Stream("vectors//part.65535//fingerprints", FINGERPRINTS, U64, 1, noise("prints", 40)))
    yield Whole(
        "delta-mapped",
        "two owners; parts in two ancestors and here; rows moved, repeated and left out; chunks of other sizes",
        streams,
        build={**BOTH, "entries_per_block": 4},
    )
    # Whatever order and whatever names: a map, then a part with a base_part but plain blocks, then their owner.
    reordered = family(OWNER, [(3, 0), (1, 2), (3, 1)], [base_part(), part(OWNER, 3, noise("plain", 16))], 3)
    reordered[3].base_part = 1
    for stream, name in zip(reordered, ("owner", "m", "base", "changed"), strict=True):
        stream.name = name
    owner, table, base, changed = reordered
    yield Whole(
        "delta-names-and-order",
        "map and parts before their owner under other names; a base_part that no block uses",
        [changed, table, base, owner],
        build={"ancestors": [FIRST]},
    )
    empty = family(OWNER, [], [], 0)
    more = family(replace(OWN_IDS, name="more"), [], [], len(empty))
    parts = [part(more[0], 9, b""), replace(part(more[0], 8, noise("unused", 8)), base_part=9)]
    streams = [*empty, *more, *(replace(stream, part_of=len(empty) + 1) for stream in parts)]
    yield Whole(
        "delta-zero-rows",
        "owners without rows: one without parts, one with a part without rows and a part that is not used",
        streams,
        build={"ancestors": [FIRST]},
    )


def maps() -> Iterator[Whole]:
    """Every way to write a map."""
    owner = Stream("numbers", 2, U16, 1, b"", 8)
    long = part(owner, 1, noise("long part", 1600), 100)
    short, one = part(owner, 2, noise("short part", 40)), part(owner, 300, b"!!")
    positional = [(1, i + i // 5) for i in range(16)]
    mixed: list[Target] = [(1, 254), (2, 3), (1, 509), (1, 510), (300, 0), (1, 0), (1, 799), (2, 4), (2, 4), (1, 256)]
    values = positional + mixed
    streams = family(owner, values, [long, short, one], 0)
    all_values = streams[1].data
    sequential = encode_map(mixed)
    unused = b"".join(struct.pack("<HBB", 1000 - i, i % 2, 0) for i in range(255))
    many = [(1, row) for row in range(130)]
    wide = encode_map(many, table=struct.pack("<HBB", 1, 0, 0) + unused[4:])
    streams[1] = replace(streams[1], chunk_rows=16, blocks=[encode_map(positional, 0, [1]), sequential])
    copies = {
        "positional": [encode_map(positional, 0, [1]), encode_map(mixed, 16, [1, 300])],
        "raw": [all_values[:128], all_values[128:]],
    }
    yield Whole(
        "delta-map-modes",
        "sequential and positional targets, steps up to 254, escapes forward and back, a second chunk",
        streams,
        build={"ancestors": [FIRST]},
    )
    for name, blocks in copies.items():
        codec = RAW if name == "raw" else MAP
        copy = [streams[0], replace(streams[1], blocks=blocks, codec=codec), *streams[2:]]
        yield Whole(f"delta-map-{name}", f"the same rows by a map that is {name}", copy, build={"ancestors": [FIRST]})
    streams = family(replace(owner, chunk_rows=65), many, [long], 0)
    streams[1] = replace(streams[1], blocks=[wide])
    yield Whole("delta-map-255-targets", "as many targets as there may be", streams, build={"ancestors": [FIRST]})
    streams = family(OWNER, [(1, 0), (1, 1), (2, 0), (1, 3)], [base_part(), part(OWNER, 2, SECOND_ROWS)], 0)
    raw = streams[1].data
    packed = [zstd_frame(raw[:16]), encode_bitpack(raw[16:], 8, 1 << 48, 49)]
    streams[1] = replace(streams[1], chunk_rows=2, blocks=packed)
    edits = {"entries": _codecs_of_map}
    yield Whole(
        "delta-map-packed", "a map in codecs zstd and bitpack", streams, build={"ancestors": [FIRST], "edits": edits}
    )
    same = [*SECOND_STREAMS[:3], part(OWNER, 2, SECOND_ROWS, 0, IN_SECOND["vectors//part.2"])]
    same.append(near_part(3, IN_SECOND["vectors//part.3"]))
    same[1] = replace(same[1], places=IN_SECOND["vectors//map"])
    same[3:] = [replace(stream, part_of=1) for stream in same[3:]]
    yield Whole("delta-map-in-ancestor", "nothing of its own: map and parts lie in ancestors", same, build=BOTH)


def _codecs_of_map(entries: list[dict[str, int]]) -> None:
    for entry, codec in zip(entries[1:3], (ZSTD, BITPACK), strict=True):
        entry["codec"] = codec


def plans() -> Iterator[Whole]:
    streams = family(OWNER, [(1, 0), (2, 0), (1, 2), (1, 3)], [base_part(), part(OWNER, 2, SECOND_ROWS)], 0)
    vectors, ids = streams[0].data, FIRST_IDS[:40]
    streams.append(Stream("ids", IDS, U64, 1, ids, 5, places=IN_FIRST["ids"][:1]))
    streams.append(Stream("literal", 1, U8, 1, b"HEADTAIL", places=IN_FIRST["literal"]))
    groups = {"kind": "groups", "groups": 4, "fields": [take("vectors", 1), take("ids", 1)]}
    data = b"HEAD" + b"".join(vectors[8 * i : 8 * i + 8] + ids[8 * i : 8 * i + 8] for i in range(4)) + b"TAIL"
    yield Whole(
        "delta-plan",
        "a member of a mapped stream and of whole ones in an ancestor",
        streams,
        {"index.bin": data},
        {"index.bin": [rows_of("literal", 0, 4), groups, rows_of("literal", 4, 4)]},
        build={"ancestors": [FIRST]},
    )


def cases() -> Iterator[Whole]:
    yield from ancestors()
    yield from whole_streams()
    yield from mapped()
    yield from maps()
    yield from plans()
