"""`vark verify`: read archives or a repository, and name every damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vark.cli import options, secrets
from vark.cli.output import Output, as_record
from vark.cli.sections import Command
from vark.errors import ExitCode, InvalidArgumentError, VarkError, exit_code_for
from vark.types import VerifyReport
from vark.units import format_bytes, format_speed

if TYPE_CHECKING:
    from vark.repository.reports import RepositoryVerifyReport

_OF_REPOSITORY = ("budget", "max_age", "snapshot", "signed_by")


@click.command(cls=Command, short_help="Check archives or a repository, and name every damage.")
@click.argument("archives", nargs=-1, type=options.ARCHIVE)
@options.repository_alone
@click.option("--level", type=click.Choice(["structure", "stored", "full"]), default="full", show_default=True)
@click.option("--budget", help="Repository: begin no further archive after so much, e.g. 50GiB or 10m.")
@click.option("--max-age", help="Repository: leave out what was found whole since, e.g. 30d.")
@click.option("--snapshot", help="Repository: only what this snapshot needs.")
@click.option("--signed-by", multiple=True, metavar="KEY", help="Repository: demand a signature by this key or signer.")
@secrets.opening
@click.option("--threads", type=click.IntRange(1), help="Default: all cores.")
@options.as_json
def verify(archives: tuple[str, ...], level: str, threads: int | None, **given: Any) -> int:
    """Verify ARCHIVES, or the repository when none are named. Exits with 0 when all is whole, 4 when damage was found,
    1 when something could not be read for another reason.

    "structure" (repository) compares records and sizes; "stored" the checksums of the stored bytes; "full" decodes
    everything and compares the digests of all rows, those of deltas as a restore reads them. A delta that needs an
    archive which is damaged or could not be read is listed as not proved. Damage found at a level is taken back only by
    that level or a deeper one. "stored" needs no key of an encrypted archive.

    \b
    vark verify products.vark
    vark verify --level stored --json *.vark
    vark verify -r backups/ --max-age 30d --budget 50GiB
    """
    output = Output(as_json=given["as_json"])
    if not archives:
        return _verify_repository(output, level, threads, given)
    options.refuse_given(_OF_REPOSITORY, "only for a repository; an archive is read as a whole")
    if level == "structure":
        raise InvalidArgumentError('--level: an archive is verified at "stored" or "full"')
    options.tell_addresses(*archives)
    return _verify_archives(archives, level, threads, output, secrets.unlocking(given))


def _verify_repository(output: Output, level: str, threads: int | None, given: dict[str, Any]) -> int:
    repository = options.open_repository(given["repo"], rescue=True, given=given)
    with output.progress("verifying") as progress:
        report = repository.verify(
            level=level,
            budget=given["budget"],
            max_age=given["max_age"],
            snapshot=given["snapshot"],
            signed_by=given["signed_by"],
            threads=threads,
            progress=progress,
        )
    if output.as_json:
        for item in report.damaged:
            output.line("item", **as_record(item))
        output.line("summary", command="verify", repository=given["repo"], ok=report.ok, **as_record(report))
        return _exit_code(report)
    for item in report.damaged:
        output.data(f"{item.object}: {item.detail}")
    for name, detail in report.unread:
        output.data(f"{name}: not read: {detail}")
    for name, detail in report.not_believed:
        output.data(f"{name}: {detail}; what only it needs was not read")
    for name, detail in report.unproved:
        output.data(f"{name}: rows not proved: {detail}")
    for touched in report.touched:
        rows = ", ".join(
            f"{shard + '/' if shard else ''}{stream} rows {first} to {first + count - 1}"
            for shard, stream, first, count in touched.rows
        )
        output.data(
            f"touched: {touched.name} {touched.snapshot}: {'not readable' if touched.whole else rows or 'no rows'}"
        )
    foreign = [item for item in report.hidden if item.matters]
    for one in foreign:
        output.data(f"{one.object}: {one.detail}")
    read = f"{report.archive_count} archives, {format_bytes(report.checked_bytes)}, {report.object_count} objects"
    left = f"; {len(report.remaining)} archives left for the next run" if report.remaining else ""
    left += f"; {len(report.recent)} found whole lately" if report.recent else ""
    left += f"; {len(report.unread)} could not be read" if report.unread else ""
    left += f"; rows of {len(report.unproved)} not proved" if report.unproved else ""
    if report.ok:
        output.data(f"whole ({report.level}: {read}){left}")
    elif foreign and not report.damaged:
        output.data(f"HIDDEN: {len(foreign)} objects ({read}){left}; `vark doctor --undelete` brings them back")
    elif not report.damaged:
        output.data(f"NOT READ: {len(report.unread)} objects; no damage in the others ({read}){left}; run it again")
    else:
        output.data(f"DAMAGED: {len(report.damaged)} objects ({read}){left}; restore them from another copy")
    return _exit_code(report)


def _exit_code(report: RepositoryVerifyReport) -> int:
    """Damage outranks what could not be read."""
    if report.damaged or any(item.matters for item in report.hidden):
        return ExitCode.DAMAGED
    return ExitCode.OK if report.ok else ExitCode.FAILED


def _verify_archives(
    archives: tuple[str, ...], level: str, threads: int | None, output: Output, keys: dict[str, Any]
) -> int:
    from vark.api import verify_archive

    codes = []
    for archive in archives:
        try:
            with output.progress(f"verifying {archive}") as progress:
                report = verify_archive(archive, level=level, threads=threads, progress=progress, **keys)
        except VarkError as error:
            if len(archives) == 1:
                raise
            codes.append(exit_code_for(error))
            if output.as_json:
                output.line("error", archive=archive, kind=error.code, layer=error.layer, message=error.message)
            else:
                output.talk(f"vark: {archive}: {error.message}")
            continue
        # What could not be read is no damage: it may be read the next time.
        codes.append(ExitCode.DAMAGED if report.damage else ExitCode.OK if report.ok else ExitCode.FAILED)
        _show(archive, report, output)
    # Damage outranks all else: it is what the caller must act on.
    return ExitCode.DAMAGED if ExitCode.DAMAGED in codes else max(codes)


def _show(archive: str, report: VerifyReport, output: Output) -> None:
    if output.as_json:
        output.line("summary", command="verify", archive=archive, **as_record(report))
        return
    for item in report.damage:
        output.data(f"{archive}: {item}")
    for item in report.unread:
        output.data(f"{archive}: not read: {item}")
    speed = format_speed(report.checked_bytes, report.seconds)
    size = format_bytes(report.checked_bytes)
    if report.ok:
        output.data(f"{archive}: whole ({report.level}: {report.chunk_count} chunks, {size}, {speed})")
    elif not report.damage:
        output.data(f"{archive}: NOT READ in {len(report.unread)} places, no damage elsewhere; run it again")
    else:
        output.data(f"{archive}: DAMAGED in {len(report.damage)} places; restore from another copy")
