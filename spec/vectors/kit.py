"""A small writer of archives, from FORMAT.md alone: exact when asked, and wrong in one place when asked.

Every table is a dict or a list before it is packed, and `edits` may change it there: what lies above is then sealed
over the changed bytes, so that a fault is refused by its own layer. Frames of zstd are made by hand, because the bytes
of a compressor differ from version to version.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import blake3
import numpy as np

MAGIC = b"\x89VARK\r\n\x1a"
ARCHIVE_ID = bytes.fromhex("0190a7c5d2e87abc9def0123456789ab")
ELEMENT_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 8, 8: 8, 9: 2, 10: 2, 11: 4, 12: 8}
U8, I8, U16, I16, U32, I32, U64, I64, F16, BF16, F32, F64 = ELEMENT_BYTES
RAW, ZSTD, FLOAT32, BITPACK, AFFINE, FLOAT16, BFLOAT16, NARROW = range(8)
LINKS, LISTS = 9, 10
MAPPED, MAP, RESIDUAL, EDITS = 32, 33, 34, 35
Edit = Callable[[Any], Any]
Stage = Callable[[str, Any], Any]


def crc64(data: bytes | bytearray) -> int:
    """Bit by bit, as the polynomial says: slow and hard to get wrong."""
    register, polynomial = (1 << 64) - 1, 0x9A6C9329AC4BC9B5  # AD93D23594C93659 reflected
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (polynomial if register & 1 else 0)
    return register ^ (1 << 64) - 1


def digest(data: bytes) -> bytes:
    return bytes(blake3.blake3(data).digest())


def noise(label: str, byte_count: int) -> bytes:
    return bytes(blake3.blake3(label.encode()).digest(length=byte_count))


def to_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def zstd_block(kind: int, size: int, content: bytes, last: bool = True) -> bytes:
    return struct.pack("<I", size << 3 | kind << 1 | last)[:3] + content


def zstd_frame(data: bytes, *, descriptor: int = 0xA0, extra: bytes = b"", content_size: int | None = None) -> bytes:
    """A frame of one raw block (or one RLE block); `extra` stands before the content size (window, dictionary id)."""
    size = struct.pack("<I", len(data) if content_size is None else content_size) if descriptor & 0x80 else b""
    rle = len(data) > 1 and len(set(data)) == 1
    block = zstd_block(1, len(data), data[:1]) if rle else zstd_block(0, len(data), data)
    return b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + extra + size + block


def encode_float32(raw: bytes, frame: bytes | None = None) -> bytes:
    bits = np.frombuffer(raw, "<u4")
    words = bits << 1 | bits >> 31
    exponents, low = (words >> 24).astype("u1").tobytes(), words.view("u1").reshape(-1, 4)[:, :3].tobytes()
    frame = zstd_frame(exponents) if frame is None else frame
    return struct.pack("<II", len(frame), 0) + frame + low


def encode_half(raw: bytes, frame: bytes | None = None) -> bytes:
    bits = np.frombuffer(raw, "<u2")
    pairs = (bits << 1 | bits >> 15).view("u1").reshape(-1, 2)
    frame = zstd_frame(pairs[:, 1].tobytes()) if frame is None else frame
    return struct.pack("<II", len(frame), 0) + frame + pairs[:, 0].tobytes()


def encode_narrow(rule: int, element: int, inner: bytes, scales: bytes = b"", **exceptions: bytes) -> bytes:
    """`exceptions` maps rNUMBER to a row."""
    numbers = struct.pack(f"<{len(exceptions)}I", *(int(name[1:]) for name in exceptions))
    head = struct.pack("<BBHIQ", rule, element, 0, len(exceptions), 0)
    return head + numbers + b"".join(exceptions.values()) + scales + inner


def encode_bitpack(raw: bytes, element_bytes: int, base: int, width: int) -> bytes:
    stream = 0
    for number, value in enumerate(np.frombuffer(raw, f"<u{element_bytes}").tolist()):
        packed = (value - base) % (1 << 8 * element_bytes)
        assert packed < 1 << width
        stream |= packed << number * width
    count = len(raw) // element_bytes
    return struct.pack("<QBB6x", base, width, element_bytes) + stream.to_bytes(-(-count * width // 8), "little")


def encode_affine(base: int, step: int, element_bytes: int) -> bytes:
    return struct.pack("<QQB7x", base, step, element_bytes)


@dataclass(frozen=True)
class Place:
    """A block that lies elsewhere: `archive` counts from 1 in the ancestor table."""

    archive: int
    offset: int
    stored: int
    crc: int
    codec: int


@dataclass
class Stream:
    name: str
    role: int
    element: int
    elements: int
    data: bytes
    chunk_rows: int = 0  # 0: one chunk
    codec: int = RAW
    blocks: Sequence[bytes] | None = None  # None: made by the codec raw or a frame by hand
    places: Sequence[Place | None] = ()  # of the first chunks, as far as they lie in ancestors
    part_of: int = 0
    part_number: int = 0
    base_part: int = 0

    @property
    def row_bytes(self) -> int:
        return self.elements * ELEMENT_BYTES[self.element]

    @property
    def row_count(self) -> int:
        return len(self.data) // self.row_bytes

    def chunks(self) -> list[bytes]:
        step = (self.chunk_rows or max(1, self.row_count)) * self.row_bytes
        return [self.data[at : at + step] for at in range(0, len(self.data), step)]

    def place(self, chunk: int) -> Place | None:
        if self.codec == MAPPED and self.blocks is None:
            return Place(0, 0, 0, 0, MAPPED)
        return self.places[chunk] if chunk < len(self.places) else None

    def encoded(self) -> list[bytes]:
        """A block a chunk; of one that lies elsewhere it is not used."""
        if self.blocks is not None:
            return list(self.blocks)
        if self.codec == MAPPED:
            return [b"" for _ in self.chunks()]
        encode: dict[int, Callable[[bytes], bytes]] = {
            RAW: bytes,
            ZSTD: zstd_frame,
            FLOAT32: encode_float32,
            FLOAT16: encode_half,
            BFLOAT16: encode_half,
        }
        return [encode[self.codec](chunk) for chunk in self.chunks()]


PUBLIC = ("offset", "stored", "archive", "flags", "crc")
SEALED = ("digest", "codec", "flags2", "reserved", "more")
RECORD = (
    "name_offset",
    "name_bytes",
    "role",
    "element",
    "flags",
    "row_bytes",
    "elements",
    "reserved",
    "row_count",
    "chunk_rows",
    "first_entry",
    "chunk_count",
    "stored",
    "part_of",
    "part_number",
    "base_part",
    "end",
)
ANCESTOR = ("id", "bytes", "root", "reserved")
DIRECTORY = (
    "magic",
    "index_offset",
    "entry_count",
    "entries_per_block",
    "stream_count",
    "ancestors",
    "name_bytes",
    "seal_bytes",
    "overhead",
    "parity",
    "reserved",
)
TRAILER = (
    "directory_offset",
    "directory_bytes",
    "metadata_bytes",
    "archive_bytes",
    "archive_crc",
    "root",
    "id",
    "incompat",
    "ro_compat",
    "compat",
    "major",
    "minor",
    "reserved",
)


def _pack(layout: str, names: Sequence[str], fields: dict[str, Any]) -> bytes:
    return struct.pack("<" + layout, *(fields[name] for name in names))


def header_of(version: tuple[int, int], features: tuple[int, int, int], archive_id: bytes) -> bytes:
    head = MAGIC + struct.pack("<HHIQQQ", *version, 0, *features) + archive_id
    return head + struct.pack("<Q", crc64(head))


def _aligned(data: bytearray) -> int:
    data.extend(bytes(-len(data) % 64))
    return len(data)


def build(
    streams: Sequence[Stream],
    *,
    metadata: bytes | dict[str, Any] | None = None,
    plan: bytes | dict[str, Any] | None = None,
    entries_per_block: int = 3584,
    version: tuple[int, int] | None = None,
    features: tuple[int, int, int] | None = None,
    archive_id: bytes = ARCHIVE_ID,
    ancestors: Sequence[bytes] = (),
    block_order: Callable[[int], Any] = int,
    edits: dict[str, Edit] | None = None,
) -> bytes:
    """An archive; `edits` maps a stage to what changes it (the stages are the calls of `edit` below).

    `ancestors` are whole archives; where there are any, this is a delta, unless version or features say otherwise.
    """
    wanted = dict(edits or {})

    def edit(stage: str, value: Any) -> Any:
        change = wanted.pop(stage, None)
        changed = change(value) if change else None
        return value if changed is None else changed

    streams = list(streams)
    if plan is not None:
        streams.append(Stream("plan", 9, U8, 1, plan if isinstance(plan, bytes) else to_json(plan)))
    version = version or ((1, 1) if ancestors else (1, 0))
    features = features or ((2, 0, 0) if ancestors else (0, 0, 0))
    header = header_of(version, features, archive_id)
    data, entries = _blocks(streams, header, block_order, edit)
    index_offset = _aligned(data)
    edit("area", data)
    index_offset = len(data)
    index, tables = _index(entries, entries_per_block, ancestors, edit)
    directory = _directory(streams, index_offset, entries, entries_per_block, len(ancestors), tables, edit)
    if metadata is None:
        metadata = {"writer": "vark vectors 1"}
    metadata = metadata if isinstance(metadata, bytes) else to_json(metadata)
    data += edit("stored_index", index) + directory + metadata
    edit("header", data)
    fields = dict(
        zip(
            TRAILER,
            (
                len(data) - len(metadata) - len(directory),
                len(directory),
                len(metadata),
                len(data) + 128,
                crc64(data),
                digest(header + directory + metadata),
                archive_id,
                *features,
                *version,
                0,
            ),
            strict=True,
        )
    )
    edit("trailer", fields)
    trailer = _pack("QIIQQ32s16sQQQHHI", TRAILER, fields)
    trailer += struct.pack("<Q", crc64(trailer)) + MAGIC[::-1]
    whole = bytes(edit("file", bytes(data + edit("sealed_trailer", bytearray(trailer)))))
    assert not wanted, f"stages that do not exist: {wanted}"
    return whole


def _blocks(
    streams: list[Stream], header: bytes, order: Callable[[int], Any], edit: Stage
) -> tuple[bytearray, list[dict[str, Any]]]:
    blocks = [block for stream in streams for block in stream.encoded()]
    chunks = [(chunk, stream, stream.place(at)) for stream in streams for at, chunk in enumerate(stream.chunks())]
    blocks = edit("blocks", blocks)
    data = bytearray(header)
    entries: list[dict[str, Any]] = [{} for _ in blocks]
    for number in sorted(range(len(blocks)), key=order):
        chunk, stream, place = chunks[number]
        if place is None:
            place = Place(0, _aligned(data), len(blocks[number]), crc64(blocks[number]), stream.codec)
            data += blocks[number]
        values = (place.offset, place.stored, place.archive, 0, place.crc, digest(chunk), place.codec, 0, 0, 0)
        entries[number] = dict(zip(PUBLIC + SEALED, values, strict=True))
    edit("entries", entries)
    return data, entries


def _index(
    entries: list[dict[str, Any]], entries_per_block: int, ancestors: Sequence[bytes], edit: Stage
) -> tuple[bytes, bytes]:
    """The index blocks, and what the directory has on them and the ancestors."""
    blocks = []
    for at in range(0, len(entries), entries_per_block):
        part = entries[at : at + entries_per_block]
        public = b"".join(_pack("QIHHQ", PUBLIC, entry) for entry in part)
        blocks.append(public + b"".join(_pack("32sHHIQ", SEALED, entry) for entry in part))
    crcs = edit("index_crcs", [crc64(block) for block in blocks])
    digests = edit("index_digests", [digest(block) for block in blocks])
    records = [dict(zip(ANCESTOR, (a[-64:-48], len(a), a[-96:-64], 0), strict=True)) for a in ancestors]
    if ancestors:
        edit("ancestors", records)
    table = b"".join(_pack("16sQ32sQ", ANCESTOR, record) for record in records)
    return b"".join(blocks), struct.pack(f"<{len(crcs)}Q", *crcs) + table + b"".join(digests)


def places_in(number: int, archive: bytes) -> list[Place | None]:
    """The blocks of an ancestor (of one index block) in the order of its entries; None: it has no such block itself."""
    directory = struct.unpack_from("<Q", archive, len(archive) - 128)[0]
    index, count = struct.unpack_from("<QQ", archive, directory + 8)
    found: list[Place | None] = []
    for at in range(count):
        offset, stored, elsewhere, _, crc = struct.unpack_from("<QIHHQ", archive, index + 24 * at)
        codec = struct.unpack_from("<H", archive, index + 24 * count + 48 * at + 32)[0]
        found.append(Place(number, offset, stored, crc, codec) if stored and not elsewhere else None)
    return found


def _directory(
    streams: list[Stream],
    index_offset: int,
    entries: list[Any],
    entries_per_block: int,
    ancestor_count: int,
    tables: bytes,
    edit: Stage,
) -> bytes:
    names, records, first = b"", [], 0
    for s in streams:
        count, name = len(s.chunks()), s.name.encode()
        stored = sum(len(block) for at, block in enumerate(s.encoded()) if s.place(at) is None)
        values = (
            len(names),
            len(name),
            s.role,
            s.element,
            0,
            s.row_bytes,
            s.elements,
            0,
            s.row_count,
            s.chunk_rows or max(1, s.row_count),
            first,
            count,
            stored,
            s.part_of,
            s.part_number,
            s.base_part,
            0,
        )
        records.append(dict(zip(RECORD, values, strict=True)))
        names, first = names + name, first + count
    edit("records", records)
    names = edit("names", names)
    head = (
        b"VARK-DIR",
        index_offset,
        len(entries),
        entries_per_block,
        len(streams),
        ancestor_count,
        len(names),
        0,
        0,
        0,
        0,
    )
    fields = dict(zip(DIRECTORY, head, strict=True))
    edit("directory_header", fields)
    packed = b"".join(_pack("IHHHHIIIQQQQQIIII", RECORD, record) for record in records)
    return bytes(edit("directory", _pack("8sQQIIIIIIQQ", DIRECTORY, fields) + tables + packed + names))
