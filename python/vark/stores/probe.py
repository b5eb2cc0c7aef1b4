"""What a store can be relied on for: tried out, on objects made for it, rather than believed."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from dataclasses import dataclass

from vark.errors import AccessDeniedError, NotFoundError, ObjectExistsError, StoreUnavailableError, VarkError
from vark.stores.base import Store
from vark.stores.locks import LockRules, locks_of
from vark.stores.remote import RemoteStore

FOLDER = "doctor"
RACERS = 8
ROUNDS = 12  # of such races. A gateway that looks first and then writes gives names twice in most of them, not in all
ROUNDS_AGAIN = 3  # where a probe before has found none that was given twice
ATTEMPTS = 30
CLOCK_OFFSET_MS_MAX = 5 * 60 * 1000  # providers refuse signatures that are further off
_PAUSE_SECONDS = 0.1
_DATA = bytes(range(256)) * 16


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found. None: it could not be told.

    create_only: a name is given once, also to one of eight at once. read_after_write, list_after_write: what was
    created is seen at once. ranges: parts of objects are served. deletes: they are allowed, and seen at once.
    checksums: bytes that do not fit their checksum are refused. versioned: old versions are kept. clock_offset_ms: how
    much the store's clock is ahead of this machine's. object_lock: objects can be kept from being deleted until a time.
    default_mode, default_days: what each new object gets by itself, where there is such a rule.
    """

    create_only: bool
    read_after_write: bool
    list_after_write: bool
    ranges: bool
    deletes: bool | None
    checksums: bool | None
    versioned: bool | None
    clock_offset_ms: int | None
    object_lock: bool | None = None
    default_mode: str | None = None
    default_days: int | None = None

    @property
    def is_collectable(self) -> bool:
        """Return whether a collector may run: all that its protocol relies on is there."""
        return self.create_only and self.read_after_write and self.list_after_write

    def faults(self) -> list[str]:
        """Return what is missing for a collection, in plain words."""
        found = []
        if not self.create_only:
            found.append("a name can be given twice, so two collections could not tell who was first")
        if not self.read_after_write:
            found.append("what was created cannot be read at once")
        if not self.list_after_write:
            found.append("what was created is not listed at once")
        return found

    def _lock_words(self) -> str:
        if self.object_lock is None:
            return "not known (S3 is asked by boto3, of vark[s3]; for Google and Azure look at the bucket's own rules)"
        if not self.object_lock:
            return "NO"
        rule = f"{self.default_mode}, {self.default_days} days" if self.default_days else "none; see `vark lock`"
        return f"yes; what a new object gets by itself: {rule}"

    def lines(self) -> list[str]:
        """Return all that was found, a sentence each."""
        say = {True: "yes", False: "NO", None: "not known"}
        only_adds = {True: "NO", False: "yes, these credentials may not delete", None: "not known"}
        offset = "not known" if self.clock_offset_ms is None else f"{self.clock_offset_ms / 1000:+.0f} s"
        far = self.clock_offset_ms is not None and abs(self.clock_offset_ms) > CLOCK_OFFSET_MS_MAX
        collect = "safe" if self.is_collectable else f"REFUSED: {'; '.join(self.faults())}"
        reads = "safe, by ranges" if self.ranges else "safe, but ranges are not served: whole volumes are fetched"
        return [
            f"a name is given once ({RACERS} at once): {say[self.create_only]}",
            f"what was created is read at once: {say[self.read_after_write]}",
            f"what was created is listed at once: {say[self.list_after_write]}",
            f"ranges are served: {say[self.ranges]}",
            f"deleting is allowed and seen at once: {say[self.deletes]}",
            f"append-only: {only_adds[self.deletes]}",
            f"bytes with a wrong checksum are refused: {say[self.checksums]}",
            f"old versions are kept (versioning): {say[self.versioned]}",
            f"object lock: {self._lock_words()}",
            f"clock against this machine's: {offset}{' - set the clock of this machine' if far else ''}",
            "backup, tag, hold: safe",
            f"restore, verify, cat: {reads}",
            f"gc, forget: {collect}",
        ]


def probe(store: Store, *, was_create_only: bool | None = None) -> Probe:
    """Try a store out. Objects of it are made below `doctor/` and deleted again.

    was_create_only: what a probe before has found, None where there was none. Where deleting is refused, some twenty
    small ones are left the first time, and later probes take those: what only a new name can tell (who wins a race for
    it, the clock) is not tried again, so there a name that was given twice once is held against the store for ever.
    Errors: those of a store that cannot be written to.
    """
    kept = f"{FOLDER}/probe-kept"
    canary = f"{kept}/canary"
    with contextlib.suppress(ObjectExistsError):
        store.create(canary, _DATA)
    deletes = _may_delete(store, canary)
    folder = kept if deletes is False else f"{FOLDER}/probe-{secrets.token_hex(8)}"
    made: list[str] = []

    def name(what: str) -> str:
        made.append(f"{folder}/{what}")
        return made[-1]

    rules = _rules(store)
    try:
        first = name("data")
        start_ms = time.time_ns() // 1_000_000
        is_new = _created(store, first, _DATA)
        is_known = deletes is False and was_create_only is False
        round_count = ROUNDS_AGAIN if was_create_only else ROUNDS
        create_only = (
            not is_known
            and _is_given_once(store, name("twice"))
            and all(_has_one_winner(store, name(f"race-{number}")) for number in range(round_count))
        )
        return Probe(
            create_only=create_only,
            read_after_write=_is_seen(store, first) and all(_is_seen(store, name(f"seen-{n}"), n) for n in range(3)),
            list_after_write=set(made) <= {entry.name for entry in store.list(folder)},
            ranges=_serves_ranges(store, first),
            clock_offset_ms=_clock_offset(store, folder, start_ms) if is_new else None,
            versioned=_is_versioned(store, first, rules),
            checksums=_refuses_wrong_checksum(store, name("checksum")),
            deletes=deletes if deletes is False else _may_delete(store, first),
            object_lock=rules.object_lock,
            default_mode=rules.default_mode,
            default_days=rules.default_days,
        )
    finally:
        for item in made if deletes is not False else ():
            with contextlib.suppress(VarkError):
                store.delete(item)


def _rules(store: Store) -> LockRules:
    locks = locks_of(store)
    return LockRules(None, None) if locks is None else locks.rules()


def _refuses_wrong_checksum(store: Store, name: str) -> bool | None:
    if not isinstance(store, RemoteStore):
        return None
    try:
        store.byte_count(name)
    except NotFoundError:
        return store.refuses_wrong_checksum(name)
    return False  # left by a probe before: it was taken then


def _is_versioned(store: Store, name: str, rules: LockRules) -> bool | None:
    if rules.versioned is not None or not isinstance(store, RemoteStore):
        return rules.versioned
    return store.is_versioned(name)


def _created(store: Store, name: str, data: bytes) -> bool:
    """Create an object, unless it is there from a probe before; return whether it is new."""
    try:
        store.create(name, data)
    except ObjectExistsError:
        return False
    return True


def _try(store: Store, name: str, data: bytes) -> bool | None:
    """Create by the store's own means, without looking whether the name is free. None: nobody knows what came of it."""
    try:
        if isinstance(store, RemoteStore):
            store.create_once(name, data)
        else:
            store.create(name, data)
    except ObjectExistsError:
        return False
    except StoreUnavailableError:
        return None
    return True


def _is_given_once(store: Store, name: str) -> bool:
    _created(store, name, b"first")
    for _ in range(ATTEMPTS):
        done = _try(store, name, b"second")
        if done is not None:
            return not done and store.read(name) == b"first"
        time.sleep(_PAUSE_SECONDS)
    raise StoreUnavailableError(f"{name}: {ATTEMPTS} requests without a reply; run it again later")


def _has_one_winner(store: Store, name: str) -> bool:
    """Let several threads create one name at once."""
    start = threading.Barrier(RACERS)
    said: list[bool | None] = [None] * RACERS
    failures: list[Exception] = []

    def race(number: int) -> None:
        start.wait()
        try:
            said[number] = _try(store, name, b"%d" % number)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=race, args=(number,), daemon=True) for number in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    won = [number for number, done in enumerate(said) if done]
    # Without a winner, replies were lost: the name is taken by one that does not know it, or by none.
    return len(won) <= 1 and all(store.read(name) == b"%d" % number for number in won)


def _is_seen(store: Store, name: str, number: int | None = None) -> bool:
    try:
        if number is None:
            return store.read(name) == _DATA
        with contextlib.suppress(NotFoundError):
            store.read(name)  # a store that remembers what is missing is the one to find
        _created(store, name, b"%d" % number)
        return store.read(name) == b"%d" % number
    except NotFoundError:
        return False


def _serves_ranges(store: Store, name: str) -> bool:
    served = store.read(name, offset=100, byte_count=1000) == _DATA[100:1100]
    return served and (store.serves_ranges if isinstance(store, RemoteStore) else True)


def _clock_offset(store: Store, folder: str, start_ms: int) -> int | None:
    entries = store.list(folder)
    return None if not entries else min(entry.modified_unix_ms for entry in entries) - start_ms


def _may_delete(store: Store, name: str) -> bool | None:
    try:
        store.delete(name)
        store.byte_count(name)
    except NotFoundError:
        return True
    except AccessDeniedError:
        return False
    return None  # it is kept, or still seen
