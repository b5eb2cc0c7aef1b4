"""`vark restore`: write a snapshot back."""

from __future__ import annotations

from typing import Any

import click

from vark.cli import options
from vark.cli.mirror import split_places
from vark.cli.output import Output, as_record
from vark.cli.sections import Command
from vark.units import format_bytes, format_speed


@click.command(cls=Command, short_help="Restore a snapshot.")
@click.argument("reference")
@click.argument("target", type=click.Path())
@options.repository
@options.reference
@click.option("--shard", help="Only this shard.")
@click.option("--member", "members", multiple=True, help="Only this member (may be repeated).")
@click.option("--max-bytes", help="Refuse to write more, e.g. 10GB.")
@click.option("--from", "mirrors", multiple=True, help="Mirrors to read from, A,B (may be repeated); no --repo then.")
@options.engine
@options.writing
@options.resuming
@options.no_cache
@options.as_json
def restore(reference: str, target: str, **given: Any) -> int:
    """Restore the snapshot REFERENCE to TARGET: one member to a file, several to a new folder, byte for byte.

    REFERENCE: "latest", an id or its first digits, a tag KEY=VALUE, or a time. --from: mirrors of one repository (`vark
    sync`): what is damaged or missing in one is read from the next, and listed.

    \b
    vark restore latest products.faiss --name products
    vark restore 2026-11-20T04:00Z restored/
    vark restore latest products.faiss --from backups/,s3://elsewhere/backups
    """
    output = Output(as_json=given["as_json"])
    if given["mirrors"]:
        options.refuse_given(["repo"], "--from names all places; leave one of them out")
    places = split_places(given["mirrors"]) if given["mirrors"] else [given["repo"]]
    repository = options.open_repository(places[0], rescue=True, mirrors=places[1:])
    snapshot = repository.snapshot(reference, name=given["name"], at=given["at"])
    with output.progress("restoring") as progress, options.telling_what_is_kept(target, output):
        report = repository.restore(
            snapshot,
            target,
            shard=given["shard"],
            member=list(given["members"]) or None,
            replace=given["replace"],
            sync=not given["no_sync"],
            threads=given["threads"],
            memory=given["memory"],
            max_bytes=given["max_bytes"],
            resume=given["resume"],
            progress=progress,
        )
    for item in repository.elsewhere:
        what = f"{item.byte_count} bytes at {item.offset} of {item.object}" if item.byte_count else item.object
        output.warn(f"{what}: taken from {item.mirror}, for {places[0]}: {item.why}", **as_record(item))
    if repository.elsewhere:
        output.talk(f"`vark repair {places[0]} --from {','.join(places[1:])}` puts right what is damaged there")
    if snapshot.partial:
        output.warn("the snapshot is partial: its source was not captured completely")
    if output.as_json:
        output.line("summary", command="restore", snapshot=snapshot.id, name=snapshot.name, **as_record(report))
    output.talk(
        f"{report.target}: {snapshot.name} {snapshot.id}, {report.member_count} members, "
        f"{format_bytes(report.byte_count)}, {report.seconds:.2f} s, {format_speed(report.byte_count, report.seconds)}"
    )
    return 0
