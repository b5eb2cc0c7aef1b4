"""hnswlib: saved from a forked child, loaded as its own pickles are.

hnswlib keeps the GIL while it saves, so a thread of this process would block everything that could empty the pipe, and
it does not notice write errors, so the engine's parser must see the whole file. Loading a file, it seeks to each node
and back; what it does for pickles (version 1 of its state, hnswlib 0.8) takes the elements in one piece, in half of
the time.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vark.adapters.base import LiveMember, LoadRequest, comes_from
from vark.errors import InvalidArgumentError, LimitError, SourceError
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
        return LiveMember(
            "index.hnswlib", "hnswlib", ("pipe", feeds.add(_feed(index, save, what, feeds.is_sealed))), facts
        )

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
        if facts["max_elements"] * TOUCHED_BYTES > physical_bytes():
            raise _too_large(facts)
        # hnswlib believes the dimension that it is given and reads as far: only the file's own row length will do.
        vector_bytes = facts["vector_bytes"]
        dim = vector_bytes // 4
        if vector_bytes % 4 or facts.get("dim", dim) != dim:
            found = f"vectors of {vector_bytes} bytes and {facts.get('dim', 'unknown')} dimensions"
            raise SourceError(f"the archive has {found}; expected 4 bytes a dimension", code="malformed")
        try:
            state = hnswlib_state(memory, facts, *_upper_lists(request, facts), space=space)
            if state is not None and _knows_state(hnswlib.Index(space=space, dim=dim)):
                index = hnswlib.Index.__new__(hnswlib.Index)
                index.__setstate__((state,))
            else:
                index = _load_file(hnswlib.Index(space=space, dim=dim), memory, request.reader.is_sealed)
        except RuntimeError as error:
            raise SourceError(f"hnswlib refuses the index: {error}", code="malformed") from error
        except MemoryError as error:
            raise _too_large(facts) from error
        ef = facts.get("ef")
        if isinstance(ef, int) and 0 < ef <= EF_MAX:
            index.set_ef(ef)
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


EF_MAX = 1 << 20  # beyond any use; a search takes memory for as many
TOUCHED_BYTES = 64  # of each element that there is room for, in locks, levels and marks, before any is added
SER_VERSION = 1  # of the state that is built here
DEGREE_MAX = 10_000  # above it hnswlib cuts the degree down, and its state does not fit the file
DELETED = 1  # a bit of the third byte of an element


def hnswlib_state(
    memory: NDArray[np.uint8], facts: dict[str, Any], lengths: NDArray[np.uint32], upper: NDArray[np.uint8], space: str
) -> dict[str, Any] | None:
    """Return what `hnswlib.Index.__setstate__` takes for a file that the engine has checked; None where it cannot.

    memory: the bytes of the file, shape (n,). facts: what the engine read in it. lengths: bytes of the upper lists of
    each node; upper: those lists, one after another (in the file they stand behind their lengths). The state points
    into all three; hnswlib copies.
    """
    count, degree, vector_bytes = facts["ntotal"], facts["M"], facts["vector_bytes"]
    offset_data = 4 + 4 * 2 * degree
    label_offset = offset_data + vector_bytes
    element_bytes = label_offset + 8
    first = len(memory) - lengths.nbytes - upper.nbytes - count * element_bytes
    # A file with a smaller width of construction than its degree loads, a state does not.
    if degree > DEGREE_MAX or facts["ef_construction"] < degree:
        return None
    if count == 0 or len(lengths) != count or first < 0 or int(lengths.sum(dtype=np.uint64)) != upper.nbytes:
        return None
    elements = memory[first : first + count * element_bytes]
    rows = elements.reshape(count, element_bytes)
    level_bytes = 4 + 4 * degree
    return {
        "ser_version": SER_VERSION,
        "space": space,
        "dim": vector_bytes // 4,
        "index_inited": True,
        "ep_added": True,
        "normalize": space == "cosine",
        "num_threads": os.cpu_count() or 1,
        "seed": 0,
        "offset_level0": 0,
        "max_elements": facts["max_elements"],
        "cur_element_count": count,
        "size_data_per_element": element_bytes,
        "label_offset": label_offset,
        "offset_data": offset_data,
        "max_level": facts["max_level"],
        "enterpoint_node": facts["entry_point"] & 0xFFFF_FFFF,
        "max_M": degree,
        "max_M0": 2 * degree,
        "M": degree,
        "mult": 1 / math.log(degree) if degree > 1 else math.inf,
        "ef_construction": facts["ef_construction"],
        "ef": 10,
        "has_deletions": bool((rows[:, 2] & DELETED).any()),
        "size_links_per_element": level_bytes,
        "allow_replace_deleted": False,
        "label_lookup_external": np.ascontiguousarray(rows[:, label_offset:]).view("<u8").ravel(),
        "label_lookup_internal": np.arange(count, dtype=np.uint32),
        "element_levels": (lengths // level_bytes).astype(np.int32),
        "data_level0": elements.view(np.int8),
        "link_lists": upper.view(np.int8),
    }


def _upper_lists(request: LoadRequest, facts: dict[str, Any]) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Return the lengths of the upper lists of all nodes and the lists; nothing where the plan is not as ours.

    The engine has checked the file, in which each length is followed by its lists: only a plan that takes them so from
    two streams makes these rows those of the file.
    """
    nothing = np.empty(0, np.uint32), np.empty(0, np.uint8)
    last = request.record["runs"][-1] if request.record["runs"] else {}
    fields = last.get("fields", [])
    if [field["rows"] for field in fields] != [1, "counted"]:
        return nothing
    lengths, upper = fields
    level_bytes = 4 + 4 * facts["M"]
    counts = {"stream": lengths["stream"], "first": lengths["first"], "offset": 0, "bytes": 4, "subtract": 0}
    row_bytes = [request.row_bytes(field["stream"]) for field in fields]
    if last["counts"] != counts | {"divide": level_bytes} or row_bytes != [4, level_bytes]:
        return nothing
    numbers = request.rows(lengths["stream"], lengths["first"], last["groups"]).view("<u4")
    list_count = int(numbers.sum(dtype=np.uint64)) // level_bytes
    return numbers, request.rows(upper["stream"], upper["first"], list_count)


def physical_bytes() -> int:
    """Return the memory of this machine; a large number where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 1 << 62


def _too_large(facts: dict[str, Any]) -> LimitError:
    room = f"asks for room for {facts['max_elements']} elements"
    return LimitError(f"the hnswlib index {room}, more than this machine has memory for", code="limit-exceeded")


def _knows_state(index: Any) -> bool:
    """Return whether this hnswlib's own state has the version that is built here."""
    try:
        (state,) = index.__getstate__()
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return False
    return bool(state.get("ser_version") == SER_VERSION)


def _load_file(index: Any, memory: NDArray[np.uint8], is_sealed: bool) -> Any:
    descriptor = _memory_file(is_sealed)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(memory.data)
        index.load_index(descriptor_path(descriptor))
    finally:
        os.close(descriptor)
    return index


def _memory_file(is_sealed: bool) -> int:
    """Return the descriptor of a file without a name: in memory where the system has such, else in the temp folder.

    is_sealed: never there, where it would lie in the clear. Errors: LimitError.
    """
    try:
        return os.memfd_create("vark", os.MFD_CLOEXEC)
    except (AttributeError, OSError) as error:
        if is_sealed:
            raise LimitError(
                "live index of hnswlib: this system has no files in memory, and hnswlib wants a file; on disk what is "
                "encrypted would lie in the clear. Save the index to a file where you accept that, and back that up",
                code="limit-exceeded",
            ) from error
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


def _feed(index: Any, save: Callable[[int], None], what: str, is_sealed: bool) -> Feed:
    if can_fork():
        try:
            return ForkFeed(save, what=what)
        except OSError:  # no memory for a second process under strict accounting
            pass
    return ThreadFeed(_saver_through_memory(index) if is_sealed else _saver_through_file(index), what=what)


def _saver_through_memory(index: Any) -> Callable[[int], None]:
    held = _memory_file(is_sealed=True)  # here, so that its error is the caller's

    def save(descriptor: int) -> None:
        with open(held, "rb") as file:
            index.save_index(descriptor_path(held))
            with open(descriptor, "wb", closefd=False) as pipe:
                shutil.copyfileobj(file, pipe, 1 << 20)

    return save


def _saver_through_file(index: Any) -> Callable[[int], None]:
    def save(descriptor: int) -> None:
        with tempfile.NamedTemporaryFile() as file:
            index.save_index(file.name)
            with open(descriptor, "wb", closefd=False) as pipe:
                shutil.copyfileobj(file, pipe, 1 << 20)

    return save
