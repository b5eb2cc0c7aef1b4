"""How many requests were made of a store, by class, and how many bytes went either way."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests and bytes. Attempts that failed count, too: they are paid for. lists: pages of 1,000 names."""

    puts: int = 0
    gets: int = 0
    heads: int = 0
    lists: int = 0
    deletes: int = 0
    retries: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    @property
    def put_class(self) -> int:
        """Requests that providers charge as PUT: those that write or list."""
        return self.puts + self.lists

    @property
    def get_class(self) -> int:
        """Requests that providers charge as GET."""
        return self.gets + self.heads

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(**{item.name: getattr(self, item.name) + getattr(other, item.name) for item in fields(self)})

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(**{item.name: getattr(self, item.name) - getattr(other, item.name) for item in fields(self)})

    def as_record(self) -> dict[str, int]:
        """Return the numbers by name."""
        return asdict(self)


class Counts:
    """Counters that several threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values = Traffic().as_record()

    def add(self, **values: int) -> None:
        """Add to counters by name."""
        with self._lock:
            for name, value in values.items():
                self._values[name] += value

    def total(self) -> Traffic:
        """Return what was counted so far."""
        with self._lock:
            return Traffic(**self._values)
