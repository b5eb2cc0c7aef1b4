"""Rows by id: the sorted index of ids, how deltas extend it, what a look-up reads, and the ids themselves without one."""

from pathlib import Path

import faiss
import hnswlib
import numpy as np
import pytest
import reader
import reader_ids

import vark
from vark.by_id import find
from vark.errors import InvalidArgumentError, UnknownNameError

ROWS, DIM = 20_000, 8
INDEXED = 1000  # ids: streams of more have an index here


def some_rows(count, seed=0):
    return np.random.default_rng(seed).random((count, DIM), dtype=np.float32)


class Chain:
    """Archives that build on one another, in a folder where they find each other by their ids."""

    def __init__(self, folder):
        self.folder, self.newest = folder, None

    def add(self, source, **options):
        base = None if self.newest is None else vark.open_archive(self.newest)
        part = self.folder / "part.vark"
        report = vark.write_archive(source, part, base=base, sync=False, fingerprint_key=bytes(32), **options)
        self.newest = part.rename(self.folder / f"{report.archive_id}.vark")
        return report

    def open(self):
        return vark.open_archive(self.newest)


@pytest.fixture
def chain(tmp_path):
    return Chain(tmp_path)


def index_words(archive):
    """Words of the streams of the index -> bytes of them that lie in this archive."""
    streams = {stream.name: stream.stored_bytes for stream in archive.reader.streams}
    return {name.partition("//id_index.")[2]: count for name, count in streams.items() if "//id_index." in name}


def check(chain, name, wanted):
    """Compare what is found with the ids themselves, by the engine and by the reference reader."""
    with chain.open() as archive, reader.Archive(chain.newest) as reference:
        all_ids = archive[name][:]
        found = find(archive[name], wanted)
        expected = [(n, int(row)) for n, each in enumerate(wanted) for row in np.flatnonzero(all_ids == each)]
        assert list(zip(found.numbers.tolist(), found.rows.tolist(), strict=True)) == expected
        assert found.missing.tolist() == [each for each in wanted if each not in all_ids]
        for each in wanted[:4]:
            assert reader_ids.rows_of_id(reference, name, int(each)) == np.flatnonzero(all_ids == each).tolist()
        assert archive.verify().ok
        return index_words(archive)


def id_map(ids):
    index = faiss.IndexIDMap(faiss.IndexFlatL2(DIM))
    index.add_with_ids(some_rows(len(ids)), ids)
    return index


def shuffled(count=ROWS):
    return np.random.default_rng(1).permutation(count).astype(np.int64) - count // 2


def test_negative_ids_and_ids_of_many_rows_are_found(chain):
    ids = shuffled()
    ids[:: ROWS // 10] = -7
    ids[-1], ids[-2] = -(1 << 63), (1 << 63) - 1
    chain.add(id_map(ids), id_index=INDEXED)
    words = check(chain, "id_map", [-7, -(1 << 63), (1 << 63) - 1, 0, int(ids[5]), 12345678, -7])
    assert set(words) == {"keys", "places", "fence"}


def test_an_id_of_more_rows_than_a_chunk_of_keys_is_found_in_all(chain):
    chain.add(id_map(np.repeat(np.array([3, -1], np.int64), [40_000, 20_000])), id_index=INDEXED)
    check(chain, "id_map", [-1, 3, 5])


def test_appended_ids_and_rows_that_changed_under_an_id_stand_in_the_changes(chain):
    index, ids = id_map(shuffled()), shuffled()
    full = chain.add(index, id_index=INDEXED)
    first = check(chain, "id_map", [int(ids[5])])
    fresh = np.random.default_rng(2).integers(1 << 40, 1 << 62, ROWS // 100)
    fresh[0] = ids[5]  # one of them in a row more
    index.add_with_ids(some_rows(len(fresh), 2), fresh)
    chain.add(index)
    words = check(chain, "id_map", [int(ids[5]), int(fresh[1]), int(ids[-1]), 1 << 30])
    assert words["keys"] == words["places"] == 0 < words["changes.keys"] < full.archive_bytes // 100
    again = chain.add(index)
    words = check(chain, "id_map", [int(ids[5]), int(fresh[1])])
    assert words["changes.keys"] == words["keys"] == 0 < words["fence"] <= first["fence"]
    assert again.archive_bytes < full.archive_bytes // 50


def test_when_all_rows_shift_the_index_is_left_out_or_written_anew_when_asked_for(chain):
    index, ids = id_map(shuffled()), shuffled()
    assert chain.add(index, id_index=INDEXED).delta is None
    full, wanted = chain.newest, [int(ids[0]), int(ids[199]), int(ids[200]), int(ids[-1])]
    index.remove_ids(ids[:200])
    # It would be most of such a delta.
    assert chain.add(index).delta.id_index_left_out == ("id_map",)
    assert check(chain, "id_map", wanted) == {}
    chain.newest = full
    assert chain.add(index, id_index=INDEXED).delta.id_index_left_out == ()
    words = check(chain, "id_map", wanted)
    assert "changes.keys" not in words
    assert words["places"] > 0


def test_lists_that_grow_in_their_middle_leave_other_places_as_they_were(chain):
    index = faiss.index_factory(DIM, "IVF64,Flat")
    index.train(some_rows(5000))
    index.add(some_rows(ROWS))
    full = chain.add(index, id_index=INDEXED)
    assert "groups" in check(chain, "ids", [0, ROWS - 1, ROWS])
    index.add(some_rows(ROWS // 100, 3))
    chain.add(index)
    words = check(chain, "ids", [0, 17, ROWS - 1, ROWS, ROWS + 199, ROWS + 200, -1])
    assert words["keys"] == words["places"] == 0
    assert words["changes.keys"] + words["changes.places"] < full.archive_bytes // 500
    index.remove_ids(np.arange(0, 900, 3))
    chain.add(index)
    words = check(chain, "ids", [0, 1, 3, 900, ROWS + 199])
    assert words["keys"] == 0 < words["changes.keys"]


def test_a_live_index_and_its_file_have_the_same_index(chain, tmp_path):
    index = id_map(shuffled())
    faiss.write_index(index, str(tmp_path / "file.faiss"))
    roots = set()
    for threads, source in ((1, index), (2, tmp_path / "file.faiss")):
        target = tmp_path / f"{threads}.vark"
        vark.write_archive(source, target, id_index=INDEXED, threads=threads, sync=False)
        with vark.open_archive(target) as archive:
            roots.add(tuple(archive[f"id_map//id_index.{word}"][:].tobytes() for word in ("keys", "places", "fence")))
    assert len(roots) == 1


def graph_of(count):
    index = hnswlib.Index("l2", DIM)
    index.init_index(count * 2, M=4, ef_construction=20, random_seed=1)
    index.add_items(some_rows(count), shuffled(count) + count)
    return index


def reads_of(chain, wanted):
    """Reads beyond opening for the rows of some labels, which are compared with the index."""
    with chain.open() as archive:
        opened = archive.io_counts[0]
        rows = archive.rows_by_id("vectors", wanted)
        reads = archive.io_counts[0] - opened
        labels, vectors = archive["labels"][:], archive["vectors"][:]
        assert np.array_equal(rows, vectors[[int(np.flatnonzero(labels == each)[0]) for each in wanted]])
    return reads


def test_one_row_out_of_a_chain_of_30_costs_few_reads(chain):
    """Rows change under their labels each day: at most three reads, or four with an index that few ids do not need."""
    count = 6000
    index = graph_of(count)
    plain = Chain(chain.folder / "plain")
    plain.folder.mkdir()
    rng = np.random.default_rng(5)
    for day in range(31):
        chain.add(index, id_index=INDEXED if day == 0 else None)
        plain.add(index)
        index.add_items(some_rows(60, day), rng.choice(count, 60, replace=False).astype(np.uint64) + count // 2)
    words = check(chain, "labels", [count // 2, count, count // 2 - 1])
    assert {word for word, stored in words.items() if stored} == {"fence"}
    for label in (3000, 4711, 8999):
        assert reads_of(plain, [label]) <= 3
        assert reads_of(chain, [label]) <= 4


def test_labels_that_come_each_day_for_30_days_stand_in_one_run_of_changes(chain):
    count = 6000
    index = graph_of(count)
    for day in range(31):
        chain.add(index, id_index=INDEXED if day == 0 else None)
        index.add_items(some_rows(6, day), np.arange(6) * 7919 + 10**9 + day)
    wanted = [3000, 10**9, 10**9 + 29, 10**9 + 7919 + 13, 10**9 + 31]
    words = check(chain, "labels", wanted)
    assert words["keys"] == 0 < words["changes.keys"] < 2000
    with chain.open() as archive:
        assert len(archive.ancestors) == 30
        assert len(archive["labels//id_index.changes.keys"]) == 6 * 30
        opened = archive.io_counts[0]
        find(archive["labels"], [wanted[2]])
        # Changes, and the row of the labels, which lies in a part.
        assert archive.io_counts[0] - opened <= 4


def test_rows_updated_in_place_cost_the_index_nothing(chain):
    index = graph_of(5000)
    chain.add(index, id_index=INDEXED)
    index.add_items(some_rows(50, 9), np.arange(50) + 5000)
    chain.add(index)
    words = check(chain, "labels", [5000, 1])
    assert {word: count for word, count in words.items() if count} == {"fence": words["fence"]}


def test_compact_keeps_the_index(chain):
    index, fresh = id_map(shuffled()), np.arange(100, dtype=np.int64) + 10**6
    chain.add(index, id_index=INDEXED)
    index.add_with_ids(some_rows(100, 4), fresh)
    chain.add(index)
    with chain.open() as archive:
        vark.api.compact_archive(archive, chain.folder / "whole.vark", sync=False)
    chain.newest = chain.folder / "whole.vark"
    words = check(chain, "id_map", [0, 10**6, 10**6 + 100])
    assert {"keys", "places", "fence", "changes.keys", "changes.places", "changes.fence"} == set(words)
    assert min(words.values()) > 0


def test_an_index_is_kept_only_where_it_is_asked_for_or_the_base_has_one(chain):
    index = id_map(shuffled())
    chain.add(index)
    assert check(chain, "id_map", [3]) == {}
    chain.add(index, id_index=True)  # too few ids
    assert check(chain, "id_map", [3]) == {}
    chain.add(index, id_index=INDEXED)
    assert check(chain, "id_map", [3]) != {}
    chain.add(index)
    assert check(chain, "id_map", [3]) != {}
    chain.add(index, id_index=False)
    assert check(chain, "id_map", [3]) == {}
    with pytest.raises(InvalidArgumentError, match="id_index"):
        chain.add(index, id_index=-1)


def test_streams_of_an_index_are_not_listed_and_count_as_no_bytes_of_the_source(chain):
    plain = chain.add(id_map(shuffled()))
    indexed = chain.add(id_map(shuffled()), id_index=INDEXED)
    assert [stream.name for stream in plain.streams] == [stream.name for stream in indexed.streams]
    assert plain.raw_bytes == indexed.raw_bytes


@pytest.mark.parametrize("indexed", [False, True])
def test_rows_by_id_gives_the_first_row_and_select_gives_all(chain, indexed):
    ids = shuffled()
    ids[[4, 900, 901]] = 77_777
    chain.add(id_map(ids), id_index=INDEXED if indexed else None)
    with chain.open() as archive:
        rows = archive["vectors"][:]
        assert np.array_equal(archive.rows_by_id("vectors", [77_777, int(ids[1])]), rows[[4, 1]])
        selection = archive.select(ids=[int(ids[1]), 77_777, 5 * ROWS])
        assert list(selection.rows) == [1, 4, 900, 901]
        assert np.array_equal(selection.values, rows[[1, 4, 900, 901]])
        assert selection.ids.tolist() == [int(ids[1]), *[77_777] * 3]
        assert selection.missing.tolist() == [5 * ROWS]
        with pytest.raises(UnknownNameError, match="1 ids are not"):
            archive.rows_by_id("vectors", [5 * ROWS])
        with pytest.raises(InvalidArgumentError, match="fit"):
            archive.select(ids=np.array([1 << 63], np.uint64))


def test_an_index_that_lies_gives_no_row(tmp_path):
    folder = Path(__file__).resolve().parent.parent / "spec" / "vectors"
    with vark.open_archive(folder / "id-index-swapped.vark") as archive:
        assert find(archive["ids"], [30, 40]).rows.tolist() == [2, 3]
        with pytest.raises(vark.DamagedError, match="index of the ids"):
            find(archive["ids"], [30, 10])
