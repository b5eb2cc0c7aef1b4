"""`vark erase`: rows of some ids go from retained snapshots."""

from __future__ import annotations

from typing import Any

import click

from vark.cli import options
from vark.cli.cat import read_ids
from vark.cli.lock import warn_unlocked
from vark.cli.output import Output, as_record
from vark.cli.sections import Command
from vark.cli.snapshots import ID_DIGITS, shown_time
from vark.errors import InvalidArgumentError
from vark.repository.reports import ErasedSnapshot, EraseReport
from vark.types import text_table
from vark.units import format_bytes


@click.command(cls=Command, short_help="Erase the rows of some ids from all snapshots.")
@options.repository
@click.option("--ids", metavar="FILE", help="A text or .npy file of ids, - for stdin, or numbers with commas between.")
@click.option("--name", "names", multiple=True, help="Snapshots of this name (may be repeated).")
@click.option("--all-names", is_flag=True, help="Snapshots of all names.")
@click.option("--confirm", is_flag=True, help="Do it; without this only tell what would be.")
@click.option("--reason", default="", help="Why; kept with the list of ids' hashes.")
@click.option("--leave-unknown", is_flag=True, help="Leave members whose ids nobody can see as they are; list them.")
@click.option("--again", is_flag=True, help="Erase what is erased already, from what write-only clients added since.")
@click.option("--lift", is_flag=True, help="End what is in force for --name: later backups keep what they find.")
@options.threads
@options.as_json
def erase(repo: str | None, as_json: bool, **given: Any) -> int:
    """Erase the rows of the ids in FILE from every snapshot of a name, those on hold and in the trash, too.

    Vectors, codes, payload, labels and links of these rows are overwritten or left out, and links to them replaced, so
    that searches still work. Everything else stays as it is: other rows, ids, times, tags and holds of snapshots. Later
    backups of the name leave the ids out until the source does not hold them any more. `vark gc` then destroys what was
    replaced, after the trash window, or at once with --trash 0s.

    \b
    vark erase --name products --ids gone.txt
    vark erase --name products --ids gone.txt --confirm
    vark gc --confirm --trash 0s
    """
    output = Output(as_json=as_json)
    names, lift = given["names"], given["lift"]
    if given["all_names"] == bool(names):
        raise InvalidArgumentError("erase: give --name, or --all-names; not both, not neither")
    if lift and (given["ids"] is not None or given["again"] or not names):
        raise InvalidArgumentError("--lift: ends all that is in force for --name; leave --ids and --again out")
    if not lift and given["again"] == (given["ids"] is not None):
        raise InvalidArgumentError("erase: which ids? give --ids FILE, or --again; not both, not neither")
    repository = options.open_repository(repo)
    if lift:
        lifted = {name: repository.lift_erasure(name) for name in names}
        if as_json:
            output.line("summary", command="erase", lifted=lifted)
        for name, count in lifted.items():
            output.data(f"{name}: {count} ids are not kept out of later backups any more")
        return 0
    ids = None if given["again"] else read_ids(given["ids"]).tolist()
    how = {name: given[name] for name in ("confirm", "reason", "leave_unknown", "threads")}
    with output.progress("erasing") as progress:
        report = repository.erase(ids, name=names or None, progress=progress, **how)
    if as_json:
        for item in report.snapshots:
            output.line("item", **as_record(item))
        fields = {key: value for key, value in as_record(report).items() if key != "snapshots"}
        output.line("summary", command="erase", snapshot_count=len(report.snapshots), **fields)
        return 0
    _tell(report, output)
    return 0


def _tell(report: EraseReport, output: Output) -> None:
    if report.snapshots:
        rows = [_row(item, confirmed=report.confirmed) for item in report.snapshots]
        output.data(text_table(("snapshot", "time", "name", "rows", "bytes changed", "written", ""), rows))
    for note in sorted({note for item in report.snapshots for archive in item.archives for note in archive.not_erased}):
        output.warn(note)
    for archive in report.uncommitted:
        output.warn(f"archive {archive} is of no snapshot and was not looked into; `vark gc` frees it after --grace")
    verb = "erased" if report.confirmed else "would erase"
    output.data(
        f"{verb} {report.row_count} rows of {report.found_count} ids (of {report.id_count}) in "
        f"{len(report.snapshots)} snapshots"
    )
    if not report.confirmed:
        output.talk("Nothing was erased; add --confirm to do it.")
    elif report.snapshots:
        output.talk(
            f"{format_bytes(report.bytes_rewritten)} stand in the place of {format_bytes(report.bytes_before)}, which "
            "stays until `vark gc --confirm` comes by after the trash window; --trash 0s destroys it at once."
        )
    warn_unlocked(output, report.lock)
    if report.retained:
        output.warn(
            f"{len(report.retained)} replaced archives are kept by object lock, with the rows in them, until "
            f"{shown_time(max(report.retained.values()))}; `vark gc` destroys them after that"
        )


def _row(item: ErasedSnapshot, *, confirmed: bool) -> tuple[str, ...]:
    changed = sum(size for archive in item.archives for _, size in archive.changed.values())
    written = sum(archive.archive_bytes for archive in item.archives)
    words = [word for word, said in (("held", item.held), ("in the trash", item.forgotten)) if said]
    words += [f"{len(archive.documents)} documents removed" for archive in item.archives if archive.documents]
    return (
        item.snapshot[:ID_DIGITS],
        shown_time(item.unix_ms),
        item.name,
        str(sum(archive.rows for archive in item.archives)),
        str(changed) if confirmed else "",
        format_bytes(written) if confirmed else "",
        ", ".join(words),
    )
