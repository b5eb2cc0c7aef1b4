"""Seeds of the fuzz targets: vectors, small index files, small plans and blocks. Deterministic; files of their own name.

    python rust/fuzz/make_seeds.py
"""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "rust" / "fuzz" / "corpus"
BYTES_MAX = 10_240


def put(target: str, name: str, data: bytes) -> None:
    if len(data) <= BYTES_MAX:
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        (CORPUS / target / name).write_bytes(data)


def rows(stream: str, first: int, count: int) -> dict[str, object]:
    return {"kind": "rows", "stream": stream, "first": first, "rows": count}


def plans() -> dict[str, list[dict[str, object]]]:
    counts = {"stream": "c", "first": 0, "offset": 0, "bytes": 4, "subtract": 0, "divide": 3}
    one = {"stream": "c", "first": 0, "rows": 1}
    counted = {"stream": "w", "first": 0, "rows": "counted"}
    return {
        "rows": [rows("b", 0, 192), rows("w", 3, 9), rows("b", 7, 1)],
        "fixed": [{"kind": "groups", "groups": 20, "fields": [{"stream": "b", "first": 0, "rows": 2}, one]}],
        "once": [{"kind": "groups", "groups": 30, "fields": [{"stream": "w", "first": 0, "rows": 1}, one]}],
        "inline": [{"kind": "groups", "groups": 12, "fields": [one, counted], "counts": counts}],
        "external": [rows("c", 0, 12), {"kind": "groups", "groups": 12, "fields": [counted], "counts": counts}],
        "derived": [
            {"kind": "derived", "rule": "running-offsets", "groups": 9, "counts": counts, "table": [0, 3, 5, 7, 9]}
        ],
    }


def plan_bytes(run: dict[str, object]) -> int:
    small = [number % 5 for number in range(64)]
    width = {"b": 1, "w": 6, "c": 4}
    if run["kind"] == "rows":
        return width[str(run["stream"])] * int(str(run["rows"]))
    if run["kind"] == "derived":
        return 8 * (int(str(run["groups"])) + 1)
    total = 0
    for group in range(int(str(run["groups"]))):
        for field in run["fields"]:  # type: ignore[attr-defined]
            taken = small[group] if field["rows"] == "counted" else field["rows"]
            total += width[field["stream"]] * taken
    return total


def main() -> None:
    for vector in sorted((ROOT / "spec" / "vectors").glob("*.vark")):
        if not vector.stem.startswith("plan-") or vector.stat().st_size < 1_500:
            put("archive_open", vector.stem, vector.read_bytes())
    for index in sorted((ROOT / "tests" / "fixtures" / "indexes").iterdir()):
        if index.suffix == ".hnsw":
            put("hnswlib_split", index.stem, index.read_bytes())
        elif index.suffix == ".faiss":
            put("faiss_split", index.stem, index.read_bytes())
    for name, runs in plans().items():
        member = {"name": name, "bytes": sum(map(plan_bytes, runs)), "layout": "x", "runs": runs}
        put("plan", name, json.dumps({"version": 1, "members": [member]}, separators=(",", ":")).encode())
    folders = {"version": 1, "members": [], "folders": ["a/b"], "skipped": [{"name": "s", "reason": "a socket"}]}
    put("plan", "folders", json.dumps(folders).encode())
    ramp = bytes(range(64))
    put("block_decode", "raw", bytes([0, 0, 64, 0]) + ramp)
    put("block_decode", "zstd", bytes([1, 0, 5, 0]) + bytes.fromhex("28b52ffd2005290000") + b"vark!")
    frame = bytes.fromhex("28b52ffd2004210000") + b"\x7f\x7f\x80\x80"
    put("block_decode", "float32", bytes([2, 10, 16, 0]) + len(frame).to_bytes(4, "little") + bytes(4) + frame + ramp[:12])
    put("block_decode", "bitpack", bytes([3, 4, 16, 0]) + bytes([7] + [0] * 7 + [5, 4] + [0] * 6) + b"\x41\x0c\x05")
    affine = (100).to_bytes(8, "little") + (3).to_bytes(8, "little")
    put("block_decode", "affine", bytes([4, 6, 64, 0]) + affine + bytes([8] + [0] * 7))
    put("pipe", "peeks", bytes([0, 200, 1, 3, 2, 255, 3, 9, 0, 0, 1, 250] * 4))
    put("pipe", "takes", bytes([1, 255, 3, 255, 0, 1] * 9))


if __name__ == "__main__":
    main()
