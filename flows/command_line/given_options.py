"""Options that stand on the command line and say nothing of the family whose network or evaluations were given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from storage_schemas.errors import RecipeError

if TYPE_CHECKING:
    from model.train.family import Family

OF_DEPTH = ("target", "max_depth", "plug_in", "metric", "cap", "radar")
"""Options that say something of depth networks only."""


def refuse_options(family: Family[Any], context: typer.Context, what: str) -> None:
    """Check that no option was given that says nothing of this family's networks; RecipeError names it.

    Args:
        family: of the network or the evaluations.
        context: of the command.
        what: what the family's thing is, e.g. "checkpoint 'runs/a' is one".
    """
    for name in OF_DEPTH:
        source = context.get_parameter_source(name) if name in context.params else None
        is_given = source is not None and source.name == "COMMANDLINE"
        if is_given and name not in family.options:
            raise RecipeError(
                f"--{name.replace('_', '-')} is of depth networks, and {family.noun} has none: {what}. Leave it out"
            )
