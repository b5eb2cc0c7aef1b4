"""The primitive operations of a file system that a local store needs, so that tests can put another in its place."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
# What network file systems answer where a folder cannot be synced: there the server keeps the order.
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What is under a path. byte_count: 0 for a folder."""

    name: str
    is_folder: bool
    byte_count: int
    modified_unix_ms: int


class NewFile(Protocol):
    """A file that was just created, open for writing."""

    def fileno(self) -> int: ...

    def write(self, data: memoryview) -> int:
        """Append; return how many bytes were taken, which may be fewer."""
        ...

    def byte_count(self) -> int: ...

    def sync(self) -> None:
        """Make content and size durable; the name is the folder's affair."""
        ...

    def close(self) -> None: ...


class FileSystem(Protocol):
    """Operations on absolute paths; each is one call of the operating system, and fails with its OSError."""

    def create(self, path: str) -> NewFile:
        """Create a file that must not exist."""
        ...

    def link(self, source: str, target: str) -> None:
        """Give a file a second name; FileExistsError where the name is taken."""
        ...

    def rename_exclusive(self, source: str, target: str) -> None:
        """Rename without replacing; ENOTSUP where the system cannot."""
        ...

    def replace(self, source: str, target: str) -> None:
        """Rename in the place of what has the name, at once."""
        ...

    def same_file(self, first: str, second: str) -> bool: ...

    def unlink(self, path: str) -> None: ...

    def make_folder(self, path: str) -> None: ...

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable; quiet where the file system has no such call."""
        ...

    def list_folder(self, path: str) -> list[FileStatus]:
        """Return files and folders, links followed, anything else left out."""
        ...

    def status(self, path: str) -> FileStatus: ...

    def read(self, path: str, offset: int, byte_count: int | None) -> bytes:
        """Return the bytes of a range as far as the file has them."""
        ...

    def local_path(self, path: str) -> Path | None: ...


class RealFileSystem:
    """The machine's own file system."""

    def create(self, path: str) -> NewFile:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        return _RealFile(os.open(path, flags, 0o666))

    def link(self, source: str, target: str) -> None:
        os.link(source, target)

    def rename_exclusive(self, source: str, target: str) -> None:
        call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if call is None:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), target)
        if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), target)

    def replace(self, source: str, target: str) -> None:
        os.replace(source, target)

    def same_file(self, first: str, second: str) -> bool:
        return os.path.samestat(os.lstat(first), os.lstat(second))

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def make_folder(self, path: str) -> None:
        os.mkdir(path)

    def sync_folder(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            sync_descriptor(descriptor)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise
        finally:
            os.close(descriptor)

    def list_folder(self, path: str) -> list[FileStatus]:
        entries = []
        with os.scandir(path) as scan:
            for entry in scan:
                with contextlib.suppress(FileNotFoundError):  # deleted since
                    found = entry.stat()
                    if stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode):
                        entries.append(_status(entry.name, found))
        return entries

    def status(self, path: str) -> FileStatus:
        return _status(os.path.basename(path), os.stat(path))

    def read(self, path: str, offset: int, byte_count: int | None) -> bytes:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            # Never more memory than the file has bytes, whatever was asked for.
            left = max(os.fstat(descriptor).st_size - offset, 0)
            left = left if byte_count is None else min(left, byte_count)
            pieces = []
            while left > 0:
                piece = os.pread(descriptor, left, offset)
                if not piece:
                    break
                pieces.append(piece)
                left -= len(piece)
                offset += len(piece)
            return b"".join(pieces)
        finally:
            os.close(descriptor)

    def local_path(self, path: str) -> Path | None:
        return Path(path)


class _RealFile:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: memoryview) -> int:
        return os.write(self._descriptor, data)

    def byte_count(self) -> int:
        return os.fstat(self._descriptor).st_size

    def sync(self) -> None:
        sync_descriptor(self._descriptor)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def sync_descriptor(descriptor: int) -> None:
    """Make a file or folder durable, past the cache of the disk."""
    if sys.platform == "darwin":
        import fcntl

        # There fsync stops at the disk's own cache.
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def _status(name: str, found: os.stat_result) -> FileStatus:
    is_folder = stat.S_ISDIR(found.st_mode)
    return FileStatus(name, is_folder, 0 if is_folder else found.st_size, found.st_mtime_ns // 1_000_000)


REAL_FILES = RealFileSystem()
