"""What a repository's store can be relied on for, and what was left behind in it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from vark.errors import (
    DamagedError,
    HistoryAlteredError,
    NotFoundError,
    RefusedError,
    UnsupportedError,
    WrongKeyError,
)
from vark.repository import hidden
from vark.repository.catalog import CatalogReader
from vark.repository.context import Context
from vark.repository.envelope import Envelope
from vark.repository.fields import new_salt
from vark.repository.layout import ARCHIVES, PROBES, content_of_name, volume_of
from vark.repository.objects import create_record, now_unix_ms, read_object
from vark.repository.records import VERSION, read_repository
from vark.repository.reports import HiddenObject, UndeleteReport
from vark.stores import RemoteStore
from vark.stores.locks import locks_of
from vark.stores.probe import Probe, probe

GRACE_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """What `doctor` found. leftovers: archive id -> bytes, of archives without a commit that are older than a day.

    hidden: what a store with versions still has, although nobody sees it; `undelete` brings it back.
    """

    probe: Probe
    leftovers: dict[str, int]
    hidden: tuple[HiddenObject, ...] = ()
    undeleted: UndeleteReport | None = None

    @property
    def ok(self) -> bool:
        """Whether everything is safe in this store."""
        done = () if self.undeleted is None else self.undeleted.restored
        return self.probe.is_collectable and all(item.object in done or not item.matters for item in self.hidden)

    def lines(self) -> list[str]:
        """Return all that was found, a sentence each."""
        left = f"left by interrupted backups: {len(self.leftovers)} archives, {sum(self.leftovers.values())} bytes"
        lines = [*self.probe.lines(), f"{left}; `vark gc` frees them" if self.leftovers else left]
        return [*lines, *hidden_lines(self.hidden, self.undeleted)]


def hidden_lines(hidden: Sequence[HiddenObject], undeleted: UndeleteReport | None) -> list[str]:
    """Return what is hidden, a sentence each, and what became of it."""
    foreign = [item for item in hidden if item.matters]
    lines = [f"{item.object}: {item.detail}" for item in foreign]
    if len(foreign) < len(hidden):
        lines.append(
            f"versions below delete markers of vark's own: {len(hidden) - len(foreign)} objects, which is well"
        )
    if foreign and undeleted is None:
        lines.append("`vark doctor --undelete --confirm` puts what was created on top again; find out who did this")
    if undeleted is not None:
        lines += [f"{name}: is back" for name in undeleted.restored]
        lines += [f"{name}: NOT back: {why}" for name, why in undeleted.failed]
    return lines


def doctor(context: Context, *, undelete: bool = False) -> DoctorReport:
    """Try out the store, keep what was found as a record, and look for what interrupted backups have left.

    undelete: put on top again what somebody has hidden or covered in a store with versions.
    """
    last = _last(context)
    # At length, also where it was found to be safe: who asks wants to know.
    found = probe(context.store, was_create_only=None if last is None or last.create_only else False)
    _keep(context, found, last)
    hidden_ = hidden.find_hidden(context)
    undeleted = hidden.undelete(context.store, hidden_) if undelete and hidden_ else None
    try:
        catalog = context.reader.read()
    except HistoryAlteredError:
        if not any(item.matters for item in hidden_):
            raise
        catalog = CatalogReader(context.store, context.envelope).read()  # why it is not as it was is in the report
    committed = {archive.id for commit in catalog.commits.values() for archive in commit.archives}
    oldest = now_unix_ms(context.store) - GRACE_MS
    left: dict[str, int] = {}
    young: set[str] = set()
    for entry in context.store.list(ARCHIVES):
        volume = volume_of(entry.name)
        if volume is not None and volume[0] not in committed:
            left[volume[0]] = left.get(volume[0], 0) + entry.byte_count
            if entry.modified_unix_ms > oldest:
                young.add(volume[0])
    leftovers = {archive: size for archive, size in left.items() if archive not in young}
    return DoctorReport(found, leftovers, hidden_, undeleted)


def check_collectable(context: Context, what: str, *, fresh: bool) -> bool:
    """Refuse to take anything away from a remote store that has not what a collection relies on.

    fresh: try it now; else what was found last is enough. Return whether deleting is allowed. Errors: RefusedError.
    """
    if not isinstance(context.store, RemoteStore) and locks_of(context.store) is None:
        return True
    last = _last(context)
    found = None if fresh else last
    if found is None:
        found = probe(context.store, was_create_only=None if last is None else last.create_only)
        _keep(context, found, last)
    if not found.is_collectable:
        raise RefusedError(
            f"{what}: not in this store: {'; '.join(found.faults())}; backups are safe in it, and grow; move the "
            "repository to another store to free space"
        )
    return found.deletes is not False


def _keep(context: Context, found: Probe, last: Probe | None) -> None:
    """Write what was found as a record (spec, section 2.7). last: what was found before."""
    if isinstance(context.store, RemoteStore) and not found.create_only:
        context.store.exclusive = False
    if not context.id:
        return
    if found.deletes is False and last is not None and last.is_collectable == found.is_collectable:
        return  # where nothing is ever deleted one record is enough, as long as it holds
    now_ms = time.time_ns() // 1_000_000
    values = {"kind": "probe", "version": VERSION, "repository": context.id, "salt": new_salt()}
    record = context.envelope.encode({**values, "created_unix_ms": now_ms, **asdict(found)})
    create_record(context.store, PROBES, record, now_ms)


def _last(context: Context) -> Probe | None:
    """Return what was found last, where anything is known: a record that cannot be read says nothing."""
    entries = [entry for entry in context.store.list(PROBES) if content_of_name(entry.name) is not None]
    if not entries:
        return None
    newest = max(entries, key=lambda entry: entry.modified_unix_ms)
    try:
        return decode_probe(read_object(context.store, newest.name), place=newest.name, envelope=context.envelope)
    except (NotFoundError, DamagedError, UnsupportedError, WrongKeyError):
        return None


def decode_probe(data: bytes, *, place: str, envelope: Envelope) -> Probe:
    """Read what a record says of what a collection relies on, and of ranges; the rest of it is for people.

    Errors: DamagedError, UnsupportedError.
    """
    fields = envelope.decode(data, place=place)
    fields.check_kind("probe", version=VERSION)
    read_repository(fields, envelope.repository)
    return Probe(
        create_only=fields.flag("create_only"),
        read_after_write=fields.flag("read_after_write"),
        list_after_write=fields.flag("list_after_write"),
        ranges=fields.flag("ranges"),
        deletes=None,
        checksums=None,
        versioned=None,
        clock_offset_ms=None,
    )
