"""Erasure, case by case: layouts, payloads, members that nobody can see into."""

import numpy as np
import pytest

import vark
from erasures import DIM, GONE, IDS, ROWS, faiss_index, hnswlib_index, nothing_left, rows_of, stored, truth_of
from vark import _core, erasing
from vark.keys import new_recovery_code
from vark.repository import Repository
from vark.repository.layout import ERASURES
from vark.stores import MemoryStore


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
    grown = repository.load()
    more = np.random.default_rng(4).standard_normal((50, DIM), dtype=np.float32)
    grown.add_with_ids(more, np.arange(50))
    found = np.concatenate([grown.search(row[None], 1)[1] for row in more]).ravel()
    assert "PQ" in kind or "SQ" in kind or np.mean(found == np.arange(50)) > 0.8
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
    later = repository.backup(tmp_path / "source", name="folder")
    assert later.rows_erased == len(GONE)
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


def test_a_snapshot_that_cannot_be_read_keeps_anything_from_being_written(tmp_path):
    repository = Repository.create(tmp_path / "repository", encryption="none")
    first = repository.backup(hnswlib_index(rows_of(0)), name="h")
    repository.backup(hnswlib_index(rows_of(1)), name="h", full=True)
    path = repository.store.local_path(f"archives/{first.archives[0].archive_id}/000000.vark")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(vark.DamagedError, match="forget it and let `vark gc` take it first"):
        repository.erase(IDS[GONE], name="h", confirm=True)
    assert not repository.store.list(ERASURES)
    repository.forget(first.snapshot, confirm=True)
    repository.gc(confirm=True, trash=0, grace=0)
    assert len(repository.erase(IDS[GONE], name="h", confirm=True).snapshots) == 1
    nothing_left(repository, range(2))
