"""Backup: the writer's side of the protocol, W1 to W4 (spec, section 4.1)."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

from vark.archive import Archive, Shadow
from vark.cache import Cache, cache_of_repository, cache_of_signer
from vark.errors import (
    CancelledError,
    ConflictError,
    DamagedError,
    InvalidArgumentError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
    SourceError,
    VarkError,
)
from vark.keys import Signer
from vark.repository import base as base_
from vark.repository import sessions
from vark.repository.bundles import write_bundle
from vark.repository.catalog import Catalog
from vark.repository.context import Context
from vark.repository.engine import Written
from vark.repository.erase import rewrite_name
from vark.repository.erase_filter import ErasureFilter
from vark.repository.fields import label_fault, new_salt, tags_fault
from vark.repository.keystore import newest_generation
from vark.repository.layout import COMMITS, ERASURES, LOCKS, REPORTS, ROOTS, record_name
from vark.repository.ledger import read_ledger
from vark.repository.locking import lock_snapshots
from vark.repository.objects import new_uuid7
from vark.repository.records import Ancestor, Commit, CommittedArchive
from vark.repository.reports import ArchiveWritten, BackupReport
from vark.repository.shadows import Head, Shadows, erasures_seen
from vark.repository.sourcing import describe_shards, signature
from vark.repository.volumes import VolumeDiffersError, Volumes, write_volumes
from vark.stores import RemoteStore
from vark.stores.base import listing_ahead

_OURS = frozenset({"archive_id", "base", "fingerprint_key", "replace", "sync"})  # options that the repository decides
CLOCK_STEP_MS = 100  # more than that a clock has been set back: then it is believed
HEADS_MAX = 64
ATTEMPTS = 4  # a collection can be in the way of each; more than two in a row take some planning


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """What is asked for. sources: shard -> source; the shard is "" where there is one archive only."""

    sources: Mapping[str, Any]
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    full: bool = False
    resume: bool = True
    chain_max: int = base_.CHAIN_MAX
    waste_max: float = base_.WASTE_MAX
    options: Mapping[str, Any] = field(default_factory=dict)
    # Folder of local caches; None for that of the environment, False for none.
    cache: bool | str | PathLike[str] | None = None

    def check(self) -> None:
        """Refuse what could not be recorded, before anything is read. Errors: InvalidArgumentError."""
        fault = label_fault(self.name)
        if fault is not None:
            raise InvalidArgumentError(f"name {self.name!r}: {fault}")
        fault = tags_fault(self.tags)
        if fault is not None:
            raise InvalidArgumentError(f"tags: {fault}")
        ours = sorted(_OURS & self.options.keys())
        if ours:
            raise InvalidArgumentError(f"{ours[0]}: the repository decides that; leave it out")


@dataclass(slots=True)
class _Shard:
    archive_id: str
    base: base_.Base | None
    reason: str | None
    there: Callable[[], set[str]] | None = None  # as in `write_volumes`, of an id that nobody can have used
    written: Written | None = None
    volumes: Volumes | None = None


def backup(context: Context, request: BackupRequest) -> BackupReport:
    """Make a snapshot. What this returns is durable, and no collection can take it away.

    Errors: those of `write_archive`; ConflictError when collections were in the way again and again.
    """
    request.check()
    start = time.monotonic()
    erasures = erasures_seen(context.store) if context.is_write_only else ""
    # What W1 needs besides the catalog. It may be older than that: an erasure in between counts as one that came late.
    with listing_ahead(context.store, () if context.is_write_only else (ERASURES, REPORTS)):
        takes_up = request.resume and not context.is_write_only
        intents = sessions.sessions_ahead(context.store, context.envelope) if takes_up else None
        catalog = context.reader.read(strict=True)  # W1
        erased = ErasureFilter(context, request.name)
        shards, session = _plan(context, catalog, request, erasures, intents)
    resumed = session is not None
    if session is None:
        session = _begin(context, request, shards)
    superseded: list[str] = []
    snapshot = new_uuid7().hex
    try:
        generation, stale = catalog.administration.generation, set(shards)
        for _ in range(ATTEMPTS):
            for name in stale:
                _write(context, request, name, shards[name], erased, again=bool(superseded))  # W2
            replaces = superseded[-1] if superseded else None
            commit = _commit(context, catalog, request, shards, snapshot, generation, replaces)
            record = commit.encode(context.envelope)
            _check_keys(context, request)
            digest = context.create_commit(commit, record)  # W3
            with listing_ahead(context.store, (ROOTS,) if context.is_write_only else (ROOTS, ERASURES)):
                administration = context.reader.administrations.read()  # W4: after the commit record exists
                is_late = erased.is_late()
            stale = {name for name, shard in shards.items() if _ids(shard) & administration.dead}
            if not stale:
                # A write-only client makes no marks; a collector forgets what was superseded.
                for old in superseded if not context.is_write_only else ():
                    context.mark(context.reader.read(), "forget", commit.snapshot, commit=old, reason="superseded")
                erased.settle(partial=commit.partial)
                if is_late:
                    # An erasure came meanwhile, and may not have seen this one.
                    superseded.append(digest)
                    digest = rewrite_name(context, request.name).get(snapshot, superseded.pop())
                with listing_ahead(context.store, (LOCKS,)):  # of policies, while the bundle is sent
                    if context.is_write_only:
                        _keep_heads(context, request, shards, digest, erasures)
                    else:  # a write-only client adds snapshots, and nothing else
                        name = record_name(COMMITS, record, commit.created_unix_ms)
                        write_bundle(context.store, {**context.reader.raw, name: record})
                    done = _report(commit, digest, shards, time.monotonic() - start, resumed, superseded, erased)
                    return replace(done, lock=lock_snapshots(context, {snapshot}))
            superseded.append(digest)
            generation = administration.generation
            for name in stale:
                shards[name] = _Shard(str(new_uuid7()), None, "a collection was about to free what it builds on")
    finally:
        sessions.end(session)
    raise ConflictError(
        f"backup of {request.name!r}: {ATTEMPTS} collections in a row were in the way; nothing is lost, run it again"
    )


def _check_keys(context: Context, request: BackupRequest) -> None:
    """Refuse to commit under keys that were changed meanwhile: clients that saw the change would not believe it."""
    if context.keys is not None and newest_generation(context.store) != context.keys.keyring.generation:
        raise ConflictError(
            f"backup of {request.name!r}: the keys of the repository were changed while this ran; nothing was added. "
            "Open it again and run it once more"
        )


def _plan(
    context: Context,
    catalog: Catalog,
    request: BackupRequest,
    erasures: str,
    intents: Callable[[], Sequence[sessions.Session]] | None,
) -> tuple[dict[str, _Shard], sessions.Session | None]:
    """Choose the base of each shard, and find an interrupted run to go on with.

    erasures: as a head has them. intents: of all runs; None where none is gone on with.
    """
    shards = {}
    damaged = read_ledger(context.store, context.envelope).damaged()
    limits: dict[str, Any] = {"damaged": damaged, "chain_max": request.chain_max, "waste_max": request.waste_max}
    for name in request.sources:
        base: base_.Base | None = None
        reason: str | None = "asked for"
        if context.is_write_only and not request.full:
            base, reason = _kept_base(context, catalog, request, name, erasures, limits)
        elif not request.full:
            base, reason = base_.choose(context.store, catalog, request.name, name, **limits)
        if base is not None and not context.engine.deltas:
            base, reason = None, "this build of the engine writes no deltas"
        shards[name] = _Shard("", base, reason or None)
    if intents is None:
        return shards, None
    bases = {name: _base_id(shard) for name, shard in shards.items()}
    session = sessions.find_interrupted(
        context.store,
        context.envelope,
        catalog,
        name=request.name,
        signature=_signature(request, bases),
        bases=bases,
        intents=intents,
    )
    if session is not None:
        _adopt(shards, session)
    return shards, session


def _begin(context: Context, request: BackupRequest, shards: Mapping[str, _Shard]) -> sessions.Session:
    """Give each shard a fresh id and begin to write the intent: no volume is created before it is there."""
    bases = {name: _base_id(shard) for name, shard in shards.items()}
    session, wait = sessions.begin_ahead(
        context.store, context.envelope, name=request.name, signature=_signature(request, bases), bases=bases
    )
    if not isinstance(context.store, RemoteStore):
        wait()
    _adopt(shards, session)

    def there() -> set[str]:
        wait()
        return set()

    for shard in shards.values():
        shard.there = there
    return session


def _shadows(context: Context, request: BackupRequest) -> Shadows | None:
    """Return what a write-only client keeps for its next backup; None of any other, or where nothing can be kept."""
    cache = _cache_folder(context, request) if context.is_write_only else None
    signer = context.engine.keyring if cache is not None else None
    return Shadows(cache.folder, signer) if cache is not None and isinstance(signer, Signer) else None


def _kept_base(
    context: Context, catalog: Catalog, request: BackupRequest, shard: str, seen: str, limits: Mapping[str, Any]
) -> tuple[base_.Base | None, str | None]:
    """Choose the base of a write-only client, out of what it kept: it reads nothing of the repository."""
    shadows = _shadows(context, request)
    if shadows is None:
        return None, "a write-only client builds on its local cache, and it has none"
    head = shadows.head(request.name, shard)
    if head is None:
        return None, "the first snapshot of this name from here, or the local cache was lost"
    if head.erasures != seen:
        return None, "rows were erased from the repository since the last snapshot from here"
    try:
        with context.engine.open_shadow(shadows.folder, head.archive) as shadow:
            return base_.choose_kept(context.store, catalog, head, shadow, **limits)
    except VarkError as error:  # whatever it is, a full archive needs none
        return None, f"the local cache cannot be used: {error}"


def _keep_heads(context: Context, request: BackupRequest, shards: Mapping[str, _Shard], digest: str, seen: str) -> None:
    """Of a write-only client: note what the next backup builds on, now that it is there to stay."""
    shadows = _shadows(context, request)
    if shadows is None:
        return
    for name, shard in shards.items():
        written = shard.written
        if written is None or written.report is None or written.report.shadow is None:
            continue
        if written.report.shadow.file_bytes:
            chain = tuple(ancestor.id for ancestor in written.ancestors)
            shadows.keep(request.name, name, Head(digest, shard.archive_id, chain, seen))
        elif shard.base is None:
            shadows.drop(request.name, name)


def _signature(request: BackupRequest, bases: Mapping[str, str | None]) -> str:
    return signature(request.sources, {**request.options, "progress": None, "bases": sorted(bases.items())})


def _base_id(shard: _Shard) -> str | None:
    return None if shard.base is None else shard.base.archive.id


def _ids(shard: _Shard) -> set[str]:
    """Return every archive that a shard needs."""
    ancestors = () if shard.written is None else shard.written.ancestors
    return {shard.archive_id, *(ancestor.id for ancestor in ancestors)}


def _adopt(shards: Mapping[str, _Shard], session: sessions.Session) -> None:
    for name, (archive_id, _) in session.archives.items():
        shards[name].archive_id = archive_id


def _write(
    context: Context, request: BackupRequest, name: str, shard: _Shard, erased: ErasureFilter, *, again: bool
) -> None:
    """Write the archive of one shard: in full, when its base cannot be read or a delta against it fails.

    A delta is a saving: what stands in its way must not keep a backup from being made.
    """
    failure: VarkError | None = None
    try:
        if shard.base is not None:
            try:
                with _open_base(context, request, shard.base) as base:
                    _write_archive(context, request, name, shard, base, erased)
            except (NoSpaceError, CancelledError, SourceError, RefusedError):
                raise  # a full archive would fare no better
            except VarkError as error:
                # What is wrong with the source or an option fails again, as itself.
                unreadable = isinstance(error, (NotFoundError, DamagedError))
                place = "the local cache cannot be used" if shard.base.is_kept else "its base cannot be read"
                shard.reason = f"{place if unreadable else 'its delta failed'}: {error}"
                shard.base, shard.archive_id, failure = None, str(new_uuid7()), error
        if shard.base is None:
            _write_archive(context, request, name, shard, None, erased)
    except SourceError as error:
        if not again:
            if failure is not None:
                raise error from failure
            raise
        raise ConflictError(
            f"backup of {request.name!r}: a collection was in the way and the source cannot be read a second time "
            f"({error.message}); run it again"
        ) from error
    delta = None if shard.written is None else shard.written.delta
    if delta is not None and shard.written is not None and not shard.written.ancestors:
        shard.reason = str(delta.get("reason") or "nothing of the base could be used")


def _write_archive(
    context: Context,
    request: BackupRequest,
    name: str,
    shard: _Shard,
    base: Archive | Shadow | None,
    erased: ErasureFilter,
) -> None:
    """Write one archive, under another id when its own turns out to be taken."""
    cache = _cache(context, request, erased)

    def write_as(descriptor: int, archive_id: str) -> Written:
        return context.engine.write(
            request.sources[name],
            descriptor,
            archive_id=archive_id,
            base=base,
            fingerprint_key=context.fingerprint_key,
            options=request.options if cache is None else {**request.options, "cache": cache},
        )

    def write(descriptor: int) -> Written:
        return erased.write(descriptor, shard.archive_id, write_as, base, threads=request.options.get("threads"))

    for attempt in range(2):
        try:
            shard.written, shard.volumes = write_volumes(
                context.store,
                shard.archive_id,
                write,
                volume_bytes=context.volume_bytes,
                seekable=base is not None,
                there=shard.there,
            )
            return
        except VolumeDiffersError as error:
            if attempt:
                raise ConflictError(f"backup of {request.name!r}: {error.message}; run it again") from error
            shard.archive_id = str(new_uuid7())


def _cache(context: Context, request: BackupRequest, erased: ErasureFilter) -> Cache | None:
    """Return the local cache. What is erased is not kept."""
    return None if erased.lists else _cache_folder(context, request)


def _cache_folder(context: Context, request: BackupRequest) -> Cache | None:
    cache = cache_of_repository(context.id, request.cache)
    if cache is None or not context.is_write_only:
        return cache
    signer = context.engine.keyring
    return cache_of_signer(cache, signer) if isinstance(signer, Signer) else None


def _open_base(context: Context, request: BackupRequest, base: base_.Base) -> Archive | Shadow:
    shadows = _shadows(context, request) if base.is_kept else None
    if shadows is not None:
        return context.engine.open_shadow(shadows.folder, base.archive.id)
    rest = {key: value for key, value in base.sizes.items() if key != base.archive.id}
    opened = context.engine.open(context.store, base.archive, rest)
    if opened.root != base.archive.root:  # of an archive by a write-only client only its commit proves who made it
        opened.close()
        raise DamagedError(f"archive {base.archive.id}: it says another root than its commit; restore it from a copy")
    return opened


def _commit(
    context: Context,
    catalog: Catalog,
    request: BackupRequest,
    shards: Mapping[str, _Shard],
    snapshot: str,
    generation: int,
    replaces: str | None,
) -> Commit:
    archives, closure, partial = [], dict[str, Ancestor](), False
    for name, shard in shards.items():
        written = shard.written
        volumes = shard.volumes
        assert written is not None
        assert volumes is not None
        partial = partial or written.partial
        closure.update({ancestor.id: ancestor for ancestor in written.ancestors})
        archives.append(
            CommittedArchive(
                id=shard.archive_id,
                shard=name,
                volumes=volumes.sizes,
                root=written.root,
                bytes=written.archive_bytes,
                base=written.base,
                raw_bytes=written.raw_bytes,
                digests=volumes.digests,
            )
        )
    newest = base_.newest(catalog, request.name)
    store_clock = context.store.clock_unix_ms()
    created = _later(time.time_ns() // 1_000_000, None if newest is None else newest.created_unix_ms)
    before = None if newest is None else newest.store_unix_ms
    store_time = None if store_clock is None else _later(store_clock, before)
    return Commit(
        repository=context.id,
        snapshot=snapshot,
        name=request.name,
        created_unix_ms=created,
        store_unix_ms=store_time,
        tags=dict(request.tags),
        host=socket.gethostname()[:200],
        source=describe_shards(request.sources),
        partial=partial,
        root_generation=generation,
        heads=_heads(catalog) if context.is_write_only else () if newest is None else (newest.commit,),
        archives=tuple(archives),
        closure=tuple(closure.values()),
        replaces=replaces,
        salt=new_salt(),
    )


def _heads(catalog: Catalog) -> tuple[str, ...]:
    """Return the newest commits that no other names: a write-only client cannot tell which of them has its name."""
    named = {parent for commit in catalog.commits.values() for parent in (*commit.heads, commit.replaces)}
    ends = [digest for digest in catalog.commits if digest not in named]
    return tuple(sorted(ends, key=lambda digest: catalog.commits[digest].unix_ms)[-HEADS_MAX:])


def _later(now_ms: int, before_ms: int | None) -> int:
    """Return the time of a snapshot: of several in one millisecond the last one made must look newest."""
    return before_ms + 1 if before_ms is not None and 0 <= before_ms - now_ms < CLOCK_STEP_MS else now_ms


def _report(
    commit: Commit,
    digest: str,
    shards: Mapping[str, _Shard],
    seconds: float,
    resumed: bool,
    superseded: list[str],
    erased: ErasureFilter,
) -> BackupReport:
    archives = []
    for name, shard in shards.items():
        written = shard.written
        assert written is not None
        delta = written.delta or {}
        archives.append(
            ArchiveWritten(
                archive_id=shard.archive_id,
                shard=name,
                archive_bytes=written.archive_bytes,
                raw_bytes=written.raw_bytes,
                base=written.base,
                reason=None if written.base else shard.reason,
                rows_new=delta.get("rows_new"),
                rows_copied=delta.get("rows_copied"),
                write=written.report,
            )
        )
    return BackupReport(
        snapshot=commit.snapshot,
        name=commit.name,
        commit=digest,
        partial=commit.partial,
        archives=tuple(archives),
        archive_bytes=sum(archive.archive_bytes for archive in archives),
        raw_bytes=sum(archive.raw_bytes for archive in archives),
        seconds=seconds,
        resumed=resumed,
        superseded=tuple(superseded),
        rows_erased=erased.rows_erased,
    )
