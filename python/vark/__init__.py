"""vark: backup engine and archive format for vector indexes."""

from vark._core import __version__
from vark.api import open_archive, verify_archive, write_archive
from vark.archive import Archive
from vark.errors import (
    AccessDeniedError,
    CancelledError,
    DamagedError,
    ExitCode,
    InvalidArgumentError,
    LimitError,
    NoSpaceError,
    NotAnArchiveError,
    NotFoundError,
    SourceError,
    StorageError,
    TargetExistsError,
    UnknownNameError,
    UnsupportedError,
    VarkError,
)
from vark.types import (
    Damage,
    MemberReport,
    ProbeReport,
    RestoreReport,
    Skipped,
    StreamInfo,
    StreamTable,
    VerifyReport,
    WriteReport,
)
from vark.views import StreamView

__all__ = [
    "AccessDeniedError",
    "Archive",
    "CancelledError",
    "Damage",
    "DamagedError",
    "ExitCode",
    "InvalidArgumentError",
    "LimitError",
    "MemberReport",
    "NoSpaceError",
    "NotAnArchiveError",
    "NotFoundError",
    "ProbeReport",
    "RestoreReport",
    "Skipped",
    "SourceError",
    "StorageError",
    "StreamInfo",
    "StreamTable",
    "StreamView",
    "TargetExistsError",
    "UnknownNameError",
    "UnsupportedError",
    "VarkError",
    "VerifyReport",
    "WriteReport",
    "__version__",
    "open_archive",
    "verify_archive",
    "write_archive",
]
