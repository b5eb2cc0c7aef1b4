"""A store over `obstore`: objects of S3, Google Cloud Storage, Azure, or a web server, with our own rules for retries.

A request whose outcome is not known (no reply, a reply that was lost, a conflict) is settled by looking, never guessed.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import tempfile
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from vark.errors import InvalidArgumentError, NotFoundError, ObjectExistsError, StorageError, StoreUnavailableError
from vark.stores.base import Buffer, ObjectEntry, check_object_name, check_prefix, check_range, object_name_fault
from vark.stores.blocks import KeptBlocks
from vark.stores.checksums import refuses_wrong_checksum
from vark.stores.counts import Counts
from vark.stores.faults import RangeError, fault_of, is_range_ignored, short_object, wants_slower
from vark.stores.lanes import Lanes
from vark.stores.locks import Locks
from vark.stores.memory import content_of
from vark.stores.pace import NO_LIMITS, Paces
from vark.stores.ranges import RangeReader, SpanCache
from vark.stores.s3_locks import s3_locks

REQUESTS_MAX = 16
RETRY_SECONDS = 120.0
CACHE_BYTES = 144 << 20
WHOLE_OBJECTS_MAX = 2
AHEAD_OBJECTS = 32  # small objects on their way; 1 MiB each at most
PAGE_NAMES = 1000  # of a listing; what all providers give at once
_DELAY_SECONDS = 0.1
_DELAY_SECONDS_MAX = 10.0
_CLOCK_TOLERANCE_MS = 2000  # stores tell whole seconds
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')

Value = TypeVar("Value")


class RemoteStore:
    """Objects of a bucket below a prefix. Safe to use from several threads.

    store: an obstore store. place: what messages call it. exclusive: it refuses to create what exists; without
    that names are looked up first, which is no protection between two writers. md5_etags: its ETag of an object is the
    MD5 of the bytes; compared after each upload. read_only: why nothing can be written, or None. listed_below: what
    listings put before names. paces: what is allowed a second. disk_bytes: for blocks
    on this machine, where a reader asks for them. library: what makes requests; tests put another in its
    place.
    """

    def __init__(
        self,
        store: Any,
        *,
        place: str,
        exclusive: bool = True,
        md5_etags: bool = False,
        read_only: str | None = None,
        listed_below: str = "",
        retry_seconds: float = RETRY_SECONDS,
        requests_max: int = REQUESTS_MAX,
        cache_bytes: int = CACHE_BYTES,
        paces: Paces | None = None,
        disk_bytes: int = 0,
        library: Any = None,
    ) -> None:
        self.root = place
        self.exclusive = exclusive
        self.counts = Counts()
        self.lanes = Lanes(requests_max)
        self.paces = paces or Paces(NO_LIMITS)
        self.spans = SpanCache(cache_bytes)
        self.disk_bytes = disk_bytes
        self.serves_ranges = True  # until it turns out otherwise
        self._kind = type(store).__name__
        self._whole: OrderedDict[str, memoryview] = OrderedDict()  # objects of a store that serves no ranges
        self._store = store
        self._given_library = library
        self._md5_etags = md5_etags
        self._read_only = read_only
        self._listed_below = listed_below
        self._retry_seconds = retry_seconds
        self._coming: dict[str, Future[bytes | int]] = {}
        self._coming_lists: dict[tuple[int, str], Future[Any]] = {}
        self._last_created: tuple[str, int] | None = None
        self._clock_offset_ms: int | None = None
        self._learning: Future[None] | None = None

    def create(self, name: str, data: Buffer) -> None:
        """As in `Store`. data: not copied; it must not change afterwards, for the library may keep it."""
        check_object_name(name)
        self._check_writable(name)
        for last in self._attempts():
            try:
                self._put(name, data, exclusive=self.exclusive)
            except ObjectExistsError:
                # Perhaps our own: an earlier attempt has landed, or the network has sent this one twice.
                landed = self.holds(name, data)
                if landed:
                    break
                if landed is not None:
                    raise
                if last:  # a conflict with a request that came to nothing
                    raise StoreUnavailableError(
                        f"{self._shown(name)}: the store says that it exists, and that it does not; run it again later"
                    ) from None
            except StoreUnavailableError:
                if last:
                    raise
            else:
                break
        here_ms = time.time_ns() // 1_000_000
        self._last_created = (name, here_ms)
        if self._learning is None and self._clock_offset_ms is None:
            self._learning = self.pool.submit(self._learn_clock, name, here_ms)  # it will be wanted, at the end

    def create_once(self, name: str, data: Buffer) -> None:
        """Try once to create, by the store's own condition alone; for probes.

        Errors: ObjectExistsError; StoreUnavailableError (it may have landed).
        """
        self._check_writable(check_object_name(name))
        self._put(name, data, exclusive=True)

    def replace(self, name: str, data: Buffer) -> None:
        """As in `ReplacingStore`: one request, after which the object is read and compared."""
        self._check_writable(check_object_name(name))

        def put() -> Any:
            self.paces.send(len(data))
            self.counts.add(bytes_up=len(data))
            return self._library.put(self._store, name, _exported(data), mode="overwrite", use_multipart=False)

        self._request("puts", name, put)
        if not self.holds(name, data):
            raise StorageError(f"{self._shown(name)}: the store does not show what was sent to it; run it again later")

    def is_versioned(self, name: str) -> bool | None:
        """Return whether the store keeps versions of an object, where it says so."""
        return self._head(name)["version"] not in (None, "null") if self._kind == "S3Store" else None

    def refuses_wrong_checksum(self, name: str) -> bool | None:
        """Return whether the store refuses bytes that do not fit their checksum; None where that cannot be tried."""
        return None if self._kind != "S3Store" else refuses_wrong_checksum(self._library, self._store, name)

    def writer(self, name: str) -> RemoteWriter:
        check_object_name(name)
        self._check_writable(name)
        return RemoteWriter(self, name)

    def read(self, name: str, *, offset: int = 0, byte_count: int | None = None) -> bytes:
        return bytes(self.read_view(name, offset=offset, byte_count=byte_count))

    def read_view(self, name: str, *, offset: int = 0, byte_count: int | None = None) -> memoryview:
        """As `read`, without a copy."""
        check_range(check_object_name(name), offset=offset, byte_count=byte_count)
        if byte_count == 0 or (byte_count is None and offset > 0):
            found = self.byte_count(name)
            if offset > found:
                raise short_object(self._shown(name), found, offset)
            if byte_count == 0 or offset == found:
                return memoryview(b"")
            byte_count = found - offset
        try:
            data = self._request("gets", name, lambda: self._get(name, offset, byte_count))
        except RangeError:
            raise short_object(self._shown(name), self.byte_count(name), offset + (byte_count or 0)) from None
        if byte_count is not None and len(data) != byte_count:
            raise short_object(self._shown(name), offset + len(data), offset + byte_count)
        return data

    def read_limited(self, name: str, byte_count_max: int) -> bytes | int:
        """Return a whole object by one request, or how many bytes it has where those are more than the limit."""
        check_object_name(name)
        coming = self._coming.pop(name, None)
        if coming is not None:
            return coming.result()
        return self._request("gets", name, lambda: self._get_limited(name, byte_count_max))

    def read_ahead(self, names: Iterable[str], byte_count_max: int) -> Iterator[str]:
        """Yield names, each when `read_limited` is to be asked for it: it has the next ones fetched meanwhile."""
        waiting: deque[str] = deque()
        try:
            for name in names:
                read = partial(self._get_limited, name, byte_count_max)
                self._coming[name] = self.pool.submit(self._request, "gets", name, read)
                waiting.append(name)
                if len(waiting) == AHEAD_OBJECTS:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for name in waiting:
                self._coming.pop(name, None)

    def byte_count(self, name: str) -> int:
        return int(self._head(name)["size"])

    def list(self, prefix: str) -> list[ObjectEntry]:
        prefix = check_prefix(prefix)
        coming = self._coming_lists.pop((threading.get_ident(), prefix), None)
        found = self._request("lists", prefix, partial(self._list, prefix)) if coming is None else coming.result()
        return sorted(found, key=lambda entry: entry.name)

    def begin_lists(self, folders: Sequence[str]) -> Callable[[], None]:
        """For `listing_ahead`: begin; return what drops the listings that nobody asked for."""
        keys = [(threading.get_ident(), check_prefix(folder)) for folder in folders]
        for key in keys:
            self._coming_lists[key] = self.pool.submit(self._request, "lists", key[1], partial(self._list, key[1]))

        def end() -> None:
            for key in keys:
                self._coming_lists.pop(key, None)

        return end

    def list_between(self, folder: str, first: str, last: str, pages_max: int) -> Sequence[ObjectEntry] | None:
        """Return the objects of a folder from one component to another; None where they are too many pages."""
        prefix = check_prefix(folder)
        found: Sequence[ObjectEntry] | None
        found = self._request("lists", prefix, lambda: self._list(prefix, (first, last, pages_max)))
        return found

    def delete(self, name: str) -> None:
        self._check_writable(check_object_name(name))
        with contextlib.suppress(NotFoundError):
            self._request("deletes", name, lambda: self._library.delete(self._store, name))

    def local_path(self, name: str) -> Path | None:
        check_object_name(name)
        return None

    def clock_unix_ms(self) -> int | None:
        """Return the store's time, learnt from the last object that was created here; None before there is one."""
        if self._learning is not None:
            self._learning.result()
        if self._clock_offset_ms is None and self._last_created is not None:
            self._learn_clock(*self._last_created)
        offset = self._clock_offset_ms
        return None if offset is None else time.time_ns() // 1_000_000 + offset

    def holds(self, name: str, data: Buffer) -> bool | None:
        """Return whether an object has just these bytes; None where there is none.

        Its ETag proves it where that is the MD5; else its bytes are read.
        """
        try:
            found = self._head(name)
            if found["size"] != len(data):
                return False
            if _md5_of(found["e_tag"]) == hashlib.md5(data, usedforsecurity=False).hexdigest():
                return True
            return bool(self.read_view(name) == memoryview(data))
        except NotFoundError:
            return None

    def open_ranges(
        self, name: str, volumes: Sequence[tuple[str, int]], *, kept: KeptBlocks | None = None
    ) -> RangeReader:
        """Return a reader of objects as one, end to end. volumes: (object, bytes). name: for messages.

        kept: blocks of them on this machine.
        """
        return RangeReader(self.read_view, name=name, volumes=volumes, spans=self.spans, pool=self.pool, kept=kept)

    def version_of(self, name: str) -> tuple[int, str]:
        """Return the bytes of an object, and a text that is another one when it is replaced ("" where none is)."""
        found = self._head(name)
        tag = found.get("e_tag") or ""
        return int(found["size"]), f"{tag} {found['last_modified'].timestamp()}" if tag else ""

    @cached_property
    def locks(self) -> Locks | None:
        """Object lock and versions, where there is something here to ask by: of S3, with boto3."""
        if self._kind != "S3Store":
            return None
        return s3_locks(self._store, place=self.root, counts=self.counts, paces=self.paces, attempts=self._attempts)

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """Threads that wait for requests; those never wait for one another."""
        return ThreadPoolExecutor(self.lanes.most, thread_name_prefix="vark-store")

    @cached_property
    def _library(self) -> Any:
        if self._given_library is not None:
            return self._given_library
        import obstore

        return obstore

    def _learn_clock(self, name: str, here_ms: int) -> None:
        try:
            offset = int(self._head(name)["last_modified"].timestamp() * 1000) - here_ms
        except NotFoundError:  # collected since, or it was only a probe
            return
        self._clock_offset_ms = offset if abs(offset) > _CLOCK_TOLERANCE_MS else 0

    def _put(self, name: str, data: Buffer, *, exclusive: bool) -> None:
        """Put once, where the name is free. Errors: ObjectExistsError, StoreUnavailableError (it may have landed)."""
        if not exclusive and self._exists(name):
            raise ObjectExistsError(f"{self._shown(name)}: exists already; objects are never replaced")
        mode = "create" if exclusive else "overwrite"

        def put() -> Any:
            self.paces.send(len(data))
            self.counts.add(bytes_up=len(data))
            return self._library.put(self._store, name, _exported(data), mode=mode, use_multipart=False)

        result = self._once("puts", name, put, byte_count=len(data))
        found = _md5_of(result.get("e_tag")) if self._md5_etags else None
        if found is not None and found != hashlib.md5(data, usedforsecurity=False).hexdigest():
            raise StorageError(
                f"{self._shown(name)}: the store has bytes with the MD5 {found}, which are not those that were sent; "
                "check the network, and run it again"
            )

    def _get(self, name: str, offset: int, byte_count: int | None) -> memoryview:
        if byte_count is None:
            data = memoryview(self._library.get(self._store, name).bytes())
            self.paces.receive(len(data))
        elif self.serves_ranges:
            self.paces.receive(byte_count)
            try:
                data = memoryview(self._library.get_range(self._store, name, start=offset, length=byte_count))
            except Exception as error:
                if not is_range_ignored(error):
                    raise
                self.serves_ranges = False
                return self._get(name, offset, byte_count)
        else:
            return self._get_whole(name)[offset : offset + byte_count]
        self.counts.add(bytes_down=len(data))
        return data

    def _get_whole(self, name: str) -> memoryview:
        """Return all of an object of a store that serves no ranges: the next range is likely to be of the same."""
        data = self._whole.get(name)
        if data is None:
            data = self._get(name, 0, None)
            self._whole[name] = data
            while len(self._whole) > WHOLE_OBJECTS_MAX:
                with contextlib.suppress(KeyError):  # another thread was faster
                    self._whole.popitem(last=False)
        return data

    def _get_limited(self, name: str, byte_count_max: int) -> bytes | int:
        found = self._library.get(self._store, name)
        if found.meta["size"] > byte_count_max:
            return int(found.meta["size"])
        data = bytes(found.bytes())
        self.paces.receive(len(data))
        self.counts.add(bytes_down=len(data))
        return data

    def _head(self, name: str) -> Any:
        check_object_name(name)
        return self._request("heads", name, lambda: self._library.head(self._store, name))

    def _exists(self, name: str) -> bool:
        try:
            self._head(name)
        except NotFoundError:
            return False
        return True

    def _list(self, prefix: str, between: tuple[str, str, int] | None = None) -> Any:
        """Return all objects below a prefix, or those between two names as far as a number of pages goes, else None."""
        found, pages = [], 0
        # "0" comes after "/". One character less at first: some stores sort folders by name.
        start, stop = (None, None) if between is None else (f"{prefix}{between[0][:-1]}", f"{prefix}{between[1]}0")
        options = {"chunk_size": PAGE_NAMES} if start is None else {"chunk_size": PAGE_NAMES, "offset": start}
        for chunk in self._library.list(self._store, prefix.rstrip("/") or None, **options):
            pages += 1
            if pages > 1:
                self.paces.ask()  # the first was asked for as the request that it is
            if between is not None and pages > between[2]:
                self.counts.add(lists=pages - 2)
                return None
            if stop is not None and chunk and chunk[0]["path"].removeprefix(self._listed_below) > stop:
                break
            for meta in chunk:
                name = meta["path"].removeprefix(self._listed_below)
                if start is not None and stop is not None and not start < name < stop:
                    continue
                if object_name_fault(name) is None:  # what the rule does not allow is somebody else's
                    found.append(ObjectEntry(name, meta["size"], int(meta["last_modified"].timestamp() * 1000)))
        self.counts.add(lists=max(pages - 1, 0))
        return found

    def _request(self, kind: str, name: str, call: Callable[[], Value]) -> Value:
        """Make a request that may be repeated. Errors: all of `fault_of`."""
        for last in self._attempts():
            try:
                return self._once(kind, name, call)
            except StoreUnavailableError:
                if last:
                    raise
            except ObjectExistsError:  # of a request that creates nothing: a conflict
                if last:
                    raise StoreUnavailableError(f"{self._shown(name)}: conflicts without end; run it again") from None
        raise AssertionError("unreachable")

    def _once(self, kind: str, name: str, call: Callable[[], Value], *, byte_count: int = 0) -> Value:
        self.paces.ask()
        try:
            with self.lanes:
                self.counts.add(**{kind: 1})
                start = time.monotonic()
                found = call()
                took = time.monotonic() - start
            self.lanes.note(took, len(found) if isinstance(found, (bytes, memoryview)) else byte_count)
            return found
        except Exception as error:
            if wants_slower(error):
                self.lanes.slow_down()
            # Not chained: what the library says at length may hold an address with a signature.
            raise fault_of(error, self._shown(name)) from None

    def _attempts(self) -> Iterator[bool]:
        """Yield whether this is the last attempt; wait before each but the first."""
        end, delay, is_last = time.monotonic() + self._retry_seconds, _DELAY_SECONDS, self._retry_seconds <= 0
        while True:
            yield is_last
            if is_last:
                return
            self.counts.add(retries=1)
            wait = random.uniform(delay / 2, delay)  # noqa: S311 - no secret: so that clients do not march in step
            time.sleep(wait)
            delay = min(delay * 2, _DELAY_SECONDS_MAX)
            is_last = time.monotonic() + delay > end

    def _shown(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def _check_writable(self, name: str) -> None:
        if self._read_only is not None:
            raise InvalidArgumentError(f"{self._shown(name)}: not written; {self._read_only}")


class RemoteWriter:
    """An object that is being written to a file without a name, and sent when it is complete."""

    def __init__(self, store: RemoteStore, name: str) -> None:
        self._store = store
        self._name = name
        self._file = tempfile.TemporaryFile(prefix="vark-")  # noqa: SIM115 - closed by `_close`

    def fileno(self) -> int:
        if self._file.closed:
            raise InvalidArgumentError(f"{self._name}: this writer is finished; start another")
        return self._file.fileno()

    def commit(self) -> int:
        try:
            data = content_of(self.fileno())
            self._store.create(self._name, data)
        finally:
            self._file.close()
        return len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _exported(data: Buffer) -> Any:
    """Return what the library takes without a copy."""
    return data if isinstance(data, bytes) else memoryview(data).toreadonly()


def _md5_of(tag: str | None) -> str | None:
    match = _MD5.fullmatch(tag or "")
    return None if match is None else match[1]
