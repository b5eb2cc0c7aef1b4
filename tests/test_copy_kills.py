"""SIGKILL at random moments of a copy: what is there is whole, and the next run goes on with what is missing.

VARK_KILLS sets how many (20 by default; the release figure is 100), VARK_SEED replays the moments of a run.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sealed_repositories import OWN, RECIPIENT
from vark.repository import Repository

KILLS = int(os.environ.get("VARK_KILLS", "20")) // 2  # of either kind
SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
LONGEST_SECONDS = 0.6
ROWS, DIM, DAYS = 20_000, 64, 8

# Starts a copy for each line it is given, so that a kill costs no import.
LAUNCHER = """
import os, sys
import vark

def say(*words):
    os.write(1, (" ".join(words) + "\\n").encode())

def opened(place):
    keys = {} if place.endswith("plain") else {"identities": [sys.argv[1]], "trust": True}
    return vark.Repository.open(place, **keys)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            source, target = line.split()
            report = opened(source).copy_to(opened(target), threads=1)
            say("done", *(item.snapshot for item in report.snapshots if item.state in ("copied", "present")))
        except BaseException as error:
            say("error", repr(error).replace(" ", "_"))
        finally:
            os._exit(0)
    say("ready", str(child))
    _, status = os.waitpid(child, 0)
    say("ended", str(os.waitstatus_to_exitcode(status)))
"""


def rows_of(number):
    rows = np.random.default_rng(1).standard_normal((ROWS, DIM), np.float32)
    rows[number::97] += number
    return rows


def copy_and_kill(launcher, places, seconds):
    """Return the snapshots that a run acknowledged; None when it was killed before it did."""
    launcher.stdin.write(" ".join(map(str, places)) + "\n")
    launcher.stdin.flush()
    done = None
    while True:
        word, *values = launcher.stdout.readline().split()
        assert word != "error", values
        if word == "ready":
            time.sleep(seconds)  # the moment under test, not a wait for anything
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(values[0]), signal.SIGKILL)
        elif word == "done":
            done = values
        else:
            assert int(values[0]) in (0, -signal.SIGKILL)
            return done


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_a_killed_copy_goes_on(kind, tmp_path, capsys):
    moments = random.Random(f"{SEED}.{kind}")
    keys = {"plain": {"encryption": "none"}, "sealed": {"recipients": [RECIPIENT]}}[kind]
    source = Repository.create(tmp_path / "source-plain", encryption="none")
    for number in range(DAYS):
        source.backup(rows_of(number), name="n", full=number == 4, cache=False)
    ids = [item.id for item in source.snapshots()]
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, OWN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    target, runs, before, finished, interrupted = None, 0, {}, 0, 0
    for kill in range(KILLS):
        if target is None:
            runs += 1
            before, target = {}, tmp_path / f"{runs}-{kind}"
            Repository.create(target, volume_bytes=1 << 20, **keys)
        done = copy_and_kill(launcher, (source.store.root, target), moments.uniform(0, LONGEST_SECONDS))
        place = f"seed {SEED}, kill {kill}"
        opened = Repository.open(target, **({} if kind == "plain" else {"identities": [OWN]}))
        there = {item.id: item for item in opened.snapshots()}
        # What was there is there as it was: it was not moved again.
        assert {key: there[key].commit for key in before} == before, place
        assert list(there) == ids[: len(there)], place
        assert opened.verify(level="full" if done else "structure").ok, place
        before = {key: item.commit for key, item in there.items()}
        interrupted += done is None
        if done is not None:
            finished += 1
            assert done == ids == list(there), place
            assert (opened.load(ids[-1]) == rows_of(DAYS - 1)).all()
            left = opened.gc(confirm=True, grace=0)  # archives of runs that were killed
            assert opened.verify().ok, (place, left)
            target = None
    launcher.communicate()
    assert launcher.returncode == 0
    assert interrupted
    if target is not None:
        report = source.copy_to(opened)
        assert [item.state for item in report.snapshots] == ["present"] * len(before) + ["copied"] * (
            DAYS - len(before)
        )
        assert opened.verify().ok
    with capsys.disabled():
        print(f" [{kind}: {interrupted} of {KILLS} copies killed, {finished} finished, seed {SEED}]", end="")
