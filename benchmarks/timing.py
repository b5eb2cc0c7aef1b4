"""Timing: steps take turns in rounds, so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

WARM_BYTES = 8 << 20


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


def race(steps: Sequence[Step], rounds: int) -> Times:
    """Time every step once in each round, each round beginning elsewhere; a first round only warms memory and files."""
    times = Times({step.name: [] for step in steps})
    stride = max(1, len(steps) // (rounds + 1))
    for turn in range(rounds + 1):
        first = turn * stride % len(steps)
        for step in [*steps[first:], *steps[:first]]:
            seconds = _time(step)
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


def _time(step: Step) -> float:
    remove(step.target)
    if step.prepare is not None:
        step.prepare()
    os.sync()  # what others left to be written must not be paid by this one
    start = time.perf_counter()
    kept = step.work()
    seconds = time.perf_counter() - start
    del kept
    remove(step.target)
    return seconds
