"""Who is measured: vark, copying, zstd, and the libraries' own I/O; each round trip is checked before it is timed."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from sources import Source

import vark

CORES = os.cpu_count() or 1
ZSTD_COMMAND = shutil.which("zstd")  # without it, the same library through the package zstandard


@dataclass(frozen=True)
class Tool:
    """backup(source, archive), restore(source, archive, target).

    loads: restore returns a live index, and writes no file. verify_level: of `vark.verify_archive`, None for others.
    """

    name: str
    backup: Callable[[Source, Path], Any]
    restore: Callable[[Source, Path, Path], Any]
    loads: bool = False
    verify_level: str | None = None

    def verify(self, archive: Path) -> vark.VerifyReport:
        """Verify an archive of this tool."""
        return vark.verify_archive(archive, level=self.verify_level or "full")


def tools() -> list[Tool]:
    """Return all tools; the first one is what the others are compared with."""
    return [
        Tool("cp", lambda s, a: _cp(s.path, a), lambda _, a, t: _cp(a, t)),
        Tool("cp, sync", lambda s, a: _cp_sync(s.path, a), lambda _, a, t: _cp_sync(a, t)),
        Tool(f"zstd -1 -T{CORES}", lambda s, a: _zstd(s.path, a), lambda _, a, t: _unzstd(a, t)),
        Tool("own I/O", lambda s, a: s.write(s.index, a), lambda s, a, _: s.read(a), loads=True),
        Tool(
            "vark, live",
            lambda s, a: vark.write_archive(s.index, a, sync=False),
            lambda _s, a, _t: _load(a),
            loads=True,
        ),
        Tool(
            "vark",
            lambda s, a: vark.write_archive(s.path, a, sync=False),
            lambda _, a, t: _restore(a, t, sync=False),
            verify_level="full",
        ),
        Tool(
            "vark, sync",
            lambda s, a: vark.write_archive(s.path, a, sync=True),
            lambda _, a, t: _restore(a, t, sync=True),
            verify_level="stored",
        ),
    ]


def check(tool: Tool, source: Source, archive: Path, target: Path) -> None:
    """Back up, restore and compare, before anything is timed. Errors: SystemExit when the round trip is not exact."""
    tool.backup(source, archive)
    if tool.verify_level is not None and not tool.verify(archive):
        raise SystemExit(f"{tool.name}, {source.name}: the archive does not verify; nothing was measured")
    restored = tool.restore(source, archive, target)
    if tool.loads:
        pairs = zip(source.answers(source.index), source.answers(restored), strict=True)
        same = all(np.array_equal(before, after) for before, after in pairs)
    else:
        same = filecmp.cmp(source.path, target, shallow=False)
    if not same:
        raise SystemExit(f"{tool.name}, {source.name}: what comes back differs; nothing was measured")


def _cp(source: Path, target: Path) -> None:
    # The command, as people use it; never a reflink, which copies nothing.
    if shutil.which("cp") and os.name == "posix":
        never = ["--reflink=never"] if os.uname().sysname == "Linux" else []
        subprocess.run(["cp", *never, str(source), str(target)], check=True)
    else:
        shutil.copyfile(source, target)


def _cp_sync(source: Path, target: Path) -> None:
    _cp(source, target)
    for path in (target, target.parent):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _zstd(source: Path, target: Path) -> None:
    if ZSTD_COMMAND:
        subprocess.run([ZSTD_COMMAND, "-q", "-1", f"-T{CORES}", "-f", str(source), "-o", str(target)], check=True)
        return
    coder = zstandard.ZstdCompressor(level=1, threads=CORES)
    with open(source, "rb") as reader, open(target, "wb") as writer:
        coder.copy_stream(reader, writer, size=source.stat().st_size, read_size=1 << 20, write_size=1 << 20)


def _unzstd(source: Path, target: Path) -> None:
    if ZSTD_COMMAND:
        subprocess.run([ZSTD_COMMAND, "-q", "-d", "-f", str(source), "-o", str(target)], check=True)
        return
    with open(source, "rb") as reader, open(target, "wb") as writer:
        zstandard.ZstdDecompressor().copy_stream(reader, writer, read_size=1 << 20, write_size=1 << 20)


def _restore(archive: Path, target: Path, *, sync: bool) -> None:
    with vark.open_archive(archive) as opened:
        opened.restore(target, sync=sync)


def _load(archive: Path) -> Any:
    with vark.open_archive(archive) as opened:
        return opened.load()
