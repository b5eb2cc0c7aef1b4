"""`vark copy`: snapshots of one repository in another."""

from __future__ import annotations

from typing import Any

import click

from vark.cli import options
from vark.cli.lock import warn_unlocked
from vark.cli.output import Output, as_record
from vark.cli.sections import Command
from vark.cli.snapshots import ID_DIGITS, shown_time
from vark.cli.source import open_source, source_keys
from vark.errors import ExitCode
from vark.repository.copy_reports import CopyReport
from vark.types import text_table
from vark.units import format_bytes, format_speed


@click.command(cls=Command, short_help="Copy snapshots into another repository.")
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@click.argument("references", nargs=-1, metavar="[REFERENCE]...")
@click.option("--name", "names", multiple=True, help="Only snapshots of this name (may be repeated).")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only those with this tag (may be repeated).")
@click.option("--since", help="Only those at or after this time (ISO 8601).")
@click.option(
    "--level",
    type=click.Choice(["stored", "full"]),
    default="full",
    show_default=True,
    help="How deeply each archive is read where it has arrived.",
)
@options.opening
@source_keys
@options.threads
@options.as_json
def copy(source: str, target: str, references: tuple[str, ...], **given: Any) -> int:
    """Copy snapshots of the repository SOURCE into the repository TARGET, which has its own id and keys.

    REFERENCE: "latest" (of each --name), an id or its first digits, a tag, or a time; without any, all snapshots. What
    TARGET has already is not moved again: after an interruption, or every night, run the same again. Keys, --signer and
    VARK_… are those of TARGET; SOURCE has --from-… and VARK_FROM_…, and without these opens by the same.
    Exits with 3 when something could not be copied, or not locked as a policy of TARGET asks.

    \b
    vark copy backups/ s3://elsewhere/backups
    vark copy backups/ /mnt/usb latest --name products --from-encryption none
    """
    output = Output(as_json=given["as_json"])
    options.refuse_limits(source, target)
    opened = open_source(source)
    other = options.open_repository(target)
    with output.progress("copying") as progress:
        report = opened.copy_to(
            other,
            references,
            name=given["names"],
            tags=options.parse_tags(given["tags"]),
            since=given["since"],
            level=given["level"],
            threads=given["threads"],
            progress=progress,
        )
    _tell(output, report, source, target)
    return ExitCode.OK if report.ok else ExitCode.PARTIAL


def _tell(output: Output, report: CopyReport, source: str, target: str) -> None:
    warn_unlocked(output, report.lock)
    for place, detail in report.unread:
        output.warn(f"{place}: cannot be used, and was not copied: {detail}", object=place)
    for item in report.snapshots:
        if item.state == "failed":
            output.warn(f"snapshot {item.snapshot[:ID_DIGITS]} of {item.name!r} was not copied: {item.detail}")
        if output.as_json:
            output.line("item", **as_record(item))
    if output.as_json:
        fields = {key: value for key, value in as_record(report).items() if key != "snapshots"}
        output.line("summary", command="copy", ok=report.ok, snapshot_count=len(report.snapshots), **fields)
        return
    moved = [item for item in report.snapshots if item.archives]
    head = ("snapshot", "time", "name", "kind", "stored", "state")
    rows = [
        (
            item.snapshot[:ID_DIGITS],
            shown_time(item.unix_ms),
            item.name,
            "delta" if any(archive.base for archive in item.archives) else "full",
            format_bytes(sum(archive.archive_bytes for archive in item.archives)),
            item.state,
        )
        for item in moved
    ]
    if rows:
        output.data(text_table(head, rows))
    for name in report.erasures:
        output.talk(f"rows that are erased in {source} are erased in {target}, too, from snapshots of {name!r}")
    output.talk(
        f"{target}: {len(moved)} of {len(report.snapshots)} snapshots copied, "
        f"{report.count('present', 'forgotten')} were there, {format_bytes(report.archive_bytes)} written, "
        f"{report.seconds:.2f} s, {format_speed(report.archive_bytes, report.seconds)}"
    )
