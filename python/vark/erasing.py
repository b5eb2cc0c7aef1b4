"""Erasing rows of an archive: what it holds of some ids, and the same archive without them.

The engine knows streams of rows; payload, probes and documents are looked into here. Ids come as keyed hashes, so that
lists of them can be kept (spec/REPOSITORY.md, section 6).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from vark import _core
from vark.archive import MEMORY_DEFAULT, Archive, ProgressCallback, _heartbeat
from vark.errors import DamagedError, UnsupportedError
from vark.feeds import FeedGroup, ThreadFeed
from vark.payload import STREAM_NAME, StreamFile, import_arrow
from vark.probes import Probes
from vark.types import WriteReport
from vark.units import parse_bytes

HASH_BYTES = 16
# Key and hashes, one after another, of each list of ids.
Lists = Sequence[tuple[bytes, bytes]]
_NUMBER = re.compile(r"-?\d{1,20}")


@dataclass(frozen=True, slots=True)
class MemberRows:
    """Rows of one member that have the ids. removes: they are left out, else they become tombstones."""

    name: str
    layout: str
    rows: NDArray[np.int64]
    row_count: int
    removes: bool
    fault: str | None


@dataclass(frozen=True, slots=True)
class PayloadRows:
    """Rows of the payload that go, and whether they are left out or blanked where they are."""

    rows: NDArray[np.int64]
    removes: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """What an archive holds of some ids. found: (number of the list, hash) of each; unknown: member -> why."""

    members: tuple[MemberRows, ...]
    found: frozenset[tuple[int, bytes]]
    unknown: Mapping[str, str]
    payload: PayloadRows | None = None
    documents: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def row_count(self) -> int:
        """Rows of members and of the payload."""
        payload = 0 if self.payload is None else len(self.payload.rows)
        return sum(len(member.rows) for member in self.members) + payload

    @property
    def is_clean(self) -> bool:
        """Whether nothing of the ids is there."""
        return self.row_count == 0 and not self.documents


@dataclass(frozen=True, slots=True)
class ErasedArchive:
    """The archive that was written. changed: stream -> rows and bytes that are not what they were."""

    report: WriteReport
    changed: Mapping[str, tuple[int, int]] = field(default_factory=dict)


class Hashes:
    """Tells which numbers are wanted."""

    def __init__(self, lists: Lists) -> None:
        self._lists = [(key, _cut(hashes)) for key, hashes in lists]

    def find(self, numbers: NDArray[Any]) -> tuple[NDArray[np.bool_], set[tuple[int, bytes]]]:
        """Return which of the integers are wanted, and the hashes by which they are."""
        bits = numbers.astype(np.int64 if numbers.dtype.kind == "i" else np.uint64).view(np.uint64).tolist()
        wanted, found = np.zeros(len(bits), bool), set()
        for number, (key, hashes) in enumerate(self._lists):
            for row, one in enumerate(id_hashes(key, bits)):
                if one in hashes:
                    wanted[row] = True
                    found.add((number, one))
        return wanted, found

    def has_text(self, text: str) -> set[tuple[int, bytes]]:
        """Return the hash by which a text is wanted that is an id in digits."""
        if not _NUMBER.fullmatch(text) or not -(1 << 63) <= int(text) < 1 << 64:
            return set()
        number = np.array([int(text)], np.uint64 if int(text) >= 1 << 63 else np.int64)
        return self.find(number)[1]


def id_hashes(key: bytes, ids: Sequence[int]) -> list[bytes]:
    """Return the hash of each id under a key of 32 bytes."""
    return list(_cut_list(_core.id_hashes(key, [number & ((1 << 64) - 1) for number in ids])))


def _cut_list(hashes: bytes) -> Iterator[bytes]:
    return (hashes[first : first + HASH_BYTES] for first in range(0, len(hashes), HASH_BYTES))


def _cut(hashes: bytes) -> frozenset[bytes]:
    return frozenset(_cut_list(hashes))


def survey(archive: Archive, lists: Lists) -> Survey:
    """Look for ids in an archive: in its members, its payload, and the names of its documents.

    Errors: those of reading.
    """
    record = json.loads(_core.survey(archive.reader, list(lists)))
    members = tuple(
        MemberRows(**{**member, "rows": np.array(member["rows"], np.int64)}) for member in record["members"]
    )
    found = {(number, bytes.fromhex(one)) for number, one in record["found"]}
    hashes = Hashes(lists)
    payload, notes = _payload_rows(archive, members, hashes, found)
    documents = []
    for info in archive.streams:
        if info.role in ("document", "attachment"):
            name = info.name.partition("/")[2]
            hit = hashes.has_text(name) | hashes.has_text(name.partition(".")[0])
            found |= hit
            if hit:
                documents.append(info.name)
            else:
                notes.append(f"{info.role} {name!r} is kept: its name is no id, and what is in it is not looked into")
    if archive.metadata.get("application"):
        notes.append("the metadata of the application are kept as they are")
    unknown = {item["name"]: item["reason"] for item in record["unknown"]}
    return Survey(members, frozenset(found), unknown, payload, tuple(documents), tuple(notes))


def _payload_rows(
    archive: Archive, members: Sequence[MemberRows], hashes: Hashes, found: set[tuple[int, bytes]]
) -> tuple[PayloadRows | None, list[str]]:
    """Return the rows of the payload that belong to the ids, and what cannot be told."""
    facts = archive.metadata.get("payload")
    if not isinstance(facts, dict) or STREAM_NAME not in archive:
        return None, []
    if facts.get("key") is not None:
        return _keyed_rows(archive, str(facts["key"]), hashes, found)
    if not members:
        return None, []
    fitting = [member for member in members if member.row_count == facts.get("rows", member.row_count)]
    if len(members) == 1 and fitting and len(archive.members) == 1:
        return PayloadRows(fitting[0].rows, fitting[0].removes), []
    raise UnsupportedError(
        "payload: its rows have no key and cannot be told to be those of one member; forget the snapshot instead"
    )


def _keyed_rows(
    archive: Archive, key: str, hashes: Hashes, found: set[tuple[int, bytes]]
) -> tuple[PayloadRows | None, list[str]]:
    rows, passed, notes = [np.empty(0, np.int64)], 0, []
    for batch in _batches(archive):
        column = batch.column(key)
        inside = np.flatnonzero(np.asarray(column.is_valid()))
        values = column.drop_null()
        if not _is_integer(column.type):
            texts = [(row, hashes.has_text(str(value))) for row, value in enumerate(values.to_pylist())]
            hits = np.array([row for row, hit in texts if hit], np.int64)
            found.update(*(hit for _, hit in texts))
            notes = [f"the payload's key {key!r} is no number: rows were found by its digits"]
        else:
            wanted, hit = hashes.find(np.asarray(values))
            hits = np.flatnonzero(wanted)
            found |= hit
        rows.append(inside[hits] + passed)
        passed += batch.num_rows
    all_rows = np.concatenate(rows)
    return (PayloadRows(all_rows, True) if len(all_rows) else None), notes


def _is_integer(kind: Any) -> bool:
    return bool(import_arrow().types.is_integer(kind))


def _batches(archive: Archive) -> Iterator[Any]:
    arrow = import_arrow("looking into a payload needs")
    try:
        with arrow.ipc.open_stream(io.BufferedReader(StreamFile(archive[STREAM_NAME]), 1 << 20)) as reader:
            yield from reader
    except arrow.ArrowException as error:
        raise DamagedError(f"payload: not an Arrow stream: {error}", layer="metadata") from error


def erase_archive(
    archive: Archive,
    target: int | str,
    lists: Lists,
    *,
    seen: Survey,
    base: Archive | None = None,
    fingerprint_key: bytes | None = None,
    archive_id: UUID | None = None,
    keyring: _core.Keyring | None = None,
    sync: bool = True,
    threads: int | None = None,
    memory: str | int = MEMORY_DEFAULT,
    progress: ProgressCallback | None = None,
) -> ErasedArchive:
    """Write an archive with all that `archive` holds but the rows of the ids. seen: what `survey` found in it.

    base: an archive that the new one is a delta on. keyring: of an encrypted repository.
    Errors: UnsupportedError (rows that cannot be erased; nothing was written), those of reading and writing.
    """
    with FeedGroup() as feeds:
        streams, metadata = _replaced(archive, seen, feeds)
        try:
            text = _core.erase_rows(
                archive.reader,
                target,
                list(lists),
                streams=streams,
                dropped=list(seen.documents),
                metadata=json.dumps(metadata, sort_keys=True),
                base=None if base is None else base.reader,
                fingerprint_key=fingerprint_key,
                archive_id=None if archive_id is None else archive_id.bytes,
                seal=keyring,
                sync=sync,
                threads=threads or 0,
                memory_bytes=parse_bytes(memory, name="memory"),
                progress=progress or _heartbeat,
            )
        except Exception as error:
            failure = feeds.failure()
            if failure is not None:
                raise failure from error
            raise
        feeds.finish()
    record = json.loads(text)
    changed = {item["name"]: (item["rows"], item["bytes"]) for item in record["streams"]}
    if seen.payload is not None:
        changed[STREAM_NAME] = (len(seen.payload.rows), archive[STREAM_NAME].nbytes)
    place = target if isinstance(target, str) else f"descriptor {target}"
    return ErasedArchive(WriteReport.from_record(record["archive"], path=place), changed)


def _replaced(
    archive: Archive, seen: Survey, feeds: FeedGroup
) -> tuple[list[tuple[str, str, str, int, Any]], dict[str, Any]]:
    """Return the streams that are made anew here, and what the metadata say of them."""
    streams: list[tuple[str, str, str, int, Any]] = []
    metadata: dict[str, Any] = {}
    payload = seen.payload
    if payload is not None and len(payload.rows):
        feed = feeds.add(ThreadFeed(lambda descriptor: _write_payload(archive, payload, descriptor), what="payload"))
        streams.append((STREAM_NAME, "payload", "u8", 1, ("pipe", feed)))
        facts = dict(archive.metadata["payload"])
        if payload.removes and "rows" in facts:
            facts["rows"] -= len(payload.rows)
        metadata["payload"] = facts
    if "probe.ids" in archive and archive.metadata.get("probes"):
        probes = _probes_without(archive, seen)
        if probes is not None:
            streams += probes.streams()
            metadata["probes"] = probes.metadata()
    return streams, metadata


def _write_payload(archive: Archive, payload: PayloadRows, descriptor: int) -> None:
    arrow = import_arrow()
    writer, passed = None, 0
    with open(descriptor, "wb", closefd=False) as pipe:
        for batch in _batches(archive):
            inside = payload.rows[(payload.rows >= passed) & (payload.rows < passed + batch.num_rows)] - passed
            passed += batch.num_rows
            if writer is None:
                writer = arrow.ipc.new_stream(pipe, batch.schema)
            if len(inside) == 0:
                writer.write_batch(batch)
                continue
            columns = [_without(arrow, column, inside, payload.removes) for column in batch.columns]
            writer.write_batch(arrow.RecordBatch.from_arrays(columns, schema=batch.schema))
        if writer is not None:
            writer.close()


def _without(arrow: Any, column: Any, rows: NDArray[np.int64], removes: bool) -> Any:
    """Return a column without some rows, or with blank ones, made of copies: nothing of them is left in a buffer."""
    kind = column.type
    if arrow.types.is_dictionary(kind):
        # The values of a dictionary would keep what only the erased rows said.
        plain = _without(arrow, column.dictionary_decode(), rows, removes)
        return plain.dictionary_encode().cast(kind)
    blank = arrow.nulls(1, kind)
    parts, start = [], 0
    for row in rows.tolist():
        parts.append(column.slice(start, row - start))
        if not removes:
            parts.append(blank)
        start = row + 1
    parts.append(column.slice(start))
    return arrow.concat_arrays(parts)


def _probes_without(archive: Archive, seen: Survey) -> Probes | None:
    """Return the probes without the rows as answers and as queries; None when nothing changes."""
    probes = archive.probes()
    gone = np.concatenate([np.empty(0, np.int64), *(_ids_of(archive, member) for member in seen.members)])
    vectors = {bytes(row) for member in seen.members for row in _vectors_of(archive, member)}
    kept = np.array([row.tobytes() not in vectors for row in probes.queries], bool)
    answers = np.isin(probes.ids, gone) & (probes.ids >= 0)
    if kept.all() and not answers.any():
        return None
    ids = np.where(answers, -1, probes.ids)[kept]
    distances = np.where(answers, np.float32(np.inf), probes.distances)[kept]
    order = np.argsort(ids < 0, axis=1, kind="stable")
    ids, distances = np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1)
    return Probes(probes.queries[kept], ids, distances, probes.metric, probes.truth)


def _beside(archive: Archive, member: MemberRows, role: str) -> Any:
    """Return the stream of a member of this role that has as many rows as it, or None."""
    prefix = "" if len(archive.members) == 1 else f"{member.name}/"
    for info in archive.streams:
        if info.role == role and info.name.startswith(prefix) and info.shape[0] == member.row_count:
            return archive[info.name]
    return None


def _ids_of(archive: Archive, member: MemberRows) -> NDArray[np.int64]:
    view = _beside(archive, member, "ids")
    return np.empty(0, np.int64) if view is None else view.rows_of(member.rows).astype(np.int64).ravel()


def _vectors_of(archive: Archive, member: MemberRows) -> NDArray[Any]:
    view = _beside(archive, member, "vectors")
    empty = np.empty((0, 1), np.float32)
    return empty if view is None else np.ascontiguousarray(view.rows_of(member.rows), np.float32)
