"""A store in a folder: objects are files, complete and durable under their final name or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from vark.errors import (
    DamagedError,
    InvalidArgumentError,
    NotFoundError,
    ObjectExistsError,
    StorageError,
    error_from_os,
)
from vark.stores.base import (
    COMPONENTS_MAX,
    Buffer,
    ObjectEntry,
    check_object_name,
    check_prefix,
    check_range,
    object_name_fault,
)
from vark.stores.files import REAL_FILES, FileStatus, FileSystem, NewFile

TEMPORARY_SUFFIX = ".vark-tmp"
TEMPORARY_AGE_SECONDS = 24 * 60 * 60
# What file systems without hard links answer to `link`.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class LocalStore:
    """Objects are files below `root`, which is made when the first object is written.

    After a failed sync nobody can say what is on the disk, and the next sync may report success over lost data: from
    then on this store refuses to write. Folders are made when needed and never removed.
    """

    def __init__(self, root: str | os.PathLike[str], *, files: FileSystem = REAL_FILES) -> None:
        self.root = os.path.abspath(os.fspath(root))
        self.files = files
        self._durable_folders: set[str] = set()
        self._fault: str | None = None
        self._lock = threading.Lock()

    def create(self, name: str, data: bytes) -> None:
        with self.writer(name) as writer:
            writer.write(data)
            writer.commit()

    def writer(self, name: str) -> LocalWriter:
        path = self._path(name)
        self._check_sound(path)
        with _told(path):
            self._make_durable_folder(os.path.dirname(path))
            return LocalWriter(self, path)

    def replace(self, name: str, data: Buffer) -> None:
        with self.writer(name) as writer:
            writer.write(data)
            writer.commit_over()

    def read(self, name: str, *, offset: int = 0, byte_count: int | None = None) -> bytes:
        check_range(name, offset=offset, byte_count=byte_count)
        path = self._path(name)
        with _told(path):
            found = self._object_status(path).byte_count
            wanted = found - offset if byte_count is None else byte_count
            if offset + wanted > found or wanted < 0:
                raise DamagedError(
                    f"{path}: {found} bytes, expected at least {offset + max(wanted, 0)}; it is cut short"
                )
            data = self.files.read(path, offset, wanted)
        if len(data) != wanted:
            raise StorageError(f"{path}: {len(data)} bytes read at {offset}, expected {wanted}; it changed meanwhile")
        return data

    def byte_count(self, name: str) -> int:
        path = self._path(name)
        with _told(path):
            return self._object_status(path).byte_count

    def list(self, prefix: str) -> list[ObjectEntry]:
        prefix = check_prefix(prefix)
        found = []
        for name, status in self._walk(prefix):
            # What the rule does not allow is somebody else's: it could not be read by its name anyway.
            if object_name_fault(name) is None:
                found.append(ObjectEntry(name, status.byte_count, status.modified_unix_ms))
        return sorted(found, key=lambda entry: entry.name)

    def delete(self, name: str) -> None:
        path = self._path(name)
        self._check_sound(path)
        with _told(path):
            with contextlib.suppress(FileNotFoundError):
                self.files.unlink(path)
            # Also where it was gone: whoever deleted it may have died before its own sync.
            with contextlib.suppress(FileNotFoundError):
                self._sync_folder(os.path.dirname(path))

    def local_path(self, name: str) -> Path | None:
        return self.files.local_path(self._path(name))

    def clock_unix_ms(self) -> int | None:
        return None

    def sweep_temporary(self, *, age_seconds: int = TEMPORARY_AGE_SECONDS, now_unix_ms: int | None = None) -> int:
        """Remove temporary files of runs that died, untouched for `age_seconds`; return how many.

        A run that is alive after all cannot commit the object, and says so.
        """
        now = time.time_ns() // 1_000_000 if now_unix_ms is None else now_unix_ms
        removed = 0
        for name, status in self._walk("", temporary=True):
            if status.modified_unix_ms <= now - age_seconds * 1000:
                path = f"{self.root}/{name}"
                with _told(path), contextlib.suppress(FileNotFoundError):
                    self.files.unlink(path)
                    removed += 1
        return removed

    def _path(self, name: str) -> str:
        return f"{self.root}/{check_object_name(name)}"

    def _object_status(self, path: str) -> FileStatus:
        try:
            status = self.files.status(path)
        except NotADirectoryError:
            raise NotFoundError(f"{path}: does not exist") from None
        if status.is_folder:
            raise NotFoundError(f"{path}: is a folder, not an object")
        return status

    def _walk(self, prefix: str, *, temporary: bool = False) -> Iterator[tuple[str, FileStatus]]:
        """Yield the files below a prefix: the shown ones, or the temporary ones."""
        folder = f"{self.root}/{prefix}".rstrip("/")
        with _told(folder):
            try:
                entries = self.files.list_folder(folder)
            except FileNotFoundError:
                return
        for entry in entries:
            if entry.is_folder:
                # Bounded, for a link may lead back up.
                if not entry.name.startswith(".") and prefix.count("/") < COMPONENTS_MAX - 1:
                    yield from self._walk(f"{prefix}{entry.name}/", temporary=temporary)
            elif temporary == _is_temporary(entry.name):
                yield prefix + entry.name, entry

    def _make_durable_folder(self, folder: str) -> None:
        """Make a folder and those above it, and make sure that all of them survive a power cut.

        One that exists is synced as well, once in the life of the store: whoever made it may have died before that.
        """
        if folder in self._durable_folders:
            return
        parent = os.path.dirname(folder)
        inside = folder.startswith(f"{self.root}/")
        existed = self._is_folder(folder)
        if inside or not existed:
            self._make_durable_folder(parent)
        if not existed:
            with contextlib.suppress(FileExistsError):
                self.files.make_folder(folder)
        try:
            self._sync_folder(parent)
        except PermissionError:
            # Above the root somebody else may rule; what stood there before this run is theirs.
            if inside or not existed:
                raise
        self._durable_folders.add(folder)

    def _is_folder(self, path: str) -> bool:
        try:
            return self.files.status(path).is_folder
        except FileNotFoundError:
            return False

    def _publish(self, temporary: str, path: str) -> None:
        landed = True
        try:
            self.files.link(temporary, path)
        except FileExistsError:
            # A network file system repeats a call whose reply was lost, and then meets its own link.
            landed = self.files.same_file(temporary, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            landed = self._publish_by_rename(temporary, path)
        with contextlib.suppress(OSError):
            self.files.unlink(temporary)  # only untidy where it stays; swept later
        # Also where the name was taken: whoever took it may have died before its own sync, and the caller is going to
        # rely on the object that it was told of.
        self._sync_folder(os.path.dirname(path))
        if not landed:
            raise ObjectExistsError(f"{path}: exists already; objects are never replaced")

    def _publish_over(self, temporary: str, path: str) -> None:
        self.files.replace(temporary, path)
        self._sync_folder(os.path.dirname(path))

    def _publish_by_rename(self, temporary: str, path: str) -> bool:
        try:
            self.files.rename_exclusive(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in _NO_LINKS or error.errno == errno.EINVAL:
                raise StorageError(
                    f"{path}: this file system has neither hard links nor renaming without replacing; "
                    "keep the repository on another"
                ) from error
            raise
        return True

    def _sync_file(self, file: NewFile, path: str) -> None:
        try:
            file.sync()
        except OSError as error:
            self._poison(path, error)
            raise

    def _sync_folder(self, folder: str) -> None:
        try:
            self.files.sync_folder(folder)
        except (FileNotFoundError, PermissionError):
            raise  # it could not be opened: no sync was tried, so none failed
        except OSError as error:
            self._poison(folder, error)
            raise

    def _poison(self, place: str, error: OSError) -> None:
        with self._lock:
            self._fault = self._fault or f"{place}: {error.strerror or error}"

    def _check_sound(self, path: str) -> None:
        if self._fault is not None:
            raise StorageError(
                f"{path}: not written, for a sync failed before ({self._fault}); check the disk and start a new run"
            )


class LocalWriter:
    """An object that is being written to a temporary file beside its final name."""

    def __init__(self, store: LocalStore, path: str) -> None:
        folder, name = os.path.split(path)
        self._store = store
        self._path = path
        self._temporary = f"{folder}/.{name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
        self._file: NewFile | None = store.files.create(self._temporary)

    def fileno(self) -> int:
        return self._open_file().fileno()

    def write(self, data: Buffer) -> None:
        """Append bytes. Errors: NoSpaceError, StorageError."""
        file, left = self._open_file(), memoryview(data)
        with _told(self._path):
            while left:
                taken = file.write(left)
                if taken <= 0:
                    raise OSError(errno.EIO, "the file takes no more bytes")
                left = left[taken:]

    def commit(self) -> int:
        return self._commit(self._store._publish)  # noqa: SLF001 - one subject in two classes

    def commit_over(self) -> int:
        """As `commit`, in the place of an object that has the name: either the old or the new one is there."""
        return self._commit(self._store._publish_over)  # noqa: SLF001

    def _commit(self, publish: Callable[[str, str], None]) -> int:
        file = self._open_file()
        try:
            self._store._check_sound(self._path)  # noqa: SLF001
            with _told(self._path):
                byte_count = file.byte_count()
                self._store._sync_file(file, self._path)  # noqa: SLF001
                file.close()
                publish(self._temporary, self._path)
        finally:
            self._discard()
        return byte_count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def _open_file(self) -> NewFile:
        if self._file is None:
            raise InvalidArgumentError(f"{self._path}: this writer is finished; start another")
        return self._file

    def _discard(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            for step in (file.close, lambda: self._store.files.unlink(self._temporary)):
                with contextlib.suppress(OSError):
                    step()


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Turn failures of the operating system into errors of vark."""
    try:
        yield
    except OSError as error:
        if hasattr(error, "code"):  # already one of ours
            raise
        raise error_from_os(error, place) from error
