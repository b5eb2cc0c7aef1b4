"""A store in the memory of this process: for tests, and for repositories that need not outlive it."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from vark.errors import DamagedError, InvalidArgumentError, NotFoundError, ObjectExistsError
from vark.stores.base import Buffer, ObjectEntry, check_object_name, check_prefix, check_range


class MemoryStore:
    """Objects are kept until the store goes; safe to use from several threads."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, int]] = {}
        self._lock = threading.Lock()

    def create(self, name: str, data: bytes) -> None:
        check_object_name(name)
        with self._lock:
            if name in self._objects:
                raise ObjectExistsError(f"{name}: exists already; objects are never replaced")
            self._objects[name] = (bytes(data), time.time_ns() // 1_000_000)

    def replace(self, name: str, data: Buffer) -> None:
        check_object_name(name)
        with self._lock:
            self._objects[name] = (bytes(data), time.time_ns() // 1_000_000)

    def writer(self, name: str) -> MemoryWriter:
        return MemoryWriter(self, check_object_name(name))

    def read(self, name: str, *, offset: int = 0, byte_count: int | None = None) -> bytes:
        check_range(name, offset=offset, byte_count=byte_count)
        data = self._data(name)
        end = len(data) if byte_count is None else offset + byte_count
        if end > len(data) or offset > end:
            raise DamagedError(f"{name}: {len(data)} bytes, expected at least {max(offset, end)}; it is cut short")
        return data[offset:end]

    def byte_count(self, name: str) -> int:
        return len(self._data(name))

    def list(self, prefix: str) -> list[ObjectEntry]:
        prefix = check_prefix(prefix)
        with self._lock:
            found = sorted((name, *kept) for name, kept in self._objects.items() if name.startswith(prefix))
        return [ObjectEntry(name, len(data), modified) for name, data, modified in found]

    def delete(self, name: str) -> None:
        check_object_name(name)
        with self._lock:
            self._objects.pop(name, None)

    def local_path(self, name: str) -> Path | None:
        check_object_name(name)
        return None

    def clock_unix_ms(self) -> int | None:
        return None

    def _data(self, name: str) -> bytes:
        check_object_name(name)
        with self._lock:
            kept = self._objects.get(name)
        if kept is None:
            raise NotFoundError(f"{name}: does not exist")
        return kept[0]


class MemoryWriter:
    """An object that is being written to a file without a name."""

    def __init__(self, store: MemoryStore, name: str) -> None:
        self._store = store
        self._name = name
        self._descriptor = anonymous_file()

    def fileno(self) -> int:
        if self._descriptor < 0:
            raise InvalidArgumentError(f"{self._name}: this writer is finished; start another")
        return self._descriptor

    def commit(self) -> int:
        try:
            data = content_of(self.fileno())
            self._store.create(self._name, data)
        finally:
            self._close()
        return len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def anonymous_file() -> int:
    """Return the descriptor of a regular file without a name, in memory where the system can; the caller closes it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("vark-object", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def content_of(descriptor: int) -> bytes:
    """Return all bytes of an open regular file."""
    pieces, offset = [], 0
    while piece := os.pread(descriptor, 1 << 24, offset):
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces)
