"""Encrypted repositories on the command line: every command opens them, who may is told, and each refusal has its code."""

import json
import time

import pytest

from test_cli_secrets import CANARY, WRONG, code_of, failure, file_of, keygen, shell
from vark.errors import ExitCode

__all__ = ["shell"]


@pytest.fixture
def repository(shell, monkeypatch):
    """A repository that a passphrase and an identity open, with one snapshot."""
    recipient = keygen(shell)
    file_of(shell, "password", CANARY + "\n")
    made = shell("init", "r", "--recipient", recipient, "--password-file", "password", "--json")
    assert made.returncode == 0, made.stderr
    record = json.loads(made.stdout)
    assert record["encryption"] == "aes-256-gcm"
    assert shell("backup", "-r", "r", "v.npy", "--identity", "key.txt").returncode == 0
    return record


def test_every_command_works_in_an_encrypted_repository(shell, repository):
    environment = {"VARK_REPOSITORY": "r", "VARK_IDENTITY": "key.txt"}
    for arguments in (
        ["snapshots"],
        ["show", "latest"],
        ["stats"],
        ["verify"],
        ["verify", "--level", "structure"],
        ["tag", "latest", "a=b"],
        ["hold", "latest", "--reason", "kept"],
        ["release", "latest"],
        ["backup", "v.npy", "--full"],
        ["diff", "a=b", "latest"],
        ["forget", "--keep-last", "1"],
        ["gc"],
        ["cat", "latest", "vectors", "--rows", "0:2"],
        ["restore", "latest", "out.npy"],
        ["key", "list"],
        ["key", "reencrypt"],
    ):
        done = shell(*arguments, **environment)
        assert done.returncode == 0, (arguments, done.stderr)
    assert (shell.folder / "out.npy").read_bytes() == (shell.folder / "v.npy").read_bytes()


def test_a_missing_and_a_wrong_key_are_told_apart_and_only_a_passphrase_takes_time(shell, repository):
    start = time.monotonic()
    bare = shell("snapshots", "-r", "r", "--json")
    assert (bare.returncode, failure(bare)[0]) == (ExitCode.WRONG_KEY, "key-needed")
    keygen(shell, "other.txt")
    wrong = shell("snapshots", "-r", "r", "--identity", "other.txt", "--json")
    assert (wrong.returncode, failure(wrong)[0]) == (ExitCode.WRONG_KEY, "wrong-key")
    assert "slots: 1 passphrase, 1 recipient" in failure(wrong)[1]
    assert time.monotonic() - start < 6  # two starts of Python; no key was derived
    wrong = shell("snapshots", "-r", "r", "--json", VARK_PASSWORD=WRONG)
    assert (wrong.returncode, failure(wrong)[0]) == (ExitCode.WRONG_KEY, "wrong-key")
    assert shell("snapshots", "-r", "r", VARK_PASSWORD=CANARY).returncode == 0


def test_a_passphrase_is_asked_for_at_a_terminal_twice_when_it_is_new(shell):
    code, shown = shell.at_terminal("init", "t", typed=[CANARY, CANARY])
    assert code == 0, shown
    code, shown = shell.at_terminal("init", "u", typed=[CANARY, WRONG])
    assert code == ExitCode.USAGE
    assert not (shell.folder / "u").exists()
    code, shown = shell.at_terminal("snapshots", "-r", "t", typed=[CANARY])
    assert code == 0, shown
    code, shown = shell.at_terminal("snapshots", "-r", "t", typed=[WRONG])
    assert code == ExitCode.WRONG_KEY, shown


def test_keys_are_added_listed_and_removed(shell, repository):
    environment = {"VARK_REPOSITORY": "r", "VARK_PASSWORD_FILE": "password"}
    recipient = keygen(shell, "other.txt")
    added = shell("key", "add", "--recipient", recipient, "--label", "laptop", **environment)
    assert added.returncode == 0, added.stderr
    assert b"not protected" in added.stdout
    coded = shell("key", "add", "--new-recovery-code", "--label", "safe", **environment)
    code = code_of(coded)
    shell.said = shell.said.replace(code.encode(), b"")
    assert code.encode() not in coded.stdout
    listed = json.loads(shell("key", "list", "--json", **environment).stdout)
    assert [slot["label"] for slot in listed["slots"]] == ["", "", "laptop", "safe"]
    assert listed["authority"] == repository["authority"]
    assert shell("snapshots", "-r", "r", "--identity", "other.txt").returncode == 0
    file_of(shell, "code", code + "\n")
    assert shell("snapshots", "-r", "r", "--recovery-code-file", "code").returncode == 0
    file_of(shell, "code", code[:-1] + ("q" if code[-1] != "Q" else "p") + "\n")
    assert shell("snapshots", "-r", "r", "--recovery-code-file", "code").returncode == ExitCode.USAGE
    removed = shell("key", "remove", "laptop", **environment)
    assert removed.returncode == 0, removed.stderr
    assert b"written before" in removed.stdout
    assert shell("snapshots", "-r", "r", "--identity", "other.txt").returncode == ExitCode.WRONG_KEY
    assert shell("key", "remove", "nobody", **environment).returncode == ExitCode.USAGE
    assert shell("key", "new-epoch", **environment).returncode == 0
    done = shell("key", "reencrypt", "--confirm", **environment)
    assert done.returncode == 0, done.stderr
    assert shell("verify", **environment).returncode == 0


def test_a_client_that_is_new_wants_to_be_told_whom_to_believe(shell, repository):
    fresh = {"VARK_REPOSITORY": "r", "VARK_IDENTITY": "key.txt", "VARK_STATE": shell.folder / "state"}
    looked = shell("snapshots", **fresh)
    assert looked.returncode == 0
    assert b"nothing vouches" in looked.stderr
    refused = shell("backup", "v.npy", **fresh)
    assert refused.returncode == ExitCode.USAGE
    assert b"--authority" in refused.stderr
    assert shell("snapshots", "--authority", "ab" * 32, **fresh).returncode == ExitCode.WRONG_KEY
    done = shell("backup", "v.npy", "--authority", repository["authority"], **fresh)
    assert done.returncode == 0, done.stderr
    assert shell("snapshots", **fresh).stderr == b""


def test_history_that_was_rolled_back_is_an_alarm(shell, repository):
    environment = {"VARK_REPOSITORY": "r", "VARK_IDENTITY": "key.txt"}
    (commit,) = (shell.folder / "r" / "commits").glob("*/*.json")
    kept = commit.read_bytes()
    commit.unlink()
    alarm = shell("snapshots", "--json", **environment)
    assert (alarm.returncode, failure(alarm)[0]) == (ExitCode.DAMAGED, "history-altered")
    assert "that this client saw on" in failure(alarm)[1]
    assert shell("snapshots", "--accept-history", **environment).returncode == 0
    assert shell("snapshots", **environment).returncode == 0
    commit.write_bytes(kept)
    assert shell("snapshots", "--head", commit.stem, **environment).returncode == 0
    assert shell("snapshots", "--head", "ab" * 32, **environment).returncode == ExitCode.DAMAGED


def test_a_write_only_client_adds_and_reads_nothing(shell, repository):
    owner = {"VARK_REPOSITORY": "r", "VARK_IDENTITY": "key.txt"}
    made = shell("key", "signer", "add", "host", "w.json", "--write-only", **owner)
    assert made.returncode == 0, made.stderr
    assert (shell.folder / "w.json").stat().st_mode & 0o777 == 0o600
    again = shell("key", "signer", "add", "other", "w.json", **owner)
    assert again.returncode == ExitCode.USAGE
    adding = ("backup", "-r", "r", "v.npy", "--name", "host", "--signer", "w.json", "--cache", "kept")
    done = shell(*adding)
    assert done.returncode == 0, done.stderr
    assert b"full (the first snapshot of this name from here" in done.stderr
    assert b"delta of" in shell(*adding).stderr
    for arguments in (["snapshots"], ["restore", "latest", "out"], ["verify"], ["gc"], ["key", "list"]):
        refused = shell(*arguments, "-r", "r", "--signer", "w.json", "--json")
        assert (refused.returncode, failure(refused)[0]) == (ExitCode.WRONG_KEY, "key-needed"), arguments
    assert shell("restore", "latest", "out.npy", "--name", "host", **owner).returncode == 0
    assert shell("verify", "--signed-by", "host", **owner).returncode == ExitCode.DAMAGED  # the first one is not
    assert b"write-only" in shell("key", "list", **owner).stdout
    revoked = shell("key", "signer", "revoke", "host", **owner)
    assert b"vouched for 2" in revoked.stdout
    assert shell("verify", **owner).returncode == 0
    shell(*adding)  # nobody can keep it from trying
    told = b"is not believed: by the write-only signer host, who was revoked"
    assert told in shell("snapshots", **owner).stderr
    assert told in shell("verify", **owner).stdout


def test_a_slot_that_asks_for_absurd_memory_is_refused_at_once(shell, repository):
    for path in (shell.folder / "r" / "keys").glob("*/*.json"):
        record = json.loads(path.read_bytes())
        if record.get("type") == "passphrase":
            record["argon2id"]["memory_kib"] = 1 << 30
            path.write_bytes(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())
    start = time.monotonic()
    refused = shell("snapshots", "-r", "r", "--json", VARK_PASSWORD=CANARY)
    assert refused.returncode == ExitCode.DAMAGED
    assert "asks for 1073741824 KiB of memory" in failure(refused)[1]
    assert time.monotonic() - start < 3
    assert shell("snapshots", "-r", "r", "--identity", "key.txt").returncode == 0
