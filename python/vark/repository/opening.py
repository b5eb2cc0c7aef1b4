"""A repository made or opened: its marker, and the way in: plain, or with keys and a memory of what was seen."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from vark.errors import (
    DamagedError,
    HistoryAlteredError,
    InvalidArgumentError,
    KeyNeededError,
    NotFoundError,
    ObjectExistsError,
    RepositoryNotFoundError,
    TargetExistsError,
    VarkError,
    WrongKeyError,
)
from vark.keys import NO_SECRETS, Keyring, Secrets, Signer
from vark.kms import KeyService, new_slots
from vark.repository.context import Context
from vark.repository.engine import Engine
from vark.repository.envelope import Envelope, SealedEnvelope, WriteOnlyEnvelope
from vark.repository.fields import Fields, decode_record
from vark.repository.history import History
from vark.repository.keystore import OpenKeys, open_keys, write_keys
from vark.repository.layout import KEYS, MARKER, key_of
from vark.repository.objects import read_object
from vark.repository.records import Marker
from vark.repository.state import ClientState, Forgetful, remember_place, was_sealed
from vark.stores import LocalStore, Store
from vark.stores.urls import adopt_store, is_library_store, is_url, open_store

Place = str | PathLike[str] | Store
_DIGEST = re.compile("[0-9a-f]{64}")
SUITES = {"aes-256-gcm": 1, "chacha20-poly1305": 2}
VOLUME_BYTES_MIN, VOLUME_BYTES_MAX = 1 << 20, 512 << 20  # of an encrypted repository, whose marker nothing proves
NOTHING_TO_SEAL = (
    "a repository is encrypted unless you say otherwise: give a passphrase, recipients or a recovery code, "
    'or encryption="none" (on the command line: --passphrase, --recipient …, or --encryption none)'
)


@dataclass(frozen=True, slots=True)
class Trust:
    """How much a caller believes of what it finds. authority, head: what it was told, to be compared.

    trust: believe the authority over keys. accept_history: believe what is found, whatever was seen before, but for an
    authority to which nothing leads. forgetful: compare with nothing that was seen, and keep nothing of what is.
    """

    authority: str | None = None
    head: str | None = None
    trust: bool = False
    accept_history: bool = False
    forgetful: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """A repository's marker and context. warnings: what is odd, but no error."""

    marker: Marker
    context: Context
    warnings: tuple[str, ...] = ()


def create(
    place: Place,
    *,
    volume_bytes: int | None,
    seal: Secrets | None,
    services: Sequence[KeyService],
    kms_alone: bool,
    encryption: str | None,
    engine: Engine | None,
) -> Opened:
    """Make a repository. Errors: TargetExistsError, InvalidArgumentError."""
    if services and seal is None and encryption != "none":
        if not kms_alone:
            raise InvalidArgumentError(
                "a KMS key alone: when it is lost so are the data. Add a passphrase, a recipient or a recovery code, "
                "or say that you mean it (kms_alone=True, --kms-alone)"
            )
        seal = NO_SECRETS
    if services and encryption == "none":
        raise InvalidArgumentError('encryption="none", and a KMS key was given; leave out one of them')
    suite = _suite(seal, encryption)
    if suite is not None and (volume_bytes or 0) > VOLUME_BYTES_MAX:
        raise InvalidArgumentError(f"volume_bytes: {volume_bytes}; at most {VOLUME_BYTES_MAX} where it is encrypted")
    store = store_of(place)
    names = [entry.name for entry in store.list("")]
    if MARKER in names:
        raise TargetExistsError(f"{shown(place)}: there is a repository already; open it")
    if names and all(key_of(name) for name in names):
        raise TargetExistsError(
            f"{shown(place)}: keys of a repository that nobody finished to make; delete {KEYS}/ first"
        )
    if names:
        raise TargetExistsError(f"{shown(place)}: not empty; choose an empty folder or prefix")
    now = time.time_ns() // 1_000_000
    repository = secrets.token_hex(16)
    fingerprint_key = secrets.token_hex(32) if suite is None else None
    marker = Marker(repository, fingerprint_key, now, volume_bytes, suite)
    keys = None
    if suite is not None and seal is not None:
        seal = (*seal[:3], new_slots(services, repository))
        # Before the marker: a repository without its keys must not exist.
        keys = write_keys(store, Keyring.create(bytes.fromhex(repository), seal, suite=suite, unix_ms=now))
    try:
        store.create(MARKER, marker.encode())
    except ObjectExistsError as error:
        raise TargetExistsError(f"{shown(place)}: there is a repository already; open it") from error
    remember_place(_remembered(place, store), is_sealed=keys is not None)
    if keys is None:
        return Opened(marker, _plain(store, marker, engine))
    return _sealed(store, marker, keys, Trust(trust=True), engine)


def open_(
    place: Place,
    *,
    secrets: Secrets | None,
    signer: Signer | None,
    services: Sequence[KeyService] = (),
    trust: Trust,
    rescue: bool,
    engine: Engine | None,
) -> Opened:
    """Open a repository. Errors: RepositoryNotFoundError, DamagedError, KeyNeededError, WrongKeyError."""
    for what, text in (("authority", trust.authority), ("head", trust.head)):
        if text is not None and not _DIGEST.fullmatch(text):
            raise InvalidArgumentError(f"{what} {text[:80]!r}: expected 64 hexadecimal digits")
    store = store_of(place)
    try:
        marker = Marker.decode(read_object(store, MARKER), place=MARKER)
    except NotFoundError as error:
        if not rescue or not store.list("commits"):
            raise RepositoryNotFoundError(
                f"{shown(place)}: no repository; `vark init` makes one", code="no-repository"
            ) from error
        marker = _rescued(store)
    except VarkError:
        if not rescue:
            raise
        marker = _rescued(store)
    if marker.suite is None:
        if secrets is not None or signer is not None or services:
            raise DamagedError(
                f"{shown(place)}: it is not encrypted, though a key was given; somebody may have put another "
                "repository in the place of yours. Open it without a key if it never was encrypted",
                layer="seal",
            )
        where = _remembered(place, store)
        if trust.accept_history:
            remember_place(where, is_sealed=False)
        elif was_sealed(marker.id, where):
            raise HistoryAlteredError(
                f"{shown(place)}: it is not encrypted any more, though it was when this client saw it; somebody may "
                "have put another repository in the place of yours. Look at another copy; accept the history as it is "
                "only if you know why"
            )
        return Opened(marker, _plain(store, marker, engine))
    remember_place(_remembered(place, store), is_sealed=True)
    if signer is not None and bytes(signer.repository).hex() != marker.id:
        raise WrongKeyError(f"{shown(place)}: the signer file is of another repository")
    if secrets is None and not services and signer is not None and signer.is_write_only:
        return _write_only(store, marker, signer, trust, engine)
    if secrets is None and not services:
        raise KeyNeededError(f"{shown(place)}: is encrypted; give a passphrase, an identity file or a recovery code")
    try:
        keys = open_keys(store, marker.id, marker.suite, secrets, services)
    except (KeyNeededError, WrongKeyError) as error:
        raise type(error)(f"{shown(place)}: {error.message}", code=error.code, layer=error.layer) from error
    return _sealed(store, marker, keys, trust, engine, signer)


def _suite(seal: Secrets | None, encryption: str | None) -> int | None:
    if encryption == "none":
        if seal is not None:
            raise InvalidArgumentError('encryption="none", and a key was given; leave out one of them')
        return None
    if seal is None:
        raise InvalidArgumentError(NOTHING_TO_SEAL)
    suite = SUITES.get(encryption or "aes-256-gcm")
    if suite is None:
        raise InvalidArgumentError(f"encryption {encryption!r}; expected none, {' or '.join(SUITES)}")
    return suite


def _plain(store: Store, marker: Marker, engine: Engine | None) -> Context:
    key = bytes.fromhex(marker.fingerprint_key or "")
    return Context(store, marker.id, key, marker.volume_bytes, engine or Engine(), Envelope(marker.id or None))


def _write_only(store: Store, marker: Marker, signer: Signer, trust: Trust, engine: Engine | None) -> Opened:
    engine = engine or Engine()
    engine.keyring = signer
    history = History(ClientState(marker.id, is_unproved=True), accept=trust.accept_history, head=trust.head)
    envelope = WriteOnlyEnvelope(marker.id, signer)
    context = Context(store, marker.id, b"", _volume_bytes(marker), engine, envelope, None, history, True, True)
    return Opened(marker, context)


def _sealed(
    store: Store,
    marker: Marker,
    keys: OpenKeys,
    trust: Trust,
    engine: Engine | None,
    signer: Signer | None = None,
) -> Opened:
    state = Forgetful(marker.id) if trust.forgetful else ClientState(marker.id)
    history = History(state, accept=trust.accept_history, head=trust.head)
    known = history.check_keys(keys, authority=trust.authority, trust=trust.trust)
    engine = engine or Engine()
    engine.keyring = keys.keyring
    envelope = SealedEnvelope(marker.id, keys.keyring, signer, history.is_late)
    context = Context(store, marker.id, b"", _volume_bytes(marker), engine, envelope, keys, history, known)
    warnings = [
        f"key generation {number} was not finished; {keys.keyring.generation} is in force" for number in keys.unfinished
    ]
    if not known:
        warnings.append(
            f"nothing vouches for the authority of this repository, {bytes(keys.keyring.authority).hex()}: this client "
            "sees it for the first time, and trusts what it finds"
        )
    return Opened(marker, context, tuple(warnings))


def _volume_bytes(marker: Marker) -> int | None:
    """Return where archives are cut. Nothing proves the marker: it must cost neither memory nor a request a byte."""
    given = marker.volume_bytes
    return None if given is None else min(max(given, VOLUME_BYTES_MIN), VOLUME_BYTES_MAX)


def _rescued(store: Store) -> Marker:
    """Return a marker in the place of one that is lost: only reading is possible then, unless keys say who it is."""
    for entry in store.list(KEYS):
        found = key_of(entry.name)
        if found is None or found[1] != "keyring":
            continue
        with contextlib.suppress(DamagedError, NotFoundError):  # another copy will do
            fields = Fields(decode_record(read_object(store, entry.name), place=entry.name), place=entry.name)
            return Marker(fields.hexadecimal("repository", 32), None, 0, None, SUITES["aes-256-gcm"])
    return Marker("", "", 0, None)


def _remembered(place: Place, store: Store) -> str:
    """Return what a client remembers of a place: where its bytes are, "" where it has no name."""
    if isinstance(store, LocalStore):
        return os.path.realpath(store.root)
    return str(place).rstrip("/") if is_url(place) else ""


def store_of(place: Place, options: Mapping[str, Any] | None = None) -> Store:
    """Return the store that a place is. Errors: InvalidArgumentError."""
    if is_url(place):
        return open_store(str(place), options)
    if is_library_store(place):
        return adopt_store(place, options)
    if options:
        raise InvalidArgumentError("store_options: only for an address such as s3://bucket/prefix; leave them out")
    return LocalStore(place) if isinstance(place, (str, PathLike)) else place


def shown(place: Any) -> str:
    """Return a place as messages name it."""
    if isinstance(place, (str, PathLike)):
        return os.fspath(place)
    return str(getattr(place, "root", type(place).__name__))
