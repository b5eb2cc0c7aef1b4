"""Encrypted repositories: everything works as in a plain one, nothing is readable, keys come and go."""

import json

import hnswlib
import numpy as np
import pytest
import reader
import reader_repository
import reader_seal

from sealed_repositories import (
    DIM,
    OTHER,
    OTHER_RECIPIENT,
    OWN,
    RECIPIENT,
    ROWS,
    changed,
    objects,
    reopened,
    rows,
    sealed_repository,
)
from vark.archive import Archive
from vark.errors import (
    ConflictError,
    DamagedError,
    InvalidArgumentError,
    KeyNeededError,
    TargetExistsError,
    WrongKeyError,
)
from vark.keys import new_recovery_code
from vark.repository import Repository
from vark.retention import Policy
from vark.stores import LocalStore, MemoryStore


def test_a_whole_life_in_an_encrypted_repository():
    repository = sealed_repository()
    days = [rows()]
    for day in range(1, 6):
        days.append(changed(days[-1], day))
    reports = [repository.backup(data, name="products", tags={"day": str(day)}) for day, data in enumerate(days)]
    assert all(report.archives[0].base for report in reports[1:])
    assert reports[1].archive_bytes < reports[0].archive_bytes / 8
    again = reopened(repository)
    assert again.is_encrypted
    assert again.warnings == ()
    for day, data in enumerate(days):
        assert (again.load(f"day={day}") == data).all()
    report = again.verify()
    assert report.ok
    found = {stream.stream: stream.changed for stream in again.diff("day=0", "day=1").streams}
    assert found["vectors"] == ROWS // 100
    again.compact("day=5")
    again.hold("day=2", reason="the auditor wants it")
    again.forget(Policy(keep_last=1), confirm=True, min_redundancy=0)
    again.gc(confirm=True, trash=0, grace=0)
    left = reopened(repository)
    assert [snapshot.tags["day"] for snapshot in left.snapshots()] == ["2", "5"]
    assert [snapshot.hold_reason for snapshot in left.snapshots()] == ["the auditor wants it", ""]
    assert (left.load("day=5") == days[5]).all()
    assert (left.load("day=2") == days[2]).all()
    assert left.verify().ok
    assert left.backup(days[0], name="products").archives[0].base is not None


def test_every_way_opens_and_what_does_not_fit_is_told_apart(tmp_path):
    code = new_recovery_code()
    made = Repository.create(tmp_path / "r", passphrase="Käse und Brot", recipients=[RECIPIENT], recovery_code=code)
    made.backup(rows(), name="n")
    for way in ({"passphrase": "Käse und Brot"}, {"identities": [OWN]}, {"recovery_code": code}):
        assert (Repository.open(tmp_path / "r", **way).load() == rows()).all()
    with pytest.raises(WrongKeyError):
        Repository.open(tmp_path / "r", passphrase="Brot und Käse")
    with pytest.raises(WrongKeyError):
        Repository.open(tmp_path / "r", identities=[OTHER])
    with pytest.raises(KeyNeededError):
        Repository.open(tmp_path / "r")


def test_a_repository_is_encrypted_unless_its_owner_says_otherwise(tmp_path):
    with pytest.raises(InvalidArgumentError, match="encrypted unless you say otherwise"):
        Repository.create(tmp_path / "r")
    with pytest.raises(InvalidArgumentError, match="leave out one of them"):
        Repository.create(tmp_path / "r", passphrase="x", encryption="none")
    with pytest.raises(InvalidArgumentError, match="chacha20"):
        Repository.create(tmp_path / "r", passphrase="x", encryption="rot13")
    assert not (tmp_path / "r").exists()
    plain = Repository.create(tmp_path / "r", encryption="none")
    assert not plain.is_encrypted
    with pytest.raises(DamagedError, match="is not encrypted, though a key was given"):
        Repository.open(tmp_path / "r", passphrase="x")
    with pytest.raises(InvalidArgumentError, match="no keys"):
        plain.keys.report()


def test_the_second_suite_is_used_for_everything():
    repository = sealed_repository(encryption="chacha20-poly1305")
    repository.backup(rows(), name="n")
    repository.backup(changed(rows(), 1), name="n")
    records = [json.loads(data) for name, data in objects(repository.store).items() if name.endswith(".json")]
    assert {record["seal"]["suite"] for record in records if "seal" in record} == {2}
    assert (reopened(repository).load() == changed(rows(), 1)).all()


def test_keys_come_and_go_and_who_was_removed_reads_nothing_new():
    repository = sealed_repository()
    repository.backup(rows(), name="n")
    added = repository.keys.add(recipients=[OTHER_RECIPIENT], label="laptop of Ben")
    assert [slot.label for slot in added.added] == ["laptop of Ben"]
    assert added.epoch == 1
    old = objects(repository.store)
    assert (reopened(repository, OTHER, trust=True).load() == rows()).all()
    removed = repository.keys.remove("laptop of Ben")
    assert removed.epoch == 2
    assert "written before" in removed.does_not_protect
    with pytest.raises(WrongKeyError):
        reopened(repository, OTHER)
    repository.backup(changed(rows(), 1), name="n")  # a delta over an archive of the epoch before
    assert (reopened(repository).load() == changed(rows(), 1)).all()
    assert reopened(repository).verify().ok
    # What Ben kept still opens what was there when he could open it, and nothing that came later.
    kept = {name: data for name, data in old.items() if name.startswith("keys/")}
    now = objects(repository.store)
    store = MemoryStore()
    for name, data in {**{key: value for key, value in now.items() if not key.startswith("keys/")}, **kept}.items():
        store.create(name, data)
    ben = Repository.open(store, identities=[OTHER], trust=True, accept_history=True)
    assert {type(error) for error in ben.catalog().faults.values()} == {WrongKeyError}
    assert len(ben.snapshots()) == 1
    assert (ben.load() == rows()).all()


def test_a_new_epoch_is_used_from_then_on_and_the_last_key_stays():
    repository = sealed_repository()
    repository.backup(rows(), name="n")
    assert repository.keys.new_epoch().epoch == 2
    report = repository.keys.report()
    assert [(epoch.number, epoch.is_active) for epoch in report.epochs] == [(1, False), (2, True)]
    repository.backup(changed(rows(), 1), name="n")
    epochs = [
        json.loads(data)["seal"]["epoch"]
        for name, data in objects(repository.store).items()
        if name.startswith("commits/")
    ]
    assert sorted(epochs) == [1, 2]
    with pytest.raises(InvalidArgumentError, match="all key slots would be gone"):
        repository.keys.remove(report.slots[0].id)
    with pytest.raises(InvalidArgumentError, match="0 of them fit"):
        repository.keys.remove("nobody")
    assert reopened(repository).verify().ok


def test_only_one_of_two_rotations_at_once_wins():
    repository = sealed_repository()
    other = reopened(repository, trust=True)
    repository.keys.add(recipients=[OTHER_RECIPIENT], label="one")
    with pytest.raises(ConflictError):
        other.keys.add(recipients=[OTHER_RECIPIENT], label="two")
    assert [slot.label for slot in reopened(repository).keys.report().slots] == ["", "one"]


@pytest.mark.parametrize("stop", range(9))
def test_a_rotation_that_stops_anywhere_leaves_a_repository_that_opens(stop):
    class StoppingStore(MemoryStore):
        left = None

        def create(self, name, data):
            if self.left is not None:
                if self.left == 0:
                    raise KeyboardInterrupt
                self.left -= 1
            super().create(name, data)

    store = StoppingStore()
    repository = sealed_repository(store)
    repository.backup(rows(), name="n")
    store.left = stop
    with pytest.raises(KeyboardInterrupt):
        repository.keys.add(recipients=[OTHER_RECIPIENT], label="x")
    store.left = None
    again = Repository.open(store, identities=[OWN], trust=True)
    assert (again.load() == rows()).all()
    finished = stop >= 7  # copy 2 of the keyring is there
    assert (again.keys.report().generation == 2) == finished
    assert bool(again.warnings) == (0 < stop < 7)
    assert again.keys.add(recipients=[OTHER_RECIPIENT], label="y").generation == (2 if stop == 0 else 3)
    assert (Repository.open(store, identities=[OTHER]).load() == rows()).all()


def test_each_key_object_may_be_lost_or_damaged_twice():
    repository = sealed_repository()
    repository.backup(rows(), name="n")
    kept = objects(repository.store)
    names = sorted(name for name in kept if name.startswith("keys/"))
    assert len(names) == 6
    groups = {name.rsplit("-", 1)[0] for name in names}
    for good in range(3):
        for fault in ("gone", "damaged"):
            store = MemoryStore()
            for name, data in kept.items():
                bad = any(name.startswith(group) for group in groups) and f"-{good}." not in name
                if not bad or fault == "damaged":
                    store.create(name, data[:-40] + b"x" + data[-39:] if bad else data)
            assert (Repository.open(store, identities=[OWN]).load() == rows()).all()
    for group in groups:
        store = MemoryStore()
        for name, data in kept.items():
            store.create(name, data[:-40] + b"x" + data[-39:] if name.startswith(group) else data)
        with pytest.raises(DamagedError):
            Repository.open(store, identities=[OWN])


def test_an_interrupted_init_is_no_repository(tmp_path):
    class Full(LocalStore):
        def create(self, name, data):
            if name == "vark.json":
                raise KeyboardInterrupt
            super().create(name, data)

    with pytest.raises(KeyboardInterrupt):
        sealed_repository(Full(tmp_path))
    with pytest.raises(TargetExistsError, match="keys of a repository that nobody finished"):
        sealed_repository(tmp_path)


def test_nothing_that_was_written_names_anything(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    data = rows()
    index = hnswlib.Index("l2", DIM)
    index.init_index(ROWS, M=8, random_seed=3)
    index.add_items(data, np.arange(ROWS) + 7_000_000_001, num_threads=1)
    path = tmp_path / "canary-file.hnsw"
    index.save_index(str(path))
    code, passphrase = new_recovery_code(), "canary-passphrase"
    repository = Repository.create(
        tmp_path / "r", passphrase=passphrase, recipients=[RECIPIENT], recovery_code=code, volume_bytes="1MiB"
    )
    repository.keys.add(recipients=[OTHER_RECIPIENT], label="canary-label")
    options = {"documents": {"canary-document.md": "canary-text"}, "application": {"app": "canary-app"}}
    first = repository.backup(path, name="canary-name", tags={"canary-tag": "canary-value"}, **options)
    index.add_items(data[:30] + 1, np.arange(30) + 7_000_000_001, num_threads=1)
    index.save_index(str(path))
    repository.backup(path, name="canary-name", **options)
    repository.hold(first.snapshot, reason="canary-reason")
    repository.tag(first.snapshot, {"canary-more": "canary-too"})
    repository.compact("latest")
    repository.verify()
    repository.gc(confirm=True, trash=0, grace=0)
    found = [str(path) for path in tmp_path.rglob("*") if "canary" in path.name and path.name != "canary-file.hnsw"]
    needles = [b"canary", code.encode(), code.replace("-", "").encode(), OWN.encode(), passphrase.encode()]
    needles += [row.tobytes() for row in data[:50]] + [
        int(7_000_000_001 + at).to_bytes(8, "little") for at in range(50)
    ]
    for path in (tmp_path / "r", tmp_path / "tmp"):
        for file in path.rglob("*"):
            if file.is_file():
                content = file.read_bytes()
                found += [f"{file}: {needle!r}" for needle in needles if needle in content]
    assert found == []
    assert "canary" not in repr(repository._context.keys) + repr(repository) + repr(repository._context.keys.keyring)


def test_an_identity_alone_needs_trust_before_it_writes():
    repository = sealed_repository()
    repository.backup(rows(), name="n")
    authority = repository.keys.report().authority
    state = repository._context.history.state
    state.path.unlink()
    fresh = reopened(repository)
    assert any("nothing vouches" in text for text in fresh.warnings)
    assert (fresh.load() == rows()).all()
    with pytest.raises(InvalidArgumentError, match="--authority"):
        fresh.backup(rows(), name="n")
    with pytest.raises(WrongKeyError, match="which you gave"):
        reopened(repository, authority="ab" * 32)
    told = reopened(repository, authority=authority)
    told.backup(rows(), name="n")
    assert reopened(repository).warnings == ()  # it is remembered


def test_a_plain_record_or_archive_in_an_encrypted_repository_is_refused_and_the_other_way_round():
    sealed, plain = sealed_repository(), Repository.create(MemoryStore(), encryption="none")
    for repository in (sealed, plain):
        repository.backup(rows(), name="n")
    commits = [
        next(item for item in objects(repository.store).items() if item[0].startswith("commits/"))
        for repository in (sealed, plain)
    ]
    for repository, commit in zip((plain, sealed), commits, strict=True):
        repository.store.create(*commit)
    assert [type(error) for error in reopened(sealed).catalog().faults.values()] == [DamagedError]
    assert [type(error) for error in Repository.open(plain.store).catalog().faults.values()] == [DamagedError]


def test_the_reference_reader_restores_every_day_by_every_way(tmp_path):
    code = new_recovery_code()
    made = Repository.create(tmp_path / "r", passphrase="x", recipients=[RECIPIENT], recovery_code=code)
    days = [rows()]
    for day in range(1, 4):
        days.append(changed(days[-1], day))
    reports = [made.backup(data, name="n") for data in days[:2]]
    made.keys.add(recipients=[OTHER_RECIPIENT], label="gone")
    made.keys.remove("gone")
    reports += [made.backup(data, name="n") for data in days[2:]]
    made.forget(reports[0].snapshot, confirm=True)
    made.compact(reports[1].snapshot)
    made.gc(confirm=True, trash=0, grace=0)
    for number, secret in enumerate((b"x", OWN, code)):
        read = reader_repository.Repository(tmp_path / "r", [secret])
        assert read.faults == []
        for day in (1, 2, 3):
            target = tmp_path / f"{number}-{day}.npy"
            read.restore(reports[day].snapshot, target, reader.Archive)
            assert (np.load(target) == days[day]).all()
    for secret in (b"y", OTHER):
        with pytest.raises(reader_seal.WrongKeyError):
            reader_repository.Repository(tmp_path / "r", [secret])


def test_re_encryption_writes_all_that_is_kept_under_the_new_epoch_and_can_be_interrupted(tmp_path):
    class StoppingStore(MemoryStore):
        left = None

        def create(self, name, data):
            if self.left is not None and name.startswith("commits/"):
                if self.left == 0:
                    raise KeyboardInterrupt
                self.left -= 1
            super().create(name, data)

    store = StoppingStore()
    repository = sealed_repository(store)
    days = [rows()]
    for day in range(1, 5):
        days.append(changed(days[-1], day))
    options = {"documents": {"a.md": "text"}, "probes": {"queries": days[0][:20], "k": 5}}
    for day, data in enumerate(days):
        repository.backup(data, name="n", tags={"day": str(day)}, **options)
    repository.hold("day=0", reason="kept")
    made = repository.keys.add_signer("host", write_only=True)
    Repository.open(store, signer=made.content).backup(days[2], name="host")
    before = {snapshot.id: (snapshot.unix_ms, snapshot.tags, snapshot.held) for snapshot in repository.snapshots()}
    assert repository.keys.reencrypt().snapshot_count == 0
    repository.keys.add(recipients=[OTHER_RECIPIENT], label="thief")
    old = reopened(repository, OTHER, trust=True)._context.keys.keyring
    repository.keys.remove("thief")
    planned = repository.keys.reencrypt()
    assert (planned.snapshot_count, planned.confirmed, planned.bytes_written) == (6, False, 0)
    store.left = 2
    with pytest.raises(KeyboardInterrupt):
        repository.keys.reencrypt(confirm=True)
    store.left = None
    again = reopened(repository)
    assert again.verify().ok
    report = again.keys.reencrypt(confirm=True)
    assert report.snapshot_count == 4
    assert again.keys.reencrypt(confirm=True).snapshot_count == 0
    again.gc(confirm=True, trash=0, grace=0, min_redundancy=0)
    left = reopened(repository)
    assert left.verify().ok
    assert {item.id: (item.unix_ms, item.tags, item.held) for item in left.snapshots()} == before
    for day, data in enumerate(days):
        assert (left.load(f"day={day}") == data).all()
        with left.open_archive(f"day={day}") as archive:
            assert archive.documents["a.md"] == b"text"
            assert (archive.probes().queries == days[0][:20]).all()
            assert archive.reader.epoch == 2
    assert [snapshot.delta for snapshot in left.snapshots(name="n")] == [False, True, True, True, True]
    # What the thief kept opens nothing that is left but marks, roots and lists of its time.
    for name, data in objects(store).items():
        if name.startswith("commits/"):
            assert json.loads(data)["seal"]["epoch"] == 2
        if name.startswith("archives/"):
            path = tmp_path / "a.vark"
            path.write_bytes(data)
            with pytest.raises(WrongKeyError):
                Archive(path, secrets=old)
