"""Copies and mirrors: how fast a copy is beside `cp` of the same bytes, what moves when one snapshot is missing.

And what a sync with nothing to do asks for.

    python benchmarks/copies.py --rows 300000

Answers are checked before they are timed; each figure is the median of --rounds, and stands beside a plain copy made in
the same round, durably like the other.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import obstore.store

from vark import sync_repository
from vark.keys import new_identity
from vark.repository import Repository
from vark.stores import RemoteStore

DIM, DAYS = 256, 5
IDENTITY, RECIPIENT = new_identity()  # a passphrase would cost half a second for each opening
KEYS = {"plain": {"encryption": "none"}, "sealed": {"recipients": [RECIPIENT]}}


def opened(place, kind):
    return Repository.open(place, **({} if kind == "plain" else {"identities": [IDENTITY], "trust": True}))


def day(rows, number):
    data = np.random.default_rng(1).standard_normal((rows, DIM), dtype=np.float32)
    for past in range(number):
        changed = np.random.default_rng(100 + past).choice(rows, rows // 100, replace=False)
        data[changed] = np.random.default_rng(200 + past).standard_normal((len(changed), DIM), dtype=np.float32)
    return data


def files_of(folder):
    return sorted((folder / "archives").rglob("*.vark"))


def plain_copy(source, target):
    """Copy the archives as files, durably; return seconds."""
    start = time.perf_counter()
    for path in files_of(source):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True)
        shutil.copyfile(path, place)
        with place.open("rb") as file:
            os.fsync(file.fileno())
    return time.perf_counter() - start


def speed(folder, rows, rounds):
    """Print the throughput of a copy of all snapshots, and of a sync, beside that of `cp`."""
    sizes = None
    for kind, keys in KEYS.items():
        source = Repository.create(folder / f"{kind}-source", **keys)
        for number in range(DAYS):
            source.backup(day(rows, number), name="n", cache=False)
    ways = [("plain", "sealed", "full"), ("sealed", "sealed", "full"), ("sealed", "sealed", "stored")]
    for of, to, level in [*ways, ("plain", "plain", "full"), ("sealed", None, "sync")]:
        seconds, beside, work = [], [], []
        for number in range(rounds):
            place = folder / f"{number}"
            source = opened(folder / f"{of}-source", of)
            beside.append(plain_copy(folder / f"{of}-source", folder / "cp"))
            sizes = sum(path.stat().st_size for path in files_of(folder / "cp"))
            shutil.rmtree(folder / "cp")
            made = None if to is None else Repository.create(place, **KEYS[to])
            start, worked = time.perf_counter(), time.process_time()
            if made is None:
                assert sync_repository(source.store, place).ok
            else:
                assert source.copy_to(made, level=level).ok
            seconds.append(time.perf_counter() - start)
            work.append(time.process_time() - worked)
            target = opened(place, to or of)
            assert len(target.snapshots()) == DAYS
            assert (target.load() == day(rows, DAYS - 1)).all()
            shutil.rmtree(place)
        own, other = statistics.median(seconds), statistics.median(beside)
        what = "sync" if to is None else f"copy {of} -> {to}, level {level}"
        print(
            f"{what}: {sizes / own / 1e9:.2f} GB/s ({min(seconds):.2f} to {max(seconds):.2f} s, "
            f"{sizes / statistics.median(work) / 1e9:.2f} GB for each second of a core), cp with fsync "
            f"{sizes / other / 1e9:.2f} GB/s ({other:.2f} s): {other / own:.2f} x"
        )


def moved(rows):
    """Print bytes and requests when one snapshot of several is missing, and when nothing is."""
    source = Repository.create(RemoteStore(obstore.store.MemoryStore(), place="source:"), **KEYS["sealed"])
    target = Repository.create(RemoteStore(obstore.store.MemoryStore(), place="target:"), encryption="none")
    mirror = RemoteStore(obstore.store.MemoryStore(), place="mirror:")
    for number in range(DAYS):
        source.backup(day(rows, number), name="n", cache=False)
    source.copy_to(target)
    sync_repository(source.store, mirror)
    whole = sum(archive.bytes for archive in source.snapshots()[0].archives)
    source.backup(day(rows, DAYS), name="n", cache=False)
    fresh = opened(source.store, "sealed")
    report = fresh.copy_to(opened(target.store, "plain"))
    read, wrote = report.traffic
    print(f"copy, one of {DAYS + 1} missing: {wrote.bytes_up:,} bytes sent, {read.bytes_down:,} read from the source, "
          f"{wrote.bytes_down:,} read back; a full archive has {whole:,}")  # fmt: skip
    before = source.store.counts.total(), mirror.counts.total()
    sync_repository(source.store, mirror)
    down, up = source.store.counts.total() - before[0], mirror.counts.total() - before[1]
    print(f"sync, one of {DAYS + 1} missing: {up.bytes_up:,} bytes sent in {up.puts} PUT, {down.bytes_down:,} read")
    before = source.store.counts.total(), mirror.counts.total()
    sync_repository(source.store, mirror)
    spent = (source.store.counts.total() - before[0]) + (mirror.counts.total() - before[1])
    print(
        f"sync, nothing to do: {spent.puts} PUT, {spent.lists} LIST, {spent.get_class} GET, {spent.bytes_down:,} bytes"
    )
    again = opened(source.store, "sealed").copy_to(opened(target.store, "plain"))
    read, wrote = again.traffic
    print(f"copy, nothing to do: {(read + wrote).put_class} PUT and LIST, {(read + wrote).get_class} GET")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where the repositories are made; a temporary folder by default")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        os.environ["VARK_STATE"] = str(Path(folder) / "state")
        moved(asked.rows)
        speed(Path(folder), asked.rows, asked.rounds)


if __name__ == "__main__":
    main()
