"""`vark sync | repair`: mirrors of a repository, and what is damaged put right from them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from vark.cli import options
from vark.cli.output import Output, as_record
from vark.cli.sections import Command
from vark.errors import ExitCode, InvalidArgumentError
from vark.mirrors import repair_repository, sync_repository
from vark.repository.opening import store_of
from vark.stores import Store
from vark.units import format_bytes

SHOWN_MAX = 20


@click.command(cls=Command, short_help="Make or update a mirror of a repository.")
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@click.option("--delete", is_flag=True, help="Take from TARGET what collections of SOURCE have freed; needs its keys.")
@options.opening
@options.threads
@options.as_json
def sync(source: str, target: str, delete: bool, threads: int | None, as_json: bool) -> int:
    """Make TARGET a byte-identical mirror of the repository SOURCE, or bring it up to date.

    No key is needed, but for --delete where SOURCE is encrypted: they prove what was freed. Only what is missing is
    moved, and read again where it has arrived; nothing is overwritten, and nothing deleted without --delete. After an
    interruption, or every night, run the same again. Do not back up into a mirror.
    Exits with 4 when something of SOURCE is damaged: it stays out, with the snapshots that need it.

    \b
    vark sync backups/ s3://elsewhere/backups
    vark restore latest products.faiss --from backups/,s3://elsewhere/backups
    """
    output = Output(as_json=as_json)
    stores = _stores([source, target])
    opened = options.open_repository(source) if delete else stores[0]
    with output.progress("mirroring") as progress:
        report = sync_repository(opened, stores[1], delete=delete, threads=threads, progress=progress)
    for name, why in report.problems:
        output.warn(f"{name} was not mirrored: {why}", object=name)
    for name in report.withheld:
        output.warn(f"{name} was not mirrored, for it needs something that was not", object=name)
    if output.as_json:
        output.line("summary", command="sync", ok=report.ok, **as_record(report))
    moved = ", ".join(f"{count} {folder}" for folder, count in report.copied.items()) or "nothing new"
    output.talk(f"{target}: {moved}, {format_bytes(report.object_bytes)}, {report.seconds:.2f} s")
    if report.deleted:
        output.talk(f"{len(report.deleted)} objects deleted that {source} has freed")
    if report.only_in_mirror:
        hint = "" if delete else "; --delete takes those that were freed there"
        output.talk(f"{len(report.only_in_mirror)} objects are there that {source} has not{hint}")
    return ExitCode.OK if report.ok else ExitCode.DAMAGED


@click.command(cls=Command, short_help="Put right what is damaged, from mirrors.")
@click.argument("place", metavar="REPO", type=click.Path())
@click.option("--from", "mirrors", multiple=True, required=True, help="A mirror (may be repeated, or A,B).")
@click.option("--confirm", is_flag=True, help="Do it; without this only tell what would be put right.")
@options.limits
@options.threads
@options.as_json
def repair(place: str, mirrors: tuple[str, ...], confirm: bool, threads: int | None, as_json: bool) -> int:
    """Put right what is damaged or missing in the repository REPO out of mirrors of it (`vark sync`). No key is needed.

    All stored bytes are read. An object is replaced by bytes that are proved to be those that it must have, and read
    again. Exits with 4 when something is damaged that no mirror has whole, or was not put right for want of --confirm.

    \b
    vark repair backups/ --from s3://elsewhere/backups
    vark repair backups/ --from s3://elsewhere/backups --confirm
    """
    output = Output(as_json=as_json)
    places = [place, *split_places(mirrors)]
    stores = _stores(places)
    with output.progress("repairing") as progress:
        report = repair_repository(
            stores[0], stores[1:], places=places, confirm=confirm, threads=threads, progress=progress
        )
    for mirror, why in report.unreachable:
        output.warn(f"{mirror}: cannot be read: {why}", mirror=mirror)
    for name, why in report.lost:
        output.warn(f"{name}: {why}; no mirror has it whole", object=name)
    for item in report.repaired:
        if output.as_json:
            output.line("item", **as_record(item))
    if output.as_json:
        fields = {key: value for key, value in as_record(report).items() if key != "repaired"}
        output.line("summary", command="repair", ok=report.ok, repaired_count=len(report.repaired), **fields)
    for item in report.repaired[:SHOWN_MAX]:
        output.data(f"{item.object}: {item.why}; {format_bytes(item.byte_count)} from {item.mirror}")
    if len(report.repaired) > SHOWN_MAX:
        output.data(f"and {len(report.repaired) - SHOWN_MAX} more")
    done = "put right" if confirm else "would be put right (--confirm does it)"
    output.talk(
        f"{place}: {report.archive_count} archives and {report.object_count} records read, "
        f"{len(report.repaired)} objects {done}, {len(report.lost)} lost, {report.seconds:.2f} s"
    )
    return ExitCode.OK if report.ok else ExitCode.DAMAGED


def split_places(texts: Sequence[str]) -> list[str]:
    """Return the places of options that may be repeated, or name several between commas."""
    found = [place for text in texts for place in text.split(",")]
    if not all(found):
        raise InvalidArgumentError(f"--from {','.join(texts)}: a place is empty; name them as A,B")
    return found


def _stores(places: Sequence[str]) -> list[Store]:
    """Open the stores, and have it said at the end what was asked of remote ones."""
    options.refuse_limits(*places)
    stores = [store_of(place) for place in places]
    for store in stores:
        options.tell_store(store)
    return stores
