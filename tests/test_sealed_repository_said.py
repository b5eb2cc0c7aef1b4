"""What an encrypted repository does not believe it says: refused commits, reports and sessions of who was removed, the marker."""

import os
import tempfile

import hnswlib
import numpy as np
import pytest

import vark
from sealed_repositories import OTHER, OTHER_RECIPIENT, changed, objects, reopened, rows, sealed_repository
from vark.adapters import hnswlib_
from vark.errors import InvalidArgumentError, LimitError
from vark.keys import new_identity
from vark.repository import Repository, sessions
from vark.repository.ledger import LedgerEntry, read_ledger, write_ledger
from vark.repository.records import Marker


def test_commits_that_are_not_believed_are_listed_with_the_reason():
    repository = sealed_repository()
    repository.backup(rows(), name="mine")
    made = repository.keys.add_signer("host", write_only=True)
    Repository.open(repository.store, signer=made.content).backup(rows(1), name="theirs")
    assert reopened(repository).verify().not_believed == ()
    repository.keys.revoke_signer("host", keep=False)
    member = reopened(repository)
    report = member.verify()
    ((place, why),) = report.not_believed
    assert report.ok
    assert place in objects(repository.store)
    assert "'theirs' is not believed: by the write-only signer host, who was revoked" in why
    assert dict(report.not_believed) == member.catalog().not_believed()
    assert [item.name for item in member.snapshots()] == ["mine"]


def removed_member():
    """A repository from which a member was removed, and what that member still holds."""
    repository = sealed_repository()
    repository.backup(rows(), name="n")
    repository.keys.add(recipients=[OTHER_RECIPIENT], label="gone")
    gone = reopened(repository, OTHER)
    repository = reopened(repository)
    repository.keys.remove("gone")
    return reopened(repository), gone._context


def test_of_reports_under_an_ended_epoch_only_damage_is_believed():
    repository, gone = removed_member()
    archive = repository.snapshot().archives[0].id
    context = repository._context
    write_ledger(context.store, gone.envelope, [LedgerEntry(archive, "full", 1, True, 0)])
    assert read_ledger(context.store, context.envelope).verified_unix_ms(archive, "full") is None
    assert read_ledger(context.store, gone.envelope).verified_unix_ms(archive, "full") is not None
    assert repository.verify(max_age="30d").recent == ()  # nobody was talked out of reading it
    assert read_ledger(context.store, context.envelope).verified_unix_ms(archive, "full") is not None
    assert repository.verify(max_age="30d").recent == (archive,)
    write_ledger(context.store, gone.envelope, [LedgerEntry(archive, "stored", 1, False, 0)])
    assert read_ledger(context.store, context.envelope).damaged() == {archive}
    report = repository.backup(changed(rows(), 1), name="n")
    assert "known to be damaged" in report.archives[0].reason  # which costs a full archive
    assert repository.verify(level="full").ok
    assert read_ledger(context.store, context.envelope).damaged() == frozenset()


def test_a_session_under_an_ended_epoch_is_not_gone_on_with(monkeypatch):
    repository, gone = removed_member()
    monkeypatch.setattr(sessions, "is_running", lambda session: False)
    terms = {"name": "n", "signature": "ab" * 32, "bases": {"": None}}
    found = []
    for envelope in (gone.envelope, repository._context.envelope):
        begun = sessions.begin(repository.store, envelope, **terms)
        catalog = repository.catalog()
        resumed = sessions.find_interrupted(repository.store, repository._context.envelope, catalog, **terms)
        found.append(resumed is not None and resumed.id == begun.id)
    assert found == [False, True]


@pytest.mark.parametrize("given", [1, 4096, 1 << 60])
def test_a_marker_that_was_tampered_with_costs_neither_memory_nor_a_request_a_byte(given):
    repository = sealed_repository(volume_bytes="1MiB")
    store = repository.store
    marker = Marker.decode(store.read("vark.json"), place="vark.json")
    store.delete("vark.json")
    store.create("vark.json", Marker(marker.id, None, marker.created_unix_ms, given, 2).encode())
    again = reopened(repository)
    assert 1 << 20 <= again._context.volume_bytes <= 512 << 20
    data = np.random.default_rng(1).standard_normal((50_000, 16), dtype=np.float32)
    report = again.backup(data, name="n")
    assert len(again.snapshot(report.snapshot).archives[0].volumes) <= 4
    assert (reopened(repository).load(report.snapshot) == data).all()
    with pytest.raises(InvalidArgumentError, match="at most"):
        sealed_repository(volume_bytes=(512 << 20) + 1)


def small_index():
    index = hnswlib.Index("l2", 8)
    index.init_index(300, M=4, random_seed=1)
    index.add_items(np.random.default_rng(2).standard_normal((300, 8), dtype=np.float32), num_threads=1)
    return index


def test_a_live_hnswlib_index_touches_no_disk_on_its_way_into_an_encrypted_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(hnswlib_, "can_fork", lambda: False)
    identity, recipient = new_identity()
    index = small_index()
    index.save_index(str(tmp_path / "expected"))

    def refused(*_, **__):
        raise AssertionError("a temporary file")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "NamedTemporaryFile", refused)
        patch.setattr(tempfile, "TemporaryFile", refused)
        vark.write_archive(index, tmp_path / "a.vark", recipients=[recipient])
        patch.delattr(os, "memfd_create")
        with pytest.raises(LimitError, match="in the clear"):
            vark.write_archive(index, tmp_path / "b.vark", recipients=[recipient])
        assert not (tmp_path / "b.vark").exists()
        repository = Repository.create(tmp_path / "r", recipients=[recipient])
        with pytest.raises(LimitError, match="in the clear"):
            repository.backup(index, name="n")
    vark.write_archive(index, tmp_path / "plain.vark")  # in the clear in any case
    with vark.open_archive(tmp_path / "a.vark", identities=[identity]) as archive:
        archive.restore(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "expected").read_bytes()
