"""Blocks of codec 33 that a reader must refuse: the rules of codecs/map.md, in a map of a delta."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from delta_blocks import encode_map, map_values
from delta_faults import MAP_AT, VALUES, base, built
from faults import Fault, poke
from kit import MAP, U64, Stream, build, zstd_block, zstd_frame

from deltas import OWN_IDS, family, part

PLACES, STEPS = bytes([0, 0, 1, 0, 0, 1]), bytes([0, 0, 0, 1, 0, 1])
# Two targets: the table ends at 24; each frame has 9 + 3 + 6 bytes.
TABLE = struct.pack("<HBBHBB", 1, 0, 0, 2, 0, 0)
TARGET_FRAME, STEP_FRAME, END = 24, 24 + 18, 24 + 36


def in_map(name: str, comment: str, block: bytes) -> Fault:
    streams = base()
    streams[MAP_AT] = replace(streams[MAP_AT], blocks=[block])
    return built(f"map-{name}", "codec", "read", comment, streams)


def fields(good: bytes) -> Iterator[Fault]:
    for name, comment, block in (
        ("15-bytes", "shorter than its head", good[:15]),
        ("targets-0", "no target", struct.pack("<B3xIII", 0, 18, 18, 0) + good[24:]),
        ("reserved", "reserved is not 0", poke(1, b"\1")(good)),
        ("reserved-2", "reserved is not 0", poke(3, b"\x80")(good)),
        ("targets-255", "a table past the block", poke(0, b"\xff")(good)),
        ("target-frame-huge", "a target frame of 2^32 - 1 bytes", poke(4, b"\xff\xff\xff\xff")(good)),
        ("step-frame-huge", "a step frame of 2^32 - 1 bytes", poke(8, b"\xff\xff\xff\xff")(good)),
        ("frames-wrap", "sizes whose sum wraps around 2^32", struct.pack("<B3xIII", 2, 18, 18, 1 << 29) + good[16:]),
        ("escapes-huge", "2^32 - 1 escapes", poke(12, b"\xff\xff\xff\xff")(good)),
        ("target-twice", "a target twice", poke(20, b"\1")(good)),
        ("mode-2", "mode 2", poke(18, b"\2")(good)),
        ("mode-not-used", "mode 255 of a target that no row has", encode_map(VALUES, table=TABLE + b"\x09\0\xff\0")),
        ("target-reserved", "reserved of a target is not 0", poke(23, b"\1")(good)),
        ("long", "a byte too many", good + b"\0"),
        ("short", "a byte too few", good[:-1]),
        ("place", "a place outside the table", encode_map(VALUES, targets=zstd_frame(bytes([0, 0, 1, 0, 0, 2])))),
        ("place-255", "place 255", encode_map(VALUES, targets=zstd_frame(bytes([0, 0, 1, 0, 0, 255])))),
    ):
        yield in_map(name, comment, block)


def frames(good: bytes) -> Iterator[Fault]:
    skippable = struct.pack("<II", 0x184D2A50, 4) + b"skip"
    for name, content in (("target", PLACES), ("step", STEPS)):
        key = f"{name}s"
        for label, comment, frame in (
            ("frame-short", "has a row too few", zstd_frame(content[:-1])),
            ("frame-long", "has a row too many", zstd_frame(content + b"\0")),
            ("frame-lies", "is shorter than its content size", zstd_frame(content[:-1], content_size=6)),
            ("frame-0", "is empty", b""),
            ("frame-no-size", "has no content size", zstd_frame(content, descriptor=0, extra=b"\0")),
            ("frame-slack", "has a byte after it", zstd_frame(content) + b"\0"),
            ("frame-skippable", "has a skippable frame after it", zstd_frame(content) + skippable),
            ("frame-not-last", "has no last block", good[24:33] + zstd_block(0, 6, content, False)),
        ):
            yield in_map(f"{name}-{label}", f"the frame of the {key} {comment}", encode_map(VALUES, **{key: frame}))


def escapes() -> Iterator[Fault]:
    far = [(1, 0), (1, 1), (2, 0), (1, 3), (1, 4), (2, 2)]
    steps = zstd_frame(bytes([255, 0, 0, 1, 0, 1]))

    def escape(*values: int) -> bytes:
        return struct.pack(f"<{len(values)}Q", *values)

    top = (1 << 48) - 1
    for name, comment, block in (
        ("escape-missing", "step 255 without an escape", encode_map(far, steps=steps)),
        ("escape-left", "an escape that no row takes", encode_map(far, escapes=escape(0))),
        ("escapes-left", "two escapes, one step 255", encode_map(far, steps=steps, escapes=escape(0, 0))),
        ("escape-48-bits", "an escape of 2^48", encode_map(far, steps=steps, escapes=escape(1 << 48))),
        ("escape-64-bits", "an escape of 2^64 - 1", encode_map(far, steps=steps, escapes=escape((1 << 64) - 1))),
        ("row-48-bits", "a row of 2^48, one after an escape", encode_map(far, steps=steps, escapes=escape(top))),
        (
            "row-48-bits-by-place",
            "a row of 2^48 by the distance of two rows",
            encode_map(far, steps=zstd_frame(bytes([0, 0, 0, 255, 254, 1])), escapes=escape(top - 254)),
        ),
    ):
        yield in_map(name, comment, block)


def places() -> Iterator[Fault]:
    """Codec 33 where it may not stand."""
    numbers = map_values(VALUES)
    block = encode_map(VALUES)
    ids = Stream("ids", 5, U64, 1, numbers, 0, MAP, [block])
    yield built("map-codec-in-ids", "codec", "read", "codec 33 in a whole stream of another role", [*base(), ids])
    owned = family(OWN_IDS, [(3, 0), (3, 5)], [part(OWN_IDS, 3, numbers)], 0)
    owned[2] = replace(owned[2], codec=MAP, blocks=[block])
    yield built("map-codec-in-part", "codec", "read", "codec 33 in a part of an owner of u64", owned)
    alone = [Stream("m", 37, U64, 1, numbers, 0, MAP, [block])]
    yield Fault("map-codec-without-bit", "codec", "read", "codec 33 in an archive that is no delta", build(alone))
    for codec in (34, 35):
        streams = base()
        streams[MAP_AT] = replace(streams[MAP_AT], codec=codec)
        comment = f"codec {codec} in a map"
        yield built(f"codec-{codec}-in-map", "codec", "read", comment, streams)
    for codec in (36, 47):
        streams = base()
        streams[MAP_AT] = replace(streams[MAP_AT], codec=codec)
        yield built(f"codec-unknown-{codec}", "codec", "read", "a reserved codec", streams)


def cases() -> Iterator[Fault]:
    good = encode_map(VALUES)
    assert good == struct.pack("<B3xIII", 2, 18, 18, 0) + TABLE + zstd_frame(PLACES) + zstd_frame(STEPS)
    assert len(good) == END
    yield from fields(good)
    yield from frames(good)
    yield from escapes()
    yield from places()
