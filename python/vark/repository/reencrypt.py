"""Re-encrypt: all that is kept is written again under the newest epoch (spec CRYPTO 7.3)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from vark.archive import ProgressCallback
from vark.erasing import Survey
from vark.errors import ConflictError
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.context import Context
from vark.repository.locking import lock_snapshots, retained_replaced
from vark.repository.reports import ErasedSnapshot, LockReport
from vark.repository.rewriting import PASSES, Done, Look, rewrite

PROTECTS = (
    "all data that is kept, against root keys of earlier epochs: once `gc` has freed what was replaced, where the "
    "store keeps no versions"
)
DOES_NOT_PROTECT = "copies made before; tags and reasons in marks of before, which stay under the epochs of their time"


@dataclass(frozen=True, slots=True)
class ReencryptReport:
    """What was, or would be, written under the newest epoch. bytes_before: of the archives that were replaced.

    snapshots: each with the archives that were written. protects, does_not_protect: in plain words.
    retained: replaced archives that a lock keeps, under older keys, and until when (Unix ms). lock: as in a backup.
    """

    confirmed: bool
    epoch: int
    snapshots: tuple[ErasedSnapshot, ...]
    snapshot_count: int
    bytes_before: int
    bytes_written: int
    seconds: float
    protects: str = PROTECTS
    does_not_protect: str = DOES_NOT_PROTECT
    retained: Mapping[str, int] = field(default_factory=dict)
    lock: LockReport | None = None


class _OldKeys(Look):
    """What the archives of a catalog are sealed under."""

    done = "re-encrypted"

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__(context, catalog, {})
        self._now = context.sealed_keys().keyring.epoch
        self._epochs: dict[str, int] = {}

    def needs(self, snapshot: Snapshot) -> bool:
        """Return whether the commit of a snapshot, or an archive that it needs, is of an earlier epoch."""
        if snapshot.void:
            return False
        commit = self.catalog.commits[snapshot.commit]
        return commit.provenance.epoch < self._now or any(self.is_dirty(item.id) for item in snapshot.needed())

    def is_dirty(self, archive_id: str) -> bool:
        """Return whether an archive is of an earlier epoch; one that nobody can open is taken to be."""
        if archive_id not in self.owners:
            return True
        if archive_id not in self._epochs:
            archive, commit = self.owners[archive_id]
            with self.open(archive, self.chain(archive, commit)) as opened:
                self._epochs[archive_id] = opened.reader.epoch or 0
        return self._epochs[archive_id] < self._now

    def survey(self, archive_id: str) -> Survey:
        """Say that nothing of it changes."""
        del archive_id
        return Survey((), frozenset(), {})


def reencrypt(
    context: Context, *, confirm: bool, threads: int | None, progress: ProgressCallback | None
) -> ReencryptReport:
    """Write anew what is of earlier epochs; without `confirm` only tell what. Run again, it goes on where it ended.

    Errors: DamagedError (a record or archive cannot be read; what was done stays), ConflictError.
    """
    start = time.monotonic()
    done, first = Done(), None
    for _ in range(PASSES):
        look = _OldKeys(context, context.whole_catalog("re-encrypt"))
        chosen = look.chosen()
        first = first if first is not None else _bytes_of(look, chosen)
        if not chosen or not confirm:
            return _report(context, done, first, confirm=confirm, seconds=time.monotonic() - start)
        rewrite(look, chosen, done, threads=threads, progress=progress)
    raise ConflictError(f"writers or collections were in the way {PASSES} times; nothing is lost, run it again")


def _bytes_of(look: _OldKeys, chosen: list[Snapshot]) -> tuple[int, int]:
    old = {archive.id: archive.bytes for snapshot in chosen for archive in snapshot.archives}
    return len(chosen), sum(size for archive, size in old.items() if look.is_dirty(archive))


def _report(context: Context, done: Done, first: tuple[int, int], *, confirm: bool, seconds: float) -> ReencryptReport:
    snapshots = tuple(done.snapshots.values())
    return ReencryptReport(
        confirmed=confirm,
        epoch=context.sealed_keys().keyring.epoch,
        snapshots=snapshots,
        snapshot_count=first[0],
        bytes_before=first[1],
        bytes_written=sum(archive.archive_bytes for snapshot in snapshots for archive in snapshot.archives),
        seconds=seconds,
        retained=retained_replaced(context.store, snapshots),
        lock=lock_snapshots(context, done.snapshots) if done.snapshots else None,
    )
