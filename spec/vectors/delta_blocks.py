"""Blocks of the codecs of deltas, value by value as their pages say: maps, references and rows against base rows."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from kit import BF16, ELEMENT_BYTES, F16, F32, F64, zstd_block, zstd_frame

Target = tuple[int, int]  # part_number and row


def run_frame(data: bytes) -> bytes:
    """A frame of an RLE block for the run at the beginning, and a raw block for what follows: some compression."""
    run = len(data) - len(data.lstrip(data[:1]))
    if run in (1, len(data)):
        return zstd_frame(data)
    blocks = zstd_block(1, run, data[:1], False) + zstd_block(0, len(data) - run, data[run:])
    return zstd_frame(b"", content_size=len(data))[:9] + blocks


GUARD = {1: 7, 2: 4, 4: 3, 8: 2}  # bits of a number that its symbol holds behind the leading one
EXPONENT = {F16: (10, 5), BF16: (7, 8), F32: (23, 8), F64: (52, 11)}


def encode_map(values: Sequence[Target], first_row: int = 0, positional: Sequence[int] = (), **more: bytes) -> bytes:
    """Codec 33, value by value as map.md says; targets come into the table as they come in the rows.

    `more` replaces what is made here: table, targets, steps (frames) or escapes.
    """
    order = list(dict.fromkeys(target for target, _ in values))
    last: dict[int, Target] = {}
    places, steps, escapes = b"", b"", b""
    for i, (target, row) in enumerate(values):
        if target in last:
            before, where = last[target]
            expected = before + (i - where if target in positional else 1)
        else:
            expected = first_row + i if target in positional else 0
        last[target] = (row, i)
        is_near = 0 <= row - expected <= 254
        places += bytes([order.index(target)])
        steps += bytes([row - expected if is_near else 255])
        escapes += b"" if is_near else struct.pack("<Q", row)
    table = b"".join(struct.pack("<HBB", target, target in positional, 0) for target in order)
    parts = {
        "table": table,
        "targets": zstd_frame(places),
        "steps": zstd_frame(steps),
        "escapes": escapes,
        **more,
    }
    sizes = (len(parts["targets"]), len(parts["steps"]), len(parts["escapes"]) // 8)
    return struct.pack("<B3xIII", len(parts["table"]) // 4, *sizes) + b"".join(parts.values())


def map_values(values: Sequence[Target]) -> bytes:
    return struct.pack(f"<{len(values)}Q", *(target << 48 | row for target, row in values))


def references(rows: Sequence[int], block: bytes | None = None) -> bytes:
    """What codecs 34 and 35 begin with."""
    block = encode_map([(0, row) for row in rows]) if block is None else block
    return struct.pack("<II", len(block), 0) + block


def _ordered(bits: int, size: int, is_float: bool) -> int:
    top = 1 << 8 * size - 1
    if not is_float:
        return bits
    return bits ^ (2 * top - 1) if bits & top else bits ^ top


def encode_residual(values: bytes, base: bytes, element: int, turned: int = 0, **more: bytes) -> bytes:
    """One value after another, as residual.md says; `more` replaces the symbols' frame or the low bits."""
    size, is_float = ELEMENT_BYTES[element], element in EXPONENT
    guard, modulus = GUARD[size], 1 << 8 * size
    symbols, low, low_bits = [], 0, 0
    for at in range(0, len(values), size):
        value, old = (int.from_bytes(data[at : at + size], "little") for data in (values, base))
        step = (_ordered(value, size, is_float) - _ordered(old, size, is_float)) % modulus
        step -= modulus if step >= modulus // 2 else 0
        number = 2 * step if step >= 0 else -2 * step - 1
        width = max(0, number.bit_length() - guard - 1)
        symbol = (number >> width) + (width << guard)
        low |= (number & (1 << width) - 1) << low_bits
        low_bits += width
        if turned and symbol:
            shift, bits = EXPONENT[element]
            symbol = 1 + (symbol - 1 + ((old >> shift & (1 << bits) - 1) << guard)) % 255
        symbols.append(symbol)
    frame = more.get("frame", run_frame(bytes(symbols)))
    tail = more.get("low", low.to_bytes(-(-low_bits // 8), "little"))
    return struct.pack("<IB3x", len(frame), turned) + tail + frame


def encode_edits(
    planes: dict[int, bytes], bits: bytes = b"", exceptions: Sequence[bytes] = (), **frames: bytes
) -> bytes:
    """Codec 35 from what is in its planes; `frames` maps pNUMBER to a frame in place of the one made here."""
    made = {number: frames.get(f"p{number}", run_frame(planes[number])) for number in planes}
    table = b"".join(struct.pack("<II", len(planes.get(n, b"")), len(made.get(n, b""))) for n in range(8))
    head = struct.pack("<II", len(exceptions), 0) + table
    return head + b"".join(made[n] for n in sorted(made)) + b"".join(exceptions) + bits + bytes(8)
