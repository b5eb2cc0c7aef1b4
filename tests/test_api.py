"""Write, open, read rows, restore, load, verify: what a caller of the package sees."""

import io
import os
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vark
from vark.errors import ERROR_CLASSES, error_for, error_from_os, exit_code_for


def test_rows_come_back_by_number_slice_and_list(archive_path, vectors):
    with vark.open_archive(archive_path) as archive:
        view = archive["vectors"]
        assert view.shape == vectors.shape
        assert view.dtype == np.float32
        assert np.array_equal(view[5], vectors[5])
        assert np.array_equal(view[-1], vectors[-1])
        assert np.array_equal(view[10:20], vectors[10:20])
        assert np.array_equal(view[-3:], vectors[-3:])
        assert np.array_equal(view[20:10], vectors[20:10])
        assert np.array_equal(view[::-7], vectors[::-7])
        assert np.array_equal(view.rows_of([599, 0, 5, 5, -1]), vectors[[599, 0, 5, 5, -1]])
        assert view.rows_of([]).shape == (0, 16)
        assert view[3, 2] == vectors[3, 2]
        assert np.array_equal(view[3:9, 1:4], vectors[3:9, 1:4])
        assert np.array_equal(np.asarray(view), vectors)
        assert np.array_equal(np.stack(list(view)), vectors)


BOUNDS = st.none() | st.integers(-700, 700)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.slices(600) | st.builds(slice, BOUNDS, BOUNDS, st.sampled_from([None, 1, -1, 7, -300])))
def test_any_slice_is_that_of_numpy(archive_path, vectors, rows):
    with vark.open_archive(archive_path) as archive:
        assert np.array_equal(archive["vectors"][rows], vectors[rows])


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.integers(-600, 599), max_size=40))
def test_any_list_of_rows_is_that_of_numpy(archive_path, vectors, rows):
    with vark.open_archive(archive_path) as archive:
        assert np.array_equal(archive["vectors"].rows_of(rows), vectors[np.array(rows, dtype=int)])


@pytest.mark.parametrize("row", [600, -601, 10**12])
def test_a_row_outside_the_stream_is_an_index_error(archive_path, row):
    with vark.open_archive(archive_path) as archive:
        with pytest.raises(IndexError):
            archive["vectors"][row]
        with pytest.raises(IndexError):
            archive["vectors"].rows_of([0, row])


def test_an_unknown_name_is_a_key_error_that_lists_the_known(archive_path):
    with vark.open_archive(archive_path) as archive:
        with pytest.raises(KeyError, match="vectors"):
            archive["nothing"]
        with pytest.raises(vark.UnknownNameError, match="README"):
            archive.documents["other"]
        with pytest.raises(vark.UnknownNameError):
            archive.payload()


def test_the_report_says_what_was_written(tmp_path, vectors):
    report = vark.write_archive(vectors, tmp_path / "a.vark", digest=True)
    assert report.archive_bytes == (tmp_path / "a.vark").stat().st_size
    assert report.source_bytes == report.members[0].byte_count > vectors.nbytes
    assert not report.partial
    assert report.archive_id.version == 7
    assert report.members[0].layout == "npy"
    assert report.members[0].blake3 is not None
    assert any(info.role == "vectors" and info.shape == vectors.shape for info in report.streams)
    assert "array" not in repr(report) or str(tmp_path) in repr(report)


def test_the_stream_table_reads_as_text_and_as_escaped_html(archive_path):
    with vark.open_archive(archive_path) as archive:
        assert "vectors" in repr(archive.streams)
        assert archive.streams._repr_html_().startswith("<table>")
        assert isinstance(archive.streams, tuple)
        info = archive["vectors"].info
        assert sum(info.codecs.values()) == info.chunk_count
    evil = vark.StreamTable([vark.StreamInfo("<script>", "opaque", "u8", np.dtype("u1"), (1,), 1, 1, 1)])
    assert "<script>" not in evil._repr_html_()


def test_metadata_documents_and_attachments_come_back(archive_path, tmp_path):
    with vark.open_archive(archive_path) as archive:
        assert archive.metadata["application"] == {"model": "e5", "revision": 3}
        assert archive.documents["README.md"].decode() == "# Königsberg\n"
        assert list(archive.attachments) == ["model.bin"]
        assert archive.extract("model.bin", tmp_path).read_bytes() == bytes(range(256)) * 40
        assert archive.extract("document/README.md", tmp_path / "x.md").read_text() == "# Königsberg\n"
        with pytest.raises(vark.TargetExistsError):
            archive.extract("README.md", tmp_path / "x.md")
        with pytest.raises(vark.UnknownNameError):
            archive.extract("none", tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_the_root_does_not_depend_on_the_number_of_threads(tmp_path, vectors):
    streams = []
    for threads in (1, 2):
        vark.write_archive(vectors, tmp_path / f"{threads}.vark", threads=threads)
        with vark.open_archive(tmp_path / f"{threads}.vark") as archive:
            streams.append([(info.name, info.stored_bytes) for info in archive.streams])
    assert streams[0] == streams[1]


def test_an_existing_target_is_kept_unless_replacing_was_asked_for(archive_path, vectors):
    before = archive_path.read_bytes()
    with pytest.raises(FileExistsError):
        vark.write_archive(vectors, archive_path)
    assert archive_path.read_bytes() == before
    vark.write_archive(vectors[:10], archive_path, replace=True)
    with vark.open_archive(archive_path) as archive:
        assert len(archive["vectors"]) == 10


def test_restore_gives_the_file_back_and_keeps_what_exists(archive_path, tmp_path, vectors):
    with vark.open_archive(archive_path) as archive:
        report = archive.restore(tmp_path / "out.npy")
        assert np.array_equal(np.load(tmp_path / "out.npy"), vectors)
        assert report.byte_count == (tmp_path / "out.npy").stat().st_size
        with pytest.raises(vark.TargetExistsError):
            archive.restore(tmp_path / "out.npy")
        archive.restore(tmp_path / "out.npy", replace=True)
        with pytest.raises(vark.LimitError):
            archive.restore(tmp_path / "small.npy", max_bytes=100)
        with pytest.raises(vark.UnknownNameError):
            archive.restore(tmp_path / "none.npy", member="none")
    assert not (tmp_path / "small.npy").exists()


def test_an_array_can_be_loaded_without_a_file(archive_path, vectors):
    with vark.open_archive(archive_path) as archive:
        assert np.array_equal(archive.load(), vectors)


def test_an_archive_can_be_written_to_a_descriptor(tmp_path, vectors):
    with open(tmp_path / "a.vark", "wb") as file:
        vark.write_archive(vectors, file.fileno())
    with vark.open_archive(tmp_path / "a.vark") as archive:
        assert np.array_equal(archive.load(), vectors)


def test_verify_finds_a_whole_archive_whole(archive_path):
    for level in ("stored", "full"):
        report = vark.verify_archive(archive_path, level=level)
        assert report.ok
        assert bool(report)
        assert report.damage == ()
        assert report.level == level
    with vark.open_archive(archive_path) as archive:
        assert archive.verify().ok


def test_damage_is_reported_by_verify_and_refused_by_readers(damaged_path, tmp_path):
    report = vark.verify_archive(damaged_path)
    assert not report.ok
    assert report.damage
    with vark.open_archive(damaged_path) as archive, pytest.raises(vark.DamagedError) as caught:
        for info in archive.streams:
            _ = archive[info.name][:]
    assert caught.value.code == "damaged"
    assert caught.value.layer is not None
    with vark.open_archive(damaged_path) as archive:
        with pytest.raises(vark.DamagedError):
            archive.restore(tmp_path / "out.npy")
        with pytest.raises(vark.DamagedError):
            archive.load()
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"x" * 1000])
def test_a_file_that_is_no_archive_says_so(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises((vark.NotAnArchiveError, vark.DamagedError)):
        vark.open_archive(tmp_path / "x")


def test_a_missing_file_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        vark.open_archive(tmp_path / "none.vark")
    with pytest.raises(FileNotFoundError):
        vark.write_archive(tmp_path / "none", tmp_path / "a.vark")
    with pytest.raises(FileNotFoundError):
        vark.write_archive(np.zeros(3), tmp_path / "no folder" / "a.vark")


def test_an_exception_in_the_progress_callback_cancels_and_leaves_nothing(tmp_path):
    with open(tmp_path / "large", "wb") as file:
        file.truncate(4_000_000_000)  # zeros without blocks: seconds of work
    with pytest.raises((ZeroDivisionError, vark.CancelledError)):
        vark.write_archive(tmp_path / "large", tmp_path / "a.vark", progress=lambda done, total: 1 // 0)
    assert [path.name for path in tmp_path.iterdir()] == ["large"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"memory": "lots"}, "memory"),
        ({"compression": "lzma"}, "compression"),
        ({"application": {"ratio": 0.5}}, "float"),
        ({"application": {"x": object()}}, "JSON"),
        ({"documents": {"a/b": "x"}}, "document"),
        ({"documents": {"CON.txt": "x"}}, "Windows"),
        ({"documents": {"a": 7}}, "bytes"),
        ({"documents": "one"}, "list"),
        ({"probes": {"queries": [[1.0]], "truth": "source"}}, "truth"),
        ({"probes": {"queries": [[1.0]], "kk": 3}}, "kk"),
    ],
)
def test_senseless_arguments_are_refused_before_anything_is_written(tmp_path, vectors, options, words):
    with pytest.raises(vark.InvalidArgumentError, match=words):
        vark.write_archive(vectors, tmp_path / "a.vark", **options)
    assert list(tmp_path.iterdir()) == []


def test_errors_are_the_builtins_one_would_catch_and_survive_pickling():
    for code, kind in ERROR_CLASSES.items():
        error = error_for(code, "place: expected 1, found 2", "index")
        assert type(error) is kind
        assert (error.code, error.layer, str(error)) == (code, "index", "place: expected 1, found 2")
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), copy.code, str(copy)) == (kind, code, str(error))
        assert exit_code_for(error) != 0
    assert isinstance(error_for("no-space", "", None), OSError)
    assert error_for("no-space", "", None).errno == 28
    assert type(error_for("a code of tomorrow", "x", None)) is vark.VarkError
    assert isinstance(error_from_os(PermissionError(13, "no"), "x"), vark.AccessDeniedError)
    assert exit_code_for(error_for("no-space", "", None)) == 15
    assert exit_code_for(error_for("unsupported", "", None)) == 13
    assert exit_code_for(error_for("damaged", "", None)) == 4


def test_public_names_exist():
    for name in vark.__all__:
        assert getattr(vark, name) is not None


def test_an_npy_member_is_the_file_that_numpy_writes(archive_path, vectors, tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, vectors)
    with vark.open_archive(archive_path) as archive:
        archive.restore(tmp_path / "x.npy")
    assert (tmp_path / "x.npy").read_bytes() == buffer.getvalue()


def test_paths_may_be_text_or_path(archive_path):
    with vark.open_archive(os.fspath(archive_path)) as archive:
        assert archive.path == str(archive_path)
        assert archive.io_counts[0] >= 1
        assert len(archive.root) == 64
