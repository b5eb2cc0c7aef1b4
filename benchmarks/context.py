"""What the cases share: sources over the same rows, copies to run beside, archives that were checked."""

from __future__ import annotations

import filecmp
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import engine
import timing
import vark
from rivals import BASES, cp, cp_sync
from rows import Rows
from sources import Source, source_of
from tool import DiffersError


@dataclass
class Bench:
    """rows: of the graphs; folder: for what cases write; kept: for sources; data: one's own rows instead of MiniLM."""

    rows: Rows
    folder: Path
    kept: Path
    rounds: int
    data: Path | None = None

    @cached_property
    def faiss(self) -> Source:
        """The graph of faiss."""
        return source_of("faiss", self.rows, self.kept)

    @cached_property
    def hnswlib(self) -> Source:
        """The graph of hnswlib over the same rows."""
        return source_of("hnswlib", self.rows, self.kept)

    @cached_property
    def npy(self) -> Source:
        """The same rows and nothing else."""
        return source_of("npy", self.rows, self.kept)


def copies(source: Source, folder: Path) -> list[timing.Step]:
    """Return cp, and cp with sync, of the source's file: each race is run beside them."""

    def step(name: str, copy: Any) -> timing.Step:
        target = folder / f"{copy.__name__}.copy"
        return timing.Step(name, lambda: copy(source.path, target), target)

    return [step(name, copy) for name, copy in zip(BASES, (cp, cp_sync), strict=True)]


def checked_archive(source: Source, archive: Path, **options: Any) -> vark.WriteReport:
    """Pack the source's file, verify and restore it, and return the report. Errors: DiffersError."""
    report = vark.write_archive(source.path, archive, sync=False, replace=True, **options)
    if report.partial or not vark.verify_archive(archive, level="full"):
        raise DiffersError(f"{source.name}: the archive does not verify")
    restored = archive.with_suffix(".restored")
    engine.restore(archive, restored, sync=False)
    same = filecmp.cmp(source.path, restored, shallow=False)
    restored.unlink()
    if not same:
        raise DiffersError(f"{source.name}: what comes back differs")
    return report


def stream_of(report: vark.WriteReport, name: str) -> vark.StreamInfo:
    """Return a stream of a report by its name."""
    return next(info for info in report.streams if info.name == name)
