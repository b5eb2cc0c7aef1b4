"""What the repository reports: frozen records, readable in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vark.stores import Traffic
from vark.types import Damage, WriteReport, text_table
from vark.units import format_bytes


@dataclass(frozen=True, slots=True)
class LockReport:
    """What was locked, or would be. until_unix_ms: at least. failed: (object, why); then something is not locked.

    object_count: what the snapshots need; locked_count: of those, what the store keeps until then.
    """

    mode: str
    days: int
    until_unix_ms: int
    object_count: int
    failed: tuple[tuple[str, str], ...] = ()
    confirmed: bool = True
    locked_count: int = 0

    @property
    def ok(self) -> bool:
        """Whether all of it is locked."""
        return not self.failed


@dataclass(frozen=True, slots=True)
class ArchiveWritten:
    """One archive of a backup. base: the archive it builds on, None for a full one; reason: why it is full."""

    archive_id: str
    shard: str
    archive_bytes: int
    raw_bytes: int
    base: str | None
    reason: str | None
    rows_new: int | None
    rows_copied: int | None
    write: WriteReport | None


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup did. It is durable and has passed the check against collections when this is returned.

    superseded: commits that a collection made unsafe, and that were replaced by full ones before this was reported.
    traffic: requests and bytes, in a remote store; those of all that used the same `Repository` meanwhile.
    rows_erased: of erased ids, left out. lock: what was locked, where a policy is in force; look at its `failed`.
    """

    snapshot: str
    name: str
    commit: str
    partial: bool
    archives: tuple[ArchiveWritten, ...]
    archive_bytes: int
    raw_bytes: int
    seconds: float
    resumed: bool
    superseded: tuple[str, ...]
    traffic: Traffic | None = None
    rows_erased: int = 0
    lock: LockReport | None = None

    def __repr__(self) -> str:
        kinds = {"full" if archive.base is None else "delta" for archive in self.archives}
        state = "PARTIAL" if self.partial else "complete"
        return (
            f"BackupReport({self.name} {self.snapshot[:12]}: {format_bytes(self.raw_bytes)} -> "
            f"{format_bytes(self.archive_bytes)}, {'/'.join(sorted(kinds))}, {self.seconds:.2f} s, {state})"
        )


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What a collection did, or would do.

    snapshots: ids whose archives go. archives: id -> bytes. kept_young: archives that no commit needs yet.
    in_trash: forgotten snapshots that stay for now -> the time (milliseconds since 1970) when their trash window ends.
    retained: id -> until when (Unix ms) the store keeps it by a lock: nothing is done about it before. refused: id ->
    bytes of what the store did not let these credentials delete.
    """

    confirmed: bool
    generation: int
    continued: bool
    archives: Mapping[str, int]
    archive_bytes: int
    rescued: tuple[str, ...]
    snapshots: tuple[str, ...]
    kept_young: Mapping[str, int]
    in_trash: Mapping[str, int]
    commits_removed: int
    marks_removed: int
    sessions_removed: int
    temporary_removed: int
    more: bool
    retained: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErasedArchive:
    """An archive that was written without erased rows, or would be. rows: of members and of the payload.

    changed: stream -> rows and bytes that are not what they were (of the payload all bytes, which are written anew).
    not_erased: what was not looked into.
    """

    archive_id: str
    replaces: str
    shard: str
    base: str | None
    rows: int
    changed: Mapping[str, tuple[int, int]]
    archive_bytes: int
    archive_bytes_before: int
    documents: tuple[str, ...]
    not_erased: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ErasedSnapshot:
    """A snapshot and the commit that stands for it now. held: the hold stays. forgotten: it stays in the trash."""

    snapshot: str
    name: str
    unix_ms: int
    commit: str
    replaces: str
    held: bool
    forgotten: bool
    archives: tuple[ErasedArchive, ...]


@dataclass(frozen=True, slots=True)
class EraseReport:
    """What was erased, or would be. found_count: of the ids, those that some snapshot held.

    bytes_before: of the archives in whose place others stand; they stay until `gc` has come by after the trash window.
    uncommitted: archives that no commit names; they may hold the rows, and go with `gc` after the grace period.
    retained: replaced archives that a lock keeps, with the rows, and until when (Unix ms). lock: as in a backup.
    """

    confirmed: bool
    erasures: tuple[str, ...]
    id_count: int
    found_count: int
    snapshots: tuple[ErasedSnapshot, ...]
    row_count: int
    bytes_changed: int
    bytes_rewritten: int
    bytes_before: int
    uncommitted: tuple[str, ...]
    seconds: float
    retained: Mapping[str, int] = field(default_factory=dict)
    lock: LockReport | None = None


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What compacting did. closure_bytes_before: bytes of the archives that the snapshot no longer needs.

    lock: as in a backup.
    """

    snapshot: str
    commit: str
    archive_bytes: int
    archive_bytes_before: int
    closure_bytes_before: int
    seconds: float
    lock: LockReport | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What retention says of one snapshot, and why."""

    snapshot: str
    name: str
    unix_ms: int
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForgetReport:
    """What was forgotten, or would be. `gc` frees it after the trash window; until then `undelete` takes it back."""

    confirmed: bool
    decisions: tuple[Decision, ...]

    @property
    def forgotten(self) -> tuple[str, ...]:
        """The snapshots that go."""
        return tuple(decision.snapshot for decision in self.decisions if not decision.keep)


@dataclass(frozen=True, slots=True)
class DamagedObject:
    """An object that is not what was written, and what is wrong with it. missing: it is not there at all."""

    object: str
    detail: str
    missing: bool = False
    damage: tuple[Damage, ...] = ()


@dataclass(frozen=True, slots=True)
class TouchedSnapshot:
    """A snapshot that needs something damaged. rows: (shard, stream, first row, rows) where they are known."""

    snapshot: str
    name: str
    archives: tuple[str, ...]
    rows: tuple[tuple[str, str, int, int], ...]
    whole: bool  # all of it is touched, as far as anyone can tell


@dataclass(frozen=True, slots=True)
class RepositoryVerifyReport:
    """What verification read and found.

    unread: (object, detail) of objects that could not be read, which says nothing about whether they are whole.
    not_believed: (object, why) of commits that count as if they were not there (spec CRYPTO, section 8).
    unproved: (object, why) of deltas whose own bytes are whole, while what they take from others was not read.
    hidden: objects that a store with versions still has, under a delete marker or under other bytes.
    remaining: archives that the budget left out. recent: those left out because they were found whole lately.
    oldest_unverified_unix_ms: when the archive that was not read for the longest time was found whole; 0 for never.
    """

    level: str
    archive_count: int
    checked_bytes: int
    object_count: int
    seconds: float
    damaged: tuple[DamagedObject, ...]
    touched: tuple[TouchedSnapshot, ...]
    remaining: tuple[str, ...]
    recent: tuple[str, ...]
    oldest_unverified_unix_ms: int | None
    unread: tuple[tuple[str, str], ...] = ()
    unproved: tuple[tuple[str, str], ...] = ()
    hidden: tuple[HiddenObject, ...] = ()
    not_believed: tuple[tuple[str, str], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all that was to be read could be read, and is whole, and nothing is hidden that matters."""
        return not (self.damaged or self.unread or self.unproved or any(item.matters for item in self.hidden))

    def __bool__(self) -> bool:
        return self.ok


@dataclass(frozen=True, slots=True)
class HiddenObject:
    """An object that is there, but not seen. kind: "hidden" (by a delete marker) or "covered" (by other bytes).

    versions: ids, the oldest first. byte_count: of the oldest. matters: vark did not remove it itself.
    """

    object: str
    kind: str
    versions: tuple[str, ...]
    byte_count: int
    detail: str
    matters: bool


@dataclass(frozen=True, slots=True)
class UndeleteReport:
    """What was put on top again, and (object, why) of what could not be."""

    restored: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class NameStats:
    """One name of snapshots."""

    name: str
    snapshot_count: int
    newest_unix_ms: int | None
    stored_bytes: int
    chain_archives: int


@dataclass(frozen=True, slots=True)
class StatsReport:
    """How large a repository is, and of what.

    live: needed by snapshots that can be restored; forgotten: only by those in the trash; unneeded: by none.
    raw_bytes: what all restorable snapshots restore to.
    """

    snapshot_count: int
    forgotten_count: int
    void_count: int
    archive_count: int
    stored_bytes: int
    live_bytes: int
    forgotten_bytes: int
    unneeded_bytes: int
    raw_bytes: int
    generation: int
    names: tuple[NameStats, ...]


@dataclass(frozen=True, slots=True)
class StreamDiff:
    """How the rows of a stream differ. By position, and where the archive has ids beside it, by id as well.

    moved: rows that are in both, at other positions. changed: rows of the same position (or id) with other bytes.
    """

    shard: str
    stream: str
    role: str
    by: str  # "position" | "id"
    rows_before: int
    rows_after: int
    added: int
    removed: int
    changed: int
    moved: int

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.changed or self.moved)


@dataclass(frozen=True, slots=True)
class DiffReport:
    """How two snapshots differ.

    parameters: (shard, place, before, after). documents: name -> "added" | "removed" | "changed". columns of the
    payload likewise, "changed" with the number of rows.
    """

    before: str
    after: str
    streams: tuple[StreamDiff, ...]
    parameters: tuple[tuple[str, str, Any, Any], ...]
    documents: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.parameters or self.documents or self.columns) and all(item.same for item in self.streams)

    def __repr__(self) -> str:
        head = ("stream", "by", "before", "after", "added", "removed", "changed", "moved")
        rows = []
        for item in self.streams:
            counts = (item.rows_before, item.rows_after, item.added, item.removed, item.changed, item.moved)
            stream = f"{item.shard}/{item.stream}" if item.shard else item.stream
            rows.append((stream, item.by, *(f"{count:,}" for count in counts)))
        return text_table(head, rows)
