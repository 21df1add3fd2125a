"""The command line. Exit codes: 0 done, 1 some units failed or are damaged, 2 bad recipe or usage, 3 ``plan --check`` found work.

Heavy modules are imported inside the verbs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys

import typer

from flows.commands import first_steps, interchange, learning, looking, making, scheduling
from storage_schemas.errors import DepthmillError, RecipeError, SourceError

VERBS = (
    first_steps.demo,
    first_steps.init,
    making.plan,
    making.run,
    making.status,
    looking.inspect,
    looking.verify,
    looking.report,
    learning.train,
    learning.ablate,
    learning.evaluate,
    learning.compare,
    learning.predict,
    interchange.export,
    interchange.import_,
    looking.prune,
    scheduling.retrain,
    scheduling.runs,
    scheduling.deploy,
    first_steps.doctor,
)
"""Every verb, in the order of ``--help``: that of a first day."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From raw drives to radar-camera depth supervision, as one DAG. Start with: depthmill demo, or with data of your own: "
    "depthmill init DATA_ROOT",
)
for _verb in VERBS:
    app.command(name=_verb.__name__.rstrip("_"))(_verb)


def main() -> None:
    """Run the command line; a user's mistake becomes one line of text and an exit code."""
    try:
        app(standalone_mode=True)
    except DepthmillError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, RecipeError | SourceError) else 1)
