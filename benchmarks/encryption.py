"""What encryption costs: pack and unpack of an array, plain and encrypted in turns, to disk and to a null sink.

    python benchmarks/encryption.py FOLDER [ROWS] [ROUNDS]

A recovery code opens the archive, so that no passphrase is derived. Prints the ratio of each pair in the same round.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

import vark
from timing import Step, Times, race

DIM, MEMORY_BYTES = 384, 256 << 20
GOALS = {"pack to disk": 1.15, "unpack to disk": 1.15, "pack to null": 1.35, "unpack to null": 1.35}


def unpack_to_null(archive: Path, null: int, keys: dict[str, Any]) -> None:
    """Decode and check a member, and write it nowhere."""
    with vark.open_archive(archive, **keys) as opened:
        opened.reader.write_member(0, null, threads=0, memory_bytes=MEMORY_BYTES, progress=None)


def unpack_to_disk(archive: Path, target: Path, keys: dict[str, Any]) -> None:
    """Restore, durable."""
    with vark.open_archive(archive, **keys) as opened:
        opened.restore(target)


def steps_of(kind: str, source: Path, folder: Path, null: int) -> list[Step]:
    """Return the steps of a plain or an encrypted archive, which is made here."""
    archive, made, target = folder / f"{kind}.vark", folder / "packed.vark", folder / "restored"
    write: dict[str, Any] = {"recovery_code": kind == "encrypted"}
    code = vark.write_archive(source, archive, replace=True, **write).recovery_code
    keys = {} if code is None else {"recovery_code": code}
    return [
        Step(f"{kind} pack to disk", lambda: vark.write_archive(source, made, **write), made),
        Step(f"{kind} unpack to disk", lambda: unpack_to_disk(archive, target, keys), target),
        Step(f"{kind} pack to null", lambda: vark.write_archive(source, null, **write)),
        Step(f"{kind} unpack to null", lambda: unpack_to_null(archive, null, keys)),
    ]


def show(times: Times, byte_count: int) -> None:
    """Print one line for each pair."""
    for what, goal in GOALS.items():
        own, base = f"encrypted {what}", f"plain {what}"
        ratio, rate = times.ratio(own, base), times.rate(own, byte_count)
        met = "yes" if ratio.median <= goal else "NO"
        print(
            f"{what}: {ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f}) times plain, goal {goal}: {met}; "
            f"{rate.median:.2f} GB/s, plain {times.rate(base, byte_count).median:.2f}"
        )


def main() -> None:
    """Make a source of unit rows and race."""
    folder, rows, rounds = Path(sys.argv[1]), *(int(text) for text in [*sys.argv[2:], "400000", "9"][:2])
    source = folder / "rows.npy"
    vectors = np.random.default_rng(1).standard_normal((rows, DIM), dtype=np.float32)
    np.save(source, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    null = os.open(os.devnull, os.O_WRONLY)
    steps = [step for kind in ("plain", "encrypted") for step in steps_of(kind, source, folder, null)]
    show(race(steps, rounds), source.stat().st_size)
    for path in (source, folder / "plain.vark", folder / "encrypted.vark"):
        path.unlink()


if __name__ == "__main__":
    main()
