"""The command line. Exit codes: 0 done, 1 it or some units failed, 2 bad recipe or usage, 3 ``plan --check`` found work.

130 says that Ctrl-C ended it, 143 SIGTERM, 138 SIGUSR1.

Heavy modules are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import atexit
import errno
import os
import sys
from contextlib import suppress
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from flows.command_line.answers import echo, print_awaited
from flows.command_line.options import Quiet
from flows.command_line.terminal_line import terminal_line
from flows.commands.ablate import ablate
from flows.commands.analyse import analyse
from flows.commands.assess import assess
from flows.commands.compare import compare
from flows.commands.demo import demo
from flows.commands.deploy import deploy
from flows.commands.doctor import doctor
from flows.commands.evaluate import evaluate
from flows.commands.export import export
from flows.commands.import_ import import_
from flows.commands.init import init
from flows.commands.inspect import inspect
from flows.commands.onnx import onnx
from flows.commands.plan import plan
from flows.commands.predict import predict
from flows.commands.prune import prune
from flows.commands.pull import pull
from flows.commands.push import push
from flows.commands.report import report
from flows.commands.retrain import retrain
from flows.commands.run import run
from flows.commands.runs import runs
from flows.commands.schema import schema
from flows.commands.share import share
from flows.commands.status import status
from flows.commands.train import train
from flows.commands.verify import verify
from flows.commands.video import video
from flows.commands.view import view
from flows.run.interrupt import exit_when_interrupted, stop_soon_when_interrupted
from flows.run.ranks import first_of_the_launched
from flows.waiting import begin_command, say_what_is_awaited, shown
from storage_schemas.awaited import awaited
from storage_schemas.errors import DepthmillError, ManifestNotFoundError, OutTakenError, RecipeError, SourceError

COMMANDS = (
    demo, init, plan, run, status, inspect, verify, report, view, video, assess, train, ablate, evaluate, analyse,
    compare, predict, export, share, push, pull, onnx, import_, prune, retrain, runs, deploy, doctor, schema,
)  # fmt: skip
"""Every command, in the order of ``--help``: that of a first day."""


_common = typer.Typer(add_completion=False)


@_common.command()
def _options_of_all(quiet: Quiet = False) -> None:
    pass


@cache
def _params_of_all() -> list[Any]:
    return get_command(_common).params


class _Command(TyperCommand):
    """A command with the options that all have."""

    def __init__(self, *args: Any, params: list[Any], **kwargs: Any) -> None:
        super().__init__(*args, params=[*params, *_params_of_all()], **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; until it says what it does, its name is what goes on."""
        with awaited(f"depthmill {self.name}"):
            return super().invoke(ctx)


UNUSABLE = (RecipeError, SourceError, OutTakenError, ManifestNotFoundError)
"""Errors of what the user gave, which end a command with exit code 2; after all others it is 1."""


class _Commands(TyperGroup):
    """All commands; Ctrl-C ends one with an exit code and no word, because the work has said its line."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            exit_when_interrupted(interrupt)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Depth maps from recorded drives, and networks trained on them. Start with: depthmill demo, or with data of your own: "
    "depthmill init DATA_ROOT",
)
for _command in COMMANDS:
    app.command(name=_command.__name__.rstrip("_"), cls=_Command)(_command)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version
        from platform import python_version

        echo(f"depthmill {version('depthmill')}, Python {python_version()}")
        raise typer.Exit


@app.callback()
def _before(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and stop")
    ] = False,
    quiet: Quiet = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a user's mistake becomes one line of text and an exit code."""
    begin_command()
    say_what_is_awaited(print_awaited)  # a command that prints its progress, or JSON, changes it
    stop_soon_when_interrupted("run the same command again")  # a run or a training says more, from its beginning on
    try:
        with shown(terminal_line()), first_of_the_launched():
            app(standalone_mode=True)
    except DepthmillError as error:
        echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, UNUSABLE) else 1)
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"):
            raise
        first_line = (str(error).strip() or "the system gave no more").splitlines()[0]
        echo(
            f"error: memory is full: {first_line[:300]}. Let fewer processes work (--workers, DEPTHMILL_LOADER_WORKERS), or "
            "lower batch_size, then run the same command again: what is finished is kept",
            err=True,
        )
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        echo(
            f"error: a path is too long: '{str(error.filename)[:200]}...'. Shorten it in the recipe or on the command line",
            err=True,
        )
        sys.exit(2)


def command() -> None:
    """Run the command line as a process of its own, which ends when everything that registered for its end has been called.

    After that Python would take apart what torch and numba have built, which takes a second in which the prompt is awaited.
    """
    code = 1  # of an error that Python prints with its traceback

    def end() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # a pipe that nobody reads any more
                stream.flush()
        os._exit(code)

    atexit.register(end)  # registered first, so it is called last
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        raise
