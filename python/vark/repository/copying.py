"""Copy: snapshots of one repository in another, which has an id, keys and a suite of its own (spec, section 8).

A writer like a backup, whose source is a snapshot: W1 to W4 in the repository that is written to. What is there already
by the commit that it names is not moved again, so a run that was killed is simply run again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from vark.archive import Archive
from vark.errors import ConflictError, DamagedError, InvalidArgumentError, RefusedError, StorageError
from vark.repository import base as base_
from vark.repository import sessions
from vark.repository.bundles import write_bundle
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.compact import settle_replaced
from vark.repository.context import Context
from vark.repository.copy_reports import ArchiveCopied, CopiedSnapshot, CopyReport
from vark.repository.digest import digest_hex
from vark.repository.engine import Written
from vark.repository.erase import rewrite_name
from vark.repository.erase_filter import ErasureFilter, carry
from vark.repository.fields import new_salt
from vark.repository.keystore import newest_generation
from vark.repository.ledger import LedgerEntry, read_ledger, write_ledger
from vark.repository.locking import lock_snapshots
from vark.repository.objects import new_uuid7, now_unix_ms
from vark.repository.reading import FINDINGS, Progress
from vark.repository.records import Ancestor, Commit, CommittedArchive, CopyOf
from vark.repository.restore import open_archive
from vark.repository.volumes import VolumeDiffersError, Volumes, write_volumes

LEVELS = ("stored", "full")
ATTEMPTS = 3  # a collection can be in the way of each
OPEN_MAX = 32  # ancestors and their copies that are kept open for the next delta, which may need more itself
Pair = tuple[Archive, Archive]


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """What is asked for. snapshots: of the source. level: how deeply each archive is verified where it arrived."""

    snapshots: tuple[Snapshot, ...]
    level: str = "full"
    threads: int | None = None
    progress: Progress | None = None


@dataclass(slots=True)
class _Part:
    """One archive of a snapshot on its way. pairs: as the engine takes them; reason: why it is to stand alone."""

    source: CommittedArchive
    opened: Archive
    is_dirty: bool  # it holds rows that are erased here
    pairs: list[Pair] | None
    base: str | None
    reason: str | None
    archive_id: str = ""
    committed: CommittedArchive | None = None
    closure: tuple[Ancestor, ...] = ()
    is_new: bool = False  # written by this run


def copy(source: Context, target: Context, request: CopyRequest) -> CopyReport:
    """Copy snapshots; what cannot be copied for its own sake is in the report, and the others are.

    Errors: InvalidArgumentError (both are one repository), ConflictError, those of writing.
    """
    if request.level not in LEVELS:
        raise InvalidArgumentError(f"level: {request.level!r}; expected one of {', '.join(LEVELS)}")
    source.refuse_write_only()
    if target.writable().id == source.id:
        raise InvalidArgumentError(
            f"both are the repository {source.id}, or mirrors of it; `vark sync` makes and updates mirrors"
        )
    start = time.monotonic()
    names = {snapshot.name for snapshot in request.snapshots}
    carried = carry(source, target, names)
    run = _Run(source, target, request)
    try:
        snapshots = run.all()
    finally:
        run.close()
    for name in sorted(carried):
        rewrite_name(target, name)  # what was copied before its rows were erased
    made = {item.snapshot for item in snapshots if item.state in ("copied", "replaced")}
    return CopyReport(
        source=source.id,
        target=target.id,
        level=request.level,
        snapshots=tuple(snapshots),
        archive_bytes=sum(item.archive_bytes for one in snapshots for item in one.archives if item.written),
        erasures=tuple(sorted(carried)),
        unread=tuple(sorted((name, error.message) for name, error in source.reader.read().faults.items())),
        seconds=time.monotonic() - start,
        lock=lock_snapshots(target, made) if made else None,
    )


class _Run:
    """One copy. What is in the target is read once; what this run adds is added to it."""

    def __init__(self, source: Context, target: Context, request: CopyRequest) -> None:
        self._source, self._target, self._request = source, target, request
        self._catalog = target.reader.read(strict=True)  # W1
        self._damaged = read_ledger(target.store, target.envelope).damaged()
        seen = source.reader.read()
        self._unproved = {digest for digest, commit in seen.commits.items() if commit.provenance.is_write_only}
        # Archive of the source -> its copy, block by block, and what that may point into.
        self._copies: dict[str, tuple[CommittedArchive, tuple[Ancestor, ...]]] = {}
        self._bases: dict[str, str | None] = {}  # archive of the target -> what it was compared with
        for digest, commit in self._catalog.commits.items():
            # What was replaced may hold rows that are erased: nothing keeps it.
            if not self._catalog.is_void(commit) and self._catalog.forgotten(digest) is None:
                self._learn(commit)
        self._heads: dict[str, str] = {item.name: item.commit for item in self._catalog.snapshots if item.usable}
        self._open: dict[str, Pair] = {}
        self._filters: dict[str, ErasureFilter] = {}
        self._entries: list[LedgerEntry] = []
        self._done_bytes = self._total_bytes = 0

    def all(self) -> list[CopiedSnapshot]:
        """Copy what is missing, oldest first: deltas find the copies of what they build on."""
        found: dict[str, CopiedSnapshot] = {}
        missing: list[tuple[Snapshot, str | None]] = []
        for snapshot in self._request.snapshots:
            there, replaces = self._find(snapshot)
            if there is None:
                missing.append((snapshot, replaces))
            else:
                found[snapshot.id] = there
        self._total_bytes = sum(snapshot.archive_bytes for snapshot, _ in missing)
        for snapshot, replaces in missing:
            before = self._done_bytes
            try:
                found[snapshot.id] = self._copy(snapshot, replaces)
            except (*FINDINGS, RefusedError) as error:
                found[snapshot.id] = _outcome(snapshot, "failed", detail=error.message)
            self._done_bytes = before + snapshot.archive_bytes
        if missing:
            self._finish()
        return [found[snapshot.id] for snapshot in self._request.snapshots]

    def close(self) -> None:
        for pair in self._open.values():
            for archive in pair:
                archive.close()
        self._open.clear()

    def _find(self, snapshot: Snapshot) -> tuple[CopiedSnapshot | None, str | None]:
        """Return what says that a snapshot is there; else None, and the commit in whose place its copy is to stand."""
        catalog = self._catalog
        own = [item for item in catalog.snapshots if item.id == snapshot.id and not item.void]
        if not own:
            return None, None
        known = [commit for commit in catalog.commits.values() if commit.snapshot == snapshot.id]
        sources = {commit.copy_of.commit for commit in known if commit.copy_of and not catalog.is_void(commit)}
        there = own[-1]
        is_ours = there.copy_of is not None and there.copy_of.repository == self._source.id
        if snapshot.commit not in sources and is_ours and there.forgotten_unix_ms is None:
            return None, there.commit  # written again in the source since: compacted, encrypted anew, rows erased
        state = "present" if there.forgotten_unix_ms is None else "forgotten"
        return _outcome(snapshot, state, commit=there.commit), None

    def _copy(self, snapshot: Snapshot, replaces: str | None) -> CopiedSnapshot:
        target, old = self._target, replaces
        erased = self._filter(snapshot.name)
        with ExitStack() as stack:
            parts = []
            for archive in snapshot.archives:
                opened = stack.enter_context(open_archive(self._source, snapshot, archive))
                parts.append(self._part(archive, opened, erased))
            session, resumed = self._session(snapshot, parts)
            try:
                stale = [part for part in parts if part.committed is None]
                for _ in range(ATTEMPTS):
                    for part in stale:
                        self._write(snapshot, part, erased)  # W2
                    commit = self._commit(snapshot, parts, old)
                    record = commit.encode(target.envelope)
                    self._check_keys()
                    digest = target.create_commit(commit, record)  # W3
                    dead = target.reader.administrations.read().dead  # W4
                    stale = [part for part in parts if dead & {item.id for item in _needs(part)}]
                    if not stale:
                        break
                    old = digest
                    for part in stale:
                        part.pairs, part.base, part.archive_id = None, None, str(new_uuid7())
                        part.reason = "a collection was about to free what it builds on"
                else:
                    raise ConflictError(f"copy: {ATTEMPTS} collections in a row were in the way; run it again")
            finally:
                sessions.end(session)
        if old is not None:
            settle_replaced(target, replace(snapshot, commit=old), digest, done="copied anew")
        if erased.is_late():  # an erasure came meanwhile, and may not have seen this one
            del self._filters[snapshot.name]
            digest = rewrite_name(target, snapshot.name).get(snapshot.id, digest)
        else:
            self._learn(commit)
        self._heads[snapshot.name] = digest
        archives = tuple(_copied(part) for part in parts)
        state = "copied" if replaces is None else "replaced"
        return _outcome(snapshot, state, commit=digest, archives=archives, resumed=resumed)

    def _filter(self, name: str) -> ErasureFilter:
        if name not in self._filters:
            self._filters[name] = ErasureFilter(self._target, name, what=f"copy of {name!r}")
        return self._filters[name]

    def _part(self, archive: CommittedArchive, opened: Archive, erased: ErasureFilter) -> _Part:
        """Plan an archive: as it is there already, as a copy block by block, or to stand alone."""
        is_dirty = erased.holds(self._source.engine, opened)
        there, chain = self._copies.get(archive.id, (None, ()))
        if there is not None and not is_dirty and self._is_sound(there, archive.root):
            return _Part(
                archive, opened, is_dirty, [], None, None, there.id, replace(there, shard=archive.shard), chain
            )
        pairs, reason = self._pairs(archive, opened)
        base = self._copies[archive.base or ""][0].id if pairs else None
        return _Part(archive, opened, is_dirty, pairs, base, reason)

    def _is_sound(self, copied: CommittedArchive, root: str) -> bool:
        """Return whether it is a copy of the archive with this root, and may be built on."""
        is_lost = copied.id in self._damaged or copied.id in self._catalog.administration.dead
        return copied.copy_of is not None and copied.copy_of.root == root and not is_lost

    def _pairs(self, archive: CommittedArchive, opened: Archive) -> tuple[list[Pair] | None, str | None]:
        """Return what a delta builds on, with its copies; or None, and why it is to stand alone."""
        if not opened.ancestors:
            return [], None
        base, _ = self._copies.get(archive.base or "", (None, ()))
        if base is None:
            return None, "what it builds on has no copy here"
        chain, current = set[str](), str(base.id)
        while current and current not in chain:
            chain.add(current)
            current = self._bases.get(current) or ""
        if len(self._open) + len(opened.ancestors) > OPEN_MAX:
            self.close()  # now: what this archive's pairs hold must stay open
        pairs = []
        for ancestor in opened.ancestors:
            copied, _ = self._copies.get(ancestor.archive_id, (None, ()))
            if copied is None or not self._is_sound(copied, ancestor.root) or copied.id not in chain:
                return (
                    None,
                    f"archive {ancestor.archive_id}, which it builds on, has no copy here that it could build on",
                )
            try:
                pairs.append(self._pair(Ancestor(ancestor.archive_id, ancestor.archive_bytes, ancestor.root), copied))
            except FINDINGS as error:
                return None, f"what it builds on cannot be read: {error.message}"
        return pairs, None

    def _pair(self, ancestor: Ancestor, copied: CommittedArchive) -> Pair:
        if ancestor.id not in self._open:
            sizes = self._source.sizes_of((ancestor,))[ancestor.id]
            plain = CommittedArchive(ancestor.id, "", sizes, ancestor.root, ancestor.bytes, None)
            there = self._target.sizes_of((copied.as_ancestor(),))[copied.id]
            first = self._source.engine.open(self._source.store, plain, {})
            second = self._target.engine.open(self._target.store, replace(copied, volumes=there), {})
            self._open[ancestor.id] = (first, second)
            if second.root != copied.root:
                raise DamagedError(f"archive {copied.id}: it says another root than its commit")
        return self._open[ancestor.id]

    def _session(self, snapshot: Snapshot, parts: Sequence[_Part]) -> tuple[sessions.Session, bool]:
        """Take up what an interrupted run has begun, or note what is about to be written."""
        target = self._target
        signature = digest_hex(f"vark copy {self._source.id} {snapshot.commit}".encode())
        bases = {part.source.shard: part.base for part in parts}
        found = sessions.find_interrupted(
            target.store, target.envelope, self._catalog, name=snapshot.name, signature=signature, bases=bases
        )
        session = found or sessions.begin(
            target.store, target.envelope, name=snapshot.name, signature=signature, bases=bases
        )
        for part in parts:
            part.archive_id = session.archives[part.source.shard][0]
        return session, found is not None

    def _write(self, snapshot: Snapshot, part: _Part, erased: ErasureFilter) -> None:
        """Write one archive and verify it: alone, when the copies of what it builds on turn out not to fit."""
        try:
            written, volumes, is_exact = self._archive(part, erased)
        except InvalidArgumentError as error:
            if not part.pairs:
                raise
            part.pairs, part.base, part.archive_id = None, None, str(new_uuid7())
            part.reason = error.message
            written, volumes, is_exact = self._archive(part, erased)
        source = part.source
        part.closure, part.is_new = written.ancestors, True
        part.committed = CommittedArchive(
            id=part.archive_id,
            shard=source.shard,
            volumes=volumes.sizes,
            root=written.root,
            bytes=written.archive_bytes,
            base=written.base or (part.base if written.ancestors else None),
            raw_bytes=source.raw_bytes,
            digests=volumes.digests,
            copy_of=source.as_ancestor() if is_exact else None,
        )
        self._verify(snapshot, part.committed)

    def _archive(self, part: _Part, erased: ErasureFilter) -> tuple[Written, Volumes, bool]:
        """Write one archive; the last word says whether it is a copy block by block."""
        target, request = self._target, self._request
        before = self._done_bytes

        def tell(done: int, total: int | None) -> None:
            self._done_bytes = before + (part.source.bytes * done // total if total else 0)
            if request.progress is not None:
                request.progress(self._done_bytes, self._total_bytes)

        def write_as(descriptor: int, archive_id: str) -> Written:
            pairs = None if part.is_dirty else part.pairs
            return target.engine.copy(
                part.opened, descriptor, pairs=pairs, archive_id=archive_id, threads=request.threads, progress=tell
            )

        def write(descriptor: int) -> Written:
            if part.is_dirty:
                return erased.write(descriptor, part.archive_id, write_as, None, threads=request.threads)
            return write_as(descriptor, part.archive_id)

        for attempt in range(2):
            try:
                written, volumes = write_volumes(
                    target.store, part.archive_id, write, volume_bytes=target.volume_bytes, seekable=False
                )
                break
            except VolumeDiffersError as error:
                if attempt:
                    raise ConflictError(f"copy: {error.message}; run it again") from error
                part.archive_id = str(new_uuid7())  # sealed again, the bytes are others
        if part.is_dirty:
            part.base, part.reason = None, "it holds rows that are erased here, and was written without them"
        self._done_bytes = before + part.source.bytes
        return written, volumes, part.pairs is not None and not part.is_dirty

    def _verify(self, snapshot: Snapshot, archive: CommittedArchive) -> None:
        """Read what has arrived. Errors: StorageError (it is not what was sent; nothing names it)."""
        target = self._target
        # Nobody vouches for what a write-only client has written but a reading of all of it.
        level = "full" if snapshot.commit in self._unproved else self._request.level
        report = target.engine.verify(
            target.store, archive, {}, level=level, own=archive.base is not None, threads=self._request.threads
        )
        if report.ok and target.engine.identity(target.store, archive) == (archive.id, archive.root):
            now = now_unix_ms(target.store)
            self._entries.append(LedgerEntry(archive.id, level, archive.bytes, True, now))
            return
        places = [*report.damage, *report.unread]
        detail = str(places[0]) if places else "its id or root is another"
        raise StorageError(
            f"archive {archive.id}: what lies in the repository is not what was sent ({detail}); no snapshot names it. "
            "Check the storage and the network, and run it again"
        )

    def _commit(self, snapshot: Snapshot, parts: Sequence[_Part], replaces: str | None) -> Commit:
        archives = tuple(part.committed for part in parts if part.committed is not None)
        own = {archive.id for archive in archives}
        closure = {item.id: item for part in parts for item in part.closure if item.id not in own}
        head = self._heads.get(snapshot.name)
        return Commit(
            repository=self._target.id,
            snapshot=snapshot.id,
            name=snapshot.name,
            created_unix_ms=snapshot.created_unix_ms,
            store_unix_ms=snapshot.store_unix_ms,
            tags=snapshot.tags,
            host=snapshot.host,
            source=snapshot.source,
            partial=snapshot.partial,
            root_generation=self._catalog.administration.generation,
            heads=() if head is None else (head,),
            archives=archives,
            closure=tuple(closure.values()),
            replaces=replaces,
            salt=new_salt(),
            copy_of=CopyOf(self._source.id, snapshot.commit),
        )

    def _check_keys(self) -> None:
        """Refuse to commit under keys that were changed meanwhile: clients that saw the change would not believe it."""
        keys = self._target.keys
        if keys is not None and newest_generation(self._target.store) != keys.keyring.generation:
            raise ConflictError(
                "copy: the keys of the repository that is written to were changed while this ran; what was committed "
                "stays. Open it again and run it once more"
            )

    def _learn(self, commit: Commit) -> None:
        self._bases.update((archive.id, archive.base) for archive in commit.archives)
        for archive in commit.archives:
            if archive.copy_of is not None:
                chain = base_.chain_of(self._catalog, archive, commit.closure)
                self._copies[archive.copy_of.id] = (archive, chain)

    def _finish(self) -> None:
        """Settle what two runs beside each other have copied twice; keep what was read, and a bundle of records."""
        target = self._target
        if self._entries:
            write_ledger(target.store, target.envelope, self._entries)
        catalog = target.reader.read(strict=True)
        for snapshot in catalog.snapshots:
            for digest in _twins(catalog, snapshot):
                target.mark(catalog, "forget", snapshot.id, commit=digest, reason="copied twice")
        write_bundle(target.store, target.reader.raw)


def _twins(catalog: Catalog, snapshot: Snapshot) -> list[str]:
    """Return commits that are copies of the commit that the one that stands is a copy of, and nobody's word yet."""
    if snapshot.copy_of is None or snapshot.forgotten_unix_ms is not None:
        return []
    return [
        digest
        for digest, commit in catalog.commits.items()
        if commit.snapshot == snapshot.id
        and digest != snapshot.commit
        and commit.copy_of == snapshot.copy_of
        and not catalog.is_void(commit)
        and catalog.forgotten(digest) is None
    ]


def _needs(part: _Part) -> list[Ancestor]:
    return [] if part.committed is None else [part.committed.as_ancestor(), *part.closure]


def _copied(part: _Part) -> ArchiveCopied:
    archive = part.committed
    assert archive is not None
    return ArchiveCopied(
        archive_id=archive.id,
        copy_of=part.source.id,
        shard=archive.shard,
        base=archive.base,
        archive_bytes=archive.bytes,
        source_bytes=part.source.bytes,
        reason=part.reason,
        written=part.is_new,
    )


def _outcome(
    snapshot: Snapshot,
    state: str,
    *,
    commit: str | None = None,
    archives: tuple[ArchiveCopied, ...] = (),
    detail: str = "",
    resumed: bool = False,
) -> CopiedSnapshot:
    return CopiedSnapshot(
        snapshot=snapshot.id,
        name=snapshot.name,
        unix_ms=snapshot.unix_ms,
        state=state,
        copy_of=snapshot.commit,
        commit=commit,
        archives=archives,
        detail=detail,
        resumed=resumed,
    )
