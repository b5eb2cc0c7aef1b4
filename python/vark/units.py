"""Numbers for people: sizes and times, read and written."""

from __future__ import annotations

import re

from vark.errors import InvalidArgumentError

_FACTORS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY_FACTORS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_bytes(text: str | int, *, name: str = "size") -> int:
    """Return the bytes that `text` says: 1024, "64MiB", "1.5 GB". Errors: InvalidArgumentError."""
    if isinstance(text, int) and not isinstance(text, bool) and 0 <= text < 1 << 64:
        return text
    match = re.fullmatch(r"\s*(\d{1,20}(?:\.\d{1,9})?)\s*([kmgt]?)(i?)b?\s*", str(text).lower())
    if match is None or (match[3] and not match[2]):
        raise InvalidArgumentError(
            f"{name}: {str(text)[:40]!r}; expected a number of bytes such as 67108864, 64MiB or 2GB"
        )
    factor = _BINARY_FACTORS[match[2]] if match[3] else _FACTORS[match[2]]
    return int(float(match[1]) * factor)


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


def parse_duration(text: str | float, *, name: str = "time") -> float:
    """Return the seconds that `text` says: 90, "30s", "10m", "1h", "7d", "2w", "1y". Errors: InvalidArgumentError."""
    if isinstance(text, (int, float)) and not isinstance(text, bool) and 0 <= text < 1e11:
        return float(text)
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([smhdwy])\s*", str(text).lower())
    if match is None:
        raise InvalidArgumentError(f"{name}: {text!r}; expected a time such as 30s, 10m, 12h, 7d or 1y")
    return float(match[1]) * _SECONDS[match[2]]


def parse_rate(text: str | float, *, name: str = "rate") -> float:
    """Return how often a second `text` says: 50, "50/s", "30/m", "1000/h". Errors: InvalidArgumentError."""
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*(?:/\s*([smh]))?\s*", str(text).lower())
    rate = 0.0 if match is None or isinstance(text, bool) else float(match[1]) / _SECONDS[match[2] or "s"]
    if rate <= 0:
        raise InvalidArgumentError(f"{name}: {text!r}; expected a number a second above 0, such as 50, 50/s or 30/m")
    return rate


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
