"""Parts whose blocks hold rows against rows of a base part: references (codecs/README.md) and codec 34."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace

from delta_blocks import EXPONENT, encode_map, encode_residual, references
from delta_faults import built
from faults import Fault, insert, poke
from kit import ELEMENT_BYTES, F32, RESIDUAL, Stream, noise, zstd_frame
from whole import Whole

from deltas import (
    BOTH,
    FIRST,
    FIRST_VECTORS,
    IN_SECOND,
    NEAR_REFERENCES,
    NEAR_ROWS,
    OLD_ROWS,
    OWNER,
    base_part,
    family,
    near_part,
    part,
)

NO_ROW, TOP = 10, (1 << 48) - 1  # the base part of the vectors has ten rows


def near(values: bytes, element_bytes: int) -> bytes:
    """Values near others: some the same, some a few units away, some anywhere."""
    out, far = bytearray(values), noise("far", len(values))
    for at, chance in enumerate(noise("near", len(values) // element_bytes)):
        low = at * element_bytes
        if chance < 80:
            out[low] = out[low] + chance & 255
        elif chance < 120:
            out[low : low + element_bytes] = far[low : low + element_bytes]
    return bytes(out)


def types() -> Whole:
    """An owner of every element type; half of the rows are as they were, so that blocks stay short."""
    streams: list[Stream] = []
    for element, size in ELEMENT_BYTES.items():
        for turned in range(1 + (element in EXPONENT)):
            owner = Stream(f"type {element} {turned}", 2, element, 3, b"")
            old = part(owner, 1, noise(f"old {element}", 48 * size))
            new = part(owner, 2, old.data[: 24 * size] + near(old.data[24 * size :], size))
            block = references(range(16)) + encode_residual(new.data, old.data, element, turned)
            new = replace(new, codec=RESIDUAL, blocks=[block], base_part=1)
            streams += family(owner, [(2, 15), (1, 1), *((2, row) for row in range(16))], [old, new], len(streams))
    return Whole(
        "delta-residual-types", "every element type; floats also turned", streams, build={"ancestors": [FIRST]}
    )


def cases() -> Iterator[Whole]:
    yield types()
    rows = [0, 0, 1, 4, NO_ROW, NO_ROW + 1, 9, 9, TOP, 3, 3, 4, 5, 6, 7, 200, *range(2, 10)]
    full = FIRST_VECTORS + b"\xff" * 8
    base = b"".join(full[8 * min(row, NO_ROW) :][:8] for row in rows)
    new = part(OWNER, 4, near(base, 4), 16)
    blocks = [
        references(rows[:16]) + encode_residual(new.data[:128], base[:128], F32),
        references(rows[16:]) + encode_residual(new.data[128:], base[128:], F32, 1),
    ]
    new = replace(new, codec=RESIDUAL, blocks=blocks, base_part=1)
    old = near_part(3, IN_SECOND["vectors//part.3"])
    values = [(4, 6), (3, 1), (1, 5), (4, 0), (3, 0), *((4, row) for row in range(24))]
    yield Whole(
        "delta-residual",
        "residuals here and in an ancestor; references back, twice and to no row",
        family(OWNER, values, [base_part(), old, new], 0),
        build=BOTH,
    )


def fault(name: str, comment: str, block: bytes) -> Fault:
    """`block` as the only one of a part."""
    new = replace(near_part(2), blocks=[block])
    streams = family(OWNER, [(2, 0), (1, 1), (2, 1)], [base_part(), new], 0)
    return built(name, "codec", "read", comment, streams)


def reference_faults(owner: Stream, old: Stream, new: Stream, rows: Sequence[int], rest: bytes) -> Iterator[Fault]:
    """`new` is a part with good blocks against `old`, `rows` its references and `rest` what follows them."""
    codec, good, values = new.codec, references(rows), [(0, row) for row in rows]
    size, far = len(good) - 8, zstd_frame(b"\xff" + bytes(len(rows) - 1))
    table, last = struct.pack("<HBBHBB", 0, 0, 0, 5, 0, 0), rows[-1]
    all_rows = [(2, row) for row in range(new.row_count)]
    for name, comment, block in (
        ("7-bytes", "shorter than their head", good[:7]),
        ("reserved", "reserved is not 0", poke(7, b"\1")(good) + rest),
        ("huge", "of 2^32 - 1 bytes", poke(0, b"\xff\xff\xff\xff")(good) + rest),
        ("0", "none", bytes(8) + rest),
        ("slack", "a byte after them", insert(8 + size, b"\0")(poke(0, bytes([size + 1]))(good)) + rest),
        ("short", "they end early", poke(0, bytes([size - 1]))(good) + rest),
        ("rows-less", "one too few", references(rows[:-1]) + rest),
        ("rows-more", "one too many", references([*rows, last + 1]) + rest),
        ("target-1", "of target 1", references([], encode_map([(1, row) for row in rows])) + rest),
        ("targets-2", "of two targets", references([], encode_map([*values[:-1], (1, last)])) + rest),
        ("target-not-used", "a second target that no row has", references([], encode_map(values, table=table)) + rest),
        (
            "48-bits",
            "a row of 2^48",
            references([], encode_map(values, steps=far, escapes=struct.pack("<Q", TOP))) + rest,
        ),
        (
            "escape-48-bits",
            "an escape of 2^48",
            references([], encode_map(values, steps=far, escapes=struct.pack("<Q", TOP + 1))) + rest,
        ),
        ("only", "nothing after them", good),
    ):
        streams = family(owner, all_rows, [old, replace(new, blocks=[block])], 0)
        comment = f"references of codec {codec}: {comment}"
        yield built(f"references-{codec}-{name}", "codec", "read", comment, streams)
    without = family(owner, all_rows, [old, replace(new, base_part=0)], 0)
    comment = f"codec {codec} in a part without base_part"
    yield built(f"codec-{codec}-without-base-part", "codec", "read", comment, without)
    whole = Stream("rows", owner.role, owner.element, owner.elements, new.data, 0, codec, [good + rest])
    yield built(f"codec-{codec}-in-whole-stream", "codec", "read", f"codec {codec} in a whole stream", [whole])
    inner = replace(old, data=new.data, chunk_rows=0, places=(), codec=codec, blocks=[good + rest])
    owned = family(owner, all_rows, [inner, new], 0)
    yield built(f"codec-{codec}-in-base-part", "codec", "read", f"codec {codec} in a base part", owned)


def payload_faults() -> Iterator[Fault]:
    """The rules of residual.md."""
    head, good = references(NEAR_REFERENCES), encode_residual(NEAR_ROWS, OLD_ROWS, F32)
    # Every second value moves by 100 units: 8 bits, of which 4 are low bits.
    moved = bytes(byte ^ (at % 8 == 0) * 64 for at, byte in enumerate(OLD_ROWS))
    bits = encode_residual(moved, OLD_ROWS, F32)
    low = bits[8 : 8 + len(bits) - 8 - struct.unpack_from("<I", bits)[0]]
    assert len(low) >= 2
    symbols = bytes(15)

    def again(**more: bytes) -> bytes:
        return encode_residual(moved, OLD_ROWS, F32, **more)

    def framed(frame: bytes, turned: int = 0) -> bytes:
        return encode_residual(OLD_ROWS, OLD_ROWS, F32, turned, frame=frame)

    for name, comment, rest in (
        ("7-bytes", "shorter than its head", good[:7]),
        ("turned-2", "turned is 2", poke(4, b"\2")(good)),
        ("reserved", "reserved is not 0", poke(5, b"\1")(good)),
        ("reserved-2", "the last reserved byte is not 0", poke(7, b"\x80")(good)),
        ("frame-huge", "a frame of 2^32 - 1 bytes", poke(0, b"\xff\xff\xff\xff")(good)),
        ("frame-0", "no frame", bytes(8)),
        ("frame-less", "a symbol too few", framed(zstd_frame(symbols))),
        ("frame-more", "a symbol too many", framed(zstd_frame(symbols + bytes(2)))),
        ("frame-no-size", "a frame without content size", framed(zstd_frame(bytes(16), descriptor=0, extra=b"\0"))),
        ("long", "a byte after the frame", good + b"\0"),
        ("symbol-240", "a symbol above the greatest", framed(zstd_frame(symbols + b"\xf0"), 0)),
        ("symbol-255", "symbol 255", framed(zstd_frame(b"\xff" + symbols), 0)),
        ("low-bits-less", "low bits that end early", again(low=low[:-1])),
        ("low-bits-more", "a byte of low bits too many", again(low=low + b"\0")),
        ("low-bits-none", "symbols with low bits, but none there", again(low=b"")),
    ):
        yield fault(f"residual-{name}", f"codec 34: {comment}", head + rest)
    # One value of one low bit: seven bits of its byte are not used.
    one = encode_residual(bytes([OLD_ROWS[0] ^ 16]) + OLD_ROWS[1:], OLD_ROWS, F32)
    assert len(one) == 8 + 1 + struct.unpack_from("<I", one)[0]
    yield fault(
        "residual-low-bits-top", "codec 34: an unused bit is not 0", head + poke(8, bytes([one[8] | 0x80]))(one)
    )
    turned = encode_residual(OLD_ROWS, OLD_ROWS, F32, 1, frame=zstd_frame(bytes(15) + bytes([_turned(240)])))
    yield fault("residual-symbol-turned", "codec 34: a symbol above the greatest once turned back", head + turned)
    for element in (1, 6):
        owner = Stream("numbers", 2, element, 4, b"")
        old = part(owner, 1, noise("numbers", 16 * owner.row_bytes))
        block = references(range(16)) + encode_residual(old.data, old.data, element)
        at = len(references(range(16))) + 4
        new = replace(part(owner, 2, old.data), codec=RESIDUAL, base_part=1, blocks=[poke(at, b"\1")(block)])
        streams = family(owner, [(2, 0)], [old, new], 0)
        yield built(f"residual-turned-of-type-{element}", "codec", "read", "codec 34: turned, of integers", streams)


def _turned(symbol: int) -> int:
    """A symbol of the last value, turned by the exponent of its base value."""
    exponent = struct.unpack_from("<I", OLD_ROWS, len(OLD_ROWS) - 4)[0] >> 23 & 255
    return 1 + (symbol - 1 + (exponent << 3)) % 255


def faults() -> Iterator[Fault]:
    rest = encode_residual(NEAR_ROWS, OLD_ROWS, F32)
    yield from reference_faults(OWNER, base_part(), near_part(2), NEAR_REFERENCES, rest)
    yield from payload_faults()
