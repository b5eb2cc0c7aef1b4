"""Daily backups into a repository: full, incremental, difference, point in time, verification, forget, collect."""

from __future__ import annotations

import filecmp
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import hnswlib
import numpy as np

import case
import indexes
import vark


def days(data: indexes.Data, folder: Path, talk: case.Talk) -> None:
    """Back up an index, change 1 % of its rows, back it up again, and use what is there."""
    source, kept = folder / "daily.hnswlib", folder / "first-day.hnswlib"
    rows = len(data.vectors)
    index = hnswlib.Index("cosine", data.vectors.shape[1])
    index.init_index(rows, M=16, ef_construction=100, random_seed=1)
    index.add_items(data.vectors, np.arange(rows))
    index.save_index(str(source))
    source_bytes = source.read_bytes()
    kept.write_bytes(source_bytes)

    os.environ["VARK_STATE"] = str(folder / "state")  # what this client sees is no concern of whoever runs the demo
    repository = vark.Repository.create(folder / "repository", passphrase="only for this demo")
    full = repository.backup(source, name="sentences", tags={"day": "first"}, cache=folder / "cache")
    talk.say(f"full: {source.stat().st_size / 1e6:.1f} MB stored as {full.archive_bytes / 1e6:.2f} MB")
    between = datetime.now(UTC)
    time.sleep(0.01)  # the second snapshot is of another millisecond

    changed = np.arange(0, rows, 100)
    index.add_items(data.vectors[changed[::-1]], changed)
    index.save_index(str(source))
    delta = repository.backup(source, name="sentences", tags={"day": "second"}, cache=folder / "cache")
    files = [path for path in (folder / "repository").rglob("*") if path.is_file()]
    words = [path for path in files if b"sentences" in path.read_bytes()]
    talk.check(not words, "it is encrypted: nothing in the repository names what it holds")
    share = delta.archive_bytes / full.archive_bytes
    talk.check(delta.archives[0].base is not None, f"1 % of the rows changed: {share:.1%} of the full backup is new")

    report = repository.diff(full.snapshot, delta.snapshot)
    talk.say(f"diff: {report}".replace("\n", "\n  "))

    target = folder / "restored.hnswlib"
    repository.restore("latest", target)
    talk.check(filecmp.cmp(source, target, shallow=False), "the latest snapshot restores the same bytes")
    target.unlink()
    repository.restore("latest", target, at=between)
    talk.check(filecmp.cmp(kept, target, shallow=False), "so does the one of the moment between the two")
    target.unlink()
    talk.check(repository.verify(level="full").ok, "verify reads all and finds nothing wrong")

    repository.forget([full.snapshot], confirm=True)
    freed = repository.gc(confirm=True, trash=0, grace=0)
    talk.check(not freed.archives, "forgetting the first day frees nothing: the second needs its rows")
    repository.compact("latest")
    repository.gc(confirm=True, trash=0, grace=0)
    repository.restore("latest", target)
    talk.check(filecmp.cmp(source, target, shallow=False), "compacted without the source, the second day stands alone")
    talk.check(len(repository.snapshots()) == 1, "and the first day is gone")
