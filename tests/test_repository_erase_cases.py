"""Erasure, case by case: layouts, payloads, members that nobody can see into, races, and runs that were killed."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import vark
from vark import erasing
from vark.keys import new_recovery_code
from vark.repository import Repository
from vark.repository import erase as erase_
from vark.repository.engine import Engine
from vark.repository.erasures import END, ERASE, Erasure, lists_for, new_erasure, read_erasures
from vark.repository.layout import ERASURES
from vark.stores import MemoryStore

ROWS, DIM = 1500, 16
FIRST_ID = 8_123_456_789_012
GONE = np.arange(7, ROWS, 37)
IDS = FIRST_ID + np.arange(ROWS, dtype=np.int64) * 3


def rows_of(day, rows=ROWS):
    vectors = np.random.default_rng(1).standard_normal((rows, DIM), dtype=np.float32)
    for past in range(1, day + 1):
        changed = np.random.default_rng(past).choice(rows, rows // 100, replace=False)
        vectors[changed] = np.random.default_rng(past + 1000).standard_normal((len(changed), DIM), dtype=np.float32)
    return vectors


def faiss_index(kind, vectors, ids=IDS):
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.index_factory(DIM, kind)
    index.train(rows_of(0))
    index.add_with_ids(vectors, ids)
    return index


def hnswlib_index(vectors, ids=IDS):
    import hnswlib

    index = hnswlib.Index("l2", DIM)
    index.init_index(len(vectors), M=8, random_seed=1)
    index.add_items(vectors, ids, num_threads=1)
    return index


def stored(repository):
    """All bytes that the repository holds: of objects, and of the rows of all streams."""
    found, sizes = [], {}
    for entry in repository.store.list(""):
        found.append(repository.store.read(entry.name))
        if entry.name.startswith("archives/"):
            sizes.setdefault(entry.name.split("/")[1], []).append(str(repository.store.local_path(entry.name)))
    for volumes in sizes.values():
        with vark.open_archive(volumes, ancestors=sizes) as archive:
            found += [archive[record.name][:].tobytes() for record in archive.reader.streams]
    return b"\0".join(found)


def nothing_left(repository, days, gone=GONE, ids=IDS):
    repository.gc(confirm=True, trash=0, grace=0)
    found = stored(repository)
    for day in days:
        vectors = rows_of(day)
        assert not any(vectors[row].tobytes() in found for row in gone)
    assert not any(int(ids[row]).to_bytes(8, "little") in found for row in gone)


def truth_of(vectors, queries, rows):
    distances = ((queries[:, None] - vectors[rows][None]) ** 2).sum(-1)
    return rows[np.argsort(distances, axis=1)[:, :10]]


@pytest.mark.parametrize(
    ("kind", "removes"),
    [
        ("IVF16,Flat", True),
        ("IVF16,SQ8", True),
        ("IVF16,PQ4x4np", True),
        ("IDMap,HNSW8", False),
        ("IDMap2,HNSW8", False),
        ("IDMap,Flat", False),
    ],
)
def test_rows_go_from_indexes_of_faiss(tmp_path, kind, removes):
    import faiss

    repository = Repository.create(tmp_path / "repository", encryption="none")
    for day in range(5):
        repository.backup(faiss_index(kind, rows_of(day)), name="f", id_index=100)
    before = [repository.load(item) for item in repository.snapshots()]
    report = repository.erase(IDS[GONE], name="f", confirm=True)
    assert (len(report.snapshots), report.row_count) == (5, 5 * len(GONE))
    nothing_left(repository, range(5))
    assert repository.verify().ok
    kept = np.setdiff1d(np.arange(ROWS), GONE)
    queries = np.random.default_rng(3).standard_normal((200, DIM), dtype=np.float32)
    for day, (snapshot, old) in enumerate(zip(repository.snapshots(), before, strict=True)):
        now = repository.load(snapshot)
        repository.restore(snapshot, tmp_path / f"{day}.faiss")
        assert faiss.read_index(str(tmp_path / f"{day}.faiss")).ntotal == now.ntotal
        assert now.ntotal == ROWS - (len(GONE) if removes else 0)
        with repository.open_archive(snapshot) as archive:
            assert ("id_map//id_index.keys" if "IDMap" in kind else "ids//id_index.keys") in archive
            with pytest.raises(vark.UnknownNameError):
                archive.rows_by_id("vectors" if "vectors" in archive else "codes", IDS[GONE[:1]])
            name = "vectors" if "vectors" in archive else "codes"
            ids = archive.select(name, rows=slice(None)).ids
            assert np.isin(IDS[kept], ids).all()
        for index in (old, now):
            if hasattr(faiss.downcast_index(index), "nprobe"):
                faiss.downcast_index(index).nprobe = 8
        vectors = rows_of(day)
        rates = []
        for index, rows in ((old, np.arange(ROWS)), (now, kept)):
            found = np.concatenate([index.search(query[None], 10)[1] for query in queries])
            true = IDS[truth_of(vectors, queries, rows)]
            rates.append(np.mean([len(set(one) & set(two)) / 10 for one, two in zip(found, true, strict=True)]))
        assert not np.isin(found, IDS[GONE]).any()
        assert (found >= 0).all()
        assert rates[1] > rates[0] - 0.01


def test_an_index_that_was_erased_goes_on_growing(tmp_path):
    """What loads can be added to: levels, entry point and labels of tombstones are those of an index that works."""
    index = hnswlib_index(rows_of(0))
    vark.write_archive(index, tmp_path / "a.vark")
    key = bytes(32)
    with vark.open_archive(tmp_path / "a.vark") as archive:
        entry = archive.members[0].facts["entry_point"]
        top = archive.members[0].facts["max_level"]
        lengths = archive["links.lengths"][:]
        highest = np.flatnonzero(lengths == lengths.max())
        assert entry in highest
        gone = np.union1d(highest, GONE)  # so that the highest level goes, too
        from vark import _core

        lists = [(key, _core.id_hashes(key, IDS[gone].tolist()))]
        seen = erasing.survey(archive, lists)
        erasing.erase_archive(archive, str(tmp_path / "b.vark"), lists, seen=seen)
    with vark.open_archive(tmp_path / "b.vark") as archive:
        assert archive.verify().ok
        assert archive.members[0].facts["max_level"] < top
        now = archive.load()
        assert not archive["links.lengths"].rows_of(gone).any()
    now.resize_index(ROWS + 500)
    more = np.random.default_rng(9).standard_normal((400, DIM), dtype=np.float32)
    now.add_items(more, IDS[:400] + 1, num_threads=1)
    now.set_ef(80)
    found = now.knn_query(more, k=1)[0].ravel()
    assert np.mean(found == IDS[:400] + 1) > 0.99
    assert not np.isin(now.knn_query(rows_of(0), k=10)[0], IDS[gone].astype(np.uint64)).any()


def test_every_id_of_an_index_can_go(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    for kind in ("IVF16,Flat", "IDMap,HNSW8"):
        repository.backup(faiss_index(kind, rows_of(0)), name=kind)
    repository.backup(hnswlib_index(rows_of(0)), name="hnswlib")
    repository.erase(IDS, confirm=True)
    nothing_left(repository, [0], np.arange(ROWS))
    assert repository.verify().ok
    for snapshot in repository.snapshots():
        repository.load(snapshot)


def test_a_payload_with_a_key_loses_the_rows(tmp_path):
    import pyarrow

    repository = Repository.create(tmp_path / "repository", encryption="none")
    order = np.random.default_rng(2).permutation(ROWS)
    secrets = [f"secret {row * 7919}!" for row in order]
    table = pyarrow.table(
        {
            "id": IDS[order],
            "secret": secrets,
            "kind": pyarrow.array([f"kind {row}!" for row in order]).dictionary_encode(),
            "parts": [[f"part {row * 31337}!", "x"] for row in order],
        }
    )
    for day in range(3):
        index = faiss_index("IVF16,Flat", rows_of(day))
        repository.backup(index, name="f", payload=table, payload_key="id")
    # Only in the payload.
    extra = pyarrow.table({"id": [5, 6], "secret": ["only here", "not here"]})
    repository.backup(faiss_index("IVF16,Flat", rows_of(3)), name="g", payload=extra, payload_key="id")
    report = repository.erase([*IDS[GONE].tolist(), 5], confirm=True)
    assert report.row_count == 3 * 2 * len(GONE) + len(GONE) + 1
    nothing_left(repository, range(4))
    found = stored(repository)
    assert b"only here" not in found
    assert b"not here" in found
    for row in GONE:
        assert f"secret {row * 7919}!".encode() not in found
        assert f"part {row * 31337}!".encode() not in found
        assert f"kind {row}!".encode() not in found
    left = table.filter(pyarrow.array(~np.isin(order, GONE)))
    for snapshot in repository.snapshots(name="f"):
        with repository.open_archive(snapshot) as archive:
            assert archive.payload().to_pylist() == left.to_pylist()
            assert archive.metadata["payload"]["rows"] == ROWS - len(GONE)
            assert archive.select(ids=IDS[:5]).to_arrow()["secret"].to_pylist() == [
                f"secret {row * 7919}!" for row in range(5)
            ]


def test_documents_that_are_named_by_an_id_go_and_others_are_listed(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    named = {f"{IDS[7]}.json": "{}", f"{IDS[8]}.json": "{}", "README": "x"}
    repository.backup(hnswlib_index(rows_of(0)), name="h", documents=named, application={"who": 1})
    report = repository.erase([IDS[7]], confirm=True)
    (archive,) = report.snapshots[0].archives
    assert archive.documents == (f"document/{IDS[7]}.json",)
    assert len(archive.not_erased) == 3
    with repository.open_archive() as opened:
        assert sorted(opened.documents) == sorted({f"{IDS[8]}.json", "README"})


def test_what_nobody_can_see_into_is_refused_unless_it_is_to_stay(tmp_path):
    import faiss

    repository = Repository.create(tmp_path / "repository", encryption="none")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "notes.txt").write_text("who is who")
    hnswlib_index(rows_of(0)).save_index(str(tmp_path / "source" / "index.bin"))
    repository.backup(tmp_path / "source", name="folder")
    with pytest.raises(vark.RefusedError, match=r"notes\.txt is kept as plain bytes"):
        repository.erase(IDS[GONE], confirm=True)
    assert not repository.store.list(ERASURES)
    report = repository.erase(IDS[GONE], confirm=True, leave_unknown=True)
    assert any("notes.txt" in note for note in report.snapshots[0].archives[0].not_erased)
    with repository.open_archive() as archive:
        assert archive.verify().ok
        assert not archive["index.bin/vectors"].rows_of(GONE).any()
    # Rows that could be, and cannot be erased.
    other = Repository.create(tmp_path / "other", encryption="none")
    index = faiss.index_factory(DIM, "IVF16,Flat")
    index.train(rows_of(0))
    index.add_with_ids(rows_of(0), np.arange(ROWS))
    index.make_direct_map(True)
    other.backup(index, name="f")
    with pytest.raises(vark.RefusedError, match="direct map"):
        other.erase([3], confirm=True)
    assert other.erase([ROWS + 3], confirm=True).snapshots == ()


def test_a_canonical_order_stays_one(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    for day in range(2):
        repository.backup(hnswlib_index(rows_of(day)), name="h", order="canonical")
    repository.erase(IDS[GONE], confirm=True)
    nothing_left(repository, range(2))
    for snapshot in repository.snapshots():
        with repository.open_archive(snapshot) as archive:
            assert archive.metadata["source"]["order"] == "canonical"
            links = archive["links.level0"][:]
            for head, *slots in links[::50].tolist():
                degree = head & 0xFFFF
                assert slots[:degree] == sorted(slots[:degree])
                assert not any(slots[degree:])


def test_shards_names_and_volumes(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none", volume_bytes="1MiB")
    for day in range(2):
        shards = {"a": hnswlib_index(rows_of(day)[:700], IDS[:700]), "b": hnswlib_index(rows_of(day)[700:], IDS[700:])}
        repository.backup_shards(shards, name="s")
        repository.backup(hnswlib_index(rows_of(day)), name="other")
    gone = GONE[GONE < 700]
    report = repository.erase(IDS[gone], name="s", confirm=True)
    assert [len(item.archives) for item in report.snapshots] == [1, 1]  # shard b holds none of them
    kept = {item.id: item for item in repository.snapshots()}
    for item in report.snapshots:
        assert len(kept[item.snapshot].archives) == 2
    assert repository.verify().ok
    with repository.open_archive(name="other") as archive:
        assert archive["vectors"].rows_of(gone).any()
    repository.erase(IDS[gone], confirm=True)
    nothing_left(repository, range(2), gone)


def test_an_object_store_needs_no_files():
    repository = Repository.create(MemoryStore(), recovery_code=new_recovery_code(), volume_bytes=1 << 20)
    for day in range(2):
        repository.backup(hnswlib_index(rows_of(day)), name="h")
    repository.erase(IDS[GONE], confirm=True)
    with repository.open_archive() as archive:
        assert not archive["vectors"].rows_of(GONE).any()
    repository.backup(hnswlib_index(rows_of(2)), name="h")
    with repository.open_archive() as archive:
        assert not archive["vectors"].rows_of(GONE).any()


def test_a_snapshot_that_lost_the_ids_before_is_freed_of_what_it_builds_on(tmp_path):
    """The first snapshot holds the rows, later ones do not, but point into it."""
    repository = Repository.create(tmp_path / "repository", encryption="none")
    kept = np.setdiff1d(np.arange(ROWS), GONE)
    repository.backup(faiss_index("IVF16,Flat", rows_of(0)), name="f", id_index=100)
    for day in range(2):
        repository.backup(faiss_index("IVF16,Flat", rows_of(day)[kept], IDS[kept]), name="f", id_index=100)
    first = repository.snapshots()[0]
    repository.forget(first.id, confirm=True)
    assert all(item.closure for item in repository.snapshots())
    report = repository.erase(IDS[GONE], confirm=True)
    assert {item.forgotten for item in report.snapshots} == {True, False}
    nothing_left(repository, [0])
    assert repository.verify().ok
    assert len(repository.snapshots()) == 2


def test_what_is_in_the_trash_comes_back_erased(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    first = repository.backup(hnswlib_index(rows_of(0)), name="h").snapshot
    repository.backup(hnswlib_index(rows_of(1)), name="h")
    repository.forget(first, confirm=True)
    repository.erase(IDS[GONE], confirm=True)
    assert [item.id for item in repository.snapshots()] != [first]
    repository.undelete(first)
    with repository.open_archive(first) as archive:
        assert not archive["vectors"].rows_of(GONE).any()
    repository.gc(confirm=True, trash=0, grace=0)
    nothing_left(repository, range(2))
    assert len(repository.snapshots()) == 2


class Between(Engine):
    """An engine that calls something when an archive has been written."""

    def __init__(self, method, call):
        super().__init__()
        self.method, self.call, self.calls = method, call, 0

    def _then(self, method, result):
        if method == self.method:
            self.calls += 1
            call, self.call = self.call, None
            if call is not None:
                call()
        return result

    def write(self, *arguments, **options):
        return self._then("write", super().write(*arguments, **options))

    def erase(self, *arguments, **options):
        return self._then("erase", super().erase(*arguments, **options))

    def compact(self, *arguments, **options):
        return self._then("compact", super().compact(*arguments, **options))


def test_a_backup_that_runs_meanwhile_is_erased_by_its_own_writer(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    repository.backup(hnswlib_index(rows_of(0)), name="h")
    engine = Between("write", lambda: repository.erase(IDS[GONE], name="h", confirm=True))
    other = Repository.open(tmp_path / "repository", engine=engine)
    report = other.backup(hnswlib_index(rows_of(1)), name="h")
    assert engine.call is None
    assert repository.snapshot().commit == report.commit
    nothing_left(repository, range(2))
    assert repository.verify().ok


def test_a_backup_that_ends_while_rows_are_erased_is_erased_too(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    repository.backup(hnswlib_index(rows_of(0)), name="h")
    started, written = threading.Event(), threading.Event()

    def wait():
        started.set()
        assert written.wait(60)

    def back_up():
        slow = Repository.open(tmp_path / "repository", engine=Between("write", wait))
        slow.backup(hnswlib_index(rows_of(1)), name="h")

    thread = threading.Thread(target=back_up)
    thread.start()
    assert started.wait(60)  # it has read that there is no erasure
    engine = Between("erase", lambda: (written.set(), thread.join(60)))
    report = Repository.open(tmp_path / "repository", engine=engine).erase(IDS[GONE], confirm=True)
    assert report.snapshots
    nothing_left(repository, range(2))
    assert repository.verify().ok


def test_compaction_does_not_bring_rows_back(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    for day in range(2):
        repository.backup(hnswlib_index(rows_of(day)), name="h")
    engine = Between("compact", lambda: repository.erase(IDS[GONE], name="h", confirm=True))
    with pytest.raises(vark.ConflictError, match="erased while"):
        Repository.open(tmp_path / "repository", engine=engine).compact("latest")
    repository.erase(IDS[GONE], name="h", confirm=True)
    nothing_left(repository, range(2))
    assert repository.verify().ok


def test_a_collection_in_the_way_is_a_conflict_and_another_run_completes(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    for day in range(3):
        repository.backup(hnswlib_index(rows_of(day)), name="h", full=day == 2)

    def collect():
        for item in repository.snapshots()[:2]:
            repository.forget(item.id, confirm=True)
        repository.gc(confirm=True, trash=0, grace=0)

    engine = Between("erase", collect)
    other = Repository.open(tmp_path / "repository", engine=engine)
    with pytest.raises(vark.ConflictError, match="forgotten and collected"):
        other.erase(IDS[GONE], confirm=True)
    repository.erase(IDS[GONE], confirm=True)
    nothing_left(repository, range(3))
    assert repository.verify().ok
    assert len(repository.snapshots()) == 1


KILLED = """
import os, signal, sys
import numpy as np
import vark
from vark.keys import new_recovery_code
from vark.repository import Repository
from vark.repository.engine import Engine

class Dies(Engine):
    left = int(sys.argv[2])

    def erase(self, *arguments, **options):
        if Dies.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        Dies.left -= 1
        return super().erase(*arguments, **options)

Repository.open(sys.argv[1], engine=Dies()).erase(np.load(sys.argv[3]), confirm=True)
"""


def test_a_run_that_was_killed_is_completed_by_the_next(tmp_path):
    place = tmp_path / "repository"
    repository = Repository.create(place, encryption="none")
    for day in range(5):
        repository.backup(hnswlib_index(rows_of(day)), name="h")
    before = {item.id: item.unix_ms for item in repository.snapshots()}
    np.save(tmp_path / "gone.npy", IDS[GONE])
    for count in (0, 1, 2):
        command = [sys.executable, "-c", KILLED, str(place), str(count), str(tmp_path / "gone.npy")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        assert subprocess.run(command, env=environment, check=False, timeout=120).returncode == -signal.SIGKILL
        opened = Repository.open(place)
        assert opened.verify().ok
        assert {item.id: item.unix_ms for item in opened.snapshots()} == before
        assert len(read_erasures(opened.store, opened._context.envelope)) == 1  # the list of the first run is taken up
    report = Repository.open(place).erase(IDS[GONE], confirm=True)
    assert len(report.snapshots) == 2  # 0 + 1 + 2 were done before
    nothing_left(repository, range(5))
    assert repository.verify().ok


def test_a_later_backup_of_something_opaque_is_refused_until_the_erasure_is_lifted(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    repository.backup(hnswlib_index(rows_of(0)), name="h")
    repository.erase(IDS[GONE], name="h", confirm=True)
    (tmp_path / "x").write_bytes(b"who knows")
    with pytest.raises(vark.RefusedError, match="lift the erasure"):
        repository.backup(tmp_path / "x", name="h")
    assert len(repository.snapshots()) == 1
    assert repository.lift_erasure("h") == len(GONE)
    assert repository.lift_erasure("h") == 0
    repository.backup(tmp_path / "x", name="h")
    repository.backup(hnswlib_index(rows_of(0)), name="h")
    with repository.open_archive() as archive:
        assert archive["vectors"].rows_of(GONE).any()


def test_ids_that_come_back_after_the_end_can_be_erased_again(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    kept = np.setdiff1d(np.arange(ROWS), GONE)
    repository.backup(hnswlib_index(rows_of(0)), name="h")
    repository.erase(IDS[GONE], name="h", confirm=True)
    some = np.union1d(kept, GONE[:5])  # the source still holds five of them
    repository.backup(hnswlib_index(rows_of(0)[some], IDS[some]), name="h")
    records = read_erasures(repository.store, repository._context.envelope)
    (left,) = lists_for(records, "h")
    assert len(left.hashes) == 5
    repository.backup(hnswlib_index(rows_of(0)), name="h")  # the others are ids like any other again
    with repository.open_archive() as archive:
        labels = archive["labels"][:]
        assert np.isin(IDS[GONE].astype(np.uint64), labels).sum() == len(GONE) - 5
    repository.erase(IDS[GONE], name="h", confirm=True)
    nothing_left(repository, [0])


def test_records_of_erasures_are_read_strictly(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    store, envelope = repository.store, repository._context.envelope
    one = "0" * 32
    digest = new_erasure(store, envelope, ERASE, ["a", "b"], [one], key="1" * 64)
    new_erasure(store, envelope, END, ["a"], [one], erasure=digest)
    records = read_erasures(store, envelope)
    assert lists_for(records, "a") == ()
    assert lists_for(records, "c") == ()
    (found,) = lists_for(records, "b")
    assert (found.key.hex(), found.digest) == ("1" * 64, digest)
    good = records[digest]
    fields = {name: getattr(good, name) for name in Erasure.__slots__}
    wrong = [
        {"action": "erased"},
        {"names": ("a", "a")},
        {"names": ("a\n",)},
        {"hashes": ()},
        {"hashes": (one, one)},
        {"hashes": ("0" * 31,)},
        {"key": ""},
        {"key": "1" * 63},
        {"erasure": "0" * 64},
        {"action": END},
        {"action": END, "erasure": "0" * 64},
        {"repository": "0" * 32},
        {"created_unix_ms": -1},
        {"salt": "x"},
        {"reason": "x" * 2000},
    ]
    assert Erasure.decode(good.encode(envelope), place="p", envelope=envelope) == good
    for change in wrong:
        data = Erasure(**{**fields, **change}).encode(envelope)
        with pytest.raises((vark.DamagedError, vark.UnsupportedError)):
            Erasure.decode(data, place="p", envelope=envelope)


def test_an_encrypted_repository_tells_nobody_whose_rows_went(tmp_path):
    repository = Repository.create(tmp_path / "repository", recovery_code=new_recovery_code())
    repository.backup(hnswlib_index(rows_of(0)), name="people")
    repository.erase(IDS[GONE], name="people", confirm=True, reason="asked on the phone")
    (entry,) = repository.store.list(ERASURES)
    data = repository.store.read(entry.name)
    record = Erasure.decode(data, place="p", envelope=repository._context.envelope)
    assert record.reason == "asked on the phone"
    for text in ("people", "phone", record.key, *record.hashes):
        assert text.encode() not in data


def test_a_list_that_cannot_be_read_lets_nothing_in(tmp_path, vectors):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    new_erasure(repository.store, repository._context.envelope, ERASE, ["v"], ["0" * 32], key="1" * 64)
    (entry,) = repository.store.list(ERASURES)
    path = repository.store.local_path(entry.name)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-3] + b"}}}")
    with pytest.raises(vark.DamagedError):
        repository.backup(vectors, name="v")
    with pytest.raises(vark.DamagedError):
        repository.erase([1], confirm=True)


def test_ids_that_make_no_sense_are_refused(tmp_path, vectors):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    for ids, name in (([], None), ([-1], None), ([3], "nobody")):
        with pytest.raises(vark.InvalidArgumentError):
            repository.erase(ids, name=name, confirm=True)
    assert erase_.PASSES > 1
