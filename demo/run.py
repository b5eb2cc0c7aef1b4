"""Back up real indexes, damage the archives, restore, and prove that bytes and answers are the same.

`make demo` runs this. It writes into a temporary folder, ends with one table, and returns 1 if anything differs.
"""

from __future__ import annotations

import argparse
import filecmp
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

import case
import indexes
import repository
import vark

LIVE_TOO = ("faiss HNSW", "hnswlib")  # these are also backed up straight from memory


def main(arguments: list[str] | None = None) -> int:
    """Run all cases; return the exit code."""
    options = parse(arguments)
    start = time.perf_counter()
    data = indexes.read_data(options.data, options.rows)
    rows, dimension = data.vectors.shape
    print(f"{rows:,} sentence embeddings of dimension {dimension} to index, {len(data.queries):,} others as queries")
    talk = case.Talk()
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        if any(options.keep.iterdir()):
            raise SystemExit(f"--keep: {options.keep} is not empty; give a new folder")
        results = run_all(data, options.keep, talk)
        print(f"\narchives and restored files are in {options.keep}")
    else:
        with tempfile.TemporaryDirectory(prefix="vark-demo-") as name:
            results = run_all(data, Path(name), talk)
    show(results)
    for failure in talk.failures:
        print(f"FAILED: {failure}")
    verdict = f"{len(talk.failures)} checks failed" if talk.failures else "everything is as it was before the backup"
    print(f"{verdict}; {time.perf_counter() - start:.0f} s")
    return 1 if talk.failures else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="a .npy matrix (rows, dimension) instead of demo/data"
    )
    parser.add_argument("--rows", type=int, metavar="N", help="take the first N rows only")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write into this new folder, and leave it there")
    return parser.parse_args(arguments)


def run_all(data: indexes.Data, folder: Path, talk: case.Talk) -> list[case.Result]:
    """Run every kind as a file, some live, too; then the two ways to read an archive that need no restore by vark."""
    truth = indexes.true_neighbours(data)
    results = []
    for kind in indexes.kinds():
        print(f"\n{kind.title}")
        built = case.build(kind, data, truth, folder, talk)
        results.append(case.run(built, data, truth, live=False, folder=folder, talk=talk))
        if kind.title in LIVE_TOO:
            print(f"\n{kind.title}, live from memory")
            results.append(case.run(built, data, truth, live=True, folder=folder, talk=talk))
    print("\nWithout restoring")
    read_one_row(folder / "hnsw-file.vark", data, talk)
    print("\nDay by day, in a repository")
    repository.days(data, folder, talk)
    print("\nWithout vark")
    rescue(folder / "hnsw-file.vark", folder / "hnsw.faiss", talk)
    return results


def read_one_row(path: Path, data: indexes.Data, talk: case.Talk) -> None:
    """Fetch one vector out of an archive."""
    number = len(data.vectors) // 3
    with vark.open_archive(path) as archive:
        row = archive["vectors"][number]
        reads, read_bytes = archive.io_counts
        talk.check(
            np.array_equal(row, data.vectors[number]), f'archive["vectors"][{number}] is the row that was packed'
        )
        share = read_bytes / archive.archive_bytes
        talk.say(f"it took {reads} reads, opening included: {read_bytes / 1e3:.0f} kB, {share:.1%} of the archive")


def rescue(path: Path, original: Path, talk: case.Talk) -> None:
    """Restore with the reader of the specification: Python, numpy, zstandard and blake3, nothing of vark's engine."""
    target = path.with_name("rescued.faiss")
    command = [sys.executable, str(case.SPEC / "reader.py"), "restore", str(path), str(target)]
    done, seconds = case.timed(lambda: subprocess.run(command, capture_output=True, text=True, check=False))
    if done.returncode:
        talk.say(done.stderr.strip())
    same = done.returncode == 0 and filecmp.cmp(original, target, shallow=False)
    talk.check(same, f"spec/reader.py restores the same bytes ({seconds:.1f} s)")


def show(results: list[case.Result]) -> None:
    """Print the table."""
    titles = ("index", "rows", "source\nMB", "archive\nMB", "\nratio", "pack\ns", "verify\ns", "restore\ns")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0), show_edge=False)
    for number, title in enumerate((*titles, "bytes\nequal", "answers\nequal", "recall\n@10")):
        table.add_column(title, justify="right" if number else "left", no_wrap=True)
    for row in results:
        table.add_row(
            row.title,
            f"{row.rows:,}",
            f"{row.raw_bytes / 1e6:.2f}",
            f"{row.archive_bytes / 1e6:.2f}",
            f"{row.raw_bytes / row.archive_bytes:.2f}",
            *(f"{seconds:.3f}" for seconds in (row.pack_seconds, row.verify_seconds, row.restore_seconds)),
            "yes" if row.bytes_equal else "NO",
            "yes" if row.answers_equal else "NO",
            f"{row.recall:.3f}",
        )
    console = Console()
    console.width = max(console.width, 110)  # into a pipe, too
    console.print()
    console.print(table)
    print(
        "source: index, table, document and probes. pack, restore: until the disk has it. recall: of the restored index"
    )


if __name__ == "__main__":
    sys.exit(main())
