"""`vark inspect`: what is in an archive, and as plainly what is not."""

from __future__ import annotations

from typing import Any

import click

from vark.archive import Archive
from vark.cli import options, secrets
from vark.cli.output import Output
from vark.types import MemberReport, StreamTable
from vark.units import format_bytes

NEVER_CAPTURED = "owners, permissions, times and links of files are never captured"


@click.command(short_help="List what an archive holds, and what not.")
@click.argument("archive", type=options.ARCHIVE)
@secrets.opening
@options.limits
@options.as_json
def inspect(archive: str, as_json: bool, **given: Any) -> int:
    """List members, streams, documents and probes of ARCHIVE, then what is NOT in it.

    Reads the directory only, no rows.

    \b
    vark inspect products.vark
    vark inspect products.vark --json | jq .streams
    """
    from vark.api import open_archive

    output = Output(as_json=as_json)
    options.tell_addresses(archive)
    with open_archive(archive, **secrets.unlocking(given)) as opened:
        streams = StreamTable(opened[info.name].info for info in opened.streams)
        if as_json:
            output.line("summary", command="inspect", **_record(opened, streams))
        else:
            output.data("\n".join(_lines(opened, streams)))
    return 0


def missing(opened: Archive) -> list[str]:
    """Return a sentence for each thing that the archive does not hold."""
    absent = []
    if not opened.members:
        absent.append("no member: nothing can be restored as a file")
    if "payload" not in opened:
        absent.append("no payload")
    if not opened.documents:
        absent.append("no documents")
    if not opened.attachments:
        absent.append("no attachments")
    if "probe.queries" not in opened:
        absent.append("no probes: whether a restored index answers as before cannot be shown")
    if (opened.metadata.get("source") or {}).get("order") == "canonical":
        absent.append(
            "the order of links in a graph: what is restored searches alike but is not byte-equal to the source"
        )
    absent += [f"{item.name}: {item.reason}" for item in opened.skipped]
    absent.append(NEVER_CAPTURED)
    return absent


def _record(opened: Archive, streams: StreamTable) -> dict[str, Any]:
    return {
        "archive": opened.path,
        "archive_id": opened.archive_id,
        "archive_bytes": opened.archive_bytes,
        "root": opened.root,
        "version": opened.version,
        "partial": opened.partial,
        "encrypted": opened.is_encrypted,
        "metadata": opened.metadata,
        "members": opened.members,
        "folders": opened.folders,
        "streams": list(streams),
        "documents": list(opened.documents),
        "attachments": list(opened.attachments),
        "skipped": opened.skipped,
        "not_in_archive": missing(opened),
    }


def _lines(opened: Archive, streams: StreamTable) -> list[str]:
    major, minor = opened.version
    lines = [
        f"{opened.path}: {format_bytes(opened.archive_bytes)}, format {major}.{minor}, id {opened.archive_id}",
        f"root {opened.root}",
        "encrypted" if opened.is_encrypted else "NOT ENCRYPTED: whoever has the file can read it",
        "PARTIAL: not all of the source was captured" if opened.partial else "complete: all of the source was captured",
        "",
        "Members",
        *(f"  {_member(member)}" for member in opened.members),
        *(f"  {folder}/ (empty folder)" for folder in opened.folders),
        "",
        *repr(streams).splitlines(),
    ]
    for title, named in (("Documents", opened.documents), ("Attachments", opened.attachments)):
        if named:
            lines += ["", title, *(f"  {name}  {format_bytes(named.view(name).nbytes)}" for name in named)]
    for title in ("payload", "probes", "application"):
        if title in opened.metadata:
            lines += ["", f"{title.capitalize()}: {opened.metadata[title]}"]
    return [*lines, "", "Not in the archive", *(f"  {sentence}" for sentence in missing(opened))]


def _member(member: MemberReport) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in member.facts.items())
    text = f"{member.name}  {format_bytes(member.byte_count)}  {member.layout}" + (f"  ({facts})" if facts else "")
    return text + (f"  warning: {member.warning}" if member.warning else "")
