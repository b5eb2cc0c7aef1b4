"""What a write-only client keeps of its snapshots, so that the next ones can build on them (spec/CACHE.md, section 4).

Of each source: which archive is its newest (a head), and shadows of that and of the archives that it points into. All
of it may be lost, and is hostile: a head has a tag that only the signer's file makes, a shadow is sealed.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vark.keys import Signer
from vark.repository.digest import digest_hex
from vark.repository.layout import ERASURES, content_of_name
from vark.stores import Store

HEAD_BYTES_MAX = 65_536
ORPHAN_SECONDS = 7 * 86_400.0  # a shadow without a head is one whose backup was cut off, or is at its end just now


@dataclass(frozen=True, slots=True)
class Head:
    """The archive of a source's newest snapshot from here. commit: that says so; chain: what the archive points into.

    erasures: what was erased from the repository when it was written, as `erasures_seen` tells it.
    """

    commit: str
    archive: str
    chain: tuple[str, ...]
    erasures: str


class Shadows:
    """The folder of one signer. Any number of processes may use it at once."""

    def __init__(self, folder: Path, signer: Signer) -> None:
        self.folder = folder
        self._signer = signer

    def head(self, name: str, shard: str) -> Head | None:
        """Return the head of a source; None where there is none, or where it is not what this signer wrote."""
        return self._read(self._path(name, shard))

    def keep(self, name: str, shard: str, head: Head) -> None:
        """Make this the head of a source, and remove what only the one before needed."""
        path = self._path(name, shard)
        before = self._read(path)
        text = json.dumps([head.commit, head.archive, list(head.chain), head.erasures]).encode()
        temporary = path.with_name(f".{os.getpid()}-{time.monotonic_ns()}.head-tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._tag(path, text) + text)
            temporary.replace(path)
        except OSError:  # full or read-only: the next backup has another base, or none
            with contextlib.suppress(OSError):
                temporary.unlink()
            return
        self._tidy(() if before is None else (before.archive, *before.chain))

    def drop(self, name: str, shard: str) -> None:
        """Forget a source: what is kept of it is of no use."""
        path = self._path(name, shard)
        before = self._read(path)
        with contextlib.suppress(OSError):
            path.unlink()
        self._tidy(() if before is None else (before.archive, *before.chain))

    def _path(self, name: str, shard: str) -> Path:
        source = json.dumps(["source", name, shard]).encode()
        return self.folder / f"{bytes(self._signer.cache_tag(source)).hex()}.head"

    def _tag(self, path: Path, text: bytes) -> bytes:
        return bytes(self._signer.cache_tag(b"head " + path.name.encode() + b" " + text))

    def _read(self, path: Path) -> Head | None:
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                data = file.read(HEAD_BYTES_MAX + 1)
        except OSError:
            return None
        tag, text = data[:32], data[32:]
        if tag != self._tag(path, text):  # no secret: whoever can write here sees the file, too
            return None
        commit, archive, chain, erasures = json.loads(text)
        return Head(commit, archive, tuple(chain), erasures)

    def _tidy(self, replaced: Iterable[str]) -> None:
        """Remove shadows that no head needs: those that were replaced at once, others when they are old."""
        heads = [head for path in self._files(".head") if (head := self._read(path)) is not None]
        needed = {one for head in heads for one in (head.archive, *head.chain)}
        old, replaced = time.time() - ORPHAN_SECONDS, set(replaced)
        for path in [*self._files(".shadow"), *self._files(".shadow-tmp"), *self._files(".head-tmp")]:
            with contextlib.suppress(OSError):
                if path.stem not in needed and (path.stem in replaced or path.stat().st_mtime < old):
                    path.unlink()

    def _files(self, suffix: str) -> list[Path]:
        with contextlib.suppress(OSError):
            return [self.folder / name for name in os.listdir(self.folder) if name.endswith(suffix)]
        return []


def erasures_seen(store: Store) -> str:
    """Return a digest of which records of erasures there are: who can read none of them sees that one came."""
    found = sorted(filter(None, (content_of_name(entry.name) for entry in store.list(ERASURES))))
    return digest_hex("".join(found).encode())
