"""Volumes: an archive's bytes become objects of a store; those that an interrupted run has finished are kept."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass

from vark.errors import NotFoundError, ObjectExistsError, StorageError
from vark.repository.digest import VolumeDigest
from vark.repository.engine import READ_BYTES, Written
from vark.repository.layout import ARCHIVES, volume_name
from vark.repository.uploads import PIPE_BYTES, VOLUME_BYTES, Cutter, UploadCutter, VolumeDiffersError
from vark.stores import ObjectWriter, RemoteStore, Store

__all__ = ["VolumeCutter", "VolumeDiffersError", "Volumes", "WriteArchive", "stored_digest", "write_volumes"]

WriteArchive = Callable[[int], Written]


@dataclass(frozen=True, slots=True)
class Volumes:
    """The volumes of an archive: the bytes of each, and their digests where the bytes went through our hands."""

    sizes: tuple[int, ...]
    digests: tuple[str, ...] = ()


def write_volumes(
    store: Store,
    archive_id: str,
    write: WriteArchive,
    *,
    volume_bytes: int | None,
    seekable: bool,
    there: Callable[[], set[str]] | None = None,
) -> tuple[Written, Volumes]:
    """Run `write(descriptor)` and create the volumes; return what was written and the volumes.

    seekable: `write` wants a regular file (it may start again), else a pipe will do. there: as in `UploadCutter`, for a
    remote store. Volumes that exist are compared, not written again. Errors: VolumeDiffersError and all of `write` and
    of the store.
    """
    if not isinstance(store, RemoteStore) and volume_bytes is None and not store.list(f"{ARCHIVES}/{archive_id}"):
        with store.writer(volume_name(archive_id, 0)) as writer:
            written = write(writer.fileno())
            volumes = Volumes((_commit(writer, archive_id),))
    else:
        cutter: Cutter
        if isinstance(store, RemoteStore):
            cutter = UploadCutter(store, archive_id, volume_bytes or VOLUME_BYTES, there=there)
        else:
            cutter = VolumeCutter(store, archive_id, volume_bytes)
        try:
            written = _spooled(write, cutter) if seekable else _piped(write, cutter)
            volumes = Volumes(*cutter.finish())
        finally:
            cutter.close()
    stored = sum(volumes.sizes)
    if stored != written.archive_bytes:
        raise StorageError(
            f"archive {archive_id}: {stored} bytes stored, {written.archive_bytes} written; check the disk"
        )
    return written, volumes


def stored_digest(store: Store, name: str, byte_count: int) -> str:
    """Return the digest of a volume as it lies in a store. Errors: those of reading."""
    digest = VolumeDigest()
    for offset in range(0, byte_count, READ_BYTES):
        digest.update(store.read(name, offset=offset, byte_count=min(READ_BYTES, byte_count - offset)))
    return digest.hex()


class VolumeCutter:
    """Takes the bytes of an archive in order and cuts them into volumes."""

    def __init__(self, store: Store, archive_id: str, volume_bytes: int | None) -> None:
        self._store = store
        self._archive_id = archive_id
        self._volume_bytes = volume_bytes
        self._sizes: list[int] = []
        self._digests: list[str] = []
        self._digest = VolumeDigest()
        self._writer: ObjectWriter | None = None
        self._existing_bytes: int | None = None
        self._position = 0  # in the volume; 0 before it is begun
        self.kept_count = 0

    def drain(self, descriptor: int) -> None:
        while data := os.read(descriptor, 1 << 20):
            self.feed(data)

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes. Errors: VolumeDiffersError, NoSpaceError, StorageError."""
        rest = memoryview(data)
        while rest:
            if self._position == 0:
                self._begin()
            room = len(rest) if self._volume_bytes is None else min(len(rest), self._volume_bytes - self._position)
            self._take(rest[:room])
            rest = rest[room:]
            if self._position == self._volume_bytes:
                self._end()

    def finish(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        if self._position:
            self._end()
        names = {volume_name(self._archive_id, number) for number in range(len(self._sizes))}
        if {entry.name for entry in self._store.list(f"{ARCHIVES}/{self._archive_id}")} != names:
            raise VolumeDiffersError(f"archive {self._archive_id}: it has other volumes than were written")
        return tuple(self._sizes), tuple(self._digests)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.__exit__(None, None, None)
            self._writer = None

    def _name(self) -> str:
        return volume_name(self._archive_id, len(self._sizes))

    def _begin(self) -> None:
        try:
            self._existing_bytes = self._store.byte_count(self._name())
        except NotFoundError:
            self._existing_bytes = None
            self._writer = self._store.writer(self._name()).__enter__()

    def _take(self, part: memoryview) -> None:
        if self._writer is not None:
            left = part
            while left:
                left = left[os.write(self._writer.fileno(), left) :]
        else:
            end = self._position + len(part)
            if self._existing_bytes is None or end > self._existing_bytes:
                self._refuse()
            if self._store.read(self._name(), offset=self._position, byte_count=len(part)) != part:
                self._refuse()
        self._digest.update(part)
        self._position += len(part)

    def _end(self) -> None:
        if self._writer is not None:
            _commit(self._writer, self._archive_id)
            self.close()
        elif self._position != self._existing_bytes:
            self._refuse()
        else:
            self._keep()
        self._sizes.append(self._position)
        self._digests.append(self._digest.hex())
        self._digest = VolumeDigest()
        self._position = 0

    def _keep(self) -> None:
        """Make a volume durable that is there already: whoever wrote it may have died before it was."""
        try:
            self._store.create(self._name(), b"")
        except ObjectExistsError:  # says that the object is durable
            self.kept_count += 1
        else:
            self._refuse()  # a collection took it meanwhile; it takes the empty one, too

    def _refuse(self) -> None:
        raise VolumeDiffersError(f"{self._name()}: exists with other bytes; the source has changed")


def _commit(writer: ObjectWriter, archive_id: str) -> int:
    try:
        return writer.commit()
    except ObjectExistsError as error:
        raise VolumeDiffersError(f"archive {archive_id}: somebody else writes it, too") from error


def _spooled(write: WriteArchive, cutter: Cutter) -> Written:
    with tempfile.TemporaryFile(prefix="vark-") as file:
        written = write(file.fileno())
        file.seek(0)
        cutter.drain(file.fileno())
    return written


def _piped(write: WriteArchive, cutter: Cutter) -> Written:
    """Let the engine write into a pipe whose other end is cut into volumes: no copy of the archive on the way."""
    reading, writing = os.pipe()
    _widen(writing)
    failures: list[BaseException] = []

    def drain() -> None:
        try:
            cutter.drain(reading)
        except BaseException as error:
            failures.append(error)
        finally:
            os.close(reading)  # a writer that is left learns it from the broken pipe

    thread = threading.Thread(target=drain, name="vark-volumes", daemon=True)
    thread.start()
    try:
        written = write(writing)
    except BaseException as error:
        os.close(writing)
        thread.join()
        if failures:
            raise failures[0] from error
        raise
    os.close(writing)
    thread.join()
    if failures:
        raise failures[0]
    return written


def _widen(descriptor: int) -> None:
    """Let a pipe hold more, where the system can: both ends then switch less often."""
    number = getattr(fcntl, "F_SETPIPE_SZ", None)
    if number is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, number, PIPE_BYTES)
