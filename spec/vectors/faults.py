"""The vectors of the frame that a reader must refuse: one fault each, everything above it sealed over the fault."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kit import F32, U8, U64, Edit, Stream, build, crc64, noise


@dataclass
class Fault:
    name: str
    layer: str
    stage: str  # where it shows first: open, read (rows), plan or verify
    comment: str
    archive: bytes


def base() -> list[Stream]:
    return [
        Stream("vectors", 3, F32, 2, noise("base", 40), 2),
        Stream("ids", 5, U64, 1, struct.pack("<5Q", *range(5)), 3),
    ]


def put(*where: int, **fields: Any) -> Edit:
    """Changes fields of a dict, or of entry where[0] of a list of dicts; a function changes the old value."""

    def change(value: Any) -> None:
        record = value[where[0]] if where else value
        for name, new in fields.items():
            assert name in record
            record[name] = new(record[name]) if callable(new) else new

    return change


def poke(offset: int, new: bytes) -> Edit:
    def change(value: bytes) -> bytes:
        end = len(value) if offset < 0 and offset + len(new) == 0 else offset + len(new)
        assert value[offset:end] != new
        return bytes(value[:offset]) + new + bytes(value[end:])

    return change


def insert(offset: int, new: bytes) -> Edit:
    return lambda value: bytes(value[:offset]) + new + bytes(value[offset:])


def in_place(offset: int, new: bytes) -> Edit:
    def change(value: bytearray) -> None:
        start = offset % len(value)
        assert value[start : start + len(new)] != new
        value[start : start + len(new)] = new

    return change


def edited(name: str, layer: str, stage: str, comment: str, **edits: Edit) -> Fault:
    return Fault(name, layer, stage, comment, build(base(), edits=edits))


def header() -> Iterator[Fault]:
    for name, offset, new in (
        ("magic", 1, b"v"),
        ("major", 8, b"\x02"),
        ("minor", 10, b"\x01"),
        ("reserved", 12, b"\x01"),
        ("incompat", 16, b"\x01"),
        ("ro-compat", 24, b"\x01"),
        ("compat", 39, b"\x80"),
        ("id", 40, b"\xff"),
        ("crc", 56, b"\x00\x00"),
    ):
        yield edited(
            f"header-{name}", "header", "verify", f"{name} differs from the trailer's", header=in_place(offset, new)
        )


def trailer() -> Iterator[Fault]:
    whole = build(base())
    for name, archive, comment in (
        ("not-an-archive", noise("text", 96).hex().encode() * 2, "a text file"),
        ("not-an-archive-short", b"hello\n", "a very short file"),
        ("empty-file", b"", "no byte at all"),
        ("truncated-by-1", whole[:-1], "the last byte is missing"),
        ("truncated-by-64", whole[:-64], "half of the trailer is missing"),
        ("truncated-by-trailer", whole[:-128], "the trailer is missing"),
        ("truncated-to-191", whole[:191], "shorter than any archive"),
        ("truncated-to-header", whole[:64], "only the header"),
        ("truncated-in-front", whole[64:], "the header is missing"),
        ("truncated-in-the-middle", whole[:128] + whole[192:], "a block is missing"),
        ("bytes-in-front", b"\0" * 64 + whole, "64 bytes before the header"),
        ("bytes-after-trailer", whole + b"\0", "a byte after the trailer"),
        ("doubled", whole[:192] + whole, "the start of the archive twice"),
    ):
        yield Fault(name, "trailer", "open", comment, archive)
    yield from trailer_fields()


def trailer_fields() -> Iterator[Fault]:
    yield edited("trailer-magic", "trailer", "open", "another magic", sealed_trailer=poke(-1, b"\x88"))
    yield edited("trailer-crc", "trailer", "open", "trailer_crc is wrong", sealed_trailer=poke(112, b"\0\0"))
    yield edited(
        "trailer-bit", "trailer", "open", "a flipped bit in the root under the old CRC", sealed_trailer=poke(32, b"\0")
    )
    for name, fields, comment in (
        ("major-2", {"major": 2}, "a newer major version"),
        ("major-0", {"major": 0}, "major version 0"),
        ("incompat-sealed", {"incompat": 1}, "incompat bit 0 (sealed)"),
        ("incompat-delta", {"incompat": 2}, "incompat bit 1 (delta)"),
        ("incompat-unknown", {"incompat": 1 << 63}, "incompat bit 63"),
        ("reserved", {"reserved": 1}, "reserved is not 0"),
        ("archive-bytes-less", {"archive_bytes": lambda n: n - 1}, "archive_bytes is one too small"),
        ("archive-bytes-more", {"archive_bytes": lambda n: n + 64}, "archive_bytes is too large"),
        ("directory-offset", {"directory_offset": lambda n: n + 64}, "the parts run past the end"),
        ("directory-offset-huge", {"directory_offset": (1 << 64) - 1}, "directory_offset near 2^64"),
        ("metadata-bytes", {"metadata_bytes": lambda n: n - 1}, "a byte between metadata and trailer"),
        (
            "directory-bytes-wrap",
            {"directory_bytes": (1 << 32) - 1, "directory_offset": lambda n: (n - (1 << 33)) % (1 << 64)},
            "sizes whose sum wraps",
        ),
        ("root", {"root": noise("root", 32)}, "another root"),
        ("id", {"id": noise("id", 16)}, "another archive_id, so another header under the root"),
    ):
        yield edited(f"trailer-{name}", "trailer", "open", comment, trailer=put(**fields))
    yield edited(
        "archive-crc", "trailer", "verify", "archive_crc is wrong", trailer=put(archive_crc=lambda crc: crc ^ 1)
    )
    low = {"directory_offset": 0, "directory_bytes": lambda n: n + 64}
    yield Fault(
        "trailer-directory-in-header",
        "trailer",
        "open",
        "directory_offset below 64",
        build([], edits={"trailer": put(**low)}),
    )
    large = b'{"application":{"a":"' + b"a" * 65_400 + b'"}}'
    yield Fault(
        "tail-too-large",
        "trailer",
        "open",
        "directory, metadata and trailer of more than 65,536 bytes",
        build([], metadata=large),
    )
    yield edited(
        "directory-bit",
        "trailer",
        "open",
        "a flipped bit in the directory: the root differs",
        file=lambda data: poke(len(data) - 128 - 26 - 4, b"\xff")(data),
    )
    yield edited(
        "metadata-bit",
        "trailer",
        "open",
        "a flipped bit in the metadata: the root differs",
        file=lambda data: poke(len(data) - 128 - 5, b"\xff")(data),
    )


def directory() -> Iterator[Fault]:
    def fault(name: str, comment: str, **edits: Edit) -> Fault:
        return edited(f"directory-{name}", "directory", "open", comment, **edits)

    for name, fields, comment in (
        ("magic", {"magic": b"VARK-DIX"}, "another magic"),
        ("entry-count", {"entry_count": 6}, "one entry too many"),
        ("entry-count-wraps", {"entry_count": (1 << 61) + 5}, "72 x entry_count wraps around 2^64"),
        ("entries-per-block-0", {"entries_per_block": 0}, "entries_per_block is 0"),
        ("entries-per-block-3641", {"entries_per_block": 3641}, "an index block would exceed 256 KiB"),
        ("entries-per-block-1", {"entries_per_block": 1}, "five index blocks need more table than there is"),
        ("stream-count", {"stream_count": 3}, "one stream more than records"),
        ("stream-count-0", {"stream_count": 0}, "records unused"),
        ("stream-count-huge", {"stream_count": (1 << 32) - 1}, "records far past the directory"),
        ("name-bytes", {"name_bytes": 11}, "name_bytes past the directory"),
        ("sealed-overhead", {"overhead": 16}, "sealed_overhead is not 0"),
        ("parity", {"parity": 64}, "parity_offset is not 0"),
        ("reserved", {"reserved": 1 << 56}, "reserved is not 0"),
        ("index-offset", {"index_offset": lambda n: n + 64}, "index_offset is not where the entries begin"),
        ("index-offset-0", {"index_offset": 0}, "index_offset below 64"),
    ):
        yield fault(name, comment, directory_header=put(**fields))
    yield fault(
        "index-offset-unaligned", "the index begins at no multiple of 64", area=lambda data: data.extend(bytes(8))
    )
    yield fault(
        "ancestor", "an ancestor (reserved in 1.0)", directory_header=put(ancestors=1), directory=insert(72, bytes(64))
    )
    yield fault(
        "seal-record",
        "a seal record (reserved in 1.0)",
        directory_header=put(seal_bytes=16),
        directory=insert(72, bytes(16)),
    )
    yield fault("too-long", "a byte after the names", directory=lambda data: data + b"x")
    yield fault("too-short", "the names end early", directory=lambda data: data[:-1])
    yield fault("63-bytes", "shorter than its header", directory=lambda data: data[:63])
    many = [Stream(f"{number}", 2, U8, 1, b"", 1) for number in range(257)]
    yield Fault("directory-257-streams", "directory", "open", "one stream too many", build(many))
    yield from records()
    yield from names()


def records() -> Iterator[Fault]:
    for name, number, fields, comment in (
        ("name-offset", 1, {"name_offset": 6}, "names overlap"),
        ("name-gap", 1, {"name_offset": 8, "name_bytes": 2}, "a gap between names"),
        ("name-empty", 1, {"name_bytes": 0}, "an empty name"),
        ("name-past-end", 1, {"name_bytes": 200}, "a name past the names"),
        ("name-short", 1, {"name_bytes": 2}, "a byte of the names in no name"),
        ("element-0", 0, {"element": 0}, "element type 0"),
        ("element-13", 0, {"element": 13}, "element type 13"),
        ("flags", 0, {"flags": 1}, "flags are not 0"),
        ("row-bytes", 0, {"row_bytes": 4}, "row_bytes of another dimension"),
        ("row-elements-0", 0, {"row_bytes": 0, "elements": 0}, "rows of no bytes"),
        ("row-elements-wrap", 0, {"elements": (1 << 30) + 2}, "row_elements x 4 wraps around 2^32"),
        ("reserved", 0, {"reserved": 1}, "reserved is not 0"),
        ("end", 1, {"end": 1 << 24}, "the last reserved byte is not 0"),
        ("chunk-rows-0", 0, {"chunk_rows": 0}, "chunk_rows is 0"),
        ("chunk-too-large", 0, {"chunk_rows": (1 << 25) + 1, "chunk_count": 1}, "chunks of more than 256 MiB"),
        ("chunk-rows-wrap", 0, {"chunk_rows": 1 << 61, "chunk_count": 1}, "chunk_rows x row_bytes wraps around 2^64"),
        ("row-count", 0, {"row_count": 7}, "more rows than chunks hold"),
        ("row-count-less", 0, {"row_count": 4}, "a chunk without rows"),
        ("row-count-huge", 0, {"row_count": (1 << 64) - 1}, "rounding up wraps around 2^64"),
        ("chunk-count", 0, {"chunk_count": 2}, "a chunk too few"),
        ("first-entry", 1, {"first_entry": 2}, "an entry in two streams"),
        ("first-entry-huge", 1, {"first_entry": (1 << 64) - 1}, "first_entry near 2^64"),
        ("too-few-chunks", 1, {"row_count": 3, "chunk_count": 1}, "an entry of no stream"),
        ("too-many-chunks", 1, {"row_count": 9, "chunk_count": 3}, "a chunk without entry"),
    ):
        yield edited(f"stream-{name}", "directory", "open", comment, records=put(number, **fields))
    yield Fault(
        "stream-name-256", "directory", "open", "a name of 256 bytes", build([Stream("n" * 256, 2, U8, 1, b"x")])
    )
    pair = [Stream("twice", 2, U8, 1, b"a"), Stream("twice", 2, U8, 1, b"b")]
    yield Fault("stream-name-twice", "directory", "open", "two streams of one name", build(pair))


def names() -> Iterator[Fault]:
    for name, new in (
        ("control", b"vect\nrs"),
        ("del", b"vect\x7frs"),
        ("nul", b"\0ectors"),
        ("utf8", b"vec\xfftor"),
        ("utf8-surrogate", b"vec\xed\xa0\x80r"),
        ("utf8-overlong", b"vecto\xc0\xaf"),
    ):
        yield edited(f"stream-name-{name}", "directory", "open", "a name that is not allowed", names=poke(0, new))
    yield edited(
        "stream-name-split",
        "directory",
        "open",
        "a character split between two names",
        names=poke(6, "\u00e9".encode()),
    )
    for prefix, role, name in (
        ("attachment", 12, ".."),
        ("attachment", 12, "a/b"),
        ("attachment", 12, "c:d"),
        ("attachment", 12, ""),
        ("document", 11, "nul"),
        ("document", 11, "Com1.tar.gz"),
        ("document", 11, "a\\b"),
    ):
        label = "".join(c if c.isalnum() else f"-{ord(c):x}" for c in name) or "-empty"
        yield Fault(
            f"{prefix}-name-{label.lower()}",
            "directory",
            "open",
            "NAME is no safe path component",
            build([Stream(f"{prefix}/{name}", role, U8, 1, b"x")]),
        )


def index() -> Iterator[Fault]:
    for name, fields, comment in (
        ("offset-unaligned", {"offset": lambda n: n + 8}, "a block at no multiple of 64"),
        ("offset-0", {"offset": 0}, "a block in the header"),
        ("offset-past-index", {"offset": lambda n: n + (1 << 20)}, "a block past the end of the file"),
        ("offset-huge", {"offset": (1 << 64) - 64}, "offset + stored_bytes wraps around 2^64"),
        ("offset-in-index", {"offset": 64 * 6}, "a block in the index"),
        ("stored-0", {"stored": 0}, "a block of no bytes"),
        ("stored-too-large", {"stored": 16 + 65}, "a block of more than raw + 64 bytes"),
        ("stored-huge", {"stored": (1 << 32) - 1}, "a block past the index"),
        ("archive", {"archive": 1}, "a block in an ancestor"),
        ("flags", {"flags": 0x8000}, "public flags are not 0"),
        ("sealable-flags", {"flags2": 1}, "sealable flags are not 0"),
        ("reserved", {"reserved": 1}, "reserved is not 0"),
        ("reserved-2", {"more": 1 << 63}, "the second reserved field is not 0"),
    ):
        yield edited(f"entry-{name}", "index", "read", comment, entries=put(1, **fields))
    yield edited(
        "index-damaged", "index", "read", "a flipped bit in an index block", stored_index=poke(16, b"\xff\xff")
    )
    yield edited(
        "index-digest",
        "index",
        "read",
        "the directory has another BLAKE3",
        index_digests=lambda table: [noise("d", 32)],
    )
    yield edited(
        "index-crc", "index", "verify", "the directory has another CRC-64", index_crcs=lambda table: [table[0] ^ 1]
    )
    yield edited("stored-sum", "index", "verify", "stored_bytes of a stream is not the sum", records=put(0, stored=41))
    same = [Stream("a", 2, U8, 1, b"s" * 128, 64)]
    shared = build(same, edits={"entries": put(1, offset=64), "area": lambda data: data.__delitem__(slice(128, None))})
    yield Fault("blocks-same", "index", "verify", "two entries share one block", shared)
    outer = noise("outer", 200)
    inner = [Stream("outer", 2, U8, 1, outer), Stream("inner", 2, U8, 1, outer[64:128])]
    cut = {"entries": put(1, offset=128), "area": lambda data: data.__delitem__(slice(320, None))}
    yield Fault("blocks-nested", "index", "verify", "a block inside another", build(inner, edits=cut))


def swap(entries: list[dict[str, Any]]) -> None:
    entries[0]["offset"], entries[1]["offset"] = entries[1]["offset"], entries[0]["offset"]


def blocks() -> Iterator[Fault]:
    yield edited("block-bit", "block", "read", "a flipped bit in a block", area=in_place(64, b"\0"))
    yield edited("block-crc", "block", "read", "another block_crc", entries=put(1, crc=lambda crc: crc ^ 1 << 63))
    yield edited("block-swapped", "block", "read", "two blocks changed places", entries=swap)
    yield edited("digest", "digest", "read", "another chunk_digest", entries=put(1, digest=noise("digest", 32)))
    yield edited(
        "digest-other-rows",
        "digest",
        "read",
        "other rows under a right CRC",
        blocks=lambda old: [noise("other", 16), *old[1:]],
    )
    yield edited(
        "digest-swapped", "digest", "read", "rows of another chunk", blocks=lambda old: [old[1], old[0], *old[2:]]
    )
    yield edited("padding-between", "padding", "verify", "a byte between blocks is not 0", area=in_place(127, b"\1"))
    yield edited(
        "padding-before-index", "padding", "verify", "a byte before the index is not 0", area=in_place(-1, b"\1")
    )
    yield edited(
        "padding-too-long",
        "padding",
        "verify",
        "64 zeros more before the index",
        area=lambda data: data.extend(bytes(64)),
    )

    def shift(first: int) -> dict[str, Edit]:
        def move(table: list[dict[str, Any]]) -> None:
            for entry in table[first:]:
                entry["offset"] += 64

        def widen(data: bytearray) -> None:
            data[64 + 64 * first : 64 + 64 * first] = bytes(64)

        return {"entries": move, "area": widen}

    yield edited("padding-gap", "padding", "verify", "64 zeros between two blocks", **shift(2))
    yield edited("padding-first", "padding", "verify", "the first block lies at 128", **shift(0))
    yield Fault(
        "padding-no-blocks",
        "padding",
        "verify",
        "an index at 128 without a block",
        build([], edits={"area": lambda data: data.extend(bytes(64))}),
    )


def metadata() -> Iterator[Fault]:
    for name, text in (
        ("empty", b""),
        ("array", b"[]"),
        ("text", b'"writer"'),
        ("number", b"1"),
        ("null", b"null"),
        ("fraction", b'{"a":1.0}'),
        ("exponent", b'{"a":1e3}'),
        ("minus-zero", b'{"a":-0}'),
        ("2-to-64", b'{"a":18446744073709551616}'),
        ("minus-2-to-63-less-1", b'{"a":-9223372036854775809}'),
        ("nan", b'{"a":NaN}'),
        ("infinity", b'{"a":-Infinity}'),
        ("leading-zero", b'{"a":01}'),
        ("key-twice", b'{"a":1,"a":1}'),
        ("key-twice-inside", b'{"a":[{"b":1,"\\u0062":2}]}'),
        ("depth-33", b'{"a":' + b"[" * 32 + b"]" * 32 + b"}"),
        ("depth-5000", b'{"a":' + b"[" * 5000),
        ("bom", b"\xef\xbb\xbf{}"),
        ("utf8", b'{"a":"\xff"}'),
        ("utf16", '{"a":1}'.encode("utf-16-le")),
        ("surrogate", b'{"a":"\\ud800"}'),
        ("control", b'{"a":"\n"}'),
        ("after", b"{}{}"),
        ("cut", b'{"a":'),
        ("comma", b'{"a":1,}'),
        ("nul", b"{}\0"),
    ):
        yield Fault(
            f"metadata-{name}", "metadata", "open", f"not JSON of section 8: {name}", build(base(), metadata=text)
        )


def cases() -> Iterator[Fault]:
    for part in (header, trailer, directory, index, blocks, metadata):
        yield from part()
    assert crc64(b"123456789") == 0xAE8B14860A799888
