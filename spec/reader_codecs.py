"""Checks and codecs for reader.py: faults, CRC-64, the JSON rules, and one chunk from its block.

CRC-64 is plain numpy (many lanes side by side, then combined; about 300 MB/s): numba would be some times faster
but costs a second at every start and a second code path.
"""

from __future__ import annotations

import json
import re
import struct
from functools import partial
from typing import Any, NoReturn, TypeAlias

import numpy as np
import zstandard
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Words: TypeAlias = NDArray[np.uint64]

WINDOW_BYTES_MAX, SLAB_VALUES, U64_MAX = 1 << 27, 1 << 22, (1 << 64) - 1
# Spec 5.2: number -> name, numpy type (bf16 has none: its bits).
TYPES = {1: "u8", 2: "i8", 3: "u16", 4: "i16", 5: "u32", 6: "i32", 7: "u64", 8: "i64", 9: "f16", 10: "bf16", 11: "f32",
         12: "f64"}  # fmt: skip
DTYPES = {"u8": "u1", "i8": "i1", "u16": "<u2", "i16": "<i2", "u32": "<u4", "i32": "<i4", "u64": "<u8", "i64": "<i8",
          "f16": "<f2", "bf16": "<u2", "f32": "<f4", "f64": "<f8"}  # fmt: skip


class ArchiveFault(Exception):
    """Something the spec tells a reader to refuse; `layer` is one of the names in section 10."""

    def __init__(self, layer: str, place: str, detail: str) -> None:
        super().__init__(f"{layer}: {place}: {detail}")
        self.layer, self.place, self.detail = layer, place, detail


def need(layer: str, ok: object, place: str, expected: object, found: object = None) -> None:
    if not ok:
        raise ArchiveFault(layer, place, f"expected {expected}" + ("" if found is None else f", found {found!s:.200}"))


in_codec = partial(need, "codec")


def _advance(table: Words, register: Words) -> Words:
    """The register after the zero bytes that `table` stands for; linear, so eight look-ups a value."""
    parts = register.view(np.uint8).reshape(-1, 8)
    result: Words = table[0].take(parts[:, 0])
    for byte in range(1, 8):
        result ^= table[byte].take(parts[:, byte])
    return result


def _crc_tables() -> list[Words]:
    """Table k advances a register by 8 x 2^k zero bytes."""
    polynomial = int(f"{0xAD93D23594C93659:064b}"[::-1], 2)
    first = np.arange(256, dtype="<u8")
    for _ in range(8):
        first = (first >> 1) ^ (first & 1) * np.uint64(polynomial)
    rows = [first]
    for _ in range(7):
        rows.insert(0, (rows[0] >> 8) ^ first[rows[0] & 255])
    tables = [np.stack(rows)]
    for _ in range(20):
        tables.append(_advance(tables[-1], tables[-1].ravel()).reshape(8, 256))
    return tables


CRC_TABLES = _crc_tables()


def crc64(data: bytes | Bytes, crc: int = 0) -> int:
    """CRC-64/NVME; `crc` continues an earlier value."""
    whole, register = np.frombuffer(data, np.uint8), crc ^ U64_MAX
    for start in range(0, len(whole), 1 << 20):
        part = whole[start : start + (1 << 20)]
        if len(part) < 8:
            for byte in part.tolist():
                register = int(CRC_TABLES[0][7][(register ^ byte) & 255]) ^ register >> 8
            continue
        # Zero bytes in front leave a zero register alone, so padding goes there and the register into the first bytes.
        level = max(0, (len(part) // 8 - 1).bit_length() - 12)
        lanes = 1 << (-(-len(part) // (8 << level)) - 1).bit_length()
        padded = np.zeros(lanes * (8 << level), np.uint8)
        padded[-len(part) :] = part
        padded[len(padded) - len(part) :][:8] ^= np.frombuffer(struct.pack("<Q", register), np.uint8)
        columns = np.ascontiguousarray(padded.view("<u8").reshape(lanes, -1).T)
        state = np.zeros(lanes, "<u8")
        for column in columns:
            state = _advance(CRC_TABLES[0], state ^ column)
        while len(state) > 1:
            state = _advance(CRC_TABLES[level], np.ascontiguousarray(state[::2])) ^ state[1::2]
            level += 1
        register = int(state[0])
    return register ^ U64_MAX


def parse_json(data: bytes, layer: str) -> dict[str, Any]:
    """Spec 8: an object; integers of 64 bits, no repeated key, nesting at most 32."""

    def refuse(text: str) -> NoReturn:
        raise ValueError(f"number {text[:40]}")

    def integer(text: str) -> int:
        if len(text) > 20 or text == "-0" or not -(1 << 63) <= int(text) <= U64_MAX:
            refuse(text)
        return int(text)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) != len(result := dict(pairs)):
            raise ValueError("a repeated key")
        return result

    outside = np.frombuffer(re.sub(rb'(?s)"(?:[^"\\]+|\\.)*+"?', b"", data), np.uint8)
    steps = np.isin(outside, list(b"[{")).astype(np.int64) - np.isin(outside, list(b"]}"))
    need(layer, np.max(np.cumsum(steps), initial=0) <= 32, "JSON", "nesting of at most 32")
    try:
        value = json.loads(data.decode(), parse_float=refuse, parse_constant=refuse, parse_int=integer,
                           object_pairs_hook=unique)  # fmt: skip
        json.dumps(value, ensure_ascii=False).encode()  # lone surrogates
    except ValueError as error:
        raise ArchiveFault(layer, "JSON", f"expected JSON as in section 8, found {error}") from None
    need(layer, isinstance(value, dict), "JSON", "an object")
    return dict(value)


def _decode_zstd(block: bytes, raw_bytes: int, place: str) -> Bytes:
    in_codec(block[:4] == b"\x28\xb5\x2f\xfd", place, "a zstd frame", block[:4].hex())
    try:
        frame = zstandard.get_frame_parameters(block)
        in_codec(frame.content_size == raw_bytes, place, f"content size {raw_bytes}", frame.content_size)
        in_codec(frame.dict_id == 0, place, "no dictionary", frame.dict_id)
        in_codec(frame.window_size <= WINDOW_BYTES_MAX, place, "a window up to 128 MiB", frame.window_size)
        decoder = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
        raw = np.frombuffer(decoder.decompress(block, allow_extra_data=False), np.uint8)
    except zstandard.ZstdError as error:
        raise ArchiveFault("codec", place, f"expected one whole zstd frame, found: {error}") from None
    in_codec(len(raw) == raw_bytes, place, f"{raw_bytes} bytes", len(raw))
    return raw


def _decode_float32(block: bytes, raw_bytes: int, place: str) -> Bytes:
    count = raw_bytes // 4
    in_codec(len(block) >= 8, place, "8 bytes or more", len(block))
    frame_bytes, reserved = struct.unpack_from("<II", block)
    in_codec(len(block) == 8 + frame_bytes + 3 * count, place, "length 8 + frame + 3 a value", len(block))
    in_codec(reserved == 0, place, "reserved 0", reserved)
    words = np.empty((count, 4), np.uint8)
    words[:, 3] = _decode_zstd(block[8 : 8 + frame_bytes], count, place)
    words[:, :3] = np.frombuffer(block, np.uint8, offset=8 + frame_bytes).reshape(count, 3)
    rotated = words.view("<u4").ravel()
    return ((rotated >> 1) | (rotated << 31)).view(np.uint8)


def unpack_bits(packed: Bytes, count: int, width: int, place: str) -> Words:
    """`count` numbers of `width` bits, the first in the lowest bits; all of `packed`, its unused top bits 0."""
    in_codec(len(packed) == -(-count * width // 8), place, f"{-(-count * width // 8)} bytes of bits", len(packed))
    spare = len(packed) * 8 - count * width
    in_codec(spare == 0 or packed[-1] >> (8 - spare) == 0, place, "unused top bits 0")
    values = np.empty(count, "<u8")
    for start in range(0, count, SLAB_VALUES):
        part = values[start : start + SLAB_VALUES]
        # Eight numbers fill `width` whole bytes: a row of the grid.
        grid = np.zeros((-(-len(part) // 8), width), np.uint8)
        piece = packed[start // 8 * width :][: grid.size]
        grid.ravel()[: len(piece)] = piece
        numbers = np.zeros(len(grid) * 8, "<u8")
        for lane in range(8):
            for column in range(lane * width // 8, -(-(lane + 1) * width // 8)):
                byte, shift = grid[:, column].astype("<u8"), 8 * column - lane * width
                numbers[lane::8] |= byte << np.uint64(shift) if shift >= 0 else byte >> np.uint64(-shift)
        part[:] = numbers[: len(part)] & np.uint64((1 << width) - 1)
    return values


def _decode_integers(codec: int, block: bytes, element_bytes: int, raw_bytes: int, place: str) -> Bytes:
    """Codecs 3 (bitpack) and 4 (affine): a base, then numbers of some bits or one step."""
    head, count = (16 if codec == 3 else 24), raw_bytes // element_bytes
    in_codec(len(block) >= head, place, f"{head} bytes or more", len(block))
    base, width_or_step, own = struct.unpack_from("<QBB" if codec == 3 else "<QQB", block)
    reserved = block[10:16] if codec == 3 else block[17:24]
    in_codec(own == element_bytes, place, f"e = {element_bytes}", own)
    in_codec(not any(reserved), place, "reserved 0", reserved.hex())
    top, bits = (1 << 8 * element_bytes) - 1, 8 * element_bytes
    in_codec(base <= top, place, f"base up to {top}", base)
    in_codec(width_or_step <= (bits if codec == 3 else top), place, "a width or step within e", width_or_step)
    packed = np.frombuffer(block, np.uint8, offset=head)
    if codec == 3:
        numbers = unpack_bits(packed, count, width_or_step, place)
    else:
        in_codec(len(packed) == 0, place, "24 bytes", len(block))
        numbers = np.arange(count, dtype="<u8") * np.uint64(width_or_step)
    return (numbers + np.uint64(base)).astype(f"<u{element_bytes}").view(np.uint8)


# Codec -> first letters of the element types that its page allows.
ALLOWED = {2: ("f32",), 3: ("u", "i"), 4: ("u", "i"), 5: ("f16",), 6: ("bf16",), 7: ("f32",), 9: ("i32", "u32"),
           10: ("u", "i")}  # fmt: skip


def decode(codec: int, element_type: str, block: bytes, raw_bytes: int, place: str, row_elements: int = 1) -> Bytes:
    """Spec 7: exactly `raw_bytes` bytes or a fault."""
    if codec == 0:
        in_codec(len(block) == raw_bytes, place, f"{raw_bytes} bytes", len(block))
        return np.frombuffer(block, np.uint8)
    if codec == 1:
        return _decode_zstd(block, raw_bytes, place)
    in_codec(codec in ALLOWED, place, "a codec that may stand here", codec)
    in_codec(element_type.startswith(ALLOWED[codec]), place, f"an element type of codec {codec}", element_type)
    if codec == 2:
        return _decode_float32(block, raw_bytes, place)
    if codec in (5, 6, 7):
        import reader_halves  # which needs what stands above

        if codec == 7:
            return reader_halves.decode_narrow(block, raw_bytes, row_elements, place)
        return reader_halves.decode_half(block, raw_bytes, place)
    if codec in (9, 10):
        import reader_links  # likewise

        if codec == 9:
            return reader_links.decode_links(block, element_type, row_elements, raw_bytes, place)
        return reader_links.decode_lists(block, np.dtype(DTYPES[element_type]).itemsize, raw_bytes, place)
    return _decode_integers(codec, block, np.dtype(DTYPES[element_type]).itemsize, raw_bytes, place)
