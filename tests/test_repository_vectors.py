"""The vectors of spec/REPOSITORY.md are read and refused as they say."""

import json

import pytest

import tidy
from vark.errors import DamagedError, UnsupportedError
from vark.repository.digest import digest_hex
from vark.repository.envelope import Envelope
from vark.repository.erasures import Erasure
from vark.repository.records import Commit, Mark, Marker
from vark.repository.root import ArchiveList, Root

FOLDER = tidy.ROOT / "spec" / "vectors" / "repository"
TABLE = json.loads((FOLDER / "records.json").read_text())
PLAIN = Envelope("a" * 32)
READERS = {
    "commit": lambda data: Commit.decode(data, place="x", envelope=PLAIN),
    "mark": lambda data: Mark.decode(data, place="x", envelope=PLAIN),
    "root": lambda data: Root.decode(data, place="x", envelope=PLAIN),
    "erasure": lambda data: Erasure.decode(data, place="x", envelope=PLAIN),
    "list": lambda data: ArchiveList.decode(data, place="x", envelope=PLAIN),
    "marker": lambda data: Marker.decode(data, place="x"),
}


def test_every_vector_is_in_the_table_and_unchanged():
    assert {path.name for path in FOLDER.iterdir()} == {*TABLE, "records.json"}
    assert all(digest_hex((FOLDER / name).read_bytes()) == entry["blake3"] for name, entry in TABLE.items())


@pytest.mark.parametrize("name", TABLE)
def test_vector(name):
    entry, data = TABLE[name], (FOLDER / name).read_bytes()
    read = READERS[entry["kind"]]
    if entry["fault"] is None:
        record = read(data)
        if entry["kind"] in ("mark", "root", "marker", "erasure") or name in ("commit.json", "commit-copy.json"):
            assert record.encode(*([] if entry["kind"] == "marker" else [PLAIN])) == data
    elif entry["fault"] == "unsupported":
        with pytest.raises(UnsupportedError):
            read(data)
    else:
        with pytest.raises(DamagedError) as caught:
            read(data)
        assert caught.value.layer == entry["fault"]
