"""Reading objects by ranges: what was read is kept a while, and what will be read next is fetched ahead.

A reader that goes forward through an archive gets large ranges, several in flight; one that asks for a row here and
there gets just what it asked for.
"""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from vark.errors import DamagedError, VarkError
from vark.stores.blocks import BLOCK_BYTES, KeptBlocks

FETCH_BYTES_MIN = 64 << 10  # what a request costs beside is more than this
SEGMENT_BYTES = 8 << 20
WINDOW_BYTES_MIN = 1 << 20
WINDOW_BYTES_MAX = 48 << 20
NEAR_BYTES = 16 << 20  # threads read out of order: so far from a place is still the same run
HEADS_MAX = 16
ACTIVE_READS = 64  # a head that was not used for so many reads has no claim on memory


class ReadView(Protocol):
    """`RemoteStore.read_view`."""

    def __call__(self, name: str, *, offset: int, byte_count: int | None) -> memoryview: ...


class _Span:
    """Bytes start to end of an archive, in memory or on their way. is_ahead: nobody had asked for them yet."""

    __slots__ = ("end", "future", "is_ahead", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.is_ahead = False
        self.future: Future[memoryview] = Future()


class _Head:
    """A place where somebody reads forward. position: end of what was read; scheduled: end of what is on its way."""

    __slots__ = ("position", "scheduled", "tick", "window")

    def __init__(self, position: int) -> None:
        self.position = position
        self.scheduled = position
        self.window = 0
        self.tick = 0  # of its last use


class SpanCache:
    """Spans of all readers of a store; where they are more than the limit, those that were not used longest go."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.lock = threading.Lock()
        self.used_bytes = 0
        self._order: OrderedDict[tuple[int, int], tuple[RangeReader, _Span]] = OrderedDict()

    def add(self, reader: RangeReader, span: _Span) -> None:
        """Take a new span; the lock is held."""
        self._order[id(reader), span.start] = (reader, span)
        self.used_bytes += span.end - span.start
        while self.used_bytes > self.limit_bytes and len(self._order) > 1:
            _, (owner, oldest) = self._order.popitem(last=False)
            self.used_bytes -= oldest.end - oldest.start
            owner.forget(oldest)

    def touch(self, reader: RangeReader, span: _Span) -> None:
        """Say that a span was used; the lock is held."""
        if (id(reader), span.start) in self._order:
            self._order.move_to_end((id(reader), span.start))

    def drop(self, reader: RangeReader, span: _Span) -> None:
        """Take a span out; the lock is held."""
        if self._order.pop((id(reader), span.start), None) is not None:
            self.used_bytes -= span.end - span.start


class RangeReader:
    """The volumes of an archive as one range of bytes. For the engine: `name`, `byte_count`, `read`; thread safe."""

    def __init__(
        self,
        read_view: ReadView,
        *,
        name: str,
        volumes: Sequence[tuple[str, int]],
        spans: SpanCache,
        pool: ThreadPoolExecutor,
        kept: KeptBlocks | None = None,
    ) -> None:
        self.name = name
        self.fills = True  # what is read is kept on this machine, where there is a place for it
        self.byte_count = sum(size for _, size in volumes)
        self._read_view = read_view
        self._volumes = [volume for volume, _ in volumes]
        self._starts = [0]
        for _, size in volumes:
            self._starts.append(self._starts[-1] + size)
        self._cache = spans
        self._pool = pool
        self._kept = kept
        self._spans: list[_Span] = []  # disjoint, ascending
        self._heads: list[_Head] = []  # the last used is last
        self._tick = 0

    def read(self, offset: int, byte_count: int) -> memoryview | bytes:
        """Return bytes of the archive. Errors: those of the store; DamagedError past the end."""
        end = offset + byte_count
        if end > self.byte_count:
            raise DamagedError(f"{self.name}: {self.byte_count} bytes, expected at least {end}; it is cut short")
        if byte_count == 0:
            return b""
        with self._cache.lock:
            needed, mine = self._cover(offset, end, least=FETCH_BYTES_MIN)
            ahead = self._look_ahead(offset, end)
        for span in [*mine[1:], *ahead]:
            self._pool.submit(self._fetch, span)
        if mine:
            self._fetch(mine[0])
        parts = [self._part(span, offset, end, retry=span not in mine) for span in needed]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_store_only(self) -> None:
        """From now on return only what the store gives: for who wants to know what it holds."""
        self._kept = None
        with self._cache.lock:
            for span in self._spans:
                self._cache.drop(self, span)
            self._spans.clear()

    def forget(self, span: _Span) -> None:
        """Take out a span that the cache has dropped; its lock is held."""
        place = bisect.bisect_left(self._spans, span.start, key=lambda item: item.start)
        if place < len(self._spans) and self._spans[place] is span:
            del self._spans[place]

    def _part(self, span: _Span, offset: int, end: int, *, retry: bool) -> memoryview:
        first, last = max(span.start, offset), min(span.end, end)
        try:
            data = span.future.result()
        except VarkError:
            if not retry:
                raise
            return self._read_range(first, last)  # somebody else has failed with it: perhaps long ago
        return data[first - span.start : last - span.start]

    def _cover(self, start: int, end: int, *, least: int) -> tuple[list[_Span], list[_Span]]:
        """Return the spans that hold a range, and those of them that are new: the caller has them fetched."""
        place = bisect.bisect_right(self._spans, start, key=lambda item: item.start)
        if place and self._spans[place - 1].end > start:
            place -= 1
        needed: list[_Span] = []
        new: list[_Span] = []
        while start < end:
            after = self._spans[place] if place < len(self._spans) else None
            if after is not None and after.start <= start:
                # What was fetched ahead is read once and goes in the order in which it came: were it touched, what is
                # still to be read would look older, and go first.
                if not after.is_ahead:
                    self._cache.touch(self, after)
                span = after
            else:
                limit = self.byte_count if after is None else after.start
                before = self._spans[place - 1].end if place else 0
                span = _Span(*self._whole_blocks(start, max(end, start + least), before, limit))
                self._spans.insert(place, span)
                new.append(span)
            needed.append(span)
            start, place = span.end, place + 1
        for span in new:
            self._cache.add(self, span)
        return needed, new

    def _whole_blocks(self, start: int, end: int, lowest: int, highest: int) -> tuple[int, int]:
        """Return a range widened to whole blocks, for those are kept; no further than what is here already."""
        if self._kept is not None:
            start, end = max(start - start % BLOCK_BYTES, lowest), -(-end // BLOCK_BYTES) * BLOCK_BYTES
        return start, min(end, highest)

    def _look_ahead(self, offset: int, end: int) -> list[_Span]:
        """Return new spans to fetch, for whoever reads forward here will want them."""
        self._tick += 1
        head = min(self._heads, key=lambda item: abs(offset - item.position), default=None)
        if head is None or abs(offset - head.position) > NEAR_BYTES:
            self._heads.append(_Head(end))
            del self._heads[:-HEADS_MAX]
            return []
        self._heads.remove(head)
        self._heads.append(head)
        head.tick = self._tick
        if end <= head.position:
            return []
        head.position = end
        head.scheduled = max(head.scheduled, end)
        active = sum(item.window > 0 and self._tick - item.tick < ACTIVE_READS for item in self._heads)
        most = min(WINDOW_BYTES_MAX, self._cache.limit_bytes // (3 * max(active, 1)))
        if most < WINDOW_BYTES_MIN:
            return []  # no room: what was fetched ahead would be gone before it is read
        head.window = min(max(4 * head.window, WINDOW_BYTES_MIN), most)
        step = min(SEGMENT_BYTES, head.window)
        new: list[_Span] = []
        while head.scheduled < self.byte_count and head.scheduled + step <= head.position + head.window + step // 2:
            # Up to a multiple of the step, so that steps do not straddle volumes.
            stop = min((head.scheduled // step + 1) * step, self.byte_count)
            new += self._cover(head.scheduled, stop, least=0)[1]
            head.scheduled = stop
        for span in new:
            span.is_ahead = True
        return new

    def _fetch(self, span: _Span) -> None:
        try:
            data = self._read_kept(span.start, span.end, is_ahead=span.is_ahead)
        except BaseException as error:
            with self._cache.lock:
                self.forget(span)
                self._cache.drop(self, span)
            span.future.set_exception(error)
        else:
            span.future.set_result(data)

    def _read_kept(self, start: int, end: int, *, is_ahead: bool) -> memoryview:
        """Read a range: blocks that this machine has from there, the runs between them from the store."""
        kept = self._kept
        if kept is None:
            return self._read_range(start, end)
        keeps = self.fills and (kept.keeps_ahead or not is_ahead)
        parts: list[memoryview] = []
        missing = position = start
        while position < end:
            number = position // BLOCK_BYTES
            stop = min(kept.end_of(number), end)
            whole = position == number * BLOCK_BYTES and stop == kept.end_of(number)
            block = kept.get(number) if whole else None
            if block is not None:
                parts += self._fill(kept if keeps else None, missing, position)
                parts.append(memoryview(block))
                missing = stop
            position = stop
        parts += self._fill(kept if keeps else None, missing, end)
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def _fill(self, kept: KeptBlocks | None, start: int, end: int) -> list[memoryview]:
        if start == end:
            return []
        data = self._read_range(start, end)
        if kept is not None:
            kept.put(start, data)
        return [data]

    def _read_range(self, start: int, end: int) -> memoryview:
        parts = []
        number = bisect.bisect_right(self._starts, start) - 1
        while start < end:
            stop = min(end, self._starts[number + 1])
            if stop > start:
                inside = start - self._starts[number]
                parts.append(self._read_view(self._volumes[number], offset=inside, byte_count=stop - start))
            start, number = stop, number + 1
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
