"""Add golden archives that are missing; never touch one that is there.

    python tests/golden/make_golden.py

Sources are the small index files of tests/fixtures/indexes, data made from seeds, and indexes built of it (those need not
come out the same again: an archive is made once).
"""

import hashlib
import json
import tempfile
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
from blake3 import blake3

import vark

HERE = Path(__file__).resolve().parent
INDEXES = HERE.parent / "fixtures" / "indexes"
# Of nobody: it opens the encrypted archives of this folder.
IDENTITY = "AGE-SECRET-KEY-1XP8EQXUZDATM245TLLKFNHSJJC7MXVJPCGC6G89KDDH5XMM4RE4S7H2W2L"
RECIPIENT = "age1s5h5x092pzq5kj3wdn6d8nexkw9nxasy334p7usfun7ksk385pss77d4mt"


def vectors(rows, dim, seed):
    """Unit rows from the seed alone; SHA-256 and not a generator, so that no library changes them."""
    digests = b"".join(hashlib.sha256(f"{seed} {at}".encode()).digest() for at in range(rows * dim // 8 + 1))
    values = np.frombuffer(digests, "<u4")[: rows * dim].astype(np.float64) / 2**32
    normal = np.sqrt(-2 * np.log(values + 1e-12)) * np.cos(2 * np.pi * np.roll(values, 1))
    normal = normal.reshape(rows, dim)
    return (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32)


def sources(folder):
    """Name → source and the other arguments of write_archive."""
    plain = folder / "folder"
    (plain / "empty").mkdir(parents=True)
    (plain / "notes.txt").write_text("opaque, and compressible. " * 40)
    (plain / "noise.bin").write_bytes(b"".join(hashlib.sha256(bytes([at])).digest() for at in range(40)))
    (plain / "nothing").write_bytes(b"")
    np.save(plain / "ids.npy", np.arange(300, dtype=np.int64) * 3 + 7)
    table = pa.table({"id": list(range(50)), "title": [f"title {at}" for at in range(50)]})
    array = vectors(700, 24, 1)
    halves = folder / "halves"
    halves.mkdir()
    np.save(halves / "f16.npy", vectors(400, 16, 2).astype(np.float16))
    upper = (vectors(400, 16, 3).view(np.uint32) >> 16 << 16).view(np.float32)
    np.save(halves / "bf16_then_unit.npy", upper / np.linalg.norm(upper, axis=1, keepdims=True).astype(np.float32))
    graph = faiss.IndexHNSWFlat(4, 8)
    graph.add(vectors(1500, 4, 4))
    faiss.write_index(graph, str(folder / "graph.faiss"))
    lists = faiss.index_factory(4, "IVF32,PQ2x4")
    lists.train(vectors(2000, 4, 5))
    lists.add(vectors(3000, 4, 6))
    faiss.write_index(lists, str(folder / "lists.faiss"))
    index = faiss.IndexIDMap(faiss.IndexFlatL2(2))
    numbers = np.array(
        [int.from_bytes(hashlib.sha256(bytes([at % 250, 9])).digest()[:6], "little") for at in range(600)]
    )
    index.add_with_ids(vectors(600, 2, 7), numbers.astype(np.int64) - (1 << 47))
    faiss.write_index(index, str(folder / "ids.faiss"))
    return {
        "v1.0_id_index": (folder / "ids.faiss", {"id_index": 100}),
        "v1.0_faiss_hnsw": (INDEXES / "hnsw_flat_12.faiss", {}),
        "v1.0_faiss_ivf_pq": (INDEXES / "ivf_pq.faiss", {}),
        "v1.0_faiss_nested": (INDEXES / "nested.faiss", {}),
        "v1.0_hnswlib": (INDEXES / "hnswlib_12_of_20.hnsw", {}),
        "v1.0_halves": (halves, {}),
        "v1.0_links": (folder / "graph.faiss", {}),
        "v1.0_lists": (folder / "lists.faiss", {}),
        "v1.0_folder": (plain, {"digest": True}),
        "v1.2_sealed": (
            INDEXES / "hnswlib_12_of_20.hnsw",
            {"passphrase": "golden passphrase", "recipients": [RECIPIENT], "digest": True},
        ),
        "v1.0_array_extras": (
            array,
            {
                "payload": table,
                "payload_key": "id",
                "documents": {"README.md": "golden"},
                "attach": {"model.bin": bytes(range(256))},
                "probes": {"queries": array[:9], "k": 4},
                "application": {"model": "none", "revision": 1},
            },
        ),
    }


def describe(path, keys):
    """What a reader of any version must get back. keys: arguments of open_archive, kept for it."""
    with tempfile.TemporaryDirectory() as name, vark.open_archive(path, **keys) as archive:
        target = Path(name) / "out"
        archive.restore(target, sync=False)
        files = [target] if target.is_file() else sorted(file for file in target.rglob("*") if file.is_file())
        members = {
            "" if file == target else str(file.relative_to(target)): blake3(file.read_bytes()).hexdigest()
            for file in files
        }
        codecs = sorted({codec for at in range(len(archive.streams)) for codec in archive._reader.codecs(at)})
        streams = {info.name: [info.role, info.shape[0]] for info in archive.streams}
    return {"members": members, "codecs": codecs, "streams": streams} | ({"keys": keys} if keys else {})


def main():
    """Add what is missing."""
    listing = HERE / "golden.json"
    golden = json.loads(listing.read_text()) if listing.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        for stem, (source, arguments) in sources(Path(name)).items():
            target = HERE / f"{stem}.vark"
            if target.exists() or stem in golden:
                continue
            vark.write_archive(source, target, **arguments)
            encrypted = "passphrase" in arguments
            golden[stem] = describe(target, {"identities": [IDENTITY]} if encrypted else {})
            if encrypted:
                golden[stem]["passphrase"] = arguments["passphrase"]
            print(f"{target.name}: {target.stat().st_size} bytes, {golden[stem]['codecs']}")
    listing.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
