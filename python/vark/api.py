"""The public functions: write, open and verify archives."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace as replace_fields
from os import PathLike
from pathlib import Path
from typing import Any
from uuid import UUID

from vark import _core
from vark.archive import (
    MEMORY_DEFAULT,
    Archive,
    ProgressCallback,
    Shadow,
    Volume,
    _heartbeat,
    from_store,
    places_of,
    volumes_of,
)
from vark.cache import Cache, as_cache
from vark.errors import InvalidArgumentError, SourceError, error_from_os
from vark.feeds import FeedGroup
from vark.keys import Identity, Secrets, new_recovery_code, protection, unlocking
from vark.names import check_name
from vark.payload import payload_stream
from vark.probes import make_probes
from vark.sources import Gathered, Source, gather
from vark.target import check_target, published
from vark.types import CompactReport, CopiedArchive, VerifyReport, WriteReport
from vark.units import parse_bytes

# How often a file that changed while it was read is read again before the archive counts as partial.
ATTEMPTS = 3
# Fewer ids are one block, which is read as quickly as an index of them.
INDEX_ROWS_MIN = 4_194_304
StreamSpec = tuple[str, str, str, int, tuple[str, Any]]


def write_archive(
    source: Source,
    target: str | PathLike[str] | int,
    *,
    payload: Any = None,
    payload_key: str | None = None,
    documents: Mapping[str, str | bytes | PathLike[str]] | Sequence[str | PathLike[str]] | None = None,
    attach: Mapping[str, bytes | str | PathLike[str]] | Sequence[str | PathLike[str]] | None = None,
    probes: Any = None,
    application: Mapping[str, Any] | None = None,
    layout: str = "auto",
    compression: str = "auto",
    order: str = "exact",
    threads: int | None = None,
    memory: str | int = MEMORY_DEFAULT,
    replace: bool = False,
    sync: bool = True,
    digest: bool = False,
    base: Archive | Shadow | None = None,
    cache: str | PathLike[str] | Cache | None = None,
    id_index: bool | int | None = None,
    fingerprint_key: bytes | None = None,
    archive_id: UUID | None = None,
    passphrase: str | bytes | None = None,
    recipients: Sequence[str] = (),
    recovery_code: bool | str = False,
    keyring: _core.Keyring | _core.Signer | None = None,
    progress: ProgressCallback | None = None,
) -> WriteReport:
    """Back up `source` into one archive and return what was done. The archive appears when it is complete and durable.

    source: path of a file or folder; list of paths; numpy array, or mapping of names to arrays (stored as .npy files,
        contiguous ones without a copy); live `faiss.Index` or `hnswlib.Index` (streamed, never a second copy).
    target: path, or an open file descriptor (written in one pass).
    payload: pyarrow Table or RecordBatchReader, or the path of a Parquet file. payload_key: its column of ids;
        None when row i belongs to vector i.
    documents: name -> text or bytes or Path, or a list of paths. attach: name -> bytes or path, or a list of paths.
    probes: queries (count, d) float32, or a dict with queries, k (10), metric ("l2" for arrays), truth, and index: the
        live index that answers them when the source is files.
    application: JSON object for your own use (integers and text, no floats).
    layout: "auto", "opaque" (do not split), or "faiss" | "hnswlib" | "npy" | "usearch" |
        "diskann" for files. compression: "auto" | "none".
    order: "canonical" sorts the links of each node of a graph and clears unused slots: some 3 bits a link smaller.
        What is restored searches as the source does (same links, same vectors) but is not byte-equal; the metadata
        say so.
    threads: None for all cores. memory: budget for buffers, bytes or "256MiB".
    replace: an existing target is replaced at the end. sync: return when the disk has it.
    digest: store the BLAKE3 of each member, too.
    base: an archive of an earlier state: the new one stores only rows that are new and points into the base, and into
        what that points to, for the others. All of them are needed to restore it.
    id_index: True keeps a sorted index beside streams of more than 4,194,304 ids, so that rows of few ids are found
        without reading all; a number: of more ids than that; False: none; None: where the base has one. It takes some
        2 to 6 bytes a row of the archive, 9 of random ids of 64 bits, and 24 bytes of memory a row while it is made.
    cache: folder (or `vark.cache.Cache`) where links of graphs, slow to decode, are kept for the next delta and
        looked for by this one. The archive is the same without it.
    fingerprint_key: 32 secret bytes: keep a fingerprint of each wide row, so that the next delta need not read this
        archive's rows; the same key for all archives of a chain. An encrypted archive has a key of its own for that and
        takes no other: any 32 bytes ask for it. archive_id: None for a new one (UUID version 7).
    passphrase, recipients, recovery_code: encrypt the archive; any one of them opens it. recipients: age recipients
        (age1…). recovery_code: a code of `vark.keys.new_recovery_code`, or True to have one made, which is in the
        report (`recovery_code`) and nowhere else: lose the report, and it is lost. A delta on an encrypted base is
        encrypted with the keys of its base and takes no others. keyring: of an encrypted repository, for
        `vark.repository`.
    progress: called with done and total bytes (or None), ten times a second at most; an exception in it cancels.
    Errors: InvalidArgumentError, NotFoundError, TargetExistsError, SourceError, NoSpaceError, LimitError.
    """
    if not isinstance(target, int):
        check_target(Path(os.fspath(target)), replace=replace)  # before anything is read; the engine checks again
    options: dict[str, Any] = {
        "compression": compression,
        "order": order,
        "threads": threads or 0,
        "memory_bytes": parse_bytes(memory, name="memory"),
        "digest_members": digest,
        "id_index": _index_rows(id_index),
        "base": None if base is None else base.reader,
        "cache": None if cache is None else as_cache(cache).argument(),
        "fingerprint_key": fingerprint_key,
        "archive_id": None if archive_id is None else archive_id.bytes,
        "seal": keyring or protection(passphrase, recipients, _code(recovery_code)),
        "progress": progress or _heartbeat,
    }

    def attempt(layout: str, note: str | None) -> WriteReport:
        is_sealed = options["seal"] is not None or (base is not None and base.reader.is_sealed)
        with FeedGroup(is_sealed=is_sealed) as feeds:
            streams = _named_streams("document", documents) + _named_streams("attachment", attach)
            gathered = gather(source, feeds, layout=layout, note=note)
            metadata = _metadata(gathered, application)
            if probes is not None:
                answered = make_probes(probes, gathered)
                metadata["probes"] = answered.metadata()
                streams += answered.streams()
            if payload is not None:
                stream, entry = payload_stream(payload, feeds, key=payload_key, row_count=gathered.row_count())
                metadata["payload"] = entry
                streams.append(stream)
            options["metadata"] = _json(metadata)
            return _pack(gathered, streams, target, feeds, options, replace=replace, sync=sync)

    try:
        return _with_code(attempt(layout, None), options["seal"])
    except SourceError as error:
        if error.code != "malformed" or layout == "opaque" or not _repeatable(payload) or not _emptied(target):
            raise
        # What flows from memory cannot be read twice: a kind of index that the engine does not split starts anew.
        return _with_code(attempt("opaque", f"kept as one opaque stream: {error.message}"), options["seal"])


def _metadata(gathered: Gathered, application: Mapping[str, Any] | None) -> dict[str, Any]:
    source = {"source": {"kind": gathered.kind, "name": gathered.name}}
    return source if application is None else {**source, "application": dict(application)}


def _code(recovery_code: bool | str) -> str | None:
    if isinstance(recovery_code, str):
        return recovery_code
    return new_recovery_code() if recovery_code else None


def _with_code(report: WriteReport, seal: Secrets | _core.Keyring | _core.Signer | None) -> WriteReport:
    return report if not isinstance(seal, tuple) else replace_fields(report, recovery_code=seal[2])


def _index_rows(id_index: bool | int | None) -> int | None:
    """Return how many ids a stream must exceed to get an index, as the engine takes it.

    Errors: InvalidArgumentError.
    """
    if id_index is None:
        return None
    if isinstance(id_index, bool):
        return INDEX_ROWS_MIN if id_index else -1
    if id_index < 0:
        raise InvalidArgumentError(f"id_index: {id_index}; expected True, False or a number of ids")
    return id_index


def _emptied(target: str | PathLike[str] | int) -> bool:
    """Return whether writing can start again; of a descriptor only when it is a regular file, which is empty then."""
    if not isinstance(target, int):
        return True
    if not stat.S_ISREG(os.fstat(target).st_mode):
        return False
    os.ftruncate(target, 0)
    os.lseek(target, 0, os.SEEK_SET)
    return True


def _repeatable(payload: Any) -> bool:
    """Return whether `payload` can be read a second time; a RecordBatchReader cannot."""
    return not hasattr(payload, "read_next_batch")


def _pack(
    gathered: Gathered,
    streams: list[StreamSpec],
    target: str | PathLike[str] | int,
    feeds: FeedGroup,
    options: dict[str, Any],
    *,
    replace: bool,
    sync: bool,
) -> WriteReport:
    """Run the engine. What comes through feeds is published only when no feed has failed (see `vark.feeds`)."""

    def run(place: str | int, *, replace: bool) -> dict[str, Any]:
        plan = gathered.plan_json()
        fixed: dict[str, Any] = {"plan": plan, "attempts": ATTEMPTS}
        try:
            text = _core.pack(place, gathered.members, streams, replace=replace, sync=sync, **fixed, **options)
        except Exception as error:
            failure = feeds.failure()
            if failure is not None:
                raise failure from error
            raise
        feeds.finish()
        return dict(json.loads(text))

    if isinstance(target, int):
        return WriteReport.from_record(run(target, replace=replace), path=f"descriptor {target}")
    path = Path(os.fspath(target))
    if len(feeds) == 0:
        return WriteReport.from_record(run(str(path), replace=replace), path=str(path))
    with published(path, replace=replace, sync=sync) as part:
        report = run(str(part), replace=False)
    return WriteReport.from_record(report, path=str(path))


def _named_streams(role: str, items: Any) -> list[StreamSpec]:
    if items is None:
        return []
    if isinstance(items, (str, bytes, PathLike)):
        raise InvalidArgumentError(
            f"{role}s: one {type(items).__name__}; give a list of paths, or a mapping from names"
        )
    pairs = (
        items.items() if isinstance(items, Mapping) else [(Path(os.fspath(item)).name, Path(item)) for item in items]
    )
    streams: list[StreamSpec] = []
    for name, value in pairs:
        stream = f"{role}/{check_name(name, what=role)}"
        if any(other[0] == stream for other in streams):
            raise InvalidArgumentError(f"{role} {name!r}: given twice; give one of them another name")
        streams.append((stream, role, "u8", 1, _named_bytes(role, name, value)))
    return streams


def _named_bytes(role: str, name: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, PathLike) or (isinstance(value, str) and role == "attachment"):
        path = os.fspath(value)
        try:
            with open(path, "rb"):
                return "file", path
        except OSError as error:
            raise error_from_os(error, f"{role} {path}") from error
    if isinstance(value, str):
        return "buffers", [value.encode()]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "buffers", [value]
    raise InvalidArgumentError(f"{role} {name!r}: {type(value).__name__}; expected bytes, text or a Path")


def _json(metadata: dict[str, Any]) -> str:
    """Return metadata as the format wants it: sorted, compact, integers only."""

    def check(value: Any, place: str) -> None:
        if isinstance(value, float):
            raise InvalidArgumentError(f"{place}: {value} is a float; metadata takes integers, or write it as text")
        if isinstance(value, Mapping):
            for key, item in value.items():
                check(item, f"{place}.{key}")
        elif isinstance(value, (list, tuple)):
            for item in value:
                check(item, place)

    check(metadata.get("application"), "application")
    try:
        return json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"application: {error}; expected a JSON object") from error


def open_archive(
    path: Volume | Sequence[Volume],
    *,
    ancestors: Mapping[str, Sequence[Volume]] | None = None,
    passphrase: str | bytes | None = None,
    identities: Sequence[Identity] = (),
    recovery_code: str | None = None,
) -> Archive:
    """Open an archive, or the volumes that it is cut into.

    ancestors: of a delta, the volumes of each archive that it points into, by id; those not named are looked for beside
        the archive as ID.vark.
    passphrase, identities, recovery_code: of an encrypted archive; any one that fits opens it. identities: age identity
        files, by path or by content.
    Errors: NotFoundError, NotAnArchiveError, DamagedError, UnsupportedError, KeyNeededError, WrongKeyError.
    """
    return Archive(path, ancestors=ancestors, secrets=unlocking(passphrase, identities, recovery_code))


def compact_archive(
    archive: Archive,
    target: str | PathLike[str] | int,
    *,
    archive_id: UUID | None = None,
    keyring: _core.Keyring | None = None,
    threads: int | None = None,
    replace: bool = False,
    sync: bool = True,
    progress: ProgressCallback | None = None,
) -> CompactReport:
    """Write an archive with the same rows as a delta that needs no other archive, out of stored blocks.

    What the delta did not change is copied as it lies; only chunks with new rows are coded again. The source is not
    read. keyring: of an encrypted repository, for `vark.repository`.
    Errors: those of `write_archive`, and of reading the archive.
    """
    place = target if isinstance(target, int) else os.fspath(target)
    text = archive.reader.compact(
        place,
        archive_id=None if archive_id is None else archive_id.bytes,
        seal=keyring,
        for_other=False,
        replace=replace,
        sync=sync,
        threads=threads or 0,
        progress=progress or _heartbeat,
    )
    return CompactReport(**json.loads(text))


def copy_archive(
    archive: Archive,
    descriptor: int,
    *,
    pairs: Sequence[tuple[Archive, Archive]] | None,
    archive_id: UUID,
    keyring: _core.Keyring | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> CopiedArchive:
    """Write an archive again for another repository, for `vark.repository`: same rows, no fingerprints.

    pairs: each ancestor that its rows lie in, and the copy of it to which the new one points: stored blocks go along as
    they are, under the keys of `keyring` (None: not encrypted). None: it is to stand alone.
    Errors: InvalidArgumentError (pairs that do not fit), those of reading and writing.
    """
    seen = progress or _heartbeat
    if pairs is None:
        text = archive.reader.compact(
            descriptor,
            archive_id=archive_id.bytes,
            seal=keyring,
            for_other=True,
            replace=False,
            sync=False,
            threads=threads or 0,
            progress=seen,
        )
    else:
        text = archive.reader.transcribe(
            descriptor,
            [(source.reader, target.reader) for source, target in pairs],
            archive_id=archive_id.bytes,
            seal=keyring,
            sync=False,
            threads=threads or 0,
            progress=seen,
        )
    return CopiedArchive.from_record(json.loads(text))


def verify_archive(
    path: Volume | Sequence[Volume],
    *,
    level: str = "full",
    own: bool = False,
    ancestors: Mapping[str, Sequence[Volume]] | None = None,
    passphrase: str | bytes | None = None,
    identities: Sequence[Identity] = (),
    recovery_code: str | None = None,
    keyring: _core.Keyring | _core.Signer | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> VerifyReport:
    """Verify an archive that may not even open; damage is in the report, not an exception.

    level: "stored" (checksums of stored bytes) or "full" (digests of all rows, too). own: of a delta, only its own
        bytes, nothing in its ancestors. ancestors, passphrase, identities, recovery_code: as in `open_archive`; level
        "stored" needs no key, and without one what lies in ancestors is not looked at. keyring: of an encrypted
        repository, for `vark.repository`.
    Errors: as `open_archive`, but for damage.
    """
    text = _core.verify_path(
        from_store(volumes_of(path)),
        {name: from_store(volumes) for name, volumes in places_of(ancestors).items()},
        keyring or unlocking(passphrase, identities, recovery_code),
        level=level,
        own=own,
        threads=threads or 0,
        progress=progress or _heartbeat,
    )
    return VerifyReport.from_record(json.loads(text))


def verify_deltas(
    archives: Sequence[Sequence[Volume]],
    *,
    ancestors: Mapping[str, Sequence[Volume]],
    keyring: _core.Keyring | _core.Signer | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[VerifyReport, ...]:
    """Verify all rows of deltas that verifying their own bytes does not prove; return one report each.

    archives: the volumes of each. ancestors: volumes of all archives that they point into, by id. keyring: of an
    encrypted repository. What several of them take from the same block is decoded once.
    Errors: NotFoundError, StorageError; damage is in the reports.
    """
    volumes = [from_store(volumes_of(archive)) for archive in archives]
    places = {name: from_store(volumes) for name, volumes in places_of(ancestors).items()}
    text = _core.verify_rows(volumes, places, keyring, threads=threads or 0, progress=progress or _heartbeat)
    return tuple(VerifyReport.from_record(record) for record in json.loads(text)["archives"])
