"""The demo ends with its table and the exit code 0, and says so when something differs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

DEMO = Path(__file__).resolve().parent.parent / "demo"


def run_demo(*arguments, code=None):
    """Run the demo as `make demo` does, or `code` in its folder."""
    command = [sys.executable, *(["-c", code] if code else [str(DEMO / "run.py")]), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(DEMO), *filter(None, sys.path)])}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=170)


def test_the_demo_proves_what_it_says(tmp_path):
    done = run_demo("--rows", 1000, "--keep", tmp_path / "kept")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(faiss HNSW|faiss IVF-PQ|hnswlib), (file|live) +(\d.*)$", done.stdout, re.MULTILINE)
    assert [row[:2] for row in rows] == [
        ("faiss HNSW", "file"),
        ("faiss HNSW", "live"),
        ("faiss IVF-PQ", "file"),
        ("hnswlib", "file"),
        ("hnswlib", "live"),
    ]
    for *_, cells in rows:
        assert cells.split()[-3:-1] == ["yes", "yes"]
        assert 0.4 < float(cells.split()[-1]) <= 1
    assert 'block: stream "vectors" rows ' in done.stdout
    assert "FAILED" not in done.stdout
    assert len(list((tmp_path / "kept").glob("*.vark"))) == 2 * len(rows)


def test_the_demo_fails_when_answers_differ():
    code = (
        "import sys, indexes, run; read = indexes._read_hnswlib\n"
        "def other(path, dimension):\n"
        "    index = read(path, dimension); index.set_ef(indexes.K); return index\n"
        "indexes._read_hnswlib = other\n"
        "sys.exit(run.main(['--rows', '1000']))"
    )
    done = run_demo(code=code)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^hnswlib, file .* yes +NO ", done.stdout, re.MULTILINE)
    assert "FAILED: 250 queries: ids and distances as before the backup" in done.stdout


def test_the_demo_names_a_matrix_that_will_not_do(tmp_path):
    np.save(tmp_path / "small.npy", np.zeros((10, 8), np.float32))
    done = run_demo("--data", tmp_path / "small.npy")
    assert done.returncode == 1
    assert "expected 1,000 rows or more" in done.stderr


@pytest.mark.parametrize("part", [1, 2, 3])
def test_the_demo_has_real_rows_of_unit_length(part):
    path = DEMO / "data" / f"sentences-{part}.npy"
    rows = np.load(path)
    assert (rows.shape, rows.dtype) == ((1344, 384), np.float32)
    assert path.stat().st_size <= 2 << 20
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
