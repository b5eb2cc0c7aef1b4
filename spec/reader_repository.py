"""Repositories for reader.py: snapshots of a folder, restored from their commit records and volumes alone.

A rescue tool: it looks at no marks, so that forgotten snapshots restore too as long as their archives are there.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import blake3
from reader_codecs import ArchiveFault, need, parse_json
from reader_keyring import Keyring, canonical
from reader_plan import Member, component_is_safe
from reader_seal import Secret

RECORD_BYTES_MAX, PREFIX_DIGITS_MIN = 1 << 20, 4
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HEX_32, HEX_64 = re.compile("[0-9a-f]{32}"), re.compile("[0-9a-f]{64}")


class Opened(Protocol):
    """What reader.Archive is here."""

    archive_id: bytes
    root: bytes
    seal: Any

    def members(self) -> tuple[list[Member], list[str]]: ...

    def restore(self, target: Path) -> None: ...

    def close(self) -> None: ...


class Opener(Protocol):
    """reader.Archive itself."""

    def __call__(
        self, path: BinaryIO, ancestors: Mapping[str, BinaryIO], *, epoch_roots: Mapping[int, bytes] | None
    ) -> Opened: ...


class Volumes(io.RawIOBase):
    """The concatenation of several files, opened when they are read."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths, self._files = paths, dict[int, BinaryIO]()
        self.sizes, self._at = [path.stat().st_size for path in paths], 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: sum(self.sizes)}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        start = 0
        for number, size in enumerate(self.sizes):
            if self._at < start + size:
                if number not in self._files:
                    self._files[number] = open(self._paths[number], "rb")  # noqa: SIM115 - closed with the others
                file = self._files[number]
                file.seek(self._at - start)
                data = file.read(min(len(buffer), start + size - self._at))
                buffer[: len(data)] = data
                self._at += len(data)
                return len(data)
            start += size
        return 0

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        super().close()


@dataclass(frozen=True)
class Committed:
    """An archive of a commit."""

    id: str
    shard: str
    volumes: list[int]
    root: str


@dataclass(frozen=True)
class Commit:
    """A snapshot that was reported as done, unless it is void."""

    digest: str
    snapshot: str
    name: str
    created_unix_ms: int
    archives: list[Committed]
    closure: list[str]
    replaces: str | None
    copy_of: str | None  # REPOSITORY and COMMIT, where it is a copy

    @property
    def needs(self) -> set[str]:
        """Every archive without which it cannot be restored."""
        return {*self.closure, *(archive.id for archive in self.archives)}


class _Fields:
    """The fields of a JSON object of a record, each with its rule."""

    def __init__(self, values: Any, place: str) -> None:
        need("record", isinstance(values, dict), place, "an object", values)
        self.values: dict[str, Any] = values
        self.place = place

    def take(self, key: str, kind: type) -> Any:
        value = self.values.get(key)
        need("record", type(value) is kind, self.place, f"{key!r} of type {kind.__name__}", value)
        return value

    def number(self, key: str) -> int:
        value: int = self.take(key, int)
        need("record", value >= 0, self.place, f"{key!r} of 0 or more", value)
        return value

    def text(self, key: str, shape: re.Pattern[str] | None = None) -> str:
        value: str = self.take(key, str)
        need(
            "record", not shape or shape.fullmatch(value), self.place, f"{key!r} like {shape and shape.pattern}", value
        )
        return value

    def parts(self, key: str) -> list[_Fields]:
        return [_Fields(item, f"{self.place}: {key} {number}") for number, item in enumerate(self.take(key, list))]


class Repository:
    """A folder with vark.json; nothing in it is changed. `secrets`: of a sealed one, as of an archive."""

    def __init__(self, folder: str | os.PathLike[str], secrets: Sequence[Secret] = ()) -> None:
        self.folder, self.faults = Path(folder), list[ArchiveFault]()
        self.keyring: Keyring | None = None
        marker = self._record("vark.json")
        need("record", marker.text("format") == "vark-repository", "vark.json", "format vark-repository")
        version = marker.number("version")
        need("record", version in (1, 2), "vark.json", "version 1 or 2", version)
        self.id = marker.text("id", HEX_32)
        if version == 2:
            self.keyring = Keyring(self.folder, self.id, secrets)
        self.commits: list[Commit] = []
        for path in sorted(self.folder.glob("commits/*/*.json")):
            try:
                self.commits.append(self._commit(path))
            except ArchiveFault as fault:  # the others restore
                self.faults.append(fault)
        self.commits.sort(key=lambda commit: (commit.created_unix_ms, commit.digest))

    def _record(self, name: str, digest: str | None = None) -> _Fields:
        with open(self.folder / name, "rb") as file:
            data = file.read(RECORD_BYTES_MAX + 1)
        need("record", len(data) <= RECORD_BYTES_MAX, name, f"up to {RECORD_BYTES_MAX} bytes")
        found = blake3.blake3(data).hexdigest()
        need("record", digest in (None, found), name, f"BLAKE3 {digest}", found)
        try:
            return _Fields(parse_json(data, "record"), name)
        except ArchiveFault as fault:
            raise ArchiveFault("record", name, fault.detail) from None

    def _own(self, name: str, digest: str | None, *kinds: str) -> _Fields:
        fields = self._record(name, digest)
        if self.keyring:
            spelled = blake3.blake3(canonical(fields.values)).hexdigest()
            need("record", digest in (None, spelled), name, "the canonical form")
            fields = _Fields(self.keyring.open_record(fields.values, name), name)
        need("record", self.keyring or "seal" not in fields.values, name, "a plain record in a plain repository")
        known = fields.text("kind") in kinds and fields.number("version") == 1
        need("record", known, name, f"kind {' or '.join(kinds)} of version 1", fields.values["kind"])
        need("record", fields.text("repository") == self.id, name, f"repository {self.id}", fields.values["repository"])
        return fields

    def _commit(self, path: Path) -> Commit:
        name = path.relative_to(self.folder).as_posix()
        need("record", HEX_64.fullmatch(path.stem), name, "a name of 64 hex digits")
        fields, archives = self._own(name, path.stem, "commit"), []
        for part in fields.parts("archives"):
            volumes = part.take("volumes", list)
            good = bool(volumes) and all(type(size) is int and size > 0 for size in volumes)
            need("record", good and sum(volumes) == part.number("bytes"), part.place, "volumes that add up to bytes")
            archives.append(
                Committed(part.text("id", UUID), part.text("shard"), volumes, part.text("root", HEX_64))
            )  # fmt: skip
        need("record", archives, name, "an archive or more")
        shards = [archive.shard for archive in archives]
        safe = len(shards) == 1 or (all(map(component_is_safe, shards)) and len(set(shards)) == len(shards))
        need("record", safe, name, "shards whose names are file names, none twice", shards)
        closure = [part.text("id", UUID) for part in fields.parts("closure")]
        replaces = None if fields.values.get("replaces") is None else fields.text("replaces", HEX_64)
        copy_of = None
        if fields.values.get("copy_of") is not None:
            of = _Fields(fields.values["copy_of"], f"{name}: copy_of")
            copy_of = f"{of.text('repository', HEX_32)}/{of.text('commit', HEX_64)}"
        snapshot, times = fields.text("snapshot", HEX_32), fields.number("created_unix_ms")
        return Commit(path.stem, snapshot, fields.text("name"), times, archives, closure, replaces, copy_of)

    def swept(self) -> set[str]:
        """Archives on a sweep list in force: the newest root names all lists."""
        roots = sorted(path.stem for path in self.folder.glob("root/*.json") if re.fullmatch(r"\d{20}", path.stem))
        if not roots:
            return set()
        found: set[str] = set()
        for digest in self._own(f"root/{roots[-1]}.json", None, "root").take("sweeps", list):
            need("record", type(digest) is str and HEX_64.fullmatch(digest), f"root {roots[-1]}", "sweeps of 64 digits")
            sweep = self._own(f"condemned/{digest}.json", digest, "sweep")
            found.update(part.text("id", UUID) for part in sweep.parts("archives"))
        return found

    def find(self, reference: str) -> Commit:
        """The snapshot whose id (or whose commit's name) begins like this."""
        digits = reference.lower().replace("-", "")
        enough = len(digits) >= PREFIX_DIGITS_MIN
        found = [c for c in self.commits if enough and (c.snapshot.startswith(digits) or c.digest.startswith(digits))]
        if len({commit.snapshot for commit in found}) == 1:
            # The newest stands that is neither void nor replaced by one that is not void.
            swept = self.swept()
            sound = [commit for commit in found if not commit.needs & swept]
            replaced = {commit.replaces for commit in sound}
            standing = [commit for commit in sound if commit.digest not in replaced]
            return (standing or sound or found)[-1]
        if len(found) != 1:
            unread = f"; {len(self.faults)} records are damaged: {self.faults[0]}" if self.faults else ""
            raise ValueError(f"snapshot {reference!r} fits {len(found)} of {len(self.commits)}{unread}")
        return found[0]

    def volumes(self, archive_id: str, sizes: list[int] | None = None) -> BinaryIO:
        """An archive as one file."""
        place = self.folder / "archives" / archive_id
        paths = sorted(path for path in place.glob("*.vark") if re.fullmatch(r"\d{6}", path.stem))
        expected = [f"{number:06d}" for number in range(len(paths) if sizes is None else len(sizes))]
        names = [path.stem for path in paths]
        need("record", paths and names == expected, f"archive {archive_id}", f"volumes {expected or 'of it'}", names)
        whole = Volumes(paths)
        need("record", sizes in (None, whole.sizes), f"archive {archive_id}", f"volumes of {sizes} bytes", whole.sizes)
        return io.BufferedReader(whole)

    def restore(self, reference: str, target: str | os.PathLike[str], opener: Opener) -> None:
        """One archive as archives restore; several: each to a folder of its shard's name. Nothing is replaced."""
        commit, goal = self.find(reference), Path(os.path.abspath(target))
        dead = self.swept() & commit.needs
        if dead:
            raise ValueError(f"snapshot {commit.snapshot} is void: a collection has freed {sorted(dead)[0]}")
        with ExitStack() as stack:
            opened = [(archive.shard, self._open(archive, commit, opener)) for archive in commit.archives]
            for _, archive in opened:
                stack.callback(archive.close)
            if len(opened) == 1:
                opened[0][1].restore(goal)
                return
            if os.path.lexists(goal):
                raise FileExistsError(f"the target {goal} exists")
            beside = stack.enter_context(tempfile.TemporaryDirectory(prefix=f".{goal.name[:100]}.", dir=goal.parent))
            whole = Path(beside) / "restored"
            whole.mkdir()
            for shard, archive in opened:
                members, folders = archive.members()
                place = whole / shard
                if len(members) == 1 and not folders and "/" not in members[0].name:
                    place.mkdir()
                    place /= members[0].name
                archive.restore(place)
            if os.name != "nt":
                goal.mkdir()  # claims the name: renaming a folder replaces only an empty one
            os.rename(whole, goal)

    def _open(self, archive: Committed, commit: Commit, opener: Opener) -> Opened:
        ancestors = {other: self.volumes(other) for other in commit.closure if other != archive.id}
        ancestors |= {other.id: self.volumes(other.id, other.volumes) for other in commit.archives if other != archive}
        roots = self.keyring.epoch_roots if self.keyring else None
        opened = opener(self.volumes(archive.id, archive.volumes), ancestors, epoch_roots=roots)
        if self.keyring and (not opened.seal or opened.seal.repository != self.keyring.repository):
            opened.close()
            raise ArchiveFault("seal", f"archive {archive.id}", "is not sealed for this repository; it was put here")
        found = (opened.archive_id.hex(), opened.root.hex())
        expected = (archive.id.replace("-", ""), archive.root)
        if found != expected:
            opened.close()
            need("record", False, f"archive {archive.id}", f"id and root {expected}", found)
        return opened
