"""Small parts to time with `pytest tests/test_speed.py --benchmark-enable`; each is checked before it is timed.

Otherwise, as in CI, they run once as plain tests.
"""

import os

import numpy as np
import pytest

import vark

ROWS, DIM = 4000, 64


@pytest.fixture(scope="module")
def unit_rows():
    rows = np.random.default_rng(3).standard_normal((ROWS, DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def packed(unit_rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("speed") / "rows.vark"
    vark.write_archive(unit_rows, path, sync=False)
    return path


def test_pack_an_array_without_a_disk(benchmark, unit_rows, packed):
    descriptor = os.open(os.devnull, os.O_WRONLY)

    def pack():
        return vark.write_archive(unit_rows, descriptor, sync=False)

    try:
        assert pack().archive_bytes == packed.stat().st_size
        benchmark(pack)
    finally:
        os.close(descriptor)


def test_read_all_rows(benchmark, unit_rows, packed):
    with vark.open_archive(packed) as archive:
        view = archive["vectors"]
        assert np.array_equal(view[:], unit_rows)
        benchmark(lambda: view[:])


def test_read_a_few_rows_from_everywhere(benchmark, unit_rows, packed):
    numbers = np.random.default_rng(4).integers(0, ROWS, 20)
    with vark.open_archive(packed) as archive:
        view = archive["vectors"]
        assert np.array_equal(view.rows_of(numbers), unit_rows[numbers])
        benchmark(lambda: view.rows_of(numbers))


def test_restore_a_file(benchmark, unit_rows, packed, tmp_path):
    target = tmp_path / "rows.npy"

    def restore():
        with vark.open_archive(packed) as archive:
            archive.restore(target, replace=True, sync=False)

    restore()
    assert np.array_equal(np.load(target), unit_rows)
    benchmark(restore)


@pytest.mark.parametrize("level", ["stored", "full"])
def test_verify(benchmark, packed, level):
    report = vark.verify_archive(packed, level=level)
    assert report.ok
    assert report.checked_bytes > 0
    benchmark(lambda: vark.verify_archive(packed, level=level))
