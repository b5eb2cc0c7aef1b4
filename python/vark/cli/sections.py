"""Help in sections: what is a command's own first, what many commands share after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import click

Function = TypeVar("Function", bound=Callable[..., Any])

KEYS = "Keys and trust"
REMOTE = "Remote stores"
_SECTIONS: WeakKeyDictionary[click.Parameter, str] = WeakKeyDictionary()


def under(title: str, add: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Return `add`, which adds options to a command, so that help lists them under the heading `title`."""

    def added(function: Function) -> Function:
        before = len(_parameters(function))
        function = add(function)
        for parameter in _parameters(function)[before:]:
            _SECTIONS[parameter] = title
        return function

    return added


def _parameters(function: Callable[..., Any]) -> list[click.Parameter]:
    return list(getattr(function, "__click_params__", ()))


class Command(click.Command):
    """A command whose help lists its own options first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those under a heading last."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(_SECTIONS.get(parameter, "Options"), []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
