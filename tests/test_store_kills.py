"""SIGKILL at random moments of writing objects to a real folder: what was acknowledged is whole, nothing else shows.

VARK_KILLS sets how many (30 by default; the release figure is 2000), VARK_SEED replays the moments of a run.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

from vark.stores import LocalStore

KILLS = int(os.environ.get("VARK_KILLS", "30"))
SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
LONGEST_SECONDS = 0.08

# Starts a writer for each line it is given, so that a kill costs no import. The writer says what it begins and what was
# acknowledged. A name tells its content, so that any object can be checked.
LAUNCHER = """
import hashlib, os, random, sys
from vark.errors import ObjectExistsError
from vark.stores import LocalStore

def say(*words):
    os.write(1, (" ".join(words) + "\\n").encode())

def write_objects(seed):
    store, rng, kept = LocalStore(sys.argv[1]), random.Random(seed), []
    while True:
        data = rng.randbytes(rng.choice((0, 100, 5000, 400_000)))
        name = f"{rng.choice('abc')}/{rng.randrange(4)}/{hashlib.sha256(data).hexdigest()}"
        if rng.random() < 0.2 and kept:
            gone = kept.pop(rng.randrange(len(kept)))
            say("delete", gone)
            store.delete(gone)
            say("deleted", gone)
        try:
            say("begin", name)
            if rng.random() < 0.5:
                with store.writer(name) as writer:
                    half = len(data) // 2
                    os.pwrite(writer.fileno(), data[half:], half)
                    os.pwrite(writer.fileno(), data[:half], 0)
                    writer.commit()
            else:
                store.create(name, data)
            kept.append(name)
        except ObjectExistsError:
            pass
        say("done", name)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            write_objects(line.strip())
        finally:
            os._exit(1)
    say("ready", str(child))
    _, status = os.waitpid(child, 0)
    say("ended", str(os.waitstatus_to_exitcode(status)))
"""


def write_and_kill(launcher, seed, seconds):
    """Return what a writer said until it was killed."""
    launcher.stdin.write(f"{seed}\n")
    launcher.stdin.flush()
    said = []
    while True:
        word, value = launcher.stdout.readline().split()
        if word == "ready":
            time.sleep(seconds)  # the moment under test, not a wait for anything
            os.kill(int(value), signal.SIGKILL)  # not yet waited for, so the number is still its own
        elif word == "ended":
            assert int(value) == -signal.SIGKILL
            return said
        else:
            said.append((word, value))


def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path, capsys):
    moments = random.Random(SEED)
    store = LocalStore(tmp_path / "repository")
    allowed = {}  # name -> what may be: {True}, {False} or both
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, store.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    left = acknowledged = interrupted = 0
    for kill in range(KILLS):
        seconds = moments.uniform(0, LONGEST_SECONDS)
        for word, name in write_and_kill(launcher, f"{SEED}.{kill}", seconds):
            before = allowed.get(name, {False})
            allowed[name] = {
                "begin": before | {True},
                "done": {True},
                "delete": before | {False},
                "deleted": {False},
            }[word]
            acknowledged += word in ("done", "deleted")
        place = f"seed {SEED}, kill {kill}"
        found = {entry.name: entry.byte_count for entry in store.list("")}
        assert found.keys() <= allowed.keys(), place
        for name, may_be in allowed.items():
            assert (name in found) in may_be, f"{place}: {name}"
            if name in found:
                data = store.read(name)
                assert len(data) == found[name], place
                assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2], f"{place}: {name} is not whole"
        interrupted += sum(len(may_be) == 2 for may_be in allowed.values())
        allowed = {name: {name in found} for name in allowed}
        # What a killed run leaves is hidden, and goes when it is old.
        left += store.sweep_temporary(age_seconds=-10)
        assert not [name for _, _, names in os.walk(tmp_path) for name in names if name.startswith(".")]
    launcher.communicate()
    assert launcher.returncode == 0
    assert acknowledged > KILLS
    with capsys.disabled():
        print(
            f"\n{KILLS} kills (seed {SEED}): {acknowledged} acknowledged, {interrupted} in between, "
            f"{left} temporary files swept"
        )
