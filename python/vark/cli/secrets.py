"""Secrets and recipients of the command line: asked for or read, never shown or repeated.

Nothing secret is taken from the arguments, which everybody on the machine can read. A protection that was asked for and
cannot be had is an error before anything is written.
"""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from vark.cli.sections import KEYS, under
from vark.errors import InvalidArgumentError, error_from_os
from vark.keys import new_recovery_code

Function = TypeVar("Function", bound=Callable[..., Any])

PASSPHRASE_BYTES_MAX = 1_024
RECIPIENTS_FILE_BYTES_MAX = 65_536
CODE_BYTES_MAX = 1_024
PASSWORD, PASSWORD_FILE, PASSWORD_COMMAND = "VARK_PASSWORD", "VARK_PASSWORD_FILE", "VARK_PASSWORD_COMMAND"
_PASSWORDS = (PASSWORD, "VARK_FROM_PASSWORD")  # hidden from a command that says another
IDENTITY = "VARK_IDENTITY"
KMS = "VARK_KMS"
KMS_HELP = f"With a key of a KMS, e.g. aws-kms:alias/backups, or {KMS}; endpoint and credentials as boto3 has them."
_UNEXPOSED = "vark.cli.secrets"
_IDENTITY_PREFIX = "AGE-SECRET-KEY-"


def protecting(function: Function) -> Function:
    """Add the options that encrypt what is written."""
    return _add(
        function,
        *_recipients("Encrypt to"),
        *_passphrase("Encrypt with a passphrase, asked for at the terminal."),
        click.option("--recovery-code", is_flag=True, help="Make a code that opens it, too, and show it once."),
    )


def adding(function: Function) -> Function:
    """Add the options of a new way to open a repository, beside those that open it."""
    return _add(
        function,
        *_recipients("Let it be opened by"),
        click.option(
            "--new-passphrase", "passphrase", is_flag=True, help="By a passphrase, asked for at the terminal."
        ),
        click.option("--new-password-file", "password_file", help="By the passphrase in this file."),
        click.option("--new-password-command", "password_command", help="By the passphrase that this program prints."),
        click.option("--new-kms", "new_kms", multiple=True, metavar="PROVIDER:KEY", help="By a key of a KMS."),
        click.option("--new-recovery-code", "recovery_code", is_flag=True, help="By a new code, which is shown once."),
    )


def opening(function: Function) -> Function:
    """Add the options that open what is encrypted."""
    return under(KEYS, lambda inner: _add(inner, *_opening({})))(function)


def opening_repository(function: Function) -> Function:
    """Add the same options, but keep them for `kept`: commands need not know them."""
    how = {"expose_value": False, "callback": _keep}
    return under(KEYS, lambda inner: _add(inner, *_opening(how)))(function)


def opening_by_kms(function: Function) -> Function:
    """Add --kms, which opens repositories only; its value is in `kept`, too."""
    how: dict[str, Any] = {"expose_value": False, "callback": _keep}
    option = click.option("--kms", "unlock_kms", multiple=True, metavar="PROVIDER:KEY", help=KMS_HELP, **how)
    return under(KEYS, option)(function)


def services(texts: Sequence[str]) -> dict[str, Any]:
    """Return the argument for key management services; none when none is named, here or by VARK_KMS."""
    from vark.kms import service_of

    named = list(texts) or [text for text in os.environ.get(KMS, "").split() if text]
    return {"kms": [service_of(text) for text in named]} if named else {}


def kept() -> dict[str, Any]:
    """Return what was given to the options of `opening_repository` of this command."""
    return dict(click.get_current_context().meta.get(_UNEXPOSED, {}))


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    name = (parameter.name or "").removeprefix("unlock_")
    context.meta.setdefault(_UNEXPOSED, {})[name] = value


def _opening(how: dict[str, Any]) -> tuple[Callable[[Function], Function], ...]:
    # Names of their own where the options of something new stand beside them.
    prefix = "unlock_" if how else ""
    return (
        click.option(
            "--identity",
            f"{prefix}identities",
            multiple=True,
            metavar="FILE",
            help=f"Open with a file of keys, or {IDENTITY}.",
            **how,
        ),
        *_passphrase("Open with a passphrase, asked for at the terminal.", prefix, how),
        click.option(
            "--recovery-code",
            f"{prefix}recovery_code",
            is_flag=True,
            help="Open with a recovery code, asked for at the terminal.",
            **how,
        ),
        click.option(
            "--recovery-code-file", f"{prefix}recovery_code_file", help="Open with the recovery code in a file.", **how
        ),
    )


def _recipients(text: str) -> tuple[Callable[[Function], Function], ...]:
    return (
        click.option("--recipient", "recipients", multiple=True, metavar="age1…", help=f"{text} this age recipient."),
        click.option("--recipients-file", "recipients_files", multiple=True, help=f"{text} those listed in a file."),
    )


def _passphrase(
    text: str, prefix: str = "", how: dict[str, Any] | None = None
) -> tuple[Callable[[Function], Function], ...]:
    more = how or {}
    file_help = f"A file with the passphrase, or {PASSWORD_FILE}, or {PASSWORD} itself."
    return (
        click.option("--passphrase", f"{prefix}passphrase", is_flag=True, help=text, **more),
        click.option("--password-file", f"{prefix}password_file", help=file_help, **more),
        click.option(
            "--password-command",
            f"{prefix}password_command",
            help=f"A program that prints the passphrase, or {PASSWORD_COMMAND}.",
            **more,
        ),
    )


def _add(function: Function, *decorators: Callable[[Function], Function]) -> Function:
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def protection(given: Mapping[str, Any], *, environment: bool = True) -> dict[str, Any]:
    """Return the arguments of `write_archive` that encrypt; none when nothing was asked for.

    environment: whether a passphrase in the environment asks for it, too.
    Errors: InvalidArgumentError, NotFoundError and their like; nothing was written.
    """
    recipients = [_recipient(text, "--recipient") for text in given["recipients"]]
    for path in given["recipients_files"]:
        recipients += _recipients_of(path)
    passphrase = _passphrase_of(given, twice=True, environment="VARK_" if environment else None)
    found: dict[str, Any] = {}
    if recipients:
        found["recipients"] = list(dict.fromkeys(recipients))
    if passphrase is not None:
        found["passphrase"] = passphrase
    if given["recovery_code"]:
        found["recovery_code"] = new_recovery_code()
    if found:
        _keep_out_of_core_files()
    return found


def unlocking(given: Mapping[str, Any], *, environment: str | None = "VARK_") -> dict[str, Any]:
    """Return the arguments of `open_archive` and `verify_archive` that open it; none when nothing was given.

    environment: how the variables begin that are looked at where no option was given; None for none.
    Errors: InvalidArgumentError, NotFoundError and their like.
    """
    identities = list(given["identities"])
    if not identities and environment is not None and os.environ.get(_named(IDENTITY, environment)):
        identities = [os.environ[_named(IDENTITY, environment)]]
    if any(_IDENTITY_PREFIX in text.upper() for text in identities):
        raise InvalidArgumentError("--identity: give the file of the key, not the key: others can read the arguments")
    found: dict[str, Any] = {"identities": [Path(text) for text in identities]} if identities else {}
    passphrase = _passphrase_of(given, twice=False, environment=environment)
    if passphrase is not None:
        found["passphrase"] = passphrase
    code = _recovery_code_of(given)
    if code is not None:
        found["recovery_code"] = code
    if found:
        _keep_out_of_core_files()
    return found


def ask_passphrase(*, twice: bool) -> bytes | None:
    """Return a passphrase that was typed; None where nobody is at a terminal."""
    if not sys.stdin.isatty():
        return None
    _keep_out_of_core_files()
    return _passphrase_of({"passphrase": True, "password_file": None, "password_command": None}, twice=twice)


def show_recovery_code(code: str | None) -> None:
    """Show a new recovery code, once, on stderr: never in JSON, which is kept.

    Before anything is written: an archive whose code nobody saw could be lost.
    """
    if code is not None:
        sys.stderr.write(f"Recovery code, shown only now and stored nowhere; write it down:\n\n  {code}\n\n")
        sys.stderr.flush()


def _named(variable: str, environment: str) -> str:
    return environment + variable.removeprefix("VARK_")


def _passphrase_of(given: Mapping[str, Any], *, twice: bool, environment: str | None = "VARK_") -> bytes | None:
    """Return the passphrase of the one place that was named; those of the command line outrank the environment."""
    named = {
        "--passphrase": given["passphrase"],
        "--password-file": given["password_file"],
        "--password-command": given["password_command"],
    }
    if environment and not any(value is not None and value is not False for value in named.values()):
        names = [_named(name, environment) for name in (PASSWORD, PASSWORD_FILE, PASSWORD_COMMAND)]
        named = {name: os.environ[name] for name in names if name in os.environ}
    places = [(name, value) for name, value in named.items() if value is not None and value is not False]
    if not places:
        return None
    if len(places) > 1:
        raise InvalidArgumentError(f"{' and '.join(name for name, _ in places)}: give one of them")
    [(name, value)] = places
    if name == "--passphrase":
        secret = _ask("Passphrase: ", name)
        if twice and _ask("The same again: ", name) != secret:
            raise InvalidArgumentError(f"{name}: the two are not the same")
    elif name.endswith("_PASSWORD"):
        secret = os.fsencode(value)
    elif name.endswith(("-password-file", "_PASSWORD_FILE")):
        secret = _line_of_file(value, name)
    else:
        secret = _line_of_command(value, name)
    if not 1 <= len(secret) <= PASSPHRASE_BYTES_MAX:
        what = "empty" if not secret else f"longer than {PASSPHRASE_BYTES_MAX} bytes"
        raise InvalidArgumentError(f"{name}: the passphrase is {what}")
    return secret


def _ask(prompt: str, name: str) -> bytes:
    """Ask at the terminal, without echo. Where there is none it is an error, not a prompt that shows what is typed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return os.fsencode(getpass.getpass(prompt))
        except getpass.GetPassWarning:
            raise InvalidArgumentError(
                f"{name}: there is no terminal to ask at; give it by a file or a command"
            ) from None
        except EOFError:
            raise InvalidArgumentError(f"{name}: nothing was typed") from None


def _line_of_file(path: str, name: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return _line(file, PASSPHRASE_BYTES_MAX)
    except OSError as error:
        raise error_from_os(error, f"{name} {path}") from None


def _line(file: IO[bytes], bytes_max: int) -> bytes:
    """Return the content without the line end at its end; one byte too many where there are more than `bytes_max`."""
    content = file.read(bytes_max + 3)
    for ending in (b"\r\n", b"\n"):
        if content.endswith(ending):
            return content.removesuffix(ending)
    return content


def _line_of_command(command: str, name: str) -> bytes:
    """Return what a program prints. Neither the command nor what it prints is repeated: both may hold a secret."""
    try:
        arguments = shlex.split(command)
    except ValueError:
        raise InvalidArgumentError(f"{name}: a quote is not closed") from None
    if not arguments:
        raise InvalidArgumentError(f"{name}: no program is named")
    environment = {key: value for key, value in os.environ.items() if key not in _PASSWORDS}
    try:
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as process:  # noqa: S603 - its owner's own program, without a shell
            assert process.stdout is not None
            secret = _line(process.stdout, PASSPHRASE_BYTES_MAX)
            process.stdout.close()  # one that prints without end gets to know that nobody listens
            code = process.wait()
    except OSError as error:
        raise InvalidArgumentError(f"{name}: the program cannot be run: {error.strerror}") from None
    if code and len(secret) <= PASSPHRASE_BYTES_MAX:
        how = f"exited with {code}" if code > 0 else f"was ended by signal {-code}"
        raise InvalidArgumentError(f"{name}: the program {how}")
    return secret


def _recovery_code_of(given: Mapping[str, Any]) -> str | None:
    path = given["recovery_code_file"]
    if given["recovery_code"] and path is not None:
        raise InvalidArgumentError("--recovery-code and --recovery-code-file: give one of them")
    if given["recovery_code"]:
        return _text(_ask("Recovery code: ", "--recovery-code"), "--recovery-code")
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return _text(_line(file, CODE_BYTES_MAX), "--recovery-code-file")
    except OSError as error:
        raise error_from_os(error, f"--recovery-code-file {path}") from None


def _text(code: bytes, name: str) -> str:
    try:
        return code.decode("ascii").strip()
    except UnicodeDecodeError:
        raise InvalidArgumentError(f"{name}: a recovery code has letters, digits and - only") from None


def _recipient(text: str, place: str) -> str:
    if _IDENTITY_PREFIX in text.upper():
        raise InvalidArgumentError(f"{place}: this is a secret key; give its recipient (age1…)")
    return text.strip()


def _recipients_of(path: str) -> list[str]:
    """Return the recipients of a file, one a line; blank lines and those that begin with # are passed over."""
    try:
        with open(path, "rb") as file:
            content = file.read(RECIPIENTS_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise error_from_os(error, f"--recipients-file {path}") from None
    if len(content) > RECIPIENTS_FILE_BYTES_MAX:
        raise InvalidArgumentError(f"--recipients-file {path}: more than {RECIPIENTS_FILE_BYTES_MAX} bytes")
    lines = enumerate(content.decode("utf-8", "replace").splitlines(), 1)
    found = [
        _recipient(line, f"--recipients-file {path}, line {number}")
        for number, line in lines
        if line.strip() and not line.startswith("#")
    ]
    if not found:
        raise InvalidArgumentError(f"--recipients-file {path}: it names no recipient")
    return found


def _keep_out_of_core_files() -> None:
    """A process that holds secrets leaves no core file."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
