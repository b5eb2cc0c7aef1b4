"""The benchmark still runs: its pure parts, and every kind of case on a few rows. No time is looked at."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

import bench
import figures
import machine
import peak
import report
import rivals
import rows
import timing
import tool


def test_times_give_the_median_the_spread_and_the_ratio_of_each_round():
    times = timing.Times({"cp": [1.0, 2.0, 4.0], "vark": [2.0, 2.0, 2.0]})
    assert times.ratio("vark", "cp") == (1.0, 0.5, 2.0)
    assert times.rate("cp", 4_000_000_000) == (2.0, 1.0, 4.0)


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    monkeypatch.setattr(timing, "FREE_BYTES", timing.WARM_BYTES)


def test_a_race_warms_up_shuffles_each_round_and_cleans_up(tmp_path):
    order, target = [], tmp_path / "made"
    steps = [timing.Step(name, lambda name=name: order.append(name) or target.touch(), target) for name in "abcd"]
    times = timing.race(steps, 4)
    rounds = ["".join(order[first : first + 4]) for first in range(0, 20, 4)]
    assert all(sorted(found) == list("abcd") for found in rounds)
    assert len(set(rounds)) > 1
    assert {name: len(seconds) for name, seconds in times.items()} == dict.fromkeys("abcd", 4)
    assert not target.exists()


def test_a_goal_is_met_by_the_median_and_never_by_what_was_not_measured():
    assert figures.plain("c", "n", 1.0, figures.Goal(1.0)).met is True
    assert figures.plain("c", "n", 1.29, figures.at_least(1.3)).met is False
    assert figures.plain("c", "n", 1.0).met is None
    assert figures.absent("c", "n", figures.Goal(1.0), "why").met is None


def test_tables_list_what_is_not_installed_and_what_was_not_measured():
    text = report.figure_table([figures.absent("4 load", "n", figures.Goal(0.5), "not | yet")])
    assert text.splitlines()[-1] == "| 4 load | n | – | ≤ 0.5 | not measured |  |  | not ¦ yet |"
    text = report.tool_table([{"source": "s", "tool": "Lance", "step": "missing", "needs": "pip install pylance"}])
    assert "| s | Lance | not installed: `pip install pylance` |" in text
    assert tool.missing_package("json", "x") == ""
    assert tool.missing_command("no-such-command-here", "x") == "apt-get install x"


def test_rows_of_half_precision_were_rounded_before_they_were_normalised():
    values = rows.clustered(300, 8).values
    assert np.allclose(np.linalg.norm(values, axis=1), 1, atol=1e-6)
    ties = np.array([[1 + 2**-8, 1 + 3 * 2**-8, 1.0, 0.0]], np.float32)  # between two bf16: to the even one
    assert np.array_equal(rows.once_half(ties, "bf16"), rows.unit(np.array([[1, 1 + 2**-6, 1, 0]], np.float32)))
    assert np.array_equal(rows.once_half(values, "f16"), rows.unit(values.astype("f2").astype("f4")))


def test_the_machine_is_described(tmp_path):
    facts = machine.facts(tmp_path)
    assert set(facts["versions"]) >= {"vark", "numpy", "cp (command)", "restic (command)"}
    assert facts["cores"] >= 1
    assert str(facts["cores"]) in machine.sentence(facts)


def test_the_peak_of_a_step_is_at_least_what_was_there():
    found = peak.run(lambda: bytes(1 << 20))
    assert found["peak_bytes"] >= found["baseline_bytes"] > 1 << 20


def test_a_tool_that_gives_back_something_else_is_refused(tmp_path):
    source = bench.source_of("npy", rows.clustered(300, 8), tmp_path / "kept")
    wrong = tool.Tool("wrong", lambda s, a: a.write_bytes(b"x"), lambda s, a, t: t.write_bytes(b"y"))
    with pytest.raises(tool.DiffersError, match="what comes back differs"):
        tool.check(wrong, source, tmp_path / "archive", tmp_path / "target")


def test_a_comparison_lists_the_tools_that_are_not_installed_or_fail(tmp_path):
    source = bench.source_of("npy", rows.clustered(300, 8), tmp_path / "kept")
    absent = tool.Tool("absent", None, None, needs="pip install absent")
    broken = tool.Tool("broken", lambda s, a: 1 / 0, None)
    (tmp_path / "scratch").mkdir()
    records = bench.compare(source, [*rivals.tools()[:2], absent, broken], tmp_path / "scratch", 1)
    assert [record["step"] for record in records] == ["backup", "restore"] * 2 + ["missing", "failed"]
    assert "| vectors .npy | broken | FAILED: ZeroDivisionError" in report.tool_table(records)
    assert "| vectors .npy | absent | not installed: `pip install absent` |" in report.tool_table(records)


def test_every_tool_names_what_it_needs():
    tools = rivals.tools()
    assert [tool.name for tool in tools[:2]] == list(rivals.BASES)
    assert {"vark", "vark, sync", "Lance", "pcodec", "restic", "borg, zstd 1"} <= {tool.name for tool in tools}
    assert all(tool.needs == "" or " install " in tool.needs for tool in tools)


def test_a_tiny_run_measures_checks_and_writes_its_report(tmp_path, capsys):
    size = ["--rows", "300", "--dim", "8", "--goal-rows", "500", "--goal-dim", "16", "--rounds", "1"]
    parts = ["--parts", "goals", "scale", "--cases", "file", "vectors", "links", "lists"]
    table = ["--table-rounds", "1", "--tools", "vark", "np.save, np.load", "--sources", "faiss", "npy"]
    assert bench.main([*size, *parts, *table, "--folder", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text == (tmp_path / "bench.md").read_text() + "\n"
    assert text.count("| vark |") == 2
    assert "| 1 pack HNSWFlat | durable, to cp with sync |" in text
    lines = [json.loads(line) for line in (tmp_path / "bench.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines} == {"figure", "backup", "restore", "verify"}
    assert all(line["to_cp"] > 0 for line in lines if line["step"] == "backup")
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".png") == [
        "bench.jsonl",
        "bench.md",
        "sources",
    ]
