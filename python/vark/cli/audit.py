"""`vark audit`: three copies, two media, one off site."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from vark.audit import AuditRule, PlaceFacts, audit_repositories, read_audit_config
from vark.cli import options, secrets
from vark.cli.output import Output, as_record
from vark.cli.sections import Command
from vark.cli.snapshots import shown_time
from vark.cli.source import NO_KEYS
from vark.errors import CancelledError, ExitCode, InvalidArgumentError, VarkError
from vark.repository import Repository
from vark.repository.copy_reports import AuditReport
from vark.types import text_table
from vark.units import parse_duration


@click.command(cls=Command, short_help="Say whether each source has enough copies.")
@click.argument("places", nargs=-1, metavar="[REPO]...", type=click.Path())
@click.option("--config", type=click.Path(), help="A TOML file with [[repository]] entries and a [rule].")
@click.option("--offsite", multiple=True, metavar="REPO", help="This one is off site (may be repeated).")
@click.option("--medium", "media", multiple=True, metavar="REPO=NAME", help="What this one lies on (may be repeated).")
@click.option("--plain", multiple=True, metavar="REPO", help="This one is not encrypted, whatever keys are given.")
@click.option("--min-copies", type=click.IntRange(1), help="Copies that each source has to have; default 3.")
@click.option("--min-media", type=click.IntRange(1), help="Media or providers that they lie on; default 2.")
@click.option("--min-offsite", type=click.IntRange(0), help="Of them off site; default 1.")
@click.option("--max-age", help="A copy whose newest snapshot is older counts for nothing, e.g. 26h.")
@options.opening
@options.as_json
def audit(places: tuple[str, ...], **given: Any) -> int:
    """Tell of each source (the name of snapshots) where it has copies, how old each is, and whether they are enough.

    REPO: places where repositories, copies (`vark copy`) and mirrors (`vark sync`) lie. What is not said of a place
    follows from it: a folder lies on its disk, a bucket at its provider, which is off site unless it runs here. Nothing
    but records and listings is read; the time of the last `vark verify` there is told. The keys given open all of them;
    a file names keys for each. Exits with 1 when a source lacks copies or a place cannot be looked at.

    \b
    vark audit backups/ /mnt/usb/backups s3://elsewhere/backups --max-age 26h
    vark audit --config audit.toml --json
    """
    output = Output(as_json=given["as_json"])
    facts, rule = _asked(places, given)
    options.refuse_limits(*(fact.place for fact in facts))
    opened = [(fact, _opened(fact)) for fact in facts]
    report = audit_repositories(opened, rule)
    _tell(output, report)
    return ExitCode.OK if report.ok else ExitCode.FAILED


def _asked(places: tuple[str, ...], given: dict[str, Any]) -> tuple[list[PlaceFacts], AuditRule]:
    """Return the places and the rule, of the file and of the command line, which outranks it."""
    facts, rule = [PlaceFacts(place) for place in places], AuditRule()
    if given["config"]:
        config = read_audit_config(given["config"])
        facts, rule = [*config.places, *facts], config.rule
    known = {fact.place: fact for fact in facts}
    if not facts or len(known) != len(facts):
        raise InvalidArgumentError("no repository, or one named twice; give each place once, or --config")
    for place in (*given["offsite"], *given["plain"], *(text.rpartition("=")[0] for text in given["media"])):
        if place not in known:
            raise InvalidArgumentError(f"{place!r}: not one of the repositories; name it as it stands there")
    for place in given["offsite"]:
        known[place] = replace(known[place], offsite=True)
    for place in given["plain"]:
        known[place] = replace(known[place], keys={"encryption": "none"})
    for text in given["media"]:
        place, _, medium = text.rpartition("=")
        known[place] = replace(known[place], medium=medium)
    wanted = {"copies": given["min_copies"], "media": given["min_media"], "offsite": given["min_offsite"]}
    rule = replace(rule, **{key: value for key, value in wanted.items() if value is not None})
    if given["max_age"] is not None:
        rule = replace(rule, max_age_seconds=parse_duration(given["max_age"], name="--max-age"))
    return list(known.values()), rule


def _opened(facts: PlaceFacts) -> Repository | str:
    """Open one place by its own keys, or those of all; return why not, where it cannot be."""
    keys = dict(facts.keys)
    encryption = keys.pop("encryption", None)
    if encryption not in (None, "none"):
        raise InvalidArgumentError(f"{facts.place}: encryption: {encryption!r}; expected none")
    beliefs: dict[str, Any] = {"forgetful": True}
    try:
        if encryption == "none":
            return options.open_with(facts.place, {}, beliefs, rescue=True, is_plain=True)
        if keys:
            identities = (keys.pop("identity"),) if "identity" in keys else ()
            found = secrets.unlocking({**NO_KEYS, **keys, "identities": identities}, environment=None)
            return options.open_with(facts.place, found, beliefs, rescue=True, is_plain=False)
        return options.open_repository(facts.place, rescue=True, forgetful=True)
    except (CancelledError, InvalidArgumentError):
        raise
    except (VarkError, OSError) as error:
        return str(error)


def _tell(output: Output, report: AuditReport) -> None:
    for place, why in report.problems:
        output.warn(f"{place}: cannot be looked at: {why}", place=place)
    if output.as_json:
        for source in report.sources:
            output.line("item", ok=source.ok, **as_record(source))
        fields = {key: value for key, value in as_record(report).items() if key != "sources"}
        output.line("summary", command="audit", ok=report.ok, source_count=len(report.sources), **fields)
        return
    head = ("place", "what", "medium", "off site", "newest", "age", "snapshots", "verified", "")
    for source in report.sources:
        state = "enough" if source.ok else ", ".join(source.lacking)
        output.data(
            f"{source.name}: {source.copy_count} copies on {len(source.media)} media, {source.offsite_count} off site: "
            f"{state}"
        )
        rows = [
            (
                item.place,
                item.relation,
                item.medium,
                "yes" if item.offsite else "no",
                shown_time(item.unix_ms),
                _age(item.age_seconds),
                str(item.snapshot_count),
                "never" if item.verified_unix_ms is None else shown_time(item.verified_unix_ms),
                item.problem,
            )
            for item in source.copies
        ]
        output.data(text_table(head, rows))
    if not report.sources:
        output.talk("no snapshot was found in any of them")


def _age(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
