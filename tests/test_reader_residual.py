"""Blocks of codec 34 that the Rust codec made decode with the reader in plain numpy, and broken ones are refused."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "spec")]

from reader_codecs import ArchiveFault  # noqa: E402
from reader_residual import decode_residual  # noqa: E402


def blocks() -> list[tuple[str, np.ndarray, bytes, bytes]]:
    """Return element type, base rows, rows and block of each line that the codec's own test keeps."""
    lines = (ROOT / "tests" / "fixtures" / "residual_blocks.txt").read_text().split("\n")[:-1]
    parts = [line.split(" ") for line in lines]
    return [(kind, np.frombuffer(bytes.fromhex(base), np.uint8), bytes.fromhex(raw), bytes.fromhex(block))
            for kind, base, raw, block in parts]  # fmt: skip


def test_blocks_of_the_codec_decode_bit_for_bit() -> None:
    seen = set()
    for kind, base, raw, block in blocks():
        assert decode_residual(block, base, len(raw), kind).tobytes() == raw
        seen.add((kind, block[4]))
    assert len(seen) == 12 + 4


def test_slabs_join_where_the_bits_of_the_one_before_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reader_residual.SLAB_VALUES", 7)
    for kind, base, raw, block in blocks():
        assert decode_residual(block, base, len(raw), kind).tobytes() == raw


def test_the_example_of_the_page_decodes() -> None:
    text = (ROOT / "spec" / "codecs" / "residual.md").read_text()
    fields = dict(re.findall(r"^(type|base|chunk|block): +(.*)$", text, re.MULTILINE))
    base, chunk = np.frombuffer(bytes.fromhex(fields["base"]), np.uint8), bytes.fromhex(fields["chunk"])
    assert decode_residual(bytes.fromhex(fields["block"]), base, len(chunk), fields["type"]).tobytes() == chunk


def test_broken_blocks_are_refused_at_layer_codec() -> None:
    for kind, base, raw, block in blocks():
        flags = bytes([block[4] + 2 if kind[0] not in "ui" else 1])
        broken = [
            block[:7],
            block[:-1],
            block + b"\0",
            block[:8] + b"\0" + block[8:],
            block[:4] + flags + block[5:],
            block[:5] + b"\1" + block[6:],
            b"\xff\xff\xff\xff" + block[4:],
        ]
        for wrong in broken:
            with pytest.raises(ArchiveFault) as fault:
                decode_residual(wrong, base, len(raw), kind)
            assert fault.value.layer == "codec"
        with pytest.raises(ArchiveFault):
            decode_residual(block, base[:-1], len(raw), kind)


def test_a_symbol_of_no_number_and_bits_after_the_last_are_refused() -> None:
    frame = bytes.fromhex("28b52ffd2001090000")
    base = np.zeros(4, np.uint8)

    def decoded(symbol: int, lows: bytes) -> bytes:
        block = bytes([len(frame) + 1, 0, 0, 0, 0, 0, 0, 0]) + lows + frame + bytes([symbol])
        return decode_residual(block, base, 4, "f32").tobytes()

    assert decoded(239, b"\xff\xff\xff\x0f") == b"\xff\xff\xff\xff"
    assert decoded(101, b"\xdc\x00") == (13422).to_bytes(4, "little")
    for symbol, lows in [
        (240, b"\xff\xff\xff\x0f"),
        (255, bytes(4)),
        (239, b"\xff\xff\xff\x1f"),
        (239, bytes(3)),
        (101, bytes(3)),
    ]:
        with pytest.raises(ArchiveFault, match="codec"):
            decoded(symbol, lows)


def test_any_flipped_bit_is_refused_or_gives_as_many_bytes() -> None:
    for kind, base, raw, block in blocks()[:20]:
        for bit in range(0, 8 * len(block), 5):
            wrong = bytearray(block)
            wrong[bit // 8] ^= 1 << bit % 8
            try:
                assert len(decode_residual(bytes(wrong), base, len(raw), kind)) == len(raw)
            except ArchiveFault as fault:
                assert fault.layer == "codec"
