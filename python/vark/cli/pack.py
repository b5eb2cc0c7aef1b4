"""`vark pack`: write one archive."""

from __future__ import annotations

import sys
from typing import Any

import click

from vark.cli import content, options, secrets
from vark.cli.output import Output, as_record, exit_for_partial
from vark.cli.sections import Command
from vark.errors import InvalidArgumentError
from vark.types import WriteReport
from vark.units import format_bytes, format_speed


@click.command(cls=Command, short_help="Back up files or folders into an archive.")
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True))
@click.argument("target", type=click.Path(allow_dash=True))
@content.options
@click.option("--digest", is_flag=True, help="Store the BLAKE3 of each member, too.")
@secrets.protecting
@options.engine
@options.writing
@options.as_json
def pack(sources: tuple[str, ...], target: str, **given: Any) -> int:
    """Back up SOURCES (files or folders) into the archive TARGET; "-" writes it to stdout.

    Exits with 3 when something of a source was not captured: the archive is good, but says `partial`.
    With --recipient, a passphrase (also one of the environment) or --recovery-code it is encrypted, and any of these
    opens it.

    \b
    vark pack products.faiss products.vark
    vark pack index/ backup.vark --document README.md --json
    vark pack vectors.npy vectors.vark --payload rows.parquet --probes queries.npy
    vark pack products.faiss products.vark --recipient age1… --recovery-code
    """
    output = Output(as_json=given["as_json"])
    to_stdout = target == "-"
    if to_stdout and (output.as_json or sys.stdout.isatty()):
        raise InvalidArgumentError(
            'TARGET "-": stdout is a terminal or carries --json; redirect it into a file or pipe'
        )
    seal = secrets.protection(given)
    secrets.show_recovery_code(seal.get("recovery_code"))
    with output.progress("packing") as progress:
        report = _write(sources, sys.stdout.fileno() if to_stdout else target, progress, given, seal)
    for item in report.skipped:
        output.warn(f"not captured: {item.name}: {item.reason}", name=item.name, reason=item.reason)
    for member in report.members:
        if member.warning:
            output.warn(f"{member.name}: {member.warning}", name=member.name, reason=member.warning)
    _show(report, output)
    return exit_for_partial(report.partial)


def _write(
    sources: tuple[str, ...], target: str | int, progress: Any, given: dict[str, Any], seal: dict[str, Any]
) -> WriteReport:
    from vark.api import write_archive

    source, values = content.gathered(sources, given)
    return write_archive(
        source,
        target,
        threads=given["threads"],
        memory=given["memory"],
        replace=given["replace"],
        sync=not given["no_sync"],
        digest=given["digest"],
        progress=progress,
        **values,
        **seal,
    )


def _show(report: WriteReport, output: Output) -> None:
    if output.as_json:
        output.line("summary", command="pack", ratio=round(report.ratio, 6), **as_record(report))
        return
    output.talk(repr(report.streams))
    output.talk(
        f"{report.path}: {format_bytes(report.raw_bytes)} in {format_bytes(report.archive_bytes)}, "
        f"ratio {report.ratio:.3f}, {report.seconds:.2f} s, {format_speed(report.raw_bytes, report.seconds)}"
    )
    if report.partial:
        output.talk("The archive is partial: see the warnings above.")
