"""SIGKILL in the middle of `sync` and `repair`: nothing is ever worse than it was, and the next run does the rest.

VARK_KILLS sets how many (20 by default; the release figure is 100), VARK_SEED replays the moments of a run.
"""

import os
import random
import shutil

import pytest

from killing import Launcher, Moments
from sealed_repositories import OTHER_RECIPIENT, OWN
from test_copies import day, new
from test_copy_kills import volumes_of
from test_mirrors import damage, objects, opened
from vark import sync_repository
from vark.repository.layout import KEYS, ROOTS
from vark.stores import LocalStore

KILLS = max(int(os.environ.get("VARK_KILLS", "20")) // 2, 1)  # of either kind
SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
DAYS = 5

SYNC = """
import vark

def work(source, target, key, delete):
    opened = vark.Repository.open(source, **({"identities": [key], "trust": True} if key else {}))
    say("begun")
    report = vark.sync_repository(opened, target, delete=delete, threads=2)
    say("done", report.ok, report.object_bytes)
"""

REPAIR = """
import vark

def work(place, mirror):
    say("begun")
    report = vark.repair_repository(place, [mirror], confirm=True, threads=1)
    say("done", report.ok, len(report.repaired))
"""


def collected(kind, place):
    """A repository of which a collection has freed something: it has roots, lists and marks."""
    source = new(kind, place, volume_bytes=1 << 18)
    for number in range(DAYS):
        source.backup(day(number), name="days", full=number == 3, cache=False)
    source.hold(source.snapshots()[0])
    collect(source, compacted=1, forgotten=2)
    return source


def collect(source, *, compacted, forgotten):
    """Free archives, one of which another was built on. Both are numbers of snapshots."""
    source.compact(source.snapshots()[compacted])
    source.forget(source.snapshots()[forgotten], confirm=True)
    assert len(source.gc(confirm=True, trash=0, grace=0).archives) == 2


def restores(place, kind):
    """Every snapshot that is there can be restored, as far as lengths and tables say it."""
    repository = opened(place, kind, accept_history=True)
    assert repository.verify(level="structure").ok
    for snapshot in repository.snapshots():
        repository.open_archive(snapshot).close()
    return repository


def fresh(place, older, *, is_older):
    """A mirror to be made, or one to be brought up to date."""
    if is_older:
        shutil.copytree(older, place)
    return LocalStore(place)


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_a_killed_sync_goes_on(kind, tmp_path, capsys):
    source = collected(kind, tmp_path / "source")
    key, older = OWN if kind == "sealed" else None, tmp_path / "older"
    sync_repository(source.store, older)
    source.backup(day(DAYS), name="days", full=True, cache=False)
    collect(source, compacted=3, forgotten=2)
    if kind == "sealed":
        source.keys.add(recipients=[OTHER_RECIPIENT])
    true, moments, target_count, kept_bytes = objects(source.store), Moments(SEED, kind), 0, 0
    of_the_past = true | objects(LocalStore(older))
    with Launcher(SYNC) as launcher:
        for place in ("whole-0", "whole-1"):
            moments.time(launcher, source.store.root, tmp_path / place, key, True)
        while moments.kills < KILLS:
            target_count += 1
            target = fresh(tmp_path / f"{target_count}", older, is_older=target_count % 2 == 0)
            for _ in range(moments.of_a_row()):
                before = objects(target)
                lacking = sum(len(data) for name, data in true.items() if name not in before)
                share = max(lacking / sum(map(len, true.values())), 0.2)
                ran = moments.kill(launcher, source.store.root, target.root, key, True, share=share)
                now = objects(target)
                assert now.items() <= of_the_past.items(), moments
                assert before.keys() - now.keys() <= of_the_past.keys() - true.keys(), moments
                if "vark.json" in now:
                    restores(target.root, kind)
                if not ran.killed:
                    break
            mirror_volumes = volumes_of(target)
            [[ok, _]] = launcher.run(source.store.root, target.root, key, True).of("done")
            assert ok, moments
            assert objects(target) == true, moments
            after = volumes_of(target)
            kept = {name: status for name, status in mirror_volumes.items() if name in true}
            assert {name: after[name] for name in kept} == kept, moments  # not sent again
            kept_bytes += sum(size for _, _, size in kept.values())
            assert restores(target.root, kind).verify().ok, moments
    with capsys.disabled():
        print(f"\n[sync, {kind}: {moments.said()} of {target_count}; {kept_bytes >> 20} MiB not sent again]", end="")
    moments.check()


def broken(chance, whole, place):
    """Damage half of the objects behind the store's back.

    A key object has nothing but its form, so it goes missing. The newest root stays, as none above it would come back;
    so do condemned lists, which no root in force names.
    """
    shutil.copytree(whole, place)
    store = LocalStore(place)
    newest = store.list(ROOTS)[-1].name
    names = [name for name, data in sorted(objects(store).items()) if b'"kind":"condemned"' not in data]
    for name in chance.sample(names, len(names) // 2):
        if name.startswith(KEYS) or (name != newest and chance.random() < 0.3):
            store.delete(name)
        else:
            damage(store, name, chance.randrange(store.byte_count(name)))
    return store


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_a_killed_repair_makes_nothing_worse(kind, tmp_path, capsys):
    source = collected(kind, tmp_path / "source")
    mirror, true = tmp_path / "mirror", objects(source.store)
    sync_repository(source.store, mirror)
    moments, chance, place_count, right_count = Moments(SEED, kind), random.Random(SEED), 0, 0
    with Launcher(REPAIR) as launcher:
        for name in ("whole-0", "whole-1"):
            moments.time(launcher, broken(chance, source.store.root, tmp_path / name).root, mirror)
        while moments.kills < KILLS:
            place_count += 1
            store = broken(chance, source.store.root, tmp_path / f"{place_count}")
            first = lacking = wrong(store, true)
            for _ in range(moments.of_a_row()):
                before = objects(store)
                share = 0.3 + 0.7 * len(lacking) / len(first)
                ran = moments.kill(launcher, store.root, mirror, share=share)
                now = objects(store)
                for name, data in true.items():
                    assert now.get(name) in (before.get(name), data), f"{moments}: {name}"
                assert now.keys() <= true.keys(), moments
                assert wrong(store, true) <= lacking, moments
                lacking = wrong(store, true)
                if not ran.killed:
                    break
            [[ok, count]] = launcher.run(store.root, mirror).of("done")
            assert ok, moments
            assert count == len(lacking), moments
            right_count += len(first) - len(lacking)
            assert objects(store) == true, moments
            assert launcher.run(store.root, mirror).of("done") == [[True, 0]], moments
            assert restores(store.root, kind).verify().ok, moments
    with capsys.disabled():
        print(
            f"\n[repair, {kind}: {moments.said()} of {place_count}; {right_count} objects put right by runs "
            "that were killed]",
            end="",
        )
    moments.check()


def wrong(store, true):
    """The objects that are missing or damaged."""
    now = objects(store)
    return {name for name, data in true.items() if now.get(name) != data}
