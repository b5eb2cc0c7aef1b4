"""History that cannot be rolled back, forked or hidden from a client that has seen it (spec CRYPTO 9)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from vark.errors import HistoryAlteredError, WrongKeyError
from vark.repository.catalog import Catalog
from vark.repository.keystore import OpenKeys
from vark.repository.layout import content_of_name, root_name
from vark.repository.records import Commit
from vark.repository.state import ClientState, Seen


@dataclass(slots=True)
class History:
    """Compares what is found with what was seen, and remembers it. accept: take what is found for true, once.
    head: a commit that the caller was given.
    """

    state: ClientState
    accept: bool = False
    head: str | None = None
    _epoch: int = field(default=0, init=False)  # of the keyring that was opened
    _accepts_erasures: bool = field(default=False, init=False)
    # Epochs before these had ended when commits, marks and roots, or erasures, were last looked at.
    _ended: int = field(default=0, init=False)
    _erasures_ended: int = field(default=0, init=False)
    _kept: frozenset[str] = field(default=frozenset(), init=False)

    def __post_init__(self) -> None:
        self._accepts_erasures = self.accept

    def check_keys(self, keys: OpenKeys, *, authority: str | None, trust: bool) -> bool:
        """Compare the keyring; return whether its authority is known to be the right one.

        authority: one that the caller was given. trust: take what is found. Errors: HistoryAlteredError, WrongKeyError.
        """
        keyring = keys.keyring
        own = bytes(keyring.authority).hex()
        with self.state.changing() as change:
            seen = change.seen
            if authority is not None and not _leads(keyring.is_endorsed_by, authority):
                raise WrongKeyError(
                    f"keyring: its authority is {own[:16]}…; nothing leads to it from {authority[:16]}…, which you gave"
                )
            if seen.authority and not self.accept:
                self._compare_keys(seen, keys)
            known = _leads(keyring.is_endorsed_by, seen.authority) or authority is not None or trust
            if keys.anchor is not None:
                if not keyring.is_endorsed_by(keys.anchor):
                    raise WrongKeyError(
                        "keyring: the key slot that opened vouches for another authority; it was put here"
                    )
                known = True
            self._epoch = keyring.epoch
            self._know(seen)
            if known:
                change.set(authority=own, key_generation=keyring.generation, key_digest=keys.digest)
        return known

    def is_late(self, kind: str, epoch: int, digest: str) -> bool:
        """Return whether a record, by its epoch, came after this client had seen that epoch end.

        Whoever was removed then has the keys of that epoch, and no other.
        """
        if kind in ("erase", "end-erasure"):
            return epoch < self._erasures_ended and digest not in self._kept and not self._accepts_erasures
        return epoch < self._ended and digest not in self._kept and not self.accept

    def _know(self, seen: Seen) -> None:
        self._ended, self._erasures_ended = seen.epoch, seen.erasure_epoch
        self._kept = frozenset([*seen.commits, *seen.marks, *seen.erasures, seen.root_digest])

    def _compare_keys(self, seen: Seen, keys: OpenKeys) -> None:
        found, kept = keys.keyring.generation, seen.key_generation
        if found < kept:
            _alarm(f"key generation {found}, and this client has seen {kept}: keys were rolled back")
        if found == kept and keys.digest != seen.key_digest:
            _alarm(f"key generation {found} is not the one that this client has seen")
        if not _leads(keys.keyring.is_endorsed_by, seen.authority):
            _alarm(f"the authority over keys is not {seen.authority[:16]}…, nor endorsed by it")

    def look(self) -> Seen:
        """Return what is remembered, before something is read that will be compared with it."""
        return self.state.read()

    def check(self, catalog: Catalog, before: Seen) -> None:
        """Compare root, commits and marks with what was seen `before` they were read; remember what is new.

        What other processes of this client remember meanwhile stays. Errors: HistoryAlteredError.
        """
        administration = catalog.administration
        generation, digest = administration.generation, administration.root_digest or ""
        there = {content_of_name(name) for name in (*catalog.faults, *catalog.marks)}
        there |= catalog.commits.keys() | catalog.refused.keys()
        if self.head is not None and self.head not in catalog.commits:
            _alarm(f"commit {self.head[:16]}…, which you gave as a head, is not there")
        if self.accept:
            before = Seen()
        is_damaged = root_name(before.root_generation) in catalog.faults  # there, and said to be
        if generation < before.root_generation and not is_damaged:
            _alarm(f"root {generation}, and this client has seen {before.root_generation}: it was rolled back")
        if generation == before.root_generation and before.root_digest not in ("", digest):
            _alarm(f"root {generation} is not the one that this client has seen")
        gone = _gone(catalog, before, there)
        _compare_parents(catalog, there)
        now = time.time_ns() // 1_000_000
        found = {
            digest: (tuple(archive.id for archive in commit.archives), now)
            for digest, commit in catalog.commits.items()
        }
        marks = {content_of_name(name) or name: mark.snapshot for name, mark in catalog.marks.items()}
        with self.state.changing() as change:
            seen = Seen() if self.accept else change.seen
            kept = {digest: value for digest, value in seen.commits.items() if digest not in gone}
            kept_marks = {
                digest: snapshot
                for digest, snapshot in seen.marks.items()
                if digest in there or digest not in before.marks
            }
            if generation < seen.root_generation:
                generation, digest = seen.root_generation, seen.root_digest
            change.set(
                root_generation=generation,
                root_digest=digest,
                commits={**found, **kept},
                marks={**marks, **kept_marks},
                epoch=max(seen.epoch, self._epoch),
            )
            self._know(change.seen)
        self.accept = False

    def check_erasures(self, found: Collection[str], before: Seen) -> None:
        """Compare erasures, of which none is ever deleted, as `check` does. Errors: HistoryAlteredError."""
        gone = set(before.erasures).difference(found)
        if gone and not self._accepts_erasures:
            _alarm(f"erasure {min(gone)[:16]}… is gone: what was erased would come back with the next backup")
        with self.state.changing() as change:
            kept = set(change.seen.erasures) - gone
            change.set(
                erasures=tuple(sorted(kept.union(found))), erasure_epoch=max(change.seen.erasure_epoch, self._epoch)
            )
            self._know(change.seen)
        self._accepts_erasures = False

    def remember_commit(self, digest: str, commit: Commit) -> None:
        """Remember a commit that this client has made."""
        with self.state.changing() as change:
            made = (tuple(archive.id for archive in commit.archives), time.time_ns() // 1_000_000)
            change.set(commits={**change.seen.commits, digest: made})

    def remember_mark(self, digest: str, snapshot: str) -> None:
        """Remember a mark that this client has made."""
        with self.state.changing() as change:
            change.set(marks={**change.seen.marks, digest: snapshot})


def _gone(catalog: Catalog, seen: Seen, there: Collection[str | None]) -> set[str]:
    """Return commits that a collection took since they were seen. Errors: HistoryAlteredError for any other loss."""
    swept, gone = catalog.administration.swept, set()
    for digest, (archives, unix_ms) in seen.commits.items():
        if digest in there:
            continue
        if not set(archives) <= swept:
            day = datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
            _alarm(f"commit {digest[:16]}… that this client saw on {day} is gone and no collection explains it")
        gone.add(digest)
    snapshots = {commit.snapshot for commit in catalog.commits.values()}
    for digest, snapshot in seen.marks.items():
        # Marks go with the last commit of their snapshot, never before.
        if digest not in there and snapshot in snapshots:
            _alarm(f"mark {digest[:16]}… of snapshot {snapshot[:12]} is gone, though the snapshot is there")
    return gone


def _compare_parents(catalog: Catalog, there: Collection[str | None]) -> None:
    """A commit names those that its writer saw. Where nothing was ever collected, none of them can have gone."""
    if catalog.administration.swept:
        return
    for digest, commit in catalog.commits.items():
        for parent in (*commit.heads, *([commit.replaces] if commit.replaces else [])):
            if parent not in there:
                _alarm(f"commit {digest[:16]}… names {parent[:16]}…, which is gone, and nothing was ever collected")


def _leads(is_endorsed_by: Callable[[bytes], bool], authority: str) -> bool:
    try:
        return is_endorsed_by(bytes.fromhex(authority))
    except ValueError:
        return False


def _alarm(detail: str) -> None:
    raise HistoryAlteredError(
        f"history was altered: {detail}; whoever holds the storage may deceive you. Look at another copy, "
        "or in a bucket with versions at `vark doctor`; "
        "accept the history as it is only if you know why"
    )
