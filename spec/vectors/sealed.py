"""Sealed archives (CRYPTO.md, section 5), made out of plain ones, and one fault in each of layer `seal`.

The plain archive is taken apart and put together again: what is sealed, where it lies and every sum is
written here anew.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import make_seal_vectors as made
import reader_seal as keys
from kit import Stream, build, crc64, digest, header_of, to_json

Edit = Callable[[bytearray], object]
PASSPHRASE = made.PASSPHRASE.decode()
ACCESS_KEY = made.draw("sealed access key")


@dataclass
class Sealed:
    """How an archive is sealed, and what of it is changed before the sums over it are made."""

    suite: int = 1
    name: str = "archive"
    edits: dict[str, Edit] | None = None
    ancestors: Sequence[bytes] = ()

    def edit(self, stage: str, data: bytes) -> bytes:
        changed = bytearray(data)
        (self.edits or {}).get(stage, lambda _: None)(changed)
        return bytes(changed)

    @property
    def salt(self) -> bytes:
        return made.draw(self.name + " salt")

    def key(self, archive_id: bytes) -> keys.ObjectKey:
        return keys.ObjectKey(ACCESS_KEY, self.salt, keys.Binding(self.suite, keys.ARCHIVE, 0, bytes(16), archive_id))

    def record(self, archive_id: bytes) -> bytes:
        anchor = keys.kdf(ACCESS_KEY, b"", "anchor")
        slots = to_json([made.make_slot(kind, ACCESS_KEY, bytes(16), anchor)[0] for kind in ("passphrase", "recovery")])
        commitment = self.key(archive_id).commitment
        head = struct.pack("<HBBIII16s32s32s", self.suite, 3, 0, 0, len(slots), 0, bytes(16), self.salt, commitment)
        seals = b"".join(struct.pack("<HBBI32s", self.suite, 3, 0, 0, salt) for salt in self.ancestors)
        return self.edit("record", head + seals + slots)


def seal(plain: bytes, how: Sealed) -> bytes:
    """The sealed twin of a plain archive; entries into ancestors keep their places, which the caller has set."""
    trailer = plain[-128:]
    directory_at, directory_bytes, metadata_bytes = struct.unpack_from("<QII", trailer)
    archive_id, (incompat, *more, _, _) = trailer[64:80], struct.unpack_from("<QQQHH", trailer, 80)
    directory, metadata = plain[directory_at:][:directory_bytes], plain[directory_at + directory_bytes : -128]
    assert len(metadata) == metadata_bytes
    index_at, entry_count, per_block, stream_count, ancestor_count, _ = struct.unpack_from("<QQIIII", directory, 8)
    key, header = how.key(archive_id), header_of((1, 2), (incompat | 1, *more), archive_id)
    block_count = -(-entry_count // per_block)
    table_end = 64 + 8 * block_count + 64 * ancestor_count
    streams_at = table_end + 32 * block_count
    records = [directory[streams_at + 80 * number :][:80] for number in range(stream_count)]
    public, private = _entries(plain, index_at, entry_count, per_block)
    records = _seal_blocks(plain, how, key, records, public, data := bytearray(header))
    data.extend(bytes(-len(data) % 64))
    index_at = len(data)
    crcs, digests = [], []
    for block in range(block_count):
        rows = slice(block * per_block, (block + 1) * per_block)
        head = b"".join(struct.pack("<QIHHQ", *entry) for entry in public[rows])
        tail = b"".join(private[rows])
        stored = head + how.edit("index", key.seal(tail, keys.INDEX_BLOCK, 0, block))
        crcs.append(crc64(stored))
        digests.append(digest(head + tail))
        data += stored
    record = how.record(archive_id)
    directory_at = len(data)
    names = directory[streams_at + 80 * stream_count :]
    head = struct.pack("<8sQQIIIIIIQQ", b"VARK-DIR", index_at, entry_count, per_block, stream_count, ancestor_count,
                       len(names), len(record), 16, 0, 0)  # fmt: skip
    open_part = head + struct.pack(f"<{block_count}Q", *crcs) + directory[64 + 8 * block_count : table_end] + record
    closed = b"".join(digests) + b"".join(records) + names
    closed = how.edit("directory", key.seal(closed, keys.DIRECTORY, public_digest=digest(header + open_part)))
    directory = how.edit("public", open_part) + closed
    metadata = how.edit("metadata", key.seal(metadata, keys.METADATA))
    data += directory + metadata
    root = digest(header + directory + metadata)
    trailer = struct.pack("<QIIQQ32s16sQQQHHI", directory_at, len(directory), len(metadata), len(data) + 128,
                          crc64(bytes(data)), root, archive_id, incompat | 1, *more, 1, 2, 0)  # fmt: skip
    return bytes(data) + trailer + struct.pack("<Q", crc64(trailer)) + plain[-8:]


def _entries(plain: bytes, index_at: int, entry_count: int, per_block: int) -> tuple[list[Any], list[bytes]]:
    public, private = [], []
    for first in range(0, entry_count, per_block):
        count, at = min(per_block, entry_count - first), index_at + 72 * first
        public += [struct.unpack_from("<QIHHQ", plain, at + 24 * n) for n in range(count)]
        private += [plain[at + 24 * count + 48 * n :][:48] for n in range(count)]
    return public, private


def _seal_blocks(
    plain: bytes, how: Sealed, key: keys.ObjectKey, records: list[bytes], public: list[Any], data: bytearray
) -> list[bytes]:
    """Appends the sealed blocks, rewrites the public entries in place; the stream records with their new sums."""
    places = {}
    for stream, record in enumerate(records):
        first, count = struct.unpack_from("<QQ", record, 40)
        places |= {first + chunk: (stream, chunk) for chunk in range(count)}
    stored = [0] * len(records)
    for number in sorted(range(len(public)), key=lambda at: public[at][0]):
        offset, block_bytes, archive, flags, _ = public[number]
        if archive or not block_bytes:
            continue
        block = key.seal(plain[offset : offset + block_bytes], keys.BLOCK, *places[number])
        block = how.edit(f"block {number}", block)
        data.extend(bytes(-len(data) % 64))
        public[number] = (len(data), len(block), 0, flags, crc64(block))
        stored[places[number][0]] += len(block)
        data += block
    return [record[:56] + struct.pack("<Q", total) + record[64:] for record, total in zip(records, stored, strict=True)]


def flip(at: int, bit: int = 1) -> Edit:
    def change(data: bytearray) -> None:
        data[at] ^= bit

    return change


def put(at: int, value: bytes) -> Edit:
    def change(data: bytearray) -> None:
        data[at : at + len(value)] = value

    return change


def more_slots_bytes(data: bytearray) -> None:
    struct.pack_into("<I", data, 8, struct.unpack_from("<I", data, 8)[0] + 1)


ROWS = bytes(range(48))


def plain() -> bytes:
    streams = [Stream("canary", 2, 1, 4, ROWS, chunk_rows=4), Stream("other", 2, 1, 8, ROWS, chunk_rows=2)]
    return build(streams, entries_per_block=4)


FAULTS: dict[str, tuple[str, str, dict[str, Edit]]] = {
    "commitment": ("open", "a commitment of another key", {"record": flip(64)}),
    "salt": ("open", "another salt: another key", {"record": flip(32)}),
    "suite": ("open", "suite 9", {"record": put(0, b"\x09\0")}),
    "other-suite": ("open", "the number of the other suite: another key", {"record": put(0, b"\x02\0")}),
    "root-kind": ("open", "root_kind 4", {"record": put(2, b"\4")}),
    "flags": ("open", "flags 1", {"record": put(3, b"\1")}),
    "epoch": ("open", "an epoch in a single archive", {"record": put(4, b"\1")}),
    "reserved": ("open", "the reserved field is 1", {"record": put(12, b"\1")}),
    "repository": ("open", "a repository in a single archive", {"record": put(16, b"\1")}),
    "slots-bytes": (
        "open",
        "slots_bytes is one too many",
        {"record": more_slots_bytes},
    ),
    "slots-json": ("open", "the slots are no JSON", {"record": put(96, b"(")}),
    "record-short": ("open", "a seal record of 95 bytes", {"record": lambda d: d.__delitem__(slice(95, None))}),
    "directory-tag": ("open", "the tag of the directory", {"directory": flip(-1)}),
    "directory": ("open", "a bit of the directory", {"directory": flip(0)}),
    "public": ("open", "the CRC of an index block was changed and all sums with it", {"public": flip(64)}),
    "metadata-tag": ("open", "the tag of the metadata", {"metadata": flip(-1)}),
    "index-tag": ("read", "the tag of each index block", {"index": flip(-1)}),
    "block-tag": ("read", "the tag of a block", {"block 1": flip(-1)}),
    "block": ("read", "a bit of a block", {"block 1": flip(0)}),
}


def archives() -> list[tuple[str, str, str, bytes]]:
    """Name, what refuses or ok, stage and comment together, bytes."""
    found = [
        ("sealed", "ok", "", seal(plain(), Sealed())),
        ("sealed-chacha", "ok", "", seal(plain(), Sealed(suite=2, name="chacha"))),
    ]
    found += [
        (f"sealed-{name}", stage, comment, seal(plain(), Sealed(edits=edits)))
        for name, (stage, comment, edits) in FAULTS.items()
    ]
    return found
