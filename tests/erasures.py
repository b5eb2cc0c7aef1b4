"""Small sources for tests of erasure, and what must not be found afterwards."""

import numpy as np

import vark

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
