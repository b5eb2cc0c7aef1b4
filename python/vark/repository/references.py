"""References: how a person names a snapshot, and a point in time."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from vark.errors import DamagedError, InvalidArgumentError, NotFoundError, WrongKeyError
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.layout import COMMITS

LATEST = "latest"
PREFIX_DIGITS_MIN = 4
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}.*")
_PREFIX = re.compile(r"[0-9a-f-]+")


def parse_time(text: str | datetime) -> int:
    """Return milliseconds since 1970 of an ISO time such as "2026-11-20T04:00Z"; without an offset it is UTC."""
    if isinstance(text, datetime):
        moment = text
    else:
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError as error:
            raise InvalidArgumentError(f"time {text!r}: expected ISO 8601, such as 2026-11-20T04:00Z") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def find_snapshot(
    catalog: Catalog,
    reference: str = LATEST,
    *,
    name: str | None = None,
    at: str | datetime | None = None,
    forgotten: bool = False,
) -> Snapshot:
    """Return the snapshot that is meant.

    reference: "latest", an id or the beginning of one (4 digits at least), a tag "key=value" (the newest with it), or
    an ISO time (the newest at or before it). name: only of this name. at: only at or before this time. An id finds
    forgotten and void snapshots, too; everything else finds those that can be restored, or with `forgotten` those that
    can be taken back.
    Errors: NotFoundError; InvalidArgumentError where the reference fits several; DamagedError where what is meant may
    be one whose commit cannot be used: an older one must not be taken for it unnoticed.
    """
    candidates = [item for item in catalog.snapshots if name is None or item.name == name]
    wanted = reference.strip()
    if wanted != LATEST and "=" not in wanted and not _TIME.fullmatch(wanted):
        return _by_id(candidates, wanted)
    for place, error in catalog.faults.items():
        # What other keys would open was never this client's to see.
        if place.startswith(COMMITS) and not isinstance(error, WrongKeyError):
            raise DamagedError(
                f"snapshot {reference!r}: may be one that cannot be used ({error.message}); name one of the others by "
                "its id",
                layer=error.layer,
            )
    limit = parse_time(at) if at is not None else None
    if _TIME.fullmatch(wanted):
        moment = parse_time(wanted)
        limit = moment if limit is None else min(limit, moment)
    found = [item for item in candidates if not item.void and (item.forgotten_unix_ms is not None) == forgotten]
    found = [item for item in found if limit is None or item.unix_ms <= limit]
    if "=" in wanted:
        key, _, value = wanted.partition("=")
        found = [item for item in found if item.tags.get(key) == value]
    if not found:
        before = "" if limit is None else f" at or before {datetime.fromtimestamp(limit / 1000, UTC).isoformat()}"
        kind = "no forgotten one" if forgotten else "none"
        raise NotFoundError(f"snapshot {reference!r}{before}: {kind}" + ("" if name is None else f" of name {name!r}"))
    names = sorted({item.name for item in found})
    if len(names) > 1:
        raise InvalidArgumentError(
            f"snapshot {reference!r}: there are several names ({', '.join(names[:10])}); say which name is meant"
        )
    return found[-1]


def choose_snapshots(
    catalog: Catalog,
    references: Sequence[str] = (),
    *,
    names: Collection[str] = (),
    tags: Mapping[str, str] | None = None,
    since: str | datetime | None = None,
) -> tuple[Snapshot, ...]:
    """Return snapshots, oldest first: those that the references mean, else all that can be restored.

    A reference such as "latest" means one of each of `names`, where those are given. names, tags, since: only those of
    one of these names, with all of these tags, at or after this time. Errors: those of `find_snapshot`.
    """
    found = [item for item in catalog.snapshots if item.usable]
    if references:
        chosen = [find_snapshot(catalog, one, name=name) for one in references for name in (names or (None,))]
        found = list({item.id: item for item in chosen}.values())
    first = None if since is None else parse_time(since)
    wanted = (tags or {}).items()
    found = [
        item
        for item in found
        if (not names or item.name in names)
        and all(item.tags.get(key) == value for key, value in wanted)
        and (first is None or item.unix_ms >= first)
    ]
    return tuple(sorted(found, key=lambda item: (item.unix_ms, item.id)))


def _by_id(candidates: list[Snapshot], wanted: str) -> Snapshot:
    digits = wanted.lower().replace("-", "")
    if not _PREFIX.fullmatch(wanted.lower()) or len(digits) < PREFIX_DIGITS_MIN:
        raise InvalidArgumentError(
            f'snapshot {wanted!r}: expected "latest", at least {PREFIX_DIGITS_MIN} digits of an id, '
            'a tag "key=value" or a time "2026-11-20T04:00Z"'
        )
    found = [item for item in candidates if item.id.startswith(digits)]
    if not found:
        raise NotFoundError(f"snapshot {wanted!r}: none has such an id")
    if len(found) > 1:
        raise InvalidArgumentError(
            f"snapshot {wanted!r}: fits {len(found)} ids, such as {found[0].id} and {found[1].id}; give more digits"
        )
    return found[0]
