"""`vark keygen`: a new key pair in the format of age."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import click

from vark.cli import options
from vark.cli.output import Output
from vark.cli.sections import Command
from vark.errors import error_from_os


@click.command(cls=Command, short_help="Make a key that opens what is encrypted to its recipient.")
@click.argument("file", type=click.Path())
@options.as_json
def keygen(file: str, as_json: bool) -> int:
    """Write a new age identity to FILE, which only its owner can read, and print its recipient.

    FILE must not exist. Who loses it cannot open what was encrypted to its recipient alone: keep a copy elsewhere.

    \b
    vark keygen key.txt
    vark pack products.faiss products.vark --recipient age1…
    vark unpack products.vark products.faiss --identity key.txt
    """
    from vark.keys import new_identity

    identity, recipient = new_identity()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_secret(file, f"# created: {now}\n# public key: {recipient}\n{identity}\n".encode())
    output = Output(as_json=as_json)
    if as_json:
        output.line("summary", command="keygen", identity_file=file, recipient=recipient)
    else:
        output.data(recipient)
    return 0


def write_secret(path: str, content: bytes) -> None:
    """Write a new file of mode 600; nothing stays under its name when that fails. Errors: TargetExistsError."""
    with new_secret(path) as write:
        write(content)


@contextlib.contextmanager
def new_secret(path: str) -> Iterator[Callable[[bytes], None]]:
    """Make a new file of mode 600 for what is yet to be made; it is gone when that fails. Errors: TargetExistsError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise error_from_os(error, path) from None

    def write(content: bytes) -> None:
        try:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        except OSError as error:
            raise error_from_os(error, path) from None

    try:
        with open(descriptor, "wb") as out:
            yield write
    except BaseException:
        os.unlink(path)
        raise
