"""Run one step in a process of its own and print the memory it took at its peak, as JSON.

`peak.py STEP SOURCE TARGET`: pack FILE ARCHIVE | unpack ARCHIVE FILE | verify ARCHIVE - | load ARCHIVE -
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import engine
import vark


def run(step: Callable[[], object]) -> dict[str, int]:
    """Return what the process held before, and the most that it held during a step, in bytes."""
    baseline_bytes = _most_bytes()
    kept = step()
    peak_bytes = _most_bytes()
    del kept
    return {"baseline_bytes": baseline_bytes, "peak_bytes": peak_bytes}


def _most_bytes() -> int:
    """Return the most that this process held so far.

    On Linux not by getrusage: its ru_maxrss outlives exec, so a child begins with the memory of who started it.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def main(name: str, source: str, target: str) -> None:
    """Import what the step needs first, so that it counts as baseline."""
    if name == "load":
        import faiss  # noqa: F401

    steps: dict[str, Callable[[], object]] = {
        "pack": lambda: vark.write_archive(source, target, sync=False),
        "unpack": lambda: engine.restore(Path(source), Path(target), sync=False),
        "verify": lambda: vark.verify_archive(source, level="full"),
        "load": lambda: engine.load(Path(source)),
        "load-read-only": lambda: engine.load(Path(source), writable=False),
    }
    print(json.dumps(run(steps[name])))


if __name__ == "__main__":
    main(*sys.argv[1:])
