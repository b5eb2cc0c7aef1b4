"""Encrypted archives on the command line: where secrets come from, what opens what, exit codes, and that no secret is ever shown."""

import json
import os
import pty
import select
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

import vark

# Words that stand nowhere else, so that each place they turn up in is a leak.
CANARY = "Zaubererbse-4711-Käse"
WRONG = "Falschwort-0815"
NAMES = ("VARK_PASSWORD", "VARK_PASSWORD_FILE", "VARK_PASSWORD_COMMAND", "VARK_IDENTITY", "VARK_REPOSITORY")


class Shell:
    """Runs vark in a folder and keeps all that it ever said, to be searched for secrets."""

    def __init__(self, folder):
        self.folder, self.said = folder, b""

    def command(self, *arguments):
        return [sys.executable, "-m", "vark", *map(str, arguments)]

    def environment(self, more):
        kept = {name: value for name, value in os.environ.items() if name not in NAMES}
        return {**kept, **{name: str(value) for name, value in more.items()}}

    def __call__(self, *arguments, fed=b"", **more):
        # Without a terminal: a session of its own.
        options = {"cwd": self.folder, "env": self.environment(more), "timeout": 120, "start_new_session": True}
        result = subprocess.run(self.command(*arguments), capture_output=True, input=fed, **options)
        self.said += result.stdout + result.stderr
        return result

    def at_terminal(self, *arguments, typed=(), **more):
        """Run it at a terminal of its own; each of `typed` is an answer to a prompt. Returns (exit code, what was shown)."""
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.folder)
            os.execvpe(sys.executable, self.command(*arguments), self.environment(more))
        shown, answers = b"", list(typed)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    part = os.read(terminal, 65_536)
                except OSError:  # the other end has gone
                    break
                if not part:
                    break
                shown += part
                if answers and part.rstrip().endswith(b":"):
                    os.write(terminal, answers.pop(0).encode() + b"\n")
        os.close(terminal)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        self.said += shown
        return code, shown.decode(errors="replace")


@pytest.fixture
def shell(tmp_path):
    np.save(tmp_path / "v.npy", np.random.default_rng(0).random((300, 8), np.float32))
    shell = Shell(tmp_path)
    yield shell
    for secret in (CANARY, WRONG, "AGE-SECRET-KEY-1"):
        assert secret.encode() not in shell.said, f"{secret} was shown"
        for path in tmp_path.rglob("*"):
            if path.is_file() and path.name not in ("password", "key.txt", "other.txt", "code"):
                assert secret.encode() not in path.read_bytes(), f"{secret} is in {path.name}"


def file_of(shell, name, text):
    (shell.folder / name).write_text(text)
    return name


def keygen(shell, name="key.txt"):
    made = shell("keygen", name)
    assert made.returncode == 0, made.stderr
    return made.stdout.decode().strip()


def is_whole(shell, target="out.npy"):
    found = (shell.folder / target).read_bytes() == (shell.folder / "v.npy").read_bytes()
    (shell.folder / target).unlink()
    return found


def code_of(packed):
    """Return the recovery code that was shown."""
    code = packed.stderr.decode().partition("Recovery code")[2].splitlines()[2].strip()
    assert code.replace("-", "").startswith("VARKRECOVERY1")
    return code


def failure(result):
    """Return (kind, message) of the last JSON line."""
    record = json.loads(result.stdout.splitlines()[-1])
    assert record["message_type"] == "exit_error"
    assert record["code"] == result.returncode
    return record["kind"], record["message"]


def test_keygen_makes_an_age_identity_that_only_its_owner_reads(shell):
    recipient = keygen(shell)
    assert recipient.startswith("age1")
    assert stat.S_IMODE((shell.folder / "key.txt").stat().st_mode) == 0o600
    lines = (shell.folder / "key.txt").read_text().splitlines()
    assert lines[1] == f"# public key: {recipient}"
    assert lines[2].startswith("AGE-SECRET-KEY-1")
    assert shell("keygen", "key.txt").returncode == 2  # never replaced
    assert (shell.folder / "key.txt").read_text().splitlines() == lines
    (record,) = map(json.loads, shell("keygen", "other.txt", "--json").stdout.splitlines())
    assert record["recipient"].startswith("age1")
    assert record["recipient"] != recipient


@pytest.mark.parametrize("place", ["option", "environment", "file-environment", "command", "command-environment"])
def test_a_passphrase_comes_from_a_file_a_command_or_the_environment(shell, place):
    path = file_of(shell, "password", CANARY + "\n")
    options = {"option": ["--password-file", path], "command": ["--password-command", f"cat {path}"]}.get(place, [])
    environment = {
        "environment": {"VARK_PASSWORD": CANARY},
        "file-environment": {"VARK_PASSWORD_FILE": path},
        "command-environment": {"VARK_PASSWORD_COMMAND": f"cat {path}"},
    }.get(place, {})
    packed = shell("pack", "v.npy", "a.vark", *options, "--json", **environment)
    assert packed.returncode == 0, packed.stdout
    assert shell("unpack", "a.vark", "out.npy").returncode == 12
    assert shell("unpack", "a.vark", "out.npy", *options, **environment).returncode == 0
    assert is_whole(shell)
    assert shell("unpack", "a.vark", "out.npy", VARK_PASSWORD=CANARY).returncode == 0


def test_a_command_that_says_a_passphrase_sees_no_other_of_vark_but_what_it_needs_itself(shell):
    """A vault's own password is in its environment, whatever it is called."""
    command = "sh -c 'echo $VAULT_PASSWORD$VARK_PASSWORD$VARK_FROM_PASSWORD'"
    known = {"VAULT_PASSWORD": CANARY, "VARK_FROM_PASSWORD": "another", "VARK_PASSWORD": "yet another"}
    assert shell("pack", "v.npy", "a.vark", "--password-command", command, **known).returncode == 0
    assert shell("unpack", "a.vark", "out.npy", VARK_PASSWORD=CANARY).returncode == 0


def test_every_command_that_reads_an_archive_opens_it(shell):
    recipient = keygen(shell)
    assert shell("pack", "v.npy", "a.vark", "--recipient", recipient).returncode == 0
    for arguments in (["inspect", "a.vark"], ["cat", "a.vark", "vectors", "--rows", "3"], ["verify", "a.vark"]):
        closed = shell(*arguments, *(["--json"] if arguments[0] != "cat" else []))
        assert closed.returncode == 12, closed
        for opened in (shell(*arguments, "--identity", "key.txt"), shell(*arguments, VARK_IDENTITY="key.txt")):
            assert opened.returncode == 0, opened.stderr
    assert b"encrypted" in shell("inspect", "a.vark", "--identity", "key.txt").stdout.splitlines()[2]
    # Checksums of what is stored need no key.
    assert shell("verify", "a.vark", "--level", "stored").returncode == 0
    assert shell("unpack", "a.vark", "out.npy", "--identity", "key.txt").returncode == 0
    assert is_whole(shell)
    with vark.open_archive(shell.folder / "a.vark", identities=[shell.folder / "key.txt"]) as archive:
        assert np.array_equal(archive["vectors"][:], np.load(shell.folder / "v.npy"))
        assert archive.is_encrypted


def test_any_of_several_protections_opens(shell):
    recipients = file_of(shell, "recipients", f"# two people\n\n{keygen(shell)}\n{keygen(shell, 'other.txt')}\n")
    path = file_of(shell, "password", CANARY)
    packed = shell(
        "pack", "v.npy", "a.vark", "--recipients-file", recipients, "--password-file", path, "--recovery-code", "--json"
    )
    assert packed.returncode == 0, packed.stdout
    code = code_of(packed)
    # Once, for a person; never in what programs keep.
    assert packed.stderr.decode().count(code) == 1
    assert code.encode() not in packed.stdout
    assert b"recovery_code" not in packed.stdout
    shell.said = shell.said.replace(code.encode(), b"")
    file_of(shell, "code", code.lower() + "\n")
    for ways in (["--identity", "key.txt"], ["--identity", "other.txt"], ["--password-file", path],
                 ["--recovery-code-file", "code"], ["--identity", "other.txt", "--password-file", path]):  # fmt: skip
        assert shell("unpack", "a.vark", "out.npy", *ways).returncode == 0, ways
        assert is_whole(shell)
    assert code.encode() not in shell.said
    typo = file_of(shell, "code", code[:-1] + ("Q" if code[-1] != "Q" else "P"))
    kind, message = failure_of_unpack(shell, "--recovery-code-file", typo, expected=2)
    assert (kind, "typing error" in message) == ("invalid-argument", True)
    assert code[:20] not in message


def failure_of_unpack(shell, *ways, expected, **environment):
    # inspect is the only reader with --json that writes nothing.
    result = shell("inspect", "a.vark", "--json", *ways, **environment)
    assert result.returncode == expected, result
    return failure(result)


def test_refusals_have_their_exit_codes_and_sentences(shell):
    recipient = keygen(shell)
    keygen(shell, "other.txt")
    password = file_of(shell, "password", CANARY)
    packed = shell("pack", "v.npy", "a.vark", "--recipient", recipient, "--password-file", password)
    assert packed.returncode == 0, packed.stderr
    kind, message = failure_of_unpack(shell, expected=12)
    assert kind == "key-needed"
    assert "is encrypted; give a passphrase, an identity file or a recovery code" in message
    kind, message = failure_of_unpack(shell, expected=12, VARK_PASSWORD=WRONG)
    assert kind == "wrong-key"
    assert "no key slot" in message
    assert "1 passphrase" in message
    assert "1 recipient" in message
    assert failure_of_unpack(shell, "--identity", "other.txt", expected=12)[0] == "wrong-key"
    content = bytearray((shell.folder / "a.vark").read_bytes())
    content[100] ^= 1
    (shell.folder / "a.vark").write_bytes(content)
    damaged = shell("unpack", "a.vark", "out.npy", "--identity", "key.txt")
    assert damaged.returncode == 4
    assert not (shell.folder / "out.npy").exists()


@pytest.mark.parametrize(
    ("options", "environment", "sentence"),
    [
        (["--passphrase"], {}, "no terminal"),
        (["--passphrase", "--password-file", "password"], {}, "give one of them"),
        ([], {"VARK_PASSWORD": CANARY, "VARK_PASSWORD_FILE": "password"}, "give one of them"),
        ([], {"VARK_PASSWORD": ""}, "empty"),
        (["--password-file", "empty"], {}, "empty"),
        (["--password-file", "long"], {}, "longer than 1024"),
        (["--password-file", "absent"], {}, "absent"),
        (["--password-command", f"sh -c 'echo {CANARY}; exit 3'"], {}, "exited with 3"),
        (["--password-command", f"no-such-program {CANARY}"], {}, "cannot be run"),
        (["--password-command", f"echo '{CANARY}"], {}, "not closed"),
        (["--password-command", " "], {}, "no program"),
        (["--recipients-file", "empty"], {}, "names no recipient"),
        (["--recipients-file", "key.txt"], {}, "secret key"),
        (["--recipient", "age1qqqq"], {}, "recipient"),
    ],
)
def test_a_protection_that_cannot_be_had_is_an_error_before_anything_is_written(shell, options, environment, sentence):
    keygen(shell)
    file_of(shell, "password", CANARY)
    file_of(shell, "empty", "\n")
    file_of(shell, "long", "x" * 1025 + "\n")
    before = sorted(path.name for path in shell.folder.iterdir())
    packed = shell("pack", "v.npy", "a.vark", *options, "--json", fed=CANARY.encode(), **environment)
    assert packed.returncode == 2, packed
    assert sentence in failure(packed)[1]
    assert sorted(path.name for path in shell.folder.iterdir()) == before


def test_a_secret_key_in_the_arguments_is_refused_and_not_repeated(shell):
    keygen(shell)
    key = (shell.folder / "key.txt").read_text().splitlines()[2]
    file_of(shell, "a.vark", "")
    for arguments in (
        ["pack", "v.npy", "b.vark", "--recipient", key],
        ["unpack", "a.vark", "out.npy", "--identity", key],
    ):
        refused = shell(*arguments)
        assert refused.returncode == 2
        assert b"secret key" in refused.stderr or b"give the file" in refused.stderr
    assert not (shell.folder / "b.vark").exists()


def test_a_passphrase_is_asked_for_twice_and_never_echoed(shell):
    code, shown = shell.at_terminal("pack", "v.npy", "a.vark", "--passphrase", typed=[CANARY, CANARY])
    assert code == 0, shown
    assert "The same again" in shown
    code, shown = shell.at_terminal("unpack", "a.vark", "out.npy", "--passphrase", typed=[CANARY])
    assert code == 0, shown
    assert is_whole(shell)
    code, shown = shell.at_terminal("unpack", "a.vark", "out.npy", "--passphrase", typed=[WRONG])
    assert code == 12, shown
    code, shown = shell.at_terminal("pack", "v.npy", "b.vark", "--passphrase", typed=[CANARY, WRONG])
    assert code == 2, shown
    assert "not the same" in shown
    assert not (shell.folder / "b.vark").exists()


def test_a_recovery_code_that_cannot_be_shown_protects_nothing(shell):
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "vark", "pack", "v.npy", "a.vark", "--recovery-code"]
        assert subprocess.run(command, cwd=shell.folder, stderr=full, stdout=full, check=False).returncode != 0
    assert not (shell.folder / "a.vark").exists()


def test_a_plain_archive_in_the_place_of_an_encrypted_one_is_refused(shell):
    assert shell("pack", "v.npy", "a.vark").returncode == 0
    for command in (["unpack", "a.vark", "out.npy"], ["verify", "a.vark"], ["inspect", "a.vark"]):
        refused = shell(*command, VARK_PASSWORD=CANARY)
        assert refused.returncode == 4, refused
        assert b"not encrypted, though a key was given" in refused.stdout + refused.stderr
    assert not (shell.folder / "out.npy").exists()


def test_a_recovery_code_alone_opens_when_it_is_typed(shell):
    packed = shell("pack", "v.npy", "a.vark", "--recovery-code")
    assert packed.returncode == 0, packed.stderr
    code = code_of(packed)
    shell.said = b""
    exit_code, shown = shell.at_terminal("unpack", "a.vark", "out.npy", "--recovery-code", typed=[code])
    assert exit_code == 0, shown
    assert code not in shown
    assert is_whole(shell)


def test_a_plain_repository_is_asked_for_and_a_key_for_it_is_refused(shell):
    refused = shell("init", "r")
    assert refused.returncode == 2
    assert b"encrypted unless you say otherwise" in refused.stderr
    made = shell("init", "r", "--encryption", "none")
    assert made.returncode == 0
    assert b"encryption: none" in made.stdout
    (record,) = map(
        json.loads, shell("init", "s", "--encryption", "none", "--json", VARK_PASSWORD=CANARY).stdout.splitlines()
    )
    assert record["encryption"] == "none"
    refused = shell("backup", "-r", "r", "v.npy", VARK_PASSWORD=CANARY)
    assert refused.returncode == 4
    assert b"it is not encrypted, though a key was given" in refused.stderr
    assert not list((shell.folder / "r" / "archives").glob("**/*.vark*"))
    assert shell("backup", "-r", "r", "v.npy", "--encryption", "none", VARK_PASSWORD=CANARY).returncode == 0
    for arguments in (["verify", "-r", "r"], ["cat", "-r", "r", "latest", "vectors"]):
        refused = shell(*arguments, VARK_PASSWORD=CANARY)
        assert refused.returncode == 4
        assert b"it is not encrypted, though a key was given" in refused.stderr


def test_a_report_with_a_recovery_code_does_not_show_it(shell):
    report = vark.write_archive(shell.folder / "v.npy", shell.folder / "a.vark", recovery_code=True, sync=False)
    assert report.recovery_code is not None
    assert report.recovery_code not in repr(report)
    with vark.open_archive(shell.folder / "a.vark", recovery_code=report.recovery_code) as archive:
        assert report.recovery_code not in repr(archive)
    assert report.recovery_code.encode() not in (shell.folder / "a.vark").read_bytes()
