"""Snapshots written again: each archive anew, on what stands in the place of what it was written on.

For erasure and re-encryption. A writer like compaction: commits that replace those that are there, W4 for each, then a
mark forgets the old one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vark.archive import Archive, ProgressCallback
from vark.erasing import Survey
from vark.errors import ConflictError, DamagedError, NotFoundError, VarkError
from vark.repository.base import chain_of
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.compact import settle_replaced
from vark.repository.context import Context
from vark.repository.digest import digest_hex
from vark.repository.engine import Written
from vark.repository.erasures import List
from vark.repository.fields import new_salt
from vark.repository.objects import new_uuid7
from vark.repository.records import Ancestor, Commit, CommittedArchive
from vark.repository.reports import ErasedArchive, ErasedSnapshot
from vark.repository.volumes import write_volumes

SALTS = 100_000
PASSES = 4  # looks until nothing is left to do; what other writers add meanwhile is for the next one


@dataclass(slots=True)
class Done:
    """What a run did so far."""

    snapshots: dict[str, ErasedSnapshot] = field(default_factory=dict)


class Look:
    """What the archives of one catalog hold of the ids; each is looked into once. done: what becomes of them."""

    done = "erased"

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

    def chosen(self) -> list[Snapshot]:
        """Return the snapshots that need it. Errors: those of `needs`."""
        return [snapshot for snapshot in self.catalog.snapshots if self.needs(snapshot)]

    def is_dirty(self, archive_id: str) -> bool:
        """Return whether an archive holds something of the ids; one that nobody can open is taken to."""
        if archive_id not in self.owners:
            return True
        return not self.survey(archive_id).is_clean

    def survey(self, archive_id: str) -> Survey:
        """Look into an archive. Errors: those of opening and reading it."""
        if archive_id not in self.surveys:
            archive, commit = self.owners[archive_id]
            try:
                with self.open(archive, self.chain(archive, commit)) as opened:
                    self.surveys[archive_id] = self.context.engine.survey(opened, self.lists(commit.name))
            except VarkError as error:
                message = f"snapshot {commit.snapshot[:12]} of {commit.name!r}: {error.message}"
                if isinstance(error, (DamagedError, NotFoundError)):
                    message += "; if there is no other copy, forget it and let `vark gc` take it first"
                raise type(error)(message, code=error.code, layer=error.layer) from error
        return self.surveys[archive_id]

    def chain(self, archive: CommittedArchive, commit: Commit) -> tuple[Ancestor, ...]:
        """Return the archives that one of a commit may point into."""
        return chain_of(self.catalog, archive, commit.closure)

    def open(self, archive: CommittedArchive, chain: tuple[Ancestor, ...]) -> Archive:
        """Open an archive with those that it points into. Errors: DamagedError."""
        opened = self.context.engine.open(self.context.store, archive, self.context.sizes_of(chain))
        if (str(opened.archive_id), opened.root) != (archive.id, archive.root):
            opened.close()
            raise DamagedError(
                f"archive {archive.id}: its id or root is not what the commit says; restore it from another copy"
            )
        return opened


def rewrite(
    look: Look, chosen: Sequence[Snapshot], done: Done, *, threads: int | None, progress: ProgressCallback | None
) -> None:
    """Rewrite these snapshots of one look. Errors: those of reading and writing, ConflictError."""
    run = Run(look, done, threads)
    total = sum(archive.raw_bytes for snapshot in chosen for archive in snapshot.archives)
    passed = 0
    for snapshot in chosen:
        run.process(snapshot)
        passed += sum(archive.raw_bytes for archive in snapshot.archives)
        if progress is not None:
            progress(passed, total)


class Run:
    """One pass over the snapshots."""

    def __init__(self, look: Look, done: Done, threads: int | None) -> None:
        self._context = look.context
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
        digest = context.create_commit(commit, data)  # W3
        if not context.safe(tuple(commit.needed())):  # W4
            raise ConflictError(
                f"a collection is about to free what snapshot {snapshot.id[:12]} builds on; run it again"
            )
        settle_replaced(context, snapshot, digest, done=self._look.done)
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
