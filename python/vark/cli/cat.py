"""`vark cat`: rows of a stream by position or id, or a document, out of an archive or a snapshot."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from vark.archive import Archive
from vark.cli import options
from vark.cli.output import Output
from vark.cli.sections import Command
from vark.cli.sources import choosing, open_source
from vark.errors import ExitCode, InvalidArgumentError, UnknownNameError
from vark.selection import FORMATS, Selection
from vark.views import StreamView

RANGE = re.compile(r"(?P<row>-?\d+)|(?P<low>\d+)-(?P<high>\d+)|(?P<first>-?\d*):(?P<stop>-?\d*)")


@click.command(cls=Command, short_help="Write rows of a stream, or a document, to stdout or a file.")
@click.argument("source")
@click.argument("stream")
@click.option(
    "--rows", help="By position: rows (7), ranges (100:200, 10-20, :10, -5:), or several with commas between."
)
@click.option("--ids", help="By id: numbers with commas between, a text or .npy file of them, or - for stdin.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["raw", "text", "csv", *FORMATS]),
    help="Default: raw for documents and attachments, text for rows.",
)
@click.option("--output", "-o", "target", type=click.Path(), help="A file instead of stdout; it appears when complete.")
@click.option("--replace", is_flag=True, help="Replace an existing file, at the end.")
@click.option("--payload/--no-payload", default=True, help="Take the payload's columns along (Arrow, Parquet).")
@choosing
@options.as_json
def cat(source: str, stream: str, **given: Any) -> int:
    """Write rows of STREAM, or a document or attachment, out of SOURCE: an archive, or a snapshot of --repo.

    Reads only the chunks that hold the rows. npy, raw, text and csv have the rows alone, in the order asked for; arrow
    (an IPC file), arrow-stream and parquet have columns `id` (`row` where the source has no ids), `vector` and the
    payload's, and need pyarrow. With --ids all rows of each id come; ids that are not there are listed on stderr, and
    it exits with 3. --json (with --output) says the same as JSON Lines.

    \b
    vark cat products.vark README.md
    vark cat products.vark vectors --rows 0:5
    vark cat products.vark vectors --rows 1000:2000 --format npy > part.npy
    vark cat s3://bucket/products.vark vectors --rows 7
    vark cat latest vectors --repo backups/ --ids 4711,4712 --format parquet -o two.parquet
    """
    form, target = given["form"], given["target"]
    output = Output(as_json=given["as_json"])
    if output.as_json and target is None:
        raise InvalidArgumentError("--json: stdout carries the rows; give a file for them with --output")
    with open_source(source, given) as opened:
        if given["ids"] is not None or form in FORMATS[1:]:
            return _select(opened, stream, given, output)
        view = _find(opened, stream)
        rows = _ranges(given["rows"], len(view))
        plain = view.role in ("document", "attachment", "payload", "plan")
        chosen = form or ("raw" if plain else "text")
        selection = opened.select(view.name, rows=rows, payload=False)
        _emit(selection, chosen, target, replace=given["replace"])
        _summary(selection, stream, target, output)
    return 0


def _select(opened: Archive, stream: str, given: dict[str, Any], output: Output) -> int:
    ids = None if given["ids"] is None else read_ids(given["ids"])
    if ids is not None and given["rows"] is not None:
        raise InvalidArgumentError("--rows and --ids: give one of them")
    view = _find(opened, stream)
    rows = None if ids is not None else _ranges(given["rows"], len(view))
    form = given["form"] or "text"
    # Only tables have the columns of a payload.
    payload = given["payload"] and form in FORMATS[1:]
    selection = opened.select(view.name, rows=rows, ids=ids, payload=payload)
    _emit(selection, form, given["target"], replace=given["replace"])
    for note in selection.notes:
        output.warn(note)
    for missing in dict.fromkeys(selection.missing.tolist()):
        output.warn(f"id {missing}: no row of {stream} has it")
    _summary(selection, stream, given["target"], output)
    return ExitCode.PARTIAL if len(selection.missing) else ExitCode.OK


def _summary(selection: Selection, stream: str, target: str | None, output: Output) -> None:
    if output.as_json:
        missing, notes = list(dict.fromkeys(selection.missing.tolist())), list(selection.notes)
        fields = {"stream": stream, "target": target, "row_count": len(selection), "missing": missing, "notes": notes}
        output.line("summary", command="cat", **fields)


def _emit(selection: Selection, form: str, target: str | None, *, replace: bool) -> None:
    from vark.target import write_published

    def write_to(out: BinaryIO) -> None:
        if form in FORMATS:
            selection.write(out, form)
        else:
            write(selection, form, out)

    if target is None:
        write_to(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return

    def publish(descriptor: int) -> None:
        with open(descriptor, "wb", closefd=False) as file:
            write_to(file)

    write_published(Path(target), publish, replace=replace, sync=True)


def write(selection: Selection, form: str, out: BinaryIO) -> None:
    """Write rows as their bytes, or as lines of numbers."""
    separator = "," if form == "csv" else " "
    for part in selection.parts():
        rows = part.values
        if form == "raw":
            out.write(rows.data.cast("B") if rows.dtype.kind in "iu" else rows.tobytes())
            continue
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


def read_ids(text: str) -> Any:
    """Return the ids of a list, a file, or stdin. Errors: InvalidArgumentError."""
    import numpy as np

    if re.fullmatch(r"-?\d+(,-?\d+)*,?", text):
        return _numbers(text, "--ids")
    if text == "-":
        return _numbers(sys.stdin.read(), "--ids -")
    try:
        if text.endswith(".npy"):
            return np.load(text)
        return _numbers(Path(text).read_text(), f"--ids {text}")
    except FileNotFoundError as error:
        raise InvalidArgumentError(f"--ids {text!r}: no such file, and no list of ids such as 4711,4712") from error
    except ValueError as error:
        raise InvalidArgumentError(f"--ids {text}: {error}; expected whole numbers") from error


def _numbers(text: str, place: str) -> Any:
    import numpy as np

    words = text.replace(",", " ").split()
    wrong = next((word for word in words if not re.fullmatch(r"-?\d{1,20}", word)), None)
    if wrong is not None:
        raise InvalidArgumentError(f"{place}: {wrong[:40]!r} is no id; expected whole numbers")
    values = [int(word) for word in words]
    try:
        return np.array(values, np.uint64 if max(values, default=0) >= 1 << 63 else np.int64)
    except OverflowError as error:
        raise InvalidArgumentError(f"{place}: some ids do not fit 64 bits") from error


def _ranges(text: str | None, row_count: int) -> Any:
    """Return what --rows says: a slice, or numbers. Errors: InvalidArgumentError."""
    import numpy as np

    if text is None:
        return slice(None)
    found = [_range(part, row_count) for part in text.split(",")]
    return (
        slice(found[0].start, found[0].stop) if len(found) == 1 else np.concatenate([np.array(r, int) for r in found])
    )


def _range(text: str, row_count: int) -> range:
    match = RANGE.fullmatch(text)
    if match is None:
        raise InvalidArgumentError(f"--rows {text!r}: expected a row such as 7 or a range such as 100:200")
    if match["first"] is not None:
        bounds = (int(part) if part else None for part in match.group("first", "stop"))
        first, stop, _ = slice(*bounds).indices(row_count)
        return range(first, max(first, stop))
    if match["low"] is not None:
        first, stop = int(match["low"]), int(match["high"]) + 1
        if first >= stop or stop > row_count:
            raise InvalidArgumentError(f"--rows {text}: the stream has {row_count} rows")
        return range(first, stop)
    row = int(match["row"]) + (row_count if match["row"].startswith("-") else 0)
    if not 0 <= row < row_count:
        raise InvalidArgumentError(f"--rows {text}: the stream has {row_count} rows")
    return range(row, row + 1)
