"""Numbers for people: sizes and times, read and written."""

from __future__ import annotations

import re

from vark.errors import InvalidArgumentError

_FACTORS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY_FACTORS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_bytes(text: str | int, *, name: str = "size") -> int:
    """Return the bytes that `text` says: 1024, "64MiB", "1.5 GB". Errors: InvalidArgumentError."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", str(text).lower())
    if match is None or (match[3] and not match[2]):
        raise InvalidArgumentError(f"{name}: {text!r}; expected a number of bytes such as 67108864, 64MiB or 2GB")
    factor = _BINARY_FACTORS[match[2]] if match[3] else _FACTORS[match[2]]
    return int(float(match[1]) * factor)


def format_bytes(byte_count: float) -> str:
    """Return e.g. "352.1 MB" (decimal units, as disks are sold)."""
    value = float(byte_count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def format_speed(byte_count: float, seconds: float) -> str:
    """Return e.g. "1.24 GB/s"."""
    return f"{byte_count / max(seconds, 1e-9) / 1e9:.2f} GB/s"
