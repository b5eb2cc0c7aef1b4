"""`vark snapshots`, `vark show` and `vark stats`: what is in a repository."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from vark.cli import options
from vark.cli.output import Output
from vark.cli.sections import Command
from vark.repository.catalog import Snapshot
from vark.repository.fields import UNIX_MS_MAX
from vark.types import text_table
from vark.units import format_bytes

ID_DIGITS = 12  # the time to a millisecond


@click.command(cls=Command, short_help="List the snapshots.")
@options.repository
@click.option("--name", help="Only of this name.")
@click.option("--all", "everything", is_flag=True, help="Forgotten and void ones, too.")
@options.as_json
def snapshots(repo: str | None, name: str | None, everything: bool, as_json: bool) -> int:
    """List the snapshots, oldest first.

    \b
    vark snapshots -r backups/
    vark snapshots --all --json
    """
    output = Output(as_json=as_json)
    repository = options.open_repository(repo, rescue=True)
    catalog = repository.catalog()
    for place, error in catalog.faults.items():
        output.warn(f"cannot be used: {error}", object=place)
    for place, text in catalog.not_believed().items():
        output.warn(f"{place}: {text}", object=place, reason="not-believed")
    chosen = [item for item in catalog.snapshots if (name is None or item.name == name) and (everything or item.usable)]
    if as_json:
        for item in chosen:
            output.line("item", **snapshot_record(item))
        output.line("summary", command="snapshots", snapshot_count=len(chosen))
        return 0
    head = ("snapshot", "time", "name", "kind", "stored", "tags", "state")
    rows = [
        (
            item.id[:ID_DIGITS],
            shown_time(item.unix_ms),
            item.name,
            "delta" if item.delta else "full",
            format_bytes(item.archive_bytes),
            shown_tags(item),
            state_of(item),
        )
        for item in chosen
    ]
    output.data(text_table(head, rows))
    return 0


@click.command(cls=Command, short_help="Show one snapshot.")
@click.argument("reference", default="latest")
@options.repository
@options.reference
@options.as_json
def show(reference: str, repo: str | None, name: str | None, at: str | None, as_json: bool) -> int:
    """Show a snapshot: "latest", an id or its first digits, a tag KEY=VALUE, or a time.

    \b
    vark show latest --name products
    vark show 2026-11-20T04:00Z
    """
    output = Output(as_json=as_json)
    repository = options.open_repository(repo, rescue=True)
    item = repository.snapshot(reference, name=name, at=at)
    if as_json:
        output.line("summary", command="show", **snapshot_record(item))
        return 0
    lines = [
        f"snapshot  {item.id}",
        f"name      {item.name}",
        f"time      {shown_time(item.unix_ms)}",
        f"host      {item.host}",
        f"source    {', '.join(item.source.get('paths', ())) or item.source.get('kind', '')}",
        f"tags      {shown_tags(item)}",
        f"state     {state_of(item)}",
        f"commit    {item.commit}",
    ]
    if item.store_unix_ms is not None:
        lines.insert(3, f"client    {shown_time(item.created_unix_ms)}")
    if item.copy_of is not None:
        lines.append(f"copy of   {item.copy_of.repository}, commit {item.copy_of.commit}")
    for archive in item.archives:
        shard = f"shard {archive.shard}, " if archive.shard else ""
        lines.append(f"archive   {archive.id}: {shard}{format_bytes(archive.bytes)}, root {archive.root}")
    lines += [f"builds on {ancestor.id}: {format_bytes(ancestor.bytes)}" for ancestor in item.closure]
    output.data("\n".join(lines))
    return 0


def snapshot_record(item: Snapshot) -> dict[str, Any]:
    """Return a snapshot as a JSON object."""
    return {
        "snapshot": item.id,
        "name": item.name,
        "time": item.time.isoformat(),
        "unix_ms": item.unix_ms,
        "created_unix_ms": item.created_unix_ms,
        "store_unix_ms": item.store_unix_ms,
        "tags": dict(item.tags),
        "host": item.host,
        "source": dict(item.source),
        "partial": item.partial,
        "held": item.held,
        "hold_reason": item.hold_reason,
        "forgotten_unix_ms": item.forgotten_unix_ms,
        "forget_reason": item.forget_reason,
        "void": item.void,
        "commit": item.commit,
        "delta": item.delta,
        "archive_bytes": item.archive_bytes,
        "archives": [archive.record() for archive in item.archives],
        "closure": [ancestor.record() for ancestor in item.closure],
        "superseded": list(item.superseded),
        "copy_of": None if item.copy_of is None else item.copy_of.record(),
    }


def shown_time(unix_ms: int) -> str:
    """Return a time for people, UTC; one after the year 9999 as its end."""
    unix_ms = min(unix_ms, UNIX_MS_MAX)
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def shown_tags(item: Snapshot) -> str:
    """Return the tags of a snapshot for people."""
    return " ".join(f"{key}={value}" for key, value in item.tags.items())


def state_of(item: Snapshot) -> str:
    """Return what is special about a snapshot."""
    words = ["partial"] * item.partial + ["held"] * item.held
    words += ["forgotten"] * (item.forgotten_unix_ms is not None) + ["void"] * item.void
    return " ".join(words)
