"""The bare limits of the machine that explain a figure: writing, copying memory, BLAKE3."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

WRITE_BYTES = 8 << 20


@cache
def _warm(byte_count: int, name: str) -> Any:
    """Return memory that was touched, of odd content; one for each name."""
    return np.random.default_rng(len(name)).integers(0, 256, byte_count, dtype=np.uint8)


def bare_write(target: Path, byte_count: int, *, sync: bool) -> None:
    """Write that many bytes from warm memory to a preallocated file, at positions, by one thread."""
    block = memoryview(_warm(WRITE_BYTES, "write"))
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        if hasattr(os, "posix_fallocate") and byte_count:
            os.posix_fallocate(descriptor, 0, byte_count)
        position = 0
        while position < byte_count:
            position += os.pwrite(descriptor, block[: byte_count - position], position)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_memory(byte_count: int) -> None:
    """Copy warm memory to warm memory, by one thread."""
    np.copyto(_warm(byte_count, "target of a copy"), _warm(byte_count, "source"))


def hash_memory(byte_count: int) -> None:
    """Hash warm memory with BLAKE3, by one thread."""
    blake3(_warm(byte_count, "source").data, max_threads=1).digest()
