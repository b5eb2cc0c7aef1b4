"""faiss indexes that own their memory, filled without a pipe.

faiss reads an index out of memory without copying its large vectors: they are views. Here each view is made a vector of
its own, and the largest, the rows of vectors or codes, is decoded where it will stay; it was never anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vark.adapters.base import LargeRows, LoadRequest
from vark.errors import LimitError, SourceError

# What may hold views, and what else such an object is made of. Anything else goes through the pipe.
INDEXES = {
    "IndexFlat", "IndexFlatIP", "IndexFlatL2", "IndexHNSWFlat", "IndexHNSWPQ", "IndexHNSWSQ", "IndexIDMap",
    "IndexIDMap2", "IndexPQ", "IndexScalarQuantizer",
}  # fmt: skip
PARTS = {
    "ClusteringParameters", "HNSW", "PolysemousTraining", "ProductQuantizer", "RandomGenerator", "ScalarQuantizer",
}  # fmt: skip
LAYOUTS = {f"faiss/{code}" for code in ("IHNf", "IHNp", "IHNs", "IxF2", "IxFI", "IxFl", "IxM2", "IxMp", "IxPq", "IxSQ")}
# Members that are no vectors and that Python has no type for: it complains of them when it lets them go.
NO_VECTORS = {"mt", "rev_map", "thisown", "turboq_refine", "use_visited_hashset"}
VIEW = "MaybeOwnedVector"
# Memory is taken before anything is checked when the archive has a byte for so many of it.
EARNED_FACTOR = 8


def load_owned(faiss: Any, request: LoadRequest) -> Any | None:
    """Return an index that may be changed; None where it has to come through a pipe.

    Errors: DamagedError, LimitError, SourceError.
    """
    try:
        return _load_owned(faiss, request)
    except MemoryError as error:
        detail = f"{request.record['bytes']} bytes; this machine does not give so much memory"
        raise LimitError(f"member {request.record['name']!r}: {detail}", code="limit-exceeded") from error


def _load_owned(faiss: Any, request: LoadRequest) -> Any | None:
    rows = request.large_rows()
    if rows is None or not hasattr(faiss, "ZeroCopyIOReader") or not _is_known(request.record):
        return None
    # What stands beside the rows is held twice for a while; with a digest to be compared, all of it would be.
    beside_bytes = request.record["bytes"] - rows.bytes
    if beside_bytes > max(request.memory_bytes, rows.bytes // 2) or request.record.get("blake3") is not None:
        return None
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="vark-load") as beside:
        # faiss clears what it takes, which is slower than decoding: meanwhile the rest is decoded and checked.
        cleared = beside.submit(_cleared, faiss, rows.bytes) if _has_earned(request, rows) else None
        memory, facts, is_whole = request.read_without_rows("faiss")
        if facts.get("ondisk_data"):
            return None
        index = read_views(faiss, memory)
        views = _views(faiss, index)
        places = [_place(faiss, view, memory) for view in views or ()]
        main = next((number for number, place in enumerate(places) if _holds(place, rows)), None)
        # A plan may call anything rows, links for example; only vectors of bytes can be swapped with the cleared one.
        if views is None or main is None or not isinstance(views[main].owned_data, faiss.UInt8Vector):
            return None
        others = [number for number in range(len(views)) if number != main]
        copied = [beside.submit(_own_copy, faiss, views[number], memory[places[number]]) for number in others]
        vector = cleared.result() if cleared else _cleared(faiss, rows.bytes)
        out = _own(faiss, views[main], vector)
        _own_rows(request, rows, out, memory[places[main]], None if is_whole else places[main].start)
        for copy in copied:
            copy.result()
    return None if _views(faiss, index) != [] else index


def read_views(faiss: Any, memory: NDArray[np.uint8]) -> Any:
    """Return the index in `memory`, which has to stay: it points there. Errors: SourceError."""
    reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(memory), len(memory))
    try:
        index = faiss.read_index(reader)
    except RuntimeError as error:
        raise SourceError(f"faiss refuses the index: {error}", code="malformed") from error
    if reader.rp_ != len(memory):
        raise SourceError("faiss stopped before the end of the index; restore the file instead", code="malformed")
    return index


def _is_known(record: dict[str, Any]) -> bool:
    # An index of lists inside another would be refused only after it was decoded.
    fields = [field for run in record["runs"] for field in (run["fields"] if run["kind"] == "groups" else [run])]
    streams = (str(field.get("stream")).rpartition(".")[2] for field in fields)
    return record["layout"] in LAYOUTS and "list_sizes" not in streams


def _has_earned(request: LoadRequest, rows: LargeRows) -> bool:
    # What an archive says of ancestors that are not there earns nothing.
    return rows.bytes <= EARNED_FACTOR * min(request.stream(rows.stream).stored_bytes, request.reader.bytes_at_hand)


def _cleared(faiss: Any, byte_count: int) -> Any:
    vector = faiss.UInt8Vector()
    vector.resize(byte_count)
    return vector


def _views(faiss: Any, index: Any) -> list[Any] | None:
    """Return all vectors of the index that are views; None where one may hide in what is not known here."""
    found: list[Any] = []
    parts = [index]
    while parts:
        part = parts.pop()
        if isinstance(part, faiss.Index):
            part = faiss.downcast_index(part)
        name = type(part).__name__
        if name.startswith(VIEW):
            if not part.is_owned:
                found.append(part)
        elif name in INDEXES or name in PARTS:
            parts.extend(_members(part))
        elif not isinstance(part, bool | int | float | str) and not name.endswith("Vector"):
            return None
    return found


def _members(part: Any) -> Iterator[Any]:
    names = {name for kind in type(part).__mro__ for name, value in vars(kind).items() if isinstance(value, property)}
    members = (getattr(part, name) for name in sorted(names - NO_VECTORS))
    return (member for member in members if member is not None)


def _bytes_of(faiss: Any, vector: Any) -> NDArray[np.uint8]:
    if vector.size() == 0:
        return np.empty(0, np.uint8)
    elements: NDArray[Any] = faiss.rev_swig_ptr(vector.data(), vector.size())
    return elements.view(np.uint8)


def _place(faiss: Any, view: Any, memory: NDArray[np.uint8]) -> slice:
    taken = _bytes_of(faiss, view)
    if not len(taken):
        return slice(0, 0)
    start = taken.ctypes.data - memory.ctypes.data
    return slice(start, start + len(taken))


def _holds(place: slice, rows: LargeRows) -> bool:
    return bool(place.start <= rows.start and rows.start + rows.bytes <= place.stop)


def _own(faiss: Any, view: Any, vector: Any) -> NDArray[np.uint8]:
    """Make `vector` the memory of what was a view; return its bytes."""
    element_count = view.size()
    view.is_owned = True
    view.owned_data.swap(vector)
    view.resize(element_count)  # sets its pointer, too
    return _bytes_of(faiss, view)


def _own_copy(faiss: Any, view: Any, content: NDArray[np.uint8]) -> None:
    vector = type(view.owned_data)()
    vector.resize(view.size())
    _own(faiss, view, vector)[:] = content


def _own_rows(
    request: LoadRequest, rows: LargeRows, out: NDArray[np.uint8], content: NDArray[np.uint8], start: int | None
) -> None:
    """Fill `out`. start: of `content` in the member; None where the rows are in it, too."""
    if start is None:
        out[:] = content
        return
    first, end = rows.start - start, rows.start - start + rows.bytes
    out[:first] = content[:first]
    out[end:] = content[end:]
    request.read_rows(rows.stream, rows.first_row, rows.row_count, out[first:end])
