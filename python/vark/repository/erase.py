"""Erase: rows of some ids go from every retained snapshot (spec/REPOSITORY.md, section 6).

A writer like compaction: each snapshot gets a commit that replaces the one it has, made of archives without the rows.
What builds on an archive with such rows is written again, too, on what stands in its place: nothing keeps the old ones.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from vark.archive import Archive, ProgressCallback
from vark.erasing import Survey
from vark.errors import ConflictError, DamagedError, InvalidArgumentError, RefusedError, VarkError
from vark.repository import erasures
from vark.repository.base import chain_of
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.compact import settle_replaced
from vark.repository.context import Context
from vark.repository.digest import digest_hex
from vark.repository.engine import Written
from vark.repository.erasures import ERASE, HASHES_MAX, List
from vark.repository.fields import new_salt
from vark.repository.layout import ARCHIVES, COMMITS, volume_of
from vark.repository.objects import create_record, new_uuid7
from vark.repository.records import Ancestor, Commit, CommittedArchive
from vark.repository.reports import ErasedArchive, ErasedSnapshot, EraseReport
from vark.repository.volumes import write_volumes

PASSES = 4
SALTS = 100_000
SHOWN = 5


@dataclass(frozen=True, slots=True)
class EraseRequest:
    """What is asked for.

    ids: None for those that are erased already, by whatever record is in force: for what writers added that could not
    read these. names: none for the snapshots of all names. leave_unknown: members whose ids nobody can see stay.
    """

    ids: tuple[int, ...] | None
    names: tuple[str, ...] = ()
    confirm: bool = False
    reason: str = ""
    leave_unknown: bool = False
    threads: int | None = None
    progress: ProgressCallback | None = None


@dataclass(slots=True)
class _Draft:
    """A record that is there already, or one that will be created."""

    key: str
    hashes: frozenset[str]
    digest: str | None


@dataclass(slots=True)
class _Done:
    """What a run did so far."""

    snapshots: dict[str, ErasedSnapshot] = field(default_factory=dict)


def erase(context: Context, request: EraseRequest) -> EraseReport:
    """Erase ids from all snapshots of some names; without `confirm` only tell what would be.

    Everything is looked at before anything is written. Errors: InvalidArgumentError, RefusedError (rows that cannot be
    erased), DamagedError (something cannot be read), ConflictError.
    """
    start = time.monotonic()
    catalog = _catalog(context)
    for name in request.names:
        if name not in {snapshot.name for snapshot in catalog.snapshots}:
            raise InvalidArgumentError(f"name {name!r}: no snapshot is called so")
    drafts = [] if request.ids is None else _drafts(context, request.ids, request)
    names = {item.name for item in catalog.snapshots if not request.names or item.name in request.names}
    by_name = _in_force(context, names) if request.ids is None else dict.fromkeys(names, _lists(drafts))
    look = _Look(context, catalog, by_name)
    chosen = [snapshot for snapshot in catalog.snapshots if look.needs(snapshot)]
    _refuse(look, request)
    done = _Done()
    if request.confirm:
        for draft in drafts:
            if draft.digest is None:
                draft.digest = erasures.new_erasure(
                    context.store,
                    context.envelope,
                    ERASE,
                    request.names,
                    draft.hashes,
                    key=draft.key,
                    leave_unknown=request.leave_unknown,
                    reason=request.reason,
                )
        done = rewrite_all(context, by_name, threads=request.threads, progress=request.progress, look=look)
    if request.ids is None:
        drafts = [_Draft("", frozenset(one.hex() for one in item.hashes), item.digest) for item in _all(by_name)]
    return _report(context, request, look, chosen, done, drafts, time.monotonic() - start)


def _in_force(context: Context, names: Iterable[str]) -> dict[str, tuple[List, ...]]:
    records = erasures.read_erasures(context.store, context.envelope)
    return {name: erasures.lists_for(records, name) for name in names}


def _all(by_name: Mapping[str, tuple[List, ...]]) -> list[List]:
    """Return each list once, with all that is in force of it for any name."""
    found: dict[str, List] = {}
    for item in (item for lists in by_name.values() for item in lists):
        known = found.get(item.digest, item)
        found[item.digest] = replace(item, hashes=item.hashes | known.hashes)
    return list(found.values())


def rewrite_name(context: Context, name: str) -> dict[str, str]:
    """Apply the erasures in force to the snapshots of one name, for writers whom one came in the way of.

    Return the new commit of each snapshot that got one.
    """
    done = rewrite_all(context, _in_force(context, [name]), threads=None, progress=None, look=None)
    return {item.snapshot: item.commit for item in done.snapshots.values()}


def rewrite_all(
    context: Context,
    by_name: Mapping[str, tuple[List, ...]],
    *,
    threads: int | None,
    progress: ProgressCallback | None,
    look: _Look | None,
) -> _Done:
    """Rewrite what needs it, and look again until nothing does: writers that came meanwhile may have added to it."""
    done = _Done()
    for _ in range(PASSES):
        look = look or _Look(context, _catalog(context), by_name)
        chosen = [snapshot for snapshot in look.catalog.snapshots if look.needs(snapshot)]
        if not chosen:
            return done
        run = _Run(context, look, done, threads)
        total = sum(archive.raw_bytes for snapshot in chosen for archive in snapshot.archives)
        passed = 0
        for snapshot in chosen:
            run.process(snapshot)
            passed += sum(archive.raw_bytes for archive in snapshot.archives)
            if progress is not None:
                progress(passed, total)
        look = None
    raise ConflictError(f"erase: writers or collections were in the way {PASSES} times; nothing is lost, run it again")


def _catalog(context: Context) -> Catalog:
    catalog = context.reader.read(strict=True)
    for place, error in catalog.faults.items():
        raise DamagedError(f"erase: {place} cannot be used ({error}); restore it from another copy first")
    return catalog


def _lists(drafts: Iterable[_Draft]) -> tuple[List, ...]:
    return tuple(
        List(
            draft.digest or f"draft {number}",
            bytes.fromhex(draft.key),
            frozenset(bytes.fromhex(one) for one in draft.hashes),
        )
        for number, draft in enumerate(drafts)
    )


def _drafts(context: Context, wanted: Iterable[int], request: EraseRequest) -> list[_Draft]:
    """Return the records of these ids; those of a run that did not come to its end are taken up."""
    ids = sorted({number & ((1 << 64) - 1) for number in wanted})
    if not ids:
        raise InvalidArgumentError("ids: none; give at least one")
    if ids[-1] == (1 << 64) - 1:
        raise InvalidArgumentError("ids: -1 is what erased rows have; it cannot be erased itself")
    known = erasures.read_erasures(context.store, context.envelope)
    drafts = []
    for first in range(0, len(ids), HASHES_MAX):
        part = ids[first : first + HASHES_MAX]
        draft = None
        for digest, record in known.items():
            same = record.action == ERASE and set(record.names) == set(request.names)
            same = same and record.leave_unknown == request.leave_unknown
            if same and len(record.hashes) == len(part):
                hashes = erasures.hashes_of(record.key, part)
                if hashes == frozenset(record.hashes) and _is_in_force(known, digest):
                    draft = _Draft(record.key, hashes, digest)
        key = secrets.token_hex(32)
        drafts.append(draft or _Draft(key, erasures.hashes_of(key, part), None))
    return drafts


def _is_in_force(known: Mapping[str, erasures.Erasure], digest: str) -> bool:
    """Return whether nothing of a record has been ended: else it does not filter what comes, and a new one must."""
    return not any(other.erasure == digest for other in known.values())


class _Look:
    """What the archives of one catalog hold of the ids; each is looked into once."""

    def __init__(self, context: Context, catalog: Catalog, by_name: Mapping[str, tuple[List, ...]]) -> None:
        self.context = context
        self.catalog = catalog
        self.by_name = by_name
        self.surveys: dict[str, Survey] = {}
        self.owners: dict[str, tuple[CommittedArchive, Commit]] = {}
        for commit in catalog.commits.values():
            if not catalog.is_void(commit):
                self.owners.update((archive.id, (archive, commit)) for archive in commit.archives)

    def lists(self, name: str) -> list[tuple[bytes, bytes]]:
        """Return the lists for a name as the engine takes them."""
        return [item.pair() for item in self.by_name.get(name, ())]

    def needs(self, snapshot: Snapshot) -> bool:
        """Return whether a snapshot, or anything that it builds on, holds something of the ids."""
        if snapshot.void or not self.by_name.get(snapshot.name):
            return False
        return any([self.is_dirty(ancestor.id) for ancestor in snapshot.needed()])  # noqa: C419 - all of them

    def is_dirty(self, archive_id: str) -> bool:
        """Return whether an archive holds something of the ids; one that nobody can open is taken to."""
        if archive_id not in self.owners:
            return True
        return not self.survey(archive_id).is_clean

    def survey(self, archive_id: str) -> Survey:
        """Look into an archive. Errors: those of opening and reading it."""
        if archive_id not in self.surveys:
            archive, commit = self.owners[archive_id]
            with self.open(archive, chain_of(self.catalog, archive, commit.closure)) as opened:
                try:
                    self.surveys[archive_id] = self.context.engine.survey(opened, self.lists(commit.name))
                except VarkError as error:
                    error.message = f"archive {archive_id} of {commit.name!r}: {error.message}"
                    error.args = (error.message,)
                    raise
        return self.surveys[archive_id]

    def open(self, archive: CommittedArchive, chain: tuple[Ancestor, ...]) -> Archive:
        """Open an archive with those that it points into. Errors: DamagedError."""
        opened = self.context.engine.open(self.context.store, archive, self.context.sizes_of(chain))
        if (str(opened.archive_id), opened.root) != (archive.id, archive.root):
            opened.close()
            raise DamagedError(
                f"archive {archive.id}: its id or root is not what the commit says; restore it from another copy"
            )
        return opened


def _refuse(look: _Look, request: EraseRequest) -> None:
    """Refuse what cannot be done, before anything is written."""
    faults, unknown = set(), set()
    for archive_id, seen in look.surveys.items():
        commit = look.owners[archive_id][1]
        faults |= {f"{commit.name}: {member.fault}" for member in seen.members if member.fault}
        unknown |= {f"{commit.name}: {member} {reason}" for member, reason in seen.unknown.items()}
    if faults:
        raise RefusedError(f"erase: nothing was written, for {_some(faults)}")
    if unknown and not request.leave_unknown:
        raise RefusedError(
            f"erase: nothing was written, for {_some(unknown)}; forget the snapshots that hold it, or leave such "
            "members as they are (leave_unknown)"
        )


def _some(texts: Iterable[str]) -> str:
    found = sorted(texts)
    return "; ".join(found[:SHOWN]) + (f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


class _Run:
    """One pass over the snapshots."""

    def __init__(self, context: Context, look: _Look, done: _Done, threads: int | None) -> None:
        self._context = context
        self._look = look
        self._done = done
        self._threads = threads
        self._snapshots = {snapshot.id: snapshot for snapshot in look.catalog.snapshots}
        # Snapshot -> shard -> the archive that stands now, and what it points into.
        self._standing: dict[str, dict[str, tuple[CommittedArchive, tuple[Ancestor, ...]]]] = {}

    def process(self, snapshot: Snapshot) -> None:
        """Rewrite a snapshot where it needs it, those that it builds on first."""
        if snapshot.id in self._standing:
            return
        self._standing[snapshot.id] = {}
        catalog = self._look.catalog
        chains = {archive.shard: chain_of(catalog, archive, snapshot.closure) for archive in snapshot.archives}
        for archive in snapshot.archives:
            below = self._snapshot_of(archive.base)
            if below is not None and below.name == snapshot.name:
                self.process(below)
        if self._look.needs(snapshot):
            self._rewrite(snapshot, chains)
            return
        for archive in snapshot.archives:
            self._standing[snapshot.id][archive.shard] = (archive, chains[archive.shard])

    def _snapshot_of(self, archive_id: str | None) -> Snapshot | None:
        owner = self._look.owners.get(archive_id or "")
        return None if owner is None else self._snapshots.get(owner[1].snapshot)

    def _rewrite(self, snapshot: Snapshot, chains: Mapping[str, tuple[Ancestor, ...]]) -> None:
        context, old = self._context, self._look.catalog.commits[snapshot.commit]
        standing, details = {}, []
        for archive in snapshot.archives:
            chain = chains[archive.shard]
            if not any(self._look.is_dirty(item.id) for item in (archive.as_ancestor(), *chain)):
                standing[archive.shard] = (archive, chain)
                continue
            written, below, detail = self._archive(snapshot, archive, chain)
            standing[archive.shard] = (written, below)
            details.append(detail)
        own = {archive.id for archive, _ in standing.values()}
        closure = {item.id: item for _, chain in standing.values() for item in chain if item.id not in own}
        commit = replace(
            old,
            root_generation=self._look.catalog.administration.generation,
            heads=(snapshot.commit,),
            archives=tuple(standing[archive.shard][0] for archive in snapshot.archives),
            closure=tuple(closure.values()),
            replaces=snapshot.commit,
        )
        data = self._greatest(snapshot, commit)
        digest = create_record(context.store, COMMITS, data, commit.created_unix_ms)  # W3
        if not context.safe(tuple(commit.needed())):  # W4
            raise ConflictError(
                f"erase: a collection is about to free what snapshot {snapshot.id[:12]} builds on; run it again"
            )
        settle_replaced(context, snapshot, digest, done="erased")
        self._standing[snapshot.id] = standing
        before = self._done.snapshots.get(snapshot.id)
        self._done.snapshots[snapshot.id] = ErasedSnapshot(
            snapshot=snapshot.id,
            name=snapshot.name,
            unix_ms=snapshot.unix_ms,
            commit=digest,
            replaces=snapshot.commit if before is None else before.replaces,
            held=snapshot.held,
            forgotten=snapshot.forgotten_unix_ms is not None,
            archives=tuple(details),
        )

    def _greatest(self, snapshot: Snapshot, commit: Commit) -> bytes:
        """Return a commit's bytes whose digest is above those of others that could stand in its place.

        Another writer's commit that replaces the same one (a compaction beside an earlier erasure) may stand when that
        is replaced: it would bring the rows back, or be forgotten already, and the snapshot with it. Of commits of one
        time the greatest digest stands.
        """
        catalog = self._look.catalog
        own = {digest: other for digest, other in catalog.commits.items() if other.snapshot == snapshot.id}
        valid = {digest: other for digest, other in own.items() if not catalog.is_void(other)}
        rivals = valid.keys() - {other.replaces for other in valid.values()} - {snapshot.commit}
        for _ in range(SALTS):
            data = replace(commit, salt=new_salt()).encode(self._context.envelope)
            if all((commit.unix_ms, digest_hex(data)) > (valid[digest].unix_ms, digest) for digest in rivals):
                return data
        raise ConflictError(
            f"snapshot {snapshot.id[:12]}: another commit of it would stand whatever is done; compact it"
        )

    def _archive(
        self, snapshot: Snapshot, archive: CommittedArchive, chain: tuple[Ancestor, ...]
    ) -> tuple[CommittedArchive, tuple[Ancestor, ...], ErasedArchive]:
        """Write one archive without the rows, on what stands in the place of what it was written on."""
        context, look = self._context, self._look
        archive_id = str(new_uuid7())
        seen = look.survey(archive.id)
        changed: Mapping[str, tuple[int, int]] = {}
        below = self._snapshot_of(archive.base)
        twin = None if below is None else self._standing.get(below.id, {}).get(archive.shard)

        def write(descriptor: int) -> Written:
            nonlocal changed
            base = None if twin is None else look.open(*twin)
            try:
                written, changed = context.engine.erase(
                    opened,
                    descriptor,
                    look.lists(snapshot.name),
                    seen=seen,
                    archive_id=archive_id,
                    base=base,
                    fingerprint_key=context.fingerprint_key,
                    threads=self._threads,
                )
                return written
            finally:
                if base is not None:
                    base.close()

        with look.open(archive, chain) as opened:
            written, volumes = write_volumes(
                context.store, archive_id, write, volume_bytes=context.volume_bytes, seekable=False
            )
        made = CommittedArchive(
            id=archive_id,
            shard=archive.shard,
            volumes=volumes.sizes,
            root=written.root,
            bytes=written.archive_bytes,
            base=written.base,
            raw_bytes=archive.raw_bytes,
            digests=volumes.digests,
        )
        detail = ErasedArchive(
            archive_id=archive_id,
            replaces=archive.id,
            shard=archive.shard,
            base=written.base,
            rows=seen.row_count,
            changed=dict(changed),
            archive_bytes=written.archive_bytes,
            archive_bytes_before=archive.bytes,
            documents=seen.documents,
            not_erased=(*seen.notes, *(f"{member} {reason}" for member, reason in seen.unknown.items())),
        )
        return made, written.ancestors, detail


def _report(
    context: Context,
    request: EraseRequest,
    look: _Look,
    chosen: list[Snapshot],
    done: _Done,
    drafts: list[_Draft],
    seconds: float,
) -> EraseReport:
    found = {(number, one) for seen in look.surveys.values() for number, one in seen.found}
    snapshots = tuple(done.snapshots.values())
    if not request.confirm:
        snapshots = tuple(_expected(look, snapshot) for snapshot in chosen)
    archives = [archive for snapshot in snapshots for archive in snapshot.archives]
    committed = {archive.id for commit in context.reader.read().commits.values() for archive in commit.archives}
    there = {found_[0] for entry in context.store.list(ARCHIVES) if (found_ := volume_of(entry.name)) is not None}
    return EraseReport(
        confirmed=request.confirm,
        erasures=tuple(draft.digest for draft in drafts if draft.digest is not None),
        id_count=sum(len(draft.hashes) for draft in drafts),
        found_count=len(found),
        snapshots=snapshots,
        row_count=sum(archive.rows for archive in archives),
        bytes_changed=sum(size for archive in archives for _, size in archive.changed.values()),
        bytes_rewritten=sum(archive.archive_bytes for archive in archives),
        bytes_before=sum(archive.archive_bytes_before for archive in archives),
        uncommitted=tuple(sorted(there - committed)),
        seconds=seconds,
    )


def _expected(look: _Look, snapshot: Snapshot) -> ErasedSnapshot:
    archives = []
    for archive in snapshot.archives:
        seen = look.survey(archive.id)
        unknown = (f"{member} {reason}" for member, reason in seen.unknown.items())
        archives.append(
            ErasedArchive(
                archive_id=archive.id,
                replaces=archive.id,
                shard=archive.shard,
                base=archive.base,
                rows=seen.row_count,
                changed={},
                archive_bytes=0,
                archive_bytes_before=archive.bytes,
                documents=seen.documents,
                not_erased=(*seen.notes, *unknown),
            )
        )
    return ErasedSnapshot(
        snapshot=snapshot.id,
        name=snapshot.name,
        unix_ms=snapshot.unix_ms,
        commit=snapshot.commit,
        replaces=snapshot.commit,
        held=snapshot.held,
        forgotten=snapshot.forgotten_unix_ms is not None,
        archives=tuple(archives),
    )
