"""Deltas that a reader must refuse: the rules of FORMAT.md 5.3 and 6, one fault each."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from delta_blocks import Target
from faults import Fault, put
from kit import ARCHIVE_ID, I64, U8, U32, U64, Edit, Stream, build, noise

from deltas import BOTH, FIRST, FIRST_NOTES, IN_FIRST, OWN_IDS, OWNER, SECOND_ROWS, base_part, family, part

VALUES: list[Target] = [(1, 0), (1, 1), (2, 0), (1, 3), (1, 4), (2, 2)]
# Streams and entries of `base`.
OWNER_AT, MAP_AT, BASE_AT, NEW_AT, NOTES_AT = range(5)
OWNER_ENTRY, MAP_ENTRY, BASE_ENTRY, NEW_ENTRY, NOTES_ENTRY = 0, 2, 3, 6, 7


def base() -> list[Stream]:
    return [
        *family(OWNER, VALUES, [base_part(), part(OWNER, 2, SECOND_ROWS)], 0),
        Stream("notes", 2, U8, 1, FIRST_NOTES[:160] + noise("tail", 9), 80, places=IN_FIRST["notes"][:2]),
    ]


def built(name: str, layer: str, stage: str, comment: str, streams: Sequence[Stream], **more: Any) -> Fault:
    return Fault(f"delta-{name}", layer, stage, comment, build(streams, **{"ancestors": [FIRST], **more}))


def edited(name: str, layer: str, stage: str, comment: str, **edits: Edit) -> Fault:
    return built(name, layer, stage, comment, base(), edits=edits)


def ancestors() -> Iterator[Fault]:
    plain = [Stream("rows", 2, U8, 1, b"abcd")]
    for name, comment, more in (
        (
            "no-ancestor",
            "incompat bit 1 without ancestors",
            {"ancestors": [], "version": (1, 1), "features": (2, 0, 0)},
        ),
        ("without-bit", "an ancestor without incompat bit 1", {"features": (0, 0, 0)}),
        ("256-ancestors", "an ancestor too many", {"ancestors": [_fake(number) for number in range(256)]}),
        ("ancestor-twice", "one id in two records", {**BOTH, "edits": {"ancestors": put(1, id=FIRST[-64:-48])}}),
    ):
        yield built(name, "directory", "open", comment, plain, **more)
    for name, comment, more in (
        ("of-version-1-0", "incompat bit 1 in version 1.0", {"version": (1, 0)}),
        ("incompat-sealed", "incompat bits 0 and 1", {"features": (3, 0, 0)}),
        ("incompat-unknown", "incompat bits 1 and 2", {"features": (6, 0, 0)}),
    ):
        yield built(name, "trailer", "open", comment, plain, **more)
    for name, comment, fields in (
        ("itself", "the archive is its own ancestor", {"id": ARCHIVE_ID}),
        ("191-bytes", "an ancestor shorter than any archive", {"bytes": 191}),
        ("reserved", "reserved is not 0", {"reserved": 1 << 63}),
    ):
        yield edited(f"ancestor-{name}", "directory", "open", comment, ancestors=put(0, **fields))
    for name, count in (("more", 2), ("0", 0)):
        comment = f"one record, ancestor_count {count}"
        yield edited(f"ancestor-count-{name}", "directory", "open", comment, directory_header=put(ancestors=count))
    for name, comment, fields in (
        ("missing", "an ancestor that is not there", {"id": noise("id", 16)}),
        ("longer", "the ancestor is longer than archive_bytes", {"bytes": lambda count: count - 1}),
        ("shorter", "the ancestor is shorter than archive_bytes", {"bytes": lambda count: count + 64}),
        ("bytes-huge", "archive_bytes near 2^64", {"bytes": (1 << 64) - 1}),
    ):
        yield edited(f"ancestor-{name}", "directory", "read", comment, ancestors=put(0, **fields))


def _fake(number: int) -> bytes:
    """As much of an archive as an ancestor record says."""
    return bytes(128) + number.to_bytes(16, "big") + bytes(48)


def records() -> Iterator[Fault]:
    """Fields of the stream records that belong to deltas."""
    for name, number, fields, comment in (
        ("part-of-0", NEW_AT, {"part_of": 0}, "a part of no stream"),
        ("part-of-past-end", NEW_AT, {"part_of": 6}, "a part of a stream that does not exist"),
        ("part-of-huge", NEW_AT, {"part_of": (1 << 32) - 1}, "part_of near 2^32"),
        ("part-of-itself", NEW_AT, {"part_of": NEW_AT + 1}, "a part of itself"),
        ("part-of-part", NEW_AT, {"part_of": BASE_AT + 1}, "a part of a part"),
        ("part-of-map", NEW_AT, {"part_of": MAP_AT + 1}, "a part of a map"),
        ("map-of-0", MAP_AT, {"part_of": 0}, "a map of no stream"),
        ("map-of-past-end", MAP_AT, {"part_of": 6}, "a map of a stream that does not exist"),
        ("map-of-itself", MAP_AT, {"part_of": MAP_AT + 1}, "a map of itself"),
        ("map-of-part", MAP_AT, {"part_of": BASE_AT + 1}, "a map of a part"),
        ("map-part-number", MAP_AT, {"part_number": 1}, "a map with a part_number"),
        ("map-base-part", MAP_AT, {"base_part": 1}, "a map with a base_part"),
        ("stream-part-of", NOTES_AT, {"part_of": 1}, "part_of of a stream that is no part or map"),
        ("stream-part-number", NOTES_AT, {"part_number": 3}, "part_number of a stream that is no part"),
        ("stream-base-part", NOTES_AT, {"base_part": 1}, "base_part of a stream that is no part"),
        ("owner-base-part", OWNER_AT, {"base_part": 1}, "base_part of an owner"),
        ("stream-end", NOTES_AT, {"end": 1}, "the last reserved field is not 0"),
        ("part-number-0", NEW_AT, {"part_number": 0}, "a part_number of 0"),
        ("part-number-65536", NEW_AT, {"part_number": 65_536}, "a part_number above 65,535"),
        ("part-number-twice", NEW_AT, {"part_number": 1}, "two parts of one number"),
        ("base-part-unknown", NEW_AT, {"base_part": 3}, "a base_part that does not exist"),
        ("base-part-itself", NEW_AT, {"base_part": 2}, "a part that is its own base"),
        ("part-type", NEW_AT, {"element": U32}, "rows of another element type than the owner's"),
    ):
        yield edited(name, "directory", "open", comment, records=put(number, **fields))
    plain = [Stream("a", 36, U8, 1, b"a"), Stream("b", 37, U64, 1, bytes(8)), Stream("c", 2, U8, 1, b"c")]
    for number, name in enumerate(("part_of", "part_number", "base_part")):
        comment = f"{name} without incompat bit 1"
        edits = {"records": put(number, **{name: 1})}
        yield built(
            f"without-bit-{name.replace('_', '-')}", "directory", "open", comment, plain, ancestors=(), edits=edits
        )


def relations() -> Iterator[Fault]:
    """Streams that do not belong together."""
    owner, table, old, new, notes = base()

    def fault(name: str, comment: str, *streams: Stream) -> Fault:
        return built(name, "directory", "open", comment, streams)

    wide = Stream("wide", 36, old.element, 4, noise("wide", 32), part_of=1, part_number=3)
    yield fault("part-elements", "rows of another row_elements than the owner's", owner, table, old, new, wide)
    chained = replace(new, base_part=3)
    third = replace(new, name="third", part_number=3, base_part=1)
    yield fault("base-part-chained", "a base_part that has one itself", owner, table, old, chained, third)
    circle = replace(third, base_part=2)
    yield fault("base-part-circle", "two parts that are each other's base", owner, table, old, chained, circle)
    ids = family(OWN_IDS, [(1, 0), (9, 0)], [base_part(OWN_IDS), part(OWN_IDS, 9, bytes(8))], 4)
    foreign = replace(new, base_part=9)
    yield fault(
        "base-part-of-other-owner", "the base_part is a part of another stream", owner, table, old, foreign, *ids
    )
    for name, comment, rows in (
        ("map-rows-less", "a map of fewer rows than its owner", table.data[:-8]),
        ("map-rows-more", "a map of more rows than its owner", table.data + bytes(8)),
    ):
        yield fault(name, comment, owner, replace(table, data=rows, chunk_rows=0, codec=0, blocks=None), old, new)
    raw = replace(table, codec=0, blocks=None)
    yield fault("map-type", "a map of i64", owner, replace(raw, element=I64), old, new)
    two = replace(raw, data=table.data * 2, chunk_rows=0, elements=2)
    yield fault("map-elements", "a map of two numbers a row", owner, two, old, new)
    yield fault("map-twice", "two maps of one stream", owner, table, old, new, replace(table, name="again"))
    plain = replace(notes, name="vectors", role=3, places=(), data=noise("plain", 9))
    alone = Stream("part", 36, U8, 1, b"rows", part_of=1, part_number=1)
    yield fault("part-without-map", "a part of a stream that has no map", plain, alone)


def entries() -> Iterator[Fault]:
    end = len(FIRST) - 128
    for name, at, fields, comment in (
        ("archive", NOTES_ENTRY, {"archive": 2}, "an archive past the ancestor table"),
        ("archive-65535", NEW_ENTRY, {"archive": 65_535}, "archive 65,535"),
        ("offset-0", NOTES_ENTRY, {"offset": 0}, "a block in the header of an ancestor"),
        ("offset-unaligned", NOTES_ENTRY, {"offset": lambda n: n + 8}, "a block at no multiple of 64"),
        ("offset-huge", NOTES_ENTRY, {"offset": (1 << 64) - 64}, "offset + stored_bytes wraps around 2^64"),
        (
            "in-trailer",
            NOTES_ENTRY,
            {"offset": end // 64 * 64, "stored": 80},
            "a block that ends in an ancestor's trailer",
        ),
        ("past-end", NOTES_ENTRY, {"offset": (end // 64 + 3) * 64}, "a block past an ancestor's end"),
        ("stored-0", NOTES_ENTRY, {"stored": 0}, "a block of no bytes in an ancestor"),
        ("stored-too-large", NOTES_ENTRY, {"stored": 80 + 65}, "a block of more than raw + 64 bytes in an ancestor"),
        ("flags", NOTES_ENTRY, {"flags": 1}, "public flags are not 0"),
        ("own-past-index", NEW_ENTRY, {"offset": lambda n: n + 1024}, "a block of its own past its index"),
        ("mapped-offset", OWNER_ENTRY, {"offset": 64}, "a mapped entry with an offset"),
        ("mapped-stored", OWNER_ENTRY, {"stored": 1}, "a mapped entry with stored bytes"),
        ("mapped-archive", OWNER_ENTRY, {"archive": 1}, "a mapped entry with an archive"),
        ("mapped-flags", OWNER_ENTRY, {"flags": 1}, "a mapped entry with flags"),
        ("mapped-crc", OWNER_ENTRY + 1, {"crc": 1}, "a mapped entry with a block_crc"),
        ("mapped-codec", OWNER_ENTRY, {"codec": 0}, "an entry of an owner without a block, but not of codec 32"),
        ("mapped-sealable-flags", OWNER_ENTRY, {"flags2": 1}, "sealable flags are not 0"),
        ("mapped-reserved", OWNER_ENTRY, {"more": 1}, "reserved is not 0"),
    ):
        yield edited(f"entry-{name}", "index", "read", comment, entries=put(at, **fields))

    def like_its_part(table: list[dict[str, Any]]) -> None:
        table[OWNER_ENTRY] = {**table[BASE_ENTRY], "digest": table[OWNER_ENTRY]["digest"]}

    yield edited("entry-of-owner", "index", "read", "an owner's entry with a block", entries=like_its_part)
    nothing = dict.fromkeys(("offset", "stored", "archive", "crc"), 0)
    yield edited(
        "entry-mapped-without-map",
        "index",
        "read",
        "an entry like those of owners, in a stream that has no map",
        entries=put(NOTES_ENTRY, codec=32, **nothing),
    )
    for name, at in (("notes", NOTES_ENTRY), ("part", NEW_ENTRY), ("map", MAP_ENTRY)):
        comment = f"codec 32 in a stream that has no map ({name})"
        yield edited(f"codec-32-in-{name}", "codec", "read", comment, entries=put(at, codec=32))
    yield edited(
        "stored-sum", "index", "verify", "stored_bytes counts blocks in an ancestor", records=put(NOTES_AT, stored=169)
    )


def rows() -> Iterator[Fault]:
    """Blocks in ancestors, maps that name nothing, and digests."""
    first, second = IN_FIRST["notes"][:2]
    assert first
    assert second
    for name, layer, at, fields, comment in (
        (
            "block-crc",
            "block",
            NOTES_ENTRY,
            {"crc": lambda crc: crc ^ 1},
            "another block_crc than the ancestor's block",
        ),
        ("block-other", "block", NOTES_ENTRY, {"offset": second.offset}, "another block of the ancestor"),
        (
            "digest-other-block",
            "digest",
            NOTES_ENTRY,
            {"offset": second.offset, "crc": second.crc},
            "another block of the ancestor, with its CRC",
        ),
        (
            "digest-of-owner",
            "digest",
            OWNER_ENTRY + 1,
            {"digest": noise("d", 32)},
            "another digest of an owner's chunk",
        ),
        ("digest-of-map", "digest", MAP_ENTRY, {"digest": noise("d", 32)}, "another digest of the map's chunk"),
        ("digest-of-part", "digest", NEW_ENTRY, {"digest": noise("d", 32)}, "another digest of a part's chunk"),
    ):
        yield edited(name, layer, "read", comment, entries=put(at, **fields))
    for name, comment, value in (
        ("digest-other-row", "a map that names another row than the owner had", (1, 2)),
        ("map-unknown-part", "a map that names a part that does not exist", (3, 0)),
        ("map-part-0", "a map that names part 0", (0, 0)),
        ("map-part-65535", "a map that names part 65,535", (65_535, 0)),
        ("map-row-past-part", "a map that names a row after the last of the part", (2, 3)),
        ("map-row-huge", "a map that names row 2^48 - 1", (1, (1 << 48) - 1)),
        ("map-part-of-other-owner", "a map that names a part of another stream", (9, 0)),
    ):
        streams = base()
        if name.endswith("other-owner"):
            streams += family(OWN_IDS, [(9, 0)], [part(OWN_IDS, 9, bytes(8))], len(streams))
        # The digests of the owner are right: family made them from VALUES.
        good = family(OWNER, [(1, 0)] * 6, [base_part()], 0)[1]
        values = [value if at == 2 else old for at, old in enumerate(VALUES)]
        raw = struct.pack("<6Q", *(target << 48 | row for target, row in values))
        streams[MAP_AT] = replace(good, data=raw, codec=0, blocks=None)
        yield built(name, "digest" if name.startswith("digest") else "codec", "read", comment, streams)
    none = [replace(OWNER, data=bytes(8), codec=32), Stream("m", 37, U64, 1, struct.pack("<Q", 1 << 48), part_of=1)]
    yield built("map-no-part", "codec", "read", "a map with a row, and no part at all", none)
    empty = family(OWNER, [(1, 0)], [base_part(), part(OWNER, 2, b"")], 0)
    empty[MAP_AT] = replace(empty[MAP_AT], data=struct.pack("<Q", 2 << 48), codec=0, blocks=None)
    yield built("map-row-of-empty-part", "codec", "read", "a map that names row 0 of a part without rows", empty)


def cases() -> Iterator[Fault]:
    for group in (ancestors, records, relations, entries, rows):
        yield from group()
