"""Small objects: created once under a name that their content gives, and compared with it whenever they are read."""

from __future__ import annotations

import contextlib
import time
import uuid
from secrets import randbits

from vark.errors import (
    AccessDeniedError,
    DamagedError,
    NotFoundError,
    ObjectExistsError,
    StorageError,
    StoreUnavailableError,
)
from vark.repository.digest import digest_hex
from vark.repository.fields import RECORD_BYTES_MAX
from vark.repository.layout import content_of_name, list_name, record_name
from vark.stores import RemoteStore, Store
from vark.stores.base import read_limited
from vark.stores.locks import locks_of


def read_object(store: Store, name: str) -> bytes:
    """Return a record's bytes, compared with its content name. Errors: NotFoundError, DamagedError."""
    data = read_limited(store, name, RECORD_BYTES_MAX)
    if isinstance(data, int):
        raise DamagedError(f"{name}: {data} bytes; a record has at most {RECORD_BYTES_MAX}", layer="record")
    expected = content_of_name(name)
    if expected is not None and digest_hex(data) != expected:
        raise DamagedError(
            f"{name}: its bytes have the digest {digest_hex(data)[:16]}…, not the one it is named by; "
            "restore this object from another copy",
            layer="record",
        )
    return data


def create_record(store: Store, folder: str, data: bytes, unix_ms: int) -> str:
    """Create a content-named record of a folder by months; return the digest it is named by."""
    name = record_name(folder, data, unix_ms)
    _create(store, name, data)
    return digest_hex(data)


def create_list(store: Store, data: bytes) -> str:
    """Create a condemned or sweep list; return the digest it is named by."""
    digest = digest_hex(data)
    _create(store, list_name(digest), data)
    return digest


def _create(store: Store, name: str, data: bytes) -> None:
    try:
        store.create(name, data)
    except ObjectExistsError:
        # The content names it, so it is ours: an earlier attempt landed and its reply was lost. Unless it is damaged.
        read_object(store, name)


def settle(store: Store, name: str) -> None:
    """Make a record durable that another process has created: it may have died before that.

    Needed before anything that cannot be taken back relies on a record that was only found. One that has gone since
    needs nothing, and neither does one in a remote store (spec, section 7).
    """
    if isinstance(store, RemoteStore):
        return
    with contextlib.suppress(NotFoundError):
        data = read_object(store, name)
        with contextlib.suppress(ObjectExistsError):  # says that the object is durable
            store.create(name, data)


def remove(store: Store, name: str) -> bool:
    """Delete an object that nothing needs; return False where it stays: it is locked, or deleting is not allowed."""
    if retained_until(store, name) is not None:
        return False
    try:
        store.delete(name)
    except AccessDeniedError:
        return False
    return True


def retained_until(store: Store, name: str) -> int | None:
    """Return until when a lock keeps an object, None where none does, or where nobody can ask.

    Errors: StoreUnavailableError: what may be kept must not be taken for free.
    """
    locks = locks_of(store)
    if locks is None:
        return None
    try:
        found = locks.retained(name)
    except StoreUnavailableError:
        raise
    except (NotFoundError, StorageError, AccessDeniedError):
        return None  # deleting will tell
    return None if found is None or found.until_unix_ms <= now_unix_ms(store) else found.until_unix_ms


def now_unix_ms(store: Store) -> int:
    """Return the time by which ages are judged: the store's where it has a clock."""
    clock = store.clock_unix_ms()
    return time.time_ns() // 1_000_000 if clock is None else clock


def new_uuid7(unix_ms: int | None = None) -> uuid.UUID:
    """Return a UUID of version 7: 48 bits of time, the rest random."""
    milliseconds = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    value = (milliseconds & ((1 << 48) - 1)) << 80 | 7 << 76 | randbits(12) << 64 | 2 << 62 | randbits(62)
    return uuid.UUID(int=value)
