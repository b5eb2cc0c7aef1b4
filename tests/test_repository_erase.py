"""Erasure: rows of some ids go from every snapshot, and from every byte that is left; everything else stays as it was."""

import numpy as np
import pytest

import vark
from vark.archive import Archive
from vark.keys import new_recovery_code
from vark.repository import Repository
from vark.repository.layout import content_of_name

DAYS, ROWS, DIM, ERASED, M, EF = 30, 2000, 64, 100, 12, 50
FIRST_ID = 7_340_218_846_000_000
CHANGED = ROWS // 100


def hnsw_index(vectors, ids):
    import hnswlib

    index = hnswlib.Index("l2", DIM)
    index.init_index(ROWS + DAYS * CHANGED, M=M, ef_construction=120, random_seed=3)
    index.add_items(vectors, ids, num_threads=1)
    return index


def payload_of(texts):
    import pyarrow

    return pyarrow.table({"text": texts, "number": np.arange(len(texts)) * 3})


class Days:
    """A source that changes by 1 % a day, and what it held each day."""

    def __init__(self):
        self.rng = np.random.default_rng(11)
        self.ids = FIRST_ID + self.rng.permutation(ROWS).astype(np.int64) * 977
        self.vectors = self.rng.standard_normal((ROWS, DIM), dtype=np.float32)
        self.texts = [f"person {number} lives at {self.rng.integers(1 << 60)}" for number in self.ids]
        self.index = hnsw_index(self.vectors, self.ids)
        self.history = []
        self.index.set_ef(EF)

    def next_day(self):
        changed = self.rng.choice(ROWS, CHANGED, replace=False)
        self.vectors = self.vectors.copy()
        self.vectors[changed] = self.rng.standard_normal((CHANGED, DIM), dtype=np.float32)
        self.texts = list(self.texts)
        for row in changed:
            self.texts[row] = f"person {self.ids[row]} moved to {self.rng.integers(1 << 60)}"
        self.index.add_items(self.vectors[changed], self.ids[changed], num_threads=1)

    def keep(self):
        self.history.append((self.vectors, self.texts))


@pytest.fixture(scope="module", params=["plain", "encrypted"])
def erased_repository(request, tmp_path_factory):
    """A repository of 30 snapshots, out of which 100 ids were erased; what it was before, and the report."""
    days = Days()
    keys = {"encryption": "none"} if request.param == "plain" else {"recovery_code": new_recovery_code()}
    repository = Repository.create(tmp_path_factory.mktemp("erase") / "repository", **keys)
    for _ in range(DAYS):
        days.keep()
        repository.backup(days.index, name="people", payload=payload_of(days.texts), probes=queries()[:20])
        days.next_day()
    gone = np.sort(days.rng.choice(ROWS, ERASED, replace=False))
    # The node where searches begin is one of them.
    with repository.open_archive() as archive:
        gone[0] = archive.members[0].facts["entry_point"]
    gone = np.unique(gone)
    before = look(repository, days, gone)
    repository.hold(repository.snapshots()[3], reason="audit")
    repository.forget(repository.snapshots()[5], confirm=True)
    expected = repository.erase(days.ids[gone], name="people")
    assert not expected.confirmed
    report = repository.erase(days.ids[gone], name="people", confirm=True)
    return repository, days, gone, before, expected, report


def queries():
    return np.random.default_rng(5).standard_normal((300, DIM), dtype=np.float32)


def look(repository, days, gone):
    """Return what is compared before and after: recall, fingerprints of the rows, and times and tags."""
    found = {"recall": {}, "fingerprints": set(), "snapshots": repository.snapshots()}
    for number, snapshot in enumerate(repository.snapshots()):
        with repository.open_archive(snapshot) as archive:
            prints = archive["vectors//fingerprints"]
            found["fingerprints"] |= set(prints.rows_of(gone).tolist())
            if number in (0, DAYS // 2, DAYS - 1):
                found["recall"][snapshot.id] = recall(archive, days.history[number][0], days.ids)
    return found


def recall(archive, vectors, ids):
    index = archive.load()
    index.set_ef(EF)
    labels = index.knn_query(queries(), k=10, num_threads=1)[0].astype(np.int64)
    distances = ((queries()[:, None] - vectors[None]) ** 2).sum(-1)
    truth = ids[np.argsort(distances, axis=1)[:, :10]]
    return np.mean([len(set(found) & set(true)) / 10 for found, true in zip(labels, truth, strict=True)])


def all_bytes(repository):
    """Yield (place, bytes) of every object as it is stored, of every record decrypted, and of all rows of all archives."""
    sizes, context = {}, repository._context
    for entry in repository.store.list(""):
        data = repository.store.read(entry.name)
        yield entry.name, data
        if content_of_name(entry.name) is not None:
            yield f"{entry.name} in the open", repr(context.envelope.decode(data, place="x").values).encode()
        if entry.name.startswith("archives/"):
            sizes.setdefault(entry.name.split("/")[1], []).append(str(repository.store.local_path(entry.name)))
    for archive_id, volumes in sizes.items():
        with Archive(volumes, ancestors=sizes, secrets=context.engine.keyring) as archive:
            for record in archive.reader.streams:
                yield f"{archive_id} {record.name}", archive[record.name][:].tobytes()
            yield f"{archive_id} metadata", archive.reader.metadata.encode()


def test_nothing_of_the_erased_rows_is_left_after_gc(erased_repository, capsys):
    repository, days, gone, before, expected, report = erased_repository
    assert (report.id_count, report.found_count) == (len(gone), len(gone))
    assert len(report.snapshots) == len(expected.snapshots) == DAYS
    assert report.row_count == expected.row_count == 2 * DAYS * len(gone)  # of the index and of the payload
    repository.gc(confirm=True, trash=0, grace=0)
    needles = {vectors[row].tobytes() for vectors, _ in days.history for row in gone}
    needles |= {int(days.ids[row]).to_bytes(8, "little") for row in gone}
    needles |= {str(days.ids[row]).encode() for row in gone}
    texts = {texts[row].encode() for _, texts in days.history for row in gone}
    left = set()
    stored = 0
    for place, data in all_bytes(repository):
        stored += len(data) if place.startswith("archives/") else 0
        left |= {(place, needle) for needle in needles | texts if needle in data}
        if place.endswith("//fingerprints") or "//fingerprints//part" in place:
            values = set(np.frombuffer(data, np.uint64).tolist())
            left |= {(place, value) for value in values & before["fingerprints"]}
    assert left == set()
    with capsys.disabled():
        print(
            f"\nerased {report.found_count} ids in {len(report.snapshots)} snapshots: {report.row_count} rows, "
            f"{report.bytes_changed} bytes changed, {report.bytes_rewritten} written (before {report.bytes_before}) in "
            f"{report.seconds:.2f} s; {stored} stored after gc"
        )


def test_the_needles_would_be_found(erased_repository, tmp_path):
    _, days, gone, *_ = erased_repository
    repository = Repository.create(tmp_path / "other", encryption="none")
    repository.backup(days.index, name="people", payload=payload_of(days.texts))
    found = b"".join(data for _, data in all_bytes(repository))
    last = days.index.get_items([days.ids[gone[1]]])[0]
    assert np.asarray(last, np.float32).tobytes() in found
    assert int(days.ids[gone[1]]).to_bytes(8, "little") in found
    assert days.texts[gone[1]].encode() in found


def test_every_other_row_of_every_snapshot_is_what_it_was(erased_repository):
    repository, days, gone, before, *_ = erased_repository
    kept = np.setdiff1d(np.arange(ROWS), gone)
    assert repository.verify().ok
    snapshots = repository.snapshots(forgotten=True)
    if len(snapshots) == DAYS:
        histories = days.history
    else:  # the collection took what was forgotten
        histories = [day for number, day in enumerate(days.history) if number != 5]
    for snapshot, (vectors, texts) in zip(snapshots, histories, strict=True):
        with repository.open_archive(snapshot) as archive:
            assert np.array_equal(archive.rows_by_id("vectors", days.ids[kept]), vectors[kept])
            payload = archive.payload()["text"].to_pylist()
            assert [payload[row] for row in kept] == [texts[row] for row in kept]
            assert {payload[row] for row in gone} == {None}
            with pytest.raises(vark.UnknownNameError):
                archive.rows_by_id("vectors", days.ids[gone[:1]])
            assert not archive["vectors"].rows_of(gone).any()
    known = {snapshot.id: snapshot for snapshot in before["snapshots"]}
    for snapshot in repository.snapshots():
        old = known[snapshot.id]
        assert (snapshot.unix_ms, snapshot.tags, snapshot.name) == (old.unix_ms, old.tags, old.name)
        assert snapshot.commit != old.commit
    assert [snapshot.hold_reason for snapshot in repository.snapshots() if snapshot.held] == ["audit"]


def test_searches_find_what_is_left_as_well_as_before(erased_repository, capsys):
    repository, days, gone, before, *_ = erased_repository
    kept = np.setdiff1d(np.arange(ROWS), gone)
    numbers = {snapshot.id: number for number, snapshot in enumerate(before["snapshots"])}
    for snapshot in repository.snapshots():
        if snapshot.id not in before["recall"]:
            continue
        with repository.open_archive(snapshot) as archive:
            now = recall(archive, days.history[numbers[snapshot.id]][0][kept], days.ids[kept])
            with capsys.disabled():
                print(f"\nrecall@10 before {before['recall'][snapshot.id]:.4f}, after {now:.4f}")
            assert now > before["recall"][snapshot.id] - 0.005
            index = archive.load()
            index.set_ef(EF)
            report = archive.check_probes(index)
            assert report.recall > 0.95
            assert archive.members[0].facts["entry_point"] not in gone


def test_a_second_run_finds_nothing_to_do(erased_repository):
    repository, days, gone, *_ = erased_repository
    again = repository.erase(days.ids[gone], name="people", confirm=True)
    assert (again.snapshots, again.row_count, again.found_count) == ((), 0, 0)


def test_later_backups_leave_erased_rows_out_until_the_source_does(erased_repository):
    repository, days, gone, *_ = erased_repository
    repository.backup(days.index, name="people", payload=payload_of(days.texts))
    snapshot = repository.snapshot()
    with repository.open_archive() as archive:
        assert not np.isin(archive["labels"][:], days.ids[gone].astype(np.uint64)).any()
        assert not archive["vectors"].rows_of(gone).any()
        assert repository.verify(snapshot=snapshot).ok
    # The source is built anew without them, and from then on the ids are ids like any other.
    kept = np.setdiff1d(np.arange(ROWS), gone)
    repository.backup(hnsw_index(days.vectors[kept], days.ids[kept]), name="people")
    repository.backup(days.index, name="people", payload=payload_of(days.texts))
    with repository.open_archive() as archive:
        assert np.isin(days.ids[gone].astype(np.uint64), archive["labels"][:]).all()
