"""Who is measured: copying, zstd, the libraries' own I/O, vark; formats for arrays and backup programs beside them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard

import engine
import vark
from array_formats import array_formats
from backup_programs import backup_programs
from sources import Source
from tool import Tool

CORES = os.cpu_count() or 1
BASES = ("cp", "cp, sync")


def tools() -> list[Tool]:
    """Return all tools, those that are not installed too; BASES are first."""
    return [*_copies(), _zstd_tool(1), _zstd_tool(3), *_own(), *_vark(), *array_formats(), *backup_programs()]


def cp(source: Path, target: Path) -> None:
    """Copy with the command, as people do; never by reflink, which copies nothing."""
    if shutil.which("cp") and os.name == "posix":
        never = ["--reflink=never"] if os.uname().sysname == "Linux" else []
        subprocess.run(["cp", *never, str(source), str(target)], check=True)
    else:
        shutil.copyfile(source, target)


def cp_sync(source: Path, target: Path) -> None:
    """Copy, then `sync FILE`."""
    cp(source, target)
    if shutil.which("sync"):
        subprocess.run(["sync", str(target)], check=True)
        return
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _copies() -> list[Tool]:
    copies = zip(BASES, (cp, cp_sync), strict=True)
    return [
        Tool(name, lambda s, a, copy=copy: copy(s.path, a), lambda _, a, t, copy=copy: copy(a, t))
        for name, copy in copies
    ]


def _zstd_tool(level: int) -> Tool:
    command = shutil.which("zstd")
    name = f"zstd -{level} -T0" + ("" if command else " (package)")

    def backup(source: Source, archive: Path) -> None:
        if command:
            subprocess.run([command, "-q", f"-{level}", "-T0", "-f", str(source.path), "-o", str(archive)], check=True)
            return
        coder = zstandard.ZstdCompressor(level=level, threads=CORES)
        with open(source.path, "rb") as reader, open(archive, "wb") as writer:
            coder.copy_stream(reader, writer, size=source.byte_count, read_size=1 << 20, write_size=1 << 20)

    def restore(_: Source, archive: Path, target: Path) -> None:
        if command:
            subprocess.run([command, "-q", "-d", "-f", str(archive), "-o", str(target)], check=True)
            return
        with open(archive, "rb") as reader, open(target, "wb") as writer:
            zstandard.ZstdDecompressor().copy_stream(reader, writer, read_size=1 << 20, write_size=1 << 20)

    return Tool(name, backup, restore)


def _own() -> list[Tool]:
    names = {"faiss": "write_index, read_index", "hnswlib": "save_index, load_index", "npy": "np.save, np.load"}
    return [
        Tool(name, lambda s, a: s.write(s.live, a), lambda s, a, _: s.read(a), kinds=(kind,), loads=True)
        for kind, name in names.items()
    ]


def _vark() -> list[Tool]:
    def writer(*, live: bool, sync: bool) -> Callable[[Source, Path], Any]:
        return lambda s, a: vark.write_archive(s.live if live else s.path, a, sync=sync)

    def restorer(*, sync: bool) -> Callable[[Source, Path, Path], Any]:
        return lambda _, a, t: engine.restore(a, t, sync=sync)

    return [
        Tool("vark, live", writer(live=True, sync=False), lambda _, a, _t: engine.load(a), loads=True),
        Tool("vark", writer(live=False, sync=False), restorer(sync=False), verify_level="full"),
        Tool("vark, sync", writer(live=False, sync=True), restorer(sync=True), verify_level="stored"),
    ]
