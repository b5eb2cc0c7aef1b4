"""Restore: open the archives of a snapshot, and write or load what is in them."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from vark.archive import Archive
from vark.cache import blocks_of
from vark.errors import DamagedError, InvalidArgumentError, NotFoundError, RefusedError, UnknownNameError, VarkError
from vark.repository.base import volume_sizes
from vark.repository.catalog import Snapshot
from vark.repository.context import Context
from vark.repository.records import CommittedArchive
from vark.stores import RemoteStore
from vark.target import check_target, resumable_folder
from vark.types import RestoreReport


def shard_of(snapshot: Snapshot, shard: str | None) -> CommittedArchive:
    """Return one archive of a snapshot; `shard` is needed where there are several. Errors: UnknownNameError."""
    if shard is None and len(snapshot.archives) == 1:
        return snapshot.archives[0]
    names = ", ".join(archive.shard for archive in snapshot.archives)
    if shard is None:
        raise InvalidArgumentError(f"snapshot {snapshot.id[:12]}: it has the shards {names}; name one of them")
    for archive in snapshot.archives:
        if archive.shard == shard:
            return archive
    raise UnknownNameError(f"shard {shard!r}: not in snapshot {snapshot.id[:12]}, which has {names}")


def open_archive(context: Context, snapshot: Snapshot, archive: CommittedArchive, *, in_part: bool = False) -> Archive:
    """Open an archive of a snapshot. in_part: some of it will be read, again and again: that is kept on this machine.

    Errors: RefusedError (void, or collected since it was looked up), DamagedError (an archive is missing or cut short).
    """
    if snapshot.void:
        raise RefusedError(
            f"snapshot {snapshot.id[:12]}: void, for a collection has freed what it needs before it was reported as "
            "done; use another"
        )
    try:
        return _open(context, snapshot, archive, in_part=in_part)
    except (DamagedError, NotFoundError) as error:
        if not _collected(context, snapshot):
            raise
        raise RefusedError(
            f"snapshot {snapshot.id[:12]}: forgotten, and a collection has freed what it needs since; use another"
        ) from error


def _collected(context: Context, snapshot: Snapshot) -> bool:
    try:
        return not context.safe(tuple(snapshot.needed()))
    except VarkError:  # a damaged root: then nobody can tell
        return False


def _open(context: Context, snapshot: Snapshot, archive: CommittedArchive, *, in_part: bool) -> Archive:
    found = volume_sizes(context.store, archive.id)
    if found != archive.volumes:
        raise DamagedError(
            f"archive {archive.id}: volumes of {list(found)[:8]} bytes, expected {list(archive.volumes)[:8]}; "
            "restore it from another copy, or use another snapshot"
        )
    store, sizes = context.store, context.sizes_of(snapshot.closure)
    if in_part and isinstance(store, RemoteStore):
        opened = context.engine.open(store, archive, sizes, blocks=blocks_of(context.id, store))
    else:
        opened = context.engine.open(store, archive, sizes)
    if (str(opened.archive_id), opened.root) != (archive.id, archive.root):
        opened.close()
        raise DamagedError(
            f"archive {archive.id}: it says id {opened.archive_id} and root {opened.root[:16]}…, the commit says root "
            f"{archive.root[:16]}…; restore it from another copy"
        )
    return opened


def restore(
    context: Context,
    snapshot: Snapshot,
    target: str | PathLike[str],
    *,
    shard: str | None = None,
    options: Mapping[str, Any],
) -> RestoreReport:
    """Restore one archive to `target`, or each shard to a folder of its name in the new folder `target`."""
    if len(snapshot.archives) == 1 or shard is not None:
        in_part = bool(options.get("member"))
        with open_archive(context, snapshot, shard_of(snapshot, shard), in_part=in_part) as opened:
            return opened.restore(target, **options)
    if options.get("replace"):
        raise InvalidArgumentError("replace: not for several shards; restore to a new folder, or name one shard")
    start = time.monotonic()
    folder = Path(os.fspath(target))
    check_target(folder, replace=False)
    archives = [open_archive(context, snapshot, archive) for archive in snapshot.archives]  # all, before any writing
    member_count = byte_count = 0
    sync = bool(options.get("sync", True))
    member = options.get("member")
    chosen = [member] if isinstance(member, str) else member
    is_resumed = options.get("resume")
    if is_resumed is None:
        is_resumed = any(opened.is_remote for opened in archives)
    # Another commit, other members, or a run that did not sync: nothing of it can be gone on with.
    key = hashlib.sha256(repr((snapshot.commit, chosen, sync)).encode()).hexdigest()[:32]
    with resumable_folder(folder, key if is_resumed else None, sync=sync) as part:
        for archive, opened in zip(snapshot.archives, archives, strict=True):
            place = part / archive.shard
            if len(opened.members) == 1 and "/" not in opened.members[0].name:
                place.mkdir(exist_ok=True)
                place = place / opened.members[0].name
            with opened:
                # It got its name when it was complete, in a folder where nobody else can write; but what was not synced
                # may have lost its pages since.
                if place.exists() and not sync:
                    shutil.rmtree(place) if place.is_dir() else place.unlink()
                if place.exists():
                    members = [item for item in opened.members if chosen is None or item.name in chosen]
                    member_count += len(members)
                    byte_count += sum(item.byte_count for item in members)
                    continue
                report = opened.restore(place, **{**options, "resume": is_resumed})
            member_count += report.member_count
            byte_count += report.byte_count
    return RestoreReport(os.fspath(target), member_count, byte_count, time.monotonic() - start)
