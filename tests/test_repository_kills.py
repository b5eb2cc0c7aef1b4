"""SIGKILL at random moments of backup, forget, compact and gc in a real folder: what was acknowledged restores.

VARK_KILLS sets how many (25 by default; the release figure is 500), VARK_SEED replays the moments of a run.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np

from vark.repository import Repository

KILLS = int(os.environ.get("VARK_KILLS", "25"))
SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
LONGEST_SECONDS = 0.6
ROWS, DIM = 3000, 32

# Starts a worker for each line it is given, so that a kill costs no import. The rows of a snapshot follow from its tag,
# so that any snapshot can be checked. Small ones that differ little are backed up as deltas.
LAUNCHER = f"""
import contextlib, os, random, sys
import numpy as np
import vark

def say(*words):
    os.write(1, (" ".join(words) + "\\n").encode())

def rows_of(number):
    rows = np.random.default_rng(1).standard_normal(({ROWS}, {DIM}), np.float32)
    rows[number % {ROWS} :: 97] += number
    return rows

def work(seed):
    repository, rng = vark.Repository.open(sys.argv[1]), random.Random(seed)
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

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            work(line.strip())
        except BaseException as error:
            say("error", repr(error).replace(" ", "_"))
        finally:
            os._exit(1)
    say("ready", str(child))
    _, status = os.waitpid(child, 0)
    say("ended", str(os.waitstatus_to_exitcode(status)))
"""


def rows_of(number):
    rows = np.random.default_rng(1).standard_normal((ROWS, DIM), np.float32)
    rows[number % ROWS :: 97] += number
    return rows


def work_and_kill(launcher, seed, seconds):
    """Return what a worker said until it was killed."""
    launcher.stdin.write(f"{seed}\n")
    launcher.stdin.flush()
    said = []
    while True:
        word, value = launcher.stdout.readline().split()
        assert word != "error", value
        if word == "ready":
            time.sleep(seconds)  # the moment under test, not a wait for anything
            with contextlib.suppress(ProcessLookupError):  # it ended with an error, which comes next
                os.kill(int(value), signal.SIGKILL)
        elif word == "ended":
            assert int(value) == -signal.SIGKILL
            return said
        else:
            said.append((word, value))


MAY_BE = {"done": {True}, "forget": {True, False}, "forgotten": {False}, "undelete": {True, False}, "undeleted": {True}}


def test_a_killed_process_loses_no_snapshot_that_was_acknowledged(tmp_path, capsys):
    moments = random.Random(SEED)
    Repository.create(tmp_path / "r", encryption="none")
    allowed, restored = {}, set()  # snapshot -> whether it may be kept; commits that were restored
    acknowledged = 0
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path / "r")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    for kill in range(KILLS):
        for word, snapshot in work_and_kill(launcher, f"{SEED}.{kill}", moments.uniform(0, LONGEST_SECONDS)):
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
    launcher.communicate()
    with capsys.disabled():
        print(
            f"\n{KILLS} kills (seed {SEED}): {acknowledged} acknowledged, {len(restored)} commits restored, "
            f"{len(freed.archives)} archives freed at last"
        )
