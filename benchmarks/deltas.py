"""Measure deltas: new bytes of a day's changes, time against a full backup and restic, and a chain of 30 days.

Every snapshot is restored and compared before anything is timed. Exit codes: 0 measured, 1 something did not come back
as it was. Neither a size nor a time decides.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import timing
import vark
from backup_programs import restic
from chain import chain
from delta_sources import Change, changes
from tool import missing_command

RESULTS = Path(__file__).resolve().parent / "results"
ROUNDS = 3


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--days", type=int, default=30, help="length of the chain; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--folder", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    print(machine.sentence(machine.facts(options.folder)), file=sys.stderr)
    failures = 0
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        work = Path(name)
        os.environ["VARK_CACHE"] = str(work / "cache")
        print("| case | full archive | new bytes | of full | goal | backup of the change, s | full backup, s |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for change in changes(options.rows, options.dim, options.folder / "sources"):
            failures += not _case(change, work, options)
        _against_restic(options, work)
        if options.days:
            failures += not chain(options.rows, options.dim, options.days, options.folder / "sources", work)
    return 1 if failures else 0


def _case(change: Change, work: Path, options: argparse.Namespace) -> bool:
    """Size and time of one change; the restored file is compared."""
    repository = _fresh(work / "repository")
    timing.warm(change.before)
    full = repository.backup(change.before, name="source")
    timing.warm(change.after)
    report = repository.backup(change.after, name="source")
    target = work / "restored"
    repository.restore("latest", target)
    same = filecmp.cmp(target, change.after, shallow=False)
    target.unlink()
    share = 100 * report.archive_bytes / full.archive_bytes
    goal = f"≤ {change.limit} %" if change.limit is not None else "< 100 %, never > 100.1 %"
    seconds = {"delta": [], "full": []}
    for _ in range(options.rounds):
        for kind in ("full", "delta"):
            seconds[kind].append(_second(change, work, kind))
    delta, whole = (statistics.median(seconds[kind]) for kind in ("delta", "full"))
    state = "" if same else " **NOT THE SAME BYTES**"
    print(
        f"| {change.name}{state} | {full.archive_bytes:,} | {report.archive_bytes:,} | {share:.3f} % | {goal} "
        f"| {delta:.2f} | {whole:.2f} ({delta / whole:.2f} ×) |",
        flush=True,
    )
    record = {"case": change.name, "share_percent": share, "delta_s": delta, "full_s": whole, "same": same}
    with (options.folder / "deltas.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    return same


def _second(change: Change, work: Path, kind: str) -> float:
    """Return the seconds of backing up the changed file where the file before is; making that is not timed."""
    repository = _fresh(work / f"timed-{kind}")
    repository.backup(change.before, name="source")
    os.sync()
    return _seconds(repository.backup, change.after, name="source", full=kind == "full")


def _seconds(work: Callable[..., Any], *arguments: Any, **options: Any) -> float:
    start = time.perf_counter()
    work(*arguments, **options)
    return time.perf_counter() - start


def _fresh(folder: Path) -> Any:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(os.environ["VARK_CACHE"], ignore_errors=True)
    return vark.Repository.create(folder, encryption="none")


def _against_restic(options: argparse.Namespace, work: Path) -> None:
    """The second backup of an hnswlib file with 1 % of its rows updated: restic and vark in turns."""
    if missing_command("restic", "restic"):
        print("restic is not installed: no comparison")
        return
    change = next(
        each for each in changes(options.rows, options.dim, options.folder / "sources") if " 1 %" in each.name
    )
    source = work / "index.hnswlib"
    times: dict[str, list[float]] = {"restic": [], "restic, opening only": [], "vark": []}
    for _ in range(options.rounds):
        shutil.copyfile(change.before, source)
        repository = _fresh(work / "vark")
        repository.backup(source, name="index")
        other = work / "restic"
        shutil.rmtree(other, ignore_errors=True)
        restic(other, "init")
        restic(other, "backup", str(source))
        shutil.copyfile(change.after, source)
        os.sync()
        # Deriving the key from the password takes restic a while: opening the repository alone is timed, too.
        times["restic, opening only"].append(_seconds(restic, other, "cat", "config"))
        times["restic"].append(_seconds(restic, other, "backup", str(source)))
        times["vark"].append(_seconds(repository.backup, source, name="index"))
    median = {name: statistics.median(seconds) for name, seconds in times.items()}
    theirs = median["restic"] - median["restic, opening only"]
    print(
        f"\n1 % updated: vark {median['vark']:.2f} s, restic {theirs:.2f} s without opening its repository: "
        f"{median['vark'] / theirs:.3f} × (goal ≤ 0.1 ×)"
    )


if __name__ == "__main__":
    sys.exit(main())
