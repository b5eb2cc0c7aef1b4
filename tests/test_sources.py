"""Every kind of source: what becomes a member, what is skipped, and that nothing hangs or fails silently."""

import io
import json
import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

import vark
from vark import _core
from vark.names import name_fault


def round_trip(source, folder, **options):
    path = folder / "source.vark"
    report = vark.write_archive(source, path, replace=True, sync=False, **options)
    return report, vark.open_archive(path)


def files_under(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "b.bin").write_bytes(b"bbb" * 1000)
    (root / "sub" / "a.npy").write_bytes(_npy(np.arange(2000, dtype=np.float32).reshape(100, 20)))
    (root / "sub" / "deep" / "zero").write_bytes(b"")
    return root


def _npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_a_folder_comes_back_with_its_empty_folders(folder, tmp_path):
    report, archive = round_trip(folder, tmp_path)
    with archive:
        assert [member.name for member in report.members] == ["b.bin", "sub/a.npy", "sub/deep/zero"]
        assert not report.partial
        archive.restore(tmp_path / "out")
    assert files_under(tmp_path / "out") == files_under(folder)
    assert (tmp_path / "out" / "empty").is_dir()


def test_links_sockets_and_names_that_cannot_be_stored_are_listed_as_skipped(folder, tmp_path):
    (folder / "link").symlink_to(folder / "b.bin")
    (folder / "folder link").symlink_to(folder / "sub")
    os.mkfifo(folder / "pipe")
    (folder / "a:b").write_bytes(b"x")
    (folder / "s").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(folder / "s")  # the path of a socket is short
        try:
            listener.bind("sock")
        finally:
            os.chdir(here)
        report, archive = round_trip(folder, tmp_path)
    with archive:
        assert report.partial
        assert archive.partial
        reasons = {item.name: item.reason for item in archive.skipped}
    assert reasons["link"] == reasons["folder link"] == "a symbolic link"
    assert reasons["pipe"] == "a named pipe"
    assert reasons["s/sock"] == "a socket"
    assert "stored" in reasons["a:b"]
    assert report.skipped == archive.skipped


def test_a_name_that_is_not_utf8_is_skipped(folder, tmp_path):
    with open(os.fsencode(folder) + b"/\xff\xfe", "wb") as file:
        file.write(b"x")
    report, archive = round_trip(folder, tmp_path)
    archive.close()
    assert report.partial
    assert "UTF-8" in report.skipped[0].reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_skipped_in_a_folder_and_refused_alone(folder, tmp_path):
    (folder / "b.bin").chmod(0)
    report, archive = round_trip(folder, tmp_path)
    archive.close()
    assert [item.name for item in report.skipped] == ["b.bin"]
    with pytest.raises(PermissionError):
        vark.write_archive(folder / "b.bin", tmp_path / "x.vark")


def test_a_list_of_paths_takes_files_and_folders_and_refuses_equal_names(folder, tmp_path):
    report, archive = round_trip([folder / "b.bin", folder / "sub"], tmp_path)
    with archive:
        assert [member.name for member in report.members] == ["b.bin", "sub/a.npy", "sub/deep/zero"]
        archive.restore(tmp_path / "one.npy", member="sub/a.npy")
    assert (tmp_path / "one.npy").read_bytes() == (folder / "sub" / "a.npy").read_bytes()
    (folder / "sub" / "b.bin").write_bytes(b"")
    with pytest.raises(vark.InvalidArgumentError, match=r"b\.bin"):
        vark.write_archive([folder / "b.bin", folder / "sub" / "b.bin"], tmp_path / "x.vark")


def test_sources_that_are_nothing_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for source, kind in (
        (tmp_path / "empty", vark.NotFoundError),
        ([], vark.InvalidArgumentError),
        ({}, vark.InvalidArgumentError),
        ({"x": [1, 2]}, vark.InvalidArgumentError),
        (7, vark.InvalidArgumentError),
        ("/dev/null", vark.InvalidArgumentError),
        (np.array([object()]), vark.InvalidArgumentError),
    ):
        with pytest.raises(kind):
            vark.write_archive(source, tmp_path / "x.vark")
    assert not (tmp_path / "x.vark").exists()


ARRAYS = {
    "fortran": np.asfortranarray(np.arange(60, dtype=np.float32).reshape(12, 5)),
    "every other row": np.arange(60, dtype=np.int16).reshape(12, 5)[::2],
    "columns": np.arange(60, dtype=np.float64).reshape(12, 5)[:, 1:4],
    "backwards": np.arange(60, dtype=np.uint8)[::-1],
    "large slices": np.zeros((3000, 1000), np.float32)[:, ::2],
    "broadcast": np.broadcast_to(np.float32(3), (500, 7)),
    "scalar": np.asarray(np.float64(3)),
    "no rows": np.zeros((0, 4), np.float32),
    "dates": np.array(["2020-01-01", "1970-01-01"], dtype="M8[D]"),
    "half": np.arange(100, dtype=np.float16).reshape(10, 10),
    "big endian": np.arange(100, dtype=">f4").reshape(10, 10),
    "records": np.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_any_array_is_packed_as_the_file_numpy_would_write(tmp_path, name):
    array = ARRAYS[name]
    _, archive = round_trip(array, tmp_path)
    with archive:
        archive.restore(tmp_path / "x.npy")
        loaded = archive.load()
    assert (tmp_path / "x.npy").read_bytes() == _npy(array)
    assert loaded.dtype == array.dtype
    assert np.array_equal(loaded, array)


def test_several_arrays_become_several_files(tmp_path):
    arrays = {"ids": np.arange(50), "vectors": np.ones((50, 8), np.float32)}
    report, archive = round_trip(arrays, tmp_path)
    with archive:
        assert [member.name for member in report.members] == ["ids.npy", "vectors.npy"]
        assert np.array_equal(archive.load(member="ids.npy"), arrays["ids"])
        with pytest.raises(vark.InvalidArgumentError, match=r"ids\.npy"):
            archive.load()


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF16,Flat", "IVF16,PQ4x4", "SQ8", "PCA8,Flat", "IDMap,Flat"])
def test_a_live_faiss_index_comes_back_equal(tmp_path, vectors, factory):
    import faiss

    index = faiss.index_factory(16, factory)
    index.train(vectors)
    if factory.startswith("IDMap"):
        index.add_with_ids(vectors, np.arange(600) + 5)
    else:
        index.add(vectors)
    _, archive = round_trip(index, tmp_path)
    with archive:
        loaded = archive.load()
        archive.restore(tmp_path / "x.faiss")
    expected = faiss.serialize_index(index).tobytes()
    assert faiss.serialize_index(loaded).tobytes() == expected
    assert (tmp_path / "x.faiss").read_bytes() == expected


@pytest.mark.parametrize("kind", ["binary hash", "LSH", "PCA8,LSH"])
def test_a_live_index_of_a_kind_that_is_not_split_is_kept_whole(tmp_path, vectors, kind):
    import faiss

    if kind == "binary hash":
        index = faiss.IndexBinaryHash(64, 8)
        index.add(np.random.default_rng(2).integers(0, 256, (300, 8), dtype=np.uint8))
        expected = faiss.serialize_index_binary(index).tobytes()
    else:
        index = faiss.index_factory(16, kind)
        index.train(vectors)
        index.add(vectors)
        expected = faiss.serialize_index(index).tobytes()
    report, archive = round_trip(index, tmp_path)
    with archive:
        assert report.members[0].layout == "opaque"
        assert "not split" in report.members[0].facts["note"]
        archive.restore(tmp_path / "x.faiss")
        with pytest.raises(vark.InvalidArgumentError, match="restore"):
            archive.load()
    assert (tmp_path / "x.faiss").read_bytes() == expected


def test_layout_opaque_keeps_arrays_and_live_indexes_unsplit(tmp_path, vectors, faiss_index):
    for source in (vectors, vectors[::2], faiss_index):
        report, archive = round_trip(source, tmp_path, layout="opaque")
        archive.close()
        assert report.members[0].layout == "opaque"
        assert {info.role for info in report.streams} == {"opaque", "plan"}


def test_a_live_hnswlib_index_keeps_space_and_search_width(tmp_path, vectors, hnswlib_index):
    _, archive = round_trip(hnswlib_index, tmp_path)
    hnswlib_index.save_index(str(tmp_path / "expected"))
    with archive:
        loaded = archive.load()
        archive.restore(tmp_path / "out")
    assert (loaded.space, loaded.dim, loaded.ef, loaded.element_count) == ("cosine", 16, 77, 600)
    assert np.array_equal(loaded.knn_query(vectors[:9], k=3)[0], hnswlib_index.knn_query(vectors[:9], k=3)[0])
    assert (tmp_path / "out").read_bytes() == (tmp_path / "expected").read_bytes()


def test_an_hnswlib_index_larger_than_a_pipe_does_not_hang(tmp_path):
    import hnswlib

    index = hnswlib.Index("l2", 128)
    index.init_index(8000, ef_construction=10, M=4)
    index.add_items(np.random.default_rng(1).random((8000, 128), dtype=np.float32))
    report, archive = round_trip(index, tmp_path)
    archive.close()
    assert report.source_bytes > 4_000_000


def test_facts_that_lie_about_the_dimension_load_nothing(tmp_path, hnswlib_index):
    file, target = tmp_path / "a.hnsw", tmp_path / "a.vark"
    hnswlib_index.save_index(str(file))
    settings = {
        "metadata": "{}",
        "plan": "{}",
        "compression": "auto",
        "order": "exact",
        "base": None,
        "fingerprint_key": None,
        "archive_id": None,
        "replace": True,
    }
    settings |= {"sync": False, "threads": 1, "memory_bytes": 1 << 24, "digest_members": False, "attempts": 1}
    for lie in ({"dim": 4096}, {"dim": 4096, "vector_bytes": 4 * 4096}, {"dim": "x"}):
        member = ("a.hnsw", ("file", str(file)), "hnswlib", json.dumps(lie))
        _core.pack(str(target), [member], [], progress=None, id_index=None, seal=None, cache=None, **settings)
        with vark.open_archive(target) as archive, pytest.raises(vark.SourceError, match="dimensions"):
            archive.load(space="l2")


def test_an_hnswlib_file_needs_its_space_to_be_loaded(tmp_path, hnswlib_index, vectors):
    hnswlib_index.save_index(str(tmp_path / "x.bin"))
    _, archive = round_trip(tmp_path / "x.bin", tmp_path)
    with archive:
        assert archive.members[0].layout == "hnswlib"
        with pytest.raises(vark.InvalidArgumentError, match="space"):
            archive.load()
        loaded = archive.load(space="cosine")
    loaded.set_ef(77)
    assert np.array_equal(loaded.knn_query(vectors[:9], k=3)[0], hnswlib_index.knn_query(vectors[:9], k=3)[0])


def test_an_index_that_cannot_be_saved_is_an_error_and_leaves_nothing(tmp_path, faiss_index, monkeypatch):
    import faiss

    half = faiss.serialize_index(faiss_index).tobytes()[:20_000]

    def broken(index, path):
        with open(path, "wb") as file:
            file.write(half)
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(faiss, "write_index", broken)
    with pytest.raises(vark.SourceError, match="fire"):
        vark.write_archive(faiss_index, tmp_path / "a.vark")
    assert list(tmp_path.iterdir()) == []


def test_a_feed_that_ends_early_without_telling_the_engine_is_not_published(tmp_path, vectors):
    """The payload is plain bytes to the engine: only the feed knows that it is incomplete."""
    import pyarrow

    table = pyarrow.table({"n": np.arange(600)})

    def batches():
        yield table.to_batches()[0]
        raise ValueError("the database went away")

    (tmp_path / "a.vark").write_bytes(b"the archive of yesterday")
    reader = pyarrow.RecordBatchReader.from_batches(table.schema, batches())
    with pytest.raises(vark.SourceError, match="went away"):
        vark.write_archive(vectors, tmp_path / "a.vark", payload=reader, replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.vark"]
    assert (tmp_path / "a.vark").read_bytes() == b"the archive of yesterday"


def children():
    """Processes that this one has started and not waited for; servers of other tests are among them."""
    tasks = Path("/proc/self/task").iterdir()
    return {child for task in tasks for child in (task / "children").read_text().split()}


@pytest.mark.parametrize("kind", ["faiss", "hnswlib"])
def test_a_refusal_of_the_engine_does_not_leave_a_live_source_hanging(tmp_path, kind, request):
    index = request.getfixturevalue(f"{kind}_index")
    before, running = threading.active_count(), children()
    with pytest.raises(vark.InvalidArgumentError):
        vark.write_archive(index, tmp_path / "a.vark", compression="none such")
    assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []
    assert children() == running


def test_lists_in_a_second_file_are_taken_along_or_named_as_missing(tmp_path, vectors):
    import faiss

    where = tmp_path / "index"
    where.mkdir()
    index = faiss.index_factory(16, "IVF8,Flat")
    index.train(vectors)
    lists = faiss.OnDiskInvertedLists(8, index.code_size, str(where / "lists.ivfdata"))
    index.replace_invlists(lists, False)
    index.add(vectors)
    faiss.write_index(index, str(where / "x.faiss"))
    report, archive = round_trip(where / "x.faiss", tmp_path)
    archive.close()
    assert [member.name for member in report.members] == ["x.faiss", "lists.ivfdata"]
    assert not report.partial
    (where / "lists.ivfdata").rename(tmp_path / "elsewhere")
    report, archive = round_trip(where / "x.faiss", tmp_path)
    archive.close()
    assert report.partial
    assert [item.name for item in report.skipped] == ["lists.ivfdata"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "c:d", "nul", "COM1.txt", "x\n", "x" * 256, "\udcff"])
def test_names_that_would_not_restore_everywhere_are_refused(name):
    assert name_fault(name) is not None


@pytest.mark.parametrize("name", ["a", "README.md", "..a", "COM0", "nullable", "ä" * 127, "a b"])
def test_plain_names_are_allowed(name):
    assert name_fault(name) is None
