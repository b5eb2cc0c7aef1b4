"""Keys of a sealed repository: who can open it, and from when on (spec CRYPTO 7.3)."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vark.errors import ConflictError, InvalidArgumentError
from vark.keys import Secrets
from vark.repository.context import Context
from vark.repository.envelope import SealedEnvelope
from vark.repository.fields import label_fault, new_salt
from vark.repository.keystore import next_number, remove_older, slots_of, write_keys

_HEX = re.compile("[0-9a-fA-F]{64}")


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
class KeySigner:
    """Who signs commits. key: Ed25519 public key, 64 hexadecimal digits. is_write_only: can read nothing back."""

    name: str
    key: str
    is_write_only: bool
    revoked_unix_ms: int | None


@dataclass(frozen=True, slots=True)
class SignerReport:
    """A new signer. content: of its file, secret, and kept nowhere else."""

    generation: int
    signer: KeySigner
    content: bytes = field(repr=False, metadata={"secret": True})


@dataclass(frozen=True, slots=True)
class RevokeReport:
    """A signer that was revoked. kept: its snapshots that were vouched for."""

    generation: int
    signer: KeySigner
    kept: tuple[str, ...]


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
    signers: tuple[KeySigner, ...]
    opened_by: str


@dataclass(frozen=True, slots=True)
class KeyChangeReport:
    """What a change of keys did. protects, does_not_protect: in plain words.

    removed_objects: of older generations. kept_objects: of those, what the store does not let go (a lock, credentials).
    """

    generation: int
    epoch: int
    added: tuple[KeySlot, ...]
    removed: tuple[KeySlot, ...]
    protects: str
    does_not_protect: str
    removed_objects: int
    kept_objects: int = 0


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
        signers=tuple(_signer(entry) for entry in keyring.signers),
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
    gone = _rotate(
        context, add=add, label=label, remove=[slot.id for slot in removed], new_epoch=new_epoch, signers=None
    )
    after, known = keys_report(context), {slot.id for slot in before.slots}
    added = tuple(slot for slot in after.slots if slot.id not in known)
    writers = [entry[0] for entry in context.sealed_keys().keyring.signers if entry[2] and entry[3] is None]
    protects, not_protected = _meaning(removed, new_epoch, writers)
    if gone[1]:
        not_protected += (
            f"; {gone[1]} key objects of before, which the store does not let go: older keys still open them"
        )
    return KeyChangeReport(
        after.generation, context.sealed_keys().keyring.epoch, added, removed, protects, not_protected, *gone
    )


def add_signer(context: Context, name: str, *, write_only: bool) -> SignerReport:
    """Enter a new signer; return the content of its file. Errors: InvalidArgumentError (the name is taken)."""
    fault = label_fault(name)
    if fault is not None:
        raise InvalidArgumentError(f"signer {name!r}: {fault}")
    keyring = context.sealed_keys().keyring
    if any(entry[0] == name and entry[3] is None for entry in keyring.signers):
        raise InvalidArgumentError(f"signer {name!r}: is entered already; revoke it first, or choose another name")
    entry, content = keyring.new_signer(name, write_only=write_only)
    _rotate(context, add=None, label="", remove=[], new_epoch=False, signers=[*keyring.signers, entry])
    return SignerReport(context.sealed_keys().keyring.generation, _signer(entry), content)


def revoke_signer(context: Context, name: str, *, keep: bool) -> RevokeReport:
    """Revoke a signer. keep: what a write-only one made, and this client can read, is vouched for first.

    Without that it is refused from then on, and collected.
    Errors: InvalidArgumentError (no such signer), ConflictError.
    """
    keyring, now = context.sealed_keys().keyring, time.time_ns() // 1_000_000
    found = [entry for entry in keyring.signers if entry[0] == name and entry[3] is None]
    if not found:
        raise InvalidArgumentError(f"signer {name!r}: not entered, or revoked already")
    kept = tuple(_adopted(context, {bytes(entry[1]).hex() for entry in found if entry[2]})) if keep else ()
    changed = [(*entry[:3], now) if entry in found else entry for entry in keyring.signers]
    _rotate(context, add=None, label="", remove=[], new_epoch=False, signers=changed)
    return RevokeReport(context.sealed_keys().keyring.generation, _signer((*found[0][:3], now)), kept)


def _adopted(context: Context, keys: Collection[str]) -> Iterator[str]:
    """Write commits of our own in the place of those that these signers made; yield the snapshots."""
    catalog = context.reader.read(strict=True)
    for snapshot in catalog.snapshots:
        old = catalog.commits[snapshot.commit]
        if snapshot.void or old.provenance.signer not in keys:
            continue
        generation = context.reader.administrations.read().generation
        new = replace(
            old, root_generation=generation, heads=(snapshot.commit,), replaces=snapshot.commit, salt=new_salt()
        )
        context.create_commit(new, new.encode(context.envelope))
        if not context.safe(tuple(new.needed())):  # W4
            raise ConflictError(f"snapshot {snapshot.id[:12]}: a collection is freeing what it needs; try again")
        context.mark(catalog, "forget", snapshot.id, commit=snapshot.commit, reason="vouched for")
        yield snapshot.id


def signing_keys(context: Context, texts: Sequence[str]) -> frozenset[str]:
    """Return public keys (hex) that are given in hex, as minisign writes them, or by a signer's name.

    Errors: InvalidArgumentError.
    """
    found = set()
    for text in texts:
        key = text.lower() if _HEX.fullmatch(text) else _minisign(text)
        if key is None:
            named = [entry for entry in context.sealed_keys().keyring.signers if entry[0] == text]
            if not named:
                raise InvalidArgumentError(f"signer {text[:60]!r}: no public key, and no signer of that name")
            found |= {bytes(entry[1]).hex() for entry in named}
        else:
            found.add(key)
    if found:
        context.sealed_keys()  # only records of an encrypted repository are signed
    return frozenset(found)


def _minisign(text: str) -> str | None:
    """Return the key of a public key of minisign: `Ed`, 8 bytes of id, the key, in base64."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data[10:].hex() if len(data) == 42 and data.startswith(b"Ed") else None


def _rotate(context: Context, **change: Any) -> tuple[int, int]:
    """Write the next generation of keys and use it; return how many older objects were deleted, and how many stay."""
    keys = context.sealed_keys()
    number = next_number(context.store)
    if number != max(keys.keyring.generation, *keys.unfinished, 0) + 1:
        raise ConflictError("keys were changed meanwhile; open the repository again")
    written = keys.keyring.next(
        number,
        slots_of(context.store, keys.keyring, without=change["remove"]),
        unix_ms=time.time_ns() // 1_000_000,
        **change,
    )
    made = write_keys(context.store, written)
    assert context.history is not None
    # What this client has just made is what it trusts.
    context.history.check_keys(made, authority=None, trust=True)
    context.keys = made
    context.engine.keyring = made.keyring
    assert isinstance(context.envelope, SealedEnvelope)
    context.replace_envelope(context.envelope.with_keyring(made.keyring))
    return remove_older(context.store, number)


def _signer(entry: tuple[str, bytes, bool, int | None]) -> KeySigner:
    name, key, write_only, revoked = entry
    return KeySigner(name, bytes(key).hex(), write_only, revoked)


def _chosen(report: KeysReport, text: str) -> KeySlot:
    """Return the slot of an id, its first digits, or a label."""
    found = [slot for slot in report.slots if text and (slot.id.startswith(text) or slot.label == text)]
    if len(found) != 1:
        known = ", ".join(f"{slot.id[:12]} ({slot.label or slot.type})" for slot in report.slots)
        raise InvalidArgumentError(f"key slot {text!r}: {len(found)} of them fit; there are {known}")
    return found[0]


def _meaning(removed: Sequence[KeySlot], new_epoch: bool, writers: Sequence[str]) -> tuple[str, str]:
    """Say what a change protects and what not. writers: who are write-only, with the epoch of their files."""
    later = f"; what the write-only {', '.join(writers)} write until they get new files" if writers else ""
    if removed:
        return (
            "what is written from now on: a new epoch and a new authority have begun",
            "what was written before: who had the slot may have kept the keys, and reads old objects that are left"
            + later,
        )
    if new_epoch:
        return "what is written from now on, should an older root key get known", f"older data{later}"
    return "nothing more: one more way opens the same data", "nothing less than before"
