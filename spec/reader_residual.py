"""Codec 34 for reader.py: rows against base rows, a symbol of one byte and some low bits for each value."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from reader_codecs import DTYPES, SLAB_VALUES, Bytes, Words, decode, in_codec

# Bytes of a value -> bits behind the leading one of a number that its symbol holds.
FRACTION_BITS = {1: 7, 2: 4, 4: 3, 8: 2}
# Floats: the first bit of the exponent and the bits of it.
EXPONENTS = {"f16": (10, 5), "bf16": (7, 8), "f32": (23, 8), "f64": (52, 11)}


def _bits_at(padded: Bytes, starts: NDArray[np.int64], widths: Words) -> Words:
    """The `widths` (up to 62) bits from each of `starts` on; `padded` has 9 bytes after the last bit."""
    first, shift = starts >> 3, (starts & 7).astype("<u8")
    word = np.zeros(len(starts), "<u8")
    for byte in range(8):
        word |= padded[first + byte].astype("<u8") << np.uint64(8 * byte)
    # A shift by 64 means nothing: the ninth byte goes up in two steps.
    ninth = padded[first + 8].astype("<u8") << np.uint64(56) << (np.uint64(8) - shift)
    ninth[shift == 0] = 0
    result: Words = ((word >> shift) | ninth) & ((np.uint64(1) << widths) - np.uint64(1))
    return result


def decode_residual(
    block: bytes, base: Bytes, raw_bytes: int, element_type: str, place: str = "residual block"
) -> Bytes:
    """Spec codecs/residual.md, after the references: exactly `raw_bytes` bytes or a fault."""
    value_bytes = np.dtype(DTYPES[element_type]).itemsize
    in_codec(raw_bytes % value_bytes == 0, place, f"whole values of {value_bytes} bytes", raw_bytes)
    in_codec(len(base) == raw_bytes, place, f"{raw_bytes} bytes of base rows", len(base))
    in_codec(len(block) >= 8, place, "8 bytes or more", len(block))
    frame_bytes, turned = struct.unpack_from("<IB", block)
    in_codec(turned <= (element_type in EXPONENTS), place, "turned 0, or 1 with floats", turned)
    in_codec(not any(block[5:8]), place, "reserved 0", block[5:8].hex())
    low_bytes = len(block) - 8 - frame_bytes
    in_codec(low_bytes >= 0, place, f"a frame of up to {len(block) - 8} bytes", frame_bytes)
    count = raw_bytes // value_bytes
    symbols = decode(1, "u8", block[8 + low_bytes :], count, place)
    padded = np.zeros(low_bytes + 9, np.uint8)
    padded[:low_bytes] = np.frombuffer(block, np.uint8, low_bytes, 8)

    raw, at = np.empty(count, f"<u{value_bytes}"), 0
    bases = np.ascontiguousarray(base).view(raw.dtype)
    for start in range(0, count, SLAB_VALUES):
        part = slice(start, start + SLAB_VALUES)
        raw[part], at = _values(symbols[part], bases[part], padded, at, element_type, bool(turned), place)
    in_codec(low_bytes == -(-at // 8), place, f"{-(-at // 8)} bytes of low bits", low_bytes)
    in_codec(at % 8 == 0 or padded[low_bytes - 1] >> (at % 8) == 0, place, "unused top bits 0")
    return raw.view(np.uint8)


def _values(
    symbols: Bytes,
    base: NDArray[np.unsignedinteger],
    padded: Bytes,
    at: int,
    element_type: str,
    turned: bool,
    place: str,
) -> tuple[Words, int]:
    """Values of one slab, whose low bits begin at bit `at`, and where they end."""
    bits, bases = 8 * base.dtype.itemsize, base.astype("<u8")
    fraction = np.uint64(FRACTION_BITS[base.dtype.itemsize])
    top, mask, one = np.uint64(1 << bits - 1), np.uint64((1 << bits) - 1), np.uint64(1)
    own = symbols.astype(np.int64)
    if turned:
        shift, width = EXPONENTS[element_type]
        turn = (bases >> np.uint64(shift) & np.uint64((1 << width) - 1)) << fraction
        own = np.where(own == 0, 0, 1 + (own - 1 - turn.astype(np.int64)) % 255)
    greatest = (bits - int(fraction) + 1 << int(fraction)) - 1
    in_codec(np.all(own <= greatest), place, f"symbols up to {greatest}", own.max(initial=0))
    own = own.astype("<u8")
    widths = np.maximum(own >> fraction, one) - one
    ends = at + np.cumsum(widths.astype(np.int64))
    end = int(ends[-1]) if len(ends) else at
    in_codec(end <= 8 * (len(padded) - 9), place, f"{-(-end // 8)} bytes of low bits or more", len(padded) - 9)
    lows = _bits_at(padded, ends - widths.astype(np.int64), widths)
    numbers = ((own - (widths << fraction)) << widths) | lows
    steps = (numbers >> one) ^ (np.uint64(0) - (numbers & one))
    if element_type not in EXPONENTS:
        return (bases + steps) & mask, end
    ordered = (np.where(bases & top, ~bases, bases ^ top) + steps) & mask
    return np.where(ordered & top, ordered ^ top, ~ordered) & mask, end
