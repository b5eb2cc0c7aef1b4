"""hnswlib: saved from a forked child, loaded from a file in memory.

hnswlib keeps the GIL while it saves, so a thread of this process would block everything that could empty the pipe; it
does not notice write errors, so the engine's parser must see the whole file; and it seeks while it loads.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vark.adapters.base import LiveMember, LoadRequest, comes_from
from vark.errors import InvalidArgumentError, SourceError
from vark.feeds import Feed, FeedGroup, ForkFeed, ThreadFeed, can_fork, descriptor_path

SPACES = ("l2", "ip", "cosine")


class HnswlibAdapter:
    """Objects of `hnswlib` and members of layout "hnswlib"."""

    name = "hnswlib"

    def owns(self, index: object) -> bool:
        return comes_from(index, "hnswlib")

    def live_member(self, index: Any, feeds: FeedGroup) -> LiveMember:
        # The file names neither space nor search width; without them the restored index would answer otherwise.
        facts = {"space": str(index.space), "dim": int(index.dim), "ef": int(index.ef)}

        def save(descriptor: int) -> None:
            index.save_index(descriptor_path(descriptor))

        what = "live index of hnswlib"
        return LiveMember("index.hnswlib", "hnswlib", ("pipe", feeds.add(_feed(index, save, what))), facts)

    def load(self, request: LoadRequest) -> Any:
        try:
            import hnswlib
        except ImportError as error:
            raise InvalidArgumentError(
                "loading this member needs the package hnswlib; install vark[hnswlib]"
            ) from error

        space = request.space or request.facts.get("space")
        if space not in SPACES:
            raise InvalidArgumentError(f"space: {space!r}; an hnswlib file does not name it, give one of {SPACES}")
        # hnswlib believes the dimension that it is given and reads as far: only the file's own row length will do.
        vector_bytes = request.facts["vector_bytes"]
        dim = vector_bytes // 4
        if vector_bytes % 4 or request.facts.get("dim", dim) != dim:
            found = f"vectors of {vector_bytes} bytes and {request.facts.get('dim', 'unknown')} dimensions"
            raise SourceError(f"the archive has {found}; expected 4 bytes a dimension", code="malformed")
        descriptor = _memory_file()
        try:
            request.reader.write_member(
                request.member, descriptor, threads=request.threads, memory_bytes=request.memory_bytes, progress=None
            )
            os.lseek(descriptor, 0, os.SEEK_SET)
            index = hnswlib.Index(space=space, dim=dim)
            index.load_index(descriptor_path(descriptor))
        except RuntimeError as error:
            raise SourceError(f"hnswlib refuses the index: {error}", code="malformed") from error
        finally:
            os.close(descriptor)
        if isinstance(request.facts.get("ef"), int):
            index.set_ef(request.facts["ef"])
        return index

    def row_count(self, index: Any) -> int:
        return int(index.element_count)

    def metric(self, index: Any) -> str:
        return str(index.space)

    def search(self, index: Any, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        try:
            labels, distances = index.knn_query(queries, k=k)
        except RuntimeError as error:
            raise InvalidArgumentError(f"probes: hnswlib refuses the search: {error}; try a smaller k") from error
        return labels.astype(np.int64), distances.astype(np.float32, copy=False)


def _memory_file() -> int:
    """Return the descriptor of a file without a name: in memory where the system has such, else in the temp folder."""
    try:
        return os.memfd_create("vark", os.MFD_CLOEXEC)
    except (AttributeError, OSError):
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


def _feed(index: Any, save: Callable[[int], None], what: str) -> Feed:
    if can_fork():
        try:
            return ForkFeed(save, what=what)
        except OSError:  # no memory for a second process under strict accounting
            pass
    return ThreadFeed(_saver_through_file(index), what=what)


def _saver_through_file(index: Any) -> Callable[[int], None]:
    def save(descriptor: int) -> None:
        with tempfile.NamedTemporaryFile() as file:
            index.save_index(file.name)
            with open(descriptor, "wb", closefd=False) as pipe:
                shutil.copyfileobj(file, pipe, 1 << 20)

    return save
