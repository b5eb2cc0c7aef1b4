"""Large sources: memory stays within its bound, and a row costs two reads at most."""

import os
import subprocess
import sys

import numpy as np
import pytest

import vark

GIB = 1 << 30
# Peak memory in its own process: what packing adds to an interpreter that has everything imported.
CHILD = """
import sys, vark, numpy
def peak():  # VmHWM and not ru_maxrss, which a child inherits from its parent
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:")) * 1024
before = peak()
vark.write_archive(sys.argv[1], sys.argv[2], sync=False)
packed = peak()
assert vark.verify_archive(sys.argv[2]).ok
with vark.open_archive(sys.argv[2]) as archive:
    archive.restore(sys.argv[3], sync=False)
print(packed - before, peak() - before)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A sparse .npy of 4 GiB whose rows are zero but for some, and its archive."""
    folder = tmp_path_factory.mktemp("large")
    source = folder / "large.npy"
    array = np.lib.format.open_memmap(source, mode="w+", dtype=np.float32, shape=(4 * GIB // 1024, 256))
    known = np.random.default_rng(3).standard_normal((3, 256), dtype=np.float32)
    array[[0, 1_234_567, len(array) - 1]] = known
    array.flush()
    del array
    arguments = [sys.executable, "-c", CHILD, source, folder / "large.vark", folder / "restored.npy"]
    result = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return folder, known, [int(number) for number in result.stdout.split()]


def test_memory_is_bounded(large, capsys):
    _, _, (packing, all_in_all) = large
    with capsys.disabled():
        print(f"\n4 GiB: packing adds {packing >> 20} MiB, with verify and restore {all_in_all >> 20} MiB")
    assert packing <= 300 << 20
    assert all_in_all <= 300 << 20


def test_opening_reads_once_and_a_row_costs_two(large):
    folder, known, _ = large
    with vark.open_archive(folder / "large.vark") as archive:
        reads, read_bytes = archive._reader.io_counts()
        assert reads == 1
        assert read_bytes <= 262_144
        assert np.array_equal(archive["vectors"][1_234_567], known[1])
        assert archive._reader.io_counts()[0] == 3
        assert np.array_equal(archive["vectors"][-1], known[2])


def test_a_row_of_a_small_archive_costs_one_read(tmp_path):
    vectors = np.random.default_rng(1).standard_normal((400 * 64, 2048), dtype=np.float32)  # 400 chunks
    vark.write_archive(vectors, tmp_path / "small.vark", sync=False)
    with vark.open_archive(tmp_path / "small.vark") as archive:
        assert archive.streams[1].chunk_count == 400
        reads, read_bytes = archive._reader.io_counts()
        assert reads == 1
        assert read_bytes <= 262_144
        assert np.array_equal(archive["vectors"][20_000], vectors[20_000])
        assert archive._reader.io_counts()[0] == 2


def test_restoring_the_large_file_gives_its_bytes(large):
    folder, known, _ = large
    restored = np.load(folder / "restored.npy", mmap_mode="r")
    assert restored.shape == (4 * GIB // 1024, 256)
    assert np.array_equal(restored[[0, 1_234_567, len(restored) - 1]], known)
    assert os.path.getsize(folder / "restored.npy") == os.path.getsize(folder / "large.npy")
