"""Backup and restore through an object store on this machine, beside bare puts and gets of the same bytes by obstore,
and beside restic where it is installed (on PATH, or in ~/go/bin).

The server (SeaweedFS, else moto) is started here, with its data in `--folder`. Each case is run `--rounds` times, bare
and vark in turns; what is told is the median and the range. Answers are compared before anything is timed.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import obstore
from obstore.store import S3Store

import vark

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import faulty_proxy
from store_servers import Moto, Seaweed, program

PART_BYTES = 8 << 20
CONCURRENCY = 12


def bare_store(options, address):
    bucket = address.split("/")[2]
    given = {key: value for key, value in options.items() if key != "retry"}
    return S3Store(bucket, prefix="bare", client_options={"allow_http": True}, **given)


def bare_put(store, name, data):
    start = time.perf_counter()
    obstore.put(store, name, data, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=CONCURRENCY)
    return time.perf_counter() - start


def bare_get(store, name, byte_count, target):
    """Ranges, all in flight as the library does it, written to a file as a restore does."""
    start = time.perf_counter()
    with open(target, "wb") as file:
        step = PART_BYTES * CONCURRENCY
        for first in range(0, byte_count, step):
            starts = list(range(first, min(first + step, byte_count), PART_BYTES))
            ends = [min(begin + PART_BYTES, byte_count) for begin in starts]
            file.writelines(obstore.get_ranges(store, name, starts=starts, ends=ends, coalesce=0))
    return time.perf_counter() - start


def slow_proxy(port, latency_ms):
    command = [sys.executable, faulty_proxy.__file__, str(port), str(latency_ms)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def restic_program():
    found = shutil.which("restic") or str(Path.home() / "go/bin/restic")
    return found if Path(found).exists() else None


def restic(program, address, options, source, folder):
    """Seconds of a backup of a file and of its restore, in a new repository; it compares what it reads as vark does."""
    place = f"s3:{options['endpoint']}/{address.split('/')[2]}/restic"
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": options["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": options["secret_access_key"],
        "AWS_DEFAULT_REGION": options["region"],
        "RESTIC_PASSWORD": "benchmark",
        "RESTIC_REPOSITORY": place,
        "RESTIC_CACHE_DIR": str(folder / "restic-cache"),
    }

    def timed(*arguments):
        start = time.perf_counter()
        subprocess.run([program, "--quiet", *arguments], env=environment, check=True)
        return time.perf_counter() - start

    timed("init")
    taken = timed("backup", str(source)), timed("restore", "latest", "--target", str(folder / "restic-target"))
    restored = folder / "restic-target" / str(source).lstrip("/")
    assert restored.read_bytes() == source.read_bytes()
    shutil.rmtree(folder / "restic-target")
    return taken


def rate(byte_count, seconds):
    ordered = sorted(byte_count / second / 1e6 for second in seconds)
    return {"median_mb_s": round(statistics.median(ordered), 1), "range": [round(ordered[0], 1), round(ordered[-1], 1)]}


def traffic_of(repository, before):
    return (repository.traffic - before).as_record()


def measure(address, options, rows, rounds, folder):
    repository = vark.Repository.create(address, encryption="none", store_options=options)
    store = bare_store(options, address)
    repository.backup(rows, name="warm")
    times = {"bare put": [], "backup": [], "bare get": [], "restore": []}
    traffic = {}
    for number in range(rounds):
        before = repository.traffic
        start = time.perf_counter()
        report = repository.backup(rows, name=f"round-{number}", full=True)
        times["backup"].append(time.perf_counter() - start)
        traffic["backup"] = traffic_of(repository, before)
        archive = report.archives[0]
        names = [entry.name for entry in repository.store.list(f"archives/{archive.archive_id}")]
        data = b"".join(repository.store.read(name) for name in names)
        times["bare put"].append(bare_put(store, f"same-{number}", data))
        target = folder / f"restored-{number}.npy"
        times["bare get"].append(bare_get(store, f"same-{number}", len(data), folder / "bare"))
        assert (folder / "bare").read_bytes() == data
        repository = vark.Repository.open(address, store_options=options)  # nothing is kept in memory
        before = repository.traffic
        start = time.perf_counter()
        repository.restore(report.snapshot, target, sync=False)
        times["restore"].append(time.perf_counter() - start)
        traffic["restore"] = traffic_of(repository, before)
        assert np.array_equal(np.load(target, mmap_mode="r"), rows)
        target.unlink()
        obstore.delete(store, f"same-{number}")
    result = {name: rate(len(data), seconds) for name, seconds in times.items()}
    program = restic_program()
    if program is not None:
        np.save(folder / "source.npy", rows)
        backup, restore = restic(program, address, options, folder / "source.npy", folder)
        # Of what is backed up, as what is stored differs: for these three the same number of bytes.
        speeds = {"restic backup": backup, "restic restore": restore}
        speeds |= {f"vark {name}": statistics.median(times[name]) for name in ("backup", "restore")}
        result["raw_mb_s"] = {name: round(rows.nbytes / seconds / 1e6, 1) for name, seconds in speeds.items()}
    for ours, bare in (("backup", "bare put"), ("restore", "bare get")):
        ratios = [theirs / mine for mine, theirs in zip(times[ours], times[bare], strict=True)]
        result[f"{ours} / {bare}"] = round(statistics.median(ratios), 3)
    return {"raw_bytes": rows.nbytes, "stored_bytes": len(data), "traffic": traffic, **result}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mebibytes", type=int, default=512, help="of vectors (float32, 256 dimensions)")
    parser.add_argument("--latency-ms", type=int, default=0, help="more for each reply, by a proxy that is slow itself")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", choices=["seaweedfs", "moto"], default="seaweedfs")
    parser.add_argument("--folder", help="where the server keeps its data; default: a temporary folder")
    given = parser.parse_args()
    kind = Seaweed if given.server == "seaweedfs" and program("weed") else Moto
    rows = np.random.default_rng(1).standard_normal((given.mebibytes << 10, 256), dtype=np.float32)
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        folder = Path(temporary)
        (folder / "server").mkdir()
        server = kind(folder / "server").start()
        proxy = slow_proxy(server.port, given.latency_ms) if given.latency_ms else None
        try:
            port = server.port if proxy is None else int(proxy.stdout.readline())
            options = {**server.options(), "endpoint": f"http://127.0.0.1:{port}"}
            result = measure(server.bucket(), options, rows, given.rounds, folder)
        finally:
            if proxy is not None:
                proxy.stdin.close()
                proxy.wait(10)
            server.stop()
    print(json.dumps({"server": kind.name, "latency_ms": given.latency_ms, **result}, indent=2))


if __name__ == "__main__":
    main()
