"""Split plans for reader.py (FORMAT.md 8.1): checked whole, then executed in slabs.

A field is read through `source.rows_raw(stream, first, count)`, so nothing here knows chunks, codecs or files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from reader_codecs import U64_MAX, Bytes, Words, need

SLAB_BYTES, SLAB_GROUPS = 1 << 22, 2048
in_plan = partial(need, "plan")
DEVICES = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\.|$)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Stream:
    name: str
    role: int
    element_type: str
    row_bytes: int
    row_elements: int
    row_count: int
    chunk_rows: int
    first_entry: int
    chunk_count: int
    stored_bytes: int
    part_of: int = 0
    part_number: int = 0
    base_part: int = 0

    def chunk_bytes(self, chunk: int) -> int:
        return min(self.chunk_rows, self.row_count - chunk * self.chunk_rows) * self.row_bytes


class Source(Protocol):
    streams_by_name: dict[str, Stream]

    def rows_raw(self, stream: Stream, first: int, count: int) -> Bytes: ...

    def row_pieces(self, stream: Stream, first: int, count: int) -> Iterator[Bytes]: ...


@dataclass(frozen=True)
class Counts:
    """count(i) = (value(i) - subtract) / divide, exactly."""

    stream: Stream
    first: int
    offset: int
    width: int
    subtract: int
    divide: int

    def slabs(self, source: Source, groups: int, place: str) -> Iterator[Words]:
        step = max(1, min(SLAB_GROUPS, SLAB_BYTES // self.stream.row_bytes))
        for start in range(0, groups, step):
            rows = source.rows_raw(self.stream, self.first + start, min(step, groups - start))
            cells = rows.reshape(-1, self.stream.row_bytes)[:, self.offset : self.offset + self.width]
            values = np.ascontiguousarray(cells).view(f"<u{self.width}").ravel().astype(np.uint64)
            in_plan(values.min() >= np.uint64(self.subtract), place, f"values from {self.subtract} on", values.min())
            values = values - np.uint64(self.subtract)
            in_plan(not (values % np.uint64(self.divide)).any(), place, f"counts without remainder by {self.divide}")
            yield values // np.uint64(self.divide)


@dataclass(frozen=True)
class Field:
    stream: Stream
    first: int
    rows: int | None  # None: counted


@dataclass(frozen=True)
class Run:
    kind: str
    groups: int
    fields: tuple[Field, ...]  # kind "rows" is one group of one field
    counts: Counts | None
    table: tuple[int, ...]


@dataclass(frozen=True)
class Member:
    name: str
    byte_count: int
    blake3: str | None
    runs: tuple[Run, ...]


def component_is_safe(name: str) -> bool:
    unsafe = name in ("", ".", "..") or any(c in "/\\:\x7f" or c < " " for c in name) or DEVICES.match(name)
    return not unsafe and len(name.encode()) <= 255


def _take(record: object, key: str, kind: type, place: str, top: int = U64_MAX) -> Any:
    """The value under `key`; a number is an integer of 0 to `top`."""
    in_plan(isinstance(record, dict), place, "an object", record)
    value: Any = record.get(key) if isinstance(record, dict) else None
    in_plan(type(value) is kind, place, f"{key!r} of type {kind.__name__}", value)
    in_plan(kind is not int or 0 <= value <= top, place, f"{key!r} of 0 to {top}", value)
    return value


def _groups(run: object) -> int:
    # A run of rows may have such a key too, but there it means nothing.
    groups = run.get("groups") if isinstance(run, dict) and run.get("kind") != "rows" else None
    return groups if type(groups) is int and groups > 0 else 0


def _check_names(members: list[str], folders: list[str]) -> None:
    for name in members + folders:
        in_plan(len(name.encode()) <= 4096, "name", "up to 4096 bytes", len(name))
        in_plan(all(map(component_is_safe, name.split("/"))), "name", "a relative path of safe components", repr(name))
    # With NUL for the slash, what lies under a name sorts directly after it.
    paths = sorted([(n.replace("/", "\0"), True) for n in members] + [(n.replace("/", "\0"), False) for n in folders])
    for (one, is_member), (two, _) in pairwise(paths):
        inside = is_member and two.startswith(one + "\0")
        in_plan(one != two and not inside, "names", "names that are unique and not inside a member", repr(two))


class _Checker:
    def __init__(self, source: Source) -> None:
        self.source = source

    def stream(self, record: object, place: str) -> Stream:
        name = _take(record, "stream", str, place)
        in_plan(name in self.source.streams_by_name, place, "a stream of the archive", name)
        return self.source.streams_by_name[name]

    def range(self, stream: Stream, first: int, rows: int, place: str) -> None:
        in_plan(first + rows <= stream.row_count, place, f"rows within {stream.row_count}", first + rows)

    def counts(self, record: object, groups: int, place: str) -> Counts:
        stream, width = self.stream(record, place), _take(record, "bytes", int, place)
        in_plan(width in (1, 2, 4, 8), place, "counts of 1, 2, 4 or 8 bytes", width)
        offset, first = _take(record, "offset", int, place), _take(record, "first", int, place)
        in_plan(offset + width <= stream.row_bytes, place, f"a count within {stream.row_bytes} bytes", offset + width)
        divide = _take(record, "divide", int, place)
        in_plan(divide >= 1, place, "a divisor of 1 or more", divide)
        self.range(stream, first, groups, place)
        return Counts(stream, first, offset, width, _take(record, "subtract", int, place), divide)

    def run(self, record: dict[str, Any], place: str) -> tuple[Run, int]:
        """The run and its length in bytes."""
        kind = _take(record, "kind", str, place)
        if kind == "rows":
            stream, rows = self.stream(record, place), _take(record, "rows", int, place)
            field = Field(stream, _take(record, "first", int, place), rows)
            self.range(stream, field.first, rows, place)
            return Run(kind, 1, (field,), None, ()), rows * stream.row_bytes
        in_plan(kind in ("groups", "derived"), place, "a run kind of version 1", kind)
        groups = _take(record, "groups", int, place)
        if kind == "derived":
            return self.derived(record, groups, place)
        fields = tuple(self.field(field, place) for field in _take(record, "fields", list, place))
        in_plan(1 <= len(fields) <= 8, place, "1 to 8 fields", len(fields))
        counted = any(field.rows is None for field in fields)
        in_plan(counted == ("counts" in record), place, "counts exactly when a field is counted")
        counts = self.counts(record["counts"], groups, place) if counted else None
        total = 0
        ceiling = np.uint64(max((f.stream.row_count for f in fields if f.rows is None), default=0))
        for slab in counts.slabs(self.source, groups, place) if counts else ():
            in_plan(slab.max() <= ceiling, place, f"counts up to {ceiling}", slab.max())
            total += sum(slab.tolist())
        length = 0
        for field in fields:
            rows = total if field.rows is None else groups * field.rows
            self.range(field.stream, field.first, rows, place)
            length += rows * field.stream.row_bytes
        return Run(kind, groups, fields, counts, ()), length

    def field(self, record: object, place: str) -> Field:
        stream, first = self.stream(record, place), _take(record, "first", int, place)
        if isinstance(record, dict) and record.get("rows") == "counted":
            return Field(stream, first, None)
        rows = _take(record, "rows", int, place, (1 << 32) - 1)
        in_plan(rows >= 1, place, "1 row or more in a group", rows)
        return Field(stream, first, rows)

    def derived(self, record: dict[str, Any], groups: int, place: str) -> tuple[Run, int]:
        in_plan(_take(record, "rule", str, place) == "running-offsets", place, "the rule running-offsets")
        table = _take(record, "table", list, place)
        in_plan(len(table) <= 1024, place, "a table up to 1024 entries", len(table))
        in_plan(all(type(t) is int and t >= 0 for t in table), place, "a table of numbers")
        counts = self.counts(record.get("counts"), groups, place)
        total = 0
        for slab in counts.slabs(self.source, groups, place):
            in_plan(slab.max() < len(table), place, f"counts below {len(table)}", slab.max())
            used = np.bincount(slab.astype(np.int64))
            total += sum(times * table[count] for count, times in enumerate(used.tolist()) if times)
        in_plan(total <= U64_MAX, place, "offsets within 64 bits", total)
        return Run("derived", groups, (), counts, tuple(table)), 8 * (groups + 1)


def check_plan(source: Source, plan: dict[str, Any]) -> list[Member]:
    """Every name, stream, range and number of a plan; nothing has been written yet."""
    in_plan(_take(plan, "version", int, "plan") == 1, "version", 1, plan["version"])
    records = _take(plan, "members", list, "plan")
    in_plan(len(records) <= 65_536, "members", "up to 65536", len(records))
    for entry in plan.get("folders", []) if _take({"folders": [], **plan}, "folders", list, "plan") else []:
        in_plan(type(entry) is str, "folders", "texts", entry)
    for entry in _take({"skipped": [], **plan}, "skipped", list, "plan"):
        _take(entry, "name", str, "skipped"), _take(entry, "reason", str, "skipped")
    _check_names([_take(record, "name", str, "member") for record in records], plan.get("folders", []))
    in_plan(sum(len(_take(r, "runs", list, "member")) for r in records) <= 1 << 20, "runs", "up to 1048576 in all")
    checker, members = _Checker(source), []
    for record in records:
        place = f"member {record['name']!r}"
        _take(record, "layout", str, place), _take({"facts": {}, **record}, "facts", dict, place)
        _take({"warning": "", **record}, "warning", str, place)
        digest = _take({"blake3": "0" * 64, **record}, "blake3", str, place)
        in_plan(re.fullmatch("[0-9a-f]{64}", digest), place, "blake3 of 64 hex digits", digest)
        byte_count, runs, length = _take(record, "bytes", int, place), [], 0
        groups = sum(_groups(entry) for entry in record["runs"])
        in_plan(groups <= byte_count, place, f"up to {byte_count} groups in all runs", groups)
        for number, entry in enumerate(record["runs"]):
            run, run_bytes = checker.run(entry, f"run {number} of {place}")
            runs.append(run)
            length += run_bytes
        in_plan(length == byte_count, place, f"runs that tile {byte_count} bytes", length)
        members.append(Member(record["name"], byte_count, record.get("blake3"), tuple(runs)))
    return members


def _interleave(source: Source, fields: tuple[Field, ...], at: list[int], counts: Words) -> Iterator[Bytes]:
    """The next len(counts) groups; `at` holds each field's next row and moves on."""
    rows = [counts.astype(np.int64) if f.rows is None else np.full(len(counts), f.rows, np.int64) for f in fields]
    sizes = np.stack([r * f.stream.row_bytes for r, f in zip(rows, fields, strict=True)])
    if sizes.sum() > 2 * SLAB_BYTES:  # large groups: one after another, by pieces
        for group in range(len(counts)):
            for number, field in enumerate(fields):
                taken = int(rows[number][group])
                yield from source.row_pieces(field.stream, at[number], taken)
                at[number] += taken
        return
    out = np.empty(int(sizes.sum()), np.uint8)
    ends = np.cumsum(sizes.T.ravel()).reshape(-1, len(fields)).T  # in file order: group by group, field by field
    for number, field in enumerate(fields):
        taken = int(rows[number].sum())
        part = source.rows_raw(field.stream, at[number], taken)
        at[number] += taken
        if field.rows is not None and all(other.rows is not None for other in fields):
            width, end = int(sizes[number][0]), int(ends[number][0])
            out.reshape(len(counts), -1)[:, end - width : end] = part.reshape(len(counts), width)
        else:  # source byte j of group i goes to its place in the group
            shift = ends[number] - np.cumsum(sizes[number])
            out[np.repeat(shift, sizes[number]) + np.arange(len(part))] = part
    yield out


def _run_pieces(source: Source, run: Run, place: str) -> Iterator[Bytes]:
    if run.kind == "rows":
        yield from source.row_pieces(run.fields[0].stream, run.fields[0].first, run.fields[0].rows or 0)
    elif run.kind == "derived" and run.counts:
        last, table = np.uint64(0), np.array(run.table, np.uint64)
        yield np.zeros(8, np.uint8)
        for slab in run.counts.slabs(source, run.groups, place):
            offsets = np.cumsum(table[slab.astype(np.int64)], dtype="<u8") + last
            last = offsets[-1]
            yield offsets.view(np.uint8)
    else:
        at = [field.first for field in run.fields]
        if run.counts:
            for slab in run.counts.slabs(source, run.groups, place):
                yield from _interleave(source, run.fields, at, slab)
        else:
            group_bytes = sum((f.rows or 0) * f.stream.row_bytes for f in run.fields)
            step = max(1, min(SLAB_GROUPS, SLAB_BYTES // group_bytes))
            for start in range(0, run.groups, step):
                yield from _interleave(source, run.fields, at, np.zeros(min(step, run.groups - start), np.uint64))


def member_pieces(source: Source, member: Member) -> Iterator[Bytes]:
    """The bytes of a checked member, in order."""
    for number, run in enumerate(member.runs):
        yield from _run_pieces(source, run, f"run {number} of member {member.name!r}")
