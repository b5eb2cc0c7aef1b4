"""Reads every vark archive: the second implementation of FORMAT.md, made from its text alone.

Needs numpy, zstandard and blake3, for sealed archives `cryptography`; no Rust. It is the oracle of the tests and the
rescue tool of last resort: every MUST of the spec is checked, memory stays at a few chunks, and speed comes second.
Its rooms: reader_codecs.py (faults, CRC, JSON, blocks), reader_deltas.py (ancestors, parts, maps), reader_plan.py
(split plans), reader_sealed.py and reader_seal.py (keys) and reader_repository.py (snapshots).
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import struct
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import blake3
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # also when loaded by its path
from reader_codecs import DTYPES, TYPES, ArchiveFault, Bytes, crc64, need, parse_json
from reader_deltas import MAPPED, Ancestor, decode_block, open_ancestor, parse_ancestors, read_mapped, relate
from reader_ids import check_all, rows_of_id
from reader_plan import Member, Stream, check_plan, component_is_safe, member_pieces
from reader_repository import Repository

in_trailer, in_directory, in_index = partial(need, "trailer"), partial(need, "directory"), partial(need, "index")
MAGIC = b"\x89VARK\r\n\x1a"
TAIL_BYTES, CHUNK_BYTES_MAX, PLAN_BYTES_MAX, CACHE_BYTES = 65_536, 1 << 28, 1 << 24, 1 << 26
PUBLIC = np.dtype([("offset", "<u8"), ("stored", "<u4"), ("archive", "<u2"), ("flags", "<u2"), ("crc", "<u8")])
SEALED = np.dtype([("digest", "V32"), ("codec", "<u2"), ("flags", "<u2"), ("stream", "<u4"), ("chunk", "<u8")])


class Archive:
    """An open archive: trailer, root, directory and metadata are checked. Not thread safe.

    `ancestors` of a delta: id (usual form of a UUID) -> path or open file; one that is not there is looked for beside
    the archive as `<id>.vark`, when a block of it is first needed. Files that were given are closed with the archive.
    Of a sealed one, `secrets`: passphrases (bytes), identities and recovery codes (texts); `epoch_roots`: a keyring's.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | BinaryIO,
        ancestors: Mapping[str, Any] | None = None,
        secrets: Sequence[bytes | str] = (),
        epoch_roots: Mapping[int, bytes] | None = None,
    ) -> None:
        self._secrets, self._epoch_roots, self.seal = secrets, epoch_roots or {}, None
        self._folder: Path | None = None  # where ancestors are looked for
        if isinstance(path, (str, os.PathLike)):
            self._folder, path = Path(path).parent, open(path, "rb")  # noqa: SIM115 - held until close
        self._file, self._given = path, dict(ancestors or {})
        self._ancestor_files: dict[int, BinaryIO] = {}
        self._cache: OrderedDict[tuple[str, int], Bytes] = OrderedDict()
        self._blocks: OrderedDict[int, tuple[Any, Any]] = OrderedDict()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for file in (self._file, *self._ancestor_files.values()):
            file.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ancestor_file(self, number: int) -> BinaryIO:
        if number not in self._ancestor_files:
            self._ancestor_files[number] = open_ancestor(self.ancestors[number - 1], self._given, self._folder)
        return self._ancestor_files[number]

    def _read(self, offset: int, count: int, archive: int = 0) -> bytes:
        """`archive` as in an entry: 0 is this one."""
        file = self._ancestor_file(archive) if archive else self._file
        file.seek(offset)
        data = file.read(count)
        if len(data) != count:
            raise OSError(errno.EIO, "the file became shorter while it was read")
        return data

    def _open(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        in_trailer(size >= 192, "file", "192 bytes or more", size)
        tail = self._read(size - min(size, TAIL_BYTES), min(size, TAIL_BYTES))
        trailer = tail[-128:]
        in_trailer(trailer[120:] == MAGIC[::-1], "magic", MAGIC[::-1].hex(), trailer[120:].hex())
        in_trailer(crc64(trailer[:112]) == struct.unpack_from("<Q", trailer, 112)[0], "trailer_crc", "its CRC-64")
        fields = struct.unpack_from("<QIIQQ", trailer)
        directory_offset, directory_bytes, metadata_bytes, self.archive_bytes, self.archive_crc = fields
        self.root, self.archive_id = trailer[32:64], trailer[64:80]
        *features, major, minor, reserved = struct.unpack_from("<QQQHHI", trailer, 80)
        self.version, self.features = (major, minor), tuple(features)
        in_trailer(major == 1, "version_major", 1, major)
        known = (0, 2, 3)[min(minor, 2)]  # bit 1 (delta) came with version 1.1, bit 0 (sealed) with 1.2
        in_trailer(features[0] & ~known == 0, "incompat", f"no bit that version 1.{minor} lacks", hex(features[0]))
        self.is_delta, self.is_sealed = bool(features[0] & 2), bool(features[0] & 1)
        self.overhead = 16 if self.is_sealed else 0
        in_trailer(reserved == 0, "reserved", 0, reserved)
        in_trailer(self.archive_bytes == size, "archive_bytes", size, self.archive_bytes)
        parts = directory_bytes + metadata_bytes + 128
        in_trailer(directory_offset + parts == size, "directory_offset", size - parts, directory_offset)
        in_trailer(parts <= TAIL_BYTES, "directory and metadata", f"up to {TAIL_BYTES} bytes with trailer", parts)
        in_trailer(directory_offset >= 64, "directory_offset", "64 or more", directory_offset)
        header = MAGIC + struct.pack("<HHIQQQ", major, minor, 0, *features) + self.archive_id
        self.header = header + struct.pack("<Q", crc64(header))
        directory, metadata = tail[-parts:][:directory_bytes], tail[-parts:][directory_bytes:-128]
        digest = blake3.blake3(self.header + directory + metadata).digest()
        in_trailer(digest == self.root, "root", digest.hex(), self.root.hex())
        self.directory_offset = directory_offset
        self._open_directory(directory)
        self.metadata = parse_json(self._opened(metadata, "metadata", 4), "metadata")

    def _open_directory(self, data: bytes) -> None:
        in_directory(len(data) >= 64, "directory_bytes", "64 or more", len(data))
        (magic, self.index_offset, self.entry_count, self.entries_per_block, stream_count, ancestor_count, name_bytes,
         seal, overhead, parity, reserved) = struct.unpack_from("<8sQQIIIIIIQQ", data)  # fmt: skip
        in_directory(magic == b"VARK-DIR", "magic", "VARK-DIR", magic)
        in_directory(parity == reserved == 0, "parity, reserved", "both 0")
        in_directory((seal > 0) == self.is_sealed, "seal_bytes", "more than 0 exactly when sealed", seal)
        in_directory(overhead == self.overhead, "sealed_overhead", self.overhead, overhead)
        fits = 1 <= ancestor_count <= 255 if self.is_delta else ancestor_count == 0
        in_directory(fits, "ancestor_count", "1 to 255 in a delta, else 0", ancestor_count)
        aligned = self.index_offset >= 64 and self.index_offset % 64 == 0
        in_directory(aligned, "index_offset", "a multiple of 64", self.index_offset)
        in_directory(1 <= self.entries_per_block <= 3640, "entries_per_block", "1 to 3640", self.entries_per_block)
        in_directory(stream_count <= 256, "stream_count", "up to 256", stream_count)
        self.block_count = -(-self.entry_count // self.entries_per_block)
        end = self.index_offset + 72 * self.entry_count + overhead * self.block_count
        in_directory(end == self.directory_offset, "entry_count", f"index to end at {self.directory_offset}", end)
        table = 64 + 8 * self.block_count
        public = table + 64 * ancestor_count + seal
        records = public + 32 * self.block_count
        names = records + 80 * stream_count
        total = names + name_bytes + overhead
        in_directory(total == len(data), "directory_bytes", total, len(data))
        self.index_crcs = struct.unpack_from(f"<{self.block_count}Q", data, 64)
        self.ancestors: list[Ancestor] = parse_ancestors(data[table:][: 64 * ancestor_count], self.archive_id)
        if self.is_sealed:
            from reader_sealed import Seal  # needs a package that plain archives do not

            self.seal = Seal(data[public - seal : public], self.archive_id, self.ancestors)
            self.seal.unlock(self._secrets, self._epoch_roots)
        public_digest = blake3.blake3(self.header + data[:public]).digest()
        data = data[:public] + self._opened(data[public:], "directory", 3, public_digest=public_digest)
        self.index_digests = data[public:records]
        self.streams: list[Stream] = []
        self.streams_by_name: dict[str, Stream] = {}
        name_offset = first_entry = 0
        for number in range(stream_count):
            record = data[records + 80 * number :][:80]
            stream, name_offset = self._stream_record(number, record, data[names:], name_offset)
            in_directory(stream.first_entry == first_entry, f"stream {number}", f"first_entry {first_entry}")
            first_entry += stream.chunk_count
            in_directory(stream.name not in self.streams_by_name, f"stream {number}", "a name of its own", stream.name)
            self.streams.append(stream)
            self.streams_by_name[stream.name] = stream
        in_directory(name_offset == name_bytes, "names", f"{name_bytes} bytes in use", name_offset)
        in_directory(first_entry == self.entry_count, "entry_count", first_entry, self.entry_count)
        self.relations = relate(self.streams, self.is_delta)

    def _opened(
        self,
        data: bytes,
        place: str,
        kind: int,
        archive: int = 0,
        at: tuple[int, int] = (0, 0),
        public_digest: bytes = b"",
    ) -> bytes:
        """A sealed part, opened; any part of an archive that is not sealed."""
        if self.seal is None:
            return data
        return self.seal.key(archive).open(data, place, kind, *at, public_digest)

    def _index_place(self, block: int) -> tuple[int, int, int]:
        """First entry, offset and stored bytes of an index block."""
        first = block * self.entries_per_block
        count = min(self.entries_per_block, self.entry_count - first)
        return first, self.index_offset + 72 * first + self.overhead * block, 72 * count + self.overhead

    def _stream_record(self, number: int, record: bytes, names: bytes, expected_offset: int) -> tuple[Stream, int]:
        (offset, name_bytes, role, element, flags, row_bytes, elements, reserved, rows, chunk_rows, first, chunks,
         stored_bytes, *delta, more) = struct.unpack("<IHHHHIIIQQQQQIIII", record)  # fmt: skip
        place = f"stream {number}"
        in_directory(offset == expected_offset, place, f"name_offset {expected_offset}", offset)
        raw_name = names[offset : offset + name_bytes]
        fits = 1 <= name_bytes <= 255 and len(raw_name) == name_bytes
        in_directory(fits, place, "a name of 1 to 255 bytes", name_bytes)
        try:
            name = raw_name.decode()
        except UnicodeDecodeError:
            raise ArchiveFault("directory", place, "expected a name in UTF-8") from None
        in_directory(min(raw_name) >= 0x20 and 0x7F not in raw_name, place, "a name without control bytes", name)
        for own_role, prefix in ((11, "document/"), (12, "attachment/")):
            safe = role != own_role or not name.startswith(prefix) or component_is_safe(name[len(prefix) :])
            in_directory(safe, place, "a safe path component", name)
        in_directory(element in TYPES, place, "an element type", element)
        in_directory(flags == reserved == more == 0, place, "flags and reserved 0")
        size = np.dtype(DTYPES[TYPES[element]]).itemsize
        in_directory(1 <= row_bytes == elements * size, place, f"row_bytes {elements} x {size}", row_bytes)
        fits = chunk_rows >= 1 and chunk_rows * row_bytes <= CHUNK_BYTES_MAX
        in_directory(fits, place, "chunks up to 256 MiB", chunk_rows)
        in_directory(chunks == -(-rows // chunk_rows), place, f"chunk_count {-(-rows // chunk_rows)}", chunks)
        sizes = (row_bytes, elements, rows, chunk_rows, first, chunks, stored_bytes)
        stream = Stream(name, role, TYPES[element], *sizes, *delta)
        return stream, offset + name_bytes

    def _index_block(self, block: int) -> tuple[Any, Any]:
        """Public and sealable entries of an index block, checked whole."""
        if block in self._blocks:
            return self._blocks[block]
        first, offset, stored_bytes = self._index_place(block)
        count = (stored_bytes - self.overhead) // 72
        data = self._read(offset, stored_bytes)
        data = data[: 24 * count] + self._opened(data[24 * count :], f"index block {block}", 2, at=(0, block))
        expected = self.index_digests[32 * block : 32 * block + 32]
        in_index(blake3.blake3(data).digest() == expected, f"index block {block}", f"BLAKE3 {expected.hex()}")
        public, sealed = np.frombuffer(data, PUBLIC, count), np.frombuffer(data, SEALED, count, 24 * count)
        raw, is_mapped = np.empty(count, np.int64), np.zeros(count, np.bool_)
        for s in self.streams:
            low, high = max(first, s.first_entry), min(first + count, s.first_entry + s.chunk_count)
            if low < high:
                is_mapped[low - first : high - first] = s.name in self.relations.maps
                raw[low - first : high - first] = s.chunk_rows * s.row_bytes
                if high == s.first_entry + s.chunk_count:
                    raw[high - first - 1] = s.chunk_bytes(s.chunk_count - 1)
        ends = np.array([self.index_offset, *(a.archive_bytes - 128 for a in self.ancestors)], object)
        room = ends[np.minimum(public["archive"], len(self.ancestors))] - public["offset"].astype(object)
        good = (public["offset"] % 64 == 0) & (public["offset"] >= 64) & (public["stored"] >= 1 + self.overhead)
        good &= (public["stored"] <= raw + 64 + self.overhead) & (public["stored"] <= room).astype(bool)
        good &= (public["archive"] <= len(self.ancestors)) & (public["flags"] == 0)
        good = np.where(is_mapped, (public == np.zeros((), PUBLIC)) & (sealed["codec"] == MAPPED), good)
        elsewhere = (public["archive"] > 0) & self.is_sealed
        good &= (sealed["flags"] == 0) & (sealed["stream"] < np.where(elsewhere, 256, 1))
        good &= (sealed["chunk"] == 0) | elsewhere
        for bad in np.flatnonzero(~good)[:1].tolist():
            raise ArchiveFault("index", f"entry {first + bad}", f"breaks section 6: {public[bad]} {sealed[bad]}")
        self._blocks[block] = public, sealed
        if len(self._blocks) > 8:
            self._blocks.popitem(last=False)
        return public, sealed

    def chunk(self, stream: Stream, chunk: int) -> Bytes:
        """The logical bytes of a chunk: CRC, codec and BLAKE3 checked."""
        key = (stream.name, chunk)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        place = f'block {chunk} of stream "{stream.name}"'
        block, at = divmod(stream.first_entry + chunk, self.entries_per_block)
        public, sealed = (table[at] for table in self._index_block(block))
        if stream.name in self.relations.maps:
            raw = read_mapped(self, stream, chunk)
        else:
            stored = self._read(int(public["offset"]), int(public["stored"]), int(public["archive"]))
            crc = crc64(stored)
            need("block", crc == public["crc"], place, f"CRC-64 {int(public['crc']):016x}", f"{crc:016x}")
            archive, own = int(public["archive"]), (self.streams.index(stream), chunk)
            at = (int(sealed["stream"]), int(sealed["chunk"])) if archive else own
            stored = self._opened(stored, place, 1, archive, at)
            raw = decode_block(self, int(sealed["codec"]), stream, chunk, stored, place)
        digest = blake3.blake3(raw.data).digest()
        need("digest", digest == sealed["digest"].tobytes(), place, sealed["digest"].tobytes().hex(), digest.hex())
        self._cache[key] = raw
        while len(self._cache) > 1 and sum(len(kept) for kept in self._cache.values()) > CACHE_BYTES:
            self._cache.popitem(last=False)
        return raw

    def row_pieces(self, stream: Stream, first: int, count: int) -> Iterator[Bytes]:
        """The bytes of `count` rows, chunk by chunk; the range is checked by the caller."""
        while count:
            chunk, at = divmod(first, stream.chunk_rows)
            taken = min(count, stream.chunk_rows - at)
            yield self.chunk(stream, chunk)[at * stream.row_bytes : (at + taken) * stream.row_bytes]
            first, count = first + taken, count - taken

    def rows_raw(self, stream: Stream, first: int, count: int) -> Bytes:
        pieces = list(self.row_pieces(stream, first, count))
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, np.uint8), *pieces])

    def rows(self, name: str, first: int, count: int) -> np.ndarray[Any, Any]:
        """Rows first ... first + count - 1, shape (count, row_elements); bf16 as its 16 bits. Read only."""
        stream = self.streams_by_name.get(name)
        if stream is None or min(first, count) < 0 or first + count > stream.row_count:
            raise ValueError(f"rows {first} to {first + count} of {name!r}: no such rows in this archive")
        raw = np.ascontiguousarray(self.rows_raw(stream, first, count))
        return raw.view(DTYPES[stream.element_type]).reshape(count, stream.row_elements)

    def plan(self) -> dict[str, Any] | None:
        """The split plan as JSON, not yet checked beyond the JSON rules; None without members."""
        stream = self.streams_by_name.get("plan")
        if stream is None or stream.role != 9:
            return None
        need("plan", stream.element_type == "u8" and stream.row_bytes == 1, "stream", "u8 rows of one element")
        need("plan", stream.row_count <= PLAN_BYTES_MAX, "stream", f"up to {PLAN_BYTES_MAX} bytes", stream.row_count)
        return parse_json(self.rows_raw(stream, 0, stream.row_count).tobytes(), "plan")

    def members(self) -> tuple[list[Member], list[str]]:
        """Members and empty folders, everything in section 8.1 checked."""
        plan = self.plan()
        return ([], []) if plan is None else (check_plan(self, plan), plan.get("folders", []))

    def restore(self, target: str | os.PathLike[str], max_bytes: int | None = None) -> None:
        """One member without folders: a file; anything else: a folder. Never replaces anything."""
        goal, (members, folders) = Path(os.path.abspath(target)), self.members()
        if not members and not folders:
            raise ValueError("this archive holds no members; see rows and stream")
        total = sum(member.byte_count for member in members)
        if total > min(shutil.disk_usage(goal.parent).free, total if max_bytes is None else max_bytes):
            raise OSError(errno.ENOSPC, f"{total} bytes are too many for {goal}")
        if os.path.lexists(goal):
            raise FileExistsError(errno.EEXIST, "the target exists", str(goal))
        with tempfile.TemporaryDirectory(prefix=f".{goal.name[:100]}.", dir=goal.parent) as beside:
            place = Path(beside) / "restored"
            if len(members) == 1 and not folders:
                self._write_member(members[0], place)
                if os.name == "nt":
                    os.rename(place, goal)  # refuses to replace there
                else:
                    os.link(place, goal)
                return
            place.mkdir()
            for folder in folders:
                place.joinpath(*folder.split("/")).mkdir(parents=True, exist_ok=True)
            for member in members:
                file = place.joinpath(*member.name.split("/"))
                file.parent.mkdir(parents=True, exist_ok=True)
                self._write_member(member, file)
            if os.name != "nt":
                goal.mkdir()  # claims the name: renaming a folder replaces only an empty one
            os.rename(place, goal)

    def _write_member(self, member: Member, path: Path) -> None:
        with open(path, "xb") as file:
            self._copy_member(member, file.write)
            file.flush()
            os.fsync(file.fileno())

    def _copy_member(self, member: Member, write: Callable[[memoryview], object]) -> None:
        hasher, written = blake3.blake3(), 0
        for piece in member_pieces(self, member):
            piece = np.ascontiguousarray(piece).ravel()
            hasher.update(piece.data)
            write(piece.data)
            written += len(piece)
        need("plan", written == member.byte_count, member.name, f"{member.byte_count} bytes", written)
        need("digest", member.blake3 in (None, hasher.hexdigest()), member.name, member.blake3, hasher.hexdigest())

    def verify(self) -> list[ArchiveFault]:
        """Everything there is to check, also what opening skips. Empty when the archive is whole."""
        faults: list[ArchiveFault] = []

        def attempt(work: Callable[..., object], *arguments: object) -> None:
            try:
                work(*arguments)
            except ArchiveFault as fault:
                if str(fault) not in map(str, faults):
                    faults.append(fault)

        attempt(self._verify_frame)
        for block in range(self.block_count):
            attempt(self._verify_index_block, block)
        if not faults or all(fault.layer != "index" for fault in faults):
            attempt(self._verify_area)
        for number in range(1, len(self.ancestors) + 1):
            attempt(self._ancestor_file, number)
        for stream in self.streams:
            for chunk in range(stream.chunk_count):
                attempt(self.chunk, stream, chunk)
        attempt(self._verify_members)
        attempt(check_all, self)
        return faults

    def _verify_frame(self) -> None:
        crc, end = 0, self.archive_bytes - 128
        for offset in range(0, end, 1 << 22):
            crc = crc64(self._read(offset, min(1 << 22, end - offset)), crc)
        found = self._read(0, 64)
        need("header", found == self.header, "header", self.header.hex(), found.hex())
        in_trailer(crc == self.archive_crc, "archive_crc", f"{crc:016x}", f"{self.archive_crc:016x}")

    def _verify_index_block(self, block: int) -> None:
        self._index_block(block)
        crc = crc64(self._read(*self._index_place(block)[1:]))
        expected = self.index_crcs[block]
        in_index(crc == expected, f"index block {block}", f"CRC-64 {expected:016x}", f"{crc:016x}")

    def _verify_area(self) -> None:
        """Blocks do not overlap; what is between them is short and zero; streams add up."""
        tables = [self._index_block(block)[0] for block in range(self.block_count)]
        entries = np.concatenate([np.empty(0, PUBLIC), *tables])
        for stream in self.streams:
            own = entries[stream.first_entry :][: stream.chunk_count]
            total = int(own["stored"][own["archive"] == 0].sum(dtype=np.uint64))
            in_index(
                total == stream.stored_bytes, f"stream {stream.name!r}", f"stored_bytes {stream.stored_bytes}", total
            )
        entries, end = entries[(entries["archive"] == 0) & (entries["offset"] > 0)], 64  # mapped entries have no block
        order = np.argsort(entries["offset"], kind="stable")
        starts = [*entries["offset"][order].tolist(), self.index_offset]
        for start, stored in zip(starts, [*entries["stored"][order].tolist(), 0], strict=True):
            in_index(start >= end, f"block at {start}", f"no overlap with the block up to {end}")
            need("padding", start < end + 64, f"bytes {end} to {start}", "fewer than 64 bytes", start - end)
            need("padding", not any(self._read(end, start - end)), f"bytes {end} to {start}", "zeros")
            end = start + stored

    def _verify_members(self) -> None:
        for member in self.members()[0]:
            if member.blake3:
                self._copy_member(member, len)


def verify(path: str | os.PathLike[str], secrets: Sequence[bytes | str] = ()) -> list[ArchiveFault]:
    """As Archive.verify, of an archive that may not even open."""
    try:
        with Archive(path, secrets=secrets) as archive:
            return archive.verify()
    except ArchiveFault as fault:
        return [fault]


HELP = {"archive": "an archive, or the folder of a repository", "snapshot": "only of a repository: an id's beginning"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Reads vark archives by the specification.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command, names in {"info": [], "verify": [], "restore": ["snapshot", "target"], "stream": ["name", "target"],
                           "rows": ["name", "first", "count", "target"],
                           "rows-of-id": ["name", "id"], "snapshots": []}.items():  # fmt: skip
        sub = commands.add_parser(command)
        for name in ["archive", *names]:
            kind = int if name in ("first", "count", "id") else str
            sub.add_argument(name, type=kind, nargs="?" if name == "snapshot" else None, help=HELP.get(name))
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "verify":
            faults = verify(asked.archive)
            print("\n".join(map(str, faults)) or "whole")
            return 1 if faults else 0
        if asked.command == "snapshots" or (asked.command == "restore" and asked.snapshot):
            _run_repository(Repository(asked.archive), asked)
            return 0
        with Archive(asked.archive) as archive:
            _run(archive, asked)
            return 0
    except (ArchiveFault, OSError, ValueError) as error:
        print(f"{asked.archive}: {error}", file=sys.stderr)
        return 1


def _run_repository(repository: Repository, asked: argparse.Namespace) -> None:
    for fault in repository.faults:
        print(fault, file=sys.stderr)
    if asked.command == "restore":
        repository.restore(asked.snapshot, asked.target, Archive)
    for commit in repository.commits if asked.command == "snapshots" else ():
        archive_count = len(commit.archives) + len(commit.closure)
        print(commit.snapshot, commit.created_unix_ms, archive_count, commit.name)


def _run(archive: Archive, asked: argparse.Namespace) -> None:
    if asked.command == "info":
        facts = {"archive_id": archive.archive_id.hex(), "version": archive.version, "root": archive.root.hex(),
                 "metadata": archive.metadata, "streams": [vars(stream) for stream in archive.streams]}  # fmt: skip
        print(json.dumps(facts, indent=1, ensure_ascii=False))
    elif asked.command == "restore":
        archive.restore(asked.target)
    elif asked.command == "rows-of-id":
        print(*rows_of_id(archive, asked.name, asked.id))
    elif asked.command == "rows":
        rows = archive.rows(asked.name, asked.first, asked.count)
        with open(asked.target, "xb") as file:
            np.save(file, rows)
    else:
        stream = archive.streams_by_name.get(asked.name)
        if stream is None:
            raise ValueError(f"no stream {asked.name!r}")
        with open(asked.target, "xb") as file:
            for piece in archive.row_pieces(stream, 0, stream.row_count):
                file.write(piece.data)


if __name__ == "__main__":
    sys.exit(main())
