"""The calls of vark that the cases time; the one place that asks which keywords this version has."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import vark

Target = str | os.PathLike[str] | int


def accepts(function: Callable[..., Any], keyword: str) -> bool:
    """Return whether a function of this version takes a keyword."""
    return keyword in inspect.signature(function).parameters


def has_read_only_load() -> bool:
    """Return whether `load` can give an index that is only read."""
    return accepts(vark.Archive.load, "writable")


def has_canonical_order() -> bool:
    """Return whether links can be stored as sets, their order given up."""
    return accepts(vark.write_archive, "order")


def has_parallel_reads() -> bool:
    """Return whether reading rows into memory can use several threads."""
    return accepts(vark.StreamView.read_into, "threads")


def load(archive: Path, *, writable: bool = True) -> Any:
    """Return the live object of an archive; hnswlib files do not say their space, here it is always l2."""
    with vark.open_archive(archive) as opened:
        options: dict[str, Any] = {} if writable else {"writable": False}
        if opened.members[0].layout.partition("/")[0] == "hnswlib":
            options["space"] = "l2"
        return opened.load(**options)


def restore(archive: Path, target: Path, *, sync: bool) -> None:
    """Write the member back."""
    with vark.open_archive(archive) as opened:
        opened.restore(target, sync=sync)


def pack_to_nothing(source: Any, *, threads: int | None = None) -> vark.WriteReport:
    """Pack a path or an array into the null device: coding without a disk."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    try:
        return vark.write_archive(source, descriptor, sync=False, threads=threads)
    finally:
        os.close(descriptor)


def read_vectors(archive: vark.Archive, out: Any, *, threads: int) -> None:
    """Fill `out` with all rows of the stream "vectors"; more than one thread needs `has_parallel_reads`."""
    view = archive["vectors"]
    if has_parallel_reads():
        view.read_into(0, len(view), out, threads=threads)
    else:
        view.read_into(0, len(view), out)
