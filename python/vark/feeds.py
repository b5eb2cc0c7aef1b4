"""Feeds: something in this process writes into a pipe while the engine reads the other end.

A pipe cannot say "what I sent is incomplete": its end looks the same after a success and after a failure. So a feed
keeps its error, and nothing that was fed is published before `finish` has found none.

The engine reads a pipe without the GIL and never closes the descriptor it was given; this module does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from vark.errors import SourceError, VarkError

# The largest pipe that Linux grants without privileges: fewer switches between the two sides.
PIPE_BYTES = 1 << 20
_ERROR_BYTES_MAX = 4096


class Feed(Protocol):
    """One running feed. `reader` is the descriptor that the engine reads."""

    reader: int

    def finish(self) -> None:
        """Wait for the end; raise SourceError when the sending side failed."""

    def abandon(self) -> None:
        """Stop without hanging: the reading end is closed, so that the sending side meets a broken pipe."""


def pipe() -> tuple[int, int]:
    """Return (reader, writer) of a new pipe, enlarged where the system allows it. Not inherited by programs."""
    reader, writer = os.pipe()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return reader, writer


def descriptor_path(descriptor: int) -> str:
    """Return the path under which a library that opens files by name finds an open descriptor."""
    return f"/dev/fd/{descriptor}"


class ThreadFeed:
    """A feed whose `write(descriptor)` runs in a thread of this process; it must release the GIL while it blocks."""

    def __init__(self, write: Callable[[int], None], *, what: str) -> None:
        self.reader, self._writer = pipe()
        self._write = write
        self._what = what
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"vark feed {what}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._write(self._writer)
        except BaseException as error:
            self._error = error
        finally:
            os.close(self._writer)

    def finish(self) -> None:
        self._thread.join()
        _close(self)
        if isinstance(self._error, VarkError):
            raise self._error
        if self._error is not None:
            raise SourceError(f"{self._what}: could not be read to its end: {self._error}") from self._error

    def abandon(self) -> None:
        _close(self)
        self._thread.join()


class ForkFeed:
    """A feed whose `write(descriptor)` runs in a forked child, for a library that keeps the GIL while it writes.

    The child sees a frozen copy of the process, so the object may go on changing here; memory is shared until it does.
    """

    def __init__(self, write: Callable[[int], None], *, what: str) -> None:
        self.reader, writer = pipe()
        self._status, status_writer = os.pipe()
        self._what = what
        with warnings.catch_warnings():
            # Python 3.12 and later warn about forks beside threads. The child only writes and leaves by _exit.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._child = os.fork()
        if self._child == 0:
            _run_child(write, writer, status_writer, keep=(writer, status_writer))
        os.close(writer)
        os.close(status_writer)

    def finish(self) -> None:
        message = self._wait()
        if message:
            raise SourceError(f"{self._what}: could not be read to its end: {message}")

    def abandon(self) -> None:
        self._wait()

    def _wait(self) -> str:
        _close(self)
        if self._child == 0:
            return ""
        with open(self._status, "rb") as status:
            message = status.read(_ERROR_BYTES_MAX).decode(errors="replace")
        _, code = os.waitpid(self._child, 0)
        self._child = 0
        return message or (f"the saving process ended with status {code}" if code else "")


def _run_child(write: Callable[[int], None], writer: int, status: int, *, keep: tuple[int, int]) -> None:
    """Never returns. Other pipes' ends that the fork copied are closed, so that nobody waits for this process."""
    code = 0
    try:
        os.closerange(3, min(keep))
        os.closerange(min(keep) + 1, max(keep))
        # Descriptors above are closed one by one only as far as they exist.
        for name in os.listdir("/proc/self/fd"):
            if int(name) > max(keep):
                with contextlib.suppress(OSError):
                    os.close(int(name))
        write(writer)
    except BaseException as error:
        code = 1
        os.write(status, (str(error) or type(error).__name__).encode(errors="replace")[:_ERROR_BYTES_MAX])
    finally:
        os._exit(code)


def _close(feed: ThreadFeed | ForkFeed) -> None:
    if feed.reader >= 0:
        os.close(feed.reader)
        feed.reader = -1


def can_fork() -> bool:
    """Return whether ForkFeed may be used: other systems than Linux make a forked child unreliable."""
    return sys.platform == "linux"


class FeedGroup:
    """All feeds of one backup. Leaving the block without `finish` abandons them.

    is_sealed: what they send will be encrypted, so that it must not lie on a disk in the clear on its way.
    """

    def __init__(self, *, is_sealed: bool = False) -> None:
        self.is_sealed = is_sealed
        self._feeds: list[Feed] = []

    def add(self, feed: Feed) -> int:
        """Take over a feed; return the descriptor to read."""
        self._feeds.append(feed)
        return feed.reader

    def __len__(self) -> int:
        return len(self._feeds)

    def finish(self) -> None:
        """Finish all; raise the first error."""
        while self._feeds:
            self._feeds.pop(0).finish()

    def failure(self) -> VarkError | None:
        """Stop all feeds; return the error of the first that failed by itself, not by a broken pipe."""
        first: VarkError | None = None
        while self._feeds:
            feed = self._feeds.pop(0)
            feed.abandon()
            try:
                feed.finish()
            except VarkError as error:
                broken = isinstance(error.__cause__, BrokenPipeError) or "roken pipe" in str(error)
                first = first or (None if broken else error)
        return first

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.failure()
