"""SIGKILL at random moments of backup, forget, compact and gc in a real folder: what was acknowledged restores.

VARK_KILLS sets how many (25 by default; the release figure is 500), VARK_SEED replays the moments of a run.
"""

import os
import random

import numpy as np

from killing import Launcher
from vark.repository import Repository

KILLS = int(os.environ.get("VARK_KILLS", "25"))
SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
LONGEST_SECONDS = 0.6
ROWS, DIM = 3000, 32

# The rows of a snapshot follow from its tag, so that any snapshot can be checked. Small ones that differ little are backed up
# as deltas.
WORK = f"""
import contextlib, random
import numpy as np
import vark

def rows_of(number):
    rows = np.random.default_rng(1).standard_normal(({ROWS}, {DIM}), np.float32)
    rows[number % {ROWS} :: 97] += number
    return rows

def work(place, seed):
    repository, rng = vark.Repository.open(place), random.Random(seed)
    say("begun")
    while True:
        usable = [item.id for item in repository.snapshots()]
        trash = [item.id for item in repository.snapshots(forgotten=True) if item.forgotten_unix_ms is not None]
        choice = rng.random()
        if len(usable) > 12:
            choice = 0.6
        if choice < 0.5 or len(usable) < 3:
            number = rng.randrange(1000)
            report = repository.backup(rows_of(number), name=rng.choice("ab"), tags={{"n": str(number)}}, threads=1)
            say("done", report.snapshot)
        elif choice < 0.65:
            chosen = rng.choice(usable)
            say("forget", chosen)
            repository.forget(chosen, confirm=True, min_redundancy=0)
            say("forgotten", chosen)
        elif choice < 0.7 and trash:
            chosen = rng.choice(trash)
            say("undelete", chosen)
            with contextlib.suppress(vark.RefusedError):  # a collection that was killed is about to free it
                repository.undelete(chosen)
                say("undeleted", chosen)
        elif choice < 0.85:
            repository.gc(confirm=True, trash=0, grace=0)
        else:
            chosen = repository.snapshot(rng.choice(usable))
            if chosen.closure:
                repository.compact(chosen, threads=1)
"""


def rows_of(number):
    rows = np.random.default_rng(1).standard_normal((ROWS, DIM), np.float32)
    rows[number % ROWS :: 97] += number
    return rows


MAY_BE = {"done": {True}, "forget": {True, False}, "forgotten": {False}, "undelete": {True, False}, "undeleted": {True}}


def test_a_killed_process_loses_no_snapshot_that_was_acknowledged(tmp_path, capsys):
    moments = random.Random(SEED)
    Repository.create(tmp_path / "r", encryption="none")
    allowed, restored = {}, set()  # snapshot -> whether it may be kept; commits that were restored
    acknowledged = 0
    launcher = Launcher(WORK)
    for kill in range(KILLS):
        ran = launcher.run(tmp_path / "r", f"{SEED}.{kill}", kill_after=moments.uniform(0, LONGEST_SECONDS))
        assert ran.killed
        for word, snapshot in ran.said:
            acknowledged += word in ("done", "forgotten", "undeleted")
            allowed[snapshot] = MAY_BE[word]
        place = f"seed {SEED}, kill {kill}"
        repository = Repository.open(tmp_path / "r")
        catalog = repository.catalog()
        assert catalog.faults == {}, place
        found = {item.id: item for item in catalog.snapshots}
        for snapshot, may_be in allowed.items():
            assert (snapshot in found and found[snapshot].usable) in may_be, f"{place}: {snapshot}"
        for item in found.values():
            if not item.void and item.commit not in restored:
                assert (repository.load(item) == rows_of(int(item.tags["n"]))).all(), place
                restored.add(item.commit)
        report = repository.verify(level="full" if kill % 10 == 9 else "structure")
        assert report.ok, (place, report.damaged)
        # All of it has been seen now, and a killed process loses nothing that was seen.
        allowed = {item.id: {item.usable} for item in found.values()} | {
            snapshot: {False} for snapshot in allowed if snapshot not in found
        }
    freed = repository.gc(confirm=True, trash=0, grace=0)
    number = repository.backup(rows_of(1), name="a", tags={"n": "1"}).snapshot
    assert repository.verify().ok
    kept = {snapshot for snapshot, may_be in allowed.items() if may_be == {True}}
    assert {item.id for item in repository.snapshots()} == kept | {number}
    launcher.end()
    with capsys.disabled():
        print(
            f"\n{KILLS} kills (seed {SEED}): {acknowledged} acknowledged, {len(restored)} commits restored, "
            f"{len(freed.archives)} archives freed at last"
        )
