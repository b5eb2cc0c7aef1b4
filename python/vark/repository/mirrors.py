"""Mirrors: what several stores hold of one repository, as one store that is only read from.

Each object and each range comes from the first mirror that has it whole; what came from another is noted, and why.
Records are compared with their names here, blocks of archives with their checksums by the engine, which asks for
another copy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from vark.errors import (
    CancelledError,
    DamagedError,
    InvalidArgumentError,
    NotFoundError,
    StorageError,
    StoreUnavailableError,
    VarkError,
)
from vark.repository.digest import digest_hex
from vark.repository.fields import decode_record, split_digested
from vark.repository.layout import MARKER, content_of_name, key_of, root_generation
from vark.repository.objects import read_object
from vark.repository.records import Marker
from vark.stores import ObjectEntry, ObjectWriter, RemoteStore, Store
from vark.stores.base import read_limited

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What was not taken from the first mirror. byte_count: 0 for a whole object; mirror: where it was taken from."""

    object: str
    offset: int
    byte_count: int
    mirror: str
    why: str


def mirrored(stores: Sequence[Store], places: Sequence[str]) -> MirroredStore:
    """Return mirrors as one store. Errors: InvalidArgumentError (they are not of one repository)."""
    ids: dict[str, str] = {}
    for store, place in zip(stores, places, strict=True):
        try:
            ids[place] = Marker.decode(read_object(store, MARKER), place=f"{place}: {MARKER}").id
        except CancelledError:
            raise
        except (VarkError, OSError):  # it may be what the others are for
            continue
    if len(set(ids.values())) > 1:
        shown = "; ".join(f"{place}: {found}" for place, found in ids.items())
        raise InvalidArgumentError(f"these are no mirrors of one repository ({shown}); name those of one id")
    return MirroredStore(stores, places)


def fits(name: str, data: bytes) -> str | None:
    """Return why these bytes cannot be the object of this name, as far as its name or a digest in it says it."""
    expected = content_of_name(name)
    if expected is not None and digest_hex(data) != expected:
        return "its bytes have another digest than its name"
    try:
        if name == MARKER or root_generation(name) is not None:
            split_digested(data, place=name)
        elif key_of(name) is not None:
            decode_record(data, place=name)
    except VarkError as error:
        return error.message
    return None


class MirroredStore:
    """Several mirrors as one store. places: what messages call them, in their order."""

    def __init__(self, stores: Sequence[Store], places: Sequence[str]) -> None:
        self.stores = tuple(stores)
        self.places = tuple(places)
        self.root = self.places[0]
        self.elsewhere: list[Elsewhere] = []
        self.unreachable: dict[str, str] = {}  # asked no more: each time would cost the patience that one has
        self._lock = threading.Lock()
        self._first: dict[str, int] = {}  # archive -> the mirror that its tables are read from

    def create(self, name: str, data: bytes) -> None:
        del data
        self._refuse(name)

    def writer(self, name: str) -> ObjectWriter:
        self._refuse(name)

    def delete(self, name: str) -> None:
        self._refuse(name)

    def read(self, name: str, *, offset: int = 0, byte_count: int | None = None) -> bytes:
        def read(store: Store) -> bytes:
            data = store.read(name, offset=offset, byte_count=byte_count)
            if offset == 0 and byte_count is None:
                _compare(name, data)
            return data

        return self._from_any(name, read)

    def read_limited(self, name: str, byte_count_max: int) -> bytes | int:
        """Return a whole object, or how many bytes it has where those are more than `byte_count_max`."""

        def read(store: Store) -> bytes | int:
            data = read_limited(store, name, byte_count_max)
            if isinstance(data, bytes):
                _compare(name, data)
            return data

        return self._from_any(name, read)

    def byte_count(self, name: str) -> int:
        return self._from_any(name, lambda store: store.byte_count(name))

    def list(self, prefix: str) -> list[ObjectEntry]:
        """Return what any of them has; of volumes of two lengths the longer, for the other is cut short."""
        found: dict[str, ObjectEntry] = {}
        answered = 0
        for number, place in enumerate(self.places):
            try:
                entries = self.ask(number, lambda store: store.list(prefix))
            except CancelledError:
                raise
            except (VarkError, OSError) as error:
                self.unreachable.setdefault(place, str(error))
                continue
            answered += 1
            for entry in entries:
                known = found.get(entry.name)
                if known is None or known.byte_count < entry.byte_count:
                    found[entry.name] = entry
        if not answered:
            raise StorageError(f"no mirror can be listed: {'; '.join(self.unreachable.values())}")
        return sorted(found.values(), key=lambda entry: entry.name)

    def local_path(self, name: str) -> Path | None:
        del name
        return None

    def clock_unix_ms(self) -> int | None:
        return self.stores[0].clock_unix_ms()

    def open_ranges(self, archive_id: str, volumes: Sequence[tuple[str, int]]) -> MirroredRanges:
        """Return a reader of the volumes of an archive, end to end."""
        return MirroredRanges(self, archive_id, volumes, self._first.get(archive_id, 0))

    def open_from_any(self, archive_id: str, open_: Callable[[], Value]) -> Value:
        """Run `open_`; where the tables of the archive are damaged, with those of another mirror.

        Errors: those of the first try.
        """
        first: VarkError | None = None
        for number in range(len(self.stores)):
            self._first[archive_id] = number
            try:
                opened = open_()
            except CancelledError:
                raise
            except (DamagedError, NotFoundError) as error:
                first = first or error
                continue
            if number and first is not None:
                self.note(f"archive {archive_id}", 0, 0, number, first.message)
            return opened
        assert first is not None
        raise first

    def ask(self, number: int, question: Callable[[Store], Value]) -> Value:
        """Ask one mirror. Errors: its own; StoreUnavailableError, at once where it did not answer before."""
        place = self.places[number]
        if place in self.unreachable:
            raise StoreUnavailableError(self.unreachable[place])
        try:
            return question(self.stores[number])
        except StoreUnavailableError as error:
            self.unreachable[place] = error.message
            raise

    def note(self, name: str, offset: int, byte_count: int, number: int, why: str) -> None:
        """Note what was taken from another mirror than the first."""
        with self._lock:
            found = Elsewhere(name, offset, byte_count, self.places[number], why)
            if found not in self.elsewhere[-64:]:
                self.elsewhere.append(found)

    def _from_any(self, name: str, read: Callable[[Store], Value]) -> Value:
        first: BaseException | None = None
        for number in range(len(self.stores)):
            try:
                value = self.ask(number, read)
            except CancelledError:
                raise
            except (VarkError, OSError) as error:
                # What is there and damaged says more than that another has it not.
                if first is None or isinstance(first, NotFoundError):
                    first = error
                continue
            if first is not None:
                self.note(name, 0, 0, number, str(first))
            return value
        assert first is not None
        raise first

    def _refuse(self, name: str) -> NoReturn:
        raise InvalidArgumentError(
            f"{name}: not written; mirrors opened together are only read from, open one of them to write"
        )


class MirroredRanges:
    """The volumes of an archive in all mirrors as one range of bytes. For the engine; thread safe.

    `read` gives the bytes of the first mirror that has them, `read_elsewhere` those of the others, in their order.
    """

    def __init__(self, mirrors: MirroredStore, archive_id: str, volumes: Sequence[tuple[str, int]], first: int) -> None:
        self.name = f"archive {archive_id}"
        self.byte_count = sum(size for _, size in volumes)
        self._mirrors = mirrors
        self._volumes = volumes
        count = len(mirrors.stores)
        self._order = [first, *(number for number in range(count) if number != first)]
        # Of remote stores: ranges that are fetched ahead.
        self._readers = [
            store.open_ranges(self.name, volumes) if isinstance(store, RemoteStore) else None
            for store in mirrors.stores
        ]

    def read(self, offset: int, byte_count: int) -> memoryview | bytes:
        """Return bytes of the archive. Errors: those of the first mirror, where none has them."""
        failure: BaseException | None = None
        for number in self._order:
            try:
                data = self._read(number, offset, byte_count)
            except CancelledError:
                raise
            except (VarkError, OSError) as error:
                failure = failure or error
                continue
            if failure is not None:
                self._mirrors.note(self._object(offset), offset, byte_count, number, str(failure))
            return data
        assert failure is not None
        raise failure

    def read_elsewhere(self, copy: int, offset: int, byte_count: int) -> memoryview | bytes | None:
        """Return the bytes that another mirror has, by number from 0; None when there are no more."""
        if copy + 1 >= len(self._order):
            return None
        number = self._order[copy + 1]
        data = self._read(number, offset, byte_count)
        self._mirrors.note(self._object(offset), offset, byte_count, number, "its checksum is another")
        return data

    def _object(self, offset: int) -> str:
        for name, size in self._volumes:
            if offset < size:
                return name
            offset -= size
        return self._volumes[-1][0]

    def _read(self, number: int, offset: int, byte_count: int) -> memoryview | bytes:
        reader = self._readers[number]
        if reader is not None:
            return self._mirrors.ask(number, lambda _: reader.read(offset, byte_count))
        return self._mirrors.ask(number, lambda store: self._read_parts(store, offset, byte_count))

    def _read_parts(self, store: Store, offset: int, byte_count: int) -> bytes:
        parts, start = list[bytes](), 0
        for name, size in self._volumes:
            first, last = max(offset, start), min(offset + byte_count, start + size)
            if first < last:
                parts.append(store.read(name, offset=first - start, byte_count=last - first))
            start += size
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _compare(name: str, data: bytes) -> None:
    fault = fits(name, data)
    if fault is not None:
        raise DamagedError(f"{name}: {fault}", layer="record")
