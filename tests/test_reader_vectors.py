"""The second implementation against the vectors: spec/reader.py reads what it must and refuses what it must."""

from __future__ import annotations

import contextlib
import json
import random
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import pytest

SPEC = Path(__file__).resolve().parent.parent / "spec"
VECTORS = SPEC / "vectors"
sys.path[:0] = [str(SPEC), str(VECTORS)]

import kit  # noqa: E402
import make_vectors  # noqa: E402
import reader  # noqa: E402
import reader_codecs  # noqa: E402
import reader_ids  # noqa: E402
import reader_plan  # noqa: E402
import whole  # noqa: E402

CASES: list[dict[str, Any]] = json.loads((VECTORS / "vectors.json").read_text())
WHOLE = [case for case in CASES if case["expect"] == "ok"]
FAULTY = [case for case in CASES if case["expect"] != "ok"]


def path_of(case: dict[str, Any]) -> Path:
    return VECTORS / f"{case['name']}.vark"


def by_name(case: dict[str, Any]) -> str:
    return str(case["name"])


def digest(data: bytes) -> str:
    return blake3.blake3(data).hexdigest()


@pytest.mark.parametrize("case", WHOLE, ids=by_name)
def test_whole_vectors_give_their_streams_and_members(case: dict[str, Any], tmp_path: Path) -> None:
    lies = case.get("ids", {}).get("lies", False)
    assert [fault.layer for fault in reader.verify(path_of(case))] == ["codec"] * lies
    with reader.Archive(path_of(case)) as archive:
        for stream in case["streams"]:
            rows = archive.rows(stream["name"], 0, stream["row_count"])
            assert rows.shape == (stream["row_count"], stream["row_elements"])
            assert digest(rows.tobytes()) == stream["blake3"]
        members, folders = case.get("members", []), case.get("folders", [])
        assert [member.name for member in archive.members()[0]] == [member["name"] for member in members]
        if not members and not folders:
            with pytest.raises(ValueError, match="no members"):
                archive.restore(tmp_path / "target")
            return
        archive.restore(tmp_path / "target")
        one_file = len(members) == 1 and not folders
        for member in members:
            file = tmp_path / "target" if one_file else tmp_path / "target" / member["name"]
            assert (file.stat().st_size, digest(file.read_bytes())) == (member["bytes"], member["blake3"])
        assert all((tmp_path / "target" / folder).is_dir() for folder in folders)
        assert [entry.name for entry in tmp_path.iterdir()] == ["target"]
        with pytest.raises(FileExistsError):
            archive.restore(tmp_path / "target")


@pytest.mark.parametrize("case", [case for case in WHOLE if "ids" in case], ids=by_name)
def test_ids_are_found_in_their_rows_and_an_index_that_lies_is_refused(case: dict[str, Any]) -> None:
    with reader.Archive(path_of(case)) as archive:
        name = case["ids"]["stream"]
        for wanted, rows in case["ids"]["found"]:
            assert reader_ids.rows_of_id(archive, name, wanted) == rows
        for wanted in case["ids"]["refused"]:
            with pytest.raises(reader_codecs.ArchiveFault) as caught:
                reader_ids.rows_of_id(archive, name, wanted)
            assert caught.value.layer == "codec"


@pytest.mark.parametrize("case", FAULTY, ids=by_name)
def test_faulty_vectors_are_refused_by_their_layer_at_their_stage(case: dict[str, Any], tmp_path: Path) -> None:
    assert {fault.layer for fault in reader.verify(path_of(case))} == {case["expect"]}
    seen: list[str] = []
    try:
        with reader.Archive(path_of(case)) as archive:
            seen.append("open")
            for stream in archive.streams:
                archive.rows(stream.name, 0, stream.row_count)
            seen.append("read")
            archive.restore(tmp_path / "target")
    except reader_codecs.ArchiveFault as fault:
        assert fault.layer == case["expect"]
    except ValueError:
        assert case["stage"] == "verify"  # no members
    assert seen == {"open": [], "read": ["open"], "plan": ["open", "read"], "verify": ["open", "read"]}[case["stage"]]
    assert list(tmp_path.iterdir()) == []


def test_each_fault_of_every_layer_has_a_vector() -> None:
    layers = {case["expect"] for case in FAULTY}
    assert layers == {
        "trailer",
        "directory",
        "index",
        "block",
        "codec",
        "digest",
        "metadata",
        "plan",
        "header",
        "padding",
    }
    assert sum(path_of(case).stat().st_size for case in CASES) < 3 << 19


def test_vectors_on_disk_are_those_the_kit_makes() -> None:
    made = make_vectors.records()
    assert [entry for entry, _ in made] == CASES
    assert {path.stem for path in VECTORS.glob("*.vark")} == {case["name"] for case in CASES}
    for entry, archive in made:
        assert path_of(entry).read_bytes() == archive, entry["name"]


def test_an_unknown_codec_leaves_other_streams_readable() -> None:
    with reader.Archive(VECTORS / "codec-unknown-31.vark") as archive:
        assert archive.rows("good", 0, 4).tobytes() == b"good"
        with pytest.raises(reader_codecs.ArchiveFault, match="codec"):
            archive.rows("bad", 0, 1)


def small_archive() -> bytes:
    """Every codec and every kind of run in a few kilobytes."""
    values, numbers = struct.pack("<6f", 1, -2, 3.5, 0, 1e9, -1e-9), struct.pack("<4I", 0, 2, 1, 1)
    groups = {
        "kind": "groups",
        "groups": 4,
        "fields": [whole.take("pack", 1), whole.take("text", "counted")],
        "counts": whole.counts("pack", 4),
    }
    derived = {
        "kind": "derived",
        "rule": "running-offsets",
        "groups": 4,
        "counts": whole.counts("pack", 4),
        "table": [0, 1, 9],
    }
    streams = [
        kit.Stream("text", 2, kit.U8, 1, b"zstd", 3, kit.ZSTD),
        kit.Stream("floats", 3, kit.F32, 2, values, 2, kit.FLOAT32),
        kit.Stream("pack", 8, kit.U32, 1, numbers, 0, kit.BITPACK, [kit.encode_bitpack(numbers, 4, 0, 2)]),
        kit.Stream(
            "line", 5, kit.U16, 1, struct.pack("<4H", 7, 9, 11, 13), 0, kit.AFFINE, [kit.encode_affine(7, 2, 2)]
        ),
    ]
    runs = [whole.rows("floats", 0, 3), groups, derived, whole.rows("line", 1, 3)]
    member = {"name": "m", "bytes": 24 + 20 + 40 + 6, "layout": "test", "runs": runs}
    return kit.build(streams, plan={"version": 1, "members": [member]}, entries_per_block=3)


def returned(path: Path) -> Iterator[Any]:
    """All that a reader gives out, piece by piece."""
    with reader.Archive(path) as archive:
        yield archive.metadata, archive.root, [vars(stream) for stream in archive.streams]
        for stream in archive.streams:
            yield archive.rows(stream.name, 0, stream.row_count).tobytes()
        yield [b"".join(p.tobytes() for p in reader_plan.member_pieces(archive, m)) for m in archive.members()[0]]


def check_damage(path: Path, original: list[Any]) -> bool:
    """True when reading was refused; whatever was returned before must be right, and verification must know."""
    pieces: list[Any] = []
    with contextlib.suppress(reader_codecs.ArchiveFault):
        pieces.extend(returned(path))
    assert pieces == original[: len(pieces)]
    assert reader.verify(path) != []
    return len(pieces) < len(original)


def test_every_truncation_is_reported(tmp_path: Path) -> None:
    data, path = small_archive(), tmp_path / "cut.vark"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert [fault.layer for fault in reader.verify(path)] == ["trailer"], length
    print(f"{len(data)} truncations")


def test_every_flipped_bit_is_reported_and_never_a_wrong_row(tmp_path: Path) -> None:
    data, path = small_archive(), tmp_path / "bit.vark"
    path.write_bytes(data)
    assert reader.verify(path) == []
    original = list(returned(path))
    refused, bits = 0, [*range(0, 8 * len(data), 5)]
    for bit in bits:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        refused += check_damage(path, original)
    print(f"{len(bits)} of {8 * len(data)} bits, {refused} refused when reading")


def test_sealed_nonsense_gives_faults_and_nothing_else(tmp_path: Path) -> None:
    """Random bytes below right checksums: what a forger would write. Only ArchiveFault may come out."""
    seed, path, refused = 20_250_101, tmp_path / "forged.vark", 0
    chance = random.Random(seed)

    def garble(value: Any) -> bytes:
        data = bytearray(value)
        for _ in range(chance.choice((1, 1, 2, 5))):
            at = chance.randrange(len(data))
            new = chance.choice((b"\0", b"\xff" * 8, b"\x80", bytes([chance.randrange(256)])))
            data[at : at + len(new)] = new[: len(data) - at]
        return bytes(data)

    plan = next(case for case in whole.cases() if case.name == "plan-inline-counts")
    for number in range(600):
        text = kit.to_json(plan.plan())
        if number % 2:
            archive = kit.build(plan.streams, plan=text, edits={"directory": garble})
        else:
            at = chance.randrange(len(text))
            word = chance.choice(
                (b"0", b"9" * 18, b"-1", b"[", b"}", b'"', b"null", b"counted", b"18446744073709551615")
            )
            archive = kit.build(plan.streams, plan=text[:at] + word + text[at + chance.randrange(6) :])
        path.write_bytes(archive)
        faults = reader.verify(path)
        refused += bool(faults)
    print(f"seed {seed}: 600 forgeries, {refused} refused")
    assert refused > 400


def test_a_member_digest_that_differs_is_refused_before_the_target_exists(tmp_path: Path) -> None:
    case = next(case for case in whole.cases() if case.name == "plan-one-member-digest")
    case.more["blake3"] = "0" * 64
    (tmp_path / "a.vark").write_bytes(case.archive())
    assert [fault.layer for fault in reader.verify(tmp_path / "a.vark")] == ["digest"]
    with reader.Archive(tmp_path / "a.vark") as archive, pytest.raises(reader_codecs.ArchiveFault, match="digest"):
        archive.restore(tmp_path / "target")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.vark"]


def test_restore_keeps_to_the_callers_limit(tmp_path: Path) -> None:
    with reader.Archive(VECTORS / "plan-rows.vark") as archive, pytest.raises(OSError, match="too many"):
        archive.restore(tmp_path / "target", max_bytes=10)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_writes_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, out = str(VECTORS / "plan-inline-counts.vark"), tmp_path / "rows.npy"
    assert reader.main(["rows", archive, "labels", "2", "3", str(out)]) == 0
    assert np.load(out).ravel().tolist() == [102, 103, 104]
    assert reader.main(["stream", archive, "literal", str(tmp_path / "raw")]) == 0
    assert (tmp_path / "raw").read_bytes() == b"HEADTAIL"
    assert reader.main(["restore", archive, str(tmp_path / "index.bin")]) == 0
    assert reader.main(["info", archive]) == 0
    assert '"labels"' in capsys.readouterr().out
    assert reader.main(["verify", archive]) == 0
    assert reader.main(["verify", str(VECTORS / "block-bit.vark")]) == 1
    assert "block: block 0 of stream" in capsys.readouterr().out
    for refused in (
        ["restore", archive, str(tmp_path / "index.bin")],
        ["rows", archive, "labels", "9", "1", "x"],
        ["info", str(VECTORS / "not-an-archive.vark")],
        ["stream", archive, "nothing", "x"],
    ):
        assert reader.main(refused) == 1


def test_the_worked_example_of_the_format_is_its_vector() -> None:
    text = (SPEC / "FORMAT.md").read_text().split("## 11 Worked example")[1].split("```")[1]
    found = b""
    for line in text.strip("\n").splitlines():
        offset, shown = re.fullmatch(r" *(\d+)  (.{66}).*", line).groups()  # type: ignore[union-attr]
        assert int(offset) == len(found)
        hexadecimal, _, zeros = shown.strip().rpartition("00 x ") if "00 x" in shown else (shown, "", "0")
        found += bytes.fromhex(hexadecimal) + bytes(int(zeros))
    assert found == (VECTORS / "one-stream.vark").read_bytes()


def test_the_examples_of_the_codec_pages_decode_to_their_values() -> None:
    numbers = {"raw": 0, "zstd": 1, "float32": 2, "bitpack": 3, "affine": 4, "float16": 5, "narrow": 7}
    seen = 0
    for page, codec in numbers.items():
        text = (SPEC / "codecs" / f"{page}.md").read_text()
        for kind, values, block in re.findall(
            r"\*Example\* \((\w+)\): the values `(.*?)` give the block `(.*?)`", text
        ):
            expected = np.array([float(value) for value in values.split()]).astype(reader_codecs.DTYPES[kind])
            raw = reader_codecs.decode(codec, kind, bytes.fromhex(block), expected.nbytes, page)
            assert raw.tobytes() == expected.tobytes()
            seen += 1
    assert seen >= len(numbers)
    for page, codec in {**numbers, "bfloat16": 6, "links": 9, "lists": 10}.items():
        text = (SPEC / "codecs" / f"{page}.md").read_text()
        fields = dict(re.findall(r"^(type|row|chunk|block): +(.*)$", text, re.MULTILINE))
        chunk, block = bytes.fromhex(fields["chunk"]), bytes.fromhex(fields["block"])
        raw = reader_codecs.decode(codec, fields["type"], block, len(chunk), page, int(fields.get("row", 1)))
        assert raw.tobytes() == chunk


def test_crc64_agrees_with_the_bit_by_bit_definition_and_continues() -> None:
    assert reader_codecs.crc64(b"123456789") == kit.crc64(b"123456789") == 0xAE8B14860A799888
    for byte_count in (0, 1, 7, 8, 9, 63, 64, 65, 1000, 4099):
        data = kit.noise("crc", byte_count)
        assert reader_codecs.crc64(data) == kit.crc64(data)
    long = kit.noise("long", (1 << 20) + 77)
    assert reader_codecs.crc64(long[999:], reader_codecs.crc64(long[:999])) == reader_codecs.crc64(long)
