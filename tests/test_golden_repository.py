"""A repository that a past version wrote restores every day, by the engine and by the reference reader."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import reader
import reader_repository
from blake3 import blake3

import vark

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden" / "v1.1_repository"
EXPECTED = json.loads((HERE / "golden" / "v1.1_repository.json").read_text())


def digests(target):
    return {path.name: blake3(path.read_bytes()).hexdigest() for path in target.iterdir()}


@pytest.mark.parametrize("snapshot", EXPECTED)
def test_a_day_of_the_golden_repository_restores(snapshot, tmp_path):
    repository = vark.Repository.open(GOLDEN)
    with repository.open_archive(snapshot) as archive:
        archive.restore(tmp_path / "engine", sync=False)
        assert archive.verify().ok
    assert digests(tmp_path / "engine") == EXPECTED[snapshot]["members"]
    command = [sys.executable, str(HERE.parent / "spec" / "reader.py"), "restore", str(GOLDEN), snapshot]
    done = subprocess.run([*command, str(tmp_path / "reader")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "reader") == EXPECTED[snapshot]["members"]


def test_the_golden_repository_is_what_it_was():
    repository = vark.Repository.open(GOLDEN)
    snapshots = {each.id: each for each in repository.catalog().snapshots}
    assert set(snapshots) == set(EXPECTED)
    by_day = {snapshots[name].tags["day"]: snapshots[name] for name in EXPECTED}
    assert by_day["full"].held
    assert [day for day, each in by_day.items() if each.forgotten_unix_ms is not None] == ["updated"]
    assert not any(each.void for each in snapshots.values())
    codecs = set()
    for name in EXPECTED:
        with repository.open_archive(name) as archive:
            streams = [record.name for record in archive.reader.streams]
            codecs |= {codec for stream in streams for codec in archive[stream].codecs}
    assert codecs >= {"mapped", "map", "residual", "edits"}


SEALED = HERE / "golden" / "v1.2_sealed_repository"
OPENS = json.loads((HERE / "golden" / "v1.2_sealed_repository.json").read_text())


@pytest.mark.parametrize("snapshot", OPENS["snapshots"])
def test_a_day_of_the_encrypted_golden_repository_restores(snapshot, tmp_path):
    authority = OPENS["authority"]
    by_key = vark.Repository.open(SEALED, identities=[OPENS["identity"]], authority=authority)
    by_code = vark.Repository.open(SEALED, recovery_code=OPENS["recovery_code"])
    for number, repository in enumerate((by_key, by_code)):
        repository.restore(snapshot, tmp_path / f"engine-{number}", sync=False)
        assert digests(tmp_path / f"engine-{number}") == OPENS["snapshots"][snapshot]["members"]
    for number, secret in enumerate((OPENS["identity"], OPENS["recovery_code"])):
        read = reader_repository.Repository(SEALED, [secret])
        assert read.faults == []
        read.restore(snapshot, tmp_path / f"reader-{number}", reader.Archive)
        assert digests(tmp_path / f"reader-{number}") == OPENS["snapshots"][snapshot]["members"]


def test_the_encrypted_golden_repository_is_what_it_was():
    repository = vark.Repository.open(SEALED, identities=[OPENS["identity"]], trust=True)
    snapshots = {each.tags["day"]: each for each in repository.snapshots()}
    assert {each.id for each in snapshots.values()} == set(OPENS["snapshots"])
    assert snapshots["full"].held
    assert [each.delta for each in snapshots.values()] == [each["base"] for each in OPENS["snapshots"].values()]
    report = repository.keys.report()
    assert [signer.name for signer in report.signers] == ["host"]
    assert [epoch.number for epoch in report.epochs] == [1, 2]
    assert [slot.type for slot in report.slots] == ["recipient", "recovery"]
    origins = [commit.provenance for commit in repository.catalog().commits.values()]
    assert sorted((origin.epoch, origin.is_write_only) for origin in origins) == [
        (1, False),
        (2, False),
        (2, False),
        (2, True),
    ]
