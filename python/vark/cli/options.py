"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from vark.archive import MEMORY_DEFAULT
from vark.errors import InvalidArgumentError

if TYPE_CHECKING:
    from vark.repository import Repository

Function = TypeVar("Function", bound=Callable[..., Any])

ARCHIVE = click.Path(exists=True, dir_okay=False)


def as_json(function: Function) -> Function:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="JSON Lines on stdout instead of text.")(function)


def engine(function: Function) -> Function:
    """Add --threads and --memory."""
    function = click.option("--memory", default=MEMORY_DEFAULT, show_default=True, help="Budget for buffers.")(function)
    return threads(function)


def threads(function: Function) -> Function:
    """Add --threads."""
    return click.option("--threads", type=click.IntRange(1), help="Default: all cores.")(function)


def refuse_given(names: Iterable[str], why: str) -> None:
    """Refuse options that were given on the command line and would have no effect. Errors: InvalidArgumentError."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in names and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise InvalidArgumentError(f"{parameter.opts[0]}: {why}")


def writing(function: Function) -> Function:
    """Add --replace and --no-sync."""
    function = click.option("--no-sync", is_flag=True, help="Return before the disk has it.")(function)
    return click.option("--replace", is_flag=True, help="Replace an existing target, at the end.")(function)


def repository(function: Function) -> Function:
    """Add --repo; VARK_REPOSITORY is its default."""
    return click.option(
        "--repo",
        "-r",
        "repo",
        envvar="VARK_REPOSITORY",
        type=click.Path(),
        help="Folder of the repository; default: VARK_REPOSITORY.",
    )(function)


def reference(function: Function) -> Function:
    """Add --name and --at, which narrow what a reference to a snapshot means."""
    function = click.option("--at", help="The newest at or before this time (ISO 8601; UTC unless it says).")(function)
    return click.option("--name", help="Only snapshots of this name.")(function)


def open_repository(repo: str | None, *, rescue: bool = False) -> Repository:
    """Open the repository of --repo. Errors: InvalidArgumentError (none given), RepositoryNotFoundError."""
    from vark.repository import Repository

    if not repo:
        raise InvalidArgumentError("no repository; give --repo or set VARK_REPOSITORY")
    return Repository.open(repo, rescue=rescue)


def parse_tags(texts: tuple[str, ...]) -> dict[str, str]:
    """Return the tags of `key=value` texts. Errors: InvalidArgumentError."""
    tags = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise InvalidArgumentError(f"tag {text!r}: expected KEY=VALUE")
        tags[key] = value
    return tags
