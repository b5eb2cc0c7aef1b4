"""The ledger: what verification read and when, and which archives it found damaged."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vark.errors import VarkError
from vark.repository.envelope import Envelope
from vark.repository.fields import RECORD_BYTES_MAX, new_salt
from vark.repository.layout import REPORTS, content_of_name
from vark.repository.objects import create_record, read_object
from vark.repository.records import VERSION, read_repository
from vark.stores import Store
from vark.stores.base import read_ahead

LEVELS = ("structure", "stored", "full")
RESTORED = "restored"  # "full", with all that the archive takes from others: as a restore reads it
LEDGER_LEVELS = (*LEVELS, RESTORED)  # from shallow to deep
ENTRIES_MAX = 4000  # in one record


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One archive that was read: at which level, and whether it was whole."""

    archive: str
    level: str
    byte_count: int
    ok: bool
    unix_ms: int


class Ledger:
    """The newest word on every archive: what is ok takes back only damage that was found at its level or a shallower.

    So a nightly "full" or "stored" does not take back what a deeper reading found; and "structure" reads no rows: it
    takes back nothing.
    """

    def __init__(self, entries: list[LedgerEntry]) -> None:
        self._damaged: dict[str, int] = {}  # archive -> depth of the deepest damage that nothing has taken back
        self._whole: dict[tuple[str, str], int] = {}
        for entry in entries:
            depth = LEDGER_LEVELS.index(entry.level)
            if entry.ok:
                self._whole[entry.archive, entry.level] = entry.unix_ms
                if depth > 0 and self._damaged.get(entry.archive, depth) <= depth:
                    self._damaged.pop(entry.archive, None)
                continue
            self._damaged[entry.archive] = max(depth, self._damaged.get(entry.archive, 0))
            # What others lack does not make the archive's own bytes unread; any other damage does.
            for level in (RESTORED,) if entry.level == RESTORED else LEDGER_LEVELS:
                self._whole.pop((entry.archive, level), None)

    def damaged(self) -> frozenset[str]:
        """Return the archives with damage that no reading as deep has taken back."""
        return frozenset(self._damaged)

    def verified_unix_ms(self, archive: str, level: str) -> int | None:
        """Return when the archive was last found whole at this level or a deeper one, or None; damage since ends it."""
        deep_enough = LEDGER_LEVELS[LEDGER_LEVELS.index(level) :]
        return max((self._whole[archive, item] for item in deep_enough if (archive, item) in self._whole), default=None)


def read_ledger(store: Store, envelope: Envelope, faults: dict[str, VarkError] | None = None) -> Ledger:
    """Return the ledger; entries that cannot be read go into `faults`.

    Of reports under an epoch that has ended only damage is believed.
    """
    found: list[tuple[int, str, list[LedgerEntry]]] = []
    names = [item.name for item in store.list(REPORTS) if content_of_name(item.name) is not None]
    for name in read_ahead(store, names, RECORD_BYTES_MAX):
        try:
            entries = _decode(read_object(store, name), place=name, envelope=envelope)
        except VarkError as error:
            if faults is not None:
                faults[name] = error
            continue
        found.append((entries[0].unix_ms if entries else 0, name, entries))
    return Ledger([entry for _, _, entries in sorted(found, key=lambda item: item[:2]) for entry in entries])


def write_ledger(store: Store, envelope: Envelope, entries: list[LedgerEntry]) -> None:
    """Keep what was read now."""
    for first in range(0, len(entries), ENTRIES_MAX):
        now = time.time_ns() // 1_000_000
        values: Mapping[str, Any] = {
            "kind": "report",
            "version": VERSION,
            "repository": envelope.repository,
            "created_unix_ms": now,
            "archives": [
                {"id": entry.archive, "level": entry.level, "bytes": entry.byte_count, "ok": entry.ok}
                for entry in entries[first : first + ENTRIES_MAX]
            ],
            "salt": new_salt(),
        }
        create_record(store, REPORTS, envelope.encode(values), now)


def _decode(data: bytes, *, place: str, envelope: Envelope) -> list[LedgerEntry]:
    fields = envelope.decode(data, place=place)
    fields.check_kind("report", version=VERSION)
    read_repository(fields, envelope.repository)
    unix_ms, is_past = fields.unix_ms("created_unix_ms"), envelope.is_past(fields)
    entries = []
    for part in fields.parts("archives"):
        level = part.text("level")
        if level not in LEDGER_LEVELS:
            part.refuse(f"level: expected one of {LEDGER_LEVELS}")
        if is_past and part.flag("ok"):
            continue  # whoever was removed could say so; damage that is made up costs work, and no more
        entries.append(LedgerEntry(part.uuid("id"), level, part.integer("bytes"), part.flag("ok"), unix_ms))
    return entries
