"""Targets that this layer writes itself: complete under their final name, or not there at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vark.errors import NotFoundError, TargetExistsError, VarkError, error_from_os

PART = "vark-part"


def check_target(target: Path, *, replace: bool) -> None:
    """Refuse early what would fail late. Errors: NotFoundError (no folder), TargetExistsError."""
    if not target.parent.is_dir():
        raise NotFoundError(f"{target}: the folder {target.parent} does not exist; create it first")
    if not replace and os.path.lexists(target):
        raise TargetExistsError(f"{target}: exists already; choose another name or allow replacing it")


@contextmanager
def published(target: Path, *, replace: bool, sync: bool) -> Iterator[Path]:
    """Give the path of a part file beside `target`; it gets the name `target` when the block ends without an error."""
    check_target(target, replace=replace)
    shown = os.fsdecode(os.fsencode(target.name)[:200])  # names are limited in bytes
    part = target.with_name(f".{shown}.{secrets.token_hex(4)}.part")
    try:
        yield part
        if sync:
            sync_path(part)
        _give_name(part, target, replace=replace)
        if sync:
            sync_path(target.parent)
    except OSError as error:
        if hasattr(error, "code"):  # already one of ours
            raise
        raise error_from_os(error, str(target)) from error
    finally:
        part.unlink(missing_ok=True)


def write_published(target: Path, write: Callable[[int], None], *, replace: bool, sync: bool) -> None:
    """Run `write(descriptor)` on a new file that appears as `target` when it is complete."""
    with published(target, replace=replace, sync=sync) as part:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            write(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def resumable_folder(folder: Path, key: str | None, *, sync: bool) -> Iterator[Path]:
    """Give a folder to build `folder` in; it gets the name `folder` when the block ends without an error.

    key: 32 hexadecimal digits. What an interrupted block has left under the same key is there again; whoever builds
    must not believe what is not complete. Kept after errors that may pass. None, or one that another block works on:
    nothing is there, and nothing is kept.
    """
    shown = os.fsdecode(os.fsencode(folder.name)[:100])
    part = folder.with_name(f".{shown}.{key}.{PART}")
    lock = None if key is None else _locked(part)
    if lock is None:
        part = folder.with_name(f".{shown}.{secrets.token_hex(16)}.{PART}")
        part.mkdir(mode=0o700)
    content = part / "content"
    try:
        content.mkdir(exist_ok=True)
        yield content
        if sync:
            sync_path(content)
        check_target(folder, replace=False)
        content.rename(folder)
        shutil.rmtree(part, ignore_errors=True)
    except BaseException as error:
        if lock is None or not may_go_on(error):
            shutil.rmtree(part, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)
    if sync:
        sync_path(folder.parent)


def may_go_on(error: BaseException) -> bool:
    """Return whether the same may come further another time: as the engine decides it."""
    if isinstance(error, VarkError):
        return error.code in ("unavailable", "io", "cancelled", "permission-denied")
    return not isinstance(error, Exception)


def kept_parts(target: Path) -> list[Path]:
    """Return the hidden folders beside a target in which interrupted restores have left something."""
    begin = f".{target.name[:100]}"
    found = []
    with contextlib.suppress(OSError):
        found = [
            entry
            for entry in target.parent.iterdir()
            if entry.name.startswith(begin) and entry.name.endswith(f".{PART}") and entry.is_dir()
        ]
    return sorted(found)


def _locked(part: Path) -> int | None:
    """Return a descriptor that holds the lock of a part folder; None where another has it, or others could write."""
    with contextlib.suppress(FileExistsError):
        part.mkdir(mode=0o700)
    there = part.lstat()
    if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.geteuid() or there.st_mode & 0o077:
        return None
    descriptor = os.open(part / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == (part / "lock").stat().st_ino:
            return descriptor
    except OSError:  # in use, or removed just now by who had it
        pass
    os.close(descriptor)
    return None


def _give_name(part: Path, target: Path, *, replace: bool) -> None:
    if replace:
        part.replace(target)
        return
    try:
        target.hardlink_to(part)  # never replaces, unlike a rename
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        check_target(target, replace=False)  # a file system without links: the best that is left
        part.rename(target)


def sync_path(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(NotImplementedError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
