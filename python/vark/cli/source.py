"""Options of a repository that is only read from, beside those of the one that is written to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vark.cli import options, secrets
from vark.cli.sections import under
from vark.errors import InvalidArgumentError

if TYPE_CHECKING:
    from vark.repository import Repository

Function = TypeVar("Function", bound=Callable[..., Any])

_META = "vark.cli.source"
_TITLE = "Keys of the source"
_AS = "As without `from-`; or VARK_FROM_… in the environment."
NO_KEYS: Mapping[str, Any] = {
    "identities": (),
    "passphrase": False,
    "password_file": None,
    "password_command": None,
    "recovery_code": False,
    "recovery_code_file": None,
}


def source_keys(function: Function) -> Function:
    """Add the options that open the repository that is read from, for `open_source`; without any, the others do.

    Their names are their own: of two options of one name each gets what the other was given.
    """
    how: dict[str, Any] = {"expose_value": False, "callback": _keep}
    for option in reversed(
        (
            click.option("--from-identity", "from_identities", multiple=True, metavar="FILE", help=_AS, **how),
            click.option("--from-password-file", help=_AS, **how),
            click.option("--from-password-command", help=_AS, **how),
            click.option("--from-recovery-code-file", help=_AS, **how),
            click.option("--from-encryption", help="`none`: it is not encrypted.", **how),
            click.option("--from-authority", help="Whose keys to believe there.", **how),
            click.option("--from-accept-history", is_flag=True, help="As without `from-`.", **how),
        )
    ):
        function = under(_TITLE, option)(function)
    return function


def open_source(place: str) -> Repository:
    """Open the repository that is only read from: by its own keys (--from-…, VARK_FROM_…), else by the others."""
    given = {**NO_KEYS, **click.get_current_context().meta.get(_META, {})}
    encryption = given.pop("encryption", None)
    if encryption not in (None, "none"):
        raise InvalidArgumentError(f"--from-encryption {encryption}: expected none")
    beliefs = {key: value for key in ("authority", "accept_history") if (value := given.pop(key, None))}
    keys = {} if encryption else secrets.unlocking(given, environment="VARK_FROM_")
    if not keys and not encryption:
        keys = secrets.unlocking(secrets.kept()) | secrets.services(secrets.kept().get("kms", ()))
    return options.open_with(place, keys, beliefs, rescue=True, is_plain=encryption is not None)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    context.meta.setdefault(_META, {})[(parameter.name or "").removeprefix("from_")] = value
