"""The part of a repository's public face that says what stays and what goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vark.cache import drop_cache
from vark.repository import marking
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.collect import CollectRequest, collect
from vark.repository.context import Context
from vark.repository.doctor import check_collectable
from vark.repository.erase import EraseRequest, erase
from vark.repository.erase_filter import lift
from vark.repository.locking import Locking
from vark.repository.reading import Progress
from vark.repository.references import find_snapshot
from vark.repository.reports import CollectReport, EraseReport, ForgetReport
from vark.retention import Policy
from vark.units import parse_duration


class Retaining:
    """What stays and what goes: tags, holds, retention, collection, erasure. `Repository` has all of it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def lock(self) -> Locking:
        """Object lock: its policy, and what the store keeps until when."""
        return Locking(self._context)

    def tag(
        self, reference: str | Snapshot, tags: Mapping[str, str] | None = None, *, remove: Sequence[str] = ()
    ) -> dict[str, str]:
        """Set tags of a snapshot and remove others; return all it has then. Errors: InvalidArgumentError."""
        catalog, snapshot = self._for_marking(reference)
        return marking.tag(self._context, catalog, snapshot, tags=tags or {}, remove=remove)

    def hold(self, reference: str | Snapshot, *, reason: str = "") -> None:
        """Hold a snapshot: no policy and no collection takes it away until `release`.

        Errors: RefusedError (too late: a collection was faster).
        """
        catalog, snapshot = self._for_marking(reference)
        marking.hold(self._context, catalog, snapshot, reason=reason)

    def release(self, reference: str | Snapshot) -> None:
        """Release a held snapshot. Errors: InvalidArgumentError (not held)."""
        catalog, snapshot = self._for_marking(reference)
        marking.release(self._context, catalog, snapshot)

    def forget(
        self,
        chosen: str | Snapshot | Sequence[str | Snapshot] | Policy,
        *,
        confirm: bool = False,
        min_redundancy: int = 1,
        reason: str = "",
    ) -> ForgetReport:
        """Forget snapshots by id (or other reference) or by a policy, only telling what would go unless `confirm`.

        Nothing is freed: `undelete` takes it back until `gc` has come by after the trash window. A policy keeps what
        one of its rules keeps, and everything that is held or dated in the future.
        min_redundancy: complete snapshots of each name that have to be left.
        Errors: RefusedError (held, too few left; a remote store that does not allow collections), DamagedError (a
        record cannot be read: it may be a hold).
        """
        if confirm:
            check_collectable(self._context.writable(), "forget", fresh=False)
        catalog = self._context.writable().whole_catalog("forget")
        if isinstance(chosen, Policy):
            return marking.forget_by_policy(
                self._context, catalog, chosen, confirm=confirm, min_redundancy=min_redundancy, reason=reason
            )
        if isinstance(chosen, (str, Snapshot)):
            chosen = [chosen]
        found = [item if isinstance(item, Snapshot) else find_snapshot(catalog, item) for item in chosen]
        return marking.forget_snapshots(
            self._context, catalog, found, confirm=confirm, min_redundancy=min_redundancy, reason=reason
        )

    def undelete(self, reference: str | Snapshot) -> None:
        """Take a forgotten snapshot back. Errors: RefusedError when a collection was faster."""
        catalog, snapshot = self._for_marking(reference, forgotten=True)
        marking.undelete(self._context, catalog, snapshot)

    def gc(
        self,
        *,
        confirm: bool = False,
        trash: str | float = "7d",
        grace: str | float = "1d",
        min_redundancy: int = 1,
    ) -> CollectReport:
        """Free what no snapshot needs, only telling what would go unless `confirm`. Safe at any moment, with no lock.

        trash: how long what was forgotten can be taken back. grace: how long archives without a commit are left to
        running backups. min_redundancy: the newest complete snapshots of each name stay, whatever was forgotten.
        What a lock keeps (`retained`), or the store does not let these credentials delete (`refused`), is no error.
        Errors: DamagedError (a record cannot be read: nothing is freed), ConflictError, RefusedError (a remote store
        in which this is not safe; see `doctor`).
        """
        request = CollectRequest(
            confirm=confirm,
            trash_ms=int(parse_duration(trash, name="trash") * 1000),
            grace_ms=int(parse_duration(grace, name="grace") * 1000),
            floor=min_redundancy,
        )
        if confirm:
            may_delete = check_collectable(self._context.writable(), "gc", fresh=True)
            request = replace(request, may_delete=may_delete)
        return collect(self._context.writable(), request)

    def erase(
        self,
        ids: Iterable[int] | None,
        *,
        name: str | Sequence[str] | None = None,
        confirm: bool = False,
        reason: str = "",
        leave_unknown: bool = False,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> EraseReport:
        """Erase rows by id from the snapshots of a name, or of all; only tell what would go unless `confirm`.

        Rows become tombstones or are left out, links to them are replaced, payload rows, fingerprints and entries of
        the index of ids go. Snapshots keep their ids, times, tags and holds; those in the trash are erased, too. Later
        backups of the name leave the ids out until the source does not hold them any more (`lift_erasure` ends that).
        What was replaced is destroyed by `gc` after the trash window (at once with `trash=0`); the local cache goes.
        ids: None for all that is erased already, in what write-only clients added. leave_unknown: members whose ids
        nobody can see stay, and are listed. Errors: RefusedError (nothing was written), DamagedError, ConflictError.
        """
        names = () if name is None else (name,) if isinstance(name, str) else tuple(name)
        wanted = None if ids is None else tuple(int(number) for number in ids)
        request = EraseRequest(wanted, names, confirm, reason, leave_unknown, threads, progress)
        report = erase(self._context.writable(), request)
        if confirm:
            drop_cache(self._context.id)
        return report

    def lift_erasure(self, name: str) -> int:
        """End the erasures in force for a name: later backups keep what they find. Return how many ids they had."""
        return lift(self._context.writable(), name)

    def _for_marking(self, reference: str | Snapshot, *, forgotten: bool = False) -> tuple[Catalog, Snapshot]:
        catalog = self._context.writable().reader.read(strict=True)
        wanted = reference.id if isinstance(reference, Snapshot) else reference
        return catalog, find_snapshot(catalog, wanted, forgotten=forgotten)
