"""One picture of a run: for each source, time of each tool beside cp, and how small its archive is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from compare import Record
from figures import Figure

STEPS = {"backup": "tab:blue", "restore": "tab:orange"}
ROW_INCHES, PANEL_INCHES, WIDTH_INCHES = 0.3, 1.3, 10


def draw(figures: list[Figure], tables: dict[str, list[Record]], path: Path) -> str:
    """Draw into `path` and return "", or return why nothing was drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        return "no plot: matplotlib is not installed (pip install matplotlib)"
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    asked = [figure for figure in figures if figure.goal is not None and figure.value is not None]
    panels = [(f"{rows}: {source}", part) for rows, records in tables.items() for source, part in _by_source(records)]
    if not asked and not panels:
        return "no plot: nothing was measured"
    heights = [len(asked)] * bool(asked) + [len(_tools(part)) * 2 for _, part in panels]
    inches = sum(heights) * ROW_INCHES + len(heights) * PANEL_INCHES
    figure, axes = plt.subplots(
        len(heights), figsize=(WIDTH_INCHES, inches), height_ratios=heights, squeeze=False, layout="constrained"
    )
    places = list(axes[:, 0])
    if asked:
        _draw_goals(places.pop(0), asked)
    for place, (title, part) in zip(places, panels, strict=True):
        _draw_tools(place, title, part)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return ""


def _by_source(records: list[Record]) -> list[tuple[str, list[Record]]]:
    measured = [record for record in records if record["step"] in STEPS]
    names = dict.fromkeys(record["source"] for record in measured)
    return [(name, [record for record in measured if record["source"] == name]) for name in names]


def _tools(part: list[Record]) -> list[str]:
    return list(dict.fromkeys(record["tool"] for record in part))


def _draw_goals(axes: Any, asked: list[Figure]) -> None:
    """Draw each figure as a share of its goal, turned so that 1 or less is met."""
    shares = []
    for figure in asked:
        share = figure.value.median / figure.goal.limit
        shares.append(share if figure.goal.at_most else 1 / share)
    colours = ["tab:green" if figure.met else "tab:red" for figure in asked]
    axes.barh([f"{figure.case}: {figure.name} ({figure.goal})" for figure in asked], shares, color=colours)
    axes.axvline(1, color="black", linewidth=1)
    axes.set(title="goals: 1 or less is met", xlabel="share of the goal", xscale="log")
    axes.tick_params(axis="y", labelsize=7)
    axes.invert_yaxis()


def _draw_tools(axes: Any, title: str, part: list[Record]) -> None:
    names = _tools(part)
    ratios = {record["tool"]: record["ratio"] for record in part}
    for number, (step, colour) in enumerate(STEPS.items()):
        of_step = {record["tool"]: record for record in part if record["step"] == step}
        medians = [of_step[name]["to_cp"] for name in names]
        ends = [[of_step[name][f"to_cp{end}"] for name in names] for end in ("_low", "_high")]
        below = [median - low for median, low in zip(medians, ends[0], strict=True)]
        above = [high - median for median, high in zip(medians, ends[1], strict=True)]
        places = [place + (number - 0.5) * 0.4 for place in range(len(names))]
        axes.barh(places, medians, 0.4, xerr=[below, above], color=colour, ecolor="gray", label=step)
    axes.set_yticks(range(len(names)), [f"{name} ({ratios[name]:.2f})" for name in names])
    axes.set(title=f"{title} (in brackets: archive ratio)", xlabel="time as a multiple of cp's", xscale="log")
    axes.axvline(1, color="black", linewidth=1)
    axes.invert_yaxis()
    axes.legend()
