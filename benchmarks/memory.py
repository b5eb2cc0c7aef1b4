"""Case 9: memory at its peak, each step in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import engine
import timing
from context import Bench, checked_archive
from figures import Figure, Goal, plain

MIB = 1 << 20
LIMIT_MIB = 300
CASE = "9 memory above the interpreter"


def peaks(bench: Bench) -> Iterator[Figure]:
    """Measure pack, unpack and verify against a limit, and load against the bytes of the index."""
    source, archive, target = bench.faiss, bench.folder / "peak.vark", bench.folder / "peak.out"
    checked_archive(source, archive)
    steps = {"pack": (source.path, target), "unpack": (archive, target), "verify": (archive, Path("-"))}
    for name, (start, end) in steps.items():
        timing.remove(target)
        taken = taken_bytes(name, start, end)
        yield plain(CASE, f"{name} HNSWFlat", taken / MIB, Goal(LIMIT_MIB), unit="MiB")
    timing.remove(target)
    loads = ["load", "load-read-only"] if engine.has_read_only_load() else ["load"]
    for name in loads:
        taken = taken_bytes(name, archive, Path("-"))
        note = f"{taken / MIB:.0f} MiB; 1 is the index itself"
        yield plain(CASE, f"{name}, to the bytes of the index", taken / source.byte_count, unit="×", note=note)


def taken_bytes(name: str, source: Path, target: Path) -> int:
    """Return the bytes that a step of peak.py takes above what its process held before."""
    script = Path(__file__).with_name("peak.py")
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(script), name, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip().rpartition(chr(10))[2]}")
    found = json.loads(done.stdout)
    return int(found["peak_bytes"]) - int(found["baseline_bytes"])
