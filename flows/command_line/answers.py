"""How commands answer, and who is told what they do."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import typer

from flows.command_line.tables import as_shown
from flows.waiting import command_began_s, is_quiet, said, say_what_is_awaited
from storage_schemas.shown_text import shown

if TYPE_CHECKING:
    from flows.run.listener import Listener


def echo(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Print a text as it may be shown: names from the data steer no terminal, and URLs have no passwords."""
    typer.echo(shown(text), nl=nl, err=err)
    said()


def say(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print an answer: text for people, or the data as JSON."""
    if as_json:
        print_json(data)
    else:
        echo(as_shown(text))


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    echo(json.dumps(value, indent=1))


def print_line(line: str) -> None:
    """Print a line at once."""
    print(shown(line), flush=True)
    said()


def print_awaited(line: str) -> None:
    """Print a line on what is awaited, beside the answer of a command that prints no progress."""
    print(shown(line), file=sys.stderr, flush=True)


def console(*, as_json: bool = False) -> Listener:
    """Return the listener that prints; beside ``--json`` and ``--quiet`` only warnings."""
    from flows.run.interrupt import stop_soon_when_interrupted
    from flows.run.listener import Listener

    line = None if as_json or is_quiet() else print_line
    say_what_is_awaited(line)
    return Listener(line, begin=stop_soon_when_interrupted, began_s=command_began_s())
