"""Key objects of a sealed repository: each kept three times, a generation written whole or not at all.

Spec CRYPTO 7. Bytes go to the engine and come from it; no key is ever seen here.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from vark.errors import (
    ConflictError,
    DamagedError,
    KeyNeededError,
    NotFoundError,
    ObjectExistsError,
    UnsupportedError,
    VarkError,
    WrongKeyError,
)
from vark.keys import NO_SECRETS, Keyring, Secrets
from vark.kms import KeyService, opened_slots
from vark.repository.digest import digest_hex
from vark.repository.fields import decode_record
from vark.repository.layout import GENERATION_MAX, KEY_COPIES, KEYS, key_name, key_of
from vark.repository.objects import read_object, remove
from vark.stores import Store

KEYRING = "keyring"
Written = tuple[Keyring, list[tuple[str, bytes]], bytes]
# What another copy may be free of: where the one slot that fits is damaged, a key seems to be needed.
_REFUSALS = (DamagedError, KeyNeededError, WrongKeyError, UnsupportedError)


@dataclass(frozen=True, slots=True)
class OpenKeys:
    """Keys that were opened. digest: BLAKE3 of the keyring's object.

    slot: which one opened. anchor: the authority for which its maker vouched, None of a recipient. unfinished: later
    generations that nobody finished.
    """

    keyring: Keyring
    digest: str
    slot: str
    anchor: bytes | None
    unfinished: tuple[int, ...] = ()


@dataclass(slots=True)
class _Generation:
    keyring: list[str] = field(default_factory=list)
    slots: dict[str, list[str]] = field(default_factory=dict)


def open_keys(
    store: Store, repository: str, suite: int, secrets: Secrets | None, services: Sequence[KeyService] = ()
) -> OpenKeys:
    """Open the keyring that is in force. services: asked when no other secret fits.

    Errors: KeyUnavailableError; KeyNeededError, WrongKeyError, DamagedError (no copy is whole), UnsupportedError.
    """
    failure: VarkError | None = None
    if secrets is not None or not services:
        try:
            return _open(store, repository, suite, secrets or NO_SECRETS)
        except (KeyNeededError, WrongKeyError) as error:
            if not services:
                raise
            failure = error
    slots = []
    for data in _slots(store):
        with contextlib.suppress(DamagedError):  # another copy may be whole
            slots.append(decode_record(data, place="key slot"))
    opened = opened_slots(services, repository, slots)
    if not opened and failure is not None:
        raise failure
    return _open(store, repository, suite, (None, (), None, opened))


def _slots(store: Store) -> list[bytes]:
    """Return the slots of the generation in force, each copy that differs."""
    generations = _list(store)
    number = max((number for number, found in generations.items() if found.keyring), default=0)
    found = generations.get(number, _Generation())
    return [data for names in found.slots.values() for data in _whole(store, names, None, KEY_COPIES)]


def _open(store: Store, repository: str, suite: int, secrets: Secrets) -> OpenKeys:
    generations = _list(store)
    complete = [number for number, found in generations.items() if found.keyring]
    if not complete:
        raise DamagedError(f"{KEYS}: no keyring is there; restore it from another copy", layer="seal")
    number = max(complete)
    found = generations[number]
    unfinished = tuple(sorted(later for later in generations if later > number))
    failures: list[VarkError] = []
    tried: set[tuple[bytes, ...]] = set()
    for most in (1, KEY_COPIES):  # the first copy of each; all of them only where those do not do
        slots = {slot: _whole(store, names, None, most) for slot, names in found.slots.items()}
        keyrings = _whole(store, found.keyring, failures, most)
        for variant in range(max(len(copies) for copies in [*slots.values(), [b""]])):
            chosen = [copies[min(variant, len(copies) - 1)] for copies in slots.values() if copies]
            for data in keyrings:
                if (data, *chosen) in tried:
                    continue
                tried.add((data, *chosen))
                try:
                    keyring, slot, anchor = Keyring.open(
                        bytes.fromhex(repository), number, data, chosen, secrets, suite=suite
                    )
                except _REFUSALS as error:
                    failures.append(_placed(error, number))
                    continue
                vouched = None if anchor is None else bytes(anchor)
                return OpenKeys(keyring, digest_hex(data), slot, vouched, unfinished)
    raise _first(failures)


def slots_of(store: Store, keyring: Keyring, *, without: Collection[str]) -> list[bytes]:
    """Return the objects of a keyring's slots but those `without`, each as most of its copies have it.

    The next generation is made of them, and nothing but its secret proves a slot. Errors: DamagedError.
    """
    found = _list(store).get(keyring.generation, _Generation())
    objects = []
    for slot, _, _, label in keyring.slots:
        if slot in without:
            continue
        copies = Counter(_readable(store, found.slots.get(slot, [])))
        (best, count), *others = copies.most_common() or [(b"", 0)]
        if others and count == others[0][1]:
            raise DamagedError(
                f"key slot {slot} ({label or 'no label'}): its copies differ, and none is there twice; remove it, and "
                "add it anew",
                layer="seal",
            )
        objects += [best] if best else []
    return objects


def write_keys(store: Store, written: Written) -> OpenKeys:
    """Create the objects of a new generation, durably: slots first, then the keyring, whose copy 2 decides.

    Errors: ConflictError (another rotation was faster; nothing has changed), StorageError.
    """
    keyring, slots, data = written
    number = keyring.generation
    for slot, content in slots:
        for copy in range(KEY_COPIES):
            store.create(key_name(number, slot, copy), content)
    for copy in reversed(range(KEY_COPIES)):
        name = key_name(number, KEYRING, copy)
        try:
            store.create(name, data)
        except ObjectExistsError as error:
            # Our own, when an earlier attempt landed and its reply was lost.
            if read_object(store, name) != data:
                raise ConflictError(f"{name}: another change of keys was faster; look, and try again") from error
    return OpenKeys(keyring, digest_hex(data), "", bytes(keyring.authority))


def newest_generation(store: Store) -> int:
    """Return the highest generation that has a keyring, 0 without any."""
    return max((number for number, found in _list(store).items() if found.keyring), default=0)


def next_number(store: Store) -> int:
    """Return the number after the highest generation of which there is any object. Errors: DamagedError."""
    number = max(_list(store), default=0) + 1
    if number > GENERATION_MAX:
        raise DamagedError(
            f"{KEYS}/{number - 1:020d}: no generation of keys can come after it; somebody put it there: delete it"
        )
    return number


def remove_older(store: Store, generation: int) -> tuple[int, int]:
    """Delete the objects of generations before this one; return how many, and how many the store keeps.

    What is finished later is left alone.
    """
    names = [entry.name for entry in store.list(KEYS)]
    old = [name for name in names if (found := key_of(name)) is not None and found[0] < generation]
    kept = sum(not remove(store, name) for name in old)
    return len(old) - kept, kept


def _list(store: Store) -> dict[int, _Generation]:
    found: dict[int, _Generation] = {}
    for entry in sorted(store.list(KEYS), key=lambda entry: entry.name):
        parts = key_of(entry.name)
        if parts is None:
            continue
        generation = found.setdefault(parts[0], _Generation())
        if parts[1] == KEYRING:
            generation.keyring.append(entry.name)
        else:
            generation.slots.setdefault(parts[1], []).append(entry.name)
    return found


def _whole(store: Store, names: list[str], failures: list[VarkError] | None, most: int) -> list[bytes]:
    """Return the different contents of the copies that can be read, in the order of the copies, from `most` of them."""
    return list(dict.fromkeys(islice(_readable(store, names, failures), most)))


def _readable(store: Store, names: list[str], failures: list[VarkError] | None = None) -> Iterator[bytes]:
    """Yield the contents of the copies that can be read."""
    for name in names:
        try:
            yield read_object(store, name)
        except (NotFoundError, DamagedError) as error:
            if failures is not None:
                failures.append(error)


def _placed(error: VarkError, generation: int) -> VarkError:
    """Return what is wrong with a copy, and where; that no key fits is wrong with none of them."""
    if isinstance(error, (KeyNeededError, WrongKeyError)):
        return error
    return type(error)(f"{KEYS}/{generation:020d}: {error.message}", code=error.code, layer=error.layer)


def _first(failures: list[VarkError]) -> VarkError:
    """Return what to say: that nothing fits outranks a damaged copy, for then no other copy would help."""
    by_rank: Mapping[type[VarkError], int] = {KeyNeededError: 0, WrongKeyError: 1}
    return min(failures, key=lambda error: by_rank.get(type(error), 2))
