"""Timing: steps take turns in rounds, so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

SEED = 11
WARM_BYTES = 8 << 20
FREE_BYTES = 384 << 20  # about what a step of the largest sources here takes of each kind
PAGE_BYTES = 4096


class Spread(NamedTuple):
    """The median of the rounds, the least and the most."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to time. target is removed before and after; prepare is not timed, nor is freeing what work returns."""

    name: str
    work: Callable[[], object]
    target: Path | None = None
    prepare: Callable[[], object] | None = None


class Times(dict[str, list[float]]):
    """Name of a step -> its seconds, one for each round."""

    def rate(self, name: str, byte_count: int) -> Spread:
        """Return GB/s of a step that goes through byte_count bytes."""
        return spread([byte_count / seconds / 1e9 for seconds in self[name]])

    def ratio(self, name: str, base: str) -> Spread:
        """Return the time of a step as a multiple of another's in the same round."""
        return spread([own / other for own, other in zip(self[name], self[base], strict=True)])


def spread(values: Sequence[float]) -> Spread:
    """Return median, least and most."""
    return Spread(statistics.median(values), min(values), max(values))


def race(steps: Sequence[Step], rounds: int, *, free_bytes: int | None = None) -> Times:
    """Time every step once in each round, each round in another order; a first round only warms memory and files.

    A step finds what the one before it left: with one order for all rounds it would always be the same. free_bytes: as
    much memory is warmed before each step, where that is less than FREE_BYTES.
    """
    times = Times({step.name: [] for step in steps})
    dice = random.Random(SEED)
    for turn in range(rounds + 1):
        for step in dice.sample(steps, len(steps)):
            seconds = _time(step, min(FREE_BYTES, FREE_BYTES if free_bytes is None else free_bytes))
            if turn:
                times[step.name].append(seconds)
    return times


def remove(path: Path | None) -> None:
    """Remove a file or a folder, if there is one."""
    if path is None:
        return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def warm(path: Path) -> None:
    """Read a file, or all files of a folder, into the page cache."""
    buffer = bytearray(WARM_BYTES)
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with open(file, "rb", buffering=0) as stream:
                while stream.readinto(buffer):
                    pass


def warm_free_memory(folder: Path, byte_count: int) -> None:
    """Use and free memory as files do and as large arrays do.

    A virtual machine gives memory that was free for some seconds back to its host (free page reporting). Who takes it
    next pays for the host's page faults, up to ten times what it costs otherwise, and which step that is, is chance.
    """
    with mmap.mmap(-1, max(byte_count, PAGE_BYTES)) as memory:
        if hasattr(memory, "madvise") and hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        pages = np.frombuffer(memory, np.uint8)
        pages[::PAGE_BYTES] = 1
        del pages
    with tempfile.TemporaryFile(dir=folder) as file:
        block = bytes(WARM_BYTES)
        for _ in range(byte_count // WARM_BYTES):
            file.write(block)


def _time(step: Step, free_bytes: int) -> float:
    remove(step.target)
    if step.prepare is not None:
        step.prepare()
    os.sync()  # what others left to be written must not be paid by this one
    warm_free_memory(step.target.parent if step.target is not None else Path(), free_bytes)
    start = time.perf_counter()
    kept = step.work()
    seconds = time.perf_counter() - start
    del kept
    remove(step.target)
    return seconds
