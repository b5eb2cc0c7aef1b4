"""Deltas for reader.py (FORMAT.md 5.3, codecs 32 to 35): ancestors, parts, maps and rows against base rows.

Rows come from `source.chunk(stream, chunk)`, which checks CRC-64 and BLAKE3; only `open_ancestor` touches files.
"""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from reader_codecs import ArchiveFault, Bytes, Words, decode, in_codec, need
from reader_plan import Stream

PART, MAP = 36, 37  # roles
MAPPED, MAP_CODEC, RESIDUAL, EDITS = 32, 33, 34, 35
RECORD_BYTES, PART_NUMBER_MAX, ROW_BITS, SLAB_ROWS = 64, 65_535, 48, 1 << 20
ROW_MASK = np.uint64((1 << ROW_BITS) - 1)
in_directory = partial(need, "directory")


@dataclass(frozen=True)
class Ancestor:
    """An archive into which entries of a delta point."""

    archive_id: bytes
    archive_bytes: int
    root: bytes

    @property
    def name(self) -> str:
        return str(uuid.UUID(bytes=self.archive_id))


@dataclass(frozen=True)
class Relations:
    """How the streams of a delta belong together; keys are names of streams."""

    maps: dict[str, Stream] = field(default_factory=dict)  # of an owner
    parts: dict[str, dict[int, Stream]] = field(default_factory=dict)  # of an owner, by part_number
    owners: dict[str, Stream] = field(default_factory=dict)  # of a part

    def base_of(self, part: Stream) -> Stream:
        return self.parts[self.owners[part.name].name][part.base_part]

    def role_of(self, stream: Stream) -> int:
        """What a codec is told: a part is decoded as its owner."""
        return self.owners.get(stream.name, stream).role


class Source(Protocol):
    """What reader.Archive is here."""

    is_delta: bool
    relations: Relations

    def chunk(self, stream: Stream, chunk: int) -> Bytes: ...

    def rows_raw(self, stream: Stream, first: int, count: int) -> Bytes: ...


def parse_ancestors(table: bytes, own_id: bytes) -> list[Ancestor]:
    found: list[Ancestor] = []
    for number in range(len(table) // RECORD_BYTES):
        place = f"ancestor {number + 1}"
        archive_id, archive_bytes, root, reserved = struct.unpack_from("<16sQ32sQ", table, RECORD_BYTES * number)
        in_directory(archive_id != own_id, place, "another archive than this one", archive_id.hex())
        known = any(archive_id == other.archive_id for other in found)
        in_directory(not known, place, "an archive of its own", archive_id.hex())
        in_directory(archive_bytes >= 192, place, "192 bytes or more", archive_bytes)
        in_directory(reserved == 0, place, "reserved 0", reserved)
        found.append(Ancestor(archive_id, archive_bytes, root))
    return found


def open_ancestor(ancestor: Ancestor, given: Mapping[str, Any], folder: Path | None) -> BinaryIO:
    """The ancestor's file: what was given under its id (a path or an open file), else the one in `folder`."""
    place = f"ancestor {ancestor.name}"
    where = given.get(ancestor.name, folder and folder / f"{ancestor.name}.vark")
    if where is None:
        raise ArchiveFault("directory", place, "expected it among the archives given")
    try:
        file: BinaryIO = where if hasattr(where, "read") else open(where, "rb")  # noqa: SIM115 - the archive closes it
    except FileNotFoundError:
        raise ArchiveFault("directory", place, f"expected it at {where}, found nothing") from None
    found = file.seek(0, os.SEEK_END)
    if found != ancestor.archive_bytes:
        file.close()
        raise ArchiveFault("directory", place, f"expected {ancestor.archive_bytes} bytes, found {found}")
    return file


def relate(streams: list[Stream], is_delta: bool) -> Relations:
    """The rules of 5.3 for part_of, part_number and base_part."""
    relations = Relations()
    for number, stream in enumerate(streams):
        place, words = f"stream {number}", (stream.part_of, stream.part_number, stream.base_part)
        if not is_delta or stream.role not in (PART, MAP):
            in_directory(not any(words), place, "part_of, part_number and base_part 0", words)
            continue
        in_directory(1 <= stream.part_of <= len(streams), place, f"part_of 1 to {len(streams)}", stream.part_of)
        owner = streams[stream.part_of - 1]
        in_directory(owner.role not in (PART, MAP), place, "an owner that is no part or map", owner.name)
        if stream.role == MAP:
            in_directory(not any(words[1:]), place, "part_number and base_part 0", words[1:])
            shape = (stream.element_type, stream.row_elements, stream.row_count)
            in_directory(shape == ("u64", 1, owner.row_count), place, f"one u64 for {owner.row_count} rows", shape)
            in_directory(owner.name not in relations.maps, place, "the only map of its owner", owner.name)
            relations.maps[owner.name] = stream
            continue
        own, theirs = ((s.element_type, s.row_elements) for s in (stream, owner))
        in_directory(own == theirs, place, f"rows like its owner's, {theirs}", own)
        fits = 1 <= stream.part_number <= PART_NUMBER_MAX
        in_directory(fits, place, f"part_number 1 to {PART_NUMBER_MAX}", stream.part_number)
        siblings = relations.parts.setdefault(owner.name, {})
        in_directory(stream.part_number not in siblings, place, "a part_number of its own", stream.part_number)
        siblings[stream.part_number] = stream
        relations.owners[stream.name] = owner
    for number, stream in enumerate(streams):
        if stream.name in relations.owners:
            owner = relations.owners[stream.name]
            in_directory(owner.name in relations.maps, f"stream {number}", "an owner with a map", owner.name)
            base = relations.parts[owner.name].get(stream.base_part) if stream.base_part else None
            good = stream.base_part == 0 or (base is not None and base.base_part == 0)
            in_directory(good, f"stream {number}", "a base_part that has none itself", stream.base_part)
    return relations


def _take_rows(source: Source, stream: Stream, wanted: Words, out: Bytes, places: Any) -> None:
    """out[places[i]] = row wanted[i]; each chunk is decoded once."""
    chunks = wanted // np.uint64(stream.chunk_rows)
    order = np.argsort(chunks, kind="stable")
    firsts = np.flatnonzero(np.diff(chunks[order], prepend=chunks[order][:1] + np.uint64(1)))
    for run in np.split(order, firsts[1:]) if len(order) else ():
        chunk = int(chunks[run[0]])
        rows = source.chunk(stream, chunk).reshape(-1, stream.row_bytes)
        out[places[run]] = rows[(wanted[run] - np.uint64(chunk * stream.chunk_rows)).astype(np.int64)]


def read_mapped(source: Source, owner: Stream, chunk: int) -> Bytes:
    """A chunk of a mapped stream, row by row from its parts; the caller compares the digest."""
    table, parts = source.relations.maps[owner.name], source.relations.parts.get(owner.name, {})
    first, count = chunk * owner.chunk_rows, owner.chunk_bytes(chunk) // owner.row_bytes
    out = np.empty((count, owner.row_bytes), np.uint8)
    for start in range(0, count, SLAB_ROWS):
        place = f'rows from {first + start} on of map "{table.name}"'
        raw = source.rows_raw(table, first + start, min(SLAB_ROWS, count - start))
        values = np.ascontiguousarray(raw).view("<u8")
        numbers, rows = values >> np.uint64(ROW_BITS), values & ROW_MASK
        present = np.unique(numbers).tolist()
        for number in present:
            in_codec(number in parts, place, f"one of the parts {sorted(parts)}", number)
            last = int(rows[numbers == number].max())
            in_codec(last < parts[number].row_count, place, f"{parts[number].row_count} rows in part {number}", last)
        for number in present:
            chosen = np.flatnonzero(numbers == number)
            _take_rows(source, parts[number], rows[chosen], out, chosen + start)
    return out.ravel()


def decode_map(block: bytes, count: int, first_row: int, place: str) -> tuple[Words, list[int]]:
    """Codec 33: the values, and the targets of the table."""
    in_codec(len(block) >= 16, place, "16 bytes or more", len(block))
    target_count, low, high, *sizes, escape_count = struct.unpack_from("<BBHIII", block)
    in_codec(target_count >= 1, place, "1 to 255 targets", target_count)
    in_codec(low == high == 0, place, "reserved 0", (low, high))
    ends = [16 + 4 * target_count]
    for size in (*sizes, 8 * escape_count):
        ends.append(ends[-1] + size)
    in_codec(len(block) == ends[-1], place, f"{ends[-1]} bytes", len(block))
    table = np.frombuffer(block, np.dtype([("target", "<u2"), ("mode", "u1"), ("reserved", "u1")]), target_count, 16)
    targets = table["target"].tolist()
    in_codec(len(set(targets)) == target_count, place, "no target twice", targets)
    in_codec(np.all(table["mode"] <= 1), place, "mode 0 or 1", table["mode"].max())
    in_codec(not table["reserved"].any(), place, "reserved 0")
    places = decode(1, "u8", block[ends[0] : ends[1]], count, place)
    steps = decode(1, "u8", block[ends[1] : ends[2]], count, place)
    in_codec(np.all(places < target_count), place, f"places below {target_count}", places.max(initial=0))
    escapes = np.frombuffer(block, "<u8", escape_count, ends[2])
    escaped = steps == 255
    in_codec(np.count_nonzero(escaped) == escape_count, place, f"{np.count_nonzero(escaped)} escapes", escape_count)
    in_codec(np.all(escapes <= ROW_MASK), place, "escapes below 2^48", escapes.max(initial=0))
    forced = np.zeros(count, "<u8")
    forced[escaped] = escapes
    rows = np.empty(count, "<u8")
    for number in range(target_count):
        at = np.flatnonzero(places == number).astype("<u8")
        is_positional = bool(table["mode"][number])
        rows[at] = _rows_of_target(at, steps[at], forced[at], first_row, is_positional)
    in_codec(np.all(rows <= ROW_MASK), place, "rows below 2^48", rows.max(initial=0))
    return (np.array(targets, "<u8") << np.uint64(ROW_BITS))[places] | rows, targets


def _rows_of_target(at: Words, steps: Bytes, forced: Words, first_row: int, is_positional: bool) -> Words:
    """Rows of one target; `at` are its places in the chunk. Sums stay below 2^63: all terms are below 2^49 or few."""
    if not len(at):
        return at
    moves = steps.astype("<u8")
    moves[1:] += np.diff(at) if is_positional else np.uint64(1)
    moves[0] += at[0] + np.uint64(first_row) if is_positional else np.uint64(0)
    # Between two escapes rows are running sums; an escape starts a new one.
    sums = np.cumsum(moves)
    starts = np.flatnonzero(steps == 255)
    latest = np.searchsorted(starts, np.arange(len(at)), side="right")
    base = np.concatenate([[np.uint64(0)], forced[starts] - sums[starts]])  # may wrap, and wraps back below
    result: Words = sums + base[latest]
    return result


def decode_block(source: Source, codec: int, stream: Stream, chunk: int, block: bytes, place: str) -> Bytes:
    """A block as FORMAT.md 7 says: codecs 33 to 35 here, all others by their pages."""
    raw_bytes, role = stream.chunk_bytes(chunk), source.relations.role_of(stream)
    if codec not in (MAP_CODEC, RESIDUAL, EDITS):
        return decode(codec, stream.element_type, block, raw_bytes, place, stream.row_elements)
    in_codec(source.is_delta, place, "a codec for archives that are no deltas", codec)
    count = raw_bytes // stream.row_bytes
    if codec == MAP_CODEC:
        in_codec(role == MAP and stream.element_type == "u64", place, "codec 33 in a map only", stream.element_type)
        return decode_map(block, count, chunk * stream.chunk_rows, place)[0].view(np.uint8)
    in_codec(stream.base_part != 0, place, "codecs 34 and 35 in a part with a base_part only")
    in_codec(len(block) >= 8, place, "8 bytes or more", len(block))
    reference_bytes, reserved = struct.unpack_from("<II", block)
    in_codec(reserved == 0, place, "reserved 0", reserved)
    in_codec(reference_bytes <= len(block) - 8, place, f"up to {len(block) - 8} bytes of references", reference_bytes)
    references, targets = decode_map(block[8 : 8 + reference_bytes], count, 0, place)
    in_codec(targets == [0], place, "references of target 0", targets)
    base_part = source.relations.base_of(stream)
    base = np.full((count, stream.row_bytes), 0xFF, np.uint8)
    there = np.flatnonzero(references < np.uint64(base_part.row_count))
    _take_rows(source, base_part, references[there], base, there)
    rest = block[8 + reference_bytes :]
    if codec == RESIDUAL:
        from reader_residual import decode_residual

        return decode_residual(rest, base.ravel(), raw_bytes, stream.element_type, place)
    in_codec(np.all(references[1:] > references[:-1]), place, "references of codec 35 that ascend")
    from reader_edits import decode_edits

    return decode_edits(rest, base.ravel(), raw_bytes, stream.row_elements, stream.element_type, references, place)
