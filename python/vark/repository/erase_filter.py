"""What is erased does not come back: while an erasure is in force, backups of its names leave those rows out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable

from vark.archive import Archive, Shadow
from vark.errors import RefusedError, UnsupportedError
from vark.repository.context import Context
from vark.repository.engine import Engine, Written
from vark.repository.erasures import ERASE, List, end_for, lists_for, new_erasure
from vark.repository.objects import new_uuid7

Write = Callable[[int, str], Written]


class ErasureFilter:
    """The erasures in force for one backup, read before anything is written (W1)."""

    def __init__(self, context: Context, name: str, *, what: str | None = None) -> None:
        self._context = context
        self._name = name
        self._what = what or f"backup of {name!r}"
        # A writer that can read nothing cannot read these either: what it adds is for the next run of a member.
        self._is_blind = context.is_write_only
        self._records = {} if self._is_blind else context.read_erasures()
        self.lists: tuple[List, ...] = lists_for(self._records, name)
        self._found: set[tuple[str, bytes]] = set()
        self.rows_erased = 0

    def write(
        self, descriptor: int, archive_id: str, write: Write, base: Archive | Shadow | None, *, threads: int | None
    ) -> Written:
        """Run `write(descriptor, archive_id)`; of a source that holds erased ids, an archive without them.

        Erased rows never reach the store: the archive is written to a temporary file first, looked through, and written
        again. Errors: RefusedError where nobody can tell what the source holds.
        """
        if not self.lists:
            return write(descriptor, archive_id)
        assert not isinstance(base, Shadow)  # of a client that cannot read lists
        engine, lists = self._context.engine, [item.pair() for item in self.lists]
        with tempfile.NamedTemporaryFile(prefix="vark-", suffix=".vark") as file:
            write(file.fileno(), str(new_uuid7()))
            with engine.open_file(file.name, base) as draft:
                seen = engine.survey(draft, lists)
                must_know = not all(item.leave_unknown for item in self.lists)
                for member, reason in seen.unknown.items() if must_know else ():
                    raise RefusedError(
                        f"{self._what}: {member} {reason}, and {self._id_count()} ids are erased from "
                        "snapshots of this name; back it up in a layout that vark splits, or lift the erasure"
                    )
                self._found |= {(self.lists[number].digest, one) for number, one in seen.found}
                self.rows_erased += seen.row_count
                try:
                    written, _ = engine.erase(
                        draft,
                        descriptor,
                        lists,
                        seen=seen,
                        archive_id=archive_id,
                        base=base,
                        fingerprint_key=self._context.fingerprint_key,
                        threads=threads,
                    )
                except UnsupportedError as error:
                    raise RefusedError(f"{self._what}: it holds erased ids, and {error.message}") from error
        return written

    def holds(self, engine: Engine, archive: Archive) -> bool:
        """Return whether an archive of another repository, opened by `engine`, holds erased ids, or nobody can tell."""
        if not self.lists:
            return False
        seen = engine.survey(archive, [item.pair() for item in self.lists])
        return bool(seen.unknown) or not seen.is_clean

    def settle(self, *, partial: bool) -> None:
        """After W4: end what the source does not hold any more.

        A source that was not captured whole may hold more than was seen.
        """
        if not partial:
            all_of = {(item.digest, one) for item in self.lists for one in item.hashes}
            end_for(
                self._context.store,
                self._context.envelope,
                self._name,
                self.lists,
                all_of - self._found,
                reason="the source does not hold it any more",
            )

    def is_late(self) -> bool:
        """Return whether there is an erasure of this name that was not there at the start; asked after W3."""
        if self._is_blind:
            return False
        records = self._context.read_erasures()
        return any(
            digest not in self._records and record.action == ERASE and record.covers(self._name)
            for digest, record in records.items()
        )

    def _id_count(self) -> int:
        return sum(len(item.hashes) for item in self.lists)


def carry(source: Context, target: Context, names: Iterable[str]) -> set[str]:
    """Let what is erased in one repository be erased in another that copies of these names go to.

    Erasures are the same where their keys are. What has ended in the source, so that its rows may be there again, ends
    in the target. Return the names for which an erasure is new there.
    """
    theirs, known = source.read_erasures(), target.read_erasures()
    keys = {record.key for record in known.values() if record.action == ERASE}
    carried = set()
    for name in sorted(names):
        for item in lists_for(theirs, name):
            record = theirs[item.digest]
            if record.key not in keys:
                keys.add(record.key)
                new_erasure(
                    target.store,
                    target.envelope,
                    ERASE,
                    record.names,
                    record.hashes,
                    key=record.key,
                    leave_unknown=record.leave_unknown,
                    reason=record.reason,
                )
                carried.add(name)
    known = target.read_erasures()
    for name in sorted(names):
        in_force = {item.key: item.hashes for item in lists_for(theirs, name)}
        of_source = {bytes.fromhex(record.key) for record in theirs.values() if record.action == ERASE}
        lists = [item for item in lists_for(known, name) if item.key in of_source]
        gone = {(item.digest, one) for item in lists for one in item.hashes - in_force.get(item.key, frozenset())}
        end_for(target.store, target.envelope, name, lists, gone, reason="ended where it is copied from")
    return carried


def lift(context: Context, name: str) -> int:
    """End all erasures in force for a name; return how many ids they had."""
    lists = lists_for(context.read_erasures(), name)
    gone = {(item.digest, one) for item in lists for one in item.hashes}
    end_for(context.store, context.envelope, name, lists, gone, reason="lifted")
    return len(gone)
