"""Every index type × rows × dimension: split natively, restored byte for byte by the engine and by spec/reader.py."""

import contextlib
import os

import faiss
import pyarrow as pa
import pytest
import reader

import vark
from indexes import DIMENSIONS, FAISS, HNSWLIB, HNSWLIB_STREAMS, ROW_COUNTS, build_faiss, build_hnswlib, rows


@contextlib.contextmanager
def quiet():
    """faiss warns on stderr, from C++, that so few training rows are few."""
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def prove(source, streams, count, tmp_path):
    """Pack with a payload, look at the stream table, restore twice, compare bytes."""
    archive_path = tmp_path / "a.vark"
    payload = pa.table({"title": [f"row {number}" for number in range(count)]})
    report = vark.write_archive(source, archive_path, payload=payload, sync=False)
    assert report.members[0].warning is None
    with vark.open_archive(archive_path) as archive:
        names = {info.name for info in archive.streams}
        assert streams <= names, names
        assert "opaque" not in names
        framing = next(info.raw_bytes for info in archive.streams if info.name == "literal")
        assert framing < 4096, "only framing is literal"
        archive.restore(tmp_path / "restored", sync=False)
        assert archive.payload().equals(payload)
        assert archive.verify().ok
    expected = source.read_bytes()
    assert (tmp_path / "restored").read_bytes() == expected
    reader.Archive(str(archive_path)).restore(str(tmp_path / "by-reader"))
    assert (tmp_path / "by-reader").read_bytes() == expected
    return archive_path


@pytest.mark.parametrize("dim", DIMENSIONS)
@pytest.mark.parametrize("kind", FAISS)
@pytest.mark.parametrize("count", ROW_COUNTS)
def test_a_faiss_index_comes_back_byte_for_byte(kind, count, dim, tmp_path):
    source = tmp_path / "source.faiss"
    with quiet():
        faiss.write_index(build_faiss(kind, count, dim), str(source))
    prove(source, FAISS[kind][1], count, tmp_path)


def test_a_learned_rotation_comes_back_byte_for_byte(tmp_path):
    """Apart from the others: its training takes seconds whatever the size."""
    with quiet():
        index = faiss.index_factory(3, "OPQ3,IVF2,PQ3x4")
        index.train(rows(400, 3))
        index.add(rows(100, 3))
        faiss.write_index(index, str(tmp_path / "source.faiss"))
    prove(tmp_path / "source.faiss", FAISS["rotation-ivf-pq"][1], 100, tmp_path)


@pytest.mark.parametrize("dim", DIMENSIONS)
@pytest.mark.parametrize("kind", HNSWLIB)
@pytest.mark.parametrize("count", ROW_COUNTS)
def test_an_hnswlib_index_comes_back_byte_for_byte(kind, count, dim, tmp_path):
    source = tmp_path / "source.bin"
    build_hnswlib(kind, count, dim).save_index(str(source))
    prove(source, HNSWLIB_STREAMS, count, tmp_path)
