"""faiss: a live index is saved into a pipe, for faiss writes strictly forward.

It is loaded out of memory where all that it consists of is known, else from a pipe. One that is only
read can lie in the decoded bytes, as faiss's own mapped files do.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vark.adapters.base import LiveMember, LoadRequest, comes_from
from vark.adapters.faiss_memory import load_owned, read_views
from vark.errors import InvalidArgumentError, SourceError
from vark.feeds import FeedGroup, ThreadFeed, descriptor_path


class FaissAdapter:
    """Objects of `faiss` (CPU) and members of layout "faiss/…"."""

    name = "faiss"

    def owns(self, index: object) -> bool:
        return comes_from(index, "faiss")

    def live_member(self, index: Any, feeds: FeedGroup) -> LiveMember:
        import faiss

        write = faiss.write_index_binary if isinstance(index, faiss.IndexBinary) else faiss.write_index

        def save(descriptor: int) -> None:
            write(index, descriptor_path(descriptor))

        feed = ThreadFeed(save, what=f"live index {type(index).__name__}")
        return LiveMember("index.faiss", "faiss", ("pipe", feeds.add(feed)))

    def load(self, request: LoadRequest) -> Any:
        try:
            import faiss
        except ImportError as error:
            raise InvalidArgumentError(
                "loading this member needs the package faiss-cpu; install vark[faiss]"
            ) from error

        if not request.writable:
            return _view(request)
        index = load_owned(faiss, request)
        if index is not None:
            return index
        _refuse_other_files(request.check(self.name))

        def send(descriptor: int) -> None:
            request.reader.write_member(
                request.member, descriptor, threads=request.threads, memory_bytes=request.memory_bytes, progress=None
            )

        feed = ThreadFeed(send, what="archive member")
        feeds = FeedGroup()
        reader = feeds.add(feed)
        try:
            index = faiss.read_index(descriptor_path(reader))
        except RuntimeError as error:
            failure = feeds.failure()  # damage in the archive explains what faiss saw; not the other way round
            raise failure or SourceError(f"faiss refuses the index: {error}", code="malformed") from error
        if os.read(reader, 1):
            feeds.failure()
            raise SourceError("faiss stopped before the end of the index; restore the file instead", code="malformed")
        feeds.finish()
        return index

    def row_count(self, index: Any) -> int:
        return int(index.ntotal)

    def metric(self, index: Any) -> str:
        import faiss

        metrics = {faiss.METRIC_L2: "l2", faiss.METRIC_INNER_PRODUCT: "ip"}
        metric = metrics.get(index.metric_type)
        if metric is None:
            raise InvalidArgumentError(f"probes: metric {index.metric_type} of faiss; expected L2 or inner product")
        return metric

    def search(self, index: Any, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        try:
            distances, ids = index.search(queries, k)
        except (AssertionError, RuntimeError) as error:
            raise InvalidArgumentError(f"probes: faiss refuses the search: {error or 'wrong dimension'}") from error
        if self.metric(index) == "ip":
            distances = 1 - distances
        return ids.astype(np.int64, copy=False), distances.astype(np.float32, copy=False)


def _refuse_other_files(facts: dict[str, Any]) -> None:
    if facts.get("ondisk_data"):
        raise InvalidArgumentError(
            f"the index keeps its lists in another file ({facts['ondisk_data']}); restore to a folder and read it there"
        )


# Methods that begin so change an index. Where they meet a vector that is a view, faiss ends the process (an assertion).
CHANGES = ("add", "append", "init_", "merge", "remove", "reset", "resize", "train", "update", "set_direct_map")


def _view(request: LoadRequest) -> Any:
    """Return an index that lies in the decoded bytes of the member."""
    import faiss

    if not hasattr(faiss, "ZeroCopyIOReader"):
        raise InvalidArgumentError("writable=False: needs faiss 1.11 or newer; load it writable")
    memory, facts = request.read("faiss")
    _refuse_other_files(facts)
    index = read_views(faiss, memory)
    # The index points into the memory and does not own it: they live as long as each other. (Into the dictionary: faiss
    # lets nobody set what its class does not have.)
    vars(index)["vark_memory"] = memory
    changes = [name for name in dir(index) if name.startswith(CHANGES) and callable(getattr(index, name))]
    vars(index).update(dict.fromkeys(changes, _refuse_change))
    return index


def _refuse_change(*_: Any, **__: Any) -> None:
    raise InvalidArgumentError("this index was loaded to be read only; load it with writable=True to change it")
