"""The command line: archives (`vark pack | unpack …`) and repositories (`vark init | backup | restore …`)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from vark import __version__
from vark.cli.audit import audit
from vark.cli.backup import backup, init
from vark.cli.cat import cat
from vark.cli.compare import compact, diff, stats
from vark.cli.copy import copy
from vark.cli.cost import cost
from vark.cli.doctor import doctor
from vark.cli.erase import erase
from vark.cli.inspect import inspect
from vark.cli.key import key
from vark.cli.keygen import keygen
from vark.cli.lock import lock
from vark.cli.mirror import repair, sync
from vark.cli.output import Output
from vark.cli.pack import pack
from vark.cli.restore import restore
from vark.cli.retention import forget, gc, hold, release, tag, undelete
from vark.cli.snapshots import show, snapshots
from vark.cli.unpack import unpack
from vark.cli.verify import verify
from vark.errors import ExitCode, VarkError, error_from_os, exit_code_for


class _Terminated(BaseException):
    """SIGTERM, as an exception: the engine cleans up on its way out."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog="`vark COMMAND --help` has examples.")
@click.version_option(__version__, prog_name="vark")
@click.option(
    "--completion",
    type=click.Choice(["bash", "zsh", "fish"]),
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, shell: _print_completion(context, shell),
    help='Print the shell\'s completion script; e.g. eval "$(vark --completion bash)".',
)
def cli() -> None:
    """Back up vector indexes into .vark archives, restore them, and prove that they are whole.

    \b
    vark pack products.faiss products.vark
    vark verify products.vark
    vark unpack products.vark restored.faiss
    """


_REPOSITORY = (init, backup, snapshots, show, restore, tag, hold, release, forget, undelete, gc)
_COMPARE = (diff, compact, stats, cost, doctor, lock, erase)
_COPIES = (copy, sync, repair, audit)
_COMMANDS = (*_REPOSITORY, *_COMPARE, *_COPIES, pack, unpack, verify, inspect, cat, key, keygen)
for command in _COMMANDS:
    cli.add_command(command)


def _print_completion(context: click.Context, shell: str | None) -> None:
    if shell is None:
        return
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(cli, {}, "vark", "_VARK_COMPLETE").source())
    context.exit()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code (stable; see `vark.ExitCode`). Never shows a traceback."""
    sys.exit(int(run(sys.argv[1:] if arguments is None else list(arguments))))


def run(arguments: list[str]) -> int:
    """Run one command; return its exit code."""
    terminated: list[int] = []

    def terminate(number: int, _frame: FrameType | None) -> None:
        terminated.append(number)
        raise _Terminated

    output = Output(as_json="--json" in arguments)
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        result = cli.main(args=arguments, prog_name="vark", standalone_mode=False)
        sys.stdout.flush()
        return int(result) if isinstance(result, int) else ExitCode.OK
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        output.fail(error.format_message(), exit_code=ExitCode.USAGE, code="invalid-argument")
        return ExitCode.USAGE
    except (KeyboardInterrupt, click.Abort):
        output.fail("interrupted", exit_code=ExitCode.INTERRUPTED, code="cancelled")
        return ExitCode.INTERRUPTED
    except _Terminated:
        output.fail("terminated", exit_code=ExitCode.TERMINATED, code="cancelled")
        return ExitCode.TERMINATED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of our output has gone: nothing to say to it
        return ExitCode.FAILED
    except Exception as error:
        if terminated:  # the engine may turn what interrupts it into an error of its own
            output.fail("terminated", exit_code=ExitCode.TERMINATED, code="cancelled")
            return ExitCode.TERMINATED
        return _failure(error, output)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _failure(error: Exception, output: Output) -> int:
    if isinstance(error, OSError) and not isinstance(error, VarkError):
        error = error_from_os(error, str(error.filename or "operating system"))
    code = exit_code_for(error)
    if isinstance(error, VarkError):
        output.fail(error.message, exit_code=code, code=error.code, layer=error.layer)
    else:
        if os.environ.get("VARK_TRACEBACK"):
            raise error
        message = f"an error inside vark: {type(error).__name__}: {error}; set VARK_TRACEBACK=1 and report it"
        output.fail(message, exit_code=code, code="internal")
    return code
