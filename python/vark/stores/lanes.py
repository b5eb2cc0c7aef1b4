"""How many requests of a store run at once: fewer when it asks for that or they only wait for one another, else more.

A store that refuses (429, 503) halves them. Latency is watched apart from that: where it has grown while no more bytes
came through, the requests wait for one another somewhere, and fewer do the same at less cost. Every step is undone when
the bytes a second fall.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

GOOD_FOR_ONE_MORE = 16  # requests in a row before one more may run
WIDTH_MIN = 6  # no fewer because of latency alone: a pipeline needs some
LOOK_SECONDS_MIN = 0.5  # of a look at how it goes
LOOKS_UNTIL_AGAIN = 20  # after a step that did not pay, and before one more is tried
SLOW_FACTOR = 3.0  # so much longer than the fastest ones: they wait for one another
REQUESTS_A_LOOK = 4  # times the lanes: they come in bursts
WORSE_SHARE = 0.93  # of the most bytes a second lately
FADES_BY = 0.99  # the most, a look later: lines change
FORGETS_BY = 0.999  # the fastest, which is seen only now and then
REQUEST_BYTES = 64 << 10  # what a request without bytes is worth: it takes its time, too


@dataclass(slots=True)
class _Look:
    """What was seen since `began`. slowness: sum over requests of their time against the fastest of their size."""

    began: float
    request_count: int = 0
    byte_count: int = 0
    slowness: float = 0.0

    def rate(self, now: float) -> float:
        """Return bytes a second, requests counted in."""
        return (self.byte_count + REQUEST_BYTES * self.request_count) / max(now - self.began, 1e-9)


class Lanes:
    """A semaphore whose width adapts. most: the widest; now: a clock in seconds.

    Latency narrows it only while all lanes are in use. Where fewer requests run, the memory for volumes and for ranges
    fetched ahead says how many (five of 32 MiB, six of 8 MiB): about the fewest that latency would leave, so there is
    nothing to gain, and a width found while little was to do would be wrong when there is more.
    """

    def __init__(self, most: int, *, now: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.width = most
        self._now = now
        self._busy = 0
        self._good = 0
        self._ceiling = most  # of `width`, after latency has narrowed it
        self._was_full = False  # all lanes were in use since the look began: else the width decides nothing
        self._fastest: dict[int, float] = {}  # by size, in powers of four
        self._look = _Look(now())
        self._most_bytes = 0.0  # a second, lately
        self._tried_from: int | None = None  # the width before the step that is being tried
        self._pause = 0  # looks until latency may narrow again
        self._calm = 0  # looks without a step
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        with self._changed:
            while self._busy >= self.width:
                self._changed.wait()
            self._busy += 1
            self._was_full = self._was_full or self._busy >= self.width
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._busy -= 1
            if kind is None:
                self._good += 1
                if self._good >= GOOD_FOR_ONE_MORE and self.width < self._ceiling:
                    self.width, self._good = self.width + 1, 0
            self._changed.notify()

    def slow_down(self) -> None:
        """Let half as many requests run at once: the store has asked for it."""
        with self._changed:
            self.width, self._good = max(self.width // 2, 1), 0
            self._tried_from, self._most_bytes = None, 0.0
            self._begin_look()

    def note(self, seconds: float, byte_count: int) -> None:
        """Take in how long a request took that went well, without its wait for a lane."""
        with self._changed:
            size = max(byte_count, 1).bit_length() // 2
            fastest = min(seconds, self._fastest.get(size, seconds))
            self._fastest[size] = fastest
            look = self._look
            look.request_count += 1
            look.byte_count += byte_count
            look.slowness += seconds / max(fastest, 1e-9)
            now = self._now()
            if now - look.began >= LOOK_SECONDS_MIN and look.request_count >= REQUESTS_A_LOOK * self.width:
                self._judge(look, look.rate(now))
                self._changed.notify_all()

    def _judge(self, look: _Look, rate: float) -> None:
        """Undo a step that cost bytes a second, or try fewer lanes where requests wait for one another."""
        is_worse = rate < self._most_bytes * WORSE_SHARE
        self._most_bytes = max(self._most_bytes * FADES_BY, rate)
        self._fastest = {size: seconds / FORGETS_BY for size, seconds in self._fastest.items()}
        self._pause = max(self._pause - 1, 0)
        self._calm += 1
        is_slow = look.slowness / look.request_count > SLOW_FACTOR
        if self._tried_from is not None and is_worse:
            self.width = self._ceiling = self._tried_from
            self._tried_from, self._pause, self._calm = None, LOOKS_UNTIL_AGAIN, 0
        elif is_slow and self._was_full and self._pause == 0 and self.width > WIDTH_MIN:
            self._tried_from = self.width
            self.width = self._ceiling = max(self.width - max(self.width // 5, 1), WIDTH_MIN)
            self._calm = 0
        else:
            self._tried_from = None
            if self._calm >= LOOKS_UNTIL_AGAIN:
                self._ceiling, self._calm = min(self._ceiling + 1, self.most), 0
        self._begin_look()

    def _begin_look(self) -> None:
        self._look, self._was_full = _Look(self._now()), self._busy >= self.width
