"""A repository that a past version wrote restores every day, by the engine and by the reference reader."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
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
