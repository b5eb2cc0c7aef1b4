"""What the repository asks of the engine: write, open, verify, compact and erase archives made of objects of a store.

The only room of the repository that knows how an archive is written or opened; tests put another in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import vark.api
from vark import erasing
from vark.archive import Archive, ProgressCallback, Shadow, Volume
from vark.erasing import Lists, Survey
from vark.errors import InvalidArgumentError
from vark.keys import Keyring, Signer
from vark.repository.layout import volume_name
from vark.repository.mirrors import MirroredStore
from vark.repository.records import Ancestor, CommittedArchive
from vark.stores import RemoteStore, Store
from vark.stores.blocks import BlockCache, KeptBlocks
from vark.types import VerifyReport, WriteReport

READ_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """An archive as the engine wrote it. delta: the report's entry (base, reason, rows), None without a base."""

    root: str
    archive_bytes: int
    raw_bytes: int
    partial: bool
    report: WriteReport | None = None
    delta: Mapping[str, Any] | None = None
    ancestors: tuple[Ancestor, ...] = ()

    @property
    def base(self) -> str | None:
        """The archive that it points into, None where it is full."""
        return str(self.delta["base"]) if self.delta is not None and self.ancestors else None


class Engine:
    """The engine of this package. keyring: of an encrypted repository, whose archives it seals and
    opens; a signer that is write-only opens none.
    """

    deltas = True

    def __init__(self, keyring: Keyring | Signer | None = None) -> None:
        self.keyring = keyring

    def write(
        self,
        source: Any,
        descriptor: int,
        *,
        archive_id: str,
        base: Archive | Shadow | None,
        fingerprint_key: bytes,
        options: Mapping[str, Any],
    ) -> Written:
        """Write `source` to an open descriptor: a delta against `base`, or a full archive. The caller syncs."""
        report = vark.api.write_archive(
            source,
            descriptor,
            archive_id=UUID(archive_id),
            base=base,
            fingerprint_key=fingerprint_key or None,
            keyring=self.keyring,
            sync=False,
            **options,
        )
        return _written(report)

    def compact(self, archive: Archive, descriptor: int, *, archive_id: str, options: Mapping[str, Any]) -> Written:
        """Write a full archive out of the stored blocks of `archive` and of those that it points into.

        options: threads, progress. Errors: InvalidArgumentError for another; it would have no effect.
        """
        assert not isinstance(self.keyring, Signer)  # who can read nothing compacts nothing
        unknown = sorted(options.keys() - {"threads", "progress"})
        if unknown:
            raise InvalidArgumentError(f"{unknown[0]}: compacting has no such option; leave it out")
        report = vark.api.compact_archive(
            archive, descriptor, archive_id=UUID(archive_id), keyring=self.keyring, sync=False, **options
        )
        raw_bytes = sum(stream.raw_bytes for stream in archive.streams)
        return Written(report.root, report.archive_bytes, raw_bytes, archive.partial)

    def copy(
        self,
        archive: Archive,
        descriptor: int,
        *,
        pairs: Sequence[tuple[Archive, Archive]] | None,
        archive_id: str,
        threads: int | None,
        progress: ProgressCallback | None,
    ) -> Written:
        """Write an archive of another repository again for this one. pairs: as in `vark.api.copy_archive`."""
        assert not isinstance(self.keyring, Signer)  # who can read nothing cannot tell what is missing
        report = vark.api.copy_archive(
            archive,
            descriptor,
            pairs=pairs,
            archive_id=UUID(archive_id),
            keyring=self.keyring,
            threads=threads,
            progress=progress,
        )
        raw_bytes = sum(stream.raw_bytes for stream in archive.streams)
        ancestors = tuple(Ancestor(item.archive_id, item.archive_bytes, item.root) for item in report.ancestors)
        return Written(report.root, report.archive_bytes, raw_bytes, archive.partial, ancestors=ancestors)

    def survey(self, archive: Archive, lists: Lists) -> Survey:
        """Tell what an archive holds of some ids."""
        return erasing.survey(archive, lists)

    def erase(
        self,
        archive: Archive,
        descriptor: int,
        lists: Lists,
        *,
        seen: Survey,
        archive_id: str,
        base: Archive | None,
        fingerprint_key: bytes,
        threads: int | None,
    ) -> tuple[Written, Mapping[str, tuple[int, int]]]:
        """Write `archive` without the rows of the ids: a delta against `base`, or a full archive.

        Return what was written, and of each stream the rows and bytes that are not what they were.
        """
        assert not isinstance(self.keyring, Signer)  # who can read nothing erases nothing
        erased = erasing.erase_archive(
            archive,
            descriptor,
            lists,
            seen=seen,
            base=base,
            fingerprint_key=fingerprint_key or None,
            archive_id=UUID(archive_id),
            keyring=self.keyring,
            sync=False,
            threads=threads,
        )
        return _written(erased.report), erased.changed

    def open_file(self, path: str, base: Archive | None) -> Archive:
        """Open an archive that is no object yet, a delta on `base` or a full one."""
        return Archive(path, ancestors=None if base is None else base.places, secrets=self.keyring)

    def open(
        self,
        store: Store,
        archive: CommittedArchive,
        sizes: Mapping[str, Sequence[int]],
        *,
        blocks: BlockCache | None = None,
    ) -> Archive:
        """Open an archive with those that it points into. sizes: archive id -> bytes of its volumes.

        blocks: where stored bytes are kept on this machine.
        """

        def opened() -> Archive:
            places = Places(store, blocks)
            volumes = places.volumes(archive.id, archive.volumes)
            ancestors = {key: places.volumes(key, value) for key, value in sizes.items()}
            return Archive(volumes, ancestors=ancestors, secrets=self.keyring)

        return store.open_from_any(archive.id, opened) if isinstance(store, MirroredStore) else opened()

    def open_shadow(self, folder: Path, archive_id: str) -> Shadow:
        """Open what a write-only client kept of an archive. Errors: NotFoundError, DamagedError."""
        assert isinstance(self.keyring, Signer)  # nobody else keeps any
        return Shadow(folder, archive_id, self.keyring)

    def identity(self, store: Store, archive: CommittedArchive) -> tuple[str, str]:
        """Return the id and the root that the archive itself says."""
        with Archive(Places(store).volumes(archive.id, archive.volumes), secrets=self.keyring) as opened:
            return str(opened.archive_id), opened.root

    def verify(
        self,
        store: Store,
        archive: CommittedArchive,
        sizes: Mapping[str, Sequence[int]],
        *,
        level: str,
        own: bool,
        threads: int | None,
    ) -> VerifyReport:
        """Verify an archive that may not even open. own: its own bytes only, nothing that it takes from others.

        level: "stored" or "full". sizes: archive id -> bytes of the volumes of those that it points into.
        """
        places = Places(store)
        volumes = places.volumes(archive.id, archive.volumes)
        ancestors = {key: places.volumes(key, value) for key, value in sizes.items()}
        return vark.api.verify_archive(
            volumes, level=level, own=own, ancestors=ancestors, keyring=self.keyring, threads=threads
        )

    def verify_rows(
        self,
        store: Store,
        archives: Sequence[CommittedArchive],
        sizes: Mapping[str, Sequence[int]],
        *,
        threads: int | None,
    ) -> tuple[VerifyReport, ...]:
        """Verify what verifying the own bytes of deltas does not prove. sizes: as in `verify`, for all of them."""
        places = Places(store)
        volumes = [places.volumes(archive.id, archive.volumes) for archive in archives]
        ancestors = {key: places.volumes(key, value) for key, value in sizes.items()}
        return vark.api.verify_deltas(volumes, ancestors=ancestors, keyring=self.keyring, threads=threads)


def _written(report: WriteReport) -> Written:
    delta = None if report.delta is None else {"base": report.delta.base, "rows_new": report.delta.rows_new}
    if report.delta is not None and delta is not None:
        delta.update(reason=None, rows_copied=report.delta.rows - report.delta.rows_new)
    return Written(
        root=report.root,
        archive_bytes=report.archive_bytes,
        raw_bytes=report.raw_bytes,
        partial=report.partial,
        report=report,
        delta=delta,
        ancestors=tuple(Ancestor(item.archive_id, item.archive_bytes, item.root) for item in report.ancestors),
    )


class Places:
    """Volumes as the engine takes them: files of the store where its objects are files, else ranges of them."""

    def __init__(self, store: Store, blocks: BlockCache | None = None) -> None:
        self._store = store
        self._blocks = blocks

    def volumes(self, archive_id: str, sizes: Sequence[int]) -> list[Volume]:
        """Return the volumes of an archive, one after another."""
        names = [volume_name(archive_id, number) for number in range(len(sizes))]
        if isinstance(self._store, MirroredStore):
            return [self._store.open_ranges(archive_id, list(zip(names, sizes, strict=True)))]
        if isinstance(self._store, RemoteStore):
            kept = None if self._blocks is None else KeptBlocks(self._blocks, archive_id, sum(sizes))
            volumes = list(zip(names, sizes, strict=True))
            return [self._store.open_ranges(f"archive {archive_id}", volumes, kept=kept)]
        local = [self._store.local_path(name) for name in names]
        return [path or ObjectRanges(self._store, name) for path, name in zip(local, names, strict=True)]


class ObjectRanges:
    """An object of a store without files, read by ranges. For the engine: `name`, `byte_count`, `read`."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self.byte_count = store.byte_count(name)
        self._store = store

    def read(self, offset: int, byte_count: int) -> bytes:
        """Return bytes of the object. Errors: those of the store."""
        return self._store.read(self.name, offset=offset, byte_count=byte_count)
