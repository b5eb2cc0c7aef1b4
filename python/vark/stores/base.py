"""The store protocol: immutable objects under names that are given once, and the rule for those names."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar, runtime_checkable

from vark.errors import InvalidArgumentError
from vark.names import name_fault

NAME_CHARACTERS_MAX = 512  # object stores allow 1024 bytes with the repository's prefix
COMPONENT_CHARACTERS_MAX = 200  # a local store wraps the last component in the name of a temporary file
COMPONENTS_MAX = 8
# Names that mean the same on every file system and object store: no letter that is folded, normalised or escaped.
_COMPONENT = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One object of a listing. modified_unix_ms: by the store's clock; says nothing that safety may depend on."""

    name: str
    byte_count: int
    modified_unix_ms: int


@runtime_checkable
class ObjectWriter(Protocol):
    """A large object while it is written; leaving its `with` block without `commit` removes every trace of it."""

    def fileno(self) -> int:
        """Return the descriptor of a regular file to write to; who writes may truncate it and start again."""
        ...

    def commit(self) -> int:
        """Make the object durable under its name; return its bytes. Once only, whatever the outcome.

        Errors: ObjectExistsError, NoSpaceError, StorageError. A failed sync is final: it is never tried again.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Store(Protocol):
    """A place for objects. Names are relative, `/` between components (`check_object_name`).

    Whatever a method has returned for stays true after a power cut. After an error other than ObjectExistsError an
    object that was being created is absent or whole, as if a reply had been lost.
    """

    def create(self, name: str, data: bytes) -> None:
        """Create an object; durable when this returns.

        Errors: ObjectExistsError (then the object that has the name is durable as well), NoSpaceError, StorageError.
        """
        ...

    def writer(self, name: str) -> ObjectWriter:
        """Return a writer for a large object; the name is taken when it commits."""
        ...

    def read(self, name: str, *, offset: int = 0, byte_count: int | None = None) -> bytes:
        """Return bytes of an object, by default all. Errors: NotFoundError; DamagedError where it is shorter."""
        ...

    def byte_count(self, name: str) -> int:
        """Return the bytes of an object. Errors: NotFoundError."""
        ...

    def list(self, prefix: str) -> list[ObjectEntry]:
        """Return all objects below a folder (`""` is the whole store, `"a"` and `"a/"` are one), sorted by name.

        A folder that cannot be read is an error, never an empty list.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete an object; durable when this returns. One that is missing is no error."""
        ...

    def local_path(self, name: str) -> Path | None:
        """Return the file that holds the object, whether or not it exists; None where objects are no files."""
        ...

    def clock_unix_ms(self) -> int | None:
        """Return the store's own time; None where it has no clock but this machine's."""
        ...


Buffer = bytes | bytearray | memoryview
Value = TypeVar("Value")


@runtime_checkable
class ReplacingStore(Protocol):
    """A store that can put right what is damaged: the one exception to objects being created once (`vark repair`)."""

    def replace(self, name: str, data: Buffer) -> None:
        """Put an object in the place of one of its name, or of none; durable when this returns.

        Readers see the old or the new one. Errors: AccessDeniedError (the store lets nothing be overwritten),
        NoSpaceError, StorageError.
        """
        ...


def read_limited(store: Store, name: str, byte_count_max: int) -> bytes | int:
    """Return a whole object, or how many bytes it has where those are more than `byte_count_max`."""
    limited = getattr(store, "read_limited", None)
    if limited is not None:  # one request where a question for the size would be another
        return limited(name, byte_count_max)  # type: ignore[no-any-return]
    found = store.byte_count(name)
    return found if found > byte_count_max else store.read(name)


def read_ahead(store: Store, names: Iterable[str], byte_count_max: int) -> Iterator[str]:
    """Yield names whose objects will be read by `read_limited`; of a remote store the next ones come meanwhile."""
    ahead = getattr(store, "read_ahead", None)
    return iter(names) if ahead is None else ahead(names, byte_count_max)


@contextmanager
def listing_ahead(store: Store, folders: Sequence[str]) -> Iterator[None]:
    """Have folders of a remote store listed at once, where one listing after another would each take a round trip.

    What this thread lists of them inside the block is as of some moment after the block began; nobody else gets it.
    """
    begin = getattr(store, "begin_lists", None)
    if begin is None:
        yield
        return
    end = begin(folders)
    try:
        yield
    finally:
        end()


def begin(call: Callable[[], Value]) -> Callable[[], Value]:
    """Begin a call that waits for a store; return what waits for its end: it returns what the call did, or raises.

    In a thread of its own, for it may wait for those that make requests.
    """
    future: Future[Value] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="vark-begun", daemon=True).start()
    return future.result


@functools.lru_cache(maxsize=4096)  # a repository asks for the same names again and again
def object_name_fault(name: str) -> str | None:
    """Return why `name` may not name an object, or None when it may."""
    if len(name) > NAME_CHARACTERS_MAX:
        return f"longer than {NAME_CHARACTERS_MAX} characters"
    components = name.split("/")
    if len(components) > COMPONENTS_MAX:
        return f"more than {COMPONENTS_MAX} components"
    for component in components:
        fault = name_fault(component)
        if fault is not None:
            return fault
        if len(component) > COMPONENT_CHARACTERS_MAX:
            return f"a component longer than {COMPONENT_CHARACTERS_MAX} characters"
        if not _COMPONENT.fullmatch(component):
            return "a component that is not letters, digits, '_', '-' and inner '.'"
    return None


def check_object_name(name: str) -> str:
    """Return `name` when it may name an object. Errors: InvalidArgumentError."""
    fault = object_name_fault(name)
    if fault is not None:
        raise InvalidArgumentError(f"object name {name[:80]!r}: {fault}; use another name")
    return name


def check_prefix(prefix: str) -> str:
    """Return a folder prefix with its closing `/`, or `""` for the whole store. Errors: InvalidArgumentError."""
    return check_object_name(prefix.removesuffix("/")) + "/" if prefix else ""


def check_range(name: str, *, offset: int, byte_count: int | None) -> None:
    """Refuse a range that no object can have. Errors: InvalidArgumentError."""
    if offset < 0 or (byte_count is not None and byte_count < 0):
        raise InvalidArgumentError(f"{name}: range {offset} + {byte_count}; neither may be negative")
