"""`vark unpack`: write the members of an archive back."""

from __future__ import annotations

from typing import Any

import click

from vark.cli import options, secrets
from vark.cli.output import Output, as_record
from vark.cli.sections import Command
from vark.units import format_bytes, format_speed


@click.command(cls=Command, short_help="Restore the files of an archive.")
@click.argument("archive", type=options.ARCHIVE)
@click.argument("target", type=click.Path())
@click.option("--member", "members", multiple=True, help="Only this member (may be repeated).")
@click.option("--max-bytes", help="Refuse to write more, e.g. 10GB.")
@secrets.opening
@options.limits
@options.engine
@options.writing
@options.resuming
@options.no_cache
@options.as_json
def unpack(archive: str, target: str, members: tuple[str, ...], **given: Any) -> int:
    """Restore ARCHIVE, byte for byte: one member to the file TARGET, several to the new folder TARGET.

    TARGET appears when it is complete. No index library is needed.

    \b
    vark unpack products.vark products.faiss
    vark unpack backup.vark restored/ --max-bytes 10GB
    vark unpack backup.vark one.npy --member one.npy
    vark unpack secret.vark products.faiss --identity key.txt
    """
    from vark.api import open_archive

    output = Output(as_json=given["as_json"])
    options.tell_addresses(archive)
    with (
        open_archive(archive, **secrets.unlocking(given)) as opened,
        output.progress("unpacking") as progress,
        options.telling_what_is_kept(target, output),
    ):
        report = opened.restore(
            target,
            member=list(members) or None,
            replace=given["replace"],
            sync=not given["no_sync"],
            threads=given["threads"],
            memory=given["memory"],
            max_bytes=given["max_bytes"],
            resume=given["resume"],
            progress=progress,
        )
        partial = opened.partial
    if partial:
        output.warn("the archive is partial: its source was not captured completely (see `vark inspect`)")
    if output.as_json:
        output.line("summary", command="unpack", **as_record(report))
    output.talk(
        f"{report.target}: {report.member_count} members, {format_bytes(report.byte_count)}, "
        f"{report.seconds:.2f} s, {format_speed(report.byte_count, report.seconds)}"
    )
    return 0
