"""``depthmill inspect``."""

from __future__ import annotations

from flows.command_line.answers import say
from flows.command_line.options import AsJson, StoreOrRecipe, UnitChoice


def inspect(
    store: StoreOrRecipe,
    what: UnitChoice = None,
    as_json: AsJson = False,
) -> None:
    """Show what is in a store, in one unit, or in one sample.

    A unit is shown with its lineage, a sample with the units that it is read from.
    """
    from flows.run.opening import open_store
    from pipeline.inspect import describe

    description = describe(open_store(store), what)
    say(description.data, description.text, as_json=as_json)
