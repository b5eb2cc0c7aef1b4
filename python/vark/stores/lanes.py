"""How many requests of a store run at once: fewer when it asks for that, more again while all goes well."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

GOOD_FOR_ONE_MORE = 16  # requests in a row before one more may run


class Lanes:
    """A semaphore whose width adapts: halved by `slow_down`, one wider after a run of requests that went well."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.width = most
        self._busy = 0
        self._good = 0
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        with self._changed:
            while self._busy >= self.width:
                self._changed.wait()
            self._busy += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._busy -= 1
            if kind is None:
                self._good += 1
                if self._good >= GOOD_FOR_ONE_MORE and self.width < self.most:
                    self.width, self._good = self.width + 1, 0
            self._changed.notify()

    def slow_down(self) -> None:
        """Let half as many requests run at once."""
        with self._changed:
            self.width, self._good = max(self.width // 2, 1), 0
