"""Marks: later words on a snapshot. The last one by time and name wins, whoever reads them, in whatever order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vark.repository.envelope import Envelope
from vark.repository.fields import UNIX_MS_MAX, new_salt
from vark.repository.layout import MARKS
from vark.repository.objects import create_record
from vark.repository.records import Mark
from vark.stores import Store


@dataclass(slots=True)
class MarkState:
    """What the marks say of one snapshot."""

    held: bool = False
    hold_reason: str = ""
    tags: dict[str, str | None] = field(default_factory=dict)  # None: taken away
    forgotten_whole: tuple[int, str] | None = None  # when the snapshot was forgotten, and why
    forgotten_commits: dict[str, tuple[int, str] | None] = field(default_factory=dict)  # overrides of single commits

    def forgotten(self, commit: str, *, another: bool) -> tuple[int, str] | None:
        """Return when a commit of the snapshot was forgotten and why, or None.

        another: whether the snapshot has a commit that is neither void nor forgotten by itself. Without one, words that
        forget single commits count for nothing: they say that another stands in the place of this one.
        """
        word = self.forgotten_commits.get(commit, self.forgotten_whole)
        return self.forgotten_whole if self.forgotten_alone(commit) and not another else word

    def forgotten_alone(self, commit: str) -> bool:
        """Return whether a mark forgets this one commit of the snapshot."""
        return self.forgotten_commits.get(commit) is not None

    def tagged(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Return the tags of a commit as the marks have changed them."""
        changed: dict[str, str | None] = {**tags, **self.tags}
        return {key: value for key, value in sorted(changed.items()) if value is not None}


def fold(marks: Iterable[tuple[str, Mark]]) -> dict[str, MarkState]:
    """Return snapshot -> what its marks say; `marks` are pairs of object name and mark."""
    states: dict[str, MarkState] = {}
    for _, mark in sorted(marks, key=lambda item: (item[1].unix_ms, item[0])):
        state = states.setdefault(mark.snapshot, MarkState())
        if mark.action in ("hold", "release"):
            state.held = mark.action == "hold"
            state.hold_reason = mark.reason
        elif mark.action == "tag":
            state.tags.update(mark.tags)
        elif mark.action == "untag":
            state.tags.update(dict.fromkeys(mark.keys))
        else:
            word = (mark.unix_ms, mark.reason) if mark.action == "forget" else None
            if mark.commit is None:
                state.forgotten_whole = word
                state.forgotten_commits.clear()  # a later word on the whole is a word on each
            else:
                state.forgotten_commits[mark.commit] = word
    return states


def write_mark(
    store: Store,
    envelope: Envelope,
    action: str,
    snapshot: str,
    *,
    after_unix_ms: int = 0,
    commit: str | None = None,
    tags: Mapping[str, str] | None = None,
    keys: Iterable[str] = (),
    reason: str = "",
) -> str:
    """Create a mark; return its digest. after_unix_ms: it is dated later than this, so that it wins."""
    store_clock = store.clock_unix_ms()
    client = time.time_ns() // 1_000_000
    later = min(after_unix_ms + 1, UNIX_MS_MAX)
    if store_clock is None:
        client = max(client, later)
    else:
        store_clock = max(store_clock, later)
    assert envelope.repository is not None
    mark = Mark(
        action=action,
        repository=envelope.repository,
        snapshot=snapshot,
        commit=commit,
        created_unix_ms=client,
        store_unix_ms=store_clock,
        tags=dict(tags or {}),
        keys=tuple(keys),
        reason=reason,
        salt=new_salt(),
    )
    return create_record(store, MARKS, mark.encode(envelope), client)
