"""One case of the demo: an index goes into an archive, the archive is damaged, restored, and must answer as before."""

from __future__ import annotations

import filecmp
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow

import indexes
import vark

SPEC = Path(__file__).resolve().parent.parent / "spec"
sys.path.insert(0, str(SPEC))
import reader  # noqa: E402 - the reader of the specification: it knows where a block lies

PROBE_COUNT = 100


@dataclass(slots=True)
class Talk:
    """Says what happens, and remembers what should not have happened."""

    failures: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Print one step."""
        print(f"  {text}", flush=True)

    def check(self, good: bool, claim: str) -> bool:
        """Print a claim that was tested; remember it when it is false."""
        print(f"  {'ok  ' if good else 'FAILED  '}{claim}", flush=True)
        if not good:
            self.failures.append(claim)
        return good


@dataclass(slots=True)
class Result:
    """One row of the table at the end."""

    title: str
    rows: int
    raw_bytes: int
    archive_bytes: int
    pack_seconds: float
    verify_seconds: float
    restore_seconds: float
    bytes_equal: bool
    answers_equal: bool
    recall: float


@dataclass(frozen=True, slots=True)
class Built:
    """A kind of index, built and saved by its own library, with its answers."""

    kind: indexes.Kind
    index: Any
    file: Path
    answers: Any
    recall: float


def build(kind: indexes.Kind, data: indexes.Data, truth: Any, folder: Path, talk: Talk) -> Built:
    """Build the index, save it with its own library, and write down its answers."""
    index, seconds = timed(lambda: kind.build(data.vectors))
    file = folder / kind.file_name
    kind.save(index, file)
    answers = kind.search(index, data.queries)
    found = indexes.recall(answers[0], truth)
    talk.say(f"built over {len(data.vectors):,} rows in {seconds:.1f} s; finds {found:.1%} of the true neighbours")
    talk.say(f"saved by its own library: {file.name}, {megabytes(file.stat().st_size)}")
    return Built(kind, index, file, answers, found)


def run(built: Built, data: indexes.Data, truth: Any, *, live: bool, folder: Path, talk: Talk) -> Result:
    """Pack, verify, damage, restore, load and compare; return the row of the table."""
    how = "live" if live else "file"
    path = folder / f"{built.file.stem}-{how}.vark"
    report, pack_seconds = timed(lambda: pack(built, data, path, live=live))
    sizes = f"{megabytes(report.raw_bytes)} → {megabytes(report.archive_bytes)}"
    talk.say(f"packed ({how}) with table, document and probes: {sizes}")
    talk.check(not report.partial and not report.skipped, "nothing of the source was left out")

    verified, verify_seconds = timed(lambda: vark.verify_archive(path))
    talk.check(verified.ok, f"verified: all {verified.chunk_count} chunks are what was packed")
    damage(path, folder / f"{built.file.stem}-{how}-damaged.vark", talk)

    target = folder / f"{how}-{built.file.name}"
    with vark.open_archive(path) as archive:
        _, restore_seconds = timed(lambda: archive.restore(target))
        equal = talk.check(filecmp.cmp(built.file, target, shallow=False), "restored byte for byte")
        again = archive.load() if live else built.kind.read(target, data.vectors.shape[1])
        answers = built.kind.search(again, data.queries)
        same = all(np.array_equal(before, after) for before, after in zip(built.answers, answers, strict=True))
        talk.check(same, f"{len(data.queries):,} queries: ids and distances as before the backup")
        probes = archive.check_probes(again)
        talk.check(probes.recall == 1 and probes.changed == 0, f"{probes.count} stored probes answered as stored")
        companions(archive, len(data.vectors), talk)
    return Result(
        title=f"{built.kind.title}, {how}",
        rows=len(data.vectors),
        raw_bytes=report.raw_bytes,
        archive_bytes=report.archive_bytes,
        pack_seconds=pack_seconds,
        verify_seconds=verify_seconds,
        restore_seconds=restore_seconds,
        bytes_equal=equal,
        answers_equal=same,
        recall=indexes.recall(answers[0], truth),
    )


def pack(built: Built, data: indexes.Data, path: Path, *, live: bool) -> vark.WriteReport:
    """Back up the index, with what belongs to it: a table, a note and probes."""
    numbers = np.arange(len(data.vectors))
    table = pyarrow.table({"id": numbers, "title": [f"sentence {number}" for number in numbers]})
    return vark.write_archive(
        built.index if live else built.file,
        path,
        payload=table,
        documents={"README.md": f"# {built.kind.title}\n\nSentence embeddings, all-MiniLM-L6-v2, unit length.\n"},
        probes={"queries": data.queries[:PROBE_COUNT], "k": indexes.K, "index": built.index},
    )


def companions(archive: vark.Archive, row_count: int, talk: Talk) -> None:
    """Check that the table and the note came along."""
    ids = archive.payload(rows=[row_count - 1, 0]).column("id").to_pylist()
    note = archive.documents["README.md"].decode()
    talk.check(ids == [row_count - 1, 0] and note.startswith("# "), "the payload's rows and the document came along")


def damage(path: Path, copy: Path, talk: Talk) -> None:
    """Flip one byte in the middle of the largest stream of a copy; verification must name it, restoring must refuse."""
    shutil.copyfile(path, copy)
    stream, first_row, row_count, position = middle_byte(path)
    with open(copy, "r+b") as file:
        file.seek(position)
        value = file.read(1)[0]
        file.seek(position)
        file.write(bytes([value ^ 0x01]))
    report = vark.verify_archive(copy)
    talk.say(f"one bit of a copy flipped, at byte {position:,}; verify says:")
    for item in report.damage:
        talk.say(f"    {item}")
    named = any(
        (item.stream, item.first_row, item.row_count) == (stream, first_row, row_count)
        and item.offset is not None
        and item.byte_count is not None
        and item.offset <= position < item.offset + item.byte_count
        for item in report.damage
    )
    talk.check(named and not report.ok, f"the damage is named: {stream!r}, rows {first_row:,} +{row_count:,}")
    target = copy.with_suffix(".restored")
    try:
        with vark.open_archive(copy) as archive:
            archive.restore(target)
        refused = False
    except vark.DamagedError:
        refused = not target.exists()
    talk.check(refused, "the damaged copy is not restored, and no file is left behind")


def middle_byte(path: Path) -> tuple[str, int, int, int]:
    """Return stream, first row and rows of the chunk in the middle of the largest stream, and a byte of its block."""
    with reader.Archive(path) as archive:
        stream = max(archive.streams, key=lambda stream: stream.row_count * stream.row_bytes)
        chunk = stream.chunk_count // 2
        block, at = divmod(stream.first_entry + chunk, archive.entries_per_block)
        entry = archive._index_block(block)[0][at]  # no public way: only a demo wants to aim at a block
        first_row = chunk * stream.chunk_rows
        row_count = min(stream.chunk_rows, stream.row_count - first_row)
        return stream.name, first_row, row_count, int(entry["offset"]) + int(entry["stored"]) // 2


def megabytes(byte_count: int) -> str:
    """Return e.g. "4.21 MB"."""
    return f"{byte_count / 1e6:.2f} MB"


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what `work` returns, and its wall-clock seconds."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start
