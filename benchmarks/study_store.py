"""The store of a study: a recipe is opened, what is missing is made, and the manifest of it all is opened."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.run.opening import Opened
    from storage_schemas.manifest import Manifest


def opened_recipe(recipe: dict[str, Any], *, workers: int) -> Opened:
    """Return a recipe that stands in a study, opened."""
    from flows.run.opening import open_recipe
    from flows.settings import Settings
    from pipeline.recipe import parse_recipe

    return open_recipe(parse_recipe(recipe, where="study"), Settings(workers=workers))


def made_manifest(opened: Opened, *, what: str = "") -> Manifest:
    """Make what is missing of a recipe's units; return its manifest. ``what`` goes before the line that says how many are made."""
    from flows.run.bare_loop import BareLoop
    from flows.run.making import make_units
    from storage_schemas.manifest import open_manifest

    plan = opened.plan()
    if plan.to_do:
        print(f"{what}{len(plan.to_do)} units to make", file=sys.stderr, flush=True)
        made = make_units(opened, BareLoop(), report=False)
        if made.errors:
            raise SystemExit(made.errors[0])
    return open_manifest(opened.store, plan.manifest.path.fingerprint)
