"""Writes vectors/repository: records that a reader must take, and one fault in each of those that it must refuse.

Run once; what is released is never regenerated, only added to. Needs blake3, no vark.
"""

import json
from pathlib import Path

from blake3 import blake3

FOLDER = Path(__file__).resolve().parent / "repository"
A, B = "01a21440-e379-74fc-92f3-72e089ed0301", "01a21440-e379-74fc-92f3-72e089ed0302"
COMMIT = {
    "kind": "commit",
    "version": 1,
    "repository": "a" * 32,
    "snapshot": "01a21440e37873148840a73b247f8ae8",
    "name": "products",
    "created_unix_ms": 1_795_636_126_611,
    "store_unix_ms": None,
    "tags": {"model": "e5"},
    "host": "host",
    "source": {"kind": "paths", "paths": ["/data/products.faiss"]},
    "partial": False,
    "root_generation": 3,
    "heads": ["c" * 64],
    "archives": [
        {"id": A, "shard": "", "volumes": [300, 200], "root": "d" * 64, "bytes": 500, "base": B, "raw_bytes": 900}
    ],
    "closure": [{"id": B, "bytes": 500, "root": "e" * 64}],
    "replaces": None,
    "salt": "f" * 32,
}
MARK = {
    "kind": "forget",
    "version": 1,
    "repository": "a" * 32,
    "snapshot": COMMIT["snapshot"],
    "commit": None,
    "created_unix_ms": 1_795_636_126_700,
    "store_unix_ms": None,
    "tags": {},
    "keys": [],
    "reason": "policy",
    "salt": "1" * 32,
}
ROOT = {
    "kind": "root",
    "version": 1,
    "repository": "a" * 32,
    "generation": 2,
    "epoch": 1,
    "phase": "sweep",
    "list": "c" * 64,
    "sweeps": ["c" * 64],
    "previous": "b" * 64,
    "write_id": "2" * 32,
    "created_unix_ms": 1_795_636_126_800,
}
ERASURE = {
    "kind": "erase",
    "version": 1,
    "repository": "a" * 32,
    "names": ["people"],
    "key": "7" * 64,
    "hashes": ["0" * 32, "1" * 32],
    "leave_unknown": False,
    "erasure": None,
    "reason": "asked for",
    "created_unix_ms": 1_795_636_126_000,
    "store_unix_ms": None,
    "salt": "8" * 32,
}
LIST = {
    "kind": "sweep",
    "version": 1,
    "repository": "a" * 32,
    "epoch": 1,
    "archives": [{"id": B, "bytes": 500}],
    "salt": "3" * 32,
}
MARKER = {
    "format": "vark-repository",
    "version": 1,
    "id": "a" * 32,
    "fingerprint_key": "9" * 64,
    "created_unix_ms": 1_795_636_126_000,
    "volume_bytes": None,
}


def encode(values):
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sealed(values):
    return encode({**values, "digest": blake3(encode(values)).hexdigest()})


def archive(**changes):
    return [{**COMMIT["archives"][0], **changes}]


COMMITS = {
    "unknown-key": {**COMMIT, "later": {"x": [1]}},
    "two-shards": {
        **COMMIT,
        "archives": [*archive(shard="east"), *archive(id=A[:-1] + "9", shard="west", base=None)],
    },
    "store-clock": {**COMMIT, "store_unix_ms": 1_795_636_126_999},
    "digests": {**COMMIT, "archives": archive(digests=["4" * 64, "5" * 64])},
}
FAULTS = {
    "no-archive": {**COMMIT, "archives": []},
    "archive-twice": {**COMMIT, "archives": archive() * 2},
    "archive-in-closure": {**COMMIT, "closure": [{**COMMIT["closure"][0], "id": A}]},
    "volumes-sum": {**COMMIT, "archives": archive(volumes=[300, 201])},
    "volume-empty": {**COMMIT, "archives": archive(volumes=[500, 0])},
    "volume-true": {**COMMIT, "archives": archive(volumes=[499, True])},
    "digests-count": {**COMMIT, "archives": archive(digests=["4" * 64])},
    "archive-short": {**COMMIT, "closure": [{**COMMIT["closure"][0], "bytes": 191}]},
    "archive-id-path": {**COMMIT, "archives": archive(id="../../../../../../../../../../etc/passwd")},
    "archive-id-upper": {**COMMIT, "archives": archive(id=A.upper())},
    "shard-up": {**COMMIT, "archives": archive(shard="..")},
    "shard-missing": {**COMMIT, "archives": [*archive(), *archive(id=A[:-1] + "9", shard="west")]},
    "name-empty": {**COMMIT, "name": ""},
    "name-line-break": {**COMMIT, "name": "a\nb"},
    "name-long": {**COMMIT, "name": "ä" * 128},
    "tag-equals": {**COMMIT, "tags": {"a=b": "c"}},
    "tag-number": {**COMMIT, "tags": {"a": 1}},
    "partial-number": {**COMMIT, "partial": 0},
    "time-negative": {**COMMIT, "created_unix_ms": -1},
    "time-huge": {**COMMIT, "created_unix_ms": 253_402_300_800_000},
    "snapshot-upper": {**COMMIT, "snapshot": COMMIT["snapshot"].upper()},
    "replaces-text": {**COMMIT, "replaces": "x"},
    "repository-other": {**COMMIT, "repository": "b" * 32},
}
RAW = {
    "fraction": encode(COMMIT).replace(b'"root_generation":3', b'"root_generation":3.0'),
    "exponent": encode(COMMIT).replace(b'"root_generation":3', b'"root_generation":3e0'),
    "minus-zero": encode(COMMIT).replace(b'"root_generation":3', b'"root_generation":-0'),
    "integer-huge": encode(COMMIT).replace(b'"root_generation":3', b'"root_generation":9223372036854775808'),
    "key-twice": encode(COMMIT)[:-1] + b',"kind":"commit"}',
    "surrogate": encode(COMMIT).replace(b'"host":"host"', b'"host":"\\ud800"'),
    "utf8": encode(COMMIT).replace(b'"host":"host"', b'"host":"\xff"'),
    "byte-order-mark": b"\xef\xbb\xbf" + encode(COMMIT),
    "cut": encode(COMMIT)[:-1],
    "bytes-after": encode(COMMIT) + b"{}",
    "array": b"[]",
    "deep": encode(COMMIT)[:-1] + b',"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
}


ERASURES = {
    "end": {**ERASURE, "kind": "end-erasure", "key": None, "erasure": "9" * 64},
    "all-names": {**ERASURE, "names": []},
}
ERASURE_FAULTS = {
    "no-hash": {**ERASURE, "hashes": []},
    "hash-twice": {**ERASURE, "hashes": ["0" * 32] * 2},
    "hash-short": {**ERASURE, "hashes": ["0" * 30]},
    "name-twice": {**ERASURE, "names": ["people", "people"]},
    "no-key": {**ERASURE, "key": None},
    "leave-number": {**ERASURE, "leave_unknown": 0},
    "of-another": {**ERASURE, "erasure": "9" * 64},
    "end-of-none": {**ERASURE, "kind": "end-erasure", "key": None},
    "end-with-key": {**ERASURE, "kind": "end-erasure", "erasure": "9" * 64},
}


def vectors():
    """Yield (file, kind of record, bytes, None | "record" | "unsupported")."""
    yield "commit.json", "commit", encode(COMMIT), None
    yield "mark.json", "mark", encode(MARK), None
    yield "root.json", "root", sealed(ROOT), None
    yield "list.json", "list", encode(LIST), None
    yield "marker.json", "marker", sealed(MARKER), None
    for name, values in COMMITS.items():
        yield f"commit-{name}.json", "commit", encode(values), None
    for name, values in FAULTS.items():
        yield f"commit-{name}.json", "commit", encode(values), "record"
    for name, data in RAW.items():
        yield f"commit-{name}.json", "commit", data, "record"
    yield "commit-kind.json", "commit", encode({**COMMIT, "kind": "commit2"}), "unsupported"
    yield "commit-version.json", "commit", encode({**COMMIT, "version": 2}), "unsupported"
    yield "mark-kind.json", "mark", encode({**MARK, "kind": "annotate"}), "unsupported"
    yield "mark-keys.json", "mark", encode({**MARK, "keys": [1]}), "record"
    yield "root-no-list.json", "root", sealed({**ROOT, "list": None}), "record"
    yield "root-list-not-in-force.json", "root", sealed({**ROOT, "sweeps": []}), "record"
    yield "root-phase.json", "root", sealed({**ROOT, "phase": "done"}), "record"
    yield "root-digest.json", "root", sealed(ROOT).replace(b'"epoch":1', b'"epoch":2'), "record"
    yield "root-blank.json", "root", sealed(ROOT).replace(b'"epoch":1', b'"epoch": 1'), "record"
    yield "erasure.json", "erasure", encode(ERASURE), None
    for name, values in ERASURES.items():
        yield f"erasure-{name}.json", "erasure", encode(values), None
    for name, values in ERASURE_FAULTS.items():
        yield f"erasure-{name}.json", "erasure", encode(values), "record"
    yield "erasure-kind.json", "erasure", encode({**ERASURE, "kind": "forget"}), "unsupported"
    yield "list-twice.json", "list", encode({**LIST, "archives": LIST["archives"] * 2}), "record"
    yield "marker-digest.json", "marker", sealed(MARKER).replace(b'"id":"aa', b'"id":"ab'), "record"
    yield "marker-format.json", "marker", sealed({**MARKER, "format": "other"}), "record"
    yield "marker-version.json", "marker", sealed({**MARKER, "version": 3}), "unsupported"
    keyless = {key: value for key, value in MARKER.items() if key != "fingerprint_key"}
    yield "marker-sealed.json", "marker", sealed({**keyless, "version": 2, "seal": {"suite": 1}}), None
    yield "marker-sealed-no-seal.json", "marker", sealed({**keyless, "version": 2}), "record"
    yield "marker-sealed-suite.json", "marker", sealed({**keyless, "version": 2, "seal": {"suite": "1"}}), "record"
    yield "commit-sealed.json", "commit", encode({**COMMIT, "seal": {"suite": 1}}), "record"


def main():
    FOLDER.mkdir(exist_ok=True)
    table = {}
    for name, kind, data, fault in vectors():
        path = FOLDER / name
        if not path.exists():  # released vectors stay as they are
            path.write_bytes(data)
        table[name] = {"kind": kind, "fault": fault, "blake3": blake3(data).hexdigest()}
    (FOLDER / "records.json").write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
