"""What a commit says of its source, and a signature by which an interrupted backup recognises it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

from vark.errors import InvalidArgumentError
from vark.names import name_fault, printable
from vark.repository.digest import digest_hex
from vark.repository.fields import encode_record

PATHS_MAX = 100
TEXT_CHARACTERS_MAX = 1000


def describe(source: Any) -> dict[str, Any]:
    """Return what people want to know of a source: its kind and where it was."""
    if isinstance(source, (str, PathLike)):
        return {"kind": "paths", "paths": [_shown(os.path.abspath(os.fspath(source)))], "path_count": 1}
    if isinstance(source, Mapping):
        names = [_shown(str(name)) for name in source]
        return {"kind": "arrays", "arrays": names[:PATHS_MAX], "array_count": len(names)}
    if isinstance(source, Sequence) and not isinstance(source, bytes):
        paths = [_shown(os.path.abspath(os.fspath(item))) for item in source if isinstance(item, (str, PathLike))]
        return {"kind": "paths", "paths": paths[:PATHS_MAX], "path_count": len(paths)}
    return {"kind": "object", "type": _shown(f"{type(source).__module__}.{type(source).__qualname__}")}


def describe_shards(sources: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of one source, or of some of the shards."""
    if list(sources) == [""]:
        return describe(sources[""])
    shown = {name: describe(source) for name, source in list(sources.items())[:PATHS_MAX]}
    return {"kind": "shards", "shard_count": len(sources), "shards": shown}


def check_shards(sources: Mapping[str, Any]) -> None:
    """Refuse names of shards that could not become folders. Errors: InvalidArgumentError."""
    if not sources:
        raise InvalidArgumentError("sources: no shard; give at least one")
    for name in sources:
        fault = name_fault(name) if isinstance(name, str) else "not a text"
        if fault is not None:
            raise InvalidArgumentError(f"shard {name!r}: {fault}; give it another name")


def signature(sources: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Return a digest of what the sources look like from outside: names, sizes and times of files, shapes of arrays.

    It only decides whether an interrupted backup is worth going on with; what is written is compared byte by byte.
    """
    facts = {shard: list(_facts(source)) for shard, source in sources.items()}
    settings = {key: printable(repr(value))[:TEXT_CHARACTERS_MAX] for key, value in options.items()}
    return digest_hex(
        b"".join(
            encode_record({"shard": key, "facts": digest_hex("\n".join(value).encode())})
            for key, value in facts.items()
        )
        + encode_record(settings)
    )


def _facts(source: Any) -> Iterator[str]:
    if isinstance(source, (str, PathLike)):
        yield from _path_facts(os.fspath(source))
    elif isinstance(source, Mapping):
        for name, array in source.items():
            yield printable(f"{name} {getattr(array, 'dtype', type(array))} {getattr(array, 'shape', ())}")
    elif isinstance(source, Sequence) and not isinstance(source, bytes):
        for item in source:
            yield from _facts(item)
    else:
        yield printable(f"{type(source)} {getattr(source, 'dtype', '')} {getattr(source, 'shape', '')}")


def _path_facts(path: str) -> Iterator[str]:
    paths = [path]
    for folder, folders, files in os.walk(path):
        folders.sort()
        paths += [os.path.join(folder, name) for name in sorted(files)]
    for item in paths:
        try:
            found = os.stat(item)
        except OSError:
            continue  # the backup itself meets it and says so
        yield printable(f"{os.path.abspath(item)} {found.st_ino} {found.st_size} {found.st_mtime_ns}")


def _shown(text: str) -> str:
    return printable(text)[:TEXT_CHARACTERS_MAX]
