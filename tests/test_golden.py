"""Archives that past versions wrote restore to what they held, by the engine and by the reference reader."""

import json
from pathlib import Path

import numpy as np
import pytest
import reader
import reader_ids
from blake3 import blake3

import vark

HERE = Path(__file__).resolve().parent
GOLDEN = json.loads((HERE / "golden" / "golden.json").read_text())


def digests(target):
    if target.is_file():
        return {"": blake3(target.read_bytes()).hexdigest()}
    files = (file for file in target.rglob("*") if file.is_file())
    return {str(file.relative_to(target)): blake3(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_archive_restores(name, tmp_path):
    path = HERE / "golden" / f"{name}.vark"
    expected = GOLDEN[name]
    keys = expected.get("keys", {})
    assert vark.verify_archive(path, **keys).ok
    with vark.open_archive(path, **keys) as archive:
        assert archive.is_encrypted == bool(keys)
        assert {info.name: [info.role, info.shape[0]] for info in archive.streams} == expected["streams"]
        archive.restore(tmp_path / "engine", sync=False)
    assert digests(tmp_path / "engine") == expected["members"]
    reader.Archive(str(path), secrets=keys.get("identities", ())).restore(str(tmp_path / "reader"))
    assert digests(tmp_path / "reader") == expected["members"]


def test_rows_by_id_of_a_golden_archive_are_found_by_its_index():
    path = HERE / "golden" / "v1.0_id_index.vark"
    with vark.open_archive(path) as archive, reader.Archive(str(path)) as reference:
        assert "id_map//id_index.keys" in archive
        ids = archive["id_map"][:]
        for row in (0, 249, 599):
            rows = np.flatnonzero(ids == ids[row]).tolist()
            assert len(rows) > 1
            assert archive.select(ids=ids[[row]]).rows.tolist() == rows
            assert reader_ids.rows_of_id(reference, "id_map", int(ids[row])) == rows


def test_a_golden_encrypted_archive_opens_with_its_passphrase():
    for name, entry in GOLDEN.items():
        if "passphrase" in entry:
            assert vark.verify_archive(HERE / "golden" / f"{name}.vark", passphrase=entry["passphrase"]).ok


def test_every_golden_archive_is_listed_and_every_codec_is_among_them():
    assert {path.stem for path in (HERE / "golden").glob("*.vark")} == set(GOLDEN)
    codecs = {codec for entry in GOLDEN.values() for codec in entry["codecs"]}
    assert codecs >= {"raw", "zstd", "float32", "bitpack", "affine", "float16", "narrow", "links", "lists"}
