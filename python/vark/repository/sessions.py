"""Sessions: intents of running backups, so that one that was interrupted goes on under the same archive ids.

They only save work: whether a backup is safe is decided by its commit record and the check after it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vark.errors import VarkError
from vark.repository.catalog import Catalog
from vark.repository.envelope import Envelope
from vark.repository.fields import RECORD_BYTES_MAX, new_salt
from vark.repository.layout import SESSIONS, session_name, session_of
from vark.repository.objects import new_uuid7, read_object
from vark.repository.records import VERSION, read_repository
from vark.stores import RemoteStore, Store
from vark.stores.base import begin as begin_call
from vark.stores.base import read_ahead

_ACTIVE: set[str] = set()  # of this process


@dataclass(frozen=True, slots=True)
class Session:
    """What a backup is about to write. archives: shard -> (archive id, base or None). signature: of the source.

    is_past: it is under an epoch that has ended: whoever was removed may have made it.
    """

    id: str
    repository: str
    name: str
    host: str
    process: str
    signature: str
    archives: Mapping[str, tuple[str, str | None]]
    created_unix_ms: int
    is_past: bool = False

    def encode(self, envelope: Envelope) -> bytes:
        """Return the bytes of the object."""
        return envelope.encode(
            {
                "kind": "session",
                "version": VERSION,
                "session": self.id,
                "repository": self.repository,
                "name": self.name,
                "host": self.host,
                "process": self.process,
                "signature": self.signature,
                "archives": [
                    {"shard": shard, "id": archive, "base": base} for shard, (archive, base) in self.archives.items()
                ],
                "created_unix_ms": self.created_unix_ms,
            }
        )

    @classmethod
    def decode(cls, data: bytes, *, place: str, envelope: Envelope) -> Session:
        """Read an intent. Errors: DamagedError, UnsupportedError."""
        fields = envelope.decode(data, place=place)
        fields.check_kind("session", version=VERSION)
        return cls(
            id=fields.hexadecimal("session", 32),
            repository=read_repository(fields, envelope.repository),
            name=fields.label("name"),
            host=fields.text("host", 255),
            process=fields.text("process", 255),
            signature=fields.hexadecimal("signature", 64),
            archives={
                part.shard("shard"): (part.uuid("id"), part.optional_uuid("base")) for part in fields.parts("archives")
            },
            created_unix_ms=fields.unix_ms("created_unix_ms"),
            is_past=envelope.is_past(fields),
        )


def begin(store: Store, envelope: Envelope, *, name: str, signature: str, bases: Mapping[str, str | None]) -> Session:
    """Write the intent of a new backup: a fresh id for the archive of each shard."""
    session, write = begin_ahead(store, envelope, name=name, signature=signature, bases=bases)
    write()
    return session


def begin_ahead(
    store: Store, envelope: Envelope, *, name: str, signature: str, bases: Mapping[str, str | None]
) -> tuple[Session, Callable[[], None]]:
    """As `begin`, but return what waits until the intent is written as well: before any volume is created.

    It is being written to a remote store meanwhile; to another one then.
    """
    assert envelope.repository is not None
    session = Session(
        id=new_salt(),
        repository=envelope.repository,
        name=name,
        host=socket.gethostname(),
        process=_process(os.getpid()),
        signature=signature,
        archives={shard: (str(new_uuid7()), base) for shard, base in bases.items()},
        created_unix_ms=time.time_ns() // 1_000_000,
    )
    _ACTIVE.add(session.id)
    write = partial(store.create, session_name(session.id), session.encode(envelope))
    return session, begin_call(write) if isinstance(store, RemoteStore) else write


def end(session: Session) -> None:
    """Say that this process no longer works on the session; whether it is finished is seen by its commit."""
    _ACTIVE.discard(session.id)


def find_interrupted(
    store: Store,
    envelope: Envelope,
    catalog: Catalog,
    *,
    name: str,
    signature: str,
    bases: Mapping[str, str | None],
    intents: Callable[[], Sequence[Session]] | None = None,
) -> Session | None:
    """Return the newest session that can be taken up: of this host, same source and bases, its process gone.

    intents: of `sessions_ahead`, begun before the catalog was read; else they are read now.
    Only its archive ids are used again. The snapshot is a new one: a commit of the session that cannot be seen (for it
    cannot be read just now) must not be replaced by what the source is today.
    """
    if catalog.faults:
        return None
    dead = catalog.administration.dead
    found = []
    for session in all_sessions(store, envelope) if intents is None else intents():
        same = (session.name, session.signature, session.host) == (name, signature, socket.gethostname())
        if not same or session.is_past or is_fulfilled(session, catalog) or is_running(session):
            continue
        if {shard: base for shard, (_, base) in session.archives.items()} != dict(bases):
            continue
        if any(archive in dead for archive, _ in session.archives.values()):
            continue
        found.append(session)
    newest = max(found, key=lambda item: item.created_unix_ms, default=None)
    if newest is not None:
        _ACTIVE.add(newest.id)
    return newest


def sessions_ahead(store: Store, envelope: Envelope) -> Callable[[], Sequence[Session]]:
    """Begin to read all intents of a remote store; return what waits for them. Of another store they are read then."""
    read = partial(all_sessions, store, envelope)
    return begin_call(read) if isinstance(store, RemoteStore) else read


def all_sessions(store: Store, envelope: Envelope) -> list[Session]:
    """Return all intents that can be read; the others do not matter."""
    found = []
    names = [entry.name for entry in store.list(SESSIONS) if session_of(entry.name) is not None]
    for name in read_ahead(store, names, RECORD_BYTES_MAX):
        with contextlib.suppress(VarkError):
            found.append(Session.decode(read_object(store, name), place=name, envelope=envelope))
    return found


def _process(number: int) -> str:
    """Return what tells a process from a later one with the same number, where the system says it."""
    try:
        started = Path(f"/proc/{number}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return f"{number}:{started[19]}"
    except (OSError, IndexError):
        return f"{number}:"


def is_fulfilled(session: Session, catalog: Catalog) -> bool:
    """Return whether a commit names one of the session's archives."""
    committed = {archive.id for commit in catalog.commits.values() for archive in commit.archives}
    return any(archive in committed for archive, _ in session.archives.values())


def is_running(session: Session) -> bool:
    """Return whether a process of this host still works on the session, as far as anyone can tell."""
    number, _, started = session.process.partition(":")
    if number == str(os.getpid()) and session.process == _process(os.getpid()):
        return session.id in _ACTIVE
    if not number.isdecimal() or len(number) > 9:
        return True
    if started:
        return _process(int(number)) == session.process
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
