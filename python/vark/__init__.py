"""vark: backup engine and archive format for vector indexes."""

from vark._core import __version__
from vark.api import open_archive, verify_archive, write_archive
from vark.archive import Archive
from vark.errors import (
    AccessDeniedError,
    CancelledError,
    ConflictError,
    DamagedError,
    ExitCode,
    InvalidArgumentError,
    LimitError,
    NoSpaceError,
    NotAnArchiveError,
    NotFoundError,
    ObjectExistsError,
    RefusedError,
    RepositoryNotFoundError,
    SourceError,
    StorageError,
    TargetExistsError,
    UnknownNameError,
    UnsupportedError,
    VarkError,
)
from vark.mirrors import repair_repository, sync_repository
from vark.repository import Repository, Snapshot
from vark.selection import Selection
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
    "ConflictError",
    "Damage",
    "DamagedError",
    "ExitCode",
    "InvalidArgumentError",
    "LimitError",
    "MemberReport",
    "NoSpaceError",
    "NotAnArchiveError",
    "NotFoundError",
    "ObjectExistsError",
    "ProbeReport",
    "RefusedError",
    "Repository",
    "RepositoryNotFoundError",
    "RestoreReport",
    "Selection",
    "Skipped",
    "Snapshot",
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
    "repair_repository",
    "sync_repository",
    "verify_archive",
    "write_archive",
]
