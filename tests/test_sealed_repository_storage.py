"""An encrypted repository against whoever holds its storage: every swap, replay and rollback is noticed."""

import itertools
import json

import numpy as np
import pytest

from sealed_repositories import OWN, objects, put_back, reopened, sealed_repository
from vark.errors import DamagedError, HistoryAlteredError, VarkError
from vark.repository import Repository
from vark.repository.digest import digest_hex
from vark.repository.layout import content_of_name
from vark.stores import MemoryStore

# What a storage can hide without anyone noticing (spec CRYPTO 9): it costs work, never data.
UNNOTICED = ("reports/", "sessions/")


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """States of a small repository over its life, each with all its objects."""
    patch = pytest.MonkeyPatch()
    patch.setenv("VARK_STATE", str(tmp_path_factory.mktemp("life")))
    rows = np.random.default_rng(3).standard_normal((1500, 64)).astype("float32")
    store = MemoryStore()
    repository = sealed_repository(store)
    states = [objects(store)]

    def step(action):
        action()
        states.append(objects(store))

    step(lambda: repository.backup(rows, name="a", tags={"n": "1"}))
    rows[3] += 1
    step(lambda: repository.backup(rows, name="a", tags={"n": "2"}))
    step(lambda: repository.backup(rows[:50].copy(), name="b"))
    step(lambda: repository.hold("n=1", reason="kept"))
    step(lambda: repository.tag("n=2", {"more": "x"}))
    rows[5] += 1
    step(lambda: repository.backup(rows, name="a", tags={"n": "3"}))
    step(repository.verify)
    step(repository.keys.new_epoch)
    step(lambda: repository.compact("n=3"))
    step(lambda: repository.forget("n=2", confirm=True))
    step(lambda: repository.gc(confirm=True, trash=0, grace=0))
    step(lambda: repository.backup(rows[:60].copy(), name="b"))
    patch.undo()
    return states


def kind(name):
    parts = name.split("/")
    return "keyring" if "keyring" in name else "key-slot" if parts[0] == "keys" else parts[0]


def notices(store):
    """Return whether a client notices that something is wrong, by an error or by what verification names."""
    try:
        repository = Repository.open(store, identities=[OWN], trust=True)
        if repository.catalog().faults:
            return True
        for snapshot in repository.snapshots():
            repository.load(snapshot)
        return not repository.verify().ok
    except VarkError:
        return True


def test_every_pair_of_objects_of_one_kind_put_in_each_others_place_is_noticed(life):
    now = life[-1]
    everything = {name: data for state in life for name, data in state.items()}
    assert not notices(filled(now))
    counted = {}
    for name, other in itertools.permutations(sorted(everything), 2):
        same = kind(name) == kind(other)
        if name not in now or not same or everything[name] == everything[other]:
            continue
        if name.startswith("sessions/"):
            continue  # one that cannot be read is as if it were not there
        if kind(name) == "key-slot" or kind(name) == "keyring":
            # One copy of three may be anything; all copies of it at once are a swap.
            group = [key for key in now if key.rsplit("-", 1)[0] == name.rsplit("-", 1)[0]]
        else:
            group = [name]
        store = filled({**now, **dict.fromkeys(group, everything[other])})
        assert notices(store), f"{other} in the place of {name}"
        counted[kind(name)] = counted.get(kind(name), 0) + 1
    print("swaps noticed:", counted)
    assert set(counted) >= {"archives", "commits", "marks", "root", "condemned", "keyring", "key-slot"}
    assert sum(counted.values()) > 60


def test_an_old_object_under_a_new_content_name_is_noticed(life):
    """Whoever holds the storage can name an altered record by its content."""
    now = life[-1]
    for name, data in now.items():
        if content_of_name(name) is None:
            continue
        record = json.loads(data)
        for change in ({"partial": True}, {"created_unix_ms": 5}, {"extra": 1}, {"version": 2}):
            altered = json.dumps(
                {**record, **change}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
            ).encode()
            spaced = json.dumps(record, sort_keys=True, ensure_ascii=False).encode()
            for copy in (altered, spaced):
                place = f"{name.rsplit('/', 1)[0]}/{digest_hex(copy)}.json"
                store = filled({**now, place: copy})
                repository = Repository.open(store, identities=[OWN], trust=True)
                if name.startswith("condemned/"):
                    continue  # a list that no root names is never read
                if name.startswith("reports/"):
                    assert place in {item.object for item in repository.verify(level="structure").damaged}
                else:
                    assert place in repository.catalog().faults, place


def test_every_rollback_is_noticed_by_a_client_that_has_seen_more(life, tmp_path, monkeypatch):
    noticed = 0
    for newer in range(1, len(life)):
        for older in range(newer):
            gone = {name for name in life[newer] if life[older].get(name) != life[newer][name]}
            added = life[older].keys() - life[newer].keys()
            if all(name.startswith(UNNOTICED) for name in gone) and not added:
                continue
            monkeypatch.setenv("VARK_STATE", str(tmp_path / f"{newer}-{older}"))
            store = filled(life[newer])
            Repository.open(store, identities=[OWN], trust=True).catalog()
            put_back(store, life[older])
            with pytest.raises((HistoryAlteredError, DamagedError)):
                Repository.open(store, identities=[OWN]).catalog()
            accepted = Repository.open(store, identities=[OWN], accept_history=True)
            accepted.catalog()
            Repository.open(store, identities=[OWN]).catalog()  # what was accepted is what is remembered
            noticed += 1
    print("rollbacks noticed:", noticed)
    assert noticed > 50


def test_every_hidden_object_is_noticed_by_a_client_that_has_seen_it(life, tmp_path, monkeypatch):
    now, hidden = life[-1], {}
    for number, name in enumerate(sorted(now)):
        if name.startswith(UNNOTICED) or (kind(name) in ("keyring", "key-slot")):
            continue
        monkeypatch.setenv("VARK_STATE", str(tmp_path / str(number)))
        store = filled(now)
        Repository.open(store, identities=[OWN], trust=True).catalog()
        put_back(store, {key: data for key, data in now.items() if key != name})
        if name.startswith("condemned/") and name.split("/")[1][:64] not in in_force(now):
            continue
        if name.startswith("root/") and name != max(key for key in now if key.startswith("root/")):
            again = Repository.open(store, identities=[OWN], trust=True)
            assert name in {item.object for item in again.verify(level="structure").damaged}
            continue
        assert notices(store), name
        hidden[kind(name)] = hidden.get(kind(name), 0) + 1
    print("hidden objects noticed:", hidden)
    assert set(hidden) >= {"archives", "commits", "marks", "root", "vark.json"}


def in_force(now):
    newest = max(key for key in now if key.startswith("root/"))
    return json.loads(now[newest])["sweeps"]


def test_a_given_head_must_be_there(life):
    store = filled(life[-1])
    digest = next(content_of_name(name) for name in life[-1] if name.startswith("commits/"))
    Repository.open(store, identities=[OWN], trust=True, head=digest).catalog()
    with pytest.raises(HistoryAlteredError, match="which you gave"):
        Repository.open(store, identities=[OWN], trust=True, head="ab" * 32).catalog()


def test_what_a_client_remembers_is_not_forgotten_when_its_file_is_damaged():
    repository = sealed_repository()
    path = repository._context.history.state.path
    path.write_text("{")
    with pytest.raises(DamagedError, match="what this client has seen"):
        reopened(repository)


def filled(content):
    store = MemoryStore()
    put_back(store, content)
    return store
