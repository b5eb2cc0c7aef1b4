"""What vark reports: frozen records, readable in a terminal and a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np

from vark.units import format_bytes, format_speed

# bf16 has no dtype in numpy: its bits are given as u2. Shift left by 16 and view as f4 to get numbers.
DTYPES: dict[str, np.dtype[Any]] = {
    "u8": np.dtype("u1"),
    "i8": np.dtype("i1"),
    "u16": np.dtype("<u2"),
    "i16": np.dtype("<i2"),
    "u32": np.dtype("<u4"),
    "i32": np.dtype("<i4"),
    "u64": np.dtype("<u8"),
    "i64": np.dtype("<i8"),
    "f16": np.dtype("<f2"),
    "bf16": np.dtype("<u2"),
    "f32": np.dtype("<f4"),
    "f64": np.dtype("<f8"),
}


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream: name, role, element type (of the format), dtype and shape (of numpy), sizes in bytes.

    shape: (row_count,) when a row has one element, else (row_count, row_elements). bf16 has dtype uint16 (its bits).
    codecs: codec name -> number of chunks; empty where it was not read.
    """

    name: str
    role: str
    element_type: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    raw_bytes: int
    stored_bytes: int
    chunk_count: int
    codecs: Mapping[str, int] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Raw bytes for each stored byte; 1.0 for a stream without rows."""
        return self.raw_bytes / self.stored_bytes if self.stored_bytes else 1.0

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> StreamInfo:
        """Build from a record of the engine's report."""
        rows, elements = int(record["row_count"]), int(record["row_elements"])
        return cls(
            name=record["name"],
            role=record["role"],
            element_type=record["element_type"],
            dtype=DTYPES[record["element_type"]],
            shape=(rows,) if elements == 1 else (rows, elements),
            raw_bytes=int(record["raw_bytes"]),
            stored_bytes=int(record["stored_bytes"]),
            chunk_count=int(record["chunk_count"]),
            codecs=dict(record.get("codecs", {})),
        )


class StreamTable(tuple[StreamInfo, ...]):
    """The streams of an archive: a tuple that shows itself as a table."""

    __slots__ = ()
    _HEAD = ("stream", "role", "type", "shape", "raw", "stored", "ratio", "codecs")

    def rows(self) -> list[tuple[str, ...]]:
        """Return one row of texts for each stream."""
        return [
            (
                info.name,
                info.role,
                info.element_type,
                " × ".join(f"{length:,}" for length in info.shape),
                format_bytes(info.raw_bytes),
                format_bytes(info.stored_bytes),
                f"{info.ratio:.3f}",
                " ".join(f"{name}:{count}" for name, count in info.codecs.items()),
            )
            for info in self
        ]

    def __repr__(self) -> str:
        return text_table(self._HEAD, self.rows())

    def _repr_html_(self) -> str:
        return html_table(self._HEAD, self.rows())


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something of the source that was not captured, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class MemberReport:
    """One file of the source. warning says why a member is opaque; facts are for people and loaders."""

    name: str
    byte_count: int
    layout: str
    warning: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    blake3: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> MemberReport:
        """Build from a record of a report or a plan."""
        return cls(
            name=record["name"],
            byte_count=int(record["bytes"]),
            layout=record["layout"],
            warning=record.get("warning"),
            facts=dict(record.get("facts") or {}),
            blake3=record.get("blake3"),
        )


@dataclass(frozen=True, slots=True)
class Ancestor:
    """An archive that rows of a delta lie in."""

    archive_id: str
    archive_bytes: int
    root: str


@dataclass(frozen=True, slots=True)
class DeltaReport:
    """What was compared with the base. rows, rows_new: rows looked at one by one, and those the base does not have.

    chunks_same: chunks whose block the base has. id_index_left_out: streams of ids whose sorted index the base has and
    this archive has not, as it would be most of it; `id_index=True` writes it all the same.
    """

    base: str
    rows: int
    rows_new: int
    chunks_same: int
    id_index_left_out: tuple[str, ...] = ()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> DeltaReport:
        """Build from a record of the engine's report."""
        return cls(**{**record, "id_index_left_out": tuple(record.get("id_index_left_out", ()))})


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What `compact_archive` did: blocks taken as they were, and chunks that had to be coded again."""

    archive_id: str
    archive_bytes: int
    root: str
    seconds: float
    blocks_copied: int
    chunks_coded: int


@dataclass(frozen=True, slots=True)
class CopiedArchive:
    """An archive that was written again for another repository.

    blocks_copied: stored blocks that went along. blocks_shared: chunks that lie in copies of ancestors. chunks_coded:
    those that had to be coded again, to stand alone.
    """

    archive_id: str
    archive_bytes: int
    root: str
    seconds: float
    blocks_copied: int
    blocks_shared: int
    chunks_coded: int
    ancestors: tuple[Ancestor, ...]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> CopiedArchive:
        """Make one of the engine's JSON."""
        ancestors = tuple(Ancestor(item["id"], item["bytes"], item["root"]) for item in record.get("ancestors", ()))
        return cls(**{"blocks_shared": 0, "chunks_coded": 0, **record, "ancestors": ancestors})


@dataclass(frozen=True, slots=True)
class CacheReport:
    """Chunks that came out of the local cache instead of the base, and those that were put there for the next delta."""

    chunks_read: int
    chunks_written: int


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What a write-only client keeps of an archive for its next backup: a file of so many bytes, or 0 and why not."""

    file_bytes: int
    fault: str | None


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What `write_archive` did. partial: something was not captured; see `skipped` and the members' warnings."""

    path: str
    archive_id: UUID
    root: str
    archive_bytes: int
    source_bytes: int
    raw_bytes: int
    seconds: float
    partial: bool
    members: tuple[MemberReport, ...]
    skipped: tuple[Skipped, ...]
    streams: StreamTable
    # What was compared with the base, and the archives that this one cannot be restored without.
    delta: DeltaReport | None = None
    ancestors: tuple[Ancestor, ...] = ()
    # Chunks that came out of the local cache, and those that went into it; None without one.
    cache: CacheReport | None = None
    # What a write-only client keeps of it; None of any other.
    shadow: ShadowReport | None = None
    # The recovery code of an encrypted archive, if one was asked for: shown once, stored nowhere. A secret.
    recovery_code: str | None = field(default=None, repr=False, metadata={"secret": True})

    @property
    def ratio(self) -> float:
        """Raw bytes (members, payload, documents …) for each byte of the archive."""
        return self.raw_bytes / self.archive_bytes

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, path: str) -> WriteReport:
        """Build from the engine's report."""
        return cls(
            path=path,
            archive_id=UUID(record["archive_id"]),
            root=record["root"],
            archive_bytes=int(record["archive_bytes"]),
            source_bytes=int(record["source_bytes"]),
            raw_bytes=int(record["raw_bytes"]),
            seconds=float(record["seconds"]),
            partial=bool(record["partial"]),
            members=tuple(MemberReport.from_record(member) for member in record["members"]),
            skipped=tuple(Skipped(item["name"], item["reason"]) for item in record["skipped"]),
            streams=StreamTable(StreamInfo.from_record(stream) for stream in record["streams"]),
            delta=DeltaReport.from_record(record["delta"]) if record["delta"] else None,
            ancestors=tuple(Ancestor(item["id"], item["bytes"], item["root"]) for item in record["ancestors"]),
            cache=CacheReport(**record["cache"]) if record["cache"] else None,
            shadow=ShadowReport(**record["shadow"]) if record["shadow"] else None,
        )

    def __repr__(self) -> str:
        state = f"PARTIAL, {len(self.skipped)} skipped" if self.partial else "complete"
        return (
            f"WriteReport({self.path}: {format_bytes(self.source_bytes)} -> {format_bytes(self.archive_bytes)}, "
            f"ratio {self.ratio:.3f}, {format_speed(self.raw_bytes, self.seconds)}, {state})"
        )


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged thing: the layer that refuses, what is wrong, and the rows or bytes that it touches.

    ancestor: the archive that the bytes lie in, None for the one that was verified.
    """

    layer: str
    detail: str
    stream: str | None
    first_row: int | None
    row_count: int | None
    offset: int | None
    byte_count: int | None
    ancestor: str | None = None

    def __str__(self) -> str:
        """One sentence: layer, stream and rows, bytes of the archive, what is wrong."""
        place = f'stream "{self.stream}"' if self.stream is not None else ""
        if self.first_row is not None and self.row_count is not None:
            place += f" rows {self.first_row} to {self.first_row + self.row_count - 1}"
        if self.offset is not None:
            place += f"{', ' if place else ''}{self.byte_count or 0} bytes at offset {self.offset}"
        return f"{self.layer}: {place + ': ' if place else ''}{self.detail}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What verification found. ok is True only when all that `level` covers was read and is right.

    unread: places that could not be read, for another reason than damage; reading them again may succeed. archive_id,
    root: what the archive itself says, None where its tables are damaged.
    """

    level: str
    archive_bytes: int
    checked_bytes: int
    chunk_count: int
    seconds: float
    ok: bool
    damage: tuple[Damage, ...]
    unread: tuple[Damage, ...] = ()
    archive_id: str | None = None
    root: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> VerifyReport:
        """Build from the engine's report."""
        return cls(
            level=record["level"],
            archive_bytes=int(record["archive_bytes"]),
            checked_bytes=int(record["checked_bytes"]),
            chunk_count=int(record["chunks"]),
            seconds=float(record["seconds"]),
            ok=bool(record["ok"]),
            damage=_places(record["damage"]),
            unread=_places(record["unread"]),
            archive_id=record.get("archive_id"),
            root=record.get("root"),
        )

    def __bool__(self) -> bool:
        return self.ok


def _places(records: Iterable[Mapping[str, Any]]) -> tuple[Damage, ...]:
    names = Damage.__dataclass_fields__
    found: list[dict[str, Any]] = [{name: item.get(name) for name in names} for item in records]
    return tuple(Damage(**item) for item in found)


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a restore wrote."""

    target: str
    member_count: int
    byte_count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """How a restored index answers the stored probes.

    recall: share of the stored k neighbours found again, 0 to 1 (one that ties with the last counts, too).
    changed: probes whose list of ids differs in any place. Latencies: one search at a time, in milliseconds.
    """

    count: int
    k: int
    metric: str
    truth: str
    recall: float
    changed: int
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    latency_max_ms: float


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table for a terminal: columns padded, two blanks between them."""
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table for a notebook; every cell is escaped, because names come from archives."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(cells, 'td') for cells in rows)}</table>"
