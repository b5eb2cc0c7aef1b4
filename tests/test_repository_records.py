"""Records: strict in what is read, whoever wrote it, and the same for everybody who reads it."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repositories import fake_repository, put_archive, put_commit, put_mark
from vark.errors import DamagedError, InvalidArgumentError, NotFoundError, UnsupportedError, VarkError
from vark.repository import Repository
from vark.repository.digest import digest_hex
from vark.repository.envelope import Envelope
from vark.repository.fields import RECORD_BYTES_MAX, encode_digested, encode_record
from vark.repository.marks import fold
from vark.repository.records import Commit, Mark, Marker
from vark.repository.references import find_snapshot, parse_time
from vark.repository.root import ArchiveList, Root

A, B = "01a21440-e379-74fc-92f3-72e089ed0301", "01a21440-e379-74fc-92f3-72e089ed0302"
COMMIT = {
    "kind": "commit",
    "version": 1,
    "repository": "a" * 32,
    "snapshot": "b" * 32,
    "name": "products",
    "created_unix_ms": 1_795_636_126_611,
    "store_unix_ms": None,
    "tags": {"model": "e5"},
    "host": "h",
    "source": {"kind": "paths"},
    "partial": False,
    "root_generation": 3,
    "heads": ["c" * 64],
    "archives": [
        {"id": A, "shard": "", "volumes": [300, 200], "root": "d" * 64, "bytes": 500, "base": B, "raw_bytes": 9}
    ],
    "closure": [{"id": B, "bytes": 500, "root": "e" * 64}],
    "replaces": None,
    "salt": "f" * 32,
}

PLAIN, ANY = Envelope("a" * 32), Envelope(None)


def changed(values, path, value):
    """Return a deep copy with one place changed; a value of `...` takes the key away."""
    copy = json.loads(json.dumps(values))
    place = copy
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy


def decode(values):
    data = values if isinstance(values, bytes) else json.dumps(values, ensure_ascii=False).encode()
    return Commit.decode(data, place="commits/x", envelope=PLAIN)


def test_a_commit_is_read_as_it_was_written_and_unknown_keys_do_not_matter():
    commit = decode({**COMMIT, "later": [1]})
    assert decode(commit.encode(PLAIN)) == commit
    assert json.loads(commit.encode(PLAIN)) == COMMIT
    assert [ancestor.id for ancestor in commit.needed()] == [A, B]
    assert commit.encode(PLAIN) == encode_record(COMMIT)


HOSTILE = {
    "no object": b"[]",
    "not UTF-8": b'{"kind":"\xff"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "cut": encode_record(COMMIT)[:-5],
    "a key twice": encode_record(COMMIT)[:-1] + b',"kind":"commit"}',
    "a fraction": encode_record(COMMIT).replace(b'"root_generation":3', b'"root_generation":3.0'),
    "an exponent": encode_record(COMMIT).replace(b'"root_generation":3', b'"root_generation":3e0'),
    "NaN": encode_record(COMMIT).replace(b'"root_generation":3', b'"root_generation":NaN'),
    "minus zero": encode_record(COMMIT).replace(b'"root_generation":3', b'"root_generation":-0'),
    "a huge integer": encode_record(COMMIT).replace(b'"root_generation":3', b'"root_generation":' + b"9" * 5000),
    "half a surrogate pair": encode_record(COMMIT).replace(b'"host":"h"', b'"host":"\\ud800"'),
    "deep nesting": b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "too large": b" " * (RECORD_BYTES_MAX + 1),
    "true for an integer": changed(COMMIT, ["root_generation"], True),
    "a negative generation": changed(COMMIT, ["root_generation"], -1),
    "a year without a month": changed(COMMIT, ["created_unix_ms"], 1 << 62),
    "another repository": changed(COMMIT, ["repository"], "b" * 32),
    "an id in upper case": changed(COMMIT, ["snapshot"], "B" * 32),
    "a newline in an id": changed(COMMIT, ["snapshot"], "b" * 31 + "\n"),
    "an empty name": changed(COMMIT, ["name"], ""),
    "a name with a newline": changed(COMMIT, ["name"], "a\nb"),
    "a long name": changed(COMMIT, ["name"], "ä" * 128),
    "tags that are no texts": changed(COMMIT, ["tags"], {"a": 1}),
    "a tag with an equals sign": changed(COMMIT, ["tags"], {"a=b": "1"}),
    "too many tags": changed(COMMIT, ["tags"], {str(n): "1" for n in range(65)}),
    "no archive": changed(COMMIT, ["archives"], []),
    "archives that are no list": changed(COMMIT, ["archives"], {}),
    "an archive that is no object": changed(COMMIT, ["archives"], [1]),
    "an archive twice": changed(COMMIT, ["archives"], COMMIT["archives"] * 2),
    "an archive that is its own ancestor": changed(COMMIT, ["closure", 0, "id"], A),
    "a path for an id": changed(COMMIT, ["archives", 0, "id"], "../../../../../../../../../../etc/passwd"),
    "a newline behind an id": changed(COMMIT, ["archives", 0, "id"], A + "\n"),
    "a shard that is a path": changed(COMMIT, ["archives", 0, "shard"], "../x"),
    "a shard that goes up": changed(COMMIT, ["archives", 0, "shard"], ".."),
    "volumes that do not add up": changed(COMMIT, ["archives", 0, "volumes"], [300, 201]),
    "an empty volume": changed(COMMIT, ["archives", 0, "volumes"], [500, 0]),
    "no volumes": changed(COMMIT, ["archives", 0, "volumes"], []),
    "volumes of true": changed(COMMIT, ["archives", 0, "volumes"], [499, True]),
    "an archive too short to be one": changed(COMMIT, ["closure", 0, "bytes"], 191),
    "a root that is no digest": changed(COMMIT, ["archives", 0, "root"], "d" * 63),
    "replaces that is no digest": changed(COMMIT, ["replaces"], "x"),
    "a head twice": changed(COMMIT, ["heads"], ["c" * 64] * 2),
    "partial that is a number": changed(COMMIT, ["partial"], 0),
    "source that is a text": changed(COMMIT, ["source"], "x"),
} | {f"no {key}": changed(COMMIT, [key], ...) for key in COMMIT if key not in ("store_unix_ms", "replaces")}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_commit_is_refused(fault):
    with pytest.raises(DamagedError) as caught:
        decode(HOSTILE[fault])
    assert caught.value.layer == "record"
    assert "commits/x" in str(caught.value)


@pytest.mark.parametrize("change", [{"kind": "commit2"}, {"version": 2}])
def test_a_record_of_a_later_kind_or_version_needs_a_newer_reader(change):
    with pytest.raises(UnsupportedError):
        decode({**COMMIT, **change})


@given(st.integers(), st.integers(1, 8))
def test_any_changed_bytes_are_read_or_refused_but_never_crash(seed, count):
    random_ = random.Random(seed)
    data = bytearray(encode_record(COMMIT))
    for _ in range(count):
        data[random_.randrange(len(data))] = random_.randrange(256)
    try:
        decode(bytes(data))
    except VarkError:
        pass


def test_marker_and_root_carry_their_own_digest():
    marker = Marker("a" * 32, "b" * 64, 5, None).encode()
    root = Root("a" * 32, 1, 1, "condemned", "c" * 64, (), None, "d" * 32, 7).encode(PLAIN)
    assert Marker.decode(marker, place="m").encode() == marker
    assert Root.decode(root, place="r", envelope=PLAIN).encode(PLAIN) == root
    for data, read in (
        (marker, Marker.decode),
        (root, lambda data, place: Root.decode(data, place=place, envelope=ANY)),
    ):
        for position in range(len(data)):
            damaged = bytearray(data)
            damaged[position] ^= 1
            with pytest.raises(VarkError):
                read(bytes(damaged), place="x")


@pytest.mark.parametrize(
    "change",
    [
        {"phase": "idle"},
        {"phase": "sweep"},
        {"phase": "other"},
        {"list": None},
        {"generation": -1},
        {"sweeps": ["c"]},
    ],
)
def test_a_root_that_contradicts_itself_is_refused(change):
    values = json.loads(Root("a" * 32, 1, 1, "condemned", "c" * 64, (), None, "d" * 32, 7).encode(PLAIN))
    del values["digest"]
    with pytest.raises(DamagedError):
        Root.decode(encode_digested({**values, **change}), place="r", envelope=ANY)


def test_a_list_names_no_archive_twice():
    data = ArchiveList("sweep", "a" * 32, 1, {A: 5}).encode(PLAIN)
    values = json.loads(data)
    assert ArchiveList.decode(data, place="l", envelope=ANY).archives == {A: 5}
    with pytest.raises(DamagedError):
        ArchiveList.decode(encode_record({**values, "archives": values["archives"] * 2}), place="l", envelope=ANY)


def mark(action, unix_ms, **fields):
    values = {"commit": None, "store_unix_ms": None, "tags": {}, "keys": (), "reason": "", "salt": "0" * 32}
    return Mark(action, "a" * 32, "b" * 32, created_unix_ms=unix_ms, **{**values, **fields})


@given(st.randoms(use_true_random=False))
def test_marks_mean_the_same_in_any_order(random_):
    marks = [
        ("marks/1", mark("forget", 5, reason="old")),
        ("marks/2", mark("undelete", 6)),
        ("marks/3", mark("forget", 6, commit="c" * 64)),
        ("marks/4", mark("hold", 7)),
        ("marks/5", mark("release", 7)),
        ("marks/6", mark("tag", 8, tags={"a": "1", "b": "2"})),
        ("marks/7", mark("untag", 9, keys=("a",))),
        ("marks/8", mark("tag", 1, tags={"a": "0"})),
    ]
    random_.shuffle(marks)
    state = fold(marks)["b" * 32]
    assert state.forgotten("c" * 64, another=True) == (6, "")
    assert state.forgotten("c" * 64, another=False) is None
    assert state.forgotten("d" * 64, another=True) is None
    assert state.held is False
    assert state.tagged({"a": "x", "z": "y"}) == {"b": "2", "z": "y"}


def test_the_stores_clock_outranks_the_clients():
    assert mark("forget", 5, store_unix_ms=9).unix_ms == 9
    repository = fake_repository()
    archive = put_archive(repository.store)
    put_commit(repository, [archive], unix_ms=1000, store_unix_ms=5000)
    (snapshot,) = repository.snapshots()
    assert (snapshot.unix_ms, snapshot.created_unix_ms, snapshot.store_unix_ms) == (5000, 1000, 5000)


# What is listed.


@pytest.fixture
def repository():
    return fake_repository()


def test_records_that_do_not_match_their_names_are_faults_and_the_rest_is_listed(repository):
    good, _ = put_commit(repository, [put_archive(repository.store)])
    bad, _ = put_commit(repository, [put_archive(repository.store)])
    place = next(entry.name for entry in repository.store.list("commits") if bad in entry.name)
    data = repository.store.read(place)
    repository.store._objects[place] = (data.replace(b'"host":"h"', b'"host":"i"'), 0)
    repository.store.create("commits/2026-11/note.txt", b"not ours")
    fresh = Repository.open(repository.store)
    catalog = fresh.catalog()
    assert [snapshot.commit for snapshot in catalog.snapshots] == [good]
    assert list(catalog.faults) == [place]
    assert isinstance(catalog.faults[place], DamagedError)


def test_a_commit_that_replaces_another_stands_for_the_snapshot(repository):
    old, commit = put_commit(repository, [put_archive(repository.store)], unix_ms=1000)
    new, _ = put_commit(
        repository, [put_archive(repository.store)], snapshot=commit.snapshot, replaces=old, unix_ms=1000
    )
    (snapshot,) = repository.snapshots()
    assert (snapshot.commit, snapshot.superseded, snapshot.unix_ms) == (new, (old,), 1000)


def test_a_commit_cannot_replace_one_of_another_snapshot(repository):
    old, _ = put_commit(repository, [put_archive(repository.store)])
    put_commit(repository, [put_archive(repository.store)], replaces=old)
    assert len(repository.snapshots()) == 2


def test_snapshots_are_found_by_id_tag_time_and_name(repository):
    times = ["2026-11-18T04:00Z", "2026-11-19T04:00:00+02:00", "2026-11-20T04:00Z", "2999-01-01T00:00Z"]
    commits = [
        put_commit(
            repository,
            [put_archive(repository.store)],
            unix_ms=parse_time(text),
            tags={"n": str(number)},
            snapshot=f"{number}abc".ljust(32, "0"),
        )[1]
        for number, text in enumerate(times)
    ]
    other = put_commit(repository, [put_archive(repository.store)], name="other", unix_ms=1)[1]
    catalog = repository.catalog()

    def found(*reference, **options):
        return find_snapshot(catalog, *reference, **options).id

    assert found("1abc") == commits[1].snapshot
    assert found(commits[2].snapshot) == commits[2].snapshot
    assert found("n=1") == commits[1].snapshot
    assert found(name="n") == commits[3].snapshot  # one in the future is a snapshot like any other
    assert found("2026-11-19", name="n") == commits[0].snapshot  # a date is its first moment, UTC
    assert found("2026-11-19T02:00", name="n") == commits[1].snapshot
    assert found("2026-11-20T03:59:59.999Z", name="n") == commits[1].snapshot
    assert found("latest", name="n", at="2026-11-20T04:00Z") == commits[2].snapshot
    assert found("latest", name="other") == other.snapshot
    for reference, options, kind in (
        ("latest", {}, InvalidArgumentError),
        ("zzzz", {}, InvalidArgumentError),
        ("1ab", {}, InvalidArgumentError),
        ("ffffffff", {}, NotFoundError),
        ("n=9", {}, NotFoundError),
        ("2026-11-99", {}, InvalidArgumentError),
        ("1970-01-01T00:00Z", {"name": "n"}, NotFoundError),
        ("latest", {"name": "nobody"}, NotFoundError),
    ):
        with pytest.raises(kind):
            find_snapshot(catalog, reference, **options)


def test_an_id_that_fits_several_is_refused(repository):
    for number in range(2):
        put_commit(repository, [put_archive(repository.store)], snapshot=f"abcd{number}".ljust(32, "0"))
    with pytest.raises(InvalidArgumentError, match="fits 2"):
        repository.snapshot("abcd")


def test_a_forgotten_snapshot_is_no_latest_but_found_by_its_id(repository):
    digest, commit = put_commit(repository, [put_archive(repository.store)], unix_ms=10)
    put_mark(repository, "forget", commit.snapshot, 20)
    with pytest.raises(NotFoundError):
        repository.snapshot("latest")
    assert repository.snapshot(commit.snapshot).commit == digest


def test_the_name_of_a_record_is_the_digest_of_its_bytes(repository):
    digest, commit = put_commit(repository, [put_archive(repository.store)], unix_ms=parse_time("2026-11-20"))
    assert digest == digest_hex(commit.encode(PLAIN))
    assert repository.store.read(f"commits/2026-11/{digest}.json") == commit.encode(PLAIN)
