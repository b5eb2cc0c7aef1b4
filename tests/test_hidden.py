"""Objects that somebody hid under delete markers or covered with other bytes: told, and brought back."""

from dataclasses import replace

import numpy as np
import pytest

from sealed_repositories import OWN, RECIPIENT
from vark.cli import run
from vark.errors import HistoryAlteredError, StoreUnavailableError, VarkError
from vark.repository import Repository
from vark.repository.hidden import find_hidden_way_in
from vark.stores import LockedMemoryStore, MemoryStore, urls

ROWS = np.random.default_rng(2).standard_normal((200, 16), dtype=np.float32)
SEALS = {"plain": {"encryption": "none"}, "sealed": {"recipients": [RECIPIENT]}}


def filled(store, **seal):
    repository = Repository.create(store, **seal)
    repository.lock.set("governance", 30, confirm=True)
    for add in range(3):
        repository.backup(ROWS + add, name="n", full=True)
    return repository


def reopened(store, seal):
    return Repository.open(store, **({} if "encryption" in seal else {"identities": [OWN], "trust": True}))


@pytest.fixture(params=SEALS)
def seal(request):
    return SEALS[request.param]


def first_of(store, folder):
    return next(entry.name for entry in store.list(folder))


def test_nothing_is_hidden_where_all_is_well(seal):
    store = LockedMemoryStore()
    repository = filled(store, **seal)
    assert repository.verify().hidden == ()
    assert repository.doctor().hidden == ()
    assert Repository.create(MemoryStore(), **seal).doctor().hidden == ()


def is_well(repository):
    try:
        return repository.verify(level="structure").ok
    except HistoryAlteredError:  # another commit names the hidden one
        return False


@pytest.mark.parametrize("folder", ["archives", "commits", "locks", "keys"])
@pytest.mark.parametrize("kind", ["hidden", "covered"])
def test_what_was_hidden_or_covered_is_told_and_comes_back(seal, folder, kind, monkeypatch, tmp_path):
    if folder == "keys" and "encryption" in seal:
        pytest.skip("a repository that is not encrypted has no keys to hide")
    store = LockedMemoryStore()
    repository = filled(store, **seal)
    name = first_of(store, folder)
    true = store.read(name)
    owner = store.administrator()
    if kind == "hidden":
        owner.hide(name)
    else:
        owner.cover(name, bytes([true[0] ^ 1]) + true[1:])
    monkeypatch.setenv("VARK_STATE", str(tmp_path / "another client"))  # which has seen nothing of it before
    repository = reopened(store, seal)
    assert not is_well(repository)
    report = repository.doctor()
    assert not report.ok
    assert [(item.object, item.kind) for item in report.hidden if item.matters] == [(name, kind)]
    assert [line for line in report.lines() if name in line]
    # Somebody who may overwrite, as it takes to bring back what is covered.
    monkeypatch.setattr(store.locks, "put_over", owner.uncover)
    done = repository.doctor(undelete=True)
    assert done.ok
    assert done.undeleted.restored == (name,)
    assert store.read(name) == true
    again = reopened(store, seal)
    assert again.verify().ok
    assert [item for item in again.doctor().hidden if item.matters] == []
    assert len(again.snapshots()) == 3


def test_a_client_that_saw_a_commit_is_told_who_hides_it(seal):
    store = LockedMemoryStore()
    filled(store, **seal)
    name = first_of(store, "commits")
    store.administrator().hide(name)
    report = reopened(store, seal).doctor()
    assert [item.object for item in report.hidden] == [name]
    assert reopened(store, seal).doctor(undelete=True).undeleted.restored == (name,)
    assert len(reopened(store, seal).snapshots()) == 3


def test_credentials_that_only_add_cannot_bring_back_what_is_covered():
    store = LockedMemoryStore()
    repository = filled(store, encryption="none")
    name = first_of(store, "archives")
    store.administrator().cover(name, b"x")
    report = repository.doctor(undelete=True)
    assert not report.ok
    assert [item[0] for item in report.undeleted.failed] == [name]
    assert "AccessDenied" in report.undeleted.failed[0][1]


def test_a_newer_version_that_fits_the_name_is_not_needed_and_an_older_one_that_does_not_is_passed_over():
    store = LockedMemoryStore()
    repository = filled(store, encryption="none")
    name = first_of(store, "commits")
    data = store.read(name)
    store._versions[name].insert(0, type(store._versions[name][0])("v0", b"somebody was there before", 1))
    store.administrator().hide(name)
    assert repository.doctor(undelete=True).undeleted.restored == (name,)
    assert store.read(name) == data


def test_nothing_is_said_to_be_hidden_only_by_who_could_look(monkeypatch):
    store = LockedMemoryStore()
    repository = filled(store, encryption="none")

    def silent(prefix):
        raise StoreUnavailableError("no usable reply; run it again later")

    monkeypatch.setattr(store.locks, "versions", silent)
    with pytest.raises(StoreUnavailableError):
        repository.verify()


def test_the_same_bytes_under_another_tag_are_not_covered(monkeypatch):
    store = LockedMemoryStore()
    repository = filled(store, encryption="none")
    name = first_of(store, "archives")
    store.administrator().cover(name, store.read(name))
    versions = store.locks.versions

    def tagged(prefix):  # as a bucket that is encrypted with keys of a service has them
        return (replace(item, tag=item.version) for item in versions(prefix))

    monkeypatch.setattr(store.locks, "versions", tagged)
    assert repository.doctor().hidden == ()
    store.administrator().cover(name, bytes(len(store.read(name))))
    assert [item.object for item in repository.doctor().hidden] == [name]


def test_who_looks_for_the_way_in_reads_no_archive(seal, monkeypatch):
    store = LockedMemoryStore()
    filled(store, **seal)
    name = first_of(store, "archives")
    store.administrator().cover(name, bytes(len(store.read(name))))
    read, lists = [], []
    monkeypatch.setattr(store.locks, "read_version", lambda name, version: read.append(name))
    list_of = store.list
    monkeypatch.setattr(store, "list", lambda prefix: lists.append(prefix) or list_of(prefix))
    assert find_hidden_way_in(store) == ()
    assert (read, len(lists)) == ([], 1)


def test_what_a_collection_removed_does_not_matter():
    store = LockedMemoryStore(may_delete=True)
    repository = Repository.create(store, encryption="none")
    reports = [repository.backup(ROWS + add, name="n", full=True) for add in range(3)]
    repository.tag(reports[0].snapshot, {"a": "b"})
    repository.forget([report.snapshot for report in reports[:2]], confirm=True)
    assert len(repository.gc(confirm=True, trash=0, grace=0).archives) == 2
    found = repository.doctor()
    assert found.ok
    assert {item.object.split("/")[0] for item in found.hidden} >= {"archives", "commits", "marks"}
    assert [item for item in found.hidden if item.matters] == []
    assert repository.verify().ok
    assert "which is well" in found.lines()[-1]
    before = [entry.name for entry in store.list("archives")]
    assert repository.doctor(undelete=True).undeleted.restored == ()
    assert [entry.name for entry in store.list("archives")] == before


def test_new_keys_hide_the_old_ones_and_that_is_well():
    store = LockedMemoryStore(may_delete=True)
    repository = Repository.create(store, recipients=[RECIPIENT])
    repository.keys.new_epoch()
    hidden = repository.doctor().hidden
    assert [item.object for item in hidden if item.object.startswith("keys/")]
    assert [item for item in hidden if item.matters] == []


@pytest.mark.parametrize("kind", ["hidden", "covered"])
def test_the_command_finds_the_way_in(kind, monkeypatch, capsys):
    store = LockedMemoryStore()
    monkeypatch.setitem(urls._MEMORY, "hidden", store)
    filled(store, encryption="none")
    owner = store.administrator()
    monkeypatch.setattr(store.locks, "put_over", owner.uncover)
    if kind == "hidden":
        owner.hide("vark.json")
    else:
        owner.cover("vark.json", b"{}")
    owner.hide(first_of(store, "commits"))
    where = "memory://hidden"
    with pytest.raises(VarkError):
        Repository.open(store)
    assert run(["doctor", where]) != 0
    assert "vark.json" in capsys.readouterr().err
    assert run(["doctor", where, "--undelete"]) != 0
    assert run(["verify", "-r", where]) != 0
    capsys.readouterr()
    assert run(["doctor", where, "--undelete", "--confirm"]) == 0
    said = capsys.readouterr()
    assert "vark.json: is back" in said.err
    assert "is back" in said.out
    assert run(["verify", "-r", where]) == 0
    assert len(Repository.open(store).snapshots()) == 3


def test_the_command_verify_says_what_is_hidden(monkeypatch, capsys):
    store = LockedMemoryStore()
    monkeypatch.setitem(urls._MEMORY, "hidden", store)
    filled(store, encryption="none")
    store.administrator().hide(first_of(store, "commits"))
    assert run(["verify", "-r", "memory://hidden"]) == 4
    assert "HIDDEN: 1 objects" in capsys.readouterr().out
