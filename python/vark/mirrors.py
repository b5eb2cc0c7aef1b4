"""Mirrors of a repository: made, updated, and used to put right what is damaged. No key is needed but to delete."""

from __future__ import annotations

from collections.abc import Sequence

from vark.archive import ProgressCallback
from vark.errors import InvalidArgumentError
from vark.repository import Repository, mirroring, repairing
from vark.repository.copy_reports import RepairReport, SyncReport
from vark.repository.mirrors import mirrored
from vark.repository.opening import Place, shown, store_of

__all__ = ["repair_repository", "sync_repository"]


def sync_repository(
    source: Place | Repository,
    target: Place,
    *,
    delete: bool = False,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> SyncReport:
    """Make `target` a byte-identical mirror of the repository `source`, or bring it up to date; run again, it goes on.

    Only what is missing is moved, in an order in which the mirror is a valid repository at every moment; nothing is
    overwritten, and every archive is read where it has arrived. Sessions, the ledger and probes speak of one place and
    stay there. source: opened (a `Repository`) where something is to be deleted and it is encrypted.
    delete: take from the mirror what collections and key rotations of the source have freed, which the keys prove; of
    what is not encrypted whoever can write to the source's storage can say that it was.
    What is damaged in the source stays out, with the commits that need it, and is in the report.
    Errors: RepositoryNotFoundError, InvalidArgumentError (the target is something else), ConflictError (a collection
    ran in the target by itself), KeyNeededError (delete), DamagedError (delete: a record there proves nothing), those
    of writing.
    """
    opened = source._context if isinstance(source, Repository) else None  # noqa: SLF001 - its other face
    store = source.store if isinstance(source, Repository) else store_of(source)
    return mirroring.sync(store, store_of(target), mirroring.SyncRequest(delete, opened, threads, progress))


def repair_repository(
    place: Place,
    mirrors: Sequence[Place],
    *,
    confirm: bool = False,
    places: Sequence[str] | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> RepairReport:
    """Put right what is damaged or missing in a repository out of its mirrors; only tell what unless `confirm`.

    Stored bytes of all archives that snapshots need, and all records, are read. An object is replaced only by bytes
    that are proved to be those that it must have, and read again afterwards; what is damaged at one place in one mirror
    and at another in the next is put together. places: what the report calls them, `place` first.
    Errors: InvalidArgumentError (no mirrors of this repository), RefusedError (the store lets nothing be overwritten).
    """
    if not mirrors:
        raise InvalidArgumentError("no mirror; name at least one place where the same repository lies")
    stores = [store_of(one) for one in (place, *mirrors)]
    places = places or [shown(one) for one in (place, *mirrors)]
    mirrored(stores, places)  # of one repository
    request = repairing.RepairRequest(confirm, threads, progress)
    return repairing.repair(stores[0], stores[1:], places, request)
