"""The second implementation of codec 35 against blocks that the engine made, and blocks that lie."""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "spec"))

import reader_edits  # noqa: E402
from reader_codecs import ArchiveFault  # noqa: E402

FIXTURES = sorted((ROOT / "tests" / "fixtures" / "edits").glob("*.json"))


class Fixture:
    """Old rows, new rows and the block between them."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.element_type, self.row_elements = fields["type"], int(fields["row_elements"])
        self.nodes = np.array(fields["nodes"], np.uint64)
        self.base, self.raw, self.block = (bytes.fromhex(fields[key]) for key in ("base", "raw", "block"))

    def decode(self, block: bytes) -> bytes:
        base = np.frombuffer(self.base, np.uint8)
        rows = reader_edits.decode_edits(block, base, len(self.raw), self.row_elements, self.element_type, self.nodes)
        assert rows.dtype == np.uint8
        return rows.tobytes()


def fixture_of(path: Path) -> Fixture:
    return Fixture(json.loads(path.read_text()))


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_blocks_of_the_engine_give_their_rows(path: Path) -> None:
    fixture = fixture_of(path)
    assert fixture.decode(fixture.block) == fixture.raw


def test_fixtures_have_every_kind_of_edit() -> None:
    kinds, shapes, planes = set(), 0, set()
    for fixture in map(fixture_of, FIXTURES):
        rows = len(fixture.nodes)
        slots = fixture.row_elements - (fixture.element_type == "u32")
        symbols, _ = reader_edits._planes(fixture.block, rows, slots, int(fixture.element_type == "u32"), "block")
        kinds |= set(symbols[reader_edits.ADDED].tolist())
        shapes |= int(np.bitwise_or.reduce(symbols[reader_edits.SHAPES]))
        planes |= {kind for kind, plane in enumerate(symbols) if len(plane)}
    assert {reader_edits.HUB_BOTH, reader_edits.HUB_ONE, reader_edits.NEAR} < kinds
    assert min(kinds) < 100
    assert shapes & 15 == 15
    assert planes == set(range(reader_edits.PLANES))


def test_the_example_of_the_page_gives_its_rows() -> None:
    page = (ROOT / "spec" / "codecs" / "edits.md").read_text()
    fields: dict[str, Any] = dict(re.findall(r"(?m)^(type|row|nodes|base|chunk|block): +(.*)$", page))
    fields |= {"row_elements": fields["row"], "nodes": fields["nodes"].split(), "raw": fields["chunk"]}
    fixture = Fixture(fields)
    assert fixture.decode(fixture.block) == fixture.raw


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_damaged_blocks_are_refused_or_give_rows(path: Path) -> None:
    fixture, dice, refused = fixture_of(path), random.Random(5), 0
    blocks = [fixture.block[: dice.randrange(len(fixture.block))] for _ in range(20)]
    for block in blocks:
        with pytest.raises(ArchiveFault):
            fixture.decode(block)
    for _ in range(150):
        wrong = bytearray(fixture.block)
        wrong[dice.randrange(len(wrong))] ^= 1 << dice.randrange(8)
        try:
            fixture.decode(bytes(wrong))
        except ArchiveFault as fault:
            assert fault.layer == "codec"
            refused += 1
    assert refused > 30


def test_what_is_no_chunk_of_links_is_refused() -> None:
    fixture = fixture_of(FIXTURES[0])
    base = np.frombuffer(fixture.base, np.uint8)
    good = (fixture.block, base, len(fixture.raw), fixture.row_elements, fixture.element_type, fixture.nodes)
    for place, wrong in [(1, base[4:]), (2, 0), (2, 7), (3, 0), (3, 300), (4, "f32"), (5, fixture.nodes[1:]),
                         (5, fixture.nodes[::-1])]:  # fmt: skip
        arguments: list[Any] = list(good)
        arguments[place] = wrong
        with pytest.raises(ArchiveFault):
            reader_edits.decode_edits(*arguments)
