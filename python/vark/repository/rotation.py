"""Keys of a sealed repository: who can open it, and from when on (spec CRYPTO 7.3)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from vark.errors import ConflictError, InvalidArgumentError
from vark.keys import Secrets
from vark.repository.context import Context
from vark.repository.envelope import SealedEnvelope
from vark.repository.fields import label_fault
from vark.repository.keystore import next_number, remove_older, write_keys


@dataclass(frozen=True, slots=True)
class KeySlot:
    """One way to open a repository. type: passphrase, recipient, recovery or kms."""

    id: str
    type: str
    recipient: str
    label: str


@dataclass(frozen=True, slots=True)
class KeyEpoch:
    """A time whose objects have one root key."""

    number: int
    created_unix_ms: int
    is_active: bool


@dataclass(frozen=True, slots=True)
class KeysReport:
    """The keys of a repository. authority: who may change them, 64 hexadecimal digits; note it somewhere else.

    opened_by: the slot that opened this time, "" after a change.
    """

    generation: int
    authority: str
    suite: int
    slots: tuple[KeySlot, ...]
    epochs: tuple[KeyEpoch, ...]
    opened_by: str


@dataclass(frozen=True, slots=True)
class KeyChangeReport:
    """What a change of keys did. protects, does_not_protect: in plain words. removed_objects: of older generations."""

    generation: int
    epoch: int
    added: tuple[KeySlot, ...]
    removed: tuple[KeySlot, ...]
    protects: str
    does_not_protect: str
    removed_objects: int


def keys_report(context: Context) -> KeysReport:
    """Tell who can open the repository. Errors: InvalidArgumentError (it is not encrypted)."""
    keys = context.sealed_keys()
    keyring = keys.keyring
    last = keyring.epoch
    return KeysReport(
        generation=keyring.generation,
        authority=bytes(keyring.authority).hex(),
        suite=keyring.suite,
        slots=tuple(KeySlot(*slot) for slot in keyring.slots),
        epochs=tuple(KeyEpoch(number, unix_ms, number == last) for number, unix_ms in keyring.epochs),
        opened_by=keys.slot,
    )


def change_keys(
    context: Context,
    *,
    add: Secrets | None = None,
    label: str = "",
    remove: Sequence[str] = (),
    new_epoch: bool = False,
) -> KeyChangeReport:
    """Write the next generation of keys. Errors: InvalidArgumentError, ConflictError, DamagedError (a slot is lost)."""
    fault = label_fault(label) if label else None
    if fault is not None:
        raise InvalidArgumentError(f"label {label!r}: {fault}")
    before = keys_report(context)
    removed = tuple(_chosen(before, text) for text in remove)
    if removed and len({slot.id for slot in removed}) == len(before.slots) and add is None:
        raise InvalidArgumentError("all key slots would be gone, and the data with them; add another first")
    number = next_number(context.store)
    keys = context.sealed_keys()
    if number != before.generation + 1 + len(keys.unfinished):
        raise ConflictError("keys were changed meanwhile; open the repository again")
    written = keys.keyring.next(
        number,
        list(keys.slots),
        unix_ms=time.time_ns() // 1_000_000,
        add=add,
        label=label,
        remove=[slot.id for slot in removed],
        new_epoch=new_epoch,
        signers=None,
    )
    made = write_keys(context.store, written)
    assert context.history is not None
    # What this client has just made is what it trusts.
    context.history.check_keys(made, authority=None, trust=True)
    context.keys = made
    context.engine.keyring = made.keyring
    context.replace_envelope(SealedEnvelope(context.id, made.keyring))
    gone = remove_older(context.store, number)
    known = {slot.id for slot in before.slots}
    added = tuple(slot for slot in keys_report(context).slots if slot.id not in known)
    protects, not_protected = _meaning(removed, new_epoch)
    return KeyChangeReport(number, made.keyring.epoch, added, removed, protects, not_protected, gone)


def _chosen(report: KeysReport, text: str) -> KeySlot:
    """Return the slot of an id, its first digits, or a label."""
    found = [slot for slot in report.slots if text and (slot.id.startswith(text) or slot.label == text)]
    if len(found) != 1:
        known = ", ".join(f"{slot.id[:12]} ({slot.label or slot.type})" for slot in report.slots)
        raise InvalidArgumentError(f"key slot {text!r}: {len(found)} of them fit; there are {known}")
    return found[0]


def _meaning(removed: Sequence[KeySlot], new_epoch: bool) -> tuple[str, str]:
    if removed:
        return (
            "what is written from now on: a new epoch and a new authority have begun",
            "what was written before: who had the slot may have kept the keys, and reads old objects that are left",
        )
    if new_epoch:
        return "what is written from now on, should an older root key get known", "older data"
    return "nothing more: one more way opens the same data", "nothing less than before"
