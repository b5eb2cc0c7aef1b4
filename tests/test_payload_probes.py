"""Payload and probes: rows of a table beside the vectors; queries with answers that prove a restore."""

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import vark
from vark.probes import Probes, check, exact_answers


@pytest.fixture
def table():
    return pyarrow.table({"id": np.arange(600) * 3, "text": [f"row {n}" for n in range(600)]})


def test_a_payload_comes_back_whole_and_by_rows(tmp_path, vectors, table):
    vark.write_archive(vectors, tmp_path / "a.vark", payload=table)
    with vark.open_archive(tmp_path / "a.vark") as archive:
        assert archive.payload().equals(table)
        assert archive.payload(rows=[599, 0, 7, 7])["id"].to_pylist() == [1797, 0, 21, 21]
        assert archive.payload(rows=slice(10, 13))["id"].to_pylist() == [30, 33, 36]
        assert archive.payload(rows=slice(595, None)).num_rows == 5
        assert archive.payload(rows=[]).num_rows == 0
        with pytest.raises(vark.InvalidArgumentError):
            archive.payload(rows=[600])
        with pytest.raises(vark.InvalidArgumentError):
            archive.payload(rows=slice(0, 10, 2))
        assert archive.metadata["payload"] == {
            "stream": "payload",
            "format": "arrow-ipc-stream",
            "rows": 600,
            "key": None,
        }


def test_a_parquet_file_and_a_reader_give_the_same_payload(tmp_path, vectors, table):
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=100)
    vark.write_archive(vectors, tmp_path / "a.vark", payload=tmp_path / "rows.parquet")
    vark.write_archive(vectors, tmp_path / "b.vark", payload=table.to_reader(max_chunksize=50))
    for name in ("a.vark", "b.vark"):
        with vark.open_archive(tmp_path / name) as archive:
            assert archive.payload().equals(table)
            assert archive.payload(rows=[555, 3])["text"].to_pylist() == ["row 555", "row 3"]


def test_a_payload_larger_than_a_pipe_streams(tmp_path, vectors):
    big = pyarrow.table({"blob": [bytes(9_000)] * 600})
    vark.write_archive(vectors, tmp_path / "a.vark", payload=big)
    with vark.open_archive(tmp_path / "a.vark") as archive:
        assert archive.payload().equals(big)


def test_rows_must_match_the_vectors_or_have_a_key(tmp_path, vectors, table, faiss_index):
    few = table.slice(0, 10)
    for source in (vectors, faiss_index):
        with pytest.raises(vark.InvalidArgumentError, match="10 rows for 600"):
            vark.write_archive(source, tmp_path / "a.vark", payload=few)
    with pytest.raises(vark.InvalidArgumentError, match="nothing"):
        vark.write_archive(vectors, tmp_path / "a.vark", payload=few, payload_key="nothing")
    vark.write_archive(vectors, tmp_path / "a.vark", payload=few, payload_key="id")
    with vark.open_archive(tmp_path / "a.vark") as archive:
        assert archive.metadata["payload"]["key"] == "id"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.vark"]


def test_things_that_are_no_payload_are_refused(tmp_path, vectors):
    (tmp_path / "x.parquet").write_bytes(b"not parquet")
    for payload in ({"a": [1]}, tmp_path / "x.parquet", tmp_path / "none.parquet"):
        with pytest.raises(vark.InvalidArgumentError):
            vark.write_archive(vectors, tmp_path / "a.vark", payload=payload)


@pytest.mark.parametrize("kind", ["faiss", "hnswlib"])
def test_a_restored_index_answers_its_probes_as_before(tmp_path, vectors, kind, request):
    index = request.getfixturevalue(f"{kind}_index")
    vark.write_archive(index, tmp_path / "a.vark", probes={"queries": vectors[:40] + 0.01, "k": 7})
    with vark.open_archive(tmp_path / "a.vark") as archive:
        assert archive.metadata["probes"]["count"] == 40
        assert archive.metadata["probes"]["truth"] == "source"
        report = archive.check_probes(archive.load())
    assert (report.count, report.k, report.recall, report.changed) == (40, 7, 1.0, 0)
    assert report.latency_p50_ms <= report.latency_p95_ms <= report.latency_p99_ms <= report.latency_max_ms


def test_a_changed_index_is_caught_by_its_probes(tmp_path, vectors, faiss_index):
    import faiss

    vark.write_archive(faiss_index, tmp_path / "a.vark", probes=vectors[:40])
    other = faiss.IndexFlatL2(16)
    other.add(vectors[::-1].copy())
    with vark.open_archive(tmp_path / "a.vark") as archive:
        report = archive.check_probes(other)
        assert report.recall < 0.5
        assert report.changed > 30
        with pytest.raises(vark.InvalidArgumentError):
            archive.check_probes("not an index")
        with pytest.raises(vark.InvalidArgumentError):
            archive.check_probes(faiss.IndexFlatL2(3))


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_exact_answers_equal_those_of_a_flat_index(vectors, metric):
    import faiss

    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if metric == "cosine" else vectors
    index = faiss.IndexFlatL2(16) if metric == "l2" else faiss.IndexFlatIP(16)
    index.add(rows)
    queries = vectors[:30] + np.float32(0.25)
    asked = queries / np.linalg.norm(queries, axis=1, keepdims=True) if metric == "cosine" else queries
    expected_distances, expected = index.search(asked, 10)
    ids, distances = exact_answers(vectors, queries, k=10, metric=metric)
    assert np.array_equal(ids, expected)
    near = expected_distances if metric == "l2" else 1 - expected_distances
    assert np.allclose(distances, near, atol=1e-4)


def test_exact_answers_read_an_archive_in_blocks(archive_path, vectors):
    with vark.open_archive(archive_path) as archive:
        ids, _ = exact_answers(archive["vectors"], vectors[:5], k=1, metric="l2")
        assert ids[:, 0].tolist() == [0, 1, 2, 3, 4]
        assert archive.metadata["probes"] == {"count": 20, "k": 5, "truth": "exact", "metric": "l2"}


def test_ties_count_as_found():
    import faiss

    rows = np.zeros((4, 2), np.float32)
    index = faiss.IndexFlatL2(2)
    index.add(rows)
    probes = Probes(rows[:1], np.array([[3, 2]]), np.zeros((1, 2), np.float32), "l2", "exact")
    report = check(probes, index)
    assert report.recall == 1.0
    assert report.changed == 1


def test_fewer_rows_than_k_are_marked_and_still_complete(tmp_path):
    import faiss

    index = faiss.IndexFlatL2(4)
    index.add(np.eye(4, dtype=np.float32)[:3])
    vark.write_archive(index, tmp_path / "a.vark", probes=np.eye(4, dtype=np.float32))
    with vark.open_archive(tmp_path / "a.vark") as archive:
        assert archive["probe.ids"].shape == (4, 10)
        assert (archive["probe.ids"][:, 3:] == -1).all()
        assert archive.check_probes(archive.load()).recall == 1.0


@pytest.mark.parametrize("queries", [None, [1.0, 2.0], np.zeros((0, 4)), np.array([["a"]])])
def test_queries_of_a_wrong_shape_are_refused(tmp_path, vectors, queries):
    with pytest.raises(vark.InvalidArgumentError, match="queries"):
        vark.write_archive(vectors, tmp_path / "a.vark", probes={"queries": queries})


def test_a_file_takes_its_probes_from_the_index_it_was_saved_from(tmp_path, vectors, faiss_index):
    import faiss

    faiss.write_index(faiss_index, str(tmp_path / "a.faiss"))
    probes = {"queries": vectors[:30], "index": faiss_index}
    vark.write_archive(tmp_path / "a.faiss", tmp_path / "a.vark", probes=probes, sync=False)
    with vark.open_archive(tmp_path / "a.vark") as archive:
        report = archive.check_probes(archive.load())
    assert (report.truth, report.recall, report.changed) == ("source", 1.0, 0)
    with pytest.raises(vark.InvalidArgumentError, match="index="):
        vark.write_archive(tmp_path / "a.faiss", tmp_path / "b.vark", probes=vectors[:30])


def test_batches_and_single_searches_agree_where_faiss_rounds_differently(tmp_path, vectors):
    import faiss

    index = faiss.index_factory(vectors.shape[1], "IVF8,Flat")
    index.train(vectors)
    index.add(vectors)
    vark.write_archive(index, tmp_path / "a.vark", probes=vectors, sync=False)
    with vark.open_archive(tmp_path / "a.vark") as archive:
        assert archive.check_probes(archive.load()).changed == 0
