"""Object lock: what the policy keeps, what a collection leaves, and that nothing needs a delete or an overwrite."""

import json

import numpy as np
import pytest

from sealed_repositories import OWN, RECIPIENT
from vark.cli import run
from vark.errors import AccessDeniedError, DamagedError, InvalidArgumentError, StoreUnavailableError
from vark.repository import Repository
from vark.repository.envelope import Envelope
from vark.repository.layout import LOCKS
from vark.repository.locking import DAY_MS, NO_LOCKS, decode_policy
from vark.stores import LockedMemoryStore, MemoryStore, Retention, urls
from vark.stores.locks import AT_ONCE, at_once
from vark.stores.probe import probe

START_MS = 1_800_000_000_000
ROWS = np.random.default_rng(1).standard_normal((200, 16), dtype=np.float32)
SEALS = {"plain": {"encryption": "none"}, "sealed": {"recipients": [RECIPIENT]}}


class Clock:
    def __init__(self):
        self.unix_ms = START_MS

    def __call__(self):
        return self.unix_ms

    def forward(self, *, days):
        self.unix_ms += days * DAY_MS


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return LockedMemoryStore(now_unix_ms=clock)


@pytest.fixture(params=SEALS)
def repository(request, store):
    return Repository.create(store, **SEALS[request.param])


def reopened(repository):
    return Repository.open(repository.store, **({"identities": [OWN.encode()]} if repository.is_encrypted else {}))


def changed(rows, seed):
    rows = rows.copy()
    rows[np.random.default_rng(seed).integers(0, len(rows), 3)] += 1
    return rows


def chain(repository, days):
    """A full archive and deltas on it, the source as it was last."""
    rows = ROWS
    for day in range(days):
        report = repository.backup(rows, name="n", waste_max=9.0)
        assert day == 0 or report.archives[0].base is not None
        rows = changed(rows, day)
    return report


def until_of(store, name):
    found = store.locks.retained(name)
    return None if found is None else found.until_unix_ms


def test_a_policy_is_seen_by_others_and_the_last_one_is_in_force(repository, store):
    assert repository.lock.state().policy is None
    report = repository.lock.set("governance", 30)
    assert not report.confirmed
    assert store.list(LOCKS) == []
    repository.lock.set("governance", 30, confirm=True)
    repository.lock.set("compliance", 10, confirm=True)
    state = reopened(repository).lock.state()
    assert (state.policy.mode, state.policy.days) == ("compliance", 10)
    assert [item.mode for item in state.policies] == ["governance", "compliance"]
    repository.lock.set("off", confirm=True)
    assert reopened(repository).lock.state().policy is None
    assert repository.backup(ROWS, name="n").lock is None
    with pytest.raises(InvalidArgumentError, match="no lock policy"):
        repository.lock.apply()


@pytest.mark.parametrize(("mode", "days"), [("strict", 3), ("off", 3), ("governance", 0), ("compliance", 40_000)])
def test_what_makes_no_policy_is_refused(repository, mode, days):
    with pytest.raises(InvalidArgumentError):
        repository.lock.set(mode, days, confirm=True)
    assert repository.store.list(LOCKS) == []


def test_where_nothing_locks_a_policy_is_refused():
    repository = Repository.create(MemoryStore(), encryption="none")
    with pytest.raises(InvalidArgumentError, match="nothing here can lock"):
        repository.lock.set("governance", 3, confirm=True)


def test_a_backup_locks_all_that_its_snapshot_needs_and_extends_what_it_reuses(repository, store, clock):
    repository.lock.set("governance", 30, confirm=True)
    first = repository.backup(ROWS, name="n")
    assert first.lock.ok
    assert first.lock.until_unix_ms == START_MS + 30 * DAY_MS
    volume = f"archives/{first.archives[0].archive_id}/000000.vark"
    assert until_of(store, volume) == START_MS + 30 * DAY_MS
    clock.forward(days=20)
    second = repository.backup(changed(ROWS, 1), name="n")
    assert second.archives[0].base == first.archives[0].archive_id
    until = START_MS + 50 * DAY_MS
    assert until_of(store, volume) == until
    # What the snapshot needs is what is left when everything else is destroyed.
    for entry in store.list(""):
        if (until_of(store, entry.name) or 0) < until:
            assert not entry.name.startswith(("archives", "keys", "vark.json"))
            store.administrator().destroy(entry.name)
        else:
            with pytest.raises(AccessDeniedError):
                store.administrator().destroy(entry.name)
    again = (
        reopened(repository)
        if not repository.is_encrypted
        else Repository.open(store, identities=[OWN.encode()], accept_history=True)
    )
    assert (again.load(second.snapshot) == changed(ROWS, 1)).all()
    assert again.verify().ok


def test_a_write_only_client_locks_what_it_adds(store, clock):
    repository = Repository.create(store, recipients=[RECIPIENT])
    repository.lock.set("governance", 30, confirm=True)
    content = repository.keys.add_signer("writer", write_only=True).content
    clock.forward(days=1)
    report = Repository.open(store, signer=content).backup(ROWS, name="n")
    assert report.lock.ok
    assert until_of(store, f"archives/{report.archives[0].archive_id}/000000.vark") == START_MS + 31 * DAY_MS
    state = reopened(repository).lock.state()
    assert (state.locked_count, state.until_unix_ms) == (state.object_count, START_MS + 31 * DAY_MS)


def test_retention_is_never_shortened(repository, store, clock):
    repository.lock.set("compliance", 30, confirm=True)
    report = repository.backup(ROWS, name="n")
    repository.lock.set("governance", 5, confirm=True)
    repository.backup(changed(ROWS, 1), name="n")
    kept = store.locks.retained(f"archives/{report.archives[0].archive_id}/000000.vark")
    assert kept == Retention("compliance", START_MS + 30 * DAY_MS)


def test_setting_a_policy_locks_what_is_there_and_apply_extends_it(repository, store, clock):
    chain(repository, 3)
    report = repository.lock.set("governance", 7, confirm=True)
    state = repository.lock.state()
    assert state.locked_count == state.object_count == report.object_count == report.locked_count
    assert state.until_unix_ms == START_MS + 7 * DAY_MS
    clock.forward(days=3)
    repository.lock.apply()
    assert repository.lock.state().until_unix_ms == START_MS + 10 * DAY_MS


def test_what_cannot_be_locked_is_said_and_the_snapshot_is_kept(clock):
    store = LockedMemoryStore(now_unix_ms=clock)
    repository = Repository.create(store, encryption="none")
    repository.lock.set("governance", 7, confirm=True)
    store.locks._may_lock = False
    report = repository.backup(ROWS, name="n")
    assert not report.lock.ok
    assert len(report.lock.failed) == report.lock.object_count
    assert report.lock.locked_count == 0
    assert "AccessDenied" in report.lock.failed[0][1]
    assert (repository.load() == ROWS).all()
    store.locks = None  # as where boto3 is not installed
    assert Repository.open(store).backup(ROWS, name="n").lock.failed == ((LOCKS, NO_LOCKS),)


def test_whatever_goes_wrong_while_locking_the_snapshot_is_reported(store, monkeypatch):
    repository = Repository.create(store, encryption="none")
    repository.lock.set("governance", 3, confirm=True)

    def broken(name, retention):
        raise KeyError("Retention")

    monkeypatch.setattr(store.locks, "retain", broken)
    report = repository.backup(ROWS, name="n")
    assert [why for _, why in report.lock.failed] == ["KeyError: 'Retention'"]
    assert repository.snapshot().id == report.snapshot


def test_what_may_be_retained_is_not_condemned_when_the_store_does_not_answer(clock, monkeypatch):
    store = LockedMemoryStore(may_delete=True, now_unix_ms=clock)
    repository = Repository.create(store, encryption="none")
    repository.backup(ROWS, name="n")
    second = repository.backup(changed(ROWS, 1), name="n", full=True)
    repository.forget(second.snapshot, confirm=True)

    with monkeypatch.context() as patch:
        patch.setattr(store.locks, "retained", silent)
        with pytest.raises(StoreUnavailableError):
            repository.gc(confirm=True, trash=0, grace=0)
        with pytest.raises(StoreUnavailableError):  # neither is it counted as free
            repository.lock.state()
    repository.undelete(second.snapshot)


def silent(name):
    raise StoreUnavailableError(f"{name}: no usable reply; run it again later")


def test_where_no_request_gets_a_reply_the_rest_are_not_made():
    asked = []

    def dead(number):
        asked.append(number)
        silent(str(number))

    found = list(at_once(dead, range(1000)))
    assert [number for number, _ in found] == list(range(1000))
    assert all(isinstance(said, StoreUnavailableError) for _, said in found)
    assert AT_ONCE <= len(asked) < 2 * AT_ONCE

    def lame(number):
        return number if number % 2 == 0 else silent(str(number))

    asked = [number for number, said in at_once(lame, range(1000)) if said == number]
    assert asked == list(range(0, 1000, 2))


def test_gc_leaves_what_is_retained_and_frees_it_afterwards(clock):
    store = LockedMemoryStore(now_unix_ms=clock, may_delete=True)
    repository = Repository.create(store, encryption="none")
    repository.lock.set("governance", 30, confirm=True)
    old = repository.backup(ROWS, name="n", full=True)
    repository.backup(ROWS + 1, name="n", full=True)
    repository.forget(old.snapshot, confirm=True)
    archive = old.archives[0].archive_id
    for _ in range(2):
        report = repository.gc(confirm=True, trash=0, grace=0)
        assert report.archives == {}
        assert report.retained == {archive: START_MS + 30 * DAY_MS}
    assert store.list("root") == []  # nothing was begun
    repository.undelete(old.snapshot)
    assert (repository.load(old.snapshot) == ROWS).all()
    repository.forget(old.snapshot, confirm=True)
    clock.forward(days=31)
    report = repository.gc(confirm=True, trash=0, grace=0)
    assert list(report.archives) == [archive]
    assert report.retained == {}
    assert repository.verify().ok


def test_append_only_credentials_begin_no_collection_and_those_that_may_delete_do_it(clock):
    store = LockedMemoryStore(now_unix_ms=clock)
    repository = Repository.create(store, encryption="none")
    old = repository.backup(ROWS, name="n", full=True)
    repository.backup(ROWS + 1, name="n", full=True)
    repository.forget(old.snapshot, confirm=True)
    names = None
    for _ in range(3):
        report = repository.gc(confirm=True, trash=0, grace=0)
        assert (report.archives, list(report.refused)) == ({}, [old.archives[0].archive_id])
        assert names in (None, [entry.name for entry in store.list("")])  # and nothing is left behind by trying
        names = [entry.name for entry in store.list("")]
    store._may_delete = True
    assert list(repository.gc(confirm=True, trash=0, grace=0).archives) == [old.archives[0].archive_id]


def test_a_store_that_refuses_in_the_middle_is_gone_on_with_later(clock, monkeypatch):
    store = LockedMemoryStore(now_unix_ms=clock, may_delete=True)
    repository = Repository.create(store, encryption="none")
    old = repository.backup(ROWS, name="n", full=True)
    repository.backup(ROWS + 1, name="n", full=True)
    repository.forget(old.snapshot, confirm=True)
    archive = old.archives[0].archive_id

    def delete(name):
        if name.startswith("archives"):
            raise AccessDeniedError(f"{name}: refused")
        LockedMemoryStore.delete(store, name)

    monkeypatch.setattr(store, "delete", delete)
    report = repository.gc(confirm=True, trash=0, grace=0)
    assert (report.archives, list(report.refused)) == ({}, [archive])
    generation = report.generation
    assert repository.gc(confirm=True, trash=0, grace=0).generation == generation  # no epoch for what is dead already
    monkeypatch.undo()
    report = repository.gc(confirm=True, trash=0, grace=0)
    assert (list(report.archives), report.refused, report.generation) == ([archive], {}, generation)
    assert repository.verify().ok


def test_erasing_and_new_keys_say_what_the_lock_keeps(clock):
    import faiss

    store = LockedMemoryStore(now_unix_ms=clock)
    repository = Repository.create(store, recipients=[RECIPIENT])
    repository.lock.set("governance", 30, confirm=True)
    index = faiss.IndexIDMap2(faiss.IndexFlatL2(16))
    index.add_with_ids(ROWS, np.arange(200))
    old = repository.backup(index, name="n")
    report = repository.erase([3], name="n", confirm=True)
    assert report.retained == {old.archives[0].archive_id: START_MS + 30 * DAY_MS}
    assert report.lock.ok
    changed_keys = repository.keys.new_epoch()
    assert changed_keys.removed_objects == 0
    assert changed_keys.kept_objects > 0
    assert "does not let go" in changed_keys.does_not_protect
    again = repository.keys.reencrypt(confirm=True)
    assert len(again.retained) == 1
    assert again.lock.ok
    assert repository.verify().ok


def test_a_probe_leaves_nothing_behind_twice_where_deletes_are_refused():
    store = LockedMemoryStore(default=("governance", 3))
    first = probe(store)
    names = [entry.name for entry in store.list("")]
    second = probe(store)
    assert [entry.name for entry in store.list("")] == names
    assert len(names) <= 21
    for found in (first, second):
        assert found.is_collectable
        assert (found.deletes, found.versioned, found.object_lock, found.default_days) == (False, True, True, 3)
    text = "\n".join(first.lines())
    assert "append-only: yes" in text
    assert "object lock: yes; what a new object gets by itself: governance, 3 days" in text
    assert "append-only: NO" in "\n".join(probe(MemoryStore()).lines())


def test_records_of_policies_are_read_strictly():
    envelope = Envelope("ab" * 16)
    good = {
        "kind": "lock",
        "version": 1,
        "repository": "ab" * 16,
        "mode": "governance",
        "days": 3,
        "created_unix_ms": 5,
        "store_unix_ms": None,
        "salt": "00" * 16,
    }
    assert decode_policy(envelope.encode(good), place="x", envelope=envelope).days == 3
    for wrong in (
        {"mode": "off"},
        {"days": 0},
        {"days": 40_000},
        {"mode": "x"},
        {"repository": "cd" * 16},
        {"salt": 1},
    ):
        with pytest.raises(DamagedError):
            decode_policy(envelope.encode({**good, **wrong}), place="x", envelope=envelope)


def test_a_policy_that_cannot_be_read_is_said_and_keeps_nobody_from_backing_up(store):
    repository = Repository.create(store, encryption="none")
    repository.lock.set("governance", 7, confirm=True)
    name = f"{LOCKS}/2027-01/{'ab' * 32}.json"
    store.create(name, b"{}")
    report = repository.backup(ROWS, name="n")
    assert [item[0] for item in report.lock.failed] == [name]
    assert (report.lock.mode, report.lock.days) == ("governance", 7)
    assert report.lock.locked_count == report.lock.object_count > 0
    assert [item.object for item in repository.verify().damaged] == [name]


def test_the_command(monkeypatch, capsys, clock):
    store = LockedMemoryStore(now_unix_ms=clock)
    monkeypatch.setitem(urls._MEMORY, "locked", store)
    Repository.create(store, encryption="none").backup(ROWS, name="n")
    where = ["-r", "memory://locked"]
    assert run(["lock", *where]) == 0
    assert "lock policy: none" in capsys.readouterr().out
    assert run(["lock", *where, "--mode", "compliance"]) == 2
    assert run(["lock", *where, "--confirm"]) == 2
    assert run(["doctor", *where, "--confirm"]) == 2
    assert run(["lock", *where, "--mode", "compliance", "--days", "9"]) == 0
    said = capsys.readouterr()
    assert "would lock" in said.out
    assert "Nobody can end" in said.err
    assert run(["lock", *where, "--mode", "governance", "--days", "9", "--confirm"]) == 0
    capsys.readouterr()
    assert run(["lock", *where, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["locked_count"] == found["object_count"] > 0
    assert run(["lock", *where, "--apply", "--confirm"]) == 0
    assert run(["gc", *where, "--confirm"]) == 0
    store.locks._may_lock = False
    clock.forward(days=1)
    assert run(["lock", *where, "--apply", "--confirm"]) == 1
    assert "NOT locked" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(store, "locks", None)  # as where boto3 is not installed
        assert run(["lock", *where, "--apply", "--confirm"]) == 1
    assert "locked 0 objects" in capsys.readouterr().out
    assert run(["lock", *where, "--off", "--confirm"]) == 0
    assert "off" in capsys.readouterr().out
