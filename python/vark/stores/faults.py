"""Faults of remote stores: what a failed request means, and whether the same again may work."""

from __future__ import annotations

import re

from vark.errors import (
    AccessDeniedError,
    DamagedError,
    NoSpaceError,
    NotFoundError,
    ObjectExistsError,
    StorageError,
    StoreUnavailableError,
    VarkError,
)

_STATUS = re.compile(r"status code: (\d{3})")
_AGAIN = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})  # 409 and 412: of requests without a condition
_SLOWER = frozenset({429, 503})
# Words of replies that are no refusal of the request itself: bytes were lost on the way, or the server was busy.
_AGAIN_WORDS = (
    *("RequestTimeout", "SlowDown", "BadDigest", "ContentSHA256Mismatch", "ContentChecksumMismatch"),
    *("IncompleteBody", "Md5Mismatch"),
)
# Of replies to deletes, which obstore sends for several at once; Azure says 409 where immutability keeps a blob.
_DENIED_WORDS = ("(code: AccessDenied)", "(code: ObjectLocked)", "BlobImmutable")
_DETAIL_CHARACTERS = 300


class RangeError(Exception):
    """A range that begins past the end of its object."""


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that a request failed with, or None where there was no reply."""
    match = _STATUS.search(str(error))
    return None if match is None else int(match[1])


def is_range_ignored(error: BaseException) -> bool:
    """Return whether a store gave the whole object where a range of it was asked for."""
    return "NotPartial" in str(error) or "non-partial" in str(error)


def wants_slower(error: BaseException) -> bool:
    """Return whether the store asks for fewer requests."""
    return status_of(error) in _SLOWER or "SlowDown" in str(error)


def fault_of(error: Exception, place: str) -> VarkError | RangeError:
    """Return what a failed request of obstore means at `place`.

    StoreUnavailableError: the same again may work. ObjectExistsError: of a request that was to create. RangeError.
    """
    if isinstance(error, VarkError):
        return error
    kind, status, text = type(error).__name__, status_of(error), str(error)
    detail = _detail(text)
    if isinstance(error, FileNotFoundError) or status == 404:
        missing = next((word for word in ("NoSuchBucket", "ContainerNotFound") if word in text), None)
        return NotFoundError(f"{place}: {'its bucket does not exist' if missing else 'does not exist'}")
    if kind == "AlreadyExistsError":
        return ObjectExistsError(f"{place}: exists already; objects are never replaced")
    if status == 416 or "Invalid range" in text or "Wanted range" in text:
        return RangeError(place)
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or status in (401, 403) or _is_denied(text):
        return AccessDeniedError(f"{place}: refused ({detail}); check the credentials and what they allow")
    if status == 507 or "QuotaExceeded" in text:
        return NoSpaceError(f"{place}: the store is full ({detail})")
    if status in _AGAIN or any(word in text for word in _AGAIN_WORDS) or _is_lost(kind, status, text):
        return StoreUnavailableError(f"{place}: no usable reply ({detail}); run it again later")
    return StorageError(f"{place}: {detail}")


def short_object(place: str, found: int, expected: int) -> DamagedError:
    """Return the error for an object that has fewer bytes than were asked for."""
    return DamagedError(f"{place}: {found} bytes, expected at least {expected}; it is cut short")


def _is_denied(text: str) -> bool:
    """Return whether one object was refused in a request for several, or a rule of the container keeps it."""
    return any(word in text for word in _DENIED_WORDS)


def _is_lost(kind: str, status: int | None, text: str) -> bool:
    """Return whether there was no reply, or only a part of one."""
    return status is None and kind in ("GenericError", "JoinError") and ("HTTP error" in text or "body" in text)


def _detail(text: str) -> str:
    """Return the first lines of a library's message, without what follows a `?` in addresses: it may be a signature."""
    head = re.sub(r"\?\S*", "?…", text.split("\n\nDebug source", maxsplit=1)[0])
    return " ".join(head.split())[:_DETAIL_CHARACTERS]
