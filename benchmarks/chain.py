"""A chain of daily backups: every day restored and compared, the newest timed against a full archive, one row read."""

from __future__ import annotations

import filecmp
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np

import vark
from rows import SEED, clustered
from sources import source_of

TURNS = 5


def chain(row_count: int, dim: int, days: int, folder: Path, work: Path) -> bool:
    """Update 1 % of an hnswlib graph and back it up, `days` times over. Whether every day came back as it was."""
    rows = clustered(row_count, dim)
    source = work / "day.hnswlib"
    shutil.copyfile(source_of("hnswlib", rows, folder).path, source)
    place = work / "chain"
    shutil.rmtree(place, ignore_errors=True)
    repository = vark.Repository.create(place, encryption="none")
    index = hnswlib.Index("l2", dim)
    index.load_index(str(source))
    rng = np.random.default_rng(SEED)
    kept: list[tuple[str, bytes]] = []
    sizes, same = [], True
    for day in range(days + 1):
        if day:
            labels = rng.choice(row_count, row_count // 100, replace=False)
            index.add_items(rows.values[rng.permutation(row_count)[: len(labels)]], labels)
            index.save_index(str(source))
        report = repository.backup(source, name="graph", chain_max=days + 1, waste_max=10)
        sizes.append(report.archive_bytes)
        target = work / "restored"
        repository.restore("latest", target)
        same = same and filecmp.cmp(target, source, shallow=False)
        target.unlink()
        kept.append((report.snapshot, _digest(source)))
    print(
        f"\nChain of {days} days, 1 % updated each: full {sizes[0]:,} bytes, "
        f"a day {min(sizes[1:]):,} to {max(sizes[1:]):,}"
    )
    same = same and _all_days(repository, kept, work)
    _newest(repository, source, work)
    _one_row(repository)
    return _compacted(repository, source, work) and same


def _digest(path: Path) -> bytes:
    from blake3 import blake3

    with path.open("rb") as file:
        return blake3(file.read()).digest()


def _all_days(repository: Any, kept: list[tuple[str, bytes]], work: Path) -> bool:
    same = True
    for snapshot, digest in kept:
        target = work / "day"
        repository.restore(snapshot, target)
        same = same and _digest(target) == digest
        target.unlink()
    print(f"All {len(kept)} days restored at the end: {'the bytes of their day' if same else '**NOT the same bytes**'}")
    return same


def _newest(repository: Any, source: Path, work: Path) -> None:
    """Restore the newest day and a full archive of the same file in turns."""
    place = work / "one"
    shutil.rmtree(place, ignore_errors=True)
    full = vark.Repository.create(place, encryption="none")
    full.backup(source, name="graph")
    times: dict[str, list[float]] = {"newest": [], "full": []}
    for turn in range(TURNS + 1):
        for name, each in (("newest", repository), ("full", full)):
            target = work / "timed"
            start = time.perf_counter()
            each.restore("latest", target)
            seconds = time.perf_counter() - start
            target.unlink()
            if turn:
                times[name].append(seconds)
    newest, whole = (statistics.median(times[name]) for name in ("newest", "full"))
    print(
        f"Restore of the newest: {newest:.2f} s, of a full archive {whole:.2f} s: {newest / whole:.2f} × (goal ≤ 1.3 ×)"
    )


def _one_row(repository: Any) -> None:
    with repository.open_archive("latest") as archive:
        opened, _ = archive.io_counts
        vectors = archive["vectors"]
        label = int(len(vectors) // 3)
        archive.rows_by_id("vectors", [label])
        reads = archive.io_counts[0] - opened
    print(f"One row by id: {reads} reads beyond opening (goal ≤ 3)")


def _compacted(repository: Any, source: Path, work: Path) -> bool:
    hidden = source.with_suffix(".hidden")
    source.rename(hidden)
    repository.compact("latest")
    hidden.rename(source)
    target = work / "compacted"
    repository.restore("latest", target)
    same = filecmp.cmp(target, source, shallow=False)
    target.unlink()
    with repository.open_archive("latest") as archive:
        alone = not archive.ancestors
    print(f"Compacted without the source: {'the same bytes' if same else '**NOT the same bytes**'}, alone: {alone}")
    return same and alone
