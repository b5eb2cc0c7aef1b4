"""Copies, mirrors, repair and audit by the commands, between folders and a real server; and killed in the middle.

VARK_REMOTE_KILLS sets how many kills of each (6 by default; the release figure is 100), VARK_SEED replays their moments.
"""

import os
import random

import numpy as np
import pytest

from killing import Launcher, Moments
from sealed_repositories import OTHER, OWN
from store_servers import Seaweed
from test_cli import lines, run
from test_copies import day, new, with_days
from test_copy_kills import DAYS, VOLUME_BYTES, rows_of
from test_copy_kills import with_days as with_volumes
from test_mirrors import archive_names, damage, objects, opened
from vark import sync_repository
from vark.repository import Repository
from vark.stores import LocalStore, open_store

KILLS = int(os.environ.get("VARK_REMOTE_KILLS", "6"))
SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
RATE = 24_000_000  # bytes a second, so that there are moments between volumes


@pytest.fixture
def server(servers):
    return servers.get(Seaweed)


@pytest.fixture
def shell(server, tmp_path):
    """Run a command that must end well; return what it said in lines of JSON."""
    options = server.options()
    environment = {f"AWS_{name.upper()}": options[name] for name in ("access_key_id", "secret_access_key", "region")}
    environment |= {"AWS_ENDPOINT_URL": options["endpoint"], "VARK_IDENTITY": str(tmp_path / "own")}
    (tmp_path / "own").write_text(OWN)
    (tmp_path / "other").write_text(OTHER)

    def shell(*arguments, status=0):
        done = run(*arguments, "--json", env={**os.environ, **environment})
        assert done.returncode == status, done.stdout + done.stderr
        return lines(done)

    return shell


def summary(said):
    return next(line for line in said if line["message_type"] == "summary")


def test_copies_to_a_bucket_and_out_of_it(server, shell, tmp_path):
    home, bucket, back = tmp_path / "home", server.bucket(), tmp_path / "back"
    source = with_days("sealed", 3, home, volume_bytes=VOLUME_BYTES // 4)
    new("other", open_store(bucket, server.options()))
    new("plain", back)
    to_bucket = ["copy", home, bucket, "--from-identity", tmp_path / "own", "--identity", tmp_path / "other", "--trust"]
    said = shell(*to_bucket)
    assert [line["state"] for line in said if line["message_type"] == "item"] == ["copied"] * 3
    there = Repository.open(bucket, store_options=server.options(), identities=[OTHER], trust=True)
    assert there.verify().ok
    from_bucket = ["copy", bucket, back, "--from-identity", tmp_path / "other", "--encryption", "none"]
    shell(*from_bucket)
    last = Repository.open(back)
    assert last.verify().ok
    for number, snapshot in enumerate(source.snapshots()):
        for repository in (there, last):
            assert (repository.load(repository.snapshot(snapshot.id)) == day(number)).all()
    # Again, and with one more: only that moves, as the delta that it is.
    assert summary(shell(*to_bucket))["archive_bytes"] == 0
    made = source.backup(day(3), name="days", cache=False)
    for command in (to_bucket, from_bucket):
        said = shell(*command)
        assert [line["state"] for line in said if line["message_type"] == "item"] == ["present"] * 3 + ["copied"]
        assert 0 < summary(said)["archive_bytes"] <= made.archive_bytes
    assert (Repository.open(back).load() == day(3)).all()


def test_mirrors_in_a_bucket_are_read_from_and_put_right(server, shell, tmp_path):
    home, bucket, other = tmp_path / "home", server.bucket(), server.bucket()
    source = with_days("sealed", 3, home, volume_bytes=VOLUME_BYTES // 4)
    for start, end in ((home, bucket), (bucket, other), (other, tmp_path / "back")):
        assert summary(shell("sync", start, end))["archives_verified"] == 3
    true, store = objects(source.store), open_store(bucket, server.options())
    for mirror in (store, open_store(other, server.options()), LocalStore(tmp_path / "back")):
        assert objects(mirror) == true
    assert summary(shell("sync", home, bucket))["object_bytes"] == 0
    # Volumes of the first archive in one, all of the second in the other: a snapshot of both is whole nowhere.
    names = archive_names(store)
    second = source.snapshots()[1].archives[0].id
    damage(store, names[0], 5_000)
    store.delete(names[2])
    damage(source.store, f"archives/{second}/000000.vark", 2_000)
    said = shell("restore", "latest", tmp_path / "last.npy", "--from", f"{bucket},{home}")
    assert (np.load(tmp_path / "last.npy") == day(2)).all()
    warned = [line for line in said if line["message_type"] == "warning"]
    assert {(line["object"], line["mirror"]) for line in warned} == {(name, str(home)) for name in (names[0], names[2])}
    before = objects(store)
    planned = [line for line in shell("repair", bucket, "--from", home, status=4) if line["message_type"] == "item"]
    assert [line["object"] for line in planned] == [names[0], names[2]]
    assert objects(store) == before
    assert summary(shell("repair", bucket, "--from", home, "--confirm"))["repaired_count"] == 2
    assert objects(store) == true
    assert summary(shell("repair", home, "--from", f"{other},{bucket}", "--confirm"))["repaired_count"] == 1
    assert objects(source.store) == true
    assert opened(home, "sealed").verify().ok


def test_an_audit_of_a_folder_and_two_buckets(server, shell, tmp_path):
    home, copied, mirror = tmp_path / "home", server.bucket(), server.bucket()
    source = with_days("sealed", 2, home)
    source.copy_to(new("plain", open_store(copied, server.options())))
    shell("sync", home, mirror)
    places = ["audit", home, copied, mirror, "--plain", copied]
    assert not summary(shell(*places, status=1))["ok"]  # a server on this machine is not off site
    said = shell(*places, "--offsite", mirror, "--limit-requests", "500")
    [item] = [line for line in said if line["message_type"] == "item"]
    assert (item["name"], item["copy_count"], len(item["media"]), item["offsite_count"]) == ("days", 3, 2, 1)
    assert [one["relation"] for one in item["copies"]] == ["home", "copy", "mirror"]
    store = open_store(mirror, server.options())
    store.delete(archive_names(store)[0])
    lacking = next(line for line in shell(*places, "--offsite", mirror, status=1) if line["message_type"] == "item")
    assert lacking["lacking"] == ["2 of 3 copies", "0 of 1 off site"]


COPY = """
import obstore.store
import vark
from vark.stores import open_store

def work(what, source, target, options):
    if what == "copy":
        opened, beside = vark.Repository.open(source), vark.Repository.open(target, store_options=options)
        store = beside.store
    else:
        store = open_store(target, options)
    say("begun")
    if what == "copy":
        found = [item.resumed for item in opened.copy_to(beside, threads=1).snapshots]
    elif what == "sync":
        found = [vark.sync_repository(source, store, threads=1).ok]
    else:
        found = [vark.repair_repository(store, [source], confirm=True, threads=1).ok]
    say("done", found, store.counts.total().bytes_up)
"""


def sizes_of(store):
    return {entry.name: entry.byte_count for entry in store.list("archives")}


@pytest.mark.parametrize("what", ["copy", "sync"])
def test_a_killed_copy_or_sync_to_a_server_sends_nothing_twice(what, server, tmp_path, capsys):
    source = with_volumes(tmp_path / "source")
    if what == "sync":  # of volumes, as the other makes them
        single, source = source, Repository.create(tmp_path / "volumes", encryption="none", volume_bytes=VOLUME_BYTES)
        assert single.copy_to(source).ok
    address, options, moments = server.bucket(), server.options(), Moments(SEED, what)
    slow = {**options, "limit_upload": RATE, "requests_max": 2}  # so that volumes are complete one after another
    target_count = kept_bytes = 0

    def fresh(name):
        place = f"{address}/{name}"
        if what == "copy":
            Repository.create(place, encryption="none", volume_bytes=VOLUME_BYTES, store_options=options)
        return what, source.store.root, place, slow

    with Launcher(COPY) as launcher:
        for name in ("whole-0", "whole-1"):
            moments.time(launcher, *fresh(name))
        total = sum(sizes_of(open_store(f"{address}/whole-1", options)).values())
        while moments.kills < KILLS:
            target_count += 1
            work, before = fresh(target_count), {}
            store = open_store(work[2], options)
            for _ in range(moments.of_a_row()):
                share = max(1 - sum(before.values()) / total, 0.1)
                ran = moments.kill(launcher, *work, share=share)
                now = sizes_of(store)
                assert before.items() <= now.items(), moments
                before = now
                if store.list("vark.json") or what == "copy":
                    repository = Repository.open(store)
                    assert repository.verify(level="structure").ok, moments
                    for snapshot in repository.snapshots():
                        repository.open_archive(snapshot).close()
                if not ran.killed:
                    break
            [[_, sent]] = launcher.run(*work).of("done")
            after = sizes_of(store)
            assert before.items() <= after.items(), moments
            # Beside volumes: sessions, records, and the bundle of them.
            assert sent <= sum(after.values()) - sum(before.values()) + VOLUME_BYTES // 2, moments
            kept_bytes += sum(before.values())
            assert sum(after.values()) == total, moments  # no archive of a killed run is left over
            repository = Repository.open(store)
            assert repository.verify().ok, moments
            assert (repository.load() == rows_of(DAYS - 1)).all()
            if what == "sync":
                assert objects(store) == objects(source.store), moments
    with capsys.disabled():
        print(f"\n[{what}: {moments.said()} of {target_count}; {kept_bytes >> 20} MiB not sent again]", end="")
    moments.check()


def test_a_killed_repair_of_a_bucket_makes_nothing_worse(server, tmp_path, capsys):
    source = Repository.create(tmp_path / "source", encryption="none", volume_bytes=VOLUME_BYTES)
    assert with_volumes(tmp_path / "single").copy_to(source).ok
    store, options = open_store(address := server.bucket(), server.options()), server.options()
    sync_repository(source.store, store)
    true, moments, chance, right_count, round_count = (
        objects(source.store),
        Moments(SEED, "repair"),
        random.Random(SEED),
        0,
        0,
    )

    def broken():
        for name in chance.sample(sorted(true), len(true) // 2):
            if chance.random() < 0.3 and name != "vark.json":
                store.delete(name)
            else:
                damage(store, name, chance.randrange(len(true[name])))

    def wrong():
        now = objects(store)
        return {name for name, data in true.items() if now.get(name) != data}

    work = ("repair", source.store.root, address, {**options, "limit_upload": RATE, "requests_max": 2})
    with Launcher(COPY) as launcher:
        for _ in range(2):
            broken()
            moments.time(launcher, *work)
        while moments.kills < KILLS:
            round_count += 1
            broken()
            first = lacking = wrong()
            for _ in range(moments.of_a_row()):
                before = objects(store)
                ran = moments.kill(launcher, *work, share=0.3 + 0.7 * len(lacking) / len(first))
                now = objects(store)
                for name, data in true.items():
                    assert now.get(name) in (before.get(name), data), f"{moments}: {name}"
                lacking = wrong()
                if not ran.killed:
                    break
            [[ok, _]] = launcher.run(*work).of("done")
            assert ok == [True], moments
            right_count += len(first) - len(lacking)
            assert objects(store) == true, moments
    assert Repository.open(store).verify().ok
    with capsys.disabled():
        print(
            f"\n[repair: {moments.said()} of {round_count}; {right_count} put right by runs that were killed]", end=""
        )
    moments.check()
