"""The report: tables for people in Markdown, lines for programs in JSON, figures for the README."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import machine
from compare import Record
from figures import Figure

README = Path(__file__).resolve().parent.parent / "README.md"
FIGURE_HEAD = ("case", "figure", "measured", "goal", "met", "× cp", "× cp, sync", "note")
TOOL_HEAD = ("source", "tool", "archive ratio", "backup GB/s", "× cp", "× cp, sync")
TOOL_HEAD += ("restore GB/s", "× cp", "× cp, sync", "verify GB/s")


def markdown(known: dict[str, Any], command: str, parts: Iterable[tuple[str, str]], failures: list[str]) -> str:
    """Return the whole report: the machine, the command, and each part with its title above its table."""
    absent = [name for name, version in known["versions"].items() if version == machine.ABSENT]
    lines = [machine.sentence(known), f"Not installed: {', '.join(absent) or 'nothing'}.", f"`{command}`"]
    lines += [f"**FAILED** {failure}" for failure in failures]
    return "\n\n".join([*lines, *(f"{title}\n\n{table}" for title, table in parts)]) + "\n"


def figure_table(figures: list[Figure]) -> str:
    """Return the cases: what was measured, what is asked, whether it is met."""
    rows = []
    for figure in figures:
        answer = {True: "yes", False: "**no**", None: "" if figure.value or not figure.goal else "not measured"}
        goal = "" if figure.goal is None else str(figure.goal)
        ratios = (figure.to_cp, figure.to_cp_sync)
        cells = [figure.case, figure.name, measured(figure), goal, answer[figure.met]]
        rows.append([*cells, *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios), figure.note])
    return table(FIGURE_HEAD, rows)


def measured(figure: Figure) -> str:
    """Return median and spread, e.g. "0.98 (0.91–1.07) ×"."""
    if figure.value is None:
        return "–"
    median, low, high = figure.value
    digits = 3 if not figure.seconds and median < 100 else 2
    text = f"{median:.{digits}f}" + (f" ({low:.2f}–{high:.2f})" if figure.seconds else "")
    return f"{text} {figure.unit}".strip()


def tool_table(records: list[Record]) -> str:
    """Return one row for each source and tool, those too that are not installed."""
    by_key = {(record["source"], record["tool"], record["step"]): record for record in records}
    rows = []
    for source, tool in dict.fromkeys((record["source"], record["tool"]) for record in records):
        missing, failed = (by_key.get((source, tool, step)) for step in ("missing", "failed"))
        if missing is not None or failed is not None:
            words = f"not installed: `{missing['needs']}`" if missing else f"FAILED: {failed['error']}"
            rows.append([source, tool, words, *[""] * 7])
            continue
        backup, restore, verify = (by_key.get((source, tool, step)) for step in ("backup", "restore", "verify"))
        cells = [source, tool, f"{backup['ratio']:.3f}" if backup else ""]
        for record in filter(None, (backup, restore)):
            cells += [_speed(record), f"{record['to_cp']:.2f}", f"{record['to_cp_sync']:.2f}"]
        rows.append([*cells, f"{_speed(verify)} {verify['verify_level']}" if verify else ""])
    return table(TOOL_HEAD, rows)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; a bar in a cell would end it, and is written otherwise."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '¦') for cell in line)} |" for line in lines)


def _speed(record: Record) -> str:
    """Return median and spread, e.g. "0.71 (0.66–0.74)"."""
    median, low, high = (record[f"gb_per_second{end}"] for end in ("", "_low", "_high"))
    return f"{median:.2f} ({low:.2f}–{high:.2f})"


def append_json(path: Path, records: Iterable[dict[str, Any]], common: dict[str, Any]) -> None:
    """Append one line for each record; what is measured is kept even when the run is stopped later."""
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps({**record, **common}, sort_keys=True) + "\n" for record in records)


def into_readme(text: str) -> None:
    """Replace the figures in the README."""
    readme = README.read_text(encoding="utf-8")
    begin, end = readme.index("\n", readme.index("<!-- figures: begin")), readme.index("<!-- figures: end")
    README.write_text(f"{readme[:begin]}\n\n{text}\n{readme[end:]}", encoding="utf-8")
