"""Repositories: snapshots of sources over time, in any store, safe against crashes and collections at any moment."""

from vark.repository.catalog import Snapshot
from vark.repository.copy_reports import CopyReport, RepairReport, SyncReport
from vark.repository.doctor import DoctorReport
from vark.repository.reports import (
    BackupReport,
    CollectReport,
    CompactReport,
    DamagedObject,
    Decision,
    DiffReport,
    ForgetReport,
    RepositoryVerifyReport,
    StatsReport,
    StreamDiff,
    TouchedSnapshot,
)
from vark.repository.repository import Repository
from vark.retention import Policy

__all__ = [
    "BackupReport",
    "CollectReport",
    "CompactReport",
    "CopyReport",
    "DamagedObject",
    "Decision",
    "DiffReport",
    "DoctorReport",
    "ForgetReport",
    "Policy",
    "RepairReport",
    "Repository",
    "RepositoryVerifyReport",
    "Snapshot",
    "StatsReport",
    "StreamDiff",
    "SyncReport",
    "TouchedSnapshot",
]
