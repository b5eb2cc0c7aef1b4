"""Targets that this layer writes itself: complete under their final name, or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vark.errors import NotFoundError, TargetExistsError, error_from_os


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
