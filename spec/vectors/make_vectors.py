"""Writes spec/vectors: `NAME.vark` and `vectors.json`. The same bytes every time and with every version of zstd.

    python spec/vectors/make_vectors.py [FOLDER]

vectors.json is a list of {name, expect, stage, comment} and, where expect is "ok", what a reader must return:
members and streams with the BLAKE3 of their bytes, and `ids`: rows of some ids of a stream, and ids for which its
index is to be refused (layer "codec"; the archive is whole besides); `lies`: verification is to
find the index wrong. `expect` is otherwise the layer that refuses
(FORMAT.md section 10);
`stage` is where that shows first: "open", "read" (rows), "plan" (before anything is restored) or "verify".
The ancestors of a delta lie beside it as `<archive_id>.vark`, and are vectors themselves.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import codec_faults
import delta_faults
import edits
import faults
import ids
import map_faults
import plan_faults
import residuals
import whole
import whole_narrow
from kit import digest, to_json

import deltas

TYPE_NAMES = ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f16", "bf16", "f32", "f64"]


def records() -> list[tuple[dict[str, Any], bytes]]:
    found: list[tuple[dict[str, Any], bytes]] = []
    for good in [
        *whole.cases(),
        *whole_narrow.cases(),
        *deltas.cases(),
        *residuals.cases(),
        *edits.cases(),
        *ids.cases(),
    ]:
        entry: dict[str, Any] = {"name": good.name, "expect": "ok", "comment": good.comment}
        if good.members is not None:
            entry["members"] = [
                {"name": name, "bytes": len(data), "blake3": digest(data).hex()} for name, data in good.members.items()
            ]
            entry["folders"] = good.folders
        entry["streams"] = [
            {
                "name": s.name,
                "role": s.role,
                "element_type": TYPE_NAMES[s.element - 1],
                "row_elements": s.elements,
                "row_count": s.row_count,
                "blake3": digest(s.data).hex(),
            }
            for s in good.streams
        ]
        if good.ids is not None:
            entry["ids"] = good.ids
        found.append((entry, good.archive()))
    for bad in [
        *faults.cases(),
        *codec_faults.cases(),
        *plan_faults.cases(),
        *delta_faults.cases(),
        *map_faults.cases(),
        *residuals.faults(),
        *edits.faults(),
    ]:
        found.append(({"name": bad.name, "expect": bad.layer, "stage": bad.stage, "comment": bad.comment}, bad.archive))
    names = [entry["name"] for entry, _ in found]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
    return found


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    found = records()
    for entry, archive in found:
        (folder / f"{entry['name']}.vark").write_bytes(archive)
    lines = ",\n".join(to_json(entry).decode() for entry, _ in found)
    (folder / "vectors.json").write_text(f"[\n{lines}\n]\n")
    json.loads((folder / "vectors.json").read_text())
    print(f"{len(found)} vectors, {sum(len(archive) for _, archive in found)} bytes")


if __name__ == "__main__":
    main()
