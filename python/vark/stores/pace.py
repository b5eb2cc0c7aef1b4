"""Limits of what a store is asked for: bytes up, bytes down and requests a second, shared by all that goes on at once.

A place in time is reserved for each part; who reserves waits for it alone, so nobody can wait for somebody else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vark.errors import InvalidArgumentError
from vark.units import parse_bytes, parse_rate

BURST_SECONDS = 0.1  # so much of what was not used before may be used at once
PARTS_A_SECOND = 50
PART_BYTES_MIN = 1 << 10
PART_BYTES_MAX = 64 << 10
LIMITS = ("limit_upload", "limit_download", "limit_requests")


class Pace:
    """So much a second: bytes or requests. Safe to use from several threads. rate: more than 0."""

    def __init__(
        self,
        rate: float,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rate = rate
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = 0.0  # when all that is reserved is done with

    @property
    def part_bytes(self) -> int:
        """How many bytes to reserve at once, so that they flow evenly."""
        return int(min(max(self.rate / PARTS_A_SECOND, PART_BYTES_MIN), PART_BYTES_MAX))

    def reserve(self, amount: float) -> float:
        """Take so much; return how many seconds to wait before going on."""
        with self._lock:
            now = self._now()
            self._next = max(self._next, now - BURST_SECONDS) + amount / self.rate
            return max(self._next - now, 0.0)

    def take(self, amount: float) -> None:
        """Take so much, and wait for it."""
        wait = self.reserve(amount)
        if wait > 0:
            self._sleep(wait)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed a second: bytes up, bytes down, requests; None for no limit."""

    upload: float | None = None
    download: float | None = None
    requests: float | None = None

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Limits:
        """Read `limit_upload`, `limit_download` ("10MB", "2MiB/s", 1000) and `limit_requests` ("50/s", "30/m", 50).

        Errors: InvalidArgumentError, also for a limit of nothing.
        """
        up, down = (_byte_rate(given.get(name), name) for name in LIMITS[:2])
        requests = given.get("limit_requests")
        return cls(up, down, None if requests is None else parse_rate(requests, name="limit_requests"))


NO_LIMITS = Limits()


def _byte_rate(text: Any, name: str) -> float | None:
    if text is None:
        return None
    words = text.strip().lower().removesuffix("/s") if isinstance(text, str) else text
    rate = parse_bytes(words, name=name)
    if rate < 1:
        raise InvalidArgumentError(f"{name}: {text!r}; expected more than 0 bytes a second, or no limit at all")
    return float(rate)


class Paces:
    """Limits while they are used. is_relayed: a relay slows the bytes down; only requests are left."""

    def __init__(self, limits: Limits, *, is_relayed: bool = False) -> None:
        self.limits = limits
        self._requests = None if limits.requests is None else Pace(limits.requests)
        self._up = None if limits.upload is None or is_relayed else Pace(limits.upload)
        self._down = None if limits.download is None or is_relayed else Pace(limits.download)

    def ask(self, request_count: int = 1) -> None:
        """Wait until so many requests may be made."""
        if self._requests is not None:
            self._requests.take(request_count)

    def send(self, byte_count: int) -> None:
        """Wait until so many bytes may have been sent."""
        if self._up is not None:
            self._up.take(byte_count)

    def receive(self, byte_count: int) -> None:
        """Wait until so many bytes may have come."""
        if self._down is not None:
            self._down.take(byte_count)
