"""`vark erase`: dry runs, what it says, exit codes."""

import json
import os

import numpy as np
import pytest

from erasures import GONE, IDS, ROWS, hnswlib_index, rows_of
from test_cli import lines, run
from vark.repository import Repository


@pytest.fixture
def repo(tmp_path):
    repository = Repository.create(tmp_path / "repo", encryption="none")
    for day in range(2):
        repository.backup(hnswlib_index(rows_of(day)), name="people", documents={"README": "x", f"{IDS[7]}.txt": "y"})
    repository.hold("latest", reason="audit")
    np.savetxt(tmp_path / "gone.txt", IDS[GONE], fmt="%d")
    return tmp_path / "repo"


def erase(repo, *arguments):
    return run("erase", *arguments, env={**os.environ, "VARK_REPOSITORY": str(repo)})


def test_a_dry_run_tells_and_writes_nothing(repo, tmp_path):
    before = sorted(path for path in repo.rglob("*") if path.is_file())
    told = erase(repo, "--name", "people", "--ids", tmp_path / "gone.txt")
    assert told.returncode == 0, told.stderr
    assert f"would erase {2 * len(GONE)} rows of {len(GONE)} ids".encode() in told.stdout
    assert b"held, 1 documents removed" in told.stdout
    assert b"README" in told.stderr
    assert b"add --confirm" in told.stderr
    assert sorted(path for path in repo.rglob("*") if path.is_file()) == before


def test_it_erases_and_says_no_id(repo, tmp_path):
    done = erase(repo, "--name", "people", "--ids", tmp_path / "gone.txt", "--confirm", "--json")
    assert done.returncode == 0, done.stderr
    records = lines(done)
    assert [record["message_type"] for record in records] == ["item", "item", "summary"]
    assert records[0]["archives"][0]["changed"]["vectors"][0] == len(GONE)
    assert (records[-1]["row_count"], records[-1]["found_count"]) == (2 * len(GONE), len(GONE))
    assert records[-1]["bytes_rewritten"] > 0
    text = json.dumps(records)
    assert not any(str(IDS[row]) in text.replace(f"{IDS[7]}.txt", "") for row in GONE)
    repository = Repository.open(repo)
    for snapshot in repository.snapshots():
        with repository.open_archive(snapshot) as archive:
            assert not archive["vectors"].rows_of(GONE).any()
            assert len(archive["vectors"]) == ROWS
    again = erase(repo, "--all-names", "--again", "--confirm")
    assert b"erased 0 rows" in again.stdout


def test_lifting(repo, tmp_path):
    erase(repo, "--name", "people", "--ids", tmp_path / "gone.txt", "--confirm")
    lifted = erase(repo, "--name", "people", "--lift")
    assert f"people: {len(GONE)} ids".encode() in lifted.stdout
    assert lines(erase(repo, "--name", "people", "--lift", "--json"))[-1]["lifted"] == {"people": 0}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--ids", "1"), 2),
        (("--ids", "1", "--name", "people", "--all-names"), 2),
        (("--name", "people"), 2),
        (("--name", "people", "--ids", "1", "--again"), 2),
        (("--all-names", "--lift"), 2),
        (("--name", "people", "--lift", "--ids", "1"), 2),
        (("--name", "nobody", "--ids", "1"), 2),
        (("--name", "people", "--ids", "-1"), 2),
        (("--name", "people", "--ids", "one,two"), 2),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(repo, arguments, code):
    assert erase(repo, *arguments).returncode == code


def test_what_cannot_be_erased_is_refused(repo, tmp_path):
    (tmp_path / "x").write_bytes(b"who knows")
    Repository.open(repo).backup(tmp_path / "x", name="other")
    refused = erase(repo, "--all-names", "--ids", str(IDS[GONE[0]]), "--confirm")
    assert refused.returncode == 14
    assert b"nothing was written" in refused.stderr
    assert erase(repo, "--all-names", "--ids", str(IDS[GONE[0]]), "--confirm", "--leave-unknown").returncode == 0
