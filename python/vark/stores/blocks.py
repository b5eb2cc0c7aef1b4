"""Stored bytes of archives in remote stores, kept on this machine block by block (spec/CACHE.md, section 5).

They may be lost or damaged at any time: each block is compared with its digest before it is used, and what does not fit
is taken away and read from the store again. Several processes may share a folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import struct
import threading
import time
from pathlib import Path

from vark.errors import InvalidArgumentError
from vark.units import parse_bytes

BLOCK_BYTES = 64 << 10
BYTES_DEFAULT = 1 << 30
LEFT_SHARE = 0.9  # of the limit, after old blocks were removed
CHECKED_SHARE = 1 / 16  # after so much of the limit was written the folder is looked at again: others write, too
USED_SECONDS = 60.0  # when a block was used is noted so exactly
STALE_SECONDS = 3600.0  # a temporary file of a process that has died
_HEADER = struct.Struct("<8sII16s")
_MAGIC = b"VARKBLCK"
_VERSION = 1
_SUFFIX, _TEMPORARY = ".block", ".block-tmp"


class BlockCache:
    """A folder of blocks. bytes_max: of all its files. Safe to use from several threads and processes."""

    def __init__(self, folder: Path, bytes_max: int = BYTES_DEFAULT) -> None:
        self.folder = folder
        self.bytes_max = bytes_max
        self._lock = threading.Lock()
        self._unchecked_bytes: int | None = None  # written since the folder was looked at

    def get(self, key: str, number: int, byte_count: int) -> bytes | None:
        """Return a block of what `key` names; None where it is not here, or not as it was."""
        path = self._path(key, number)
        try:
            with open(path, "rb") as file:
                data = file.read(_HEADER.size + byte_count + 1)
                modified = os.fstat(file.fileno()).st_mtime
        except OSError:
            return None
        block = data[_HEADER.size :]
        if len(block) != byte_count or data[: _HEADER.size] != _header(key, number, block):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        if time.time() - modified > USED_SECONDS:
            with contextlib.suppress(OSError):
                os.utime(path)
        return block

    def put(self, key: str, number: int, block: bytes | memoryview) -> None:
        """Keep a block, as far as that can be done; nothing is said where it cannot."""
        if self.bytes_max < 2 * (BLOCK_BYTES + _HEADER.size):
            return
        path = self._path(key, number)
        temporary = path.with_name(f".{secrets.token_hex(8)}{_TEMPORARY}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.writev(descriptor, [_header(key, number, block), block])
            finally:
                os.close(descriptor)
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            return
        self._make_room(len(block) + _HEADER.size)

    def _path(self, key: str, number: int) -> Path:
        return self.folder / (hashlib.blake2b(_named(key, number), digest_size=16).hexdigest() + _SUFFIX)

    def _make_room(self, byte_count: int) -> None:
        with self._lock:
            known = self._unchecked_bytes
            self._unchecked_bytes = byte_count if known is None else known + byte_count
            if known is not None and self._unchecked_bytes < self.bytes_max * CHECKED_SHARE:
                return
            self._unchecked_bytes = 0
        with contextlib.suppress(OSError):
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        now = time.time()
        found: list[tuple[float, int, str]] = []
        for entry in os.scandir(self.folder):
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if entry.name.endswith(_TEMPORARY) and now - status.st_mtime > STALE_SECONDS:
                    os.unlink(entry.path)
                elif entry.name.endswith(_SUFFIX):
                    found.append((status.st_mtime, status.st_size, entry.path))
        # A sixteenth is left for what is written until the next look.
        used, limit = sum(size for _, size, _ in found), self.bytes_max * (1 - CHECKED_SHARE)
        if used <= limit:
            return
        for _, size, path in sorted(found):
            if used <= self.bytes_max * LEFT_SHARE * (1 - CHECKED_SHARE):
                return
            with contextlib.suppress(OSError):
                os.unlink(path)
                used -= size


class KeptBlocks:
    """The blocks of one archive. key: names it for ever. byte_count: of the archive."""

    def __init__(self, cache: BlockCache, key: str, byte_count: int) -> None:
        self._cache = cache
        self._key = key
        self._byte_count = byte_count
        self.keeps_ahead = (
            byte_count <= cache.bytes_max // 4
        )  # what is read ahead of a large archive would push out all

    def get(self, number: int) -> bytes | None:
        """Return a block, or None."""
        return self._cache.get(self._key, number, self.end_of(number) - number * BLOCK_BYTES)

    def put(self, start: int, data: memoryview) -> None:
        """Keep the whole blocks of bytes from `start` on."""
        first = -(-start // BLOCK_BYTES)
        number, end = first, start + len(data)
        while number * BLOCK_BYTES < end and self.end_of(number) <= end:
            self._cache.put(self._key, number, data[number * BLOCK_BYTES - start : self.end_of(number) - start])
            number += 1

    def end_of(self, number: int) -> int:
        """Return where a block ends."""
        return min((number + 1) * BLOCK_BYTES, self._byte_count)


def limit_of(given: str | int | bool | None) -> int:
    """Return the bytes that a folder may take: as given, else VARK_CACHE_BYTES, else 1 GiB; 0 for none.

    Errors: InvalidArgumentError.
    """
    if given is False:
        return 0
    if given is not None and given is not True:
        return parse_bytes(given, name="disk_cache")
    asked = os.environ.get("VARK_CACHE_BYTES")
    if not asked:
        return BYTES_DEFAULT
    try:
        return parse_bytes(asked, name="VARK_CACHE_BYTES")
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from error


def _named(key: str, number: int) -> bytes:
    return key.encode() + b"\0" + number.to_bytes(8, "little")


def _header(key: str, number: int, block: bytes | memoryview) -> bytes:
    # With the name: a block in the place of another is no block.
    digest = hashlib.blake2b(_named(key, number), digest_size=16)
    digest.update(block)
    return _HEADER.pack(_MAGIC, _VERSION, len(block), digest.digest())
