"""`vark pack`: write one archive."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from vark.cli import options
from vark.cli.output import Output, as_record, exit_for_partial
from vark.errors import InvalidArgumentError
from vark.types import WriteReport
from vark.units import format_bytes, format_speed


@click.command(short_help="Back up files or folders into an archive.")
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True))
@click.argument("target", type=click.Path(allow_dash=True))
@click.option("--document", "documents", multiple=True, type=click.Path(exists=True), help="A text to keep with it.")
@click.option("--attach", "attach", multiple=True, type=click.Path(exists=True), help="A file to keep with it.")
@click.option("--payload", type=click.Path(exists=True), help="Parquet file with a row for each vector.")
@click.option("--payload-key", help="Column of the payload with the ids its rows belong to.")
@click.option("--probes", type=click.Path(exists=True), help=".npy file of queries (one .npy source of vectors only).")
@click.option("--probe-k", type=int, default=10, show_default=True, help="Neighbours of each probe.")
@click.option("--probe-metric", type=click.Choice(["l2", "ip", "cosine"]), default="l2", show_default=True)
@click.option("--application", help="JSON object for your own use.")
@click.option(
    "--layout",
    type=click.Choice(["auto", "opaque", "faiss", "hnswlib", "npy", "usearch", "diskann"]),
    default="auto",
    show_default=True,
)
@click.option("--compression", type=click.Choice(["auto", "none"]), default="auto", show_default=True)
@click.option(
    "--order",
    type=click.Choice(["exact", "canonical"]),
    default="exact",
    show_default=True,
    help="canonical: links sorted, smaller; restores search alike but are not byte-equal.",
)
@click.option("--digest", is_flag=True, help="Store the BLAKE3 of each member, too.")
@options.engine
@options.writing
@options.as_json
def pack(sources: tuple[str, ...], target: str, **given: Any) -> int:
    """Back up SOURCES (files or folders) into the archive TARGET; "-" writes it to stdout.

    Exits with 3 when something of a source was not captured: the archive is good, but says `partial`.

    \b
    vark pack products.faiss products.vark
    vark pack index/ backup.vark --document README.md --json
    vark pack vectors.npy vectors.vark --payload rows.parquet --probes queries.npy
    """
    output = Output(as_json=given["as_json"])
    to_stdout = target == "-"
    if to_stdout and (output.as_json or sys.stdout.isatty()):
        raise InvalidArgumentError(
            'TARGET "-": stdout is a terminal or carries --json; redirect it into a file or pipe'
        )
    with output.progress("packing") as progress:
        report = _write(sources, sys.stdout.fileno() if to_stdout else target, progress, given)
    for item in report.skipped:
        output.warn(f"not captured: {item.name}: {item.reason}", name=item.name, reason=item.reason)
    for member in report.members:
        if member.warning:
            output.warn(f"{member.name}: {member.warning}", name=member.name, reason=member.warning)
    _show(report, output)
    return exit_for_partial(report.partial)


def _write(sources: tuple[str, ...], target: str | int, progress: Any, given: dict[str, Any]) -> WriteReport:
    from vark.api import write_archive

    probes: Any = None
    source: Any = sources[0] if len(sources) == 1 else list(sources)
    if given["probes"]:
        source, probes = _with_probes(source, given)
    return write_archive(
        source,
        target,
        payload=given["payload"],
        payload_key=given["payload_key"],
        documents=[Path(path) for path in given["documents"]],
        attach=[Path(path) for path in given["attach"]],
        probes=probes,
        application=_application(given["application"]),
        layout=given["layout"],
        compression=given["compression"],
        order=given["order"],
        threads=given["threads"],
        memory=given["memory"],
        replace=given["replace"],
        sync=not given["no_sync"],
        digest=given["digest"],
        progress=progress,
    )


def _with_probes(source: Any, given: dict[str, Any]) -> tuple[Any, Any]:
    """Probes of a file need its vectors: one .npy file is mapped and packed as the array it holds."""
    import numpy as np

    if not isinstance(source, str) or not source.endswith(".npy"):
        raise InvalidArgumentError("--probes: needs one .npy file as the source; for an index use vark.write_archive")
    try:
        vectors, queries = np.load(source, mmap_mode="r"), np.load(given["probes"])
    except ValueError as error:
        raise InvalidArgumentError(f"--probes: {error}; expected .npy files of numbers") from error
    name = os.path.basename(source).removesuffix(".npy")
    probes = {"queries": queries, "k": given["probe_k"], "metric": given["probe_metric"]}
    return {name: vectors}, probes


def _application(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidArgumentError(f"--application: {error}; expected a JSON object") from error
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"--application: {type(value).__name__}; expected a JSON object")
    return value


def _show(report: WriteReport, output: Output) -> None:
    if output.as_json:
        output.line("summary", command="pack", ratio=round(report.ratio, 6), **as_record(report))
        return
    output.talk(repr(report.streams))
    output.talk(
        f"{report.path}: {format_bytes(report.raw_bytes)} in {format_bytes(report.archive_bytes)}, "
        f"ratio {report.ratio:.3f}, {report.seconds:.2f} s, {format_speed(report.raw_bytes, report.seconds)}"
    )
    if report.partial:
        output.talk("The archive is partial: see the warnings above.")
