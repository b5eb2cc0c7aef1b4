"""A figure of a case: what was measured, what is asked of it, and whether it is met."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rivals import BASES
from timing import Spread, Times

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit that the issue sets: at most, or at least."""

    limit: float
    at_most: bool = True

    def __str__(self) -> str:
        """Say it, e.g. "≤ 1.0"."""
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"

    def is_met(self, value: float) -> bool:
        """Return whether a value, unrounded, keeps the limit."""
        return value <= self.limit if self.at_most else value >= self.limit


def at_least(limit: float) -> Goal:
    """Return a goal that more is better than."""
    return Goal(limit, at_most=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table. value None: not measured, and note says why. to_cp: only of what was timed."""

    case: str
    name: str
    value: Spread | None
    unit: str = ""
    goal: Goal | None = None
    seconds: list[float] = field(default_factory=list)
    to_cp: float | None = None
    to_cp_sync: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where nothing is asked or nothing was measured."""
        return None if self.goal is None or self.value is None else self.goal.is_met(self.value.median)

    def record(self) -> dict[str, Any]:
        """Return the figure for a line of JSON."""
        value = None if self.value is None else self.value._asdict()
        goal = None if self.goal is None else str(self.goal)
        return {**asdict(self), "value": value, "goal": goal, "met": self.met, "step": "figure"}


def plain(case: str, name: str, value: float, goal: Goal | None = None, *, unit: str = "", note: str = "") -> Figure:
    """Return a figure that no clock has a part in."""
    return Figure(case, name, Spread(value, value, value), unit, goal, note=note)


def absent(case: str, name: str, goal: Goal | None, note: str) -> Figure:
    """Return a figure that could not be measured."""
    return Figure(case, name, None, goal=goal, note=note)


def speed(
    case: str, name: str, times: Times, step: str, byte_count: int, goal: Goal | None = None, note: str = ""
) -> Figure:
    """Return GB/s of a step."""
    return _timed(case, name, times, step, times.rate(step, byte_count), "GB/s", goal, note)


def counted(case: str, name: str, times: Times, step: str, count: int, what: str, goal: Goal, note: str = "") -> Figure:
    """Return millions of things a second of a step."""
    return _timed(case, name, times, step, times.rate(step, 1000 * count), f"M {what}/s", goal, note)


def relative(
    case: str, name: str, times: Times, step: str, base: str, goal: Goal | None = None, note: str = ""
) -> Figure:
    """Return the time of a step as a multiple of another's in the same round."""
    return _timed(case, name, times, step, times.ratio(step, base), "×", goal, note)


def faster(case: str, name: str, times: Times, step: str, base: str, goal: Goal | None = None) -> Figure:
    """Return how many times as fast a step is as another in the same round."""
    return _timed(case, name, times, step, times.ratio(base, step), "×", goal, "")


def _timed(
    case: str, name: str, times: Times, step: str, value: Spread, unit: str, goal: Goal | None, note: str
) -> Figure:
    to_cp, to_cp_sync = (times.ratio(step, base).median if base in times else None for base in BASES)
    return Figure(case, name, value, unit, goal, times[step], to_cp, to_cp_sync, note)
