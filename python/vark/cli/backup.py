"""`vark init` and `vark backup`: make a repository, and a snapshot in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vark.cli import content, options, secrets
from vark.cli.lock import warn_unlocked
from vark.cli.output import Output, as_record, exit_for_partial
from vark.cli.sections import Command
from vark.errors import ExitCode, InvalidArgumentError
from vark.types import WriteReport
from vark.units import format_bytes, format_speed


@click.command(cls=Command, short_help="Make a repository.")
@click.argument("folder", required=False, type=click.Path())
@options.repository_place
@click.option("--volume-bytes", help="Cut archives into objects of this size, e.g. 64MiB; 32MiB in a bucket.")
@click.option(
    "--encryption",
    type=click.Choice(["aes-256-gcm", "chacha20-poly1305", "none"]),
    help="Default: aes-256-gcm. `none`: whoever has the folder can read all of it.",
)
@secrets.protecting
@click.option("--kms", multiple=True, metavar="PROVIDER:KEY", help=secrets.KMS_HELP)
@click.option("--kms-alone", is_flag=True, help="By the KMS alone: when its key is lost, so are the data.")
@options.as_json
def init(folder: str | None, **given: Any) -> int:
    """Make a repository in FOLDER (or --repo), which must be empty or not exist.

    It is encrypted: any passphrase, key or code that is given here opens it. Without one a passphrase is asked for.
    Lose them all, and the data are lost.

    FOLDER may be the address of a bucket, with credentials where the provider's own tools look for them.

    \b
    vark init backups/
    vark init backups/ --recipient age1… --recovery-code
    VARK_REPOSITORY=backups/ vark init --password-file secret.txt --volume-bytes 256MiB
    vark init s3://bucket/prefix
    vark init public/ --encryption none
    """
    from vark.repository import Repository

    output = Output(as_json=given["as_json"])
    place = folder or given["repo"]
    if not place:
        raise InvalidArgumentError("no folder; give FOLDER, --repo or VARK_REPOSITORY")
    options.refuse_limits(place)
    is_plain = given["encryption"] == "none"
    seal = secrets.protection(given, environment=not is_plain)
    services = {} if is_plain else secrets.services(given["kms"])
    if not seal and not is_plain and not (services and given["kms_alone"]):
        passphrase = secrets.ask_passphrase(twice=True)
        seal = {} if passphrase is None else {"passphrase": passphrase}
    secrets.show_recovery_code(seal.get("recovery_code"))
    repository = Repository.create(
        place,
        volume_bytes=given["volume_bytes"],
        encryption=given["encryption"],
        kms_alone=given["kms_alone"],
        **seal,
        **services,
    )
    options.tell_traffic(repository)
    fields: dict[str, Any] = {"repository": place, "repository_id": repository.id, "encryption": "none"}
    text = "none; whoever has the folder can read all of it"
    if repository.is_encrypted:
        keys = repository.keys.report()
        fields |= {"encryption": given["encryption"] or "aes-256-gcm", "authority": keys.authority}
        text = f"{fields['encryption']}; opened by {', '.join(slot.type for slot in keys.slots)}\n"
        text += f"authority: {keys.authority}; note it elsewhere: it tells this repository from a forged one"
    if output.as_json:
        output.line("summary", command="init", **fields)
    else:
        output.data(f"{place}: repository {repository.id}\nencryption: {text}")
    return 0


@click.command(cls=Command, short_help="Make a snapshot of files or folders.")
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True))
@options.repository
@click.option("--name", help="What the snapshots of this source are called.  [default: the name of the one SOURCE]")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag (may be repeated).")
@click.option("--full", is_flag=True, help="Store everything anew instead of what changed.")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on with an interrupted backup.")
@click.option("--chain-max", type=click.IntRange(0), help="Archives that a snapshot may build on.  [default: 30]")
@click.option("--waste-max", type=click.FloatRange(0), help="Share of unused bytes in them.  [default: 0.5]")
@click.option(
    "--cache",
    type=click.Path(file_okay=False),
    help="Where what the next delta is compared with is kept.  [default: VARK_CACHE, else ~/.cache/vark]",
)
@click.option("--no-cache", is_flag=True, help="Keep nothing on this machine.")
@content.options
@options.engine
@options.as_json
def backup(sources: tuple[str, ...], **given: Any) -> int:
    """Back up SOURCES into the repository, as a snapshot. Only what changed since the newest of this name is stored.

    Exits with 3 when something of a source was not captured: the snapshot is good, but marked `partial`; with 1 when it
    is good, but not locked as the lock policy asks.

    \b
    vark backup -r backups/ products.faiss
    vark backup --name products --tag model=e5 index/ --json
    """
    if given["no_cache"] and given["cache"]:
        raise InvalidArgumentError("--cache and --no-cache: give one of them")
    output = Output(as_json=given["as_json"])
    repository = options.open_repository(given["repo"])
    tags = options.parse_tags(given["tags"])
    source, values = content.gathered(sources, given)
    for key in ("chain_max", "waste_max"):
        if given[key] is not None:
            values[key] = given[key]
    with output.progress("backing up") as progress:
        report = repository.backup(
            source,
            name=given["name"] or _name_of(sources),
            tags=tags,
            full=given["full"],
            resume=given["resume"],
            cache=False if given["no_cache"] else given["cache"],
            threads=given["threads"],
            memory=given["memory"],
            progress=progress,
            **values,
        )
    _warn(output, report.archives[0].write)
    warn_unlocked(output, report.lock)
    if output.as_json:
        output.line("summary", command="backup", **as_record(report))
    archive = report.archives[0]
    kind = f"full ({archive.reason})" if archive.base is None else f"delta of {archive.base}"
    sizes = f"{format_bytes(report.raw_bytes)}, stored {format_bytes(report.archive_bytes)}"
    speed = format_speed(report.raw_bytes, report.seconds)
    output.talk(f"{report.name} {report.snapshot}: {sizes}, {kind}, {report.seconds:.2f} s, {speed}")
    if report.rows_erased:
        output.talk(f"{report.rows_erased} rows of ids that were erased are left out; the source still has them.")
    if report.partial:
        output.talk("The snapshot is partial: see the warnings above.")
    if report.lock is not None and not report.lock.ok:
        output.talk(
            "The snapshot is good, but not locked as the policy asks; `vark lock --apply --confirm` tries again."
        )
        return ExitCode.FAILED
    return exit_for_partial(report.partial)


def _warn(output: Output, written: WriteReport | None) -> None:
    """Say what was left out."""
    if written is None:
        return
    for item in written.skipped:
        output.warn(f"not captured: {item.name}: {item.reason}", name=item.name, reason=item.reason)
    for member in written.members:
        if member.warning:
            output.warn(f"{member.name}: {member.warning}", name=member.name, reason=member.warning)
    if written.shadow is not None and written.shadow.fault is not None:
        text = f"nothing is kept on this machine for the next backup, which may be a full one: {written.shadow.fault}"
        output.warn(text, reason="no-shadow")
    for name in written.delta.id_index_left_out if written.delta is not None else ():
        text = f"{name}: its index of ids was left out, as it would be most of this delta; --id-index writes it anew"
        output.warn(text, name=name, reason="id-index-left-out")


def _name_of(sources: tuple[str, ...]) -> str:
    if len(sources) == 1:
        return Path(sources[0]).resolve().name
    raise InvalidArgumentError("--name: needed with more than one source; snapshots of one name build on each other")
