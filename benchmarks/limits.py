"""The bare limits of the machine and of libraries that explain a figure: what is left when nothing is coded."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

WRITE_BYTES = 8 << 20
PIECE_BYTES = 512 << 10
THREADS = 2


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


def uncoded(source: Path, target: Path, write_bytes: int) -> None:
    """Read a file, hash as many bytes as the longer side has, write `write_bytes`, by two threads; code nothing."""
    read_bytes = source.stat().st_size
    count = -(-max(read_bytes, write_bytes) // PIECE_BYTES)
    read_piece, write_piece = -(-read_bytes // count), -(-write_bytes // count)
    reading = os.open(source, os.O_RDONLY)
    writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def run(thread: int) -> None:
        piece = memoryview(bytearray(PIECE_BYTES))
        for number in range(thread, count, THREADS):
            os.preadv(reading, [piece[:read_piece]], number * read_piece)
            blake3(piece, max_threads=1).digest()
            os.pwrite(writing, piece[:write_piece], number * write_piece)

    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(writing, 0, write_bytes)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(run, range(THREADS)))
    finally:
        os.close(reading)
        os.close(writing)


def cleared_by_faiss(byte_count: int) -> object:
    """Take so much memory as a vector of faiss, which it clears: an index that may grow owns its memory so."""
    import faiss

    vector = faiss.UInt8Vector()
    vector.resize(byte_count)
    return vector


def unpickling(live: Any) -> Callable[[], object]:
    """Return what makes an hnswlib index of a state in memory: its own copy of it, and nothing decoded."""
    state = live.__getstate__()

    def run() -> object:
        index = type(live).__new__(type(live))
        index.__setstate__(state)
        return index

    return run
