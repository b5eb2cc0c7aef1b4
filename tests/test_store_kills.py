"""SIGKILL at random moments of writing objects to a real folder: what was acknowledged is whole, nothing else shows.

VARK_KILLS sets how many (30 by default; the release figure is 2000), VARK_SEED replays the moments of a run.
"""

import hashlib
import os
import random

from killing import Launcher
from vark.stores import LocalStore

KILLS = int(os.environ.get("VARK_KILLS", "30"))
SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
LONGEST_SECONDS = 0.08

# The writer says what it begins and what was acknowledged. A name tells its content, so that any object can be checked.
WORK = """
import hashlib, os, random
from vark.errors import ObjectExistsError
from vark.stores import LocalStore

def work(root, seed):
    store, rng, kept = LocalStore(root), random.Random(seed), []
    say("begun")
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
"""


def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path, capsys):
    moments = random.Random(SEED)
    store = LocalStore(tmp_path / "repository")
    allowed = {}  # name -> what may be: {True}, {False} or both
    launcher = Launcher(WORK)
    left = acknowledged = interrupted = 0
    for kill in range(KILLS):
        seconds = moments.uniform(0, LONGEST_SECONDS)
        ran = launcher.run(store.root, f"{SEED}.{kill}", kill_after=seconds)
        assert ran.killed
        for word, name in ran.said:
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
    launcher.end()
    assert acknowledged > KILLS
    with capsys.disabled():
        print(
            f"\n{KILLS} kills (seed {SEED}): {acknowledged} acknowledged, {interrupted} in between, "
            f"{left} temporary files swept"
        )
