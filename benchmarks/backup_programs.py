"""Backup programs: restic and borg, each time into a fresh repository, so that nothing is found there already."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from sources import Source
from tool import Tool, missing_command

RESTIC = {"RESTIC_PASSWORD": "bench"}
BORG = {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}


def backup_programs() -> list[Tool]:
    """Return the tools; making the repository is not timed."""
    return [
        Tool(
            "restic",
            lambda s, a: restic(a, "backup", str(s.path)),
            lambda _, a, t: restic(a, "restore", "latest", "--target", str(t)),
            prepare=lambda a: restic(a, "init"),
            needs=missing_command("restic", "restic"),
        ),
        Tool(
            "borg, zstd 1",
            lambda s, a: _borg(a, "create", "-C", "zstd,1", f"{a}::bench", s.path.name, folder=s.path.parent),
            _borg_extract,
            prepare=lambda a: _borg(a, "init", "-e", "none", str(a)),
            needs=missing_command("borg", "borgbackup"),
        ),
    ]


def restic(repository: Path, *arguments: str) -> None:
    """Run restic on a repository."""
    _run(["restic", "-q", "--no-cache", "-r", str(repository), *arguments], RESTIC)


def _borg(repository: Path, *arguments: str, folder: Path | None = None) -> None:
    # Without a place of its own borg keeps caches of every repository in the home folder.
    _run(["borg", *arguments], BORG | {"BORG_BASE_DIR": f"{repository.parent / 'borg'}"}, folder)


def _borg_extract(_: Source, archive: Path, target: Path) -> None:
    target.mkdir()
    _borg(archive, "extract", f"{archive}::bench", folder=target)


def _run(command: list[str], variables: dict[str, str], folder: Path | None = None) -> None:
    done = subprocess.run(
        command, env={**os.environ, **variables}, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
