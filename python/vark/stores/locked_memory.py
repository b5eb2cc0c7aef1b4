"""A store in memory that behaves like a bucket with versioning, object lock and append-only credentials; for tests.

Nothing that was created can be deleted or changed through it. What somebody with more rights can do there, and what
even he cannot, is in `Administrator`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from vark.errors import AccessDeniedError, NotFoundError, ObjectExistsError
from vark.stores.base import ObjectEntry, check_object_name, check_prefix
from vark.stores.locks import LockRules, ObjectVersion, Retention
from vark.stores.memory import MemoryStore

DAY_MS = 24 * 60 * 60 * 1000


@dataclass(slots=True)
class _Version:
    id: str
    data: bytes | None  # None: a delete marker
    modified_unix_ms: int
    retention: Retention | None = None


_History = list[_Version]  # the oldest first


class LockedMemoryStore(MemoryStore):
    """Objects with all their versions.

    may_delete: whether `delete` puts a delete marker; else it is refused. may_lock: whether retention can be set.
    default: retention mode and days that each new object gets. now_unix_ms: its clock, by default this machine's.
    """

    def __init__(
        self,
        *,
        may_delete: bool = False,
        may_lock: bool = True,
        default: tuple[str, int] | None = None,
        now_unix_ms: Callable[[], int] | None = None,
    ) -> None:
        super().__init__()
        self._clock = now_unix_ms
        self.locks = MemoryLocks(self, may_lock=may_lock)
        self.default = default
        self._may_delete = may_delete
        self._versions: dict[str, _History] = {}
        self._numbers = count(1)

    def create(self, name: str, data: bytes) -> None:
        check_object_name(name)
        with self._lock:
            if self._newest(name) is not None:
                raise ObjectExistsError(f"{name}: exists already; objects are never replaced")
            self.add_version(name, bytes(data))

    def list(self, prefix: str) -> list[ObjectEntry]:
        prefix = check_prefix(prefix)
        with self._lock:
            found = {name: self._newest(name) for name in sorted(self._versions) if name.startswith(prefix)}
        return [ObjectEntry(name, len(kept.data or b""), kept.modified_unix_ms) for name, kept in found.items() if kept]

    def delete(self, name: str) -> None:
        check_object_name(name)
        if not self._may_delete:
            raise AccessDeniedError(f"{name}: deleting is refused (AccessDenied); these credentials may only add")
        with self._lock:
            if self._newest(name) is not None:
                self.add_version(name, None)

    def clock_unix_ms(self) -> int | None:
        return None if self._clock is None else self._clock()

    def now_unix_ms(self) -> int:
        """Return the time by which retention ends."""
        return time.time_ns() // 1_000_000 if self._clock is None else self._clock()

    def administrator(self) -> Administrator:
        """Return what somebody with all rights can do."""
        return Administrator(self)

    def add_version(self, name: str, data: bytes | None) -> None:
        """Put a version on top, whatever is there; None is a delete marker."""
        now = self.now_unix_ms()
        retention = None
        if self.default is not None and data is not None:
            retention = Retention(self.default[0], now + self.default[1] * DAY_MS)
        self._versions.setdefault(name, []).append(_Version(f"v{next(self._numbers):06d}", data, now, retention))

    def of(self, name: str) -> _History:
        """Return the versions of an object, the oldest first."""
        return self._versions.get(name, [])

    def names(self) -> tuple[str, ...]:
        """Return all names of which there is any version."""
        return tuple(sorted(self._versions))

    def _newest(self, name: str) -> _Version | None:
        versions = self._versions.get(name)
        return versions[-1] if versions and versions[-1].data is not None else None

    def _data(self, name: str) -> bytes:
        check_object_name(name)
        with self._lock:
            kept = self._newest(name)
        if kept is None or kept.data is None:
            raise NotFoundError(f"{name}: does not exist")
        return kept.data


class MemoryLocks:
    """The locks of a `LockedMemoryStore`. requests: how many were made, by what was asked."""

    def __init__(self, store: LockedMemoryStore, *, may_lock: bool) -> None:
        self._store = store
        self._may_lock = may_lock
        self.requests: dict[str, int] = {"retained": 0, "retain": 0}

    def rules(self) -> LockRules:
        mode, days = self._store.default or (None, None)
        return LockRules(True, True, mode, days)

    def retained(self, name: str) -> Retention | None:
        self.requests["retained"] += 1
        return self._of(name).retention

    def retain(self, name: str, retention: Retention) -> None:
        version = self._of(name)
        if not self._may_lock:
            raise AccessDeniedError(f"{name}: setting retention is refused (AccessDenied); check the credentials")
        self.requests["retain"] += 1
        version.retention = retention if version.retention is None else version.retention.joined(retention)

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        prefix = check_prefix(prefix)
        for name in self._store.names():
            if name.startswith(prefix):
                kept = self._store.of(name)
                for item in reversed(kept):
                    size, is_marker = len(item.data or b""), item.data is None
                    tag = "" if item.data is None else str(hash(item.data))
                    yield ObjectVersion(name, item.id, size, item.modified_unix_ms, item is kept[-1], is_marker, tag)

    def read_version(self, name: str, version: str) -> bytes:
        for item in self._store.of(name):
            if item.id == version and item.data is not None:
                return item.data
        raise NotFoundError(f"{name}: has no version {version}")

    def put_over(self, name: str, version: str) -> None:
        raise AccessDeniedError(
            f"{name}: putting {version} over it is refused (AccessDenied); these credentials only add"
        )

    def _of(self, name: str) -> _Version:
        versions = self._store.of(name)
        if not versions or versions[-1].data is None:
            raise NotFoundError(f"{name}: does not exist")
        return versions[-1]


class Administrator:
    """Somebody with all rights in the bucket: he hides and covers objects, but what is retained stays."""

    def __init__(self, store: LockedMemoryStore) -> None:
        self._store = store

    def hide(self, name: str) -> None:
        """Delete an object as most tools do: a delete marker hides it."""
        self._store.add_version(name, None)

    def cover(self, name: str, data: bytes) -> None:
        """Put other bytes over an object."""
        self._store.add_version(name, data)

    def uncover(self, name: str, version: str) -> None:
        """Put a version on top again."""
        self._store.add_version(name, self._store.locks.read_version(name, version))

    def destroy(self, name: str, version: str | None = None) -> None:
        """Delete versions for good, by default all. Errors: AccessDeniedError where one is retained."""
        versions = self._store.of(name)
        now = self._store.now_unix_ms()
        for item in [item for item in versions if version in (None, item.id)]:
            if item.retention is not None and item.retention.until_unix_ms > now:
                raise AccessDeniedError(f"{name}: version {item.id} is retained (AccessDenied); wait")
            versions.remove(item)
