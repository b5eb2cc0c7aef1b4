"""faiss indexes that may be changed, filled where they will stay: as their files, all their own, and never half."""

from __future__ import annotations

import json
from types import SimpleNamespace

import faiss
import numpy as np
import pytest

import vark
from vark.adapters import base, faiss_, faiss_memory

ROWS, DIM = 3_000, 16
OWNED = ["Flat", "HNSW16", "HNSW16_SQ8", "HNSW16_PQ4x4", "SQ8", "SQfp16", "PQ4x4", "IDMap,Flat", "IDMap2,HNSW8"]
PIPED = ["IVF16,Flat", "IVF16,PQ4x4", "PCA8,Flat", "IDMap,IVF16,Flat"]


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(5).standard_normal((ROWS, DIM), dtype=np.float32)


def built(factory, rows):
    index = faiss.index_factory(DIM, factory)
    index.train(rows)
    if factory.startswith("IDMap"):
        index.add_with_ids(rows, np.arange(len(rows)) * 3 + 9)
    else:
        index.add(rows)
    return faiss.deserialize_index(faiss.serialize_index(index))  # "Flat" becomes an IndexFlatL2


def packed(source, folder, **settings):
    vark.write_archive(source, folder / "x.vark", replace=True, **settings)
    return vark.open_archive(folder / "x.vark")


def content(index):
    return faiss.serialize_index(index).tobytes()


def check_as_built(found, index, rows):
    """It is the index byte for byte, answers alike, and goes on as the other does when rows are added."""
    assert type(found) is type(index)
    assert content(found) == content(index)
    for _ in range(2):
        for expected, answer in zip(index.search(rows[:50], 4), found.search(rows[:50], 4), strict=True):
            assert np.array_equal(expected, answer)
        for one in (index, found):
            if "IDMap" in type(one).__name__:
                one.add_with_ids(rows[:70], np.arange(70))
            else:
                one.add(rows[:70])
    assert found.ntotal == index.ntotal > ROWS


def loaded(archive, monkeypatch, **settings):
    """The index, and whether it came through a pipe."""
    pipes = []
    feed = faiss_.ThreadFeed
    with monkeypatch.context() as patch:
        patch.setattr(faiss_, "ThreadFeed", lambda *args, **kwargs: pipes.append(1) or feed(*args, **kwargs))
        return archive.load(**settings), bool(pipes)


@pytest.mark.parametrize("factory", OWNED)
def test_an_index_that_owns_its_memory_is_the_one_that_was_packed(tmp_path, rows, monkeypatch, factory):
    index = built(factory, rows)
    with packed(index, tmp_path) as archive:
        found, is_piped = loaded(archive, monkeypatch)
    assert not is_piped
    assert faiss_memory._views(faiss, found) == []
    check_as_built(found, index, rows)


@pytest.mark.parametrize("factory", PIPED)
def test_an_index_of_other_parts_comes_through_the_pipe(tmp_path, rows, monkeypatch, factory):
    """It is not decoded first, to find out."""
    index = built(factory, rows)
    monkeypatch.delattr(base.LoadRequest, "read_without_rows")
    with packed(index, tmp_path) as archive:
        found, is_piped = loaded(archive, monkeypatch)
    assert is_piped
    assert content(found) == content(index)


def test_a_member_with_a_digest_or_with_too_much_beside_its_rows_comes_through_the_pipe(tmp_path, rows, monkeypatch):
    index = built("HNSW16", rows)
    with packed(index, tmp_path, digest=True) as archive:
        found, is_piped = loaded(archive, monkeypatch)
    assert is_piped
    assert content(found) == content(index)
    with packed(index, tmp_path) as archive:
        assert not loaded(archive, monkeypatch)[1]
        found, is_piped = loaded(archive, monkeypatch, memory="1KiB")
    assert is_piped
    check_as_built(found, index, rows)


@pytest.mark.parametrize("factory", ["HNSW16", "IDMap,Flat", "PQ4x4"])
def test_a_faiss_without_a_reader_of_memory_takes_the_pipe(tmp_path, rows, monkeypatch, factory):
    index = built(factory, rows)
    monkeypatch.delattr(faiss, "ZeroCopyIOReader")
    with packed(index, tmp_path) as archive:
        found = archive.load()
    check_as_built(found, index, rows)


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IDMap,Flat"])
def test_few_rows_or_none(tmp_path, rows, factory, count):
    index = built(factory, rows[:count])
    with packed(index, tmp_path) as archive:
        found = archive.load()
    assert content(found) == content(index)
    found.add_with_ids(rows, np.arange(ROWS)) if "IDMap" in factory else found.add(rows)
    assert found.ntotal == ROWS + count


@pytest.mark.parametrize("factory", ["HNSW16", "Flat"])
def test_nothing_points_into_the_memory_that_was_decoded(tmp_path, rows, monkeypatch, factory):
    taken = []
    read_views = faiss_memory.read_views
    monkeypatch.setattr(faiss_memory, "read_views", lambda _, memory: taken.append(memory) or read_views(faiss, memory))
    index = built(factory, rows)
    with packed(index, tmp_path) as archive:
        found = archive.load()
    (memory,) = taken
    memory[:] = 0xAA
    check_as_built(found, index, rows)


@pytest.mark.parametrize("part", ["links", "unknown"])
def test_a_view_that_is_left_sends_the_index_through_the_pipe(tmp_path, rows, monkeypatch, part):
    """A later faiss may keep views where none are known: such an index is not handed out."""
    index = built("HNSW16", rows)
    known = faiss_memory.PARTS - ({"HNSW"} if part == "unknown" else set())
    monkeypatch.setattr(faiss_memory, "PARTS", known)
    if part == "links":
        monkeypatch.setattr(faiss_memory, "_own_copy", lambda *_: None)
    with packed(index, tmp_path) as archive:
        found, is_piped = loaded(archive, monkeypatch)
    assert is_piped
    check_as_built(found, index, rows)


@pytest.mark.parametrize("shift", [-ROWS * DIM * 3, -64, -3, 1, 64])
@pytest.mark.parametrize("factory", ["HNSW16", "Flat"])
def test_a_plan_that_calls_other_bytes_rows_changes_nothing(tmp_path, rows, monkeypatch, factory, shift):
    index = built(factory, rows)
    true_rows = base.LoadRequest.large_rows

    def shifted(request):
        large = true_rows(request)
        return base.LargeRows(large.stream, large.first_row, large.row_count, max(0, large.start + shift), large.bytes)

    monkeypatch.setattr(base.LoadRequest, "large_rows", shifted)
    with packed(index, tmp_path) as archive:
        found = archive.load()
        reading = archive.load(writable=False)
    assert content(reading) == content(index)
    check_as_built(found, index, rows)


def test_a_plan_that_calls_links_rows_sends_the_index_through_the_pipe(tmp_path, rows, monkeypatch):
    index = built("HNSW16", rows)
    true_rows = base.LoadRequest.large_rows

    def links(request):
        large = true_rows(request)
        return base.LargeRows(large.stream, 0, 300, large.start - ROWS * 32 * 4, 300 * DIM * 4)

    monkeypatch.setattr(base.LoadRequest, "large_rows", links)
    with packed(index, tmp_path) as archive:
        found, is_piped = loaded(archive, monkeypatch)
    assert is_piped
    check_as_built(found, index, rows)


def test_rows_that_are_a_part_of_the_vectors_are_joined_with_the_rest(tmp_path, rows, monkeypatch):
    index = built("HNSW16", rows)
    true_rows = base.LoadRequest.large_rows

    def inner(request):
        large = true_rows(request)
        row = large.bytes // large.row_count
        return base.LargeRows(
            large.stream, large.first_row + 1, large.row_count - 3, large.start + row, large.bytes - 3 * row
        )

    monkeypatch.setattr(base.LoadRequest, "large_rows", inner)
    with packed(index, tmp_path) as archive:
        found, is_piped = loaded(archive, monkeypatch)
    assert not is_piped
    check_as_built(found, index, rows)


@pytest.mark.parametrize("writable", [True, False])
def test_damage_anywhere_is_an_error_and_never_an_index(tmp_path, rows, writable):
    index = built("HNSW16", rows)
    packed(index, tmp_path).close()
    data = (tmp_path / "x.vark").read_bytes()
    expected = content(index)
    refused = 0
    for at in range(100, len(data), len(data) // 60):
        bad = bytearray(data)
        bad[at] ^= 0x10
        (tmp_path / "bad.vark").write_bytes(bad)
        try:
            with vark.open_archive(tmp_path / "bad.vark") as archive:
                found = archive.load(writable=writable)
        except vark.DamagedError:
            refused += 1
        else:  # a byte that loading does not need
            assert content(found) == expected
    assert refused > 40


def test_rows_that_are_damaged_after_the_check_are_an_error(tmp_path, rows, monkeypatch):
    index = built("HNSW16", rows)

    def fail(*_):
        raise vark.DamagedError("rows", code="damaged")

    monkeypatch.setattr(base.LoadRequest, "read_rows", fail)
    with packed(index, tmp_path) as archive, pytest.raises(vark.DamagedError):
        archive.load()


@pytest.mark.parametrize("writable", [True, False])
def test_links_that_lead_out_of_the_graph_are_refused(tmp_path, rows, writable):
    index = built("HNSW16", rows)
    links = faiss.rev_swig_ptr(index.hnsw.neighbors.data(), index.hnsw.neighbors.size())
    links[5] = ROWS + 1_000_000
    with packed(index, tmp_path) as archive, pytest.raises(vark.SourceError, match="node 0"):
        archive.load(writable=writable)


@pytest.mark.parametrize("name", ["_cleared", "_own_copy"])
def test_memory_that_is_not_to_be_had_is_a_limit(tmp_path, rows, monkeypatch, name):
    def refused(*_):
        raise MemoryError

    monkeypatch.setattr(faiss_memory, name, refused)
    with packed(built("HNSW8", rows), tmp_path) as archive, pytest.raises(vark.LimitError, match="so much memory"):
        archive.load()


def test_faiss_says_when_it_has_no_memory():
    with pytest.raises(MemoryError):
        faiss_memory._cleared(faiss, 1 << 60)


def test_memory_is_taken_before_the_check_only_for_what_the_archive_is_large_enough_for(tmp_path, rows):
    asked = []

    def request_for(index):
        with packed(index, tmp_path) as archive:
            plan = json.loads(archive._reader.plan())
            request = base.LoadRequest(archive._reader, 0, plan["members"][0], None, True, 1, 1 << 28)
            asked.append(faiss_memory._has_earned(request, request.large_rows()))

    request_for(built("Flat", rows))
    request_for(built("Flat", np.zeros((200_000, DIM), np.float32)))
    assert asked == [True, False]


def test_an_ancestor_that_is_not_there_earns_no_memory(tmp_path, rows, monkeypatch):
    """A directory may say anything of blocks in it."""
    index = built("Flat", rows)
    with packed(index, tmp_path) as first:
        index.add(rows[:10])
        vark.write_archive(index, tmp_path / "second.vark", base=first)
        name = f"{first.archive_id}.vark"
    monkeypatch.setattr(base.LoadRequest, "stream", lambda *_: SimpleNamespace(stored_bytes=1 << 40))

    def earned():
        with vark.open_archive(tmp_path / "second.vark") as archive:
            record = json.loads(archive._reader.plan())["members"][0]
            request = base.LoadRequest(archive._reader, 0, record, None, True, 1, 1 << 28)
            rows_of_both = base.LargeRows("vectors", 0, index.ntotal, 0, index.ntotal * DIM * 4)
            return faiss_memory._has_earned(request, rows_of_both)

    assert not earned()
    (tmp_path / "x.vark").rename(tmp_path / name)
    assert earned()
