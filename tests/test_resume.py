"""Restores that go on, as their user sees them: what is said, what is kept, and how to begin anew."""

import json
import os

import numpy as np
import pytest

import vark
from store_servers import SERVERS, plain_repository
from vark.cli import run
from vark.errors import AccessDeniedError, CancelledError
from vark.stores import RemoteStore

ROWS = np.random.default_rng(3).standard_normal((80_000, 64), dtype=np.float32)


@pytest.fixture
def address(servers, monkeypatch, tmp_path):
    server = servers.get(SERVERS["moto"])
    made, options = server.bucket(), server.options()
    for name in ("access_key_id", "secret_access_key", "region"):
        monkeypatch.setenv(f"AWS_{name.upper()}", options[name])
    monkeypatch.setenv("AWS_ENDPOINT_URL", options["endpoint"])
    plain_repository(made, volume_bytes="1MiB").backup(ROWS, name="v", cache=False)
    (tmp_path / "here").mkdir()
    return made


def interrupt(monkeypatch, byte_count):
    """Have the store refuse what goes beyond so many bytes of archives."""
    left = [byte_count]
    honest = RemoteStore._get

    def get(self, name, offset, count):
        if name.startswith("archives/"):
            left[0] -= count
            if left[0] < 0:
                raise AccessDeniedError(f"{name}: refused (403); check the credentials and what they allow")
        return honest(self, name, offset, count)

    monkeypatch.setattr(RemoteStore, "_get", get)


def bytes_down(capsys):
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return next(line["bytes_down"] for line in lines if line["message_type"] == "traffic")


def test_the_command_says_what_is_kept_and_goes_on(address, tmp_path, monkeypatch, capsys):
    here, target = tmp_path / "here", tmp_path / "here" / "out.npy"
    command = ["restore", "latest", str(target), "-r", address, "--json"]
    with monkeypatch.context() as context:
        interrupt(context, 12_000_000)
        assert run(command) == 1
    said = capsys.readouterr()
    (part,) = os.listdir(here)
    assert part.startswith(".out.npy.")
    assert part.endswith(".vark-part")
    assert f"kept: {here / part}" in said.err + said.out
    assert run(command) == 0
    assert bytes_down(capsys) < ROWS.nbytes * 3 // 4
    assert os.listdir(here) == ["out.npy"]
    assert np.array_equal(np.load(target), ROWS)
    target.unlink()
    with monkeypatch.context() as context:
        interrupt(context, 12_000_000)
        assert run(command) == 1
        assert run([*command, "--no-resume"]) == 1
    assert os.listdir(here) == [part]
    capsys.readouterr()
    assert run([*command, "--no-resume"]) == 0
    assert bytes_down(capsys) > ROWS.nbytes * 3 // 4
    assert os.listdir(here) == ["out.npy"]


def test_a_local_archive_is_gone_on_with_only_when_asked(tmp_path):
    vark.write_archive(ROWS, tmp_path / "x.vark")
    here = tmp_path / "here"
    here.mkdir()

    def stop(done, total):
        if total and done > total // 2:
            raise KeyboardInterrupt

    with vark.open_archive(tmp_path / "x.vark") as archive:
        for resume, left in ((None, 0), (True, 1)):
            with pytest.raises((CancelledError, KeyboardInterrupt)):
                archive.restore(here / "out.npy", resume=resume, progress=stop)
            assert len(os.listdir(here)) == left
        counted = []
        before = archive.io_counts[1]
        archive.restore(here / "out.npy", resume=True, progress=lambda done, total: counted.append((done, total)))
        assert archive.io_counts[1] - before < ROWS.nbytes * 3 // 4
    assert counted[-1][0] == counted[-1][1]
    assert os.listdir(here) == ["out.npy"]
    assert np.array_equal(np.load(here / "out.npy"), ROWS)
