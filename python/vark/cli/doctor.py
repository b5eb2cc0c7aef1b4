"""`vark doctor`: what a store can be relied on for."""

from __future__ import annotations

from typing import Any

import click

from vark.cli import options
from vark.cli.output import Output, as_record
from vark.cli.sections import Command
from vark.errors import ExitCode, InvalidArgumentError, RepositoryNotFoundError


@click.command(cls=Command, short_help="Say what is safe in a store.")
@click.argument("folder", required=False, type=click.Path())
@options.repository
@click.option(
    "--undelete", is_flag=True, help="Bring back what somebody has hidden or covered in a bucket of versions."
)
@click.option("--confirm", is_flag=True, help="Do it; without this --undelete only tells what would come back.")
@options.as_json
def doctor(folder: str | None, repo: str | None, undelete: bool, confirm: bool, as_json: bool) -> int:
    """Try out a store: whether a name is given once, whether what was written is seen, ranges, deletes, the clock.

    FOLDER (or --repo) is a repository, or a place where one is to be made. Writes some small objects and deletes them
    again. Exits with 1 when something is not safe there; `gc` and `forget` refuse to work then. In a bucket that keeps
    versions it lists what somebody has deleted (a delete marker hides it) or overwritten; --undelete puts the version
    that was created on top again, and deletes nothing.

    \b
    vark doctor s3://bucket/prefix
    vark doctor -r backups/ --json
    """
    from vark.repository.doctor import hidden_lines
    from vark.repository.hidden import find_hidden_way_in
    from vark.repository.hidden import undelete as hidden_undelete
    from vark.repository.opening import store_of
    from vark.stores.probe import probe

    output = Output(as_json=as_json)
    place = folder or repo
    if not place:
        raise InvalidArgumentError("no folder; give FOLDER, --repo or VARK_REPOSITORY")
    if confirm and not undelete:
        raise InvalidArgumentError("--confirm: nothing is to be done; it belongs to --undelete")
    fields: dict[str, Any]
    undelete = undelete and confirm
    store = store_of(place)
    way_in = find_hidden_way_in(store)
    for line in hidden_lines(way_in, hidden_undelete(store, way_in) if undelete and way_in else None):
        output.warn(line)
    try:
        report = options.open_repository(place).doctor(undelete=undelete)
        lines, is_ok, fields = report.lines(), report.ok, as_record(report)
    except RepositoryNotFoundError:
        if way_in:
            raise
        options.tell_store(store)
        found = probe(store)
        lines = [*found.lines(), "there is no repository here yet; `vark init` makes one"]
        is_ok, fields = found.is_collectable, {"probe": as_record(found), "leftovers": {}}
    if as_json:
        output.line("summary", command="doctor", repository=place, ok=is_ok, **fields)
    output.data("\n".join(lines))
    return ExitCode.OK if is_ok else ExitCode.FAILED
