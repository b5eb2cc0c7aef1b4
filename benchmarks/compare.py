"""One source, every tool: backup, restore and verification in turns, beside cp in the same round."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import timing
import vark
from rivals import BASES
from sources import Source
from tool import Tool, check

Record = dict[str, Any]


def compare(source: Source, tools: list[Tool], folder: Path, rounds: int) -> list[Record]:
    """Check every tool, time them in turns, and return one record for each step.

    A tool that is not installed, or fails its check, has one record that says so; the others are measured all the same.
    """
    fit = [tool for tool in tools if source.kind in tool.kinds]
    chosen: list[Tool] = []
    faults: dict[str, Record] = {tool.name: {"step": "missing", "needs": tool.needs} for tool in fit if tool.needs}
    print(f"{source.name}: {source.byte_count / 1e6:.0f} MB, {len(fit) - len(faults)} tools", file=sys.stderr)
    steps: list[timing.Step] = []
    archive_bytes: dict[str, int] = {}
    for number, tool in enumerate(tool for tool in fit if not tool.needs):
        kept, target = folder / f"{number}.kept", folder / f"{number}.restored"
        try:
            check(tool, source, kept, target)
        except Exception as error:
            faults[tool.name] = {"step": "failed", "error": repr(error)}
            continue
        finally:
            timing.remove(target)
        chosen.append(tool)
        archive_bytes[tool.name] = _bytes_of(kept)
        steps += _steps(tool, source, kept, target)
    times = timing.race(steps, rounds, free_bytes=2 * source.byte_count)
    records = [
        _record(source, tool, step, times, archive_bytes[tool.name])
        for tool in chosen
        for step in ("backup", "restore", "verify")
        if f"{tool.name} {step}" in times
    ]
    return [*records, *({"tool": name, "source": source.name, **fault} for name, fault in faults.items())]


def _steps(tool: Tool, source: Source, kept: Path, target: Path) -> list[timing.Step]:
    fresh = kept.with_suffix(".fresh")

    def before_backup() -> None:
        timing.warm(source.path)
        if tool.prepare is not None:
            tool.prepare(fresh)

    # Archives of all tools may be more than memory: without warming, each would push another out of the page cache.
    def before_restore() -> None:
        timing.warm(kept)

    steps = [
        timing.Step(f"{tool.name} backup", lambda: tool.backup(source, fresh), fresh, before_backup),
        timing.Step(f"{tool.name} restore", lambda: tool.restore(source, kept, target), target, before_restore),
    ]
    level = tool.verify_level
    if level is not None:
        verify = lambda: vark.verify_archive(kept, level=level)  # noqa: E731
        steps.append(timing.Step(f"{tool.name} verify", verify, None, before_restore))
    return steps


def _record(source: Source, tool: Tool, step: str, times: timing.Times, archive_bytes: int) -> Record:
    """Return speed of the source's bytes, and the time as multiples of what cp took in the same round."""
    name, base_step = f"{tool.name} {step}", "restore" if step == "restore" else "backup"
    rate = times.rate(name, source.byte_count)
    record = {
        "source": source.name,
        "source_bytes": source.byte_count,
        "tool": tool.name,
        "step": step,
        "verify_level": tool.verify_level if step == "verify" else None,
        "archive_bytes": archive_bytes,
        "ratio": source.byte_count / archive_bytes,
        "seconds": times[name],
        "gb_per_second": rate.median,
        "gb_per_second_low": rate.low,
        "gb_per_second_high": rate.high,
    }
    for key, base in zip(("to_cp", "to_cp_sync"), BASES, strict=True):
        ratio = times.ratio(name, f"{base} {base_step}")
        record |= {key: ratio.median, f"{key}_low": ratio.low, f"{key}_high": ratio.high}
    return record


def _bytes_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
