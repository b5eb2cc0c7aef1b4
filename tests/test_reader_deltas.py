"""Deltas and repositories in the second implementation: where ancestors come from, hostile tables, whole snapshots."""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import pytest

SPEC = Path(__file__).resolve().parent.parent / "spec"
VECTORS = SPEC / "vectors"
sys.path[:0] = [str(SPEC), str(VECTORS)]

import delta_blocks  # noqa: E402
import delta_faults  # noqa: E402
import kit  # noqa: E402
import reader  # noqa: E402
import reader_codecs  # noqa: E402
import reader_deltas  # noqa: E402
import reader_edits  # noqa: E402
import reader_repository  # noqa: E402
import reader_residual  # noqa: E402

import deltas  # noqa: E402

FIRST, SECOND = (deltas.name_of(archive_id) for archive_id in (deltas.FIRST_ID, deltas.SECOND_ID))
MAPPED = next(case for case in deltas.mapped() if case.name == "delta-mapped")


def test_ancestors_are_found_where_the_caller_says_or_beside_the_archive(tmp_path: Path) -> None:
    (tmp_path / "delta.vark").write_bytes(MAPPED.archive())
    shutil.copy(VECTORS / f"{FIRST}.vark", tmp_path / f"{FIRST}.vark")
    given = {SECOND: VECTORS / f"{SECOND}.vark"}
    with reader.Archive(tmp_path / "delta.vark", given) as archive:
        assert archive.rows("vectors", 0, 11).tobytes() == MAPPED.streams[0].data
        assert archive.verify() == []
    with reader.Archive(tmp_path / "delta.vark") as archive:
        own = MAPPED.streams[4]
        assert archive.rows(own.name, 0, own.row_count).tobytes() == own.data  # needs no ancestor
        with pytest.raises(reader_codecs.ArchiveFault, match=f"directory: ancestor {SECOND}: expected it at"):
            archive.rows("vectors", 0, 11)
        assert [fault.layer for fault in archive.verify()] == ["directory"]
    with reader.Archive((tmp_path / "delta.vark").open("rb")) as archive:
        with pytest.raises(reader_codecs.ArchiveFault, match="among the archives given"):
            archive.rows("vectors", 0, 1)


def test_the_example_of_the_map_page_and_random_maps_decode_to_their_values() -> None:
    example = [(1, 10), (2, 0), (1, 12), (1, 14)]
    block = delta_blocks.encode_map(example, 10, [1])
    assert block[24:] == kit.zstd_frame(b"\0\1\0\0") + kit.zstd_frame(b"\0\0\0\1")
    assert reader_deltas.decode_map(block, 4, 10, "map")[0].tobytes() == delta_blocks.map_values(example)
    seed = 4711
    chance = random.Random(seed)
    for _ in range(300):
        targets = chance.sample(range(65_536), chance.randint(1, 5))
        last, values = dict.fromkeys(targets, 0), []
        for _ in range(chance.randint(1, 60)):
            target = chance.choice(targets)
            jump = chance.choice((1, 1, 1, 2, 255, 256, -1, 0, 1 << 47))
            last[target] = (last[target] + jump) % (1 << 48)
            values.append((target, last[target]))
        first_row, positional = chance.randrange(1000), targets[:: chance.randint(1, 2)]
        block = delta_blocks.encode_map(values, first_row, positional)
        found = reader_deltas.decode_map(block, len(values), first_row, f"seed {seed}")[0]
        assert found.tobytes() == delta_blocks.map_values(values)


@pytest.mark.parametrize("page", ["residual", "edits"])
def test_the_example_of_a_page_decodes_to_its_chunk(page: str) -> None:
    text = (SPEC / "codecs" / f"{page}.md").read_text()
    fields = dict(re.findall(r"^(type|row|nodes|base|chunk|block): +(.*)$", text, re.MULTILINE))
    base, chunk, block = (bytes.fromhex(fields[name]) for name in ("base", "chunk", "block"))
    old, element_type = np.frombuffer(base, np.uint8), fields["type"]
    if page == "residual":
        found = reader_residual.decode_residual(block, old, len(chunk), element_type, page)
    else:
        nodes = np.array([int(node) for node in fields["nodes"].split()], np.uint64)
        found = reader_edits.decode_edits(block, old, len(chunk), int(fields["row"]), element_type, nodes, page)
    assert found.tobytes() == chunk


def test_every_flipped_bit_of_a_delta_is_reported_and_never_a_wrong_row(tmp_path: Path) -> None:
    whole, refused = MAPPED.archive(), 0
    for name in (FIRST, SECOND):
        shutil.copy(VECTORS / f"{name}.vark", tmp_path / f"{name}.vark")
    path, bits = tmp_path / "bit.vark", range(3, 8 * len(whole), 61)
    expected = {stream.name: stream.data for stream in MAPPED.streams}
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert reader.verify(path) != [], bit
        try:
            with reader.Archive(path) as archive:
                for stream in archive.streams:
                    assert archive.rows(stream.name, 0, stream.row_count).tobytes() == expected[stream.name]
        except reader_codecs.ArchiveFault:
            refused += 1
    print(f"{len(bits)} bits, {refused} refused when reading")


def test_damage_in_an_ancestor_is_reported_where_a_block_is_used(tmp_path: Path) -> None:
    path, used = tmp_path / "delta.vark", deltas.IN_FIRST["vectors"][1]
    assert used is not None
    path.write_bytes(MAPPED.archive())
    shutil.copy(VECTORS / f"{SECOND}.vark", tmp_path / f"{SECOND}.vark")
    damaged = bytearray((VECTORS / f"{FIRST}.vark").read_bytes())
    damaged[-1] ^= 1  # not read
    (tmp_path / f"{FIRST}.vark").write_bytes(damaged)
    assert reader.verify(path) == []
    damaged[used.offset] ^= 1
    (tmp_path / f"{FIRST}.vark").write_bytes(damaged)
    faults = reader.verify(path)
    assert [(fault.layer, fault.place) for fault in faults] == [("block", 'block 1 of stream "vectors//part.1"')]


def test_sealed_nonsense_in_deltas_gives_faults_and_nothing_else(tmp_path: Path) -> None:
    """Random words below right checksums, in the tables and in the blocks of maps. Only ArchiveFault may come out."""
    seed, refused, path = 20_261_125, 0, tmp_path / "forged.vark"
    chance = random.Random(seed)
    shutil.copy(VECTORS / f"{FIRST}.vark", tmp_path / f"{FIRST}.vark")

    def garble(value: bytes) -> bytes:
        data = bytearray(value)
        for _ in range(chance.choice((1, 1, 2, 4))):
            at = chance.randrange(len(data))
            new = chance.choice((b"\0", b"\xff" * 8, b"\x80", bytes([chance.randrange(256)])))
            data[at : at + len(new)] = new[: len(data) - at]
        return bytes(data)

    def some_field(records: list[dict[str, Any]]) -> None:
        record = chance.choice(records)
        key = chance.choice([key for key, value in record.items() if type(value) is int and value < 1 << 16])
        record[key] = chance.choice((0, 1, 2, 3, 32, 33, 34, 37, 255, 65_535))

    def some_block(blocks: list[bytes]) -> list[bytes]:
        return [garble(block) if block else block for block in blocks]

    for number in range(600):
        stage = ("directory", "records", "entries", "blocks")[number % 4]
        change = {"directory": garble, "records": some_field, "entries": some_field, "blocks": some_block}[stage]
        try:
            data = kit.build(delta_faults.base(), ancestors=[deltas.FIRST], edits={stage: change})
        except (OverflowError, reader_codecs.struct.error):
            continue
        path.write_bytes(data)
        refused += bool(reader.verify(path))
    print(f"seed {seed}: {refused} refused")
    assert refused > 400


# Repositories.

REPOSITORY, SNAPSHOT = "a" * 32, "0190a7c7" + "5" * 24
PLAN = next(case for case in deltas.plans())


def record(folder: Path, place: str, values: dict[str, Any]) -> Path:
    """A record under the BLAKE3 of its bytes."""
    data = kit.to_json(values)
    path = folder / place / f"{blake3.blake3(data).hexdigest()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def put_archive(folder: Path, data: bytes, cuts: list[int], shard: str = "") -> dict[str, Any]:
    """An archive in volumes, and what a commit says of it."""
    archive_id, edges = deltas.name_of(data[-64:-48]), [0, *cuts, len(data)]
    (folder / "archives" / archive_id).mkdir(parents=True)
    volumes = [data[low:high] for low, high in itertools.pairwise(edges)]
    for number, volume in enumerate(volumes):
        (folder / "archives" / archive_id / f"{number:06d}.vark").write_bytes(volume)
    sizes, root = [len(volume) for volume in volumes], data[-96:-64].hex()
    return {"id": archive_id, "shard": shard, "volumes": sizes, "root": root, "bytes": len(data), "base": None}


def repository(folder: Path, *, shards: bool = False, **changes: Any) -> Path:
    """A repository with one snapshot of a delta; returns its commit record."""
    folder.mkdir()
    marker = {"format": "vark-repository", "version": 1, "id": REPOSITORY, "created_unix_ms": 1, "volume_bytes": None}
    (folder / "vark.json").write_bytes(kit.to_json(marker))
    first = put_archive(folder, deltas.FIRST, [64, 700])
    own = put_archive(folder, PLAN.archive(), [1, 2, 1900], "a" if shards else "")
    archives = [own]
    if shards:
        archives.append(put_archive(folder, kit.build(PLAN.streams[4:], archive_id=b"b" * 16, ancestors=[deltas.FIRST],
                                                      plan=folder_plan()), [], "b"))  # fmt: skip
    values = {"kind": "commit", "version": 1, "repository": REPOSITORY, "snapshot": SNAPSHOT, "name": "index",
              "created_unix_ms": 5, "archives": archives, "unknown": {"a": [1]},
              "closure": [{key: first[key] for key in ("id", "bytes", "root")}]}  # fmt: skip
    return record(folder, "commits/2026-11", {**values, **changes})


def folder_plan() -> dict[str, Any]:
    run = {"kind": "rows", "stream": "literal", "first": 0, "rows": 4}
    members = [{"name": f"{name}/head", "bytes": 4, "layout": "opaque", "runs": [run]} for name in "xy"]
    return {"version": 1, "members": members}


def test_a_snapshot_restores_from_volumes_of_its_archive_and_ancestors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit, folder, target = repository(tmp_path / "r"), str(tmp_path / "r"), tmp_path / "index.bin"
    assert reader.main(["snapshots", folder]) == 0
    assert capsys.readouterr().out == f"{SNAPSHOT} 5 2 index\n"
    assert reader.main(["restore", folder, SNAPSHOT[:10], str(target)]) == 0
    assert target.read_bytes() == (PLAN.members or {})["index.bin"]
    assert reader.main(["restore", folder, commit.stem[:9], str(tmp_path / "again")]) == 0
    assert reader.main(["restore", folder, SNAPSHOT, str(target)]) == 1
    assert "exists" in capsys.readouterr().err
    for unknown in ("019", "ffff", ""):
        assert reader.main(["restore", folder, unknown or "0000", str(tmp_path / "none")]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "index.bin", "r"]


def test_a_snapshot_of_several_archives_restores_to_a_folder_of_shards(tmp_path: Path) -> None:
    repository(tmp_path / "r", shards=True)
    reader_repository.Repository(tmp_path / "r").restore(SNAPSHOT, tmp_path / "t", reader.Archive)
    assert (tmp_path / "t" / "a" / "index.bin").read_bytes() == (PLAN.members or {})["index.bin"]
    assert (tmp_path / "t" / "b" / "y" / "head").read_bytes() == b"HEAD"
    with pytest.raises(FileExistsError):
        reader_repository.Repository(tmp_path / "r").restore(SNAPSHOT, tmp_path / "t", reader.Archive)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "commits"}, "kind"),
        ({"version": 2}, "kind"),
        ({"repository": "b" * 32}, "repository"),
        ({"snapshot": "x"}, "snapshot"),
        ({"archives": []}, "an archive or more"),
        ({"archives": [{"id": "../../x"}]}, "'volumes'"),
        ({"created_unix_ms": -1}, "created_unix_ms"),
        ({"created_unix_ms": True}, "created_unix_ms"),
        ({"closure": [{"id": "../../../x"}]}, "'id'"),
    ],
)
def test_a_commit_that_breaks_a_rule_is_reported_and_not_restored(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    repository(tmp_path / "r", **changes)
    found = reader_repository.Repository(tmp_path / "r")
    assert found.commits == []
    assert [fault.layer for fault in found.faults] == ["record"]
    assert message in str(found.faults[0])
    with pytest.raises(ValueError, match="1 records are damaged"):
        found.restore(SNAPSHOT, tmp_path / "t", reader.Archive)


def damage(folder: Path, what: str, commit: Path) -> None:
    own = folder / "archives" / deltas.name_of(kit.ARCHIVE_ID)
    first = folder / "archives" / FIRST / "000001.vark"
    if what == "commit":
        commit.write_bytes(commit.read_bytes().replace(b'"index"', b'"other"'))
    elif what == "volume missing":
        (own / "000001.vark").unlink()
    elif what == "volume more":
        (own / "000004.vark").write_bytes(b"x")
    elif what == "volume short":
        (own / "000002.vark").write_bytes((own / "000002.vark").read_bytes()[:-1])
    elif what == "ancestor missing":
        shutil.rmtree(first.parent)
    elif what == "ancestor short":
        first.write_bytes(first.read_bytes()[:-1])
    elif what == "other root":
        data = json.loads(commit.read_bytes())
        data["archives"][0]["root"] = "0" * 64
        commit.unlink()
        record(folder, "commits/2026-11", data)
    else:
        sweep = {"kind": "sweep", "version": 1, "repository": REPOSITORY, "archives": [{"id": FIRST, "bytes": 1}]}
        name = record(folder, "condemned", sweep).stem
        root = {"kind": "root", "version": 1, "repository": REPOSITORY, "sweeps": [name]}
        (folder / "root").mkdir()
        (folder / "root" / f"{7:020d}.json").write_bytes(kit.to_json(root))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("commit", "1 records are damaged"),
        ("volume missing", "volumes"),
        ("volume more", "volumes"),
        ("volume short", "volumes of"),
        ("ancestor missing", "volumes of it"),
        ("ancestor short", "directory: ancestor"),
        ("other root", "id and root"),
        ("swept", "is void"),
    ],
)
def test_a_damaged_repository_restores_nothing(tmp_path: Path, what: str, message: str) -> None:
    damage(tmp_path / "r", what, repository(tmp_path / "r"))
    with pytest.raises((reader_codecs.ArchiveFault, ValueError), match=re.escape(message)):
        reader_repository.Repository(tmp_path / "r").restore(SNAPSHOT, tmp_path / "t", reader.Archive)
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_volumes_read_like_one_file(tmp_path: Path) -> None:
    data = kit.noise("volumes", 1000)
    paths = [tmp_path / f"{number}" for number in range(3)]
    for path, (low, high) in zip(paths, ((0, 1), (1, 400), (400, 1000)), strict=True):
        path.write_bytes(data[low:high])
    with reader_repository.io.BufferedReader(reader_repository.Volumes(paths)) as whole:
        assert whole.read() == data
        for low in (0, 1, 2, 399, 400, 999, 1000):
            whole.seek(low)
            assert whole.read(500) == data[low : low + 500]


def test_a_repository_whose_rows_were_erased_reads_as_any_other(tmp_path: Path) -> None:
    hnswlib = pytest.importorskip("hnswlib")
    from vark.repository import Repository

    repository = Repository.create(tmp_path / "repository", encryption="none")
    rows = np.random.default_rng(1).standard_normal((400, 16), dtype=np.float32)
    index = hnswlib.Index("l2", 16)
    index.init_index(400, M=6, random_seed=1)
    index.add_items(rows, np.arange(400), num_threads=1)
    for day in range(3):
        repository.backup(index, name="h")
        index.add_items(rows[day * 4 : day * 4 + 4] + 1, np.arange(4) + day * 4, num_threads=1)
    repository.erase([3, 7, 350], name="h", confirm=True)
    repository.gc(confirm=True, trash=0, grace=0)
    for snapshot in repository.snapshots():
        repository.restore(snapshot, tmp_path / "by-engine", replace=True)
        commit = reader_repository.Repository(tmp_path / "repository").find(snapshot.id)
        assert commit.archives[0].id == snapshot.archives[0].id
        with reader.Archive(
            repository.store.local_path(f"archives/{snapshot.archives[0].id}/000000.vark"),
            {item.id: repository.store.local_path(f"archives/{item.id}/000000.vark") for item in snapshot.closure},
        ) as archive:
            assert archive.verify() == []
            archive.restore(tmp_path / "by-reader")
        restored = [path for path in (tmp_path / "by-reader").rglob("*") if path.is_file()] or [tmp_path / "by-reader"]
        assert restored[0].read_bytes() == (tmp_path / "by-engine").read_bytes()
        shutil.rmtree(tmp_path / "by-reader", ignore_errors=True)
        (tmp_path / "by-reader").unlink(missing_ok=True)
