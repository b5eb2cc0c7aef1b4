"""What `inspect` and `cat` read: an archive, or the archive of a snapshot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from vark.archive import Archive
from vark.cli import options, secrets
from vark.errors import NotFoundError
from vark.stores.urls import is_url

Function = TypeVar("Function", bound=Callable[..., Any])


def choosing(function: Function) -> Function:
    """Add what opens a source, and which snapshot and shard of --repo is meant."""
    function = secrets.opening(options.repository_alone(options.reference(options.no_cache(function))))
    return click.option("--shard", help="The shard of a snapshot that has several.")(function)


def open_source(source: str, given: dict[str, Any]) -> Archive:
    """Open an archive: an existing file or an address, unless --repo was given on the command line; else a snapshot.

    Errors: NotFoundError (neither), and those of `open_archive` and `Repository.open_archive`.
    """
    from vark.api import open_archive

    asked = click.get_current_context().get_parameter_source("repo") is ParameterSource.COMMANDLINE
    if (is_url(source) or Path(source).is_file()) and not asked:
        options.tell_addresses(source)
        options.refuse_given(("shard", "name", "at"), "an archive has no snapshots; it is for a snapshot of --repo")
        return open_archive(source, **secrets.unlocking(given))
    if not given["repo"]:
        raise NotFoundError(f"{source}: no such archive; for a snapshot give --repo or set VARK_REPOSITORY")
    repository = options.open_repository(given["repo"], rescue=True, given=given)
    snapshot = repository.snapshot(source, name=given["name"], at=given["at"])
    return repository.open_archive(snapshot, shard=given["shard"])
