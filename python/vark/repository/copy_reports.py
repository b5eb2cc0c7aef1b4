"""What copies, mirrors, repairs and audits report: frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vark.repository.reports import LockReport
from vark.stores import Traffic


@dataclass(frozen=True, slots=True)
class ArchiveCopied:
    """One archive of a copy. copy_of: the archive that it was made of; base: the copy that it builds on, or None.

    reason: why it stands alone although the other did not. written: False where it was there, of an earlier commit.
    """

    archive_id: str
    copy_of: str
    shard: str
    base: str | None
    archive_bytes: int
    source_bytes: int
    reason: str | None
    written: bool


@dataclass(frozen=True, slots=True)
class CopiedSnapshot:
    """A snapshot that was to be copied. copy_of: its commit in the source; commit: that of the copy.

    state: "copied"; "replaced" (there was a copy of an earlier commit of it); "present" (there already); "forgotten"
    (there, in the trash; it stays there); "failed" (detail says why). archives: those that were written or taken up.
    """

    snapshot: str
    name: str
    unix_ms: int
    state: str
    copy_of: str
    commit: str | None
    archives: tuple[ArchiveCopied, ...]
    detail: str
    resumed: bool


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy did. Each copied snapshot is durable, was read where it arrived, and passed the check of a backup.

    archive_bytes: of archives that were written. erasures: names for which an erasure of the source is new in the
    target. unread: (object, why) of records of the source that cannot be used: what they say was not copied.
    traffic: of the source and of the target, where they are remote stores. lock: what was locked in the target.
    """

    source: str
    target: str
    level: str
    snapshots: tuple[CopiedSnapshot, ...]
    archive_bytes: int
    erasures: tuple[str, ...]
    unread: tuple[tuple[str, str], ...]
    seconds: float
    traffic: tuple[Traffic | None, Traffic | None] = (None, None)
    lock: LockReport | None = None

    @property
    def ok(self) -> bool:
        """Whether all that was asked for is there, and locked where a policy of the target asks for that."""
        return (
            not self.unread
            and (self.lock is None or self.lock.ok)
            and all(item.state != "failed" for item in self.snapshots)
        )

    def count(self, *states: str) -> int:
        """Return how many snapshots have one of these states."""
        return sum(item.state in states for item in self.snapshots)


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What making or updating a mirror did.

    copied: folder -> objects (of archives: archives). archives_verified: read in the mirror, byte for byte. problems:
    (object, why) of what could not be mirrored; withheld: commits that need it, and so are not in the mirror yet.
    only_in_mirror: objects that the source has not; `delete` takes those of them that its collections have freed.
    """

    repository: str
    copied: Mapping[str, int]
    object_bytes: int
    archives_verified: int
    problems: tuple[tuple[str, str], ...]
    withheld: tuple[str, ...]
    only_in_mirror: tuple[str, ...]
    deleted: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the mirror has all that the source has."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class RepairedObject:
    """An object that was put right, or would be. why: what was wrong with it; mirror: where its bytes come from."""

    object: str
    why: str
    mirror: str
    byte_count: int


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What was put right, or would be. lost: (object, why) of what no mirror has whole. unreachable: (mirror, why).

    object_count, archive_count: that were looked at.
    """

    repository: str
    confirmed: bool
    repaired: tuple[RepairedObject, ...]
    lost: tuple[tuple[str, str], ...]
    object_count: int
    archive_count: int
    unreachable: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing is lost, and what was damaged was put right."""
        return not self.lost and (self.confirmed or not self.repaired)


@dataclass(frozen=True, slots=True)
class CopyFound:
    """The newest snapshot that one place has of a source.

    relation: "home" (it was backed up there), "copy" (of the repository `copy_of`), "mirror" (of one named before).
    behind_seconds: how much older than the newest anywhere. verified_unix_ms: when all that it needs was last read and
    found whole there; None for never. counts: whether it is a copy by the rule; else `problem` says why not.
    """

    place: str
    repository: str
    relation: str
    copy_of: str | None
    medium: str
    offsite: bool
    snapshot: str
    unix_ms: int
    age_seconds: float
    behind_seconds: float
    snapshot_count: int
    verified_unix_ms: int | None
    counts: bool
    problem: str


@dataclass(frozen=True, slots=True)
class AuditedSource:
    """One source: what snapshots of one name in related repositories are of. lacking: what the rule asks for more."""

    name: str
    newest_unix_ms: int
    copy_count: int
    media: tuple[str, ...]
    offsite_count: int
    copies: tuple[CopyFound, ...]
    lacking: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the rule holds."""
        return not self.lacking


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found. problems: (place, why) of places that could not be looked at."""

    copies_wanted: int
    media_wanted: int
    offsite_wanted: int
    max_age_seconds: float | None
    sources: tuple[AuditedSource, ...]
    problems: tuple[tuple[str, str], ...]

    @property
    def ok(self) -> bool:
        """Whether there is a source, the rule holds for each, and every place could be looked at."""
        return bool(self.sources) and not self.problems and all(source.ok for source in self.sources)
