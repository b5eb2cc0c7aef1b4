"""SIGKILL at random moments of packing: under the final name stands nothing, or an archive that verifies.

VARK_KILLS sets how many (25 by default; the release figure is 200), VARK_SEED replays a run.
"""

import os
import random
import subprocess
import sys
import time

import numpy as np

import vark

KILLS = int(os.environ.get("VARK_KILLS", "25"))
SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))

# Says when it begins, so that the moment of the kill falls into packing and not into imports.
CHILD = """
import sys, vark
print("ready", flush=True)
vark.write_archive(sys.argv[1], sys.argv[2], replace=sys.argv[3] == "replace")
print("done", flush=True)
"""


def start(source, target, how):
    child = subprocess.Popen([sys.executable, "-c", CHILD, source, target, how], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    return child


def test_a_killed_pack_never_leaves_a_broken_archive(tmp_path, capsys):
    vectors = np.random.default_rng(1).standard_normal((20_000, 96), dtype=np.float32)
    source = tmp_path / "vectors.npy"
    np.save(source, vectors)
    target = tmp_path / "a.vark"
    child = start(source, target, "new")
    begin = time.perf_counter()
    assert child.wait() == 0
    child.stdout.close()
    duration = time.perf_counter() - begin
    old = target.read_bytes()
    moments = random.Random(SEED)
    absent = complete = replaced = 0
    for number in range(KILLS):
        replacing = number % 2 == 1
        if not replacing:
            target.unlink(missing_ok=True)
        elif not target.exists():
            target.write_bytes(old)
        before = target.read_bytes() if replacing else None
        child = start(source, target, "replace" if replacing else "new")
        time.sleep(moments.uniform(0, duration * 1.2))  # the moment under test, not a wait for anything
        child.kill()
        child.wait()
        child.stdout.close()
        if not target.exists():
            assert not replacing, f"seed {SEED}, kill {number}: the old archive is gone"
            absent += 1
            continue
        report = vark.verify_archive(target)
        assert report.ok, f"seed {SEED}, kill {number}: {report.damage}"
        replaced += replacing and target.read_bytes() != before
        complete += 1
    with capsys.disabled():
        print(
            f"\n{KILLS} kills (seed {SEED}): {absent} times no archive, {complete} whole ones, {replaced} of them new"
        )
