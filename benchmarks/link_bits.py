"""Bits that an archive spends on a link of a graph's lowest level."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import vark
from figures import Figure, Goal, plain

STREAM = "links.level0"


def bits_a_link(case: str, name: str, archive: Path, goal: Goal | None, note: str = "") -> Figure:
    """Return the stored bits of all links divided by their number."""
    with vark.open_archive(archive) as opened:
        info = opened[STREAM].info
        count = int(links(opened).mask.sum(dtype=np.int64))
        node_count = info.shape[0]
    notes = [f"{info.chunk_count} partition{'s' * (info.chunk_count > 1)}", f"{count / node_count:.1f} links a node"]
    return plain(case, name, info.stored_bytes * 8 / count, goal, note=", ".join([*notes, *filter(None, [note])]))


def links(opened: vark.Archive) -> np.ma.MaskedArray:
    """Return the numbers of the neighbours, one row a node; mask is TRUE where there is a link."""
    rows = opened[STREAM][:]
    if rows.dtype.kind == "i":
        return np.ma.MaskedArray(rows, rows != -1)
    # hnswlib: a word whose lower half counts the links, then places; those behind the count are stale.
    counts = rows[:, :1] & 0xFFFF
    places = rows[:, 1:]
    return np.ma.MaskedArray(places, np.arange(places.shape[1]) < counts)
