"""`vark lock`: object lock, so that nobody can delete what snapshots need before a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from vark.cli import options
from vark.cli.output import Output, as_record
from vark.cli.sections import Command
from vark.cli.snapshots import shown_time
from vark.errors import ExitCode, InvalidArgumentError

if TYPE_CHECKING:
    from vark.repository.locking import LockState
    from vark.repository.reports import LockReport

SHOWN = 5


@click.command(cls=Command, short_help="Keep what snapshots need from being deleted: object lock.")
@options.repository
@click.option("--mode", type=click.Choice(["governance", "compliance"]), help="Compliance: nobody can end it early.")
@click.option("--days", type=click.IntRange(1), help="How long, counted from each backup.")
@click.option("--off", is_flag=True, help="Lock nothing more; what is locked stays locked.")
@click.option("--apply", "again", is_flag=True, help="Lock what all snapshots need by the policy, counted from now.")
@click.option("--confirm", is_flag=True, help="Do it; without this only tell what would be locked.")
@options.as_json
def lock(
    repo: str | None, mode: str | None, days: int | None, off: bool, again: bool, confirm: bool, as_json: bool
) -> int:
    """Show the lock policy of a repository and what is locked, or set the policy with --mode and --days.

    Each backup then locks all that its snapshot needs, and extends what is locked already. It needs a bucket that was
    made with object lock. Exits with 1 when something could not be locked.

    \b
    vark lock
    vark lock --mode governance --days 30 --confirm
    vark lock --apply --confirm
    """
    if (mode is None) != (days is None) or off + again + (mode is not None) > 1:
        raise InvalidArgumentError("lock: give --mode with --days, or --off, or --apply, or nothing to look")
    if confirm and mode is None and not off and not again:
        raise InvalidArgumentError("--confirm: nothing is to be done; give --mode with --days, --off or --apply")
    output = Output(as_json=as_json)
    face = options.open_repository(repo).lock
    if mode is None and not off and not again:
        state = face.state()
        if as_json:
            output.line("summary", command="lock", **as_record(state))
        output.data("\n".join(_lines(state)))
        return ExitCode.OK
    report = (
        face.apply(confirm=confirm) if again else face.set("off" if off else mode or "", days or 0, confirm=confirm)
    )
    if as_json:
        output.line("summary", command="lock", ok=report.ok, **as_record(report))
    output.data(_words(report))
    warn_unlocked(output, report)
    if not confirm:
        output.talk("Nothing was changed; add --confirm to do it." + COMPLIANCE.get(report.mode, ""))
    return ExitCode.OK if report.ok else ExitCode.FAILED


COMPLIANCE = {
    "compliance": " Nobody can end a compliance lock before its time, and the storage is paid for until then."
}


def warn_unlocked(output: Output, report: LockReport | None) -> None:
    """Say what should be locked and is not."""
    if report is None:
        return
    for name, why in report.failed[:SHOWN]:
        output.warn(f"NOT locked: {name}: {why}", name=name, reason=why)
    if len(report.failed) > SHOWN:
        output.warn(f"NOT locked: {len(report.failed) - SHOWN} more objects; `vark lock --apply` tries again")


def _words(report: LockReport) -> str:
    if report.mode == "off":
        return "lock policy: off; what is locked stays locked until its time"
    done = f"locked {report.locked_count}" if report.confirmed else f"would lock {report.object_count}"
    until = datetime.fromtimestamp(report.until_unix_ms / 1000, UTC).isoformat(timespec="seconds")
    return f"{done} objects at least until {until} ({report.mode}, {report.days} days from each backup)"


def _lines(state: LockState) -> list[str]:
    policy = "none" if state.policy is None else f"{state.policy.mode}, {state.policy.days} days from each backup"
    lines = [f"lock policy: {policy}"]
    for item in state.policies:
        days = f", {item.days} days" if item.days else ""
        lines.append(f"  set {shown_time(item.unix_ms)}: {item.mode}{days}  {item.digest[:12]}")
    if state.rules is None:
        lines.append("object lock of the store: not known")
    else:
        words = {True: "yes", False: "NO", None: "not known"}
        lines.append(f"object lock of the store: {words[state.rules.object_lock]}")
        if state.rules.default_days:
            lines.append(f"  a new object gets by itself: {state.rules.default_mode}, {state.rules.default_days} days")
    until = "" if state.until_unix_ms is None else f", all at least until {shown_time(state.until_unix_ms)}"
    lines.append(f"locked now: {state.locked_count} of the {state.object_count} objects that snapshots need{until}")
    lines += [f"not readable: {name}: {why}" for name, why in state.faults]
    return lines
