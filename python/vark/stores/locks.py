"""What a store can do beyond the protocol: object lock, versions, and what its credentials may not do.

Optional: `locks_of` returns None where a store has none of it, or where nothing here can ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Protocol, TypeVar

from vark.errors import StoreUnavailableError, VarkError
from vark.stores.base import Store

MODES = ("governance", "compliance")  # the weaker first: governance ends for whoever has a special right
AT_ONCE = 16

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Retention:
    """Until when an object cannot be deleted. mode: "governance" or "compliance"."""

    mode: str
    until_unix_ms: int

    def covers(self, other: Retention) -> bool:
        """Return whether this keeps an object at least as well."""
        return MODES.index(self.mode) >= MODES.index(other.mode) and self.until_unix_ms >= other.until_unix_ms

    def joined(self, other: Retention) -> Retention:
        """Return the weakest that keeps an object as well as both: neither is ever shortened."""
        mode = max(self.mode, other.mode, key=MODES.index)
        return Retention(mode, max(self.until_unix_ms, other.until_unix_ms))


@dataclass(frozen=True, slots=True)
class LockRules:
    """What a bucket does. None: it could not be told. default_mode, default_days: what a new object gets by itself."""

    versioned: bool | None
    object_lock: bool | None
    default_mode: str | None = None
    default_days: int | None = None


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object. is_marker: it says that the object is deleted, and hides the versions before it.

    tag: equal for equal bytes, where it is not empty.
    """

    name: str
    version: str
    byte_count: int
    modified_unix_ms: int
    is_latest: bool
    is_marker: bool
    tag: str = ""


class Locks(Protocol):
    """Object lock and versions of one store. Names are those of the store. Errors of all: those of the store."""

    def rules(self) -> LockRules:
        """Return what the bucket does; what these credentials may not ask is None."""
        ...

    def retained(self, name: str) -> Retention | None:
        """Return until when an object is kept, None where it is not locked. Errors: NotFoundError."""
        ...

    def retain(self, name: str, retention: Retention) -> None:
        """Keep an object at least until then. Errors: NotFoundError, AccessDeniedError, StorageError."""
        ...

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        """Yield all versions below a folder, by name, those of one name from the newest to the oldest."""
        ...

    def read_version(self, name: str, version: str) -> bytes:
        """Return the bytes of a version. Errors: NotFoundError."""
        ...

    def put_over(self, name: str, version: str) -> None:
        """Make a version the newest again, by a copy of it; all others stay. Errors: AccessDeniedError."""
        ...


def locks_of(store: Store) -> Locks | None:
    """Return what can be done about locks and versions in a store; None where nothing can."""
    return getattr(store, "locks", None)


def at_once(call: Callable[[Item], Value], items: Iterable[Item]) -> Iterator[tuple[Item, Value | VarkError]]:
    """Yield each item with what a request for it gave, or why it failed; several requests run at once.

    When as many in a row got no reply as run at once, the rest are not tried: each would wait as long as those did.
    """
    lost: list[StoreUnavailableError] = []
    guard = Lock()

    def tried(item: Item) -> tuple[Item, Value | VarkError]:
        if len(lost) >= AT_ONCE:
            return item, lost[0]
        found: Value | VarkError
        try:
            found = call(item)
        except VarkError as error:
            found = error
        with guard:
            if isinstance(found, StoreUnavailableError):
                lost.append(found)
            elif len(lost) < AT_ONCE:
                lost.clear()
        return item, found

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="vark-locks") as pool:
        yield from pool.map(tried, items)
