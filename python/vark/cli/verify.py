"""`vark verify`: read archives and name every damage."""

from __future__ import annotations

from typing import Any

import click

from vark.cli import options
from vark.cli.output import Output, as_record
from vark.errors import ExitCode, VarkError, exit_code_for
from vark.types import VerifyReport
from vark.units import format_bytes, format_speed


@click.command(short_help="Check archives and name every damage.")
@click.argument("archives", nargs=-1, required=True, type=options.ARCHIVE)
@click.option("--level", type=click.Choice(["stored", "full"]), default="full", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Default: all cores.")
@options.as_json
def verify(archives: tuple[str, ...], level: str, threads: int | None, **given: Any) -> int:
    """Verify ARCHIVES. Exits with 0 when all are whole, 4 when damage was found.

    "stored" compares the checksums of the stored bytes; "full" decodes everything and compares the digests of all rows.

    \b
    vark verify products.vark
    vark verify --level stored --json *.vark
    """
    from vark.api import verify_archive

    output = Output(as_json=given["as_json"])
    codes = []
    for archive in archives:
        try:
            with output.progress(f"verifying {archive}") as progress:
                report = verify_archive(archive, level=level, threads=threads, progress=progress)
        except VarkError as error:
            if len(archives) == 1:
                raise
            codes.append(exit_code_for(error))
            if output.as_json:
                output.line("error", archive=archive, kind=error.code, layer=error.layer, message=error.message)
            else:
                output.talk(f"vark: {archive}: {error.message}")
            continue
        codes.append(ExitCode.OK if report.ok else ExitCode.DAMAGED)
        _show(archive, report, output)
    # Damage outranks all else: it is what the caller must act on.
    return ExitCode.DAMAGED if ExitCode.DAMAGED in codes else max(codes)


def _show(archive: str, report: VerifyReport, output: Output) -> None:
    if output.as_json:
        output.line("summary", command="verify", archive=archive, **as_record(report))
        return
    for item in report.damage:
        output.data(f"{archive}: {item}")
    speed = format_speed(report.checked_bytes, report.seconds)
    size = format_bytes(report.checked_bytes)
    if report.ok:
        output.data(f"{archive}: whole ({report.level}: {report.chunk_count} chunks, {size}, {speed})")
    else:
        output.data(f"{archive}: DAMAGED in {len(report.damage)} places; restore from another copy")
