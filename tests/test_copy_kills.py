"""SIGKILL in the middle of copies: what is there is whole, and the next run goes on with what is missing.

VARK_KILLS sets how many (20 by default; the release figure is 100), VARK_SEED replays the moments of a run.
"""

import os
import random

import numpy as np
import pytest

from killing import Launcher, Moments
from sealed_repositories import OWN, RECIPIENT
from vark.repository import Repository

KILLS = max(int(os.environ.get("VARK_KILLS", "20")) // 2, 1)  # of either kind
SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
ROWS, DIM, DAYS = 20_000, 64, 8
VOLUME_BYTES = 1 << 20
KEYS = {"plain": {"encryption": "none"}, "sealed": {"recipients": [RECIPIENT]}}

WORK = """
import vark

def work(source, target, key):
    opened = vark.Repository.open(source)
    beside = vark.Repository.open(target, **({"identities": [key], "trust": True} if key else {}))
    say("begun")
    report = opened.copy_to(beside, threads=1)
    say("done", report.ok, [item.state for item in report.snapshots], sum(item.resumed for item in report.snapshots))
"""


def rows_of(number):
    rows = np.random.default_rng(1).standard_normal((ROWS, DIM), np.float32)
    rows[number::97] += number
    return rows


def with_days(place):
    """Deltas, and two full archives of several volumes each."""
    source = Repository.create(place, encryption="none")
    for number in range(DAYS):
        source.backup(rows_of(number), name="n", full=number == 4, cache=False)
    return source


def volumes_of(store):
    """Name -> what tells whether a volume was written again."""
    found = {entry.name: os.stat(store.local_path(entry.name)) for entry in store.list("archives")}
    return {name: (status.st_ino, status.st_mtime_ns, status.st_size) for name, status in found.items()}


def opened(place, kind):
    return Repository.open(place, **({} if kind == "plain" else {"identities": [OWN]}))


def interrupted(launcher, moments, source, place, kind):
    """Kill copies into a new target, one to three in a row; return what the last one left there."""
    Repository.create(place, volume_bytes=VOLUME_BYTES, **KEYS[kind])
    ids, before, share = [item.id for item in source.snapshots()], {}, 1.0
    for _ in range(moments.of_a_row()):
        ran = moments.kill(launcher, source.store.root, place, None if kind == "plain" else OWN, share=share)
        target = opened(place, kind)
        there = {item.id: item for item in target.snapshots()}
        # What was there is there as it was: it was not moved again.
        assert {key: there[key].commit for key in before} == before, moments
        assert list(there) == ids[: len(there)], moments
        assert target.verify(level="structure").ok, moments
        before = {key: item.commit for key, item in there.items()}
        if not ran.killed:
            break
        assert not ran.of("done") or len(there) == DAYS, moments
        # Of the time that a whole copy takes: as much as is missing, by bytes and by commits.
        lacking = [item.archive_bytes for item in source.snapshots() if item.id not in there]
        total = sum(item.archive_bytes for item in source.snapshots())
        share = (sum(lacking) / total + len(lacking) / DAYS) / 2
    return target


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_a_killed_copy_goes_on(kind, tmp_path, capsys):
    source = with_days(tmp_path / "source")
    ids = [item.id for item in source.snapshots()]
    moments = Moments(SEED, kind)
    target_count = resumed_count = kept_bytes = again_bytes = 0
    with Launcher(WORK) as launcher:
        for place in (tmp_path / "whole-0", tmp_path / "whole-1"):
            Repository.create(place, volume_bytes=VOLUME_BYTES, **KEYS[kind])
            moments.time(launcher, source.store.root, place, None if kind == "plain" else OWN)
        while moments.kills < KILLS:
            target_count += 1
            target = interrupted(launcher, moments, source, tmp_path / f"{target_count}", kind)
            before, there = volumes_of(target.store), len(target.snapshots())
            ran = launcher.run(source.store.root, target.store.root, None if kind == "plain" else OWN)
            [[ok, states, resumed]] = ran.of("done")
            assert ok, moments
            assert states == ["present"] * there + ["copied"] * (DAYS - there), moments
            after = volumes_of(target.store)
            assert {name: after[name] for name in before} == before, moments
            target = opened(target.store.root, kind)
            assert [item.id for item in target.snapshots()] == ids, moments
            assert target.verify().ok, moments
            assert (target.load(ids[-1]) == rows_of(DAYS - 1)).all()
            used = {archive.id for item in target.snapshots() for archive in item.archives}
            spare = {name: status for name, status in before.items() if name.split("/")[1] not in used}
            # Sealed again the bytes are others, so there an archive that was interrupted begins anew; nowhere else.
            assert kind == "sealed" or not spare, moments
            resumed_count += resumed
            again_bytes += sum(size for _, _, size in spare.values())
            kept_bytes += sum(size for name, (_, _, size) in before.items() if name not in spare)
            target.gc(confirm=True, grace=0)  # archives of runs that were killed
            assert {name.split("/")[1] for name in volumes_of(target.store)} == used, moments
            assert target.verify(level="structure").ok, moments
    with capsys.disabled():
        print(
            f"\n[{kind}: {moments.said()} of {target_count} copies; {resumed_count} archives gone on with, "
            f"{kept_bytes >> 20} MiB not sent again, {again_bytes >> 20} MiB sent again]",
            end="",
        )
    moments.check()
