"""Volumes of archives from one store to another as they are: compared before they go, read where they arrive."""

from __future__ import annotations

import mmap
import os
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path

from vark.errors import DamagedError, InvalidArgumentError, ObjectExistsError, StorageError, error_from_os
from vark.repository.digest import VolumeDigest, volume_digest
from vark.repository.engine import READ_BYTES, Places
from vark.repository.layout import volume_name
from vark.repository.proving import scrub
from vark.repository.records import Ancestor, CommittedArchive
from vark.repository.uploads import IN_FLIGHT_BYTES
from vark.stores import ObjectEntry, RemoteStore, Store

FILES_AT_ONCE = 4
SEND_BYTES = 64 << 20  # of one call, which nothing interrupts
PUT_BYTES_MAX = 5 << 30  # what object stores take by one request


class Mover:
    """Moves archives. there: the objects of the target."""

    def __init__(self, source: Store, target: Store, there: Mapping[str, ObjectEntry], threads: int | None) -> None:
        self._source, self._target, self._there, self._threads = source, target, there, threads

    def missing(self, archive_id: str, sizes: Sequence[int]) -> list[str] | None:
        """Return the volumes that the target has not; None where it has one of another length."""
        found: list[str] = []
        for number, size in enumerate(sizes):
            name = volume_name(archive_id, number)
            entry = self._there.get(name)
            if entry is None:
                found.append(name)
            elif entry.byte_count != size:
                return None
        return found

    def archive(self, ancestor: Ancestor, sizes: Sequence[int], committed: CommittedArchive | None) -> int:
        """Bring the volumes of an archive over that are missing, and verify all of it there; return the bytes moved.

        Errors: DamagedError (in the source, or a volume there has other bytes), StorageError (what arrived is not
        what was sent), NotFoundError (collected meanwhile).
        """
        archive_id = ancestor.id
        missing = self.missing(archive_id, sizes)
        if missing is None:
            raise DamagedError(f"archive {archive_id}: a volume in the mirror has another length; see `vark repair`")
        numbers = [number for number in range(len(sizes)) if volume_name(archive_id, number) in missing]
        digests = committed.digests if committed is not None and len(committed.digests) == len(sizes) else ()
        if numbers and not digests:
            self._verify(self._source, ancestor, sizes, "in the source")
        moved = self._move(archive_id, sizes, numbers, digests)
        self._verify(self._target, ancestor, sizes, "in the mirror")
        return moved

    def _verify(self, store: Store, ancestor: Ancestor, sizes: Sequence[int], where: str) -> None:
        """Compare stored bytes with the archive's own tables, for which no key is needed, and these with the commit."""
        report = scrub(Places(store).volumes(ancestor.id, sizes), ancestor, threads=self._threads)
        if not report.ok:
            places = [*report.damage, *report.unread]
            raise DamagedError(f"archive {ancestor.id}, {where}: {places[0]}; see `vark repair`")

    def _move(self, archive_id: str, sizes: Sequence[int], numbers: Sequence[int], digests: Sequence[str]) -> int:
        target = self._target
        tasks = [(volume_name(archive_id, at), sizes[at], digests[at] if digests else None) for at in numbers]
        # To a bucket each goes whole, out of memory; into a file piece by piece.
        most = max(IN_FLIGHT_BYTES // max(*sizes, 1), 1) if isinstance(target, RemoteStore) else FILES_AT_ONCE
        if len(tasks) == 1 or most == 1 or self._threads == 1:
            for task in tasks:
                self._volume(*task)
        elif isinstance(target, RemoteStore):
            self._several(target.pool, tasks, most)
        else:
            with ThreadPoolExecutor(most, "vark-sync-file") as pool:
                self._several(pool, tasks, most)
        return sum(size for _, size, _ in tasks)

    def _several(self, pool: Executor, tasks: Sequence[tuple[str, int, str | None]], most: int) -> None:
        sending = deque[Future[None]]()
        try:
            for task in tasks:
                if len(sending) == most:
                    sending.popleft().result()
                sending.append(pool.submit(self._volume, *task))
            while sending:
                sending.popleft().result()
        finally:
            for future in sending:
                future.cancel()
            wait(sending)  # nothing of ours is on its way when this returns

    def _volume(self, name: str, size: int, digest: str | None) -> None:
        """Send one volume. Errors: DamagedError (its digest is another)."""
        path = self._source.local_path(name)
        if isinstance(self._target, RemoteStore):
            if size > PUT_BYTES_MAX:
                raise InvalidArgumentError(
                    f"{name}: {size} bytes, and an object store takes {PUT_BYTES_MAX} at once; a repository made with "
                    "--volume-bytes 64MiB has smaller volumes: `vark copy` into one"
                )
            with _Bytes(self._source, name, size, path) as data:
                if digest is not None and volume_digest(data) != digest:
                    raise DamagedError(f"{name}, in the source: its digest is not that of its commit")
                self._create(name, data)
            return
        with self._target.writer(name) as writer:
            # Without a digest the bytes are not looked at here: the archive was compared, and will be where it arrives.
            if digest is None and path is not None:
                _copy_file(path, writer.fileno(), size)
            elif self._copy(name, size, writer.fileno()) != digest and digest is not None:
                raise DamagedError(f"{name}, in the source: its digest is not that of its commit")
            try:
                writer.commit()
            except ObjectExistsError as error:
                raise StorageError(f"{name}: somebody else writes it, too; run it again") from error

    def _copy(self, name: str, size: int, target: int) -> str:
        """Append an object's bytes to a file; return their digest."""
        found = VolumeDigest()
        for offset in range(0, size, READ_BYTES):
            piece = self._source.read(name, offset=offset, byte_count=min(READ_BYTES, size - offset))
            found.update(piece)
            _write(target, piece)
        return found.hex()

    def _create(self, name: str, data: memoryview) -> None:
        try:
            self._target.create(name, data)  # type: ignore[arg-type]
        except ObjectExistsError as error:
            raise StorageError(f"{name}: somebody else writes it, too; run it again") from error


def _copy_file(path: Path, target: int, size: int) -> None:
    """Append a file's bytes to another, inside the system where it can: never so that both share them on the disk.

    Errors: DamagedError (it is shorter), NotFoundError, NoSpaceError, StorageError.
    """
    try:
        with open(path, "rb") as file:
            left = size
            while left:
                if sys.platform == "linux":
                    count = os.sendfile(target, file.fileno(), None, min(SEND_BYTES, left))
                else:
                    count = _write(target, file.read(min(READ_BYTES, left)))
                if count == 0:
                    raise DamagedError(f"{path}: {size - left} bytes, expected {size}; it is cut short")
                left -= count
    except OSError as error:
        raise error_from_os(error, str(path)) from error


def _write(target: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(target, left) :]
    return len(data)


class _Bytes:
    """The bytes of a volume: of a file mapped, of anything else in memory."""

    def __init__(self, store: Store, name: str, size: int, path: Path | None) -> None:
        self._file = None if path is None else open(path, "rb")  # noqa: SIM115 - closed on exit
        self._map: mmap.mmap | None = None
        if self._file is not None and size:
            self._map = mmap.mmap(self._file.fileno(), size, prot=mmap.PROT_READ)
            self._view = memoryview(self._map)
        elif isinstance(store, RemoteStore):
            self._view = store.read_view(name)
        else:
            self._view = memoryview(store.read(name))

    def __enter__(self) -> memoryview:
        return self._view

    def __exit__(self, *_: object) -> None:
        if self._map is not None:
            # What sent it may keep a view for a moment; the mapping then goes with that.
            self._map = None
        if self._file is not None:
            self._file.close()
