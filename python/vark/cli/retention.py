"""`vark tag | hold | release | forget | undelete | gc`: what stays, and what goes when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from vark.cli import options
from vark.cli.output import Output, as_record
from vark.cli.sections import Command
from vark.cli.snapshots import ID_DIGITS, shown_time
from vark.errors import InvalidArgumentError
from vark.retention import Policy
from vark.types import text_table
from vark.units import format_bytes


@click.command(cls=Command, short_help="Set or remove tags of a snapshot.")
@click.argument("reference")
@click.argument("tags", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--remove", multiple=True, metavar="KEY", help="Remove this tag (may be repeated).")
@options.repository
@options.reference
@options.as_json
def tag(reference: str, tags: tuple[str, ...], remove: tuple[str, ...], **given: Any) -> int:
    """Set tags of the snapshot REFERENCE.

    \b
    vark tag latest --name products release=2026-11
    """
    output = Output(as_json=given["as_json"])
    if not tags and not remove:
        raise InvalidArgumentError("no tag; give KEY=VALUE or --remove KEY")
    repository = options.open_repository(given["repo"])
    snapshot = repository.snapshot(reference, name=given["name"], at=given["at"])
    left = repository.tag(snapshot, options.parse_tags(tags), remove=remove)
    if output.as_json:
        output.line("summary", command="tag", snapshot=snapshot.id, tags=left)
    output.data(f"{snapshot.id[:ID_DIGITS]}: " + (" ".join(f"{key}={value}" for key, value in left.items()) or "none"))
    return 0


@click.command(cls=Command, short_help="Hold a snapshot: nothing takes it away.")
@click.argument("reference")
@click.option("--reason", default="", help="Why; it is shown where somebody tries to forget it.")
@options.repository
@options.reference
@options.as_json
def hold(reference: str, reason: str, **given: Any) -> int:
    """Hold the snapshot REFERENCE: no policy and no collection takes it away until `vark release`.

    \b
    vark hold 01a21440e53a --reason "audit 2026"
    """
    return _mark("hold", reference, given, reason=reason)


@click.command(cls=Command, short_help="Release a held snapshot.")
@click.argument("reference")
@options.repository
@options.reference
@options.as_json
def release(reference: str, **given: Any) -> int:
    """Release the held snapshot REFERENCE.

    \b
    vark release 01a21440e53a
    """
    return _mark("release", reference, given)


@click.command(cls=Command, short_help="Take a forgotten snapshot back.")
@click.argument("reference")
@options.repository
@options.reference
@options.as_json
def undelete(reference: str, **given: Any) -> int:
    """Take the forgotten snapshot REFERENCE out of the trash; `vark snapshots --all` lists them.

    \b
    vark undelete 01a21440e53a
    vark undelete latest --name products
    """
    return _mark("undelete", reference, given)


def _mark(command: str, reference: str, given: dict[str, Any], **more: Any) -> int:
    output = Output(as_json=given["as_json"])
    repository = options.open_repository(given["repo"])
    snapshot = repository.snapshot(reference, name=given["name"], at=given["at"], forgotten=command == "undelete")
    getattr(repository, command)(snapshot, **more)
    if output.as_json:
        output.line("summary", command=command, snapshot=snapshot.id, name=snapshot.name)
    output.data(f"{command}: {snapshot.name} {snapshot.id[:ID_DIGITS]}")
    return 0


@click.command(cls=Command, short_help="Free what no snapshot needs.")
@options.repository
@click.option("--confirm", is_flag=True, help="Do it; without this only tell what would go.")
@click.option("--trash", default="7d", show_default=True, help="How long what was forgotten can be taken back.")
@click.option("--grace", default="1d", show_default=True, help="How long archives without a commit are left alone.")
@click.option("--min-redundancy", type=click.IntRange(0), default=1, show_default=True, help="Snapshots a name keeps.")
@options.as_json
def gc(repo: str | None, confirm: bool, as_json: bool, **given: Any) -> int:
    """Free what no snapshot needs. Safe at any moment, beside any number of writers and readers.

    What object lock keeps is listed with its time and left until then, which is no error; neither is a store that does
    not let these credentials delete.

    \b
    vark gc
    vark gc --confirm --trash 30d
    """
    output = Output(as_json=as_json)
    report = options.open_repository(repo).gc(confirm=confirm, **given)
    if as_json:
        output.line("summary", command="gc", **as_record(report))
        return 0
    for archive, size in report.archives.items():
        output.data(f"{'freed' if confirm else 'would free'} {archive}  {format_bytes(size)}")
    kept = f"; {len(report.kept_young)} without a commit are left for now" if report.kept_young else ""
    output.data(
        f"{'freed' if confirm else 'would free'} {len(report.archives)} archives, "
        f"{format_bytes(report.archive_bytes)}{kept}"
    )
    if report.in_trash:
        first = shown_time(min(report.in_trash.values()))
        output.data(
            f"{len(report.in_trash)} forgotten snapshots stay for now: the trash window of the first ends {first}; "
            "`vark undelete` takes them back"
        )
    for archive, until in report.retained.items():
        output.data(f"retained {archive}  until {shown_time(until)}, by object lock")
    if report.refused:
        left = format_bytes(sum(report.refused.values()))
        output.data(f"left {len(report.refused)} archives, {left}: the store does not let these credentials delete")
    if report.more:
        output.talk("There is more to free; run it again.")
    if not confirm and report.archives:
        output.talk("Nothing was removed; add --confirm to do it.")
    return 0


_SPANS = ("hourly", "daily", "weekly", "monthly", "quarterly", "yearly")


def policy_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add the words of a retention policy."""
    chosen = [
        click.option("--keep-last", type=click.IntRange(0), metavar="N", help="The newest N."),
        *(
            click.option(f"--keep-{span}", type=click.IntRange(0), metavar="N", help=f"The newest of N {span} buckets.")
            for span in _SPANS
        ),
        click.option("--keep-within", metavar="SPAN", help="All within e.g. 30d or 1y6m (m: months)."),
        *(
            click.option(f"--keep-within-{span}", metavar="SPAN", help=f"The newest of each {span} bucket within it.")
            for span in _SPANS
        ),
        click.option("--keep-tag", "keep_tags", multiple=True, metavar="KEY[=VALUE]", help="All with this tag."),
        click.option("--keep-id", "keep_ids", multiple=True, metavar="ID", help="This one."),
        click.option("--group-by", default="name", show_default=True, help="Each rule counts in each: name,host,tags."),
        click.option("--time-zone", default="UTC", show_default=True, help="Whose calendar the buckets are of."),
        click.option("--before", metavar="TIME", help="Consider only older ones."),
        click.option("--after", metavar="TIME", help="Consider only younger ones."),
    ]
    for option in reversed(chosen):
        function = option(function)
    return function


@click.command(cls=Command, short_help="Forget snapshots, by name or by a policy.")
@click.argument("references", nargs=-1)
@options.repository
@policy_options
@click.option("--confirm", is_flag=True, help="Do it; without this only tell what would go.")
@click.option("--min-redundancy", type=click.IntRange(0), default=1, show_default=True, help="Snapshots a name keeps.")
@click.option("--reason", default="", help="Why; kept with the snapshot.")
@options.as_json
def forget(references: tuple[str, ...], repo: str | None, as_json: bool, **given: Any) -> int:
    """Forget the snapshots REFERENCES, or those that no rule keeps.

    `vark gc` frees them after the trash window; until then `vark undelete` takes them back. What is held or dated in
    the future stays in any case.

    \b
    vark forget 01a21440e53a --confirm
    vark forget --keep-daily 7 --keep-weekly 5 --keep-within 48h
    """
    output = Output(as_json=as_json)
    how = {name: given.pop(name) for name in ("confirm", "min_redundancy", "reason")}
    ruled = any(value for name, value in given.items() if name.startswith("keep_"))
    if bool(references) == ruled:
        raise InvalidArgumentError(
            "forget: name snapshots, or give rules such as --keep-daily 7; not both, not neither"
        )
    if references:
        options.refuse_given(
            ("before", "after", "group_by", "time_zone"), "belongs to rules; snapshots that are named are not chosen"
        )
    chosen = list(references) if references else policy_of(given)
    report = options.open_repository(repo).forget(chosen, **how)
    if as_json:
        for item in report.decisions:
            output.line("item", **as_record(item))
        output.line("summary", command="forget", confirmed=report.confirmed, forgotten=list(report.forgotten))
        return 0
    rows = [
        (
            item.snapshot[:ID_DIGITS],
            shown_time(item.unix_ms),
            item.name,
            "keep" if item.keep else "forget",
            ", ".join(item.reasons),
        )
        for item in report.decisions
    ]
    output.data(text_table(("snapshot", "time", "name", "", "reasons"), rows))
    if not report.confirmed and report.forgotten:
        output.talk("Nothing was forgotten; add --confirm to do it.")
    elif report.forgotten:
        output.talk(f"{len(report.forgotten)} forgotten; `vark undelete` takes them back until `vark gc` frees them.")
    return 0


def policy_of(given: dict[str, Any]) -> Policy:
    """Return the policy that `policy_options` were given."""
    from vark.repository.references import parse_time

    rules = {name: value for name, value in given.items() if name.startswith("keep_") and value}
    return Policy(
        **rules,
        group_by=tuple(part.strip() for part in given["group_by"].split(",") if part.strip()),
        time_zone=given["time_zone"],
        before_unix_ms=None if given["before"] is None else parse_time(given["before"]),
        after_unix_ms=None if given["after"] is None else parse_time(given["after"]),
    )
