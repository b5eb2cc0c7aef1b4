"""The public face of a repository: create, open, back up, look, restore, verify, forget, collect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from os import PathLike
from typing import Any

from vark.archive import Archive
from vark.keys import Identity, protection, signer_of, unlocking
from vark.kms import KeyService
from vark.prices import Prices
from vark.repository import opening
from vark.repository import restore as restore_
from vark.repository.backup import BackupRequest, backup
from vark.repository.base import CHAIN_MAX, WASTE_MAX
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.compact import compact
from vark.repository.context import Context
from vark.repository.copy_reports import CopyReport
from vark.repository.copying import CopyRequest, copy
from vark.repository.costs import CostReport, cost
from vark.repository.diff import diff
from vark.repository.doctor import DoctorReport, doctor
from vark.repository.engine import Engine
from vark.repository.keys import Keys
from vark.repository.mirrors import Elsewhere, MirroredStore, mirrored
from vark.repository.opening import Opened, Place, Trust
from vark.repository.reading import Progress
from vark.repository.references import LATEST, choose_snapshots, find_snapshot
from vark.repository.reports import BackupReport, CompactReport, DiffReport, RepositoryVerifyReport, StatsReport
from vark.repository.retaining import Retaining
from vark.repository.rotation import signing_keys
from vark.repository.sourcing import check_shards
from vark.repository.stats import stats
from vark.repository.uploads import VOLUME_BYTES
from vark.repository.verify import make_request, verify
from vark.retention import Policy
from vark.selection import Selection
from vark.stores import RemoteStore, Traffic
from vark.types import RestoreReport
from vark.units import parse_bytes


class Repository(Retaining):
    """A repository of snapshots; use `Repository.create` or `Repository.open`. Any number may work on it at once.

    Nothing needs a lock. What `backup` has reported is durable, and only `forget` and then `gc` can take it away.
    """

    def __init__(self, opened: Opened) -> None:
        self.store = opened.context.store
        self.marker = opened.marker
        self.warnings = opened.warnings
        super().__init__(opened.context)

    @classmethod
    def create(
        cls,
        place: Place,
        *,
        passphrase: str | bytes | None = None,
        recipients: Sequence[str] = (),
        recovery_code: str | None = None,
        kms: Sequence[KeyService] = (),
        kms_alone: bool = False,
        encryption: str | None = None,
        volume_bytes: int | str | None = None,
        store_options: Mapping[str, Any] | None = None,
        engine: Engine | None = None,
    ) -> Repository:
        """Make a repository in an empty folder (which may not exist yet) or store, and return it.

        passphrase, recipients, recovery_code: any one of them opens it. recipients: age recipients (age1…).
        recovery_code: one of `vark.keys.new_recovery_code`; note it first. kms: keys of a key management service
        (`vark.kms.AwsKms`), beside another way unless kms_alone. encryption: "none" for a repository that
        whoever holds the storage can read; else "aes-256-gcm" (default) or "chacha20-poly1305".
        place: a path, an address ("s3://bucket/prefix", "gs://…", "az://container/prefix"), or a store object, also one
        of obstore. store_options: as in `vark.stores.open_store`. volume_bytes: cut archives into objects of this many
        bytes (at least 1 MiB); None for one object an archive in a folder, and 32 MiB in a remote store.
        Errors: TargetExistsError (a repository, or anything else, is there), InvalidArgumentError (nothing to encrypt
        it with, and not encryption="none").
        """
        store = opening.store_of(place, store_options)
        if volume_bytes is None and isinstance(store, RemoteStore):
            volume_bytes = VOLUME_BYTES
        limit = None if volume_bytes is None else max(parse_bytes(volume_bytes, name="volume_bytes"), 1 << 20)
        seal = protection(passphrase, recipients, recovery_code)
        return cls(
            opening.create(
                store,
                volume_bytes=limit,
                seal=seal,
                services=kms,
                kms_alone=kms_alone,
                encryption=encryption,
                engine=engine,
            )
        )

    @classmethod
    def open(
        cls,
        place: Place,
        *,
        passphrase: str | bytes | None = None,
        identities: Sequence[Identity] = (),
        recovery_code: str | None = None,
        kms: Sequence[KeyService] = (),
        authority: str | None = None,
        head: str | None = None,
        signer: Identity | None = None,
        trust: bool = False,
        accept_history: bool = False,
        forgetful: bool = False,
        rescue: bool = False,
        mirrors: Sequence[Place] = (),
        store_options: Mapping[str, Any] | None = None,
        engine: Engine | None = None,
    ) -> Repository:
        """Open a repository.

        place, store_options: as in `create`; also "https://…", to read only. mirrors: other places where the same
        repository lies (`vark sync`): what is damaged or missing in one is read from the next, and stands in
        `elsewhere`; nothing can be written then.
        passphrase, identities, recovery_code: of an encrypted one; any one that fits opens it. identities: age identity
        files, by path or by content. kms: keys of a key management service, asked when nothing else fits.
        signer: a file of `Keys.add_signer`, by path or content, which signs new snapshots; one that is write-only needs
        no key, and can add snapshots but read none.
        authority: who may change its keys, as `KeysReport` says it elsewhere: keys of anyone else are refused.
        trust: write to a repository that this client sees for the first time with nothing but an identity. head: a
        commit that must be there. accept_history: take what is found for true although this client has seen something
        else. forgetful: compare it with nothing that this client has seen, and keep nothing of it, as for a mirror that
        is behind. rescue: look and restore although the marker is damaged or lost; nothing can be written then.
        What is odd, but no error, is in `warnings`.
        Errors: RepositoryNotFoundError, DamagedError, UnsupportedError, KeyNeededError, WrongKeyError,
        HistoryAlteredError (not as this client has seen it).
        """
        secrets = unlocking(passphrase, identities, recovery_code)
        believed = Trust(authority, head, trust, accept_history, forgetful)
        file = signer_of(signer)
        store = opening.store_of(place, store_options)
        if mirrors:
            store = mirrored(
                [store, *map(opening.store_of, mirrors)], [opening.shown(one) for one in (place, *mirrors)]
            )
        return cls(
            opening.open_(
                store, secrets=secrets, signer=file, services=kms, trust=believed, rescue=rescue, engine=engine
            )
        )

    @property
    def id(self) -> str:
        """The id of the repository, 32 hexadecimal digits."""
        return self.marker.id

    @property
    def is_encrypted(self) -> bool:
        """Whether the repository is encrypted."""
        return self._context.keys is not None

    @property
    def traffic(self) -> Traffic | None:
        """Requests made of a remote store since it was opened, by class, and bytes; None for any other store."""
        stores = self.store.stores if isinstance(self.store, MirroredStore) else (self.store,)
        found = [store.counts.total() for store in stores if isinstance(store, RemoteStore)]
        return sum(found[1:], found[0]) if found else None

    @property
    def context(self) -> Context:
        """What the parts of a repository work with; for vark itself, not part of the stable interface."""
        return self._context

    @property
    def elsewhere(self) -> tuple[Elsewhere, ...]:
        """What was not taken from the first mirror so far, and why; nothing without `mirrors`."""
        return tuple(self.store.elsewhere) if isinstance(self.store, MirroredStore) else ()

    def __repr__(self) -> str:
        return f"Repository({opening.shown(self.store)}, id {self.id})"

    @property
    def keys(self) -> Keys:
        """Who can open an encrypted repository, and who signs in it. Errors: InvalidArgumentError (it is not)."""
        return Keys(self._context)

    def backup(
        self,
        source: Any,
        *,
        name: str,
        tags: Mapping[str, str] | None = None,
        full: bool = False,
        resume: bool = True,
        chain_max: int = CHAIN_MAX,
        waste_max: float = WASTE_MAX,
        cache: bool | str | PathLike[str] | None = None,
        **options: Any,
    ) -> BackupReport:
        """Make a snapshot of `source` and return what was done; it is durable then.

        source and options: as in `write_archive` (payload, documents, probes, threads, memory, progress …).
        name: what the snapshots of this source are called; a delta builds on the newest of the same name.
        full: store everything anew. resume: go on with an interrupted backup of the same source.
        chain_max: archives that a snapshot may build on. waste_max: bytes kept for their sake that it does not use, as
        a share of a full archive. Above either, a full archive is written, and the report says so.
        cache: folder where links of graphs are kept for the next delta; None for that of VARK_CACHE, else
        XDG_CACHE_HOME/vark or ~/.cache/vark; False for none. The snapshot is the same with and without it.
        Errors: those of `write_archive`; ConflictError; DamagedError (the repository's state cannot be read).
        """
        sources = {"": source}
        request = BackupRequest(sources, name, dict(tags or {}), full, resume, chain_max, waste_max, options, cache)
        return self._backup(request)

    def backup_shards(
        self,
        sources: Mapping[str, Any],
        *,
        name: str,
        tags: Mapping[str, str] | None = None,
        full: bool = False,
        resume: bool = True,
        chain_max: int = CHAIN_MAX,
        waste_max: float = WASTE_MAX,
        cache: bool | str | PathLike[str] | None = None,
        **options: Any,
    ) -> BackupReport:
        """Make one snapshot of several sources (shard -> source), each an archive, committed together or not at all."""
        check_shards(sources)
        request = BackupRequest(sources, name, dict(tags or {}), full, resume, chain_max, waste_max, options, cache)
        return self._backup(request)

    def catalog(self) -> Catalog:
        """Return all that commits and marks say, with what could not be read in `faults`."""
        self._context.refuse_write_only()
        return self._context.reader.read()

    def snapshots(
        self, *, name: str | None = None, forgotten: bool = False, void: bool = False
    ) -> tuple[Snapshot, ...]:
        """Return the snapshots, oldest first; those in the trash and those that are void only when asked for."""
        return tuple(
            snapshot
            for snapshot in self.catalog().snapshots
            if (name is None or snapshot.name == name)
            and (forgotten or snapshot.forgotten_unix_ms is None)
            and (void or not snapshot.void)
        )

    def snapshot(
        self,
        reference: str = LATEST,
        *,
        name: str | None = None,
        at: str | datetime | None = None,
        forgotten: bool = False,
    ) -> Snapshot:
        """Return one snapshot: "latest", an id or its first digits, a tag "key=value", or a time (UTC unless it says).

        at: the newest at or before this time. forgotten: one that `undelete` can take back; by id both kinds are found.
        Errors: NotFoundError, InvalidArgumentError (fits several).
        """
        return find_snapshot(self.catalog(), reference, name=name, at=at, forgotten=forgotten)

    def open_archive(
        self,
        reference: str | Snapshot = LATEST,
        *,
        shard: str | None = None,
        name: str | None = None,
        at: str | datetime | None = None,
    ) -> Archive:
        """Open an archive of a snapshot: its rows, documents, payload … Errors: as `snapshot`; RefusedError (void)."""
        snapshot = self._resolve(reference, name, at)
        return restore_.open_archive(self._context, snapshot, restore_.shard_of(snapshot, shard), in_part=True)

    def select(
        self,
        stream: str = "vectors",
        reference: str | Snapshot = LATEST,
        *,
        shard: str | None = None,
        name: str | None = None,
        at: str | datetime | None = None,
        **options: Any,
    ) -> Selection:
        """Return rows of a snapshot by position or id. options: as in `Archive.select` (rows, ids, payload)."""
        return self.open_archive(reference, shard=shard, name=name, at=at).select(stream, **options)

    def restore(
        self,
        reference: str | Snapshot,
        target: str | PathLike[str],
        *,
        shard: str | None = None,
        name: str | None = None,
        at: str | datetime | None = None,
        **options: Any,
    ) -> RestoreReport:
        """Write a snapshot back, byte for byte; several shards to folders of their names in the new folder `target`.

        options: as in `Archive.restore` (member, replace, threads, memory, max_bytes, progress …).
        Errors: those of `Archive.restore` and of `snapshot`.
        """
        snapshot = self._resolve(reference, name, at)
        return restore_.restore(self._context, snapshot, target, shard=shard, options=options)

    def load(
        self,
        reference: str | Snapshot = LATEST,
        *,
        shard: str | None = None,
        name: str | None = None,
        at: str | datetime | None = None,
        **options: Any,
    ) -> Any:
        """Return a member of a snapshot as a live index or array. options: as in `Archive.load`."""
        archive = self.open_archive(reference, shard=shard, name=name, at=at)
        return archive.load(**options)

    def verify(
        self,
        *,
        level: str = "full",
        budget: str | int | None = None,
        max_age: str | float | None = None,
        snapshot: str | Snapshot | None = None,
        signed_by: Sequence[str] = (),
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> RepositoryVerifyReport:
        """Verify records and archives, and list exactly what is damaged, with the snapshots and rows that it touches.

        level: "structure" (records and sizes), "stored" (checksums of stored bytes), "full" (digests of all rows).
        budget: begin no further archive after so much, "50GiB" or "10m"; those that were not read for the longest time
        come first, and at least one is read. max_age: leave out what was found whole since, e.g. "30d".
        "full" decodes every block and puts together every chunk of every snapshot, deltas as a restore reads them; a
        delta that needs an archive which is damaged or could not be read is in `unproved`. snapshot: only its needs.
        signed_by: public keys (64 hexadecimal digits, or minisign's base64), or names of signers: commits that none of
        them has signed are called damaged.
        What was read is kept in the ledger: a backup builds on nothing that it calls damaged, and damage is taken back
        only by a reading as deep as that which found it. Damage is in the report, not an exception; what cannot be
        read for another reason is in `unread`.
        """
        only = None if snapshot is None else (self._resolve(snapshot, None, None),)
        request = make_request(
            level=level, budget=budget, max_age=max_age, snapshots=only, threads=threads, progress=progress
        )
        self._context.refuse_write_only()
        return verify(self._context, replace(request, signed_by=signing_keys(self._context, signed_by)))

    def doctor(self, *, undelete: bool = False) -> DoctorReport:
        """Try out what the store can be relied on for, and look for what interrupted backups have left behind.

        undelete: bring back what somebody has hidden by delete markers, or covered, in a store that keeps versions.
        Makes some small objects and deletes them again; what was found is kept as a record. In a remote store without
        what a collection relies on, `gc` and `forget` are refused. Errors: those of a store that cannot be written to.
        """
        return doctor(self._context.writable(), undelete=undelete)

    def compact(
        self, reference: str | Snapshot, *, threads: int | None = None, progress: Progress | None = None
    ) -> CompactReport:
        """Make a snapshot stand alone: a full archive out of stored blocks, without the source. Ids stay as they are.

        What it built on becomes free for `gc` when no other snapshot needs it.
        Errors: InvalidArgumentError (stands alone already), RefusedError, ConflictError.
        """
        _, snapshot = self._for_marking(reference)
        return compact(self._context, snapshot, options={"threads": threads, "progress": progress})

    def copy_to(
        self,
        target: Repository,
        references: str | Snapshot | Sequence[str | Snapshot] = (),
        *,
        name: str | Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        since: str | datetime | None = None,
        level: str = "full",
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> CopyReport:
        """Copy snapshots into another repository, which has its own id, keys and suite; run again, it goes on.

        references: as in `snapshot`, or snapshots; none for all that can be restored. name, tags, since: only those of
        one of these names, with all of these tags, at or after this time. A copy has the id, times, name and tags of
        its snapshot, and names the commit that it was made of: what the target has by that is not moved again. Deltas
        stay deltas where the target has copies of what they build on. Holds stay behind. What is erased here is erased
        there.
        level: how deeply each archive is read where it has arrived: "full", or "stored" (checksums of stored bytes).
        What cannot be copied for its own sake is in the report. Errors: InvalidArgumentError (a mirror of this
        repository), KeyNeededError (write-only), ConflictError, NoSpaceError and others of writing.
        """
        given = [references] if isinstance(references, (str, Snapshot)) else list(references)
        names = (name,) if isinstance(name, str) else tuple(name)
        self._context.refuse_write_only()
        catalog = self.catalog()
        ids = [item.id if isinstance(item, Snapshot) else item for item in given]
        chosen = choose_snapshots(catalog, ids, names=names, tags=tags, since=since)
        before = self.traffic, target.traffic
        report = copy(self._context, target._context, CopyRequest(chosen, level, threads, progress))
        own, other = (
            now - then if now is not None and then is not None else None
            for now, then in zip((self.traffic, target.traffic), before, strict=True)
        )
        return replace(report, traffic=(own, other))

    def diff(self, before: str | Snapshot, after: str | Snapshot, *, name: str | None = None) -> DiffReport:
        """Tell how two snapshots differ: rows by position and by id, parameters, documents, columns of the payload.

        Memory is bounded: a few bytes a row, and some MiB. Errors: as `snapshot`; DamagedError.
        """
        return diff(self._context, self._resolve(before, name, None), self._resolve(after, name, None))

    def stats(self) -> StatsReport:
        """Tell how many bytes there are and for whom. Reads records and listings only."""
        return stats(self._context)

    def cost(self, prices: Sequence[Prices], *, policy: Policy | None = None, **options: Any) -> CostReport:
        """Estimate what it will cost by price tables (`vark.prices.read_prices`), with this policy; None keeps all.

        options: as in `vark.repository.costs.cost`: months, trash, every. Reads records and listings only.
        """
        return cost(self._context, prices, policy=policy, **options)

    def _backup(self, request: BackupRequest) -> BackupReport:
        before = self.traffic
        report = backup(self._context.writable(adds_only=True), request)
        after = self.traffic
        return report if before is None or after is None else replace(report, traffic=after - before)

    def _resolve(self, reference: str | Snapshot, name: str | None, at: str | datetime | None) -> Snapshot:
        return reference if isinstance(reference, Snapshot) else self.snapshot(reference, name=name, at=at)
