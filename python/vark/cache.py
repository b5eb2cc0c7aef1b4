"""The local cache: where what deltas are compared with is kept on this machine (spec/CACHE.md)."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

from vark.errors import InvalidArgumentError, error_from_os
from vark.keys import Signer
from vark.stores.blocks import BlockCache
from vark.stores.remote import RemoteStore

BYTES_MAX = 4 << 30
SHADOW_BYTES_MAX = 16 << 30
UNUSED_SECONDS_MAX = 90 * 86_400.0  # after that a repository's folder goes when another one's is used
_REPOSITORY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of decoded links, which may be lost at any time. bytes_max: of all their files.

    key, repository: 32 and 16 bytes; with a key all that is written is encrypted, and only then is what an encrypted
    archive holds. shadow_bytes_max: of what a write-only client keeps there of one archive.
    """

    folder: Path
    bytes_max: int = BYTES_MAX
    key: bytes | None = field(default=None, repr=False)
    repository: bytes = bytes(16)
    shadow_bytes_max: int = SHADOW_BYTES_MAX

    def argument(self) -> tuple[str, int, tuple[bytes, bytes] | None, int]:
        """Return what the engine takes."""
        key = None if self.key is None else (self.key, self.repository)
        return str(self.folder), self.bytes_max, key, self.shadow_bytes_max


def as_cache(given: str | PathLike[str] | Cache) -> Cache:
    """Return the cache in a folder. Errors: InvalidArgumentError."""
    if isinstance(given, Cache):
        return given
    if isinstance(given, (str, PathLike)) and os.fspath(given):
        return Cache(Path(os.fspath(given)))
    raise InvalidArgumentError(f"cache: {given!r}; expected a folder, or None for no cache")


def cache_of_repository(repository: str, given: bool | str | PathLike[str] | None = None) -> Cache | None:
    """Return the cache of a repository by its id, or None where there is to be none, or none can be had.

    given: a folder (caches of several repositories have a folder each in it); False for none; None or True for that of
    VARK_CACHE (empty for none), else XDG_CACHE_HOME/vark, else ~/.cache/vark. A folder that was asked for must be one
    that can be made. Errors: InvalidArgumentError, those of making the folder.
    """
    if given is False or not _REPOSITORY.fullmatch(repository):
        return None
    asked = os.environ.get("VARK_CACHE") if given is None or given is True else os.fspath(given)
    if asked == "":
        if given is None or given is True:
            return None
        raise InvalidArgumentError("cache: an empty name; expected a folder, or False for no cache")
    try:
        root = Path(asked) if asked is not None else _home()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = root / repository
        folder.mkdir(mode=0o700, exist_ok=True)
        os.utime(folder)
    except (OSError, RuntimeError) as error:
        if asked is None:
            return None
        raise error_from_os(error, f"cache {asked}") if isinstance(error, OSError) else error from error
    _drop_unused(root)
    return Cache(folder)


def cache_of_signer(cache: Cache, signer: Signer) -> Cache | None:
    """Return the part of a repository's cache that is a write-only signer's own; None where it cannot be had."""
    folder = _folder_in(cache, f"writer-{bytes(signer.key).hex()[:32]}")
    return None if folder is None else replace(cache, folder=folder)


def blocks_of(repository: str, store: RemoteStore) -> BlockCache | None:
    """Return where blocks of a repository in a remote store are kept on this machine; None where none are to be.

    repository: its id, or a digest of the address of archives that are in none. In the folder of `cache_of_repository`.
    """
    found = cache_of_repository(repository) if store.disk_bytes else None
    folder = None if found is None else _folder_in(found, "blocks")
    return None if folder is None else BlockCache(folder, store.disk_bytes)


def _folder_in(cache: Cache, name: str) -> Path | None:
    folder = cache.folder / name
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return None
    return folder


def drop_cache(repository: str) -> None:
    """Remove the cache of a repository that the environment says, as far as that can be done: for what was erased."""
    asked = os.environ.get("VARK_CACHE")
    if asked != "" and _REPOSITORY.fullmatch(repository):
        with contextlib.suppress(OSError, RuntimeError):
            shutil.rmtree((_home() if asked is None else Path(asked)) / repository)


def _home() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "vark"


def _drop_unused(root: Path) -> None:
    """Remove folders of repositories that nobody has backed up to for long."""
    limit = time.time() - UNUSED_SECONDS_MAX
    with contextlib.suppress(OSError):
        for entry in os.scandir(root):
            if _REPOSITORY.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < limit:
                        shutil.rmtree(entry.path)
