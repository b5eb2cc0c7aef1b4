"""Increments by write-only clients: compared with what the client kept, restored by members, and what a thief of it finds."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import reader
import reader_repository

from erasures import GONE, IDS, hnswlib_index, rows_of
from sealed_repositories import OTHER_RECIPIENT, OWN, changed, objects, reopened, rows, sealed_repository
from vark._core import Reader
from vark.errors import KeyNeededError, VarkError
from vark.keys import signer_of
from vark.repository import Repository
from vark.repository.fields import new_salt
from vark.repository.layout import COMMITS, ERASURES
from vark.repository.objects import create_record
from vark.stores import LocalStore

FULL = "the first snapshot of this name from here, or the local cache was lost"
COUNT, DIM = 4_000, 64


class Client:
    """A repository of a member and a write-only client with a cache of its own."""

    def __init__(self, folder, store=None):
        self.repository = sealed_repository(store)
        self.content = self.repository.keys.add_signer("host", write_only=True).content
        self.cache = folder / "cache"

    def backup(self, source, *, name="n", **options):
        client = Repository.open(self.repository.store, signer=self.content)
        return client.backup(source, name=name, **{"cache": self.cache, **options})

    def member(self):
        return reopened(self.repository)

    def files(self, suffix=""):
        return sorted(path for path in self.cache.rglob("*") if path.is_file() and path.name.endswith(suffix))


@pytest.fixture
def client(tmp_path):
    return Client(tmp_path)


def archive_of(report):
    (archive,) = report.archives
    return archive


def opened_shadow(client, path):
    return Reader.open_shadow(str(path.parent), bytes.fromhex(path.stem.replace("-", "")), signer_of(client.content))


class Source:
    """A folder with an hnswlib index, two of faiss and an array, of which a hundredth changes each day."""

    def __init__(self, folder):
        import faiss
        import hnswlib

        faiss.omp_set_num_threads(1)
        self.folder = folder
        self.vectors = np.random.default_rng(1).standard_normal((COUNT, DIM), dtype=np.float32)
        self.hnswlib = hnswlib.Index("l2", DIM)
        self.hnswlib.init_index(COUNT + 200, M=8, ef_construction=30, random_seed=3)
        self.hnswlib.add_items(self.vectors, np.arange(COUNT) * 5 + 7_000_000_001, num_threads=1)
        self.trained = faiss.index_factory(DIM, "IVF16,PQ16x4")
        self.trained.train(self.vectors)

    def change(self, day):
        """Rows are updated in place, added and taken away."""
        random = np.random.default_rng(day)
        at = random.choice(COUNT, COUNT // 100, replace=False)
        self.vectors[at] = random.standard_normal((len(at), DIM), dtype=np.float32)
        self.hnswlib.add_items(self.vectors[at], at * 5 + 7_000_000_001, num_threads=1)

    def write(self, day):
        import faiss

        folder = self.folder / str(day)
        folder.mkdir(parents=True)
        vectors = np.delete(self.vectors, np.arange(day) * 100 + 17, axis=0)
        self.hnswlib.save_index(str(folder / "a.hnsw"))
        quantized = faiss.clone_index(self.trained)
        quantized.add_with_ids(vectors, np.arange(len(vectors)) * 3 + 11)
        flat = faiss.IndexFlatL2(DIM)
        flat.add(vectors)
        faiss.write_index(quantized, str(folder / "b.faiss"))
        faiss.write_index(flat, str(folder / "c.faiss"))
        np.save(folder / "d.npy", vectors)
        return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_five_days_are_restored_byte_exact_and_are_nearly_as_small_as_those_of_a_client_with_keys(tmp_path, client):
    source, by_keys = Source(tmp_path / "source"), sealed_repository()
    sizes, reports = [], []
    for day in range(5):
        source.change(day)
        folder = source.write(day)
        reports.append((client.backup(folder), folder))
        theirs = by_keys.backup(folder, name="n", cache=tmp_path / "theirs")
        sizes.append((reports[-1][0].archive_bytes, theirs.archive_bytes))
    assert [archive_of(report).base for report, _ in reports] == [
        None,
        *(archive_of(report).archive_id for report, _ in reports[:-1]),
    ]
    for own, theirs in sizes:
        assert own <= 1.02 * theirs, sizes
    assert sizes[0][0] > 8 * max(own for own, _ in sizes[1:]), sizes
    member = client.member()
    for report, folder in reports:
        member.restore(report.snapshot, tmp_path / report.snapshot)
        assert contents(tmp_path / report.snapshot) == contents(folder)
    assert member.verify(level="full").ok
    assert sum(path.stat().st_size for path in client.files(".shadow")) < sizes[0][0] / 2


def test_nothing_is_read_back_by_what_the_client_kept(client):
    report = client.backup(rows())
    archive_id = archive_of(report).archive_id
    (shadow,) = client.files(".shadow")
    before = len(objects(client.repository.store))
    writer = Repository.open(client.repository.store, signer=client.content)
    for attempt in (writer.load, writer.snapshots, lambda: writer.restore("latest", client.cache.parent / "x")):
        with pytest.raises(KeyNeededError):
            attempt()
    opened_file = opened_shadow(client, shadow)
    names = [stream.name for stream in opened_file.streams]
    with pytest.raises(VarkError):
        opened_file.read_rows(names.index("vectors"), 0, 1, bytearray(128), threads=1)
    assert len(objects(client.repository.store)) == before
    # Nothing stands there as it is stored (but what is public: tables), so that no key of the archive would be of use.
    stored = client.repository.store.read(f"archives/{archive_id}/000000.vark")
    kept = shadow.read_bytes()
    assert len(stored) > 300_000  # most of it vectors, which come first
    assert not any(stored[at : at + 64] in kept for at in range(64, 300_000, 64))


def test_a_stolen_cache_has_no_vectors_and_without_its_key_nothing(tmp_path, client):
    source = Source(tmp_path / "source")
    folder = source.write(0)
    options = {"documents": {"canary-document.md": "canary-text"}, "tags": {"canary-tag": "canary"}}
    client.backup(folder, name="canary-name", **options)
    source.change(1)
    client.backup(source.write(1), name="canary-name", **options)
    needles = [b"canary", b"vectors", b"links", b"a.hnsw", os.fsencode(tmp_path)]
    needles += [row.tobytes() for row in source.vectors] + [row[:4].tobytes() for row in source.vectors[:500]]
    needles += [int(7_000_000_001 + at * 5).to_bytes(8, "little") for at in range(500)]
    files = client.files()
    assert {path.suffix for path in files} == {".head", ".shadow", ".rows"}
    for path in files:
        content = path.read_bytes()
        assert not [needle for needle in needles if needle in content or needle in os.fsencode(path.name)]
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0
    # With its key: what is in a shadow is what the specification says.
    rows_of = {"links", "levels", "ids", "list_sizes", "map", "fingerprints", "codes"}
    opened = 0
    for path in client.files(".shadow"):
        opened_file = opened_shadow(client, path)
        for number, stream in enumerate(opened_file.streams):
            out = bytearray(stream.row_bytes)
            role = stream.role
            if role == "part":
                role = next(one.role for one in opened_file.streams if one.name == stream.name.split("//part")[0])
            if stream.row_count == 0:
                continue
            if role in rows_of:
                opened_file.read_rows(number, 0, 1, out, threads=1)
                opened += 1
            else:
                with pytest.raises(VarkError):
                    opened_file.read_rows(number, 0, 1, out, threads=1)
    assert opened > 10


def test_a_tampered_cache_costs_a_full_archive_and_never_gives_a_wrong_row(tmp_path, client):
    data = rows()
    client.backup(data)
    client.backup(changed(data, 1))
    kept = tmp_path / "kept"
    shutil.copytree(client.cache, kept)
    new = changed(changed(data, 1), 2)
    random = np.random.default_rng(8)

    def flipped(path):
        content = bytearray(path.read_bytes())
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(content)

    def shortened(path):
        os.truncate(path, random.integers(path.stat().st_size))

    def swapped(path):
        others = [other for other in client.files(path.suffix) if other != path]
        if not others:
            return flipped(path)
        content = path.read_bytes()
        path.write_bytes(others[0].read_bytes())
        others[0].write_bytes(content)
        return None

    def linked(path):
        path.rename(path.with_suffix(".moved"))
        path.symlink_to(path.with_suffix(".moved"))

    outcomes = {"full": 0, "delta": 0}
    for trial in range(30):
        shutil.rmtree(client.cache)
        shutil.copytree(kept, client.cache)
        files = client.files()
        path = files[trial % len(files)]
        (linked if trial % 15 == 14 else (flipped, shortened, swapped)[trial % 3])(path)
        archive = archive_of(client.backup(new))
        outcomes["full" if archive.base is None else "delta"] += 1
        assert archive.base is not None or "cache" in archive.reason
        newest = client.member().snapshots()[-1]
        assert (client.member().load(newest.id) == new).all()
        # And what it kept now is good.
        assert archive_of(client.backup(new)).base == archive.archive_id
    assert outcomes["full"] > 15, outcomes


def test_without_its_cache_a_client_writes_full_archives_and_says_why(tmp_path, client):
    data = rows()
    assert archive_of(client.backup(data)).reason == FULL
    assert archive_of(client.backup(data, name="other")).reason == FULL
    assert "has none" in archive_of(client.backup(data, cache=False)).reason
    assert archive_of(client.backup(data, full=True)).reason == "asked for"
    assert archive_of(client.backup(data)).base is not None
    shutil.rmtree(client.cache)
    assert archive_of(client.backup(data)).reason == FULL
    # Another host with a file of the same signer: each builds on its own.
    other = tmp_path / "other host"
    there = archive_of(client.backup(changed(data, 1), cache=other))
    assert there.reason == FULL
    assert archive_of(client.backup(changed(data, 2))).base != there.archive_id
    assert archive_of(client.backup(changed(data, 3), cache=other)).base == there.archive_id
    # New keys have another cache key: what was kept under the old ones is of no use.
    client.repository.keys.new_epoch()
    client.content = client.repository.keys.add_signer("host again", write_only=True).content
    assert archive_of(client.backup(data)).reason == FULL
    assert client.member().verify(level="full").ok


def test_a_base_that_is_forgotten_collected_or_written_again_is_not_built_on(client):
    data = rows()
    first = client.backup(data)
    second = client.backup(changed(data, 1))
    member = client.member()
    member.forget(first.snapshot, confirm=True, min_redundancy=0)
    for _ in range(2):
        client.member().gc(confirm=True, trash=0, grace=0)
    third = client.backup(changed(data, 2))
    assert archive_of(third).base == archive_of(second).archive_id  # whose own base stays for its sake
    assert (client.member().load(second.snapshot) == changed(data, 1)).all()
    assert (client.member().load(third.snapshot) == changed(data, 2)).all()
    client.member().forget(third.snapshot, confirm=True, min_redundancy=0)
    for _ in range(2):
        client.member().gc(confirm=True, trash=0, grace=0)
    after = archive_of(client.backup(data))
    assert "gone or forgotten" in after.reason
    assert client.member().verify(level="full").ok
    compacted = client.backup(changed(data, 3))
    client.member().compact(compacted.snapshot)
    assert "written it again" in archive_of(client.backup(changed(data, 4))).reason
    assert client.member().verify(level="full").ok


def test_the_limits_of_chains_hold(client):
    data = rows()
    bases = [archive_of(client.backup(changed(data, day), chain_max=2)) for day in range(6)]
    assert [archive.base is None for archive in bases] == [True, False, False, True, False, False]
    assert "a chain of 3 archives" in bases[3].reason
    wasted = [archive_of(client.backup(changed(data, day), waste_max=0.0)) for day in range(6, 10)]
    assert any("lies unused" in (archive.reason or "") for archive in wasted)


def test_members_compact_reencrypt_and_erase_what_a_client_has_built(tmp_path):
    client = Client(tmp_path, LocalStore(tmp_path / "repository"))
    days = [client.backup(hnswlib_index(rows_of(day))) for day in range(3)]
    assert [archive_of(day).base is None for day in days] == [True, False, False]

    def labels_and_rows(snapshot):
        with client.member().open_archive(snapshot) as archive:
            return archive["labels"][:].tobytes(), archive["vectors"][:].tobytes()

    before = [labels_and_rows(day.snapshot) for day in days]
    client.member().compact(days[1].snapshot)
    client.repository = client.member()
    client.repository.keys.add(recipients=[OTHER_RECIPIENT])
    client.repository.keys.new_epoch()
    client.member().keys.reencrypt(confirm=True)
    assert [labels_and_rows(day.snapshot) for day in days] == before
    assert client.member().verify(level="full").ok
    after = client.backup(hnswlib_index(rows_of(3)))
    assert "written it again" in archive_of(after).reason
    last = client.backup(hnswlib_index(rows_of(4)))
    assert archive_of(last).base is not None
    client.member().erase(IDS[GONE], name="n", confirm=True)
    later = client.backup(hnswlib_index(rows_of(5)))
    assert "rows were erased" in archive_of(later).reason
    assert archive_of(client.backup(hnswlib_index(rows_of(6)))).base is not None
    client.member().erase(None, name="n", confirm=True)
    for day in client.member().snapshots():
        with client.member().open_archive(day) as archive:
            assert not archive["vectors"].rows_of(GONE).any()
    assert client.member().verify(level="full").ok


def test_a_client_that_was_taken_over_cannot_keep_what_others_wrote_from_being_collected(client):
    client.repository.backup(rows(1), name="mine")
    own = client.backup(rows(2))
    commits = client.repository._context.reader.read().commits
    (mine,) = [commit for commit in commits.values() if commit.name == "mine"]
    theirs = mine.archives[0].as_ancestor()
    forged = replace(commits[own.commit], snapshot=new_salt(), salt=new_salt(), closure=(theirs,))
    context = Repository.open(client.repository.store, signer=client.content)._context
    create_record(context.store, COMMITS, forged.encode(context.envelope), forged.created_unix_ms)
    assert len(client.member()._context.reader.read().refused) == 1
    client.member().forget(mine.snapshot, confirm=True, min_redundancy=0)
    for _ in range(2):
        client.member().gc(confirm=True, trash=0, grace=0, min_redundancy=0)
    assert not any(theirs.id in name for name in objects(client.repository.store))
    assert (client.member().load(own.snapshot) == rows(2)).all()


def test_a_delta_stays_its_writers_own_though_a_member_vouches_for_its_base(client):
    first, second = client.backup(rows()), client.backup(changed(rows(), 1))
    member = client.member()
    commits = member._context.reader.read().commits
    vouched = replace(commits[first.commit], replaces=first.commit, salt=new_salt())
    member._context.create_commit(vouched, vouched.encode(member._context.envelope))
    again = client.member()
    assert not again._context.reader.read().refused
    assert (again.load(second.snapshot) == changed(rows(), 1)).all()
    assert again.keys.revoke_signer("host").kept
    assert (client.member().load(second.snapshot) == changed(rows(), 1)).all()


def test_members_that_build_on_what_a_client_wrote_compare_rows_themselves(client):
    data = np.random.default_rng(4).standard_normal((12_000, 64), dtype=np.float32)
    client.backup(data)
    data[::1_000] += 1
    theirs = client.backup(data)
    client.member().compact(theirs.snapshot)
    new = data.copy()
    new[5::1_200] += 1
    first, again = client.member().backup(new, name="n"), client.member().backup(new, name="n")
    # Its fingerprints are of no use to others: rows are read, and fingerprints made anew.
    assert (archive_of(first).rows_new, archive_of(again).rows_new) == (10, 0)
    assert (client.member().load("latest", name="n") == new).all()
    assert (client.member().load(theirs.snapshot) == data).all()
    assert client.member().verify(level="full").ok


def test_shards_payload_and_an_index_of_ids_go_on_from_day_to_day(client):
    import faiss
    import pyarrow as pa

    random = np.random.default_rng(6)
    ids = random.permutation(40_000)[:9_000].astype(np.int64)
    vectors = random.standard_normal((9_000, 16), dtype=np.float32)

    def shards(day):
        index = faiss.IndexIDMap(faiss.IndexFlatL2(16))
        index.add_with_ids(vectors + np.float32(day) * (np.arange(9_000) % 500 == 0)[:, None], ids)
        return {"a": index, "b": vectors[day:]}

    reports = []
    for day in range(3):
        writer = Repository.open(client.repository.store, signer=client.content)
        report = writer.backup_shards(shards(day), name="s", cache=client.cache, id_index=1_000)
        reports.append(report)
    assert all(archive.base is not None for report in reports[1:] for archive in report.archives)
    assert [archive.rows_new for archive in reports[2].archives] == [18, 0]
    assert reports[2].archive_bytes < reports[0].archive_bytes / 5
    member = client.member()
    with member.open_archive(reports[2].snapshot, shard="a") as archive:
        found = archive.rows_by_id("vectors", ids[[0, 500, 501]])
        assert (found == vectors[[0, 500, 501]] + np.array([[2], [2], [0]], np.float32)).all()
        assert any(stream.role == "id_index" for stream in archive.reader.streams)
    with member.open_archive(reports[1].snapshot, shard="b") as archive:
        assert (archive.load() == vectors[1:]).all()
    table = pa.table({"text": [f"canary {row}" for row in range(9_000)]})
    for _ in range(2):
        last = client.backup(vectors, name="p", payload=table)
    assert archive_of(last).archive_bytes < 40_000
    assert client.member().verify(level="full").ok


def test_the_reference_reader_restores_what_a_client_has_built(tmp_path):
    client = Client(tmp_path, LocalStore(tmp_path / "r"))
    days = [rows(), changed(rows(), 1), changed(changed(rows(), 1), 2)]
    reports = [client.backup(data) for data in days]
    assert [archive_of(report).base is None for report in reports] == [True, False, False]
    read = reader_repository.Repository(tmp_path / "r", [OWN])
    assert read.faults == []
    for day, report in enumerate(reports):
        target = tmp_path / f"{day}.npy"
        read.restore(report.snapshot, target, reader.Archive)
        assert (np.load(target) == days[day]).all()


def test_short_vectors_are_compared_by_fingerprints(client):
    narrow = np.random.default_rng(3).standard_normal((40_000, 8), dtype=np.float32)
    first = client.backup(narrow)
    new = narrow.copy()
    new[::2_000] += 1
    second = archive_of(client.backup(new))
    assert second.rows_new == 20
    assert second.archive_bytes < archive_of(first).archive_bytes / 10
    assert (client.member().load("latest", name="n") == new).all()


def test_erasures_are_looked_for_once_however_many_shards_there_are(client, monkeypatch):
    shards = {name: rows(number) for number, name in enumerate("abc")}
    listed, store = [], client.repository.store
    list_of = store.list
    monkeypatch.setattr(store, "list", lambda prefix: listed.append(prefix) or list_of(prefix))
    for _ in range(2):
        listed.clear()
        writer = Repository.open(store, signer=client.content)
        report = writer.backup_shards(shards, name="s", cache=client.cache)
        assert listed.count(ERASURES) == 1
    assert all(archive.base is not None for archive in report.archives)
