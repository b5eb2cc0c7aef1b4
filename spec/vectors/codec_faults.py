"""The vectors of blocks that a decoder must refuse: the CRC is right, the codec's page is not kept."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import links
from faults import Fault, insert, poke
from kit import (
    AFFINE,
    BF16,
    BFLOAT16,
    BITPACK,
    F16,
    F32,
    F64,
    FLOAT16,
    FLOAT32,
    NARROW,
    U8,
    U32,
    ZSTD,
    Stream,
    build,
    encode_affine,
    encode_bitpack,
    encode_float32,
    encode_half,
    encode_narrow,
    noise,
    zstd_block,
    zstd_frame,
)
from whole import SQUARES, SQUARES_FRAME

Maker = Callable[..., Fault]


def cases() -> Iterator[Fault]:
    def fault(
        name: str,
        comment: str,
        codec: int,
        block: bytes,
        element: int = U8,
        raw: bytes = noise("codec", 96),
        elements: int = 1,
    ) -> Fault:
        streams = [Stream("good", 2, U8, 1, b"good"), Stream("bad", 2, element, elements, raw, 0, codec, [block])]
        return Fault(f"codec-{name}", "codec", "read", comment, build(streams))

    raw = noise("codec", 96)
    yield fault("raw-short", "a byte too few", 0, raw[:-1])
    yield fault("raw-long", "a byte too many", 0, raw + b"x")
    for number in (31, 32, 65535):
        yield fault(f"unknown-{number}", "a codec that 1.0 does not know", number, raw)
    frame, empty, skippable = zstd_frame(raw), zstd_frame(b""), struct.pack("<II", 0x184D2A50, 4) + b"skip"
    for name, comment, block in (
        ("no-content-size", "the content size is missing", zstd_frame(raw, descriptor=0, extra=b"\x00")),
        ("content-size", "content and its size are one byte longer than the chunk", zstd_frame(raw + b"x")),
        ("content-size-small", "content and its size are one byte shorter", zstd_frame(raw[:-1])),
        ("content-size-lies", "the size is right, the content shorter", zstd_frame(raw[:-1], content_size=96)),
        ("content-size-lies-2", "the size is right, the content longer", zstd_frame(raw + b"x", content_size=96)),
        ("trailing-byte", "a byte after the frame", frame + b"\0"),
        ("second-frame", "an empty frame after the frame", frame + empty),
        ("skippable-before", "a skippable frame before the frame", skippable + frame),
        ("skippable-after", "a skippable frame after the frame", frame + skippable),
        ("skippable-only", "only a skippable frame", skippable),
        ("magic", "another magic number", b"\x27" + frame[1:]),
        ("dictionary", "a dictionary id", zstd_frame(raw, descriptor=0xA1, extra=b"\x07")),
        ("window", "a window of 256 MiB", zstd_frame(raw, descriptor=0x80, extra=b"\x90")),
        ("window-129", "a window of 144 MiB", zstd_frame(raw, descriptor=0x80, extra=b"\x89")),
        ("truncated", "the frame ends early", frame[:-1]),
        ("header-only", "the frame ends in its header", frame[:7]),
        ("not-last", "no last block", frame[:9] + zstd_block(0, 96, raw, False)),
        ("reserved-block", "a block of the reserved type", frame[:9] + zstd_block(3, 96, raw)),
        ("reserved-bit", "the reserved bit of the frame header", zstd_frame(raw, descriptor=0xA8)),
        ("short", "shorter than a magic number", frame[:3]),
    ):
        yield fault(f"zstd-{name}", comment, ZSTD, block)
    yield fault("zstd-checksum", "another content checksum", ZSTD, poke(-1, b"\0")(SQUARES_FRAME), raw=SQUARES)
    yield from float32(fault)
    yield from integers(fault)
    yield from halves(fault)
    yield from narrow(fault)
    yield from links.faults(fault)


def float32(fault: Maker) -> Iterator[Fault]:
    raw = noise("codec", 96)
    good, exponents = encode_float32(raw), (96 // 4)
    frame_bytes = struct.unpack_from("<I", good)[0]
    for name, comment, block in (
        ("long", "a byte too many", good + b"\0"),
        ("short", "a byte too few", good[:-1]),
        ("7-bytes", "shorter than its head", good[:7]),
        ("frame-huge", "a frame of 2^32 - 1 bytes", poke(0, b"\xff\xff\xff\xff")(good)),
        ("reserved", "reserved is not 0", poke(7, b"\1")(good)),
        (
            "frame-slack",
            "a byte between frame and planes",
            struct.pack("<I", frame_bytes + 1) + insert(4 + frame_bytes, b"\0")(good[4:]),
        ),
        (
            "frame-count",
            "the frame has one value too few",
            encode_float32(raw, zstd_frame(bytes(range(exponents - 1)))),
        ),
        ("frame-0", "an empty frame", encode_float32(raw, b"")),
    ):
        yield fault(f"float32-{name}", comment, FLOAT32, block, F32)
    yield fault("float32-of-u32", "a stream of element type u32", FLOAT32, good, U32)


def integers(fault: Maker) -> Iterator[Fault]:
    raw = struct.pack("<5I", 9, 10, 11, 12, 13)
    good, line = encode_bitpack(raw, 4, 9, 3), encode_affine(9, 1, 4)
    for name, comment, codec, block in (
        ("bitpack-e", "e of another type", BITPACK, poke(9, b"\x08")(good)),
        ("bitpack-base", "a base of 33 bits", BITPACK, poke(4, b"\1")(good)),
        ("bitpack-reserved", "reserved is not 0", BITPACK, poke(15, b"\1")(good)),
        ("bitpack-long", "a byte too many", BITPACK, good + b"\0"),
        ("bitpack-short", "a byte too few", BITPACK, good[:-1]),
        ("bitpack-15-bytes", "shorter than its head", BITPACK, good[:15]),
        ("bitpack-width", "a width of 33 bits", BITPACK, poke(8, b"\x21")(good[:16] + bytes(21))),
        ("bitpack-width-huge", "a width of 255 bits", BITPACK, poke(8, b"\xff")(good)),
        ("bitpack-top-bit", "an unused top bit is not 0", BITPACK, good[:-1] + bytes([good[-1] | 0x80])),
        ("affine-e", "e of another type", AFFINE, poke(16, b"\x02")(line)),
        ("affine-base", "a base of 33 bits", AFFINE, poke(4, b"\1")(line)),
        ("affine-step", "a step of 64 bits", AFFINE, poke(15, b"\x80")(line)),
        ("affine-reserved", "reserved is not 0", AFFINE, poke(23, b"\1")(line)),
        ("affine-long", "a byte too many", AFFINE, line + b"\0"),
        ("affine-short", "a byte too few", AFFINE, line[:-1]),
    ):
        yield fault(name, comment, codec, block, U32, raw)
    yield fault("bitpack-of-f32", "a stream of element type f32", BITPACK, good, F32, raw)
    yield fault("affine-of-f64", "a stream of element type f64", AFFINE, encode_affine(0, 0, 8), F64, bytes(16))


def halves(fault: Maker) -> Iterator[Fault]:
    raw = noise("codec", 96)
    good, half = encode_half(raw), struct.pack("<H", 1)
    frame_bytes = struct.unpack_from("<I", good)[0]
    slack = struct.pack("<I", frame_bytes + 1) + insert(4 + frame_bytes, b"\0")(good[4:])
    for name, comment, block in (
        ("long", "a byte too many", good + b"\0"),
        ("short", "a byte too few", good[:-1]),
        ("7-bytes", "shorter than its head", good[:7]),
        ("frame-huge", "a frame of 2^32 - 1 bytes", poke(0, b"\xff\xff\xff\xff")(good)),
        ("reserved", "reserved is not 0", poke(4, b"\1")(good)),
        ("frame-slack", "a byte between frame and lower bytes", slack),
        ("frame-count", "the frame has one value too few", encode_half(raw, zstd_frame(bytes(range(47))))),
    ):
        yield fault(f"float16-{name}", comment, FLOAT16, block, F16)
    yield fault("bfloat16-long", "a byte too many", BFLOAT16, good + b"\0", BF16)
    yield fault("float16-of-bf16", "a stream of element type bf16", FLOAT16, good, BF16)
    yield fault("bfloat16-of-f16", "a stream of element type f16", BFLOAT16, encode_half(half), F16, half)


def narrow(fault: Maker) -> Iterator[Fault]:
    # Four rows of one element: 1 / 3, kept as it is, 1 / 3, 0.
    one_third, kept = struct.pack("<f", 1 / 3), struct.pack("<I", 0x7FC00001)
    raw, inner = one_third + kept + one_third + bytes(4), encode_half(struct.pack("<3H", 0x3F80, 0x3F80, 0))
    scales = struct.pack("<3f", 3, 3, 1)
    good = encode_narrow(2, BF16, inner, scales, r1=kept)
    two = encode_narrow(2, BF16, encode_half(struct.pack("<2H", 0x3F80, 0)), scales[4:], r1=kept, r2=one_third)
    for name, comment, block in (
        ("15-bytes", "shorter than its head", good[:15]),
        ("rule", "rule 3", poke(0, b"\3")(good)),
        ("type-0", "no narrow type", poke(1, b"\0")(good)),
        ("type-f32", "values of f32 are not narrow", poke(1, b"\x0b")(good)),
        ("reserved", "reserved is not 0", poke(3, b"\1")(good)),
        ("reserved-2", "reserved is not 0", poke(15, b"\1")(good)),
        ("exceptions-5", "more exceptions than rows", poke(4, b"\5")(good)),
        ("exceptions-huge", "2^32 - 1 exceptions", poke(4, b"\xff\xff\xff\xff")(good)),
        ("exception-past-end", "an exception that is no row", poke(16, b"\4")(good)),
        ("exception-twice", "an exception twice", poke(20, b"\1")(two)),
        ("exceptions-in-disorder", "exceptions that go down", poke(20, b"\0")(two)),
        ("scale-0", "a scale of zero", poke(24, bytes(4))(good)),
        ("scale-negative", "a negative scale", poke(27, b"\xc0")(good)),
        ("scale-subnormal", "a subnormal scale", poke(24, b"\xff\xff\x7f\0")(good)),
        ("scale-infinite", "an infinite scale", poke(24, b"\0\0\x80\x7f")(good)),
        ("scale-nan", "a scale that is no number", poke(24, b"\0\0\xc0\x7f")(good)),
        ("cut-in-numbers", "ends in the numbers of the exceptions", good[:18]),
        ("cut-in-rows", "ends in the rows kept as they are", good[:22]),
        ("cut-in-scales", "ends in the scales", good[:30]),
        ("no-inner", "no inner block", good[:36]),
        ("inner-short", "the inner block ends early", good[:-1]),
        ("long", "a byte too many", good + b"\0"),
        (
            "inner-rows",
            "the inner block has a row too many",
            encode_narrow(2, BF16, encode_half(bytes(8)), scales, r1=kept),
        ),
        ("inner-codec", "the inner block is one of another type", poke(1, b"\4")(good)),
    ):
        yield fault(f"narrow-{name}", comment, NARROW, block, F32, raw)
    numbers = encode_narrow(0, U8, zstd_frame(bytes(4)))
    yield fault("narrow-of-u32", "a stream of element type u32", NARROW, numbers, U32, raw)
