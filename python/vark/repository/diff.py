"""Diff: how two snapshots differ in rows, parameters, documents and columns of the payload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vark import payload as payload_
from vark.archive import Archive
from vark.repository import rows
from vark.repository.catalog import Snapshot
from vark.repository.context import Context
from vark.repository.reports import DiffReport, StreamDiff
from vark.repository.restore import open_archive
from vark.views import StreamView

# Compared as a whole elsewhere, or made from others.
_NO_ROWS = frozenset({"plan", "payload", "document", "attachment", "part", "map", "fingerprints", "id_index"})
_KEYED = frozenset({"vectors", "codes"})
_MOVABLE = frozenset({"vectors", "codes", "ids"})  # an equal list size elsewhere means nothing


def diff(context: Context, before: Snapshot, after: Snapshot) -> DiffReport:
    """Compare two snapshots, shard by shard. Errors: DamagedError, RefusedError (void).

    By position and by id, rows are left out that are equal by index and maps. By id, all ids are read on both sides
    (8 bytes a row), unless index and maps say that these are equal, too.
    """
    streams: list[StreamDiff] = []
    parameters: list[tuple[str, str, Any, Any]] = []
    named: dict[str, str] = {}
    columns: dict[str, str] = {}
    old = {archive.shard: archive for archive in before.archives}
    new = {archive.shard: archive for archive in after.archives}
    for shard in sorted(old.keys() | new.keys()):
        prefix = f"{shard}/" if shard else ""
        if shard not in old or shard not in new:
            parameters.append((shard, "shard", shard in old, shard in new))
            continue
        with open_archive(context, before, old[shard]) as first, open_archive(context, after, new[shard]) as second:
            streams += _streams(shard, first, second)
            parameters += [(shard, *item) for item in _changes(_parameters(first), _parameters(second))]
            named.update({prefix + name: what for name, what in _named(first, second)})
            columns.update({prefix + name: what for name, what in _columns(first, second).items()})
    return DiffReport(before.id, after.id, tuple(streams), tuple(parameters), named, columns)


def _streams(shard: str, before: Archive, after: Archive) -> Iterator[StreamDiff]:
    names = {info.name: info.role for archive in (before, after) for info in archive.streams}
    for name, role in names.items():
        if role in _NO_ROWS:
            continue
        old = _view(before, name)
        new = _view(after, name)
        ids = _ids_of(name, before, after) if role in _KEYED else None
        if old is None or new is None:
            only = old if old is not None else new
            count = 0 if only is None else len(only)
            counts = rows.RowCounts(0 if new is None else count, 0 if old is None else count, 0, 0)
        elif ids is not None and len(ids[0]) == len(old) and len(ids[1]) == len(new):
            counts = rows.compare_by_id(old, new, *ids)
        else:
            ids = None
            counts = rows.compare_by_position(old, new, movable=role in _MOVABLE)
        yield StreamDiff(
            shard=shard,
            stream=name,
            role=role,
            by="id" if ids is not None and old is not None and new is not None else "position",
            rows_before=0 if old is None else len(old),
            rows_after=0 if new is None else len(new),
            added=counts.added,
            removed=counts.removed,
            changed=counts.changed,
            moved=counts.moved,
        )


def _view(archive: Archive, name: str) -> StreamView | None:
    return archive[name] if name in archive else None  # noqa: SIM401 - an archive is no dict


def _ids_of(name: str, before: Archive, after: Archive) -> tuple[StreamView, StreamView] | None:
    """Return the ids of the same member on both sides, where there is exactly one stream of them."""
    prefix = name.rpartition("/")[0]
    found = []
    for archive in (before, after):
        streams = [info for info in archive.streams if info.role == "ids" and info.name.rpartition("/")[0] == prefix]
        if len(streams) != 1 or len(streams[0].shape) != 1:
            return None
        found.append(streams[0].name)
    return before[found[0]], after[found[1]]


def _parameters(archive: Archive) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for member in archive.members:
        found[f"{member.name}: layout"] = member.layout
        for key, value in member.facts.items():
            found[f"{member.name}: {key}"] = value
    for key, value in archive.metadata.items():
        if key == "application" and isinstance(value, Mapping):
            found.update({f"application: {name}": item for name, item in value.items()})
        elif key in ("partial", "probes"):
            found[key] = value
    return found


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield key, before.get(key), after.get(key)


def _named(before: Archive, after: Archive) -> Iterator[tuple[str, str]]:
    """Yield documents and attachments that were added, removed or changed."""
    for role in ("document", "attachment"):
        old = {info.name for info in before.streams if info.role == role}
        new = {info.name for info in after.streams if info.role == role}
        for name in sorted(old | new):
            if name not in new:
                yield name, "removed"
            elif name not in old:
                yield name, "added"
            elif not _equal(before[name], after[name]):
                yield name, "changed"


def _equal(before: StreamView, after: StreamView) -> bool:
    if len(before) != len(after):
        return False
    if rows.row_bytes_of(before) != rows.row_bytes_of(after) or before.dtype != after.dtype:
        return False
    return not rows.differing(before, after).any()


def _columns(before: Archive, after: Archive) -> dict[str, str]:
    name = payload_.STREAM_NAME
    if name not in before and name not in after:
        return {}
    if name not in before or name not in after:
        return {"": "added" if name in after else "removed"}
    if _equal(before[name], after[name]):
        return {}
    return payload_.compare_payloads(before[name], after[name])
