"""Files of further libraries and kinds: split natively, restored byte for byte by the engine and by spec/reader.py."""

import importlib.util
import struct

import faiss
import numpy as np
import pytest

import vark
from indexes import rows
from test_matrix import quiet, reader

COUNTS = (0, 1, 2, 2_000)
DIMENSION = 32


def prove(source, layout, streams, tmp_path, *, loads=False):
    """Pack, look at the streams, restore twice, compare bytes; loading says what to do instead."""
    path = tmp_path / "a.vark"
    report = vark.write_archive(source, path, sync=False)
    assert report.members[0].warning is None
    assert report.members[0].layout == layout
    with vark.open_archive(path) as archive:
        found = {info.name: info for info in archive.streams}
        assert streams <= set(found), set(found)
        assert "opaque" not in found
        archive.restore(tmp_path / "restored", sync=False)
        assert archive.verify().ok
        if not loads:
            with pytest.raises(vark.VarkError, match="restore the file and load it with its library"):
                archive.load()
    assert (tmp_path / "restored").read_bytes() == source.read_bytes()
    reader.Archive(str(path)).restore(str(tmp_path / "by-reader"))
    assert (tmp_path / "by-reader").read_bytes() == source.read_bytes()
    return found


USEARCH_STREAMS = {"vectors", "levels", "keys", "levels.nodes", "links.level0", "links.upper"}


def usearch_index(count, dtype="f32", **settings):
    usearch = pytest.importorskip("usearch.index", reason="usearch is not installed: its files are not made")
    metric = "hamming" if dtype == "b1" else "cos"
    index = usearch.Index(ndim=DIMENSION, metric=metric, dtype=dtype, connectivity=8, **settings)
    data = np.packbits(rows(count, DIMENSION) > 0, axis=1) if dtype == "b1" else rows(count, DIMENSION)
    if count:
        keys = np.arange(count, dtype=np.uint64) * 3
        index.add(keys // 6 if settings.get("multi") else keys, data)
    return index


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16", "i8", "b1"])
@pytest.mark.parametrize("count", COUNTS)
def test_a_usearch_index_comes_back_byte_for_byte(dtype, count, tmp_path):
    index = usearch_index(count, dtype)
    index.save(str(tmp_path / "source"))
    found = prove(tmp_path / "source", "usearch", USEARCH_STREAMS, tmp_path)
    expected = {"b1": "u8"}.get(dtype, dtype)
    assert (found["vectors"].element_type, found["vectors"].shape[0]) == (expected, count)
    assert found["keys"].shape == (count,)


@pytest.mark.parametrize("kind", ["multi", "removed", "reused"])
def test_a_usearch_index_that_lived_comes_back_byte_for_byte(kind, tmp_path):
    index = usearch_index(2_000, multi=kind == "multi")
    if kind != "multi":
        for key in range(0, 900, 3):
            index.remove(key)
    if kind == "reused":
        index.add(np.arange(100, dtype=np.uint64) + 50_000, rows(100, DIMENSION, seed=8))
    index.save(str(tmp_path / "source"))
    prove(tmp_path / "source", "usearch", USEARCH_STREAMS, tmp_path)


BINARY = {
    "BFlat": ("IBxF", {"vectors"}),
    "BIVF4": ("IBwF", {"vectors", "ids", "list_sizes", "quantizer.vectors"}),
    "BHNSW8": ("IBHf", {"vectors", "levels", "links.level0", "links.upper"}),
}


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("count", COUNTS)
def test_a_binary_index_comes_back_byte_for_byte(kind, count, tmp_path):
    index = faiss.index_binary_factory(DIMENSION, kind)
    data = np.packbits(rows(2_000, DIMENSION) > 0, axis=1)
    with quiet():
        if not index.is_trained:
            index.train(data)
        index.add(data[:count])
    faiss.write_index_binary(index, str(tmp_path / "source"))
    fourcc, streams = BINARY[kind]
    found = prove(tmp_path / "source", f"faiss/{fourcc}", streams, tmp_path)
    assert found["vectors"].shape == (count, DIMENSION // 8)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["IBMp", "IBM2"])
def test_a_binary_id_map_comes_back_byte_for_byte(kind, count, tmp_path):
    inside = faiss.IndexBinaryFlat(DIMENSION)
    index = faiss.IndexBinaryIDMap(inside) if kind == "IBMp" else faiss.IndexBinaryIDMap2(inside)
    data = np.packbits(rows(count, DIMENSION) > 0, axis=1)
    index.add_with_ids(data, np.arange(count, dtype=np.int64) * 5)
    faiss.write_index_binary(index, str(tmp_path / "source"))
    prove(tmp_path / "source", f"faiss/{kind}", {"vectors", "id_map"}, tmp_path)


FLOAT = {
    "Flat,RFlat": ("IxRF", {"vectors", "refine.vectors"}),
    "IVF4,PQ8x4,Refine(SQ8)": ("IxRF", {"codes", "ids", "codebook", "quantizer.vectors", "refine.codes"}),
    "RaBitQ": ("Ixrq", {"codes"}),
    "RaBitQ4": ("Ixrr", {"codes"}),
    "IVF4,RaBitQ": ("Iwrq", {"codes", "ids", "list_sizes", "quantizer.vectors"}),
    "IVF4,RaBitQ4": ("Iwrr", {"codes", "ids", "list_sizes", "quantizer.vectors"}),
    "RaBitQfs": ("Irfn", {"codes"}),
    "IVF4,RaBitQfs": ("Iwrn", {"lists", "quantizer.vectors"}),
    "PQ8x4fs": ("IPfs", {"codes", "codebook"}),
    "IVF4,PQ8x4fs": ("IwPf", {"lists", "codebook", "quantizer.vectors"}),
    "IDMap,IVF4,PQ8x4fs": ("IxMp", {"lists", "id_map", "codebook"}),
}


def fill(index, count):
    with quiet():
        if not index.is_trained:
            index.train(rows(2_000, DIMENSION, seed=1))
        if count == 0:
            return index  # faiss breaks when it adds nothing to blocks
        if isinstance(index, faiss.IndexIDMap):
            index.add_with_ids(rows(count, DIMENSION), np.arange(count, dtype=np.int64) * 7)
        else:
            index.add(rows(count, DIMENSION))
    return index


@pytest.mark.parametrize("kind", FLOAT)
@pytest.mark.parametrize("count", COUNTS)
def test_a_refined_or_packed_index_comes_back_byte_for_byte(kind, count, tmp_path):
    index = fill(faiss.index_factory(DIMENSION, kind), count)
    faiss.write_index(index, str(tmp_path / "source"))
    fourcc, streams = FLOAT[kind]
    prove(tmp_path / "source", f"faiss/{fourcc}", streams, tmp_path)


@pytest.mark.parametrize("kind", ["HNSW8,PQ8x4", "HNSW8,SQ8", "IVF4,SQ8", "IVF4,SQfp16"])
@pytest.mark.parametrize("count", COUNTS)
def test_coded_graphs_and_lists_come_back_byte_for_byte_and_load(kind, count, tmp_path):
    index = fill(faiss.index_factory(DIMENSION, kind), count)
    faiss.write_index(index, str(tmp_path / "source"))
    fourcc = {"HNSW8,PQ8x4": "IHNp", "HNSW8,SQ8": "IHNs"}.get(kind, "IwSq")
    prove(tmp_path / "source", f"faiss/{fourcc}", {"codes"}, tmp_path, loads=True)
    with vark.open_archive(tmp_path / "a.vark") as archive:
        assert archive.load().ntotal == count


@pytest.mark.parametrize("count", [0, 2_000])
def test_a_graph_of_marked_lists_comes_back_byte_for_byte(count, tmp_path):
    index = faiss.IndexNSGFlat(DIMENSION, 16)
    index.build_type = 0
    if count:
        index.add(rows(count, DIMENSION))
    faiss.write_index(index, str(tmp_path / "source"))
    prove(tmp_path / "source", "faiss/INSf", {"vectors", "links"} if count else {"vectors"}, tmp_path)


@pytest.mark.parametrize("kind", ["IVF4,PQ8x4fs", "Flat,RFlat"])
def test_a_live_index_of_these_kinds_is_kept(kind, tmp_path):
    """Lists without counts need a look ahead, which a live index does not allow: it is kept whole."""
    index = fill(faiss.index_factory(DIMENSION, kind), 500)
    vark.write_archive(index, tmp_path / "a.vark", sync=False)
    with vark.open_archive(tmp_path / "a.vark") as archive:
        archive.restore(tmp_path / "restored", sync=False)
    faiss.write_index(index, str(tmp_path / "expected"))
    assert (tmp_path / "restored").read_bytes() == (tmp_path / "expected").read_bytes()


DISK_STREAMS = {
    1_100: {"vectors", "links", "padding"},
    700: {"vectors", "links", "padding"},
    400: {"vectors", "links", "vectors.2", "links.2", "padding"},
    100: {"nodes", "padding"},
}


def disk_index(data, degree=8):
    """What the C++ library of DiskANN writes, by its layout: blocks of whole nodes, zeros after them."""
    count, dimension = data.shape
    node_bytes = dimension * 4 + 4 + 4 * degree
    nodes = 4_096 // node_bytes
    links = np.random.default_rng(4).integers(0, count, (count, degree + 1), dtype=np.uint32)
    links[:, 0] = degree
    records = [row.tobytes() + link.tobytes() for row, link in zip(data, links, strict=True)]
    groups = [b"".join(records[at : at + max(nodes, 1)]) for at in range(0, count, max(nodes, 1))]
    blocks = b"".join(group.ljust(-(-node_bytes // 4_096) * 4_096, b"\0") for group in groups)
    head = struct.pack("<II9Q", 9, 1, count, dimension, 0, node_bytes, nodes, 0, 0, 0, 4_096 + len(blocks))
    return head.ljust(4_096, b"\0") + blocks


@pytest.mark.parametrize("dimension", DISK_STREAMS)
@pytest.mark.parametrize("count", [1, 2, 2_000])
def test_a_disk_index_comes_back_byte_for_byte(dimension, count, tmp_path):
    (tmp_path / "source").write_bytes(disk_index(rows(count, dimension)))
    prove(tmp_path / "source", "diskann", DISK_STREAMS[dimension], tmp_path)


@pytest.mark.parametrize("dimension", DISK_STREAMS)
@pytest.mark.parametrize("count", [1, 2, 2_000])
def test_a_disk_index_of_the_library_comes_back_byte_for_byte(dimension, count, tmp_path):
    if importlib.util.find_spec("diskannpy") is None:
        pytest.skip("diskannpy is not installed, it pins numpy 1.25: tests/fixtures holds small files of it")
    import diskannpy

    if count == 2_000 and dimension > 400:
        pytest.skip("its training takes minutes")
    settings = {"complexity": 16, "graph_degree": 8, "search_memory_maximum": 0.5, "build_memory_maximum": 1.0}
    data = rows(count, dimension)
    diskannpy.build_disk_index(data, "l2", str(tmp_path), num_threads=2, pq_disk_bytes=0, **settings)
    prove(tmp_path / "ann_disk.index", "diskann", {"padding"}, tmp_path)
