"""Measure vark against cp, zstd and the libraries' own I/O; print one Markdown table, keep JSON lines.

Every round trip is checked before it is timed; tools take turns within each round; see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sources
import tools

import vark

RESULTS = Path(__file__).resolve().parent / "results"
README = Path(__file__).resolve().parent.parent / "README.md"
BASE = "cp"
PACKAGES = ("faiss-cpu", "hnswlib", "zstandard", "numpy")
# tool, "backup" | "restore" | "verify" -> seconds, one for each round
Times = dict[tuple[str, str], list[float]]


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    options = parse(arguments)
    machine = machine_facts()
    rows, what = sources.rows_of(options.rows, options.dim, options.data)
    title = f"{len(rows):,} × {rows.shape[1]} float32, {what}"
    print(f"{title}\n{machine['cpu']}, {machine['cores']} cores, {options.rounds} rounds", file=sys.stderr)
    lines = []
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for source in sources.sources(rows, options.folder / "sources", options.cases):
            lines += run(source, Path(name), options.rounds)
    for line in lines:
        line |= {"rows": len(rows), "dim": rows.shape[1], "data": what, "machine": machine}
    table = markdown(lines, title, machine, options)
    print(table)
    if options.readme:
        into_readme(table)
    options.folder.joinpath("bench.md").write_text(table, encoding="utf-8")
    with open(options.folder / "bench.jsonl", "a", encoding="utf-8") as file:
        file.writelines(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options; --quick changes the defaults only."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="rows in each source (50,000; quick: 8,000)")
    parser.add_argument("--dim", type=int, default=384, help="dimension (384)")
    parser.add_argument("--data", type=Path, metavar="FILE", help="a .npy matrix instead of mixed demo embeddings")
    parser.add_argument("--rounds", type=int, help="timed rounds after one warm-up (7; quick: 3)")
    parser.add_argument("--cases", nargs="+", default=["faiss", "hnswlib", "npy"], choices=["faiss", "hnswlib", "npy"])
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where sources, archives and results are written")
    parser.add_argument("--readme", action="store_true", help="put the table into the README, too")
    parser.add_argument("--quick", action="store_true", help="small and short: shows that it runs, measures little")
    options = parser.parse_args(arguments)
    options.rows = options.rows or (8_000 if options.quick else 50_000)
    options.rounds = options.rounds or (3 if options.quick else 7)
    return options


def run(source: sources.Source, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Check all tools on a source, then time them in turns; return one record for each tool and operation."""
    chosen = tools.tools()
    print(f"{source.name}: {source.path.stat().st_size / 1e6:.0f} MB", file=sys.stderr)
    steps: list[tuple[str, str, Path, Callable[[], Any]]] = []
    archive_bytes = {}
    for number, tool in enumerate(chosen):
        kept, target = folder / f"{number}.archive", folder / f"{number}.restored"
        tools.check(tool, source, kept, target)
        target.unlink(missing_ok=True)
        archive_bytes[tool.name] = kept.stat().st_size
        fresh = folder / f"{number}.fresh"
        steps.append((tool.name, "backup", fresh, lambda tool=tool, fresh=fresh: tool.backup(source, fresh)))
        steps.append(
            (tool.name, "restore", target, lambda tool=tool, kept=kept, to=target: tool.restore(source, kept, to))
        )
        if tool.verify_level is not None:
            steps.append((tool.name, "verify", target, lambda tool=tool, kept=kept: tool.verify(kept)))
    times = in_turns(steps, rounds)
    for path in folder.iterdir():
        path.unlink()
    levels = {tool.name: tool.verify_level for tool in chosen}
    records = [record(source, name, step, times, archive_bytes[name]) for name, step in times]
    return [{**line, "verify_level": levels[line["tool"]]} for line in records]


def in_turns(steps: list[tuple[str, str, Path, Callable[[], Any]]], rounds: int) -> Times:
    """Time every step once in each round, each round beginning elsewhere; the first round is a warm-up."""
    times: Times = {(name, step): [] for name, step, _, _ in steps}
    for turn in range(rounds + 1):
        shift = turn * 5 % len(steps)
        for name, step, target, work in steps[shift:] + steps[:shift]:
            target.unlink(missing_ok=True)
            os.sync()  # what others left to be written must not be paid by this one
            start = time.perf_counter()
            kept = work()
            seconds = time.perf_counter() - start
            del kept  # freeing a loaded index is not loading it
            target.unlink(missing_ok=True)
            if turn:
                times[name, step].append(seconds)
    return times


def record(source: sources.Source, tool: str, step: str, times: Times, archive_bytes: int) -> dict[str, Any]:
    """Return medians, spread, and the time as a multiple of what cp took in the same round."""
    seconds = times[tool, step]
    source_bytes = source.path.stat().st_size
    base = times[BASE, "restore" if step == "restore" else "backup"]
    return {
        "source": source.name,
        "source_bytes": source_bytes,
        "tool": tool,
        "step": step,
        "archive_bytes": archive_bytes,
        "ratio": source_bytes / archive_bytes,
        "seconds": seconds,
        "gb_per_second": source_bytes / statistics.median(seconds) / 1e9,
        "gb_per_second_low": source_bytes / max(seconds) / 1e9,
        "gb_per_second_high": source_bytes / min(seconds) / 1e9,
        "time_to_cp": statistics.median(own / copy for own, copy in zip(seconds, base, strict=True)),
    }


def machine_facts() -> dict[str, Any]:
    """Return CPU model, cores and versions; nothing that names one machine."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), cpu)
    except OSError:
        pass
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    versions["zstd"] = "command" if tools.ZSTD_COMMAND else "by zstandard"
    versions |= {"vark": vark.__version__, "python": platform.python_version(), "system": platform.system()}
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {"cpu": cpu, "cores": os.cpu_count(), "load": load, "versions": versions}


def markdown(lines: list[dict[str, Any]], title: str, machine: dict[str, Any], options: argparse.Namespace) -> str:
    """Return the table for people, with all that it takes to measure it again."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    chosen = f"--rows {options.rows} --dim {options.dim} --rounds {options.rounds} --cases {' '.join(options.cases)}"
    command = f'make bench BENCH="{chosen}"'
    head = "| source | tool | archive ratio | backup GB/s | × cp | restore GB/s | × cp | verify GB/s |\n"
    place = f"{machine['cpu']}, {machine['cores']} cores, load average {machine['load']} before"
    text = f"{title}.\n{place}; {versions}.\n`{command}`\n\n{head}|{'---|' * 8}\n"
    by_key = {(line["source"], line["tool"], line["step"]): line for line in lines}
    for source, tool in dict.fromkeys((line["source"], line["tool"]) for line in lines):
        backup, restore, verify = (by_key.get((source, tool, step)) for step in ("backup", "restore", "verify"))
        cells = [source, tool, f"{backup['ratio']:.3f}"]
        for line in (backup, restore):
            cells += [speed(line), f"{line['time_to_cp']:.1f}"]
        cells.append(f"{speed(verify)} {verify['verify_level']}" if verify else "")
        text += f"| {' | '.join(cells)} |\n"
    return text


def into_readme(table: str) -> None:
    """Replace the figures in the README."""
    text = README.read_text(encoding="utf-8")
    begin, end = text.index("\n", text.index("<!-- figures: begin")), text.index("<!-- figures: end")
    README.write_text(f"{text[:begin]}\n\n{table}\n{text[end:]}", encoding="utf-8")


def speed(line: dict[str, Any]) -> str:
    """Return median and spread, e.g. "0.71 (0.66–0.74)"."""
    return f"{line['gb_per_second']:.2f} ({line['gb_per_second_low']:.2f}–{line['gb_per_second_high']:.2f})"


if __name__ == "__main__":
    sys.exit(main())
