"""Back up a live index, look into the archive, damage a copy, restore, and prove that the answers are the same."""

import tempfile
import time
from pathlib import Path

import faiss
import numpy as np

import vark

ROWS, DIM = 50_000, 128


def main() -> None:
    """Run all steps in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="vark-demo-") as name:
        folder = Path(name)
        index = build_index()
        back_up(index, folder / "products.vark")
        look_into(folder / "products.vark")
        damage(folder / "products.vark", folder / "damaged.vark")
        restore(index, folder / "products.vark", folder / "restored.faiss")


def build_index() -> faiss.Index:
    """Return an HNSW graph over clustered vectors, seeded."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((200, DIM), dtype=np.float32)
    vectors = centres[rng.integers(0, 200, ROWS)] + 0.3 * rng.standard_normal((ROWS, DIM), dtype=np.float32)
    index = faiss.index_factory(DIM, "HNSW16")
    index.add(vectors)
    print(f"1. a live faiss HNSW index of {ROWS:,} x {DIM} float32\n")
    return index


def back_up(index: faiss.Index, path: Path) -> None:
    """Stream the index into an archive, with 100 probes and a document."""
    queries = index.reconstruct_n(0, 100) + np.float32(0.01)
    report = vark.write_archive(
        index, path, probes={"queries": queries, "k": 10}, documents={"README.md": "The demo's index."}
    )
    print(f"2. {report}\n{report.streams}\n")


def look_into(path: Path) -> None:
    """Read one row without reading the archive."""
    with vark.open_archive(path) as archive:
        name = next(info.name for info in archive.streams if info.role == "vectors")
        row = archive[name][12_345]
        reads, count = archive.io_counts
        print(f"3. row 12,345 starts with {row[:3]}: {reads} reads, {count:,} of {archive.archive_bytes:,} bytes\n")


def damage(path: Path, copy: Path) -> None:
    """Change one bit of a copy and let verification find it."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    report = vark.verify_archive(copy)
    print(f"4. the original is {'whole' if vark.verify_archive(path) else 'DAMAGED'}; one bit of a copy was changed:")
    for item in report.damage:
        print(f"   {item.layer}: {item.detail}")
    if report.ok:
        raise SystemExit("demo: the damage was not found")


def restore(index: faiss.Index, path: Path, target: Path) -> None:
    """Restore the file and the live index; compare both with the original."""
    with vark.open_archive(path) as archive:
        archive.restore(target)
        start = time.perf_counter()
        loaded = archive.load()
        seconds = time.perf_counter() - start
        probes = archive.check_probes(loaded)
    same = target.read_bytes() == faiss.serialize_index(index).tobytes()
    print(f"\n5. restored byte for byte: {same}; loaded in {seconds:.2f} s; recall@{probes.k} {probes.recall:.4f},")
    print(f"   {probes.changed} of {probes.count} answers changed, median search {probes.latency_p50_ms:.3f} ms")
    if not same or probes.changed:
        raise SystemExit("demo: the restored index differs")


if __name__ == "__main__":
    main()
