"""Canonical order: links as sets, smaller; and the archive says that it is not the source byte for byte."""

from __future__ import annotations

import faiss
import hnswlib
import numpy as np
import pytest
import reader

import vark

ROWS, DIM, M = 3_000, 24, 8


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(3).standard_normal((ROWS, DIM), dtype=np.float32)


def links_of(archive_path, stream="links.level0"):
    with vark.open_archive(archive_path) as archive:
        return archive[stream][:], archive[stream].info


def as_sets(table, *, head):
    if head:
        return [frozenset(row[1 : 1 + (int(row[0]) & 0xFFFF)].tolist()) for row in table]
    return [frozenset(row[row >= 0].tolist()) for row in table]


def test_canonical_faiss_graphs_have_the_same_links_and_answers(tmp_path, rows):
    index = faiss.IndexHNSWFlat(DIM, M)
    index.add(rows)
    exact = vark.write_archive(index, tmp_path / "exact.vark")
    canonical = vark.write_archive(index, tmp_path / "canonical.vark", order="canonical", probes=rows[:40])
    assert canonical.archive_bytes < exact.archive_bytes - ROWS
    before, after = links_of(tmp_path / "exact.vark")[0], links_of(tmp_path / "canonical.vark")[0]
    assert as_sets(before, head=False) == as_sets(after, head=False)
    assert not np.array_equal(before, after)
    with vark.open_archive(tmp_path / "canonical.vark") as archive:
        assert archive.metadata["source"]["order"] == "canonical"
        for writable in (True, False):
            report = archive.check_probes(archive.load(writable=writable))
            assert report.recall == 1.0
        archive.restore(tmp_path / "restored.faiss")
    reader.main(["restore", str(tmp_path / "canonical.vark"), str(tmp_path / "by_reader.faiss")])
    restored = (tmp_path / "restored.faiss").read_bytes()
    assert restored == (tmp_path / "by_reader.faiss").read_bytes()
    assert len(restored) == len(faiss.serialize_index(index))
    assert vark.verify_archive(tmp_path / "canonical.vark").ok


def test_canonical_hnswlib_graphs_have_no_stale_slots(tmp_path, rows):
    index = hnswlib.Index("l2", DIM)
    index.init_index(ROWS, M=M, ef_construction=40)
    index.add_items(rows, num_threads=1)
    index.save_index(str(tmp_path / "x.hnsw"))
    vark.write_archive(tmp_path / "x.hnsw", tmp_path / "exact.vark")
    vark.write_archive(tmp_path / "x.hnsw", tmp_path / "canonical.vark", order="canonical")
    before, after = links_of(tmp_path / "exact.vark")[0], links_of(tmp_path / "canonical.vark")[0]
    assert as_sets(before, head=True) == as_sets(after, head=True)
    degrees = after[:, :1] & 0xFFFF
    unused = np.arange(after.shape[1] - 1)[None, :] >= degrees
    assert not after[:, 1:][unused].any()
    with vark.open_archive(tmp_path / "canonical.vark") as archive:
        loaded = archive.load(space="l2")
    loaded.set_ef(50)
    index.set_ef(50)
    assert np.array_equal(np.sort(loaded.knn_query(rows[:50], 5)[0]), np.sort(index.knn_query(rows[:50], 5)[0]))


def test_the_digest_of_a_source_is_no_promise_of_canonical_order(tmp_path):
    with pytest.raises(vark.InvalidArgumentError, match="canonical"):
        vark.write_archive(np.zeros((3, 3)), tmp_path / "x.vark", order="canonical", digest=True)
    with pytest.raises(vark.InvalidArgumentError, match="exact"):
        vark.write_archive(np.zeros((3, 3)), tmp_path / "x.vark", order="sorted")
    assert not (tmp_path / "x.vark").exists()
