"""spec/reader.py opens sealed archives, and refuses each that has one fault, at layer `seal`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SPEC = Path(__file__).resolve().parent.parent / "spec"
sys.path[:0] = [str(SPEC), str(SPEC / "vectors")]

import make_seal_vectors  # noqa: E402
import reader  # noqa: E402
import reader_seal  # noqa: E402
import sealed  # noqa: E402
from kit import crc64  # noqa: E402

SECRET = sealed.PASSPHRASE.encode()
CASES = {name: (expect, data) for name, expect, _, data in sealed.archives()}
WHOLE = [name for name, (expect, _) in CASES.items() if expect == "ok"]


def file_of(folder: Path, data: bytes) -> Path:
    path = folder / "archive.vark"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", WHOLE)
def test_sealed_archives_give_their_rows_with_any_secret(name: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, CASES[name][1])
    recovery = make_seal_vectors.make_slot("recovery", bytes(32), bytes(16), bytes(32))[1]
    for secret in (SECRET, recovery):
        assert reader.verify(path, [secret]) == []
        with reader.Archive(path, secrets=[b"wrong", secret]) as archive:
            assert archive.rows("canary", 0, 12).tobytes() == sealed.ROWS
            assert archive.rows("other", 1, 3).tobytes() == sealed.ROWS[8:32]
    for wrong in ([], [b"wrong"], ["AGE-SECRET-KEY-1QQQQ"]):
        with pytest.raises(reader_seal.WrongKeyError):
            reader.Archive(path, secrets=wrong)


@pytest.mark.parametrize("name", [name for name in CASES if name not in WHOLE])
def test_one_fault_is_refused_by_the_seal_at_its_stage(name: str, tmp_path: Path) -> None:
    stage, data = CASES[name]
    path = file_of(tmp_path, data)
    assert {fault.layer for fault in reader.verify(path, [SECRET])} == {"seal"}
    if stage == "open":
        with pytest.raises(reader.ArchiveFault, match="seal"):
            reader.Archive(path, secrets=[SECRET])
        return
    with reader.Archive(path, secrets=[SECRET]) as archive, pytest.raises(reader.ArchiveFault, match="seal"):
        archive.rows("canary", 0, 12)


def test_nothing_of_the_plain_archive_is_in_the_sealed_one() -> None:
    for name in WHOLE:
        data = CASES[name][1]
        for canary in (sealed.ROWS[:8], sealed.ROWS[8:16], b"canary", b"other", b"writer", b"vark vectors"):
            assert canary in sealed.plain()
            assert canary not in data


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    """One bit of every seventh byte, sums left as they were; with sums repaired: rust/core/tests/sealed.rs."""
    whole = CASES["sealed"][1]
    key = reader_seal.open_slots([make_seal_vectors.make_slot("recovery", sealed.ACCESS_KEY, bytes(16), bytes(32))[0]],
                                 [make_seal_vectors.make_slot("recovery", bytes(32), bytes(16), bytes(32))[1]],
                                 bytes(16))  # fmt: skip
    assert key[0] == sealed.ACCESS_KEY
    assert crc64(whole[:-128]) == int.from_bytes(whole[-104:-96], "little")
    secrets = [make_seal_vectors.make_slot("recovery", bytes(32), bytes(16), bytes(32))[1]]
    missed = []
    for at in range(0, len(whole), 7):
        altered = bytearray(whole)
        altered[at] ^= 1 << at % 8
        if reader.verify(file_of(tmp_path, bytes(altered)), secrets) == []:
            missed.append(at)
    assert missed == []
