"""The vectors of sealed keys and records: read by the engine and by the reference reader, refused where they say so."""

import json
import subprocess
import sys

import pytest
import reader_keyring
import reader_repository
import reader_seal
from reader_codecs import ArchiveFault

import tidy
from sealed_repositories import put_back
from vark.errors import DamagedError, UnsupportedError, WrongKeyError
from vark.repository import Repository
from vark.stores import MemoryStore

VECTORS = json.loads((tidy.ROOT / "spec" / "vectors" / "seal" / "repository.json").read_text())
FAULTS = {"record": DamagedError, "seal": DamagedError, "epoch": WrongKeyError, "unsupported": UnsupportedError}


def objects(case):
    return {name: text.encode() for name, text in {**VECTORS["objects"], **case["objects"]}.items()}


def test_vectors_are_what_their_maker_writes(tmp_path):
    maker = tidy.ROOT / "spec" / "vectors" / "make_seal_vectors.py"
    subprocess.run([sys.executable, str(maker), str(tmp_path)], check=True, timeout=120)
    assert json.loads((tmp_path / "seal" / "repository.json").read_text()) == VECTORS


@pytest.mark.parametrize("name", VECTORS["cases"])
def test_the_engine_reads_and_refuses_it(name):
    case, store = VECTORS["cases"][name], MemoryStore()
    put_back(store, objects(case))
    if case["fault"] in ("seal", "unsupported"):
        with pytest.raises(FAULTS[case["fault"]]) as caught:
            Repository.open(store, identities=[VECTORS["opens"]])
        assert caught.value.layer == "seal"
        return
    catalog = Repository.open(store, identities=[VECTORS["opens"]]).catalog()
    if case["fault"] is None:
        assert catalog.faults == {}
        assert [snapshot.name for snapshot in catalog.snapshots] == ["products"] * name.startswith("commit")
        assert all(snapshot.tags == {"a": "b"} for snapshot in catalog.snapshots)
        return
    (error,) = catalog.faults.values()
    assert type(error) is FAULTS[case["fault"]]
    assert case["fault"] != "record" or error.layer == "record"


@pytest.mark.parametrize("name", VECTORS["cases"])
def test_the_reference_reader_reads_and_refuses_it(name, tmp_path):
    case = VECTORS["cases"][name]
    for key, data in objects(case).items():
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if case["fault"] in ("seal", "unsupported"):
        with pytest.raises((ArchiveFault, reader_seal.WrongKeyError)):
            reader_repository.Repository(tmp_path, [VECTORS["opens"]])
        return
    repository = reader_repository.Repository(tmp_path, [VECTORS["opens"]])
    assert isinstance(repository.keyring, reader_keyring.Keyring)
    assert len(repository.faults) == (case["fault"] is not None)
    assert [commit.name for commit in repository.commits] == ["products"] * (
        case["fault"] is None and name.startswith("commit")
    )
