"""Object lock: the policy of a repository, and retention set on all that its snapshots need (spec, section 9).

A policy is a record that everyone sees; the newest is in force. What is locked, and until when, is kept by the store.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vark.errors import InvalidArgumentError, NotFoundError, StoreUnavailableError, VarkError
from vark.repository.base import volume_sizes_of
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.context import Context
from vark.repository.envelope import Envelope
from vark.repository.fields import new_salt
from vark.repository.keystore import newest_generation
from vark.repository.layout import (
    ERASURES,
    KEYS,
    LOCKS,
    MARKER,
    content_of_name,
    key_of,
    list_name,
    root_name,
    volume_name,
)
from vark.repository.objects import create_record, now_unix_ms, read_object, retained_until
from vark.repository.records import VERSION, read_repository
from vark.repository.reports import ErasedSnapshot, LockReport
from vark.stores import LockRules, Retention, Store
from vark.stores.locks import MODES, Locks, at_once, locks_of

KIND, OFF = "lock", "off"
DAYS_MAX = 36_500
DAY_MS = 24 * 60 * 60 * 1000
NO_LOCKS = (
    "nothing here can lock objects of this store: S3 needs the package boto3 (vark[s3]); for Google and Azure set "
    "retention at the bucket or container; a folder has none"
)


@dataclass(frozen=True, slots=True)
class LockPolicy:
    """What is asked of the store. mode: "governance", "compliance" or "off". days: counted from each backup, 0 for off.

    unix_ms: when it was set. digest: of its record.
    """

    mode: str
    days: int
    unix_ms: int
    digest: str


@dataclass(frozen=True, slots=True)
class LockState:
    """Policy and rules as they are. policies: all there ever were, the oldest first. rules: None where nobody can ask.

    object_count: what restorable snapshots need; locked_count: of those, objects that the store keeps by a lock;
    until_unix_ms: until when all of them are kept, None where one is not. faults: policies that cannot be read.
    """

    policy: LockPolicy | None
    policies: tuple[LockPolicy, ...]
    rules: LockRules | None
    object_count: int
    locked_count: int
    until_unix_ms: int | None
    faults: tuple[tuple[str, str], ...] = ()


class Locking:
    """Object lock of a repository, by `Repository.lock`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def state(self) -> LockState:
        """Return policy and rules, and what is locked; one request for each object that snapshots need.

        Errors: StoreUnavailableError: what nobody could ask about must not be counted as free.
        """
        self._context.refuse_write_only()
        policies, faults = read_policies(self._context.store, self._context.envelope)
        locks = locks_of(self._context.store)
        catalog = self._context.reader.read()
        names = objects_of(self._context, catalog, [item for item in catalog.snapshots if item.usable])
        found = [] if locks is None else [said for _, said in at_once(locks.retained, names)]
        for lost in found:
            if isinstance(lost, StoreUnavailableError):
                raise lost
        now = now_unix_ms(self._context.store)
        until = [item.until_unix_ms for item in found if isinstance(item, Retention) and item.until_unix_ms > now]
        return LockState(
            policy=_in_force(policies),
            policies=policies,
            rules=None if locks is None else locks.rules(),
            object_count=len(names),
            locked_count=len(until),
            until_unix_ms=min(until) if until and len(until) == len(names) else None,
            faults=faults,
        )

    def set(self, mode: str, days: int = 0, *, confirm: bool = False) -> LockReport:
        """Set the policy and lock what restorable snapshots need; without `confirm` only count it.

        mode: "governance" (whoever has a special right can end it), "compliance" (nobody can, not even the owner of the
        account) or "off" (nothing more is locked; what is locked stays). days: from each backup on.
        Errors: InvalidArgumentError (the store locks nothing, or nobody can ask it).
        """
        context = self._context.writable()
        _check(mode, days)
        if mode != OFF:
            rules = _locks(context.store).rules()
            if rules.object_lock is False:  # None: these credentials may not ask; locking will tell
                raise InvalidArgumentError(
                    "the bucket has no object lock; make one with object lock and versioning, and copy the repository "
                    "there"
                )
        if confirm:
            _new_policy(context, mode, days)
        return self.apply(confirm=confirm) if mode != OFF and confirm else self._counted(mode, days, confirm)

    def apply(self, *, confirm: bool = True) -> LockReport:
        """Lock what restorable snapshots need by the policy in force, counted from now.

        Backups do that for what they need; this is for all. Errors: InvalidArgumentError (no policy is in force).
        """
        context = self._context.writable()
        policies, faults = read_policies(context.store, context.envelope)
        policy = _in_force(policies)
        if policy is None:
            raise InvalidArgumentError("no lock policy is in force; set one with a mode and days")
        if not confirm:
            return self._counted(policy.mode, policy.days, confirmed=False)
        catalog = context.reader.read()
        return _lock(context, catalog, [item for item in catalog.snapshots if item.usable], policy, faults)

    def _counted(self, mode: str, days: int, confirmed: bool) -> LockReport:
        catalog = self._context.reader.read()
        names = objects_of(self._context, catalog, [item for item in catalog.snapshots if item.usable])
        until = 0 if mode == OFF else now_unix_ms(self._context.store) + days * DAY_MS
        return LockReport(mode, days, until, 0 if mode == OFF else len(names), confirmed=confirmed)


def lock_snapshots(context: Context, snapshots: Collection[str]) -> LockReport | None:
    """Lock what snapshots that were just made need, where a policy is in force; None without one.

    Never raises: they are committed. What is not locked is in the report.
    """
    try:
        policies, faults = read_policies(context.store, context.envelope)
        policy = _in_force(policies)
        if policy is None:
            return LockReport(OFF, 0, 0, 0, faults) if faults else None
        catalog = context.reader.read()
        return _lock(context, catalog, [item for item in catalog.snapshots if item.id in snapshots], policy, faults)
    except Exception as error:  # whatever a library of the provider's raises: the snapshot is there, and is reported
        why = error.message if isinstance(error, VarkError) else f"{type(error).__name__}: {error}"
        return LockReport(OFF, 0, 0, 0, ((LOCKS, why),))


def read_policies(store: Store, envelope: Envelope) -> tuple[tuple[LockPolicy, ...], tuple[tuple[str, str], ...]]:
    """Return all policies, the oldest first, and (object, why) of records that cannot be read: they say nothing."""
    found, faults = [], []
    for entry in store.list(LOCKS):
        if content_of_name(entry.name) is None:
            continue
        try:
            found.append(decode_policy(read_object(store, entry.name), place=entry.name, envelope=envelope))
        except VarkError as error:
            faults.append((entry.name, error.message))
    return tuple(sorted(found, key=lambda item: (item.unix_ms, item.digest))), tuple(faults)


def decode_policy(data: bytes, *, place: str, envelope: Envelope) -> LockPolicy:
    """Read a policy. Errors: DamagedError, UnsupportedError."""
    fields = envelope.decode(data, place=place)
    fields.check_kind(KIND, version=VERSION)
    read_repository(fields, envelope.repository)
    mode, days = fields.text("mode"), fields.integer("days", 0, DAYS_MAX)
    if mode not in (*MODES, OFF) or (mode == OFF) != (days == 0):
        fields.refuse("mode, days: expected governance or compliance with days, or off without")
    fields.hexadecimal("salt", 32)
    created = fields.unix_ms("created_unix_ms")
    stored = fields.optional_unix_ms("store_unix_ms")
    return LockPolicy(mode, days, created if stored is None else stored, content_of_name(place) or "")


def retained_archives(store: Store, archives: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return archive -> until when, of those with a volume that a lock keeps. archives: id -> objects.

    Errors: StoreUnavailableError.
    """
    if locks_of(store) is None:
        return {}

    def until(archive: str) -> int:
        return next((found for name in archives[archive] if (found := retained_until(store, name)) is not None), 0)

    found = {}
    for archive, said in at_once(until, archives):
        if isinstance(said, VarkError):
            raise said
        if said:
            found[archive] = said
    return found


def retained_replaced(store: Store, snapshots: Iterable[ErasedSnapshot]) -> dict[str, int]:
    """Return until when a lock keeps the archives in whose place others were written; empty where nothing does."""
    old = {archive.replaces for snapshot in snapshots for archive in snapshot.archives}
    there = volume_sizes_of(store, sorted(old)) if old and locks_of(store) is not None else {}
    names = {
        archive: [volume_name(archive, number) for number in range(len(sizes))] for archive, sizes in there.items()
    }
    return retained_archives(store, names)


def objects_of(context: Context, catalog: Catalog, snapshots: Iterable[Snapshot]) -> list[str]:
    """Return every object that restoring, verifying and continuing these snapshots needs."""
    chosen = list(snapshots)
    needed = {ancestor.id for snapshot in chosen for ancestor in snapshot.needed()}
    names = {MARKER, *_administrative(context, catalog)}
    for archive, sizes in volume_sizes_of(context.store, sorted(needed)).items():
        names |= {volume_name(archive, number) for number in range(len(sizes))}
    for digest, commit in catalog.commits.items():
        if any(archive.id in needed for archive in commit.archives):
            names.add(catalog.commit_names[digest])
    for snapshot in chosen:
        names |= {catalog.commit_names[snapshot.commit], *catalog.records_of(snapshot)}
    return sorted(names)


def _administrative(context: Context, catalog: Catalog) -> set[str]:
    """Return keys in force, the newest root with its lists, erasures and policies."""
    store = context.store
    names = {entry.name for folder in (ERASURES, LOCKS) for entry in store.list(folder)}
    names = {name for name in names if content_of_name(name) is not None}
    root = catalog.administration.root
    if root is not None:
        lists = (*root.sweeps, *((root.list,) if root.list is not None else ()))
        names |= {root_name(root.generation), *(list_name(digest) for digest in lists)}
    generation = newest_generation(store)
    if generation:
        keys = ((entry.name, key_of(entry.name)) for entry in store.list(KEYS))
        names |= {name for name, found in keys if found is not None and found[0] == generation}
    return names


def _lock(
    context: Context,
    catalog: Catalog,
    snapshots: Iterable[Snapshot],
    policy: LockPolicy,
    faults: tuple[tuple[str, str], ...],
) -> LockReport:
    until = now_unix_ms(context.store) + policy.days * DAY_MS
    wanted = Retention(policy.mode, until)
    names = objects_of(context, catalog, snapshots)
    failed, locked = list(faults), 0
    locks = locks_of(context.store)
    if locks is None:
        failed.append((LOCKS, NO_LOCKS))
    else:
        for name, said in at_once(lambda name: locks.retain(name, wanted), names):
            if isinstance(said, NotFoundError) and not name.startswith("archives/"):
                continue  # a collection took it meanwhile: a mark, a commit that was replaced
            if isinstance(said, VarkError):
                failed.append((name, said.message))
            else:
                locked += 1
    return LockReport(policy.mode, policy.days, until, len(names), tuple(failed), locked_count=locked)


def _in_force(policies: tuple[LockPolicy, ...]) -> LockPolicy | None:
    return policies[-1] if policies and policies[-1].mode != OFF else None


def _locks(store: Store) -> Locks:
    locks = locks_of(store)
    if locks is None:
        raise InvalidArgumentError(f"lock: {NO_LOCKS}")
    return locks


def _check(mode: str, days: int) -> None:
    if mode not in (*MODES, OFF):
        raise InvalidArgumentError(f"lock mode {mode!r}; expected one of {', '.join((*MODES, OFF))}")
    if (mode == OFF) != (days == 0) or not 0 <= days <= DAYS_MAX:
        raise InvalidArgumentError(f"lock days {days}; expected 1 to {DAYS_MAX}, and none with {OFF!r}")


def _new_policy(context: Context, mode: str, days: int) -> None:
    policies, _ = read_policies(context.store, context.envelope)
    newest = policies[-1].unix_ms if policies else 0
    created = time.time_ns() // 1_000_000
    record = {
        "kind": KIND,
        "version": VERSION,
        "repository": context.id,
        "mode": mode,
        "days": days,
        "created_unix_ms": created,
        # Later than all that is known, so that no clock decides which is in force.
        "store_unix_ms": max(now_unix_ms(context.store), newest + 1),
        "salt": new_salt(),
    }
    create_record(context.store, LOCKS, context.envelope.encode(record), created)
