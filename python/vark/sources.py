"""Sources: turns what a caller wants backed up into members for the engine."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from vark import _core
from vark.adapters import Adapter, adapter_for_index
from vark.arrays import array_bytes
from vark.errors import InvalidArgumentError, NotFoundError, VarkError, error_from_os
from vark.feeds import FeedGroup
from vark.names import check_name, name_fault, printable

Source: TypeAlias = Any  # path, sequence of paths, array, mapping of arrays, live index
Member: TypeAlias = tuple[str, tuple[str, Any], str, str]

_KINDS_OF_FILES = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(slots=True)
class Gathered:
    """A source as the engine takes it. `kind` and `name` go into the metadata."""

    kind: str
    name: str
    members: list[Member] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    # The live objects behind the members, for probes and for the check of the payload's rows.
    index: Any = None
    adapter: Adapter | None = None
    array: Any = None

    def skip(self, name: str, reason: str) -> None:
        """Record something that is not captured."""
        self.skipped.append({"name": printable(name), "reason": reason})

    def plan_json(self) -> str:
        """Return what the engine wants to know besides the members."""
        return json.dumps({"folders": self.folders, "skipped": self.skipped})

    def row_count(self) -> int | None:
        """Return the number of vectors in the source, or None when only the engine's parser can tell."""
        if self.adapter is not None:
            return self.adapter.row_count(self.index)
        return None if self.array is None or self.array.ndim == 0 else int(self.array.shape[0])


def gather(source: Source, feeds: FeedGroup, *, layout: str = "auto", note: str | None = None) -> Gathered:
    """Return the members of `source`; live sources start to flow into `feeds`.

    layout: "opaque" keeps arrays and live indexes unsplit, too; note says why and becomes a fact of the member.
    Errors: InvalidArgumentError, NotFoundError, AccessDeniedError.
    """
    if isinstance(source, (str, PathLike)):
        return _from_paths([Path(os.fspath(source))], layout)
    if isinstance(source, np.ndarray):
        return _from_arrays({"array": source}, feeds, layout)
    if isinstance(source, Mapping):
        return _from_arrays(source, feeds, layout)
    adapter = adapter_for_index(source)
    if adapter is not None:
        return _from_index(source, adapter, feeds, layout, note)
    if isinstance(source, Sequence) and source and all(isinstance(item, (str, PathLike)) for item in source):
        return _from_paths([Path(os.fspath(item)) for item in source], layout)
    raise InvalidArgumentError(
        f"source: {type(source).__name__}; expected a path, a list of paths, an array, a mapping of names to arrays, "
        "or a live index of faiss or hnswlib"
    )


def _from_index(index: Any, adapter: Adapter, feeds: FeedGroup, layout: str, note: str | None) -> Gathered:
    live = adapter.live_member(index, feeds)
    facts = live.facts if note is None else {**live.facts, "note": note}
    split = "opaque" if layout == "opaque" else live.layout
    member = (live.name, live.source, split, json.dumps(facts, sort_keys=True))
    return Gathered("live", type(index).__name__, [member], index=index, adapter=adapter)


def _from_arrays(arrays: Mapping[str, Any], feeds: FeedGroup, layout: str) -> Gathered:
    if not arrays:
        raise InvalidArgumentError("source: an empty mapping; give at least one array")
    gathered = Gathered("array", ", ".join(arrays))
    for name, array in arrays.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray):
            kinds = f"{type(name).__name__} -> {type(array).__name__}"
            raise InvalidArgumentError(f"source: {kinds}; a mapping gives names to numpy arrays")
        file_name = check_name(f"{name}.npy", what="array")
        split = "opaque" if layout == "opaque" else "npy"
        gathered.members.append((file_name, array_bytes(array, feeds, what=f"array {name!r}"), split, "{}"))
    if len(arrays) == 1:
        gathered.array = next(iter(arrays.values()))
    return gathered


def _from_paths(paths: list[Path], layout: str) -> Gathered:
    single = len(paths) == 1
    gathered = Gathered("files", paths[0].resolve().name if single else f"{len(paths)} paths")
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise error_from_os(error, str(path)) from error
        if stat.S_ISDIR(mode):
            prefix = "" if single else check_name(path.resolve().name, what="folder") + "/"
            _walk(path, prefix, gathered, layout)
        elif stat.S_ISREG(mode):
            if not os.access(path, os.R_OK):
                raise error_from_os(PermissionError(13, "no permission to read it"), str(path))
            if single:
                gathered.kind = "file"
            gathered.members.append(_file_member(check_name(path.name, what="file"), path, layout))
        else:
            reason = next((words for test, words in _KINDS_OF_FILES if test(mode)), "not a file")
            raise InvalidArgumentError(f"{path}: {reason}; expected a file or a folder")
    _check_clashes(gathered.members)
    _add_list_files(gathered, paths)
    if not gathered.members and not gathered.folders and not gathered.skipped:
        raise NotFoundError(f"{paths[0]}: an empty folder; there is nothing to back up")
    return gathered


def _file_member(name: str, path: Path, layout: str) -> Member:
    return name, ("file", str(path)), layout, "{}"


def _walk(folder: Path, prefix: str, gathered: Gathered, layout: str) -> None:
    """Add all that is under `folder`, sorted by name, so that the same folder always gives the same archive."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        if not prefix:
            raise error_from_os(error, str(folder)) from error
        gathered.skip(prefix.rstrip("/"), f"a folder that cannot be read: {error.strerror}")
        return
    if not entries and prefix:
        gathered.folders.append(prefix.rstrip("/"))
    for entry in entries:
        name = prefix + entry.name
        fault = name_fault(entry.name)
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except OSError as error:
            gathered.skip(name, f"it could not be looked at: {error.strerror}")
            continue
        if fault is not None:
            gathered.skip(name, f"its name cannot be stored: {fault}")
        elif stat.S_ISDIR(mode):
            _walk(Path(entry.path), name + "/", gathered, layout)
        elif not stat.S_ISREG(mode):
            gathered.skip(name, next((words for test, words in _KINDS_OF_FILES if test(mode)), "not a file"))
        elif not os.access(entry.path, os.R_OK):
            gathered.skip(name, "no permission to read it")
        else:
            gathered.members.append(_file_member(name, Path(entry.path), layout))


def _check_clashes(members: list[Member]) -> None:
    seen: dict[str, str] = {}
    for name, (_, path), _, _ in members:
        if name in seen:
            raise InvalidArgumentError(f"source: {seen[name]} and {path} would both be stored as {name!r}; rename one")
        seen[name] = str(path)


def _add_list_files(gathered: Gathered, paths: list[Path]) -> None:
    """A faiss index may keep its inverted lists in a second file: take it along, or say that it is missing."""
    held = {os.path.realpath(path): name for name, (_, path), _, _ in gathered.members}
    for name, (_, path), layout, _ in list(gathered.members):
        lists_name = _lists_file_of(path, layout)
        if lists_name is None:
            continue
        beside = Path(path).parent / lists_name
        stored = name.rpartition("/")[0]
        stored = f"{stored}/{lists_name}" if stored else lists_name
        if os.path.realpath(beside) in held:
            continue
        if len(paths) == 1 and gathered.kind == "file" and beside.is_file() and name_fault(lists_name) is None:
            gathered.members.append(_file_member(lists_name, beside, "opaque"))
            gathered.kind = "files"
        else:
            gathered.skip(stored, f"inverted lists of {name}: not found beside it; without them it cannot be searched")


def _lists_file_of(path: str, layout: str) -> str | None:
    if layout not in ("auto", "faiss"):
        return None
    try:
        with open(path, "rb") as file:
            if file.read(1) != b"I":  # every faiss tag of an index with inverted lists begins so
                return None
        facts = json.loads(_core.plan_file(path, layout)).get("facts") or {}
    except (OSError, VarkError):
        return None  # the engine meets the same fault in a moment and reports it with the member
    lists = facts.get("ondisk_data")
    return os.path.basename(lists) if isinstance(lists, str) and lists else None
