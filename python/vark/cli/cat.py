"""`vark cat`: rows of a stream, or a document, on stdout."""

from __future__ import annotations

import re
import sys
from typing import Any, BinaryIO

import click

from vark.archive import Archive
from vark.cli import options
from vark.errors import InvalidArgumentError, UnknownNameError
from vark.views import READ_BYTES, StreamView


@click.command(short_help="Write rows of a stream or a document to stdout.")
@click.argument("archive", type=options.ARCHIVE)
@click.argument("name")
@click.option("--rows", help="One row (7), or a range (100:200, :10, -5:).")
@click.option(
    "--format",
    "form",
    type=click.Choice(["raw", "npy", "text", "csv"]),
    help="Default: raw for documents and attachments, text for rows.",
)
def cat(archive: str, name: str, rows: str | None, form: str | None) -> int:
    """Write the stream, document or attachment NAME of ARCHIVE to stdout. Reads only the chunks that hold the rows.

    \b
    vark cat products.vark README.md
    vark cat products.vark vectors --rows 0:5
    vark cat products.vark vectors --rows 1000:2000 --format npy > part.npy
    """
    from vark.api import open_archive

    with open_archive(archive) as opened:
        view = _find(opened, name)
        first, stop = _range(rows, len(view))
        plain = view.role in ("document", "attachment", "payload", "plan")
        write(view, first, stop, form or ("raw" if plain else "text"), sys.stdout.buffer)
        sys.stdout.buffer.flush()
    return 0


def write(view: StreamView, first: int, stop: int, form: str, out: BinaryIO) -> None:
    """Write rows first to stop (not included) of a stream in one of the formats."""
    import numpy as np

    from vark.arrays import npy_header

    if form == "npy":
        shape = (stop - first, *view.shape[1:])
        out.write(npy_header(np.broadcast_to(np.zeros((), view.dtype), shape).view() if shape else np.empty(0)))
    step = max(1, READ_BYTES // max(1, view.nbytes // max(1, len(view))))
    for start in range(first, stop, step):
        rows: Any = view[start : min(start + step, stop)]
        if form in ("raw", "npy"):
            out.write(rows.data.cast("B") if rows.dtype.kind in "iu" else rows.tobytes())
            continue
        separator = "," if form == "csv" else " "
        # str of a numpy scalar is the shortest text that gives the same number of its own width.
        table = rows.reshape(len(rows), -1)
        out.write("".join(separator.join(map(str, row)) + "\n" for row in table).encode())


def _find(opened: Archive, name: str) -> StreamView:
    if name in opened:
        return opened[name]
    for named in (opened.documents, opened.attachments):
        if name in named:
            return named.view(name)
    known = ", ".join([*(info.name for info in opened.streams)])
    raise UnknownNameError(f"{name!r}: not in {opened.path}, which has {known}")


def _range(text: str | None, row_count: int) -> tuple[int, int]:
    if text is None:
        return 0, row_count
    match = re.fullmatch(r"(-?\d+)|(-?\d*):(-?\d*)", text)
    if match is None:
        raise InvalidArgumentError(f"--rows {text!r}: expected a row such as 7 or a range such as 100:200")
    if match[1]:
        row = int(match[1]) + (row_count if match[1].startswith("-") else 0)
        if not 0 <= row < row_count:
            raise InvalidArgumentError(f"--rows {text}: the stream has {row_count} rows")
        return row, row + 1
    first, stop, _ = slice(*(int(part) if part else None for part in match.group(2, 3))).indices(row_count)
    return first, max(first, stop)
