"""SIGKILL at random moments of backups to a real server and of restores from it, and of the server itself.

The next run goes on: volumes that the server has are not sent again, what was written and noted is not fetched again, and
everything verifies. VARK_REMOTE_KILLS sets how many of each (10 by default; the release figure is 100), VARK_SEED replays
the moments of a run.
"""

import os
import random
import signal
import threading
import time

import numpy as np
import pytest

from killing import Launcher
from store_servers import SERVERS, Seaweed, plain_repository
from vark.errors import StoreUnavailableError
from vark.repository import Repository

KILLS = int(os.environ.get("VARK_REMOTE_KILLS", "10"))
SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
RATE = 12_000_000  # bytes a second, so that there are moments between volumes
VOLUME_BYTES = 1 << 20
SEGMENT_BYTES = 8 << 20  # what a reader that goes forward asks for at once

WORK = """
import obstore.store
from vark.repository import Repository

def work(what, address, options, path, reference):
    repository = Repository.open(address, store_options=options)
    say("begun")
    if what == "backup":
        report = repository.backup(path, name="v", full=True)
        found = [report.snapshot, report.resumed]
    else:
        repository.restore(reference, path)
        found = [None, None]
    say("done", *found, repository.traffic.as_record())
"""


@pytest.fixture(scope="module")
def launcher():
    with Launcher(WORK) as started:
        yield started


@pytest.fixture
def server(servers):
    return servers.get(SERVERS["seaweedfs"])


def sizes_of(repository):
    return {entry.name: entry.byte_count for entry in repository.store.list("archives")}


def test_a_backup_goes_on(server, launcher, tmp_path, capsys):
    moments = random.Random(SEED)
    address, options = server.bucket(), server.options()
    repository = plain_repository(address, store_options=options, volume_bytes=VOLUME_BYTES)
    slow = {**options, "limit_upload": RATE, "requests_max": 2}  # so that volumes are complete one after another
    rows = np.random.default_rng(1).standard_normal((40_000, 32), dtype=np.float32)
    acknowledged, resumed_count, spared = {}, 0, 0
    for kill in range(KILLS):
        rows[kill::3] += 1
        path = tmp_path / f"rows-{kill}.npy"
        np.save(path, rows)
        work = ("backup", address, slow, path, None)
        said = launcher.run(*work, kill_after=moments.uniform(0, 0.5)).of("done")
        before = sizes_of(repository)
        [[snapshot, resumed, traffic]] = said or launcher.run(*work).of("done")
        acknowledged[snapshot] = rows.copy()
        if resumed:
            archive = repository.snapshot(snapshot).archives[0].id
            there = sum(size for name, size in before.items() if archive in name)
            total = sum(size for name, size in sizes_of(repository).items() if archive in name)
            # Beside volumes: the session, the commit, and the bundle of all commits.
            assert traffic["bytes_up"] <= total - there + VOLUME_BYTES // 2, f"seed {SEED}, kill {kill}"
            resumed_count += 1
            spared += there
    assert set(acknowledged) <= {item.id for item in repository.snapshots()}
    for number, (snapshot, content) in enumerate(acknowledged.items()):
        with repository.open_archive(snapshot) as archive:
            assert np.array_equal(archive["vectors"][:], content), f"seed {SEED}, kill {number}"
    assert repository.verify().ok
    assert repository.doctor().leftovers == {}
    with capsys.disabled():
        print(
            f"\n{KILLS} kills of a backup (seed {SEED}): {resumed_count} gone on with, {spared >> 20} MiB not sent again"
        )
    assert KILLS < 10 or resumed_count > 0


def noted_bytes(folder):
    """What the journals of interrupted restores say is written."""
    total = 0
    for part in folder.glob(".*.vark-part"):
        data = (part / "journal").read_bytes() if (part / "journal").exists() else b""
        total += sum(int.from_bytes(data[at + 16 : at + 24], "little") for at in range(40, len(data) - 39, 40))
    return total


def test_a_restore_goes_on(server, launcher, tmp_path, capsys):
    moments = random.Random(SEED + 1)
    address, options = server.bucket(), server.options()
    repository = plain_repository(address, store_options=options, volume_bytes=VOLUME_BYTES)
    rows = np.random.default_rng(1).standard_normal((120_000, 64), dtype=np.float32)
    np.save(tmp_path / "rows.npy", rows)
    expected = (tmp_path / "rows.npy").read_bytes()
    report = repository.backup(tmp_path / "rows.npy", name="v", full=True)
    share = report.archive_bytes / len(expected)
    slow = {**options, "limit_download": 3 * RATE}
    killed = spared = 0
    for kill in range(KILLS):
        folder = tmp_path / f"kill-{kill}"
        folder.mkdir()
        target = folder / "out.npy"
        work = ("restore", address, slow, target, report.snapshot)
        if not launcher.run(*work, kill_after=moments.uniform(0, 0.9)).of("done"):
            killed += 1
            assert not target.exists() or target.read_bytes() == expected
            noted = noted_bytes(folder)
            if target.exists():  # killed between its name and the last word: what was written is there, not kept
                target.unlink()
                noted = 0
            work = ("restore", address, options, target, report.snapshot)
            [[_, _, traffic]] = launcher.run(*work).of("done")
            assert traffic["bytes_down"] <= (len(expected) - noted) * share + SEGMENT_BYTES, f"seed {SEED}, kill {kill}"
            spared += noted
        assert target.read_bytes() == expected, f"seed {SEED}, kill {kill}"
        assert os.listdir(folder) == ["out.npy"]
        target.unlink()
    with capsys.disabled():
        print(
            f"\n{KILLS} kills of a restore (seed {SEED}): {killed} in the middle, {spared >> 20} MiB not fetched again"
        )
    assert KILLS < 10 or killed > 0


def test_a_restore_of_shards_goes_on(server, launcher, tmp_path):
    address, options = server.bucket(), server.options()
    repository = plain_repository(address, store_options=options, volume_bytes=VOLUME_BYTES)
    rng = np.random.default_rng(1)
    shards = {}
    for name in ("a", "b", "c"):
        shards[name] = tmp_path / f"{name}.npy"
        np.save(shards[name], rng.standard_normal((40_000, 64), dtype=np.float32))
    report = repository.backup_shards(shards, name="v", full=True)
    target = tmp_path / "restored" / "all"
    target.parent.mkdir()
    slow = {**options, "limit_download": RATE}
    launcher.begin("restore", address, slow, target, report.snapshot)
    while not list(target.parent.glob(".*.vark-part/content/a/a.npy")):
        time.sleep(0.01)
    assert not launcher.kill().of("done")
    assert not target.exists()
    [[_, _, traffic]] = launcher.run("restore", address, options, target, report.snapshot).of("done")
    assert traffic["bytes_down"] < report.archive_bytes * 2 // 3 + (1 << 20)
    for name, path in shards.items():
        assert (target / name / f"{name}.npy").read_bytes() == path.read_bytes()
    assert os.listdir(target.parent) == ["all"]


def test_a_server_that_is_killed_in_the_middle(tmp_path):
    """With time to wait the client carries on when the server is back; without, it says that it may work later."""
    (tmp_path / "server").mkdir()
    server = Seaweed(tmp_path / "server").start()
    try:
        address = server.bucket()
        slow = {**server.options(), "limit_upload": RATE, "limit_download": RATE}
        repository = plain_repository(address, store_options={**slow, "retry": "60s"}, volume_bytes=VOLUME_BYTES)
        rows = np.random.default_rng(1).standard_normal((80_000, 32), dtype=np.float32)

        def interrupt(*, back):
            time.sleep(0.4)
            server.process.send_signal(signal.SIGKILL)
            server.process.wait(10)
            if back:
                server.start()

        other = threading.Thread(target=interrupt, kwargs={"back": True})
        other.start()
        report = repository.backup(rows, name="v")
        other.join()
        assert report.traffic.retries > 0
        hasty = Repository.open(address, store_options={**slow, "retry": "0.2s"})
        other = threading.Thread(target=interrupt, kwargs={"back": False})
        other.start()
        with pytest.raises(StoreUnavailableError, match="run it again"):
            hasty.restore(report.snapshot, tmp_path / "out.npy")
        other.join()
        assert not (tmp_path / "out.npy").exists()
        server.start()
        again = Repository.open(address, store_options=slow)
        again.restore(report.snapshot, tmp_path / "out.npy")
        assert np.array_equal(np.load(tmp_path / "out.npy"), rows)
        assert again.traffic.bytes_down < report.archive_bytes + (1 << 20)
        assert again.verify().ok
    finally:
        server.stop()
