"""Volumes on their way to a remote store: cut in memory, several in flight, those that are there compared."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import BoundedSemaphore
from typing import Any, Protocol

from vark.errors import ObjectExistsError, VarkError
from vark.repository.digest import volume_digest
from vark.repository.layout import ARCHIVES, volume_name
from vark.stores import RemoteStore

VOLUME_BYTES = 32 << 20  # of a new repository in a remote store
IN_FLIGHT_BYTES = 160 << 20  # memory for volumes: being filled and being sent
PIPE_BYTES = 1 << 20
GROWS_EVERY = 2048  # volumes; a commit names each, and is a record of 1 MiB at most
DOUBLINGS_MAX = 2
DIGESTS_MAX = 8000


def volume_size(number: int, volume_bytes: int) -> int:
    """Return the bytes of a volume by its number, which all runs agree on."""
    return volume_bytes << min(number // GROWS_EVERY, DOUBLINGS_MAX)


class VolumeDiffersError(VarkError):
    """A volume of this archive id exists with other bytes: the id cannot be used."""


class Cutter(Protocol):
    """Takes the bytes of an archive in order and cuts them into volumes."""

    kept_count: int

    def drain(self, descriptor: int) -> None:
        """Take all that a descriptor gives. Errors: VolumeDiffersError, NoSpaceError, StorageError."""
        ...

    def finish(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """End the last volume; return the bytes of each, and their digests. All are durable then."""
        ...

    def close(self) -> None:
        """Drop what was not finished."""
        ...


class UploadCutter:
    """Volumes are filled in memory and sent whole, each with one request, as many at once as the memory allows.

    there: waits until volumes may be created, and returns the names of those that there are; None: they are listed.
    An interrupted run's volumes are there already: their size and ETag prove that they are the same where the ETag is
    an MD5, else they are read back.
    """

    def __init__(
        self, store: RemoteStore, archive_id: str, volume_bytes: int, *, there: Callable[[], set[str]] | None = None
    ) -> None:
        self._store = store
        self._archive_id = archive_id
        self._volume_bytes = volume_bytes
        self._there: Future[set[str]] = store.pool.submit(there or self._list)  # while the first volume is filled
        self._room_count = max(IN_FLIGHT_BYTES // volume_bytes, 2)
        self._room = BoundedSemaphore(self._room_count)
        self._buffer: mmap.mmap | None = None
        self._filled = 0
        self._spare: list[mmap.mmap] = []  # of volumes that were sent
        self._sending: deque[Future[str]] = deque()
        self._sizes: list[int] = []
        self._digests: list[str] = []
        self.kept_count = 0

    def drain(self, descriptor: int) -> None:
        while True:
            if self._buffer is None:
                self._buffer = self._next_buffer()
            with memoryview(self._buffer) as view:
                taken = os.readv(descriptor, [view[self._filled :]])
            self._filled += taken
            if taken == 0:
                return
            if self._filled == len(self._buffer):
                self._send()

    def finish(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        if self._filled:
            self._send()
        while self._sending:
            self._digests.append(self._sending.popleft().result())
        names = {volume_name(self._archive_id, number) for number in range(len(self._sizes))}
        if not self._there.result() <= names:
            raise VolumeDiffersError(f"archive {self._archive_id}: it has other volumes than were written")
        return tuple(self._sizes), tuple(self._digests) if len(self._digests) <= DIGESTS_MAX else ()

    def close(self) -> None:
        waiting: list[Future[Any]] = [self._there, *self._sending]
        for future in waiting:
            future.cancel()
        for future in waiting:  # nothing of ours is on its way when this returns
            with contextlib.suppress(BaseException):
                future.result()
        self._sending.clear()
        self._spare.clear()
        self._buffer = None

    def _list(self) -> set[str]:
        return {entry.name for entry in self._store.list(f"{ARCHIVES}/{self._archive_id}")}

    def _next_buffer(self) -> mmap.mmap:
        while self._sending and self._sending[0].done():
            self._digests.append(self._sending.popleft().result())  # a failure ends the run at once
        size = volume_size(len(self._sizes), self._volume_bytes)
        for _ in range(self._places_of(size)):
            self._room.acquire()
        with contextlib.suppress(IndexError):
            spare = self._spare.pop()
            if len(spare) == size:
                return spare
            self._spare.clear()
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def _places_of(self, size: int) -> int:
        """Return how much of the room a volume takes; there is always room for two."""
        return min(size // self._volume_bytes, self._room_count // 2)

    def _send(self) -> None:
        buffer, filled = self._buffer, self._filled
        assert buffer is not None
        self._sizes.append(filled)
        name = volume_name(self._archive_id, len(self._sizes) - 1)
        self._buffer, self._filled = None, 0
        self._sending.append(self._store.pool.submit(self._create, name, buffer, filled))

    def _create(self, name: str, buffer: mmap.mmap, filled: int) -> str:
        """Create a volume, or compare the one that is there; return its digest."""
        try:
            digest = self._create_of(name, memoryview(buffer)[:filled])
            if _is_free(buffer):
                self._spare.append(buffer)
            return digest
        finally:
            self._room.release(self._places_of(len(buffer)))

    def _create_of(self, name: str, data: memoryview) -> str:
        if name not in self._there.result():
            try:
                self._store.create(name, data)
            except ObjectExistsError as error:
                raise VolumeDiffersError(f"archive {self._archive_id}: somebody else writes it, too") from error
        elif self._store.holds(name, data):
            self.kept_count += 1
        else:
            raise VolumeDiffersError(f"{name}: exists with other bytes; the source has changed")
        return volume_digest(data)


def _is_free(buffer: mmap.mmap) -> bool:
    """Return whether nobody looks at a buffer: a library that was given memory may do so later than it says."""
    try:
        buffer.resize(
            len(buffer)
        )  # refused while there is a view of it; where it is never possible, a new one is taken
    except (BufferError, SystemError, ValueError, OSError):
        return False
    return True
