"""hnswlib: saved from a forked child, loaded as its own pickles are.

hnswlib keeps the GIL while it saves, so a thread of this process would block everything that could empty the pipe, and
it does not notice write errors, so the engine's parser must see the whole file. Loading a file it seeks to each node and
back; what it does for pickles (version 1 of its state, hnswlib 0.8) takes the elements in one piece, in half of the time.
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

        stored = request.record.get("facts", {}).get("space")
        space = request.space or stored
        if space not in SPACES:
            raise InvalidArgumentError(f"space: {space!r}; an hnswlib file does not name it, give one of {SPACES}")
        memory, facts = request.read(self.name)
        # hnswlib believes the dimension that it is given and reads as far: only the file's own row length will do.
        vector_bytes = facts["vector_bytes"]
        dim = vector_bytes // 4
        if vector_bytes % 4 or facts.get("dim", dim) != dim:
            found = f"vectors of {vector_bytes} bytes and {facts.get('dim', 'unknown')} dimensions"
            raise SourceError(f"the archive has {found}; expected 4 bytes a dimension", code="malformed")
        try:
            state = hnswlib_state(memory, *_upper_lists(request), space=space, dim=dim)
            if state is not None and getattr(hnswlib.Index(space, dim), "ser_version", 1) == state["ser_version"]:
                index = hnswlib.Index.__new__(hnswlib.Index)
                index.__setstate__((state,))
            else:
                index = _load_file(hnswlib.Index(space=space, dim=dim), memory)
        except RuntimeError as error:
            raise SourceError(f"hnswlib refuses the index: {error}", code="malformed") from error
        if isinstance(facts.get("ef"), int):
            index.set_ef(facts["ef"])
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


# The head of a file: names and types of its fields in the state of a pickle.
HEAD = np.dtype(
    [
        ("offset_level0", "<u8"),
        ("max_elements", "<u8"),
        ("cur_element_count", "<u8"),
        ("size_data_per_element", "<u8"),
        ("label_offset", "<u8"),
        ("offset_data", "<u8"),
        ("max_level", "<i4"),
        ("enterpoint_node", "<u4"),
        ("max_M", "<u8"),
        ("max_M0", "<u8"),
        ("M", "<u8"),
        ("mult", "<f8"),
        ("ef_construction", "<u8"),
    ]
)
DELETED = 1  # a bit of the third byte of an element


def hnswlib_state(
    memory: NDArray[np.uint8], lengths: NDArray[np.uint32], upper: NDArray[np.uint8], *, space: str, dim: int
) -> dict[str, Any] | None:
    """Return what `hnswlib.Index.__setstate__` takes for a file that the engine has checked; None where it is of no use.

    memory: the bytes of the file, shape (n,). lengths: bytes of the upper lists of each node; upper: those lists, one
    after another (in the file they stand behind their lengths). The state points into all three; hnswlib copies.
    """
    head = {name: memory[: HEAD.itemsize].view(HEAD)[0][name].item() for name in HEAD.names or ()}
    count, element_bytes = head["cur_element_count"], head["size_data_per_element"]
    end = HEAD.itemsize + count * element_bytes
    whole = end + lengths.nbytes + upper.nbytes == len(memory) and int(lengths.sum(dtype=np.uint64)) == upper.nbytes
    if count == 0 or head["offset_level0"] != 0 or len(lengths) != count or not whole:
        return None
    elements = memory[HEAD.itemsize : end]
    rows = elements.reshape(count, element_bytes)
    labels = np.ascontiguousarray(rows[:, head["label_offset"] : head["label_offset"] + 8]).view("<u8").ravel()
    level_bytes = 4 + 4 * head["max_M"]
    return head | {
        "ser_version": 1,
        "space": space,
        "dim": dim,
        "index_inited": True,
        "ep_added": True,
        "normalize": space == "cosine",
        "num_threads": os.cpu_count() or 1,
        "seed": 0,
        "ef": 10,
        "has_deletions": bool((rows[:, 2] & DELETED).any()),
        "size_links_per_element": level_bytes,
        "allow_replace_deleted": False,
        "label_lookup_external": labels,
        "label_lookup_internal": np.arange(count, dtype=np.uint32),
        "element_levels": (lengths // level_bytes).astype(np.int32),
        "data_level0": elements.view(np.int8),
        "link_lists": upper.view(np.int8),
    }


def _upper_lists(request: LoadRequest) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Return the lengths of the upper lists of all nodes and the lists; nothing where the plan is not as ours."""
    nothing = np.empty(0, np.uint32), np.empty(0, np.uint8)
    last = request.record["runs"][-1] if request.record["runs"] else {}
    fields = last.get("fields", [])
    if [field["rows"] for field in fields] != [1, "counted"]:
        return nothing
    lengths = request.rows(fields[0]["stream"], fields[0]["first"], last["groups"])
    if lengths.size != last["groups"] * 4:
        return nothing
    lists_bytes = int(lengths.view("<u4").sum(dtype=np.uint64))
    upper = request.rows(fields[1]["stream"], fields[1]["first"], None)
    return lengths.view("<u4"), upper[:lists_bytes]


def _load_file(index: Any, memory: NDArray[np.uint8]) -> Any:
    descriptor = _memory_file()
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(memory.data)
        index.load_index(descriptor_path(descriptor))
    finally:
        os.close(descriptor)
    return index


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
