"""An encrypted repository against writers that were taken over or removed, and storages that show old things anew."""

import json
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest

from sealed_repositories import (
    OTHER,
    OTHER_RECIPIENT,
    OWN,
    RECIPIENT,
    identity,
    objects,
    put_back,
    reopened,
    sealed_repository,
)
from vark.errors import (
    DamagedError,
    HistoryAlteredError,
    InvalidArgumentError,
    KeyNeededError,
    NotFoundError,
    UnsupportedError,
    WrongKeyError,
)
from vark.keys import signer_of
from vark.repository import Repository
from vark.repository.digest import digest_hex
from vark.repository.erasures import END, new_erasure
from vark.repository.fields import encode_digested, encode_record, new_salt
from vark.repository.layout import COMMITS, ROOTS, volume_of
from vark.repository.marks import write_mark
from vark.repository.objects import create_record
from vark.repository.root import AdministrationReader
from vark.repository.state import ClientState


def rows(seed=0):
    return np.random.default_rng(seed).standard_normal((100, 16)).astype("float32")


def put_record(store, like, values):
    """Put a record under the name of its content, beside `like`; return the name."""
    data = encode_record(values)
    name = f"{like.rsplit('/', 1)[0]}/{digest_hex(data)}.json"
    store.create(name, data)
    return name


def commits_of(repository):
    return repository._context.reader.read().commits


class Taken:
    """A repository with a snapshot of a member and one of a write-only client, which was taken over."""

    def __init__(self):
        self.repository = sealed_repository()
        self.members = self.repository.backup(rows(1), name="mine")
        made = self.repository.keys.add_signer("host", write_only=True)
        self.writer = Repository.open(self.repository.store, signer=made.content)
        self.own = self.writer.backup(rows(2), name="host")
        commits = commits_of(self.repository)
        self.members_commit, self.own_commit = commits[self.members.commit], commits[self.own.commit]

    def commit(self, **changes):
        """Create a commit as the writer's keys let it, and return what a member sees then."""
        forged = replace(self.own_commit, salt=new_salt(), **changes)
        context = self.writer._context
        create_record(context.store, COMMITS, forged.encode(context.envelope), forged.created_unix_ms)
        return reopened(self.repository)


@pytest.mark.parametrize("claim", ["replaces", "replaces its own", "same id", "same id later", "archive"])
def test_a_write_only_client_that_was_taken_over_changes_no_snapshot_that_is_there(claim):
    taken = Taken()
    old = taken.members_commit
    changes = {
        "replaces": {"snapshot": old.snapshot, "replaces": taken.members.commit},
        "replaces its own": {"snapshot": old.snapshot, "replaces": taken.own.commit},
        "same id": {"snapshot": old.snapshot},
        "same id later": {"snapshot": old.snapshot, "created_unix_ms": old.created_unix_ms + 10**10},
        "archive": {"snapshot": new_salt(), "archives": old.archives},
    }
    member = taken.commit(**changes[claim])
    assert len(member._context.reader.read().refused) == 1
    for _ in range(2):
        member.gc(confirm=True, trash=0, grace=0)
        member = reopened(taken.repository)
    assert (member.load(taken.members.snapshot) == rows(1)).all()
    assert (member.load(taken.own.snapshot) == rows(2)).all()
    assert {item.commit for item in member.snapshots()} == {taken.members.commit, taken.own.commit}
    assert member.verify().ok


def test_a_write_only_client_replaces_its_own_and_a_member_vouches_for_that():
    taken = Taken()
    member = taken.commit(snapshot=taken.own_commit.snapshot, replaces=taken.own.commit)
    (snapshot,) = [item for item in member.snapshots() if item.name == "host"]
    assert snapshot.superseded == (taken.own.commit,)
    assert member.keys.revoke_signer("host").kept == (snapshot.id,)
    (again,) = [item for item in reopened(member).snapshots() if item.name == "host"]
    assert again.commit != snapshot.commit
    assert (reopened(member).load(snapshot.id) == rows(2)).all()


def test_of_two_write_only_clients_that_claim_one_snapshot_neither_hides_the_others():
    taken = Taken()
    other = Repository.open(
        taken.repository.store, signer=taken.repository.keys.add_signer("b", write_only=True).content
    )
    report = other.backup(rows(3), name="b")
    member = taken.commit(snapshot=report.snapshot, replaces=report.commit)
    assert (reopened(member).load(report.snapshot, name="b") == rows(3)).all()
    member = taken.commit(snapshot=report.snapshot, created_unix_ms=taken.own_commit.created_unix_ms + 10**9)
    assert (reopened(member).load(report.snapshot, name="b") == rows(3)).all()


def test_a_record_has_one_name_only():
    """Another spelling would be another commit or mark: one that no later mark speaks of."""
    repository = sealed_repository()
    repository.backup(rows(), name="n", tags={"k": "some"})
    for length in range(1, 4):  # one of them ends where base64 has bits to spare
        repository.hold("latest", reason="x" * length)
    signed = repository.keys.add_signer("member")
    kept, spelled = objects(repository.store), 0
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for folder in ("commits/", "marks/"):
        found = [(name, json.loads(data)) for name, data in kept.items() if name.startswith(folder)]
        name, values = next((item for item in found if item[1]["seal"]["data"].endswith("=")), found[0])
        variants = [
            {**values, "signature": None},
            {**values, "signature": {"key": "ab" * 32, "signature": "cd" * 64}},
            {**values, "signature": {"key": signed.signer.key, "signature": "cd" * 64}},
        ]
        text = values["seal"]["data"]
        if text.endswith("="):
            at = len(text.rstrip("=")) - 1
            other = text[:at] + alphabet[alphabet.index(text[at]) ^ 1] + text[at + 1 :]
            variants.append({**values, "seal": {**values["seal"], "data": other}})
            spelled += 1
        for variant in variants:
            put_back(repository.store, kept)
            copy = put_record(repository.store, name, variant)
            assert copy in Repository.open(repository.store, identities=[OWN], accept_history=True).catalog().faults
    assert spelled
    put_back(repository.store, kept)
    again = Repository.open(repository.store, identities=[OWN], signer=signed.content, accept_history=True)
    report = again.backup(rows(2), name="m")
    name = next(name for name in objects(repository.store) if report.commit in name)
    values = json.loads(repository.store.read(name))
    copy = put_record(repository.store, name, {**values, "signature": {**values["signature"], "more": 1}})
    assert copy in reopened(repository).catalog().faults


def test_who_signs_goes_on_to_after_a_change_of_keys():
    repository = sealed_repository()
    made = repository.keys.add_signer("member")
    signing = reopened(repository, signer=made.content)
    signing.keys.new_epoch()
    report = signing.backup(rows(), name="n")
    assert commits_of(reopened(repository))[report.commit].provenance.signer == made.signer.key


class Removed:
    """A repository whose thief was removed, as a client saw; the thief has the keys of before, and the storage."""

    def __init__(self, folder):
        self.repository = sealed_repository()
        self.repository.keys.add(recipients=[OTHER_RECIPIENT], label="thief")
        self.report = self.repository.backup(rows(1), name="n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("VARK_STATE", str(folder))  # it remembers for itself
            self.thief = reopened(self.repository, OTHER, trust=True)
        self.envelope = self.thief._context.envelope
        self.store = self.repository.store
        self.repository.keys.remove("thief")
        reopened(self.repository).catalog()
        self.repository._context.read_erasures()


def test_who_was_removed_forges_no_commit_mark_or_root_for_a_client_that_saw_it(tmp_path):
    removed = Removed(tmp_path)
    store, envelope = removed.store, removed.envelope
    write_mark(store, envelope, "forget", removed.report.snapshot)
    commit = replace(commits_of(removed.repository)[removed.report.commit], snapshot=new_salt(), salt=new_salt())
    create_record(store, COMMITS, commit.encode(envelope), commit.created_unix_ms)
    client = reopened(removed.repository)
    (snapshot,) = client.snapshots()
    assert snapshot.id == removed.report.snapshot
    faults = client.catalog().faults
    assert len(faults) == 2
    assert all("came after this client saw that end" in str(error) for error in faults.values())
    archives = {volume_of(name)[0]: 1 for name in objects(store) if name.startswith("archives/")}
    roots = AdministrationReader(store, envelope)
    roots.advance(roots.advance(roots.read(), "condemned", archives), "sweep", archives)
    for name in [name for name in objects(store) if name.startswith(("archives/", "commits/"))]:
        store.delete(name)
    with pytest.raises(HistoryAlteredError, match="no collection explains"):
        reopened(removed.repository).catalog()


def test_a_writer_that_went_on_while_keys_were_changed_can_be_accepted(tmp_path, monkeypatch):
    monkeypatch.setattr("vark.repository.backup._check_keys", lambda *_: None)  # it had looked just before
    removed = Removed(tmp_path)
    late = removed.thief.backup(rows(2), name="n")
    assert len(reopened(removed.repository).snapshots()) == 1
    assert len(reopened(removed.repository, accept_history=True).snapshots()) == 2
    assert (reopened(removed.repository).load(late.snapshot) == rows(2)).all()


def test_what_was_erased_does_not_come_back_by_a_record_that_is_hidden_or_forged(tmp_path):
    removed = Removed(tmp_path)
    opened = reopened(removed.repository)
    digest = new_erasure(removed.store, opened._context.envelope, "erase", ["n"], ["ab" * 16], key="cd" * 32)
    assert list(reopened(opened)._context.read_erasures()) == [digest]
    forged = new_erasure(removed.store, removed.envelope, END, ["n"], ["ab" * 16], erasure=digest)
    with pytest.raises(DamagedError, match="came after this client saw that end"):
        reopened(opened).backup(rows(), name="n")
    for name in [name for name in objects(removed.store) if forged in name or digest in name]:
        removed.store.delete(name)
    with pytest.raises(HistoryAlteredError, match="what was erased would come back"):
        reopened(opened).backup(rows(), name="n")
    accepted = Repository.open(removed.store, identities=[OWN], accept_history=True)
    accepted.backup(rows(), name="n")
    reopened(opened).backup(rows(), name="n")


def test_a_marker_that_says_that_nothing_is_encrypted_any_more_is_an_alarm():
    repository = sealed_repository()
    values = json.loads(repository.store.read("vark.json"))
    plain = {key: value for key, value in values.items() if key not in ("digest", "seal")}
    plain |= {"version": 1, "fingerprint_key": "ab" * 32}
    repository.store.delete("vark.json")
    repository.store.create("vark.json", encode_digested(plain))
    with pytest.raises(HistoryAlteredError, match="not encrypted any more"):
        Repository.open(repository.store)


def test_a_plain_repository_in_the_place_of_an_encrypted_one_is_an_alarm(tmp_path):
    """Who is used to being asked for a passphrase must not back up in the clear because nobody asks."""
    place, other = tmp_path / "repo", tmp_path / "other"
    sealed_repository(place)
    Repository.create(other, encryption="none")
    shutil.rmtree(place)
    other.rename(place)
    with pytest.raises(HistoryAlteredError, match="not encrypted any more"):
        Repository.open(place)
    with pytest.raises(HistoryAlteredError, match="not encrypted any more"):
        Repository.open(tmp_path / "x" / ".." / "repo")
    Repository.open(place, accept_history=True).backup(rows(), name="n")
    assert len(Repository.open(place).snapshots()) == 1
    shutil.rmtree(place)
    sealed_repository(place)
    shutil.rmtree(place)
    Repository.create(place, encryption="none")
    assert Repository.open(place).snapshots() == ()


def test_a_newest_snapshot_that_was_made_unreadable_is_not_replaced_by_an_older_one_unnoticed():
    repository = sealed_repository()
    first = repository.backup(rows(1), name="n")
    newest = repository.backup(rows(2), name="n", tags={"k": "v"})
    name = next(name for name in objects(repository.store) if newest.commit in name)
    kept = objects(repository.store)
    put_back(repository.store, {**kept, name: b"junk"})
    for reference in ("latest", "k=v", "2099-01-01"):
        with pytest.raises(DamagedError, match="by its id"):
            reopened(repository).load(reference)
    assert (reopened(repository).load(first.snapshot) == rows(1)).all()


def test_a_root_that_is_damaged_is_said_to_be_and_is_no_alarm():
    repository = sealed_repository()
    repository.backup(rows(1), name="n")
    repository.backup(rows(2), name="n", full=True)
    first = repository.snapshots()[0]
    repository.forget(first.id, confirm=True)
    repository.gc(confirm=True, trash=0, grace=0)
    kept = objects(repository.store)
    newest = max(name for name in kept if name.startswith(ROOTS))
    put_back(repository.store, {**kept, newest: b"junk"})
    assert newest in reopened(repository).catalog().faults
    put_back(repository.store, {name: data for name, data in kept.items() if name != newest})
    with pytest.raises(HistoryAlteredError, match="rolled back"):
        reopened(repository).catalog()


@pytest.mark.parametrize("generation", ["00000000000000000900", "18446744073709551615", "99999999999999999999"])
@pytest.mark.parametrize("what", ["keyring", "0" * 32])
def test_a_key_object_of_a_far_generation_does_not_keep_keys_from_being_changed(generation, what):
    repository = sealed_repository()
    repository.store.create(f"keys/{generation}/{what}-0.json", b"{}")
    if (generation[-3:], what) == ("900", "keyring"):
        with pytest.raises(UnsupportedError, match=f"keys/{generation}"):
            reopened(repository)
        return
    assert reopened(repository).keys.new_epoch().epoch == 2
    assert reopened(repository).keys.report().generation in (2, 901)


def test_generations_of_keys_cannot_be_used_up_unnoticed():
    repository = sealed_repository()
    repository.store.create(f"keys/{10**9:020d}/{'0' * 32}-0.json", b"{}")
    with pytest.raises(DamagedError, match="delete it"):
        reopened(repository).keys.new_epoch()


def test_a_slot_goes_on_as_most_of_its_copies_have_it():
    """A slot whose salt was altered in one copy would open for nobody, once it is all that is left."""
    repository = sealed_repository(passphrase="correct horse", recipients=[RECIPIENT, OTHER_RECIPIENT])
    store = repository.store
    slots = {slot.type + slot.recipient: slot.id for slot in repository.keys.report().slots}
    by_passphrase = next(slot for kind, slot in slots.items() if kind.startswith("passphrase"))
    by_other = slots["recipient" + OTHER_RECIPIENT]
    kept = objects(store)

    def altered(name):
        values = json.loads(kept[name])
        if "argon2id" not in values:
            return {name: b"junk"}
        return {name: encode_record({**values, "argon2id": {**values["argon2id"], "salt": "ab" * 32}})}

    first = f"keys/{1:020d}/{by_passphrase}-0.json"
    put_back(store, {**kept, **altered(first), **altered(f"keys/{1:020d}/{by_other}-1.json")})
    repository = reopened(repository)
    repository.keys.new_epoch()
    assert Repository.open(store, passphrase="correct horse").keys.report().generation == 2
    assert Repository.open(store, identities=[OTHER]).keys.report().generation == 2
    put_back(store, {name: data for name, data in kept.items() if not name.startswith(first[:-7]) or name == first})
    store.create(f"{first[:-6]}1.json", altered(first)[first])
    again = Repository.open(store, identities=[OWN], accept_history=True)
    with pytest.raises(DamagedError, match="its copies differ"):
        again.keys.new_epoch()
    again.keys.remove(by_passphrase)


class Service:
    """A key management service that is there."""

    provider, key = "aws-kms", "k"

    def wrap(self, secret, context):
        return secret + json.dumps(dict(context), sort_keys=True).encode()

    def unwrap(self, wrapped, context):
        if wrapped[32:] != json.dumps(dict(context), sort_keys=True).encode():
            raise WrongKeyError("refused")
        return wrapped[:32]


def test_each_copy_of_a_slot_of_a_service_will_do():
    repository = sealed_repository(kms=[Service()])
    kept = objects(repository.store)
    slots = [name for name in kept if name.startswith("keys/") and "keyring" not in name and name.endswith("-0.json")]
    assert len(slots) == 2
    for name in slots:
        put_back(repository.store, {**kept, name: b"junk"})
        assert Repository.open(repository.store, kms=[Service()]).snapshots() == ()


def test_what_a_write_only_client_was_shown_excuses_nothing_for_a_member():
    repository = sealed_repository()
    repository.backup(rows(1), name="n")
    made = repository.keys.add_signer("host", write_only=True)
    kept = objects(repository.store)
    archives = [{"id": volume_of(name)[0], "bytes": 1} for name in kept if name.startswith("archives/")]
    seal = {"suite": 1, "root_kind": 1, "epoch": 1, "salt": "00" * 32, "commitment": "00" * 32, "data": ""}
    common = {"version": 1, "repository": repository.id, "epoch": 1, "salt": "00" * 16, "seal": seal}
    swept = encode_record({**common, "kind": "sweep", "archives": archives})
    repository.store.create(f"condemned/{digest_hex(swept)}.json", swept)
    more = {"generation": 1, "phase": "idle", "list": None, "sweeps": [digest_hex(swept)], "previous": None}
    root = encode_digested({**common, **more, "kind": "root", "write_id": "00" * 16, "created_unix_ms": 1})
    repository.store.create(f"root/{1:020d}.json", root)
    for name in [name for name in kept if name.startswith(("archives/", "commits/"))]:
        repository.store.delete(name)
    Repository.open(repository.store, signer=made.content).backup(rows(2), name="host")
    repository.store.delete(f"root/{1:020d}.json")
    with pytest.raises(HistoryAlteredError, match="no collection explains"):
        reopened(repository).catalog()


def test_accepting_a_history_is_not_trusting_an_authority():
    repository = sealed_repository()
    path = repository._context.history.state.path
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "authority": "ab" * 32}))  # as if another had been seen
    with pytest.raises(HistoryAlteredError, match="the authority over keys"):
        reopened(repository)
    opened = reopened(repository, accept_history=True)
    with pytest.raises(InvalidArgumentError, match="nothing vouches"):
        opened.backup(rows(), name="n")
    assert json.loads(path.read_text())["authority"] == "ab" * 32
    reopened(repository, accept_history=True, trust=True).backup(rows(), name="n")
    reopened(repository).backup(rows(), name="n")


@pytest.mark.parametrize(
    "content",
    ["", "[" * 100_000, "[]", '{"version":2}', '{"version":1,"commits":{},"key_generation":1e999}'],
)
def test_a_damaged_memory_is_told_whatever_is_in_it(content):
    repository = sealed_repository()
    path = repository._context.history.state.path
    path.write_text(content)
    with pytest.raises(DamagedError, match="what this client has seen"):
        reopened(repository)


def test_a_memory_that_cannot_be_kept_is_told(monkeypatch, tmp_path):
    repository = sealed_repository()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VARK_STATE", str(tmp_path / "file"))
    with pytest.raises(Exception, match=r"what this client has seen is kept there \(VARK_STATE"):
        reopened(repository)


def test_what_another_process_makes_while_a_catalog_is_read_is_no_alarm(monkeypatch):
    repository = sealed_repository()
    repository.backup(rows(1), name="n")
    other = reopened(repository)
    reading = reopened(repository)
    inner, done = reading._context.reader._read, threading.Event()

    def read(*, strict):
        found = inner(strict=strict)
        if not done.is_set():
            done.set()
            other.backup(rows(2), name="n")
            other.hold("latest", reason="kept")
        return found

    monkeypatch.setattr(reading._context.reader, "_read", read)
    assert len(reading.snapshots()) == 1
    assert len(reading.snapshots()) == 2
    seen = ClientState(repository.id).read()
    assert len(seen.commits) == 2
    assert len(seen.marks) == 1


def test_no_secret_that_was_given_in_the_place_of_a_file_is_repeated():
    content = sealed_repository().keys.add_signer("w", write_only=True).content.decode()
    assert signer_of(content).is_write_only
    with pytest.raises(InvalidArgumentError) as caught:
        signer_of(content[:-5])
    assert "signing_key" not in str(caught.value)
    with pytest.raises(NotFoundError):
        signer_of("no-such-file")


def test_what_cannot_be_a_digest_is_refused_as_such():
    repository = sealed_repository()
    for given in ({"head": "zz"}, {"authority": "00"}):
        with pytest.raises(InvalidArgumentError, match="64 hexadecimal digits"):
            reopened(repository, **given)
    with pytest.raises(WrongKeyError, match=r"MemoryStore: no key slot opens"):
        Repository.open(repository.store, identities=[identity(3)[0]])
    with pytest.raises(KeyNeededError, match=r"MemoryStore: is encrypted"):
        Repository.open(repository.store, passphrase="x")
