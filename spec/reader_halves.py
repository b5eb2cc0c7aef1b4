"""Codecs 5, 6 and 7 for reader.py: half floats, and f32 rows that follow from narrower values."""

from __future__ import annotations

import struct

import numpy as np
from reader_codecs import DTYPES, TYPES, Bytes, decode, in_codec


def decode_half(block: bytes, raw_bytes: int, place: str) -> Bytes:
    """Codecs 5 (float16) and 6 (bfloat16)."""
    count = raw_bytes // 2
    in_codec(len(block) >= 8, place, "8 bytes or more", len(block))
    frame_bytes, reserved = struct.unpack_from("<II", block)
    in_codec(len(block) == 8 + frame_bytes + count, place, "length 8 + frame + 1 a value", len(block))
    in_codec(reserved == 0, place, "reserved 0", reserved)
    pairs = np.empty((count, 2), np.uint8)
    pairs[:, 1] = decode(1, "u8", block[8 : 8 + frame_bytes], count, place)
    pairs[:, 0] = np.frombuffer(block, np.uint8, offset=8 + frame_bytes)
    rotated = pairs.view("<u2").ravel()
    return ((rotated >> 1) | (rotated << 15)).view(np.uint8)


# Codec 7: element type number -> codec of the inner block.
INNER = {1: 1, 2: 1, 4: 3, 9: 5, 10: 6}


def decode_narrow(block: bytes, raw_bytes: int, row_elements: int, place: str) -> Bytes:
    """Codec 7: numpy rounds float32 products and quotients to nearest even and fuses nothing."""
    row_count, odd = divmod(raw_bytes, 4 * row_elements)
    in_codec(odd == 0, place, "whole rows", raw_bytes)
    in_codec(len(block) >= 16, place, "16 bytes or more", len(block))
    rule, number, reserved, exception_count, more = struct.unpack_from("<BBHIQ", block)
    in_codec(rule <= 2, place, "rule 0, 1 or 2", rule)
    in_codec(number in INNER, place, "element type 1, 2, 4, 9 or 10", number)
    in_codec(reserved == more == 0, place, "reserved 0", f"{reserved} and {more}")
    in_codec(exception_count <= row_count, place, f"at most {row_count} exceptions", exception_count)
    kept_count = row_count - exception_count
    ends = np.cumsum([16, 4 * exception_count, 4 * row_elements * exception_count, 4 * kept_count if rule else 0])
    in_codec(len(block) >= ends[-1], place, f"{ends[-1]} bytes or more", len(block))
    parts = [block[start:end] for start, end in zip(ends, [*ends[1:], None], strict=True)]
    numbers, scales = np.frombuffer(parts[0], "<u4").astype("<i8"), np.frombuffer(parts[2], "<f4")
    in_codec(np.all(np.diff(numbers) > 0), place, "exceptions in order")
    in_codec(np.all(numbers < row_count), place, f"exceptions below {row_count}")
    bits = scales.view("<u4")
    in_codec(np.all((bits >= 0x00800000) & (bits < 0x7F800000)), place, "positive, finite, normal scales")
    name = TYPES[number]
    inner_bytes = kept_count * row_elements * np.dtype(DTYPES[name]).itemsize
    values = decode(INNER[number], name, parts[3], inner_bytes, place).view(DTYPES[name]).reshape(-1, row_elements)
    with np.errstate(all="ignore"):  # what a writer must not store has no meaning, but no warning either
        wide = (values.astype("<u4") << 16).view("<f4") if name == "bf16" else values.astype("<f4")
        if rule == 1:
            wide = wide * scales[:, None]
        elif rule == 2:
            wide = wide / scales[:, None]
    rows = np.empty((row_count, row_elements), "<f4")
    rows.view("<u4")[np.isin(np.arange(row_count), numbers, invert=True)] = wide.view("<u4")
    rows.view("<u4")[numbers] = np.frombuffer(parts[1], "<u4").reshape(-1, row_elements)
    return rows.ravel().view(np.uint8)
