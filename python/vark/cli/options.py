"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from vark.archive import MEMORY_DEFAULT

Function = TypeVar("Function", bound=Callable[..., Any])

ARCHIVE = click.Path(exists=True, dir_okay=False)


def as_json(function: Function) -> Function:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="JSON Lines on stdout instead of text.")(function)


def engine(function: Function) -> Function:
    """Add --threads and --memory."""
    function = click.option("--memory", default=MEMORY_DEFAULT, show_default=True, help="Budget for buffers.")(function)
    return click.option("--threads", type=click.IntRange(1), help="Default: all cores.")(function)


def writing(function: Function) -> Function:
    """Add --replace and --no-sync."""
    function = click.option("--no-sync", is_flag=True, help="Return before the disk has it.")(function)
    return click.option("--replace", is_flag=True, help="Replace an existing target, at the end.")(function)
