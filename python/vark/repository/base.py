"""The chain policy: which archive a new one is compared with, or why it is written in full."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from vark.archive import Shadow
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.layout import ARCHIVES, volume_of
from vark.repository.records import Ancestor, CommittedArchive
from vark.repository.shadows import Head
from vark.stores import ObjectEntry, RemoteStore, Store

CHAIN_MAX = 30
WASTE_MAX = 0.5


@dataclass(frozen=True, slots=True)
class Base:
    """The base of one shard. ancestors: it and all that it points into; sizes: their volumes' bytes.

    is_kept: what is compared is not read from the repository, but was kept by a client that cannot (`shadows`).
    """

    archive: CommittedArchive
    ancestors: tuple[Ancestor, ...]
    sizes: dict[str, tuple[int, ...]]
    is_kept: bool = False


def newest(catalog: Catalog, name: str) -> Snapshot | None:
    """Return the newest snapshot of a name that a new one may build on."""
    usable = [snapshot for snapshot in catalog.snapshots if snapshot.name == name and snapshot.usable]
    return usable[-1] if usable else None


def choose(
    store: Store,
    catalog: Catalog,
    name: str,
    shard: str,
    *,
    damaged: Collection[str],
    chain_max: int = CHAIN_MAX,
    waste_max: float = WASTE_MAX,
) -> tuple[Base | None, str | None]:
    """Return the base of a shard and None, or None and why the archive is written in full."""
    snapshot = newest(catalog, name)
    if snapshot is None:
        return None, "the first snapshot of this name"
    if catalog.commits[snapshot.commit].provenance.is_write_only:
        # What its index says of blocks is proved by reading all of them only: a lie would be part of what builds on it.
        return None, "the newest snapshot was made by a write-only client, on which nothing is built"
    archive = next((item for item in snapshot.archives if item.shard == shard), None)
    if archive is None:
        return None, f"the newest snapshot has no shard {shard!r}"
    ancestors = (archive.as_ancestor(), *chain_of(catalog, archive, snapshot.closure))
    return _fitting(store, catalog, archive, ancestors, damaged=damaged, chain_max=chain_max, waste_max=waste_max)


def choose_kept(
    store: Store,
    catalog: Catalog,
    head: Head,
    shadow: Shadow,
    *,
    damaged: Collection[str],
    chain_max: int = CHAIN_MAX,
    waste_max: float = WASTE_MAX,
) -> tuple[Base | None, str | None]:
    """Return the base of a write-only client, as `choose` does: the archive that its own head names.

    The repository's records prove nothing to it: which archives there are, and what they must be, its shadow says.
    """
    found = [item for item in catalog.snapshots if item.commit == head.commit]
    archives = {archive.id: archive for snapshot in found if snapshot.usable for archive in snapshot.archives}
    archive = archives.get(head.archive)
    if archive is None:
        return None, "the last snapshot from here is gone or forgotten, or a member has written it again"
    if (archive.root, archive.bytes) != (shadow.root, shadow.archive_bytes):
        return None, f"what is kept here of archive {archive.id} is not of the one that is in the repository"
    below = tuple(Ancestor(item.archive_id, item.archive_bytes, item.root) for item in shadow.ancestors)
    ancestors = (archive.as_ancestor(), *below)
    base, why = _fitting(store, catalog, archive, ancestors, damaged=damaged, chain_max=chain_max, waste_max=waste_max)
    return None if base is None else replace(base, is_kept=True), why


def _fitting(
    store: Store,
    catalog: Catalog,
    archive: CommittedArchive,
    ancestors: tuple[Ancestor, ...],
    *,
    damaged: Collection[str],
    chain_max: int,
    waste_max: float,
) -> tuple[Base | None, str | None]:
    """Return an archive as a base with all that it points into, the archive first, or why it cannot be one."""
    for ancestor in ancestors:
        if ancestor.id in damaged:
            return None, f"archive {ancestor.id} is known to be damaged"
        if ancestor.id in catalog.administration.dead:
            return None, f"archive {ancestor.id} is being collected"
    if len(ancestors) > chain_max:
        return None, f"a chain of {len(ancestors)} archives; the limit is {chain_max}"
    waste = waste_of(catalog, archive, ancestors[1:])
    if waste > waste_max:
        return None, f"{waste:.2f} of what a full archive needs lies unused in ancestors; the limit is {waste_max:.2f}"
    sizes = {}
    there = volume_sizes_of(store, [ancestor.id for ancestor in ancestors])
    for ancestor in ancestors:
        found = there[ancestor.id]
        if sum(found) != ancestor.bytes:
            return None, f"archive {ancestor.id} has {sum(found)} bytes, expected {ancestor.bytes}: it is damaged"
        sizes[ancestor.id] = found
    return Base(archive, ancestors, sizes), None


def chain_of(catalog: Catalog | None, archive: CommittedArchive, closure: tuple[Ancestor, ...]) -> tuple[Ancestor, ...]:
    """Return the part of a snapshot's closure that one of its archives may point into: its base, the base of that …

    All of the closure, where a commit that would say it has gone (or without a catalog).
    """
    commits = {} if catalog is None else catalog.commits
    bases = {item.id: item.base for commit in commits.values() for item in commit.archives}
    chain, current = set[str](), archive.base
    while current is not None:
        if current not in bases or current in chain:
            return closure
        chain.add(current)
        current = bases[current]
    return tuple(ancestor for ancestor in closure if ancestor.id in chain)


def volume_sizes(store: Store, archive_id: str) -> tuple[int, ...]:
    """Return the bytes of the volumes that are there, 0, 1, 2 … without a gap."""
    return sizes_in(store.list(f"{ARCHIVES}/{archive_id}"))


def volume_sizes_of(store: Store, archive_ids: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return `volume_sizes` of several archives.

    In a remote store they are listed together: ids begin with their time, so a chain's archives stand close together.
    """
    if isinstance(store, RemoteStore) and len(archive_ids) > 2:
        entries = store.list_between(ARCHIVES, min(archive_ids), max(archive_ids), pages_max=len(archive_ids) // 2)
        if entries is not None:
            by_id: dict[str, list[ObjectEntry]] = {archive_id: [] for archive_id in archive_ids}
            for entry in entries:
                found = volume_of(entry.name)
                if found is not None and found[0] in by_id:
                    by_id[found[0]].append(entry)
            return {archive_id: sizes_in(found) for archive_id, found in by_id.items()}
    return {archive_id: volume_sizes(store, archive_id) for archive_id in archive_ids}


def sizes_in(entries: Iterable[ObjectEntry]) -> tuple[int, ...]:
    """Return the bytes of the volumes among the objects of one archive, 0, 1, 2 … without a gap."""
    sizes: list[int] = []
    for entry in sorted(entries, key=lambda entry: entry.name):
        found = volume_of(entry.name)
        if found is not None and found[1] == len(sizes):
            sizes.append(entry.byte_count)
    return tuple(sizes)


def waste_of(catalog: Catalog, archive: CommittedArchive, closure: tuple[Ancestor, ...]) -> float:
    """Return stored bytes that a chain holds beyond those of a full archive, as a share of the latter.

    A full archive of today is taken to be as large as the one at the start of the chain, in proportion to what it
    restores to, where its commit is still there to say it.
    """
    if not closure:
        return 0.0
    total = archive.bytes + sum(ancestor.bytes for ancestor in closure)
    start = max(closure, key=lambda ancestor: ancestor.bytes)
    needed = float(start.bytes)
    for commit in catalog.commits.values():
        for item in commit.archives:
            if item.id == start.id and item.raw_bytes and archive.raw_bytes:
                needed = start.bytes * archive.raw_bytes / item.raw_bytes
    return max(0.0, total - needed) / max(needed, 1.0)
