"""Cases with a clock: a graph file packed, unpacked and verified; bare vectors; loading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import engine
import limits
import vark
from context import Bench, checked_archive, copies, stream_of
from figures import Figure, Goal, absent, at_least, faster, plain, relative, speed
from link_bits import bits_a_link
from sources import Source
from timing import Step, race
from tool import DiffersError, same_answers

NOT_YET = "this version of vark cannot do it"


def graph_file(bench: Bench) -> Iterator[Figure]:
    """Cases 1, 2 and 5: a file of faiss, to the disk and back, and verified."""
    source, folder = bench.faiss, bench.folder
    archive, fresh, back = folder / "graph.vark", folder / "fresh.vark", folder / "back.faiss"
    report = checked_archive(source, archive)
    source_bytes, archive_bytes = source.byte_count, report.archive_bytes

    def writing(name: str, byte_count: int, *, sync: bool) -> Step:
        target = folder / "bare"
        return Step(name, lambda: limits.bare_write(target, byte_count, sync=sync), target)

    steps = [
        *copies(source, folder),
        Step("pack", lambda: vark.write_archive(source.path, fresh, sync=False), fresh),
        Step("pack, sync", lambda: vark.write_archive(source.path, fresh, sync=True), fresh),
        Step("unpack", lambda: engine.restore(archive, back, sync=False), back),
        Step("unpack, sync", lambda: engine.restore(archive, back, sync=True), back),
        Step("stored", lambda: vark.verify_archive(archive, level="stored")),
        Step("full", lambda: vark.verify_archive(archive, level="full")),
        writing("write", source_bytes, sync=False),
        writing("write, sync", source_bytes, sync=True),
        writing("write archive, sync", archive_bytes, sync=True),
        Step("pack uncoded", lambda: limits.uncoded(source.path, fresh, archive_bytes), fresh),
        Step("unpack uncoded", lambda: limits.uncoded(archive, back, source_bytes), back),
    ]
    times = race(steps, bench.rounds)
    case = "1 pack HNSWFlat"
    yield relative(case, "durable, to cp with sync", times, "pack, sync", "cp, sync", Goal(1.0))
    yield relative(case, "not synced, to cp", times, "pack", "cp", Goal(2.2))
    yield speed(case, "not synced", times, "pack", source_bytes)
    yield plain(case, "file to archive", source_bytes / archive_bytes, at_least(1.30))
    yield plain(case, "vectors to stored", stream_of(report, "vectors").ratio, at_least(1.20))
    yield bits_a_link(case, "links.level0, bits a link", archive, Goal(14))
    case = "2 unpack HNSWFlat"
    yield relative(case, "durable, to cp with sync", times, "unpack, sync", "cp, sync", Goal(1.0))
    yield relative(case, "not synced, to cp", times, "unpack", "cp", Goal(1.6))
    yield speed(case, "not synced", times, "unpack", source_bytes)
    case = "5 verify HNSWFlat"
    yield speed(case, "stored, of source bytes", times, "stored", source_bytes, at_least(5))
    yield speed(case, "stored, of stored bytes", times, "stored", archive_bytes, at_least(5))
    yield speed(case, "full, of source bytes", times, "full", source_bytes)
    case = "limits of the machine"
    yield speed(case, "cp", times, "cp", source_bytes)
    yield speed(case, "cp, sync", times, "cp, sync", source_bytes)
    yield speed(case, "bare write, bytes of the source", times, "write", source_bytes)
    yield speed(case, "bare write and fsync, bytes of the source", times, "write, sync", source_bytes)
    yield speed(case, "bare write and fsync, bytes of the archive", times, "write archive, sync", archive_bytes)
    uncoded = "read, hashed and written by 2 threads, nothing coded, to cp"
    yield relative(case, f"packing: {uncoded}", times, "pack uncoded", "cp")
    yield relative(case, f"unpacking: {uncoded}", times, "unpack uncoded", "cp")


def bare_vectors(bench: Bench) -> Iterator[Figure]:
    """Case 3: coding rows without a disk, by one thread and by two."""
    source, folder = bench.npy, bench.folder
    archive = folder / "vectors.vark"
    report = checked_archive(source, archive)
    if engine.pack_to_nothing(source.path, threads=1).archive_bytes != report.archive_bytes:
        raise DiffersError(f"{source.name}: one thread packs other bytes")
    out = np.empty_like(source.live)
    with vark.open_archive(archive) as opened:
        counts = (1, 2) if engine.has_parallel_reads() else (1,)
        for count in counts:
            out.fill(0)
            engine.read_vectors(opened, out, threads=count)
            if not np.array_equal(out, source.live):
                raise DiffersError(f"{source.name}: rows that are read differ")
        times = race(_vector_steps(bench, opened, out, counts), bench.rounds)
    row_bytes = source.live.nbytes
    case = "3 pack vectors, no disk"
    yield speed(case, "file, 1 thread", times, "pack 1", row_bytes, at_least(1.4))
    yield faster(case, "file, 2 threads to 1", times, "pack 2", "pack 1", at_least(1.8))
    yield speed(case, "array, 1 thread", times, "pack array 1", row_bytes)
    yield speed(case, "array, 2 threads", times, "pack array 2", row_bytes)
    case = "3 unpack vectors to memory"
    yield speed(case, "warm memory, 1 thread", times, "read 1", row_bytes, at_least(1.9))
    if engine.has_parallel_reads():
        yield faster(case, "warm memory, 2 threads to 1", times, "read 2", "read 1", at_least(1.8))
    else:
        yield absent(case, "warm memory, 2 threads to 1", at_least(1.8), NOT_YET)
    yield speed(case, 'archive["vectors"][:], fresh memory', times, "read fresh", row_bytes)
    case = "limits of the machine"
    yield speed(case, "copy memory, 1 thread", times, "copy", row_bytes)
    yield speed(case, "BLAKE3, 1 thread", times, "hash", row_bytes)


def _vector_steps(bench: Bench, opened: vark.Archive, out: np.ndarray, counts: tuple[int, ...]) -> list[Step]:
    source = bench.npy

    def pack(name: str, what: object, threads: int) -> Step:
        return Step(f"{name} {threads}", lambda: engine.pack_to_nothing(what, threads=threads))

    def read(threads: int) -> Step:
        return Step(f"read {threads}", lambda: engine.read_vectors(opened, out, threads=threads))

    return [
        *copies(source, bench.folder),
        *(pack("pack", source.path, threads) for threads in (1, 2)),
        *(pack("pack array", source.live, threads) for threads in (1, 2)),
        *(read(threads) for threads in counts),
        Step("read fresh", lambda: opened["vectors"][:]),
        Step("copy", lambda: limits.copy_memory(source.live.nbytes)),
        Step("hash", lambda: limits.hash_memory(source.live.nbytes)),
    ]


def loading(bench: Bench) -> Iterator[Figure]:
    """Case 4: an archive as a live index, beside the library that reads its own file."""
    yield from _loading(bench, bench.faiss, "read_index", Goal(0.33), read_only=True)
    yield from _loading(bench, bench.hnswlib, "load_index", Goal(0.6), read_only=False)


def _loading(bench: Bench, source: Source, own: str, goal: Goal, *, read_only: bool) -> Iterator[Figure]:
    case = f"4 load {source.name.partition(',')[0]}"
    archive = bench.folder / f"{source.kind}.vark"
    checked_archive(source, archive)
    ways = {"load": True}
    if read_only and engine.has_read_only_load():
        ways["load, writable=False"] = False
    for way, writable in ways.items():
        if not same_answers(source, engine.load(archive, writable=writable)):
            raise DiffersError(f"{source.name}: {way} answers otherwise")
    steps = [
        Step(way, lambda writable=writable: engine.load(archive, writable=writable)) for way, writable in ways.items()
    ]
    times = race(
        [
            *copies(source, bench.folder),
            Step(own, lambda: source.read(source.path)),
            *steps,
            *_loading_limits(bench, source, archive),
        ],
        bench.rounds,
    )
    for way in ways:
        yield relative(case, f"{way}, to {own}", times, way, own, goal)
        yield speed(case, way, times, way, source.byte_count)
    if read_only and not engine.has_read_only_load():
        yield absent(case, f"load, writable=False, to {own}", goal, NOT_YET)
    yield speed(case, own, times, own, source.byte_count)
    case = "limits of the machine"
    yield relative(case, f"vectors decoded into warm memory, to {own}", times, "decode", own)
    if source.kind == "hnswlib":
        yield relative(case, f"hnswlib's own copy of a state in memory, to {own}", times, "copy", own)
    else:
        yield relative(case, f"memory for the vectors, cleared by faiss, to {own}", times, "clear", own)


def _loading_limits(bench: Bench, source: Source, archive: Path) -> Iterator[Step]:
    """What no way of loading is without: decoding, and what the library does with its memory."""
    out = np.ones_like(bench.npy.live)

    def decode() -> None:
        with vark.open_archive(archive) as opened:
            engine.read_vectors(opened, out, threads=limits.THREADS)

    yield Step("decode", decode)
    if source.kind == "hnswlib":
        yield Step("copy", limits.unpickling(source.live))
    else:
        yield Step("clear", lambda: limits.cleared_by_faiss(out.nbytes))
