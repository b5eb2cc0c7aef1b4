"""The commands of repositories: exit codes, JSON Lines, dry runs, reasons."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import vark
from repositories import put_mark
from test_cli import lines, run
from vark.repository import Policy, Repository, volumes
from vark.repository.engine import Engine
from vark.repository.objects import new_uuid7
from vark.stores import MemoryStore

DAY_MS = 86_400_000


@pytest.fixture
def source(tmp_path, vectors):
    np.save(tmp_path / "v.npy", vectors)
    return tmp_path / "v.npy"


@pytest.fixture
def repo(tmp_path):
    Repository.create(tmp_path / "repo", encryption="none")
    return tmp_path / "repo"


def in_repo(repo, *arguments, **options):
    return run(*arguments, env={**os.environ, "VARK_REPOSITORY": str(repo)}, **options)


def summary(result):
    last = lines(result)[-1]
    assert last["schema_version"] == 1
    return last


def test_the_way_of_a_snapshot(tmp_path, source):
    repo = tmp_path / "repo"
    made = run("init", repo, "--encryption", "none")
    assert made.returncode == 0, made.stderr
    assert Repository.open(repo).id in made.stdout.decode()
    backed_up = in_repo(repo, "backup", source, "--name", "p", "--tag", "model=e5")
    assert backed_up.returncode == 0, backed_up.stderr
    assert backed_up.stdout == b""
    assert b"the first snapshot of this name" in backed_up.stderr
    np.save(source, np.load(source) + np.float32(1))
    second = summary(in_repo(repo, "backup", source, "--name", "p", "--json"))
    assert (second["message_type"], second["command"], second["partial"]) == ("summary", "backup", False)
    listed = in_repo(repo, "snapshots")
    assert listed.stdout.count(b"\n") == 3
    assert b"model=e5" in listed.stdout
    items = lines(in_repo(repo, "snapshots", "--json"))
    assert [item["message_type"] for item in items] == ["item", "item", "summary"]
    shown = in_repo(repo, "show", "model=e5")
    assert items[0]["snapshot"] in shown.stdout.decode()
    restored = run("restore", "-r", repo, items[1]["snapshot"][:12], tmp_path / "out.npy")
    assert restored.returncode == 0, restored.stderr
    assert (tmp_path / "out.npy").read_bytes() == source.read_bytes()
    assert in_repo(repo, "restore", "latest", tmp_path / "out.npy").returncode == 2  # it exists
    earlier = in_repo(repo, "restore", "latest", tmp_path / "day.npy", "--at", items[0]["time"])
    assert earlier.returncode == 0, earlier.stderr
    assert (np.load(tmp_path / "day.npy") != np.load(source)).any()
    differing = summary(in_repo(repo, "diff", items[0]["snapshot"], "latest", "--json"))
    assert differing["same"] is False
    assert {item["stream"]: item["changed"] for item in differing["streams"]}["vectors"] == 600
    assert b"vectors" in in_repo(repo, "diff", items[0]["snapshot"], "latest").stdout
    stats = summary(in_repo(repo, "stats", "--json"))
    assert (stats["snapshot_count"], stats["names"][0]["name"]) == (2, "p")
    assert b"2 snapshots" in in_repo(repo, "stats").stdout


def test_exit_codes(tmp_path, repo, source):
    assert run("snapshots", "-r", tmp_path / "nothing").returncode == 10
    assert run("init", repo, "--encryption", "none").returncode == 2
    environment = {key: value for key, value in os.environ.items() if key != "VARK_REPOSITORY"}
    assert run("snapshots", env=environment).returncode == 2
    assert in_repo(repo, "show", "latest").returncode == 2
    report = Repository.open(repo).backup(source, name="p")
    assert in_repo(repo, "hold", report.snapshot, "--reason", "audit").returncode == 0
    held = in_repo(repo, "forget", report.snapshot, "--confirm")
    assert held.returncode == 14
    assert b"audit" in held.stderr
    assert in_repo(repo, "release", report.snapshot).returncode == 0
    floor = in_repo(repo, "forget", report.snapshot, "--confirm", "--json")
    assert floor.returncode == 14
    assert (lines(floor)[-1]["kind"], lines(floor)[-1]["code"]) == ("refused", 14)
    assert in_repo(repo, "forget").returncode == 2
    assert in_repo(repo, "forget", report.snapshot, "--keep-last", "1").returncode == 2
    assert in_repo(repo, "tag", report.snapshot).returncode == 2
    assert in_repo(repo, "tag", report.snapshot, "no-value").returncode == 2
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "l").symlink_to("x")
    partial = in_repo(repo, "backup", tmp_path / "root", "--json")
    assert partial.returncode == 3
    assert [item["message_type"] for item in lines(partial)] == ["warning", "summary"]


def test_verify_takes_a_repository_or_archives(tmp_path, repo, source, archive_path):
    report = Repository.open(repo).backup(source, name="p")
    assert in_repo(repo, "verify").returncode == 0
    assert in_repo(repo, "verify", archive_path).stdout.startswith(str(archive_path).encode())
    assert in_repo(repo, "verify", archive_path, "--level", "structure").returncode == 2
    again = summary(in_repo(repo, "verify", "--max-age", "1h", "--json"))
    assert (again["ok"], again["archive_count"], len(again["recent"])) == (True, 0, 1)
    path = repo / "archives" / report.archives[0].archive_id / "000000.vark"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    damaged = in_repo(repo, "verify", "--budget", "1GiB")
    assert damaged.returncode == 4
    assert f"archives/{report.archives[0].archive_id}/000000.vark".encode() in damaged.stdout
    assert report.snapshot.encode() in damaged.stdout
    assert b"vectors rows 0 to 599" in damaged.stdout
    item, last = lines(in_repo(repo, "verify", "--json"))
    assert (item["message_type"], last["ok"], last["touched"][0]["snapshot"]) == ("item", False, report.snapshot)
    assert in_repo(repo, "verify", "--level", "structure").returncode == 0


def test_forget_and_gc_are_dry_runs_unless_confirmed(repo, source):
    repository = Repository.open(repo)
    snapshots = [repository.backup(source, name="p", full=True).snapshot for _ in range(3)]
    told = in_repo(repo, "forget", "--keep-last", "1")
    assert told.returncode == 0
    assert (told.stdout.count(b"no rule keeps it"), told.stdout.count(b"last 1")) == (2, 1)
    assert b"--confirm" in told.stderr
    assert len(repository.snapshots()) == 3
    done = summary(in_repo(repo, "forget", "--keep-last", "1", "--confirm", "--json"))
    assert set(done["forgotten"]) == set(snapshots[:2])
    assert in_repo(repo, "snapshots").stdout.count(b"\n") == 2
    assert in_repo(repo, "snapshots", "--all").stdout.count(b"forgotten") == 2
    assert in_repo(repo, "undelete", "latest").stdout == f"undelete: p {snapshots[1][:12]}\n".encode()
    assert in_repo(repo, "undelete", snapshots[0]).returncode == 0
    assert b"no forgotten one" in in_repo(repo, "undelete", "latest").stderr
    assert b"1 forgotten; `vark undelete`" in in_repo(repo, "forget", snapshots[1], "--confirm").stderr
    kept = summary(in_repo(repo, "gc", "--confirm", "--json"))
    assert (kept["archives"], list(kept["in_trash"])) == ({}, [snapshots[1]])
    assert b"1 forgotten snapshots stay for now" in in_repo(repo, "gc").stdout
    assert b"9999-12-31" in in_repo(repo, "gc", "--trash", "10000y").stdout
    told = in_repo(repo, "gc", "--trash", "0s")
    assert told.stdout.count(b"would free") == 2  # one archive, and the sum
    assert in_repo(repo, "gc", "--trash", "0s", "--confirm").returncode == 0
    assert {item.id for item in repository.snapshots(forgotten=True, void=True)} == {snapshots[0], snapshots[2]}
    assert in_repo(repo, "undelete", snapshots[1]).returncode == 2


def test_compact_by_command(repo, source):
    repository = Repository.open(repo)
    for _ in range(2):
        repository.backup(source, name="p")
    assert repository.snapshot().delta
    done = in_repo(repo, "compact", "latest", "--json")
    assert done.returncode == 0, done.stderr
    assert not repository.snapshot().delta
    assert (repository.load() == np.load(source)).all()
    assert in_repo(repo, "compact", "latest").returncode == 2


def test_what_would_have_no_effect_is_refused(repo, source, tmp_path):
    repository = Repository.open(repo)
    for _ in range(2):
        repository.backup(source, name="p")
    vark.write_archive(source, tmp_path / "a.vark")
    assert in_repo(repo, "verify", tmp_path / "a.vark").returncode == 0
    for option in (("--snapshot", "latest"), ("--budget", "1m"), ("--max-age", "1d")):
        refused = in_repo(repo, "verify", tmp_path / "a.vark", *option)
        assert (refused.returncode, option[0].encode() in refused.stderr) == (2, True)
    for option in (
        ("--before", "2020-01-01"),
        ("--after", "2020-01-01"),
        ("--group-by", "name"),
        ("--time-zone", "UTC"),
    ):
        refused = in_repo(repo, "forget", "latest", *option)
        assert (refused.returncode, option[0].encode() in refused.stderr) == (2, True)
    assert in_repo(repo, "forget", "latest").returncode == 0
    assert in_repo(repo, "compact", "latest", "--memory", "1GiB").returncode == 2
    with pytest.raises(TypeError):
        repository.compact("latest", memory="1GiB")
    with repository.open_archive() as archive, pytest.raises(vark.InvalidArgumentError):
        Engine().compact(archive, -1, archive_id=str(new_uuid7()), options={"memory": 1})
    assert repository.snapshot().delta


@pytest.mark.parametrize("volume_bytes", [None, "1MiB"])
def test_compacting_makes_no_temporary_copy(monkeypatch, volume_bytes):
    repository = Repository.create(MemoryStore(), volume_bytes=volume_bytes, encryption="none")
    rows = np.random.default_rng(1).integers(0, 256, (40_000, 64), np.uint8)
    repository.backup(rows, name="n")
    rows[::500] += 1
    repository.backup(rows, name="n")
    assert repository.snapshot().delta
    monkeypatch.setattr(volumes, "_spooled", None)
    report = repository.compact("latest")
    assert len(repository.snapshot().archives[0].volumes) == (1 if volume_bytes is None else 3), report
    assert (repository.load() == rows).all()
    assert repository.verify().ok


def test_a_policy_keeps_what_is_held_and_what_lies_in_the_future(tmp_path, source):
    repository = Repository.create(tmp_path / "r", encryption="none")
    now = time.time_ns() // 1_000_000
    from repositories import put_archive, put_commit

    ages = [400, 40, 10, 1, -5]
    ids = [
        put_commit(repository, [put_archive(repository.store)], unix_ms=now - age * DAY_MS)[1].snapshot for age in ages
    ]
    put_mark(repository, "hold", ids[1], now)
    report = repository.forget(Policy(keep_within="2d"), confirm=True)
    assert set(report.forgotten) == {ids[0], ids[2]}
    reasons = {item.snapshot: item.reasons for item in report.decisions}
    assert reasons[ids[1]] == ("held",)
    assert reasons[ids[4]] == ("in the future",)
    with pytest.raises(vark.InvalidArgumentError):
        repository.forget(Policy(), confirm=True)
    put_mark(repository, "release", ids[1], now + 1)
    kept = repository.forget(Policy(keep_ids=["ffff"]), confirm=True, min_redundancy=2)
    # What lies in the future does not count for the floor.
    assert {item.snapshot for item in kept.decisions if item.keep} == {ids[4], ids[3], ids[1]}


def test_a_killed_backup_leaves_a_repository_that_goes_on(tmp_path, repo):
    np.save(tmp_path / "big.npy", np.random.default_rng(1).standard_normal((400_000, 64), np.float32))
    command = [sys.executable, "-m", "vark", "backup", "-r", str(repo), "--name", "n", str(tmp_path / "big.npy")]
    for delay in (0.4, 0.6, 0.8):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    repository = Repository.open(repo)
    assert repository.verify().ok
    assert in_repo(repo, "backup", "--name", "n", tmp_path / "big.npy").returncode == 0
    repository.restore(repository.snapshots()[-1], tmp_path / "out.npy", sync=False)
    assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "big.npy").read_bytes()
    assert repository.verify().ok


def test_inspect_and_cat_read_a_snapshot_of_the_repository(repo, source, vectors):
    repository = Repository.open(repo)
    repository.backup(source, name="p", documents={"note.md": "of e5"})
    by_environment = in_repo(repo, "inspect", "latest")
    assert b"note.md" in by_environment.stdout
    assert run("inspect", "latest", "--repo", repo).stdout == by_environment.stdout
    assert lines(in_repo(repo, "inspect", "latest", "--name", "p", "--json"))[0]["documents"] == ["note.md"]
    assert b"an archive has no snapshots" in in_repo(repo, "inspect", source, "--name", "p").stderr
    text = in_repo(repo, "cat", "latest", "vectors", "--rows", "7").stdout
    assert np.array_equal(np.array(text.split(), np.float32), vectors[7])


def test_help_has_what_is_shared_under_a_heading_of_its_own():
    text = run("gc", "--help").stdout.decode()
    own, heading, shared = text.partition("\nKeys and trust:\n")
    assert heading
    for option in ("--identity", "--passphrase", "--kms", "--authority", "--accept-history"):
        assert option in shared
        assert option not in own
    for option in ("--repo", "--trash", "--json"):
        assert option in own
