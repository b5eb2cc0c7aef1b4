"""What a bucket with versions still has although nobody sees it: objects under delete markers, or under other bytes.

Whoever can delete there puts a marker over an object, whoever can overwrite puts other bytes over it; the version that
was created stays below. Names are given once, so that the oldest version is the one that was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby

from vark.errors import AccessDeniedError, NotFoundError, StorageError, StoreUnavailableError, VarkError
from vark.repository.catalog import Catalog, CatalogReader
from vark.repository.context import Context
from vark.repository.digest import digest_hex
from vark.repository.keystore import newest_generation
from vark.repository.layout import (
    COMMITS,
    MARKER,
    MARKS,
    PROBES,
    content_of_name,
    is_bundle,
    key_of,
    root_generation,
    session_of,
    volume_of,
)
from vark.repository.records import Commit, Mark
from vark.repository.reports import HiddenObject, UndeleteReport
from vark.stores import Store
from vark.stores.locks import Locks, ObjectVersion, locks_of


def find_hidden(context: Context) -> tuple[HiddenObject, ...]:
    """Return all objects of the repository that are hidden or covered; those that vark removed itself do not matter.

    Nothing where the store keeps no versions, or where nobody may list them. Errors: StoreUnavailableError.
    """
    found = list(_found(context.store, _is_ours))
    if not found:
        return ()
    # Without the memory of this client, which would refuse a catalog with something hidden.
    catalog = CatalogReader(context.store, context.envelope).read()
    judge = _Judge(context, catalog)
    commits = [judge.judged(item) for item in found if item.object.startswith(f"{COMMITS}/")]
    return (*commits, *(judge.judged(item) for item in found if not item.object.startswith(f"{COMMITS}/")))


def find_hidden_way_in(store: Store) -> tuple[HiddenObject, ...]:
    """Return the marker and key objects in force that are hidden or covered: without them nothing can be opened."""
    if locks_of(store) is None:
        return ()
    generation = newest_generation(store)

    def is_way_in(name: str) -> bool:
        key = key_of(name)
        return name == MARKER or (key is not None and key[0] >= generation)

    return tuple(_found(store, is_way_in))


def undelete(store: Store, hidden: Iterable[HiddenObject]) -> UndeleteReport:
    """Put the version that was created on top again, of each that matters. Nothing is deleted: all versions stay.

    By a copy, which takes the right to put without a condition; without it what is hidden is created again, as
    append-only credentials may (some stores refuse that, as if the name were taken), and what is covered stays so.
    """
    locks, restored, failed = locks_of(store), [], []
    assert locks is not None
    for item in hidden:
        if not item.matters:
            continue
        try:
            version, data = _created_first(locks, item)
            try:
                locks.put_over(item.object, version)
            except AccessDeniedError:
                if item.kind != "hidden":
                    raise
                store.create(item.object, data)
            if store.read(item.object) != data:
                raise StorageError(f"{item.object}: it was put on top, but other bytes are read; run it again")
            restored.append(item.object)
        except VarkError as error:
            failed.append((item.object, error.message))
    return UndeleteReport(tuple(restored), tuple(failed))


def _created_first(locks: Locks, item: HiddenObject) -> tuple[str, bytes]:
    """Return the oldest version that can be the object. Errors: NotFoundError."""
    expected = content_of_name(item.object)
    for version in item.versions:
        data = locks.read_version(item.object, version)
        if expected is None or digest_hex(data) == expected:
            return version, data
    raise NotFoundError(f"{item.object}: none of its {len(item.versions)} versions is what its name says")


def _found(store: Store, is_meant: Callable[[str], bool]) -> Iterator[HiddenObject]:
    locks = locks_of(store)
    if locks is None or locks.rules().versioned is False:
        return
    try:
        versions = [item for item in locks.versions("") if is_meant(item.name)]
    except StoreUnavailableError:
        raise  # "nothing is hidden" must not be said by who could not look
    except (AccessDeniedError, StorageError):
        return  # these credentials may not look
    for name, items in groupby(versions, key=lambda item: item.name):
        found = _look(name, list(items))
        if found is not None and not (found.kind == "covered" and _reads_the_same(store, locks, found)):
            yield found


def _reads_the_same(store: Store, locks: Locks, item: HiddenObject) -> bool:
    """Return whether what is read is what was created: with keys of a service equal bytes have other tags each time."""
    try:
        if store.byte_count(item.object) != item.byte_count:
            return False
        return store.read(item.object) == locks.read_version(item.object, item.versions[0])
    except VarkError:
        return False


def _look(name: str, versions: list[ObjectVersion]) -> HiddenObject | None:
    """Return what is wrong with an object by its versions, the newest first."""
    kept = [item for item in versions if not item.is_marker]
    if not kept:
        return None
    oldest_first = tuple(item.version for item in reversed(kept))
    if versions[0].is_marker:
        detail = f"hidden by a delete marker; a version of {kept[-1].byte_count} bytes is there"
        return HiddenObject(name, "hidden", oldest_first, kept[-1].byte_count, detail, matters=True)
    if len({(item.byte_count, item.tag) for item in kept}) == 1:
        return None
    detail = f"{len(kept)} versions with other bytes; what is read is not what was created"
    if (kept[0].byte_count, kept[0].tag) == (kept[-1].byte_count, kept[-1].tag):
        return None  # it was covered, and the first version is on top again
    return HiddenObject(name, "covered", oldest_first, kept[-1].byte_count, detail, matters=True)


class _Judge:
    """Tells what somebody else has done from what collections and rotations of keys do."""

    def __init__(self, context: Context, catalog: Catalog) -> None:
        self._context = context
        self._catalog = catalog
        self._generation = newest_generation(context.store)
        self._snapshots = {commit.snapshot for commit in catalog.commits.values()}

    def judged(self, item: HiddenObject) -> HiddenObject:
        """Return the same with whether it matters."""
        if item.kind == "hidden" and not self._matters(item):
            detail = f"{item.detail}; vark removed it itself, and nothing needs it"
            return replace(item, detail=detail, matters=False)
        return item

    def _matters(self, item: HiddenObject) -> bool:
        name = item.object
        volume, key = volume_of(name), key_of(name)
        if session_of(name) is not None or is_bundle(name) or name.startswith(f"{PROBES}/"):
            return False
        if volume is not None:
            return volume[0] not in self._catalog.administration.swept
        if key is not None:
            return key[0] >= self._generation
        try:
            if name.startswith(f"{COMMITS}/"):
                commit = Commit.decode(self._read(item), place=name, envelope=self._context.envelope)
                if not self._catalog.is_void(commit):
                    self._snapshots.add(commit.snapshot)
                    return True
                return False
            if name.startswith(f"{MARKS}/"):
                mark = Mark.decode(self._read(item), place=name, envelope=self._context.envelope)
                return mark.snapshot in self._snapshots
        except VarkError:
            return True
        return True

    def _read(self, item: HiddenObject) -> bytes:
        locks = locks_of(self._context.store)
        assert locks is not None
        return _created_first(locks, item)[1]


def _is_ours(name: str) -> bool:
    parsed = (content_of_name(name), volume_of(name), key_of(name), root_generation(name), session_of(name))
    return name == MARKER or is_bundle(name) or any(found is not None for found in parsed)
