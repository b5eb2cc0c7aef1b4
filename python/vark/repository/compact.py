"""Compact: a snapshot that points into others becomes one that stands alone, made of stored blocks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vark.errors import ConflictError, InvalidArgumentError, RefusedError
from vark.repository.base import chain_of
from vark.repository.catalog import Snapshot
from vark.repository.context import Context
from vark.repository.engine import Written
from vark.repository.fields import new_salt
from vark.repository.locking import lock_snapshots
from vark.repository.objects import new_uuid7
from vark.repository.records import CommittedArchive
from vark.repository.reports import CompactReport
from vark.repository.restore import open_archive
from vark.repository.volumes import write_volumes

ATTEMPTS = 3


def compact(context: Context, snapshot: Snapshot, *, options: Mapping[str, Any]) -> CompactReport:
    """Write full archives in the place of deltas, and a commit that replaces the old one; the source is not needed.

    Errors: RefusedError (void or forgotten), InvalidArgumentError (it stands alone already), ConflictError.
    """
    start = time.monotonic()
    if not snapshot.usable:
        raise RefusedError(f"snapshot {snapshot.id[:12]}: void or forgotten; there is nothing to keep")
    if not snapshot.closure:
        raise InvalidArgumentError(f"snapshot {snapshot.id[:12]}: it points into no other archive already")
    known = context.read_erasures()
    for _ in range(ATTEMPTS):
        catalog = context.reader.read(strict=True)  # W1
        old = catalog.commits.get(snapshot.commit)
        if old is None:
            raise ConflictError(f"snapshot {snapshot.id[:12]}: it was replaced or collected meanwhile; look again")
        archives = tuple(_rewritten(context, snapshot, archive, options) for archive in snapshot.archives)  # W2
        commit = replace(
            old,
            root_generation=catalog.administration.generation,
            heads=(snapshot.commit,),
            archives=archives,
            closure=(),
            replaces=snapshot.commit,
            salt=new_salt(),
        )
        digest = context.create_commit(commit, commit.encode(context.envelope))  # W3
        if context.safe(tuple(commit.needed())):  # W4
            settle_replaced(context, snapshot, digest, done="compacted")
            if context.read_erasures().keys() - known.keys():
                raise ConflictError(
                    f"snapshot {snapshot.id[:12]}: rows were erased while it was compacted, and may be in it again; "
                    "run the erasure again"
                )
            return CompactReport(
                snapshot=snapshot.id,
                commit=digest,
                archive_bytes=sum(archive.bytes for archive in archives),
                archive_bytes_before=snapshot.archive_bytes,
                closure_bytes_before=snapshot.closure_bytes,
                seconds=time.monotonic() - start,
                lock=lock_snapshots(context, {snapshot.id}),
            )
    raise ConflictError(f"compact: {ATTEMPTS} collections in a row were in the way; nothing is lost, run it again")


def _rewritten(
    context: Context, snapshot: Snapshot, archive: CommittedArchive, options: Mapping[str, Any]
) -> CommittedArchive:
    """Return a full archive in the place of a delta; one that is full is shared with the old commit."""
    if not chain_of(None, archive, snapshot.closure):
        return archive
    archive_id = str(new_uuid7())
    with open_archive(context, snapshot, archive) as opened:

        def write(descriptor: int) -> Written:
            return context.engine.compact(opened, descriptor, archive_id=archive_id, options=options)

        # Compacting never begins its output again: a pipe will do, and no copy of the whole lies on the way.
        written, volumes = write_volumes(
            context.store, archive_id, write, volume_bytes=context.volume_bytes, seekable=False
        )
    return CommittedArchive(
        id=archive_id,
        shard=archive.shard,
        volumes=volumes.sizes,
        root=written.root,
        bytes=written.archive_bytes,
        base=None,
        raw_bytes=archive.raw_bytes,
        digests=volumes.digests,
    )


def settle_replaced(context: Context, snapshot: Snapshot, digest: str, *, done: str) -> None:
    """Forget what was replaced, now that the new commit is safe; or the new one, when all was forgotten meanwhile.

    done: what the new commit is, for people. Errors: ConflictError.
    """
    catalog = context.reader.read(strict=True)
    known = catalog.commits.keys() | catalog.refused.keys()
    if snapshot.commit not in known and not _superseded(context, snapshot.commit):
        # Collected while this ran, and its forget mark may have gone with it: it must not come back by the back door.
        context.mark(catalog, "forget", snapshot.id, reason=f"forgotten while it was {done}")
        raise ConflictError(f"snapshot {snapshot.id[:12]}: forgotten and collected while it was {done}")
    if snapshot.id in {item.id for item in catalog.snapshots if item.forgotten_unix_ms is None}:
        for item in catalog.snapshots:
            if item.id == snapshot.id:
                for old in set(item.superseded) - {digest}:
                    if catalog.forgotten(old) is None:
                        context.mark(catalog, "forget", snapshot.id, commit=old, reason=done)


def _superseded(context: Context, digest: str) -> bool:
    """Return whether a commit that has gone was collected because another stands in its place.

    The mark that says so stays as long as the other. Marks are read again: it may be younger than the last look.
    """
    marks = context.reader.read(strict=True).marks.values()
    return any(mark.action == "forget" and mark.commit == digest for mark in marks)
