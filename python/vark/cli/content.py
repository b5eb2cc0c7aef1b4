"""What goes into an archive beside its source: options that `pack` and `backup` share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from vark.errors import InvalidArgumentError

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--document", "documents", multiple=True, type=click.Path(exists=True), help="A text to keep with it."
    ),
    click.option("--attach", "attach", multiple=True, type=click.Path(exists=True), help="A file to keep with it."),
    click.option("--payload", type=click.Path(exists=True), help="Parquet file with a row for each vector."),
    click.option("--payload-key", help="Column of the payload with the ids its rows belong to."),
    click.option(
        "--probes", type=click.Path(exists=True), help=".npy file of queries (one .npy source of vectors only)."
    ),
    click.option("--probe-k", type=int, default=10, show_default=True, help="Neighbours of each probe."),
    click.option("--probe-metric", type=click.Choice(["l2", "ip", "cosine"]), default="l2", show_default=True),
    click.option("--application", help="JSON object for your own use."),
    click.option(
        "--layout",
        type=click.Choice(["auto", "opaque", "faiss", "hnswlib", "npy", "usearch", "diskann"]),
        default="auto",
        show_default=True,
    ),
    click.option("--compression", type=click.Choice(["auto", "none"]), default="auto", show_default=True),
    click.option(
        "--id-index/--no-id-index",
        "id_index",
        default=None,
        help="Keep a sorted index of more than 4,194,304 ids, for rows by id.  [default: as the archive it builds on]",
    ),
    click.option(
        "--order",
        type=click.Choice(["exact", "canonical"]),
        default="exact",
        show_default=True,
        help="canonical: links sorted, smaller; restores search alike but are not byte-equal.",
    ),
)


def options(function: Function) -> Function:
    """Add the options of what goes into an archive."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def gathered(sources: tuple[str, ...], given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the source and what `write_archive` wants besides. Errors: InvalidArgumentError."""
    source: Any = sources[0] if len(sources) == 1 else list(sources)
    probes: Any = None
    if given["probes"]:
        source, probes = _with_probes(source, given)
    values = {
        "payload": given["payload"],
        "payload_key": given["payload_key"],
        "documents": [Path(path) for path in given["documents"]],
        "attach": [Path(path) for path in given["attach"]],
        "probes": probes,
        "application": _application(given["application"]),
        "layout": given["layout"],
        "compression": given["compression"],
        "order": given["order"],
        "id_index": given["id_index"],
    }
    return source, values


def _with_probes(source: Any, given: dict[str, Any]) -> tuple[Any, Any]:
    """Probes of a file need its vectors: one .npy file is mapped and packed as the array it holds."""
    import numpy as np

    if not isinstance(source, str) or not source.endswith(".npy"):
        raise InvalidArgumentError("--probes: needs one .npy file as the source; for an index use Python")
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
