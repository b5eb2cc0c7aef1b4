"""The vectors of half floats and of f32 rows that follow from narrower values.

All arithmetic is on integers and fractions, rounded to f32 by a rule written out below and not by a machine.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction

from kit import (
    BF16,
    BFLOAT16,
    F16,
    F32,
    FLOAT16,
    I8,
    I16,
    NARROW,
    U8,
    Stream,
    encode_bitpack,
    encode_half,
    encode_narrow,
    noise,
    zstd_frame,
)
from whole import Whole


def value_of(bits: int, exponent_bits: int, fraction_bits: int) -> Fraction:
    """A finite float; of f32, bf16 and f16."""
    exponent, fraction = bits >> fraction_bits & (1 << exponent_bits) - 1, bits & (1 << fraction_bits) - 1
    lowest = 2 - (1 << exponent_bits - 1) - fraction_bits
    whole = fraction if exponent == 0 else fraction | 1 << fraction_bits
    magnitude = whole * Fraction(2) ** (lowest + max(exponent, 1) - 1)
    return -magnitude if bits >> exponent_bits + fraction_bits else magnitude


def f32_bits(value: Fraction, negative: bool) -> int:
    """The nearest normal f32, ties to even; `negative` says which zero."""
    if value == 0:
        return int(negative) << 31
    magnitude, exponent = abs(value), 0
    while magnitude >= 2:
        magnitude, exponent = magnitude / 2, exponent + 1
    while magnitude < 1:
        magnitude, exponent = magnitude * 2, exponent - 1
    # Carries run into the exponent by themselves. Python rounds halves to even.
    return int(value < 0) << 31 | (exponent + 126 << 23) + round(magnitude * 2**23)


def rows_of(rule: int, values: list[list[tuple[Fraction, bool]]], scales: list[int]) -> bytes:
    """f32 rows; a value comes with its sign bit."""
    data = b""
    for row, bits in zip(values, scales, strict=True):
        scale = value_of(bits, 8, 23)
        made = [v if rule == 0 else v * scale if rule == 1 else v / scale for v, _ in row]
        data += struct.pack(f"<{len(row)}I", *(f32_bits(v, sign) for v, (_, sign) in zip(made, row, strict=True)))
    return data


def halves(element: int, count: int) -> tuple[bytes, list[tuple[Fraction, bool]]]:
    """Bits of f16 or bf16 near 1, zeros and (f16) subnormals among them."""
    exponent_bits, fraction_bits, middle = (5, 10, 0x3A00) if element == F16 else (8, 7, 0x3F00)
    draws = struct.unpack(f"<{count}H", noise(f"halves {element}", 2 * count))
    bits = [draw & 0x8000 | middle + (draw & (1 << fraction_bits + 1) - 1) for draw in draws]
    bits[1:4] = [0, 0x8000, 0x8003 if element == F16 else 0xB903]
    values = [(value_of(b, exponent_bits, fraction_bits), b >> 15 == 1) for b in bits]
    return struct.pack(f"<{count}H", *bits), values


def in_rows(values: list[tuple[Fraction, bool]], elements: int) -> list[list[tuple[Fraction, bool]]]:
    return [values[at : at + elements] for at in range(0, len(values), elements)]


def cases() -> Iterator[Whole]:
    every = struct.pack("<65536H", *range(65536))[:: 1 << 6]
    odd = struct.pack("<9H", 0, 0x8000, 0x7C00, 0xFC00, 0x7E01, 0xFFFF, 1, 0x8001, 0x3C00)
    rle = struct.pack("<6H", *[0x3C00] * 6)
    yield Whole(
        "float16",
        "signed zeros, infinities, NaNs, subnormals; a frame of one repeated byte; one value",
        [
            Stream("odd", 3, F16, 3, odd, 2, FLOAT16),
            Stream("same", 3, F16, 2, rle, 0, FLOAT16),
            Stream("one", 3, F16, 1, odd[8:10], 0, FLOAT16),
            Stream("noise", 3, F16, 16, every, 10, FLOAT16),
        ],
    )
    yield Whole("bfloat16", "the same bits as bf16", [Stream("odd", 3, BF16, 3, odd, 0, BFLOAT16)])
    streams = []
    scales = [0x3F9E377A, 0x00800000 + (100 << 23), 0x40490FDB, 0x3F800001, 0x3FFFFFFF, 0x42C80000]
    for element, name in ((F16, "f16"), (BF16, "bf16")):
        bits, values = halves(element, 6 * 5)
        for rule, word in enumerate(("plain", "multiplied", "divided")):
            block = encode_narrow(rule, element, encode_half(bits), struct.pack("<6I", *scales) if rule else b"")
            data = rows_of(rule, in_rows(values, 5), scales)
            streams.append(Stream(f"{name} {word}", 3, F32, 5, data, 0, NARROW, [block]))
    whole = list(range(-3, 9))
    for element, name, inner in (
        (U8, "u8", zstd_frame(bytes(v & 255 for v in whole))),
        (I8, "i8", zstd_frame(struct.pack("<12b", *whole))),
        (I16, "i16", encode_bitpack(struct.pack("<12h", *whole), 2, 65533, 4)),
    ):
        numbers = [(Fraction(v & 255 if element == U8 else v), False) for v in whole]
        for rule in (0, 2):
            data = rows_of(rule, in_rows(numbers, 2), scales)
            block = encode_narrow(rule, element, inner, struct.pack("<6I", *scales) if rule else b"")
            streams.append(Stream(f"{name} by rule {rule}", 3, F32, 2, data, 0, NARROW, [block]))
    yield Whole("narrow", "every narrow type and rule; quotients and products that must be rounded", streams)
    bits, values = halves(BF16, 3 * 4)
    kept = rows_of(2, in_rows(values, 4), scales[:3])
    rows = [kept[at : at + 16] for at in range(0, 48, 16)]
    strange = struct.pack("<4I", 0x7FC00001, 0xFF800000, 1, 0x80000000)
    streams = []
    for name, order in (("first", "xabc"), ("last", "abcx"), ("between", "axbxxc")):
        named = dict(zip("abcx", [*rows, strange], strict=True))
        exceptions = {f"r{number}": strange for number, letter in enumerate(order) if letter == "x"}
        block = encode_narrow(2, BF16, encode_half(bits), struct.pack("<3I", *scales[:3]), **exceptions)
        streams.append(Stream(name, 3, F32, 4, b"".join(named[letter] for letter in order), 0, NARROW, [block]))
    all_of_them = encode_narrow(0, U8, zstd_frame(b""), r0=strange, r1=strange)
    streams.append(Stream("all", 3, F32, 4, strange * 2, 0, NARROW, [all_of_them]))
    yield Whole("narrow-exceptions", "rows kept as they are: the first, the last, some between, all", streams)
