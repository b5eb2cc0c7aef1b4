"""Object lock and versions on real servers: retention by vark, what is hidden, and credentials that only add."""

import time

import numpy as np
import pytest

from store_servers import LockedSeaweed, Minio, Seaweed, Versitygw
from vark.errors import InvalidArgumentError, NotFoundError
from vark.repository import Repository
from vark.repository.locking import DAY_MS
from vark.stores import LockRules, Retention, open_store
from vark.stores.probe import probe

LOCKING = {server.name: server for server in (Seaweed, Minio, Versitygw)}
ROWS = np.random.default_rng(3).standard_normal((300, 16), dtype=np.float32)


@pytest.fixture(params=LOCKING)
def server(request, servers):
    return servers.get(LOCKING[request.param])


def split(address):
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    return bucket, prefix


def test_retention_is_set_extended_and_never_shortened(server):
    store = open_store(server.locked_bucket(), server.options())
    assert store.locks.rules() == LockRules(True, True)
    now = time.time_ns() // 1_000_000
    store.create("a/b", b"one")
    assert store.locks.retained("a/b") is None
    for days, kept in ((2, 2), (1, 2), (3, 3)):
        store.locks.retain("a/b", Retention("governance", now + days * DAY_MS))
        found = store.locks.retained("a/b")
        assert found.mode == "governance"
        assert 0 <= found.until_unix_ms - (now + kept * DAY_MS) <= 1000
    with pytest.raises(NotFoundError):
        store.locks.retain("a/c", Retention("governance", now + DAY_MS))


def test_a_bucket_without_lock_says_so(server):
    store = open_store(server.bucket(), server.options())
    assert store.locks.rules().object_lock is False
    repository = Repository.create(store, encryption="none")
    with pytest.raises(InvalidArgumentError, match="no object lock"):
        repository.lock.set("governance", 1, confirm=True)


def test_the_probe_says_what_is_there(server):
    address = server.locked_bucket()
    store = open_store(address, server.options())
    found = probe(store)
    # Of eight at once that create a name versitygw 1.7.0 lets several win in most races; collections are refused then.
    assert found.is_collectable == found.create_only == (not isinstance(server, Versitygw))
    assert (found.versioned, found.object_lock, found.default_days) == (True, True, None)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 2}}
    server.client().put_object_lock_configuration(
        Bucket=split(address)[0], ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    assert store.locks.rules() == LockRules(True, True, "governance", 2)
    store.create("x", b"1")
    if not isinstance(server, Versitygw):  # applies its rule when somebody deletes, and does not tell before
        assert store.locks.retained("x").until_unix_ms > (time.time() + 86_400) * 1000


def test_what_is_locked_stays_below_markers_and_comes_back(server):
    address, options = server.locked_bucket(), server.options()
    repository = Repository.create(address, store_options=options, encryption="none")
    repository.lock.set("governance", 1, confirm=True)
    assert repository.backup(ROWS, name="n").lock.ok
    report = repository.backup(ROWS + 1, name="n")
    assert report.lock.ok
    assert repository.lock.state().until_unix_ms is not None
    bucket, prefix = split(address)
    client = server.client()
    names = [entry.name for entry in repository.store.list("")]
    locked = [name for name in names if repository.store.locks.retained(name) is not None]
    for name in locked:
        version = client.head_object(Bucket=bucket, Key=f"{prefix}/{name}")["VersionId"]
        with pytest.raises(client.exceptions.ClientError, match=r"AccessDenied|WORM|ObjectLocked"):
            client.delete_object(Bucket=bucket, Key=f"{prefix}/{name}", VersionId=version)
    hidden = next(name for name in locked if name.startswith("commits"))
    client.delete_object(Bucket=bucket, Key=f"{prefix}/{hidden}")
    covered = next(name for name in locked if name.startswith("archives"))
    client.put_object(Bucket=bucket, Key=f"{prefix}/{covered}", Body=b"encrypted by somebody")
    repository = Repository.open(address, store_options=options)
    verified = repository.verify()
    assert {(item.object, item.kind) for item in verified.hidden if item.matters} == {
        (hidden, "hidden"),
        (covered, "covered"),
    }
    done = repository.doctor(undelete=True)
    assert done.undeleted.failed == ()
    assert set(done.undeleted.restored) == {hidden, covered}
    repository = Repository.open(address, store_options=options)
    assert repository.verify().ok
    assert (repository.load(report.snapshot) == ROWS + 1).all()


def test_credentials_that_only_add_do_all_but_collect(servers):
    server = servers.get(LockedSeaweed)
    address = server.locked_bucket()
    options = server.writer_options()
    repository = Repository.create(address, store_options=options, encryption="none")
    found = repository.doctor().probe
    assert (found.deletes, found.object_lock) == (False, True)
    repository.lock.set("governance", 1, confirm=True)
    reports = [repository.backup(ROWS + add, name="n", full=True) for add in range(2)]
    assert all(report.lock.ok for report in reports)
    delta = repository.backup(np.concatenate([ROWS + 1, ROWS[:3]]), name="n")
    assert delta.lock.ok
    assert repository.verify().ok
    repository.forget(reports[0].snapshot, confirm=True)
    names = [entry.name for entry in repository.store.list("")]
    collected = repository.gc(confirm=True, trash=0, grace=0)
    assert collected.archives == {}
    assert list(collected.retained) == [reports[0].archives[0].archive_id]
    assert [entry.name for entry in repository.store.list("")] == names
    bucket, _ = split(address)
    listed = server.client().list_object_versions(Bucket=bucket)
    # Nothing was deleted, and nothing was written twice.
    assert "DeleteMarkers" not in listed
    keys = [item["Key"] for item in listed["Versions"]]
    assert len(keys) == len(set(keys)) > 10
