"""Whether stored bytes of an archive are those that commits mean, without any key.

A volume's digest in a commit proves its bytes. Where there is none the archive's own tables say what its blocks are,
and the root in the commit what its tables are: their checksums find damage; where nothing is encrypted the digests of
rows, too, find what somebody made to fit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import vark.api
from vark.archive import Volume
from vark.errors import CancelledError, NotFoundError, VarkError
from vark.repository.digest import VolumeDigest
from vark.repository.engine import READ_BYTES, Places
from vark.repository.layout import volume_name
from vark.repository.records import Ancestor, Commit, CommittedArchive
from vark.repository.volumes import stored_digest
from vark.stores import RemoteStore, Store
from vark.types import Damage, VerifyReport

REMOTE_WORKERS = 8  # volumes that are read at once, 8 MiB of each


@dataclass(frozen=True, slots=True)
class Meant:
    """What an archive has to be. sizes: of its volumes; is_own: said by a commit of the repository itself."""

    archive: CommittedArchive
    sizes: tuple[int, ...]
    is_own: bool

    @property
    def names(self) -> list[str]:
        """The objects that hold it."""
        return [volume_name(self.archive.id, number) for number in range(len(self.sizes))]

    @property
    def digests(self) -> tuple[str, ...]:
        """A digest for each volume, or none."""
        return self.archive.digests if len(self.archive.digests) == len(self.sizes) else ()


class Claims:
    """What commits say of archives. own: digests of those that the repository itself has.

    What it has itself goes before what only a mirror has: whoever can write to a mirror can put a commit there that
    names an archive of the repository as another.
    """

    def __init__(self, commits: Mapping[str, Commit], own: Iterable[str]) -> None:
        known = set(own)
        self._said: dict[tuple[str, bool], dict[tuple[str, int], CommittedArchive]] = {}
        for digest, commit in sorted(commits.items(), key=lambda item: (item[1].unix_ms, item[0])):
            plain = (CommittedArchive(one.id, "", (), one.root, one.bytes, None) for one in commit.closure)
            for archive in (*commit.archives, *plain):
                said = self._said.setdefault((archive.id, digest in known), {})
                before = said.get((archive.root, archive.bytes))
                if before is None or len(before.digests) + len(before.volumes) == 0:
                    said[archive.root, archive.bytes] = archive

    def of(self, archive_id: str) -> tuple[list[CommittedArchive], bool]:
        """Return what is said of an archive, one thing or several that differ, and whether the repository says it."""
        own = self._said.get((archive_id, True))
        return list((own or self._said[archive_id, False]).values()), own is not None

    def contradicted(self, commit: Commit) -> str | None:
        """Return an archive that the repository's own commits name as another than this one does."""
        for one in commit.needed():
            own = self._said.get((one.id, True))
            if own is not None and (one.root, one.bytes) not in own:
                return one.id
        return None


def scrub(volumes: Sequence[Volume], ancestor: Ancestor, *, threads: int | None, level: str = "stored") -> VerifyReport:
    """Compare the stored bytes of an archive with its own tables, and its id and root with those of its commit.

    level: "full" decodes its blocks, too, for which one that is encrypted needs keys.
    """
    report = vark.api.verify_archive(list(volumes), level=level, own=True, threads=threads)
    if not report.ok or (report.archive_id, report.root) == (ancestor.id, ancestor.root):
        return report
    said = f"it says id {report.archive_id}, root {(report.root or '')[:16]}…"
    detail = f"it is another archive than its commit names: {said}"
    return replace(report, ok=False, damage=(Damage("trailer", detail, None, None, None, None, None),))


class Prover:
    """Looks at archives in stores and files. is_plain: of a repository that is not encrypted."""

    def __init__(self, *, is_plain: bool, threads: int | None) -> None:
        self._level = "full" if is_plain else "stored"
        self._threads = threads

    def scrub(self, volumes: Sequence[Volume], meant: Meant) -> VerifyReport:
        """Compare an archive with its own tables, as deeply as can be done without a key."""
        return scrub(volumes, meant.archive.as_ancestor(), threads=self._threads, level=self._level)

    def wrong(self, store: Store, meant: Meant) -> dict[int, str]:
        """Return the volumes that are not what they have to be, and why.

        Without digests: all of them where the archive is damaged, for nobody can tell which it is.
        """
        faults = lengths(store, meant)
        if meant.digests:
            return {**faults, **self._other_digests(store, meant, faults)}
        if faults:
            return {number: faults.get(number, "") for number in range(len(meant.sizes))}
        report = self.scrub(Places(store).volumes(meant.archive.id, meant.sizes), meant)
        return {} if report.ok else dict.fromkeys(range(len(meant.sizes)), str([*report.damage, *report.unread][0]))

    def is_whole(self, files: Mapping[int, Path], meant: Meant) -> bool:
        """Return whether volumes in files, by their numbers, are what they have to be; without digests, all of them."""
        if not meant.digests:
            return self.scrub([files[number] for number in range(len(meant.sizes))], meant).ok
        return all(_file_digest(file) == meant.digests[number] for number, file in files.items())

    def _other_digests(self, store: Store, meant: Meant, faults: Mapping[int, str]) -> dict[int, str]:
        def fault(number: int) -> str | None:
            try:
                found = stored_digest(store, meant.names[number], meant.sizes[number])
            except CancelledError:
                raise
            except (VarkError, OSError) as error:
                return "missing" if isinstance(error, NotFoundError) else str(error)
            return None if found == meant.digests[number] else "its digest is not that of its commit"

        left = [number for number in range(len(meant.sizes)) if number not in faults]
        workers = REMOTE_WORKERS if isinstance(store, RemoteStore) else self._threads or os.cpu_count() or 1
        with ThreadPoolExecutor(workers, "vark-digest") as pool:
            return {number: why for number, why in zip(left, pool.map(fault, left), strict=True) if why is not None}


def lengths(store: Store, meant: Meant) -> dict[int, str]:
    """Return which volumes are missing, or not as long as they have to be."""
    faults = {}
    for number, (name, size) in enumerate(zip(meant.names, meant.sizes, strict=True)):
        try:
            found = store.byte_count(name)
        except CancelledError:
            raise
        except (VarkError, OSError) as error:
            faults[number] = "missing" if isinstance(error, NotFoundError) else str(error)
            continue
        if found != size:
            faults[number] = f"{found} bytes; expected {size}"
    return faults


def _file_digest(path: Path) -> str:
    digest = VolumeDigest()
    with open(path, "rb") as file:
        while data := file.read(READ_BYTES):
            digest.update(data)
    return digest.hex()
