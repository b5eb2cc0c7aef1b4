"""The exceptions of vark, chosen by what a caller would do; each is also the builtin one would expect.

Every error carries `code`, a stable word for programs (the same words as the engine's), and `layer`, the part of an
archive that refused (specification, section 10) or None. Match classes and codes, never texts.
"""

from __future__ import annotations

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line returns. Stable; any other non-zero number means failure."""

    OK = 0
    FAILED = 1
    USAGE = 2  # a usage or configuration error: nothing was touched
    PARTIAL = 3  # finished, but something of the source was not captured
    DAMAGED = 4
    NO_REPOSITORY = 10
    CONFLICT = 11
    WRONG_KEY = 12
    UNSUPPORTED = 13
    REFUSED = 14  # by retention, a hold, or the least number of snapshots to keep
    NO_SPACE = 15
    KEY_UNAVAILABLE = 16
    INTERRUPTED = 130
    TERMINATED = 143


class VarkError(Exception):
    """Root of all errors of vark.

    message: one sentence with place, expected, found and what to do. code: stable word. layer: refusing layer or None.
    """

    default_code = "io"
    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, code: str | None = None, layer: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.layer = layer


class InvalidArgumentError(VarkError, ValueError):
    """An argument makes no sense; nothing was touched."""

    default_code = "invalid-argument"
    exit_code = ExitCode.USAGE


class NotFoundError(VarkError, FileNotFoundError):
    """A file, or a name in an archive, does not exist."""

    default_code = "not-found"
    exit_code = ExitCode.USAGE
    errno = errno.ENOENT


class UnknownNameError(NotFoundError, KeyError):
    """An archive holds no stream, member, document or attachment of this name."""


class RepositoryNotFoundError(NotFoundError):
    """There is no repository at this place; nothing was touched."""

    default_code = "no-repository"
    exit_code = ExitCode.NO_REPOSITORY


class TargetExistsError(VarkError, FileExistsError):
    """The target exists and `replace` was not asked for; it was not touched."""

    default_code = "already-exists"
    exit_code = ExitCode.USAGE
    errno = errno.EEXIST


class ObjectExistsError(TargetExistsError):
    """An object of this name is in the store already; it was not touched, and it is durable."""

    exit_code = ExitCode.FAILED


class AccessDeniedError(VarkError, PermissionError):
    """The operating system refuses access to a file."""

    default_code = "permission-denied"
    errno = errno.EACCES


class StorageError(VarkError, OSError):
    """Reading or writing failed below vark."""

    default_code = "io"
    errno = errno.EIO


class StoreUnavailableError(StorageError):
    """A store does not answer, or wants fewer requests; the same again may work later."""

    default_code = "unavailable"


class NoSpaceError(StorageError):
    """The target's file system or quota is full; nothing is left under the target's name."""

    default_code = "no-space"
    exit_code = ExitCode.NO_SPACE
    errno = errno.ENOSPC


class NotAnArchiveError(VarkError, ValueError):
    """The file is not a vark archive at all."""

    default_code = "not-an-archive"


class DamagedError(VarkError, ValueError):
    """The archive's bytes are not what was written, or break the specification."""

    default_code = "damaged"
    exit_code = ExitCode.DAMAGED


class UnsupportedError(VarkError, ValueError):
    """The archive needs a newer reader (version, feature or codec)."""

    default_code = "unsupported"
    exit_code = ExitCode.UNSUPPORTED


class LimitError(VarkError, ValueError):
    """Over a ceiling of the format, or of the caller (`max_bytes`, `memory`)."""

    default_code = "limit-exceeded"


class SourceError(VarkError, ValueError):
    """The source changed while it was read, failed, or does not parse as what it was said to be."""

    default_code = "source-changed"


class CancelledError(VarkError, RuntimeError):
    """Stopped on request; nothing is left under the target's name."""

    default_code = "cancelled"
    exit_code = ExitCode.INTERRUPTED


class KeyNeededError(VarkError, PermissionError):
    """It is encrypted, and nothing was given that could open it."""

    default_code = "key-needed"
    exit_code = ExitCode.WRONG_KEY
    errno = errno.EACCES


class WrongKeyError(VarkError, PermissionError):
    """It is encrypted, and what was given does not open it."""

    default_code = "wrong-key"
    exit_code = ExitCode.WRONG_KEY
    errno = errno.EACCES


class HistoryAlteredError(VarkError, ValueError):
    """A repository is not as this client has seen or was told: rolled back, forked or in part hidden."""

    default_code = "history-altered"
    exit_code = ExitCode.DAMAGED


class KeyUnavailableError(StorageError):
    """A key management service was not reached; try again, or open with another key slot."""

    default_code = "key-unavailable"
    exit_code = ExitCode.KEY_UNAVAILABLE


class ConflictError(VarkError, RuntimeError):
    """Another writer or collector was in the way again and again; nothing is lost, run it once more."""

    default_code = "conflict"
    exit_code = ExitCode.CONFLICT


class RefusedError(VarkError, PermissionError):
    """Retention, a hold or the least number of snapshots forbids it; nothing was removed."""

    default_code = "refused"
    exit_code = ExitCode.REFUSED
    errno = errno.EPERM


ERROR_CLASSES: dict[str, type[VarkError]] = {
    "invalid-argument": InvalidArgumentError,
    "not-found": NotFoundError,
    "already-exists": TargetExistsError,
    "permission-denied": AccessDeniedError,
    "no-space": NoSpaceError,
    "io": StorageError,
    "unavailable": StoreUnavailableError,
    "not-an-archive": NotAnArchiveError,
    "damaged": DamagedError,
    "unsupported": UnsupportedError,
    "limit-exceeded": LimitError,
    "source-changed": SourceError,
    "malformed": SourceError,
    "cancelled": CancelledError,
    "key-needed": KeyNeededError,
    "wrong-key": WrongKeyError,
}


def error_for(code: str, message: str, layer: str | None) -> VarkError:
    """Return the exception for an error of the engine. The binding raises what this returns."""
    return ERROR_CLASSES.get(code, VarkError)(message, code=code, layer=layer)


def error_from_os(error: OSError, place: str) -> VarkError:
    """Return the exception for a failure of the operating system at `place`."""
    by_number: dict[int, type[VarkError]] = {
        errno.ENOENT: NotFoundError,
        errno.EEXIST: TargetExistsError,
        errno.EACCES: AccessDeniedError,
        errno.EPERM: AccessDeniedError,
        errno.ENOSPC: NoSpaceError,
        errno.EDQUOT: NoSpaceError,
        errno.EFBIG: NoSpaceError,
    }
    kind = by_number.get(error.errno or 0, StorageError)
    return kind(f"{place}: {error.strerror or error}")


def exit_code_for(error: BaseException) -> ExitCode:
    """Return the exit code of the command line for an exception."""
    if isinstance(error, VarkError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ExitCode.NO_SPACE
    return ExitCode.FAILED
