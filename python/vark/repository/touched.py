"""What damage touches: the snapshots that need a damaged archive, and the rows of theirs that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from uuid import UUID

from vark.errors import CancelledError, VarkError
from vark.repository.catalog import Snapshot
from vark.repository.context import Context
from vark.repository.layout import volume_of
from vark.repository.records import CommittedArchive
from vark.repository.reports import DamagedObject, TouchedSnapshot
from vark.repository.restore import open_archive
from vark.types import Damage

Rows = tuple[str, int, int]  # stream, first row, rows


def touched_snapshots(
    context: Context,
    needing: Iterable[tuple[Snapshot, set[str]]],
    damaged: Iterable[DamagedObject],
    level: str,
    threads: int | None,
) -> tuple[TouchedSnapshot, ...]:
    """Return what the damage means for each snapshot that needs a damaged archive. Rows: where any were read."""
    faults = list(_faults(damaged))
    found = []
    for snapshot, archives in needing:
        rows, whole = set[tuple[str, str, int, int]](), level == "structure"
        for archive in snapshot.archives if not whole else ():
            if archive.id in archives or archives & {ancestor.id for ancestor in snapshot.closure}:
                lost = _lost_rows(context, snapshot, archive, archives, faults, threads)
                whole = whole or lost is None
                rows.update((archive.shard, *item) for item in lost or ())
        found.append(TouchedSnapshot(snapshot.id, snapshot.name, tuple(sorted(archives)), tuple(sorted(rows)), whole))
    return tuple(found)


def _faults(damaged: Iterable[DamagedObject]) -> Iterator[tuple[str, int | None]]:
    """Yield (archive, offset of a damaged block) of each damaged thing; no offset where it is none of a block."""
    for item in damaged:
        volume = volume_of(item.object)
        for damage in item.damage if volume is not None else ():
            assert volume is not None
            if damage.layer not in ("padding", "header"):  # which nothing is read by
                is_block = damage.stream is not None and damage.layer != "index"
                yield volume[0], damage.offset if is_block else None


def _lost_rows(
    context: Context,
    snapshot: Snapshot,
    archive: CommittedArchive,
    archives: set[str],
    faults: list[tuple[str, int | None]],
    threads: int | None,
) -> set[Rows] | None:
    """Return the rows of one archive that cannot be read, None where it cannot even be opened."""
    concerned = [fault for fault in faults if fault[0] in archives]
    try:
        with open_archive(context, snapshot, archive) as opened:
            # An index is only read in the archive itself: it says where rows lie in others.
            if all(offset is not None for name, offset in concerned if name == archive.id):
                blocks = {(name, offset) for name, offset in concerned if offset is not None}
                if len(blocks) < len(set(concerned)):
                    # An ancestor that does not open by itself may hold more damage than is known of it.
                    blocks |= set(_damaged_blocks(archive, _all_damage(context, snapshot, archive, threads)))
                text = opened.reader.touched([(UUID(name).bytes, offset) for name, offset in sorted(blocks)])
                return {(item["stream"], item["first_row"], item["row_count"]) for item in json.loads(text)}
        # Damage that is in no block, such as that of an index: chunk by chunk.
        return {
            (damage.stream, damage.first_row, damage.row_count or 0)
            for damage in _all_damage(context, snapshot, archive, threads)
            # What a delta keeps beside its streams is no row of the source.
            if damage.stream is not None and damage.first_row is not None and "//" not in damage.stream
        }
    except CancelledError:
        raise
    except (VarkError, OSError):
        return None


def _all_damage(
    context: Context, snapshot: Snapshot, archive: CommittedArchive, threads: int | None
) -> tuple[Damage, ...]:
    """Read all rows of an archive, with what they take from others."""
    sizes = context.sizes_of(snapshot.closure)
    return context.engine.verify(context.store, archive, sizes, level="full", own=False, threads=threads).damage


def _damaged_blocks(archive: CommittedArchive, found: Iterable[Damage]) -> Iterator[tuple[str, int]]:
    for damage in found:
        if damage.offset is not None and damage.byte_count and damage.stream is not None and damage.layer != "index":
            yield damage.ancestor or archive.id, damage.offset
