"""`vark key list | add | remove | new-epoch | reencrypt | signer`: who can open an encrypted repository."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from vark.cli import options, secrets
from vark.cli.keygen import new_secret
from vark.cli.lock import warn_unlocked
from vark.cli.output import Output, as_record
from vark.cli.sections import Command
from vark.cli.snapshots import shown_time
from vark.errors import InvalidArgumentError
from vark.types import text_table
from vark.units import format_bytes

if TYPE_CHECKING:
    from vark.repository.rotation import KeyChangeReport

_DIGITS = 12


@click.group(short_help="Say who can open an encrypted repository.")
def key() -> None:
    """Keys of an encrypted repository. Each change writes a new generation of keys; data stay as they are.

    \b
    vark key list
    vark key add --recipient age1… --label "laptop of Ben"
    vark key remove "laptop of Ben"
    """


@key.command("list", cls=Command, short_help="List who can open it.")
@options.repository
@options.as_json
def list_(repo: str | None, as_json: bool) -> int:
    """List the key slots, the epochs, and the authority: the key that tells this repository from a forged one."""
    output = Output(as_json=as_json)
    report = options.open_repository(repo, rescue=True).keys.report()
    if as_json:
        output.line("summary", command="key list", **as_record(report))
        return 0
    rows = [
        (
            slot.id[:_DIGITS],
            slot.type,
            slot.label,
            slot.recipient,
            "opened it now" if slot.id == report.opened_by else "",
        )
        for slot in report.slots
    ]
    output.data(text_table(("slot", "type", "label", "recipient", ""), rows))
    for epoch in report.epochs:
        since = datetime.fromtimestamp(epoch.created_unix_ms / 1000, UTC).isoformat(timespec="seconds")
        output.data(f"epoch {epoch.number}: since {since}{', active' if epoch.is_active else ''}")
    for one in report.signers:
        state = "revoked" if one.revoked_unix_ms is not None else "write-only" if one.is_write_only else "signs"
        output.data(f"signer {one.name}: {state}, public key {one.key}")
    output.data(f"key generation {report.generation}\nauthority {report.authority}")
    return 0


@key.command(cls=Command, short_help="Let one more open it.")
@options.repository
@secrets.adding
@click.option("--label", default="", help="What to call it, e.g. whose it is.")
@options.as_json
def add(repo: str | None, label: str, as_json: bool, **given: Any) -> int:
    """Add ways to open the repository. Nothing is encrypted anew; all data can be read by them.

    \b
    vark key add --recipient age1… --label "laptop of Ben"
    vark key add --new-recovery-code --label safe
    """
    new = secrets.protection(given, environment=False)
    if given["new_kms"]:
        new |= secrets.services(given["new_kms"])
    if not new:
        raise InvalidArgumentError("key add: give --recipient, --new-passphrase, --new-recovery-code or the like")
    repository = options.open_repository(repo)
    secrets.show_recovery_code(new.get("recovery_code"))
    _tell("key add", repository.keys.add(**new, label=label), Output(as_json=as_json))
    return 0


@key.command(cls=Command, short_help="Take a way to open it away.")
@click.argument("slots", nargs=-1, required=True)
@options.repository
@options.as_json
def remove(slots: tuple[str, ...], repo: str | None, as_json: bool) -> int:
    """Remove the key slots SLOTS: ids, their first digits, or labels. What is written from then on is safe from them.

    \b
    vark key remove "laptop of Ben"
    """
    _tell("key remove", options.open_repository(repo).keys.remove(*slots), Output(as_json=as_json))
    return 0


@key.command("new-epoch", cls=Command, short_help="Encrypt under a new root key from now on.")
@options.repository
@options.as_json
def new_epoch(repo: str | None, as_json: bool) -> int:
    """Begin a new epoch: what is written from now on has another root key.

    \b
    vark key new-epoch
    """
    _tell("key new-epoch", options.open_repository(repo).keys.new_epoch(), Output(as_json=as_json))
    return 0


@key.command("reencrypt", cls=Command, short_help="Write all that is kept again under the newest root key.")
@click.option("--confirm", is_flag=True, help="Do it; without this only tell what would be written.")
@options.repository
@options.threads
@options.as_json
def reencrypt(confirm: bool, repo: str | None, threads: int | None, as_json: bool) -> int:
    """Write all snapshots again under the newest epoch: what protects old data after `remove` or `new-epoch`.

    It can be interrupted, and goes on when it is run again. `vark gc` frees what was replaced.

    \b
    vark key remove "laptop of Ben" && vark key reencrypt --confirm && vark gc --confirm --trash 0s
    """
    output = Output(as_json=as_json)
    repository = options.open_repository(repo)
    with output.progress("encrypting anew") as progress:
        report = repository.keys.reencrypt(confirm=confirm, threads=threads, progress=progress)
    if as_json:
        output.line("summary", command="key reencrypt", **as_record(report))
        return 0
    sizes = f"{format_bytes(report.bytes_before)}" + (f" as {format_bytes(report.bytes_written)}" if confirm else "")
    what = "written again" if confirm else "to be written again"
    output.data(f"{report.snapshot_count} snapshots {what} under epoch {report.epoch}: {sizes}")
    output.data(f"protected: {report.protects}\nnot protected: {report.does_not_protect}")
    warn_unlocked(output, report.lock)
    if report.retained:
        until = shown_time(max(report.retained.values()))
        output.warn(f"{len(report.retained)} archives under older keys are kept by object lock until {until}")
    if not confirm and report.snapshot_count:
        output.talk("Nothing was written; add --confirm to do it.")
    return 0


@key.group(short_help="Say who signs snapshots.")
def signer() -> None:
    """Signers of an encrypted repository: they prove whose snapshots are whose; write-only ones read nothing back."""


@signer.command("add", cls=Command, short_help="Enter one, and write its file.")
@click.argument("name")
@click.argument("file", type=click.Path())
@click.option("--write-only", is_flag=True, help="It needs no other key, can add snapshots, and can read nothing back.")
@options.repository
@options.as_json
def add_signer(name: str, file: str, write_only: bool, repo: str | None, as_json: bool) -> int:
    """Enter the signer NAME and write its secret FILE, which must not exist; only its owner can read it.

    \b
    vark key signer add backup-host writer.json --write-only
    vark backup -r backups/ --signer writer.json products.faiss
    """
    output = Output(as_json=as_json)
    repository = options.open_repository(repo)
    with new_secret(file) as write:  # before it is entered: there is no second copy of it
        report = repository.keys.add_signer(name, write_only=write_only)
        write(report.content)
    if as_json:
        output.line("summary", command="key signer add", signer_file=file, **as_record(report))
    else:
        what = "write-only, " if write_only else ""
        output.data(f"{file}: signer {name}, {what}public key {report.signer.key}")
    return 0


@signer.command("revoke", cls=Command, short_help="Believe it no longer.")
@click.argument("name")
@click.option("--discard", is_flag=True, help="Refuse what a write-only one has made, too; `vark gc` frees it.")
@options.repository
@options.as_json
def revoke_signer(name: str, discard: bool, repo: str | None, as_json: bool) -> int:
    """Revoke the signer NAME. For snapshots that a write-only one has made, this client vouches first.

    \b
    vark key signer revoke backup-host
    """
    output = Output(as_json=as_json)
    report = options.open_repository(repo).keys.revoke_signer(name, keep=not discard)
    if as_json:
        output.line("summary", command="key signer revoke", **as_record(report))
    else:
        output.data(f"revoked {report.signer.name}, public key {report.signer.key}")
        output.data(f"vouched for {len(report.kept)} of its snapshots")
    return 0


def _tell(command: str, report: KeyChangeReport, output: Output) -> None:
    if output.as_json:
        output.line("summary", command=command, **as_record(report))
        return
    for what, slots in (("added", report.added), ("removed", report.removed)):
        for slot in slots:
            output.data(f"{what} {slot.id[:_DIGITS]}  {slot.type}  {slot.label}".rstrip())
    output.data(f"key generation {report.generation}, epoch {report.epoch}")
    output.data(f"protected: {report.protects}\nnot protected: {report.does_not_protect}")
