"""Options that several commands share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from vark.archive import MEMORY_DEFAULT
from vark.cli import secrets
from vark.cli.output import Output
from vark.cli.sections import KEYS, REMOTE, under
from vark.errors import InvalidArgumentError, KeyNeededError
from vark.keys import is_signer_content
from vark.stores import RemoteStore, Store, Traffic
from vark.stores.pace import Limits
from vark.stores.urls import defaults, is_remote, is_url, traffic_of_addresses
from vark.target import kept_parts
from vark.units import format_bytes

if TYPE_CHECKING:
    from vark.repository import Repository

Function = TypeVar("Function", bound=Callable[..., Any])

_META = "vark.cli.options"
_LIMITED = "vark.cli.options.limits"
SIGNER = "VARK_SIGNER"
_LIMITS = {
    "--limit-upload": ("RATE", "Send no more bytes a second to a remote store, e.g. 10MB/s; or VARK_LIMIT_UPLOAD."),
    "--limit-download": ("RATE", "Take no more bytes a second from it; or VARK_LIMIT_DOWNLOAD."),
    "--limit-requests": ("RATE", "Make no more requests a second of it, e.g. 50/s; or VARK_LIMIT_REQUESTS."),
}
_BELIEFS = {
    "--signer": "Sign snapshots with this file of `vark key signer add`, or VARK_SIGNER. Write-only: no key.",
    "--encryption": "`none`: it is not encrypted, whatever keys the environment has.",
    "--authority": "Whose keys to believe, 64 hexadecimal digits; `vark key list` says it where it was made.",
    "--head": "A commit that must be there (its digest), as `vark show` says it elsewhere.",
    "--trust": "Write to a repository that is seen for the first time, with nothing but an identity file.",
    "--accept-history": "Take what is found for true although this client has seen something else.",
}


class _ArchivePath(click.Path):
    """An existing file, or the address of an object."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if is_url(value) else super().convert(value, param, ctx)


ARCHIVE = _ArchivePath(exists=True, dir_okay=False)


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


def no_cache(function: Function) -> Function:
    """Add --no-cache, for what is read of remote stores in part."""

    def keep(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.with_resource(defaults({"disk_cache": 0}))

    help_text = "Neither use nor keep blocks of a remote store on this machine."
    return click.option("--no-cache", is_flag=True, help=help_text, expose_value=False, callback=keep)(function)


def resuming(function: Function) -> Function:
    """Add --resume and --no-resume, for `telling_what_is_kept`."""
    help_text = "Keep what is written when interrupted, and go on with it.  [default: from remote stores]"
    return click.option("--resume/--no-resume", default=None, help=help_text)(function)


@contextlib.contextmanager
def telling_what_is_kept(target: str, output: Output) -> Iterator[None]:
    """Say after a failure where what was restored so far is kept."""
    try:
        yield
    except BaseException:
        for part in kept_parts(Path(target)):
            output.warn(
                f"kept: {part}: what an interrupted restore has written; the same command goes on with it (with "
                "--no-resume it begins anew), and it goes when the target is there",
                kept=str(part),
            )
        raise


def repository(function: Function) -> Function:
    """Add --repo, and what opens an encrypted one, for `open_repository`."""
    return secrets.opening_repository(repository_alone(function))


def repository_alone(function: Function) -> Function:
    """Add --repo, --kms and how much to believe of what is found; for commands that have options for keys already."""
    return repository_place(_beliefs(function))


def opening(function: Function) -> Function:
    """Add what opens encrypted repositories that are arguments of the command, for `open_repository`, and limits."""
    return limits(secrets.opening_repository(_beliefs(function)))


def _beliefs(function: Function) -> Function:
    for name, help_text in reversed(_BELIEFS.items()):
        is_flag = name in ("--trust", "--accept-history")
        option = click.option(name, is_flag=is_flag, help=help_text, expose_value=False, callback=_keep)
        function = under(KEYS, option)(function)
    return secrets.opening_by_kms(function)


def repository_place(function: Function) -> Function:
    """Add --repo, whose default is VARK_REPOSITORY, and limits."""
    return limits(_place(function))


def limits(function: Function) -> Function:
    """Add --limit-upload, --limit-download and --limit-requests, for all remote stores that the command opens."""
    for name, (metavar, help_text) in reversed(_LIMITS.items()):
        variable = "VARK_" + name.removeprefix("--").replace("-", "_").upper()
        option = click.option(
            name, metavar=metavar, envvar=variable, help=help_text, expose_value=False, callback=_keep_limit
        )
        function = under(REMOTE, option)(function)
    return function


def _place(function: Function) -> Function:
    return click.option(
        "--repo",
        "-r",
        "repo",
        envvar="VARK_REPOSITORY",
        type=click.Path(),
        help="Folder or address (s3://BUCKET/PREFIX …) of the repository; default: VARK_REPOSITORY.",
    )(function)


def reference(function: Function) -> Function:
    """Add --name and --at, which narrow what a reference to a snapshot means."""
    function = click.option("--at", help="The newest at or before this time (ISO 8601; UTC unless it says).")(function)
    return click.option("--name", help="Only snapshots of this name.")(function)


def open_repository(
    repo: str | None,
    *,
    rescue: bool = False,
    given: Mapping[str, Any] | None = None,
    mirrors: Sequence[str] = (),
    forgetful: bool = False,
) -> Repository:
    """Open the repository of --repo with the keys that the command was given, or asks for at a terminal.

    given: where the command has options for keys itself. mirrors: where else it lies; then it is only read from.
    forgetful: compared with nothing that was seen, and nothing is kept of it.
    Errors: InvalidArgumentError (none given), RepositoryNotFoundError, KeyNeededError, WrongKeyError.
    """
    if not repo:
        raise InvalidArgumentError("no repository; give --repo or set VARK_REPOSITORY")
    context = click.get_current_context()
    if not {"source", "places"} & context.params.keys():  # a command with several places has limits for any
        refuse_limits(repo, *mirrors)
    beliefs = dict(context.meta.get(_META, {}))
    if mirrors:
        beliefs["mirrors"] = mirrors
    if forgetful:
        beliefs["forgetful"] = True
    is_plain = beliefs.pop("encryption", None) == "none"
    keys = {} if is_plain else secrets.unlocking(secrets.kept() if given is None else given)
    keys |= {} if is_plain else secrets.services(secrets.kept().get("kms", ()))
    signer = beliefs.pop("signer", None) or (None if is_plain else os.environ.get(SIGNER))
    if signer is not None:
        if is_signer_content(signer):
            raise InvalidArgumentError(
                "--signer, VARK_SIGNER: give the file, not what stands in it: others can read it"
            )
        keys["signer"] = Path(signer)
    return open_with(repo, keys, beliefs, rescue=rescue, is_plain=is_plain)


def open_with(
    repo: str, keys: Mapping[str, Any], beliefs: Mapping[str, Any], *, rescue: bool, is_plain: bool
) -> Repository:
    """Open a repository with these arguments, or ask for a passphrase where no key was given."""
    from vark.repository import Repository

    try:
        opened = Repository.open(repo, rescue=rescue, **keys, **beliefs)
    except KeyNeededError:
        passphrase = None if keys or is_plain else secrets.ask_passphrase(twice=False)
        if passphrase is None:
            raise
        opened = Repository.open(repo, rescue=rescue, passphrase=passphrase, **beliefs)
    output = Output(as_json=bool(click.get_current_context().params.get("as_json")))
    for text in opened.warnings:
        output.warn(text)
    return tell_traffic(opened)


def tell_traffic(repository: Repository) -> Repository:
    """Have it said at the end of the command what it asked of a remote store."""
    _tell_at_end(lambda: repository.traffic)
    return repository


def tell_store(store: Store) -> None:
    """As `tell_traffic`, of a store."""
    _tell_at_end(lambda: store.counts.total() if isinstance(store, RemoteStore) else None)


def tell_addresses(*places: Any) -> None:
    """Have it said at the end of the command what archives by address have cost, where one of these is an address.

    Errors: InvalidArgumentError (a limit was given, and none is remote).
    """
    remote = [place for place in places if is_remote(place)]
    if not remote:
        for place in places[:1]:
            refuse_limits(str(place))
        return
    before = traffic_of_addresses() or Traffic()
    _tell_at_end(lambda: (traffic_of_addresses() or Traffic()) - before)


def _tell_at_end(found: Callable[[], Traffic | None]) -> None:
    def tell() -> None:
        traffic = found()
        if traffic is None:
            return
        output = Output(as_json=bool(context.params.get("as_json")))
        if output.as_json:
            output.line("traffic", **traffic.as_record())
        output.talk(
            f"requests: {traffic.puts} PUT, {traffic.lists} LIST, {traffic.get_class} GET, {traffic.deletes} DELETE, "
            f"{traffic.retries} of them again; {format_bytes(traffic.bytes_up)} up, "
            f"{format_bytes(traffic.bytes_down)} down"
        )

    context = click.get_current_context()
    context.call_on_close(tell)


def refuse_limits(*places: str) -> None:
    """Refuse limits that were given where none of the places is remote; those of the environment are for others."""
    context = click.get_current_context()
    if any(map(is_remote, places)):
        return
    for name, option in context.meta.get(_LIMITED, {}).items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            shown = f"{places[0]} is no remote store" if len(places) == 1 else "none of these is a remote store"
            raise InvalidArgumentError(f"{option}: {shown}, and nothing is limited; leave it out")


def _keep_limit(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None:
        name = parameter.name or ""
        Limits.parse({name: value})
        context.meta.setdefault(_LIMITED, {})[name] = parameter.opts[0]
        context.with_resource(defaults({name: value}))


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    context.meta.setdefault(_META, {})[parameter.name or ""] = value


def parse_tags(texts: tuple[str, ...]) -> dict[str, str]:
    """Return the tags of `key=value` texts. Errors: InvalidArgumentError."""
    tags = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise InvalidArgumentError(f"tag {text!r}: expected KEY=VALUE")
        tags[key] = value
    return tags
