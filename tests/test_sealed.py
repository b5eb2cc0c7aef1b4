"""Encrypted archives from Python: every way in, read by the engine and by the reference reader, and what is not shown."""

import json
import os
import pickle
from uuid import UUID

import hnswlib
import numpy as np
import pytest
import reader
import reader_seal

import vark
from vark.api import compact_archive
from vark.cli.output import as_record
from vark.errors import KeyNeededError, WrongKeyError

ROWS, DIM = 1_500, 32


def identity(seed):
    """An age identity and its recipient."""
    secret = np.random.default_rng(seed).bytes(32)
    recipient = reader_seal.bech32_encode("age", reader_seal.recipient_of(secret))
    return reader_seal.bech32_encode("age-secret-key-", secret).upper(), recipient


OWN, RECIPIENT = identity(1)
OTHER = identity(2)[0]
OTHER_ID = UUID(int=5)


@pytest.fixture
def source(tmp_path):
    """An hnswlib file of unit vectors with labels that are easy to tell."""
    index = hnswlib.Index("l2", DIM)
    index.init_index(ROWS, M=8, random_seed=3)
    rows = np.random.default_rng(5).standard_normal((ROWS, DIM), dtype=np.float32)
    index.add_items(rows, np.arange(ROWS) + 7_000_000_001, num_threads=1)
    path = tmp_path / "secret-name.hnsw"
    index.save_index(str(path))
    return path, rows


@pytest.fixture
def sealed(source, tmp_path):
    path = tmp_path / "sealed.vark"
    documents = {"diagnosis.md": "Frau Müller hat Masern"}
    report = vark.write_archive(
        source[0], path, recipients=[RECIPIENT], recovery_code=True, documents=documents, application={"app": "clinic"}
    )
    return path, report


def test_an_encrypted_hnswlib_file_comes_back_by_every_way_and_by_both_readers(source, tmp_path):
    path, file, passphrase = tmp_path / "sealed.vark", tmp_path / "identity.txt", "Käse und Brot"
    file.write_text(f"# of a test\n\n{OTHER}\n{OWN}\n")
    report = vark.write_archive(source[0], path, passphrase=passphrase, recipients=[RECIPIENT], recovery_code=True)
    ways = {
        "passphrase": {"passphrase": passphrase},
        "bytes": {"passphrase": passphrase.encode()},
        "identity file": {"identities": [file]},
        "identity": {"identities": [OTHER, OWN], "passphrase": "wrong"},
        "code": {"recovery_code": report.recovery_code.lower().replace("-", " ")},
    }
    for way, keys in ways.items():
        assert vark.verify_archive(path, **keys).ok, way
        with vark.open_archive(path, **keys) as archive:
            assert archive.is_encrypted and archive.version == (1, 2)
            archive.restore(tmp_path / way, sync=False)
            assert np.array_equal(archive.rows_by_id("vectors", [7_000_000_042])[0], source[1][41])
            found = archive.load(space="l2").knn_query(source[1][:3], k=1)[0]
            assert found.ravel().tolist() == [7_000_000_001, 7_000_000_002, 7_000_000_003]
        assert (tmp_path / way).read_bytes() == source[0].read_bytes()
    for number, secret in enumerate((passphrase.encode(), OWN, report.recovery_code)):
        assert reader.verify(path, [secret]) == []
        with reader.Archive(path, secrets=[secret]) as archive:
            archive.restore(str(tmp_path / f"reader {number}"))
        assert (tmp_path / f"reader {number}").read_bytes() == source[0].read_bytes()


def test_without_the_right_key_nothing_opens_but_anyone_can_scrub(sealed, tmp_path):
    path, report = sealed
    for keys in ({}, {"passphrase": "a passphrase"}):  # there is no such slot
        with pytest.raises(KeyNeededError, match=r"is encrypted.*1 recipient, 1 recovery"):
            vark.open_archive(path, **keys)
    with pytest.raises(WrongKeyError, match="no key slot"):
        vark.open_archive(path, identities=[OTHER])
    with pytest.raises(vark.InvalidArgumentError, match="typing error"):
        code = report.recovery_code
        vark.open_archive(path, recovery_code=code[:-1] + ("P" if code.endswith("Q") else "Q"))
    for identities in (["no-such-file"], [RECIPIENT], OWN):
        with pytest.raises((vark.NotFoundError, vark.InvalidArgumentError)):
            vark.open_archive(path, identities=identities)
    with pytest.raises(KeyNeededError):
        vark.verify_archive(path)
    scrubbed = vark.verify_archive(path, level="stored")
    assert scrubbed.ok and scrubbed.checked_bytes > 0.9 * path.stat().st_size
    data = bytearray(path.read_bytes())
    data[5_000] ^= 4
    damaged = tmp_path / "damaged.vark"
    damaged.write_bytes(data)
    (damage,) = vark.verify_archive(damaged, level="stored").damage
    assert damage.layer == "block" and damage.stream is None and damage.offset <= 5_000


@pytest.mark.parametrize("mistake", [OWN.lower(), OWN[:-1] + "Q", OWN.replace("1", "l", 1)])
def test_an_identity_in_the_wrong_place_or_mistyped_is_not_repeated(source, sealed, tmp_path, mistake):
    def text_of(error):
        return (
            ""
            if error is None
            else f"{error!r}{vars(error)}{error.args}{text_of(error.__cause__ or error.__context__)}"
        )

    for work in (
        lambda: vark.write_archive(source[0], tmp_path / "x.vark", recipients=[mistake]),
        lambda: vark.open_archive(sealed[0], identities=[mistake]),
        lambda: vark.open_archive(sealed[0], identities=[mistake.encode()]),
    ):
        with pytest.raises(vark.VarkError) as caught:
            work()
        assert mistake[20:60] not in text_of(caught.value)


@pytest.mark.parametrize(
    "keys",
    [{"recipients": ["age1nonsense"]}, {"recipients": RECIPIENT}, {"passphrase": ""}, {"passphrase": b"x" * 1_025}],
)
def test_a_protection_that_cannot_be_had_is_refused_and_nothing_written(source, tmp_path, keys):
    with pytest.raises(vark.InvalidArgumentError):
        vark.write_archive(source[0], tmp_path / "none.vark", **keys)
    assert not (tmp_path / "none.vark").exists()


def test_deltas_and_compaction_keep_the_keys_of_their_base(source, sealed, tmp_path):
    path, rows = source
    index = hnswlib.Index("l2", DIM)
    index.load_index(str(path), max_elements=ROWS + 100)
    index.add_items(rows[:100] + 1, np.arange(100), num_threads=1)
    changed = tmp_path / "changed.hnsw"
    index.save_index(str(changed))
    names = []
    with vark.open_archive(sealed[0], identities=[OWN]) as base:
        key = b"any 32 bytes ask for prints of it"[:32]
        (tmp_path / f"{base.archive_id}.vark").write_bytes(sealed[0].read_bytes())
        names.append(vark.write_archive(changed, tmp_path / "delta.vark", base=base, fingerprint_key=key).archive_id)
        for other in ({"passphrase": "x"}, {"recipients": [RECIPIENT]}):
            with pytest.raises(vark.InvalidArgumentError, match="the same keys"):
                vark.write_archive(changed, tmp_path / "no.vark", base=base, **other)
    with vark.open_archive(tmp_path / "delta.vark", recovery_code=sealed[1].recovery_code) as delta:
        assert delta.ancestors and delta.is_encrypted
        assert delta.archive_bytes < sealed[0].stat().st_size / 2
        delta.restore(tmp_path / "restored", sync=False)
        compact_archive(delta, tmp_path / "compact.vark")
    assert (tmp_path / "restored").read_bytes() == changed.read_bytes()
    assert reader.verify(tmp_path / "delta.vark", [OWN]) == []
    assert vark.verify_archive(tmp_path / "delta.vark", identities=[OWN]).ok
    with vark.open_archive(tmp_path / "compact.vark", identities=[OWN]) as alone:
        assert alone.is_encrypted and not alone.ancestors and alone.verify().ok
        alone.restore(tmp_path / "again", sync=False)
    assert (tmp_path / "again").read_bytes() == changed.read_bytes()


def test_a_plain_base_cannot_have_an_encrypted_delta(source, tmp_path):
    vark.write_archive(source[0], tmp_path / "plain.vark")
    with (
        vark.open_archive(tmp_path / "plain.vark") as base,
        pytest.raises(vark.InvalidArgumentError, match="not encrypted"),
    ):
        vark.write_archive(source[0], tmp_path / "delta.vark", base=base, recipients=[RECIPIENT])


def test_nothing_of_the_source_or_of_a_secret_is_in_what_was_written(source, sealed, tmp_path):
    path, report = sealed
    plain = tmp_path / "plain.vark"
    vark.write_archive(
        source[0], plain, compression="none", documents={"diagnosis.md": "Frau Müller"}, application={"app": "clinic"}
    )
    labels = np.arange(ROWS, dtype=np.int64) + 7_000_000_001
    canaries = [b"secret-name", b"diagnosis", b"M\xc3\xbcller", b"clinic", b"vectors", b"hnswlib", b"links.level0"]
    canaries += [source[1][row].tobytes()[:8] for row in range(0, ROWS, 100)] + [labels[5:6].tobytes()]
    known, written = plain.read_bytes(), path.read_bytes()
    assert [canary for canary in canaries if canary not in known] == []
    assert [canary for canary in canaries if canary in written] == []
    code = report.recovery_code.replace("-", "")
    secret = reader_seal.bech32_decode("varkrecovery", code.lower())
    assert secret is not None
    own = reader_seal.bech32_decode("age-secret-key-", OWN.lower())
    assert all(item not in written for item in (secret, own, code.encode(), OWN.encode()))
    record = json.dumps(as_record(report), default=str)
    assert all(code not in text.replace("-", "") for text in (repr(report), record))
    assert sorted(os.listdir(tmp_path)) == ["plain.vark", "sealed.vark", "secret-name.hnsw"]
    with vark.open_archive(path, recovery_code=report.recovery_code) as archive:
        shown = f"{archive!r} {vars(archive)} {archive.reader!r}"
        assert code not in shown.replace("-", "") and OWN not in shown
        with pytest.raises(TypeError):
            pickle.dumps(archive.reader)


def test_archives_of_one_source_id_and_key_share_no_ciphertext(source, tmp_path):
    """Each has a salt of its own."""
    first = vark.write_archive(source[0], tmp_path / "base.vark", recipients=[RECIPIENT])
    written = []
    for name in ("a", "b"):
        with vark.open_archive(tmp_path / "base.vark", identities=[OWN]) as base:
            vark.write_archive(source[1] * 3, tmp_path / name, base=base, archive_id=OTHER_ID)
        written.append((tmp_path / name).read_bytes())
    assert first.archive_id != OTHER_ID and len(written[0]) == len(written[1])
    places = range(64, len(written[0]) - 8_000, 32)
    same = [written[0][at : at + 32] for at in places if written[0][at : at + 32] == written[1][at : at + 32]]
    assert len(places) > 1_000 and set(same) <= {bytes(32)}  # padding
