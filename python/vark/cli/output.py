"""What the command line says: data on stdout, talk on stderr, JSON Lines on request."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vark.archive import ProgressCallback
from vark.errors import ExitCode

# Fields are only added within a version; a change of meaning raises it.
SCHEMA_VERSION = 1

HINTS = {
    "invalid-argument": "nothing was touched; see --help",
    "not-found": "nothing was touched; check the name",
    "already-exists": "nothing was touched; choose another name or add --replace",
    "permission-denied": "check the owner and mode of the file and its folder",
    "no-space": "nothing is left under the target's name; free space or choose another place",
    "io": "nothing is left under the target's name; check the disk and run it again",
    "unavailable": "nothing that was reported as done is lost; run it again",
    "not-an-archive": "check the path; `vark verify` says more about a file that was an archive",
    "key-needed": "see --passphrase, --password-file, --identity, --recovery-code",
    "wrong-key": "nothing was written; try another key",
    "damaged": "restore from another copy; `vark verify` lists all that is damaged",
    "unsupported": "install a newer vark",
    "limit-exceeded": "raise the limit only if you trust the archive",
    "source-changed": "no archive was written; stop writing to the source and run it again",
    "malformed": "try --layout opaque to keep the bytes as they are",
    "no-repository": "nothing was touched; check --repo, or make one with `vark init`",
    "conflict": "all snapshots are as they were; run it again",
    "refused": "nothing was removed",
    "cancelled": "nothing is left under the target's name",
}


class Output:
    """Where one command talks to. In JSON mode stdout carries JSON Lines and nothing else."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def line(self, message_type: str, **fields: Any) -> None:
        """Write one JSON line."""
        record = {"schema_version": SCHEMA_VERSION, "message_type": message_type, **fields}
        sys.stdout.write(json.dumps(record, default=_plain, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def data(self, text: str) -> None:
        """Write what was asked for (nothing in JSON mode)."""
        if not self.as_json:
            sys.stdout.write(text + "\n")

    def talk(self, text: str) -> None:
        """Say something to the person at the terminal."""
        if not self.as_json:
            sys.stderr.write(text + "\n")

    def warn(self, text: str, **fields: Any) -> None:
        """Say what needs attention although the command goes on."""
        if self.as_json:
            self.line("warning", message=text, **fields)
        else:
            sys.stderr.write(f"vark: warning: {text}\n")

    def fail(self, message: str, *, exit_code: int, code: str, layer: str | None = None) -> None:
        """Say why the command failed; in JSON mode this is always the last line."""
        hint = HINTS.get(code, "")
        if self.as_json:
            self.line("exit_error", code=int(exit_code), kind=code, layer=layer, message=message, hint=hint)
        else:
            sys.stderr.write(f"vark: {message}" + (f" ({hint})" if hint else "") + "\n")

    @contextmanager
    def progress(self, what: str) -> Iterator[ProgressCallback | None]:
        """Give a callback that draws a bar on stderr, or None where nobody looks."""
        if self.as_json or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[speed]}"),
            Remaining(),
        )
        start = time.monotonic()
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None, speed="")

            def report(done: int, total: int | None) -> None:
                speed = done / max(time.monotonic() - start, 1e-3) / 1e9
                bar.update(task, completed=done, total=total, speed=f"{speed:.2f} GB/s")

            yield report


def as_record(report: Any) -> dict[str, Any]:
    """Return a report as a JSON object, without its secrets. Arrays of numpy and the like become texts."""
    fields = (item.name for item in dataclasses.fields(report) if not item.metadata.get("secret"))
    return {name: getattr(report, name) for name in fields}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_record(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def exit_for_partial(partial: bool) -> ExitCode:
    """Return what a finished backup exits with."""
    return ExitCode.PARTIAL if partial else ExitCode.OK
