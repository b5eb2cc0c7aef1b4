"""Calls of the file system that fail under backup, compact, forget and gc: clean errors, and nothing is lost.

VARK_SHARE: the share of the calls that are made to fail. A disk that is really full is at the end.
"""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from repository_campaign import Campaign
from simulated_files import Fault
from vark.errors import ExitCode, NoSpaceError, StorageError
from vark.repository import Repository

SHARE = float(os.environ.get("VARK_SHARE", "0.3"))
CHAIN = ["create", "backup 1", "backup 2", "backup 3"]
COMMANDS = [
    ([], "create"),
    (CHAIN, "backup 4"),
    (CHAIN, "backup 4 full"),
    (CHAIN, "compact 3"),
    (CHAIN, "forget 1"),
    (CHAIN, "hold 1"),
    ([*CHAIN, "forget 1"], "undelete 1"),
    ([*CHAIN, "compact 3", "forget 1", "forget 2"], "gc"),
]
WRITING = ("create", "write", "make folder", "link", "sync", "sync folder")


def failing(fault, *kinds):
    return lambda operation: fault if not kinds or operation.kind in kinds else None


@pytest.fixture(scope="module")
def campaign():
    return Campaign()


@pytest.mark.parametrize(("before", "command"), COMMANDS, ids=lambda given: given if isinstance(given, str) else None)
def test_no_space_for_one_call(campaign, before, command):
    errors = list(campaign.failures(before, command, failing(Fault(errno.ENOSPC), *WRITING), share=SHARE))
    for error in errors:
        assert isinstance(error, NoSpaceError), error
        assert (error.code, error.exit_code) == ("no-space", ExitCode.NO_SPACE)


@pytest.mark.parametrize(("before", "command"), COMMANDS, ids=lambda given: given if isinstance(given, str) else None)
def test_a_disk_that_stays_full(campaign, before, command):
    fault = failing(Fault(errno.ENOSPC), "create", "write", "make folder", "link")
    errors = list(campaign.failures(before, command, fault, share=SHARE, lasting_fault=True))
    assert errors
    assert all(isinstance(error, NoSpaceError) for error in errors), errors


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("before", "command"), COMMANDS, ids=lambda given: given if isinstance(given, str) else None)
def test_one_call_fails(campaign, before, command, after):
    """Reading ones, too: what cannot be read is no reason to call anything lost, and never to collect it."""
    errors = list(campaign.failures(before, command, failing(Fault(errno.EIO, after=after)), share=SHARE))
    assert errors
    for error in errors:
        assert isinstance(error, StorageError), error
        assert error.exit_code == ExitCode.FAILED


@pytest.mark.parametrize("kind", ["sync", "sync folder"])
@pytest.mark.parametrize(("before", "command"), COMMANDS, ids=lambda given: given if isinstance(given, str) else None)
def test_one_sync_fails(campaign, before, command, kind):
    """Whatever the disk did then, it is never called a success."""
    errors = list(campaign.failures(before, command, failing(Fault(errno.EIO), kind)))
    assert errors
    assert all(isinstance(error, StorageError) for error in errors), errors


@pytest.mark.parametrize(("before", "command"), COMMANDS, ids=lambda given: given if isinstance(given, str) else None)
def test_short_writes_change_nothing(campaign, before, command):
    fault = failing(Fault(short=True), "write")
    assert list(campaign.failures(before, command, fault, share=SHARE, lasting_fault=True)) == []


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.dont_write_bytecode = True
from vark.cli import main
arguments = sys.argv[2:]
sys.exit(main(arguments))
"""


def test_files_that_may_not_grow_are_told_by_the_command_line(tmp_path):
    """The engine's own writing meets a limit, at any place of the archive: exit code 15, and all goes on later."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((4000, 64)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    place, source = str(tmp_path / "r"), str(tmp_path / "rows.npy")
    repository = Repository.create(place, encryption="none")
    first = repository.backup(source, name="n")
    limits = [0, 1, 100, 4096, 65_536, first.archive_bytes // 2, first.archive_bytes - 1]
    for limit in limits:
        command = [
            sys.executable,
            "-c",
            LIMITED,
            str(limit),
            "backup",
            source,
            "--repo",
            place,
            "--name",
            "n",
            "--full",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == ExitCode.NO_SPACE, (limit, done.stderr)
        assert "Traceback" not in done.stderr
        again = Repository.open(place)
        assert [item.id for item in again.snapshots()] == [first.snapshot]
        assert again.verify().ok
        assert not [name for _, _, names in os.walk(place) for name in names if name.startswith(".")]
    second = Repository.open(place).backup(source, name="n", full=True)
    assert (Repository.open(place).load(second.snapshot) == rows).all()
