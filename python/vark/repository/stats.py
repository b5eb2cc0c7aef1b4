"""Stats: how many bytes a repository holds, and for whom."""

from __future__ import annotations

from vark.repository.context import Context
from vark.repository.layout import ARCHIVES, volume_of
from vark.repository.reports import NameStats, StatsReport


def stats(context: Context) -> StatsReport:
    """Count what is there. Reads records and listings, no archive."""
    there: dict[str, int] = {}
    for entry in context.store.list(ARCHIVES):
        found = volume_of(entry.name)
        if found is not None:
            there[found[0]] = there.get(found[0], 0) + entry.byte_count
    catalog = context.reader.read()
    usable = [snapshot for snapshot in catalog.snapshots if snapshot.usable]
    forgotten = [item for item in catalog.snapshots if item.forgotten_unix_ms is not None and not item.void]
    live = {ancestor.id for snapshot in usable for ancestor in snapshot.needed()}
    trash = {ancestor.id for snapshot in forgotten for ancestor in snapshot.needed()} - live
    names = []
    for name in sorted({snapshot.name for snapshot in usable}):
        own = [snapshot for snapshot in usable if snapshot.name == name]
        needed = {ancestor.id for snapshot in own for ancestor in snapshot.needed()}
        names.append(
            NameStats(
                name=name,
                snapshot_count=len(own),
                newest_unix_ms=own[-1].unix_ms,
                stored_bytes=sum(there.get(archive, 0) for archive in needed),
                chain_archives=len(own[-1].closure),
            )
        )
    return StatsReport(
        snapshot_count=len(usable),
        forgotten_count=len(forgotten),
        void_count=sum(snapshot.void for snapshot in catalog.snapshots),
        archive_count=len(there),
        stored_bytes=sum(there.values()),
        live_bytes=sum(there.get(archive, 0) for archive in live),
        forgotten_bytes=sum(there.get(archive, 0) for archive in trash),
        unneeded_bytes=sum(size for archive, size in there.items() if archive not in live | trash),
        raw_bytes=sum(archive.raw_bytes for snapshot in usable for archive in snapshot.archives),
        generation=catalog.administration.generation,
        names=tuple(names),
    )
