"""The README's example runs as it is printed, and its table of figures has figures."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_example_runs_as_printed(tmp_path):
    assert len(EXAMPLES) == 1
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", EXAMPLES[0]]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vectors" in done.stdout
    assert "recall=1.0" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["products.faiss", "products.vark"]


def test_the_table_of_figures_is_filled():
    figures = README.partition("<!-- figures: begin")[2].partition("<!-- figures: end")[0]
    assert len(re.findall(r"^\|.*\| vark \|.*\d\.\d+.*\|$", figures, re.MULTILINE)) >= 2
    assert "make bench" in figures
