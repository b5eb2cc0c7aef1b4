"""`vark cat` and selections: rows by position and by id, out of archives and snapshots, as npy, Arrow and Parquet."""

import io
import json
import os
import subprocess
import sys

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vark
from test_cli import run

ROWS, DIM = 500, 8
IDS = np.random.default_rng(3).permutation(ROWS).astype(np.int64) * 3 - 700


@pytest.fixture
def rows():
    return np.random.default_rng(4).random((ROWS, DIM), dtype=np.float32)


@pytest.fixture
def index(rows):
    made = faiss.IndexIDMap(faiss.IndexFlatL2(DIM))
    made.add_with_ids(rows, IDS)
    return made


@pytest.fixture
def payload():
    """A row for each id but the last, in another order; the key is called otherwise than the id."""
    ids = np.sort(IDS[:-1])
    return pa.table({"key": ids, "title": [f"title {each}" for each in ids], "vector": ids * 2})


@pytest.fixture
def archive(tmp_path, index, payload):
    path = tmp_path / "a.vark"
    vark.write_archive(index, path, payload=payload, payload_key="key", sync=False)
    return path


def read(form, data):
    if form == "parquet":
        return pq.read_table(io.BytesIO(data))
    opened = pa.ipc.open_file(data) if form == "arrow" else pa.ipc.open_stream(data)
    return opened.read_all()


@pytest.mark.parametrize("form", ["arrow", "arrow-stream", "parquet"])
def test_rows_by_id_come_with_ids_and_payload(form, archive, rows):
    wanted = [int(IDS[9]), int(IDS[499]), int(IDS[2])]
    result = run("cat", archive, "vectors", "--ids", ",".join(map(str, wanted)), "--format", form)
    assert result.returncode == 0, result.stderr
    table = read(form, result.stdout)
    assert table.schema.names == ["id", "vector", "key", "title", "payload.vector"]
    assert table["id"].to_pylist() == wanted
    assert table.schema.field("vector").type == pa.list_(pa.float32(), DIM)
    assert np.array_equal(np.array(table["vector"].to_pylist(), np.float32), rows[[9, 499, 2]])
    assert table["title"].to_pylist() == [f"title {wanted[0]}", None, f"title {wanted[2]}"]
    assert table["payload.vector"].to_pylist() == [wanted[0] * 2, None, wanted[2] * 2]


def test_ids_that_are_not_there_are_listed_and_it_exits_with_3(archive, rows, tmp_path):
    (tmp_path / "ids.txt").write_text(f"{IDS[7]}\n-999999 {IDS[1]},\n888888\n")
    result = run("cat", archive, "vectors", "--ids", tmp_path / "ids.txt", "--format", "npy")
    assert result.returncode == 3
    assert np.array_equal(np.load(io.BytesIO(result.stdout)), rows[[7, 1]])
    assert b"id -999999: no row" in result.stderr
    assert b"id 888888: no row" in result.stderr
    np.save(tmp_path / "ids.npy", IDS[[5, 6]])
    result = run("cat", archive, "vectors", "--ids", tmp_path / "ids.npy", "--format", "csv")
    assert (result.returncode, result.stderr) == (0, b"")
    assert np.array_equal(np.loadtxt(io.BytesIO(result.stdout), delimiter=",", dtype=np.float32), rows[[5, 6]])
    result = subprocess.run(
        [sys.executable, "-m", "vark", "cat", archive, "vectors", "--ids", "-", "--format", "raw"],
        input=f"{IDS[5]}".encode(),
        capture_output=True,
        check=False,
    )
    assert result.stdout == rows[5].tobytes()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", [7]), ("5,10-12,-1", [5, 10, 11, 12, 499]), (":3", [0, 1, 2]), ("498:,0", [498, 499, 0])],
)
def test_rows_by_position_are_rows_ranges_and_lists_of_them(text, expected, archive, rows):
    result = run("cat", archive, "vectors", "--rows", text, "--format", "npy")
    assert np.array_equal(np.load(io.BytesIO(result.stdout)), rows[expected])


def test_of_a_snapshot_rows_come_as_they_were_then(tmp_path, index, rows):
    repository = vark.Repository.create(tmp_path / "repo", encryption="none")
    first = repository.backup(index, name="p", id_index=100)
    index.remove_ids(IDS[:5])
    repository.backup(index, name="p")
    environment = {**os.environ, "VARK_REPOSITORY": str(tmp_path / "repo")}
    wanted = f"{IDS[3]},{IDS[20]}"
    before = run("cat", first.snapshot, "vectors", "--ids", wanted, "--format", "npy", env=environment)
    assert before.returncode == 0, before.stderr
    assert np.array_equal(np.load(io.BytesIO(before.stdout)), rows[[3, 20]])
    after = run("cat", "latest", "vectors", "--repo", tmp_path / "repo", "--ids", wanted, "--format", "npy")
    assert after.returncode == 3
    assert np.array_equal(np.load(io.BytesIO(after.stdout)), rows[[20]])
    selection = repository.select(reference=first.snapshot, ids=[int(IDS[3])])
    assert np.array_equal(selection.values, rows[[3]])
    with repository.open_archive() as archive:
        assert "id_map//id_index.keys" in archive


def test_a_file_appears_when_it_is_complete_and_is_not_replaced_unasked(archive, rows, tmp_path):
    target = tmp_path / "part.parquet"
    arguments = ["cat", archive, "vectors", "--rows", "0:10", "--format", "parquet", "-o", target]
    assert run(*arguments).returncode == 0
    assert pq.read_table(target)["id"].to_pylist() == IDS[:10].tolist()
    assert run(*arguments).returncode == 2
    assert run(*arguments, "--replace", "--no-payload").returncode == 0
    assert pq.read_table(target).schema.names == ["id", "vector"]
    before = sorted(tmp_path.iterdir())
    assert run("cat", archive, "none", "-o", tmp_path / "other").returncode == 2
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["vectors", "--ids", "1", "--rows", "1"],
        ["vectors", "--ids", "1.5"],
        ["vectors", "--ids", "99999999999999999999"],
        ["vectors", "--rows", "0,600"],
        ["vectors", "--rows", "12-3"],
        ["vectors", "--rows", "0,,1"],
        ["vectors", "--shard", "a"],
        ["payload", "--ids", "1"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(arguments, archive):
    result = run("cat", archive, *arguments)
    assert (result.returncode, result.stdout) == (2, b""), result.stderr


def test_without_pyarrow_the_message_says_what_to_install(archive, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with vark.open_archive(archive) as opened, pytest.raises(vark.InvalidArgumentError, match=r"vark\[arrow\]"):
        opened.select(rows=[1]).to_arrow()
    with vark.open_archive(archive) as opened:
        assert len(opened.select(rows=[1]).values) == 1


def test_without_ids_arrow_has_row_numbers_and_bf16_comes_as_the_same_numbers(tmp_path, rows):
    vark.write_archive(rows, tmp_path / "a.vark", payload=pa.table({"x": range(ROWS)}), sync=False)
    with vark.open_archive(tmp_path / "a.vark") as archive:
        table = archive.select(rows=[3, -1]).to_arrow()
        assert table.schema.names == ["row", "vector", "x"]
        assert (table["row"].to_pylist(), table["x"].to_pylist()) == ([3, 499], [3, 499])
        assert archive.select(rows=slice(0, 0)).to_arrow().num_rows == 0
        with pytest.raises(vark.UnknownNameError, match="by position"):
            archive.select(ids=[1])


def test_a_payload_with_two_rows_of_an_id_is_refused_rather_than_guessed(tmp_path, index):
    twice = pa.table({"id": [int(IDS[4]), int(IDS[4])], "t": ["a", "b"]})
    vark.write_archive(index, tmp_path / "a.vark", payload=twice, payload_key="id", sync=False)
    with vark.open_archive(tmp_path / "a.vark") as archive:
        with pytest.raises(vark.InvalidArgumentError, match="several rows"):
            archive.select(ids=[int(IDS[4])]).to_arrow()
        assert archive.select(ids=[int(IDS[5])]).to_arrow().to_pylist()[0]["t"] is None
        assert archive.select(ids=[int(IDS[4])], payload=False).to_arrow().schema.names == ["id", "vector"]


def test_large_selections_are_written_in_parts(tmp_path, monkeypatch, archive, rows):
    monkeypatch.setattr("vark.selection.READ_BYTES", 7 * DIM * 4)
    with vark.open_archive(archive) as opened:
        for form in ("npy", "arrow", "parquet"):
            opened.select().write(tmp_path / form, form)
    assert np.array_equal(np.load(tmp_path / "npy"), rows)
    table = pq.read_table(tmp_path / "parquet")
    assert table.equals(pa.ipc.open_file(tmp_path / "arrow").read_all())
    assert table["id"].to_pylist() == IDS.tolist()
    assert table["title"].to_pylist() == [f"title {each}" for each in IDS[:-1]] + [None]


@pytest.mark.parametrize("key", [None, "x"])
def test_a_payload_of_other_rows_is_left_out_and_named(tmp_path, rows, key):
    path, target = tmp_path / "a.vark", tmp_path / "o.parquet"
    vark.write_archive(rows, path, payload=pa.table({"x": range(ROWS)}), payload_key=key, probes=rows[:7], sync=False)
    stream = "vectors" if key else "probe.queries"
    why = "has no ids" if key else f"it has {ROWS} rows, stream 'probe.queries' has 7"
    with vark.open_archive(path) as opened:
        selection = opened.select(stream, rows=slice(3))
        assert why in selection.notes[0]
        assert next(selection.parts()).notes == selection.notes
        assert opened.select(stream, rows=slice(3), payload=False).notes == ()
    arguments = ["cat", path, stream, "--rows", ":3", "--format", "parquet", "-o", target]
    said = run(*arguments)
    assert (said.returncode, why in said.stderr.decode()) == (0, True)
    as_json = run(*arguments, "--replace", "--json")
    assert as_json.returncode == 0, as_json.stdout
    warning, summary = map(json.loads, as_json.stdout.splitlines())
    assert warning["message_type"] == "warning"
    assert summary["notes"] == [warning["message"]]
    assert summary["row_count"] == 3
    assert run(*arguments[:-2], "--json").returncode == 2  # stdout carries the rows
    assert run("cat", path, stream, "--rows", ":3", "--format", "npy").stderr == b""
