"""The README's example runs as it is printed, and its table of figures has figures."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def run(example, folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", example]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_examples_run_as_printed(tmp_path):
    assert len(EXAMPLES) == 2
    said = run(EXAMPLES[0], tmp_path)
    assert "vectors" in said
    assert "recall=1.0" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["products.faiss", "products.vark"]
    assert "% of the first is new" in run(EXAMPLES[1], tmp_path)
    assert (tmp_path / "backups" / "vark.json").exists()


def test_the_table_of_figures_is_filled():
    figures = README.partition("<!-- figures: begin")[2].partition("<!-- figures: end")[0]
    assert len(re.findall(r"^\|.*\| vark \|.*\d\.\d+.*\|$", figures, re.MULTILINE)) >= 2
    assert "make bench" in figures
