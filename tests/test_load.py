"""Live objects out of an archive: read-only faiss indexes in the decoded bytes, hnswlib by its own state."""

from __future__ import annotations

import faiss
import hnswlib
import numpy as np
import pytest

import vark
from vark.adapters import hnswlib_

ROWS, DIM = 2_000, 16
FACTORIES = ["Flat", "HNSW16", "HNSW16_SQ8", "IVF16,Flat", "IVF16,PQ4x4", "SQ8", "PCA8,Flat", "IDMap,Flat", "PQ4x4"]


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(5).standard_normal((ROWS, DIM), dtype=np.float32)


def packed(source, folder, **settings):
    vark.write_archive(source, folder / "x.vark", replace=True, **settings)
    return vark.open_archive(folder / "x.vark")


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_read_only_index_answers_as_the_writable_one(tmp_path, rows, factory):
    index = faiss.index_factory(DIM, factory)
    index.train(rows)
    if factory.startswith("IDMap"):
        index.add_with_ids(rows, np.arange(ROWS) + 9)
    else:
        index.add(rows)
    with packed(index, tmp_path) as archive:
        found = archive.load(writable=False)
    assert isinstance(found, type(index))
    for expected, answer in zip(index.search(rows[:50], 4), found.search(rows[:50], 4), strict=True):
        assert np.array_equal(expected, answer)
    assert faiss.serialize_index(found).tobytes() == faiss.serialize_index(index).tobytes()


def test_a_read_only_index_refuses_changes_instead_of_ending_the_process(tmp_path, rows):
    index = faiss.IndexHNSWFlat(DIM, 8)
    index.add(rows)
    with packed(index, tmp_path) as archive:
        found = archive.load(writable=False)
        writable = archive.load()
    for change in (found.add, found.reset, found.train, found.merge_from, found.add_sa_codes, found.remove_ids):
        with pytest.raises(vark.InvalidArgumentError, match="writable=True"):
            change(rows)
    writable.add(rows[:10])
    assert (found.ntotal, writable.ntotal) == (ROWS, ROWS + 10)


def test_no_method_that_changes_a_read_only_list_gets_through(tmp_path, rows):
    index = faiss.index_factory(DIM, "IVF16,Flat")
    index.train(rows)
    index.add(rows)
    with packed(index, tmp_path) as archive:
        found = archive.load(writable=False)
    for name in ("add_core", "add_with_ids", "update_vectors", "remove_ids", "merge_from", "set_direct_map_type"):
        with pytest.raises(vark.InvalidArgumentError, match="writable=True"):
            getattr(found, name)()


def test_vectors_of_a_read_only_index_are_aligned(tmp_path, rows):
    index = faiss.IndexHNSWFlat(DIM, 8)
    index.add(rows)
    with packed(index, tmp_path) as archive:
        found = archive.load(writable=False)
    codes = faiss.downcast_index(found.storage).codes
    assert not codes.is_owned
    assert faiss.rev_swig_ptr(codes.data(), codes.size()).ctypes.data % 64 == 0


@pytest.mark.parametrize("space", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("count", [1, 2, ROWS])
def test_hnswlib_comes_back_with_deletions_levels_and_room_for_more(tmp_path, rows, space, count):
    index = hnswlib.Index(space, DIM)
    index.init_index(count + 50, M=4, ef_construction=30)
    index.add_items(rows[:count], np.arange(count) * 7 + 3)
    if count > 2:
        index.mark_deleted(3)
        index.mark_deleted(10)
    index.set_ef(60)
    with packed(index, tmp_path) as archive:
        found = archive.load()
        archive.restore(tmp_path / "restored.hnsw")
    k = min(5, count)
    for expected, answer in zip(index.knn_query(rows[:20], k), found.knn_query(rows[:20], k), strict=True):
        assert np.array_equal(expected, answer)
    assert (found.element_count, found.max_elements, found.M, found.ef) == (count, count + 50, 4, 60)
    if count > 2:
        found.unmark_deleted(10)
        with pytest.raises(RuntimeError, match="not deleted"):
            found.unmark_deleted(17)
    found.add_items(rows[:5], np.arange(5) + 10**6)
    assert found.element_count == count + 5


def test_hnswlib_state_is_that_of_its_own_pickles(rows, tmp_path):
    index = hnswlib.Index("l2", DIM)
    index.init_index(ROWS, M=6, ef_construction=30)
    index.add_items(rows)
    index.save_index(str(tmp_path / "x.hnsw"))
    with packed(tmp_path / "x.hnsw", tmp_path) as archive:
        loaded = archive.load(space="l2")
    (expected,), (found,) = index.__getstate__(), loaded.__getstate__()
    assert expected.keys() == found.keys()
    order = {name: np.argsort(state["label_lookup_external"]) for name, state in (("e", expected), ("f", found))}
    for key, value in expected.items():
        if key.startswith("label_lookup"):
            assert np.array_equal(value[order["e"]], found[key][order["f"]]), key
        elif key not in {"seed", "num_threads", "ef"}:
            assert np.array_equal(value, found[key]), key


def test_an_hnswlib_file_that_asks_for_too_much_room_is_refused(tmp_path, rows):
    index = hnswlib.Index("l2", DIM)
    index.init_index(ROWS, M=16, ef_construction=5)  # hnswlib makes it 16
    index.add_items(rows)
    index.save_index(str(tmp_path / "x.hnsw"))
    data = bytearray((tmp_path / "x.hnsw").read_bytes())
    data[8:16] = (2**32 - 1).to_bytes(8, "little")
    (tmp_path / "huge.hnsw").write_bytes(data)
    data[8:16] = (ROWS).to_bytes(8, "little")
    data[88:96] = (3).to_bytes(8, "little")
    (tmp_path / "narrow.hnsw").write_bytes(data)
    with packed(tmp_path / "huge.hnsw", tmp_path) as archive, pytest.raises(vark.LimitError, match="room"):
        archive.load(space="l2")
    with packed(tmp_path / "narrow.hnsw", tmp_path) as archive:
        assert archive.load(space="l2").element_count == ROWS


def test_an_empty_hnswlib_index_loads_from_its_file(tmp_path):
    index = hnswlib.Index("l2", DIM)
    index.init_index(10)
    with packed(index, tmp_path) as archive:
        assert archive.load().element_count == 0
    nothing = np.empty(0, np.uint32)
    facts = {"ntotal": 0, "M": 16, "vector_bytes": 4 * DIM, "ef_construction": 200}
    assert hnswlib_.hnswlib_state(np.zeros(96, np.uint8), facts, nothing, nothing, "l2") is None


def test_a_member_above_the_limit_is_not_loaded(tmp_path, rows):
    with packed(rows, tmp_path) as archive, pytest.raises(vark.LimitError, match="max_bytes"):
        archive.load(max_bytes="1KiB")


def test_rows_are_read_by_any_number_of_threads(tmp_path):
    array = np.random.default_rng(8).standard_normal((9_000, 200), dtype=np.float32)
    with packed(array, tmp_path) as archive:
        view = archive["vectors"]
        for threads in (None, 1, 2, 5):
            for first, count in ((0, 9_000), (1, 8_999), (700, 5_001), (8_999, 1), (0, 0)):
                out = np.full((count, 200), 7, np.float32)
                view.read_into(first, count, out, threads=threads)
                assert np.array_equal(out, array[first : first + count])
        with pytest.raises(vark.InvalidArgumentError):
            view.read_into(5_000, 5_000, np.empty((5_000, 200), np.float32))
