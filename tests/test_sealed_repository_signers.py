"""Signers of encrypted repositories: write-only clients, signatures of members, and who is believed no more."""

import base64
import json

import pytest

from sealed_repositories import OTHER_RECIPIENT, changed, objects, reopened, rows, sealed_repository
from vark.errors import ConflictError, InvalidArgumentError, KeyNeededError, RefusedError, WrongKeyError
from vark.repository import Repository
from vark.repository.digest import digest_hex
from vark.repository.fields import encode_record
from vark.retention import Policy


def test_a_write_only_client_adds_snapshots_and_reads_nothing():
    repository = sealed_repository()
    repository.backup(rows(), name="mine")
    made = repository.keys.add_signer("backup-host", write_only=True)
    assert made.signer.is_write_only
    assert made.content not in repr(made).encode()
    writer = Repository.open(repository.store, signer=made.content)
    report = writer.backup(changed(rows(), 1), name="host", tags={"by": "host"})
    before = set(objects(repository.store))
    again = Repository.open(repository.store, signer=made.content).backup(changed(rows(), 2), name="host")
    assert {name.split("/")[0] for name in set(objects(repository.store)) - before} == {
        "archives",
        "commits",
        "sessions",
    }
    assert report.archives[0].reason == "a write-only client builds on its local cache, and it has none"
    for attempt in (
        writer.snapshots,
        writer.load,
        writer.verify,
        lambda: writer.forget("latest", confirm=True),
        lambda: writer.gc(confirm=True),
        lambda: writer.hold("latest"),
        lambda: writer.compact("latest"),
        lambda: writer.keys.add(recipients=[OTHER_RECIPIENT]),
    ):
        with pytest.raises(KeyNeededError, match="write-only"):
            attempt()
    with pytest.raises(KeyNeededError, match="write-only"):
        snapshot = repository.snapshot(again.snapshot)
        writer._context.engine.open(writer.store, snapshot.archives[0], {})
    read = reopened(repository)
    assert (read.load("by=host") == changed(rows(), 1)).all()
    assert (read.load(again.snapshot) == changed(rows(), 2)).all()
    assert read.verify().ok
    built = read.backup(changed(rows(), 3), name="host")
    assert "made by a write-only client" in built.archives[0].reason
    assert (reopened(repository).load("latest", name="host") == changed(rows(), 3)).all()
    assert {item.object.split("/")[0] for item in read.verify(signed_by=["backup-host"]).damaged} == {"commits"}
    read.forget(built.snapshot, confirm=True, min_redundancy=0)
    read.gc(confirm=True, trash=0, grace=0)
    assert read.verify().ok


def test_who_was_revoked_is_not_believed_and_nobody_can_sign_for_another():
    repository = sealed_repository()
    made = repository.keys.add_signer("backup-host", write_only=True)
    Repository.open(repository.store, signer=made.content).backup(rows(), name="host")
    (kept,) = [item for item in objects(repository.store).items() if item[0].startswith("commits/")]
    record = json.loads(kept[1])
    unsigned = {key: value for key, value in record.items() if key != "signature"}
    other = repository.keys.add_signer("other", write_only=True)
    forged = {**record, "signature": {**record["signature"], "key": other.signer.key}}
    for change in (unsigned, forged):
        data = encode_record(change)
        name = f"{kept[0].rsplit('/', 1)[0]}/{digest_hex(data)}.json"
        repository.store.create(name, data)
        assert "without a signature" in str(reopened(repository).catalog().faults[name])
        repository.store.delete(name)
    assert len(reopened(repository, accept_history=True).snapshots()) == 1
    (snapshot,) = reopened(repository).snapshots()
    assert repository.keys.revoke_signer("backup-host").kept == (snapshot.id,)
    assert (reopened(repository).load(snapshot.id) == rows()).all()
    assert reopened(repository).verify().ok
    Repository.open(repository.store, signer=made.content).backup(rows(), name="host")  # nobody can keep it from trying
    assert [item.id for item in reopened(repository).snapshots()] == [snapshot.id]
    Repository.open(repository.store, signer=other.content).backup(rows(), name="host")
    assert len(reopened(repository).snapshots()) == 2
    assert repository.keys.revoke_signer("other", keep=False).kept == ()
    again = reopened(repository)
    assert [item.id for item in again.snapshots()] == [snapshot.id]
    for _ in range(2):
        again.gc(confirm=True, trash=0, grace=0)
    again = reopened(repository)
    assert (again.load() == rows()).all()
    assert again.verify().ok
    assert len([name for name in objects(repository.store) if name.startswith("archives/")]) == 1
    assert all(digest in kept[0] for digest in again.catalog().refused)
    with pytest.raises(InvalidArgumentError, match="revoked already"):
        repository.keys.revoke_signer("backup-host")


def test_members_may_sign_and_a_signature_cannot_be_taken_off():
    repository = sealed_repository()
    first = repository.backup(rows(), name="n")
    made = repository.keys.add_signer("release")
    signing = reopened(repository, signer=made.content)
    second = signing.backup(changed(rows(), 1), name="n")
    read = reopened(repository)
    assert read.verify().ok
    damaged = read.verify(signed_by=["release"]).damaged
    assert [first.commit in item.object for item in damaged] == [True]
    minisign = base64.b64encode(b"Ed" + bytes(8) + bytes.fromhex(made.signer.key)).decode()
    assert [item.object for item in read.verify(signed_by=[minisign]).damaged] == [damaged[0].object]
    (name,) = [name for name in objects(repository.store) if second.commit in name]
    record = json.loads(repository.store.read(name))
    data = encode_record({key: value for key, value in record.items() if key != "signature"})
    stripped = f"{name.rsplit('/', 1)[0]}/{digest_hex(data)}.json"
    repository.store.create(stripped, data)
    assert "its signature is gone" in str(reopened(repository).catalog().faults[stripped])
    with pytest.raises(InvalidArgumentError, match="no signer of that name"):
        read.verify(signed_by=["nobody"])
    with pytest.raises(WrongKeyError, match="of another repository"):
        Repository.open(sealed_repository().store, signer=repository.keys.add_signer("w", write_only=True).content)


def test_snapshots_of_a_write_only_client_push_nobody_elses_out():
    repository = sealed_repository()
    mine = [repository.backup(changed(rows(), day), name="n").snapshot for day in range(3)]
    made = repository.keys.add_signer("host", write_only=True)
    writer = Repository.open(repository.store, signer=made.content)
    theirs = [writer.backup(changed(rows(), 9), name="n").snapshot for _ in range(4)]
    again = reopened(repository)
    report = again.forget(Policy(keep_last=2), confirm=True)
    assert set(report.forgotten) == {mine[0], *theirs[:2]}
    with pytest.raises(RefusedError, match="0 complete snapshots would be left"):
        again.forget(mine[1:], confirm=True)


def test_a_backup_does_not_commit_under_keys_that_were_changed_meanwhile():
    repository = sealed_repository()
    repository.backup(rows(), name="n")
    other = reopened(repository)
    repository.keys.new_epoch()
    with pytest.raises(ConflictError, match="keys of the repository were changed"):
        other.backup(changed(rows(), 1), name="n")
    assert reopened(repository).catalog().faults == {}
    reopened(repository).backup(changed(rows(), 1), name="n")
    assert (reopened(repository).load(name="n") == changed(rows(), 1)).all()
