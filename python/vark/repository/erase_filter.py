"""What is erased does not come back: while an erasure is in force, backups of its names leave those rows out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

from vark.archive import Archive, Shadow
from vark.errors import RefusedError, UnsupportedError
from vark.repository.context import Context
from vark.repository.engine import Written
from vark.repository.erasures import ERASE, List, end_for, lists_for
from vark.repository.objects import new_uuid7

Write = Callable[[int, str], Written]


class ErasureFilter:
    """The erasures in force for one backup, read before anything is written (W1)."""

    def __init__(self, context: Context, name: str) -> None:
        self._context = context
        self._name = name
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
                        f"backup of {self._name!r}: {member} {reason}, and {self._id_count()} ids are erased from "
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
                    raise RefusedError(f"backup of {self._name!r}: it holds erased ids, and {error.message}") from error
        return written

    def settle(self, *, partial: bool) -> bool:
        """After W4: end what the source does not hold any more; return whether an erasure came meanwhile.

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
        return self._is_late()

    def _is_late(self) -> bool:
        """Return whether there is an erasure of this name that was not there at the start."""
        if self._is_blind:
            return False
        records = self._context.read_erasures()
        return any(
            digest not in self._records and record.action == ERASE and record.covers(self._name)
            for digest, record in records.items()
        )

    def _id_count(self) -> int:
        return sum(len(item.hashes) for item in self.lists)


def lift(context: Context, name: str) -> int:
    """End all erasures in force for a name; return how many ids they had."""
    lists = lists_for(context.read_erasures(), name)
    gone = {(item.digest, one) for item in lists for one in item.hashes}
    end_for(context.store, context.envelope, name, lists, gone, reason="lifted")
    return len(gone)
