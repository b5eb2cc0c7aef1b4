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
@options.as_json
def doctor(folder: str | None, repo: str | None, as_json: bool) -> int:
    """Try out a store: whether a name is given once, whether what was written is seen, ranges, deletes, the clock.

    FOLDER (or --repo) is a repository, or a place where one is to be made. Writes some small objects and deletes them
    again. Exits with 1 when something is not safe there; `gc` and `forget` refuse to work then.

    \b
    vark doctor s3://bucket/prefix
    vark doctor -r backups/ --json
    """
    from vark.repository.opening import store_of
    from vark.stores.probe import probe

    output = Output(as_json=as_json)
    place = folder or repo
    if not place:
        raise InvalidArgumentError("no folder; give FOLDER, --repo or VARK_REPOSITORY")
    fields: dict[str, Any]
    try:
        report = options.open_repository(place).doctor()
        lines, is_ok, fields = report.lines(), report.ok, as_record(report)
    except RepositoryNotFoundError:
        store = store_of(place)
        options.tell_store(store)
        found = probe(store)
        lines = [*found.lines(), "there is no repository here yet; `vark init` makes one"]
        is_ok, fields = found.is_collectable, {"probe": as_record(found), "leftovers": {}}
    if as_json:
        output.line("summary", command="doctor", repository=place, ok=is_ok, **fields)
    output.data("\n".join(lines))
    return ExitCode.OK if is_ok else ExitCode.FAILED
