"""A tool that backs up and restores, and the check that it gives back what it was given."""

from __future__ import annotations

import filecmp
import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vark
from sources import KINDS, Source


class DiffersError(Exception):
    """What comes back is not what went in; whoever differs is not timed."""


@dataclass(frozen=True)
class Tool:
    """backup(source, archive), restore(source, archive, target); an archive, and a target, may be a folder.

    kinds: the sources it takes. loads: restore returns a live object and writes no file. prepare(archive): makes what
    backup writes into. verify_level: of `vark.verify_archive`. needs: what must be installed, "" when all is there.
    """

    name: str
    backup: Callable[[Source, Path], Any]
    restore: Callable[[Source, Path, Path], Any]
    kinds: tuple[str, ...] = KINDS
    loads: bool = False
    prepare: Callable[[Path], Any] | None = None
    verify_level: str | None = None
    needs: str = ""


def missing_package(module: str, package: str) -> str:
    """Return "" when the module is there, else how to get it."""
    return "" if importlib.util.find_spec(module) else f"pip install {package}"


def missing_command(command: str, package: str) -> str:
    """Return "" when the command is there, else how to get it."""
    return "" if shutil.which(command) else f"apt-get install {package}"


def check(tool: Tool, source: Source, archive: Path, target: Path) -> None:
    """Back up, restore and compare, before anything is timed. Errors: DiffersError."""
    if tool.prepare is not None:
        tool.prepare(archive)
    tool.backup(source, archive)
    if tool.verify_level is not None and not vark.verify_archive(archive, level="full"):
        raise DiffersError(f"{tool.name}, {source.name}: the archive does not verify")
    restored = tool.restore(source, archive, target)
    if tool.loads:
        same = same_answers(source, restored)
    else:
        files = [path for path in target.rglob("*") if path.is_file()] if target.is_dir() else [target]
        same = len(files) == 1 and filecmp.cmp(source.path, files[0], shallow=False)
    if not same:
        raise DiffersError(f"{tool.name}, {source.name}: what comes back differs")


def same_answers(source: Source, restored: Any) -> bool:
    """Return whether a live object answers as the source does, bit for bit."""
    pairs = zip(source.answers(source.live), source.answers(restored), strict=True)
    return all(before.dtype == after.dtype and np.array_equal(before, after) for before, after in pairs)
