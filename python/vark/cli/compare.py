"""`vark diff | compact | stats`: how snapshots differ, and what they cost."""

from __future__ import annotations

from typing import Any

import click

from vark.cli import options
from vark.cli.lock import warn_unlocked
from vark.cli.output import Output, as_record
from vark.cli.sections import Command
from vark.cli.snapshots import ID_DIGITS, shown_time
from vark.types import text_table
from vark.units import format_bytes


@click.command(cls=Command, short_help="Tell how two snapshots differ.")
@click.argument("before")
@click.argument("after")
@options.repository
@click.option("--name", help="Only snapshots of this name.")
@options.as_json
def diff(before: str, after: str, repo: str | None, name: str | None, as_json: bool) -> int:
    """Tell how the snapshots BEFORE and AFTER differ: rows, parameters, documents, columns of the payload.

    Rows are compared by their ids where the archive has them, else by position.

    \b
    vark diff 2026-11-20 latest --name products
    """
    output = Output(as_json=as_json)
    report = options.open_repository(repo, rescue=True).diff(before, after, name=name)
    if as_json:
        output.line("summary", command="diff", same=report.same, **as_record(report))
        return 0
    output.data(repr(report))
    for shard, place, old, new in report.parameters:
        output.data(f"{shard + '/' if shard else ''}{place}: {old} -> {new}")
    for what, named in (("", report.documents), ("payload ", report.columns)):
        for key, change in named.items():
            output.data(f"{what}{key}: {change}")
    if report.same:
        output.data("the snapshots are the same")
    return 0


@click.command(cls=Command, short_help="Make a snapshot stand alone.")
@click.argument("reference")
@options.repository
@options.reference
@options.threads
@options.as_json
def compact(reference: str, repo: str | None, name: str | None, at: str | None, **given: Any) -> int:
    """Write the snapshot REFERENCE anew as a full archive, out of what is stored; its source is not needed.

    What it built on can be freed by `vark gc` when no other snapshot needs it.

    \b
    vark compact latest --name products
    """
    output = Output(as_json=given["as_json"])
    repository = options.open_repository(repo)
    snapshot = repository.snapshot(reference, name=name, at=at)
    with output.progress("compacting") as progress:
        report = repository.compact(snapshot, threads=given["threads"], progress=progress)
    if output.as_json:
        output.line("summary", command="compact", **as_record(report))
    warn_unlocked(output, report.lock)
    output.talk(
        f"{snapshot.name} {report.snapshot[:ID_DIGITS]}: {format_bytes(report.archive_bytes)}, needs nothing else; "
        f"before {format_bytes(report.archive_bytes_before)} and {format_bytes(report.closure_bytes_before)} of others"
    )
    return 0


@click.command(cls=Command, short_help="Tell what the repository holds.")
@options.repository
@options.as_json
def stats(repo: str | None, as_json: bool) -> int:
    """Tell how many snapshots and bytes there are, and for whom.

    \b
    vark stats -r backups/
    """
    output = Output(as_json=as_json)
    report = options.open_repository(repo, rescue=True).stats()
    if as_json:
        output.line("summary", command="stats", **as_record(report))
        return 0
    ratio = report.raw_bytes / report.live_bytes if report.live_bytes else 1.0
    output.data(
        f"{report.snapshot_count} snapshots of {format_bytes(report.raw_bytes)} in {format_bytes(report.live_bytes)} "
        f"(ratio {ratio:.2f}), {report.forgotten_count} forgotten, {report.void_count} void\n"
        f"{report.archive_count} archives, {format_bytes(report.stored_bytes)}: "
        f"{format_bytes(report.forgotten_bytes)} in the trash, {format_bytes(report.unneeded_bytes)} needed by none"
    )
    rows = [
        (
            item.name,
            str(item.snapshot_count),
            format_bytes(item.stored_bytes),
            str(item.chain_archives),
            "" if item.newest_unix_ms is None else shown_time(item.newest_unix_ms),
        )
        for item in report.names
    ]
    output.data(text_table(("name", "snapshots", "stored", "chain", "newest"), rows))
    return 0
