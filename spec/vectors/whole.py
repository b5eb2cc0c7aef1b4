"""The vectors that a reader must read: every codec, element type, run kind and tolerance of the format.

The bytes of members are put together here by plain loops, not by a plan, so that restoring is really checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import links
import numpy as np
from kit import (
    AFFINE,
    BF16,
    BITPACK,
    ELEMENT_BYTES,
    F16,
    F32,
    FLOAT32,
    I32,
    I64,
    RAW,
    U8,
    U16,
    U32,
    U64,
    ZSTD,
    Stream,
    build,
    digest,
    encode_affine,
    encode_bitpack,
    encode_float32,
    noise,
    to_json,
    zstd_block,
    zstd_frame,
)

# Made once with zstd 1.5.7 (level 19 with checksum; level 1): kept as bytes, never made again.
SQUARES = " ".join(str(number * number) for number in range(160)).encode()
SQUARES_FRAME = bytes.fromhex(
    "28b52ffd642d025d0b00d6f25909b0eb24498870ce984553005900560013a40b443f6827b24fa1531c3f312e549c461c80383b5c44f851"
    "70baf269390df919702970d20d70536cb1fa5a53d1539a6abece623245069049b1343eeb347ddae9f81117e12c07e0b4853e99e2e9c46f"
    "994300b4d9ab45aa3e9a9a2eea696b1aa8cf8c96164d1a1a40684a6931a0af3753d53ca5994ae66bcc629c2930039c4c2a594af299c834"
    "214f2bd3817c74b188c56cc50014d324168af8a43105e329c4c4eb07d605aa13a8034c03c3a7349c2a865f395ccc8453483880082751b8"
    "f4829f51701a093e6d70ba2b3faa72912967a31c80e534231722f21321a728f914c88906fc80800b0870428103007082dd02741fc84dec"
    "3d859bc2ec13b285c4a6d50eb44e173ae927249d22a44f413ab1a21f4874014627583bc0b413da2e70ec07c44e0cf629b05314f413812e"
    "44e8343b0e40c7d9382e02c78fca389d189fd638cd153fa3e252294e627180234e21e26241fc4ae254160030d8ff56"
)
EXPONENTS_FRAME = bytes.fromhex(
    "28b52ffd6090007505000654200fb015241d29c94d9ab53c0cc330cc221b001a001a00aaef218d039e23e3d932b0d121face1034ee3143"
    "391423ac8f31681b1c612cfb4b4f384b5a221effe418229bf923f1a60263823fcc1ad4435f75da805037b0bc526fcf184482303b267897"
    "d3163d031ba16e5d506302e57200499b078ea7c59573096c81b9688edd28fc010f00f1b402ca6c9867330ce70684ad445e60ab368e678e"
    "4c6d9c15a40675f3b54ee9e2682ca16d0e2b7a"
)


def normal_like(count: int) -> bytes:
    """f32 values whose exponents are EXPONENTS_FRAME (for 400)."""
    pairs = np.frombuffer(noise("normal", count * 8), "<u4").reshape(count, 2).astype("<i8")
    return bytes(((pairs[:, 0] - pairs[:, 1]).astype("<f4") * np.float32(2.0**-33)).astype("<f4").tobytes())


@dataclass
class Whole:
    name: str
    comment: str
    streams: list[Stream]
    members: dict[str, bytes] | None = None
    runs: dict[str, list[Any]] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)  # further keys of every member
    build: dict[str, Any] = field(default_factory=dict)
    ids: dict[str, Any] | None = None  # what a look-up by id must find, and for which ids it must refuse the index

    def plan(self) -> dict[str, Any] | None:
        if self.members is None:
            return None
        members = [
            {"name": name, "bytes": len(data), "layout": "test", "facts": {}, "runs": self.runs[name], **self.more}
            for name, data in self.members.items()
        ]
        return {"version": 1, "members": members, **({"folders": self.folders} if self.folders else {})}

    def archive(self) -> bytes:
        return build(self.streams, **{"plan": self.plan(), **self.build})


def rows(stream: str, first: int, count: int) -> dict[str, Any]:
    return {"kind": "rows", "stream": stream, "first": first, "rows": count}


def take(stream: str, count: int | str, first: int = 0) -> dict[str, Any]:
    return {"stream": stream, "first": first, "rows": count}


def counts(
    stream: str, width: int, *, first: int = 0, offset: int = 0, subtract: int = 0, divide: int = 1
) -> dict[str, Any]:
    return {"stream": stream, "first": first, "offset": offset, "bytes": width, "subtract": subtract, "divide": divide}


def literal(data: bytes) -> Stream:
    return Stream("literal", 1, U8, 1, data)


def one_stream() -> Whole:
    data = bytes(range(65, 65 + 12))
    return Whole("one-stream", "the worked example of FORMAT.md section 11", [Stream("abc", 2, U8, 4, data, 2)])


def typed() -> Iterator[Whole]:
    streams = [Stream(f"type {n}", 2, n, 3, noise(f"type {n}", 3 * 5 * b), 4) for n, b in ELEMENT_BYTES.items()]
    yield Whole("element-types", "a stream of every element type, the last chunk shorter", streams)
    same, mixed = b"\x07" * 300, noise("mixed", 300)
    window = zstd_frame(mixed, descriptor=0x80, extra=b"\x00")
    two = (
        zstd_frame(b"")[:5]
        + struct.pack("<I", 300)
        + zstd_block(0, 200, mixed[:200], False)
        + zstd_block(0, 100, mixed[200:])
    )
    yield Whole(
        "zstd",
        "raw, RLE and two-block frames, with a window, with a dictionary id of 0, from a compressor",
        [
            Stream("raw", 2, U8, 1, mixed, 0, ZSTD),
            Stream("rle", 2, U8, 1, same, 0, ZSTD),
            Stream("window", 2, U8, 1, mixed, 0, ZSTD, [window]),
            Stream("two", 2, U8, 1, mixed, 0, ZSTD, [two]),
            Stream("zero id", 2, U8, 1, mixed, 0, ZSTD, [zstd_frame(mixed, descriptor=0xA1, extra=b"\x00")]),
            Stream("squares", 11, U8, 1, SQUARES, 0, ZSTD, [SQUARES_FRAME]),
        ],
    )
    odd = struct.pack("<10I", 0, 1 << 31, 0x7F800000, 0xFF800000, 0x7FC00001, 0xFFFFFFFF, 1, 0x80000001, 0x3F800000, 7)
    values = normal_like(400)
    yield Whole(
        "float32",
        "signed zeros, infinities, NaNs, denormals; Huffman literals from a compressor; one value",
        [
            Stream("odd", 3, F32, 2, odd, 0, FLOAT32),
            Stream("one", 3, F32, 1, odd[:4], 0, FLOAT32),
            Stream("vectors", 3, F32, 8, values, 0, FLOAT32, [encode_float32(values, EXPONENTS_FRAME)]),
        ],
    )


def integers() -> Iterator[Whole]:
    streams = []
    for element, element_bytes in ((U8, 1), (2, 1), (U16, 2), (4, 2), (U32, 4), (I32, 4), (U64, 8), (I64, 8)):
        for width in sorted({0, 1, 5, 8 * element_bytes - 1, 8 * element_bytes}):
            words = np.frombuffer(noise(f"pack {element} {width}", 8 * 19), "<u8") & np.uint64((1 << width) - 1)
            base = (1 << 8 * element_bytes) - 3  # values wrap
            raw = (words + np.uint64(base)).astype(f"<u{element_bytes}").tobytes()
            block = encode_bitpack(raw, element_bytes, base, width)
            streams.append(Stream(f"{element} of {width} bits", 6, element, 1, raw, 0, BITPACK, [block]))
    yield Whole("bitpack", "every integer type; widths 0, 1, 5, all but one, all; values that wrap", streams)
    streams = []
    for element, element_bytes, base, step in (
        (U8, 1, 250, 3),
        (I32, 4, 5, 0),
        (U16, 2, 9, 65535),
        (I64, 8, 1 << 63, 1),
        (U64, 8, 3, (1 << 64) - 1),
        (U32, 4, 0, 1 << 31),
    ):
        raw = b"".join(
            ((base + i * step) % (1 << 8 * element_bytes)).to_bytes(element_bytes, "little") for i in range(30)
        )
        streams.append(Stream(f"{element}", 5, element, 3, raw, 0, AFFINE, [encode_affine(base, step, element_bytes)]))
    chunked = struct.pack("<9Q", *range(9))
    blocks = [encode_affine(base, 1, 8) for base in (0, 4, 8)]
    streams.append(Stream("ids", 5, U64, 1, chunked, 4, AFFINE, blocks))
    yield Whole("affine", "up, down, constant, wrapping; several chunks", streams)
    yield Whole("links", "both layouts; partitions, exceptions, stale slots, lists in order, no graph", links.streams())
    yield Whole("lists", "two runs and as many as ids; the highest ids", links.lists())


def hnswlib_like() -> Whole:
    count, links, vectors = 9, noise("links", 9 * 12), noise("level 0 vectors", 9 * 20)
    labels = struct.pack("<9Q", *range(100, 109))
    sizes = [0, 8, 0, 16, 0, 0, 8, 24, 0]
    upper, size_rows = noise("upper", sum(sizes)), struct.pack("<9I", *sizes)
    data, at = b"HEAD", 0
    for i in range(count):
        data += links[12 * i : 12 * i + 12] + vectors[20 * i : 20 * i + 20] + labels[8 * i : 8 * i + 8]
    for i in range(count):
        data += size_rows[4 * i : 4 * i + 4] + upper[at : at + sizes[i]]
        at += sizes[i]
    level0 = {"kind": "groups", "groups": 9, "fields": [take("links.level0", 1), take("vectors", 1), take("labels", 1)]}
    higher = {
        "kind": "groups",
        "groups": 9,
        "fields": [take("sizes", 1), take("links.upper", "counted")],
        "counts": counts("sizes", 4, divide=8),
    }
    return Whole(
        "plan-inline-counts",
        "like hnswlib: fixed groups, then groups whose count is their first field",
        [
            literal(b"HEADTAIL"),
            Stream("links.level0", 6, U32, 3, links, 4),
            Stream("vectors", 3, F32, 5, vectors, 2),
            Stream("labels", 5, U64, 1, labels, 0, AFFINE, [encode_affine(100, 1, 8)]),
            Stream("sizes", 7, U32, 1, size_rows, 5),
            Stream("links.upper", 6, U32, 2, upper, 3),
        ],
        {"index.bin": data + b"TAIL"},
        {"index.bin": [rows("literal", 0, 4), level0, higher, rows("literal", 4, 4)]},
    )


def ivf_like() -> Whole:
    sizes = [3, 0, 5, 1]
    codes, ids = noise("codes", 9 * 7), struct.pack("<9q", *(i * 31 % 11 for i in range(9)))
    heads = b"".join(struct.pack("<HQB", 7, 2 * size + 10, 9) for size in sizes)
    data, at = heads, 0
    for size in sizes:
        data += codes[7 * at : 7 * (at + size)] + ids[8 * at : 8 * (at + size)] + b"|"
        at += size
    fields = [take("codes", "counted"), take("ids", "counted"), take("marks", 1)]
    runs = [
        rows("list_sizes", 0, 4),
        {
            "kind": "groups",
            "groups": 4,
            "fields": fields,
            "counts": counts("list_sizes", 8, offset=2, subtract=10, divide=2),
        },
    ]
    return Whole(
        "plan-external-counts",
        "like an IVF: two counted fields and a fixed one; counts in the middle of a row",
        [
            Stream("list_sizes", 8, U8, 11, heads, 3),
            Stream("codes", 4, U8, 7, codes, 4),
            Stream("ids", 5, I64, 1, ids, 4),
            Stream("marks", 2, U8, 1, b"||||"),
        ],
        {"ivf.faiss": data},
        {"ivf.faiss": runs},
    )


def derived() -> Whole:
    levels, table = [1, 2, 1, 1, 3, 1], [0, 32, 48, 64]
    offsets = [sum(table[level] for level in levels[:i]) for i in range(7)]
    data = struct.pack("<6I", *levels) + struct.pack("<7Q", *offsets)
    run = {"kind": "derived", "rule": "running-offsets", "groups": 6, "counts": counts("levels", 4), "table": table}
    empty = {**run, "groups": 0, "table": []}
    return Whole(
        "plan-derived",
        "running offsets from levels; and of no groups at all",
        [Stream("levels", 7, I32, 1, struct.pack("<6I", *levels), 4)],
        {"a": data, "b": bytes(8)},
        {"a": [rows("levels", 0, 6), run], "b": [empty]},
    )


def plans() -> Iterator[Whole]:
    data = noise("literal", 64)
    yield Whole(
        "plan-rows",
        "one member of literal bytes and rows, out of order and twice",
        [literal(data), Stream("vectors", 3, F32, 2, noise("vectors", 80), 3)],
        {"index.faiss": data[8:] + noise("vectors", 80)[16:56] + data[:8] + data[:8]},
        {"index.faiss": [rows("literal", 8, 56), rows("vectors", 2, 5), rows("literal", 0, 8), rows("literal", 0, 8)]},
    )
    yield from (hnswlib_like(), ivf_like(), derived())
    members = {"a.faiss": data[:9], "sub/b.bin": b"", "sub/deep/Ä ö.npy": data, "sub.bin": data[:1], "conx/com10": b""}
    runs = {name: [rows("literal", 0, len(part))] for name, part in members.items()}
    yield Whole(
        "plan-folders",
        "several members in folders, empty ones, names that only look reserved",
        [literal(data)],
        members,
        {**runs, "sub/b.bin": []},
        ["empty", "sub/empty/deeper"],
    )
    yield Whole("plan-folders-only", "an empty folder was the source", [], {}, {}, ["empty/sub"])
    none = {"kind": "groups", "groups": 0, "fields": [take("none", "counted", 0)], "counts": counts("none", 4)}
    zero = counts("literal", 1, subtract=ord("x"))
    idle = {"kind": "groups", "groups": 1, "fields": [take("none", "counted", 0)], "counts": zero}
    yield Whole(
        "plan-zero-rows",
        "runs of no rows and groups, a group of no bytes, a stream without rows",
        [Stream("none", 3, U32, 4, b"", 1 << 24), literal(b"x")],
        {"x": b"x"},
        {"x": [rows("none", 0, 0), none, rows("literal", 1, 0), idle, rows("literal", 0, 1)]},
    )
    yield Whole(
        "plan-one-member-digest",
        "a member with warning and blake3",
        [literal(data)],
        {"x": data},
        {"x": [rows("literal", 0, 64)]},
        more={"warning": "trailing bytes", "blake3": digest(data).hex()},
    )
    loose = b' {"version":1 , "members":[], "zzz":{"aaa":[null,true,-9223372036854775808,18446744073709551615]} }\n'
    yield Whole(
        "plan-loose-json",
        "blanks, unsorted and unknown keys, the widest numbers: a reader takes them",
        [],
        build={"plan": loose, "metadata": b'{ "zebra":1,"application":{"a":"\\ud83d\\ude00"} }'},
    )
    yield Whole(
        "plan-of-other-role",
        "a stream named plan of another role is a stream like any other",
        [Stream("plan", 2, U8, 1, b"no json"), Stream("other", 9, U8, 1, b"nor this")],
    )


def frames() -> Iterator[Whole]:
    seven = Stream("rows", 2, U16, 1, noise("seven", 14), 1)
    yield Whole("empty", "no stream at all", [])
    yield Whole(
        "zero-rows",
        "streams without rows between streams with rows",
        [
            Stream("a", 2, U8, 1, b"", 1),
            Stream("b", 2, U8, 1, b"b"),
            Stream("c", 3, F32, 768, b"", 1 << 16),
            Stream("d", 2, U8, 1, b"d"),
            Stream("e", 2, U64, 1, b"", 1),
        ],
    )
    yield Whole("index-blocks", "seven chunks, two entries an index block", [seven], build={"entries_per_block": 2})
    tail = Stream("rows", 2, U8, 1, noise("many", 950), 1)
    yield Whole(
        "index-outside-tail", "ten index blocks before the last 65,536 bytes", [tail], build={"entries_per_block": 100}
    )
    yield Whole(
        "blocks-in-other-order",
        "the blocks lie in another order than the entries",
        [seven, Stream("b", 2, U8, 1, b"bb", 1)],
        build={"block_order": lambda number: number * 5 % 9},
    )
    yield Whole("newer-minor", "version 1.7", [seven], build={"version": (1, 7)})
    yield Whole(
        "unknown-ro-compat",
        "an unknown ro_compat bit forbids extending, not reading",
        [seven],
        build={"features": (0, 1 << 40, 0)},
    )
    yield Whole("unknown-compat", "unknown compat bits", [seven], build={"features": (0, 0, 0x8000000000000005)})
    yield Whole(
        "unknown-role", "a role of a later version: opaque rows", [Stream("x", 4711, F16, 2, noise("f16", 12), 2)]
    )
    yield from edges()


def edges() -> Iterator[Whole]:
    deep = b'{"application":' + b"[" * 31 + b"]" * 31 + b"}"
    yield Whole("metadata-depth-32", "nesting of exactly 32", [], build={"metadata": deep})
    yield Whole(
        "own-streams",
        "document, attachment, payload and probes",
        [
            Stream("document/read me.md", 11, U8, 1, b"# hello"),
            Stream("attachment/\u00fc.bin", 12, U8, 1, noise("att", 33)),
            Stream("payload", 10, U8, 1, SQUARES, 0, ZSTD, [SQUARES_FRAME]),
            Stream("probe.queries", 13, F32, 4, noise("q", 32)),
            Stream("probe.ids", 13, I64, 3, noise("i", 48)),
            Stream("probe.distances", 13, F32, 3, noise("d", 24)),
            Stream("half", 3, BF16, 4, noise("h", 24)),
        ],
        build={
            "metadata": to_json(
                {
                    "payload": {"stream": "payload", "format": "arrow-ipc-stream", "rows": 0, "key": None},
                    "probes": {"count": 2, "k": 3, "truth": "source", "metric": "l2"},
                    "partial": True,
                    "writer": "vark vectors 1",
                }
            )
        },
    )
    names = [Stream("n" * 255, 2, U8, 1, b"n"), Stream("\u65e5\u672c \\ / : CON", 2, U8, 1, b"j", 1 << 28)]
    yield Whole(
        "stream-names", "the longest name; any characters but control ones; chunks of exactly 256 MiB allowed", names
    )
    many = [Stream(f"{number}", 2, U8, 1, bytes([number] * (number % 64 == 7)), 1) for number in range(256)]
    yield Whole("256-streams", "as many streams as there may be", many, build={"entries_per_block": 3640})
    yield Whole(
        "mixed-codecs",
        "chunks of one stream in four codecs",
        [Stream("ids", 5, U32, 1, struct.pack("<8I", *range(8)), 2)],
        build={"edits": {"blocks": _mixed, "entries": _mixed_codecs, "records": _mixed_size}},
    )


def _mixed(blocks: list[bytes]) -> list[bytes]:
    return [blocks[0], zstd_frame(blocks[1]), encode_bitpack(blocks[2], 4, 4, 1), encode_affine(6, 1, 4)]


def _mixed_codecs(entries: list[dict[str, Any]]) -> None:
    for entry, codec in zip(entries, (RAW, ZSTD, BITPACK, AFFINE), strict=True):
        entry["codec"] = codec


def _mixed_size(records: list[dict[str, Any]]) -> None:
    records[0]["stored"] = 8 + len(zstd_frame(bytes(range(8)))) + 17 + 24


def cases() -> Iterator[Whole]:
    yield one_stream()
    yield from typed()
    yield from integers()
    yield from plans()
    yield from frames()
