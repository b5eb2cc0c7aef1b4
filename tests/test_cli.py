"""The command line: exit codes, what goes where, and that a failure leaves nothing behind."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import vark


def run(*arguments, cwd=None, **options):
    command = [sys.executable, "-m", "vark", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, cwd=cwd, timeout=120, stdin=subprocess.DEVNULL, **options)


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def source(tmp_path, vectors):
    np.save(tmp_path / "v.npy", vectors)
    return tmp_path / "v.npy"


def test_pack_verify_unpack(source, tmp_path):
    packed = run("pack", source, tmp_path / "a.vark", "--digest")
    assert packed.returncode == 0, packed.stderr
    assert packed.stdout == b""
    assert b"ratio" in packed.stderr
    verified = run("verify", tmp_path / "a.vark")
    assert verified.returncode == 0
    assert b"whole" in verified.stdout
    unpacked = run("unpack", tmp_path / "a.vark", tmp_path / "out.npy")
    assert unpacked.returncode == 0, unpacked.stderr
    assert (tmp_path / "out.npy").read_bytes() == source.read_bytes()


def test_json_lines_have_a_version_and_a_type_and_stdout_has_nothing_else(source, tmp_path):
    (packed,) = lines(run("pack", source, tmp_path / "a.vark", "--json"))
    assert (packed["schema_version"], packed["message_type"], packed["command"]) == (1, "summary", "pack")
    assert packed["partial"] is False
    assert packed["archive_bytes"] == (tmp_path / "a.vark").stat().st_size
    assert packed["streams"][0]["codecs"]
    (verified,) = lines(run("verify", tmp_path / "a.vark", "--json"))
    assert (verified["ok"], verified["damage"]) == (True, [])
    (unpacked,) = lines(run("unpack", tmp_path / "a.vark", tmp_path / "o.npy", "--json"))
    assert unpacked["byte_count"] == source.stat().st_size
    (inspected,) = lines(run("inspect", tmp_path / "a.vark", "--json"))
    assert inspected["members"][0]["name"] == "v.npy"
    assert any("probes" in sentence for sentence in inspected["not_in_archive"])


def test_a_partial_backup_exits_with_3_and_names_what_is_missing(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").write_bytes(b"a")
    (tmp_path / "root" / "l").symlink_to("a")
    result = run("pack", tmp_path / "root", tmp_path / "a.vark")
    assert result.returncode == 3
    assert b"symbolic link" in result.stderr
    warning, summary = lines(run("pack", tmp_path / "root", tmp_path / "a.vark", "--replace", "--json"))
    assert (warning["message_type"], warning["name"]) == ("warning", "l")
    assert summary["partial"] is True
    inspected = run("inspect", tmp_path / "a.vark")
    assert b"PARTIAL" in inspected.stdout
    assert b"l: a symbolic link" in inspected.stdout


def test_damage_exits_with_4(damaged_path, tmp_path):
    result = run("verify", damaged_path)
    assert result.returncode == 4
    assert b"DAMAGED" in result.stdout
    (report,) = lines(run("verify", damaged_path, "--json"))
    assert report["ok"] is False
    assert report["damage"][0]["layer"]
    result = run("unpack", damaged_path, tmp_path / "out", "--json")
    assert result.returncode == 4
    error = lines(result)[-1]
    assert (error["message_type"], error["code"], error["kind"]) == ("exit_error", 4, "damaged")
    assert error["hint"]
    assert not (tmp_path / "out").exists()


def test_damage_in_one_of_several_archives_is_not_hidden_by_the_others(damaged_path, archive_path, tmp_path):
    (tmp_path / "no.vark").write_bytes(b"nothing")
    result = run("verify", archive_path, damaged_path, tmp_path / "no.vark", "--json")
    assert result.returncode == 4
    assert len(lines(result)) == 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["pack"], 2),
        (["pack", "none", "a.vark"], 2),
        (["pack", "v.npy", "a.vark", "--layout", "zip"], 2),
        (["pack", "v.npy", "a.vark", "--memory", "lots"], 2),
        (["pack", "v.npy", "array.vark"], 2),
        (["pack", "v.npy", "a.vark", "--application", "[]"], 2),
        (["pack", "v.npy", "a.vark", "--application", "{"], 2),
        (["unpack", "none.vark", "out"], 2),
        (["unpack", "array.vark", "v.npy"], 2),
        (["unpack", "array.vark", "out", "--member", "none"], 2),
        (["unpack", "array.vark", "out", "--max-bytes", "10"], 1),
        (["cat", "array.vark", "none"], 2),
        (["cat", "array.vark", "vectors", "--rows", "x"], 2),
        (["cat", "array.vark", "vectors", "--rows", "600"], 2),
        (["nothing"], 2),
        (["inspect", "v.npy"], 1),
    ],
)
def test_failures_have_their_exit_code_and_leave_nothing(source, archive_path, tmp_path, arguments, code):
    before = sorted(tmp_path.iterdir())
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert result.stdout == b""
    assert b"Traceback" not in result.stderr
    assert result.stderr.count(b"\n") <= 3
    assert sorted(tmp_path.iterdir()) == before
    if arguments[0] not in ("cat", "nothing"):
        last = lines(run(*arguments, "--json", cwd=tmp_path))[-1]
        assert (last["message_type"], last["code"]) == ("exit_error", code)


def test_no_space_exits_with_15(source):
    result = run("pack", source, "/dev/full")
    assert result.returncode in (2, 15)  # a device is no target; where it is one, it is full
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "vark", "pack", str(source), "-"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert result.returncode == 15, result.stderr


def test_an_archive_can_be_written_to_stdout(source, tmp_path):
    result = run("pack", source, "-")
    assert result.returncode == 0, result.stderr
    (tmp_path / "a.vark").write_bytes(result.stdout)
    assert run("verify", tmp_path / "a.vark").returncode == 0
    assert run("pack", source, "-", "--json").returncode == 2


def test_cat_writes_rows_as_text_csv_npy_and_raw(archive_path, vectors):
    text = run("cat", archive_path, "vectors", "--rows", "3:5").stdout.decode().splitlines()
    assert np.array_equal(np.array([line.split() for line in text], np.float32), vectors[3:5])
    csv = run("cat", archive_path, "vectors", "--rows", "-1", "--format", "csv").stdout.decode()
    assert np.array_equal(np.array(csv.split(","), np.float32), vectors[-1])
    npy = run("cat", archive_path, "vectors", "--rows", ":10", "--format", "npy").stdout
    assert np.array_equal(np.load(io.BytesIO(npy)), vectors[:10])
    raw = run("cat", archive_path, "vectors", "--format", "raw").stdout
    assert raw == vectors.tobytes()
    assert run("cat", archive_path, "README.md").stdout.decode() == "# Königsberg\n"
    assert run("cat", archive_path, "document/README.md").stdout.decode() == "# Königsberg\n"
    assert run("cat", archive_path, "model.bin").stdout == bytes(range(256)) * 40


def test_inspect_lists_what_is_in_and_what_is_not(archive_path):
    text = run("inspect", archive_path).stdout.decode()
    for words in ("array.npy", "vectors", "README.md", "model.bin", "no payload", "never captured", "complete"):
        assert words in text


def test_pack_takes_documents_payload_and_probes(source, tmp_path, vectors):
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "R.md").write_text("hello")
    pyarrow.parquet.write_table(pyarrow.table({"id": np.arange(600)}), tmp_path / "p.parquet")
    np.save(tmp_path / "q.npy", vectors[:7])
    arguments = ["--document", "R.md", "--attach", "R.md", "--payload", "p.parquet", "--probes", "q.npy"]
    arguments += ["--application", '{"a":1}', "--json"]
    result = run("pack", "v.npy", "a.vark", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    with vark.open_archive(tmp_path / "a.vark") as archive:
        assert archive.documents["R.md"] == archive.attachments["R.md"] == b"hello"
        assert archive.payload().num_rows == 600
        assert archive.metadata["probes"]["truth"] == "exact"
        assert archive.metadata["application"] == {"a": 1}
        assert archive.members[0].name == "v.npy"
        assert np.array_equal(archive.load(), vectors)


def test_a_reader_that_goes_away_is_not_a_traceback(archive_path):
    command = f"'{sys.executable}' -m vark cat '{archive_path}' vectors | head -c 10"
    result = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
    assert len(result.stdout) == 10
    assert b"Traceback" not in result.stderr
    assert b"Exception" not in result.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_backup_and_leaves_nothing(tmp_path, number, code):
    (tmp_path / "root").mkdir()
    with open(tmp_path / "root" / "large", "wb") as file:
        file.truncate(40_000_000_000)  # a sparse file: minutes of zeros
    # A test run in the background may have been told to ignore SIGINT, and children inherit that.
    listening = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    listening += "runpy.run_module('vark', run_name='__main__')"
    command = [sys.executable, "-c", listening, "pack", "root", "a.vark"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while len(os.listdir(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)  # until the part file shows that the engine is at work
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code, error
    assert b"Traceback" not in error
    assert os.listdir(tmp_path) == ["root"]


def test_help_has_examples_for_each_command():
    result = run("--help")
    assert result.returncode == 0
    for command in (b"pack", b"unpack", b"verify", b"inspect", b"cat"):
        assert command in result.stdout
        assert b"vark " + command in run(command.decode(), "--help").stdout


def test_help_stays_quick_because_it_does_not_import_heavy_libraries():
    script = "import sys, vark.cli; print([m for m in ('faiss', 'hnswlib', 'pyarrow', 'rich') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell):
    result = run("--completion", shell)
    assert result.returncode == 0
    assert b"_VARK_COMPLETE" in result.stdout


def test_version_is_that_of_the_engine():
    assert vark.__version__.encode() in run("--version").stdout
