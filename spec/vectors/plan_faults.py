"""The vectors of split plans that a restorer must refuse before it creates anything: one fault each."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from faults import Fault
from kit import AFFINE, U8, U16, U32, U64, Stream, build, encode_affine, noise
from whole import counts, literal, rows, take

WIDE = (1 << 64) - 1


def streams() -> list[Stream]:
    """literal 16 x 1, links 4 x 4, sizes 2, 4, 0, 3, codes 9 x 3, large (2^64 - 2 and - 1)."""
    return [
        literal(noise("l", 16)),
        Stream("links", 6, U32, 1, noise("links", 16), 3),
        Stream("sizes", 8, U16, 1, struct.pack("<4H", 2, 4, 0, 3)),
        Stream("codes", 4, U8, 3, noise("codes", 27), 2),
        Stream("large", 8, U64, 1, struct.pack("<2Q", WIDE - 1, WIDE), 0, AFFINE, [encode_affine(WIDE - 1, 1, 8)]),
    ]


def member(*runs: dict[str, Any], name: str = "a", byte_count: int = 16, **more: Any) -> dict[str, Any]:
    return {"name": name, "bytes": byte_count, "layout": "test", "runs": list(runs), **more}


WHOLE = rows("literal", 0, 16)


def of_members(name: str, comment: str, *members: Any, **more: Any) -> Fault:
    plan = {"version": 1, "members": list(members), **more}
    return Fault(f"plan-{name}", "plan", "plan", comment, build(streams(), plan=plan))


def of_run(name: str, comment: str, run: dict[str, Any], byte_count: int, **changes: Any) -> Fault:
    """`changes` go into the run; None takes a key away."""
    changed = {key: value for key, value in {**run, **changes}.items() if value is not None}
    return of_members(name, comment, member(changed, byte_count=byte_count))


def documents() -> Iterator[Fault]:
    for name, text in (
        ("empty", b""),
        ("array", b"[]"),
        ("version-2", b'{"version":2,"members":[]}'),
        ("version-text", b'{"version":"1","members":[]}'),
        ("version-true", b'{"version":true,"members":[]}'),
        ("no-version", b'{"members":[]}'),
        ("no-members", b'{"version":1}'),
        ("members-object", b'{"version":1,"members":{}}'),
        ("member-text", b'{"version":1,"members":["a"]}'),
        ("key-twice", b'{"version":1,"members":[],"members":[]}'),
        ("fraction", b'{"version":1.0,"members":[]}'),
        ("utf8", b'{"version":1,"members":[],"x":"\xc3"}'),
        ("after", b'{"version":1,"members":[]} x'),
        ("depth-33", b'{"version":1,"members":[],"x":' + b"[" * 32 + b"]" * 32 + b"}"),
        ("depth-5000", b'{"version":1,"x":' + b"[" * 5000),
        ("folders-text", b'{"version":1,"members":[],"folders":"a"}'),
        ("folder-number", b'{"version":1,"members":[],"folders":[1]}'),
        ("skipped-text", b'{"version":1,"members":[],"skipped":["a"]}'),
    ):
        yield Fault(f"plan-{name}", "plan", "plan", f"not a plan of section 8.1: {name}", build(streams(), plan=text))
    number = Stream("plan", 9, U16, 1, b'{"members":[],"version":1}')
    yield Fault("plan-of-u16", "plan", "plan", "a plan of element type u16", build([number]))
    pair = Stream("plan", 9, U8, 2, b'{"members":[],"version":1}')
    yield Fault("plan-of-pairs", "plan", "plan", "a plan of two elements a row", build([pair]))
    zeros = [encode_affine(0, 0, 1)]
    large = Stream("plan", 9, U8, 1, bytes((1 << 24) + 1), 0, AFFINE, zeros)
    yield Fault("plan-too-large", "plan", "plan", "a plan of 16 MiB and a byte", build([large]))


def names() -> Iterator[Fault]:
    for label, name in (
        ("empty", ""),
        ("dot", "."),
        ("up", ".."),
        ("up-inside", "a/../b"),
        ("up-first", "../a"),
        ("absolute", "/etc/passwd"),
        ("trailing-slash", "a/"),
        ("double-slash", "a//b"),
        ("backslash", "a\\b"),
        ("drive", "C:a"),
        ("stream", "a:b"),
        ("nul", "a\0b"),
        ("newline", "a\nb"),
        ("del", "a\x7f"),
        ("device", "CON"),
        ("device-lower", "sub/aux"),
        ("device-extension", "Nul.txt"),
        ("device-extensions", "com9.tar.gz"),
        ("device-folder", "lpt1/x"),
        ("256-bytes", "\u00e9" * 128),
        ("4097-bytes", "a/" * 2048 + "b"),
    ):
        yield of_members(f"name-{label}", "a name that is not allowed", member(WHOLE, name=name))
    two = member(rows("literal", 0, 1), byte_count=1)
    yield of_members("name-twice", "two members of one name", two, two)
    yield of_members("name-inside", "a member inside another", two, {**two, "name": "a-b"}, {**two, "name": "a/b"})
    yield of_members("folder-up", "a folder outside", two, folders=["../x"])
    yield of_members("folder-is-member", "a folder of a member's name", two, folders=["a"])
    yield of_members("folder-in-member", "a folder inside a member", two, folders=["a/b"])
    yield of_members("folder-twice", "a folder twice", two, folders=["b", "b"])


def shapes() -> Iterator[Fault]:
    for key, value in (
        ("name", 1),
        ("name", None),
        ("bytes", -1),
        ("bytes", "16"),
        ("bytes", None),
        ("layout", None),
        ("layout", 1),
        ("facts", []),
        ("warning", 1),
        ("blake3", "00"),
        ("blake3", "Z" * 64),
        ("runs", None),
        ("runs", {}),
    ):
        changed = {k: v for k, v in {**member(WHOLE), key: value}.items() if v is not None}
        kind = "missing" if value is None else str(value)[:3].strip("[]{}") or type(value).__name__
        yield of_members(f"member-{key}-{kind.lower()}", f"a member's {key}: {kind}", changed)
    yield of_members("gap", "the runs are a byte too short", member(rows("literal", 0, 15)))
    yield of_members("too-long", "the runs are a byte too long", member(WHOLE, rows("literal", 0, 1)))
    yield of_members("no-runs", "no runs for 16 bytes", member())
    yield of_members("run-text", "a run that is a text", member("rows"))  # type: ignore[arg-type]
    yield of_run("kind", "an unknown kind of run", WHOLE, 16, kind="columns")
    yield of_run("no-kind", "a run without kind", {"stream": "literal", "first": 0, "rows": 16}, 16)
    yield of_run("rows-stream", "a stream that is not there", WHOLE, 16, stream="nothing")
    yield of_run("rows-past-end", "a row past the stream", WHOLE, 16, first=1)
    yield of_run("rows-first-past-end", "no rows, from past the stream on", WHOLE, 0, first=17, rows=0)
    yield of_run("rows-wrap", "first + rows wraps around 2^64", WHOLE, 16, first=WIDE - 14, rows=31)
    yield of_run("rows-times-bytes-wrap", "rows x row_bytes wraps around 2^64", rows("links", 0, (1 << 62) + 4), 16)
    yield of_run("rows-negative", "a negative first row", WHOLE, 16, first=-1)
    yield of_run("rows-text", "a number as text", WHOLE, 16, rows="16")
    yield of_run("rows-true", "a truth value for a number", rows("literal", 0, 1), 1, rows=True)
    yield of_run("rows-missing", "rows are missing", WHOLE, 16, rows=None)
    yield of_run("rows-2-to-64", "a number over 64 bits", WHOLE, 16, rows=1 << 64)
    huge = member(WHOLE, byte_count=WIDE)
    yield of_members("bytes-huge", "a member of 2^64 - 1 bytes", huge)


def groups() -> Iterator[Fault]:
    fixed = {"kind": "groups", "groups": 4, "fields": [take("links", 1), take("literal", 2)]}
    for name, comment, changes in (
        ("fields-0", "no field", {"fields": []}),
        ("fields-9", "nine fields", {"fields": [take("literal", 0)] * 8 + [take("links", 1)]}),
        ("too-many", "a group past the stream", {"groups": 5}),
        ("huge", "groups x rows wraps around 2^64", {"groups": (1 << 63) + 4}),
        ("rows-4g", "2^32 rows in a group", {"groups": 0, "fields": [take("links", 1 << 32)]}),
        ("rows-0", "no rows in a group", {"groups": 1, "fields": [take("literal", 16), take("links", 0)]}),
        ("rows-word", "rows of another word", {"fields": [take("links", "all")]}),
        ("rows-list", "rows of a list", {"fields": [{**take("links", 1), "rows": [1]}]}),
        ("rows-negative", "negative rows", {"fields": [take("links", -1)]}),
        ("field-stream", "a stream that is not there", {"fields": [take("x", 1)]}),
        ("field-text", "a field that is a text", {"fields": ["links"]}),
        ("missing", "groups are missing", {"groups": None}),
        ("counts-unused", "counts without a counted field", {"counts": counts("sizes", 2)}),
        ("counts-absent", "a counted field without counts", {"fields": [take("codes", "counted")]}),
        ("first-huge", "first + rows wraps around 2^64", {"fields": [take("links", 1, first=WIDE)]}),
    ):
        length = {"fields-0": 0, "fields-9": 16, "too-many": 30, "rows-4g": 0, "rows-0": 16}.get(name, 24)
        yield of_run(f"groups-{name}", comment, fixed, length, **changes)
    counted: dict[str, Any] = {"kind": "groups", "groups": 4, "fields": [take("codes", "counted")]}
    good = counts("sizes", 2)
    for name, comment, other in (
        ("stream", "a stream that is not there", {"stream": "x"}),
        ("first", "counts past the stream", {"first": 1}),
        ("first-huge", "first + groups wraps around 2^64", {"first": WIDE}),
        ("offset", "counts past the row", {"offset": 1}),
        ("offset-huge", "offset + bytes wraps around 2^64", {"offset": WIDE}),
        ("bytes-3", "numbers of 3 bytes", {"bytes": 3}),
        ("bytes-0", "numbers of no bytes", {"bytes": 0}),
        ("bytes-4", "numbers wider than the row", {"bytes": 4}),
        ("divide-0", "a division by 0", {"divide": 0}),
        ("remainder", "a remainder", {"divide": 2}),
        ("below-subtract", "a value below subtract", {"subtract": 1}),
        ("too-long", "rows past the stream", {"bytes": 1}),
        ("divide-missing", "divide is missing", {"divide": None}),
        ("subtract-negative", "a negative subtract", {"subtract": -1}),
    ):
        changed = {key: value for key, value in {**good, **other}.items() if value is not None}
        first = 1 if name == "too-long" else 0
        run = {**counted, "fields": [take("codes", "counted", first)], "counts": changed}
        yield of_run(f"counts-{name}", comment, run, 27)
    yield of_run("counts-text", "counts that are a text", counted, 27, counts="sizes")
    wide = {**counted, "groups": 2, "counts": counts("large", 8)}
    yield of_run("counts-huge", "counts near 2^64", wide, 27)
    idle = {**counted, "groups": 1, "counts": counts("sizes", 2, first=2)}
    many = member(idle, idle, idle, rows("literal", 0, 2), byte_count=2)
    yield of_members("groups-many", "three groups of no rows in a member of two bytes", many)
    yield of_run(
        "counts-sum-wraps", "counts whose sum wraps around 2^64", {**wide, "fields": [take("codes", "counted", 9)]}, 0
    )


def derived() -> Iterator[Fault]:
    good = {
        "kind": "derived",
        "rule": "running-offsets",
        "groups": 4,
        "counts": counts("sizes", 2),
        "table": [0, 1, 2, 3, 4],
    }
    for name, comment, length, changes in (
        ("rule", "an unknown rule", 40, {"rule": "falling-offsets"}),
        ("rule-missing", "the rule is missing", 40, {"rule": None}),
        ("table-short", "a count outside the table", 40, {"table": [0, 1, 2, 3]}),
        ("table-missing", "the table is missing", 40, {"table": None}),
        ("table-1025", "a table of 1,025 numbers", 40, {"table": [0] * 1025}),
        ("table-text", "a table with a text", 40, {"table": [0, 1, 2, 3, "4"]}),
        ("table-negative", "a table with a negative number", 40, {"table": [-1, 1, 2, 3, 4]}),
        ("wraps", "an offset wraps around 2^64", 40, {"table": [0, 0, 1 << 63, 0, 1 << 63]}),
        ("counts-missing", "the counts are missing", 40, {"counts": None}),
        ("groups", "a group past the counts", 48, {"groups": 5}),
        ("length", "one offset for each group, not one more", 32, {}),
        ("groups-huge", "groups + 1 wraps around 2^64", 0, {"groups": WIDE}),
    ):
        yield of_run(f"derived-{name}", comment, good, length, **changes)


def cases() -> Iterator[Fault]:
    for part in (documents, names, shapes, groups, derived):
        yield from part()
